//! Superblocks of a new array.
//!
//! First a [`Placement`] for each device: what lies where on it. Then one [`NewArray`] for all, and
//! from both the superblock of each device.

use kcopy::{Sector, Sectors};

use super::bytes::ByteOrder;
use super::facts::{ArrayName, DoesNotFit, Resync, Role, Timestamp, Uuid};
use super::features::{DeviceFlags, DeviceState, Features};
use super::place::{Minor, TooSmall, Version};
use super::superblock::Superblock;
use super::v0::{DESCRIPTORS, Descriptor, V0};
use super::v1::{BadBlockArea, MAX_DEV, V1};
use crate::geometry::Level;
use crate::units::Slot;

/// Sectors that the kernel's bad-block log has by default.
const BAD_BLOCK_SECTORS: u16 = 8;
/// Sectors before the data that hold the superblock and the log, where 8 precede the superblock.
const BEFORE_DATA: u64 = 24;
/// Room before the data that a new array tries to have, for later reshapes: 128 MiB.
const HEADROOM: u64 = 262_144;
/// Data offsets are multiples of 1 MiB.
const DATA_GRAIN: u64 = 2048;

/// Whether room is kept for an internal bitmap, and used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BitmapRoom {
    /// None: the level can have no bitmap.
    None,
    /// Room only, so that one can be added later.
    Kept,
    /// There is a bitmap.
    Used,
}

/// What lies where on a new member. All sectors count from the device's start, offsets from the
/// superblock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Placement {
    /// The superblock's version.
    pub version: Version,
    /// The superblock.
    pub super_at: Sector,
    /// Where the data begins.
    pub data_offset: Sector,
    /// The sectors that may hold data.
    pub data_size: Sectors,
    /// The internal bitmap, from the superblock.
    pub bitmap_offset: Option<i32>,
    /// The bad-block log.
    pub bad_blocks: Option<BadBlockArea>,
}

impl Placement {
    /// Where things lie on a device of `size` if nobody asks for something else: as mdadm has
    /// placed them since 2012.
    ///
    /// # Errors
    ///
    /// [`TooSmall`] if there is no room for the superblock, its neighbours and some data.
    pub fn usual(
        version: Version,
        size: Sectors,
        chunk: Sectors,
        bitmap: BitmapRoom,
    ) -> Result<Self, TooSmall> {
        let super_at = version.place(size)?;
        let space = bitmap_space(size, bitmap);
        let placement = match version {
            Version::V0 => Self::first(version, super_at, super_at.get(), bitmap),
            Version::V1(Minor::Zero) => {
                let before = u64::from(BAD_BLOCK_SECTORS).saturating_add(u64::from(space));
                Self::first(version, super_at, super_at.get().saturating_sub(before), bitmap)
            }
            Version::V1(Minor::One | Minor::Two) => {
                let room = headroom(size, chunk).saturating_add(u64::from(space));
                let data = BEFORE_DATA.saturating_add(room).next_multiple_of(DATA_GRAIN);
                Self {
                    version,
                    super_at,
                    data_offset: Sector::new(data),
                    data_size: Sectors::new(size.get().saturating_sub(data)),
                    bitmap_offset: (bitmap == BitmapRoom::Used).then_some(8),
                    bad_blocks: Some(log_at(8_i32.saturating_add_unsigned(space))),
                }
            }
        };
        if placement.data_size == Sectors::ZERO {
            let smallest =
                Sectors::new(placement.data_offset.get().max(size.get()).saturating_add(1));
            return Err(TooSmall { version, size, smallest });
        }
        Ok(placement)
    }

    /// Data first, the superblock near the end.
    fn first(version: Version, super_at: Sector, data_size: u64, bitmap: BitmapRoom) -> Self {
        let modern = version != Version::V0;
        // In 1.0 a bitmap lies before the log, which lies before the superblock.
        let bitmap_offset = if modern { -16 } else { 8 };
        Self {
            version,
            super_at,
            data_offset: Sector::new(0),
            data_size: Sectors::new(data_size),
            bitmap_offset: (bitmap == BitmapRoom::Used).then_some(bitmap_offset),
            bad_blocks: modern.then(|| log_at(-8)),
        }
    }
}

