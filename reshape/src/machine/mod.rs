//! The reshape as a state machine: pure, no I/O, no clock.
mod track;
pub use track::{Direction, Rows, Track};
