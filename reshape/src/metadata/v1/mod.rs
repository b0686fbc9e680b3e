//! The superblock 1.x: 256 bytes and a table of roles, always little-endian.
//!
//! The block is kept as it was read. What is asked for is read from it, what is set is written into
//! it, and only a block in which something was set gets a new checksum: a superblock that is read
//! and written again has the same bytes. `docs/formats/md-superblock-1.md` has the table.

mod fields;

pub use fields::BadBlockArea;

use kcopy::{Sector, Sectors};

use super::bytes::{Block, ByteOrder};
use super::error::SuperblockError;
use super::place::{Minor, Version};

/// The bytes of a superblock, table of roles included.
pub const SUPER_BYTES: usize = 4096;
/// The number at the head of every superblock of md (`md_magic`).
pub const MAGIC: u32 = 0xa92b_4efc;
/// The most roles there is room for.
pub const MAX_DEV: u32 = 1920;

/// Where the table of roles begins.
const ROLES: usize = 256;

/// The places of the fields, by the kernel's names.
mod at {
    pub(super) const MAGIC: usize = 0;
    pub(super) const MAJOR_VERSION: usize = 4;
    pub(super) const FEATURE_MAP: usize = 8;
    pub(super) const PAD0: usize = 12;
    pub(super) const SET_UUID: usize = 16;
    pub(super) const SET_NAME: usize = 32;
    pub(super) const CTIME: usize = 64;
    pub(super) const LEVEL: usize = 72;
    pub(super) const LAYOUT: usize = 76;
    pub(super) const SIZE: usize = 80;
    pub(super) const CHUNKSIZE: usize = 88;
    pub(super) const RAID_DISKS: usize = 92;
    pub(super) const BITMAP_OFFSET: usize = 96;
    pub(super) const PPL_OFFSET: usize = 96;
    pub(super) const PPL_SIZE: usize = 98;
    pub(super) const NEW_LEVEL: usize = 100;
    pub(super) const RESHAPE_POSITION: usize = 104;
    pub(super) const DELTA_DISKS: usize = 112;
    pub(super) const NEW_LAYOUT: usize = 116;
    pub(super) const NEW_CHUNK: usize = 120;
    pub(super) const NEW_OFFSET: usize = 124;
    pub(super) const DATA_OFFSET: usize = 128;
    pub(super) const DATA_SIZE: usize = 136;
    pub(super) const SUPER_OFFSET: usize = 144;
    pub(super) const RECOVERY_OFFSET: usize = 152;
    pub(super) const JOURNAL_TAIL: usize = 152;
    pub(super) const DEV_NUMBER: usize = 160;
    pub(super) const CNT_CORRECTED_READ: usize = 164;
    pub(super) const DEVICE_UUID: usize = 168;
    pub(super) const DEVFLAGS: usize = 184;
    pub(super) const BBLOG_SHIFT: usize = 185;
    pub(super) const BBLOG_SIZE: usize = 186;
    pub(super) const BBLOG_OFFSET: usize = 188;
    pub(super) const UTIME: usize = 192;
    pub(super) const EVENTS: usize = 200;
    pub(super) const RESYNC_OFFSET: usize = 208;
    pub(super) const SB_CSUM: usize = 216;
    pub(super) const MAX_DEV: usize = 220;
    pub(super) const LOGICAL_BLOCK_SIZE: usize = 224;
    pub(super) const PAD3: usize = 228;
}

/// A superblock 1.0, 1.1 or 1.2 of one device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct V1 {
    block: Block<SUPER_BYTES>,
    minor: Minor,
    at: Sector,
    changed: bool,
}

impl V1 {
    /// Reads the superblock that was found at sector `at` of its device, where version `minor`
    /// has its place, and checks it.
    ///
    /// # Errors
    ///
    /// What [`decode`](Self::decode) and [`check`](Self::check) refuse.
    pub fn parse(bytes: &[u8], minor: Minor, at: Sector) -> Result<Self, SuperblockError> {
        let superblock = Self::decode(bytes, minor, at)?;
        superblock.check()?;
        Ok(superblock)
    }

