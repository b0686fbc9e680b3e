//! The kernel without special instructions: eight bytes in a 64-bit number, eight numbers a column.
//!
//! It also does what is left at the end of a block that the vectors of the others do not fill.

use super::{ByIndex, Columns, System};
use crate::parity::gf;

/// Bytes of a column.
const COLUMN: usize = 64;
/// Its 64-bit numbers.
const LANES: usize = COLUMN / 8;

/// The lowest bit of each byte.
const ONES: u64 = 0x0101_0101_0101_0101;

type Column = [u64; LANES];

const ZERO: Column = [0; LANES];

#[derive(Debug)]
pub(super) struct Scalar;

impl Columns for Scalar {
    fn name(&self) -> &'static str {
        "scalar"
    }

    fn xor(&self, to: &mut [u8], sources: &[&[u8]]) {
        xor(0, to, sources);
    }

    fn xor_into(&self, to: &mut [u8], sources: &[&[u8]]) {
        xor_into(0, to, sources);
    }

    fn xors_to_zero(&self, blocks: &[&[u8]]) -> bool {
        xors_to_zero(0, blocks)
    }

    fn pq(&self, data: &ByIndex<'_>, p: &mut [u8], q: &mut [u8]) {
        pq(0, data, p, q);
    }

    fn pq_agree(&self, data: &ByIndex<'_>, p: &[u8], q: &[u8]) -> bool {
        pq_agree(0, data, p, q)
    }

    fn solve(&self, system: System<'_>, outputs: [Option<&mut [u8]>; 2]) {
        solve(0, system, outputs);
    }

    fn update(&self, factor: u8, old_new: [&[u8]; 2], pq: [Option<&mut [u8]>; 2]) {
        update(0, factor, old_new, pq);
    }
}

/// As the kernel's function, for the bytes from `from` on; the same holds for those below.
pub(super) fn xor(from: usize, to: &mut [u8], sources: &[&[u8]]) {
    for at in columns(from, to.len()) {
        store(to, at, sum(ZERO, sources, at));
    }
}

pub(super) fn xor_into(from: usize, to: &mut [u8], sources: &[&[u8]]) {
    for at in columns(from, to.len()) {
        store(to, at, sum(load(to, at), sources, at));
    }
}

pub(super) fn xors_to_zero(from: usize, blocks: &[&[u8]]) -> bool {
    let length = blocks.first().map_or(0, |block| block.len());
    columns(from, length).all(|at| sum(ZERO, blocks, at) == ZERO)
}

pub(super) fn pq(from: usize, data: &ByIndex<'_>, p: &mut [u8], q: &mut [u8]) {
    for at in columns(from, p.len()) {
        let (sum, weighted) = syndromes(data, at);
        store(p, at, sum);
        store(q, at, weighted);
    }
}

pub(super) fn pq_agree(from: usize, data: &ByIndex<'_>, p: &[u8], q: &[u8]) -> bool {
    let agrees = |at| syndromes(data, at) == (load(p, at), load(q, at));
    columns(from, p.len()).all(agrees)
}

pub(super) fn solve(from: usize, system: System<'_>, outputs: [Option<&mut [u8]>; 2]) {
    for (row, output) in system.matrix.into_iter().zip(outputs) {
        let Some(output) = output else { continue };
        for at in columns(from, output.len()) {
            let (mut u, mut v) = syndromes(system.data, at);
            add(&mut u, system.p.map_or(ZERO, |p| load(p, at)));
            add(&mut v, system.q.map_or(ZERO, |q| load(q, at)));
            let mut solution = multiply(row[0], u);
            add(&mut solution, multiply(row[1], v));
            store(output, at, solution);
        }
    }
}

pub(super) fn update(
    from: usize,
    factor: u8,
    [old, new]: [&[u8]; 2],
    [mut p, mut q]: [Option<&mut [u8]>; 2],
) {
    for at in columns(from, old.len()) {
        let mut delta = load(old, at);
        add(&mut delta, load(new, at));
        if let Some(p) = p.as_deref_mut() {
            let mut sum = load(p, at);
            add(&mut sum, delta);
            store(p, at, sum);
        }
        if let Some(q) = q.as_deref_mut() {
            let mut sum = load(q, at);
            add(&mut sum, multiply(factor, delta));
            store(q, at, sum);
        }
    }
}