const fn log_at(offset: i32) -> BadBlockArea {
    BadBlockArea { offset, size: BAD_BLOCK_SECTORS, shift: 0 }
}

/// Sectors kept for a bitmap.
const fn bitmap_space(size: Sectors, bitmap: BitmapRoom) -> u32 {
    match (bitmap, size.get()) {
        (BitmapRoom::None, _) | (_, 0..128) => 0,
        (_, ..=SMALL) => 8,
        (_, ..=LARGE) => 128,
        _ => 256,
    }
}
/// 8 GiB in sectors.
const SMALL: u64 = 8 << 21;
/// 200 GiB in sectors.
const LARGE: u64 = 200 << 21;

/// Free sectors before the data: at most a thousandth of the device, but at least two chunks.
const fn headroom(size: Sectors, chunk: Sectors) -> u64 {
    let two_chunks = chunk.get().saturating_mul(2);
    let mut headroom = HEADROOM;
    // Ends: it is halved each time, and `two_chunks` is at least 1 in the comparison.
    while headroom.saturating_mul(1024) > size.get() && headroom > 1 && headroom / 2 >= two_chunks {
        headroom /= 2;
    }
    headroom
}

/// A device in the table of a new array.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NewDevice {
    /// What it is.
    pub role: Role,
    /// What it is to be used for.
    pub flags: DeviceFlags,
    /// The number of its driver and its number there, kept by 0.90 only.
    pub major_minor: (u32, u32),
}

/// What all superblocks of a new array say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewArray {
    /// The array's name for machines.
    pub uuid: Uuid,
    /// Its name for people; 0.90 has none.
    pub name: ArrayName,
    /// When it was made, and its superblocks were written.
    pub creation_time: Timestamp,
    /// The level.
    pub level: Level,
    /// The layout, as a number of md.
    pub layout: u32,
    /// The chunk.
    pub chunk: Sectors,
    /// The slots.
    pub raid_disks: u32,
    /// The sectors of each member that are used; 0 for levels 0 and linear of version 1.
    pub component_size: Sectors,
    /// What of the parity or the copies is in step.
    pub resync: Resync,
    /// The count of changes to begin with.
    pub events: u64,
    /// The number in the name of its device, kept by 0.90 only.
    pub md_minor: u32,
    /// Bits that do not follow from the rest, such as [`Features::RAID0_LAYOUT`] for members of
    /// different sizes; 0.90 has none.
    pub features: Features,
    /// All devices; the place in the list is the device's number.
    pub devices: Vec<NewDevice>,
}

impl NewArray {
    /// The superblock of device `number`, whose own name is `device_uuid` (0.90 has none).
    ///
    /// # Errors
    ///
    /// [`DoesNotFit`] if the version cannot say all of it, or there is no such device.
    pub fn superblock(
        &self,
        number: u32,
        placement: &Placement,
        device_uuid: Uuid,
    ) -> Result<Superblock, DoesNotFit> {
        let version = placement.version;
        let device = usize::try_from(number).ok().and_then(|index| self.devices.get(index));
        let value = i128::from(number);
        let field = "dev_number";
        let device = device.ok_or_else(|| DoesNotFit { field, version: version.name(), value })?;
        match version {
            Version::V0 => self.v0(number, placement).map(Superblock::V0),
            Version::V1(minor) => {
                let mut superblock = self.v1(number, minor, placement)?;
                superblock.set_device_uuid(device_uuid);
                superblock.set_device_flags(device.flags);
                Ok(Superblock::V1(superblock))
            }
        }
    }

