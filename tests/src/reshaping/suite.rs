//! How much of it: every day, and at length.

use std::ops::Range;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use super::back::Back;
use super::bench::{Bench, Rule};
use super::case::{self, Case};
use super::chain::{self, Chain};
use super::crash::{Depth, ENOUGH, Subject, Which, one};
use super::striking;
use crate::sim::report::Report;

/// How much is looked at.
#[derive(Clone, Copy, Debug)]
pub struct Volume {
    /// How closely.
    pub depth: Depth,
    /// One state in so many, of reshapes.
    pub reshapes: usize,
    /// One state in so many, of chains: they have many.
    pub chains: usize,
    /// One state in so many, of reshapes that are turned around.
    pub turned: usize,
    /// How often, with another seed each time.
    pub rounds: u64,
    /// How many disks fail, in each reshape and chain.
    pub strikes: u64,
}

/// What is run with every `cargo test`.
pub const SHORT: Volume = Volume {
    depth: Depth { subsets: 0, seeded: 0, seed: 0 },
    reshapes: 1,
    chains: 4,
    turned: 8,
    rounds: 1,
    strikes: 3,
};
/// The everyday form.
pub const EVERYDAY: Volume = Volume {
    depth: Depth { subsets: 3, seeded: 2, seed: 0 },
    reshapes: 1,
    chains: 5,
    turned: 5,
    rounds: 1,
    strikes: 10,
};
/// The long form.
pub const LONG: Volume = Volume {
    depth: Depth { subsets: 6, seeded: 12, seed: 0 },
    reshapes: 1,
    chains: 1,
    turned: 1,
    rounds: 2,
    strikes: 200,
};

/// Looks at states of all that `prepare` makes of `list`, on all processors; nothing that is found depends on
/// them. Everything stops after `give_up` violations of one of them.
fn on_all_processors<T: Sync, S: Subject>(
    list: &[T],
    prepare: impl Fn(&T) -> S + Sync,
    (depth, which): (Depth, Which),
    give_up: u64,
) -> Report {
    let look = |item: &T| {
        let mut report = Report::default();
        one(&prepare(item), depth, which, give_up, &mut report);
        report
    };
    each(list, look, give_up)
}

/// Does something with each of `list`, on all processors.
fn each<T: Sync>(list: &[T], look: impl Fn(&T) -> Report + Sync, give_up: u64) -> Report {
    let next = AtomicUsize::new(0);
    let total = Mutex::new(Report::default());
    thread::scope(|scope| {
        for _ in 0..thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(|| {
                while let Some(item) = list.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let report = look(item);
                    let mut total = total.lock().expect("nobody panics with it");
                    total.add(report);
                    if total.is_hopeless() || (give_up == 1 && total.failures > 0) {
                        next.store(list.len(), Ordering::Relaxed);
                    }
                }
            });
        }
    });
    total.into_inner().expect("nobody panics with it")
}

/// Looks at one state in `step` of each of `cases`.
pub fn run(cases: &[Case], depth: Depth, step: usize) -> Report {
    let bench = |case: &Case| Bench::new(case, None);
    on_all_processors(cases, bench, (depth, Which::OneIn(step)), ENOUGH)
}

/// The same of each of `cases` after it was turned around on its way.
pub fn turned(cases: &[Case], depth: Depth, step: usize) -> Report {
    on_all_processors(cases, |case| Back::new(case, None), (depth, Which::OneIn(step)), ENOUGH)
}

/// Looks at `cases` without a rule, until it is missed.
pub fn without(cases: &[Case], depth: Depth, rule: Rule) -> Report {
    on_all_processors(cases, |case| Bench::new(case, rule), (depth, Which::All), 1)
}

/// The same of `cases` that are turned around.
pub fn turned_without(cases: &[Case], depth: Depth, rule: Rule) -> Report {
    on_all_processors(cases, |case| Back::new(case, rule), (depth, Which::All), 1)
}

/// Looks at one state in `step` of every chain.
pub fn chains(depth: Depth, step: usize) -> Report {
    on_all_processors(&chain::all(), Chain::clone, (depth, Which::OneIn(step)), ENOUGH)
}

/// Strikes one in `step` of all reshapes, and every chain, once for each seed.
pub fn strikes(step: usize, seeds: Range<u64>) -> Report {
    let cases: Vec<Case> = case::all().into_iter().step_by(step.max(1)).collect();
    let mut report =
        each(&cases, |case| striking::strike(&Bench::new(case, None), seeds.clone()), ENOUGH);
    report.add(each(&chain::all(), |chain| striking::strike(chain, seeds.clone()), ENOUGH));
    report
}

/// The whole matrix, and every chain.
pub fn everything(volume: Volume) -> Report {
    let mut report = Report::default();
    for seed in 0..volume.rounds {
        let depth = Depth { seed, ..volume.depth };
        report.add(run(&case::all(), depth, volume.reshapes));
        report.add(chains(depth, volume.chains));
        report.add(turned(&case::all(), depth, volume.turned));
    }
    report.add(strikes(1, 0..volume.strikes));
    report
}

/// Runs what a violation was printed with once more: `reshape:CASE:SUBSETS.SEEDED.SEED[:STATE]`, or the same
/// of a `chain` or of a reshape that goes `back`; or `strike:reshape:CASE:SEED`. `None` if that is no such name.
pub fn replay(id: &str) -> Option<Report> {
    if let Some(struck) = id.strip_prefix("strike:") {
        let subject = named(struck)?;
        let seed: u64 = struck.split(':').nth(2)?.parse().ok()?;
        return Some(striking::strike(subject.as_ref(), seed..seed + 1));
    }
    let subject = named(id)?;
    let mut parts = id.split(':').skip(2);
    let mut depth = parts.next()?.split('.');
    let subsets = depth.next()?.parse().ok()?;
    let seeded = depth.next()?.parse().ok()?;
    let depth = Depth { subsets, seeded, seed: depth.next()?.parse().ok()? };
    let only: Option<usize> = parts.next().map(str::parse).transpose().ok()?;
    let mut report = Report::default();
    one(subject.as_ref(), depth, only.map_or(Which::All, Which::Only), ENOUGH, &mut report);
    Some(report)
}

/// What a name stands for.
fn named(id: &str) -> Option<Box<dyn Subject>> {
    let mut parts = id.split(':');
    let kind = parts.next()?;
    let number: usize = parts.next()?.parse().ok()?;
    match kind {
        "reshape" => Some(Box::new(Bench::new(case::all().get(number)?, None))),
        "back" => Some(Box::new(Back::new(case::all().get(number)?, None))),
        "chain" => Some(Box::new(chain::all().into_iter().nth(number)?)),
        _ => None,
    }
}

/// The case that a name stands for, for people.
pub fn describe(id: &str) -> Option<String> {
    named(id.strip_prefix("strike:").unwrap_or(id)).map(|subject| subject.to_string())
}
