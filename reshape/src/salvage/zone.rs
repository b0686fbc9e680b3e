//! Around the front: which place of which member has been written, from what stands there.
//!
//! Members that are cut off at different moments leave rows of which some blocks are new and some
//! old. Each place there is settled by what must be true of it:
//!
//! - the same content at the new and at the old place: the new one is written, the old one is not;
//! - different content: not both of these;
//! - copies of a mirror that are alike at one of the two places only: that one has the content;
//! - a row that verifies as one kind of stripe only: all of its blocks are of that kind, unless one of them is known
//!   not to be: what members wrote that are torn may cancel out in the sum;
//! - a row that does not verify, all of whose blocks but one are known to be of a kind: the one is
//!   not.
//!
//! What stays open is said to be open.

use std::collections::{BTreeSet, HashMap};
use std::ops::RangeInclusive;

use kcopy::{SECTOR_SIZE, Sectors};
use smallvec::SmallVec;

use super::look::{Lens, Says, is_uniform};
use super::walk::{NEVER, UNIT, Walk};
use crate::array::View;
use crate::geometry::{On, Place};
use crate::mover::Mover;
use crate::parity::Role;
use crate::units::{ArraySector, MemberSector, Slot};

/// Sectors that are read at once: 256 KiB.
const SEGMENT: u64 = 512;
/// More rows than this are not looked at block by block: 256 MiB of each member.
const MOST: u64 = 65536;

/// Which reading of the members.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Side {
    /// The geometry before the reshape.
    Old,
    /// The one after it.
    New,
}

/// Where the content of a unit is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Found {
    /// At its place in a reading.
    At(Side),
    /// To be computed from its row in a reading, without these members.
    Computed(Side, SmallVec<[Slot; 2]>),
    /// It cannot be told whether it is at either place.
    Open,
    /// Neither place has it, nor can it be computed.
    Gone,
}

/// A place on a device: slot and sector from the start of the device's data by the new offset.
type Key = (u32, i64);
/// Where a unit was, where it is to be, and whether both places have the same content.
type Pair = (Place, Place, bool);
/// A row of 4 KiB of a reading, and what its blocks say.
type Row = (Side, u64, Says);

/// See the module.
pub(super) struct Zone<'a> {
    mover: &'a mut Mover,
    walk: &'a Walk,
    old: &'a View,
    new: &'a View,
    front: RangeInclusive<u64>,
    states: HashMap<Key, Side>,
    /// Segments of devices that were read; `None` could not be.
    segments: HashMap<(u32, u64), Option<Vec<u8>>>,
}

impl<'a> Zone<'a> {
    pub(super) fn new(
        mover: &'a mut Mover,
        walk: &'a Walk,
        (old, new): (&'a View, &'a View),
        front: RangeInclusive<u64>,
    ) -> Self {
        let (states, segments) = (HashMap::new(), HashMap::new());
        Self { mover, walk, old, new, front, states, segments }
    }

    /// Settles what can be settled; then [`Zone::find`] tells.
    pub(super) fn settle(&mut self) {
        let rows = self.front.end().saturating_sub(*self.front.start());
        if rows > MOST {
            return;
        }
        let times = *self.front.start()..*self.front.end();
        let mut units = BTreeSet::new();
        for window in
            [self.walk.units_of(&times, Walk::born), self.walk.units_of(&times, Walk::dies)]
        {
            units.extend(window);
        }
        let mut pairs: Vec<Pair> = Vec::new();
        let mut plain: Vec<Pair> = Vec::new();
        for unit in units {
            let pair = self.pair(unit);
            pairs.extend(pair);
            plain.extend(pair.filter(|_| self.walk.is_plain(unit)));
        }
        let rows = self.rows(&times);
        for (old, new, same) in &pairs {
            self.compare_copies(*old, *new, *same);
        }
        // What agrees with P and Q is sure. What torn members have written may cancel out in a sum. Content may stand
        // by chance where parity was or is to be, that of one block beside blank ones: it comes last.
        for (side, row, says) in rows.iter().filter(|(.., says)| *says == Says::Agree) {
            self.judge(*side, *row, *says);
        }
        let others = rows.iter().filter(|(.., says)| *says != Says::Sum);
        self.follow(&plain, &others.copied().collect::<Vec<Row>>());
        self.follow(&plain, &rows);
        self.follow(&pairs, &rows);
    }

