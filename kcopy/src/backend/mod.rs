//! The contract between the engine and whatever does I/O.
//!
//! An [`Op`] is one request on one device. The engine hands it over with [`Backend::submit`] and
//! gets a [`Completion`] for it from [`Backend::wait`], exactly once. The rules, which the
//! conformance suite checks on every backend:
//!
//! 1. Completions come in any order.
//! 2. A completed write is not durable. An [`Op::Flush`] makes durable every write and zeroing on
//!    that device that *completed before the flush was submitted*, and no other.
//! 3. A short read or write is a result, not an error: the engine asks again for the rest. A read
//!    of 0 bytes is the end of the device.
//! 4. `submit` takes the operation with its pages, and the backend owns them until the completion
//!    hands them back: nobody else can touch memory that the device may write to.
//! 5. A refused operation comes back untouched in [`Rejected`].
//! 6. Interruptions and "try again" of the system are handled below this line; an errno in a
//!    completion is the device's verdict.
//! 7. [`Backend::wait`] itself fails only if the backend is broken; the engine then fails every
//!    job that has operations in flight.
//! 8. Dropping a backend waits for the operations in flight, or leaks their pages: memory that a
//!    device may still write to is never given back.
//!
//! An operation whose offset, length and memory fit the device's direct I/O alignment
//! ([`crate::device::Facts::direct`]) goes past the page cache; any other goes through it. The
//! backend decides that per operation.

use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use crate::device::Device;
use crate::errno::Errno;
use crate::mem::{Pages, SharedPages};

#[cfg(feature = "null")]
pub mod null;
mod open;
mod route;
#[cfg(feature = "sim")]
pub mod sim;
pub mod threads;
pub mod uring;

pub use open::{BackendChoice, BackendOptions, OpenError, open};

/// Which backend a client runs on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum BackendKind {
    /// io_uring.
    IoUring,
    /// Threads that call `pread` and `pwrite`.
    Threads,
    /// The simulated device.
    Simulated,
    /// No I/O at all.
    Null,
}

impl BackendKind {
    /// The name on the command line and in JSON.
    pub fn name(self) -> &'static str {
        match self {
            Self::IoUring => "io-uring",
            Self::Threads => "threads",
            Self::Simulated => "simulated",
            Self::Null => "null",
        }
    }
}

impl fmt::Display for BackendKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Names an operation in flight: chosen by the engine, handed back in the completion.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct OpId(pub u64);

/// A device as the backend knows it: a small number, given by the engine in [`Backend::attach`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Slot(pub u16);

/// The largest number of devices attached at one time; slots are below it.
pub const MAX_SLOTS: u16 = 1024;

/// Part of a run of pages, in bytes from its start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    /// First byte.
    pub start: u32,
    /// Number of bytes, not 0.
    pub len: u32,
}

impl Window {
    /// The window as a range of indices into the pages.
    pub fn range(self) -> std::ops::Range<usize> {
        self.start as usize..self.start as usize + self.len as usize
    }
}

/// How [`Op::Zero`] goes about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ZeroMethod {
    /// `FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE`: zeroes, space stays allocated.
    ZeroRange,
    /// `FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE`: zeroes, space is given back.
    PunchHole,
}

/// One request on one device. Offsets in bytes from the device's start.
#[derive(Debug)]
pub enum Op {
    /// Read into `window` of `pages`.
    Read {
        /// The device.
        device: Slot,
        /// First byte on the device.
        offset: u64,
        /// Where to.
        pages: Pages,
        /// Which part of the pages.
        window: Window,
    },
    /// Write `window` of `pages`.
    Write {
        /// The device.
        device: Slot,
        /// First byte on the device.
        offset: u64,
        /// Where from.
        pages: SharedPages,
        /// Which part of the pages.
        window: Window,
    },
    /// Make `len` bytes read as zeros, without data. Bytes behind the end of a file are left alone.
    Zero {
        /// The device.
        device: Slot,
        /// First byte on the device.
        offset: u64,
        /// Number of bytes.
        len: u64,
        /// By which means.
        method: ZeroMethod,
    },
    /// Tell the device that `len` bytes are not needed; what they read as afterwards is undefined.
    Discard {
        /// The device.
        device: Slot,
        /// First byte on the device.
        offset: u64,
        /// Number of bytes.
        len: u64,
    },
    /// Make completed writes durable (rule 2).
    Flush {
        /// The device.
        device: Slot,
    },
}

