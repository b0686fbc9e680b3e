//! Changes that were interrupted, and what a user does then: runs what was advised, word by word, or the same again.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};

use tests::binary::{Finished, LIMIT, run};
use tests::reshape_binary;
use tests::tmp;

fn reshape(dir: &Path, line: &str) -> Finished {
    let mut command = Command::new(reshape_binary());
    run(command.args(line.split_whitespace()).current_dir(dir), LIMIT)
}

/// Sector n of the content holds n.
fn content(sectors: u64) -> Vec<u8> {
    (0..sectors).flat_map(|n| std::iter::repeat_n(n.to_le_bytes(), 64).flatten()).collect()
}

/// An array of files with content, and two disks more, `n0` and `n1`.
fn array(dir: &Path, shape: &str, members: &str) -> Vec<u8> {
    let make = format!("create --yes {shape} --create-files 24MiB {members}");
    reshape(dir, &make).expect_code(0);
    let detail = reshape(dir, &format!("detail --json {members}")).expect_code(0).json();
    let bytes = content(detail["array_bytes"].as_u64().expect("a size") / 512);
    std::fs::write(dir.join("content"), &bytes).expect("written");
    reshape(dir, &format!("import --yes --from content {members}")).expect_code(0);
    for name in ["n0", "n1"] {
        let more = std::fs::File::create(dir.join(name)).expect("made");
        more.set_len(24 << 20).expect("sparse");
    }
    bytes
}

/// Runs it slowly and sends a signal once `is_time` says so of a line of progress; how it ended.
fn interrupt(
    dir: &Path,
    line: &str,
    signal: &str,
    is_time: impl Fn(&serde_json::Value) -> bool,
) -> (Option<i32>, String) {
    let mut command = Command::new(reshape_binary());
    command.args(line.split_whitespace()).args(["--progress", "json", "--yes"]);
    command.current_dir(dir).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("it runs");
    let told = BufReader::new(child.stderr.take().expect("piped"));
    let mut lines = told.lines().map_while(Result::ok);
    let parsed = |line: String| serde_json::from_str::<serde_json::Value>(&line).ok();
    lines.by_ref().filter_map(parsed).find(is_time).expect("it comes to that");
    let kill = format!("kill -{signal} {}", child.id());
    run(Command::new("sh").args(["-c", &kill]), LIMIT).expect_code(0);
    let rest: Vec<String> = lines.collect();
    let output = child.wait_with_output().expect("ended");
    let said = String::from_utf8(output.stdout).expect("text") + &rest.join("\n");
    (output.status.code(), said)
}

fn number(line: &serde_json::Value, key: &str) -> u64 {
    line[key].as_u64().unwrap_or(0)
}

fn is_moving(line: &serde_json::Value) -> bool {
    line["phase"] == "reshape"
        && number(line, "bytes_done") * 4 >= number(line, "bytes_total").max(1)
}

fn expect_content(dir: &Path, members: &str, bytes: &[u8]) {
    reshape(dir, &format!("check {members}")).expect_code(0);
    reshape(dir, &format!("export --to found {members}")).expect_code(0);
    let found = std::fs::read(dir.join("found")).expect("exported");
    assert!(found.get(..bytes.len()) == Some(bytes), "the content is not what it was");
}

fn expect_shape(dir: &Path, members: &str, level: &str, count: u64) {
    let detail = reshape(dir, &format!("detail --json {members}")).expect_code(0).json();
    assert_eq!((&detail["level"], &detail["raid_devices"]), (&level.into(), &count.into()));
    assert_eq!(detail["degraded"], 0, "{detail}");
}

/// Runs each command of `a, then b`.
fn obey(dir: &Path, advice: &str) {
    for command in advice.trim().split(", then ") {
        let line = command.strip_prefix("reshape ").expect("a command of ours");
        reshape(dir, &format!("{line} --yes")).expect_code(0);
    }
}

