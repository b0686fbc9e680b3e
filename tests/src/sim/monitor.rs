//! The rules that every operation must keep, checked as the trace grows.

use std::collections::HashMap;
use std::ops::Range;

use kcopy::backend::sim::{DiskId, Event, OpKind, Phase};
use kcopy::{Flags, JobKind};

use super::oracle::Truth;
use super::scenario::{JobPlan, Place, Scenario};

/// How much of the rate a throttle may save up: 20 ms of it.
const BURST_NANOS: u64 = 20_000_000;

/// What is known of one side of a job at this moment.
#[derive(Debug, Default)]
struct Side {
    in_flight: u32,
    /// End of the last write that was issued.
    issued_to: u64,
}

/// What is known of one job at this moment.
#[derive(Debug, Default)]
struct Watch {
    /// Nothing new may be issued, from this line of the trace on.
    stopped_at: Option<usize>,
    sides: Vec<Side>,
}

/// Reads the trace line by line.
#[derive(Debug)]
pub struct Monitor {
    /// Where writes may fall: per disk, joined ranges.
    writable: HashMap<DiskId, Vec<Range<u64>>>,
    readable: HashMap<DiskId, Vec<Range<u64>>>,
    flushable: Vec<DiskId>,
    jobs: Vec<JobPlan>,
    watches: Vec<Watch>,
    /// Reads in flight: when they were issued.
    reading: HashMap<u64, u64>,
    /// Reads: when they were issued, and the bytes that came of it.
    starts: Vec<(u64, u64)>,
    /// Lines seen.
    pub lines: usize,
    /// What failed and what was written.
    pub truth: Truth,
}

fn disk(place: &Place) -> DiskId {
    DiskId(u32::try_from(place.disk).expect("few disks"))
}

fn join(mut ranges: Vec<Range<u64>>) -> Vec<Range<u64>> {
    ranges.sort_by_key(|range| range.start);
    let mut joined: Vec<Range<u64>> = Vec::new();
    for range in ranges {
        match joined.last_mut() {
            Some(last) if range.start <= last.end => last.end = last.end.max(range.end),
            _ => joined.push(range),
        }
    }
    joined
}

impl Monitor {
    /// A monitor for this run.
    pub fn new(scenario: &Scenario) -> Self {
        let mut writable: HashMap<DiskId, Vec<Range<u64>>> = HashMap::new();
        let mut readable: HashMap<DiskId, Vec<Range<u64>>> = HashMap::new();
        let mut flushable = Vec::new();
        for job in &scenario.jobs {
            let range = |place: &Place| place.offset..place.offset + job.len;
            for place in &job.sources {
                readable.entry(disk(place)).or_default().push(range(place));
            }
            for (place, _) in &job.destinations {
                let compares = job.kind == JobKind::Compare;
                let side = if compares { &mut readable } else { &mut writable };
                side.entry(disk(place)).or_default().push(range(place));
                if job.flags.contains(Flags::FLUSH) && !compares {
                    flushable.push(disk(place));
                }
            }
        }
        for ranges in writable.values_mut().chain(readable.values_mut()) {
            *ranges = join(std::mem::take(ranges));
        }
        let watch = |job: &JobPlan| Watch {
            sides: job.destinations.iter().map(|_| Side::default()).collect(),
            ..Watch::default()
        };
        Self {
            writable,
            readable,
            flushable,
            watches: scenario.jobs.iter().map(watch).collect(),
            jobs: scenario.jobs.clone(),
            reading: HashMap::new(),
            starts: Vec::new(),
            lines: 0,
            truth: Truth::default(),
        }
    }

    /// From now on, nothing may be issued for `job`: it was cancelled, and the engine knows.
    pub fn stopped(&mut self, job: usize) {
        self.watches[job].stopped_at.get_or_insert(self.lines);
    }

    /// Takes in new lines.
    ///
    /// # Errors
    ///
    /// The first rule that is broken.
    pub fn take(&mut self, events: &[Event]) -> Result<(), String> {
        for event in events {
            self.truth.note(event);
            match event.phase {
                Phase::Issued => self.issued(event)?,
                Phase::Ended(result) => self.ended(event, u64::from(result.unwrap_or(0))),
            }
            self.lines += 1;
        }
        Ok(())
    }

