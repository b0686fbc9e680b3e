//! `reshape import`: the content of a file into an array.

use std::io::{self, Read};
use std::sync::Arc;

use kcopy::Device;
use reshape::array::{ArrayError, Force, Range, Session, Source};
use reshape::mover::MoveError;
use reshape::units::Slot;
use serde::Serialize;

use super::given::{Access, Given, failed, refused};
use super::range::{Watch, range};
use crate::args::array::ImportArgs;
use crate::clock::{Epoch, date};
use crate::cmd::copy::rate;
use crate::cmd::target::{Use, cause, open_source};
use crate::confirm::confirm;
use crate::exit::{Exit, Failure};
use crate::output::{Phase, Screen, name};
use crate::units::{Size, human};

/// Bytes that are read from a pipe before they are written.
const WINDOW: u64 = 64 << 20;

#[derive(Debug, Serialize)]
struct Report {
    schema: u32,
    bytes: u64,
    seconds: f64,
    interrupted: bool,
    /// Members on which writing failed: they were taken out of the array.
    failed_slots: Vec<u32>,
}

/// Where the content comes from, and where it goes.
struct Work {
    range: Range,
    /// `None`: standard input.
    device: Option<Device>,
}

/// What was done when it ended.
struct Done {
    bytes: u64,
    failed: Vec<Slot>,
    end: Result<(), Failure>,
}

pub(crate) fn run(args: &ImportArgs, screen: Screen) -> Result<Exit, Failure> {
    let mut given = Given::open(&args.array.devices, Access::Change, &args.run.mover)?;
    let force = if args.force { Force::Yes } else { Force::No };
    let mut session = Session::open(&given.assembly, &given.members, force)
        .map_err(|error| refused("write to the array", &error))?;
    let work = plan(args, &given, &session)?;
    let bytes = work.range.sectors.get() * kcopy::SECTOR_SIZE;
    confirm(args.ask.yes.into(), &question(args, &given, &work))?;
    let mut watch = Watch::begin(args.run.progress, screen, Phase::Import, bytes)?;
    let epoch = Epoch::begin();
    let done = match &work.device {
        Some(device) => from_device(&mut session, &mut given, (work.range, device), &mut watch),
        None => from_standard_input(args, &mut session, &mut given, work.range, &mut watch),
    };
    watch.finish();
    Ok(tell(args, screen, &given, (&done, watch.interrupted(), epoch.seconds())))
}

fn plan(args: &ImportArgs, given: &Given, session: &Session) -> Result<Work, Failure> {
    let size = session.array().sectors();
    if args.from.as_os_str() == "-" {
        let range = range("import", size, args.offset, args.count, None)?;
        return Ok(Work { range, device: None });
    }
    let device = open_source(&args.from, args.run.mover.direct)?;
    if let Some(member) = given.has(&device) {
        let cause = format!("it is on the same device as the member {}", name(member.path()));
        return Err(Use::Read.refused(&args.from, &cause).hint("import from another file"));
    }
    if let Some(Size(count)) = args.count
        && count > device.size()
    {
        let cause = format!("it has {} bytes, not {count}", device.size());
        return Err(Use::Read.refused(&args.from, &cause).hint("import less"));
    }
    let range = range("import", size, args.offset, args.count, Some(device.size()))?;
    Ok(Work { range, device: Some(device) })
}

fn question(args: &ImportArgs, given: &Given, work: &Work) -> String {
    let bytes = human(work.range.sectors.get() * kcopy::SECTOR_SIZE);
    let upto = if work.device.is_none() && args.count.is_none() { "up to " } else { "" };
    let (start, title) = (work.range.start.get(), given.title());
    let paths: Vec<String> = args.array.devices.iter().map(|path| name(path)).collect();
    format!(
        "{upto}{bytes} of the {title} will be overwritten, from sector {start} on ({})",
        paths.join(", ")
    )
}

