//! Directories for a test's files, removed on drop.

use std::path::{Path, PathBuf};
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

/// The same, with the paths of files in it that are still to be made.
///
/// # Panics
///
/// When it cannot be made.
#[must_use]
pub fn with_paths<const N: usize>(names: [&str; N]) -> (TempDir, [PathBuf; N]) {
    let dir = on_disk();
    let paths = names.map(|name| dir.path().join(name));
    (dir, paths)
}

/// A path as it stands on a command line.
///
/// # Panics
///
/// When it is no text; paths of tests are.
#[must_use]
pub fn text(path: &Path) -> &str {
    path.to_str().expect("paths of the tests are text")
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
