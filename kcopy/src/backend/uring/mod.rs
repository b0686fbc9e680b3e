//! io_uring: one ring, used by the engine's thread alone.
//!
//! The pool is one fixed buffer where the limit on locked memory allows it, the first devices are
//! fixed files, completions are processed when the thread asks for them. Each of these falls back
//! by itself: no fixed buffer (`RLIMIT_MEMLOCK`), plain descriptors, older modes.
//!
//! No two requests are ever linked: a linked write would go out after a short read, with stale
//! bytes behind its end.

mod discards;
mod probe;
mod ring;
mod slots;

use std::fmt;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

use rustix::event::{EventfdFlags, eventfd};

use self::discards::{Discards, Work};
use self::probe::{Made, Modes, NoRing, make_ring};
use self::ring::{Descriptor, Reaped, Ring};
use self::slots::InFlight;
use super::route::{Route, Routes};
use super::{Backend, BackendKind, Completion, Op, OpId, OpenError, Rejected, Slot, Wake};
use crate::device::{Device, DeviceKind, Handle};
use crate::errno::Errno;
use crate::pool::PoolMemory;

/// Devices that get registered files, two places each.
const FIXED_DEVICES: u32 = 64;

/// Times that an operation is queued again when the kernel could not start it, before that is an
/// error.
const MAX_AGAIN: u32 = 16;

/// Threads of the kernel's worker pool, for operations that cannot be started without blocking.
const MAX_WORKERS: u32 = 4;

/// Locked memory is given back some time after its ring was closed: worth a few tries.
const REGISTER_TRIES: u32 = 6;
const REGISTER_PAUSE: Duration = Duration::from_millis(20);

/// A device, its routes, and whether its descriptors are registered.
#[derive(Debug)]
struct Attached {
    routes: Routes,
    fixed: bool,
}

/// See the module. Made on any thread; from its first wait on it belongs to the thread that waited,
/// and a wait on another one fails.
pub struct UringBackend {
    ring: Ring,
    devices: Vec<Option<Attached>>,
    wake: Arc<Bell>,
    depth: usize,
    modes: Modes,
    fixed_files: bool,
    registrations: u64,
    strays: u64,
    /// The kernel may know the request that discards on a block device.
    discard_requests: bool,
    discards: Discards,
}

impl UringBackend {
    /// A backend for `depth` operations in flight on pages of `memory`.
    ///
    /// # Errors
    ///
    /// [`OpenError::Unavailable`] if the system does not offer io_uring, [`OpenError::Resource`] if
    /// memory or descriptors ran out.
    pub fn new(memory: &PoolMemory, depth: u32) -> Result<Self, OpenError> {
        let resource = |error: io::Error| OpenError::Resource(error);
        let Made { ring, modes, depth, commands } =
            make_ring(depth).map_err(|reason| match reason {
                NoRing::Unavailable(reason) => OpenError::Unavailable { reason },
                NoRing::Resource(error) => OpenError::Resource(error),
            })?;
        let wake = eventfd(0, EventfdFlags::CLOEXEC).map_err(|errno| resource(errno.into()))?;
        let wake = Arc::new(Bell(wake));
        let depth = usize::try_from(depth).unwrap_or(1);
        let mut ring = Ring::new(ring, depth, memory, wake.0.as_raw_fd());
        register_pool(&mut ring, memory);
        let fixed_files = ring.register_files(FIXED_DEVICES * 2).is_ok();
        if let Err(error) = ring.limit_workers(MAX_WORKERS) {
            tracing::debug!(%error, "the kernel's workers are not limited");
        }
        Ok(Self {
            ring,
            devices: Vec::new(),
            discards: Discards::new(Arc::clone(&wake) as Arc<dyn Wake>),
            wake,
            depth,
            modes,
            fixed_files,
            registrations: 0,
            strays: 0,
            discard_requests: commands,
        })
    }

    /// Whether the pool is registered as a fixed buffer.
    pub fn has_fixed_buffer(&self) -> bool {
        self.ring.has_fixed_buffer()
    }

    /// Completions that named no operation in flight.
    pub fn stray_completions(&self) -> u64 {
        self.strays
    }

    fn descriptor(&self, slot: Slot, route: Route) -> Option<Descriptor> {
        let attached = self.devices.get(usize::from(slot.0))?.as_ref()?;
        if attached.fixed {
            return Some(Descriptor::Fixed(place(slot, route)));
        }
        let file = attached.routes.descriptor(route)?;
        Some(Descriptor::Plain(file.as_raw_fd()))
    }

    fn attached(&mut self, slot: Slot) -> Option<&mut Attached> {
        self.devices.get_mut(usize::from(slot.0))?.as_mut()
    }

