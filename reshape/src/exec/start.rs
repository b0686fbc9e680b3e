//! The first and the last change of the superblocks, and what the machine needs to know between them.

use kcopy::Sectors;

use super::{ExecError, FailedMember, Readers};
use crate::array::leaving::commit_without_failed;
use crate::array::{ArrayError, Entry, Record, RecordError};
use crate::geometry::Geometry;
use crate::machine::{self, Backup, Limits, Rows, SAVED_AT_ONCE, Track};
use crate::metadata::{Direction, DoesNotFit, Reshape, Resync, Role, Superblock, Timestamp};
use crate::mover::Mover;
use crate::units::{ArraySector, MemberSector, Slot};

/// Memory for windows that are saved, all together, in bytes: one is read, one is saved, one is written.
const SAVED_MEMORY: u64 = 64 << 20;
/// Memory for windows that need not be saved, all together, in bytes: what the disks have on their way,
/// and little enough to stay in the processor's cache.
const FREE_MEMORY: u64 = 8 << 20;
/// Rows of a window that need not be saved, in bytes of a member.
const FREE_ROWS: u64 = 512 << 10;

/// One restripe: from one geometry to another of the same level, in one walk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Restripe {
    /// Before.
    pub old: Geometry,
    /// After.
    pub new: Geometry,
    /// The walk.
    pub track: Track,
    /// What is added to the data offset, per slot of the larger number of members.
    pub shifts: Vec<i32>,
}

impl Restripe {
    /// The restripe from `old` to `new` with the data offsets moved by `shifts`, sectors, per slot.
    ///
    /// # Errors
    ///
    /// [`DoesNotFit`] if the geometries have no rows in common terms.
    pub fn new(
        old: Geometry,
        new: Geometry,
        direction: Direction,
        shifts: Vec<i32>,
    ) -> Result<Self, DoesNotFit> {
        let misfit =
            DoesNotFit { field: "level", version: "any", value: old.level().to_md().into() };
        let (Some(before), Some(after)) = (rows(&old), rows(&new)) else { return Err(misfit) };
        // What counts on every member: the one that leaves the least room.
        let worst = match direction {
            Direction::Forwards => shifts.iter().copied().max(),
            Direction::Backwards => shifts.iter().copied().min(),
        };
        let unit = old.chunk().get().max(new.chunk().get());
        // What is walked is whole chunks of both geometries, as for the kernel.
        let rounded = |geometry: &Geometry| match geometry.stripes() {
            Some(stripes) => {
                let data = u64::from(stripes.data_disks());
                geometry.sectors().get() / data / unit * unit * data
            }
            None => geometry.sectors().get(),
        };
        let (before_sectors, total) = (rounded(&old), rounded(&new));
        let track = Track {
            old: before,
            new: after,
            direction,
            shift: worst.unwrap_or(0).into(),
            total,
            content: before_sectors.min(total),
            // Whole new stripes where parity has to be made of them.
            unit: if new.stripes().is_some() { unit * after.width } else { unit },
        };
        Ok(Self { old, new, track, shifts })
    }

    /// The restripe that superblocks record.
    ///
    /// # Errors
    ///
    /// [`DoesNotFit`] as above.
    pub fn recorded(old: &Geometry, new: &Geometry, record: &Record) -> Result<Self, DoesNotFit> {
        let slots = old.raid_disks().max(new.raid_disks());
        let mut shifts = vec![None; usize::try_from(slots).unwrap_or(0)];
        let mut direction = Direction::Forwards;
        for entry in record.entries() {
            let Some(reshape) = entry.superblock.reshape() else { continue };
            direction = reshape.direction;
            let Role::Active(slot) = entry.superblock.role() else { continue };
            if let Some(shift) = usize::try_from(slot.get()).ok().and_then(|s| shifts.get_mut(s)) {
                *shift = Some(reshape.new_offset);
            }
        }
        // A member that is missing moves nothing: it must not count.
        let any = shifts.iter().flatten().copied().next().unwrap_or(0);
        let shifts = shifts.into_iter().map(|shift| shift.unwrap_or(any)).collect();
        Self::new(old.clone(), new.clone(), direction, shifts)
    }

