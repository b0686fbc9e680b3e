//! Where the front of a reshape is, from what was seen of rows and units. Pure.
//!
//! Each thing seen is a statement about the front: a row that verifies as a new stripe and not as
//! an old one lies before it, content that stands at its new and at its old place was born and did
//! not die yet, and so on. A front is as good as the number of statements that it makes wrong; a
//! thing that is true of every front (zeros, both readings verify) is no statement, only counted.
//!
//! ```text
//!   time        0 ........................ front ...................... end
//!   rows        new  new  new  new  (torn)   |   old  old   ?   old  old
//!   content     differs            same same |same  differs          differs
//! ```

use std::collections::BTreeSet;
use std::ops::{Range, RangeInclusive};

use super::costs::{Costs, Tally};
use super::look::Says;
use super::walk::{NEVER, UNIT, Walk};
use crate::geometry::On;
use crate::metadata::Direction;
use crate::units::ArraySector;

/// Times around the front in which rows may have been written out of order: more than the kernel's
/// stripe cache has by default.
const NEAR: u64 = 1024;

/// What a row of 4 KiB was seen to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RowSeen {
    /// It verifies as a row of the old stripes, and not as one of the new ones.
    Old,
    /// The other way round.
    New,
    /// It verifies as neither.
    Torn,
    /// It cannot be one of the old stripes; of the new ones nothing is known.
    NotOld,
    /// It cannot be one of the new stripes; of the old ones nothing is known.
    NotNew,
    /// Zeros, or both verify, or there is nothing to verify.
    Unknown,
}

impl RowSeen {
    /// From what the row says about the stripes of either geometry, if that can be told. Regular content adds up
    /// by accident: a sum alone says nothing where the other geometry has no parity that could contradict it.
    pub(crate) fn from(old: Option<Says>, new: Option<Says>) -> Self {
        match (old, new) {
            (Some(Says::Sum), None) | (None, Some(Says::Sum)) | (None, None) => Self::Unknown,
            (Some(old), Some(new)) => match (old.verifies(), new.verifies()) {
                (true, false) => Self::Old,
                (false, true) => Self::New,
                (false, false) => Self::Torn,
                (true, true) => Self::Unknown,
            },
            (Some(old), None) if old.verifies() => Self::Old,
            (Some(_), None) => Self::NotOld,
            (None, Some(new)) if new.verifies() => Self::New,
            (None, Some(_)) => Self::NotNew,
        }
    }
}

/// What a unit of the array was seen to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum UnitSeen {
    /// Its old and its new place have the same content, and it is not uniform.
    Same,
    /// They differ.
    Differs,
    /// They are one place.
    Stays,
    /// They cannot be read, or have the same byte everywhere.
    Unknown,
}

/// What a backup says about a unit that it holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SavedSeen {
    /// Its content stands at the new place and not at the old one.
    Moved,
    /// Its content stands at the old place and not at the new one.
    Waiting,
    /// It stands at both.
    Both,
    /// It stands at neither.
    Neither,
    /// It is uniform.
    Unknown,
    /// It is uniform, and stands at neither.
    Blank,
    /// It cannot be compared: a member that has one of its places is not here, or cannot be read.
    Unread,
}

/// All that was seen.
#[derive(Clone, Debug, Default)]
pub(crate) struct Evidence {
    costs: Costs,
    /// Times of rows, in any order until they are sorted; unknown ones are left out.
    rows: Vec<(Range<u64>, RowSeen)>,
    /// Units of the array in its order, those that follow joined; unknown ones are left out.
    units: Vec<(Range<u64>, UnitSeen)>,
    /// Rows that speak for the new stripes, for the old ones, for neither, by time.
    pub(crate) is_new: Tally,
    pub(crate) is_old: Tally,
    pub(crate) is_torn: Tally,
    pub(crate) unknown: Tally,
    /// Units that a backup speaks about.
    pub(crate) saved: u64,
    /// Which backup, which units, what was seen.
    compared: Vec<(usize, Range<u64>, SavedSeen)>,
    /// Of these, and of uniform ones, those that stand at neither place.
    nowhere: Vec<(usize, Range<u64>)>,
    /// Backups of which some units could not be compared.
    partly: BTreeSet<usize>,
}

