//! Claimed block devices: nobody else gets them while a client has them, everybody right after.

use kcopy::device::{OpenErrorKind, OpenOptions};
use kcopy::{BackendChoice, Client, Device, Extent, Job};
use tests::loopdev::LoopDevice;

fn copy_once(choice: BackendChoice, from: &Device, path: &std::path::Path) {
    let to = Device::open(path, &OpenOptions::destination()).expect("the device is free");
    let second = Device::open(path, &OpenOptions::destination()).expect_err("claimed");
    assert_eq!(second.kind, OpenErrorKind::InUse);
    let client = Client::builder().backend(choice).build().expect("a client");
    let len = from.size();
    let outcome = client.run(Job::copy(Extent::new(from, 0, len)).to(Extent::new(&to, 0, len)));
    assert!(outcome.expect("accepted").is_ok());
}

/// A closed ring is taken apart by the kernel some time later; the claim must not last that long.
#[test]
fn root_a_claimed_device_is_free_as_soon_as_its_client_is_gone() {
    tests::require_root();
    let dir = tests::tmp::in_memory();
    let source = LoopDevice::create(dir.path(), "source", 256 << 10);
    let target = LoopDevice::create(dir.path(), "target", 256 << 10);
    let from = Device::open(source.path(), &OpenOptions::source()).expect("a source");
    for choice in [BackendChoice::Auto, BackendChoice::Threads] {
        for _ in 0..30 {
            copy_once(choice, &from, target.path());
        }
    }
}
