//! One face for superblocks of both versions.

use kcopy::{Sector, Sectors};

use super::error::SuperblockError;
use super::facts::{
    Area, ArrayName, DoesNotFit, Misplaced, Reshape, Resync, Role, Timestamp, Uuid,
};
use super::features::{DeviceFlags, Features};
use super::place::Version;
use super::v0::{DESCRIPTORS, V0};
use super::v1::{SUPER_BYTES, V1};
use crate::geometry::Level;
use crate::units::MemberSector;

/// The superblock of one device.
///
/// Positions and lengths are in sectors of 512 bytes, whatever unit the field on the disk has. Names
/// in brackets are the kernel's. What only one version has is asked of that version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Superblock {
    /// 0.90, or 0.91 while a reshape is recorded.
    V0(V0),
    /// 1.0, 1.1 or 1.2.
    V1(V1),
}

/// The same question to either version.
macro_rules! ask {
    ($superblock:expr, $version:pat => $answer:expr) => {
        match $superblock {
            Superblock::V0($version) => $answer,
            Superblock::V1($version) => $answer,
        }
    };
}

/// Bytes to superblock and back.
impl Superblock {
    /// Reads the superblock of `version` that was found at sector `at` of its device, and checks it.
    ///
    /// # Errors
    ///
    /// What [`decode`](Self::decode) and [`check`](Self::check) refuse.
    pub fn parse(bytes: &[u8], version: Version, at: Sector) -> Result<Self, SuperblockError> {
        let superblock = Self::decode(bytes, version, at)?;
        superblock.check()?;
        Ok(superblock)
    }

    /// Reads a superblock that may be damaged: its checksum and its own idea of its place are not
    /// looked at.
    ///
    /// # Errors
    ///
    /// When there are fewer than 4096 bytes, or no superblock of this version in them.
    pub fn decode(bytes: &[u8], version: Version, at: Sector) -> Result<Self, SuperblockError> {
        match version {
            Version::V0 => V0::decode(bytes, at).map(Self::V0),
            Version::V1(minor) => V1::decode(bytes, minor, at).map(Self::V1),
        }
    }

    /// Whether the superblock may be believed.
    ///
    /// # Errors
    ///
    /// When its checksum is wrong, or it was written for another place.
    pub fn check(&self) -> Result<(), SuperblockError> {
        ask!(self, superblock => superblock.check())
    }

    /// All 4096 bytes; the same as were read unless something was set, then with a right checksum.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        ask!(self, superblock => superblock.to_bytes())
    }

    /// How many of the bytes may be written to a device with logical blocks of `logical_block`
    /// bytes.
    #[must_use]
    pub fn write_length(&self, logical_block: usize) -> usize {
        match self {
            Self::V0(_) => SUPER_BYTES,
            Self::V1(superblock) => superblock.write_length(logical_block),
        }
    }

    /// The checksum that is right for the bytes, and the one that was read (`sb_csum`).
    #[must_use]
    pub fn checksums(&self) -> (u32, u32) {
        ask!(self, superblock => (superblock.checksum(), superblock.stored_checksum()))
    }

    /// The version, as far as it is known by the place.
    #[must_use]
    pub const fn version(&self) -> Version {
        match self {
            Self::V0(_) => Version::V0,
            Self::V1(superblock) => superblock.version(),
        }
    }

    /// The sector of the device where it lies.
    #[must_use]
    pub const fn at(&self) -> Sector {
        ask!(self, superblock => superblock.at())
    }

    /// The same superblock for another place, as when a device grows.
    pub fn move_to(&mut self, at: Sector) {
        ask!(self, superblock => superblock.move_to(at));
    }
}

/// The array.
impl Superblock {
    /// The array's name for machines (`set_uuid`).
    #[must_use]
    pub fn uuid(&self) -> Uuid {
        ask!(self, superblock => superblock.uuid())
    }

    /// The bytes of that name as bitmaps and backups of the array have them. Those of 0.90 depend
    /// on the byte order.
    #[must_use]
    pub fn uuid_on_disk(&self) -> [u8; 16] {
        match self {
            Self::V0(superblock) => superblock.uuid_on_disk(),
            Self::V1(superblock) => superblock.uuid().0,
        }
    }

    /// The array's name for people (`set_name`); 0.90 has none.
    #[must_use]
    pub fn name(&self) -> Option<ArrayName> {
        match self {
            Self::V0(_) => None,
            Self::V1(superblock) => Some(superblock.name()),
        }
    }

    /// When the array was made (`ctime`).
    #[must_use]
    pub fn creation_time(&self) -> Timestamp {
        ask!(self, superblock => superblock.creation_time())
    }