fn from_device(
    session: &mut Session,
    given: &mut Given,
    (range, device): (Range, &Device),
    watch: &mut Watch,
) -> Done {
    let source = Source::Device { device: device.clone(), offset: 0 };
    let mut bytes = 0;
    let moved = &mut |done| {
        bytes = done;
        watch.moved(done)
    };
    match session.write(&mut given.mover, date(), range, &source, moved) {
        Ok(failed) => Done { bytes: range.sectors.get() * kcopy::SECTOR_SIZE, failed, end: Ok(()) },
        Err(error) => Done { bytes, failed: Vec::new(), end: Err(ended(&error)) },
    }
}

/// Reads window by window; the array is whole after each.
fn from_standard_input(
    args: &ImportArgs,
    session: &mut Session,
    given: &mut Given,
    range: Range,
    watch: &mut Watch,
) -> Done {
    let mut done = Done { bytes: 0, failed: Vec::new(), end: Ok(()) };
    let total = range.sectors.get() * kcopy::SECTOR_SIZE;
    while done.bytes < total {
        let bytes = match window(WINDOW.min(total - done.bytes)) {
            Ok(bytes) => bytes,
            Err(failure) => return Done { end: Err(failure), ..done },
        };
        let sectors = bytes.len() as u64 / kcopy::SECTOR_SIZE;
        if sectors == 0 {
            break;
        }
        let at = range.start.get() + done.bytes / kcopy::SECTOR_SIZE;
        let before = done.bytes;
        let moved = &mut |done| watch.moved(before + done);
        let source = Source::Memory(Arc::new(bytes));
        match session.write(&mut given.mover, date(), Range::new(at, sectors), &source, moved) {
            Ok(failed) => done.failed.extend(failed),
            Err(error) => return Done { end: Err(ended(&error)), ..done },
        }
        done.bytes += sectors * kcopy::SECTOR_SIZE;
    }
    if args.count.is_some() && done.bytes < total {
        let message =
            format!("cannot import {total} bytes: standard input ended after {}", done.bytes);
        done.end = Err(Failure::failed(message).hint("what came is in the array"));
    }
    done
}

/// The next `most` bytes of standard input, or what is left of it.
fn window(most: u64) -> Result<Vec<u8>, Failure> {
    let refused = |cause: String| {
        let message = format!("cannot read standard input: {cause}");
        Failure::failed(message).hint("what came before is in the array")
    };
    let mut bytes = Vec::new();
    let read = io::stdin().lock().take(most).read_to_end(&mut bytes);
    read.map_err(|error| refused(cause(&error)))?;
    let rest = bytes.len() as u64 % kcopy::SECTOR_SIZE;
    if rest != 0 {
        return Err(refused(format!("it ends {rest} bytes into a sector of 512")));
    }
    Ok(bytes)
}

fn ended(error: &ArrayError) -> Failure {
    if matches!(error, ArrayError::Move(MoveError::Cancelled)) {
        let message = "interrupted: the content is not complete, and the array is marked as dirty";
        let failure = Failure::failed(message).hint("run the same command again");
        return Failure { exit: Exit::Interrupted, ..failure };
    }
    failed("write to the array", error)
}

fn tell(
    args: &ImportArgs,
    screen: Screen,
    given: &Given,
    (done, interrupted, seconds): (&Done, bool, f64),
) -> Exit {
    let mut exit = Exit::Done;
    for slot in &done.failed {
        exit = Exit::Failed;
        let member = given.assembly.candidate(&given.members.candidates, *slot);
        let path = member.map_or_else(|| slot.to_string(), |member| name(&member.path));
        screen.problem(&format!("cannot write to {path}: it was taken out of the array"));
        screen.hint(
            "the content is safe on the others; reshape rebuild puts a new member in its place",
        );
    }
    if let Err(failure) = &done.end {
        screen.failure(failure);
        exit = failure.exit;
    }
    if args.run.json {
        let report = Report {
            schema: 1,
            bytes: done.bytes,
            seconds,
            interrupted,
            failed_slots: done.failed.iter().map(|slot| slot.get()).collect(),
        };
        return screen.json(&report, exit);
    }
    if done.end.is_ok() {
        let bytes = human(done.bytes);
        let speed = rate(done.bytes, seconds);
        let speed = speed.map_or_else(String::new, |rate| format!(", {}/s", human(rate)));
        screen.summary(&format!("imported {bytes} in {seconds:.2} s{speed}"));
    }
    exit
}
