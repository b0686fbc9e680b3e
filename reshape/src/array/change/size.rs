//! More or less of each member is used.

use kcopy::{Device, Extent, Job, Sectors};

use super::ChangeRefusal;
use crate::array::bitmap::{bytes, room_of, sync_size};
use crate::array::component::{LARGEST_V0, usable};
use crate::array::{ArrayError, Entry, FailedMember, Force, Session, View};
use crate::geometry::{Geometry, Layout, Level, On, Shape};
use crate::metadata::{Fill, Minor, Resync, Superblock, Timestamp};
use crate::mover::{MoveError, Mover, check_written};
use crate::units::{MemberSector, Slot};

/// Sectors that one job zeroes: 64 MiB.
const SPAN: u64 = 131_072;

/// How much of each member is to be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NewSize {
    /// As much as the smallest member has room for.
    Max,
    /// So much.
    Sectors(Sectors),
}

/// What is done about the sectors that a growing array gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Added {
    /// They are zeroed on every member: parity and copies are right then.
    Zero,
    /// Nothing: the caller says that parity and copies are right there (mdadm's `--assume-clean`).
    AssumeClean,
}

/// What became of the size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Resized {
    /// What is used of each member now.
    pub component: Sectors,
    /// The array's size now.
    pub sectors: Sectors,
}

impl Session {
    /// Uses another part of each member (`size`): of levels 1, 4, 5, 6, and of 10 unless it has a far
    /// layout. What is added is in step before it belongs to the array.
    ///
    /// With [`Force::Yes`] the array may shrink, which loses the end of its content. `moved` gets the
    /// bytes zeroed so far and returns false to stop: nothing has changed then.
    ///
    /// # Errors
    ///
    /// What does not go together, [`MoveError::Cancelled`], or a failed write.
    pub fn resize(
        &mut self,
        mover: &mut Mover,
        now: Timestamp,
        size: NewSize,
        (added, force): (Added, Force),
        moved: &mut dyn FnMut(u64) -> bool,
    ) -> Result<Resized, ArrayError> {
        let view = self.array.view().ok_or(ArrayError::Reshaping)?;
        let old = view.geometry().clone();
        let new = self.geometry_of(&old, size)?;
        let grows = new.component() > old.component();
        if new.component() < old.component() && force == Force::No {
            let (before, after) = (old.sectors(), new.sectors());
            return Err(ChangeRefusal::Shrink { before, after }.into());
        }
        if grows {
            self.check_bitmap_room(&new)?;
            match added {
                Added::AssumeClean => {}
                Added::Zero => {
                    let failed = zero(mover, view, &new, moved)?;
                    self.leave(mover, now, failed)?;
                }
            }
            self.resize_bitmap(&new)?;
        }
        let component = new.component();
        self.commit(mover, now, |superblock| {
            superblock.set_component_size(component)?;
            if let Superblock::V1(superblock) = superblock
                && superblock.data_size() < component
            {
                superblock.set_data_size(component);
            }
            Ok(())
        })?;
        if !grows {
            self.resize_bitmap(&new)?;
            self.write_bitmaps(mover, now)?;
        }
        self.reopen(&[])?;
        Ok(Resized { component, sectors: self.array.sectors() })
    }

    /// The array's map with the new size.
    fn geometry_of(&self, old: &Geometry, size: NewSize) -> Result<Geometry, ArrayError> {
        check_kind(old)?;
        self.check_no_journal()?;
        if self.resync() != Resync::Clean {
            return Err(ChangeRefusal::Dirty.into());
        }
        let (path, room) = self.room()?;
        let block = self.record.entries().iter().map(|e| e.device.facts().logical_block).max();
        let block = u64::from(block.unwrap_or(512)) / kcopy::SECTOR_SIZE;
        let unit =
            if old.chunk() == Sectors::ZERO { Sectors::new(block.max(2)) } else { old.chunk() };
        let even = |size| usable(old.layout(), old.raid_disks(), size, unit);
        let component = match size {
            NewSize::Max => even(room),
            NewSize::Sectors(wanted) if wanted > room => {
                return Err(ChangeRefusal::NoRoom { path, room, wanted }.into());
            }
            NewSize::Sectors(wanted) => {
                let below = even(wanted);
                if below != wanted || wanted == Sectors::ZERO {
                    return Err(ChangeRefusal::Uneven { wanted, below }.into());
                }
                wanted
            }
        };
        let shape = Shape {
            level: old.level(),
            layout: old.layout(),
            chunk: old.chunk(),
            raid_disks: old.raid_disks(),
            component,
            member_sizes: &[],
        };
        let uneven = ChangeRefusal::Uneven { wanted: component, below: old.component() };
        Geometry::new(&shape).map_err(|_| uneven.into())
    }

    /// The member with the least room, and how much that is.
    fn room(&self) -> Result<(std::path::PathBuf, Sectors), ArrayError> {
        let mut least = None;
        for entry in self.record.entries() {
            let room = room_for_data(entry)?;
            if least.is_none_or(|(_, other)| room < other) {
                least = Some((&entry.device, room));
            }
        }
        let (device, room): (&Device, Sectors) = least.ok_or(ArrayError::Inconsistent)?;
        Ok((device.path().to_owned(), room))
    }

