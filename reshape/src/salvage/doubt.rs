//! What nothing but a backup could prove, and whether one does.
//!
//! In place, without parity to spare, neither rows nor bands tell how far the walk has come: the record is right if
//! whoever went on from it saved what was overwritten first. Here that is asked, and what cannot be told is named.

use kcopy::Device;

use crate::array::{Backup, Members, Range, View};
use crate::assemble::Assembly;
use crate::mover::Mover;
use crate::units::ArraySector;

use super::front::{Decision, Evidence};
use super::look::Look;
use super::walk::Walk;
use super::{
    BackupNote, Judged, Readings, SalvageError, neighbours, reach, saved, strange, together,
};

/// What there is to judge by.
pub(super) struct Doubt<'a> {
    pub evidence: &'a Evidence,
    pub walk: &'a Walk,
    /// The old reading and the new one.
    pub views: (&'a View, &'a View),
    /// All backups of which something could be compared.
    pub judged: &'a [Backup],
    /// Those of them that are believed.
    pub usable: &'a [Backup],
}

impl Doubt<'_> {
    /// Content that may be read from the wrong place although a front was decided on: by what is told of the backups
    /// (`notes`), the freshest superblock's time of change in seconds (`updated`), and the critical section
    /// (`at_risk`).
    pub(super) fn unproven(
        &self,
        mover: &mut Mover,
        decision: &Decision,
        (notes, updated): (&[BackupNote], u64),
        at_risk: Option<Range>,
    ) -> Option<Range> {
        let Self { evidence, walk, views, judged, usable } = *self;
        if decision.agreeing == 0 && !walk.verifies() && !reach::shows_bands(walk, views) {
            return Some(everything(walk));
        }
        let unsaved = self.unsaved(decision, (notes, updated), at_risk);
        if unsaved.is_some() {
            return unsaved;
        }
        if decision.as_recorded && !saved::is_ours(judged, notes) {
            let looks = |from| neighbours::looks_moved(mover, walk, views, from);
            if saved::behind(walk, usable).is_some_and(looks) {
                return Some(everything(walk));
            }
        }
        strange::strange(mover, (evidence, walk), views, (judged, usable), decision.resume)
    }

    /// Sectors behind a recorded position that may have been moved with a backup that is not here, or without
    /// one, where nothing else would tell: as many as two sections can hold, or all. Where the number of members
    /// changes only the critical section can have been, `at_risk`.
    pub(super) fn unsaved(
        &self,
        decision: &Decision,
        (notes, updated): (&[BackupNote], u64),
        at_risk: Option<Range>,
    ) -> Option<Range> {
        let walk = self.walk;
        // Members may be torn around another front than the recorded one, and no row tells.
        let may_be_torn = walk.lacks_members() && walk.is_mute_where_critical();
        if !decision.as_recorded && (decision.is_ambiguous || may_be_torn) {
            return Some(everything(walk));
        }
        if !decision.as_recorded || !(walk.is_mute() || walk.is_mute_where_critical()) {
            return None;
        }
        if !walk.is_mute() {
            let range = at_risk?.intersection(Range::new(0, walk.content().get()))?;
            return (!notes.iter().any(|note| note.judged.tells())).then_some(range);
        }
        let is_empty = |note: &BackupNote| note.judged == Judged::Empty { ours: true };
        let is_believed = |note: &BackupNote| matches!(note.judged, Judged::Believed { .. });
        let sectors = if notes.iter().any(is_believed) {
            if saved::vouches((self.evidence, walk), self.judged, (decision.resume, updated)) {
                return None;
            }
            return Some(everything(walk));
        } else if notes.iter().any(is_empty) {
            return None;
        } else {
            2 * saved::SECTION
        };
        let range = walk.behind(decision.resume, sectors);
        (range.sectors.get() > 0).then_some(range)
    }
}

