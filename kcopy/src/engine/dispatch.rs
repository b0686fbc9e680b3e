//! Starting pieces: whose turn it is, how long a piece is, which pages it gets.

use super::lane::Lane;
use super::plain::ShortStart;
use super::queue::{JobKey, QUANTUM};
use super::state::{Gate, JobState, Piece, PieceKey, Target};
use super::table::Table;
use super::{Engine, PageWaiter};
use crate::backend::{Op, OpId};
use crate::cancel::CancelToken;
use crate::job::{Flags, JobKind};
use crate::region::Extent;
use crate::split::Direction;
use crate::units::{PAGE_SIZE, Time};

/// Small jobs that may pass one that waits for pages, before it gets all that come free.
const MAX_PASSED: u32 = 64;

/// The most pages of a piece that may pass a waiting one: 64 KiB.
pub(super) const SMALL_PAGES: u32 = 16;

/// The largest range zeroed by one operation where zeroing without data is known to work.
const MAX_ZERO: u32 = 256 << 20;

/// Jobs that travel in one piece, at most, while few wait; keeps several pieces on their way.
const MIN_MERGE: usize = 16;

/// What was begun.
#[derive(Debug)]
enum Begun {
    /// Nothing can be started now.
    Nothing,
    /// A piece: its operations are ready.
    Piece,
    /// A job on the short way, with this operation.
    Short(OpId, Op),
}

impl Begun {
    fn piece(progress: bool) -> Self {
        if progress { Self::Piece } else { Self::Nothing }
    }
}

/// How an attempt to start a piece went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Start {
    /// A piece was started, or the job turned out to have none left.
    Progress,
    /// The pool has no pages for it now.
    NoPages,
}

impl Engine {
    /// The next operation for the backend; `None` if there is nothing to issue now. Ask again
    /// after a completion, after an admission, and at [`Engine::deadline`].
    #[inline(always)] // so that an operation is made where the backend takes it
    pub fn next_op(&mut self, now: Time) -> Option<(OpId, Op)> {
        self.look_for_cancelled();
        loop {
            if let Some(op) = self.ops.next_ready() {
                self.stats.operations += 1;
                return Some(op);
            }
            if let Some(slot) = self.devices.start_flush() {
                self.issue_flush(slot);
                continue;
            }
            match self.start_piece(now) {
                Begun::Nothing => return None,
                Begun::Piece => {}
                Begun::Short(id, op) => {
                    self.stats.operations += 1;
                    return Some((id, op));
                }
            }
        }
    }

    /// Starts a piece of the job whose turn it is.
    #[inline(always)]
    fn start_piece(&mut self, now: Time) -> Begun {
        self.wake_at = None;
        if self.pieces.len() + self.short_pieces >= self.config.requests
            || (self.queue.is_empty() && self.page_waiter.is_none())
        {
            return Begun::Nothing;
        }
        if let Some(Err(later)) = self.config.throttle.as_ref().map(|throttle| throttle.check(now))
        {
            self.wake_at = Some(later);
            return Begun::Nothing;
        }
        if let Some(waiter) = self.page_waiter {
            if self.try_start(waiter.job, now) == Start::Progress {
                self.page_waiter = None;
                return Begun::Piece;
            }
            return Begun::piece(self.start_page_holder(now) || self.pass(waiter, now));
        }
        let Some(job) = self.queue.pick() else { return Begun::Nothing };
        let start = match self.start_short(job) {
            ShortStart::Started(id, op) => return Begun::Short(id, op),
            ShortStart::NoPages => Start::NoPages,
            ShortStart::General => self.try_start_piece(job, now),
        };
        if start == Start::NoPages {
            self.page_waiter = Some(PageWaiter { job, passed: 0 });
        }
        Begun::Piece
    }

    /// Starts a piece of a zero job that has its zeros already. It gives them back only at its end,
    /// so it must get there whatever others wait for.
    fn start_page_holder(&mut self, now: Time) -> bool {
        if self.zero_holders == 0 {
            return false;
        }
        let jobs = &self.jobs;
        let holds = |key: JobKey| jobs[key].rare.as_ref().is_some_and(|r| r.zeros.is_some());
        let Some(job) = self.queue.take_first(holds) else { return false };
        self.try_start(job, now) == Start::Progress
    }

