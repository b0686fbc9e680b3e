//! An assembled array as an address space. All data moves through jobs of the copy engine.
//!
//! | module | what |
//! |---|---|
//! | `view` | a geometry with the members behind it; which of them may be read where |
//! | `steps` | pure: array range -> copies and stripes |
//! | `solve` | the transform that computes what is lost of a stripe |
//! | `join` | chunks that lie behind each other on a member, read at once |
//! | `read` | content to a device or to memory, reconstructing |
//! | `write` | content from a device or from memory, with parity and copies |
//! | `backup` | the backup of a reshape under way, judged |
//! | `check`, `rows` | scrubbing and mending |
//! | `rebuild` | a new member for an empty slot |
//! | `session` | an array that is changed: dirty before, clean after |
//! | `leaving` | members that cannot be written or flushed |
//! | `members` | opened devices, examined |
//! | `create` | a new array |
//! | `bitmap` | internal bitmaps: how large, and what of them is believed |
//! | `component` | how much of each member is used |
//! | `change` | bitmap added and removed, component size, a member appended to linear |
//! | `record` | the superblocks, and the order in which they change |
//!
//! A plan ([`steps`]) knows nothing of I/O, an executor nothing of layouts: see
//! `docs/design/0012-array-io.md`.

mod backup;
pub mod bitmap;
pub mod change;
mod check;
mod component;
pub mod create;
mod holes;
mod join;
pub(crate) mod leaving;
mod members;
mod read;
mod rebuild;
pub mod record;
mod regenerate;
mod rows;
mod session;
mod solve;
pub mod steps;
mod view;
mod write;

use kcopy::{Device, Sectors};

use crate::assemble::{Assembly, Shapes, WhyNot};
use crate::geometry::{Geometry, Level};
use crate::metadata::Direction;
use crate::mover::MoveError;
use crate::units::ArraySector;

pub(crate) use backup::crc_of;
pub use backup::{Age, Backup, NoBackup, is_absent};
pub use check::{CheckReport, Mend, Wrong};
pub(crate) use holes::{Holes, may_have_holes};
pub use leaving::FailedMember;
pub use members::{DeviceReader, Members, NoMember};
pub use read::{ReadReport, Taken, Target};
pub use record::{Entry, Record, RecordError, Unwritten};
pub use session::{Force, Newcomer, Session};
pub use view::{BadRange, Leg, View};
pub use write::{Source, WriteReport};

/// Sectors of the array, from `start` on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Range {
    /// The first sector.
    pub start: ArraySector,
    /// How many sectors of 512 bytes.
    pub sectors: Sectors,
}

impl Range {
    /// From `start`, `sectors` sectors of 512 bytes.
    pub const fn new(start: u64, sectors: u64) -> Self {
        Self { start: ArraySector::new(start), sectors: Sectors::new(sectors) }
    }

    /// The sector behind the last, at most the end of all numbers.
    pub const fn end(self) -> u64 {
        self.start.get().saturating_add(self.sectors.get())
    }

    /// What both have.
    pub fn intersection(self, other: Self) -> Option<Self> {
        let start = self.start.get().max(other.start.get());
        let end = self.end().min(other.end());
        (start < end).then(|| Self::new(start, end - start))
    }
}

/// Array sectors whose content lies in a backup, not (only) on the members.
#[derive(Clone, Debug)]
pub struct Overlay {
    /// Which sectors.
    pub range: Range,
    /// Where: a backup file, or the spare that has the backup.
    pub device: Device,
    /// The first byte there.
    pub offset: u64,
}

