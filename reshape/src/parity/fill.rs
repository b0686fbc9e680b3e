//! Computing what is wanted of a stripe from what is known of it.
//!
//! Whatever is lost, P and Q of the data that is left, added to those that were stored, give two
//! sums u and v over the lost blocks alone: u = Dx + Dy, v = g^x * Dx + g^y * Dy. So every answer is
//! a pair of factors for u and v, and one pass over the known blocks:
//!
//! | lost | u | v | answers |
//! |---|---|---|---|
//! | P, Q | P of data | Q of data | P = u, Q = v |
//! | Dx | P + P of data | | Dx = u |
//! | Dx, Q | P + P of data | Q of data | Dx = u, Q = g^x * u + v |
//! | Dx, P | P of data | Q + Q of data | Dx = g^-x * v, P = u + g^-x * v |
//! | Dx, Dy | P + P of data | Q + Q of data | Dx = a * u + b * v, Dy = (a + 1) * u + b * v |
//!
//! with a = g^y / (g^x + g^y) and b = 1 / (g^x + g^y).

use smallvec::SmallVec;

use super::kernel::System;
use super::{Data, Kernel, by_index, expect_length, gf};

/// What a block of a stripe is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Role {
    /// Data with this syndrome index. The index must be below [`super::INDEXES`] in a stripe with a
    /// Q; without one it has no meaning.
    Data(u32),
    /// The sum of the data.
    P,
    /// The weighted sum of the data.
    Q,
}

/// What is known of a block.
#[derive(Debug)]
pub enum Content<'a> {
    /// It can be relied on.
    Known(&'a [u8]),
    /// It has to be computed and put here; what the bytes hold before does not matter.
    Wanted(&'a mut [u8]),
    /// It is not known, and nobody asks for it.
    Missing,
}

/// A block of a stripe.
#[derive(Debug)]
pub struct Block<'a> {
    /// What it is for.
    pub role: Role,
    /// What is known of it.
    pub content: Content<'a>,
}

/// More blocks are unknown than the known parities can tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{data} data blocks of a stripe are missing, {parities} of its parities are known")]
pub struct TooManyMissing {
    /// Data blocks that are unknown.
    pub data: usize,
    /// Parities (P, Q) that are known.
    pub parities: usize,
}

