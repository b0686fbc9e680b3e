//! The copy itself: hands chunks to the engine and keeps the books on what comes back.
//!
//! ```text
//!   feed --chunk--> segments of data and holes --jobs--> engine --outcomes--> books --> feed
//! ```
//!
//! Offsets are bytes, counted from the start of the copy, unless they say otherwise.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender};
use kcopy::device::DeviceKind;
use kcopy::resume::Chunk;
use kcopy::{
    CancelToken, Client, Device, Errno, Extent, Fault, FaultKind, Flags, Job, OnError, Outcome,
    Sector, SubmitError,
};

use super::extents::{Content, Extents, Holes, Segment, cut_at};
use super::feed::{Feed, Next};
use super::ledger::{Ledger, Observer};
use super::prepare::Ready;
use crate::cmd::ranges::Ranges;
use crate::output::Progress;
use crate::signals::Interrupt;

/// Time between two looks at the signals and the clock.
pub(crate) const TICK: Duration = Duration::from_millis(100);

/// Chunks on their way at once, without a map.
const OUTSTANDING: usize = 2;

/// What is to be copied, and how.
#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) source: Device,
    pub(crate) skip: u64,
    pub(crate) seek: u64,
    pub(crate) len: u64,
    /// Holes and zeros are not written.
    pub(crate) sparse: bool,
    /// Errors end nothing.
    pub(crate) go_on: bool,
    /// Bytes in a chunk, without a map.
    pub(crate) chunk: u64,
}

/// A destination and what became of it.
#[derive(Debug)]
pub(crate) struct Target {
    pub(crate) device: Device,
    pub(crate) created: bool,
    /// From this byte of the device on it read as zeros before the copy.
    zero_from: u64,
    /// Bytes that are now as the source's.
    pub(crate) written: u64,
    pub(crate) fault: Option<Fault>,
    /// It failed and nothing more is written to it.
    pub(crate) detached: bool,
    /// What could not be written.
    pub(crate) bad: Ranges,
}

/// Why no further chunk is begun.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stop {
    Interrupted,
    Unreadable,
    /// The engine did not take a job.
    Refused,
    NoDestinationLeft,
}

/// What one job was for.
#[derive(Debug)]
struct Task {
    chunk: u64,
    range: Range<u64>,
    targets: Vec<usize>,
    observer: Option<Arc<Observer>>,
    kind: TaskKind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum TaskKind {
    Data,
    /// Zeros, for a hole of the source.
    Hole,
    /// Zeros, for what the source has no more.
    Gone,
    Flush,
}

/// A chunk whose jobs have not all ended.
#[derive(Debug)]
struct Open {
    left: usize,
    ok: bool,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Runner<'a> {
    client: &'a Client,
    pub(crate) plan: Plan,
    pub(crate) targets: Vec<Target>,
    pub(crate) feed: Feed,
    pub(crate) ledger: Option<Ledger>,
    pub(crate) extents: Extents,
    /// Where a destination begins to be known as zeros.
    bounds: Vec<u64>,
    chunks: HashMap<u64, Open>,
    in_flight: usize,
    sender: Sender<(Task, Outcome)>,
    receiver: Receiver<(Task, Outcome)>,
    token: CancelToken,
    pub(crate) read_fault: Option<Fault>,
    pub(crate) unreadable: Ranges,
    /// What the source had no more when its turn came.
    pub(crate) gone: Ranges,
    /// A job that the engine did not take.
    pub(crate) refusal: Option<SubmitError>,
    pub(crate) stop: Option<Stop>,
    /// Bytes dealt with in this run.
    pub(crate) done: u64,
}

impl<'a> Runner<'a> {
    pub(crate) fn new(
        client: &'a Client,
        plan: Plan,
        ready: Vec<Ready>,
        feed: Feed,
        ledger: Option<Ledger>,
    ) -> Self {
        let holes = match plan.sparse && plan.source.facts().kind == DeviceKind::File {
            true => Holes::AreFound,
            false => Holes::AreData,
        };
        // Where the page cache is never used, no job may end elsewhere.
        let devices = ready.iter().map(|one| &one.device).chain([&plan.source]);
        let unit = devices.filter_map(|device| device.facts().direct_only()).max().unwrap_or(1);
        let extents = Extents::of(&plan.source, plan.skip, u64::from(unit), holes);
        let bounds = ready.iter().map(|one| one.zero_from.saturating_sub(plan.seek)).collect();
        let target = |one: Ready| Target {
            device: one.device,
            created: one.created,
            zero_from: one.zero_from,
            written: 0,
            fault: None,
            detached: false,
            bad: Ranges::default(),
        };
        let (sender, receiver) = crossbeam_channel::unbounded();
        Self {
            client,
            plan,
            targets: ready.into_iter().map(target).collect(),
            feed,
            ledger,
            extents,
            bounds,
            chunks: HashMap::new(),
            in_flight: 0,
            sender,
            receiver,
            token: client.cancel_token(),
            read_fault: None,
            unreadable: Ranges::default(),
            gone: Ranges::default(),
            refusal: None,
            stop: None,
            done: 0,
        }
    }

