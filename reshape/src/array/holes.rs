//! Holes of members that are sparse files: they read as zeros, and need not be read to know that.

use std::collections::HashMap;
use std::ops::Range;

use kcopy::device::DeviceKind;
use kcopy::{Device, Extent};
use smallvec::SmallVec;

/// The least that is left out, in bytes.
const FINEST: u64 = 64 << 10;

/// The holes that were found last. Whoever asks touches everything once, from one end to the other.
#[derive(Debug, Default)]
pub(crate) struct Holes {
    /// One of each device, in bytes; asked for again and again, one that is preallocated takes as long as it is
    /// large.
    last: HashMap<u64, Range<u64>>,
}

impl Holes {
    /// Whether all of these bytes are a hole.
    pub(crate) fn is_hole(&mut self, extent: &Extent) -> bool {
        if !may_have_holes(&extent.device) {
            return false;
        }
        let (start, end) = (extent.offset, extent.offset.saturating_add(extent.len));
        let id = extent.device.id();
        if let Some(hole) = self.last.get(&id).filter(|hole| hole.contains(&start)) {
            return end <= hole.end;
        }
        let Some(hole) = extent.device.hole_at(start) else { return false };
        let is_all = end <= hole.end;
        self.last.insert(id, hole);
        is_all
    }

    /// The parts of extents of one length, side by side, in which not all of them are holes: bytes from their
    /// starts.
    pub(super) fn data_in(&mut self, extents: &[Extent]) -> SmallVec<[Range<u64>; 4]> {
        let len = extents.first().map_or(0, |extent| extent.len);
        let mut parts: SmallVec<[Range<u64>; 4]> = SmallVec::new();
        if !extents.iter().all(|extent| may_have_holes(&extent.device)) {
            parts.push(0..len);
            return parts;
        }
        let mut at = 0;
        while at < len {
            let to = len.min(at + FINEST);
            let part = |e: &Extent| Extent::new(&e.device, e.offset.saturating_add(at), to - at);
            if !extents.iter().all(|extent| self.is_hole(&part(extent))) {
                match parts.last_mut() {
                    Some(last) if last.end == at => last.end = to,
                    _ => parts.push(at..to),
                }
            }
            at = to;
        }
        parts
    }
}

/// Whether a device is of a kind that has holes.
pub(crate) fn may_have_holes(device: &Device) -> bool {
    match device.facts().kind {
        DeviceKind::File | DeviceKind::Simulated => true,
        DeviceKind::Block | DeviceKind::Null => false,
    }
}
