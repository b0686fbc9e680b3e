//! `reshape detail`

use clap::Args;

use super::ArrayArgs;

const AFTER: &str = "\
The array may lack members, and be in the middle of a reshape. Members that missed changes are told \
as stale and not used.

Exit codes: 0 done, 1 failed, 2 bad usage or no array. With --test those of mdadm: 0 the array works as \
it should, 1 a member is missing, 2 too many are missing, 4 no array could be found.

Examples:
  reshape detail /dev/sd[bcd]1
  reshape detail --json m0.img m1.img m2.img
  reshape detail --test -qq /dev/sd[bcd]1 || echo look at it";

/// Show the array that members make up: its shape, its state, what became of each member
#[derive(Clone, Debug, Args)]
#[command(after_long_help = AFTER)]
pub(crate) struct DetailArgs {
    #[command(flatten)]
    pub(crate) array: ArrayArgs,
    /// Print KEY=VALUE lines
    #[arg(short = 'Y', long, conflicts_with_all = ["brief", "json"])]
    pub(crate) export: bool,
    /// Print one line, as in mdadm.conf
    #[arg(short, long, conflicts_with = "json")]
    pub(crate) brief: bool,
    /// Tell the state by the exit code
    #[arg(short, long)]
    pub(crate) test: bool,
    /// Print the result as JSON
    #[arg(long)]
    pub(crate) json: bool,
}
