//! Makes the client that the options describe.

use std::sync::Arc;

use kcopy::backend::Backend as Backends;
use kcopy::{BackendChoice, BuildError, Builder, Client, LocalClient, PAGE_SIZE, Throttle};

use crate::args::{Backend, EngineArgs};
use crate::exit::Failure;
use crate::units::{Size, exact};

/// A service that the command turns on its own thread.
pub(crate) type Service = LocalClient<Box<dyn Backends>>;

/// What the client is to be.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wanted {
    pub(crate) pages: u32,
    pub(crate) request_size: u32,
    pub(crate) requests: u32,
    pub(crate) backend: BackendChoice,
}

impl From<Backend> for BackendChoice {
    fn from(backend: Backend) -> Self {
        match backend {
            Backend::Auto => Self::Auto,
            Backend::IoUring => Self::IoUring,
            Backend::Threads => Self::Threads,
        }
    }
}

/// Checks the engine's options; nothing is made yet.
pub(crate) fn check(args: &EngineArgs) -> Result<Wanted, Failure> {
    let (pool, request) = (args.pool.0, args.request_size.0);
    let page = page();
    if request == 0 || request % page != 0 {
        let message = format!("cannot use requests of {}", exact(request));
        return Err(Failure::refused(message)
            .hint(format!("--request-size must be a multiple of {page} bytes, such as 1MiB")));
    }
    if pool < request {
        let message =
            format!("cannot use a pool of {}: one request needs {}", exact(pool), exact(request));
        return Err(
            Failure::refused(message).hint("give a larger --pool or a smaller --request-size")
        );
    }
    let pages = pages_of(pool)?;
    let request_size = u32::try_from(request).map_err(|_| {
        Failure::refused(format!("cannot use requests of {}", exact(request)))
            .hint("--request-size must be below 4 GiB; 1MiB is what disks like")
    })?;
    let backend = args.backend.into();
    Ok(Wanted { pages, request_size, requests: args.requests, backend })
}

/// The whole pages in a pool of `bytes`.
pub(crate) fn pages_of(bytes: u64) -> Result<u32, Failure> {
    let least = u64::from(kcopy::client::MIN_PAGES);
    let pages = bytes / page();
    if pages < least {
        let message = format!("cannot use a pool of {}: too small", exact(bytes));
        return Err(Failure::refused(message)
            .hint(format!("--pool must be at least {}", exact(least * page()))));
    }
    u32::try_from(pages).map_err(|_| {
        Failure::refused(format!("cannot use a pool of {}: too large", exact(bytes)))
            .hint("4MiB keeps a disk busy")
    })
}

fn page() -> u64 {
    u64::try_from(PAGE_SIZE).unwrap_or(4096)
}

/// A limit in bytes per second, if there is to be one.
pub(crate) fn throttle(rate: Option<Size>) -> Result<Option<Arc<Throttle>>, Failure> {
    match rate {
        Some(Size(0)) => Err(Failure::refused("cannot copy at 0 bytes per second")
            .hint("leave --rate out for no limit")),
        Some(Size(rate)) => Ok(Some(Arc::new(Throttle::new(Some(rate))))),
        None => Ok(None),
    }
}

/// Makes the client.
pub(crate) fn client(
    wanted: Wanted,
    queue: usize,
    throttle: Option<&Arc<Throttle>>,
) -> Result<Client, Failure> {
    let mut builder = builder(wanted, queue);
    if let Some(throttle) = throttle {
        builder = builder.throttle(throttle);
    }
    builder.build().map_err(|error| unbuilt(&error))
}

/// Makes the same service without a thread of its own.
pub(crate) fn local(wanted: Wanted, queue: usize) -> Result<Service, Failure> {
    builder(wanted, queue).build_local().map_err(|error| unbuilt(&error))
}

fn builder(wanted: Wanted, queue: usize) -> Builder {
    Client::builder()
        .pages(wanted.pages)
        .request_size(wanted.request_size)
        .requests(wanted.requests)
        .queue(queue)
        .backend(wanted.backend)
}

fn unbuilt(error: &BuildError) -> Failure {
    let mut message = format!("cannot start the copy engine: {error}");
    let mut cause = std::error::Error::source(error);
    while let Some(inner) = cause {
        message = format!("{message}: {inner}");
        cause = inner.source();
    }
    let failure = Failure::refused(message);
    if let BuildError::Backend(_) = error {
        return failure.hint("--backend threads works everywhere");
    }
    if let BuildError::NoMemory { .. } = error {
        return failure.hint("give a smaller --pool");
    }
    failure
}
