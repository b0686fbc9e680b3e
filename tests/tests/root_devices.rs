//! `kcopy` on block devices: loop devices, past the page cache, as root.
//!
//! The bytes are compared through the files behind the devices, not by `kcopy`.

use std::path::Path;
use tests::binary::kcopy;
use tests::data;
use tests::loopdev::{Attach, LoopDevice};
use tests::mount::Mounted;
use tests::tmp;

const MIB: u64 = 1 << 20;
const BACKENDS: [&str; 2] = ["io-uring", "threads"];
const NO_SPACE: i64 = 28;

fn device(dir: &Path, name: &str, seed: u64, size: u64, logical_block: u32) -> LoopDevice {
    let backing = dir.join(name);
    data::write_file(&backing, seed, size);
    LoopDevice::over(&backing, Attach { logical_block, ..Attach::default() })
}

fn path(device: &LoopDevice) -> &str {
    device.path().to_str().expect("a name in /dev")
}

fn expect_untouched(device: &LoopDevice, seed: u64, size: u64) {
    let size = usize::try_from(size).expect("small");
    assert_eq!(data::read_at(device.backing(), 0, size), data::bytes(seed, size));
}

#[test]
fn root_copy_reaches_three_devices_past_the_page_cache() {
    for backend in BACKENDS {
        for block in [512, 4096] {
            let dir = tmp::on_disk();
            let source = device(dir.path(), "source", 1, 24 * MIB, block);
            let to: Vec<_> =
                (2..5).map(|n| device(dir.path(), &format!("to{n}"), n, 24 * MIB, block)).collect();
            let common = ["copy", "--json", "--verify", "--direct", "always", "--backend", backend];
            let devices = [path(&source)].into_iter().chain(to.iter().map(path));
            let json = kcopy(common.into_iter().chain(devices)).expect_code(0).json();
            assert_eq!(json["direct"], true);
            assert_eq!(json["backend"], backend);
            assert_eq!(json["source"]["bytes_read"], 24 * MIB, "one read for three destinations");
            for device in &to {
                data::expect_equal((source.backing(), 0), (device.backing(), 0), 24 * MIB);
            }
            expect_untouched(&source, 1, MIB);
        }
    }
}

#[test]
fn root_copy_between_devices_of_different_blocks_moves_a_range() {
    let dir = tmp::on_disk();
    let source = device(dir.path(), "source", 1, 8 * MIB, 512);
    let to = device(dir.path(), "to", 2, 8 * MIB, 4096);
    let range = ["copy", "--skip", "12KiB", "--seek", "1MiB", "--count", "3MiB"];
    let _done = kcopy(range.into_iter().chain([path(&source), path(&to)])).expect_code(0);
    data::expect_equal((source.backing(), 12 << 10), (to.backing(), MIB), 3 * MIB);
    let old = data::bytes(2, 8 << 20);
    assert_eq!(data::read_at(to.backing(), 0, 1 << 20), old[..1 << 20]);
    assert_eq!(data::read_at(to.backing(), 4 * MIB, 4 << 20), old[4 << 20..]);
}

#[test]
fn root_copy_refuses_a_device_that_is_too_small() {
    let dir = tmp::on_disk();
    let source = device(dir.path(), "source", 1, 4 * MIB, 512);
    let small = device(dir.path(), "small", 2, 3 * MIB, 512);
    let enough = device(dir.path(), "enough", 3, 4 * MIB, 512);
    let done = kcopy(["copy", path(&source), path(&enough), path(&small)]).expect_code(2);
    assert!(done.stderr.contains(path(&small)), "{}", done.stderr);
    expect_untouched(&small, 2, 3 * MIB);
    expect_untouched(&enough, 3, 4 * MIB);
}

#[test]
fn root_copy_refuses_a_mounted_device() {
    let dir = tmp::on_disk();
    let source = device(dir.path(), "source", 1, 8 * MIB, 512);
    let mounted = Mounted::ext4(LoopDevice::create(dir.path(), "mounted", 8 * MIB));
    let before = std::fs::read(mounted.device().backing()).unwrap();
    let done = kcopy(["copy", path(&source), path(mounted.device())]).expect_code(2);
    assert!(done.stderr.contains(path(mounted.device())), "{}", done.stderr);
    assert_eq!(std::fs::read(mounted.device().backing()).unwrap(), before);
}

#[test]
fn root_copy_refuses_a_read_only_device() {
    let dir = tmp::on_disk();
    let source = device(dir.path(), "source", 1, MIB, 512);
    let backing = dir.path().join("locked");
    data::write_file(&backing, 2, MIB);
    let locked = LoopDevice::over(&backing, Attach { read_only: true, ..Attach::default() });
    let done = kcopy(["copy", path(&source), path(&locked)]).expect_code(2);
    assert!(done.stderr.contains(path(&locked)), "{}", done.stderr);
    expect_untouched(&locked, 2, MIB);
}

#[test]
fn root_copy_refuses_what_direct_io_cannot_reach() {
    let dir = tmp::on_disk();
    let source = device(dir.path(), "source", 1, MIB, 4096);
    let to = device(dir.path(), "to", 2, MIB, 4096);
    let odd = ["copy", "--direct", "always", "--skip", "512", "--count", "4KiB"];
    let _done = kcopy(odd.into_iter().chain([path(&source), path(&to)])).expect_code(2);
    expect_untouched(&to, 2, MIB);
}

#[test]
fn root_full_file_system_fails_its_own_destination_only() {
    for backend in BACKENDS {
        let dir = tmp::on_disk();
        let source = device(dir.path(), "source", 1, 12 * MIB, 512);
        let full = Mounted::ext4(LoopDevice::create(dir.path(), "full", 8 * MIB));
        let (cramped, roomy) = (full.path().join("copy"), dir.path().join("copy"));
        let arguments = ["copy", "--json", "--backend", backend, "--continue-on-error"];
        let files = [path(&source), cramped.to_str().unwrap(), roomy.to_str().unwrap()];
        let json = kcopy(arguments.into_iter().chain(files)).expect_code(1).json();
        let to = json["destinations"].as_array().unwrap();
        assert_eq!(to[0]["error"]["errno"].as_i64(), Some(NO_SPACE), "{json}");
        assert!(to[0]["error"]["sector"].is_u64(), "{json}");
        assert!(to[1]["error"].is_null(), "{json}");
        data::expect_equal((source.backing(), 0), (&roomy, 0), 12 * MIB);
    }
}

#[test]
fn root_zero_makes_a_device_read_as_zeros() {
    for backend in BACKENDS {
        let dir = tmp::on_disk();
        let device = device(dir.path(), "disk", 2, 8 * MIB, 512);
        let _done = kcopy(["zero", "--backend", backend, path(&device)]).expect_code(0);
        assert!(data::read_at(device.backing(), 0, 8 << 20).iter().all(|byte| *byte == 0));
    }
}

#[test]
fn root_compare_finds_the_sector_that_differs() {
    let dir = tmp::on_disk();
    let one = device(dir.path(), "one", 1, 8 * MIB, 512);
    let two = device(dir.path(), "two", 1, 8 * MIB, 512);
    let _equal = kcopy(["compare", path(&one), path(&two)]).expect_code(0);
    let at = 5 * MIB;
    let file = std::fs::File::options().write(true).open(two.path()).unwrap();
    std::os::unix::fs::FileExt::write_all_at(&file, &[0; 512], at).unwrap();
    drop(file);
    let _differs = kcopy(["compare", path(&one), path(&two)]).expect_code(1);
}
