//! What to read for a range of the array: copies of chunks, and stripes where something is lost. Pure.

use std::collections::HashSet;

use kcopy::Sectors;
use smallvec::SmallVec;

use super::Range;
use super::view::View;
use crate::geometry::{Part, Place, Stripes};
use crate::parity::Role;
use crate::units::{ArraySector, MemberSector, Slot};

/// The longest run read from one mirror before the next takes its turn: 1 MiB.
const TURN: u64 = 2048;

/// Something that has to be done to read a part of the array.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// The sectors stand on a member as they are.
    Copy {
        /// Which sectors of the array.
        range: Range,
        /// Where the first of them is.
        from: Place,
    },
    /// Something is lost: a row of the stripe is read and the rest computed.
    Stripe(Box<Row>),
    /// Neither.
    Lost {
        /// Which sectors of the array.
        range: Range,
    },
}

/// The same sectors of every chunk of a stripe.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// Where on the members.
    pub start: MemberSector,
    /// How many sectors on each.
    pub sectors: Sectors,
    /// Blocks that are read, with the members that have them.
    pub known: SmallVec<[(Slot, Role); 16]>,
    /// Data blocks that are computed.
    pub computed: SmallVec<[Role; 2]>,
    /// Blocks that are neither read nor asked for, data among them being lost.
    pub missing: SmallVec<[Role; 2]>,
    /// What of it goes where in the array: index among `known`, then `computed`.
    pub wanted: SmallVec<[(usize, ArraySector); 16]>,
}

impl Step {
    /// The sectors of the array that the step is for, whole.
    pub fn ranges(&self) -> SmallVec<[Range; 1]> {
        match self {
            Self::Copy { range, .. } | Self::Lost { range } => SmallVec::from_slice(&[*range]),
            Self::Stripe(row) => {
                let range = |(_, start): &(usize, ArraySector)| Range {
                    start: *start,
                    sectors: row.sectors,
                };
                row.wanted.iter().map(range).collect()
            }
        }
    }
}

/// The steps that read `range`, in its order.
#[derive(Clone, Debug)]
pub struct Steps<'a> {
    view: &'a View,
    /// Members that are not to be read, though they are there.
    avoid: &'a HashSet<Slot>,
    at: u64,
    end: u64,
}

/// Plans to read `range` of `view` without the members in `avoid`.
pub fn steps<'a>(view: &'a View, range: Range, avoid: &'a HashSet<Slot>) -> Steps<'a> {
    Steps { view, avoid, at: range.start.get(), end: range.end() }
}

impl Iterator for Steps<'_> {
    type Item = Step;

    fn next(&mut self) -> Option<Step> {
        if self.at >= self.end {
            return None;
        }
        let step = self.step(ArraySector::new(self.at), self.end - self.at);
        let done = step.ranges().iter().map(|range| range.end()).max().unwrap_or(self.end);
        self.at = done.max(self.at + 1);
        Some(step)
    }
}