    fn v1(&self, number: u32, minor: Minor, placement: &Placement) -> Result<V1, DoesNotFit> {
        let mut superblock = V1::blank(minor, placement.super_at, self.max_dev()?);
        for (number, device) in (0..).zip(&self.devices) {
            superblock.set_role(number, device.role)?;
        }
        superblock.set_dev_number(number);
        superblock.set_uuid(self.uuid);
        superblock.set_name(self.name);
        superblock.set_creation_time(self.creation_time);
        superblock.set_update_time(self.creation_time);
        superblock.set_level(self.level.to_md());
        superblock.set_layout(self.layout);
        superblock.set_component_size(self.component_size);
        superblock.set_chunk(self.chunk)?;
        superblock.set_raid_disks(self.raid_disks);
        superblock.set_data_offset(placement.data_offset);
        superblock.set_data_size(placement.data_size);
        superblock.set_events(self.events);
        superblock.set_resync(self.resync);
        let mut features = self.features;
        if self.devices.iter().any(|device| device.role == Role::Journal) {
            features |= Features::JOURNAL;
        }
        superblock.set_features(features);
        superblock.set_bitmap_offset(placement.bitmap_offset);
        superblock.set_bad_blocks(placement.bad_blocks);
        Ok(superblock)
    }

    /// As many roles as fill the sectors that the devices need.
    fn max_dev(&self) -> Result<u32, DoesNotFit> {
        let count = self.devices.len();
        let bytes = count.saturating_mul(2).saturating_add(256).next_multiple_of(512);
        let roles = u32::try_from(bytes.saturating_sub(256) / 2).ok();
        roles.filter(|roles| *roles <= MAX_DEV).ok_or_else(|| {
            let value = i128::try_from(count).unwrap_or(i128::MAX);
            DoesNotFit { field: "max_dev", version: "1.x", value }
        })
    }

