//! `kcopy jobs`: many copies from a list, each as cheap as the engine makes it.

use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use crossbeam_channel::{Receiver, Sender};
use kcopy::{Client, Device, Extent, Fault, Job, OnError, Outcome};
use serde::Serialize;

use super::copy::{ErrorReport, TICK, check_alignment, rate};
use super::engine;
use super::target::{self, Use, cause};
use crate::args::JobsArgs;
use crate::clock::Epoch;
use crate::exit::{Exit, Failure};
use crate::output::{Screen, name};
use crate::signals::Interrupt;
use crate::units::{exact, human};

/// The most failed copies that are listed.
const LISTED: usize = 4096;

/// The pool if nothing is said: at least this.
const LEAST_POOL: u64 = 4 << 20;

/// The pool if nothing is said: at most this.
const MOST_POOL: u64 = 64 << 20;

/// Largest single read or write.
const REQUEST: u64 = 1 << 20;

/// Copies up to this long cannot be cancelled one by one, so that adjacent ones travel together;
/// those that are queued at an interruption are done in a moment.
const MERGED: u64 = 64 << 10;

/// Between two looks at the signals.
const ROUND: usize = 1024;

/// One line of the list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Line {
    from: u64,
    to: u64,
    len: u64,
}

/// What the callbacks leave behind.
#[derive(Debug)]
struct Tally {
    left: AtomicU64,
    failed: AtomicU64,
    list: Mutex<Vec<(u64, Fault)>>,
    all_ended: Sender<()>,
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
    let client = engine::client(wanted(args, &lines)?, 4096, None)?;
    let epoch = Epoch::begin();
    let (tally, interrupted) = submit_all(&client, &lines, (&source, &destination), &interrupt)?;
    let flush = if args.no_flush { None } else { flush(&client, &destination) };
    let seconds = epoch.seconds();
    client.close();
    let devices = (&source, &destination);
    let mut report = report(args, &client, (&lines, &tally), (devices, seconds));
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

fn wanted(args: &JobsArgs, lines: &[Line]) -> Result<engine::Wanted, Failure> {
    let largest = lines.iter().map(|line| line.len).max().unwrap_or(0).clamp(4096, REQUEST);
    let needed = largest.next_multiple_of(4096).saturating_mul(u64::from(args.depth)) * 2;
    let pool = args.pool.map_or_else(|| needed.clamp(LEAST_POOL, MOST_POOL), |size| size.0);
    let pages = engine::pages_of(pool)?;
    let request_size = u32::try_from(REQUEST).unwrap_or(1 << 20);
    Ok(engine::Wanted { pages, request_size, requests: args.depth, backend: args.backend.into() })
}

/// Submits everything and waits for the last callback; says whether it was interrupted.
fn submit_all(
    client: &Client,
    lines: &[Line],
    (source, destination): (&Device, &Device),
    interrupt: &Interrupt,
) -> Result<(Arc<Tally>, bool), Failure> {
    let (all_ended, ended) = crossbeam_channel::bounded(1);
    // One more than there are copies: it stands for the submitting itself.
    let count = u64::try_from(lines.len()).unwrap_or(u64::MAX) + 1;
    let tally = Arc::new(Tally {
        left: AtomicU64::new(count),
        failed: AtomicU64::new(0),
        list: Mutex::new(Vec::new()),
        all_ended,
    });
    let token = client.cancel_token();
    let mut submitted = 0u64;
    for round in lines.chunks(ROUND) {
        if interrupt.asked() {
            token.cancel();
            break;
        }
        for line in round {
            let job = Job::copy(Extent::new(source, line.from, line.len))
                .to(Extent::new(destination, line.to, line.len))
                .on_error(OnError::Detach);
            let job = if line.len > MERGED { job.cancelled_by(&token) } else { job };
            let (tally, index) = (Arc::clone(&tally), submitted);
            client
                .submit(job, move |outcome| tally.ended(index, &outcome))
                .map_err(|error| Failure::failed(format!("cannot go on: {error}")))?;
            submitted += 1;
        }
    }
    tally.leave(count - submitted);
    Ok((Arc::clone(&tally), wait(&ended, &token, interrupt)))
}

/// Waits for the last callback.
fn wait(ended: &Receiver<()>, token: &kcopy::CancelToken, interrupt: &Interrupt) -> bool {
    while ended.recv_timeout(TICK).is_err() {
        if interrupt.asked() {
            token.cancel();
        }
    }
    interrupt.asked()
}

impl Tally {
    /// Called on the engine's thread.
    fn ended(&self, index: u64, outcome: &Outcome) {
        if !outcome.is_ok() {
            self.failed.fetch_add(1, Ordering::Relaxed);
            let read = outcome.read.map(|(_, fault)| fault);
            let fault = read.or_else(|| outcome.destinations.iter().find_map(|d| d.error));
            let mut list = self.list.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(fault) = fault.filter(|_| list.len() < LISTED) {
                list.push((index, fault));
            }
        }
        self.leave(1);
    }

    fn leave(&self, count: u64) {
        if self.left.fetch_sub(count, Ordering::AcqRel) == count {
            // There is room for one, and this happens once.
            let _ = self.all_ended.try_send(());
        }
    }
}

fn flush(client: &Client, destination: &Device) -> Option<Fault> {
    let outcome = client.run(Job::flush_only([destination])).ok()?;
    outcome.destinations.iter().find_map(|found| found.error)
}

fn report(
    args: &JobsArgs,
    client: &Client,
    (lines, tally): (&[Line], &Tally),
    ((source, destination), seconds): ((&Device, &Device), f64),
) -> Report {
    let stats = client.stats();
    let jobs = stats.jobs_finished.min(u64::try_from(lines.len()).unwrap_or(u64::MAX));
    let list = tally.list.lock().unwrap_or_else(PoisonError::into_inner);
    let failed = list.iter().filter_map(|(index, fault)| {
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
        backend: client.backend().name(),
        direct: [source, destination].iter().all(|device| device.facts().direct.is_some()),
        pool_bytes: stats.pool_pages * 4096,
        pool_peak_bytes: stats.pool_peak_pages * 4096,
        syscalls: stats.syscalls,
        operations: stats.operations,
        latency_p50_nanos: stats.latency_percentile(50),
        latency_p99_nanos: stats.latency_percentile(99),
        interrupted: false,
        flushed: !args.no_flush,
        errors: tally.failed.load(Ordering::Relaxed),
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
