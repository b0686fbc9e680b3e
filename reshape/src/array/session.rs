//! An array while it is written: marked dirty before the first change, clean after the last.
//!
//! ```text
//!  begin   bitmap bits of the range, flush ─▶ superblocks dirty, flush
//!  write   data and parity
//!  end     flush members ─▶ bits cleared, superblocks clean, flush
//! ```
//!
//! A crash in between leaves a dirty array: parity is computed anew, of the marked chunks only if
//! there is a bitmap. A member whose write failed is taken out of the superblocks of the others before
//! anybody is told that the data is safe.

use kcopy::Sectors;

use super::members::Members;
use super::write::Source;
use super::{Array, ArrayError, BadRange, CheckReport, Mend, Range, Record, has_redundancy};
use crate::assemble::{Assembly, WhyNotWrite};
use crate::metadata::{Bitmap, Resync, Role, Superblock, Timestamp};
use crate::mover::{Durability, Mover};
use crate::units::Slot;

/// Whether checks that forbid writing are passed over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Force {
    /// They hold.
    No,
    /// What is only risky is done all the same: writing a dirty degraded array.
    Yes,
}

/// An array with its superblocks, open for changes.
#[derive(Debug)]
pub struct Session {
    pub(super) array: Array,
    pub(super) record: Record,
    pub(super) assembly: Assembly,
    /// What the superblocks said when it was opened.
    resync: Resync,
}

impl Session {
    /// Opens `assembly` of `members` for changes. Nothing is written yet.
    ///
    /// # Errors
    ///
    /// Why it must not be written, or a bitmap that cannot be kept up to date.
    pub fn open(assembly: &Assembly, members: &Members, force: Force) -> Result<Self, ArrayError> {
        match (assembly.writable(), force) {
            (Ok(()), _) | (Err(WhyNotWrite::DirtyDegraded), Force::Yes) => {}
            (Err(why), _) => return Err(ArrayError::NotWritable(why)),
        }
        let array = Array::open(assembly, &members.devices, &members.bad)?;
        let mut record = Record::new(assembly, &members.candidates, &members.devices);
        if let Some(view) = array.view() {
            super::bitmap::adopt(&mut record, members, view.geometry())?;
        }
        Ok(Self { array, record, assembly: assembly.clone(), resync: assembly.resync })
    }

    /// The array.
    pub fn array(&self) -> &Array {
        &self.array
    }

    /// The superblocks.
    pub fn record(&self) -> &Record {
        &self.record
    }

    /// What was assembled when it was opened.
    pub fn assembly(&self) -> &Assembly {
        &self.assembly
    }

    /// Writes `source` to `range` of the array, durably, with the array marked dirty meanwhile.
    ///
    /// Returns the members that failed and were taken out; the content is safe without them.
    ///
    /// # Errors
    ///
    /// As [`Array::write_from`], and failed changes of superblocks. The array is then marked dirty.
    pub fn write(
        &mut self,
        mover: &mut Mover,
        now: Timestamp,
        range: Range,
        source: &Source,
        moved: &mut dyn FnMut(u64) -> bool,
    ) -> Result<Vec<Slot>, ArrayError> {
        self.begin(mover, now, range)?;
        let report = self.array.write_from(mover, range, source, moved)?;
        for slot in &report.failed {
            self.fail(mover, now, *slot)?;
        }
        self.end(mover, now, range)?;
        Ok(report.failed)
    }

    /// Compares everything and makes it agree; a dirty array is clean afterwards.
    ///
    /// # Errors
    ///
    /// As [`Array::check`], and failed changes of superblocks.
    pub fn repair(
        &mut self,
        mover: &mut Mover,
        now: Timestamp,
        moved: &mut dyn FnMut(u64) -> bool,
    ) -> Result<CheckReport, ArrayError> {
        let report = self.array.check(mover, Mend::Repair, moved)?;
        if self.resync != Resync::Clean && self.assembly.degraded() == 0 {
            let all =
                Range { start: crate::units::ArraySector::new(0), sectors: self.array.sectors() };
            self.resync = Resync::Clean;
            self.end(mover, now, all)?;
        }
        Ok(report)
    }

    /// Marks a range as being written.
    pub(super) fn begin(
        &mut self,
        mover: &mut Mover,
        now: Timestamp,
        range: Range,
    ) -> Result<(), ArrayError> {
        if !has_redundancy(self.assembly.level) {
            return Ok(());
        }
        self.mark(mover, range, Bitmap::set_dirty)?;
        if self.resync == Resync::Clean {
            let dirty = Resync::From(0);
            self.record.commit(mover, now, |superblock| superblock.set_resync(dirty))?;
        }
        Ok(())
    }

