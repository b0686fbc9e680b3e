//! The command on real block devices: loop devices of both sector sizes, and what can be wrong with
//! a device.

use std::fs::File;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, symlink};
use std::path::Path;
use std::process::Command;

use rustix::fs::OFlags;
use tests::binary::{LIMIT, kcopy, run};
use tests::loopdev::{Attach, FailingDisk, LoopDevice};
use tests::mount::Mounted;
use tests::tmp::text;
use tests::{data, tmp};

fn disk(dir: &Path, name: &str, size: u64, logical_block: u32) -> LoopDevice {
    LoopDevice::create_with(dir, name, size, Attach { logical_block, ..Attach::default() })
}

fn refused(arguments: &[&str], expected: &str) {
    let done = kcopy(arguments).expect_code(2);
    assert!(done.stderr.contains(expected), "{}", done.stderr);
    assert!(done.stderr.contains("\nhint: "), "{}", done.stderr);
}

#[test]
fn root_devices_of_both_sector_sizes_are_copied_direct_and_durable() {
    let dir = tmp::on_disk();
    let size = 8 << 20;
    for block in [512, 4096] {
        let source = disk(dir.path(), "source", size, block);
        let one = disk(dir.path(), "one", size + 4096, 512);
        let two = disk(dir.path(), "two", size, 4096);
        data::overwrite(source.path(), 1, size);
        data::overwrite(one.path(), 2, size + 4096);
        let report = kcopy([
            "copy",
            "--json",
            "--verify",
            "--direct",
            "always",
            text(source.path()),
            text(one.path()),
            text(two.path()),
        ])
        .expect_code(0)
        .json();
        assert_eq!(report["direct"], true);
        assert_eq!(report["source"]["bytes_read"], size);
        data::expect_equal((source.path(), 0), (one.path(), 0), size);
        data::expect_equal((source.path(), 0), (two.path(), 0), size);
        let tail = 4096;
        let mut expected = vec![0; tail];
        data::fill(2, size, &mut expected);
        assert_eq!(data::read_at(one.path(), size, tail), expected, "the tail is kept");
    }
}

#[test]
fn root_odd_offsets_on_devices_are_byte_exact() {
    let dir = tmp::on_disk();
    let size = 4 << 20;
    let mut random = data::Random::new(3);
    for block in [512, 4096] {
        let source = disk(dir.path(), "source", size, block);
        let copy = disk(dir.path(), "copy", size, 4096);
        data::overwrite(source.path(), 1, size);
        for _ in 0..6 {
            data::overwrite(copy.path(), 2, size);
            let (skip, seek) = (random.below(9000), random.below(9000));
            let count = 1 + random.below(1 << 20);
            let [skip_text, seek_text, count_text] = [skip, seek, count].map(|n| n.to_string());
            kcopy([
                "copy",
                "-q",
                "--verify",
                "--skip",
                &skip_text,
                "--seek",
                &seek_text,
                "--count",
                &count_text,
                text(source.path()),
                text(copy.path()),
            ])
            .expect_code(0);
            data::expect_equal((source.path(), skip), (copy.path(), seek), count);
            let whole = usize::try_from(size).unwrap();
            let (before, after) = (data::bytes(2, whole), data::read_at(copy.path(), 0, whole));
            let (start, end) =
                (usize::try_from(seek).unwrap(), usize::try_from(seek + count).unwrap());
            assert!(before[..start] == after[..start] && before[end..] == after[end..]);
        }
    }
}

/// Flushes that the kernel has sent to a block device: a field of its `stat`.
fn flushes(device: &LoopDevice) -> u64 {
    let name = device.path().file_name().and_then(|name| name.to_str()).expect("a plain name");
    let stat = std::fs::read_to_string(format!("/sys/block/{name}/stat")).expect("has counters");
    stat.split_whitespace().nth(15).expect("since 5.5").parse().expect("a number")
}

