//! Devices as they are found on a real system: what may be opened, what is refused and why, what is
//! known of them.

use std::fs::{self, File};
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::Command;

use kcopy::Device;
use kcopy::device::{Direct, OpenErrorKind, OpenOptions};
use rustix::fs::OFlags;
use tests::binary::{LIMIT, run};
use tests::loopdev::{Attach, LoopDevice};
use tests::mount::Mounted;
use tests::{data, tmp};

const SIZE: u64 = 1 << 20;

fn source(path: &Path) -> Device {
    Device::open(path, &OpenOptions::source()).expect("a source")
}

fn refusal(path: &Path, options: &OpenOptions) -> OpenErrorKind {
    let error = Device::open(path, options).expect_err("refused");
    let text = error.to_string();
    assert!(text.contains(&path.display().to_string()), "no path: {text}");
    error.kind
}

#[test]
fn pipes_and_sockets_are_refused_without_waiting_for_the_other_end() {
    let dir = tmp::on_disk();
    let (pipe, socket) = (dir.path().join("pipe"), dir.path().join("socket"));
    drop(run(Command::new("mkfifo").arg(&pipe), LIMIT).expect_code(0));
    let _listener = UnixListener::bind(&socket).unwrap();
    for path in [&pipe, &socket] {
        assert_eq!(refusal(path, &OpenOptions::source()), OpenErrorKind::NotADevice);
        assert_eq!(refusal(path, &OpenOptions::destination()), OpenErrorKind::NotADevice);
    }
}

#[test]
fn a_file_in_memory_has_no_direct_route() {
    let dir = tmp::in_memory();
    let path = dir.path().join("file");
    data::write_file(&path, 1, SIZE);
    assert_eq!(source(&path).facts().direct, None);
    let always = OpenOptions::source().direct(Direct::Always);
    assert_eq!(refusal(&path, &always), OpenErrorKind::NoDirect);
}

#[test]
fn direct_io_beside_the_cache_keeps_to_whole_pages() {
    let dir = tmp::on_disk();
    let path = dir.path().join("file");
    data::write_file(&path, 1, SIZE);
    // Where there is no direct I/O there is nothing to mix.
    if let Some(direct) = source(&path).facts().direct {
        assert!(direct.offset >= 4096, "{direct:?}");
    }
    let never = Device::open(&path, &OpenOptions::source().direct(Direct::Never)).unwrap();
    assert_eq!(never.facts().direct, None);
}

#[test]
fn an_open_file_is_taken_as_it_was_opened() {
    let dir = tmp::on_disk();
    let path = dir.path().join("file");
    data::write_file(&path, 1, SIZE);
    let taken = |file: File| Device::from_file(file, &path, Direct::Auto).expect("a device");
    let read = taken(File::open(&path).unwrap());
    assert!(read.facts().readable && !read.facts().writable);
    let write = taken(File::options().write(true).open(&path).unwrap());
    assert!(!write.facts().readable && write.facts().writable);
    assert!(read.is_same(&write));
    let flags = OFlags::DIRECT.bits().cast_signed();
    if let Ok(direct) = File::options().read(true).custom_flags(flags).open(&path) {
        // The ragged end of it can be read all the same.
        let device = taken(direct);
        let client = kcopy::Client::builder().build().unwrap();
        let to = dir.path().join("to");
        let options = OpenOptions::destination().create(true);
        let to = Device::open(&to, &options).unwrap();
        let part = |device: &Device| kcopy::Extent::new(device, 1, 777);
        let outcome = client.run(kcopy::Job::copy(part(&device)).to(part(&to))).unwrap();
        assert!(outcome.is_ok(), "{outcome:?}");
    }
    let directory = File::open(dir.path()).unwrap();
    let refused = Device::from_file(directory, dir.path(), Direct::Auto).expect_err("refused");
    assert_eq!(refused.kind, OpenErrorKind::NotADevice);
}

#[test]
fn a_file_does_not_grow_beyond_all_bounds() {
    let dir = tmp::on_disk();
    let path = dir.path().join("file");
    let file = Device::open(&path, &OpenOptions::destination().create(true)).unwrap();
    file.extend(u64::MAX).expect_err("no file is that large");
    assert_eq!(fs::metadata(&path).unwrap().len(), 0);
}

#[test]
fn root_a_read_only_device_is_refused_as_a_destination() {
    let dir = tmp::on_disk();
    let attach = Attach { read_only: true, ..Attach::default() };
    let disk = LoopDevice::create_with(dir.path(), "disk", SIZE, attach);
    assert_eq!(refusal(disk.path(), &OpenOptions::destination()), OpenErrorKind::ReadOnly);
    let facts = source(disk.path()).block_facts().unwrap();
    assert!(facts.read_only);
}

#[test]
fn root_a_mounted_device_is_refused_as_a_destination_and_says_where() {
    let dir = tmp::on_disk();
    let mounted = Mounted::ext4(LoopDevice::create(dir.path(), "disk", 8 << 20));
    let path = mounted.device().path();
    assert_eq!(refusal(path, &OpenOptions::destination()), OpenErrorKind::InUse);
    let mounts = source(path).block_facts().unwrap().mounts;
    assert_eq!(mounts, [mounted.path().display().to_string()]);
}

#[test]
fn root_a_loop_device_shares_storage_with_all_that_it_stands_on() {
    let dir = tmp::on_disk();
    let disk = LoopDevice::create(dir.path(), "disk", 8 << 20);
    let device = source(disk.path());
    let (behind, other) = (source(disk.backing()), dir.path().join("other"));
    data::write_file(&other, 1, SIZE);
    let other = source(&other);
    assert!(device.shares_storage_with(&behind) && behind.shares_storage_with(&device));
    assert!(!device.shares_storage_with(&other) && !other.shares_storage_with(&behind));
    let named = device.block_facts().unwrap().backing_file;
    assert_eq!(named.as_deref(), Some(disk.backing()));
    // A loop device over a loop device stands on the first one's file, too.
    let upper = LoopDevice::over(disk.path(), Attach::default());
    let upper = source(upper.path());
    assert!(upper.shares_storage_with(&device) && upper.shares_storage_with(&behind));
    assert!(!upper.shares_storage_with(&other));
}

#[test]
fn root_a_block_device_is_data_throughout_and_has_its_blocks() {
    let dir = tmp::on_disk();
    let attach = Attach { logical_block: 4096, ..Attach::default() };
    let disk = LoopDevice::create_with(dir.path(), "disk", SIZE, attach);
    let device = source(disk.path());
    assert_eq!((device.size(), device.facts().logical_block), (SIZE, 4096));
    let extents: Vec<_> = device.extents(0, SIZE).collect();
    assert!(extents.len() == 1 && extents[0].len == SIZE && !extents[0].hole, "{extents:?}");
    let claimed = Device::open(disk.path(), &OpenOptions::destination()).unwrap();
    claimed.extend(SIZE).unwrap();
    claimed.extend(SIZE + 1).expect_err("a disk does not grow");
}
