//! Positions in the three address spaces of an array. None of them converts to another by itself.
//!
//! | type | counts from | also called |
//! |---|---|---|
//! | [`ArraySector`] | the start of the array's own address space | array sector |
//! | [`MemberSector`] | the data offset of one member | device sector, relative |
//! | [`kcopy::Sector`] | the start of the member's device | device sector, absolute |
//!
//! All of them count sectors of 512 bytes, whatever the logical block size of a device is; a length
//! is a [`kcopy::Sectors`] in each of the three.

use std::fmt;

use kcopy::{Sector, Sectors};

/// A position in the array's address space, in sectors of 512 bytes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
#[repr(transparent)]
pub struct ArraySector(u64);

/// A position on a member, in sectors of 512 bytes after that member's data offset.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
#[repr(transparent)]
pub struct MemberSector(u64);

/// The place of a member in an array, from 0 (the kernel's `raid_disk`).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
#[repr(transparent)]
pub struct Slot(u32);

impl ArraySector {
    /// The position `sectors` sectors of 512 bytes after the array's start.
    pub const fn new(sectors: u64) -> Self {
        Self(sectors)
    }

    /// The number of sectors before this position.
    pub const fn get(self) -> u64 {
        self.0
    }

    /// The position `length` further on, if there is one.
    pub const fn checked_add(self, length: Sectors) -> Option<Self> {
        match self.0.checked_add(length.get()) {
            Some(sum) => Some(Self(sum)),
            None => None,
        }
    }

    /// The distance from `earlier` to here; `None` if `earlier` lies behind this position.
    pub const fn checked_since(self, earlier: Self) -> Option<Sectors> {
        match self.0.checked_sub(earlier.0) {
            Some(difference) => Some(Sectors::new(difference)),
            None => None,
        }
    }
}

impl MemberSector {
    /// The position `sectors` sectors of 512 bytes after the data offset.
    pub const fn new(sectors: u64) -> Self {
        Self(sectors)
    }

    /// The number of sectors between the data offset and this position.
    pub const fn get(self) -> u64 {
        self.0
    }

    /// The position `length` further on, if there is one.
    pub const fn checked_add(self, length: Sectors) -> Option<Self> {
        match self.0.checked_add(length.get()) {
            Some(sum) => Some(Self(sum)),
            None => None,
        }
    }

    /// The place on the device of a member whose data begins at `data_offset`.
    pub const fn on_device(self, data_offset: Sector) -> Option<Sector> {
        data_offset.checked_add(Sectors::new(self.0))
    }
}

impl Slot {
    /// Slot number `slot`.
    pub const fn new(slot: u32) -> Self {
        Self(slot)
    }

    /// The slot's number.
    pub const fn get(self) -> u32 {
        self.0
    }
}

impl fmt::Display for ArraySector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "array sector {}", self.0)
    }
}

impl fmt::Debug for ArraySector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for MemberSector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "member sector {}", self.0)
    }
}

impl fmt::Debug for MemberSector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for Slot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "slot {}", self.0)
    }
}

impl fmt::Debug for Slot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
