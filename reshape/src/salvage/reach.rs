//! What cannot be read of a piece because too few members are there. Pure.

use std::ops::Range as Units;

use kcopy::Sectors;

use super::walk::UNIT;
use crate::array::View;
use crate::geometry::Place;
use crate::units::{ArraySector, MemberSector, Slot};

/// Units among `units` that a reading neither has nor can compute, as if `without` were missing, too.
pub(super) fn out_of_reach(view: &View, without: &[Slot], units: Units<u64>) -> Vec<Units<u64>> {
    let is_there = |slot: Slot| {
        !without.contains(&slot) && view.leg(slot).is_some_and(|leg| leg.good_to.is_none())
    };
    if units.is_empty() || view.geometry().enough(is_there) {
        return Vec::new();
    }
    let mut out: Vec<Units<u64>> = Vec::new();
    for unit in units.filter(|unit| !is_in_reach(view, without, *unit)) {
        match out.last_mut() {
            Some(last) if last.end == unit => last.end = unit + 1,
            _ => out.push(unit..unit + 1),
        }
    }
    out
}

fn is_in_reach(view: &View, without: &[Slot], unit: u64) -> bool {
    let geometry = view.geometry();
    let Some(at) = geometry.at(ArraySector::new(unit * UNIT)) else { return false };
    let is_good = |slot: Slot, sector: MemberSector| {
        !without.contains(&slot) && view.is_good(slot, sector, Sectors::new(UNIT))
    };
    if at.places.iter().any(|place| is_good(place.slot, place.sector)) {
        return true;
    }
    // From the rest of its row.
    let Some(Place { sector, .. }) = at.places.first() else { return false };
    geometry.stripes().is_some() && geometry.enough(|slot| is_good(slot, *sector))
}
