//! Makes every destination ready: files are created and get their length. If one cannot be, all
//! that was done is undone, and the copy is refused.

use std::fs::{File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};

use kcopy::device::DeviceKind;
use kcopy::{Device, Errno};

use super::check::{Checked, Planned, check_alignment};
use super::mapfile::parent;
use super::runner::Target;
use crate::args::Direct;
use crate::cmd::target::{self, Use, cause, remedy};
use crate::exit::Failure;
use crate::units::exact;

/// A destination that can be written.
#[derive(Debug)]
pub(crate) struct Ready {
    pub(crate) device: Device,
    pub(crate) created: bool,
    /// From this byte on it is known to read as zeros.
    pub(crate) zero_from: u64,
}

#[derive(Debug)]
enum Undo {
    Remove(PathBuf),
    Shorten(PathBuf, u64),
}

/// See the module.
pub(crate) fn prepare(
    checked: &mut Checked,
    read_back: bool,
    direct: Direct,
) -> Result<Vec<Ready>, Failure> {
    let mut undo = Vec::new();
    let (seek, len) = (checked.seek, checked.len);
    let mut ready = Vec::new();
    for planned in std::mem::take(&mut checked.destinations) {
        match make_ready(planned, (seek, len), (read_back, direct), &mut undo) {
            Ok(one) => ready.push(one),
            Err(failure) => {
                take_back(undo);
                return Err(failure);
            }
        }
    }
    Ok(ready)
}

fn make_ready(
    planned: Planned,
    (seek, len): (u64, u64),
    (read_back, direct): (bool, Direct),
    undo: &mut Vec<Undo>,
) -> Result<Ready, Failure> {
    let (device, created) = match planned {
        Planned::Existing(device) => (device, false),
        Planned::Missing(path) => (create(&path, (read_back, direct), undo)?, true),
    };
    check_alignment(&device, ("--seek", seek), len)?;
    if device.facts().kind != DeviceKind::File {
        return Ok(Ready { device, created, zero_from: u64::MAX });
    }
    let (size, end) = (device.size(), seek.saturating_add(len));
    if size < end {
        extend(&device, end)?;
        if !created {
            undo.push(Undo::Shorten(device.path().to_owned(), size));
        }
    }
    Ok(Ready { device, created, zero_from: size })
}

fn create(
    path: &Path,
    (read_back, direct): (bool, Direct),
    undo: &mut Vec<Undo>,
) -> Result<Device, Failure> {
    let created = OpenOptions::new().write(true).create_new(true).open(path);
    created.map_err(|error| {
        let refused = Use::Write.refused(path, &cause(&error));
        if error.kind() == io::ErrorKind::AlreadyExists {
            return refused.hint("it appeared just now; run it again");
        }
        refused.hint(remedy(Errno::from_io(&error)))
    })?;
    undo.push(Undo::Remove(path.to_owned()));
    target::open_destination(path, read_back, direct)
}

fn extend(device: &Device, end: u64) -> Result<(), Failure> {
    let path = device.path();
    device.extend(end).map_err(|error| {
        if error.kind() == io::ErrorKind::FileTooLarge {
            let cause = format!("its file system cannot hold a file of {}", exact(end));
            return Use::Write
                .refused(path, &cause)
                .hint("copy less with --count, or to another file system (mind ulimit -f)");
        }
        Use::Write.refused(path, &cause(&error)).hint(remedy(Errno::from_io(&error)))
    })
}

/// Removes what was created and shortens what was extended, the last first.
fn take_back(undo: Vec<Undo>) {
    for step in undo.into_iter().rev() {
        let undone = match &step {
            Undo::Remove(path) => std::fs::remove_file(path),
            Undo::Shorten(path, size) => {
                OpenOptions::new().write(true).open(path).and_then(|file: File| file.set_len(*size))
            }
        };
        if let Err(error) = undone {
            tracing::warn!(?step, %error, "could not be undone");
        }
    }
}

/// Makes the names of the files that were created durable.
pub(crate) fn flush_directories(targets: &[Target]) -> io::Result<()> {
    for target in targets.iter().filter(|target| target.created) {
        File::open(parent(target.device.path()))?.sync_all()?;
    }
    Ok(())
}
