//! What cannot be read, or seen, because too few members are there. Pure.

use std::ops::Range as Units;

use kcopy::Sectors;

use super::walk::{UNIT, Walk};
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

/// Whether what a walk that only shifts leaves behind itself would be seen wherever it is: without members, and with
/// parity moved, there may be nowhere a unit both of whose places are here, and neither one for parity.
pub(super) fn shows_bands(walk: &Walk, (old, new): (&View, &View)) -> bool {
    if !walk.only_shifts() || !walk.lacks_members() {
        return true;
    }
    let is_here = |view: &View, unit: u64| {
        let places = view.geometry().at(ArraySector::new(unit * UNIT)).map(|at| at.places);
        let good = |place: &Place| view.is_good(place.slot, place.sector, Sectors::new(UNIT));
        places.is_some_and(|places| places.iter().any(good))
    };
    let shows = |unit: u64| {
        !walk.stays(unit) && walk.is_plain(unit) && is_here(old, unit) && is_here(new, unit)
    };
    // What is where repeats itself after as many stripes as there are members.
    let (units, band) = (walk.content().get() / UNIT, walk.band(walk.total() / 2));
    let period = walk.regular() * u64::from(new.geometry().raid_disks());
    let end = units.min(period + 2 * band);
    let mut hidden = 0;
    (0..end).all(|unit| {
        hidden = if shows(unit) { 0 } else { hidden + 1 };
        hidden < band.max(1)
    })
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
