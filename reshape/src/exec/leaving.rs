//! Members that cannot be written or flushed leave the array, if it can do without them.
//!
//! A window, a flush or a superblock: see [`crate::array::leaving`] for the order. Windows and positions go on when the
//! absence is durable on all others.
//!
//! A full file system under a member is no failure of it: nobody leaves, and the run ends ([`ExecError::NoRoom`]).
//! All that was written since the last record is moved anew, as after a loss of power.

use kcopy::{Fault, Outcome};

use super::mutation::Mutation;
use super::{ExecError, Executor, FailedMember, Flight, finish};
use crate::array::leaving::{expect_room, slot_of};
use crate::array::{Leg, Record, RecordError, Unwritten, View};
use crate::machine::Event;
use crate::mover::MoveError;
use crate::units::Slot;

impl Executor<'_> {
    /// A window's new stripes were written, or the members were flushed: those where it failed leave.
    pub(super) fn members_answered(
        &mut self,
        slots: &[Slot],
        outcome: &Outcome,
    ) -> Result<(), ExecError> {
        let ends = slots.iter().zip(&outcome.destinations);
        let faults = ends.filter_map(|(slot, end)| end.error.map(|fault| (*slot, fault)));
        let failed: Vec<FailedMember> =
            faults.filter_map(|(slot, fault)| self.failed_member(slot, fault)).collect();
        if failed.is_empty() || self.rules.lack(Mutation::FailureIgnored) {
            return if outcome.cancelled { Err(MoveError::Cancelled.into()) } else { Ok(()) };
        }
        self.leave_out(failed)
    }

    /// The backup was written or flushed: members that keep it and failed leave, as long as it is kept elsewhere.
    pub(super) fn backup_written(
        &mut self,
        flight: &Flight,
        outcome: &Outcome,
        event: Event,
    ) -> Result<Event, ExecError> {
        let mut failed: Vec<FailedMember> = Vec::new();
        for (path, end) in flight.keeps.iter().zip(&outcome.destinations) {
            let Some(fault) = end.error else { continue };
            // One that has left meanwhile keeps it no more.
            let keeps = self.backup_mut()?.devices().any(|device| device.path() == path);
            if keeps && failed.iter().all(|member| member.path != *path) {
                let mut entries = self.record.entries().iter();
                let own = entries.find(|entry| entry.device.path() == path);
                let slot = own.and_then(|entry| slot_of(&entry.superblock));
                failed.push(FailedMember { slot, path: path.clone(), fault });
            }
        }
        let Some(first) = failed.first().cloned() else {
            return if outcome.cancelled { Err(MoveError::Cancelled.into()) } else { Ok(event) };
        };
        let is_lost = |device: &kcopy::Device| failed.iter().any(|m| m.path == device.path());
        if self.backup_mut()?.devices().all(is_lost) {
            return Err(ExecError::Backup { path: first.path, fault: first.fault });
        }
        // Also one that could not even be read when the run began: it has no slot here, and is to be stale.
        self.leave_out(failed)?;
        Ok(event)
    }

    /// `None` if the member has left before.
    fn failed_member(&self, slot: Slot, fault: Fault) -> Option<FailedMember> {
        let leg = self.new.leg(slot).or_else(|| self.old.leg(slot))?;
        Some(FailedMember { slot: Some(slot), path: leg.device.path().to_owned(), fault })
    }

    /// Members that failed leave the array, durably.
    fn leave_out(&mut self, failed: Vec<FailedMember>) -> Result<(), ExecError> {
        let slots: Vec<Slot> = failed.iter().filter_map(|member| member.slot).collect();
        self.take_out(failed)?;
        self.await_record()?;
        for slot in slots {
            if let Some(number) = self.record.number_in(slot) {
                self.record.drop_device(number);
            }
        }
        self.record_absence()
    }

    /// Superblocks that could not be written: their devices leave. The record can be changed again; the absence
    /// is still to be recorded.
    pub(super) fn leave_unwritten(&mut self, unwritten: &[Unwritten]) -> Result<(), ExecError> {
        let failed = unwritten.iter().filter_map(|device| {
            match slot_of(&self.record.entry(device.number)?.superblock) {
                Some(slot) => self.failed_member(slot, device.fault),
                None => {
                    let path = device.path.clone();
                    Some(FailedMember { slot: None, path, fault: device.fault })
                }
            }
        });
        let failed = failed.collect();
        self.take_out(failed)?;
        unwritten.iter().for_each(|device| self.record.drop_device(device.number));
        Ok(())
    }

    /// What has failed takes no part any more.
    fn take_out(&mut self, failed: Vec<FailedMember>) -> Result<(), ExecError> {
        if !self.rules.lack(Mutation::FullLeaves) {
            expect_room(&failed)?;
        }
        for slot in failed.iter().filter_map(|member| member.slot) {
            self.old.set_leg(slot, None);
            self.new.set_leg(slot, None);
        }
        for member in &failed {
            tracing::warn!(%member, "a member left the array");
        }
        // A backup on spares is written no more where it cannot be; one has to keep it.
        let kept = self
            .backup
            .as_mut()
            .is_none_or(|backup| failed.iter().all(|member| backup.goes_on_without(&member.path)));
        let kept = kept || !self.restripe.needs_backup_from(self.machine.recorded());
        self.failed.extend(failed);
        // Before anything is recorded: with all of them there is an array that may go on later.
        if kept && is_enough((&self.old, &self.new), |_| true) {
            return Ok(());
        }
        Err(ExecError::TooManyFailed { members: self.failed.clone() })
    }

    /// Makes the new geometry the only one, durably.
    pub(super) fn finish(&mut self) -> Result<(), ExecError> {
        self.catch_up()?;
        match finish(self.mover, self.record, &self.restripe, (self.clock)()) {
            Err(ExecError::Record(RecordError::Unwritten { devices })) => {
                // On all others it is: the old one is needed no more, and whoever was being filled is full.
                for slot in (0..self.new.geometry().raid_disks()).map(Slot::new) {
                    if let Some(leg) = self.new.leg_mut(slot) {
                        leg.good_to = None;
                    }
                }
                self.old = self.new.clone();
                self.leave_unwritten(&devices)?;
                self.record_absence()?;
            }
            ended => ended?,
        }
        self.machine.handle(Event::Finished);
        Ok(())
    }

    /// Makes those who left no members any more, durably.
    pub(super) fn record_absence(&mut self) -> Result<(), ExecError> {
        loop {
            match self.record.commit(self.mover, (self.clock)(), |_| Ok(())) {
                Err(RecordError::Unwritten { devices }) => self.leave_unwritten(&devices)?,
                ended => return Ok(ended?),
            }
        }
    }

    /// What has to be durable before the superblocks change: see [`crate::array::Record::catch_up`].
    pub(super) fn catch_up(&mut self) -> Result<(), ExecError> {
        loop {
            match self.record.catch_up(self.mover, (self.clock)()) {
                Err(RecordError::Unwritten { devices }) => self.leave_unwritten(&devices)?,
                ended => return Ok(ended?),
            }
        }
    }
}

/// Whether a reshape from old to new can go on with the members of both views for which `is_there` holds.
pub(super) fn is_enough((old, new): (&View, &View), is_there: impl Fn(Slot) -> bool) -> bool {
    let enough = |view: &View, counts: fn(&Leg) -> bool| {
        view.geometry().enough(|slot| view.leg(slot).is_some_and(counts) && is_there(slot))
    };
    // Who is being filled has nothing of the old stripes that are still to be read.
    enough(old, |leg| leg.good_to.is_none()) && enough(new, |_| true)
}

/// The same with the devices of `record`.
pub(crate) fn is_enough_of(views: (&View, &View), record: &Record) -> bool {
    is_enough(views, |slot| record.number_in(slot).is_some())
}
