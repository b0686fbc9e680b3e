//! What is wanted of an array.

use kcopy::{Sector, Sectors};

use super::present::Present;
use super::refusal::Refusal;
use crate::geometry::{
    BadShape, FarSets, Geometry, Layout, Level, Raid5Layout, Raid6Layout, Raid10Layout, Shape,
};

/// A change, as `mdadm --grow` takes it. What is `None` stays, or follows from the rest.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Change {
    /// Another level.
    pub level: Option<Level>,
    /// Another layout, of the new level.
    pub layout: Option<WantedLayout>,
    /// Another chunk.
    pub chunk: Option<Sectors>,
    /// So many members, at the new level.
    pub raid_disks: Option<u32>,
    /// So much of each member.
    pub size: Option<WantedSize>,
    /// So much of the array; below its size it is the consent to lose the rest.
    pub array_size: Option<WantedSize>,
    /// Where the data of every member is to begin.
    pub data_offset: Option<Sector>,
    /// A bitmap, or none.
    pub bitmap: Option<WantedBitmap>,
    /// Where the critical section may be saved.
    pub backup: Backup,
    /// Whether fewer members than there should be are enough.
    pub spares: Spares,
}

/// A layout that is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum WantedLayout {
    /// This one.
    Is(Layout),
    /// RAID6: what it has, Q alone on the last member.
    Preserve,
    /// RAID6: Q turning with the rest.
    Normalise,
}

/// A size that is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum WantedSize {
    /// So much.
    Is(Sectors),
    /// As much as there is.
    Max,
}

/// A bitmap that is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum WantedBitmap {
    /// One beside the superblock.
    Internal,
    /// No bitmap.
    None,
}

/// Where the critical section may be saved.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Backup {
    /// Nowhere but on spares.
    #[default]
    None,
    /// In a file, on other storage.
    File,
}

/// What happens when there are too few disks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Spares {
    /// The change is refused.
    #[default]
    Enough,
    /// The array may lack members afterwards (`--force`).
    MayBeTooFew,
}

impl Change {
    /// Whether the array is to have another shape.
    pub(super) fn reshapes(&self) -> bool {
        self.level.is_some()
            || self.layout.is_some()
            || self.chunk.is_some()
            || self.raid_disks.is_some()
            || self.data_offset.is_some()
    }
}

/// The shape to be reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Goal {
    pub(super) level: Level,
    /// `None`: whatever comes of it.
    pub(super) layout: Option<Layout>,
    pub(super) chunk: Option<Sectors>,
    pub(super) raid_disks: u32,
}

impl Goal {
    pub(super) fn of(present: &Present, change: &Change) -> Result<Self, Refusal> {
        let now = &present.geometry;
        let level = change.level.unwrap_or_else(|| now.level());
        let raid_disks = match change.raid_disks {
            Some(disks) => disks,
            None => usual_disks(now, level),
        };
        let chunk = chunk(now, level, change)?;
        let goal = Self { level, layout: layout(now, level, change)?, chunk, raid_disks };
        goal.check(now)?;
        Ok(goal)
    }

    pub(super) fn matches(&self, geometry: &Geometry) -> bool {
        geometry.level() == self.level
            && geometry.raid_disks() == self.raid_disks
            && self.layout.is_none_or(|layout| layout == geometry.layout())
            && self.chunk.is_none_or(|chunk| chunk == geometry.chunk())
    }

    /// Whether such an array can be.
    fn check(&self, now: &Geometry) -> Result<(), Refusal> {
        let layout = self.layout.unwrap_or_else(|| Layout::default_of(self.level));
        let chunk = self.chunk.unwrap_or_else(|| now.chunk());
        // A chunk for a level that follows one without.
        let usual = if chunk == Sectors::ZERO { Sectors::new(8) } else { chunk };
        geometry(now, (self.level, layout), usual, self.raid_disks)?;
        let component = now.component();
        if now.level() == Level::Linear || chunk == Sectors::ZERO {
            return Ok(());
        }
        match component.get().checked_rem(chunk.get()) {
            None | Some(0) => Ok(()),
            Some(rest) => {
                let fits = Sectors::new(component.get().saturating_sub(rest));
                Err(Refusal::ChunkDoesNotDivide { level: now.level(), chunk, component, fits })
            }
        }
    }
}

/// An array of another shape on members of the same size.
pub(super) fn geometry(
    now: &Geometry,
    (level, layout): (Level, Layout),
    chunk: Sectors,
    raid_disks: u32,
) -> Result<Geometry, BadShape> {
    let component = now.component();
    let count = usize::try_from(raid_disks).unwrap_or(usize::MAX).min(4096);
    let sizes = vec![component; count];
    let chunk = if matches!(level, Level::Raid1) { Sectors::ZERO } else { chunk };
    Geometry::new(&Shape { level, layout, chunk, raid_disks, component, member_sizes: &sizes })
}

