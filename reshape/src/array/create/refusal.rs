//! Why an array cannot be made as it is wanted. Nothing was written then.

use std::path::PathBuf;

use kcopy::{Sector, Sectors};

use crate::geometry::{BadShape, Layout, Level};
use crate::metadata::{BitmapError, DoesNotFit, Misplaced, TooSmall, Version};

/// See the module.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CreateRefusal {
    /// Level, layout, chunk, members and sizes do not go together.
    #[error(transparent)]
    Shape(#[from] BadShape),
    /// The layout is one of another level.
    #[error("layout {layout} is none of {level}")]
    Layout {
        /// The level.
        level: Level,
        /// The layout.
        layout: Layout,
    },
    /// The number of devices is wrong.
    #[error(
        "{raid_devices} slots and {spare_devices} spares need {} devices, {given} were given; an \
         empty slot is given as \"missing\"",
        u64::from(*raid_devices) + u64::from(*spare_devices)
    )]
    Count {
        /// Slots wanted.
        raid_devices: u32,
        /// Spares wanted.
        spare_devices: u32,
        /// Devices, and words "missing", that were given.
        given: usize,
    },
    /// A spare that is not there.
    #[error("a spare cannot be missing: ask for fewer spares")]
    MissingSpare,
    /// The level cannot do without these slots.
    #[error("{level} on {raid_devices} members cannot do without slots {slots:?}")]
    Missing {
        /// The level.
        level: Level,
        /// All slots.
        raid_devices: u32,
        /// The empty ones.
        slots: Vec<u32>,
    },
    /// RAID6 with one syndrome too many.
    #[error(
        "a RAID6 with one empty slot has a syndrome that nobody has computed, and md starts no such \
         array: leave two slots empty, or say that the content is known (assume-clean)"
    )]
    HalfDegraded,
    /// A level without redundancy has no use for them.
    #[error("{level} has no spares: nothing could be rebuilt onto them")]
    NoSpares {
        /// The level.
        level: Level,
    },
    /// One device twice.
    #[error("{} and {} are the same device", first.display(), second.display())]
    Duplicate {
        /// One name.
        first: PathBuf,
        /// The other.
        second: PathBuf,
    },
    /// A device that cannot be written.
    #[error("{} cannot be written", path.display())]
    ReadOnly {
        /// The device.
        path: PathBuf,
    },
    /// A device has no room for a superblock.
    #[error("{}: {error}", path.display())]
    NoRoom {
        /// The device.
        path: PathBuf,
        /// What is missing.
        error: TooSmall,
    },
    /// A device has too little room for data.
    #[error("{} is too small: it has {size}, this array needs at least {needed}", path.display())]
    TooSmall {
        /// The device.
        path: PathBuf,
        /// Its size.
        size: Sectors,
        /// The least size.
        needed: Sectors,
    },
    /// A component size that a device has not.
    #[error("{} has room for {room} of data, {wanted} of each member are wanted", path.display())]
    Component {
        /// The device.
        path: PathBuf,
        /// What there is room for.
        room: Sectors,
        /// What was asked for.
        wanted: Sectors,
    },
    /// A component size that is no whole number of what the level divides it into.
    #[error("{level} cannot use {wanted} of each member; the next smaller size is {below}")]
    Uneven {
        /// The level.
        level: Level,
        /// What was asked for.
        wanted: Sectors,
        /// What would do.
        below: Sectors,
    },
    /// Levels that use the whole of each member.
    #[error("{level} uses the whole of each member: a component size cannot be chosen")]
    Whole {
        /// The level.
        level: Level,
    },
    /// A chunk where there is none.
    #[error("{level} has no chunk")]
    NoChunk {
        /// The level.
        level: Level,
    },
    /// Data cannot begin there.
    #[error(
        "data on {} cannot begin at {wanted}: the first possible is {first}, and it has to be a \
         multiple of {grain}",
        path.display()
    )]
    DataOffset {
        /// The device.
        path: PathBuf,
        /// What was asked for.
        wanted: Sector,
        /// The first that is possible.
        first: Sector,
        /// What it has to be a multiple of.
        grain: Sectors,
    },
    /// 0.90 has no data offset.
    #[error("superblocks 0.90 have data at the device's start, not at {wanted}: use version 1.x")]
    FixedDataOffset {
        /// What was asked for.
        wanted: Sector,
    },
    /// A name that does not fit.
    #[error("the name {name:?} has {} bytes; up to 32 can be kept, without control characters", name.len())]
    Name {
        /// The name.
        name: String,
    },
    /// 0.90 keeps no name.
    #[error(
        "superblocks 0.90 have no room for the name {name:?}: leave it out, or use version 1.x"
    )]
    NoName {
        /// The name.
        name: String,
    },
    /// Too many devices for 0.90.
    #[error("superblocks 0.90 describe 27 devices at most, not {devices}: use version 1.x")]
    ManyDevices {
        /// Slots and spares.
        devices: u64,
    },
    /// Too large members for 0.90.
    #[error(
        "superblocks 0.90 can use {most} of each member at most, not {component}: give a component \
         size, or use version 1.x"
    )]
    LargeMembers {
        /// What would be used.
        component: Sectors,
        /// The most there can be.
        most: Sectors,
    },
    /// Several zones, and no room to say which layout they have.
    #[error(
        "the members differ in size, and a superblock {version} would not say which of two layouts \
         the RAID0 has: use version 1.x and a layout, or members of one size"
    )]
    Zones {
        /// The version.
        version: Version,
    },
    /// Levels without redundancy have no bitmap.
    #[error("{level} has nothing to resynchronise and takes no bitmap")]
    NoBitmap {
        /// The level.
        level: Level,
    },
    /// The bits do not fit where the bitmap lies.
    #[error(
        "a bitmap with one bit for {chunk} does not fit in the {room} kept for it; {}",
        .smallest.map_or_else(|| "none does".into(), |least| format!("{least} would do"))
    )]
    BitmapRoom {
        /// The chunk that was asked for.
        chunk: Sectors,
        /// The room.
        room: Sectors,
        /// The smallest chunk from 64 MiB on that fits.
        smallest: Option<Sectors>,
    },
    /// A bitmap that cannot be.
    #[error(transparent)]
    Bitmap(#[from] BitmapError),
    /// A place before the device.
    #[error(transparent)]
    Misplaced(#[from] Misplaced),
    /// Wiping an old superblock would change content that is to be kept.
    #[error(
        "{} has a superblock {version} at {at}, amid the content that is to be kept: if it is not part \
         of the content, wipe it first (mdadm --zero-superblock)",
        path.display()
    )]
    Buried {
        /// The device.
        path: PathBuf,
        /// Its version.
        version: Version,
        /// Where it lies.
        at: Sector,
    },
    /// A device that is said to hold zeros only, and does not.
    #[error("{} is said to hold zeros only and has a superblock at {at}", path.display())]
    NotZeros {
        /// The device.
        path: PathBuf,
        /// Where the superblock lies.
        at: Sector,
    },
    /// The superblock cannot say it.
    #[error(transparent)]
    DoesNotFit(#[from] DoesNotFit),
}
