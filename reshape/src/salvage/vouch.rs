//! What a missing backup would have told: that nothing behind the front was overwritten.
//!
//! Salvage reads everything, and may know that all content stands where the position says. Whoever goes on from there
//! looks at a critical section alone: stripes that have no parity to spare, or zeros, prove nothing to it, and
//! only a backup does. So a new one is made, of ours, in which nothing is saved: that says it. It is also the file
//! in which what comes next is saved.

use kcopy::Device;

use super::SalvageError;
use crate::array::{Age, Members, NoBackup};
use crate::assemble::{Assembly, Shapes};
use crate::exec::{BackupFile, BackupVerdict, ExecError, Ongoing};
use crate::mover::Mover;
use crate::units::ArraySector;

/// What whoever goes on asks for, beside the members.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asks {
    /// Nothing.
    Nothing,
    /// A file in which what comes next is saved.
    File,
    /// A backup: of a critical section there is no proof that nothing of it was overwritten.
    Proof,
    /// A backup, and nothing that says that nothing was overwritten would do: some stripes are not what their
    /// parity says. They have to be written anew ([`super::mend`]).
    Stripes,
}

/// What whoever goes on from `position` without a backup file asks for.
///
/// # Errors
///
/// Members that cannot be read.
pub fn asks_for(
    mover: &mut Mover,
    (members, assembly): (&Members, &Assembly),
    position: ArraySector,
) -> Result<Asks, SalvageError> {
    let Some(ongoing) = standing_at(members, assembly, position)? else { return Ok(Asks::Nothing) };
    let verdicts = ongoing.backups(mover, None, Age::Checked);
    match ongoing.lacks_ground(mover, &verdicts)? {
        Some(witness) if witness.contradicting > 0 => return Ok(Asks::Stripes),
        Some(_) => return Ok(Asks::Proof),
        None => {}
    }
    let is_ours = |found: &BackupVerdict| {
        matches!(found.verdict, Ok(_) | Err(NoBackup::NotNeeded { ours: true, .. }))
    };
    let has_file = verdicts.iter().any(is_ours);
    Ok(if ongoing.needs_backup_file() && !has_file { Asks::File } else { Asks::Nothing })
}

/// Makes `file`, a new one, a backup of the reshape in which nothing is saved. What the members record has to be
/// right, and durable.
///
/// # Errors
///
/// A file that cannot be written.
pub fn vouch(
    mover: &mut Mover,
    (members, assembly): (&Members, &Assembly),
    position: ArraySector,
    file: &Device,
) -> Result<(), SalvageError> {
    let Some(ongoing) = standing_at(members, assembly, position)? else { return Ok(()) };
    let restripe = ongoing.restripe();
    let what = (restripe.section().unwrap_or_default(), restripe.readers());
    // With the time that is recorded: the age of a backup is counted from it.
    let (uuid, then) = (assembly.uuid_on_disk, assembly.update_time);
    let made = BackupFile::create(mover, file.clone(), uuid, what, then);
    made.map(|_| ()).map_err(|error| ExecError::from(error).into())
}

/// The reshape, as if `position` were recorded; `None` if none is.
fn standing_at(
    members: &Members,
    assembly: &Assembly,
    position: ArraySector,
) -> Result<Option<Ongoing>, SalvageError> {
    let mut assembly = assembly.clone();
    let Shapes::Moving { reshape, .. } = &mut assembly.shapes else { return Ok(None) };
    reshape.position = position;
    Ok(Some(Ongoing::new(assembly, members.clone())?))
}
