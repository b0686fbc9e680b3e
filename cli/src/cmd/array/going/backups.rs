//! The backup file: one that may hold something, and one that is to be made.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use kcopy::{Device, Sectors};
use reshape::array::{NoBackup, is_absent};
use reshape::exec::{BackupFile, BackupVerdict, ExecError, Ongoing};
use reshape::metadata::BackupHeader;
use reshape::mover::Mover;

use crate::args::Direct;
use crate::clock::date;
use crate::cmd::target::{Use, cause, open_destination, overlap};
use crate::exit::Failure;
use crate::output::name;

/// The file that `--backup-file` names, if it exists.
pub(crate) fn candidate(path: Option<&Path>, ongoing: &Ongoing) -> Result<Option<Device>, Failure> {
    let Some(path) = path.filter(|path| path.exists()) else { return Ok(None) };
    let device = open_destination(path, true, Direct::Auto)?;
    check_elsewhere(&device, &ongoing.members.devices)?;
    Ok(Some(device))
}

/// A backup on a member would be overwritten by what it is to save.
fn check_elsewhere(device: &Device, members: &[Device]) -> Result<(), Failure> {
    let Some(member) = members.iter().find(|member| overlap(member, device)) else {
        return Ok(());
    };
    let cause = format!("it is on the same device as the member {}", name(member.path()));
    Err(Use::Write.refused(device.path(), &cause).hint("keep the backup on another device"))
}

/// What a new backup is for.
pub(crate) struct Wanted<'a> {
    pub(crate) path: Option<&'a Path>,
    /// The same file, if it is open already: it is locked, and cannot be opened twice.
    pub(crate) file: Option<&'a Device>,
    /// The array's uuid, as backups have it.
    pub(crate) uuid: [u8; 16],
    pub(crate) section: Sectors,
    pub(crate) members: &'a [Device],
    /// What became of the file as a candidate.
    pub(crate) verdicts: &'a [BackupVerdict],
    pub(crate) force: bool,
}

/// Where a reshape goes next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Next {
    /// The way it goes.
    On,
    /// It turns around.
    Back,
}

/// Makes the backup file: all of its room is taken before anything moves.
pub(crate) fn new_file(
    mover: &mut Mover,
    (ongoing, next): (&Ongoing, Next),
    wanted: &Wanted<'_>,
) -> Result<BackupFile, Failure> {
    let room = |mover: &mut Mover, file| match next {
        Next::On => Ok(ongoing.backup_room(mover, file, wanted.section)),
        Next::Back => ongoing.backup_room_to_turn(mover, file, wanted.section),
    };
    let cannot = |error: ExecError| Failure::refused(format!("cannot make a backup: {error}"));
    let new = room(mover, None).map_err(cannot)?;
    let device = open_new(wanted, new.get() * kcopy::SECTOR_SIZE)?;
    let bytes = room(mover, Some(&device)).map_err(cannot)?.get() * kcopy::SECTOR_SIZE;
    let path = device.path().to_owned();
    let made = match next {
        Next::On => {
            ongoing.backup_file(mover, device, wanted.section, date()).map_err(ExecError::from)
        }
        Next::Back => ongoing.backup_file_to_turn(mover, device, wanted.section, date()),
    };
    made.map_err(|error| {
        let needed = crate::units::human(bytes);
        Failure::refused(format!("cannot make the backup {}: {error}", name(&path)))
            .hint(format!("nothing was moved; it takes {needed}: make room, or name another file"))
    })
}

/// Opens the file, makes it if it is not there; `bytes` is what it will take, if that is known.
fn open_new(wanted: &Wanted<'_>, bytes: u64) -> Result<Device, Failure> {
    let Some(path) = wanted.path else {
        let takes = match bytes {
            0 => String::new(),
            bytes => format!("; it takes {}", crate::units::human(bytes)),
        };
        return Err(Failure::refused("cannot go on: a backup file is needed")
            .hint(format!("--backup-file FILE, on other devices than the array{takes}")));
    };
    check_content(path, wanted)?;
    if let Some(file) = wanted.file {
        return Ok(file.clone());
    }
    if !path.exists() {
        File::create_new(path).map_err(|error| Use::Write.refused(path, &cause(&error)))?;
    }
    let device = open_destination(path, true, Direct::Auto)?;
    check_elsewhere(&device, wanted.members)?;
    Ok(device)
}

/// The file for the backup of a reshape that begins: new, or blank, and on no disk of the array; or one that we made
/// for an array at rest with this uuid, in which nothing can be needed any more.
pub(crate) fn fresh_file(
    path: Option<&Path>,
    disks: &[Device],
    (at_rest, force): (Option<[u8; 16]>, bool),
) -> Result<Device, Failure> {
    let wanted = Wanted {
        path,
        file: None,
        uuid: at_rest.unwrap_or_default(),
        section: Sectors::ZERO,
        members: disks,
        verdicts: &[],
        force,
    };
    open_new(&wanted, 0)
}

/// A file that holds something else is not taken for a backup.
pub(super) fn check_content(path: &Path, wanted: &Wanted<'_>) -> Result<(), Failure> {
    if wanted.force || !path.exists() {
        return Ok(());
    }
    let known = wanted.verdicts.iter().find(|found| found.path == path);
    let refused = |cause: &str| {
        let failure = Use::Write.refused(path, cause);
        failure.hint("name a new file; --force overwrites this one")
    };
    match known.map(|found| &found.verdict) {
        Some(Err(error)) if is_absent(error) => {}
        Some(Ok(_) | Err(NoBackup::NotNeeded { .. } | NoBackup::Time { .. })) => return Ok(()),
        Some(Err(NoBackup::Foreign { .. })) => {
            return Err(refused("it is the backup of another array"));
        }
        Some(Err(_)) | None => {}
    }
    let mut start = [0; 4096];
    let read = File::open(path).and_then(|mut file| file.read(&mut start));
    match read {
        Ok(read) if start.iter().take(read).all(|byte| *byte == 0) => Ok(()),
        // Whoever goes on has asked `verdicts`; here no reshape is recorded.
        Ok(_) if wanted.verdicts.is_empty() && is_own(&start, wanted.uuid) => Ok(()),
        Ok(_) => Err(refused("it exists and is no backup of this reshape")),
        Err(error) => Err(Use::Write.refused(path, &cause(&error))),
    }
}

/// Whether this is the header of a backup that we made for the array `uuid`.
fn is_own(start: &[u8], uuid: [u8; 16]) -> bool {
    let header = BackupHeader::parse(start);
    let own = |header: BackupHeader| header.ours.is_some() && header.set_uuid == uuid;
    uuid != [0; 16] && header.is_ok_and(own)
}
