//! The superblock 0.90: 1024 words in the byte order of the host that made the array.
//!
//! The block is kept as it was read, as for [`V1`](super::V1).
//! `docs/formats/md-superblock-0.90.md` has the table.

mod descriptors;
mod fields;

pub use descriptors::{Counts, Descriptor};

use kcopy::Sector;

use super::bytes::{Block, ByteOrder};
use super::error::SuperblockError;
use super::v1::{MAGIC, SUPER_BYTES};

/// The devices that a superblock can describe.
pub const DESCRIPTORS: u32 = 27;

/// The minor version of an array at rest.
const MINOR_RESTING: u32 = 90;
/// The minor version while a reshape is recorded.
const MINOR_RESHAPING: u32 = 91;

/// The places of the fields, by the kernel's names.
mod at {
    pub(super) const MAGIC: usize = 0;
    pub(super) const MAJOR_VERSION: usize = 4;
    pub(super) const MINOR_VERSION: usize = 8;
    pub(super) const PATCH_VERSION: usize = 12;
    pub(super) const SET_UUID0: usize = 20;
    pub(super) const CTIME: usize = 24;
    pub(super) const LEVEL: usize = 28;
    pub(super) const SIZE: usize = 32;
    pub(super) const NR_DISKS: usize = 36;
    pub(super) const RAID_DISKS: usize = 40;
    pub(super) const MD_MINOR: usize = 44;
    pub(super) const SET_UUID1: usize = 52;
    pub(super) const SET_UUID2: usize = 56;
    pub(super) const SET_UUID3: usize = 60;
    pub(super) const UTIME: usize = 128;
    pub(super) const STATE: usize = 132;
    pub(super) const ACTIVE_DISKS: usize = 136;
    pub(super) const WORKING_DISKS: usize = 140;
    pub(super) const FAILED_DISKS: usize = 144;
    pub(super) const SPARE_DISKS: usize = 148;
    pub(super) const SB_CSUM: usize = 152;
    pub(super) const EVENTS: usize = 156;
    pub(super) const CP_EVENTS: usize = 164;
    pub(super) const RECOVERY_CP: usize = 172;
    pub(super) const RESHAPE_POSITION: usize = 176;
    pub(super) const NEW_LEVEL: usize = 184;
    pub(super) const DELTA_DISKS: usize = 188;
    pub(super) const NEW_LAYOUT: usize = 192;
    pub(super) const NEW_CHUNK: usize = 196;
    pub(super) const LAYOUT: usize = 256;
    pub(super) const CHUNK_SIZE: usize = 260;
    pub(super) const DISKS: usize = 512;
    pub(super) const THIS_DISK: usize = 3968;
}

/// A superblock 0.90 of one device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct V0 {
    block: Block<SUPER_BYTES>,
    at: Sector,
    changed: bool,
}

impl V0 {
    /// Reads the superblock that was found at sector `at` of its device, and checks it.
    ///
    /// # Errors
    ///
    /// What [`decode`](Self::decode) and [`check`](Self::check) refuse.
    pub fn parse(bytes: &[u8], at: Sector) -> Result<Self, SuperblockError> {
        let superblock = Self::decode(bytes, at)?;
        superblock.check()?;
        Ok(superblock)
    }

    /// Reads a superblock of either byte order without a look at its checksum.
    ///
    /// # Errors
    ///
    /// When there are fewer than 4096 bytes, or no superblock 0.90 or 0.91 in them.
    pub fn decode(bytes: &[u8], at: Sector) -> Result<Self, SuperblockError> {
        let too_short = || SuperblockError::TooShort { at, have: bytes.len() };
        let mut block = Block::read(bytes, ByteOrder::Little).ok_or_else(too_short)?;
        let magic = block.u32(at::MAGIC);
        if magic == MAGIC.swap_bytes() {
            block = Block::read(bytes, ByteOrder::Big).ok_or_else(too_short)?;
        } else if magic != MAGIC {
            return Err(SuperblockError::NoMagic { at, found: magic });
        }
        let major = block.u32(at::MAJOR_VERSION);
        if major != 0 {
            return Err(SuperblockError::Major { at, found: major, expected: 0 });
        }
        let minor = block.u32(at::MINOR_VERSION);
        if !matches!(minor, MINOR_RESTING | MINOR_RESHAPING) {
            return Err(SuperblockError::Minor { at, found: minor });
        }
        Ok(Self { block, at, changed: false })
    }

