//! The partial parity log of a RAID5 member: recognised, not replayed.
//!
//! When the kernel starts an array that is not clean, it repairs parity with the log. Of a clean one
//! the log is out of date, whatever entries it has. An array that keeps several headers on a member
//! writes them in turn, so that the first is not the newest. `docs/formats/ppl-and-journal.md` has the table.

use super::bytes::{Block, ByteOrder};
use super::facts::Uuid;

/// Bytes of the header.
pub(super) const PPL_BYTES: usize = 4096;

/// Where the fields are.
mod at {
    pub(super) const SIGNATURE: usize = 512;
    pub(super) const GENERATION: usize = 520;
    pub(super) const ENTRIES_COUNT: usize = 528;
    pub(super) const CHECKSUM: usize = 532;
}

/// The most entries that a header has room for.
const ENTRIES: u32 = 148;

/// What a header says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PplHeader {
    /// Counts headers (`generation`).
    pub generation: u64,
    /// Writes that were under way (`entries_count`), at most 148.
    pub entries: u32,
}

/// Why bytes are no header of this array's log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PplError {
    /// Fewer bytes than a header has.
    #[error("the header of a partial parity log has 4096 bytes, only {have} are there")]
    TooShort {
        /// Bytes that are there.
        have: usize,
    },
    /// Its bytes do not add up.
    #[error(
        "no header of a partial parity log: its crc32c is {stored:#010x}, its bytes give {computed:#010x}"
    )]
    Checksum {
        /// The checksum it has.
        stored: u32,
        /// The checksum its bytes give.
        computed: u32,
    },
    /// It is of another array.
    #[error(
        "the partial parity log has signature {found:#010x}, that of this array is {expected:#010x}"
    )]
    OtherArray {
        /// The signature it has.
        found: u32,
        /// That of this array.
        expected: u32,
    },
    /// More entries than fit.
    #[error("the partial parity log says to have {entries} entries, at most 148 fit")]
    TooManyEntries {
        /// What it says.
        entries: u32,
    },
}

impl PplHeader {
    /// Reads and checks the header of the log of array `uuid`.
    ///
    /// # Errors
    ///
    /// [`PplError`].
    pub fn parse(bytes: &[u8], uuid: Uuid) -> Result<Self, PplError> {
        let too_short = PplError::TooShort { have: bytes.len() };
        let mut block: Block<PPL_BYTES> = Block::read(bytes, ByteOrder::Little).ok_or(too_short)?;
        let stored = block.u32(at::CHECKSUM);
        block.put_u32(at::CHECKSUM, 0);
        let computed = inverted_crc(block.bytes());
        if stored != computed {
            return Err(PplError::Checksum { stored, computed });
        }
        let (found, expected) = (block.u32(at::SIGNATURE), signature(uuid));
        if found != expected {
            return Err(PplError::OtherArray { found, expected });
        }
        let entries = block.u32(at::ENTRIES_COUNT);
        if entries > ENTRIES {
            return Err(PplError::TooManyEntries { entries });
        }
        Ok(Self { generation: block.u64(at::GENERATION), entries })
    }
}

/// What marks the log of array `uuid`.
fn signature(uuid: Uuid) -> u32 {
    inverted_crc(&uuid.0)
}

/// The crc32c that starts with ones and is inverted: the usual one.
fn inverted_crc(bytes: &[u8]) -> u32 {
    crc32c::crc32c(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counting() -> Uuid {
        Uuid([0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15])
    }

    fn header(entries: u32) -> Vec<u8> {
        let mut block: Block<PPL_BYTES> = Block::zeroed(ByteOrder::Little);
        block.put_u32(at::SIGNATURE, signature(counting()));
        block.put_u64(at::GENERATION, 5);
        block.put_u32(at::ENTRIES_COUNT, entries);
        block.put_u32(at::CHECKSUM, inverted_crc(block.bytes()));
        block.bytes().to_vec()
    }

    #[test]
    fn signature_is_the_known_one() {
        assert_eq!(signature(counting()), 0xd9c9_08eb);
    }

    #[test]
    fn header_is_read_and_checked() {
        let read = PplHeader::parse(&header(2), counting()).unwrap();
        assert_eq!(read, PplHeader { generation: 5, entries: 2 });
        let other = PplHeader::parse(&header(0), Uuid([1; 16]));
        assert!(matches!(other, Err(PplError::OtherArray { .. })));
        let many = PplHeader::parse(&header(149), counting());
        assert_eq!(many, Err(PplError::TooManyEntries { entries: 149 }));
        let mut damaged = header(0);
        damaged[4000] = 1;
        let damaged = PplHeader::parse(&damaged, counting());
        assert!(matches!(damaged, Err(PplError::Checksum { .. })));
        assert_eq!(PplHeader::parse(&[0; 100], counting()), Err(PplError::TooShort { have: 100 }));
    }
}
