//! A job: what to read, what to do with the pages, where to write them.
//!
//! The four kinds are one thing to the engine: k sources are read into k buffers, c further
//! buffers are computed, and each destination is written from one of the buffers.
//!
//! | kind | sources | computed | destinations |
//! | --- | --- | --- | --- |
//! | copy | 1 | 0 | 1..=64, from buffer 0 |
//! | zero | 0 | 0 | 1..=64, no buffer |
//! | compare | 1 | 0 | 1..=64, read and compared with buffer 0 |
//! | stripe | k | c | m, each from the buffer it names |

use std::fmt;
use std::sync::Arc;

use bitflags::bitflags;
use smallvec::SmallVec;

use crate::cancel::CancelToken;
use crate::errno::Errno;
use crate::region::Extent;

/// The most destinations of a job, as many as the kernel's `dm-io` has bits for.
pub const MAX_DESTINATIONS: usize = 64;

/// The most buffers (sources and computed) of a stripe job.
pub const MAX_BUFFERS: usize = 256;

/// Which of the four kinds a job is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum JobKind {
    /// One source to many destinations.
    Copy,
    /// Zeros to many destinations.
    Zero,
    /// One source against many others; nothing is written.
    Compare,
    /// Many sources, a transform, many destinations.
    Stripe,
}

/// What to do when something fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub enum OnError {
    /// Start nothing new; what is in flight ends. The kernel's way without `IGNORE_ERROR`.
    #[default]
    Stop,
    /// A destination that fails is given up, the others go on; a read error stops the job.
    Detach,
    /// Go on everywhere: what cannot be read is written as zeros, a destination that failed is
    /// tried again with the next piece. The kernel's `DM_KCOPYD_IGNORE_ERROR`.
    Continue,
}

/// Which jobs are served first when pages are scarce. Every class always gets a share.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub enum Priority {
    /// Before the others.
    High,
    /// The usual.
    #[default]
    Normal,
    /// When there is room.
    Low,
}

bitflags! {
    /// How a job is carried out.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
    pub struct Flags: u32 {
        /// Writes of one destination are issued in increasing order of offset, each after the one
        /// before has ended: what zoned devices need. The kernel's `DM_KCOPYD_WRITE_SEQ`.
        const SEQUENTIAL = 1 << 0;
        /// The callback comes after a flush of every destination that was written.
        const FLUSH = 1 << 1;
        /// Refuse a job whose source and destination overlap, instead of moving as memmove does.
        const REFUSE_OVERLAP = 1 << 2;
        /// Blocks of the source that are all zeros are zeroed on the destinations, not written.
        const SKIP_ZEROS = 1 << 3;
        /// Zeroing gives space back where it can (punches holes) instead of keeping it allocated.
        const PUNCH_HOLES = 1 << 4;
        /// A failed operation is final: not cut down to the bad block, not tried again.
        const NO_ISOLATION = 1 << 5;
        /// The destinations read as zeros already: blocks of zeros need not be written at all.
        const DESTINATION_IS_ZERO = 1 << 6;
        /// A zero job gives the space back and leaves undefined what it reads as: see
        /// [`Job::discard`].
        const DISCARD = 1 << 7;
    }
}

