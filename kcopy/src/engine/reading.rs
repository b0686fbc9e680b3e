//! The reading half of a piece, up to the point where everything it needs is in its pages.

use super::Engine;
use super::lane::{AfterError, Lane};
use super::ranges::{add_bad_range, add_range};
use super::state::{Gate, InFlight, Phase, PieceKey, Role, Segment};
use crate::backend::{Op, Slot, Window};
use crate::errno::Errno;
use crate::job::{Flags, JobKind, OnError};
use crate::mem::Pages;
use crate::outcome::{Fault, FaultKind};
use crate::region::Extent;
use crate::units::{PAGE_SIZE, SECTOR_SIZE, Sector};

/// Errors that smaller operations cannot get around: the device is gone, or never will.
pub(super) fn is_hopeless(errno: Errno) -> bool {
    matches!(
        errno.raw(),
        libc::ENODEV
            | libc::ENXIO
            | libc::EBADF
            | libc::EROFS
            | libc::EPERM
            | libc::EACCES
            | libc::ETIMEDOUT
            | libc::ENOMEDIUM
            | libc::EFBIG
            | libc::EOPNOTSUPP
    )
}

impl Engine {
    /// Issues the next read of a lane, or ends it.
    pub(super) fn read_more(&mut self, key: PieceKey, lane: usize) {
        let piece = &mut self.pieces[key];
        let Some((start, len)) = piece.lanes[lane].next(piece.len) else {
            self.end_read_lane(key, lane);
            return;
        };
        let pages = piece.buffers[lane].take().expect("a lane's pages are at home between reads");
        let (slot, base) = self.read_side(key, lane);
        let offset = base + u64::from(start);
        let op = Op::Read { device: slot, offset, pages, window: Window { start, len } };
        self.ops.emit(Role::Read { piece: key, lane }, op);
    }

    /// The device a lane reads from, and the byte on it where the piece begins.
    fn read_side(&self, key: PieceKey, lane: usize) -> (Slot, u64) {
        let piece = &self.pieces[key];
        let job = &self.jobs[piece.job];
        let (slot, extent): (Slot, &Extent) = match job.sources.get(lane) {
            Some(slot) => (*slot, &job.job.sources[lane]),
            None => {
                let index = lane - job.sources.len();
                (job.targets[index].slot, &job.job.destinations[index].extent)
            }
        };
        (slot, extent.offset + piece.offset)
    }

    pub(super) fn read_ended(
        &mut self,
        key: PieceKey,
        lane: usize,
        op: InFlight,
        result: Result<u32, Errno>,
        pages: Pages,
    ) {
        self.pieces[key].buffers[lane] = Some(pages);
        match result {
            Ok(0) => self.read_failed(key, lane, op.asked, FaultKind::EndOfDevice, Errno::IO),
            Ok(count) => {
                let count = count.min(op.asked);
                self.count_read(op.slot, count);
                let granule = self.jobs[self.pieces[key].job].ticket.cut.granule;
                let state = &mut self.pieces[key].lanes[lane];
                if count == op.asked {
                    state.whole(count);
                } else {
                    self.stats.short_operations += 1;
                    if !state.short(count, granule) {
                        self.read_failed(key, lane, op.asked - count, FaultKind::Device, Errno::IO);
                        return;
                    }
                }
                self.go_on_reading(key, lane);
            }
            Err(errno) => self.read_failed(key, lane, op.asked, FaultKind::Device, errno),
        }
    }

    /// Reads on, unless nobody wants the piece any more.
    fn go_on_reading(&mut self, key: PieceKey, lane: usize) {
        let piece = &self.pieces[key];
        if self.jobs[piece.job].cancelled || piece.scatter {
            self.end_read_lane(key, lane);
        } else {
            self.read_more(key, lane);
        }
    }

