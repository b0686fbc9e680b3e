//! Positions in the superblocks: written by jobs among the others, so that nothing waits for them that
//! need not.

use std::collections::VecDeque;

use kcopy::Outcome;

use super::mutation::Mutation;
use super::{ExecError, Executor, Flight, Restripe};
use crate::array::{ArrayError, RecordError};
use crate::machine::{Action, Event};
use crate::metadata::{Direction, DoesNotFit, Superblock};
use crate::units::{ArraySector, MemberSector};

impl Executor<'_> {
    /// Begins to write a position into every superblock.
    pub(super) fn begin_record(
        &mut self,
        action: Action,
        position: ArraySector,
    ) -> Result<(), ExecError> {
        let now = (self.clock)();
        self.recorded_at = self.mover.ended_at();
        if self.rules.lack(Mutation::RecordOnOne) {
            let others: Vec<u32> =
                self.record.entries().iter().skip(1).map(|e| e.superblock.dev_number()).collect();
            others.into_iter().for_each(|number| self.record.drop_device(number));
        }
        let position = match self.rules.lack(Mutation::RecordLate) {
            true => self.late.replace(position),
            false => Some(position),
        };
        let Some(position) = position else {
            self.machine.handle(Event::Recorded);
            return Ok(());
        };
        self.catch_up()?;
        let tell = tell_position(&self.restripe, position);
        let jobs = self.record.commit_jobs(self.mover, now, tell)?;
        if jobs.is_empty() {
            // Nobody is left to record it on.
            return Err(ArrayError::Inconsistent.into());
        }
        self.recording = jobs.iter().map(|_| None).collect();
        for (index, job) in jobs.into_iter().enumerate() {
            self.take_off(Flight { action, slots: Vec::new(), index, keeps: Vec::new() }, job)?;
        }
        Ok(())
    }

    /// One of the jobs that record a position has ended; whether it was the last, and the position is durable on
    /// all members that are left.
    pub(super) fn recorded(
        &mut self,
        flight: &Flight,
        outcome: Outcome,
    ) -> Result<bool, ExecError> {
        *self.recording.get_mut(flight.index).ok_or(ArrayError::Inconsistent)? = Some(outcome);
        if self.recording.iter().any(Option::is_none) {
            return Ok(false);
        }
        let outcomes: Vec<Outcome> = self.recording.drain(..).flatten().collect();
        match self.record.written(&outcomes) {
            Err(RecordError::Unwritten { devices }) => {
                self.leave_unwritten(&devices)?;
                self.record_absence()?;
            }
            ended => ended?,
        }
        self.checkpoints.add(self.checkpoint_at, self.mover.ended_at());
        tracing::debug!(count = self.checkpoints.count, "position recorded");
        Ok(true)
    }

    /// Waits until a position that is being recorded is; whatever else ends meanwhile is looked at later.
    pub(super) fn await_record(&mut self) -> Result<(), ExecError> {
        let mut others = VecDeque::new();
        while !self.recording.is_empty() {
            let landed = self.landed.pop_front().map(Ok).or_else(|| self.land().transpose());
            let (flight, outcome) = landed.transpose()?.ok_or(ArrayError::Inconsistent)?;
            match flight.action {
                Action::Record(_) => {
                    if self.recorded(&flight, outcome)? {
                        self.machine.handle(Event::Recorded);
                    }
                }
                Action::Read(..)
                | Action::Save(..)
                | Action::FlushBackup
                | Action::WriteHeader(_)
                | Action::Write(..)
                | Action::FlushMembers
                | Action::Finish => others.push_back((flight, outcome)),
            }
        }
        self.landed.append(&mut others);
        Ok(())
    }
}

/// Puts a position into a superblock; members that are being filled are good up to it.
pub(super) fn tell_position(
    restripe: &Restripe,
    position: ArraySector,
) -> impl FnMut(&mut Superblock) -> Result<(), DoesNotFit> + use<> {
    let good = match (restripe.track.direction, restripe.new.stripes()) {
        (Direction::Forwards, Some(stripes)) => {
            let data = u64::from(stripes.data_disks());
            Some(MemberSector::new(position.get() / data))
        }
        (Direction::Forwards | Direction::Backwards, _) => None,
    };
    move |superblock| {
        if let Some(mut reshape) = superblock.reshape() {
            reshape.position = position;
            superblock.set_reshape(&reshape)?;
        }
        if let (Superblock::V1(superblock), Some(good)) = (superblock, good)
            && superblock.recovery_offset().is_some()
        {
            superblock.set_recovery_offset(Some(good));
        }
        Ok(())
    }
}
