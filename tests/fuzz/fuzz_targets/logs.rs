//! Any bytes as the small things beside the data: the log of bad blocks, the header of a partial parity
//! log, a block of a journal, the header of a backup.
#![no_main]

use libfuzzer_sys::fuzz_target;
use reshape::metadata::{BackupHeader, JournalBlock, PplHeader, Uuid, bad_blocks};

fuzz_target!(|bytes: &[u8]| {
    let shift = bytes.first().copied().unwrap_or(0);
    if let Ok(bad) = bad_blocks::parse(bytes, shift) {
        if let Ok(written) = bad_blocks::to_bytes(&bad, shift, 4096) {
            assert_eq!(bad_blocks::parse(&written, shift), Ok(bad));
        }
    }
    let _ = PplHeader::parse(bytes, Uuid([7; 16]));
    let _ = JournalBlock::parse(bytes, Uuid([7; 16]));
    let mut mended = bytes.to_vec();
    mended.resize(bytes.len().max(512), 0);
    mended[..16].copy_from_slice(b"md_backup_data-2");
    for at in [64, 96] {
        mended[at..at + 4].copy_from_slice(&0x2492_4915_u32.to_le_bytes());
    }
    for bytes in [bytes, &mended] {
        if let Ok(header) = BackupHeader::parse(bytes) {
            assert_eq!(BackupHeader::parse(&header.to_bytes()), Ok(header));
        }
    }
});
