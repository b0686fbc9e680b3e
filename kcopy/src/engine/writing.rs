//! The writing half of a piece: one lane per destination, all at once.

use super::devices::Support;
use super::lane::AfterError;
use super::ranges::add_bad_range;
use super::reading::is_hopeless;
use super::state::{Gate, InFlight, Phase, PieceKey, Role};
use super::{Engine, Mutation};
use crate::backend::{Op, Slot, Window, ZeroMethod};
use crate::errno::Errno;
use crate::job::{Flags, JobKind, OnError};
use crate::mem::SharedPages;
use crate::outcome::{Fault, FaultKind};
use crate::units::Sector;

impl Engine {
    /// Issues the writes of a piece, to every destination that was not given up.
    pub(super) fn start_writing(&mut self, key: PieceKey) {
        self.pieces[key].phase = Phase::Writing;
        if self.config.breaks(Mutation::FlushBeforeWrites) {
            self.flush_too_early(key);
        }
        let count = self.lanes_for_writing(key);
        if count == 0 {
            self.end_piece(key);
            return;
        }
        for lane in 0..count {
            let piece = &self.pieces[key];
            let (from, to) = (piece.offset, piece.offset + u64::from(piece.len));
            let target = &mut self.jobs[piece.job].targets[lane];
            if target.detached {
                target.leave_out(from, to);
                self.end_write_lane(key, lane);
            } else {
                self.write_more(key, lane);
            }
        }
    }

    /// Issues the next write of a lane, or ends it.
    fn write_more(&mut self, key: PieceKey, lane: usize) {
        loop {
            let piece = &mut self.pieces[key];
            let Some((start, len)) = piece.lanes[lane].next(piece.len) else {
                self.end_write_lane(key, lane);
                return;
            };
            let job = &self.jobs[piece.job];
            let segment = piece.segment(start);
            let window = Window { start, len: len.min(segment.end - start) };
            let zero = segment.zero || job.job.kind == JobKind::Zero;
            if zero && job.job.flags.contains(Flags::DESTINATION_IS_ZERO) {
                piece.lanes[lane].whole(window.len);
                continue;
            }
            let (role, op) = self.next_write(key, lane, window, zero);
            self.ops.emit(role, op);
            return;
        }
    }

    /// The operation that puts `window` of a piece on a destination.
    fn next_write(&self, piece: PieceKey, lane: usize, window: Window, zero: bool) -> (Role, Op) {
        let state = &self.pieces[piece];
        let job = &self.jobs[state.job];
        let (device, to) = (job.targets[lane].slot, &job.job.destinations[lane]);
        let offset = to.extent.offset + state.offset + u64::from(window.start);
        let len = u64::from(window.len);
        let flags = job.job.flags;
        if flags.contains(Flags::DISCARD) {
            return (Role::Discard { piece, lane }, Op::Discard { device, offset, len });
        }
        let punch = flags.contains(Flags::PUNCH_HOLES);
        let method = self.devices.get(device).zero_method(punch).filter(|_| zero);
        if let Some(method) = method {
            let op = Op::Zero { device, offset, len, method };
            return (Role::Zero { piece, lane, method }, op);
        }
        let (pages, window) = match job.rare.as_ref().and_then(|rare| rare.zeros.as_ref()) {
            Some(zeros) => {
                let most = u32::try_from(zeros.size()).unwrap_or(u32::MAX);
                (zeros.clone(), Window { start: 0, len: window.len.min(most) })
            }
            None => (state.shared[usize::from(to.buffer)].clone(), window),
        };
        (Role::Write { piece, lane }, Op::Write { device, offset, pages, window })
    }

    pub(super) fn discard_ended(
        &mut self,
        key: PieceKey,
        lane: usize,
        op: InFlight,
        result: Result<u32, Errno>,
    ) {
        match result {
            Ok(_) => {
                self.stats.bytes_discarded += u64::from(op.asked);
                self.pieces[key].lanes[lane].whole(op.asked);
                self.go_on_writing(key, lane);
            }
            Err(errno) => self.write_failed(key, lane, op.asked, errno),
        }
    }

