//! The copy engine as arrays use it: jobs go in with a tag, outcomes come out, nothing else does I/O.
//!
//! A [`Mover`] is turned by whoever owns it, on the caller's thread, so that the same code runs on
//! io_uring, on threads and, step by step, on the simulated device.
//!
//! Small things (superblocks, bitmaps, what a caller wants to see in memory) go through the same
//! jobs: [`Mover::read`] is a stripe job whose transform takes the bytes out, [`Mover::write`] one
//! whose transform puts them in.

use std::collections::VecDeque;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use kcopy::backend::{self, Backend, BackendChoice, BackendOptions};
use kcopy::engine::Config;
use kcopy::pool::Pool;
use kcopy::{
    Clock, Device, Errno, Extent, Fault, Job, LocalClient, Outcome, PieceBuffers, SubmitError,
    SystemClock, Time, Transform,
};

/// How a [`Mover`] on real devices is made.
#[derive(Clone, Debug)]
pub struct Options {
    /// Pages of 4 KiB for data, a hard bound.
    pub pages: u32,
    /// What carries out the operations.
    pub backend: BackendChoice,
    /// Limits of the engine: request size, requests in flight, queue, throttle.
    pub config: Config,
    /// Threads that compute what jobs compute, beside the one that turns the engine; 0: that one does.
    pub computing: usize,
}

impl Default for Options {
    /// 64 MiB of pages, io_uring if it is there, and a thread to compute if there is a processor for it.
    fn default() -> Self {
        let processors = std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
        let (backend, computing) = (BackendChoice::Auto, processors.saturating_sub(1).min(1));
        Self { pages: 16384, backend, config: Config::default(), computing }
    }
}

/// Why a [`Mover`] cannot be made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// The memory for the pool is not to be had.
    #[error("no memory for a pool of {pages} pages of 4 KiB")]
    NoMemory {
        /// Pages asked for.
        pages: u32,
    },
    /// The backend that was asked for cannot be used here.
    #[error(transparent)]
    Backend(#[from] backend::OpenError),
}

/// Why something that had to be read or written was not.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MoveError {
    /// The engine did not take the job.
    #[error("the copy engine refused a job: {0}")]
    Refused(#[from] SubmitError),
    /// The backend broke: nothing more can be read or written by this process.
    #[error("the I/O backend broke")]
    Broken(#[source] std::io::Error),
    /// A read failed.
    #[error("cannot read {}: {fault}", path.display())]
    Read {
        /// The device.
        path: PathBuf,
        /// What happened, and at which sector of the device.
        fault: Fault,
    },
    /// A write or the flush after it failed; what was written is not surely durable.
    #[error("cannot write {}: {fault}", path.display())]
    Write {
        /// The device.
        path: PathBuf,
        /// What happened, and at which sector of the device.
        fault: Fault,
    },
    /// The memory for what is moved is not to be had.
    #[error("no memory for {bytes} bytes of what is moved")]
    NoMemory {
        /// Bytes asked for.
        bytes: usize,
    },
    /// A file cannot be made as long as it has to be.
    #[error("cannot make {} longer: {error}", path.display())]
    Extend {
        /// The file.
        path: PathBuf,
        /// What the system says.
        error: std::io::Error,
    },
    /// The job was cancelled.
    #[error("interrupted")]
    Cancelled,
}

/// Whether what was written has to be durable before the call returns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    /// Not yet: a flush comes later.
    Later,
    /// The device is flushed before the call returns.
    Now,
}

/// A job that has ended.
#[derive(Debug)]
pub struct Done {
    /// The tag it was submitted with.
    pub tag: u64,
    /// What became of it.
    pub outcome: Outcome,
}

/// See the module.
#[derive(Debug)]
pub struct Mover {
    client: LocalClient<Box<dyn Backend>, Box<dyn Clock>>,
    done: Arc<Mutex<VecDeque<Done>>>,
    in_flight: usize,
}

impl Mover {
    /// A mover on real devices.
    ///
    /// # Errors
    ///
    /// No memory, or no backend as asked for.
    pub fn open(options: &Options) -> Result<Self, OpenError> {
        let pages = options.pages;
        let pool = Pool::new(pages).ok_or(OpenError::NoMemory { pages })?;
        let backend = backend::open(options.backend, &pool.memory(), &BackendOptions::default())?;
        let clock: Box<dyn Clock> = Box::new(SystemClock);
        let client = LocalClient::with_clock(options.config.clone(), pool, backend, clock);
        Ok(Self::of(client.with_transform_threads(options.computing)))
    }

    /// A mover on any backend, by any clock: what the simulation uses.
    pub fn on(
        backend: Box<dyn Backend>,
        clock: Box<dyn Clock>,
        pool: Pool,
        config: Config,
    ) -> Self {
        Self::of(LocalClient::with_clock(config, pool, backend, clock))
    }

