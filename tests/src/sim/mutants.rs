//! Is the simulation worth anything? One rule of order at a time is taken away, and the part that
//! watches over it must notice.

use kcopy::engine::Mutation as EngineRule;
use kcopy::resume::Mutation as MapRule;

use super::report::Report;
use super::{durable, moving, resuming, seeds};

/// A rule, and what looks for its violation.
type Mutant = (&'static str, fn() -> Report);

/// Every rule.
pub const MUTANTS: [Mutant; 11] = [
    ("the callback comes after the flush", || {
        durable::everything(1, 1_000_000, Some(EngineRule::CallbackBeforeFlush))
    }),
    ("the flush comes after the writes", || {
        durable::everything(1, 1_000_000, Some(EngineRule::FlushBeforeWrites))
    }),
    ("overlapping writes wait for earlier reads", || {
        moving::everything(1, 5000, Some(EngineRule::OverlapUngated))
    }),
    ("overlapping moves go in the safe direction", || {
        moving::everything(1, 5000, Some(EngineRule::OverlapForward))
    }),
    ("sequential writes wait for each other", || {
        seeds::everything(1, 5000, Some(EngineRule::SequentialUngated))
    }),
    ("destinations are flushed before the map is written", || {
        resuming::everything(1, 5_000_000, Some(MapRule::NoDestinationFlush))
    }),
    ("a flush covers only what was copied before it", || {
        resuming::everything(1, 5_000_000, Some(MapRule::ClaimDuringFlush))
    }),
    ("the map is flushed before its next record is written", || {
        resuming::everything(1, 5_000_000, Some(MapRule::NoMapFlush))
    }),
    ("the older record is overwritten", || {
        resuming::everything(1, 5_000_000, Some(MapRule::OverwriteNewest))
    }),
    ("a chunk that failed is not claimed", || {
        resuming::everything(11, 5_000_000, Some(MapRule::ClaimFailed))
    }),
    ("a map that was read is made durable first", || {
        resuming::everything(1, 20_000_000, Some(MapRule::NoOpening))
    }),
];

/// Takes every rule away, one at a time: a rule whose absence is not noticed is a violation.
pub fn everything() -> Report {
    let mut report = Report::default();
    for (rule, look) in MUTANTS {
        report.expect_missed("rules taken away", rule, &look());
    }
    report
}
