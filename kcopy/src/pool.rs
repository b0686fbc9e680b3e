//! The page pool of a client: a fixed number of pages, reserved when it is made, never more.
//!
//! A piece of a job asks for a contiguous run, because one run is one operation on one fixed
//! buffer. Long runs are taken from the low end, short ones from the high end, so that small jobs
//! do not cut the room of the large ones to pieces. Nothing here waits: whether a job that did not
//! get its pages may be passed by another is decided in [`crate::engine`].

use crate::mem::{Arena, Pages};
use crate::sync::Arc;
use crate::units::PAGE_SIZE;

/// Runs of up to this many pages (64 KiB) are taken from the high end.
const SHORT_RUN: u32 = 16;

/// A fixed number of pages and who may have them. Belongs to one engine.
#[derive(Debug)]
pub struct Pool {
    arena: Arc<Arena>,
    peak: usize,
}

/// The pool's memory, for a backend that registers it with the kernel. Keeps it alive.
#[derive(Clone, Debug)]
pub struct PoolMemory(Arc<Arena>);

impl PoolMemory {
    /// Address and length in bytes of the whole pool.
    pub fn address(&self) -> (usize, usize) {
        let (pointer, bytes) = self.0.address();
        (pointer.addr(), bytes)
    }
}

impl Pool {
    /// Reserves and touches `pages` pages of 4 KiB; `None` if the memory is not to be had.
    pub fn new(pages: u32) -> Option<Self> {
        Some(Self { arena: Arena::new(pages)?, peak: 0 })
    }

    /// Number of pages, used or not.
    pub fn pages(&self) -> u32 {
        self.arena.pages()
    }

    /// Size in bytes.
    pub fn bytes(&self) -> u64 {
        u64::from(self.pages()) * PAGE_SIZE as u64
    }

    /// Pages held at this moment.
    pub fn in_use(&self) -> usize {
        self.arena.in_use()
    }

    /// The most pages that were ever held at once.
    pub fn peak(&self) -> usize {
        self.peak
    }

    /// The memory, for registering it.
    pub fn memory(&self) -> PoolMemory {
        PoolMemory(Arc::clone(&self.arena))
    }

    /// A run of exactly `count` pages, if one is free.
    pub fn take(&mut self, count: u32) -> Option<Pages> {
        let from_top = count <= SHORT_RUN;
        let first = if from_top { self.find_high(count) } else { self.find_low(count) }?;
        let pages = Arena::claim(&self.arena, first, count);
        self.peak = self.peak.max(self.arena.in_use());
        Some(pages)
    }

    /// The length of the longest free run, at most `limit`, in pages.
    pub fn longest_run(&self, limit: u32) -> u32 {
        let (mut best, mut run) = (0, 0);
        for page in 0..self.pages() {
            run = if self.is_free(page) { run + 1 } else { 0 };
            best = best.max(run);
            if best >= limit {
                return limit;
            }
        }
        best
    }

    /// The highest free page.
    fn find_highest(&self) -> Option<u32> {
        (0..self.pages().div_ceil(64)).rev().find_map(|word| {
            let free = self.arena.free_word(word as usize);
            (free != 0).then(|| word * 64 + free.ilog2())
        })
    }

    fn is_free(&self, page: u32) -> bool {
        self.arena.free_word(page as usize / 64) >> (page % 64) & 1 == 1
    }

    /// The lowest run of `count` free pages.
    fn find_low(&self, count: u32) -> Option<u32> {
        let mut page: u32 = 0;
        while page.checked_add(count)? <= self.pages() {
            // The last used page in the window decides where the next window may start.
            match (page..page + count).rev().find(|&candidate| !self.is_free(candidate)) {
                None => return Some(page),
                Some(used) => page = used + 1,
            }
        }
        None
    }

    /// The highest run of `count` free pages.
    fn find_high(&self, count: u32) -> Option<u32> {
        if count == 1 {
            return self.find_highest();
        }
        let mut end = self.pages();
        while end >= count {
            let word = self.arena.free_word((end as usize - 1) / 64);
            let in_word = (end - 1) % 64 + 1;
            let below = word & (u64::MAX >> (64 - in_word));
            if below == 0 {
                end -= in_word;
                continue;
            }
            end -= in_word - (64 - below.leading_zeros());
            match (end.checked_sub(count)?..end).rev().find(|&candidate| !self.is_free(candidate)) {
                None => return Some(end - count),
                Some(used) => end = used,
            }
        }
        None
    }
}