    /// Lets a small job pass `waiter`, if one is in front and it was not passed too often.
    fn pass(&mut self, waiter: PageWaiter, now: Time) -> bool {
        if waiter.passed >= MAX_PASSED {
            return false;
        }
        let Some(job) = self.queue.next_short() else { return false };
        let state = &self.jobs[job];
        if pages_of_piece(state) > SMALL_PAGES {
            return false;
        }
        let line = state.line();
        self.queue.pop_front(line.priority);
        if self.try_start(job, now) == Start::NoPages {
            self.queue.push_front(job, line);
            return false;
        }
        self.page_waiter = Some(PageWaiter { passed: waiter.passed + 1, ..waiter });
        true
    }

    /// Starts the next piece of `key`, which was taken out of the queue.
    fn try_start(&mut self, key: JobKey, now: Time) -> Start {
        match self.start_short(key) {
            ShortStart::Started(id, op) => {
                self.ops.postpone((id, op));
                Start::Progress
            }
            ShortStart::NoPages => Start::NoPages,
            ShortStart::General => self.try_start_piece(key, now),
        }
    }

    /// The same the general way.
    fn try_start_piece(&mut self, key: JobKey, now: Time) -> Start {
        self.leave_short_way(key, None);
        let Some((offset, len)) = self.next_piece(key) else {
            self.jobs[key].queued = false;
            self.end_if_done(key);
            return Start::Progress;
        };
        if self.must_wait_for_own_pieces(key) {
            // Its turn comes again when one of its pieces has ended.
            self.jobs[key].queued = false;
            return Start::Progress;
        }
        if !self.ensure_zeros(key) {
            return Start::NoPages;
        }
        let (piece, _) = new_piece(&mut self.pieces, key, &self.jobs[key], offset, len);
        let whole = self.gather(piece);
        if !self.take_buffers(piece, whole) {
            self.scatter_back(piece);
            self.pieces[piece].end();
            self.pieces.remove(piece);
            return Start::NoPages;
        }
        self.charge(key, self.pieces[piece].len, now);
        self.account_start(piece, len);
        self.start_reading(piece);
        Start::Progress
    }

    /// The next piece of a job as configured, before pages are looked for.
    fn next_piece(&self, key: JobKey) -> Option<(u64, u32)> {
        let job = &self.jobs[key];
        if !job.has_more() {
            return None;
        }
        let mut cut = job.ticket.cut;
        if let Some(throttle) = &self.config.throttle {
            let even = throttle.even_piece().max(64 << 10).min(u64::from(cut.max));
            let even = u32::try_from(even).unwrap_or(cut.max);
            cut.max = (even - even % cut.granule).max(cut.granule);
        }
        if job.job.kind == JobKind::Zero && self.zero_is_proven(job) {
            cut.max = MAX_ZERO.max(cut.max);
        }
        cut.piece(job.taken)
    }

    /// Whether nothing but ranges travels: zeroing without data is known to work, or the job
    /// discards.
    fn zero_is_proven(&self, job: &JobState) -> bool {
        if job.job.flags.contains(Flags::DISCARD) {
            return true;
        }
        let punch = job.job.flags.contains(Flags::PUNCH_HOLES);
        job.targets.iter().all(|target| self.devices.get(target.slot).zero_is_proven(punch))
    }

    /// Zero jobs hold no pages, so they are held to the same bytes on their way as others; and one
    /// piece goes ahead to find out whether zeroing without data works.
    fn must_wait_for_own_pieces(&self, key: JobKey) -> bool {
        let job = &self.jobs[key];
        if job.job.kind != JobKind::Zero || job.pieces == 0 {
            return false;
        }
        let punch = job.job.flags.contains(Flags::PUNCH_HOLES);
        let refused = |target: &Target| self.devices.get(target.slot).zero_method(punch).is_none();
        if self.zero_is_proven(job) || job.targets.iter().all(refused) {
            let on_their_way = u64::from(job.pieces) * u64::from(job.ticket.cut.max);
            return on_their_way >= self.pool.bytes().max(u64::from(job.ticket.cut.max));
        }
        true
    }

