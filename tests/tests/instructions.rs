//! The engine's own cost as a count of instructions: the same on every run, on any machine (N5).
//!
//! `engine_probe` (in `benches/`) is run under callgrind for two numbers of jobs; the difference of
//! the counts over the difference of the jobs is the cost of one job. The test holds it to what was
//! recorded; how far that is from the goal, the program `numbers` says.

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use tests::binary;

/// How far above the baseline a count may be, in percent.
const TOLERANCE: u64 = 3;
/// The same where the baseline is that of another compiler.
const OTHER_COMPILER: u64 = 20;
const LIMIT: Duration = Duration::from_secs(600);

#[test]
fn one_job_costs_no_more_instructions_than_recorded() {
    let (few, many) = (10_000, 30_000);
    let probe = build_probe();
    let cost = (instructions(&probe, many) - instructions(&probe, few)) / (many - few);
    println!("{cost} instructions per job");
    let (recorded, tolerance) = baseline();
    assert!(
        cost * 100 <= recorded * (100 + tolerance),
        "{cost} instructions per job; benches/baselines/instructions.txt has {recorded}"
    );
}

/// The count recorded for this compiler, or else the last one; and by how much it may be exceeded.
fn baseline() -> (u64, u64) {
    let version = Command::new("rustc").arg("--version").output().expect("rustc can be started");
    let version = String::from_utf8(version.stdout).expect("a version is text");
    let version = version.split(' ').take(2).collect::<Vec<_>>().join(" ");
    let recorded = include_str!("../../benches/baselines/instructions.txt");
    let mine = recorded.lines().find_map(|line| line.strip_prefix(version.as_str()));
    let last = || recorded.lines().last().and_then(|line| line.rsplit(' ').next());
    let (count, tolerance) = match mine {
        Some(count) => (count, TOLERANCE),
        None => (last().expect("a count is recorded"), OTHER_COMPILER),
    };
    (count.trim().parse().expect("the baseline is a number"), tolerance)
}

fn build_probe() -> PathBuf {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut build = Command::new(cargo);
    build.args(["build", "--quiet", "--release", "--package", "benches", "--bin", "engine_probe"]);
    build.args(["--message-format", "json"]).current_dir(env!("CARGO_MANIFEST_DIR"));
    let done = binary::run(&mut build, LIMIT).expect_code(0);
    let executable = done.stdout.lines().find_map(|line| {
        let message: serde_json::Value = serde_json::from_str(line).ok()?;
        message["executable"].as_str().map(PathBuf::from)
    });
    executable.expect("cargo names what it built")
}

/// Instructions of a run with this many jobs.
fn instructions(probe: &std::path::Path, jobs: u64) -> u64 {
    let found = Command::new("valgrind").arg("--version").output();
    assert!(found.is_ok(), "this test needs valgrind (Debian's package of that name)");
    let mut run = Command::new("valgrind");
    run.args(["--tool=callgrind", "--callgrind-out-file=/dev/null"]);
    let done = binary::run(run.arg(probe).arg(jobs.to_string()), LIMIT).expect_code(0);
    let collected = done.stderr.lines().find_map(|line| line.split("Collected : ").nth(1));
    collected.and_then(|count| count.trim().parse().ok()).expect("callgrind says what it collected")
}
