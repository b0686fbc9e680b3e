//! An internal bitmap comes or goes.

use kcopy::{Sector, Sectors};

use super::ChangeRefusal;
use crate::array::bitmap::{bytes, least_chunk, room_v0, sync_size};
use crate::array::create::execute::put;
use crate::array::leaving::slot_of;
use crate::array::{ArrayError, Entry, FailedMember, Session, has_redundancy};
use crate::metadata::{
    Bitmap, DoesNotFit, Fill, Minor, Misplaced, Resync, SUPER_SECTORS, Superblock, Timestamp, V1,
};
use crate::mover::{MoveError, Mover};

/// What lies beside data is aligned to 4 KiB.
const GRAIN: u64 = 8;

impl Session {
    /// Gives the array an internal bitmap, one bit for each `chunk`, or for 64 MiB or more if nothing
    /// is said. All is dirty in it unless the array is clean and whole. Gives the chunk.
    ///
    /// # Errors
    ///
    /// What does not go together, or a failed write. Nothing is changed until the bitmap is durable
    /// on every member.
    pub fn add_bitmap(
        &mut self,
        mover: &mut Mover,
        now: Timestamp,
        chunk: Option<Sectors>,
    ) -> Result<Sectors, ArrayError> {
        let view = self.array.view().ok_or(ArrayError::Reshaping)?;
        let level = self.assembly.level;
        if !has_redundancy(level) {
            return Err(ChangeRefusal::NoBitmap { level }.into());
        }
        self.check_no_journal()?;
        if let Some(bitmap) = self.record.entries().iter().find_map(|entry| entry.bitmap.as_ref()) {
            return Err(ChangeRefusal::HasBitmap { chunk: bitmap.header().chunk() }.into());
        }
        let size = sync_size(view.geometry());
        loop {
            let (place, bitmap, failed) = self.put_bitmap(mover, size, chunk)?;
            if !failed.is_empty() {
                // For fewer members, one event later, and with what those that left will have missed.
                self.leave(mover, now, failed)?;
                continue;
            }
            self.commit(mover, now, |superblock| place.tell(superblock))?;
            for entry in self.record.entries_mut() {
                entry.bitmap = Some(bitmap.clone());
            }
            return Ok(place.chunk);
        }
    }

    /// Writes a bitmap for `size` to every member, where none is told of it yet. Returns also the members that
    /// failed.
    fn put_bitmap(
        &mut self,
        mover: &mut Mover,
        size: Sectors,
        chunk: Option<Sectors>,
    ) -> Result<(Place, Bitmap, Vec<FailedMember>), ArrayError> {
        let place = Place::find(self.record.entries(), size, chunk)?;
        let fill = if self.resync() == Resync::Clean && self.degraded() == 0 {
            Fill::Clean
        } else {
            Fill::Dirty
        };
        let events = self.record.events().saturating_add(1);
        let uuid = self.assembly.uuid_on_disk;
        let bitmap = Bitmap::new(uuid, events, size, place.chunk, fill)
            .map_err(|_| place.refusal(size, place.chunk))?;
        let mut writes = Vec::new();
        for entry in self.record.entries() {
            writes.push((entry, place.on(&entry.superblock)?, bitmap.to_bytes()));
        }
        let failed = put_on_members(mover, writes)?;
        Ok((place, bitmap, failed))
    }

    /// Takes the internal bitmap away, first from the superblocks.
    ///
    /// # Errors
    ///
    /// That there is none, or a failed write.
    pub fn remove_bitmap(&mut self, mover: &mut Mover, now: Timestamp) -> Result<(), ArrayError> {
        let mut places: Vec<(u32, Sector)> = Vec::new();
        for entry in self.record.entries() {
            if let Some(at) = entry.superblock.bitmap_at()? {
                places.push((entry.superblock.dev_number(), at));
            }
        }
        if places.is_empty() {
            return Err(ChangeRefusal::HasNoBitmap.into());
        }
        self.commit(mover, now, |superblock| {
            match superblock {
                Superblock::V0(superblock) => superblock.remove_bitmap(),
                Superblock::V1(superblock) => superblock.set_bitmap_offset(None),
            }
            Ok(())
        })?;
        for entry in self.record.entries_mut() {
            entry.bitmap = None;
        }
        let header = |entry: &Entry| {
            let block = usize::try_from(entry.device.facts().logical_block).unwrap_or(512);
            vec![0; block.max(512)]
        };
        let there = places.iter().filter_map(|(n, at)| Some((self.record.entry(*n)?, *at)));
        let writes = there.map(|(entry, at)| (entry, at, header(entry))).collect();
        let failed = put_on_members(mover, writes)?;
        self.leave(mover, now, failed)
    }
}

/// Writes bytes from a sector on to each of several members, durably. Returns those where that failed.
fn put_on_members(
    mover: &mut Mover,
    writes: Vec<(&Entry, Sector, Vec<u8>)>,
) -> Result<Vec<FailedMember>, ArrayError> {
    let mut failed = Vec::new();
    for (entry, at, bytes) in writes {
        let path = || entry.device.path().to_owned();
        match put(mover, vec![(&entry.device, at, bytes)]) {
            Err(MoveError::Write { fault, .. }) => {
                failed.push(FailedMember { slot: slot_of(&entry.superblock), path: path(), fault });
            }
            ended => ended?,
        }
    }
    Ok(failed)
}

