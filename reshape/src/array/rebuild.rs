//! Rebuilding: a new device takes a slot that is empty, or a member that was being rebuilt is finished.
//!
//! ```text
//!  0. in 0.90: the slot is empty, superblocks of all others
//!  1. wipe superblocks of other versions on the newcomer; bitmap; flush
//!  2. superblocks of all: the newcomer has the slot, good up to 0
//!  3. spans of rows, computed from all others; every so often flush, then "good up to here"
//!  4. flush, superblocks: in sync
//! ```
//!
//! In 0.90 there is no "good up to": the newcomer is a spare until step 4, and begins anew after a
//! crash.
//!
//! A newcomer that fails leaves its slot empty again, durably.

use kcopy::{Device, Sectors};

use super::leaving::FailedMember;
use super::session::{Joining, Newcomer, set_failed};
use super::{Array, ArrayError, Entry, Leg, Map, Session};
use crate::metadata::{Features, Role, Superblock, Timestamp, Version};
use crate::mover::{MoveError, Mover};
use crate::units::{MemberSector, Slot};

/// Sectors of the member between two records of how far it is good: 2 GiB.
const RECORD_EVERY: u64 = 4 << 20;

impl Session {
    /// Makes a device the member of an empty slot and computes its content.
    ///
    /// `moved` is called with the bytes written so far; it returns false to stop: what was recorded
    /// last holds, and [`Session::finish_rebuild`] goes on from there.
    ///
    /// # Errors
    ///
    /// A slot that is not empty, a device that is too small, content that cannot be computed, failed
    /// writes, or [`MoveError::Cancelled`].
    pub fn rebuild(
        &mut self,
        mover: &mut Mover,
        now: Timestamp,
        slot: Slot,
        newcomer: &Newcomer,
        moved: &mut dyn FnMut(u64) -> bool,
    ) -> Result<(), ArrayError> {
        let view = self.array.view().ok_or(ArrayError::Reshaping)?;
        if view.leg(slot).is_some() || slot.get() >= view.geometry().raid_disks() {
            return Err(ArrayError::SlotTaken { slot });
        }
        let component = view.geometry().component();
        self.joining = None;
        self.give_up(mover, now, slot, newcomer)?;
        let number = match self.record.entries().iter().find(|e| e.device.is_same(&newcomer.device))
        {
            // A spare of this array has its superblock already.
            Some(entry) => entry.superblock.dev_number(),
            None => {
                let number = self.free_number_for(slot)?;
                self.enlist(mover, now, (number, None), newcomer, component)?;
                number
            }
        };
        self.joins(number, &newcomer.device, None);
        let device = newcomer.device.clone();
        let data_offset = self.superblock_of(number)?.data_offset();
        self.announce(mover, now, number, slot)?;
        let leg = Leg {
            device,
            data_offset,
            good_to: Some(MemberSector::new(0)),
            bad: newcomer.bad.clone(),
        };
        self.array.set_member(slot, leg);
        self.fill(mover, now, number, slot, moved)
    }

    /// Makes a device a spare of the array.
    ///
    /// # Errors
    ///
    /// A device that is too small, no number left for it, failed writes.
    pub fn add_spare(
        &mut self,
        mover: &mut Mover,
        now: Timestamp,
        newcomer: &Newcomer,
    ) -> Result<(), ArrayError> {
        let component = self.assembly.component;
        let number = match self.assembly.version {
            Version::V0 => self.number_behind(),
            Version::V1(_) => self.record.free_number()?,
        };
        self.enlist(mover, now, (number, None), newcomer, component)?;
        self.commit(mover, now, |superblock| {
            if let Superblock::V1(superblock) = superblock
                && superblock.max_dev() <= number
            {
                superblock.set_max_dev(number + 1)?;
            }
            superblock.set_role(number, Role::Spare)?;
            match superblock {
                Superblock::V0(superblock) if superblock.this_disk().number == number => {
                    superblock.set_this_disk(number)
                }
                Superblock::V0(_) | Superblock::V1(_) => Ok(()),
            }
        })?;
        self.joining = None;
        Ok(())
    }

    /// Goes on with the rebuild of a member that is good up to a place only.
    ///
    /// # Errors
    ///
    /// As [`Session::rebuild`].
    pub fn finish_rebuild(
        &mut self,
        mover: &mut Mover,
        now: Timestamp,
        slot: Slot,
        moved: &mut dyn FnMut(u64) -> bool,
    ) -> Result<(), ArrayError> {
        let number = self.record.number_in(slot).ok_or(ArrayError::Inconsistent)?;
        let entry = self.record.entry(number).ok_or(ArrayError::Inconsistent)?;
        let device = entry.device.clone();
        self.joins(number, &device, None);
        self.fill(mover, now, number, slot, moved)
    }

