//! What lies at the end of a path, found out without changing anything.

use std::fs::{File, Metadata};
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;

use kcopy::Device;
use kcopy::device::{Direct, InUse, OpenOptions};

use crate::args;
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
            Use::Read => "kcopy copies one file or block device; for a tree use cp -a or rsync",
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
    Err(usage.refused(path, what).hint("kcopy works on regular files and block devices"))
}

/// The metadata of something that must exist.
pub(crate) fn existing(path: &Path, usage: Use) -> Result<Metadata, Failure> {
    path.metadata().map_err(|error| {
        let failure = usage.refused(path, &cause(&error));
        match error.kind() {
            io::ErrorKind::NotFound => failure.hint("check the name"),
            io::ErrorKind::PermissionDenied => failure.hint("run it as a user who may look there"),
            _ => failure,
        }
    })
}

/// Opens a source: a file or block device that exists and can be read.
pub(crate) fn open_source(path: &Path, direct: args::Direct) -> Result<Device, Failure> {
    let metadata = existing(path, Use::Read)?;
    classify(path, &metadata, Use::Read)?;
    let options = OpenOptions::new().read(true).direct(direct.into());
    options.open(path).map_err(|error| open_failed(path, Use::Read, &error))
}

/// Opens a destination that exists. A block device is claimed for us alone.
pub(crate) fn open_destination(
    path: &Path,
    read_back: bool,
    direct: args::Direct,
) -> Result<Device, Failure> {
    let metadata = existing(path, Use::Write)?;
    let kind = classify(path, &metadata, Use::Write)?;
    check_writable(path, kind, &metadata)?;
    let exclusive = kind == Kind::Block;
    let options = OpenOptions::new()
        .read(read_back)
        .write(true)
        .exclusive(exclusive)
        .direct(direct.into());
    options.open(path).map_err(|error| open_failed(path, Use::Write, &error))
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
