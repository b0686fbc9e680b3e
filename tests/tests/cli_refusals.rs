//! Every bad input gives one clear message with what to do, the right exit code, and leaves no
//! trace: not one byte changed, no file created.

use std::collections::BTreeMap;
use std::fs::{self, File, Permissions};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use tests::binary::{LIMIT, kcopy, run, start_kcopy};
use tests::tmp::text;
use tests::{data, kcopy_binary, pause, tmp};

/// Every file below `dir` with its bytes.
fn picture(dir: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let entries = fs::read_dir(dir)
        .expect("the world of a test can be made")
        .map(|entry| entry.expect("the world of a test can be made").path());
    entries
        .map(|path| {
            let bytes = if path.is_file() {
                fs::read(&path).expect("the world of a test can be made")
            } else {
                Vec::new()
            };
            (path, bytes)
        })
        .collect()
}

/// A directory with a source of 10000 bytes, a file of 5000, and what may be wrong.
struct World {
    dir: tempfile::TempDir,
}

impl World {
    fn new() -> Self {
        let dir = tmp::on_disk();
        let at = |name: &str| dir.path().join(name);
        data::write_file(&at("source"), 1, 10_000);
        data::write_file(&at("old"), 2, 5000);
        fs::hard_link(at("source"), at("source-link")).expect("the world of a test can be made");
        symlink(at("source"), at("source-symlink")).expect("the world of a test can be made");
        fs::hard_link(at("old"), at("old-link")).expect("the world of a test can be made");
        symlink(at("old"), at("old-symlink")).expect("the world of a test can be made");
        symlink(dir.path(), at("here")).expect("the world of a test can be made");
        symlink(at("nothing"), at("dangling")).expect("the world of a test can be made");
        fs::create_dir(at("directory")).expect("the world of a test can be made");
        data::write_file(&at("read-only"), 3, 100);
        fs::set_permissions(at("read-only"), Permissions::from_mode(0o444))
            .expect("the world of a test can be made");
        rustix::fs::mkfifoat(rustix::fs::CWD, at("pipe"), 0o600.into())
            .expect("the world of a test can be made");
        fs::write(at("list"), "4000 4000 4096\n").expect("the world of a test can be made");
        fs::write(at("no-map"), "this is no map").expect("the world of a test can be made");
        fs::write(at("zeros"), [0; 5000]).expect("the world of a test can be made");
        data::write_file(&at("taken.new"), 4, 100);
        fs::write(at("mess"), "0 0 4096\n1 x\n").expect("the world of a test can be made");
        Self { dir }
    }

    /// Runs `kcopy` in the directory; it must refuse, say `expected` and what to do, and leave
    /// everything as it was.
    fn refuses(&self, line: &str, expected: &str) {
        let before = picture(self.dir.path());
        let mut command = Command::new(kcopy_binary());
        command.args(line.split(' ')).current_dir(self.dir.path());
        let done = run(&mut command, LIMIT);
        assert_eq!(done.code(), 2, "{line}\n{}{}", done.stdout, done.stderr);
        assert!(done.stderr.starts_with("kcopy: cannot "), "{line}: {}", done.stderr);
        assert!(done.stderr.contains(expected), "{line}: {}", done.stderr);
        assert!(done.stderr.contains("\nhint: "), "{line}: {}", done.stderr);
        assert_eq!(done.stderr.lines().count(), 2, "{line}: {}", done.stderr);
        assert_eq!(done.stdout, "", "{line}");
        assert!(before == picture(self.dir.path()), "{line}: something was changed");
    }
}

