//! One restripe: which way, where the new data goes, and what is saved before it is overwritten.

use std::cmp::Ordering;
use std::ops::Range;

use kcopy::{Sector, Sectors};

use super::change::{Backup, Change};
use super::present::{Disk, Present};
use super::refusal::{Beside, Refusal};
use super::{Fill, Traffic};
use crate::exec::Restripe;
use crate::geometry::{Geometry, Layout, Level, least_offset_change, unit, working_unit};
use crate::metadata::{Direction, Version};
use crate::units::Slot;

/// Bytes in front of the sections of a backup file: its header.
const HEADER: u64 = 4096;

/// Data offsets are put on multiples of 1 MiB where they can be.
const ALIGNED: u64 = 2048;

/// Sectors of a stripe that can be calculated with; no array has any such.
const MOST: u64 = 1 << 40;

/// Checkpoints are counted one by one up to so many.
const COUNTED: u64 = 1 << 16;

/// How the data that is overwritten stays safe.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Mode {
    /// New data goes into free room, every data offset moves: nothing is saved, and the kernel can
    /// go on at any moment.
    DataOffset,
    /// What is critical is saved in a file on other storage.
    BackupFile,
    /// What is critical is saved at the end of every new member.
    BackupOnSpares,
}

impl Mode {
    /// `data-offset`, `backup-file`, `backup-on-spares`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::DataOffset => "data-offset",
            Self::BackupFile => "backup-file",
            Self::BackupOnSpares => "backup-on-spares",
        }
    }
}

impl RestripeStep {
    /// Whether, to turn around on its way, what a slot that was empty before lacks has to be computed: one of both
    /// geometries cannot do without who fills it, who leaves otherwise.
    pub(super) fn completes_before_turning(&self) -> bool {
        let (old, new) = (&self.restripe.old, &self.restripe.new);
        let late = |slot: Slot| {
            let fills = |fill: &Fill| fill.slot == slot && slot.get() < old.raid_disks();
            self.fills.iter().any(fills)
        };
        let there = |slot: Slot| self.slots.get(usize_of(slot.get())).is_some_and(Option::is_some);
        self.fills.iter().any(|fill| late(fill.slot))
            && !new.enough(|slot| there(slot) && !late(slot))
    }
}

/// A restripe that is planned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RestripeStep {
    /// What the executor carries out.
    pub restripe: Restripe,
    /// How what is overwritten stays safe.
    pub mode: Mode,
    /// Whether data offsets could have moved, and a backup file was asked for all the same.
    pub backup_is_a_choice: bool,
    /// Array sectors that are whole stripes before and after (mdadm's `backup_blocks`); `None` for
    /// RAID10, which has none.
    pub unit: Option<Sectors>,
    /// How far the data offset of every member has to move, at least, to do without a backup.
    pub least_shift: Sectors,
    /// Array sectors that would overwrite themselves: saved first, if the data offsets stay.
    pub critical: Range<u64>,
    /// Array sectors of one of the two sections of the backup; `None` without one.
    pub section: Option<Sectors>,
    /// Bytes of the backup, 0 without one.
    pub backup_bytes: u64,
    /// Positions that have to be recorded before anything more may be overwritten, at least.
    pub checkpoints: u64,
    /// The new members and their slots.
    pub fills: Vec<Fill>,
    /// The disks that are free afterwards.
    pub leaving: Vec<usize>,
    /// The disk in each slot, during the restripe.
    pub slots: Vec<Option<usize>>,
    /// What each disk reads and writes.
    pub traffic: Vec<Traffic>,
    /// Members that can be lost while it runs.
    pub tolerance: u32,
}

/// Who takes part in a restripe.
#[derive(Clone, Debug)]
pub(super) struct Cast {
    /// The disk in each slot: of the larger number of slots, new members included.
    pub(super) slots: Vec<Option<usize>>,
    pub(super) fills: Vec<Fill>,
}

impl Cast {
    fn is_new(&self, slot: usize) -> bool {
        self.fills.iter().any(|fill| usize::try_from(fill.slot.get()) == Ok(slot))
    }

    /// The disk whose content counts in the old geometry.
    fn old(&self, slot: usize) -> Option<usize> {
        self.slots.get(slot).copied().flatten().filter(|_| !self.is_new(slot))
    }
}

