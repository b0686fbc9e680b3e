//! When a reshape writes what: the order of its walk as a clock. Pure.
//!
//! The clock ticks once for each row of 4 KiB of the new stripes, in the order in which they are
//! written, whichever way the walk goes; for RAID10 once for each 4 KiB of the array. With it every
//! unit of 4 KiB of the array has two times:
//!
//! ```text
//!          is born                       dies
//!  ───────────┼───────────────────────────┼──────────▶ time of the front
//!   old only  │      old and new          │  new only      if it dies after it is born,
//!   old only  │      nowhere              │  new only      if it dies before
//! ```
//!
//! It is born when it is written to its new place, and dies when something else is written to its
//! old one.

use std::ops::Range;

use kcopy::Sectors;
use smallvec::SmallVec;

use crate::array::{Range as ArrayRange, View};
use crate::geometry::{Geometry, On, Place};
use crate::metadata::Direction;
use crate::units::{ArraySector, MemberSector, Slot};

/// Sectors of a unit: 4 KiB, the rows in which stripes are written.
pub(crate) const UNIT: u64 = 8;
/// The time of what never happens.
pub(crate) const NEVER: u64 = u64::MAX;

/// Which units tell of a band.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Which {
    All,
    /// Neither place of which is one for parity.
    Plain,
}

/// See the module.
#[derive(Clone, Debug)]
pub(crate) struct Walk {
    old: Geometry,
    new: Geometry,
    direction: Direction,
    /// New data offset minus old one of each slot, in sectors; of an empty one: as the others'.
    shifts: Vec<i64>,
    /// Slots of the old geometry whose members are not here.
    gone: Vec<Slot>,
    /// Times: 0 is before everything, this is after it.
    total: u64,
    /// Sectors of content.
    content: u64,
    /// Whether there is parity to spare among the members, so that rows verify: old ones, new ones.
    has_parity: bool,
    has_new_parity: bool,
    /// Whether members are missing that one reading or the other has.
    lacks_members: bool,
}

impl Walk {
    /// The walk from one view to the other.
    pub(crate) fn new(old: &View, new: &View, direction: Direction) -> Self {
        let slots = old.geometry().raid_disks().max(new.geometry().raid_disks());
        let shift = |slot| {
            let (old, new) = (old.leg(slot)?.data_offset.get(), new.leg(slot)?.data_offset.get());
            i64::try_from(new).ok()?.checked_sub(i64::try_from(old).ok()?)
        };
        let known: Vec<Option<i64>> = (0..slots).map(Slot::new).map(shift).collect();
        let missing = |view: &View| view.legs().filter(|(_, leg)| leg.is_none()).count();
        let lacks_members = missing(old) > 0 || missing(new) > 0;
        let spares = |view: &View| {
            let missing = missing(view);
            let parities = usize::try_from(view.geometry().level().parity_disks()).unwrap_or(0);
            view.geometry().stripes().is_some() && missing < parities
        };
        let (has_parity, has_new_parity) = (spares(old), spares(new));
        let gone = old.legs().filter(|(_, leg)| leg.is_none()).map(|(slot, _)| slot).collect();
        let usual = known.iter().flatten().next().copied().unwrap_or(0);
        let shifts = known.into_iter().map(|shift| shift.unwrap_or(usual)).collect();
        let (old, new) = (old.geometry().clone(), new.geometry().clone());
        let content = old.sectors().get().min(new.sectors().get());
        let total = match (new.stripes(), direction) {
            (Some(_), _) => new.component().get(),
            (None, Direction::Forwards) => new.sectors().get(),
            (None, Direction::Backwards) => content,
        };
        let total = total / UNIT;
        Self {
            old,
            new,
            direction,
            shifts,
            gone,
            total,
            content,
            has_parity,
            has_new_parity,
            lacks_members,
        }
    }

    /// The time after everything.
    pub(crate) fn total(&self) -> u64 {
        self.total
    }

    /// Sectors of content: the smaller size of both.
    pub(crate) fn content(&self) -> Sectors {
        Sectors::new(self.content)
    }

    /// The way it goes.
    pub(crate) fn direction(&self) -> Direction {
        self.direction
    }