impl Op {
    /// The device it is for.
    pub fn device(&self) -> Slot {
        match self {
            Self::Read { device, .. }
            | Self::Write { device, .. }
            | Self::Zero { device, .. }
            | Self::Discard { device, .. }
            | Self::Flush { device } => *device,
        }
    }

    /// The bytes on the device that it touches: offset and length, nothing for a flush.
    pub fn span(&self) -> Option<(u64, u64)> {
        match self {
            Self::Read { offset, window, .. } | Self::Write { offset, window, .. } => {
                Some((*offset, u64::from(window.len)))
            }
            Self::Zero { offset, len, .. } | Self::Discard { offset, len, .. } => {
                Some((*offset, *len))
            }
            Self::Flush { .. } => None,
        }
    }

    /// The pages inside, to be handed back in a completion.
    pub fn into_buffer(self) -> Buffer {
        match self {
            Self::Read { pages, .. } => Buffer::Exclusive(pages),
            Self::Write { pages, .. } => Buffer::Shared(pages),
            Self::Zero { .. } | Self::Discard { .. } | Self::Flush { .. } => Buffer::None,
        }
    }
}

/// The pages that come back with a completion.
#[derive(Debug)]
pub enum Buffer {
    /// Of a read.
    Exclusive(Pages),
    /// Of a write.
    Shared(SharedPages),
    /// The operation had none.
    None,
}

/// The end of an operation.
#[derive(Debug)]
pub struct Completion {
    /// Which one.
    pub id: OpId,
    /// Bytes transferred (0 for zero, discard and flush), or the device's verdict.
    pub result: Result<u32, Errno>,
    /// Its pages.
    pub buffer: Buffer,
}

/// An operation that was not taken: the backend is full ([`Backend::room`] was 0).
#[derive(Debug)]
pub struct Rejected {
    /// The operation, untouched.
    pub op: Op,
}

/// Wakes a [`Backend::wait`] from another thread; a wake before the wait is not lost.
pub trait Wake: Send + Sync + fmt::Debug {
    /// Makes a wait that is going on, or the next one, return.
    fn wake(&self);
}

/// Something that does I/O. See the module's rules.
pub trait Backend: Send + fmt::Debug {
    /// Which one it is.
    fn kind(&self) -> BackendKind;

    /// Makes `device` known as `slot`. A slot is attached once until it is detached.
    ///
    /// # Errors
    ///
    /// If the device cannot be used by this backend.
    fn attach(&mut self, slot: Slot, device: &Device) -> Result<(), Errno>;

    /// Forgets `slot`; nothing is in flight on it.
    fn detach(&mut self, slot: Slot);

    /// How many more operations fit now.
    fn room(&self) -> usize;

    /// Takes an operation. It may start only at the next [`Backend::wait`].
    ///
    /// # Errors
    ///
    /// The operation itself, when there is no room.
    fn submit(&mut self, id: OpId, op: Op) -> Result<(), Box<Rejected>>;

    /// Starts what was taken, and appends what has ended to `done`.
    ///
    /// Waits for at least one completion or a wake, at most `timeout` (`None`: for ever;
    /// zero: does not wait). With a `timeout` it may come back before, with nothing.
    ///
    /// # Errors
    ///
    /// If the backend is broken (rule 7).
    fn wait(&mut self, timeout: Option<Duration>, done: &mut Vec<Completion>) -> io::Result<()>;

    /// Something that wakes this backend's `wait` from another thread.
    fn waker(&self) -> Arc<dyn Wake>;

    /// System calls made so far.
    fn syscalls(&self) -> u64 {
        0
    }

    /// One line about the mode it runs in, for people ("fixed buffers, registered files").
    fn describe(&self) -> String;
}
