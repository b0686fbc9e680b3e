//! The handshake between callers and an engine thread that may be asleep.
//!
//! ```text
//!   caller                          engine
//!   put work where it is seen       say "asleep"
//!   fence                           fence
//!   asleep? -> wake                 look for work; none -> wait
//! ```
//!
//! With a full fence on both sides, either the caller sees "asleep" or the engine sees the work: no
//! wake-up is lost. And while the engine is awake, a caller pays one load.

use crate::sync::atomic::{AtomicBool, Ordering, fence};

/// See the module.
#[derive(Debug)]
pub(crate) struct Doorbell {
    asleep: AtomicBool,
}

impl Doorbell {
    pub(crate) fn new() -> Self {
        Self { asleep: AtomicBool::new(false) }
    }

    /// The caller put work where the engine looks for it. `true`: the engine is to be woken.
    #[must_use]
    pub(crate) fn must_wake(&self) -> bool {
        fence(Ordering::SeqCst);
        self.asleep.load(Ordering::Relaxed) && self.asleep.swap(false, Ordering::AcqRel)
    }

    /// The engine is about to wait, and looks for work once more after this.
    ///
    /// Swaps, here and in `rise`, not stores: so all changes of the flag stand in one line that the
    /// model checker can follow.
    pub(crate) fn doze(&self) {
        self.asleep.swap(true, Ordering::AcqRel);
        fence(Ordering::SeqCst);
    }

    /// The engine is up.
    pub(crate) fn rise(&self) {
        self.asleep.swap(false, Ordering::AcqRel);
    }
}
