//! The image of a device, as the runs of sectors it is made of.

use std::io;
use std::sync::Arc;

use kcopy::{Sector, Sectors};
use reshape::metadata::ReadAt;

use super::words;

/// Bytes of a sector.
pub(super) const SECTOR: usize = 512;

/// Some sectors.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Run {
    /// `count` sectors that follow from the first word and the factor (see `words`).
    Words {
        /// How many.
        count: u64,
        /// The first word of the first of them.
        first: u64,
        /// The factor.
        factor: u8,
    },
    /// Sectors as they are.
    Verbatim(Vec<u8>),
}

impl Run {
    fn sectors(&self) -> u64 {
        match self {
            Self::Words { count, .. } => *count,
            Self::Verbatim(bytes) => (bytes.len() / SECTOR) as u64,
        }
    }

    fn sector(&self, index: u64) -> [u8; SECTOR] {
        match self {
            Self::Words { first, factor, .. } => {
                words::sector(words::later(*first, *factor, index), *factor)
            }
            Self::Verbatim(bytes) => {
                let at = usize::try_from(index).expect("an index of what is in memory") * SECTOR;
                bytes[at..at + SECTOR].try_into().expect("as long as a sector")
            }
        }
    }

    fn is_zero(&self) -> bool {
        matches!(self, Self::Words { first: 0, factor: 0, .. })
    }
}

/// A device's content. It takes memory only for what is no array content: cheap to clone.
#[derive(Clone, Debug)]
pub struct Image {
    runs: Arc<[(u64, Run)]>,
    sectors: u64,
    crc: u32,
}

impl Image {
    pub(super) fn new(runs: Vec<Run>, crc: u32) -> Self {
        let mut sectors = 0;
        let placed = runs.into_iter().map(|run| {
            let first = sectors;
            sectors += run.sectors();
            (first, run)
        });
        Self { runs: placed.collect(), sectors, crc }
    }

    /// Bytes of the device.
    #[must_use]
    pub const fn size(&self) -> u64 {
        self.sectors * SECTOR as u64
    }

    /// Sector `number`.
    ///
    /// # Panics
    ///
    /// When it is behind the end.
    #[must_use]
    pub fn sector(&self, number: u64) -> [u8; SECTOR] {
        assert!(number < self.sectors, "sector {number} of {}", self.sectors);
        let index = self.runs.partition_point(|(first, _)| *first <= number) - 1;
        let (first, run) = &self.runs[index];
        run.sector(number - first)
    }

    /// `length` bytes from byte `at` on, both multiples of 512.
    ///
    /// # Panics
    ///
    /// When they are not, or the device ends before.
    #[must_use]
    pub fn read(&self, at: u64, length: usize) -> Vec<u8> {
        let mut bytes = vec![0; length];
        self.read_into(at, &mut bytes).expect("the range is on the device");
        bytes
    }

    /// Fills `buffer` with the bytes from byte `at` on.
    ///
    /// # Errors
    ///
    /// `InvalidInput` unless position and length are multiples of 512, `UnexpectedEof` when the
    /// device ends before.
    pub fn read_into(&self, at: u64, buffer: &mut [u8]) -> io::Result<()> {
        let sector = SECTOR as u64;
        if !at.is_multiple_of(sector) || !buffer.len().is_multiple_of(SECTOR) {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        let first = at / sector;
        let count = (buffer.len() / SECTOR) as u64;
        if first.checked_add(count).is_none_or(|end| end > self.sectors) {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        for (number, bytes) in (first..).zip(buffer.chunks_exact_mut(SECTOR)) {
            bytes.copy_from_slice(&self.sector(number));
        }
        Ok(())
    }

    /// Whether all of its bytes are those that were packed.
    #[must_use]
    pub fn check(&self) -> bool {
        static ZEROS: [u8; 1 << 16] = [0; 1 << 16];
        let (mut crc, mut at) = (0, 0);
        for (start, bytes) in self.parts().chain([(self.size(), Vec::new())]) {
            while at < start {
                let gap = usize::try_from(start - at).unwrap_or(ZEROS.len());
                let zeros = &ZEROS[..gap.min(ZEROS.len())];
                crc = crc32c::crc32c_append(crc, zeros);
                at += zeros.len() as u64;
            }
            crc = crc32c::crc32c_append(crc, &bytes);
            at += bytes.len() as u64;
        }
        crc == self.crc
    }

    /// All that is not zero: byte positions and bytes, in order.
    pub fn parts(&self) -> impl Iterator<Item = (u64, Vec<u8>)> {
        self.runs.iter().filter(|(_, run)| !run.is_zero()).map(|(first, run)| {
            let mut bytes = Vec::new();
            for index in 0..run.sectors() {
                bytes.extend_from_slice(&run.sector(index));
            }
            (first * SECTOR as u64, bytes)
        })
    }
}

impl ReadAt for Image {
    fn size(&self) -> Sectors {
        Sectors::new(self.sectors)
    }

    fn read_at(&self, at: Sector, buffer: &mut [u8]) -> io::Result<()> {
        self.read_into(at.checked_bytes().ok_or(io::ErrorKind::InvalidInput)?, buffer)
    }
}
