//! Any bytes as a device: no panic, no endless loop, no large allocation. Superblocks that begin with
//! the magic get a right checksum, so that the fuzzer gets to what they name.
#![no_main]

use libfuzzer_sys::fuzz_target;
use reshape::metadata::{ReadAt, Superblock, Version, examine};

fuzz_target!(|bytes: &[u8]| {
    let _ = examine(bytes);
    let mut mended = bytes.to_vec();
    for version in Version::ALL {
        let Ok(at) = version.place(mended.size()) else { continue };
        let start = usize::try_from(at.get() * 512).expect("it lies in memory");
        let Some(place) = mended.get_mut(start..start + 4096) else { continue };
        if let Ok(mut superblock) = Superblock::decode(place, version, at) {
            superblock.move_to(at);
            superblock.set_events(superblock.events());
            place.copy_from_slice(&superblock.to_bytes());
        }
    }
    for member in examine(&mended).members() {
        let _ = member.bitmap.as_ref().map(|found| found.as_ref().map(|map| map.dirty().count()));
    }
});