    /// The level as a number of md (`level`).
    #[must_use]
    pub fn level_number(&self) -> i32 {
        ask!(self, superblock => superblock.level())
    }

    /// The level, if it is one that there is.
    #[must_use]
    pub fn level(&self) -> Option<Level> {
        Level::from_md(self.level_number())
    }

    /// Sets `level`.
    pub fn set_level(&mut self, level: Level) {
        ask!(self, superblock => superblock.set_level(level.to_md()));
    }

    /// The layout as a number of md (`layout`).
    #[must_use]
    pub fn layout(&self) -> u32 {
        ask!(self, superblock => superblock.layout())
    }

    /// Sets `layout`.
    pub fn set_layout(&mut self, layout: u32) {
        ask!(self, superblock => superblock.set_layout(layout));
    }

    /// The chunk (`chunksize`, `chunk_size`).
    #[must_use]
    pub fn chunk(&self) -> Sectors {
        ask!(self, superblock => superblock.chunk())
    }

    /// Sets the chunk.
    ///
    /// # Errors
    ///
    /// [`DoesNotFit`] if the version cannot say it.
    pub fn set_chunk(&mut self, chunk: Sectors) -> Result<(), DoesNotFit> {
        ask!(self, superblock => superblock.set_chunk(chunk))
    }

    /// The slots of the array; while a reshape is recorded, those after it (`raid_disks`).
    #[must_use]
    pub fn raid_disks(&self) -> u32 {
        ask!(self, superblock => superblock.raid_disks())
    }

    /// Sets `raid_disks`.
    pub fn set_raid_disks(&mut self, disks: u32) {
        ask!(self, superblock => superblock.set_raid_disks(disks));
    }

    /// The length of each member that is used (`size`); 0 for levels 0 and linear of version 1.
    #[must_use]
    pub fn component_size(&self) -> Sectors {
        ask!(self, superblock => superblock.component_size())
    }

    /// Sets `size`.
    ///
    /// # Errors
    ///
    /// [`DoesNotFit`] if the version cannot say it.
    pub fn set_component_size(&mut self, size: Sectors) -> Result<(), DoesNotFit> {
        match self {
            Self::V0(superblock) => superblock.set_component_size(size),
            Self::V1(superblock) => {
                superblock.set_component_size(size);
                Ok(())
            }
        }
    }

    /// Counts changes of the superblock: of two members, the higher count is the newer one
    /// (`events`).
    #[must_use]
    pub fn events(&self) -> u64 {
        ask!(self, superblock => superblock.events())
    }

    /// Sets `events`.
    pub fn set_events(&mut self, events: u64) {
        ask!(self, superblock => superblock.set_events(events));
    }

    /// When the superblock was last written (`utime`).
    #[must_use]
    pub fn update_time(&self) -> Timestamp {
        ask!(self, superblock => superblock.update_time())
    }

    /// Sets `utime`.
    ///
    /// # Errors
    ///
    /// [`DoesNotFit`] if the version cannot say it.
    pub fn set_update_time(&mut self, time: Timestamp) -> Result<(), DoesNotFit> {
        match self {
            Self::V0(superblock) => superblock.set_update_time(time),
            Self::V1(superblock) => {
                superblock.set_update_time(time);
                Ok(())
            }
        }
    }

    /// What of the parity or the copies is in step.
    #[must_use]
    pub fn resync(&self) -> Resync {
        ask!(self, superblock => superblock.resync())
    }

    /// Sets what of the parity or the copies is in step.
    ///
    /// # Errors
    ///
    /// [`DoesNotFit`] if the version cannot say it.
    pub fn set_resync(&mut self, resync: Resync) -> Result<(), DoesNotFit> {
        match self {
            Self::V0(superblock) => superblock.set_resync(resync),
            Self::V1(superblock) => {
                superblock.set_resync(resync);
                Ok(())
            }
        }
    }

    /// The reshape that is recorded, if one is.
    #[must_use]
    pub fn reshape(&self) -> Option<Reshape> {
        ask!(self, superblock => superblock.reshape())
    }

    /// Records a reshape.
    ///
    /// # Errors
    ///
    /// [`DoesNotFit`] if the version cannot say it.
    pub fn set_reshape(&mut self, reshape: &Reshape) -> Result<(), DoesNotFit> {
        ask!(self, superblock => superblock.set_reshape(reshape))
    }

    /// Records that no reshape is under way. The other fields are to be set to what is now true.
    pub fn clear_reshape(&mut self) {
        ask!(self, superblock => superblock.clear_reshape());
    }

    /// The feature bits of version 1; none for 0.90.
    #[must_use]
    pub fn features(&self) -> Features {
        match self {
            Self::V0(_) => Features::empty(),
            Self::V1(superblock) => superblock.features(),
        }
    }
}

