//! The superblocks, put right: one position on all members.

use super::{Finding, SalvageError};
use crate::array::leaving::commit_without_failed;
use crate::array::{Array, FailedMember, Members, Record};
use crate::assemble::{Assembly, Shapes};
use crate::exec::is_enough_of;
use crate::metadata::{DoesNotFit, Reshape, Superblock, Timestamp};
use crate::mover::Mover;
use crate::units::ArraySector;

/// Whether the array may go on without a member that cannot be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Leaving {
    /// If it can do without.
    WhoFails,
    /// Members are torn against each other: what one of them has may be all there is.
    Nobody,
}

/// Records the position that was found on every member, durably, with a new count of changes.
/// Nothing else is written; what is done afterwards goes on from there. Members that cannot be written leave the array,
/// if it can do without them and none are torn; they are returned.
///
/// # Errors
///
/// A position that cannot be recorded ([`SalvageError::NotRecordable`], [`SalvageError::NotSure`],
/// [`SalvageError::TooFewMembers`]):
/// nothing was written then. Or superblocks that could not be written.
pub fn record(
    mover: &mut Mover,
    members: &Members,
    assembly: &Assembly,
    finding: &Finding,
    now: Timestamp,
) -> Result<Vec<FailedMember>, SalvageError> {
    if !finding.is_sure() && finding.lost.is_empty() {
        return Err(SalvageError::NotSure);
    }
    if finding.lacks_members() {
        return Err(SalvageError::TooFewMembers);
    }
    if !finding.is_recordable() {
        return Err(SalvageError::NotRecordable);
    }
    let is_torn = finding.front.start() != finding.front.end();
    let leaving = if is_torn { Leaving::Nobody } else { Leaving::WhoFails };
    record_at(mover, (members, assembly), finding.resume, (leaving, now))
}

/// Records a position on every member that can be written; those that left.
pub(super) fn record_at(
    mover: &mut Mover,
    (members, assembly): (&Members, &Assembly),
    position: ArraySector,
    (leaving, now): (Leaving, Timestamp),
) -> Result<Vec<FailedMember>, SalvageError> {
    let Shapes::Moving { reshape, .. } = &assembly.shapes else {
        return Err(SalvageError::NotReshaping);
    };
    let mut record = Record::new(assembly, &members.candidates, &members.devices);
    let array = Array::open_forced(assembly, &members.devices, &members.bad)?;
    let views = array.views().ok_or(SalvageError::NotReshaping)?;
    let enough = |record: &Record| leaving == Leaving::WhoFails && is_enough_of(views, record);
    let put = |superblock: &mut Superblock| put(superblock, &Reshape { position, ..*reshape });
    Ok(commit_without_failed(mover, &mut record, now, &enough, put)?)
}

/// A member that knows of the reshape keeps its own offset; one that does not, learns of it.
fn put(superblock: &mut Superblock, reshape: &Reshape) -> Result<(), DoesNotFit> {
    let own = superblock.reshape();
    if own.is_none() {
        superblock.set_raid_disks(reshape.raid_disks_new);
    }
    let new_offset = own.map_or(reshape.new_offset, |own| own.new_offset);
    superblock.set_reshape(&Reshape { new_offset, ..*reshape })
}
