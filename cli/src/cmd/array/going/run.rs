//! Going on, forwards or back, until the end or ^C.

use reshape::exec::{BackupFile, ExecError, Ground, Options, Turned};
use reshape::machine::State;
use reshape::mover::MoveError;
use reshape::salvage::Purpose;
use serde::Serialize;

use super::backups::{Next, Wanted, check_content, new_file};
use super::{FailedReport, Going, age, doubt, record, refused, stopped, tell_failed, tell_left};
use crate::args::array::{ContinueArgs, MovingArgs, OngoingArgs, RestoreArgs, RevertArgs};
use crate::clock::{Epoch, date};
use crate::cmd::array::event_log::LogFile;
use crate::cmd::array::given::Access;
use crate::cmd::array::range::Watch;
use crate::confirm::confirm;
use crate::exit::{Exit, Failure};
use crate::output::{Phase, Screen, name};
use crate::units::human;

/// How it ended.
#[derive(Debug, Serialize)]
struct Report {
    schema: u32,
    /// No reshape is recorded any more.
    finished: bool,
    interrupted: bool,
    /// Why it could go on: `members`, `restored`, `witnessed`, `nothing-saved`, `content`, `blind`; null if no
    /// reshape was recorded.
    ground: Option<&'static str>,
    /// Array sectors of 512 bytes that are moved, of `total_sectors`.
    moved_sectors: u64,
    total_sectors: u64,
    /// Members that failed on the way and left the array.
    failed: Vec<FailedReport>,
    seconds: f64,
}

pub(crate) fn go_on(args: &ContinueArgs, screen: Screen) -> Result<Exit, Failure> {
    let Some(going) = open(&args.what, &args.how, screen)? else {
        return Ok(nothing(&args.what, screen, "continue"));
    };
    going.ongoing.expect_enough().map_err(|error| refused(&error))?;
    let question = format!("{} goes on: {}", going.title(), paths(&going));
    confirm(args.how.ask.yes.into(), &question)?;
    let mut going = check(going, (&args.what, &args.how), screen)?;
    going.log = LogFile::begin(args.log.event_log.as_deref())?;
    let (going, ground) = prepare(going, &args.how, screen)?;
    run_on(going, Some(ground), &args.what, &args.how, screen)
}

pub(crate) fn restore(args: &RestoreArgs, screen: Screen) -> Result<Exit, Failure> {
    let Some(going) = open(&args.what, &args.how, screen)? else {
        return Ok(nothing(&args.what, screen, "restore"));
    };
    let question =
        format!("{}; what its backup holds is put back: {}", going.title(), paths(&going));
    confirm(args.how.ask.yes.into(), &question)?;
    let epoch = Epoch::begin();
    // Where there is nothing to put back nothing is written.
    let has_backup = going.verdicts.iter().any(|found| found.verdict.is_ok());
    let going = if has_backup { check(going, (&args.what, &args.how), screen)? } else { going };
    let (going, ground) = prepare(going, &args.how, screen)?;
    let text = match ground {
        Ground::Restored { from } => format!(
            "put back: the reshape stood at {from}, now at {}; reshape continue goes on",
            going.ongoing.position()
        ),
        Ground::Members
        | Ground::Witnessed(_)
        | Ground::NothingSaved
        | Ground::Content
        | Ground::Blind => {
            "nothing to put back: the members have everything; reshape continue goes on".to_owned()
        }
    };
    let report = report(&going, (State::Stopped, false), Some(ground), epoch.seconds());
    Ok(say(&args.what, screen, &report, &text))
}

