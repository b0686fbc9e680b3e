//! `reshape export`: content, members missing, half-moved arrays and their backups, parts, pipes.

use tests::corpus::{self, Fixture, Kind};
use tests::members::Members;
use tests::parallel::expect_all;

#[test]
fn content_is_that_of_the_array_whatever_members_are_named_in_which_order() {
    for (name, gone) in [
        ("raid5-left-symmetric", vec!["m1"]),
        ("raid6-ddf-N-continue", vec!["m0", "m2"]),
        ("raid10-4d-n2", vec!["m0", "m3"]),
        ("raid1-v090", vec!["m0"]),
        ("raid0-zones", vec![]),
    ] {
        let mut members = Members::of(name);
        for gone in gone {
            members = members.without(gone);
        }
        let backwards: Vec<&str> = members.names().iter().rev().map(String::as_str).collect();
        let before = members.state();
        let line = format!("export {} --to - --count 1MiB", backwards.join(" "));
        let done = members.command(&line).output().expect("the program can be started");
        assert_eq!(done.status.code(), Some(0), "{}", String::from_utf8_lossy(&done.stderr));
        assert_eq!(done.stdout.len(), 1 << 20);
        for (number, sector) in (0..).zip(done.stdout.chunks_exact(512)) {
            assert!(sector == members.sector(number), "{name}: sector {number}");
        }
        assert_eq!(members.state(), before, "{name}: a reading command wrote");
        members.reshape(&format!("export {} --to out", backwards.join(" "))).expect_code(0);
        members.expect_content("out", 0, members.sectors());
    }
}

#[test]
fn part_of_the_content_is_what_offset_and_count_say() {
    let members = Members::of("raid5-left-symmetric");
    members.reshape("export ALL --to out --offset 1000s --count 777s").expect_code(0);
    members.expect_content("out", 1000, 777);
    assert_eq!(std::fs::metadata(members.path("out")).unwrap().len(), 777 * 512);
    let report = members.reshape("export ALL --to out --offset 100s --json").expect_code(0).json();
    assert_eq!(report["schema"], 1);
    assert_eq!(report["bytes"], (members.sectors() - 100) * 512);
    members.expect_content("out", 100, members.sectors() - 100);
    for (range, cause) in [
        ("--offset 100E", "do not fit in 64 bits"),
        ("--offset 1T", "leaves nothing"),
        ("--count 1T", "do not fit"),
        ("--count 0", "the length is 0"),
        ("--offset 100B", "no whole number of sectors"),
    ] {
        let done = members.reshape(&format!("export ALL --to no {range}")).expect_code(2);
        assert!(done.stderr.contains(cause), "{range}: {}", done.stderr);
        assert!(!members.path("no").exists(), "{range}");
    }
}

#[test]
fn members_are_never_the_destination() {
    let members = Members::of("raid5-left-symmetric");
    members.expect_refused("export ALL --to m0", "it is a member of the array");
    std::fs::hard_link(members.path("m1"), members.path("link")).unwrap();
    members.expect_refused("export ALL --to link", "same device as the member m1");
    members.expect_refused("export ALL --to .", "directory");
    members.expect_refused("export ALL --to no/file", "no such file");
    members.expect_refused("export ALL --to - --json", "JSON");
}

#[test]
fn pipes_and_character_devices_are_written_in_order() {
    let members = Members::of("raid6-ddf-N-continue").without("m0");
    let report = members.reshape("export ALL --to /dev/null --json").expect_code(0).json();
    assert_eq!(report["bytes"], members.sectors() * 512);
    assert_eq!(report["flushed"], false);
    let pipe = members.path("pipe");
    rustix::fs::mkfifoat(rustix::fs::CWD, &pipe, 0o600.into()).expect("made");
    let reader = std::thread::spawn(move || std::fs::read(pipe).expect("read"));
    members.reshape("export ALL --to pipe").expect_code(0);
    std::fs::write(members.path("out"), reader.join().expect("ended")).expect("written");
    members.expect_content("out", 0, members.sectors());
    let done = members.reshape("export ALL --to /dev/full").expect_code(1);
    assert!(done.stderr.contains("no space left"), "{}", done.stderr);
}

#[test]
fn dirty_array_without_a_member_is_exported_with_a_warning() {
    let members = Members::of("raid5-left-symmetric").without("m1");
    members.mark_dirty();
    let done = members.reshape("export ALL --to out").expect_code(0);
    assert!(done.stderr.contains("not stopped cleanly"), "{}", done.stderr);
    members.expect_content("out", 0, members.sectors());
}

#[test]
fn half_moved_array_is_one_content() {
    for name in ["r5-3to4.mid", "r10-4to5.crit2", "r5d-chunk-64to128.mid", "b5-3to4-v090.mid"] {
        let members = Members::amid(name);
        let done = members.reshape("export ALL --to out").expect_code(0);
        assert!(done.stderr.contains("a reshape is under way"), "{name}: {}", done.stderr);
        members.expect_content("out", 0, members.sectors());
    }
}

