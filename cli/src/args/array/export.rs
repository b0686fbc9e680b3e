//! `reshape export`

use std::path::PathBuf;

use clap::{Args, ValueHint};

use super::{ArrayArgs, RunArgs};
use crate::units::Size;

const AFTER: &str = "\
Nothing is written to the members. What a missing member held is computed where the array can do that. An \
array in the middle of a reshape is read from its old and its new places as if it were one; one that \
was interrupted with a backup needs the backup file too.

A file is made as long as what is exported. Ranges that cannot be read are listed, and are zeros in a \
new file; the exit code is then 1.

Examples:
  reshape export /dev/sd[bcd]1 --to content.img
  reshape export m0.img m2.img --to - --count 1GiB | file -
  reshape export m*.img --backup-file grow.backup --to content.img";

/// Read the content of an array into a file
#[derive(Clone, Debug, Args)]
#[command(after_long_help = AFTER)]
pub(crate) struct ExportArgs {
    #[command(flatten)]
    pub(crate) array: ArrayArgs,
    /// File, block device or pipe to write; - is standard output
    #[arg(long, value_name = "FILE", value_hint = ValueHint::AnyPath)]
    pub(crate) to: PathBuf,
    /// Begin so far into the array
    #[arg(long, value_name = "SIZE", default_value = "0")]
    pub(crate) offset: Size,
    /// So many bytes instead of all up to the end
    #[arg(long, value_name = "SIZE")]
    pub(crate) count: Option<Size>,
    /// Backup file of the reshape that is under way
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) backup_file: Option<PathBuf>,
    /// Go on although checks forbid it, as with a backup file of another time
    #[arg(short, long)]
    pub(crate) force: bool,
    /// Do not make the file durable before the command ends
    #[arg(long)]
    pub(crate) no_flush: bool,
    #[command(flatten)]
    pub(crate) run: RunArgs,
}
