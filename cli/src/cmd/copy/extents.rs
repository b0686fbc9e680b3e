//! Which parts of the source hold data, and which parts of the destinations need zeros.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::path::Path;

use rustix::fs::{SeekFrom, seek};
use rustix::io::Errno;

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
    file: Option<File>,
    /// Where the copy begins on it.
    skip: u64,
    /// The run that was found last, in bytes of the file.
    last: Segment,
}

impl Extents {
    /// Everything is data.
    pub(crate) fn all_data() -> Self {
        Self { file: None, skip: 0, last: Segment { range: 0..0, hole: false } }
    }

    /// The holes of the file at `path`, from byte `skip` on.
    pub(crate) fn of(path: &Path, skip: u64) -> io::Result<Self> {
        let file = File::open(path)?;
        Ok(Self { file: Some(file), skip, last: Segment { range: 0..0, hole: false } })
    }

    /// The runs of data and holes that `range` of the copy consists of.
    pub(crate) fn within(&mut self, range: Range<u64>) -> Vec<Segment> {
        if self.file.is_none() {
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

    /// The run that byte `at` of the file lies in. A file that ends before is data: reading it will
    /// tell.
    fn run_at(&mut self, at: u64) -> Segment {
        if !self.last.range.contains(&at) {
            self.last = self.find(at);
        }
        self.last.clone()
    }

    fn find(&self, at: u64) -> Segment {
        let to_the_end = |hole| Segment { range: at..u64::MAX, hole };
        let Some(file) = &self.file else { return to_the_end(false) };
        match seek(file, SeekFrom::Data(at)) {
            Ok(data) if data > at => Segment { range: at..data, hole: true },
            Ok(_) => match seek(file, SeekFrom::Hole(at)) {
                Ok(hole) if hole > at => Segment { range: at..hole, hole: false },
                _ => to_the_end(false),
            },
            // No data from here to the end of the file.
            Err(Errno::NXIO) => match seek(file, SeekFrom::End(0)) {
                Ok(end) if end > at => Segment { range: at..end, hole: true },
                _ => to_the_end(false),
            },
            Err(_) => to_the_end(false),
        }
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
        let mut extents = Extents::of(file.path(), 0).unwrap();
        let segments = extents.within(0..8 << 20);
        let data: Vec<_> = segments.iter().filter(|s| !s.hole).map(|s| s.range.clone()).collect();
        // A file system without holes says that all is data.
        if data != [0..8 << 20] {
            assert_eq!(data, [1 << 20..(1 << 20) + 12288]);
        }
        let end = extents.within((8 << 20) - 10..(8 << 20) + 10);
        assert!(end.iter().any(|s| !s.hole && s.range.end == (8 << 20) + 10), "{end:?}");
    }

    #[test]
    fn ranges_are_cut_at_bounds_inside() {
        assert_eq!(cut_at(10..20, &[5, 10, 15, 15, 20, 25]), [10..15, 15..20]);
        assert_eq!(cut_at(10..20, &[]), [10..20]);
    }
}
