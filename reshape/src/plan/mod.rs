//! Plans: from the array as it is and what is wanted of it, the steps that lead there, with all their
//! numbers; or the reason why not, and what would help. Pure: no I/O, no clock.
//!
//! ```text
//!  Present ─┐
//!           ├─ goal ─ route ─ steps ──▶ Plan      takeover, restripe, rebuild, ...
//!  Change ──┘           │
//!                       └─────────────▶ Refusal   condition, numbers, remedy
//! ```
//!
//! | file | what |
//! |---|---|
//! | `present.rs` | the array as it is, with the room on every disk |
//! | `change.rs` | what is wanted, and the shape that follows from it |
//! | `route.rs` | the chain of takeovers and restripes |
//! | `moves.rs` | one restripe: direction, data offsets, backup, traffic |
//! | `steps.rs` | who sits in which slot from step to step |
//! | `sizes.rs` | component size and array size |
//! | `refusal.rs` | why not |
//!
//! A step holds what its executor takes: a restripe the [`Restripe`] itself, so that what was planned
//! is what is done.
//!
//! [`Restripe`]: crate::exec::Restripe

mod append;
mod change;
mod moves;
mod present;
mod refusal;
mod route;
mod sizes;
mod steps;
#[cfg(test)]
mod tests;

use std::ops::Range;
use std::time::Duration;

use kcopy::Sectors;

use crate::geometry::{Geometry, Level};
use crate::units::Slot;

pub use change::{Backup, Change, Spares, WantedBitmap, WantedLayout, WantedSize};
pub use moves::{Mode, RestripeStep};
pub use present::{Disk, Present};
pub use refusal::{Beside, Refusal};

/// The way from the present array to the wanted one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// The array before.
    pub before: Geometry,
    /// The array after.
    pub after: Geometry,
    /// What is done, one after the other.
    pub steps: Vec<Step>,
    /// The disks without a place afterwards.
    pub spares: Vec<usize>,
    /// What is lost, or at risk.
    pub cautions: Vec<Caution>,
}

/// One thing to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Disks get a superblock, as spares of the array.
    AddDisks(Vec<usize>),
    /// The bitmap is given up.
    RemoveBitmap,
    /// The level changes, and the place of members perhaps; no data moves.
    Takeover(TakeoverStep),
    /// All data moves.
    Restripe(Box<RestripeStep>),
    /// Another part of each member is used.
    Resize(ResizeStep),
    /// The array shows less than it has.
    ArraySize(ArraySizeStep),
    /// Members that are missing are computed onto spares.
    Rebuild(RebuildStep),
    /// A linear array goes on on further disks.
    Append(AppendStep),
    /// A bitmap that fits the array, all of it clean.
    MakeBitmap,
}

/// See [`Step::Takeover`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TakeoverStep {
    /// Before.
    pub old: Geometry,
    /// After.
    pub new: Geometry,
    /// Where every member goes.
    pub moves: Vec<SlotMove>,
    /// The disk in each slot afterwards.
    pub slots: Vec<Option<usize>>,
}

/// Where a takeover puts a member.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SlotMove {
    /// The disk.
    pub disk: usize,
    /// Its slot before.
    pub from: Slot,
    /// Its slot afterwards; `None`: it leaves.
    pub to: Option<Slot>,
}

/// A disk that gets a slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fill {
    /// The disk.
    pub disk: usize,
    /// The slot.
    pub slot: Slot,
}

/// See [`Step::Resize`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ResizeStep {
    /// Before.
    pub old: Geometry,
    /// After.
    pub new: Geometry,
    /// Member sectors that come into use, whose parity or copies have to be made.
    pub fresh: Range<u64>,
    /// Disks whose `data_size` has to be raised before, and to what.
    pub data_sizes: Vec<(usize, Sectors)>,
    /// The disk in each slot.
    pub slots: Vec<Option<usize>>,
    /// What each disk reads and writes.
    pub traffic: Vec<Traffic>,
}

/// See [`Step::ArraySize`]. md has no field for it: it lasts until the array is stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ArraySizeStep {
    /// Before.
    pub old: Sectors,
    /// After.
    pub new: Sectors,
}

