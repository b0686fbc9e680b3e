//! A simulated disk: what programs see, what is durable, and the writes in between.
//!
//! ```text
//!   write issued ----> cache (in flight) --completes--> cache (completed) --flush--> durable
//!                         |                                |
//!                         `------ a crash keeps, drops or tears each of them ------'
//! ```
//!
//! `current` is what a read returns: every completed write. `durable` is what a crash surely
//! leaves. The cache lists the writes that make the difference between the two.

use std::sync::Arc;
use std::time::Duration;

use super::rng::Rng;
use super::store::{Content, Store, to_usize};
use crate::device::extents::Change;
use crate::device::{DeviceKind, DirectAlignment, Facts, Identity};

/// Names a disk within its world: they are counted from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DiskId(pub u32);

/// What a simulated disk is like.
#[derive(Clone, Debug)]
pub struct DiskOptions {
    pub(super) size: u64,
    pub(super) capacity: u64,
    pub(super) logical_block: u32,
    pub(super) physical_block: u32,
    pub(super) direct: bool,
    pub(super) write_back: bool,
    pub(super) zero_range: bool,
    pub(super) punch_hole: bool,
    pub(super) discard: bool,
    pub(super) readable: bool,
    pub(super) writable: bool,
    pub(super) content: Content,
    pub(super) sparse: bool,
    pub(super) latency: Duration,
    pub(super) bytes_per_second: u64,
}

impl DiskOptions {
    /// A disk of `size` bytes: logical blocks of 512 bytes, a volatile write cache, zeroing and
    /// discard supported, filled with zeros.
    pub fn new(size: u64) -> Self {
        Self {
            size,
            capacity: size,
            logical_block: 512,
            physical_block: 4096,
            direct: true,
            write_back: true,
            zero_range: true,
            punch_hole: true,
            discard: true,
            readable: true,
            writable: true,
            content: Content::Zeros,
            sparse: false,
            latency: Duration::from_micros(50),
            bytes_per_second: 1 << 30,
        }
    }

    /// Logical and physical block in bytes. A crash tears writes at logical blocks.
    #[must_use]
    pub fn blocks(mut self, logical: u32, physical: u32) -> Self {
        self.logical_block = logical;
        self.physical_block = physical;
        self
    }

    /// Like a file: no direct I/O, short transfers of any length, and writes behind the end make
    /// it grow up to `capacity` bytes; after that they fail with `ENOSPC`.
    #[must_use]
    pub fn file(mut self, capacity: u64) -> Self {
        self.direct = false;
        self.capacity = capacity.max(self.size);
        self
    }

    /// Without a write cache: what has completed is durable.
    #[must_use]
    pub fn write_through(mut self) -> Self {
        self.write_back = false;
        self
    }

    /// Zeroing fails with `EOPNOTSUPP`.
    #[must_use]
    pub fn without_zeroing(mut self) -> Self {
        self.zero_range = false;
        self.punch_hole = false;
        self
    }

    /// Zeroing a range fails with `EOPNOTSUPP`; punching holes works (as on `tmpfs`).
    #[must_use]
    pub fn without_zero_range(mut self) -> Self {
        self.zero_range = false;
        self
    }

    /// Discard fails with `EOPNOTSUPP`.
    #[must_use]
    pub fn without_discard(mut self) -> Self {
        self.discard = false;
        self
    }

    /// The device says that it cannot be written.
    #[must_use]
    pub fn read_only(mut self) -> Self {
        self.writable = false;
        self
    }

    /// What it holds at first.
    #[must_use]
    pub fn content(mut self, content: Content) -> Self {
        self.content = content;
        self
    }

    /// Like a sparse file: pages of 4 KiB of zeros to which no write has ended are holes, and
    /// [`Device::extents`](crate::Device::extents) tells them.
    #[must_use]
    pub fn sparse(mut self) -> Self {
        self.sparse = true;
        self
    }

    /// How long an operation takes ([`super::Schedule::Timed`] only): a fixed time, and the
    /// transfer.
    #[must_use]
    pub fn speed(mut self, latency: Duration, bytes_per_second: u64) -> Self {
        self.latency = latency;
        self.bytes_per_second = bytes_per_second.max(1);
        self
    }