/// What P and Q are off by, column for column.
#[derive(Debug)]
pub(in crate::parity) struct Deltas<'a> {
    pub(in crate::parity) data: &'a ByIndex<'a>,
    pub(in crate::parity) p: &'a [u8],
    pub(in crate::parity) q: &'a [u8],
}

impl Deltas<'_> {
    /// Whether there is a data block with this index.
    pub(in crate::parity) fn has(&self, index: u32) -> bool {
        usize::try_from(index).is_ok_and(|index| matches!(self.data.get(index), Some(Some(_))))
    }

    /// The pairs (P's, Q's) of all columns, with zeros behind the last byte.
    pub(in crate::parity) fn columns(&self) -> impl Iterator<Item = ([u8; COLUMN], [u8; COLUMN])> {
        columns(0, self.p.len()).map(|at| {
            let (mut u, mut v) = syndromes(self.data, at);
            add(&mut u, load(self.p, at));
            add(&mut v, load(self.q, at));
            (to_bytes(u), to_bytes(v))
        })
    }
}

/// Where the columns begin.
fn columns(from: usize, length: usize) -> impl Iterator<Item = usize> {
    (from..length).step_by(COLUMN)
}

/// `start` and the sum of the blocks' columns at `at`.
#[inline]
fn sum(start: Column, blocks: &[&[u8]], at: usize) -> Column {
    let mut sum = start;
    for block in blocks {
        add(&mut sum, load(block, at));
    }
    sum
}

/// The columns at `at` of P and Q.
#[inline]
fn syndromes(data: &ByIndex<'_>, at: usize) -> (Column, Column) {
    let Some((highest, lower)) = data.split_last() else { return (ZERO, ZERO) };
    let mut p = highest.map_or(ZERO, |block| load(block, at));
    let mut q = p;
    for block in lower.iter().rev() {
        if let Some(block) = block {
            let column = load(block, at);
            add(&mut p, column);
            double_add(&mut q, column);
        } else {
            double_add(&mut q, ZERO);
        }
    }
    (p, q)
}

#[inline]
fn add(to: &mut Column, column: Column) {
    for (to, lane) in to.iter_mut().zip(column) {
        *to ^= lane;
    }
}

/// Each byte of the sum times g, plus that of the column: bits move up, and where one falls out the
/// polynomial's rest is added.
#[inline]
fn double_add(sum: &mut Column, column: Column) {
    for (sum, lane) in sum.iter_mut().zip(column) {
        let high = *sum & (ONES << 7);
        // 0x80 - 0x01 in each byte that has its highest bit set: nothing is borrowed from others.
        let mask = high - (high >> 7);
        *sum = (*sum ^ high) << 1 ^ (mask & (ONES * u64::from(gf::REST))) ^ lane;
    }
}

#[inline]
fn multiply(factor: u8, column: Column) -> Column {
    let mut product = ZERO;
    for bit in (0..8).rev() {
        double_add(&mut product, if factor >> bit & 1 == 1 { column } else { ZERO });
    }
    product
}

/// The column at `at`; what lies behind the block's end is zero.
#[inline]
fn load(block: &[u8], at: usize) -> Column {
    let rest = &block[at..];
    rest.first_chunk().map_or_else(
        || {
            let mut padded = [0; COLUMN];
            padded[..rest.len()].copy_from_slice(rest);
            from_bytes(&padded)
        },
        from_bytes,
    )
}

/// Puts the column at `at`, as much of it as the block has room for.
#[inline]
fn store(block: &mut [u8], at: usize, column: Column) {
    let rest = &mut block[at..];
    let bytes = to_bytes(column);
    if let Some(whole) = rest.first_chunk_mut() {
        *whole = bytes;
    } else {
        rest.copy_from_slice(&bytes[..rest.len()]);
    }
}

#[inline]
fn from_bytes(bytes: &[u8; COLUMN]) -> Column {
    let mut column = ZERO;
    for (lane, bytes) in column.iter_mut().zip(bytes.as_chunks().0) {
        *lane = u64::from_le_bytes(*bytes);
    }
    column
}

#[inline]
fn to_bytes(column: Column) -> [u8; COLUMN] {
    let mut bytes = [0; COLUMN];
    for (bytes, lane) in bytes.as_chunks_mut().0.iter_mut().zip(column) {
        *bytes = lane.to_le_bytes();
    }
    bytes
}
