//! The backup of a reshape's critical section, in md's format.
//!
//! ```text
//!  a file      [header, 4 KiB][section 1 ....][section 2 ....]
//!  a spare     ... [header, 4 KiB][section 1 ....][header again]   the end of what the array uses of it
//! ```
//!
//! mdadm goes on with a reshape in its critical section only if a section of the backup ends at the recorded position
//! or goes on from there. So what comes first is saved before the reshape is recorded ([`save_first`]), and whoever
//! goes on leaves what the file holds as it is until the next section is saved ([`BackupFile::beside`]).

use std::path::{Path, PathBuf};
use std::sync::Arc;

use kcopy::{
    Device, Errno, Extent, Job, OnError, PieceBuffers, Priority, Sector, Sectors, Transform,
};

use super::start::Saving;
use super::window::{Window, bytes_of};
use super::{ExecError, FailedMember, Restripe};
use crate::array::{Array, ArrayError, Range};
use crate::machine::{Machine, Section, Sections, Span};
use crate::metadata::{BackupHeader, OurFacts, Section as HeaderSection, Timestamp};
use crate::mover::{MoveError, Mover, Supply, check_written};
use crate::units::ArraySector;

/// Sectors of a header's room.
const HEADER: u64 = 8;
/// Where the data begins in a file that mdadm is not to take: it looks for a copy of the header right before it.
const UNLIKE_MDADM: u64 = 2 * HEADER;

/// Who may go on with a backup.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Readers {
    /// mdadm as well.
    All,
    /// Ours alone: mdadm would put it back wrongly ([`Restripe::readers`]), and takes none of this shape.
    Ours,
}

impl Readers {
    /// The sector at which the data of a new file begins.
    fn data_at(self) -> u64 {
        match self {
            Self::All => HEADER,
            Self::Ours => UNLIKE_MDADM,
        }
    }

    /// Sectors that a new file with two sections of `section` sectors takes.
    pub(super) fn room(self, section: Sectors) -> Sectors {
        Sectors::new(self.data_at() + 2 * section.get())
    }
}

/// Where sections lie in a file that holds something which stays until the first of them is saved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Beside {
    /// Sectors from the first place for a section to the second.
    unit: u64,
    /// What is held lies where the first section has to be.
    swapped: bool,
    section: u64,
}

impl Beside {
    pub(super) fn new(held: &BackupHeader, section: Sectors) -> Self {
        let (places, section) = (held.places(), section.get());
        let begin = places.iter().map(|place| place.start).min().unwrap_or(u64::MAX);
        let end = places.iter().map(|place| place.end).max().unwrap_or(0);
        let swapped = begin < HEADER + section;
        // Sections are written directly, so they begin where pages do.
        let behind = end.saturating_sub(HEADER).next_multiple_of(HEADER);
        Self { unit: if swapped { behind.max(section) } else { section }, swapped, section }
    }

    /// Sectors that the file takes.
    pub(super) fn room(self) -> Sectors {
        Sectors::new(HEADER + self.unit + self.section)
    }

    /// The place of the section that is saved first.
    fn first(self) -> u64 {
        if self.swapped { HEADER + self.unit } else { HEADER }
    }
}

/// Bytes of zeros in one job, and how many jobs are on their way while a new file is written.
const ZEROS: u64 = 512 << 10;
const ZEROS_AT_ONCE: usize = 4;

/// One device that keeps the backup.
#[derive(Clone, Debug)]
struct Keep {
    device: Device,
    /// The sectors at which its headers begin.
    headers: Vec<u64>,
}

