//! A stream of small copy jobs at a fixed depth, driven on the caller's thread.
//!
//! The offsets walk the device in strides that leave a hole between any two jobs, so that no job
//! is adjacent to another and the engine has nothing to merge: each costs a read, a write and a
//! callback.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use kcopy::backend::Backend;
use kcopy::backend::null::NullBackend;
use kcopy::engine::Config;
use kcopy::pool::Pool;
use kcopy::{Device, Extent, Job, LocalClient, SubmitError};

/// Bytes of one job.
pub const BLOCK: u64 = 4096;

/// Bytes of each device of a [`Stream`] on the null backend.
const SIZE: u64 = 16 << 30;

/// Two devices, and where the next job between them lies.
#[derive(Debug)]
pub struct Stream {
    from: Device,
    to: Device,
    blocks: u64,
    next: u64,
    finished: Arc<AtomicU64>,
}

impl Stream {
    /// Between two devices that the null backend knows.
    #[must_use]
    pub fn null() -> Self {
        Self::within(Device::null("from", SIZE), Device::null("to", SIZE), SIZE)
    }

    /// From the first half of `bytes` bytes of one device to the second half of another (which may
    /// be the same).
    #[must_use]
    pub fn within(from: Device, to: Device, bytes: u64) -> Self {
        let blocks = bytes / BLOCK / 2;
        Self { from, to, blocks, next: 0, finished: Arc::new(AtomicU64::new(0)) }
    }

    /// What counts the callbacks, for those who submit by themselves.
    #[must_use]
    pub fn counter(&self) -> Arc<AtomicU64> {
        Arc::clone(&self.finished)
    }

    /// The next job.
    pub fn job(&mut self) -> Job {
        // An odd factor visits every second block once before any repeats.
        let block = self.next.wrapping_mul(0x9E37_79B1) % (self.blocks / 2) * 2;
        self.next += 1;
        let extent = |device, first: u64| Extent::new(device, (first + block) * BLOCK, BLOCK);
        Job::copy(extent(&self.from, 0)).to(extent(&self.to, self.blocks))
    }

    /// Jobs whose callback was called.
    #[must_use]
    pub fn finished(&self) -> u64 {
        self.finished.load(Ordering::Relaxed)
    }

    /// Submits one job.
    ///
    /// # Errors
    ///
    /// What the client says.
    pub fn submit<B: Backend>(&mut self, client: &mut LocalClient<B>) -> Result<(), SubmitError> {
        let finished = Arc::clone(&self.finished);
        client.submit(self.job(), move |outcome| {
            assert!(outcome.is_ok(), "{outcome:?}");
            finished.fetch_add(1, Ordering::Relaxed);
        })
    }

    /// Runs `jobs` more jobs with `depth` of them on their way.
    ///
    /// # Panics
    ///
    /// If a job is refused or fails.
    pub fn run<B: Backend>(&mut self, client: &mut LocalClient<B>, jobs: u64, depth: u64) {
        let (start, mut submitted) = (self.finished(), 0);
        loop {
            let finished = self.finished() - start;
            if finished == jobs {
                return;
            }
            while submitted < jobs && submitted - finished < depth {
                self.submit(client).expect("the queue is deeper than this");
                submitted += 1;
            }
            client.turn(None).expect("the backend works");
        }
    }
}

/// A client on the null backend with a pool of `pages` pages and everything else as users get it.
///
/// # Panics
///
/// If the memory is not to be had.
#[must_use]
pub fn null_client(pages: u32) -> LocalClient<NullBackend> {
    let pool = Pool::new(pages).expect("memory for the pool");
    LocalClient::new(Config::default(), pool, NullBackend::default())
}
