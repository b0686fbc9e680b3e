//! Any bytes as a bitmap: no panic, and what is read is written again with the same bytes.
#![no_main]

use libfuzzer_sys::fuzz_target;
use reshape::metadata::Bitmap;

fuzz_target!(|bytes: &[u8]| {
    let mut mended = bytes.to_vec();
    mended.resize(bytes.len().max(512), 0xff);
    mended[..8].copy_from_slice(b"bitm\x04\0\0\0");
    for bytes in [bytes, &mended] {
        let Ok(mut bitmap) = Bitmap::parse(bytes) else { continue };
        assert_eq!(bitmap.to_bytes(), bytes);
        let bits = bitmap.header().bits();
        let dirty: Vec<u64> = bitmap.dirty().collect();
        assert!(dirty.iter().all(|chunk| *chunk < bits && bitmap.is_dirty(*chunk) == Some(true)));
        for chunk in dirty {
            assert!(bitmap.set_clean(chunk));
        }
        assert_eq!(bitmap.dirty().count(), 0);
        assert_eq!(bitmap.is_dirty(bits), None);
    }
});
