//! The superblocks of an array that is written, and the order in which they change.
//!
//! A change is one [`Record::commit`]: every superblock gets the same new count of changes, all are
//! written and flushed before it returns. Whoever reads them after a crash in between finds members
//! that are one event apart, which assembly takes as equal; what they say then has to hold before
//! and after the change alike.
//!
//! After a failed write or flush nobody knows what stands on that member: the record refuses
//! everything until it has left ([`Record::drop_device`]). The others have the change then, durably.

use std::path::PathBuf;
use std::sync::Arc;

use kcopy::{Device, Extent, Fault, Job, Outcome, Priority};

use crate::assemble::{
    Assembly, Candidate, MemberState, after_the_end, size_after, turned, was_elsewhere,
};
use crate::metadata::{Bitmap, DoesNotFit, Features, Misplaced, Role, Superblock, Timestamp, Uuid};
use crate::mover::{MoveError, Mover, Supply, check_written};
use crate::units::Slot;

use super::session::set_failed;

/// Why the superblocks could not be changed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RecordError {
    /// An earlier change failed half-way.
    #[error("an earlier change of the superblocks failed: they have to be read anew")]
    Poisoned,
    /// Some of the superblocks could not be written or flushed; all others were, durably.
    #[error("the superblocks could not be written everywhere: {}", listed(devices))]
    Unwritten {
        /// Whose.
        devices: Vec<Unwritten>,
    },
    /// The version has no room for what is to be said.
    #[error(transparent)]
    DoesNotFit(#[from] DoesNotFit),
    /// The bitmap's place is off the device.
    #[error(transparent)]
    Misplaced(#[from] Misplaced),
    /// I/O. What stands on that member is not known.
    #[error("the superblocks could not be written everywhere")]
    Move(#[from] MoveError),
    /// The table of devices is full.
    #[error("the superblocks have no room for another device: all {max} numbers are taken")]
    TableFull {
        /// Entries of the table (`max_dev`).
        max: u32,
    },
}

/// A device whose superblock could not be written or flushed: what stands on it is not known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unwritten {
    /// Its number (`dev_number`; `number` in 0.90).
    pub number: u32,
    /// Its path.
    pub path: PathBuf,
    /// What it said; the sector counts from the start of the device.
    pub fault: Fault,
}

fn listed(devices: &[Unwritten]) -> String {
    let each = devices.iter().map(|device| format!("{}: {}", device.path.display(), device.fault));
    each.collect::<Vec<_>>().join("; ")
}

/// A device with its superblock, and its bitmap if the array has one.
#[derive(Clone, Debug)]
pub struct Entry {
    /// The device.
    pub device: Device,
    /// The superblock as it stands on it.
    pub superblock: Superblock,
    /// The bitmap as it stands on it.
    pub bitmap: Option<Bitmap>,
}

/// See the module.
#[derive(Debug)]
pub struct Record {
    entries: Vec<Entry>,
    /// The numbers of stale devices.
    stale: Vec<u32>,
    /// The numbers of devices of which nobody knows what stands on them.
    unknown: Vec<u32>,
}

impl Record {
    /// The superblocks of the members and spares of `assembly`; those of stale devices are left as
    /// they are.
    pub fn new(assembly: &Assembly, candidates: &[Candidate], devices: &[Device]) -> Self {
        let belongs = |state| match state {
            MemberState::InSync
            | MemberState::Recovering { .. }
            | MemberState::Spare
            | MemberState::Journal
            | MemberState::Replacement => true,
            MemberState::Stale => false,
        };
        let entry = |member: &crate::assemble::Member| {
            let own = &candidates.get(member.candidate)?.superblock;
            let freshest = &candidates.get(assembly.freshest)?.superblock;
            let superblock =
                adopt(freshest, own, member.slot.is_some()).unwrap_or_else(|_| own.clone());
            let device = devices.get(member.candidate)?.clone();
            Some(Entry { device, superblock, bitmap: None })
        };
        let (members, stale): (Vec<_>, Vec<_>) =
            assembly.members.iter().partition(|member| belongs(member.state));
        let number = |member: &crate::assemble::Member| {
            Some(candidates.get(member.candidate)?.superblock.dev_number())
        };
        Self {
            entries: members.into_iter().filter_map(entry).collect(),
            stale: stale.into_iter().filter_map(number).collect(),
            unknown: Vec::new(),
        }
    }

    /// The devices and their superblocks.
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// The same, to be changed before a [`Record::commit`].
    pub fn entries_mut(&mut self) -> &mut [Entry] {
        &mut self.entries
    }

    /// The device numbered `number`.
    pub fn entry(&self, number: u32) -> Option<&Entry> {
        self.entries.iter().find(|entry| entry.superblock.dev_number() == number)
    }

    /// The number of the device in `slot`.
    pub fn number_in(&self, slot: Slot) -> Option<u32> {
        let entry = self.entries.iter().find(|e| e.superblock.role() == Role::Active(slot))?;
        Some(entry.superblock.dev_number())
    }

    /// The count of changes.
    pub fn events(&self) -> u64 {
        self.entries.iter().map(|entry| entry.superblock.events()).max().unwrap_or(0)
    }

    /// Adds a device whose superblock was made with [`Record::newcomer`].
    pub fn add(&mut self, entry: Entry) {
        self.entries.push(entry);
    }

    /// Leaves a device out of everything that follows; its superblock stays as it is.
    pub fn drop_device(&mut self, number: u32) {
        self.entries.retain(|entry| entry.superblock.dev_number() != number);
        self.unknown.retain(|unknown| *unknown != number);
    }

    /// Refuses while nobody knows what stands on some device.
    fn check_known(&self) -> Result<(), RecordError> {
        if self.unknown.is_empty() { Ok(()) } else { Err(RecordError::Poisoned) }
    }

    /// Whatever is on its way may fail on any device.
    fn doubt_all(&mut self) {
        self.unknown = self.entries.iter().map(|entry| entry.superblock.dev_number()).collect();
    }

    /// A number that no device has: behind those of the slots if there is room, as the kernel does
    /// it. Not that of a stale device either: the kernel does not start one number twice, and may be
    /// given the stale device first.
    ///
    /// # Errors
    ///
    /// [`RecordError::TableFull`].
    pub fn free_number(&self) -> Result<u32, RecordError> {
        let first = self.entries.first();
        let max = first.map_or(0, |entry| entry.superblock.max_dev());
        let taken = |number: &u32| {
            let known = self.entries.iter().any(|e| e.superblock.dev_number() == *number);
            let role = first.and_then(|entry| entry.superblock.role_of(*number));
            let is_used = matches!(role, Some(Role::Active(_) | Role::Journal));
            known || is_used || self.stale.contains(number)
        };
        let slots = first.map_or(0, |entry| entry.superblock.raid_disks());
        let mut numbers = (slots..max).chain(0..slots.min(max));
        numbers.find(|number| !taken(number)).ok_or(RecordError::TableFull { max })
    }

    /// A superblock for a new device `number`, made from that of the first: the same array, its own
    /// name. Place, data offset and role are still those of the first.
    ///
    /// # Errors
    ///
    /// [`RecordError::DoesNotFit`], or that there is no first device.
    pub fn newcomer(&self, number: u32, uuid: Uuid) -> Result<Superblock, RecordError> {
        let first = self.entries.first().ok_or(RecordError::Poisoned)?;
        let mut superblock = first.superblock.clone();
        match &mut superblock {
            Superblock::V0(superblock) => superblock.set_this_disk(number)?,
            Superblock::V1(superblock) => {
                superblock.set_dev_number(number);
                superblock.set_device_uuid(uuid);
                superblock.set_recovery_offset(None);
                superblock.set_device_flags(crate::metadata::DeviceFlags::empty());
            }
        }
        Ok(superblock)
    }

    /// Changes every superblock with `change`, counts one event more, and makes it durable on every
    /// device before it returns. Members that are not there are no members any more afterwards.
    ///
    /// # Errors
    ///
    /// What did not fit (nothing was written), or what could not be written: then the record is of
    /// no use any more, but after [`RecordError::Unwritten`] without those devices.
    pub fn commit(
        &mut self,
        mover: &mut Mover,
        now: Timestamp,
        mut change: impl FnMut(&mut Superblock) -> Result<(), DoesNotFit>,
    ) -> Result<(), RecordError> {
        self.catch_up(mover, now)?;
        self.change(mover, now, &mut change)
    }

    /// As [`Record::commit`], for those who have other jobs on their way: the jobs that write the
    /// superblocks, all of which have to be run at once, each with a flush of its own. Until their outcomes were
    /// shown to [`Record::written`], in the order of the jobs, the record refuses everything.
    ///
    /// # Errors
    ///
    /// As [`Record::commit`].
    pub fn commit_jobs(
        &mut self,
        mover: &mut Mover,
        now: Timestamp,
        mut change: impl FnMut(&mut Superblock) -> Result<(), DoesNotFit>,
    ) -> Result<Vec<Job>, RecordError> {
        self.catch_up(mover, now)?;
        let devices = self.take_over(mover, now, &mut change)?;
        if !devices.is_empty() {
            // Nobody knows what stands on any of them: none of the superblocks was written.
            return Err(RecordError::Unwritten { devices });
        }
        Ok(self.entries.iter().map(write_job).collect())
    }

    /// The jobs of [`Record::commit_jobs`] have ended: the change is durable, or the record is of no use any
    /// more, but after [`RecordError::Unwritten`] without those devices.
    ///
    /// # Errors
    ///
    /// Those of them that failed.
    pub fn written(&mut self, outcomes: &[Outcome]) -> Result<(), RecordError> {
        if outcomes.len() != self.entries.len() {
            return Err(RecordError::Poisoned);
        }
        let entries: Vec<&Entry> = self.entries.iter().collect();
        let failed = unwritten(&entries, outcomes)?;
        self.known_but(failed)
    }

    /// What stands on all devices is known, but for those in `devices`.
    fn known_but(&mut self, devices: Vec<Unwritten>) -> Result<(), RecordError> {
        self.unknown = devices.iter().map(|device| device.number).collect();
        if devices.is_empty() { Ok(()) } else { Err(RecordError::Unwritten { devices }) }
    }

    /// What has to be durable before the next change. [`Record::commit`] does it, too; whoever wants to know
    /// whether the change itself is durable on the devices that were written does it before.
    ///
    /// # Errors
    ///
    /// As [`Record::commit`].
    pub fn catch_up(&mut self, mover: &mut Mover, now: Timestamp) -> Result<(), RecordError> {
        self.check_known()?;
        self.settle(mover)?;
        // By itself: who is not there may have this count of events already, with another change, and has to
        // be behind whatever comes next.
        if self.absent().next().is_some() {
            self.change(mover, now, &mut |_| Ok(()))?;
        }
        Ok(())
    }

    /// One event: see [`Record::commit`].
    fn change(
        &mut self,
        mover: &mut Mover,
        now: Timestamp,
        change: &mut dyn FnMut(&mut Superblock) -> Result<(), DoesNotFit>,
    ) -> Result<(), RecordError> {
        let mut failed = self.take_over(mover, now, change)?;
        let others = write(mover, &self.entries.iter().collect::<Vec<_>>())?;
        for device in others {
            if failed.iter().all(|known| known.number != device.number) {
                failed.push(device);
            }
        }
        self.known_but(failed)
    }

    /// The change in memory, and on the bitmaps; the superblocks are to be written. Returns the devices whose
    /// bitmaps could not be.
    fn take_over(
        &mut self,
        mover: &mut Mover,
        now: Timestamp,
        change: &mut dyn FnMut(&mut Superblock) -> Result<(), DoesNotFit>,
    ) -> Result<Vec<Unwritten>, RecordError> {
        let events = self.events().saturating_add(1);
        let absent: Vec<(u32, Slot)> = self.absent().collect();
        let mut changed = Vec::with_capacity(self.entries.len());
        for entry in &self.entries {
            let mut superblock = entry.superblock.clone();
            for (number, slot) in &absent {
                set_failed(&mut superblock, *number, *slot)?;
            }
            change(&mut superblock)?;
            superblock.set_events(events);
            superblock.set_update_time(now)?;
            if let Superblock::V0(superblock) = &mut superblock {
                superblock.recount();
            }
            changed.push(superblock);
        }
        // Bitmaps first: one that is an event ahead of its superblock is believed, one behind is not.
        let behind = self.is_degraded();
        for entry in &mut self.entries {
            let Some(bitmap) = &mut entry.bitmap else { continue };
            let cleared = if behind { bitmap.header().events_cleared() } else { events };
            bitmap.header_mut().set_events(events, cleared);
        }
        let failed = match self.write_bitmaps(mover) {
            Err(RecordError::Unwritten { devices }) => devices,
            ended => ended.map(|()| Vec::new())?,
        };
        self.doubt_all();
        for (entry, superblock) in self.entries.iter_mut().zip(changed) {
            entry.superblock = superblock;
        }
        Ok(failed)
    }

    /// The numbers and slots of members that are not there, but that the superblocks count as members: they
    /// have to leave. Theirs may be one event behind only, and they would be taken for members in step
    /// when they come back.
    fn absent(&self) -> impl Iterator<Item = (u32, Slot)> + '_ {
        let first = self.entries.first().map(|entry| &entry.superblock);
        let numbers = 0..first.map_or(0, Superblock::max_dev);
        numbers.filter_map(move |number| match first?.role_of(number)? {
            Role::Active(slot) if self.entry(number).is_none() => Some((number, slot)),
            Role::Active(_) | Role::Spare | Role::Faulty | Role::Journal | Role::Reserved(_) => {
                None
            }
        })
    }

    /// Brings superblocks that are an event behind up to the freshest, durably.
    ///
    /// Without it a second interrupted change would leave members two events apart, and those behind
    /// would be taken for stale.
    fn settle(&mut self, mover: &mut Mover) -> Result<(), RecordError> {
        let newest = self.events();
        let behind = |entry: &Entry| entry.superblock.events() < newest;
        if !self.entries.iter().any(behind) {
            return Ok(());
        }
        self.doubt_all();
        let mut late = Vec::new();
        for entry in self.entries.iter_mut().filter(|entry| behind(entry)) {
            entry.superblock.set_events(newest);
            if let Superblock::V0(superblock) = &mut entry.superblock {
                superblock.recount();
            }
            late.push(&*entry);
        }
        let failed = write(mover, &late)?;
        self.known_but(failed)
    }

    /// Whether some slot has no member in sync, which may need to know later what it missed.
    fn is_degraded(&self) -> bool {
        let Some(first) = self.entries.first() else { return false };
        let active = |entry: &&Entry| {
            let superblock = &entry.superblock;
            matches!(superblock.role(), Role::Active(_)) && superblock.recovery_offset().is_none()
        };
        let there = self.entries.iter().filter(active).count();
        usize::try_from(first.superblock.raid_disks()).is_ok_and(|disks| there < disks)
    }

    /// Writes every bitmap as it is now, all at once, and flushes.
    ///
    /// # Errors
    ///
    /// What could not be written: then the record is of no use any more, but after [`RecordError::Unwritten`]
    /// without those devices.
    pub fn write_bitmaps(&mut self, mover: &mut Mover) -> Result<(), RecordError> {
        self.check_known()?;
        let mut jobs = Vec::new();
        let mut written = Vec::new();
        for entry in &self.entries {
            let Some(bitmap) = &entry.bitmap else { continue };
            let Some(at) = entry.superblock.bitmap_at()? else { continue };
            let bytes = bitmap.to_bytes();
            let len = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
            let at = at.get().saturating_mul(kcopy::SECTOR_SIZE);
            let extent = Extent::new(&entry.device, at, len);
            jobs.push(Job::stripe(1, Arc::new(Supply::new(bytes))).to(extent).flush());
            written.push(entry);
        }
        let outcomes = mover.run_all(jobs);
        let failed = outcomes.map(|outcomes| unwritten(&written, &outcomes));
        self.doubt_all();
        self.known_but(failed??)
    }
}

