//! The C interface: `include/kcopyd.h`, function for function. See `docs/c-api.md`.
//!
//! Every function returns 0 or a negative `errno`, and leaves a sentence about it for
//! [`kcopyd_last_error`]. No panic crosses the border: each body runs inside `guard`.
//!
//! # Safety argument
//!
//! 1. A handle that C holds (`struct kcopyd_client *`, `struct block_device *`, ...) is a box that
//!    `hand_out` gave away and that nothing here frees but the one function named for it. The
//!    caller keeps it alive for the time of each call that gets it; nothing keeps a reference
//!    beyond the call, jobs hold counted handles of their own.
//! 2. Pointers to structures and strings are read during the call only. The caller says that they
//!    are null, or valid for that time and for the count that goes with them.
//! 3. A result pointer is null, or may be written.
//! 4. A function pointer and its context are the caller's promise that the function may be called
//!    with this context, once, on the engine's thread. The context is never looked at here.
#![allow(unsafe_code)]

mod failure;
mod types;

use std::ffi::{CStr, OsStr, c_char, c_int, c_uint, c_void};
use std::os::unix::ffi::OsStrExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicU32, Ordering};
use std::time::Duration;

pub use self::types::{DestVerdict, IoRegion, JobSpec, Options, StatsData, Verdict, layout};

use self::failure::Failure;
use self::types::JobFlags;
use crate::cancel::CancelToken;
use crate::client::{Builder, Client, Prepared};
use crate::device::Device;
use crate::job::{Job, MAX_DESTINATIONS};
use crate::outcome::Outcome;
use crate::region::Extent;
use crate::throttle::Throttle;
use crate::units::SECTOR_SIZE;

/// Destinations that `kcopyd_notify_fn` has bits for.
const NOTIFY_DESTINATIONS: usize = 32;

const VERSION: &CStr = {
    let text = concat!(env!("CARGO_PKG_VERSION"), "\0");
    match CStr::from_bytes_with_nul(text.as_bytes()) {
        Ok(text) => text,
        Err(_) => panic!("a version has no zero inside"),
    }
};

/// `struct block_device`.
#[derive(Debug)]
pub struct BlockDevice(Device);

/// `struct kcopyd_client`.
#[derive(Debug)]
pub struct KcopydClient {
    client: Client,
    throttle: Arc<Throttle>,
}

/// `struct kcopyd_cancel`.
#[derive(Debug)]
pub struct Cancel(CancelToken);

/// `struct kcopyd_prepared`.
#[derive(Debug)]
pub struct PreparedCallback {
    prepared: Prepared,
    values: Arc<Values>,
}

/// What a prepared callback is fired with.
#[derive(Debug)]
struct Values {
    read_err: AtomicI32,
    write_err: AtomicU32,
    discarded: AtomicBool,
}

/// `kcopyd_notify_fn`.
pub type NotifyFn = unsafe extern "C" fn(read_err: c_int, write_err: c_uint, context: *mut c_void);

/// `kcopyd_verdict_fn`.
pub type VerdictFn = unsafe extern "C" fn(verdict: *const Verdict, context: *mut c_void);

/// What the caller wants to find again in the callback.
#[derive(Clone, Copy, Debug)]
struct Context(*mut c_void);

// SAFETY: the pointer is only handed on (invariant 4).
unsafe impl Send for Context {}

impl Context {
    /// A method, so that closures capture the whole, which may be sent.
    fn get(self) -> *mut c_void {
        self.0
    }
}

/// Runs the body of a function: 0, or the negative error number of its failure or panic.
fn guard(body: impl FnOnce() -> Result<(), Failure>) -> c_int {
    match catch_unwind(AssertUnwindSafe(body)) {
        Ok(Ok(())) => 0,
        Ok(Err(failure)) => failure.report(),
        Err(_) => Failure::new(libc::EIO, "a fault inside of kcopy, which is a bug").report(),
    }
}

