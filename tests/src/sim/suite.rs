//! What is run every day, what is run at night, and how a run is found again by its name.

use std::thread;

use super::report::Report;
use super::run::run;
use super::scenario::Scenario;
use super::{durable, failing, generate, moving, mutants, resuming, seeds, small};

/// How much of everything.
#[derive(Clone, Copy, Debug)]
pub struct Volume {
    /// The first seed.
    pub first: u64,
    /// Random runs.
    pub seeds: u64,
    /// Rounds of failing every operation, each with other schedules.
    pub failing: u64,
    /// Crash states of flushed jobs.
    pub durable: u64,
    /// Crash states of resume maps.
    pub maps: u64,
    /// Moves.
    pub moves: u64,
}

/// The everyday run: the counts of the test plan, in a few minutes.
pub const EVERYDAY: Volume =
    Volume { first: 0, seeds: 12_000, failing: 2, durable: 200_000, maps: 1_000_000, moves: 5_000 };

/// The long form: hours.
pub const LONG: Volume = Volume {
    first: 0,
    seeds: 10_000_000,
    failing: 200,
    durable: 50_000_000,
    maps: 200_000_000,
    moves: 2_000_000,
};

impl Volume {
    /// A short run with these seeds.
    pub fn short(first: u64) -> Self {
        Self { first, seeds: 2_000, failing: 0, durable: 20_000, maps: 50_000, moves: 500 }
    }
}

/// Runs everything, on two threads; nothing that is found depends on them.
pub fn everything(volume: Volume) -> Report {
    let first = volume.first;
    let mut report = thread::scope(|scope| {
        let other = scope.spawn(move || {
            let mut report = seeds::everything(first, volume.seeds, None);
            report.add(seeds::broken(first, volume.seeds / 4));
            report.add(moving::everything(first, volume.moves, None));
            report.add(failing::everything(volume.failing));
            report
        });
        let mut report = durable::everything(first, volume.durable, None);
        report.add(resuming::everything(first, volume.maps, None));
        if volume.failing > 0 {
            report.add(small::everything(None));
        }
        match other.join() {
            Ok(more) => report.add(more),
            Err(panic) => std::panic::resume_unwind(panic),
        }
        report
    });
    if volume.failing > 0 {
        report.add(mutants::everything());
    }
    report
}

/// Runs what a name stands for once more: a seed, or what a violation was printed with. `None` if
/// there is no such run.
pub fn replay(id: &str) -> Option<Report> {
    let mut report = Report::default();
    let seed_of = |kind: &str| id.strip_prefix(kind).and_then(|seed| seed.parse::<u64>().ok());
    if let Some(seed) = seed_of("durable:") {
        durable::one(seed, None, &mut report);
    } else if let Some(seed) = seed_of("resume:") {
        resuming::one(seed, None, &mut report);
    } else if let Some(seed) = seed_of("move:") {
        report.check(|| id.to_string(), || moving::one(seed, None));
    } else {
        let scenario = find(id)?;
        report.check(|| id.to_string(), || run(&scenario, None));
    }
    Some(report)
}

/// The options of the run that a name stands for, for people.
pub fn describe(id: &str) -> Option<String> {
    let seed_of = |kind: &str| id.strip_prefix(kind).and_then(|seed| seed.parse::<u64>().ok());
    if let Some(seed) = seed_of("durable:") {
        return Some(format!("{:#?}", durable::scenario(seed)));
    }
    if let Some(seed) = seed_of("resume:") {
        return Some(format!("{:#?}", resuming::plan(seed)));
    }
    if let Some(seed) = seed_of("move:") {
        return Some(format!("{:#?}", moving::scenario(seed)));
    }
    Some(format!("{:#?}", find(id)?))
}

fn find(id: &str) -> Option<Scenario> {
    let by_name = failing::find(id).or_else(|| small::find(id));
    let broken = || id.strip_prefix("broken:")?.parse().ok().map(generate::broken);
    by_name.or_else(broken).or_else(|| id.parse().ok().map(generate::scenario))
}
