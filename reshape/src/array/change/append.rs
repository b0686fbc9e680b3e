//! A member is appended to a linear array.

use kcopy::Sectors;

use super::ChangeRefusal;
use crate::array::session::Newcomer;
use crate::array::{ArrayError, RecordError, Session};
use crate::geometry::Level;
use crate::metadata::{Role, Superblock, Timestamp};
use crate::mover::{Durability, Mover};
use crate::units::Slot;

/// The kernel takes no member with less data.
const LEAST_DATA: u64 = 10;

impl Session {
    /// Makes a device the last member of a linear array, which grows by what the device has; gives
    /// its slot. Its content shows up as it is, but for the places where superblocks of other versions
    /// would be: they are wiped.
    ///
    /// # Errors
    ///
    /// Another level, a device that is too small or a member already, or a failed write: then the array is without
    /// it, as before.
    pub fn append(
        &mut self,
        mover: &mut Mover,
        now: Timestamp,
        newcomer: &Newcomer,
    ) -> Result<Slot, ArrayError> {
        let level = self.assembly.level;
        if level != Level::Linear {
            return Err(ChangeRefusal::NotLinear { level }.into());
        }
        let is_newcomer = |device: &kcopy::Device| device.is_same(&newcomer.device);
        if self.record.entries().iter().any(|entry| is_newcomer(&entry.device)) {
            let path = newcomer.device.path().to_owned();
            return Err(ChangeRefusal::Member { path }.into());
        }
        let slot = Slot::new(self.assembly.raid_disks);
        let least = Sectors::new(self.assembly.chunk.get().max(LEAST_DATA));
        let number = self.free_number_for(slot)?;
        self.enlist(mover, now, (number, Some(slot.get())), newcomer, least)?;
        self.prepare(mover, number, newcomer)?;
        self.commit(mover, now, |superblock| {
            if let Superblock::V1(superblock) = superblock
                && superblock.max_dev() <= number
            {
                superblock.set_max_dev(number + 1)?;
            }
            superblock.set_raid_disks(slot.get() + 1);
            superblock.set_role(number, Role::Active(slot))
        })?;
        self.joining = None;
        self.reopen(&[(newcomer.device.clone(), newcomer.bad.clone())])?;
        Ok(slot)
    }

    /// Writes the newcomer's superblock as long as it has no slot: whoever reads it after a crash
    /// finds the array without it, or one event later with it.
    fn prepare(
        &mut self,
        mover: &mut Mover,
        number: u32,
        newcomer: &Newcomer,
    ) -> Result<(), ArrayError> {
        let missing = ArrayError::Inconsistent;
        let entry =
            self.record.entries_mut().iter_mut().find(|e| e.superblock.dev_number() == number);
        let entry = entry.ok_or(missing)?;
        entry.superblock.set_role(number, Role::Spare).map_err(RecordError::from)?;
        let at = entry.superblock.at().checked_bytes().ok_or(ArrayError::Inconsistent)?;
        let mut bytes = entry.superblock.to_bytes();
        let block = usize::try_from(newcomer.device.facts().logical_block).unwrap_or(512);
        bytes.truncate(entry.superblock.write_length(block));
        mover.write(&newcomer.device, at, bytes, Durability::Now).map_err(Self::refused)
    }
}
