//! `reshape salvage`: what it says, writes and leaves alone.

use kcopy::{Sector, Sectors};
use reshape::metadata::{BackupHeader, Section, Timestamp};
use reshape::units::ArraySector;
use tests::members::Members;

#[test]
fn wrong_record_is_told_and_nothing_is_written_until_it_is_asked_for() {
    let members = Members::amid("r5-chunk-64to128.early");
    let before = members.state();
    let report = members.reshape("salvage ALL --json").expect_code(0).json();
    assert_eq!(report["schema"], 1);
    assert_eq!(report["verdict"], "found");
    assert_eq!(report["recorded_sector"], 0);
    assert_eq!(report["front_sectors"], serde_json::json!([5376, 5376]));
    assert_eq!(report["recordable"], true);
    assert_eq!(report["lost"], serde_json::json!([]));
    let done = members.reshape("salvage ALL").expect_code(0);
    assert!(done.stdout.contains("all content is there"), "{}", done.stdout);
    assert!(done.stderr.contains("--yes records the position"), "{}", done.stderr);
    assert_eq!(members.state(), before, "a looking command wrote");
    members.reshape("salvage ALL --to out").expect_code(0);
    members.expect_content("out", 0, members.sectors());
    std::fs::remove_file(members.path("out")).unwrap();
    assert_eq!(members.state(), before, "a reading command wrote to members");
    members.reshape("salvage ALL --yes").expect_code(0);
    let report = members.reshape("salvage ALL --json").expect_code(0).json();
    assert_eq!(report["verdict"], "as_recorded");
    members.reshape("export ALL --to again").expect_code(0);
    members.expect_content("again", 0, members.sectors());
}

#[test]
fn what_is_lost_is_named_and_the_code_is_1() {
    let members = Members::amid("r5-chunk-64to128.remid");
    let report = members.reshape("salvage ALL --json --to out").expect_code(1).json();
    assert_eq!(report["verdict"], "lost");
    assert_eq!(report["lost"], serde_json::json!([{ "start_sector": 0, "sectors": 3072 }]));
    // The rest of what was overrun is where the second run has put it, or in the rows there.
    assert_eq!(report["carried"], serde_json::json!([{ "start_sector": 3072, "sectors": 20736 }]));
    let done = members.reshape("salvage ALL").expect_code(1);
    assert!(done.stdout.contains("not proven"), "{}", done.stdout);
}

/// The driver began again at the wrong place. Without one member too little is seen of the band at the record, and the
/// footprint of the first run was taken for the front: 25344 sectors were wrong, and not named.
#[test]
fn footprint_is_not_taken_for_a_front_behind_the_record_where_a_member_is_missing() {
    let members = Members::amid("r5-ls-to-ra.remid");
    let report = members.reshape("salvage m0 m1 m2 --json --to out").expect_code(1).json();
    let open = report["open"].as_array().expect("ranges");
    let all = serde_json::json!({ "start_sector": 0, "sectors": members.sectors() });
    assert!(open.contains(&all), "{report}");
    members.expect_refused("salvage m0 m1 m2 --yes", "nothing is recorded");
    members.expect_refused("export m0 m1 m2 --to out2", "reshape salvage");
}

/// Nobody knows what was moved of what a backup holds where a member is missing, in a critical section: what stood at
/// its new place on some members was taken for what had been moved on all, and 128 to 640 sectors were wrong with exit
/// code 0.
#[test]
fn what_was_saved_is_taken_from_there_where_a_member_is_missing() {
    for (name, here) in
        [("b5-chunk-64to128-v090.crit1", "m0 m2 m3"), ("b5-4to5-v10.crit2", "m1 m2 m3 m4")]
    {
        let members = Members::amid(name);
        let command = format!("salvage {here} --backup-file backup --to out");
        members.reshape(&command).expect_code(0);
        members.expect_content("out", 0, members.sectors());
    }
}

/// Rows that are none of the old stripes were all that told where the driver had come to, for the member that was added
/// is missing: it was said to have come to the end, and 97152 sectors were wrong with exit code 0.
#[test]
fn what_a_place_does_not_hold_is_no_front() {
    let members = Members::amid("b5-4to5-v10.crit2");
    let report = members.reshape("salvage m0 m1 m2 m3 --json --to out").expect_code(1).json();
    assert_eq!(report["verdict"], "ambiguous");
    let all = serde_json::json!([{ "start_sector": 0, "sectors": members.sectors() }]);
    assert_eq!(report["open"], all);
    // What the record says is exported: it is right but for what was overwritten.
    assert_eq!(report["resume_sector"], 0);
}