impl Evidence {
    /// Rows with these times were seen.
    pub(crate) fn rows(&mut self, times: Range<u64>, seen: RowSeen) {
        if times.start == NEVER || times.is_empty() {
            return;
        }
        match seen {
            RowSeen::Old => {
                self.costs.not_passed(times.clone());
                self.is_old.add(times.clone(), 1);
            }
            RowSeen::New => {
                self.costs.passed(times.clone());
                self.is_new.add(times.clone(), 1);
            }
            RowSeen::NotOld => self.costs.passed(times.clone()),
            RowSeen::NotNew => self.costs.not_passed(times.clone()),
            RowSeen::Torn => self.is_torn.add(times.clone(), 1),
            RowSeen::Unknown => return self.unknown.add(times, 1),
        }
        match self.rows.last_mut() {
            Some((last, same)) if *same == seen && last.end == times.start => last.end = times.end,
            Some((last, same)) if *same == seen && times.end == last.start => {
                last.start = times.start;
            }
            _ => self.rows.push((times, seen)),
        }
    }

    /// Units that follow in the array were seen, in its order.
    pub(crate) fn units(&mut self, units: Range<u64>, seen: UnitSeen) {
        if units.is_empty() || seen == UnitSeen::Unknown {
            return;
        }
        match self.units.last_mut() {
            // What stays where it is changes nothing for its neighbours.
            Some((last, same))
                if last.end == units.start && (*same == seen || seen == UnitSeen::Stays) =>
            {
                last.end = units.end;
            }
            _ if seen == UnitSeen::Stays => {}
            _ => self.units.push((units, seen)),
        }
    }

    /// Runs of units that stand at both places, with nothing between them that differs.
    fn alike(&self) -> impl Iterator<Item = Vec<Range<u64>>> {
        let groups = self.units.chunk_by(|(_, one), (_, other)| one == other);
        let same = groups.filter(|group| group.iter().any(|(_, seen)| *seen == UnitSeen::Same));
        same.map(|group| group.iter().map(|(units, _)| units.clone()).collect())
    }

    /// Those of them that are no accident.
    fn bands(&self, walk: &Walk) -> Vec<Vec<Range<u64>>> {
        self.alike().filter(|runs| walk.is_band(runs)).collect()
    }

    /// What all that was seen costs each front, and when the units are born that stand at both
    /// places.
    fn weigh(&self, walk: &Walk) -> (Costs, Tally) {
        self.weigh_if(walk, &|_| true)
    }

    /// The same, of the units that differ with those only that tell something by it.
    fn weigh_if(&self, walk: &Walk, tells: &dyn Fn(u64) -> bool) -> (Costs, Tally) {
        let (mut costs, mut alive) = (self.costs.clone(), Tally::default());
        for units in self.bands(walk).into_iter().flatten() {
            weigh_same(walk, units, (&mut costs, &mut alive));
        }
        let in_bands = alive.clone();
        for (units, seen) in &self.units {
            match seen {
                UnitSeen::Same if in_bands.at(walk.born(units.start)) > 0 => {}
                UnitSeen::Same => {
                    for unit in units.clone().filter(|unit| walk.is_plain(*unit)) {
                        weigh_same(walk, unit..unit + 1, (&mut costs, &mut alive));
                    }
                }
                UnitSeen::Differs => {
                    let telling = those(units.clone(), tells).into_iter();
                    for (_, born, dies) in telling.flat_map(|units| spans(walk, units)) {
                        // Where it dies before it is born the places differ at all times.
                        if dies.start > born.start {
                            costs.between(born, dies);
                        }
                    }
                }
                UnitSeen::Stays | UnitSeen::Unknown => {}
            }
        }
        (costs, alive)
    }

