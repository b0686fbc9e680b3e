//! Taking a checked job in.

use super::devices::Devices;
use super::plain::{Short, fits_short_way, is_plain};
use super::state::{Due, Gate, JobState, Prepared, Target};
use super::{Config, Engine, Mutation};
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
    /// `next_finished`, later.
    ///
    /// # Errors
    ///
    /// The callback back, if more devices are in use than the backend can know.
    #[inline(always)] // so that a job is made where it will be kept
    pub(crate) fn admit(
        &mut self,
        job: Job,
        ticket: Ticket,
        callback: Callback,
        now: Time,
    ) -> Result<(), (SubmitError, Callback)> {
        if !self.short_way || !fits_short_way(&job, &ticket) {
            return self.admit_any(job, ticket, callback, now);
        }
        let Self { jobs, devices, stats, .. } = self;
        let list = |device: &Device| list(&mut stats.devices, device);
        let Some(short) = Short::enter(&job, devices, list) else {
            return Err((SubmitError::TooManyDevices, callback));
        };
        let (key, state) = jobs.insert();
        state.short = short;
        state.begin(job, ticket, callback, now);
        state.plain = true;
        state.queued = true;
        self.queue.push_back(key, state.line());
        self.stats.jobs_submitted += 1;
        Ok(())
    }

    /// The same for all that the short way is not for.
    #[inline(never)]
    fn admit_any(
        &mut self,
        job: Job,
        mut ticket: Ticket,
        callback: Callback,
        now: Time,
    ) -> Result<(), (SubmitError, Callback)> {
        if self.config.breaks(Mutation::OverlapForward) {
            ticket.cut.direction = Direction::Forward;
        }
        let Self { jobs, devices, stats, .. } = self;
        let (key, state) = jobs.insert();
        if !enter_devices(state, &job, devices, &mut stats.devices) {
            state.end();
            jobs.remove(key);
            return Err((SubmitError::TooManyDevices, callback));
        }
        state.begin(job, ticket, callback, now);
        state.plain = is_plain(&state.job, &ticket);
        self.stats.jobs_submitted += 1;
        let (kind, bytes) = (state.job.kind, ticket.cut.len);
        state.set_span(tracing::debug_span!("job", ?kind, bytes));
        state.gate = gate_of(&self.config, state);
        state.cancelled = state.job.cancel.as_ref().is_some_and(|token| token.is_cancelled());
        state.halted = state.cancelled;
        state.queued = state.has_more();
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
        let due = Box::new(Prepared { callback, outcome, since: now });
        self.finished.push_back(Due::Prepared(due));
    }
}

fn gate_of(config: &Config, state: &JobState) -> Gate {
    if state.job.flags.contains(Flags::SEQUENTIAL) && !config.breaks(Mutation::SequentialUngated) {
        Gate::AfterWrites
    } else if state.ticket.overlap && !config.breaks(Mutation::OverlapUngated) {
        Gate::AfterReads
    } else {
        Gate::Open
    }
}

/// Enters every device of `job` for `state`; `false` (and none entered) if there are too many.
fn enter_devices(
    state: &mut JobState,
    job: &Job,
    devices: &mut Devices,
    listed: &mut Vec<DeviceStats>,
) -> bool {
    let JobState { sources, targets, .. } = state;
    // No more than it needs: many jobs may wait.
    targets.reserve_exact(job.destinations.len());
    let mut enter = |device| devices.enter(device, || list(listed, device));
    for extent in &job.sources {
        let Some(slot) = enter(&extent.device) else { return leave_devices(state, devices) };
        sources.push(slot);
    }
    for destination in &job.destinations {
        let device = &destination.extent.device;
        let Some(slot) = enter(device) else { return leave_devices(state, devices) };
        targets.push(Target::new(slot));
    }
    true
}

/// Leaves the devices that were entered.
#[cold]
fn leave_devices(state: &JobState, devices: &mut Devices) -> bool {
    let targets = state.targets.iter().map(|target| target.slot);
    for slot in state.sources.iter().copied().chain(targets) {
        devices.leave(slot);
    }
    false
}

/// The place of `device` in the statistics, a new one if there is room.
fn list(listed: &mut Vec<DeviceStats>, device: &Device) -> Option<usize> {
    let id = device.id();
    let place = listed.iter().position(|entry| entry.device == id);
    if place.is_none() && listed.len() < MAX_LISTED_DEVICES {
        listed.push(DeviceStats { device: id, ..DeviceStats::default() });
        return Some(listed.len() - 1);
    }
    place
}
