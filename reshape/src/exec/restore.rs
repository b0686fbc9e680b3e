//! Putting the critical section back: what a backup holds goes to its place in the new geometry.
//!
//! ```text
//!  position P        sections of the backup, in the order of the walk
//!  ───────┤ [S1 ........)[S2 ........)
//!         └─ written in the new geometry, flushed ─▶ position recorded behind it
//! ```
//!
//! Only sections that go on from the recorded position count; each is recorded before the next is
//! looked at, so that a crash in between repeats nothing but the last one.
//!
//! A member that fails meanwhile leaves, if old and new array can do without it. What it should have got is then
//! computed from all others, so each of them has to have its part of the section, durably, before the absence is
//! recorded; and that is recorded before the position. The backup may lie on the one that left: all of the section is
//! in memory, and until the position is recorded nothing takes the backup away.

use std::sync::Arc;

use kcopy::{Device, Errno, Extent, Job, OnError, PieceBuffers, Transform};

use super::holes::Holes;
use super::leaving::{is_enough, is_enough_of};
use super::mutation::{Mutation, Rules};
use super::recording::tell_position;
use super::window::{Window, write_jobs};
use super::{ExecError, FailedMember, Restripe};
use crate::array::leaving::{commit_without_failed, expect_room, flush_members};
use crate::array::{Backup, Record, View};
use crate::machine::Span;
use crate::metadata::{DoesNotFit, Superblock, Timestamp};
use crate::mover::{MoveError, Mover, check_read};
use crate::units::{ArraySector, Slot};

/// A reshape nobody moves at the moment: its superblocks, and its members before and after.
#[derive(Debug)]
pub(super) struct Standing<'a> {
    pub(super) restripe: &'a Restripe,
    pub(super) old: &'a mut View,
    pub(super) new: &'a mut View,
    pub(super) record: &'a mut Record,
    /// Members that left the array.
    pub(super) failed: &'a mut Vec<FailedMember>,
    pub(super) rules: Rules,
}

/// Restores what `backup` holds from the recorded position on; returns the new position.
///
/// # Errors
///
/// A backup that cannot be read, more members that cannot be written than the array can do without.
pub(super) fn restore(
    mover: &mut Mover,
    standing: &mut Standing<'_>,
    backup: &Backup,
    now: Timestamp,
) -> Result<ArraySector, ExecError> {
    let track = &standing.restripe.track;
    let recorded = standing.record.entries().iter().find_map(|entry| entry.superblock.reshape());
    let start = || track.position(0);
    let mut position = recorded.map_or_else(start, |r| standing.restripe.standing(r.position));
    loop {
        let from = track.distance(position).unwrap_or(0);
        // A section as distances: it may have begun before the position.
        let next = backup.sections.iter().find_map(|(section, at)| {
            let start = section.array_start;
            let stretch = track.stretch(start, section.length.get());
            // One that was saved before the reshape turned around may end where it cannot stand any more.
            let far = match stretch.end < track.total {
                true => from + stretch.end.saturating_sub(from) / track.unit * track.unit,
                false => track.total,
            };
            (stretch.start <= from && from < far).then_some((far, *at, start))
        });
        let Some((far, at, start)) = next else { return Ok(position) };
        let (a, b) = (track.position(from), track.position(far));
        let span = Span { start: a.min(b), sectors: far - from };
        let into = (span.start.get() - start.get()) * kcopy::SECTOR_SIZE;
        let window = read_section(mover, &backup.device, at + into, span)?;
        let failed = standing.write(mover, &window, span)?;
        position = b;
        standing.record(mover, failed, position, now)?;
    }
}

/// A window with what `device` has from byte `at` on.
fn read_section(
    mover: &mut Mover,
    device: &Device,
    at: u64,
    span: Span,
) -> Result<Arc<Window>, ExecError> {
    let window = Arc::new(Window::new(span)?);
    let extent = Extent::new(device, at, span.sectors * kcopy::SECTOR_SIZE);
    let outcome = mover.run(Job::stripe(0, Arc::new(PutBack(Arc::clone(&window)))).from(extent))?;
    check_read(&outcome, &[device])?;
    Ok(window)
}

/// Puts what is read into a window, from its beginning on.
#[derive(Debug)]
struct PutBack(Arc<Window>);

