//! A geometry with the members behind it.

use kcopy::{Device, Extent, Sector, Sectors};

use crate::assemble::{Assembly, MemberState};
use crate::geometry::Geometry;
use crate::units::{MemberSector, Slot};

/// Sectors of a device that cannot be relied on, as its bad-block log lists them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct BadRange {
    /// The first one, counted from the start of the device.
    pub start: Sector,
    /// How many.
    pub sectors: Sectors,
}

/// A member in a view.
#[derive(Clone, Debug)]
pub struct Leg {
    /// Its device.
    pub device: Device,
    /// Where its data begins in this view.
    pub data_offset: Sector,
    /// What lies before this is good; `None`: everything is.
    pub good_to: Option<MemberSector>,
    /// What is not, wherever it lies.
    pub bad: Vec<BadRange>,
}

impl Leg {
    /// The extent of `len` sectors from `start` on; `None` if it lies beyond every device.
    pub fn extent(&self, start: MemberSector, len: Sectors) -> Option<Extent> {
        let start = start.on_device(self.data_offset)?.checked_bytes()?;
        let extent = Extent::new(&self.device, start, len.checked_bytes()?);
        extent.checked_end().map(|_| extent)
    }

    /// Whether all of a range can be believed.
    pub fn is_good(&self, start: MemberSector, len: Sectors) -> bool {
        let Some(end) = start.checked_add(len) else { return false };
        if self.good_to.is_some_and(|good_to| end > good_to) {
            return false;
        }
        let (Some(from), Some(to)) =
            (start.on_device(self.data_offset), end.on_device(self.data_offset))
        else {
            return false;
        };
        self.bad.iter().all(|bad| {
            let bad_end = bad.start.checked_add(bad.sectors);
            bad_end.is_some_and(|bad_end| bad_end <= from) || to <= bad.start
        })
    }
}

/// Which data offset of a member counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Side {
    /// The present one, or the one before a reshape.
    Old,
    /// The one after it.
    New,
}

/// A geometry and the members in its slots.
#[derive(Clone, Debug)]
pub struct View {
    geometry: Geometry,
    legs: Vec<Option<Leg>>,
}

impl View {
    pub(super) fn new(
        geometry: Geometry,
        assembly: &Assembly,
        devices: &[Device],
        bad: &[Vec<BadRange>],
        side: Side,
    ) -> Self {
        let leg = |slot| {
            let member = assembly.member_in(Slot::new(slot))?;
            let good_to = match member.state {
                // A member that a reshape adds holds nothing of the old geometry; one that is
                // rebuilt holds the part before its offset in either.
                MemberState::Recovering { to } => Some(to),
                MemberState::InSync
                | MemberState::Spare
                | MemberState::Stale
                | MemberState::Journal
                | MemberState::Replacement => None,
            };
            let data_offset = match side {
                Side::Old => member.data_offset,
                Side::New => member.new_data_offset,
            };
            let device = devices.get(member.candidate)?.clone();
            let bad = bad.get(member.candidate).cloned().unwrap_or_default();
            Some(Leg { device, data_offset, good_to, bad })
        };
        let legs = (0..geometry.raid_disks()).map(leg).collect();
        Self { geometry, legs }
    }

    /// A view of `legs`, one for each slot of `geometry`; missing slots are `None`.
    pub fn of(geometry: Geometry, legs: Vec<Option<Leg>>) -> Self {
        Self { geometry, legs }
    }

    /// The geometry.
    pub fn geometry(&self) -> &Geometry {
        &self.geometry
    }

    /// The member in `slot`, if there is one.
    pub fn leg(&self, slot: Slot) -> Option<&Leg> {
        self.legs.get(usize::try_from(slot.get()).ok()?)?.as_ref()
    }

    /// The member in `slot`, to be changed.
    pub fn leg_mut(&mut self, slot: Slot) -> Option<&mut Leg> {
        self.legs.get_mut(usize::try_from(slot.get()).ok()?)?.as_mut()
    }

    /// Puts a member into `slot`, or takes it out.
    pub fn set_leg(&mut self, slot: Slot, leg: Option<Leg>) {
        let place = usize::try_from(slot.get()).ok().and_then(|slot| self.legs.get_mut(slot));
        if let Some(place) = place {
            *place = leg;
        }
    }

    /// The slots, with their members.
    pub fn legs(&self) -> impl Iterator<Item = (Slot, Option<&Leg>)> {
        (0..).map(Slot::new).zip(self.legs.iter().map(Option::as_ref))
    }

    /// Whether the member in `slot` is there and good in a range.
    pub fn is_good(&self, slot: Slot, start: MemberSector, len: Sectors) -> bool {
        self.leg(slot).is_some_and(|leg| leg.is_good(start, len))
    }

    /// Every device that is there.
    pub fn devices(&self) -> Vec<&Device> {
        self.legs.iter().flatten().map(|leg| &leg.device).collect()
    }
}
