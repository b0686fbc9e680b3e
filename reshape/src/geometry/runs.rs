//! Ranges of the array as runs on members: in the order of the array, or one member at a time.
#![deny(clippy::arithmetic_side_effects)]

use kcopy::Sectors;

use super::{Geometry, On, Place};
use crate::units::{ArraySector, MemberSector, Slot};

/// Consecutive sectors of the array that are consecutive on one member.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Run {
    /// The first of them in the array.
    pub array: ArraySector,
    /// Where that is.
    pub place: Place,
    /// How many they are, at least 1.
    pub len: Sectors,
}

/// Consecutive sectors of one member with data of a range of the array, in an order that need not
/// be the array's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct MemberRun {
    /// The first of them.
    pub at: MemberSector,
    /// How many they are, at least 1.
    pub len: Sectors,
}

/// A range that is not within the array.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{len} from {from} on reach beyond the array, which has {size}")]
pub struct OutsideArray {
    /// Where the range begins.
    pub from: ArraySector,
    /// How long it is.
    pub len: Sectors,
    /// The array's size.
    pub size: Sectors,
}

impl Geometry {
    /// `len` sectors of the array from `from` on, as runs in the array's order (of the first copy,
    /// if there are several). Chunks that follow each other on one member are one run.
    pub fn runs(&self, from: ArraySector, len: Sectors) -> Result<Runs<'_>, OutsideArray> {
        self.runs_of_copy(from, len, 0)
    }

    /// The same for copy number `copy`. There are no runs of a copy that there is not.
    pub fn runs_of_copy(
        &self,
        from: ArraySector,
        len: Sectors,
        copy: usize,
    ) -> Result<Runs<'_>, OutsideArray> {
        let end = self.end_of(from, len)?;
        Ok(Runs { geometry: self, copy, at: from.get(), end })
    }

    /// What member `slot` has of `len` sectors of the array from `from` on: runs by rising member
    /// sectors, copies included, parity left out. [`Geometry::on_run`] says what is where in them.
    pub fn runs_on(
        &self,
        slot: Slot,
        from: ArraySector,
        len: Sectors,
    ) -> Result<MemberRuns<'_>, OutsideArray> {
        let end = self.end_of(from, len)?;
        let parts = if end > from.get() { self.parts() } else { 0 };
        let range = (from.get(), end);
        Ok(MemberRuns { geometry: self, slot, range, part: 0, parts, window: (0, 0) })
    }

    fn end_of(&self, from: ArraySector, len: Sectors) -> Result<u64, OutsideArray> {
        let size = self.sectors();
        let end = from.checked_add(len).map(ArraySector::get);
        end.filter(|&end| end <= size.get()).ok_or(OutsideArray { from, len, size })
    }
}

/// Runs in the array's order. Made by [`Geometry::runs`].
#[derive(Clone, Debug)]
pub struct Runs<'a> {
    geometry: &'a Geometry,
    copy: usize,
    at: u64,
    end: u64,
}

impl Runs<'_> {
    /// Where array sector `at` is, and how far it goes on, cut to the range; `None` at its end.
    fn found(&self, at: u64) -> Option<(Place, u64)> {
        let left = self.end.checked_sub(at).filter(|&left| left > 0)?;
        let found = self.geometry.at(ArraySector::new(at))?;
        let place = found.places.get(self.copy).copied()?;
        Some((place, found.run.get().min(left)))
    }
}

impl Iterator for Runs<'_> {
    type Item = Run;

    fn next(&mut self) -> Option<Run> {
        let (place, mut len) = self.found(self.at)?;
        let mut next = self.at.checked_add(len)?;
        while let Some((more, more_len)) = self.found(next) {
            let goes_on = place.sector.checked_add(Sectors::new(len));
            if more.slot != place.slot || Some(more.sector) != goes_on {
                break;
            }
            len = len.checked_add(more_len)?;
            next = next.checked_add(more_len)?;
        }
        let run = Run { array: ArraySector::new(self.at), place, len: Sectors::new(len) };
        self.at = next;
        Some(run)
    }
}

/// Runs on one member. Made by [`Geometry::runs_on`].
#[derive(Clone, Debug)]
pub struct MemberRuns<'a> {
    geometry: &'a Geometry,
    slot: Slot,
    range: (u64, u64),
    /// The part of the member that comes after `window`.
    part: usize,
    parts: usize,
    /// What is left to look at.
    window: (u64, u64),
}

impl MemberRuns<'_> {
    /// The next sectors that belong to the range, up to the end of their chunk.
    fn piece(&mut self) -> Option<(u64, u64)> {
        loop {
            while self.window.0 >= self.window.1 {
                if self.part >= self.parts {
                    return None;
                }
                self.window = self.geometry.window(self.range, self.slot, self.part);
                self.part = self.part.checked_add(1)?;
            }
            let at = self.window.0;
            let (on, len) = self.geometry.on_run(self.slot, MemberSector::new(at));
            self.window.0 = at.saturating_add(len.get().max(1)).min(self.window.1);
            let On::Data(array) = on else { continue };
            let len = self.window.0.checked_sub(at)?;
            let behind = array.get().checked_add(len)?;
            let (from, end) = (array.get().max(self.range.0), behind.min(self.range.1));
            if from < end {
                let skipped = from.checked_sub(array.get())?;
                return Some((at.checked_add(skipped)?, end.checked_sub(from)?));
            }
        }
    }
}