/// Torn members where the record stands, and one of them missing: what contradicted the record was taken for content
/// that is too uniform to tell, and 384 sectors were exported wrongly with exit code 0.
#[test]
fn what_contradicts_is_not_too_uniform_to_tell() {
    let members = Members::amid("r5-3to4.crit3");
    for command in ["export m0 m2 m3 --to out", "continue m0 m2 m3 --yes"] {
        members.expect_refused(command, "are nowhere on the members");
    }
    let report = members.reshape("salvage m0 m2 m3 --json").expect_code(1).json();
    let lost = serde_json::json!([
        { "start_sector": 0, "sectors": 256 },
        { "start_sector": 384, "sectors": 128 }
    ]);
    assert_eq!(report["lost"], lost);
}

/// A reshape of which the driver records nothing for long. Without one member no content is both where it was and where
/// it goes, but at places of parity: nothing tells, and 50176 sectors were wrong with exit code 0.
#[test]
fn where_too_few_members_show_nothing_the_record_is_not_believed() {
    let members = Members::amid("l5-to-0.mid");
    let report = members.reshape("salvage m1 m2 --json").expect_code(1).json();
    assert_eq!(report["verdict"], "ambiguous");
    let all = serde_json::json!([{ "start_sector": 0, "sectors": members.sectors() }]);
    assert_eq!(report["open"], all);
    members.expect_refused("export m1 m2 --to out", "allows several positions");
    members.expect_refused("continue m1 m2 --yes", "allows several positions");
}

/// A RAID0 cannot do without a member, and did nothing after one had been left behind: it was refused, with all content
/// there.
#[test]
fn member_that_was_left_behind_is_read_where_nothing_can_be_done_without_it() {
    let members = Members::amid("r0-3to4.mid");
    let number = |block: &[u8], at: usize| {
        u64::from_le_bytes(block[at..at + 8].try_into().expect("8 bytes"))
    };
    members.patch_superblock("m1", |block| {
        let behind = number(block, 200) - 4;
        block[200..208].copy_from_slice(&behind.to_le_bytes());
    });
    let before = members.state();
    for command in ["export ALL --to no", "continue ALL --yes"] {
        members.expect_refused(command, "too few members");
    }
    let done = members.reshape("salvage ALL --to out").expect_code(1);
    assert!(done.stdout.contains("m1: it was left behind, and is read"), "{}", done.stdout);
    members.expect_content("out", 0, members.sectors());
    let report = members.reshape("salvage ALL --json").expect_code(1).json();
    assert_eq!(report["verdict"], "ambiguous");
    assert_eq!(report["readmitted"], serde_json::json!(["m1"]));
    assert_eq!(report["lost"], serde_json::json!([]));
    // What the others have is vouched for.
    let open = report["open"].as_array().expect("ranges").iter();
    let open: u64 = open.map(|range| range["sectors"].as_u64().expect("a number")).sum();
    assert!(0 < open && open < members.sectors() / 2, "{open}");
    members.expect_refused("salvage ALL --yes", "nothing was written");
    std::fs::remove_file(members.path("out")).expect("removed");
    assert_eq!(members.state(), before, "something was written");
    // One that records another position was left behind before something was moved.
    members.patch_superblock("m1", |block| {
        let position = number(block, 104) / 2;
        block[104..112].copy_from_slice(&position.to_le_bytes());
    });
    let report = members.reshape("salvage ALL --json").expect_code(1).json();
    assert_eq!(report["verdict"], "lost");
    assert_eq!(report["readmitted"], serde_json::json!([]));
}

/// What little RAID6 tells without a member allows the record, and the place where mdadm's backup begins, a stripe
/// further on. mdadm had saved that because all before it was moved: 128 sectors were wrong with exit code 0.
#[test]
fn where_rows_allow_several_fronts_the_backup_tells() {
    let members = Members::amid("b6-to-5-v10.mid");
    let command = "salvage m0 m2 m3 m4 --backup-file backup --to out --json";
    let report = members.reshape(command).expect_code(0).json();
    assert_eq!((&report["verdict"], &report["resume_sector"]), (&"found".into(), &44544.into()));
    members.expect_content("out", 0, members.sectors());
}

