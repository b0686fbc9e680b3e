//! The short way of plain jobs.
//!
//! Most jobs are *plain*: a small copy that is one piece, nothing computed, nothing gated. Most
//! operations do all that they were asked to. Where both is so, a job needs none of what the
//! general way keeps: no piece, no lanes, no list of what became of its destinations. All that is
//! known of it fits in a [`Short`], and it goes from start to read to write to end in this file.
//!
//! Whatever is not as usual (a short result, an error, a cancelled job, adjacent jobs, no pages) is
//! no business of the short way: [`Engine::leave_short_way`] makes of the job, and of its operations
//! in flight, what the general functions would have made by then, and they go on. It can be called
//! at any step, and a job that left does not come back.

use super::devices::Devices;
use super::dispatch::{SMALL_PAGES, continues, new_piece, pages_for};
use super::lane::Lane;
use super::queue::JobKey;
use super::state::{Due, InFlight, JobState, Phase, PieceKey, Role, Target};
use super::{Config, Engine, Mutation};
use crate::backend::{Op, OpId, Slot, Window};
use crate::door::Ticket;
use crate::errno::Errno;
use crate::job::{Flags, Job, JobKind};
use crate::mem::{Pages, SharedPages};
use crate::outcome::{DestinationOutcome, Outcome};

/// What a plain job may ask for.
const PLAIN_FLAGS: Flags = Flags::FLUSH.union(Flags::NO_ISOLATION).union(Flags::REFUSE_OVERLAP);

/// The most destinations of a job on the short way.
const MAX_TARGETS: usize = 3;

/// Where a job on the short way stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub(super) enum Stage {
    /// Not on the short way, or not any more.
    #[default]
    General,
    /// Its turn has not come.
    Waiting,
    Reading,
    Writing,
}

/// All that the short way keeps of a job.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Short {
    pub(super) stage: Stage,
    /// Writes that have not ended.
    writes: u8,
    /// Of the source, then of each destination.
    slots: [Slot; 1 + MAX_TARGETS],
}

impl Short {
    /// The slots of a job with so many destinations.
    fn slots(&self, destinations: usize) -> &[Slot] {
        &self.slots[..1 + destinations]
    }
}

impl JobState {
    /// Whether the job may travel with adjacent ones in one piece: plain, and so small that it pays.
    pub(super) fn may_merge(&self) -> bool {
        let cut = &self.ticket.cut;
        self.plain
            && !self.alone
            && self.taken == 0
            && cut.len <= u64::from(cut.max / 2)
            && cut.len & (u64::from(cut.granule) - 1) == 0
    }

    /// Whether it is on the short way.
    pub(super) fn is_short(&self) -> bool {
        self.short.stage != Stage::General
    }
}

/// Whether a job is plain.
pub(super) fn is_plain(job: &Job, ticket: &Ticket) -> bool {
    let cut = &ticket.cut;
    job.kind == JobKind::Copy
        && job.transform.is_none()
        && PLAIN_FLAGS.contains(job.flags)
        && !ticket.overlap
        && cut.piece(0).is_some_and(|(_, len)| u64::from(len) == cut.len)
}

/// Whether a job may take the short way, as far as the job itself goes. One that somebody traces may
/// not.
#[inline(always)]
pub(super) fn fits_short_way(job: &Job, ticket: &Ticket) -> bool {
    let cancelled = job.cancel.as_ref().is_some_and(|token| token.is_cancelled());
    is_plain(job, ticket)
        && job.destinations.len() <= MAX_TARGETS
        && !cancelled
        && !tracing::enabled!(tracing::Level::DEBUG)
}

/// Whether an engine of this configuration has a short way.
pub(super) fn has_short_way(config: &Config) -> bool {
    config.throttle.is_none() && !config.breaks(Mutation::FlushBeforeWrites)
}

impl Short {
    /// A job whose turn has not come; `None` (and no device entered) if there are too many devices.
    pub(super) fn enter(
        job: &Job,
        devices: &mut Devices,
        mut list: impl FnMut(&crate::Device) -> Option<usize>,
    ) -> Option<Self> {
        let mut short = Self { stage: Stage::Waiting, ..Self::default() };
        let source = &job.sources.first()?.device;
        short.slots[0] = devices.enter(source, || list(source))?;
        for (index, to) in job.destinations.iter().enumerate() {
            let device = &to.extent.device;
            let Some(slot) = devices.enter(device, || list(device)) else {
                short.slots[..=index].iter().for_each(|slot| devices.leave(*slot));
                return None;
            };
            short.slots[1 + index] = slot;
        }
        Some(short)
    }
}

/// How an attempt to start a job on the short way went.
#[derive(Debug)]
pub(super) enum ShortStart {
    /// It is read.
    Started(OpId, Op),
    /// The pool has no pages for it now.
    NoPages,
    /// It has to go the general way, and nothing was done.
    General,
}

