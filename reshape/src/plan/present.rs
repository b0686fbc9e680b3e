//! The array as the planner sees it: its geometry, and for every disk where it stands and how much
//! room there is around its data.

use std::path::{Path, PathBuf};

use kcopy::{Sector, Sectors};

use super::refusal::Refusal;
use crate::array::Members;
use crate::assemble::{Assembly, Candidate, MemberState, Shapes};
use crate::geometry::{Geometry, Level};
use crate::metadata::{Misplaced, Resync, Room, Superblock, Version};
use crate::units::Slot;

/// Sectors of the largest bitmap that mdadm makes by itself.
const BITMAP: u64 = 256;

/// A disk that may take part.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Disk {
    /// What it is called.
    pub path: PathBuf,
    /// Its index among the candidates; `None` for a disk that is to be added.
    pub candidate: Option<usize>,
    /// Its size.
    pub size: Sectors,
    /// Where its data begins (`data_offset`).
    pub data_offset: Sector,
    /// What md may use from there on (`data_size`).
    pub data_size: Sectors,
    /// What is free around the part that is used.
    pub room: Room,
    /// Sectors that its bad-block log lists.
    pub bad_sectors: u64,
}

/// See the module.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Present {
    /// The version of the superblocks.
    pub version: Version,
    /// The array.
    pub geometry: Geometry,
    /// What of it is in step.
    pub resync: Resync,
    /// Whether it has an internal bitmap.
    pub has_bitmap: bool,
    /// Sectors before a superblock behind the data that its bitmap and its bad-block log take.
    pub reserved: Sectors,
    /// Every disk: members, spares, and those that are to be added.
    pub disks: Vec<Disk>,
    /// Which disk is in which slot; those that cannot be believed everywhere are in none.
    pub slots: Vec<Option<usize>>,
    /// The disks that wait for a slot, in the order in which they get one.
    pub spares: Vec<usize>,
}

impl Present {
    /// The array that examined members make up.
    ///
    /// # Errors
    ///
    /// As [`Present::of`].
    pub fn read(assembly: &Assembly, members: &Members) -> Result<Self, Refusal> {
        let bitmaps = members.bitmaps.iter().map(|bitmap| match bitmap {
            None => Sectors::ZERO,
            Some(Ok(bitmap)) => {
                let bytes = u64::try_from(bitmap.header().length().unwrap_or(0)).unwrap_or(0);
                Sectors::new(bytes.div_ceil(kcopy::SECTOR_SIZE))
            }
            // It is there, but says nothing: as large as mdadm makes any.
            Some(Err(_)) => Sectors::new(BITMAP),
        });
        let bad = members.bad.iter().map(|bad| bad.iter().map(|range| range.sectors.get()).sum());
        let (bitmaps, bad): (Vec<_>, Vec<u64>) = (bitmaps.collect(), bad.collect());
        Self::of(assembly, &members.candidates, &bitmaps, &bad)
    }

    /// The array of an assembly. `bitmaps` are the lengths of the candidates' bitmaps, 0 for none;
    /// `bad_sectors` how many sectors their bad-block logs list.
    ///
    /// # Errors
    ///
    /// A state in which nothing may be planned: another reshape, missing members, a journal and so
    /// on.
    pub fn of(
        assembly: &Assembly,
        candidates: &[Candidate],
        bitmaps: &[Sectors],
        bad_sectors: &[u64],
    ) -> Result<Self, Refusal> {
        assembly.writable()?;
        let geometry = match &assembly.shapes {
            Shapes::Whole(geometry) => geometry.clone(),
            Shapes::Moving { .. } | Shapes::Unknown => return Err(Refusal::NotWhole),
        };
        let mut present = Self {
            version: assembly.version,
            slots: vec![None; usize::try_from(geometry.raid_disks()).unwrap_or(0)],
            geometry,
            resync: assembly.resync,
            has_bitmap: false,
            reserved: Sectors::ZERO,
            disks: Vec::new(),
            spares: Vec::new(),
        };
        for (index, candidate) in candidates.iter().enumerate() {
            let bitmap = bitmaps.get(index).copied().unwrap_or(Sectors::ZERO);
            let mut disk = disk_of(candidate, bitmap)?;
            disk.candidate = Some(index);
            disk.bad_sectors = bad_sectors.get(index).copied().unwrap_or(0);
            present.disks.push(disk);
        }
        if let Some(freshest) = candidates.get(assembly.freshest) {
            present.reserved = reserved(&freshest.superblock)?;
        }
        present.seat(assembly)?;
        // What a stale member says of a bitmap was true once.
        let seated = present.slots.iter().flatten().filter_map(|disk| candidates.get(*disk));
        let notes = |one: &Candidate| one.superblock.bitmap_at().is_ok_and(|at| at.is_some());
        present.has_bitmap = seated.into_iter().any(notes);
        Ok(present)
    }

