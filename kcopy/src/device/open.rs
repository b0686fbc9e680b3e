//! Opening a device and finding out what it is.

use std::fs::{File, OpenOptions as FileOptions};
use std::os::fd::AsFd;
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{
    AtFlags, FlockOperation, OFlags, SeekFrom, StatxFlags, fcntl_getfl, flock, seek, statx,
};

use super::{Device, DeviceKind, DirectAlignment, Facts, Handle, Identity, sysfs};
use crate::errno::Errno;

/// Whether I/O goes past the page cache (`O_DIRECT`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub enum Direct {
    /// Where the device allows it and the region fits its alignment; through the page cache else.
    #[default]
    Auto,
    /// Always; a device that cannot is refused, and so is a region that does not fit.
    Always,
    /// Never.
    Never,
}

/// What is wrong with a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum OpenErrorKind {
    /// There is nothing by that name.
    NotFound,
    /// The user may not.
    Denied,
    /// It is a directory.
    Directory,
    /// It is neither a file nor a block device.
    NotADevice,
    /// It is mounted, or somebody else holds or has locked it.
    InUse,
    /// It cannot be written.
    ReadOnly,
    /// Direct I/O was asked for, and it has none.
    NoDirect,
    /// The system said no for another reason.
    System,
}

/// A device could not be opened.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("cannot open {}: {}", path.display(), self.reason())]
pub struct OpenError {
    /// Which one.
    pub path: PathBuf,
    /// What is wrong.
    pub kind: OpenErrorKind,
    /// The system's error number, if it said so.
    pub errno: Option<Errno>,
}

impl OpenError {
    fn reason(&self) -> String {
        match self.kind {
            OpenErrorKind::Directory => "it is a directory".into(),
            OpenErrorKind::NotADevice => "it is neither a regular file nor a block device".into(),
            OpenErrorKind::InUse => "it is mounted, locked or otherwise in use".into(),
            OpenErrorKind::ReadOnly => "it is read-only".into(),
            OpenErrorKind::NoDirect => "it does not support direct I/O".into(),
            OpenErrorKind::NotFound | OpenErrorKind::Denied | OpenErrorKind::System => {
                self.errno.map_or_else(|| "unknown error".into(), |errno| errno.to_string())
            }
        }
    }
}

/// How a device is to be opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OpenOptions {
    /// For reading.
    pub read: bool,
    /// For writing.
    pub write: bool,
    /// A file that does not exist is made.
    pub create: bool,
    /// A block device is claimed (`O_EXCL`): refused if it is mounted or held by another driver.
    pub exclusive: bool,
    /// A regular file is locked (`flock`): refused while another process, or another handle of this
    /// one, has it locked. The lock lasts until the last operation has ended, also one that a killed
    /// process has left to the kernel. A file system without locks is used without.
    pub locked: bool,
    /// Whether I/O goes past the page cache.
    pub direct: Direct,
}

impl OpenOptions {
    /// For reading.
    pub const fn source() -> Self {
        Self {
            read: true,
            write: false,
            create: false,
            exclusive: false,
            locked: false,
            direct: Direct::Auto,
        }
    }

    /// For reading and writing, claimed; a file is not locked.
    pub const fn destination() -> Self {
        Self { write: true, exclusive: true, ..Self::source() }
    }

    /// Whether I/O goes past the page cache.
    #[must_use]
    pub const fn direct(mut self, direct: Direct) -> Self {
        self.direct = direct;
        self
    }

    /// A regular file is locked.
    #[must_use]
    pub const fn locked(mut self, locked: bool) -> Self {
        self.locked = locked;
        self
    }

    /// A file that does not exist is made.
    #[must_use]
    pub const fn create(mut self, create: bool) -> Self {
        self.create = create;
        self
    }
}

impl Device {
    /// Opens a block device or a regular file.
    ///
    /// # Errors
    ///
    /// See [`OpenErrorKind`].
    pub fn open(path: impl AsRef<Path>, options: &OpenOptions) -> Result<Self, OpenError> {
        let path = path.as_ref();
        let kind = look_at(path, options)?;
        let exclusive = options.exclusive && options.write && kind == Some(DeviceKind::Block);
        let cached = FileOptions::new()
            .read(options.read)
            .write(options.write)
            .create(options.create && options.write)
            .custom_flags(flags(OFlags::CLOEXEC, exclusive))
            .open(path)
            .map_err(|error| system_error(path, &error))?;
        Self::with_file(path, cached, options)
    }

