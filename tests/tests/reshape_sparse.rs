//! Members that are sparse files: what is a hole stays one, and costs nothing.

use std::fs::{self, File};
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

use tempfile::TempDir;
use tests::binary::{Finished, reshape};
use tests::loopdev::LoopDevice;
use tests::mount::Mounted;
use tests::tmp::text;
use tests::{data, tmp};

const MIB: u64 = 1 << 20;
/// What the array uses of each member, and where that begins.
const MEMBER: u64 = 4096 * MIB;
const OFFSET: u64 = 16 * MIB;
/// Where an array of three data disks has something, in bytes, and how much: at the start, across the middle, at
/// the end, and pieces that begin and end inside a block.
const PIECES: [(u64, usize); 5] = [
    (0, 3 << 20),
    (6 * 1024 * MIB - 151 * 512, 2_000_003),
    (9 * 1024 * MIB + 512, 1),
    (11 * 1024 * MIB + 65_536, 65_536),
    (3 * MEMBER - (1 << 20), 1 << 20),
];

/// An array of sparse files that holds a few pieces far apart.
struct Sparse {
    dir: TempDir,
    members: Vec<PathBuf>,
}

impl Sparse {
    /// A RAID5 of four members.
    fn new() -> Self {
        let dir = tmp::on_disk();
        let members: Vec<PathBuf> = (0..4).map(|n| dir.path().join(format!("m{n}"))).collect();
        let made = Self { dir, members };
        let [size, offset, file] =
            [MEMBER, OFFSET, MEMBER + 4 * OFFSET].map(|bytes| format!("{}MiB", bytes / MIB));
        let shape =
            ["create", "-q", "--yes", "--level", "5", "--raid-devices", "4", "--chunk", "64KiB"];
        let sizes = ["--size", &size, "--create-files", &file, "--data-offset", &offset];
        reshape(shape.into_iter().chain(sizes).chain(made.paths())).expect_code(0);
        for (seed, (at, len)) in (1..).zip(PIECES) {
            let piece = made.dir.path().join("piece");
            fs::write(&piece, data::bytes(seed, len)).expect("room");
            let at = at.to_string();
            let line = ["import", "-q", "--yes", "--from", text(&piece), "--offset", &at];
            reshape(line.into_iter().chain(made.paths())).expect_code(0);
        }
        made
    }

    fn paths(&self) -> impl Iterator<Item = &str> {
        self.members.iter().map(|path| text(path))
    }

    /// A new file that is as long as a member.
    fn another(&self, name: &str) -> PathBuf {
        let path = self.dir.path().join(name);
        File::create(&path).and_then(|file| file.set_len(MEMBER + 4 * OFFSET)).expect("a file");
        path
    }

    /// Runs a command on all members.
    fn run(&self, line: &[&str]) -> Finished {
        reshape(line.iter().copied().chain(self.paths())).expect_code(0)
    }

    /// Bytes of all members that take room.
    fn allocated(&self) -> u64 {
        let blocks = |path: &PathBuf| fs::metadata(path).expect("it is there").blocks();
        self.members.iter().map(|path| blocks(path) * 512).sum()
    }

    /// The pieces are there, and zeros beside them.
    fn expect_content(&self) {
        let out = self.dir.path().join("out");
        for (seed, (at, len)) in (1..).zip(PIECES) {
            let (from, count) = (at.to_string(), len.to_string());
            self.run(&["export", "-q", "--to", text(&out), "--offset", &from, "--count", &count]);
            assert!(fs::read(&out).expect("it was made") == data::bytes(seed, len), "at {at}");
        }
        let (beside, count) = (9 * 1024 * MIB + 1024, 1 << 20);
        let line = ["--offset", &beside.to_string(), "--count", &count.to_string()];
        self.run(&[&["export", "-q", "--to", text(&out)][..], &line].concat());
        assert!(fs::read(&out).expect("it was made") == vec![0; count], "nothing was there");
    }
}

/// Every hole was filled with zeros: members of 64 GiB took 64 GiB each, in the middle of a reshape.
#[test]
fn sparse_members_stay_sparse_when_they_are_reshaped() {
    let mut array = Sparse::new();
    let before = array.allocated();
    let more = array.another("m4");
    array.run(&["grow", "-q", "--yes", "--raid-devices", "5", "--add", text(&more)]);
    array.members.push(more);
    // What was there keeps its room, also where it is zeros now.
    let after = array.allocated();
    assert!(after <= 2 * before, "{before} bytes before, {after} after");
    array.expect_content();
}

