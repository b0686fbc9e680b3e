//! The backup of a reshape under way: whether it may be believed, and what of the array it holds.
//!
//! A backup is judged as mdadm judges it (uuid, age, whether anything in it is still needed), and by
//! our own checksums where we wrote it. Only what lies before the front counts: behind it the
//! members hold newer content.

use std::path::PathBuf;

use kcopy::{Device, SECTOR_SIZE, Sector, Sectors};

use super::{Overlay, Range};
use crate::assemble::{Assembly, Shapes};
use crate::metadata::{BackupError, BackupHeader, Direction, ExamineError, Section, backup};
use crate::mover::{MoveError, Mover};

use super::members::DeviceReader;

/// A backup may be this much older than the superblocks: two hours, as for mdadm.
const OLDEST: u64 = 2 * 60 * 60;
/// And this much younger: ten minutes.
const YOUNGEST: u64 = 10 * 60;

/// Why a backup is of no use for an array.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NoBackup {
    /// It has no header, or a damaged one.
    #[error("{}: {error}", path.display())]
    Header {
        /// The file or device.
        path: PathBuf,
        /// What is wrong.
        error: ExamineError,
    },
    /// No reshape is recorded.
    #[error("no reshape is recorded: {} is not needed", path.display())]
    NotReshaping {
        /// The file or device.
        path: PathBuf,
    },
    /// It belongs to another array.
    #[error("{} is the backup of another array", path.display())]
    Foreign {
        /// The file or device.
        path: PathBuf,
    },
    /// It was written at another time than the superblocks.
    #[error(
        "{} was written {} s {} the superblocks: it is not of this reshape",
        path.display(),
        seconds.unsigned_abs(),
        if *seconds < 0 { "before" } else { "after" }
    )]
    Time {
        /// The file or device.
        path: PathBuf,
        /// Its time minus that of the superblocks, in seconds.
        seconds: i64,
    },
    /// It holds nothing that is still needed.
    #[error("{} holds nothing that is still needed", path.display())]
    NotNeeded {
        /// The file or device.
        path: PathBuf,
        /// Our own checksums say that this is what was meant.
        ours: bool,
    },
    /// Its header places data behind its end.
    #[error(
        "{} is cut off: its header places data up to sector {end}, it ends at {}",
        path.display(),
        size.get()
    )]
    CutOff {
        /// The file or device.
        path: PathBuf,
        /// Where the data ends.
        end: Sector,
        /// Where the file or device ends.
        size: Sectors,
    },
    /// Its data is not what was saved.
    #[error("the data in {} is damaged: its crc32c is {found:#010x} instead of {expected:#010x}", path.display())]
    Data {
        /// The file or device.
        path: PathBuf,
        /// What the header says.
        expected: u32,
        /// What the data gives.
        found: u32,
    },
    /// It cannot be read.
    #[error(transparent)]
    Move(#[from] MoveError),
}

/// Whether the age of a backup is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Age {
    /// It has to fit the superblocks'.
    Checked,
    /// It does not matter (`--force`).
    Any,
}

/// A backup that may be believed, and its sections.
#[derive(Clone, Debug)]
pub struct Backup {
    /// The file or device.
    pub device: Device,
    /// The header.
    pub header: BackupHeader,
    /// Sections with content, and the byte at which the data of each begins.
    pub sections: Vec<(Section, u64)>,
}

impl Backup {
    /// Reads the backup in a file, whose header is at its start, and judges it for `assembly`.
    ///
    /// # Errors
    ///
    /// Why it is of no use.
    pub fn read(
        mover: &mut Mover,
        device: &Device,
        assembly: &Assembly,
        age: Age,
    ) -> Result<Self, NoBackup> {
        let path = || device.path().to_owned();
        let header = backup(&DeviceReader::new(mover, device), Sector::new(0))
            .map_err(|error| NoBackup::Header { path: path(), error })?;
        Self::judge(mover, device, header, assembly, age)
    }