    /// Backup `backup` has these units.
    pub(crate) fn saved(&mut self, walk: &Walk, backup: usize, units: Range<u64>, seen: SavedSeen) {
        for (part, born, dies) in spans(walk, units.clone()) {
            if matches!(seen, SavedSeen::Moved | SavedSeen::Waiting) {
                self.saved += part.end - part.start;
            }
            match seen {
                SavedSeen::Moved => self.costs.passed(born),
                SavedSeen::Waiting if dies.start < born.start => self.costs.not_passed(dies),
                SavedSeen::Waiting => self.costs.not_passed(born),
                SavedSeen::Both
                | SavedSeen::Neither
                | SavedSeen::Unknown
                | SavedSeen::Blank
                | SavedSeen::Unread => {}
            }
        }
        if seen == SavedSeen::Unread {
            self.partly.insert(backup);
        }
        if matches!(seen, SavedSeen::Neither | SavedSeen::Blank) {
            self.nowhere.push((backup, units.clone()));
        }
        if matches!(seen, SavedSeen::Unknown | SavedSeen::Blank | SavedSeen::Unread) {
            return;
        }
        match self.compared.last_mut() {
            Some((same, last, alike))
                if *same == backup && *alike == seen && last.end == units.start =>
            {
                last.end = units.end;
            }
            _ => self.compared.push((backup, units, seen)),
        }
    }

    /// Whether some of what a backup holds still waits to be moved.
    pub(crate) fn waits(&self, backup: usize) -> bool {
        let waiting = |(index, _, seen): &(usize, Range<u64>, SavedSeen)| {
            *index == backup && *seen == SavedSeen::Waiting
        };
        self.compared.iter().any(waiting)
    }

    /// Whether what a backup holds waits to be moved, all of it of which anything can be told.
    pub(crate) fn all_waits(&self, backup: usize) -> bool {
        let of_it = self.compared.iter().filter(|(index, ..)| *index == backup);
        let waits = |seen: SavedSeen| matches!(seen, SavedSeen::Waiting | SavedSeen::Both);
        self.waits(backup) && of_it.into_iter().all(|(_, _, seen)| waits(*seen))
    }

    /// Whether all that a backup holds was moved, of what anything can be told. What cannot be compared says so only
    /// beside what was.
    pub(crate) fn all_moved(&self, backup: usize) -> bool {
        let is_known = |seen: SavedSeen| matches!(seen, SavedSeen::Moved | SavedSeen::Both);
        let mut of_it = self.compared.iter().filter(|(index, ..)| *index == backup);
        let mut moved = !self.partly.contains(&backup);
        let known = of_it.all(|(_, _, seen)| {
            moved |= *seen == SavedSeen::Moved;
            is_known(*seen)
        });
        known && moved
    }

    /// Whether nothing of what a backup holds depends on where the walk is: all of it stays where it is, or is
    /// uniform. What cannot be compared may be anything.
    pub(crate) fn is_mute(&self, backup: usize) -> bool {
        let of_it = self.compared.iter().filter(|(index, ..)| *index == backup);
        !self.partly.contains(&backup)
            && of_it.into_iter().all(|(_, _, seen)| *seen == SavedSeen::Both)
    }

    /// What backups hold and stands at neither place: which backup, and units.
    pub(crate) fn nowhere(&self) -> &[(usize, Range<u64>)] {
        &self.nowhere
    }

    /// Of the units that a backup has: how many stand on the members, and how many of those for
    /// which `counts` holds do not.
    pub(crate) fn compared(&self, backup: usize, counts: impl Fn(u64) -> bool) -> (u64, u64) {
        let (mut agrees, mut differs) = (0, 0);
        for (_, units, seen) in self.compared.iter().filter(|(index, ..)| *index == backup) {
            match seen {
                SavedSeen::Moved | SavedSeen::Waiting | SavedSeen::Both => {
                    agrees += units.end - units.start;
                }
                SavedSeen::Neither => {
                    let counted = units.clone().filter(|unit| counts(*unit)).count();
                    differs += u64::try_from(counted).unwrap_or(0);
                }
                SavedSeen::Unknown | SavedSeen::Blank | SavedSeen::Unread => {}
            }
        }
        (agrees, differs)
    }
}

