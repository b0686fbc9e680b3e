//! Opened devices, examined: what assembly, array and record are made from.

use std::cell::RefCell;
use std::io;
use std::path::PathBuf;

use kcopy::{Device, Errno, Fault, FaultKind, Sector, Sectors};

use super::{BadRange, FailedMember};
use crate::assemble::Candidate;
use crate::metadata::{
    Area, BackupHeader, Bitmap, ExamineError, Examined, Member as FoundMember, ReadAt,
    SuperblockError, Uuid, examine,
};
use crate::mover::Mover;

/// A device read through the copy engine.
#[derive(Debug)]
pub struct DeviceReader<'a> {
    mover: RefCell<&'a mut Mover>,
    device: &'a Device,
}

impl<'a> DeviceReader<'a> {
    /// Reads `device` with `mover`.
    pub fn new(mover: &'a mut Mover, device: &'a Device) -> Self {
        Self { mover: RefCell::new(mover), device }
    }
}

impl ReadAt for DeviceReader<'_> {
    fn size(&self) -> Sectors {
        Sectors::from_bytes_floor(self.device.size())
    }

    fn read_at(&self, at: Sector, buffer: &mut [u8]) -> io::Result<()> {
        let offset = at.checked_bytes().ok_or(io::ErrorKind::InvalidInput)?;
        let read = self.mover.borrow_mut().read(self.device, offset, buffer.len());
        buffer.copy_from_slice(&read.map_err(io::Error::other)?);
        Ok(())
    }
}

/// A device that is no member, and why.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NoMember {
    /// No superblock at any of the places where one could be.
    #[error("{} has no md superblock", path.display())]
    NoSuperblock {
        /// The device.
        path: PathBuf,
    },
    /// There is one, but it is damaged.
    #[error("{}: {error}", path.display())]
    Damaged {
        /// The device.
        path: PathBuf,
        /// What is wrong with it.
        error: SuperblockError,
    },
    /// It cannot be read.
    #[error("{}: {error}", path.display())]
    Unreadable {
        /// The device.
        path: PathBuf,
        /// Why.
        error: ExamineError,
    },
    /// Superblocks of two arrays on one device: one is left over, nobody can tell which.
    #[error("{} has superblocks of two arrays, {} and {}", path.display(), first, second)]
    TwoArrays {
        /// The device.
        path: PathBuf,
        /// One.
        first: Uuid,
        /// The other.
        second: Uuid,
    },
}

/// The members of an array as they were found, in the order in which they were given.
#[derive(Clone, Debug)]
pub struct Members {
    /// The open devices.
    pub devices: Vec<Device>,
    /// Their superblocks.
    pub candidates: Vec<Candidate>,
    /// What their bad-block logs say.
    pub bad: Vec<Vec<BadRange>>,
    /// Their bitmaps, or why they are of no use; `None`: no bitmap.
    pub bitmaps: Vec<Option<Result<Bitmap, ExamineError>>>,
    /// Headers of the backup that a growing reshape keeps on its new members.
    pub backups: Vec<Option<BackupHeader>>,
}

impl Members {
    /// Reads what is on `devices`.
    ///
    /// A device with superblocks of several versions counts as a member of the array that the other
    /// devices belong to.
    ///
    /// # Errors
    ///
    /// The first device that is no member.
    pub fn read(mover: &mut Mover, devices: Vec<Device>) -> Result<Self, NoMember> {
        let (members, unreadable) = Self::read_readable(mover, devices)?;
        unreadable.into_iter().next().map_or(Ok(members), |(_, why)| Err(why))
    }

    /// The same of devices that were members a moment ago: those that cannot be read any more are left out. Gives them,
    /// with what to say about each.
    ///
    /// # Errors
    ///
    /// The first device that can be read and is no member.
    pub fn read_readable(
        mover: &mut Mover,
        devices: Vec<Device>,
    ) -> Result<(Self, Vec<(FailedMember, NoMember)>), NoMember> {
        let examined: Vec<Examined> =
            devices.iter().map(|device| examine(&DeviceReader::new(mover, device))).collect();
        let common = common(&examined);
        let mut members = Self {
            devices: Vec::new(),
            candidates: Vec::new(),
            bad: Vec::new(),
            bitmaps: Vec::new(),
            backups: Vec::new(),
        };
        let mut unreadable = Vec::new();
        for (device, examined) in devices.into_iter().zip(&examined) {
            let found = match pick(&device, examined, common) {
                Err(NoMember::Unreadable {
                    path,
                    error: error @ ExamineError::Read { at, .. },
                }) => {
                    let fault = Fault { kind: FaultKind::Device, errno: Errno::IO, sector: at };
                    let failed = FailedMember { slot: None, path: path.clone(), fault };
                    unreadable.push((failed, NoMember::Unreadable { path, error }));
                    continue;
                }
                found => found?,
            };
            let bad = found.bad_blocks.iter().flatten().flatten();
            members.bad.push(bad.map(bad_range).collect());
            members.bitmaps.push(found.bitmap.clone());
            members.backups.push(found.backup.clone().and_then(Result::ok));
            members.candidates.push(Candidate {
                path: device.path().to_owned(),
                size: examined.size,
                superblock: found.superblock.clone(),
            });
            members.devices.push(device);
        }
        Ok((members, unreadable))
    }
}

fn bad_range(area: &Area) -> BadRange {
    BadRange { start: area.start, sectors: area.length }
}

/// The array that most devices belong to.
fn common(examined: &[Examined]) -> Option<Uuid> {
    let uuids: Vec<Uuid> = examined
        .iter()
        .flat_map(|examined| examined.members().map(|member| member.superblock.uuid()))
        .collect();
    let votes = |uuid: &Uuid| uuids.iter().filter(|other| *other == uuid).count();
    uuids.iter().copied().max_by_key(votes)
}

fn pick<'a>(
    device: &Device,
    examined: &'a Examined,
    common: Option<Uuid>,
) -> Result<&'a FoundMember, NoMember> {
    let path = || device.path().to_owned();
    let mut found: Vec<&FoundMember> = examined.members().collect();
    let shared = |member: &&FoundMember| Some(member.superblock.uuid()) == common;
    if found.iter().any(shared) {
        found.retain(shared);
    }
    // The same array twice, as after a change of the version: the later one counts.
    found.sort_by_key(|member| (member.superblock.events(), member.superblock.update_time()));
    if let [first, .., last] = &found[..]
        && first.superblock.uuid() != last.superblock.uuid()
    {
        let (first, second) = (first.superblock.uuid(), last.superblock.uuid());
        return Err(NoMember::TwoArrays { path: path(), first, second });
    }
    if let Some(member) = found.pop() {
        return Ok(member);
    }
    let damaged = examined.places.iter().find_map(|place| place.found.as_ref().ok()?.damage);
    if let Some(error) = damaged {
        return Err(NoMember::Damaged { path: path(), error });
    }
    let unread = examined.places.iter().find_map(|place| match &place.found {
        Err(error @ ExamineError::Read { .. }) => Some(error.clone()),
        Ok(_) | Err(_) => None,
    });
    match unread {
        Some(error) => Err(NoMember::Unreadable { path: path(), error }),
        None => Err(NoMember::NoSuperblock { path: path() }),
    }
}