/// The restripe from `old` to `new`.
pub(super) fn plan(
    present: &Present,
    change: &Change,
    (old, new): (&Geometry, &Geometry),
    cast: &Cast,
) -> Result<RestripeStep, Refusal> {
    let unit = match old.level() {
        Level::Raid10 => None,
        Level::Linear
        | Level::Raid0
        | Level::Raid1
        | Level::Raid4
        | Level::Raid5
        | Level::Raid6 => {
            working_unit(old, new)?;
            Some(unit(old, new)?)
        }
    };
    let stripe = u64::from(new.raid_disks()).checked_mul(old.chunk().max(new.chunk()).get());
    if stripe.is_none_or(|stripe| stripe > MOST) {
        return Err(Refusal::TooLarge);
    }
    let least = least(old, new)?;
    let moved = shifts(present, change, (old, new), cast, least)?;
    let without = match &moved {
        Shifts::Of(direction, shifts) => Some(restripe((old, new), *direction, shifts.clone())?),
        Shifts::NoRoom(_) => None,
    };
    // Room that is too little for chunks as they lie is none.
    let without = without.filter(|restripe| restripe.track.critical().is_empty());
    let wants_file = change.backup == Backup::File && old.level() != Level::Raid10;
    let backup_is_a_choice = wants_file && without.is_some() && change.data_offset.is_none();
    let without = without.filter(|_| !backup_is_a_choice);
    let (restripe, mode) = match without {
        Some(restripe) => (restripe, Mode::DataOffset),
        None => backed_up(present, change, (old, new), cast, &moved, least)?,
    };
    let section = restripe.section();
    let backup_bytes = section.map_or(0, backup_bytes);
    let traffic = traffic(&restripe, cast, mode);
    Ok(RestripeStep {
        mode,
        backup_is_a_choice,
        unit,
        least_shift: least,
        critical: critical(&restripe),
        section,
        backup_bytes,
        checkpoints: checkpoints(&restripe),
        fills: cast.fills.clone(),
        leaving: leaving(cast, new),
        slots: cast.slots.clone(),
        traffic,
        tolerance: tolerance(cast, (old, new)),
        restripe,
    })
}

/// The least shift that makes a backup unnecessary: the kernel's, or more where chunks of RAID10 run
/// over from row to row.
fn least(old: &Geometry, new: &Geometry) -> Result<Sectors, Refusal> {
    let least = least_offset_change(old, new)?;
    let directions = match width(old, new) {
        Ordering::Less => vec![Direction::Forwards],
        Ordering::Greater => vec![Direction::Backwards],
        Ordering::Equal => vec![Direction::Forwards, Direction::Backwards],
    };
    let enough = |shift: u64| {
        directions.iter().all(|direction| {
            let moved = restripe((old, new), *direction, vec![signed(*direction, shift)]);
            moved.is_ok_and(|restripe| restripe.track.critical().is_empty())
        })
    };
    let shifts = (0..4).map(|doubled| least.get() << doubled);
    Ok(shifts.into_iter().find(|shift| enough(*shift)).map_or(least, Sectors::new))
}

fn restripe(
    (old, new): (&Geometry, &Geometry),
    direction: Direction,
    shifts: Vec<i32>,
) -> Result<Restripe, Refusal> {
    let far = Refusal::Far { layout: old.layout() };
    Restripe::new(old.clone(), new.clone(), direction, shifts).map_err(|_| far)
}

/// Header and two sections.
fn backup_bytes(section: Sectors) -> u64 {
    section.get().saturating_mul(2).saturating_mul(kcopy::SECTOR_SIZE).saturating_add(HEADER)
}

