//! What may go wrong in a simulated world, and when.

use std::ops::Range;
use std::time::Duration;

use super::disk::DiskId;
use super::rng::Rng;
use super::trace::OpKind;
use crate::errno::Errno;

/// What a fault does to the operation it strikes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Effect {
    /// The operation fails. A write that fails may have reached the disk in part; a flush that
    /// fails loses its writes for good: a later flush that succeeds does not cover them.
    Error(Errno),
    /// A read or write transfers less than asked: some whole logical blocks, or any number of
    /// bytes on a disk without direct I/O.
    Short,
    /// A read or write transfers this many bytes at most.
    ShortOf(u32),
    /// A read or write transfers nothing and says 0.
    Nothing,
    /// It takes this much longer, so that others overtake it.
    Delay(Duration),
    /// It never completes.
    Never,
    /// A read succeeds with one bit turned over.
    FlipBit,
    /// A write succeeds, but lands this many bytes further on.
    Misdirect(u64),
    /// It completes, and then its completion arrives once more, without pages.
    Twice,
    /// It completes, and with it arrives a completion that nobody asked for.
    Stranger,
    /// The disk is gone: this operation and all later ones on it fail with `ENODEV`.
    Vanish,
}

/// A fault: which operations it strikes, how often, and what it does to them.
///
/// ```
/// use kcopy::Errno;
/// use kcopy::backend::sim::{Effect, Fault, OpKind};
/// // The fourth operation fails, once.
/// let _ = Fault::new(Effect::Error(Errno::IO)).at(3);
/// // Every read that touches these two sectors fails, for ever.
/// let _ = Fault::new(Effect::Error(Errno::IO)).kind(OpKind::Read).within(1024..2048);
/// ```
#[derive(Clone, Debug)]
pub struct Fault {
    effect: Effect,
    ops: Range<u64>,
    disk: Option<DiskId>,
    kind: Option<OpKind>,
    within: Option<Range<u64>>,
    per_million: u64,
    times: u64,
}

impl Fault {
    /// `effect` on every operation, until it is narrowed down.
    pub fn new(effect: Effect) -> Self {
        Self {
            effect,
            ops: 0..u64::MAX,
            disk: None,
            kind: None,
            within: None,
            per_million: 1_000_000,
            times: u64::MAX,
        }
    }

    /// Only operation number `op`, counted from 0 over the whole world.
    #[must_use]
    pub fn at(mut self, op: u64) -> Self {
        self.ops = op..op.saturating_add(1);
        self
    }

    /// Only operation number `op` and those after it.
    #[must_use]
    pub fn from_op(mut self, op: u64) -> Self {
        self.ops = op..u64::MAX;
        self
    }

    /// Only on this disk.
    #[must_use]
    pub fn on(mut self, disk: DiskId) -> Self {
        self.disk = Some(disk);
        self
    }

    /// Only operations of this kind.
    #[must_use]
    pub fn kind(mut self, kind: OpKind) -> Self {
        self.kind = Some(kind);
        self
    }

    /// Only operations that touch a byte of this range of the disk.
    #[must_use]
    pub fn within(mut self, bytes: Range<u64>) -> Self {
        self.within = Some(bytes);
        self
    }

    /// Only so many of a million, at random.
    #[must_use]
    pub fn chance(mut self, per_million: u64) -> Self {
        self.per_million = per_million;
        self
    }

    /// Only the first `times` times.
    #[must_use]
    pub fn times(mut self, times: u64) -> Self {
        self.times = times;
        self
    }

    /// The effect, if the fault strikes this operation.
    pub(super) fn strike(&mut self, target: &Target, rng: &mut Rng) -> Option<Effect> {
        let touches = |range: &Range<u64>| {
            target.offset < range.end && range.start < target.offset.saturating_add(target.len)
        };
        let matches = self.times > 0
            && self.ops.contains(&target.op)
            && self.disk.is_none_or(|disk| disk == target.disk)
            && self.kind.is_none_or(|kind| kind == target.kind)
            && self.within.as_ref().is_none_or(touches)
            && (self.per_million >= 1_000_000 || rng.chance(self.per_million, 1_000_000));
        if !matches {
            return None;
        }
        self.times -= 1;
        Some(self.effect)
    }
}

/// An operation as a fault sees it.
#[derive(Debug)]
pub(super) struct Target {
    pub(super) op: u64,
    pub(super) disk: DiskId,
    pub(super) kind: OpKind,
    pub(super) offset: u64,
    pub(super) len: u64,
}
