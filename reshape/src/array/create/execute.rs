//! A plan carried out. See the order in [the module](super).

use std::path::PathBuf;
use std::sync::Arc;

use kcopy::{Device, Extent, Job, Sector};

use super::plan::FIRST_EVENT;
use super::{CreatePlan, CreateRefusal, Planned};
use crate::metadata::bad_blocks;
use crate::metadata::{ExamineError, Misplaced, Role, Superblock};
use crate::mover::{MoveError, Mover, Supply, check_written};

/// How far the making of an array came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Superblocks of other arrays are wiped.
    Wipe,
    /// Bitmaps and bad-block logs.
    Logs,
    /// Superblocks that give nobody a slot.
    Prepare,
    /// The superblocks of the array.
    Superblocks,
}

impl Stage {
    const fn text(self) -> &'static str {
        match self {
            Self::Wipe => {
                "while old superblocks were wiped: there is no new array, and what these devices \
                 belonged to before may be gone from some of them"
            }
            Self::Logs => {
                "while bitmaps and logs were written: there is no new array, and what these devices \
                 belonged to before is gone"
            }
            Self::Prepare => {
                "while superblocks were prepared: there is no new array; no content was changed"
            }
            Self::Superblocks => {
                "while the superblocks were written: the array is there if one of them is, or is not \
                 there at all; create it again before it is used; no content was changed"
            }
        }
    }
}

/// Why an array was not made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CreateError {
    /// It cannot be made so. Nothing was written.
    #[error(transparent)]
    Refused(#[from] CreateRefusal),
    /// A device cannot be read where superblocks lie. Nothing was written.
    #[error("{} is not fit for an array: {error}; nothing was written", path.display())]
    Look {
        /// The device.
        path: PathBuf,
        /// What happened.
        error: ExamineError,
    },
    /// The plan puts something before a device. Nothing was written.
    #[error(transparent)]
    Misplaced(#[from] Misplaced),
    /// The plan has something that its superblocks cannot say. Nothing was written.
    #[error(transparent)]
    DoesNotFit(#[from] crate::metadata::DoesNotFit),
    /// I/O.
    #[error("{error}; {}", stage.text())]
    Move {
        /// What was being done.
        stage: Stage,
        /// The device, and what happened.
        error: MoveError,
    },
}

/// Bytes for a place on a device.
pub(in crate::array) type Write<'a> = (&'a Device, Sector, Vec<u8>);

impl CreatePlan {
    /// Makes the array: durable when it returns.
    ///
    /// # Errors
    ///
    /// The first device that could not be written, and what that means.
    pub fn execute(&self, mover: &mut Mover) -> Result<(), CreateError> {
        let (mut wipes, mut logs) = (Vec::new(), Vec::new());
        let (mut prepared, mut superblocks) = (Vec::new(), Vec::new());
        for member in &self.members {
            let device = &member.device;
            let zeros = |area: crate::metadata::Area| vec![0; bytes(area.length)];
            wipes.extend(member.wipe.iter().map(|f| (device, f.at, zeros(f.area()))));
            logs.extend(self.logs(member)?);
            let at = member.superblock.at();
            prepared.push((device, at, self.prepared(&member.superblock)?.to_bytes()));
            superblocks.push((device, at, member.superblock.to_bytes()));
        }
        for (stage, writes) in [
            (Stage::Wipe, wipes),
            (Stage::Logs, logs),
            (Stage::Prepare, prepared),
            (Stage::Superblocks, superblocks),
        ] {
            put(mover, writes).map_err(|error| CreateError::Move { stage, error })?;
        }
        Ok(())
    }

    fn logs<'a>(&self, member: &'a Planned) -> Result<Vec<Write<'a>>, CreateError> {
        let superblock = &member.superblock;
        let mut logs = Vec::new();
        if let (Some(bitmap), Some(at)) = (&member.bitmap, superblock.bitmap_at()?) {
            logs.push((&member.device, at, bitmap.to_bytes()));
        }
        if let Some(area) = superblock.bad_blocks_at()? {
            let room = bytes(area.length);
            // An empty log fits in any room.
            let empty = bad_blocks::to_bytes(&[], 0, room).unwrap_or_else(|_| vec![0xff; room]);
            logs.push((&member.device, area.start, empty));
        }
        Ok(logs)
    }

    /// The same superblock one event before, when nobody had a slot.
    fn prepared(&self, superblock: &Superblock) -> Result<Superblock, CreateError> {
        let mut prepared = superblock.clone();
        for member in &self.members {
            prepared.set_role(member.superblock.dev_number(), Role::Spare)?;
        }
        prepared.set_events(FIRST_EVENT - 1);
        if let Superblock::V0(prepared) = &mut prepared {
            prepared.recount();
        }
        Ok(prepared)
    }
}

fn bytes(length: kcopy::Sectors) -> usize {
    length.checked_bytes().and_then(|bytes| usize::try_from(bytes).ok()).unwrap_or(0)
}

/// Writes everything, side by side, and makes it durable.
pub(in crate::array) fn put(mover: &mut Mover, writes: Vec<Write<'_>>) -> Result<(), MoveError> {
    let mut devices = Vec::with_capacity(writes.len());
    let mut jobs = Vec::with_capacity(writes.len());
    for (device, at, bytes) in writes {
        let len = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
        // A place beyond all devices is refused as such.
        let extent = Extent::new(device, at.checked_bytes().unwrap_or(u64::MAX), len);
        jobs.push(Job::stripe(1, Arc::new(Supply::new(bytes))).to(extent).flush());
        devices.push(device);
    }
    let outcomes = mover.run_all(jobs)?;
    for (device, outcome) in devices.iter().zip(&outcomes) {
        check_written(outcome, &[device])?;
    }
    Ok(())
}
