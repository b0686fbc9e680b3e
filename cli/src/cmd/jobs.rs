//! `kcopy jobs`: many copies from a list, each as cheap as the engine makes it.

use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use kcopy::{Device, Errno, Extent, Fault, Job, OnError, Outcome};
use serde::Serialize;

use super::copy::{ErrorReport, TICK, check_alignment, rate};
use super::engine::{self, Service};
use super::target::{self, Use, cause, remedy};
use crate::args::JobsArgs;
use crate::clock::Epoch;
use crate::exit::{Exit, Failure};
use crate::output::{Screen, name};
use crate::signals::Interrupt;
use crate::units::{exact, human};

/// The most failed copies that are listed.
const LISTED: usize = 4096;

/// Largest single read or write.
const REQUEST: u32 = 1 << 20;

/// Copies that the engine knows of at once: enough to find those that lie side by side, and few
/// enough to stay in the processor's cache.
const KNOWN: usize = 1024;

/// One line of the list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Line {
    from: u64,
    to: u64,
    len: u64,
}

/// Lines of the list that lie side by side in the source and in the destination: one copy to the
/// engine. If it fails, each of them is copied by itself, so that what is reported is a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Run {
    /// Index of the first of them.
    first: usize,
    count: usize,
    /// All of them as one.
    whole: Line,
}

/// Whether what is written could be what is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Storage {
    Shared,
    Separate,
}

/// The list, cut into runs as they are asked for.
#[derive(Debug)]
struct Runs<'a> {
    lines: &'a [Line],
    storage: Storage,
    next: usize,
    /// Lines of runs that failed.
    again: Vec<Run>,
}

/// What the callbacks leave behind: they are made to be called from any thread.
#[derive(Clone, Debug, Default)]
struct Tally(Arc<Ended>);

#[derive(Debug, Default)]
struct Ended {
    /// Lines that were dealt with, for good or bad.
    lines: AtomicU64,
    /// Bytes of those that were copied.
    bytes: AtomicU64,
    failures: Mutex<Failures>,
}

#[derive(Debug, Default)]
struct Failures {
    count: u64,
    list: Vec<(usize, Fault)>,
    /// Runs of several lines.
    again: Vec<Run>,
}

#[derive(Debug, Serialize)]
struct Report {
    schema: u32,
    jobs: u64,
    bytes: u64,
    seconds: f64,
    jobs_per_second: u64,
    backend: &'static str,
    direct: bool,
    pool_bytes: u64,
    pool_peak_bytes: u64,
    syscalls: u64,
    operations: u64,
    latency_p50_nanos: u64,
    latency_p99_nanos: u64,
    interrupted: bool,
    flushed: bool,
    errors: u64,
    failed: Vec<FailedReport>,
}

#[derive(Debug, Serialize)]
struct FailedReport {
    source_offset: u64,
    destination_offset: u64,
    length: u64,
    error: ErrorReport,
}

pub(crate) fn run(args: &JobsArgs, screen: Screen) -> Result<Exit, Failure> {
    let source = target::open_source(&args.source, args.direct)?;
    let destination = target::open_destination(&args.destination, false, args.direct)?;
    let lines = read_list(&args.list, args.block_size.0)?;
    for (number, line) in lines.iter().enumerate() {
        check_line(line, &source, &destination).map_err(|mut failure| {
            failure.message = format!("{} (copy {} of the list)", failure.message, number + 1);
            failure
        })?;
    }
    let interrupt = Interrupt::listen()
        .map_err(|error| Failure::refused(format!("cannot listen for signals: {error}")))?;
    let mut service = engine::local(wanted(args)?, KNOWN)?;
    let epoch = Epoch::begin();
    let (tally, interrupted) = copy_all(&mut service, &lines, (&source, &destination), &interrupt)?;
    let flush = if args.no_flush { None } else { flush(&mut service, &destination)? };
    let seconds = epoch.seconds();
    let devices = (&source, &destination);
    let mut report = report(args, &service, (&lines, &tally), (devices, seconds));
    report.interrupted = interrupted;
    Ok(tell(args, screen, &report, flush))
}

