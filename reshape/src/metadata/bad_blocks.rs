//! The log of bad blocks of a member: 64-bit entries, the first of all ones ends it.
//!
//! An entry is `start << 10 | length`, both in blocks of `1 << shift` sectors; starts are absolute
//! on the device. `docs/formats/bad-block-log.md` has the table.

use kcopy::{Sector, Sectors};

use super::facts::Area;

/// Bytes of the log that md reads, at most.
pub const LOG_BYTES: usize = 4096;

/// Marks the end.
const END: u64 = u64::MAX;
/// Bits of the length.
const LENGTH_BITS: u32 = 10;
/// Lengths are at most this many blocks.
const LONGEST: u64 = (1 << LENGTH_BITS) - 1;

/// Why the log cannot be read, or written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BadBlocksError {
    /// An entry lies behind the largest sector there is.
    #[error("entry {index} of the bad-block log, {entry:#018x}, is behind every device")]
    OutOfRange {
        /// Its place in the log, from 0.
        index: usize,
        /// The entry.
        entry: u64,
    },
    /// Sectors that the unit of the log cannot say.
    #[error("bad blocks at {start} are not whole blocks of {block}, or too many, or too far away")]
    NotWholeBlocks {
        /// The first of them.
        start: Sector,
        /// The log's unit.
        block: Sectors,
    },
    /// More entries than there is room for.
    #[error("the bad-block log has room for {room} entries, {entries} are needed")]
    Full {
        /// Entries that fit.
        room: usize,
        /// Entries that were to be written.
        entries: usize,
    },
}

/// The bad areas that a log of blocks of `1 << shift` sectors names.
///
/// # Errors
///
/// [`BadBlocksError::OutOfRange`].
pub fn parse(bytes: &[u8], shift: u8) -> Result<Vec<Area>, BadBlocksError> {
    let entries = bytes.as_chunks::<8>().0.iter().take(LOG_BYTES / 8);
    let entries = entries.map(|entry| u64::from_le_bytes(*entry)).take_while(|entry| *entry != END);
    entries
        .enumerate()
        .map(|(index, entry)| area(entry, shift).ok_or(BadBlocksError::OutOfRange { index, entry }))
        .collect()
}

/// The log of `bad`, each an area of at most 1023 blocks of `1 << shift` sectors; `room` bytes long.
///
/// # Errors
///
/// [`BadBlocksError::NotWholeBlocks`] or [`BadBlocksError::Full`].
pub fn to_bytes(bad: &[Area], shift: u8, room: usize) -> Result<Vec<u8>, BadBlocksError> {
    let fitting = room.min(LOG_BYTES) / 8;
    if bad.len() > fitting {
        return Err(BadBlocksError::Full { room: fitting, entries: bad.len() });
    }
    let mut bytes = Vec::new();
    for area in bad {
        let unit = 1_u64.checked_shl(u32::from(shift)).unwrap_or(0);
        let error = BadBlocksError::NotWholeBlocks { start: area.start, block: Sectors::new(unit) };
        bytes.extend_from_slice(&entry(*area, unit).ok_or(error)?.to_le_bytes());
    }
    bytes.resize(room, 0xff);
    Ok(bytes)
}

fn area(entry: u64, shift: u8) -> Option<Area> {
    let scaled = |blocks: u64| blocks.checked_mul(1_u64.checked_shl(u32::from(shift))?);
    let start = scaled(entry >> LENGTH_BITS)?;
    let length = scaled(entry & LONGEST)?;
    start.checked_add(length)?;
    Some(Area { start: Sector::new(start), length: Sectors::new(length) })
}

fn entry(area: Area, unit: u64) -> Option<u64> {
    let blocks = |sectors: u64| {
        let whole = sectors.checked_rem(unit)? == 0;
        sectors.checked_div(unit).filter(|_| whole)
    };
    let start = blocks(area.start.get())?;
    let length = blocks(area.length.get()).filter(|length| (1..=LONGEST).contains(length))?;
    let shifted = start.checked_shl(LENGTH_BITS)?;
    Some(shifted | length).filter(|entry| entry >> LENGTH_BITS == start && *entry != END)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn area(start: u64, length: u64) -> Area {
        Area { start: Sector::new(start), length: Sectors::new(length) }
    }

    #[test]
    fn entries_are_places_and_lengths() {
        let mut bytes = (2048_u64 << 10 | 8).to_le_bytes().to_vec();
        bytes.extend_from_slice(&(5_u64 << 10 | 1023).to_le_bytes());
        bytes.extend_from_slice(&[0xff; 8]);
        bytes.extend_from_slice(&[1; 8]);
        assert_eq!(parse(&bytes, 0), Ok(vec![area(2048, 8), area(5, 1023)]));
        assert_eq!(parse(&bytes, 3), Ok(vec![area(16384, 64), area(40, 8184)]));
        assert!(matches!(parse(&bytes, 64), Err(BadBlocksError::OutOfRange { index: 0, .. })));
        assert_eq!(to_bytes(&[area(2048, 8), area(5, 1023)], 0, 16).unwrap(), bytes[..16]);
    }

    #[test]
    fn what_cannot_be_said_is_refused() {
        for (start, length, shift) in
            [(1, 8, 3), (8, 4, 3), (0, 1024, 0), (0, 0, 0), (1 << 54, 1, 0)]
        {
            let refused = to_bytes(&[area(start, length)], shift, 4096);
            assert!(matches!(refused, Err(BadBlocksError::NotWholeBlocks { .. })), "{start}");
        }
        let refused = to_bytes(&[area(0, 1); 3], 0, 16);
        assert_eq!(refused, Err(BadBlocksError::Full { room: 2, entries: 3 }));
    }

    proptest! {
        #[test]
        fn log_is_read_and_written_for_all(bytes in prop::collection::vec(any::<u8>(), 0..512), shift: u8) {
            if let Ok(bad) = parse(&bytes, shift) && bad.iter().all(|area| area.length.get() > 0) {
                let written = to_bytes(&bad, shift, 4096).unwrap();
                prop_assert_eq!(&written[..bad.len() * 8], &bytes[..bad.len() * 8]);
                prop_assert_eq!(parse(&written, shift), Ok(bad));
            }
        }
    }
}