    pub(super) fn write_ended(
        &mut self,
        key: PieceKey,
        lane: usize,
        op: InFlight,
        result: Result<u32, Errno>,
        pages: SharedPages,
    ) {
        let piece = &mut self.pieces[key];
        if piece.lent && piece.shared.is_empty() {
            piece.shared.push(pages);
        }
        match result {
            Ok(0) => self.write_failed(key, lane, op.asked, Errno::IO),
            Ok(count) => {
                let count = count.min(op.asked);
                self.count_written(op.slot, count);
                let granule = self.jobs[self.pieces[key].job].ticket.cut.granule;
                let state = &mut self.pieces[key].lanes[lane];
                if count == op.asked {
                    state.whole(count);
                } else {
                    self.stats.short_operations += 1;
                    if !state.short(count, granule) {
                        self.write_failed(key, lane, op.asked - count, Errno::IO);
                        return;
                    }
                }
                self.go_on_writing(key, lane);
            }
            Err(errno) => self.write_failed(key, lane, op.asked, errno),
        }
    }

    pub(super) fn zero_ended(
        &mut self,
        key: PieceKey,
        lane: usize,
        op: InFlight,
        method: ZeroMethod,
        result: Result<u32, Errno>,
    ) {
        match result {
            Ok(_) => {
                self.devices.get_mut(op.slot).learn(method, Support::Proven);
                self.stats.bytes_zeroed += u64::from(op.asked);
                if let Some(place) = self.devices.get(op.slot).stats {
                    self.stats.devices[place].bytes_zeroed += u64::from(op.asked);
                }
                self.pieces[key].lanes[lane].whole(op.asked);
                self.go_on_writing(key, lane);
            }
            // Not a failure of the device: the next way is tried, data in the end.
            Err(errno) if is_refusal(errno) => {
                self.devices.get_mut(op.slot).learn(method, Support::Refused);
                self.go_on_writing(key, lane);
            }
            Err(errno) => self.write_failed(key, lane, op.asked, errno),
        }
    }

    fn go_on_writing(&mut self, key: PieceKey, lane: usize) {
        let piece = &self.pieces[key];
        let finished = piece.lanes[lane].next(piece.len).is_none();
        if self.jobs[piece.job].cancelled && !finished {
            self.drop_write_lane(key, lane);
        } else if piece.scatter {
            self.end_write_lane(key, lane);
        } else {
            self.write_more(key, lane);
        }
    }

    /// `asked` bytes at the lane's position could not be written.
    fn write_failed(&mut self, key: PieceKey, lane: usize, asked: u32, errno: Errno) {
        let piece = &mut self.pieces[key];
        if !piece.merged.is_empty() {
            piece.scatter = true;
            self.end_write_lane(key, lane);
            return;
        }
        let job = &self.jobs[piece.job];
        let isolate =
            !job.job.flags.contains(Flags::NO_ISOLATION) && !is_hopeless(errno) && !job.cancelled;
        if isolate && piece.lanes[lane].failed(asked, job.ticket.block) == AfterError::Narrow {
            self.stats.retries += 1;
            self.write_more(key, lane);
            return;
        }
        self.record_unwritten(key, lane, asked, errno);
    }

    /// Keeps the books on `bad` bytes that could not be written, and goes on or gives up.
    fn record_unwritten(&mut self, key: PieceKey, lane: usize, bad: u32, errno: Errno) {
        let piece = &mut self.pieces[key];
        let job = &mut self.jobs[piece.job];
        let bad = bad.min(piece.len - piece.lanes[lane].done);
        let at = piece.offset + u64::from(piece.lanes[lane].done);
        let end_of_piece = piece.offset + u64::from(piece.len);
        let sector = Sector::containing(job.job.destinations[lane].extent.offset + at);
        let target = &mut job.targets[lane];
        let fault = Fault { kind: FaultKind::Device, errno, sector };
        tracing::debug!(parent: piece.span(), lane, %fault, "could not be written");
        target.record(fault, at);
        let on_error = job.job.on_error;
        if on_error == OnError::Continue {
            target.leave_out(at, at + u64::from(bad));
            add_bad_range(&mut job.rare().unwritten, lane, at..at + u64::from(bad));
            piece.lanes[lane].skip(bad);
            self.go_on_writing(key, lane);
            return;
        }
        target.leave_out(at, end_of_piece);
        let owner = piece.job;
        if on_error == OnError::Detach {
            target.detached = true;
        }
        if on_error == OnError::Stop || job.all_detached() {
            self.halt(owner);
        }
        self.end_write_lane(key, lane);
    }