    pub(super) fn facts(&self, number: u64) -> Facts {
        let block = self.logical_block;
        Facts {
            kind: DeviceKind::Simulated,
            identity: Identity::Internal { number },
            size: self.size,
            logical_block: block,
            physical_block: self.physical_block,
            direct: self.direct.then_some(DirectAlignment { memory: block, offset: block }),
            direct_required: false,
            readable: self.readable,
            writable: self.writable,
        }
    }
}

/// What a disk was asked to do so far; counts completed operations that succeeded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct DiskStats {
    /// Bytes read.
    pub bytes_read: u64,
    /// Bytes written.
    pub bytes_written: u64,
    /// Bytes zeroed without data.
    pub bytes_zeroed: u64,
    /// Read operations.
    pub reads: u64,
    /// Write operations.
    pub writes: u64,
    /// Flushes.
    pub flushes: u64,
}

/// The bytes of a write or zeroing.
#[derive(Clone, Debug)]
pub(super) enum Data {
    Bytes(Arc<[u8]>),
    Zeros(u64),
}

impl Data {
    pub(super) fn len(&self) -> u64 {
        match self {
            Self::Bytes(bytes) => bytes.len() as u64,
            Self::Zeros(len) => *len,
        }
    }

    fn part(&self, from: u64, len: u64) -> Self {
        match self {
            Self::Bytes(bytes) => Self::Bytes(bytes[to_usize(from)..to_usize(from + len)].into()),
            Self::Zeros(_) => Self::Zeros(len),
        }
    }

    fn put(&self, offset: u64, store: &mut Store) {
        match self {
            Self::Bytes(bytes) => store.write(offset, bytes),
            Self::Zeros(len) => store.zero(offset, *len),
        }
    }

    fn put_part(&self, offset: u64, part: (u64, u64), store: &mut Store) {
        let (from, len) = part;
        match self {
            Self::Bytes(bytes) => {
                store.write(offset + from, &bytes[to_usize(from)..to_usize(from + len)]);
            }
            Self::Zeros(_) => store.zero(offset + from, len),
        }
    }
}

/// A write that is not durable.
#[derive(Clone, Debug)]
struct Cached {
    ticket: u64,
    /// When it completed, counted per disk; `None` while it is in flight.
    order: Option<u64>,
    offset: u64,
    data: Data,
    /// A flush that covered it failed: no later flush makes it durable.
    lost: bool,
}

/// How a write ended.
#[derive(Clone, Copy, Debug)]
pub(super) enum WriteEnd {
    /// The first `0` bytes of it are written.
    Done(u64),
    /// It failed; any part of it may be written.
    Failed,
}

/// See the module.
#[derive(Clone, Debug)]
pub(super) struct Disk {
    pub(super) options: DiskOptions,
    pub(super) size: u64,
    pub(super) gone: bool,
    pub(super) stats: DiskStats,
    current: Store,
    durable: Store,
    cache: Vec<Cached>,
    next_order: u64,
}

impl Disk {
    pub(super) fn new(options: DiskOptions) -> Self {
        let store = Store::new(options.content);
        Self {
            size: options.size,
            gone: false,
            stats: DiskStats::default(),
            current: store.clone(),
            durable: store,
            cache: Vec::new(),
            next_order: 0,
            options,
        }
    }

    pub(super) fn read(&self, offset: u64, out: &mut [u8]) {
        self.current.read(offset, out);
    }

    pub(super) fn read_durable(&self, offset: u64, out: &mut [u8]) {
        self.durable.read(offset, out);
    }

    /// Where data or a hole begins, at or behind `offset`; `None`: it has no holes to tell.
    pub(super) fn next_change(&self, offset: u64, to: Change) -> Option<u64> {
        if !self.options.sparse || offset >= self.size {
            return None;
        }
        let found = match to {
            Change::Data => self.current.next_page(offset),
            Change::Hole => self.current.next_gap(offset),
        };
        Some(found?.unwrap_or(self.size).min(self.size))
    }

    /// Writes at once and durably: for setting up a test.
    pub(super) fn plant(&mut self, offset: u64, bytes: &[u8]) {
        self.current.write(offset, bytes);
        self.durable.write(offset, bytes);
    }

    /// A write was issued: from now on a crash may keep it.
    pub(super) fn begin_write(&mut self, ticket: u64, offset: u64, data: Data) {
        self.cache.push(Cached { ticket, order: None, offset, data, lost: false });
    }

