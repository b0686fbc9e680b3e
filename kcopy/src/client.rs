//! The public face: a client with its own engine thread.
//!
//! Callbacks run on that thread, one at a time, never inside a submit call. A callback may submit
//! further jobs; it must not block. Four faces, one engine:
//!
//! * [`Client::submit`] with a callback,
//! * [`Client::submit_async`], a future that any runtime can drive,
//! * [`Client::submit_to`], which sends the outcome to a channel,
//! * [`Client::run`], which waits.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{JoinHandle, ThreadId};
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, TrySendError};

use crate::backend::{self, Backend, BackendKind, BackendOptions, Wake};
use crate::callback::Callback;
use crate::cancel::CancelToken;
use crate::device::Device;
use crate::door::{self, House, SubmitError};
use crate::driver::{Control, Driver, Shared, Submission};
use crate::engine::Config;
use crate::job::Job;
use crate::outcome::Outcome;
use crate::pool::Pool;
use crate::service::LocalClient;
use crate::stats::Stats;
use crate::throttle::Throttle;
use crate::units::PAGE_SIZE;

pub use crate::backend::BackendChoice;

/// Fewer pages than one minimum operation of kcopyd (64 KiB) are refused.
pub const MIN_PAGES: u32 = 16;

/// Pages of a client that does not say: 4 MiB, what this engine needs to keep a disk busy.
const DEFAULT_PAGES: u32 = 1024;

/// How long a client that is dropped waits for its jobs before it says so in the log.
const DROP_PATIENCE: Duration = Duration::from_secs(5);

