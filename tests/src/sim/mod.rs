//! The simulation: runs of the real engine on simulated disks, and the rules that they must keep.
//!
//! | module | does |
//! | --- | --- |
//! | [`scenario`] | a run as plain data |
//! | [`oracle`] | what a job should have done, naively; holds outcomes against it |
//! | [`monitor`] | rules about the order and place of operations |
//! | [`run`] | one run, everything checked after every step |
//! | [`seeds`], [`generate`] | random runs from seeds |
//! | [`shapes`], [`failing`] | fifty runs, and each of their operations failing |
//! | [`small`] | a small world, all orders of completion, all single faults |
//! | [`moving`] | moves that overlap their source, against memmove |
//! | [`durable`] | power failures while flushed jobs run |
//! | [`resuming`] | power failures while a copy keeps a resume map |
//! | [`mutants`] | rules taken away, to see that they are missed |
//! | [`suite`], [`report`] | what is run every day; counts, violations, how to replay |
//!
//! The invariants I1 to I14 are listed in `docs/TESTING.md`.

pub mod durable;
pub mod failing;
pub mod generate;
pub mod monitor;
pub mod moving;
pub mod mutants;
pub mod oracle;
pub mod report;
pub mod resuming;
pub mod run;
pub mod scenario;
pub mod seeds;
pub mod shapes;
pub mod small;
pub mod suite;
