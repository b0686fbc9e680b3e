//! What can be counted rather than timed: bytes, pages, allocations, operations.
//!
//! Each function measures one number of the goals N1-N4 and N9 and returns it. The tests compare
//! it with the goal (`tests/tests/counts.rs`), the program `numbers` prints it.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use allocation_counter::measure;
use kcopy::backend::null::NullBackend;
use kcopy::backend::{Backend, Completion, Op, OpId, Rejected, Slot, Wake};
use kcopy::engine::Config;
use kcopy::pool::Pool;
use kcopy::{BackendKind, Device, Errno, Extent, Job, LocalClient};

use crate::nop::NoWake;
use crate::workload::{Stream, null_client};

/// N1: bytes that are read to copy `bytes` bytes to `destinations` devices.
///
/// # Panics
///
/// If the job fails.
#[must_use]
pub fn bytes_read(bytes: u64, destinations: usize) -> u64 {
    let mut client = null_client(1024);
    let source = Device::null("source", bytes);
    let mut job = Job::copy(Extent::new(&source, 0, bytes));
    for _ in 0..destinations {
        job = job.to(Extent::new(&Device::null("destination", bytes), 0, bytes));
    }
    client.submit(job, |outcome| assert!(outcome.is_ok())).expect("accepted");
    client.run_until_idle().expect("the backend works");
    client.stats().bytes_read
}

/// N2: the most pages held in a pool of `pages` pages under a mixture of large and small jobs,
/// looked at after every turn.
///
/// # Panics
///
/// If a job fails.
#[must_use]
pub fn pages_held(pages: u32) -> usize {
    let mut client = null_client(pages);
    let [from, to, too] = ["from", "to", "too"].map(|name| Device::null(name, 1 << 40));
    let lengths = [4096, 40 << 20, 512, 1 << 20, 12_345].into_iter().cycle();
    for (index, len) in (0..2000u64).zip(lengths) {
        let extent = |device| Extent::new(device, index << 26, len);
        let job = Job::copy(extent(&from)).to(extent(&to)).to(extent(&too));
        client.submit(job, |outcome| assert!(outcome.is_ok())).expect("accepted");
    }
    let mut most = 0;
    while !client.is_idle() {
        client.turn(None).expect("the backend works");
        most = most.max(client.engine().pool().in_use());
    }
    most.max(client.engine().pool().peak())
}

/// N2: bytes of heap per job while `jobs` jobs are queued, and the bytes beside the pool that a
/// client holds before the first.
///
/// # Panics
///
/// If a job fails.
#[must_use]
pub fn heap_per_queued_job(jobs: u64) -> (u64, u64) {
    let client = RefCell::new(None);
    let pages = 1024;
    let fixed = measure(|| {
        let queue = usize::try_from(jobs).expect("64-bit machine");
        let config = Config { queue, ..Config::default() };
        let pool = Pool::new(pages).expect("memory");
        *client.borrow_mut() = Some(LocalClient::new(config, pool, NullBackend::default()));
    });
    let mut client = client.take().expect("made");
    let mut stream = Stream::null();
    let queued = measure(|| {
        (0..jobs).for_each(|_| stream.submit(&mut client).expect("there is room"));
    });
    client.run_until_idle().expect("the backend works");
    let outside_pool = fixed.bytes_current - i64::from(pages) * 4096;
    let unsigned = |bytes: i64| u64::try_from(bytes).unwrap_or(0);
    (unsigned(queued.bytes_current).div_ceil(jobs), unsigned(outside_pool))
}

/// N3: allocations during `jobs` jobs, after as many to warm up.
#[must_use]
pub fn allocations(jobs: u64) -> u64 {
    let (mut client, mut stream) = (null_client(1024), Stream::null());
    stream.run(&mut client, jobs, 64);
    measure(|| stream.run(&mut client, jobs, 64)).count_total
}

