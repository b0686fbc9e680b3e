//! `reshape grow` and `reshape demo`

use std::path::PathBuf;

use clap::{Args, ValueHint};

use super::{ArrayArgs, AskArgs, ChangeArgs, LogArgs, RunArgs};

const AFTER: &str = "\
What will be done is what reshape plan shows for the same options; --dry-run shows it here. Everything that \
could refuse the change is looked at before anything is written.

^C stops at the next checkpoint. After an interruption of any kind reshape continue finishes the step that \
was under way, and the same reshape grow again the steps behind it; reshape revert goes back.

Examples:
  reshape grow /dev/sd[bcd]1 --add /dev/sde1 --raid-devices 4
  reshape grow m*.img --add new.img --level 6 --check-first --prove --yes
  reshape grow m*.img --chunk 128 --backup-file /var/tmp/grow.backup";

/// Change level, layout, chunk, number of members or size of an array
#[derive(Clone, Debug, Args)]
#[command(after_long_help = AFTER)]
pub(crate) struct GrowArgs {
    #[command(flatten)]
    pub(crate) array: ArrayArgs,
    #[command(flatten)]
    pub(crate) change: ChangeArgs,
    /// Show what would be done and do nothing, as reshape plan does
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Check the parity of the whole array first, and stop if it is wrong anywhere
    #[arg(long)]
    pub(crate) check_first: bool,
    /// Read all content before and after, and compare its SHA-256
    #[arg(long)]
    pub(crate) prove: bool,
    #[command(flatten)]
    pub(crate) ask: AskArgs,
    #[command(flatten)]
    pub(crate) run: RunArgs,
    #[command(flatten)]
    pub(crate) log: LogArgs,
}

const AFTER_DEMO: &str = "\
Makes an array of sparse files, fills it, begins to change it, kills the change in the middle, finishes it, and \
reads back every sector. Takes half a minute and some hundred MiB.";

/// Show a reshape that is killed in the middle and loses nothing
#[derive(Clone, Debug, Args)]
#[command(after_long_help = AFTER_DEMO)]
pub(crate) struct DemoArgs {
    /// Where the files are made, and left; without it in a folder of their own that is removed again
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub(crate) dir: Option<PathBuf>,
}
