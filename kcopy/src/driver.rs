//! The engine thread of a client: takes submissions in, turns the service, ends when told to.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::Waker;
use std::time::Duration;

use crossbeam_channel::{Receiver, TryRecvError};

use crate::backend::Backend;
use crate::callback::Callback;
use crate::device::Device;
use crate::door::Ticket;
use crate::doorbell::Doorbell;
use crate::job::Job;
use crate::outcome::Outcome;
use crate::service::LocalClient;
use crate::stats::Stats;

/// Submissions taken in one turn, at most, so that completions are looked at in between.
const INTAKE_PER_TURN: usize = 256;

/// A job on its way to the engine.
#[derive(Debug)]
pub(crate) struct Submission {
    pub(crate) job: Job,
    pub(crate) ticket: Ticket,
    pub(crate) callback: Callback,
}

/// Everything else a client asks of its engine.
#[derive(Debug)]
pub(crate) enum Control {
    /// Call a prepared callback.
    Fire(Callback, Box<Outcome>),
    /// Let go of a device.
    Release(Device),
    /// End when everything accepted has been answered.
    Close,
}

/// What the threads of a client share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) doorbell: Doorbell,
    /// Callers inside a submit call: see [`Shared::enter`].
    submitting: AtomicUsize,
    pub(crate) stats: Mutex<Stats>,
    /// Tasks that wait for room in the queue.
    pub(crate) waiting: Mutex<Vec<Waker>>,
}

impl Shared {
    pub(crate) fn new() -> Self {
        Self {
            doorbell: Doorbell::new(),
            submitting: AtomicUsize::new(0),
            stats: Mutex::default(),
            waiting: Mutex::default(),
        }
    }

    /// A caller is about to look whether the client is closed and to send a job, until the guard is
    /// dropped.
    ///
    /// The engine thread does not end while somebody is inside: a bounded channel keeps what was
    /// sent to it when its receiver goes, and such a job would never be answered. One who enters
    /// after the engine has looked finds the client closed (both sides are sequentially
    /// consistent).
    pub(crate) fn enter(&self) -> Submitting<'_> {
        self.submitting.fetch_add(1, Ordering::SeqCst);
        Submitting(&self.submitting)
    }

    fn nobody_submits(&self) -> bool {
        self.submitting.load(Ordering::SeqCst) == 0
    }

    /// Wakes the tasks that wait for room.
    fn room_was_made(&self) {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        let tasks = std::mem::take(&mut *waiting);
        drop(waiting);
        for task in tasks {
            task.wake();
        }
    }
}

/// A caller inside a submit call.
#[derive(Debug)]
pub(crate) struct Submitting<'a>(&'a AtomicUsize);

impl Drop for Submitting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

/// The engine thread.
#[derive(Debug)]
pub(crate) struct Driver {
    pub(crate) service: LocalClient<Box<dyn Backend>>,
    pub(crate) jobs: Receiver<Submission>,
    pub(crate) control: Receiver<Control>,
    pub(crate) shared: Arc<Shared>,
    /// The client was closed.
    pub(crate) closing: bool,
}

impl Driver {
    /// Runs until the client is closed and every accepted job has been answered.
    pub(crate) fn run(mut self) {
        loop {
            self.take_control();
            // Looked at before the queue: what they sent is then seen there.
            let last = self.closing && self.shared.nobody_submits();
            let taken = self.take_jobs();
            if taken > 0 {
                self.shared.room_was_made();
            }
            if last && taken == 0 && self.service.is_idle() && self.nothing_waits() {
                break;
            }
            if self.closing && !last {
                // Somebody is about to send: let them.
                std::thread::yield_now();
            }
            self.turn();
        }
        self.refuse_the_rest();
        self.publish();
    }

    /// One turn of the service; waits only if there is nothing else to do.
    fn turn(&mut self) {
        if self.service.is_idle() {
            self.service.engine_mut().sweep_devices();
        }
        self.shared.doorbell.doze();
        let must_look = !self.nothing_waits() || (self.closing && self.service.is_idle());
        let timeout = if must_look { Some(Duration::ZERO) } else { None };
        let result = self.service.exchange(timeout);
        self.shared.doorbell.rise();
        if result.is_err() && self.service.is_idle() && self.nothing_waits() {
            // The backend broke and all jobs were answered: what comes now is refused, calmly.
            if let Ok(control) = self.control.recv_timeout(Duration::from_millis(10)) {
                self.obey(control);
            }
        }
        self.publish();
        self.service.call_back();
    }

    /// Whether nothing that could be taken in waits.
    fn nothing_waits(&self) -> bool {
        self.control.is_empty() && (self.jobs.is_empty() || !self.service.has_room())
    }

    fn take_jobs(&mut self) -> usize {
        for taken in 0..INTAKE_PER_TURN {
            if !self.service.has_room() {
                return taken;
            }
            match self.jobs.try_recv() {
                Ok(Submission { job, ticket, callback }) => {
                    if let Err((error, callback)) = self.service.admit(job, ticket, callback) {
                        tracing::error!(%error, "a job could not be taken in");
                        drop(callback);
                    }
                }
                Err(TryRecvError::Empty | TryRecvError::Disconnected) => return taken,
            }
        }
        INTAKE_PER_TURN
    }

    fn take_control(&mut self) {
        while let Ok(control) = self.control.try_recv() {
            self.obey(control);
        }
    }

    fn obey(&mut self, control: Control) {
        match control {
            Control::Fire(callback, outcome) => self.service.fire(callback, *outcome),
            Control::Release(device) => self.service.engine_mut().release(&device),
            Control::Close => self.closing = true,
        }
    }

    /// Makes the counters visible; before callbacks, so that these find themselves counted.
    fn publish(&self) {
        let mut stats = self.shared.stats.lock().unwrap_or_else(PoisonError::into_inner);
        self.service.stats_into(&mut stats);
    }

    /// Answers what slipped in while the client was being closed, as cancelled.
    fn refuse_the_rest(&mut self) {
        while let Ok(submission) = self.jobs.try_recv() {
            drop(submission);
        }
        while let Ok(control) = self.control.try_recv() {
            if let Control::Fire(callback, outcome) = control {
                callback.call(&mut { *outcome });
            }
        }
    }
}
