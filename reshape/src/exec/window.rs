//! A window in memory, and the transforms between it and the members' rows.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use kcopy::{Errno, Extent, Job, PieceBuffers, Sectors, Transform};
use smallvec::SmallVec;

use super::holes::{FINEST, Holes, Run};
use super::memory::Memory;
use crate::array::{ArrayError, Leg, View};
use crate::geometry::{Geometry, On, Part, Place};
use crate::machine::Span;
use crate::mover::MoveError;
use crate::parity::{self, Block, Data, Role, Verdict, fill};
use crate::units::{ArraySector, MemberSector, Slot};

/// Old stripes that contradict their parity.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Contradiction {
    /// The first array sector of the first such row.
    pub at: ArraySector,
    /// The first such row, as a sector of the members.
    pub row: MemberSector,
    /// How many sectors of each member.
    pub sectors: u64,
}

impl Contradiction {
    /// For messages: `128 sectors`.
    pub(super) fn rows(self) -> Sectors {
        Sectors::new(self.sectors)
    }
}

/// What the parity of old stripes says about them, in sectors of a member.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Witness {
    /// Rows that agree with their parity and hold something.
    pub verified: u64,
    /// Rows with a block of zeros, or nothing else. Where new stripes are zeros for the most part, those may be all of
    /// them that are written, or the rest sums up as well.
    pub blank: u64,
    /// Of these, rows that hold something.
    pub hollow: u64,
    /// Rows that agree and are the same in both geometries.
    pub same: u64,
    /// Rows whose parity says nothing: it is needed to compute what is missing, or it would agree just as
    /// well if new stripes stood there.
    pub mute: u64,
    /// Rows that contradict their parity.
    pub contradicting: u64,
}

impl Witness {
    /// Whether every row agrees with a parity of its own.
    pub fn holds(&self) -> bool {
        self.mute == 0 && self.blank == 0 && self.contradicting == 0
    }

    /// Whether no row contradicts its parity, and more agree than say nothing: what an empty backup says is
    /// believed then. Not where a few new blocks between zeros may be what agrees.
    pub fn mostly_holds(&self) -> bool {
        self.contradicting == 0 && self.hollow == 0 && self.verified > self.mute
    }

    /// What `sectors` rows of zeros say where `lost` members are missing.
    fn of_zeros(geometry: &Geometry, sectors: u64, lost: usize) -> Self {
        let parities = geometry.stripes().map_or(0, |s| s.disks().abs_diff(s.data_disks()));
        // Zeros agree with zeros, if a parity is left that is not needed to compute something.
        match usize::try_from(parities).is_ok_and(|parities| lost < parities) {
            true => Self { blank: sectors, ..Self::default() },
            false => Self { mute: sectors, ..Self::default() },
        }
    }

    pub(super) fn add(&mut self, other: Self) {
        self.verified += other.verified;
        self.blank += other.blank;
        self.hollow += other.hollow;
        self.same += other.same;
        self.mute += other.mute;
        self.contradicting += other.contradicting;
    }
}

impl std::fmt::Display for Witness {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { verified, blank, hollow: _, same, mute, contradicting } = self;
        write!(
            f,
            "{verified} rows verified, {same} the same before and after, {blank} blank, \
             {mute} without a spare parity, {contradicting} contradicting"
        )
    }
}

/// Array content on its way from old stripes to new ones.
#[derive(Debug)]
pub(super) struct Window {
    span: Span,
    /// The content is at its beginning.
    memory: Mutex<Memory>,
    /// Its content is zeros, whatever its memory holds.
    blank: AtomicBool,
    bad: Mutex<Option<Contradiction>>,
    witness: Mutex<Witness>,
}

impl Window {
    /// A window of zeros.
    ///
    /// # Errors
    ///
    /// [`MoveError::NoMemory`].
    pub(super) fn new(span: Span) -> Result<Self, MoveError> {
        let bytes = bytes_of(span.sectors);
        Ok(Self::within(Memory::NONE.fit(bytes, bytes)?, span, 0))
    }

