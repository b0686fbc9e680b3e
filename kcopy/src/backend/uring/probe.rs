//! Whether io_uring is to be had here, and with which of its modes.

use std::io;

use io_uring::{IoUring, Probe, opcode};

/// The operations that this backend cannot do without, with the kernel that brought them.
const NEEDED: [(u8, &str); 8] = [
    (opcode::Read::CODE, "READ (5.6)"),
    (opcode::Write::CODE, "WRITE (5.6)"),
    (opcode::ReadFixed::CODE, "READ_FIXED (5.1)"),
    (opcode::WriteFixed::CODE, "WRITE_FIXED (5.1)"),
    (opcode::Fsync::CODE, "FSYNC (5.1)"),
    (opcode::Fallocate::CODE, "FALLOCATE (5.6)"),
    (opcode::AsyncCancel::CODE, "ASYNC_CANCEL (5.5)"),
    (opcode::Timeout::CODE, "TIMEOUT (5.4)"),
];

/// The fewest operations in flight that are worth having.
const MIN_DEPTH: u32 = 8;

/// The most; the kernel's limit is 32768 entries.
const MAX_DEPTH: u32 = 16_384;

/// The most operations that one system call submits.
const MAX_BATCH: u32 = 128;

/// Sets of modes, newest first; an older kernel refuses what it does not know with `EINVAL`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Modes {
    /// Since 6.1: completions are processed when the one issuer asks for them.
    Deferred,
    /// Since 5.19: no interruptions for completions.
    Cooperative,
    /// 5.10 and later.
    Plain,
}

impl Modes {
    const ALL: [Self; 3] = [Self::Deferred, Self::Cooperative, Self::Plain];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Deferred => "single issuer, deferred task run",
            Self::Cooperative => "cooperative task run",
            Self::Plain => "no modes",
        }
    }
}

/// Why there is no ring.
#[derive(Debug)]
pub(super) enum NoRing {
    /// The system does not offer io_uring, or forbids it.
    Unavailable(String),
    /// Memory or descriptors ran out.
    Resource(io::Error),
}

/// A ring, and what it came out as.
pub(super) struct Made {
    pub(super) ring: IoUring,
    pub(super) modes: Modes,
    /// Operations that may be in flight.
    pub(super) depth: u32,
    /// The kernel passes commands on to devices (5.19).
    pub(super) commands: bool,
}

/// A disabled ring with at least the modes and operations needed, for `depth` operations or, if
/// locked memory is short, fewer.
pub(super) fn make_ring(depth: u32) -> Result<Made, NoRing> {
    let mut depth = depth.clamp(1, MAX_DEPTH);
    loop {
        match make_with(depth) {
            Err(NoRing::Resource(error))
                if error.raw_os_error() == Some(libc::ENOMEM) && depth > MIN_DEPTH =>
            {
                depth = (depth / 2).max(MIN_DEPTH);
            }
            Ok((ring, modes, commands)) => return Ok(Made { ring, modes, depth, commands }),
            Err(other) => return Err(other),
        }
    }
}

/// The newest modes that the kernel takes.
fn make_with(depth: u32) -> Result<(IoUring, Modes, bool), NoRing> {
    let mut last = io::Error::from_raw_os_error(libc::EINVAL);
    for modes in Modes::ALL {
        match build(modes, depth) {
            Ok(ring) => {
                let commands = check(&ring)?;
                return Ok((ring, modes, commands));
            }
            Err(error) if error.raw_os_error() == Some(libc::EINVAL) => last = error,
            Err(error) => {
                last = error;
                break;
            }
        }
    }
    Err(match last.raw_os_error() {
        Some(libc::EINVAL | libc::EPERM | libc::ENOSYS | libc::EACCES) => {
            NoRing::Unavailable(format!("io_uring_setup: {last}"))
        }
        _ => NoRing::Resource(last),
    })
}

fn build(modes: Modes, depth: u32) -> io::Result<IoUring> {
    let mut builder = IoUring::builder();
    // One completion for each operation, and some for wake-ups and cancelling: it never overflows.
    builder.dontfork().setup_r_disabled().setup_cqsize((depth + 8).next_power_of_two());
    match modes {
        Modes::Deferred => {
            builder.setup_single_issuer().setup_defer_taskrun().setup_taskrun_flag();
            builder.setup_submit_all();
        }
        Modes::Cooperative => {
            builder.setup_coop_taskrun().setup_taskrun_flag().setup_submit_all();
        }
        Modes::Plain => {}
    }
    // Ring memory is locked memory, too; what does not fit the queue is submitted in two goes.
    builder.build(depth.next_power_of_two().clamp(MIN_DEPTH, MAX_BATCH))
}

/// Whether it has what is needed; gives whether it passes commands on to devices.
fn check(ring: &IoUring) -> Result<bool, NoRing> {
    let unavailable = |reason: String| Err(NoRing::Unavailable(reason));
    if !ring.params().is_feature_nodrop() || !ring.params().is_feature_ext_arg() {
        return unavailable("the kernel's io_uring is too old (before 5.11)".into());
    }
    let mut probe = Probe::new();
    if let Err(error) = ring.submitter().register_probe(&mut probe) {
        return unavailable(format!("io_uring_register: {error}"));
    }
    match NEEDED.iter().find(|(code, _)| !probe.is_supported(*code)) {
        Some((_, name)) => unavailable(format!("the kernel lacks {name}")),
        None => try_out(ring).map(|()| probe.is_supported(opcode::UringCmd16::CODE)),
    }
}

/// Some sandboxes let a ring be made and refuse to enter it. One that is still disabled answers
/// `EBADFD`.
fn try_out(ring: &IoUring) -> Result<(), NoRing> {
    match ring.submit() {
        Err(error) if error.raw_os_error() != Some(libc::EBADFD) => {
            Err(NoRing::Unavailable(format!("io_uring_enter: {error}")))
        }
        Ok(_) | Err(_) => Ok(()),
    }
}
