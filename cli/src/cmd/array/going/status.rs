//! Where a reshape stands, what it waits for, and the command that goes on.

use reshape::array::NoBackup;
use reshape::assemble::{Assembly, Member, MemberState, Shapes};
use reshape::exec::{BackupVerdict, Ongoing};
use reshape::geometry::{Geometry, Level};
use reshape::metadata::Direction;
use reshape::units::Slot;
use serde::Serialize;

use super::{Going, age};
use crate::args::array::{MoverArgs, OngoingArgs, StatusArgs};
use crate::cmd::array::given::{Access, Given};
use crate::exit::{Exit, Failure};
use crate::output::text::Fields;
use crate::output::{Screen, name, word};
use crate::units::human;

#[derive(Debug, Serialize)]
struct Report {
    schema: u32,
    /// `clean`, `dirty`, `degraded`, `failed`, `reshaping`.
    state: &'static str,
    reshape: Option<ReshapeReport>,
    /// The command that goes on; null if there is nothing to do.
    next: Option<String>,
}

#[derive(Debug, Serialize)]
struct ReshapeReport {
    /// Array sectors of 512 bytes.
    position_sectors: u64,
    moved_sectors: u64,
    total_sectors: u64,
    percent: f64,
    direction: &'static str,
    change: String,
    mode: &'static str,
    /// What comes next would overwrite itself.
    critical: bool,
    /// A backup file is needed to go on.
    needs_backup_file: bool,
    backups: Vec<BackupReport>,
}

#[derive(Debug, Serialize)]
struct BackupReport {
    path: String,
    usable: bool,
    /// Why it is of no use.
    reason: Option<String>,
}

pub(crate) fn status(args: &StatusArgs, screen: Screen) -> Result<Exit, Failure> {
    let small = MoverArgs::small();
    let Some(going) = Going::open(&args.what, Access::Look, age(false), &small)? else {
        return at_rest(args, screen);
    };
    let report = Report {
        schema: 1,
        state: going.ongoing.assembly.state().name(),
        reshape: Some(reshape_report(&going)),
        next: Some(next(&going, &args.what)),
    };
    if args.what.json {
        return Ok(screen.json(&report, Exit::Done));
    }
    Ok(screen.result(&text(&going, &report), Exit::Done))
}

fn at_rest(args: &StatusArgs, screen: Screen) -> Result<Exit, Failure> {
    let given = Given::open(&args.what.array.devices, Access::Look, &MoverArgs::small())?;
    let state = given.assembly.state().name();
    let next = next_at_rest(&given.assembly, &args.what);
    let report = Report { schema: 1, state, reshape: None, next };
    if args.what.json {
        return Ok(screen.json(&report, Exit::Done));
    }
    let mut text = format!("{}: {state}, no reshape is recorded", given.title());
    if let Some(next) = &report.next {
        text.push_str(&format!("\ngo on with: {next}"));
    }
    Ok(screen.result(&text, Exit::Done))
}

/// What is left of a change of several steps, as far as that can be seen: a member that was being filled, or a raid0
/// that waits to be one again.
fn next_at_rest(assembly: &Assembly, what: &OngoingArgs) -> Option<String> {
    let filled = |member: &Member| matches!(member.state, MemberState::Recovering { .. });
    if assembly.members.iter().any(filled) {
        return Some(format!("reshape rebuild {}", devices(what)));
    }
    match &assembly.shapes {
        Shapes::Whole(geometry) => on_the_way(assembly, geometry, what),
        Shapes::Moving { .. } | Shapes::Unknown => None,
    }
}

/// The command that makes a raid0 of what was one: a raid4 that lacks nothing but its parity, as raid0s are reshaped.
pub(super) fn on_the_way(
    assembly: &Assembly,
    geometry: &Geometry,
    what: &OngoingArgs,
) -> Option<String> {
    let parity = Slot::new(geometry.raid_disks().checked_sub(1)?);
    let there = |slot: u32| assembly.member_in(Slot::new(slot)).is_some();
    let alone = !there(parity.get()) && (0..parity.get()).all(there);
    (geometry.level() == Level::Raid4 && alone)
        .then(|| format!("reshape grow {} --level 0", devices(what)))
}

fn reshape_report(going: &Going) -> ReshapeReport {
    let ongoing = &going.ongoing;
    let track = &ongoing.restripe().track;
    let backups = going.verdicts.iter().map(|found| BackupReport {
        path: name(&found.path),
        usable: found.verdict.is_ok(),
        reason: found.verdict.as_ref().err().map(ToString::to_string),
    });
    ReshapeReport {
        position_sectors: ongoing.position().get(),
        moved_sectors: moved(ongoing),
        total_sectors: track.total,
        percent: percent(ongoing),
        direction: match track.direction {
            Direction::Forwards => "forwards",
            Direction::Backwards => "backwards",
        },
        change: change(ongoing),
        mode: mode(ongoing),
        critical: ongoing.is_critical(),
        needs_backup_file: ongoing.needs_backup_file(),
        backups: backups.collect(),
    }
}

