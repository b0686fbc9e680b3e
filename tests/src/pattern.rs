//! Content whose every sector says which it is: a misplaced, stale or foreign one names itself.
//!
//! Sector n with seed s is [`corpus::sector`]. Positions are sectors of 512 bytes. The program
//! `pattern` does the same from the command line, also in the guest of `uml-run`.

use std::fmt;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use crate::corpus;

const SECTOR: usize = 512;
/// Sectors that are compared or written at once.
const STEP: u64 = 1024;
/// How many places are named.
const SHOWN: usize = 20;

/// Sectors of a pattern.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pattern {
    /// Tells it from others: less than 2^16.
    pub seed: u64,
    /// The first sector.
    pub from: u64,
    /// How many.
    pub sectors: u64,
}

/// What a sector is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sector {
    /// Nothing but zeroes.
    Zeroes,
    /// One of a pattern.
    Of {
        /// The pattern's seed.
        seed: u64,
        /// Which of its sectors.
        number: u64,
    },
    /// None of a pattern; its first byte words.
    Foreign([u64; 2]),
}

/// Sectors that are not what they should be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Differs {
    /// The first ones, and what is there.
    pub places: Vec<(u64, Sector)>,
    /// How many differ.
    pub sectors: u64,
    /// How many were compared.
    pub of: u64,
}

impl Pattern {
    /// `sectors` sectors from the first on.
    #[must_use]
    pub const fn whole(seed: u64, sectors: u64) -> Self {
        Self { seed, from: 0, sectors }
    }

    /// Its bytes.
    #[must_use]
    pub fn bytes(self) -> Vec<u8> {
        let length = usize::try_from(self.sectors).expect("it fits into memory") * SECTOR;
        let first = corpus::sector(self.seed, 0);
        let mut bytes = first.repeat(length / SECTOR);
        for (number, sector) in (self.from..).zip(bytes.as_chunks_mut::<SECTOR>().0) {
            // The words of a sector have its number in their first five bytes.
            let [a, b, c, d, e, ..] = number.to_le_bytes();
            for word in sector.as_chunks_mut::<8>().0 {
                let [.., seed, high, place] = *word;
                *word = [a, b, c, d, e, seed, high, place];
            }
        }
        bytes
    }

    /// Writes it at its place, and flushes.
    ///
    /// # Errors
    ///
    /// When the file cannot be written.
    pub fn fill(self, file: &File) -> io::Result<()> {
        for step in self.steps() {
            file.write_all_at(&step.bytes(), step.from * SECTOR as u64)?;
        }
        file.sync_data()
    }

    /// Compares it with what is in its place; `Some` when that differs.
    ///
    /// # Errors
    ///
    /// When the file cannot be read, or ends before.
    pub fn verify(self, file: &File) -> io::Result<Option<Differs>> {
        let mut differs = Differs { places: Vec::new(), sectors: 0, of: self.sectors };
        for step in self.steps() {
            let want = step.bytes();
            let mut found = vec![0; want.len()];
            file.read_exact_at(&mut found, step.from * SECTOR as u64)?;
            if found != want {
                differs.add(step.from, &want, &found);
            }
        }
        Ok((differs.sectors > 0).then_some(differs))
    }

    fn steps(self) -> impl Iterator<Item = Self> {
        let end = self.from + self.sectors;
        let step = usize::try_from(STEP).expect("a small number");
        (self.from..end).step_by(step).map(move |from| Self {
            from,
            sectors: STEP.min(end - from),
            ..self
        })
    }
}

impl Sector {
    /// What these bytes are.
    #[must_use]
    pub fn of(bytes: &[u8; SECTOR]) -> Self {
        let (words, _) = bytes.as_chunks::<8>();
        let [first, second] = [words[0], words[1]].map(u64::from_le_bytes);
        let (number, seed) = (first & ((1 << 40) - 1), first >> 40);
        if bytes.iter().all(|byte| *byte == 0) {
            Self::Zeroes
        } else if seed < 1 << 16 && corpus::sector(seed, number) == *bytes {
            Self::Of { seed, number }
        } else {
            Self::Foreign([first, second])
        }
    }
}

