//! Lists of byte ranges of a job, bounded: [`Outcome::MAX_RANGES`] of them and no more.

use crate::outcome::{JobRange, Outcome};

/// Adds a range, joining it with one that it continues; `false` if there is no room for it.
pub(super) fn add_range<K: PartialEq>(
    list: &mut Vec<(K, JobRange)>,
    key: K,
    range: JobRange,
) -> bool {
    // Pieces fail side by side, each sector by sector: what this range continues is seldom the last
    // entry, but near it. Without the search, two pieces would fill the list with single sectors.
    let continued =
        |(known, earlier): &&mut (K, JobRange)| *known == key && earlier.end == range.start;
    if let Some((_, earlier)) = list.iter_mut().rev().find(continued) {
        earlier.end = range.end;
        return true;
    }
    let room = list.len() < Outcome::MAX_RANGES;
    if room {
        list.push((key, range));
    }
    room
}

/// Adds a range of bad bytes, none of which may be missing in the list: where there is no room, the
/// last range with the same key grows over it, and over the good bytes in between.
pub(super) fn add_bad_range<K: PartialEq + Copy>(
    list: &mut Vec<(K, JobRange)>,
    key: K,
    range: JobRange,
) {
    if add_range(list, key, range.clone()) {
        return;
    }
    match list.iter_mut().rev().find(|(known, _)| *known == key) {
        Some((_, last)) => {
            last.start = last.start.min(range.start);
            last.end = last.end.max(range.end);
        }
        // One entry more for each key: there are at most as many as destinations.
        None => list.push((key, range)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_that_continue_each_other_are_one() {
        let mut list = Vec::new();
        for (key, range) in [(0, 0..5), (1, 5..6), (0, 5..7), (0, 9..10), (1, 6..8)] {
            assert!(add_range(&mut list, key, range));
        }
        assert_eq!(list, [(0, 0..7), (1, 5..8), (0, 9..10)]);
    }

    /// A list that was full forgot what was bad behind it, and what was not listed counted as good.
    #[test]
    fn bad_bytes_are_covered_however_many_ranges_there_are() {
        let bad = |index: u64| index * 1024..index * 1024 + 512;
        let most = u64::try_from(Outcome::MAX_RANGES).unwrap();
        let mut list = Vec::new();
        for index in 0..most + 100 {
            add_bad_range(&mut list, 0, bad(index));
        }
        add_bad_range(&mut list, 1, bad(3));
        assert_eq!(list.len(), Outcome::MAX_RANGES + 1);
        for index in 0..most + 100 {
            let is_covered = |(key, range): &(u32, JobRange)| {
                *key == 0 && range.start <= bad(index).start && bad(index).end <= range.end
            };
            assert!(list.iter().any(is_covered), "{index}");
        }
        assert_eq!(list.last(), Some(&(1, bad(3))));
    }
}