/// See the module.
#[derive(Debug)]
pub struct BackupFile {
    keeps: Vec<Keep>,
    /// The sector at which section 1 begins, on each of them.
    data_at: Sector,
    uuid: [u8; 16],
    /// Sectors of a section.
    section: u64,
    /// Sectors from the first place for one to the second.
    unit: u64,
    /// How many there are.
    sections: u64,
    claimed: Sections,
    /// When that was written.
    mtime: Timestamp,
    /// The second section lies where the first one has to be, which is still in use.
    swapped: bool,
    sequence: u64,
    /// crc32c of what each section holds, by their places.
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
        (section, readers): (Sectors, Readers),
        now: Timestamp,
    ) -> Result<Self, MoveError> {
        let data_at = readers.data_at();
        let sections = extend(&device, data_at, readers.room(section).get())?;
        // The header first: a file that was in use before has one at any moment, which says that nothing is
        // saved in it.
        let keeps = vec![Keep { device, headers: vec![0] }];
        let made = Self::new(mover, (keeps, Sector::new(data_at)), (uuid, section), now)?;
        made.allocate(mover, &sections)?;
        Ok(made)
    }

    /// The same in a file that `held` is the header of: it stays, and what it claims, until the first section is
    /// saved, beside that.
    ///
    /// # Errors
    ///
    /// No space, or a failed write.
    pub fn beside(
        mover: &mut Mover,
        device: Device,
        held: &BackupHeader,
        section: Sectors,
    ) -> Result<Self, MoveError> {
        let beside = Beside::new(held, section);
        let room = extend(&device, beside.first(), beside.first() + section.get())?;
        if !beside.swapped {
            extend(&device, HEADER, beside.room().get())?;
        }
        let made = Self {
            keeps: vec![Keep { device, headers: vec![0] }],
            data_at: Sector::new(HEADER),
            uuid: held.set_uuid,
            section: section.get(),
            unit: beside.unit,
            sections: 2,
            claimed: Sections::default(),
            mtime: held.mtime,
            swapped: beside.swapped,
            sequence: held.ours.map_or(0, |ours| ours.sequence),
            crcs: [0; 2],
        };
        made.allocate(mover, &room)?;
        Ok(made)
    }

    /// Writes zeros to all of `sections`, not holes: the blocks have to be there when they are needed. A
    /// few at a time, so that little memory is touched for it.
    fn allocate(&self, mover: &mut Mover, sections: &Extent) -> Result<(), MoveError> {
        let devices: Vec<&Device> = self.devices().collect();
        let mut at = 0;
        while at < sections.len {
            let mut jobs = Vec::new();
            while at < sections.len && jobs.len() < ZEROS_AT_ONCE {
                let len = ZEROS.min(sections.len - at);
                let extent = Extent::new(&sections.device, sections.offset + at, len);
                jobs.push(Job::stripe(1, Arc::new(Zeros)).to(extent));
                at += len;
            }
            for outcome in mover.run_all(jobs)? {
                check_written(&outcome, &devices)?;
            }
        }
        mover.flush(&devices)
    }

    /// Keeps one section of `section` sectors, which must hold all that is critical, at the end of the
    /// `component` sectors that the array uses of each spare, given with its data offset. Those whose data
    /// begins elsewhere than that of the first keep none: the header can name one place only.
    ///
    /// # Errors
    ///
    /// A failed write: [`ArrayError::Newcomer`].
    pub fn on_spares(
        mover: &mut Mover,
        spares: &[(Device, Sector)],
        component: Sectors,
        (uuid, section): ([u8; 16], Sectors),
        now: Timestamp,
    ) -> Result<Self, ExecError> {
        let offset = spares.first().map_or(0, |(_, offset)| offset.get());
        let end = offset + component.get();
        let data_at = end.saturating_sub(HEADER + section.get());
        let headers = vec![data_at.saturating_sub(HEADER), end.saturating_sub(HEADER)];
        let keeps = spares
            .iter()
            .filter(|(_, at)| at.get() == offset)
            .map(|(device, _)| Keep { device: device.clone(), headers: headers.clone() })
            .collect();
        match Self::new(mover, (keeps, Sector::new(data_at)), (uuid, section), now) {
            Ok(made) => Ok(Self { sections: 1, ..made }),
            Err(MoveError::Write { path, fault }) => {
                let failed = FailedMember { slot: None, path, fault };
                Err(ArrayError::Newcomer { failed }.into())
            }
            Err(error) => Err(error.into()),
        }
    }

    fn new(
        mover: &mut Mover,
        (keeps, data_at): (Vec<Keep>, Sector),
        (uuid, section): ([u8; 16], Sectors),
        now: Timestamp,
    ) -> Result<Self, MoveError> {
        let (claimed, section) = (Sections::default(), section.get());
        let mut made = Self {
            keeps,
            data_at,
            uuid,
            section,
            unit: section,
            sections: 2,
            claimed,
            mtime: now,
            swapped: false,
            sequence: 0,
            crcs: [0; 2],
        };
        // An empty header is a statement: nothing was overwritten yet.
        let job = made.write_header(claimed, now).flush();
        let devices: Vec<Device> = made.devices().cloned().collect();
        check_written(&mover.run(job)?, &devices.iter().collect::<Vec<_>>())?;
        Ok(made)
    }

    /// The devices that keep it: the file, or spares.
    pub fn devices(&self) -> impl Iterator<Item = &Device> {
        self.keeps.iter().map(|keep| &keep.device)
    }

    /// What a header is written to, in the order of the job's destinations: a device once for each place of its own.
    pub(super) fn header_paths(&self) -> impl Iterator<Item = PathBuf> {
        let each =
            |keep: &Keep| std::iter::repeat_n(keep.device.path().to_owned(), keep.headers.len());
        self.keeps.iter().flat_map(each)
    }

    /// Leaves a device out of everything that follows, if another one keeps the backup, too; whether it is kept
    /// anywhere else.
    pub(super) fn goes_on_without(&mut self, path: &Path) -> bool {
        let elsewhere = self.keeps.iter().any(|keep| keep.device.path() != path);
        if elsewhere {
            self.keeps.retain(|keep| keep.device.path() != path);
        }
        elsewhere
    }

    /// Sectors of a section.
    pub fn section(&self) -> Sectors {
        Sectors::new(self.section)
    }

    /// How it is used.
    pub(super) fn saving(&self) -> Saving {
        match self.sections {
            1 => Saving::AtOnce(self.section()),
            _ => Saving::InTurns(self.section()),
        }
    }

    /// What the header on it claims.
    pub fn claimed(&self) -> Sections {
        self.claimed
    }

    /// Keeps `content` of the array, durably: from here on it is the backup. It has to fit a section.
    ///
    /// # Errors
    ///
    /// A failed write.
    pub fn keep(
        &mut self,
        mover: &mut Mover,
        range: Range,
        content: &[u8],
        now: Timestamp,
    ) -> Result<(), MoveError> {
        self.keep_as(mover, (range, content), Saved::Any, now)
    }

    fn keep_as(
        &mut self,
        mover: &mut Mover,
        (range, content): (Range, &[u8]),
        saved: Saved,
        now: Timestamp,
    ) -> Result<(), MoveError> {
        let span = Span { start: range.start, sectors: range.sectors.get() };
        let window = Arc::new(Window::new(span)?);
        window.put(span.start, content);
        let devices: Vec<Device> = self.devices().cloned().collect();
        let devices: Vec<&Device> = devices.iter().collect();
        let data = self.save(Section::First, &window).flush();
        check_written(&mover.run(data)?, &devices)?;
        let sections = Sections { first: Some(span), second: None };
        let header = self.header_job((sections, saved), now);
        check_written(&mover.run(header.flush())?, &devices)
    }

    /// The job that writes a window to a section.
    pub(super) fn save(&mut self, section: Section, window: &Arc<Window>) -> Job {
        let second = (section == Section::Second) != self.swapped;
        assert!(!second || self.sections > 1, "a section that the backup does not have");
        self.crcs[usize::from(second)] = window.with_bytes(crc32c::crc32c);
        let at = self.data_at.get() + if second { self.unit } else { 0 };
        let bytes = window.span().sectors * kcopy::SECTOR_SIZE;
        let job = Job::stripe(1, Arc::new(Save(Arc::clone(window)))).on_error(OnError::Detach);
        self.keeps.iter().fold(job, |job, keep| {
            job.to_from(Extent::new(&keep.device, at * kcopy::SECTOR_SIZE, bytes), 0)
        })
    }

    /// The job that writes the headers; to be flushed.
    pub(super) fn write_header(&mut self, sections: Sections, now: Timestamp) -> Job {
        self.header_job((sections, Saved::Any), now)
    }

    fn header_job(&mut self, (sections, saved): (Sections, Saved), now: Timestamp) -> Job {
        self.sequence += 1;
        // On a spare there are two, and mdadm takes none while they differ in what they say.
        if self.claimed != sections || self.mtime > now {
            self.mtime = Timestamp::from_seconds(now.seconds);
        }
        self.claimed = sections;
        let bytes = self.header(sections, saved).to_bytes();
        let len = u64::try_from(bytes.len()).unwrap_or(0);
        let mut job = Job::stripe(1, Arc::new(Supply::new(bytes)));
        job = job.priority(Priority::High).on_error(OnError::Detach);
        for keep in &self.keeps {
            for at in &keep.headers {
                job = job.to_from(Extent::new(&keep.device, at * kcopy::SECTOR_SIZE, len), 0);
            }
        }
        job
    }

    fn header(&self, sections: Sections, saved: Saved) -> BackupHeader {
        let Sections { first, second } = sections;
        let (first, second) = if self.swapped { (second, first) } else { (first, second) };
        let section = |span: Option<Span>| match span {
            Some(span) => {
                HeaderSection { array_start: span.start, length: Sectors::new(span.sectors) }
            }
            None => HeaderSection { array_start: ArraySector::new(0), length: Sectors::ZERO },
        };
        BackupHeader {
            set_uuid: self.uuid,
            mtime: self.mtime,
            data_at: self.data_at,
            first: section(first),
            unit: Sectors::new(self.unit),
            second: Some(section(second)),
            ours: Some(OurFacts {
                sequence: self.sequence,
                data_crc: self.crcs[0],
                data_crc2: self.crcs[1],
                unmoved: saved == Saved::BeforeRecord,
            }),
        }
    }
}

