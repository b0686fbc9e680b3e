//! The header of a backup of the section that a reshape overwrites (`mdp_backup_super`).
//!
//! 512 bytes, little-endian. md's own checksums are no protection: they have one value for every
//! content. Ours are kept in bytes that md does not look at, and cover the header and both sections.
//! `docs/formats/backup-super.md` has the table.

use kcopy::{Sector, Sectors};

use super::bytes::{Block, ByteOrder};
use super::facts::Timestamp;
use crate::units::ArraySector;

/// Bytes of the header.
pub const BACKUP_BYTES: usize = 512;

const MAGIC_ONE: [u8; 16] = *b"md_backup_data-1";
const MAGIC_TWO: [u8; 16] = *b"md_backup_data-2";

/// Names our part, and its version in the last byte.
const OUR_MAGIC: [u8; 8] = *b"reshape1";

/// The places of the fields.
mod at {
    pub(super) const MAGIC: usize = 0;
    pub(super) const SET_UUID: usize = 16;
    pub(super) const MTIME: usize = 32;
    pub(super) const DEVSTART: usize = 40;
    pub(super) const ARRAYSTART: usize = 48;
    pub(super) const LENGTH: usize = 56;
    pub(super) const SB_CSUM: usize = 64;
    pub(super) const DEVSTART2: usize = 72;
    pub(super) const ARRAYSTART2: usize = 80;
    pub(super) const LENGTH2: usize = 88;
    pub(super) const SB_CSUM2: usize = 96;
    /// From here on md ignores what it finds.
    pub(super) const OUR_MAGIC: usize = 104;
    pub(super) const OUR_SEQUENCE: usize = 112;
    pub(super) const OUR_DATA: usize = 120;
    pub(super) const OUR_DATA2: usize = 124;
    pub(super) const OUR_UNMOVED: usize = 128;
    /// Behind everything that it covers.
    pub(super) const OUR_HEADER: usize = 508;
}

/// A part of the array that was saved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Section {
    /// Where it belongs in the array (`arraystart`).
    pub array_start: ArraySector,
    /// Its length; 0 if there is nothing to restore (`length`).
    pub length: Sectors,
}

/// Our own facts about a backup.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OurFacts {
    /// Of two headers, the higher number is the newer one.
    pub sequence: u64,
    /// crc32c of the data of section 1.
    pub data_crc: u32,
    /// crc32c of the data of section 2; 0 without one.
    pub data_crc2: u32,
    /// It was written before the reshape was recorded: as long as it says so nothing was overwritten.
    pub unmoved: bool,
}

/// What the header of a backup says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BackupHeader {
    /// The array's uuid, as in [`Superblock::uuid_on_disk`](super::Superblock::uuid_on_disk).
    pub set_uuid: [u8; 16],
    /// When it was written, whole seconds (`mtime`).
    pub mtime: Timestamp,
    /// Where the data begins on the backup's device or in its file (`devstart`).
    pub data_at: Sector,
    /// The first section.
    pub first: Section,
    /// Sectors from the data of section 1 to that of section 2, also while there is none
    /// (`devstart2`).
    pub unit: Sectors,
    /// The second section; once used, it stays and may be empty.
    pub second: Option<Section>,
    /// Our own facts, if we wrote it.
    pub ours: Option<OurFacts>,
}

/// Why bytes are no backup header that may be believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BackupError {
    /// Fewer bytes than a header has.
    #[error("the header of a backup has 512 bytes, only {have} are there")]
    TooShort {
        /// Bytes that are there.
        have: usize,
    },
    /// It does not begin as backups do.
    #[error("no header of a backup: it does not begin with md_backup_data-1 or -2")]
    NoMagic,
    /// md's checksum is wrong.
    #[error(
        "the backup's header is damaged: its checksum is {stored:#010x} instead of {expected:#010x}"
    )]
    Checksum {
        /// The checksum it has (`sb_csum` or `sb_csum2`).
        stored: u32,
        /// The checksum its bytes give.
        expected: u32,
    },
    /// Our checksum is wrong.
    #[error(
        "the backup's header is damaged: its crc32c is {stored:#010x}, its bytes give {computed:#010x}"
    )]
    Crc {
        /// The checksum it has.
        stored: u32,
        /// The checksum its bytes give.
        computed: u32,
    },
}

