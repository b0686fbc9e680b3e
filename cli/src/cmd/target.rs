//! What lies at the end of a path, found out without changing anything.

use std::fs::{File, Metadata};
use std::io::{self, Read};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;
use std::time::Duration;

use kcopy::device::{BlockFacts, Direct, Identity, OpenError, OpenErrorKind, OpenOptions};
use kcopy::{Device, Errno};

use crate::args;
use crate::clock;
use crate::exit::Failure;
use crate::output::name;

/// What can be copied from and to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    File,
    Block,
}

/// What a path is used for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Use {
    Read,
    Write,
}

impl Use {
    const fn verb(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Write => "write to",
        }
    }

    /// `cannot read PATH: cause`
    pub(crate) fn refused(self, path: &Path, cause: &str) -> Failure {
        Failure::refused(format!("cannot {} {}: {cause}", self.verb(), name(path)))
    }
}

/// The text of an I/O error without its number.
pub(crate) fn cause(error: &io::Error) -> String {
    let text = error.to_string();
    let text = text.split(" (os error").next().unwrap_or(&text);
    let mut letters = text.chars();
    // In the middle of a sentence.
    letters.next().map_or_else(String::new, |c| c.to_lowercase().chain(letters).collect())
}

/// What the user can do about a device that answered so.
pub(crate) fn remedy(errno: Errno) -> &'static str {
    match rustix::io::Errno::from_raw_os_error(errno.raw()) {
        rustix::io::Errno::NOSPC => "make room where it is stored",
        rustix::io::Errno::DQUOT => "make room there, or have the quota raised",
        rustix::io::Errno::TXTBSY => "stop the program that runs from it, or name another file",
        rustix::io::Errno::MFILE => "allow more open files (ulimit -n), or name fewer",
        rustix::io::Errno::NAMETOOLONG | rustix::io::Errno::LOOP => "check the name",
        rustix::io::Errno::FBIG => {
            "allow longer files (ulimit -f), or store it on another file system"
        }
        _ => "see what the kernel log says about it (dmesg)",
    }
}

/// Whether this is something that data can be copied from or to.
pub(crate) fn classify(path: &Path, metadata: &Metadata, usage: Use) -> Result<Kind, Failure> {
    let kind = metadata.file_type();
    if kind.is_file() {
        return Ok(Kind::File);
    }
    if kind.is_block_device() {
        return Ok(Kind::Block);
    }
    if kind.is_dir() {
        let hint = match usage {
            Use::Read => "name a file or block device; for a tree there are cp -a and rsync",
            Use::Write => "name the file in it that is to be written",
        };
        return Err(usage.refused(path, "it is a directory").hint(hint));
    }
    let what = if kind.is_char_device() {
        "it is a character device"
    } else if kind.is_fifo() {
        "it is a pipe"
    } else if kind.is_socket() {
        "it is a socket"
    } else {
        "it is neither a file nor a block device"
    };
    Err(usage.refused(path, what).hint("regular files and block devices will do, nothing else"))
}

/// The metadata of something that must exist.
pub(crate) fn existing(path: &Path, usage: Use) -> Result<Metadata, Failure> {
    path.metadata().map_err(|error| {
        let failure = usage.refused(path, &cause(&error));
        if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) {
            return failure.hint("check the name");
        }
        if error.kind() == io::ErrorKind::PermissionDenied {
            return failure.hint("run it as a user who may look there");
        }
        failure.hint(remedy(Errno::from_io(&error)))
    })
}

/// Opens a source: a file or block device that exists and can be read.
pub(crate) fn open_source(path: &Path, direct: args::Direct) -> Result<Device, Failure> {
    let metadata = existing(path, Use::Read)?;
    let kind = classify(path, &metadata, Use::Read)?;
    if kind == Kind::File && metadata.len() == 0 && has_bytes(path) {
        let refused = Use::Read.refused(path, "it does not know its size (a file of the kernel)");
        return Err(refused.hint("cp can copy it"));
    }
    let options = OpenOptions::source().direct(direct.into());
    let device = Device::open(path, &options).map_err(|error| unopened(path, Use::Read, &error))?;
    if kind == Kind::Block && device.size() == 0 {
        let refused = Use::Read.refused(path, "it has no medium, or nothing is attached to it");
        return Err(refused.hint("insert or attach it (lsblk shows the sizes), then run it again"));
    }
    Ok(device)
}

/// Whether there is something to read, whatever the size says.
fn has_bytes(path: &Path) -> bool {
    let mut byte = [0];
    File::open(path).and_then(|mut file| file.read(&mut byte)).is_ok_and(|count| count > 0)
}

/// How long a destination may be in use by nobody that can be named.
const PATIENCE: Duration = Duration::from_secs(3);
const PAUSE: Duration = Duration::from_millis(20);

