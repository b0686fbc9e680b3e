//! Internal bitmaps: how large, with how much room, and what of them is believed.

use kcopy::{Sector, Sectors};

use super::{ArrayError, Members, Record};
use crate::geometry::{Geometry, Layout};
use crate::metadata::{Bitmap, Fill, Misplaced, Role, Superblock, V1, usual_chunk};

/// The least that one bit stands for: 4 KiB.
const LEAST_CHUNK: u64 = 8;
/// Bytes of a bitmap before its bits.
const HEADER_BYTES: u64 = 256;
/// In 0.90, sectors from behind the superblock to the end of its 64 KiB.
const ROOM_V0: Sectors = Sectors::new(120);

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

/// The room for a bitmap in 0.90, behind the superblock.
pub(super) const fn room_v0() -> Sectors {
    ROOM_V0
}

/// The room of the bitmap that a superblock tells of, up to what lies behind it; 0 without one.
pub(super) fn room_of(superblock: &Superblock) -> Result<Sectors, Misplaced> {
    let Some(at) = superblock.bitmap_at()? else { return Ok(Sectors::ZERO) };
    let Superblock::V1(superblock) = superblock else { return Ok(ROOM_V0) };
    let behind = neighbours(superblock)?.into_iter().filter(|start| *start > at).min();
    let end = behind.unwrap_or(at);
    Ok(Sectors::new(end.get().saturating_sub(at.get())))
}

fn neighbours(superblock: &V1) -> Result<Vec<Sector>, Misplaced> {
    let log = superblock.bad_blocks_at()?.map(|area| area.start);
    Ok([Some(superblock.at()), Some(superblock.data_offset()), log].into_iter().flatten().collect())
}

/// Gives every device of `record` the bitmap that is believed, if the freshest superblock tells of
/// one: they are all alike.
///
/// One that is behind its superblock missed writes, and one that is too short knows nothing of the
/// rest: what they do not know counts as dirty.
pub(super) fn adopt(
    record: &mut Record,
    members: &Members,
    geometry: &Geometry,
) -> Result<(), ArrayError> {
    let mut believed: Option<Bitmap> = None;
    let mut doubtful: Option<Bitmap> = None;
    for (index, candidate) in members.candidates.iter().enumerate() {
        let device = members.devices.get(index);
        let entry = record.entries().iter().find(|e| device.is_some_and(|d| d.is_same(&e.device)));
        let Some(entry) = entry else { continue };
        if !matches!(entry.superblock.role(), Role::Active(_))
            || entry.superblock.bitmap_at()?.is_none()
        {
            continue;
        }
        let bitmap = match members.bitmaps.get(index) {
            None | Some(None) => continue,
            Some(Some(Ok(bitmap))) => bitmap,
            Some(Some(Err(error))) => {
                let path = entry.device.path().to_owned();
                return Err(ArrayError::Bitmap { path, error: error.clone() });
            }
        };
        let own = &candidate.superblock;
        if bitmap.header().belongs_to(own.uuid_on_disk(), own.events()) {
            believed.get_or_insert_with(|| bitmap.clone());
        } else {
            doubtful.get_or_insert_with(|| bitmap.clone());
        }
    }
    let Some(bitmap) = believed.or_else(|| doubtful.map(all_dirty)) else { return Ok(()) };
    let bitmap = fit(bitmap, geometry);
    for entry in record.entries_mut() {
        if entry.superblock.bitmap_at()?.is_some() {
            entry.bitmap = Some(bitmap.clone());
        }
    }
    Ok(())
}

fn all_dirty(mut bitmap: Bitmap) -> Bitmap {
    bitmap.set_all_dirty();
    bitmap
}

/// A bitmap that is too short says nothing about the rest of the array.
fn fit(bitmap: Bitmap, geometry: &Geometry) -> Bitmap {
    let size = sync_size(geometry);
    if bitmap.header().sync_size() >= size {
        return bitmap;
    }
    bitmap.resized(size, Fill::Dirty).unwrap_or(bitmap)
}
