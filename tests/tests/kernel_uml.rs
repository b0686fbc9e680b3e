//! The kernel's own kcopyd (6.1, user-mode Linux) as a witness.
//!
//! What it leaves on a disk is compared from outside of the machine with the source.

use std::path::{Path, PathBuf};
use tests::data;
use tests::tmp;
use tests::uml::Machine;

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
