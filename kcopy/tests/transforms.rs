//! Transforms: on the engine's thread or on others, whatever becomes of their job.

use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use kcopy::backend::{Backend, BackendKind, Completion, Op, OpId, Rejected, Slot, Wake};
use kcopy::device::OpenOptions;
use kcopy::{
    CancelToken, Client, Device, Errno, Extent, FaultKind, Job, LocalClient, Outcome, PieceBuffers,
    Transform,
};

const MIB: u64 = 1 << 20;

/// Three sources and their sum; notes the names of the threads that it was applied on.
#[derive(Debug, Default)]
struct Sum {
    threads: Mutex<Vec<Option<String>>>,
}

impl Transform for Sum {
    fn apply(&self, mut piece: PieceBuffers<'_>) -> Result<(), Errno> {
        let name = std::thread::current().name().map(str::to_owned);
        self.threads.lock().expect("no panic").push(name);
        for (at, sum) in piece.computed[0].iter_mut().enumerate() {
            *sum = piece.sources.iter().fold(0, |sum, source| sum ^ source[at]);
        }
        Ok(())
    }
}

fn pattern(len: u64, seed: u64) -> Vec<u8> {
    let word = |i: u64| (i ^ seed << 32).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(23);
    (0..len / 8).flat_map(|i| word(i).to_le_bytes()).collect()
}

/// Files of `len` bytes with a pattern, and one of zeros for their sum.
fn files(directory: &Path, len: u64) -> (Vec<Device>, Device) {
    let path = |name: String| directory.join(name);
    let source = |seed: u64| {
        let path = path(format!("source{seed}"));
        fs::write(&path, pattern(len, seed)).expect("written");
        Device::open(&path, &OpenOptions::source()).expect("opened")
    };
    let path = path("sum".into());
    fs::write(&path, vec![0; usize::try_from(len).expect("in memory")]).expect("written");
    let sum = Device::open(&path, &OpenOptions::destination()).expect("opened");
    ((0..3).map(source).collect(), sum)
}

fn job(
    sources: &[Device],
    sum: &Device,
    transform: Arc<dyn Transform>,
    (at, len): (u64, u64),
) -> Job {
    let from = |job: Job, source| job.from(Extent::new(source, at, len));
    let job = sources.iter().fold(Job::stripe(1, transform), from);
    job.to_from(Extent::new(sum, at, len), 3)
}

fn client(threads: usize) -> LocalClient<Box<dyn Backend>> {
    Client::builder().pages(4096).transform_threads(threads).build_local().expect("a client")
}

/// Submits `job`; its outcome is found in what is returned, once it has ended.
fn submit<B: Backend>(client: &mut LocalClient<B>, job: Job) -> Arc<Mutex<Option<Outcome>>> {
    let slot = Arc::new(Mutex::new(None));
    let filled = Arc::clone(&slot);
    client
        .submit(job, move |outcome| *filled.lock().expect("no panic") = Some(outcome))
        .expect("accepted");
    slot
}

#[test]
fn large_pieces_are_computed_by_other_threads_and_small_ones_here() {
    let directory = tempfile::tempdir().unwrap();
    let (sources, sum) = files(directory.path(), 24 * MIB);
    let here = std::thread::current().name().map(str::to_owned);
    for threads in [0, 1, 3] {
        let mut client = client(threads);
        let (large, small) = (Arc::new(Sum::default()), Arc::new(Sum::default()));
        let outcomes: Vec<_> = (0..24)
            .flat_map(|part| {
                let at = part * MIB;
                let small = job(&sources, &sum, small.clone(), (at, 4096));
                [small, job(&sources, &sum, large.clone(), (at + 4096, MIB - 4096))]
            })
            .map(|job| submit(&mut client, job))
            .collect();
        client.run_until_idle().unwrap();
        assert!(outcomes.iter().all(|slot| slot.lock().unwrap().as_ref().unwrap().is_ok()));
        let aside = Some("kcopy-compute".to_owned());
        let expected = if threads == 0 { &here } else { &aside };
        assert!(large.threads.lock().unwrap().iter().all(|name| name == expected), "{threads}");
        assert!(small.threads.lock().unwrap().iter().all(|name| name == &here), "{threads}");
        let patterns: Vec<_> = (0..3).map(|seed| pattern(24 * MIB, seed)).collect();
        let expected =
            (0..patterns[0].len()).map(|at| patterns.iter().fold(0, |sum, p| sum ^ p[at]));
        let written = fs::read(sum.path()).unwrap();
        assert!(written.into_iter().eq(expected), "{threads} threads");
        fs::write(sum.path(), vec![0; 24 << 20]).unwrap();
    }
}