#[test]
fn root_copy_is_flushed_on_each_device_unless_told_otherwise() {
    let dir = tmp::on_disk();
    let source = dir.path().join("source");
    data::write_file(&source, 1, 3 << 20);
    let devices = ["one", "two"].map(|name| disk(dir.path(), name, 4 << 20, 512));
    let [one, two] = devices.each_ref().map(|device| text(device.path()));
    let count = || devices.each_ref().map(flushes);
    let before = count();
    kcopy(["copy", "-q", "--no-flush", text(&source), one, two]).expect_code(0);
    assert_eq!(count(), before);
    kcopy(["copy", "-q", text(&source), one, two]).expect_code(0);
    let after = count();
    assert!(after[0] > before[0] && after[1] > before[1], "{before:?} {after:?}");
}

#[test]
fn root_zeros_and_holes_land_on_a_device() {
    let dir = tmp::on_disk();
    let size = 8 << 20;
    let source = dir.path().join("sparse");
    File::create(&source).unwrap().set_len(size).unwrap();
    data::overwrite_at(&source, 1, 3 << 20, 5000);
    let copy = disk(dir.path(), "copy", size, 512);
    data::overwrite(copy.path(), 2, size);
    kcopy(["copy", "-q", "--verify", text(&source), text(copy.path())]).expect_code(0);
    data::expect_equal((&source, 0), (copy.path(), 0), size);
    data::overwrite(copy.path(), 2, size);
    kcopy(["zero", "-q", "--seek", "513", "--count", "1000001", text(copy.path())]).expect_code(0);
    assert_eq!(data::read_at(copy.path(), 513, 1_000_001), vec![0; 1_000_001]);
    let whole = data::bytes(2, 2_000_000);
    assert_eq!(data::read_at(copy.path(), 0, 513), whole[..513]);
    assert_eq!(data::read_at(copy.path(), 1_000_514, 999_486), whole[1_000_514..]);
}

#[test]
fn root_unfit_devices_are_refused_without_a_trace() {
    let dir = tmp::on_disk();
    let size = 4 << 20;
    let source = disk(dir.path(), "source", size, 512);
    data::overwrite(source.path(), 1, size);
    let new = dir.path().join("new");
    let small = disk(dir.path(), "small", size - 4096, 512);
    let path = text(source.path());
    refused(&["copy", path, text(&new), text(small.path())], "too small");
    let locked = LoopDevice::create_with(
        dir.path(),
        "locked",
        size,
        Attach { read_only: true, ..Attach::default() },
    );
    refused(&["copy", path, text(&new), text(locked.path())], "read-only");
    // The file behind the source, and a second device over it.
    refused(&["copy", path, text(&new), text(source.backing())], "shares its storage");
    let twin = LoopDevice::over(source.backing(), Attach::default());
    refused(&["copy", path, text(&new), text(twin.path())], "shares its storage");
    let four = disk(dir.path(), "four", size, 4096);
    let target = text(four.path());
    refused(
        &["copy", "--direct", "always", "--seek", "512", "--count", "4096", path, target],
        "multiple of 4096",
    );
    refused(&["copy", "--direct", "always", "--count", "512", path, target], "multiple of 4096");
    assert!(!new.exists());
    assert_eq!(data::read_at(four.path(), 0, 4096), vec![0; 4096]);
}

/// It was copied as if it were an empty file.
#[test]
fn root_device_without_anything_in_it_is_refused() {
    let (dir, [new, full]) = tmp::with_paths(["new", "full"]);
    data::write_file(&full, 1, 4096);
    let nothing = disk(dir.path(), "nothing", 0, 512);
    refused(&["copy", text(nothing.path()), text(&new)], "no medium");
    refused(&["compare", text(&full), text(nothing.path())], "no medium");
    refused(&["copy", text(&full), text(&new), text(nothing.path())], "too small");
    assert!(!new.exists());
}

