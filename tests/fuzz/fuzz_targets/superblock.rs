//! Any bytes as a superblock of each version: no panic, and what is read is written again with the
//! same bytes. Magic and checksum are mended, so that the fuzzer gets behind them.
#![no_main]

use kcopy::Sectors;
use libfuzzer_sys::fuzz_target;
use reshape::metadata::{Superblock, Version};

fuzz_target!(|bytes: &[u8]| {
    for version in Version::ALL {
        let Ok(at) = version.place(Sectors::new(1 << 20)) else { continue };
        let _ = Superblock::parse(bytes, version, at);
        let mut mended = bytes.to_vec();
        mended.resize(4096, 0);
        mend(&mut mended, version);
        let Ok(superblock) = Superblock::decode(&mended, version, at) else { continue };
        assert_eq!(superblock.to_bytes(), mended);
        check(superblock, version);
    }
});

fn mend(bytes: &mut [u8], version: Version) {
    let big = version == Version::V0 && bytes[100] & 1 == 1;
    let word = |number: u32| if big { number.to_be_bytes() } else { number.to_le_bytes() };
    bytes[..4].copy_from_slice(&word(0xa92b_4efc));
    bytes[4..8].copy_from_slice(&word(u32::from(version != Version::V0)));
    if version == Version::V0 {
        let minor = 90 + u32::from(bytes[101] & 1);
        bytes[8..12].copy_from_slice(&word(minor));
    }
}

/// With a new checksum the superblock is good, whatever it says.
fn check(mut superblock: Superblock, version: Version) {
    let at = superblock.at();
    superblock.move_to(at);
    superblock.set_events(superblock.events());
    let bytes = superblock.to_bytes();
    let read = Superblock::parse(&bytes, version, at).expect("the checksum was computed");
    assert_eq!(read.to_bytes(), bytes);
    let _ = (read.restrictions(), read.bitmap_at(), read.bad_blocks_at(), read.ppl_area());
    for number in 0..read.max_dev() {
        let _ = read.role_of(number);
    }
    if let Superblock::V1(v1) = &read {
        let _ = v1.room(Sectors::new(1 << 20), Sectors::new(8));
        let _ = v1.name().to_string();
    }
    let mut reverted = read.clone();
    if reverted.revert_reshape().is_ok() {
        let once = reverted.reshape().expect("it goes back");
        let before = read.reshape().expect("it was under way");
        assert_eq!(once.position, before.position);
        assert_eq!(once.raid_disks_new, before.raid_disks_old().expect("it was checked"));
    }
    let _ = read.clone().abandon_reshape();
}
