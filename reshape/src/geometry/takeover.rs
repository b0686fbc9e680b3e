//! Takeovers: changes of the level that move no data, because both maps agree.

use kcopy::Sectors;

use super::{
    BadShape, Geometry, Layout, Level, Raid0Layout, Raid5Layout, Raid6Layout, Raid10Layout, Shape,
};
use crate::units::Slot;

/// What a takeover makes of an array.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Takeover {
    /// The array after it. What it uses of each member stays.
    pub geometry: Geometry,
    /// What becomes of the members.
    pub members: Members,
}

/// What a takeover makes of the members.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Members {
    /// All stay in their slots.
    Stay,
    /// All stay, and an empty slot comes behind them.
    EmptySlotBehind,
    /// The last one leaves, if it is there.
    LastLeaves,
    /// Slot `i` becomes `2 i`, the slots between them are empty.
    EverySecondSlot,
    /// One of the slots `2 i` and `2 i + 1` becomes `i`, the other leaves.
    OneOfEachPair,
    /// Only one stays, whichever it is, in slot 0.
    OneStays,
}

impl Members {
    /// The slot that a member gets which stays; `None` if a member of this slot (of `raid_disks`)
    /// leaves.
    pub fn slot_after(self, slot: Slot, raid_disks: u32) -> Option<Slot> {
        let before = slot.get();
        match self {
            Self::Stay | Self::EmptySlotBehind => Some(slot),
            Self::LastLeaves => (before.checked_add(1)? < raid_disks).then_some(slot),
            Self::EverySecondSlot => before.checked_mul(2).map(Slot::new),
            Self::OneOfEachPair => Some(Slot::new(before / 2)),
            Self::OneStays => Some(Slot::new(0)),
        }
    }
}

/// Why an array cannot be taken over as it is.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NoTakeover {
    /// The maps of these levels never agree.
    #[error("{from} cannot become {to} without moving data")]
    Levels {
        /// The level it has.
        from: Level,
        /// The level asked for.
        to: Level,
    },
    /// With this layout they do not agree.
    #[error("{from} with layout {layout} cannot become {to} without moving data; {remedy}")]
    LayoutFirst {
        /// The level it has.
        from: Level,
        /// The layout it has.
        layout: Layout,
        /// The level asked for.
        to: Level,
        /// What would help.
        remedy: &'static str,
    },
    /// Only arrays of two members can.
    #[error("only a {from} of 2 members can become {to}; this one has {members}")]
    TwoMembers {
        /// The level it has.
        from: Level,
        /// The level asked for.
        to: Level,
        /// Its members.
        members: u32,
    },
    /// What it would become cannot be.
    #[error(transparent)]
    Shape(#[from] BadShape),
    /// Members that differ in size.
    #[error("the members of this raid0 differ in size, which no other level knows")]
    SeveralZones,
    /// A size that no chunk divides.
    #[error("{size} are not a multiple of 4 KiB, the smallest chunk; cut the array's size first")]
    NoChunk {
        /// The size of each member.
        size: Sectors,
    },
}

/// 64 KiB, in sectors: the chunk that a mirror gets when it becomes striped.
const MIRROR_CHUNK: u64 = 128;

/// 4 KiB: the smallest chunk.
const PAGE: Sectors = Sectors::new(8);

/// What `geometry` becomes when it is taken over into level `to`, no sector being moved.
pub fn takeover(geometry: &Geometry, to: Level) -> Result<Takeover, NoTakeover> {
    let from = geometry.level();
    match from {
        Level::Raid0 => from_raid0(geometry, to),
        Level::Raid1 => from_raid1(geometry, to),
        Level::Raid4 | Level::Raid5 => from_parity(geometry, to),
        Level::Raid6 => from_raid6(geometry, to),
        Level::Raid10 => from_raid10(geometry, to),
        Level::Linear => Err(NoTakeover::Levels { from, to }),
    }
}

/// Another level with another chunk on members of the same size.
fn with_chunk(
    geometry: &Geometry,
    chunk: Sectors,
    (level, layout): (Level, Layout),
    raid_disks: u32,
    members: Members,
) -> Result<Takeover, NoTakeover> {
    let component = geometry.component();
    let sizes = vec![component; usize::try_from(raid_disks).unwrap_or(usize::MAX)];
    let shape = Shape { level, layout, chunk, raid_disks, component, member_sizes: &sizes };
    Ok(Takeover { geometry: Geometry::new(&shape)?, members })
}

/// Another level with the same chunk.
fn becomes(
    geometry: &Geometry,
    kind: (Level, Layout),
    raid_disks: u32,
    members: Members,
) -> Result<Takeover, NoTakeover> {
    with_chunk(geometry, geometry.chunk(), kind, raid_disks, members)
}