/// Units that stand at both places: the front lies behind where they are born, and not behind where
/// they die.
fn weigh_same(walk: &Walk, units: Range<u64>, (costs, alive): (&mut Costs, &mut Tally)) {
    for (_, born, dies) in spans(walk, units) {
        alive.add(born.clone(), 1);
        costs.passed(born);
        costs.not_passed(dies);
    }
}

/// Of each of `runs`: from the first to the last unit for which something holds.
fn parts(runs: Vec<Range<u64>>, holds: impl Fn(&u64) -> bool) -> Vec<Range<u64>> {
    let part = |units: Range<u64>| {
        let first = units.clone().find(|unit| holds(unit))?;
        Some(first..units.rev().find(|unit| holds(unit))? + 1)
    };
    runs.into_iter().filter_map(part).collect()
}

/// Parts of `units` for which something holds.
fn those(units: Range<u64>, holds: impl Fn(u64) -> bool) -> Vec<Range<u64>> {
    let mut parts: Vec<Range<u64>> = Vec::new();
    for unit in units.filter(|unit| holds(*unit)) {
        match parts.last_mut() {
            Some(last) if last.end == unit => last.end += 1,
            _ => parts.push(unit..unit + 1),
        }
    }
    parts
}

/// Parts of `units` whose times follow each other, and those times.
fn spans(walk: &Walk, units: Range<u64>) -> Vec<(Range<u64>, Range<u64>, Range<u64>)> {
    let mut spans: Vec<(Range<u64>, Range<u64>, Range<u64>)> = Vec::new();
    for unit in units {
        let (born, dies) = (walk.born(unit), walk.dies(unit));
        // One that dies when it is born tells nothing.
        if born == NEVER || born == dies {
            continue;
        }
        let joins = |span: &Range<u64>, time: u64| match walk.direction() {
            Direction::Forwards => span.end == time,
            Direction::Backwards => span.start == time.saturating_add(1),
        };
        let both_never = |span: &Range<u64>| span.start == NEVER && dies == NEVER;
        match spans.last_mut() {
            Some((part, b, d)) if joins(b, born) && (joins(d, dies) || both_never(d)) => {
                part.end = unit + 1;
                let extend = |span: &mut Range<u64>, time: u64| match walk.direction() {
                    _ if time == NEVER => {}
                    Direction::Forwards => span.end = time + 1,
                    Direction::Backwards => span.start = time,
                };
                extend(b, born);
                extend(d, dies);
            }
            _ => {
                let one = |time: u64| time..time.saturating_add(1);
                spans.push((unit..unit + 1, one(born), one(dies)));
            }
        }
    }
    spans
}

/// What the evidence says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Decision {
    /// The front is somewhere here: all before the first time was written, nothing from the last on.
    pub(crate) front: RangeInclusive<u64>,
    /// The position to go on from.
    pub(crate) resume: ArraySector,
    /// Whether that position is one that is recorded.
    pub(crate) as_recorded: bool,
    /// Units that stand at both places, and tell so by their number.
    pub(crate) agreeing: u64,
    /// Statements that are wrong for it.
    pub(crate) contradicting: u64,
    /// The evidence allows other fronts just as well, and no record tells.
    pub(crate) is_ambiguous: bool,
    /// The front that fits best is behind the freshest record, and nothing speaks for it but a backup, or what too few
    /// members show; or nothing speaks for any. The record is taken then, and not believed.
    pub(crate) is_untold: bool,
    /// What was moved again after its source had been overwritten.
    pub(crate) overrun: Option<Overran>,
}

/// Units that a walk took from where an earlier, longer one had already overwritten them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Overran {
    /// They are among these.
    units: Range<u64>,
    /// The last time that the earlier walk had passed.
    until: u64,
}

impl Decision {
    /// The front is at `place`, for another reason than what was seen of rows and units.
    pub(crate) fn at(walk: &Walk, place: ArraySector, recorded: ArraySector) -> Self {
        let time = walk.time(place);
        Self {
            front: time..=time,
            resume: place,
            as_recorded: place == recorded,
            agreeing: 0,
            contradicting: 0,
            is_ambiguous: false,
            is_untold: false,
            overrun: None,
        }
    }
}

