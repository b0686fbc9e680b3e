//! `reshape check`: parity and copies compared, and made to agree.

use reshape::array::{Array, ArrayError, CheckReport, Force, Mend, Session, Wrong};
use reshape::geometry::Level;
use reshape::mover::MoveError;
use reshape::units::Slot;
use serde::Serialize;

use super::given::{Access, Given, failed, refused};
use super::going::{FailedReport, tell_left};
use super::range::Watch;
use crate::args::array::CheckArgs;
use crate::clock::{Epoch, date};
use crate::cmd::copy::rate;
use crate::confirm::confirm;
use crate::exit::{Exit, Failure};
use crate::output::{Phase, Screen, name};
use crate::units::human;

/// Places that are named for people; the rest is counted.
const NAMED: usize = 16;

#[derive(Debug, Serialize)]
struct Report {
    schema: u32,
    mismatch_sectors: u64,
    wrong: Vec<WrongReport>,
    unreadable: Vec<UnreadableReport>,
    /// Places in `wrong` and `unreadable` that were mended.
    repaired: u64,
    /// Members that could not be written and left the array.
    failed: Vec<FailedReport>,
    seconds: f64,
    interrupted: bool,
}

#[derive(Debug, Serialize)]
struct WrongReport {
    /// Counted from the data offset of each member; for RAID10 in the array.
    start_sector: u64,
    sectors: u64,
    /// The member that is wrong, if that can be told.
    slot: Option<u32>,
    path: Option<String>,
}

#[derive(Debug, Serialize)]
struct UnreadableReport {
    slot: u32,
    path: Option<String>,
    start_sector: u64,
    sectors: u64,
}

pub(crate) fn run(args: &CheckArgs, screen: Screen) -> Result<Exit, Failure> {
    let access = if args.repair { Access::Change } else { Access::Look };
    let mut given = Given::open(&args.array.devices, access, &args.run.mover)?;
    let mut session = if args.repair { Some(open(args, &given)?) } else { None };
    let (devices, bad) = (&given.members.devices, &given.members.bad);
    let array = Array::open(&given.assembly, devices, bad)
        .map_err(|error| refused("check the array", &error))?;
    if array.view().is_none() {
        return Err(refused("check the array", &ArrayError::Reshaping));
    }
    if args.repair {
        confirm(args.yes.into(), &question(args, &given))?;
    }
    let each = array.view().map_or(0, |view| view.geometry().component().get());
    let total = each * kcopy::SECTOR_SIZE;
    let phase = if args.repair { Phase::Repair } else { Phase::Check };
    let mut watch = Watch::begin(args.run.progress, screen, phase, total)?;
    let epoch = Epoch::begin();
    let moved = &mut |done| watch.moved(done);
    let result = match &mut session {
        Some(session) => session.repair(&mut given.mover, date(), moved),
        None => array.check(&mut given.mover, Mend::Report, moved),
    };
    watch.finish();
    if let Some(session) = &session {
        tell_left(screen, session.failed());
    }
    match result {
        Ok(report) => Ok(tell(args, screen, &given, (&report, epoch.seconds()))),
        Err(ArrayError::Move(MoveError::Cancelled)) if watch.interrupted() => {
            screen.problem("interrupted: not everything was read");
            screen.hint("run the same command again; it begins anew");
            Ok(if args.run.json {
                let report = report_of(&given, &CheckReport::default(), epoch.seconds());
                screen.json(&Report { interrupted: true, ..report }, Exit::Interrupted)
            } else {
                Exit::Interrupted
            })
        }
        Err(error) => Err(failed("check the array", &error)),
    }
}

fn open(args: &CheckArgs, given: &Given) -> Result<Session, Failure> {
    let force = if args.force { Force::Yes } else { Force::No };
    Session::open(&given.assembly, &given.members, force)
        .map_err(|error| refused("repair the array", &error))
}

fn question(args: &CheckArgs, given: &Given) -> String {
    let paths: Vec<String> = args.array.devices.iter().map(|path| name(path)).collect();
    let what = match given.assembly.level {
        Level::Raid1 | Level::Raid10 => "copies that differ from the first",
        Level::Raid6 => "members that disagree with the two parities",
        Level::Linear | Level::Raid0 | Level::Raid4 | Level::Raid5 => "parity that does not agree",
    };
    format!("in the {}, {what} will be overwritten ({})", given.title(), paths.join(", "))
}

fn path_in(given: &Given, slot: Slot) -> Option<String> {
    let member = given.assembly.candidate(&given.members.candidates, slot)?;
    Some(member.path.to_string_lossy().into_owned())
}

