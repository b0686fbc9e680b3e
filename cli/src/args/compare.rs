//! `kcopy compare`

use std::path::PathBuf;

use clap::{Args, ValueHint};

use super::{EngineArgs, Progress};
use crate::units::Size;

const AFTER: &str = "\
Exit codes: 0 everything is equal, 1 something differs or could not be read, 2 bad usage, \
130 interrupted. Without --count a different size is a difference too.

Examples:
  kcopy compare disk.img copy.img
  kcopy compare --count 1GiB disk.img /dev/sdb /dev/sdc";

/// Compare files or block devices with the first one
#[derive(Clone, Debug, Args)]
#[command(after_long_help = AFTER)]
pub(crate) struct CompareArgs {
    /// File or block device that the others are compared with
    #[arg(value_name = "A", value_hint = ValueHint::AnyPath)]
    pub(crate) source: PathBuf,
    /// Files or block devices to compare with it, up to 64
    #[arg(value_name = "B", required = true, value_hint = ValueHint::AnyPath)]
    pub(crate) others: Vec<PathBuf>,
    /// Begin so far into A
    #[arg(long, value_name = "SIZE", default_value = "0")]
    pub(crate) skip: Size,
    /// Begin so far into every B
    #[arg(long, value_name = "SIZE", default_value = "0")]
    pub(crate) seek: Size,
    /// Compare so many bytes instead of all up to the end
    #[arg(long, value_name = "SIZE")]
    pub(crate) count: Option<Size>,
    /// How progress is told, on standard error
    #[arg(long, value_enum, default_value = "auto")]
    pub(crate) progress: Progress,
    /// Print the result as JSON
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) engine: EngineArgs,
}