impl Overran {
    /// Whether a unit is one of them.
    pub(crate) fn has(&self, walk: &Walk, unit: u64) -> bool {
        self.units.contains(&unit) && walk.dies(unit) <= self.until
    }

    /// The first and the last of them are among these.
    pub(crate) fn units(&self) -> Range<u64> {
        self.units.clone()
    }
}

/// Finds the front. `claims` are recorded positions, the most credible first; `spared` are units
/// that a backup holds.
pub(crate) fn decide(
    evidence: &Evidence,
    walk: &Walk,
    claims: &[ArraySector],
    spared: &dyn Fn(u64) -> bool,
) -> Decision {
    let (costs, alive) = evidence.weigh(walk);
    let (mut contradicting, best) = costs.best(walk.total());
    let (mut recorded, mut since) = (evidence.recorded(walk, claims, spared, &best), 0);
    if recorded.is_none()
        && let Some((found, others, turn)) = evidence.turned(walk, claims, spared)
    {
        (recorded, contradicting, since) = (Some(found), others, turn);
    }
    if recorded.is_none() {
        // What was being written beyond the record is where units differ that were moved before.
        let tells = |unit: u64| !evidence.is_overwritten(walk, unit);
        let (others, best) = evidence.weigh_if(walk, &tells).0.best(walk.total());
        recorded = evidence.recorded(walk, claims, spared, &best);
        contradicting = if recorded.is_some() { others } else { contradicting };
    }
    let fits = recorded.is_some();
    let (front, resume) = recorded.unwrap_or_else(|| {
        let front = evidence.likeliest(walk, &best, claims);
        let resume = walk.position(*front.start());
        (front, resume)
    });
    // Without parity only what stands twice tells. A reshape that was turned around has moved nothing behind the
    // place where it turned, and all that says so looks as if nothing had been moved at all.
    let is_turned = !walk.has_parity()
        && *front.start() == 0
        && claims.iter().any(|claim| walk.time(*claim) > 0);
    let is_several = (best.len() > 1 || evidence.is_alive_behind(walk, *front.end()))
        && !evidence.explains(walk, &front, &best);
    let agreeing = alive.before(walk.total());
    // The driver records what it has moved, so nobody is behind the freshest record; what a backup holds beside a
    // member that is missing is no witness that this one is. Nor is a band: it may be the footprint of an earlier walk,
    // and the one at the record at places that are not here.
    let is_behind = claims.first().is_some_and(|claim| *front.end() < walk.time(*claim));
    let is_seen = agreeing > 0 && !walk.lacks_members();
    let is_untold = (is_behind && !is_seen && !walk.verifies())
        || (!fits && agreeing == 0 && evidence.only_denies(walk));
    let as_recorded = fits && !is_untold;
    let is_ambiguous = is_untold || (!fits && (is_turned || is_several));
    let (front, resume) = match claims.first().filter(|_| is_untold) {
        Some(claim) => (walk.time(*claim)..=walk.time(*claim), *claim),
        None => (front, resume),
    };
    let overrun = evidence.overrun(walk, &front);
    let front = match is_untold {
        true => front,
        false => evidence.widened(walk, (front, since), overrun.as_ref()),
    };
    Decision {
        front,
        resume,
        as_recorded,
        agreeing,
        contradicting,
        is_ambiguous,
        is_untold,
        overrun,
    }
}

impl Evidence {
    /// Whether no row and no backup says what a place holds, but only what it does not: that is no front.
    fn only_denies(&self, walk: &Walk) -> bool {
        let rows = |tally: &Tally| tally.before(walk.total());
        rows(&self.is_new) == 0 && rows(&self.is_old) == 0 && self.saved == 0
    }

    /// Whether all that was seen of units fits a recorded position, and nothing contradicts it; and how many of
    /// them stand at both places.
    pub(crate) fn confirms(&self, walk: &Walk, position: ArraySector) -> (bool, u64) {
        let (costs, alive) = self.weigh(walk);
        let (contradicting, best) = costs.best(walk.total());
        let fits = self.recorded(walk, &[position], &|_| false, &best).is_some();
        (fits && contradicting == 0, alive.before(walk.total()))
    }

