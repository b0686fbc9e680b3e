//! `kcopy jobs`

use std::path::PathBuf;

use clap::{Args, ValueHint};

use super::{Backend, Direct};
use crate::units::Size;

const AFTER: &str = "\
FILE has one copy per line: offset in the source, offset in the destination and length, whole \
numbers of bytes with blanks between. A line without a length copies one block (--block-size). \
Empty lines and lines that begin with # are skipped. Lines that lie side by side, in the source \
and in the destination, are copied as one, and reported line by line if that fails. The copies \
are done in any order; their destinations must not overlap. The destination is flushed once, at \
the end.

Examples:
  kcopy jobs --list extents.txt disk.img copy.img
  kcopy jobs --list random.txt --block-size 4KiB --depth 256 /dev/sdb /dev/sdc";

/// Do many copies from one file or block device to another, given as a list
#[derive(Clone, Debug, Args)]
#[command(after_long_help = AFTER)]
pub(crate) struct JobsArgs {
    /// File or block device to read
    #[arg(value_name = "SRC", value_hint = ValueHint::AnyPath)]
    pub(crate) source: PathBuf,
    /// File or block device to write; it must exist and be large enough
    #[arg(value_name = "DST", value_hint = ValueHint::AnyPath)]
    pub(crate) destination: PathBuf,
    /// The list
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) list: PathBuf,
    /// Length of a copy whose line has none
    #[arg(long, value_name = "SIZE", default_value = "4KiB")]
    pub(crate) block_size: Size,
    /// Copies on their way at once, if the pool has room for them; neighbours count as one
    #[arg(long, value_name = "N", default_value_t = 128,
        value_parser = clap::value_parser!(u32).range(1..=4096))]
    pub(crate) depth: u32,
    /// Do not make the copies durable before the command ends
    #[arg(long)]
    pub(crate) no_flush: bool,
    /// Memory for data on its way: reserved at the start, never exceeded
    #[arg(long, value_name = "SIZE", default_value = "4MiB")]
    pub(crate) pool: Size,
    /// How the system is asked to read and write
    #[arg(long, value_enum, default_value = "auto")]
    pub(crate) backend: Backend,
    /// Whether the page cache is bypassed (O_DIRECT)
    #[arg(long, value_enum, value_name = "WHEN", default_value = "auto")]
    pub(crate) direct: Direct,
    /// Print the result as JSON
    #[arg(long)]
    pub(crate) json: bool,
}
