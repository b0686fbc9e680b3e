//! `reshape rebuild`: members for slots that have none.

use std::path::PathBuf;

use kcopy::Device;
use reshape::array::{ArrayError, DeviceReader, Force, Newcomer, Session};
use reshape::assemble::{Member, MemberState};
use reshape::metadata::{Uuid, examine};
use reshape::mover::{MoveError, Mover};
use reshape::units::Slot;
use serde::Serialize;

use super::given::{Access, Given, failed, open_all, refused};
use super::going::{FailedReport, tell_left};
use super::random::uuid;
use super::range::Watch;
use crate::args::array::RebuildArgs;
use crate::clock::{Epoch, date};
use crate::cmd::target::Use;
use crate::confirm::confirm;
use crate::exit::{Exit, Failure};
use crate::output::{Phase, Screen, name};
use crate::units::human;

#[derive(Debug, Serialize)]
struct Report {
    schema: u32,
    seconds: f64,
    interrupted: bool,
    rebuilt: Vec<RebuiltReport>,
    /// Slots that are still without a member.
    missing_slots: Vec<u32>,
    /// Members that failed on the way and left the array.
    failed: Vec<FailedReport>,
}

#[derive(Debug, Serialize)]
struct RebuiltReport {
    slot: u32,
    path: String,
    bytes: u64,
}

/// What is to be done for one slot.
struct Step {
    slot: Slot,
    device: Device,
    how: How,
}

enum How {
    /// Goes on where an earlier rebuild ended.
    GoOn,
    /// A spare or a new device takes the slot.
    Take(Newcomer),
}

/// What became of it.
struct Ended<'a> {
    rebuilt: Vec<&'a Step>,
    failed: Vec<FailedReport>,
    end: Result<(), Failure>,
}

pub(crate) fn run(args: &RebuildArgs, screen: Screen) -> Result<Exit, Failure> {
    let all: Vec<PathBuf> = args.array.devices.iter().chain(&args.add).cloned().collect();
    // That none is named twice is seen before they are claimed.
    drop(open_all(&all, Access::Look, args.run.mover.direct)?);
    let mut given = Given::open(&args.array.devices, Access::Change, &args.run.mover)?;
    let added = open_all(&args.add, Access::Change, args.run.mover.direct)?;
    check_foreign(&mut given, &added, args.force)?;
    let force = if args.force { Force::Yes } else { Force::No };
    let mut session = Session::open(&given.assembly, &given.members, force)
        .map_err(|error| refused("rebuild", &error))?;
    let steps = steps(&given, added)?;
    if steps.is_empty() {
        return nothing_to_do(args, screen, &given);
    }
    check_room(&session, &steps)?;
    confirm(args.ask.yes.into(), &question(&given, &steps))?;
    let each = given.assembly.component.get() * kcopy::SECTOR_SIZE;
    let mut watch = Watch::begin(args.run.progress, screen, Phase::Rebuild, each)?;
    let epoch = Epoch::begin();
    let mut rebuilt = Vec::new();
    let mut end = Ok(());
    for step in &steps {
        watch.phase(Phase::Rebuild, each);
        let moved = &mut |done| watch.moved(done);
        let (mover, slot) = (&mut given.mover, step.slot);
        let result = match &step.how {
            How::GoOn => session.finish_rebuild(mover, date(), slot, moved),
            How::Take(newcomer) => session.rebuild(mover, date(), slot, newcomer, moved),
        };
        end = result.map_err(|error| ended(&error, step));
        if end.is_err() {
            break;
        }
        rebuilt.push(step);
    }
    watch.finish();
    let ended = Ended { rebuilt, failed: tell_left(screen, session.failed()), end };
    Ok(tell(args, screen, &given, (&ended, epoch.seconds())))
}

/// Every device that is to take a slot must be large enough, before the first of them is written to.
fn check_room(session: &Session, steps: &[Step]) -> Result<(), Failure> {
    for step in steps {
        if let How::Take(newcomer) = &step.how {
            let path = name(step.device.path());
            session
                .check_newcomer(step.slot, newcomer)
                .map_err(|error| refused(&format!("rebuild {} onto {path}", step.slot), &error))?;
        }
    }
    Ok(())
}

/// A device that is added must hold no other array unless `--force` says so.
pub(crate) fn check_foreign(
    given: &mut Given,
    added: &[Device],
    force: bool,
) -> Result<(), Failure> {
    for device in added {
        let other = other_array(&mut given.mover, device, given.assembly.uuid);
        if let Some(uuid) = other.filter(|_| !force) {
            return Err(Use::Write
                .refused(device.path(), &format!("it belongs to the array {uuid}"))
                .hint("--force takes it all the same: what it holds of that array is lost"));
        }
    }
    Ok(())
}

/// The array that a device belongs to, if it is another one.
fn other_array(mover: &mut Mover, device: &Device, own: Uuid) -> Option<Uuid> {
    let examined = examine(&DeviceReader::new(mover, device));
    let mut found = examined.members().map(|member| member.superblock.uuid());
    found.find(|uuid| *uuid != own)
}

