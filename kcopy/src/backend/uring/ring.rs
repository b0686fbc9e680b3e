//! The fence around the ring: what is unsafe about io_uring happens here and nowhere else.
//!
//! # Safety argument
//!
//! 1. Memory that the kernel reads or writes lies in pages that a [`Slots`] entry owns. An entry is
//!    taken out only when its completion has been reaped ([`Ring::reap`]).
//! 2. If the ring must be dropped with operations in flight that do not end, the slots are leaked:
//!    their pages, and the arena behind them, then live for ever.
//! 3. Descriptors named by a request are kept open by the backend until the request has ended: a
//!    device is detached only when nothing is in flight on it. (And the kernel takes a reference of
//!    its own when a request is submitted.)
//! 4. The registered buffer is the arena, which `memory` keeps alive longer than the ring (field
//!    order: the ring is dropped first).
//! 5. The word that wake-ups are read into is boxed, and leaked with the slots if need be.
//! 6. The lengths of pauses are statics.
#![allow(unsafe_code)]

use std::io;
use std::os::fd::{AsRawFd, RawFd};
use std::time::Duration;

use io_uring::types::{FsyncFlags, SubmitArgs, Timespec};
use io_uring::{IoUring, opcode, squeue, types};

use super::slots::{InFlight, Slots};
use crate::backend::{Op, Window, ZeroMethod};
use crate::pool::PoolMemory;

/// The name of the request that waits for wake-ups.
const WAKE: u64 = u64::MAX;

/// The name of requests that nobody waits for.
const NOBODY: u64 = u64::MAX - 1;

/// Before the second and the later tries of an operation that the kernel could not start.
static PAUSES: [Timespec; 2] = [Timespec::new().nsec(50_000), Timespec::new().nsec(1_000_000)];

/// The most bytes that the kernel registers as one buffer.
const BUFFER: usize = 1 << 30;

/// How long to wait for several completions before one is enough, in microseconds: less than the
/// time in which a fast disk works off the operations that make it worth waiting.
const MOMENT: u32 = 400;

/// A descriptor as the ring knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Descriptor {
    /// A place in the table of registered files.
    Fixed(u32),
    /// A plain descriptor.
    Plain(RawFd),
}

/// A reaped completion.
#[derive(Debug)]
pub(super) enum Reaped {
    /// Of the operation with this name.
    Op { name: u64, result: i32 },
    /// Somebody rang.
    Wake,
}

/// See the module.
pub(super) struct Ring {
    ring: IoUring,
    pub(super) slots: Slots,
    /// Where the count of wake-ups is read into.
    wake_word: Box<u64>,
    wake_armed: bool,
    wake_fd: RawFd,
    /// Where the registered pool begins; `None`: it is not registered.
    fixed: Option<usize>,
    memory: PoolMemory,
    enabled: bool,
    pub(super) enters: u64,
}

impl Ring {
    pub(super) fn new(ring: IoUring, depth: usize, memory: &PoolMemory, wake_fd: RawFd) -> Self {
        Self {
            ring,
            slots: Slots::with_capacity(depth),
            wake_word: Box::new(0),
            wake_armed: false,
            wake_fd,
            fixed: None,
            memory: memory.clone(),
            enabled: false,
            enters: 0,
        }
    }

    /// Registers the pool as a fixed buffer (as several, if it is larger than one can be).
    pub(super) fn register_pool(&mut self) -> io::Result<()> {
        let (address, len) = self.memory.address();
        let buffers: Vec<_> = (0..len)
            .step_by(BUFFER)
            .map(|start| libc::iovec {
                iov_base: std::ptr::without_provenance_mut(address + start),
                iov_len: BUFFER.min(len - start),
            })
            .collect();
        // SAFETY: the memory outlives the ring (4).
        unsafe { self.ring.submitter().register_buffers(&buffers) }?;
        self.fixed = Some(address);
        Ok(())
    }

    /// Whether the pool is registered.
    pub(super) fn has_fixed_buffer(&self) -> bool {
        self.fixed.is_some()
    }

    pub(super) fn register_files(&self, places: u32) -> io::Result<()> {
        self.ring.submitter().register_files_sparse(places)
    }