    fn of(client: LocalClient<Box<dyn Backend>, Box<dyn Clock>>) -> Self {
        Self { client, done: Arc::default(), in_flight: 0 }
    }

    /// The engine inside: statistics, cancel tokens, limits.
    pub fn client(&self) -> &LocalClient<Box<dyn Backend>, Box<dyn Clock>> {
        &self.client
    }

    /// When a job last ended, by the engine's clock, which is not looked at for this.
    pub fn ended_at(&self) -> Time {
        self.client.called_back()
    }

    /// Jobs that were submitted and not yet returned by [`Mover::next`].
    pub fn in_flight(&self) -> usize {
        self.in_flight
    }

    /// Hands a job to the engine; its outcome comes out of [`Mover::next`] with `tag`.
    ///
    /// Waits for room in the engine's queue.
    ///
    /// # Errors
    ///
    /// What is wrong with the job, or that the backend broke.
    pub fn submit(&mut self, job: Job, tag: u64) -> Result<(), MoveError> {
        while !self.client.has_room() {
            self.client.turn(None).map_err(MoveError::Broken)?;
        }
        let done = Arc::clone(&self.done);
        self.client.submit(job, move |outcome| lock(&done).push_back(Done { tag, outcome }))?;
        self.in_flight += 1;
        Ok(())
    }

    /// Has the devices begin with what was submitted, and waits for nothing.
    ///
    /// What jobs compute is computed here: whoever has something to read and something to compute calls this in
    /// between, so that the disks are not idle meanwhile.
    ///
    /// # Errors
    ///
    /// The backend broke; the jobs in flight come out, failed, of [`Mover::next`].
    pub fn issue(&mut self) -> Result<(), MoveError> {
        self.client.turn(Some(Duration::ZERO)).map_err(MoveError::Broken)
    }

    /// The next job that ended, in any order; `None` if none is in flight.
    ///
    /// # Errors
    ///
    /// The backend broke; the jobs in flight come out, failed, of further calls.
    #[expect(clippy::should_implement_trait, reason = "the queue refills: it is no iterator")]
    pub fn next(&mut self) -> Result<Option<Done>, MoveError> {
        loop {
            if let Some(done) = self.take_done() {
                return Ok(Some(done));
            }
            if self.in_flight == 0 {
                return Ok(None);
            }
            self.client.turn(None).map_err(MoveError::Broken)?;
        }
    }

    fn take_done(&mut self) -> Option<Done> {
        let done = lock(&self.done).pop_front()?;
        self.in_flight = self.in_flight.saturating_sub(1);
        Some(done)
    }

    /// Runs one job to its end and returns its outcome, whatever else is in flight.
    ///
    /// # Errors
    ///
    /// What is wrong with the job, or that the backend broke. A job that failed is an outcome.
    pub fn run(&mut self, job: Job) -> Result<Outcome, MoveError> {
        let slot: Arc<Mutex<Option<Outcome>>> = Arc::default();
        let filled = Arc::clone(&slot);
        while !self.client.has_room() {
            self.client.turn(None).map_err(MoveError::Broken)?;
        }
        self.client.submit(job, move |outcome| *lock(&filled) = Some(outcome))?;
        loop {
            if let Some(outcome) = lock(&slot).take() {
                return Ok(outcome);
            }
            self.client.turn(None).map_err(MoveError::Broken)?;
        }
    }

    /// Runs `jobs` side by side to their ends; outcomes in the order of the jobs.
    ///
    /// # Errors
    ///
    /// What is wrong with a job, or that the backend broke; jobs before it may have run.
    pub fn run_all(&mut self, jobs: Vec<Job>) -> Result<Vec<Outcome>, MoveError> {
        let slots: Arc<Mutex<Vec<Option<Outcome>>>> = Arc::default();
        lock(&slots).resize_with(jobs.len(), || None);
        let mut refused = None;
        let mut submitted = 0;
        for (index, job) in jobs.into_iter().enumerate() {
            while !self.client.has_room() {
                self.client.turn(None).map_err(MoveError::Broken)?;
            }
            let filled = Arc::clone(&slots);
            let callback = move |outcome| {
                if let Some(slot) = lock(&filled).get_mut(index) {
                    *slot = Some(outcome);
                }
            };
            if let Err(error) = self.client.submit(job, callback) {
                refused = Some(error);
                break;
            }
            submitted = index + 1;
        }
        loop {
            let ended = lock(&slots).iter().filter(|slot| slot.is_some()).count();
            if ended >= submitted {
                break;
            }
            self.client.turn(None).map_err(MoveError::Broken)?;
        }
        match refused {
            Some(error) => Err(error.into()),
            None => Ok(lock(&slots).drain(..).flatten().collect()),
        }
    }

