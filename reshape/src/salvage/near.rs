//! Whether the recorded position is right, without reading everything.
//!
//! Where all data moves by the same room on as many members as before, content stands at its new and at its old
//! place behind the front; this band is as long as the room. So it is enough to look at all units where
//! the band has to be, and elsewhere at little pieces that no other band can pass between:
//!
//! ```text
//!   half a band each      ┌─┐ ┌─┐ ┌─┐ ┌─────────────────┐ ┌─┐ ┌─┐ ┌─┐
//!   a few units           differ  ..  |same.........same|differ  ..
//!                                        recorded position ┘
//! ```
//!
//! A second band elsewhere is the front or the footprint of another walk. One that is longer than the room,
//! or torn, or does not reach the position contradicts, as does anything else that is seen there; and zeros are
//! no evidence. Then nothing is said, and everything has to be read.

use std::ops::Range;

use super::front::{Evidence, UnitSeen};
use super::look::Look;
use super::reach::shows_bands;
use super::walk::{UNIT, Walk};
use super::{Readings, SalvageError, claims};
use crate::array::{ArrayError, Members};
use crate::assemble::Assembly;
use crate::metadata::Direction;
use crate::mover::Mover;
use crate::units::ArraySector;

/// Units of one probe: 64 KiB.
const PROBE: u64 = 16;

/// Whether what stands around the recorded position proves that it is right, and nothing elsewhere speaks
/// for another one. `false` says only that this is no proof: [`super::find`] reads everything.
///
/// `moved` is called with the bytes read so far; it returns false to stop early.
///
/// # Errors
///
/// No reshape is recorded, members are missing, or the backend broke.
pub fn is_proven(
    mover: &mut Mover,
    members: &Members,
    assembly: &Assembly,
    moved: &mut dyn FnMut(u64) -> bool,
) -> Result<bool, SalvageError> {
    let Readings { reshape, old, new, walk } = Readings::open(members, assembly)?;
    let agree = claims(members, assembly);
    let agree = agree.iter().all(|claim| claim.position == Some(reshape.position));
    if !walk.only_shifts() || !agree || !shows_bands(&walk, (&old, &new)) {
        return Ok(false);
    }
    let mut look = Look::new(mover, &walk, &old, &new);
    let mut near = Near { walk: &walk, look: &mut look, position: reshape.position, moved };
    let proven = near.is_proven();
    look.abandon();
    Ok(proven?)
}

struct Near<'a, 'b> {
    walk: &'a Walk,
    look: &'a mut Look<'b>,
    position: ArraySector,
    moved: &'a mut dyn FnMut(u64) -> bool,
}

impl Near<'_, '_> {
    fn is_proven(&mut self) -> Result<bool, ArrayError> {
        let (done, enough) = (self.done(), self.walk.regular());
        let reach = self.walk.band(self.walk.time(self.position)) + 2 * enough;
        let own = done.saturating_sub(reach)..done.saturating_add(reach).min(self.units());
        let mut evidence = Evidence::default();
        for (units, seen) in self.see(own.clone())? {
            evidence.units(units, seen);
        }
        let (fits, same) = evidence.confirms(self.walk, self.position);
        // Where nothing was moved there is no band at all.
        let is_shown = same >= enough || (same == 0 && done == 0);
        Ok(fits && is_shown && self.is_alone(own)?)
    }

    /// Units of the array.
    fn units(&self) -> u64 {
        self.walk.content().get() / UNIT
    }

    /// Unit `index` in the order of the walk.
    fn nth(&self, index: u64) -> u64 {
        match self.walk.direction() {
            Direction::Forwards => index,
            Direction::Backwards => self.units() - 1 - index,
        }
    }

    /// Units from the start of the walk to the recorded position.
    fn done(&self) -> u64 {
        let units = (self.position.get() / UNIT).min(self.units());
        match self.walk.direction() {
            Direction::Forwards => units,
            Direction::Backwards => self.units() - units,
        }
    }

    /// What was seen of the units from one to another in the order of the walk.
    fn see(&mut self, indices: Range<u64>) -> Result<Vec<(Range<u64>, UnitSeen)>, ArrayError> {
        if indices.is_empty() {
            return Ok(Vec::new());
        }
        let (one, other) = (self.nth(indices.start), self.nth(indices.end - 1));
        self.look.at_units(one.min(other)..one.max(other) + 1, self.moved)
    }

    /// Whether there is no band but in `own`, by its places in the order of the walk.
    fn is_alone(&mut self, own: Range<u64>) -> Result<bool, ArrayError> {
        let mut at = 0;
        while at < self.units() {
            if own.contains(&at) {
                at = own.end;
                continue;
            }
            // Half of a band that would end here: one that is anywhere has all of such a part.
            let born = self.walk.born(self.nth(at));
            let half = self.walk.band(born.saturating_add(1)) / 2;
            let mut end = (at + half.max(PROBE)).min(self.units());
            if own.start > at {
                end = end.min(own.start);
            }
            if self.has_band(at..end)? {
                return Ok(false);
            }
            at = end;
        }
        Ok(true)
    }

    /// Whether a part of the array may be of a band: a few units of it, all of them if those tell
    /// nothing.
    fn has_band(&mut self, part: Range<u64>) -> Result<bool, ArrayError> {
        let middle = part.start.midpoint(part.end);
        let probe = middle.saturating_sub(PROBE / 2).max(part.start);
        let probe = probe..(probe + PROBE).min(part.end);
        for indices in [probe, part] {
            let mut differs = false;
            for (units, seen) in self.see(indices)? {
                match seen {
                    UnitSeen::Same if units.clone().any(|unit| self.walk.is_plain(unit)) => {
                        return Ok(true);
                    }
                    UnitSeen::Differs => differs = true,
                    UnitSeen::Same | UnitSeen::Stays | UnitSeen::Unknown => {}
                }
            }
            if differs {
                return Ok(false);
            }
        }
        Ok(false)
    }
}