    pub(super) fn set_file(&self, place: u32, descriptor: RawFd) -> io::Result<()> {
        self.ring.submitter().register_files_update(place, &[descriptor]).map(drop)
    }

    pub(super) fn limit_workers(&self, bounded: u32) -> io::Result<()> {
        self.ring.submitter().register_iowq_max_workers(&mut [bounded, bounded])
    }

    /// Queues the request of an operation and keeps the operation; hands it back if the ring takes
    /// no more.
    pub(super) fn queue(&mut self, operation: InFlight, on: Descriptor) -> Result<(), InFlight> {
        let name = self.slots.keep(operation);
        if let Err(error) = self.queue_again(name, on) {
            tracing::error!(%error, "the ring takes no request");
            // The kernel has not seen it.
            return self.slots.take(name).map_or(Ok(()), Err);
        }
        Ok(())
    }

    /// Queues a pause after which the operation `name` is reaped with `ETIME`.
    pub(super) fn queue_pause(&mut self, name: u64, long: bool) -> io::Result<()> {
        let entry = opcode::Timeout::new(&raw const PAUSES[usize::from(long)]).build();
        self.push(&entry.user_data(name))
    }

    /// Queues the request of the operation `name`, once more.
    pub(super) fn queue_again(&mut self, name: u64, on: Descriptor) -> io::Result<()> {
        let fixed = self.fixed;
        let Some(kept) = self.slots.find(name) else { return Ok(()) };
        let entry = match (&kept.op, on) {
            (Op::Discard { offset, len, .. }, on) if kept.command => discard(*offset, *len, on),
            (_, Descriptor::Fixed(place)) => request(&mut kept.op, types::Fixed(place), fixed),
            (_, Descriptor::Plain(fd)) => request(&mut kept.op, types::Fd(fd), fixed),
        };
        self.push(&entry.user_data(name))
    }

    /// Submits what is queued and waits for `want` completions, or for one after a
    /// [`MOMENT`]; at most `timeout`.
    pub(super) fn enter(&mut self, want: usize, timeout: Option<Duration>) -> io::Result<()> {
        self.enable()?;
        if !self.wake_armed {
            self.arm_wake()?;
        }
        if want == 0 && self.nothing_to_tell() {
            return Ok(());
        }
        self.enters += 1;
        // An older kernel knows no moment: there, one completion is enough.
        let can_batch = want > 1 && self.ring.params().is_feature_min_timeout();
        let want = if can_batch { want } else { want.min(1) };
        let args = SubmitArgs::new().min_wait_usec(if can_batch { MOMENT } else { 0 });
        let limit = timeout.map(Timespec::from);
        let submitter = self.ring.submitter();
        let result = match &limit {
            Some(limit) if want > 0 => submitter.submit_with_args(want, &args.timespec(limit)),
            None if can_batch => submitter.submit_with_args(want, &args),
            _ => submitter.submit_and_wait(want),
        };
        match result {
            Ok(_) => Ok(()),
            Err(error) => match error.raw_os_error() {
                // Time is up, a signal came, or completions are to be taken out first.
                Some(libc::ETIME | libc::EINTR | libc::EBUSY | libc::EAGAIN) => Ok(()),
                Some(libc::EEXIST) => Err(io::Error::other(
                    "a ring can be used by the thread that used it first only",
                )),
                _ => Err(error),
            },
        }
    }

    /// The next completion, if there is one. Its operation stays in `slots` until it is taken.
    pub(super) fn reap(&mut self) -> Option<Reaped> {
        loop {
            let entry = self.ring.completion().next()?;
            match entry.user_data() {
                WAKE => {
                    self.wake_armed = false;
                    return Some(Reaped::Wake);
                }
                NOBODY => {}
                name => return Some(Reaped::Op { name, result: entry.result() }),
            }
        }
    }

    /// Whether a submission without waiting would do nothing.
    fn nothing_to_tell(&mut self) -> bool {
        let queue = self.ring.submission();
        queue.is_empty() && !queue.taskrun() && !queue.cq_overflow()
    }