/// The freshest record is on the member that is missing, and mdadm had saved what was overwritten by then. All stripes
/// tell, and were not asked: the backup was put back over what had been moved.
#[test]
fn rows_are_asked_before_a_backup_is_put_back_where_members_are_added() {
    let members = Members::amid("b5-3to4-v12-noroom.mid");
    for name in ["m0", "m1", "m2", "m3"] {
        members.patch_superblock(name, |block| block[104..112].fill(0));
    }
    let block = std::fs::read(members.path("m0")).expect("read")[4096..8192].to_vec();
    let number = |at: usize| u64::from_le_bytes(block[at..at + 8].try_into().expect("8 bytes"));
    let section = Section { array_start: ArraySector::new(0), length: Sectors::new(768) };
    let header = BackupHeader {
        set_uuid: block[16..32].try_into().expect("a uuid"),
        mtime: Timestamp { seconds: number(192) & 0xFF_FFFF_FFFF, micros: 0 },
        data_at: Sector::new(8),
        first: section,
        unit: section.length,
        second: None,
        ours: None,
    };
    let mut backup = header.to_bytes();
    backup.resize(4096, 0);
    // Three stripes of the old array: what stands there now.
    let data = usize::try_from(number(128)).expect("small") * 512;
    for (row, name) in [(0, "m0"), (0, "m1"), (1, "m2"), (1, "m0"), (2, "m1"), (2, "m2")] {
        let at = data + row * 65536;
        backup.extend(&std::fs::read(members.path(name)).expect("read")[at..at + 65536]);
    }
    std::fs::write(members.path("late"), backup).expect("written");
    let before = members.state();
    for command in ["export ALL --to out", "continue ALL --yes"] {
        let done = members.reshape(&format!("{command} --backup-file late")).expect_code(2);
        assert!(done.stderr.contains("what stands on the members"), "{command}: {}", done.stderr);
    }
    assert_eq!(members.state(), before, "something was written");
}

/// The members are read and finished as those of any recorded reshape.
fn expect_goes_on(members: &Members) {
    members.reshape("export ALL --to halfway").expect_code(0);
    members.expect_content("halfway", 0, members.sectors());
    members.reshape("continue ALL --yes").expect_code(0);
    members.reshape("check ALL").expect_code(0);
    members.reshape("export ALL --to after").expect_code(0);
    members.expect_content("after", 0, members.sectors());
}

#[test]
fn torn_members_are_exported_and_put_right_by_way_of_a_file_that_is_gone_then() {
    let members = Members::amid("r5-3to4.crit3");
    members.reshape("salvage ALL --to out").expect_code(0);
    members.expect_content("out", 0, members.sectors());
    let files = || std::fs::read_dir(members.dir()).expect("a folder").count();
    let before = files();
    let done = members.reshape("salvage ALL --yes").expect_code(0);
    assert!(done.stderr.contains("torn stripes are saved in reshape-"), "{}", done.stderr);
    assert_eq!(files(), before, "a file stays");
    expect_goes_on(&members);
}

#[test]
fn torn_stripes_are_saved_and_written_anew() {
    let members = Members::amid("r5-3to4.crit3");
    let done = members.reshape("salvage ALL --yes --mend m0").expect_code(2);
    assert!(done.stderr.contains("m0"), "{}", done.stderr);
    members.reshape("salvage ALL --yes --mend torn").expect_code(0);
    let report = members.reshape("salvage ALL --json").expect_code(0).json();
    assert_eq!(report["verdict"], "as_recorded");
    expect_goes_on(&members);
    // The power goes when the stripes are saved and none of them is written: the file has what is needed.
    let cut = Members::amid("r5-3to4.crit3");
    std::fs::copy(members.path("torn"), cut.path("torn")).unwrap();
    cut.reshape("continue ALL --yes --force --backup-file torn").expect_code(0);
    cut.reshape("export ALL --to out").expect_code(0);
    cut.expect_content("out", 0, cut.sectors());
}