impl BackupHeader {
    /// Reads and checks a header.
    ///
    /// # Errors
    ///
    /// [`BackupError`]: when there is none, or one that is damaged.
    pub fn parse(bytes: &[u8]) -> Result<Self, BackupError> {
        let too_short = BackupError::TooShort { have: bytes.len() };
        let block: Block<BACKUP_BYTES> = Block::read(bytes, ByteOrder::Little).ok_or(too_short)?;
        let two = match block.field(at::MAGIC) {
            MAGIC_ONE => false,
            MAGIC_TWO => true,
            _ => return Err(BackupError::NoMagic),
        };
        check_sum(&block, at::SB_CSUM)?;
        if two {
            check_sum(&block, at::SB_CSUM2)?;
        }
        Ok(Self {
            set_uuid: block.field(at::SET_UUID),
            mtime: Timestamp::from_seconds(block.u64(at::MTIME)),
            data_at: Sector::new(block.u64(at::DEVSTART)),
            first: section(&block, at::ARRAYSTART, at::LENGTH),
            unit: Sectors::new(block.u64(at::DEVSTART2)),
            second: two.then(|| section(&block, at::ARRAYSTART2, at::LENGTH2)),
            ours: our_facts(&block)?,
        })
    }

    /// The sectors on the backup's device that sections with content take.
    #[must_use]
    pub fn places(&self) -> Vec<std::ops::Range<u64>> {
        let first = self.data_at.get();
        let second = first.saturating_add(self.unit.get());
        let sections = [(Some(self.first), first), (self.second, second)].into_iter();
        let sections = sections.filter_map(|(section, at)| Some((section?.length.get(), at)));
        let sections = sections.filter(|(length, _)| *length > 0);
        sections.map(|(length, at)| at..at.saturating_add(length)).collect()
    }

    /// The 512 bytes of the header, with the checksums that md wants and, if there are any, our
    /// facts.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut block: Block<BACKUP_BYTES> = Block::zeroed(ByteOrder::Little);
        let magic = if self.second.is_some() { MAGIC_TWO } else { MAGIC_ONE };
        block.put_field(at::MAGIC, magic);
        block.put_field(at::SET_UUID, self.set_uuid);
        block.put_u64(at::MTIME, self.mtime.seconds);
        block.put_u64(at::DEVSTART, self.data_at.get());
        block.put_u64(at::ARRAYSTART, self.first.array_start.get());
        block.put_u64(at::LENGTH, self.first.length.get());
        block.put_u32(at::SB_CSUM, md_checksum(&block, at::SB_CSUM));
        block.put_u64(at::DEVSTART2, self.unit.get());
        if let Some(second) = self.second {
            block.put_u64(at::ARRAYSTART2, second.array_start.get());
            block.put_u64(at::LENGTH2, second.length.get());
            block.put_u32(at::SB_CSUM2, md_checksum(&block, at::SB_CSUM2));
        }
        if let Some(ours) = self.ours {
            block.put_field(at::OUR_MAGIC, OUR_MAGIC);
            block.put_u64(at::OUR_SEQUENCE, ours.sequence);
            block.put_u32(at::OUR_DATA, ours.data_crc);
            block.put_u32(at::OUR_DATA2, ours.data_crc2);
            block.put_u32(at::OUR_UNMOVED, ours.unmoved.into());
            block.put_u32(at::OUR_HEADER, our_checksum(&block));
        }
        block.bytes().to_vec()
    }
}

fn section(block: &Block<BACKUP_BYTES>, start: usize, length: usize) -> Section {
    Section {
        array_start: ArraySector::new(block.u64(start)),
        length: Sectors::new(block.u64(length)),
    }
}

