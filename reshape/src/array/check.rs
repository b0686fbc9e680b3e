//! Scrubbing: every stripe against its parity, every copy against the others; and mending.
//!
//! All members are read at once in long spans. Mismatches are counted as the kernel counts them:
//! 8 sectors for each row of 4 KiB whose parity is wrong, 128 sectors for each run of mirrors that
//! differs. With two parities the wrong member can be named; it is the one that is mended. With one,
//! or with mirrors that stand one against one, nobody can tell: parity is computed anew, the first
//! copy counts. Nor where Q stays on the last member, and mdadm has left parities of other blocks.
//!
//! A member that cannot be written is not written again, and counts no more where that was tried; as long as it can be
//! read, the other rows are mended with what it holds, for what is missing of them later has to come from parity
//! that is right. Then it has to leave.

use std::collections::VecDeque;
use std::sync::Arc;

use kcopy::{Device, Extent, Job, Sectors};
use smallvec::SmallVec;

use super::holes::Holes;
use super::leaving::{FailedMember, flush_members};
use super::rows::{Mismatch, Same, Span, Verify};
use super::{Array, ArrayError, Map, View};
use crate::geometry::{Geometry, On, Place};
use crate::mover::{Durability, MoveError, Mover};
use crate::parity::{Block, Role, fill};
use crate::units::{ArraySector, MemberSector, Slot};

/// Sectors of each member in one job: progress shows, and a bad sector costs one job's second try.
const SPAN: u64 = 32768;
/// Jobs on their way at once.
const IN_FLIGHT: usize = 4;
/// Sectors that the kernel counts together on mirrors: 64 KiB.
const MIRROR_UNIT: u64 = 128;

/// What a scrub found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CheckReport {
    /// Sectors that disagree, counted as the kernel does.
    pub mismatch_sectors: u64,
    /// Where, in the order of the members' rows; neighbours with the same culprit are one.
    pub wrong: Vec<Wrong>,
    /// What could not be read: member, first sector, how many.
    pub unreadable: Vec<(Slot, MemberSector, u64)>,
    /// Places in `wrong` and `unreadable` that were mended.
    pub repaired: u64,
    /// Members that could not be written or flushed: they have to leave. [`super::Session::repair`] sees to it.
    pub failed: Vec<FailedMember>,
}

impl CheckReport {
    /// What is to be mended, as [`Wrong`] counts: start, sectors, and the member that is wrong.
    pub(super) fn places(&self, geometry: &Geometry) -> Vec<(u64, u64, Option<Slot>)> {
        let wrong = self.wrong.iter().map(|w| (w.start.get(), w.sectors, w.slot));
        let lost = self.unreadable.iter().map(|(slot, start, sectors)| {
            let at = match geometry.on(*slot, *start) {
                On::Data(sector) if geometry.stripes().is_none() => sector.get(),
                On::Data(_) | On::P { .. } | On::Q { .. } | On::Unused => start.get(),
            };
            (at, *sectors, Some(*slot))
        });
        wrong.chain(lost).collect()
    }
}

/// Where things disagree.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Wrong {
    /// Where on the members; for RAID10 in the array.
    pub start: MemberSector,
    /// How many sectors.
    pub sectors: u64,
    /// The member that is wrong, if that can be told.
    pub slot: Option<Slot>,
}

/// What to do about mismatches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mend {
    /// Nothing: read only.
    Report,
    /// Make them agree.
    Repair,
}

#[derive(Debug)]
enum Probe {
    Rows(Arc<Verify>),
    Copies(Arc<Same>),
}

/// A span of rows, or one of a mirror's runs.
#[derive(Clone, Debug)]
struct Piece {
    places: SmallVec<[Place; 4]>,
    sectors: u64,
    /// What mismatches are counted from: the member's sector, RAID10: the array's.
    base: u64,
}

impl Piece {
    /// `sectors` of it from `at` on.
    fn part(&self, at: u64, sectors: u64) -> Self {
        let shifted = |place: &Place| {
            let sector = MemberSector::new(place.sector.get() + at);
            Place { sector, ..*place }
        };
        let places = self.places.iter().map(shifted).collect();
        Self { places, sectors, base: self.base + at }
    }
}

