//! Checksums of what was copied, for reading it back later.
//!
//! The copy is cut into cells of equal size. The crc32c of a cell is put together from those of the
//! pieces that went through the engine, in whatever order and size they came:
//! `crc(A B C) = shift(crc A, |B C|) ^ shift(crc B, |C|) ^ crc C`, so each piece is shifted by the
//! bytes behind it in its cell and folded in. Memory is bounded: at most [`MOST_CELLS`] cells.
//! Offsets count from the start of the copy.

use std::ops::Range;
use std::sync::{Mutex, PoisonError};

use crc32c::{crc32c, crc32c_combine};
use kcopy::{Errno, PieceBuffers, Transform};

const MOST_CELLS: u64 = 1 << 18;
const SMALLEST_CELL: u64 = 1 << 20;

/// The checksum of a run of bytes inside one cell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Part {
    pub(crate) offset: u64,
    pub(crate) len: u64,
    pub(crate) crc: u32,
}

#[derive(Clone, Copy, Debug, Default)]
struct Cell {
    crc: u32,
    known: u64,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Ledger {
    len: u64,
    cell: u64,
    cells: Vec<Cell>,
    /// The checksum of a whole cell of zeros.
    zeros: u32,
}

impl Ledger {
    /// For a copy of `len` bytes.
    pub(crate) fn new(len: u64) -> Self {
        let cell = len.div_ceil(MOST_CELLS).max(SMALLEST_CELL).next_power_of_two();
        let count = usize::try_from(len.div_ceil(cell)).unwrap_or(0);
        Self { len, cell, cells: vec![Cell::default(); count], zeros: crc_of_zeros(cell) }
    }

    /// Bytes in a cell.
    pub(crate) fn cell_size(&self) -> u64 {
        self.cell
    }

    /// Number of cells.
    pub(crate) fn count(&self) -> u64 {
        u64::try_from(self.cells.len()).unwrap_or(u64::MAX)
    }

    /// The bytes of cell `index`.
    pub(crate) fn range(&self, index: u64) -> Range<u64> {
        let start = index.saturating_mul(self.cell);
        start..start.saturating_add(self.cell).min(self.len)
    }

    /// Folds parts in.
    pub(crate) fn add(&mut self, parts: Vec<Part>) {
        for part in distinct(parts) {
            self.fold(part);
        }
    }

    /// Folds in `range` of zeros.
    pub(crate) fn add_zeros(&mut self, range: Range<u64>) {
        for run in cut(range, self.cell) {
            let len = run.end - run.start;
            self.fold(Part { offset: run.start, len, crc: self.crc_of_zeros(len) });
        }
    }

    /// The checksum of `len` zeros, at once if that is a whole cell.
    pub(crate) fn crc_of_zeros(&self, len: u64) -> u32 {
        if len == self.cell { self.zeros } else { crc_of_zeros(len) }
    }

    fn fold(&mut self, part: Part) {
        let index = part.offset / self.cell;
        let end = self.range(index).end;
        let Some(cell) = usize::try_from(index).ok().and_then(|i| self.cells.get_mut(i)) else {
            return;
        };
        cell.crc ^= shift(part.crc, end.saturating_sub(part.offset.saturating_add(part.len)));
        cell.known += part.len;
    }

