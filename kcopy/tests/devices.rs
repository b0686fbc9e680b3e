//! Devices: what may be opened, and what is found out about it.

use std::fs;
use std::os::unix::fs::symlink;

use kcopy::device::{DeviceKind, Direct, OpenErrorKind, OpenOptions};
use kcopy::{Client, Device, Extent, Job, SubmitError};

#[test]
fn a_file_is_opened_with_its_size_and_identity() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a");
    fs::write(&path, vec![7; 1000]).unwrap();
    fs::hard_link(&path, dir.path().join("b")).unwrap();
    symlink(&path, dir.path().join("c")).unwrap();
    let device = Device::open(&path, &OpenOptions::source()).unwrap();
    assert_eq!((device.size(), device.facts().kind), (1000, DeviceKind::File));
    assert!(device.facts().readable && !device.facts().writable);
    for other in ["b", "c"] {
        let other = Device::open(dir.path().join(other), &OpenOptions::source()).unwrap();
        assert!(device.is_same(&other) && device.shares_storage_with(&other));
    }
    fs::write(&path, vec![7; 3000]).unwrap();
    assert_eq!(device.refresh_size().unwrap(), 3000);
}

#[test]
fn what_cannot_hold_regions_is_refused_by_kind() {
    let dir = tempfile::tempdir().unwrap();
    let open = |path: &std::path::Path| {
        Device::open(path, &OpenOptions::source()).map(drop).map_err(|error| error.kind)
    };
    assert_eq!(open(dir.path()), Err(OpenErrorKind::Directory));
    assert_eq!(open(&dir.path().join("none")), Err(OpenErrorKind::NotFound));
    assert_eq!(open("/dev/zero".as_ref()), Err(OpenErrorKind::NotADevice));
    // A source is never made.
    assert!(!dir.path().join("none").exists());
}

#[test]
fn a_destination_is_made_and_extended_and_keeps_its_tail() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("new");
    let options = OpenOptions::destination().create(true);
    let device = Device::open(&path, &options).unwrap();
    device.extend(5000).unwrap();
    device.extend(100).unwrap();
    assert_eq!(fs::metadata(&path).unwrap().len(), 5000);
    assert_eq!(device.size(), 5000);
}

#[test]
fn holes_are_found_and_cover_the_range_without_gaps() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("sparse");
    let file = fs::File::create(&path).unwrap();
    file.set_len(1 << 20).unwrap();
    std::os::unix::fs::FileExt::write_all_at(&file, &[1; 4096], 512 << 10).unwrap();
    let device = Device::open(&path, &OpenOptions::source().direct(Direct::Never)).unwrap();
    let extents: Vec<_> = device.extents(100, (1 << 20) - 200).collect();
    let mut at = 100;
    for extent in &extents {
        assert_eq!(extent.offset, at);
        at += extent.len;
    }
    assert_eq!(at, (1 << 20) - 100);
    let data: Vec<_> = extents.iter().filter(|extent| !extent.hole).collect();
    assert!(data.len() == 1 && data[0].offset <= 512 << 10, "{extents:?}");
}

/// What had been cut off counted as a hole, and so as zeros: copies and comparisons missed it.
#[test]
fn behind_the_end_of_a_file_that_was_cut_off_there_is_no_hole() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("sparse");
    let file = fs::File::create(&path).unwrap();
    file.set_len(4 << 20).unwrap();
    let device = Device::open(&path, &OpenOptions::source()).unwrap();
    file.set_len(1 << 20).unwrap();
    let runs: Vec<_> = device.extents(0, 4 << 20).map(|run| (run.offset, run.len)).collect();
    let behind = device.extents(1 << 20, 3 << 20).collect::<Vec<_>>();
    assert_eq!(runs, [(0, 1 << 20), (1 << 20, 3 << 20)]);
    assert!(behind.len() == 1 && !behind[0].hole, "{behind:?}");
}

#[test]
fn regions_that_do_not_fit_a_device_without_page_cache_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let open = |name: &str, direct| {
        let path = dir.path().join(name);
        fs::write(&path, vec![7; 1 << 16]).unwrap();
        Device::open(&path, &OpenOptions::destination().direct(direct)).unwrap()
    };
    let (cached, direct) = (open("cached", Direct::Auto), open("direct", Direct::Always));
    let client = Client::builder().build().unwrap();
    let copy = |from, to| client.run(Job::copy(from).to(to));
    for (offset, len) in [(1, 4096), (4096, 4095), (100, 100)] {
        let [fits, misfits] = [&cached, &direct].map(|device| Extent::new(device, offset, len));
        for found in [copy(fits.clone(), misfits.clone()), copy(misfits, fits)] {
            let is_named = matches!(&found, Err(SubmitError::Misaligned { device, .. })
                if device.is_same(&direct));
            assert!(is_named, "{offset} {len}: {found:?}");
        }
    }
    let whole = [&cached, &direct].map(|device| Extent::new(device, 4096, 8192));
    let [from, to] = whole;
    assert!(copy(from, to).unwrap().is_ok());
}