/// Reads the whole list: a mistake in the last line is found before the first copy.
fn read_list(path: &Path, block: u64) -> Result<Vec<Line>, Failure> {
    let refused =
        |cause: &str| Failure::refused(format!("cannot read the list {}: {cause}", name(path)));
    let bytes = std::fs::read(path)
        .map_err(|error: io::Error| refused(&cause(&error)).hint("check the name of --list"))?;
    let mut lines = Vec::new();
    for (index, text) in bytes.split(|byte| *byte == b'\n').enumerate() {
        match parse_line(text, block) {
            Ok(None) => {}
            Ok(Some(line)) => lines.push(line),
            Err(what) => {
                let message = format!("line {}: {what}", index + 1);
                return Err(refused(&message).hint(
                    "a line has an offset in the source, one in the destination and a length, in \
                     bytes, with blanks between",
                ));
            }
        }
    }
    Ok(lines)
}

fn parse_line(text: &[u8], block: u64) -> Result<Option<Line>, &'static str> {
    let mut fields =
        text.split(|byte| byte.is_ascii_whitespace()).filter(|field| !field.is_empty());
    let Some(first) = fields.next() else { return Ok(None) };
    if first.starts_with(b"#") {
        return Ok(None);
    }
    let from = number(first)?;
    let to = number(fields.next().ok_or("there is no offset in the destination")?)?;
    let len = fields.next().map_or(Ok(block), number)?;
    if fields.next().is_some() {
        return Err("there is more than a copy needs");
    }
    if len == 0 {
        return Err("a copy of 0 bytes");
    }
    Ok(Some(Line { from, to, len }))
}

fn number(digits: &[u8]) -> Result<u64, &'static str> {
    let mut value = 0u64;
    for digit in digits {
        let digit = digit.checked_sub(b'0').filter(|digit| *digit <= 9);
        let digit = digit.ok_or("this is no whole number")?;
        value = value
            .checked_mul(10)
            .and_then(|value| value.checked_add(u64::from(digit)))
            .ok_or("this number does not fit in 64 bits")?;
    }
    Ok(value)
}

fn check_line(line: &Line, source: &Device, destination: &Device) -> Result<(), Failure> {
    let sides = [(source, line.from, Use::Read), (destination, line.to, Use::Write)];
    for (device, offset, usage) in sides {
        let size = device.size();
        if offset.checked_add(line.len).is_none_or(|end| end > size) {
            let what = format!("{} bytes at {offset} end behind its {}", line.len, exact(size));
            return Err(usage.refused(device.path(), &what).hint("correct the list"));
        }
        check_alignment(device, ("an offset", offset), line.len)?;
    }
    Ok(())
}

fn wanted(args: &JobsArgs) -> Result<engine::Wanted, Failure> {
    let pages = engine::pages_of(args.pool.0)?;
    let (requests, backend) = (args.depth, args.backend.into());
    Ok(engine::Wanted { pages, request_size: REQUEST, requests, backend })
}

/// Does all copies on this thread; says whether it was interrupted.
///
/// They share a token, so that an interruption ends them all, and adjacent ones still travel
/// together.
fn copy_all(
    service: &mut Service,
    lines: &[Line],
    devices: (&Device, &Device),
    interrupt: &Interrupt,
) -> Result<(Tally, bool), Failure> {
    let (tally, token) = (Tally::default(), service.cancel_token());
    let storage = match target::overlap(devices.0, devices.1) {
        true => Storage::Shared,
        false => Storage::Separate,
    };
    let mut runs = Runs::of(lines, storage);
    loop {
        if interrupt.asked() {
            token.cancel();
        }
        runs.take_apart(std::mem::take(&mut tally.failures().again));
        while !token.is_cancelled()
            && service.has_room()
            && let Some(run) = runs.next()
        {
            let job = run.whole.job(devices).cancelled_by(&token);
            let tally = tally.clone();
            service
                .submit(job, move |outcome| tally.ended(run, &outcome))
                .map_err(|error| Failure::failed(format!("cannot go on: {error}")))?;
        }
        if service.is_idle() {
            return Ok((tally, token.is_cancelled()));
        }
        service
            .turn(Some(TICK))
            .map_err(|error| Failure::failed(format!("cannot go on: {}", cause(&error))))?;
    }
}

impl Line {
    fn job(&self, (source, destination): (&Device, &Device)) -> Job {
        Job::copy(Extent::new(source, self.from, self.len))
            .to(Extent::new(destination, self.to, self.len))
            .on_error(OnError::Detach)
    }

