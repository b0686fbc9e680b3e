//! The backup file of a reshape, in md's format: header at 0, sections from byte 4096 on.

use std::sync::Arc;

use kcopy::{Device, Errno, Extent, Job, PieceBuffers, Sector, Sectors, Transform};

use super::window::Window;
use crate::machine::{Section, Sections, Span};
use crate::metadata::{BackupHeader, OurFacts, Section as HeaderSection, Timestamp};
use crate::mover::{MoveError, Mover, Supply, check_written};
use crate::units::ArraySector;

/// Where the data begins: sector 8, behind the header's 4 KiB.
const DATA_AT: Sector = Sector::new(8);

/// See the module.
#[derive(Debug)]
pub struct BackupFile {
    device: Device,
    uuid: [u8; 16],
    /// Sectors of a section.
    section: u64,
    claimed: Sections,
    sequence: u64,
    /// crc32c of what each section holds.
    crcs: [u32; 2],
}

/// The transform that writes a window to the backup.
#[derive(Debug)]
struct Save(Arc<Window>);

impl Transform for Save {
    fn apply(&self, mut piece: PieceBuffers<'_>) -> Result<(), Errno> {
        let Some(computed) = piece.computed.first_mut() else { return Ok(()) };
        let start = usize::try_from(piece.offset).map_err(|_| Errno::IO)?;
        let end = start.checked_add(computed.len()).ok_or(Errno::IO)?;
        self.0.with_bytes(|bytes| {
            computed.copy_from_slice(bytes.get(start..end).ok_or(Errno::IO)?);
            Ok(())
        })
    }
}

impl BackupFile {
    /// Makes room for two sections of `section` sectors in `device`, a new file, all of it allocated
    /// and durable: a full file system is found out here and not in the middle.
    ///
    /// # Errors
    ///
    /// No space, or a failed write.
    pub fn create(
        mover: &mut Mover,
        device: Device,
        uuid: [u8; 16],
        section: Sectors,
        now: Timestamp,
    ) -> Result<Self, MoveError> {
        let bytes = (DATA_AT.get() + 2 * section.get()) * kcopy::SECTOR_SIZE;
        device.extend(bytes).map_err(MoveError::Broken)?;
        // Written, not punched: the blocks have to be there when they are needed.
        let zeros = Job::stripe(1, Arc::new(Zeros)).to(Extent::new(&device, 0, bytes)).flush();
        check_written(&mover.run(zeros)?, &[&device])?;
        let (claimed, section) = (Sections::default(), section.get());
        let mut made = Self { device, uuid, section, claimed, sequence: 0, crcs: [0; 2] };
        // An empty header is a statement: nothing was overwritten yet.
        let job = made.write_header(claimed, now);
        check_written(&mover.run(job)?, &[&made.device])?;
        Ok(made)
    }

    /// The file.
    pub fn device(&self) -> &Device {
        &self.device
    }

    /// Sectors of a section.
    pub fn section(&self) -> Sectors {
        Sectors::new(self.section)
    }

    /// What the header on it claims.
    pub fn claimed(&self) -> Sections {
        self.claimed
    }

    /// The job that writes a window to a section.
    pub(super) fn save(&mut self, section: Section, window: &Arc<Window>) -> Job {
        let second = section == Section::Second;
        self.crcs[usize::from(second)] = window.with_bytes(crc32c::crc32c);
        let at = DATA_AT.get() + if second { self.section } else { 0 };
        let bytes = window.span().sectors * kcopy::SECTOR_SIZE;
        let extent = Extent::new(&self.device, at * kcopy::SECTOR_SIZE, bytes);
        Job::stripe(1, Arc::new(Save(Arc::clone(window)))).to(extent)
    }

    /// The job that writes the header, durably.
    pub(super) fn write_header(&mut self, sections: Sections, now: Timestamp) -> Job {
        self.sequence += 1;
        self.claimed = sections;
        let bytes = self.header(sections, now).to_bytes();
        let extent = Extent::new(&self.device, 0, u64::try_from(bytes.len()).unwrap_or(0));
        Job::stripe(1, Arc::new(Supply::new(bytes))).to(extent).flush()
    }

    fn header(&self, sections: Sections, now: Timestamp) -> BackupHeader {
        let section = |span: Option<Span>| match span {
            Some(span) => {
                HeaderSection { array_start: span.start, length: Sectors::new(span.sectors) }
            }
            None => HeaderSection { array_start: ArraySector::new(0), length: Sectors::ZERO },
        };
        BackupHeader {
            set_uuid: self.uuid,
            mtime: Timestamp::from_seconds(now.seconds),
            data_at: DATA_AT,
            first: section(sections.first),
            unit: Sectors::new(self.section),
            second: Some(section(sections.second)),
            ours: Some(OurFacts {
                sequence: self.sequence,
                data_crc: self.crcs[0],
                data_crc2: self.crcs[1],
            }),
        }
    }
}

/// Fills with zeros.
#[derive(Debug)]
struct Zeros;

impl Transform for Zeros {
    fn apply(&self, mut piece: PieceBuffers<'_>) -> Result<(), Errno> {
        piece.computed.iter_mut().for_each(|buffer| buffer.fill(0));
        Ok(())
    }
}