    /// A window in memory that fits it. Of its content the first `content` sectors will be put there; what
    /// lies behind them is zeros.
    pub(super) fn within(mut memory: Memory, span: Span, content: u64) -> Self {
        let (start, end) = (bytes_of(content), bytes_of(span.sectors));
        if let Some(behind) = memory.bytes_mut().get_mut(start..end) {
            behind.fill(0);
        }
        let (bad, witness) = (Mutex::new(None), Mutex::default());
        let blank = AtomicBool::new(false);
        Self { span, memory: Mutex::new(memory), blank, bad, witness }
    }

    /// Its memory, for another one.
    pub(super) fn into_memory(self) -> Memory {
        self.memory.into_inner().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn span(&self) -> Span {
        self.span
    }

    /// The first place where old stripes contradict their parity.
    pub(super) fn contradiction(&self) -> Option<Contradiction> {
        *lock(&self.bad)
    }

    /// What the parity of the old stripes said.
    pub(super) fn witness(&self) -> Witness {
        *lock(&self.witness)
    }

    /// Its content is zeros: what of its memory says otherwise is touched only if somebody wants to see it.
    pub(super) fn set_blank(&self, witness: Witness) {
        self.blank.store(true, Ordering::Relaxed);
        lock(&self.witness).add(witness);
    }

    /// A part of the window's content in memory.
    pub(super) fn with_bytes<R>(&self, take: impl FnOnce(&[u8]) -> R) -> R {
        let memory = self.memory();
        take(memory.bytes().get(..bytes_of(self.span.sectors)).unwrap_or_default())
    }

    /// Its memory, as its content is.
    fn memory(&self) -> MutexGuard<'_, Memory> {
        let mut memory = lock(&self.memory);
        if self.blank.swap(false, Ordering::Relaxed)
            && let Some(content) = memory.bytes_mut().get_mut(..bytes_of(self.span.sectors))
        {
            content.fill(0);
        }
        memory
    }

    /// Whether `sectors` of array content from `at` on, what of it does not lie in the window included, are zeros.
    pub(super) fn is_blank(&self, at: ArraySector, sectors: u64) -> bool {
        let memory = lock(&self.memory);
        if self.blank.load(Ordering::Relaxed) {
            return true;
        }
        match self.overlap(at, bytes_of(sectors)) {
            Some((mine, _)) => memory.bytes().get(mine).is_some_and(is_blank),
            None => true,
        }
    }

    /// Puts array content into the window, what of it lies there.
    pub(super) fn put(&self, at: ArraySector, content: &[u8]) {
        let mut memory = self.memory();
        if let Some((mine, theirs)) = self.overlap(at, content.len())
            && let (Some(to), Some(from)) = (memory.bytes_mut().get_mut(mine), content.get(theirs))
        {
            to.copy_from_slice(from);
        }
    }

    /// Copies array content out of the window; what of it does not lie there is zeros.
    fn get(&self, at: ArraySector, content: &mut [u8]) {
        let memory = lock(&self.memory);
        let overlap = self.overlap(at, content.len());
        if self.blank.load(Ordering::Relaxed) {
            return content.fill(0);
        }
        if overlap.as_ref().is_none_or(|(_, theirs)| theirs.len() < content.len()) {
            content.fill(0);
        }
        if let Some((mine, theirs)) = overlap
            && let (Some(from), Some(to)) = (memory.bytes().get(mine), content.get_mut(theirs))
        {
            to.copy_from_slice(from);
        }
    }

    /// Byte ranges in the window and in a piece of `len` bytes at array sector `at`.
    fn overlap(
        &self,
        at: ArraySector,
        len: usize,
    ) -> Option<(std::ops::Range<usize>, std::ops::Range<usize>)> {
        let len = u64::try_from(len).ok()?;
        let (start, from) = (self.span.start.get(), at.get());
        let end = start + self.span.sectors;
        let to = from + len / kcopy::SECTOR_SIZE;
        let (low, high) = (start.max(from), end.min(to));
        let byte = |sectors: u64| usize::try_from(sectors * kcopy::SECTOR_SIZE).ok();
        if low >= high {
            return None;
        }
        Some((byte(low - start)?..byte(high - start)?, byte(low - from)?..byte(high - from)?))
    }
}

/// Bytes of `sectors` in memory.
pub(super) fn bytes_of(sectors: u64) -> usize {
    usize::try_from(sectors.saturating_mul(kcopy::SECTOR_SIZE)).unwrap_or(usize::MAX)
}

