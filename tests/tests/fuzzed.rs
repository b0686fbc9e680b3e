//! What the fuzz targets run, with bytes that are always the same and with fresh ones. What fails is printed as
//! hexadecimal bytes; `KCOPY_FUZZED=HEX` runs them again.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{SystemTime, UNIX_EPOCH};

use kcopy::backend::sim::Rng;
use tests::fuzzing::{self, Outcome};

/// Bytes of a run at most.
const LENGTH: u64 = 160;

#[expect(clippy::disallowed_methods, reason = "a seed that was not there before")]
fn fresh() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).map(|time| time.as_nanos());
    u64::try_from(since.unwrap_or(0) & u128::from(u64::MAX >> 16)).unwrap_or(0)
}

fn bytes(seed: u64) -> Vec<u8> {
    let mut rng = Rng::new(seed);
    let length = rng.below(LENGTH);
    (0..length).map(|_| u8::try_from(rng.below(256)).unwrap_or(0)).collect()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn unhex(text: &str) -> Vec<u8> {
    let digits = text.as_bytes().chunks(2).filter_map(|pair| std::str::from_utf8(pair).ok());
    digits.filter_map(|pair| u8::from_str_radix(pair, 16).ok()).collect()
}

/// Runs `body` on so many byte strings of fixed seeds, and on as many of fresh ones.
fn run(body: fn(&[u8]), count: u64) {
    if let Ok(text) = std::env::var("KCOPY_FUZZED") {
        return body(&unhex(&text));
    }
    let first = fresh();
    for seed in (0..count).chain(first..first + count) {
        let bytes = bytes(seed);
        let went_well = catch_unwind(AssertUnwindSafe(|| body(&bytes))).is_ok();
        let again = || format!("KCOPY_FUZZED={}", hex(&bytes));
        assert!(went_well, "seed {seed}, as told above; run it again with {}", again());
    }
}

#[test]
fn plans_of_arbitrary_arrays_agree_with_themselves_for_all() {
    run(|bytes| drop_outcome(fuzzing::plan(bytes)), if tests::is_long() { 200_000 } else { 2_000 });
}

/// What it is does not matter to [`run`].
fn drop_outcome(_: Outcome) {}

#[test]
fn arbitrary_arrays_are_often_arrays_and_their_changes_often_planned() {
    let outcomes: Vec<Outcome> = (0..2000).map(|seed| fuzzing::plan(&bytes(seed))).collect();
    let count = |wanted| outcomes.iter().filter(|outcome| **outcome == wanted).count();
    let (planned, refused) = (count(Outcome::Planned), count(Outcome::Refused));
    assert!(planned >= 40 && refused >= 200, "{planned} planned, {refused} refused");
}

#[test]
fn no_string_of_events_loses_a_reshape_for_all() {
    run(fuzzing::reshape, if tests::is_long() { 20_000 } else { 60 });
}

#[test]
fn bytes_are_told_and_read_back() {
    assert_eq!(unhex(&hex(&[0, 7, 255])), [0, 7, 255]);
}