/// See [`Step::Rebuild`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RebuildStep {
    /// The array.
    pub geometry: Geometry,
    /// The disks that are filled and their slots.
    pub fills: Vec<Fill>,
    /// What each disk reads and writes.
    pub traffic: Vec<Traffic>,
    /// Members that can be lost while it runs.
    pub tolerance: u32,
}

/// See [`Step::Append`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AppendStep {
    /// Before.
    pub old: Geometry,
    /// After.
    pub new: Geometry,
    /// The disks that become its last members, in this order; what is on them shows up as content.
    pub disks: Vec<usize>,
}

/// What a step reads from a disk and writes to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Traffic {
    /// The disk.
    pub disk: usize,
    /// Bytes read.
    pub read: u64,
    /// Bytes written.
    pub written: u64,
}

/// What the person who decides has to know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Caution {
    /// Content behind the new end is lost.
    ContentLost {
        /// The size before.
        from: Sectors,
        /// The size afterwards.
        to: Sectors,
    },
    /// The array lacks members before anything begins.
    Degraded {
        /// Which slots are empty.
        missing: Vec<Slot>,
    },
    /// While a step runs no member can be lost, or fewer than before and afterwards.
    LessRedundancy {
        /// The step, from 0.
        step: usize,
        /// Members that can be lost while it runs.
        tolerance: u32,
        /// Before the first step.
        usual: u32,
    },
    /// The array lacks members when all is done.
    EndsDegraded {
        /// How many.
        missing: u32,
    },
    /// A backup file was asked for where data offsets can move instead: it makes the way slower.
    BackupNotNeeded {
        /// The step, from 0.
        step: usize,
    },
    /// Bad sectors are computed from the others.
    BadSectors {
        /// The disk.
        disk: usize,
        /// How many its log lists.
        sectors: u64,
    },
}

/// Up to when a step can be taken back, and how.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Revert {
    /// At any time: nothing is moved.
    Always,
    /// At every checkpoint until it has ended; then by a change of its own in the other direction.
    UntilTheEnd,
    /// The same, but before it turns, the parity of all that was not moved is computed: on its way it fills a slot that
    /// the array can do without before it, and not after it.
    UntilTheEndWithParity,
    /// The shape at every checkpoint, but not what lay behind the new end.
    ShapeOnly,
    /// At any time, but members that left have to be rebuilt.
    WithRebuild,
    /// Not at all: nothing makes a linear array shorter.
    Never,
}

/// What disks can do, in bytes per second: the slowest counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Speeds {
    /// Reading from one end to the other.
    pub read: u64,
    /// Writing from one end to the other.
    pub write: u64,
    /// Writing the backup file.
    pub backup: u64,
}

/// Plans `change` of the array `present`.
///
/// # Errors
///
/// Why it is not possible.
pub fn plan(present: &Present, change: &Change) -> Result<Plan, Refusal> {
    check(present)?;
    if present.geometry.level() == Level::Linear && present.has_blank_disks() {
        return append::plan(present, change);
    }
    if change.size.is_some() {
        return sizes::resize(present, change);
    }
    let lacks_parity =
        present.geometry.level() == Level::Raid4 && present.slots.last() == Some(&None);
    if lacks_parity && change.level.is_none() && change.raid_disks.is_some() {
        return Err(Refusal::LevelUnsaid);
    }
    if !change.reshapes() && change.array_size.is_some() {
        return sizes::array_size(present, change);
    }
    steps::plan(present, change)
}

/// What forbids every change.
fn check(present: &Present) -> Result<(), Refusal> {
    use crate::metadata::Resync;
    let redundant = present.geometry.tolerance() > 0;
    if redundant && present.resync != Resync::Clean {
        return Err(Refusal::NotInStep);
    }
    let there = |slot: Slot| {
        let slot = usize::try_from(slot.get()).ok();
        slot.and_then(|slot| present.slots.get(slot)).is_some_and(Option::is_some)
    };
    let missing = present.missing();
    if !present.geometry.enough(there) {
        let (geometry, missing) = (&present.geometry, u32::try_from(missing.len()));
        return Err(Refusal::NotWorking {
            level: geometry.level(),
            members: geometry.raid_disks(),
            missing: missing.unwrap_or(u32::MAX),
        });
    }
    let left = moves::tolerance_of(&present.geometry, &present.slots);
    for disk in present.slots.iter().flatten().filter_map(|disk| present.disks.get(*disk)) {
        if disk.bad_sectors > 0 && left == 0 {
            let (path, sectors) = (disk.path.clone(), disk.bad_sectors);
            return Err(Refusal::BadSectors { path, sectors });
        }
    }
    Ok(())
}

