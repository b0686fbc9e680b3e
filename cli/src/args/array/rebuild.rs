//! `reshape rebuild`

use std::path::PathBuf;

use clap::{Args, ValueHint};

use super::MoverArgs;
use crate::args::Progress;

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
    /// Members of the array, in any order
    #[arg(value_name = "DEV", required = true, value_hint = ValueHint::AnyPath)]
    pub(crate) devices: Vec<PathBuf>,
    /// Device that becomes a member; all that is on it is lost. May be given several times
    #[arg(short, long, value_name = "DEV", value_hint = ValueHint::AnyPath)]
    pub(crate) add: Vec<PathBuf>,
    /// Do not ask
    #[arg(short = 'R', long, visible_alias = "run")]
    pub(crate) yes: bool,
    /// Go on although checks forbid it: a device of another array, a dirty array that lacks a member
    #[arg(short, long)]
    pub(crate) force: bool,
    /// How progress is told, on standard error
    #[arg(long, value_enum, default_value = "auto")]
    pub(crate) progress: Progress,
    /// Print the result as JSON
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) mover: MoverArgs,
}
