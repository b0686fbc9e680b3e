//! Bad input of every kind: one message, exit 2, and nothing written by any command.

use std::fs::{self, File};

use tests::members::Members;

/// Commands that take an array; `NEW` is a file beside it.
const COMMANDS: [&str; 6] = [
    "detail ALL",
    "export ALL --to out",
    "import ALL --from NEW --yes",
    "check ALL",
    "check ALL --repair --yes",
    "rebuild ALL --add NEW --yes",
];

/// An array that is as it should be, and a file of the size of its members beside it.
fn array() -> Members {
    let members = Members::of("raid5-left-symmetric");
    let size = fs::metadata(members.path("m0")).expect("m0 is there").len();
    File::create(members.path("NEW")).and_then(|file| file.set_len(size)).expect("a file");
    members
}

/// Every command refuses `all` as members.
fn expect_all_refuse(members: &Members, all: &str, cause: &str) {
    for command in COMMANDS {
        members.expect_refused(&command.replace("ALL", all), cause);
    }
}

#[test]
fn member_that_was_cut_off_is_refused() {
    let members = array();
    let file = File::options().write(true).open(members.path("m1")).unwrap();
    file.set_len(5 << 20).unwrap();
    expect_all_refuse(&members, "m0 m1 m2 m3", "m1 is too short");
    file.set_len(0).unwrap();
    expect_all_refuse(&members, "m0 m1 m2 m3", "m1");
}

#[test]
fn two_arrays_are_not_mixed() {
    let members = array();
    let other = Members::of("raid5-right-symmetric");
    fs::copy(other.path("m1"), members.path("other")).unwrap();
    let uuid = |members: &Members, name: &str| {
        let report = members.reshape(&format!("detail {name} --json")).expect_code(0).json();
        report["uuid"].as_str().expect("a uuid").to_owned()
    };
    let (one, two) = (uuid(&members, "m0"), uuid(&members, "other"));
    assert_ne!(one, two);
    expect_all_refuse(&members, "m0 other m2 m3", &format!("other to array {two}"));
}

#[test]
fn member_is_named_once_by_whatever_name() {
    let members = array();
    fs::hard_link(members.path("m1"), members.path("hard")).unwrap();
    std::os::unix::fs::symlink("m1", members.path("soft")).unwrap();
    expect_all_refuse(&members, "m0 m1 m2 m1", "m1: it is named twice");
    expect_all_refuse(&members, "m0 m1 m2 hard", "hard: it is the same device as m1");
    expect_all_refuse(&members, "m0 m1 m2 soft", "soft: it is the same device as m1");
    fs::copy(members.path("m1"), members.path("copy")).unwrap();
    expect_all_refuse(&members, "m0 m1 copy", "m1 and copy are the same member");
}

#[test]
fn device_without_a_superblock_or_with_a_damaged_one_is_refused() {
    let members = array();
    fs::copy(members.path("m1"), members.path("saved")).unwrap();
    members.patch("m1", 4096, &[0; 4096]);
    expect_all_refuse(&members, "m0 m1 m2 m3", "m1");
    fs::copy(members.path("saved"), members.path("m1")).unwrap();
    // The number of events.
    members.patch("m1", 4096 + 200, &[0x55]);
    expect_all_refuse(&members, "m0 m1 m2 m3", "m1");
    let done = members.reshape("detail ALL").expect_code(2);
    assert!(done.stderr.contains("checksum"), "{}", done.stderr);
    fs::write(members.path("m1"), "no member").unwrap();
    expect_all_refuse(&members, "m0 m1 m2 m3", "m1");
}

#[test]
fn too_few_members_can_be_looked_at_only() {
    let members = array().without("m1").without("m3");
    let report = members.reshape("detail ALL --json").expect_code(0).json();
    assert_eq!((&report["state"], &report["degraded"]), (&"failed".into(), &2.into()));
    members.reshape("detail --test ALL").expect_code(2);
    for command in COMMANDS.iter().skip(1) {
        members.expect_refused(command, "too few members");
    }
    members.expect_refused("export ALL --to out --offset 1T", "too few members");
}

