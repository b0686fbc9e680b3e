//! The states of one case: every moment of its reshape, everything that a loss of power may keep of it,
//! and what is done with each.

use std::collections::HashSet;

use kcopy::Errno;
use kcopy::backend::sim::{
    Crash, DiskId, Effect, Fault, OpKind, Rng, Schedule, SimWorld, Snapshot,
};

use super::bench::{Bench, Rule};
use super::case::Case;
use super::power::{cut, film, mover};
use crate::sim::report::Report;

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

/// A case with so many violations is left.
const ENOUGH: u64 = 3;

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
}

impl Trial {
    fn count(&self) -> &'static str {
        match self {
            Self::Plain => "  with nothing else",
            Self::Twice => "  with a second loss of power",
            Self::Lost(_) => "  with members lost",
            Self::Stale(_) => "  with a stale member back",
            Self::Unreadable(_) => "  with sectors that cannot be read",
        }
    }
}

/// Looks at all states of `case`, or at the one with this number.
pub fn one(case: &Case, depth: Depth, only: Option<usize>, rule: Rule, report: &mut Report) {
    let id = |at: &str| {
        let Depth { subsets, seeded, seed } = depth;
        format!("reshape:{}:{subsets}.{seeded}.{seed}{at}", case.number)
    };
    let bench = Bench::new(case, rule);
    let filmed =
        report.check(|| id(""), || shoot(&bench, depth).map_err(|e| format!("{case}: {e}")));
    report.count("reshapes", 1);
    let Some(frames) = filmed else { return };
    report.count("moments", u64::try_from(frames.len()).unwrap_or(0));
    let mut seen = HashSet::new();
    for (moment, frame) in frames.iter().enumerate() {
        for crash in crashes(frame, depth, moment) {
            let world = frame.after(crash, depth.seed);
            world.silence_trace();
            if !seen.insert(print(&world, case)) {
                continue;
            }
            let number = seen.len();
            if only.is_some_and(|only| only != number) {
                continue;
            }
            let mut trial = Trial::Plain;
            report.check(
                || id(&format!(":{number}")),
                || {
                    trial = pick(case, depth, number);
                    recover(&bench, &world, &trial, seed(depth, number)).map_err(|error| {
                        format!("{case}\n  moment {moment}, {crash:?}, then {trial:?}: {error}")
                    })
                },
            );
            report.count(STATES, 1);
            report.count(trial.count(), 1);
            if report.failures >= ENOUGH || (rule.is_some() && report.failures > 0) {
                return;
            }
        }
    }
}

fn seed(depth: Depth, number: usize) -> u64 {
    u64::try_from(number).unwrap_or(0).wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ depth.seed
}

/// The whole reshape, with a picture after every operation.
fn shoot(bench: &Bench, depth: Depth) -> Result<Vec<Snapshot>, String> {
    let world = bench.world(depth.seed);
    let schedule = match (u64::try_from(bench.case.number).unwrap_or(0) + depth.seed) % 3 {
        0 => Schedule::LastComeFirstServed,
        _ => Schedule::FirstComeFirstServed,
    };
    let (mut frames, result) = film(&world, schedule, |mover| bench.go_on(&world, mover, &[]));
    result?;
    bench.check(&world, &mut mover(&world), &[], &[])?;
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
fn print(world: &SimWorld, case: &Case) -> Vec<u32> {
    (0..=case.slots()).map(|disk| crc32c::crc32c(&world.disk(DiskId(disk)).bytes())).collect()
}

fn pick(case: &Case, depth: Depth, number: usize) -> Trial {
    let mut rng = Rng::new(seed(depth, number));
    let slot = u32::try_from(rng.below(case.slots().into())).unwrap_or(0);
    let other = u32::try_from(rng.below(case.slots().into())).unwrap_or(0);
    let some = |lost: Vec<u32>, trial| {
        let there = lost.iter().all(|slot| case.missing != Some(*slot));
        if there && case.can_lose(&lost) { trial } else { Trial::Plain }
    };
    match rng.below(20) {
        0 | 1 => Trial::Twice,
        2 | 3 => some(vec![slot], Trial::Lost(vec![slot])),
        4 if slot != other => some(vec![slot, other], Trial::Lost(vec![slot, other])),
        5 => some(vec![slot], Trial::Stale(slot)),
        6 => some(vec![slot], Trial::Unreadable(slot)),
        _ => Trial::Plain,
    }
}

fn recover(bench: &Bench, world: &SimWorld, trial: &Trial, seed: u64) -> Result<(), String> {
    match trial {
        Trial::Plain => finish(bench, world, &[], &[]),
        Trial::Lost(lost) => finish(bench, world, lost, &[]),
        Trial::Twice => {
            let again = go_down(bench, world, &[], seed);
            finish(bench, &again, &[], &[])
        }
        Trial::Stale(slot) => {
            let again = go_down(bench, world, &[*slot], seed);
            finish(bench, &again, &[], &[*slot])
        }
        Trial::Unreadable(slot) => {
            let mut rng = Rng::new(seed);
            let size = world.disk(DiskId(*slot)).size();
            // Behind the superblock.
            let at = rng.between(32, size / 512 - 8) * 512;
            let fault = Fault::new(Effect::Error(Errno::IO)).kind(OpKind::Read);
            world.inject(fault.on(DiskId(*slot)).within(at..at + 4096));
            let result = bench.go_on(world, &mut mover(world), &[]);
            world.clear_faults();
            result.map_err(|error| format!("sector {} cannot be read: {error}", at / 512))?;
            finish(bench, world, &[], &[])
        }
    }
}

/// Recovers, and the power goes on the way.
fn go_down(bench: &Bench, world: &SimWorld, lost: &[u32], seed: u64) -> SimWorld {
    let mut rng = Rng::new(seed);
    // Sooner more often than later: a recovery has some hundred operations.
    let most = rng.pick(&[60, 150, 400, 1000]);
    let operations = rng.below(most) + 1;
    let _ = bench.go_on(world, &mut cut(world, operations), lost);
    let again = world.snapshot().after(Crash::Seeded(rng.next_u64()), rng.next_u64());
    again.silence_trace();
    again
}

fn finish(bench: &Bench, world: &SimWorld, lost: &[u32], doubtful: &[u32]) -> Result<(), String> {
    let mut mover = mover(world);
    bench.go_on(world, &mut mover, lost)?;
    bench.check(world, &mut mover, lost, doubtful)
}
