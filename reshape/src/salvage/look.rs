//! The reading edge: rows, units and backups, looked at through jobs of the copy engine.

use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};

use kcopy::{Errno, Extent, Job, PieceBuffers, SECTOR_SIZE, Sectors, Transform};
use smallvec::SmallVec;

use super::front::{Evidence, RowSeen, SavedSeen, UnitSeen};
use super::walk::{UNIT, Walk};
use crate::array::{ArrayError, Backup, View};
use crate::geometry::{Part, Stripes};
use crate::mover::{MoveError, Mover};
use crate::parity::{self, Block, Data, Role, Verdict, fill};
use crate::units::{ArraySector, MemberSector, Slot};

/// Rows of each member in one job: 4 MiB.
const SPAN: u64 = 1024;
/// Jobs on their way at once.
const IN_FLIGHT: usize = 64;
/// Bytes of a unit.
const UNIT_BYTES: usize = 4096;

/// What the blocks of a row say about the stripes of one geometry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Says {
    /// They agree with all parity that is left over.
    Agree,
    /// Their sum agrees; there is no Q to be asked.
    Sum,
    /// Their sum agrees, and what stands at the place of Q, which is not uniform, is none.
    SumWithoutQ,
    /// They disagree.
    Disagree,
}

impl Says {
    /// Whether the row verifies.
    pub(crate) fn verifies(self) -> bool {
        match self {
            Self::Agree | Self::Sum => true,
            Self::SumWithoutQ | Self::Disagree => false,
        }
    }

    /// Whether members may be torn in a row: its sum agrees in a geometry, what stands at the place of Q does not,
    /// and no Q of the other geometry says that it is one of those. All but one of its members may have been
    /// written, and the one holds what it had: a sum does not tell in which order the rest stands.
    pub(super) fn may_be_torn(one: Option<Self>, other: Option<Self>) -> bool {
        let half = |says| says == Some(Self::SumWithoutQ);
        let whole = |says| says == Some(Self::Agree);
        half(one) && !whole(other) || half(other) && !whole(one)
    }
}

/// The blocks of a row that stand for one geometry.
#[derive(Clone, Copy, Debug)]
pub(super) struct Lens {
    pub(super) stripes: Stripes,
    /// Rows of 4 KiB in a chunk.
    pub(super) chunk: u64,
}

impl Lens {
    /// How rows of a view are read; `None` for one without parity.
    pub(super) fn of(view: &View) -> Option<Self> {
        let stripes = *view.geometry().stripes()?;
        Some(Self { stripes, chunk: (view.geometry().chunk().get() / UNIT).max(1) })
    }

    pub(super) fn role(&self, row: u64, slot: Slot) -> Role {
        match self.stripes.part(row / self.chunk, slot) {
            Part::Data { power, .. } => Role::Data(power),
            Part::P => Role::P,
            Part::Q => Role::Q,
        }
    }

