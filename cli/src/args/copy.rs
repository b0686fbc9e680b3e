//! `kcopy copy`

use std::path::PathBuf;

use clap::{Args, ValueEnum, ValueHint};

use super::{EngineArgs, Progress};
use crate::units::Size;

const AFTER: &str = "\
A missing destination file is created, one that is too short is extended, one that is longer \
keeps its tail. A block device must be large enough and must not be in use. Everything is checked \
before the first byte is written: a refused copy has changed nothing and created nothing.

Examples:
  kcopy copy disk.img /dev/sdb /dev/sdc         one read, two durable copies
  kcopy copy --verify disk.img copy.img         read back and compared
  kcopy copy --map job.map /dev/sdb backup.img  run it again to go on after an interruption
  kcopy copy --skip 1GiB --count 64s a.img b.img";

/// Copy a file or block device to one or more destinations, reading it once
#[derive(Clone, Debug, Args)]
#[command(after_long_help = AFTER)]
pub(crate) struct CopyArgs {
    /// File or block device to read
    #[arg(value_hint = ValueHint::AnyPath)]
    pub(crate) source: PathBuf,
    /// Files or block devices to write, up to 64
    #[arg(value_name = "DEST", required = true, value_hint = ValueHint::AnyPath)]
    pub(crate) destinations: Vec<PathBuf>,

    /// Begin so far into the source
    #[arg(long, value_name = "SIZE", default_value = "0")]
    pub(crate) skip: Size,
    /// Begin so far into every destination
    #[arg(long, value_name = "SIZE", default_value = "0")]
    pub(crate) seek: Size,
    /// Copy so many bytes instead of all up to the end of the source
    #[arg(long, value_name = "SIZE")]
    pub(crate) count: Option<Size>,

    /// Holes and zeros of the source
    #[arg(long, value_enum, value_name = "WHEN", default_value = "auto")]
    pub(crate) sparse: Sparse,
    /// Do not make the copies durable before the command ends (--verify does)
    #[arg(long)]
    pub(crate) no_flush: bool,
    /// Read every destination back past the page cache and compare
    #[arg(long)]
    pub(crate) verify: bool,
    /// Go on after errors; what could not be read is zeros in the copies, and listed
    #[arg(long)]
    pub(crate) continue_on_error: bool,
    /// Remember in FILE what is durable; the same command goes on from there. FILE is removed when
    /// everything is done
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath, conflicts_with = "no_flush")]
    pub(crate) map: Option<PathBuf>,
    /// Milliseconds between two notes in the map, at most
    #[arg(long, value_name = "MS", default_value_t = 2000, hide = true)]
    pub(crate) map_interval: u64,
    /// At most so many bytes per second
    #[arg(long, value_name = "SIZE")]
    pub(crate) rate: Option<Size>,
    /// How progress is told, on standard error
    #[arg(long, value_enum, default_value = "auto")]
    pub(crate) progress: Progress,
    /// Print the result as JSON
    #[arg(long)]
    pub(crate) json: bool,

    #[command(flatten)]
    pub(crate) engine: EngineArgs,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Sparse {
    /// Are not written but zeroed or punched
    Auto,
    /// Are written like all the rest
    Never,
}