    /// By how much data moves on every member, in units; `None` if it differs or is no whole unit.
    pub(crate) fn common_shift(&self) -> Option<i64> {
        let first = *self.shifts.first()?;
        let unit = i64::try_from(UNIT).ok()?;
        let same = self.shifts.iter().all(|shift| *shift == first);
        (same && first % unit == 0).then_some(first / unit)
    }

    /// When new row `row` (of 4 KiB) is written; [`NEVER`] for one that is not.
    pub(crate) fn row_time(&self, row: u64) -> u64 {
        if row >= self.total {
            return NEVER;
        }
        match self.direction {
            Direction::Forwards => row,
            Direction::Backwards => self.total - 1 - row,
        }
    }

    /// When unit `unit` of the array is written to its new place.
    pub(crate) fn born(&self, unit: u64) -> u64 {
        let Some(at) = self.new.at(ArraySector::new(unit.saturating_mul(UNIT))) else {
            return NEVER;
        };
        at.places.first().map_or(NEVER, |place| self.written(*place))
    }

    /// When the last copy of unit `unit` at an old place is overwritten, of those that are here.
    pub(crate) fn dies(&self, unit: u64) -> u64 {
        self.copies(unit).iter().map(|place| self.overwritten(*place)).max().unwrap_or(0)
    }

    /// How many of the `run` units from `unit` on, which stay together, have the same one of their copies overwritten
    /// last: chunks of the new geometry may begin in the middle of an old one, on each member at another time.
    pub(crate) fn die_alike(&self, unit: u64, run: u64) -> u64 {
        let at = |unit: u64| self.old.at(ArraySector::new(unit.saturating_mul(UNIT)));
        let last = |unit: u64| {
            let copies = self.copies(unit);
            let times = copies.iter().map(|place| self.overwritten(*place));
            times.enumerate().max_by_key(|(_, time)| *time).map(|(copy, _)| copy)
        };
        if run <= 1 || at(unit).is_none_or(|at| at.places.len() < 2) {
            return run;
        }
        let first = last(unit);
        (1..run).find(|next| last(unit.saturating_add(*next)) != first).unwrap_or(run)
    }

    /// The old places of a unit. Of several copies those are none that stand on a member that is not here: nobody can
    /// look at them, and nobody takes a unit from there.
    fn copies(&self, unit: u64) -> SmallVec<[Place; 4]> {
        let at = self.old.at(ArraySector::new(unit.saturating_mul(UNIT)));
        let places = at.map(|at| at.places).unwrap_or_default();
        let is_here = |place: &Place| !self.gone.contains(&place.slot);
        let here: SmallVec<[Place; 4]> = places.iter().copied().filter(is_here).collect();
        if here.is_empty() { places } else { here }
    }

    /// The unit whose old place is at a new place. A walk that is begun again takes from there what the first
    /// one wrote, and carries it to the new place of that unit.
    pub(crate) fn carrier(&self, new: Place) -> Option<u64> {
        let old = self.moved_back(new)?;
        match self.old.on(old.slot, old.sector) {
            On::Data(sector) => Some(sector.get() / UNIT).filter(|_| sector.get() % UNIT == 0),
            On::P { .. } | On::Q { .. } | On::Unused => None,
        }
    }

    /// What comes to the old place of a unit, to the one that is overwritten last; `None` if nothing does, or parts of
    /// two.
    pub(crate) fn successor(&self, unit: u64) -> Option<On> {
        let copies = self.copies(unit);
        let place = copies.iter().max_by_key(|place| self.overwritten(**place))?;
        let new = self.moved(*place).filter(|new| new.sector.get().is_multiple_of(UNIT))?;
        Some(self.new.on(new.slot, new.sector))
    }

    /// When an old place is overwritten.
    pub(crate) fn overwritten(&self, old: Place) -> u64 {
        // Both ends of the unit, should offsets be no multiple of it.
        let first = self.moved(old);
        let last = old.sector.checked_add(Sectors::new(UNIT - 1));
        let last = last.and_then(|sector| self.moved(Place { sector, ..old }));
        let time = |place: Option<Place>| place.map_or(NEVER, |place| self.written(place));
        time(first).min(time(last))
    }

    /// The same place of the device, counted as the new geometry does.
    pub(crate) fn moved(&self, old: Place) -> Option<Place> {
        let shift = self.shift(old.slot)?;
        let sector = i64::try_from(old.sector.get()).ok()?.checked_sub(shift)?;
        Some(Place { slot: old.slot, sector: MemberSector::new(u64::try_from(sector).ok()?) })
    }

