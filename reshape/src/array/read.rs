//! Reading: to another device or into memory, reconstructing what is lost.
//!
//! A step that fails is planned again without the member that failed. When no plan is left the
//! range is halved, so that a single bad sector costs no more than its own block.

use std::collections::{HashSet, VecDeque};
use std::sync::Arc;

use kcopy::{Device, Extent, Job, Outcome, Sectors};
use smallvec::SmallVec;

use super::solve::{Deliver, Solve};
use super::steps::{Row, Step, steps};
use super::{Array, ArrayError, Part, Range, View};
use crate::mover::{Gather, MoveError, Mover};
use crate::units::{ArraySector, Slot};

/// Jobs on their way at once: enough for every member to have some.
const IN_FLIGHT: usize = 512;
/// What cannot be read is named in units of 4 KiB.
const BLOCK: u64 = 8;

/// Where content goes to.
#[derive(Clone, Debug)]
pub enum Target {
    /// A device or file.
    Device {
        /// Which.
        device: Device,
        /// The byte at which the first sector of the range goes.
        offset: u64,
    },
    /// Memory, from its first byte on.
    Memory(Arc<Gather>),
}

/// What became of a read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ReadReport {
    /// Sectors that could be neither read nor computed; nothing was written for them.
    pub unreadable: Vec<Range>,
    /// Sectors that a member could not deliver and that were taken from elsewhere.
    pub recovered: Vec<Range>,
}

/// A range to be read, and who is not to be asked.
#[derive(Debug)]
struct Task {
    range: Range,
    avoid: HashSet<Slot>,
}

/// A step on its way.
#[derive(Debug)]
struct Flight {
    ranges: SmallVec<[Range; 1]>,
    /// The members in the order of the job's sources.
    sources: SmallVec<[Slot; 16]>,
    avoid: HashSet<Slot>,
}

/// A read under way.
struct Reader<'a> {
    mover: &'a mut Mover,
    target: &'a Target,
    start: ArraySector,
    flights: slab::Slab<Flight>,
    again: VecDeque<Task>,
    report: ReadReport,
}

impl Array {
    /// Reads `range` to `target`.
    ///
    /// Sectors that cannot be read are reported, not an error. `moved` is called with the bytes done
    /// so far; it returns false to stop early.
    ///
    /// # Errors
    ///
    /// A range outside the array, a target that cannot be written, a broken backend, or
    /// [`MoveError::Cancelled`] after `moved` returned false.
    pub fn read_to(
        &self,
        mover: &mut Mover,
        range: Range,
        target: &Target,
        moved: &mut dyn FnMut(u64) -> bool,
    ) -> Result<ReadReport, ArrayError> {
        self.check_range(range)?;
        let mut reader = Reader {
            mover,
            target,
            start: range.start,
            flights: slab::Slab::new(),
            again: VecDeque::new(),
            report: ReadReport::default(),
        };
        let result = reader.run(self, range, moved);
        reader.drain();
        result?;
        let mut report = reader.report;
        tidy(&mut report.unreadable);
        tidy(&mut report.recovered);
        Ok(report)
    }

    /// The content of `range` in memory.
    ///
    /// # Errors
    ///
    /// As [`Array::read_to`]; sectors that cannot be read are zero and reported.
    pub fn read(
        &self,
        mover: &mut Mover,
        range: Range,
    ) -> Result<(Vec<u8>, ReadReport), ArrayError> {
        let bytes = range.sectors.checked_bytes().and_then(|bytes| usize::try_from(bytes).ok());
        let size = self.sectors;
        let bytes = bytes.ok_or(ArrayError::OutOfRange { range, size })?;
        let gather = Arc::new(Gather::new(bytes));
        let report =
            self.read_to(mover, range, &Target::Memory(Arc::clone(&gather)), &mut |_| true)?;
        Ok((gather.take(), report))
    }
}

