//! `reshape import`, `check --repair`, `rebuild` and `bitmap`: what they write is what they say.

use std::fs::{self, File};
use std::io::Write;
use std::process::Stdio;

use tests::members::Members;

/// A file as long as the members, which holds nothing.
fn spare(members: &Members, name: &str) {
    let first = members.names().first().expect("members");
    let size = fs::metadata(members.path(first)).expect("it is there").len();
    File::create(members.path(name)).and_then(|file| file.set_len(size)).expect("a file");
}

#[test]
fn imported_content_is_exported_again_and_parity_agrees() {
    for name in ["raid5-left-symmetric", "raid6-ddf-N-continue", "raid10-4d-n2", "raid0-zones"] {
        let mut members = Members::of(name);
        members.write_new_content("new");
        let report = members.reshape("import ALL --from new --yes --json").expect_code(0).json();
        assert_eq!(report["schema"], 1);
        assert_eq!(report["bytes"], members.sectors() * 512);
        assert_eq!(report["failed_slots"], serde_json::json!([]));
        members.reshape("check ALL").expect_code(0);
        let state = members.reshape("detail ALL --json").expect_code(0).json();
        assert_eq!(state["state"], "clean", "{name}");
        members.reshape("export ALL --to out").expect_code(0);
        members.expect_content("out", 0, members.sectors());
    }
}

#[test]
fn part_is_imported_from_standard_input_beside_what_stays() {
    let members = Members::of("raid5-left-symmetric").without("m2");
    let mut child = members
        .command("import ALL --from - --offset 1001s --yes")
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .expect("the program can be started");
    let bytes = [0xA5; 333 * 512];
    child.stdin.take().expect("piped").write_all(&bytes[..300 * 512]).expect("it reads");
    // The end of standard input is the end of the content.
    assert_eq!(child.wait().expect("it ends").code(), Some(0));
    members.reshape("export ALL --to out").expect_code(0);
    members.expect_content("out", 0, 1001);
    let out = fs::read(members.path("out")).expect("it was made");
    assert!(out[1001 * 512..1301 * 512] == bytes[..300 * 512], "not what was imported");
    assert!(out[1301 * 512..1302 * 512] == members.sector(1301), "too much was imported");
}

#[test]
fn content_may_end_inside_a_sector_and_what_that_holds_behind_it_stays() {
    let members = Members::of("raid6-ddf-N-continue").without("m1");
    for (length, sector) in [(300 * 512 + 1, 1000), (511, 2001), (70_001, 3333)] {
        let file = |sector: u64| {
            let mut child = members
                .command(&format!("import ALL --from - --offset {sector}s --yes"))
                .stdin(Stdio::piped())
                .stdout(Stdio::null())
                .spawn()
                .expect("the program can be started");
            let bytes = vec![0x5A; length];
            child.stdin.take().expect("piped").write_all(&bytes).expect("it reads");
            assert_eq!(child.wait().expect("it ends").code(), Some(0));
            fs::write(members.path("new"), bytes).expect("a file");
        };
        file(sector);
        let other = sector + 500;
        let line = format!("import ALL --from new --offset {other}s --yes --json");
        let report = members.reshape(&line).expect_code(0).json();
        assert_eq!(report["bytes"], length);
        members.reshape("export ALL --to out").expect_code(0);
        let out = fs::read(members.path("out")).expect("it was made");
        let at = |sector: u64| usize::try_from(sector * 512).expect("small");
        for begin in [sector, other] {
            assert!(out[at(begin)..at(begin) + length].iter().all(|byte| *byte == 0x5A));
            let last = begin + length as u64 / 512;
            let kept = at(begin) + length..at(last + 1);
            let old = members.sector(last);
            assert!(out[kept.clone()] == old[512 - kept.len()..], "{length} bytes at {begin}");
        }
        let line = format!("export ALL --offset {other}s --count {length} --to");
        members.reshape(&format!("{line} part")).expect_code(0);
        assert!(fs::read(members.path("part")).expect("it was made") == vec![0x5A; length]);
        let piped = members.command(&format!("{line} -")).output().expect("it starts");
        assert!(piped.stdout == vec![0x5A; length], "{length} bytes at {other}");
    }
    members.reshape("check ALL").expect_code(0);
}

