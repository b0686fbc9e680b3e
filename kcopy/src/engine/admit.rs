//! Taking a checked job in.

use super::queue::JobKey;
use super::state::{Due, Finished, Gate, JobState, Target};
use super::{Engine, Mutation};
use crate::backend::Slot;
use crate::callback::Callback;
use crate::device::Device;
use crate::door::{SubmitError, Ticket};
use crate::job::{Flags, Job};
use crate::outcome::Outcome;
use crate::split::Direction;
use crate::stats::DeviceStats;
use crate::units::Time;

/// The most devices listed one by one in the statistics.
const MAX_LISTED_DEVICES: usize = 1024;

impl Engine {
    /// Takes in a job that passed the door. Its callback comes out of
    /// [`Engine::next_finished`], later.
    ///
    /// # Errors
    ///
    /// The callback back, if more devices are in use than the backend can know.
    pub(crate) fn admit(
        &mut self,
        job: Job,
        mut ticket: Ticket,
        callback: Callback,
        now: Time,
    ) -> Result<(), (SubmitError, Callback)> {
        if self.config.breaks(Mutation::OverlapForward) {
            ticket.cut.direction = Direction::Forward;
        }
        let (key, _) = self.jobs.insert();
        if !self.enter_devices(key, &job) {
            self.jobs[key].end();
            self.jobs.remove(key);
            return Err((SubmitError::TooManyDevices, callback));
        }
        let state = &mut self.jobs[key];
        state.begin(job, ticket, callback, now);
        let (kind, bytes) = (state.job.kind, ticket.cut.len);
        state.set_span(tracing::debug_span!("job", ?kind, bytes));
        let gate = self.gate_of(key);
        let state = &mut self.jobs[key];
        state.gate = gate;
        state.cancelled = state.job.cancel.as_ref().is_some_and(|token| token.is_cancelled());
        state.halted = state.cancelled;
        state.queued = state.has_more();
        self.stats.jobs_submitted += 1;
        if state.queued {
            let line = state.line();
            self.queue.push_back(key, line);
        } else {
            self.end_if_done(key);
        }
        Ok(())
    }

    /// Puts a prepared callback in line with those of the jobs.
    pub(crate) fn fire(&mut self, callback: Callback, outcome: Outcome, now: Time) {
        self.stats.jobs_submitted += 1;
        let due = Box::new((Finished { callback, outcome }, now));
        self.finished.push_back(Due::Prepared(due));
    }

    /// Enters every device of `job`; `false` (and none entered) if there are too many.
    fn enter_devices(&mut self, key: JobKey, job: &Job) -> bool {
        // No more than it needs: many jobs may wait.
        self.jobs[key].targets.reserve_exact(job.destinations.len());
        for extent in &job.sources {
            let Some(slot) = self.enter(&extent.device) else { return self.leave_devices(key) };
            self.jobs[key].sources.push(slot);
        }
        for destination in &job.destinations {
            let device = &destination.extent.device;
            let Some(slot) = self.enter(device) else { return self.leave_devices(key) };
            self.jobs[key].targets.push(Target::new(slot));
        }
        true
    }

    /// Leaves the devices that were entered.
    fn leave_devices(&mut self, key: JobKey) -> bool {
        let state = &self.jobs[key];
        let targets = state.targets.iter().map(|target| target.slot);
        for slot in state.sources.iter().copied().chain(targets) {
            self.devices.leave(slot);
        }
        false
    }

    fn enter(&mut self, device: &Device) -> Option<Slot> {
        let listed = &mut self.stats.devices;
        self.devices.enter(device, || {
            let id = device.id();
            let place = listed.iter().position(|entry| entry.device == id);
            if place.is_none() && listed.len() < MAX_LISTED_DEVICES {
                listed.push(DeviceStats { device: id, ..DeviceStats::default() });
                return Some(listed.len() - 1);
            }
            place
        })
    }

    fn gate_of(&self, key: JobKey) -> Gate {
        let state: &JobState = &self.jobs[key];
        if state.job.flags.contains(Flags::SEQUENTIAL)
            && !self.config.breaks(Mutation::SequentialUngated)
        {
            Gate::AfterWrites
        } else if state.ticket.overlap && !self.config.breaks(Mutation::OverlapUngated) {
            Gate::AfterReads
        } else {
            Gate::Open
        }
    }
}
