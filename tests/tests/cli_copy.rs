//! What `kcopy copy` promises beside the bytes: JSON, errors, memory, interruption.

use std::fs::File;
use std::process::Command;
use std::time::Duration;

use serde_json::json;
use tests::binary::{LIMIT, kcopy, run, start_kcopy};
use tests::tmp::text;
use tests::{data, kcopy_binary, pause, tmp};

#[test]
fn json_has_every_promised_key() {
    let (_dir, [source, one, two, three]) = tmp::with_paths(["s", "1", "2", "3"]);
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
    let (_dir, [source, good, bad]) = tmp::with_paths(["source", "good", "bad"]);
    let size = 8 << 20;
    data::write_file(&source, 1, size);
    let sides = [&source, &good, &bad].map(|path| text(path));
    let options = ["copy", "--json", "--verify", "--rate", "4MiB"];
    let mut copying = start_kcopy(options.into_iter().chain(sides));
    // Half a second of data is on its way at most: what lies a second behind is written.
    copying.wait_until(|| {
        let len = bad.metadata().map_or(0, |found| found.len());
        len == size && data::read_at(&bad, 5 << 20, 8) == data::read_at(&source, 5 << 20, 8)
    });
    data::overwrite_at(&bad, 2, 1 << 20, 512);
    let done = copying.finish(LIMIT).expect_code(1);
    assert!(done.stderr.contains("reads back differently"), "{}", done.stderr);
    let report = done.json();
    assert_eq!(report["verified"], false);
    assert!(report["destinations"][0]["error"].is_null(), "{report}");
    assert_eq!(report["destinations"][1]["error"]["sector"], (1 << 20) / 512, "{report}");
    assert_eq!(report["bad_ranges"][0]["what"], "different");
    assert_eq!(report["bad_ranges"][0]["path"], text(&bad));
    data::expect_equal((&source, 0), (&good, 0), size);
}

#[test]
fn options_of_the_engine_all_give_the_same_bytes() {
    let (_dir, [source, copy]) = tmp::with_paths(["source", "copy"]);
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
    let (_dir, [source, copy]) = tmp::with_paths(["source", "copy"]);
    // Sparse: what counts is the number of pieces, not the disk.
    File::create(&source).unwrap().set_len(32 << 30).unwrap();
    data::overwrite_at(&source, 1, 1 << 30, 64 << 20);
    for backend in ["io-uring", "threads"] {
        // All private memory that can be written: the pool of 4 MiB, and 32 MiB.
        let script = "ulimit -d $(((4 + 32) * 1024)) && exec \"$@\"";
        let mut shell = Command::new("sh");
        shell.args(["-c", script, "sh"]).arg(kcopy_binary());
        shell.args(["copy", "-q", "--verify", "--backend", backend, text(&source), text(&copy)]);
        run(&mut shell, LIMIT).expect_code(0);
        data::expect_equal((&source, 1 << 30), (&copy, 1 << 30), 64 << 20);
        std::fs::remove_file(&copy).unwrap();
    }
}

#[test]
fn interrupted_copy_says_how_to_go_on_and_ends_with_130() {
    let (_dir, [source, copy]) = tmp::with_paths(["source", "copy"]);
    data::write_file(&source, 1, 20_000_000);
    let copying = start_kcopy(["copy", "--rate", "4MB", text(&source), text(&copy)]);
    pause(Duration::from_millis(1500));
    copying.interrupt();
    let said = copying.finish(LIMIT).expect_code(130).stderr;
    assert!(said.contains("interrupted") && said.contains("hint:"), "{said}");
    // The hint is the truth: what it says is done, is.
    let skip: u64 =
        said.split("--skip ").nth(1).unwrap().split(' ').next().unwrap().parse().unwrap();
    assert!(skip > 0 && skip < 20_000_000, "{said}");
    data::expect_equal((&source, 0), (&copy, 0), skip);
}

/// The hint was to go on with `--count 0`, which is refused.
#[test]
fn interrupted_verification_says_that_all_is_copied() {
    let size = 4_000_000;
    let (_dir, [source, copy]) = tmp::with_paths(["source", "copy"]);
    data::write_file(&source, 1, size);
    let options = ["copy", "--json", "--verify", "--rate", "5MB"];
    let mut copying = start_kcopy(options.into_iter().chain([text(&source), text(&copy)]));
    let last = data::read_at(&source, size - 8, 8);
    copying.wait_until(|| {
        copy.metadata().is_ok_and(|found| found.len() == size)
            && data::read_at(&copy, size - 8, 8) == last
    });
    pause(Duration::from_millis(150));
    copying.interrupt();
    let done = copying.finish(LIMIT).expect_code(130);
    let said = &done.stderr;
    assert!(said.contains("interrupted when all of 3.81 MiB were copied"), "{said}");
    assert!(said.contains("hint: not all was read back: kcopy compare"), "{said}");
    let report = done.json();
    assert_eq!((&report["interrupted"], &report["verified"]), (&true.into(), &false.into()));
    kcopy(["compare", "-q", text(&source), text(&copy)]).expect_code(0);
}

#[test]
fn source_that_shrinks_ends_the_copy_with_1() {
    let (_dir, [source, copy]) = tmp::with_paths(["source", "copy"]);
    data::write_file(&source, 1, 20_000_000);
    let copying = start_kcopy(["copy", "--rate", "10MB", "--json", text(&source), text(&copy)]);
    pause(Duration::from_millis(700));
    File::options().write(true).open(&source).unwrap().set_len(1_000_001).unwrap();
    let done = copying.finish(LIMIT).expect_code(1);
    let said = &done.stderr;
    assert!(said.contains("became shorter") && said.contains("hint: "), "{said}");
    assert_eq!(said.lines().count(), 2, "{said}");
    let report = done.json();
    let message = report["source"]["error"]["message"].as_str().unwrap();
    assert!(message.contains("now 1000001 bytes"), "{report}");
    assert!(report["bytes"].as_u64().unwrap() < 20_000_000, "{report}");
}