    /// Copies until everything is done, or nothing more can be.
    pub(crate) fn run(&mut self, interrupt: &Interrupt, progress: &mut Progress, before: u64) {
        loop {
            if interrupt.asked() && self.stop != Some(Stop::Interrupted) {
                self.stop(Stop::Interrupted);
                self.token.cancel();
            }
            let finished = self.fill();
            if finished && self.in_flight == 0 {
                return;
            }
            if let Ok((task, outcome)) = self.receiver.recv_timeout(TICK) {
                self.ended(&task, &outcome);
                while let Ok((task, outcome)) = self.receiver.try_recv() {
                    self.ended(&task, &outcome);
                }
            }
            progress.update(before + self.done);
        }
    }

    /// Makes durable what was written; says what failed in the targets.
    pub(crate) fn flush(&mut self) {
        let targets = self.healthy();
        if targets.is_empty() || !self.submit_flush(targets) {
            return;
        }
        if let Ok((task, outcome)) = self.receiver.recv() {
            self.ended(&task, &outcome);
        }
    }

    /// The destinations that were not given up.
    pub(crate) fn healthy(&self) -> Vec<usize> {
        (0..self.targets.len()).filter(|index| !self.targets[*index].detached).collect()
    }

    /// Begins no further chunk.
    fn stop(&mut self, why: Stop) {
        if self.stop.is_none() || why == Stop::Interrupted {
            self.stop = Some(why);
        }
        self.feed.stop();
    }

    /// Gives the engine enough to do; `true` if the feed has nothing more.
    fn fill(&mut self) -> bool {
        loop {
            match self.feed.next(self.chunks.len() < OUTSTANDING) {
                Next::Copy(chunk) => self.start(chunk),
                Next::Flush => {
                    let all = (0..self.targets.len()).collect();
                    if !self.submit_flush(all) {
                        self.feed.flushed(false);
                    }
                }
                Next::Wait => return false,
                Next::Finished => return true,
            }
        }
    }

    /// Submits the jobs that a chunk needs.
    fn start(&mut self, chunk: Chunk) {
        let ok = self.targets.iter().all(|target| !target.detached);
        self.chunks.insert(chunk.index, Open { left: 1, ok });
        let range = chunk.offset..chunk.offset.saturating_add(chunk.len);
        if self.plan.go_on {
            // What is not tried at all on a destination that was given up is bad there too.
            let lost = self.targets.iter_mut().filter(|target| target.detached);
            lost.for_each(|target| target.bad.add(range.clone()));
        }
        for Segment { range, content } in self.extents.within(range) {
            match content {
                Content::Data => self.start_data(chunk.index, range),
                Content::Hole => self.start_hole(chunk.index, range),
                Content::Gone => self.start_gone(chunk.index, range),
            }
        }
        // The chunk itself, held open until all its jobs are submitted.
        self.job_of_chunk_ended(chunk.index, true);
    }

    fn start_data(&mut self, chunk: u64, range: Range<u64>) {
        let targets = self.healthy();
        if targets.is_empty() {
            return;
        }
        let len = range.end - range.start;
        let mut job = Job::copy(Extent::new(&self.plan.source, self.plan.skip + range.start, len))
            .on_error(self.on_error())
            .cancelled_by(&self.token);
        for index in &targets {
            job = job.to(self.on_target(*index, &range));
        }
        if self.plan.sparse {
            job = job.flags(Flags::SKIP_ZEROS);
            if targets.iter().all(|index| self.is_file(*index)) {
                job = job.flags(Flags::PUNCH_HOLES);
            }
        }
        let cell = self.ledger.as_ref().map(Ledger::cell_size);
        let observer = cell.map(|cell| Arc::new(Observer::new(range.start, cell)));
        if let Some(observer) = &observer {
            job = job.observe(Arc::clone(observer) as Arc<dyn kcopy::Transform>);
        }
        self.submit(job, Task { chunk, range, targets, observer, kind: TaskKind::Data });
    }

    /// A hole of the source.
    fn start_hole(&mut self, chunk: u64, range: Range<u64>) {
        // Counted once, whatever the number of jobs.
        self.done += range.end - range.start;
        self.start_zeros(chunk, range, TaskKind::Hole);
    }

