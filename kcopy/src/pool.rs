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
        let first = match count {
            1 => self.find_highest(),
            2..=SHORT_RUN => self.find_high(count),
            _ => self.find_low(count),
        }?;
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mem::SharedPages;
    use proptest::prelude::*;

    /// Pages of the pools below: two words of bits and a part of a third.
    const PAGES: u32 = 150;

    #[derive(Clone, Copy, Debug)]
    enum Step {
        Take(u32),
        /// Gives up the exclusive right of a lease, and makes a clone.
        Share(usize),
        Drop(usize),
    }

    #[derive(Debug)]
    enum Lease {
        Exclusive(Pages),
        Shared(SharedPages, SharedPages),
    }

    /// One bool a page, and the shortest code that is right.
    struct Naive {
        used: Vec<bool>,
        peak: usize,
    }

    impl Naive {
        fn runs(&self, count: u32) -> impl DoubleEndedIterator<Item = u32> {
            let free = |first: &u32| (*first..first + count).all(|page| !self.used[page as usize]);
            // None at all for more pages than there are.
            let starts = 0..(PAGES + 1).saturating_sub(count);
            starts.filter(free).collect::<Vec<_>>().into_iter()
        }

        fn find(&self, count: u32) -> Option<u32> {
            if count <= SHORT_RUN { self.runs(count).next_back() } else { self.runs(count).next() }
        }

        fn longest_run(&self, limit: u32) -> u32 {
            let longest = self.used.split(|used| *used).map(<[bool]>::len).max().unwrap_or(0);
            u32::try_from(longest).unwrap().min(limit)
        }

        fn set(&mut self, first: u32, count: u32, used: bool) {
            for page in &mut self.used[first as usize..(first + count) as usize] {
                assert_ne!(*page, used, "a page has two owners, or none");
                *page = used;
            }
            self.peak = self.peak.max(self.in_use());
        }

        fn in_use(&self) -> usize {
            self.used.iter().filter(|used| **used).count()
        }
    }

    fn place(pool: &Pool, bytes: &[u8]) -> (u32, u32) {
        let first = (bytes.as_ptr().addr() - pool.memory().address().0) / PAGE_SIZE;
        (u32::try_from(first).unwrap(), u32::try_from(bytes.len() / PAGE_SIZE).unwrap())
    }

    fn bytes(lease: &Lease) -> &[u8] {
        match lease {
            Lease::Exclusive(pages) => pages,
            Lease::Shared(pages, clone) => {
                assert_eq!(pages.as_ptr(), clone.as_ptr());
                clone
            }
        }
    }

    /// Each byte of a lease holds the lease's number; somebody else's write would show.
    fn is_intact(number: u8, lease: &Lease) -> bool {
        bytes(lease).iter().step_by(509).all(|byte| *byte == number)
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let step = prop_oneof![
            3 => (1..40u32).prop_map(Step::Take),
            1 => (1..=PAGES + 1).prop_map(Step::Take),
            1 => (0..64usize).prop_map(Step::Share),
            3 => (0..64usize).prop_map(Step::Drop),
        ];
        proptest::collection::vec(step, 0..if cfg!(miri) { 12 } else { 120 })
    }

    /// Does one step on both and compares.
    fn do_step(step: Step, pool: &mut Pool, naive: &mut Naive, leases: &mut Vec<(u8, Lease)>) {
        match step {
            Step::Take(count) => {
                let expected = naive.find(count);
                let number = u8::try_from(leases.len() + 1).unwrap();
                let Some(mut pages) = pool.take(count) else {
                    assert_eq!(expected, None, "{count} pages were free and not given");
                    return;
                };
                assert_eq!(Some(place(pool, &pages)), expected.map(|first| (first, count)));
                naive.set(expected.unwrap(), count, true);
                pages.fill(number);
                leases.push((number, Lease::Exclusive(pages)));
            }
            Step::Share(index) if index < leases.len() => {
                if let (number, Lease::Exclusive(pages)) = leases.swap_remove(index) {
                    let shared = pages.into_shared();
                    leases.push((number, Lease::Shared(shared.clone(), shared)));
                } else {
                    // A shared lease was dropped, with both of its clones.
                    *naive = recount(pool, leases, naive.peak);
                }
            }
            Step::Drop(index) if index < leases.len() => {
                let (number, lease) = leases.swap_remove(index);
                assert!(is_intact(number, &lease));
                let (first, count) = place(pool, bytes(&lease));
                drop(lease);
                naive.set(first, count, false);
            }
            Step::Share(_) | Step::Drop(_) => {}
        }
    }

    fn recount(pool: &Pool, leases: &[(u8, Lease)], peak: usize) -> Naive {
        let mut naive = Naive { used: vec![false; PAGES as usize], peak };
        for (_, lease) in leases {
            let (first, count) = place(pool, bytes(lease));
            naive.set(first, count, true);
        }
        naive
    }

    proptest! {
        #![proptest_config(ProptestConfig {
            cases: if cfg!(miri) { 4 } else { 64 },
            failure_persistence: None,
            ..ProptestConfig::default()
        })]

        #[test]
        fn pool_is_a_bitmap_of_pages_for_all(steps in steps()) {
            let mut pool = Pool::new(PAGES).unwrap();
            let mut naive = Naive { used: vec![false; PAGES as usize], peak: 0 };
            let mut leases = Vec::new();
            for step in steps {
                do_step(step, &mut pool, &mut naive, &mut leases);
                prop_assert_eq!(pool.in_use(), naive.in_use());
                prop_assert_eq!(pool.peak(), naive.peak);
                for limit in [1, 17, PAGES, PAGES + 1] {
                    prop_assert_eq!(pool.longest_run(limit), naive.longest_run(limit));
                }
            }
            prop_assert!(leases.iter().all(|(number, lease)| is_intact(*number, lease)));
            leases.clear();
            prop_assert_eq!((pool.in_use(), pool.longest_run(PAGES)), (0, PAGES));
            prop_assert!(pool.take(PAGES).is_some());
        }
    }

    #[test]
    fn pool_without_pages_is_refused() {
        assert!(Pool::new(0).is_none());
    }

    #[test]
    fn memory_outlives_the_pool_while_somebody_holds_pages() {
        let mut pool = Pool::new(20).unwrap();
        let mut pages = pool.take(17).unwrap();
        let shared = pool.take(1).unwrap().into_shared();
        drop(pool);
        pages.fill(7);
        assert!(pages.iter().all(|byte| *byte == 7) && shared.iter().all(|byte| *byte == 0));
        let clone = shared.clone();
        drop((pages, shared));
        assert_eq!(clone.size(), PAGE_SIZE);
    }

    #[test]
    fn pages_are_given_back_by_other_threads() {
        let mut pool = Pool::new(8).unwrap();
        for round in 0..if cfg!(miri) { 3 } else { 100 } {
            let shared = pool.take(8).unwrap().into_shared();
            std::thread::scope(|scope| {
                for clone in [shared.clone(), shared.clone(), shared] {
                    scope.spawn(move || assert_eq!(clone.size(), 8 * PAGE_SIZE));
                }
            });
            assert_eq!(pool.in_use(), 0, "round {round}");
        }
        assert_eq!(pool.peak(), 8);
    }
}
