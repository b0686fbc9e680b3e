//! What happened in a simulated world, in order, and a hash of it.

use super::disk::DiskId;
use super::rng::mix;
use crate::backend::Op;
use crate::errno::Errno;
use crate::units::Time;

/// The kinds of [`Op`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum OpKind {
    /// [`Op::Read`].
    Read,
    /// [`Op::Write`].
    Write,
    /// [`Op::Zero`].
    Zero,
    /// [`Op::Discard`].
    Discard,
    /// [`Op::Flush`].
    Flush,
}

impl OpKind {
    /// The kind of `op`.
    pub fn of(op: &Op) -> Self {
        match op {
            Op::Read { .. } => Self::Read,
            Op::Write { .. } => Self::Write,
            Op::Zero { .. } => Self::Zero,
            Op::Discard { .. } => Self::Discard,
            Op::Flush { .. } => Self::Flush,
        }
    }

    /// Whether it may change what is on the disk.
    pub fn changes(self) -> bool {
        match self {
            Self::Write | Self::Zero | Self::Discard => true,
            Self::Read | Self::Flush => false,
        }
    }
}

/// Which end of an operation an [`Event`] tells of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// It was submitted.
    Issued,
    /// It completed with this result.
    Ended(Result<u32, Errno>),
}

/// One line of the trace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Event {
    /// When, on the world's clock.
    pub time: Time,
    /// Number of the operation, counted from 0 over the whole world in order of submission.
    pub op: u64,
    /// The disk.
    pub disk: DiskId,
    /// The kind of operation.
    pub kind: OpKind,
    /// First byte on the disk (0 for a flush).
    pub offset: u64,
    /// Number of bytes (0 for a flush).
    pub len: u64,
    /// Submitted or completed.
    pub phase: Phase,
}

impl Event {
    fn digest(&self) -> u64 {
        let phase = match self.phase {
            Phase::Issued => 1,
            Phase::Ended(Ok(bytes)) => 2 + (u64::from(bytes) << 8),
            Phase::Ended(Err(errno)) => 3 + (u64::from(errno.raw().unsigned_abs()) << 8),
        };
        let place =
            mix(self.offset) ^ self.len.rotate_left(20) ^ u64::from(self.disk.0).rotate_left(40);
        mix(mix(place) ^ mix(self.op ^ (self.kind as u64) << 56) ^ phase ^ self.time.as_nanos())
    }
}

#[derive(Clone, Debug, Default)]
pub(super) struct Trace {
    events: Vec<Event>,
    hash: u64,
    quiet: bool,
}

impl Trace {
    pub(super) fn push(&mut self, event: Event) {
        self.hash = mix(self.hash ^ event.digest());
        if !self.quiet {
            self.events.push(event);
        }
    }

    pub(super) fn events(&self) -> &[Event] {
        &self.events
    }

    pub(super) fn hash(&self) -> u64 {
        self.hash
    }

    pub(super) fn silence(&mut self) {
        self.quiet = true;
        self.events = Vec::new();
    }
}
