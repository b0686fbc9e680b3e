//! Threads that call `pread` and `pwrite`: the fallback where io_uring is refused, and the second
//! opinion in tests.
//!
//! One queue to the workers, one back. Workers are started as they are needed, up to the number
//! given, and end with the backend. The rules of [`super`] hold as for io_uring: a worker owns the
//! pages of its operation, and dropping the backend waits for what is in flight.

use std::fmt;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender};
use rustix::fs::{FallocateFlags, fallocate, fdatasync};

use super::route::{Route, Routes, descriptor, discard};
use super::{Backend, BackendKind, Completion, Op, OpId, Rejected, Slot, Wake, ZeroMethod};
use crate::device::{Device, Handle};
use crate::errno::Errno;

/// Times that an interrupted or refused-for-now call is made again before that is an error.
const MAX_AGAIN: u32 = 1000;

/// What a worker is given.
struct Work {
    id: OpId,
    op: Op,
    route: Route,
    device: Device,
}

/// What comes back.
enum Return {
    /// An operation; and the slot that refused direct I/O, if it did.
    Ended(Completion, Option<Slot>),
    Woken,
}

/// See the module.
pub struct ThreadsBackend {
    devices: Vec<Option<Routes>>,
    /// Taken in [`Backend::submit`], handed to the workers in [`Backend::wait`].
    taken: Vec<Work>,
    in_flight: usize,
    depth: usize,
    work: Option<Sender<Work>>,
    /// For workers that are still to be started.
    work_source: Receiver<Work>,
    ended: Receiver<Return>,
    end: Sender<Return>,
    workers: Vec<JoinHandle<()>>,
    max_workers: usize,
    syscalls: Arc<AtomicU64>,
}

impl ThreadsBackend {
    /// A backend with at most `threads` workers and `depth` operations in flight.
    pub fn new(threads: usize, depth: u32) -> Self {
        let depth = usize::try_from(depth).unwrap_or(usize::MAX).clamp(1, 65_536);
        let (work, work_source) = crossbeam_channel::bounded(depth);
        let (end, ended) = crossbeam_channel::unbounded();
        Self {
            devices: Vec::new(),
            taken: Vec::new(),
            in_flight: 0,
            depth,
            work: Some(work),
            work_source,
            ended,
            end,
            workers: Vec::new(),
            max_workers: threads.clamp(1, 1024),
            syscalls: Arc::default(),
        }
    }

    /// Hands what was taken to the workers, and starts as many as there is work for.
    fn hand_over(&mut self) {
        while self.workers.len() < self.max_workers && self.workers.len() < self.in_flight {
            if !self.start_worker() {
                break;
            }
        }
        for work in self.taken.drain(..) {
            let sent = self.work.as_ref().map(|queue| queue.send(work));
            debug_assert!(sent.is_some_and(|sent| sent.is_ok()), "the queue holds the depth");
        }
    }

    /// `false` if no thread is to be had and there is at least one already.
    fn start_worker(&mut self) -> bool {
        let (source, end) = (self.work_source.clone(), self.end.clone());
        let syscalls = Arc::clone(&self.syscalls);
        let name = format!("kcopy-io-{}", self.workers.len());
        let work = move || {
            for work in source {
                let (completion, refused) = perform(work, &syscalls);
                // Nobody listens only when the backend is being dropped.
                let _ = end.send(Return::Ended(completion, refused));
            }
        };
        match std::thread::Builder::new().name(name).spawn(work) {
            Ok(worker) => {
                self.workers.push(worker);
                true
            }
            Err(error) => {
                tracing::warn!(%error, workers = self.workers.len(), "no further worker thread");
                !self.workers.is_empty()
            }
        }
    }

    fn routes(&mut self, slot: Slot) -> Option<&mut Routes> {
        self.devices.get_mut(usize::from(slot.0))?.as_mut()
    }

    fn keep(&mut self, returned: Return, done: &mut Vec<Completion>) {
        if let Return::Ended(completion, refused) = returned {
            if let Some(routes) = refused.and_then(|slot| self.routes(slot)) {
                routes.direct_refused();
            }
            self.in_flight -= 1;
            done.push(completion);
        }
    }
}

impl Backend for ThreadsBackend {
    fn kind(&self) -> BackendKind {
        BackendKind::Threads
    }

    fn attach(&mut self, slot: Slot, device: &Device) -> Result<(), Errno> {
        if !matches!(device.handle(), Handle::Files { .. }) {
            return Err(Errno::BAD_DESCRIPTOR);
        }
        let index = usize::from(slot.0);
        if self.devices.len() <= index {
            self.devices.resize_with(index + 1, || None);
        }
        self.devices[index] = Some(Routes::new(device));
        Ok(())
    }

    fn detach(&mut self, slot: Slot) {
        if let Some(place) = self.devices.get_mut(usize::from(slot.0)) {
            *place = None;
        }
    }

    fn room(&self) -> usize {
        self.depth - self.in_flight
    }