/// Gives the caller a new handle.
///
/// # Safety
///
/// `result` is null or may be written.
unsafe fn hand_out<T>(
    result: *mut *mut T,
    make: impl FnOnce() -> Result<T, Failure>,
) -> Result<(), Failure> {
    if result.is_null() {
        return Err(Failure::invalid("the result pointer is NULL"));
    }
    let handle = Box::into_raw(Box::new(make()?));
    // SAFETY: invariant 3, and it is not null.
    unsafe { result.write(handle) };
    Ok(())
}

/// What `pointer` points to, for the time of the call.
///
/// # Safety
///
/// `pointer` is null, or valid for that time.
unsafe fn borrow<'a, T>(pointer: *const T, name: &str) -> Result<&'a T, Failure> {
    if !pointer.is_aligned() {
        return Err(Failure::invalid(format!("{name} is not aligned")));
    }
    // SAFETY: invariants 1 and 2.
    unsafe { pointer.as_ref() }.ok_or_else(|| Failure::invalid(format!("{name} is NULL")))
}

/// The regions of a job.
///
/// # Safety
///
/// `regions` is null, or points to `count` regions.
unsafe fn regions<'a>(regions: *const IoRegion, count: c_uint) -> Result<&'a [IoRegion], Failure> {
    let count = usize::try_from(count).unwrap_or(usize::MAX);
    if count == 0 || count > MAX_DESTINATIONS {
        return Err(Failure::invalid(format!(
            "{count} destinations; a job has at least 1 and at most {MAX_DESTINATIONS}"
        )));
    }
    if regions.is_null() || !regions.is_aligned() {
        return Err(Failure::invalid("the destinations are NULL or not aligned"));
    }
    // SAFETY: invariant 2; not null, aligned, and few.
    Ok(unsafe { std::slice::from_raw_parts(regions, count) })
}

/// The place that a region names, in units of `unit` bytes.
///
/// # Safety
///
/// The region's device is null or open.
unsafe fn extent(region: &IoRegion, unit: u64) -> Result<Extent, Failure> {
    // SAFETY: invariant 1.
    let device = unsafe { borrow(region.bdev.cast_const(), "bdev of a region") }?;
    let bytes = |count: u64| {
        let too_far = || Failure::new(libc::ERANGE, "a region ends behind all that can be");
        count.checked_mul(unit).ok_or_else(too_far)
    };
    Ok(Extent::new(&device.0, bytes(region.sector)?, bytes(region.count)?))
}

/// Adds all destinations to a job.
///
/// # Safety
///
/// As for [`extent`].
unsafe fn with_destinations(mut job: Job, dests: &[IoRegion], unit: u64) -> Result<Job, Failure> {
    for region in dests {
        // SAFETY: the caller's promise is ours.
        job = job.to(unsafe { extent(region, unit) }?);
    }
    Ok(job)
}

/// The version of the library, for example "0.1.0".
#[unsafe(no_mangle)]
pub extern "C" fn kcopyd_version() -> *const c_char {
    VERSION.as_ptr()
}

/// A sentence about this thread's last failure; valid until the next one.
#[unsafe(no_mangle)]
pub extern "C" fn kcopyd_last_error() -> *const c_char {
    failure::last_text()
}

/// Opens a block device or file.
///
/// # Safety
///
/// Invariants 2 and 3 of the module.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kcopyd_device_open(
    path: *const c_char,
    flags: c_uint,
    result: *mut *mut BlockDevice,
) -> c_int {
    guard(|| {
        if path.is_null() {
            return Err(Failure::invalid("path is NULL"));
        }
        // SAFETY: invariant 2.
        let path = unsafe { CStr::from_ptr(path) };
        let options = types::open_options(flags)?;
        let open = || {
            let path = Path::new(OsStr::from_bytes(path.to_bytes()));
            Ok(BlockDevice(Device::open(path, &options)?))
        };
        // SAFETY: invariant 3.
        unsafe { hand_out(result, open) }
    })
}

/// Gives a device back. Jobs that use it go on.
///
/// # Safety
///
/// Invariant 1 of the module; the handle is not used again.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kcopyd_device_close(bdev: *mut BlockDevice) {
    // SAFETY: invariant 1, and this is its end.
    unsafe { end(bdev) };
}