/// The rows of a geometry that hold something of `span`, whole rows of chunks.
fn rows(geometry: &Geometry, span: Span) -> Option<(u64, u64)> {
    let end = (span.start.get() + span.sectors).min(geometry.sectors().get());
    if span.start.get() >= end {
        return None;
    }
    let chunk = geometry.chunk().get();
    let rows = |sector: u64| -> Option<(u64, u64)> {
        let at = geometry.at(ArraySector::new(sector))?;
        let rows = at.places.iter().map(|place| place.sector.get() / chunk);
        Some((rows.clone().min()?, rows.max()?))
    };
    let (first, _) = rows(span.start.get())?;
    let (_, last) = rows(end - 1)?;
    Some((first * chunk, (last + 1) * chunk))
}

fn role(geometry: &Geometry, stripe: u64, slot: Slot) -> Option<Role> {
    Some(match geometry.stripes()?.part(stripe, slot) {
        Part::Data { power, .. } => Role::Data(power),
        Part::P => Role::P,
        Part::Q => Role::Q,
    })
}

/// Where the pieces of a job over rows are cut: at every chunk.
fn cuts(start: u64, chunk: u64, len: usize) -> impl Iterator<Item = (u64, std::ops::Range<usize>)> {
    let mut at = 0_usize;
    std::iter::from_fn(move || {
        let here = start + u64::try_from(at).ok()?;
        let left = usize::try_from(chunk - here % chunk).unwrap_or(usize::MAX);
        let to = len.min(at.saturating_add(left));
        let cut = (here, at..to);
        at = to;
        (cut.1.start < len).then_some(cut)
    })
}

/// Takes rows of the old geometry apart into a window, verifying what can be verified.
#[derive(Debug)]
struct Gather {
    geometry: Geometry,
    /// Byte of the members at which the job begins.
    start: u64,
    /// The members of the sources; then those of the computed buffers, which are missing.
    slots: SmallVec<[Slot; 16]>,
    window: Arc<Window>,
    /// What else may stand there, if that is the question.
    other: Option<Other>,
}

/// The geometry that overwrites the old one.
#[derive(Clone, Debug)]
pub(super) struct Other {
    pub(super) geometry: Geometry,
    /// New data offset minus old one.
    pub(super) shift: i64,
}

/// What an old row that agrees with its parity proves, seen from the other geometry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Proof {
    /// New stripes there would not agree.
    Old,
    /// Everything has the same place in both.
    Same,
    /// New stripes there would agree as well.
    None,
}

impl Other {
    /// The parity of all of a row is the same sum for both geometries if they have as many members, and no
    /// Q, or Q on the same one.
    fn proof(&self, old: &Geometry, row: MemberSector) -> Proof {
        let Some(there) = row.get().checked_add_signed(-self.shift).map(MemberSector::new) else {
            return Proof::Old;
        };
        if old.raid_disks() != self.geometry.raid_disks() {
            return Proof::Old;
        }
        let mut slots = (0..old.raid_disks()).map(Slot::new);
        if slots.clone().all(|slot| old.on(slot, row) == self.geometry.on(slot, there)) {
            return Proof::Same;
        }
        let q = |on: On| matches!(on, On::Q { .. });
        let same_q = slots.all(|slot| q(old.on(slot, row)) == q(self.geometry.on(slot, there)));
        if same_q { Proof::None } else { Proof::Old }
    }

    /// What `sectors` rows from `row` on prove, `verified` by their parity.
    fn weigh(&self, old: &Geometry, row: MemberSector, sectors: u64) -> Witness {
        let chunk = self.geometry.chunk().get();
        let mut seen = Witness::default();
        let mut done = 0;
        while done < sectors {
            let at = row.get() + done;
            let there = at.checked_add_signed(-self.shift).unwrap_or(0);
            let len = (chunk - there % chunk).min(sectors - done);
            match self.proof(old, MemberSector::new(at)) {
                Proof::Old => seen.verified += len,
                Proof::Same => seen.same += len,
                Proof::None => seen.mute += len,
            }
            done += len;
        }
        seen
    }
}

