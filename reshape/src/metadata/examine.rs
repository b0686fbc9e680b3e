//! Everything of md that is on a device.
//!
//! Superblocks are looked for at each of the four places; what a superblock names is read as well.
//! Nothing is guessed: what cannot be read or believed is reported with its reason.

use std::io;

use kcopy::{Sector, Sectors};

use super::backup::{BACKUP_BYTES, BackupError, BackupHeader};
use super::bad_blocks::{self, BadBlocksError};
use super::bitmap::{Bitmap, BitmapError, BitmapHeader};
use super::error::SuperblockError;
use super::facts::{Area, Misplaced};
use super::features::Features;
use super::journal::{JOURNAL_BYTES, JournalBlock, JournalError};
use super::place::Version;
use super::ppl::{PPL_BYTES, PplError, PplHeader};
use super::superblock::Superblock;
use super::v1::SUPER_BYTES;

/// Sectors at the end of a member's data that hold the header of a backup on a spare.
const BACKUP_TAIL: u64 = 8;

/// A device that can be read: a file, a block device, bytes in memory.
pub trait ReadAt {
    /// The size of the device; a part of a sector at its end does not count.
    fn size(&self) -> Sectors;

    /// Fills `buffer`, a whole number of sectors, with what is at sector `at`. Any sector may be
    /// asked for, whatever the device's logical block.
    ///
    /// # Errors
    ///
    /// When not all of it can be read.
    fn read_at(&self, at: Sector, buffer: &mut [u8]) -> io::Result<()>;
}

impl ReadAt for [u8] {
    fn size(&self) -> Sectors {
        // A length in memory fits in 64 bits.
        Sectors::from_bytes_floor(u64::try_from(self.len()).unwrap_or(u64::MAX))
    }

    fn read_at(&self, at: Sector, buffer: &mut [u8]) -> io::Result<()> {
        let start = at.checked_bytes().and_then(|at| usize::try_from(at).ok());
        let bytes = start.and_then(|start| self.get(start..)?.get(..buffer.len()));
        buffer.copy_from_slice(bytes.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }
}

impl ReadAt for Vec<u8> {
    fn size(&self) -> Sectors {
        self.as_slice().size()
    }

