//! A limit in bytes per second, shared by any number of clients.
//!
//! A bucket that fills at the rate and holds at most [`BURST_NANOS`] worth of it. A piece may start
//! while the bucket is not in debt, and takes its bytes at once, so the bytes started in any window
//! are at most `rate * window + burst + one piece`. Only the start of reads (and of writes without
//! a read) is held back: completions and callbacks never wait here.
//!
//! Time is handed in; all clients of one throttle must use the same epoch (the driver's does).

use std::sync::{Mutex, PoisonError};

use crate::units::Time;

/// How much of the rate may be saved up: 20 ms.
const BURST_NANOS: u64 = 20_000_000;

const NANOS: u128 = 1_000_000_000;

/// See the module.
#[derive(Debug)]
pub struct Throttle(Mutex<Bucket>);

#[derive(Debug)]
struct Bucket {
    /// Bytes per second; `None` is no limit.
    rate: Option<u64>,
    /// Time at which the bucket is out of debt. Before it, nothing starts; long before now, it is
    /// full.
    clear_at: Time,
}

impl Throttle {
    /// A limit of `bytes_per_second`; `None` is no limit. A limit of 0 stops everything until it is
    /// changed.
    pub fn new(bytes_per_second: Option<u64>) -> Self {
        Self(Mutex::new(Bucket { rate: bytes_per_second, clear_at: Time::default() }))
    }

    /// Changes the limit, effective within 100 ms for clients that are waiting.
    pub fn set_rate(&self, bytes_per_second: Option<u64>) {
        let mut bucket = self.lock();
        bucket.rate = bytes_per_second;
        // Debt was counted in time at the old rate; what is owed is forgiven with the change.
        bucket.clear_at = Time::default();
    }

    /// The limit in bytes per second.
    pub fn rate(&self) -> Option<u64> {
        self.lock().rate
    }

    /// Whether a piece may start at `now`.
    ///
    /// # Errors
    ///
    /// The time at which to ask again.
    pub(crate) fn check(&self, now: Time) -> Result<(), Time> {
        const LONGEST_WAIT: u64 = 100_000_000;
        let bucket = self.lock();
        match bucket.rate {
            None => Ok(()),
            Some(0) => Err(now.after_nanos(LONGEST_WAIT)),
            Some(_) if bucket.clear_at <= now => Ok(()),
            Some(_) => Err(bucket.clear_at.min(now.after_nanos(LONGEST_WAIT))),
        }
    }

    /// Takes `bytes` for a piece that starts at `now`.
    pub(crate) fn take(&self, bytes: u64, now: Time) {
        let mut bucket = self.lock();
        let Some(rate) = bucket.rate.filter(|rate| *rate > 0) else { return };
        let nanos = u64::try_from(u128::from(bytes) * NANOS / u128::from(rate)).unwrap_or(u64::MAX);
        let full = Time::from_nanos(now.as_nanos().saturating_sub(BURST_NANOS));
        bucket.clear_at = bucket.clear_at.max(full).after_nanos(nanos);
    }

    /// The largest piece that keeps the flow even at this rate, in bytes; `u64::MAX` without limit.
    pub(crate) fn even_piece(&self) -> u64 {
        self.lock().rate.map_or(u64::MAX, |rate| rate / 64)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Bucket> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Starts pieces as early as allowed for `nanos` and returns the bytes of each start.
    fn run(throttle: &Throttle, piece: u64, nanos: u64) -> Vec<(Time, u64)> {
        let (mut now, mut starts) = (Time::from_nanos(1_000_000_000), Vec::new());
        let end = now.after_nanos(nanos);
        while now < end {
            match throttle.check(now) {
                Ok(()) => {
                    throttle.take(piece, now);
                    starts.push((now, piece));
                }
                Err(later) => now = later,
            }
        }
        starts
    }

    #[test]
    fn bytes_in_any_window_are_within_rate_burst_and_one_piece() {
        let (rate, piece) = (10_000_000, 65_536);
        let starts = run(&Throttle::new(Some(rate)), piece, 3_000_000_000);
        let burst = rate * BURST_NANOS / 1_000_000_000;
        for (i, (from, _)) in starts.iter().enumerate() {
            for window in [1_000_000u64, 100_000_000, 1_000_000_000] {
                let bytes: u64 = starts[i..]
                    .iter()
                    .take_while(|(at, _)| at.nanos_since(*from) < window)
                    .map(|(_, bytes)| bytes)
                    .sum();
                assert!(bytes <= rate * window / 1_000_000_000 + burst + 2 * piece);
            }
        }
    }

    #[test]
    fn rate_is_reached_within_two_percent() {
        let starts = run(&Throttle::new(Some(10_000_000)), 65_536, 2_000_000_000);
        let bytes: u64 = starts.iter().map(|(_, bytes)| bytes).sum();
        assert!((19_600_000..20_400_000).contains(&bytes), "{bytes}");
    }

    #[test]
    fn no_limit_never_waits_and_zero_always_does() {
        let now = Time::from_nanos(5);
        assert_eq!(Throttle::new(None).check(now), Ok(()));
        let stopped = Throttle::new(Some(0));
        assert!(stopped.check(now).is_err());
        stopped.set_rate(None);
        assert_eq!(stopped.check(now), Ok(()));
    }
}
