//! Any bytes as a plan: see `tests::fuzzing::plan`, which every `cargo test` runs, too.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let _outcome = tests::fuzzing::plan(bytes);
});
