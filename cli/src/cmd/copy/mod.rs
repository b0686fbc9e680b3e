//! `kcopy copy`: one read, many destinations.
//!
//! ```text
//!   check (nothing changes) -> engine -> map -> prepare (files are made) -> copy -> flush -> verify
//! ```

mod check;
mod extents;
mod feed;
mod ledger;
mod mapfile;
mod prepare;
mod report;
mod runner;
mod verify;

use std::path::Path;

use kcopy::resume::MapFile;
use kcopy::{Client, Device};

pub(crate) use check::{check_alignment, check_count, length, named_twice};
pub(crate) use report::{ErrorReport, rate};
pub(crate) use runner::TICK;

use self::check::{Checked, Planned, is_at};
use self::feed::Feed;
use self::ledger::Ledger;
use self::mapfile::{Found, MapStore};
use self::prepare::Ready;
use self::report::{End, Report};
use self::runner::{Plan, Runner, Stop};
use self::verify::Verifier;
use super::engine;
use super::target::is_same;
use crate::args::{CopyArgs, Sparse};
use crate::clock::Epoch;
use crate::exit::{Exit, Failure};
use crate::output::{Phase, Progress, Screen, name};
use crate::signals::Interrupt;

/// The smallest chunk.
const LEAST_CHUNK: u64 = 64 << 10;

pub(crate) fn run(args: &CopyArgs, screen: Screen) -> Result<Exit, Failure> {
    let wanted = engine::check(&args.engine)?;
    let throttle = engine::throttle(args.rate)?;
    let mut checked = check::check(args)?;
    let found = find_map(args, &checked)?;
    let interrupt = Interrupt::listen()
        .map_err(|error| Failure::refused(format!("cannot listen for signals: {error}")))?;
    let client = engine::client(wanted, 1024, throttle.as_ref())?;
    let ready = prepare::prepare(&mut checked, args.verify, args.engine.direct)?;
    if interrupt.asked() {
        return Ok(Exit::Interrupted);
    }
    let epoch = Epoch::begin();
    let plan = plan(args, &checked, u64::from(wanted.pages) * 4096);
    let feed = feed(args, &checked, &ready, (found, &plan), epoch)?;
    let job = Job { args, screen, epoch, interrupt, client };
    Ok(job.carry_out(plan, ready, feed))
}

/// The map of an earlier run, if there is one and it is for this copy.
fn find_map(args: &CopyArgs, checked: &Checked) -> Result<Option<Found>, Failure> {
    let Some(path) = &args.map else { return Ok(None) };
    let known: Vec<&Device> = checked.destinations.iter().filter_map(existing).collect();
    check_map_is_apart(path, checked)?;
    if checked.len == 0 {
        return Ok(None);
    }
    let Some(found) = mapfile::find(path)? else { return Ok(None) };
    if let Some(missing) = checked.destinations.iter().find(|one| existing(one).is_none()) {
        let message = format!(
            "cannot go on with the map {}: {} is missing",
            name(path),
            name(missing.path())
        );
        return Err(Failure::refused(message)
            .hint("put it back, or remove the map to begin from the start"));
    }
    let source = (&checked.source, checked.skip);
    let now = mapfile::identity(source, &known, checked.seek, checked.len)
        .map_err(|error| Failure::refused(format!("cannot use the map: {error}")))?;
    mapfile::check_match(path, &found.map, &now)?;
    let end = checked.seek.saturating_add(checked.len);
    if let Some(short) = known.iter().find(|device| device.size() < end) {
        let message = format!(
            "cannot go on with the map {}: {} has become shorter",
            name(path),
            name(short.path())
        );
        return Err(Failure::refused(message).hint("remove the map to begin from the start"));
    }
    Ok(Some(found))
}

/// The map, and the file in which a new one is made, must be neither read nor written as data.
fn check_map_is_apart(path: &Path, checked: &Checked) -> Result<(), Failure> {
    for place in [path.to_owned(), mapfile::fresh_path(path)] {
        let what = if is_same(&place, &checked.source) {
            "it is the source"
        } else if checked.destinations.iter().any(|one| is_at(&place, one)) {
            "it is a destination"
        } else {
            continue;
        };
        let message = format!("cannot use the map {}: {what}", name(&place));
        return Err(Failure::refused(message).hint("name another file for the map"));
    }
    Ok(())
}

fn existing(planned: &Planned) -> Option<&Device> {
    match planned {
        Planned::Existing(device) => Some(device),
        Planned::Missing(_) => None,
    }
}