impl Engine {
    /// Starts a job whose turn it is.
    #[inline(always)]
    pub(super) fn start_short(&mut self, key: JobKey) -> ShortStart {
        let Self { jobs, queue, pool, ops, .. } = self;
        let job = &jobs[key];
        if job.short.stage != Stage::Waiting {
            return ShortStart::General;
        }
        let len = job.short_len();
        let next = queue.front(job.job.priority);
        if next.is_some_and(|next| continues(job, &jobs[next], len)) {
            return ShortStart::General;
        }
        let pages = pages_for(len);
        let Some(pages) = pool.take(pages) else {
            // A long piece may do with less.
            return if pages > SMALL_PAGES { ShortStart::General } else { ShortStart::NoPages };
        };
        let job = &mut jobs[key];
        job.taken = u64::from(len);
        job.pieces = 1;
        job.queued = false;
        job.short.stage = Stage::Reading;
        let (device, offset) = (job.short.slots[0], job.job.sources[0].offset);
        let op = Op::Read { device, offset, pages, window: Window { start: 0, len } };
        self.short_pieces += 1;
        let (id, op) = ops.name(Role::ShortRead { job: key }, op);
        ShortStart::Started(id, op)
    }

    /// A job was read: it is written to every destination. The operations alone hold the pages.
    pub(super) fn short_read_ended(
        &mut self,
        key: JobKey,
        op: InFlight,
        result: Result<u32, Errno>,
        pages: Pages,
    ) {
        if result != Ok(op.asked) {
            let piece = self.piece_of_short(key, 0);
            self.read_ended(piece, 0, op, result, pages);
            return;
        }
        self.count_read(op.slot, op.asked);
        let Self { jobs, ops, .. } = self;
        let job = &mut jobs[key];
        let destinations = &job.job.destinations[..];
        job.short.stage = Stage::Writing;
        let window = Window { start: 0, len: op.asked };
        let mut pages = Some(pages.into_shared());
        let slots = job.short.slots[1..].iter().zip(destinations);
        for (lane, (device, to)) in slots.enumerate() {
            let last = lane + 1 == destinations.len();
            let pages = if last { pages.take() } else { pages.clone() };
            let Some(pages) = pages else { return };
            let op = Op::Write { device: *device, offset: to.extent.offset, pages, window };
            ops.emit(Role::ShortWrite { job: key, lane }, op);
            job.short.writes += 1;
        }
    }

    /// A job is on one of its destinations; on the last one, it ends.
    pub(super) fn short_write_ended(
        &mut self,
        key: JobKey,
        lane: usize,
        op: InFlight,
        result: Result<u32, Errno>,
        pages: SharedPages,
    ) {
        if result != Ok(op.asked) {
            let piece = self.piece_of_short(key, lane);
            self.write_ended(piece, lane, op, result, pages);
            return;
        }
        drop(pages);
        self.count_written(op.slot, op.asked);
        let job = &mut self.jobs[key];
        job.short.writes -= 1;
        if job.short.writes > 0 {
            return;
        }
        job.pieces = 0;
        self.short_pieces -= 1;
        if job.job.flags.contains(Flags::FLUSH) {
            job.short.stage = Stage::Waiting;
            self.leave_short_way(key, None);
            self.end_if_done(key);
            return;
        }
        job.ended = true;
        for slot in job.short.slots(job.job.destinations.len()) {
            self.devices.leave(*slot);
        }
        self.finished.push_back(Due::Job(key));
    }

    /// Takes a job off the short way whose operation for `lane` just ended not as usual.
    #[cold]
    fn piece_of_short(&mut self, key: JobKey, lane: usize) -> PieceKey {
        self.leave_short_way(key, Some(lane)).expect("a job that has an operation has a piece")
    }

    /// Takes a job off the short way, if it is there: from here on, it, its piece (if it has one) and
    /// its operations in flight are as the general functions would have made them. `ended` is the
    /// lane of an operation that is in flight no more and not accounted for.
    #[cold]
    pub(super) fn leave_short_way(
        &mut self,
        key: JobKey,
        ended: Option<usize>,
    ) -> Option<PieceKey> {
        let Self { jobs, pieces, ops, .. } = self;
        let job = &mut jobs[key];
        let Short { stage, slots, .. } = std::mem::take(&mut job.short);
        if stage == Stage::General {
            return None;
        }
        let count = job.job.destinations.len();
        job.sources.push(slots[0]);
        job.targets.reserve_exact(count);
        job.targets.extend(slots[1..=count].iter().map(|slot| Target::new(*slot)));
        if stage == Stage::Waiting {
            return None;
        }
        self.short_pieces -= 1;
        let (key_of_piece, piece) = new_piece(pieces, key, job, 0, job.short_len());
        piece.lent = true;
        if stage == Stage::Reading {
            piece.buffers.push(None);
            piece.lanes.push(Lane::ended(piece.len));
        } else {
            piece.phase = Phase::Writing;
            piece.lanes.extend((0..count).map(|_| Lane::ended(piece.len)));
        }
        let in_flight = ops.adopt(key, key_of_piece);
        for lane in in_flight.into_iter().chain(ended) {
            piece.lanes[lane] = Lane::new(piece.len);
            piece.open_lanes += 1;
        }
        Some(key_of_piece)
    }

    /// Takes every job off the short way that has not ended.
    pub(super) fn close_short_way(&mut self) {
        let is_short = |(_, job): &(JobKey, &JobState)| job.is_short() && !job.ended;
        let keys: Vec<JobKey> = self.jobs.iter().filter(is_short).map(|(key, _)| key).collect();
        for key in keys {
            self.leave_short_way(key, None);
        }
    }
}

/// What became of a job that ended on the short way, into a fresh outcome.
pub(super) fn write_short_outcome(job: &JobState, outcome: &mut Outcome) {
    for _ in &job.job.destinations {
        let written = 0..job.ticket.cut.len;
        outcome.destinations.push(DestinationOutcome { written, ..DestinationOutcome::default() });
    }
}
