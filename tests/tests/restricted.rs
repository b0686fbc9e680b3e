//! `kcopy` where something is withheld: io_uring refused, little lockable memory, no root.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use tempfile::TempDir;
use tests::binary::{Finished, LIMIT, run};
use tests::{data, kcopy_binary, tmp};

const LEN: u64 = (24 << 20) + 513;
const EPERM: &str = "1";
const ENOSYS: &str = "38";
const NOBODY: &str = "65534";

/// A directory that everybody may use, with a source, and the program beside it.
struct Room {
    dir: TempDir,
}

impl Room {
    fn create() -> Self {
        let dir = tmp::on_disk();
        let everybody = std::fs::Permissions::from_mode(0o777);
        std::fs::set_permissions(dir.path(), everybody).expect("a directory of ours");
        // The build may lie where only its owner gets.
        std::fs::copy(kcopy_binary(), dir.path().join("kcopy")).expect("a copy of the program");
        data::write_file(&dir.path().join("source"), 1, LEN);
        Self { dir }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// `kcopy copy --json OPTIONS source one two`, as the last words of `prefix`.
    fn copy(&self, mut prefix: Command, options: &[&str]) -> Finished {
        prefix.arg(self.path("kcopy")).args(["copy", "--json"]).args(options);
        prefix.args(["source", "one", "two"].map(|name| self.path(name)));
        run(&mut prefix, LIMIT)
    }

    fn expect_copied(&self) {
        for name in ["one", "two"] {
            data::expect_equal((&self.path("source"), 0), (&self.path(name), 0), LEN);
        }
    }
}

fn without_io_uring(room: &Room, errno: &str) -> Command {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("helpers/without-io-uring.c");
    let program = room.path("without-io-uring");
    let mut compiler = Command::new("cc");
    let compiled = run(compiler.args(["-O1", "-Wall", "-o"]).arg(&program).arg(source), LIMIT);
    assert_eq!(compiled.code(), 0, "{}", compiled.stderr);
    let mut command = Command::new(program);
    command.arg(errno);
    command
}

/// Runs what follows as an ordinary user who may lock `bytes` of memory.
fn with_lockable_memory(bytes: u64) -> Command {
    let mut command = Command::new("prlimit");
    command.arg(format!("--memlock={bytes}:{bytes}"));
    if rustix::process::geteuid().is_root() {
        command.args(["setpriv", "--reuid", NOBODY, "--regid", NOBODY, "--clear-groups"]);
    }
    command
}

fn as_ordinary_user() -> Command {
    with_lockable_memory(8 << 20)
}

/// What only shows to a user without rights: root may read and write everything.
#[test]
fn what_a_user_may_not_touch_is_refused_without_a_trace() {
    let room = Room::create();
    let [secret, theirs, closed] = ["secret", "theirs", "closed"].map(|name| room.path(name));
    let permit = |path: &Path, mode| {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).expect("it is ours");
    };
    for path in [&secret, &theirs] {
        data::write_file(path, 2, 5000);
    }
    std::fs::create_dir(&closed).expect("a directory of ours");
    permit(&secret, 0);
    // Root's, so that others may not write; an ordinary user takes away his own right.
    permit(&theirs, if rustix::process::geteuid().is_root() { 0o644 } else { 0o444 });
    permit(&closed, 0o555);
    let (source, inside) = (room.path("source"), closed.join("new"));
    for (from, to, expected, advice) in [
        (&secret, &room.path("two"), "permission denied", "as a user who may"),
        (&source, &secret, "", ""),
        (&source, &theirs, "", ""),
        (&source, &inside, "permission denied", "a directory that you may write to"),
    ] {
        let mut command = as_ordinary_user();
        command.arg(room.path("kcopy")).args([Path::new("copy"), from, &room.path("one"), to]);
        let said = run(&mut command, LIMIT).expect_code(2).stderr;
        assert!(said.starts_with("kcopy: cannot ") && said.lines().count() == 2, "{said}");
        assert!(said.contains(expected) && said.contains(advice), "{said}");
        assert!(!room.path("one").exists() && !room.path("two").exists() && !inside.exists());
    }
    assert_eq!(data::read_at(&theirs, 0, 5000), data::bytes(2, 5000));
}

#[test]
fn refused_io_uring_means_threads() {
    for errno in [EPERM, ENOSYS] {
        let room = Room::create();
        let done = room.copy(without_io_uring(&room, errno), &[]).expect_code(0);
        assert_eq!(done.json()["backend"], "threads");
        // Said once, in one line.
        let said = &done.stderr;
        assert_eq!(said.matches("threads are used instead").count(), 1, "{said}");
        assert_eq!(said.lines().count(), 1, "{said}");
        room.expect_copied();
    }
}

#[test]
fn refused_io_uring_is_an_error_for_those_who_insist() {
    let room = Room::create();
    let done = room.copy(without_io_uring(&room, EPERM), &["--backend", "io-uring"]).expect_code(2);
    assert!(done.stderr.contains("io_uring"), "{}", done.stderr);
    assert!(!room.path("one").exists(), "a refused command creates nothing");
}

#[test]
fn little_lockable_memory_is_enough() {
    for bytes in [8 << 20, 64 << 10, 0] {
        let room = Room::create();
        let done = room.copy(with_lockable_memory(bytes), &["--pool", "16MiB"]).expect_code(0);
        assert!(done.json()["pool_peak_bytes"].as_u64().expect("a number") <= 16 << 20);
        room.expect_copied();
    }
}

/// A copy is refused rather than made through the page cache because a file could not be opened once more.
#[test]
fn too_few_descriptors_never_make_a_copy_that_is_not_direct() {
    let room = Room::create();
    let mut copied = 0;
    for count in 6..20 {
        let mut shell = Command::new("sh");
        shell.args(["-c", "ulimit -n \"$1\" && shift && exec \"$@\"", "-"]).arg(count.to_string());
        let done = room.copy(shell, &[]);
        if done.code() == 2 {
            assert!(done.stderr.contains("too many open files") || count < 8, "{}", done.stderr);
            continue;
        }
        assert_eq!(done.json()["direct"], true, "{count}: {}", done.stderr);
        copied += usize::from(done.code() == 0);
    }
    assert!(copied > 0);
    room.expect_copied();
}