fn plan(args: &CopyArgs, checked: &Checked, pool: u64) -> Plan {
    // One chunk fills the pool, the next one waits: the engine never does. Not more, because the
    // engine serves all of them in turns. With a limit, what is on its way is a quarter of a
    // second: so much is lost by an interruption.
    let limit = args.rate.map_or(u64::MAX, |rate| rate.0 / 8).max(LEAST_CHUNK);
    let chunk = pool.clamp(1 << 20, 64 << 20).min(limit).next_multiple_of(LEAST_CHUNK);
    Plan {
        source: checked.source.clone(),
        skip: checked.skip,
        seek: checked.seek,
        len: checked.len,
        sparse: args.sparse == Sparse::Auto,
        go_on: args.continue_on_error,
        chunk,
    }
}

fn feed(
    args: &CopyArgs,
    checked: &Checked,
    ready: &[Ready],
    (found, plan): (Option<Found>, &Plan),
    epoch: Epoch,
) -> Result<Feed, Failure> {
    // As many chunks of the map as two of ours.
    let settings = |map: &MapFile| {
        let count = (plan.chunk.saturating_mul(2) / map.identity().chunk.max(1)).clamp(2, 256);
        (usize::try_from(count).unwrap_or(2), args.map_interval)
    };
    if let Some(Found { map, store }) = found {
        let settings = settings(&map);
        return Ok(Feed::mapped(map, store, settings, epoch));
    }
    let Some(path) = args.map.as_ref().filter(|_| checked.len > 0) else {
        return Ok(Feed::plain(checked.len, plan.chunk, epoch));
    };
    let failed = |error: &dyn std::fmt::Display| {
        Failure::failed(format!("cannot make the map {}: {error}", name(path)))
            .hint("name a map on a file system that can be written, and run it again")
    };
    let devices: Vec<&Device> = ready.iter().map(|one| &one.device).collect();
    let source = (&checked.source, checked.skip);
    let identity = mapfile::identity(source, &devices, checked.seek, checked.len)
        .map_err(|error| failed(&error))?;
    let map = MapFile::new(identity).map_err(|error| failed(&error))?;
    let store = MapStore::create(path).map_err(|error| failed(&error))?;
    let settings = settings(&map);
    Ok(Feed::mapped(map, store, settings, epoch))
}

/// A copy that nothing speaks against.
#[derive(Debug)]
struct Job<'a> {
    args: &'a CopyArgs,
    screen: Screen,
    epoch: Epoch,
    interrupt: Interrupt,
    client: Client,
}

impl Job<'_> {
    fn carry_out(self, plan: Plan, ready: Vec<Ready>, feed: Feed) -> Exit {
        let resumed = feed.claimed().unwrap_or(0);
        let len = plan.len;
        let mut progress = Progress::start(self.args.progress, self.screen, Phase::Copy, len);
        let ledger = self.args.verify.then(|| Ledger::new(len));
        let mut runner = Runner::new(&self.client, plan, ready, feed, ledger);
        runner.run(&self.interrupt, &mut progress, resumed);
        let flush = report::flushes(self.args);
        if flush && self.args.map.is_none() {
            progress.phase(Phase::Flush, len);
            runner.flush();
        }
        let directories = if flush { prepare::flush_directories(&runner.targets) } else { Ok(()) };
        let seconds = self.epoch.seconds();
        let verdict = self.verify(&mut runner, &mut progress);
        progress.finish();
        let Runner { plan, targets, feed, extents, unreadable, gone, read_fault, refusal, .. } =
            runner;
        let (stop, done) = (runner.stop, runner.done);
        self.client.close();
        let mut end = End {
            plan,
            targets,
            unreadable,
            gone,
            source_end: extents.end(),
            read_fault,
            refusal,
            interrupted: stop == Some(Stop::Interrupted)
                || verdict.as_ref().is_some_and(|verdict| verdict.interrupted),
            verdict,
            done,
            resumed,
            seconds,
            prefix: feed.prefix(),
            claimed: feed.claimed(),
            map_failed: None,
            directories: directories.err(),
        };
        end.close_map(feed, self.args.map.as_deref());
        Report::new(self.args, &self.client, &end).tell(self.screen, &end, self.args)
    }

    /// Reads back what was copied, if that was asked for and makes sense.
    fn verify(&self, runner: &mut Runner<'_>, progress: &mut Progress) -> Option<verify::Verdict> {
        let ledger = runner.ledger.take().filter(|_| runner.stop.is_none())?;
        progress.phase(Phase::Verify, runner.plan.len);
        let verifier = Verifier::new(&self.client, &runner.plan, &mut runner.targets);
        let (unreadable, gone) = (&runner.unreadable, &runner.gone);
        let is_lost = |range: &_| unreadable.touches(range) || gone.touches(range);
        Some(verifier.run(&ledger, is_lost, &self.interrupt, progress))
    }
}
