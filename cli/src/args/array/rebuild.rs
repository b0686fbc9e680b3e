//! `reshape rebuild`

use std::path::PathBuf;

use clap::{Args, ValueHint};

use super::{ArrayArgs, AskArgs, RunArgs};

const AFTER: &str = "\
Each slot without a member gets one: first those that a rebuild has begun on, then spares among the \
members, then the devices that are added. What the member held is computed and written. The \
superblocks say how far it has come, so that the same command goes on after an interruption (without \
--add: the device is a member then).

Examples:
  reshape rebuild /dev/sd[bc]1 --add /dev/sdd1
  reshape rebuild --yes m0.img m1.img spare.img";

/// Rebuild missing members of an array onto spares or new devices
#[derive(Clone, Debug, Args)]
#[command(after_long_help = AFTER)]
pub(crate) struct RebuildArgs {
    #[command(flatten)]
    pub(crate) array: ArrayArgs,
    /// Device that becomes a member; all that is on it is lost. May be given several times
    #[arg(short, long, value_name = "DEV", value_hint = ValueHint::AnyPath)]
    pub(crate) add: Vec<PathBuf>,
    #[command(flatten)]
    pub(crate) ask: AskArgs,
    /// Go on although checks forbid it: a device of another array, a dirty array that lacks a member
    #[arg(short, long)]
    pub(crate) force: bool,
    #[command(flatten)]
    pub(crate) run: RunArgs,
}