impl Plan {
    /// Whether no data moves.
    pub fn is_instant(&self) -> bool {
        self.steps.iter().all(|step| step.traffic().is_empty())
    }

    /// The largest backup of all steps, in bytes; 0 if none is needed.
    pub fn backup_bytes(&self) -> u64 {
        let backups = self.steps.iter().filter_map(Step::saved).map(|step| step.backup_bytes);
        backups.max().unwrap_or(0)
    }

    /// How long all steps take on such disks, at least.
    pub fn time(&self, speeds: &Speeds) -> Duration {
        self.steps.iter().map(|step| step.time(speeds)).sum()
    }
}

impl Step {
    /// The restriping that needs a backup file, if it is one.
    pub fn saved(&self) -> Option<&RestripeStep> {
        match self {
            Self::Restripe(step) if step.mode == Mode::BackupFile => Some(step),
            Self::Restripe(_)
            | Self::AddDisks(_)
            | Self::RemoveBitmap
            | Self::Takeover(_)
            | Self::Resize(_)
            | Self::ArraySize(_)
            | Self::Rebuild(_)
            | Self::Append(_)
            | Self::MakeBitmap => None,
        }
    }

    /// What it reads and writes; empty if it moves no data.
    pub fn traffic(&self) -> &[Traffic] {
        match self {
            Self::Restripe(step) => &step.traffic,
            Self::Resize(step) => &step.traffic,
            Self::Rebuild(step) => &step.traffic,
            Self::AddDisks(_)
            | Self::RemoveBitmap
            | Self::Takeover(_)
            | Self::ArraySize(_)
            | Self::Append(_)
            | Self::MakeBitmap => &[],
        }
    }

    /// Members that can be lost while it runs, and until the next step; `None`: as before it.
    pub fn tolerance(&self) -> Option<u32> {
        match self {
            Self::Restripe(step) => Some(step.tolerance),
            Self::Rebuild(step) => Some(step.tolerance),
            Self::Takeover(step) => Some(moves::tolerance_of(&step.new, &step.slots)),
            Self::Resize(_)
            | Self::AddDisks(_)
            | Self::RemoveBitmap
            | Self::ArraySize(_)
            | Self::Append(_)
            | Self::MakeBitmap => None,
        }
    }

    /// Up to when it can be taken back.
    pub fn revert(&self) -> Revert {
        match self {
            Self::Restripe(step) if step.restripe.new.sectors() < step.restripe.old.sectors() => {
                Revert::ShapeOnly
            }
            Self::Restripe(step) if step.completes_before_turning() => {
                Revert::UntilTheEndWithParity
            }
            Self::Restripe(_) => Revert::UntilTheEnd,
            Self::Takeover(step) if step.moves.iter().any(|one| one.to.is_none()) => {
                Revert::WithRebuild
            }
            Self::Takeover(_) | Self::AddDisks(_) | Self::RemoveBitmap | Self::MakeBitmap => {
                Revert::Always
            }
            Self::ArraySize(_) | Self::Rebuild(_) => Revert::Always,
            Self::Resize(step) if step.new.component() < step.old.component() => Revert::ShapeOnly,
            Self::Resize(_) => Revert::Always,
            Self::Append(_) => Revert::Never,
        }
    }

    /// How long it takes on such disks, at least: the busiest disk counts, and it either reads or
    /// writes.
    pub fn time(&self, speeds: &Speeds) -> Duration {
        let seconds = |bytes: u64, speed: u64| {
            Duration::from_millis(bytes.saturating_mul(8) / (speed / 125).max(1))
        };
        let busy = |traffic: &Traffic| {
            seconds(traffic.read, speeds.read) + seconds(traffic.written, speeds.write)
        };
        let disks = self.traffic().iter().map(busy).max().unwrap_or(Duration::ZERO);
        let saved = self.saved().map_or(Duration::ZERO, |step| {
            let saved = step.critical.end.saturating_sub(step.critical.start);
            seconds(saved.saturating_mul(kcopy::SECTOR_SIZE), speeds.backup)
        });
        disks + saved
    }
}