/// Without the list nobody could tell what of the copies is the source's.
#[test]
fn source_that_shrinks_is_copied_up_to_its_end_and_the_rest_is_listed() {
    const MIB: u64 = 1 << 20;
    const END: u64 = 5 * MIB + 777;
    let (skip, seek, len) = (MIB, 4096, 7 * MIB);
    let (_dir, [source, old, new, map]) = tmp::with_paths(["source", "old", "new", "map"]);
    for (options, unit) in [(vec!["--map", text(&map)], 1), (vec!["--direct", "always"], 4096)] {
        data::write_file(&source, 1, 8 * MIB);
        data::write_file(&old, 2, seek + len + 777);
        let mut arguments = vec!["copy", "--json", "--continue-on-error", "--verify"];
        arguments.extend(["--rate", "5MiB", "--skip", "1MiB", "--seek", "4KiB"]);
        arguments.extend(options);
        arguments.extend([text(&source), text(&old), text(&new)]);
        let mut copying = start_kcopy(arguments);
        let first = data::read_at(&source, skip, 4096);
        copying.wait_until(|| data::read_at(&old, seek, 4096) == first);
        File::options().write(true).open(&source).unwrap().set_len(END).unwrap();
        let done = copying.finish(LIMIT).expect_code(1);
        assert!(done.stderr.contains("became shorter"), "{}", done.stderr);
        assert!(done.stderr.contains("note: vanished in "), "{}", done.stderr);
        let report = done.json();
        // Whole units of direct I/O, whatever the file system's are.
        let end = report["bad_ranges"][0]["offset"].as_u64().unwrap();
        assert!(end <= END && END - end < unit, "{report}");
        let message =
            "the source shrank while it was copied, and ended before; the copies have zeros there";
        let vanished = json!({"path": text(&source), "what": "vanished", "offset": end,
            "length": 8 * MIB - end, "message": message});
        assert_eq!(report["bad_ranges"], json!([vanished]));
        assert_eq!(report["bytes"], end - skip, "{report}");
        for (index, path) in [&old, &new].into_iter().enumerate() {
            let found = &report["destinations"][index];
            assert!(found["error"].is_null() && found["bytes_written"] == end - skip, "{report}");
            let (good, lost) = (end - skip, usize::try_from(8 * MIB - end).unwrap());
            data::expect_equal((&source, skip), (path, seek), good);
            assert!(data::read_at(path, seek + good, lost).iter().all(|byte| *byte == 0));
        }
        assert!(
            data::read_at(&old, seek + len, 777)
                == data::bytes(2, 8 << 20)[(7 << 20) + 4096..][..777]
        );
        std::fs::remove_file(&new).unwrap();
    }
    assert!(map.exists(), "what vanished is not done");
}

/// What had vanished from a hole was taken for a hole, and the copy for whole.
#[test]
fn source_that_shrinks_inside_a_hole_is_noticed() {
    const MIB: u64 = 1 << 20;
    for go_on in [None, Some("--continue-on-error")] {
        let (_dir, [source, copy]) = tmp::with_paths(["source", "copy"]);
        data::write_file(&source, 1, 3 * MIB);
        File::options().write(true).open(&source).unwrap().set_len(64 * MIB).unwrap();
        let mut arguments = vec!["copy", "--rate", "3MiB"];
        arguments.extend(go_on);
        arguments.extend([text(&source), text(&copy)]);
        let mut copying = start_kcopy(arguments);
        let first = data::read_at(&source, 0, 4096);
        let begun = || copy.exists() && data::read_at(&copy, 0, 4096) == first;
        copying.wait_until(|| copy.metadata().is_ok_and(|found| found.len() > 0) && begun());
        File::options().write(true).open(&source).unwrap().set_len(32 * MIB + 1).unwrap();
        let said = copying.finish(LIMIT).expect_code(1).stderr;
        assert!(said.contains("it had 67108864 bytes (64 MiB), now 33554433 bytes"), "{said}");
        let listed = format!("note: vanished in {}: bytes 33554433 to 67108864", text(&source));
        assert_eq!(said.contains(&listed), go_on.is_some(), "{said}");
    }
}

#[test]
fn closed_pipe_is_quiet_and_full_output_is_not() {
    let (_dir, [source, copy]) = tmp::with_paths(["source", "copy"]);
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
    let (_dir, [source, copy]) = tmp::with_paths(["source", "copy"]);
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
    let (_dir, [source, copy]) = tmp::with_paths(["source", "copy"]);
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

/// On a terminal, which `script` (of every Debian) makes.
#[test]
fn terminal_gets_colour_unless_no_color_says_otherwise() {
    let said = |no_color: &str| {
        let mut terminal = Command::new("script");
        let command = format!("'{}' copy nothing-here x", text(kcopy_binary()));
        terminal.args(["-qec", &command, "/dev/null"]);
        terminal.env("TERM", "xterm").env("NO_COLOR", no_color);
        run(&mut terminal, LIMIT).expect_code(2).stdout
    };
    let (plain, colourful) = (said("1"), said(""));
    assert!(plain.contains("hint: ") && !plain.contains('\u{1b}'), "{plain}");
    assert!(colourful.contains('\u{1b}'), "{colourful}");
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
    let (_dir, [one, two, three]) = tmp::with_paths(["1", "2", "3"]);
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
    let (_dir, [source, copy, list]) = tmp::with_paths(["source", "copy", "list"]);
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
