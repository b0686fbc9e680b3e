//! `reshape plan`: what people and programs are told, and that nothing is written.

use std::fs::{self, File};
use std::process::Command;

use kcopy::Sectors;
use reshape::geometry::Level;
use reshape::metadata::{
    ArrayName, BitmapRoom, DeviceFlags, Features, NewArray, NewDevice, Placement, Resync, Role,
    Timestamp, Uuid,
};
use reshape::units::Slot;
use tempfile::TempDir;
use tests::binary::{Finished, LIMIT, reshape_binary, run};
use tests::golden;
use tests::members::Members;
use tests::tmp;

/// 10 TB, as disks have them.
const DISK: u64 = 10_000_831_348_736;

/// Superblocks of an array on disks of 10 TB, in files that end behind them: `m0` and so on; and one
/// blank disk, `new`.
struct Big {
    dir: TempDir,
    members: u32,
}

impl Big {
    fn new(level: Level, layout: u32, members: u32) -> Self {
        let dir = tmp::in_memory();
        let (size, chunk) = (Sectors::new(DISK / 512), Sectors::new(1024));
        let version = "1.2".parse().expect("a version");
        let placement = Placement::usual(version, size, chunk, BitmapRoom::None).expect("room");
        let used = placement.data_size.get() / 1024 * 1024;
        let device = |slot| NewDevice {
            role: Role::Active(Slot::new(slot)),
            flags: DeviceFlags::empty(),
            major_minor: (0, 0),
        };
        let array = NewArray {
            uuid: Uuid(*b"an array of 40TB"),
            name: ArrayName::new("host:data").expect("short"),
            creation_time: Timestamp::from_seconds(1_700_000_000),
            level,
            layout,
            chunk,
            raid_disks: members,
            component_size: Sectors::new(used),
            resync: Resync::Clean,
            events: 10,
            md_minor: 0,
            features: Features::empty(),
            devices: (0..members).map(device).collect(),
        };
        for number in 0..members {
            let id = u8::try_from(number + 1).expect("few members");
            let superblock = array.superblock(number, &placement, Uuid([id; 16])).expect("fits");
            let mut bytes = vec![0; 4096];
            bytes.extend(superblock.to_bytes());
            bytes.resize(32 << 10, 0);
            fs::write(dir.path().join(format!("m{number}")), bytes).expect("written");
        }
        let blank = File::create(dir.path().join("new")).expect("created");
        blank.set_len(DISK).expect("sparse");
        Self { dir, members }
    }

    /// Runs `reshape plan` on the members with those options.
    fn plan(&self, options: &str) -> Finished {
        let members = (0..self.members).map(|number| format!("m{number}"));
        let mut command = Command::new(reshape_binary());
        command.current_dir(self.dir.path()).arg("plan").args(members);
        run(command.args(options.split_whitespace()), LIMIT)
    }
}

#[test]
fn plans_are_as_in_the_golden_files() {
    for (name, (level, layout, members), options) in [
        ("grow", (Level::Raid5, 2, 5), "--add new --raid-devices 6"),
        ("raid6", (Level::Raid5, 2, 5), "--add new --level 6"),
        ("shrink", (Level::Raid6, 2, 6), "-n 5 --array-size 29298914304 --backup-file backup"),
        ("chunk", (Level::Raid5, 2, 5), "--chunk 1M --speed 200MB"),
        ("chain", (Level::Raid6, 2, 6), "--level 0"),
        ("instant", (Level::Raid4, 0, 4), "--level 5"),
    ] {
        let big = Big::new(level, layout, members);
        let text = big.plan(options).expect_code(0).stdout;
        for line in text.lines() {
            assert!(line.len() <= 80, "{name} is wider than a terminal: {line}");
        }
        golden::expect(&format!("reshape/plan-{name}.txt"), &text);
    }
}
#[test]
fn programs_are_told_every_step() {
    let big = Big::new(Level::Raid5, 2, 5);
    let report = big.plan("--add new --level 6 --json").expect_code(0).json();
    assert_eq!(report["schema"], 1);
    assert_eq!(report["possible"], true);
    assert_eq!(report["before"]["level"], "raid5");
    assert_eq!(report["after"]["raid_devices"], 6);
    assert_eq!(report["backup_file_bytes"], 0);
    let steps = report["steps"].as_array().expect("steps");
    let names: Vec<_> = steps.iter().map(|step| step["step"].as_str()).collect();
    assert_eq!(names, [Some("add-disks"), Some("takeover"), Some("restripe")]);
    let restripe = &steps[2];
    assert_eq!(restripe["mode"], "data-offset");
    assert_eq!(restripe["direction"], "forwards");
    assert_eq!(restripe["critical_sectors"], serde_json::json!([0, 0]));
    assert_eq!(restripe["fills"], serde_json::json!([{"disk": "new", "slot": 5}]));
    assert_eq!(restripe["shifts"][0], serde_json::json!({"disk": "m0", "sectors": -133_120}));
    assert_eq!(restripe["traffic"].as_array().map(Vec::len), Some(6));
    let both = restripe["traffic"][5].clone();
    assert_eq!((both["disk"].as_str(), both["read_bytes"].as_u64()), (Some("new"), Some(0)));
    assert!(report["seconds"].as_u64().is_some_and(|seconds| seconds > 100_000));
}