    /// Whether the blocks of row `row` agree; `None` if too few are known to tell.
    pub(super) fn says(&self, row: u64, known: &[(Slot, &[u8])]) -> Option<Says> {
        let agree = |holds: bool| if holds { Says::Agree } else { Says::Disagree };
        let slots = (0..self.stripes.disks()).map(Slot::new);
        let known: SmallVec<[(Role, &[u8]); 16]> = known
            .iter()
            .filter(|(slot, _)| slot.get() < self.stripes.disks())
            .map(|(slot, bytes)| (self.role(row, *slot), *bytes))
            .collect();
        let absent: SmallVec<[Role; 2]> = slots
            .map(|slot| self.role(row, slot))
            .filter(|role| !known.iter().any(|(other, _)| other == role))
            .collect();
        let find = |role| known.iter().find(|(other, _)| *other == role).map(|(_, bytes)| *bytes);
        // With one sum left and blank blocks among few, chance agrees easily; but by chance nothing disagrees.
        let is_weak = self.stripes.parity_disks() > 1
            && !absent.is_empty()
            && known.iter().any(|(_, bytes)| is_uniform(bytes));
        let says = match (&absent[..], find(Role::P), find(Role::Q)) {
            ([], Some(_), None) | ([Role::Q], Some(_), None) => {
                let all: SmallVec<[&[u8]; 16]> = known.iter().map(|(_, bytes)| *bytes).collect();
                Some(if parity::xors_to_zero(&all) { Says::Sum } else { Says::Disagree })
            }
            ([], Some(p), Some(q)) => {
                let data: SmallVec<[Data<'_>; 16]> = known
                    .iter()
                    .filter_map(|(role, bytes)| match role {
                        Role::Data(index) => Some(Data { index: *index, bytes }),
                        Role::P | Role::Q => None,
                    })
                    .collect();
                Some(match parity::check(&data, p, q) {
                    Verdict::Consistent => Says::Agree,
                    Verdict::Q if !is_uniform(q) => Says::SumWithoutQ,
                    Verdict::P | Verdict::Q | Verdict::Data(_) | Verdict::Several => Says::Disagree,
                })
            }
            ([one], _, Some(q)) => {
                // P, or the data that P tells, and from these Q.
                let mut computed = vec![0; q.len()];
                let mut blocks: SmallVec<[Block<'_>; 16]> = known
                    .iter()
                    .filter(|(role, _)| *role != Role::Q)
                    .map(|(role, bytes)| Block::known(*role, bytes))
                    .collect();
                blocks.push(Block::missing(*one));
                blocks.push(Block::wanted(Role::Q, &mut computed));
                let filled = fill(&mut blocks).is_ok();
                drop(blocks);
                filled.then(|| agree(computed == q))
            }
            _ => None,
        };
        says.filter(|says| !(is_weak && says.verifies()))
    }
}

/// What one geometry reads in a job's rows.
#[derive(Clone, Debug)]
struct Reading {
    lens: Lens,
    /// Its row at the job's first.
    first: u64,
    /// Rows that it has.
    rows: u64,
    /// Which of the job's sources are members of it.
    slots: SmallVec<[(usize, Slot); 16]>,
}

/// Judges rows of 4 KiB.
#[derive(Debug)]
struct LookRows {
    old: Option<Reading>,
    new: Option<Reading>,
    seen: Mutex<Vec<(u64, RowSeen)>>,
}

impl Reading {
    fn verdict(&self, at: u64, row: &[&[u8]]) -> Option<Says> {
        let number = self.first + at;
        if number >= self.rows {
            return None;
        }
        let known: SmallVec<[(Slot, &[u8]); 16]> = self
            .slots
            .iter()
            .filter_map(|(source, slot)| Some((*slot, *row.get(*source)?)))
            .collect();
        self.lens.says(number, &known)
    }
}

impl Transform for LookRows {
    fn apply(&self, piece: PieceBuffers<'_>) -> Result<(), Errno> {
        let len = piece.sources.first().map_or(0, |source| source.len());
        let first = piece.offset / (UNIT * SECTOR_SIZE);
        let mut seen = Vec::new();
        for (at, from) in (first..).zip((0..len).step_by(UNIT_BYTES)) {
            let row: SmallVec<[&[u8]; 16]> = piece
                .sources
                .iter()
                .filter_map(|source| source.get(from..len.min(from + UNIT_BYTES)))
                .collect();
            if row.iter().all(|bytes| is_zero(bytes)) {
                seen.push((at, RowSeen::Unknown));
                continue;
            }
            let verdict = |reading: &Option<Reading>| reading.as_ref()?.verdict(at, &row);
            let (old, new) = (verdict(&self.old), verdict(&self.new));
            let seen_as = match Says::may_be_torn(old, new) {
                true => RowSeen::Torn,
                false => RowSeen::from(old, new),
            };
            seen.push((at, seen_as));
        }
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).extend(seen);
        Ok(())
    }
}

/// Compares the places of units: source 0 with source 1 and, if there is a backup, 2.
#[derive(Debug)]
struct LookUnits<T> {
    judge: fn(&[&[u8]]) -> T,
    seen: Mutex<Vec<(u64, T)>>,
}

impl<T: Send + std::fmt::Debug> Transform for LookUnits<T> {
    fn apply(&self, piece: PieceBuffers<'_>) -> Result<(), Errno> {
        let len = piece.sources.first().map_or(0, |source| source.len());
        let first = piece.offset / (UNIT * SECTOR_SIZE);
        let mut seen = Vec::new();
        for (at, from) in (first..).zip((0..len).step_by(UNIT_BYTES)) {
            let unit: SmallVec<[&[u8]; 3]> = piece
                .sources
                .iter()
                .filter_map(|source| source.get(from..len.min(from + UNIT_BYTES)))
                .collect();
            seen.push((at, (self.judge)(&unit)));
        }
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).extend(seen);
        Ok(())
    }
}

