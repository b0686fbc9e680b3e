//! Moves to a place that overlaps their source, at any distance and in both directions, against
//! the standard library's `copy_within`.

use kcopy::backend::sim::{Fault, Rng, Schedule};
use kcopy::{Flags, OnError};

use super::report::Report;
use super::run::{Rule, run};
use super::scenario::{DiskPlan, JobPlan, Place, Scenario};

/// The move of a seed.
pub fn scenario(seed: u64) -> Scenario {
    let mut rng = Rng::new(seed ^ 0x0004_e0f5);
    let size = 48 * 4096;
    let unit = rng.pick(&[1, 512, 512, 4096]);
    let len = (unit * rng.between(1, size / unit / 2)).min(size);
    let distance = unit * rng.below((size - len) / unit + 1);
    // Often near: every distance below a few pieces.
    let distance = if rng.chance(1, 2) { distance % (4 * 4096) } else { distance };
    let (low, high) = (Place { disk: 0, offset: 0 }, Place { disk: 0, offset: distance });
    let (from, to) = if rng.chance(1, 2) { (low, high) } else { (high, low) };
    let flush = if rng.chance(1, 2) { Flags::FLUSH } else { Flags::empty() };
    let on_error = rng.pick(&[OnError::Stop, OnError::Detach, OnError::Continue]);
    let schedules =
        [Schedule::Random, Schedule::LastComeFirstServed, Schedule::FirstComeFirstServed];
    let faults = match rng.below(3) {
        0 => vec![Fault::new(kcopy::backend::sim::Effect::Short).chance(200_000)],
        _ => Vec::new(),
    };
    Scenario {
        pool_pages: rng.pick(&[2, 4, 8, 16]),
        request_size: rng.pick(&[4096, 8192, 16_384]),
        schedule: rng.pick(&schedules),
        faults,
        ..Scenario::new(
            seed,
            vec![DiskPlan::new(size, seed)],
            vec![JobPlan { flags: flush, on_error, ..JobPlan::copy(len, from, &[to]) }],
        )
    }
}

/// One move.
///
/// # Errors
///
/// What is wrong with it.
pub fn one(seed: u64, rule: Rule) -> Result<(), String> {
    let scenario = scenario(seed);
    let (_, disks) = scenario.world();
    let mut expected = disks[0].bytes();
    let job = &scenario.jobs[0];
    let index = |at: u64| usize::try_from(at).expect("small disks");
    let (from, to) = (job.sources[0].offset, job.destinations[0].0.offset);
    expected.copy_within(index(from)..index(from + job.len), index(to));
    let tally = run(&scenario, rule)?;
    if !tally.outcomes[0].is_ok() {
        return Err(format!("the move failed: {:?}", tally.outcomes[0]));
    }
    if tally.after[0] != expected {
        return Err(format!("{} bytes from {from} to {to}: not what memmove does", job.len));
    }
    Ok(())
}

/// `count` moves from seed `first` on.
pub fn everything(first: u64, count: u64, rule: Rule) -> Report {
    let mut report = Report::default();
    for seed in first..first + count {
        report.check(|| format!("move:{seed}"), || one(seed, rule));
        report.count("moves compared with memmove", 1);
        if report.is_hopeless() || (rule.is_some() && report.failures > 0) {
            break;
        }
    }
    report
}