/// The size in bytes, as it is now; 0 for NULL.
///
/// # Safety
///
/// Invariant 1 of the module.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kcopyd_device_size(bdev: *const BlockDevice) -> u64 {
    let mut size = 0;
    guard(|| {
        // SAFETY: invariant 1.
        let device = &unsafe { borrow(bdev, "bdev") }?.0;
        size = device.refresh_size().unwrap_or_else(|_| device.size());
        Ok(())
    });
    size
}

/// Makes a client with a pool of `num_pages` pages of 4 KiB.
///
/// # Safety
///
/// Invariant 3 of the module.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kcopyd_client_create(
    num_pages: c_uint,
    result: *mut *mut KcopydClient,
) -> c_int {
    guard(|| {
        // SAFETY: invariant 3.
        unsafe { hand_out(result, || build(Client::builder().pages(num_pages))) }
    })
}

/// Makes a client with options.
///
/// # Safety
///
/// Invariants 2 and 3 of the module.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kcopyd_client_create_with(
    options: *const Options,
    result: *mut *mut KcopydClient,
) -> c_int {
    guard(|| {
        // SAFETY: invariant 2.
        let options = unsafe { borrow(options, "options") }?;
        if options.reserved != [0; 3] {
            return Err(Failure::invalid("reserved options are not 0"));
        }
        let mut builder = Client::builder().backend(types::backend(options.backend)?);
        let given = |value: c_uint| Some(value).filter(|value| *value > 0);
        if let Some(pages) = given(options.num_pages) {
            builder = builder.pages(pages);
        }
        if let Some(bytes) = given(options.request_bytes) {
            builder = builder.request_size(bytes);
        }
        if let Some(requests) = given(options.requests) {
            builder = builder.requests(requests);
        }
        if let Some(jobs) = given(options.queue) {
            builder = builder.queue(usize::try_from(jobs).unwrap_or(usize::MAX));
        }
        // SAFETY: invariant 3.
        unsafe { hand_out(result, || build(builder)) }
    })
}

fn build(builder: Builder) -> Result<KcopydClient, Failure> {
    let throttle = Arc::new(Throttle::new(None));
    let client = builder.throttle(&throttle).build()?;
    Ok(KcopydClient { client, throttle })
}

/// Waits for every callback and frees the client.
///
/// # Safety
///
/// Invariant 1 of the module; the handle is not used again.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kcopyd_client_destroy(kc: *mut KcopydClient) {
    guard(|| {
        // SAFETY: invariant 1.
        unsafe { borrow(kc.cast_const(), "kc") }?.client.close();
        Ok(())
    });
    // SAFETY: invariant 1, and this is its end.
    unsafe { end(kc) };
}

/// The same, but waits at most `milliseconds`; the client lives on if that was not enough.
///
/// # Safety
///
/// Invariant 1 of the module; the handle is not used again after 0 was returned.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kcopyd_client_destroy_timeout(
    kc: *mut KcopydClient,
    milliseconds: c_uint,
) -> c_int {
    let answer = guard(|| {
        // SAFETY: invariant 1.
        let client = &unsafe { borrow(kc.cast_const(), "kc") }?.client;
        let patience = Duration::from_millis(milliseconds.into());
        client
            .close_within(patience)
            .map_err(|stalled| Failure::new(libc::ETIMEDOUT, stalled.to_string()))
    });
    if answer == 0 {
        // SAFETY: invariant 1, and this is its end.
        unsafe { end(kc) };
    }
    answer
}

/// Frees a handle; nothing for null.
///
/// # Safety
///
/// Invariant 1 of the module; the handle is not used again.
unsafe fn end<T>(handle: *mut T) {
    if handle.is_null() || !handle.is_aligned() {
        return;
    }
    // SAFETY: `hand_out` made it of a box, and nobody else frees it (invariant 1).
    let owned = unsafe { Box::from_raw(handle) };
    guard(|| {
        drop(owned);
        Ok(())
    });
}

