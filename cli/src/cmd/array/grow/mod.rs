//! `reshape grow`: a plan, carried out.

use kcopy::Device;
use reshape::array::{Array, Mend};
use reshape::assemble::Shapes;
use reshape::exec::{At, Checkpoints, ExecError, Performer, Tools};
use reshape::machine::State;
use reshape::plan::{Plan, Present, Step, plan};
use serde::Serialize;

use super::event_log::LogFile;
use super::given::{self, Access, Given, failed, open_all};
use super::going::{self, FailedReport, tell_failed};
use super::plan::{change, refused};
use super::random::uuid;
use super::range::Watch;
use super::room::{rooms, warnings};
use crate::args::array::{GrowArgs, PlanArgs};
use crate::clock::{Epoch, date};
use crate::confirm::confirm;
use crate::exit::{Exit, Failure};
use crate::output::{Phase, Screen, name};
use crate::units::{Size, human};

mod next;
mod prove;
mod words;

use prove::Proof;

#[derive(Debug, Serialize)]
struct Report {
    schema: u32,
    finished: bool,
    interrupted: bool,
    /// The step that was under way when it was interrupted, from 0.
    step: Option<usize>,
    steps: usize,
    array_bytes: u64,
    seconds: f64,
    /// Positions recorded, and the time that their flushes and superblocks took; others moved meanwhile.
    checkpoints: u64,
    checkpoint_seconds: f64,
    /// Members that failed on the way and left the array.
    failed: Vec<FailedReport>,
    /// SHA-256 of the content, before and after the same; null without `--prove`.
    sha256: Option<String>,
}

pub(crate) fn run(args: &GrowArgs, screen: Screen) -> Result<Exit, Failure> {
    if args.dry_run {
        let asked = PlanArgs {
            array: args.array.clone(),
            change: args.change.clone(),
            speed: Size(150_000_000),
            measure: false,
            json: args.run.json,
        };
        return super::plan::run(&asked, screen);
    }
    let args = &settled(args);
    let mut given =
        Given::open(&args.array.devices, Access::Change, &args.run.mover.beside_windows())?;
    if matches!(given.assembly.shapes, Shapes::Moving { .. }) {
        return Err(Failure::refused("cannot change the array: a reshape is under way")
            .hint("reshape continue finishes it, reshape revert takes it back"));
    }
    let mut disks = given.members.devices.clone();
    let added = added(args, &mut given, &disks)?;
    disks.extend(added.iter().cloned());
    let mut present =
        Present::read(&given.assembly, &given.members).map_err(|error| refused(&error))?;
    for device in &added {
        let size = kcopy::Sectors::from_bytes_floor(device.size());
        present.add(device.path(), size).map_err(|error| refused(&error))?;
    }
    let wanted = change(&args.change, &present)?;
    let plan = plan(&present, &wanted).map_err(|error| refused(&error))?;
    let backup = backup_file(args, &plan, (&disks, given.assembly.uuid_on_disk))?;
    let log = LogFile::begin(args.log.event_log.as_deref())?;
    for warning in warnings(&rooms(&present, &plan)) {
        screen.note(&warning);
    }
    confirm(args.ask.yes.into(), &question(&given, &present, &plan))?;
    let mut watch = Watch::begin(args.run.progress, screen, Phase::Reshape, 0)?;
    if args.check_first {
        check_first(&mut given, &mut watch)?;
    }
    let kept = plan.before.sectors().min(plan.after.sectors());
    let proof = if args.prove { Some(Proof::of(&mut given, kept, &mut watch)?) } else { None };
    let epoch = Epoch::begin();
    let uuids = disks.iter().map(|_| uuid()).collect::<Result<Vec<_>, _>>()?;
    let work = Work { present: &present, plan: &plan, disks: &disks };
    let log_to = log.as_ref().map(LogFile::log);
    let tools = Tools {
        backup,
        uuids: &uuids,
        doubt: going::doubt(args.change.force),
        memory: args.run.mover.windows(),
        clock: date,
        log: log_to,
    };
    let (ended, moved) = perform(&mut given, &work, tools, &mut watch);
    watch.finish();
    if let Some(log) = &log {
        log.tell(screen);
    }
    let state = ended.map_err(|error| {
        if !matches!(error, ExecError::TooManyFailed { .. }) {
            tell_failed(screen, &moved.failed);
        }
        stopped(args, &plan, &error, moved.at)
    })?;
    let sha256 = match (proof, state) {
        (Some(proof), State::Finished) => Some(proof.compare(args, &disks, kept, &mut watch)?),
        (Some(_) | None, _) => None,
    };
    let report = report(&plan, (state, moved), sha256, epoch.seconds());
    Ok(tell(args, screen, (&plan, &report)))
}

/// The same with those disks of `--add` among the members that are: after an interruption the same command goes on.
fn settled(args: &GrowArgs) -> GrowArgs {
    let mut args = args.clone();
    given::settle(&mut args.array.devices, &mut args.change.add, args.run.mover.direct);
    args
}

fn report(
    plan: &Plan,
    (state, moved): (State, Moved),
    sha256: Option<String>,
    seconds: f64,
) -> Report {
    let finished = state == State::Finished;
    Report {
        schema: 1,
        finished,
        interrupted: !finished,
        step: (!finished).then_some(moved.at),
        steps: plan.steps.len(),
        array_bytes: plan.after.sectors().get() * kcopy::SECTOR_SIZE,
        seconds,
        checkpoints: moved.checkpoints.count,
        checkpoint_seconds: moved.checkpoints.time.as_secs_f64(),
        failed: moved.failed,
        sha256,
    }
}