/// A restripe whose critical section is saved, or why there can be none.
fn backed_up(
    present: &Present,
    change: &Change,
    (old, new): (&Geometry, &Geometry),
    cast: &Cast,
    moved: &Shifts,
    least: Sectors,
) -> Result<(Restripe, Mode), Refusal> {
    let direction = match width(old, new) {
        Ordering::Greater => Direction::Backwards,
        Ordering::Less | Ordering::Equal => Direction::Forwards,
    };
    let stay = vec![0; cast.slots.len()];
    let restripe = restripe((old, new), direction, stay)?;
    // The backup lies behind the rows that are written while it is needed.
    let section = restripe.critical_section().get();
    let rows = section.div_ceil(restripe.track.old.width) + old.chunk().max(new.chunk()).get();
    let taken = rows.saturating_add(section).saturating_add(2 * HEADER / kcopy::SECTOR_SIZE);
    let fits = taken <= old.component().get();
    let on_spares = width(old, new) == Ordering::Less && !cast.fills.is_empty() && fits;
    let side = side(direction);
    let lack = match moved {
        Shifts::NoRoom(lack) => lack.clone(),
        Shifts::Of(..) => least_room(present, cast, side),
    };
    let (path, room) = (present.path(lack.disk).to_owned(), lack.room);
    let backup = || restripe.section().map_or(0, backup_bytes);
    match (old.level(), change.backup) {
        // However much room there is.
        (Level::Raid10, _) if present.version == Version::V0 => {
            Err(Refusal::NotRecordable { version: present.version, what: "a data offset" })
        }
        (Level::Raid10, _) => {
            Err(Refusal::NeedsRoom { path, side: lack.side, room, needed: least })
        }
        (_, Backup::File) => Ok((restripe, Mode::BackupFile)),
        (_, Backup::None) if on_spares => Ok((restripe, Mode::BackupOnSpares)),
        (_, Backup::None) if present.version == Version::V0 => {
            Err(Refusal::NeedsFile { version: present.version, backup: backup() })
        }
        (_, Backup::None) => {
            let backup = backup();
            Err(Refusal::NeedsBackup { path, side: lack.side, room, needed: least, backup })
        }
    }
}

/// The side into which data moves.
fn side(direction: Direction) -> Beside {
    match direction {
        Direction::Forwards => Beside::Before,
        Direction::Backwards => Beside::After,
    }
}

/// Whether rows are narrower (less) or wider than they will be, by their data.
fn width(old: &Geometry, new: &Geometry) -> Ordering {
    let data = |geometry: &Geometry| geometry.data_disks().unwrap_or_else(|| geometry.raid_disks());
    data(old).cmp(&data(new))
}

/// Whether data offsets can move.
#[derive(Clone, Debug)]
enum Shifts {
    /// By so many sectors, per slot.
    Of(Direction, Vec<i32>),
    /// They cannot.
    NoRoom(Lack),
}

/// The disk with too little room.
#[derive(Clone, Debug)]
struct Lack {
    disk: usize,
    side: Beside,
    room: Sectors,
}

/// The room into which the data can move. Towards the end the kernel looks at `data_size`, too.
fn room(disk: &Disk, side: Beside, component: Sectors) -> Sectors {
    let declared = disk.data_size.get().saturating_sub(component.get());
    match side {
        Beside::Before => disk.room.before,
        Beside::After => disk.room.after.min(Sectors::new(declared)),
    }
}

fn least_room(present: &Present, cast: &Cast, side: Beside) -> Lack {
    let there = cast.slots.iter().flatten();
    let component = present.geometry.component();
    let rooms =
        there.filter_map(|disk| Some((*disk, room(present.disks.get(*disk)?, side, component))));
    let least = rooms.min_by_key(|(_, room)| room.get());
    let (disk, room) = least.unwrap_or((0, Sectors::ZERO));
    Lack { disk, side, room }
}

/// Direction and shifts that make a backup unnecessary, or the disk that has no room for them.
fn shifts(
    present: &Present,
    change: &Change,
    (old, new): (&Geometry, &Geometry),
    cast: &Cast,
    least: Sectors,
) -> Result<Shifts, Refusal> {
    if let Some(wanted) = change.data_offset {
        return asked_for(present, (old, new), cast, (wanted, least));
    }
    let (before, after) =
        (least_room(present, cast, Beside::Before), least_room(present, cast, Beside::After));
    let (lack, direction) = match width(old, new) {
        Ordering::Less => (before, Direction::Forwards),
        Ordering::Greater => (after, Direction::Backwards),
        Ordering::Equal if before.room >= after.room => (before, Direction::Forwards),
        Ordering::Equal => (after, Direction::Backwards),
    };
    if present.version == Version::V0 || lack.room < least {
        return Ok(Shifts::NoRoom(lack));
    }
    let shift = |disk: &Option<usize>| {
        let disk = disk.and_then(|disk| present.disks.get(disk))?;
        Some(match width(old, new) {
            Ordering::Less | Ordering::Greater => signed(direction, least.get()),
            Ordering::Equal => middle(disk, direction, (least, old.component())),
        })
    };
    let shifts: Vec<Option<i32>> = cast.slots.iter().map(shift).collect();
    // A slot without a member moves nothing and must not count.
    let any = shifts.iter().flatten().copied().next().unwrap_or(0);
    Ok(Shifts::Of(direction, shifts.into_iter().map(|shift| shift.unwrap_or(any)).collect()))
}

