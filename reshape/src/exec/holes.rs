//! Holes of members that are sparse files: they are not read, and zeros are not written into them.
//!
//! ```text
//!  members' old rows     all holes ─────▶ zeros, nothing is read
//!  new rows of zeros     a hole    ─────▶ nothing is written, the member keeps the hole
//!                        anything else ─▶ zeros are written: what was allocated stays so
//! ```
//!
//! A hole that is left alone holds what would have been written, before and after, and whenever the power goes. It
//! is asked for when the window is read or written: what the rules of the machine keep from being overwritten until
//! then, and from being written twice, nobody else touches. So what was seen to be a hole stays one until its
//! window is written.

use std::ops::Range;
use std::sync::Arc;

use kcopy::{Extent, Sectors};
use smallvec::SmallVec;

use super::mutation::{Mutation, Rules};
use super::window::Window;
use crate::array::{self, ArrayError, View, may_have_holes};
use crate::geometry::{On, Place};
use crate::machine::Span;
use crate::units::{MemberSector, Slot};

/// The least that is left out, in sectors of a member, if a chunk is not less: 16 KiB. Less would save room where
/// data is scattered, and cost a write for each of its pieces.
pub(super) const FINEST: u64 = 32;

/// Rows that are written to the same members.
#[derive(Debug)]
pub(super) struct Run {
    /// Sectors of the members.
    pub(super) rows: Range<u64>,
    /// In order.
    pub(super) slots: SmallVec<[Slot; 16]>,
}

/// What is known of the holes of a reshape's members.
#[derive(Debug, Default)]
pub(super) struct Holes {
    seen: array::Holes,
    rules: Rules,
}

impl Holes {
    pub(super) fn new(rules: Rules) -> Self {
        Self { seen: array::Holes::default(), rules }
    }

    /// Whether all of these are holes.
    pub(super) fn are_all(&mut self, extents: &[Extent]) -> bool {
        let some = if self.rules.lack(Mutation::HoleHalfSeen) { 1 } else { extents.len() };
        extents.iter().take(some).all(|extent| self.seen.is_hole(extent))
    }

    /// Whether any member of `view` is of a kind that has holes.
    pub(super) fn may_be_in(&self, view: &View) -> bool {
        view.devices().into_iter().any(may_have_holes)
    }

    /// The members of `view` that rows of a window are to be written to: all of them, but for zeros where a member
    /// has a hole.
    pub(super) fn runs_to_write(
        &mut self,
        view: &View,
        window: &Arc<Window>,
        rows: Range<u64>,
    ) -> Result<Vec<Run>, ArrayError> {
        if !self.may_be_in(view) {
            let there = view.legs().filter(|(_, leg)| leg.is_some());
            return Ok(vec![Run { rows, slots: there.map(|(slot, _)| slot).collect() }]);
        }
        let chunk = view.geometry().chunk().get();
        let mut runs: Vec<Run> = Vec::new();
        let mut at = rows.start;
        while at < rows.end {
            // Roles change at every chunk.
            let to = rows.end.min((at / chunk + 1) * chunk).min((at / FINEST + 1) * FINEST);
            let slots = self.slots_to_write(view, window, at..to)?;
            match runs.last_mut() {
                Some(run) if run.rows.end == at && run.slots == slots => run.rows.end = to,
                _ if slots.is_empty() => {}
                _ => runs.push(Run { rows: at..to, slots }),
            }
            at = to;
        }
        Ok(runs)
    }

    /// The members that rows within one chunk are to be written to.
    fn slots_to_write(
        &mut self,
        view: &View,
        window: &Window,
        rows: Range<u64>,
    ) -> Result<SmallVec<[Slot; 16]>, ArrayError> {
        let (geometry, from) = (view.geometry(), MemberSector::new(rows.start));
        let len = rows.end - rows.start;
        let blank = |slot| match geometry.on(slot, from) {
            On::Data(sector) => Some(window.is_blank(sector, len)),
            On::P { .. } | On::Q { .. } | On::Unused => None,
        };
        let blanks: SmallVec<[Option<bool>; 16]> =
            view.legs().map(|(slot, _)| blank(slot)).collect();
        // The parity of zeros is zeros.
        let all = blanks.iter().all(|blank| blank.unwrap_or(true));
        let mut slots = SmallVec::new();
        for ((slot, leg), blank) in view.legs().zip(blanks) {
            let Some(leg) = leg else { continue };
            let extent = leg.extent(from, Sectors::new(len)).ok_or(ArrayError::Inconsistent)?;
            if !(blank.unwrap_or(all) && self.stays(&extent)) {
                slots.push(slot);
            }
        }
        Ok(slots)
    }

    /// Whether a copy of a window's content is zeros, and its place a hole.
    pub(super) fn takes_zeros(
        &mut self,
        view: &View,
        window: &Window,
        place: Place,
        cut: Span,
    ) -> bool {
        let Some(leg) = view.leg(place.slot).filter(|leg| may_have_holes(&leg.device)) else {
            return false;
        };
        window.is_blank(cut.start, cut.sectors)
            && leg.extent(place.sector, Sectors::new(cut.sectors)).is_some_and(|e| self.stays(&e))
    }

    /// Whether zeros need not be written there.
    fn stays(&mut self, extent: &Extent) -> bool {
        may_have_holes(&extent.device)
            && (self.rules.lack(Mutation::DataTakenForHole) || self.seen.is_hole(extent))
    }
}
