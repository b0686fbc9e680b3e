//! RAID0 with members of several sizes: zones, each over the members that reach that far.

use smallvec::SmallVec;

use super::layout::Raid0Layout;

/// A zone: the rows that the same members have.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Zone {
    /// The members, by slot, in the order of slots.
    pub slots: SmallVec<[u32; 8]>,
    /// Where the zone begins on each of them, in sectors.
    pub member_start: u64,
    /// Where it begins in the array, in sectors.
    pub start: u64,
    /// Where it ends in the array, in sectors.
    pub end: u64,
}

/// The zones of members with `sizes` sectors each, which are whole chunks. `None`: too large.
pub(super) fn zones(sizes: &[u64]) -> Option<Vec<Zone>> {
    let mut steps: Vec<u64> = sizes.iter().copied().filter(|size| *size > 0).collect();
    steps.sort_unstable();
    steps.dedup();
    let (mut member_start, mut start) = (0, 0_u64);
    let mut zones = Vec::with_capacity(steps.len());
    for step in steps {
        let reaching = (0_u32..).zip(sizes).filter(|(_, size)| **size >= step);
        let slots: SmallVec<[u32; 8]> = reaching.map(|(slot, _)| slot).collect();
        let width = u64::try_from(slots.len()).ok()?;
        let end = start.checked_add((step - member_start).checked_mul(width)?)?;
        zones.push(Zone { slots, member_start, start, end });
        (member_start, start) = (step, end);
    }
    Some(zones)
}

impl Zone {
    /// Slot and member sector of array sector `sector`, which lies in the zone.
    pub(super) fn at(&self, sector: u64, chunk: u64, layout: Raid0Layout) -> (u32, u64) {
        let within = sector - self.start;
        let width = u64::try_from(self.slots.len()).unwrap_or(u64::MAX);
        let column = match layout {
            Raid0Layout::Original => sector / chunk % width,
            Raid0Layout::Alternate | Raid0Layout::Unspecified => within / chunk % width,
        };
        let row = within / (chunk * width) * chunk + within % chunk;
        (self.slots[usize::try_from(column).unwrap_or(0)], self.member_start + row)
    }

    /// The array sector at member sector `sector` of `slot`, which the zone has.
    pub(super) fn sector_at(
        &self,
        slot: u32,
        sector: u64,
        chunk: u64,
        layout: Raid0Layout,
    ) -> Option<u64> {
        let width = u64::try_from(self.slots.len()).ok()?;
        let within = sector.checked_sub(self.member_start)?;
        let row = self.start + within / chunk * chunk * width;
        // Which of the row's chunks is this member's.
        let column = u64::try_from(self.slots.binary_search(&slot).ok()?).ok()?;
        let turn = match layout {
            Raid0Layout::Original => (column + width - self.start / chunk % width) % width,
            Raid0Layout::Alternate | Raid0Layout::Unspecified => column,
        };
        let sector = row + turn * chunk + within % chunk;
        (sector < self.end).then_some(sector)
    }
}
