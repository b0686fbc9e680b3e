//! `kcopy zero`: destinations that read as zeros.

use std::path::Path;

use kcopy::device::DeviceKind;
use kcopy::{Client, Device, Extent, Fault, Flags, Job, OnError, Outcome};
use serde::Serialize;

use super::copy::{ErrorReport, check_alignment, check_count, named_twice, rate};
use super::engine;
use super::pump::{Pumped, Work, pump};
use super::target::{self, Use, cause, is_same, overlap, remedy};
use crate::args::ZeroArgs;
use crate::clock::Epoch;
use crate::exit::{Exit, Failure};
use crate::output::{Phase, Progress, Screen, name};
use crate::signals::Interrupt;
use crate::units::{Size, exact, human};

/// Zeroed by one job: short enough to be interrupted, long enough to cost nothing.
const STEP: u64 = 256 << 20;

/// Jobs on their way at once.
const OUTSTANDING: usize = 4;

#[derive(Debug)]
struct Target {
    device: Device,
    /// Where the next job begins, in bytes of the device.
    at: u64,
    end: u64,
    zeroed: u64,
    fault: Option<Fault>,
}

#[derive(Debug)]
struct Zeroing {
    targets: Vec<Target>,
    turn: usize,
    punch: bool,
}

impl Work for Zeroing {
    type Tag = usize;

    fn next(&mut self) -> Option<(Job, usize)> {
        let count = self.targets.len();
        // One after the other, so that all devices work at the same time.
        for step in 0..count {
            let index = (self.turn + step) % count;
            let target = &mut self.targets[index];
            if target.at < target.end && target.fault.is_none() {
                let len = STEP.min(target.end - target.at);
                let mut job = Job::zero()
                    .to(Extent::new(&target.device, target.at, len))
                    .on_error(OnError::Detach);
                if self.punch {
                    job = job.flags(Flags::PUNCH_HOLES);
                }
                target.at += len;
                self.turn = index + 1;
                return Some((job, index));
            }
        }
        None
    }

    fn ended(&mut self, index: usize, outcome: &Outcome) {
        let target = &mut self.targets[index];
        for found in &outcome.destinations {
            target.zeroed += found.written.end - found.written.start;
            if let Some(fault) = found.error {
                target.fault.get_or_insert(fault);
            }
        }
    }

    fn done(&self) -> u64 {
        self.targets.iter().map(|target| target.zeroed).sum()
    }
}

#[derive(Debug, Serialize)]
struct Report {
    schema: u32,
    bytes: u64,
    seconds: f64,
    backend: &'static str,
    interrupted: bool,
    flushed: bool,
    destinations: Vec<DestinationReport>,
}

#[derive(Debug, Serialize)]
struct DestinationReport {
    path: String,
    bytes_zeroed: u64,
    error: Option<ErrorReport>,
}

pub(crate) fn run(args: &ZeroArgs, screen: Screen) -> Result<Exit, Failure> {
    let wanted = engine::check(&args.engine)?;
    let mut targets = check(args)?;
    let interrupt = Interrupt::listen()
        .map_err(|error| Failure::refused(format!("cannot listen for signals: {error}")))?;
    let client = engine::client(wanted, 64, None)?;
    extend(&mut targets)?;
    let epoch = Epoch::begin();
    let total = targets.iter().map(|target| target.end - target.at).sum();
    let mut progress = Progress::start(args.progress, screen, Phase::Zero, total);
    let mut work = Zeroing { targets, turn: 0, punch: args.punch };
    let pumped = pump(&client, &mut work, OUTSTANDING, &interrupt, &mut progress);
    if !args.no_flush {
        progress.phase(Phase::Flush, total);
        flush(&client, &mut work.targets);
    }
    progress.finish();
    let report = report(args, &client, &work, (&pumped, epoch.seconds()));
    Ok(tell(args, screen, &work, (&pumped, &report)))
}

fn check(args: &ZeroArgs) -> Result<Vec<Target>, Failure> {
    check_count(args.destinations.len())?;
    if args.count == Some(Size(0)) {
        return Err(Failure::refused("cannot zero 0 bytes: --count is zero")
            .hint("leave --count out to go on to the end"));
    }
    let mut targets: Vec<Target> = Vec::new();
    for path in &args.destinations {
        // Before it is opened: it could not be, for it is ours already.
        if let Some(other) = targets.iter().find(|other| is_same(path, &other.device)) {
            return Err(named_twice(path, other.device.path()));
        }
        let device = target::open_destination(path, false, args.engine.direct)?;
        if let Some(other) = targets.iter().find(|other| overlap(&other.device, &device)) {
            return Err(named_twice(path, other.device.path()));
        }
        let (at, end) = region(path, &device, args)?;
        check_alignment(&device, ("--seek", at), end - at)?;
        targets.push(Target { device, at, end, zeroed: 0, fault: None });
    }
    Ok(targets)
}

