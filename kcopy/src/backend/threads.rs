//! Threads that call `pread` and `pwrite`: the fallback where io_uring is refused, and the second
//! opinion in tests.
//!
//! ```text
//!   engine --taken--> [ queue | ended ] <--take, end--> worker 0 .. n
//! ```
//!
//! One lock guards both lists, and whoever has it does all there is to do: the engine hands over
//! what it took and takes what ended, a worker hands in one end and takes its next operation.
//! Sleepers are woken only for a reason: a worker if one is idle, the engine if a few operations
//! have ended or no worker would bring more. Workers are started as they are needed, up to the
//! number given, and end with the backend.
//!
//! The rules of [`super`] hold as for io_uring: a worker owns the pages of its operation, and
//! dropping the backend waits for what has been started.

use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use rustix::fs::{FallocateFlags, fallocate, fdatasync};

use super::route::{Route, Routes, descriptor, discard};
use super::{Backend, BackendKind, Completion, Op, OpId, Rejected, Slot, Wake, ZeroMethod};
use crate::device::{Device, Handle};
use crate::errno::Errno;
use crate::sync::{Condvar, Mutex, MutexGuard};

/// Times that an interrupted or refused-for-now call is made again before that is an error.
const MAX_AGAIN: u32 = 1000;

/// Ends that are worth waking the engine for while workers still have something to do.
const WORTH_WAKING: usize = 16;

/// What a worker is given.
struct Work {
    id: OpId,
    op: Op,
    route: Route,
    device: Device,
}

/// What comes back: the operation, and the slot that refused direct I/O, if it did.
struct Ended {
    completion: Completion,
    refused: Option<Slot>,
}

/// What the engine and the workers share, under one lock.
#[derive(Default)]
struct Lists {
    queue: VecDeque<Work>,
    ended: Vec<Ended>,
    /// Workers asleep for want of work.
    idle: usize,
    /// The engine is asleep in [`Backend::wait`].
    engine_waits: bool,
    /// Somebody rang.
    woken: bool,
    /// The backend is being dropped.
    closed: bool,
}

#[derive(Default)]
struct Shared {
    lists: Mutex<Lists>,
    work_came: Condvar,
    ends_came: Condvar,
    syscalls: AtomicU64,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Lists> {
        self.lists.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Hands in the end of an operation, if there is one, and takes the next; sleeps while there is
    /// none. `None`: there will be none.
    fn next(&self, end: Option<Ended>) -> Option<Work> {
        let mut lists = self.lock();
        lists.ended.extend(end);
        loop {
            if lists.closed {
                return None;
            }
            let work = lists.queue.pop_front();
            // Nobody may come by for long: what has ended is told before this worker goes away.
            let last = lists.queue.is_empty() && !lists.ended.is_empty();
            if lists.engine_waits && (last || lists.ended.len() >= WORTH_WAKING) {
                lists.engine_waits = false;
                self.ends_came.notify_one();
            }
            if work.is_some() {
                return work;
            }
            lists.idle += 1;
            lists = self.work_came.wait(lists).unwrap_or_else(PoisonError::into_inner);
            lists.idle -= 1;
        }
    }

    /// A worker's life.
    fn work(&self, perform: impl Fn(Work) -> Ended) {
        let mut end = None;
        while let Some(work) = self.next(end.take()) {
            end = Some(perform(work));
        }
    }

    /// The engine's sleep: until it is told not to wait any more, or `limit` is over.
    fn sleep<'a>(
        &self,
        mut lists: MutexGuard<'a, Lists>,
        limit: Option<Duration>,
    ) -> MutexGuard<'a, Lists> {
        lists.engine_waits = true;
        if let Some(limit) = limit {
            let woken = self.ends_came.wait_timeout(lists, limit);
            lists = woken.unwrap_or_else(PoisonError::into_inner).0;
        } else {
            while lists.engine_waits {
                lists = self.ends_came.wait(lists).unwrap_or_else(PoisonError::into_inner);
            }
        }
        lists.engine_waits = false;
        lists
    }
}

