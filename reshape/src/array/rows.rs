//! Transforms over long spans of a member: every piece is cut at chunk borders, and each cut sees
//! the stripe's roles of its own row.

use std::sync::{Mutex, MutexGuard, PoisonError};

use kcopy::{Errno, PieceBuffers, Transform};
use smallvec::SmallVec;

use crate::geometry::{Part, Stripes};
use crate::parity::{self, Block, Data, Role, Verdict, fill};
use crate::units::{MemberSector, Slot};

/// Mismatches are counted in units of 4 KiB, as the kernel does: 8 sectors.
pub(super) const UNIT: usize = 4096;

/// Where a span lies, and which members its buffers belong to.
#[derive(Clone, Debug)]
pub(super) struct Span {
    pub(super) stripes: Stripes,
    /// Bytes of a chunk.
    pub(super) chunk: u64,
    /// Byte on the members at which the job begins.
    pub(super) start: u64,
    /// The members of the job's sources, in order; then those of its computed buffers.
    pub(super) slots: SmallVec<[Slot; 16]>,
}

/// A cut of a piece: bytes `from..to` of every buffer belong to one stripe.
pub(super) struct Cut {
    pub(super) stripe: u64,
    pub(super) from: usize,
    pub(super) to: usize,
}

impl Span {
    /// The cuts of `len` bytes at byte `offset` of the job.
    pub(super) fn cuts(&self, offset: u64, len: usize) -> impl Iterator<Item = Cut> {
        let (start, chunk) = (self.start.saturating_add(offset), self.chunk);
        let mut at = 0_usize;
        std::iter::from_fn(move || {
            let here = start + u64::try_from(at).ok()?;
            let left = usize::try_from(chunk - here % chunk).unwrap_or(usize::MAX);
            let to = len.min(at.saturating_add(left));
            let cut = Cut { stripe: here / chunk, from: at, to };
            at = to;
            (cut.from < len).then_some(cut)
        })
    }

    pub(super) fn role(&self, stripe: u64, slot: Slot) -> Role {
        match self.stripes.part(stripe, slot) {
            Part::Data { power, .. } => Role::Data(power),
            Part::P => Role::P,
            Part::Q => Role::Q,
        }
    }

    /// The roles of members that are neither read nor computed.
    fn others(&self, stripe: u64) -> SmallVec<[Role; 2]> {
        let slots = (0..self.stripes.disks()).map(Slot::new);
        let absent = slots.filter(|slot| !self.slots.contains(slot));
        absent.map(|slot| self.role(stripe, slot)).collect()
    }
}

/// A place where parity and data, or copies, disagree.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Mismatch {
    /// Where on the members.
    pub(super) start: MemberSector,
    /// How many sectors of each member.
    pub(super) sectors: u64,
    /// The member that is wrong, if that can be told.
    pub(super) slot: Option<Slot>,
}

/// Compares parity with data; collects where they disagree.
#[derive(Debug)]
pub(super) struct Verify {
    span: Span,
    found: Mutex<Vec<Mismatch>>,
}

impl Verify {
    pub(super) fn new(span: Span) -> Self {
        Self { span, found: Mutex::new(Vec::new()) }
    }

    /// What was found, sorted.
    pub(super) fn take(&self) -> Vec<Mismatch> {
        let mut found = std::mem::take(&mut *lock(&self.found));
        found.sort_unstable_by_key(|mismatch| mismatch.start);
        // A piece that was tried again reports twice.
        found.dedup();
        found
    }

