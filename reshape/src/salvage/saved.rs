//! Backups as witnesses, and for what stands nowhere else.

use std::path::PathBuf;

use kcopy::{Device, SECTOR_SIZE, Sector, Sectors};

use super::front::Evidence;
use super::walk::{UNIT, Walk};
use crate::array::{Backup, DeviceReader, Members, Overlay, Range, crc_of};
use crate::assemble::Assembly;
use crate::metadata::{BackupError, BackupHeader, Direction, ExamineError, backup};
use crate::mover::Mover;
use crate::units::ArraySector;

/// A backup may be this much older than the superblocks: two hours, as for mdadm.
const OLDEST: u64 = 2 * 60 * 60;
/// And this much younger: ten minutes.
const YOUNGEST: u64 = 10 * 60;

/// Seconds that the record may be younger than the backup of what it stands behind: moving one section takes less.
const LAGS: u64 = 10;

/// Sectors of the longest section that we or mdadm save at once: 32 MiB.
pub(super) const SECTION: u64 = 65536;

/// What became of a backup.
#[derive(Clone, Debug)]
pub struct BackupNote {
    /// The file, or the spare that has it.
    pub path: PathBuf,
    /// What it is.
    pub judged: Judged,
}

/// What a backup is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Judged {
    /// It was written for this reshape: what of it stands on the members is the same.
    Believed {
        /// What it holds.
        sections: Vec<Range>,
    },
    /// There is none: nothing was saved yet.
    Empty {
        /// A header of ours says so: then nothing was moved that would have to be in it. A file of mdadm's to which
        /// nothing was written says little, for the driver may have gone on without it.
        ours: bool,
    },
    /// It belongs to another array.
    Foreign,
    /// It holds something else than the members.
    Contradicts,
    /// Neither its content nor its age speaks for it.
    Unsure {
        /// Its time minus that of the superblocks, in seconds.
        seconds: i64,
    },
    /// Its data is not what was saved.
    Damaged,
    /// It ends before the data that its header tells of.
    CutOff,
    /// It cannot be read, or its header is damaged.
    Unreadable(ExamineError),
}

impl Judged {
    /// Whether it tells what was saved: what it holds, or that nothing had to be.
    pub fn tells(&self) -> bool {
        match self {
            Self::Believed { .. } | Self::Empty { ours: true } => true,
            Self::Empty { ours: false }
            | Self::Foreign
            | Self::Contradicts
            | Self::Unsure { .. }
            | Self::Damaged
            | Self::CutOff
            | Self::Unreadable(_) => false,
        }
    }
}

/// Reads the backups in `files` and on the members; gives those that can be looked at.
pub(super) fn gather(
    mover: &mut Mover,
    members: &Members,
    assembly: &Assembly,
    files: &[Device],
) -> (Vec<Backup>, Vec<BackupNote>) {
    let (mut backups, mut notes) = (Vec::new(), Vec::new());
    for file in files {
        match backup(&DeviceReader::new(mover, file), Sector::new(0)) {
            Ok(header) => take(mover, file, header, assembly, (&mut backups, &mut notes)),
            Err(ExamineError::Backup(BackupError::NoMagic)) => {
                notes.push(BackupNote {
                    path: file.path().to_owned(),
                    judged: Judged::Empty { ours: false },
                });
            }
            Err(error) => {
                let judged = Judged::Unreadable(error);
                notes.push(BackupNote { path: file.path().to_owned(), judged });
            }
        }
    }
    for (device, header) in members.devices.iter().zip(&members.backups) {
        if let Some(header) = header {
            take(mover, device, *header, assembly, (&mut backups, &mut notes));
        }
    }
    (backups, notes)
}