/// The bytes of `device` to be zeroed.
fn region(path: &Path, device: &Device, args: &ZeroArgs) -> Result<(u64, u64), Failure> {
    let (size, seek) = (device.size(), args.seek.0);
    let Some(Size(count)) = args.count else {
        if seek > size || (seek == size && size > 0) {
            let cause = format!("--seek {seek} leaves nothing, it has {}", exact(size));
            return Err(Use::Write.refused(path, &cause).hint("seek less"));
        }
        return Ok((seek, size));
    };
    let end = seek.checked_add(count).filter(|end| *end <= i64::MAX.unsigned_abs());
    let Some(end) = end else {
        let cause = format!("it cannot be as long as {seek} and {count} bytes together");
        return Err(Use::Write.refused(path, &cause).hint("seek less"));
    };
    if device.facts().kind == DeviceKind::Block && end > size {
        let cause = format!("it is too small: it has {}, not {}", exact(size), exact(end));
        return Err(Use::Write.refused(path, &cause).hint("zero less with --count"));
    }
    Ok((seek, end))
}

/// Files that end before get their length; what is new reads as zeros.
fn extend(targets: &mut [Target]) -> Result<(), Failure> {
    for target in targets {
        if target.device.size() < target.end {
            let path = target.device.path().to_owned();
            target.device.extend(target.end).map_err(|error| {
                Use::Write.refused(&path, &cause(&error)).hint("zero less with --count")
            })?;
        }
    }
    Ok(())
}

fn flush(client: &Client, targets: &mut [Target]) {
    let flushed: Vec<usize> =
        (0..targets.len()).filter(|index| targets[*index].fault.is_none()).collect();
    let devices = flushed.iter().map(|index| &targets[*index].device);
    let job = Job::flush_only(devices).on_error(OnError::Continue);
    let Ok(outcome) = client.run(job) else { return };
    for (index, found) in flushed.iter().zip(&outcome.destinations) {
        targets[*index].fault = found.error;
    }
}

fn report(
    args: &ZeroArgs,
    client: &Client,
    work: &Zeroing,
    (pumped, seconds): (&Pumped, f64),
) -> Report {
    let destination = |target: &Target| DestinationReport {
        path: target.device.path().to_string_lossy().into_owned(),
        bytes_zeroed: target.zeroed,
        error: target.fault.as_ref().map(Into::into),
    };
    Report {
        schema: 1,
        bytes: work.done(),
        seconds,
        backend: client.backend().name(),
        interrupted: *pumped == Pumped::Interrupted,
        flushed: !args.no_flush,
        destinations: work.targets.iter().map(destination).collect(),
    }
}

fn tell(
    args: &ZeroArgs,
    screen: Screen,
    work: &Zeroing,
    (pumped, report): (&Pumped, &Report),
) -> Exit {
    let mut exit = Exit::Done;
    for target in &work.targets {
        if let Some(fault) = &target.fault {
            exit = Exit::Failed;
            let path = name(target.device.path());
            screen.problem(&format!("cannot zero {path}: {fault}, after {}", exact(target.zeroed)));
            screen.hint(remedy(fault.errno));
        }
    }
    if let Pumped::Refused(error) = pumped {
        exit = Exit::Failed;
        screen.problem(&format!("cannot go on: {error}"));
    }
    if *pumped == Pumped::Interrupted {
        exit = Exit::Interrupted;
        screen.problem(&format!("interrupted: {} are zeroed", human(report.bytes)));
        screen.hint("run the same command again; what is zero already is zeroed once more");
    }
    if args.json {
        return screen.json(report, exit);
    }
    if exit == Exit::Done {
        let count = work.targets.len();
        let speed = rate(report.bytes, report.seconds)
            .map_or_else(String::new, |rate| format!(", {}/s", human(rate)));
        let plural = if count == 1 { "destination" } else { "destinations" };
        screen.summary(&format!(
            "zeroed {} on {count} {plural} in {:.2} s{speed}",
            human(report.bytes),
            report.seconds
        ));
    }
    exit
}