    /// This line and the one behind it as one, if `next` is that and nothing that one of them reads
    /// is written by the other.
    fn joined(&self, next: &Self, storage: Storage) -> Option<Self> {
        let continues = self.from.checked_add(self.len) == Some(next.from)
            && self.to.checked_add(self.len) == Some(next.to);
        let len = self.len.checked_add(next.len).filter(|len| *len <= u64::from(REQUEST))?;
        let apart = storage == Storage::Separate || len <= self.from.abs_diff(self.to);
        (continues && apart).then_some(Self { len, ..*self })
    }
}

impl<'a> Runs<'a> {
    fn of(lines: &'a [Line], storage: Storage) -> Self {
        Self { lines, storage, next: 0, again: Vec::new() }
    }

    /// The lines of `failed` are to be copied one by one.
    fn take_apart(&mut self, failed: Vec<Run>) {
        for run in failed {
            let lines = self.lines.iter().enumerate().skip(run.first).take(run.count);
            self.again.extend(lines.map(|(first, line)| Run { first, count: 1, whole: *line }));
        }
    }
}

impl Iterator for Runs<'_> {
    type Item = Run;

    fn next(&mut self) -> Option<Run> {
        if let Some(run) = self.again.pop() {
            return Some(run);
        }
        let mut rest = self.lines.iter().skip(self.next);
        let mut run = Run { first: self.next, count: 1, whole: *rest.next()? };
        while let Some(whole) = rest.next().and_then(|line| run.whole.joined(line, self.storage)) {
            run = Run { count: run.count + 1, whole, ..run };
        }
        self.next += run.count;
        Some(run)
    }
}

impl Tally {
    fn ended(&self, run: Run, outcome: &Outcome) {
        if outcome.cancelled {
            return;
        }
        if outcome.is_ok() {
            self.0.lines.fetch_add(u64::try_from(run.count).unwrap_or(0), Ordering::Relaxed);
            self.0.bytes.fetch_add(run.whole.len, Ordering::Relaxed);
            return;
        }
        let mut failures = self.failures();
        if run.count > 1 {
            failures.again.push(run);
            return;
        }
        self.0.lines.fetch_add(1, Ordering::Relaxed);
        let read = outcome.read.map(|(_, fault)| fault);
        let fault = read.or_else(|| outcome.destinations.iter().find_map(|d| d.error));
        failures.count += 1;
        if let Some(fault) = fault.filter(|_| failures.list.len() < LISTED) {
            failures.list.push((run.first, fault));
        }
    }

    fn lines(&self) -> u64 {
        self.0.lines.load(Ordering::Relaxed)
    }

    fn bytes(&self) -> u64 {
        self.0.bytes.load(Ordering::Relaxed)
    }

    fn failures(&self) -> MutexGuard<'_, Failures> {
        self.0.failures.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Makes the copies durable; the fault if that failed.
fn flush(service: &mut Service, destination: &Device) -> Result<Option<Fault>, Failure> {
    let outcome = service
        .run(Job::flush_only([destination]))
        .map_err(|error| Failure::failed(format!("cannot go on: {error}")))?;
    Ok(outcome.destinations.iter().find_map(|found| found.error))
}

fn report(
    args: &JobsArgs,
    service: &Service,
    (lines, tally): (&[Line], &Tally),
    ((source, destination), seconds): ((&Device, &Device), f64),
) -> Report {
    let stats = service.stats();
    let jobs = tally.lines();
    let failures = tally.failures();
    let failed = failures.list.iter().filter_map(|(index, fault)| {
        let line = lines.get(*index)?;
        Some(FailedReport {
            source_offset: line.from,
            destination_offset: line.to,
            length: line.len,
            error: fault.into(),
        })
    });
    Report {
        schema: 1,
        jobs,
        bytes: tally.bytes(),
        seconds,
        jobs_per_second: rate(jobs, seconds).unwrap_or(0),
        backend: service.backend().kind().name(),
        direct: [source, destination].iter().all(|device| device.facts().direct.is_some()),
        pool_bytes: stats.pool_pages * 4096,
        pool_peak_bytes: stats.pool_peak_pages * 4096,
        syscalls: stats.syscalls,
        operations: stats.operations,
        latency_p50_nanos: stats.latency_percentile(50),
        latency_p99_nanos: stats.latency_percentile(99),
        interrupted: false,
        flushed: !args.no_flush,
        errors: failures.count,
        failed: failed.collect(),
    }
}

fn tell(args: &JobsArgs, screen: Screen, report: &Report, flush: Option<Fault>) -> Exit {
    let exit = if report.interrupted {
        screen.problem(&format!("interrupted after {} copies", report.jobs));
        screen.hint("run it again; copying twice does no harm");
        Exit::Interrupted
    } else if report.errors > 0 || flush.is_some() {
        for failed in report.failed.iter().take(20) {
            screen.problem(&format!(
                "cannot copy {} bytes from {} to {}: {}",
                failed.length,
                failed.source_offset,
                failed.destination_offset,
                failed.error.message
            ));
        }
        if let Some(fault) = flush {
            screen.problem(&format!("cannot flush {}: {fault}", name(&args.destination)));
        }
        screen.problem(&format!("{} of {} copies failed", report.errors, report.jobs));
        let first = report.failed.first().map(|failed| Errno::new(failed.error.errno));
        let errno = first.or_else(|| flush.map(|fault| fault.errno)).unwrap_or(Errno::IO);
        screen.hint(&format!("{}; --json lists up to {LISTED}", remedy(errno)));
        Exit::Failed
    } else {
        Exit::Done
    };
    if args.json {
        return screen.json(report, exit);
    }
    if exit == Exit::Done {
        screen.summary(&format!(
            "{} copies, {} in {:.2} s, {} copies/s, {}",
            report.jobs,
            human(report.bytes),
            report.seconds,
            report.jobs_per_second,
            report.backend
        ));
    }
    exit
}

#[cfg(test)]
mod tests {
    use super::*;

