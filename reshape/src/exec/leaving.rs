//! Members that cannot be written or flushed leave the array, if it can do without them.
//!
//! ```text
//!  failed ──▶ enough without it? ──no──▶ the run ends; nothing says that anybody left
//!                  │ yes
//!                  ▼
//!     its absence is durable on all others ──▶ windows and positions go on
//! ```
//!
//! What the others record has two more events than anything that may stand on the one that left, so that it is
//! stale if it comes back, whatever of its last write it kept.

use kcopy::{Fault, Outcome};

use super::mutation::Mutation;
use super::{ExecError, Executor, FailedMember, finish};
use crate::array::{Leg, Record, RecordError, Unwritten, View};
use crate::machine::Event;
use crate::metadata::{DoesNotFit, Role, Superblock, Timestamp};
use crate::mover::{MoveError, Mover};
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
        let enough = |view: &View, counts: fn(&Leg) -> bool| {
            view.geometry().enough(|slot| view.leg(slot).is_some_and(counts))
        };
        // Who is being filled has nothing of the old stripes that are still to be read.
        if kept && enough(&self.old, |leg| leg.good_to.is_none()) && enough(&self.new, |_| true) {
            return Ok(());
        }
        Err(ExecError::TooManyFailed { members: self.failed.clone() })
    }

    /// Makes the new geometry the only one, durably.
    pub(super) fn finish(&mut self) -> Result<(), ExecError> {
        self.catch_up()?;
        match finish(self.mover, self.record, &self.restripe, (self.clock)()) {
            Err(ExecError::Record(RecordError::Unwritten { devices })) => {
                // On all others it is: the old one is needed no more.
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

/// Changes every superblock with `change`, as [`Record::commit`] does. Those that cannot be written leave the array,
/// durably, as long as there is `enough` without them.
///
/// # Errors
///
/// [`ExecError::TooManyFailed`]; or what did not fit: then nothing was written.
pub(super) fn commit_without_failed(
    mover: &mut Mover,
    record: &mut Record,
    now: Timestamp,
    enough: &dyn Fn(&Record) -> bool,
    change: impl FnMut(&mut Superblock) -> Result<(), DoesNotFit>,
) -> Result<Vec<FailedMember>, ExecError> {
    let mut failed = Vec::new();
    while is_shorter(record.catch_up(mover, now), record, enough, &mut failed)? {}
    let mut ended = record.commit(mover, now, change);
    while is_shorter(ended, record, enough, &mut failed)? {
        ended = record.commit(mover, now, |_| Ok(()));
    }
    Ok(failed)
}

/// Whether devices left because of what `ended`.
fn is_shorter(
    ended: Result<(), RecordError>,
    record: &mut Record,
    enough: &dyn Fn(&Record) -> bool,
    failed: &mut Vec<FailedMember>,
) -> Result<bool, ExecError> {
    let devices = match ended {
        Err(RecordError::Unwritten { devices }) => devices,
        ended => return Ok(ended.map(|()| false)?),
    };
    for device in devices {
        let slot = record.entry(device.number).and_then(|e| slot_of(&e.superblock));
        record.drop_device(device.number);
        failed.push(FailedMember { slot, path: device.path, fault: device.fault });
    }
    match enough(record) {
        true => Ok(true),
        false => Err(ExecError::TooManyFailed { members: std::mem::take(failed) }),
    }
}

fn slot_of(superblock: &Superblock) -> Option<Slot> {
    match superblock.role() {
        Role::Active(slot) => Some(slot),
        Role::Spare | Role::Faulty | Role::Journal | Role::Reserved(_) => None,
    }
}