impl Steps<'_> {
    fn step(&self, start: ArraySector, left: u64) -> Step {
        let lost = |sectors| Step::Lost { range: Range { start, sectors: Sectors::new(sectors) } };
        let Some(at) = self.view.geometry().at(start) else { return lost(left) };
        let Some((stripe, stripes)) = at.stripe.zip(self.view.geometry().stripes()) else {
            let mut sectors = at.run.get().min(left);
            if at.places.len() > 1 {
                sectors = sectors.min(TURN - start.get() % TURN);
            }
            let range = Range { start, sectors: Sectors::new(sectors) };
            let copy = self.mirror(&at.places, range).map(|from| Step::Copy { range, from });
            return copy.unwrap_or_else(|| lost(sectors));
        };
        let chunk = self.view.geometry().chunk().get();
        let width = u64::from(stripes.data_disks());
        let from_start = start.get() - stripe * width * chunk;
        // A whole stripe at once, if something of it is lost: its blocks are read once only.
        if from_start == 0 && left >= width * chunk {
            let row = MemberSector::new(stripe * chunk);
            let whole = |slot| self.is_good(slot, row, Sectors::new(chunk));
            if !(0..stripes.data_disks()).all(|block| whole(stripes.data(stripe, block))) {
                let blocks: SmallVec<[u32; 16]> = (0..stripes.data_disks()).collect();
                let step = self.row(stripes, stripe, row, Sectors::new(chunk), &blocks);
                if let Some(step) = step {
                    return step;
                }
            }
        }
        let sectors = Sectors::new(at.run.get().min(left));
        let range = Range { start, sectors };
        let Some(from) = at.places.first().copied() else { return lost(sectors.get()) };
        if self.is_good(from.slot, from.sector, sectors) {
            return Step::Copy { range, from };
        }
        let block = u32::try_from(from_start / chunk).unwrap_or(u32::MAX);
        let step = self.row(stripes, stripe, from.sector, sectors, &[block]);
        step.unwrap_or_else(|| lost(sectors.get()))
    }

    /// The copy to read: each good one in turn, so that all members work.
    fn mirror(&self, places: &[Place], range: Range) -> Option<Place> {
        let good: SmallVec<[Place; 4]> = places
            .iter()
            .copied()
            .filter(|place| self.is_good(place.slot, place.sector, range.sectors))
            .collect();
        let count = u64::try_from(good.len()).ok()?;
        let chunk = self.view.geometry().chunk().get();
        let row = chunk.saturating_mul(u64::from(self.view.geometry().raid_disks())).max(TURN);
        let turn = (range.start.get() / row).checked_rem(count)?;
        good.get(usize::try_from(turn).ok()?).copied()
    }

    fn is_good(&self, slot: Slot, start: MemberSector, sectors: Sectors) -> bool {
        !self.avoid.contains(&slot) && self.view.is_good(slot, start, sectors)
    }

    /// The row at `start` of a stripe, for data blocks `blocks`; `None` if too much of it is lost.
    fn row(
        &self,
        stripes: &Stripes,
        stripe: u64,
        start: MemberSector,
        sectors: Sectors,
        blocks: &[u32],
    ) -> Option<Step> {
        let chunk = self.view.geometry().chunk().get();
        let mut row = Row {
            start,
            sectors,
            known: SmallVec::new(),
            computed: SmallVec::new(),
            missing: SmallVec::new(),
            wanted: SmallVec::new(),
        };
        let mut lost: SmallVec<[(u32, Role); 2]> = SmallVec::new();
        let mut parities: SmallVec<[(Slot, Role); 2]> = SmallVec::new();
        let mut data: SmallVec<[(u32, usize); 16]> = SmallVec::new();
        for slot in (0..stripes.disks()).map(Slot::new) {
            let good = self.is_good(slot, start, sectors);
            match (stripes.part(stripe, slot), good) {
                (Part::Data { block, power }, true) => {
                    data.push((block, row.known.len()));
                    row.known.push((slot, Role::Data(power)));
                }
                (Part::Data { block, power }, false) => lost.push((block, Role::Data(power))),
                (Part::P, true) => parities.insert(0, (slot, Role::P)),
                (Part::Q, true) => parities.push((slot, Role::Q)),
                (Part::P | Part::Q, false) => {}
            }
        }
        if parities.len() < lost.len() {
            return None;
        }
        row.known.extend(parities.into_iter().take(lost.len()));
        let within = start.get() % chunk;
        let first = stripe * u64::from(stripes.data_disks());
        let sector = |block: u32| ArraySector::new((first + u64::from(block)) * chunk + within);
        for (block, role) in lost {
            if blocks.contains(&block) {
                data.push((block, row.known.len() + row.computed.len()));
                row.computed.push(role);
            } else {
                row.missing.push(role);
            }
        }
        let wanted = data.into_iter().filter(|(block, _)| blocks.contains(block));
        row.wanted = wanted.map(|(block, index)| (index, sector(block))).collect();
        row.wanted.sort_unstable_by_key(|(_, sector)| *sector);
        Some(Step::Stripe(Box::new(row)))
    }
}