/// See the module.
pub struct ThreadsBackend {
    devices: Vec<Option<Routes>>,
    /// Taken in [`Backend::submit`], handed to the workers in [`Backend::wait`].
    taken: Vec<Work>,
    /// Taken over from the workers; empty between waits, kept for its memory.
    ended: Vec<Ended>,
    in_flight: usize,
    depth: usize,
    shared: Arc<Shared>,
    workers: Vec<JoinHandle<()>>,
    max_workers: usize,
}

impl ThreadsBackend {
    /// A backend with at most `threads` workers and `depth` operations in flight.
    pub fn new(threads: usize, depth: u32) -> Self {
        Self {
            devices: Vec::new(),
            taken: Vec::new(),
            ended: Vec::new(),
            in_flight: 0,
            depth: usize::try_from(depth).unwrap_or(usize::MAX).clamp(1, 65_536),
            shared: Arc::default(),
            workers: Vec::new(),
            max_workers: threads.clamp(1, 1024),
        }
    }

    /// Starts as many workers as there is work for.
    fn start_workers(&mut self) {
        while self.workers.len() < self.max_workers.min(self.in_flight) {
            let shared = Arc::clone(&self.shared);
            let name = format!("kcopy-io-{}", self.workers.len());
            match std::thread::Builder::new()
                .name(name)
                .spawn(move || shared.work(|work| perform(work, &shared.syscalls)))
            {
                Ok(worker) => self.workers.push(worker),
                Err(error) => {
                    let workers = self.workers.len();
                    tracing::warn!(%error, workers, "no further worker thread");
                    // Those that there are will do.
                    self.max_workers = workers.max(1);
                    return;
                }
            }
        }
    }

    /// Hands over what was taken, sleeps until something ended (or `timeout`, or a wake-up), and
    /// takes what ended.
    fn exchange(&mut self, timeout: Option<Duration>) {
        let mut lists = self.shared.lock();
        for _ in 0..self.taken.len().min(lists.idle) {
            self.shared.work_came.notify_one();
        }
        lists.queue.extend(self.taken.drain(..));
        if lists.ended.is_empty() && !lists.woken && timeout != Some(Duration::ZERO) {
            lists = self.shared.sleep(lists, timeout);
        }
        lists.woken = false;
        std::mem::swap(&mut lists.ended, &mut self.ended);
    }

    fn routes(&mut self, slot: Slot) -> Option<&mut Routes> {
        self.devices.get_mut(usize::from(slot.0))?.as_mut()
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
        self.start_workers();
        if self.workers.is_empty() && self.in_flight > 0 {
            return Err(io::Error::from_raw_os_error(libc::EAGAIN));
        }
        self.exchange(timeout);
        let mut ended = std::mem::take(&mut self.ended);
        for Ended { completion, refused } in ended.drain(..) {
            if let Some(routes) = refused.and_then(|slot| self.routes(slot)) {
                routes.direct_refused();
            }
            self.in_flight -= 1;
            done.push(completion);
        }
        self.ended = ended;
        Ok(())
    }

    fn waker(&self) -> Arc<dyn Wake> {
        Arc::clone(&self.shared) as Arc<dyn Wake>
    }

    fn syscalls(&self) -> u64 {
        let looks: u64 = self.devices.iter().flatten().map(|routes| routes.looks).sum();
        self.shared.syscalls.load(Ordering::Relaxed) + looks
    }

    fn describe(&self) -> String {
        format!("up to {} threads, {} operations", self.max_workers, self.depth)
    }
}

impl Drop for ThreadsBackend {
    fn drop(&mut self) {
        self.taken.clear();
        let mut lists = self.shared.lock();
        lists.closed = true;
        let never_started = std::mem::take(&mut lists.queue);
        drop(lists);
        drop(never_started);
        self.shared.work_came.notify_all();
        for worker in self.workers.drain(..) {
            if worker.join().is_err() {
                tracing::error!("a worker thread panicked");
            }
        }
        // Wakers may outlive the backend; pages may not.
        self.shared.lock().ended.clear();
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

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared").finish_non_exhaustive()
    }
}

