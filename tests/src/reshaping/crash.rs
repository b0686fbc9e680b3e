//! The states of one case: every moment of its reshape, everything that a loss of power may keep of it,
//! and what is done with each.

use std::collections::HashSet;
use std::fmt;

use kcopy::Errno;
use kcopy::backend::sim::{
    Crash, DiskId, Effect, Fault, OpKind, Rng, Schedule, SimWorld, Snapshot,
};
use reshape::mover::Mover;

use super::backups::{self, Damage};
use super::bench::{Bench, Turn};
use super::power::{cut, film, mover};
use crate::sim::report::Report;

/// What is begun, loses its power, and is gone on with.
pub trait Subject: fmt::Display + Sync {
    /// What it is called in the names of states: `reshape:24`.
    fn id(&self) -> String;

    /// How many disks it has; the last is the backup file.
    fn disks(&self) -> u32;

    /// The disks before anything was done.
    fn world(&self, seed: u64) -> SimWorld;

    /// Begins, or goes on from wherever it is, without the members in `lost`, and gets to the end.
    ///
    /// # Errors
    ///
    /// Why it does not go on.
    fn go_on(&self, world: &SimWorld, mover: &mut Mover, lost: &[u32]) -> Result<(), String>;

    /// As somebody runs it once: a single command, where getting to the end may take several.
    ///
    /// # Errors
    ///
    /// Why it stopped.
    fn command(&self, world: &SimWorld, mover: &mut Mover, lost: &[u32]) -> Result<(), String> {
        self.go_on(world, mover, lost)
    }

    /// Whether a disk is one that is added.
    fn is_added(&self, disk: u32) -> bool;

    /// Whether a disk is none of the array's any more, where that matters to who goes on.
    fn has_left(&self, _world: &SimWorld, _disk: u32) -> bool {
        false
    }

    /// Whether every sector is where it has to be at the end. Those in `doubtful` need not be members any
    /// more, but if they are they have to be right.
    ///
    /// # Errors
    ///
    /// What is wrong.
    fn check(
        &self,
        world: &SimWorld,
        mover: &mut Mover,
        lost: &[u32],
        doubtful: &[u32],
    ) -> Result<(), String>;

    /// Whether it can do without these members all the way, from what is left in `world` on.
    fn can_lose(&self, world: &SimWorld, lost: &[u32]) -> bool;

    /// If it is one restripe and nothing else: its bench, for what can be done to a restripe only.
    fn bench(&self) -> Option<&Bench> {
        None
    }
}

/// How many states of a case are looked at.
#[derive(Clone, Copy, Debug)]
pub struct Depth {
    /// Up to so many blocks that are not flushed, every subset of them.
    pub subsets: usize,
    /// Of more blocks, so many seeded states, writes torn.
    pub seeded: u64,
    /// Mixed into every seed.
    pub seed: u64,
}

/// The count of states.
pub const STATES: &str = "states recovered";

/// A subject with so many violations is left.
pub const ENOUGH: u64 = 3;

/// What is done with a state.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Trial {
    /// Recovered.
    Plain,
    /// The power goes once more, on the way.
    Twice,
    /// Members are gone.
    Lost(Vec<u32>),
    /// A member is gone, the power goes on the way, and the member is there again.
    Stale(u32),
    /// A place of a member cannot be read any more.
    Unreadable(u32),
    /// A place of a member where old and new overlap cannot be read any more.
    Critical(u32),
    /// The backup cannot be read any more.
    BackupUnreadable,
    /// The backup is not what it should be.
    BackupDamaged(Damage),
    /// It is turned around.
    Turned,
    /// It is turned around, and the power goes on the way back.
    TurnedDown,
    /// The same, and it is turned around again.
    TurnedAgain,
}

impl Trial {
    fn count(&self) -> &'static str {
        match self {
            Self::Plain => "  with nothing else",
            Self::Twice => "  with a second loss of power",
            Self::Lost(_) => "  with members lost",
            Self::Stale(_) => "  with a stale member back",
            Self::Unreadable(_) => "  with sectors that cannot be read",
            Self::Critical(_) => "  with critical sectors that cannot be read",
            Self::BackupUnreadable => "  with a backup that cannot be read",
            Self::BackupDamaged(_) => "  with a backup that is damaged",
            Self::Turned => "  turned around",
            Self::TurnedDown => "  turned around, with a loss of power on the way back",
            Self::TurnedAgain => "  turned around twice",
        }
    }
}

