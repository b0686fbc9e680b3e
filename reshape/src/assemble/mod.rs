//! From examined devices to a verdict: which belong together, in which slot, in what state. Pure.
//!
//! The freshest superblock (most `events`) says who belongs and where. A member that is at most one
//! event behind is as good as it: superblocks are written one after the other, and a crash between
//! them loses nothing that was acknowledged. One that is further behind is stale, whatever role it
//! claims.
//!
//! ```text
//!  candidates ──▶ one array? ──▶ freshest ──▶ roles ──▶ slots ──▶ geometry, old and new
//!                   │ no                                             │
//!                   ▼                                                ▼
//!                Refusal                                 Assembly: state, why not startable
//! ```

mod members;
mod readmit;
mod state;

use std::path::PathBuf;

use kcopy::{Sector, Sectors};

use crate::geometry::{BadShape, Geometry, Layout, Level, Raid0Layout, Shape, UnknownLayout};
use crate::metadata::{ArrayName, Features, Reshape, Resync, Superblock, Timestamp, Uuid, Version};
use crate::units::Slot;

pub use members::{Member, MemberState};
pub(crate) use members::{after_the_end, turned, was_elsewhere};
pub use readmit::readmit;
pub use state::{State, WhyNot, WhyNotWrite};

/// A device with the superblock that was found on it.
#[derive(Clone, Debug)]
pub struct Candidate {
    /// What it is called.
    pub path: PathBuf,
    /// Its size.
    pub size: Sectors,
    /// Its superblock, whose checksum is right.
    pub superblock: Superblock,
}

/// Why devices make no array, not even a broken one.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Refusal {
    /// No device was given.
    #[error("no member was given")]
    NoMembers,
    /// Devices of several arrays.
    #[error("{} belongs to array {}, {} to array {}", first.0.display(), first.1, other.0.display(), other.1)]
    SeveralArrays {
        /// A device and its array.
        first: (PathBuf, Uuid),
        /// One of another array.
        other: (PathBuf, Uuid),
    },
    /// Superblocks of several versions: one of them was left over.
    #[error("{} has a superblock {}, {} one of version {}", first.0.display(), first.1, other.0.display(), other.1)]
    SeveralVersions {
        /// A device and its superblock's version.
        first: (PathBuf, Version),
        /// One with another version.
        other: (PathBuf, Version),
    },
    /// Two devices that are the same member: one of them is a copy, or the same by another name.
    #[error("{} and {} are the same member, number {number}", first.display(), second.display())]
    Duplicate {
        /// One.
        first: PathBuf,
        /// The other.
        second: PathBuf,
        /// The member's number (`dev_number`).
        number: u32,
    },
    /// A level that does not exist.
    #[error("level {level} is not known")]
    Level {
        /// The number in the superblock.
        level: i32,
    },
    /// A layout that does not exist for the level.
    #[error(transparent)]
    Layout(#[from] UnknownLayout),
    /// Numbers in the superblock that make no array.
    #[error("the superblocks describe no array that can exist: {0}")]
    Shape(#[from] BadShape),
    /// A recorded reshape that makes no sense.
    #[error(
        "the superblocks record a reshape by {delta_disks} to {raid_disks} members, which cannot be"
    )]
    Reshape {
        /// `delta_disks`.
        delta_disks: i32,
        /// `raid_disks`.
        raid_disks: u32,
    },
    /// The device is shorter than its superblock says.
    #[error("{} is too short: its data ends at {end}, the device at {}", path.display(), size.get())]
    Truncated {
        /// The device.
        path: PathBuf,
        /// Where the superblock says that data ends.
        end: Sector,
        /// Where the device ends.
        size: Sectors,
    },
}

/// The geometry that holds, or the two of a reshape under way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Shapes {
    /// One.
    Whole(Geometry),
    /// Two, and the position between them.
    Moving {
        /// Before.
        old: Geometry,
        /// After.
        new: Geometry,
        /// What is recorded.
        reshape: Reshape,
    },
    /// Linear and RAID0 with a member missing: its size is not known, and so nothing behind it.
    Unknown,
}

impl Shapes {
    /// The array's size as it is seen now; during a reshape the smaller of both.
    pub fn sectors(&self) -> Option<Sectors> {
        match self {
            Self::Whole(geometry) => Some(geometry.sectors()),
            Self::Moving { old, new, .. } => Some(old.sectors().min(new.sectors())),
            Self::Unknown => None,
        }
    }
}

