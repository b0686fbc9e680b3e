//! `reshape create`: on files that it makes, on devices that hold something, and what it refuses.

use tests::members::Members;

/// Names and level, layout, version, chunk in KiB, members, members that may be missing.
const SHAPES: [(&str, &str, &str, u32, usize, usize); 10] = [
    ("linear", "", "1.2", 0, 3, 0),
    ("0", "", "0.90", 4, 3, 0),
    ("1", "", "1.0", 0, 3, 2),
    ("4", "", "1.1", 64, 3, 1),
    ("5", "right-asymmetric", "1.2", 512, 4, 1),
    ("5", "ddf-N-continue", "0.90", 16, 3, 1),
    ("6", "left-symmetric-6", "1.0", 64, 5, 2),
    ("10", "n2", "1.2", 32, 4, 1),
    ("10", "f2", "1.1", 64, 5, 1),
    ("10", "o3", "0", 8, 4, 2),
];

const NAMES: [&str; 5] = ["m0", "m1", "m2", "m3", "m4"];

fn line(shape: (&str, &str, &str, u32, usize, usize)) -> String {
    let (level, layout, version, chunk, count, _) = shape;
    let mut line = format!("create -l {level} -n {count} -e {version}");
    if !layout.is_empty() {
        line = format!("{line} -p {layout}");
    }
    if chunk > 0 {
        line = format!("{line} -c {chunk}");
    }
    line
}

#[test]
fn array_on_new_files_keeps_its_content_without_the_members_that_may_be_missing() {
    for shape in SHAPES {
        let (_, _, version, chunk, count, spare) = shape;
        let mut members = Members::made_of(&NAMES[..count], 2000);
        let line = format!("{} --create-files 3MiB --json ALL", line(shape));
        let report = members.reshape(&line).expect_code(0).json();
        assert_eq!(report["state"], "clean", "{line}");
        assert_eq!(report["raid_devices"], count, "{line}");
        assert!(chunk == 0 || report["chunk_bytes"] == chunk * 1024, "{line}: {report}");
        let version = if version == "0" { "0.90" } else { version };
        assert_eq!(report["metadata"], version, "{line}");
        members.reshape("check ALL").expect_code(0);
        members.write_new_content("new");
        members.reshape("import ALL --from new --yes").expect_code(0);
        members.reshape("check ALL").expect_code(0);
        // Of RAID10 not any two: neighbours hold the same.
        for name in NAMES.iter().step_by(2).take(spare) {
            members = members.without(name);
        }
        members.reshape("export ALL --to out").expect_code(0);
        members.expect_content("out", 0, members.sectors());
    }
}

#[test]
fn initial_parity_is_computed_from_what_the_devices_hold_unless_it_is_said_to_be_right() {
    for (level, assume, code) in
        [("5", "", 0), ("6", "", 0), ("1", "", 0), ("10", "", 0), ("5", "--assume-clean", 1)]
    {
        let members = Members::made_of(&NAMES[..4], 0);
        for (seed, name) in (0..).zip(&NAMES[..4]) {
            tests::data::write_file(&members.path(name), seed, 4 << 20);
        }
        let line = format!("create -l {level} -n 4 {assume} --yes ALL");
        members.reshape(&line).expect_code(0);
        let state = members.reshape("detail ALL --json").expect_code(0).json();
        assert_eq!(state["state"], "clean", "{line}");
        members.reshape("check ALL").expect_code(code);
    }
}

#[test]
fn slots_may_be_left_empty_and_spares_wait() {
    let members = Members::made_of(&["a", "b", "c", "d"], 0);
    for name in members.names() {
        std::fs::File::create(members.path(name)).unwrap().set_len(4 << 20).unwrap();
    }
    let line = "create -l 5 -n 4 -x 1 -N host:name -b internal --json --yes a missing b c d";
    let report = members.reshape(line).expect_code(0).json();
    assert_eq!(report["state"], "degraded");
    assert_eq!(report["degraded"], 1);
    assert_eq!(report["name"], "host:name");
    let states: Vec<(&str, &str)> = report["members"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|m| (m["path"].as_str().unwrap_or("-"), m["state"].as_str().expect("a state")))
        .collect();
    let expected =
        [("a", "in_sync"), ("-", "missing"), ("b", "in_sync"), ("c", "in_sync"), ("d", "spare")];
    assert_eq!(states, expected);
    members.reshape("rebuild ALL --yes").expect_code(0);
    members.reshape("detail --test ALL").expect_code(0);
    let made = members.reshape("create -l 6 -n 4 -z max --create-files 4M --json n0 n1 missing n3");
    let report = made.expect_code(0).json();
    assert_eq!(
        (report["state"].as_str(), report["degraded"].as_u64()),
        (Some("degraded"), Some(1))
    );
    assert!(!members.path("missing").exists());
}

