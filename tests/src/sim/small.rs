//! A world so small that everything that can happen in it is tried: one source, two destinations,
//! three pieces, a pool of two pieces. All orders of completion, with every single fault.

use kcopy::backend::sim::{Fault, Schedule};
use kcopy::{Flags, OnError};

use super::failing::EFFECTS;
use super::report::Report;
use super::run::{Rule, run};
use super::scenario::{DiskPlan, JobPlan, Place, Scenario};

const PIECE: u64 = 4096;

/// The ways in which the job is done, by name.
const WAYS: [(&str, Flags, OnError); 5] = [
    ("plain", Flags::NO_ISOLATION, OnError::Stop),
    ("flush", Flags::NO_ISOLATION.union(Flags::FLUSH), OnError::Stop),
    ("detach", Flags::NO_ISOLATION.union(Flags::FLUSH), OnError::Detach),
    ("continue", Flags::NO_ISOLATION, OnError::Continue),
    ("sequential", Flags::NO_ISOLATION.union(Flags::SEQUENTIAL), OnError::Stop),
];

/// The effects that are tried on every operation.
const FAULTS: [&str; 3] = ["eio", "short", "zero"];

fn scenario(way: &str, fault: Option<(&str, u64)>) -> Option<Scenario> {
    let (_, flags, on_error) = WAYS.into_iter().find(|(name, _, _)| *name == way)?;
    let disks = (0..3).map(|index| DiskPlan::new(8 * PIECE, index + 1)).collect();
    let at = |disk: usize| Place { disk, offset: PIECE };
    let job = JobPlan { flags, on_error, ..JobPlan::copy(3 * PIECE, at(0), &[at(1), at(2)]) };
    let effect = |name: &str| EFFECTS.iter().find(|(other, _)| *other == name).map(|(_, e)| *e);
    let faults = match fault {
        Some((name, op)) => vec![Fault::new(effect(name)?).at(op)],
        None => Vec::new(),
    };
    Some(Scenario {
        pool_pages: 2,
        request_size: 4096,
        faults,
        ..Scenario::new(1, disks, vec![job])
    })
}

/// The script that follows `script` in the order of all scripts, given how many choices there were.
fn next(script: &[usize], fanout: &[usize]) -> Option<Vec<usize>> {
    let chosen = |at: usize| script.get(at).copied().unwrap_or(0);
    let at = (0..fanout.len()).rev().find(|at| chosen(*at) + 1 < fanout[*at])?;
    let mut next: Vec<usize> = (0..at).map(chosen).collect();
    next.push(chosen(at) + 1);
    Some(next)
}

/// Tries everything. A broken `rule` ends it at the first violation.
pub fn everything(rule: Rule) -> Report {
    let mut report = Report::default();
    for (way, _, _) in WAYS {
        let clean = orders(way, None, rule, &mut report);
        for fault in FAULTS {
            for op in 0..clean {
                if report.is_hopeless() || (rule.is_some() && report.failures > 0) {
                    return report;
                }
                orders(way, Some((fault, op)), rule, &mut report);
            }
        }
    }
    report
}

/// All orders of completion; returns the most operations that one of them had.
fn orders(way: &str, fault: Option<(&str, u64)>, rule: Rule, report: &mut Report) -> u64 {
    let mut ops = 0;
    let mut script = Some(Vec::new());
    while let Some(choices) = script.take() {
        let Some(plain) = scenario(way, fault) else { return ops };
        let scenario = Scenario { schedule: Schedule::Script(choices.clone()), ..plain };
        let id = || id_of(way, fault, &choices);
        let tally = report.check(id, || run(&scenario, rule));
        report.count("orders of the small world", 1);
        let Some(tally) = tally else { return ops };
        ops = ops.max(tally.ops);
        script = next(&choices, &tally.fanout);
    }
    ops
}

fn id_of(way: &str, fault: Option<(&str, u64)>, script: &[usize]) -> String {
    let script: Vec<String> = script.iter().map(usize::to_string).collect();
    let (fault, op) = fault.unwrap_or(("none", 0));
    format!("small:{way}:{fault}:{op}:{}", script.join("."))
}

/// The run that an id `small:WAY:FAULT:OP:SCRIPT` names.
pub fn find(id: &str) -> Option<Scenario> {
    let parts: Vec<&str> = id.split(':').collect();
    let ["small", way, fault, op, script] = parts[..] else { return None };
    let fault = if fault == "none" { None } else { Some((fault, op.parse().ok()?)) };
    let choices = script.split('.').filter_map(|choice| choice.parse().ok()).collect();
    Some(Scenario { schedule: Schedule::Script(choices), ..scenario(way, fault)? })
}