#[test]
fn standard_input_that_goes_on_behind_the_array_is_no_success() {
    let members = Members::of("raid5-left-symmetric");
    let last = members.sectors() - 1;
    for (length, code) in [(512, 0), (513, 1)] {
        let mut child = members
            .command(&format!("import ALL --from - --offset {last}s --yes --quiet"))
            .stdin(Stdio::piped())
            .spawn()
            .expect("the program can be started");
        child.stdin.take().expect("piped").write_all(&vec![1; length]).expect("it reads");
        assert_eq!(child.wait().expect("it ends").code(), Some(code), "{length} bytes");
    }
}

#[test]
fn import_that_does_not_fit_is_refused() {
    let members = Members::of("raid5-left-symmetric");
    let file = File::create(members.path("long")).expect("a file");
    file.set_len(members.sectors() * 512 + 512).expect("it can be that long");
    fs::write(members.path("odd"), [1; 1000]).expect("a file");
    fs::write(members.path("empty"), []).expect("a file");
    for (line, cause) in [
        ("import ALL --from long --yes", "do not fit"),
        ("import ALL --from odd --offset 100B --yes", "no whole number of sectors"),
        ("import ALL --from empty --yes", "the length is 0"),
        ("import ALL --from odd --count 2K --yes", "it has 1000 bytes, not 2048"),
        ("import ALL --from odd --count 1s --offset 1T --yes", "leaves nothing"),
        ("import ALL --from m0 --yes", "same device as the member m0"),
        ("import ALL --from absent --yes", "no such file"),
    ] {
        members.expect_refused(line, cause);
    }
}

#[test]
fn check_names_what_does_not_agree_and_repairs_it() {
    let members = Members::of("raid6-ddf-N-continue");
    // A chunk into the data of m1, three sectors.
    let at = 2048 * 512 + 128 * 512;
    members.patch("m1", at, &[0x5A; 3 * 512]);
    let before = members.state();
    let report = members.reshape("check ALL --json").expect_code(1).json();
    assert_eq!(members.state(), before, "a check wrote");
    assert_eq!(report["schema"], 1);
    assert!(report["mismatch_sectors"].as_u64() >= Some(3), "{report}");
    let wrong = report["wrong"].as_array().expect("a list");
    assert!(!wrong.is_empty() && wrong.iter().all(|one| one["path"] == "m1"), "{report}");
    assert_eq!(wrong[0]["start_sector"], 128, "{report}");
    let said = members.reshape("check ALL").expect_code(1).stderr;
    assert!(said.contains("m1, is wrong"), "{said}");
    members.reshape("check ALL --repair --yes").expect_code(0);
    let report = members.reshape("check ALL --json").expect_code(0).json();
    assert_eq!(
        (&report["mismatch_sectors"], &report["wrong"]),
        (&0.into(), &serde_json::json!([]))
    );
    members.reshape("export ALL --to out").expect_code(0);
    members.expect_content("out", 0, members.sectors());
}

#[test]
fn missing_members_are_rebuilt_onto_new_devices() {
    for (name, gone) in [
        ("raid6-ddf-N-continue", vec!["m0", "m3"]),
        ("raid5-bitmap-v12", vec!["m1"]),
        ("raid1-v090", vec!["m0"]),
        ("raid10-4d-n2", vec!["m2"]),
    ] {
        let mut members = Members::of(name);
        let mut line = "rebuild ALL --yes --json".to_owned();
        for gone in &gone {
            members = members.without(gone);
            spare(&members, &format!("new-{gone}"));
            line = format!("{line} --add new-{gone}");
        }
        let report = members.reshape(&line).expect_code(0).json();
        let rebuilt = report["rebuilt"].as_array().expect("a list");
        assert_eq!(rebuilt.len(), gone.len(), "{name}: {report}");
        assert_eq!(report["missing_slots"], serde_json::json!([]), "{name}");
        // Without one of those that were there, so that what was rebuilt is read.
        let others: Vec<&str> = members.names().iter().skip(1).map(String::as_str).collect();
        let new: Vec<String> = gone.iter().map(|gone| format!("new-{gone}")).collect();
        let all = format!("{} {}", members.names().join(" "), new.join(" "));
        members.reshape(&format!("detail --test {all}")).expect_code(0);
        members.reshape(&format!("check {all}")).expect_code(0);
        let some = format!("{} {}", others.join(" "), new.join(" "));
        members.reshape(&format!("export {some} --to out")).expect_code(0);
        members.expect_content("out", 0, members.sectors());
    }
}

