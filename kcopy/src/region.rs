//! Where bytes lie: a [`Region`] in sectors (the kernel's `io_region`), and the byte-exact
//! [`Extent`] that the engine computes with.
//!
//! A region is device + start + count; it becomes an extent once, at the door ([`crate::Job`]).
//! Extents exist because files may end in the middle of a sector.

use crate::device::Device;
use crate::units::{SECTOR_SIZE, Sector, Sectors};

/// A run of sectors on a device: the kernel's `struct io_region` (`bdev`, `sector`, `count`).
#[derive(Clone, Debug)]
pub struct Region {
    /// The device, file or simulated device.
    pub device: Device,
    /// The first sector, of 512 bytes.
    pub start: Sector,
    /// The number of sectors, of 512 bytes.
    pub count: Sectors,
}

impl Region {
    /// `count` sectors of `device` from `start` on.
    pub fn new(device: &Device, start: Sector, count: Sectors) -> Self {
        Self { device: device.clone(), start, count }
    }
}

/// A run of bytes on a device.
///
/// For regions that are not whole sectors: a file of 1000 bytes, an odd offset in an image.
/// Bytes that do not fit the device's direct I/O alignment travel through the page cache.
#[derive(Clone, Debug)]
pub struct Extent {
    /// The device, file or simulated device.
    pub device: Device,
    /// The first byte.
    pub offset: u64,
    /// The number of bytes.
    pub len: u64,
}

impl Extent {
    /// `len` bytes of `device` from byte `offset` on.
    pub fn new(device: &Device, offset: u64, len: u64) -> Self {
        Self { device: device.clone(), offset, len }
    }

    /// The first byte behind the extent, if it fits in 64 bits.
    pub fn checked_end(&self) -> Option<u64> {
        self.offset.checked_add(self.len)
    }

    /// Whether both extents are on the same device and share a byte.
    pub fn overlaps(&self, other: &Self) -> bool {
        self.len > 0
            && other.len > 0
            && self.offset < other.offset.saturating_add(other.len)
            && other.offset < self.offset.saturating_add(self.len)
            && self.device.is_same(&other.device)
    }
}

/// A region whose end does not fit in 64 bits of bytes becomes an extent that no device can hold,
/// which the door refuses.
impl From<Region> for Extent {
    fn from(region: Region) -> Self {
        Self {
            offset: region.start.get().saturating_mul(SECTOR_SIZE),
            len: region.count.get().saturating_mul(SECTOR_SIZE),
            device: region.device,
        }
    }
}

impl From<&Region> for Extent {
    fn from(region: &Region) -> Self {
        region.clone().into()
    }
}