/// An array as its superblocks describe it. See the module.
#[derive(Clone, Debug)]
pub struct Assembly {
    /// The array's name for machines.
    pub uuid: Uuid,
    /// The same as bitmaps and backups have it.
    pub uuid_on_disk: [u8; 16],
    /// Its name for people.
    pub name: Option<ArrayName>,
    /// The version of its superblocks.
    pub version: Version,
    /// The level now; during a reshape before it.
    pub level: Level,
    /// The layout now; during a reshape before it.
    pub layout: Layout,
    /// The chunk now; during a reshape before it.
    pub chunk: Sectors,
    /// Slots now; during a reshape after it, as superblocks have it.
    pub raid_disks: u32,
    /// What is used of each member.
    pub component: Sectors,
    /// The freshest count of changes.
    pub events: u64,
    /// When it was made.
    pub creation_time: Timestamp,
    /// When the freshest superblock was written.
    pub update_time: Timestamp,
    /// Which part is in step.
    pub resync: Resync,
    /// The feature bits of the freshest superblock.
    pub features: Features,
    /// What became of each candidate, in their order.
    pub members: Vec<Member>,
    /// The candidate with the freshest superblock.
    pub freshest: usize,
    /// The map, or maps.
    pub shapes: Shapes,
}

/// Finds out what array `candidates` are.
///
/// # Errors
///
/// What makes it impossible to say. An array that lacks members is no error: see
/// [`Assembly::startable`].
pub fn assemble(candidates: &[Candidate]) -> Result<Assembly, Refusal> {
    let first = candidates.first().ok_or(Refusal::NoMembers)?;
    for other in candidates {
        let pair = |c: &Candidate| (c.path.clone(), c.superblock.uuid());
        if other.superblock.uuid() != first.superblock.uuid() {
            return Err(Refusal::SeveralArrays { first: pair(first), other: pair(other) });
        }
        let pair = |c: &Candidate| (c.path.clone(), c.superblock.version());
        if other.superblock.version() != first.superblock.version() {
            return Err(Refusal::SeveralVersions { first: pair(first), other: pair(other) });
        }
        check_length(other)?;
    }
    check_duplicates(candidates)?;
    let freshest = freshest(candidates);
    let superblock = &candidates.get(freshest).unwrap_or(first).superblock;
    let number = superblock.level_number();
    let level = superblock.level().ok_or(Refusal::Level { level: number })?;
    let members = members::members(candidates, superblock);
    let (layout, shapes) = shapes(superblock, level, candidates, &members)?;
    Ok(Assembly {
        uuid: superblock.uuid(),
        uuid_on_disk: superblock.uuid_on_disk(),
        name: superblock.name(),
        version: superblock.version(),
        level,
        layout,
        chunk: superblock.chunk(),
        raid_disks: superblock.raid_disks(),
        component: superblock.component_size(),
        events: superblock.events(),
        creation_time: superblock.creation_time(),
        update_time: superblock.update_time(),
        resync: superblock.resync(),
        features: superblock.features(),
        members,
        freshest,
        shapes,
    })
}

fn check_length(candidate: &Candidate) -> Result<(), Refusal> {
    let superblock = &candidate.superblock;
    let end = superblock.data_offset().get().saturating_add(superblock.data_size().get());
    // mdadm refreshes `data_size` late when a device shrinks; what is used of it has to be there.
    let used = superblock.data_offset().get().saturating_add(superblock.component_size().get());
    let used = if superblock.component_size() == Sectors::ZERO { end } else { used };
    if used <= candidate.size.get() {
        return Ok(());
    }
    let (path, size) = (candidate.path.clone(), candidate.size);
    Err(Refusal::Truncated { path, end: Sector::new(used), size })
}

/// Two devices with one name are copies of each other. In 0.90 members have a number only, which the
/// newcomer in a slot takes over: who had it before is further behind, and stale.
fn check_duplicates(candidates: &[Candidate]) -> Result<(), Refusal> {
    for (index, second) in candidates.iter().enumerate() {
        for first in candidates.get(..index).unwrap_or_default() {
            let (one, two) = (&first.superblock, &second.superblock);
            let same = match (one.device_uuid(), two.device_uuid()) {
                (Some(one), Some(two)) => one == two,
                _ => {
                    one.dev_number() == two.dev_number()
                        && one.role() == two.role()
                        && one.events().abs_diff(two.events()) <= 1
                }
            };
            if same {
                let number = two.dev_number();
                let (first, second) = (first.path.clone(), second.path.clone());
                return Err(Refusal::Duplicate { first, second, number });
            }
        }
    }
    Ok(())
}