impl Transform for Gather {
    fn apply(&self, mut piece: PieceBuffers<'_>) -> Result<(), Errno> {
        let len = piece.sources.first().map_or(0, |source| source.len());
        let chunk = self.geometry.chunk().get() * kcopy::SECTOR_SIZE;
        for (here, cut) in cuts(self.start + piece.offset, chunk, len) {
            let row = MemberSector::new(here / kcopy::SECTOR_SIZE);
            if self.geometry.stripes().is_some() {
                self.solve_and_verify(here / chunk, row, &cut, &mut piece)?;
            } else {
                let sectors = u64::try_from(cut.len()).unwrap_or(0) / kcopy::SECTOR_SIZE;
                lock(&self.window.witness).add(Witness { mute: sectors, ..Witness::default() });
            }
            let computed = piece.computed.iter();
            let buffers = piece.sources.iter().chain(computed);
            for (slot, buffer) in self.slots.iter().zip(buffers) {
                if let On::Data(sector) = self.geometry.on(*slot, row) {
                    self.window.put(sector, buffer.get(cut.clone()).ok_or(Errno::IO)?);
                }
            }
        }
        Ok(())
    }
}

impl Gather {
    /// Computes what is missing of a row; compares the parity that is left over; notes what that says.
    fn solve_and_verify(
        &self,
        stripe: u64,
        row: MemberSector,
        cut: &std::ops::Range<usize>,
        piece: &mut PieceBuffers<'_>,
    ) -> Result<(), Errno> {
        let agree = if piece.computed.is_empty() {
            Some(self.agrees(stripe, cut, piece)?)
        } else {
            self.solve(stripe, cut, piece)?
        };
        let sectors = u64::try_from(cut.len()).unwrap_or(0) / kcopy::SECTOR_SIZE;
        let none = Witness::default();
        let mut zeros = piece.sources.iter().map(|s| s.get(cut.clone()).is_some_and(is_blank));
        let seen = match agree {
            None => Witness { mute: sectors, ..none },
            Some(false) => {
                self.contradict(stripe, row, sectors);
                Witness { contradicting: sectors, ..none }
            }
            Some(true) => match &self.other {
                None if zeros.all(|is| is) => Witness { blank: sectors, ..none },
                None => Witness { verified: sectors, ..none },
                Some(other) => match zeros.filter(|is| *is).count() {
                    0 => other.weigh(&self.geometry, row, sectors),
                    all if all == piece.sources.len() => Witness { blank: sectors, ..none },
                    _ => Witness { blank: sectors, hollow: sectors, ..none },
                },
            },
        };
        lock(&self.window.witness).add(seen);
        Ok(())
    }

