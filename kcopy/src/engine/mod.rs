//! The scheduler: jobs in, operations out, completions in, outcomes out. Sans-I/O: no device, no
//! clock, no thread.
//!
//! ```text
//!  admit -> [run queue] -> start piece -> read ops -> computed -> [gate] -> write ops -> end piece
//!              ^  one piece a turn  |        ^ lane: short results, bad blocks        |
//!              `--------------------'                                                 v
//!                                        finished <- [flush, shared] <- last piece of the job
//! ```
//!
//! These are kcopyd's lists: *pages* (the run queue, and the one job that waits for pages), *io*
//! (operations in flight) and *complete* (finished). What is different: jobs take turns instead
//! of standing in line, memory is a hard bound, and an error says what and where.
//!
//! # Invariants
//!
//! 1. An admitted job is in the run queue, waits for pages, has pieces (on the short way of `plain.rs`:
//!    operations), waits for flushes or is finished; it ends in exactly one callback.
//! 2. A piece holds its pages from its start to its end, itself or in its operations and its computation, and
//!    nothing else holds pages (but the operations of a job on the short way, and the zeros of a zero job).
//! 3. No operation is issued for a halted job, but to end pieces of a job that an error stopped;
//!    for a cancelled one, none at all.
//! 4. A piece's writes are issued after all its reads have ended, its transform was applied and its gate has
//!    opened.
//! 5. A flush that a job waits for is issued after its last write has ended.

mod admit;
mod computing;
mod devices;
mod dispatch;
mod finish;
mod lane;
mod ops;
mod plain;
mod queue;
mod ranges;
mod reading;
mod state;
mod table;
mod writing;

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

pub use self::computing::Computation;
pub use self::devices::DeviceChange;

use self::devices::Devices;
use self::ops::Ops;
use self::queue::{JobKey, RunQueue};
use self::state::{Due, Gate, InFlight, JobState, Phase, Piece, PieceKey, Role};
use self::table::Table;
use crate::backend::{Buffer, Completion};
use crate::door::House;
use crate::errno::Errno;
use crate::pool::Pool;
use crate::stats::Stats;
use crate::throttle::Throttle;
use crate::units::Time;

/// An ordering rule that a test takes away, to see that the suite notices.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mutation {
    /// The callback of a flushed job does not wait for the flush.
    CallbackBeforeFlush,
    /// The flush is issued with the last write, not after it.
    FlushBeforeWrites,
    /// Overlapping jobs are written without waiting for earlier reads.
    OverlapUngated,
    /// Overlapping jobs are always cut from the front.
    OverlapForward,
    /// Sequential jobs are written as soon as they are read.
    SequentialUngated,
}

/// How an engine is set up.
#[derive(Clone, Debug)]
pub struct Config {
    /// The largest operation on data, in bytes; a multiple of 4096.
    pub request_size: u32,
    /// The most pieces on their way at once.
    pub requests: usize,
    /// The most jobs admitted and not finished.
    pub queue: usize,
    /// The limit on bytes per second.
    pub throttle: Option<Arc<Throttle>>,
    /// A rule to break; for tests of the tests only.
    #[cfg(feature = "mutation")]
    pub mutation: Option<Mutation>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            request_size: 1 << 20,
            requests: 256,
            queue: 4096,
            throttle: None,
            #[cfg(feature = "mutation")]
            mutation: None,
        }
    }
}

impl Config {
    /// Whether a test took this rule away.
    fn breaks(&self, rule: Mutation) -> bool {
        #[cfg(feature = "mutation")]
        return self.mutation == Some(rule);
        #[cfg(not(feature = "mutation"))]
        {
            let _ = rule;
            false
        }
    }
}

/// The job that did not get its pages when it was its turn.
#[derive(Clone, Copy, Debug)]
struct PageWaiter {
    job: JobKey,
    /// Small jobs that were let pass since.
    passed: u32,
}

/// See the module.
#[derive(Debug)]
pub struct Engine {
    config: Config,
    house: House,
    pool: Pool,
    jobs: Table<JobState>,
    pieces: Table<Piece>,
    ops: Ops,
    /// Pieces whose transforms are to be handed out.
    to_compute: VecDeque<PieceKey>,
    queue: RunQueue,
    page_waiter: Option<PageWaiter>,
    /// Zero jobs that hold pages of zeros.
    zero_holders: usize,
    /// Whether there is a short way (see [`plain`]), and how many jobs are under way on it.
    short_way: bool,
    short_pieces: usize,
    finished: VecDeque<Due>,
    devices: Devices,
    stats: Stats,
    /// When throttled pieces may start again.
    wake_at: Option<Time>,
    /// Raised by cancel tokens.
    alarm: Arc<AtomicBool>,
    /// The backend broke with this.
    broken: Option<Errno>,
}

