//! Shared parts of the benchmarks.
//!
//! | module | gives |
//! | --- | --- |
//! | [`workload`] | a stream of 4 KiB jobs that never touch one another, kept at a fixed depth |
//! | [`counts`] | what can be counted: bytes, pages, allocations, operations |
//! | [`timed`](mod@timed) | what has to be timed: rates, lateness, throttle |
//! | [`nop`] | a backend of io_uring requests that do nothing |
//! | [`reference`](mod@reference) | the simplest io_uring copier: the mark to measure against |
//! | [`threads`] | the simplest copier with threads |
//! | [`ring`] | the io_uring under both |
//! | [`stripe`] | the blocks of a stripe, for parity |
//! | [`isal`] | libisal, if it is installed: the mark for parity |
#![deny(unsafe_code)]

pub mod counts;
pub mod isal;
pub mod nop;
pub mod reference;
pub mod ring;
pub mod stripe;
pub mod threads;
pub mod timed;
pub mod workload;
