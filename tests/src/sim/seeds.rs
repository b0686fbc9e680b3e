//! Random runs, each twice now and then: the same seed gives the same run.

use super::generate;
use super::report::Report;
use super::run::{Rule, run};

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

/// `count` random runs from seed `first` on, in which the backend breaks.
pub fn broken(first: u64, count: u64) -> Report {
    let mut report = Report::default();
    for seed in (0..count).map(|n| first.wrapping_add(n)) {
        let scenario = generate::broken(seed);
        report.check(|| format!("broken:{seed}"), || run(&scenario, None));
        report.count("runs in which the backend breaks", 1);
        if report.is_hopeless() {
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
