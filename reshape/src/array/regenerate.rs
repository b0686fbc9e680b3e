//! What a member holds, computed from all others.
//!
//! A source that cannot be read is left out where it fails, a block at a time, as long as the others suffice:
//!
//! ```text
//!  part of a run ──▶ read, computed, written ──▶ done
//!                      │ a source fails at a sector
//!                      ▼
//!            what is before it │ its block, without that source │ what is behind it
//! ```
//!
//! One that fails again and again is asked only where all the others do not suffice.

use std::collections::{BTreeMap, VecDeque};
use std::ops::Range;
use std::sync::Arc;

use kcopy::{Extent, Fault, Job, Sectors};
use smallvec::SmallVec;

use super::holes::Holes;
use super::rows::{Regenerate, Span};
use super::{Array, ArrayError, Map, View};
use crate::geometry::{Geometry, On, Place};
use crate::mover::{MoveError, Mover, check_written};
use crate::units::{MemberSector, Slot};

/// Sectors of the member in one job.
const SPAN: u64 = 32768;
/// Jobs on their way at once.
const IN_FLIGHT: usize = 4;
/// Sectors that are computed without a source that could not read one of them.
const BLOCK: u64 = 8;
/// So many failures, and a source is asked only where it has to be.
const MISSES: u32 = 8;

impl Array {
    /// Computes rows of the member in `slot` from all others.
    pub(crate) fn regenerate(
        &self,
        mover: &mut Mover,
        slot: Slot,
        rows: Range<u64>,
        moved: &mut dyn FnMut(u64) -> bool,
    ) -> Result<(), ArrayError> {
        let Map::Whole(view) = &self.map else { return Err(ArrayError::Reshaping) };
        let mut runs = runs(view.geometry(), slot, rows);
        let limit = if view.geometry().mirrors().is_some() { IN_FLIGHT * 64 } else { IN_FLIGHT };
        let mut filling = Filling {
            view,
            slot,
            flights: slab::Slab::new(),
            parts: VecDeque::new(),
            holes: Holes::default(),
            misses: BTreeMap::new(),
            done: 0,
            failure: None,
        };
        loop {
            while filling.flights.len() < limit && filling.failure.is_none() {
                if let Some(part) = filling.parts.pop_front() {
                    filling.begin(mover, part);
                    continue;
                }
                let Some(run) = runs.next() else { break };
                filling.cut(run, moved);
            }
            if filling.flights.is_empty() {
                return filling.failure.map_or(Ok(()), Err);
            }
            filling.land(mover, moved)?;
        }
    }
}

/// A part of a run.
#[derive(Clone, Debug)]
struct Part {
    start: MemberSector,
    sectors: u64,
    /// Members that could not read it.
    without: SmallVec<[Slot; 2]>,
    /// What the last of them said.
    fault: Option<Fault>,
}

impl Part {
    fn of((start, sectors): (MemberSector, u64)) -> Self {
        Self { start, sectors, without: SmallVec::new(), fault: None }
    }

    fn end(&self) -> u64 {
        self.start.get() + self.sectors
    }

    /// Nobody can tell what it holds: `range` of the array.
    fn lost(&self, range: super::Range) -> ArrayError {
        match self.fault {
            Some(fault) => ArrayError::Source { fault },
            None => ArrayError::Unreadable { range },
        }
    }

    /// Sectors `range` of it.
    fn cut(&self, range: Range<u64>) -> Self {
        let sectors = range.end.saturating_sub(range.start);
        Self { start: MemberSector::new(range.start), sectors, ..self.clone() }
    }
}

/// A member that is being filled.
struct Filling<'a> {
    view: &'a View,
    slot: Slot,
    /// What is on its way, with the members that are read.
    flights: slab::Slab<(Part, SmallVec<[Slot; 16]>)>,
    parts: VecDeque<Part>,
    holes: Holes,
    /// How often a member could not be read.
    misses: BTreeMap<Slot, u32>,
    /// Bytes.
    done: u64,
    failure: Option<ArrayError>,
}