fn take(
    mover: &mut Mover,
    device: &Device,
    header: BackupHeader,
    assembly: &Assembly,
    (backups, notes): (&mut Vec<Backup>, &mut Vec<BackupNote>),
) {
    let mut note = |judged| notes.push(BackupNote { path: device.path().to_owned(), judged });
    if header.set_uuid != assembly.uuid_on_disk {
        return note(Judged::Foreign);
    }
    let first = header.data_at.get().saturating_mul(SECTOR_SIZE);
    let second = first.saturating_add(header.unit.get().saturating_mul(SECTOR_SIZE));
    let mut sections = vec![(header.first, first)];
    sections.extend(header.second.map(|section| (section, second)));
    let crcs = header.ours.map(|ours| [ours.data_crc, ours.data_crc2]);
    for (index, (section, at)) in sections.iter().enumerate() {
        let Some(expected) = crcs.and_then(|crcs| crcs.get(index).copied()) else { continue };
        let found = crc_of(mover, device, *at, section).ok();
        if section.length.get() > 0 && found != Some(expected) {
            return note(Judged::Damaged);
        }
    }
    let fits = |at: u64, bytes: u64| at.checked_add(bytes).is_some_and(|end| end <= device.size());
    sections.retain(|(section, _)| section.length.get() > 0);
    if sections.is_empty() {
        return note(Judged::Empty { ours: header.ours.is_some() });
    }
    sections.retain(|(section, at)| fits(*at, section.length.get().saturating_mul(SECTOR_SIZE)));
    if sections.is_empty() {
        return note(Judged::CutOff);
    }
    let (written, updated) = (header.mtime.seconds, assembly.update_time.seconds);
    let in_time =
        updated <= written.saturating_add(OLDEST) && updated >= written.saturating_sub(YOUNGEST);
    let seconds =
        i64::try_from(written).unwrap_or(i64::MAX) - i64::try_from(updated).unwrap_or(i64::MAX);
    // Until its content was compared.
    note(Judged::Unsure { seconds: if in_time { 0 } else { seconds } });
    backups.push(Backup { device: device.clone(), header, sections });
}

/// The backups whose content may be believed; the notes say of each why, or why not.
pub(super) fn usable(
    evidence: &Evidence,
    walk: &Walk,
    backups: &[Backup],
    recorded: ArraySector,
    notes: &mut [BackupNote],
) -> Vec<Backup> {
    let mut usable = Vec::new();
    let time = walk.time(recorded);
    for (index, backup) in backups.iter().enumerate() {
        let pending = notes.iter_mut().filter(|note| note.path == backup.device.path());
        let Some(note) = pending.last() else { continue };
        let Judged::Unsure { seconds } = note.judged else { continue };
        let (agrees, differs) = evidence.compared(index, |unit| {
            // What waits to be moved cannot have been written since it was saved.
            walk.born(unit) >= time && walk.dies(unit) >= walk.born(unit)
        });
        note.judged = if differs > agrees {
            Judged::Contradicts
        } else if agrees == 0 && seconds != 0 {
            Judged::Unsure { seconds }
        } else {
            usable.push(backup.clone());
            let ranges = backup.sections.iter();
            let range = |(section, _): &(crate::metadata::Section, u64)| Range {
                start: section.array_start,
                sectors: section.length,
            };
            Judged::Believed { sections: ranges.map(range).collect() }
        };
    }
    usable
}

/// All content is known to stand on the members, and the walk at `place`: what a backup holds of what waits there is
/// not to be put back.
pub(super) fn leave_out(walk: &Walk, place: ArraySector, notes: &mut [BackupNote]) {
    let waits = |range: &Range| match walk.direction() {
        Direction::Forwards => range.end() > place.get(),
        Direction::Backwards => range.start.get() < place.get(),
    };
    for note in notes {
        if let Judged::Believed { sections } = &note.judged
            && sections.iter().any(waits)
        {
            note.judged = Judged::Contradicts;
        }
    }
}

/// Whether one of the backups is ours: then whoever turned the reshape around did it where it stood.
pub(super) fn is_ours(backups: &[Backup], notes: &[BackupNote]) -> bool {
    let is_empty = |note: &BackupNote| note.judged == Judged::Empty { ours: true };
    backups.iter().any(|backup| backup.header.ours.is_some()) || notes.iter().any(is_empty)
}

/// Whether a backup tells that nothing behind the recorded position was moved but what it holds.
///
/// One of ours always does: nothing is written that is not saved. Since mdadm 4.2 the kernel may go on
/// without waiting for the next backup; it did not as long as some of the last one waits to be moved and
/// that one goes on from the record, or if it stopped right behind it. A backup of an earlier run may end right there,
/// too, but it is older than the record by more than one section takes. Where mdadm has cleared the other half of the
/// file, it was about to save what comes next: then all of this section may have been moved, and nothing more.
pub(super) fn vouches(
    (evidence, walk): (&Evidence, &Walk),
    backups: &[Backup],
    (recorded, updated): (ArraySector, u64),
) -> bool {
    backups.iter().enumerate().any(|(index, backup)| {
        let goes_on = goes_on_from(walk, backup, recorded);
        let is_recent = updated <= backup.header.mtime.seconds.saturating_add(LAGS);
        backup.header.ours.is_some()
            || (goes_on && evidence.waits(index))
            || (goes_on && evidence.is_mute(index))
            || (goes_on && is_cleared(backup) && evidence.all_moved(index))
            || (furthest(walk, backup) == Some(recorded) && is_recent)
    })
}