/// Towards the start of the device forwards, towards its end backwards.
fn signed(direction: Direction, sectors: u64) -> i32 {
    let sectors = i32::try_from(sectors).unwrap_or(i32::MAX);
    match direction {
        Direction::Forwards => sectors.saturating_neg(),
        Direction::Backwards => sectors,
    }
}

/// The middle of the room in which a data offset can lie, on a multiple of 1 MiB if there is one
/// that is far enough: the next change finds room as well.
fn middle(disk: &Disk, direction: Direction, (least, component): (Sectors, Sectors)) -> i32 {
    let (now, least) = (disk.data_offset.get(), least.get());
    let room = room(disk, side(direction), component).get().min(i32::MAX.unsigned_abs().into());
    let (low, high) = match direction {
        Direction::Forwards => (now.saturating_sub(room), now.saturating_sub(least)),
        Direction::Backwards => (now.saturating_add(least), now.saturating_add(room)),
    };
    let middle = low.midpoint(high);
    let below = middle - middle % ALIGNED;
    let above = below.saturating_add(ALIGNED);
    // Where no such multiple fits: on whole blocks of 4 KiB, and at the far end at worst.
    let small = middle - middle % 8;
    let fits = [below, above, small].into_iter().find(|at| (low..=high).contains(at));
    let at = fits.unwrap_or(match direction {
        Direction::Forwards => low,
        Direction::Backwards => high,
    });
    signed(direction, at.abs_diff(now))
}

/// The shifts to a data offset that was asked for.
fn asked_for(
    present: &Present,
    (old, new): (&Geometry, &Geometry),
    cast: &Cast,
    (wanted, least): (Sector, Sectors),
) -> Result<Shifts, Refusal> {
    if present.version == Version::V0 {
        return Err(Refusal::NotRecordable { version: present.version, what: "a data offset" });
    }
    let mut shifts = Vec::with_capacity(cast.slots.len());
    for disk in &cast.slots {
        let Some(disk) = disk.and_then(|disk| present.disks.get(disk)) else {
            shifts.push(None);
            continue;
        };
        shifts.push(Some(shift_to(disk, (old, new), wanted, least)?));
    }
    let there = || shifts.iter().flatten().copied();
    let any = there().next().unwrap_or(0);
    let direction = if any < 0 { Direction::Forwards } else { Direction::Backwards };
    let (lowest, highest) = (there().min().unwrap_or(0), there().max().unwrap_or(0));
    if lowest < 0 && highest > 0 {
        let (forwards, backwards) = (lowest.into(), highest.into());
        return Err(Refusal::OffsetsDiffer { forwards, backwards });
    }
    Ok(Shifts::Of(direction, shifts.into_iter().map(|shift| shift.unwrap_or(any)).collect()))
}

fn shift_to(
    disk: &Disk,
    (old, new): (&Geometry, &Geometry),
    wanted: Sector,
    least: Sectors,
) -> Result<i32, Refusal> {
    let now = disk.data_offset;
    let path = || disk.path.clone();
    if wanted == now {
        return Err(Refusal::HasOffset { path: path(), offset: now });
    }
    let first = now.get().saturating_sub(disk.room.before.get());
    let after = room(disk, Beside::After, old.component());
    let last = now.get().saturating_add(after.get());
    if !(first..=last).contains(&wanted.get()) {
        let (first, last) = (Sector::new(first), Sector::new(last));
        return Err(Refusal::OffsetOutside { path: path(), wanted, first, last });
    }
    let by = i64::try_from(wanted.get()).ok().zip(i64::try_from(now.get()).ok());
    let by = by.map_or(0, |(wanted, now)| wanted.saturating_sub(now));
    let right = match width(old, new) {
        Ordering::Less => by < 0,
        Ordering::Greater => by > 0,
        Ordering::Equal => true,
    };
    let small = i32::try_from(by).ok().filter(|_| right && by.unsigned_abs() >= least.get());
    small.ok_or_else(|| {
        let side = match width(old, new) {
            Ordering::Less => Beside::Before,
            Ordering::Greater => Beside::After,
            Ordering::Equal if by < 0 => Beside::Before,
            Ordering::Equal => Beside::After,
        };
        Refusal::OffsetTooNear { path: path(), wanted, by, least, side }
    })
}