    /// Whether the superblock's checksum is right. Only its folded 16 bits are compared, as the
    /// kernel does: there have been arrays with nothing else.
    ///
    /// # Errors
    ///
    /// [`SuperblockError::Checksum`].
    pub fn check(&self) -> Result<(), SuperblockError> {
        let (stored, computed) = (self.stored_checksum(), self.checksum());
        if !self.changed && folded(stored) != folded(computed) {
            return Err(SuperblockError::Checksum { at: self.at, stored, computed });
        }
        Ok(())
    }

    /// A superblock of which only the magic and the version are set.
    pub(super) fn blank(order: ByteOrder, at: Sector) -> Self {
        let mut block = Block::zeroed(order);
        block.put_u32(at::MAGIC, MAGIC);
        block.put_u32(at::MINOR_VERSION, MINOR_RESTING);
        Self { block, at, changed: true }
    }

    /// The whole 4096 bytes, with a right checksum if anything was set since they were read.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut block = self.block.clone();
        if self.changed {
            block.put_u32(at::SB_CSUM, self.checksum());
        }
        block.bytes().to_vec()
    }

    /// The sum over all words but the checksum itself (`sb_csum`).
    #[must_use]
    pub fn checksum(&self) -> u32 {
        let sum = self.block.sum_of_words(SUPER_BYTES);
        let sum = sum.wrapping_sub(u64::from(self.stored_checksum()));
        let [low, high] = super::v1::halves(sum);
        low.wrapping_add(high)
    }

    /// The checksum as it was read (`sb_csum`).
    #[must_use]
    pub fn stored_checksum(&self) -> u32 {
        self.block.u32(at::SB_CSUM)
    }

    /// The byte order of the host that made the array.
    #[must_use]
    pub const fn byte_order(&self) -> ByteOrder {
        self.block.order()
    }

    /// The sector of the device it was read from or is for.
    #[must_use]
    pub const fn at(&self) -> Sector {
        self.at
    }

    /// The same superblock for another place, as when a device grows.
    pub const fn move_to(&mut self, at: Sector) {
        self.at = at;
    }
}

/// `sum` in 16 bits.
const fn folded(sum: u32) -> u32 {
    // Neither sum wraps: its parts have 16 bits.
    let once = (sum & 0xffff).wrapping_add(sum >> 16);
    (once & 0xffff).wrapping_add(once >> 16)
}

#[cfg(test)]
mod tests {
    use kcopy::Sectors;

    use super::*;
    use crate::metadata::facts::{Direction, Reshape, Role};
    use crate::units::{ArraySector, Slot};

    /// The same array as a host of the other byte order would have written it: words are swapped,
    /// and the two words of each number of 64 bits change places.
    fn swapped(bytes: &[u8]) -> Vec<u8> {
        let mut swapped = bytes.to_vec();
        swapped.chunks_exact_mut(4).for_each(<[u8]>::reverse);
        for at in [at::EVENTS, at::CP_EVENTS, at::RESHAPE_POSITION] {
            swapped[at..at + 8].rotate_left(4);
        }
        swapped
    }

    fn example() -> V0 {
        let mut superblock = V0::blank(ByteOrder::Little, Sector::new(16256));
        superblock.set_uuid("1a8b9873:fdb271c7:7d0aaead:5c09db6b".parse().unwrap());
        superblock.set_events(0x1_0000_0002);
        superblock.set_level(-1);
        superblock
    }

    #[test]
    fn both_byte_orders_say_the_same() {
        let little = example();
        let bytes = little.to_bytes();
        let big = V0::parse(&swapped(&bytes), little.at()).unwrap();
        assert_eq!(big.byte_order(), ByteOrder::Big);
        assert_eq!(big.to_bytes(), swapped(&bytes));
        assert_eq!(big.checksum(), V0::parse(&bytes, little.at()).unwrap().checksum());
        assert_eq!(big.uuid(), little.uuid());
        assert_eq!(big.events(), 0x1_0000_0002);
        assert_eq!(big.level(), -1);
    }

    #[test]
    fn checksum_is_compared_in_16_bits() {
        let mut bytes = example().to_bytes();
        let sum = V0::parse(&bytes, Sector::new(0)).unwrap().checksum();
        bytes[at::SB_CSUM..at::SB_CSUM + 4].copy_from_slice(&folded(sum).to_le_bytes());
        let read = V0::parse(&bytes, Sector::new(0)).unwrap();
        assert_eq!(read.to_bytes(), bytes, "what was accepted is not changed");
        bytes[at::LEVEL] ^= 4;
        let error = V0::parse(&bytes, Sector::new(0)).unwrap_err();
        assert!(matches!(error, SuperblockError::Checksum { .. }), "{error}");
    }

