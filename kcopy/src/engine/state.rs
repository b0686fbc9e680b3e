//! What the engine remembers: jobs, pieces, operations.

use smallvec::SmallVec;

use super::lane::Lane;
use super::queue::JobKey;
use crate::backend::{Slot, ZeroMethod};
use crate::callback::Callback;
use crate::door::Ticket;
use crate::job::Job;
use crate::mem::{Pages, SharedPages};
use crate::outcome::{Fault, JobRange};
use crate::split::Direction;
use crate::units::Time;

/// Index of a piece in the engine's table.
pub(super) type PieceKey = usize;

/// What holds a piece's writes back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Gate {
    /// Nothing.
    Open,
    /// The writes of the piece before must have ended: sequential jobs.
    AfterWrites,
    /// The reads of all pieces before must have ended: source and destination overlap, and a write
    /// may fall on the source of an earlier piece, never of a later one.
    AfterReads,
}

/// One destination of a job, as it stands.
#[derive(Clone, Debug)]
pub(super) struct Target {
    pub(super) slot: Slot,
    pub(super) fault: Option<Fault>,
    /// Where in the job the first fault lies.
    fault_at: u64,
    /// Lowest and highest byte of the job (end exclusive) that was not written.
    gap: Gap,
    /// Given up ([`crate::OnError::Detach`]).
    pub(super) detached: bool,
    pub(super) differing_sectors: u64,
}

/// The smallest range around everything that was left out.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Gap(Option<(u64, u64)>);

impl Gap {
    pub(super) fn add(&mut self, from: u64, to: u64) {
        let (low, high) = self.0.unwrap_or((from, to));
        self.0 = Some((low.min(from), high.max(to)));
    }

    fn low(self) -> u64 {
        self.0.map_or(u64::MAX, |(low, _)| low)
    }

    fn high(self) -> u64 {
        self.0.map_or(0, |(_, high)| high)
    }
}

impl Target {
    pub(super) fn new(slot: Slot) -> Self {
        Self {
            slot,
            fault: None,
            fault_at: u64::MAX,
            gap: Gap::default(),
            detached: false,
            differing_sectors: 0,
        }
    }

    /// Remembers a fault at byte `at` of the job, if it is the first in the job's order of bytes.
    pub(super) fn record(&mut self, fault: Fault, at: u64) {
        if at < self.fault_at {
            self.fault = Some(fault);
            self.fault_at = at;
        }
    }

    /// Bytes `from..to` of the job are not on this destination.
    pub(super) fn leave_out(&mut self, from: u64, to: u64) {
        self.gap.add(from, to);
    }
}

/// A job that was accepted and not answered yet.
#[derive(Debug)]
pub(super) struct JobState {
    pub(super) job: Job,
    pub(super) ticket: Ticket,
    pub(super) callback: Callback,
    pub(super) since: Time,
    pub(super) span: tracing::Span,
    /// Slots of the sources.
    pub(super) sources: SmallVec<[Slot; 1]>,
    pub(super) targets: SmallVec<[Target; 2]>,
    /// Bytes handed out in pieces.
    pub(super) taken: u64,
    /// Pieces that have not ended.
    pub(super) pieces: u32,
    pub(super) gate: Gate,
    /// Gated jobs: pieces that have not ended, in the order in which they were cut.
    pub(super) order: Vec<PieceKey>,
    /// Nothing new is started: an error, or a cancellation.
    pub(super) halted: bool,
    pub(super) cancelled: bool,
    /// Waits in the run queue.
    pub(super) queued: bool,
    /// Travelled with others, something failed, and now it travels alone.
    pub(super) alone: bool,
    pub(super) read_fault: Option<(usize, Fault)>,
    read_fault_at: u64,
    /// Bytes that no destination got, because they were not read or not written any more.
    pub(super) gap: Gap,
    /// Flushes that have not ended; `None` while there is still something to transfer.
    pub(super) flushes: Option<usize>,
    pub(super) unreadable: Vec<((), JobRange)>,
    pub(super) unwritten: Vec<(usize, JobRange)>,
    pub(super) differences: Vec<(usize, JobRange)>,
    /// Zero jobs: what is written where zeroing is not supported.
    pub(super) zeros: Option<SharedPages>,
}