/// Where a new bitmap goes, on all members alike.
#[derive(Clone, Copy, Debug)]
struct Place {
    /// Sectors from the superblock.
    offset: i32,
    /// The room there.
    room: Sectors,
    /// What one bit stands for.
    chunk: Sectors,
}

impl Place {
    /// The first place with room for a bitmap for `size`, one bit for `chunk`.
    fn find(entries: &[Entry], size: Sectors, chunk: Option<Sectors>) -> Result<Self, ArrayError> {
        let mut gaps: Vec<Vec<Gap>> = Vec::with_capacity(entries.len());
        for entry in entries {
            gaps.push(match &entry.superblock {
                Superblock::V0(_) => vec![Gap { first: GRAIN, room: room_v0().get(), end: None }],
                Superblock::V1(superblock) => gaps_of(superblock)?,
            });
        }
        let kinds = gaps.iter().map(Vec::len).min().unwrap_or(0);
        let mut roomiest = Sectors::ZERO;
        for kind in 0..kinds {
            let Some(gap) = common(gaps.iter().filter_map(|of| of.get(kind))) else { continue };
            let room = Sectors::new(gap.room);
            roomiest = roomiest.max(room);
            if let Ok(chunk) = least_chunk(size, room, chunk) {
                return Ok(Self { offset: gap.offset(bytes(size, chunk)), room, chunk });
            }
        }
        let smallest = least_chunk(size, roomiest, None).ok();
        let chunk = chunk.unwrap_or(Sectors::ZERO);
        Err(ChangeRefusal::BitmapRoom { chunk, room: roomiest, smallest }.into())
    }

    fn refusal(&self, size: Sectors, chunk: Sectors) -> ChangeRefusal {
        let smallest = least_chunk(size, self.room, None).ok();
        ChangeRefusal::BitmapRoom { chunk, room: self.room, smallest }
    }

    /// Where that is on the member with this superblock.
    fn on(&self, superblock: &Superblock) -> Result<Sector, ArrayError> {
        let at = superblock.at().get().checked_add_signed(self.offset.into());
        at.map(Sector::new).ok_or(ArrayError::Inconsistent)
    }

    /// Has the superblock tell of it.
    fn tell(&self, superblock: &mut Superblock) -> Result<(), DoesNotFit> {
        match superblock {
            Superblock::V0(superblock) => superblock.add_bitmap(),
            Superblock::V1(superblock) => {
                superblock.set_bitmap_offset(Some(self.offset));
                // In 1.0 data may be kept from where the bitmap is now.
                let start = superblock.at().get().saturating_add_signed(self.offset.into());
                let left = start.saturating_sub(superblock.data_offset().get());
                if superblock.minor() == Minor::Zero && left < superblock.data_size().get() {
                    superblock.set_data_size(Sectors::new(left));
                }
            }
        }
        Ok(())
    }
}

/// Sectors of a member that nobody uses, counted from its superblock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Gap {
    /// The first one behind the superblock; without meaning in a gap with an `end`.
    first: u64,
    /// How many.
    room: u64,
    /// In front of the superblock: sectors from the gap's end to it.
    end: Option<u64>,
}

impl Gap {
    /// The offset of a bitmap of `bytes` in it: at its start, or at its end if that is nearer to the
    /// superblock.
    fn offset(self, bytes: u64) -> i32 {
        let length = bytes.div_ceil(kcopy::SECTOR_SIZE).next_multiple_of(GRAIN);
        match self.end {
            None => i32::try_from(self.first).unwrap_or(i32::MAX),
            Some(end) => i32::try_from(end.saturating_add(length)).map_or(i32::MIN, |back| -back),
        }
    }
}

/// What all gaps have in common.
fn common<'a>(gaps: impl Iterator<Item = &'a Gap>) -> Option<Gap> {
    gaps.copied().reduce(|one, other| match (one.end, other.end) {
        (None, None) => {
            let first = one.first.max(other.first);
            let end = (one.first + one.room).min(other.first + other.room);
            Gap { first, room: end.saturating_sub(first), end: None }
        }
        (Some(a), Some(b)) => {
            let far = (a + one.room).min(b + other.room);
            Gap { first: 0, room: far.saturating_sub(a.max(b)), end: Some(a.max(b)) }
        }
        (None, Some(_)) | (Some(_), None) => Gap { room: 0, ..one },
    })
}

/// The gaps of a member, best first, the same kinds in the same order for all of one array.
fn gaps_of(superblock: &V1) -> Result<Vec<Gap>, Misplaced> {
    let at = superblock.at().get();
    let data = superblock.data_offset().get();
    let log = superblock.bad_blocks_at()?;
    if superblock.minor() == Minor::Zero {
        let end = log.map_or(at, |log| log.start.get().min(at));
        let before = |used: Sectors| {
            let free = data.saturating_add(used.get()).next_multiple_of(GRAIN);
            Gap { first: 0, room: end.saturating_sub(free), end: Some(at - end) }
        };
        // What is kept from data first; then what data does not use.
        let used = superblock.component_size();
        return Ok(vec![before(superblock.data_size()), before(used)]);
    }
    let first = SUPER_SECTORS.get();
    let gap = |from: u64, to: u64| Gap { first: from, room: to.saturating_sub(from), end: None };
    let (start, end) = match log {
        Some(log) => (log.start.get().saturating_sub(at), log.end().get().saturating_sub(at)),
        None => (data.saturating_sub(at), data.saturating_sub(at)),
    };
    Ok(vec![gap(first, start), gap(end.next_multiple_of(GRAIN), data.saturating_sub(at))])
}
