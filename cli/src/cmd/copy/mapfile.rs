//! The resume map as a file: read and checked before anything is written, made atomically.
//!
//! A new map is written beside its place and renamed when it is durable: whoever is killed in
//! between leaves no map, or a whole one.

use std::ffi::OsString;
use std::fs::{File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};

use kcopy::Device;
use kcopy::device::DeviceKind;
use kcopy::resume::{Identity, MAX_MAP_BYTES, MapError, MapFile, Side};
use rustix::fs::{FlockOperation, flock};

use crate::cmd::target::{Use, cause};
use crate::exit::Failure;
use crate::output::name;

/// What to do where a file is of no use as a map.
const OTHER_FILE: &str = "name another file for the map, one that you may read and write";

/// The file that a session's records go to.
#[derive(Debug)]
pub(crate) struct MapStore {
    path: PathBuf,
    /// Where a new map is until it is durable.
    fresh: Option<PathBuf>,
    file: File,
}

impl MapStore {
    /// A place for a new map. Nothing is there under its own name until the first flush.
    pub(crate) fn create(path: &Path) -> io::Result<Self> {
        let fresh = fresh_path(path);
        let file = OpenOptions::new().write(true).create(true).truncate(false).open(&fresh)?;
        lock(&file)?;
        file.set_len(0)?;
        Ok(Self { path: path.to_owned(), fresh: Some(fresh), file })
    }

    pub(crate) fn write(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.file.write_all_at(bytes, offset)
    }

    pub(crate) fn flush(&mut self) -> io::Result<()> {
        self.file.sync_data()?;
        if let Some(fresh) = &self.fresh {
            self.file.sync_all()?;
            std::fs::rename(fresh, &self.path)?;
            File::open(parent(&self.path))?.sync_all()?;
            self.fresh = None;
        }
        Ok(())
    }

    pub(crate) fn remove(self) -> io::Result<()> {
        std::fs::remove_file(self.fresh.as_ref().unwrap_or(&self.path))
    }
}

/// Where a new map is until it is durable.
pub(crate) fn fresh_path(path: &Path) -> PathBuf {
    let mut fresh: OsString = path.as_os_str().to_owned();
    fresh.push(".new");
    PathBuf::from(fresh)
}

/// A map that goes on, with its file.
#[derive(Debug)]
pub(crate) struct Found {
    pub(crate) map: MapFile,
    pub(crate) store: MapStore,
}

/// Reads the map at `path`; `None` if a new one is to be made. Changes nothing.
pub(crate) fn find(path: &Path) -> Result<Option<Found>, Failure> {
    let refused =
        |cause: &str| Failure::refused(format!("cannot use the map {}: {cause}", name(path)));
    let metadata = match path.metadata() {
        Ok(metadata) => metadata,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            check_parent(path)?;
            return check_fresh(path).map(|()| None);
        }
        Err(error) => return Err(refused(&cause(&error)).hint(OTHER_FILE)),
    };
    if !metadata.is_file() {
        return Err(refused("it is no regular file").hint("name a file that may be created"));
    }
    let mut file = OpenOptions::new()
        .read(true)
        .write(true)
        .open(path)
        .map_err(|error| refused(&cause(&error)).hint(OTHER_FILE))?;
    lock(&file)
        .map_err(|_| refused("another kcopy is using it").hint("wait until that copy has ended"))?;
    let mut bytes = Vec::new();
    Read::by_ref(&mut file)
        .take(MAX_MAP_BYTES + 1)
        .read_to_end(&mut bytes)
        .map_err(|error| refused(&cause(&error)).hint(OTHER_FILE))?;
    match MapFile::parse(&bytes) {
        Ok(map) => {
            let store = MapStore { path: path.to_owned(), fresh: None, file };
            Ok(Some(Found { map, store }))
        }
        Err(MapError::Empty) if bytes.is_empty() => check_fresh(path).map(|()| None),
        Err(MapError::Empty | MapError::NotAMap) => {
            Err(refused("this is not a map of kcopy").hint("name another file for the map"))
        }
        Err(error) => {
            let hint = "remove it to begin from the start, or name another file";
            Err(refused(&error.to_string()).hint(hint))
        }
    }
}

