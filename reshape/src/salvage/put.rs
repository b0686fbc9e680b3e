//! The superblocks, put right: one position on all members.

use super::{Finding, SalvageError};
use crate::array::{Members, Record};
use crate::assemble::{Assembly, Shapes};
use crate::metadata::{DoesNotFit, Reshape, Superblock, Timestamp};
use crate::mover::Mover;
use crate::units::ArraySector;

/// Records the position that was found on every member, durably, with a new count of changes.
/// Nothing else is written; what is done afterwards goes on from there.
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
) -> Result<(), SalvageError> {
    if !finding.is_sure() && finding.lost.is_empty() {
        return Err(SalvageError::NotSure);
    }
    if finding.lacks_members() {
        return Err(SalvageError::TooFewMembers);
    }
    if !finding.is_recordable() {
        return Err(SalvageError::NotRecordable);
    }
    record_at(mover, (members, assembly), finding.resume, now)
}

/// Records a position on every member.
pub(super) fn record_at(
    mover: &mut Mover,
    (members, assembly): (&Members, &Assembly),
    position: ArraySector,
    now: Timestamp,
) -> Result<(), SalvageError> {
    let Shapes::Moving { reshape, .. } = &assembly.shapes else {
        return Err(SalvageError::NotReshaping);
    };
    let mut record = Record::new(assembly, &members.candidates, &members.devices);
    record.commit(mover, now, |superblock| put(superblock, &Reshape { position, ..*reshape }))?;
    Ok(())
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