impl Transform for PutBack {
    fn apply(&self, piece: PieceBuffers<'_>) -> Result<(), Errno> {
        let start = self.0.span().start.get() + piece.offset / kcopy::SECTOR_SIZE;
        for source in piece.sources {
            self.0.put(ArraySector::new(start), source);
        }
        Ok(())
    }
}

impl Standing<'_> {
    /// Writes a window in the new geometry, durably; those where that failed.
    fn write(
        &mut self,
        mover: &mut Mover,
        window: &Arc<Window>,
        span: Span,
    ) -> Result<Vec<FailedMember>, ExecError> {
        let mut holes = Holes::new(self.rules);
        let jobs = write_jobs(self.new, window, span, &mut holes)?.into_iter();
        let jobs = jobs.map(|(job, slots)| (job.on_error(OnError::Detach), slots));
        let (jobs, slots): (Vec<_>, Vec<_>) = jobs.unzip();
        let mut failed: Vec<FailedMember> = Vec::new();
        for (outcome, slots) in mover.run_all(jobs)?.iter().zip(slots) {
            let before = failed.len();
            for (slot, end) in slots.iter().zip(&outcome.destinations) {
                if let (Some(fault), Some(leg)) = (end.error, self.new.leg(*slot)) {
                    let path = leg.device.path().to_owned();
                    failed.push(FailedMember { slot: Some(*slot), path, fault });
                }
            }
            if outcome.cancelled && failed.len() == before {
                return Err(MoveError::Cancelled.into());
            }
        }
        if !self.rules.lack(Mutation::RestoreUnflushed) {
            let legs = self.new.legs();
            let members = legs.filter_map(|(slot, leg)| Some((slot, leg?.device.clone())));
            let mut members: Vec<(Slot, Device)> = members.collect();
            members.retain(|(slot, _)| !failed.iter().any(|member| member.slot == Some(*slot)));
            failed.extend(flush_members(mover, &members)?);
        }
        failed.sort_by_key(|member| member.slot);
        failed.dedup_by_key(|member| member.slot);
        Ok(failed)
    }

    /// Records a position, and that `failed` left before.
    fn record(
        &mut self,
        mover: &mut Mover,
        failed: Vec<FailedMember>,
        position: ArraySector,
        now: Timestamp,
    ) -> Result<(), ExecError> {
        if self.rules.lack(Mutation::RestoreUnrecorded) {
            return Ok(());
        }
        expect_room(&failed)?;
        let failed = if self.rules.lack(Mutation::FailureIgnored) { Vec::new() } else { failed };
        for slot in failed.iter().filter_map(|member| member.slot) {
            if let Some(number) = self.record.number_in(slot) {
                self.record.drop_device(number);
            }
        }
        self.failed.extend(failed);
        if !is_enough_of((self.old, self.new), self.record) {
            return Err(ExecError::TooManyFailed { members: self.failed.clone() });
        }
        self.commit(mover, now, tell_position(self.restripe, position))?;
        let gone = self.failed.iter().filter_map(|member| member.slot);
        for slot in gone {
            self.old.set_leg(slot, None);
            self.new.set_leg(slot, None);
        }
        Ok(())
    }

    /// Changes the superblocks; those that cannot be written leave.
    fn commit(
        &mut self,
        mover: &mut Mover,
        now: Timestamp,
        change: impl FnMut(&mut Superblock) -> Result<(), DoesNotFit>,
    ) -> Result<(), ExecError> {
        self.commit_without(mover, now, &[], change)
    }

    /// The same; who sits in the slots in `leaving` leaves by the change itself.
    pub(super) fn commit_without(
        &mut self,
        mover: &mut Mover,
        now: Timestamp,
        leaving: &[Slot],
        change: impl FnMut(&mut Superblock) -> Result<(), DoesNotFit>,
    ) -> Result<(), ExecError> {
        let enough = |record: &Record| {
            let stays = |slot: Slot| record.number_in(slot).is_some() && !leaving.contains(&slot);
            is_enough((self.old, self.new), stays)
        };
        let failed = commit_without_failed(mover, self.record, now, &enough, change)?;
        self.failed.extend(failed);
        Ok(())
    }
}
