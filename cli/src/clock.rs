//! The time, looked at in one place.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

use kcopy::Time;
use reshape::metadata::Timestamp;

#[expect(clippy::disallowed_methods, reason = "the command line may look at a clock")]
pub(crate) fn now() -> Instant {
    Instant::now()
}

/// The date, as superblocks keep it.
#[expect(clippy::disallowed_methods, reason = "the command line may look at a clock")]
pub(crate) fn date() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp { seconds: since.as_secs(), micros: since.subsec_micros() }
}

/// Times for the library, counted from when this was made.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Epoch(Instant);

impl Epoch {
    pub(crate) fn begin() -> Self {
        Self(now())
    }

    pub(crate) fn time(self) -> Time {
        let nanos = now().duration_since(self.0).as_nanos();
        Time::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
    }

    pub(crate) fn millis(self) -> u128 {
        now().duration_since(self.0).as_millis()
    }

    pub(crate) fn seconds(self) -> f64 {
        now().duration_since(self.0).as_secs_f64()
    }
}