pub(crate) fn revert(args: &RevertArgs, screen: Screen) -> Result<Exit, Failure> {
    let Some(going) = open(&args.what, &args.how, screen)? else {
        return Err(Failure::refused("cannot turn around: no reshape is recorded")
            .hint("reshape grow changes the array back, if that is wanted"));
    };
    // Also what a backup holds is put back only if it can turn.
    let turns = going.ongoing.expect_enough().and_then(|()| going.ongoing.check_revert());
    let turns = turns.and_then(|()| going.ongoing.computed_before_turning());
    // What a backup holds would be put back first, as moved: then nothing is left to be taken back.
    let is_saved = going.verdicts.iter().any(|found| found.verdict.is_ok());
    if going.ongoing.is_at_its_start() && !is_saved && !matches!(turns, Ok(0)) {
        return take_back(going, args, screen);
    }
    turns.map_err(|error| refused(&error))?;
    let question = format!("{} turns around and goes back: {}", going.title(), paths(&going));
    confirm(args.how.ask.yes.into(), &question)?;
    let mut going = check(going, (&args.what, &args.how), screen)?;
    check_file(&going, &args.what, &args.how)?;
    going.log = LogFile::begin(args.log.event_log.as_deref())?;
    let (mut going, ground) = prepare(going, &args.how, screen)?;
    let back = going.ongoing.way_back_needs_backup_file().map_err(|error| refused(&error))?;
    let ahead = going.ongoing.needs_backup_file();
    if back && args.what.backup_file.is_none() {
        let section = going.ongoing.way_back_section().map_err(|error| refused(&error))?;
        let section = (section.unwrap_or_default(), Next::Back);
        make_backup(&mut going, &args.what, &args.how, section)?;
    }
    // Also where nothing is critical ahead: what an old header claims is not for the way back.
    let backup = if ahead || back {
        Some(backup_for(&mut going, &args.what, &args.how, Next::Back)?)
    } else {
        None
    };
    let log = going.event_log();
    let memory = args.how.mover.windows();
    let options =
        Options { backup, doubt: doubt(args.how.force), log, memory, ..Options::default() };
    let (going, turned) = turn(going, (options, ground), args, screen)?;
    match turned {
        Turned::Finished => {
            let text = "the reshape was so near its end that it could only be finished";
            let report = report(&going, (State::Finished, false), Some(ground), 0.0);
            say(&args.what, screen, &report, text);
            Ok(Exit::Failed)
        }
        Turned::At(position) => {
            screen.note(&format!("turned around at {position}"));
            run_on(going, Some(ground), &args.what, &args.how, screen)
        }
    }
}

/// Where nothing was moved yet, and it can neither go on nor turn, the record is taken back.
fn take_back(going: Going, args: &RevertArgs, screen: Screen) -> Result<Exit, Failure> {
    let question = format!("{} is taken back: {}", going.title(), paths(&going));
    confirm(args.how.ask.yes.into(), &question)?;
    let mut going = going;
    if !args.how.invalid_backup {
        going = record::check(going, Purpose::TakeBack, (&args.what, &args.how), screen)?;
    }
    let (mut going, ground) = prepare(going, &args.how, screen)?;
    let taken = going.ongoing.take_back(&mut going.mover, ground, date());
    taken.map_err(|error| {
        let unwritten = matches!(error, ExecError::Moved { .. });
        if unwritten { refused(&error) } else { stopped(&error) }
    })?;
    let text = "taken back: nothing had been moved, the array is what it was before. New disks that are not here still \
                record the reshape: name them by --add when they are back";
    let report = report(&going, (State::Finished, false), Some(ground), 0.0);
    Ok(say(&args.what, screen, &report, text))
}

/// Turns it around, once whoever fills a slot has all of the old array.
fn turn(
    going: Going,
    (options, ground): (Options, Ground),
    args: &RevertArgs,
    screen: Screen,
) -> Result<(Going, Turned), Failure> {
    let Going { mut mover, ongoing, file, made, verdicts, by_content, log } = going;
    let total = ongoing.computed_before_turning().map_err(|error| refused(&error))?;
    if total > 0 {
        screen.note(&format!(
            "before it turns, {} of parity are computed, for what was not moved; if it was a raid0, it is a raid4 \
             in the end, of which this makes a raid0 again: reshape grow {} --level 0",
            human(total),
            super::status::devices(&args.what)
        ));
    }
    let mut watch = Watch::begin(args.how.progress, screen, Phase::Rebuild, total)?;
    let turned = ongoing.revert(&mut mover, options, date, &mut |bytes| watch.moved(bytes));
    watch.finish();
    let (ongoing, turned) = turned.map_err(|error| {
        if matches!(error, ExecError::Move(MoveError::Cancelled)) {
            let stopped = Failure::failed("stopped before it turned");
            return Failure { exit: Exit::Interrupted, ..stopped }
                .hint("it can go on either way: reshape revert, or reshape continue");
        }
        // Seen before anything is moved; something may have been put back.
        let is_untouched = !matches!(ground, Ground::Restored { .. });
        let first = matches!(error, ExecError::Contradiction { .. }) && is_untouched;
        if first { refused(&error) } else { stopped(&error) }
    })?;
    Ok((Going { mover, ongoing, file, made, verdicts, by_content, log }, turned))
}

