//! What became of a job: richer than the kernel's pair (read_err, write_err), and containing it.

use std::fmt;
use std::ops::Range;

use smallvec::SmallVec;

use crate::errno::Errno;
use crate::units::Sector;

/// Why an operation failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FaultKind {
    /// The device answered with an error.
    Device,
    /// The device ended before the region did (a read of no bytes).
    EndOfDevice,
    /// The transform of a stripe job refused the data.
    Transform,
    /// The flush at the end failed: nothing that was written is surely durable.
    Flush,
}

/// The first failure on one side of a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fault {
    /// What kind of failure.
    pub kind: FaultKind,
    /// The error number; `EIO` for the end of the device.
    pub errno: Errno,
    /// The first bad sector on that device, of 512 bytes. With
    /// [`crate::Flags::NO_ISOLATION`] it is the first sector of the operation that failed.
    pub sector: Sector,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.kind {
            FaultKind::Device => write!(f, "{} at {}", self.errno, self.sector),
            FaultKind::EndOfDevice => write!(f, "the device ends at {}", self.sector),
            FaultKind::Transform => write!(f, "the data at {} was refused", self.sector),
            FaultKind::Flush => write!(f, "flush failed: {}", self.errno),
        }
    }
}

/// A run of bytes within a job, counted from the region's start.
pub type JobRange = Range<u64>;

/// What became of one destination.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DestinationOutcome {
    /// The first failure, if there was one.
    pub error: Option<Fault>,
    /// The bytes, from the region's start, that are surely written (durable, if the job flushes):
    /// the longest unbroken run from the end at which the copy began. Empty for a compare job.
    pub written: JobRange,
    /// Compare jobs: sectors of 512 bytes that differ.
    pub differing_sectors: u64,
}

/// What became of a job.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// The first read failure (lowest offset within the job), and the source it happened on.
    pub read: Option<(usize, Fault)>,
    /// One verdict per destination, in the job's order.
    pub destinations: SmallVec<[DestinationOutcome; 2]>,
    /// The job was cancelled, or its client was closed by force, before it was done.
    pub cancelled: bool,
    /// Ranges of the source that could not be read and lie as zeros on the destinations
    /// ([`crate::OnError::Continue`]); what destinations lack is in `unwritten`.
    pub unreadable: Vec<JobRange>,
    /// Per destination (index, range): what could not be written.
    pub unwritten: Vec<(usize, JobRange)>,
    /// Compare jobs: where destinations differ, per destination (index, range), sorted, at most
    /// [`Outcome::MAX_RANGES`]; `differing_sectors` counts all.
    pub differences: Vec<(usize, JobRange)>,
}

impl Outcome {
    /// The most ranges that an outcome lists of each kind; bounds its memory. Of bad ranges none is
    /// left out: if there are more, the last listed one covers them, and what lies between.
    pub const MAX_RANGES: usize = 4096;

    /// Whether everything was done and, for a compare job, everything is equal.
    pub fn is_ok(&self) -> bool {
        !self.cancelled
            && self.read.is_none()
            && self.destinations.iter().all(|d| d.error.is_none() && d.differing_sectors == 0)
    }

    /// The kernel's `read_err`: 1 if a read failed.
    pub fn read_err(&self) -> i32 {
        i32::from(self.read.is_some())
    }

    /// The kernel's `write_err`: bit i is set if destination i failed.
    pub fn write_err(&self) -> u64 {
        let bit = |(i, d): (usize, &DestinationOutcome)| u64::from(d.error.is_some()) << i;
        self.destinations.iter().enumerate().map(bit).sum()
    }
}
