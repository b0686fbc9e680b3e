//! Internal bitmaps: how large, where, and their coming and going.

use kcopy::Sectors;

use crate::geometry::{Geometry, Layout};
use crate::metadata::usual_chunk;

/// The least that one bit stands for: 4 KiB.
const LEAST_CHUNK: u64 = 8;
/// Bytes of a bitmap before its bits.
const HEADER_BYTES: u64 = 256;

/// What the bits of a bitmap stand for together: sectors of a member, in RAID10 of the array.
pub fn sync_size(geometry: &Geometry) -> Sectors {
    let component = geometry.component();
    match geometry.layout() {
        Layout::Raid10(layout) => {
            let all = u128::from(component.get()) * u128::from(geometry.raid_disks());
            let size = all / u128::from(layout.copies().max(1));
            Sectors::new(u64::try_from(size).unwrap_or(u64::MAX))
        }
        Layout::None | Layout::Raid0(_) | Layout::Raid5(_) | Layout::Raid6(_) => component,
    }
}

/// What one bit stands for: `asked`, if the bits fit in `room` then, or the usual.
///
/// # Errors
///
/// The smallest from 64 MiB on that fits, if one does.
pub fn least_chunk(
    sync_size: Sectors,
    room: Sectors,
    asked: Option<Sectors>,
) -> Result<Sectors, Option<Sectors>> {
    let usual = usual_chunk(sync_size, room);
    let Some(chunk) = asked else { return usual.ok_or(None) };
    let possible = chunk.get() >= LEAST_CHUNK && chunk.get().is_power_of_two();
    if possible && bytes(sync_size, chunk) <= room.checked_bytes().unwrap_or(u64::MAX) {
        Ok(chunk)
    } else {
        Err(usual)
    }
}

/// Bytes that a bitmap takes up, in whole blocks of 4 KiB.
pub fn bytes(sync_size: Sectors, chunk: Sectors) -> u64 {
    let bits = sync_size.get().div_ceil(chunk.get().max(1));
    bits.div_ceil(8).saturating_add(HEADER_BYTES).checked_next_multiple_of(4096).unwrap_or(u64::MAX)
}
