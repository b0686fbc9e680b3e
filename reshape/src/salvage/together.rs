//! Where content says that the walk has come to, where nothing else on the members does.
//!
//! In place, with as many members as before and no parity to spare, each row has the same sum in both readings.
//! But what follows a chunk in the array is seldom strange to it (`neighbours.rs`): numbers go on, records
//! follow each other. Here *all* ends of chunks are asked, and they count only if not one of them contradicts
//! another: first those that go together as moved, then those that go together as waiting, and the place
//! between them is one where the walk can stand. Two measures have to agree about each of them: how far the
//! bytes are apart, and how far the numbers are that eight of them are. Around the place every two blocks that
//! follow each other are laid side by side. None of these and no end of a chunk may be twice as strange to the
//! next one as is usual: so what was moved twice is seen, and a chunk that was written half. Where parity is
//! there it has to be right.
//!
//! Random, encrypted or compressed content contradicts itself after a few ends, and so do most texts: nothing is
//! said of these.

use super::neighbours::{Apart, block, end_of_run};
use super::walk::{UNIT, Walk};
use crate::array::View;
use crate::metadata::Direction;
use crate::mover::Mover;
use crate::parity;
use crate::units::{ArraySector, MemberSector, Slot};
use smallvec::SmallVec;
use std::cmp::Ordering;

/// More ends of chunks than this are not asked.
const MOST: u64 = 1 << 17;
/// So many have to tell, on both sides of the place together.
const MANY: u64 = 48;
/// And so many on each side, unless the place is the start.
const FEW: u64 = 12;
/// Places that are tried, and one more.
const AT_MOST: u64 = 4;
/// Units around the place that are laid side by side at most.
const NEAR: u64 = 1 << 15;

/// What the ends of chunks say, from the start of the content to its end.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Ends {
    moved: u64,
    waiting: u64,
    /// Where the last one is that was moved.
    last_moved: Option<u64>,
    /// Where the first one is that waits.
    first_waiting: Option<u64>,
    /// How far apart the blocks are that go together.
    bits: Vec<u64>,
    /// Where all ends are, and how far apart they are in the old reading and in the new one.
    all: Vec<(u64, u64, u64)>,
}

impl Ends {
    /// Takes the end at `at`; false: it contradicts those before it.
    fn add(&mut self, at: u64, (old, new): (Apart, Apart)) -> bool {
        self.all.push((at, old.bits, new.bits));
        if new.is_nearer_than(old) {
            self.moved += 1;
            self.last_moved = Some(at);
            self.bits.push(new.bits);
            return self.first_waiting.is_none();
        }
        if old.is_nearer_than(new) {
            self.waiting += 1;
            self.first_waiting.get_or_insert(at);
            self.bits.push(old.bits);
        }
        true
    }

    /// Blocks that go together are at most so far apart: twice as far as is usual.
    fn limit(&mut self) -> u64 {
        self.bits.sort_unstable();
        let usual = self.bits.get(self.bits.len() / 2).copied().unwrap_or(0);
        usual.saturating_mul(2)
    }

    /// Whether all of them go together, as moved before `place` and as waiting behind it. What was moved from where
    /// it had been overwritten does in neither reading.
    fn fit(&self, place: u64, limit: u64) -> bool {
        self.all.iter().all(|(at, old, new)| match at.cmp(&place) {
            Ordering::Less => *new <= limit,
            Ordering::Equal => true,
            Ordering::Greater => *old <= limit,
        })
    }

    /// The places between those that were moved and those that wait where the walk can stand, which it does every
    /// `step` sectors: the recorded one first. What ends right there goes together with what follows in neither
    /// reading, and says one thing or the other.
    fn places(&self, step: u64, recorded: u64) -> SmallVec<[u64; 4]> {
        let (from, waits) = (self.last_moved.unwrap_or(0), self.first_waiting.unwrap_or(0));
        let first = from.checked_next_multiple_of(step.max(1)).unwrap_or(u64::MAX);
        let all = (0..AT_MOST).map(|n| first.saturating_add(n * step));
        let mut places: SmallVec<[u64; 4]> = all.filter(|place| *place <= waits).collect();
        let is_few = self.first_waiting.is_none()
            || self.moved + self.waiting < MANY
            || self.waiting < FEW
            || u64::try_from(places.len()).is_ok_and(|count| count == AT_MOST);
        places.retain(|place| !is_few && (self.moved >= FEW || *place == 0));
        places.sort_by_key(|place| *place != recorded);
        places
    }
}

/// Where the content says that the walk has come to; `None`: it does not say, or something else does.
pub(super) fn place(
    mover: &mut Mover,
    walk: &Walk,
    (old, new): (&View, &View),
    recorded: ArraySector,
) -> Option<ArraySector> {
    if !walk.is_mute() || walk.direction() != Direction::Forwards {
        return None;
    }
    let (content, mut ends, mut at) = (walk.content().get(), Ends::default(), 0);
    for asked in 0.. {
        let Some(end) = end_of_run((old, new), at).filter(|end| *end < content) else { break };
        if asked == MOST {
            return None;
        }
        at = end;
        let (last, next) = (end / UNIT - 1, end / UNIT);
        if walk.stays(last) && walk.stays(next) {
            continue;
        }
        let mut apart = |view: &View| apart(mover, (view, view), last);
        if !ends.add(end, (apart(old)?, apart(new)?)) {
            return None;
        }
    }
    let (limit, places) = (ends.limit(), ends.places(walk.step(), recorded.get()));
    let mut fits = places.into_iter().filter(|place| {
        ends.fit(*place, limit) && is_clean(mover, walk, (old, new), (*place, limit))
    });
    let place = fits.next()?;
    // Of several only the recorded one is to be believed.
    let is_told = place == recorded.get() || fits.next().is_none();
    is_told.then_some(ArraySector::new(place))
}