/// Who takes which slot.
fn steps(given: &Given, added: Vec<Device>) -> Result<Vec<Step>, Failure> {
    let assembly = &given.assembly;
    let device_of = |member: &Member| given.members.devices.get(member.candidate).cloned();
    let waits = |member: &&Member| member.state == MemberState::Spare;
    let spares = assembly.members.iter().filter(waits).filter_map(device_of);
    let mut free = spares.chain(added);
    let mut steps = Vec::new();
    for slot in assembly.missing() {
        if let Some(device) = assembly.member_in(slot).and_then(device_of) {
            steps.push(Step { slot, device, how: How::GoOn });
        } else if let Some(device) = free.next() {
            let newcomer = Newcomer { device: device.clone(), uuid: uuid()?, bad: Vec::new() };
            steps.push(Step { slot, device, how: How::Take(newcomer) });
        }
    }
    let unused: Vec<Device> = free.filter(|device| !is_member(given, device)).collect();
    match unused.first() {
        Some(device) => Err(Use::Write
            .refused(device.path(), "no slot is left for it")
            .hint("add as many devices as members are missing; reshape detail shows them")),
        None => Ok(steps),
    }
}

fn is_member(given: &Given, device: &Device) -> bool {
    given.members.devices.iter().any(|member| member.id() == device.id())
}

fn nothing_to_do(args: &RebuildArgs, screen: Screen, given: &Given) -> Result<Exit, Failure> {
    let missing = given.assembly.missing();
    if !missing.is_empty() {
        let slots: Vec<String> = missing.iter().map(|slot| slot.get().to_string()).collect();
        let cause = format!("slots {} are missing and there is no spare", slots.join(", "));
        return Err(Failure::refused(format!("cannot rebuild: {cause}"))
            .hint("--add DEV names a device that becomes a member"));
    }
    if args.run.json {
        let report = Report {
            schema: 1,
            seconds: 0.0,
            interrupted: false,
            rebuilt: Vec::new(),
            missing_slots: Vec::new(),
            failed: Vec::new(),
        };
        return Ok(screen.json(&report, Exit::Done));
    }
    screen.summary("nothing to do: no member is missing");
    Ok(Exit::Done)
}

fn question(given: &Given, steps: &[Step]) -> String {
    let list: Vec<String> = steps
        .iter()
        .map(|step| {
            let path = name(step.device.path());
            match step.how {
                How::GoOn => format!("{path} goes on as member of {}", step.slot),
                How::Take(_) => format!("{path} becomes the member of {}", step.slot),
            }
        })
        .collect();
    format!(
        "all that is on these devices will be overwritten: {} of the {}",
        list.join(", "),
        given.title()
    )
}

fn ended(error: &ArrayError, step: &Step) -> Failure {
    let path = name(step.device.path());
    if matches!(error, ArrayError::Move(MoveError::Cancelled)) {
        let message = format!("interrupted: {path} is not complete");
        let hint = "name it among the members and run the command again: it goes on from there";
        return Failure { exit: Exit::Interrupted, ..Failure::failed(message).hint(hint) };
    }
    failed(&format!("rebuild {} onto {path}", step.slot), error)
}

fn tell(
    args: &RebuildArgs,
    screen: Screen,
    given: &Given,
    (ended, seconds): (&Ended<'_>, f64),
) -> Exit {
    let Ended { rebuilt, failed, end } = ended;
    let exit = end.as_ref().err().map_or(Exit::Done, |failure| failure.exit);
    if let Err(failure) = end {
        screen.failure(failure);
    }
    let bytes = given.assembly.component.get() * kcopy::SECTOR_SIZE;
    let missing = given.assembly.missing().into_iter();
    let missing = missing.filter(|slot| !rebuilt.iter().any(|step| step.slot == *slot));
    let left = failed.iter().filter_map(|member| member.slot);
    let mut missing: Vec<u32> = missing.map(Slot::get).chain(left).collect();
    missing.sort_unstable();
    missing.dedup();
    if args.run.json {
        let one = |step: &&Step| RebuiltReport {
            slot: step.slot.get(),
            path: step.device.path().to_string_lossy().into_owned(),
            bytes,
        };
        let report = Report {
            schema: 1,
            seconds,
            interrupted: exit == Exit::Interrupted,
            rebuilt: rebuilt.iter().map(one).collect(),
            missing_slots: missing,
            failed: failed.clone(),
        };
        return screen.json(&report, exit);
    }
    for step in rebuilt {
        let path = name(step.device.path());
        screen.summary(&format!("{path} is the member of {} now, {}", step.slot, human(bytes)));
    }
    if !missing.is_empty() && end.is_ok() {
        let slots: Vec<String> = missing.iter().map(ToString::to_string).collect();
        screen.note(&format!("slots {} are still without a member", slots.join(", ")));
    }
    exit
}
