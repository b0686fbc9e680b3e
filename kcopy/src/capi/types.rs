//! What crosses the border by value: the structures and numbers of `kcopyd.h`, in Rust.

use std::ffi::{c_int, c_uint};
use std::mem::{offset_of, size_of};

use smallvec::SmallVec;

use super::failure::Failure;
use super::{BlockDevice, Cancel};
use crate::client::BackendChoice;
use crate::device::{Direct, OpenOptions};
use crate::job::{Flags, Job, OnError, Priority};
use crate::outcome::{DestinationOutcome, Fault, FaultKind, Outcome};
use crate::stats::Stats;
use crate::units::SECTOR_SIZE;

/// `struct io_region`: `count` sectors of 512 bytes of `bdev`, from `sector` on.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct IoRegion {
    /// The device.
    pub bdev: *mut BlockDevice,
    /// The first sector.
    pub sector: u64,
    /// Number of sectors.
    pub count: u64,
}

/// `struct kcopyd_options`; 0 is the default of each.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct Options {
    /// Pages of 4 KiB in the pool.
    pub num_pages: c_uint,
    /// `KCOPYD_BACKEND_*`.
    pub backend: c_uint,
    /// The largest operation in bytes.
    pub request_bytes: c_uint,
    /// The most pieces on their way.
    pub requests: c_uint,
    /// The most jobs that wait.
    pub queue: c_uint,
    /// 0.
    pub reserved: [c_uint; 3],
}

/// `struct kcopyd_job`.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct JobSpec {
    /// `KCOPYD_JOB_*`.
    pub kind: c_uint,
    /// Flags.
    pub flags: c_uint,
    /// The source of a copy or comparison.
    pub from: *const IoRegion,
    /// The destinations.
    pub dests: *const IoRegion,
    /// How many.
    pub num_dests: c_uint,
    /// 0.
    pub reserved: c_uint,
    /// What cancels it, or null.
    pub cancel: *const Cancel,
}

/// `struct kcopyd_dest_verdict`.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct DestVerdict {
    /// 0, or the error number.
    pub error: c_int,
    /// `KCOPYD_FAULT_*`.
    pub fault: c_uint,
    /// The first bad sector of the device.
    pub bad_sector: u64,
    /// Where in the region the run that is surely written begins.
    pub written_from: u64,
    /// How long it is.
    pub written: u64,
    /// Sectors that differ.
    pub differing: u64,
}

/// `struct kcopyd_verdict`.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct Verdict {
    /// 0, or the error number of the first read that failed.
    pub read_error: c_int,
    /// `KCOPYD_FAULT_*`.
    pub read_fault: c_uint,
    /// The first bad sector of the source.
    pub read_bad_sector: u64,
    /// Bit i: destination i failed.
    pub write_err: u64,
    /// Number of destinations.
    pub num_dests: c_uint,
    /// 1 if the job ended before it was done.
    pub cancelled: c_uint,
    /// One per destination.
    pub dests: *const DestVerdict,
}

/// `struct kcopyd_stats`.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
#[expect(missing_docs, reason = "as in `Stats`, name for name")]
pub struct StatsData {
    pub jobs_submitted: u64,
    pub jobs_finished: u64,
    pub jobs_failed: u64,
    pub jobs_cancelled: u64,
    pub operations: u64,
    pub syscalls: u64,
    pub bytes_read: u64,
    pub bytes_written: u64,
    pub bytes_zeroed: u64,
    pub pool_pages: u64,
    pub pool_peak_pages: u64,
    /// 0.
    pub reserved: [u64; 5],
}

/// Sizes and offsets of the structures above by their names in C, for the test that compares the
/// header with the library.
pub fn layout() -> Vec<(&'static str, usize)> {
    macro_rules! fields {
        ($name:literal, $type:ty, $($field:ident),+) => {
            [(concat!("sizeof ", $name), size_of::<$type>()),
             $((concat!($name, ".", stringify!($field)), offset_of!($type, $field))),+]
        };
    }
    let region = fields!("io_region", IoRegion, bdev, sector, count);
    let options = fields!(
        "kcopyd_options",
        Options,
        num_pages,
        backend,
        request_bytes,
        requests,
        queue,
        reserved
    );
    let job = fields!("kcopyd_job", JobSpec, kind, flags, from, dests, num_dests, reserved, cancel);
    let destination = fields!(
        "kcopyd_dest_verdict",
        DestVerdict,
        error,
        fault,
        bad_sector,
        written_from,
        written,
        differing
    );
    let verdict = fields!(
        "kcopyd_verdict",
        Verdict,
        read_error,
        read_fault,
        read_bad_sector,
        write_err,
        num_dests,
        cancelled,
        dests
    );
    let stats = fields!(
        "kcopyd_stats",
        StatsData,
        jobs_submitted,
        jobs_finished,
        jobs_failed,
        jobs_cancelled,
        operations,
        syscalls,
        bytes_read,
        bytes_written,
        bytes_zeroed,
        pool_pages,
        pool_peak_pages,
        reserved
    );
    let all: [&[(&str, usize)]; 6] = [&region, &options, &job, &destination, &verdict, &stats];
    all.concat()
}

