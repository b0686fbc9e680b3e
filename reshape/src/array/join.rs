//! Longer reads: chunks that lie behind each other on a member are read in one operation.
//!
//! What goes to memory can be taken apart there. So chunks of one member, whose neighbours in the array
//! are on others, are joined into one job; and where a member is lost, rows of many stripes are read
//! from all others at once and solved cut by cut.
//!
//! ```text
//!  member   0    1    2    3      healthy: {0, 4, 8} and {1, 5, 9} are one job each ...
//!           0    1    2    p      1 lost:  one job reads all of 0, 2 and 3
//!           4    5    p    3
//!           8    p    6    7
//! ```
//!
//! A joined job that fails is taken apart into the steps it is made of, which know what to do.

use std::collections::HashSet;
use std::sync::Arc;

use kcopy::{Errno, Job, PieceBuffers, Sectors, Transform};
use smallvec::SmallVec;

use super::rows::{Cut, Span};
use super::steps::{Step, steps};
use super::{Range, View};
use crate::geometry::Part;
use crate::mover::Gather;
use crate::parity::{Block, Role, fill};
use crate::units::{ArraySector, MemberSector, Slot};

/// Sectors of a member in one job: the engine's requests are not longer.
const LONG: u64 = 2048;
/// Sectors of the array that are looked at together where there are no stripes: 4 MiB.
const BATCH: u64 = 8192;

/// What is done next for a range.
pub(super) enum Planned {
    /// One job for several chunks.
    Joined(Box<Joined>),
    /// As it is.
    Step(Step),
}

/// A job for several chunks.
pub(super) struct Joined {
    /// It brings what it reads to memory by itself.
    pub(super) job: Job,
    /// What it is for.
    pub(super) ranges: SmallVec<[Range; 1]>,
    /// The members in the order of the job's sources.
    pub(super) sources: SmallVec<[Slot; 16]>,
}

/// Memory, and the array sector at its first byte.
#[derive(Clone, Debug)]
pub(super) struct Place {
    pub(super) gather: Arc<Gather>,
    pub(super) start: ArraySector,
}

impl Place {
    /// The byte at which an array sector goes.
    fn byte(&self, sector: ArraySector) -> u64 {
        (sector.get() - self.start.get()) * kcopy::SECTOR_SIZE
    }
}

/// How much from `range`'s start on is planned together, as whole stripes if there are any.
pub(super) fn first_batch(view: &View, range: Range) -> Range {
    let geometry = view.geometry();
    let batch = match geometry.stripes() {
        Some(stripes) => {
            let chunk = geometry.chunk().get();
            chunk * u64::from(stripes.data_disks()) * (LONG / chunk.max(1)).max(1)
        }
        None => BATCH,
    };
    let start = range.start.get();
    let end = (start / batch + 1).saturating_mul(batch).min(range.end());
    Range::new(start, end - start)
}

/// Plans to read `range`, no more than [`first_batch`] gave, to memory.
pub(super) fn plan(view: &View, range: Range, to: &Place) -> Vec<Planned> {
    if let Some(job) = band(view, range, to) {
        return vec![job];
    }
    let nobody = HashSet::new();
    let mut planned = Vec::new();
    let mut runs: Vec<Run> = Vec::new();
    for step in steps(view, range, &nobody) {
        let Step::Copy { range, from } = step else {
            planned.push(Planned::Step(step));
            continue;
        };
        let cut = Piece { from: 0, to: to.byte(range.start), bytes: bytes(range.sectors) };
        let continued = |run: &&mut Run| {
            run.slot == from.slot
                && run.start.get() + run.sectors == from.sector.get()
                && run.sectors + range.sectors.get() <= LONG
        };
        match runs.iter_mut().find(continued) {
            Some(run) => {
                run.cuts.push(Piece { from: run.sectors * kcopy::SECTOR_SIZE, ..cut });
                run.ranges.push(range);
                run.sectors += range.sectors.get();
            }
            None => runs.push(Run {
                slot: from.slot,
                start: from.sector,
                sectors: range.sectors.get(),
                cuts: SmallVec::from_slice(&[cut]),
                ranges: SmallVec::from_slice(&[range]),
            }),
        }
    }
    planned.extend(runs.into_iter().filter_map(|run| run.job(view, to)));
    planned
}

fn bytes(sectors: Sectors) -> u64 {
    sectors.get().saturating_mul(kcopy::SECTOR_SIZE)
}

/// Chunks that lie behind each other on a member.
struct Run {
    slot: Slot,
    start: MemberSector,
    sectors: u64,
    cuts: SmallVec<[Piece; 4]>,
    ranges: SmallVec<[Range; 1]>,
}

/// Bytes of a job that go to one place in memory.
#[derive(Clone, Copy, Debug)]
struct Piece {
    from: u64,
    to: u64,
    bytes: u64,
}

impl Run {
    fn job(self, view: &View, to: &Place) -> Option<Planned> {
        let extent = view.leg(self.slot)?.extent(self.start, Sectors::new(self.sectors))?;
        let scatter = Scatter { cuts: self.cuts, gather: Arc::clone(&to.gather) };
        let job = Job::stripe(0, Arc::new(scatter)).from(extent);
        let sources = SmallVec::from_slice(&[self.slot]);
        Some(Planned::Joined(Box::new(Joined { job, ranges: self.ranges, sources })))
    }
}

/// The transform that takes a run apart.
#[derive(Debug)]
struct Scatter {
    cuts: SmallVec<[Piece; 4]>,
    gather: Arc<Gather>,
}