/// "The same reshape grow, with the disks of --add among the members" was the advice, and that did not do: in the
/// middle of the chain it is a RAID4, and four members of a RAID4 are something else than four of a RAID0.
#[test]
fn what_an_interrupted_growth_of_a_raid0_advises_finishes_it() {
    let dir = tmp::on_disk();
    let bytes = array(dir.path(), "-l 0 -n 3 -c 64", "m0 m1 m2");
    let grow = "grow m0 m1 m2 --add n0 -n 4 --rate 16MiB";
    let (code, said) = interrupt(dir.path(), grow, "INT", is_moving);
    assert_eq!(code, Some(130), "{said}");
    let advice = said.lines().find_map(|line| line.split_once("to go on: ")).expect(&said).1;
    assert!(advice.contains("--level 0") && advice.contains("--add n0"), "{advice}");
    obey(dir.path(), advice);
    expect_shape(dir.path(), "m0 m1 m2 n0", "raid0", 4);
    expect_content(dir.path(), "m0 m1 m2 n0", &bytes);
}

/// After a SIGKILL nobody advises anything: `status` does, and what `continue` says. It was `next: null`, and a RAID4
/// without its parity for ever.
#[test]
fn status_leads_from_a_killed_growth_of_a_raid0_to_its_end() {
    let dir = tmp::on_disk();
    let bytes = array(dir.path(), "-l 0 -n 3 -c 64", "m0 m1 m2");
    let (code, _) =
        interrupt(dir.path(), "grow m0 m1 m2 --add n0 -n 4 --rate 16MiB", "KILL", is_moving);
    assert_eq!(code, None);
    let mut commands = Vec::new();
    while let Some(next) =
        reshape(dir.path(), "status --json n0 m2 m1 m0").expect_code(0).json()["next"].as_str()
    {
        obey(dir.path(), next);
        commands.push(next.to_owned());
    }
    let expected = ["reshape continue n0 m2 m1 m0", "reshape grow n0 m2 m1 m0 --level 0"];
    assert_eq!(commands, expected);
    expect_shape(dir.path(), "m0 m1 m2 n0", "raid0", 4);
    expect_content(dir.path(), "m0 m1 m2 n0", &bytes);
}

/// It was refused, first because n0 is a member already, then because the backup file exists.
#[test]
fn the_same_command_again_does_what_is_left_of_it() {
    let dir = tmp::on_disk();
    let bytes = array(dir.path(), "-l 5 -n 3 -c 64", "m0 m1 m2");
    let grow = "grow m0 m1 m2 --add n0 -l 6 -n 4 -c 128 --backup-file backup --yes";
    // As far as a kill after the first step left it: a spare, and a backup file of ours that holds nothing.
    reshape(dir.path(), "grow m0 m1 m2 -c 128 --backup-file backup --yes").expect_code(0);
    reshape(dir.path(), "grow m0 m1 m2 -c 64 --backup-file backup --yes").expect_code(0);
    reshape(dir.path(), "grow m0 m1 m2 --add n0 -l 5 -n 3 -c 64 --dry-run").expect_code(0);
    reshape(dir.path(), "grow m0 m1 m2 --add n0 --yes -c 128").expect_code(0);
    reshape(
        dir.path(),
        &format!("plan {}", grow.trim_start_matches("grow ").trim_end_matches(" --yes")),
    )
    .expect_code(0);
    reshape(dir.path(), grow).expect_code(0);
    expect_shape(dir.path(), "m0 m1 m2 n0", "raid6", 4);
    expect_content(dir.path(), "m0 m1 m2 n0", &bytes);
    // What is no backup of this array stays.
    array(dir.path(), "-l 5 -n 3 -c 64", "o0 o1 o2");
    let other =
        reshape(dir.path(), "grow o0 o1 o2 -c 128 --backup-file backup --yes").expect_code(2);
    assert!(other.stderr.contains("no backup of this reshape"), "{}", other.stderr);
}

/// Exit code 1, as if something was wrong with the array.
#[test]
fn interrupted_while_it_checks_first_is_interrupted() {
    let dir = tmp::on_disk();
    let bytes = array(dir.path(), "-l 5 -n 3 -c 64", "m0 m1 m2");
    let grow = "grow m0 m1 m2 -c 128 --rate 8MiB";
    for (option, phase) in [("--check-first", "check"), ("--prove", "verify")] {
        let line = format!("{grow} {option}");
        let (code, said) = interrupt(dir.path(), &line, "TERM", |line| line["phase"] == phase);
        assert_eq!(code, Some(130), "{said}");
        assert!(said.contains("run the same command again"), "{said}");
        expect_content(dir.path(), "m0 m1 m2", &bytes);
    }
}