    /// From here on a device is about to become a member: see [`Joining`].
    fn joins(&mut self, number: u32, device: &Device, appended_to: Option<u32>) {
        let path = device.path().to_owned();
        self.joining = Some(Joining { number, path, appended_to });
    }

    fn superblock_of(&self, number: u32) -> Result<&Superblock, ArrayError> {
        Ok(&self.record.entry(number).ok_or(ArrayError::Inconsistent)?.superblock)
    }

    /// A number for a new member of `slot`.
    pub(super) fn free_number_for(&self, slot: Slot) -> Result<u32, ArrayError> {
        Ok(match self.assembly.version {
            // In 0.90 the member of a slot has the slot's number, if no other member goes by it.
            Version::V0 if self.record.entry(slot.get()).is_none() => slot.get(),
            Version::V0 => self.number_behind(),
            Version::V1(_) => self.record.free_number()?,
        })
    }

    /// A number behind those of the slots that no device has, for 0.90.
    fn number_behind(&self) -> u32 {
        let taken = |number: &u32| self.record.entry(*number).is_some();
        let mut behind = self.assembly.raid_disks..;
        behind.find(|number| !taken(number)).unwrap_or(u32::MAX)
    }

    /// In 0.90 a member is known by its slot. Whoever had this one is counted out before another
    /// device goes by the same number: without "good up to" nothing else would tell them apart.
    fn give_up(
        &mut self,
        mover: &mut Mover,
        now: Timestamp,
        slot: Slot,
        newcomer: &Newcomer,
    ) -> Result<(), ArrayError> {
        let component = self.assembly.component.get();
        // One that is too small will be refused, and then nothing is to have changed.
        let fits = Version::V0.place(newcomer.size()).is_ok_and(|at| at.get() >= component);
        let role = self.record.entries().first().and_then(|e| e.superblock.role_of(slot.get()));
        let taken = role == Some(Role::Active(slot));
        if taken && fits && self.assembly.version == Version::V0 {
            let number = slot.get();
            self.commit(mover, now, |superblock| set_failed(superblock, number, slot))?;
        }
        Ok(())
    }

    /// Whether a device has room for what the member of `slot` holds; nothing is written. A device
    /// that is a member already has been measured when it became one.
    ///
    /// # Errors
    ///
    /// A device that is too small, or no number left for it.
    pub fn check_newcomer(&self, slot: Slot, newcomer: &Newcomer) -> Result<(), ArrayError> {
        if self.record.entries().iter().any(|entry| entry.device.is_same(&newcomer.device)) {
            return Ok(());
        }
        let number = self.free_number_for(slot)?;
        self.seat(number, newcomer, self.assembly.component).map(drop)
    }

    /// The superblock that a device would have as a member, if it has room for one.
    fn seat(
        &self,
        number: u32,
        newcomer: &Newcomer,
        component: Sectors,
    ) -> Result<Superblock, ArrayError> {
        let mut superblock = self.record.newcomer(number, newcomer.uuid)?;
        let path = || newcomer.device.path().to_owned();
        let size = newcomer.size();
        let too_small = |needed| ArrayError::TooSmall { path: path(), size, needed };
        let place = superblock.version().place(size);
        superblock.move_to(place.map_err(|small| too_small(small.smallest))?);
        let needed = Sectors::new(superblock.data_offset().get() + component.get());
        let end = match &mut superblock {
            Superblock::V0(superblock) => superblock.at().get(),
            Superblock::V1(superblock) => {
                let (offset, at) = (superblock.data_offset().get(), superblock.at().get());
                // Before the superblock, its bitmap and its log, if they come after the data.
                let logs = [superblock.bitmap_at()?, superblock.bad_blocks_at()?.map(|a| a.start)];
                let first = logs.into_iter().flatten().map(|s| s.get()).chain([at]);
                let end =
                    first.filter(|start| *start >= offset).min().unwrap_or_else(|| size.get());
                superblock.set_data_size(Sectors::new(end.saturating_sub(offset)));
                let features = superblock.features() - Features::BAD_BLOCKS;
                superblock.set_features(features);
                end
            }
        };
        if end < needed.get() {
            return Err(too_small(needed));
        }
        Ok(superblock)
    }

