//! Everything that can be known to be wrong before the first byte is written. Nothing is changed
//! here, and nothing created.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use kcopy::device::DeviceKind;
use kcopy::{Device, MAX_DESTINATIONS};

use super::mapfile::{check_parent, parent};
use crate::args::{CopyArgs, Direct};
use crate::cmd::target::{self, Use, cause};
use crate::exit::Failure;
use crate::output::name;
use crate::units::{Size, exact};

/// A copy that may begin.
#[derive(Debug)]
pub(crate) struct Checked {
    pub(crate) source: Device,
    pub(crate) destinations: Vec<Planned>,
    pub(crate) skip: u64,
    pub(crate) seek: u64,
    pub(crate) len: u64,
}

/// A destination before anything was done to it.
#[derive(Debug)]
pub(crate) enum Planned {
    Existing(Device),
    Missing(PathBuf),
}

impl Planned {
    pub(crate) fn path(&self) -> &Path {
        match self {
            Self::Existing(device) => device.path(),
            Self::Missing(path) => path,
        }
    }
}

pub(crate) fn check(args: &CopyArgs) -> Result<Checked, Failure> {
    check_count(args.destinations.len())?;
    let direct = args.engine.direct;
    let source = target::open_source(&args.source, direct)?;
    let (skip, seek) = (args.skip.0, args.seek.0);
    let len = length(&source, args.skip, args.count)?;
    check_alignment(&source, ("--skip", skip), len)?;
    let mut destinations: Vec<Planned> = Vec::new();
    for path in &args.destinations {
        // Before it is opened: it could not be, for it is ours already.
        if let Some(other) = destinations.iter().find(|other| is_at(path, other)) {
            return Err(named_twice(path, other.path()));
        }
        let planned = destination(path, args.verify, direct)?;
        check_distinct(&source, &destinations, &planned)?;
        destinations.push(planned);
    }
    for planned in &destinations {
        check_room(planned, seek, len)?;
    }
    Ok(Checked { source, destinations, skip, seek, len })
}

/// Whether a job can have so many destinations.
pub(crate) fn check_count(count: usize) -> Result<(), Failure> {
    if count <= MAX_DESTINATIONS {
        return Ok(());
    }
    let message = format!("cannot serve {count} destinations: {MAX_DESTINATIONS} at most");
    Err(Failure::refused(message).hint("run it again for the others"))
}

/// The number of bytes from `skip` on that are asked for, all of which `device` has.
pub(crate) fn length(device: &Device, skip: Size, count: Option<Size>) -> Result<u64, Failure> {
    let size = device.size();
    let refused = |cause: String| Use::Read.refused(device.path(), &cause);
    if count == Some(Size(0)) {
        return Err(Failure::refused("cannot begin: --count is zero")
            .hint("leave --count out to go on to the end"));
    }
    if skip.0 > size || (skip.0 == size && size > 0) {
        return Err(refused(format!("--skip {} leaves nothing, it has {}", skip.0, exact(size)))
            .hint("skip less"));
    }
    let rest = size - skip.0;
    let Some(Size(count)) = count else { return Ok(rest) };
    if count > rest {
        let cause = match skip.0.checked_add(count) {
            Some(end) => format!("--skip and --count end at byte {end}, it has {}", exact(size)),
            None => "--skip and --count together do not fit in 64 bits".to_owned(),
        };
        return Err(refused(cause).hint(format!("what can be copied from there: {}", exact(rest))));
    }
    Ok(count)
}

fn destination(path: &Path, read_back: bool, direct: Direct) -> Result<Planned, Failure> {
    match path.metadata() {
        Ok(_) => target::open_destination(path, read_back, direct).map(Planned::Existing),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            if path.symlink_metadata().is_ok() {
                let refused = Use::Write.refused(path, "it is a symbolic link to nothing");
                return Err(refused.hint("remove the link, or create what it names"));
            }
            if path.as_os_str().as_encoded_bytes().ends_with(b"/") {
                let refused = Use::Write.refused(path, "there is no such directory");
                return Err(refused.hint("name the file that is to be written"));
            }
            check_parent(path)?;
            Ok(Planned::Missing(path.to_owned()))
        }
        Err(error) => {
            let refused = Use::Write.refused(path, &cause(&error));
            Err(refused.hint("check the name, and whether you may look there"))
        }
    }
}

/// A destination must not be the source, nor be given twice, by whatever name.
pub(crate) fn check_distinct(
    source: &Device,
    earlier: &[Planned],
    new: &Planned,
) -> Result<(), Failure> {
    if let Planned::Existing(device) = new {
        check_not_source(source, device)?;
    }
    for other in earlier {
        if let (Planned::Existing(a), Planned::Existing(b)) = (other, new)
            && target::overlap(a, b)
        {
            return Err(named_twice(new.path(), other.path()));
        }
    }
    Ok(())
}

/// Whether `path` names a destination that exists, or the place where one is to be made.
pub(crate) fn is_at(path: &Path, destination: &Planned) -> bool {
    match destination {
        Planned::Existing(device) => target::is_same(path, device),
        Planned::Missing(missing) => place(missing).is_some_and(|at| Some(at) == place(path)),
    }
}

pub(crate) fn named_twice(path: &Path, earlier: &Path) -> Failure {
    let cause = format!("it is the same destination as {}", name(earlier));
    Use::Write.refused(path, &cause).hint("name every destination once")
}

/// What is read must not be written.
pub(crate) fn check_not_source(source: &Device, device: &Device) -> Result<(), Failure> {
    if target::overlap(source, device) {
        let cause = format!("it is the source, {}, or shares its storage", name(source.path()));
        let refused = Use::Write.refused(device.path(), &cause);
        return Err(refused.hint("a copy needs another file or device"));
    }
    Ok(())
}

/// Where a missing file would be: its directory and its name there.
fn place(path: &Path) -> Option<(PathBuf, OsString)> {
    Some((parent(path).canonicalize().ok()?, path.file_name()?.to_owned()))
}

/// Whether `len` bytes from `seek` on fit.
fn check_room(planned: &Planned, seek: u64, len: u64) -> Result<(), Failure> {
    let path = planned.path();
    let largest = i64::MAX.unsigned_abs();
    let end = seek.checked_add(len).filter(|end| *end <= largest).ok_or_else(|| {
        let cause = format!("it would end {} bytes behind byte {seek}", len);
        Use::Write.refused(path, &format!("{cause}: no file can be that long")).hint("seek less")
    })?;
    let Planned::Existing(device) = planned else { return Ok(()) };
    check_alignment(device, ("--seek", seek), len)?;
    if device.facts().kind == DeviceKind::Block && end > device.size() {
        let cause =
            format!("it is too small: {} are needed, it has {}", exact(end), exact(device.size()));
        return Err(Use::Write
            .refused(path, &cause)
            .hint("use a larger device, or copy less with --count"));
    }
    Ok(())
}

/// With `--direct always` nothing may need the page cache.
pub(crate) fn check_alignment(
    device: &Device,
    (option, offset): (&str, u64),
    len: u64,
) -> Result<(), Failure> {
    let Some(alignment) = device.facts().direct_only() else { return Ok(()) };
    let alignment = u64::from(alignment);
    let (what, value) = if !offset.is_multiple_of(alignment) {
        (option, offset)
    } else if !len.is_multiple_of(alignment) {
        ("the length", len)
    } else {
        return Ok(());
    };
    let message = format!(
        "cannot bypass the page cache on {}: {what}, {value}, is no multiple of {alignment} bytes",
        name(device.path())
    );
    Err(Failure::refused(message).hint("use --direct auto, or aligned values"))
}