/// Where a member that had been lost before came back, the bitmap that it remembers was to be removed from an array
/// that has none: "stopped: the array has no bitmap".
#[test]
fn bitmap_of_a_stale_member_is_none() {
    let dir = tmp::on_disk();
    let bytes = array(dir.path(), "-l 6 -n 5 -c 64 -b internal", "m0 m1 m2 m3 m4");
    std::fs::copy(dir.path().join("m4"), dir.path().join("old")).expect("copied");
    reshape(dir.path(), "grow m0 m1 m2 m3 m4 --bitmap none --yes").expect_code(0);
    reshape(dir.path(), "grow m0 m1 m2 m3 m4 --chunk 128 --yes").expect_code(0);
    std::fs::copy(dir.path().join("old"), dir.path().join("m4")).expect("copied");
    reshape(dir.path(), "grow m0 m1 m2 m3 m4 --chunk 64 --force --yes").expect_code(0);
    expect_content(dir.path(), "m0 m1 m2 m3", &bytes);
}

/// A growth that needs no backup file, as the new member keeps the backup, wanted one of whoever went on.
#[test]
fn a_backup_on_the_new_member_is_used_again() {
    let dir = tmp::on_disk();
    let bytes = array(dir.path(), "-l 5 -n 3 -c 64 -e 1.0", "m0 m1 m2");
    let planned = reshape(dir.path(), "plan m0 m1 m2 --add n0 -n 4 --json").expect_code(0).json();
    assert_eq!(planned["steps"][1]["mode"], "backup-on-spares", "{planned}");
    let slow = "grow m0 m1 m2 --add n0 -n 4 --rate 256KiB --yes";
    let mut command = Command::new(reshape_binary());
    let command = command.args(slow.split_whitespace()).current_dir(dir.path());
    let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("it runs");
    let begun = || {
        let status = reshape(dir.path(), "status --json m0 m1 m2");
        status.code() == 0 && status.json()["reshape"]["position_sectors"] == 0
    };
    let looks = (0..1000).any(|_| begun() || child.try_wait().expect("a child").is_some());
    child.kill().expect("killed");
    let _status = child.wait().expect("ended");
    assert!(looks, "it does not begin");
    let status = reshape(dir.path(), "status --json m0 m1 m2 n0").expect_code(0).json();
    assert_eq!(status["reshape"]["needs_backup_file"], true, "{status}");
    assert_eq!(status["next"], "reshape continue m0 m1 m2 n0");
    reshape(dir.path(), "continue m0 m1 m2 n0 --yes").expect_code(0);
    expect_shape(dir.path(), "m0 m1 m2 n0", "raid5", 4);
    expect_content(dir.path(), "m0 m1 m2 n0", &bytes);
}

/// Who fills the slot of a RAID0's parity has content as well, so it cannot leave when the growth is turned around, as
/// others do. What it lacks is computed first; killed meanwhile, nothing is turned, and it goes on either way.
#[test]
fn growth_of_a_raid0_is_turned_around_with_its_parity() {
    let dir = tmp::on_disk();
    let bytes = array(dir.path(), "-l 0 -n 3 -c 64", "m0 m1 m2");
    let planned = reshape(dir.path(), "plan --json m0 m1 m2 --add n0 -n 4").expect_code(0).json();
    let mut steps = planned["steps"].as_array().expect("steps").iter();
    let step = steps.find(|step| step["step"] == "restripe").expect("a restripe");
    assert_eq!(step["revert"], "until-the-end", "{step}");
    let grow = "grow m0 m1 m2 --add n0 -n 4 --rate 48MiB";
    let (code, _) = interrupt(dir.path(), grow, "KILL", is_moving);
    assert_eq!(code, None);
    let computes = |line: &serde_json::Value| {
        line["phase"] == "rebuild" && line["bytes_done"].as_u64().is_some_and(|done| done > 0)
    };
    let revert = "revert m0 m1 m2 n0 --rate 16MiB";
    for (signal, ended) in [("KILL", None), ("TERM", Some(130))] {
        let (code, _) = interrupt(dir.path(), revert, signal, computes);
        assert_eq!(code, ended);
        let status = reshape(dir.path(), "status --json m0 m1 m2 n0").expect_code(0).json();
        assert_eq!(status["reshape"]["direction"], "forwards", "{status}");
    }
    let said = reshape(dir.path(), "revert m0 m1 m2 n0 --yes").expect_code(0);
    assert!(said.stderr.contains("reshape grow m0 m1 m2 n0 --level 0"), "{}", said.stderr);
    expect_shape(dir.path(), "m0 m1 m2 n0", "raid4", 4);
    expect_content(dir.path(), "m0 m1 m2 n0", &bytes);
    reshape(dir.path(), "grow m0 m1 m2 n0 --level 0 --yes").expect_code(0);
    expect_shape(dir.path(), "m0 m1 m2", "raid0", 3);
    expect_content(dir.path(), "m0 m1 m2", &bytes);
}