    /// The source has become shorter than this: an error, and where errors end nothing, zeros.
    fn start_gone(&mut self, chunk: u64, range: Range<u64>) {
        let sector = Sector::containing(self.plan.skip + range.start);
        self.note_read(Fault { kind: FaultKind::EndOfDevice, errno: Errno::IO, sector });
        if let Some(open) = self.chunks.get_mut(&chunk) {
            open.ok = false;
        }
        if self.plan.go_on {
            self.gone.add(range.clone());
            self.start_zeros(chunk, range, TaskKind::Gone);
        } else {
            self.stop(Stop::Unreadable);
        }
    }

    /// Makes `range` zeros. Nothing is to be done where a destination has a hole already.
    fn start_zeros(&mut self, chunk: u64, range: Range<u64>, kind: TaskKind) {
        if let Some(ledger) = &mut self.ledger {
            ledger.add_zeros(range.clone());
        }
        for part in cut_at(range, &self.bounds) {
            let (at, len) = (self.plan.seek + part.start, part.end - part.start);
            let (mut files, mut blocks) = (Vec::new(), Vec::new());
            for index in self.healthy() {
                if at >= self.targets[index].zero_from {
                    self.targets[index].written += if kind == TaskKind::Hole { len } else { 0 };
                } else if self.is_file(index) {
                    files.push(index);
                } else {
                    blocks.push(index);
                }
            }
            let punch = if self.plan.sparse { Flags::PUNCH_HOLES } else { Flags::empty() };
            for (targets, flags) in [(files, punch), (blocks, Flags::empty())] {
                if !targets.is_empty() {
                    let task = Task { chunk, range: part.clone(), targets, observer: None, kind };
                    self.submit_zeros(task, flags);
                }
            }
        }
    }

    fn submit_zeros(&mut self, task: Task, flags: Flags) {
        let mut job = Job::zero().flags(flags).on_error(self.on_error()).cancelled_by(&self.token);
        for index in &task.targets {
            job = job.to(self.on_target(*index, &task.range));
        }
        self.submit(job, task);
    }

    fn submit_flush(&mut self, targets: Vec<usize>) -> bool {
        let devices = targets.iter().map(|index| &self.targets[*index].device);
        let job = Job::flush_only(devices).on_error(OnError::Continue);
        let kind = TaskKind::Flush;
        self.submit(job, Task { chunk: u64::MAX, range: 0..0, targets, observer: None, kind })
    }

    fn on_error(&self) -> OnError {
        if self.plan.go_on { OnError::Continue } else { OnError::Detach }
    }

    fn on_target(&self, index: usize, range: &Range<u64>) -> Extent {
        let (offset, len) = (self.plan.seek + range.start, range.end - range.start);
        Extent::new(&self.targets[index].device, offset, len)
    }

    fn is_file(&self, index: usize) -> bool {
        self.targets[index].device.facts().kind == DeviceKind::File
    }

    fn submit(&mut self, job: Job, task: Task) -> bool {
        let (chunk, kind) = (task.chunk, task.kind);
        match self.client.submit_to(job, &self.sender, task) {
            Ok(()) => {
                self.in_flight += 1;
                if kind != TaskKind::Flush
                    && let Some(open) = self.chunks.get_mut(&chunk)
                {
                    open.left += 1;
                }
                true
            }
            Err(error) => {
                self.refused(chunk, error);
                false
            }
        }
    }

    /// The engine did not take a job: a destination has been cut off meanwhile.
    fn refused(&mut self, chunk: u64, error: SubmitError) {
        if let Some(open) = self.chunks.get_mut(&chunk) {
            open.ok = false;
        }
        self.refusal.get_or_insert(error);
        self.stop(Stop::Refused);
    }

    fn ended(&mut self, task: &Task, outcome: &Outcome) {
        self.in_flight -= 1;
        if task.kind == TaskKind::Flush {
            self.flush_ended(task, outcome);
            return;
        }
        let gone = self.note_source(task, outcome);
        self.note_targets(task, outcome, &gone);
        if let (Some(ledger), Some(observer)) = (&mut self.ledger, &task.observer) {
            ledger.add(observer.take());
        }
        let ok = outcome.is_ok();
        if task.kind == TaskKind::Data {
            let whole = task.range.end - task.range.start - total(&gone);
            let written = outcome.destinations.iter().map(|d| d.written.end - d.written.start);
            let partly = outcome.cancelled || (outcome.read.is_some() && !self.plan.go_on);
            self.done += if partly { written.max().unwrap_or(0) } else { whole };
        }
        self.job_of_chunk_ended(task.chunk, ok);
    }