    /// `asked` bytes at the lane's position could not be read.
    fn read_failed(
        &mut self,
        key: PieceKey,
        lane: usize,
        asked: u32,
        kind: FaultKind,
        errno: Errno,
    ) {
        let piece = &mut self.pieces[key];
        if !piece.merged.is_empty() {
            piece.scatter = true;
            self.end_read_lane(key, lane);
            return;
        }
        let job = &self.jobs[piece.job];
        let at_end = kind == FaultKind::EndOfDevice;
        let isolate = !job.job.flags.contains(Flags::NO_ISOLATION)
            && !at_end
            && !is_hopeless(errno)
            && !job.cancelled;
        if isolate && piece.lanes[lane].failed(asked, job.ticket.block) == AfterError::Narrow {
            self.stats.retries += 1;
            self.read_more(key, lane);
            return;
        }
        // Behind the end of a device there is nothing: the rest of the piece is bad.
        let rest = piece.len - piece.lanes[lane].done;
        let bad = if at_end { rest } else { asked.min(rest) };
        self.record_unread(key, lane, bad, kind, errno);
    }

    /// Keeps the books on `bad` bytes that could not be read, and goes on or gives up.
    fn record_unread(
        &mut self,
        key: PieceKey,
        lane: usize,
        bad: u32,
        kind: FaultKind,
        errno: Errno,
    ) {
        let (_, base) = self.read_side(key, lane);
        let piece = &mut self.pieces[key];
        let from = piece.lanes[lane].done;
        let sector = Sector::containing(base + u64::from(from));
        let fault = Fault { kind, errno, sector };
        tracing::debug!(parent: piece.span(), lane, %fault, "could not be read");
        let at = piece.offset + u64::from(from);
        let range = at..at + u64::from(bad);
        let job = &mut self.jobs[piece.job];
        let goes_on = job.job.on_error == OnError::Continue;
        match lane.checked_sub(job.sources.len()) {
            None => {
                job.record_read(lane, fault, at);
                if goes_on {
                    add_bad_range(&mut job.rare().unreadable, (), range);
                }
            }
            Some(index) => {
                job.targets[index].record(fault, at);
                add_bad_range(&mut job.rare().unwritten, index, range);
            }
        }
        if goes_on {
            let window = Window { start: from, len: bad }.range();
            let pages = piece.buffers[lane].as_mut().expect("the read gave its pages back");
            pages[window].fill(0);
            piece.lanes[lane].skip(bad);
            self.go_on_reading(key, lane);
        } else {
            piece.spoiled = true;
            self.end_read_lane(key, lane);
        }
    }

    /// The backend broke: the lane's pages are lost.
    pub(super) fn read_lost(&mut self, key: PieceKey, lane: usize, errno: Errno) {
        let (_, base) = self.read_side(key, lane);
        let piece = &mut self.pieces[key];
        piece.spoiled = true;
        let at = piece.offset + u64::from(piece.lanes[lane].done);
        let sector = Sector::containing(base + u64::from(piece.lanes[lane].done));
        let fault = Fault { kind: FaultKind::Device, errno, sector };
        let jobs = std::iter::once(piece.job).chain(piece.merged.iter().copied());
        for job in jobs {
            self.jobs[job].record_read(lane, fault, at);
        }
        self.end_read_lane(key, lane);
    }

    /// A read that was decided on and taken back before it was issued.
    pub(super) fn drop_read_lane(&mut self, key: PieceKey, lane: usize) {
        self.pieces[key].spoiled = true;
        self.end_read_lane(key, lane);
    }

    fn end_read_lane(&mut self, key: PieceKey, lane: usize) {
        let piece = &mut self.pieces[key];
        if !piece.lanes[lane].open {
            return;
        }
        piece.lanes[lane].open = false;
        piece.open_lanes -= 1;
        if piece.open_lanes == 0 {
            self.all_read(key);
        }
    }

    /// Nothing of the piece is being read any more.
    pub(super) fn all_read(&mut self, key: PieceKey) {
        let piece = &self.pieces[key];
        let job = &self.jobs[piece.job];
        if piece.scatter {
            self.scatter(key);
            return;
        }
        if piece.spoiled || job.cancelled {
            self.spoil(key);
            return;
        }
        if job.job.kind == JobKind::Compare {
            self.compare(key);
            self.end_piece(key);
            return;
        }
        self.compute_or_go_on(key);
    }

