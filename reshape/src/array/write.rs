//! Writing: whole stripes with new parity; parts of stripes through memory, the rest of them read.
//!
//! Nothing here says that the array is being written: see [`super::Session`], which marks it dirty
//! before and clean after.

use std::sync::Arc;

use kcopy::{Device, Errno, Extent, Job, OnError, Outcome, PieceBuffers, Sectors, Transform};
use smallvec::SmallVec;

use super::leaving::is_full;
use super::{Array, ArrayError, FailedMember, Map, Range, View};
use crate::geometry::{Part, Stripes};
use crate::mover::{MoveError, Mover};
use crate::parity::{Block, Role, fill};
use crate::units::{ArraySector, MemberSector, Slot};

/// Jobs on their way at once.
const IN_FLIGHT: usize = 512;

/// Where new content comes from.
#[derive(Clone, Debug)]
pub enum Source {
    /// A device or file.
    Device {
        /// Which.
        device: Device,
        /// The byte that goes to the first sector of the range.
        offset: u64,
    },
    /// Memory; its first byte goes to the first sector of the range.
    Memory(Arc<Vec<u8>>),
}

/// What became of a write.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WriteReport {
    /// Members on which a write failed: they hold old content and must be taken out of the array
    /// before anybody is told that the data is safe.
    pub failed: Vec<FailedMember>,
}

/// The transform of a stripe that is written: fills data from memory if it comes from there, then
/// computes P and Q.
#[derive(Debug)]
struct Compose {
    /// Of the sources, then of the computed buffers.
    roles: SmallVec<[Role; 16]>,
    memory: Option<Blocks>,
}

/// Data blocks in memory, and where each begins.
#[derive(Debug)]
struct Blocks {
    bytes: Arc<Vec<u8>>,
    starts: Vec<usize>,
}

impl Transform for Compose {
    fn apply(&self, mut piece: PieceBuffers<'_>) -> Result<(), Errno> {
        let mut computed = piece.computed.iter_mut();
        let mut blocks: SmallVec<[Block<'_>; 16]> = SmallVec::new();
        let mut roles = self.roles.iter();
        for (bytes, role) in piece.sources.iter().zip(&mut roles) {
            blocks.push(Block::known(*role, bytes));
        }
        if let Some(Blocks { bytes: memory, starts }) = &self.memory {
            let into = usize::try_from(piece.offset).map_err(|_| Errno::IO)?;
            for (start, role) in starts.iter().zip(&mut roles) {
                let bytes = computed.next().ok_or(Errno::IO)?;
                let from = start.checked_add(into).ok_or(Errno::IO)?;
                let to = from.checked_add(bytes.len()).ok_or(Errno::IO)?;
                bytes.copy_from_slice(memory.get(from..to).ok_or(Errno::IO)?);
                blocks.push(Block::known(*role, bytes));
            }
        }
        for (bytes, role) in computed.zip(roles) {
            blocks.push(Block::wanted(*role, bytes));
        }
        fill(&mut blocks).map_err(|_| Errno::IO)
    }
}

/// A write under way.
struct Writer<'a> {
    mover: &'a mut Mover,
    view: &'a View,
    /// The members in the order of each job's destinations.
    flights: slab::Slab<(SmallVec<[Slot; 16]>, u64)>,
    failed: Vec<FailedMember>,
}

impl Array {
    /// Writes `source` to `range`, with parity and to every copy.
    ///
    /// A member that fails is reported; the content is then safe on the others, if there are enough.
    /// `moved` is called with the bytes done so far; it returns false to stop early.
    ///
    /// # Errors
    ///
    /// A range outside the array, an array that is being reshaped, a source or the rest of a stripe
    /// that cannot be read, too many members failing, or [`MoveError::Cancelled`].
    pub fn write_from(
        &self,
        mover: &mut Mover,
        range: Range,
        source: &Source,
        moved: &mut dyn FnMut(u64) -> bool,
    ) -> Result<WriteReport, ArrayError> {
        self.check_range(range)?;
        let Map::Whole(view) = &self.map else { return Err(ArrayError::Reshaping) };
        let mut writer = Writer { mover, view, flights: slab::Slab::new(), failed: Vec::new() };
        let result = match view.geometry().stripes() {
            Some(stripes) => writer.stripes(self, *stripes, range, source, moved),
            None => writer.copies(range, source, moved),
        };
        let drained = writer.drain();
        result?;
        drained?;
        let mut failed = writer.failed;
        failed.sort_by_key(|member| member.slot);
        failed.dedup_by_key(|member| member.slot);
        let has_left = |slot| failed.iter().any(|member| member.slot == Some(slot));
        if !view.geometry().enough(|slot| view.leg(slot).is_some() && !has_left(slot)) {
            return Err(ArrayError::TooManyFailed { members: failed });
        }
        Ok(WriteReport { failed })
    }
}

