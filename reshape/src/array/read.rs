//! Reading: to another device or into memory, reconstructing what is lost.
//!
//! A step that fails is planned again without the member that failed. When no plan is left the
//! range is halved, so that a single bad sector costs no more than its own block. What is read into
//! memory is joined to longer operations first ([`super::join`]).

use std::collections::{HashSet, VecDeque};
use std::sync::Arc;

use kcopy::{Device, Extent, Job, Outcome, Sectors};
use smallvec::SmallVec;

use super::holes::Holes;
use super::join::{self, Joined, Place, Planned};
use super::solve::{Deliver, Solve};
use super::steps::{Row, Step, steps};
use super::{Array, ArrayError, Part, Range, View};
use crate::mover::{Gather, MoveError, Mover};
use crate::units::{ArraySector, Slot};

/// Jobs on their way at once: enough for every member to have some.
const IN_FLIGHT: usize = 512;
/// What cannot be read is named in units of 4 KiB.
const BLOCK: u64 = 8;
/// Windows of a stream that are read while the consumer has one.
const AHEAD: usize = 3;

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

/// What the consumer of a stream says to a window ([`Array::stream`]).
#[derive(Debug)]
pub enum Taken {
    /// Go on; memory that it has no more use for saves making some.
    More(Option<Vec<u8>>),
    /// It wants no more.
    Enough,
}

/// A range that goes to one place.
#[derive(Debug)]
struct Window {
    range: Range,
    target: Target,
    /// Sectors that are not settled.
    left: u64,
}

impl Window {
    /// The byte in the target at which an array sector goes.
    fn byte(&self, sector: ArraySector) -> u64 {
        (sector.get() - self.range.start.get()) * kcopy::SECTOR_SIZE
    }
}

/// A range to be read, for which window, and who is not to be asked.
#[derive(Debug)]
struct Task {
    range: Range,
    window: u64,
    avoid: HashSet<Slot>,
}

/// A step on its way.
#[derive(Debug)]
struct Flight {
    ranges: SmallVec<[Range; 1]>,
    window: u64,
    /// Whether it stands for several steps.
    joined: bool,
    /// The members in the order of the job's sources.
    sources: SmallVec<[Slot; 16]>,
    avoid: HashSet<Slot>,
}

impl Flight {
    fn new(ranges: SmallVec<[Range; 1]>, sources: SmallVec<[Slot; 16]>, window: u64) -> Self {
        Self { ranges, window, joined: false, sources, avoid: HashSet::new() }
    }
}