impl From<Stats> for StatsData {
    fn from(stats: Stats) -> Self {
        Self {
            jobs_submitted: stats.jobs_submitted,
            jobs_finished: stats.jobs_finished,
            jobs_failed: stats.jobs_failed,
            jobs_cancelled: stats.jobs_cancelled,
            operations: stats.operations,
            syscalls: stats.syscalls,
            bytes_read: stats.bytes_read,
            bytes_written: stats.bytes_written,
            bytes_zeroed: stats.bytes_zeroed,
            pool_pages: stats.pool_pages,
            pool_peak_pages: stats.pool_peak_pages,
            reserved: [0; 5],
        }
    }
}

/// `KCOPYD_BACKEND_*`.
pub(super) fn backend(number: c_uint) -> Result<BackendChoice, Failure> {
    match number {
        0 => Ok(BackendChoice::Auto),
        1 => Ok(BackendChoice::IoUring),
        2 => Ok(BackendChoice::Threads),
        _ => Err(Failure::invalid(format!("there is no backend {number}"))),
    }
}

/// `KCOPYD_OPEN_*`.
pub(super) fn open_options(flags: c_uint) -> Result<OpenOptions, Failure> {
    const WRITE: c_uint = 1;
    const CREATE: c_uint = 1 << 1;
    const DIRECT: c_uint = 1 << 2;
    const CACHED: c_uint = 1 << 3;
    const SHARED: c_uint = 1 << 4;
    let is = |bit| flags & bit != 0;
    known(flags, WRITE | CREATE | DIRECT | CACHED | SHARED)?;
    if is(DIRECT) && is(CACHED) {
        return Err(Failure::invalid(
            "KCOPYD_OPEN_DIRECT and KCOPYD_OPEN_CACHED exclude each other",
        ));
    }
    let direct = match (is(DIRECT), is(CACHED)) {
        (true, _) => Direct::Always,
        (_, true) => Direct::Never,
        _ => Direct::Auto,
    };
    let mut options = if is(WRITE) { OpenOptions::destination() } else { OpenOptions::source() };
    options.exclusive &= !is(SHARED);
    Ok(options.direct(direct).create(is(WRITE) && is(CREATE)))
}

/// The flags of a job.
#[derive(Clone, Copy, Debug)]
pub(super) struct JobFlags(c_uint);

impl JobFlags {
    const IGNORE_ERROR: c_uint = 1;
    const WRITE_SEQ: c_uint = 1 << 1;
    const FLUSH: c_uint = 1 << 2;
    const DETACH: c_uint = 1 << 3;
    const REFUSE_OVERLAP: c_uint = 1 << 4;
    const SKIP_ZEROS: c_uint = 1 << 5;
    const DEST_IS_ZERO: c_uint = 1 << 6;
    const PUNCH_HOLES: c_uint = 1 << 7;
    const NO_ISOLATION: c_uint = 1 << 8;
    const HIGH: c_uint = 1 << 9;
    const LOW: c_uint = 1 << 10;
    const NOWAIT: c_uint = 1 << 11;
    const BYTES: c_uint = 1 << 12;

    const ENGINE: [(c_uint, Flags); 7] = [
        (Self::WRITE_SEQ, Flags::SEQUENTIAL),
        (Self::FLUSH, Flags::FLUSH),
        (Self::REFUSE_OVERLAP, Flags::REFUSE_OVERLAP),
        (Self::SKIP_ZEROS, Flags::SKIP_ZEROS),
        (Self::DEST_IS_ZERO, Flags::DESTINATION_IS_ZERO),
        (Self::PUNCH_HOLES, Flags::PUNCH_HOLES),
        (Self::NO_ISOLATION, Flags::NO_ISOLATION),
    ];

    pub(super) fn new(flags: c_uint) -> Result<Self, Failure> {
        known(flags, (1 << 13) - 1)?;
        let this = Self(flags);
        for (one, other) in [(Self::IGNORE_ERROR, Self::DETACH), (Self::HIGH, Self::LOW)] {
            if this.is(one) && this.is(other) {
                return Err(Failure::invalid(format!("flags {one:#x} and {other:#x} contradict")));
            }
        }
        Ok(this)
    }

    fn is(self, bit: c_uint) -> bool {
        self.0 & bit != 0
    }

