//! Members whose superblocks cannot be written, or that cannot be flushed, leave the array, if it can do without
//! them.
//!
//! ```text
//!  failed ──▶ enough without it? ──no──▶ the change ends; nothing says that anybody left
//!                  │ yes
//!                  ▼
//!     its absence is durable on all others ──▶ whatever was going on goes on
//! ```
//!
//! What the others record has two more events than anything that may stand on the one that left, so that it is
//! stale if it comes back, whatever of its last write it kept.

use std::fmt;
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};

use kcopy::{Device, Fault, Job};

use super::{ArrayError, Record, RecordError, Unwritten};
use crate::metadata::{DoesNotFit, Role, Superblock, Timestamp};
use crate::mover::{MoveError, Mover};
use crate::units::Slot;

/// A member that could not be written or flushed, and so left the array.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FailedMember {
    /// Its slot; `None`: a spare.
    pub slot: Option<Slot>,
    /// Its device.
    pub path: PathBuf,
    /// What the device said; its sector counts from the start of the device.
    pub fault: Fault,
}

impl fmt::Display for FailedMember {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (path, fault) = (self.path.display(), self.fault);
        match self.slot {
            Some(slot) => write!(f, "{path} ({slot}): {fault}"),
            None => write!(f, "{path} (spare): {fault}"),
        }
    }
}

/// All of them in one line.
pub(crate) fn listed(members: &[FailedMember]) -> String {
    members.iter().map(FailedMember::to_string).collect::<Vec<_>>().join("; ")
}

/// Changes every superblock with `change`, as [`Record::commit`] does. Those that cannot be written leave the array,
/// durably, as long as there is `enough` in the record without them.
///
/// # Errors
///
/// [`ArrayError::TooManyFailed`]; or what did not fit: then nothing was written.
pub(crate) fn commit_without_failed(
    mover: &mut Mover,
    record: &mut Record,
    now: Timestamp,
    enough: &dyn Fn(&Record) -> bool,
    change: impl FnMut(&mut Superblock) -> Result<(), DoesNotFit>,
) -> Result<Vec<FailedMember>, ArrayError> {
    let mut failed = Vec::new();
    while is_shorter(record.catch_up(mover, now), record, enough, &mut failed)? {}
    let mut ended = record.commit(mover, now, change);
    while is_shorter(ended, record, enough, &mut failed)? {
        ended = record.commit(mover, now, |_| Ok(()));
    }
    Ok(failed)
}

/// Whether devices left because of what `ended`.
pub(crate) fn is_shorter(
    ended: Result<(), RecordError>,
    record: &mut Record,
    enough: &dyn Fn(&Record) -> bool,
    failed: &mut Vec<FailedMember>,
) -> Result<bool, ArrayError> {
    let devices = match ended {
        Err(RecordError::Unwritten { devices }) => devices,
        ended => return Ok(ended.map(|()| false)?),
    };
    let member = |device: &Unwritten| {
        let slot = record.entry(device.number).and_then(|entry| slot_of(&entry.superblock));
        FailedMember { slot, path: device.path.clone(), fault: device.fault }
    };
    let members: Vec<FailedMember> = devices.iter().map(member).collect();
    expect_room(&members)?;
    for (device, member) in devices.iter().zip(members) {
        record.drop_device(device.number);
        tracing::warn!(%member, "a member left the array");
        failed.push(member);
    }
    match enough(record) {
        true => Ok(true),
        false => Err(ArrayError::TooManyFailed { members: std::mem::take(failed) }),
    }
}

/// Refuses to go on if one of `failed` lies where there is no room: it is as good as before.
///
/// # Errors
///
/// [`ArrayError::NoRoom`].
pub(crate) fn expect_room(failed: &[FailedMember]) -> Result<(), ArrayError> {
    match failed.iter().find(|member| is_full(&member.path, member.fault)) {
        Some(FailedMember { path, fault, .. }) => {
            Err(ArrayError::NoRoom { path: path.clone(), fault: *fault })
        }
        None => Ok(()),
    }
}

/// Whether a write failed because a file system is full. A block device that says so cannot be written any more,
/// as one that says anything else.
pub(crate) fn is_full(path: &Path, fault: Fault) -> bool {
    let is_block =
        || std::fs::metadata(path).is_ok_and(|found| found.file_type().is_block_device());
    fault.errno.is_no_room() && !is_block()
}

/// Flushes members, all at once; those where it failed.
///
/// # Errors
///
/// What is wrong with the job, or that the backend broke.
pub(crate) fn flush_members(
    mover: &mut Mover,
    members: &[(Slot, Device)],
) -> Result<Vec<FailedMember>, MoveError> {
    let mut failed = Vec::new();
    for members in members.chunks(kcopy::MAX_DESTINATIONS) {
        let outcome = mover.run(Job::flush_only(members.iter().map(|(_, device)| device)))?;
        let ends = members.iter().zip(&outcome.destinations);
        failed.extend(ends.filter_map(|((slot, device), end)| {
            let path = device.path().to_owned();
            end.error.map(|fault| FailedMember { slot: Some(*slot), path, fault })
        }));
        if outcome.cancelled && failed.is_empty() {
            return Err(MoveError::Cancelled);
        }
    }
    Ok(failed)
}

/// The slot that a superblock gives to its own device.
pub(crate) fn slot_of(superblock: &Superblock) -> Option<Slot> {
    match superblock.role() {
        Role::Active(slot) => Some(slot),
        Role::Spare | Role::Faulty | Role::Journal | Role::Reserved(_) => None,
    }
}