fn is_zero(bytes: &[u8]) -> bool {
    bytes.first() == Some(&0) && is_uniform(bytes)
}

/// Whether every eight bytes are the same: nothing that tells one place from another.
pub(super) fn is_uniform(bytes: &[u8]) -> bool {
    let shifted = bytes.get(8..).unwrap_or_default();
    bytes.get(..shifted.len()) == Some(shifted)
}

fn judge_places(unit: &[&[u8]]) -> UnitSeen {
    match unit {
        [old, new] if old != new => UnitSeen::Differs,
        [old, _] if !is_uniform(old) => UnitSeen::Same,
        _ => UnitSeen::Unknown,
    }
}

fn judge_saved(unit: &[&[u8]]) -> SavedSeen {
    match unit {
        [old, new, saved] if is_uniform(saved) => {
            let is_there = old == saved || new == saved;
            if is_there { SavedSeen::Unknown } else { SavedSeen::Blank }
        }
        [old, new, saved] if new == saved && old != saved => SavedSeen::Moved,
        [old, new, saved] if old == saved && new != saved => SavedSeen::Waiting,
        [old, new, saved] if old == saved && new == saved => SavedSeen::Both,
        [_, _, _] => SavedSeen::Neither,
        _ => SavedSeen::Unknown,
    }
}

/// A job on its way, and where its results belong.
#[derive(Debug)]
enum Flight {
    /// New rows from this one on.
    Rows(Arc<LookRows>, u64),
    /// Units from this one on.
    Units(Arc<LookUnits<UnitSeen>>, u64),
    /// Units of a backup: which.
    Saved(Arc<LookUnits<SavedSeen>>, u64, usize),
}

/// Looks at everything once.
pub(super) struct Look<'a> {
    mover: &'a mut Mover,
    walk: &'a Walk,
    old: &'a View,
    new: &'a View,
    flights: slab::Slab<(Flight, u64)>,
    /// What came in, to be put in order.
    units: Vec<(Range<u64>, UnitSeen)>,
    evidence: Evidence,
    done: u64,
}

impl<'a> Look<'a> {
    pub(super) fn new(mover: &'a mut Mover, walk: &'a Walk, old: &'a View, new: &'a View) -> Self {
        Self {
            mover,
            walk,
            old,
            new,
            flights: slab::Slab::new(),
            units: Vec::new(),
            evidence: Evidence::default(),
            done: 0,
        }
    }

    /// Reads the members and the backups. `moved` gets the bytes read so far and may end it.
    pub(super) fn run(
        mut self,
        backups: &[Backup],
        moved: &mut dyn FnMut(u64) -> bool,
    ) -> Result<Evidence, ArrayError> {
        let result = self.all(backups, moved);
        // Nothing may still be on its way when the mover is used for something else.
        while !self.flights.is_empty() && self.wait(&mut |_| true).is_ok() {}
        result?;
        self.units.sort_unstable_by_key(|(units, _)| units.start);
        for (units, seen) in std::mem::take(&mut self.units) {
            self.evidence.units(units, seen);
        }
        Ok(self.evidence)
    }

    /// What units are, in order, joined where it is the same.
    pub(super) fn at_units(
        &mut self,
        units: Range<u64>,
        moved: &mut dyn FnMut(u64) -> bool,
    ) -> Result<Vec<(Range<u64>, UnitSeen)>, ArrayError> {
        self.unit_jobs(units, moved)?;
        while !self.flights.is_empty() {
            self.wait(moved)?;
        }
        self.units.sort_unstable_by_key(|(units, _)| units.start);
        Ok(std::mem::take(&mut self.units))
    }

