//! The file behind `--event-log`.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use reshape::machine::log::EventLog;

use crate::clock::Epoch;
use crate::cmd::target::cause;
use crate::exit::Failure;
use crate::output::{Screen, name};

/// How the file begins.
pub(crate) const HEADING: &str = "# reshape event log 1";

/// A log that is being written, a line at a time, so that a killed process leaves all but its last
/// line.
pub(crate) struct LogFile {
    path: PathBuf,
    log: EventLog,
    /// The first write that failed; nothing is written after it.
    fault: Arc<Mutex<Option<io::Error>>>,
}

impl LogFile {
    /// Goes on in the file, or begins it; `None` without a path.
    ///
    /// Nothing but an event log is appended to.
    pub(crate) fn begin(path: Option<&Path>) -> Result<Option<Self>, Failure> {
        let Some(path) = path else { return Ok(None) };
        let refused = |why: String| {
            Failure::refused(format!("cannot write the event log {}: {why}", name(path)))
                .hint("name a new file; nothing was changed")
        };
        let mut file = open(path).map_err(|error| refused(cause(&error)))?;
        let kind = file.metadata().map_err(|error| refused(cause(&error)))?;
        if kind.file_type().is_block_device() {
            return Err(refused("it is a block device".to_owned()));
        }
        if kind.len() == 0 {
            writeln!(file, "{HEADING}").map_err(|error| refused(cause(&error)))?;
        } else if kind.is_file() && !is_log(&file) {
            return Err(refused("it exists and is no event log".to_owned()));
        }
        let fault = Arc::new(Mutex::new(None));
        let (first, epoch) = (Arc::clone(&fault), Epoch::begin());
        let log = EventLog::new(move |entry| {
            let mut first = first.lock().unwrap_or_else(PoisonError::into_inner);
            if first.is_none() {
                let line = format!("{} {entry}\n", epoch.millis());
                *first = file.write_all(line.as_bytes()).err();
            }
        });
        Ok(Some(Self { path: path.to_owned(), log, fault }))
    }

    /// What the library writes to.
    pub(crate) fn log(&self) -> EventLog {
        self.log.clone()
    }

    /// Says whether everything was written; the reshape itself does not depend on it.
    pub(crate) fn tell(&self, screen: Screen) {
        let fault = self.fault.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(error) = &*fault {
            let why = cause(error);
            screen.problem(&format!(
                "the event log {} is not complete: {why}; the reshape is not affected",
                name(&self.path)
            ));
        }
    }
}

fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).append(true).create(true).open(path)
}

/// Whether the file begins as a log does. Reading does not move where appended lines go.
fn is_log(file: &File) -> bool {
    let mut start = Vec::new();
    let read = file.take(64).read_to_end(&mut start);
    read.is_ok() && start.starts_with(HEADING.as_bytes())
}
