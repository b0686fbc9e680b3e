//! `reshape import`: the content of a file into an array.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use kcopy::Device;
use reshape::array::{ArrayError, Force, Range, Session, Source};
use reshape::mover::MoveError;
use reshape::units::Slot;
use serde::Serialize;

use super::given::{Access, Given, failed, refused};
use super::range::{Part, Watch, part};
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
    part: Part,
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
    let bytes = work.part.bytes;
    confirm(args.ask.yes.into(), &question(args, &given, &work))?;
    let mut watch = Watch::begin(args.run.progress, screen, Phase::Import, bytes)?;
    let epoch = Epoch::begin();
    let done = match &work.device {
        Some(device) => from_device(&mut session, &mut given, (work.part, device), &mut watch),
        None => from_standard_input(args, &mut session, &mut given, work.part, &mut watch),
    };
    watch.finish();
    Ok(tell(args, screen, &given, (&done, watch.interrupted(), epoch.seconds())))
}

fn plan(args: &ImportArgs, given: &Given, session: &Session) -> Result<Work, Failure> {
    let size = session.array().sectors();
    if args.from.as_os_str() == "-" {
        let part = part("import", size, args.offset, args.count, None)?;
        return Ok(Work { part, device: None });
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
    let part = part("import", size, args.offset, args.count, Some(device.size()))?;
    Ok(Work { part, device: Some(device) })
}

fn question(args: &ImportArgs, given: &Given, work: &Work) -> String {
    let bytes = human(work.part.bytes);
    let upto = if work.device.is_none() && args.count.is_none() { "up to " } else { "" };
    let (start, title) = (work.part.start, given.title());
    let paths: Vec<String> = args.array.devices.iter().map(|path| name(path)).collect();
    format!(
        "{upto}{bytes} of the {title} will be overwritten, from sector {start} on ({})",
        paths.join(", ")
    )
}

fn from_device(
    session: &mut Session,
    given: &mut Given,
    (part, device): (Part, &Device),
    watch: &mut Watch,
) -> Done {
    let mut done = Done { bytes: 0, failed: Vec::new(), end: Ok(()) };
    let range = part.whole();
    if range.sectors.get() > 0 {
        let source = Source::Device { device: device.clone(), offset: 0 };
        let moved = &mut |moved| {
            done.bytes = moved;
            watch.moved(moved)
        };
        match session.write(&mut given.mover, date(), range, &source, moved) {
            Ok(failed) => done.failed = failed,
            Err(error) => return Done { end: Err(ended(&error)), ..done },
        }
        done.bytes = part.bytes - part.rest();
    }
    if part.rest() == 0 {
        return done;
    }
    let mut rest = vec![0; usize::try_from(part.rest()).unwrap_or_default()];
    let read = File::open(device.path()).and_then(|file| file.read_exact_at(&mut rest, done.bytes));
    if let Err(error) = read {
        let message = format!("cannot read {}: {}", name(device.path()), cause(&error));
        let hint = "what came before is in the array";
        return Done { end: Err(Failure::failed(message).hint(hint)), ..done };
    }
    finish_sector(session, given, (part, rest), done)
}

/// Reads window by window; the array is whole after each.
fn from_standard_input(
    args: &ImportArgs,
    session: &mut Session,
    given: &mut Given,
    part: Part,
    watch: &mut Watch,
) -> Done {
    let mut done = Done { bytes: 0, failed: Vec::new(), end: Ok(()) };
    while done.bytes < part.bytes {
        let mut bytes = match window(WINDOW.min(part.bytes - done.bytes)) {
            Ok(bytes) => bytes,
            Err(failure) => return Done { end: Err(failure), ..done },
        };
        // Only the last window ends inside a sector.
        let come =
            Part { start: part.start + done.bytes / kcopy::SECTOR_SIZE, bytes: bytes.len() as u64 };
        let rest = bytes.split_off(bytes.len() - usize::try_from(come.rest()).unwrap_or_default());
        if !bytes.is_empty() {
            let before = done.bytes;
            let moved = &mut |done| watch.moved(before + done);
            let source = Source::Memory(Arc::new(bytes));
            match session.write(&mut given.mover, date(), come.whole(), &source, moved) {
                Ok(failed) => done.failed.extend(failed),
                Err(error) => return Done { end: Err(ended(&error)), ..done },
            }
            done.bytes += come.bytes - come.rest();
        }
        if !rest.is_empty() {
            done = finish_sector(session, given, (come, rest), done);
        }
        if come.bytes == 0 || come.rest() != 0 {
            break;
        }
    }
    if args.count.is_some() && done.end.is_ok() && done.bytes < part.bytes {
        let message = format!(
            "cannot import {} bytes: standard input ended after {}",
            part.bytes, done.bytes
        );
        done.end = Err(Failure::failed(message).hint("what came is in the array"));
    }
    if args.count.is_none() && done.end.is_ok() && done.bytes == part.bytes {
        done.end = nothing_more(part.bytes);
    }
    done
}

/// Standard input was to end with what fits.
fn nothing_more(fits: u64) -> Result<(), Failure> {
    if window(1)?.is_empty() {
        return Ok(());
    }
    let message =
        format!("cannot import all of standard input: it goes on after the {fits} bytes that fit");
    let hint = "what fits is in the array; --count says how much is meant";
    Err(Failure::failed(message).hint(hint))
}

/// Writes the bytes of `part` that end inside a sector; what that sector holds behind them stays.
fn finish_sector(
    session: &mut Session,
    given: &mut Given,
    (part, rest): (Part, Vec<u8>),
    mut done: Done,
) -> Done {
    let range = Range::new(part.whole().end(), 1);
    let (mut sector, report) = match session.array().read(&mut given.mover, range) {
        Ok(read) => read,
        Err(error) => return Done { end: Err(ended(&error)), ..done },
    };
    if !report.unreadable.is_empty() {
        let sector = range.start;
        let message = format!("cannot read sector {sector} of the array, whose end is to stay");
        let hint = "what came before is in the array; import whole sectors to overwrite this one";
        return Done { end: Err(Failure::failed(message).hint(hint)), ..done };
    }
    sector.splice(..rest.len(), rest.iter().copied());
    let source = Source::Memory(Arc::new(sector));
    match session.write(&mut given.mover, date(), range, &source, &mut |_| true) {
        Ok(failed) => done.failed.extend(failed),
        Err(error) => return Done { end: Err(ended(&error)), ..done },
    }
    done.bytes += rest.len() as u64;
    done
}

/// The next `most` bytes of standard input, or what is left of it.
fn window(most: u64) -> Result<Vec<u8>, Failure> {
    let mut bytes = Vec::new();
    io::stdin().lock().take(most).read_to_end(&mut bytes).map_err(|error| {
        let message = format!("cannot read standard input: {}", cause(&error));
        Failure::failed(message).hint("what came before is in the array")
    })?;
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