    /// Takes a file or block device that is open already, read and write as it was opened.
    ///
    /// # Errors
    ///
    /// See [`OpenErrorKind`].
    pub fn from_file(file: File, path: &Path, direct: Direct) -> Result<Self, OpenError> {
        let flags = fcntl_getfl(&file).map_err(|errno| system_error(path, &errno.into()))?;
        let mode = flags & OFlags::RWMODE;
        let options = OpenOptions {
            read: mode != OFlags::WRONLY,
            write: mode != OFlags::RDONLY,
            create: false,
            exclusive: false,
            locked: false,
            direct,
        };
        let cached = if flags.contains(OFlags::DIRECT) {
            open_again(&file, &options, OFlags::empty()).map_err(|e| system_error(path, &e))?
        } else {
            file
        };
        Self::with_file(path, cached, &options)
    }

    fn with_file(path: &Path, cached: File, options: &OpenOptions) -> Result<Self, OpenError> {
        let mut facts = find_facts(path, &cached, options)?;
        let direct = match options.direct {
            Direct::Never => None,
            Direct::Auto | Direct::Always => {
                open_direct(&cached, options).map_err(|e| system_error(path, &e))?
            }
        };
        if direct.is_none() {
            facts.direct = None;
            if options.direct == Direct::Always {
                let kind = OpenErrorKind::NoDirect;
                return Err(OpenError { path: path.into(), kind, errno: None });
            }
        }
        if options.locked && facts.kind == DeviceKind::File {
            lock(path, direct.as_ref().unwrap_or(&cached))?;
        }
        facts.direct_required = options.direct == Direct::Always;
        if let Some(direct) = facts.direct.as_mut().filter(|_| !facts.direct_required) {
            direct.offset = shared_unit(facts.kind, direct.offset);
        }
        Ok(Self::from_parts(path.into(), facts, Handle::Files { cached, direct }))
    }

    /// Makes a file at least `size` bytes long; a block device is left as it is.
    ///
    /// # Errors
    ///
    /// If the file cannot grow, or the device is smaller than that.
    pub fn extend(&self, size: u64) -> std::io::Result<()> {
        if self.refresh_size()? >= size {
            return Ok(());
        }
        match (self.facts().kind, self.handle()) {
            (DeviceKind::File, Handle::Files { cached, .. }) => {
                cached.set_len(size)?;
                self.set_size(size);
                Ok(())
            }
            _ => Err(std::io::Error::from_raw_os_error(libc::ENOSPC)),
        }
    }
}

/// What lies at `path`; `None` if nothing does and a file is to be made there.
fn look_at(path: &Path, options: &OpenOptions) -> Result<Option<DeviceKind>, OpenError> {
    let refuse = |kind| Err(OpenError { path: path.into(), kind, errno: None });
    match std::fs::metadata(path) {
        Ok(found) if found.is_dir() => refuse(OpenErrorKind::Directory),
        Ok(found) if found.is_file() => Ok(Some(DeviceKind::File)),
        Ok(found) if found.file_type().is_block_device() => {
            if options.write && sysfs::is_read_only(found.rdev()) {
                return refuse(OpenErrorKind::ReadOnly);
            }
            Ok(Some(DeviceKind::Block))
        }
        Ok(_) => refuse(OpenErrorKind::NotADevice),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound && options.create => Ok(None),
        Err(error) => Err(system_error(path, &error)),
    }
}

fn flags(base: OFlags, exclusive: bool) -> i32 {
    let flags = if exclusive { base | OFlags::EXCL } else { base };
    flags.bits().cast_signed()
}

fn system_error(path: &Path, error: &std::io::Error) -> OpenError {
    let errno = Errno::from_io(error);
    let kind = match errno.raw() {
        libc::ENOENT | libc::ENOTDIR => OpenErrorKind::NotFound,
        libc::EACCES | libc::EPERM => OpenErrorKind::Denied,
        libc::EBUSY => OpenErrorKind::InUse,
        libc::EROFS => OpenErrorKind::ReadOnly,
        libc::EISDIR => OpenErrorKind::Directory,
        _ => OpenErrorKind::System,
    };
    OpenError { path: path.into(), kind, errno: Some(errno) }
}

