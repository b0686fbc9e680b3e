//! The fields of a superblock 1.x, one by one.

use kcopy::{Sector, Sectors};

use super::{ROLES, V1, at};
use crate::metadata::facts::{
    Area, ArrayName, Direction, DoesNotFit, Misplaced, Reshape, Resync, Role, Timestamp, Uuid,
    relative,
};
use crate::metadata::features::{DeviceFlags, Features};
use crate::units::{ArraySector, MemberSector, Slot};

/// Roles from here on are no slots.
const ROLE_RESERVED: u16 = 0xff00;
const ROLE_SPARE: u16 = 0xffff;
const ROLE_FAULTY: u16 = 0xfffe;
const ROLE_JOURNAL: u16 = 0xfffd;

/// Where a member's bad-block log is, relative to its superblock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BadBlockArea {
    /// Sectors from the superblock (`bblog_offset`).
    pub offset: i32,
    /// Sectors kept for the log (`bblog_size`).
    pub size: u16,
    /// Entries count blocks of `1 << shift` sectors (`bblog_shift`).
    pub shift: u8,
}

/// The array.
impl V1 {
    /// What the array has (`feature_map`).
    #[must_use]
    pub fn features(&self) -> Features {
        Features::from_bits_retain(self.block.u32(at::FEATURE_MAP))
    }

    /// Sets what the array has (`feature_map`).
    pub fn set_features(&mut self, features: Features) {
        self.put_u32(at::FEATURE_MAP, features.bits());
    }

    fn has(&self, feature: Features) -> bool {
        self.features().contains(feature)
    }

    fn set_feature(&mut self, feature: Features, set: bool) {
        let mut features = self.features();
        features.set(feature, set);
        self.set_features(features);
    }

    /// The array's name for machines (`set_uuid`).
    #[must_use]
    pub fn uuid(&self) -> Uuid {
        Uuid(self.block.field(at::SET_UUID))
    }

    /// Sets `set_uuid`.
    pub fn set_uuid(&mut self, uuid: Uuid) {
        self.put(at::SET_UUID, uuid.0);
    }

    /// The array's name for people (`set_name`).
    #[must_use]
    pub fn name(&self) -> ArrayName {
        ArrayName(self.block.field(at::SET_NAME))
    }

    /// Sets `set_name`.
    pub fn set_name(&mut self, name: ArrayName) {
        self.put(at::SET_NAME, name.0);
    }

    /// When the array was made (`ctime`).
    #[must_use]
    pub fn creation_time(&self) -> Timestamp {
        self.time(at::CTIME)
    }

    /// Sets `ctime`.
    pub fn set_creation_time(&mut self, time: Timestamp) {
        self.put_time(at::CTIME, time);
    }

    /// The level as a number of md (`level`).
    #[must_use]
    pub fn level(&self) -> i32 {
        self.block.i32(at::LEVEL)
    }

    /// Sets `level`.
    pub fn set_level(&mut self, level: i32) {
        self.put_u32(at::LEVEL, level.cast_unsigned());
    }

    /// The layout (`layout`); for RAID0 it means something with [`Features::RAID0_LAYOUT`] only.
    #[must_use]
    pub fn layout(&self) -> u32 {
        self.block.u32(at::LAYOUT)
    }

    /// Sets `layout`.
    pub fn set_layout(&mut self, layout: u32) {
        self.put_u32(at::LAYOUT, layout);
    }

    /// The sectors of each member that are used (`size`); 0 for levels 0 and linear.
    #[must_use]
    pub fn component_size(&self) -> Sectors {
        Sectors::new(self.block.u64(at::SIZE))
    }

    /// Sets `size`.
    pub fn set_component_size(&mut self, size: Sectors) {
        self.put_u64(at::SIZE, size.get());
    }

    /// The chunk (`chunksize`, in sectors).
    #[must_use]
    pub fn chunk(&self) -> Sectors {
        Sectors::new(u64::from(self.block.u32(at::CHUNKSIZE)))
    }

    /// Sets `chunksize`.
    ///
    /// # Errors
    ///
    /// [`DoesNotFit`] if it has more than 32 bits.
    pub fn set_chunk(&mut self, chunk: Sectors) -> Result<(), DoesNotFit> {
        self.put_sectors_u32(at::CHUNKSIZE, "chunksize", chunk)
    }