    /// Gives a device a superblock of the array, in memory, and makes the device fit for it. It has the slots of the
    /// array before, too, if it is appended.
    pub(super) fn enlist(
        &mut self,
        mover: &mut Mover,
        now: Timestamp,
        (number, appended_to): (u32, Option<u32>),
        newcomer: &Newcomer,
        component: Sectors,
    ) -> Result<(), ArrayError> {
        let superblock = self.seat(number, newcomer, component)?;
        let size = newcomer.size();
        for other in Version::ALL.into_iter().filter(|v| *v != superblock.version()) {
            if let Ok(at) = other.place(size) {
                newcomer.wipe(mover, at, Sectors::new(8))?;
            }
        }
        if let Some(area) = superblock.bad_blocks_at()? {
            newcomer.wipe(mover, area.start, area.length)?;
        }
        let bitmap = self.record.entries().first().and_then(|entry| entry.bitmap.clone());
        self.record.add(Entry { device: newcomer.device.clone(), superblock, bitmap });
        self.joins(number, &newcomer.device, appended_to);
        self.write_bitmaps(mover, now)
    }

    /// Records that `number` has the slot and is good up to nothing.
    fn announce(
        &mut self,
        mover: &mut Mover,
        now: Timestamp,
        number: u32,
        slot: Slot,
    ) -> Result<(), ArrayError> {
        self.commit(mover, now, |superblock| match superblock {
            Superblock::V0(superblock) => {
                superblock.set_role(number, Role::Spare)?;
                if superblock.this_disk().number == number {
                    superblock.set_this_disk(number)?;
                }
                Ok(())
            }
            Superblock::V1(superblock) => {
                if superblock.max_dev() <= number {
                    superblock.set_max_dev(number + 1)?;
                }
                superblock.set_role(number, Role::Active(slot))?;
                if superblock.dev_number() == number {
                    superblock.set_recovery_offset(Some(MemberSector::new(0)));
                }
                Ok(())
            }
        })
    }

    /// Computes the member's content from where it is good, and records it.
    fn fill(
        &mut self,
        mover: &mut Mover,
        now: Timestamp,
        number: u32,
        slot: Slot,
        moved: &mut dyn FnMut(u64) -> bool,
    ) -> Result<(), ArrayError> {
        let view = self.array.view().ok_or(ArrayError::Reshaping)?;
        let end = view.geometry().component().get();
        let leg = view.leg(slot).ok_or(ArrayError::Inconsistent)?;
        let mut at = leg.good_to.map_or(end, MemberSector::get);
        let (device, start) = (leg.device.clone(), at);
        while at < end {
            let to = end.min(at + RECORD_EVERY);
            let mut so_far = |bytes: u64| moved((at - start) * kcopy::SECTOR_SIZE + bytes);
            let written = self.array.regenerate(mover, slot, at..to, &mut so_far);
            let durable = written.and_then(|()| Ok(mover.flush(&[&device])?));
            self.filled(mover, now, (slot, &device), durable)?;
            at = to;
            let good = MemberSector::new(at);
            if at < end && self.assembly.version != Version::V0 {
                self.commit(mover, now, |superblock| {
                    if let Superblock::V1(superblock) = superblock
                        && superblock.dev_number() == number
                    {
                        superblock.set_recovery_offset(Some(good));
                    }
                    Ok(())
                })?;
            }
        }
        self.commit(mover, now, |superblock| match superblock {
            Superblock::V0(superblock) => {
                superblock.set_role(number, Role::Active(slot))?;
                if superblock.this_disk().number == number {
                    superblock.set_this_disk(number)?;
                }
                Ok(())
            }
            Superblock::V1(superblock) => {
                if superblock.dev_number() == number {
                    superblock.set_recovery_offset(None);
                }
                Ok(())
            }
        })?;
        self.array.finish_member(slot);
        self.joining = None;
        Ok(())
    }

    /// How writing a newcomer ended; one that failed leaves its slot.
    fn filled(
        &mut self,
        mover: &mut Mover,
        now: Timestamp,
        (slot, device): (Slot, &Device),
        ended: Result<(), ArrayError>,
    ) -> Result<(), ArrayError> {
        match ended {
            Err(ArrayError::Move(MoveError::Write { path, fault })) if path == device.path() => {
                self.leave(mover, now, vec![FailedMember { slot: Some(slot), path, fault }])
            }
            ended => ended,
        }
    }
}

impl Array {
    pub(super) fn set_member(&mut self, slot: Slot, leg: Leg) {
        if let Map::Whole(view) = &mut self.map {
            view.set_leg(slot, Some(leg));
        }
    }

    pub(super) fn drop_member(&mut self, slot: Slot) {
        if let Map::Whole(view) = &mut self.map {
            view.set_leg(slot, None);
        }
    }

    pub(super) fn finish_member(&mut self, slot: Slot) {
        if let Map::Whole(view) = &mut self.map
            && let Some(leg) = view.leg_mut(slot)
        {
            leg.good_to = None;
        }
    }
}