/// Computes every wanted block of a stripe from the known ones: P and Q from data, lost data from
/// parity, or both at once, in one pass over the known blocks.
///
/// Blocks may come in any order, at most one is P and one is Q. A data index that is not listed is a
/// block of zeros. A stripe of XOR alone (RAID4, RAID5) has no block with [`Role::Q`] and any number
/// of data blocks.
///
/// # Errors
///
/// [`TooManyMissing`]; no block was changed.
///
/// # Panics
///
/// If blocks differ in length, two have the same role, or an index is too high.
pub fn fill(blocks: &mut [Block<'_>]) -> Result<(), TooManyMissing> {
    Kernel::chosen().fill(blocks)
}

impl<'a> Block<'a> {
    /// A block that can be relied on.
    pub fn known(role: Role, bytes: &'a [u8]) -> Self {
        Self { role, content: Content::Known(bytes) }
    }

    /// A block to be computed into `bytes`.
    pub fn wanted(role: Role, bytes: &'a mut [u8]) -> Self {
        Self { role, content: Content::Wanted(bytes) }
    }

    /// A block that is neither known nor asked for.
    pub fn missing(role: Role) -> Self {
        Self { role, content: Content::Missing }
    }
}

impl Kernel {
    /// As [`fill()`].
    ///
    /// # Errors
    ///
    /// [`TooManyMissing`]; no block was changed.
    ///
    /// # Panics
    ///
    /// If blocks differ in length, two have the same role, or an index is too high.
    pub fn fill(self, blocks: &mut [Block<'_>]) -> Result<(), TooManyMissing> {
        let Stripe { data, mut unknown, p, q } = Stripe::sort(blocks);
        let wanted = unknown.iter().any(|block| block.output.is_some());
        if !wanted && !p.is_wanted() && !q.is_wanted() {
            return Ok(());
        }
        match (&mut unknown[..], p, q) {
            ([], p, q) => {
                let outputs = [p.wanted(), q.wanted()];
                self.solve(&data, [None, None], [[1, 0], [0, 1]], outputs);
            }
            ([x], Parity::Known(p), q) => {
                let q = q.wanted();
                let matrix = [[1, 0], if q.is_some() { [gf::power(x.index), 1] } else { [0, 0] }];
                self.solve(&data, [Some(p), None], matrix, [x.output.take(), q]);
            }
            ([x], p, Parity::Known(q)) => {
                let inverse = gf::invert(gf::power(x.index));
                let matrix = [[0, inverse], [1, inverse]];
                self.solve(&data, [None, Some(q)], matrix, [x.output.take(), p.wanted()]);
            }
            ([x, y], Parity::Known(p), Parity::Known(q)) => {
                let matrix = both(x.index, y.index);
                let outputs = [x.output.take(), y.output.take()];
                self.solve(&data, [Some(p), Some(q)], matrix, outputs);
            }
            (unknown, p, q) => {
                let parities = usize::from(p.is_known()) + usize::from(q.is_known());
                return Err(TooManyMissing { data: unknown.len(), parities });
            }
        }
        Ok(())
    }

    /// Computes the outputs that are asked for: see [`System`].
    fn solve(
        self,
        data: &[Data<'_>],
        given: [Option<&[u8]>; 2],
        matrix: [[u8; 2]; 2],
        outputs: [Option<&mut [u8]>; 2],
    ) {
        match (given, matrix, outputs) {
            (_, _, [None, None]) => {}
            // XOR alone, for which indexes need not be distinct.
            ([p, _], [[1, 0], _], [Some(output), None]) => {
                let data = data.iter().map(|data| data.bytes);
                let sources: SmallVec<[&[u8]; 32]> = data.chain(p).collect();
                self.columns().xor(output, &sources);
            }
            ([None, None], [[1, 0], [0, 1]], [Some(p), Some(q)]) => {
                self.columns().pq(&by_index(data), p, q);
            }
            ([p, q], matrix, outputs) => {
                let system = System { data: &by_index(data), p, q, matrix };
                self.columns().solve(system, outputs);
            }
        }
    }
}

/// The factors for u and v that give the lost blocks with the indexes `x` and `y`.
fn both(x: u32, y: u32) -> [[u8; 2]; 2] {
    let (weight_x, weight_y) = (gf::power(x), gf::power(y));
    assert_ne!(weight_x, weight_y, "two data blocks of a stripe have the syndrome index {x}");
    // Dx * (g^x + g^y) = g^y * u + v; the addition of bytes is XOR.
    let inverse = gf::invert(weight_x ^ weight_y);
    let a = gf::multiply(weight_y, inverse);
    [[a, inverse], [a ^ 1, inverse]]
}

/// The blocks of a stripe by what they can do for the answer.
struct Stripe<'a> {
    data: SmallVec<[Data<'a>; 32]>,
    unknown: SmallVec<[Unknown<'a>; 2]>,
    p: Parity<'a>,
    q: Parity<'a>,
}

/// A data block that is lost.
struct Unknown<'a> {
    index: u32,
    output: Option<&'a mut [u8]>,
}

/// P or Q.
enum Parity<'a> {
    /// The stripe has none, or it is lost and nobody asks for it.
    None,
    Known(&'a [u8]),
    Wanted(&'a mut [u8]),
}

impl<'a> Stripe<'a> {
    fn sort(blocks: &'a mut [Block<'_>]) -> Self {
        let mut stripe = Self {
            data: SmallVec::new(),
            unknown: SmallVec::new(),
            p: Parity::None,
            q: Parity::None,
        };
        let mut length = None;
        for Block { role, content } in blocks {
            let bytes = match content {
                Content::Known(bytes) => Some(&**bytes),
                Content::Wanted(bytes) => Some(&**bytes),
                Content::Missing => None,
            };
            if let Some(bytes) = bytes {
                expect_length(*length.get_or_insert(bytes.len()), [bytes]);
            }
            match role {
                Role::Data(index) => stripe.put_data(*index, content),
                Role::P => stripe.p.put(content),
                Role::Q => stripe.q.put(content),
            }
        }
        if !matches!(stripe.q, Parity::None) {
            stripe.expect_distinct();
        }
        stripe
    }

    fn put_data(&mut self, index: u32, content: &'a mut Content<'_>) {
        let output = match content {
            Content::Known(bytes) => return self.data.push(Data { index, bytes }),
            Content::Wanted(bytes) => Some(&mut **bytes),
            Content::Missing => None,
        };
        self.unknown.push(Unknown { index, output });
    }

    /// Panics if a known and a lost block have the same index. That the known ones are distinct is
    /// seen by [`by_index`], that the lost ones are by [`both`].
    fn expect_distinct(&self) {
        for Unknown { index, .. } in &self.unknown {
            let distinct = self.data.iter().all(|data| data.index != *index);
            assert!(distinct, "two data blocks of a stripe have the syndrome index {index}");
        }
    }
}

impl<'a> Parity<'a> {
    fn put(&mut self, content: &'a mut Content<'_>) {
        assert!(matches!(self, Self::None), "a stripe has one P and one Q");
        *self = match content {
            Content::Known(bytes) => Self::Known(bytes),
            Content::Wanted(bytes) => Self::Wanted(bytes),
            Content::Missing => Self::None,
        };
    }

    fn is_known(&self) -> bool {
        matches!(self, Self::Known(_))
    }

    fn is_wanted(&self) -> bool {
        matches!(self, Self::Wanted(_))
    }

    fn wanted(self) -> Option<&'a mut [u8]> {
        match self {
            Self::Wanted(bytes) => Some(bytes),
            Self::None | Self::Known(_) => None,
        }
    }
}