/// The sectors that a refusal names as doubtful.
fn in_doubt(refusal: &str) -> (u64, u64) {
    let (_, named) = refusal.split_once("only sectors ").expect(refusal);
    let (from, rest) = named.split_once(" to ").expect(refusal);
    let (to, _) = rest.split_once(" are in doubt").expect(refusal);
    (from.parse().expect("a number"), to.parse().expect("a number"))
}

#[test]
fn all_but_the_critical_section_is_read_without_the_backup() {
    for name in ["b5-chunk-64to128-v090.crit3", "b5-4to5-v10.crit2", "b5-to-6-v12.mid"] {
        let members = Members::amid(name);
        let before = members.state();
        let refused = members.reshape("export ALL --to no").expect_code(2);
        let (from, to) = in_doubt(&refused.stderr);
        assert!(!members.path("no").exists());
        if from > 0 {
            members.reshape(&format!("export ALL --to out --count {from}s")).expect_code(0);
            members.expect_content("out", 0, from);
            let more = from + 1;
            members.reshape(&format!("export ALL --to no --count {more}s")).expect_code(2);
        }
        if to < members.sectors() {
            members.reshape(&format!("export ALL --to out --offset {to}s")).expect_code(0);
            members.expect_content("out", to, members.sectors() - to);
        }
        assert!(from > 0 || to < members.sectors(), "{name}: {from} to {to}");
        std::fs::remove_file(members.path("out")).expect("it was made");
        assert_eq!(members.state(), before, "{name}: a reading command wrote");
    }
}

/// The driver went on behind a backup file that mdadm had not written to yet.
const TORN: &str = "x5-chunk-64to128-v090.crit3";

/// Whether the kernel had overwritten what it had neither saved nor recorded: mdadm and the kernel
/// finish these with wrong content. `reshape salvage` is for them.
fn is_recorded_wrongly(fixture: &Fixture) -> bool {
    fixture.meta()["verdict"] == "lost" || fixture.name == TORN
}

/// The content as `reshape export` gives it, with the backup file where there is one. Wrong content is
/// never given with exit 0.
fn export_whole(kind: Kind, fixture: &Fixture) -> Result<(), String> {
    let name = &fixture.name;
    let members = if kind == Kind::Hard { Members::hard(name) } else { Members::amid(name) };
    let backup = if members.path("backup").exists() { "--backup-file backup" } else { "" };
    let before = members.state();
    let done = members.reshape(&format!("export ALL {backup} --to out"));
    let refused = done.code() == 2;
    if !refused && done.code() != 0 {
        return Err(format!("{name}: exit {}: {}", done.code(), done.stderr));
    }
    if refused && kind == Kind::Reshapes && !is_recorded_wrongly(fixture) {
        return Err(format!("{name}: refused: {}", done.stderr));
    }
    if refused {
        let same = members.state() == before && done.stderr.contains("\nhint: ");
        return if same { Ok(()) } else { Err(format!("{name}: {}", done.stderr)) };
    }
    let bytes = std::fs::read(members.path("out")).map_err(|error| format!("{name}: {error}"))?;
    let mut sectors = (0..members.sectors()).zip(bytes.chunks_exact(512));
    match sectors.find(|(number, found)| **found != members.sector(*number)) {
        None if bytes.len() as u64 >= members.sectors() * 512 => Ok(()),
        None => Err(format!("{name}: {} bytes", bytes.len())),
        Some((number, _)) => Err(format!("{name}: not the content of sector {number}")),
    }
}

#[test]
fn interrupted_reshapes_are_exported_wholly_or_refused() {
    // Every day one in six; in the long form all there are.
    let step = if tests::is_long() { 1 } else { 6 };
    let under_way = |fixture: &Fixture| fixture.meta()["verdict"] != "done";
    for kind in [Kind::Reshapes, Kind::Hard] {
        let all = corpus::all(kind).into_iter().filter(under_way).step_by(step);
        expect_all(&all.collect::<Vec<_>>(), |fixture| export_whole(kind, fixture));
    }
}

#[test]
fn half_moved_array_that_needs_its_backup_is_not_read_without() {
    for name in ["b5-3to4-v12-noroom.early", "b5-chunk-64to128-v090.mid", "b5-to-6-v12.mid"] {
        let members = Members::amid(name);
        members.expect_refused("export ALL --to out", "the members alone may not have everything");
        assert!(members.reshape("detail ALL --json").json()["reshape"]["mode"] == "backup");
        members.reshape("export ALL --backup-file backup --to out").expect_code(0);
        members.expect_content("out", 0, members.sectors());
    }
}