    /// The same place of the device, counted as the old geometry does.
    pub(crate) fn moved_back(&self, new: Place) -> Option<Place> {
        let shift = self.shift(new.slot)?;
        let sector = i64::try_from(new.sector.get()).ok()?.checked_add(shift)?;
        Some(Place { slot: new.slot, sector: MemberSector::new(u64::try_from(sector).ok()?) })
    }

    fn shift(&self, slot: Slot) -> Option<i64> {
        self.shifts.get(usize::try_from(slot.get()).ok()?).copied()
    }

    /// When a new place is written.
    pub(crate) fn written(&self, new: Place) -> u64 {
        if self.new.stripes().is_some() {
            let used = new.slot.get() < self.new.raid_disks();
            return if used { self.row_time(new.sector.get() / UNIT) } else { NEVER };
        }
        match self.new.on(new.slot, new.sector) {
            On::Data(sector) => self.row_time(sector.get() / UNIT),
            On::P { .. } | On::Q { .. } | On::Unused => NEVER,
        }
    }

    /// Units that one time has in the array: the data disks of a row, one for RAID10.
    fn width(&self) -> u64 {
        self.new.stripes().map_or(1, |stripes| u64::from(stripes.data_disks()))
    }

    fn old_width(&self) -> u64 {
        self.old.stripes().map_or(1, |stripes| u64::from(stripes.data_disks()))
    }

    /// The time of a recorded position: all before it (behind it, if the walk goes backwards) has
    /// been written.
    pub(crate) fn time(&self, position: ArraySector) -> u64 {
        let row = UNIT * self.width();
        match self.direction {
            Direction::Forwards => (position.get() / row).min(self.total),
            Direction::Backwards => self.total.saturating_sub(position.get().div_ceil(row)),
        }
    }

    /// The furthest position that may be recorded at `time`: whole new and old chunks only, as the
    /// kernel wants it.
    pub(crate) fn position(&self, time: u64) -> ArraySector {
        let step = self.old.chunk().get().max(self.new.chunk().get()).max(UNIT);
        let time = time.min(self.total);
        let rows = match self.direction {
            Direction::Forwards => time * UNIT / step * step,
            Direction::Backwards => ((self.total - time) * UNIT).next_multiple_of(step),
        };
        let end = match self.direction {
            Direction::Forwards => self.new.sectors().get(),
            Direction::Backwards => self.content,
        };
        ArraySector::new((rows * self.width()).min(end))
    }

    /// Whether nothing but a backup tells where the front is: every stripe is written over itself, and a
    /// row has the same sum before and after, or all parity is needed to compute what is missing.
    pub(crate) fn is_mute(&self) -> bool {
        let single = |geometry: &Geometry| geometry.level().parity_disks() <= 1;
        let is_alike = single(&self.old) && single(&self.new);
        self.common_shift() == Some(0)
            && self.old.raid_disks() == self.new.raid_disks()
            && (is_alike || !self.verifies())
            && self.old.stripes().is_some()
    }

    /// Whether no row tells anything where stripes are written over others that wait to be moved: of these too only a
    /// backup tells.
    pub(crate) fn is_mute_where_critical(&self) -> bool {
        self.common_shift() == Some(0) && !self.verifies() && self.old.stripes().is_some()
    }

    /// Whether rows of one geometry or the other tell anything.
    pub(crate) fn verifies(&self) -> bool {
        self.has_parity || self.has_new_parity
    }

    /// Whether every stripe is written over itself, or over another one of as much content.
    pub(crate) fn is_in_place(&self) -> bool {
        self.common_shift() == Some(0)
            && self.width() == self.old_width()
            && self.old.stripes().is_some()
    }

    /// Whether members are missing: places that they have are not looked at.
    pub(crate) fn lacks_members(&self) -> bool {
        self.lacks_members
    }

    /// Whether every stripe is written over itself, backwards. Nobody begins such a reshape: it was turned around.
    pub(crate) fn is_turned_in_place(&self) -> bool {
        self.common_shift() == Some(0)
            && self.old.raid_disks() == self.new.raid_disks()
            && self.width() == self.old_width()
            && self.direction == Direction::Backwards
            && self.old.stripes().is_some()
    }