impl Transform for Scatter {
    fn apply(&self, piece: PieceBuffers<'_>) -> Result<(), Errno> {
        let Some(source) = piece.sources.first() else { return Ok(()) };
        let end = piece.offset + u64::try_from(source.len()).map_err(|_| Errno::IO)?;
        for cut in &self.cuts {
            let (low, high) = (cut.from.max(piece.offset), (cut.from + cut.bytes).min(end));
            if low < high {
                let index = |byte: u64| usize::try_from(byte - piece.offset);
                let (Ok(from), Ok(to)) = (index(low), index(high)) else { return Err(Errno::IO) };
                let bytes = source.get(from..to).ok_or(Errno::IO)?;
                self.gather.put(cut.to + (low - cut.from), bytes)?;
            }
        }
        Ok(())
    }
}

/// The job that reads whole stripes, some of whose data is lost, from all members that are left; `None`
/// if nothing is lost or too much, or if `range` is no whole stripes.
fn band(view: &View, range: Range, to: &Place) -> Option<Planned> {
    let geometry = view.geometry();
    let (stripes, chunk) = (*geometry.stripes()?, geometry.chunk().get());
    let width = chunk * u64::from(stripes.data_disks());
    let (first, count) = (range.start.get() / width, range.sectors.get() / width);
    if first * width != range.start.get() || count * width != range.sectors.get() || count == 0 {
        return None;
    }
    let (start, len) = (MemberSector::new(first * chunk), Sectors::new(count * chunk));
    let (mut slots, mut lost) = (SmallVec::<[Slot; 16]>::new(), SmallVec::<[Slot; 2]>::new());
    for slot in (0..stripes.disks()).map(Slot::new) {
        if view.is_good(slot, start, len) { slots.push(slot) } else { lost.push(slot) }
    }
    let parities = usize::try_from(stripes.disks() - stripes.data_disks()).ok()?;
    if lost.is_empty() || lost.len() > parities {
        return None;
    }
    let sources = slots.clone();
    slots.extend(lost.iter().copied());
    let solve = Solve {
        span: Span {
            stripes,
            chunk: chunk * kcopy::SECTOR_SIZE,
            start: start.get() * kcopy::SECTOR_SIZE,
            slots,
        },
        known: sources.len(),
        to: to.clone(),
    };
    let mut job = Job::stripe(u16::try_from(lost.len()).ok()?, Arc::new(solve));
    for slot in &sources {
        job = job.from(view.leg(*slot)?.extent(start, len)?);
    }
    let ranges = SmallVec::from_slice(&[range]);
    Some(Planned::Joined(Box::new(Joined { job, ranges, sources })))
}

/// The transform that computes what is lost of many rows and delivers all data of them.
#[derive(Debug)]
struct Solve {
    span: Span,
    /// How many of the span's slots are read.
    known: usize,
    to: Place,
}

impl Transform for Solve {
    fn apply(&self, mut piece: PieceBuffers<'_>) -> Result<(), Errno> {
        let len = piece.sources.first().map_or(0, |source| source.len());
        for cut in self.span.cuts(piece.offset, len) {
            self.fill(&cut, &mut piece)?;
            let within = self.span.start + piece.offset + u64::try_from(cut.from).unwrap_or(0);
            let within = within % self.span.chunk;
            let buffers = piece.sources.iter().chain(piece.computed.iter());
            for (slot, buffer) in self.span.slots.iter().zip(buffers) {
                let Part::Data { block, .. } = self.span.stripes.part(cut.stripe, *slot) else {
                    continue;
                };
                let data = u64::from(self.span.stripes.data_disks());
                let chunk = cut.stripe * data + u64::from(block);
                let at = chunk * self.span.chunk + within;
                let at = at.checked_sub(self.to.start.get() * kcopy::SECTOR_SIZE);
                let bytes = buffer.get(cut.from..cut.to).ok_or(Errno::IO)?;
                self.to.gather.put(at.ok_or(Errno::IO)?, bytes)?;
            }
        }
        Ok(())
    }
}

impl Solve {
    /// Computes the data that is lost of one row, from data and as many parities as are needed.
    fn fill(&self, cut: &Cut, piece: &mut PieceBuffers<'_>) -> Result<(), Errno> {
        let (have, lost) = self.span.slots.split_at(self.known.min(self.span.slots.len()));
        let mut blocks: SmallVec<[Block<'_>; 16]> = SmallVec::new();
        let mut wanted = 0;
        for (slot, bytes) in lost.iter().zip(&mut piece.computed) {
            let role = self.span.role(cut.stripe, *slot);
            if matches!(role, Role::Data(_)) {
                wanted += 1;
                let bytes = bytes.get_mut(cut.from..cut.to).ok_or(Errno::IO)?;
                blocks.push(Block::wanted(role, bytes));
            }
        }
        if wanted == 0 {
            return Ok(());
        }
        // P first: it is cheaper.
        let is_q = |slot: &&Slot| self.span.role(cut.stripe, **slot) == Role::Q;
        for late in [false, true] {
            for (slot, bytes) in have.iter().zip(&piece.sources) {
                let role = self.span.role(cut.stripe, *slot);
                let parity = matches!(role, Role::P | Role::Q);
                if is_q(&slot) != late || (parity && wanted == 0) {
                    continue;
                }
                wanted -= usize::from(parity);
                let bytes = bytes.get(cut.from..cut.to).ok_or(Errno::IO)?;
                blocks.push(Block::known(role, bytes));
            }
        }
        fill(&mut blocks).map_err(|_| Errno::IO)
    }
}
