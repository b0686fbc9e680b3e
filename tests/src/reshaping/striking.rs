//! A disk that fails for good at some operation of a command, whichever it is: a growth with every kind of step, going
//! on, putting a backup back, turning around, rebuilding. The array goes on without the disk if it can; if not it
//! stops and says so, and with the disk mended, or another in its place, the same command gets to the end. Then the
//! power goes: what was told to be durable is.

use std::fmt;

use kcopy::Errno;
use kcopy::backend::sim::{Crash, DiskId, Effect, Fault, OpKind, Rng, SimWorld, Snapshot};

use super::bench::Turn;
use super::crash::{Subject, print};
use super::power::{cut, mover};
use crate::sim::report::Report;

/// The counts of strikes.
pub const STRIKES: &str = "disks that failed";
/// Of these, how many the array went on without.
pub const WITHOUT: &str = "  and the command went on";
/// Of these, how many stopped the command.
pub const STOPPED: &str = "  and the command stopped";

/// Of these, how many were told before anything was written.
pub const REFUSED: &str = "  and the command wrote nothing";

/// What of the disk fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum What {
    Writes,
    Flushes,
    Everything,
}

/// One disk, one moment.
#[derive(Clone, Copy, Debug)]
struct Strike {
    disk: u32,
    what: What,
    from: u64,
    /// The command turns a reshape around.
    turned: bool,
}

impl fmt::Display for Strike {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { disk, what, from, turned } = self;
        let turned = if *turned { "turned around, " } else { "" };
        write!(f, "{turned}{what:?} of disk {disk} fail from operation {from} on")
    }
}

/// What came of a command.
#[derive(Clone, Debug, PartialEq, Eq)]
enum End {
    Done,
    /// It turned around.
    Back,
    Stopped(String),
}

/// Strikes `subject` once for each seed.
pub fn strike(subject: &dyn Subject, seeds: std::ops::Range<u64>) -> Report {
    let mut report = Report::default();
    for seed in seeds {
        let id = || format!("strike:{}:{seed}", subject.id());
        let run = || one(subject, seed).map_err(|error| format!("{subject}\n  {error}"));
        for count in report.check(id, run).into_iter().flatten() {
            report.count(count, 1);
        }
    }
    report
}

/// What is to be counted of the strike with this seed.
fn one(subject: &dyn Subject, seed: u64) -> Result<Vec<&'static str>, String> {
    let name = u64::from(crc32c::crc32c(subject.id().as_bytes()));
    let mut rng = Rng::new(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ name);
    let begun = subject.world(seed);
    if rng.below(2) == 0 {
        // The power went before, on the way.
        let whole = operations(subject, &begun.snapshot(), false).unwrap_or(0);
        let _ = subject.go_on(&begun, &mut cut(&begun, rng.below(whole.max(1))), &[]);
    }
    let crash = Crash::Seeded(rng.next_u64());
    let start = begun.snapshot().after(crash, seed).snapshot();
    let mut turned = subject.bench().is_some() && rng.below(4) == 0;
    let mut whole = operations(subject, &start, turned);
    if whole.is_none() && turned {
        turned = false;
        whole = operations(subject, &start, turned);
    }
    let Some(whole) = whole.filter(|whole| *whole > 0) else { return Ok(Vec::new()) };
    let strike = Strike {
        disk: u32::try_from(rng.below(u64::from(subject.disks()))).unwrap_or(0),
        what: rng.pick(&[What::Writes, What::Flushes, What::Everything]),
        from: rng.below(whole),
        turned,
    };
    let world = start.after(Crash::KeepAll, seed);
    world.silence_trace();
    strike.inject(&world);
    let end = command(subject, &world, turned);
    let struck = !world.struck().is_empty();
    world.clear_faults();
    let told = |error: String| format!("{strike}, then {end:?}: {error}");
    let after = world.snapshot();
    let case = Aftermath { subject, strike, after: &after, seed: rng.next_u64() };
    if !struck {
        return case.nothing_failed(&end).map(|()| Vec::new()).map_err(told);
    }
    let untouched = || print(&world, subject) == print(&start.after(Crash::KeepAll, seed), subject);
    match &end {
        // Whoever begins is told of members that cannot be read.
        End::Stopped(_) if untouched() => return Ok(vec![STRIKES, REFUSED]),
        End::Done if turned => case.went_back().map_err(told)?,
        End::Done => case.went_on().map_err(told)?,
        End::Back => case.went_back().map_err(told)?,
        End::Stopped(why) => case.stopped(why).map_err(told)?,
    }
    let how = match end {
        End::Stopped(_) => STOPPED,
        End::Done | End::Back => WITHOUT,
    };
    Ok(vec![STRIKES, how])
}

/// The command, as somebody runs it once.
fn command(subject: &dyn Subject, world: &SimWorld, turned: bool) -> End {
    let mut mover = mover(world);
    let ended = match subject.bench().filter(|_| turned) {
        Some(bench) => bench.turn_back(world, &mut mover).map(Some),
        None => subject.command(world, &mut mover, &[]).map(|()| None),
    };
    match ended {
        Ok(Some(Turn::Back)) => End::Back,
        Ok(Some(Turn::Ended) | None) => End::Done,
        Ok(Some(Turn::Refused(why))) | Err(why) => End::Stopped(why),
    }
}

