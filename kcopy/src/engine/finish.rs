//! The end of pieces and jobs: pages go back, flushes are waited for, the outcome is made.

use smallvec::SmallVec;

use super::plain::write_short_outcome;
use super::queue::JobKey;
use super::state::{Due, Gate, JobState, PieceKey, Prepared, Rare, Role};
use super::{Engine, Mutation};
use crate::backend::{Op, Slot};
use crate::callback::Callback;
use crate::errno::Errno;
use crate::job::{Flags, JobKind};
use crate::outcome::{DestinationOutcome, Fault, FaultKind, JobRange, Outcome};
use crate::stats::LATENCY_CLASSES;
use crate::units::{Sector, Time};

impl Engine {
    /// The next callback that is to be called; its outcome goes into `outcome`, a fresh one.
    #[inline(always)]
    pub(crate) fn next_finished(&mut self, now: Time, outcome: &mut Outcome) -> Option<Callback> {
        let (callback, since) = match self.finished.pop_front()? {
            Due::Job(key) => {
                let job = &mut self.jobs[key];
                if job.is_short() {
                    write_short_outcome(job, outcome);
                } else {
                    write_outcome(job, outcome);
                }
                let since = job.since;
                let callback = job.end().expect("a job has its callback until it is called");
                self.jobs.remove(key);
                (callback, since)
            }
            Due::Prepared(due) => {
                let Prepared { callback, outcome: given, since } = *due;
                *outcome = given;
                (callback, since)
            }
        };
        self.stats.jobs_finished += 1;
        if outcome.cancelled {
            self.stats.jobs_cancelled += 1;
        } else if !outcome.is_ok() {
            self.stats.jobs_failed += 1;
        }
        let nanos = now.nanos_since(since).max(1);
        let class = usize::try_from(nanos.ilog2()).unwrap_or(0).min(LATENCY_CLASSES - 1);
        self.stats.latency[class] += 1;
        Some(callback)
    }

    /// A piece was transferred (or failed where it could not be): its pages go back.
    pub(super) fn end_piece(&mut self, key: PieceKey) {
        let owner = self.pieces[key].job;
        self.leave_merged(key);
        self.pieces[key].end();
        self.pieces.remove(key);
        self.leave_piece(owner, key);
    }

    /// A piece that is not written: what it covers is a gap on every destination.
    pub(super) fn abandon_piece(&mut self, key: PieceKey) {
        let piece = &self.pieces[key];
        let to = piece.offset + u64::from(piece.len);
        self.jobs[piece.job].leave_out(piece.offset, to);
        for other in &piece.merged {
            let job = &mut self.jobs[*other];
            let len = job.ticket.cut.len;
            job.leave_out(0, len);
        }
        self.end_piece(key);
    }

    /// Something failed among merged jobs: each starts again alone, and gets its own verdict.
    pub(super) fn scatter(&mut self, key: PieceKey) {
        let piece = &mut self.pieces[key];
        piece.merged.insert(0, piece.job);
        for job in &piece.merged {
            let job = &mut self.jobs[*job];
            (job.taken, job.pieces, job.alone) = (0, 0, true);
        }
        self.scatter_back(key);
        self.pieces[key].end();
        self.pieces.remove(key);
    }

    fn leave_piece(&mut self, key: JobKey, piece: PieceKey) {
        let job = &mut self.jobs[key];
        job.pieces -= 1;
        if job.gate != Gate::Open {
            job.rare().order.retain(|other| *other != piece);
            self.open_gate(key);
        }
        // Opening the gate may have ended further pieces, and with the last one the job.
        let job = &mut self.jobs[key];
        let waits = self.page_waiter.is_some_and(|waiter| waiter.job == key);
        if job.has_more() && !job.queued && !waits {
            job.queued = true;
            let line = job.line();
            self.queue.push_back(key, line);
        }
        self.end_if_done(key);
    }

    fn leave_merged(&mut self, key: PieceKey) {
        for index in 0..self.pieces[key].merged.len() {
            let other = self.pieces[key].merged[index];
            self.jobs[other].pieces -= 1;
            self.end_if_done(other);
        }
        self.pieces[key].merged.clear();
    }

    /// Goes over to flushing, or to the end, once nothing is left to transfer.
    pub(super) fn end_if_done(&mut self, key: JobKey) {
        let job = &self.jobs[key];
        let flushing = job.flushes.is_some_and(|count| count > 0);
        if job.ended || job.pieces > 0 || job.queued || job.has_more() || flushing {
            return;
        }
        let flush = job.job.flags.contains(Flags::FLUSH) && !job.cancelled;
        if flush && self.config.breaks(Mutation::CallbackBeforeFlush) {
            self.jobs[key].flushes = Some(0);
        } else if flush {
            self.start_flushes(key);
            if self.jobs[key].flushes.is_some_and(|count| count > 0) {
                return;
            }
        }
        self.finish(key);
    }