    /// Whether an operation is a discard on a block device: for a file, it is a request like others.
    fn is_block_discard(&self, op: &Op) -> bool {
        let Op::Discard { device, .. } = op else { return false };
        let attached = self.devices.get(usize::from(device.0)).and_then(Option::as_ref);
        attached.is_some_and(|one| one.routes.device.facts().kind == DeviceKind::Block)
    }

    /// Has a discard made by the call, beside the ring.
    fn discard_aside(&mut self, id: OpId, slot: Slot, (offset, len): (u64, u64)) {
        let Some(attached) = self.attached(slot) else { return };
        let device = attached.routes.device.clone();
        self.registrations += 1;
        self.discards.hand_over(Work { id, device, offset, len });
    }

    /// How many completions are worth waiting for at first.
    ///
    /// With many small operations on their way, one system call for each completion costs more
    /// than the operation. So a call waits for a part of them, but only for a moment
    /// ([`Ring::enter`]), and never for so many that the device runs out of work. With few on
    /// their way, each counts.
    fn want(&self, timeout: Option<Duration>) -> usize {
        const MANY: usize = 32;
        let in_flight = self.ring.slots.len();
        match timeout {
            Some(Duration::ZERO) => 0,
            _ if in_flight < MANY => 1,
            _ => in_flight / 3,
        }
    }

    /// Takes the end of a request in: completes its operation, or puts it in line again.
    fn ended(&mut self, name: u64, result: i32, done: &mut Vec<Completion>) -> io::Result<()> {
        if let Ok(count) = u32::try_from(result) {
            return self.complete(name, Ok(count), done);
        }
        let errno = -result;
        match self.next_step(name, errno) {
            Step::End => self.complete(name, Err(Errno::new(errno)), done),
            Step::Pause { long } => self.ring.queue_pause(name, long),
            Step::Again(descriptor) => self.ring.queue_again(name, descriptor),
            Step::Aside => {
                // The kernel does not know the request, or the device discards nothing: the call
                // tells which.
                let kept = self.ring.slots.take(name);
                if let Some(InFlight { id, op: Op::Discard { device, offset, len }, .. }) = kept {
                    self.discard_aside(id, device, (offset, len));
                }
                Ok(())
            }
        }
    }

    fn complete(
        &mut self,
        name: u64,
        result: Result<u32, Errno>,
        done: &mut Vec<Completion>,
    ) -> io::Result<()> {
        match self.ring.slots.take(name) {
            Some(InFlight { id, op, .. }) => {
                done.push(Completion { id, result, buffer: op.into_buffer() });
            }
            None => {
                self.strays += 1;
                tracing::error!(name, ?result, "a completion names no operation in flight");
            }
        }
        Ok(())
    }

    /// What becomes of an operation that ended with an error.
    fn next_step(&mut self, name: u64, errno: i32) -> Step {
        let Some(kept) = self.ring.slots.find(name) else { return Step::End };
        let (slot, mut route, command) = (kept.op.device(), kept.route, kept.command);
        let paused = std::mem::take(&mut kept.paused);
        match errno {
            libc::ETIME if paused => {}
            libc::EAGAIN | libc::EINTR if kept.again < MAX_AGAIN => {
                kept.again += 1;
                if kept.again > 1 {
                    kept.paused = true;
                    return Step::Pause { long: kept.again > 2 };
                }
            }
            libc::EOPNOTSUPP | libc::ENOTTY if command => {
                self.discard_requests = false;
                return Step::Aside;
            }
            libc::EINVAL if command => return Step::Aside,
            libc::EINVAL | libc::EOPNOTSUPP if route == Route::Direct => {
                if !self.attached(slot).is_some_and(|attached| attached.routes.direct_refused()) {
                    return Step::End;
                }
                route = Route::Cached;
                if let Some(kept) = self.ring.slots.find(name) {
                    kept.route = route;
                }
            }
            _ => return Step::End,
        }
        self.descriptor(slot, route).map_or(Step::End, Step::Again)
    }
}

/// What becomes of an operation that ended with an error.
enum Step {
    /// The error is its result.
    End,
    /// It is tried again a little later.
    Pause { long: bool },
    /// It is tried again at once, on this descriptor.
    Again(Descriptor),
    /// It is done in another way, beside the ring.
    Aside,
}

/// Where a device's descriptor lies in the table of registered files.
fn place(slot: Slot, route: Route) -> u32 {
    u32::from(slot.0) * 2 + u32::from(route == Route::Direct)
}

