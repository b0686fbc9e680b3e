//! The engine joined to a backend, turned by hand.
//!
//! [`LocalClient`] has no thread: whoever owns it calls [`LocalClient::turn`]. The simulator, the
//! benchmarks and the threaded [`crate::Client`] all turn the same thing.

use std::fmt;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use crate::backend::{Backend, Completion, Op, OpId, Slot};
use crate::callback::Callback;
use crate::cancel::CancelToken;
use crate::crew::Crew;
use crate::door::{self, SubmitError};
use crate::engine::{Config, DeviceChange, Engine};
use crate::errno::Errno;
use crate::job::Job;
use crate::outcome::Outcome;
use crate::pool::Pool;
use crate::stats::Stats;
use crate::units::Time;

/// Callbacks started in one turn, at most; what is left waits for the next turn, so that a flood
/// of callbacks cannot keep completions waiting.
const CALLBACKS_PER_TURN: usize = 64;

/// Something that tells the time.
pub trait Clock: Send + fmt::Debug {
    /// Now; never less than before.
    fn now(&self) -> Time;
}

/// The system's monotonic clock. Its epoch is the first use in this process, the same for all.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "this is where time comes from")]
    fn now(&self) -> Time {
        static EPOCH: OnceLock<Instant> = OnceLock::new();
        let epoch = *EPOCH.get_or_init(Instant::now);
        // One second ahead, so that "long ago" is a time, too.
        let nanos = epoch.elapsed().as_nanos().saturating_add(1_000_000_000);
        Time::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
    }
}

impl Clock for Box<dyn Clock> {
    fn now(&self) -> Time {
        (**self).now()
    }
}

/// A copy service without a thread: submit jobs, call [`LocalClient::turn`] until they are done.
///
/// ```
/// # #[cfg(feature = "null")] {
/// use kcopy::backend::null::NullBackend;
/// use kcopy::engine::Config;
/// use kcopy::{Device, Job, LocalClient, Region, Sector, Sectors, pool::Pool};
///
/// let pool = Pool::new(64).expect("memory");
/// let mut client = LocalClient::new(Config::default(), pool, NullBackend::default());
/// let (from, to) = (Device::null("from", 1 << 20), Device::null("to", 1 << 20));
/// let whole = |device: &Device| Region::new(device, Sector::new(0), Sectors::new(2048));
/// let job = Job::copy(whole(&from)).to(whole(&to));
/// client.submit(job, |outcome| assert!(outcome.is_ok())).expect("accepted");
/// client.run_until_idle().expect("the backend works");
/// # }
/// ```
#[derive(Debug)]
pub struct LocalClient<B, C = SystemClock> {
    engine: Engine,
    backend: B,
    clock: C,
    done: Vec<Completion>,
    /// Applies transforms.
    crew: Crew,
    /// When the first job since the last turn was submitted; the others count from then, too.
    submitted: Option<Time>,
    /// When callbacks were last called.
    called_back: Time,
    /// Devices that the backend could not attach; operations on them fail with this.
    refused: Vec<(Slot, Errno)>,
    /// The backend broke with this.
    broken: Option<Errno>,
}

impl<B: Backend> LocalClient<B> {
    /// A service on `backend` within `pool`, by the system's clock.
    pub fn new(config: Config, pool: Pool, backend: B) -> Self {
        Self::with_clock(config, pool, backend, SystemClock)
    }
}

impl<B: Backend, C: Clock> LocalClient<B, C> {
    /// The same by another clock.
    pub fn with_clock(config: Config, pool: Pool, backend: B, clock: C) -> Self {
        let engine = Engine::new(config, pool);
        let (done, refused) = (Vec::new(), Vec::new());
        let (submitted, called_back, broken) = (None, clock.now(), None);
        let crew = Crew::new(0, &backend.waker());
        Self { engine, backend, clock, done, crew, submitted, called_back, refused, broken }
    }

    /// Has `threads` other threads apply the transforms of stripe jobs, as many of them as can be had; 0: whoever
    /// turns this does.
    #[must_use]
    pub fn with_transform_threads(mut self, threads: usize) -> Self {
        self.crew = Crew::new(threads, &self.backend.waker());
        self
    }

    /// Queues a job; `callback` is called from a later [`LocalClient::turn`], exactly once.
    ///
    /// # Errors
    ///
    /// [`SubmitError::Busy`] if the queue is full, or what is wrong with the job; the callback is
    /// then not called.
    pub fn submit(
        &mut self,
        job: Job,
        callback: impl FnOnce(Outcome) + Send + 'static,
    ) -> Result<(), SubmitError> {
        let ticket = door::check(&job, self.engine.house())?;
        match self.admit(job, ticket, Callback::new(callback)) {
            Ok(()) => Ok(()),
            Err((error, callback)) => {
                callback.disarm();
                Err(error)
            }
        }
    }

