//! The reshape, simulated: members, superblocks and backup file on disks whose power goes at every
//! operation, and what a recovery makes of each of the states that it may leave.
//!
//! ```text
//!  Case ──▶ Bench: members as they should be ──▶ Film: one reshape, a picture after every operation
//!                                                  │  each picture: nothing, all, subsets, torn writes kept
//!                                                  ▼
//!  the new geometry, computed from scratch ◀── recovery: what `reshape continue` does, or a new start
//! ```
//!
//! | module | does |
//! | --- | --- |
//! | [`chain`] | changes of several steps: takeovers, restripes and rebuilds in a row |
//! | [`case`] | what is reshaped into what: the matrix |
//! | [`image`] | what every sector of every member has to be, computed without the code under test |
//! | [`bench`] | the disks of a case; beginning, going on, looking at the result |
//! | [`power`] | backends that take pictures or lose their power |
//! | [`crash`] | the states of one case, and what is done to each |
//! | [`back`] | reshapes that are turned around, and their states |
//! | [`backups`] | backups of no use, file systems without room |
//! | [`failing`] | writes and flushes that fail on the way |
//! | [`striking`] | a disk that fails at any moment of any command |
//! | [`mutants`] | the rules of order, taken away one at a time |
//! | [`suite`] | how much of it |

pub mod back;
pub mod backups;
pub mod bench;
pub mod case;
pub mod chain;
pub mod crash;
pub mod failing;
pub mod image;
pub mod mutants;
pub mod power;
pub mod striking;
pub mod suite;