    /// A zero job keeps pages of zeros for destinations that cannot zero without data.
    fn ensure_zeros(&mut self, key: JobKey) -> bool {
        let job = &self.jobs[key];
        let has_zeros = job.rare.as_ref().is_some_and(|rare| rare.zeros.is_some());
        if job.job.kind != JobKind::Zero || has_zeros || job.job.flags.contains(Flags::DISCARD) {
            return true;
        }
        let bytes = job.ticket.cut.len.min(u64::from(job.ticket.cut.max));
        let pages = u32::try_from(bytes).map_or(1, pages_for);
        let Some(mut zeros) = self.pool.take(pages) else { return false };
        zeros.fill(0);
        self.jobs[key].rare().zeros = Some(zeros.into_shared());
        self.zero_holders += 1;
        true
    }

    /// The pages for a piece of `len` bytes: as many buffers as the job has. A job with one buffer
    /// also takes a run that is up to half shorter.
    fn take_buffers(&mut self, key: PieceKey, len: u32) -> bool {
        let piece = &mut self.pieces[key];
        let ticket = &self.jobs[piece.job].ticket;
        let (count, pages) = (usize::from(ticket.buffers), pages_for(len));
        while piece.buffers.len() < count {
            let Some(run) = self.pool.take(pages) else { break };
            piece.buffers.push(Some(run));
        }
        if piece.buffers.len() == count {
            piece.len = len;
            return true;
        }
        piece.buffers.clear();
        if count != 1 || !piece.merged.is_empty() || pages <= SMALL_PAGES {
            return false;
        }
        let run = self.pool.longest_run(pages);
        let granule = ticket.cut.granule;
        let shorter = run * page_size() / granule * granule;
        if run < pages.div_ceil(2) || shorter == 0 || shorter >= len {
            return false;
        }
        let Some(run) = self.pool.take(pages_for(shorter)) else { return false };
        piece.buffers.push(Some(run));
        // It keeps the edge that is next to what was cut before.
        if ticket.cut.direction == Direction::Backward {
            piece.offset += u64::from(len - shorter);
        }
        piece.len = shorter;
        true
    }

    fn charge(&self, key: JobKey, len: u32, now: Time) {
        let Some(throttle) = &self.config.throttle else { return };
        let job = &self.jobs[key];
        let sides = match job.job.kind {
            JobKind::Zero if self.zero_is_proven(job) => 0,
            JobKind::Zero | JobKind::Copy => 1,
            JobKind::Compare => 1 + job.targets.len(),
            JobKind::Stripe => job.sources.len().max(1),
        };
        throttle.take(u64::from(len) * sides as u64, now);
    }

    /// Counts the piece with its jobs, and puts the first one back in line if it has more.
    fn account_start(&mut self, piece: PieceKey, len: u32) {
        let key = self.pieces[piece].job;
        let own = len.min(self.pieces[piece].len);
        let job = &mut self.jobs[key];
        job.taken += u64::from(own);
        job.pieces += 1;
        if job.gate != Gate::Open {
            job.rare().order.push(piece);
        }
        job.queued = job.has_more();
        job.turn += u64::from(own);
        let (queued, line) = (job.queued, job.line());
        let goes_on = job.turn < QUANTUM;
        if !goes_on {
            job.turn = 0;
        }
        match (queued, goes_on) {
            (true, true) => self.queue.push_front(key, line),
            (true, false) => self.queue.push_back(key, line),
            (false, _) => {}
        }
        for index in 0..self.pieces[piece].merged.len() {
            let other = self.pieces[piece].merged[index];
            let job = &mut self.jobs[other];
            job.taken = job.ticket.cut.len;
            job.pieces = 1;
            self.stats.jobs_merged += 1;
        }
    }