fn report_of(given: &Given, found: &CheckReport, seconds: f64) -> Report {
    let wrong = |wrong: &Wrong| WrongReport {
        start_sector: wrong.start.get(),
        sectors: wrong.sectors,
        slot: wrong.slot.map(|slot| slot.get()),
        path: wrong.slot.and_then(|slot| path_in(given, slot)),
    };
    let unreadable = |(slot, start, sectors): &(Slot, _, u64)| {
        let start: &reshape::units::MemberSector = start;
        UnreadableReport {
            slot: slot.get(),
            path: path_in(given, *slot),
            start_sector: start.get(),
            sectors: *sectors,
        }
    };
    Report {
        schema: 1,
        mismatch_sectors: found.mismatch_sectors,
        wrong: found.wrong.iter().map(wrong).collect(),
        unreadable: found.unreadable.iter().map(unreadable).collect(),
        repaired: found.repaired,
        failed: found.failed.iter().map(FailedReport::of).collect(),
        seconds,
        interrupted: false,
    }
}

fn tell(
    args: &CheckArgs,
    screen: Screen,
    given: &Given,
    (found, seconds): (&CheckReport, f64),
) -> Exit {
    let places = found.wrong.len() + found.unreadable.len();
    let left = (places as u64).saturating_sub(found.repaired);
    let all = left == 0 && found.failed.is_empty() && (args.repair || places == 0);
    let exit = if all { Exit::Done } else { Exit::Failed };
    if args.run.json {
        return screen.json(&report_of(given, found, seconds), exit);
    }
    name_places(screen, given, found);
    let sectors = found.mismatch_sectors;
    let each = given.assembly.shapes.sectors().map_or(0, |size| size.get() * kcopy::SECTOR_SIZE);
    let speed = rate(each, seconds);
    let speed = speed.map_or_else(String::new, |rate| format!(", {}/s of content", human(rate)));
    let time = format!("in {seconds:.2} s{speed}");
    if places == 0 {
        screen.summary(&format!("{}, {time}", all_agrees(given)));
        return exit;
    }
    let unreadable: u64 = found.unreadable.iter().map(|(.., sectors)| sectors).sum();
    let mut text = format!("{sectors} sectors do not agree, {unreadable} could not be read");
    if args.repair {
        text = format!("{text}; {} of {places} places repaired", found.repaired);
    }
    screen.problem(&format!("{text}, {time}"));
    // Who left has been told, and what to do about it.
    if exit == Exit::Failed && found.failed.is_empty() {
        screen.hint(if args.repair {
            "what is left lacks what it could be computed from; see the kernel log (dmesg)"
        } else {
            "reshape check --repair makes them agree"
        });
    }
    exit
}

fn all_agrees(given: &Given) -> String {
    let assembly = &given.assembly;
    let agrees = match assembly.level {
        Level::Linear | Level::Raid0 => {
            return "nothing to compare: this level has neither parity nor copies".to_owned();
        }
        Level::Raid1 | Level::Raid10 => "all copies agree",
        Level::Raid4 | Level::Raid5 | Level::Raid6 => "parity agrees everywhere",
    };
    let (slots, missing) = (assembly.slots(), assembly.degraded());
    let is_bare = match assembly.level {
        Level::Linear | Level::Raid0 => true,
        Level::Raid1 => missing + 1 >= slots,
        Level::Raid4 | Level::Raid5 => missing >= 1,
        Level::Raid6 => missing >= 2,
        Level::Raid10 => false,
    };
    match (missing, is_bare) {
        (0, _) => agrees.to_owned(),
        (_, true) => format!("nothing to compare: {missing} of {slots} members are missing"),
        (_, false) => format!("{agrees} as far as {} of {slots} members tell", slots - missing),
    }
}

fn name_places(screen: Screen, given: &Given, found: &CheckReport) {
    let space = match given.assembly.level {
        Level::Raid10 => "of the array",
        Level::Linear
        | Level::Raid0
        | Level::Raid1
        | Level::Raid4
        | Level::Raid5
        | Level::Raid6 => "of the members' data",
    };
    for Wrong { start, sectors, slot } in found.wrong.iter().take(NAMED) {
        let who = slot.map_or_else(String::new, |slot| {
            let path = path_in(given, slot).unwrap_or_default();
            format!(": {slot}, {}, is wrong", name(path.as_ref()))
        });
        let start = start.get();
        screen.note(&format!("{sectors} sectors {space} from {start} on do not agree{who}"));
    }
    for (slot, start, sectors) in found.unreadable.iter().take(NAMED) {
        let path = path_in(given, *slot).unwrap_or_default();
        let (start, path) = (start.get(), name(path.as_ref()));
        screen.note(&format!("{path}: {sectors} sectors from {start} on could not be read"));
    }
    let hidden =
        found.wrong.len().saturating_sub(NAMED) + found.unreadable.len().saturating_sub(NAMED);
    if hidden > 0 {
        screen.note(&format!("{hidden} more places; --json has all"));
    }
}
