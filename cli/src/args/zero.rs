//! `kcopy zero`

use std::path::PathBuf;

use clap::{Args, ValueHint};

use super::{EngineArgs, Progress};
use crate::units::Size;

const AFTER: &str = "\
Examples:
  kcopy zero --count 1MiB /dev/sdb      the first MiB
  kcopy zero --seek 4GiB disk.img       from there to the end of the file";

/// Make a file or block device, or part of it, read as zeros
#[derive(Clone, Debug, Args)]
#[command(after_long_help = AFTER)]
pub(crate) struct ZeroArgs {
    /// Files or block devices to zero, up to 64
    #[arg(value_name = "DEST", required = true, value_hint = ValueHint::AnyPath)]
    pub(crate) destinations: Vec<PathBuf>,
    /// Begin so far into every destination
    #[arg(long, value_name = "SIZE", default_value = "0")]
    pub(crate) seek: Size,
    /// Zero so many bytes instead of all up to the end
    #[arg(long, value_name = "SIZE")]
    pub(crate) count: Option<Size>,
    /// Give the space back instead of keeping it allocated
    #[arg(long)]
    pub(crate) punch: bool,
    /// Do not make it durable before the command ends
    #[arg(long)]
    pub(crate) no_flush: bool,
    /// How progress is told, on standard error
    #[arg(long, value_enum, default_value = "auto")]
    pub(crate) progress: Progress,
    /// Print the result as JSON
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) engine: EngineArgs,
}