    fn v0(&self, number: u32, placement: &Placement) -> Result<V0, DoesNotFit> {
        let mut superblock = V0::blank(ByteOrder::Little, placement.super_at);
        superblock.set_uuid(self.uuid);
        superblock.set_creation_time(self.creation_time)?;
        superblock.set_update_time(self.creation_time)?;
        superblock.set_level(self.level.to_md());
        superblock.set_layout(self.layout);
        superblock.set_component_size(self.component_size)?;
        superblock.set_chunk(self.chunk)?;
        superblock.set_raid_disks(self.raid_disks);
        superblock.set_md_minor(self.md_minor);
        superblock.set_events(self.events);
        match self.resync {
            Resync::Clean => superblock.begin_clean(),
            Resync::From(_) => superblock.set_resync(self.resync)?,
        }
        if placement.bitmap_offset.is_some() {
            superblock.add_bitmap();
        }
        // Slots without a device are described as well, as far as there is room.
        for slot in 0..self.raid_disks.min(DESCRIPTORS) {
            superblock.set_descriptor(slot, Descriptor::missing(Slot::new(slot)))?;
        }
        for (number, device) in (0..).zip(&self.devices) {
            let (major, minor) = device.major_minor;
            let mut state = DeviceState::empty();
            state.set(DeviceState::WRITE_MOSTLY, device.flags.contains(DeviceFlags::WRITE_MOSTLY));
            state.set(DeviceState::FAIL_FAST, device.flags.contains(DeviceFlags::FAIL_FAST));
            let described = Descriptor { number, major, minor, raid_disk: number, state };
            superblock.set_descriptor(number, described)?;
            superblock.set_role(number, device.role)?;
        }
        superblock.recount();
        superblock.set_this_disk(number)?;
        Ok(superblock)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn array(devices: usize) -> NewArray {
        let device = |number| NewDevice {
            role: Role::Active(Slot::new(number)),
            flags: DeviceFlags::empty(),
            major_minor: (7, number),
        };
        NewArray {
            uuid: "1a8b9873:fdb271c7:7d0aaead:5c09db6b".parse().unwrap(),
            name: ArrayName::new("host:0").unwrap(),
            creation_time: Timestamp::from_seconds(1_700_000_000),
            level: Level::Raid5,
            layout: 2,
            chunk: Sectors::new(128),
            raid_disks: 3,
            component_size: Sectors::new(14336),
            resync: Resync::From(0),
            events: 0,
            md_minor: 0,
            features: Features::empty(),
            devices: (0..u32::try_from(devices).unwrap()).map(device).collect(),
        }
    }

    /// The numbers are those of arrays that mdadm 4.2 made.
    #[test]
    fn usual_places_are_those_of_mdadm() {
        let usual = |version, size, chunk, bitmap| {
            let sizes = (Sectors::new(size), Sectors::new(chunk));
            let found = Placement::usual(version, sizes.0, sizes.1, bitmap).unwrap();
            let log = found.bad_blocks.map(|log| log.offset);
            (found.data_offset.get(), found.data_size.get(), found.bitmap_offset, log)
        };
        let (one, two) = (Version::V1(Minor::One), Version::V1(Minor::Two));
        let zero = Version::V1(Minor::Zero);
        let (none, kept, used) = (BitmapRoom::None, BitmapRoom::Kept, BitmapRoom::Used);
        for (asked, expected) in [
            ((two, 16384, 128, kept), (2048, 14336, None, Some(16))),
            ((two, 16384, 128, used), (2048, 14336, Some(8), Some(16))),
            ((two, 16384, 128, none), (2048, 14336, None, Some(8))),
            ((two, 32768, 1024, kept), (4096, 28672, None, Some(16))),
            ((one, 16384, 128, kept), (2048, 14336, None, Some(16))),
            ((zero, 16384, 128, kept), (0, 16352, None, Some(-8))),
            ((Version::V0, 16384, 128, kept), (0, 16256, None, None)),
            ((Version::V0, 16384, 128, used), (0, 16256, Some(8), None)),
        ] {
            let (version, size, chunk, bitmap) = asked;
            assert_eq!(usual(version, size, chunk, bitmap), expected, "{asked:?}");
        }
        // A terabyte: 128 MiB before the data.
        assert_eq!(usual(two, 1 << 31, 1024, kept).0, 264_192);
    }

    #[test]
    fn devices_without_room_for_data_are_refused() {
        for version in Version::ALL {
            let place = |size| {
                Placement::usual(version, Sectors::new(size), Sectors::new(128), BitmapRoom::Kept)
            };
            let smallest = (0..10_000).find(|size| place(*size).is_ok()).unwrap();
            assert!(place(smallest).unwrap().data_size > Sectors::ZERO);
        }
    }

    #[test]
    fn what_was_built_is_read_back() {
        for version in Version::ALL {
            let (size, chunk) = (Sectors::new(16384), Sectors::new(128));
            let placement = Placement::usual(version, size, chunk, BitmapRoom::Used).unwrap();
            let built = array(3).superblock(1, &placement, Uuid([7; 16])).unwrap();
            let read = Superblock::parse(&built.to_bytes(), version, placement.super_at).unwrap();
            assert_eq!(read.to_bytes(), built.to_bytes());
            assert_eq!(read.uuid(), array(3).uuid);
            assert_eq!(read.level(), Some(Level::Raid5));
            assert_eq!(read.role(), Role::Active(Slot::new(1)));
            assert_eq!(read.role_of(2), Some(Role::Active(Slot::new(2))));
            assert_eq!((read.dev_number(), read.raid_disks()), (1, 3));
            assert_eq!((read.chunk(), read.component_size()), (chunk, Sectors::new(14336)));
            assert_eq!(
                (read.data_offset(), read.data_size()),
                (placement.data_offset, placement.data_size)
            );
            assert_eq!(read.resync(), Resync::From(0));
            assert!(read.bitmap_at().unwrap().is_some());
            array(3).superblock(3, &placement, Uuid([7; 16])).unwrap_err();
        }
    }

    #[test]
    fn table_of_roles_fills_whole_sectors() {
        for (devices, roles) in [(1, 128), (128, 128), (129, 384), (1920, 1920)] {
            assert_eq!(array(devices).max_dev(), Ok(roles));
        }
        array(1921).max_dev().unwrap_err();
    }

    #[test]
    fn missing_devices_of_0_90_are_described_and_counted() {
        let size = Sectors::new(16384);
        let placement =
            Placement::usual(Version::V0, size, Sectors::new(128), BitmapRoom::None).unwrap();
        let Superblock::V0(built) = array(2).superblock(0, &placement, Uuid::default()).unwrap()
        else {
            panic!("asked for 0.90");
        };
        assert_eq!(built.role_of(2), Some(Role::Faulty));
        let counts = built.counts();
        assert_eq!((counts.total, counts.active, counts.working), (2, 2, 2));
        assert_eq!((counts.failed, counts.spare), (1, 0));
        assert_eq!(built.role_of(3), None);
    }
}