/// The driver had written the end of the reshape to some members, and to the others only that it is over, with
/// the old chunk.
#[test]
fn end_that_was_recorded_on_some_members_is_an_end() {
    let members = Members::hard("v5-chunk-64to256-v090.mc50-3");
    let before = members.state();
    members.reshape("continue ALL --yes").expect_code(0);
    members.reshape("export ALL --to out").expect_code(0);
    members.expect_content("out", 0, members.sectors());
    members.reshape("check ALL").expect_code(0);
    std::fs::remove_file(members.path("out")).unwrap();
    assert_eq!(members.state(), before, "something was written");
}

/// The power went when the driver had written the first new rows of a growth to some members only.
#[test]
fn torn_reshape_is_not_taken_back_until_its_stripes_are_mended() {
    let members = Members::hard("u5-3to4.crit2");
    let before = members.state();
    for command in ["continue", "revert"] {
        let done = members.reshape(&format!("{command} ALL --yes")).expect_code(2);
        assert!(done.stderr.contains("reshape salvage"), "{}", done.stderr);
        assert_eq!(members.state(), before, "something was written");
    }
    members.reshape("salvage ALL --yes").expect_code(0);
    members.reshape("revert ALL --yes").expect_code(0);
    members.reshape("check ALL").expect_code(0);
    members.reshape("export ALL --to out").expect_code(0);
    members.expect_content("out", 0, members.sectors());
}

/// All members but one had the new stripes of a row, and that one, at the place of the new Q, its old block: the sum
/// agrees in both geometries, and tells nothing about where things stand.
#[test]
fn row_that_sums_up_in_both_geometries_is_torn_where_q_says_so() {
    let members = Members::hard("v5-5to6-v10.crit2");
    members.reshape("salvage ALL --backup-file backup --to out").expect_code(0);
    members.expect_content("out", 0, members.sectors());
    members.reshape("export ALL --backup-file backup --to out --force").expect_code(0);
    members.expect_content("out", 0, members.sectors());
    let without = members.reshape("salvage ALL --json").expect_code(1).json();
    let lost =
        |range: &serde_json::Value| (range["start_sector"].as_u64(), range["sectors"].as_u64());
    let lost: Vec<_> = without["lost"].as_array().expect("a list").iter().map(lost).collect();
    let open = [(0, 192), (256, 256), (576, 256), (896, 128)].map(|(a, b)| (Some(a), Some(b)));
    assert_eq!(lost, open, "what nothing tells is named");
}

#[test]
fn array_at_rest_has_nothing_to_salvage() {
    let members = Members::of("raid5-left-symmetric");
    let done = members.reshape("salvage ALL").expect_code(2);
    assert!(done.stderr.contains("no reshape is recorded"), "{}", done.stderr);
    let done = members.reshape("salvage ALL --to m0").expect_code(2);
    assert!(!done.stderr.is_empty());
}

/// Two of three old members, and the new one that has next to nothing: with nothing lost, `salvage` said that all
/// content was there, and `--yes` recorded a position on those members, which left the third out of the array.
#[test]
fn too_few_members_lose_what_the_others_have_and_nothing_is_recorded() {
    let members = Members::amid("r5-3to4.mid");
    let done = members.reshape("salvage m0 m1 --json").expect_code(1);
    let report = done.json();
    assert_eq!(report["verdict"], "lost");
    assert_eq!(report["recordable"], false);
    let lost = report["lost"].as_array().expect("a list");
    let sectors = |range: &serde_json::Value| range["sectors"].as_u64().expect("a number");
    let lost: u64 = lost.iter().map(sectors).sum();
    assert!(0 < lost && lost < members.sectors(), "{lost}");
    members.expect_refused("salvage m0 m1 --yes", "too few members");
    let done = members.reshape("salvage m0 m1").expect_code(1);
    assert!(done.stdout.contains("too few members are here"), "{}", done.stdout);
    assert!(done.stderr.contains("name all members"), "{}", done.stderr);
    members.reshape("salvage m0 m1 m2").expect_code(0);
}