#[test]
fn refusals_say_why_and_what_would_help() {
    let big = Big::new(Level::Raid5, 2, 5);
    for (options, code, message, remedy) in [
        ("", "nothing-to-do", "nothing would change", "say what is to be changed"),
        ("-n 6", "spares", "needs more disks for all of its members: 1", "--add"),
        ("-n 4", "would-shrink", "from 36.38 TiB to 27.28 TiB", "--array-size=29298914304"),
        ("-n 4 -Z 1T", "needs-backup", "0 KiB free behind its data", "--backup-file=FILE"),
        ("-z 1T -c 64", "size-alone", "together with anything else", "of its own"),
        ("-l 1", "takeover", "only a raid5 of 2 members", "number of members"),
        ("-c 768", "shape", "power of two", "reshape layout"),
        ("--data-offset 16K", "offset-outside", "data cannot begin at", "choose one from"),
    ] {
        let told = big.plan(options).expect_code(2);
        assert_eq!(told.stdout, "", "{options}");
        assert!(told.stderr.contains(message), "{options}: {}", told.stderr);
        let hint = told.stderr.lines().find(|line| line.starts_with("hint:"));
        assert!(hint.is_some_and(|hint| hint.contains(remedy)), "{options}: {}", told.stderr);
        let report = big.plan(&format!("{options} --json")).expect_code(2).json();
        assert_eq!(report["possible"], false);
        assert_eq!(report["refusal"], code, "{options}");
        assert!(report["message"].as_str().is_some_and(|told| told.contains(message)));
        assert!(report["remedy"].as_str().is_some_and(|told| told.contains(remedy)));
    }
}

#[test]
fn usage_is_refused_before_a_plan_is_made() {
    let big = Big::new(Level::Raid5, 2, 5);
    for (options, message) in [
        ("--layout nonsense", "nonsense"),
        ("--chunk 1B", "no whole sectors"),
        ("--add m0 -n 6", "the same device as m0"),
        ("--add new --add new -n 7", "the same device as new"),
        ("--size 1B", "no whole sectors"),
        ("--add missing -n 6", "missing"),
        ("--measure -c 64", "there is no data on it"),
    ] {
        let told = big.plan(options).expect_code(2);
        assert!(told.stderr.contains(message), "{options}: {}", told.stderr);
    }
}

#[test]
fn planning_writes_nothing_to_any_array_of_the_corpus() {
    for (name, options, first) in [
        ("raid0-512k", "-l 5 --force", "takeover"),
        ("raid1-v12", "-l 5", "takeover"),
        ("raid10-4d-n2", "-l 0", "takeover"),
        ("raid5-5d-4k-left-symmetric", "-p ra --backup-file b --measure", "restripe"),
        ("raid5-bitmap-v090", "-l 6 --force --backup-file b", "remove-bitmap"),
        ("raid4-v12", "-z max", "nothing-to-do"),
    ] {
        let members = Members::of(name);
        let before = members.state();
        let report = members.reshape(&format!("plan ALL {options} --json")).json();
        let said = report["steps"][0]["step"].as_str().or_else(|| report["refusal"].as_str());
        assert_eq!(said, Some(first), "{name}: {report}");
        assert_eq!(members.state(), before, "{name}");
    }
}

#[test]
fn an_array_amid_a_reshape_is_told_to_end_it_first() {
    let fixtures = tests::corpus::all(tests::corpus::Kind::Reshapes);
    let name = fixtures.first().expect("a reshape").name.clone();
    let members = Members::amid(&name);
    let told = members.reshape("plan ALL -n 9").expect_code(2);
    assert!(told.stderr.contains("a reshape is under way"), "{}", told.stderr);
}