/// Sorts ranges and joins those that touch.
fn tidy(ranges: &mut Vec<Range>) {
    ranges.sort_unstable_by_key(|range| range.start);
    let mut joined: Vec<Range> = Vec::with_capacity(ranges.len());
    for range in ranges.drain(..) {
        match joined.last_mut() {
            Some(last) if last.end() >= range.start.get() => {
                let end = last.end().max(range.end());
                *last = Range::new(last.start.get(), end - last.start.get());
            }
            _ => joined.push(range),
        }
    }
    *ranges = joined;
}

impl Reader<'_> {
    fn run(
        &mut self,
        array: &Array,
        range: Range,
        moved: &mut dyn FnMut(u64) -> bool,
    ) -> Result<(), ArrayError> {
        let mut done = 0;
        for (part, from) in array.parts(range) {
            match from {
                Part::Overlay(overlay) => {
                    let into = part.start.get() - overlay.range.start.get();
                    let offset = overlay.offset + into * kcopy::SECTOR_SIZE;
                    let bytes = part.sectors.get() * kcopy::SECTOR_SIZE;
                    let extent = Extent::new(&overlay.device, offset, bytes);
                    let flight = Flight {
                        ranges: SmallVec::from_slice(&[part]),
                        sources: SmallVec::new(),
                        avoid: HashSet::new(),
                    };
                    let job = self.copy(extent, part.start);
                    self.submit(job, flight)?;
                }
                Part::View(view) => {
                    let nobody = HashSet::new();
                    for step in steps(view, part, &nobody) {
                        while self.flights.len() >= IN_FLIGHT || !self.again.is_empty() {
                            done += self.wait_or_retry(array)?;
                            if !moved(done) {
                                return Err(MoveError::Cancelled.into());
                            }
                        }
                        self.begin(view, step, HashSet::new())?;
                    }
                }
            }
        }
        while !self.flights.is_empty() || !self.again.is_empty() {
            done += self.wait_or_retry(array)?;
            if !moved(done) {
                return Err(MoveError::Cancelled.into());
            }
        }
        Ok(())
    }

    /// Plans again what failed, or takes in one outcome; returns the bytes that are done.
    fn wait_or_retry(&mut self, array: &Array) -> Result<u64, ArrayError> {
        let Some(task) = self.again.pop_front() else { return self.wait() };
        for (part, from) in array.parts(task.range) {
            let Part::View(view) = from else {
                self.report.unreadable.push(part);
                continue;
            };
            let planned: Vec<Step> = steps(view, part, &task.avoid).collect();
            for step in planned {
                self.begin(view, step, task.avoid.clone())?;
            }
        }
        Ok(0)
    }

    fn begin(&mut self, view: &View, step: Step, avoid: HashSet<Slot>) -> Result<(), ArrayError> {
        let ranges = step.ranges();
        let (job, sources) = match step {
            Step::Copy { range, from } => {
                let leg =
                    view.leg(from.slot).and_then(|leg| leg.extent(from.sector, range.sectors));
                let Some(extent) = leg else {
                    self.give_up(range, &avoid);
                    return Ok(());
                };
                (self.copy(extent, range.start), SmallVec::from_slice(&[from.slot]))
            }
            Step::Stripe(row) => {
                let Some(job) = self.stripe(view, &row) else {
                    ranges.iter().for_each(|range| self.give_up(*range, &avoid));
                    return Ok(());
                };
                (job, row.known.iter().map(|(slot, _)| *slot).collect())
            }
            Step::Lost { range } => {
                self.give_up(range, &avoid);
                return Ok(());
            }
        };
        self.submit(job, Flight { ranges, sources, avoid })
    }

    fn submit(&mut self, job: Job, flight: Flight) -> Result<(), ArrayError> {
        let key = self.flights.insert(flight);
        let tag = u64::try_from(key).unwrap_or(u64::MAX);
        self.mover.submit(job, tag).map_err(ArrayError::Move).inspect_err(|_| {
            self.flights.remove(key);
        })
    }

    /// The byte in the target at which an array sector goes.
    fn offset(&self, sector: ArraySector) -> u64 {
        (sector.get() - self.start.get()) * kcopy::SECTOR_SIZE
    }

    fn copy(&self, from: Extent, start: ArraySector) -> Job {
        let at = self.offset(start);
        match self.target {
            Target::Device { device, offset } => {
                let to = Extent::new(device, offset + at, from.len);
                Job::copy(from).to(to)
            }
            Target::Memory(gather) => Job::stripe(0, gather.at(at)).from(from),
        }
    }

    fn stripe(&self, view: &View, row: &Row) -> Option<Job> {
        let at = |(index, sector): &(usize, ArraySector)| (*index, self.offset(*sector));
        let deliver = match self.target {
            Target::Device { .. } => Deliver::Nothing,
            Target::Memory(gather) => {
                Deliver::To(Arc::clone(gather), row.wanted.iter().map(at).collect())
            }
        };
        let computed = u16::try_from(row.computed.len()).ok()?;
        let mut job = Job::stripe(computed, Arc::new(Solve::new(row, deliver)));
        for (slot, _) in &row.known {
            job = job.from(view.leg(*slot)?.extent(row.start, row.sectors)?);
        }
        if let Target::Device { device, offset } = self.target {
            for wanted in &row.wanted {
                let (index, at) = at(wanted);
                let to = Extent::new(device, offset + at, row.sectors.checked_bytes()?);
                job = job.to_from(to, u16::try_from(index).ok()?);
            }
        }
        Some(job)
    }

    fn wait(&mut self) -> Result<u64, ArrayError> {
        let Some(done) = self.mover.next()? else { return Ok(0) };
        let key = usize::try_from(done.tag).unwrap_or(usize::MAX);
        let flight = self.flights.try_remove(key);
        let Some(flight) = flight else { return Ok(0) };
        self.take_in(&done.outcome, flight)
    }

    fn take_in(&mut self, outcome: &Outcome, flight: Flight) -> Result<u64, ArrayError> {
        if let Some((source, _)) = outcome.read {
            let mut avoid = flight.avoid;
            avoid.extend(flight.sources.get(source));
            for range in flight.ranges {
                self.report.recovered.push(range);
                self.again.push_back(Task { range, avoid: avoid.clone() });
            }
            return Ok(0);
        }
        if let Target::Device { device, .. } = self.target {
            let fault = outcome.destinations.iter().find_map(|destination| destination.error);
            if let Some(fault) = fault {
                let path = device.path().to_owned();
                return Err(MoveError::Write { path, fault }.into());
            }
        }
        if outcome.cancelled {
            return Err(MoveError::Cancelled.into());
        }
        Ok(flight.ranges.iter().map(|range| range.sectors.get() * kcopy::SECTOR_SIZE).sum())
    }

    /// No plan is left for `range`: smaller ones may have one, if members failed on the way.
    fn give_up(&mut self, range: Range, avoid: &HashSet<Slot>) {
        self.report.recovered.retain(|other| *other != range);
        let sectors = range.sectors.get();
        if avoid.is_empty() || sectors <= BLOCK {
            self.report.unreadable.push(range);
            return;
        }
        let first = (sectors / 2).next_multiple_of(BLOCK).min(sectors);
        let halves = [
            Range { start: range.start, sectors: Sectors::new(first) },
            Range::new(range.start.get() + first, sectors - first),
        ];
        for range in halves.into_iter().filter(|half| half.sectors.get() > 0) {
            self.again.push_back(Task { range, avoid: HashSet::new() });
        }
    }

    /// Waits for what is still on its way, so that nothing is written after the call.
    fn drain(&mut self) {
        while !self.flights.is_empty() {
            match self.mover.next() {
                Ok(Some(done)) => {
                    self.flights.try_remove(usize::try_from(done.tag).unwrap_or(usize::MAX));
                }
                Ok(None) | Err(_) => break,
            }
        }
    }
}