    /// Whether a full queue is an error rather than a wait.
    pub(super) fn nowait(self) -> bool {
        self.is(Self::NOWAIT)
    }

    /// Bytes in what positions and lengths count.
    pub(super) fn unit(self) -> u64 {
        if self.is(Self::BYTES) { 1 } else { SECTOR_SIZE }
    }

    pub(super) fn apply(self, mut job: Job) -> Job {
        for (bit, flag) in Self::ENGINE {
            if self.is(bit) {
                job = job.flags(flag);
            }
        }
        let on_error = match (self.is(Self::IGNORE_ERROR), self.is(Self::DETACH)) {
            (true, _) => OnError::Continue,
            (_, true) => OnError::Detach,
            _ => OnError::Stop,
        };
        let priority = match (self.is(Self::HIGH), self.is(Self::LOW)) {
            (true, _) => Priority::High,
            (_, true) => Priority::Low,
            _ => Priority::Normal,
        };
        job.on_error(on_error).priority(priority)
    }
}

fn known(flags: c_uint, all: c_uint) -> Result<(), Failure> {
    match flags & !all {
        0 => Ok(()),
        unknown => Err(Failure::invalid(format!("there are no flags {unknown:#x}"))),
    }
}

fn fault_number(kind: FaultKind) -> c_uint {
    match kind {
        FaultKind::Device => 1,
        FaultKind::EndOfDevice => 2,
        FaultKind::Transform => 3,
        FaultKind::Flush => 4,
    }
}

/// The fault of a destination that was not done when its job was cancelled.
const FAULT_CANCELLED: c_uint = 5;

fn fault(fault: Option<&Fault>) -> (c_int, c_uint, u64) {
    fault.map_or((0, 0, 0), |fault| {
        (fault.errno.raw(), fault_number(fault.kind), fault.sector.get())
    })
}

/// The verdicts on the `count` destinations of a job, in units of `unit` bytes.
///
/// A job that was cancelled may have told nothing about its destinations: nothing is then surely
/// written, and none may look as if it were.
pub(super) fn destinations(
    outcome: &Outcome,
    count: usize,
    unit: u64,
) -> SmallVec<[DestVerdict; 4]> {
    let unknown = DestinationOutcome::default();
    let one = |index| {
        let of = outcome.destinations.get(index).unwrap_or(&unknown);
        let (mut error, mut kind, bad_sector) = fault(of.error.as_ref());
        if outcome.cancelled && error == 0 {
            (error, kind) = (libc::ECANCELED, FAULT_CANCELLED);
        }
        let from = of.written.start.div_ceil(unit);
        DestVerdict {
            error,
            fault: kind,
            bad_sector,
            written_from: from,
            written: (of.written.end / unit).saturating_sub(from),
            differing: of.differing_sectors,
        }
    };
    (0..count).map(one).collect()
}

/// The verdict on a job; `dests` must live as long as it is used.
pub(super) fn verdict(outcome: &Outcome, dests: &[DestVerdict]) -> Verdict {
    let (read_error, read_fault, read_bad_sector) = fault(outcome.read.as_ref().map(|(_, f)| f));
    Verdict {
        read_error,
        read_fault,
        read_bad_sector,
        write_err: mask(dests),
        num_dests: c_uint::try_from(dests.len()).unwrap_or(c_uint::MAX),
        cancelled: outcome.cancelled.into(),
        dests: dests.as_ptr(),
    }
}

fn mask(dests: &[DestVerdict]) -> u64 {
    let failed = dests.iter().enumerate().filter(|(_, dest)| dest.error != 0);
    failed.fold(0, |mask, (index, _)| mask | 1 << index)
}