#[test]
fn bad_input_of_a_copy_is_refused_without_a_trace() {
    let world = World::new();
    for (line, expected) in [
        ("copy nothing new", "no such file"),
        ("copy directory new", "is a directory"),
        ("copy pipe new", "is a pipe"),
        ("copy /dev/null new", "character device"),
        ("copy /proc/version new", "does not know its size"),
        ("copy source new directory", "is a directory"),
        ("copy source new /dev/null", "character device"),
        ("copy source new source", "is the source"),
        ("copy source new source-link", "is the source"),
        ("copy source new source-symlink", "is the source"),
        ("copy source new ./new", "same destination"),
        ("copy source old new old", "same destination"),
        ("copy source old new old-link", "same destination"),
        ("copy source old new old-symlink", "same destination"),
        ("copy source new here/new", "same destination"),
        ("copy source/ new", "not a directory"),
        ("copy source new dangling", "symbolic link to nothing"),
        ("copy source new no/such/place", "there is no directory"),
        ("copy source new other/", "no such directory"),
        ("copy source new read-only", "read-only"),
        ("copy --count 0 source new", "--count is zero"),
        ("copy --skip 10000 source new", "leaves nothing"),
        ("copy --skip 1E source new", "leaves nothing"),
        ("copy --count 10001 source new", "it has 10000 bytes"),
        ("copy --skip 1 --count 10000 source new", "it has 10000 bytes"),
        ("copy --skip 1 --count 18446744073709551615 source new", "do not fit in 64 bits"),
        ("copy --seek 18446744073709551615 source new", "no file can be that long"),
        ("copy --seek 9223372036854775807 source new", "no file can be that long"),
        ("copy --direct always --skip 100 source new", "multiple of"),
        ("copy --direct always source new", "multiple of"),
        ("copy --pool 512KiB source new", "one request needs"),
        ("copy --pool 4KiB --request-size 4KiB source new", "too small"),
        ("copy --request-size 1000 source new", "requests of 1000"),
        ("copy --request-size 0 source new", "requests of 0"),
        ("copy --rate 0 source new", "0 bytes per second"),
        ("copy --map source source new", "cannot use the map source: it is the source"),
        ("copy --map source-link source new", "it is the source"),
        ("copy --map old source old", "it is a destination"),
        ("copy --map new source new", "it is a destination"),
        // The map once took the destination's place, and was removed with it.
        ("copy --map ./new source new", "cannot use the map ./new: it is a destination"),
        // A new map is made beside its place, and what lay there was lost.
        ("copy --map taken taken.new new", "cannot use the map taken.new: it is the source"),
        ("copy --map taken source taken.new", "it is a destination"),
        ("copy --map new source new.new", "cannot use the map new.new: it is a destination"),
        ("copy --map taken source new", "by that name, and it is no map"),
        ("copy --map zeros source new", "not a map"),
        ("copy --map no-map source new", "not a map"),
        ("copy --map directory source new", "no regular file"),
        ("copy --map no/such/map source new", "there is no directory"),
        ("copy --map old/map source new", "not a directory"),
        ("copy source old/new", "not a directory"),
        ("copy --pool 1E source new", "too large"),
        ("copy --pool 16GiB --request-size 8GiB source new", "requests of"),
    ] {
        world.refuses(line, expected);
    }
}

#[test]
fn bad_input_of_the_other_commands_is_refused_without_a_trace() {
    let world = World::new();
    for (line, expected) in [
        ("zero nothing", "no such file"),
        ("zero directory", "is a directory"),
        ("zero old read-only", "read-only"),
        ("zero old old-link", "same destination"),
        ("zero --count 0 old", "--count is zero"),
        ("zero --seek 5000 old", "leaves nothing"),
        ("zero --seek 1 --count 18446744073709551615 old", "cannot be as long"),
        ("compare source nothing", "no such file"),
        ("compare --count 0 source old", "--count is zero"),
        ("compare source directory", "is a directory"),
        ("compare --count 5001 source old", "it has 5000 bytes"),
        ("compare --seek 5001 source old", "behind its end"),
        ("info nothing", "no such file"),
        ("jobs --list list source old", "end behind its 5000 bytes"),
        ("jobs --list mess source old", "line 2"),
        ("jobs --list nothing source old", "cannot read the list"),
    ] {
        world.refuses(line, expected);
    }
}

#[test]
fn more_than_64_destinations_are_refused() {
    let world = World::new();
    let many: Vec<String> = (0..65).map(|index| format!("new{index}")).collect();
    world.refuses(&format!("copy source {}", many.join(" ")), "64 at most");
    let enough: Vec<PathBuf> = (0..64).map(|i| world.dir.path().join(format!("n{i}"))).collect();
    let source = world.dir.path().join("source");
    let mut arguments = vec!["copy", "-q", text(&source)];
    arguments.extend(enough.iter().map(|path| text(path)));
    kcopy(arguments).expect_code(0);
    enough.iter().for_each(|path| data::expect_equal((&source, 0), (path, 0), 10_000));
}

#[test]
fn bad_usage_is_told_with_2() {
    for line in [
        "",
        "nonsense",
        "copy",
        "copy source",
        "copy --skip x a b",
        "copy --skip 1.5G a b",
        "copy --count 16E a b",
        "copy --requests 0 a b",
        "copy --nonsense a b",
        "copy --sparse a b",
        "copy --map m --no-flush a b",
        "zero",
        "compare a",
        "jobs a b",
        "generate completions tcl",
    ] {
        let done = kcopy(line.split(' ').filter(|word| !word.is_empty())).expect_code(2);
        assert!(!done.stderr.is_empty() && !done.stderr.contains("panicked"), "{line}");
    }
}

#[test]
fn file_system_that_cannot_hold_the_size_is_told_and_nothing_stays() {
    let (_dir, [source, one, two]) = tmp::with_paths(["source", "one", "two"]);
    File::create(&source).unwrap().set_len(1 << 20).unwrap();
    data::write_file(&one, 1, 100);
    let script = "ulimit -f 100; exec \"$1\" copy \"$2\" \"$3\" \"$4\"";
    let mut shell = Command::new("sh");
    shell.args(["-c", script, "sh"]).arg(kcopy_binary()).args([&source, &one, &two]);
    let done = run(&mut shell, LIMIT).expect_code(2);
    assert!(done.stderr.contains("cannot hold a file of"), "{}", done.stderr);
    assert_eq!(one.metadata().unwrap().len(), 100);
    assert!(!two.exists());
}

