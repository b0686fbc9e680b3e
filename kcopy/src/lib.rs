//! An asynchronous block copy service in user space: what dm-kcopyd is to the kernel.
#![deny(unsafe_code)]

pub mod backend;
mod cancel;
pub mod device;
mod errno;
mod job;
mod mem;
mod outcome;
pub mod pool;
mod region;
mod sync;
pub mod units;

pub use backend::BackendKind;
pub use cancel::CancelToken;
pub use device::Device;
pub use errno::Errno;
pub use job::{
    Destination, Flags, Job, JobKind, MAX_BUFFERS, MAX_DESTINATIONS, OnError, PieceBuffers,
    Priority, Transform,
};
pub use mem::{Pages, SharedPages};
pub use outcome::{DestinationOutcome, Fault, FaultKind, JobRange, Outcome};
pub use region::{Extent, Region};
pub use units::{PAGE_SIZE, SECTOR_SIZE, Sector, Sectors, Time};
