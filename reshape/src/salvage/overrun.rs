//! What a second walk has overwritten, put together from where it has carried it.
//!
//! A walk that is begun again at the start takes each unit from its old place, where the first walk may have
//! written another one by then, and carries that other one to the new place of the unit:
//!
//! ```text
//!   content          0    1    2    3    4    5  ...
//!   after the first  n0   n1   n2   n3   n4   n5      n2 is where 0 was, n3 where 1 was
//!   after the second n0=2 n1=3 n2=4 n3=5 ...          0 and 1 are nowhere, 2 stands at n0
//! ```
//!
//! A new place that was one for parity before is taken by nobody. But the rest of its row was carried, and tells
//! it as a row tells any block that is missing.

use std::ops::Range;
use std::sync::Arc;

use kcopy::{SECTOR_SIZE, Sectors};
use smallvec::SmallVec;

use super::content::Source;
use super::front::Overran;
use super::look::Lens;
use super::walk::{UNIT, Walk};
use crate::array::{Array, ArrayError, Range as Sector, Target, View};
use crate::geometry::Place;
use crate::mover::{Gather, Mover};
use crate::parity::{Block, fill};
use crate::units::{ArraySector, MemberSector, Slot};

/// See the module.
#[derive(Clone, Debug)]
pub(super) struct Overrun {
    walk: Walk,
    units: Overran,
}

/// The blocks of a row by their slots, each with the unit at whose new place it is now.
type Row = SmallVec<[(Slot, Option<u64>); 16]>;

impl Overrun {
    pub(super) fn new(walk: &Walk, units: Overran) -> Self {
        Self { walk: walk.clone(), units }
    }

    /// Where a unit is now; `None` for one that was not overrun.
    pub(super) fn source(&self, new: &View, unit: u64) -> Option<Source> {
        self.units.has(&self.walk, unit).then(|| self.found(new, unit))
    }

    /// The first and the last unit that were overrun are among these.
    pub(super) fn units(&self) -> Range<u64> {
        self.units.units()
    }

    fn found(&self, new: &View, unit: u64) -> Source {
        let Some(place) = self.place(new, unit) else { return Source::Lost };
        if let Some(at) = self.carried(place) {
            return Source::Carried(ArraySector::new(at * UNIT));
        }
        let missing = self.row(new, place).iter().filter(|(_, at)| at.is_none()).count();
        let parities = Lens::of(new).map_or(0, |lens| lens.stripes.parity_disks());
        let enough = u32::try_from(missing).is_ok_and(|missing| missing <= parities);
        if enough { Source::Summed } else { Source::Lost }
    }

    fn place(&self, new: &View, unit: u64) -> Option<Place> {
        let at = new.geometry().at(ArraySector::new(unit * UNIT))?;
        at.places.first().copied()
    }

    /// The unit at whose new place is what the first walk wrote to a new place.
    fn carried(&self, place: Place) -> Option<u64> {
        self.walk.carrier(place).filter(|unit| self.units.has(&self.walk, *unit))
    }

    fn row(&self, new: &View, place: Place) -> Row {
        let slots = (0..new.geometry().raid_disks()).map(Slot::new);
        slots.map(|slot| (slot, self.carried(Place { slot, ..place }))).collect()
    }

    /// The 4 KiB of a unit, computed from the rest of its row; `None` if that cannot be read.
    pub(super) fn compute(
        &self,
        mover: &mut Mover,
        (new, array): (&View, &Array),
        unit: u64,
    ) -> Result<Option<Vec<u8>>, ArrayError> {
        let (Some(place), Some(lens)) = (self.place(new, unit), Lens::of(new)) else {
            return Ok(None);
        };
        let start = place.sector.get() / UNIT * UNIT;
        let row = self.row(new, Place { sector: MemberSector::new(start), ..place });
        let mut known: SmallVec<[(Slot, Vec<u8>); 16]> = SmallVec::new();
        for (slot, at) in &row {
            let Some(at) = at else { continue };
            let bytes = usize::try_from(UNIT * SECTOR_SIZE).unwrap_or(usize::MAX);
            let gather = Arc::new(Gather::new(bytes));
            let range = Sector { start: ArraySector::new(at * UNIT), sectors: Sectors::new(UNIT) };
            let target = Target::Memory(Arc::clone(&gather));
            let report = array.read_to(mover, range, &target, &mut |_| true)?;
            if report.unreadable.is_empty() {
                known.push((*slot, gather.take()));
            }
        }
        let mut computed = vec![0; known.first().map_or(0, |(_, bytes)| bytes.len())];
        let role = |slot| lens.role(start / UNIT, slot);
        let mut blocks: SmallVec<[Block<'_>; 16]> =
            known.iter().map(|(slot, bytes)| Block::known(role(*slot), bytes)).collect();
        for (slot, _) in row.iter().filter(|(slot, _)| *slot != place.slot) {
            if !known.iter().any(|(other, _)| other == slot) {
                blocks.push(Block::missing(role(*slot)));
            }
        }
        blocks.push(Block::wanted(role(place.slot), &mut computed));
        let filled = fill(&mut blocks).is_ok();
        drop(blocks);
        Ok((filled && !computed.is_empty()).then_some(computed))
    }
}
