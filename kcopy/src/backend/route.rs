//! Past the page cache or through it: decided for each operation.

use std::fs::File;

use super::Op;
use crate::device::{Device, Handle};
use crate::units::PAGE_SIZE;

/// Which of a device's two descriptors an operation takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Route {
    /// Through the page cache.
    Cached,
    /// Past it (`O_DIRECT`).
    Direct,
}

/// The route of an operation: direct if the device allows it and offset, length and memory fit its
/// alignment.
pub(super) fn route(device: &Device, op: &Op) -> Route {
    let Some(direct) = device.facts().direct else { return Route::Cached };
    match op {
        Op::Read { offset, window, .. } | Op::Write { offset, window, .. } => {
            let place = *offset | u64::from(window.len);
            // Runs of pages begin on a page, which is enough for every device.
            debug_assert!(PAGE_SIZE.is_multiple_of(direct.memory as usize));
            let fits = place.is_multiple_of(u64::from(direct.offset))
                && window.start.is_multiple_of(direct.memory);
            if fits { Route::Direct } else { Route::Cached }
        }
        // These work on ranges, not through descriptors' caches.
        Op::Zero { .. } | Op::Discard { .. } | Op::Flush { .. } => Route::Cached,
    }
}

/// The descriptor for a route; `None` if the device has no descriptors (a simulated one).
pub(super) fn descriptor(device: &Device, route: Route) -> Option<&File> {
    let Handle::Files { cached, direct } = device.handle() else { return None };
    match route {
        Route::Cached => Some(cached),
        Route::Direct => Some(direct.as_ref().unwrap_or(cached)),
    }
}