/// Why a client could not be made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BuildError {
    /// Fewer pages than one operation needs.
    #[error("a pool of {pages} pages is too small; at least {MIN_PAGES} are needed")]
    PoolTooSmall {
        /// Pages asked for.
        pages: u32,
    },
    /// A size that no engine can work with.
    #[error("{what} cannot be {value}")]
    BadValue {
        /// Which setting.
        what: &'static str,
        /// Its value.
        value: u64,
    },
    /// The memory for the pool is not to be had.
    #[error("no memory for a pool of {pages} pages")]
    NoMemory {
        /// Pages asked for.
        pages: u32,
    },
    /// The memory for the queue of jobs is not to be had.
    #[error("no memory for a queue of {jobs} jobs")]
    NoMemoryForQueue {
        /// Jobs asked for.
        jobs: usize,
    },
    /// The backend that was asked for cannot be used here.
    #[error(transparent)]
    Backend(#[from] backend::OpenError),
    /// The engine thread could not be started.
    #[error("the engine thread could not be started")]
    Thread(#[source] std::io::Error),
}

/// How a client is to be made. See [`Client::builder`].
#[derive(Clone, Debug)]
pub struct Builder {
    pages: u32,
    config: Config,
    choice: BackendChoice,
    options: BackendOptions,
    queue: usize,
    transform_threads: usize,
}

impl Builder {
    /// Pages of 4 KiB that are reserved: the most memory that data is ever kept in, and enough for
    /// every job to end. Default 1024 (4 MiB).
    #[must_use]
    pub fn pages(mut self, pages: u32) -> Self {
        self.pages = pages;
        self
    }

    /// The largest read or write, in bytes, a multiple of 4096. Default 1 MiB, and at most half of
    /// the pool.
    #[must_use]
    pub fn request_size(mut self, bytes: u32) -> Self {
        self.config.request_size = bytes;
        self
    }

    /// The most pieces on their way at once. Default 256; the pool is usually the tighter bound.
    #[must_use]
    pub fn requests(mut self, requests: u32) -> Self {
        self.config.requests = usize::try_from(requests).unwrap_or(usize::MAX);
        self
    }

    /// The most jobs that wait to be taken in, and as many again inside the engine. When both are
    /// full, submitting waits. Default 1024.
    #[must_use]
    pub fn queue(mut self, jobs: usize) -> Self {
        self.queue = jobs;
        self
    }

    /// Which backend. Default: io_uring, or threads where it is refused.
    #[must_use]
    pub fn backend(mut self, choice: BackendChoice) -> Self {
        self.choice = choice;
        self
    }

    /// The number of threads of the thread backend. Default 32.
    #[must_use]
    pub fn threads(mut self, threads: usize) -> Self {
        self.options.threads = threads;
        self
    }

    /// Operations of the backend in flight at once, at most. Default 256.
    #[must_use]
    pub fn depth(mut self, operations: u32) -> Self {
        self.options.depth = operations;
        self
    }

    /// Threads that apply the transforms of stripe jobs ([`crate::Transform`]), those of 64 KiB and more; as many
    /// of them as can be had. Default 0: the engine's thread does.
    #[must_use]
    pub fn transform_threads(mut self, threads: usize) -> Self {
        self.transform_threads = threads;
        self
    }

    /// A limit in bytes per second; it may be shared by several clients and changed at any time.
    #[must_use]
    pub fn throttle(mut self, throttle: &Arc<Throttle>) -> Self {
        self.config.throttle = Some(Arc::clone(throttle));
        self
    }

    /// Makes the client: reserves the pool, opens the backend, starts the engine thread.
    ///
    /// # Errors
    ///
    /// See [`BuildError`].
    pub fn build(self) -> Result<Client, BuildError> {
        let pool = self.pool()?;
        let backend = backend::open(self.choice, &pool.memory(), &self.options)?;
        self.start(pool, backend)
    }

    /// Makes the same service without a thread: the caller turns it. For programs that do nothing
    /// but copy, this saves the way to another thread and back for each job.
    ///
    /// # Errors
    ///
    /// See [`BuildError`].
    pub fn build_local(self) -> Result<LocalClient<Box<dyn Backend>>, BuildError> {
        let pool = self.pool()?;
        let backend = backend::open(self.choice, &pool.memory(), &self.options)?;
        tracing::debug!(backend = %backend.kind(), "service made");
        Ok(self.service(pool, backend))
    }

    /// Makes the client on a backend of the caller's.
    ///
    /// # Errors
    ///
    /// See [`BuildError`].
    pub fn build_on(self, backend: impl Backend + 'static) -> Result<Client, BuildError> {
        let pool = self.pool()?;
        self.start(pool, Box::new(backend))
    }

    fn pool(&self) -> Result<Pool, BuildError> {
        let (pages, request) = (self.pages, self.config.request_size);
        let page = u32::try_from(PAGE_SIZE).unwrap_or(4096);
        if pages < MIN_PAGES {
            return Err(BuildError::PoolTooSmall { pages });
        }
        if request == 0 || request % page != 0 {
            return Err(BuildError::BadValue { what: "request size", value: request.into() });
        }
        for (what, value) in [("queue", self.queue), ("requests", self.config.requests)] {
            if value == 0 {
                return Err(BuildError::BadValue { what, value: 0 });
            }
        }
        Pool::new(pages).ok_or(BuildError::NoMemory { pages })
    }

    fn service(&self, pool: Pool, backend: Box<dyn Backend>) -> LocalClient<Box<dyn Backend>> {
        let config = Config { queue: self.queue, ..self.config.clone() };
        LocalClient::new(config, pool, backend).with_transform_threads(self.transform_threads)
    }

    fn start(self, pool: Pool, backend: Box<dyn Backend>) -> Result<Client, BuildError> {
        check_queue_fits(self.queue)?;
        let (job_sender, jobs) = crossbeam_channel::bounded(self.queue);
        let (control_sender, control) = crossbeam_channel::unbounded();
        let (end_sender, ended) = crossbeam_channel::bounded(0);
        let (kind, description, waker) = (backend.kind(), backend.describe(), backend.waker());
        let service = self.service(pool, backend);
        let shared = Arc::new(Shared::new());
        let house = service.engine().house();
        let alarm = service.engine().alarm();
        service.stats_into(&mut shared.stats.lock().unwrap_or_else(PoisonError::into_inner));
        let shared_too = Arc::clone(&shared);
        let driver = Driver { service, jobs, control, shared: shared_too, closing: false };
        let span = tracing::debug_span!("client", backend = %kind, pages = self.pages);
        let thread = std::thread::Builder::new()
            .name("kcopy".into())
            .spawn(move || {
                let _end: Sender<()> = end_sender;
                let _inside = span.entered();
                driver.run();
            })
            .map_err(BuildError::Thread)?;
        tracing::debug!(backend = %kind, %description, "client started");
        Ok(Client(Arc::new(Inner {
            jobs: job_sender,
            control: control_sender,
            shared,
            waker,
            alarm,
            house,
            kind,
            description,
            closed: AtomicBool::new(false),
            engine_thread: thread.thread().id(),
            thread: Mutex::new(Some(thread)),
            ended,
        })))
    }
}

/// A queue takes its memory when it is made, and ends the program if there is none; so that is tried
/// first.
fn check_queue_fits(jobs: usize) -> Result<(), BuildError> {
    /// What the queue keeps beside each job.
    const STAMP: usize = size_of::<usize>();
    let error = BuildError::NoMemoryForQueue { jobs };
    let bytes = jobs.checked_mul(size_of::<Submission>() + STAMP);
    let Some(bytes) = bytes.filter(|bytes| isize::try_from(*bytes).is_ok()) else {
        return Err(error);
    };
    Vec::<u8>::new().try_reserve_exact(bytes).map_err(|_| error)
}

#[derive(Debug)]
struct Inner {
    jobs: Sender<Submission>,
    control: Sender<Control>,
    shared: Arc<Shared>,
    waker: Arc<dyn Wake>,
    alarm: Arc<AtomicBool>,
    house: House,
    kind: BackendKind,
    description: String,
    closed: AtomicBool,
    engine_thread: ThreadId,
    thread: Mutex<Option<JoinHandle<()>>>,
    /// Disconnected when the engine thread has ended.
    ended: Receiver<()>,
}

/// A client of the copy service: a pool of pages and an engine thread of its own. Clones are the
/// same client; when the last is dropped, it is closed, and every callback is waited for.
#[derive(Clone, Debug)]
pub struct Client(Arc<Inner>);

/// A job that was not accepted, handed back with its callback.
#[derive(Debug)]
pub struct Refused<F> {
    /// Why.
    pub error: SubmitError,
    /// The job.
    pub job: Job,
    /// The callback, which was not called.
    pub callback: F,
}

/// A client that was closed still has jobs whose operations do not end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{jobs} jobs had not ended when the time was up")]
pub struct Stalled {
    /// Jobs that were not answered.
    pub jobs: u64,
}

impl Client {
    /// Begins to make a client.
    pub fn builder() -> Builder {
        Builder {
            pages: DEFAULT_PAGES,
            config: Config::default(),
            choice: BackendChoice::Auto,
            options: BackendOptions::default(),
            queue: 1024,
            transform_threads: 0,
        }
    }

    /// Queues a job; `callback` is called exactly once, on the engine's thread, later.
    ///
    /// Waits while the queue is full, except inside a callback, where it returns
    /// [`SubmitError::Busy`].
    ///
    /// # Errors
    ///
    /// What is wrong with the job; the callback is then not called.
    pub fn submit(
        &self,
        job: Job,
        callback: impl FnOnce(Outcome) + Send + 'static,
    ) -> Result<(), SubmitError> {
        let _entered = self.0.shared.enter();
        let submission = self.checked(job, Callback::new(callback))?;
        if std::thread::current().id() == self.0.engine_thread {
            return self.try_send(submission).map_err(|(error, _)| error);
        }
        match self.0.jobs.send(submission) {
            Ok(()) => {
                self.ring();
                Ok(())
            }
            Err(unsent) => {
                unsent.0.callback.disarm();
                Err(SubmitError::Closed)
            }
        }
    }

    /// Queues a job if there is room, and hands everything back if not.
    ///
    /// # Errors
    ///
    /// Why the job was not accepted, with the job and the callback.
    pub fn try_submit<F>(&self, job: Job, callback: F) -> Result<(), Box<Refused<F>>>
    where
        F: FnOnce(Outcome) + Send + 'static,
    {
        // The slot lets a refused callback be taken back out of the engine's envelope.
        let slot = Arc::new(Mutex::new(Some(callback)));
        let inside = Arc::clone(&slot);
        let envelope = Callback::new(move |outcome| {
            let callback = inside.lock().unwrap_or_else(PoisonError::into_inner).take();
            if let Some(callback) = callback {
                callback(outcome);
            }
        });
        let entered = self.0.shared.enter();
        let sent = self
            .checked(job.clone(), envelope)
            .and_then(|submission| self.try_send(submission).map_err(|(error, _)| error));
        drop(entered);
        let Err(error) = sent else { return Ok(()) };
        let callback = slot.lock().unwrap_or_else(PoisonError::into_inner).take();
        match callback {
            Some(callback) => Err(Box::new(Refused { error, job, callback })),
            None => unreachable!("a refused callback is not called"),
        }
    }

    /// Queues a job whose outcome is sent to `channel`, with `context`.
    ///
    /// # Errors
    ///
    /// As [`Client::submit`].
    pub fn submit_to<T: Send + 'static>(
        &self,
        job: Job,
        channel: &Sender<(T, Outcome)>,
        context: T,
    ) -> Result<(), SubmitError> {
        let channel = channel.clone();
        self.submit(job, move |outcome| {
            // Nobody listens any more: the outcome is of no use to anybody.
            let _ = channel.send((context, outcome));
        })
    }

    /// Runs a job and waits for its outcome.
    ///
    /// # Errors
    ///
    /// As [`Client::submit`]; inside a callback always [`SubmitError::Busy`], for waiting there
    /// would be for ever.
    pub fn run(&self, job: Job) -> Result<Outcome, SubmitError> {
        if std::thread::current().id() == self.0.engine_thread {
            return Err(SubmitError::Busy);
        }
        let (sender, receiver) = crossbeam_channel::bounded(1);
        self.submit_to(job, &sender, ())?;
        drop(sender);
        receiver.recv().map(|((), outcome)| outcome).map_err(|_| SubmitError::Closed)
    }

    /// Makes a callback now that is fired later, in line with those of the jobs: the kernel's
    /// `dm_kcopyd_prepare_callback`.
    pub fn prepare(&self, callback: impl FnOnce(Outcome) + Send + 'static) -> Prepared {
        Prepared { client: self.clone(), callback: Callback::new(callback) }
    }

    /// A token that cancels the jobs that carry it.
    pub fn cancel_token(&self) -> CancelToken {
        CancelToken::new(Arc::clone(&self.0.alarm), Arc::clone(&self.0.waker))
    }

    /// Lets go of `device`, if no job uses it. A client keeps a device open until then, or until it
    /// is closed, or until it finds that nobody else has a handle of it.
    pub fn release(&self, device: &Device) {
        self.control(Control::Release(device.clone()));
    }

    /// The counters, as of the last turn of the engine.
    pub fn stats(&self) -> Stats {
        self.0.shared.stats.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The backend that was chosen.
    pub fn backend(&self) -> BackendKind {
        self.0.kind
    }

    /// One line about the backend's mode, for people.
    pub fn describe(&self) -> &str {
        &self.0.description
    }

    /// Refuses further jobs and waits until every accepted one has been answered.
    ///
    /// Inside a callback it does not wait.
    pub fn close(&self) {
        self.begin_close();
        if std::thread::current().id() != self.0.engine_thread {
            let _ = self.0.ended.recv();
            self.join();
        }
    }

    /// Refuses further jobs and waits at most `patience`; inside a callback, not at all.
    ///
    /// # Errors
    ///
    /// [`Stalled`] if some job had not ended by then: a device does not answer. The engine thread
    /// lives on and still answers when it does; call again to wait on.
    pub fn close_within(&self, patience: Duration) -> Result<(), Stalled> {
        self.begin_close();
        let inside = std::thread::current().id() == self.0.engine_thread;
        let patience = if inside { Duration::ZERO } else { patience };
        match self.0.ended.recv_timeout(patience) {
            Ok(()) | Err(crossbeam_channel::RecvTimeoutError::Disconnected) => {
                self.join();
                Ok(())
            }
            Err(crossbeam_channel::RecvTimeoutError::Timeout) => {
                let stats = self.stats();
                Err(Stalled { jobs: stats.jobs_submitted - stats.jobs_finished })
            }
        }
    }

    fn checked(&self, job: Job, callback: Callback) -> Result<Submission, SubmitError> {
        let checked = if self.0.closed.load(Ordering::SeqCst) {
            Err(SubmitError::Closed)
        } else {
            door::check(&job, self.0.house)
        };
        match checked {
            Ok(ticket) => Ok(Submission { job, ticket, callback }),
            Err(error) => {
                callback.disarm();
                Err(error)
            }
        }
    }

    pub(crate) fn try_send(&self, submission: Submission) -> Result<(), (SubmitError, ())> {
        match self.0.jobs.try_send(submission) {
            Ok(()) => {
                self.ring();
                Ok(())
            }
            Err(TrySendError::Full(unsent)) => {
                unsent.callback.disarm();
                Err((SubmitError::Busy, ()))
            }
            Err(TrySendError::Disconnected(unsent)) => {
                unsent.callback.disarm();
                Err((SubmitError::Closed, ()))
            }
        }
    }

    pub(crate) fn wait_for_room(&self, waker: std::task::Waker) {
        self.0.shared.waiting.lock().unwrap_or_else(PoisonError::into_inner).push(waker);
        self.ring();
    }

    fn control(&self, control: Control) {
        // A closed engine has let go of everything.
        if self.0.control.send(control).is_ok() {
            self.ring();
        }
    }

    fn ring(&self) {
        if self.0.shared.doorbell.must_wake() {
            self.0.waker.wake();
        }
    }

    fn begin_close(&self) {
        self.0.begin_close();
    }

    fn join(&self) {
        let thread = self.0.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(thread) = thread
            && thread.join().is_err()
        {
            tracing::error!("the engine thread panicked");
        }
    }
}

impl Inner {
    fn begin_close(&self) {
        if !self.closed.swap(true, Ordering::SeqCst) && self.control.send(Control::Close).is_ok() {
            self.waker.wake();
        }
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.begin_close();
        if std::thread::current().id() == self.engine_thread {
            return;
        }
        let patience = self.ended.recv_timeout(DROP_PATIENCE);
        if patience == Err(crossbeam_channel::RecvTimeoutError::Timeout) {
            tracing::warn!("a client that was dropped waits for jobs that do not end");
            let _ = self.ended.recv();
        }
        let thread = self.thread.get_mut().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(thread) = thread {
            // A panic was reported by the thread itself.
            let _ = thread.join();
        }
    }
}

/// A callback made ahead of time. See [`Client::prepare`]. Dropped unfired, it is called as
/// cancelled.
#[derive(Debug)]
pub struct Prepared {
    client: Client,
    callback: Callback,
}

impl Prepared {
    /// Has the callback called, on the engine's thread, with `outcome`. Never waits, and may be
    /// called from anywhere.
    pub fn fire(self, outcome: Outcome) {
        self.client.control(Control::Fire(self.callback, Box::new(outcome)));
    }
}