    /// The slots of the array; while a reshape is recorded, those after it (`raid_disks`).
    #[must_use]
    pub fn raid_disks(&self) -> u32 {
        self.block.u32(at::RAID_DISKS)
    }

    /// Sets `raid_disks`.
    pub fn set_raid_disks(&mut self, disks: u32) {
        self.put_u32(at::RAID_DISKS, disks);
    }

    /// When the superblock was last written (`utime`).
    #[must_use]
    pub fn update_time(&self) -> Timestamp {
        self.time(at::UTIME)
    }

    /// Sets `utime`.
    pub fn set_update_time(&mut self, time: Timestamp) {
        self.put_time(at::UTIME, time);
    }

    /// Counts changes of the superblock (`events`).
    #[must_use]
    pub fn events(&self) -> u64 {
        self.block.u64(at::EVENTS)
    }

    /// Sets `events`.
    pub fn set_events(&mut self, events: u64) {
        self.put_u64(at::EVENTS, events);
    }

    /// What of the parity or the copies is in step (`resync_offset`).
    #[must_use]
    pub fn resync(&self) -> Resync {
        match self.block.u64(at::RESYNC_OFFSET) {
            u64::MAX => Resync::Clean,
            from => Resync::From(from),
        }
    }

    /// Sets `resync_offset`.
    pub fn set_resync(&mut self, resync: Resync) {
        self.put_u64(
            at::RESYNC_OFFSET,
            match resync {
                Resync::Clean => u64::MAX,
                Resync::From(from) => from,
            },
        );
    }

    /// The logical block of the array in bytes (`logical_block_size`), since Linux 6.19; before
    /// that 0, and older kernels refuse anything else.
    #[must_use]
    pub fn logical_block_size(&self) -> u32 {
        self.block.u32(at::LOGICAL_BLOCK_SIZE)
    }

    /// The reshape that is recorded, if one is.
    #[must_use]
    pub fn reshape(&self) -> Option<Reshape> {
        if !self.has(Features::RESHAPE_ACTIVE) {
            return None;
        }
        let delta_disks = self.block.i32(at::DELTA_DISKS);
        let backwards =
            delta_disks < 0 || (delta_disks == 0 && self.has(Features::RESHAPE_BACKWARDS));
        let moves = self.has(Features::NEW_OFFSET);
        Some(Reshape {
            position: ArraySector::new(self.block.u64(at::RESHAPE_POSITION)),
            delta_disks,
            raid_disks_new: self.raid_disks(),
            direction: if backwards { Direction::Backwards } else { Direction::Forwards },
            new_level: self.block.i32(at::NEW_LEVEL),
            new_layout: self.block.u32(at::NEW_LAYOUT),
            new_chunk: Sectors::new(u64::from(self.block.u32(at::NEW_CHUNK))),
            new_offset: if moves { self.block.i32(at::NEW_OFFSET) } else { 0 },
        })
    }

    /// Records a reshape: all of its fields and feature bits, and `raid_disks`.
    ///
    /// # Errors
    ///
    /// [`DoesNotFit`] if the new chunk has more than 32 bits, or if the direction contradicts
    /// `delta_disks`.
    pub fn set_reshape(&mut self, reshape: &Reshape) -> Result<(), DoesNotFit> {
        let backwards = match (reshape.direction, reshape.delta_disks) {
            (Direction::Backwards, ..=0) => true,
            (Direction::Forwards, 0..) => false,
            (Direction::Backwards, 1..) | (Direction::Forwards, ..=-1) => {
                let value = i128::from(reshape.delta_disks);
                return Err(DoesNotFit { field: "delta_disks", version: "1.x", value });
            }
        };
        self.put_sectors_u32(at::NEW_CHUNK, "new_chunk", reshape.new_chunk)?;
        self.put_u64(at::RESHAPE_POSITION, reshape.position.get());
        self.put_u32(at::DELTA_DISKS, reshape.delta_disks.cast_unsigned());
        self.put_u32(at::NEW_LEVEL, reshape.new_level.cast_unsigned());
        self.put_u32(at::NEW_LAYOUT, reshape.new_layout);
        self.put_u32(at::NEW_OFFSET, reshape.new_offset.cast_unsigned());
        self.set_raid_disks(reshape.raid_disks_new);
        self.set_feature(Features::RESHAPE_ACTIVE, true);
        self.set_feature(Features::RESHAPE_BACKWARDS, backwards && reshape.delta_disks == 0);
        self.set_feature(Features::NEW_OFFSET, reshape.new_offset != 0);
        Ok(())
    }