    #[inline(always)] // so that a job is made where it will be kept
    pub(crate) fn admit(
        &mut self,
        job: Job,
        ticket: door::Ticket,
        callback: Callback,
    ) -> Result<(), (SubmitError, Callback)> {
        if self.broken.is_some() {
            return Err((SubmitError::Closed, callback));
        }
        if !self.engine.has_room() {
            return Err((SubmitError::Busy, callback));
        }
        let now = *self.submitted.get_or_insert_with(|| self.clock.now());
        self.engine.admit(job, ticket, callback, now)
    }

    pub(crate) fn fire(&mut self, callback: Callback, outcome: Outcome) {
        self.engine.fire(callback, outcome, self.clock.now());
    }

    /// A token that cancels the jobs that carry it.
    pub fn cancel_token(&self) -> CancelToken {
        CancelToken::new(self.engine.alarm(), self.backend.waker())
    }

    /// One turn: issues what can be issued, waits for a completion (at most `timeout`; not at all
    /// if there is other work), takes completions in, calls callbacks.
    ///
    /// # Errors
    ///
    /// If the backend broke. Every job has then failed; their callbacks are called by further
    /// turns.
    pub fn turn(&mut self, timeout: Option<Duration>) -> std::io::Result<()> {
        let result = self.exchange(timeout);
        self.call_back();
        result
    }

    /// The part of a turn before the callbacks.
    pub(crate) fn exchange(&mut self, timeout: Option<Duration>) -> std::io::Result<()> {
        if let Some(errno) = self.broken {
            return Err(std::io::Error::from_raw_os_error(errno.raw()));
        }
        // When something starts matters to a limit only, and to look at the clock may be a system call.
        let now = if self.engine.is_limited() { self.clock.now() } else { Time::default() };
        self.submitted = None;
        self.take_computed();
        self.issue(now);
        while self.compute() {
            self.issue(now);
        }
        let timeout = self.patience(timeout, now);
        if let Err(error) = self.backend.wait(timeout, &mut self.done) {
            tracing::error!(%error, "the backend broke");
            let errno = Errno::from_io(&error);
            self.broken = Some(errno);
            while let Some(computed) = self.crew.wait() {
                self.engine.computed(computed);
            }
            self.engine.backend_broke(errno);
            return Err(error);
        }
        for completion in self.done.drain(..) {
            self.engine.complete(completion);
        }
        let _ = self.compute();
        Ok(())
    }

    /// Has applied what transforms can be applied; says whether some were applied here.
    fn compute(&mut self) -> bool {
        let mut any = false;
        while let Some(computation) = self.engine.next_computation() {
            if let Some(computed) = self.crew.hand_over(computation) {
                self.engine.computed(computed);
                any = true;
            }
        }
        any
    }

    fn take_computed(&mut self) {
        while let Some(computed) = self.crew.take() {
            self.engine.computed(computed);
        }
    }

    /// Calls the callbacks that are due, at most as many as one turn may.
    pub(crate) fn call_back(&mut self) {
        if !self.engine.has_finished() {
            return;
        }
        let now = self.clock.now();
        self.called_back = now;
        let mut outcome = Outcome::default();
        for _ in 0..CALLBACKS_PER_TURN {
            let Some(callback) = self.engine.next_finished(now, &mut outcome) else { break };
            if !callback.call(&mut outcome) {
                self.engine.count_panic();
                tracing::error!("a callback panicked");
            }
        }
    }

    fn issue(&mut self, now: Time) {
        while self.backend.room() > 0 {
            let op = self.engine.next_op(now);
            if self.engine.has_device_changes() {
                self.tell_backend();
            }
            let Some((id, op)) = op else { break };
            let refusal = if self.refused.is_empty() { None } else { self.refusal(op.device()) };
            if let Some(errno) = refusal {
                self.done.push(Completion { id, result: Err(errno), buffer: op.into_buffer() });
            } else {
                self.hand_over(id, op);
            }
        }
    }

    fn hand_over(&mut self, id: OpId, op: Op) {
        if let Err(rejected) = self.backend.submit(id, op) {
            // The backend said that it had room.
            let buffer = rejected.op.into_buffer();
            self.done.push(Completion { id, result: Err(Errno::IO), buffer });
        }
    }