/// A rebuild wrote zeros to all of a new sparse file, an export to all of the file that it made; a check read every
/// hole.
#[test]
fn a_rebuild_and_an_export_keep_holes_and_a_check_does_not_read_them() {
    let mut array = Sparse::new();
    let before = array.allocated();
    let lost = array.members.remove(1);
    fs::remove_file(&lost).expect("it is there");
    // It is not empty: what it was used for before is to be overwritten.
    let new = array.another("new");
    for at in [OFFSET + 700 * MIB, OFFSET + 1001 * MIB + 512] {
        data::overwrite_at(&new, 9, at, 100_000);
    }
    array.expect_content();
    array.run(&["rebuild", "-q", "--yes", "--add", text(&new)]);
    array.members.push(new);
    let after = array.allocated();
    assert!(after <= before + 2 * MIB, "{before} bytes before, {after} after");
    array.expect_content();
    let checked = array.run(&["check", "--json"]).json();
    assert_eq!(checked["mismatch_sectors"], 0, "{checked}");

    // A wrong block in what is a hole otherwise is found.
    data::overwrite_at(&array.members[2], 7, OFFSET + 3000 * MIB + 4096, 512);
    let line = ["check", "--json"].into_iter().chain(array.paths());
    let checked = reshape(line).expect_code(1).json();
    assert_eq!(checked["mismatch_sectors"], 8, "{checked}");
    array.run(&["check", "-q", "--yes", "--repair"]);

    let out = array.dir.path().join("all");
    array.run(&["export", "-q", "--to", text(&out)]);
    let made = fs::metadata(&out).expect("it was made");
    assert_eq!(made.len(), 3 * MEMBER);
    assert!(made.blocks() * 512 < 16 * MIB, "{} bytes of a sparse export", made.blocks() * 512);
    for (seed, (at, len)) in (1..).zip(PIECES) {
        assert!(data::read_at(&out, at, len) == data::bytes(seed, len), "at {at}");
    }
}

/// Who lay on a full file system was taken for failed, one after the other, and left the array.
#[test]
fn root_a_full_file_system_ends_a_reshape_and_nobody_leaves() {
    let dir = tmp::on_disk();
    let disk = LoopDevice::create(dir.path(), "disk", 192 * MIB);
    let mounted = Mounted::ext4(disk);
    let at = |name: &str| mounted.path().join(name);
    let members: Vec<PathBuf> = (0..4).map(|n| at(&format!("m{n}"))).collect();
    let paths: Vec<&str> = members.iter().map(|path| text(path)).collect();
    let shape =
        ["create", "-q", "--yes", "--level", "5", "--raid-devices", "3", "--chunk", "64KiB"];
    let sizes = ["--size", "48MiB", "--data-offset", "8MiB", "--create-files", "60MiB"];
    reshape([&shape[..], &sizes, &paths[..3]].concat()).expect_code(0);
    let content = dir.path().join("content");
    data::write_file(&content, 1, 80 * MIB);
    reshape([&["import", "-q", "--yes", "--from", text(&content)], &paths[..3]].concat())
        .expect_code(0);
    File::create(&members[3]).and_then(|file| file.set_len(60 * MIB)).expect("a file");
    // Room for half of what the fourth member will get.
    let free = rustix::fs::statvfs(mounted.path()).expect("a file system");
    let ballast = at("ballast");
    data::write_file(&ballast, 2, (free.f_bavail * free.f_frsize).saturating_sub(12 * MIB));

    let wanted = ["plan", "--json", "--raid-devices", "4", "--add", paths[3]];
    let plan = reshape([&wanted[..], &paths[..3]].concat()).expect_code(0).json();
    let space = &plan["space"][0];
    let bytes = |what: &str| space[what].as_u64().unwrap_or_else(|| panic!("{what}: {plan}"));
    // All content with its parity, which is more than the holes of the members.
    assert_eq!(bytes("likely_bytes"), bytes("most_bytes"), "{plan}");
    assert!(bytes("free_bytes") < 16 * MIB && bytes("most_bytes") > 90 * MIB, "{plan}");
    let grow = ["grow", "--yes", "--raid-devices", "4", "--add", paths[3]];
    let full = reshape([&grow[..], &paths[..3]].concat()).expect_code(1);
    assert!(full.stderr.contains("if it gets full the change stops"), "{}", full.stderr);
    let (message, hint) =
        ("there is no room left where", "no member left the array: free room there");
    assert!(full.stderr.contains(message) && full.stderr.contains(hint), "{}", full.stderr);
    let state = reshape([&["status", "--json"], &paths[..]].concat()).json();
    assert_eq!(state["failed"], serde_json::Value::Null, "{state}");
    // It is still full.
    let again = reshape([&["continue", "--yes"], &paths[..]].concat()).expect_code(1);
    assert!(again.stderr.contains(message), "{}", again.stderr);

    fs::remove_file(&ballast).expect("it is there");
    reshape([&["continue", "--yes"], &paths[..]].concat()).expect_code(0);
    reshape([&["check"], &paths[..]].concat()).expect_code(0);
    let report = reshape([&["detail", "--json"], &paths[..]].concat()).expect_code(0).json();
    assert_eq!((&report["state"], &report["degraded"]), (&"clean".into(), &0.into()), "{report}");
    let in_sync = |member: &&serde_json::Value| member["state"] == "in_sync";
    let members = report["members"].as_array().expect("a list");
    assert_eq!(members.iter().filter(in_sync).count(), 4, "{report}");
    let out = dir.path().join("out");
    let size = (80 * MIB).to_string();
    let export = ["export", "-q", "--to", text(&out), "--count", &size];
    reshape([&export[..], &paths].concat()).expect_code(0);
    data::expect_equal((&content, 0), (&out, 0), 80 * MIB);
}
