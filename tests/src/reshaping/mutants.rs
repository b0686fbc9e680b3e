//! Are the states worth anything? One rule of order at a time is taken away, and some state must be lost.

use reshape::exec::Mutation;
use reshape::geometry::Level;
use reshape::plan::Mode;

use super::case::{Case, all};
use super::crash::Depth;
use super::suite::{turned_without, without};
use crate::sim::report::Report;

/// A rule in words, what takes it away, and the cases in which it counts.
type Mutant = (&'static str, Mutation, fn(&Case) -> bool);

/// Every rule.
const MUTANTS: [Mutant; 13] = [
    ("a backup's data is durable before its header", Mutation::BackupUnflushed, saved_and_degraded),
    (
        "a backup's header is durable before anything is overwritten",
        Mutation::HeaderUnflushed,
        saved,
    ),
    (
        "a section is free, durably, before it is used again",
        Mutation::SectionUncleared,
        saved_twice,
    ),
    ("the members' data is durable before the position", Mutation::MembersUnflushed, moved),
    ("the position is durable before old rows are overwritten", Mutation::RecordLate, moved),
    ("the position is recorded on every member", Mutation::RecordOnOne, moved),
    ("nothing is overwritten that is needed", Mutation::OverwriteEarly, moved),
    ("what was put back is durable before the position", Mutation::RestoreUnflushed, saved),
    (
        "the reshape goes on behind what was put back",
        Mutation::RestoreUnrecorded,
        saved_and_degraded,
    ),
    (
        "a critical section without a backup needs a witness",
        Mutation::GroundUnseen,
        saved_and_degraded,
    ),
    ("who fills a slot leaves when the reshape turns", Mutation::FillsStay, filled),
    ("zeros are left out where there is a hole only", Mutation::DataTakenForHole, sparse),
    ("rows are zeros where all members have holes only", Mutation::HoleHalfSeen, sparse),
];

/// The rules of turning around.
const TURNING: [Mutant; 2] = [
    ("who fills a slot that the new array needs has all of it", Mutation::FillsStay, completed),
    ("what it lacked is durable before the turn", Mutation::FillsUnflushed, completed),
];

/// How many rules there are.
pub const RULES: usize = MUTANTS.len() + TURNING.len();

/// Every subset of a few blocks, and some of more.
const DEPTH: Depth = Depth { subsets: 5, seeded: 8, seed: 1 };

fn is_five(case: &Case) -> bool {
    case.level == Level::Raid5 && case.disks.0 + case.disks.1 <= 8
}

fn moved(case: &Case) -> bool {
    is_five(case) && case.mode == Mode::DataOffset
}

fn saved(case: &Case) -> bool {
    is_five(case) && case.mode == Mode::BackupFile
}

fn saved_and_degraded(case: &Case) -> bool {
    saved(case) && case.missing.is_some()
}

fn filled(case: &Case) -> bool {
    case.fill.is_some_and(|slot| case.can_lose(&[slot]))
}

fn completed(case: &Case) -> bool {
    case.fill.is_some_and(|slot| !case.can_lose(&[slot]))
}

fn sparse(case: &Case) -> bool {
    case.sparse
}

/// The section is used more than once.
fn saved_twice(case: &Case) -> bool {
    saved(case) && case.disks.0 == case.disks.1 && case.section == Some(1)
}

/// Takes every rule away, one at a time: a rule whose absence is not noticed is a violation.
pub fn everything() -> Report {
    let mut report = Report::default();
    let cases = all();
    let those = |counts: fn(&Case) -> bool| -> Vec<Case> {
        cases.iter().filter(|case| counts(case)).cloned().collect()
    };
    for (rule, mutation, counts) in MUTANTS {
        let found = without(&those(counts), DEPTH, Some(mutation));
        report.expect_missed("rules of reshapes taken away", rule, &found);
    }
    for (rule, mutation, counts) in TURNING {
        let found = turned_without(&those(counts), DEPTH, Some(mutation));
        report.expect_missed("rules of reshapes taken away", rule, &found);
    }
    report
}