fn from_raid0(geometry: &Geometry, to: Level) -> Result<Takeover, NoTakeover> {
    let n = geometry.raid_disks();
    let (layout, raid_disks, members) = match to {
        Level::Raid4 => (Layout::None, n.saturating_add(1), Members::EmptySlotBehind),
        Level::Raid5 => {
            let layout = Layout::Raid5(Raid5Layout::ParityLast);
            (layout, n.saturating_add(1), Members::EmptySlotBehind)
        }
        Level::Raid10 => {
            let layout = Layout::Raid10(Raid10Layout::near(2));
            (layout, n.saturating_mul(2), Members::EverySecondSlot)
        }
        Level::Linear | Level::Raid0 | Level::Raid1 | Level::Raid6 => {
            return Err(NoTakeover::Levels { from: Level::Raid0, to });
        }
    };
    if geometry.zones().len() > 1 {
        return Err(NoTakeover::SeveralZones);
    }
    becomes(geometry, (to, layout), raid_disks, members)
}

/// The chunk that a mirror of this size gets when it becomes striped: the largest up to 64 KiB that divides what is
/// used of the members. `None`: not even the smallest one does.
#[must_use]
pub fn striped_chunk(size: Sectors) -> Option<Sectors> {
    let divides = 1_u64.checked_shl(size.get().trailing_zeros()).unwrap_or(MIRROR_CHUNK);
    Some(Sectors::new(divides.min(MIRROR_CHUNK))).filter(|chunk| *chunk >= PAGE)
}

fn from_raid1(geometry: &Geometry, to: Level) -> Result<Takeover, NoTakeover> {
    let size = geometry.sectors();
    let chunk = || striped_chunk(size).ok_or(NoTakeover::NoChunk { size });
    match to {
        Level::Raid0 => {
            let layout = Layout::Raid0(Raid0Layout::Unspecified);
            with_chunk(geometry, chunk()?, (to, layout), 1, Members::OneStays)
        }
        Level::Raid5 => {
            two_members(geometry, to)?;
            let layout = Layout::Raid5(Raid5Layout::LeftSymmetric);
            with_chunk(geometry, chunk()?, (to, layout), 2, Members::Stay)
        }
        Level::Linear | Level::Raid1 | Level::Raid4 | Level::Raid6 | Level::Raid10 => {
            Err(NoTakeover::Levels { from: Level::Raid1, to })
        }
    }
}

fn two_members(geometry: &Geometry, to: Level) -> Result<(), NoTakeover> {
    let members = geometry.raid_disks();
    if members == 2 {
        return Ok(());
    }
    Err(NoTakeover::TwoMembers { from: geometry.level(), to, members })
}

/// RAID4, and RAID5, of which RAID4 is the layout with the parity last.
fn from_parity(geometry: &Geometry, to: Level) -> Result<Takeover, NoTakeover> {
    let (n, from) = (geometry.raid_disks(), geometry.level());
    let layout = match geometry.layout() {
        Layout::Raid5(layout) => layout,
        Layout::None | Layout::Raid0(_) | Layout::Raid6(_) | Layout::Raid10(_) => {
            Raid5Layout::ParityLast
        }
    };
    let parity_last = || match layout {
        Raid5Layout::ParityLast => Ok(()),
        Raid5Layout::LeftAsymmetric
        | Raid5Layout::RightAsymmetric
        | Raid5Layout::LeftSymmetric
        | Raid5Layout::RightSymmetric
        | Raid5Layout::ParityFirst => Err(NoTakeover::LayoutFirst {
            from,
            layout: geometry.layout(),
            to,
            remedy: "reshape it to parity-last first",
        }),
    };
    let taken = |layout, raid_disks, members| becomes(geometry, (to, layout), raid_disks, members);
    match to {
        Level::Raid0 => {
            parity_last()?;
            let layout = Layout::Raid0(Raid0Layout::Unspecified);
            taken(layout, n.saturating_sub(1), Members::LastLeaves)
        }
        Level::Raid5 if from == Level::Raid4 => taken(Layout::Raid5(layout), n, Members::Stay),
        Level::Raid4 if from == Level::Raid5 => {
            parity_last()?;
            taken(Layout::None, n, Members::Stay)
        }
        Level::Raid1 if from == Level::Raid5 => {
            two_members(geometry, to)?;
            with_chunk(geometry, Sectors::ZERO, (to, Layout::None), n, Members::Stay)
        }
        Level::Raid6 if from == Level::Raid5 => {
            let layout = Layout::Raid6(with_q_last(layout));
            taken(layout, n.saturating_add(1), Members::EmptySlotBehind)
        }
        Level::Linear
        | Level::Raid1
        | Level::Raid4
        | Level::Raid5
        | Level::Raid6
        | Level::Raid10 => Err(NoTakeover::Levels { from, to }),
    }
}

