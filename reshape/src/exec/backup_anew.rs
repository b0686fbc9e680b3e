//! The backup of a reshape that goes on: where the one is that was in use before.

use kcopy::{Device, Sector, Sectors};

use super::backup_file::{BackupFile, Beside, Readers};
use super::{ExecError, Ongoing};
use crate::array::{Age, ArrayError, Backup, DeviceReader, NoBackup};
use crate::metadata::{BackupHeader, Section, Timestamp, backup, backup_on_spare};
use crate::mover::{MoveError, Mover};
use crate::units::Slot;

/// What a backup file becomes.
enum Kind {
    /// One in which nothing is saved.
    New(Readers),
    /// One with room beside what it holds.
    Beside(BackupHeader),
}

impl Kind {
    fn room(&self, section: Sectors) -> Sectors {
        match self {
            Self::New(readers) => readers.room(section),
            Self::Beside(held) => Beside::new(held, section).room(),
        }
    }
}

impl Ongoing {
    /// Makes room in `file` for the backup, two sections of `section` sectors. What it holds of this reshape where that
    /// stands is left as it is until something newer is saved, so that mdadm can go on meanwhile.
    ///
    /// # Errors
    ///
    /// No space, or a failed write.
    pub fn backup_file(
        &self,
        mover: &mut Mover,
        file: Device,
        section: Sectors,
        now: Timestamp,
    ) -> Result<BackupFile, MoveError> {
        let kind = self.kind_of(mover, Some(&file), self.restripe.readers());
        self.make_file(mover, file, (&kind, section), now)
    }

    /// The same for a reshape that is about to turn around.
    ///
    /// # Errors
    ///
    /// Geometries that cannot be turned around, no space, or a failed write.
    pub fn backup_file_to_turn(
        &self,
        mover: &mut Mover,
        file: Device,
        section: Sectors,
        now: Timestamp,
    ) -> Result<BackupFile, ExecError> {
        let kind = self.kind_to_turn(mover, Some(&file))?;
        Ok(self.make_file(mover, file, (&kind, section), now)?)
    }

    /// Sectors that [`backup_file`](Self::backup_file) takes in `file`, or in a new one.
    pub fn backup_room(
        &self,
        mover: &mut Mover,
        file: Option<&Device>,
        section: Sectors,
    ) -> Sectors {
        self.kind_of(mover, file, self.restripe.readers()).room(section)
    }

    /// Sectors that [`backup_file_to_turn`](Self::backup_file_to_turn) takes in `file`, or in a new one.
    ///
    /// # Errors
    ///
    /// Geometries that cannot be turned around.
    pub fn backup_room_to_turn(
        &self,
        mover: &mut Mover,
        file: Option<&Device>,
        section: Sectors,
    ) -> Result<Sectors, ExecError> {
        Ok(self.kind_to_turn(mover, file)?.room(section))
    }

    fn kind_of(&self, mover: &mut Mover, file: Option<&Device>, readers: Readers) -> Kind {
        let held = match readers {
            Readers::All => file.and_then(|file| self.held_here(mover, file)),
            Readers::Ours => None,
        };
        held.map_or(Kind::New(readers), Kind::Beside)
    }

    /// Only who goes on both ways in a shape that mdadm takes leaves something to it.
    fn kind_to_turn(&self, mover: &mut Mover, file: Option<&Device>) -> Result<Kind, ExecError> {
        Ok(match self.way_back()?.readers() {
            Readers::Ours => Kind::New(Readers::Ours),
            Readers::All => self.kind_of(mover, file, self.restripe.readers()),
        })
    }

    fn make_file(
        &self,
        mover: &mut Mover,
        file: Device,
        (kind, section): (&Kind, Sectors),
        now: Timestamp,
    ) -> Result<BackupFile, MoveError> {
        let uuid = self.assembly.uuid_on_disk;
        match kind {
            Kind::New(readers) => BackupFile::create(mover, file, uuid, (section, *readers), now),
            Kind::Beside(held) => BackupFile::beside(mover, file, held, section),
        }
    }

    /// The header of a backup of this reshape, if something that it claims ends where the reshape stands, or goes on
    /// from there. One of mdadm's does not vouch for the record where nothing else does: there it is replaced by ours.
    fn held_here(&self, mover: &mut Mover, file: &Device) -> Option<BackupHeader> {
        let held = backup(&DeviceReader::new(mover, file), Sector::new(0)).ok()?;
        let judged = Backup::judge(mover, file, held, &self.assembly, Age::Checked);
        let is_usable = matches!(judged, Ok(_) | Err(NoBackup::NotNeeded { .. }));
        if !is_usable || (held.ours.is_none() && !self.has_spare_parity()) {
            return None;
        }
        let from = self.restripe.track.distance(self.position())?;
        let is_here = |section: &Section| {
            let stretch = self.restripe.track.stretch(section.array_start, section.length.get());
            section.length > Sectors::ZERO && stretch.start <= from && from <= stretch.end
        };
        let mut sections = [Some(held.first), held.second].into_iter().flatten();
        sections.any(|section| is_here(&section)).then_some(held)
    }

    /// Makes the backup anew on the members that the reshape adds, if it began with one of ours there: whoever goes on
    /// needs no file where the one who began needed none.
    ///
    /// # Errors
    ///
    /// A failed write.
    pub fn backup_on_newcomers(
        &self,
        mover: &mut Mover,
        now: Timestamp,
    ) -> Result<Option<BackupFile>, ExecError> {
        let uuid = self.assembly.uuid_on_disk;
        let mut spares = Vec::new();
        for member in self.assembly.members.iter().filter(|member| member.is_usable()) {
            let added = |slot: Slot| slot.get() >= self.restripe.old.raid_disks();
            let index = member.candidate;
            let Some(device) =
                self.members.devices.get(index).filter(|_| member.slot.is_some_and(added))
            else {
                continue;
            };
            let known = self.members.backups.get(index).copied().flatten();
            let header = known.or_else(|| self.header_on_newcomer(mover, index));
            if header.is_some_and(|header| header.ours.is_some() && header.set_uuid == uuid) {
                spares.push((device.clone(), member.data_offset));
            }
        }
        if self.restripe.section().is_none() {
            return Ok(None);
        }
        let (component, critical) =
            (self.restripe.old.component(), self.restripe.critical_section());
        while !spares.is_empty() {
            match BackupFile::on_spares(mover, &spares, component, (uuid, critical), now) {
                // They are members by now: whoever fails leaves when it is written again.
                Err(ExecError::Array(ArrayError::Newcomer { failed })) if spares.len() > 1 => {
                    spares.retain(|(device, _)| device.path() != failed.path);
                }
                made => return made.map(Some),
            }
        }
        Ok(None)
    }

    /// The backup on a new member whose own superblock does not know of the reshape yet: the power went
    /// while it was first recorded.
    pub(super) fn header_on_newcomer(
        &self,
        mover: &mut Mover,
        index: usize,
    ) -> Option<BackupHeader> {
        let superblock = &self.members.candidates.get(index)?.superblock;
        if self.reshape().delta_disks <= 0 || superblock.reshape().is_some() {
            return None;
        }
        let device = self.members.devices.get(index)?;
        backup(&DeviceReader::new(mover, device), backup_on_spare(superblock)?).ok()
    }
}