    fn runs(lines: &[(u64, u64, u64)]) -> Vec<(usize, usize, u64)> {
        let lines: Vec<_> = lines.iter().map(|&(from, to, len)| Line { from, to, len }).collect();
        let runs = Runs::of(&lines, Storage::Shared);
        runs.map(|run| (run.first, run.count, run.whole.len)).collect()
    }

    #[test]
    fn neighbours_are_one_copy_and_others_are_not() {
        let far = 1 << 30;
        let list = [(0, far, 512), (512, far + 512, 7), (519, far + 600, 1), (520, far + 601, 9)];
        assert_eq!(runs(&list), [(0, 2, 519), (2, 2, 10)]);
        // No more than one request carries, and nothing where one reads what the other writes.
        let block = u64::from(REQUEST) / 2;
        let list: Vec<_> = (0..3).map(|at| (at * block, far + at * block, block)).collect();
        assert_eq!(runs(&list), [(0, 2, 2 * block), (2, 1, block)]);
        for (from, to) in [(0, 4096), (8192, 4096)] {
            let list: Vec<_> = (0..3).map(|at| (from + at * 4096, to + at * 4096, 4096)).collect();
            assert_eq!(runs(&list), [(0, 1, 4096), (1, 1, 4096), (2, 1, 4096)]);
        }
        let same = [0, 1].map(|at| Line { from: at, to: at, len: 1 });
        assert_eq!(Runs::of(&same, Storage::Separate).count(), 1);
        assert_eq!(runs(&[(u64::MAX, 0, 1), (0, 1, 1)]).len(), 2);
        assert!(runs(&[]).is_empty());
    }

    #[test]
    fn lines_of_a_failed_run_are_copied_one_by_one() {
        let lines: Vec<_> =
            (0..4).map(|at| Line { from: at * 512, to: (1 << 30) + at * 512, len: 512 }).collect();
        let mut all = Runs::of(&lines, Storage::Separate);
        let run = all.next().unwrap();
        assert_eq!((run.count, all.next()), (4, None));
        all.take_apart(vec![run]);
        let mut again: Vec<_> = all.map(|run| (run.first, run.count, run.whole)).collect();
        again.reverse();
        let each: Vec<_> = lines.iter().enumerate().map(|(at, line)| (at, 1, *line)).collect();
        assert_eq!(again, each);
    }

    #[test]
    fn lines_of_the_list_are_read() {
        let line = |text: &str| parse_line(text.as_bytes(), 4096);
        assert_eq!(line("0 8192 512"), Ok(Some(Line { from: 0, to: 8192, len: 512 })));
        assert_eq!(line(" 1\t2\r"), Ok(Some(Line { from: 1, to: 2, len: 4096 })));
        assert_eq!(line(""), Ok(None));
        assert_eq!(line("# nothing"), Ok(None));
        for wrong in ["1", "1 2 3 4", "a 2", "1 -2", "1 2 0", "99999999999999999999 0", "1 2 3k"] {
            assert!(line(wrong).is_err(), "{wrong}");
        }
    }
}