    /// All that follows from pairs of places and from rows.
    fn follow(&mut self, pairs: &[Pair], rows: &[Row]) {
        loop {
            let before = self.states.len();
            for (old, new, same) in pairs {
                self.compare(*old, *new, *same);
            }
            for (side, row, says) in rows {
                self.judge(*side, *row, *says);
            }
            if self.states.len() == before {
                return;
            }
        }
    }

    /// Copies that are all alike at one of the two places of a mirrored unit, and not at the other, tell where it
    /// is: what stands at a place of another time differs from one copy to the next, or says nothing.
    fn compare_copies(&mut self, old: Place, new: Place, same: bool) {
        if same {
            return;
        }
        match (self.copies_agree(Side::Old, old), self.copies_agree(Side::New, new)) {
            (Some(true), Some(false)) => {
                self.set(Side::Old, old, Side::Old);
                self.set(Side::New, new, Side::Old);
            }
            (Some(false), Some(true)) => {
                self.set(Side::Old, old, Side::New);
                self.set(Side::New, new, Side::New);
            }
            (Some(true), Some(true)) | (Some(false), Some(false)) | (None, _) | (_, None) => {}
        }
    }

    /// Whether all copies of what is at a place can be read and are alike; `None` if there is one only.
    fn copies_agree(&mut self, side: Side, first: Place) -> Option<bool> {
        let geometry = self.view(side).geometry();
        let On::Data(sector) = geometry.on(first.slot, first.sector) else { return None };
        let places = geometry.at(sector)?.places;
        let blocks: SmallVec<[Vec<u8>; 4]> =
            places.iter().filter_map(|place| self.block(side, *place)).collect();
        let (one, others) = blocks.split_first()?;
        (!others.is_empty()).then(|| others.iter().all(|other| other == one))
    }

    /// The two places of a unit, if both can be read and it moves, and whether they are the same.
    /// Uniform content is left out.
    fn pair(&mut self, unit: u64) -> Option<Pair> {
        if self.walk.stays(unit) {
            return None;
        }
        let sector = ArraySector::new(unit * UNIT);
        let old = self.old.geometry().at(sector)?.places.first().copied()?;
        let new = self.new.geometry().at(sector)?.places.first().copied()?;
        let (one, other) = (self.block(Side::Old, old)?, self.block(Side::New, new)?);
        (one != other || !is_uniform(&one)).then_some((old, new, one == other))
    }

    /// The rows of both kinds that have a block written between two times, and whether they verify:
    /// as their own kind only.
    fn rows(&mut self, times: &std::ops::Range<u64>) -> Vec<Row> {
        let mut numbers: BTreeSet<(Side, u64)> = BTreeSet::new();
        let slots = self.old.geometry().raid_disks().max(self.new.geometry().raid_disks());
        for row in times.clone().map(|time| self.walk.row_time(time)).filter(|row| *row < NEVER) {
            numbers.insert((Side::New, row));
            for slot in (0..slots).map(Slot::new) {
                let place = Place { slot, sector: MemberSector::new(row * UNIT) };
                let old = self.walk.moved_back(place).map(|old| old.sector.get() / UNIT);
                numbers.extend(old.map(|old| (Side::Old, old)));
            }
        }
        let mut rows = Vec::new();
        let paired = self.walk.common_shift();
        for (side, row) in numbers {
            let Some(says) = self.says(side, row) else { continue };
            let (other, by) = match side {
                Side::Old => (Side::New, paired.map(i64::wrapping_neg)),
                Side::New => (Side::Old, paired),
            };
            let twin = by.and_then(|by| row.checked_add_signed(by));
            let also = twin.and_then(|twin| self.says(other, twin));
            // A row that verifies as both tells nothing by that, nor one whose members may be torn, nor one that adds
            // up by accident where no other parity could contradict it.
            let tells = paired.is_some()
                && (says != Says::Sum || also.is_some())
                && !also.is_some_and(Says::verifies)
                && !Says::may_be_torn(Some(says), also);
            if tells || !says.verifies() {
                rows.push((side, row, says));
            }
        }
        rows
    }

