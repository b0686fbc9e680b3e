//! Lists of byte ranges that stay short: what touches is joined, what is too much is counted.

use std::ops::Range;

/// Ranges in increasing order, at most [`Ranges::MOST`] of them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Ranges {
    list: Vec<Range<u64>>,
    /// Ranges that found no place any more.
    unlisted: u64,
}

impl Ranges {
    /// The most ranges that are kept.
    pub(crate) const MOST: usize = 4096;

    /// Adds a range that shares no byte with those that are there.
    pub(crate) fn add(&mut self, range: Range<u64>) {
        if range.is_empty() {
            return;
        }
        let at = self.list.partition_point(|other| other.start < range.start);
        if at > 0 && self.list[at - 1].end == range.start {
            self.list[at - 1].end = range.end;
            if self.list.get(at).is_some_and(|next| next.start == range.end) {
                let next = self.list.remove(at);
                self.list[at - 1].end = next.end;
            }
        } else if self.list.get(at).is_some_and(|next| next.start == range.end) {
            self.list[at].start = range.start;
        } else if self.list.len() < Self::MOST {
            self.list.insert(at, range);
        } else {
            self.unlisted += 1;
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Range<u64>> {
        self.list.iter()
    }

    /// Ranges that were added and are not listed.
    pub(crate) fn unlisted(&self) -> u64 {
        self.unlisted
    }

    /// Whether a listed range shares a byte with `range`.
    pub(crate) fn touches(&self, range: &Range<u64>) -> bool {
        let at = self.list.partition_point(|other| other.end <= range.start);
        self.list.get(at).is_some_and(|other| other.start < range.end)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ranges(list: &[(u64, u64)]) -> Ranges {
        let mut ranges = Ranges::default();
        list.iter().for_each(|(start, end)| ranges.add(*start..*end));
        ranges
    }

    #[test]
    fn neighbours_are_joined_in_any_order() {
        let joined = ranges(&[(20, 30), (0, 10), (10, 20), (40, 50)]);
        assert_eq!(joined.iter().cloned().collect::<Vec<_>>(), [0..30, 40..50]);
        assert!(joined.touches(&(29..40)));
        assert!(!joined.touches(&(30..40)));
        assert!(joined.touches(&(0..100)));
        assert!(!joined.touches(&(50..60)));
    }

    #[test]
    fn list_stays_bounded_and_counts_the_rest() {
        let mut many = Ranges::default();
        for i in 0..5000 {
            many.add(i * 10..i * 10 + 1);
        }
        assert_eq!(many.iter().count(), Ranges::MOST);
        assert_eq!(many.unlisted(), 904);
    }
}