    /// The checksum of cell `index`, if every byte of it was folded in.
    pub(crate) fn crc(&self, index: u64) -> Option<u32> {
        let range = self.range(index);
        let cell = self.cells.get(usize::try_from(index).ok()?)?;
        (cell.known == range.end - range.start).then_some(cell.crc)
    }
}

/// Of parts with the same offset (a piece that was tried again) the last one.
fn distinct(mut parts: Vec<Part>) -> Vec<Part> {
    parts.sort_by_key(|part| part.offset);
    parts.dedup_by(|later, earlier| {
        let same = later.offset == earlier.offset;
        if same {
            *earlier = *later;
        }
        same
    });
    parts
}

/// The checksum of `range`, a run inside one cell, from its parts; `None` if some are missing.
pub(crate) fn crc_of_run(range: Range<u64>, parts: Vec<Part>) -> Option<u32> {
    let (mut crc, mut known) = (0, 0);
    for part in distinct(parts) {
        crc ^= shift(part.crc, range.end.checked_sub(part.offset.saturating_add(part.len))?);
        known += part.len;
    }
    (known == range.end - range.start).then_some(crc)
}

/// The runs of `range` that lie in one cell each.
fn cut(range: Range<u64>, cell: u64) -> impl Iterator<Item = Range<u64>> {
    let mut at = range.start;
    std::iter::from_fn(move || {
        let end = (at / cell).saturating_add(1).saturating_mul(cell).min(range.end);
        let run = at..end;
        at = end;
        (!run.is_empty()).then_some(run)
    })
}

/// What `crc` contributes when `behind` bytes follow.
fn shift(crc: u32, behind: u64) -> u32 {
    crc32c_combine(crc, 0, usize::try_from(behind).unwrap_or(usize::MAX))
}

/// The checksum of `len` zeros.
fn crc_of_zeros(len: u64) -> u32 {
    // By doubling: the crc of 2^k zeros, for each k with that bit set in `len`.
    let (mut power, mut power_len, mut crc, mut left) = (crc32c(&[0]), 1u64, 0, len);
    while left > 0 {
        if left & 1 == 1 {
            crc = shift(crc, power_len) ^ power;
        }
        left >>= 1;
        power = shift(power, power_len) ^ power;
        power_len = power_len.saturating_mul(2);
    }
    crc
}

/// Looks at the pieces of one job and notes their checksums.
#[derive(Debug)]
pub(crate) struct Observer {
    start: u64,
    cell: u64,
    parts: Mutex<Vec<Part>>,
}

impl Observer {
    /// For a job that begins at `start` of the copy.
    pub(crate) fn new(start: u64, cell: u64) -> Self {
        Self { start, cell, parts: Mutex::new(Vec::new()) }
    }

    /// What was noted.
    pub(crate) fn take(&self) -> Vec<Part> {
        std::mem::take(&mut self.parts.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Transform for Observer {
    fn apply(&self, piece: PieceBuffers<'_>) -> Result<(), Errno> {
        let Some(data) = piece.sources.first() else { return Ok(()) };
        let start = self.start + piece.offset;
        let len = u64::try_from(data.len()).unwrap_or(u64::MAX);
        let mut rest: &[u8] = data;
        for run in cut(start..start + len, self.cell) {
            let size = usize::try_from(run.end - run.start).unwrap_or(rest.len());
            let (here, behind) = rest.split_at(size.min(rest.len()));
            let part = Part { offset: run.start, len: run.end - run.start, crc: crc32c(here) };
            self.parts.lock().unwrap_or_else(PoisonError::into_inner).push(part);
            rest = behind;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn zeros_have_the_checksum_of_zeros() {
        for len in [0usize, 1, 2, 511, 4096, 1_000_003] {
            let len64 = u64::try_from(len).unwrap();
            assert_eq!(crc_of_zeros(len64), crc32c(&vec![0; len]), "{len}");
        }
    }

    #[test]
    fn cells_stay_few() {
        assert_eq!(Ledger::new(0).count(), 0);
        assert_eq!(Ledger::new(1).count(), 1);
        let large = Ledger::new(1 << 50);
        assert!(large.count() <= MOST_CELLS);
        assert_eq!(large.range(large.count() - 1).end, 1 << 50);
    }

    #[test]
    fn cell_that_is_not_complete_has_no_checksum() {
        let mut ledger = Ledger::new(100);
        ledger.add(vec![Part { offset: 0, len: 99, crc: 1 }]);
        assert_eq!(ledger.crc(0), None);
    }

    proptest! {
        #[test]
        fn checksum_is_that_of_the_bytes_for_all_cuts_and_orders(
            bytes in proptest::collection::vec(any::<u8>(), 1..3000),
            mut cuts in proptest::collection::vec(0usize..3000, 0..20),
            seed: u64,
        ) {
            let len = bytes.len();
            cuts.push(0);
            cuts.push(len);
            cuts.retain(|cut| *cut <= len);
            cuts.sort_unstable();
            let cells = vec![Cell::default(); len.div_ceil(256)];
            let mut ledger = Ledger { len: len as u64, cell: 256, cells, zeros: 0 };
            let mut runs: Vec<_> = cuts.windows(2).map(|pair| (pair[0], pair[1])).collect();
            let turn = usize::try_from(seed % 20).unwrap() % runs.len().max(1);
            runs.rotate_left(turn);
            for (start, end) in runs {
                let runs = cut(start as u64..end as u64, 256);
                ledger.add(runs.map(|run| {
                    let (from, to) = (usize::try_from(run.start).unwrap(), usize::try_from(run.end).unwrap());
                    Part { offset: run.start, len: run.end - run.start, crc: crc32c(&bytes[from..to]) }
                }).collect());
            }
            for (index, cell) in bytes.chunks(256).enumerate() {
                prop_assert_eq!(ledger.crc(index as u64), Some(crc32c(cell)));
            }
        }
    }
}
