//! What state an assembled array is in, and what it may be used for.

use super::{Assembly, Candidate, Member, MemberState, Shapes};
use crate::geometry::{Geometry, Layout, Raid0Layout};
use crate::metadata::{Direction, Features, Resync};
use crate::units::Slot;

/// The state of an array, the most serious that applies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum State {
    /// Everything is there and in step.
    Clean,
    /// Parity or copies may be out of step.
    Dirty,
    /// A member is missing; everything can be read.
    Degraded,
    /// Too much is missing.
    Failed,
    /// A reshape is recorded.
    Reshaping,
}

impl State {
    /// `clean`, `dirty`, `degraded`, `failed`, `reshaping`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Clean => "clean",
            Self::Dirty => "dirty",
            Self::Degraded => "degraded",
            Self::Failed => "failed",
            Self::Reshaping => "reshaping",
        }
    }
}

/// Why an array cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum WhyNot {
    /// Members are missing.
    #[error("too few members: slots {} are missing", list(slots))]
    TooFew {
        /// The slots without a member that can be believed.
        slots: Vec<Slot>,
    },
    /// RAID0 of several zones, and nothing says by which rule.
    #[error("the members differ in size and nothing says which of two layouts the array has")]
    Raid0Layout,
    /// A write-back journal may hold what the members lack.
    #[error("the array has a journal, whose content may not be on the members yet")]
    Journal,
}

/// Why an array must not be written, though it can be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum WhyNotWrite {
    /// Feature bits that we do not know.
    #[error("the superblocks have feature bits that are not known here: {bits:#x}")]
    Features {
        /// Those bits.
        bits: u32,
    },
    /// A reshape is under way.
    #[error("a reshape is under way")]
    Reshaping,
    /// A partial parity log would be out of date.
    #[error("the array has a partial parity log (PPL)")]
    Ppl,
    /// The array belongs to a cluster.
    #[error("the array is shared by a cluster")]
    Clustered,
    /// A member is missing and the parity of the others may be out of step.
    #[error(
        "the array is dirty and degraded: what is computed for the missing member may be wrong"
    )]
    DirtyDegraded,
    /// It cannot even be read.
    #[error(transparent)]
    NotReadable(#[from] WhyNot),
}

fn list(slots: &[Slot]) -> String {
    let names: Vec<_> = slots.iter().map(|slot| slot.get().to_string()).collect();
    names.join(", ")
}

impl Assembly {
    /// The member that can be believed in `slot`, everywhere or in part.
    pub fn member_in(&self, slot: Slot) -> Option<&Member> {
        self.members.iter().find(|member| member.slot == Some(slot) && member.is_usable())
    }

    /// Slots: during a reshape the larger number of both.
    pub fn slots(&self) -> u32 {
        match &self.shapes {
            Shapes::Moving { old, new, .. } => old.raid_disks().max(new.raid_disks()),
            Shapes::Whole(_) | Shapes::Unknown => self.raid_disks,
        }
    }

    /// The slots without a member that can be believed everywhere.
    pub fn missing(&self) -> Vec<Slot> {
        let whole = |slot: &Slot| !self.member_in(*slot).is_some_and(Member::is_in_sync);
        (0..self.slots()).map(Slot::new).filter(|slot| whole(slot)).collect()
    }

    /// How many members are missing or not whole. Those that a reshape is adding do not count.
    pub fn degraded(&self) -> u32 {
        let Shapes::Moving { old, .. } = &self.shapes else {
            return u32::try_from(self.missing().len()).unwrap_or(u32::MAX);
        };
        let absent = |slot: &Slot| match self.member_in(*slot) {
            None => true,
            Some(member) => !member.is_in_sync() && slot.get() < old.raid_disks(),
        };
        let count = self.missing().into_iter().filter(absent).count();
        u32::try_from(count).unwrap_or(u32::MAX)
    }

    /// The state.
    pub fn state(&self) -> State {
        if self.startable().is_err() {
            State::Failed
        } else if matches!(self.shapes, Shapes::Moving { .. }) {
            State::Reshaping
        } else if self.degraded() > 0 {
            State::Degraded
        } else if self.resync != Resync::Clean {
            State::Dirty
        } else {
            State::Clean
        }
    }

    /// Whether all of the array can be read.
    ///
    /// # Errors
    ///
    /// Why not.
    pub fn startable(&self) -> Result<(), WhyNot> {
        if self.features.contains(Features::JOURNAL) && self.resync != Resync::Clean {
            return Err(WhyNot::Journal);
        }
        let there = |slot| self.member_in(slot).is_some_and(Member::is_in_sync);
        // While it is moved, a new member is good as far as the move has come.
        let there_now = |slot| self.member_in(slot).is_some();
        let too_few = |slots: u32| WhyNot::TooFew {
            slots: (0..slots).map(Slot::new).filter(|slot| !there(*slot)).collect(),
        };
        match &self.shapes {
            Shapes::Unknown => Err(too_few(self.raid_disks)),
            Shapes::Whole(geometry) if !geometry.enough(there) => Err(too_few(self.raid_disks)),
            Shapes::Whole(geometry) => check_zones(geometry),
            Shapes::Moving { old, new, reshape } => {
                // Where nothing has been moved yet, nothing is read from the new geometry.
                let moved = reshape.direction == Direction::Backwards || reshape.position.get() > 0;
                if old.enough(there) && (!moved || new.enough(there_now)) {
                    return Ok(());
                }
                Err(too_few(self.slots()))
            }
        }
    }

    /// Whether the array's content may be changed without `--force`.
    ///
    /// # Errors
    ///
    /// Why not.
    pub fn writable(&self) -> Result<(), WhyNotWrite> {
        self.startable()?;
        let unknown = self.features.unknown();
        if unknown != 0 {
            return Err(WhyNotWrite::Features { bits: unknown });
        }
        if self.features.intersects(Features::PPL | Features::MULTIPLE_PPLS) {
            return Err(WhyNotWrite::Ppl);
        }
        if self.features.contains(Features::CLUSTERED) {
            return Err(WhyNotWrite::Clustered);
        }
        if matches!(self.shapes, Shapes::Moving { .. }) {
            return Err(WhyNotWrite::Reshaping);
        }
        if self.degraded() > 0 && self.resync != Resync::Clean && self.level.parity_disks() > 0 {
            return Err(WhyNotWrite::DirtyDegraded);
        }
        Ok(())
    }

    /// The candidate behind a member.
    pub fn candidate<'a>(&self, candidates: &'a [Candidate], slot: Slot) -> Option<&'a Candidate> {
        candidates.get(self.member_in(slot)?.candidate)
    }
}

/// Both rules of RAID0 agree on one zone, and on a second one of a single member.
fn check_zones(geometry: &Geometry) -> Result<(), WhyNot> {
    let unspecified = geometry.layout() == Layout::Raid0(Raid0Layout::Unspecified);
    let differ = geometry.zones().iter().skip(1).any(|zone| zone.slots.len() > 1);
    if unspecified && differ { Err(WhyNot::Raid0Layout) } else { Ok(()) }
}

impl MemberState {
    /// `in_sync`, `recovering`, `spare`, `stale`, `journal`, `replacement`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::InSync => "in_sync",
            Self::Recovering { .. } => "recovering",
            Self::Spare => "spare",
            Self::Stale => "stale",
            Self::Journal => "journal",
            Self::Replacement => "replacement",
        }
    }
}
