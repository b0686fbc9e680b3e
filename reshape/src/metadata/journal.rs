//! A block of the write journal of an array: recognised, not replayed.
//!
//! `docs/formats/ppl-and-journal.md` has the table.

use kcopy::Sector;

use super::bytes::{Block, ByteOrder};
use super::facts::Uuid;

/// Bytes of a block.
pub(super) const JOURNAL_BYTES: usize = 4096;
/// The number at its head.
const MAGIC: u32 = 0x6433_c509;
/// The version that is known.
const VERSION: u8 = 1;
/// Bytes before the first payload.
const HEADER: u32 = 32;

/// Where the fields are.
mod at {
    pub(super) const MAGIC: usize = 0;
    pub(super) const CHECKSUM: usize = 4;
    pub(super) const VERSION: usize = 8;
    pub(super) const META_SIZE: usize = 12;
    pub(super) const SEQ: usize = 16;
    pub(super) const POSITION: usize = 24;
}

/// What a block of the journal says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct JournalBlock {
    /// Counts blocks (`seq`).
    pub sequence: u64,
    /// Where it lies on the journal's data area (`position`).
    pub position: Sector,
    /// Bytes of it that are used, header included (`meta_size`), from 32 to 4096.
    pub used: u32,
}

/// Why bytes are no block of this array's journal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum JournalError {
    /// Fewer bytes than a block has.
    #[error("a block of a journal has 4096 bytes, only {have} are there")]
    TooShort {
        /// Bytes that are there.
        have: usize,
    },
    /// It does not begin as blocks of a journal do.
    #[error("no block of a journal: it begins with {found:#010x} instead of 0x6433c509")]
    NoMagic {
        /// What is there instead.
        found: u32,
    },
    /// Its bytes do not add up, or it is of another array.
    #[error(
        "the journal's block is damaged or of another array: its crc32c is {stored:#010x}, its \
         bytes give {computed:#010x}"
    )]
    Checksum {
        /// The checksum it has.
        stored: u32,
        /// The checksum its bytes give.
        computed: u32,
    },
    /// A version that is not known.
    #[error("the journal's block has version {found}; 1 is known")]
    Version {
        /// What it says.
        found: u8,
    },
    /// A length that cannot be.
    #[error("the journal's block says to use {used} of its 4096 bytes")]
    Length {
        /// What it says.
        used: u32,
    },
}

impl JournalBlock {
    /// Reads and checks a block of the journal of array `uuid`.
    ///
    /// # Errors
    ///
    /// [`JournalError`].
    pub fn parse(bytes: &[u8], uuid: Uuid) -> Result<Self, JournalError> {
        let too_short = JournalError::TooShort { have: bytes.len() };
        let mut block: Block<JOURNAL_BYTES> =
            Block::read(bytes, ByteOrder::Little).ok_or(too_short)?;
        let found = block.u32(at::MAGIC);
        if found != MAGIC {
            return Err(JournalError::NoMagic { found });
        }
        let stored = block.u32(at::CHECKSUM);
        block.put_u32(at::CHECKSUM, 0);
        let computed = plain_crc(seed(uuid), block.bytes());
        if stored != computed {
            return Err(JournalError::Checksum { stored, computed });
        }
        let version = block.u8(at::VERSION);
        if version != VERSION {
            return Err(JournalError::Version { found: version });
        }
        let used = block.u32(at::META_SIZE);
        if !(HEADER..=4096).contains(&used) {
            return Err(JournalError::Length { used });
        }
        let position = Sector::new(block.u64(at::POSITION));
        Ok(Self { sequence: block.u64(at::SEQ), position, used })
    }

    /// Whether the block holds no payload: one that the kernel writes at the end of a replay.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.used == HEADER
    }
}

/// What the checksums of array `uuid` start with.
fn seed(uuid: Uuid) -> u32 {
    plain_crc(u32::MAX, &uuid.0)
}

/// The crc32c that starts with `seed` and is not inverted.
fn plain_crc(seed: u32, bytes: &[u8]) -> u32 {
    !crc32c::crc32c_append(!seed, bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    const UUID: Uuid = Uuid([0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15]);

    fn block(change: impl FnOnce(&mut Block<JOURNAL_BYTES>)) -> Vec<u8> {
        let mut block: Block<JOURNAL_BYTES> = Block::zeroed(ByteOrder::Little);
        block.put_u32(at::MAGIC, MAGIC);
        block.put_u8(at::VERSION, VERSION);
        block.put_u32(at::META_SIZE, 56);
        block.put_u64(at::SEQ, 7);
        block.put_u64(at::POSITION, 8);
        change(&mut block);
        block.put_u32(at::CHECKSUM, plain_crc(seed(UUID), block.bytes()));
        block.bytes().to_vec()
    }

    #[test]
    fn seed_is_the_known_one() {
        assert_eq!(seed(UUID), 0x2636_f714);
    }

    #[test]
    fn block_is_read_and_checked() {
        let read = JournalBlock::parse(&block(|_| {}), UUID).unwrap();
        assert_eq!(read, JournalBlock { sequence: 7, position: Sector::new(8), used: 56 });
        let empty = JournalBlock::parse(&block(|block| block.put_u32(at::META_SIZE, 32)), UUID);
        assert!(empty.unwrap().is_empty());
        let other = JournalBlock::parse(&block(|_| {}), Uuid([3; 16]));
        assert!(matches!(other, Err(JournalError::Checksum { .. })));
        let version = JournalBlock::parse(&block(|block| block.put_u8(at::VERSION, 2)), UUID);
        assert_eq!(version, Err(JournalError::Version { found: 2 }));
        let length = JournalBlock::parse(&block(|block| block.put_u32(at::META_SIZE, 5000)), UUID);
        assert_eq!(length, Err(JournalError::Length { used: 5000 }));
        assert_eq!(JournalBlock::parse(&[0; 4096], UUID), Err(JournalError::NoMagic { found: 0 }));
        assert_eq!(JournalBlock::parse(&[0; 9], UUID), Err(JournalError::TooShort { have: 9 }));
    }
}