/// Which states of a subject are looked at.
#[derive(Clone, Copy, Debug)]
pub enum Which {
    /// All of them.
    All,
    /// One in so many.
    OneIn(usize),
    /// The one with this number.
    Only(usize),
}

impl Which {
    fn has(self, number: usize) -> bool {
        match self {
            Self::All => true,
            Self::OneIn(step) => number.is_multiple_of(step.max(1)),
            Self::Only(only) => number == only,
        }
    }
}

/// Looks at states of `subject`; `give_up` says after how many violations it is left.
pub fn one(subject: &dyn Subject, depth: Depth, which: Which, give_up: u64, report: &mut Report) {
    let id = |at: &str| {
        let Depth { subsets, seeded, seed } = depth;
        format!("{}:{subsets}.{seeded}.{seed}{at}", subject.id())
    };
    let filmed =
        report.check(|| id(""), || shoot(subject, depth).map_err(|e| format!("{subject}: {e}")));
    report.count("reshapes", 1);
    let Some(frames) = filmed else { return };
    report.count("moments", u64::try_from(frames.len()).unwrap_or(0));
    let mut seen = HashSet::new();
    for (moment, frame) in frames.iter().enumerate() {
        for crash in crashes(frame, depth, moment) {
            let world = frame.after(crash, depth.seed);
            world.silence_trace();
            if !seen.insert(print(&world, subject)) {
                continue;
            }
            let number = seen.len();
            if !which.has(number) {
                continue;
            }
            let trial = pick(subject, &world, depth, number);
            report.check(
                || id(&format!(":{number}")),
                || {
                    recover(subject, &world, &trial, seed(depth, number)).map_err(|error| {
                        format!("{subject}\n  moment {moment}, {crash:?}, then {trial:?}: {error}")
                    })
                },
            );
            report.count(STATES, 1);
            report.count(trial.count(), 1);
            if report.failures >= give_up {
                return;
            }
        }
    }
}

fn seed(depth: Depth, number: usize) -> u64 {
    u64::try_from(number).unwrap_or(0).wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ depth.seed
}

/// The whole reshape, with a picture after every operation.
fn shoot(subject: &dyn Subject, depth: Depth) -> Result<Vec<Snapshot>, String> {
    let world = subject.world(depth.seed);
    let name = u64::from(crc32c::crc32c(subject.id().as_bytes()));
    let schedule = match (name + depth.seed) % 3 {
        0 => Schedule::LastComeFirstServed,
        _ => Schedule::FirstComeFirstServed,
    };
    let (mut frames, result) = film(&world, schedule, |mover| subject.go_on(&world, mover, &[]));
    result?;
    subject.check(&world, &mut mover(&world), &[], &[])?;
    frames.push(world.snapshot());
    Ok(frames)
}

/// What a loss of power may keep at a moment.
fn crashes(frame: &Snapshot, depth: Depth, moment: usize) -> Vec<Crash> {
    let blocks = frame.volatile_blocks();
    if blocks <= depth.subsets {
        return (0..1 << blocks).map(Crash::Blocks).collect();
    }
    let mut rng = Rng::new(seed(depth, moment));
    let seeded = (0..depth.seeded).map(|_| Crash::Seeded(rng.next_u64()));
    [Crash::DropAll, Crash::KeepAll].into_iter().chain(seeded).collect()
}

/// Tells states apart: a checksum of each disk.
pub fn print(world: &SimWorld, subject: &dyn Subject) -> Vec<u32> {
    (0..subject.disks()).map(|disk| crc32c::crc32c(&world.disk(DiskId(disk)).bytes())).collect()
}

fn pick(subject: &dyn Subject, world: &SimWorld, depth: Depth, number: usize) -> Trial {
    let mut rng = Rng::new(seed(depth, number));
    let members = u64::from(subject.disks() - 1);
    let slot = u32::try_from(rng.below(members)).unwrap_or(0);
    let other = u32::try_from(rng.below(members)).unwrap_or(0);
    let kind = rng.below(40);
    let without = |lost: &[u32], trial| {
        if subject.can_lose(world, lost) { trial } else { Trial::Plain }
    };
    let of_one = match kind {
        0..=3 => return Trial::Twice,
        4..=6 => return without(&[slot], Trial::Lost(vec![slot])),
        7 if slot != other => return without(&[slot, other], Trial::Lost(vec![slot, other])),
        8 => without(&[slot], Trial::Stale(slot)),
        9 => without(&[slot], Trial::Unreadable(slot)),
        10..=12 => Trial::Critical(slot),
        13 => Trial::BackupUnreadable,
        14..=16 => Trial::BackupDamaged(rng.pick(&Damage::ALL)),
        17..=20 => Trial::Turned,
        21 | 22 => Trial::TurnedDown,
        23 => Trial::TurnedAgain,
        _ => return Trial::Plain,
    };
    if subject.bench().is_some() { of_one } else { Trial::Plain }
}