/// How many operations it has if nothing fails; `None` if it does not get to its end.
fn operations(subject: &dyn Subject, start: &Snapshot, turned: bool) -> Option<u64> {
    let world = start.after(Crash::KeepAll, 0);
    world.silence_trace();
    let end = command(subject, &world, turned);
    (!matches!(end, End::Stopped(_))).then(|| world.ops())
}

impl Strike {
    fn inject(&self, world: &SimWorld) {
        let fault = Fault::new(Effect::Error(Errno::IO)).from_op(self.from).on(DiskId(self.disk));
        match self.what {
            What::Writes => world.inject(fault.kind(OpKind::Write)),
            What::Flushes => world.inject(fault.kind(OpKind::Flush)),
            What::Everything => world.inject(fault),
        }
    }
}

/// What stands on the disks after the command.
struct Aftermath<'a> {
    subject: &'a dyn Subject,
    strike: Strike,
    after: &'a Snapshot,
    seed: u64,
}

impl Aftermath<'_> {
    /// The power went: nothing that was not flushed is there, or some of it.
    fn worlds(&self) -> Vec<SimWorld> {
        let crashes = [Crash::DropAll, Crash::Seeded(self.seed)];
        let worlds: Vec<SimWorld> =
            crashes.into_iter().map(|crash| self.after.after(crash, self.seed)).collect();
        worlds.iter().for_each(SimWorld::silence_trace);
        worlds
    }

    fn is_of_file(&self) -> bool {
        self.strike.disk + 1 == self.subject.disks()
    }

    fn nothing_failed(&self, end: &End) -> Result<(), String> {
        match end {
            End::Done | End::Back => Ok(()),
            End::Stopped(_) => Err("nothing failed".into()),
        }
    }

    /// The command got to its end. Whoever looks at the disk again takes nothing from it that is not right; without it
    /// all is there.
    fn went_on(&self) -> Result<(), String> {
        let (subject, disk) = (self.subject, self.strike.disk);
        for world in self.worlds() {
            let alone = subject.can_lose(&world, &[disk]).then(|| world.snapshot());
            self.finish(&world).map_err(|error| format!("mended: {error}"))?;
            let checked = subject.check(&world, &mut mover(&world), &[], self.doubtful());
            checked.map_err(|error| format!("mended: {error}"))?;
            let Some(world) = alone.filter(|_| !self.is_of_file()) else { continue };
            let world = world.after(Crash::KeepAll, self.seed);
            world.silence_trace();
            let mut mover = mover(&world);
            subject.go_on(&world, &mut mover, &[disk]).map_err(|e| format!("without it: {e}"))?;
            let checked = subject.check(&world, &mut mover, &[disk], &[]);
            checked.map_err(|error| format!("without it: {error}"))?;
        }
        Ok(())
    }

    fn went_back(&self) -> Result<(), String> {
        let Some(bench) = self.subject.bench() else { return Ok(()) };
        for world in self.worlds() {
            bench.check_either_but(&world, &mut mover(&world), &[self.strike.disk])?;
        }
        Ok(())
    }

    /// It stopped. It had to, and with the disk mended, or another one in its place, it gets to its end.
    fn stopped(&self, why: &str) -> Result<(), String> {
        let (subject, disk) = (self.subject, self.strike.disk);
        let is_new = why.contains("was to become a member");
        for world in self.worlds() {
            if is_new && !subject.is_added(disk) {
                return Err("it is no new disk".into());
            }
            let can = match subject.bench().filter(|_| self.strike.turned) {
                Some(bench) => bench.can_lose_turned(disk),
                None => subject.can_lose(&world, &[disk]),
            };
            if !is_new && !self.is_of_file() && can {
                return Err("the array can do without it".into());
            }
            if !self.strike.turned {
                self.finish(&world)?;
                subject.check(&world, &mut mover(&world), &[], self.doubtful())?;
            } else if let Some(bench) = subject.bench() {
                bench.finish_recorded(&world, &mut mover(&world))?;
                bench.check_either_but(&world, &mut mover(&world), self.doubtful())?;
            }
        }
        Ok(())
    }

    /// Whatever is left to be done, with the disk mended; if it left the array, with another one in its place.
    fn finish(&self, world: &SimWorld) -> Result<(), String> {
        let (subject, disk) = (self.subject, self.strike.disk);
        if subject.has_left(world, disk) {
            let disk = world.disk(DiskId(disk));
            disk.write(0, &vec![0; disk.bytes().len()]);
        }
        subject.go_on(world, &mut mover(world), &[])
    }

    /// Who need not be a member any more.
    fn doubtful(&self) -> &[u32] {
        if self.is_of_file() { &[] } else { std::slice::from_ref(&self.strike.disk) }
    }
}