/// The name of the backend that was chosen.
///
/// # Safety
///
/// Invariant 1 of the module.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kcopyd_client_backend(kc: *const KcopydClient) -> *const c_char {
    use crate::BackendKind::{IoUring, Null, Simulated, Threads};
    let mut name = c"none";
    guard(|| {
        // SAFETY: invariant 1.
        name = match unsafe { borrow(kc, "kc") }?.client.backend() {
            IoUring => c"io-uring",
            Threads => c"threads",
            Simulated => c"simulated",
            Null => c"null",
        };
        Ok(())
    });
    name.as_ptr()
}

/// Limits the client to so many bytes per second; 0 is no limit.
///
/// # Safety
///
/// Invariant 1 of the module.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kcopyd_client_set_rate(
    kc: *const KcopydClient,
    bytes_per_second: u64,
) -> c_int {
    guard(|| {
        // SAFETY: invariant 1.
        let throttle = &unsafe { borrow(kc, "kc") }?.throttle;
        throttle.set_rate(Some(bytes_per_second).filter(|rate| *rate > 0));
        Ok(())
    })
}

/// The counters.
///
/// # Safety
///
/// Invariants 1 and 3 of the module.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kcopyd_client_stats(
    kc: *const KcopydClient,
    result: *mut StatsData,
) -> c_int {
    guard(|| {
        // SAFETY: invariant 1.
        let client = &unsafe { borrow(kc, "kc") }?.client;
        if result.is_null() {
            return Err(Failure::invalid("the result pointer is NULL"));
        }
        // SAFETY: invariant 3, and it is not null.
        unsafe { result.write(client.stats().into()) };
        Ok(())
    })
}

/// Copies one region to others: the seed's and the kernel's call.
///
/// # Safety
///
/// Invariants 1, 2 and 4 of the module.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kcopyd_copy(
    kc: *mut KcopydClient,
    from: *const IoRegion,
    num_dests: c_uint,
    dests: *const IoRegion,
    flags: c_uint,
    notify: Option<NotifyFn>,
    context: *mut c_void,
) -> c_int {
    guard(|| {
        let flags = JobFlags::new(flags)?;
        // SAFETY: invariant 2.
        let from = unsafe { borrow(from, "from") }?;
        // SAFETY: invariant 1.
        let job = Job::copy(unsafe { extent(from, flags.unit()) }?);
        // SAFETY: invariant 2.
        let dests = unsafe { regions(dests, num_dests) }?;
        // SAFETY: invariant 1.
        let job = unsafe { with_destinations(job, dests, flags.unit()) }?;
        // SAFETY: invariants 1 and 4.
        unsafe { submit_notified(kc, flags.apply(job), flags, notify, Context(context)) }
    })
}

/// Makes regions read as zeros.
///
/// # Safety
///
/// Invariants 1, 2 and 4 of the module.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kcopyd_zero(
    kc: *mut KcopydClient,
    num_dests: c_uint,
    dests: *const IoRegion,
    flags: c_uint,
    notify: Option<NotifyFn>,
    context: *mut c_void,
) -> c_int {
    guard(|| {
        let flags = JobFlags::new(flags)?;
        // SAFETY: invariant 2.
        let dests = unsafe { regions(dests, num_dests) }?;
        // SAFETY: invariant 1.
        let job = unsafe { with_destinations(Job::zero(), dests, flags.unit()) }?;
        // SAFETY: invariants 1 and 4.
        unsafe { submit_notified(kc, flags.apply(job), flags, notify, Context(context)) }
    })
}

/// Submits a job whose callback is a `kcopyd_notify_fn`.
///
/// # Safety
///
/// Invariants 1 and 4 of the module.
unsafe fn submit_notified(
    kc: *const KcopydClient,
    job: Job,
    flags: JobFlags,
    notify: Option<NotifyFn>,
    context: Context,
) -> Result<(), Failure> {
    // SAFETY: invariant 1.
    let client = &unsafe { borrow(kc, "kc") }?.client;
    let notify = notify.ok_or_else(|| Failure::invalid("the callback is NULL"))?;
    let count = job.destinations.len();
    if count > NOTIFY_DESTINATIONS {
        return Err(Failure::invalid(format!(
            "write_err has {NOTIFY_DESTINATIONS} bits, too few for {count} destinations; \
             kcopyd_submit takes up to {MAX_DESTINATIONS}"
        )));
    }
    submit(client, job, flags, move |outcome| {
        let (read_err, write_err) = types::pair(&outcome, count);
        // SAFETY: invariant 4; a callback is called once.
        unsafe { notify(read_err, write_err, context.get()) };
    })
}