/// This device, and the table of all.
impl Superblock {
    /// The number of this device in the table (`dev_number`, `this_disk.number`).
    #[must_use]
    pub fn dev_number(&self) -> u32 {
        match self {
            Self::V0(superblock) => superblock.this_disk().number,
            Self::V1(superblock) => superblock.dev_number(),
        }
    }

    /// The role of this device.
    #[must_use]
    pub fn role(&self) -> Role {
        ask!(self, superblock => superblock.role())
    }

    /// The role of device `number`; `None` if the superblock says nothing about it. In version 1
    /// entries that were never used read as "spare".
    #[must_use]
    pub fn role_of(&self, number: u32) -> Option<Role> {
        ask!(self, superblock => superblock.role_of(number))
    }

    /// Sets the role of device `number`.
    ///
    /// # Errors
    ///
    /// [`DoesNotFit`] if it is not in the table, or the version has no such role.
    pub fn set_role(&mut self, number: u32, role: Role) -> Result<(), DoesNotFit> {
        ask!(self, superblock => superblock.set_role(number, role))
    }

    /// Says of every device what `other`, of the same array, says.
    ///
    /// # Errors
    ///
    /// [`DoesNotFit`] if a device is not in this table.
    pub fn take_roles(&mut self, other: &Self) -> Result<(), DoesNotFit> {
        match (self, other) {
            (Self::V0(own), Self::V0(other)) => own.take_descriptors(other),
            (own, other) => (0..other.max_dev())
                .filter_map(|number| Some((number, other.role_of(number)?)))
                .try_for_each(|(number, role)| own.set_role(number, role)),
        }
    }

    /// The entries of the table of roles: device numbers are below it (`max_dev`).
    #[must_use]
    pub fn max_dev(&self) -> u32 {
        match self {
            Self::V0(_) => DESCRIPTORS,
            Self::V1(superblock) => superblock.max_dev(),
        }
    }

    /// This device's own name for machines (`device_uuid`); 0.90 has none.
    #[must_use]
    pub fn device_uuid(&self) -> Option<Uuid> {
        match self {
            Self::V0(_) => None,
            Self::V1(superblock) => Some(superblock.device_uuid()),
        }
    }

    /// What the device is to be used for.
    #[must_use]
    pub fn device_flags(&self) -> DeviceFlags {
        match self {
            Self::V0(superblock) => superblock.this_disk().flags(),
            Self::V1(superblock) => superblock.device_flags(),
        }
    }

    /// Where the member's data begins; in 0.90 at the device's start. During a reshape, that of
    /// the old layout.
    #[must_use]
    pub fn data_offset(&self) -> Sector {
        match self {
            Self::V0(_) => Sector::new(0),
            Self::V1(superblock) => superblock.data_offset(),
        }
    }

    /// The sectors from the data offset on that may hold data (`data_size`); in 0.90 all before
    /// the superblock.
    #[must_use]
    pub fn data_size(&self) -> Sectors {
        match self {
            Self::V0(superblock) => Sectors::new(superblock.at().get()),
            Self::V1(superblock) => superblock.data_size(),
        }
    }

    /// Up to where this member is in sync, if not everywhere (`recovery_offset`).
    #[must_use]
    pub fn recovery_offset(&self) -> Option<MemberSector> {
        match self {
            Self::V0(_) => None,
            Self::V1(superblock) => superblock.recovery_offset(),
        }
    }
}

/// What lies beside the data.
impl Superblock {
    /// Where the internal bitmap begins, if there is one.
    ///
    /// # Errors
    ///
    /// [`Misplaced`] if that is before the device.
    pub fn bitmap_at(&self) -> Result<Option<Sector>, Misplaced> {
        match self {
            Self::V0(superblock) => Ok(superblock.bitmap_at()),
            Self::V1(superblock) => superblock.bitmap_at(),
        }
    }

    /// Where the bad-block log is, if there is one.
    ///
    /// # Errors
    ///
    /// [`Misplaced`] if that is before the device.
    pub fn bad_blocks_at(&self) -> Result<Option<Area>, Misplaced> {
        match self {
            Self::V0(_) => Ok(None),
            Self::V1(superblock) => superblock.bad_blocks_at(),
        }
    }

    /// Where the partial parity log is, if there is one.
    ///
    /// # Errors
    ///
    /// [`Misplaced`] if that is before the device.
    pub fn ppl_area(&self) -> Result<Option<Area>, Misplaced> {
        match self {
            Self::V0(_) => Ok(None),
            Self::V1(superblock) => superblock.ppl_area(),
        }
    }
}
