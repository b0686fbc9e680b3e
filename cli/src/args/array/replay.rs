//! `reshape replay`

use std::path::PathBuf;

use clap::{Args, ValueHint};

const AFTER: &str = "\
A log is what --event-log of reshape grow, continue and revert wrote. The machine that decides what a reshape \
does is run again and told what happened then; it must want the same, step by step. No device is opened.

Exit codes: 0 the machine agrees with the log, 1 it does not, 2 bad usage or no event log.

Example:
  reshape replay grow.log";

/// Run the event log of a reshape again, without its disks
#[derive(Clone, Debug, Args)]
#[command(after_long_help = AFTER)]
pub(crate) struct ReplayArgs {
    /// The log
    #[arg(value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) file: PathBuf,
    /// Print the result as JSON
    #[arg(long)]
    pub(crate) json: bool,
}