    /// Asks for one flush of each device that this job wrote to (or named, if it has no length).
    pub(super) fn start_flushes(&mut self, key: JobKey) {
        let job = &self.jobs[key];
        if job.flushes.is_some() {
            return;
        }
        let empty = job.ticket.cut.len == 0;
        let wrote = |index: usize| empty || !job.written(index).is_empty() || job.gap_is_partial();
        let mut slots: SmallVec<[Slot; 4]> = SmallVec::new();
        for (index, target) in job.targets.iter().enumerate() {
            if job.job.kind != JobKind::Compare && wrote(index) && !slots.contains(&target.slot) {
                slots.push(target.slot);
            }
        }
        self.jobs[key].flushes = u32::try_from(slots.len()).ok();
        if let Some(errno) = self.broken {
            self.jobs[key].flushes = Some(0);
            for slot in slots {
                self.jobs[key].flush_failed(slot, errno);
            }
            return;
        }
        for slot in slots {
            // A flush alone answers for writes that it knows nothing of. After one that failed, no
            // later one can say that they are there.
            match self.devices.get(slot).lost.filter(|_| empty) {
                Some(errno) => {
                    let job = &mut self.jobs[key];
                    job.flush_failed(slot, errno);
                    job.flushes = job.flushes.map(|left| left - 1);
                }
                None => self.devices.want_flush(slot, key),
            }
        }
    }

    pub(super) fn issue_flush(&mut self, slot: Slot) {
        self.ops.emit(Role::Flush { slot }, Op::Flush { device: slot });
    }

    pub(super) fn flush_ended(&mut self, slot: Slot, result: Result<(), Errno>) {
        if let Some(place) = self.devices.get(slot).stats {
            self.stats.devices[place].flushes += 1;
        }
        let served = self.devices.end_flush(slot);
        if let Err(errno) = result {
            self.lose_unflushed(slot, &served, errno);
        }
        for &key in &served {
            let Some(job) = self.jobs.get_mut(key) else { continue };
            let left = job.flushes.unwrap_or(1) - 1;
            job.flushes = Some(left);
            if left == 0 && job.pieces == 0 {
                self.finish(key);
            }
        }
        self.devices.recycle(slot, served);
    }

    /// A flush failed. It may have lost every write that it covered, and the next one will not
    /// bring them back: this is the verdict for all jobs that have written there and were not
    /// flushed, not only for those that waited for this flush.
    fn lose_unflushed(&mut self, slot: Slot, served: &[JobKey], errno: Errno) {
        self.devices.get_mut(slot).lost = Some(errno);
        let waiting = &self.devices.get(slot).waiting;
        let is_hit = |key: JobKey, job: &JobState| {
            let wrote = job.job.kind != JobKind::Compare && job.flushes.is_none() && job.taken > 0;
            job.job.flags.contains(Flags::FLUSH)
                && (wrote || served.contains(&key) || waiting.contains(&key))
        };
        let jobs = self.jobs.iter().filter(|(key, job)| is_hit(*key, job));
        let hit: Vec<JobKey> = jobs.map(|(key, _)| key).collect();
        for key in hit {
            self.leave_short_way(key, None);
            self.jobs[key].flush_failed(slot, errno);
        }
    }

    pub(super) fn finish(&mut self, key: JobKey) {
        let job = &mut self.jobs[key];
        job.ended = true;
        // Pages go back with the last piece, not when the callback gets its turn.
        if job.rare.as_mut().is_some_and(|rare| rare.zeros.take().is_some()) {
            self.zero_holders -= 1;
        }
        for slot in job.sources.iter().copied().chain(job.targets.iter().map(|t| t.slot)) {
            self.devices.leave(slot);
        }
        self.finished.push_back(Due::Job(key));
    }
}

impl JobState {
    /// Whether something may have been written although the unbroken run is empty.
    fn gap_is_partial(&self) -> bool {
        self.taken > 0 && self.job.kind != JobKind::Compare
    }

    /// A flush failed: what was written to that device is not surely there.
    fn flush_failed(&mut self, slot: Slot, errno: Errno) {
        for (index, target) in self.targets.iter_mut().enumerate() {
            if target.slot != slot {
                continue;
            }
            let sector = Sector::containing(self.job.destinations[index].extent.offset);
            target.record(Fault { kind: FaultKind::Flush, errno, sector }, 0);
            target.leave_out(0, self.ticket.cut.len);
        }
    }
}

/// What became of `job`, into a fresh outcome.
fn write_outcome(job: &mut JobState, outcome: &mut Outcome) {
    let writes = job.job.kind != JobKind::Compare;
    // A job that was to be flushed and was not has nothing that surely lasts.
    let unflushed = job.job.flags.contains(Flags::FLUSH) && job.flushes.is_none();
    for (index, target) in job.targets.iter().enumerate() {
        outcome.destinations.push(DestinationOutcome {
            error: target.fault,
            written: if writes && !unflushed { job.written(index) } else { 0..0 },
            differing_sectors: target.differing_sectors,
        });
    }
    outcome.cancelled = job.cancelled;
    outcome.read = job.read_fault();
    if let Some(rare) = job.rare.take() {
        let Rare { unreadable, unwritten, differences, .. } = *rare;
        outcome.unreadable = sorted(unreadable).into_iter().map(|((), range)| range).collect();
        outcome.unwritten = sorted(unwritten);
        outcome.differences = sorted(differences);
    }
    if !outcome.is_ok() {
        tracing::debug!(parent: job.span(), ?outcome, "job ended");
    }
}

/// Sorted, and ranges that touch joined: pieces end in any order, and the list does not tell.
fn sorted<K: Ord + Copy>(mut list: Vec<(K, JobRange)>) -> Vec<(K, JobRange)> {
    list.sort_by_key(|(key, range)| (*key, range.start));
    list.dedup_by(|(key, range), (last_key, last)| {
        let touches = key == last_key && range.start <= last.end;
        if touches {
            last.end = last.end.max(range.end);
        }
        touches
    });
    list
}