    /// The first of the recorded positions that is as good as any, and the front there.
    fn recorded(
        &self,
        walk: &Walk,
        claims: &[ArraySector],
        spared: &dyn Fn(u64) -> bool,
        best: &[RangeInclusive<u64>],
    ) -> Option<(RangeInclusive<u64>, ArraySector)> {
        claims.iter().find_map(|claim| {
            let (from, to) = (walk.time(*claim), walk.sound_until(*claim, spared));
            let both = |range: &RangeInclusive<u64>| {
                let both = from.max(*range.start())..=to.min(*range.end());
                (!both.is_empty()).then_some(both)
            };
            let mut fits = best.iter().filter_map(both);
            let front = fits.rfind(|front| !self.is_alive_behind(walk, *front.end()))?;
            Some((front, *claim))
        })
    }

    /// The same for a growth without parity that was turned around: what it had not come to never stood at
    /// places of the larger array. Where the band that ends at the front begins it may have turned; that time,
    /// and how many statements contradict, are given as well.
    fn turned(
        &self,
        walk: &Walk,
        claims: &[ArraySector],
        spared: &dyn Fn(u64) -> bool,
    ) -> Option<((RangeInclusive<u64>, ArraySector), u64, u64)> {
        if walk.has_parity() || !walk.loses_members() {
            return None;
        }
        claims.iter().find_map(|claim| {
            let at = walk.time(*claim);
            let alive = |unit: &u64| walk.born(*unit) < at && walk.dies(*unit) >= at;
            let shown = self.bands(walk).into_iter().map(|runs| parts(runs, alive));
            let shown = shown.filter(|shown| walk.is_band(shown)).flatten().flatten();
            let turn = shown.filter(alive).map(|unit| walk.born(unit)).min()?;
            // What was born before may never have stood at its old place.
            let tells = |unit: u64| walk.born(unit) >= turn;
            let (contradicting, best) = self.weigh_if(walk, &tells).0.best(walk.total());
            let found = self.recorded(walk, &[*claim], spared, &best)?;
            Some((found, contradicting, turn))
        })
    }

    /// Whether many units that are born only behind `front` stand at both places all the same: a
    /// longer walk was here before.
    fn is_alive_behind(&self, walk: &Walk, front: u64) -> bool {
        let early = |unit: &u64| {
            let born = walk.born(*unit);
            born < NEVER && born >= front.saturating_add(NEAR)
        };
        self.bands(walk).into_iter().any(|runs| walk.is_band(&parts(runs, early)))
    }

    /// The front to be taken of several that are as good as each other: the last one if that explains the
    /// others, else what is next to the best recorded position.
    fn likeliest(
        &self,
        walk: &Walk,
        best: &[RangeInclusive<u64>],
        claims: &[ArraySector],
    ) -> RangeInclusive<u64> {
        let last = best.last().cloned().unwrap_or(0..=0);
        if self.explains(walk, &last, best) {
            return last;
        }
        let recorded = claims.first().map_or(0, |claim| walk.time(*claim));
        let distance = |front: &&RangeInclusive<u64>| {
            front.start().saturating_sub(recorded).max(recorded.saturating_sub(*front.end()))
        };
        best.iter().min_by_key(distance).cloned().unwrap_or(last)
    }

    /// Whether all other fronts are explained by walks that ended earlier.
    fn explains(
        &self,
        walk: &Walk,
        front: &RangeInclusive<u64>,
        best: &[RangeInclusive<u64>],
    ) -> bool {
        let overrun = self.overrun(walk, front);
        best.len() <= 1 || overrun.is_some()
    }

