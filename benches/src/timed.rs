//! What has to be timed: rates of the engine alone, lateness of callbacks, accuracy of the
//! throttle. The goals N6-N8 and N10; printed by the program `numbers`, never a test.
#![expect(clippy::disallowed_methods, clippy::cast_precision_loss, reason = "this measures time")]

use std::collections::VecDeque;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use kcopy::backend::null::NullBackend;
use kcopy::backend::{Backend, Completion, Op, OpId, Rejected, Slot, Wake};
use kcopy::engine::Config;
use kcopy::pool::Pool;
use kcopy::{BackendKind, Client, Device, Errno, Extent, Job, LocalClient, Throttle};

use crate::nop::NoWake;
use crate::workload::Stream;

/// Jobs per second of a client that is turned by hand, `depth` jobs on their way.
pub fn local_rate<B: Backend>(client: &mut LocalClient<B>, jobs: u64, depth: u64) -> f64 {
    let mut stream = Stream::null();
    stream.run(client, jobs / 10, depth);
    let start = Instant::now();
    stream.run(client, jobs, depth);
    jobs as f64 / start.elapsed().as_secs_f64()
}

/// Jobs per second that another thread can have done by a client's engine thread.
///
/// # Panics
///
/// If the client cannot be made, or a job fails.
#[must_use]
pub fn channel_rate(jobs: u64) -> f64 {
    let client = Client::builder().build_on(NullBackend::default()).expect("a client");
    let mut stream = Stream::null();
    let start = Instant::now();
    for _ in 0..jobs {
        let finished = stream.counter();
        let counted = move |outcome: kcopy::Outcome| {
            assert!(outcome.is_ok());
            finished.fetch_add(1, Ordering::Relaxed);
        };
        client.submit(stream.job(), counted).expect("accepted");
    }
    client.close();
    assert_eq!(stream.finished(), jobs);
    jobs as f64 / start.elapsed().as_secs_f64()
}

/// N8: nanoseconds from a completion that was reaped to the callback that it causes, sorted;
/// `depth` jobs on their way.
///
/// # Panics
///
/// If a job fails.
#[must_use]
pub fn callback_lateness(jobs: u64, depth: usize) -> Vec<u64> {
    let reaped = Arc::new(Mutex::new(VecDeque::with_capacity(depth)));
    let backend = Stamped { pending: VecDeque::new(), reaped: Arc::clone(&reaped) };
    let pool = Pool::new(1024).expect("memory");
    let config = Config { requests: depth, ..Config::default() };
    let mut client = LocalClient::new(config, pool, backend);
    let late = Arc::new(Mutex::new(Vec::new()));
    let mut stream = Stream::null();
    for _ in 0..jobs {
        while !client.has_room() {
            client.turn(None).expect("the backend works");
        }
        let (reaped, late) = (Arc::clone(&reaped), Arc::clone(&late));
        let note = move |_: kcopy::Outcome| {
            let stamp: Option<Instant> = locked(&reaped).pop_front();
            let nanos = stamp.expect("a write ended").elapsed().as_nanos();
            locked(&late).push(u64::try_from(nanos).unwrap_or(u64::MAX));
        };
        client.submit(stream.job(), note).expect("there is room");
    }
    client.run_until_idle().expect("the backend works");
    let mut late = std::mem::take(&mut *locked(&late));
    late.sort_unstable();
    late
}