/// How far a unit is from the next one, each in its reading.
fn apart(mover: &mut Mover, (view, next): (&View, &View), unit: u64) -> Option<Apart> {
    let last = block(mover, view, ArraySector::new(unit * UNIT))?;
    let next = block(mover, next, ArraySector::new((unit + 1) * UNIT))?;
    Some(Apart::of(&last, &next))
}

/// Whether all around a place goes together, new before it and old behind it, and no row contradicts its parity.
fn is_clean(
    mover: &mut Mover,
    walk: &Walk,
    (old, new): (&View, &View),
    (place, limit): (u64, u64),
) -> bool {
    let around = 2 * walk.step();
    let units = walk.content().get() / UNIT;
    let from = place.saturating_sub(around) / UNIT;
    let to = (place.saturating_add(around) / UNIT).min(units).saturating_sub(1);
    if to.saturating_sub(from) > NEAR {
        return false;
    }
    let side = |unit: u64| if unit * UNIT < place { new } else { old };
    let goes_on = |mover: &mut Mover, unit: u64| {
        let apart = apart(mover, (side(unit), side(unit + 1)), unit);
        apart.is_some_and(|apart| apart.bits <= limit)
    };
    let rows = walk.time(ArraySector::new(from * UNIT))..=walk.time(ArraySector::new(to * UNIT));
    (from..to).all(|unit| goes_on(mover, unit))
        && rows.into_iter().all(|row| adds_up(mover, old, row) != Some(false))
}

/// Whether the blocks of a row add up to zero; `None` if some are not here, or there is no parity.
fn adds_up(mover: &mut Mover, view: &View, row: u64) -> Option<bool> {
    if view.geometry().stripes()?.parity_disks() == 0 {
        return None;
    }
    let mut sum = vec![0; super::neighbours::bytes()];
    for slot in (0..view.geometry().raid_disks()).map(Slot::new) {
        let place = crate::geometry::Place { slot, sector: MemberSector::new(row * UNIT) };
        let other = super::neighbours::on_member(mover, view, place)?;
        parity::xor_into(&mut sum, &[&other]);
    }
    Some(sum.iter().all(|byte| *byte == 0))
}

#[cfg(test)]
mod tests {
    use super::{Apart, Ends};

    /// Sectors that name themselves, as the numbers of records do.
    fn block(number: u64) -> Vec<u8> {
        (0..64_u64).flat_map(|word| (number | word << 56).to_le_bytes()).collect()
    }

    fn far(moved: bool) -> (Apart, Apart) {
        let (near, far) = (Apart { bytes: 9, bits: 64 }, Apart { bytes: 90, bits: 200 });
        if moved { (far, near) } else { (near, far) }
    }

    #[test]
    fn numbers_that_go_on_are_near_also_where_a_byte_is_carried() {
        let [near, carried, far] =
            [(7, 8), (255, 256), (7, 64)].map(|(one, other)| Apart::of(&block(one), &block(other)));
        assert_eq!((near.bits, carried.bits), (64, 64));
        assert!(near.is_nearer_than(far) && !carried.is_nearer_than(far), "{carried:?} {far:?}");
    }

    #[test]
    fn ends_tell_a_place_only_if_none_contradicts_and_many_tell() {
        let told = |moved: u64, all: u64| {
            let mut ends = Ends::default();
            let fits = (1..=all).all(|n| ends.add(n * 64, far(n <= moved)));
            fits.then_some(ends)
        };
        let places = |moved, all, step, recorded| {
            told(moved, all).map(|ends| ends.places(step, recorded).to_vec()).unwrap_or_default()
        };
        assert_eq!(places(20, 60, 32, 0), [1280, 1312, 1344]);
        assert_eq!(places(20, 60, 32, 1344), [1344, 1280, 1312], "the recorded one first");
        assert!(places(20, 60, 16, 1280).is_empty(), "there are five");
        assert!(places(20, 60, 1000, 0).is_empty(), "there is none");
        assert_eq!(places(0, 60, 128, 0), [0]);
        assert!(places(0, 40, 128, 0).is_empty(), "too few");
        assert!(places(11, 60, 64, 768).is_empty(), "too few before it");
        assert!(places(49, 60, 64, 3200).is_empty(), "too few behind it");
        let mut ends = told(20, 60).expect("they fit");
        let limit = ends.limit();
        assert!(limit == 128 && ends.fit(1312, limit));
        assert!(!ends.fit(1408, limit) && !ends.fit(1216, limit), "an end is on the wrong side");
        assert!(!ends.add(61 * 64, far(true)), "one that was moved behind those that wait");
    }
}