/// The pages of one piece of a stripe job, as a [`Transform`] sees them.
///
/// Buffer `i < k` holds source `i`'s bytes; the computed buffers follow. All have the same length.
#[derive(Debug)]
pub struct PieceBuffers<'a> {
    /// Offset of the piece in the job, in bytes.
    pub offset: u64,
    /// The source buffers, in the job's order.
    pub sources: SmallVec<[&'a mut [u8]; 16]>,
    /// The computed buffers; what they hold before is undefined (old pages of the pool).
    pub computed: SmallVec<[&'a mut [u8]; 4]>,
}

/// A computation on the pages of each piece of a job, run between reading and writing: on the engine's
/// thread, or, where there are any ([`crate::Builder::transform_threads`]), on a thread for such. It must not
/// block. One that panics has refused the data, with `EIO`.
///
/// Pieces of one job come in any order, each byte of the job exactly once (a piece that is tried
/// again after an error may come twice).
pub trait Transform: Send + Sync {
    /// Computes on one piece.
    ///
    /// # Errors
    ///
    /// A refusal of the data: the piece is not written and the job fails with
    /// [`crate::FaultKind::Transform`].
    fn apply(&self, piece: PieceBuffers<'_>) -> Result<(), Errno>;
}

/// A destination: where to, and (for a stripe job) from which buffer.
#[derive(Clone, Debug)]
pub struct Destination {
    /// Where to.
    pub extent: Extent,
    /// Index of the buffer: `0..k` are the sources, `k..k + c` the computed ones.
    pub buffer: u16,
}

/// A job, built step by step and checked when it is submitted.
///
/// ```
/// # fn example(disk: &kcopy::Device, mirror: &kcopy::Device) {
/// use kcopy::{Job, Region, Sector, Sectors};
/// let job = Job::copy(Region::new(disk, Sector::new(0), Sectors::new(2048)))
///     .to(Region::new(mirror, Sector::new(0), Sectors::new(2048)))
///     .flush();
/// # let _ = job;
/// # }
/// ```
#[derive(Clone)]
pub struct Job {
    pub(crate) kind: JobKind,
    pub(crate) sources: SmallVec<[Extent; 1]>,
    pub(crate) destinations: SmallVec<[Destination; 2]>,
    pub(crate) computed: u16,
    pub(crate) transform: Option<Arc<dyn Transform>>,
    pub(crate) flags: Flags,
    pub(crate) on_error: OnError,
    pub(crate) priority: Priority,
    pub(crate) cancel: Option<CancelToken>,
}

impl Job {
    #[inline]
    fn new(kind: JobKind) -> Self {
        Self {
            kind,
            sources: SmallVec::new(),
            destinations: SmallVec::new(),
            computed: 0,
            transform: None,
            flags: Flags::empty(),
            on_error: OnError::default(),
            priority: Priority::default(),
            cancel: None,
        }
    }

    /// Drops every handle that the job has.
    #[inline]
    pub(crate) fn let_go(&mut self) {
        self.sources.clear();
        self.destinations.clear();
        if self.transform.is_some() || self.cancel.is_some() {
            (self.transform, self.cancel) = (None, None);
        }
    }

    /// Whether dropping it would do nothing.
    #[inline]
    pub(crate) fn owns_nothing(&self) -> bool {
        let lists_own = self.sources.spilled() || self.destinations.spilled();
        let empty = self.sources.is_empty() && self.destinations.is_empty();
        empty && !lists_own && self.transform.is_none() && self.cancel.is_none()
    }

    /// Copies `source` to every destination.
    #[inline]
    pub fn copy(source: impl Into<Extent>) -> Self {
        let mut job = Self::new(JobKind::Copy);
        job.sources.push(source.into());
        job
    }

    /// Makes every destination read as zeros.
    pub fn zero() -> Self {
        Self::new(JobKind::Zero)
    }

    /// Tells every destination that its content is not needed; what it reads as afterwards is
    /// undefined. A device that cannot is an error of that destination (`EOPNOTSUPP`).
    pub fn discard() -> Self {
        Self::zero().flags(Flags::DISCARD)
    }

    /// Compares `source` with every destination; reads all, writes nothing.
    pub fn compare(source: impl Into<Extent>) -> Self {
        let mut job = Self::new(JobKind::Compare);
        job.sources.push(source.into());
        job
    }

    /// Reads sources ([`Job::from`]), applies `transform`, with `computed` buffers beside those of
    /// the sources, and writes buffers to destinations ([`Job::to_from`]).
    pub fn stripe(computed: u16, transform: Arc<dyn Transform>) -> Self {
        let mut job = Self::new(JobKind::Stripe);
        job.computed = computed;
        job.transform = Some(transform);
        job
    }

    /// Flushes every given device, nothing else: what completed before is durable at the callback.
    ///
    /// Once a flush of a device has failed in a client, this fails there until the device is
    /// released ([`crate::Client::release`]): a later flush that succeeds does not bring back what
    /// the failed one lost.
    pub fn flush_only<'a>(devices: impl IntoIterator<Item = &'a crate::Device>) -> Self {
        let mut job = Self::zero().flush();
        for device in devices {
            job = job.to(Extent::new(device, 0, 0));
        }
        job
    }

    /// Adds a source (stripe jobs): the next buffer.
    #[must_use]
    pub fn from(mut self, source: impl Into<Extent>) -> Self {
        self.sources.push(source.into());
        self
    }

    /// Adds a destination, written from buffer 0.
    #[must_use]
    #[inline(always)]
    pub fn to(self, destination: impl Into<Extent>) -> Self {
        self.to_from(destination, 0)
    }

    /// Adds a destination that is written from buffer `buffer` (stripe jobs).
    #[must_use]
    #[inline(always)]
    pub fn to_from(mut self, destination: impl Into<Extent>, buffer: u16) -> Self {
        self.destinations.push(Destination { extent: destination.into(), buffer });
        self
    }

    /// Looks at the pages of a copy job between reading and writing: checksums, progress.
    #[must_use]
    pub fn observe(mut self, observer: Arc<dyn Transform>) -> Self {
        self.transform = Some(observer);
        self
    }

    /// Sets flags.
    #[must_use]
    pub fn flags(mut self, flags: Flags) -> Self {
        self.flags |= flags;
        self
    }

    /// The callback comes after every written destination was flushed.
    #[must_use]
    pub fn flush(self) -> Self {
        self.flags(Flags::FLUSH)
    }

    /// What to do when something fails.
    #[must_use]
    pub fn on_error(mut self, on_error: OnError) -> Self {
        self.on_error = on_error;
        self
    }

    /// Which jobs are served first.
    #[must_use]
    pub fn priority(mut self, priority: Priority) -> Self {
        self.priority = priority;
        self
    }

    /// A token that cancels the job: nothing new is issued, what is in flight ends, then the
    /// callback comes. Get it from [`crate::Client::cancel_token`].
    #[must_use]
    pub fn cancelled_by(mut self, token: &CancelToken) -> Self {
        self.cancel = Some(token.clone());
        self
    }

    /// The job's length in bytes: that of every source and destination.
    pub fn len(&self) -> u64 {
        let first = self.sources.first().or_else(|| self.destinations.first().map(|d| &d.extent));
        first.map_or(0, |extent| extent.len)
    }

    /// Whether there is nothing to transfer.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl fmt::Debug for Job {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Job")
            .field("kind", &self.kind)
            .field("sources", &self.sources)
            .field("destinations", &self.destinations)
            .field("flags", &self.flags)
            .field("on_error", &self.on_error)
            .field("priority", &self.priority)
            .finish_non_exhaustive()
    }
}