/// Writes superblocks as they are now, all at once, and flushes. Returns those that could not be.
fn write(mover: &mut Mover, entries: &[&Entry]) -> Result<Vec<Unwritten>, RecordError> {
    let outcomes = mover.run_all(entries.iter().map(|entry| write_job(entry)).collect())?;
    unwritten(entries, &outcomes)
}

/// The devices whose jobs failed.
fn unwritten(entries: &[&Entry], outcomes: &[Outcome]) -> Result<Vec<Unwritten>, RecordError> {
    let mut devices = Vec::new();
    for (entry, outcome) in entries.iter().zip(outcomes) {
        let fault = outcome.destinations.iter().find_map(|destination| destination.error);
        match fault {
            Some(fault) => devices.push(Unwritten {
                number: entry.superblock.dev_number(),
                path: entry.device.path().to_owned(),
                fault,
            }),
            None => check_written(outcome, &[&entry.device])?,
        }
    }
    Ok(devices)
}

/// The job that writes a superblock as it is now, and flushes.
fn write_job(entry: &Entry) -> Job {
    let block = usize::try_from(entry.device.facts().logical_block).unwrap_or(512);
    let mut bytes = entry.superblock.to_bytes();
    bytes.truncate(entry.superblock.write_length(block));
    let at = entry.superblock.at().get().saturating_mul(kcopy::SECTOR_SIZE);
    let len = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
    let extent = Extent::new(&entry.device, at, len);
    // Whoever waits for it waits for everything: before the data that is on its way.
    let job = Job::stripe(1, Arc::new(Supply::new(bytes))).to(extent).flush();
    job.priority(Priority::High)
}