    /// The `len` bytes of `device` at byte `offset`, in memory.
    ///
    /// # Errors
    ///
    /// A range beyond the device, or a sector that cannot be read.
    pub fn read(&mut self, device: &Device, offset: u64, len: usize) -> Result<Vec<u8>, MoveError> {
        let gather = Arc::new(Gather::new(len));
        let extent = Extent::new(device, offset, u64::try_from(len).unwrap_or(u64::MAX));
        let outcome = self.run(Job::stripe(0, gather.at(0)).from(extent))?;
        check_read(&outcome, &[device])?;
        Ok(gather.take())
    }

    /// Shows `take` the `len` bytes of `device` from byte `offset` on, in order and in pieces: whatever `len` is, no
    /// more than a few MiB are in memory.
    ///
    /// # Errors
    ///
    /// A range beyond the device, or a sector that cannot be read.
    pub fn read_pieces(
        &mut self,
        device: &Device,
        offset: u64,
        len: u64,
        mut take: impl FnMut(&[u8]),
    ) -> Result<(), MoveError> {
        const PIECE: u64 = 4 << 20;
        let mut done = 0;
        while done < len {
            let piece = PIECE.min(len - done);
            let at = offset.saturating_add(done);
            take(&self.read(device, at, usize::try_from(piece).unwrap_or(usize::MAX))?);
            done += piece;
        }
        Ok(())
    }

    /// Writes `bytes` to `device` at byte `offset`.
    ///
    /// # Errors
    ///
    /// A range beyond the device, a failed write, or (with [`Durability::Now`]) a failed flush: the
    /// content of the range is then not known.
    pub fn write(
        &mut self,
        device: &Device,
        offset: u64,
        bytes: Vec<u8>,
        durability: Durability,
    ) -> Result<(), MoveError> {
        let extent = Extent::new(device, offset, u64::try_from(bytes.len()).unwrap_or(u64::MAX));
        let mut job = Job::stripe(1, Arc::new(Supply::new(bytes))).to(extent);
        if durability == Durability::Now {
            job = job.flush();
        }
        let outcome = self.run(job)?;
        check_written(&outcome, &[device])
    }

    /// Flushes `devices`: what was written to them before is durable when this returns.
    ///
    /// # Errors
    ///
    /// The first flush that failed. What was written to that device is lost or not: nobody knows.
    pub fn flush(&mut self, devices: &[&Device]) -> Result<(), MoveError> {
        if devices.is_empty() {
            return Ok(());
        }
        for devices in devices.chunks(kcopy::MAX_DESTINATIONS) {
            let outcome = self.run(Job::flush_only(devices.iter().copied()))?;
            check_written(&outcome, devices)?;
        }
        Ok(())
    }
}

/// The first read failure of `outcome`, whose job read from `sources`.
///
/// # Errors
///
/// [`MoveError::Read`] or [`MoveError::Cancelled`].
pub fn check_read(outcome: &Outcome, sources: &[&Device]) -> Result<(), MoveError> {
    if let Some((source, fault)) = outcome.read {
        let path = sources.get(source).map(|device| device.path().to_owned()).unwrap_or_default();
        return Err(MoveError::Read { path, fault });
    }
    if outcome.cancelled { Err(MoveError::Cancelled) } else { Ok(()) }
}

/// The first write failure of `outcome`, whose job wrote to `destinations`.
///
/// # Errors
///
/// [`MoveError::Write`] or [`MoveError::Cancelled`].
pub fn check_written(outcome: &Outcome, destinations: &[&Device]) -> Result<(), MoveError> {
    for (device, destination) in destinations.iter().zip(&outcome.destinations) {
        if let Some(fault) = destination.error {
            return Err(MoveError::Write { path: device.path().to_owned(), fault });
        }
    }
    if outcome.cancelled { Err(MoveError::Cancelled) } else { Ok(()) }
}

/// Memory that jobs read into: each takes its own part ([`Gather::at`]).
#[derive(Debug)]
pub struct Gather {
    bytes: Mutex<Vec<u8>>,
}

/// The transform that puts source 0 of a job into a [`Gather`], from byte `at` on.
#[derive(Debug)]
struct GatherAt {
    gather: Arc<Gather>,
    at: u64,
}

impl Gather {
    /// `len` zero bytes to read into.
    pub fn new(len: usize) -> Self {
        Self { bytes: Mutex::new(vec![0; len]) }
    }

    /// `len` bytes in memory that was used before: what is not put there is what it held.
    pub fn within(mut memory: Vec<u8>, len: usize) -> Self {
        memory.resize(len, 0);
        Self { bytes: Mutex::new(memory) }
    }

    /// A transform that puts the bytes of a job's first source here, from byte `at` on.
    pub fn at(self: &Arc<Self>, at: u64) -> Arc<dyn Transform> {
        Arc::new(GatherAt { gather: Arc::clone(self), at })
    }