    /// Waits for what is on its way: the mover may be used for something else then.
    pub(super) fn abandon(mut self) {
        while !self.flights.is_empty() && self.wait(&mut |_| true).is_ok() {}
    }

    fn unit_jobs(
        &mut self,
        units: Range<u64>,
        moved: &mut dyn FnMut(u64) -> bool,
    ) -> Result<(), ArrayError> {
        let mut unit = units.start;
        while unit < units.end {
            let length = self.run_of(unit).min(units.end - unit);
            self.unit_job(unit, length, moved)?;
            unit += length;
        }
        Ok(())
    }

    fn all(
        &mut self,
        backups: &[Backup],
        moved: &mut dyn FnMut(u64) -> bool,
    ) -> Result<(), ArrayError> {
        match self.walk.common_shift() {
            Some(shift) => self.rows(Some(shift), true, moved)?,
            None => {
                self.rows(None, true, moved)?;
                self.rows(None, false, moved)?;
            }
        }
        self.unit_jobs(0..self.walk.content().get() / UNIT, moved)?;
        self.saved_jobs(backups, moved)
    }

    /// Reads the backups, and what they hold of the members.
    pub(super) fn at_backups(mut self, backups: &[Backup]) -> Result<Evidence, ArrayError> {
        let result = self.saved_jobs(backups, &mut |_| true);
        while !self.flights.is_empty() && self.wait(&mut |_| true).is_ok() {}
        result?;
        Ok(self.evidence)
    }

    fn saved_jobs(
        &mut self,
        backups: &[Backup],
        moved: &mut dyn FnMut(u64) -> bool,
    ) -> Result<(), ArrayError> {
        let units = self.walk.content().get() / UNIT;
        for (index, backup) in backups.iter().enumerate() {
            for (section, at) in &backup.sections {
                let first = section.array_start.get() / UNIT;
                let end = (first + section.length.get() / UNIT).min(units);
                let mut unit = first;
                while unit < end {
                    let length = self.run_of(unit).min(end - unit);
                    let into = (unit - first) * UNIT * SECTOR_SIZE;
                    self.saved_job(
                        (index, backup),
                        at.saturating_add(into),
                        unit..unit + length,
                        moved,
                    )?;
                    unit += length;
                }
            }
        }
        while !self.flights.is_empty() {
            self.wait(moved)?;
        }
        Ok(())
    }

    /// Units from `unit` on that stay together in both geometries.
    fn run_of(&self, unit: u64) -> u64 {
        let sector = ArraySector::new(unit * UNIT);
        let run = |view: &View| view.geometry().at(sector).map_or(UNIT, |at| at.run.get());
        let run = run(self.old).min(run(self.new)) / UNIT;
        run.min(self.walk.die_alike(unit, run)).max(1)
    }

    /// Rows of the new stripes, with the old ones that are at the same place of the devices; or
    /// rows of one geometry alone.
    fn rows(
        &mut self,
        shift: Option<i64>,
        of_new: bool,
        moved: &mut dyn FnMut(u64) -> bool,
    ) -> Result<(), ArrayError> {
        let view = if of_new { self.new } else { self.old };
        let rows = view.geometry().component().get() / UNIT;
        if Lens::of(self.new).is_none() && Lens::of(self.old).is_none() {
            return Ok(());
        }
        // New rows before the old data begins have no old row at their place.
        let ahead = shift.and_then(|shift| u64::try_from(-shift).ok()).unwrap_or(0);
        let mut row = 0;
        while row < rows {
            let end = if row < ahead { ahead.min(rows) } else { rows };
            let length = SPAN.min(end - row);
            self.row_job(row, length, shift, of_new, moved)?;
            row += length;
        }
        Ok(())
    }