#[test]
fn critical_section_whose_old_stripes_agree_with_their_parity_needs_no_backup() {
    let members = Members::amid("b5-3to4-v090.crit3");
    members.reshape("export ALL --to out").expect_code(0);
    members.expect_content("out", 0, members.sectors());
}

#[test]
fn backup_of_another_place_is_no_backup() {
    let members = Members::amid("b6-to-5-v10.mid");
    // Where its two sections begin: four of them further on.
    for (at, sector) in [(48, 52224_u64), (80, 50688)] {
        members.patch("backup", at, &sector.to_le_bytes());
    }
    let line = "export ALL --backup-file backup --to out";
    members.expect_refused(line, "the backup holds its sectors from 50688 on");
    let before = members.state();
    let done = members.reshape("continue ALL --yes --backup-file backup").expect_code(2);
    assert!(done.stderr.contains("nothing explains that"), "{}", done.stderr);
    assert_eq!(members.state(), before, "something was written");
}

#[test]
fn backups_that_are_of_no_use_are_refused() {
    let members = Members::amid("b5-4to5-v10.early");
    let line = "export ALL --backup-file other --to out";
    std::fs::copy(Members::amid("b5-3to4-v12-noroom.early").path("backup"), members.path("other"))
        .unwrap();
    members.expect_refused(line, "is the backup of another array");
    std::fs::copy(members.path("backup"), members.path("other")).unwrap();
    members.patch("other", 64, &[0x55; 4]);
    members.expect_refused(line, "its checksum is 0x55555555");
    // Where the data begins: md's checksum says nothing about it.
    std::fs::copy(members.path("backup"), members.path("other")).unwrap();
    members.patch("other", 40, &[0x55; 8]);
    members.expect_refused(line, "other is cut off");
    // A week later.
    std::fs::copy(members.path("backup"), members.path("other")).unwrap();
    let header = std::fs::read(members.path("backup")).unwrap();
    let time = u64::from_le_bytes(header[32..40].try_into().unwrap()) + 7 * 86400;
    members.patch("other", 32, &time.to_le_bytes());
    members.expect_refused(line, "it is not of this reshape");
    members.reshape("export ALL --force --backup-file other --to out").expect_code(0);
    members.expect_content("out", 0, members.sectors());
    std::fs::remove_file(members.path("out")).unwrap();
    std::fs::write(members.path("other"), [0; 1 << 20]).unwrap();
    members.expect_refused(line, "no header of a backup");
    members.expect_refused("export ALL --backup-file absent --to out", "no such file");
    let done = Members::of("raid1-v12").reshape("export ALL --backup-file m0 --to out");
    assert!(done.expect_code(0).stderr.starts_with("note: m0: no header of a backup"));
    // The array is at rest: it needs none, and what is left of one is no reason to refuse.
    let rest = Members::of("raid1-v12");
    std::fs::copy(members.path("backup"), rest.path("left")).unwrap();
    rest.patch("left", 64, &[0x55; 4]);
    let done = rest.reshape("export ALL --backup-file left --to out").expect_code(0);
    assert!(done.stderr.contains("its checksum is 0x55555555"), "{}", done.stderr);
}

#[test]
fn backup_without_a_header_yet_says_what_most_rows_say() {
    // A kernel went on before mdadm had written the header: what it overwrote is lost.
    let lost = Members::amid("x5-chunk-64to128-v090.crit3");
    lost.expect_refused("export ALL --backup-file backup --to out", "no header of a backup");
    let whole = Members::amid("b5-to-6-v090.crit2");
    whole.expect_refused("export ALL --to out", "the members alone may not have everything");
    let done = whole.reshape("export ALL --backup-file backup --to out").expect_code(0);
    assert!(done.stderr.starts_with("note: backup: no header of a backup"), "{}", done.stderr);
    whole.expect_content("out", 0, whole.sectors());
}

#[test]
fn interrupted_reader_of_standard_output_is_no_failure() {
    let members = Members::of("raid5-left-symmetric");
    let mut child = members
        .command("export ALL --to -")
        .stdout(std::process::Stdio::piped())
        .spawn()
        .expect("the program can be started");
    drop(child.stdout.take());
    assert_eq!(child.wait().expect("it ends").code(), Some(0));
}

/// mdadm turned a change in place around, and the driver wrote a stripe that the backup does not hold: as all that it
/// holds was moved, nothing else was believed to be missing.
#[test]
fn rows_that_contradict_the_record_are_not_excused_by_a_backup_of_what_was_moved() {
    let members = Members::hard("u6-ls-to-zr.rev");
    let cause = "the members alone may not have everything";
    members.expect_refused("export ALL --backup-file backup --to out", cause);
    members.expect_refused("export ALL --to out", cause);
    // With a member away nothing contradicts, and most rows agree: not those that were moved.
    members.expect_refused("export m0 m1 m2 m4 --backup-file backup --to out", cause);
}