    /// Records that no reshape is under way. The other fields are to be set to what is now true.
    pub fn clear_reshape(&mut self) {
        self.set_feature(Features::RESHAPE_ACTIVE, false);
        self.set_feature(Features::RESHAPE_BACKWARDS, false);
        self.set_feature(Features::NEW_OFFSET, false);
        for field in [at::DELTA_DISKS, at::NEW_LEVEL, at::NEW_LAYOUT, at::NEW_CHUNK, at::NEW_OFFSET]
        {
            self.put_u32(field, 0);
        }
        self.put_u64(at::RESHAPE_POSITION, 0);
    }
}

/// This device.
impl V1 {
    /// Where the data of this member begins; during a reshape, in the old layout (`data_offset`).
    #[must_use]
    pub fn data_offset(&self) -> Sector {
        Sector::new(self.block.u64(at::DATA_OFFSET))
    }

    /// Sets `data_offset`.
    pub fn set_data_offset(&mut self, offset: Sector) {
        self.put_u64(at::DATA_OFFSET, offset.get());
    }

    /// Moves the start of the data by `offset` sectors; its end stays.
    ///
    /// # Errors
    ///
    /// [`DoesNotFit`] if the start would be before the device, or behind the end.
    pub fn shift_data(&mut self, offset: i32) -> Result<(), DoesNotFit> {
        let by = i64::from(offset);
        let value = i128::from(offset);
        let misfit = DoesNotFit { field: "data_offset", version: "1.x", value };
        let start = self.data_offset().get().checked_add_signed(by).ok_or(misfit)?;
        let size = self.data_size().get().checked_sub_signed(by).ok_or(misfit)?;
        self.set_data_offset(Sector::new(start));
        self.set_data_size(Sectors::new(size));
        Ok(())
    }

    /// The sectors from the data offset on that may hold data (`data_size`).
    #[must_use]
    pub fn data_size(&self) -> Sectors {
        Sectors::new(self.block.u64(at::DATA_SIZE))
    }

    /// Sets `data_size`.
    pub fn set_data_size(&mut self, size: Sectors) {
        self.put_u64(at::DATA_SIZE, size.get());
    }

    /// Where the superblock says that it lies (`super_offset`).
    #[must_use]
    pub fn super_offset(&self) -> Sector {
        Sector::new(self.block.u64(at::SUPER_OFFSET))
    }

    /// Up to where this member is in sync, if not everywhere (`recovery_offset`).
    #[must_use]
    pub fn recovery_offset(&self) -> Option<MemberSector> {
        let recovering = self.has(Features::RECOVERY_OFFSET);
        recovering.then(|| MemberSector::new(self.block.u64(at::RECOVERY_OFFSET)))
    }

    /// Sets `recovery_offset` and its feature bit; `None`: in sync everywhere.
    pub fn set_recovery_offset(&mut self, offset: Option<MemberSector>) {
        self.put_u64(at::RECOVERY_OFFSET, offset.map_or(0, MemberSector::get));
        self.set_feature(Features::RECOVERY_OFFSET, offset.is_some());
    }

    /// Where the log of a journal device begins (`journal_tail`), if this is one.
    #[must_use]
    pub fn journal_tail(&self) -> Option<Sector> {
        let is_journal = self.role() == Role::Journal;
        is_journal.then(|| Sector::new(self.block.u64(at::JOURNAL_TAIL)))
    }

    /// The place of this device in the table of roles, for ever the same (`dev_number`).
    #[must_use]
    pub fn dev_number(&self) -> u32 {
        self.block.u32(at::DEV_NUMBER)
    }

    /// Sets `dev_number`.
    pub fn set_dev_number(&mut self, number: u32) {
        self.put_u32(at::DEV_NUMBER, number);
    }

    /// Read errors that were mended by writing (`cnt_corrected_read`).
    #[must_use]
    pub fn corrected_reads(&self) -> u32 {
        self.block.u32(at::CNT_CORRECTED_READ)
    }

    /// This device's own name for machines (`device_uuid`).
    #[must_use]
    pub fn device_uuid(&self) -> Uuid {
        Uuid(self.block.field(at::DEVICE_UUID))
    }