/// Whether mdadm holds one section and has cleared the other, to save the next one there. The first header that it
/// writes knows of one section only.
fn is_cleared(backup: &Backup) -> bool {
    backup.sections.len() == 1 && backup.header.second.is_some()
}

/// Where mdadm's backup says that the walk has come to, ahead of the record: it saves a section only when all
/// before the last one it saved was moved. So of two that follow each other, the walk has come to the
/// first; of one, the other cleared, to that one. And no further if all of that waits to be moved.
pub(super) fn ahead(
    (evidence, walk): (&Evidence, &Walk),
    (all, usable): (&[Backup], &[Backup]),
    recorded: ArraySector,
) -> Option<ArraySector> {
    let is_used =
        |backup: &Backup| usable.iter().any(|other| other.device.path() == backup.device.path());
    let theirs = all.iter().enumerate().filter(|(_, b)| b.header.ours.is_none() && is_used(b));
    theirs.filter(|_| walk.is_in_place()).find_map(|(index, backup)| {
        let ends = |section: &crate::metadata::Section| {
            let (start, end) =
                (section.array_start, section.array_start.checked_add(section.length)?);
            Some(match walk.direction() {
                Direction::Forwards => (start, end),
                Direction::Backwards => (end, start),
            })
        };
        let (near, follows) = match &backup.sections[..] {
            [(one, _), (other, _)] => {
                let (one, other) = (ends(one)?, ends(other)?);
                let (near, far) = if one.1 == other.0 { (one, other) } else { (other, one) };
                (near, near.1 == far.0)
            }
            [(one, _)] if is_cleared(backup) => {
                let near = ends(one)?;
                // What was cleared is what the record stands in.
                (near, near.0.get().abs_diff(recorded.get()) <= one.length.get())
            }
            _ => return None,
        };
        let is_ahead = walk.time(near.0) > walk.time(recorded) && follows;
        (is_ahead && evidence.all_waits(index)).then_some(near.0)
    })
}

/// Whether a section holds what comes next behind a position.
fn goes_on_from(walk: &Walk, backup: &Backup, position: ArraySector) -> bool {
    backup.sections.iter().any(|(section, _)| {
        let range = Range { start: section.array_start, sectors: section.length };
        let (start, end, at) = (range.start.get(), range.end(), position.get());
        match walk.direction() {
            Direction::Forwards => start <= at && at < end,
            Direction::Backwards => start < at && at <= end,
        }
    })
}

/// The position behind all that a backup holds.
fn furthest(walk: &Walk, backup: &Backup) -> Option<ArraySector> {
    let sections = backup.sections.iter().map(|(section, _)| section);
    match walk.direction() {
        Direction::Forwards => sections.filter_map(|s| s.array_start.checked_add(s.length)).max(),
        Direction::Backwards => sections.map(|s| s.array_start).min(),
    }
}

/// The position behind all that mdadm's backups hold, where nothing but them tells how far a reshape has come, and it
/// goes forwards.
pub(super) fn behind(walk: &Walk, usable: &[Backup]) -> Option<ArraySector> {
    let is_asked = walk.is_mute() && walk.direction() == Direction::Forwards;
    let theirs = usable.iter().filter(|backup| is_asked && backup.header.ours.is_none());
    theirs.filter_map(|backup| furthest(walk, backup)).max()
}

/// A range of units, and all that backups hold.
pub(super) fn around(backups: &[Backup], (low, high): (u64, u64), content: Sectors) -> (u64, u64) {
    let sections = backups.iter().flat_map(|backup| &backup.sections);
    sections.fold((low, high), |(low, high), (section, _)| {
        let end = section.array_start.get().saturating_add(section.length.get());
        let (first, last) = (section.array_start.get() / UNIT, end.min(content.get()) / UNIT);
        (low.min(first), high.max(last))
    })
}

/// Where a backup has a unit.
pub(super) fn overlay(backups: &[Backup], unit: u64) -> Option<Overlay> {
    let (start, end) = (unit * UNIT, (unit + 1) * UNIT);
    backups.iter().find_map(|backup| {
        backup.sections.iter().find_map(|(section, at)| {
            let range = Range { start: section.array_start, sectors: section.length };
            let holds = range.start.get() <= start && end <= range.end();
            holds.then(|| Overlay { range, device: backup.device.clone(), offset: *at })
        })
    })
}