/// A read under way.
struct Reader<'a> {
    mover: &'a mut Mover,
    /// Is told the bytes that are done; returns false to stop.
    moved: &'a mut dyn FnMut(u64) -> bool,
    done: u64,
    windows: VecDeque<Window>,
    /// The number of the first of them.
    first: u64,
    flights: slab::Slab<Flight>,
    again: VecDeque<Task>,
    holes: Holes,
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
        let mut reader = Reader::new(mover, moved);
        let result = reader.whole(self, range, target);
        reader.end(result)
    }

    /// Reads `range` into memory, window by window of at most `window`, and hands them to `take` in order;
    /// the next ones are read meanwhile.
    ///
    /// Sectors that cannot be read are zeros, and reported.
    ///
    /// # Errors
    ///
    /// As [`Array::read_to`].
    pub fn stream(
        &self,
        mover: &mut Mover,
        (range, window): (Range, Sectors),
        take: &mut dyn FnMut(Vec<u8>) -> Taken,
        moved: &mut dyn FnMut(u64) -> bool,
    ) -> Result<ReadReport, ArrayError> {
        self.check_range(range)?;
        let mut reader = Reader::new(mover, moved);
        let result = reader.stream(self, (range, window), take);
        reader.end(result)
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

/// Where a step reads; `None`: nowhere.
fn sources(view: &View, step: &Step) -> Option<SmallVec<[Extent; 16]>> {
    match step {
        Step::Copy { range, from } => {
            let extent = view.leg(from.slot)?.extent(from.sector, range.sectors)?;
            Some(SmallVec::from_iter([extent]))
        }
        Step::Stripe(row) => {
            let extent = |slot: Slot| view.leg(slot)?.extent(row.start, row.sectors);
            row.known.iter().map(|(slot, _)| extent(*slot)).collect()
        }
        Step::Lost { .. } => None,
    }
}

impl<'a> Reader<'a> {
    fn new(mover: &'a mut Mover, moved: &'a mut dyn FnMut(u64) -> bool) -> Self {
        Self {
            mover,
            moved,
            done: 0,
            windows: VecDeque::new(),
            first: 0,
            flights: slab::Slab::new(),
            again: VecDeque::new(),
            holes: Holes::default(),
            report: ReadReport::default(),
        }
    }
}

impl Reader<'_> {
    /// Waits for the rest, and tells what became of it.
    fn end(mut self, result: Result<(), ArrayError>) -> Result<ReadReport, ArrayError> {
        self.drain();
        result?;
        let mut report = self.report;
        tidy(&mut report.unreadable);
        tidy(&mut report.recovered);
        Ok(report)
    }

    fn whole(&mut self, array: &Array, range: Range, to: &Target) -> Result<(), ArrayError> {
        self.begin_window(array, range, to.clone())?;
        while !self.flights.is_empty() || !self.again.is_empty() {
            self.go_on(array)?;
        }
        Ok(())
    }

    fn stream(
        &mut self,
        array: &Array,
        (range, window): (Range, Sectors),
        take: &mut dyn FnMut(Vec<u8>) -> Taken,
    ) -> Result<(), ArrayError> {
        let (mut at, mut spare) = (range.start.get(), Vec::new());
        loop {
            while self.windows.len() < AHEAD && at < range.end() {
                let next = Range::new(at, window.get().max(1).min(range.end() - at));
                let bytes = next.sectors.checked_bytes().and_then(|bytes| bytes.try_into().ok());
                let memory = spare.pop().unwrap_or_default();
                let bytes = bytes.ok_or(ArrayError::OutOfRange { range, size: array.sectors })?;
                let gather = Arc::new(Gather::within(memory, bytes));
                at = next.end();
                self.begin_window(array, next, Target::Memory(gather))?;
            }
            let Some(front) = self.windows.front() else { return Ok(()) };
            if front.left > 0 {
                self.go_on(array)?;
                continue;
            }
            self.first += 1;
            let Some(Window { target: Target::Memory(gather), .. }) = self.windows.pop_front()
            else {
                return Err(ArrayError::Inconsistent);
            };
            match take(gather.take()) {
                Taken::More(memory) => spare.extend(memory),
                Taken::Enough => return Ok(()),
            }
        }
    }

    /// Begins all of a window, waiting where too much is on its way.
    fn begin_window(&mut self, array: &Array, range: Range, to: Target) -> Result<(), ArrayError> {
        let number = self.first + u64::try_from(self.windows.len()).unwrap_or(0);
        self.windows.push_back(Window { range, target: to, left: range.sectors.get() });
        for (part, from) in array.parts(range) {
            match from {
                Part::Overlay(overlay) => {
                    let into = part.start.get() - overlay.range.start.get();
                    let offset = overlay.offset + into * kcopy::SECTOR_SIZE;
                    let bytes = part.sectors.get() * kcopy::SECTOR_SIZE;
                    let extent = Extent::new(&overlay.device, offset, bytes);
                    let job = self.copy(extent, part.start, number)?;
                    let ranges = SmallVec::from_slice(&[part]);
                    self.submit(job, Flight::new(ranges, SmallVec::new(), number))?;
                }
                Part::View(view) => self.begin_part(array, view, part, number)?,
            }
        }
        Ok(())
    }

    fn begin_part(
        &mut self,
        array: &Array,
        view: &View,
        part: Range,
        number: u64,
    ) -> Result<(), ArrayError> {
        let window = self.window(number)?;
        let Target::Memory(gather) = &window.target else {
            let nobody = HashSet::new();
            for step in steps(view, part, &nobody) {
                self.make_room(array)?;
                if self.is_there(view, &step, number)? {
                    continue;
                }
                self.begin(view, step, HashSet::new(), number)?;
            }
            return Ok(());
        };
        let place = Place { gather: Arc::clone(gather), start: window.range.start };
        let mut at = part.start.get();
        while at < part.end() {
            let batch = join::first_batch(view, Range::new(at, part.end() - at));
            at = batch.end();
            self.make_room(array)?;
            for planned in join::plan(view, batch, &place) {
                match planned {
                    Planned::Step(step) => self.begin(view, step, HashSet::new(), number)?,
                    Planned::Joined(joined) => {
                        let Joined { job, ranges, sources } = *joined;
                        let flight = Flight::new(ranges, sources, number);
                        self.submit(job, Flight { joined: true, ..flight })?;
                    }
                }
            }
        }
        Ok(())
    }

    /// Whether a step would read holes, and write zeros into a hole of the target: then there is nothing to do.
    fn is_there(&mut self, view: &View, step: &Step, number: u64) -> Result<bool, ArrayError> {
        let window = self.window(number)?;
        let Target::Device { device, offset } = &window.target else { return Ok(false) };
        let target = |range: &Range| {
            let at = offset + window.byte(range.start);
            Extent::new(device, at, range.sectors.get() * kcopy::SECTOR_SIZE)
        };
        let ranges = step.ranges();
        let targets: SmallVec<[Extent; 16]> = ranges.iter().map(target).collect();
        let there = sources(view, step).is_some_and(|sources| {
            sources.iter().chain(&targets).all(|extent| self.holes.is_hole(extent))
        });
        if there {
            let sectors: u64 = ranges.iter().map(|range| range.sectors.get()).sum();
            self.settle(number, sectors);
            self.done += sectors * kcopy::SECTOR_SIZE;
            if !(self.moved)(self.done) {
                return Err(MoveError::Cancelled.into());
            }
        }
        Ok(there)
    }

    fn make_room(&mut self, array: &Array) -> Result<(), ArrayError> {
        while self.flights.len() >= IN_FLIGHT || !self.again.is_empty() {
            self.go_on(array)?;
        }
        Ok(())
    }

    /// Plans again what failed, or takes in one outcome.
    fn go_on(&mut self, array: &Array) -> Result<(), ArrayError> {
        self.done += self.wait_or_retry(array)?;
        if (self.moved)(self.done) { Ok(()) } else { Err(MoveError::Cancelled.into()) }
    }

    fn window(&self, number: u64) -> Result<&Window, ArrayError> {
        let index = number.checked_sub(self.first).and_then(|index| usize::try_from(index).ok());
        index.and_then(|index| self.windows.get(index)).ok_or(ArrayError::Inconsistent)
    }

    /// Sectors of a window are there, or given up.
    fn settle(&mut self, number: u64, sectors: u64) {
        let index = number.checked_sub(self.first).and_then(|index| usize::try_from(index).ok());
        if let Some(window) = index.and_then(|index| self.windows.get_mut(index)) {
            window.left = window.left.saturating_sub(sectors);
        }
    }

    /// Plans again what failed, or takes in one outcome; returns the bytes that are done.
    fn wait_or_retry(&mut self, array: &Array) -> Result<u64, ArrayError> {
        let Some(task) = self.again.pop_front() else { return self.wait() };
        for (part, from) in array.parts(task.range) {
            let Part::View(view) = from else {
                self.lose(part, task.window)?;
                continue;
            };
            let planned: Vec<Step> = steps(view, part, &task.avoid).collect();
            for step in planned {
                self.begin(view, step, task.avoid.clone(), task.window)?;
            }
        }
        Ok(0)
    }

    /// Nothing and nobody has this range: it is zeros in memory.
    fn lose(&mut self, range: Range, number: u64) -> Result<(), ArrayError> {
        self.report.unreadable.push(range);
        let window = self.window(number)?;
        if let Target::Memory(gather) = &window.target {
            let at = window.byte(range.start);
            let bytes = range.sectors.checked_bytes().and_then(|bytes| bytes.try_into().ok());
            let zeros = vec![0; bytes.ok_or(ArrayError::Inconsistent)?];
            gather.put(at, &zeros).map_err(|_| ArrayError::Inconsistent)?;
        }
        self.settle(number, range.sectors.get());
        Ok(())
    }

    fn begin(
        &mut self,
        view: &View,
        step: Step,
        avoid: HashSet<Slot>,
        number: u64,
    ) -> Result<(), ArrayError> {
        let ranges = step.ranges();
        let (job, sources) = match step {
            Step::Copy { range, from } => {
                let leg =
                    view.leg(from.slot).and_then(|leg| leg.extent(from.sector, range.sectors));
                let Some(extent) = leg else { return self.give_up(range, &avoid, number) };
                (self.copy(extent, range.start, number)?, SmallVec::from_slice(&[from.slot]))
            }
            Step::Stripe(row) => {
                let Some(job) = self.stripe(view, &row, number) else {
                    return ranges
                        .iter()
                        .try_for_each(|range| self.give_up(*range, &avoid, number));
                };
                (job, row.known.iter().map(|(slot, _)| *slot).collect())
            }
            Step::Lost { range } => return self.give_up(range, &avoid, number),
        };
        self.submit(job, Flight { avoid, ..Flight::new(ranges, sources, number) })
    }

    fn submit(&mut self, job: Job, flight: Flight) -> Result<(), ArrayError> {
        let key = self.flights.insert(flight);
        let tag = u64::try_from(key).unwrap_or(u64::MAX);
        self.mover.submit(job, tag).map_err(ArrayError::Move).inspect_err(|_| {
            self.flights.remove(key);
        })
    }

    fn copy(&self, from: Extent, start: ArraySector, number: u64) -> Result<Job, ArrayError> {
        let window = self.window(number)?;
        let at = window.byte(start);
        Ok(match &window.target {
            Target::Device { device, offset } => {
                let to = Extent::new(device, offset + at, from.len);
                Job::copy(from).to(to)
            }
            Target::Memory(gather) => Job::stripe(0, gather.at(at)).from(from),
        })
    }

    fn stripe(&self, view: &View, row: &Row, number: u64) -> Option<Job> {
        let window = self.window(number).ok()?;
        let at = |(index, sector): &(usize, ArraySector)| (*index, window.byte(*sector));
        let deliver = match &window.target {
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
        if let Target::Device { device, offset } = &window.target {
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
        let Flight { ranges, window: number, .. } = flight;
        if let Some((source, _)) = outcome.read {
            let mut avoid = flight.avoid;
            // A joined job is taken apart: most of it can be read as it is.
            if !flight.joined {
                avoid.extend(flight.sources.get(source));
                self.report.recovered.extend(ranges.iter().copied());
            }
            for range in ranges {
                self.again.push_back(Task { range, window: number, avoid: avoid.clone() });
            }
            return Ok(0);
        }
        if let Target::Device { device, .. } = &self.window(number)?.target {
            let fault = outcome.destinations.iter().find_map(|destination| destination.error);
            if let Some(fault) = fault {
                let path = device.path().to_owned();
                return Err(MoveError::Write { path, fault }.into());
            }
        }
        if outcome.cancelled {
            return Err(MoveError::Cancelled.into());
        }
        let sectors: u64 = ranges.iter().map(|range| range.sectors.get()).sum();
        self.settle(number, sectors);
        Ok(sectors * kcopy::SECTOR_SIZE)
    }

    /// No plan is left for `range`: smaller ones may have one, if members failed on the way.
    fn give_up(
        &mut self,
        range: Range,
        avoid: &HashSet<Slot>,
        number: u64,
    ) -> Result<(), ArrayError> {
        self.report.recovered.retain(|other| *other != range);
        let sectors = range.sectors.get();
        if avoid.is_empty() || sectors <= BLOCK {
            return self.lose(range, number);
        }
        let first = (sectors / 2).next_multiple_of(BLOCK).min(sectors);
        let halves = [
            Range { start: range.start, sectors: Sectors::new(first) },
            Range::new(range.start.get() + first, sectors - first),
        ];
        for range in halves.into_iter().filter(|half| half.sectors.get() > 0) {
            self.again.push_back(Task { range, window: number, avoid: HashSet::new() });
        }
        Ok(())
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