    /// Sets `device_uuid`.
    pub fn set_device_uuid(&mut self, uuid: Uuid) {
        self.put(at::DEVICE_UUID, uuid.0);
    }

    /// What the device is to be used for (`devflags`).
    #[must_use]
    pub fn device_flags(&self) -> DeviceFlags {
        DeviceFlags::from_bits_retain(self.block.u8(at::DEVFLAGS))
    }

    /// Sets `devflags`.
    pub fn set_device_flags(&mut self, flags: DeviceFlags) {
        self.block.put_u8(at::DEVFLAGS, flags.bits());
        self.changed = true;
    }
}

/// The table of roles.
impl V1 {
    /// The entries of the table of roles (`max_dev`), at most 1920.
    #[must_use]
    pub fn max_dev(&self) -> u32 {
        self.block.u32(at::MAX_DEV)
    }

    /// Sets `max_dev`; entries that come into being have role "spare".
    ///
    /// # Errors
    ///
    /// [`DoesNotFit`] if there are more than 1920.
    pub fn set_max_dev(&mut self, max_dev: u32) -> Result<(), DoesNotFit> {
        if max_dev > super::MAX_DEV {
            let value = i128::from(max_dev);
            return Err(DoesNotFit { field: "max_dev", version: "1.x", value });
        }
        let old = self.max_dev();
        self.put_u32(at::MAX_DEV, max_dev);
        for number in old..max_dev {
            self.set_role(number, Role::Spare)?;
        }
        Ok(())
    }

    /// The role of this device; "spare" if it is not in the table.
    #[must_use]
    pub fn role(&self) -> Role {
        self.role_of(self.dev_number()).unwrap_or(Role::Spare)
    }

    /// The role of device `number` (`dev_roles`), if it is in the table.
    #[must_use]
    pub fn role_of(&self, number: u32) -> Option<Role> {
        let at = self.role_at(number)?;
        Some(match self.block.u16(at) {
            ROLE_SPARE => Role::Spare,
            ROLE_FAULTY => Role::Faulty,
            ROLE_JOURNAL => Role::Journal,
            other @ ROLE_RESERVED.. => Role::Reserved(other),
            slot => Role::Active(Slot::new(u32::from(slot))),
        })
    }

    /// All roles of the table, by device number from 0.
    pub fn roles(&self) -> impl Iterator<Item = Role> {
        (0..self.max_dev()).map_while(|number| self.role_of(number))
    }

    /// Sets the role of device `number`.
    ///
    /// # Errors
    ///
    /// [`DoesNotFit`] if it is not in the table, or the slot is no number of the table's.
    pub fn set_role(&mut self, number: u32, role: Role) -> Result<(), DoesNotFit> {
        let misfit = |field, value: u32| DoesNotFit { field, version: "1.x", value: value.into() };
        let at = self.role_at(number).ok_or_else(|| misfit("dev_roles", number))?;
        let value = match role {
            Role::Active(slot) => u16::try_from(slot.get())
                .ok()
                .filter(|slot| *slot < ROLE_RESERVED)
                .ok_or_else(|| misfit("dev_roles", slot.get()))?,
            Role::Spare => ROLE_SPARE,
            Role::Faulty => ROLE_FAULTY,
            Role::Journal => ROLE_JOURNAL,
            Role::Reserved(value) => value,
        };
        self.block.put_u16(at, value);
        self.changed = true;
        Ok(())
    }

    fn role_at(&self, number: u32) -> Option<usize> {
        let index = usize::try_from(number).ok().filter(|_| number < self.max_dev())?;
        index.checked_mul(2)?.checked_add(ROLES)
    }
}

/// What lies beside the data.
impl V1 {
    /// Where the internal bitmap begins, if there is one (`bitmap_offset`).
    ///
    /// # Errors
    ///
    /// [`Misplaced`] if that is before the device.
    pub fn bitmap_at(&self) -> Result<Option<Sector>, Misplaced> {
        match self.bitmap_offset() {
            Some(offset) => relative("bitmap", self.at, i64::from(offset)).map(Some),
            None => Ok(None),
        }
    }

    /// Sectors from the superblock to the internal bitmap, if there is one (`bitmap_offset`).
    #[must_use]
    pub fn bitmap_offset(&self) -> Option<i32> {
        self.has(Features::BITMAP_OFFSET).then(|| self.block.i32(at::BITMAP_OFFSET))
    }

