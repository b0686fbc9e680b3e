//! Names for machines, drawn from the system's random numbers.

use std::fs::File;
use std::io::Read;

use reshape::metadata::Uuid;

use crate::cmd::target::cause;
use crate::exit::Failure;

/// A name that nothing else has.
pub(crate) fn uuid() -> Result<Uuid, Failure> {
    let mut bytes = [0; 16];
    File::open("/dev/urandom")
        .and_then(|mut file| file.read_exact(&mut bytes))
        .map_err(|error| Failure::refused(format!("cannot draw a uuid: {}", cause(&error))))?;
    Ok(Uuid(bytes))
}