    /// What the outcome says about the source: which parts of the task it had no more.
    fn note_source(&mut self, task: &Task, outcome: &Outcome) -> Vec<Range<u64>> {
        if task.kind == TaskKind::Gone {
            return vec![task.range.clone()];
        }
        let Some((_, fault)) = outcome.read else { return Vec::new() };
        self.note_read(fault);
        if fault.kind == FaultKind::EndOfDevice {
            self.extents.ended_in(fault.sector);
        } else {
            // Behind a bad block it may have become shorter, too.
            self.extents.look();
        }
        let mut all_gone = Vec::new();
        for bad in &outcome.unreadable {
            let (unreadable, gone) = self.extents.split(shifted(bad, task.range.start));
            self.unreadable.add(unreadable);
            self.gone.add(gone.clone());
            all_gone.push(gone);
        }
        if !self.plan.go_on || is_final(fault) {
            self.stop(Stop::Unreadable);
        }
        all_gone
    }

    /// What the outcome says about each destination.
    fn note_targets(&mut self, task: &Task, outcome: &Outcome, gone: &[Range<u64>]) {
        let len = task.range.end - task.range.start;
        for (slot, (index, found)) in task.targets.iter().zip(&outcome.destinations).enumerate() {
            let target = &mut self.targets[*index];
            let bad = outcome.unwritten.iter().filter(|(at, _)| *at == slot);
            let bad: Vec<Range<u64>> =
                bad.map(|(_, range)| shifted(range, task.range.start)).collect();
            target.written += match found.error {
                _ if self.plan.go_on && !outcome.cancelled => {
                    len.saturating_sub(total(&bad) + outside(gone, &bad))
                }
                None if !outcome.cancelled && outcome.read.is_none() => len,
                _ => found.written.end - found.written.start,
            };
            bad.into_iter().for_each(|range| target.bad.add(range));
            if let Some(fault) = found.error {
                target.fail(fault, !self.plan.go_on || is_final(fault));
            }
        }
        if self.targets.iter().all(|target| target.detached) {
            self.stop(Stop::NoDestinationLeft);
        }
    }

    fn flush_ended(&mut self, task: &Task, outcome: &Outcome) {
        for (index, found) in task.targets.iter().zip(&outcome.destinations) {
            if let Some(fault) = found.error {
                self.targets[*index].fail(fault, true);
            }
        }
        self.feed.flushed(outcome.is_ok());
    }

    fn note_read(&mut self, fault: Fault) {
        let earlier = self.read_fault.is_none_or(|known| fault.sector < known.sector);
        if earlier {
            self.read_fault = Some(fault);
        }
    }

    fn job_of_chunk_ended(&mut self, index: u64, ok: bool) {
        let Some(open) = self.chunks.get_mut(&index) else { return };
        open.ok &= ok;
        open.left -= 1;
        if open.left == 0 {
            let ok = open.ok;
            self.chunks.remove(&index);
            self.feed.chunk_ended(index, ok);
        }
    }
}

impl Target {
    /// Of the same kind the fault with the lowest sector counts, for chunks end in any order; else
    /// the first.
    pub(crate) fn fail(&mut self, fault: Fault, detach: bool) {
        let lower = |known: Fault| fault.kind == known.kind && fault.sector < known.sector;
        if self.fault.is_none_or(lower) {
            self.fault = Some(fault);
        }
        self.detached |= detach;
    }
}

/// Whether everything that follows on this device will fail in the same way: it is full or gone.
fn is_final(fault: Fault) -> bool {
    use rustix::io::Errno;
    let full = [Errno::NOSPC, Errno::DQUOT, Errno::FBIG, Errno::ROFS];
    let gone = [Errno::NODEV, Errno::NXIO, Errno::NOMEDIUM];
    let errno = fault.errno.raw();
    fault.kind == FaultKind::Device
        && full.iter().chain(&gone).any(|known| known.raw_os_error() == errno)
}

fn shifted(range: &Range<u64>, by: u64) -> Range<u64> {
    range.start + by..range.end + by
}

/// The bytes in `ranges`.
fn total(ranges: &[Range<u64>]) -> u64 {
    ranges.iter().map(|range| range.end - range.start).sum()
}

/// The bytes in `ranges` that lie in none of `others`; neither list covers a byte twice.
fn outside(ranges: &[Range<u64>], others: &[Range<u64>]) -> u64 {
    let shared =
        |a: &Range<u64>, b: &Range<u64>| a.end.min(b.end).saturating_sub(a.start.max(b.start));
    let inside = |range| others.iter().map(|other| shared(range, other)).sum::<u64>();
    ranges.iter().map(|range| range.end - range.start - inside(range)).sum()
}