impl Filling<'_> {
    /// Takes a run apart: where all others have holes it is zeros, and so is a hole of its own.
    fn cut(&mut self, run: (MemberSector, u64), moved: &mut dyn FnMut(u64) -> bool) {
        match self.ends(&Part::of(run)) {
            Ok(ends) => {
                self.parts.extend(ends.data(&mut self.holes, run).into_iter().map(Part::of));
            }
            Err(error) => self.failure = Some(error),
        }
        let left: u64 = self.parts.iter().map(|part| part.sectors).sum();
        self.done += (run.1 - left) * kcopy::SECTOR_SIZE;
        if left == 0 && self.failure.is_none() && !moved(self.done) {
            self.failure = Some(MoveError::Cancelled.into());
        }
    }

    fn begin(&mut self, mover: &mut Mover, part: Part) {
        let job = self.ends(&part).and_then(|ends| {
            let slots = ends.sources.iter().map(|(slot, _)| *slot).collect();
            Ok((self.job(&part, ends)?, slots))
        });
        let submitted = job.and_then(|(job, slots)| {
            let key = self.flights.insert((part, slots));
            let submitted = mover.submit(job, u64::try_from(key).unwrap_or(u64::MAX));
            if submitted.is_err() {
                self.flights.remove(key);
            }
            Ok(submitted?)
        });
        if let Err(error) = submitted {
            self.failure = Some(error);
        }
    }

    /// Takes in one outcome.
    fn land(
        &mut self,
        mover: &mut Mover,
        moved: &mut dyn FnMut(u64) -> bool,
    ) -> Result<(), ArrayError> {
        let Some(ended) = mover.next()? else { return Err(ArrayError::Inconsistent) };
        let key = usize::try_from(ended.tag).unwrap_or(usize::MAX);
        let Some((part, slots)) = self.flights.try_remove(key) else { return Ok(()) };
        if let Some((source, fault)) = ended.outcome.read {
            let slot = slots.get(source).copied().ok_or(ArrayError::Inconsistent)?;
            self.unreadable(&part, slot, fault);
            return Ok(());
        }
        self.done += part.sectors * kcopy::SECTOR_SIZE;
        let device = self.view.leg(self.slot).map(|leg| &leg.device);
        let written = check_written(&ended.outcome, &device.into_iter().collect::<Vec<_>>());
        if self.failure.is_some() {
            return Ok(());
        }
        if let Err(error) = written {
            self.failure = Some(error.into());
        } else if !moved(self.done) {
            self.failure = Some(MoveError::Cancelled.into());
        }
        Ok(())
    }

    /// A member could not read a sector of a part: its block is computed without it.
    fn unreadable(&mut self, part: &Part, slot: Slot, fault: Fault) {
        let misses = self.misses.entry(slot).or_default();
        *misses = misses.saturating_add(1);
        if *misses == 1 {
            tracing::warn!(%slot, %fault, "a member cannot be read: what it holds is computed");
        }
        let offset = self.view.leg(slot).map_or(0, |leg| leg.data_offset.get());
        let (start, end) = (part.start.get(), part.end());
        let last = end.saturating_sub(1).max(start);
        let bad = fault.sector.get().saturating_sub(offset).clamp(start, last);
        let low = (bad / BLOCK * BLOCK).max(start);
        let high = (bad / BLOCK * BLOCK + BLOCK).min(end);
        let mut block = Part { fault: Some(fault), ..part.cut(low..high) };
        block.without.push(slot);
        let parts = [part.cut(start..low), block, part.cut(high..end)];
        for part in parts.into_iter().rev().filter(|part| part.sectors > 0) {
            self.parts.push_front(part);
        }
    }

    /// Whether a member fails so often that it is asked last.
    fn is_shunned(&self, slot: Slot) -> bool {
        self.misses.get(&slot).is_some_and(|misses| *misses >= MISSES)
    }

    /// What is read for a part, and where it goes.
    fn ends(&self, part: &Part) -> Result<Ends, ArrayError> {
        let (view, slot, start, len) =
            (self.view, self.slot, part.start, Sectors::new(part.sectors));
        let target = view.leg(slot).and_then(|leg| leg.extent(start, len));
        let target = target.ok_or(ArrayError::Inconsistent)?;
        let geometry = view.geometry();
        let asked = |slot: Slot| slot != self.slot && !part.without.contains(&slot);
        if let Some(stripes) = geometry.stripes() {
            let good = (0..stripes.disks()).map(Slot::new).filter(|slot| asked(*slot));
            let extent = |slot| {
                let leg = view.leg(slot).filter(|leg| leg.is_good(start, len))?;
                Some((slot, leg.extent(start, len)?))
            };
            let mut sources: SmallVec<[(Slot, Extent); 16]> = good.filter_map(extent).collect();
            let needed =
                usize::try_from(stripes.data_disks()).map_err(|_| ArrayError::Inconsistent)?;
            // Those that fail go last, and only as many stay of them as have to.
            sources.sort_by_key(|(slot, _)| self.is_shunned(*slot));
            let usual = sources.iter().filter(|(slot, _)| !self.is_shunned(*slot)).count();
            sources.truncate(usual.max(needed));
            if sources.len() < needed {
                return Err(part.lost(rows_of(geometry.chunk().get(), stripes.data_disks(), part)));
            }
            return Ok(Ends { sources, target });
        }
        let On::Data(sector) = geometry.on(slot, start) else {
            return Err(ArrayError::Inconsistent);
        };
        let at = geometry.at(sector).ok_or(ArrayError::Inconsistent)?;
        let good =
            |place: &&Place| asked(place.slot) && view.is_good(place.slot, place.sector, len);
        let from = at.places.iter().filter(good).min_by_key(|place| self.is_shunned(place.slot));
        let from = from.and_then(|place| {
            let extent = view.leg(place.slot)?.extent(place.sector, len)?;
            Some((place.slot, extent))
        });
        let range = super::Range { start: sector, sectors: len };
        let sources = SmallVec::from_iter([from.ok_or_else(|| part.lost(range))?]);
        Ok(Ends { sources, target })
    }

    /// The job that computes a part.
    fn job(&self, part: &Part, Ends { sources, target }: Ends) -> Result<Job, ArrayError> {
        let geometry = self.view.geometry();
        let Some(stripes) = geometry.stripes() else {
            let (_, from) = sources.into_iter().next().ok_or(ArrayError::Inconsistent)?;
            return Ok(Job::copy(from).to(target));
        };
        let computed = u16::try_from(sources.len()).map_err(|_| ArrayError::Inconsistent)?;
        let slots = sources.iter().map(|(slot, _)| *slot).chain([self.slot]).collect();
        let span = Span {
            stripes: *stripes,
            chunk: geometry.chunk().get() * kcopy::SECTOR_SIZE,
            start: part.start.get() * kcopy::SECTOR_SIZE,
            slots,
        };
        let mut job = Job::stripe(1, Arc::new(Regenerate { span }));
        for (_, source) in sources {
            job = job.from(source);
        }
        Ok(job.to_from(target, computed))
    }
}

