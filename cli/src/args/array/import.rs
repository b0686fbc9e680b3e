//! `reshape import`

use std::path::PathBuf;

use clap::{Args, ValueHint};

use super::{ArrayArgs, AskArgs, RunArgs};
use crate::units::Size;

const AFTER: &str = "\
Parity and copies are written along. The array is marked as being written before the first change and \
as clean after the last; an array with members missing is written as far as it has them. What is not \
imported keeps its content, also the rest of a sector that the file ends in.

Examples:
  reshape import /dev/sd[bcd]1 --from content.img
  reshape import --yes m*.img --from - --count 1MiB < boot.img
  reshape import --yes m*.img --from part.img --offset 4GiB";

/// Write the content of a file into an array
#[derive(Clone, Debug, Args)]
#[command(after_long_help = AFTER)]
pub(crate) struct ImportArgs {
    #[command(flatten)]
    pub(crate) array: ArrayArgs,
    /// File or block device to read; - is standard input
    #[arg(long, value_name = "FILE", value_hint = ValueHint::AnyPath)]
    pub(crate) from: PathBuf,
    /// Begin so far into the array
    #[arg(long, value_name = "SIZE", default_value = "0")]
    pub(crate) offset: Size,
    /// So many bytes instead of all up to the end of the file
    #[arg(long, value_name = "SIZE")]
    pub(crate) count: Option<Size>,
    #[command(flatten)]
    pub(crate) ask: AskArgs,
    /// Go on although checks forbid it, as with a dirty array that lacks a member
    #[arg(short, long)]
    pub(crate) force: bool,
    #[command(flatten)]
    pub(crate) run: RunArgs,
}