#[test]
fn devices_of_other_arrays_are_named_before_they_are_overwritten() {
    let members = Members::of("raid5-left-symmetric");
    let uuid = members.reshape("detail ALL --json").json()["uuid"].as_str().unwrap().to_owned();
    let cause = format!("m0 (a member of the array {uuid})");
    members.expect_refused("create -l 5 -n 4 ALL", &cause);
    members.reshape("create -l 0 -n 4 ALL --yes").expect_code(0);
    let now = members.reshape("detail ALL --json").expect_code(0).json();
    assert!(now["uuid"] != uuid.as_str() && now["level"] == "raid0", "{now}");
}

#[test]
fn what_does_not_go_together_is_refused_and_makes_no_file() {
    let members = Members::made_of(&["m0", "m1", "m2"], 0);
    for (line, cause) in [
        ("-l 6 -n 3", "cannot have 3 members"),
        ("-l 5 -n 4", "4 slots and 0 spares need 4 devices, 3 were given"),
        ("-l 5 -n 3 -x 1", "need 4 devices"),
        ("-l 0 -n 2 -x 1", "no spares"),
        ("-l 5 -n 3 -p f2", "layout f2 is not known for raid5"),
        ("-l 1 -n 3 -p ls", "no layouts"),
        ("-l 10 -n 3 -p n4", "4 copies"),
        ("-l 1 -n 3 -c 64", "no chunk"),
        ("-l 5 -n 3 -c 3", "power of two"),
        ("-l 5 -n 3 -z 1G", "room for"),
        ("-l 5 -n 3 -z 1000", "next smaller size"),
        ("-l 0 -n 3 -z 512", "component size cannot be chosen"),
        ("-l 5 -n 3 --data-offset 1", "cannot begin at"),
        ("-l 5 -n 3 -e 0.90 --data-offset 1M", "0.90 have data at the device's start"),
        ("-l 5 -n 3 -e 0.90 -N name", "no room for the name"),
        ("-l 5 -n 3 -N a-name-that-is-longer-than-32-bytes", "up to 32"),
        ("-l 0 -n 3 -b internal", "takes no bitmap"),
        ("-l 5 -n 3 --bitmap-chunk 64", "without a bitmap"),
    ] {
        members.expect_refused(&format!("create {line} --create-files 4MiB ALL"), cause);
    }
    for (line, cause) in [
        ("-l 5 -n 3 --create-files 4K ALL", "24 sectors or more"),
        ("-l 5 -n 3 --create-files 1000 ALL", "amid a sector"),
        ("-l 5 -n 3 --create-files 4M m0 missing missing", "cannot do without slots"),
        ("-l 5 -n 3 --create-files 4M m0 m1 m1", "cannot make m1: file exists"),
        ("-l 5 -n 3 --create-files 4M m0 m1 no/m2", "cannot make no/m2: no such file"),
        ("-l 5 -n 3 ALL", "cannot read m0: no such file"),
    ] {
        members.expect_refused(&format!("create {line}"), cause);
    }
    for line in [
        "-l 5",
        "-n 3",
        "-l 7 -n 3",
        "-l 5 -n 0",
        "-l 5 -n 3 -e 2.0",
        "-l 5 -n 3 -b file",
        "-l 5 -n 3 -z 9B",
    ] {
        members.reshape(&format!("create {line} ALL")).expect_code(2);
    }
    assert_eq!(members.state(), "");
}

#[test]
fn file_that_exists_is_never_made_anew() {
    let members = Members::made_of(&["m0", "m1"], 0);
    std::fs::write(members.path("m1"), "precious").unwrap();
    members.expect_refused("create -l 1 -n 2 --create-files 4M ALL", "cannot make m1: file exists");
    members.expect_refused("create -l 1 -n 2 --yes m1 m1", "it is named twice");
    members.expect_refused("create -l 1 -n 2 --yes m1 missing", "m1");
}