    /// Reads a superblock without a look at its checksum and its own idea of its place.
    ///
    /// # Errors
    ///
    /// When there are fewer than 4096 bytes, or no superblock of major version 1 in them, or its
    /// table of roles would not fit.
    pub fn decode(bytes: &[u8], minor: Minor, at: Sector) -> Result<Self, SuperblockError> {
        let block = Block::read(bytes, ByteOrder::Little)
            .ok_or(SuperblockError::TooShort { at, have: bytes.len() })?;
        let magic = block.u32(at::MAGIC);
        if magic != MAGIC {
            return Err(SuperblockError::NoMagic { at, found: magic });
        }
        let major = block.u32(at::MAJOR_VERSION);
        if major != 1 {
            return Err(SuperblockError::Major { at, found: major, expected: 1 });
        }
        let max_dev = block.u32(at::MAX_DEV);
        if max_dev > MAX_DEV {
            return Err(SuperblockError::MaxDev { at, max_dev });
        }
        Ok(Self { block, minor, at, changed: false })
    }

    /// Whether the superblock may be believed: its checksum is right and it lies where it says.
    ///
    /// # Errors
    ///
    /// [`SuperblockError::Checksum`] or [`SuperblockError::OtherPlace`].
    pub fn check(&self) -> Result<(), SuperblockError> {
        let (stored, computed) = (self.stored_checksum(), self.checksum());
        if stored != computed && !self.changed {
            return Err(SuperblockError::Checksum { at: self.at, stored, computed });
        }
        if self.super_offset() != self.at {
            return Err(SuperblockError::OtherPlace { at: self.at, stated: self.super_offset() });
        }
        Ok(())
    }

    /// A superblock of which only the magic, the version, its place and `max_dev` are set; all
    /// roles are "spare", which is what an entry without a device says.
    pub(super) fn blank(minor: Minor, at: Sector, max_dev: u32) -> Self {
        let mut block = Block::zeroed(ByteOrder::Little);
        block.put_u32(at::MAGIC, MAGIC);
        block.put_u32(at::MAJOR_VERSION, 1);
        block.put_u64(at::SUPER_OFFSET, at.get());
        block.put_u32(at::MAX_DEV, max_dev.min(MAX_DEV));
        block.fill_from(ROLES, 0xff);
        Self { block, minor, at, changed: true }
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

    /// How many of the bytes may be written to a device with logical blocks of `logical_block`
    /// bytes: an old internal bitmap may follow one kilobyte after the superblock's start.
    #[must_use]
    pub fn write_length(&self, logical_block: usize) -> usize {
        self.summed_length().next_multiple_of(logical_block.clamp(1, SUPER_BYTES)).min(SUPER_BYTES)
    }

    /// The sum over all bytes up to the last role, without the checksum itself (`sb_csum`).
    #[must_use]
    pub fn checksum(&self) -> u32 {
        let sum = self.block.sum_of_words(self.summed_length());
        let sum = sum.wrapping_sub(u64::from(self.stored_checksum()));
        let [low, high] = halves(sum);
        low.wrapping_add(high)
    }

    /// The checksum as it was read (`sb_csum`).
    #[must_use]
    pub fn stored_checksum(&self) -> u32 {
        self.block.u32(at::SB_CSUM)
    }

    /// 1.0, 1.1 or 1.2.
    #[must_use]
    pub const fn version(&self) -> Version {
        Version::V1(self.minor)
    }

    /// Which of the three places it is for.
    #[must_use]
    pub const fn minor(&self) -> Minor {
        self.minor
    }

    /// The sector of the device it was read from or is for.
    #[must_use]
    pub const fn at(&self) -> Sector {
        self.at
    }

    /// The same superblock for another place, as when a device grows (1.0).
    pub fn move_to(&mut self, at: Sector) {
        self.at = at;
        self.block.put_u64(at::SUPER_OFFSET, at.get());
        self.changed = true;
    }

    /// Bytes that the checksum covers: all up to the last role.
    fn summed_length(&self) -> usize {
        // At most 1920 roles, as was checked when the block was made.
        let roles = usize::try_from(self.max_dev()).unwrap_or(0);
        roles.saturating_mul(2).saturating_add(ROLES).min(SUPER_BYTES)
    }

    /// Whether all bytes that have no meaning are zero. A kernel older than a use of them refuses
    /// the superblock otherwise.
    #[must_use]
    pub fn pads_are_zero(&self) -> bool {
        self.block.is_zero(at::PAD0, 4) && self.block.is_zero(at::PAD3, 28)
    }
}

/// The low and the high 32 bits.
pub(super) fn halves(sum: u64) -> [u32; 2] {
    let [a, b, c, d, e, f, g, h] = sum.to_le_bytes();
    [u32::from_le_bytes([a, b, c, d]), u32::from_le_bytes([e, f, g, h])]
}

/// Sectors that a superblock and its table of roles take up; data and bitmaps lie behind them.
pub const RESERVED: Sectors = Sectors::new(8);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metadata::Timestamp;