    fn check_bitmap_room(&self, new: &Geometry) -> Result<(), ArrayError> {
        for entry in self.record.entries() {
            let Some(bitmap) = &entry.bitmap else { continue };
            let chunk = bitmap.header().chunk();
            let needed = bytes(sync_size(new), chunk);
            let room = room_of(&entry.superblock)?.checked_bytes().unwrap_or(u64::MAX);
            if needed > room && needed > u64::try_from(bitmap.to_bytes().len()).unwrap_or(0) {
                return Err(ChangeRefusal::BitmapGrowth { chunk }.into());
            }
        }
        Ok(())
    }

    /// Fits every bitmap to a new size, in memory.
    fn resize_bitmap(&mut self, new: &Geometry) -> Result<(), ArrayError> {
        // A member that is missing lacks what is added, and has to learn of it when it comes back.
        let fill = if self.degraded() == 0 { Fill::Clean } else { Fill::Dirty };
        for entry in self.record.entries_mut() {
            let Some(bitmap) = &mut entry.bitmap else { continue };
            let chunk = bitmap.header().chunk();
            let resized = bitmap.resized(sync_size(new), fill);
            *bitmap = resized.map_err(|_| ChangeRefusal::BitmapGrowth { chunk })?;
        }
        Ok(())
    }
}

fn check_kind(geometry: &Geometry) -> Result<(), ChangeRefusal> {
    match (geometry.level(), geometry.layout()) {
        (Level::Linear, _) => Err(ChangeRefusal::FixedSize { what: "linear arrays" }),
        (Level::Raid0, _) => Err(ChangeRefusal::FixedSize { what: "RAID0" }),
        (_, Layout::Raid10(layout)) if layout.far > 1 && !layout.offset => {
            Err(ChangeRefusal::FixedSize { what: "RAID10 with far copies" })
        }
        (Level::Raid1 | Level::Raid4 | Level::Raid5 | Level::Raid6 | Level::Raid10, _) => Ok(()),
    }
}

/// How much of a member may hold data.
fn room_for_data(entry: &Entry) -> Result<Sectors, ArrayError> {
    let superblock = match &entry.superblock {
        Superblock::V0(superblock) => {
            return Ok(Sectors::new(superblock.at().get()).min(LARGEST_V0));
        }
        // What lies between data and superblock is kept for a bitmap and the log.
        Superblock::V1(superblock) if superblock.minor() == Minor::Zero => {
            return Ok(superblock.data_size().max(superblock.component_size()));
        }
        Superblock::V1(superblock) => superblock,
    };
    let device = Sectors::from_bytes_floor(entry.device.size());
    let bitmap = entry.bitmap.as_ref().map_or(0, |bitmap| bitmap.to_bytes().len().div_ceil(512));
    let bitmap = Sectors::new(u64::try_from(bitmap).unwrap_or(u64::MAX));
    let behind = superblock.room(device, bitmap)?.after;
    let used = superblock.component_size();
    Ok(Sectors::new(used.get().saturating_add(behind.get())))
}

/// Zeroes what `new` has on the members of `view` and its geometry has not. Returns those where that failed.
fn zero(
    mover: &mut Mover,
    view: &View,
    new: &Geometry,
    moved: &mut dyn FnMut(u64) -> bool,
) -> Result<Vec<FailedMember>, ArrayError> {
    let old = view.geometry();
    let (mut done, mut failed) = (0, Vec::<FailedMember>::new());
    for (start, sectors) in spans(old, new) {
        let mut jobs = Vec::new();
        let mut members = Vec::new();
        for (slot, leg) in view.legs() {
            let Some(leg) = leg else { continue };
            if failed.iter().any(|member| member.slot == Some(slot)) {
                continue;
            }
            if start < old.component().get() && !is_free(old, slot, start) {
                continue;
            }
            let length = Sectors::new(sectors);
            let extent: Extent =
                leg.extent(MemberSector::new(start), length).ok_or(ArrayError::Inconsistent)?;
            jobs.push(Job::zero().to(extent).flush());
            members.push((slot, &leg.device));
            done += sectors * kcopy::SECTOR_SIZE;
        }
        for ((slot, device), outcome) in members.into_iter().zip(&mover.run_all(jobs)?) {
            match outcome.destinations.iter().find_map(|destination| destination.error) {
                Some(fault) => {
                    let path = device.path().to_owned();
                    failed.push(FailedMember { slot: Some(slot), path, fault });
                }
                None => check_written(outcome, &[device])?,
            }
        }
        if !moved(done) {
            return Err(MoveError::Cancelled.into());
        }
    }
    Ok(failed)
}

/// Whether the old array has nothing at a row: in RAID10 its last rows need not be full.
fn is_free(old: &Geometry, slot: Slot, row: u64) -> bool {
    match old.on(slot, MemberSector::new(row)) {
        On::Unused => true,
        On::Data(sector) => sector.get() >= old.sectors().get(),
        On::P { .. } | On::Q { .. } => false,
    }
}

/// The rows in question: the last of RAID10 that need not be full, chunk by chunk, and all new ones.
fn spans(old: &Geometry, new: &Geometry) -> Vec<(u64, u64)> {
    let (from, to) = (old.component().get(), new.component().get());
    let mut spans = Vec::new();
    if let Layout::Raid10(layout) = old.layout() {
        let chunk = old.chunk().get();
        let last = u64::from(layout.copies()).min(from / chunk.max(1));
        spans.extend((1..=last).rev().map(|back| (from - back * chunk, chunk)));
    }
    let mut at = from;
    while at < to {
        let sectors = SPAN.min(to - at);
        spans.push((at, sectors));
        at += sectors;
    }
    spans
}
