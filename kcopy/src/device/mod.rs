//! A device: something with a size that regions lie on, and what is known about it.
//!
//! A [`Device`] is a cheap handle; clones are the same device. It is opened once, its facts are
//! found out once ([`Facts`]), and every client may use it.

pub(crate) mod extents;
mod open;
mod sysfs;

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

pub use extents::{DataExtent, Extents};
pub use open::{Direct, OpenError, OpenErrorKind, OpenOptions};
pub use sysfs::BlockFacts;

/// What a device is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum DeviceKind {
    /// A block device.
    Block,
    /// A regular file.
    File,
    /// A device of the simulator.
    Simulated,
    /// A device that takes everything and keeps nothing.
    Null,
}

/// The alignment that direct I/O asks for, in bytes (`statx` `stx_dio_mem_align` and
/// `stx_dio_offset_align`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DirectAlignment {
    /// Alignment of the memory address.
    pub memory: u32,
    /// Alignment of offset and length.
    pub offset: u32,
}

/// What makes two handles the same device: the device number of a block device, device and inode
/// number of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Identity {
    /// A block device, by its device number (`st_rdev`).
    Block {
        /// The device number.
        rdev: u64,
    },
    /// A file, by `st_dev` and `st_ino`.
    File {
        /// The number of the device that holds it.
        dev: u64,
        /// The inode number.
        ino: u64,
    },
    /// A device that lives in this process.
    Internal {
        /// Its number.
        number: u64,
    },
}

/// What is known about a device, found out when it is opened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Facts {
    /// What it is.
    pub kind: DeviceKind,
    /// What makes it the same as another.
    pub identity: Identity,
    /// Size in bytes when it was opened (a file may grow: see [`Device::size`]).
    pub size: u64,
    /// Logical block in bytes (`BLKSSZGET`); 512 for a file.
    pub logical_block: u32,
    /// Physical block in bytes (`BLKPBSZGET`); the file system's block for a file.
    pub physical_block: u32,
    /// Direct I/O alignment; `None` if the device is used through the page cache. On a file that
    /// may be used both ways, offsets count in whole pages of the cache at least.
    pub direct: Option<DirectAlignment>,
    /// Whether the page cache is never used: regions that do not fit `direct` are refused.
    pub direct_required: bool,
    /// Whether a region may be read.
    pub readable: bool,
    /// Whether a region may be written.
    pub writable: bool,
}

impl Facts {
    /// Where pieces are best cut, in bytes; a power of two.
    pub(crate) fn granule(&self) -> u32 {
        self.direct.map_or(512, |direct| direct.offset).next_power_of_two()
    }

    /// The alignment of offsets and lengths that regions must keep, if the page cache is never
    /// used.
    pub fn direct_only(&self) -> Option<u32> {
        self.direct.filter(|_| self.direct_required).map(|direct| direct.offset)
    }
}

/// How I/O reaches the device.
#[derive(Debug)]
pub(crate) enum Handle {
    /// Two descriptions of one file: through the page cache, and past it.
    Files {
        /// Opened without `O_DIRECT`.
        cached: File,
        /// Opened with `O_DIRECT`, where that is possible and wanted.
        direct: Option<File>,
    },
    /// Device `number` of a simulated world.
    #[cfg_attr(not(feature = "sim"), expect(dead_code, reason = "made by the simulator only"))]
    Simulated {
        /// Which of its disks.
        number: u32,
        /// Who tells where it was never written.
        holes: Box<dyn extents::Holes>,
    },
    /// Nothing.
    #[cfg_attr(not(feature = "null"), expect(dead_code, reason = "made for the null backend only"))]
    Null,
}

#[derive(Debug)]
struct Inner {
    id: u64,
    path: PathBuf,
    facts: Facts,
    /// See [`Facts::granule`].
    granule: u32,
    /// Bits that no offset and no length may have.
    misaligned: u64,
    size: AtomicU64,
    handle: Handle,
}

/// An open device, file or simulated device. Cloning gives another handle to the same one.
#[derive(Clone, Debug)]
pub struct Device(Arc<Inner>);

impl Device {
    pub(crate) fn from_parts(path: PathBuf, facts: Facts, handle: Handle) -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        let id = NEXT.fetch_add(1, Ordering::Relaxed);
        let size = AtomicU64::new(facts.size);
        let granule = facts.granule();
        let misaligned = if facts.direct_required { u64::from(granule) - 1 } else { 0 };
        Self(Arc::new(Inner { id, path, facts, granule, misaligned, size, handle }))
    }

    /// A number that no other handle opened in this process has.
    pub fn id(&self) -> u64 {
        self.0.id
    }

    /// The path it was opened by, or a name.
    pub fn path(&self) -> &Path {
        &self.0.path
    }

    /// What was found out when it was opened.
    pub fn facts(&self) -> &Facts {
        &self.0.facts
    }

    /// Where pieces are best cut, in bytes; a power of two.
    pub(crate) fn granule(&self) -> u32 {
        self.0.granule
    }

    /// Bits that no offset and no length of a region may have, because it is always used past the
    /// page cache.
    pub(crate) fn misaligned(&self) -> u64 {
        self.0.misaligned
    }

    /// Size in bytes, as last seen.
    pub fn size(&self) -> u64 {
        self.0.size.load(Ordering::Relaxed)
    }

    /// Looks at the size of a file again: it may have grown or shrunk.
    ///
    /// # Errors
    ///
    /// If the file cannot be asked.
    pub fn refresh_size(&self) -> std::io::Result<u64> {
        if let (DeviceKind::File, Handle::Files { cached, .. }) = (self.facts().kind, self.handle())
        {
            self.set_size(cached.metadata()?.len());
        }
        Ok(self.size())
    }

    pub(crate) fn set_size(&self, size: u64) {
        self.0.size.store(size, Ordering::Relaxed);
    }

    /// Whether both handles name the same device, also by another path or hard link.
    pub fn is_same(&self, other: &Self) -> bool {
        self.0.id == other.0.id || self.0.facts.identity == other.0.facts.identity
    }

    pub(crate) fn handle(&self) -> &Handle {
        &self.0.handle
    }

    pub(crate) fn handles(&self) -> usize {
        Arc::strong_count(&self.0)
    }

    /// A device for the null backend: `size` bytes that take everything and keep nothing.
    #[cfg(feature = "null")]
    pub fn null(name: &str, size: u64) -> Self {
        Self::internal(name, size, 512, DeviceKind::Null, Handle::Null)
    }

    #[cfg(feature = "null")]
    pub(crate) fn internal(
        name: &str,
        size: u64,
        logical_block: u32,
        kind: DeviceKind,
        handle: Handle,
    ) -> Self {
        static NUMBER: AtomicU64 = AtomicU64::new(1);
        let facts = Facts {
            kind,
            identity: Identity::Internal { number: NUMBER.fetch_add(1, Ordering::Relaxed) },
            size,
            logical_block,
            physical_block: 4096,
            direct: Some(DirectAlignment { memory: logical_block, offset: logical_block }),
            direct_required: false,
            readable: true,
            writable: true,
        };
        Self::from_parts(PathBuf::from(name), facts, handle)
    }
}