fn submit(
    client: &Client,
    job: Job,
    flags: JobFlags,
    callback: impl FnOnce(Outcome) + Send + 'static,
) -> Result<(), Failure> {
    if flags.nowait() {
        return client.try_submit(job, callback).map_err(|refused| refused.error.into());
    }
    Ok(client.submit(job, callback)?)
}

/// Submits a job of any kind, with the full verdict.
///
/// # Safety
///
/// Invariants 1, 2 and 4 of the module.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kcopyd_submit(
    kc: *mut KcopydClient,
    job: *const JobSpec,
    verdict: Option<VerdictFn>,
    context: *mut c_void,
) -> c_int {
    guard(|| {
        // SAFETY: invariant 1.
        let client = &unsafe { borrow(kc.cast_const(), "kc") }?.client;
        // SAFETY: invariant 2.
        let spec = unsafe { borrow(job, "job") }?;
        let verdict = verdict.ok_or_else(|| Failure::invalid("the callback is NULL"))?;
        let flags = JobFlags::new(spec.flags)?;
        // SAFETY: invariants 1 and 2.
        let mut job = flags.apply(unsafe { job_of(spec, flags.unit()) }?);
        if !spec.cancel.is_null() {
            // SAFETY: invariant 1.
            job = job.cancelled_by(&unsafe { borrow(spec.cancel, "cancel") }?.0);
        }
        let (count, unit, context) = (job.destinations.len(), flags.unit(), Context(context));
        submit(client, job, flags, move |outcome| {
            let dests = types::destinations(&outcome, count, unit);
            let all = types::verdict(&outcome, &dests);
            // SAFETY: invariant 4; `all` and `dests` live until it has returned.
            unsafe { verdict(&raw const all, context.get()) };
        })
    })
}

/// The job that a `struct kcopyd_job` describes.
///
/// # Safety
///
/// Invariants 1 and 2 of the module.
unsafe fn job_of(spec: &JobSpec, unit: u64) -> Result<Job, Failure> {
    if spec.reserved != 0 {
        return Err(Failure::invalid("the reserved field of the job is not 0"));
    }
    // SAFETY: invariant 2.
    let dests = unsafe { regions(spec.dests, spec.num_dests) }?;
    let job = match spec.kind {
        // SAFETY: invariants 1 and 2.
        0 => Job::copy(unsafe { source(spec, unit) }?),
        1 => Job::zero(),
        // SAFETY: invariants 1 and 2.
        2 => Job::compare(unsafe { source(spec, unit) }?),
        // SAFETY: invariant 1.
        3 => return unsafe { flush_of(dests) },
        kind => return Err(Failure::invalid(format!("there is no kind of job {kind}"))),
    };
    // SAFETY: invariant 1.
    unsafe { with_destinations(job, dests, unit) }
}

/// The source of a job.
///
/// # Safety
///
/// Invariants 1 and 2 of the module.
unsafe fn source(spec: &JobSpec, unit: u64) -> Result<Extent, Failure> {
    // SAFETY: invariant 2.
    let from = unsafe { borrow(spec.from, "from") }?;
    // SAFETY: invariant 1.
    unsafe { extent(from, unit) }
}

/// A job that flushes the devices of `dests`, whatever regions they name.
///
/// # Safety
///
/// Invariant 1 of the module.
unsafe fn flush_of(dests: &[IoRegion]) -> Result<Job, Failure> {
    let mut job = Job::zero().flush();
    for region in dests {
        let nothing = IoRegion { sector: 0, count: 0, ..*region };
        // SAFETY: invariant 1.
        job = job.to(unsafe { extent(&nothing, SECTOR_SIZE) }?);
    }
    Ok(job)
}

