//! `kcopy jobs`: many copies from a list, each as cheap as the engine makes it.

use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use kcopy::{Device, Extent, Fault, Job, OnError, Outcome};
use serde::Serialize;

use super::copy::{ErrorReport, TICK, check_alignment, rate};
use super::engine::{self, Service};
use super::target::{self, Use, cause};
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

/// What the callbacks leave behind: they are made to be called from any thread.
#[derive(Clone, Debug, Default)]
struct Tally(Arc<Mutex<Failures>>);

#[derive(Debug, Default)]
struct Failures {
    count: u64,
    list: Vec<(u64, Fault)>,
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
    let mut lines = (0u64..).zip(lines);
    loop {
        if interrupt.asked() {
            token.cancel();
        }
        while !token.is_cancelled()
            && service.has_room()
            && let Some((index, line)) = lines.next()
        {
            let job = line.job(devices).cancelled_by(&token);
            let tally = tally.clone();
            service
                .submit(job, move |outcome| tally.ended(index, &outcome))
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
}

impl Tally {
    fn ended(&self, index: u64, outcome: &Outcome) {
        if outcome.is_ok() || outcome.cancelled {
            return;
        }
        let read = outcome.read.map(|(_, fault)| fault);
        let fault = read.or_else(|| outcome.destinations.iter().find_map(|d| d.error));
        let mut failures = self.failures();
        failures.count += 1;
        if let Some(fault) = fault.filter(|_| failures.list.len() < LISTED) {
            failures.list.push((index, fault));
        }
    }

    fn failures(&self) -> MutexGuard<'_, Failures> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
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
    // The flush at the end is a job, too.
    let jobs = stats.jobs_finished - stats.jobs_cancelled - u64::from(!args.no_flush);
    let failures = tally.failures();
    let failed = failures.list.iter().filter_map(|(index, fault)| {
        let line = lines.get(usize::try_from(*index).ok()?)?;
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
        bytes: stats.device(destination).bytes_written,
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
        screen.hint("see what the kernel log says about it (dmesg); --json lists up to 4096");
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