impl Iterator for MemberRuns<'_> {
    type Item = MemberRun;

    fn next(&mut self) -> Option<MemberRun> {
        let (at, mut len) = self.piece()?;
        loop {
            let before = self.clone();
            match self.piece() {
                Some((more, more_len)) if Some(more) == at.checked_add(len) => {
                    len = len.checked_add(more_len)?;
                }
                Some(_) => {
                    *self = before;
                    break;
                }
                None => break,
            }
        }
        Some(MemberRun { at: MemberSector::new(at), len: Sectors::new(len) })
    }
}

#[cfg(test)]
#[expect(clippy::arithmetic_side_effects, reason = "a sum that overflows fails the test")]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::super::Level;
    use super::super::tests::{any_geometry, geometry};
    use super::*;

    fn runs(geometry: &Geometry, from: u64, len: u64) -> Vec<(u64, u32, u64, u64)> {
        let runs = geometry.runs(ArraySector::new(from), Sectors::new(len)).unwrap();
        let parts = |run: Run| {
            let (slot, sector) = (run.place.slot.get(), run.place.sector.get());
            (run.array.get(), slot, sector, run.len.get())
        };
        runs.map(parts).collect()
    }

    #[test]
    fn chunks_that_follow_each_other_on_a_member_are_one_run() {
        let shape = geometry(Level::Raid5, 2, 8, 3, 64);
        assert_eq!(runs(&shape, 4, 16), [(4, 0, 4, 4), (8, 1, 0, 8), (16, 2, 8, 4)]);
        let shape = geometry(Level::Raid5, 5, 8, 2, 64);
        assert_eq!(runs(&shape, 4, 40), [(4, 0, 4, 40)]);
        assert_eq!(runs(&shape, 64, 0), []);
    }

    #[test]
    fn ranges_beyond_the_end_are_refused() {
        let shape = geometry(Level::Raid1, 0, 0, 2, 64);
        for (from, len) in [(0, 65), (64, 1), (65, 0), (u64::MAX, 1), (1, u64::MAX)] {
            let (from, len) = (ArraySector::new(from), Sectors::new(len));
            let size = Sectors::new(64);
            assert_eq!(shape.runs(from, len).err(), Some(OutsideArray { from, len, size }));
            assert_eq!(
                shape.runs_on(Slot::new(0), from, len).err(),
                Some(OutsideArray { from, len, size })
            );
        }
    }

    #[test]
    fn a_member_gives_whole_rows_at_once() {
        let shape = geometry(Level::Raid0, 1, 8, 4, 64);
        let on = |slot, from, len| -> Vec<(u64, u64)> {
            let range = (ArraySector::new(from), Sectors::new(len));
            let runs = shape.runs_on(Slot::new(slot), range.0, range.1).unwrap();
            runs.map(|run| (run.at.get(), run.len.get())).collect()
        };
        assert_eq!(on(1, 0, 256), [(0, 64)]);
        // Half of its chunk 1, all of chunk 5, half of chunk 9.
        assert_eq!(on(1, 12, 64), [(4, 16)]);
        assert_eq!(on(1, 0, 8), []);
        assert_eq!(on(4, 0, 256), []);
    }

    proptest! {
        #[test]
        fn runs_are_the_map_sector_by_sector_for_all(
            shape in any_geometry(), from: u64, len: u64, copy in 0..5_usize,
        ) {
            let size = shape.sectors().get();
            let from = from % size;
            let len = len % (size - from + 1);
            let range = (ArraySector::new(from), Sectors::new(len));
            let mut at = from;
            let mut last: Option<Run> = None;
            for run in shape.runs_of_copy(range.0, range.1, copy).unwrap() {
                prop_assert_eq!(run.array.get(), at);
                for step in 0..run.len.get() {
                    let place = shape.at(ArraySector::new(at + step)).unwrap().places[copy];
                    prop_assert_eq!(place.slot, run.place.slot);
                    prop_assert_eq!(place.sector.get(), run.place.sector.get() + step);
                }
                if let Some(last) = last {
                    let end = last.place.sector.checked_add(last.len);
                    let follows = last.place.slot == run.place.slot && end == Some(run.place.sector);
                    prop_assert!(!follows, "{:?} and {:?} are one", last, run);
                }
                at += run.len.get();
                last = Some(run);
            }
            let has_copy = copy < shape.at(range.0).unwrap().places.len();
            prop_assert_eq!(at, if has_copy { from + len } else { from });
        }

        #[test]
        fn runs_on_all_members_are_every_copy_once_for_all(
            shape in any_geometry(), from: u64, len: u64,
        ) {
            let size = shape.sectors().get();
            let from = from % size;
            let len = len % (size - from + 1);
            let mut expected = BTreeSet::new();
            for sector in from..from + len {
                for place in shape.at(ArraySector::new(sector)).unwrap().places {
                    expected.insert((place.slot, place.sector.get()));
                }
            }
            let mut found = BTreeSet::new();
            for slot in (0..shape.raid_disks()).map(Slot::new) {
                let mut end = None;
                for run in shape.runs_on(slot, ArraySector::new(from), Sectors::new(len)).unwrap() {
                    prop_assert!(end < Some(run.at.get()), "runs rise and do not touch");
                    for sector in run.at.get()..run.at.get() + run.len.get() {
                        prop_assert!(found.insert((slot, sector)), "{} twice", sector);
                    }
                    end = Some(run.at.get() + run.len.get());
                }
            }
            prop_assert_eq!(found, expected);
        }
    }
}
