//! Units of length and position: the only place that knows that a sector is 512 bytes.
//!
//! A [`Sector`] is a position on a device, [`Sectors`] is a length; both count units of 512 bytes,
//! whatever the device's logical block is (the kernel's `sector_t`). Position minus position is a
//! length; adding two positions does not compile.

use std::fmt;

/// Bytes in a sector, by definition of the kernel's `SECTOR_SIZE`.
pub const SECTOR_SIZE: u64 = 512;

/// Bytes in a page of the pool. Fixed, not the machine's page size, so that `pages(n)` means the
/// same everywhere.
pub const PAGE_SIZE: usize = 4096;

/// A position on a device, in sectors of 512 bytes from its start.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
#[repr(transparent)]
pub struct Sector(u64);

/// A length in sectors of 512 bytes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
#[repr(transparent)]
pub struct Sectors(u64);

impl Sector {
    /// The position `sectors` sectors of 512 bytes from the device's start.
    pub const fn new(sectors: u64) -> Self {
        Self(sectors)
    }

    /// The number of sectors before this position.
    pub const fn get(self) -> u64 {
        self.0
    }

    /// The sector that holds byte `offset` of the device.
    pub const fn containing(offset: u64) -> Self {
        Self(offset / SECTOR_SIZE)
    }

    /// The position in bytes, if it fits in 64 bits.
    pub const fn checked_bytes(self) -> Option<u64> {
        self.0.checked_mul(SECTOR_SIZE)
    }

    /// The position `length` further on.
    pub const fn checked_add(self, length: Sectors) -> Option<Self> {
        match self.0.checked_add(length.0) {
            Some(sum) => Some(Self(sum)),
            None => None,
        }
    }

    /// The distance from `earlier` to here; `None` if `earlier` lies behind this position.
    pub const fn checked_since(self, earlier: Self) -> Option<Sectors> {
        match self.0.checked_sub(earlier.0) {
            Some(difference) => Some(Sectors(difference)),
            None => None,
        }
    }
}

impl Sectors {
    /// A length of no sectors.
    pub const ZERO: Self = Self(0);

    /// A length of `sectors` sectors of 512 bytes.
    pub const fn new(sectors: u64) -> Self {
        Self(sectors)
    }

    /// The number of sectors.
    pub const fn get(self) -> u64 {
        self.0
    }

    /// The length in bytes, if it fits in 64 bits.
    pub const fn checked_bytes(self) -> Option<u64> {
        self.0.checked_mul(SECTOR_SIZE)
    }

    /// The whole sectors in `bytes` bytes.
    pub const fn from_bytes_floor(bytes: u64) -> Self {
        Self(bytes / SECTOR_SIZE)
    }

    /// The sectors that `bytes` bytes touch when they start on a sector.
    pub const fn from_bytes_ceil(bytes: u64) -> Self {
        Self(bytes.div_ceil(SECTOR_SIZE))
    }
}

impl fmt::Display for Sector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "sector {}", self.0)
    }
}

impl fmt::Debug for Sector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for Sectors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} sectors", self.0)
    }
}

impl fmt::Debug for Sectors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A monotonic point in time, in nanoseconds since an epoch that the driver chose.
///
/// The engine never looks at a clock: every call that needs the time is handed it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
#[repr(transparent)]
pub struct Time(u64);

impl Time {
    /// `nanoseconds` after the epoch.
    pub const fn from_nanos(nanoseconds: u64) -> Self {
        Self(nanoseconds)
    }

    /// Nanoseconds since the epoch.
    pub const fn as_nanos(self) -> u64 {
        self.0
    }

    /// The time `nanoseconds` later (at the end of time: the end of time).
    #[must_use]
    pub const fn after_nanos(self, nanoseconds: u64) -> Self {
        Self(self.0.saturating_add(nanoseconds))
    }

    /// Nanoseconds from `earlier` to here, 0 if `earlier` is later.
    pub const fn nanos_since(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn position_minus_position_is_a_length() {
        let start = Sector::new(8);
        let end = start.checked_add(Sectors::new(4)).unwrap();
        assert_eq!(end.checked_since(start), Some(Sectors::new(4)));
        assert_eq!(start.checked_since(end), None);
    }

    #[test]
    fn bytes_that_do_not_fit_are_refused() {
        assert_eq!(Sectors::new(u64::MAX).checked_bytes(), None);
        assert_eq!(Sector::new(u64::MAX).checked_add(Sectors::new(1)), None);
        assert_eq!(Sectors::new(2).checked_bytes(), Some(1024));
    }

    #[test]
    fn rounding_is_in_the_name() {
        assert_eq!(Sectors::from_bytes_floor(1023), Sectors::new(1));
        assert_eq!(Sectors::from_bytes_ceil(1023), Sectors::new(2));
        assert_eq!(Sector::containing(1023), Sector::new(1));
    }
}