    /// The vector: everything zero but the magic, the version and 128 entries that are unused.
    #[test]
    fn checksum_is_the_known_one() {
        let mut superblock = V1::blank(Minor::One, Sector::new(0), 128);
        assert_eq!(superblock.checksum(), 0xa92b_4f7d);
        superblock.set_events(1);
        assert_ne!(superblock.checksum(), 0xa92b_4f7d);
    }

    #[test]
    fn odd_number_of_roles_is_summed_to_the_last() {
        let mut superblock = V1::blank(Minor::One, Sector::new(0), 3);
        let before = superblock.checksum();
        superblock.set_role(2, crate::metadata::Role::Faulty).unwrap();
        assert_eq!(superblock.checksum(), before - 1, "the last role is part of the sum");
    }

    #[test]
    fn damage_is_told_and_nothing_else_changes() {
        let good = V1::blank(Minor::Two, Sector::new(8), 128);
        let bytes = good.to_bytes();
        let read = V1::parse(&bytes, Minor::Two, Sector::new(8)).unwrap();
        assert_eq!(read.to_bytes(), bytes);
        let mut damaged = bytes.clone();
        damaged[200] ^= 1;
        let error = V1::parse(&damaged, Minor::Two, Sector::new(8)).unwrap_err();
        assert!(matches!(error, SuperblockError::Checksum { .. }), "{error}");
        let decoded = V1::decode(&damaged, Minor::Two, Sector::new(8)).unwrap();
        assert_eq!(decoded.to_bytes(), damaged, "a wrong checksum is not mended by reading");
        let error = V1::parse(&bytes, Minor::Zero, Sector::new(16)).unwrap_err();
        assert!(matches!(error, SuperblockError::OtherPlace { .. }), "{error}");
        for length in 0..bytes.len() {
            V1::parse(&bytes[..length], Minor::Two, Sector::new(8)).unwrap_err();
        }
    }

    /// `reshape create` wrote microseconds. The driver holds them for seconds, and when mdadm names the
    /// time of creation as it was shown, that is another one: `mdadm --grow` failed with EINVAL.
    #[test]
    fn times_are_written_in_whole_seconds() {
        let mut superblock = V1::blank(Minor::Two, Sector::new(8), 128);
        let time = Timestamp { seconds: 1_800_000_000, micros: 999_999 };
        superblock.set_creation_time(time);
        superblock.set_update_time(time);
        let bytes = superblock.to_bytes();
        assert_eq!(bytes[64..72], 1_800_000_000_u64.to_le_bytes());
        assert_eq!(bytes[192..200], 1_800_000_000_u64.to_le_bytes());
    }

    #[test]
    fn write_length_leaves_room_for_an_old_bitmap() {
        let superblock = V1::blank(Minor::Two, Sector::new(8), 128);
        assert_eq!(superblock.write_length(512), 512);
        assert_eq!(superblock.write_length(4096), 4096);
        assert_eq!(V1::blank(Minor::Two, Sector::new(8), 129).write_length(512), 1024);
        assert_eq!(V1::blank(Minor::Two, Sector::new(8), 1920).write_length(512), 4096);
    }

    #[test]
    fn a_table_of_roles_that_would_not_fit_is_refused() {
        let decoded = |max_dev: u32| {
            let mut bytes = vec![0; 4096];
            for (at, value) in [(at::MAGIC, MAGIC), (at::MAJOR_VERSION, 1), (at::MAX_DEV, max_dev)]
            {
                bytes[at..at + 4].copy_from_slice(&value.to_le_bytes());
            }
            V1::decode(&bytes, Minor::Two, Sector::new(8))
        };
        decoded(MAX_DEV).expect("it fits");
        let refused = decoded(MAX_DEV + 1);
        assert!(matches!(refused, Err(SuperblockError::MaxDev { .. })), "{refused:?}");
    }
}
