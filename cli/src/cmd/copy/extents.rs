//! Which parts of the source hold data, and which parts of the destinations need zeros.

use std::ops::Range;

use kcopy::Device;

/// A hole smaller than this is read like data: seeking it costs more than reading it.
const SMALLEST_HOLE: u64 = 64 << 10;

/// A run of bytes of the copy, counted from its start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Segment {
    pub(crate) range: Range<u64>,
    pub(crate) hole: bool,
}

/// The holes of the source, asked for as the copy gets there.
#[derive(Debug)]
pub(crate) struct Extents {
    /// The source, if it can have holes that matter.
    source: Option<Device>,
    /// Where the copy begins on it.
    skip: u64,
    /// The run that was found last, in bytes of the file.
    last: Segment,
}

impl Extents {
    /// Everything is data.
    pub(crate) fn all_data() -> Self {
        Self { source: None, skip: 0, last: Segment { range: 0..0, hole: false } }
    }

    /// The holes of `source`, from byte `skip` on.
    pub(crate) fn of(source: &Device, skip: u64) -> Self {
        let last = Segment { range: 0..0, hole: false };
        Self { source: Some(source.clone()), skip, last }
    }

    /// The runs of data and holes that `range` of the copy consists of.
    pub(crate) fn within(&mut self, range: Range<u64>) -> Vec<Segment> {
        if self.source.is_none() {
            return vec![Segment { range, hole: false }];
        }
        let mut found: Vec<Segment> = Vec::new();
        let mut at = range.start;
        while at < range.end {
            let run = self.run_at(at + self.skip);
            let end = (run.range.end - self.skip).min(range.end);
            let small = run.range.end - run.range.start < SMALLEST_HOLE;
            let hole = run.hole && !small;
            match found.last_mut() {
                Some(last) if last.hole == hole => last.range.end = end,
                _ => found.push(Segment { range: at..end, hole }),
            }
            at = end;
        }
        found
    }

    /// The run that byte `at` of the source lies in. Behind its end all is data: reading it will
    /// tell.
    fn run_at(&mut self, at: u64) -> Segment {
        if !self.last.range.contains(&at) {
            self.last = self.find(at);
        }
        self.last.clone()
    }

    fn find(&self, at: u64) -> Segment {
        let rest = Segment { range: at..u64::MAX, hole: false };
        let Some(source) = &self.source else { return rest };
        let size = source.size();
        if at >= size {
            return rest;
        }
        source.extents(at, size - at).next().map_or(rest, |run| Segment {
            range: run.offset..run.offset.saturating_add(run.len),
            hole: run.hole,
        })
    }
}

/// Cuts `range` at every one of `bounds` that lies inside it.
pub(crate) fn cut_at(range: Range<u64>, bounds: &[u64]) -> Vec<Range<u64>> {
    let mut cuts: Vec<u64> = bounds.iter().copied().filter(|b| range.contains(b)).collect();
    cuts.push(range.start);
    cuts.push(range.end);
    cuts.sort_unstable();
    cuts.dedup();
    cuts.windows(2).map(|pair| pair[0]..pair[1]).collect()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::FileExt;

    use super::*;

    #[test]
    fn holes_of_a_file_are_found_and_small_ones_are_data() {
        let file = tempfile::NamedTempFile::new().unwrap();
        file.as_file().set_len(8 << 20).unwrap();
        file.as_file().write_all_at(&[1; 4096], 1 << 20).unwrap();
        file.as_file().write_all_at(&[1; 4096], (1 << 20) + 8192).unwrap();
        let device = Device::open(file.path(), &kcopy::device::OpenOptions::source()).unwrap();
        let mut extents = Extents::of(&device, 0);
        let segments = extents.within(0..8 << 20);
        let data: Vec<_> =
            segments.iter().filter(|s| !s.hole).map(|s| (s.range.start, s.range.end)).collect();
        // A file system without holes says that all is data.
        if data != [(0, 8 << 20)] {
            assert_eq!(data, [(1 << 20, (1 << 20) + 12288)]);
        }
        let end = extents.within((8 << 20) - 10..(8 << 20) + 10);
        assert!(end.iter().any(|s| !s.hole && s.range.end == (8 << 20) + 10), "{end:?}");
    }

    #[test]
    fn ranges_are_cut_at_bounds_inside() {
        assert_eq!(cut_at(10..20, &[5, 10, 15, 15, 20, 25]), [10..15, 15..20]);
        assert_eq!(cut_at(10..20, &[]).len(), 1);
    }
}