    #[cold]
    fn tell_backend(&mut self) {
        while let Some(change) = self.engine.next_device_change() {
            match change {
                DeviceChange::Attach(slot, device) => {
                    self.refused.retain(|(other, _)| *other != slot);
                    if let Err(errno) = self.backend.attach(slot, &device) {
                        tracing::error!(device = %device.path().display(), %errno, "not usable");
                        self.refused.push((slot, errno));
                    }
                }
                DeviceChange::Detach(slot) => {
                    let attached = !self.refused.iter().any(|(other, _)| *other == slot);
                    self.refused.retain(|(other, _)| *other != slot);
                    if attached {
                        self.backend.detach(slot);
                    }
                }
            }
        }
    }

    fn refusal(&self, slot: Slot) -> Option<Errno> {
        self.refused.iter().find(|(other, _)| *other == slot).map(|(_, errno)| *errno)
    }

    /// How long the backend may wait for a completion.
    fn patience(&self, timeout: Option<Duration>, now: Time) -> Option<Duration> {
        if self.engine.has_finished() || !self.done.is_empty() || self.crew.has_ended() {
            return Some(Duration::ZERO);
        }
        let Some(deadline) = self.engine.deadline() else { return timeout };
        let left = Duration::from_nanos(deadline.nanos_since(now));
        Some(timeout.map_or(left, |timeout| timeout.min(left)))
    }

    /// Turns until every job has finished.
    ///
    /// # Errors
    ///
    /// If the backend broke; the callbacks have been called all the same.
    pub fn run_until_idle(&mut self) -> std::io::Result<()> {
        let mut result = Ok(());
        while !self.engine.is_idle() {
            result = self.turn(None).and(result);
        }
        result
    }

    /// Runs a job and turns until it has ended; others go on meanwhile.
    ///
    /// # Errors
    ///
    /// As [`LocalClient::submit`].
    pub fn run(&mut self, job: Job) -> Result<Outcome, SubmitError> {
        let (sender, receiver) = crossbeam_channel::bounded(1);
        self.submit(job, move |outcome| {
            // There is room for it.
            let _ = sender.send(outcome);
        })?;
        loop {
            // A backend that breaks ends every job, this one too.
            let _ = self.turn(None);
            if let Ok(outcome) = receiver.try_recv() {
                return Ok(outcome);
            }
        }
    }

    /// Whether no job is on its way.
    pub fn is_idle(&self) -> bool {
        self.engine.is_idle()
    }

    /// Whether another job may be submitted.
    pub fn has_room(&self) -> bool {
        self.engine.has_room()
    }

    /// The counters.
    pub fn stats(&self) -> Stats {
        let mut stats = Stats::default();
        self.stats_into(&mut stats);
        stats
    }

    /// The counters, into memory that is there already.
    pub fn stats_into(&self, stats: &mut Stats) {
        stats.clone_from(self.engine.stats());
        stats.syscalls = self.backend.syscalls();
        stats.pool_peak_pages = u64::try_from(self.engine.pool().peak()).unwrap_or(u64::MAX);
    }

    /// The engine inside.
    pub fn engine(&self) -> &Engine {
        &self.engine
    }

    pub(crate) fn engine_mut(&mut self) -> &mut Engine {
        &mut self.engine
    }

    /// The backend inside.
    pub fn backend(&self) -> &B {
        &self.backend
    }

    /// The backend inside, for tests that drive a simulated one.
    pub fn backend_mut(&mut self) -> &mut B {
        &mut self.backend
    }

    /// The clock.
    pub fn clock(&self) -> &C {
        &self.clock
    }

    /// When callbacks were last called, or the service was made: does not look at the clock.
    pub fn called_back(&self) -> Time {
        self.called_back
    }
}

impl Backend for Box<dyn Backend> {
    fn kind(&self) -> crate::BackendKind {
        (**self).kind()
    }

    fn attach(&mut self, slot: Slot, device: &crate::Device) -> Result<(), Errno> {
        (**self).attach(slot, device)
    }

    fn detach(&mut self, slot: Slot) {
        (**self).detach(slot);
    }

    fn room(&self) -> usize {
        (**self).room()
    }

    fn submit(&mut self, id: OpId, op: Op) -> Result<(), Box<crate::backend::Rejected>> {
        (**self).submit(id, op)
    }

    fn wait(
        &mut self,
        timeout: Option<Duration>,
        done: &mut Vec<Completion>,
    ) -> std::io::Result<()> {
        (**self).wait(timeout, done)
    }

    fn waker(&self) -> std::sync::Arc<dyn crate::backend::Wake> {
        (**self).waker()
    }

    fn syscalls(&self) -> u64 {
        (**self).syscalls()
    }

    fn describe(&self) -> String {
        (**self).describe()
    }
}