#[derive(Debug)]
struct Panics;

impl Transform for Panics {
    fn apply(&self, _: PieceBuffers<'_>) -> Result<(), Errno> {
        panic!("a transform that a test has panic")
    }
}

#[test]
fn a_transform_that_panics_refuses_its_data_and_harms_no_other_job() {
    let directory = tempfile::tempdir().unwrap();
    let (sources, sum) = files(directory.path(), 2 * MIB);
    for threads in [0, 2] {
        let mut client = client(threads);
        let bad = submit(&mut client, job(&sources, &sum, Arc::new(Panics), (0, MIB)));
        let transform = Arc::new(Sum::default());
        let good = submit(&mut client, job(&sources, &sum, transform, (MIB, MIB)));
        client.run_until_idle().unwrap();
        let bad = bad.lock().unwrap().take().unwrap();
        let fault = bad.read.expect("refused").1;
        assert_eq!((fault.kind, fault.errno), (FaultKind::Transform, Errno::IO));
        assert_eq!(bad.destinations[0].written, 0..0);
        assert!(good.lock().unwrap().take().unwrap().is_ok());
    }
}

/// Cancels its job where it is applied first; holds on everywhere else until it is told to go on.
struct Cancels {
    token: CancelToken,
    applied: AtomicUsize,
    go_on: AtomicBool,
}

impl Transform for Cancels {
    fn apply(&self, _: PieceBuffers<'_>) -> Result<(), Errno> {
        if self.applied.fetch_add(1, Ordering::SeqCst) == 0 {
            self.token.cancel();
        }
        while self.applied.load(Ordering::SeqCst) > 1 && !self.go_on.load(Ordering::SeqCst) {
            std::thread::park_timeout(Duration::from_millis(1));
        }
        Ok(())
    }
}

#[test]
fn what_was_cancelled_while_it_was_computed_is_not_written() {
    let directory = tempfile::tempdir().unwrap();
    let (_, sum) = files(directory.path(), 8 * MIB);
    let mut client = client(1);
    let token = client.cancel_token();
    let (applied, go_on) = (AtomicUsize::new(0), AtomicBool::new(false));
    let transform = Arc::new(Cancels { token: token.clone(), applied, go_on });
    // Nothing is read: all pieces are handed over at once.
    let job = Job::stripe(1, transform.clone()).to(Extent::new(&sum, 0, 8 * MIB));
    let outcome = submit(&mut client, job.cancelled_by(&token));
    while transform.applied.load(Ordering::SeqCst) < 2 {
        client.turn(Some(Duration::from_millis(1))).unwrap();
    }
    client.turn(Some(Duration::from_millis(1))).unwrap();
    transform.go_on.store(true, Ordering::SeqCst);
    client.run_until_idle().unwrap();
    let outcome = outcome.lock().unwrap().take().unwrap();
    assert!(outcome.cancelled, "{outcome:?}");
    assert_eq!(client.stats().bytes_written, 0);
    assert_eq!(client.engine().pool().in_use(), 0, "all pages are back");
}

/// Takes its time.
#[derive(Debug, Default)]
struct Slow {
    applied: AtomicUsize,
}