struct Scrub<'a> {
    mover: &'a mut Mover,
    view: &'a View,
    flights: slab::Slab<(Piece, Probe)>,
    again: VecDeque<Piece>,
    /// What of a piece is not holes of all members.
    parts: VecDeque<Piece>,
    holes: Holes,
    report: CheckReport,
    found: Vec<Mismatch>,
    /// What could not be written: nobody knows what stands there.
    unwritten: Vec<(Place, u64)>,
}

impl Array {
    /// Reads everything and compares; with [`Mend::Repair`] makes it agree, durably.
    ///
    /// `moved` is called with the bytes read of each member so far; it returns false to stop.
    ///
    /// # Errors
    ///
    /// An array that is being reshaped, or a failed write, or [`MoveError::Cancelled`]. What cannot
    /// be read is reported.
    pub fn check(
        &self,
        mover: &mut Mover,
        mend: Mend,
        moved: &mut dyn FnMut(u64) -> bool,
    ) -> Result<CheckReport, ArrayError> {
        let Map::Whole(view) = &self.map else { return Err(ArrayError::Reshaping) };
        let mut scrub = Scrub {
            mover,
            view,
            flights: slab::Slab::new(),
            again: VecDeque::new(),
            parts: VecDeque::new(),
            holes: Holes::default(),
            report: CheckReport::default(),
            found: Vec::new(),
            unwritten: Vec::new(),
        };
        let result = scrub.run(moved);
        scrub.drain();
        result?;
        scrub.conclude();
        if mend == Mend::Repair {
            scrub.repair()?;
        }
        Ok(scrub.report)
    }
}

/// The pieces that cover every row, or every mirrored run, once.
fn pieces(geometry: &Geometry) -> Box<dyn Iterator<Item = Piece> + '_> {
    let disks = geometry.raid_disks();
    let end = geometry.component().get();
    let spans = move |end: u64| {
        (0..end.div_ceil(SPAN)).map(move |n| Piece {
            places: (0..disks)
                .map(|slot| Place { slot: Slot::new(slot), sector: MemberSector::new(n * SPAN) })
                .collect(),
            sectors: SPAN.min(end - n * SPAN),
            base: n * SPAN,
        })
    };
    if geometry.stripes().is_some() {
        return Box::new(spans(end));
    }
    if geometry.mirrors().is_none() {
        // RAID1 is one long mirror; levels without redundancy have nothing to compare.
        let mirrored = geometry.level() == crate::geometry::Level::Raid1;
        return Box::new(spans(if mirrored { end } else { 0 }));
    }
    let chunk = geometry.chunk().get();
    Box::new((0..geometry.sectors().get() / chunk).filter_map(move |number| {
        let at = geometry.at(ArraySector::new(number * chunk))?;
        Some(Piece { places: at.places, sectors: chunk, base: number * chunk })
    }))
}

