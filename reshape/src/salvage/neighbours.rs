//! Whether content goes together better as if it had been moved.
//!
//! In place, with as many members as before and no parity to spare, nothing on the members tells whether a row was
//! moved: it has the same sum in both readings. Since mdadm 4.2 the driver may run ahead of its backup, and mdadm then
//! saves what was moved already as if it waited; the record and the backup agree, and both are wrong. But what follows
//! a chunk in the array is seldom strange to it: numbers go on, text is followed by text, zeros by zeros. So behind
//! all that the backup holds each end of a chunk is laid beside what follows it in either reading. Content that was
//! not moved never looks moved many times in a row, unless by chance; random content says nothing.

use super::walk::{UNIT, Walk};
use crate::array::View;
use crate::geometry::Place;
use crate::mover::Mover;
use crate::parity;
use crate::units::{ArraySector, Slot};
use kcopy::{SECTOR_SIZE, Sectors};

/// Ends of chunks that are looked at.
const ENDS: u64 = 1024;
/// Fewer of them that tell something prove nothing.
const FEW: u64 = 12;

/// How far the end of one block is from the start of another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Apart {
    /// The sum of all differences of bytes.
    pub(super) bytes: u64,
    /// The bits that all differences of words take.
    pub(super) bits: u64,
}

impl Apart {
    pub(super) fn of(last: &[u8], next: &[u8]) -> Self {
        let sector = usize::try_from(SECTOR_SIZE).unwrap_or(0);
        let last = last.get(last.len().saturating_sub(sector)..).unwrap_or_default();
        let next = next.get(..sector).unwrap_or_default();
        let bytes = last.iter().zip(next).map(|(one, other)| u64::from(one.abs_diff(*other))).sum();
        let words = last.as_chunks().0.iter().zip(next.as_chunks().0);
        let bits = words.map(|(one, other)| {
            let difference = u64::from_le_bytes(*one).abs_diff(u64::from_le_bytes(*other));
            u64::from(u64::BITS - difference.leading_zeros())
        });
        Self { bytes, bits: bits.sum() }
    }

    pub(super) fn is_nearer_than(self, other: Self) -> bool {
        self.bytes < other.bytes && self.bits < other.bits
    }
}

/// How many ends of chunks go better with what follows them in one reading than in the other.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Ends {
    moved: u64,
    waiting: u64,
}

impl Ends {
    /// Whether more of them speak for the new reading than chance allows: more than three times the deviation.
    fn speak_for_moved(self) -> bool {
        let (told, more) = (self.moved + self.waiting, self.moved.saturating_sub(self.waiting));
        told >= FEW && more * more > 11 * told
    }

    fn add(&mut self, (old, new): (u64, u64)) {
        self.moved += u64::from(new < old);
        self.waiting += u64::from(old < new);
    }
}

/// Whether what follows `from` looks as if it had been moved. It is read from both places; what cannot be read says
/// nothing.
pub(super) fn looks_moved(
    mover: &mut Mover,
    walk: &Walk,
    (old, new): (&View, &View),
    from: ArraySector,
) -> bool {
    let content = walk.content().get();
    let (mut ends, mut asked) = (Ends::default(), 1);
    let mut at = from.get();
    for looked in 0..ENDS {
        let Some(end) = end_of_run((old, new), at).filter(|end| *end < content) else { break };
        let (last, next) = (ArraySector::new(end - UNIT), ArraySector::new(end));
        at = end;
        if walk.stays(last.get() / UNIT) && walk.stays(next.get() / UNIT) {
            continue;
        }
        let mut apart = |view: &View| {
            let (last, next) = (block(mover, view, last)?, block(mover, view, next)?);
            Some(Apart::of(&last, &next).bytes)
        };
        if let Some(both) = apart(old).zip(apart(new)) {
            ends.add(both);
        }
        // The driver may have come a little further only: the first ones are asked alone.
        if looked + 1 == asked * FEW {
            asked *= 2;
            if ends.speak_for_moved() {
                return true;
            }
        }
    }
    ends.speak_for_moved()
}

/// The first end of a chunk behind `at`, in either reading.
pub(super) fn end_of_run((old, new): (&View, &View), at: u64) -> Option<u64> {
    let run = |view: &View| Some(view.geometry().at(ArraySector::new(at))?.run.get());
    let run = run(old)?.min(run(new)?);
    (run > 0 && (at + run).is_multiple_of(UNIT)).then_some(at + run)
}

/// The 4 KiB at an array sector, computed where a member is missing.
pub(super) fn block(mover: &mut Mover, view: &View, at: ArraySector) -> Option<Vec<u8>> {
    let place = *view.geometry().at(at)?.places.first()?;
    if let Some(found) = on_member(mover, view, place) {
        return Some(found);
    }
    let stripes = view.geometry().stripes()?;
    if stripes.disks() != stripes.data_disks() + 1 {
        return None;
    }
    let others =
        (0..view.geometry().raid_disks()).map(Slot::new).filter(|slot| *slot != place.slot);
    let mut sum = vec![0; bytes()];
    for slot in others {
        let other = on_member(mover, view, Place { slot, sector: place.sector })?;
        parity::xor_into(&mut sum, &[&other]);
    }
    Some(sum)
}

pub(super) fn on_member(
    mover: &mut Mover,
    view: &View,
    Place { slot, sector }: Place,
) -> Option<Vec<u8>> {
    let length = Sectors::new(UNIT);
    let extent =
        view.leg(slot).filter(|leg| leg.is_good(sector, length))?.extent(sector, length)?;
    mover.read(&extent.device, extent.offset, bytes()).ok()
}

pub(super) fn bytes() -> usize {
    usize::try_from(UNIT * SECTOR_SIZE).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::Ends;

    #[test]
    fn chance_does_not_speak_for_what_was_moved() {
        assert!(Ends { moved: 12, waiting: 0 }.speak_for_moved());
        assert!(!Ends { moved: 11, waiting: 0 }.speak_for_moved(), "too few");
        assert!(!Ends { moved: 20, waiting: 12 }.speak_for_moved());
        assert!(!Ends { moved: 540, waiting: 484 }.speak_for_moved());
        assert!(Ends { moved: 600, waiting: 424 }.speak_for_moved());
        assert!(!Ends { moved: 0, waiting: 400 }.speak_for_moved());
    }
}
