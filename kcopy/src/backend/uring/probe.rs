//! Whether io_uring is to be had here, and with which of its modes.

use std::io;

use io_uring::{IoUring, Probe, opcode};

/// The operations that this backend cannot do without, with the kernel that brought them.
const NEEDED: [(u8, &str); 7] = [
    (opcode::Read::CODE, "READ (5.6)"),
    (opcode::Write::CODE, "WRITE (5.6)"),
    (opcode::ReadFixed::CODE, "READ_FIXED (5.1)"),
    (opcode::WriteFixed::CODE, "WRITE_FIXED (5.1)"),
    (opcode::Fsync::CODE, "FSYNC (5.1)"),
    (opcode::Fallocate::CODE, "FALLOCATE (5.6)"),
    (opcode::AsyncCancel::CODE, "ASYNC_CANCEL (5.5)"),
];

/// The smallest ring that is worth having.
const MIN_ENTRIES: u32 = 8;

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

/// A disabled ring with at least the modes and operations needed, of `entries` entries or, if locked
/// memory is short, fewer.
pub(super) fn make_ring(entries: u32) -> Result<(IoUring, Modes, u32), NoRing> {
    let mut size = entries.next_power_of_two().max(MIN_ENTRIES);
    let mut last = io::Error::from_raw_os_error(libc::EINVAL);
    while size >= MIN_ENTRIES {
        for modes in Modes::ALL {
            match build(modes, size) {
                Ok(ring) => {
                    check(&ring)?;
                    return Ok((ring, modes, size));
                }
                Err(error) => last = error,
            }
            match last.raw_os_error() {
                Some(libc::EINVAL) => {}
                Some(libc::ENOMEM) => break,
                Some(libc::EPERM | libc::ENOSYS | libc::EACCES) => {
                    return Err(NoRing::Unavailable(format!("io_uring_setup: {last}")));
                }
                _ => return Err(NoRing::Resource(last)),
            }
        }
        if last.raw_os_error() != Some(libc::ENOMEM) {
            return Err(NoRing::Unavailable(format!("io_uring_setup: {last}")));
        }
        size /= 2;
    }
    Err(NoRing::Resource(last))
}

fn build(modes: Modes, entries: u32) -> io::Result<IoUring> {
    let mut builder = IoUring::builder();
    builder.dontfork().setup_r_disabled().setup_cqsize(entries * 2);
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
    builder.build(entries)
}

fn check(ring: &IoUring) -> Result<(), NoRing> {
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
        None => try_out(),
    }
}

/// Some sandboxes let a ring be made and refuse to enter it.
fn try_out() -> Result<(), NoRing> {
    let trial = IoUring::new(MIN_ENTRIES).map_err(NoRing::Resource)?;
    match trial.submit() {
        Ok(_) => Ok(()),
        Err(error) => Err(NoRing::Unavailable(format!("io_uring_enter: {error}"))),
    }
}
