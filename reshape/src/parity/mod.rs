//! XOR and Reed-Solomon syndromes (P and Q), recovery of lost blocks, location of a wrong one.
//!
//! A stripe has data blocks D, and of them P = sum of D, Q = sum of g^i * D, byte by byte in the
//! field of 256 elements with the polynomial 0x11d and the generator g = 2. The exponent i is a
//! block's *syndrome index*; which block has which is the matter of [`crate::geometry`].
//!
//! ```text
//!    index      0    1    2    3            an index that is not listed is a block of zeros:
//!             [ D ][ D ][ D ][ D ]          nothing is read for it
//!               |    |    |    |
//!    P  =       D +  D +  D +  D
//!    Q  =     1*D+ 2*D+ 4*D+ 8*D
//! ```
//!
//! | wanted | call |
//! |---|---|
//! | P, Q or lost blocks of any stripe, from what is known of it | [`fill`] |
//! | the plain sums | [`xor`], [`xor_into`], [`pq`] |
//! | P and Q after one block changed | [`update`] |
//! | does a stripe agree, and if not, which block is wrong | [`xors_to_zero`], [`check`], [`locate`] |
//!
//! All blocks of a call have the same length, which may be any, at any address. Lengths and indexes
//! come from the program, not from a disk: a wrong one is a bug and panics. Every function runs on
//! the kernel that was [chosen](Kernel::chosen) for this processor; the methods of [`Kernel`] run on
//! that very one. All kernels give the same bytes.

mod fill;
mod gf;
mod kernel;
mod locate;
#[cfg(test)]
mod tests;

use smallvec::SmallVec;

pub use fill::{Block, Content, Role, TooManyMissing, fill};
pub use kernel::Kernel;
pub use locate::{Verdict, check, locate};

/// The number of syndrome indexes: from here on they repeat, so that Q cannot tell blocks apart.
pub const INDEXES: u32 = 255;

/// A data block with its syndrome index.
#[derive(Clone, Copy, Debug)]
pub struct Data<'a> {
    /// The exponent of g in Q, below [`INDEXES`]. Without meaning where only P is computed.
    pub index: u32,
    /// The block.
    pub bytes: &'a [u8],
}

/// A data block that is overwritten, before and after.
#[derive(Clone, Copy, Debug)]
pub struct Change<'a> {
    /// The block's syndrome index, below [`INDEXES`]. Without meaning where there is no Q.
    pub index: u32,
    /// What the block held.
    pub old: &'a [u8],
    /// What it will hold.
    pub new: &'a [u8],
}

/// Data blocks, each at the place of its index; `None` is a block of zeros.
type ByIndex<'a> = [Option<&'a [u8]>];

/// Sets `to` to the sum of `sources` (zeros if there are none).
///
/// # Panics
///
/// If a block has another length than `to`.
pub fn xor(to: &mut [u8], sources: &[&[u8]]) {
    Kernel::chosen().xor(to, sources);
}

/// Adds the sum of `sources` to `to`.
///
/// # Panics
///
/// If a block has another length than `to`.
pub fn xor_into(to: &mut [u8], sources: &[&[u8]]) {
    Kernel::chosen().xor_into(to, sources);
}

/// Computes P and Q of `data`, whose blocks may come in any order.
///
/// # Panics
///
/// If blocks differ in length, an index is too high, or two are equal.
pub fn pq(data: &[Data<'_>], p: &mut [u8], q: &mut [u8]) {
    Kernel::chosen().pq(data, p, q);
}

/// Brings P and Q (those that there are) up to date when one data block changes, without reading
/// the others: the read-modify-write of a small write.
///
/// # Panics
///
/// If blocks differ in length, or there is a Q and the index is too high.
pub fn update(change: Change<'_>, p: Option<&mut [u8]>, q: Option<&mut [u8]>) {
    Kernel::chosen().update(change, p, q);
}

/// Whether the sum of all blocks is zero: the data blocks of a stripe together with its P.
///
/// # Panics
///
/// If blocks differ in length.
pub fn xors_to_zero(blocks: &[&[u8]]) -> bool {
    Kernel::chosen().xors_to_zero(blocks)
}

impl Kernel {
    /// As [`xor()`].
    ///
    /// # Panics
    ///
    /// If a block has another length than `to`.
    pub fn xor(self, to: &mut [u8], sources: &[&[u8]]) {
        expect_length(to.len(), sources.iter().copied());
        self.columns().xor(to, sources);
    }

    /// As [`xor_into`].
    ///
    /// # Panics
    ///
    /// If a block has another length than `to`.
    pub fn xor_into(self, to: &mut [u8], sources: &[&[u8]]) {
        expect_length(to.len(), sources.iter().copied());
        self.columns().xor_into(to, sources);
    }

    /// As [`pq()`].
    ///
    /// # Panics
    ///
    /// If blocks differ in length, an index is too high, or two are equal.
    pub fn pq(self, data: &[Data<'_>], p: &mut [u8], q: &mut [u8]) {
        expect_length(p.len(), data.iter().map(|data| data.bytes).chain([&*q]));
        self.columns().pq(&by_index(data), p, q);
    }

    /// As [`update()`].
    ///
    /// # Panics
    ///
    /// If blocks differ in length, or there is a Q and the index is too high.
    pub fn update(self, change: Change<'_>, p: Option<&mut [u8]>, q: Option<&mut [u8]>) {
        let parities = [&p, &q].into_iter().flatten().map(|block| &**block);
        expect_length(change.old.len(), parities.chain([change.new]));
        let factor = if q.is_some() { gf::power(change.index) } else { 0 };
        self.columns().update(factor, [change.old, change.new], [p, q]);
    }

    /// As [`xors_to_zero()`].
    ///
    /// # Panics
    ///
    /// If blocks differ in length.
    pub fn xors_to_zero(self, blocks: &[&[u8]]) -> bool {
        let length = blocks.first().map_or(0, |block| block.len());
        expect_length(length, blocks.iter().copied());
        self.columns().xors_to_zero(blocks)
    }
}

/// Panics unless every block has the length `length`.
fn expect_length<'a>(length: usize, blocks: impl IntoIterator<Item = &'a [u8]>) {
    for block in blocks {
        assert_eq!(block.len(), length, "the blocks of a stripe have one length");
    }
}

/// Puts every block at the place of its index.
fn by_index<'a>(data: &[Data<'a>]) -> SmallVec<[Option<&'a [u8]>; 32]> {
    let end = data.iter().map(|data| data.index + 1).max().unwrap_or(0);
    assert!(end <= INDEXES, "syndrome index {} is not below {INDEXES}", end - 1);
    let mut places = SmallVec::<[Option<&[u8]>; 32]>::new();
    places.resize(usize::try_from(end).unwrap_or(usize::MAX), None);
    for Data { index, bytes } in data {
        let place = &mut places[usize::try_from(*index).unwrap_or(usize::MAX)];
        let taken = place.replace(*bytes).is_some();
        assert!(!taken, "two data blocks of a stripe have the syndrome index {index}");
    }
    places
}