    /// The backend broke: nothing is known of what the lane still had to write.
    pub(super) fn write_lost(&mut self, key: PieceKey, lane: usize, errno: Errno) {
        let piece = &self.pieces[key];
        let at = u64::from(piece.lanes[lane].done);
        let merged = !piece.merged.is_empty();
        let mut jobs = vec![piece.job];
        jobs.extend(&piece.merged);
        let (from, to) = (piece.offset + at, piece.offset + u64::from(piece.len));
        for key in jobs {
            let job = &mut self.jobs[key];
            let sector = Sector::containing(job.job.destinations[lane].extent.offset + from);
            let target = &mut job.targets[lane];
            target.record(Fault { kind: FaultKind::Device, errno, sector }, from);
            // Of merged jobs, none surely got there.
            target.leave_out(if merged { 0 } else { from }, to);
        }
        self.end_write_lane(key, lane);
    }

    /// A lane of a cancelled job: what it did not write is a gap.
    pub(super) fn drop_write_lane(&mut self, key: PieceKey, lane: usize) {
        let piece = &self.pieces[key];
        let from = piece.offset + u64::from(piece.lanes[lane].done);
        let to = piece.offset + u64::from(piece.len);
        self.jobs[piece.job].targets[lane].leave_out(from, to);
        // Jobs that travel together are cancelled together, and none of the others surely got there.
        for other in &piece.merged {
            let job = &mut self.jobs[*other];
            let len = job.ticket.cut.len;
            job.targets[lane].leave_out(0, len);
        }
        self.end_write_lane(key, lane);
    }

    fn end_write_lane(&mut self, key: PieceKey, lane: usize) {
        let piece = &mut self.pieces[key];
        if !piece.lanes[lane].open {
            return;
        }
        piece.lanes[lane].open = false;
        piece.open_lanes -= 1;
        if piece.open_lanes > 0 {
            return;
        }
        if piece.scatter { self.scatter(key) } else { self.end_piece(key) }
    }

    /// Starts the writes that a gated job's pieces may issue now.
    pub(super) fn open_gate(&mut self, job: usize) {
        if self.jobs[job].halted {
            return;
        }
        match self.jobs[job].gate {
            Gate::Open => {}
            Gate::AfterWrites => {
                let first = self.jobs[job].order().first().copied();
                if let Some(first) = first.filter(|key| self.pieces[*key].phase == Phase::Held) {
                    self.start_writing(first);
                }
            }
            Gate::AfterReads => {
                // A piece that ends meanwhile takes itself out of the order.
                while let Some(key) = self.first_held(job) {
                    self.start_writing(key);
                }
            }
        }
    }

    /// The first held piece, if all pieces before it have been read.
    fn first_held(&self, job: usize) -> Option<PieceKey> {
        let order = self.jobs[job].order();
        let first = order.iter().find(|key| self.pieces[**key].phase != Phase::Writing)?;
        (self.pieces[*first].phase == Phase::Held).then_some(*first)
    }

    pub(super) fn count_written(&mut self, slot: Slot, bytes: u32) {
        self.stats.bytes_written += u64::from(bytes);
        if let Some(place) = self.devices.get(slot).stats {
            self.stats.devices[place].bytes_written += u64::from(bytes);
        }
    }

    /// The broken rule of [`Mutation::FlushBeforeWrites`].
    pub(super) fn flush_too_early(&mut self, key: PieceKey) {
        let job = self.pieces[key].job;
        if self.jobs[job].job.flags.contains(Flags::FLUSH) && !self.jobs[job].has_more() {
            self.start_flushes(job);
        }
    }
}

/// Whether an error means that the operation is not to be had here, not that the device failed.
fn is_refusal(errno: Errno) -> bool {
    matches!(
        errno.raw(),
        libc::EOPNOTSUPP
            | libc::EINVAL
            | libc::ENOSYS
            | libc::ENOTTY
            | libc::EPERM
            | libc::EREMOTEIO
    )
}
