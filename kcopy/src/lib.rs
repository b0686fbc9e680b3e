//! An asynchronous block copy service in user space: what dm-kcopyd is to the kernel.
#![deny(unsafe_code)]

pub mod backend;
mod callback;
mod cancel;
#[cfg(feature = "capi")]
pub mod capi;
pub mod client;
pub mod device;
mod door;
mod doorbell;
mod driver;
pub mod engine;
mod errno;
mod future;
mod job;
#[cfg(all(test, loom))]
mod loom_tests;
mod mem;
mod outcome;
pub mod pool;
mod region;
pub mod resume;
pub mod service;
mod split;
mod stats;
mod sync;
mod sys;
mod throttle;
pub mod units;

pub use backend::{BackendChoice, BackendKind};
pub use cancel::CancelToken;
pub use client::{BuildError, Builder, Client, Prepared, Refused, Stalled};
pub use device::Device;
pub use door::{Side, SubmitError};
pub use errno::Errno;
pub use future::Running;
pub use job::{
    Destination, Flags, Job, JobKind, MAX_BUFFERS, MAX_DESTINATIONS, OnError, PieceBuffers,
    Priority, Transform,
};
pub use mem::{Pages, SharedPages};
pub use outcome::{DestinationOutcome, Fault, FaultKind, JobRange, Outcome};
pub use region::{Extent, Region};
pub use service::{Clock, LocalClient, SystemClock};
pub use stats::{DeviceStats, LATENCY_CLASSES, Stats};
pub use throttle::Throttle;
pub use units::{PAGE_SIZE, SECTOR_SIZE, Sector, Sectors, Time};
