//! The content as it was found: pieces of the array, each with the view that has it.

use std::sync::Arc;

use kcopy::{SECTOR_SIZE, Sectors};
use smallvec::SmallVec;

use super::overrun::Overrun;
use super::reach::out_of_reach;
use super::walk::UNIT;
use super::zone::Side;
use crate::array::{Array, ArrayError, Overlay, Range, ReadReport, Target, View};
use crate::mover::{Durability, Gather, MoveError, Mover};
use crate::units::{ArraySector, Slot};

/// Where a piece is read from.
#[derive(Clone, Debug)]
pub(super) enum Source {
    /// One reading of the members, as if these were missing.
    View(Side, SmallVec<[Slot; 2]>),
    /// A backup.
    Saved(Overlay),
    /// The new place of the content that is at this address: a second walk put it there.
    Carried(ArraySector),
    /// To be computed from the rest of its new row, which a second walk has carried elsewhere.
    Summed,
    /// Nowhere.
    Lost,
}

impl Source {
    /// Whether `next`, which follows after `sectors`, is read in the same way.
    fn joins(&self, sectors: Sectors, next: &Self) -> bool {
        match (self, next) {
            (Self::Carried(from), Self::Carried(next)) => from.checked_add(sectors) == Some(*next),
            (Self::View(side, without), Self::View(other, slots)) => {
                side == other && without == slots
            }
            (Self::Lost, Self::Lost) | (Self::Summed, Self::Summed) => true,
            (Self::View(..) | Self::Saved(_) | Self::Carried(_) | Self::Summed | Self::Lost, _) => {
                false
            }
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
    /// How what was overrun is put together, if anything was.
    overrun: Option<Overrun>,
}

impl Content {
    pub(super) fn new(old: View, new: View, sectors: Sectors) -> Self {
        Self { old, new, pieces: Vec::new(), sectors, overrun: None }
    }

    pub(super) fn set_overrun(&mut self, overrun: Option<Overrun>) {
        self.overrun = overrun;
    }

    /// Adds what follows: pieces come in the order of the array, without gaps.
    pub(super) fn push(&mut self, range: Range, source: Source) {
        if range.sectors == Sectors::ZERO {
            return;
        }
        match self.pieces.last_mut() {
            Some((last, same))
                if last.end() == range.start.get() && same.joins(last.sectors, &source) =>
            {
                last.sectors = Sectors::new(last.sectors.get() + range.sectors.get());
            }
            _ => self.pieces.push((range, source)),
        }
    }

    /// What too few members leave out of reach is lost; whether anything is.
    pub(super) fn leave_out(&mut self) -> bool {
        let (pieces, mut any) = (std::mem::take(&mut self.pieces), false);
        for (range, source) in pieces {
            let units = range.start.get() / UNIT..range.end() / UNIT;
            let out = match &source {
                Source::View(Side::Old, without) => out_of_reach(&self.old, without, units),
                Source::View(Side::New, without) => out_of_reach(&self.new, without, units),
                Source::Saved(_) | Source::Carried(_) | Source::Summed | Source::Lost => Vec::new(),
            };
            any |= !out.is_empty();
            let mut at = range.start.get();
            for units in out {
                let (start, end) = (units.start * UNIT, units.end * UNIT);
                self.push(Range::new(at, start - at), source.clone());
                self.push(Range::new(start, end - start), Source::Lost);
                at = end;
            }
            self.push(Range::new(at, range.end() - at), source);
        }
        any
    }

    /// What is read from some members, and cannot be without them.
    pub(super) fn only_on(&self, slots: &[Slot]) -> Vec<Range> {
        let mut ranges = Vec::new();
        for (range, source) in self.pieces.iter().filter(|_| !slots.is_empty()) {
            let units = range.start.get() / UNIT..range.end() / UNIT;
            let out = match source {
                Source::View(side, without) => {
                    let view = if *side == Side::Old { &self.old } else { &self.new };
                    out_of_reach(view, &[&without[..], slots].concat(), units)
                }
                Source::Carried(_) | Source::Summed => vec![units],
                Source::Saved(_) | Source::Lost => Vec::new(),
            };
            for units in out {
                let (start, end) = (units.start * UNIT, units.end * UNIT);
                super::add(&mut ranges, Range::new(start, end - start));
            }
        }
        ranges
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
            Source::Saved(_) | Source::Carried(_) | Source::Summed | Source::Lost => false,
        };
        self.pieces.iter().filter(|(_, s)| computed(s)).map(|(range, _)| *range).collect()
    }

    /// What is taken from where a walk that was begun again has carried it.
    pub fn carried(&self) -> Vec<Range> {
        let mut ranges = Vec::new();
        for (range, source) in &self.pieces {
            if matches!(source, Source::Carried(_) | Source::Summed) {
                super::add(&mut ranges, *range);
            }
        }
        ranges
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
            let mut part = Range::new(start, end - start);
            let array = match source {
                Source::Lost => {
                    all.unreadable.push(part);
                    continue;
                }
                Source::Summed => {
                    let before = (start - range.start.get()) * SECTOR_SIZE;
                    let moved = &mut |done| moved(before + done);
                    all.unreadable.extend(self.sum(mover, part, (target, before), moved)?);
                    continue;
                }
                Source::View(side, without) => self.array(*side, without),
                Source::Carried(from) => {
                    part.start = ArraySector::new(from.get() + (start - piece.start.get()));
                    self.array(Side::New, &[])
                }
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

    /// Reads what is computed from the rest of its row; gives what cannot be read.
    fn sum(
        &self,
        mover: &mut Mover,
        part: Range,
        (target, before): (&Target, u64),
        moved: &mut dyn FnMut(u64) -> bool,
    ) -> Result<Vec<Range>, ArrayError> {
        let (mut unreadable, array) = (Vec::new(), self.array(Side::New, &[]));
        let mut at = part.start.get();
        while at < part.end() {
            let unit = at / UNIT;
            let end = ((unit + 1) * UNIT).min(part.end());
            let range = Range::new(at, end - at);
            let bytes = |sectors: u64| usize::try_from(sectors * SECTOR_SIZE).unwrap_or(usize::MAX);
            let inside = bytes(at - unit * UNIT)..bytes(end - unit * UNIT);
            let block = match &self.overrun {
                Some(overrun) => overrun.compute(mover, (&self.new, &array), unit)?,
                None => None,
            };
            let done = (at - part.start.get()) * SECTOR_SIZE;
            match block.as_ref().and_then(|block| block.get(inside)) {
                Some(block) => put(mover, target, before + done, block)?,
                None => super::add(&mut unreadable, range),
            }
            at = end;
            if !moved((at - part.start.get()) * SECTOR_SIZE) {
                return Err(MoveError::Cancelled.into());
            }
        }
        Ok(unreadable)
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

/// Writes `bytes` to their place in the target.
fn put(mover: &mut Mover, target: &Target, at: u64, bytes: &[u8]) -> Result<(), ArrayError> {
    match target {
        Target::Device { device, offset } => {
            mover.write(device, offset + at, bytes.to_vec(), Durability::Later)?;
        }
        Target::Memory(gather) => {
            gather.put(at, bytes).map_err(|_| ArrayError::Inconsistent)?;
        }
    }
    Ok(())
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
