//! A reshape that is recorded and cannot go on, as members are missing that the new geometry cannot do without: where
//! nothing was moved yet it is taken back.
//!
//! The array can be read all the same as long as the old geometry can do without them; nobody may move anything, as
//! what went to the new places of those members would be lost.

use super::leaving::is_enough;
use super::{ExecError, FailedMember, Ground, Ongoing};
use crate::array::Record;
use crate::array::leaving::commit_without_failed;
use crate::metadata::{Role, Superblock, Timestamp};
use crate::mover::Mover;
use crate::units::Slot;

impl Ongoing {
    /// Whether the members that are there are enough for both geometries.
    ///
    /// # Errors
    ///
    /// [`ExecError::TooFew`].
    pub fn expect_enough(&self) -> Result<(), ExecError> {
        if is_enough((&self.old, &self.new), |_| true) {
            return Ok(());
        }
        let slots = (0..self.new.geometry().raid_disks()).map(Slot::new);
        Err(ExecError::TooFew {
            slots: slots.filter(|slot| self.new.leg(*slot).is_none()).collect(),
        })
    }

    /// Whether it stands where it begins. Something may have been overwritten there, if that was saved before.
    pub fn is_at_its_start(&self) -> bool {
        self.restripe.track.distance(self.position()) == Some(0)
    }

    /// Takes the record of a reshape back that has moved nothing, as `ground` proves. Who was to be added is a spare
    /// again; the array is what it was before.
    ///
    /// Returns the members that could not be written, and so left the array.
    ///
    /// # Errors
    ///
    /// [`ExecError::Moved`]: nothing was written. Or failed writes.
    pub fn take_back(
        &mut self,
        mover: &mut Mover,
        ground: Ground,
        now: Timestamp,
    ) -> Result<Vec<FailedMember>, ExecError> {
        let is_sure = match ground {
            Ground::Members | Ground::Witnessed(_) | Ground::NothingSaved | Ground::Content => true,
            Ground::Restored { .. } | Ground::Blind => false,
        };
        if !is_sure || !self.is_at_its_start() {
            return Err(ExecError::Moved { position: self.position() });
        }
        self.take_back_unmoved(mover, now)
    }

    /// The same where whoever asks knows that nothing was moved.
    pub(super) fn take_back_unmoved(
        &mut self,
        mover: &mut Mover,
        now: Timestamp,
    ) -> Result<Vec<FailedMember>, ExecError> {
        let old = self.restripe.old.clone();
        let enough = |record: &Record| {
            old.enough(|slot| {
                let is_whole = self.old.leg(slot).is_some_and(|leg| leg.good_to.is_none());
                is_whole && record.number_in(slot).is_some()
            })
        };
        let added = self.added();
        let change = |superblock: &mut Superblock| {
            superblock.clear_reshape();
            superblock.set_raid_disks(old.raid_disks());
            if let Superblock::V1(superblock) = superblock
                && added.contains(&superblock.dev_number())
            {
                superblock.set_recovery_offset(None);
            }
            added.iter().try_for_each(|number| superblock.set_role(*number, Role::Spare))
        };
        let failed = commit_without_failed(mover, &mut self.record, now, &enough, change)?;
        self.failed.extend(failed.clone());
        Ok(failed)
    }

    /// The numbers of those that are there and were to be added.
    fn added(&self) -> Vec<u32> {
        let is_old = |slot: Slot| self.old.leg(slot).is_some_and(|leg| leg.good_to.is_none());
        let slots = (0..self.new.geometry().raid_disks()).map(Slot::new);
        slots.filter(|slot| !is_old(*slot)).filter_map(|slot| self.record.number_in(slot)).collect()
    }
}