    /// Whether as many members as before have all of the data somewhere else on their devices.
    pub(crate) fn only_shifts(&self) -> bool {
        self.old.raid_disks() == self.new.raid_disks()
            && self.common_shift().is_some_and(|shift| shift != 0)
    }

    /// Whether members leave the array.
    pub(crate) fn loses_members(&self) -> bool {
        self.old.raid_disks() > self.new.raid_disks()
    }

    /// Whether rows have parity, which tells old from new; with members missing it may tell nothing.
    pub(crate) fn has_parity(&self) -> bool {
        self.has_parity
    }

    /// What lies behind a position, so many sectors or as many as there are.
    pub(crate) fn behind(&self, position: ArraySector, sectors: u64) -> ArrayRange {
        let at = position.get().min(self.content);
        let start = match self.direction {
            Direction::Forwards => at,
            Direction::Backwards => at.saturating_sub(sectors),
        };
        let end = match self.direction {
            Direction::Forwards => at.saturating_add(sectors).min(self.content),
            Direction::Backwards => at,
        };
        ArrayRange::new(start, end - start)
    }

    /// The last time at which all that is still to be moved from `position` on is at its old place,
    /// except for what `spared` says is kept elsewhere.
    pub(crate) fn sound_until(&self, position: ArraySector, spared: &dyn Fn(u64) -> bool) -> u64 {
        let units = self.content / UNIT;
        let stripes = 4 * u64::from(self.old.raid_disks()) * self.old.chunk().get() / UNIT;
        let first = (position.get() / UNIT).min(units);
        let (mut least, mut left, mut at) = (NEVER, stripes, first);
        // Old rows die one after the other: the first stripes that are left die first.
        while left > 0 {
            let unit = match self.direction {
                Direction::Forwards if at < units => at,
                Direction::Backwards if at > 0 => at - 1,
                Direction::Forwards | Direction::Backwards => break,
            };
            if !spared(unit) {
                least = least.min(self.dies(unit));
                left -= 1;
            }
            at = match self.direction {
                Direction::Forwards => unit + 1,
                Direction::Backwards => unit,
            };
        }
        least
    }

    /// Whether content that stands at two places in all of `runs` can be no accident: it is as long
    /// as what the walk leaves behind itself, and longer than what sums of regular content can
    /// pretend.
    pub(crate) fn is_band(&self, runs: &[Range<u64>]) -> bool {
        self.enough(runs).is_some_and(|(enough, which)| self.has_moved(runs, which, enough))
    }

    /// The same of what lies behind the front, where another walk is all that explains it: what is uniform between the
    /// runs counts as well, for of parity that is computed of content much may be, if a quarter tells.
    pub(crate) fn is_footprint(&self, runs: &[Range<u64>]) -> bool {
        if !self.only_shifts() {
            return self.is_band(runs);
        }
        let span = runs.first().zip(runs.last()).map(|(first, last)| last.end - first.start);
        let enough = self.enough(runs).zip(span);
        enough.is_some_and(|((enough, which), span)| {
            span >= enough / 2 && self.has_moved(runs, which, enough / 4)
        })
    }

    /// How many units are no accident around `runs`. Where all that the walk ever leaves behind itself is shorter than
    /// what sums of regular content can pretend, only those are asked that cannot be sums, and half as many.
    fn enough(&self, runs: &[Range<u64>]) -> Option<(u64, Which)> {
        let middle = runs.first()?.start.midpoint(runs.last()?.end.saturating_sub(1));
        let room = if self.only_shifts() { self.band(self.total / 2) } else { 0 };
        Some(if 0 < room && room < self.regular() {
            (room / 4, Which::Plain)
        } else {
            let band = self.band(self.born(middle).saturating_add(1));
            (self.regular().max(band / 2), Which::All)
        })
    }

    fn has_moved(&self, runs: &[Range<u64>], which: Which, enough: u64) -> bool {
        let counts = |unit: &u64| {
            !self.stays(*unit)
                && match which {
                    Which::All => true,
                    Which::Plain => self.is_plain(*unit),
                }
        };
        let moved = runs.iter().cloned().flatten().filter(counts);
        let enough = usize::try_from(enough).unwrap_or(usize::MAX).max(1);
        moved.take(enough).count() >= enough
    }

