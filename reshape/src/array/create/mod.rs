//! A new array: what is wanted and the devices for it become a plan, or a refusal; the plan is
//! carried out in an order that a crash may cut anywhere.
//!
//! | module | what |
//! |---|---|
//! | `refusal` | why an array cannot be made so |
//! | `plan` | pure: every superblock, bitmap and size, before anything is written |
//! | `layout` | pure: what lies where on each device |
//! | `execute` | writing the plan |
//! | `files` | the members are made as files, too |
//!
//! ```text
//!  1. superblocks of other arrays wiped, flush        no array
//!  2. bitmaps and bad-block logs, flush               no array
//!  3. superblocks in which everybody is a spare       no array: nobody has a slot
//!  4. the superblocks, one event later, flush         the array, from the first of them on
//! ```
//!
//! Of superblocks that are one event apart the later one says who has which slot: after a crash in
//! step 4 one of them is enough for the whole array.

pub(super) mod execute;
mod files;
mod layout;
mod plan;
mod refusal;
#[cfg(test)]
mod tests;

use std::path::PathBuf;

use kcopy::{Device, Sector, Sectors};

use super::DeviceReader;
use crate::geometry::{Geometry, Layout, Level};
use crate::metadata::{
    Area, Bitmap, ExamineError, Resync, Superblock, SuperblockError, Timestamp, Uuid, Version,
    examine,
};
use crate::mover::Mover;
use crate::units::Slot;

pub use execute::{CreateError, Stage};
pub use files::{FilesError, NewFiles, create_files};
pub use refusal::CreateRefusal;

/// What a new array is to be. What is `None` is as mdadm has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// The superblocks' version; mdadm's default is 1.2.
    pub version: Version,
    /// The level.
    pub level: Level,
    /// The layout; `None`: left-symmetric, two near copies, and for RAID0 of several zones the one
    /// of kernels from 3.14 on.
    pub layout: Option<Layout>,
    /// The chunk; `None`: 512 KiB. RAID1 has none. For linear what members are rounded to, by
    /// default nothing.
    pub chunk: Option<Sectors>,
    /// The slots (`raid_disks`).
    pub raid_devices: u32,
    /// The spares.
    pub spare_devices: u32,
    /// The sectors used of each member (`size`); `None`: what the smallest has.
    pub component: Option<Sectors>,
    /// Where data begins on every member; `None`: as mdadm places it, with room for later reshapes.
    pub data_offset: Option<Sector>,
    /// The write-intent bitmap. mdadm adds one by itself to arrays of large members; here it has to
    /// be asked for.
    pub bitmap: NewBitmap,
    /// The name for people, at most 32 bytes, usually `host:name`; 0.90 has none.
    pub name: String,
    /// The name for machines.
    pub uuid: Uuid,
    /// The caller's clock.
    pub now: Timestamp,
    /// What is known about the devices' content.
    pub content: Content,
}

/// Whether a new array gets a bitmap.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NewBitmap {
    /// No; where the level can have one, room for it is kept.
    None,
    /// On each member. One bit stands for so many sectors; `None`: 64 MiB, or more if that does not
    /// fit.
    Internal(Option<Sectors>),
}

/// What is known about the content of the devices that become members.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Content {
    /// Nothing: parity or copies have to be computed, the array is dirty until then.
    Unknown,
    /// The caller says that parity and copies are right (mdadm's `--assume-clean`).
    AssumeClean,
    /// All sectors read as zeros, as those of new sparse files: parity and copies are right.
    Zeros,
}

/// A device that is to be a member.
#[derive(Clone, Debug)]
pub struct Blank {
    /// The open device.
    pub device: Device,
    /// Its own name for machines (`device_uuid`); 0.90 has none.
    pub uuid: Uuid,
    /// The superblocks that are on it now.
    pub found: Vec<Found>,
}

/// A superblock that is on a device already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Found {
    /// The version that has its place there.
    pub version: Version,
    /// Where it lies.
    pub at: Sector,
    /// The array it belongs to; `None` if it is damaged.
    pub array: Option<Uuid>,
}

impl Blank {
    /// Looks for superblocks on `device`.
    ///
    /// # Errors
    ///
    /// A place where one could be that cannot be read: the device is not fit for an array.
    pub fn look(mover: &mut Mover, device: Device, uuid: Uuid) -> Result<Self, CreateError> {
        let mut found = Vec::new();
        for place in examine(&DeviceReader::new(mover, &device)).places {
            let array = match place.found {
                Ok(member) => member.damage.is_none().then(|| member.superblock.uuid()),
                Err(ExamineError::Superblock(
                    SuperblockError::NoMagic { .. }
                    | SuperblockError::TooSmall(_)
                    | SuperblockError::TooShort { .. },
                )) => continue,
                Err(error @ (ExamineError::Read { .. } | ExamineError::BehindEnd { .. })) => {
                    return Err(CreateError::Look { path: device.path().to_owned(), error });
                }
                // It begins as a superblock does, and is none that can be read.
                Err(_) => None,
            };
            let size = Sectors::from_bytes_floor(device.size());
            if let Ok(at) = place.version.place(size) {
                found.push(Found { version: place.version, at, array });
            }
        }
        Ok(Self { device, uuid, found })
    }

    /// The device's size.
    fn size(&self) -> Sectors {
        Sectors::from_bytes_floor(self.device.size())
    }

    fn path(&self) -> PathBuf {
        self.device.path().to_owned()
    }
}

/// Who takes a place in the list of devices: slots first, spares behind.
#[derive(Clone, Debug)]
pub enum Seat {
    /// Nobody: the slot stays empty.
    Missing,
    /// A device.
    Taken(Blank),
}

/// A new array, every byte of it decided.
#[derive(Clone, Debug)]
pub struct CreatePlan {
    /// The map.
    pub geometry: Geometry,
    /// What is used of each member; 0 for linear and RAID0.
    pub component: Sectors,
    /// What of parity or copies is in step. If not everything, it is for the caller to compute it,
    /// with [`Session::repair`](super::Session::repair), or for the kernel.
    pub resync: Resync,
    /// The members and spares, in the order of their numbers.
    pub members: Vec<Planned>,
}

/// A device of a new array.
#[derive(Clone, Debug)]
pub struct Planned {
    /// The device.
    pub device: Device,
    /// Its slot; `None`: a spare.
    pub slot: Option<Slot>,
    /// Its superblock.
    pub superblock: Superblock,
    /// Its bitmap.
    pub bitmap: Option<Bitmap>,
    /// Superblocks that are on it now and are wiped.
    pub wipe: Vec<Found>,
}

impl CreatePlan {
    /// Decides everything about the array that is `wanted` on `seats`: first those of the slots, then
    /// the spares. Nothing is read or written.
    ///
    /// # Errors
    ///
    /// What does not go together.
    pub fn new(wanted: &Wanted, seats: &[Seat]) -> Result<Self, CreateRefusal> {
        plan::plan(wanted, seats)
    }

    /// The array's size.
    pub fn sectors(&self) -> Sectors {
        self.geometry.sectors()
    }

    /// The devices that belong to an array now, and to which: what a careful caller asks about
    /// before it goes on.
    pub fn overwrites(&self) -> impl Iterator<Item = (&Device, Found)> {
        self.members.iter().flat_map(|m| m.wipe.iter().map(|found| (&m.device, *found)))
    }
}

impl Found {
    fn area(self) -> Area {
        Area { start: self.at, length: crate::metadata::SUPER_SECTORS }
    }
}
