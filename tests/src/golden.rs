//! Expected texts, kept as files in `tests/cli`, made again by running a test with `KCOPY_BLESS=1`.

use std::path::{Path, PathBuf};

/// Compares `found` with the file `name`.
///
/// # Panics
///
/// When they differ, or the file cannot be written where that was asked for.
pub fn expect(name: &str, found: &str) {
    let path: PathBuf = Path::new(env!("CARGO_MANIFEST_DIR")).join("cli").join(name);
    if std::env::var_os("KCOPY_BLESS").is_some() {
        std::fs::write(&path, found).expect("the fixture can be written");
    }
    let expected = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        expected == found,
        "{} differs; if that is meant, run this test with KCOPY_BLESS=1\n{found}",
        path.display()
    );
}

/// `text` without the blanks that end lines, and with one line break at its end: as files are kept.
#[must_use]
pub fn tidied(text: &str) -> String {
    let lines: Vec<&str> = text.trim_end().lines().map(str::trim_end).collect();
    lines.join("\n") + "\n"
}
