//! A lane: the transfer of one piece on one side (one source or one destination).
//!
//! A lane has at most one operation in flight. A short result is continued where it stopped; an
//! error is cut in halves down to one block of the device, so that the first bad block is known
//! and the good ones around it are saved. Pure arithmetic on byte counts within a piece.

/// Results in a row that were short before the lane gives up.
const MAX_SHORT_ROUNDS: u8 = 16;

/// See the module.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Lane {
    /// Bytes of the piece that are behind.
    pub(super) done: u32,
    /// Size of the next operation, at most.
    attempt: u32,
    /// Short results since the last whole one.
    short_rounds: u8,
    /// Whether it has not ended yet.
    pub(super) open: bool,
}

/// What to do after an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum AfterError {
    /// Try again, with less.
    Narrow,
    /// These bytes are bad.
    Bad,
}

impl Lane {
    /// A lane for a piece of `len` bytes.
    pub(super) fn new(len: u32) -> Self {
        Self { done: 0, attempt: len, short_rounds: 0, open: true }
    }

    /// A lane that has ended well.
    pub(super) fn ended(len: u32) -> Self {
        Self { done: len, open: false, ..Self::new(len) }
    }

    /// First byte and length of the next operation in a piece of `len` bytes.
    pub(super) fn next(&self, len: u32) -> Option<(u32, u32)> {
        let left = len - self.done;
        (left > 0).then(|| (self.done, left.min(self.attempt)))
    }

    /// The operation did all of the `asked` bytes. After an error the next one dares twice as much.
    pub(super) fn whole(&mut self, asked: u32) {
        self.done += asked;
        self.short_rounds = 0;
        self.attempt = self.attempt.saturating_mul(2);
    }

    /// The operation did `count` bytes only, `0 < count < asked`. Goes on at the last aligned byte;
    /// `false` if this happened too often.
    pub(super) fn short(&mut self, count: u32, granule: u32) -> bool {
        let aligned = count - count % granule;
        self.done += if aligned > 0 { aligned } else { count };
        self.short_rounds += 1;
        self.short_rounds <= MAX_SHORT_ROUNDS
    }

    /// The operation of `asked` bytes failed; errors are cut down to `block` bytes.
    pub(super) fn failed(&mut self, asked: u32, block: u32) -> AfterError {
        if asked <= block {
            return AfterError::Bad;
        }
        let half = (asked / 2).div_ceil(block) * block;
        self.attempt = half.clamp(block, asked - 1);
        AfterError::Narrow
    }

    /// Leaves `bytes` behind as bad and goes on.
    pub(super) fn skip(&mut self, bytes: u32) {
        self.done += bytes;
        self.short_rounds = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Runs a lane over `len` bytes with bad bytes given by `bad`, and returns the bad blocks found
    /// and the number of operations.
    fn run(len: u32, block: u32, bad: &[u32]) -> (Vec<(u32, u32)>, u32) {
        let (mut lane, mut found, mut ops) = (Lane::new(len), Vec::new(), 0);
        while let Some((from, asked)) = lane.next(len) {
            ops += 1;
            if !bad.iter().any(|byte| (from..from + asked).contains(byte)) {
                lane.whole(asked);
            } else if lane.failed(asked, block) == AfterError::Bad {
                found.push((from, asked));
                lane.skip(asked);
            }
        }
        (found, ops)
    }

    #[test]
    fn one_bad_block_is_found_exactly_in_few_operations() {
        let (found, ops) = run(1 << 20, 512, &[700_000]);
        assert_eq!(found, [(700_000 / 512 * 512, 512)]);
        assert!(ops < 40, "{ops}");
    }

    #[test]
    fn all_bad_blocks_are_found_and_the_count_of_operations_is_bounded() {
        let bad: Vec<u32> = (0..64).map(|i| i * 1024).collect();
        let (found, ops) = run(65_536, 512, &bad);
        assert_eq!(found, bad.iter().map(|b| (*b, 512)).collect::<Vec<_>>());
        assert!(ops < 400, "{ops}");
    }

    #[test]
    fn ragged_lengths_end_too() {
        let (found, _) = run(1000, 512, &[999]);
        assert_eq!(found, [(512, 488)]);
    }

    #[test]
    fn short_results_are_continued_at_an_aligned_byte_and_not_for_ever() {
        let mut lane = Lane::new(8192);
        assert!(lane.short(5000, 512));
        assert_eq!(lane.next(8192), Some((4608, 3584)));
        assert!(lane.short(10, 512));
        assert_eq!(lane.done, 4618);
        assert!((0..14).all(|_| lane.short(1, 512)));
        assert!(!lane.short(1, 512));
    }
}
