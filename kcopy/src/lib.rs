//! An asynchronous block copy service in user space: what dm-kcopyd is to the kernel.
//!
//! A [`Client`] has a pool of pages, reserved when it is made and never exceeded, and a thread that
//! works off [`Job`]s: copy, zero, compare, stripe. Each byte of a source is read once, for up to 64
//! destinations; each destination gets its own verdict in the [`Outcome`].
//!
//! ```no_run
//! use kcopy::device::OpenOptions;
//! use kcopy::{Client, Device, Extent, Job, OnError};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let source = Device::open("/dev/sda", &OpenOptions::source())?;
//! let one = Device::open("/dev/sdb", &OpenOptions::destination())?;
//! let two = Device::open("/backup/sda", &OpenOptions::destination().create(true))?;
//!
//! let all = source.size();
//! let job = Job::copy(Extent::new(&source, 0, all))
//!     .to(Extent::new(&one, 0, all))
//!     .to(Extent::new(&two, 0, all))
//!     .on_error(OnError::Detach)
//!     .flush();
//!
//! let client = Client::builder().pages(1024).build()?;
//! let outcome = client.run(job)?;
//! for (device, verdict) in [&one, &two].into_iter().zip(&outcome.destinations) {
//!     // With `flush`, what is said to be written survives a power failure.
//!     println!("{}: bytes {:?}, {:?}", device.path().display(), verdict.written, verdict.error);
//! }
//! # Ok(())
//! # }
//! ```
//!
//! - A callback, a future, a channel, or waiting: [`Client::submit`], [`Client::submit_async`],
//!   [`Client::submit_to`], [`Client::run`].
//! - Without a thread, the caller turns the engine: [`Builder::build_local`], [`LocalClient`].
//! - What goes on after an error, what is durable, what is first: [`OnError`], [`Job::flush`],
//!   [`Priority`].
//! - A limit in bytes per second, shared and changed at any time: [`Throttle`].
//! - An interrupted copy that goes on: [`resume`].
//! - A simulated disk that fails and loses power, to test your own code with: feature `sim`,
//!   `backend::sim`.
//! - The same from C: feature `capi` (on by default), `include/kcopyd.h`.
//!
//! Where io_uring is refused, threads do the same work ([`Client::backend`] says which it is). The
//! library prints nothing: it tells what it does as `tracing` events.
#![deny(unsafe_code)]

pub mod backend;
mod callback;
mod cancel;
#[cfg(feature = "capi")]
pub mod capi;
pub mod client;
mod crew;
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