/// Makes a token that cancels jobs of this client.
///
/// # Safety
///
/// Invariants 1 and 3 of the module.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kcopyd_cancel_create(
    kc: *const KcopydClient,
    result: *mut *mut Cancel,
) -> c_int {
    guard(|| {
        // SAFETY: invariant 1.
        let client = &unsafe { borrow(kc, "kc") }?.client;
        // SAFETY: invariant 3.
        unsafe { hand_out(result, || Ok(Cancel(client.cancel_token()))) }
    })
}

/// Cancels every job that was submitted with this token, and every one that will be.
///
/// # Safety
///
/// Invariant 1 of the module.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kcopyd_cancel(cancel: *const Cancel) -> c_int {
    guard(|| {
        // SAFETY: invariant 1.
        unsafe { borrow(cancel, "cancel") }?.0.cancel();
        Ok(())
    })
}

/// Frees a token. Cancels nothing.
///
/// # Safety
///
/// Invariant 1 of the module; the handle is not used again.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kcopyd_cancel_destroy(cancel: *mut Cancel) {
    // SAFETY: invariant 1, and this is its end.
    unsafe { end(cancel) };
}

/// Makes a callback now that is called later, in line with those of the jobs. NULL on failure.
///
/// # Safety
///
/// Invariants 1 and 4 of the module.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kcopyd_prepare_callback(
    kc: *mut KcopydClient,
    notify: Option<NotifyFn>,
    context: *mut c_void,
) -> *mut PreparedCallback {
    let mut handle = std::ptr::null_mut();
    let context = Context(context);
    guard(|| {
        // SAFETY: invariant 1.
        let client = &unsafe { borrow(kc.cast_const(), "kc") }?.client;
        let notify = notify.ok_or_else(|| Failure::invalid("the callback is NULL"))?;
        let values = Arc::new(Values {
            read_err: AtomicI32::new(0),
            write_err: AtomicU32::new(u32::MAX),
            discarded: AtomicBool::new(false),
        });
        let fired = Arc::clone(&values);
        let prepared = client.prepare(move |_| {
            if fired.discarded.load(Ordering::Acquire) {
                return;
            }
            let read_err = fired.read_err.load(Ordering::Acquire);
            let write_err = fired.write_err.load(Ordering::Acquire);
            // SAFETY: invariant 4; a callback is called once.
            unsafe { notify(read_err, write_err, context.get()) };
        });
        handle = Box::into_raw(Box::new(PreparedCallback { prepared, values }));
        Ok(())
    });
    handle
}

/// Has a prepared callback called, on the engine's thread. Never waits.
///
/// # Safety
///
/// Invariant 1 of the module; the handle is not used again.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kcopyd_do_callback(
    prepared: *mut PreparedCallback,
    read_err: c_int,
    write_err: c_uint,
) -> c_int {
    guard(|| {
        // SAFETY: invariant 1, and this is its end.
        let PreparedCallback { prepared, values } = unsafe { take(prepared) }?;
        values.read_err.store(read_err, Ordering::Release);
        values.write_err.store(write_err, Ordering::Release);
        prepared.fire(Outcome::default());
        Ok(())
    })
}

/// Frees a prepared callback that is not needed; it is not called.
///
/// # Safety
///
/// Invariant 1 of the module; the handle is not used again.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kcopyd_discard_callback(prepared: *mut PreparedCallback) {
    guard(|| {
        // SAFETY: invariant 1, and this is its end.
        let prepared = unsafe { take(prepared) }?;
        prepared.values.discarded.store(true, Ordering::Release);
        Ok(())
    });
}

/// Takes a prepared callback back from the caller.
///
/// # Safety
///
/// Invariant 1 of the module; the handle is not used again.
unsafe fn take(prepared: *mut PreparedCallback) -> Result<PreparedCallback, Failure> {
    if prepared.is_null() || !prepared.is_aligned() {
        return Err(Failure::invalid("prepared is NULL or not aligned"));
    }
    // SAFETY: `kcopyd_prepare_callback` made it of a box (invariant 1).
    Ok(*unsafe { Box::from_raw(prepared) })
}