fn our_facts(block: &Block<BACKUP_BYTES>) -> Result<Option<OurFacts>, BackupError> {
    if block.field(at::OUR_MAGIC) != OUR_MAGIC {
        return Ok(None);
    }
    let (stored, computed) = (block.u32(at::OUR_HEADER), our_checksum(block));
    if stored != computed {
        return Err(BackupError::Crc { stored, computed });
    }
    Ok(Some(OurFacts {
        sequence: block.u64(at::OUR_SEQUENCE),
        data_crc: block.u32(at::OUR_DATA),
        data_crc2: block.u32(at::OUR_DATA2),
        unmoved: block.u32(at::OUR_UNMOVED) != 0,
    }))
}

fn our_checksum(block: &Block<BACKUP_BYTES>) -> u32 {
    let covered = block.bytes().first_chunk::<{ at::OUR_HEADER }>();
    crc32c::crc32c(covered.expect("a part of the block"))
}

fn check_sum(block: &Block<BACKUP_BYTES>, at: usize) -> Result<(), BackupError> {
    let (stored, expected) = (block.u32(at), md_checksum(block, at));
    if stored != expected {
        return Err(BackupError::Checksum { stored, expected });
    }
    Ok(())
}

/// What md takes for the checksum of the first `length` bytes: it adds the first byte again and
/// again, each time shifting the sum by three bits.
fn md_checksum(block: &Block<BACKUP_BYTES>, length: usize) -> u32 {
    let first = u32::from(block.u8(0));
    (0..length).fold(0, |sum: u32, _| (sum << 3).wrapping_add(first))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn example(second: bool, ours: bool) -> BackupHeader {
        let section = |start, length| Section {
            array_start: ArraySector::new(start),
            length: Sectors::new(length),
        };
        BackupHeader {
            set_uuid: [7; 16],
            mtime: Timestamp::from_seconds(1_700_000_000),
            data_at: Sector::new(8),
            first: section(1024, 1024),
            unit: Sectors::new(1024),
            second: second.then(|| section(2048, 1024)),
            ours: ours.then_some(OurFacts {
                sequence: 9,
                data_crc: 1,
                data_crc2: 2,
                unmoved: second,
            }),
        }
    }

    #[test]
    fn checksum_of_md_is_a_constant() {
        let bytes = example(true, false).to_bytes();
        assert_eq!(bytes[64..68], [0x15, 0x49, 0x92, 0x24]);
        assert_eq!(bytes[96..100], [0x15, 0x49, 0x92, 0x24]);
        let mut block: Block<BACKUP_BYTES> = Block::zeroed(ByteOrder::Little);
        block.put_u8(0, b'm');
        assert_eq!(md_checksum(&block, 10), 0xe492_4915);
        assert_eq!(md_checksum(&block, 11), 0x2492_4915);
    }

    #[test]
    fn header_is_read_as_it_was_written() {
        for second in [false, true] {
            for ours in [false, true] {
                let header = example(second, ours);
                let bytes = header.to_bytes();
                assert_eq!(BackupHeader::parse(&bytes), Ok(header));
                for length in 0..BACKUP_BYTES {
                    BackupHeader::parse(&bytes[..length]).unwrap_err();
                }
            }
        }
    }

    #[test]
    fn our_checksum_notices_what_that_of_md_cannot() {
        let mut bytes = example(false, false).to_bytes();
        bytes[50] ^= 1;
        assert_ne!(BackupHeader::parse(&bytes), Ok(example(false, false)));
        let mut bytes = example(false, true).to_bytes();
        bytes[50] ^= 1;
        assert!(matches!(BackupHeader::parse(&bytes), Err(BackupError::Crc { .. })));
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_without_a_panic_for_all(mut bytes in prop::collection::vec(any::<u8>(), 0..600)) {
            let _ = BackupHeader::parse(&bytes);
            if bytes.len() >= BACKUP_BYTES {
                bytes[..16].copy_from_slice(&MAGIC_TWO);
                bytes[64..68].copy_from_slice(&0x2492_4915u32.to_le_bytes());
                bytes[96..100].copy_from_slice(&0x2492_4915u32.to_le_bytes());
                let header = BackupHeader::parse(&bytes).unwrap();
                prop_assert_eq!(BackupHeader::parse(&header.to_bytes()), Ok(header));
            }
        }
    }
}