/// The runs of a member that hold something, cut for jobs.
fn runs(
    geometry: &Geometry,
    slot: Slot,
    rows: Range<u64>,
) -> Box<dyn Iterator<Item = (MemberSector, u64)> + '_> {
    let step = if geometry.mirrors().is_some() { geometry.chunk().get() } else { SPAN };
    let cut = move |n: u64| {
        let start = (n * step).max(rows.start);
        (MemberSector::new(start), ((n + 1) * step).min(rows.end) - start)
    };
    let runs = (rows.start / step..rows.end.div_ceil(step)).map(cut);
    let used = move |run: &(MemberSector, u64)| geometry.on(slot, run.0) != On::Unused;
    Box::new(runs.filter(used))
}

/// The sectors of the array in the rows of a part.
fn rows_of(chunk: u64, data: u32, part: &Part) -> super::Range {
    let (first, end) = (part.start.get() / chunk, part.end().div_ceil(chunk));
    let width = chunk * u64::from(data);
    super::Range::new(first * width, (end - first) * width)
}

/// What the job of a run reads and writes.
struct Ends {
    /// With the members that they are on; for copies there is one. As many as it takes, or more.
    sources: SmallVec<[(Slot, Extent); 16]>,
    target: Extent,
}

impl Ends {
    /// What of a run is to be computed: not what all have holes in.
    fn data(&self, holes: &mut Holes, run: (MemberSector, u64)) -> Vec<(MemberSector, u64)> {
        let sources = self.sources.iter().map(|(_, extent)| extent);
        let extents: SmallVec<[Extent; 16]> = sources.chain([&self.target]).cloned().collect();
        let sector = |bytes: u64| bytes / kcopy::SECTOR_SIZE;
        let part = |part: Range<u64>| {
            let start = MemberSector::new(run.0.get() + sector(part.start));
            (start, sector(part.end - part.start))
        };
        holes.data_in(&extents).into_iter().map(part).collect()
    }
}

#[cfg(test)]
mod tests {
    use kcopy::backend::sim::{DiskOptions, SimWorld};

    use super::*;

    #[test]
    fn what_all_have_holes_in_is_left_alone() {
        let world = SimWorld::new(1);
        let extent = || {
            let disk = world.add_disk(DiskOptions::new(1 << 20).sparse());
            Extent::new(&disk.device(), 0, 1 << 20)
        };
        let run = (MemberSector::new(0), 2048);
        let sources = || (0..2).map(|slot| (Slot::new(slot), extent())).collect();
        let ends = || Ends { sources: sources(), target: extent() };
        assert_eq!(ends().data(&mut Holes::default(), run), []);
        let old = world.add_disk(DiskOptions::new(1 << 20).sparse());
        old.write(128 << 10, &[1]);
        let found = Ends { target: Extent::new(&old.device(), 0, 1 << 20), ..ends() };
        assert_eq!(found.data(&mut Holes::default(), run), [(MemberSector::new(256), 128)]);
    }
}