/// What is carried out.
struct Work<'a> {
    present: &'a Present,
    plan: &'a Plan,
    disks: &'a [Device],
}

/// What was done until it ended, at which step.
struct Moved {
    at: usize,
    checkpoints: Checkpoints,
    failed: Vec<FailedReport>,
}

fn perform(
    given: &mut Given,
    work: &Work<'_>,
    tools: Tools<'_>,
    watch: &mut Watch,
) -> (Result<State, ExecError>, Moved) {
    let mut step = 0;
    let mut first = true;
    let so_far = &mut |at: At| {
        if first || at.step != step {
            (step, first) = (at.step, false);
            watch.phase(phase_of(work.plan.steps.get(at.step)), at.total);
        }
        watch.moved(at.done)
    };
    let plan = (work.present, work.plan);
    let mut performer = Performer::new(&mut given.mover, plan, work.disks, tools);
    let ended = performer.run(so_far);
    let failed: Vec<FailedReport> = performer.failed().iter().map(FailedReport::of).collect();
    (ended, Moved { at: step, checkpoints: performer.checkpoints(), failed })
}

fn phase_of(step: Option<&Step>) -> Phase {
    match step {
        Some(Step::Rebuild(_)) => Phase::Rebuild,
        Some(
            Step::AddDisks(_)
            | Step::RemoveBitmap
            | Step::Takeover(_)
            | Step::Restripe(_)
            | Step::Resize(_)
            | Step::ArraySize(_)
            | Step::Append(_)
            | Step::MakeBitmap,
        )
        | None => Phase::Reshape,
    }
}

/// The disks of `--add`, claimed; none of them is a member, or holds another array.
fn added(args: &GrowArgs, given: &mut Given, members: &[Device]) -> Result<Vec<Device>, Failure> {
    let added = open_all(&args.change.add, Access::Change, args.run.mover.direct)?;
    for device in &added {
        let path = device.path();
        if members.iter().any(|member| crate::cmd::target::overlap(member, device)) {
            return Err(crate::cmd::target::Use::Write
                .refused(path, "it is named as a member as well")
                .hint("a spare that is there already needs no --add"));
        }
    }
    super::rebuild::check_foreign(given, &added, args.change.force)?;
    Ok(added)
}

fn backup_file(
    args: &GrowArgs,
    plan: &Plan,
    (disks, uuid): (&[Device], [u8; 16]),
) -> Result<Option<Device>, Failure> {
    if plan.backup_bytes() == 0 {
        return Ok(None);
    }
    let how = (Some(uuid), args.change.force);
    going::fresh_file(args.change.backup_file.as_deref(), disks, how).map(Some)
}

fn question(given: &Given, present: &Present, plan: &Plan) -> String {
    let steps: Vec<String> =
        plan.steps.iter().map(|step| format!("  {}", words::step(present, step))).collect();
    let paths: Vec<String> = present.disks.iter().map(|disk| name(&disk.path)).collect();
    format!(
        "{} will be changed:\n{}\nall of these are written: {}",
        given.title(),
        steps.join("\n"),
        paths.join(", ")
    )
}

fn check_first(given: &mut Given, watch: &mut Watch) -> Result<(), Failure> {
    let members = &given.members;
    let array = Array::open(&given.assembly, &members.devices, &members.bad)
        .map_err(|error| failed("check the array", &error))?;
    watch.phase(Phase::Check, array.sectors().get() * kcopy::SECTOR_SIZE);
    let report = array
        .check(&mut given.mover, Mend::Report, &mut |done| watch.moved(done))
        .map_err(|error| failed("check the array", &error))?;
    if report.mismatch_sectors == 0 {
        return Ok(());
    }
    let count = report.mismatch_sectors;
    let cause = format!("{count} sectors of the array do not agree with their parity");
    Err(Failure::failed(format!("stopped before anything was changed: {cause}"))
        .hint("reshape check shows where; reshape check --repair mends the parity"))
}

fn stopped(args: &GrowArgs, plan: &Plan, error: &ExecError, at: usize) -> Failure {
    let failure = going::stopped(error);
    let next = next::command(args, plan, at);
    let hint = failure.hint.clone().unwrap_or_default();
    failure.hint(format!("{hint}; to go on: {next}"))
}

fn tell(args: &GrowArgs, screen: Screen, (plan, report): (&Plan, &Report)) -> Exit {
    let exit = if report.finished { Exit::Done } else { Exit::Interrupted };
    if args.run.json {
        return screen.json(report, exit);
    }
    tell_failed(screen, &report.failed);
    if let Some(at) = report.step {
        screen.summary(&format!(
            "stopped at a checkpoint; to go on: {}",
            next::command(args, plan, at)
        ));
        return exit;
    }
    let after = &plan.after;
    screen.summary(&format!(
        "done: {} of {} members, {} {}, in {:.1} s",
        after.level(),
        after.raid_disks(),
        human(report.array_bytes),
        after.layout(),
        report.seconds
    ));
    if let Some(sha256) = &report.sha256 {
        screen.summary(&format!("proved: the content is the same as before, SHA-256 {sha256}"));
    }
    exit
}
