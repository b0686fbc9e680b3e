//! What a job should have done, computed in the most naive way, and how the outcome compares.
//!
//! Knows nothing of pieces, pages or queues: whole ranges, byte by byte.

use std::collections::HashMap;
use std::ops::Range;

use kcopy::backend::sim::{DiskId, Event, OpKind, Phase};
use kcopy::{Flags, JobKind, OnError, Outcome};

use super::scenario::{JobPlan, Place, Work};

/// The bytes of every disk before the run.
pub type Images = Vec<Vec<u8>>;

fn slice(images: &Images, place: Place, len: u64) -> &[u8] {
    let start = usize::try_from(place.offset).expect("small disks");
    let len = usize::try_from(len).expect("small jobs");
    &images[place.disk][start..start + len]
}

fn indices(range: &Range<u64>) -> Range<usize> {
    usize::try_from(range.start).expect("small jobs")..usize::try_from(range.end).expect("small")
}

/// What every destination of `job` should hold. Ranges that could not be read are zeros.
pub fn wanted(job: &JobPlan, images: &Images, unreadable: &[Range<u64>]) -> Vec<Vec<u8>> {
    let len = usize::try_from(job.len).expect("small jobs");
    let mut buffers: Vec<Vec<u8>> =
        job.sources.iter().map(|place| slice(images, *place, job.len).to_vec()).collect();
    for range in unreadable {
        buffers.iter_mut().for_each(|bytes| bytes[indices(range)].fill(0));
    }
    if job.work == Work::Xor {
        let parity = (0..len).map(|at| buffers.iter().fold(0, |p, bytes| p ^ bytes[at])).collect();
        buffers.push(parity);
    }
    let zeros = || vec![0; len];
    let pick = |buffer: u16| match job.kind {
        JobKind::Zero => zeros(),
        JobKind::Copy => buffers[0].clone(),
        JobKind::Stripe => buffers[usize::from(buffer)].clone(),
        JobKind::Compare => Vec::new(),
    };
    job.destinations.iter().map(|(_, buffer)| pick(*buffer)).collect()
}

/// Ranges of sectors in which each destination differs from the source, counted naively: joined
/// ranges, and the number of sectors. Sectors are those of the first destination's device.
fn differences(job: &JobPlan, images: &Images) -> (Vec<(usize, Range<u64>)>, Vec<u64>) {
    let source = slice(images, job.sources[0], job.len);
    let mut all: Vec<(usize, Range<u64>)> = Vec::new();
    let mut counts = vec![0; job.destinations.len()];
    let base = job.destinations.first().map_or(0, |(place, _)| place.offset);
    for (index, (place, _)) in job.destinations.iter().enumerate() {
        let other = slice(images, *place, job.len);
        for sector in base / 512..(base + job.len).div_ceil(512) {
            let from = (sector * 512).max(base) - base;
            let to = ((sector + 1) * 512).min(base + job.len) - base;
            if source[indices(&(from..to))] == other[indices(&(from..to))] {
                continue;
            }
            counts[index] += 1;
            match all.last_mut() {
                Some((last, range)) if *last == index && range.end == from => range.end = to,
                _ => all.push((index, from..to)),
            }
        }
    }
    (all, counts)
}

/// One operation that did not do what it was asked to.
#[derive(Clone, Copy, Debug)]
struct Failure {
    kind: OpKind,
    offset: u64,
    len: u64,
    errno: i32,
}

/// The ground truth of what failed and what was written, gathered from the trace.
#[derive(Debug, Default)]
pub struct Truth {
    failures: HashMap<DiskId, Vec<Failure>>,
    written: HashMap<DiskId, Vec<Range<u64>>>,
}

impl Truth {
    /// Takes in a line of the trace.
    pub fn note(&mut self, event: &Event) {
        let Phase::Ended(result) = event.phase else { return };
        let (offset, len) = (event.offset, event.len);
        let done = match (event.kind, result) {
            (OpKind::Read | OpKind::Write, Ok(bytes)) => u64::from(bytes),
            (OpKind::Zero | OpKind::Discard | OpKind::Flush, Ok(_)) => len,
            (_, Err(_)) => 0,
        };
        if event.kind.changes() && done > 0 {
            self.written.entry(event.disk).or_default().push(offset..offset + done);
        }
        if done < len || result.is_err() {
            let errno = result.err().map_or(5, |errno| errno.raw());
            let failure = Failure { kind: event.kind, offset, len, errno };
            self.failures.entry(event.disk).or_default().push(failure);
        }
    }