impl Differs {
    /// What differs between a pattern and bytes that should be it; `None`: nothing.
    #[must_use]
    pub fn between(pattern: Pattern, found: &[u8]) -> Option<Self> {
        let mut differs = Self { places: Vec::new(), sectors: 0, of: pattern.sectors };
        let want = pattern.bytes();
        if want != found {
            differs.add(pattern.from, &want, found);
            let missing = want.len().abs_diff(found.len()).div_ceil(SECTOR);
            differs.sectors += missing as u64;
        }
        (differs.sectors > 0).then_some(differs)
    }

    fn add(&mut self, from: u64, want: &[u8], found: &[u8]) {
        let pairs = want.as_chunks::<SECTOR>().0.iter().zip(found.as_chunks::<SECTOR>().0);
        for (number, (want, found)) in (from..).zip(pairs) {
            if want == found {
                continue;
            }
            self.sectors += 1;
            if self.places.len() < SHOWN {
                self.places.push((number, Sector::of(found)));
            }
        }
    }
}

impl fmt::Display for Sector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Zeroes => write!(f, "zeroes"),
            Self::Of { seed, number } => write!(f, "sector {number} of seed {seed}"),
            Self::Foreign([first, second]) => {
                write!(f, "no pattern: {first:016x} {second:016x}")
            }
        }
    }
}

impl fmt::Display for Differs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of {} sectors differ", self.sectors, self.of)?;
        for (at, found) in &self.places {
            write!(f, "\n  at sector {at}: {found}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(sectors: u64) -> File {
        let file = tempfile::tempfile_in("/dev/shm").unwrap();
        file.set_len(sectors * SECTOR as u64).unwrap();
        file
    }

    #[test]
    fn what_was_filled_is_verified_and_nothing_around_it_written() {
        let file = file(5000);
        let pattern = Pattern { seed: 7, from: 100, sectors: 3 * STEP + 5 };
        pattern.fill(&file).unwrap();
        assert_eq!(pattern.verify(&file).unwrap(), None);
        let around = Pattern { from: 99, sectors: pattern.sectors + 2, ..pattern };
        let end = pattern.from + pattern.sectors;
        let differs = around.verify(&file).unwrap().expect("zeroes around it");
        assert_eq!(differs.places, [(99, Sector::Zeroes), (end, Sector::Zeroes)]);
    }

    #[test]
    fn a_wrong_sector_is_named() {
        let file = file(64);
        Pattern::whole(3, 64).fill(&file).unwrap();
        let at = |sector: u64| sector * SECTOR as u64;
        file.write_all_at(&corpus::sector(3, 9), at(5)).unwrap();
        file.write_all_at(&corpus::sector(4, 6), at(6)).unwrap();
        file.write_all_at(&[1], at(8) - 1).unwrap();
        let differs = Pattern::whole(3, 64).verify(&file).unwrap().expect("three differ");
        let [stale, other, foreign] = differs.places[..] else { panic!("{differs}") };
        assert_eq!(stale, (5, Sector::Of { seed: 3, number: 9 }));
        assert_eq!(other, (6, Sector::Of { seed: 4, number: 6 }));
        assert!(matches!(foreign, (7, Sector::Foreign(_))), "{differs}");
    }

    #[test]
    fn bytes_are_those_of_the_corpus() {
        let pattern = Pattern { seed: 1000, from: (1 << 39) - 1, sectors: 3 };
        for (number, sector) in (pattern.from..).zip(pattern.bytes().as_chunks().0) {
            assert_eq!(*sector, corpus::sector(1000, number));
        }
    }

    #[test]
    fn a_file_that_ends_before_is_an_error() {
        Pattern::whole(1, 65).verify(&file(64)).unwrap_err();
    }
}
