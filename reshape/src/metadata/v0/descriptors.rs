//! The 27 descriptors of a superblock 0.90, one for each device, and the counts of them.

use super::{DESCRIPTORS, V0, at};
use crate::metadata::facts::{DoesNotFit, Role};
use crate::metadata::features::{DeviceFlags, DeviceState};
use crate::units::Slot;

/// Bytes of a descriptor.
const SIZE: usize = 128;

/// A device of an array 0.90 (`mdp_disk_t`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Descriptor {
    /// Its place among the descriptors (`number`).
    pub number: u32,
    /// The number of its driver when the superblock was written (`major`).
    pub major: u32,
    /// Its number there (`minor`).
    pub minor: u32,
    /// Its slot, if it is a member (`raid_disk`).
    pub raid_disk: u32,
    /// What it is (`state`).
    pub state: DeviceState,
}

impl Descriptor {
    /// The descriptor of slot `slot` without a device.
    #[must_use]
    pub fn missing(slot: Slot) -> Self {
        let state = DeviceState::REMOVED | DeviceState::FAULTY;
        Self { number: slot.get(), major: 0, minor: 0, raid_disk: slot.get(), state }
    }

    /// What the device is to be used for.
    #[must_use]
    pub fn flags(&self) -> DeviceFlags {
        let mut flags = DeviceFlags::empty();
        flags.set(DeviceFlags::WRITE_MOSTLY, self.state.contains(DeviceState::WRITE_MOSTLY));
        flags.set(DeviceFlags::FAIL_FAST, self.state.contains(DeviceState::FAIL_FAST));
        flags
    }

    /// Whether nothing is described: all fields but the number, which may be 0, are zero.
    fn is_unused(&self) -> bool {
        let Self { number, major, minor, raid_disk, state } = *self;
        number == 0 && major == 0 && minor == 0 && raid_disk == 0 && state.is_empty()
    }
}

impl V0 {
    /// The descriptor of device `number` (`disks[number]`), from 0 to 26.
    #[must_use]
    pub fn descriptor(&self, number: u32) -> Option<Descriptor> {
        place(number).map(|at| self.read_descriptor(at))
    }

    /// The descriptor of this device (`this_disk`).
    #[must_use]
    pub fn this_disk(&self) -> Descriptor {
        self.read_descriptor(at::THIS_DISK)
    }

    /// Sets the descriptor of device `number`; if it is this device, `this_disk` as well.
    ///
    /// # Errors
    ///
    /// [`DoesNotFit`] if there is no such descriptor.
    pub fn set_descriptor(
        &mut self,
        number: u32,
        descriptor: Descriptor,
    ) -> Result<(), DoesNotFit> {
        let value = i128::from(number);
        let at = place(number).ok_or(DoesNotFit { field: "disks", version: "0.90", value })?;
        self.write_descriptor(at, descriptor);
        if self.this_disk().number == number {
            self.write_descriptor(at::THIS_DISK, descriptor);
        }
        Ok(())
    }

    /// Makes this the superblock of device `number`: copies its descriptor to `this_disk`.
    ///
    /// # Errors
    ///
    /// [`DoesNotFit`] if there is no such descriptor.
    pub fn set_this_disk(&mut self, number: u32) -> Result<(), DoesNotFit> {
        let misfit = DoesNotFit { field: "this_disk", version: "0.90", value: number.into() };
        let descriptor = self.descriptor(number).ok_or(misfit)?;
        self.write_descriptor(at::THIS_DISK, Descriptor { number, ..descriptor });
        Ok(())
    }

    /// Takes over all descriptors of another superblock of the array.
    ///
    /// # Errors
    ///
    /// [`DoesNotFit`] if none of them is this device's.
    pub fn take_descriptors(&mut self, other: &Self) -> Result<(), DoesNotFit> {
        for at in (0..DESCRIPTORS).filter_map(place) {
            self.write_descriptor(at, other.read_descriptor(at));
        }
        self.set_this_disk(self.this_disk().number)
    }

    /// The role of this device.
    #[must_use]
    pub fn role(&self) -> Role {
        self.role_in(self.this_disk())
    }

    /// The role of device `number`; `None` if nothing is said about it.
    #[must_use]
    pub fn role_of(&self, number: u32) -> Option<Role> {
        let descriptor = self.descriptor(number).filter(|descriptor| !descriptor.is_unused())?;
        Some(self.role_in(descriptor))
    }