/// The candidate that knows most: of those that are no spares, if there are others.
fn freshest(candidates: &[Candidate]) -> usize {
    use crate::metadata::Role;
    let rank = |candidate: &Candidate| {
        let active = matches!(candidate.superblock.role(), Role::Active(_));
        (active, candidate.superblock.events())
    };
    let mut best = 0;
    for (index, candidate) in candidates.iter().enumerate() {
        if candidates.get(best).is_some_and(|b| rank(candidate) > rank(b)) {
            best = index;
        }
    }
    // The end of a shrink, or a takeover, may be recorded on those only that leave by it: they are spares then.
    let ended = |candidate: &Candidate| {
        candidates.get(best).is_some_and(|known| {
            let (known, later) = (&known.superblock, &candidate.superblock);
            later.events() == known.events().saturating_add(1)
                && (after_the_end(known, later) || members::taken_over(known, later).is_some())
        })
    };
    candidates.iter().position(ended).unwrap_or(best)
}

/// The layout of `level` that a superblock means.
fn layout_of(superblock: &Superblock, level: Level, layout: u32) -> Result<Layout, UnknownLayout> {
    if level == Level::Raid0 && !superblock.features().contains(Features::RAID0_LAYOUT) {
        return Ok(Layout::Raid0(Raid0Layout::Unspecified));
    }
    Layout::from_md(level, layout)
}

fn shapes(
    superblock: &Superblock,
    level: Level,
    candidates: &[Candidate],
    members: &[Member],
) -> Result<(Layout, Shapes), Refusal> {
    let layout = layout_of(superblock, level, superblock.layout())?;
    let component = superblock.component_size();
    let disks = superblock.raid_disks();
    let shape = |layout, chunk, raid_disks, level, sizes| {
        Geometry::new(&Shape { level, layout, chunk, raid_disks, component, member_sizes: sizes })
    };
    let Some(reshape) = superblock.reshape() else {
        if !matches!(level, Level::Linear | Level::Raid0) {
            let whole = shape(layout, superblock.chunk(), disks, level, &[])?;
            return Ok((layout, Shapes::Whole(whole)));
        }
        let Some(sizes) = member_sizes(superblock, candidates, members) else {
            return Ok((layout, Shapes::Unknown));
        };
        let whole = shape(layout, superblock.chunk(), disks, level, &sizes)?;
        return Ok((layout, Shapes::Whole(whole)));
    };
    let impossible =
        Refusal::Reshape { delta_disks: reshape.delta_disks, raid_disks: reshape.raid_disks_new };
    let before = reshape.raid_disks_old().ok_or(impossible)?;
    let new_level =
        Level::from_md(reshape.new_level).ok_or(Refusal::Level { level: reshape.new_level })?;
    // A level other than the present one is a note of what follows, not part of the move.
    let new_layout = layout_of(superblock, level, reshape.new_layout)
        .or_else(|_| layout_of(superblock, new_level, reshape.new_layout))?;
    let old = shape(layout, superblock.chunk(), before, level, &[])?;
    let new = shape(new_layout, reshape.new_chunk, reshape.raid_disks_new, level, &[])?;
    Ok((layout, Shapes::Moving { old, new, reshape }))
}

/// `data_size` as a superblock has it, or will have it when it says what the freshest does.
pub(crate) fn size_after(superblock: &Superblock, freshest: &Superblock) -> Sectors {
    match members::taken_over(superblock, freshest) {
        Some(taken) if taken.geometry.level() == Level::Raid0 => superblock.component_size(),
        Some(_) | None => superblock.data_size(),
    }
}

/// `data_size` of the member in each slot, if all are there; of one that does not know yet that the array
/// was taken over, what it will be.
fn member_sizes(
    freshest: &Superblock,
    candidates: &[Candidate],
    members: &[Member],
) -> Option<Vec<Sectors>> {
    let disks = freshest.raid_disks();
    (0..disks)
        .map(|slot| {
            let here =
                |member: &&Member| member.slot == Some(Slot::new(slot)) && member.is_usable();
            let member = members.iter().find(here)?;
            candidates.get(member.candidate).map(|c| size_after(&c.superblock, freshest))
        })
        .collect()
}

#[cfg(test)]
mod tests;
