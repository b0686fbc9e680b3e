//! `reshape bitmap`

use clap::Args;

use super::{ArrayArgs, AskArgs, MoverArgs, NewBitmap};
use crate::units::KibSize;

const AFTER: &str = "\
With a bitmap only what was being written has to be compared after a crash, instead of everything. \
It lies beside the superblock of each member, as far as there is room.

Examples:
  reshape bitmap /dev/sd[bcd]1 internal
  reshape bitmap --yes --bitmap-chunk 128M m*.img internal
  reshape bitmap /dev/sd[bcd]1 none";

/// Give an array a write-intent bitmap, or take it away
#[derive(Clone, Debug, Args)]
#[command(after_long_help = AFTER)]
pub(crate) struct BitmapArgs {
    #[command(flatten)]
    pub(crate) array: ArrayArgs,
    /// What the array is to have
    #[arg(value_name = "BITMAP", required = true, value_enum)]
    pub(crate) bitmap: NewBitmap,
    /// What one bit stands for; without a unit in KiB [default: 64 MiB or more]
    #[arg(long, value_name = "SIZE")]
    pub(crate) bitmap_chunk: Option<KibSize>,
    #[command(flatten)]
    pub(crate) ask: AskArgs,
    /// Go on although checks forbid it, as with a dirty array that lacks a member
    #[arg(short, long)]
    pub(crate) force: bool,
    /// Print the result as JSON
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) mover: MoverArgs,
}
