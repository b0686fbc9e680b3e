//! What `kcopy copy` promises beside the bytes: JSON, errors, memory, interruption.

use std::fs::File;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use tests::binary::{LIMIT, kcopy, run};
use tests::{data, kcopy_binary, tmp};

fn text(path: &Path) -> &str {
    path.to_str().expect("paths of the tests are text")
}

#[test]
fn json_has_every_promised_key() {
    let dir = tmp::on_disk();
    let [source, one, two, three] = ["s", "1", "2", "3"].map(|name| dir.path().join(name));
    let size = 5_000_000;
    data::write_file(&source, 1, size);
    for backend in ["io-uring", "threads"] {
        let report = kcopy([
            "copy",
            "--json",
            "--backend",
            backend,
            text(&source),
            text(&one),
            text(&two),
            text(&three),
        ])
        .expect_code(0)
        .json();
        assert_eq!(report["schema"], 1);
        assert_eq!(report["bytes"], size);
        assert!(report["seconds"].as_f64().unwrap() > 0.0);
        assert_eq!(report["backend"], backend);
        assert!(report["direct"].is_boolean());
        assert_eq!(report["pool_bytes"], 4 << 20);
        assert!(report["pool_peak_bytes"].as_u64().unwrap() <= 4 << 20);
        assert_eq!(report["source"]["path"], text(&source));
        assert_eq!(report["source"]["bytes_read"], size, "one read for three destinations");
        for (index, path) in [&one, &two, &three].into_iter().enumerate() {
            let destination = &report["destinations"][index];
            assert_eq!(destination["path"], text(path));
            assert_eq!(destination["bytes_written"], size);
            assert!(destination["error"].is_null());
            data::expect_equal((&source, 0), (path, 0), size);
        }
    }
}

/// What somebody changes behind the copy's back must not pass for verified.
#[test]
fn verify_finds_a_destination_that_was_changed_after_it_was_written() {
    let dir = tmp::on_disk();
    let [source, good, bad] = ["source", "good", "bad"].map(|name| dir.path().join(name));
    let size = 8 << 20;
    data::write_file(&source, 1, size);
    let mut child = Command::new(kcopy_binary())
        .args(["copy", "--json", "--verify", "--rate", "4MiB"])
        .args([&source, &good, &bad])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // Half a second of data is on its way at most: what lies a second behind is written.
    let written = |path: &Path| {
        let len = path.metadata().map_or(0, |found| found.len());
        len == size && data::read_at(path, 5 << 20, 8) == data::read_at(&source, 5 << 20, 8)
    };
    let (_sender, never) = std::sync::mpsc::channel::<()>();
    while !written(&bad) {
        assert!(child.try_wait().unwrap().is_none(), "it ended before it could be tampered with");
        let _ = never.recv_timeout(Duration::from_millis(20));
    }
    data::overwrite_at(&bad, 2, 1 << 20, 512);
    let output = child.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("reads back differently"), "{said}");
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(report["verified"], false);
    assert!(report["destinations"][0]["error"].is_null(), "{report}");
    assert_eq!(report["destinations"][1]["error"]["sector"], (1 << 20) / 512, "{report}");
    assert_eq!(report["bad_ranges"][0]["what"], "different");
    assert_eq!(report["bad_ranges"][0]["path"], text(&bad));
    data::expect_equal((&source, 0), (&good, 0), size);
}

#[test]
fn options_of_the_engine_all_give_the_same_bytes() {
    let dir = tmp::on_disk();
    let [source, copy] = ["source", "copy"].map(|name| dir.path().join(name));
    data::write_file(&source, 1, 3_333_333);
    for options in [
        "--pool 64KiB --request-size 64KiB --requests 1",
        "--pool 1MiB --request-size 4KiB --requests 100",
        "--pool 64MiB --request-size 16MiB",
        "--backend threads --direct never",
        "--sparse never --no-flush",
        "--rate 100MB",
    ] {
        let _ = std::fs::remove_file(&copy);
        let mut arguments: Vec<&str> = vec!["copy", "-q", "--verify"];
        arguments.extend(options.split(' '));
        arguments.extend([text(&source), text(&copy)]);
        kcopy(arguments).expect_code(0);
        data::expect_equal((&source, 0), (&copy, 0), 3_333_333);
    }
}

#[test]
fn memory_stays_within_the_pool_and_a_little() {
    let dir = tmp::on_disk();
    let [source, copy] = ["source", "copy"].map(|name| dir.path().join(name));
    // Sparse: what counts is the number of pieces, not the disk.
    File::create(&source).unwrap().set_len(64 << 30).unwrap();
    data::overwrite_at(&source, 1, 1 << 30, 64 << 20);
    let mut shell = Command::new("sh");
    shell.args(["-c", "ulimit -v 600000; exec \"$@\"", "sh"]).arg(kcopy_binary());
    shell.args(["copy", "-q", "--verify", text(&source), text(&copy)]);
    run(&mut shell, LIMIT).expect_code(0);
    data::expect_equal((&source, 1 << 30), (&copy, 1 << 30), 64 << 20);
}