/// Opens a destination that exists, for us alone: a block device is claimed, a file is locked.
///
/// A program that was killed may still have it for a moment: the kernel finishes its operations
/// after the program is gone. That is waited for, so that what is late does not overwrite what is
/// new.
pub(crate) fn open_destination(
    path: &Path,
    read_back: bool,
    direct: args::Direct,
) -> Result<Device, Failure> {
    let metadata = existing(path, Use::Write)?;
    let kind = classify(path, &metadata, Use::Write)?;
    check_writable(path, kind, &metadata)?;
    let mut options = OpenOptions::destination().direct(direct.into()).locked(true);
    options.read = read_back;
    let started = clock::now();
    loop {
        match Device::open(path, &options) {
            Err(error)
                if error.kind == OpenErrorKind::InUse
                    && clock::now().duration_since(started) < PATIENCE
                    && !is_used(path) =>
            {
                let _ = crossbeam_channel::after(PAUSE).recv();
            }
            result => return result.map_err(|error| unopened(path, Use::Write, &error)),
        }
    }
}

impl From<args::Direct> for Direct {
    fn from(direct: args::Direct) -> Self {
        match direct {
            args::Direct::Auto => Self::Auto,
            args::Direct::Always => Self::Always,
            args::Direct::Never => Self::Never,
        }
    }
}

/// Root may write to what is marked read-only; this command does not.
fn check_writable(path: &Path, kind: Kind, metadata: &Metadata) -> Result<(), Failure> {
    if kind == Kind::File && metadata.mode() & 0o222 == 0 {
        let failure = Use::Write.refused(path, "it is read-only (nobody may write to it)");
        return Err(failure.hint(format!("chmod u+w {} if you mean it", name(path))));
    }
    Ok(())
}

fn unopened(path: &Path, usage: Use, error: &OpenError) -> Failure {
    let told = error.errno.map(|errno| cause(&io::Error::from_raw_os_error(errno.raw())));
    let told = told.unwrap_or_else(|| "unknown error".to_owned());
    let refused = |cause: &str| usage.refused(path, cause);
    match error.kind {
        OpenErrorKind::InUse => in_use(path, usage),
        OpenErrorKind::ReadOnly => {
            refused("it is read-only").hint("choose another destination, or make it writable")
        }
        OpenErrorKind::NoDirect => refused("it does not take direct I/O (O_DIRECT)")
            .hint("use --direct auto, which goes through the page cache there"),
        // Newer kernels forbid to write to what is mounted, whoever asks.
        OpenErrorKind::Denied if is_used(path) => in_use(path, usage),
        OpenErrorKind::Denied => {
            refused(&told).hint("run it as a user who may, such as root for block devices")
        }
        OpenErrorKind::NotFound => refused(&told).hint("check the name"),
        OpenErrorKind::Directory | OpenErrorKind::NotADevice => refused(&error.to_string())
            .hint("regular files and block devices will do, nothing else"),
        OpenErrorKind::System => refused(&told).hint(error.errno.map_or("run it again", remedy)),
    }
}

/// What the kernel knows about the use of a block device.
fn users(path: &Path) -> BlockFacts {
    let device = Device::open(path, &OpenOptions::source()).ok();
    device.and_then(|device| device.block_facts()).unwrap_or_default()
}

fn is_used(path: &Path) -> bool {
    let facts = users(path);
    !facts.mounts.is_empty() || !facts.holders.is_empty()
}

/// Says who has it, if that can be told.
fn in_use(path: &Path, usage: Use) -> Failure {
    let facts = users(path);
    let mut users: Vec<String> = Vec::new();
    for mount in &facts.mounts {
        users.push(match mount.as_str() {
            "swap" => "it is used as swap space".to_owned(),
            mount => format!("it is mounted on {}", name(Path::new(mount))),
        });
    }
    users.extend(facts.holders.iter().map(|holder| format!("it is part of {holder}")));
    if users.is_empty() {
        users.push("it is in use".to_owned());
    }
    usage
        .refused(path, &users.join(", "))
        .hint("unmount it, or stop what uses it (lsblk and fuser -v show who), then run it again")
}

/// Whether `path` names what `device` is.
pub(crate) fn is_same(path: &Path, device: &Device) -> bool {
    let Ok(metadata) = path.metadata() else { return false };
    match &device.facts().identity {
        Identity::File { dev, ino } => metadata.dev() == *dev && metadata.ino() == *ino,
        Identity::Block { rdev } => {
            metadata.file_type().is_block_device() && metadata.rdev() == *rdev
        }
        Identity::Internal { .. } => false,
    }
}

/// Whether writing to one may change the other.
pub(crate) fn overlap(one: &Device, other: &Device) -> bool {
    let backing = |device: &Device| device.block_facts().and_then(|facts| facts.backing_file);
    one.shares_storage_with(other) || backing(one).is_some_and(|file| Some(file) == backing(other))
}