/// Where a new map is made there may be what a run left that was killed while it made one, or zeros where
/// the power went before it was durable, and nothing else: it would be lost.
fn check_fresh(path: &Path) -> Result<(), Failure> {
    let fresh = fresh_path(path);
    let refused = |cause: &str| {
        Failure::refused(format!("cannot make the map in {}: {cause}", name(&fresh)))
            .hint("move it away, or name another file for the map")
    };
    match fresh.symlink_metadata() {
        Ok(metadata) if metadata.is_file() => {}
        Ok(_) => return Err(refused("it is no regular file")),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(refused(&cause(&error))),
    }
    let mut bytes = Vec::new();
    File::open(&fresh)
        .and_then(|file| file.take(MAX_MAP_BYTES + 1).read_to_end(&mut bytes))
        .map_err(|error| refused(&cause(&error)))?;
    let is_longer = u64::try_from(bytes.len()).is_ok_and(|len| len > MAX_MAP_BYTES);
    if is_longer || matches!(MapFile::parse(&bytes), Err(MapError::NotAMap)) {
        return Err(refused("there is a file by that name, and it is no map"));
    }
    Ok(())
}

/// Whether the map at `path` is for the copy that is asked for.
pub(crate) fn check_match(path: &Path, map: &MapFile, now: &Identity) -> Result<(), Failure> {
    map.identity().matches(now).map_err(|mismatch| {
        let message = format!("cannot go on with the map {}: {mismatch}", name(path));
        Failure::refused(message).hint(
            "a map goes with one copy of an unchanged source; give the same arguments again, or \
             remove the map to begin from the start",
        )
    })
}

/// What makes this copy the same when it is run again.
pub(crate) fn identity(
    (source, skip): (&Device, u64),
    destinations: &[&Device],
    seek: u64,
    length: u64,
) -> io::Result<Identity> {
    let side = |device: &Device| Ok(Side::new(lasting_name(device, false)?, 0, seek));
    let destinations: io::Result<Vec<Side>> = destinations.iter().copied().map(side).collect();
    Ok(Identity {
        source: Side::new(lasting_name(source, true)?, source.size(), skip),
        destinations: destinations?,
        length,
        chunk: Identity::chunk_for(length, chunk_size(length)),
        nonce: u64::from(std::process::id()),
    })
}

/// Chunks that a map keeps apart: small enough that little is copied again.
fn chunk_size(length: u64) -> u64 {
    const STEP: u64 = 64 << 10;
    (length / 256).next_multiple_of(STEP).clamp(STEP, 16 << 20)
}

/// The path in its simplest form; for a file also which one it is and, for a source, when it was
/// changed last.
fn lasting_name(device: &Device, with_time: bool) -> io::Result<Vec<u8>> {
    let path = device.path().canonicalize()?;
    let mut bytes = path.as_os_str().as_bytes().to_vec();
    if device.facts().kind == DeviceKind::File {
        let metadata = path.metadata()?;
        bytes.extend(format!("\0{}:{}", metadata.dev(), metadata.ino()).bytes());
        if with_time {
            bytes.extend(format!("@{}.{}", metadata.mtime(), metadata.mtime_nsec()).bytes());
        }
    }
    Ok(bytes)
}

/// The directory that holds `path`.
pub(crate) fn parent(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        Some(_) => Path::new("."),
        None => path,
    }
}

/// Whether a file could be created at `path`.
pub(crate) fn check_parent(path: &Path) -> Result<(), Failure> {
    let parent = parent(path);
    let refused = |cause: &str| Failure::refused(format!("cannot create {}: {cause}", name(path)));
    if path.file_name().is_none() {
        return Err(refused("this names no file").hint("give the name of a file"));
    }
    match parent.metadata() {
        Ok(metadata) if metadata.is_dir() => {}
        Ok(_) => {
            let failure = refused(&format!("{} is no directory", name(parent)));
            return Err(failure.hint("check the name"));
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let message = format!("there is no directory {}", name(parent));
            return Err(refused(&message).hint("create the directory first"));
        }
        Err(error) => {
            let failure = Use::Read.refused(parent, &cause(&error));
            return Err(failure.hint("choose a directory that you may write to"));
        }
    }
    use rustix::fs::Access;
    rustix::fs::access(parent, Access::WRITE_OK | Access::EXEC_OK).map_err(|error| {
        let error = io::Error::from(error);
        refused(&format!("{}: {}", name(parent), cause(&error)))
            .hint("choose a directory that you may write to")
    })
}

fn lock(file: &File) -> io::Result<()> {
    Ok(flock(file, FlockOperation::NonBlockingLockExclusive)?)
}