/// Whether it may go on, or back, from where it is recorded to stand.
fn check(
    going: Going,
    (what, how): (&OngoingArgs, &MovingArgs),
    screen: Screen,
) -> Result<Going, Failure> {
    let purpose = if how.invalid_backup { Purpose::GoOnBlind } else { Purpose::GoOn };
    record::check(going, purpose, (what, how), screen)
}

pub(super) fn open(
    what: &OngoingArgs,
    how: &MovingArgs,
    screen: Screen,
) -> Result<Option<Going>, Failure> {
    let going = Going::open(what, Access::Change, age(how.force), &how.mover.beside_windows())?;
    if let Some(going) = &going {
        going.tell_backups(screen);
    }
    Ok(going)
}

fn prepare(going: Going, how: &MovingArgs, screen: Screen) -> Result<(Going, Ground), Failure> {
    let (going, ground) = going.prepare(how)?;
    match ground {
        Ground::Members => {}
        Ground::Restored { from } => {
            let now = going.ongoing.position();
            screen.note(&format!("critical section put back from its backup: {from} to {now}"));
        }
        Ground::Witnessed(witness) => screen.note(&format!(
            "no backup is needed: nothing of the critical section was overwritten ({witness})"
        )),
        Ground::NothingSaved => {
            screen.note("the backup says that nothing of the critical section was overwritten");
        }
        Ground::Content => screen.note(
            "no backup is needed: all content goes together as if nothing behind the record had been overwritten",
        ),
        Ground::Blind => {
            screen.note("the critical section is taken as it is: what was overwritten is lost");
        }
    }
    Ok((going, ground))
}

/// Refuses a file that holds something else than a backup of this reshape, before anything is put back or turned.
fn check_file(going: &Going, what: &OngoingArgs, how: &MovingArgs) -> Result<(), Failure> {
    let (Some(path), ongoing) = (&what.backup_file, &going.ongoing) else { return Ok(()) };
    let back = ongoing.way_back_needs_backup_file().map_err(|error| refused(&error))?;
    if !back && !ongoing.needs_backup_file() {
        return Ok(());
    }
    let wanted = Wanted {
        path: Some(path),
        file: going.file.as_ref(),
        uuid: ongoing.assembly.uuid_on_disk,
        section: kcopy::Sectors::ZERO,
        members: &ongoing.members.devices,
        verdicts: &going.verdicts,
        force: how.force,
    };
    check_content(path, &wanted)
}

fn backup_for(
    going: &mut Going,
    what: &OngoingArgs,
    how: &MovingArgs,
    next: Next,
) -> Result<BackupFile, Failure> {
    if what.backup_file.is_none() {
        let made = going.ongoing.backup_on_newcomers(&mut going.mover, date());
        if let Some(backup) = made.map_err(|error| stopped(&error))? {
            return Ok(backup);
        }
    }
    let section = going.ongoing.restripe().section().unwrap_or_default();
    make_backup(going, what, how, (section, next))
}

fn make_backup(
    going: &mut Going,
    what: &OngoingArgs,
    how: &MovingArgs,
    (section, next): (kcopy::Sectors, Next),
) -> Result<BackupFile, Failure> {
    let wanted = Wanted {
        path: what.backup_file.as_deref(),
        file: going.file.as_ref(),
        uuid: going.ongoing.assembly.uuid_on_disk,
        section,
        members: &going.ongoing.members.devices,
        verdicts: &going.verdicts,
        force: how.force || going.made,
    };
    let made = new_file(&mut going.mover, (&going.ongoing, next), &wanted)?;
    (going.file, going.made) = (made.devices().next().cloned(), true);
    Ok(made)
}

