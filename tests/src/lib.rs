//! Harness of the test suites: what more than one of them needs.
//!
//! | module | gives |
//! | --- | --- |
//! | [`binary`] | the programs, freshly built; starting, interrupting, running a program with a time limit |
//! | [`cargo`] | the C library and the examples, freshly built |
//! | [`corpus`] | arrays of the real md driver, kept small |
//! | [`data`] | bytes that follow from a seed and their position; files made of them |
//! | [`fuzzing`] | what fuzz targets run: plans and reshapes from bytes |
//! | [`golden`] | expected texts, kept as files |
//! | [`judge`] | the real mdadm and md driver, which judge arrays |
//! | [`killed`] | random reshapes that are killed at random moments |
//! | [`loopdev`] | loop devices that nobody else will be handed, detached on drop |
//! | [`members`] | arrays of the corpus as files, and `reshape` run on them |
//! | [`mount`] | small file systems on them |
//! | [`ours`] | the library `reshape` on image files |
//! | [`parallel`] | one check of many things, on all processors, with all complaints |
//! | [`pattern`] | content whose every sector says which it is |
//! | [`sim`] | runs of the engine on simulated disks, and their rules |
//! | [`tmp`] | directories on disk and in memory, removed on drop; paths in them |
//! | [`uml`] | a real kernel with its own disks, in user space |
//!
//! A helper that cannot do its work panics with what is missing and how to get it: a test never
//! passes because its surroundings were not there. What needs root calls [`require_root`], in a
//! test named `root_*`; what boots a kernel is named `kernel_*`. `tests/run` leaves these out by
//! those names when it is asked to, and only then.

pub mod binary;
pub mod cargo;
pub mod corpus;
pub mod data;
pub mod fuzzing;
pub mod golden;
pub mod judge;
pub mod killed;
pub mod loopdev;
pub mod members;
pub mod mount;
pub mod ours;
pub mod parallel;
pub mod pattern;
pub mod reshaping;
pub mod sim;
pub mod tmp;
pub mod uml;

pub use binary::{kcopy_binary, reshape_binary};

/// Panics unless the test runs as root.
///
/// # Panics
///
/// When it does not, saying how to leave such tests out.
pub fn require_root() {
    assert!(
        rustix::process::geteuid().is_root(),
        "this test needs root; run it as root, or leave out every such test with \
         `tests/run --no-root`"
    );
}

/// Whether the long forms are wanted (`tests/run --long`).
#[must_use]
pub fn is_long() -> bool {
    std::env::var_os("KCOPY_TESTS_LONG").is_some()
}

/// Does nothing for so long.
pub fn pause(time: std::time::Duration) {
    let (_sender, nothing) = std::sync::mpsc::channel::<()>();
    // Nobody sends: it always times out.
    let _ = nothing.recv_timeout(time);
}

/// The Rust of the README compiles.
#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
#[derive(Debug)]
pub struct Readme;