    fn submit(&mut self, id: OpId, op: Op) -> Result<(), Box<Rejected>> {
        let full = self.room() == 0;
        let Some(routes) = self.routes(op.device()).filter(|_| !full) else {
            return Err(Box::new(Rejected { op }));
        };
        let (route, device) = (routes.route(&op), routes.device.clone());
        self.in_flight += 1;
        self.taken.push(Work { id, op, route, device });
        Ok(())
    }

    fn wait(&mut self, timeout: Option<Duration>, done: &mut Vec<Completion>) -> io::Result<()> {
        self.hand_over();
        if self.workers.is_empty() && self.in_flight > 0 {
            return Err(io::Error::from_raw_os_error(libc::EAGAIN));
        }
        let first = match timeout {
            None => self.ended.recv().map_err(|_| RecvTimeoutError::Disconnected),
            Some(limit) => self.ended.recv_timeout(limit),
        };
        if let Ok(first) = first {
            self.keep(first, done);
        }
        while let Ok(further) = self.ended.try_recv() {
            self.keep(further, done);
        }
        Ok(())
    }

    fn waker(&self) -> Arc<dyn Wake> {
        Arc::new(Waker(self.end.clone()))
    }

    fn syscalls(&self) -> u64 {
        let looks: u64 = self.devices.iter().flatten().map(|routes| routes.looks).sum();
        self.syscalls.load(Ordering::Relaxed) + looks
    }

    fn describe(&self) -> String {
        format!("up to {} threads, {} operations", self.max_workers, self.depth)
    }
}

impl Drop for ThreadsBackend {
    fn drop(&mut self) {
        self.taken.clear();
        // The workers end when they have emptied the queue.
        self.work = None;
        for worker in self.workers.drain(..) {
            if worker.join().is_err() {
                tracing::error!("a worker thread panicked");
            }
        }
    }
}

impl fmt::Debug for ThreadsBackend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ThreadsBackend")
            .field("workers", &self.workers.len())
            .field("in_flight", &self.in_flight)
            .finish_non_exhaustive()
    }
}

#[derive(Debug)]
struct Waker(Sender<Return>);

impl fmt::Debug for Return {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ended(completion, _) => completion.fmt(f),
            Self::Woken => f.write_str("Woken"),
        }
    }
}

impl Wake for Waker {
    fn wake(&self) {
        // A backend that is gone has nobody to wake.
        let _ = self.0.send(Return::Woken);
    }
}

/// Carries an operation out, on a worker.
fn perform(work: Work, calls: &AtomicU64) -> (Completion, Option<Slot>) {
    let Work { id, mut op, route, device } = work;
    let mut result = attempt(&device, route, &mut op, calls);
    let mut refused = None;
    let refusal = matches!(result, Err(Errno::INVALID | Errno::NOT_SUPPORTED));
    if refusal && route == Route::Direct && !device.facts().direct_required {
        // The file system takes no direct I/O after all.
        refused = Some(op.device());
        result = attempt(&device, Route::Cached, &mut op, calls);
    }
    (Completion { id, result, buffer: op.into_buffer() }, refused)
}

fn attempt(device: &Device, way: Route, op: &mut Op, calls: &AtomicU64) -> Result<u32, Errno> {
    let file = descriptor(device, way).ok_or(Errno::BAD_DESCRIPTOR)?;
    match op {
        Op::Read { offset, pages, window, .. } => {
            let (offset, range) = (*offset, window.range());
            transfer(calls, || file.read_at(&mut pages[range.clone()], offset))
        }
        Op::Write { offset, pages, window, .. } => {
            let (offset, range) = (*offset, window.range());
            transfer(calls, || file.write_at(&pages[range.clone()], offset))
        }
        Op::Zero { offset, len, method, .. } => {
            let how = match method {
                ZeroMethod::ZeroRange => FallocateFlags::ZERO_RANGE,
                ZeroMethod::PunchHole => FallocateFlags::PUNCH_HOLE,
            };
            let (offset, len) = (*offset, *len);
            transfer(calls, || {
                fallocate(file, how | FallocateFlags::KEEP_SIZE, offset, len)?;
                Ok(0)
            })
        }
        Op::Discard { offset, len, .. } => {
            let (offset, len) = (*offset, *len);
            transfer(calls, || discard(device, file, offset, len).map(|()| 0))
        }
        Op::Flush { .. } => transfer(calls, || {
            fdatasync(file)?;
            Ok(0)
        }),
    }
}

/// Makes a call until it is neither interrupted nor told to come again.
fn transfer(calls: &AtomicU64, mut call: impl FnMut() -> io::Result<usize>) -> Result<u32, Errno> {
    let mut error = Errno::IO;
    for _ in 0..MAX_AGAIN {
        calls.fetch_add(1, Ordering::Relaxed);
        match call() {
            Ok(count) => return Ok(u32::try_from(count).unwrap_or(u32::MAX)),
            Err(again) if matches!(again.raw_os_error(), Some(libc::EINTR | libc::EAGAIN)) => {
                error = Errno::from_io(&again);
                std::thread::yield_now();
            }
            Err(other) => return Err(Errno::from_io(&other)),
        }
    }
    Err(error)
}
