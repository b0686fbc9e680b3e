//! Arrays of the real md driver, kept small in `tests/fixtures`.
//!
//! | folder | holds |
//! | --- | --- |
//! | `arrays/NAME` | one array at rest |
//! | `reshapes/CASE.MODE` | one reshape that ended, or was cut off |
//! | `hard/CASE.MODE` | one that was cut off where the record says little: `reshape salvage` only |
//!
//! Each has `members`, the images of its members and, if there was one, its backup file (see
//! [`image`]); `meta.json`, how it was made, what its content is and what real tools made of it; and,
//! where mdadm could look at the members, `examine.txt`.
//!
//! Sector n of an array's content with seed s is [`sector`]. The folder is made with
//! `cargo run -p tests --bin fixtures -- CORPUS`, from images as files in archives.

pub mod array;
pub mod image;
mod pack;
mod words;

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

pub use image::Image;
pub use pack::{pack, unpack};

/// The folders of the corpus.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Arrays at rest.
    Arrays,
    /// Arrays after, or amid, a reshape.
    Reshapes,
    /// Arrays amid a reshape whose record is wrong, torn or of a walk that was turned around.
    Hard,
}

impl Kind {
    /// The name of the folder.
    #[must_use]
    pub const fn folder(self) -> &'static str {
        match self {
            Self::Arrays => "arrays",
            Self::Reshapes => "reshapes",
            Self::Hard => "hard",
        }
    }
}

/// One array of the corpus.
#[derive(Clone, Debug)]
pub struct Fixture {
    /// Its name.
    pub name: String,
    /// Where its files are.
    pub path: PathBuf,
}

/// Where the corpus is kept.
#[must_use]
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures")
}

/// All arrays of a kind, in the order of their names.
///
/// # Panics
///
/// When the folder cannot be listed, or is empty.
#[must_use]
pub fn all(kind: Kind) -> Vec<Fixture> {
    let folder = root().join(kind.folder());
    let entries = fs::read_dir(&folder).unwrap_or_else(|e| panic!("{}: {e}", folder.display()));
    let mut all: Vec<Fixture> = entries
        .map(|entry| {
            let path = entry.expect("the folder can be listed").path();
            let name = path.file_name().and_then(|name| name.to_str()).expect("plain names");
            Fixture { name: name.to_owned(), path }
        })
        .collect();
    all.sort_by(|one, other| one.name.cmp(&other.name));
    assert!(!all.is_empty(), "{} is empty", folder.display());
    all
}

/// The array of that name.
///
/// # Panics
///
/// When there is none.
#[must_use]
pub fn one(kind: Kind, name: &str) -> Fixture {
    let path = root().join(kind.folder()).join(name);
    assert!(path.is_dir(), "there is no {} in {}", name, kind.folder());
    Fixture { name: name.to_owned(), path }
}

impl Fixture {
    /// What is known about it.
    ///
    /// # Panics
    ///
    /// When `meta.json` is not there or is no JSON.
    #[must_use]
    pub fn meta(&self) -> serde_json::Value {
        serde_json::from_slice(&self.read("meta.json")).expect("meta.json is JSON")
    }

    /// What mdadm printed for its members, one after the other, each with a line `# name` before
    /// it; `None` where mdadm was not asked.
    ///
    /// # Panics
    ///
    /// When the file is there and cannot be read.
    #[must_use]
    pub fn examine(&self) -> Option<String> {
        let there = self.path.join("examine.txt").exists();
        there.then(|| String::from_utf8(self.read("examine.txt")).expect("it is text"))
    }

    /// Its members by name: `m0`, `m1`, ... and `backup`, the backup file, where there was one.
    ///
    /// # Panics
    ///
    /// When they cannot be read.
    #[must_use]
    pub fn images(&self) -> Vec<(String, Image)> {
        unpack(&self.read("members")).unwrap_or_else(|| panic!("{}: damaged", self.name))
    }

    /// Its members without the backup file, in the order of their numbers.
    #[must_use]
    pub fn members(&self) -> Vec<(String, Image)> {
        let mut images = self.images();
        images.retain(|(name, _)| name != "backup");
        images
    }

    /// Makes a sparse file of each image in `folder`; gives their paths.
    ///
    /// # Panics
    ///
    /// When one cannot be written.
    #[must_use]
    pub fn unpack_into(&self, folder: &Path) -> Vec<PathBuf> {
        let write = |(name, image): (String, Image)| {
            let path = folder.join(name);
            write_sparse(&path, &image).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
            path
        };
        self.images().into_iter().map(write).collect()
    }

    fn read(&self, file: &str) -> Vec<u8> {
        let path = self.path.join(file);
        fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
    }
}

fn write_sparse(path: &Path, image: &Image) -> std::io::Result<()> {
    let file = File::create(path)?;
    file.set_len(image.size())?;
    for (at, bytes) in image.parts() {
        file.write_all_at(&bytes, at)?;
    }
    Ok(())
}

/// Sector `number` of the content of an array with seed `seed`: word j of its 64 little-endian
/// words of 64 bits is `number | seed << 40 | j << 56`.
#[must_use]
pub fn sector(seed: u64, number: u64) -> [u8; 512] {
    words::sector(number | seed << 40, 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_array_of_the_corpus_can_be_unpacked() {
        let mut images = 0;
        for (index, fixture) in [Kind::Arrays, Kind::Reshapes].into_iter().flat_map(all).enumerate()
        {
            for (name, image) in fixture.images() {
                images += 1;
                // The bytes of all of them were compared when they were packed; it takes a minute.
                assert!(index % 16 > 0 || image.check(), "{} {name}", fixture.name);
            }
            assert!(fixture.meta().is_object(), "{}", fixture.name);
        }
        assert!(images > 700, "only {images} images");
    }

    #[test]
    fn files_are_the_images() {
        let dir = crate::tmp::in_memory();
        let fixture = one(Kind::Reshapes, "b5-5to4-v10.mid");
        let paths = fixture.unpack_into(dir.path());
        for (path, (name, image)) in paths.iter().zip(fixture.images()) {
            assert!(path.ends_with(&name));
            let bytes = fs::read(path).unwrap();
            assert_eq!(image.read(0, bytes.len()), bytes, "{name}");
        }
        assert!(paths.iter().any(|path| path.ends_with("backup")));
    }
}