    fn issued(&mut self, event: &Event) -> Result<(), String> {
        let allowed = match event.kind {
            OpKind::Write | OpKind::Zero => self.writable.get(&event.disk),
            OpKind::Read => self.readable.get(&event.disk),
            OpKind::Discard => return Err(format!("nobody asked for a discard: {event:?}")),
            OpKind::Flush => {
                let asked = self.flushable.contains(&event.disk);
                return if asked { Ok(()) } else { Err(format!("nobody asked for {event:?}")) };
            }
        };
        let span = event.offset..event.offset + event.len;
        let inside = |range: &Range<u64>| range.start <= span.start && span.end <= range.end;
        if !allowed.is_some_and(|ranges| ranges.iter().any(inside)) {
            let rule = if event.kind.changes() { "I5/I6" } else { "I8" };
            return Err(format!("{rule}: no job has this range: {event:?}"));
        }
        if event.kind == OpKind::Read {
            self.reading.insert(event.op, event.time.as_nanos());
        }
        for index in 0..self.jobs.len() {
            self.issued_for(index, event)?;
        }
        Ok(())
    }

    /// Where in the job the operation begins, and on which side: sources first.
    fn sides_of(&self, index: usize, event: &Event) -> Option<(usize, u64)> {
        let job = &self.jobs[index];
        let changes = event.kind.changes();
        let sources = job.sources.iter().enumerate();
        let destinations = job.destinations.iter().map(|(place, _)| place).enumerate();
        let hit = |place: &Place| {
            let inside = event.offset >= place.offset && event.offset < place.offset + job.len;
            (disk(place) == event.disk && inside).then(|| event.offset - place.offset)
        };
        if changes {
            return destinations.filter_map(|(i, place)| Some((i, hit(place)?))).next();
        }
        sources.filter_map(|(i, place)| Some((i, hit(place)?))).next()
    }

    fn issued_for(&mut self, index: usize, event: &Event) -> Result<(), String> {
        let Some((side, at)) = self.sides_of(index, event) else { return Ok(()) };
        let job = &self.jobs[index];
        let watch = &mut self.watches[index];
        if watch.stopped_at.is_some() {
            return Err(format!("I10: issued for job {index} after its cancellation: {event:?}"));
        }
        if !event.kind.changes() {
            return Ok(());
        }
        if job.flags.contains(Flags::SEQUENTIAL) && job.kind != JobKind::Zero {
            let state = &mut watch.sides[side];
            if state.in_flight > 0 {
                return Err(format!("I9: two writes of a sequential job at a time: {event:?}"));
            }
            if at + 1 < state.issued_to && job.flags.contains(Flags::NO_ISOLATION) {
                return Err(format!("I9: a sequential job writes backwards: {event:?}"));
            }
            state.in_flight += 1;
            state.issued_to = at + 1;
        }
        Ok(())
    }

    fn ended(&mut self, event: &Event, bytes: u64) {
        if let Some(issued) = self.reading.remove(&event.op) {
            self.starts.push((issued, bytes));
        }
        if !event.kind.changes() {
            return;
        }
        for index in 0..self.jobs.len() {
            if let Some((side, _)) = self.sides_of(index, event) {
                let state = &mut self.watches[index].sides[side];
                state.in_flight = state.in_flight.saturating_sub(1);
            }
        }
    }

    /// I14: the bytes read in any window are within the rate, the burst and two pieces.
    ///
    /// # Errors
    ///
    /// The window.
    pub fn check_rate(&mut self, rate: u64, piece: u64) -> Result<(), String> {
        self.starts.sort_unstable();
        for (index, (from, _)) in self.starts.iter().enumerate() {
            let mut bytes = 0;
            for (at, len) in &self.starts[index..] {
                bytes += len;
                let window = at - from + BURST_NANOS;
                let allowed = u128::from(rate) * u128::from(window) / 1_000_000_000;
                if u128::from(bytes) > allowed + 2 * u128::from(piece) {
                    return Err(format!("I14: {bytes} bytes in {} ns", at - from));
                }
            }
        }
        Ok(())
    }
}