    /// The ring is made disabled, so that the thread that enables it is its one issuer.
    pub(super) fn enable(&mut self) -> io::Result<()> {
        if !self.enabled {
            self.ring.submitter().register_enable_rings()?;
            self.enabled = true;
        }
        Ok(())
    }

    fn arm_wake(&mut self) -> io::Result<()> {
        let word = std::ptr::from_mut(self.wake_word.as_mut()).cast::<u8>();
        let entry = opcode::Read::new(types::Fd(self.wake_fd), word, 8).build().user_data(WAKE);
        self.push(&entry)?;
        self.wake_armed = true;
        Ok(())
    }

    fn push(&mut self, entry: &squeue::Entry) -> io::Result<()> {
        if self.ring.submission().is_full() {
            self.enable()?;
            self.enters += 1;
            self.ring.submit()?;
        }
        let mut queue = self.ring.submission();
        // SAFETY: memory and descriptors that the entry names stay valid until its completion has
        // been reaped (1, 3, 5).
        unsafe { queue.push(entry) }.map_err(|_| io::Error::from_raw_os_error(libc::EBUSY))
    }

    /// Waits until nothing is in flight, at most `patience`; `false` if something still is.
    fn drain(&mut self, patience: Duration) -> bool {
        const ROUNDS: u32 = 50;
        let mut cancelled = false;
        for _ in 0..ROUNDS {
            while let Some(reaped) = self.reap() {
                if let Reaped::Op { name, .. } = reaped {
                    drop(self.slots.take(name));
                }
            }
            if self.slots.len() == 0 && !self.wake_armed {
                return true;
            }
            if self.wake_armed && !cancelled {
                let entry = opcode::AsyncCancel::new(WAKE).build().user_data(NOBODY);
                // SAFETY: the entry names no memory.
                let pushed = unsafe { self.ring.submission().push(&entry) };
                // A full queue is emptied by the call below; then there is room.
                cancelled = pushed.is_ok();
            }
            let limit = Timespec::from(patience / ROUNDS);
            let arguments = SubmitArgs::new().timespec(&limit);
            let waited = self.ring.submitter().submit_with_args(1, &arguments);
            let errno = waited.err().map(|error| error.raw_os_error());
            let passing = [libc::ETIME, libc::EINTR, libc::EBUSY, libc::EAGAIN]
                .map(|errno| Some(Some(errno)));
            if errno.is_some() && !passing.contains(&errno) {
                return false;
            }
        }
        false
    }
}

impl Drop for Ring {
    /// A closed ring is taken apart some time later, by a worker of the kernel; what was registered
    /// would be held until then: files (a claimed block device would still be "in use" for the next
    /// program) and locked memory. So both are given back here.
    fn drop(&mut self) {
        const PATIENCE: Duration = Duration::from_secs(10);
        self.end_operations(PATIENCE);
        for given_back in
            [self.ring.submitter().unregister_files(), self.ring.submitter().unregister_buffers()]
        {
            if let Err(error) = given_back {
                tracing::trace!(%error, "nothing was registered");
            }
        }
    }
}

impl Ring {
    fn end_operations(&mut self, patience: Duration) {
        if self.slots.len() == 0 && !self.wake_armed {
            return;
        }
        if self.enable().is_err() || !self.drain(patience) {
            let leaked = self.slots.len();
            tracing::error!(leaked, "operations do not end: their pages are leaked");
            std::mem::forget(std::mem::replace(&mut self.slots, Slots::with_capacity(0)));
            std::mem::forget(std::mem::take(&mut self.wake_word));
            std::mem::forget(self.memory.clone());
        }
    }
}

/// Bytes in memory, and the registered buffer that they lie in, if one holds them all.
#[derive(Clone, Copy)]
struct Bytes {
    address: *mut u8,
    len: u32,
    buffer: Option<u16>,
}

impl Bytes {
    fn new(address: *mut u8, window: Window, fixed: Option<usize>) -> Self {
        let len = window.len;
        let buffer = fixed.and_then(|base| {
            let first = address.addr() - base;
            let last = first + len as usize - 1;
            u16::try_from(first / BUFFER).ok().filter(|_| first / BUFFER == last / BUFFER)
        });
        Self { address, len, buffer }
    }
}