/// As many members as it takes for the same content.
fn usual_disks(now: &Geometry, level: Level) -> u32 {
    let disks = now.raid_disks();
    if level == now.level() {
        return disks;
    }
    let data = match now.level() {
        Level::Raid10 => now
            .mirrors()
            .map_or(disks, |mirrors| disks.checked_div(mirrors.layout().copies()).unwrap_or(disks)),
        Level::Raid1 => 1,
        Level::Linear => disks,
        Level::Raid0 | Level::Raid4 | Level::Raid5 | Level::Raid6 => {
            now.data_disks().unwrap_or(disks)
        }
    };
    match level {
        Level::Linear | Level::Raid0 => data,
        Level::Raid1 => 2,
        Level::Raid4 | Level::Raid5 => data.saturating_add(1),
        Level::Raid6 => data.saturating_add(2).max(4),
        Level::Raid10 => data.saturating_mul(2),
    }
}

fn chunk(now: &Geometry, level: Level, change: &Change) -> Result<Option<Sectors>, Refusal> {
    let meaningless = matches!(level, Level::Raid1 | Level::Linear);
    match change.chunk {
        Some(_) if meaningless => Err(Refusal::ChunkMeaningless { level }),
        Some(chunk) => Ok(Some(chunk)),
        // A mirror becomes striped with the chunk that the takeover chooses.
        None if meaningless || now.chunk() == Sectors::ZERO => Ok(None),
        None => Ok(Some(now.chunk())),
    }
}

fn layout(now: &Geometry, level: Level, change: &Change) -> Result<Option<Layout>, Refusal> {
    let own = now.layout();
    match change.layout {
        Some(WantedLayout::Is(_))
            if matches!(level, Level::Linear | Level::Raid0 | Level::Raid1 | Level::Raid4) =>
        {
            Err(Refusal::LayoutMeaningless { level })
        }
        Some(WantedLayout::Is(layout)) => Ok(Some(layout)),
        Some(wanted @ (WantedLayout::Preserve | WantedLayout::Normalise)) => {
            let (Level::Raid6, Some(turning)) = (level, turning(own)) else {
                return Err(Refusal::OnlyRaid6 { level });
            };
            let alone = match turning {
                Raid5Layout::ParityLast => Raid6Layout::Native(turning),
                Raid5Layout::LeftAsymmetric
                | Raid5Layout::RightAsymmetric
                | Raid5Layout::LeftSymmetric
                | Raid5Layout::RightSymmetric
                | Raid5Layout::ParityFirst => Raid6Layout::WithQLast(turning),
            };
            Ok(Some(Layout::Raid6(match wanted {
                WantedLayout::Preserve => match own {
                    Layout::Raid6(own) => own,
                    Layout::None | Layout::Raid0(_) | Layout::Raid5(_) | Layout::Raid10(_) => alone,
                },
                WantedLayout::Normalise | WantedLayout::Is(_) => Raid6Layout::Native(turning),
            })))
        }
        None if level == now.level() => Ok(kept(own, change)?),
        None => Ok(implied(now, level)),
    }
}

/// How RAID5's parity turns, or RAID6's with it.
fn turning(layout: Layout) -> Option<Raid5Layout> {
    match layout {
        Layout::Raid5(layout)
        | Layout::Raid6(Raid6Layout::Native(layout) | Raid6Layout::WithQLast(layout)) => {
            Some(layout)
        }
        Layout::None | Layout::Raid0(_) | Layout::Raid6(_) | Layout::Raid10(_) => None,
    }
}

/// The level stays, and nothing is said about the layout.
fn kept(own: Layout, change: &Change) -> Result<Option<Layout>, Refusal> {
    match own {
        // As mdadm: such a layout is meant to be passed through, not to be kept by oversight.
        Layout::Raid6(Raid6Layout::WithQLast(_)) if change.reshapes() => {
            Err(Refusal::PreserveOrNormalise { layout: own })
        }
        Layout::Raid0(_) => Ok(None),
        Layout::None | Layout::Raid5(_) | Layout::Raid6(_) | Layout::Raid10(_) => Ok(Some(own)),
    }
}

/// The level changes, and nothing is said about the layout.
fn implied(now: &Geometry, level: Level) -> Option<Layout> {
    match (now.level(), level) {
        // What is instant is what mdadm does.
        (Level::Raid4, Level::Raid5) => Some(Layout::Raid5(Raid5Layout::ParityLast)),
        (Level::Raid5 | Level::Raid6, Level::Raid5 | Level::Raid6) => {
            let turning = turning(now.layout()).unwrap_or(Raid5Layout::LeftSymmetric);
            Some(match level {
                Level::Raid5 => Layout::Raid5(turning),
                Level::Linear
                | Level::Raid0
                | Level::Raid1
                | Level::Raid4
                | Level::Raid6
                | Level::Raid10 => Layout::Raid6(Raid6Layout::Native(turning)),
            })
        }
        (_, Level::Raid0) => None,
        (_, level) => Some(Layout::default_of(level)),
    }
}

/// Whether a RAID10's copies lie where a reshape can move them.
pub(super) fn is_far(layout: Raid10Layout) -> bool {
    (layout.far > 1 && !layout.offset) || layout.far_sets != FarSets::Whole
}