/// N4: system calls that `client`'s backend makes per 4 KiB job, with 64 jobs on their way.
pub fn syscalls_per_job<B: Backend>(
    client: &mut LocalClient<B>,
    stream: &mut Stream,
    jobs: u64,
) -> f64 {
    stream.run(client, jobs / 10, 64);
    let before = client.stats().syscalls;
    stream.run(client, jobs, 64);
    let calls = client.stats().syscalls - before;
    #[expect(clippy::cast_precision_loss, reason = "a ratio to print")]
    let ratio = calls as f64 / jobs as f64;
    ratio
}

/// What was seen around the cancellation of a job, see [`cancel`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cancelled {
    /// Operations that were in flight when the token was used.
    pub in_flight: usize,
    /// Operations handed to the backend after the turn that followed.
    pub issued_late: u64,
    /// The callback came while something was still in flight.
    pub called_early: bool,
    /// The callback came once the rest had ended.
    pub called: bool,
}

/// N9: cancels a job of 1 GiB in its middle.
///
/// # Panics
///
/// If the job is refused.
#[must_use]
pub fn cancel() -> Cancelled {
    let pool = Pool::new(1024).expect("memory");
    let mut client = LocalClient::new(Config::default(), pool, Held::default());
    let token = client.cancel_token();
    let (from, to) = (Device::null("from", 1 << 30), Device::null("to", 1 << 30));
    let job = Job::copy(Extent::new(&from, 0, 1 << 30)).to(Extent::new(&to, 0, 1 << 30));
    let called = Arc::new(AtomicBool::new(false));
    let note = Arc::clone(&called);
    let submitted = client.submit(job.cancelled_by(&token), move |outcome| {
        assert!(outcome.cancelled);
        note.store(true, Ordering::Relaxed);
    });
    submitted.expect("accepted");
    let turn = |client: &mut LocalClient<Held>, release| {
        client.backend_mut().release = release;
        client.turn(Some(Duration::ZERO)).expect("the backend works");
    };
    (0..100).for_each(|_| turn(&mut client, 1));
    let in_flight = client.backend().held.len();
    token.cancel();
    turn(&mut client, 0);
    let issued = client.backend().issued;
    let mut called_early = false;
    for _ in 0..1000 {
        turn(&mut client, 1);
        let in_flight = !client.backend().held.is_empty();
        called_early |= called.load(Ordering::Relaxed) && in_flight;
    }
    let issued_late = client.backend().issued - issued;
    Cancelled { in_flight, issued_late, called_early, called: called.load(Ordering::Relaxed) }
}

/// A backend that ends as many operations per wait as it is told to.
#[derive(Debug, Default)]
struct Held {
    held: VecDeque<(OpId, Op)>,
    release: usize,
    issued: u64,
}

impl Backend for Held {
    fn kind(&self) -> BackendKind {
        BackendKind::Null
    }

    fn attach(&mut self, _: Slot, _: &Device) -> Result<(), Errno> {
        Ok(())
    }

    fn detach(&mut self, _: Slot) {}

    fn room(&self) -> usize {
        1024 - self.held.len()
    }

    fn submit(&mut self, id: OpId, op: Op) -> Result<(), Box<Rejected>> {
        self.issued += 1;
        self.held.push_back((id, op));
        Ok(())
    }

    fn wait(&mut self, _: Option<Duration>, done: &mut Vec<Completion>) -> io::Result<()> {
        let ending = self.release.min(self.held.len());
        for (id, op) in self.held.drain(..ending) {
            let moved = op.span().and_then(|(_, len)| u32::try_from(len).ok()).unwrap_or(0);
            done.push(Completion { id, result: Ok(moved), buffer: op.into_buffer() });
        }
        Ok(())
    }

    fn waker(&self) -> Arc<dyn Wake> {
        Arc::new(NoWake)
    }

    fn describe(&self) -> String {
        "ends what it is told to".into()
    }
}
