//! Past the page cache or through it: decided for each operation.

use std::fs::File;

use rustix::fs::{FallocateFlags, fallocate};

use super::Op;
use crate::device::{Device, DeviceKind, Handle};
use crate::sys;

/// Which of a device's two descriptors an operation takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Route {
    /// Through the page cache.
    Cached,
    /// Past it (`O_DIRECT`).
    Direct,
}

/// Reads below this are not worth a look at the page cache.
const WORTH_A_LOOK: u32 = 64 << 10;

/// After so many reads in a row that were not cached, only every so manyth is looked at.
const PATIENCE: u32 = 4;
const SELDOM: u32 = 32;

/// A device in use by a backend, and what was learned about its routes.
#[derive(Debug)]
pub(super) struct Routes {
    pub(super) device: Device,
    /// Direct I/O was refused at run time although the device promised it.
    refused: bool,
    /// Reads in a row that were not in the page cache.
    misses: u32,
    /// Calls of `cachestat` so far.
    pub(super) looks: u64,
}

impl Routes {
    pub(super) fn new(device: &Device) -> Self {
        Self { device: device.clone(), refused: false, misses: 0, looks: 0 }
    }

    /// The route of an operation: direct if the device allows it and offset, length and memory fit
    /// its alignment, unless what is to be read is in the page cache already.
    pub(super) fn route(&mut self, op: &Op) -> Route {
        let Some(direct) = self.device.facts().direct.filter(|_| !self.refused) else {
            return Route::Cached;
        };
        let (offset, window) = match op {
            Op::Read { offset, window, .. } | Op::Write { offset, window, .. } => {
                (*offset, *window)
            }
            // These work on ranges; any descriptor serves.
            Op::Zero { .. } | Op::Discard { .. } | Op::Flush { .. } => return Route::Cached,
        };
        // Runs of pages begin on a page, so the window's start tells the memory's alignment.
        let fits = (offset | u64::from(window.len)).is_multiple_of(u64::from(direct.offset))
            && window.start.is_multiple_of(direct.memory);
        let read = matches!(op, Op::Read { .. });
        if !fits || (read && self.is_cached(offset, window.len)) {
            Route::Cached
        } else {
            Route::Direct
        }
    }

    /// Direct I/O was refused although offset, length and memory fit; `true` if the cached route
    /// may be tried.
    pub(super) fn direct_refused(&mut self) -> bool {
        if self.device.facts().direct_required {
            return false;
        }
        if !self.refused {
            let device = self.device.path().display();
            tracing::warn!(%device, "direct I/O is refused, the page cache is used instead");
        }
        self.refused = true;
        true
    }

    /// The descriptor for a route.
    pub(super) fn descriptor(&self, route: Route) -> Option<&File> {
        descriptor(&self.device, route)
    }

    /// Whether (nearly) all of a range is in the page cache, so that reading it from there is
    /// faster than from the device, and right, for the cache is never older than the device.
    fn is_cached(&mut self, offset: u64, len: u32) -> bool {
        if len < WORTH_A_LOOK || self.device.facts().direct_required {
            return false;
        }
        if self.misses >= PATIENCE && !self.misses.is_multiple_of(SELDOM) {
            self.misses = self.misses.wrapping_add(1);
            return false;
        }
        let Some(file) = self.descriptor(Route::Cached) else { return false };
        let cached = sys::cached_bytes(file, offset, u64::from(len)).unwrap_or(0);
        self.looks += 1;
        let hit = cached >= u64::from(len) / 16 * 15;
        self.misses = if hit { 0 } else { self.misses.wrapping_add(1) };
        hit
    }
}

/// The descriptor of a device for a route; `None` if it has none (a simulated one).
pub(super) fn descriptor(device: &Device, route: Route) -> Option<&File> {
    let Handle::Files { cached, direct } = device.handle() else { return None };
    match route {
        Route::Cached => Some(cached),
        Route::Direct => Some(direct.as_ref().unwrap_or(cached)),
    }
}

/// Discards a range: the command of a block device, a hole in a file.
pub(super) fn discard(device: &Device, file: &File, offset: u64, len: u64) -> std::io::Result<()> {
    if device.facts().kind == DeviceKind::Block {
        return sys::discard(file, offset, len);
    }
    let how = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
    Ok(fallocate(file, how, offset, len)?)
}
