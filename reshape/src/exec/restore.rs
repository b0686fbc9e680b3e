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

use std::sync::Arc;

use super::mutation::{Mutation, Rules};
use super::recording::record_position;
use super::window::{Window, write_jobs};
use super::{ExecError, Restripe};
use crate::array::{Backup, Record, View};
use crate::machine::Span;
use crate::metadata::Timestamp;
use crate::mover::{Mover, check_written};
use crate::units::ArraySector;

/// Restores what `backup` holds from the recorded position on; returns the new position.
///
/// # Errors
///
/// A backup that cannot be read, members that cannot be written.
pub(super) fn restore(
    mover: &mut Mover,
    record: &mut Record,
    (restripe, new): (&Restripe, &View),
    backup: &Backup,
    now: Timestamp,
    rules: Rules,
) -> Result<ArraySector, ExecError> {
    let track = &restripe.track;
    let recorded = record.entries().iter().find_map(|entry| entry.superblock.reshape());
    let start = || track.position(0);
    let mut position = recorded.map_or_else(start, |r| restripe.standing(r.position));
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
        let bytes = usize::try_from(span.sectors * kcopy::SECTOR_SIZE).unwrap_or(usize::MAX);
        let content = mover.read(&backup.device, at + into, bytes)?;
        let window = Arc::new(Window::new(span));
        window.put(span.start, &content);
        let (jobs, slots): (Vec<_>, Vec<_>) = write_jobs(new, &window, span)?.into_iter().unzip();
        for (outcome, slots) in mover.run_all(jobs)?.iter().zip(slots) {
            let legs = slots.iter().filter_map(|slot| new.leg(*slot));
            let devices: Vec<_> = legs.map(|leg| &leg.device).collect();
            check_written(outcome, &devices)?;
        }
        if !rules.lack(Mutation::RestoreUnflushed) {
            mover.flush(&new.devices())?;
        }
        position = b;
        if !rules.lack(Mutation::RestoreUnrecorded) {
            record_position(mover, record, restripe, position, now)?;
        }
    }
}
