//! The library's examples, run as their heads say.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::{fs, iter};

use tests::binary::{Finished, LIMIT, run};
use tests::{cargo, data, tmp};

/// An odd length, of more than one part and more than one request.
const LEN: u64 = 3_000_001;

fn example(name: &str) -> Command {
    static BUILT: OnceLock<Vec<PathBuf>> = OnceLock::new();
    let built = BUILT.get_or_init(cargo::examples);
    let found = built.iter().find(|path| path.file_name().is_some_and(|file| file == name));
    Command::new(found.unwrap_or_else(|| panic!("no example {name} among {built:?}")))
}

/// Runs an example on a source and `copies` destinations, and compares them.
fn copies_with(name: &str, copies: usize) -> Finished {
    let directory = tmp::on_disk();
    let path = |name: &str| directory.path().join(name);
    data::write_file(&path("source"), 3, LEN);
    let targets: Vec<PathBuf> = (0..copies).map(|copy| path(&format!("copy-{copy}"))).collect();
    let arguments = iter::once(path("source")).chain(targets.iter().cloned());
    let done = run(example(name).args(arguments), LIMIT).expect_code(0);
    let same = |copy: &Path| fs::read(copy).ok() == fs::read(path("source")).ok();
    assert!(targets.iter().all(|copy| same(copy)), "a copy differs from its source");
    done
}

#[test]
fn example_mirror_copies_with_callbacks() {
    let done = copies_with("mirror", 3);
    assert_eq!(done.stdout.matches("3000001 bytes are written and durable\n").count(), 3);
}

#[test]
fn example_tokio_mirror_copies_and_verifies_with_futures() {
    let done = copies_with("tokio_mirror", 3);
    assert_eq!(done.stdout.matches(": 0 sectors differ\n").count(), 3);
}

#[test]
fn example_channel_collects_its_parts() {
    let done = copies_with("channel", 1);
    assert_eq!(done.stdout, "12 parts, 0 failed, durable: true\n");
}

#[test]
fn example_simulate_finds_the_missing_flush_and_nothing_else() {
    let done = run(&mut example("simulate"), LIMIT).expect_code(0);
    assert!(done.stdout.contains("flushed before the pointer: "), "{done:?}");
    assert!(done.stdout.contains(", 0 of them lost data\n"), "{done:?}");
}

#[test]
fn examples_say_what_they_want() {
    for name in ["mirror", "tokio_mirror", "channel"] {
        let done = run(&mut example(name), LIMIT).expect_code(1);
        assert!(done.stderr.contains("usage: "), "{done:?}");
    }
}