/// A backup of which only the header is left was taken for one that nothing was saved in: all seemed to be there.
#[test]
fn backup_that_is_cut_off_is_none_that_nothing_was_saved_in() {
    let members = Members::amid("b5-chunk-512to64-v10.mid");
    members.reshape("salvage ALL --backup-file backup").expect_code(0);
    let file = std::fs::File::options().write(true).open(members.path("backup")).expect("opened");
    file.set_len(4096 + 8192).expect("cut off");
    let report = members.reshape("salvage ALL --backup-file backup --json").expect_code(1).json();
    let verdict = report["backups"][0]["verdict"].as_str().expect("a text");
    assert!(verdict.starts_with("cut off"), "{verdict}");
    assert_eq!(report["verdict"], "ambiguous");
}

/// The driver went on behind a file that mdadm had not written to: zeros do not say that nothing was moved. They were
/// believed, and what stands at the recorded position would have been exported with exit code 0.
#[test]
fn file_of_zeros_does_not_say_that_nothing_was_moved() {
    let members = Members::amid("b5-chunk-512to64-v10.mid");
    std::fs::write(members.path("zeros"), vec![0; 1 << 20]).expect("written");
    let report = members.reshape("salvage ALL --backup-file zeros --json").expect_code(1).json();
    assert_eq!(report["verdict"], "ambiguous");
    members
        .expect_refused("salvage ALL --backup-file zeros --yes", "does not say where the front is");
}

/// All content was found, the position recorded and `reshape continue` named: it asked for the backup that was not
/// there, though nothing in it was needed.
#[test]
fn what_is_whole_goes_on_with_the_command_that_is_named() {
    for name in [
        "b5-to-6-v090.mid",
        "b5-to-6-v12.mid",
        "b6-to-5-v10.mid",
        // Nothing critical is there, but what comes next has to be saved.
        "b5-5to4-v10.mid",
        "b5-3to4-v090.crit1",
    ] {
        let members = Members::amid(name);
        let look = members.reshape("salvage ALL").expect_code(0);
        let report = members.reshape("salvage ALL --yes --json").expect_code(0).json();
        let next = report["next"].as_str().expect("a command");
        let asks = look.stderr.contains("says in a new backup file");
        assert_eq!(asks, next.ends_with(".backup"), "{name}: {next}");
        let next = next.replace("FILE", "new").replacen("reshape ", "", 1);
        if asks {
            let export = next.replacen("continue", "export --to halfway", 1);
            members.reshape(&export).expect_code(0);
            members.expect_content("halfway", 0, members.sectors());
        }
        members.reshape(&format!("{next} --yes")).expect_code(0);
        members.reshape("check ALL").expect_code(0);
        members.reshape("export ALL --to after").expect_code(0);
        members.expect_content("after", 0, members.sectors());
    }
}

/// What stands in a named file stays; nothing is recorded then.
#[test]
fn file_that_is_to_say_that_nothing_was_overwritten_has_to_be_a_new_one() {
    let members = Members::amid("b5-to-6-v12.mid");
    std::fs::write(members.path("other"), b"something").expect("written");
    let before = members.state();
    members.expect_refused("salvage ALL --yes --mend other", "it exists");
    assert_eq!(members.state(), before, "something was written");
}

/// mdadm turned a change in place around, and the driver moved a stripe twice: its parity is right, and 768 sectors
/// were exported wrongly with exit code 0.
#[test]
fn what_mdadm_turned_around_in_place_is_not_called_right() {
    let members = Members::hard("u6-ls-to-zr.rev");
    let before = members.state();
    for command in [
        "continue ALL --yes",
        "continue ALL --yes --backup-file backup",
        // What is before this is in doubt for want of a backup.
        "export ALL --to out --offset 29184s",
    ] {
        let done = members.reshape(command).expect_code(2);
        assert!(done.stderr.contains("reshape salvage"), "{command}: {}", done.stderr);
    }
    assert_eq!(members.state(), before, "something was written");
    let done = members.reshape("salvage ALL --backup-file backup --to out").expect_code(1);
    assert!(done.stdout.contains("moves up to two sections"), "{}", done.stdout);
    let report = members.reshape("salvage ALL --backup-file backup --yes --json");
    let report = report.expect_code(1).json();
    assert_eq!(report["verdict"], "ambiguous");
    assert_eq!(report["lost"], serde_json::json!([]));
    let turned = report["turned"][0]["start_sector"].as_u64().expect("a sector");
    assert!(turned <= 29184, "the stripe that was moved twice is not among those named: {turned}");
    members.expect_content("out", 0, turned);
    // It goes on all the same, for who wants it.
    let next = report["next"].as_str().expect("a command").replacen("reshape ", "", 1);
    members.reshape(&format!("{next} --yes")).expect_code(0);
    members.reshape("check ALL").expect_code(0);
    members.reshape("export ALL --to after").expect_code(0);
    members.expect_content("after", 0, turned);
}

