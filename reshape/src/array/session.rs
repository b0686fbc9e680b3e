//! An array while it is written: marked dirty before the first change, clean after the last.
//!
//! ```text
//!  begin   bitmap bits of the range, flush ─▶ superblocks dirty, flush
//!  write   data and parity
//!  end     flush members ─▶ bits cleared, superblocks clean, flush
//! ```
//!
//! A crash in between leaves a dirty array: parity is computed anew, of the marked chunks only if
//! there is a bitmap. A member that failed is taken out of the superblocks of the others before anybody
//! is told that the data is safe; where the array cannot do without it nothing is recorded about it. A
//! device that was to become a member and fails is none: the array is what it was, and says so.

use std::path::PathBuf;

use kcopy::{Device, Sectors};

use super::leaving::{FailedMember, commit_without_failed, expect_room, flush_members, slot_of};
use super::members::Members;
use super::write::Source;
use super::{
    Array, ArrayError, BadRange, CheckReport, Mend, Range, Record, RecordError, has_redundancy,
};
use crate::assemble::{Assembly, WhyNotWrite};
use crate::metadata::{Bitmap, DoesNotFit, Features, Resync, Role, Superblock, Timestamp};
use crate::mover::{Durability, MoveError, Mover};
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
    /// Members that left since.
    failed: Vec<FailedMember>,
    /// The device that is about to become a member.
    pub(super) joining: Option<Joining>,
}

/// A device that is about to become a member, in the record already.
#[derive(Clone, Debug)]
pub(super) struct Joining {
    /// Its number (`dev_number`).
    pub(super) number: u32,
    /// Its device.
    pub(super) path: PathBuf,
    /// The slots of a linear array without it, if it is appended: without it there are no more.
    pub(super) appended_to: Option<u32>,
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
        let (failed, resync) = (Vec::new(), assembly.resync);
        Ok(Self { array, record, assembly: assembly.clone(), resync, failed, joining: None })
    }

    /// The members that failed since it was opened, and left the array.
    pub fn failed(&self) -> &[FailedMember] {
        &self.failed
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
        let before = self.failed.len();
        let report = self.array.write_from(mover, range, source, moved)?;
        self.leave(mover, now, report.failed)?;
        self.end(mover, now, range)?;
        let failed = self.failed.get(before..).unwrap_or_default();
        Ok(failed.iter().filter_map(|member| member.slot).collect())
    }

    /// Compares everything and makes it agree; a dirty array is clean afterwards. Members that could not be written
    /// leave; with a bitmap it says what they missed.
    ///
    /// # Errors
    ///
    /// As [`Array::check`], more members that failed than the array can do without, and failed changes of superblocks.
    pub fn repair(
        &mut self,
        mover: &mut Mover,
        now: Timestamp,
        moved: &mut dyn FnMut(u64) -> bool,
    ) -> Result<CheckReport, ArrayError> {
        let report = self.array.check(mover, Mend::Repair, moved)?;
        if !report.failed.is_empty() {
            let geometry = self.array.view().map(super::View::geometry);
            let places = geometry.map_or_else(Vec::new, |geometry| report.places(geometry));
            for (start, sectors, _) in places {
                self.set_bits((start, start + sectors), Bitmap::set_dirty);
            }
            self.leave(mover, now, report.failed.clone())?;
        }
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
        self.mark(mover, now, range, Bitmap::set_dirty)?;
        if self.resync == Resync::Clean {
            let dirty = Resync::From(0);
            self.commit(mover, now, |superblock| superblock.set_resync(dirty))?;
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
        self.flush(mover, now)?;
        if !has_redundancy(self.assembly.level) {
            return Ok(());
        }
        // A member that is missing needs to know what it missed.
        if self.degraded() == 0 && self.resync == Resync::Clean {
            self.mark(mover, now, range, Bitmap::set_clean)?;
        }
        let resync = self.resync;
        self.commit(mover, now, |superblock| superblock.set_resync(resync))
    }

    /// Makes durable what was written to the members.
    fn flush(&mut self, mover: &mut Mover, now: Timestamp) -> Result<(), ArrayError> {
        let legs = self.array.view().into_iter().flat_map(|view| view.legs());
        let members = legs.filter_map(|(slot, leg)| Some((slot, leg?.device.clone())));
        let members: Vec<(Slot, Device)> = members.collect();
        let failed = flush_members(mover, &members)?;
        self.leave(mover, now, failed)
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
        now: Timestamp,
        range: Range,
        change: fn(&mut Bitmap, u64) -> bool,
    ) -> Result<(), ArrayError> {
        let Some(view) = self.array.view() else { return Ok(()) };
        let span = sync_range(view.geometry(), range);
        self.set_bits(span, change);
        self.write_bitmaps(mover, now)
    }

    /// The same in memory, for what the bits count.
    fn set_bits(&mut self, (from, to): (u64, u64), change: fn(&mut Bitmap, u64) -> bool) {
        for entry in self.record.entries_mut() {
            let Some(bitmap) = &mut entry.bitmap else { continue };
            let chunk = bitmap.header().chunk().get().max(1);
            for bit in from / chunk..to.div_ceil(chunk) {
                change(bitmap, bit);
            }
        }
    }
}