impl Source {
    /// The bytes of `sectors` sectors from sector `at` of the source on.
    fn read(&self, mover: &mut Mover, at: u64, sectors: u64) -> Result<Vec<u8>, ArrayError> {
        let bytes = |sectors: u64| usize::try_from(sectors * kcopy::SECTOR_SIZE).unwrap_or(0);
        match self {
            Self::Device { device, offset } => {
                let from = offset + at * kcopy::SECTOR_SIZE;
                Ok(mover.read(device, from, bytes(sectors))?)
            }
            Self::Memory(memory) => {
                let part = memory.get(bytes(at)..bytes(at + sectors));
                Ok(part.unwrap_or_default().to_vec())
            }
        }
    }
}

impl Writer<'_> {
    /// Levels without parity: every chunk to each of its places.
    fn copies(
        &mut self,
        range: Range,
        source: &Source,
        moved: &mut dyn FnMut(u64) -> bool,
    ) -> Result<(), ArrayError> {
        let (mut at, mut done) = (range.start.get(), 0);
        while at < range.end() {
            done += self.make_room(IN_FLIGHT)?;
            if !moved(done) {
                return Err(MoveError::Cancelled.into());
            }
            let found = self.view.geometry().at(ArraySector::new(at));
            let found = found.ok_or(ArrayError::Inconsistent)?;
            let sectors = found.run.get().min(range.end() - at).min(LONGEST_RUN);
            let len = Sectors::new(sectors);
            let mut slots = SmallVec::new();
            let mut extents: SmallVec<[Extent; 4]> = SmallVec::new();
            for place in &found.places {
                let leg = self.view.leg(place.slot);
                if let Some(extent) = leg.and_then(|leg| leg.extent(place.sector, len)) {
                    slots.push(place.slot);
                    extents.push(extent);
                }
            }
            let mut job = self.job_of(source, at - range.start.get(), sectors)?;
            for extent in extents {
                job = job.to(extent);
            }
            self.submit(job, slots, sectors)?;
            at += sectors;
        }
        Ok(())
    }

    fn job_of(&mut self, source: &Source, at: u64, sectors: u64) -> Result<Job, ArrayError> {
        match source {
            Source::Device { device, offset } => {
                let from = offset + at * kcopy::SECTOR_SIZE;
                Ok(Job::copy(Extent::new(device, from, sectors * kcopy::SECTOR_SIZE)))
            }
            Source::Memory(_) => {
                let bytes = source.read(self.mover, at, sectors)?;
                Ok(Job::stripe(1, Arc::new(crate::mover::Supply::new(bytes))))
            }
        }
    }

    fn stripes(
        &mut self,
        array: &Array,
        stripes: Stripes,
        range: Range,
        source: &Source,
        moved: &mut dyn FnMut(u64) -> bool,
    ) -> Result<(), ArrayError> {
        let chunk = self.view.geometry().chunk().get();
        let width = chunk * u64::from(stripes.data_disks());
        let (mut at, mut done) = (range.start.get(), 0);
        while at < range.end() {
            done += self.make_room(IN_FLIGHT)?;
            if !moved(done) {
                return Err(MoveError::Cancelled.into());
            }
            let stripe = at / width;
            let end = range.end().min((stripe + 1) * width);
            let from = at - range.start.get();
            if end - at == width {
                let job = self.whole_stripe(stripes, stripe, source, from)?;
                let slots = self.present(stripes, |_| true, stripe);
                self.submit(job, slots, width)?;
            } else {
                // The rest of the stripe may be under way: what is read has to be what was written.
                self.drain()?;
                self.part_of_stripe(array, stripes, Range::new(at, end - at), source, from)?;
                done += (end - at) * kcopy::SECTOR_SIZE;
            }
            at = end;
        }
        Ok(())
    }

    /// The members to write for a stripe, in the order of slots: those with parity, and those with
    /// data blocks for which `changed` holds.
    fn present(
        &self,
        stripes: Stripes,
        changed: impl Fn(u32) -> bool,
        stripe: u64,
    ) -> SmallVec<[Slot; 16]> {
        let wanted = |slot: &Slot| match stripes.part(stripe, *slot) {
            Part::Data { block, .. } => changed(block),
            Part::P | Part::Q => true,
        };
        let slots = (0..stripes.disks()).map(Slot::new);
        slots.filter(|slot| self.view.leg(*slot).is_some()).filter(wanted).collect()
    }

    /// The job that writes a whole stripe from the source.
    fn whole_stripe(
        &mut self,
        stripes: Stripes,
        stripe: u64,
        source: &Source,
        from: u64,
    ) -> Result<Job, ArrayError> {
        let chunk = self.view.geometry().chunk().get();
        let bytes = chunk * kcopy::SECTOR_SIZE;
        match source {
            Source::Memory(_) => {
                let width = chunk * u64::from(stripes.data_disks());
                let memory = Arc::new(source.read(self.mover, from, width)?);
                self.compose(stripes, stripe, memory, |_| true)
            }
            Source::Device { device, offset } => {
                let roles = roles(stripes, stripe);
                let job_roles = roles.iter().map(|(_, role)| *role).collect();
                let parity = u16::try_from(stripes.parity_disks()).unwrap_or(u16::MAX);
                let compose = Compose { roles: job_roles, memory: None };
                let mut job = Job::stripe(parity, Arc::new(compose));
                for block in 0..u64::from(stripes.data_disks()) {
                    let at = offset + (from + block * chunk) * kcopy::SECTOR_SIZE;
                    job = job.from(Extent::new(device, at, bytes));
                }
                self.destinations(job, &roles, MemberSector::new(stripe * chunk), |_| true, stripes)
            }
        }
    }

    /// The job that writes a stripe whose data is in memory, in the array's order; only the data
    /// blocks for which `changed` holds, and parity.
    fn compose(
        &self,
        stripes: Stripes,
        stripe: u64,
        memory: Arc<Vec<u8>>,
        changed: impl Fn(u32) -> bool,
    ) -> Result<Job, ArrayError> {
        let chunk = self.view.geometry().chunk().get();
        let bytes = usize::try_from(chunk * kcopy::SECTOR_SIZE).unwrap_or(usize::MAX);
        let roles = roles(stripes, stripe);
        let data = usize::try_from(stripes.data_disks()).unwrap_or(0);
        let compose = Compose {
            roles: roles.iter().map(|(_, role)| *role).collect(),
            memory: Some(Blocks {
                bytes: memory,
                starts: (0..data).map(|block| block * bytes).collect(),
            }),
        };
        let buffers = u16::try_from(roles.len()).unwrap_or(u16::MAX);
        let job = Job::stripe(buffers, Arc::new(compose));
        self.destinations(job, &roles, MemberSector::new(stripe * chunk), changed, stripes)
    }

    /// Adds the members of a stripe as destinations, in the order of slots; buffer `i` is that of
    /// `roles[i]`.
    fn destinations(
        &self,
        mut job: Job,
        roles: &[(Slot, Role)],
        start: MemberSector,
        changed: impl Fn(u32) -> bool,
        stripes: Stripes,
    ) -> Result<Job, ArrayError> {
        let chunk = self.view.geometry().chunk();
        let stripe = start.get() / chunk.get();
        for slot in self.present(stripes, changed, stripe) {
            let buffer = roles.iter().position(|(other, _)| *other == slot);
            let buffer = buffer.and_then(|index| u16::try_from(index).ok());
            let extent = self.view.leg(slot).and_then(|leg| leg.extent(start, chunk));
            let (Some(buffer), Some(extent)) = (buffer, extent) else {
                return Err(ArrayError::Inconsistent);
            };
            job = job.to_from(extent, buffer);
        }
        Ok(job)
    }

    /// Reads the stripe, puts the new content in, writes what changed and the parity.
    fn part_of_stripe(
        &mut self,
        array: &Array,
        stripes: Stripes,
        part: Range,
        source: &Source,
        from: u64,
    ) -> Result<(), ArrayError> {
        let chunk = self.view.geometry().chunk().get();
        let width = chunk * u64::from(stripes.data_disks());
        let stripe = part.start.get() / width;
        let whole = Range::new(stripe * width, width);
        let (mut content, report) = array.read(self.mover, whole)?;
        if let Some(range) = report.unreadable.first() {
            return Err(ArrayError::Unreadable { range: *range });
        }
        let new = source.read(self.mover, from, part.sectors.get())?;
        let into = (part.start.get() - whole.start.get()) * kcopy::SECTOR_SIZE;
        let into = usize::try_from(into).unwrap_or(usize::MAX);
        let place = content.get_mut(into..into.saturating_add(new.len()));
        place.ok_or(ArrayError::Inconsistent)?.copy_from_slice(&new);
        let first = (part.start.get() - whole.start.get()) / chunk;
        let last = (part.end() - 1 - whole.start.get()) / chunk;
        let changed = |block: u32| (first..=last).contains(&u64::from(block));
        let job = self.compose(stripes, stripe, Arc::new(content), changed)?;
        let slots = self.present(stripes, changed, stripe);
        self.submit(job, slots, 0)?;
        self.drain()
    }

    fn submit(
        &mut self,
        job: Job,
        slots: SmallVec<[Slot; 16]>,
        sectors: u64,
    ) -> Result<(), ArrayError> {
        let key = self.flights.insert((slots, sectors * kcopy::SECTOR_SIZE));
        // Whoever fails leaves; all others have to get everything.
        let job = job.on_error(OnError::Detach);
        let submitted = self.mover.submit(job, u64::try_from(key).unwrap_or(u64::MAX));
        if submitted.is_err() {
            self.flights.remove(key);
        }
        Ok(submitted?)
    }

    /// Waits until fewer than `limit` jobs are on their way; returns the bytes that were done.
    fn make_room(&mut self, limit: usize) -> Result<u64, ArrayError> {
        let mut done = 0;
        while self.flights.len() >= limit.max(1) {
            let Some(next) = self.mover.next()? else { break };
            let key = usize::try_from(next.tag).unwrap_or(usize::MAX);
            let Some((slots, bytes)) = self.flights.try_remove(key) else { continue };
            self.take_in(&next.outcome, &slots)?;
            done += bytes;
        }
        Ok(done)
    }

    fn take_in(&mut self, outcome: &Outcome, slots: &[Slot]) -> Result<(), ArrayError> {
        if let Some((_, fault)) = outcome.read {
            return Err(ArrayError::Source { fault });
        }
        for (slot, destination) in slots.iter().zip(&outcome.destinations) {
            if let (Some(fault), Some(leg)) = (destination.error, self.view.leg(*slot)) {
                let path = leg.device.path().to_owned();
                // Who lies on a full file system is as good as before.
                if is_full(&path, fault) {
                    return Err(ArrayError::NoRoom { path, fault });
                }
                self.failed.push(FailedMember { slot: Some(*slot), path, fault });
            }
        }
        if outcome.cancelled {
            return Err(MoveError::Cancelled.into());
        }
        Ok(())
    }

    fn drain(&mut self) -> Result<(), ArrayError> {
        let mut result = Ok(());
        while !self.flights.is_empty() {
            match self.make_room(1) {
                Ok(_) => {}
                Err(error @ ArrayError::Move(MoveError::Broken(_))) => return Err(error),
                Err(error) => result = result.and(Err(error)),
            }
        }
        result
    }
}

/// The longest run that is one job: what the engine cuts into pieces anyway, so that progress shows.
const LONGEST_RUN: u64 = 32768;

/// The members of a stripe: data in the order of blocks, then P, then Q.
fn roles(stripes: Stripes, stripe: u64) -> SmallVec<[(Slot, Role); 16]> {
    let data = (0..stripes.data_disks()).map(|block| {
        let slot = stripes.data(stripe, block);
        let power = match stripes.part(stripe, slot) {
            Part::Data { power, .. } => power,
            Part::P | Part::Q => block,
        };
        (slot, Role::Data(power))
    });
    let p = (stripes.p(stripe), Role::P);
    let q = stripes.q(stripe).map(|slot| (slot, Role::Q));
    data.chain([p]).chain(q).collect()
}
