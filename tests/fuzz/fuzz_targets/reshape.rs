//! Any bytes as a reshape: see `tests::fuzzing::reshape`, which every `cargo test` runs, too.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| tests::fuzzing::reshape(bytes));
