//! What the source has, part by part: data, holes, and nothing where it has become shorter; and which
//! parts of the destinations need zeros.

use std::ops::Range;

use kcopy::{Device, SECTOR_SIZE, Sector};

/// A hole smaller than this is read like data: seeking it costs more than reading it.
const SMALLEST_HOLE: u64 = 64 << 10;

/// What a part of the source consists of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Content {
    Data,
    /// It reads as zeros and takes no space.
    Hole,
    /// The source ends before it: it has become shorter.
    Gone,
}

/// A run of bytes of the copy, counted from its start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Segment {
    pub(crate) range: Range<u64>,
    pub(crate) content: Content,
}

/// Whether holes are told apart from data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Holes {
    AreFound,
    AreData,
}

/// The content of the source, asked for as the copy gets there.
#[derive(Debug)]
pub(crate) struct Extents {
    source: Device,
    holes: Holes,
    /// Where the copy begins on it.
    skip: u64,
    /// Parts end at multiples of so many bytes.
    unit: u64,
    /// The lowest end of the source that was seen, in bytes of it. What was once gone stays gone.
    end: u64,
    /// The run that was found last, in bytes of the source: data or a hole.
    last: Segment,
}

impl Extents {
    /// The content of `source` from byte `skip` on, in parts of whole `unit`s.
    pub(crate) fn of(source: &Device, skip: u64, unit: u64, holes: Holes) -> Self {
        let last = Segment { range: 0..0, content: Content::Data };
        Self { source: source.clone(), holes, skip, unit: unit.max(1), end: u64::MAX, last }
    }

    /// What `range` of the copy consists of.
    pub(crate) fn within(&mut self, range: Range<u64>) -> Vec<Segment> {
        self.look();
        let (there, gone) = self.split(range);
        let mut found = match self.holes {
            Holes::AreFound => self.runs(there),
            Holes::AreData => vec![Segment { range: there, content: Content::Data }],
        };
        found.push(Segment { range: gone, content: Content::Gone });
        found.retain(|segment| !segment.range.is_empty());
        found
    }

    /// Cuts `range` of the copy in what the source still has, as far as is known, and what is gone.
    pub(crate) fn split(&self, range: Range<u64>) -> (Range<u64>, Range<u64>) {
        let end = self.end.saturating_sub(self.skip);
        let end = (end - end % self.unit).clamp(range.start, range.end);
        (range.start..end, end..range.end)
    }

    /// The lowest end of the source that was seen, in bytes of it.
    pub(crate) fn end(&self) -> u64 {
        self.end
    }

    /// Looks where the source ends now.
    pub(crate) fn look(&mut self) {
        let size = self.source.refresh_size().unwrap_or_else(|_| self.source.size());
        self.end = self.end.min(size);
    }

    /// A read found that the source ends in `sector`.
    pub(crate) fn ended_in(&mut self, sector: Sector) {
        self.look();
        // A device does not tell its new size, and a file may have grown again.
        let at = sector.checked_bytes().unwrap_or(u64::MAX);
        if self.end > at.saturating_add(SECTOR_SIZE) {
            self.end = at;
        }
    }

    /// The runs of data and holes that `range` of the copy consists of.
    fn runs(&mut self, range: Range<u64>) -> Vec<Segment> {
        let mut found: Vec<Segment> = Vec::new();
        let mut at = range.start;
        while at < range.end {
            let run = self.run_at(at + self.skip);
            let end = (run.range.end - self.skip).min(range.end);
            let small = run.range.end - run.range.start < SMALLEST_HOLE;
            let content = if small { Content::Data } else { run.content };
            match found.last_mut() {
                Some(last) if last.content == content => last.range.end = end,
                _ => found.push(Segment { range: at..end, content }),
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
        let rest = Segment { range: at..u64::MAX, content: Content::Data };
        let size = self.source.size();
        if at >= size {
            return rest;
        }
        self.source.extents(at, size - at).next().map_or(rest, |run| Segment {
            range: run.offset..run.offset.saturating_add(run.len),
            content: if run.hole { Content::Hole } else { Content::Data },
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

    /// A file of 8 MiB with two pages of data, and its content.
    fn sparse() -> (tempfile::NamedTempFile, Extents) {
        let file = tempfile::NamedTempFile::new().unwrap();
        file.as_file().set_len(8 << 20).unwrap();
        file.as_file().write_all_at(&[1; 4096], 1 << 20).unwrap();
        file.as_file().write_all_at(&[1; 4096], (1 << 20) + 8192).unwrap();
        let device = Device::open(file.path(), &kcopy::device::OpenOptions::source()).unwrap();
        (file, Extents::of(&device, 0, 1, Holes::AreFound))
    }

    fn ranges(segments: &[Segment], content: Content) -> Vec<(u64, u64)> {
        let of_it = segments.iter().filter(|segment| segment.content == content);
        of_it.map(|segment| (segment.range.start, segment.range.end)).collect()
    }

    #[test]
    fn holes_of_a_file_are_found_and_small_ones_are_data() {
        let (_file, mut extents) = sparse();
        let data = ranges(&extents.within(0..8 << 20), Content::Data);
        // A file system without holes says that all is data.
        if data != [(0, 8 << 20)] {
            assert_eq!(data, [(1 << 20, (1 << 20) + 12288)]);
        }
    }

    /// A hole that was found before the file was cut off was taken for one that is still there.
    #[test]
    fn what_is_cut_off_is_gone_also_from_a_hole_and_stays_gone() {
        let (file, mut extents) = sparse();
        assert!(ranges(&extents.within(0..4 << 20), Content::Gone).is_empty());
        for len in [(5 << 20) + 777, 9 << 20] {
            file.as_file().set_len(len).unwrap();
            let found = extents.within(4 << 20..8 << 20);
            assert_eq!(ranges(&found, Content::Gone), [((5 << 20) + 777, 8 << 20)], "{len}");
            assert_eq!(
                found.first().map(|first| first.range.clone()),
                Some(4 << 20..(5 << 20) + 777)
            );
            assert_eq!(extents.end(), (5 << 20) + 777);
        }
        assert_eq!(ranges(&extents.within(7 << 20..8 << 20), Content::Gone), [(7 << 20, 8 << 20)]);
    }

    #[test]
    fn parts_end_at_whole_units_counted_from_where_the_copy_begins() {
        let (file, found) = sparse();
        let mut extents = Extents::of(&found.source, 1 << 20, 4096, Holes::AreData);
        file.as_file().set_len((3 << 20) + 777).unwrap();
        let gone = ranges(&extents.within(0..7 << 20), Content::Gone);
        assert_eq!(gone, [(2 << 20, 7 << 20)]);
    }

    /// A block device does not tell its new size; and a file may be as long as before again.
    #[test]
    fn end_that_a_read_found_counts_where_the_size_does_not_tell() {
        let (file, mut extents) = sparse();
        extents.ended_in(Sector::containing((6 << 20) + 100));
        assert_eq!(extents.end(), 6 << 20);
        file.as_file().set_len((5 << 20) + 777).unwrap();
        extents.ended_in(Sector::containing((5 << 20) + 777));
        assert_eq!(extents.end(), (5 << 20) + 777, "the size is exact");
    }

    #[test]
    fn ranges_are_cut_at_bounds_inside() {
        assert_eq!(cut_at(10..20, &[5, 10, 15, 15, 20, 25]), [10..15, 15..20]);
        assert_eq!(cut_at(10..20, &[]).len(), 1);
    }
}