    fn view(&self, side: Side) -> &'a View {
        match side {
            Side::Old => self.old,
            Side::New => self.new,
        }
    }

    /// The members' blocks of a row.
    fn row(&self, side: Side, row: u64) -> SmallVec<[Place; 16]> {
        let view = self.view(side);
        if row >= view.geometry().component().get() / UNIT {
            return SmallVec::new();
        }
        let slots = (0..view.geometry().raid_disks()).map(Slot::new);
        slots.map(|slot| Place { slot, sector: MemberSector::new(row * UNIT) }).collect()
    }

    fn says(&mut self, side: Side, row: u64) -> Option<Says> {
        let lens = Lens::of(self.view(side))?;
        let places = self.row(side, row);
        let blocks: SmallVec<[(Slot, Vec<u8>); 16]> = places
            .iter()
            .filter_map(|place| Some((place.slot, self.block(side, *place)?)))
            .collect();
        if blocks.iter().all(|(_, bytes)| bytes.iter().all(|byte| *byte == 0)) {
            return None;
        }
        let known: SmallVec<[(Slot, &[u8]); 16]> =
            blocks.iter().map(|(slot, bytes)| (*slot, &bytes[..])).collect();
        lens.says(row, &known)
    }

    fn key(&self, side: Side, place: Place) -> Key {
        let place = match side {
            Side::New => Some(place),
            Side::Old => self.walk.moved(place),
        };
        // Places before the new data begins are never written, and need no name.
        let name = |place: Place| {
            (place.slot.get(), i64::try_from(place.sector.get() / UNIT).unwrap_or(-1))
        };
        place.map_or((u32::MAX, -1), name)
    }

    /// What is known of a place.
    fn state(&self, side: Side, place: Place) -> Option<Side> {
        let time = match side {
            Side::New => self.walk.written(place),
            Side::Old => self.walk.overwritten(place),
        };
        if time < *self.front.start() {
            return Some(Side::New);
        }
        if time >= *self.front.end() {
            return Some(Side::Old);
        }
        self.states.get(&self.key(side, place)).copied()
    }

    fn set(&mut self, side: Side, place: Place, state: Side) {
        if self.state(side, place).is_none() {
            self.states.insert(self.key(side, place), state);
        }
    }

    fn compare(&mut self, old: Place, new: Place, same: bool) {
        if same {
            self.set(Side::Old, old, Side::Old);
            self.set(Side::New, new, Side::New);
            return;
        }
        if self.state(Side::Old, old) == Some(Side::Old) {
            self.set(Side::New, new, Side::Old);
        }
        if self.state(Side::New, new) == Some(Side::New) {
            self.set(Side::Old, old, Side::New);
        }
    }

    fn judge(&mut self, side: Side, row: u64, says: Says) {
        let places = self.row(side, row);
        if says.verifies() {
            // A row of which a block is known to be of the other kind agrees by chance.
            let is_other =
                |place: &Place| self.state(side, *place).is_some_and(|state| state != side);
            if !places.iter().any(is_other) {
                places.iter().for_each(|place| self.set(side, *place, side));
            }
            return;
        }
        let mut others = places.iter().filter(|place| self.state(side, **place) != Some(side));
        if let (Some(one), None) = (others.next().copied(), others.next()) {
            let other = match side {
                Side::Old => Side::New,
                Side::New => Side::Old,
            };
            self.set(side, one, other);
        }
    }

    /// Where the content of a unit is.
    pub(super) fn find(&mut self, unit: u64) -> Found {
        let sector = ArraySector::new(unit * UNIT);
        let place = |view: &View| view.geometry().at(sector)?.places.first().copied();
        let (Some(old), Some(new)) = (place(self.old), place(self.new)) else { return Found::Gone };
        let sides = [(Side::New, new), (Side::Old, old)];
        if let Some((side, _)) = sides.iter().find(|(side, at)| self.has(unit, *side, *at)) {
            return Found::At(*side);
        }
        if let Some(found) = sides.iter().find_map(|(side, at)| self.computed(*side, *at)) {
            return found;
        }
        let dead = self.state(Side::Old, old) == Some(Side::New)
            && self.state(Side::New, new) == Some(Side::Old);
        if dead { Found::Gone } else { Found::Open }
    }

    /// Whether a reading is known to give a unit: from its place, or from the rest of its row if the member that
    /// has its place is not here.
    pub(super) fn stands(&self, unit: u64, side: Side) -> bool {
        let sector = ArraySector::new(unit * UNIT);
        let at = self.view(side).geometry().at(sector);
        let place = at.and_then(|at| at.places.first().copied());
        place.is_some_and(|place| {
            self.has(unit, side, place) || self.computed(side, place) == Some(Found::At(side))
        })
    }

    /// Whether a unit is known to stand at its place in a reading, on a member that is here. What stays where it is
    /// does so in any case; but its row may be of the other kind, and does not give it if the member is missing.
    fn has(&self, unit: u64, side: Side, at: Place) -> bool {
        let view = self.view(side);
        let places = view.geometry().at(ArraySector::new(unit * UNIT)).map(|at| at.places);
        let is_here = |place: &Place| view.is_good(place.slot, place.sector, Sectors::new(UNIT));
        places.is_some_and(|places| places.iter().any(is_here))
            && (self.walk.stays(unit) || self.state(side, at) == Some(side))
    }

    /// How a block is computed from blocks of its kind: as the reading does by itself, if all that is left out is
    /// not here.
    fn computed(&self, side: Side, at: Place) -> Option<Found> {
        let (without, view) = (self.computable(side, at)?, self.view(side));
        let is_here = |slot: &Slot| view.is_good(*slot, at.sector, Sectors::new(UNIT));
        let found = if without.iter().any(is_here) {
            Found::Computed(side, without)
        } else {
            Found::At(side)
        };
        Some(found)
    }

    /// Whether both places of a unit have the same content.
    pub(super) fn is_same(&mut self, unit: u64) -> bool {
        let sector = ArraySector::new(unit * UNIT);
        let place = |view: &View| view.geometry().at(sector)?.places.first().copied();
        let (Some(old), Some(new)) = (place(self.old), place(self.new)) else { return false };
        let one = self.block(Side::Old, old);
        one.is_some() && one == self.block(Side::New, new)
    }

    /// The members without which a block of a row can be computed from blocks of its kind.
    fn computable(&self, side: Side, at: Place) -> Option<SmallVec<[Slot; 2]>> {
        let view = self.view(side);
        let lens = Lens::of(view)?;
        let row = at.sector.get() / UNIT;
        let without: SmallVec<[Slot; 2]> = self
            .row(side, row)
            .into_iter()
            .filter(|place| {
                let there = view.is_good(place.slot, place.sector, Sectors::new(UNIT));
                !there || place.slot == at.slot || self.state(side, *place) != Some(side)
            })
            .map(|place| place.slot)
            .collect();
        let is_parity = |slot: &&Slot| matches!(lens.role(row, **slot), Role::P | Role::Q);
        let lost_parity = without.iter().filter(is_parity).count();
        let parity = usize::try_from(lens.stripes.parity_disks()).unwrap_or(0);
        let enough = without.len() - lost_parity <= parity.saturating_sub(lost_parity);
        enough.then_some(without)
    }

    /// The 4 KiB at a place.
    fn block(&mut self, side: Side, place: Place) -> Option<Vec<u8>> {
        let leg = self.view(side).leg(place.slot)?;
        if !leg.is_good(place.sector, Sectors::new(UNIT)) {
            return None;
        }
        let start = place.sector.on_device(leg.data_offset)?.get();
        let mut bytes = Vec::new();
        for sector in start..start + UNIT {
            let key = (place.slot.get(), sector / SEGMENT);
            if !self.segments.contains_key(&key) {
                let from = key.1 * SEGMENT * SECTOR_SIZE;
                let length = (SEGMENT * SECTOR_SIZE).min(leg.device.size().saturating_sub(from));
                let length = usize::try_from(length).ok()?;
                let read = self.mover.read(&leg.device, from, length).ok();
                self.segments.insert(key, read);
            }
            let at = usize::try_from(sector % SEGMENT * SECTOR_SIZE).ok()?;
            let end = at + usize::try_from(SECTOR_SIZE).ok()?;
            bytes.extend_from_slice(self.segments.get(&key)?.as_ref()?.get(at..end)?);
        }
        Some(bytes)
    }
}
