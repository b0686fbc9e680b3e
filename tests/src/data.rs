//! Bytes that follow from a seed and their position.
//!
//! A block that was read or written at the wrong place does not compare equal to the one that
//! belongs there, and no block is all zeroes. Positions and lengths are bytes.

use std::fs::File;
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::path::Path;

const WORD: usize = 8;
const CHUNK: usize = 1 << 20;

/// A small deterministic generator; the stream of a seed never changes between versions.
#[derive(Clone, Debug)]
pub struct Random {
    state: u64,
}

impl Random {
    /// The generator of this seed.
    #[must_use]
    pub const fn new(seed: u64) -> Self {
        Self { state: seed }
    }

    /// The next number.
    pub fn next_u64(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        mix(self.state)
    }

    /// The next number below `bound`.
    ///
    /// # Panics
    ///
    /// When `bound` is zero.
    pub fn below(&mut self, bound: u64) -> u64 {
        assert!(bound > 0, "there is no number below zero");
        self.next_u64() % bound
    }
}

/// What `KCOPY_SEED` says; where it says nothing, a seed that is new in every run. Print it, so that
/// a run that failed can be had again.
///
/// # Panics
///
/// When `KCOPY_SEED` is no number.
#[must_use]
pub fn seed_of_this_run() -> u64 {
    use std::hash::{BuildHasher, RandomState};
    let given = std::env::var("KCOPY_SEED").ok();
    given.map_or_else(
        || RandomState::new().hash_one(0),
        |text| text.parse().expect("KCOPY_SEED is a decimal number"),
    )
}

/// Fills `buffer` with the bytes that the stream of `seed` has from byte `position` on.
pub fn fill(seed: u64, position: u64, buffer: &mut [u8]) {
    let word_bytes = WORD as u64;
    let mut word = position / word_bytes;
    let skip = usize::try_from(position % word_bytes).expect("a remainder of eight");
    let (head, body) = buffer.split_at_mut(((WORD - skip) % WORD).min(buffer.len()));
    if skip > 0 {
        let bytes = word_at(seed, word);
        head.copy_from_slice(&bytes[skip..skip + head.len()]);
        word += 1;
    }
    for target in body.chunks_mut(WORD) {
        target.copy_from_slice(&word_at(seed, word)[..target.len()]);
        word += 1;
    }
}

/// The first `len` bytes of the stream of `seed`.
#[must_use]
pub fn bytes(seed: u64, len: usize) -> Vec<u8> {
    let mut all = vec![0; len];
    fill(seed, 0, &mut all);
    all
}

/// Makes the file `path` hold exactly the first `len` bytes of the stream of `seed`.
///
/// # Panics
///
/// When it cannot be written.
pub fn write_file(path: &Path, seed: u64, len: u64) {
    let file = File::create(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    write_stream(&file, path, seed, len);
}

/// Writes the first `len` bytes of the stream of `seed` over the head of a file or device that is
/// there already.
///
/// # Panics
///
/// When it cannot be written.
pub fn overwrite(path: &Path, seed: u64, len: u64) {
    let file = File::options()
        .write(true)
        .open(path)
        .unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    write_stream(&file, path, seed, len);
    file.sync_all().unwrap_or_else(|error| panic!("{}: {error}", path.display()));
}

/// Writes the first `len` bytes of the stream of `seed` over `len` bytes at `position` of a file
/// or device that is there already.
///
/// # Panics
///
/// When it cannot be written.
pub fn overwrite_at(path: &Path, seed: u64, position: u64, len: usize) {
    File::options()
        .write(true)
        .open(path)
        .and_then(|file| file.write_all_at(&bytes(seed, len), position))
        .unwrap_or_else(|error| panic!("{} at {position}: {error}", path.display()));
}

/// The first `len` bytes at `position` of a file or device.
///
/// # Panics
///
/// When it cannot be read, or ends before.
#[must_use]
pub fn read_at(path: &Path, position: u64, len: usize) -> Vec<u8> {
    let mut all = vec![0; len];
    File::open(path)
        .and_then(|file| file.read_exact_at(&mut all, position))
        .unwrap_or_else(|error| panic!("{} at {position}: {error}", path.display()));
    all
}

/// Panics unless the `len` bytes of `found` at `found_at` equal those of `expected` at
/// `expected_at`; says where they first differ.
///
/// # Panics
///
/// When a byte differs, or one of them ends before.
pub fn expect_equal(
    (expected, expected_at): (&Path, u64),
    (found, found_at): (&Path, u64),
    len: u64,
) {
    let mut done = 0;
    while done < len {
        let step = usize::try_from(len - done).map_or(CHUNK, |left| left.min(CHUNK));
        let want = read_at(expected, expected_at + done, step);
        let have = read_at(found, found_at + done, step);
        if want != have {
            let differs = want.iter().zip(&have).position(|(want, have)| want != have);
            let differs = differs.expect("they differ");
            panic!(
                "{} differs from {} at byte {} of {len}: {:#04x} instead of {:#04x}",
                found.display(),
                expected.display(),
                done + differs as u64,
                have[differs],
                want[differs]
            );
        }
        done += step as u64;
    }
}

fn write_stream(mut file: &File, path: &Path, seed: u64, len: u64) {
    let mut buffer = vec![0; CHUNK];
    let mut done = 0;
    while done < len {
        let step = usize::try_from(len - done).map_or(CHUNK, |left| left.min(CHUNK));
        fill(seed, done, &mut buffer[..step]);
        file.write_all(&buffer[..step])
            .unwrap_or_else(|error| panic!("{} at {done}: {error}", path.display()));
        done += step as u64;
    }
}

fn word_at(seed: u64, word: u64) -> [u8; WORD] {
    let position = word.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    mix(seed.rotate_left(32) ^ position).to_le_bytes()
}

/// Spreads every bit of the input over the output (the finaliser of splitmix64).
const fn mix(mut bits: u64) -> u64 {
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    bits ^ (bits >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fill_gives_the_same_bytes_from_any_position() {
        let whole = bytes(7, 100);
        for start in 0..40 {
            for len in 0..40 {
                let mut part = vec![0; len];
                fill(7, start as u64, &mut part);
                assert_eq!(part, whole[start..start + len], "{len} bytes at {start}");
            }
        }
    }

    #[test]
    fn seeds_differ() {
        assert_ne!(bytes(1, 64), bytes(2, 64));
    }

    #[test]
    fn file_holds_the_stream() {
        let dir = crate::tmp::on_disk();
        let path = dir.path().join("f");
        let len = CHUNK + 513;
        write_file(&path, 3, len as u64);
        assert_eq!(read_at(&path, 0, len), bytes(3, len));
        assert_eq!(std::fs::metadata(&path).unwrap().len(), len as u64);
    }

    #[test]
    #[should_panic(expected = "differs from")]
    fn expect_equal_notices_one_byte() {
        let dir = crate::tmp::on_disk();
        let (one, two) = (dir.path().join("one"), dir.path().join("two"));
        write_file(&one, 3, 5000);
        write_file(&two, 3, 5000);
        expect_equal((&one, 0), (&two, 0), 5000);
        File::options().write(true).open(&two).unwrap().write_all_at(&[0], 4999).unwrap();
        expect_equal((&one, 0), (&two, 0), 5000);
    }
}