impl JobState {
    pub(super) fn new(job: Job, ticket: Ticket, callback: Callback, since: Time) -> Self {
        Self {
            job,
            ticket,
            callback,
            since,
            span: tracing::Span::none(),
            sources: SmallVec::new(),
            targets: SmallVec::new(),
            taken: 0,
            pieces: 0,
            gate: Gate::Open,
            order: Vec::new(),
            halted: false,
            cancelled: false,
            queued: false,
            alone: false,
            read_fault: None,
            read_fault_at: u64::MAX,
            gap: Gap::default(),
            flushes: None,
            unreadable: Vec::new(),
            unwritten: Vec::new(),
            differences: Vec::new(),
            zeros: None,
        }
    }

    /// Whether another piece is to be cut from it.
    pub(super) fn has_more(&self) -> bool {
        !self.halted && self.taken < self.ticket.cut.len
    }

    /// Remembers a read fault of `source` at byte `at`, if it is the first in the order of bytes.
    pub(super) fn record_read(&mut self, source: usize, fault: Fault, at: u64) {
        if at < self.read_fault_at {
            self.read_fault = Some((source, fault));
            self.read_fault_at = at;
        }
    }

    /// The unbroken run of bytes, from the end at which the copy began, that destination `index`
    /// got.
    pub(super) fn written(&self, index: usize) -> JobRange {
        let (target, len) = (&self.targets[index], self.ticket.cut.len);
        match self.ticket.cut.direction {
            Direction::Forward => {
                let end = self.taken.min(self.gap.low()).min(target.gap.low());
                0..end
            }
            Direction::Backward => {
                let start = (len - self.taken).max(self.gap.high()).max(target.gap.high());
                start.min(len)..len
            }
        }
    }

    /// Whether every destination has been given up.
    pub(super) fn all_detached(&self) -> bool {
        self.targets.iter().all(|target| target.detached)
    }
}

/// A run of a piece that is all data or all zeros.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Segment {
    /// End in the piece, exclusive; it begins where the one before ends.
    pub(super) end: u32,
    pub(super) zero: bool,
}

/// Where a piece stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    Reading,
    /// Read, and held back by the job's gate.
    Held,
    Writing,
}

/// A part of a job (or a run of adjacent small jobs) on its way.
#[derive(Debug)]
pub(super) struct Piece {
    pub(super) job: JobKey,
    /// Further jobs that travel along, each behind the one before.
    pub(super) merged: Vec<JobKey>,
    /// Offset in the (first) job, in bytes.
    pub(super) offset: u64,
    pub(super) len: u32,
    pub(super) phase: Phase,
    /// One per source while reading, one per destination while writing.
    pub(super) lanes: SmallVec<[Lane; 2]>,
    /// Lanes that have not ended.
    pub(super) open_lanes: usize,
    /// Pages to read into; `None` while an operation holds them.
    pub(super) buffers: SmallVec<[Option<Pages>; 1]>,
    /// The same pages once everything is read.
    pub(super) shared: SmallVec<[SharedPages; 1]>,
    /// Empty: all data.
    pub(super) segments: Vec<Segment>,
    /// Something could not be read, and the piece is not to be written.
    pub(super) spoiled: bool,
    /// Something failed in a piece of merged jobs: each is to travel alone.
    pub(super) scatter: bool,
    pub(super) span: tracing::Span,
}

impl Piece {
    /// The segment that holds byte `at` of the piece: its end and whether it is zeros.
    pub(super) fn segment(&self, at: u32) -> Segment {
        let found = self.segments.iter().find(|segment| at < segment.end);
        found.copied().unwrap_or(Segment { end: self.len, zero: false })
    }
}

/// What an operation in flight is for.
#[derive(Clone, Copy, Debug)]
pub(super) enum Role {
    Read { piece: PieceKey, lane: usize },
    Write { piece: PieceKey, lane: usize },
    Zero { piece: PieceKey, lane: usize, method: ZeroMethod },
    Flush { slot: Slot },
}

/// An operation in flight.
#[derive(Clone, Copy, Debug)]
pub(super) struct InFlight {
    pub(super) generation: u32,
    pub(super) role: Role,
    /// Bytes asked for.
    pub(super) asked: u32,
    pub(super) slot: Slot,
}

/// A job that ended: its callback is to be called with its outcome.
#[derive(Debug)]
pub struct Finished {
    pub(crate) callback: Callback,
    pub(crate) outcome: crate::outcome::Outcome,
    pub(crate) since: Time,
}
