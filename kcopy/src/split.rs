//! Cutting a job into pieces. Pure.
//!
//! ```text
//!   job    |--|------------------|------------------|-------|-|
//!           ^ head: up to the first aligned byte             ^ tail: what is left of a block
//! ```
//!
//! A piece is at most `max` bytes long. Cuts are made where the reference extent (the first
//! destination, or the first source if there is none) is aligned to `granule` bytes, so that all
//! pieces but the ragged ends can go past the page cache. Backward jobs (a move to higher
//! addresses on the same device) are cut from the end.

/// From which end a job is worked through.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub(crate) enum Direction {
    /// Ascending offsets.
    #[default]
    Forward,
    /// Descending offsets: source and destination overlap, and the destination lies higher.
    Backward,
}

/// How a job is to be cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub(crate) struct Cut {
    /// Length of the job in bytes.
    pub(crate) len: u64,
    /// Where the reference extent begins on its device, in bytes.
    pub(crate) base: u64,
    /// Alignment of cuts on the reference device, in bytes, a power of two.
    pub(crate) granule: u32,
    /// The largest piece in bytes, a multiple of `granule`.
    pub(crate) max: u32,
    /// From which end.
    pub(crate) direction: Direction,
}

impl Cut {
    /// The piece after `taken` bytes have been handed out: offset in the job and length.
    /// `None` when nothing is left.
    pub(crate) fn piece(&self, taken: u64) -> Option<(u64, u32)> {
        let left = self.len.checked_sub(taken).filter(|left| *left > 0)?;
        let granule = u64::from(self.granule);
        // `granule` is a power of two: no division.
        let beyond = |bytes: u64| bytes & (granule - 1);
        // The edge that was reached, on the device; cutting makes the other edge aligned.
        let (edge, ragged) = match self.direction {
            Direction::Forward => {
                let edge = self.base.saturating_add(taken);
                (edge, beyond(granule - beyond(edge)))
            }
            Direction::Backward => {
                let edge = self.base.saturating_add(left);
                (edge, beyond(edge))
            }
        };
        debug_assert!(edge >= self.base);
        let len = if ragged > 0 {
            left.min(ragged)
        } else {
            let whole = left.min(u64::from(self.max));
            if whole > granule { whole - beyond(whole) } else { whole }
        };
        let len32 = u32::try_from(len).unwrap_or(self.max);
        let offset = match self.direction {
            Direction::Forward => taken,
            Direction::Backward => left - u64::from(len32),
        };
        Some((offset, len32))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn all(cut: Cut) -> Vec<(u64, u32)> {
        let (mut taken, mut pieces) = (0, Vec::new());
        while let Some((offset, len)) = cut.piece(taken) {
            pieces.push((offset, len));
            taken += u64::from(len);
        }
        pieces
    }

    #[test]
    fn whole_job_of_one_block_is_one_piece() {
        let cut =
            Cut { len: 4096, base: 512, granule: 512, max: 65536, direction: Direction::Forward };
        assert_eq!(all(cut), [(0, 4096)]);
    }

    #[test]
    fn ragged_ends_are_pieces_of_their_own() {
        let cut =
            Cut { len: 10_000, base: 100, granule: 4096, max: 8192, direction: Direction::Forward };
        assert_eq!(all(cut), [(0, 3996), (3996, 4096), (8092, 1908)]);
        let back = Cut { direction: Direction::Backward, ..cut };
        assert_eq!(all(back), [(8092, 1908), (3996, 4096), (0, 3996)]);
    }

    proptest! {
        #[test]
        fn pieces_cover_the_job_once_in_order_for_all(
            len in 0u64..2_000_000, base in 0u64..100_000, shift in 0u32..4, pages in 1u32..64,
            backward: bool,
        ) {
            let direction = if backward { Direction::Backward } else { Direction::Forward };
            let cut = Cut { len, base, granule: 512 << shift, max: pages * 4096, direction };
            let mut pieces = all(cut);
            if backward {
                pieces.reverse();
            }
            let mut at = 0;
            for (offset, piece) in &pieces {
                prop_assert_eq!(*offset, at);
                prop_assert!(*piece > 0 && *piece <= cut.max);
                at += u64::from(*piece);
            }
            prop_assert_eq!(at, len);
            for (offset, _) in pieces.iter().skip(1) {
                prop_assert_eq!((base + offset) % u64::from(cut.granule), 0);
            }
        }
    }
}