    /// Sets `bitmap_offset` and its feature bit; `None`: no bitmap.
    pub fn set_bitmap_offset(&mut self, offset: Option<i32>) {
        self.put_u32(at::BITMAP_OFFSET, offset.unwrap_or(0).cast_unsigned());
        self.set_feature(Features::BITMAP_OFFSET, offset.is_some());
    }

    /// Where the partial parity log is, if there is one (`ppl.offset`, `ppl.size`).
    ///
    /// # Errors
    ///
    /// [`Misplaced`] if that is before the device.
    pub fn ppl_area(&self) -> Result<Option<Area>, Misplaced> {
        if !self.features().intersects(Features::PPL | Features::MULTIPLE_PPLS) {
            return Ok(None);
        }
        let offset = self.block.i16(at::PPL_OFFSET);
        let start = relative("partial parity log", self.at, i64::from(offset))?;
        let length = Sectors::new(u64::from(self.block.u16(at::PPL_SIZE)));
        Ok(Some(Area { start, length }))
    }

    /// What is kept for the bad-block log, if anything is (`bblog_*`).
    #[must_use]
    pub fn bad_blocks(&self) -> Option<BadBlockArea> {
        let size = self.block.u16(at::BBLOG_SIZE);
        (size > 0).then(|| BadBlockArea {
            offset: self.block.i32(at::BBLOG_OFFSET),
            size,
            shift: self.block.u8(at::BBLOG_SHIFT),
        })
    }

    /// Sets `bblog_*`; `None`: no log. The feature bit is for entries, and stays.
    pub fn set_bad_blocks(&mut self, area: Option<BadBlockArea>) {
        let area = area.unwrap_or(BadBlockArea { offset: 0, size: 0, shift: 0 });
        self.block.put_i32(at::BBLOG_OFFSET, area.offset);
        self.block.put_u16(at::BBLOG_SIZE, area.size);
        self.block.put_u8(at::BBLOG_SHIFT, area.shift);
        self.changed = true;
    }

    /// Where the bad-block log is, if there is one.
    ///
    /// # Errors
    ///
    /// [`Misplaced`] if that is before the device.
    pub fn bad_blocks_at(&self) -> Result<Option<Area>, Misplaced> {
        let Some(log) = self.bad_blocks() else { return Ok(None) };
        let start = relative("bad-block log", self.at, i64::from(log.offset))?;
        Ok(Some(Area { start, length: Sectors::new(u64::from(log.size)) }))
    }
}

/// Setting a field makes the checksum stale; `to_bytes` computes it again.
impl V1 {
    fn put<const L: usize>(&mut self, at: usize, value: [u8; L]) {
        self.block.put_field(at, value);
        self.changed = true;
    }

    fn put_u32(&mut self, at: usize, value: u32) {
        self.block.put_u32(at, value);
        self.changed = true;
    }

    fn put_u64(&mut self, at: usize, value: u64) {
        self.block.put_u64(at, value);
        self.changed = true;
    }

    fn put_sectors_u32(
        &mut self,
        at: usize,
        field: &'static str,
        length: Sectors,
    ) -> Result<(), DoesNotFit> {
        let misfit = DoesNotFit { field, version: "1.x", value: i128::from(length.get()) };
        self.put_u32(at, u32::try_from(length.get()).map_err(|_| misfit)?);
        Ok(())
    }

    /// 40 bits of seconds, then 24 bits of microseconds.
    fn time(&self, at: usize) -> Timestamp {
        let [s0, s1, s2, s3, s4, m0, m1, m2] = self.block.field(at);
        Timestamp {
            seconds: u64::from_le_bytes([s0, s1, s2, s3, s4, 0, 0, 0]),
            micros: u32::from_le_bytes([m0, m1, m2, 0]),
        }
    }

    /// Whole seconds only, as mdadm writes them: Linux takes all 64 bits for seconds when it compares, and
    /// then refuses every `mdadm --grow` of the array.
    fn put_time(&mut self, at: usize, time: Timestamp) {
        let [s0, s1, s2, s3, s4, ..] = time.seconds.to_le_bytes();
        self.put(at, [s0, s1, s2, s3, s4, 0, 0, 0]);
    }
}