    /// Where a reshape that records `position` stands. The kernel turns a growth around where it is, also
    /// behind the end of the smaller array: there is nothing to keep there.
    pub(super) fn standing(&self, position: ArraySector) -> ArraySector {
        match self.track.direction {
            Direction::Forwards => position,
            Direction::Backwards => ArraySector::new(position.get().min(self.track.total)),
        }
    }

    /// Whole stripes of both geometries: see [`Track::whole_stripes`].
    pub fn whole_stripes(&self) -> u64 {
        self.track.whole_stripes()
    }

    /// The sectors of one section that holds all of the critical section.
    pub fn critical_section(&self) -> Sectors {
        let critical = self.track.critical();
        let unit = self.whole_stripes();
        Sectors::new((critical.end - critical.start).next_multiple_of(unit))
    }

    /// The sectors that a section of a backup should have, if one is needed: no more than the machine will ever
    /// save at once, for all of it is written before anything is moved.
    pub fn section(&self) -> Option<Sectors> {
        if self.track.critical().is_empty() {
            return None;
        }
        let (unit, critical) = (self.whole_stripes(), self.critical_section());
        // One section for all of it: mdadm is never asked to go on in its midst.
        if self.track.critical() != (0..self.track.total) && critical.get() <= sectors(SAVED_MEMORY)
        {
            return Some(critical);
        }
        let share = sectors(SAVED_MEMORY) / SAVED_AT_ONCE;
        let used = machine::longest_saved(share, sectors(SAVED_MEMORY), self.track.total);
        // However little there is: while one section is written, the next is saved.
        let several = (self.track.total / 4).max(unit);
        let length = used.min(several).min(critical.get());
        Some(Sectors::new((length / unit * unit).max(unit)))
    }

    /// Who may put back what a backup holds. mdadm would do it wrongly on the way down: where the array shrinks it lays
    /// it out as wide as before, where the size stays it records the wrong end of it (seen with 4.2).
    pub fn readers(&self) -> Readers {
        let in_place = self.shifts.iter().all(|shift| *shift == 0);
        match self.track.direction {
            Direction::Backwards if in_place => Readers::Ours,
            Direction::Backwards | Direction::Forwards => Readers::All,
        }
    }

    /// A window that need not be saved: short, so that reading and writing overlap.
    fn free_window(&self) -> u64 {
        let (unit, width) = (self.track.unit, self.track.new.width);
        let most = sectors(SAVED_MEMORY) / SAVED_AT_ONCE;
        (sectors(FREE_ROWS).saturating_mul(width).min(most) / unit * unit).max(unit)
    }

    /// Whether a copy elsewhere is needed somewhere from `position` on.
    pub fn needs_backup_from(&self, position: ArraySector) -> bool {
        let critical = self.track.critical();
        let distance = self.track.distance(position).unwrap_or(self.track.total);
        distance < critical.end
    }

    /// The machine's bounds with such a backup and with so much memory for windows, if there is a bound.
    ///
    /// # Errors
    ///
    /// [`ExecError::LittleMemory`].
    pub(super) fn limits(
        &self,
        saving: Saving,
        window: Option<Sectors>,
        memory: Option<Sectors>,
    ) -> Result<Limits, ExecError> {
        let (unit, stripes) = (self.track.unit, self.track.whole_stripes());
        let bound = memory.map_or(u64::MAX, Sectors::get);
        let needed = match saving {
            Saving::Nothing => unit,
            Saving::AtOnce(section) => section.get(),
            Saving::InTurns(_) => stripes,
        };
        if needed > bound {
            let [memory, needed] = [bound, needed].map(Sectors::new);
            return Err(ExecError::LittleMemory { memory, needed });
        }
        // Of a length, what lets three of them be in memory at once: one is read, one is written, one waits.
        let third = |length: u64, unit: u64| (length.min(bound / 3) / unit * unit).max(unit);
        let section = match saving {
            Saving::Nothing => None,
            Saving::AtOnce(section) => Some(section.get()),
            Saving::InTurns(section) => Some(third(section.get(), stripes)),
        };
        let saved = section
            .map_or(0, |length| sectors(SAVED_MEMORY).max(length.saturating_mul(SAVED_AT_ONCE)));
        let window = third(window.map_or_else(|| self.free_window(), Sectors::get), unit);
        let free = sectors(FREE_MEMORY).max(window.saturating_mul(3));
        let backup = section.map_or(Backup::None, |length| Backup::Sections { length });
        Ok(Limits { window, memory: saved.max(free).min(bound), backup })
    }
}

