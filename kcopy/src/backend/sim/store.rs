//! The bytes of a simulated disk: sparse, cheap to clone, with a content that may be computed.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::rng::mix;

const PAGE: u64 = 4096;
const PAGE_LEN: usize = 4096;

type Page = [u8; PAGE_LEN];

/// What a simulated disk holds before anything is written to it. Takes no memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Content {
    /// Zeros.
    #[default]
    Zeros,
    /// Bytes computed from the seed and the position: no two sectors are alike, none is zero.
    Pattern(u64),
}

impl Content {
    fn fill(self, page: u64, out: &mut Page) {
        match self {
            Self::Zeros => out.fill(0),
            Self::Pattern(seed) => {
                let first = mix(seed) ^ (page * (PAGE / 8));
                for (word, index) in out.chunks_exact_mut(8).zip(0..) {
                    word.copy_from_slice(&mix(first.wrapping_add(index)).to_le_bytes());
                }
            }
        }
    }
}

/// Sparse bytes. Clones share their pages until one of them writes.
#[derive(Clone, Debug, Default)]
pub(super) struct Store {
    pages: BTreeMap<u64, Arc<Page>>,
    base: Content,
}

/// The parts of `offset..offset + len`, cut at pages: page, first byte in it, bytes.
fn parts(offset: u64, len: u64) -> impl Iterator<Item = (u64, usize, usize)> {
    let end = offset + len;
    let pages = if len == 0 { 0..0 } else { offset / PAGE..end.div_ceil(PAGE) };
    pages.map(move |page| {
        let from = offset.max(page * PAGE) - page * PAGE;
        let to = end.min((page + 1) * PAGE) - page * PAGE;
        (page, to_usize(from), to_usize(to - from))
    })
}

pub(super) fn to_usize(value: u64) -> usize {
    usize::try_from(value).expect("a length in memory fits in memory")
}

impl Store {
    pub(super) fn new(base: Content) -> Self {
        Self { pages: BTreeMap::new(), base }
    }

    pub(super) fn read(&self, offset: u64, out: &mut [u8]) {
        let mut done = 0;
        for (page, from, len) in parts(offset, out.len() as u64) {
            let part = &mut out[done..done + len];
            match (self.pages.get(&page), self.base) {
                (Some(bytes), _) => part.copy_from_slice(&bytes[from..from + len]),
                (None, Content::Zeros) => part.fill(0),
                (None, base @ Content::Pattern(_)) => {
                    let mut bytes = [0; PAGE_LEN];
                    base.fill(page, &mut bytes);
                    part.copy_from_slice(&bytes[from..from + len]);
                }
            }
            done += len;
        }
    }

    pub(super) fn write(&mut self, offset: u64, bytes: &[u8]) {
        let mut done = 0;
        for (page, from, len) in parts(offset, bytes.len() as u64) {
            self.page(page)[from..from + len].copy_from_slice(&bytes[done..done + len]);
            done += len;
        }
    }

    pub(super) fn zero(&mut self, offset: u64, len: u64) {
        if self.base == Content::Zeros {
            return self.forget(offset, len);
        }
        for (page, from, len) in parts(offset, len) {
            self.page(page)[from..from + len].fill(0);
        }
    }

    /// Zeroes a store whose base is zeros: whole pages are dropped, however many there are.
    fn forget(&mut self, offset: u64, len: u64) {
        let end = offset + len;
        let touched: Vec<u64> =
            self.pages.range(offset / PAGE..end.div_ceil(PAGE)).map(|(&page, _)| page).collect();
        for page in touched {
            let (start, stop) = (page * PAGE, (page + 1) * PAGE);
            if offset <= start && stop <= end {
                self.pages.remove(&page);
            } else {
                let (from, to) = (offset.max(start) - start, end.min(stop) - start);
                self.page(page)[to_usize(from)..to_usize(to)].fill(0);
            }
        }
    }

    /// The first byte at or behind `offset` that was written, in whole pages; `None`: bytes that never were
    /// are no zeros.
    pub(super) fn next_page(&self, offset: u64) -> Option<Option<u64>> {
        let first = self.pages.range(offset / PAGE..).next();
        (self.base == Content::Zeros).then(|| first.map(|(page, _)| (page * PAGE).max(offset)))
    }

    /// The first byte at or behind `offset` that was not.
    pub(super) fn next_gap(&self, offset: u64) -> Option<Option<u64>> {
        let mut gap = offset / PAGE;
        for (page, _) in self.pages.range(gap..) {
            if *page != gap {
                break;
            }
            gap += 1;
        }
        (self.base == Content::Zeros).then(|| Some((gap * PAGE).max(offset)))
    }

    fn page(&mut self, page: u64) -> &mut Page {
        let base = self.base;
        let slot = self.pages.entry(page).or_insert_with(|| {
            let mut bytes = [0; PAGE_LEN];
            base.fill(page, &mut bytes);
            Arc::new(bytes)
        });
        Arc::make_mut(slot)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn written_bytes_are_read_back_across_pages() {
        let mut store = Store::new(Content::Pattern(3));
        let mut before = [0; 9000];
        store.read(100, &mut before);
        let copy = store.clone();
        store.write(4090, &[7; 20]);
        let mut after = [0; 9000];
        store.read(100, &mut after);
        before[3990..4010].fill(7);
        assert!(before == after);
        let mut old = [0; 20];
        copy.read(4090, &mut old);
        assert_ne!(old, [7; 20], "a clone does not see later writes");
    }

    #[test]
    fn zeroing_gives_pages_back_and_spares_the_neighbours() {
        for base in [Content::Zeros, Content::Pattern(1)] {
            let mut store = Store::new(base);
            store.write(0, &[9; 3 * PAGE_LEN]);
            store.zero(10, 2 * PAGE);
            let mut bytes = [1; 3 * PAGE_LEN];
            store.read(0, &mut bytes);
            assert!(bytes[..10].iter().all(|&b| b == 9));
            assert!(bytes[10..10 + 2 * PAGE_LEN].iter().all(|&b| b == 0));
            assert!(bytes[10 + 2 * PAGE_LEN..].iter().all(|&b| b == 9));
        }
    }
}