/// Why an array cannot be opened or used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ArrayError {
    /// Members are missing, or something else is in the way.
    #[error(transparent)]
    NotStartable(#[from] WhyNot),
    /// A range that is not in the array.
    #[error("sectors {} to {} are not in the array, which has {size}", range.start.get(), range.end())]
    OutOfRange {
        /// What was asked for.
        range: Range,
        /// The array's size.
        size: Sectors,
    },
    /// It must not be changed.
    #[error(transparent)]
    NotWritable(#[from] crate::assemble::WhyNotWrite),
    /// A bitmap that cannot be kept up to date.
    #[error("the bitmap on {}: {error}", path.display())]
    Bitmap {
        /// The device.
        path: std::path::PathBuf,
        /// What is wrong with it.
        error: crate::metadata::ExamineError,
    },
    /// A change that is refused.
    #[error(transparent)]
    Change(#[from] change::ChangeRefusal),
    /// A slot that has a member, or does not exist.
    #[error("{slot} is not empty")]
    SlotTaken {
        /// Which.
        slot: crate::units::Slot,
    },
    /// A device that is too small for the array.
    #[error("{} has {size}, the array needs {needed} of each member", path.display())]
    TooSmall {
        /// The device.
        path: std::path::PathBuf,
        /// Its size.
        size: Sectors,
        /// What is needed.
        needed: Sectors,
    },
    /// A superblock that places something off its device.
    #[error(transparent)]
    Misplaced(#[from] crate::metadata::Misplaced),
    /// The array is being reshaped: its content is not changed meanwhile.
    #[error("a reshape is under way: finish it first")]
    Reshaping,
    /// What has to be read before it can be changed, cannot.
    #[error("sectors {} to {} of the array cannot be read", range.start.get(), range.end())]
    Unreadable {
        /// Which sectors.
        range: Range,
    },
    /// The new content cannot be read.
    #[error("the new content cannot be read: {fault}")]
    Source {
        /// What happened.
        fault: kcopy::Fault,
    },
    /// More members failed than the array can lose.
    #[error(
        "members failed while they were written: {}; the array cannot do without them",
        leaving::listed(members)
    )]
    TooManyFailed {
        /// Which, in the order in which they failed.
        members: Vec<FailedMember>,
    },
    /// A device that was to become a member failed: it is none.
    #[error(
        "{}, which was to become a member, failed: {}; the array is without it",
        failed.path.display(),
        failed.fault
    )]
    Newcomer {
        /// Which.
        failed: FailedMember,
    },
    /// There is no room where a member lies: a full file system, or a quota. The member stays.
    #[error("there is no room left where {} lies: {fault}", path.display())]
    NoRoom {
        /// The member.
        path: std::path::PathBuf,
        /// What happened.
        fault: kcopy::Fault,
    },
    /// A map that contradicts itself: a bug.
    #[error("the array's map contradicts itself; please report this")]
    Inconsistent,
    /// The superblocks.
    #[error(transparent)]
    Record(#[from] RecordError),
    /// I/O.
    #[error(transparent)]
    Move(#[from] MoveError),
}

/// The map of an array that can be read: one view, or two and a front between them.
#[derive(Clone, Debug)]
enum Map {
    Whole(View),
    Moving { old: View, new: View, front: ArraySector, direction: Direction },
}

/// See the module.
#[derive(Clone, Debug)]
pub struct Array {
    map: Map,
    overlays: Vec<Overlay>,
    sectors: Sectors,
}

impl Array {
    /// The array of `assembly`, whose candidates are open as `devices`, in the same order.
    ///
    /// `bad` lists what the members' bad-block logs say, per candidate.
    ///
    /// # Errors
    ///
    /// [`ArrayError::NotStartable`].
    pub fn open(
        assembly: &Assembly,
        devices: &[Device],
        bad: &[Vec<BadRange>],
    ) -> Result<Self, ArrayError> {
        assembly.startable()?;
        Self::open_forced(assembly, devices, bad)
    }

    /// The same although [`Assembly::startable`] warns: what cannot be read fails when it is.
    ///
    /// # Errors
    ///
    /// [`ArrayError::NotStartable`] if the geometry is not known.
    pub fn open_forced(
        assembly: &Assembly,
        devices: &[Device],
        bad: &[Vec<BadRange>],
    ) -> Result<Self, ArrayError> {
        let view =
            |geometry: &Geometry, which| View::new(geometry.clone(), assembly, devices, bad, which);
        let unknown = || match assembly.startable() {
            Err(why) => why.into(),
            Ok(()) => ArrayError::NotStartable(WhyNot::Raid0Layout),
        };
        let map = match &assembly.shapes {
            Shapes::Unknown => return Err(unknown()),
            Shapes::Whole(geometry) => Map::Whole(view(geometry, view::Side::Old)),
            Shapes::Moving { old, new, reshape } => Map::Moving {
                old: view(old, view::Side::Old),
                new: view(new, view::Side::New),
                front: reshape.position,
                direction: reshape.direction,
            },
        };
        let sectors = assembly.shapes.sectors().unwrap_or_default();
        Ok(Self { map, overlays: Vec::new(), sectors })
    }

    /// The array that a view shows, without superblocks.
    pub fn of(view: View) -> Self {
        let sectors = view.geometry().sectors();
        Self { map: Map::Whole(view), overlays: Vec::new(), sectors }
    }

    /// Lays the content of a backup over the members'.
    pub fn lay_over(&mut self, overlay: Overlay) {
        self.overlays.push(overlay);
    }

    /// Takes another front than the superblocks record; without effect if no reshape is under way.
    pub fn set_front(&mut self, position: ArraySector) {
        if let Map::Moving { front, .. } = &mut self.map {
            *front = position;
        }
    }

    /// The array's size.
    pub fn sectors(&self) -> Sectors {
        self.sectors
    }

    /// The view of the array if no reshape is under way.
    pub fn view(&self) -> Option<&View> {
        match &self.map {
            Map::Whole(view) => Some(view),
            Map::Moving { .. } => None,
        }
    }

    /// Both views of a reshape under way: before and after.
    pub fn views(&self) -> Option<(&View, &View)> {
        match &self.map {
            Map::Whole(_) => None,
            Map::Moving { old, new, .. } => Some((old, new)),
        }
    }

    fn check_range(&self, range: Range) -> Result<(), ArrayError> {
        if range.end() <= self.sectors.get() {
            return Ok(());
        }
        Err(ArrayError::OutOfRange { range, size: self.sectors })
    }

    /// The parts of `range`, each with what serves it.
    fn parts(&self, range: Range) -> Vec<(Range, Part<'_>)> {
        let mut parts = Vec::new();
        let mut rest = vec![range];
        for overlay in &self.overlays {
            let mut left = Vec::new();
            for range in rest {
                let Some(covered) = range.intersection(overlay.range) else {
                    left.push(range);
                    continue;
                };
                parts.push((covered, Part::Overlay(overlay)));
                let (start, end) = (range.start.get(), range.end());
                let before = Range::new(start, covered.start.get() - start);
                let after = Range::new(covered.end(), end - covered.end());
                left.extend([before, after].into_iter().filter(|r| r.sectors.get() > 0));
            }
            rest = left;
        }
        for range in rest {
            match &self.map {
                Map::Whole(view) => parts.push((range, Part::View(view))),
                Map::Moving { old, new, front, direction } => {
                    let (low, high) = match direction {
                        Direction::Forwards => (new, old),
                        Direction::Backwards => (old, new),
                    };
                    let below = Range::new(0, front.get());
                    let above = Range::new(front.get(), u64::MAX - front.get());
                    let low = range.intersection(below).map(|range| (range, Part::View(low)));
                    let high = range.intersection(above).map(|range| (range, Part::View(high)));
                    parts.extend(low.into_iter().chain(high));
                }
            }
        }
        parts
    }
}

/// Whether a level has parity or copies: something that can be out of step.
fn has_redundancy(level: Level) -> bool {
    match level {
        Level::Linear | Level::Raid0 => false,
        Level::Raid1 | Level::Raid4 | Level::Raid5 | Level::Raid6 | Level::Raid10 => true,
    }
}

/// What serves a part of the address space.
#[derive(Clone, Copy, Debug)]
enum Part<'a> {
    View(&'a View),
    Overlay(&'a Overlay),
}

#[cfg(test)]
pub(crate) mod bench;
#[cfg(test)]
mod crashes;
#[cfg(test)]
mod failing;
#[cfg(test)]
pub(crate) mod film;
#[cfg(test)]
mod tests;
