//! Any bytes as a resume map: no panic, and what is read back is consistent. Checksums are mended
//! first, so that the fuzzer gets behind them.
#![no_main]

use kcopy::resume::MapFile;
use libfuzzer_sys::fuzz_target;

/// Size of the header, as in `docs/formats/resume-map.md`.
const HEADER: usize = 4096;

fuzz_target!(|bytes: &[u8]| {
    check(bytes);
    let mut mended = bytes.to_vec();
    if mended.len() < HEADER {
        mended.resize(3 * HEADER, 0);
    }
    mended[..8].copy_from_slice(b"KCOPYMAP");
    mended[8..12].copy_from_slice(&1u32.to_le_bytes());
    let crc = crc32c(&mended[..HEADER - 4]).to_le_bytes();
    mended[HEADER - 4..HEADER].copy_from_slice(&crc);
    check(&mended);
});

fn check(bytes: &[u8]) {
    if let Ok(map) = MapFile::parse(bytes) {
        assert!(map.file_size() <= bytes.len() as u64);
        assert!(map.claimed_bytes() <= map.identity().length);
        let chunks = map.identity().chunks();
        assert!(map.claimed().len() <= chunks);
        assert_eq!(map.claimed().is_full(), map.claimed().first_missing(0).is_none());
    }
}

/// The checksum of Castagnoli, bit by bit.
fn crc32c(bytes: &[u8]) -> u32 {
    let step = |crc: u32, _| (crc >> 1) ^ (0x82f6_3b78 & (crc & 1).wrapping_neg());
    !bytes.iter().fold(!0, |crc, byte| (0..8).fold(crc ^ u32::from(*byte), step))
}
