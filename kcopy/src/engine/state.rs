//! What the engine remembers: jobs, pieces, operations.

use smallvec::SmallVec;

use super::lane::Lane;
use super::plain::Short;
use super::queue::{JobKey, Line};
use crate::backend::{Slot, ZeroMethod};
use crate::callback::Callback;
use crate::door::Ticket;
use crate::job::Job;
use crate::mem::{Pages, SharedPages};
use crate::outcome::{Fault, JobRange, Outcome};
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

/// A job that was accepted and not answered yet. Lives in a [`super::table::Table`]: every field is
/// set anew by [`JobState::begin`], and what holds on to things is let go by [`JobState::end`].
#[derive(Debug)]
pub(super) struct JobState {
    pub(super) job: Job,
    pub(super) ticket: Ticket,
    pub(super) callback: Option<Callback>,
    pub(super) since: Time,
    /// `None` while nobody listens: most jobs are never looked at.
    span: Option<Box<tracing::Span>>,
    /// Slots of the sources.
    pub(super) sources: SmallVec<[Slot; 8]>,
    pub(super) targets: Vec<Target>,
    /// Bytes handed out in pieces.
    pub(super) taken: u64,
    /// Pieces that have not ended.
    pub(super) pieces: u32,
    pub(super) gate: Gate,
    /// Nothing new is started: an error, or a cancellation.
    pub(super) halted: bool,
    pub(super) cancelled: bool,
    /// Waits in the run queue.
    pub(super) queued: bool,
    /// Bytes handed out in the turn that goes on.
    pub(super) turn: u64,
    /// A small copy with nothing special about it (see [`super::plain`]).
    pub(super) plain: bool,
    /// As long as it is on the short way, `sources` and `targets` are empty.
    pub(super) short: Short,
    /// Travelled with others, something failed, and now it travels alone.
    pub(super) alone: bool,
    /// Nothing is left but the callback.
    pub(super) ended: bool,
    /// Flushes that have not ended; `None` while there is still something to transfer.
    pub(super) flushes: Option<u32>,
    /// What few jobs have.
    pub(super) rare: Option<Box<Rare>>,
}

/// The first read fault of a job.
#[derive(Clone, Copy, Debug)]
struct ReadFault {
    source: usize,
    fault: Fault,
    /// Where in the job.
    at: u64,
}

/// What few jobs have, kept apart so that a waiting job stays small.
#[derive(Debug, Default)]
pub(super) struct Rare {
    read_fault: Option<ReadFault>,
    /// Bytes that no destination got, because they were not read or not written any more.
    gap: Gap,
    /// Gated jobs: pieces that have not ended, in the order in which they were cut.
    pub(super) order: Vec<PieceKey>,
    pub(super) unreadable: Vec<((), JobRange)>,
    pub(super) unwritten: Vec<(usize, JobRange)>,
    pub(super) differences: Vec<(usize, JobRange)>,
    /// Zero jobs: what is written where zeroing is not supported.
    pub(super) zeros: Option<SharedPages>,
}

impl Default for JobState {
    fn default() -> Self {
        Self {
            job: Job::zero(),
            ticket: Ticket::default(),
            callback: None,
            since: Time::default(),
            span: None,
            sources: SmallVec::new(),
            targets: Vec::new(),
            taken: 0,
            pieces: 0,
            gate: Gate::Open,
            halted: false,
            cancelled: false,
            queued: false,
            turn: 0,
            plain: false,
            short: Short::default(),
            alone: false,
            ended: false,
            flushes: None,
            rare: None,
        }
    }
}

impl JobState {
    /// Makes a used entry the state of a new job.
    #[inline(always)]
    pub(super) fn begin(&mut self, job: Job, ticket: Ticket, callback: Callback, since: Time) {
        debug_assert!(self.rare.is_none());
        debug_assert!(self.is_short() || self.targets.len() == job.destinations.len());
        if self.job.owns_nothing() {
            // It need not be dropped.
            std::mem::forget(std::mem::replace(&mut self.job, job));
        } else {
            self.job = job;
        }
        self.ticket = ticket;
        self.callback = Some(callback);
        self.since = since;
        self.taken = 0;
        self.pieces = 0;
        self.gate = Gate::Open;
        self.halted = false;
        self.cancelled = false;
        self.queued = false;
        self.turn = 0;
        self.alone = false;
        self.ended = false;
        self.flushes = None;
    }