/// Registers the pool, or goes on without: the same results, a little slower.
fn register_pool(ring: &mut Ring, memory: &PoolMemory) {
    let limit = rustix::process::getrlimit(rustix::process::Resource::Memlock).current;
    let bytes = u64::try_from(memory.address().1).unwrap_or(u64::MAX);
    // More than the limit never fits, but for those who may pass over it.
    let tries = if limit.is_none_or(|limit| bytes <= limit) { REGISTER_TRIES } else { 1 };
    for attempt in 1..=tries {
        match ring.register_pool() {
            Ok(()) => return,
            Err(error) if error.raw_os_error() == Some(libc::ENOMEM) => {
                if attempt < tries {
                    pause();
                }
            }
            Err(error) => {
                tracing::debug!(%error, "the pool is not registered");
                return;
            }
        }
    }
    tracing::debug!(
        bytes,
        limit,
        "the pool is not registered as a fixed buffer: the limit on locked memory (ulimit -l) is \
         too low for it"
    );
}

#[expect(clippy::disallowed_methods, reason = "nothing tells when locked memory is given back")]
fn pause() {
    std::thread::sleep(REGISTER_PAUSE);
}

impl Backend for UringBackend {
    fn kind(&self) -> BackendKind {
        BackendKind::IoUring
    }

    fn attach(&mut self, slot: Slot, device: &Device) -> Result<(), Errno> {
        let Handle::Files { .. } = device.handle() else { return Err(Errno::BAD_DESCRIPTOR) };
        let index = usize::from(slot.0);
        if self.devices.len() <= index {
            self.devices.resize_with(index + 1, || None);
        }
        let routes = Routes::new(device);
        let mut fixed = self.fixed_files && u32::from(slot.0) < FIXED_DEVICES;
        if fixed {
            for route in [Route::Cached, Route::Direct] {
                let file = routes.descriptor(route).map_or(-1, AsRawFd::as_raw_fd);
                self.registrations += 1;
                fixed &= self.ring.set_file(place(slot, route), file).is_ok();
            }
        }
        self.devices[index] = Some(Attached { routes, fixed });
        Ok(())
    }

    fn detach(&mut self, slot: Slot) {
        let Some(attached) = self.devices.get_mut(usize::from(slot.0)).and_then(Option::take)
        else {
            return;
        };
        for route in [Route::Cached, Route::Direct] {
            if attached.fixed {
                self.registrations += 1;
                if self.ring.set_file(place(slot, route), -1).is_err() {
                    tracing::debug!(?slot, "a registered file stays registered");
                }
            }
        }
    }

    fn room(&self) -> usize {
        self.depth.saturating_sub(self.ring.slots.len() + self.discards.in_flight())
    }

    fn submit(&mut self, id: OpId, op: Op) -> Result<(), Box<Rejected>> {
        let slot = op.device();
        if self.room() == 0 {
            return Err(Box::new(Rejected { op }));
        }
        let command = self.is_block_discard(&op);
        if let Op::Discard { offset, len, .. } = op
            && command
            && !self.discard_requests
        {
            self.discard_aside(id, slot, (offset, len));
            return Ok(());
        }
        let Some(route) = self.attached(slot).map(|attached| attached.routes.route(&op)) else {
            return Err(Box::new(Rejected { op }));
        };
        let Some(descriptor) = self.descriptor(slot, route) else {
            return Err(Box::new(Rejected { op }));
        };
        let operation = InFlight { id, op, route, command, again: 0, paused: false };
        self.ring
            .queue(operation, descriptor)
            .map_err(|InFlight { op, .. }| Box::new(Rejected { op }))
    }

    fn wait(&mut self, timeout: Option<Duration>, done: &mut Vec<Completion>) -> io::Result<()> {
        let timeout = if self.discards.take(done) { Some(Duration::ZERO) } else { timeout };
        self.ring.enter(self.want(timeout), timeout)?;
        while let Some(reaped) = self.ring.reap() {
            if let Reaped::Op { name, result } = reaped {
                self.ended(name, result, done)?;
            }
        }
        self.discards.take(done);
        Ok(())
    }

    fn waker(&self) -> Arc<dyn Wake> {
        Arc::clone(&self.wake) as Arc<dyn Wake>
    }

    fn syscalls(&self) -> u64 {
        let looks: u64 = self.devices.iter().flatten().map(|attached| attached.routes.looks).sum();
        self.ring.enters + self.registrations + looks
    }

    fn describe(&self) -> String {
        format!(
            "{}, {}, {}, {} operations",
            self.modes.name(),
            if self.has_fixed_buffer() { "fixed buffer" } else { "plain buffers" },
            if self.fixed_files { "fixed files" } else { "plain files" },
            self.depth
        )
    }
}

impl fmt::Debug for UringBackend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("UringBackend")
            .field("ring", &self.ring)
            .field("mode", &self.describe())
            .finish_non_exhaustive()
    }
}

/// The eventfd that the ring reads.
#[derive(Debug)]
struct Bell(OwnedFd);

impl Wake for Bell {
    #[expect(clippy::host_endian_bytes, reason = "an eventfd counts in the machine's byte order")]
    fn wake(&self) {
        // It can only fail if the counter overflows, and then it is rung already.
        let _ = rustix::io::write(&self.0, &1u64.to_ne_bytes());
    }
}
