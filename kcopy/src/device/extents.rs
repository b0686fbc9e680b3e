//! Where a file has data and where it has holes.

use std::ops::Range;

use rustix::fs::{SeekFrom, seek};

use super::{Device, DeviceKind, Handle};

/// A run of bytes of a device, and whether it is a hole (reads as zeros, takes no space).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DataExtent {
    /// First byte.
    pub offset: u64,
    /// Number of bytes.
    pub len: u64,
    /// Whether it is a hole.
    pub hole: bool,
}

/// The extents of a range, in order. See [`Device::extents`].
#[derive(Debug)]
pub struct Extents<'a> {
    device: &'a Device,
    at: u64,
    end: u64,
}

impl Device {
    /// The data and the holes in `len` bytes from `offset` on, in order, without gaps
    /// (`SEEK_DATA`, `SEEK_HOLE`). Where the system does not tell, everything is data; so is what lies
    /// behind the end of a file, for it does not read as zeros.
    pub fn extents(&self, offset: u64, len: u64) -> Extents<'_> {
        Extents { device: self, at: offset, end: offset.saturating_add(len) }
    }

    /// The rest of the hole that `offset` lies in, up to the next data or the end: it reads as zeros now, and nothing
    /// was written there, not even what is in memory only. `None`: data, behind the end, or it cannot be told, as
    /// on every block device.
    pub fn hole_at(&self, offset: u64) -> Option<Range<u64>> {
        let data = self.next_change(offset, Change::Data)?;
        (data > offset).then_some(offset..data)
    }

    /// The first data at or behind `offset`, or the first hole; `None` if it cannot be told.
    fn next_change(&self, offset: u64, to: Change) -> Option<u64> {
        let cached = match (self.facts().kind, self.handle()) {
            (DeviceKind::File, Handle::Files { cached, .. }) => cached,
            (_, Handle::Simulated { holes, .. }) => return holes.next_change(offset, to),
            (_, Handle::Files { .. } | Handle::Null) => return None,
        };
        let whence = match to {
            Change::Data => SeekFrom::Data(offset),
            Change::Hole => SeekFrom::Hole(offset),
        };
        match seek(cached, whence) {
            Ok(found) => Some(found),
            // No data behind this offset: a hole up to the end as it is now, which lies before the offset
            // if the file has been cut off.
            Err(rustix::io::Errno::NXIO) if to == Change::Data => {
                Some(cached.metadata().ok()?.len())
            }
            Err(_) => None,
        }
    }
}

/// What is looked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    /// Data: its first byte, or the end of the device if there is none.
    Data,
    /// A hole; the end of the device is one.
    Hole,
}

/// A simulated device that tells its holes.
pub(crate) trait Holes: std::fmt::Debug + Send + Sync {
    /// The first byte at or behind `offset` of what is looked for; `None`: that cannot be told.
    fn next_change(&self, offset: u64, to: Change) -> Option<u64>;
}

impl Iterator for Extents<'_> {
    type Item = DataExtent;

    fn next(&mut self) -> Option<DataExtent> {
        let left = self.end.checked_sub(self.at).filter(|left| *left > 0)?;
        let offset = self.at;
        let data = self.device.next_change(offset, Change::Data);
        let (len, hole) = match data {
            Some(data) if data > offset => (left.min(data - offset), true),
            Some(_) => match self.device.next_change(offset, Change::Hole) {
                Some(end) if end > offset => (left.min(end - offset), false),
                _ => (left, false),
            },
            None => (left, false),
        };
        self.at += len;
        Some(DataExtent { offset, len, hole })
    }
}
