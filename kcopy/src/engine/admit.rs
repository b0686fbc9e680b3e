//! Taking a checked job in.

use super::state::{Gate, JobState, Target};
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

use super::state::Finished;

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
        let mut state = JobState::new(job, ticket, callback, now);
        if let Err(entered) = self.enter_devices(&mut state) {
            for slot in entered {
                self.devices.leave(slot);
            }
            return Err((SubmitError::TooManyDevices, state.callback));
        }
        state.gate = self.gate_of(&state);
        state.span = tracing::debug_span!("job", kind = ?state.job.kind, bytes = ticket.cut.len);
        self.stats.jobs_submitted += 1;
        let priority = state.job.priority;
        let queued = state.has_more();
        state.queued = queued;
        let key = self.jobs.insert(state);
        if self.jobs[key].job.cancel.as_ref().is_some_and(|token| token.is_cancelled()) {
            let job = &mut self.jobs[key];
            (job.cancelled, job.halted, job.queued) = (true, true, false);
            self.end_if_done(key);
        } else if queued {
            self.queue.push_back(key, priority);
        } else {
            self.end_if_done(key);
        }
        Ok(())
    }

    /// Puts a prepared callback in line with those of the jobs.
    pub(crate) fn fire(&mut self, callback: Callback, outcome: Outcome, now: Time) {
        self.stats.jobs_submitted += 1;
        self.finished.push_back(Finished { callback, outcome, since: now });
    }

    fn enter_devices(&mut self, state: &mut JobState) -> Result<(), Vec<Slot>> {
        let mut entered = Vec::new();
        for extent in &state.job.sources {
            let slot = self.enter(&extent.device).ok_or_else(|| state.sources.to_vec())?;
            state.sources.push(slot);
        }
        for destination in &state.job.destinations {
            let Some(slot) = self.enter(&destination.extent.device) else {
                entered.extend(state.sources.iter().copied());
                entered.extend(state.targets.iter().map(|target| target.slot));
                return Err(entered);
            };
            state.targets.push(Target::new(slot));
        }
        Ok(())
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

    fn gate_of(&self, state: &JobState) -> Gate {
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