impl Wake for Shared {
    fn wake(&self) {
        let mut lists = self.lock();
        lists.woken = true;
        lists.engine_waits = false;
        drop(lists);
        self.ends_came.notify_one();
    }
}

/// Carries an operation out, on a worker.
fn perform(work: Work, calls: &AtomicU64) -> Ended {
    let Work { id, mut op, route, device } = work;
    let mut result = attempt(&device, route, &mut op, calls);
    let mut refused = None;
    let refusal = matches!(result, Err(Errno::INVALID | Errno::NOT_SUPPORTED));
    if refusal && route == Route::Direct && !device.facts().direct_required {
        // The file system takes no direct I/O after all.
        refused = Some(op.device());
        result = attempt(&device, Route::Cached, &mut op, calls);
    }
    Ended { completion: Completion { id, result, buffer: op.into_buffer() }, refused }
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

/// Every interleaving of the engine with its workers and with those who wake it; a lost wake-up is a
/// deadlock, which loom reports.
#[cfg(all(test, loom))]
mod loom_tests {
    use loom::model::Builder;
    use loom::thread;

    use super::*;
    use crate::backend::Buffer;
    use crate::device::OpenOptions;

    fn explore(model: impl Fn(&Device) + Send + Sync + 'static) {
        // Any file will do: nothing is read.
        let file = std::env::current_exe().unwrap();
        let device = Device::open(file, &OpenOptions::source()).unwrap();
        let mut builder = Builder::new();
        builder.preemption_bound = Some(3);
        builder.check(move || model(&device));
    }

    fn worker(backend: &ThreadsBackend) -> thread::JoinHandle<()> {
        let shared = Arc::clone(&backend.shared);
        let ended = |work: Work| Ended {
            completion: Completion { id: work.id, result: Ok(0), buffer: Buffer::None },
            refused: None,
        };
        thread::spawn(move || shared.work(ended))
    }

    fn hand_over(backend: &mut ThreadsBackend, device: &Device, names: std::ops::Range<u64>) {
        backend.taken.extend(names.map(|name| Work {
            id: OpId(name),
            op: Op::Flush { device: Slot(0) },
            route: Route::Cached,
            device: device.clone(),
        }));
    }

    fn take(backend: &mut ThreadsBackend) -> usize {
        backend.ended.drain(..).count()
    }

    fn all_operations_end(workers: usize, batches: &'static [u64]) {
        explore(move |device| {
            let mut backend = ThreadsBackend::new(workers, 16);
            let workers: Vec<_> = (0..workers).map(|_| worker(&backend)).collect();
            for batch in batches {
                hand_over(&mut backend, device, 0..*batch);
                let mut left = usize::try_from(*batch).unwrap();
                while left > 0 {
                    backend.exchange(None);
                    left -= take(&mut backend);
                }
            }
            drop(backend);
            workers.into_iter().for_each(|worker| worker.join().unwrap());
        });
    }

    #[test]
    fn one_worker_is_woken_for_work_and_wakes_for_its_end() {
        all_operations_end(1, &[2, 1]);
    }

    #[test]
    fn two_workers_leave_nothing_undone() {
        all_operations_end(2, &[2]);
    }

    #[test]
    fn waker_is_heard_before_and_while_the_engine_sleeps() {
        explore(|_| {
            let mut backend = ThreadsBackend::new(1, 16);
            let waker = backend.waker();
            let other = thread::spawn(move || waker.wake());
            backend.exchange(None);
            assert_eq!(take(&mut backend), 0);
            other.join().unwrap();
        });
    }

    #[test]
    fn waker_and_an_end_at_once_are_both_noticed() {
        explore(|device| {
            let mut backend = ThreadsBackend::new(1, 16);
            let worker = worker(&backend);
            let waker = backend.waker();
            hand_over(&mut backend, device, 0..1);
            let other = thread::spawn(move || waker.wake());
            let mut ended = 0;
            // At most one turn for nothing: that of the waker.
            for _ in 0..2 {
                if ended == 0 {
                    backend.exchange(None);
                    ended += take(&mut backend);
                }
            }
            assert_eq!(ended, 1);
            drop(backend);
            worker.join().unwrap();
            other.join().unwrap();
        });
    }
}