    /// Judges a header that was found on `device` for `assembly`.
    ///
    /// # Errors
    ///
    /// Why it is of no use.
    pub fn judge(
        mover: &mut Mover,
        device: &Device,
        header: BackupHeader,
        assembly: &Assembly,
        age: Age,
    ) -> Result<Self, NoBackup> {
        let path = || device.path().to_owned();
        let Shapes::Moving { reshape, .. } = &assembly.shapes else {
            return Err(NoBackup::NotReshaping { path: path() });
        };
        if header.set_uuid != assembly.uuid_on_disk {
            return Err(NoBackup::Foreign { path: path() });
        }
        let (written, updated) = (header.mtime.seconds, assembly.update_time.seconds);
        let fits = updated <= written.saturating_add(OLDEST)
            && updated >= written.saturating_sub(YOUNGEST);
        if age == Age::Checked && !fits {
            let seconds = i64::try_from(written).unwrap_or(i64::MAX)
                - i64::try_from(updated).unwrap_or(i64::MAX);
            return Err(NoBackup::Time { path: path(), seconds });
        }
        let first = header.data_at.get().saturating_mul(SECTOR_SIZE);
        let second = first.saturating_add(header.unit.get().saturating_mul(SECTOR_SIZE));
        let mut sections = vec![(header.first, first)];
        sections.extend(header.second.map(|section| (section, second)));
        sections.retain(|(section, _)| section.length.get() > 0);
        let front = reshape.position.get();
        let needed = |section: &Section| match reshape.direction {
            Direction::Forwards => section_range(section).end() > front,
            Direction::Backwards => section.array_start.get() < front,
        };
        if !sections.iter().any(|(section, _)| needed(section)) {
            let ours = header.ours.is_some();
            return Err(NoBackup::NotNeeded { path: path(), ours });
        }
        let size = Sectors::from_bytes_floor(device.size());
        let ends = sections
            .iter()
            .map(|(section, at)| at.div_ceil(SECTOR_SIZE).saturating_add(section.length.get()));
        if let Some(end) = ends.max().filter(|end| *end > size.get()) {
            return Err(NoBackup::CutOff { path: path(), end: Sector::new(end), size });
        }
        let backup = Self { device: device.clone(), header, sections };
        backup.check_data(mover)?;
        Ok(backup)
    }

    /// Compares the data with our checksums, if we wrote them.
    fn check_data(&self, mover: &mut Mover) -> Result<(), NoBackup> {
        let Some(ours) = self.header.ours else { return Ok(()) };
        for (section, at) in &self.sections {
            let is_second = self.header.second == Some(*section)
                && *at != self.header.data_at.get().saturating_mul(SECTOR_SIZE);
            let expected = if is_second { ours.data_crc2 } else { ours.data_crc };
            let found = crc_of(mover, &self.device, *at, section)?;
            if found != expected {
                let path = self.device.path().to_owned();
                return Err(NoBackup::Data { path, expected, found });
            }
        }
        Ok(())
    }

    /// What has to be laid over the members: of each section what lies before the front.
    pub fn overlays(&self, assembly: &Assembly) -> Vec<Overlay> {
        let Shapes::Moving { reshape, .. } = &assembly.shapes else { return Vec::new() };
        let front = reshape.position.get();
        let old = match reshape.direction {
            Direction::Forwards => Range::new(front, u64::MAX - front),
            Direction::Backwards => Range::new(0, front),
        };
        let lay = |(section, at): &(Section, u64)| {
            let all = section_range(section);
            let range = all.intersection(old)?;
            let into = range.start.get() - all.start.get();
            let offset = at.checked_add(into.checked_mul(SECTOR_SIZE)?)?;
            Some(Overlay { range, device: self.device.clone(), offset })
        };
        self.sections.iter().filter_map(lay).collect()
    }
}

/// The crc32c of a section's data, which begins at byte `at` of `device`.
///
/// # Errors
///
/// Data beyond the end of the device, or a sector that cannot be read.
pub(crate) fn crc_of(
    mover: &mut Mover,
    device: &Device,
    at: u64,
    section: &Section,
) -> Result<u32, MoveError> {
    let mut crc = 0;
    let bytes = section.length.get().saturating_mul(SECTOR_SIZE);
    mover.read_pieces(device, at, bytes, |piece| crc = crc32c::crc32c_append(crc, piece))?;
    Ok(crc)
}

fn section_range(section: &Section) -> Range {
    Range { start: section.array_start, sectors: section.length }
}

/// Whether the place of a backup's header holds none at all, as opposed to a damaged one.
pub fn is_absent(error: &NoBackup) -> bool {
    matches!(error, NoBackup::Header { error: ExamineError::Backup(BackupError::NoMagic), .. })
}