    /// A member that is not in sync has its slot only while a reshape is recorded: it is one of
    /// those that the reshape fills.
    fn role_in(&self, descriptor: Descriptor) -> Role {
        let Descriptor { raid_disk, state, .. } = descriptor;
        let filled = state.contains(DeviceState::ACTIVE) && self.reshape().is_some();
        if state.intersects(DeviceState::FAULTY | DeviceState::REMOVED) {
            Role::Faulty
        } else if state.contains(DeviceState::JOURNAL) {
            Role::Journal
        } else if state.contains(DeviceState::SYNC) || filled {
            Role::Active(Slot::new(raid_disk))
        } else {
            Role::Spare
        }
    }

    /// Sets the role of device `number`, keeping its major and minor number and its flags.
    ///
    /// A member is active and in sync; one that a reshape has to fill is to be set with
    /// [`set_descriptor`](Self::set_descriptor), active only.
    ///
    /// # Errors
    ///
    /// [`DoesNotFit`] if there is no such descriptor, or the format has no such role.
    pub fn set_role(&mut self, number: u32, role: Role) -> Result<(), DoesNotFit> {
        let misfit = |field, value: u32| DoesNotFit { field, version: "0.90", value: value.into() };
        let old = self.descriptor(number).ok_or_else(|| misfit("disks", number))?;
        let kept = old.state & (DeviceState::WRITE_MOSTLY | DeviceState::FAIL_FAST);
        let (raid_disk, state) = match role {
            Role::Active(slot) => (slot.get(), DeviceState::ACTIVE | DeviceState::SYNC),
            Role::Spare => (number, DeviceState::empty()),
            Role::Faulty => (number, DeviceState::FAULTY | DeviceState::REMOVED),
            Role::Journal | Role::Reserved(_) => return Err(misfit("state", number)),
        };
        self.set_descriptor(number, Descriptor { number, raid_disk, state: state | kept, ..old })?;
        let leaves = old.state.contains(DeviceState::ACTIVE) && !matches!(role, Role::Active(_));
        if leaves { self.empty_slot(Slot::new(old.raid_disk)) } else { Ok(()) }
    }

    /// Says of a slot that a device of another number has left that nobody is there.
    fn empty_slot(&mut self, slot: Slot) -> Result<(), DoesNotFit> {
        let after = self.raid_disks();
        let before = self.reshape().and_then(|reshape| reshape.raid_disks_old());
        let stays = slot.get() < before.map_or(after, |before| before.min(after));
        match self.descriptor(slot.get()) {
            Some(told) if stays && told.is_unused() => {
                self.set_descriptor(slot.get(), Descriptor::missing(slot))
            }
            Some(_) | None => Ok(()),
        }
    }

    /// Gives device `number` a slot that a reshape has to fill: active, not in sync.
    ///
    /// # Errors
    ///
    /// [`DoesNotFit`] if there is no such descriptor.
    pub fn set_filling(&mut self, number: u32, slot: Slot) -> Result<(), DoesNotFit> {
        let value = i128::from(number);
        let missing = DoesNotFit { field: "disks", version: "0.90", value };
        let old = self.descriptor(number).ok_or(missing)?;
        let state = DeviceState::ACTIVE;
        self.set_descriptor(number, Descriptor { number, raid_disk: slot.get(), state, ..old })
    }

    /// Says of every member that a reshape has filled that it is in sync.
    ///
    /// # Errors
    ///
    /// None that can happen: the descriptors are there.
    pub fn settle_filled(&mut self) -> Result<(), DoesNotFit> {
        for number in 0..DESCRIPTORS {
            let Some(descriptor) = self.descriptor(number) else { continue };
            let gone = DeviceState::FAULTY | DeviceState::REMOVED;
            let state = descriptor.state;
            if state.contains(DeviceState::ACTIVE) && !state.intersects(gone) {
                let state = state | DeviceState::SYNC;
                self.set_descriptor(number, Descriptor { state, ..descriptor })?;
            }
        }
        Ok(())
    }

    /// The counts of devices as the superblock says them.
    #[must_use]
    pub fn counts(&self) -> Counts {
        Counts {
            total: self.block.u32(at::NR_DISKS),
            active: self.block.u32(at::ACTIVE_DISKS),
            working: self.block.u32(at::WORKING_DISKS),
            failed: self.block.u32(at::FAILED_DISKS),
            spare: self.block.u32(at::SPARE_DISKS),
        }
    }

