//! What sysfs and procfs know about a block device.

use std::fs;
use std::path::{Path, PathBuf};

use super::{Device, Identity};

/// The directory of the block device with number `rdev`.
fn directory(rdev: u64) -> PathBuf {
    let (major, minor) = (rustix::fs::major(rdev), rustix::fs::minor(rdev));
    PathBuf::from(format!("/sys/dev/block/{major}:{minor}"))
}

fn number(path: &Path) -> Option<u64> {
    fs::read_to_string(path).ok()?.trim().parse().ok()
}

/// Whether the kernel refuses writes to a block device.
pub(super) fn is_read_only(rdev: u64) -> bool {
    number(&directory(rdev).join("ro")) == Some(1)
}

/// What the kernel knows about the use and the abilities of a block device.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BlockFacts {
    /// Where it, or a partition of it, is mounted, or that it is swap space.
    pub mounts: Vec<String>,
    /// Names of devices that are built on it (md, device mapper).
    pub holders: Vec<String>,
    /// The kernel refuses writes.
    pub read_only: bool,
    /// Bytes that one discard may cover; 0: no discard.
    pub discard_max_bytes: u64,
    /// Bytes that one write-zeroes command may cover; 0: the kernel writes zeros itself.
    pub write_zeroes_max_bytes: u64,
    /// It has a volatile write cache.
    pub write_back_cache: bool,
    /// The file behind a loop device.
    pub backing_file: Option<PathBuf>,
}

impl Device {
    /// What the kernel knows about a block device; `None` for a file.
    pub fn block_facts(&self) -> Option<BlockFacts> {
        let Identity::Block { rdev } = self.facts().identity else { return None };
        let own = directory(rdev);
        // The queue belongs to the whole disk.
        let queue =
            if own.join("queue").exists() { own.join("queue") } else { own.join("../queue") };
        let cache = fs::read_to_string(queue.join("write_cache")).unwrap_or_default();
        Some(BlockFacts {
            mounts: mounts(rdev),
            holders: names(&own.join("holders")),
            read_only: is_read_only(rdev),
            discard_max_bytes: number(&queue.join("discard_max_bytes")).unwrap_or(0),
            write_zeroes_max_bytes: number(&queue.join("write_zeroes_max_bytes")).unwrap_or(0),
            write_back_cache: cache.trim() == "write back",
            backing_file: backing_file(rdev),
        })
    }

    /// Whether writing to one may change the other although they are different devices: a disk and
    /// its partition, a loop device and the file behind it.
    pub fn shares_storage_with(&self, other: &Self) -> bool {
        self.is_same(other)
            || lies_on(self.facts().identity, other.facts().identity)
            || lies_on(other.facts().identity, self.facts().identity)
    }
}

/// Whether `upper` is a part of, or built directly on, `lower`.
fn lies_on(upper: Identity, lower: Identity) -> bool {
    use std::os::unix::fs::MetadataExt;
    let Identity::Block { rdev } = upper else { return false };
    match lower {
        Identity::Block { rdev: disk } => {
            let own = directory(rdev);
            let is_partition = own.join("partition").exists();
            is_partition && device_number(&own.join("..")) == Some(disk)
        }
        Identity::File { dev, ino } => backing_file(rdev)
            .and_then(|path| fs::metadata(path).ok())
            .is_some_and(|found| found.dev() == dev && found.ino() == ino),
        Identity::Internal { .. } => false,
    }
}

fn device_number(directory: &Path) -> Option<u64> {
    let text = fs::read_to_string(directory.join("dev")).ok()?;
    let (major, minor) = text.trim().split_once(':')?;
    Some(rustix::fs::makedev(major.parse().ok()?, minor.parse().ok()?))
}

fn backing_file(rdev: u64) -> Option<PathBuf> {
    let text = fs::read_to_string(directory(rdev).join("loop/backing_file")).ok()?;
    Some(PathBuf::from(text.trim_end_matches('\n')))
}

fn names(directory: &Path) -> Vec<String> {
    let Ok(entries) = fs::read_dir(directory) else { return Vec::new() };
    entries.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
}

/// Where the device or one of its partitions is mounted; "swap" if it is swap space.
fn mounts(rdev: u64) -> Vec<String> {
    let mut numbers = vec![rdev];
    let own = directory(rdev);
    for name in names(&own) {
        let part = own.join(&name);
        if part.join("partition").exists() {
            numbers.extend(device_number(&part));
        }
    }
    let table = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let mut found = Vec::new();
    for line in table.lines() {
        let mut fields = line.split(' ');
        let (Some(device), Some(point)) = (fields.nth(2), fields.nth(1)) else { continue };
        let parsed = device.split_once(':').and_then(|(major, minor)| {
            Some(rustix::fs::makedev(major.parse().ok()?, minor.parse().ok()?))
        });
        if parsed.is_some_and(|number| numbers.contains(&number)) {
            found.push(point.to_owned());
        }
    }
    let swaps = fs::read_to_string("/proc/swaps").unwrap_or_default();
    for path in swaps.lines().skip(1).filter_map(|line| line.split_whitespace().next()) {
        use std::os::unix::fs::MetadataExt;
        if fs::metadata(path).is_ok_and(|found| numbers.contains(&found.rdev())) {
            found.push("swap".into());
        }
    }
    found
}