/// All parity is needed to compute what two missing members have: no row tells that the driver had gone on behind the
/// record. What is there was called right, and the backup that would have told not asked for.
#[test]
fn in_place_nothing_tells_without_parity_to_spare() {
    let members = Members::hard("u6-la-to-zr-v090.two-away");
    let report = members.reshape("salvage ALL --json").expect_code(1).json();
    assert_eq!(report["verdict"], "ambiguous");
    assert_eq!(report["open"][0]["start_sector"], 66768);
    members.expect_refused("salvage ALL --yes", "does not say where the front is");
    members.reshape("salvage ALL --backup-file backup --to out").expect_code(0);
    members.expect_content("out", 0, members.sectors());
}

const GO_ON: [&str; 4] = [
    "continue ALL --yes",
    "revert ALL --yes",
    // It put back what the backup holds, whatever spoke against it.
    "restore ALL --yes",
    "export ALL --to out",
];

/// What is refused without `--force` where only a backup speaks for the record, and it does not.
fn expect_not_believed(members: &Members, commands: &[&str], why: &str) {
    let before = members.state();
    for command in commands {
        let done = members.reshape(&format!("{command} --backup-file backup")).expect_code(2);
        assert!(done.stderr.contains(why), "{command}: {}", done.stderr);
        assert!(done.stderr.contains("--force"), "{command}: {}", done.stderr);
    }
    assert_eq!(members.state(), before, "something was written");
}

/// In place, cut off twice: mdadm saved what the second run of the driver had moved already. `reshape salvage` said
/// that nothing can be told, but `reshape export` gave 1728 sectors wrongly with exit code 0. The other one looks as if
/// it could be told by its content, but 304 sectors of it were moved twice by the first run: both their readings are
/// strange to what is beside them.
#[test]
fn backup_that_does_not_vouch_is_not_gone_on_from() {
    for (name, why) in [
        ("g0-chunk-v12.twice", "nothing explains that"),
        ("g0-chunk-v12.moved-twice", "as if it had been moved"),
    ] {
        let members = Members::hard(name);
        expect_not_believed(&members, &GO_ON, why);
        let report = members.reshape("salvage ALL --backup-file backup --json");
        let report = report.expect_code(1).json();
        assert_eq!(report["verdict"], "ambiguous");
        // An earlier run may have done the same.
        assert_eq!(report["open"][0]["start_sector"], 0);
        members.reshape("export ALL --to out --backup-file backup --force").expect_code(0);
    }
}

/// In place, and mdadm refuses both: the backup file was empty when the power went, or held what had been moved already
/// as if it waited. They were refused, and before that 1024 sectors of the second one were wrong with exit code 0.
#[test]
fn content_that_goes_together_as_recorded_needs_no_backup() {
    // The last one was stopped so late that the age of its backup says nothing.
    for name in ["g5-chunk-v090.unmoved", "g4-chunk-v11.twice", "b5-chunk-v090.waited"] {
        let members = Members::hard(name);
        members.reshape("export ALL --to out --backup-file backup").expect_code(0);
        members.expect_content("out", 0, members.sectors());
        let done = members.reshape("continue ALL --backup-file backup --yes --json").expect_code(0);
        assert_eq!(done.json()["ground"], "content", "{name}");
        members.reshape("check ALL").expect_code(0);
        members.reshape("export ALL --to after").expect_code(0);
        members.expect_content("after", 0, members.sectors());
    }
    // Superblocks 0.90 cannot be turned around in place, but taken back where nothing was moved.
    let members = Members::hard("g5-chunk-v090.unmoved");
    let done = members.reshape("revert ALL --backup-file backup --yes --json").expect_code(0);
    assert_eq!(done.json()["ground"], "content");
    members.reshape("check ALL").expect_code(0);
    members.reshape("export ALL --to after").expect_code(0);
    members.expect_content("after", 0, members.sectors());
}