/// The RAID6 layout with the same data and P, and Q alone on one member more.
fn with_q_last(layout: Raid5Layout) -> Raid6Layout {
    match layout {
        Raid5Layout::ParityLast => Raid6Layout::Native(layout),
        Raid5Layout::LeftAsymmetric
        | Raid5Layout::RightAsymmetric
        | Raid5Layout::LeftSymmetric
        | Raid5Layout::RightSymmetric
        | Raid5Layout::ParityFirst => Raid6Layout::WithQLast(layout),
    }
}

fn from_raid6(geometry: &Geometry, to: Level) -> Result<Takeover, NoTakeover> {
    let from = Level::Raid6;
    let (Level::Raid5, Layout::Raid6(layout)) = (to, geometry.layout()) else {
        return Err(NoTakeover::Levels { from, to });
    };
    let (Raid6Layout::WithQLast(left) | Raid6Layout::Native(left @ Raid5Layout::ParityLast)) =
        layout
    else {
        let remedy = "reshape it to a layout that ends in -6 first";
        return Err(NoTakeover::LayoutFirst { from, layout: geometry.layout(), to, remedy });
    };
    let raid_disks = geometry.raid_disks().saturating_sub(1);
    becomes(geometry, (to, Layout::Raid5(left)), raid_disks, Members::LastLeaves)
}

fn from_raid10(geometry: &Geometry, to: Level) -> Result<Takeover, NoTakeover> {
    let (from, n) = (Level::Raid10, geometry.raid_disks());
    if to != Level::Raid0 {
        return Err(NoTakeover::Levels { from, to });
    }
    if geometry.layout() != Layout::Raid10(Raid10Layout::near(2)) || n % 2 != 0 {
        let remedy = "only n2 on an even number of members agrees with raid0";
        return Err(NoTakeover::LayoutFirst { from, layout: geometry.layout(), to, remedy });
    }
    let layout = Layout::Raid0(Raid0Layout::Unspecified);
    becomes(geometry, (to, layout), n / 2, Members::OneOfEachPair)
}

#[cfg(test)]
mod tests {
    use super::super::tests::geometry;
    use super::super::{On, Place};
    use super::*;
    use crate::units::ArraySector;

    /// Every array that a takeover is tried on.
    fn arrays() -> Vec<Geometry> {
        let mut arrays = vec![
            geometry(Level::Linear, 0, 8, 3, 1024),
            geometry(Level::Raid0, 1, 8, 1, 1024),
            geometry(Level::Raid0, 1, 8, 4, 1024),
            geometry(Level::Raid1, 0, 0, 2, 1024),
            geometry(Level::Raid1, 0, 0, 3, 1032),
            geometry(Level::Raid4, 0, 8, 4, 1024),
            geometry(Level::Raid10, 0x102, 8, 4, 1024),
            geometry(Level::Raid10, 0x102, 8, 5, 1024),
            geometry(Level::Raid10, 0x201, 8, 4, 1024),
        ];
        for layout in Raid5Layout::ALL {
            arrays.push(geometry(Level::Raid5, layout.to_md(), 8, 2, 1024));
            arrays.push(geometry(Level::Raid5, layout.to_md(), 8, 5, 1024));
        }
        for layout in Raid6Layout::all() {
            arrays.push(geometry(Level::Raid6, layout.to_md(), 8, 5, 1024));
        }
        arrays
    }

    /// Where a sector of a member goes.
    fn after(taken: &Takeover, old: &Geometry, place: Place) -> Option<Place> {
        let slot = taken.members.slot_after(place.slot, old.raid_disks())?;
        Some(Place { slot, sector: place.sector })
    }

    #[test]
    fn a_takeover_leaves_every_sector_where_it_is() {
        let mut count = 0;
        for old in arrays() {
            for to in Level::ALL {
                let Ok(taken) = takeover(&old, to) else { continue };
                count += 1;
                assert_eq!(taken.geometry.level(), to);
                assert_eq!(taken.geometry.sectors(), old.sectors(), "{} to {to}", old.level());
                for sector in (0..old.sectors().get()).map(ArraySector::new) {
                    let new_places = taken.geometry.at(sector).unwrap().places;
                    let old_places = old.at(sector).unwrap().places;
                    let stay = old_places.iter().filter_map(|place| after(&taken, &old, *place));
                    let stay: Vec<_> = stay.collect();
                    assert!(!stay.is_empty());
                    // Two members hold the same when one parity is that of one block.
                    let on = |place: &Place| taken.geometry.on(place.slot, place.sector);
                    let same = |place: &Place| matches!(on(place), On::P { .. });
                    let mirrored = old.level() == Level::Raid1;
                    let found = |place| new_places.contains(place) || mirrored && same(place);
                    assert!(stay.iter().all(found), "{} to {to}, {sector}", old.level());
                }
            }
        }
        assert_eq!(count, 34, "takeovers that were looked at");
    }