    fn row_job(
        &mut self,
        row: u64,
        length: u64,
        shift: Option<i64>,
        of_new: bool,
        moved: &mut dyn FnMut(u64) -> bool,
    ) -> Result<(), ArrayError> {
        let (start, sectors) = (MemberSector::new(row * UNIT), Sectors::new(length * UNIT));
        let main = if of_new { self.new } else { self.old };
        let mut extents: SmallVec<[Extent; 16]> = SmallVec::new();
        let mut slots: SmallVec<[Slot; 16]> = SmallVec::new();
        let disks = self.old.geometry().raid_disks().max(self.new.geometry().raid_disks());
        for slot in (0..disks).map(Slot::new) {
            // A member that only the other geometry has lies at the same place of its device.
            let leg = match (main.leg(slot), shift) {
                (Some(leg), _) => Some((leg, start)),
                (None, Some(_)) => self.other_leg(slot, start),
                (None, None) => None,
            };
            let Some((leg, at)) = leg.filter(|(leg, at)| leg.is_good(*at, sectors)) else {
                continue;
            };
            if let Some(extent) = leg.extent(at, sectors)
                && extent.checked_end().is_some_and(|end| end <= leg.device.size())
            {
                extents.push(extent);
                slots.push(slot);
            }
        }
        let reading = |view: &View, first: Option<u64>| {
            let known = slots.iter().copied().enumerate();
            Some(Reading {
                lens: Lens::of(view)?,
                first: first?,
                rows: view.geometry().component().get() / UNIT,
                slots: known.filter(|(_, slot)| view.leg(*slot).is_some()).collect(),
            })
        };
        let paired = shift.and_then(|shift| row.checked_add_signed(shift));
        let (old, new) = if of_new {
            (reading(self.old, paired), reading(self.new, Some(row)))
        } else {
            (reading(self.old, Some(row)), None)
        };
        if extents.len() < 2 || old.is_none() && new.is_none() {
            return Ok(());
        }
        let look = Arc::new(LookRows { old, new, seen: Mutex::default() });
        let mut job = Job::stripe(0, Arc::clone(&look) as Arc<dyn Transform>);
        for extent in extents {
            job = job.from(extent);
        }
        let tag = if of_new { row } else { row | OLD_ROWS };
        self.submit(job, Flight::Rows(look, tag), length, moved)
    }

    /// The member that the old geometry alone has in a slot, and where new rows would be on it.
    fn other_leg(
        &self,
        slot: Slot,
        start: MemberSector,
    ) -> Option<(&'a crate::array::Leg, MemberSector)> {
        let place = crate::geometry::Place { slot, sector: start };
        let place = self.walk.moved_back(place)?;
        Some((self.old.leg(slot)?, place.sector))
    }

    /// Where units from `unit` on are, in a view.
    fn place(&self, view: &View, unit: u64, length: u64) -> Option<Extent> {
        let at = view.geometry().at(ArraySector::new(unit * UNIT))?;
        let sectors = Sectors::new(length * UNIT);
        // Of several copies the one that is overwritten last.
        let there =
            |place: &&crate::geometry::Place| view.is_good(place.slot, place.sector, sectors);
        let place =
            at.places.iter().filter(there).max_by_key(|place| self.walk.overwritten(**place))?;
        let leg = view.leg(place.slot)?;
        let extent = leg.extent(place.sector, sectors)?;
        extent.checked_end().is_some_and(|end| end <= leg.device.size()).then_some(extent)
    }

    fn unit_job(
        &mut self,
        unit: u64,
        length: u64,
        moved: &mut dyn FnMut(u64) -> bool,
    ) -> Result<(), ArrayError> {
        if self.walk.stays(unit) {
            self.units.push((unit..unit + length, UnitSeen::Stays));
            return Ok(());
        }
        let places = self.place(self.old, unit, length).zip(self.place(self.new, unit, length));
        let Some((old, new)) = places else { return Ok(()) };
        let look = Arc::new(LookUnits { judge: judge_places, seen: Mutex::default() });
        let job = Job::stripe(0, Arc::clone(&look) as Arc<dyn Transform>).from(old).from(new);
        self.submit(job, Flight::Units(look, unit), length, moved)
    }