    /// Sets the counts of devices to what the descriptors say: to be called after the last
    /// descriptor was set. A slot without a device counts as failed, and not in the total.
    pub fn recount(&mut self) {
        self.part_spares();
        self.forget_failures();
        let mut counts = Counts::default();
        for number in 0..DESCRIPTORS {
            let Some(Descriptor { state, .. }) =
                self.descriptor(number).filter(|descriptor| !descriptor.is_unused())
            else {
                continue;
            };
            counts.add(state);
        }
        self.put_u32(at::NR_DISKS, counts.total);
        self.put_u32(at::ACTIVE_DISKS, counts.active);
        self.put_u32(at::WORKING_DISKS, counts.working);
        self.put_u32(at::FAILED_DISKS, counts.failed);
        self.put_u32(at::SPARE_DISKS, counts.spare);
    }

    /// mdadm holds devices apart by `raid_disk`, spares too: a spare that goes by the number of a slot in which another
    /// device is, as after a takeover, would be a copy of that one.
    fn part_spares(&mut self) {
        let known = |number: u32| self.descriptor(number).filter(|found| !found.is_unused());
        let all: Vec<Descriptor> = (0..DESCRIPTORS).filter_map(known).collect();
        let is_member = |one: &Descriptor| matches!(self.role_in(*one), Role::Active(_));
        let taken: Vec<u32> =
            all.iter().filter(|one| is_member(one)).map(|one| one.raid_disk).collect();
        let spares = all.into_iter().filter(|one| self.role_in(*one) == Role::Spare);
        let parted: Vec<Descriptor> = spares
            .filter(|spare| taken.contains(&spare.raid_disk))
            .map(|spare| Descriptor {
                raid_disk: DESCRIPTORS.saturating_add(spare.number),
                ..spare
            })
            .collect();
        for spare in parted {
            let Some(at) = place(spare.number) else { continue };
            self.write_descriptor(at, spare);
            if self.this_disk().number == spare.number {
                self.write_descriptor(at::THIS_DISK, spare);
            }
        }
    }

    /// Nothing says of a slot that nobody is in it while a device of another number is: mdadm takes it from the
    /// descriptor of the slot's number that whoever is there has failed, and starts no array with such a device.
    fn forget_failures(&mut self) {
        let member = |number: u32| match self.role_of(number) {
            Some(Role::Active(slot)) => Some(slot),
            Some(Role::Spare | Role::Faulty | Role::Journal | Role::Reserved(_)) | None => None,
        };
        let taken: Vec<Slot> = (0..DESCRIPTORS).filter_map(member).collect();
        for slot in taken {
            let empty = Descriptor::missing(slot);
            if self.descriptor(slot.get()) != Some(empty) {
                continue;
            }
            let Some(at) = place(slot.get()) else { continue };
            let state = DeviceState::empty();
            self.write_descriptor(at, Descriptor { number: 0, raid_disk: 0, state, ..empty });
        }
    }

    fn read_descriptor(&self, at: usize) -> Descriptor {
        let [number, major, minor, raid_disk, state] =
            [0, 4, 8, 12, 16].map(|field| self.block.u32(at.saturating_add(field)));
        let state = DeviceState::from_bits_retain(state);
        Descriptor { number, major, minor, raid_disk, state }
    }

    fn write_descriptor(&mut self, at: usize, descriptor: Descriptor) {
        let Descriptor { number, major, minor, raid_disk, state } = descriptor;
        let words = [number, major, minor, raid_disk, state.bits()];
        for (word, field) in words.into_iter().zip([0, 4, 8, 12, 16]) {
            self.put_u32(at.saturating_add(field), word);
        }
    }
}

/// How many devices there are of each kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Counts {
    /// Devices, failed ones included (`nr_disks`).
    pub total: u32,
    /// Members, also those that a reshape has to fill (`active_disks`).
    pub active: u32,
    /// Members and spares (`working_disks`).
    pub working: u32,
    /// Failed devices and slots without one (`failed_disks`).
    pub failed: u32,
    /// The rest (`spare_disks`).
    pub spare: u32,
}

impl Counts {
    /// No sum overflows: there are 27 descriptors.
    fn add(&mut self, state: DeviceState) {
        let more = |count: &mut u32| *count = count.saturating_add(1);
        if !state.contains(DeviceState::REMOVED) {
            more(&mut self.total);
        }
        if state.intersects(DeviceState::FAULTY | DeviceState::REMOVED) {
            more(&mut self.failed);
            return;
        }
        more(&mut self.working);
        if state.contains(DeviceState::ACTIVE) {
            more(&mut self.active);
        } else {
            more(&mut self.spare);
        }
    }
}

/// Where the descriptor of device `number` begins.
fn place(number: u32) -> Option<usize> {
    let index = usize::try_from(number).ok().filter(|_| number < DESCRIPTORS)?;
    index.checked_mul(SIZE)?.checked_add(at::DISKS)
}