/// Locks the description that writes past the page cache go through: those outlive their process.
fn lock(path: &Path, file: &File) -> Result<(), OpenError> {
    match flock(file, FlockOperation::NonBlockingLockExclusive) {
        Err(errno) if errno == rustix::io::Errno::WOULDBLOCK => {
            let errno = Some(Errno::from_io(&errno.into()));
            Err(OpenError { path: path.into(), kind: OpenErrorKind::InUse, errno })
        }
        Err(errno) => {
            tracing::debug!(path = %path.display(), %errno, "this file system has no locks");
            Ok(())
        }
        Ok(()) => Ok(()),
    }
}

/// A second description of the same file, past the page cache; `None` where there is no past it. What else
/// keeps it from being opened is an error: nobody is to be slow in silence.
fn open_direct(cached: &File, options: &OpenOptions) -> std::io::Result<Option<File>> {
    // These live in the page cache. They take O_DIRECT and do nothing about it.
    const IN_MEMORY: [u64; 2] = [0x0102_1994, 0x8584_58f6];
    let kind = rustix::fs::fstatfs(cached).ok().and_then(|found| u64::try_from(found.f_type).ok());
    if kind.is_some_and(|kind| IN_MEMORY.contains(&kind)) && !is_block(cached) {
        return Ok(None);
    }
    match open_again(cached, options, OFlags::DIRECT) {
        Err(error) if matches!(error.raw_os_error(), Some(libc::EINVAL | libc::EOPNOTSUPP)) => {
            Ok(None)
        }
        opened => opened.map(Some),
    }
}

fn is_block(file: &File) -> bool {
    file.metadata().is_ok_and(|found| found.file_type().is_block_device())
}

/// Opens what `file` is once more. It is opened through its descriptor, so that it is the same file
/// whatever has become of the name.
fn open_again(file: &File, options: &OpenOptions, how: OFlags) -> std::io::Result<File> {
    use std::os::fd::AsRawFd;
    FileOptions::new()
        .read(options.read)
        .write(options.write)
        .custom_flags(flags(OFlags::CLOEXEC | how, false))
        .open(format!("/proc/self/fd/{}", file.as_raw_fd()))
}

fn find_facts(path: &Path, file: &File, options: &OpenOptions) -> Result<Facts, OpenError> {
    let fail = |error: &std::io::Error| system_error(path, error);
    let metadata = file.metadata().map_err(|error| fail(&error))?;
    let block = metadata.file_type().is_block_device();
    if !block && !metadata.is_file() {
        return Err(OpenError { path: path.into(), kind: OpenErrorKind::NotADevice, errno: None });
    }
    let (size, logical, physical) = if block {
        let end = seek(file, SeekFrom::End(0)).map_err(|errno| fail(&errno.into()))?;
        let logical = rustix::fs::ioctl_blksszget(file).unwrap_or(512);
        (end, logical, rustix::fs::ioctl_blkpbszget(file).unwrap_or(logical))
    } else {
        let block = u32::try_from(metadata.blksize()).unwrap_or(4096);
        (metadata.len(), 512, block)
    };
    let identity = if block {
        Identity::Block { rdev: metadata.rdev() }
    } else {
        Identity::File { dev: metadata.dev(), ino: metadata.ino() }
    };
    Ok(Facts {
        kind: if block { DeviceKind::Block } else { DeviceKind::File },
        identity,
        size,
        logical_block: logical,
        physical_block: physical,
        direct: Some(direct_alignment(file, block, logical)),
        direct_required: false,
        readable: options.read,
        writable: options.write,
    })
}

/// The unit of direct I/O beside I/O through the page cache. A direct and a cached write that meet
/// in one page of the cache could undo each other, and the ragged end of a file goes through it;
/// so on files direct I/O keeps to whole pages.
fn shared_unit(kind: DeviceKind, offset: u32) -> u32 {
    match kind {
        DeviceKind::File => offset.max(u32::try_from(rustix::param::page_size()).unwrap_or(offset)),
        DeviceKind::Block | DeviceKind::Simulated | DeviceKind::Null => offset,
    }
}

/// The alignment of direct I/O as the system tells it; the block size of the device, or 4096 for a
/// file, where it does not.
fn direct_alignment(file: &File, block: bool, logical: u32) -> DirectAlignment {
    let told = statx(file.as_fd(), "", AtFlags::EMPTY_PATH, StatxFlags::DIOALIGN).ok();
    match told {
        Some(told) if told.stx_dio_offset_align > 0 => DirectAlignment {
            memory: told.stx_dio_mem_align.max(1),
            offset: told.stx_dio_offset_align,
        },
        _ => {
            let alignment = if block { logical } else { 4096 };
            DirectAlignment { memory: alignment, offset: alignment }
        }
    }
}