    /// Makes the members durable and marks the range as being in step again.
    pub(super) fn end(
        &mut self,
        mover: &mut Mover,
        now: Timestamp,
        range: Range,
    ) -> Result<(), ArrayError> {
        let devices = self.array.view().map(|view| view.devices()).unwrap_or_default();
        mover.flush(&devices)?;
        if !has_redundancy(self.assembly.level) {
            return Ok(());
        }
        // A member that is missing needs to know what it missed.
        if self.degraded() == 0 && self.resync == Resync::Clean {
            self.mark(mover, range, Bitmap::set_clean)?;
        }
        let resync = self.resync;
        self.record.commit(mover, now, |superblock| superblock.set_resync(resync))?;
        Ok(())
    }

    /// What of parity and copies is in step.
    pub(super) fn resync(&self) -> Resync {
        self.resync
    }

    pub(super) fn degraded(&self) -> usize {
        let view = self.array.view();
        let legs = view.into_iter().flat_map(|view| view.legs());
        legs.filter(|(_, leg)| leg.is_none_or(|leg| leg.good_to.is_some())).count()
    }

    /// Changes the bits of a range in every bitmap, durably.
    fn mark(
        &mut self,
        mover: &mut Mover,
        range: Range,
        change: fn(&mut Bitmap, u64) -> bool,
    ) -> Result<(), ArrayError> {
        let Some(view) = self.array.view() else { return Ok(()) };
        let (from, to) = sync_range(view.geometry(), range);
        for entry in self.record.entries_mut() {
            let Some(bitmap) = &mut entry.bitmap else { continue };
            let chunk = bitmap.header().chunk().get().max(1);
            for bit in from / chunk..to.div_ceil(chunk) {
                change(bitmap, bit);
            }
        }
        Ok(self.record.write_bitmaps(mover)?)
    }

    /// Takes the member of a slot out of the array, and says so on all others.
    pub(super) fn fail(
        &mut self,
        mover: &mut Mover,
        now: Timestamp,
        slot: Slot,
    ) -> Result<(), ArrayError> {
        self.array.drop_member(slot);
        let Some(number) = self.record.number_in(slot) else { return Ok(()) };
        self.record.drop_device(number);
        self.record.commit(mover, now, |superblock| set_failed(superblock, number, slot))?;
        Ok(())
    }
}

/// In 0.90 the slot itself gets a descriptor that says that nobody is there, unless a member of another slot
/// goes by that number, as after a takeover, or after a rebuild on a spare.
pub(super) fn set_failed(
    superblock: &mut Superblock,
    number: u32,
    slot: Slot,
) -> Result<(), crate::metadata::DoesNotFit> {
    match superblock {
        Superblock::V1(superblock) => superblock.set_role(number, Role::Faulty),
        Superblock::V0(superblock) => {
            superblock.set_role(number, Role::Faulty)?;
            if matches!(superblock.role_of(slot.get()), Some(Role::Active(_))) {
                return Ok(());
            }
            let missing = crate::metadata::v0::Descriptor::missing(slot);
            superblock.set_descriptor(slot.get(), missing)
        }
    }
}

/// What the bits of a bitmap count: sectors of a member, for RAID10 of the array.
fn sync_range(geometry: &crate::geometry::Geometry, range: Range) -> (u64, u64) {
    let (start, end) = (range.start.get(), range.end());
    let Some(stripes) = geometry.stripes() else { return (start, end) };
    let chunk = geometry.chunk().get();
    let width = chunk * u64::from(stripes.data_disks());
    (start / width * chunk, end.div_ceil(width) * chunk)
}

/// A new member for [`Session::rebuild`].
#[derive(Clone, Debug)]
pub struct Newcomer {
    /// The device.
    pub device: kcopy::Device,
    /// Its own name (`device_uuid`).
    pub uuid: crate::metadata::Uuid,
    /// What is bad on it.
    pub bad: Vec<BadRange>,
}

impl Newcomer {
    /// The device's size.
    pub fn size(&self) -> Sectors {
        Sectors::from_bytes_floor(self.device.size())
    }

    /// Writes zeros over what may lie at `start` on the device.
    pub(super) fn wipe(
        &self,
        mover: &mut Mover,
        start: kcopy::Sector,
        sectors: Sectors,
    ) -> Result<(), ArrayError> {
        let bytes = usize::try_from(sectors.get() * kcopy::SECTOR_SIZE).unwrap_or(0);
        let at = start.get() * kcopy::SECTOR_SIZE;
        Ok(mover.write(&self.device, at, vec![0; bytes], Durability::Now)?)
    }
}
