//! What an md array is, how it may change, and the machine that changes it safely.
//!
//! Rooms, each of which knows only those above it in this list:
//!
//! - [`units`]: positions in the three address spaces;
//! - [`geometry`]: array sector to member sector and back, for every level and layout;
//! - [`parity`]: the arithmetic of P and Q;
//! - [`metadata`]: superblocks, bitmaps and logs as md writes them;
//! - [`mover`]: the copy engine as arrays use it;
//! - [`assemble`]: from examined devices to a verdict;
//! - [`machine`]: the order in which a reshape moves, saves and records;
//! - [`exec`]: what carries that out;
//! - [`plan`]: the steps from one array to another, with their numbers;
//! - [`salvage`]: what an interrupted reshape left, whatever its record says.

#![deny(unsafe_code)]

pub mod array;
pub mod assemble;
pub mod exec;
pub mod geometry;
pub mod machine;
pub mod metadata;
pub mod mover;
pub mod parity;
pub mod plan;
pub mod salvage;
pub mod units;