    /// Whether a row that is there as a whole agrees with its parity. Needs no memory of its own.
    fn agrees(
        &self,
        stripe: u64,
        cut: &std::ops::Range<usize>,
        piece: &PieceBuffers<'_>,
    ) -> Result<bool, Errno> {
        let mut data: SmallVec<[Data<'_>; 16]> = SmallVec::new();
        let (mut all, mut p, mut q) = (SmallVec::<[&[u8]; 16]>::new(), None, None);
        for (slot, source) in self.slots.iter().zip(&piece.sources) {
            let bytes = source.get(cut.clone()).ok_or(Errno::IO)?;
            all.push(bytes);
            match role(&self.geometry, stripe, *slot).ok_or(Errno::IO)? {
                Role::Data(index) => data.push(Data { index, bytes }),
                Role::P => p = Some(bytes),
                Role::Q => q = Some(bytes),
            }
        }
        Ok(match (p, q) {
            (Some(p), Some(q)) => parity::check(&data, p, q) == Verdict::Consistent,
            (_, None) | (None, Some(_)) => parity::xors_to_zero(&all),
        })
    }

    /// Computes what is missing of a row; whether the parity that is left over agrees, if one is.
    fn solve(
        &self,
        stripe: u64,
        cut: &std::ops::Range<usize>,
        piece: &mut PieceBuffers<'_>,
    ) -> Result<Option<bool>, Errno> {
        let role = |slot| role(&self.geometry, stripe, slot).ok_or(Errno::IO);
        let known = piece.sources.len();
        let (have, lost) = self.slots.split_at(known.min(self.slots.len()));
        let mut witnesses: SmallVec<[Vec<u8>; 2]> = SmallVec::new();
        let mut blocks: SmallVec<[Block<'_>; 16]> = SmallVec::new();
        let mut spare: SmallVec<[(Role, &[u8]); 2]> = SmallVec::new();
        // As many parities as blocks of data are lost are needed; the others can bear witness.
        let mut parities = 0_usize;
        for slot in lost {
            parities += usize::from(matches!(role(*slot)?, Role::Data(_)));
        }
        let mut used = 0;
        for (slot, source) in have.iter().zip(&piece.sources) {
            let (role, bytes) = (role(*slot)?, source.get(cut.clone()).ok_or(Errno::IO)?);
            if matches!(role, Role::P | Role::Q) && used >= parities {
                spare.push((role, bytes));
            } else {
                used += usize::from(matches!(role, Role::P | Role::Q));
                blocks.push(Block::known(role, bytes));
            }
        }
        for (slot, computed) in lost.iter().zip(&mut piece.computed) {
            let bytes = computed.get_mut(cut.clone()).ok_or(Errno::IO)?;
            blocks.push(Block::wanted(role(*slot)?, bytes));
        }
        witnesses.extend(spare.iter().map(|(_, bytes)| vec![0; bytes.len()]));
        for ((role, _), witness) in spare.iter().zip(&mut witnesses) {
            blocks.push(Block::wanted(*role, witness));
        }
        fill(&mut blocks).map_err(|_| Errno::IO)?;
        drop(blocks);
        let mut pairs = spare.iter().zip(&witnesses);
        let agree = pairs.all(|((_, found), computed)| *found == &computed[..]);
        Ok((!spare.is_empty()).then_some(agree))
    }

    fn contradict(&self, stripe: u64, row: MemberSector, sectors: u64) {
        let width = self.geometry.stripes().map_or(1, |s| u64::from(s.data_disks()));
        let at = ArraySector::new(stripe * width * self.geometry.chunk().get());
        let mut bad = lock(&self.window.bad);
        match &mut *bad {
            Some(first) if first.row <= row => first.sectors += sectors,
            _ => {
                let more = bad.map_or(0, |first| first.sectors);
                *bad = Some(Contradiction { at, row, sectors: sectors + more });
            }
        }
    }
}

/// How a window is read from the old geometry.
#[derive(Debug)]
pub(super) enum Reading {
    /// Nothing has to be read: it is zeros. Nothing of the old array lies there, or holes of all members that
    /// would be read; what their rows say about themselves.
    Blank(Witness),
    /// Whole rows at once, verified.
    Rows(Job),
    /// Sector by sector, from whoever has it: some rows are not whole on enough members.
    Piecewise,
}

/// How to read a window from the old geometry.
///
/// `other`: what may stand there instead, if the window is read to find that out.
pub(super) fn reading(
    view: &View,
    window: &Arc<Window>,
    other: Option<Other>,
    holes: &mut Holes,
) -> Result<Reading, ArrayError> {
    let geometry = view.geometry();
    let Some((start, end)) = rows(geometry, window.span) else {
        return Ok(Reading::Blank(Witness::default()));
    };
    let (from, len) = (MemberSector::new(start), Sectors::new(end - start));
    let good = |leg: Option<&Leg>| leg.filter(|leg| leg.is_good(from, len)).cloned();
    let mut slots: SmallVec<[Slot; 16]> = SmallVec::new();
    let mut lost: SmallVec<[Slot; 2]> = SmallVec::new();
    let mut extents = Vec::new();
    for (slot, leg) in view.legs() {
        match good(leg).and_then(|leg| leg.extent(from, len)) {
            Some(extent) => {
                slots.push(slot);
                extents.push(extent);
            }
            None => lost.push(slot),
        }
    }
    if !geometry.enough(|slot| !lost.contains(&slot)) {
        return Ok(Reading::Piecewise);
    }
    if geometry.stripes().is_none() {
        one_copy(geometry, &mut slots, &mut extents);
    }
    if holes.are_all(&extents) {
        return Ok(Reading::Blank(Witness::of_zeros(geometry, end - start, lost.len())));
    }
    let computed = if geometry.stripes().is_some() { lost.len() } else { 0 };
    slots.extend(lost.iter().copied().take(computed));
    let gather = Gather {
        geometry: geometry.clone(),
        start: start * kcopy::SECTOR_SIZE,
        slots,
        window: Arc::clone(window),
        other,
    };
    let computed = u16::try_from(computed).map_err(|_| ArrayError::Inconsistent)?;
    let mut job = Job::stripe(computed, Arc::new(gather));
    for extent in extents {
        job = job.from(extent);
    }
    Ok(Reading::Rows(job))
}

/// Leaves those out that hold nothing but copies of what others hold.
fn one_copy(geometry: &Geometry, slots: &mut SmallVec<[Slot; 16]>, extents: &mut Vec<Extent>) {
    for index in (0..slots.len()).rev() {
        let without = |slot: Slot| slots.iter().enumerate().any(|(i, s)| i != index && *s == slot);
        if geometry.enough(without) {
            slots.remove(index);
            extents.remove(index);
        }
    }
}

/// Whether there is nothing but zeros.
fn is_blank(bytes: &[u8]) -> bool {
    static ZEROS: [u8; 4096] = [0; 4096];
    bytes.chunks(ZEROS.len()).all(|chunk| ZEROS.starts_with(chunk))
}

/// Puts a window together into rows of the new geometry.
#[derive(Debug)]
struct Scatter {
    geometry: Geometry,
    start: u64,
    window: Arc<Window>,
}

impl Transform for Scatter {
    fn apply(&self, mut piece: PieceBuffers<'_>) -> Result<(), Errno> {
        let len = piece.computed.first().map_or(0, |buffer| buffer.len());
        let chunk = self.geometry.chunk().get() * kcopy::SECTOR_SIZE;
        for (here, cut) in cuts(self.start + piece.offset, chunk, len) {
            let row = MemberSector::new(here / kcopy::SECTOR_SIZE);
            let mut blocks: SmallVec<[Block<'_>; 16]> = SmallVec::new();
            for (slot, buffer) in (0..).map(Slot::new).zip(&mut piece.computed) {
                let bytes = buffer.get_mut(cut.clone()).ok_or(Errno::IO)?;
                match self.geometry.on(slot, row) {
                    On::Data(sector) => {
                        self.window.get(sector, bytes);
                        if let Some(role) = role(&self.geometry, here / chunk, slot) {
                            blocks.push(Block::known(role, bytes));
                        }
                    }
                    On::P { .. } => blocks.push(Block::wanted(Role::P, bytes)),
                    On::Q { .. } => blocks.push(Block::wanted(Role::Q, bytes)),
                    On::Unused => bytes.fill(0),
                }
            }
            fill(&mut blocks).map_err(|_| Errno::IO)?;
        }
        Ok(())
    }
}

/// The jobs that write a window in the new geometry, each with the members it writes. Zeros are not written into
/// holes: there may be no job at all.
pub(super) fn write_jobs(
    view: &View,
    window: &Arc<Window>,
    span: Span,
    holes: &mut Holes,
) -> Result<Vec<(Job, Vec<Slot>)>, ArrayError> {
    if view.geometry().stripes().is_some() {
        return rows_jobs(view, window, span, holes);
    }
    copy_jobs(view, window, span, holes)
}

/// The jobs that write a window's new rows: one, where nothing is left out.
fn rows_jobs(
    view: &View,
    window: &Arc<Window>,
    span: Span,
    holes: &mut Holes,
) -> Result<Vec<(Job, Vec<Slot>)>, ArrayError> {
    let geometry = view.geometry();
    let (start, end) = rows(geometry, span).ok_or(ArrayError::Inconsistent)?;
    let buffers = u16::try_from(geometry.raid_disks()).map_err(|_| ArrayError::Inconsistent)?;
    let runs = holes.runs_to_write(view, window, start..end)?;
    let job = |run: Run| {
        let (from, len) = (MemberSector::new(run.rows.start), run.rows.end - run.rows.start);
        let scatter = Scatter {
            geometry: geometry.clone(),
            start: run.rows.start * kcopy::SECTOR_SIZE,
            window: Arc::clone(window),
        };
        let mut job = Job::stripe(buffers, Arc::new(scatter));
        for slot in &run.slots {
            let leg = view.leg(*slot).ok_or(ArrayError::Inconsistent)?;
            let extent = leg.extent(from, Sectors::new(len)).ok_or(ArrayError::Inconsistent)?;
            let buffer = u16::try_from(slot.get()).map_err(|_| ArrayError::Inconsistent)?;
            job = job.to_from(extent, buffer);
        }
        Ok((job, run.slots.into_vec()))
    };
    runs.into_iter().map(job).collect()
}

/// Sectors of a member in one job where chunks stand for themselves.
const LONGEST_RUN: u64 = 2048;

/// Chunks that lie behind each other on the same members, as copies.
#[derive(Debug)]
struct CopyRun {
    places: SmallVec<[Place; 4]>,
    sectors: u64,
    /// Array sectors, in the order of the run.
    cuts: Vec<Span>,
}

impl CopyRun {
    fn take(&mut self, cut: Span) {
        match self.cuts.last_mut() {
            Some(last) if last.start.get() + last.sectors == cut.start.get() => {
                last.sectors += cut.sectors;
            }
            _ => self.cuts.push(cut),
        }
    }
}

/// Fills a run from a window.
#[derive(Debug)]
struct Take {
    cuts: Vec<Span>,
    window: Arc<Window>,
}

impl Transform for Take {
    fn apply(&self, mut piece: PieceBuffers<'_>) -> Result<(), Errno> {
        let Some(buffer) = piece.computed.first_mut() else { return Ok(()) };
        let start = piece.offset / kcopy::SECTOR_SIZE;
        let end = start + u64::try_from(buffer.len()).unwrap_or(0) / kcopy::SECTOR_SIZE;
        let byte =
            |sectors: u64| usize::try_from(sectors * kcopy::SECTOR_SIZE).unwrap_or(usize::MAX);
        let mut at = 0;
        for cut in &self.cuts {
            let (low, high) = (at.max(start), (at + cut.sectors).min(end));
            if low < high {
                let sector = ArraySector::new(cut.start.get() + (low - at));
                let bytes = buffer.get_mut(byte(low - start)..byte(high - start));
                self.window.get(sector, bytes.ok_or(Errno::IO)?);
            }
            at += cut.sectors;
        }
        Ok(())
    }
}

/// The jobs that write a window's chunks, every copy of them and nothing beside them: a row may hold
/// chunks of other windows.
fn copy_jobs(
    view: &View,
    window: &Arc<Window>,
    span: Span,
    holes: &mut Holes,
) -> Result<Vec<(Job, Vec<Slot>)>, ArrayError> {
    let geometry = view.geometry();
    let longest = if holes.may_be_in(view) { FINEST.min(LONGEST_RUN) } else { LONGEST_RUN };
    let end = (span.start.get() + span.sectors).min(geometry.sectors().get());
    let (mut at, mut runs) = (span.start.get(), Vec::<CopyRun>::new());
    while at < end {
        let found = geometry.at(ArraySector::new(at)).ok_or(ArrayError::Inconsistent)?;
        let sectors = found.run.get().min(end - at).clamp(1, longest);
        let cut = Span { start: ArraySector::new(at), sectors };
        at += sectors;
        let mut places = found.places;
        places.retain(|place| !holes.takes_zeros(view, window, *place, cut));
        if places.is_empty() {
            continue;
        }
        let behind = |run: &&mut CopyRun| {
            let next = |place: &Place| place.sector.get() + run.sectors;
            let mut pairs = run.places.iter().zip(&places);
            run.sectors + sectors <= LONGEST_RUN
                && run.places.len() == places.len()
                && pairs.all(|(old, new)| old.slot == new.slot && next(old) == new.sector.get())
        };
        match runs.iter_mut().find(behind) {
            Some(run) => {
                run.sectors += sectors;
                run.take(cut);
            }
            None => runs.push(CopyRun { places, sectors, cuts: vec![cut] }),
        }
    }
    let job = |run: CopyRun| {
        let len = Sectors::new(run.sectors);
        let take = Take { cuts: run.cuts, window: Arc::clone(window) };
        let (mut job, mut slots) = (Job::stripe(1, Arc::new(take)), Vec::new());
        for place in run.places {
            let Some(leg) = view.leg(place.slot) else { continue };
            job = job.to_from(leg.extent(place.sector, len).ok_or(ArrayError::Inconsistent)?, 0);
            slots.push(place.slot);
        }
        Ok((job, slots))
    };
    runs.into_iter().map(job).collect()
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
