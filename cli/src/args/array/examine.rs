//! `reshape examine`

use std::path::PathBuf;

use clap::{Args, ValueHint};

const AFTER: &str = "\
Every superblock that is found on a device is shown, also a damaged one, with the names that mdadm \
gives to the fields; what is damaged or does not fit together is said. Backup files of a reshape can \
be looked at as well.

Exit codes: 0 something of md was found on every device, 1 not on every one, 2 bad usage.

Examples:
  reshape examine /dev/sd[bcd]1
  reshape examine --export m0.img        for scripts, as mdadm --examine --export
  reshape examine --brief *.img          lines for mdadm.conf
  reshape examine --json /dev/sdb1";

/// Show what md has written on devices
#[derive(Clone, Debug, Args)]
#[command(after_long_help = AFTER)]
pub(crate) struct ExamineArgs {
    /// Block devices or files
    #[arg(value_name = "DEV", required = true, value_hint = ValueHint::AnyPath)]
    pub(crate) devices: Vec<PathBuf>,
    /// Print KEY=VALUE lines
    #[arg(short = 'Y', long, conflicts_with_all = ["brief", "json"])]
    pub(crate) export: bool,
    /// Print one line for each array, as in mdadm.conf
    #[arg(short, long, conflicts_with = "json")]
    pub(crate) brief: bool,
    /// Print the result as JSON
    #[arg(long)]
    pub(crate) json: bool,
}