/// Moves until the end or ^C.
fn run_on(
    mut going: Going,
    ground: Option<Ground>,
    what: &OngoingArgs,
    how: &MovingArgs,
    screen: Screen,
) -> Result<Exit, Failure> {
    let needs = going.ongoing.needs_backup_file();
    let backup = if needs { Some(backup_for(&mut going, what, how, Next::On)?) } else { None };
    let total = going.ongoing.restripe().track.total;
    let mut watch = Watch::begin(how.progress, screen, Phase::Reshape, total * kcopy::SECTOR_SIZE)?;
    let epoch = Epoch::begin();
    let log = going.event_log();
    let memory = how.mover.windows();
    let options = Options { backup, doubt: doubt(how.force), log, memory, ..Options::default() };
    let track = &going.ongoing.restripe().track;
    let before = track.distance(going.ongoing.position()).unwrap_or(0);
    let mut moved = 0;
    let ended = going.ongoing.run(&mut going.mover, options, date, &mut |progress| {
        moved = progress.moved;
        watch.moved(progress.moved * kcopy::SECTOR_SIZE)
    });
    watch.finish();
    if let Some(log) = &going.log {
        log.tell(screen);
    }
    let state = ended.map_err(|error| {
        if !matches!(error, ExecError::TooManyFailed { .. }) {
            tell_left(screen, going.ongoing.failed());
        }
        // At the first window nothing was written yet, unless something was put back.
        let is_untouched = moved <= before && !matches!(ground, Some(Ground::Restored { .. }));
        let first = matches!(error, ExecError::Contradiction { .. }) && is_untouched;
        if first { refused(&error) } else { stopped(&error) }
    })?;
    let finished = state == State::Finished;
    let mut report = report(&going, (state, watch.interrupted()), ground, epoch.seconds());
    report.moved_sectors = if finished { total } else { moved };
    let text = if finished {
        finished_text(&going, what)
    } else {
        format!("stopped at a checkpoint; go on with: {}", super::status::command("continue", what))
    };
    let exit = say(what, screen, &report, &text);
    Ok(if finished { exit } else { Exit::Interrupted })
}

fn finished_text(going: &Going, what: &OngoingArgs) -> String {
    let new = &going.ongoing.restripe().new;
    let mut text = format!(
        "done: {} of {} members, {}, chunk {}, {}",
        new.level(),
        new.raid_disks(),
        new.layout(),
        human(new.chunk().get() * kcopy::SECTOR_SIZE),
        human(new.sectors().get() * kcopy::SECTOR_SIZE)
    );
    if let Some(file) = &what.backup_file {
        text.push_str(&format!("\nthe backup {} is not needed any more", name(file)));
    }
    if let Some(next) = super::status::on_the_way(&going.ongoing.assembly, new, what) {
        text.push_str(&format!(
            "\nit has no parity, as a raid0 on the way of a change; to make it a raid0 again: {next}"
        ));
    }
    text
}

fn report(
    going: &Going,
    (state, interrupted): (State, bool),
    ground: Option<Ground>,
    seconds: f64,
) -> Report {
    let track = &going.ongoing.restripe().track;
    Report {
        schema: 1,
        finished: state == State::Finished,
        interrupted,
        ground: ground.map(word),
        moved_sectors: track.distance(going.ongoing.position()).unwrap_or(track.total),
        total_sectors: track.total,
        failed: going.ongoing.failed().iter().map(FailedReport::of).collect(),
        seconds,
    }
}

const fn word(ground: Ground) -> &'static str {
    match ground {
        Ground::Members => "members",
        Ground::Restored { .. } => "restored",
        Ground::Witnessed(_) => "witnessed",
        Ground::NothingSaved => "nothing-saved",
        Ground::Content => "content",
        Ground::Blind => "blind",
    }
}

fn nothing(what: &OngoingArgs, screen: Screen, verb: &str) -> Exit {
    let report = Report {
        schema: 1,
        finished: true,
        interrupted: false,
        ground: None,
        moved_sectors: 0,
        total_sectors: 0,
        failed: Vec::new(),
        seconds: 0.0,
    };
    say(what, screen, &report, &format!("nothing to {verb}: no reshape is recorded"))
}

fn say(what: &OngoingArgs, screen: Screen, report: &Report, text: &str) -> Exit {
    if what.json {
        return screen.json(report, Exit::Done);
    }
    screen.summary(text);
    tell_failed(screen, &report.failed);
    Exit::Done
}

fn paths(going: &Going) -> String {
    let paths: Vec<String> = going.ongoing.paths().map(name).collect();
    format!("all of these are written: {}", paths.join(", "))
}