    /// Whether an operation of one of `kinds` at this place failed with this error.
    fn failed(&self, disk: usize, kinds: &[OpKind], at: u64, errno: i32) -> bool {
        let id = DiskId(u32::try_from(disk).expect("few disks"));
        let hit = |failure: &Failure| {
            let flush = failure.kind == OpKind::Flush;
            // A sector is named, a failure may begin within it.
            let inside = failure.offset / 512 * 512 <= at && at < failure.offset + failure.len;
            kinds.contains(&failure.kind) && failure.errno == errno && (flush || inside)
        };
        self.failures.get(&id).is_some_and(|all| all.iter().any(hit))
    }

    /// Whether every byte of `range` was written by an operation that succeeded.
    fn covers(&self, disk: usize, range: &Range<u64>) -> bool {
        let id = DiskId(u32::try_from(disk).expect("few disks"));
        let Some(all) = self.written.get(&id) else { return range.is_empty() };
        let mut parts: Vec<&Range<u64>> =
            all.iter().filter(|part| part.start < range.end && range.start < part.end).collect();
        parts.sort_by_key(|part| part.start);
        let mut at = range.start;
        for part in parts {
            if part.start <= at {
                at = at.max(part.end);
            }
        }
        at >= range.end
    }
}

/// Everything that an outcome is held against.
#[derive(Debug)]
pub struct Evidence<'a> {
    /// The disks before.
    pub before: &'a Images,
    /// The disks after.
    pub after: &'a Images,
    /// What the trace says.
    pub truth: &'a Truth,
    /// No fault struck anything.
    pub quiet: bool,
}

/// Holds the outcome of `job` against what happened.
///
/// # Errors
///
/// The first thing that does not fit.
pub fn judge(job: &JobPlan, outcome: &Outcome, evidence: &Evidence<'_>) -> Result<(), String> {
    if outcome.destinations.len() != job.destinations.len() {
        return Err("I2: a verdict is missing".into());
    }
    if outcome.cancelled && job.cancel_at.is_none() {
        return Err("cancelled, but nobody cancelled it".into());
    }
    let mask: u64 =
        (0..).zip(&outcome.destinations).map(|(bit, d)| u64::from(d.error.is_some()) << bit).sum();
    if outcome.write_err() != mask || outcome.read_err() != i32::from(outcome.read.is_some()) {
        return Err("I2: the kernel's pair does not fit the outcome".into());
    }
    judge_errors(job, outcome, evidence)?;
    if job.kind == JobKind::Compare {
        return judge_comparison(job, outcome, evidence);
    }
    // A range may be read, written to one destination, and be unreadable when it is read again.
    let intact = wanted(job, evidence.before, &[]);
    let wanted = wanted(job, evidence.before, &outcome.unreadable);
    for (index, wanted) in wanted.iter().enumerate() {
        judge_destination(job, outcome, evidence, (index, wanted, &intact[index]))
            .map_err(|text| format!("destination {index}: {text}"))?;
    }
    Ok(())
}

/// I2: every error that is told is true, and a quiet run has none.
fn judge_errors(job: &JobPlan, outcome: &Outcome, evidence: &Evidence<'_>) -> Result<(), String> {
    let refuses = matches!(job.work, Work::RefuseAt(at) if at < job.len);
    let clean = outcome.read.is_none() && outcome.destinations.iter().all(|d| d.error.is_none());
    if evidence.quiet && !refuses && !clean {
        return Err(format!("I2: an error, but nothing failed: {outcome:?}"));
    }
    if refuses && outcome.read.is_none() && !outcome.cancelled && clean {
        return Err("the transform's refusal is not told".into());
    }
    if let Some((index, fault)) = &outcome.read {
        let place = job.sources.get(*index).ok_or("no such source")?;
        let at = fault.sector.get() * 512;
        let known = evidence.truth.failed(place.disk, &[OpKind::Read], at, fault.errno.raw());
        if !known && fault.kind != kcopy::FaultKind::Transform {
            return Err(format!("I2: read error without a cause: {fault:?}"));
        }
    }
    let kinds = match job.kind {
        JobKind::Compare => vec![OpKind::Read],
        JobKind::Copy | JobKind::Zero | JobKind::Stripe => vec![OpKind::Write, OpKind::Zero],
    };
    for (index, verdict) in outcome.destinations.iter().enumerate() {
        let Some(fault) = verdict.error else { continue };
        let kinds = match fault.kind {
            kcopy::FaultKind::Flush => &[OpKind::Flush][..],
            kcopy::FaultKind::Device
            | kcopy::FaultKind::EndOfDevice
            | kcopy::FaultKind::Transform => &kinds[..],
        };
        let (place, at) = (job.destinations[index].0, fault.sector.get() * 512);
        if !evidence.truth.failed(place.disk, kinds, at, fault.errno.raw()) {
            return Err(format!("I2: destination {index}: error without a cause: {fault:?}"));
        }
    }
    Ok(())
}