    /// Whole stripes of both geometries around units; `None` if the content ends in the middle of one, or
    /// there are no stripes.
    pub(crate) fn around(&self, units: Range<u64>) -> Option<ArrayRange> {
        let stripe = |geometry: &Geometry| {
            let stripes = geometry.stripes()?;
            Some(geometry.chunk().get() * u64::from(stripes.data_disks()))
        };
        let (a, b) = (stripe(&self.old)?, stripe(&self.new)?);
        let whole = (a / gcd(a, b)).checked_mul(b)?;
        let start = units.start * UNIT / whole * whole;
        let end = (units.end * UNIT).next_multiple_of(whole);
        (end <= self.content).then(|| ArrayRange::new(start, end - start))
    }

    /// Sectors from one position that may be recorded to the next.
    pub(crate) fn step(&self) -> u64 {
        self.old.chunk().get().max(self.new.chunk().get()).max(UNIT) * self.width()
    }

    /// Units of two stripes: a run that is longer is more than what sums of regular content can pretend.
    pub(crate) fn regular(&self) -> u64 {
        let stripe = |geometry: &Geometry| {
            let width = geometry.sectors().get() / geometry.component().get().max(1);
            geometry.chunk().get() * width.max(1) / UNIT
        };
        2 * stripe(&self.old).max(stripe(&self.new))
    }

    /// Whether neither place of a unit is one for parity in the other geometry. A sum of regular
    /// content, or of one block and zeros, may look like content.
    pub(crate) fn is_plain(&self, unit: u64) -> bool {
        let sector = ArraySector::new(unit * UNIT);
        let at = |geometry: &Geometry| geometry.at(sector)?.places.first().copied();
        let (Some(old), Some(new)) = (at(&self.old), at(&self.new)) else { return false };
        let is_sum = |on: On| matches!(on, On::P { .. } | On::Q { .. });
        let in_new = self.moved(old).map(|place| self.new.on(place.slot, place.sector));
        let in_old = self.moved_back(new).map(|place| self.old.on(place.slot, place.sector));
        !in_new.is_some_and(is_sum) && !in_old.is_some_and(is_sum)
    }

    /// How many units stand at both places when the front is at `time`.
    pub(crate) fn band(&self, time: u64) -> u64 {
        let units = self.content / UNIT;
        let passed = |of: fn(&Self, u64) -> u64| self.passed(time, of).min(units);
        passed(Self::born).saturating_sub(passed(Self::dies))
    }

    /// Whether a unit's new place is its old one.
    pub(crate) fn stays(&self, unit: u64) -> bool {
        let sector = ArraySector::new(unit.saturating_mul(UNIT));
        let (Some(old), Some(new)) = (self.old.at(sector), self.new.at(sector)) else {
            return false;
        };
        let moved = old.places.first().and_then(|place| self.moved(*place));
        moved.is_some() && moved == new.places.first().copied()
    }

    /// Units among which are all whose time by `of` lies in `times`.
    pub(crate) fn units_of(
        &self,
        times: &Range<u64>,
        of: impl Fn(&Self, u64) -> u64,
    ) -> Range<u64> {
        let units = self.content / UNIT;
        // Times follow the array but for the order inside a stripe.
        let stripe = |geometry: &Geometry| {
            2 * u64::from(geometry.raid_disks()) * geometry.chunk().get() / UNIT + 1
        };
        let slack = stripe(&self.old).max(stripe(&self.new));
        let passed = |time| self.passed(time, &of);
        let (first, last) = (passed(times.start), passed(times.end));
        let (first, last) = (first.saturating_sub(slack), last.saturating_add(slack).min(units));
        match self.direction {
            Direction::Forwards => first..last,
            Direction::Backwards => units - last..units - first,
        }
    }

    /// How many units, in the order of the walk, have a time by `of` before `time`; but for the
    /// order inside a stripe.
    fn passed(&self, time: u64, of: impl Fn(&Self, u64) -> u64) -> u64 {
        let units = self.content / UNIT;
        let (mut low, mut high) = (0, units);
        while low < high {
            let middle = low.midpoint(high);
            let unit = match self.direction {
                Direction::Forwards => middle,
                Direction::Backwards => units - 1 - middle,
            };
            if of(self, unit) < time {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        low
    }
}

fn gcd(a: u64, b: u64) -> u64 {
    if b == 0 { a } else { gcd(b, a % b) }
}