/// The advice was to look into the kernel's log, which knows nothing of it.
#[test]
fn program_that_runs_is_no_destination_and_the_hint_says_why() {
    let (dir, [source]) = tmp::with_paths(["source"]);
    data::write_file(&source, 1, 10_000);
    let program = dir.path().join("program");
    // Copied by another process: a child that another test starts now would hold it open.
    let sleep = Command::new("sh")
        .args(["-c", "cp \"$(command -v sleep)\" \"$1\"", "sh"])
        .arg(&program)
        .status();
    assert!(sleep.unwrap().success());
    let running = tests::binary::start(Command::new(&program).arg("60"));
    let done = kcopy(["copy", text(&source), text(&program)]).expect_code(2);
    running.kill();
    running.finish(LIMIT);
    assert!(done.stderr.contains("hint: stop the program that runs from it"), "{}", done.stderr);
}

/// Whether a file that is not there yet takes direct I/O shows when it has been made.
#[test]
fn destinations_that_were_ready_are_put_back_when_a_later_one_cannot_be() {
    let (dir, memory) = (tmp::on_disk(), tmp::in_memory());
    let [source, short, new] = ["source", "short", "new"].map(|name| dir.path().join(name));
    data::write_file(&source, 1, 8192);
    data::write_file(&short, 2, 100);
    let last = memory.path().join("new");
    let sides = [text(&source), text(&short), text(&new), text(&last)];
    let done = kcopy([&["copy", "--direct", "always"][..], &sides[..]].concat()).expect_code(2);
    assert!(done.stderr.contains("does not take direct I/O"), "{}", done.stderr);
    assert_eq!(fs::read(&short).unwrap(), data::bytes(2, 100));
    assert!(!new.exists() && !last.exists());
}

/// Two copies that write to one file at once would make a mixture of both.
#[test]
fn destination_of_another_copy_is_refused_but_waited_for_if_it_is_free_soon() {
    use rustix::fs::{FlockOperation, flock};
    let (_dir, [source, copy, new]) = tmp::with_paths(["source", "copy", "new"]);
    data::write_file(&source, 1, 10_000);
    data::write_file(&copy, 2, 10_000);
    let other = File::open(&copy).unwrap();
    flock(&other, FlockOperation::LockExclusive).unwrap();
    for command in ["copy", "zero"] {
        let sides = [text(&source), text(&new), text(&copy)];
        let sides = if command == "zero" { &sides[2..] } else { &sides };
        let done = kcopy([&[command], sides].concat()).expect_code(2);
        assert!(done.stderr.contains("it is in use"), "{}", done.stderr);
        assert!(done.stderr.contains("hint:"), "{}", done.stderr);
        assert_eq!(data::read_at(&copy, 0, 10_000), data::bytes(2, 10_000));
    }
    assert!(!new.exists());
    std::thread::scope(|scope| {
        scope.spawn(|| kcopy(["copy", "-q", text(&source), text(&copy)]).expect_code(0));
        pause(std::time::Duration::from_millis(500));
        drop(other);
    });
    data::expect_equal((&source, 0), (&copy, 0), 10_000);
}

#[test]
fn map_of_another_copy_is_refused() {
    let (dir, [source, copy, other, map]) = tmp::with_paths(["s", "c", "o", "m"]);
    data::write_file(&source, 1, 4_000_000);
    let sides = ["--map", text(&map), text(&source), text(&copy)];
    let mut copying = start_kcopy(["copy", "--rate", "1MB"].into_iter().chain(sides));
    copying.wait_until(|| map.exists());
    copying.interrupt();
    copying.finish(LIMIT).expect_code(130);
    let refuses = |arguments: &[&str], expected: &str| {
        let mut all = vec!["copy", "--map", text(&map)];
        all.extend(arguments);
        let done = kcopy(all).expect_code(2);
        assert!(done.stderr.contains(expected), "{}", done.stderr);
        assert!(done.stderr.contains("hint:"), "{}", done.stderr);
    };
    data::write_file(&other, 1, 4_000_000);
    refuses(&[text(&source), text(&other)], "destination");
    refuses(&[text(&other), text(&copy)], "another source");
    refuses(&["--count", "5000", text(&source), text(&copy)], "bytes");
    refuses(&[text(&source), text(&copy), text(&other)], "destinations");
    fs::rename(&copy, dir.path().join("away")).unwrap();
    refuses(&[text(&source), text(&copy)], "is missing");
    fs::rename(dir.path().join("away"), &copy).unwrap();
    kcopy(["copy", "-q", "--map", text(&map), "--verify", text(&source), text(&copy)])
        .expect_code(0);
    data::expect_equal((&source, 0), (&copy, 0), 4_000_000);
    assert!(!map.exists(), "the map has served");
    data::write_file(&source, 1, 4_000_000);
}