fn mode(ongoing: &Ongoing) -> &'static str {
    if ongoing.restripe().shifts.iter().any(|shift| *shift != 0) { "data-offset" } else { "backup" }
}

fn moved(ongoing: &Ongoing) -> u64 {
    let track = &ongoing.restripe().track;
    track.distance(ongoing.position()).unwrap_or(track.total)
}

/// How much is moved, of 100.
pub(super) fn percent(ongoing: &Ongoing) -> f64 {
    let total = ongoing.restripe().track.total.max(1);
    // In thousandths, which floating point has exactly.
    let thousandths = u128::from(moved(ongoing)) * 100_000 / u128::from(total);
    f64::from(u32::try_from(thousandths).unwrap_or(100_000)) / 1000.0
}

/// `from 4 to 5 members`, `from chunk 64 KiB to 128 KiB`, and so on, all that changes.
pub(super) fn change(ongoing: &Ongoing) -> String {
    let (old, new) = (&ongoing.restripe().old, &ongoing.restripe().new);
    let mut changes = Vec::new();
    if old.raid_disks() != new.raid_disks() {
        changes.push(format!("from {} to {} members", old.raid_disks(), new.raid_disks()));
    }
    if old.layout() != new.layout() {
        changes.push(format!("from {} to {}", old.layout(), new.layout()));
    }
    if old.chunk() != new.chunk() {
        let chunk = |chunk: kcopy::Sectors| human(chunk.get() * kcopy::SECTOR_SIZE);
        changes.push(format!("from chunk {} to {}", chunk(old.chunk()), chunk(new.chunk())));
    }
    if changes.is_empty() {
        changes.push("of the data offset".to_owned());
    }
    changes.join(", ")
}

pub(super) fn devices(what: &OngoingArgs) -> String {
    let paths: Vec<String> = what.array.devices.iter().map(|path| word(path)).collect();
    paths.join(" ")
}

/// The command that goes on; where a file is needed and none is named, with a place for its name.
fn next(going: &Going, what: &OngoingArgs) -> String {
    let on_members = going
        .verdicts
        .iter()
        .any(|found| matches!(found.verdict, Ok(_) | Err(NoBackup::NotNeeded { ours: true, .. })));
    if going.ongoing.expect_enough().is_err() {
        return command("revert", what);
    }
    let lacks = going.ongoing.needs_backup_file() && what.backup_file.is_none() && !on_members;
    let file = if lacks { " --backup-file FILE" } else { "" };
    format!("{}{file}", command("continue", what))
}

/// The command that goes on, as it can be typed.
pub(super) fn command(verb: &str, what: &OngoingArgs) -> String {
    let mut command = format!("reshape {verb} {}", devices(what));
    if let Some(file) = &what.backup_file {
        command.push_str(&format!(" --backup-file {}", word(file)));
    }
    command
}

fn text(going: &Going, report: &Report) -> String {
    let ongoing = &going.ongoing;
    let mut page = Fields::new(11);
    page.field("Array", format!("{} {}", ongoing.assembly.level, ongoing.assembly.uuid));
    page.field("Reshape", change(ongoing));
    let bytes = |sectors: u64| human(sectors * kcopy::SECTOR_SIZE);
    let total = ongoing.restripe().track.total;
    page.field(
        "Moved",
        format!("{} of {} ({:.1} %)", bytes(moved(ongoing)), bytes(total), percent(ongoing)),
    );
    page.field("Position", ongoing.position());
    page.field("Mode", mode(ongoing));
    for found in &going.verdicts {
        match &found.verdict {
            Ok(_) => page.field("Backup", format!("{} is needed, and usable", name(&found.path))),
            Err(why) => page.field("Backup", why),
        }
    }
    page.field("Waits for", waits_for(going));
    if let Some(next) = &report.next {
        page.field("Go on with", next);
    }
    page.finish()
}

fn waits_for(going: &Going) -> &'static str {
    if going.ongoing.expect_enough().is_err() {
        return "members that are missing; nothing was moved without them, and it can be taken back";
    }
    let usable = going.verdicts.iter().any(|found| found.verdict.is_ok());
    let is_told = |found: &BackupVerdict| {
        matches!(found.verdict, Err(NoBackup::NotNeeded { ours: true, .. }))
    };
    let told = going.verdicts.iter().any(is_told);
    match (going.ongoing.is_critical(), usable, going.ongoing.needs_backup_file()) {
        (true, true, _) => "somebody to go on; the critical section will be put back first",
        (true, false, _) if told => {
            "somebody to go on; the backup says that nothing has to be put back"
        }
        (true, false, _) => "its backup file, or a proof that nothing was overwritten",
        (false, _, true) => "somebody to go on, and a backup file for a later part",
        (false, _, false) => "somebody to go on",
    }
}
