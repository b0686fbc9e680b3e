//! An array that stands half in its old geometry and half in its new one.
//!
//! ```text
//!                        position                             position
//!  forwards   | new geometry | old geometry |     backwards  | old geometry | new geometry |
//! ```
//!
//! Only the recorded position counts: whoever moves data sees to it that what the record calls old
//! is still whole at its old place. The two sides have data offsets of their own.
#![deny(clippy::arithmetic_side_effects)]

use kcopy::Sectors;

use super::runs::OutsideArray;
use super::{At, Geometry};
use crate::units::ArraySector;

/// Which way a reshape walks through the array's address space.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Direction {
    /// From sector 0 up: the array grows, or the data offset moves down.
    Forwards,
    /// From the end down: the array shrinks, or the data offset moves up.
    Backwards,
}

/// Which of the two geometries serves an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Side {
    /// The geometry before the reshape, with the old data offsets.
    Old,
    /// The geometry after it, with the new data offsets.
    New,
}

/// Two geometries and where one ends and the other begins.
#[derive(Clone, Debug)]
pub struct Moving {
    /// Before the reshape.
    pub old: Geometry,
    /// After it.
    pub new: Geometry,
    /// How far it has come (the kernel's `reshape_position`).
    pub position: ArraySector,
    /// Which way it goes.
    pub direction: Direction,
}

impl Moving {
    /// Which geometry serves an array sector.
    pub fn side(&self, at: ArraySector) -> Side {
        match (self.direction, at < self.position) {
            (Direction::Forwards, true) | (Direction::Backwards, false) => Side::New,
            (Direction::Forwards, false) | (Direction::Backwards, true) => Side::Old,
        }
    }

    /// The geometry of a side.
    pub const fn geometry(&self, side: Side) -> &Geometry {
        match side {
            Side::Old => &self.old,
            Side::New => &self.new,
        }
    }

    /// What can be addressed now: the smaller of both sizes. An array grows when its reshape has
    /// ended, and has to be cut before it begins to shrink.
    pub fn sectors(&self) -> Sectors {
        self.old.sectors().min(self.new.sectors())
    }

    /// Where an array sector is, and how far it goes on like that; `None` behind the end.
    pub fn at(&self, sector: ArraySector) -> Option<(Side, At)> {
        let left = self.sectors().get().checked_sub(sector.get()).filter(|&left| left > 0)?;
        let side = self.side(sector);
        let mut at = self.geometry(side).at(sector)?;
        let to_position = self.position.get().checked_sub(sector.get()).filter(|&to| to > 0);
        let longest = Sectors::new(to_position.unwrap_or(left).min(left));
        at.run = at.run.min(longest);
        Some((side, at))
    }

    /// `len` sectors from `from` on, cut at the position: at most two parts.
    pub fn sides(&self, from: ArraySector, len: Sectors) -> Result<Sides<'_>, OutsideArray> {
        let size = self.sectors();
        let end = from.checked_add(len).map(ArraySector::get);
        let end = end.filter(|&end| end <= size.get()).ok_or(OutsideArray { from, len, size })?;
        Ok(Sides { moving: self, at: from.get(), end })
    }
}

/// A range cut at the position: side, first sector, length. Made by [`Moving::sides`].
#[derive(Clone, Debug)]
pub struct Sides<'a> {
    moving: &'a Moving,
    at: u64,
    end: u64,
}

impl Iterator for Sides<'_> {
    type Item = (Side, ArraySector, Sectors);

    fn next(&mut self) -> Option<Self::Item> {
        if self.at >= self.end {
            return None;
        }
        let (at, position) = (self.at, self.moving.position.get());
        self.at = if at < position { self.end.min(position) } else { self.end };
        let from = ArraySector::new(at);
        Some((self.moving.side(from), from, Sectors::new(self.at.checked_sub(at)?)))
    }
}

#[cfg(test)]
mod tests {
    use super::super::Level;
    use super::super::tests::geometry;
    use super::*;

    fn moving(position: u64, direction: Direction) -> Moving {
        let old = geometry(Level::Raid5, 2, 8, 3, 64);
        let new = geometry(Level::Raid5, 2, 8, 4, 64);
        Moving { old, new, position: ArraySector::new(position), direction }
    }

    #[test]
    fn forwards_what_lies_before_the_position_is_new() {
        let moving = moving(50, Direction::Forwards);
        assert_eq!(moving.side(ArraySector::new(49)), Side::New);
        assert_eq!(moving.side(ArraySector::new(50)), Side::Old);
    }

    #[test]
    fn backwards_what_lies_before_the_position_is_old() {
        let moving = moving(50, Direction::Backwards);
        assert_eq!(moving.side(ArraySector::new(49)), Side::Old);
        assert_eq!(moving.side(ArraySector::new(50)), Side::New);
    }

    #[test]
    fn until_it_has_ended_a_growing_array_is_as_small_as_before() {
        let moving = moving(50, Direction::Forwards);
        assert_eq!(moving.sectors(), Sectors::new(128));
        assert_eq!(moving.at(ArraySector::new(128)), None);
        let (from, len, size) = (ArraySector::new(0), Sectors::new(129), Sectors::new(128));
        let refused = moving.sides(from, len).err();
        assert_eq!(refused, Some(OutsideArray { from, len, size }));
    }

    #[test]
    fn every_sector_is_where_its_side_says_and_runs_end_at_the_position() {
        for direction in [Direction::Forwards, Direction::Backwards] {
            for position in [0, 1, 8, 50, 127, 128, 192, u64::MAX] {
                let moving = moving(position, direction);
                for sector in (0..128).map(ArraySector::new) {
                    let (side, at) = moving.at(sector).unwrap();
                    let alone = moving.geometry(side).at(sector).unwrap();
                    assert_eq!(at.places, alone.places);
                    assert!(at.run.get() >= 1 && at.run <= alone.run);
                    let last = ArraySector::new(sector.get() + at.run.get() - 1);
                    assert_eq!(moving.side(last), side);
                }
            }
        }
    }

    #[test]
    fn a_range_is_cut_once_at_the_position() {
        let cut = |position, direction, from, len| -> Vec<(Side, u64, u64)> {
            let moving = moving(position, direction);
            let sides = moving.sides(ArraySector::new(from), Sectors::new(len)).unwrap();
            sides.map(|(side, from, len)| (side, from.get(), len.get())).collect()
        };
        let forwards = Direction::Forwards;
        assert_eq!(cut(50, forwards, 40, 20), [(Side::New, 40, 10), (Side::Old, 50, 10)]);
        assert_eq!(cut(50, forwards, 40, 10), [(Side::New, 40, 10)]);
        assert_eq!(cut(50, forwards, 50, 10), [(Side::Old, 50, 10)]);
        assert_eq!(cut(50, forwards, 50, 0), []);
        assert_eq!(cut(192, forwards, 0, 128), [(Side::New, 0, 128)]);
        let backwards = Direction::Backwards;
        assert_eq!(cut(50, backwards, 40, 20), [(Side::Old, 40, 10), (Side::New, 50, 10)]);
    }
}
