//! Changes of an array that move no data: a bitmap comes or goes, more or less of each member is
//! used, a member is appended to a linear array.
//!
//! What the change relies on is written and durable before the superblocks tell of it, and what they
//! do not need any more goes after them:
//!
//! | change | before | the superblocks, one event later | after |
//! |---|---|---|---|
//! | bitmap added | its bytes on every member | where it lies | |
//! | bitmap removed | | none is there | its header wiped |
//! | more of each member | zeros on what is added, a longer bitmap | the size | |
//! | less of each member | | the size | a shorter bitmap |
//! | member appended | a superblock that gives it no slot | the slot | |
//!
//! A crash while the superblocks are written leaves some of them one event behind. The freshest says
//! what holds, and both is true: what was before still works.

mod append;
mod bitmap;
mod size;
#[cfg(test)]
mod tests;

use std::path::PathBuf;

use kcopy::{Device, Sectors};

use super::{Array, ArrayError, BadRange, Session};
use crate::assemble::{Candidate, assemble};
use crate::geometry::Level;
use crate::metadata::Features;

pub use size::{Added, NewSize, Resized};

/// Why such a change is refused. Nothing was written then.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ChangeRefusal {
    /// Levels without redundancy have no bitmap.
    #[error("{level} has nothing to resynchronise and takes no bitmap")]
    NoBitmap {
        /// The level.
        level: Level,
    },
    /// There is a bitmap.
    #[error("the array has a bitmap already, one bit for {chunk}: remove it first")]
    HasBitmap {
        /// What one of its bits stands for.
        chunk: Sectors,
    },
    /// There is none.
    #[error("the array has no bitmap")]
    HasNoBitmap,
    /// A journal and a bitmap exclude each other, and a journal knows the array's size.
    #[error("the array has a journal: remove that first")]
    Journal,
    /// The bits do not fit.
    #[error(
        "a bitmap with one bit for {chunk} does not fit in the {room} that the members have for it; {}",
        .smallest.map_or_else(|| "none does".into(), |least| format!("one bit for {least} would do"))
    )]
    BitmapRoom {
        /// What one bit was to stand for.
        chunk: Sectors,
        /// The room.
        room: Sectors,
        /// The smallest chunk from 64 MiB on that fits.
        smallest: Option<Sectors>,
    },
    /// What is added to the bitmap does not fit behind it.
    #[error(
        "the bitmap, one bit for {chunk}, has no room to grow: remove it, change the size, and add it \
         again with a larger chunk"
    )]
    BitmapGrowth {
        /// What one bit stands for.
        chunk: Sectors,
    },
    /// Levels that use the whole of each member, or cannot change it.
    #[error("the component size of {what} cannot be changed")]
    FixedSize {
        /// Which kind of array.
        what: &'static str,
    },
    /// Parity or copies are not in step.
    #[error("the array is dirty: repair it first")]
    Dirty,
    /// No whole number of what the level divides it into.
    #[error("{wanted} of each member cannot be used; the next smaller size is {below}")]
    Uneven {
        /// What was asked for.
        wanted: Sectors,
        /// What would do.
        below: Sectors,
    },
    /// A member has less room.
    #[error("{} has room for {room} of data, {wanted} of each member are wanted", path.display())]
    NoRoom {
        /// The member with the least room.
        path: PathBuf,
        /// Its room.
        room: Sectors,
        /// What was asked for.
        wanted: Sectors,
    },
    /// Less than now: the end of the content would be lost.
    #[error(
        "the array would shrink from {before} to {after}, and what lies behind {after} would be lost; \
         make sure that nothing uses it, then force it"
    )]
    Shrink {
        /// The array's size now.
        before: Sectors,
        /// Its size then.
        after: Sectors,
    },
    /// Only linear arrays can be appended to.
    #[error("{level} cannot be appended to: a reshape can give it more members")]
    NotLinear {
        /// The level.
        level: Level,
    },
    /// The device is a member already.
    #[error("{} is a member of this array already", path.display())]
    Member {
        /// The device.
        path: PathBuf,
    },
}

impl Session {
    /// Reads the array from the superblocks as they are now. `added` is what is bad on a member that
    /// was not there before.
    fn reopen(&mut self, added: &[(Device, Vec<BadRange>)]) -> Result<(), ArrayError> {
        let mut devices = Vec::new();
        let mut candidates = Vec::new();
        let mut bad = Vec::new();
        for entry in self.record.entries() {
            let legs = self.array.view().into_iter().flat_map(|view| view.legs());
            let known =
                legs.filter_map(|(_, leg)| leg).find(|leg| leg.device.is_same(&entry.device));
            let new = added.iter().find(|(device, _)| device.is_same(&entry.device));
            let its_bad =
                known.map(|leg| leg.bad.clone()).or_else(|| new.map(|(_, bad)| bad.clone()));
            bad.push(its_bad.unwrap_or_default());
            devices.push(entry.device.clone());
            candidates.push(Candidate {
                path: entry.device.path().to_owned(),
                size: Sectors::from_bytes_floor(entry.device.size()),
                superblock: entry.superblock.clone(),
            });
        }
        let assembly = assemble(&candidates).map_err(|_| ArrayError::Inconsistent)?;
        self.array = Array::open(&assembly, &devices, &bad)?;
        self.assembly = assembly;
        Ok(())
    }

    fn check_no_journal(&self) -> Result<(), ChangeRefusal> {
        if self.assembly.features.contains(Features::JOURNAL) {
            return Err(ChangeRefusal::Journal);
        }
        Ok(())
    }
}
