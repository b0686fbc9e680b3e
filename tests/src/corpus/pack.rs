//! Images in few bytes.
//!
//! ```text
//! file    =  "MDIMAGE1" image...
//! image   =  length of name, name, sectors, crc32c of the bytes (4 bytes), length of runs, run...
//! run     =  count * 2,     factor (1 byte), first word ^ that of the last run with this factor
//!         |  count * 2 + 1, (zeros, length, that many bytes)... until count sectors are full
//! ```
//!
//! Numbers without a size are in groups of 7 bits, the lowest first, the last without the top bit.

use super::image::{Image, Run, SECTOR};
use super::words;

const MAGIC: &[u8; 8] = b"MDIMAGE1";

/// Packs images, each a name and its bytes.
///
/// # Panics
///
/// When an image is not a whole number of sectors.
#[must_use]
pub fn pack(images: &[(String, Vec<u8>)]) -> Vec<u8> {
    let mut packed = MAGIC.to_vec();
    for (name, bytes) in images {
        let runs = pack_runs(&runs_of(name, bytes));
        put(&mut packed, name.len() as u64);
        packed.extend_from_slice(name.as_bytes());
        put(&mut packed, (bytes.len() / SECTOR) as u64);
        packed.extend_from_slice(&crc32c::crc32c(bytes).to_le_bytes());
        put(&mut packed, runs.len() as u64);
        packed.extend_from_slice(&runs);
    }
    packed
}

/// The images in packed bytes; `None` if the bytes are damaged. That what follows from them is what
/// was packed, [`Image::check`] knows.
#[must_use]
pub fn unpack(packed: &[u8]) -> Option<Vec<(String, Image)>> {
    let mut rest = packed.strip_prefix(MAGIC)?;
    let mut images = Vec::new();
    while !rest.is_empty() {
        let length = take(&mut rest)?;
        let name = std::str::from_utf8(rest.split_off(..length)?).ok()?;
        let sectors = take(&mut rest)?;
        let crc = u32::from_le_bytes(*rest.split_off(..4)?.first_chunk()?);
        let length = take(&mut rest)?;
        let image = Image::new(unpack_runs(rest.split_off(..length)?)?, crc);
        if image.size() != (sectors * SECTOR) as u64 {
            return None;
        }
        images.push((name.to_owned(), image));
    }
    Some(images)
}

fn runs_of(name: &str, bytes: &[u8]) -> Vec<Run> {
    let (sectors, rest) = bytes.as_chunks::<SECTOR>();
    assert!(rest.is_empty(), "{name}: {} bytes are no whole number of sectors", bytes.len());
    let mut runs: Vec<Run> = Vec::new();
    for sector in sectors {
        let Some((first, factor)) = words::describe(sector) else {
            match runs.last_mut() {
                Some(Run::Verbatim(bytes)) => bytes.extend_from_slice(sector),
                _ => runs.push(Run::Verbatim(sector.to_vec())),
            }
            continue;
        };
        match runs.last_mut() {
            Some(Run::Words { count, first: start, factor: same })
                if *same == factor && words::later(*start, factor, *count) == first =>
            {
                *count += 1;
            }
            _ => runs.push(Run::Words { count: 1, first, factor }),
        }
    }
    runs
}

fn pack_runs(runs: &[Run]) -> Vec<u8> {
    let mut packed = Vec::new();
    let mut last = [0; 256];
    for run in runs {
        match run {
            Run::Words { count, first, factor } => {
                put(&mut packed, count * 2);
                packed.push(*factor);
                let last = &mut last[usize::from(*factor)];
                put(&mut packed, first ^ *last);
                *last = *first;
            }
            Run::Verbatim(bytes) => {
                put(&mut packed, (bytes.len() / SECTOR) as u64 * 2 + 1);
                pack_bytes(&mut packed, bytes);
            }
        }
    }
    packed
}