    /// The units that a walk took from where an earlier, longer one had already overwritten them.
    /// The last of them stand at the place where they were taken from.
    fn overrun(&self, walk: &Walk, front: &RangeInclusive<u64>) -> Option<Overran> {
        let dead = |unit: &u64| walk.dies(*unit) < *front.start();
        let shown = self.alike().map(|runs| parts(runs, dead));
        let shown = shown.filter(|shown| walk.is_footprint(shown));
        let shown: Vec<Range<u64>> = shown.flatten().collect();
        let until =
            shown.iter().cloned().flatten().filter(dead).map(|unit| walk.dies(unit)).max()?;
        // Of the last row that it took, what is a place for parity now does not show it.
        let units = walk.content().get() / UNIT;
        let units = match walk.direction() {
            Direction::Forwards => {
                let end = shown.iter().map(|units| units.end).max()?;
                0..end.saturating_add(walk.regular()).min(units)
            }
            Direction::Backwards => {
                let start = shown.iter().map(|units| units.start).min()?;
                start.saturating_sub(walk.regular())..units
            }
        };
        Some(Overran { units, until })
    }

    /// Whether the old place of a unit holds what comes there next. Then its places differ for that, and do not say
    /// that it was never written to the new one. A sum, and what lies behind the content, stand nowhere else, but
    /// are written with the rest of their row.
    fn is_overwritten(&self, walk: &Walk, unit: u64) -> bool {
        let is_same = |unit: u64| {
            let run = self.units.partition_point(|(units, _)| units.end <= unit);
            let found = self.units.get(run).filter(|(units, _)| units.contains(&unit));
            found.is_some_and(|(_, seen)| *seen == UnitSeen::Same)
        };
        match walk.successor(unit) {
            Some(On::Data(sector)) if sector.get() < walk.content().get() => {
                is_same(sector.get() / UNIT)
            }
            Some(On::Data(_) | On::P { .. } | On::Q { .. }) => {
                let time = walk.dies(unit);
                let mut row = walk.units_of(&(time..time.saturating_add(1)), Walk::born);
                self.is_torn.at(time) > 0
                    || self.is_new.at(time) > 0
                    || row.any(|unit| walk.born(unit) == time && is_same(unit))
            }
            Some(On::Unused) | None => false,
        }
    }

    /// The front with what was written out of order around it.
    fn widened(
        &self,
        walk: &Walk,
        (front, since): (RangeInclusive<u64>, u64),
        overrun: Option<&Overran>,
    ) -> RangeInclusive<u64> {
        let (mut first, mut last) = front.into_inner();
        loop {
            let near = first.saturating_sub(NEAR)..last.saturating_add(NEAR);
            let mut hull = first..last;
            let mut wrong = |times: Range<u64>| {
                let times = times.start.max(near.start)..times.end.min(near.end);
                if !times.is_empty() {
                    hull = hull.start.min(times.start)..hull.end.max(times.end);
                }
            };
            for (times, seen) in &self.rows {
                match seen {
                    RowSeen::Torn => wrong(times.clone()),
                    RowSeen::New | RowSeen::NotOld => wrong(times.start.max(last)..times.end),
                    RowSeen::Old | RowSeen::NotNew => wrong(times.start..times.end.min(first)),
                    RowSeen::Unknown => {}
                }
            }
            let born = walk.units_of(&near, Walk::born);
            let dying = walk.units_of(&near, Walk::dies);
            for (units, seen) in &self.units {
                for window in [&born, &dying] {
                    for unit in units.start.max(window.start)..units.end.min(window.end) {
                        let (born, dies) = (walk.born(unit), walk.dies(unit));
                        let one = |time: u64| time..time.saturating_add(1);
                        let alive = born >= since && born < first && dies >= last;
                        match seen {
                            _ if overrun.is_some_and(|overrun| overrun.has(walk, unit)) => {}
                            UnitSeen::Same if !walk.is_plain(unit) => {}
                            UnitSeen::Same if born >= last => wrong(one(born)),
                            UnitSeen::Same if dies < first => wrong(one(dies)),
                            UnitSeen::Differs if alive => {
                                wrong(one(dies));
                                if !self.is_overwritten(walk, unit) {
                                    wrong(one(born));
                                }
                            }
                            UnitSeen::Same
                            | UnitSeen::Differs
                            | UnitSeen::Stays
                            | UnitSeen::Unknown => {}
                        }
                    }
                }
            }
            if hull == (first..last) {
                return first..=last;
            }
            (first, last) = (hull.start, hull.end);
        }
    }
}