    fn saved_job(
        &mut self,
        (index, backup): (usize, &Backup),
        at: u64,
        units: Range<u64>,
        moved: &mut dyn FnMut(u64) -> bool,
    ) -> Result<(), ArrayError> {
        let (unit, length) = (units.start, units.end - units.start);
        let places = self.place(self.old, unit, length).zip(self.place(self.new, unit, length));
        let saved = Extent::new(&backup.device, at, length * UNIT * SECTOR_SIZE);
        let is_there = saved.checked_end().is_some_and(|end| end <= backup.device.size());
        let Some((old, new)) = places.filter(|_| is_there) else {
            self.evidence.saved(self.walk, index, units, SavedSeen::Unread);
            return Ok(());
        };
        let look = Arc::new(LookUnits { judge: judge_saved, seen: Mutex::default() });
        let job = Job::stripe(0, Arc::clone(&look) as Arc<dyn Transform>);
        let job = job.from(old).from(new).from(saved);
        self.submit(job, Flight::Saved(look, unit, index), length, moved)
    }

    fn submit(
        &mut self,
        job: Job,
        flight: Flight,
        units: u64,
        moved: &mut dyn FnMut(u64) -> bool,
    ) -> Result<(), ArrayError> {
        while self.flights.len() >= IN_FLIGHT {
            self.wait(moved)?;
        }
        let key = self.flights.insert((flight, units));
        let submitted = self.mover.submit(job, u64::try_from(key).unwrap_or(u64::MAX));
        submitted.map_err(ArrayError::Move).inspect_err(|_| {
            self.flights.remove(key);
        })
    }

    fn wait(&mut self, moved: &mut dyn FnMut(u64) -> bool) -> Result<(), ArrayError> {
        let Some(done) = self.mover.next()? else { return Ok(()) };
        let key = usize::try_from(done.tag).unwrap_or(usize::MAX);
        let Some((flight, units)) = self.flights.try_remove(key) else { return Ok(()) };
        if done.outcome.cancelled {
            return Err(MoveError::Cancelled.into());
        }
        // What cannot be read says nothing.
        match flight {
            flight if done.outcome.read.is_none() => self.take_in(flight),
            Flight::Saved(_, unit, backup) => {
                self.evidence.saved(self.walk, backup, unit..unit + units, SavedSeen::Unread);
            }
            Flight::Rows(..) | Flight::Units(..) => {}
        }
        self.done += units * UNIT * SECTOR_SIZE;
        if moved(self.done) { Ok(()) } else { Err(MoveError::Cancelled.into()) }
    }

    fn take_in(&mut self, flight: Flight) {
        match flight {
            Flight::Rows(look, first) => {
                let seen = sorted(&look.seen);
                for (at, seen) in seen {
                    let (row, is_old) = (first & !OLD_ROWS, first & OLD_ROWS != 0);
                    let time = if is_old {
                        self.old_row_time(row + at)
                    } else {
                        self.walk.row_time(row + at)
                    };
                    self.evidence.rows(time..time.saturating_add(1), seen);
                }
            }
            Flight::Units(look, first) => {
                for (at, seen) in sorted(&look.seen) {
                    let unit = first + at;
                    match self.units.last_mut() {
                        Some((last, same)) if *same == seen && last.end == unit => last.end += 1,
                        _ => self.units.push((unit..unit + 1, seen)),
                    }
                }
            }
            Flight::Saved(look, first, backup) => {
                for (at, seen) in sorted(&look.seen) {
                    let unit = first + at;
                    self.evidence.saved(self.walk, backup, unit..unit + 1, seen);
                }
            }
        }
    }

    /// When the first block of an old row is overwritten.
    fn old_row_time(&self, row: u64) -> u64 {
        let place = |slot| crate::geometry::Place { slot, sector: MemberSector::new(row * UNIT) };
        let slots = (0..self.old.geometry().raid_disks()).map(Slot::new);
        slots.map(|slot| self.walk.overwritten(place(slot))).min().unwrap_or(super::walk::NEVER)
    }
}

/// Marks rows that count as the old geometry does. No device has so many.
const OLD_ROWS: u64 = 1 << 63;

/// What was seen, in order; a piece that was tried again reports twice.
fn sorted<T: Copy + PartialEq>(seen: &Mutex<Vec<(u64, T)>>) -> Vec<(u64, T)> {
    let mut seen = std::mem::take(&mut *seen.lock().unwrap_or_else(PoisonError::into_inner));
    seen.sort_by_key(|(at, _)| *at);
    seen.dedup_by_key(|(at, _)| *at);
    seen
}