/// The record is 384 sectors behind what mdadm's backup goes on from, and all stripes say the same: it was refused
/// until `reshape salvage --yes` had recorded that.
#[test]
fn record_behind_what_the_backup_and_all_stripes_say_is_put_right_on_the_way() {
    let members = Members::amid("b6-to-5-v10.mid");
    let before = members.state();
    let done = members.reshape("export ALL --to halfway --backup-file backup").expect_code(0);
    assert!(done.stderr.contains("it stands at array sector 44544"), "{}", done.stderr);
    assert!(!done.stderr.contains("taken from the superblocks"), "{}", done.stderr);
    members.expect_content("halfway", 0, members.sectors());
    std::fs::remove_file(members.path("halfway")).expect("removed");
    assert_eq!(members.state(), before, "a reading command wrote to members");
    for way in ["continue", "revert", "restore"] {
        let members = Members::amid("b6-to-5-v10.mid");
        let done = members.reshape(&format!("{way} ALL --yes --backup-file backup")).expect_code(0);
        assert!(done.stderr.contains("which is recorded now"), "{way}: {}", done.stderr);
        if way != "restore" {
            members.reshape("check ALL").expect_code(0);
            members.reshape("export ALL --to after").expect_code(0);
        } else {
            // Behind what is put back nothing says yet that nothing was overwritten.
            members.reshape("salvage ALL --to after").expect_code(0);
        }
        members.expect_content("after", 0, members.sectors());
    }
}

/// The driver had run ahead to sector 3264, and the backup file was empty: mdadm refuses it, and so did ours.
#[test]
fn content_tells_how_far_the_driver_ran_ahead() {
    let members = Members::hard("g4-chunk-v12.ahead3264");
    let report = members.reshape("salvage ALL --backup-file backup --json").expect_code(0).json();
    assert_eq!(report["front_sectors"], serde_json::json!([3264, 3264]));
    members.reshape("salvage ALL --backup-file backup --yes").expect_code(0);
    members.reshape("export ALL --to out --backup-file backup").expect_code(0);
    members.expect_content("out", 0, members.sectors());
    members.reshape("continue ALL --backup-file backup --yes").expect_code(0);
    members.reshape("check ALL").expect_code(0);
    members.reshape("export ALL --to after").expect_code(0);
    members.expect_content("after", 0, members.sectors());
}

/// mdadm 4.2 let the driver run ahead, cut off once: the record says 0, the backup holds the first two sections as if
/// they waited, and all rows agree with their parity. 49152 sectors were wrong with exit code 0, also by salvage.
#[test]
fn content_that_looks_moved_behind_the_backup_is_not_gone_on_from() {
    let members = Members::hard("g5-layout-v11.ahead60");
    expect_not_believed(&members, &GO_ON, "as if it had been moved");
    let report = members.reshape("salvage ALL --backup-file backup --json").expect_code(1).json();
    assert_eq!(report["verdict"], "ambiguous");
    members.expect_refused("salvage ALL --backup-file backup --yes", "does not say where");
}

/// mdadm 4.2 let the driver run ahead of a backup that it had written for the first two sections. With two parities
/// the rows tell: `reshape salvage` knew, but `reshape export` gave wrong content with exit code 0, and `continue`,
/// `revert` and `restore` put the backup back, over what had been moved.
#[test]
fn rows_tell_how_far_the_driver_ran_ahead_of_its_backup() {
    let members = Members::hard("g6-to-5-v11.ahead59392");
    let before = members.state();
    for command in GO_ON {
        let done = members.reshape(&format!("{command} --backup-file backup")).expect_code(2);
        assert!(done.stderr.contains("on the members says array sector 59392"), "{}", done.stderr);
        assert!(done.stderr.contains("reshape salvage"), "{}", done.stderr);
    }
    assert_eq!(members.state(), before, "something was written");
    let line = "salvage ALL --backup-file backup --yes";
    let told = members.reshape(line).expect_code(0).stdout;
    let (_, next) = told.rsplit_once("; reshape ").expect("a command");
    let next = next.trim_end().strip_suffix(" goes on").expect("what goes on");
    members.reshape(&format!("{next} --yes")).expect_code(0);
    members.reshape("check ALL").expect_code(0);
    members.reshape("export ALL --to after").expect_code(0);
    members.expect_content("after", 0, members.sectors());
}

