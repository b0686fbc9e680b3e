//! What lies where on each device of a new array.

use kcopy::{Sector, Sectors};

use super::{Blank, CreateRefusal, NewBitmap, Wanted};
use crate::geometry::Level;
use crate::metadata::{BitmapRoom, Minor, Placement, Version};

/// The kernel takes no member with less data.
const LEAST_DATA: u64 = 10;
/// Sectors that superblock and roles take, and what else lies beside the data is aligned to.
const UNIT: u64 = 8;
/// Room for the bitmap of 0.90, behind the superblock.
const BITMAP_V0: Sectors = Sectors::new(120);

/// Where things lie on `blank`.
pub(super) fn place(
    wanted: &Wanted,
    chunk: Sectors,
    blank: &Blank,
) -> Result<Placement, CreateRefusal> {
    let size = blank.size();
    let room = match (wanted.level, wanted.bitmap) {
        (Level::Linear | Level::Raid0, _) => BitmapRoom::None,
        (_, NewBitmap::None) => BitmapRoom::Kept,
        (_, NewBitmap::Internal(_)) => BitmapRoom::Used,
    };
    let usual = Placement::usual(wanted.version, size, chunk, room);
    let mut placement =
        usual.map_err(|error| CreateRefusal::NoRoom { path: blank.path(), error })?;
    if let Some(offset) = wanted.data_offset {
        placement = begin_at(offset, placement, blank)?;
    }
    let least = LEAST_DATA.max(chunk.get());
    if placement.data_size.get() < least {
        let lacking = least.saturating_sub(placement.data_size.get());
        let needed = Sectors::new(size.get().saturating_add(lacking));
        return Err(CreateRefusal::TooSmall { path: blank.path(), size, needed });
    }
    Ok(placement)
}

/// The same with data from `offset` on; what lies in front of it moves together if it has to.
fn begin_at(
    offset: Sector,
    mut placement: Placement,
    blank: &Blank,
) -> Result<Placement, CreateRefusal> {
    let grain = u64::from(blank.device.facts().logical_block).div_ceil(kcopy::SECTOR_SIZE).max(1);
    let refused = |first| CreateRefusal::DataOffset {
        path: blank.path(),
        wanted: offset,
        first: Sector::new(first),
        grain: Sectors::new(grain),
    };
    match placement.version {
        Version::V0 if offset.get() == 0 => {}
        Version::V0 => return Err(CreateRefusal::FixedDataOffset { wanted: offset }),
        Version::V1(Minor::Zero) => {
            if !offset.get().is_multiple_of(grain) {
                return Err(refused(0));
            }
            placement.data_offset = offset;
            let left = placement.data_size.get().saturating_sub(offset.get());
            placement.data_size = Sectors::new(left);
        }
        Version::V1(Minor::One | Minor::Two) => {
            let least = if placement.bitmap_offset.is_some() { 2 * UNIT } else { UNIT };
            let first = placement.super_at.get() + least + UNIT;
            if offset.get() < first || !offset.get().is_multiple_of(grain) {
                return Err(refused(first));
            }
            if let Some(log) = &mut placement.bad_blocks {
                // Behind the bitmap's room as usual if that is free, else as near as can be.
                let free = offset.get() - placement.super_at.get() - UNIT;
                let usual = u64::from(log.offset.unsigned_abs());
                let chosen = if usual <= free { usual } else { (free - free % UNIT).max(least) };
                log.offset = i32::try_from(chosen).unwrap_or(log.offset);
            }
            placement.data_offset = offset;
            let left = blank.size().get().saturating_sub(offset.get());
            placement.data_size = Sectors::new(left);
        }
    }
    Ok(placement)
}

/// The room for an internal bitmap where `placement` puts it.
pub(super) fn bitmap_room(placement: &Placement) -> Sectors {
    let log = placement.bad_blocks.map_or(0, |log| log.offset);
    match (placement.version, placement.bitmap_offset) {
        (_, None) => Sectors::ZERO,
        (Version::V0, Some(_)) => BITMAP_V0,
        (Version::V1(_), Some(bitmap)) => {
            Sectors::new(u64::try_from(log.saturating_sub(bitmap)).unwrap_or(0))
        }
    }
}