#[test]
fn interrupted_copy_says_how_to_go_on_and_ends_with_130() {
    let dir = tmp::on_disk();
    let [source, copy] = ["source", "copy"].map(|name| dir.path().join(name));
    data::write_file(&source, 1, 20_000_000);
    let child = Command::new(kcopy_binary())
        .args(["copy", "--rate", "4MB", text(&source), text(&copy)])
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    wait(Duration::from_millis(1500));
    let pid = rustix::process::Pid::from_child(&child);
    rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(130));
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains("interrupted") && said.contains("hint:"), "{said}");
    // The hint is the truth: what it says is done, is.
    let skip: u64 =
        said.split("--skip ").nth(1).unwrap().split(' ').next().unwrap().parse().unwrap();
    assert!(skip > 0 && skip < 20_000_000, "{said}");
    data::expect_equal((&source, 0), (&copy, 0), skip);
}

/// Sleeps, without a clock of its own.
fn wait(time: Duration) {
    let (_sender, receiver) = std::sync::mpsc::channel::<()>();
    let _ = receiver.recv_timeout(time);
}

#[test]
fn source_that_shrinks_ends_the_copy_with_1() {
    let dir = tmp::on_disk();
    let [source, copy] = ["source", "copy"].map(|name| dir.path().join(name));
    data::write_file(&source, 1, 20_000_000);
    let child = Command::new(kcopy_binary())
        .args(["copy", "--rate", "10MB", "--json", text(&source), text(&copy)])
        .stderr(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    wait(Duration::from_millis(700));
    File::options().write(true).open(&source).unwrap().set_len(1_000_001).unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains("became shorter") && said.contains("hint:"), "{said}");
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert!(report["source"]["error"]["message"].is_string(), "{report}");
}

#[test]
fn closed_pipe_is_quiet_and_full_output_is_not() {
    let dir = tmp::on_disk();
    let [source, copy] = ["source", "copy"].map(|name| dir.path().join(name));
    data::write_file(&source, 1, 5000);
    let script = "\"$1\" copy --json \"$2\" \"$3\" | true; \"$1\" --help | true; \
                  \"$1\" generate completions bash | true";
    let mut shell = Command::new("sh");
    shell.args(["-c", script, "sh"]).arg(kcopy_binary()).args([&source, &copy]);
    let done = run(&mut shell, LIMIT).expect_code(0);
    assert_eq!(done.stderr, "");
    let script = "\"$1\" copy --json \"$2\" \"$3\" >/dev/full";
    let mut shell = Command::new("sh");
    shell.args(["-c", script, "sh"]).arg(kcopy_binary()).args([&source, &copy]);
    let done = run(&mut shell, LIMIT).expect_code(1);
    assert!(done.stderr.contains("cannot print the result"), "{}", done.stderr);
}

#[test]
fn progress_as_json_is_one_object_per_line() {
    let dir = tmp::on_disk();
    let [source, copy] = ["source", "copy"].map(|name| dir.path().join(name));
    data::write_file(&source, 1, 5_000_000);
    let done = kcopy(["copy", "--progress", "json", text(&source), text(&copy)]).expect_code(0);
    let last = done.stderr.lines().last().unwrap();
    for line in done.stderr.lines() {
        let line: serde_json::Value = serde_json::from_str(line).unwrap();
        assert_eq!(line["bytes_total"], 5_000_000);
    }
    assert!(last.contains("\"phase\":\"done\""), "{last}");
}

#[test]
fn quiet_says_nothing_and_colour_only_when_asked() {
    let dir = tmp::on_disk();
    let [source, copy] = ["source", "copy"].map(|name| dir.path().join(name));
    data::write_file(&source, 1, 5000);
    let done = kcopy(["copy", "-q", text(&source), text(&copy)]).expect_code(0);
    assert_eq!((done.stdout.as_str(), done.stderr.as_str()), ("", ""));
    let done = kcopy(["-qq", "copy", "nothing-here", text(&copy)]).expect_code(2);
    assert_eq!((done.stdout.as_str(), done.stderr.as_str()), ("", ""));
    let done = kcopy(["copy", "nothing-here", text(&copy)]).expect_code(2);
    assert!(!done.stderr.contains('\u{1b}'), "{}", done.stderr);
    let done = kcopy(["copy", "--color", "always", "nothing-here", text(&copy)]).expect_code(2);
    assert!(done.stderr.contains('\u{1b}'), "{}", done.stderr);
}