    #[test]
    fn what_is_no_superblock_is_refused() {
        let bytes = example().to_bytes();
        for length in 0..bytes.len() {
            V0::parse(&bytes[..length], Sector::new(0)).unwrap_err();
        }
        let with = |at: usize, value: u8| {
            let mut bytes = bytes.clone();
            bytes[at] = value;
            V0::parse(&bytes, Sector::new(0)).unwrap_err()
        };
        assert!(matches!(with(0, 1), SuperblockError::NoMagic { .. }));
        assert!(matches!(with(4, 1), SuperblockError::Major { .. }));
        assert!(matches!(with(8, 92), SuperblockError::Minor { .. }));
    }

    /// An array of three, whose device 1 is missing, and a spare that goes by number 3.
    fn degraded() -> V0 {
        let mut superblock = example();
        superblock.set_level(5);
        superblock.set_raid_disks(3);
        for number in [0, 2] {
            superblock.set_role(number, Role::Active(Slot::new(number))).unwrap();
        }
        superblock.set_descriptor(1, Descriptor::missing(Slot::new(1))).unwrap();
        superblock.set_role(3, Role::Spare).unwrap();
        superblock.set_this_disk(3).unwrap();
        superblock
    }

    /// A degraded array that grew and filled its empty slot on the way was not started by mdadm: "ignoring .. as it
    /// reports .. as failed". The descriptor of the slot's number still said that nobody is there.
    #[test]
    fn nothing_says_that_a_slot_is_empty_while_a_reshape_fills_it() {
        let mut superblock = degraded();
        let growth = Reshape {
            position: ArraySector::new(0),
            delta_disks: 1,
            raid_disks_new: 4,
            direction: Direction::Forwards,
            new_level: 5,
            new_layout: 2,
            new_chunk: Sectors::new(128),
            new_offset: 0,
        };
        superblock.set_filling(3, Slot::new(1)).unwrap();
        superblock.set_reshape(&growth).unwrap();
        superblock.recount();
        assert_eq!((superblock.role(), superblock.role_of(1)), (Role::Active(Slot::new(1)), None));
        superblock.set_role(3, Role::Spare).unwrap();
        assert_eq!(superblock.descriptor(1), Some(Descriptor::missing(Slot::new(1))));
        // A slot that goes with the reshape leaves nothing behind.
        superblock.set_filling(1, Slot::new(3)).unwrap();
        superblock.set_role(3, Role::Active(Slot::new(1))).unwrap();
        superblock.set_role(1, Role::Spare).unwrap();
        assert_eq!(superblock.role_of(3), Some(Role::Active(Slot::new(1))));
    }

    /// The same where the slot was filled before the reshape began: two disks were added to a degraded RAID6, the first
    /// took the empty slot.
    #[test]
    fn nothing_says_that_a_slot_is_empty_in_which_somebody_is() {
        let mut superblock = degraded();
        superblock.set_role(3, Role::Active(Slot::new(1))).unwrap();
        superblock.recount();
        let counts = superblock.counts();
        assert_eq!((superblock.role_of(1), counts.failed, counts.active), (None, 0, 3));
        superblock.set_role(3, Role::Spare).unwrap();
        superblock.recount();
        assert_eq!(superblock.descriptor(1), Some(Descriptor::missing(Slot::new(1))));
    }

    /// Half of the members of a RAID10 are spares of the RAID0 that it becomes: mdadm took them for copies of the
    /// others ("appear to have very similar superblocks"), for a spare has its number where a member has its slot.
    #[test]
    fn a_spare_is_no_copy_of_the_member_in_the_slot_of_its_number() {
        let mut superblock = degraded();
        superblock.set_raid_disks(2);
        superblock.set_role(1, Role::Spare).unwrap();
        superblock.set_role(2, Role::Active(Slot::new(1))).unwrap();
        superblock.set_this_disk(1).unwrap();
        superblock.recount();
        let places = [0, 1, 2, 3].map(|number| superblock.descriptor(number).unwrap().raid_disk);
        assert_eq!(places, [0, 28, 1, 3]);
        assert_eq!(superblock.this_disk(), superblock.descriptor(1).unwrap());
        assert_eq!(superblock.role(), Role::Spare);
    }

    #[test]
    fn what_another_superblock_says_of_all_devices_is_taken_over_and_this_disk_stays_this_disk() {
        let (mut own, mut other) = (degraded(), degraded());
        other.set_role(3, Role::Active(Slot::new(1))).unwrap();
        other.set_role(2, Role::Faulty).unwrap();
        other.set_this_disk(0).unwrap();
        own.take_descriptors(&other).unwrap();
        let roles = [Some(Role::Faulty), Some(Role::Active(Slot::new(1)))];
        assert_eq!([own.role_of(2), own.role_of(3)], roles);
        assert_eq!((own.this_disk().number, own.role()), (3, Role::Active(Slot::new(1))));
    }
}