/// The request of an operation on a descriptor.
fn request(op: &mut Op, on: impl UseFd, fixed: Option<usize>) -> squeue::Entry {
    match op {
        Op::Read { offset, pages, window, .. } => {
            // The range is checked against the pages here: memory outside is never named.
            let address = pages[window.range()].as_mut_ptr();
            on.read(Bytes::new(address, *window, fixed), *offset)
        }
        Op::Write { offset, pages, window, .. } => {
            let address = pages[window.range()].as_ptr().cast_mut();
            on.write(Bytes::new(address, *window, fixed), *offset)
        }
        Op::Zero { offset, len, method, .. } => {
            let mode = match method {
                ZeroMethod::ZeroRange => libc::FALLOC_FL_ZERO_RANGE,
                ZeroMethod::PunchHole => libc::FALLOC_FL_PUNCH_HOLE,
            };
            on.fallocate(mode | libc::FALLOC_FL_KEEP_SIZE, *offset, *len)
        }
        Op::Discard { offset, len, .. } => {
            let mode = libc::FALLOC_FL_PUNCH_HOLE | libc::FALLOC_FL_KEEP_SIZE;
            on.fallocate(mode, *offset, *len)
        }
        Op::Flush { .. } => on.fsync(),
    }
}

/// `BLOCK_URING_CMD_DISCARD` of `linux/blkdev.h`: `_IO(0x12, 0)`.
const DISCARD: u32 = 0x1200;

/// The request that discards on a block device (since 6.12): the first byte is its address, the
/// number of bytes the first word of the command.
#[expect(clippy::host_endian_bytes, reason = "the kernel reads a word of the machine's order")]
fn discard(offset: u64, len: u64, on: Descriptor) -> squeue::Entry {
    let mut command = [0; 16];
    command[..8].copy_from_slice(&len.to_ne_bytes());
    match on {
        Descriptor::Fixed(place) => opcode::UringCmd16::new(types::Fixed(place), DISCARD)
            .cmd(command)
            .addr(Some(offset))
            .build(),
        Descriptor::Plain(fd) => {
            opcode::UringCmd16::new(types::Fd(fd), DISCARD).cmd(command).addr(Some(offset)).build()
        }
    }
}

/// Requests on either kind of descriptor: the crate's own trait for that is sealed.
trait UseFd {
    fn read(self, into: Bytes, offset: u64) -> squeue::Entry;
    fn write(self, from: Bytes, offset: u64) -> squeue::Entry;
    fn fallocate(self, mode: i32, offset: u64, len: u64) -> squeue::Entry;
    fn fsync(self) -> squeue::Entry;
}

macro_rules! use_fd {
    ($kind:ty) => {
        impl UseFd for $kind {
            fn read(self, into: Bytes, offset: u64) -> squeue::Entry {
                let Bytes { address, len, buffer } = into;
                match buffer {
                    Some(index) => {
                        opcode::ReadFixed::new(self, address, len, index).offset(offset).build()
                    }
                    None => opcode::Read::new(self, address, len).offset(offset).build(),
                }
            }

            fn write(self, from: Bytes, offset: u64) -> squeue::Entry {
                let Bytes { address, len, buffer } = from;
                match buffer {
                    Some(index) => {
                        opcode::WriteFixed::new(self, address, len, index).offset(offset).build()
                    }
                    None => opcode::Write::new(self, address, len).offset(offset).build(),
                }
            }

            fn fallocate(self, mode: i32, offset: u64, len: u64) -> squeue::Entry {
                opcode::Fallocate::new(self, len).offset(offset).mode(mode).build()
            }

            fn fsync(self) -> squeue::Entry {
                opcode::Fsync::new(self).flags(FsyncFlags::DATASYNC).build()
            }
        }
    };
}

use_fd!(types::Fd);
use_fd!(types::Fixed);

impl std::fmt::Debug for Ring {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Ring")
            .field("fd", &self.ring.as_raw_fd())
            .field("in_flight", &self.slots.len())
            .finish_non_exhaustive()
    }
}