/// A symbolic link to a device, and a second node of it, are the device.
#[test]
fn root_device_is_known_by_each_of_its_names() {
    let dir = tmp::on_disk();
    let size = 1 << 20;
    let source = disk(dir.path(), "source", size, 512);
    let copy = disk(dir.path(), "copy", size, 512);
    let (link, node) = (dir.path().join("link"), dir.path().join("node"));
    for (device, word) in [(&source, "is the source"), (&copy, "same destination")] {
        symlink(device.path(), &link).unwrap();
        let number = device.path().metadata().unwrap().rdev();
        let (kind, mode) = (rustix::fs::FileType::BlockDevice, 0o600.into());
        rustix::fs::mknodat(rustix::fs::CWD, &node, kind, mode, number).unwrap();
        for name in [&link, &node] {
            refused(&["copy", text(source.path()), text(copy.path()), text(name)], word);
            std::fs::remove_file(name).unwrap();
        }
    }
    assert_eq!(data::read_at(copy.path(), 0, 4096), vec![0; 4096]);
}

#[test]
fn root_device_that_somebody_else_has_claimed_is_refused() {
    let (dir, [source, new]) = tmp::with_paths(["source", "new"]);
    data::write_file(&source, 1, 4096);
    let device = disk(dir.path(), "disk", 1 << 20, 512);
    let exclusive = OFlags::EXCL.bits().cast_signed();
    let claim = File::options().read(true).custom_flags(exclusive).open(device.path()).unwrap();
    refused(&["copy", text(&source), text(&new), text(device.path())], "it is in use");
    refused(&["zero", text(device.path())], "it is in use");
    assert!(!new.exists());
    drop(claim);
    kcopy(["copy", "-q", text(&source), text(device.path())]).expect_code(0);
}

#[test]
fn root_mounted_device_is_refused_by_name_of_its_place() {
    let (dir, [source]) = tmp::with_paths(["source"]);
    data::write_file(&source, 1, 4096);
    let mounted = Mounted::ext4(disk(dir.path(), "disk", 16 << 20, 512));
    let (device, place) = (text(mounted.device().path()), text(mounted.path()));
    refused(&["copy", text(&source), device], &format!("mounted on {place}"));
    refused(&["zero", device], "mounted on");
    let told = kcopy(["info", device]).expect_code(0).stdout;
    assert!(told.contains("mounted on"), "{told}");
}

#[test]
fn root_read_only_file_system_is_refused_without_a_trace() {
    let (dir, [source, new]) = tmp::with_paths(["source", "new"]);
    data::write_file(&source, 1, 4096);
    let mounted = Mounted::ext4(disk(dir.path(), "disk", 16 << 20, 512));
    let [old, missing] = ["old", "missing"].map(|name| mounted.path().join(name));
    data::write_file(&old, 2, 4096);
    let mut remount = Command::new("mount");
    run(remount.args(["-o", "remount,ro"]).arg(mounted.path()), LIMIT).expect_code(0);
    refused(&["copy", text(&source), text(&new), text(&old)], "read-only");
    refused(&["copy", text(&source), text(&new), text(&missing)], "read-only");
    assert!(!new.exists());
}