/// What `own` is to say from now on, if the power went while a record was written: about the array
/// what the freshest says, about itself what it said.
fn adopt(freshest: &Superblock, own: &Superblock, member: bool) -> Result<Superblock, DoesNotFit> {
    match (freshest.reshape(), own.reshape()) {
        // What stands on a spare only, nobody has agreed to.
        (None, None) if own.role() == Role::Journal => return Ok(own.clone()),
        (None, None) if member && own.events() >= freshest.events() => return Ok(own.clone()),
        (Some(newest), Some(reshape)) => {
            let mut own = turned(own, freshest).unwrap_or_else(|| own.clone());
            let mut reshape = own.reshape().unwrap_or(reshape);
            reshape.position = newest.position;
            own.set_reshape(&reshape)?;
            if own.events() < freshest.events() {
                // Who left, or came, with the last change: else the next one would bring back who left.
                own.take_roles(freshest)?;
            }
            return Ok(own);
        }
        // The first record of a reshape, the last one, or that of another change.
        (Some(_), None) | (None, Some(_) | None) => {}
    }
    let mut adopted = freshest.clone();
    match (&mut adopted, own) {
        (Superblock::V0(adopted), Superblock::V0(own)) => {
            adopted.set_this_disk(own.this_disk().number)?;
            adopted.move_to(own.at());
        }
        (Superblock::V1(adopted), Superblock::V1(own)) => {
            adopted.set_dev_number(own.dev_number());
            adopted.set_device_uuid(own.device_uuid());
            adopted.set_device_flags(own.device_flags());
            adopted.set_data_offset(own.data_offset());
            adopted.set_data_size(size_after(&Superblock::V1(own.clone()), freshest));
            adopted.set_bad_blocks(own.bad_blocks());
            let of_device = Features::BAD_BLOCKS | Features::REPLACEMENT;
            let own_features = own.features() & of_device;
            adopted.set_features((adopted.features() - of_device) | own_features);
            adopted.move_to(own.at());
            let ended = after_the_end(&Superblock::V1(own.clone()), freshest);
            match own.reshape() {
                Some(reshape) if ended => adopted.shift_data(reshape.new_offset)?,
                Some(_) | None => {}
            }
            let unknown = |slot| was_elsewhere(&Superblock::V1(own.clone()), freshest, slot);
            let filling =
                member && !ended && slot_of(freshest, own.dev_number()).is_some_and(unknown);
            let start = filling.then(|| crate::units::MemberSector::new(0));
            adopted.set_recovery_offset(own.recovery_offset().filter(|_| !ended).or(start));
        }
        (Superblock::V0(_), Superblock::V1(_)) | (Superblock::V1(_), Superblock::V0(_)) => {
            return Ok(own.clone());
        }
    }
    // What stands on the device is still behind: see `Record::settle`.
    adopted.set_events(own.events());
    Ok(adopted)
}

/// The slot that a superblock gives to the device `number`.
fn slot_of(superblock: &Superblock, number: u32) -> Option<Slot> {
    match superblock.role_of(number)? {
        Role::Active(slot) => Some(slot),
        Role::Spare | Role::Faulty | Role::Journal | Role::Reserved(_) => None,
    }
}