    /// All that is to be written of the piece is in its pages.
    pub(super) fn computed_all(&mut self, key: PieceKey) {
        self.find_zeros(key);
        let piece = &mut self.pieces[key];
        for pages in &mut piece.buffers {
            piece.shared.extend(pages.take().map(Pages::into_shared));
        }
        piece.buffers.clear();
        piece.phase = Phase::Held;
        let job = piece.job;
        if self.jobs[job].gate == Gate::Open {
            self.start_writing(key);
        } else if self.jobs[job].halted {
            self.abandon_piece(key);
        } else {
            self.open_gate(job);
        }
    }

    /// A piece that is not written: what it covers is a gap.
    pub(super) fn spoil(&mut self, key: PieceKey) {
        let job = self.pieces[key].job;
        if !self.jobs[job].cancelled {
            self.halt(job);
        }
        self.abandon_piece(key);
    }

    /// Cuts the piece in runs of data and runs of zero pages, if the job asks for that.
    fn find_zeros(&mut self, key: PieceKey) {
        let piece = &mut self.pieces[key];
        let flags = self.jobs[piece.job].job.flags;
        if !flags.intersects(Flags::SKIP_ZEROS) || piece.buffers.len() != 1 {
            return;
        }
        let Some(pages) = piece.buffers[0].as_ref() else { return };
        let mut at = 0;
        for block in pages[..piece.len as usize].chunks(PAGE_SIZE) {
            let zero = is_zero(block);
            at += u32::try_from(block.len()).unwrap_or(0);
            match piece.segments.last_mut() {
                Some(last) if last.zero == zero => last.end = at,
                _ => piece.segments.push(Segment { end: at, zero }),
            }
        }
    }

    fn compare(&mut self, key: PieceKey) {
        let piece = &self.pieces[key];
        let job = &mut self.jobs[piece.job];
        let len = piece.len as usize;
        let base = job.job.destinations.first().map_or(0, |first| first.extent.offset);
        let Some(source) = piece.buffers[0].as_ref() else { return };
        for index in 0..job.targets.len() {
            let Some(other) = piece.buffers[1 + index].as_ref() else { continue };
            if source[..len] == other[..len] {
                continue;
            }
            let step = usize::try_from(SECTOR_SIZE).unwrap_or(512);
            // Sectors of the first destination's device: the first one may be cut off.
            let head = (SECTOR_SIZE - (base + piece.offset) % SECTOR_SIZE) % SECTOR_SIZE;
            let (first, rest) = source[..len].split_at(len.min(usize::try_from(head).unwrap_or(0)));
            let (other_first, other_rest) = other[..len].split_at(first.len());
            let rest = rest.chunks(step).zip(other_rest.chunks(step));
            let mut at = piece.offset;
            let pairs = std::iter::once((first, other_first)).chain(rest);
            for (a, b) in pairs {
                let end = at + a.len() as u64;
                if a != b && !job.could_not_read(index, at..end) {
                    job.targets[index].differing_sectors += 1;
                    add_range(&mut job.rare().differences, index, at..end);
                }
                at = end;
            }
        }
    }

    pub(super) fn count_read(&mut self, slot: Slot, bytes: u32) {
        self.stats.bytes_read += u64::from(bytes);
        if let Some(place) = self.devices.get(slot).stats {
            self.stats.devices[place].bytes_read += u64::from(bytes);
        }
    }

    /// Puts fresh lanes on a piece, one per destination.
    pub(super) fn lanes_for_writing(&mut self, key: PieceKey) -> usize {
        let piece = &mut self.pieces[key];
        let count = self.jobs[piece.job].targets.len();
        piece.lanes.clear();
        for _ in 0..count {
            piece.lanes.push(Lane::new(piece.len));
        }
        piece.open_lanes = count;
        count
    }
}

/// Whether every byte is 0; sixteen words at a time, which the compiler turns into vectors.
pub(crate) fn is_zero(bytes: &[u8]) -> bool {
    let mut chunks = bytes.chunks_exact(128);
    chunks.by_ref().all(|chunk| chunk.iter().fold(0, |all, byte| all | byte) == 0)
        && chunks.remainder().iter().all(|byte| *byte == 0)
}