#[test]
fn root_full_disk_fails_alone_with_1_and_says_where() {
    let size = 24 << 20;
    let (dir, [source, good]) = tmp::with_paths(["source", "good"]);
    data::write_file(&source, 1, size);
    let mounted = Mounted::ext4(disk(dir.path(), "disk", 16 << 20, 512));
    let full = mounted.path().join("copy");
    for go_on in [None, Some("--continue-on-error")] {
        let mut arguments = vec!["copy", "--json", "--verify"];
        arguments.extend(go_on);
        arguments.extend([text(&source), text(&full), text(&good)]);
        let done = kcopy(arguments).expect_code(1);
        let report = done.json();
        let [failed, fine] = [0, 1].map(|index| &report["destinations"][index]);
        assert_eq!(failed["error"]["errno"], rustix::io::Errno::NOSPC.raw_os_error(), "{report}");
        let sector = failed["error"]["sector"].as_u64().unwrap();
        assert!(failed["bytes_written"].as_u64().unwrap() < size, "{report}");
        data::expect_equal((&source, 0), (&full, 0), sector * 512);
        // One message, and what to do.
        let mut said = done.stderr.lines();
        let (problem, hint) = (said.next().unwrap(), said.next().unwrap());
        let expected = format!(
            "kcopy: cannot write to {}: No space left on device at sector {sector}, after ",
            text(&full)
        );
        assert!(problem.starts_with(&expected), "{problem}");
        assert!(hint.starts_with("hint: make room "), "{hint}");
        assert!(said.all(|line| line.starts_with("note: unwritten in ")), "{}", done.stderr);
        assert!(fine["error"].is_null() && fine["bytes_written"] == size, "{report}");
        data::expect_equal((&source, 0), (&good, 0), size);
        std::fs::remove_file(&full).unwrap();
    }
}

/// A file whose holes find no room when they are to be zeros that stay.
#[test]
fn root_full_disk_is_told_by_zero_too() {
    let dir = tmp::on_disk();
    let mounted = Mounted::ext4(disk(dir.path(), "disk", 16 << 20, 512));
    let file = mounted.path().join("file");
    File::create(&file).unwrap().set_len(64 << 20).unwrap();
    let done = kcopy(["zero", text(&file)]).expect_code(1);
    assert!(done.stderr.contains("No space left on device at sector "), "{}", done.stderr);
    assert!(done.stderr.contains("hint: make room "), "{}", done.stderr);
}

#[test]
fn root_device_that_fails_is_given_up_and_the_others_are_done() {
    let (_dir, [source, good]) = tmp::with_paths(["source", "good"]);
    let size = 24 << 20;
    data::write_file(&source, 1, size);
    let (room, chunk) = (8 << 20, 4 << 20);
    let bad = FailingDisk::new(size, room);
    for more in [None, Some("--continue-on-error")] {
        let mut arguments = vec!["copy", "--json", "--verify"];
        arguments.extend(more);
        arguments.extend([text(&source), text(bad.path()), text(&good)]);
        let done = kcopy(arguments).expect_code(1);
        let report = done.json();
        let [failed, fine] = [0, 1].map(|index| &report["destinations"][index]);
        assert!(fine["error"].is_null(), "{report}");
        data::expect_equal((&source, 0), (&good, 0), size);
        // Chunks overlap: the head of one may have taken the last room before the tail of the one
        // before it did. Only what lies before the first bad sector is without gaps.
        let written = failed["bytes_written"].as_u64().unwrap();
        let first_bad = failed["error"]["sector"].as_u64().unwrap() * 512;
        assert!(chunk <= first_bad && first_bad <= written && written <= room, "{report}");
        data::expect_equal((&source, 0), (bad.path(), 0), first_bad);
        if more.is_some() {
            expect_all_but_unwritten(&report, (&source, bad.path()), (first_bad, written), size);
            assert!(done.stderr.contains("note: unwritten in"), "{}", done.stderr);
        }
    }
}

/// What is not listed as unwritten is written: no byte more, none less.
fn expect_all_but_unwritten(
    report: &serde_json::Value,
    (source, copy): (&Path, &Path),
    (first_bad, written): (u64, u64),
    size: u64,
) {
    let (mut at, mut good) = (0, 0);
    let mut expect_good = |from: u64, to: u64| {
        data::expect_equal((source, from), (copy, from), to - from);
        good += to - from;
    };
    for range in report["bad_ranges"].as_array().expect("a list") {
        assert_eq!(range["what"], "unwritten", "{report}");
        let [offset, length] =
            ["offset", "length"].map(|key| range[key].as_u64().expect("a number of bytes"));
        assert!(offset >= first_bad, "{report}");
        expect_good(at, offset);
        at = offset + length;
    }
    expect_good(at, size);
    assert_eq!(report["bad_ranges"][0]["offset"], first_bad, "{report}");
    assert_eq!(good, written, "{report}");
}

