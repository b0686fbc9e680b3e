//! Members that are torn against each other, put right.
//!
//! No position reads such members. But where each block of the torn part stands is known, so the part
//! is read block by block, saved to a file as a backup of the reshape, and put back from there as
//! new stripes; the position is recorded behind it.
//!
//! ```text
//!   new ........ new | torn ............ | old ........ old
//!                    └ saved to a file ──┘
//!   new ........ new   new ............ ┘└ the position
//! ```
//!
//! A loss of power in between leaves the backup and a position that it goes on from: `reshape continue`
//! with the file does the rest.

use std::sync::Arc;

use kcopy::Device;

use super::{Finding, SalvageError, put};
use crate::array::{Age, ArrayError, Backup, Members, Range, Target};
use crate::assemble::{Assembly, assemble};
use crate::exec::{BackupFile, ExecError, FailedMember, Ongoing};
use crate::metadata::{Direction, Timestamp};
use crate::mover::{Gather, Mover};
use crate::units::ArraySector;

impl Finding {
    /// What has to be read block by block and written anew, if that is all that is wrong: whole
    /// stripes of both geometries around the front.
    pub fn torn(&self) -> Option<Range> {
        if self.by_position { None } else { self.around() }
    }

    /// Whole stripes of both geometries around all that was looked at block by block, if it is known where all of it
    /// stands: they can be written anew.
    pub fn around(&self) -> Option<Range> {
        if self.is_settled() { self.around } else { None }
    }

    /// The position from which a part goes on, and the one behind it.
    fn ends(&self, part: Range) -> (ArraySector, ArraySector) {
        let (start, end) = (part.start, ArraySector::new(part.end()));
        match self.direction {
            Direction::Forwards => (start, end),
            Direction::Backwards => (end, start),
        }
    }
}

/// Saves the torn part in `file`, a new one that becomes a backup of the reshape, records the position before
/// that part, puts the part back as new stripes and records the position behind it. Members that cannot be written
/// leave the array, if it can do without them: what is torn is in the file. Gives the reshape as it stands then, and
/// those that left.
///
/// # Errors
///
/// Nothing is torn, or not all of it is known ([`SalvageError::NotSure`]): nothing was written. Members or
/// a file that cannot be written: what the members hold is still whole, together with the file once the
/// superblocks name the position before the torn part.
pub fn mend(
    mover: &mut Mover,
    (members, assembly): (&Members, &Assembly),
    finding: &Finding,
    file: &Device,
    now: Timestamp,
) -> Result<(Ongoing, Vec<FailedMember>), SalvageError> {
    let torn = finding.around().ok_or(SalvageError::NotSure)?;
    let bytes = usize::try_from(torn.sectors.get() * kcopy::SECTOR_SIZE);
    let gather = Arc::new(Gather::new(bytes.map_err(|_| ArrayError::Inconsistent)?));
    let target = Target::Memory(Arc::clone(&gather));
    let report = finding.content.read_to(mover, torn, &target, &mut |_| true)?;
    if !report.unreadable.is_empty() {
        return Err(SalvageError::NotSure);
    }
    let (from, to) = finding.ends(torn);
    let uuid = assembly.uuid_on_disk;
    let readers = Ongoing::new(assembly.clone(), members.clone())?.restripe().readers();
    let saved = BackupFile::create(mover, file.clone(), uuid, (torn.sectors, readers), now);
    let mut saved = saved.map_err(ExecError::from)?;
    saved.keep(mover, torn, &gather.take(), now).map_err(ExecError::from)?;
    let leaving = (put::Leaving::WhoFails, now);
    let mut failed = put::record_at(mover, (members, assembly), from, leaving)?;
    let mut devices = members.devices.clone();
    devices.retain(|device| failed.iter().all(|member| member.path != device.path()));
    let members = Members::read(mover, devices).map_err(ExecError::from)?;
    let assembly = assemble(&members.candidates).map_err(ExecError::from)?;
    let backup = Backup::read(mover, file, &assembly, Age::Any);
    let backup = backup.map_err(|_| ArrayError::Inconsistent)?;
    let ongoing = Ongoing::new(assembly, members)?.restore(mover, &backup, now)?;
    failed.extend(ongoing.failed().iter().cloned());
    if ongoing.position() == to {
        Ok((ongoing, failed))
    } else {
        Err(ArrayError::Inconsistent.into())
    }
}