/// The sections that a backup has, and their length.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Saving {
    /// There is none.
    Nothing,
    /// One, which holds all that is critical: on spares.
    AtOnce(Sectors),
    /// Two, used in turns: in a file.
    InTurns(Sectors),
}

fn sectors(bytes: u64) -> u64 {
    bytes / kcopy::SECTOR_SIZE
}

fn rows(geometry: &Geometry) -> Option<Rows> {
    let chunk = geometry.chunk().get();
    if let Some(stripes) = geometry.stripes() {
        return Some(Rows { chunk, width: stripes.data_disks().into(), copies: 1, depth: 1 });
    }
    let layout = geometry.mirrors()?.layout();
    let (copies, far) = (u64::from(layout.near), u64::from(layout.far));
    let depth = if layout.offset { far } else { 1 };
    // Copies far behind lie in no row with their chunk.
    (layout.offset || far == 1).then(|| Rows {
        chunk,
        width: geometry.raid_disks().into(),
        copies,
        depth,
    })
}

/// Records the reshape on every member: from here on the array is one that is being reshaped.
///
/// `added` are devices, entries of `record` with role spare, and the slots they get: those behind the
/// old ones, or one that was empty. Nothing on them counts yet.
///
/// Returns the members that could not be written, and so left the array.
///
/// # Errors
///
/// What the superblocks cannot say, or a failed write that matters: [`ArrayError::Newcomer`] if it is of one of
/// `added`, and no reshape is recorded then; or of more members than the array can do without.
pub fn begin(
    mover: &mut Mover,
    record: &mut Record,
    restripe: &Restripe,
    added: &[(u32, Slot)],
    now: Timestamp,
) -> Result<Vec<FailedMember>, ExecError> {
    let (old, new) = (&restripe.old, &restripe.new);
    let delta = i64::from(new.raid_disks()) - i64::from(old.raid_disks());
    let delta_disks = i32::try_from(delta).unwrap_or(i32::MAX);
    let shifts = restripe.shifts.clone();
    let reshape = |slot: Option<Slot>| Reshape {
        position: restripe.track.position(0),
        delta_disks,
        raid_disks_new: new.raid_disks(),
        direction: restripe.track.direction,
        new_level: new.level().to_md(),
        new_layout: new.layout().to_md(),
        new_chunk: new.chunk(),
        new_offset: slot
            .and_then(|slot| shifts.get(usize::try_from(slot.get()).ok()?).copied())
            .unwrap_or(0),
    };
    let enough = |record: &Record| {
        let is_added = |slot| added.iter().any(|(_, to)| *to == slot);
        let is_whole = |slot| {
            let mut there = record.entries().iter().map(|entry| &entry.superblock);
            there.any(|s| s.role() == Role::Active(slot) && s.recovery_offset().is_none())
        };
        added.iter().all(|(number, _)| record.entry(*number).is_some())
            && old.enough(|slot| is_whole(slot) && !is_added(slot))
            && new.enough(|slot| is_whole(slot) || is_added(slot))
    };
    let before = record.entries().to_vec();
    let ended = commit_without_failed(mover, record, now, &enough, |superblock| {
        for (number, slot) in added {
            match superblock {
                Superblock::V1(superblock) => {
                    if superblock.max_dev() <= *number {
                        superblock.set_max_dev(number + 1)?;
                    }
                    superblock.set_role(*number, Role::Active(*slot))?;
                }
                Superblock::V0(superblock) => superblock.set_filling(*number, *slot)?,
            }
        }
        // One in a slot behind the old ones is good as far as anything is moved, by itself.
        let fills = |number: u32| {
            added.iter().any(|(n, slot)| *n == number && slot.get() < old.raid_disks())
        };
        if let Superblock::V1(superblock) = superblock
            && fills(superblock.dev_number())
        {
            superblock.set_recovery_offset(Some(MemberSector::new(0)));
        }
        let slot = match superblock.role() {
            Role::Active(slot) => Some(slot),
            Role::Spare | Role::Faulty | Role::Journal | Role::Reserved(_) => None,
        };
        superblock.set_reshape(&reshape(slot))
    });
    match ended {
        Err(ArrayError::TooManyFailed { members }) => {
            Err(take_back(mover, record, (old, added, &before), members, now))
        }
        ended => Ok(ended?),
    }
}