#[test]
fn names_with_control_characters_are_escaped() {
    let done = kcopy(["copy", "a\u{1b}[31m\nb", "x"]).expect_code(2);
    assert!(!done.stderr.contains('\u{1b}'), "{}", done.stderr);
    assert!(done.stderr.contains("\\u{1b}"), "{}", done.stderr);
    let done = kcopy(["a\u{1b}[31m"]).expect_code(2);
    assert!(!done.stderr.contains('\u{1b}'), "{}", done.stderr);
}

#[test]
fn compare_tells_ranges_and_sizes() {
    let dir = tmp::on_disk();
    let [one, two, three] = ["1", "2", "3"].map(|name| dir.path().join(name));
    data::write_file(&one, 1, 3_000_000);
    data::write_file(&two, 1, 3_000_000);
    data::write_file(&three, 1, 2_000_001);
    data::overwrite_at(&two, 9, 1_000_000, 10);
    let report =
        kcopy(["compare", "--json", text(&one), text(&two), text(&three)]).expect_code(1).json();
    assert_eq!(report["equal"], false);
    let ranges = &report["others"][0]["differences"];
    assert_eq!(ranges.as_array().unwrap().len(), 1, "{report}");
    let (offset, length) =
        (ranges[0]["offset"].as_u64().unwrap(), ranges[0]["length"].as_u64().unwrap());
    assert!(offset <= 1_000_000 && offset + length >= 1_000_010 && length <= 1024, "{report}");
    assert_eq!(report["others"][1]["size_differs"], true);
    assert_eq!(report["others"][1]["differences"].as_array().unwrap().len(), 0);
    kcopy(["compare", "--count", "1000000", text(&one), text(&two), text(&three)]).expect_code(0);
    kcopy(["compare", "--skip", "1000001", "--seek", "1000001", text(&one), text(&two)])
        .expect_code(1);
}

#[test]
fn zero_zeroes_the_region_and_nothing_else() {
    let dir = tmp::on_disk();
    let file = dir.path().join("file");
    for punch in [false, true] {
        data::write_file(&file, 1, 3_000_000);
        let mut arguments = vec!["zero", "--json", "--seek", "777", "--count", "1000001"];
        arguments.extend(punch.then_some("--punch"));
        arguments.push(text(&file));
        let report = kcopy(arguments).expect_code(0).json();
        assert_eq!(report["bytes"], 1_000_001);
        let all = data::bytes(1, 3_000_000);
        assert_eq!(data::read_at(&file, 0, 777), all[..777]);
        assert_eq!(data::read_at(&file, 777, 1_000_001), vec![0; 1_000_001]);
        assert_eq!(data::read_at(&file, 1_000_778, 1_999_222), all[1_000_778..]);
    }
}

#[test]
fn jobs_copy_what_the_list_says() {
    let dir = tmp::on_disk();
    let [source, copy, list] = ["source", "copy", "list"].map(|name| dir.path().join(name));
    data::write_file(&source, 1, 1 << 20);
    data::write_file(&copy, 2, 1 << 20);
    let mut lines = String::from("# every second block, in another place\n\n");
    for block in (0..256u64).step_by(2) {
        lines = format!("{lines}{} {} 4096\n", block * 4096, (255 - block) * 4096);
    }
    lines.push_str("1 0 7\n");
    std::fs::write(&list, lines).unwrap();
    let report = kcopy(["jobs", "--json", "--list", text(&list), text(&source), text(&copy)])
        .expect_code(0)
        .json();
    assert_eq!((&report["jobs"], &report["errors"]), (&129.into(), &0.into()));
    for block in (0..256u64).step_by(2) {
        data::expect_equal((&source, block * 4096), (&copy, (255 - block) * 4096), 4096);
    }
    data::expect_equal((&source, 1), (&copy, 0), 7);
    std::fs::write(&list, "0 0 4096\n0 1048576 1\n").unwrap();
    let done = kcopy(["jobs", "--list", text(&list), text(&source), text(&copy)]).expect_code(2);
    assert!(done.stderr.contains("copy 2 of the list"), "{}", done.stderr);
}

#[test]
fn info_tells_what_a_file_is() {
    let dir = tmp::on_disk();
    let file = dir.path().join("file");
    data::write_file(&file, 1, 12345);
    let report = kcopy(["info", "--json", text(&file)]).expect_code(0).json();
    assert_eq!(report["devices"][0]["size"], 12345);
    assert!(report["backend"].is_string());
    let told = kcopy(["info", text(&file)]).expect_code(0).stdout;
    assert!(told.contains("12345 bytes") && told.contains("backend:"), "{told}");
}