fn recover(
    subject: &dyn Subject,
    world: &SimWorld,
    trial: &Trial,
    seed: u64,
) -> Result<(), String> {
    let bench = || subject.bench().ok_or_else(|| format!("{subject} is not one restripe"));
    match trial {
        Trial::Plain => finish(subject, world, &[], &[]),
        Trial::Lost(lost) => finish(subject, world, lost, &[]),
        Trial::Twice => {
            let again = go_down(world, seed, |mover| subject.go_on(world, mover, &[]));
            finish(subject, &again, &[], &[])
        }
        Trial::Stale(slot) => {
            let again = go_down(world, seed, |mover| subject.go_on(world, mover, &[*slot]));
            finish(subject, &again, &[], &[*slot])
        }
        Trial::Unreadable(slot) => {
            let size = world.disk(DiskId(*slot)).size();
            // Behind the superblock.
            let at = Rng::new(seed).between(32, size / 512 - 8) * 512;
            unreadable(subject, world, *slot, at)
        }
        Trial::Critical(slot) => {
            let rows = bench()?.critical_rows();
            let row = Rng::new(seed).between(rows.start, rows.end.max(rows.start + 1) - 1);
            unreadable(subject, world, *slot, row * 512)
        }
        Trial::BackupUnreadable => backups::unreadable(bench()?, world),
        Trial::BackupDamaged(damage) => backups::damaged(bench()?, world, *damage),
        Trial::Turned => {
            let bench = bench()?;
            turn(bench, world)?;
            bench.check_either(world, &mut mover(world))
        }
        Trial::TurnedDown => {
            let bench = bench()?;
            let again = go_down(world, seed, |mover| bench.turn_back(world, mover).map(|_| ()));
            bench.finish_recorded(&again, &mut mover(&again))?;
            bench.check_either(&again, &mut mover(&again))
        }
        Trial::TurnedAgain => {
            let bench = bench()?;
            let again = go_down(world, seed, |mover| bench.turn_back(world, mover).map(|_| ()));
            turn(bench, &again)?;
            bench.check_either(&again, &mut mover(&again))
        }
    }
}

/// Turns it around and goes back; where it does not turn, nothing was written.
fn turn(bench: &Bench, world: &SimWorld) -> Result<(), String> {
    let before = print(world, bench);
    match bench.turn_back(world, &mut mover(world))? {
        Turn::Back | Turn::Ended => Ok(()),
        Turn::Refused(_) if print(world, bench) != before => {
            Err("something was written before it was refused to turn".into())
        }
        Turn::Refused(_) => bench.finish_recorded(world, &mut mover(world)),
    }
}

/// Eight sectors of a member cannot be read while it is recovered: if others have what they hold it does not
/// matter, if not it is said; nothing is lost either way.
fn unreadable(subject: &dyn Subject, world: &SimWorld, slot: u32, at: u64) -> Result<(), String> {
    let fault = Fault::new(Effect::Error(Errno::IO)).kind(OpKind::Read);
    world.inject(fault.on(DiskId(slot)).within(at..at + 4096));
    let result = subject.go_on(world, &mut mover(world), &[]);
    world.clear_faults();
    match result {
        Err(error) if subject.can_lose(world, &[slot]) => {
            Err(format!("sector {} cannot be read: {error}", at / 512))
        }
        Ok(()) | Err(_) => finish(subject, world, &[], &[]),
    }
}

/// Does something until the power goes on the way.
fn go_down(
    world: &SimWorld,
    seed: u64,
    run: impl FnOnce(&mut Mover) -> Result<(), String>,
) -> SimWorld {
    let mut rng = Rng::new(seed);
    // Sooner more often than later: a recovery has some hundred operations.
    let most = rng.pick(&[60, 150, 400, 1000]);
    let operations = rng.below(most) + 1;
    let _ = run(&mut cut(world, operations));
    let again = world.snapshot().after(Crash::Seeded(rng.next_u64()), rng.next_u64());
    again.silence_trace();
    again
}

fn finish(
    subject: &dyn Subject,
    world: &SimWorld,
    lost: &[u32],
    doubtful: &[u32],
) -> Result<(), String> {
    let mut mover = mover(world);
    subject.go_on(world, &mut mover, lost)?;
    subject.check(world, &mut mover, lost, doubtful)
}
