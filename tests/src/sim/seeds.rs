//! Random runs, each twice now and then: the same seed gives the same run.

use super::generate;
use super::report::Report;
use super::run::{Rule, run};

/// Seeds that once found something, and stay.
pub const REGRESSIONS: [(u64, &str); 8] = [
    (40, "a rate with requests below 64 KiB panicked"),
    (14, "compare listed ranges that touch one by one, as its pieces ended"),
    (39, "compare counted a sector twice that two pieces share"),
    (285, "a flush that failed was not the verdict of a job that had written before it"),
    (663, "zero jobs held the pages that another waited for, and stood behind it"),
    (786, "the same without any fault"),
    (4344, "a cancelled sequential job went on writing"),
    (6047, "a completion that nobody asked for named the next operation: the simulator's bug"),
];

/// `count` random runs from seed `first` on.
pub fn everything(first: u64, count: u64, rule: Rule) -> Report {
    let mut report = Report::default();
    for seed in (0..count).map(|n| first.wrapping_add(n)) {
        one(seed, rule, &mut report);
        if report.is_hopeless() || (rule.is_some() && report.failures > 0) {
            break;
        }
    }
    report
}

/// One random run.
pub fn one(seed: u64, rule: Rule, report: &mut Report) {
    let scenario = generate::scenario(seed);
    let tally = report.check(|| seed.to_string(), || run(&scenario, rule));
    report.count("random runs", 1);
    let Some(tally) = tally else { return };
    report.count("jobs in random runs", tally.jobs);
    report.count("operations in random runs", tally.ops);
    report.count("faults in random runs", tally.faults);
    if seed.is_multiple_of(64) {
        report.check(
            || seed.to_string(),
            || match run(&scenario, rule)?.hash == tally.hash {
                true => Ok(()),
                false => Err("the same seed gave another run".into()),
            },
        );
        report.count("runs repeated, with the same trace", 1);
    }
}

/// The seeds that once found something.
pub fn regressions() -> Report {
    let mut report = Report::default();
    for (seed, _) in REGRESSIONS {
        one(seed, None, &mut report);
    }
    report
}
