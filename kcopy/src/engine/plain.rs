//! The short way of plain pieces.
//!
//! Most jobs are *plain*: a small copy that is one piece, nothing computed, nothing gated. Most
//! operations do all that they were asked to. Where both is so, a piece goes from its start to its
//! reads, its writes and its end in one step each, in this file.
//!
//! The short way keeps the same state as the general one, at every step. So it may be left at any
//! step: whatever is not as usual (a short result, an error, a cancelled job, adjacent jobs, no
//! pages) is left to the general functions, which find the job and the piece as they would have
//! made them.

use super::dispatch::{continues, new_piece, pages_for};
use super::lane::Lane;
use super::queue::JobKey;
use super::state::{InFlight, JobState, Phase, PieceKey, Role};
use super::{Engine, Mutation};
use crate::backend::{Op, Window};
use crate::job::{Flags, JobKind};
use crate::mem::Pages;

/// What a plain job may ask for.
const PLAIN_FLAGS: Flags = Flags::FLUSH.union(Flags::NO_ISOLATION).union(Flags::REFUSE_OVERLAP);

impl JobState {
    /// Whether the job is plain.
    pub(super) fn looks_plain(&self) -> bool {
        let cut = &self.ticket.cut;
        self.job.kind == JobKind::Copy
            && self.job.transform.is_none()
            && PLAIN_FLAGS.contains(self.job.flags)
            && !self.ticket.overlap
            && cut.piece(0).is_some_and(|(_, len)| u64::from(len) == cut.len)
    }

    /// Whether the job may travel with adjacent ones in one piece: plain, and so small that it pays.
    pub(super) fn may_merge(&self) -> bool {
        let cut = &self.ticket.cut;
        self.plain
            && !self.alone
            && self.taken == 0
            && cut.len <= u64::from(cut.max / 2)
            && cut.len & (u64::from(cut.granule) - 1) == 0
    }
}

impl Engine {
    /// Starts the one piece of a plain job whose turn it is; `false`, and nothing done, if it has
    /// to go the general way.
    pub(super) fn start_plain(&mut self, key: JobKey) -> bool {
        let Self { jobs, pieces, queue, pool, config, .. } = self;
        let job = &jobs[key];
        if !job.plain || job.taken > 0 || job.halted || config.throttle.is_some() {
            return false;
        }
        let len = job.short_len();
        let next = queue.front(job.job.priority);
        if next.is_some_and(|next| continues(job, &jobs[next], len)) {
            return false;
        }
        let Some(pages) = pool.take(pages_for(len)) else { return false };
        let job = &mut jobs[key];
        job.taken = u64::from(len);
        job.pieces = 1;
        job.queued = false;
        let (device, offset) = (job.sources[0], job.job.sources[0].offset);
        let (key, piece) = new_piece(pieces, key, job, 0, len);
        piece.plain = true;
        piece.lanes.push(Lane::new(len));
        piece.open_lanes = 1;
        piece.buffers.push(None);
        let op = Op::Read { device, offset, pages, window: Window { start: 0, len } };
        self.ops.emit(Role::Read { piece: key, lane: 0 }, op);
        true
    }

    /// Whether an operation that did all it was asked to ends a lane of a plain piece.
    pub(super) fn ends_plain_lane(&self, key: PieceKey, lane: usize, op: InFlight) -> bool {
        let piece = &self.pieces[key];
        piece.plain && piece.lanes[lane].done + op.asked == piece.len
    }

    /// A plain piece was read: it is written to every destination.
    ///
    /// The operations alone hold the pages. One that has to be issued again brings them back.
    pub(super) fn plain_read(&mut self, key: PieceKey, op: InFlight, pages: Pages) {
        self.count_read(op.slot, op.asked);
        if self.config.breaks(Mutation::FlushBeforeWrites) {
            self.flush_too_early(key);
        }
        let Self { jobs, pieces, ops, .. } = self;
        let piece = &mut pieces[key];
        let job = &jobs[piece.job];
        piece.phase = Phase::Writing;
        piece.buffers.clear();
        piece.lanes.clear();
        piece.open_lanes = job.targets.len();
        let window = Window { start: 0, len: piece.len };
        let mut pages = Some(pages.into_shared());
        let mut left = job.targets.len();
        for (lane, (target, to)) in job.targets.iter().zip(&job.job.destinations).enumerate() {
            left -= 1;
            let pages = if left > 0 { pages.clone() } else { pages.take() };
            let Some(pages) = pages else { return };
            piece.lanes.push(Lane::new(window.len));
            let (device, offset) = (target.slot, to.extent.offset);
            let op = Op::Write { device, offset, pages, window };
            ops.emit(Role::Write { piece: key, lane }, op);
        }
    }

    /// A plain piece is on one of its destinations; on the last one, it ends, and with it the job.
    pub(super) fn plain_written(&mut self, key: PieceKey, lane: usize, op: InFlight) {
        self.count_written(op.slot, op.asked);
        let piece = &mut self.pieces[key];
        piece.lanes[lane].open = false;
        piece.open_lanes -= 1;
        if piece.open_lanes > 0 {
            return;
        }
        let owner = piece.job;
        piece.end();
        self.pieces.remove(key);
        let job = &mut self.jobs[owner];
        job.pieces = 0;
        if job.job.flags.contains(Flags::FLUSH) {
            self.end_if_done(owner);
        } else {
            self.finish(owner);
        }
    }
}
