//! Directories for a test's files, removed on drop.

use std::path::Path;
use tempfile::TempDir;

/// A new directory where temporary files live, usually on a disk.
///
/// # Panics
///
/// When it cannot be made.
#[must_use]
pub fn on_disk() -> TempDir {
    make(&std::env::temp_dir())
}

/// A new directory on a file system in memory.
///
/// # Panics
///
/// When it cannot be made.
#[must_use]
pub fn in_memory() -> TempDir {
    make(Path::new("/dev/shm"))
}

fn make(parent: &Path) -> TempDir {
    tempfile::Builder::new()
        .prefix("kcopy-test.")
        .tempdir_in(parent)
        .unwrap_or_else(|error| panic!("no directory in {}: {error}", parent.display()))
}
