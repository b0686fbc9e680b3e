//! What statements about the front cost each place that it may be at. Pure.

use std::collections::BTreeMap;
use std::ops::{Range, RangeInclusive};

use super::walk::NEVER;

/// Numbers over time, constant between a few steps.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tally {
    steps: BTreeMap<u64, i64>,
}

impl Tally {
    /// Adds `count` at each of `times`.
    pub(super) fn add(&mut self, times: Range<u64>, count: i64) {
        if times.is_empty() || times.start == NEVER {
            return;
        }
        for (at, by) in [(times.start, count), (times.end, -count)] {
            let step = self.steps.entry(at).or_insert(0);
            *step += by;
            if *step == 0 {
                self.steps.remove(&at);
            }
        }
    }

    /// The number at `time`.
    pub(super) fn at(&self, time: u64) -> i64 {
        self.steps.range(..=time).map(|(_, by)| by).sum()
    }

    /// The sum over all times before `time`.
    pub(crate) fn before(&self, time: u64) -> u64 {
        let (mut sum, mut level, mut last) = (0_i64, 0_i64, 0);
        for (at, by) in self.steps.range(..time) {
            sum += level * signed(at - last);
            (level, last) = (level + by, *at);
        }
        u64::try_from(sum + level * signed(time.saturating_sub(last))).unwrap_or(0)
    }

    /// The sum over `time` and all after it, up to `end`.
    pub(crate) fn from(&self, time: u64, end: u64) -> u64 {
        self.before(end).saturating_sub(self.before(time))
    }
}

/// Times and lengths of walks are far below this: devices have less than 2^60 units.
fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// How many statements each front makes wrong.
#[derive(Clone, Debug, Default)]
pub(super) struct Costs {
    /// Wrong at time 0.
    base: i64,
    /// What each passed time adds.
    growth: Tally,
}

impl Costs {
    /// Wrong for every front that has passed the time.
    pub(super) fn not_passed(&mut self, times: Range<u64>) {
        self.growth.add(times, 1);
    }

    /// Wrong for every front that has not passed the time.
    pub(super) fn passed(&mut self, times: Range<u64>) {
        self.base += signed(times.end.saturating_sub(times.start));
        self.growth.add(times, -1);
    }

    /// Wrong for every front that has passed the first time and not the other, one by one.
    pub(super) fn between(&mut self, first: Range<u64>, other: Range<u64>) {
        self.growth.add(first, 1);
        self.growth.add(other, -1);
    }

    /// The fronts from 0 to `total` that make the fewest statements wrong, and how many these are.
    pub(super) fn best(&self, total: u64) -> (u64, Vec<RangeInclusive<u64>>) {
        let (mut cost, mut level, mut at) = (self.base, 0_i64, 0_u64);
        let mut least = i64::MAX;
        let mut found: Vec<RangeInclusive<u64>> = Vec::new();
        let steps = self.growth.steps.range(..total).map(|(at, by)| (*at, *by));
        for (next, by) in steps.chain([(total, 0)]) {
            // Between two steps the cost changes by `level` with each time: its ends are enough.
            let end = cost + level * signed(next - at);
            let flat = level == 0 && next > at;
            let candidates = if flat {
                vec![(cost, at..=next)]
            } else {
                vec![(cost, at..=at), (end, next..=next)]
            };
            for (cost, range) in candidates {
                if cost < least {
                    (least, found) = (cost, Vec::new());
                }
                if cost > least {
                    continue;
                }
                match found.last_mut() {
                    Some(last) if range.start() <= last.end() => {
                        *last = *last.start()..=*range.end().max(last.end());
                    }
                    _ => found.push(range),
                }
            }
            (cost, at, level) = (end, next, level + by);
        }
        (u64::try_from(least).unwrap_or(0), found)
    }
}