/// The critical part of the walk as array sectors.
fn critical(restripe: &Restripe) -> Range<u64> {
    let track = &restripe.track;
    let walked = track.critical();
    let ends = [walked.start, walked.end].map(|distance| track.position(distance).get());
    match track.direction {
        Direction::Forwards => ends[0]..ends[1],
        Direction::Backwards => ends[1]..ends[0],
    }
}

/// How often the position has to be recorded at least, so that old rows may be overwritten.
fn checkpoints(restripe: &Restripe) -> u64 {
    let track = &restripe.track;
    let (mut kept, mut count) = (0_u64, 0_u64);
    while kept < track.total && count < COUNTED {
        let next = track.limit(kept);
        // A section of the backup stands in for the room that is missing.
        let section = restripe.section().map_or(track.unit, Sectors::get);
        kept = next.max(kept.saturating_add(section.max(1)));
        count += 1;
    }
    let Some(left) = track.total.checked_sub(kept).filter(|left| *left > 0) else { return count };
    // The rest at the pace of the last ones; where rows part the pace only grows.
    let pace = track.limit(kept).saturating_sub(kept).max(track.unit).max(1);
    count.saturating_add(left.div_ceil(pace))
}

/// The disks whose slot is gone.
fn leaving(cast: &Cast, new: &Geometry) -> Vec<usize> {
    let stay = usize::try_from(new.raid_disks()).unwrap_or(usize::MAX);
    cast.slots.iter().skip(stay).flatten().copied().collect()
}

/// Sectors of a member that hold the first `content` sectors of the array.
fn rows(geometry: &Geometry, content: u64) -> u64 {
    let all = geometry.sectors().get();
    if content >= all {
        return geometry.component().get();
    }
    let part = u128::from(geometry.component().get()) * u128::from(content);
    let rows = part.div_ceil(u128::from(all.max(1)));
    u64::try_from(rows).unwrap_or(u64::MAX)
}

fn traffic(restripe: &Restripe, cast: &Cast, mode: Mode) -> Vec<Traffic> {
    let (old, new, track) = (&restripe.old, &restripe.new, &restripe.track);
    let bytes = |sectors: u64| sectors.saturating_mul(kcopy::SECTOR_SIZE);
    let (read, written) = (bytes(rows(old, track.content)), bytes(rows(new, track.total)));
    // Every new member gets a copy of the whole critical section.
    let saved = match mode {
        Mode::BackupOnSpares => bytes(track.critical().end),
        Mode::DataOffset | Mode::BackupFile => 0,
    };
    let after = usize_of(new.raid_disks());
    let mut traffic = Vec::new();
    for (slot, disk) in cast.slots.iter().enumerate() {
        let Some(disk) = *disk else { continue };
        let read = if cast.old(slot).is_some() { read } else { 0 };
        let saved = if cast.is_new(slot) { saved } else { 0 };
        let written = if slot < after { written.saturating_add(saved) } else { 0 };
        traffic.push(Traffic { disk, read, written });
    }
    traffic
}

fn usize_of(count: u32) -> usize {
    usize::try_from(count).unwrap_or(usize::MAX)
}

/// Members that can be lost on both sides of the front.
fn tolerance(cast: &Cast, (old, new): (&Geometry, &Geometry)) -> u32 {
    let before: Vec<_> = (0..usize_of(old.raid_disks())).map(|slot| cast.old(slot)).collect();
    let after = usize_of(new.raid_disks());
    let after: Vec<_> = (0..after).map(|slot| cast.slots.get(slot).copied().flatten()).collect();
    tolerance_of(old, &before).min(tolerance_of(new, &after))
}

/// Members that can be lost, whichever they are, with those in `slots` there.
pub(super) fn tolerance_of(geometry: &Geometry, slots: &[Option<usize>]) -> u32 {
    let empty = slots.iter().filter(|disk| disk.is_none()).count();
    let copies = matches!(geometry.layout(), Layout::Raid10(_)) && empty > 0;
    let there = |slot: Slot| slots.get(usize_of(slot.get())).is_some_and(Option::is_some);
    if copies {
        // Two copies: whoever is alone must not go.
        let one_more = |lost: u32| geometry.enough(|slot| slot.get() != lost && there(slot));
        return u32::from((0..geometry.raid_disks()).all(one_more));
    }
    geometry.tolerance().saturating_sub(u32::try_from(empty).unwrap_or(u32::MAX))
}
