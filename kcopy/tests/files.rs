//! Jobs on real files, on every backend that works here.

use std::fs;
use std::path::Path;

use kcopy::device::OpenOptions;
use kcopy::{BackendChoice, Client, Device, Extent, Flags, Job, OnError, SubmitError};

fn clients() -> Vec<Client> {
    [BackendChoice::Auto, BackendChoice::Threads]
        .into_iter()
        .map(|choice| Client::builder().backend(choice).build().expect("a client"))
        .collect()
}

fn content(len: usize) -> Vec<u8> {
    (0..len).map(|i| u8::try_from((i * 31 + i / 4096 * 7) % 251).expect("below 251")).collect()
}

fn source(path: &Path, bytes: &[u8]) -> Device {
    fs::write(path, bytes).expect("a file");
    Device::open(path, &OpenOptions::source()).expect("a source")
}

fn destination(path: &Path) -> Device {
    Device::open(path, &OpenOptions::destination().create(true)).expect("a destination")
}

#[test]
fn a_file_is_copied_to_three_with_one_read() {
    let dir = tempfile::tempdir().unwrap();
    for client in clients() {
        for len in [1, 511, 512, 513, 4095, 4096, 4097, 1 << 20, (5 << 20) + 77] {
            let bytes = content(len);
            let from = source(&dir.path().join("from"), &bytes);
            let len = bytes.len() as u64;
            let mut job = Job::copy(Extent::new(&from, 0, len)).flush();
            let paths: Vec<_> = (0..3).map(|i| dir.path().join(format!("to{i}"))).collect();
            for path in &paths {
                job = job.to(Extent::new(&destination(path), 0, len));
            }
            let outcome = client.run(job).unwrap();
            assert!(outcome.is_ok(), "{outcome:?}");
            assert_eq!(client.stats().device(&from).bytes_read, len);
            for path in &paths {
                assert!(fs::read(path).unwrap() == bytes, "{} of {len}", path.display());
                fs::remove_file(path).unwrap();
            }
        }
    }
}

#[test]
fn odd_offsets_and_overlapping_moves_are_right() {
    let dir = tempfile::tempdir().unwrap();
    for client in clients() {
        let mut bytes = content(3 << 20);
        let path = dir.path().join("image");
        fs::write(&path, &bytes).unwrap();
        let image = destination(&path);
        let cases =
            [(100, 1100, 2_000_000), (4096, 0, 2 << 20), (0, 512, 3_000_000), (70_000, 69_999, 1)];
        for (from, to, len) in cases {
            let extent = |at: usize| Extent::new(&image, at as u64, len as u64);
            let job = Job::copy(extent(from)).to(extent(to));
            assert!(client.run(job).unwrap().is_ok());
            bytes.copy_within(from..from + len, to);
            assert!(fs::read(&path).unwrap() == bytes, "{from} -> {to}, {len}");
        }
    }
}

#[test]
fn a_source_that_ends_early_is_an_error_with_its_sector() {
    let dir = tempfile::tempdir().unwrap();
    for client in clients() {
        let path = dir.path().join("from");
        let from = source(&path, &content(1 << 20));
        fs::OpenOptions::new().write(true).open(&path).unwrap().set_len(700_000).unwrap();
        let to = destination(&dir.path().join("to"));
        let job = Job::copy(Extent::new(&from, 0, 1 << 20)).to(Extent::new(&to, 0, 1 << 20));
        let outcome = client.run(job).unwrap();
        let (_, fault) = outcome.read.expect("a read error");
        assert_eq!(fault.sector.get(), 700_000 / 512);
        assert_eq!((outcome.read_err(), outcome.write_err()), (1, 0));
    }
}

#[test]
fn zeros_are_zeroed_and_a_failed_destination_is_given_up_alone() {
    let dir = tempfile::tempdir().unwrap();
    for client in clients() {
        let mut bytes = content(2 << 20);
        bytes[65_536..1 << 20].fill(0);
        let from = source(&dir.path().join("from"), &bytes);
        let (good, bad) = (dir.path().join("good"), dir.path().join("bad"));
        fs::write(&good, vec![0xff; 2 << 20]).unwrap();
        fs::write(&bad, vec![0xff; 2 << 20]).unwrap();
        let options = OpenOptions { write: false, ..OpenOptions::destination() };
        let bad = Device::open(&bad, &options).unwrap();
        let len = 2 << 20;
        let job = Job::copy(Extent::new(&from, 0, len))
            .to(Extent::new(&destination(&good), 0, len))
            .on_error(OnError::Detach)
            .flags(Flags::SKIP_ZEROS | Flags::PUNCH_HOLES);
        let error = client.run(job.clone().to(Extent::new(&bad, 0, len))).unwrap_err();
        assert!(matches!(error, SubmitError::Access { .. }));
        assert!(client.run(job).unwrap().is_ok());
        assert!(fs::read(&good).unwrap() == bytes);
        let zero = Job::zero().to(Extent::new(&destination(&good), 4096, 1 << 20));
        assert!(client.run(zero).unwrap().is_ok());
        bytes[4096..4096 + (1 << 20)].fill(0);
        assert!(fs::read(&good).unwrap() == bytes);
    }
}

#[test]
fn differences_are_counted_and_located() {
    let dir = tempfile::tempdir().unwrap();
    for client in clients() {
        let bytes = content(3 << 20);
        let a = source(&dir.path().join("a"), &bytes);
        let mut other = bytes.clone();
        other[1_000_000] ^= 1;
        other[1_000_600] ^= 1;
        other[(3 << 20) - 1] ^= 1;
        let b = source(&dir.path().join("b"), &other);
        let len = 3 << 20;
        let job = Job::compare(Extent::new(&a, 0, len)).to(Extent::new(&b, 0, len));
        let outcome = client.run(job).unwrap();
        assert!(!outcome.is_ok());
        assert_eq!(outcome.destinations[0].differing_sectors, 3);
        let first = 1_000_000 / 512 * 512;
        assert_eq!(outcome.differences, [(0, first..first + 1024), (0, (3 << 20) - 512..3 << 20)]);
        let same = Job::compare(Extent::new(&a, 0, len)).to(Extent::new(&a, 0, len));
        assert!(client.run(same).unwrap().is_ok());
    }
}

#[test]
fn a_discarded_range_of_a_file_gives_its_space_back() {
    use std::os::unix::fs::MetadataExt;
    let dir = tempfile::tempdir().unwrap();
    for client in clients() {
        let path = dir.path().join("image");
        fs::write(&path, content(4 << 20)).unwrap();
        let image = destination(&path);
        let before = fs::metadata(&path).unwrap().blocks();
        let job = Job::discard().to(Extent::new(&image, 1 << 20, 2 << 20)).flush();
        let outcome = client.run(job).unwrap();
        assert!(outcome.is_ok(), "{outcome:?}");
        assert!(fs::metadata(&path).unwrap().blocks() < before || before == 0);
        assert_eq!(client.stats().bytes_discarded, 2 << 20);
        assert!(fs::read(&path).unwrap()[..1 << 20] == content(4 << 20)[..1 << 20]);
    }
}
