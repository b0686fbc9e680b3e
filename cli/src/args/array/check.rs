//! `reshape check`

use clap::Args;

use super::{ArrayArgs, RunArgs};

const AFTER: &str = "\
Mismatches are counted in sectors, as the kernel counts them. With two parities (RAID6) the member that \
is wrong is named, and it is the one that is mended. With one parity, or one copy against another, \
nobody can tell which is wrong: parity is computed anew, and the first copy counts. So with two where Q \
stays on the last member (layouts that end in -6) and other rows have both of them wrong, as mdadm may leave them.

Exit codes: 0 everything agrees, or was repaired; 1 something does not agree, or could not be read; \
2 refused; 130 interrupted.

Examples:
  reshape check /dev/sd[bcd]1
  reshape check --repair --yes --json m*.img";

/// Read all of an array and compare parity and copies
#[derive(Clone, Debug, Args)]
#[command(after_long_help = AFTER)]
pub(crate) struct CheckArgs {
    #[command(flatten)]
    pub(crate) array: ArrayArgs,
    /// Make parity and copies agree, and write anew what could not be read
    #[arg(long)]
    pub(crate) repair: bool,
    /// Do not ask
    #[arg(short = 'R', long, visible_alias = "run", requires = "repair")]
    pub(crate) yes: bool,
    /// Go on although checks forbid it, as with a dirty array that lacks a member
    #[arg(short, long, requires = "repair")]
    pub(crate) force: bool,
    #[command(flatten)]
    pub(crate) run: RunArgs,
}
