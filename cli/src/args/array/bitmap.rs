//! `reshape bitmap`

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Args, ValueEnum, ValueHint};

use super::{AskArgs, MoverArgs, NewBitmap};
use crate::exit::Failure;
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
#[command(override_usage = "reshape bitmap [OPTIONS] <DEV>... <internal|none>")]
pub(crate) struct BitmapArgs {
    // One list for both: of two, the last word before an option would be taken for the second.
    /// Members of the array, in any order; behind them what it is to have: internal (on each member) or none
    #[arg(value_name = "DEV", required = true, value_hint = ValueHint::AnyPath)]
    given: Vec<OsString>,
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

impl BitmapArgs {
    /// The members, and what the array is to have.
    ///
    /// # Errors
    ///
    /// The last word is neither `internal` nor `none`.
    pub(crate) fn array_and_bitmap(&self) -> Result<(Vec<PathBuf>, NewBitmap), Failure> {
        let refused = |last: &str| {
            let message =
                format!("cannot change the bitmap: {last:?} is neither internal nor none");
            Failure::refused(message).hint("the members come first, then what the array is to have")
        };
        let (last, devices) = self.given.split_last().ok_or_else(|| refused(""))?;
        let last = last.to_string_lossy();
        let bitmap = NewBitmap::from_str(&last, false).map_err(|_| refused(&last))?;
        if devices.is_empty() {
            return Err(Failure::refused("cannot change the bitmap: no members are named")
                .hint("name the members of the array, all that there are"));
        }
        Ok((devices.iter().map(PathBuf::from).collect(), bitmap))
    }
}