    fn seat(&mut self, assembly: &Assembly) -> Result<(), Refusal> {
        for member in &assembly.members {
            match member.state {
                MemberState::InSync => {
                    let slot = member.slot.and_then(|slot| usize::try_from(slot.get()).ok());
                    if let Some(seat) = slot.and_then(|slot| self.slots.get_mut(slot)) {
                        *seat = Some(member.candidate);
                    }
                }
                MemberState::Spare => self.spares.push(member.candidate),
                MemberState::Recovering { .. } | MemberState::Replacement => {
                    let path = self.path(member.candidate).to_owned();
                    return Err(Refusal::Rebuilding { path });
                }
                MemberState::Stale | MemberState::Journal => {}
            }
        }
        Ok(())
    }

    /// Adds a blank disk of `size` sectors as a spare. It gets the data offset that the others have.
    ///
    /// # Errors
    ///
    /// A disk that is too small.
    pub fn add(&mut self, path: &Path, size: Sectors) -> Result<(), Refusal> {
        let like = self.slots.iter().flatten().find_map(|disk| self.disks.get(*disk));
        let (data_offset, before) =
            like.map_or((Sector::new(0), 0), |disk| (disk.data_offset, disk.room.before.get()));
        let end = match self.version.place(size) {
            Ok(at) if at > data_offset => at.get().saturating_sub(self.reserved.get()),
            Ok(_) => size.get(),
            Err(_) => 0,
        };
        let data_size = end.saturating_sub(data_offset.get());
        let needed = self.component_of_new_disks();
        let Some(after) = data_size.checked_sub(needed).filter(|_| data_size > 0) else {
            let needed = Sectors::new(needed.saturating_add(data_offset.get()));
            return Err(Refusal::TooSmall { path: path.to_owned(), size, needed });
        };
        let room = Room { before: Sectors::new(before), after: Sectors::new(after) };
        self.spares.push(self.disks.len());
        self.disks.push(Disk {
            path: path.to_owned(),
            candidate: None,
            size,
            data_offset,
            data_size: Sectors::new(data_size),
            room,
            bad_sectors: 0,
        });
        Ok(())
    }

    /// What a new member has to hold; of a linear array anything.
    fn component_of_new_disks(&self) -> u64 {
        match self.geometry.level() {
            Level::Linear => 8,
            Level::Raid0
            | Level::Raid1
            | Level::Raid4
            | Level::Raid5
            | Level::Raid6
            | Level::Raid10 => self.geometry.component().get(),
        }
    }

    /// Whether there are disks that have no superblock of the array yet.
    pub(super) fn has_blank_disks(&self) -> bool {
        self.disks.iter().any(|disk| disk.candidate.is_none())
    }

    /// What a disk is called.
    pub fn path(&self, disk: usize) -> &Path {
        self.disks.get(disk).map_or_else(|| Path::new("?"), |disk| &disk.path)
    }

    /// The slots without a member.
    pub fn missing(&self) -> Vec<Slot> {
        let numbers = (0_u32..).zip(&self.slots);
        numbers.filter(|(_, disk)| disk.is_none()).map(|(slot, _)| Slot::new(slot)).collect()
    }
}

/// What lies directly before a superblock behind the data.
fn reserved(superblock: &Superblock) -> Result<Sectors, Misplaced> {
    let at = superblock.at();
    let log = superblock.bad_blocks_at()?.map(|area| area.start);
    let starts = [superblock.bitmap_at()?, log].into_iter().flatten().filter(|start| *start < at);
    let first = starts.min().unwrap_or(at);
    Ok(Sectors::new(at.get().saturating_sub(first.get())))
}

fn disk_of(candidate: &Candidate, bitmap: Sectors) -> Result<Disk, Misplaced> {
    let superblock = &candidate.superblock;
    let (data_offset, data_size) = (superblock.data_offset(), superblock.data_size());
    let room = match superblock {
        Superblock::V1(superblock) => superblock.room(candidate.size, bitmap)?,
        Superblock::V0(superblock) => {
            let used = superblock.component_size().get();
            let after = superblock.at().get().saturating_sub(used);
            Room { before: Sectors::ZERO, after: Sectors::new(after) }
        }
    };
    Ok(Disk {
        path: candidate.path.clone(),
        candidate: None,
        size: candidate.size,
        data_offset,
        data_size,
        room,
        bad_sectors: 0,
    })
}
