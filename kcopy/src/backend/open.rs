//! Choosing a backend when a client is made.

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
        Self { depth: 256, threads: 16 }
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
/// See [`OpenError`]; with [`BackendChoice::Auto`] only if a resource ran out.
pub fn open(
    choice: BackendChoice,
    memory: &PoolMemory,
    options: &BackendOptions,
) -> Result<Box<dyn Backend>, OpenError> {
    let threads = || Box::new(ThreadsBackend::new(options.threads, options.depth));
    if choice == BackendChoice::Threads {
        return Ok(threads());
    }
    match UringBackend::new(memory, options.depth) {
        Ok(ring) => Ok(Box::new(ring)),
        Err(OpenError::Unavailable { reason }) if choice == BackendChoice::Auto => {
            tracing::warn!(%reason, "io_uring is not available here, threads are used instead");
            Ok(threads())
        }
        Err(error) => Err(error),
    }
}