    /// Lets go of devices, pages and callbacks; gives the callback back.
    pub(super) fn end(&mut self) -> Option<Callback> {
        self.job.let_go();
        self.short = Short::default();
        self.sources.clear();
        self.targets.clear();
        if self.span.is_some() || self.rare.is_some() {
            (self.span, self.rare) = (None, None);
        }
        self.callback.take()
    }

    /// Where it stands in the run queue.
    pub(super) fn line(&self) -> Line {
        let long = self.ticket.cut.len > u64::from(self.ticket.cut.max);
        Line { priority: self.job.priority, long }
    }

    /// The length of a job that is one piece.
    pub(super) fn short_len(&self) -> u32 {
        u32::try_from(self.ticket.cut.len).unwrap_or(u32::MAX)
    }

    /// What few jobs have.
    pub(super) fn rare(&mut self) -> &mut Rare {
        self.rare.get_or_insert_default()
    }

    /// Gated jobs: pieces that have not ended, in the order in which they were cut.
    pub(super) fn order(&self) -> &[PieceKey] {
        self.rare.as_ref().map_or(&[], |rare| &rare.order)
    }

    /// Whether another piece is to be cut from it.
    pub(super) fn has_more(&self) -> bool {
        !self.halted && self.taken < self.ticket.cut.len
    }

    /// Compare jobs: whether some of `range` could not be read, on the source or on destination
    /// `index`: what cannot be read cannot differ.
    pub(super) fn could_not_read(&self, index: usize, range: JobRange) -> bool {
        let Some(rare) = self.rare.as_ref() else { return false };
        let touches = |other: &JobRange| other.start < range.end && range.start < other.end;
        rare.unreadable.iter().any(|(_, other)| touches(other))
            || rare.unwritten.iter().any(|(at, other)| *at == index && touches(other))
    }

    /// Remembers a read fault of `source` at byte `at`, if it is the first in the order of bytes.
    pub(super) fn record_read(&mut self, source: usize, fault: Fault, at: u64) {
        let rare = self.rare();
        if rare.read_fault.is_none_or(|first| at < first.at) {
            rare.read_fault = Some(ReadFault { source, fault, at });
        }
    }

    /// The first read fault, in the order of bytes: of which source, and what.
    pub(super) fn read_fault(&self) -> Option<(usize, Fault)> {
        let first = self.rare.as_ref()?.read_fault?;
        Some((first.source, first.fault))
    }

    /// Bytes `from..to` are on no destination: they were not read, or not written any more.
    pub(super) fn leave_out(&mut self, from: u64, to: u64) {
        self.rare().gap.add(from, to);
    }

    fn gap(&self) -> Gap {
        self.rare.as_ref().map_or_else(Gap::default, |rare| rare.gap)
    }

    /// The span, while it is listened to.
    pub(super) fn set_span(&mut self, span: tracing::Span) {
        if !span.is_disabled() {
            self.span = Some(Box::new(span));
        }
    }

    /// The name of the span, if there is one.
    pub(super) fn span(&self) -> Option<tracing::Id> {
        self.span.as_ref().and_then(|span| span.id())
    }