impl Transform for Slow {
    fn apply(&self, _: PieceBuffers<'_>) -> Result<(), Errno> {
        std::thread::park_timeout(Duration::from_millis(20));
        self.applied.fetch_add(1, Ordering::SeqCst);
        Ok(())
    }
}

/// The backend that breaks as soon as it is told to.
#[derive(Debug)]
struct Breaking {
    inner: Box<dyn Backend>,
    broken: Arc<AtomicBool>,
}

impl Backend for Breaking {
    fn kind(&self) -> BackendKind {
        self.inner.kind()
    }

    fn attach(&mut self, slot: Slot, device: &Device) -> Result<(), Errno> {
        self.inner.attach(slot, device)
    }

    fn detach(&mut self, slot: Slot) {
        self.inner.detach(slot);
    }

    fn room(&self) -> usize {
        self.inner.room()
    }

    fn submit(&mut self, id: OpId, op: Op) -> Result<(), Box<Rejected>> {
        self.inner.submit(id, op)
    }

    fn wait(
        &mut self,
        timeout: Option<Duration>,
        done: &mut Vec<Completion>,
    ) -> std::io::Result<()> {
        if self.broken.load(Ordering::SeqCst) {
            return Err(std::io::Error::other("broken by a test"));
        }
        self.inner.wait(timeout, done)
    }

    fn waker(&self) -> Arc<dyn Wake> {
        self.inner.waker()
    }

    fn describe(&self) -> String {
        self.inner.describe()
    }
}

#[test]
fn a_backend_that_breaks_ends_jobs_that_are_being_computed_too() {
    use kcopy::backend::{BackendChoice, BackendOptions, open};
    use kcopy::engine::Config;
    use kcopy::pool::Pool;

    let directory = tempfile::tempdir().unwrap();
    let (sources, sum) = files(directory.path(), 4 * MIB);
    let pool = Pool::new(4096).unwrap();
    let inner = open(BackendChoice::Threads, &pool.memory(), &BackendOptions::default()).unwrap();
    let broken = Arc::new(AtomicBool::new(false));
    let backend = Breaking { inner, broken: Arc::clone(&broken) };
    let mut client = LocalClient::new(Config::default(), pool, backend).with_transform_threads(1);
    let slow = Arc::new(Slow::default());
    let jobs = (0..4).map(|part| job(&sources, &sum, slow.clone(), (part * MIB, MIB)));
    let outcomes: Vec<_> = jobs.map(|job| submit(&mut client, job)).collect();
    while slow.applied.load(Ordering::SeqCst) == 0 {
        client.turn(Some(Duration::from_millis(1))).unwrap();
    }
    broken.store(true, Ordering::SeqCst);
    client.turn(None).expect_err("it broke");
    let _ = client.run_until_idle();
    let ended = |slot: &Arc<Mutex<Option<Outcome>>>| slot.lock().unwrap().is_some();
    assert!(outcomes.iter().all(ended), "every callback was called");
    assert!(client.is_idle());
}

#[test]
fn a_client_that_is_dropped_waits_for_what_is_being_computed() {
    let directory = tempfile::tempdir().unwrap();
    let (sources, sum) = files(directory.path(), 4 * MIB);
    let client = Client::builder().pages(4096).transform_threads(2).build().unwrap();
    let slow = Arc::new(Slow::default());
    let (sender, ended) = std::sync::mpsc::channel();
    for part in 0..4 {
        let sender = sender.clone();
        let job = job(&sources, &sum, slow.clone(), (part * MIB, MIB));
        client.submit(job, move |outcome| sender.send(outcome.is_ok()).unwrap()).unwrap();
    }
    drop((client, sender));
    assert_eq!(ended.iter().collect::<Vec<_>>(), vec![true; 4]);
    assert_eq!(slow.applied.load(Ordering::SeqCst), 4);
}
