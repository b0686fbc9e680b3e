//! Which block of a stripe is wrong, if P and Q disagree with the data.

use super::kernel::Deltas;
use super::{Data, Kernel, by_index, expect_length, gf};

/// What P and Q say about a stripe.
///
/// Only as good as the assumption that at most one block is wrong: two wrong blocks can look like
/// one wrong third where they differ in few bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Verdict {
    /// P and Q are those of the data.
    Consistent,
    /// Only P is wrong.
    P,
    /// Only Q is wrong.
    Q,
    /// Only the data block with this syndrome index is wrong.
    Data(u32),
    /// More than one block is wrong.
    Several,
}

impl Verdict {
    /// The verdict on a whole whose parts have these verdicts.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        match (self, other) {
            (Self::Consistent, verdict) | (verdict, Self::Consistent) => verdict,
            (one, another) if one == another => one,
            _ => Self::Several,
        }
    }

    /// The verdict on one byte that P and Q are off by these amounts at.
    fn on_byte(p_delta: u8, q_delta: u8) -> Self {
        match (p_delta, q_delta) {
            (0, 0) => Self::Consistent,
            (_, 0) => Self::P,
            (0, _) => Self::Q,
            (p_delta, q_delta) => Self::Data(gf::quotient_index(q_delta, p_delta)),
        }
    }
}

/// Tells from P + computed P and Q + computed Q which block is wrong: the one that explains every
/// byte. The index may be one that the stripe does not have; then several are wrong.
///
/// # Panics
///
/// If the two differ in length.
pub fn locate(p_delta: &[u8], q_delta: &[u8]) -> Verdict {
    expect_length(p_delta.len(), [q_delta]);
    let mut verdict = Verdict::Consistent;
    for (p_delta, q_delta) in p_delta.iter().zip(q_delta) {
        verdict = verdict.and(Verdict::on_byte(*p_delta, *q_delta));
        if verdict == Verdict::Several {
            break;
        }
    }
    verdict
}

/// Compares P and Q with those of `data` (in any order) and tells which block is wrong. Nothing is
/// stored; a stripe that agrees is read once at full speed.
///
/// # Panics
///
/// If blocks differ in length, an index is too high, or two are equal.
pub fn check(data: &[Data<'_>], p: &[u8], q: &[u8]) -> Verdict {
    Kernel::chosen().check(data, p, q)
}

impl Kernel {
    /// As [`check()`].
    ///
    /// # Panics
    ///
    /// If blocks differ in length, an index is too high, or two are equal.
    pub fn check(self, data: &[Data<'_>], p: &[u8], q: &[u8]) -> Verdict {
        expect_length(p.len(), data.iter().map(|data| data.bytes).chain([q]));
        let data = &by_index(data)[..];
        if self.columns().pq_agree(data, p, q) {
            return Verdict::Consistent;
        }
        find_wrong(&Deltas { data, p, q })
    }
}

/// The verdict on a stripe that does not agree.
fn find_wrong(deltas: &Deltas<'_>) -> Verdict {
    let mut verdict = Verdict::Consistent;
    for (p_delta, q_delta) in deltas.columns() {
        verdict = verdict.and(locate(&p_delta, &q_delta));
        if verdict == Verdict::Several {
            break;
        }
    }
    match verdict {
        Verdict::Data(index) if !deltas.has(index) => Verdict::Several,
        Verdict::Consistent | Verdict::P | Verdict::Q | Verdict::Data(_) | Verdict::Several => {
            verdict
        }
    }
}
