//! The simulation: runs of the real engine on simulated disks, and the rules that they must keep.
//!
//! | module | does |
//! | --- | --- |
//! | [`scenario`] | a run as plain data |
//! | [`generate`] | a random run from a seed |
//! | [`oracle`] | what a job should have done, naively; holds outcomes against it |
//! | [`monitor`] | rules about the order and place of operations |
//! | [`shapes`], [`failing`] | forty runs, and each of their operations failing |
//! | [`small`] | a small world, all orders of completion, all single faults |
//! | [`durable`] | power failures while flushed jobs run |
//! | [`resuming`] | power failures while a copy keeps a resume map |
//! | [`report`] | counts, violations, how to replay |
//! | [`run`] | one run, everything checked after every step |
//!
//! The invariants I1 to I14 are listed in `docs/TESTING.md`.

pub mod durable;
pub mod failing;
pub mod generate;
pub mod monitor;
pub mod oracle;
pub mod report;
pub mod resuming;
pub mod run;
pub mod scenario;
pub mod shapes;
pub mod small;