    /// Puts `bytes` at byte `at`.
    ///
    /// # Errors
    ///
    /// `EIO` if they do not fit.
    pub fn put(&self, at: u64, bytes: &[u8]) -> Result<(), Errno> {
        let mut all = lock(&self.bytes);
        let start = usize::try_from(at).map_err(|_| Errno::IO)?;
        let end = start.checked_add(bytes.len()).ok_or(Errno::IO)?;
        all.get_mut(start..end).ok_or(Errno::IO)?.copy_from_slice(bytes);
        Ok(())
    }

    /// What was read, leaving nothing.
    pub fn take(&self) -> Vec<u8> {
        std::mem::take(&mut *lock(&self.bytes))
    }
}

impl Transform for GatherAt {
    fn apply(&self, piece: PieceBuffers<'_>) -> Result<(), Errno> {
        let Some(source) = piece.sources.first() else { return Ok(()) };
        self.gather.put(self.at.checked_add(piece.offset).ok_or(Errno::IO)?, source)
    }
}

/// The transform that fills computed buffer 0 of a job from memory.
#[derive(Debug)]
pub struct Supply {
    bytes: Vec<u8>,
}

impl Supply {
    /// Supplies `bytes`, the first of them at the job's start.
    pub fn new(bytes: Vec<u8>) -> Self {
        Self { bytes }
    }
}

impl Transform for Supply {
    fn apply(&self, mut piece: PieceBuffers<'_>) -> Result<(), Errno> {
        let Some(computed) = piece.computed.first_mut() else { return Ok(()) };
        let start = usize::try_from(piece.offset).map_err(|_| Errno::IO)?;
        let end = start.checked_add(computed.len()).ok_or(Errno::IO)?;
        computed.copy_from_slice(self.bytes.get(start..end).ok_or(Errno::IO)?);
        Ok(())
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use kcopy::backend::sim::{DiskOptions, SimWorld};

    fn mover(world: &SimWorld) -> Mover {
        let pool = Pool::new(256).expect("memory");
        Mover::on(Box::new(world.backend()), Box::new(world.clone()), pool, Config::default())
    }

    #[test]
    fn what_was_written_and_flushed_is_read_back_and_survives_a_crash() {
        let world = SimWorld::new(7);
        let disk = world.add_disk(DiskOptions::new(1 << 20));
        let device = disk.device();
        let mut mover = mover(&world);
        let bytes: Vec<u8> =
            (0..3 * 4096_u32).map(|i| u8::try_from(i % 251).expect("< 251")).collect();
        mover.write(&device, 512, bytes.clone(), Durability::Now).expect("written");
        assert_eq!(mover.read(&device, 512, bytes.len()).expect("read"), bytes);
        assert_eq!(disk.read_durable(512, bytes.len()), bytes);
    }

    #[test]
    fn what_is_long_is_read_in_pieces() {
        let world = SimWorld::new(7);
        let disk = world.add_disk(DiskOptions::new(10 << 20));
        let device = disk.device();
        let mut mover = mover(&world);
        let bytes: Vec<u8> =
            (0..9 << 20_u32).map(|i| u8::try_from(i % 251).expect("< 251")).collect();
        mover.write(&device, 512, bytes.clone(), Durability::Now).expect("written");
        let (mut read, mut longest) = (Vec::new(), 0);
        let take = |piece: &[u8]| {
            longest = longest.max(piece.len());
            read.extend_from_slice(piece);
        };
        mover.read_pieces(&device, 512, 9 << 20, take).expect("read");
        assert!(read == bytes && longest == 4 << 20, "{} bytes, {longest} at once", read.len());
        mover.read_pieces(&device, 2 << 20, 9 << 20, |_| ()).expect_err("beyond the end");
    }

    #[test]
    fn a_write_without_a_flush_is_not_durable_until_the_flush() {
        let world = SimWorld::new(7);
        let disk = world.add_disk(DiskOptions::new(1 << 20));
        let device = disk.device();
        let mut mover = mover(&world);
        mover.write(&device, 0, vec![1; 4096], Durability::Later).expect("written");
        assert_eq!(disk.read_durable(0, 4096), vec![0; 4096]);
        mover.flush(&[&device]).expect("flushed");
        assert_eq!(disk.read_durable(0, 4096), vec![1; 4096]);
    }

    #[test]
    fn a_read_beyond_the_end_is_refused_and_names_the_device() {
        let world = SimWorld::new(7);
        let device = world.add_disk(DiskOptions::new(1 << 20)).device();
        let error = mover(&world).read(&device, 1 << 20, 512).expect_err("beyond the end");
        assert!(matches!(error, MoveError::Refused(SubmitError::OutOfRange { .. })), "{error}");
    }
}