/// What may have been moved twice. Where mdadm turns a reshape around that writes its stripes over themselves, it lets
/// the driver begin behind what its backup holds, whether that was moved or not: up to two sections were read as
/// stripes of the wrong kind. Their parity is right, and the backup holds something else soon. Where it
/// turned nobody knows; what the walk has not come back to is not among it.
pub(super) fn turned(
    walk: &Walk,
    decision: &Decision,
    (judged, notes): (&[Backup], &[BackupNote]),
) -> Option<Range> {
    if !walk.is_turned_in_place() || saved::is_ours(judged, notes) {
        return None;
    }
    let (start, end) = (decision.resume.get().min(walk.content().get()), walk.content().get());
    (start < end).then(|| Range::new(start, end - start))
}

/// Where the driver may have run ahead of its backup, it may have done so in an earlier run as well: what lies
/// before the record may have been moved twice.
fn everything(walk: &Walk) -> Range {
    Range::new(0, walk.content().get())
}

/// Why a backup does not vouch for the record, where nothing else does: in place, without parity to spare.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unvouched {
    /// What it holds was moved, or stands nowhere: the driver may have gone on behind the record.
    Passed,
    /// Backups say that the reshape has come to this position.
    Ahead(ArraySector),
    /// What lies behind all that it holds goes together better as if it had been moved.
    LooksMoved,
    /// It holds something else than what waits on the members.
    Contradicts,
    /// Some of what it holds stands nowhere, for no reason: it is damaged, or an older one. In these sections.
    Strange(Range),
}

/// Whether the backups among `files` and on the members vouch for the record, where nothing else does; `None`: they
/// do, or something else does, or there is none. One of ours always does. Reads what the backups hold, and a little
/// more.
///
/// # Errors
///
/// No reshape is recorded, members are missing, or the backend broke.
pub fn unvouched(
    mover: &mut Mover,
    members: &Members,
    assembly: &Assembly,
    files: &[Device],
) -> Result<Option<Unvouched>, SalvageError> {
    let Readings { reshape, old, new, walk } = Readings::open(members, assembly)?;
    let (judged, mut notes) = saved::gather(mover, members, assembly, files);
    if judged.iter().all(|backup| backup.header.ours.is_some())
        || saved::is_ours(&judged, &notes)
        || walk.common_shift() != Some(0)
    {
        return Ok(None);
    }
    let evidence = Look::new(mover, &walk, &old, &new).at_backups(&judged)?;
    let seen = (&evidence, &walk);
    let usable = saved::usable(&evidence, &walk, &judged, reshape.position, &mut notes);
    let views = (&old, &new);
    let strange = strange::strange(mover, seen, views, (&judged, &judged), reshape.position);
    if let Some(range) = strange {
        return Ok(Some(Unvouched::Strange(range)));
    }
    if !walk.is_mute() {
        return Ok(None);
    }
    if notes.iter().any(|note| note.judged == Judged::Contradicts) {
        return Ok(Some(Unvouched::Contradicts));
    }
    if let Some(position) = saved::ahead(seen, (&judged, &usable), reshape.position) {
        return Ok(Some(Unvouched::Ahead(position)));
    }
    let Some(behind) = saved::behind(&walk, &usable) else { return Ok(None) };
    let recorded = (reshape.position, assembly.update_time.seconds);
    if !saved::vouches(seen, &judged, recorded) {
        return Ok(Some(Unvouched::Passed));
    }
    let looks = neighbours::looks_moved(mover, &walk, (&old, &new), behind);
    Ok(looks.then_some(Unvouched::LooksMoved))
}

/// Whether all content goes together as if the record were right, where nothing else on the members tells and a backup
/// does not vouch for it. Reads the ends of all chunks.
///
/// # Errors
///
/// No reshape is recorded, or members are missing.
pub fn goes_together(
    mover: &mut Mover,
    members: &Members,
    assembly: &Assembly,
) -> Result<bool, SalvageError> {
    let Readings { reshape, old, new, walk } = Readings::open(members, assembly)?;
    let place = together::place(mover, &walk, (&old, &new), reshape.position);
    Ok(place == Some(reshape.position))
}