/// Members that fail.
impl Session {
    /// Changes every superblock, durably; members that cannot be written leave. See [`Record::commit`].
    pub(super) fn commit(
        &mut self,
        mover: &mut Mover,
        now: Timestamp,
        change: impl FnMut(&mut Superblock) -> Result<(), DoesNotFit>,
    ) -> Result<(), ArrayError> {
        let (array, assembly, joining) = (&self.array, &self.assembly, self.joining.as_ref());
        let enough = |record: &Record| {
            joining.is_none_or(|joining| record.entry(joining.number).is_some())
                && is_enough(array, assembly, record)
        };
        match commit_without_failed(mover, &mut self.record, now, &enough, change) {
            Ok(failed) => self.take_out(failed),
            Err(ArrayError::TooManyFailed { members }) => self.stay_out(mover, now, members)?,
            Err(error) => return Err(error),
        }
        Ok(())
    }

    /// Writes every bitmap as it is now; members that cannot be written leave. See [`Record::write_bitmaps`].
    pub(super) fn write_bitmaps(
        &mut self,
        mover: &mut Mover,
        now: Timestamp,
    ) -> Result<(), ArrayError> {
        let unwritten = match self.record.write_bitmaps(mover) {
            Err(RecordError::Unwritten { devices }) => devices,
            ended => return Ok(ended?),
        };
        let slot = |number| self.record.entry(number).and_then(|e| slot_of(&e.superblock));
        let failed = unwritten.into_iter().map(|device| FailedMember {
            slot: slot(device.number),
            path: device.path,
            fault: device.fault,
        });
        let failed = failed.collect();
        self.leave(mover, now, failed)
    }

    /// Members that failed leave the array, durably.
    pub(super) fn leave(
        &mut self,
        mover: &mut Mover,
        now: Timestamp,
        failed: Vec<FailedMember>,
    ) -> Result<(), ArrayError> {
        if failed.is_empty() {
            return Ok(());
        }
        expect_room(&failed)?;
        for member in &failed {
            self.drop_device(member);
        }
        let joins = |joining: &Joining| self.record.entry(joining.number).is_some();
        if !self.joining.as_ref().is_none_or(joins) || !self.is_enough() {
            return self.stay_out(mover, now, failed);
        }
        self.take_out(failed);
        self.commit(mover, now, |_| Ok(()))
    }

    /// The record goes on without the device that failed.
    fn drop_device(&mut self, member: &FailedMember) {
        let mut entries = self.record.entries().iter();
        let number = entries.find(|entry| entry.device.path() == member.path);
        if let Some(number) = number.map(|entry| entry.superblock.dev_number()) {
            self.record.drop_device(number);
        }
    }

    /// What has failed takes no part any more.
    fn take_out(&mut self, failed: Vec<FailedMember>) {
        for member in &failed {
            tracing::warn!(%member, "a member left the array");
            let view = self.array.view();
            let is_its = |leg: &super::Leg| leg.device.path() == member.path;
            if let Some(slot) = member.slot
                && view.and_then(|view| view.leg(slot)).is_some_and(is_its)
            {
                self.array.drop_member(slot);
            }
        }
        self.failed.extend(failed);
    }

    /// Devices failed, and have left the record: if the array has all it needs without the one that was joining it,
    /// it stays as it was before, durably. Tells what happened in any case.
    fn stay_out(
        &mut self,
        mover: &mut Mover,
        now: Timestamp,
        mut members: Vec<FailedMember>,
    ) -> Result<(), ArrayError> {
        let too_many = |members| Err(ArrayError::TooManyFailed { members });
        if !self.is_enough() {
            return too_many(members);
        }
        let Some(Joining { number, path, appended_to }) = self.joining.take() else {
            return too_many(members);
        };
        let Some(index) = members.iter().position(|member| member.path == path) else {
            return too_many(members);
        };
        let failed = members.swap_remove(index);
        self.take_out(members);
        if let Some(slots) = appended_to {
            for entry in self.record.entries_mut() {
                entry.superblock.set_raid_disks(slots);
                entry.superblock.set_role(number, Role::Faulty).map_err(RecordError::from)?;
            }
        }
        self.commit(mover, now, |_| Ok(()))?;
        Err(ArrayError::Newcomer { failed })
    }

    fn is_enough(&self) -> bool {
        is_enough(&self.array, &self.assembly, &self.record)
    }

    /// What a device said that was to become a member, before anything told of it.
    pub(super) fn refused(error: MoveError) -> ArrayError {
        if let MoveError::Write { path, fault } = error {
            return ArrayError::Newcomer { failed: FailedMember { slot: None, path, fault } };
        }
        error.into()
    }
}

/// Whether the array can be had from the members in the record, with its journal if it has one.
fn is_enough(array: &Array, assembly: &Assembly, record: &Record) -> bool {
    let Some(view) = array.view() else { return false };
    let there = || record.entries().iter().map(|entry| &entry.superblock);
    let is_whole =
        |slot| there().any(|s| s.role() == Role::Active(slot) && s.recovery_offset().is_none());
    let journal = assembly.features.contains(Features::JOURNAL);
    view.geometry().enough(is_whole) && (!journal || there().any(|s| s.role() == Role::Journal))
}

/// In 0.90 the slot itself gets a descriptor that says that nobody is there, unless a member of another slot, or a
/// spare, goes by that number, as after a takeover, or after a rebuild on a spare.
pub(super) fn set_failed(
    superblock: &mut Superblock,
    number: u32,
    slot: Slot,
) -> Result<(), DoesNotFit> {
    match superblock {
        Superblock::V1(superblock) => superblock.set_role(number, Role::Faulty),
        Superblock::V0(superblock) => {
            superblock.set_role(number, Role::Faulty)?;
            if matches!(superblock.role_of(slot.get()), Some(Role::Active(_) | Role::Spare)) {
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
    pub device: Device,
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
        let zeros = vec![0; bytes];
        mover.write(&self.device, at, zeros, Durability::Now).map_err(Session::refused)
    }
}