/// The record is a section behind. mdadm had cleared that section to save another one there, and all of the next one
/// waits: so that is where the front is. 960 sectors were wrong with exit code 0, and salvage could not tell.
#[test]
fn section_that_was_cleared_tells_that_it_was_moved() {
    let members = Members::hard("g0-chunk-v12.cleared");
    expect_not_believed(&members, &GO_ON, "149504");
    members.reshape("salvage ALL --backup-file backup --to out").expect_code(0);
    members.expect_content("out", 0, members.sectors());
    members.reshape("salvage ALL --backup-file backup --yes").expect_code(0);
    members.reshape("continue ALL --backup-file backup --yes").expect_code(0);
    members.reshape("export ALL --to after").expect_code(0);
    members.expect_content("after", 0, members.sectors());
}

/// mdadm's backups have no checksum: of one that was damaged in a part that waits, zeros were put back with exit
/// code 0.
#[test]
fn backup_that_holds_what_nothing_explains_is_damaged() {
    let members = Members::amid("b5-chunk-64to128-v090.mid");
    members.reshape("export ALL --to whole --backup-file backup").expect_code(0);
    std::fs::remove_file(members.path("whole")).expect("removed");
    // 64 KiB of the second section, which begins behind a header of 4 KiB and 1536 sectors.
    let mut backup = std::fs::read(members.path("backup")).expect("read");
    let at = (8 + 1536 + 512) * 512;
    backup[at..at + 65536].fill(0);
    std::fs::write(members.path("backup"), backup).expect("written");
    // Superblocks 0.90 cannot be turned around in place.
    expect_not_believed(&members, &["continue ALL --yes", "export ALL --to out"], "damaged");
    // All that it holds stands on the members, and content tells where they stand.
    let report = members.reshape("salvage ALL --backup-file backup --to out --json");
    assert_eq!(report.expect_code(0).json()["verdict"], "found");
    members.expect_content("out", 0, members.sectors());
}

/// A growth had written the first row, and what stays at its place there is all that was in it: the position was
/// recorded, though old stripes contradict their parity there, and `reshape continue` was refused.
#[test]
fn stripes_whose_parity_is_gone_are_written_anew() {
    let members = Members::amid("b5-3to4-v090.crit3");
    let row = |first: u64| (first..first + 8).flat_map(|sector| members.sector(sector));
    let third: Vec<u8> = row(256).collect();
    let sums = row(0).zip(row(128)).zip(row(256)).map(|((a, b), c)| a ^ b ^ c);
    // The new disk was in use before: zeros there would let old rows verify as new ones too.
    let used = (100_000..108_000).flat_map(|sector| members.sector(sector));
    members.patch("m3", 0, &used.collect::<Vec<u8>>());
    members.patch("m2", 0, &third);
    members.patch("m3", 0, &sums.collect::<Vec<u8>>());
    let look = members.reshape("salvage ALL").expect_code(0);
    assert!(look.stderr.contains("writes the stripes around the front anew"), "{}", look.stderr);
    let report = members.reshape("salvage ALL --yes --json").expect_code(0).json();
    let next = report["next"].as_str().expect("a command");
    let next = next.replace("FILE", "new").replacen("reshape ", "", 1);
    members.reshape(&format!("{next} --yes")).expect_code(0);
    members.reshape("check ALL").expect_code(0);
    members.reshape("export ALL --to after").expect_code(0);
    members.expect_content("after", 0, members.sectors());
}

/// A degraded growth stands in its critical section, and the backup is not here: no row tells how far the driver came.
/// What had been overwritten was exported with exit code 0.
#[test]
fn critical_section_of_a_degraded_growth_is_told_by_its_backup_only() {
    let members = Members::amid("b5-3to4-v090.crit3");
    let done = members.reshape("salvage m1 m2 m3 --json").expect_code(1).json();
    assert_eq!(done["verdict"], "ambiguous");
    assert_eq!(done["open"][0]["start_sector"], 0);
    members.reshape("salvage ALL").expect_code(0);
    members.reshape("salvage m1 m2 m3 --backup-file backup --to out").expect_code(0);
    members.expect_content("out", 0, members.sectors());
}
