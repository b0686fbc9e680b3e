//! Counting what was tried, and naming what was wrong so that it can be tried again.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// A run that broke a rule.
#[derive(Clone, Debug)]
pub struct Violation {
    /// What replays it: the argument of `sim replay`.
    pub id: String,
    /// Which rule, and how.
    pub text: String,
}

/// What a suite tried.
#[derive(Clone, Debug, Default)]
pub struct Report {
    counts: BTreeMap<&'static str, u64>,
    /// What was wrong, the first few.
    pub violations: Vec<Violation>,
    /// How often something was wrong.
    pub failures: u64,
}

/// Violations that are kept.
const KEPT: usize = 20;

impl Report {
    /// Adds to a count.
    pub fn count(&mut self, what: &'static str, how_many: u64) {
        *self.counts.entry(what).or_default() += how_many;
    }

    /// A count.
    pub fn counted(&self, what: &str) -> u64 {
        self.counts.get(what).copied().unwrap_or(0)
    }

    /// All counts, by name.
    pub fn counts(&self) -> impl Iterator<Item = (&'static str, u64)> + '_ {
        self.counts.iter().map(|(what, count)| (*what, *count))
    }

    /// Runs something; an error or a panic becomes a violation with this `id`.
    pub fn check<T>(
        &mut self,
        id: impl FnOnce() -> String,
        run: impl FnOnce() -> Result<T, String>,
    ) -> Option<T> {
        let text = match catch_unwind(AssertUnwindSafe(run)) {
            Ok(Ok(value)) => return Some(value),
            Ok(Err(text)) => text,
            Err(panic) => format!("panic: {}", message(panic.as_ref())),
        };
        self.failures += 1;
        if self.violations.len() < KEPT {
            self.violations.push(Violation { id: id(), text });
        }
        None
    }

    /// Counts a rule that was taken away; that `found`, made without it, broke nothing is a violation.
    pub fn expect_missed(&mut self, what: &'static str, rule: &str, found: &Self) {
        self.count(what, 1);
        self.check(
            || format!("mutant ({rule})"),
            || match found.failures {
                0 => Err(format!("nothing noticed that this rule is gone: {rule}")),
                _ => Ok(()),
            },
        );
    }

    /// Takes in another report.
    pub fn add(&mut self, other: Self) {
        other.counts.into_iter().for_each(|(what, count)| self.count(what, count));
        self.failures += other.failures;
        self.violations.extend(other.violations);
        self.violations.truncate(KEPT);
    }

    /// Whether enough was wrong to stop looking.
    pub fn is_hopeless(&self) -> bool {
        self.violations.len() >= KEPT
    }

    /// Panics with everything that was wrong, and how to replay it: for tests.
    ///
    /// # Panics
    ///
    /// If something was wrong.
    pub fn expect_clean(&self) {
        let lines: Vec<String> = self.violations.iter().map(Violation::to_string).collect();
        assert!(lines.is_empty(), "{} violations:\n{}", self.failures, lines.join("\n"));
    }
}

impl std::fmt::Display for Violation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "{}\n  replay: cargo run --release -p tests --bin sim -- replay {}",
            self.text, self.id
        )
    }
}

fn message(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_string());
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_default()
}
