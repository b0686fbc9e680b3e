//! An array whose members are new sparse files.

use std::fs::OpenOptions;
use std::io;
use std::path::PathBuf;

use kcopy::device::OpenError;
use kcopy::{Device, Sectors};

use super::{Blank, Content, CreateError, CreatePlan, Seat, Wanted};
use crate::metadata::Uuid;
use crate::mover::Mover;

/// The files that become members: those of the slots, then the spares.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewFiles {
    /// Their paths; none of them exists yet. `None`: the slot stays empty.
    pub paths: Vec<Option<PathBuf>>,
    /// The size of each.
    pub size: Sectors,
}

/// Why no array on new files was made. Files that were made for it are gone again.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FilesError {
    /// A file could not be made; one that exists is not touched.
    #[error("cannot make {}", path.display())]
    Make {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A new file could not be opened.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The array was not made.
    #[error(transparent)]
    Create(#[from] CreateError),
}

/// Makes files and an array of them, whatever [`Wanted::content`] says: new files hold zeros.
///
/// `uuids` gives each member its own name.
///
/// # Errors
///
/// A file that exists already or cannot be made, or what [`CreatePlan::new`] and
/// [`CreatePlan::execute`] refuse. No file is left behind.
pub fn create_files(
    mover: &mut Mover,
    wanted: &Wanted,
    files: &NewFiles,
    uuids: &mut dyn FnMut() -> Uuid,
) -> Result<CreatePlan, FilesError> {
    let mut made = Vec::new();
    let result = make(mover, wanted, files, uuids, &mut made);
    if result.is_err() {
        for path in &made {
            // The error that is told is the one that led here.
            let _ = std::fs::remove_file(path);
        }
    }
    result
}

fn make(
    mover: &mut Mover,
    wanted: &Wanted,
    files: &NewFiles,
    uuids: &mut dyn FnMut() -> Uuid,
    made: &mut Vec<PathBuf>,
) -> Result<CreatePlan, FilesError> {
    let mut seats = Vec::with_capacity(files.paths.len());
    for path in &files.paths {
        let Some(path) = path else {
            seats.push(Seat::Missing);
            continue;
        };
        let error = |source| FilesError::Make { path: path.clone(), source };
        let bytes =
            files.size.checked_bytes().ok_or_else(|| error(io::ErrorKind::FileTooLarge.into()))?;
        let file = OpenOptions::new().write(true).create_new(true).open(path).map_err(error)?;
        made.push(path.clone());
        file.set_len(bytes).map_err(error)?;
        drop(file);
        let device = Device::open(path, &kcopy::device::OpenOptions::destination())?;
        seats.push(Seat::Taken(Blank { device, uuid: uuids(), found: Vec::new() }));
    }
    let wanted = Wanted { content: Content::Zeros, ..wanted.clone() };
    let plan = CreatePlan::new(&wanted, &seats).map_err(CreateError::from)?;
    plan.execute(mover)?;
    Ok(plan)
}