/// A growth of a RAID5 was turned around, and then a member was lost: no row verifies any more, and that the larger
/// array had never been full was taken for the place where the reshape stood. `continue` refused, and `salvage --yes`
/// recorded that place, from which all that had been moved would have been read wrongly.
#[test]
fn a_growth_that_was_turned_around_and_lost_a_member_goes_on_from_its_record() {
    let dir = tmp::on_disk();
    let bytes = array(dir.path(), "-l 5 -n 4 -c 256 --data-offset 3M", "m0 m1 m2 m3");
    let grow = "grow m0 m1 m2 m3 --add n0 -n 5 --rate 48MiB";
    let (code, _) = interrupt(dir.path(), grow, "KILL", is_moving);
    assert_eq!(code, None);
    let is_back = |line: &serde_json::Value| line["phase"] == "reshape";
    let revert = "revert m0 m1 m2 m3 n0 --rate 32MiB";
    let (code, _) = interrupt(dir.path(), revert, "KILL", is_back);
    assert_eq!(code, None);
    let status = reshape(dir.path(), "status --json m1 m2 m3 n0").expect_code(0).json();
    assert_eq!(status["reshape"]["direction"], "backwards", "{status}");
    let said = reshape(dir.path(), "salvage m1 m2 m3 n0").stdout;
    assert!(said.contains("verdict") && !said.contains("the record is wrong"), "{said}");
    reshape(dir.path(), "continue m1 m2 m3 n0 --yes").expect_code(0);
    expect_content(dir.path(), "m1 m2 m3 n0", &bytes);
}

/// Superblocks 0.90 do not say of a member in a new slot that it is in sync. Once it was turned around, all that is not
/// moved back yet stands on such members, too: with two of them there were "too few members", and nothing went on.
#[test]
fn a_growth_by_two_members_of_0_90_is_turned_around() {
    let dir = tmp::on_disk();
    let bytes = array(dir.path(), "-l 5 -n 3 -c 16 -e 0.90", "m0 m1 m2");
    let grow = "grow m0 m1 m2 --add n0 --add n1 -n 5 --backup-file backup --rate 48MiB";
    let (code, _) = interrupt(dir.path(), grow, "KILL", is_moving);
    assert_eq!(code, None);
    let file = "--backup-file backup";
    reshape(dir.path(), &format!("revert m0 m1 m2 n0 n1 {file} --yes")).expect_code(0);
    expect_shape(dir.path(), "m0 m1 m2", "raid5", 3);
    expect_content(dir.path(), "m0 m1 m2", &bytes);
}

/// 341 chunks of 16 KiB are the array then: it was recorded that the reshape begins behind the last one, which is no
/// multiple of the larger chunk, and neither `grow` nor `continue` went on from there.
#[test]
fn a_raid10_that_is_no_whole_number_of_larger_chunks_is_moved_down() {
    let dir = tmp::on_disk();
    let shape = "-l 10 -n 4 -p n3 -c 32 -e 1.1 --size 4096 --data-offset 1024";
    let bytes = array(dir.path(), shape, "m0 m1 m2 m3");
    let plan = reshape(dir.path(), "plan --json m0 m1 m2 m3 -c 16").expect_code(0).json();
    assert_eq!(plan["steps"][0]["direction"], "backwards", "{plan}");
    assert_eq!(plan["steps"][0]["after"]["array_bytes"], 341 << 14, "{plan}");
    reshape(dir.path(), "grow m0 m1 m2 m3 -c 16 --yes").expect_code(0);
    expect_content(dir.path(), "m0 m1 m2 m3", &bytes);
}