    fn read_at(&self, at: Sector, buffer: &mut [u8]) -> io::Result<()> {
        self.as_slice().read_at(at, buffer)
    }
}

/// Why something that may be there was not read, or is not believed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ExamineError {
    /// The device cannot be read there.
    #[error("{length} at {at} cannot be read: {kind}")]
    Read {
        /// Where the read began.
        at: Sector,
        /// How long it was.
        length: Sectors,
        /// The kind of the error.
        kind: io::ErrorKind,
    },
    /// The device ends before it.
    #[error("{length} at {at} are behind the device's end at {size}")]
    BehindEnd {
        /// Where it would begin.
        at: Sector,
        /// How long it is.
        length: Sectors,
        /// The device's size.
        size: Sectors,
    },
    /// No superblock, or none to be believed.
    #[error(transparent)]
    Superblock(#[from] SuperblockError),
    /// The superblock puts it before the device.
    #[error(transparent)]
    Misplaced(#[from] Misplaced),
    /// No bitmap, or none to be used.
    #[error(transparent)]
    Bitmap(#[from] BitmapError),
    /// No log of bad blocks.
    #[error(transparent)]
    BadBlocks(#[from] BadBlocksError),
    /// No partial parity log of this array.
    #[error(transparent)]
    ParityLog(#[from] PplError),
    /// No journal of this array.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// No backup, or a damaged one.
    #[error(transparent)]
    Backup(#[from] BackupError),
}

/// What is on a device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Examined {
    /// The device's size.
    pub size: Sectors,
    /// What was found at each place where a superblock could be.
    pub places: Vec<Candidate>,
}

impl Examined {
    /// The superblocks that may be believed. More than one is a reason to ask: a device was used
    /// twice, or a partition and its disk share the place.
    pub fn members(&self) -> impl Iterator<Item = &Member> {
        let found = self.places.iter().filter_map(|place| place.found.as_ref().ok());
        found.filter(|member| member.damage.is_none())
    }
}

/// A place where a superblock could be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// The version that has this place.
    pub version: Version,
    /// What is there.
    pub found: Result<Member, ExamineError>,
}

/// A superblock, and what it names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// The superblock; it may be damaged.
    pub superblock: Superblock,
    /// Why the superblock is not to be believed. What it names was not read then.
    pub damage: Option<SuperblockError>,
    /// The internal bitmap, if it has one.
    pub bitmap: Option<Result<Bitmap, ExamineError>>,
    /// The bad blocks, if it keeps a log of them.
    pub bad_blocks: Option<Result<Vec<Area>, ExamineError>>,
    /// The first header of the partial parity log, if it has one.
    pub parity_log: Option<Result<PplHeader, ExamineError>>,
    /// The block of the journal with which a replay begins, if this is a journal.
    pub journal: Option<Result<JournalBlock, ExamineError>>,
    /// The backup that a reshape keeps on a spare, if a reshape is recorded.
    pub backup: Option<Result<BackupHeader, ExamineError>>,
}

/// Reads everything of md that is on `device`.
///
/// It reads at most 33 MiB at once, whatever the device says.
pub fn examine(device: &(impl ReadAt + ?Sized)) -> Examined {
    let look = |version: Version| Candidate { version, found: member(device, version) };
    Examined { size: device.size(), places: Version::ALL.into_iter().map(look).collect() }
}

/// Reads the superblock of `version` on `device`, and what it names.
///
/// # Errors
///
/// When it cannot be read, or there is none. A damaged one is no error.
pub fn member(device: &(impl ReadAt + ?Sized), version: Version) -> Result<Member, ExamineError> {
    let at = version.place(device.size()).map_err(SuperblockError::TooSmall)?;
    let bytes = read(device, at, SUPER_BYTES)?;
    let superblock = Superblock::decode(&bytes, version, at)?;
    let mut member = Member {
        damage: superblock.check().err(),
        superblock,
        bitmap: None,
        bad_blocks: None,
        parity_log: None,
        journal: None,
        backup: None,
    };
    if member.damage.is_none() {
        read_named(device, &mut member);
    }
    Ok(member)
}

/// Reads the header of a backup at sector `at` of `device`; in a backup file, that is sector 0.
///
/// # Errors
///
/// When it cannot be read, or there is none, or a damaged one.
pub fn backup(device: &(impl ReadAt + ?Sized), at: Sector) -> Result<BackupHeader, ExamineError> {
    Ok(BackupHeader::parse(&read(device, at, BACKUP_BYTES)?)?)
}

/// Where the header of a backup lies on a spare that a growing reshape uses: 8 sectors before the
/// end of what the array uses of it.
#[must_use]
pub fn backup_on_spare(superblock: &Superblock) -> Option<Sector> {
    let into = superblock.component_size().get().checked_sub(BACKUP_TAIL)?;
    superblock.data_offset().checked_add(Sectors::new(into))
}

fn read_named(device: &(impl ReadAt + ?Sized), member: &mut Member) {
    let superblock = &member.superblock;
    member.bitmap = superblock
        .bitmap_at()
        .map_err(ExamineError::from)
        .and_then(|at| at.map(|at| bitmap(device, at)).transpose())
        .transpose();
    member.bad_blocks = superblock
        .bad_blocks_at()
        .map_err(ExamineError::from)
        .and_then(|area| area.map(|area| bad_areas(device, superblock, area)).transpose())
        .transpose();
    member.parity_log = superblock
        .ppl_area()
        .map_err(ExamineError::from)
        .and_then(|area| area.map(|area| parity_log(device, superblock, area)).transpose())
        .transpose();
    member.journal = match superblock {
        Superblock::V0(_) => None,
        Superblock::V1(v1) => v1.journal_tail().map(|tail| journal(device, superblock, tail)),
    };
    if superblock.reshape().is_some() {
        member.backup = backup_on_spare(superblock).map(|at| backup(device, at));
    }
}

fn bitmap(device: &(impl ReadAt + ?Sized), at: Sector) -> Result<Bitmap, ExamineError> {
    // The least logical block first: it says how much there is.
    let head = read(device, at, 512)?;
    let header = BitmapHeader::parse(&head)?;
    header.check()?;
    let length = header.length()?.next_multiple_of(512);
    Ok(Bitmap::parse(&read(device, at, length)?)?)
}

fn bad_areas(
    device: &(impl ReadAt + ?Sized),
    superblock: &Superblock,
    area: Area,
) -> Result<Vec<Area>, ExamineError> {
    // Without the bit there are none, and the log may never have been written.
    if !superblock.features().contains(Features::BAD_BLOCKS) {
        return Ok(Vec::new());
    }
    let shift = match superblock {
        Superblock::V0(_) => 0,
        Superblock::V1(v1) => v1.bad_blocks().map_or(0, |log| log.shift),
    };
    let length = area.length.checked_bytes().and_then(|bytes| usize::try_from(bytes).ok());
    let length = length.map_or(bad_blocks::LOG_BYTES, |bytes| bytes.min(bad_blocks::LOG_BYTES));
    let log = read(device, area.start, length)?;
    Ok(bad_blocks::parse(&log, shift)?)
}

fn parity_log(
    device: &(impl ReadAt + ?Sized),
    superblock: &Superblock,
    area: Area,
) -> Result<PplHeader, ExamineError> {
    Ok(PplHeader::parse(&read(device, area.start, PPL_BYTES)?, superblock.uuid())?)
}

fn journal(
    device: &(impl ReadAt + ?Sized),
    superblock: &Superblock,
    tail: Sector,
) -> Result<JournalBlock, ExamineError> {
    // The tail counts from where the journal's data begins.
    let length = Sectors::from_bytes_ceil(4096);
    let behind = ExamineError::BehindEnd { at: tail, length, size: device.size() };
    let at = superblock.data_offset().checked_add(Sectors::new(tail.get())).ok_or(behind)?;
    Ok(JournalBlock::parse(&read(device, at, JOURNAL_BYTES)?, superblock.uuid())?)
}

/// Reads `length` bytes, a multiple of 512, if they are on the device.
fn read(
    device: &(impl ReadAt + ?Sized),
    at: Sector,
    length: usize,
) -> Result<Vec<u8>, ExamineError> {
    let size = device.size();
    let sectors = Sectors::from_bytes_ceil(u64::try_from(length).unwrap_or(u64::MAX));
    if at.checked_add(sectors).is_none_or(|end| end.get() > size.get()) {
        return Err(ExamineError::BehindEnd { at, length: sectors, size });
    }
    let mut bytes = vec![0; length];
    device.read_at(at, &mut bytes).map_err(|error| ExamineError::Read {
        at,
        length: sectors,
        kind: error.kind(),
    })?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::geometry::Level;
    use crate::metadata::build::{BitmapRoom, NewArray, NewDevice, Placement};
    use crate::metadata::{ArrayName, DeviceFlags, Fill, Resync, Role, Timestamp, Uuid};
    use crate::units::Slot;

    const SIZE: Sectors = Sectors::new(8192);

    fn device(version: Version) -> Vec<u8> {
        let array = NewArray {
            uuid: Uuid([5; 16]),
            name: ArrayName::new("host:0").unwrap(),
            creation_time: Timestamp::from_seconds(1),
            level: Level::Raid1,
            layout: 0,
            chunk: Sectors::ZERO,
            raid_disks: 1,
            component_size: Sectors::new(4096),
            resync: Resync::Clean,
            events: 3,
            md_minor: 0,
            features: Features::BAD_BLOCKS,
            devices: vec![NewDevice {
                role: Role::Active(Slot::new(0)),
                flags: DeviceFlags::empty(),
                major_minor: (7, 0),
            }],
        };
        let placement =
            Placement::usual(version, SIZE, Sectors::new(128), BitmapRoom::Used).unwrap();
        let superblock = array.superblock(0, &placement, Uuid([6; 16])).unwrap();
        let mut bytes = vec![0; 8192 * 512];
        let mut put = |at: Sector, part: &[u8]| {
            let at = usize::try_from(at.checked_bytes().unwrap()).unwrap();
            bytes[at..at + part.len()].copy_from_slice(part);
        };
        put(placement.super_at, &superblock.to_bytes());
        let bitmap = Bitmap::new(
            superblock.uuid_on_disk(),
            3,
            Sectors::new(4096),
            Sectors::new(128),
            Fill::Dirty,
        );
        put(superblock.bitmap_at().unwrap().unwrap(), &bitmap.unwrap().to_bytes());
        if let Some(log) = superblock.bad_blocks_at().unwrap() {
            let bad = Area { start: Sector::new(3000), length: Sectors::new(2) };
            put(log.start, &bad_blocks::to_bytes(&[bad], 0, 4096).unwrap());
        }
        bytes
    }

    #[test]
    fn everything_on_a_device_is_found() {
        for version in Version::ALL {
            let found = examine(&device(version));
            let member = found.members().next().unwrap();
            assert_eq!(found.members().count(), 1);
            assert_eq!(member.superblock.version(), version);
            let bitmap = member.bitmap.as_ref().unwrap().as_ref().unwrap();
            assert_eq!(bitmap.dirty().count(), 32);
            assert!(bitmap.header().belongs_to(member.superblock.uuid_on_disk(), 3));
            match &member.bad_blocks {
                Some(bad) => assert_eq!(bad.as_ref().unwrap().len(), 1),
                None => assert_eq!(version, Version::V0),
            }
            assert!(member.backup.is_none() && member.parity_log.is_none());
        }
    }

    #[test]
    fn damaged_superblock_is_shown_and_not_believed() {
        let mut bytes = device(Version::V0);
        let at = usize::try_from(Version::V0.place(SIZE).unwrap().get()).unwrap() * 512;
        bytes[at + 128] ^= 1;
        let found = examine(&bytes);
        assert_eq!(found.members().count(), 0);
        let place = found.places.iter().find(|place| place.version == Version::V0).unwrap();
        let member = place.found.as_ref().unwrap();
        assert!(matches!(member.damage, Some(SuperblockError::Checksum { .. })));
        assert!(member.bitmap.is_none());
    }

    #[test]
    fn devices_that_end_early_are_no_trouble() {
        for version in Version::ALL {
            let bytes = device(version);
            for length in (0..bytes.len()).step_by(63 * 1024 + 17) {
                let found = examine(&bytes[..length]);
                assert_eq!(found.places.len(), 4);
            }
            assert_eq!(examine(&[][..]).members().count(), 0);
        }
    }

    #[test]
    fn read_errors_are_reported_with_their_place() {
        struct Broken;
        impl ReadAt for Broken {
            fn size(&self) -> Sectors {
                SIZE
            }
            fn read_at(&self, _: Sector, _: &mut [u8]) -> io::Result<()> {
                Err(io::ErrorKind::TimedOut.into())
            }
        }
        for place in examine(&Broken).places {
            let at = place.version.place(SIZE).unwrap();
            let (length, kind) = (Sectors::new(8), io::ErrorKind::TimedOut);
            assert_eq!(place.found, Err(ExamineError::Read { at, length, kind }));
        }
    }

    proptest! {
        #[test]
        fn flipped_bits_never_panic_for_all(
            version in 0..4_usize, flips in prop::collection::vec((0..4096_usize, any::<u8>()), 1..8)
        ) {
            let version = Version::ALL[version];
            let mut bytes = device(version);
            let at = usize::try_from(version.place(SIZE).unwrap().get()).unwrap() * 512;
            for (offset, mask) in flips {
                bytes[at + offset] ^= mask;
            }
            // Behind the checksum as well.
            if let Ok(mut superblock) = Superblock::decode(&bytes[at..], version, version.place(SIZE).unwrap()) {
                superblock.set_events(superblock.events());
                let mended = superblock.to_bytes();
                bytes[at..at + mended.len()].copy_from_slice(&mended);
            }
            let _ = examine(&bytes);
        }

        #[test]
        fn random_superblocks_never_panic_for_all(
            version in 0..4_usize, head in prop::collection::vec(any::<u8>(), 4096), device_seed: u64
        ) {
            let version = Version::ALL[version];
            let mut bytes = vec![device_seed.to_le_bytes()[0]; 8192 * 512];
            let place = version.place(SIZE).unwrap();
            let at = usize::try_from(place.get()).unwrap() * 512;
            bytes[at..at + 4096].copy_from_slice(&head);
            bytes[at..at + 4].copy_from_slice(&0xa92b_4efc_u32.to_le_bytes());
            let major = u32::from(version != Version::V0);
            bytes[at + 4..at + 8].copy_from_slice(&major.to_le_bytes());
            if version == Version::V0 {
                bytes[at + 8..at + 12].copy_from_slice(&(90 + u32::from(head[0]) % 2).to_le_bytes());
            } else {
                bytes[at + 144..at + 152].copy_from_slice(&place.get().to_le_bytes());
                bytes[at + 220..at + 224].copy_from_slice(&(u32::from(head[1]) * 7).to_le_bytes());
            }
            let mut superblock = Superblock::decode(&bytes[at..], version, place).unwrap();
            superblock.set_events(superblock.events());
            bytes[at..at + 4096].copy_from_slice(&superblock.to_bytes());
            let found = examine(&bytes);
            prop_assert!(found.members().any(|member| member.superblock.version() == version));
            let _ = superblock.restrictions();
            let _ = superblock.revert_reshape();
            let _ = superblock.abandon_reshape();
        }
    }
}
