//! The end of a job as the caller gave it: called once, whatever happens.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};

use smallbox::{SmallBox, smallbox, space::S8};

use crate::outcome::Outcome;

/// A closure kept in place if it captures at most eight words (64 bytes), so that a job costs no
/// allocation; on the heap otherwise.
type Inline = SmallBox<dyn FnMut(&mut Outcome) + Send, S8>;

/// A callback that was not called yet. Dropping it calls it with a cancelled outcome: an accepted
/// job is always answered.
pub(crate) struct Callback(Option<Inline>);

impl Callback {
    pub(crate) fn new(function: impl FnOnce(Outcome) + Send + 'static) -> Self {
        let mut function = Some(function);
        Self(Some(smallbox!(move |outcome: &mut Outcome| {
            if let Some(function) = function.take() {
                function(std::mem::take(outcome));
            }
        })))
    }

    /// Calls it, and leaves a fresh outcome behind; `false` if it panicked.
    pub(crate) fn call(mut self, outcome: &mut Outcome) -> bool {
        let Some(function) = self.0.as_mut() else { return true };
        let called = catch_unwind(AssertUnwindSafe(|| function(outcome))).is_ok();
        // What it captured was used up by the call; only its place is left.
        self.0 = None;
        called
    }

    /// The job was refused: its caller knows from the error, nothing is called.
    pub(crate) fn disarm(mut self) {
        self.0 = None;
    }
}

impl Drop for Callback {
    fn drop(&mut self) {
        if let Some(mut function) = self.0.take() {
            let mut outcome = Outcome { cancelled: true, ..Outcome::default() };
            let called = catch_unwind(AssertUnwindSafe(move || function(&mut outcome)));
            if called.is_err() {
                tracing::error!("a callback panicked");
            }
        }
    }
}

impl fmt::Debug for Callback {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Callback")
    }
}
