//! Choosing a backend when a client is made.

use std::time::Duration;

use super::Backend;
use super::threads::ThreadsBackend;
use super::uring::UringBackend;
use crate::pool::PoolMemory;

/// Which backend a client is to run on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub enum BackendChoice {
    /// io_uring; threads where it is refused (containers, a system setting, an old kernel), with
    /// one line in the log.
    #[default]
    Auto,
    /// io_uring or an error.
    IoUring,
    /// Threads.
    Threads,
}

/// How a backend is set up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BackendOptions {
    /// Operations in flight, at most.
    pub depth: u32,
    /// Threads of the thread backend.
    pub threads: usize,
}

impl Default for BackendOptions {
    fn default() -> Self {
        Self { depth: 256, threads: 32 }
    }
}

/// Why a backend could not be opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// This system does not offer it.
    #[error("io_uring is not available here: {reason}")]
    Unavailable {
        /// What was refused.
        reason: String,
    },
    /// A resource ran out.
    #[error("the backend could not be set up")]
    Resource(#[source] std::io::Error),
}

/// Opens the backend `choice` for a pool's memory.
///
/// # Errors
///
/// See [`OpenError`]; with [`BackendChoice::Auto`] only if a resource other than lockable memory ran
/// out.
pub fn open(
    choice: BackendChoice,
    memory: &PoolMemory,
    options: &BackendOptions,
) -> Result<Box<dyn Backend>, OpenError> {
    let threads = || Box::new(ThreadsBackend::new(options.threads, options.depth));
    if choice == BackendChoice::Threads {
        return Ok(threads());
    }
    let error = match open_ring(memory, options.depth) {
        Ok(ring) => return Ok(Box::new(ring)),
        Err(error) if choice == BackendChoice::IoUring => return Err(error),
        Err(error) => error,
    };
    let reason = match error {
        OpenError::Unavailable { reason } => reason,
        OpenError::Resource(cause) if is_lack_of_memory(&cause) => {
            "no lockable memory (ulimit -l)".to_owned()
        }
        OpenError::Resource(cause) => return Err(OpenError::Resource(cause)),
    };
    tracing::warn!(%reason, "io_uring is not available here, threads are used instead");
    Ok(threads())
}

/// A ring. The memory of rings that were closed just now, also by other processes of the same user,
/// is given back a moment later, so a lack of memory is waited for, but not for long.
fn open_ring(memory: &PoolMemory, depth: u32) -> Result<UringBackend, OpenError> {
    const TRIES: u32 = 10;
    const PAUSE: Duration = Duration::from_millis(20);
    for _ in 1..TRIES {
        match UringBackend::new(memory, depth) {
            Err(OpenError::Resource(cause)) if is_lack_of_memory(&cause) => {
                std::thread::park_timeout(PAUSE);
            }
            result => return result,
        }
    }
    UringBackend::new(memory, depth)
}

fn is_lack_of_memory(error: &std::io::Error) -> bool {
    error.raw_os_error() == Some(libc::ENOMEM)
}