    /// The verdict on one row of buffers, all members of the span known.
    fn verdict(&self, stripe: u64, blocks: &[&[u8]]) -> Verdict {
        let (mut p, mut q) = (None, None);
        let mut data: SmallVec<[Data<'_>; 16]> = SmallVec::new();
        for (slot, bytes) in self.span.slots.iter().zip(blocks) {
            match self.span.role(stripe, *slot) {
                Role::Data(index) => data.push(Data { index, bytes }),
                Role::P => p = Some(*bytes),
                Role::Q => q = Some(*bytes),
            }
        }
        match (p, q) {
            (Some(p), Some(q)) if data.len() == self.data_disks() => parity::check(&data, p, q),
            (Some(p), None) if data.len() == self.data_disks() => {
                let all: SmallVec<[&[u8]; 16]> =
                    data.iter().map(|data| data.bytes).chain([p]).collect();
                if parity::xors_to_zero(&all) { Verdict::Consistent } else { Verdict::Several }
            }
            _ => self.verdict_by_filling(stripe, blocks, q),
        }
    }

    /// A member is missing: what P tells about it is compared with Q, if both are there.
    fn verdict_by_filling(&self, stripe: u64, blocks: &[&[u8]], q: Option<&[u8]>) -> Verdict {
        let Some(q) = q else { return Verdict::Consistent };
        let mut computed = vec![0; q.len()];
        let known = self.span.slots.iter().zip(blocks);
        let mut all: SmallVec<[Block<'_>; 16]> = known
            .map(|(slot, bytes)| Block::known(self.span.role(stripe, *slot), bytes))
            .filter(|block| block.role != Role::Q)
            .collect();
        all.extend(self.span.others(stripe).into_iter().map(Block::missing));
        all.push(Block::wanted(Role::Q, &mut computed));
        // Too many missing: nothing can be said.
        let filled = fill(&mut all).is_ok();
        drop(all);
        if !filled || computed == q { Verdict::Consistent } else { Verdict::Several }
    }

    fn data_disks(&self) -> usize {
        usize::try_from(self.span.stripes.data_disks()).unwrap_or(usize::MAX)
    }

    /// The member that a verdict names.
    fn slot(&self, stripe: u64, verdict: Verdict) -> Option<Slot> {
        let role = match verdict {
            Verdict::P => Role::P,
            Verdict::Q => Role::Q,
            Verdict::Data(index) => Role::Data(index),
            Verdict::Consistent | Verdict::Several => return None,
        };
        self.span.slots.iter().copied().find(|slot| self.span.role(stripe, *slot) == role)
    }
}

impl Transform for Verify {
    fn apply(&self, piece: PieceBuffers<'_>) -> Result<(), Errno> {
        let len = piece.sources.first().map_or(0, |source| source.len());
        for Cut { stripe, from, to } in self.span.cuts(piece.offset, len) {
            let row = |from: usize, to: usize| -> SmallVec<[&[u8]; 16]> {
                piece.sources.iter().filter_map(|source| source.get(from..to)).collect()
            };
            if self.verdict(stripe, &row(from, to)) == Verdict::Consistent {
                continue;
            }
            for at in (from..to).step_by(UNIT) {
                let end = to.min(at + UNIT);
                let verdict = self.verdict(stripe, &row(at, end));
                if verdict == Verdict::Consistent {
                    continue;
                }
                let at = self.span.start + piece.offset + u64::try_from(at).unwrap_or(0);
                let start = MemberSector::new(at / kcopy::SECTOR_SIZE);
                let sectors = u64::try_from(UNIT).unwrap_or(0) / kcopy::SECTOR_SIZE;
                let slot = self.slot(stripe, verdict);
                lock(&self.found).push(Mismatch { start, sectors, slot });
            }
        }
        Ok(())
    }
}

/// Computes the members behind the computed buffers from those that are read.
#[derive(Debug)]
pub(super) struct Regenerate {
    pub(super) span: Span,
}

impl Transform for Regenerate {
    fn apply(&self, mut piece: PieceBuffers<'_>) -> Result<(), Errno> {
        let len = piece.sources.first().map_or(0, |source| source.len());
        for Cut { stripe, from, to } in self.span.cuts(piece.offset, len) {
            let mut slots = self.span.slots.iter();
            let mut blocks: SmallVec<[Block<'_>; 16]> = SmallVec::new();
            for (source, slot) in piece.sources.iter().zip(&mut slots) {
                let bytes = source.get(from..to).ok_or(Errno::IO)?;
                blocks.push(Block::known(self.span.role(stripe, *slot), bytes));
            }
            for (computed, slot) in piece.computed.iter_mut().zip(slots) {
                let bytes = computed.get_mut(from..to).ok_or(Errno::IO)?;
                blocks.push(Block::wanted(self.span.role(stripe, *slot), bytes));
            }
            blocks.extend(self.span.others(stripe).into_iter().map(Block::missing));
            fill(&mut blocks).map_err(|_| Errno::IO)?;
        }
        Ok(())
    }
}

/// Compares copies; collects the units in which they differ.
#[derive(Debug)]
pub(super) struct Same {
    /// Byte on the first copy's member at which the job begins.
    pub(super) start: u64,
    /// Bytes that are counted together.
    pub(super) unit: u64,
    /// Byte at which the copies end.
    pub(super) end: u64,
    pub(super) found: Mutex<Vec<Mismatch>>,
}

impl Same {
    pub(super) fn new(start: u64, unit: u64, end: u64) -> Self {
        Self { start, unit, end, found: Mutex::new(Vec::new()) }
    }

    /// What was found, sorted, each unit once.
    pub(super) fn take(&self) -> Vec<Mismatch> {
        let mut found = std::mem::take(&mut *lock(&self.found));
        found.sort_unstable_by_key(|mismatch| mismatch.start);
        found.dedup();
        found
    }
}

impl Transform for Same {
    fn apply(&self, piece: PieceBuffers<'_>) -> Result<(), Errno> {
        let Some((first, others)) = piece.sources.split_first() else { return Ok(()) };
        if others.iter().all(|other| **other == **first) {
            return Ok(());
        }
        let at = self.start + piece.offset;
        for (index, unit) in first.chunks(512).enumerate() {
            let from = index * 512;
            let differs = |other: &&mut [u8]| other.get(from..from + unit.len()) != Some(unit);
            if !others.iter().any(differs) {
                continue;
            }
            let here = at + u64::try_from(from).unwrap_or(0);
            let unit = here / self.unit * self.unit;
            let start = MemberSector::new(unit / kcopy::SECTOR_SIZE);
            let sectors = self.unit.min(self.end - unit) / kcopy::SECTOR_SIZE;
            let mismatch = Mismatch { start, sectors, slot: None };
            let mut found = lock(&self.found);
            if found.last() != Some(&mismatch) {
                found.push(mismatch);
            }
        }
        Ok(())
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
