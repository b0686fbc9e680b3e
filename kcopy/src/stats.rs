//! What a client has done so far, as plain data.

/// Classes of the latency histogram: class i counts jobs that took `2^i ..  2^(i+1)` nanoseconds
/// from submission to callback.
pub const LATENCY_CLASSES: usize = 64;

/// Bytes and operations on one device.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DeviceStats {
    /// The device, see [`crate::Device::id`].
    pub device: u64,
    /// Bytes read.
    pub bytes_read: u64,
    /// Bytes written as data.
    pub bytes_written: u64,
    /// Bytes zeroed without data.
    pub bytes_zeroed: u64,
    /// Flushes.
    pub flushes: u64,
}

/// A snapshot of a client's counters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stats {
    /// Jobs accepted.
    pub jobs_submitted: u64,
    /// Jobs whose callback was started.
    pub jobs_finished: u64,
    /// Of these, jobs with an error.
    pub jobs_failed: u64,
    /// Of these, jobs that were cancelled.
    pub jobs_cancelled: u64,
    /// Jobs that travelled together with adjacent ones.
    pub jobs_merged: u64,
    /// Callbacks that panicked (caught).
    pub callback_panics: u64,
    /// Operations handed to the backend.
    pub operations: u64,
    /// Operations that were short and were continued.
    pub short_operations: u64,
    /// Operations issued again after an error, to find the bad block.
    pub retries: u64,
    /// Completions that named no operation in flight, and were not believed.
    pub stray_completions: u64,
    /// System calls of the backend.
    pub syscalls: u64,
    /// Bytes read from all sources.
    pub bytes_read: u64,
    /// Bytes written as data to all destinations.
    pub bytes_written: u64,
    /// Bytes zeroed without data.
    pub bytes_zeroed: u64,
    /// Bytes discarded.
    pub bytes_discarded: u64,
    /// Pages of 4 KiB in the pool.
    pub pool_pages: u64,
    /// The most pages held at once.
    pub pool_peak_pages: u64,
    /// See [`LATENCY_CLASSES`].
    pub latency: [u64; LATENCY_CLASSES],
    /// One entry per device seen, in order of first use.
    pub devices: Vec<DeviceStats>,
}

impl Default for Stats {
    fn default() -> Self {
        Self {
            jobs_submitted: 0,
            jobs_finished: 0,
            jobs_failed: 0,
            jobs_cancelled: 0,
            jobs_merged: 0,
            callback_panics: 0,
            operations: 0,
            short_operations: 0,
            retries: 0,
            stray_completions: 0,
            syscalls: 0,
            bytes_read: 0,
            bytes_written: 0,
            bytes_zeroed: 0,
            bytes_discarded: 0,
            pool_pages: 0,
            pool_peak_pages: 0,
            latency: [0; LATENCY_CLASSES],
            devices: Vec::new(),
        }
    }
}

impl Stats {
    /// The counters of `device`; zeros if it was never used.
    pub fn device(&self, device: &crate::Device) -> DeviceStats {
        let id = device.id();
        let found = self.devices.iter().find(|entry| entry.device == id).cloned();
        found.unwrap_or_else(|| DeviceStats { device: id, ..DeviceStats::default() })
    }

    /// An upper bound, in nanoseconds, of the latency that `percent` percent of the jobs kept.
    pub fn latency_percentile(&self, percent: u64) -> u64 {
        let total: u64 = self.latency.iter().sum();
        let wanted = (u128::from(total) * u128::from(percent)).div_ceil(100);
        let mut seen = 0u128;
        for (class, count) in self.latency.iter().enumerate() {
            seen += u128::from(*count);
            if seen >= wanted && seen > 0 {
                return 1u64
                    .checked_shl(u32::try_from(class + 1).unwrap_or(63))
                    .unwrap_or(u64::MAX);
            }
        }
        0
    }
}