#[test]
fn numbers_that_make_no_array_are_refused() {
    type Change = fn(&mut [u8]);
    let changes: [(&str, Change); 6] = [
        ("level", |block| block[72..76].copy_from_slice(&7_i32.to_le_bytes())),
        ("layout", |block| block[76..80].copy_from_slice(&99_u32.to_le_bytes())),
        ("chunk", |block| block[88..92].copy_from_slice(&3_u32.to_le_bytes())),
        ("members", |block| block[92..96].copy_from_slice(&1_u32.to_le_bytes())),
        ("too short", |block| block[80..88].copy_from_slice(&(1_u64 << 40).to_le_bytes())),
        ("too short", |block| block[128..136].copy_from_slice(&u64::MAX.to_le_bytes())),
    ];
    for (cause, change) in changes {
        let members = array();
        for name in members.names() {
            members.patch_superblock(name, change);
        }
        expect_all_refuse(&members, "m0 m1 m2 m3", cause);
    }
}

#[test]
fn feature_that_is_not_known_forbids_to_write_but_not_to_look() {
    let members = array();
    for name in members.names() {
        members.patch_superblock(name, |block| block[10] |= 0x80);
    }
    members.reshape("examine ALL").expect_code(0);
    for command in ["import ALL --from NEW --yes", "check ALL --repair --yes"] {
        members.expect_refused(command, "feature");
    }
}

#[test]
fn nobody_to_ask_means_no() {
    let members = array().without("m1");
    members.expect_refused("import ALL --from NEW", "without an answer");
    members.expect_refused("check ALL --repair", "without an answer");
    members.expect_refused("rebuild ALL --add NEW", "without an answer");
}

#[test]
fn examine_says_of_each_device_what_it_found() {
    let members = array();
    fs::write(members.path("text"), [b'x'; 100_000]).unwrap();
    let before = members.state();
    let done = members.reshape("examine m0 text absent m1").expect_code(1);
    assert!(done.stdout.contains("m0:") && done.stdout.contains("m1:"), "{}", done.stdout);
    assert!(done.stderr.contains("no md superblock detected on text"), "{}", done.stderr);
    assert!(done.stderr.contains("cannot read absent: no such file"), "{}", done.stderr);
    assert_eq!(members.state(), before);
}

#[test]
fn device_without_room_for_a_member_is_refused_before_any_is_written() {
    // It was exit 1, after the first of two devices had been rebuilt.
    for (array, lost) in
        [("raid6-left-symmetric", ["m1", "m3"]), ("raid5-spare-v090", ["m1", "m3"])]
    {
        let members = Members::of(array).without(lost[0]);
        let size = fs::metadata(members.path("m0")).expect("m0 is there").len();
        for (name, size) in [("NEW", size), ("small", 3 << 20), ("tiny", 512)] {
            File::create(members.path(name)).and_then(|f| f.set_len(size)).expect("a file");
        }
        let members = members.without(lost[1]);
        for small in ["small", "tiny"] {
            let line = format!("rebuild ALL --add {small} --yes");
            members.expect_refused(&line, &format!("{small} has "));
            if array.starts_with("raid6") {
                let line = format!("rebuild ALL --add NEW --add {small} --yes");
                members.expect_refused(&line, &format!("{small} has "));
            }
        }
    }
}

#[test]
fn brief_counts_journals_and_replacements_as_spares_as_mdadm_does() {
    let members = array();
    let brief = |spares: &str| {
        let done = members.reshape("examine --brief m3").expect_code(0);
        assert_eq!(
            done.stdout.contains("spares=1"),
            !spares.is_empty(),
            "{spares}: {}",
            done.stdout
        );
    };
    brief("");
    members.patch_superblock("m3", |block| block[8] |= 0x12);
    brief("a replacement");
    members.patch_superblock("m3", |block| {
        block[8..10].copy_from_slice(&0x200_u16.to_le_bytes());
        let number = usize::from(block[160]);
        block[256 + 2 * number..][..2].copy_from_slice(&0xFFFD_u16.to_le_bytes());
    });
    brief("a journal");
}

#[test]
fn levels_that_are_none_of_ours_are_named_and_refused() {
    for (number, name) in [(-4_i32, "multipath"), (-5, "faulty"), (-6, "-unknown-")] {
        let members = array();
        for member in members.names() {
            members.patch_superblock(member, |block| {
                block[72..76].copy_from_slice(&number.to_le_bytes());
            });
        }
        let done = members.reshape("examine --export m0").expect_code(0);
        assert!(done.stdout.contains(&format!("MD_LEVEL={name}\n")), "{}", done.stdout);
        expect_all_refuse(&members, "m0 m1 m2 m3", &format!("level {number} is not known"));
    }
}