/// When a section was saved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Saved {
    /// Before the reshape was recorded.
    BeforeRecord,
    /// At any time.
    Any,
}

/// Makes a file long enough; the part of it from sector `from` on.
fn extend(device: &Device, from: u64, end: u64) -> Result<Extent, MoveError> {
    let [from, end] = [from, end].map(|sector| sector * kcopy::SECTOR_SIZE);
    let path = || device.path().to_owned();
    device.extend(end).map_err(|error| MoveError::Extend { path: path(), error })?;
    Ok(Extent::new(device, from, end - from))
}

/// Saves what a reshape of `array` by `restripe` overwrites first, before it is recorded: there is no moment at which
/// mdadm would miss it. `window` and `memory` are those of the run to come ([`Options`](super::Options)).
///
/// # Errors
///
/// Content that cannot be read, a failed write.
pub fn save_first(
    mover: &mut Mover,
    (array, restripe): (&Array, &Restripe),
    backup: &mut BackupFile,
    (window, memory): (Option<Sectors>, Option<Sectors>),
    now: Timestamp,
) -> Result<(), ExecError> {
    let limits = restripe.limits(backup.saving(), window, memory)?;
    let start = restripe.track.position(0);
    let machine = Machine::new(restripe.track, limits, start, Sections::default())?;
    let Some(span) = machine.first_saved() else { return Ok(()) };
    // Behind the old array there is nothing to keep.
    let there = array.sectors().get().saturating_sub(span.start.get()).min(span.sectors);
    let (mut content, report) = array.read(mover, Range::new(span.start.get(), there))?;
    if let Some(range) = report.unreadable.first() {
        return Err(ExecError::Unreadable { range: *range });
    }
    content.resize(bytes_of(span.sectors), 0);
    let range = Range { start: span.start, sectors: Sectors::new(span.sectors) };
    match backup.keep_as(mover, (range, &content), Saved::BeforeRecord, now) {
        Err(MoveError::Write { path, fault }) => Err(match backup.saving() {
            Saving::AtOnce(_) => {
                let failed = FailedMember { slot: None, path, fault };
                ArrayError::Newcomer { failed }.into()
            }
            Saving::InTurns(_) | Saving::Nothing => ExecError::Backup { path, fault },
        }),
        kept => Ok(kept?),
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