impl Scrub<'_> {
    fn run(&mut self, moved: &mut dyn FnMut(u64) -> bool) -> Result<(), ArrayError> {
        let mut done = 0;
        let limit = match self.view.geometry().mirrors() {
            Some(_) => IN_FLIGHT * 64,
            None => IN_FLIGHT,
        };
        let mut pieces = pieces(self.view.geometry());
        loop {
            while self.flights.len() < limit {
                let Some(piece) = self.again.pop_front().or_else(|| self.parts.pop_front()) else {
                    let Some(whole) = pieces.next() else { break };
                    done += self.leave_holes_out(&whole) * kcopy::SECTOR_SIZE;
                    if self.parts.is_empty() && !moved(done) {
                        return Err(MoveError::Cancelled.into());
                    }
                    continue;
                };
                self.begin(&piece)?;
            }
            if self.flights.is_empty() && self.again.is_empty() {
                return Ok(());
            }
            done += self.wait()? * kcopy::SECTOR_SIZE;
            if !moved(done) {
                return Err(MoveError::Cancelled.into());
            }
        }
    }

    /// What is to be read of a piece: not what all members have holes in, for zeros agree. Returns the sectors that
    /// are left out.
    fn leave_holes_out(&mut self, piece: &Piece) -> u64 {
        let (extents, _) = self.there(piece);
        let sector = |bytes: u64| bytes / kcopy::SECTOR_SIZE;
        for part in self.holes.data_in(&extents) {
            self.parts.push_back(piece.part(sector(part.start), sector(part.end - part.start)));
        }
        piece.sectors - self.parts.iter().map(|part| part.sectors).sum::<u64>().min(piece.sectors)
    }

    /// Where a piece lies on the members that are there.
    fn there(&self, piece: &Piece) -> (SmallVec<[Extent; 16]>, SmallVec<[Slot; 16]>) {
        let len = Sectors::new(piece.sectors);
        let extent = |place: &Place| {
            let leg = self.view.leg(place.slot).filter(|leg| leg.is_good(place.sector, len))?;
            Some((leg.extent(place.sector, len)?, place.slot))
        };
        piece.places.iter().filter_map(extent).unzip()
    }

    /// Reads a piece from every member that is there.
    fn begin(&mut self, piece: &Piece) -> Result<(), ArrayError> {
        let (extents, slots) = self.there(piece);
        let geometry = self.view.geometry();
        let start = piece.base * kcopy::SECTOR_SIZE;
        let probe = match geometry.stripes() {
            Some(stripes) => {
                let chunk = geometry.chunk().get() * kcopy::SECTOR_SIZE;
                let span = Span { stripes: *stripes, chunk, start, slots: slots.clone() };
                Probe::Rows(Arc::new(Verify::new(span)))
            }
            None => {
                let chunk = geometry.chunk().get();
                let unit =
                    if geometry.mirrors().is_some() { chunk.min(MIRROR_UNIT) } else { MIRROR_UNIT };
                let end = geometry.sectors().get() * kcopy::SECTOR_SIZE;
                Probe::Copies(Arc::new(Same::new(start, unit * kcopy::SECTOR_SIZE, end)))
            }
        };
        if extents.len() < 2 {
            return Ok(());
        }
        let mut job = match &probe {
            Probe::Rows(verify) => Job::stripe(0, Arc::clone(verify) as Arc<dyn kcopy::Transform>),
            Probe::Copies(same) => Job::stripe(0, Arc::clone(same) as Arc<dyn kcopy::Transform>),
        };
        for extent in extents {
            job = job.from(extent);
        }
        let places = piece.places.iter().copied().filter(|p| slots.contains(&p.slot)).collect();
        let key = self.flights.insert((Piece { places, ..piece.clone() }, probe));
        let submitted = self.mover.submit(job, u64::try_from(key).unwrap_or(u64::MAX));
        if submitted.is_err() {
            self.flights.remove(key);
        }
        Ok(submitted?)
    }

    /// Takes in one outcome; returns the sectors that are done.
    fn wait(&mut self) -> Result<u64, ArrayError> {
        let Some(done) = self.mover.next()? else { return Ok(0) };
        let key = usize::try_from(done.tag).unwrap_or(usize::MAX);
        let Some((piece, probe)) = self.flights.try_remove(key) else { return Ok(0) };
        if let Some((source, _)) = done.outcome.read {
            self.unreadable(&piece, source);
            return Ok(0);
        }
        if done.outcome.cancelled {
            return Err(MoveError::Cancelled.into());
        }
        self.found.extend(match probe {
            Probe::Rows(verify) => verify.take(),
            Probe::Copies(same) => same.take(),
        });
        Ok(piece.sectors)
    }

    /// A member could not read some of a piece: smaller pieces tell where.
    fn unreadable(&mut self, piece: &Piece, source: usize) {
        if piece.sectors > 8 {
            let first = (piece.sectors / 2).next_multiple_of(8);
            for (at, sectors) in [(0, first), (first, piece.sectors - first)] {
                if sectors > 0 {
                    self.again.push_back(piece.part(at, sectors));
                }
            }
            return;
        }
        let Some(place) = piece.places.get(source) else { return };
        self.report.unreadable.push((place.slot, place.sector, piece.sectors));
        // The others are compared without it.
        let mut rest = piece.clone();
        rest.places.remove(source);
        self.again.push_back(rest);
    }

    fn drain(&mut self) {
        while !self.flights.is_empty() {
            if self.wait().is_err() {
                break;
            }
        }
        self.flights.clear();
    }

    /// Where Q stays on the last member, no data is called wrong once other rows have both parities wrong: mdadm puts a
    /// section back there with the parities of other blocks, and these may agree on one that nobody has written.
    fn doubt_data(&mut self) {
        let geometry = self.view.geometry();
        let is_apart = geometry.stripes().is_some_and(|stripes| stripes.q_is_apart());
        if !is_apart || self.found.iter().all(|found| found.slot.is_some()) {
            return;
        }
        let is_data = |slot: Slot, at| matches!(geometry.on(slot, at), On::Data(_));
        for found in &mut self.found {
            found.slot = found.slot.filter(|slot| !is_data(*slot, found.start));
        }
    }

    /// Counts, and joins neighbours.
    fn conclude(&mut self) {
        self.found.sort_unstable_by_key(|mismatch| mismatch.start);
        self.found.dedup();
        self.doubt_data();
        self.report.unreadable.sort_unstable();
        for found in &self.found {
            self.report.mismatch_sectors += found.sectors;
            let last = self.report.wrong.last_mut();
            match last
                .filter(|w| w.slot == found.slot && w.start.get() + w.sectors == found.start.get())
            {
                Some(last) => last.sectors += found.sectors,
                None => self.report.wrong.push(Wrong {
                    start: found.start,
                    sectors: found.sectors,
                    slot: found.slot,
                }),
            }
        }
    }

    fn repair(&mut self) -> Result<(), ArrayError> {
        for (start, sectors, slot) in self.report.places(self.view.geometry()) {
            let step = self.repair_step();
            let lacking = self.unwritten.len();
            let mut at = start;
            while at < start + sectors {
                // Not across a chunk: roles and copies change there.
                let end = (start + sectors).min((at / step + 1) * step);
                self.mend(at, end - at, slot)?;
                at = end;
            }
            self.report.repaired += u64::from(self.unwritten.len() == lacking);
        }
        let failed = &self.report.failed;
        let members = self.view.legs().filter_map(|(slot, leg)| {
            let is_failed = failed.iter().any(|member| member.slot == Some(slot));
            Some((slot, leg.filter(|_| !is_failed)?.device.clone()))
        });
        let members: Vec<(Slot, Device)> = members.collect();
        self.report.failed.extend(flush_members(self.mover, &members)?);
        Ok(())
    }

    fn repair_step(&self) -> u64 {
        match self.view.geometry().chunk().get() {
            0 => SPAN,
            chunk => chunk.min(SPAN),
        }
    }

    /// Makes one row agree: `at` is the member's sector, for RAID10 the array's.
    fn mend(&mut self, at: u64, sectors: u64, wrong: Option<Slot>) -> Result<(), ArrayError> {
        if self.view.geometry().stripes().is_some() {
            return self.mend_stripe(at, sectors, wrong);
        }
        let found =
            self.view.geometry().at(ArraySector::new(at)).ok_or(ArrayError::Inconsistent)?;
        let mut copies = Vec::new();
        for place in &found.places {
            let content = self.read(*place, sectors);
            if content.is_some() || self.view.leg(place.slot).is_some() {
                copies.push((*place, content));
            }
        }
        // The content that most copies have; the first of them if they stand one against one.
        let votes = |bytes: &Vec<u8>| {
            copies.iter().filter(|(_, other)| other.as_ref() == Some(bytes)).count()
        };
        let contents = copies.iter().rev().filter_map(|(_, content)| content.as_ref());
        let Some(right) = contents.max_by_key(|bytes| votes(bytes)).cloned() else {
            return Ok(());
        };
        for (place, content) in copies {
            if content.as_ref() != Some(&right) {
                self.write(place, right.clone())?;
            }
        }
        Ok(())
    }

    fn mend_stripe(
        &mut self,
        at: u64,
        sectors: u64,
        wrong: Option<Slot>,
    ) -> Result<(), ArrayError> {
        let geometry = self.view.geometry();
        let stripes = *geometry.stripes().ok_or(ArrayError::Inconsistent)?;
        let stripe = at / geometry.chunk().get();
        let role = |slot| match stripes.part(stripe, slot) {
            crate::geometry::Part::Data { power, .. } => Role::Data(power),
            crate::geometry::Part::P => Role::P,
            crate::geometry::Part::Q => Role::Q,
        };
        let sector = MemberSector::new(at);
        let mut contents: Vec<(Slot, Option<Vec<u8>>)> = Vec::new();
        for slot in (0..stripes.disks()).map(Slot::new) {
            let suspect = match wrong {
                Some(wrong) => wrong == slot,
                // Nobody knows which block is wrong: data counts.
                None => matches!(role(slot), Role::P | Role::Q),
            };
            let content = if suspect { None } else { self.read(Place { slot, sector }, sectors) };
            contents.push((slot, content));
        }
        let bytes = usize::try_from(sectors * kcopy::SECTOR_SIZE).unwrap_or(0);
        let mut computed: Vec<(Slot, Vec<u8>)> = contents
            .iter()
            .filter(|(_, content)| content.is_none())
            .map(|(slot, _)| (*slot, vec![0; bytes]))
            .collect();
        let known = contents.iter().filter_map(|(slot, content)| {
            content.as_ref().map(|content| Block::known(role(*slot), content))
        });
        let wanted = computed.iter_mut().map(|(slot, bytes)| Block::wanted(role(*slot), bytes));
        let mut blocks: Vec<Block<'_>> = known.chain(wanted).collect();
        let filled = fill(&mut blocks).is_ok();
        drop(blocks);
        if !filled {
            let start = stripe * u64::from(stripes.data_disks()) * geometry.chunk().get();
            return Err(ArrayError::Unreadable { range: super::Range::new(start, sectors) });
        }
        for (slot, bytes) in computed {
            if self.view.leg(slot).is_some() {
                self.write(Place { slot, sector }, bytes)?;
            }
        }
        Ok(())
    }

    /// The sectors at a place, if they can be read.
    fn read(&mut self, place: Place, sectors: u64) -> Option<Vec<u8>> {
        let len = Sectors::new(sectors);
        let (start, end) = (place.sector.get(), place.sector.get() + sectors);
        let is_unknown = |(at, count): &(Place, u64)| {
            at.slot == place.slot && at.sector.get() < end && start < at.sector.get() + count
        };
        if self.unwritten.iter().any(is_unknown) {
            return None;
        }
        let leg = self.view.leg(place.slot).filter(|leg| leg.is_good(place.sector, len))?;
        let extent = leg.extent(place.sector, len)?;
        let bytes = usize::try_from(extent.len).ok()?;
        self.mover.read(&extent.device, extent.offset, bytes).ok()
    }

    fn write(&mut self, place: Place, bytes: Vec<u8>) -> Result<(), ArrayError> {
        let leg = self.view.leg(place.slot).ok_or(ArrayError::Inconsistent)?;
        let len = Sectors::from_bytes_floor(u64::try_from(bytes.len()).unwrap_or(0));
        let extent = leg.extent(place.sector, len).ok_or(ArrayError::Inconsistent)?;
        let has_failed = self.report.failed.iter().any(|member| member.slot == Some(place.slot));
        if !has_failed {
            match self.mover.write(&extent.device, extent.offset, bytes, Durability::Later) {
                Err(MoveError::Write { path, fault }) => {
                    self.report.failed.push(FailedMember { slot: Some(place.slot), path, fault });
                }
                ended => return Ok(ended?),
            }
        }
        self.unwritten.push((place, len.get()));
        Ok(())
    }
}