    /// Takes jobs at the front of the queue that continue the piece's on every side along with it;
    /// the length of all.
    fn gather(&mut self, piece: PieceKey) -> u32 {
        let (key, mut whole) = (self.pieces[piece].job, self.pieces[piece].len);
        let first = &self.jobs[key];
        let priority = first.job.priority;
        let Some(mut next) = self.queue.front(priority) else { return whole };
        let limit = MIN_MERGE.max(self.queue.short_jobs(priority) / 4);
        let max = first.ticket.cut.max;
        loop {
            let longer = whole.saturating_add(self.jobs[next].short_len());
            let count = self.pieces[piece].merged.len();
            if count + 1 >= limit
                || longer > max
                || !continues(&self.jobs[key], &self.jobs[next], whole)
            {
                return whole;
            }
            self.leave_short_way(next, None);
            self.pieces[piece].merged.push(next);
            whole = longer;
            self.queue.pop_front(priority);
            self.jobs[next].queued = false;
            let Some(front) = self.queue.front(priority) else { return whole };
            next = front;
        }
    }

    /// Puts the jobs that travelled along back at the front of the queue, in their order.
    pub(super) fn scatter_back(&mut self, piece: PieceKey) {
        while let Some(key) = self.pieces[piece].merged.pop() {
            let job = &mut self.jobs[key];
            job.queued = true;
            let line = job.line();
            self.queue.push_front(key, line);
        }
    }

    fn start_reading(&mut self, key: PieceKey) {
        let piece = &mut self.pieces[key];
        let job = &self.jobs[piece.job];
        let lanes = match job.job.kind {
            JobKind::Copy | JobKind::Stripe => job.sources.len(),
            JobKind::Compare => 1 + job.targets.len(),
            JobKind::Zero => 0,
        };
        for _ in 0..lanes {
            piece.lanes.push(Lane::new(piece.len));
        }
        piece.open_lanes = lanes;
        if lanes == 0 {
            self.all_read(key);
        }
        for lane in 0..lanes {
            self.read_more(key, lane);
        }
    }
}

/// A piece of `job` with nothing in it yet.
pub(super) fn new_piece<'a>(
    pieces: &'a mut Table<Piece>,
    key: JobKey,
    job: &JobState,
    offset: u64,
    len: u32,
) -> (PieceKey, &'a mut Piece) {
    let span = tracing::trace_span!(parent: job.span(), "piece", offset, len);
    let (piece, state) = pieces.insert();
    state.begin(key, offset, len, span);
    (piece, state)
}

fn page_size() -> u32 {
    u32::try_from(PAGE_SIZE).unwrap_or(4096)
}

pub(super) fn pages_for(len: u32) -> u32 {
    len.div_ceil(page_size())
}

/// Pages that the next piece of a job asks for, about.
fn pages_of_piece(job: &JobState) -> u32 {
    let left = job.ticket.cut.len - job.taken;
    let len = u32::try_from(left).unwrap_or(u32::MAX).min(job.ticket.cut.max);
    pages_for(len).saturating_mul(u32::from(job.ticket.buffers.max(1)))
}

/// Whether `other` may travel with `first`: it begins where `first`, `whole` bytes long by now, ends,
/// on every side; both ask for the same; and the run of both does not overlap itself.
pub(super) fn continues(first: &JobState, other: &JobState, whole: u32) -> bool {
    let follows = |a: &Extent, b: &Extent| {
        a.offset.saturating_add(u64::from(whole)) == b.offset && a.device.id() == b.device.id()
    };
    let (a, b) = (&first.job, &other.job);
    let (Some(source), Some(other_source)) = (a.sources.first(), b.sources.first()) else {
        return false;
    };
    if !follows(source, other_source)
        || !first.may_merge()
        || !other.may_merge()
        || a.flags != b.flags
        || a.on_error != b.on_error
        || !CancelToken::are_same(a.cancel.as_ref(), b.cancel.as_ref())
        || a.destinations.len() != b.destinations.len()
    {
        return false;
    }
    let len = u64::from(whole).saturating_add(other.ticket.cut.len);
    let source = Extent { len, ..source.clone() };
    a.destinations.iter().zip(&b.destinations).all(|(a, b)| {
        let run = Extent { len, ..a.extent.clone() };
        follows(&a.extent, &b.extent) && !run.overlaps(&source)
    })
}