/// Makes the superblocks what they were `before`, if one of `added` failed and the old array can go on as it was:
/// nothing was moved. Returns what to say about it.
fn take_back(
    mover: &mut Mover,
    record: &mut Record,
    (old, added, before): (&Geometry, &[(u32, Slot)], &[Entry]),
    members: Vec<FailedMember>,
    now: Timestamp,
) -> ExecError {
    let is_lost = |entry: &&Entry| record.entry(entry.superblock.dev_number()).is_none();
    let is_new = |entry: &&Entry| added.iter().any(|(n, _)| *n == entry.superblock.dev_number());
    let lost: Vec<&Entry> = before.iter().filter(is_lost).filter(is_new).collect();
    let is_told = |member: &&FailedMember| lost.iter().any(|e| e.device.path() == member.path);
    let Some(failed) = members.iter().find(is_told).cloned() else {
        return ExecError::TooManyFailed { members };
    };
    let enough = |record: &Record| {
        old.enough(|slot| {
            let there = before.iter().map(|entry| &entry.superblock);
            let mut whole = there.filter(|s| s.recovery_offset().is_none());
            whole.any(|s| s.role() == Role::Active(slot) && record.entry(s.dev_number()).is_some())
        })
    };
    if !enough(record) {
        return ExecError::TooManyFailed { members };
    }
    for entry in record.entries_mut() {
        let own = |was: &&Entry| was.superblock.dev_number() == entry.superblock.dev_number();
        let Some(Entry { superblock: mut was, .. }) = before.iter().find(own).cloned() else {
            continue;
        };
        was.set_events(entry.superblock.events());
        for lost in &lost {
            if let Err(misfit) = was.set_role(lost.superblock.dev_number(), Role::Faulty) {
                return RecordError::from(misfit).into();
            }
        }
        entry.superblock = was;
    }
    match commit_without_failed(mover, record, now, &enough, |_| Ok(())) {
        Ok(_) => ArrayError::Newcomer { failed }.into(),
        Err(error) => error.into(),
    }
}

/// Makes the new geometry the only one, durably.
pub fn finish(
    mover: &mut Mover,
    record: &mut Record,
    restripe: &Restripe,
    now: Timestamp,
) -> Result<(), ExecError> {
    let new = &restripe.new;
    let (disks, before) = (new.raid_disks(), restripe.old.raid_disks());
    let leaving: Vec<u32> =
        (disks..before).filter_map(|slot| record.number_in(Slot::new(slot))).collect();
    record.commit(mover, now, |superblock| {
        let offset = superblock.reshape().map_or(0, |reshape| reshape.new_offset);
        if let Superblock::V1(superblock) = superblock
            && offset != 0
        {
            superblock.shift_data(offset)?;
        }
        superblock.set_layout(new.layout().to_md());
        superblock.set_chunk(new.chunk())?;
        superblock.clear_reshape();
        superblock.set_raid_disks(disks);
        for number in &leaving {
            superblock.set_role(*number, Role::Spare)?;
        }
        match superblock {
            Superblock::V1(superblock) => superblock.set_recovery_offset(None),
            Superblock::V0(superblock) => superblock.settle_filled()?,
        }
        superblock.set_resync(Resync::Clean)
    })?;
    Ok(())
}