    /// The unbroken run of bytes, from the end at which the copy began, that destination `index`
    /// got.
    pub(super) fn written(&self, index: usize) -> JobRange {
        let (target, len) = (&self.targets[index], self.ticket.cut.len);
        match self.ticket.cut.direction {
            Direction::Forward => {
                let end = self.taken.min(self.gap().low()).min(target.gap.low());
                0..end
            }
            Direction::Backward => {
                let start = (len - self.taken).max(self.gap().high()).max(target.gap.high());
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
    /// Read, and its transform is not applied yet.
    Computing,
    /// Read, and held back by the job's gate.
    Held,
    Writing,
}

/// A part of a job (or a run of adjacent small jobs) on its way. Lives in a
/// [`super::table::Table`].
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
    pub(super) lanes: Vec<Lane>,
    /// Lanes that have not ended.
    pub(super) open_lanes: usize,
    /// Pages to read into; `None` while an operation holds them.
    pub(super) buffers: Vec<Option<Pages>>,
    /// The same pages once everything is read.
    pub(super) shared: Vec<SharedPages>,
    /// Empty: all data.
    pub(super) segments: Vec<Segment>,
    /// Something could not be read, and the piece is not to be written.
    pub(super) spoiled: bool,
    /// Something failed in a piece of merged jobs: each is to travel alone.
    pub(super) scatter: bool,
    /// It came from the short way: its operations alone hold its pages.
    pub(super) lent: bool,
    /// `None` while nobody listens.
    span: Option<Box<tracing::Span>>,
}

impl Default for Piece {
    fn default() -> Self {
        Self {
            job: 0,
            merged: Vec::new(),
            offset: 0,
            len: 0,
            phase: Phase::Reading,
            lanes: Vec::new(),
            open_lanes: 0,
            buffers: Vec::new(),
            shared: Vec::new(),
            segments: Vec::new(),
            spoiled: false,
            scatter: false,
            lent: false,
            span: None,
        }
    }
}

impl Piece {
    /// Makes a used entry a new piece.
    #[inline(always)]
    pub(super) fn begin(&mut self, job: JobKey, offset: u64, len: u32, span: tracing::Span) {
        debug_assert!(self.merged.is_empty() && self.buffers.is_empty() && self.shared.is_empty());
        self.job = job;
        self.offset = offset;
        self.len = len;
        self.phase = Phase::Reading;
        self.spoiled = false;
        self.scatter = false;
        self.lent = false;
        self.open_lanes = 0;
        if !span.is_disabled() {
            self.span = Some(Box::new(span));
        }
    }

    /// The name of the span, if there is one.
    pub(super) fn span(&self) -> Option<tracing::Id> {
        self.span.as_ref().and_then(|span| span.id())
    }

    /// Gives the pages back.
    pub(super) fn end(&mut self) {
        self.lanes.clear();
        self.buffers.clear();
        self.shared.clear();
        self.segments.clear();
        if self.span.is_some() {
            self.span = None;
        }
    }

    /// The segment that holds byte `at` of the piece: its end and whether it is zeros.
    pub(super) fn segment(&self, at: u32) -> Segment {
        let found = self.segments.iter().find(|segment| at < segment.end);
        found.copied().unwrap_or(Segment { end: self.len, zero: false })
    }
}

/// What an operation in flight is for.
#[derive(Clone, Copy, Debug)]
pub(super) enum Role {
    Read {
        piece: PieceKey,
        lane: usize,
    },
    Write {
        piece: PieceKey,
        lane: usize,
    },
    Zero {
        piece: PieceKey,
        lane: usize,
        method: ZeroMethod,
    },
    Discard {
        piece: PieceKey,
        lane: usize,
    },
    Flush {
        slot: Slot,
    },
    /// The read of a job on the short way (see [`super::plain`]).
    ShortRead {
        job: JobKey,
    },
    /// The same of one of its writes.
    ShortWrite {
        job: JobKey,
        lane: usize,
    },
}

/// An operation in flight.
#[derive(Clone, Copy, Debug)]
pub(super) struct InFlight {
    pub(super) role: Role,
    /// Bytes asked for.
    pub(super) asked: u32,
    pub(super) slot: Slot,
}

/// A prepared callback that was fired, with its outcome.
#[derive(Debug)]
pub(super) struct Prepared {
    pub(super) callback: Callback,
    pub(super) outcome: Outcome,
    pub(super) since: Time,
}

/// What waits for its callback.
#[derive(Debug)]
pub(super) enum Due {
    /// A job that ended.
    Job(JobKey),
    /// A prepared callback that was fired.
    Prepared(Box<Prepared>),
}