    /// The write `ticket` completed.
    pub(super) fn end_write(&mut self, ticket: u64, end: WriteEnd, rng: &mut Rng) {
        let Some(index) = self.cache.iter().rposition(|write| write.ticket == ticket) else {
            return;
        };
        let write = self.cache.remove(index);
        match end {
            WriteEnd::Done(len) if len >= write.data.len() => self.settle(write),
            WriteEnd::Done(0) => {}
            WriteEnd::Done(len) => {
                let data = write.data.part(0, len);
                self.settle(Cached { data, ..write });
            }
            WriteEnd::Failed => {
                let mood = rng.below(4);
                for (from, len) in blocks(&write, self.options.logical_block) {
                    if mood == 0 || (mood == 1 && rng.chance(1, 2)) {
                        let data = write.data.part(from, len);
                        let offset = write.offset + from;
                        self.settle(Cached { data, offset, ..write.clone() });
                    }
                }
            }
        }
    }

    fn settle(&mut self, mut write: Cached) {
        write.data.put(write.offset, &mut self.current);
        if self.options.write_back {
            write.order = Some(self.next_order);
            self.next_order += 1;
            self.cache.push(write);
        } else {
            write.data.put(write.offset, &mut self.durable);
        }
    }

    /// What a flush submitted now will cover: hand it to [`Disk::flush`].
    pub(super) fn flush_point(&self) -> u64 {
        self.next_order
    }

    /// Makes durable what had completed before `point`.
    pub(super) fn flush(&mut self, point: u64) {
        let covered = |write: &Cached| !write.lost && write.order.is_some_and(|o| o < point);
        let (mut durable, rest): (Vec<_>, Vec<_>) = self.cache.drain(..).partition(covered);
        self.cache = rest;
        durable.sort_by_key(|write| write.order);
        for write in durable {
            write.data.put(write.offset, &mut self.durable);
            self.supersede(&write);
        }
    }

    /// Takes the range of a write that became durable out of the lost writes before it.
    fn supersede(&mut self, newer: &Cached) {
        let end = newer.offset + newer.data.len();
        let mut remains = Vec::new();
        self.cache.retain(|old| {
            let old_end = old.offset + old.data.len();
            let hit = old.lost && old.order < newer.order && old.offset < end;
            if !hit || newer.offset >= old_end {
                return true;
            }
            if old.offset < newer.offset {
                let data = old.data.part(0, newer.offset - old.offset);
                remains.push(Cached { data, ..old.clone() });
            }
            if end < old_end {
                let data = old.data.part(end - old.offset, old_end - end);
                remains.push(Cached { data, offset: end, ..old.clone() });
            }
            false
        });
        self.cache.append(&mut remains);
    }

    /// A flush of what had completed before `point` failed.
    pub(super) fn lose(&mut self, point: u64) {
        for write in &mut self.cache {
            write.lost |= write.order.is_some_and(|order| order < point);
        }
    }

    /// The writes that a crash may keep or drop, older before newer.
    fn volatile(&self) -> Vec<&Cached> {
        let mut writes: Vec<&Cached> = self.cache.iter().collect();
        writes.sort_by_key(|write| (write.order.unwrap_or(u64::MAX), write.ticket, write.offset));
        writes
    }

    /// Number of logical blocks in the volatile writes, each write counted by itself.
    pub(super) fn volatile_blocks(&self) -> usize {
        let block = self.options.logical_block;
        self.cache.iter().map(|write| blocks(write, block).count()).sum()
    }

    /// Power is lost and comes back: of the volatile blocks those survive that `keep` says, asked
    /// in the order of the writes and, within a write, of the blocks.
    pub(super) fn crash(&mut self, mut keep: impl FnMut() -> bool) {
        let block = self.options.logical_block;
        let mut after = self.durable.clone();
        for write in self.volatile() {
            for part in blocks(write, block) {
                if keep() {
                    write.data.put_part(write.offset, part, &mut after);
                }
            }
        }
        self.restart(after);
    }

    /// Power is lost: each volatile write is kept, dropped or torn, and those that are kept reach
    /// the medium in any order.
    pub(super) fn crash_at_random(&mut self, rng: &mut Rng) {
        let block = self.options.logical_block;
        let mut after = self.durable.clone();
        let mut writes = self.volatile();
        rng.shuffle(&mut writes);
        let whole = rng.below(4);
        for write in writes {
            match rng.below(4) + whole {
                0 | 1 => {}
                2 | 3 => write.data.put(write.offset, &mut after),
                _ => {
                    for part in blocks(write, block) {
                        if rng.chance(1, 2) {
                            write.data.put_part(write.offset, part, &mut after);
                        }
                    }
                }
            }
        }
        self.restart(after);
    }