/// The kernel's pair for a job of `count` destinations, at most 32.
pub(super) fn pair(outcome: &Outcome, count: usize) -> (c_int, c_uint) {
    let mask = mask(&destinations(outcome, count, SECTOR_SIZE));
    (outcome.read_err(), c_uint::try_from(mask).unwrap_or(c_uint::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::errno::Errno;
    use crate::units::Sector;

    fn failed(sector: u64, written: std::ops::Range<u64>) -> DestinationOutcome {
        let error =
            Fault { kind: FaultKind::Device, errno: Errno::NO_SPACE, sector: Sector::new(sector) };
        DestinationOutcome { error: Some(error), written, differing_sectors: 0 }
    }

    #[test]
    fn verdict_names_who_failed_where_and_what_is_written() {
        let good = DestinationOutcome { written: 0..8192, ..DestinationOutcome::default() };
        let outcome = Outcome {
            destinations: [good, failed(70, 0..1000)].into_iter().collect(),
            ..Outcome::default()
        };
        let dests = destinations(&outcome, 2, SECTOR_SIZE);
        let all = verdict(&outcome, &dests);
        assert_eq!((all.read_error, all.write_err, all.num_dests, all.cancelled), (0, 2, 2, 0));
        assert_eq!((dests[0].error, dests[0].written), (0, 16));
        let bad = dests[1];
        assert_eq!((bad.error, bad.fault, bad.bad_sector), (libc::ENOSPC, 1, 70));
        assert_eq!((bad.written_from, bad.written), (0, 1), "whole sectors only");
        assert_eq!(destinations(&outcome, 2, 1)[1].written, 1000);
        assert_eq!(pair(&outcome, 2), (0, 2));
    }

    /// The number behind `#define KCOPYD_name` in the header.
    fn defined(name: &str) -> u32 {
        let header = include_str!("../../include/kcopyd.h");
        let start = format!("#define KCOPYD_{name} ");
        let line = header.lines().find(|line| line.starts_with(&start)).unwrap();
        let number = line[start.len()..].split('u').next().unwrap();
        let hex = number.strip_prefix("0x");
        hex.map_or_else(|| number.parse(), |digits| u32::from_str_radix(digits, 16)).unwrap()
    }

    #[test]
    fn numbers_are_those_of_the_header() {
        for (number, name) in [
            (JobFlags::IGNORE_ERROR, "IGNORE_ERROR"),
            (JobFlags::WRITE_SEQ, "WRITE_SEQ"),
            (JobFlags::FLUSH, "FLUSH"),
            (JobFlags::DETACH, "DETACH"),
            (JobFlags::REFUSE_OVERLAP, "REFUSE_OVERLAP"),
            (JobFlags::SKIP_ZEROS, "SKIP_ZEROS"),
            (JobFlags::DEST_IS_ZERO, "DEST_IS_ZERO"),
            (JobFlags::PUNCH_HOLES, "PUNCH_HOLES"),
            (JobFlags::NO_ISOLATION, "NO_ISOLATION"),
            (JobFlags::HIGH, "PRIORITY_HIGH"),
            (JobFlags::LOW, "PRIORITY_LOW"),
            (JobFlags::NOWAIT, "NOWAIT"),
            (JobFlags::BYTES, "BYTES"),
            (fault_number(FaultKind::Device), "FAULT_DEVICE"),
            (fault_number(FaultKind::EndOfDevice), "FAULT_END"),
            (fault_number(FaultKind::Transform), "FAULT_DATA"),
            (fault_number(FaultKind::Flush), "FAULT_FLUSH"),
            (FAULT_CANCELLED, "FAULT_CANCELLED"),
        ] {
            assert_eq!(number, defined(name), "{name}");
        }
        let choice = |name| backend(defined(name)).ok();
        assert_eq!(choice("BACKEND_AUTO"), Some(BackendChoice::Auto));
        assert_eq!(choice("BACKEND_IO_URING"), Some(BackendChoice::IoUring));
        assert_eq!(choice("BACKEND_THREADS"), Some(BackendChoice::Threads));
        let open = |name| open_options(defined(name) | defined("OPEN_WRITE")).ok();
        let destination = OpenOptions::destination();
        assert_eq!(open("OPEN_READ"), Some(destination));
        assert_eq!(open("OPEN_CREATE"), Some(destination.create(true)));
        assert_eq!(open("OPEN_DIRECT"), Some(destination.direct(Direct::Always)));
        assert_eq!(open("OPEN_CACHED"), Some(destination.direct(Direct::Never)));
        assert!(open("OPEN_SHARED").is_some_and(|options| !options.exclusive));
    }

    #[test]
    fn a_cancelled_job_never_looks_done() {
        let outcome = Outcome { cancelled: true, ..Outcome::default() };
        assert_eq!(pair(&outcome, 3), (0, 0b111));
        assert_eq!(pair(&outcome, 32), (0, u32::MAX));
        let dests = destinations(&outcome, 64, SECTOR_SIZE);
        let all = verdict(&outcome, &dests);
        assert_eq!((all.write_err, all.cancelled), (u64::MAX, 1));
        assert!(dests.iter().all(|dest| dest.error == libc::ECANCELED && dest.written == 0));
    }

    #[test]
    fn flags_that_are_unknown_or_contradict_are_refused() {
        for flags in [1 << 13, u32::MAX, 1 | 1 << 3, 1 << 9 | 1 << 10] {
            assert!(JobFlags::new(flags).is_err(), "{flags:#x}");
        }
        for flags in [1 << 5, 1 << 2 | 1 << 3] {
            assert!(open_options(flags).is_err(), "{flags:#x}");
        }
        assert!(backend(3).is_err_and(|failure| failure.report() == -libc::EINVAL));
        assert!(JobFlags::new(0).is_ok_and(|flags| flags.unit() == 512 && !flags.nowait()));
    }
}