#[test]
fn rebuild_refuses_what_it_could_not_use() {
    let members = Members::of("raid5-left-symmetric");
    spare(&members, "new");
    members.expect_refused("rebuild ALL --add new --yes", "no slot is left for it");
    let members = members.without("m1");
    members.expect_refused("rebuild ALL --yes", "slots 1 are missing and there is no spare");
    members.expect_refused("rebuild ALL --add m0 --yes", "m0: it is named twice");
    members.expect_refused("rebuild ALL --add new --add new --yes", "it is named twice");
    let other = Members::of("raid5-right-symmetric");
    fs::copy(other.path("m1"), members.path("other")).expect("a file");
    members.expect_refused("rebuild ALL --add other --yes", "it belongs to the array");
    members.reshape("rebuild ALL --add other --yes --force").expect_code(0);
    members.reshape("detail --test ALL other").expect_code(0);
}

#[test]
fn dirty_array_that_lacks_a_member_is_changed_by_force_only() {
    let members = Members::of("raid5-left-symmetric").without("m1");
    members.mark_dirty();
    spare(&members, "new");
    members.expect_refused("rebuild ALL --add new --yes", "hint: --force");
    members.expect_refused("import ALL --from new --count 1s --yes", "hint: --force");
    members.reshape("import ALL --from new --count 1s --yes --force").expect_code(0);
}

/// The last member before an option was taken for what the array is to have, and a member was asked for.
#[test]
fn options_may_stand_between_the_members_and_the_bitmap() {
    let members = Members::of("raid5-left-symmetric");
    let line = "bitmap ALL --bitmap-chunk 64KiB --yes --json internal";
    let report = members.reshape(line).expect_code(0).json();
    assert_eq!(
        (&report["bitmap"], &report["bitmap_chunk_bytes"]),
        (&"internal".into(), &65536.into())
    );
    members.reshape("bitmap --yes ALL none").expect_code(0);
}

#[test]
fn bitmap_comes_and_goes_and_the_content_stays() {
    for name in ["raid5-left-symmetric", "raid1-v090", "raid10-4d-n2"] {
        let members = Members::of(name);
        members.expect_refused("bitmap ALL none --yes", "has no bitmap");
        members.expect_refused("bitmap ALL none --bitmap-chunk 64 --yes", "without a bitmap");
        members.expect_refused("bitmap ALL internal --bitmap-chunk 1 --yes", "bit for");
        members.expect_refused("bitmap ALL internal", "without an answer");
        members.expect_refused("bitmap ALL --yes", "is neither internal nor none");
        let report = members.reshape("bitmap ALL internal --yes --json").expect_code(0).json();
        assert_eq!((&report["schema"], &report["bitmap"]), (&1.into(), &"internal".into()));
        assert_eq!(report["bitmap_chunk_bytes"], 64 << 20, "{name}");
        let detail = members.reshape("detail ALL").expect_code(0).stdout;
        assert!(detail.contains("Consistency Policy : bitmap"), "{detail}");
        members.expect_refused("bitmap ALL internal --yes", "has a bitmap already");
        members.reshape("check ALL").expect_code(0);
        members.reshape("export ALL --to out").expect_code(0);
        members.expect_content("out", 0, members.sectors());
        members.reshape("bitmap ALL none --yes").expect_code(0);
        let detail = members.reshape("detail ALL").expect_code(0).stdout;
        assert!(detail.contains("Consistency Policy : resync"), "{detail}");
    }
    Members::of("raid0-4k").expect_refused("bitmap ALL internal --yes", "takes no bitmap");
    for line in ["bitmap m0 m1", "bitmap m0 file", "bitmap internal"] {
        Members::of("raid1-v12").reshape(line).expect_code(2);
    }
}
