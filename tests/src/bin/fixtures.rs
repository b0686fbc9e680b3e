//! Makes `tests/fixtures` from a corpus of real arrays.
//!
//! `cargo run --release -p tests --bin fixtures -- [--add] CORPUS`, where `CORPUS` has the folders `arrays`,
//! `reshapes` and `hard`, each with one folder for each array: `members.tar.xz` (images), `meta.json` and
//! `examine.txt`. With `--add` fixtures that are there already stay. Needs `tar` and `xz`.

use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use tests::corpus::{self, Image, Kind};

/// What becomes of the fixtures that are there.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Fate {
    Removed,
    Kept,
}

fn main() -> ExitCode {
    let arguments: Vec<_> = std::env::args_os().skip(1).collect();
    let (corpus, fate) = match arguments.as_slice() {
        [corpus] => (corpus, Fate::Removed),
        [add, corpus] if add == "--add" => (corpus, Fate::Kept),
        _ => return failed("usage: fixtures [--add] CORPUS"),
    };
    match make(Path::new(corpus), fate) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => failed(&error.to_string()),
    }
}

#[expect(clippy::print_stderr, reason = "a tool for developers, not the program")]
fn failed(message: &str) -> ExitCode {
    eprintln!("fixtures: {message}");
    ExitCode::FAILURE
}

#[expect(clippy::print_stdout, reason = "a tool for developers, not the program")]
fn make(corpus: &Path, fate: Fate) -> Result<(), Box<dyn Error>> {
    for kind in [Kind::Arrays, Kind::Reshapes, Kind::Hard] {
        let to = corpus::root().join(kind.folder());
        if !corpus.join(kind.folder()).exists() {
            continue;
        }
        if to.exists() && fate == Fate::Removed {
            fs::remove_dir_all(&to)?;
        }
        let mut arrays = folders(&corpus.join(kind.folder()))?;
        arrays.sort();
        for from in arrays {
            let name = from.file_name().ok_or("a folder has a name")?;
            let bytes = make_one(&from, &to.join(name))?;
            println!("{bytes:8} {}/{}", kind.folder(), name.display());
        }
    }
    Ok(())
}

fn folders(parent: &Path) -> Result<Vec<PathBuf>, Box<dyn Error>> {
    let entries: Result<Vec<_>, _> = fs::read_dir(parent)?.collect();
    Ok(entries?.into_iter().map(|entry| entry.path()).filter(|path| path.is_dir()).collect())
}

/// Gives the bytes of the packed images.
fn make_one(from: &Path, to: &Path) -> Result<usize, Box<dyn Error>> {
    fs::create_dir_all(to)?;
    let dir = tests::tmp::in_memory();
    let status = Command::new("tar")
        .arg("-xJf")
        .arg(from.join("members.tar.xz"))
        .arg("-C")
        .arg(dir.path())
        .status()?;
    if !status.success() {
        return Err(format!("{}: tar: {status}", from.display()).into());
    }
    let mut images = Vec::new();
    for entry in fs::read_dir(dir.path())? {
        let entry = entry?;
        let name = entry.file_name().into_string().map_err(|_| "a name that is no text")?;
        images.push((name, fs::read(entry.path())?));
    }
    // m2 before m10, the backup last.
    images.sort_by_key(|(name, _)| (name == "backup", name.len(), name.clone()));
    let packed = corpus::pack(&images);
    let unpacked = corpus::unpack(&packed).unwrap_or_default();
    let equal = |((_, bytes), (_, image)): (&(String, Vec<u8>), &(String, Image))| {
        image.check() && image.read(0, bytes.len()) == *bytes
    };
    if unpacked.len() != images.len() || !images.iter().zip(&unpacked).all(equal) {
        return Err(format!("{}: does not unpack to what was packed", from.display()).into());
    }
    fs::write(to.join("members"), &packed)?;
    fs::copy(from.join("meta.json"), to.join("meta.json"))?;
    let examine = fs::read_to_string(from.join("examine.txt"))?;
    // Where mdadm could not open the images there is nothing to learn.
    if !examine.contains("cannot open") {
        fs::write(to.join("examine.txt"), examine)?;
    }
    Ok(packed.len())
}
