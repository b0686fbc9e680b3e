//! `kcopy` under another kernel (6.1, user-mode Linux), beside that kernel's own kcopyd.
//!
//! Same virtual disks, same bytes: what ours leaves on a disk is compared from outside of the
//! machine with the source, and with what kcopyd made of it.

use std::path::{Path, PathBuf};
use tests::data;
use tests::tmp;
use tests::uml::{Machine, quoted};

const DISK: u64 = 16 << 20;

/// A source and two destinations; the destinations start with other bytes.
struct Disks {
    source: PathBuf,
    first: PathBuf,
    second: PathBuf,
}

impl Disks {
    fn create(dir: &Path) -> Self {
        let disk = |name: &str, seed| {
            let path = dir.join(name);
            data::write_file(&path, seed, DISK);
            path
        };
        Self { source: disk("source", 1), first: disk("first", 2), second: disk("second", 3) }
    }

    fn machine(&self) -> Machine {
        Machine::new().disk(&self.source).disk(&self.first).disk(&self.second)
    }

    fn expect_copied(&self) {
        assert_eq!(data::read_at(&self.source, 0, 4096), data::bytes(1, 4096), "source written");
        data::expect_equal((&self.source, 0), (&self.first, 0), DISK);
        data::expect_equal((&self.source, 0), (&self.second, 0), DISK);
    }
}

#[test]
fn kernel_kcopyd_copies_to_two_disks() {
    let dir = tmp::in_memory();
    let disks = Disks::create(dir.path());
    let machine = disks.machine();
    let _seconds = machine.run("kcopyd-copy /dev/ubda /dev/ubdb /dev/ubdc").expect_code(0);
    disks.expect_copied();
}

#[test]
fn kernel_ours_copies_to_two_disks_on_io_uring() {
    ours_copies_to_two_disks("io-uring");
}

#[test]
fn kernel_ours_copies_to_two_disks_on_threads() {
    ours_copies_to_two_disks("threads");
}

#[test]
fn kernel_ours_copies_a_range_and_leaves_the_rest() {
    let dir = tmp::in_memory();
    let disks = Disks::create(dir.path());
    let kcopy = quoted(tests::kcopy_binary());
    let script = format!(
        "{kcopy} copy --skip 4096 --seek 1MiB --count 3MiB --verify /dev/ubda /dev/ubdb /dev/ubdc"
    );
    let _json = disks.machine().run(&script).expect_code(0);
    for (disk, seed) in [(&disks.first, 2), (&disks.second, 3)] {
        data::expect_equal((&disks.source, 4096), (disk, 1 << 20), 3 << 20);
        let mut old = data::bytes(seed, 5 << 20);
        assert_eq!(data::read_at(disk, 0, 1 << 20), old[..1 << 20]);
        assert_eq!(data::read_at(disk, 4 << 20, 1 << 20), old.split_off(4 << 20));
    }
}

fn ours_copies_to_two_disks(backend: &str) {
    let dir = tmp::in_memory();
    let disks = Disks::create(dir.path());
    let kcopy = quoted(tests::kcopy_binary());
    let copy = format!("{kcopy} copy --json --verify --backend {backend}");
    let done = disks.machine().run(&format!("{copy} /dev/ubda /dev/ubdb /dev/ubdc"));
    let json = done.expect_code(0).json();
    assert_eq!(json["backend"], backend);
    assert_eq!(json["bytes"], DISK);
    assert_eq!(json["source"]["bytes_read"], DISK, "the source is read once");
    for destination in json["destinations"].as_array().expect("a list") {
        assert_eq!(destination["bytes_written"], DISK);
        assert!(destination["error"].is_null());
    }
    disks.expect_copied();
}
