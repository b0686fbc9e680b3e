//! System calls that no safe wrapper offers.
//!
//! # Safety argument
//!
//! 1. Every pointer handed to the kernel is that of a local value which outlives the call.
#![allow(unsafe_code)]

use std::fs::File;
use std::os::fd::AsRawFd;

/// Number of `cachestat(2)`, the same on every architecture that Linux has.
const SYS_CACHESTAT: libc::c_long = 451;

/// `struct cachestat_range`.
#[repr(C)]
struct Range {
    offset: u64,
    len: u64,
}

/// `struct cachestat`.
#[repr(C)]
#[derive(Default)]
struct CacheStat {
    cache: u64,
    dirty: u64,
    writeback: u64,
    evicted: u64,
    recently_evicted: u64,
}

/// How many bytes of `len` bytes from `offset` on are in the page cache, about; `None` if the
/// kernel cannot tell (before 6.5).
pub(crate) fn cached_bytes(file: &File, offset: u64, len: u64) -> Option<u64> {
    let range = Range { offset, len };
    let mut stat = CacheStat::default();
    // SAFETY: both pointers are of locals that outlive the call (1), and have the kernel's layout.
    let result = unsafe {
        libc::syscall(
            SYS_CACHESTAT,
            file.as_raw_fd(),
            std::ptr::from_ref(&range),
            std::ptr::from_mut(&mut stat),
            0,
        )
    };
    let page = u64::try_from(rustix::param::page_size()).ok()?;
    (result == 0).then(|| stat.cache.saturating_mul(page))
}

/// `BLKDISCARD` of `linux/fs.h`: `_IO(0x12, 119)`.
const BLKDISCARD: libc::Ioctl = 0x1277;

/// Tells a block device that `len` bytes from `offset` on are not needed.
pub(crate) fn discard(device: &File, offset: u64, len: u64) -> std::io::Result<()> {
    let range = [offset, len];
    // SAFETY: the kernel reads two words from a local that outlives the call (1).
    let result = unsafe { libc::ioctl(device.as_raw_fd(), BLKDISCARD, std::ptr::from_ref(&range)) };
    if result == 0 { Ok(()) } else { Err(std::io::Error::last_os_error()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_just_written_is_in_the_cache() {
        let file = tempfile::tempfile().unwrap();
        std::os::unix::fs::FileExt::write_all_at(&file, &[1; 65_536], 0).unwrap();
        // Older kernels do not know; the newer ones say all.
        assert!(cached_bytes(&file, 0, 65_536).is_none_or(|bytes| bytes == 65_536));
    }
}