fn unpack_runs(mut rest: &[u8]) -> Option<Vec<Run>> {
    let mut runs = Vec::new();
    let mut last = [0; 256];
    while !rest.is_empty() {
        let head = take_u64(&mut rest)?;
        let count = head / 2;
        if head % 2 == 1 {
            let length = usize::try_from(count).ok()?.checked_mul(SECTOR)?;
            runs.push(Run::Verbatim(unpack_bytes(&mut rest, length)?));
            continue;
        }
        let factor = *rest.split_off_first()?;
        let last = &mut last[usize::from(factor)];
        *last ^= take_u64(&mut rest)?;
        runs.push(Run::Words { count, first: *last, factor });
    }
    Some(runs)
}

/// Zeros are counted, the bytes between them kept. Two zeros among others are no gap.
fn pack_bytes(packed: &mut Vec<u8>, bytes: &[u8]) {
    let mut rest = bytes;
    while !rest.is_empty() {
        let zeros = rest.iter().take_while(|byte| **byte == 0).count();
        rest = &rest[zeros..];
        let gap = rest.windows(3).position(|three| three == [0; 3]).unwrap_or(rest.len());
        put(packed, zeros as u64);
        put(packed, gap as u64);
        packed.extend_from_slice(&rest[..gap]);
        rest = &rest[gap..];
    }
}

fn unpack_bytes(rest: &mut &[u8], length: usize) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    while bytes.len() < length {
        let zeros = take(rest)?;
        let kept = take(rest)?;
        if zeros.checked_add(kept)? > length - bytes.len() || zeros + kept == 0 {
            return None;
        }
        bytes.resize(bytes.len() + zeros, 0);
        bytes.extend_from_slice(rest.split_off(..kept)?);
    }
    Some(bytes)
}

fn put(packed: &mut Vec<u8>, mut number: u64) {
    loop {
        let [low, ..] = (number & 0x7f).to_le_bytes();
        number >>= 7;
        if number == 0 {
            packed.push(low);
            return;
        }
        packed.push(low | 0x80);
    }
}

fn take_u64(rest: &mut &[u8]) -> Option<u64> {
    let mut number = 0;
    for shift in (0..64).step_by(7) {
        let byte = *rest.split_off_first()?;
        if shift == 63 && byte > 1 {
            return None;
        }
        number |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(number);
        }
    }
    None
}

fn take(rest: &mut &[u8]) -> Option<usize> {
    take_u64(rest).and_then(|number| usize::try_from(number).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn example() -> Vec<u8> {
        let mut bytes: Vec<u8> = (0..300).flat_map(|n| super::super::sector(3, n)).collect();
        bytes.extend_from_slice(&crate::data::bytes(5, 3 * SECTOR));
        bytes.extend_from_slice(&[0; 40 * SECTOR]);
        bytes.extend_from_slice(&[0xff; SECTOR]);
        let mut odd = [0; SECTOR];
        (odd[0], odd[300], odd[511]) = (1, 2, 3);
        bytes.extend_from_slice(&odd);
        bytes
    }

    #[test]
    fn packed_is_unpacked_and_small() {
        let images = [("m0".to_owned(), example()), ("backup".to_owned(), example())];
        let packed = pack(&images);
        assert!(packed.len() < 2 * 3 * SECTOR + 300, "{} bytes", packed.len());
        for ((name, bytes), (found, image)) in images.iter().zip(unpack(&packed).unwrap()) {
            assert_eq!(*name, found);
            assert_eq!(image.size(), bytes.len() as u64);
            assert_eq!(image.read(0, bytes.len()), *bytes);
        }
    }

    #[test]
    fn damage_is_noticed() {
        let packed = pack(&[("m0".to_owned(), example())]);
        for length in 0..packed.len() {
            let part = unpack(&packed[..length]);
            assert!(part.is_none_or(|images| images.is_empty()), "{length} bytes of it");
        }
        for at in 0..packed.len() {
            // The name is not covered by a checksum.
            if (9..11).contains(&at) {
                continue;
            }
            let mut damaged = packed.clone();
            damaged[at] ^= 2;
            let found = unpack(&damaged);
            let good = found.is_some_and(|images| images.iter().all(|(_, image)| image.check()));
            assert!(!good, "byte {at}");
        }
    }
}