#[test]
fn root_lines_of_a_list_fail_one_by_one_though_neighbours_are_copied_as_one() {
    const GOOD: u64 = 1024;
    let (_dir, [copy, list]) = tmp::with_paths(["copy", "list"]);
    let size = 16 << 20;
    let source = FailingDisk::new(size, 32 << 20);
    data::overwrite(source.path(), 1, size);
    data::write_file(&copy, 2, size);
    source.cut_off(GOOD * 4096);
    let lines: Vec<_> = (0..GOOD + 50).map(|at| format!("{0} {0}", (at + 7) * 4096)).collect();
    std::fs::write(&list, lines.join("\n")).unwrap();
    let mut arguments = vec!["jobs", "--json", "--direct", "always", "--list", text(&list)];
    arguments.extend([text(source.path()), text(&copy)]);
    let report = kcopy(arguments).expect_code(1).json();
    assert_eq!((&report["jobs"], &report["errors"]), (&(GOOD + 50).into(), &57.into()));
    assert_eq!(report["bytes"], (GOOD - 7) * 4096);
    let failed = report["failed"].as_array().unwrap();
    let mut offsets: Vec<_> = failed.iter().map(|one| one["source_offset"].as_u64()).collect();
    offsets.sort_unstable();
    assert_eq!(offsets, (GOOD..GOOD + 57).map(|at| Some(at * 4096)).collect::<Vec<_>>());
    assert!(failed.iter().all(|one| one["length"] == 4096), "{report}");
    data::expect_equal((source.path(), 7 * 4096), (&copy, 7 * 4096), (GOOD - 7) * 4096);
    let (whole, end) = (16 << 20, (usize::try_from(GOOD).unwrap() + 57) * 4096);
    let tail = data::read_at(&copy, (GOOD + 57) * 4096, whole - end);
    assert!(tail == data::bytes(2, whole)[end..], "behind the last line nothing is written");
}

#[test]
fn root_unreadable_ranges_are_listed_and_zeros_in_the_copy() {
    let dir = tmp::on_disk();
    let copy = dir.path().join("copy");
    let size = 16 << 20;
    let source = FailingDisk::new(size, 32 << 20);
    data::overwrite(source.path(), 1, size);
    source.cut_off(4 << 20);
    // What the page cache of the device still has is read from there.
    let refused = kcopy(["copy", "--direct", "always", text(source.path()), text(&copy)]);
    assert!(refused.expect_code(1).stderr.contains("--continue-on-error"));
    let mut arguments = vec!["copy", "--json", "--direct", "always", "--verify"];
    arguments.extend(["--continue-on-error", text(source.path()), text(&copy)]);
    let report = kcopy(arguments).expect_code(1).json();
    let ranges = report["bad_ranges"].as_array().unwrap();
    assert_eq!(ranges.len(), 1, "{report}");
    assert_eq!(ranges[0]["what"], "unreadable");
    assert_eq!(ranges[0]["offset"], 4 << 20);
    assert_eq!(ranges[0]["length"], 12 << 20);
    assert_eq!(data::read_at(&copy, 0, 4 << 20), data::bytes(1, 4 << 20));
    assert_eq!(data::read_at(&copy, 4 << 20, 12 << 20), vec![0; 12 << 20]);
    for (one, other) in [(source.path(), copy.as_path()), (&copy, source.path())] {
        let done = kcopy(["compare", "--json", "--direct", "always", text(one), text(other)]);
        let done = done.expect_code(1);
        assert_eq!(done.json()["equal"], false);
        let named = format!("kcopy: cannot read {}: ", text(source.path()));
        assert!(done.stderr.starts_with(&named), "{}", done.stderr);
        assert!(
            done.stderr.contains(" at sector 8192\nhint: see what the kernel log"),
            "{}",
            done.stderr
        );
    }
}
