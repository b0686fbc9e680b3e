//! How far the start of a member's data can be moved.
//!
//! A reshape that writes elsewhere than it reads needs no backup. How much room there is before and
//! behind the data decides whether it can.

use kcopy::{Sector, Sectors};

use super::facts::{Area, Misplaced};
use super::place::Minor;
use super::v1::V1;

/// Sectors from a superblock in front of the data that stay free for it and its neighbours.
const FRONT: Sectors = Sectors::new(72);

/// Free sectors around the data of a member.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Room {
    /// Between what lies in front and the data.
    pub before: Sectors,
    /// Between the used part of the data and what lies behind.
    pub after: Sectors,
}

/// Why a data offset is not allowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum OffsetError {
    /// Something else lies there.
    #[error("data cannot begin at {wanted}: the first free one is {first}")]
    Taken {
        /// The data offset that was asked for.
        wanted: Sector,
        /// The first that is possible.
        first: Sector,
    },
    /// The data would run over its end.
    #[error(
        "data that begins at {wanted} ends behind the sectors it may use: {missing} are missing"
    )]
    NoSpace {
        /// The data offset that was asked for.
        wanted: Sector,
        /// Sectors that are missing.
        missing: Sectors,
    },
    /// An area of the superblock is misplaced.
    #[error(transparent)]
    Misplaced(#[from] Misplaced),
}

impl V1 {
    /// The room around the data on a device of `device` sectors; `bitmap` is the length of the
    /// internal bitmap, 0 without one.
    ///
    /// # Errors
    ///
    /// [`Misplaced`] if the superblock puts something before the device.
    pub fn room(&self, device: Sectors, bitmap: Sectors) -> Result<Room, Misplaced> {
        let start = self.data_offset();
        let used = match self.component_size() {
            Sectors::ZERO => self.data_size(),
            used => used,
        };
        let end = match self.minor() {
            Minor::Zero => self.first_neighbour()?,
            Minor::One | Minor::Two => Sector::new(device.get()),
        };
        let free = end.get().saturating_sub(start.get()).saturating_sub(used.get());
        let first = self.first_data(bitmap)?;
        let before = start.get().saturating_sub(first.get());
        Ok(Room { before: Sectors::new(before), after: Sectors::new(free) })
    }

    /// Whether the data may begin at `wanted`, by the rules of the kernel.
    ///
    /// # Errors
    ///
    /// [`OffsetError`]; with [`OffsetError::NoSpace`] it helps to raise the data size first, if the
    /// device has the sectors.
    pub fn may_begin_at(&self, wanted: Sector, bitmap: Sectors) -> Result<(), OffsetError> {
        let now = self.data_offset();
        if wanted < now {
            let first = self.first_data(bitmap)?;
            return if wanted < first { Err(OffsetError::Taken { wanted, first }) } else { Ok(()) };
        }
        let moved = wanted.get().saturating_sub(now.get());
        let needed = moved.saturating_add(self.component_size().get());
        match needed.checked_sub(self.data_size().get()) {
            None | Some(0) => Ok(()),
            Some(missing) => Err(OffsetError::NoSpace { wanted, missing: Sectors::new(missing) }),
        }
    }

    /// The first sector at which data may begin.
    fn first_data(&self, bitmap: Sectors) -> Result<Sector, Misplaced> {
        if self.minor() == Minor::Zero {
            return Ok(Sector::new(0));
        }
        let bitmap = self.bitmap_at()?.map(|start| Area { start, length: bitmap });
        let own = Area { start: self.at(), length: FRONT };
        let areas = [Some(own), bitmap, self.ppl_area()?, self.bad_blocks_at()?];
        let end = areas.into_iter().flatten().map(|area| area.end()).max();
        Ok(end.unwrap_or(Sector::new(0)))
    }

    /// In 1.0, where what lies behind the data begins.
    fn first_neighbour(&self) -> Result<Sector, Misplaced> {
        let log = self.bad_blocks_at()?.map(|area| area.start);
        let ppl = self.ppl_area()?.map(|area| area.start);
        let starts = [Some(self.at()), self.bitmap_at()?, log, ppl];
        Ok(starts.into_iter().flatten().min().unwrap_or_else(|| self.at()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metadata::v1::BadBlockArea;

    fn member(minor: Minor, at: u64, data: u64) -> V1 {
        let mut superblock = V1::blank(minor, Sector::new(at), 128);
        superblock.set_data_offset(Sector::new(data));
        superblock.set_component_size(Sectors::new(10_000));
        superblock.set_data_size(Sectors::new(12_000));
        superblock
    }

    fn room(superblock: &V1, bitmap: u64) -> (u64, u64) {
        let room = superblock.room(Sectors::new(16384), Sectors::new(bitmap)).unwrap();
        (room.before.get(), room.after.get())
    }

    #[test]
    fn room_in_front_ends_at_the_last_neighbour() {
        let mut superblock = member(Minor::Two, 8, 2048);
        assert_eq!(room(&superblock, 0), (2048 - 80, 16384 - 12_048));
        superblock.set_bitmap_offset(Some(8));
        assert_eq!(room(&superblock, 128), (2048 - 144, 16384 - 12_048));
        let log = BadBlockArea { offset: 136, size: 8, shift: 0 };
        superblock.set_bad_blocks(Some(log));
        assert_eq!(room(&superblock, 128), (2048 - 152, 16384 - 12_048));
    }

    #[test]
    fn room_behind_ends_at_the_first_neighbour_in_1_0() {
        let mut superblock = member(Minor::Zero, 16368, 100);
        assert_eq!(room(&superblock, 0), (100, 16368 - 10_100));
        superblock.set_bad_blocks(Some(BadBlockArea { offset: -8, size: 8, shift: 0 }));
        assert_eq!(room(&superblock, 0), (100, 16360 - 10_100));
        superblock.set_bitmap_offset(Some(-16));
        assert_eq!(room(&superblock, 8), (100, 16352 - 10_100));
    }

    #[test]
    fn kernel_moves_data_into_free_sectors_only() {
        let superblock = member(Minor::Two, 8, 2048);
        let may = |wanted| superblock.may_begin_at(Sector::new(wanted), Sectors::ZERO);
        assert_eq!(may(80), Ok(()));
        let (wanted, first) = (Sector::new(79), Sector::new(80));
        assert_eq!(may(79), Err(OffsetError::Taken { wanted, first }));
        assert_eq!(may(2048), Ok(()));
        assert_eq!(may(4048), Ok(()));
        let (wanted, missing) = (Sector::new(4050), Sectors::new(2));
        assert_eq!(may(4050), Err(OffsetError::NoSpace { wanted, missing }));
    }

    #[test]
    fn misplaced_neighbours_are_told() {
        let mut superblock = member(Minor::Two, 8, 2048);
        superblock.set_bitmap_offset(Some(-9));
        let told = superblock.room(Sectors::new(16384), Sectors::ZERO).unwrap_err();
        assert_eq!((told.what, told.offset), ("bitmap", -9));
    }
}