    fn restart(&mut self, content: Store) {
        self.current = content.clone();
        self.durable = content;
        self.cache.clear();
    }
}

/// The parts of a write between the borders of logical blocks: offset within it, length.
fn blocks(write: &Cached, block: u32) -> impl Iterator<Item = (u64, u64)> + use<> {
    let (start, end) = (write.offset, write.offset + write.data.len());
    let block = u64::from(block);
    (start / block..end.div_ceil(block)).map(move |index| {
        let from = start.max(index * block);
        (from - start, end.min((index + 1) * block) - from)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn disk() -> Disk {
        Disk::new(DiskOptions::new(8192))
    }

    fn write(disk: &mut Disk, ticket: u64, offset: u64, byte: u8) {
        disk.begin_write(ticket, offset, Data::Bytes(vec![byte; 1024].into()));
        disk.end_write(ticket, WriteEnd::Done(1024), &mut Rng::new(0));
    }

    fn durable(disk: &Disk, offset: u64) -> u8 {
        let mut byte = [0];
        disk.read_durable(offset, &mut byte);
        byte[0]
    }

    #[test]
    fn flush_covers_what_completed_before_it_was_submitted_and_nothing_else() {
        let mut disk = disk();
        write(&mut disk, 0, 0, 1);
        let point = disk.flush_point();
        write(&mut disk, 1, 2048, 2);
        disk.flush(point);
        assert_eq!((durable(&disk, 0), durable(&disk, 2048)), (1, 0));
    }

    #[test]
    fn failed_flush_loses_its_writes_for_good() {
        let mut disk = disk();
        write(&mut disk, 0, 0, 1);
        disk.lose(disk.flush_point());
        disk.flush(disk.flush_point());
        assert_eq!(durable(&disk, 0), 0);
        write(&mut disk, 1, 512, 2);
        disk.flush(disk.flush_point());
        assert_eq!((durable(&disk, 0), durable(&disk, 512)), (0, 2));
        disk.crash(|| true);
        assert_eq!((durable(&disk, 0), durable(&disk, 512)), (1, 2), "the older never wins");
    }

    #[test]
    fn crash_keeps_any_block_of_any_volatile_write() {
        let mut disk = disk();
        write(&mut disk, 0, 0, 1);
        disk.begin_write(1, 1024, Data::Bytes(vec![2; 1024].into()));
        assert_eq!(disk.volatile_blocks(), 4);
        let mut keep = [false, true, true, false].into_iter();
        disk.crash(|| keep.next().unwrap());
        let seen: Vec<u8> = (0..4).map(|block| durable(&disk, block * 512)).collect();
        assert_eq!(seen, [0, 1, 2, 0]);
        assert_eq!(disk.volatile_blocks(), 0);
    }

    #[test]
    fn a_sparse_disk_tells_pages_that_no_write_has_reached() {
        let mut disk = Disk::new(DiskOptions::new(16384).sparse());
        let changes = |disk: &Disk, offset| {
            (disk.next_change(offset, Change::Data), disk.next_change(offset, Change::Hole))
        };
        assert_eq!(changes(&disk, 100), (Some(16384), Some(100)));
        disk.begin_write(0, 4608, Data::Bytes(vec![0; 512].into()));
        assert_eq!(changes(&disk, 0), (Some(16384), Some(0)), "what is on its way is not there");
        disk.end_write(0, WriteEnd::Done(512), &mut Rng::new(0));
        assert_eq!(changes(&disk, 0), (Some(4096), Some(0)), "zeros that were written are data");
        assert_eq!(changes(&disk, 5000), (Some(5000), Some(8192)));
        assert_eq!(changes(&disk, 16384), (None, None), "behind the end nothing reads as zeros");
        disk.crash(|| false);
        assert_eq!(changes(&disk, 0), (Some(16384), Some(0)));
        assert_eq!(Disk::new(DiskOptions::new(4096)).next_change(0, Change::Data), None);
    }

    #[test]
    fn disk_without_a_write_cache_is_durable_at_completion() {
        let mut disk = Disk::new(DiskOptions::new(8192).write_through());
        write(&mut disk, 0, 0, 1);
        assert_eq!(durable(&disk, 0), 1);
    }
}
