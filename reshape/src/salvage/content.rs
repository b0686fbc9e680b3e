//! The content as it was found: pieces of the array, each with the view that has it.

use std::sync::Arc;

use kcopy::{SECTOR_SIZE, Sectors};
use smallvec::SmallVec;

use super::zone::Side;
use crate::array::{Array, ArrayError, Overlay, Range, ReadReport, Target, View};
use crate::mover::{Gather, Mover};
use crate::units::Slot;

/// Where a piece is read from.
#[derive(Clone, Debug)]
pub(super) enum Source {
    /// One reading of the members, as if these were missing.
    View(Side, SmallVec<[Slot; 2]>),
    /// A backup.
    Saved(Overlay),
    /// Nowhere.
    Lost,
}

impl Source {
    /// Whether `next` is read in the same way.
    fn joins(&self, next: &Self) -> bool {
        match (self, next) {
            (Self::View(side, without), Self::View(other, slots)) => {
                side == other && without == slots
            }
            (Self::Lost, Self::Lost) => true,
            (Self::View(..) | Self::Saved(_) | Self::Lost, _) => false,
        }
    }
}

/// The content of an array that is being reshaped, wherever it stands.
#[derive(Clone, Debug)]
pub struct Content {
    old: View,
    new: View,
    pieces: Vec<(Range, Source)>,
    sectors: Sectors,
}

impl Content {
    pub(super) fn new(old: View, new: View, sectors: Sectors) -> Self {
        Self { old, new, pieces: Vec::new(), sectors }
    }

    /// Adds what follows: pieces come in the order of the array, without gaps.
    pub(super) fn push(&mut self, range: Range, source: Source) {
        if range.sectors == Sectors::ZERO {
            return;
        }
        match self.pieces.last_mut() {
            Some((last, same)) if last.end() == range.start.get() && same.joins(&source) => {
                last.sectors = Sectors::new(last.sectors.get() + range.sectors.get());
            }
            _ => self.pieces.push((range, source)),
        }
    }

    /// How many sectors there are: the smaller size of both geometries.
    pub fn sectors(&self) -> Sectors {
        self.sectors
    }

    /// What stands nowhere.
    pub fn lost(&self) -> Vec<Range> {
        let lost = self.pieces.iter().filter(|(_, source)| matches!(source, Source::Lost));
        lost.map(|(range, _)| *range).collect()
    }

    /// What is computed from parity because members are torn against each other.
    pub fn computed(&self) -> Vec<Range> {
        let computed = |source: &Source| match source {
            Source::View(_, without) => !without.is_empty(),
            Source::Saved(_) | Source::Lost => false,
        };
        self.pieces.iter().filter(|(_, s)| computed(s)).map(|(range, _)| *range).collect()
    }

    /// What is taken from backups.
    pub fn saved(&self) -> Vec<Range> {
        let saved = self.pieces.iter().filter(|(_, source)| matches!(source, Source::Saved(_)));
        saved.map(|(range, _)| *range).collect()
    }

    /// Reads `range` to `target`; what is lost is reported as unreadable, and nothing is written
    /// for it.
    ///
    /// `moved` is called with the bytes done so far; it returns false to stop early.
    ///
    /// # Errors
    ///
    /// As [`Array::read_to`].
    pub fn read_to(
        &self,
        mover: &mut Mover,
        range: Range,
        target: &Target,
        moved: &mut dyn FnMut(u64) -> bool,
    ) -> Result<ReadReport, ArrayError> {
        if range.end() > self.sectors.get() {
            return Err(ArrayError::OutOfRange { range, size: self.sectors });
        }
        let mut all = ReadReport::default();
        for (piece, source) in &self.pieces {
            let (start, end) =
                (piece.start.get().max(range.start.get()), piece.end().min(range.end()));
            if start >= end {
                continue;
            }
            let part = Range::new(start, end - start);
            let array = match source {
                Source::Lost => {
                    all.unreadable.push(part);
                    continue;
                }
                Source::View(side, without) => self.array(*side, without),
                Source::Saved(overlay) => {
                    let mut array = self.array(Side::Old, &[]);
                    array.lay_over(overlay.clone());
                    array
                }
            };
            let before = (start - range.start.get()) * SECTOR_SIZE;
            let moved = &mut |done| moved(before + done);
            let report = read_part(&array, mover, part, (target, before), moved)?;
            all.unreadable.extend(report.unreadable);
            all.recovered.extend(report.recovered);
        }
        Ok(all)
    }

    fn array(&self, side: Side, without: &[Slot]) -> Array {
        let mut view = match side {
            Side::Old => self.old.clone(),
            Side::New => self.new.clone(),
        };
        without.iter().for_each(|slot| view.set_leg(*slot, None));
        Array::of(view)
    }
}

/// Reads a part to its place in the target.
fn read_part(
    array: &Array,
    mover: &mut Mover,
    part: Range,
    (target, before): (&Target, u64),
    moved: &mut dyn FnMut(u64) -> bool,
) -> Result<ReadReport, ArrayError> {
    match target {
        Target::Device { device, offset } => {
            let target = Target::Device { device: device.clone(), offset: offset + before };
            array.read_to(mover, part, &target, moved)
        }
        Target::Memory(gather) => {
            // In windows: this memory is needed twice.
            let mut all = ReadReport::default();
            let mut at = part.start.get();
            while at < part.end() {
                let window = Range::new(at, WINDOW.min(part.end() - at));
                let bytes = usize::try_from(window.sectors.get() * SECTOR_SIZE).unwrap_or(0);
                let own = Arc::new(Gather::new(bytes));
                let done = (at - part.start.get()) * SECTOR_SIZE;
                let target = Target::Memory(Arc::clone(&own));
                let report =
                    array.read_to(mover, window, &target, &mut |more| moved(done + more))?;
                let put = gather.put(before + done, &own.take());
                put.map_err(|_| ArrayError::Inconsistent)?;
                all.unreadable.extend(report.unreadable);
                all.recovered.extend(report.recovered);
                at = window.end();
            }
            Ok(all)
        }
    }
}

/// Sectors in memory at once: 4 MiB.
const WINDOW: u64 = 8192;
