//! How much of it: every day, and at length.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use super::bench::Rule;
use super::case::{Case, all};
use super::crash::{Depth, one};
use crate::sim::report::Report;

/// What is run with every `cargo test`.
pub const SHORT: Depth = Depth { subsets: 0, seeded: 0, seed: 0 };
/// The everyday form.
pub const EVERYDAY: Depth = Depth { subsets: 3, seeded: 2, seed: 0 };
/// The long form.
pub const LONG: Depth = Depth { subsets: 6, seeded: 12, seed: 0 };

/// Looks at every state of `cases`, on all processors; nothing that is found depends on them.
pub fn run(cases: &[Case], depth: Depth, rule: Rule) -> Report {
    let next = AtomicUsize::new(0);
    let total = Mutex::new(Report::default());
    thread::scope(|scope| {
        for _ in 0..thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(|| {
                while let Some(case) = cases.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let mut report = Report::default();
                    one(case, depth, None, rule, &mut report);
                    let mut total = total.lock().expect("nobody panics with it");
                    total.add(report);
                    if total.is_hopeless() || (rule.is_some() && total.failures > 0) {
                        next.store(cases.len(), Ordering::Relaxed);
                    }
                }
            });
        }
    });
    total.into_inner().expect("nobody panics with it")
}

/// The whole matrix.
pub fn everything(depth: Depth) -> Report {
    run(&all(), depth, None)
}

/// Runs what a violation was printed with once more: `reshape:CASE:SUBSETS.SEEDED.SEED[:STATE]`. `None`
/// if that is no such name.
pub fn replay(id: &str) -> Option<Report> {
    let mut parts = id.strip_prefix("reshape:")?.split(':');
    let number: usize = parts.next()?.parse().ok()?;
    let mut depth = parts.next()?.split('.');
    let subsets = depth.next()?.parse().ok()?;
    let seeded = depth.next()?.parse().ok()?;
    let depth = Depth { subsets, seeded, seed: depth.next()?.parse().ok()? };
    let only = parts.next().map(str::parse).transpose().ok()?;
    let cases = all();
    let mut report = Report::default();
    one(cases.get(number)?, depth, only, None, &mut report);
    Some(report)
}

/// The case that a name stands for, for people.
pub fn describe(id: &str) -> Option<String> {
    let number: usize = id.strip_prefix("reshape:")?.split(':').next()?.parse().ok()?;
    Some(all().get(number)?.to_string())
}
