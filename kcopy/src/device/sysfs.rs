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

/// Whether `upper` is a part of, or built on, `lower`, however many devices are in between.
fn lies_on(upper: Identity, lower: Identity) -> bool {
    let (mut seen, mut left) = (vec![upper], vec![upper]);
    while let Some(next) = left.pop() {
        for below in directly_below(next) {
            if below == lower {
                return true;
            }
            if !seen.contains(&below) {
                seen.push(below);
                left.push(below);
            }
        }
    }
    false
}

/// What a device is a part of or is built on: the disk of a partition, the members of an array or
/// a mapped device, the file behind a loop device. A file has nothing below it here: that a disk
/// holds its file system is for [`BlockFacts::mounts`].
fn directly_below(device: Identity) -> Vec<Identity> {
    use std::os::unix::fs::{FileTypeExt, MetadataExt};
    let Identity::Block { rdev } = device else { return Vec::new() };
    let own = directory(rdev);
    let slaves = own.join("slaves");
    let mut numbers: Vec<u64> =
        names(&slaves).iter().filter_map(|name| device_number(&slaves.join(name))).collect();
    if own.join("partition").exists() {
        numbers.extend(device_number(&own.join("..")));
    }
    let mut below: Vec<_> = numbers.into_iter().map(|rdev| Identity::Block { rdev }).collect();
    if let Some(found) = backing_file(rdev).and_then(|path| fs::metadata(path).ok()) {
        below.push(if found.file_type().is_block_device() {
            Identity::Block { rdev: found.rdev() }
        } else {
            Identity::File { dev: found.dev(), ino: found.ino() }
        });
    }
    below
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
    let names = entries.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned());
    let mut names: Vec<String> = names.collect();
    names.sort_unstable();
    names
}

/// A path as the kernel writes it into its tables: blanks and the like as octal numbers.
fn unescape(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        let number = tail.get(..3).filter(|_| *first == b'\\');
        let number = number.and_then(|digits| std::str::from_utf8(digits).ok());
        match number.and_then(|digits| u8::from_str_radix(digits, 8).ok()) {
            Some(byte) => {
                bytes.push(byte);
                rest = &tail[3..];
            }
            None => {
                bytes.push(*first);
                rest = tail;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Where the device or one of its partitions is mounted; "swap" if it is swap space.
fn mounts(rdev: u64) -> Vec<String> {
    let mut numbers = vec![rdev];
    let entries = fs::read_dir(directory(rdev)).into_iter().flatten().flatten();
    // Partitions are folders in that of their disk; most of the rest are files.
    for part in entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir())) {
        if part.path().join("partition").exists() {
            numbers.extend(device_number(&part.path()));
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
            found.push(unescape(point));
        }
    }
    let swaps = fs::read_to_string("/proc/swaps").unwrap_or_default();
    for path in swaps.lines().skip(1).filter_map(|line| line.split_whitespace().next()) {
        use std::os::unix::fs::MetadataExt;
        if fs::metadata(unescape(path)).is_ok_and(|found| numbers.contains(&found.rdev())) {
            found.push("swap".into());
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escaped_blanks_become_blanks() {
        assert_eq!(unescape(r"/mnt/my\040disk\134"), r"/mnt/my disk\");
        assert_eq!(unescape(r"/mnt/odd\9\04"), r"/mnt/odd\9\04");
    }
}