/// I3 alone: what an outcome says is written is there.
///
/// # Errors
///
/// What is not.
pub fn judge_written(
    job: &JobPlan,
    outcome: &Outcome,
    images: (&Images, &Images),
) -> Result<(), String> {
    let (before, after) = images;
    if job.kind == JobKind::Stripe && !outcome.unreadable.is_empty() {
        return Ok(());
    }
    let wanted = wanted(job, before, &outcome.unreadable);
    for (index, (wanted, verdict)) in wanted.iter().zip(&outcome.destinations).enumerate() {
        let now = slice(after, job.destinations[index].0, job.len);
        let sure = indices(&verdict.written);
        if now[sure.clone()] != wanted[sure.clone()] {
            return Err(format!("I3: destination {index}: wrong bytes within {sure:?}"));
        }
    }
    Ok(())
}

fn judge_comparison(
    job: &JobPlan,
    outcome: &Outcome,
    evidence: &Evidence<'_>,
) -> Result<(), String> {
    if outcome.destinations.iter().any(|d| !d.written.is_empty()) {
        return Err("a compare job wrote".into());
    }
    let unread = outcome.read.is_some() || outcome.destinations.iter().any(|d| d.error.is_some());
    if unread || outcome.cancelled {
        return Ok(());
    }
    let (expected, counts) = differences(job, evidence.before);
    if outcome.differences != expected {
        return Err(format!("differences {:?}, should be {expected:?}", outcome.differences));
    }
    for (verdict, sectors) in outcome.destinations.iter().zip(counts) {
        if verdict.differing_sectors != sectors {
            return Err(format!("{} sectors differ, not {sectors}", verdict.differing_sectors));
        }
    }
    Ok(())
}

/// I3, I4: what is said to be written is there, and what is not is old, new, or zeroed.
fn judge_destination(
    job: &JobPlan,
    outcome: &Outcome,
    evidence: &Evidence<'_>,
    destination: (usize, &[u8], &[u8]),
) -> Result<(), String> {
    let (index, wanted, intact) = destination;
    let verdict = &outcome.destinations[index];
    let place = job.destinations[index].0;
    let (old, now) =
        (slice(evidence.before, place, job.len), slice(evidence.after, place, job.len));
    let full = 0..job.len;
    let mut sure = vec![verdict.written.clone()];
    let whole = verdict.error.is_none() && outcome.read.is_none() && !outcome.cancelled;
    let stopped = outcome.destinations.iter().any(|d| d.error.is_some());
    if whole && (job.on_error != OnError::Stop || !stopped) && verdict.written != full {
        return Err(format!("I4: no error, but written is {:?} of {}", verdict.written, job.len));
    }
    if job.on_error == OnError::Continue && !outcome.cancelled && !refuses(job) {
        sure = complement(&outcome.unwritten, index, job.len);
    }
    if outcome.unwritten.iter().any(|(i, r)| *i == index && overlap(r, &verdict.written)) {
        return Err("I3: a range is both written and unwritten".into());
    }
    let skips = job.flags.contains(Flags::DESTINATION_IS_ZERO);
    for range in &sure {
        // Of a stripe whose sources could not be read, only the engine knows which zeros it took.
        if job.kind == JobKind::Stripe && !outcome.unreadable.is_empty() {
            continue;
        }
        if now[indices(range)] != wanted[indices(range)] {
            return Err(format!("I3: wrong bytes within {range:?}"));
        }
        let on_disk = place.offset + range.start..place.offset + range.end;
        if !skips && !evidence.truth.covers(place.disk, &on_disk) {
            return Err(format!("I3: no write made {range:?}"));
        }
    }
    if job.kind == JobKind::Stripe && !outcome.unreadable.is_empty() {
        return Ok(());
    }
    let possible = |at: usize| [old[at], wanted[at], intact[at], 0].contains(&now[at]);
    match (0..now.len()).find(|at| !possible(*at)) {
        Some(at) => Err(format!("byte {at} is neither old nor new")),
        None => Ok(()),
    }
}

fn refuses(job: &JobPlan) -> bool {
    matches!(job.work, Work::RefuseAt(_))
}

fn overlap(a: &Range<u64>, b: &Range<u64>) -> bool {
    a.start < b.end && b.start < a.end
}

/// What of a job's range is in none of the listed ranges of destination `index`.
fn complement(listed: &[(usize, Range<u64>)], index: usize, len: u64) -> Vec<Range<u64>> {
    let (mut at, mut rest) = (0, Vec::new());
    for (_, range) in listed.iter().filter(|(i, _)| *i == index) {
        if at < range.start {
            rest.push(at..range.start);
        }
        at = at.max(range.end);
    }
    if at < len {
        rest.push(at..len);
    }
    rest
}