fn locked<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// N10: bytes that were finished in each whole second of `seconds` at this rate, after a first
/// second that does not count.
///
/// # Panics
///
/// If a job fails.
#[must_use]
pub fn throttled_seconds(bytes_per_second: u64, seconds: u64) -> Vec<u64> {
    let throttle = Arc::new(Throttle::new(Some(bytes_per_second)));
    let config = Config { throttle: Some(throttle), ..Config::default() };
    let pool = Pool::new(1024).expect("memory");
    let mut client = LocalClient::new(config, pool, NullBackend::default());
    let bytes = Arc::new(AtomicU64::new(0));
    let (from, to) = (Device::null("from", 1 << 50), Device::null("to", 1 << 50));
    // Pieces are what a throttle meters out; a job of one piece shows each as it ends.
    let len = (bytes_per_second / 256).clamp(4096, 1 << 20) / 4096 * 4096;
    let (mut marks, start, mut index) = (vec![0], Instant::now(), 0);
    while marks.len() as u64 <= seconds + 1 {
        while client.has_room() && index * len < bytes.load(Ordering::Relaxed) + (64 << 20) {
            let extent = |device| Extent::new(device, index * 2 * len, len);
            let bytes = Arc::clone(&bytes);
            let count = move |outcome: kcopy::Outcome| {
                // What is still queued at the end comes back cancelled.
                assert!(outcome.is_ok() || outcome.cancelled);
                bytes.fetch_add(len, Ordering::Relaxed);
            };
            client.submit(Job::copy(extent(&from)).to(extent(&to)), count).expect("accepted");
            index += 1;
        }
        client.turn(Some(Duration::from_millis(1))).expect("the backend works");
        if start.elapsed() >= Duration::from_secs(marks.len() as u64) {
            marks.push(bytes.load(Ordering::Relaxed));
        }
    }
    marks.windows(2).skip(1).map(|pair| pair[1] - pair[0]).collect()
}

/// V7: seconds of copying one file to another as it is, and with crc32c over every piece; the
/// medians of runs in turns.
///
/// # Panics
///
/// If a job fails.
#[must_use]
pub fn checksum_seconds(from: &Device, to: &Device, bytes: u64) -> (f64, f64) {
    struct Checksum(AtomicU64);
    impl kcopy::Transform for Checksum {
        fn apply(&self, piece: kcopy::PieceBuffers<'_>) -> Result<(), Errno> {
            let sum = piece.sources.iter().map(|source| u64::from(crc32c::crc32c(source))).sum();
            self.0.fetch_add(sum, Ordering::Relaxed);
            Ok(())
        }
    }
    let client = Client::builder().build().expect("a client");
    let plain = Job::copy(Extent::new(from, 0, bytes)).to(Extent::new(to, 0, bytes)).flush();
    let summed = plain.clone().observe(Arc::new(Checksum(AtomicU64::new(0))));
    let run = |job: &Job| {
        let start = Instant::now();
        let outcome = client.run(job.clone()).expect("accepted");
        assert!(outcome.is_ok(), "{outcome:?}");
        start.elapsed().as_secs_f64()
    };
    let mut runs: Vec<_> = (0..5).map(|_| (run(&plain), run(&summed))).collect();
    runs.sort_by(|one, other| (one.1 / one.0).total_cmp(&(other.1 / other.0)));
    runs[runs.len() / 2]
}

/// A null backend that notes when it handed over the end of each write, as many per wait as a ring
/// is asked for at a time.
#[derive(Debug)]
struct Stamped {
    pending: VecDeque<Completion>,
    reaped: Arc<Mutex<VecDeque<Instant>>>,
}

/// Completions per wait.
const REAP: usize = 64;

impl Backend for Stamped {
    fn kind(&self) -> BackendKind {
        BackendKind::Null
    }

    fn attach(&mut self, _: Slot, _: &Device) -> Result<(), Errno> {
        Ok(())
    }

    fn detach(&mut self, _: Slot) {}

    fn room(&self) -> usize {
        4096 - self.pending.len()
    }

    fn submit(&mut self, id: OpId, op: Op) -> Result<(), Box<Rejected>> {
        let moved = op.span().and_then(|(_, len)| u32::try_from(len).ok()).unwrap_or(0);
        self.pending.push_back(Completion { id, result: Ok(moved), buffer: op.into_buffer() });
        Ok(())
    }

    fn wait(&mut self, _: Option<Duration>, done: &mut Vec<Completion>) -> io::Result<()> {
        let (now, ending) = (Instant::now(), REAP.min(self.pending.len()));
        let mut reaped = locked(&self.reaped);
        for completion in self.pending.drain(..ending) {
            if matches!(completion.buffer, kcopy::backend::Buffer::Shared(_)) {
                reaped.push_back(now);
            }
            done.push(completion);
        }
        Ok(())
    }

    fn waker(&self) -> Arc<dyn Wake> {
        Arc::new(NoWake)
    }

    fn describe(&self) -> String {
        "notes the time".into()
    }
}
