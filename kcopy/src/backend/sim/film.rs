//! Pictures of a world's disks while it works.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::{SimWorld, Snapshot};

/// The pictures that a backend takes ([`super::SimBackend::filmed`]): one when it began, one after
/// every operation that changed a disk or made something durable. A loss of power at any moment of
/// the run leaves what [`Snapshot::after`] makes of one of them, so that one run is enough to look
/// at all of them. Clones are the same film.
#[derive(Clone, Debug)]
pub struct Film {
    frames: Arc<Mutex<Vec<Snapshot>>>,
}

impl Film {
    /// A film that begins with the disks as they are now.
    pub(super) fn of(world: &SimWorld) -> Self {
        Self { frames: Arc::new(Mutex::new(vec![world.snapshot()])) }
    }

    fn frames(&self) -> MutexGuard<'_, Vec<Snapshot>> {
        self.frames.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn take_picture(&self, frame: Snapshot) {
        self.frames().push(frame);
    }

    /// The pictures so far, in order.
    pub fn pictures(&self) -> Vec<Snapshot> {
        self.frames().clone()
    }
}