impl Engine {
    /// An engine that works within `pool`.
    pub fn new(config: Config, pool: Pool) -> Self {
        let stats = Stats { pool_pages: u64::from(pool.pages()), ..Stats::default() };
        Self {
            house: House::new(pool.pages(), config.request_size),
            short_way: plain::has_short_way(&config),
            short_pieces: 0,
            config,
            pool,
            jobs: Table::default(),
            pieces: Table::default(),
            ops: Ops::default(),
            to_compute: VecDeque::new(),
            queue: RunQueue::default(),
            page_waiter: None,
            zero_holders: 0,
            finished: VecDeque::new(),
            devices: Devices::default(),
            stats,
            wake_at: None,
            alarm: Arc::new(AtomicBool::new(false)),
            broken: None,
        }
    }

    pub(crate) fn house(&self) -> House {
        self.house
    }

    /// What cancel tokens raise.
    pub(crate) fn alarm(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.alarm)
    }

    /// Whether another job may be admitted.
    pub fn has_room(&self) -> bool {
        self.jobs.len() < self.config.queue
    }

    /// Whether a limit decides when something may start.
    pub(crate) fn is_limited(&self) -> bool {
        self.config.throttle.is_some()
    }

    /// Whether every admitted job has finished and its callback was handed out.
    pub fn is_idle(&self) -> bool {
        self.jobs.is_empty() && self.finished.is_empty()
    }

    /// Operations handed out whose completion has not come.
    pub fn in_flight(&self) -> usize {
        self.ops.in_flight()
    }

    /// The page pool.
    pub fn pool(&self) -> &Pool {
        &self.pool
    }

    /// When to call [`Engine::next_op`] again although nothing completed.
    pub fn deadline(&self) -> Option<Time> {
        self.wake_at
    }

    /// Whether a callback is to be called.
    pub fn has_finished(&self) -> bool {
        !self.finished.is_empty()
    }

    /// Whether an operation was decided on and not yet asked for: the backend was full.
    pub fn has_ready(&self) -> bool {
        self.ops.has_ready()
    }

    /// Whether the backend must be told of something.
    pub(crate) fn has_device_changes(&self) -> bool {
        !self.devices.changes.is_empty()
    }

    /// The next change that the backend must be told of, before the next operation.
    pub fn next_device_change(&mut self) -> Option<DeviceChange> {
        self.devices.changes.pop_front()
    }

    /// Forgets `device` if no job uses it.
    pub fn release(&mut self, device: &crate::Device) {
        self.devices.release(device);
    }

    /// Forgets devices that nobody else has a handle of.
    pub fn sweep_devices(&mut self) {
        self.devices.sweep();
    }

    /// The counters; `syscalls` and `pool_peak_pages` are the caller's to fill in.
    pub fn stats(&self) -> &Stats {
        &self.stats
    }

    /// Counts a callback that panicked.
    pub(crate) fn count_panic(&mut self) {
        self.stats.callback_panics += 1;
    }

    /// Takes in the end of an operation.
    ///
    /// A completion that names no operation in flight is counted and dropped, never believed.
    #[inline(always)] // so that a completion is taken apart where it lies
    pub fn complete(&mut self, completion: Completion) {
        let Completion { id, result, buffer } = completion;
        let Some(op) = self.ops.take(id) else {
            self.stats.stray_completions += 1;
            return;
        };
        match op.role {
            Role::Read { piece, lane } => {
                let Buffer::Exclusive(pages) = buffer else {
                    unreachable!("a read gives its pages back")
                };
                self.read_ended(piece, lane, op, result, pages);
            }
            Role::Write { piece, lane } => {
                let Buffer::Shared(pages) = buffer else {
                    unreachable!("a write gives its pages back")
                };
                self.write_ended(piece, lane, op, result, pages);
            }
            Role::Zero { piece, lane, method } => {
                self.zero_ended(piece, lane, op, method, result);
            }
            Role::Discard { piece, lane } => self.discard_ended(piece, lane, op, result),
            Role::Flush { slot } => self.flush_ended(slot, result.map(drop)),
            Role::ShortRead { job } => {
                let Buffer::Exclusive(pages) = buffer else {
                    unreachable!("a read gives its pages back")
                };
                self.short_read_ended(job, op, result, pages);
            }
            Role::ShortWrite { job, lane } => {
                let Buffer::Shared(pages) = buffer else {
                    unreachable!("a write gives its pages back")
                };
                self.short_write_ended(job, lane, op, result, pages);
            }
        }
    }

    /// The backend broke: everything in flight failed with `errno`, its pages are lost to us.
    ///
    /// The backend must not be used any more; every job ends. What was handed out to be computed has been taken in
    /// before.
    pub fn backend_broke(&mut self, errno: Errno) {
        self.broken = Some(errno);
        self.close_short_way();
        for job in self.jobs.iter_mut() {
            job.halted = true;
        }
        self.ops.forget_ready();
        self.forget_computations();
        while let Some(op) = self.ops.take_any() {
            self.give_up(op, errno);
        }
        // What waits for something that does not come any more: pieces for their gate, jobs for a
        // flush, for their turn, for pages.
        let keys: Vec<JobKey> = self.jobs.iter().map(|(key, _)| key).collect();
        for key in keys {
            self.drop_held_pieces(key);
        }
        while let Some(slot) = self.devices.start_flush() {
            self.flush_ended(slot, Err(errno));
        }
        while let Some(job) = self.queue.pick() {
            self.jobs[job].queued = false;
            self.end_if_done(job);
        }
        if let Some(waiter) = self.page_waiter.take() {
            self.jobs[waiter.job].queued = false;
            self.end_if_done(waiter.job);
        }
    }

    fn give_up(&mut self, op: InFlight, errno: Errno) {
        match op.role {
            Role::Read { piece, lane } => self.read_lost(piece, lane, errno),
            Role::Write { piece, lane }
            | Role::Zero { piece, lane, .. }
            | Role::Discard { piece, lane } => {
                self.write_lost(piece, lane, errno);
            }
            Role::Flush { slot } => self.flush_ended(slot, Err(errno)),
            Role::ShortRead { .. } | Role::ShortWrite { .. } => {
                unreachable!("the short way was closed")
            }
        }
    }

    /// Looks for cancelled jobs, if a token was used since the last time.
    fn look_for_cancelled(&mut self) {
        if !self.alarm.load(Ordering::Relaxed) || !self.alarm.swap(false, Ordering::AcqRel) {
            return;
        }
        let is_cancelled = |job: &JobState| {
            !job.cancelled
                && !job.ended
                && job.job.cancel.as_ref().is_some_and(|token| token.is_cancelled())
        };
        let cancelled: Vec<JobKey> =
            self.jobs.iter().filter(|(_, job)| is_cancelled(job)).map(|(key, _)| key).collect();
        for key in cancelled {
            self.leave_short_way(key, None);
            self.jobs[key].cancelled = true;
            // First halted: what is taken back must not open a gate for what waits behind it.
            self.halt(key);
            self.withdraw_ready(key);
            self.end_if_done(key);
        }
    }

    /// Takes back operations of a cancelled job that were decided on and not yet asked for.
    fn withdraw_ready(&mut self, job: JobKey) {
        let pieces = &self.pieces;
        let is_of_job = |role| match role {
            Role::Read { piece, .. }
            | Role::Write { piece, .. }
            | Role::Zero { piece, .. }
            | Role::Discard { piece, .. } => pieces[piece].job == job,
            Role::Flush { .. } | Role::ShortRead { .. } | Role::ShortWrite { .. } => false,
        };
        for role in self.ops.withdraw(is_of_job) {
            self.withdrawn(role);
        }
    }

    fn withdrawn(&mut self, role: Role) {
        match role {
            Role::Read { piece, lane } => self.drop_read_lane(piece, lane),
            Role::Write { piece, lane }
            | Role::Zero { piece, lane, .. }
            | Role::Discard { piece, lane } => {
                self.drop_write_lane(piece, lane);
            }
            Role::Flush { .. } | Role::ShortRead { .. } | Role::ShortWrite { .. } => {}
        }
    }

    /// Nothing new is started for `key`.
    fn halt(&mut self, key: JobKey) {
        let job = &mut self.jobs[key];
        job.halted = true;
        if job.queued {
            job.queued = false;
            self.queue.remove(key);
        }
        if self.page_waiter.is_some_and(|waiter| waiter.job == key) {
            self.page_waiter = None;
        }
        self.drop_held_pieces(key);
    }

    /// Pieces of a halted job that wait at its gate are not written any more.
    fn drop_held_pieces(&mut self, key: JobKey) {
        if self.jobs[key].gate == Gate::Open {
            return;
        }
        let held: Vec<PieceKey> = self.jobs[key]
            .order()
            .iter()
            .copied()
            .filter(|piece| self.pieces[*piece].phase == Phase::Held)
            .collect();
        for piece in held {
            self.abandon_piece(piece);
        }
    }
}