    #[test]
    fn layouts_and_members_are_those_of_md() {
        let of = |level, layout, disks, to| {
            let taken = takeover(&geometry(level, layout, 128, disks, 1 << 16), to).unwrap();
            let after = &taken.geometry;
            let numbers = (after.raid_disks(), after.layout().to_md(), after.chunk().get());
            (numbers, taken.members)
        };
        let (zero, one, five, six) = (Level::Raid0, Level::Raid1, Level::Raid5, Level::Raid6);
        assert_eq!(of(zero, 1, 3, Level::Raid4), ((4, 0, 128), Members::EmptySlotBehind));
        assert_eq!(of(zero, 1, 3, five), ((4, 5, 128), Members::EmptySlotBehind));
        assert_eq!(of(zero, 1, 3, Level::Raid10), ((6, 0x102, 128), Members::EverySecondSlot));
        assert_eq!(of(five, 2, 2, one), ((2, 0, 0), Members::Stay));
        assert_eq!(of(Level::Raid4, 0, 4, five), ((4, 5, 128), Members::Stay));
        assert_eq!(of(five, 5, 4, Level::Raid4), ((4, 0, 128), Members::Stay));
        for layout in 0..4 {
            assert_eq!(of(five, layout, 4, six), ((5, layout + 16, 128), Members::EmptySlotBehind));
            assert_eq!(of(six, layout + 16, 5, five), ((4, layout, 128), Members::LastLeaves));
        }
        assert_eq!(of(five, 4, 4, six), ((5, 20, 128), Members::EmptySlotBehind));
        assert_eq!(of(five, 5, 4, six), ((5, 5, 128), Members::EmptySlotBehind));
        assert_eq!(of(six, 20, 5, five), ((4, 4, 128), Members::LastLeaves));
        assert_eq!(of(six, 5, 5, five), ((4, 5, 128), Members::LastLeaves));
        assert_eq!(of(five, 5, 4, zero), ((3, 0, 128), Members::LastLeaves));
        assert_eq!(of(Level::Raid10, 0x102, 6, zero), ((3, 0, 128), Members::OneOfEachPair));
    }

    #[test]
    fn a_mirror_gets_the_largest_chunk_up_to_64_kib_that_divides_it() {
        let chunk = |size, to| {
            let taken = takeover(&geometry(Level::Raid1, 0, 0, 2, size), to)?;
            Ok(taken.geometry.chunk().get())
        };
        assert_eq!(chunk(1 << 20, Level::Raid5), Ok(128));
        assert_eq!(chunk(1048, Level::Raid5), Ok(8));
        assert_eq!(chunk(1056, Level::Raid0), Ok(32));
        let size = Sectors::new(1044);
        assert_eq!(chunk(1044, Level::Raid5), Err(NoTakeover::NoChunk { size }));
    }

    #[test]
    fn what_needs_data_to_move_is_refused_with_what_helps() {
        let refused = |level, layout, disks, to| {
            takeover(&geometry(level, layout, 128, disks, 1 << 16), to).unwrap_err().to_string()
        };
        let to_zero = refused(Level::Raid5, 2, 4, Level::Raid0);
        assert!(to_zero.ends_with("reshape it to parity-last first"), "{to_zero}");
        let to_five = refused(Level::Raid6, 2, 5, Level::Raid5);
        assert!(to_five.ends_with("reshape it to a layout that ends in -6 first"), "{to_five}");
        let to_one = refused(Level::Raid5, 2, 3, Level::Raid1);
        assert_eq!(to_one, "only a raid5 of 2 members can become raid1; this one has 3");
        let ten = refused(Level::Raid10, 0x102, 5, Level::Raid0);
        assert!(ten.ends_with("only n2 on an even number of members agrees with raid0"), "{ten}");
    }

    #[test]
    fn raid0_of_members_that_differ_stays_what_it_is() {
        let sizes = [64, 128].map(Sectors::new);
        let shape = Shape {
            level: Level::Raid0,
            layout: Layout::Raid0(Raid0Layout::Alternate),
            chunk: Sectors::new(8),
            raid_disks: 2,
            component: Sectors::ZERO,
            member_sizes: &sizes,
        };
        let geometry = Geometry::new(&shape).unwrap();
        assert_eq!(takeover(&geometry, Level::Raid5), Err(NoTakeover::SeveralZones));
    }
}
