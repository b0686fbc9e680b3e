//! What can be said to `reshape`: names and short letters are mdadm's where mdadm has the option.

use clap::{Parser, Subcommand};

use super::{GenerateArgs, Talk};

mod bitmap;
mod check;
mod common;
mod create;
mod detail;
mod examine;
mod export;
mod going;
mod grow;
mod import;
mod layout;
mod mover;
mod plan;
mod rebuild;
mod replay;
mod salvage;

pub(crate) use bitmap::BitmapArgs;
pub(crate) use check::CheckArgs;
pub(crate) use common::{ArrayArgs, AskArgs, LogArgs, RunArgs};
pub(crate) use create::{CreateArgs, NewBitmap};
pub(crate) use detail::DetailArgs;
pub(crate) use examine::ExamineArgs;
pub(crate) use export::ExportArgs;
pub(crate) use going::{
    ContinueArgs, MovingArgs, OngoingArgs, RestoreArgs, RevertArgs, StatusArgs,
};
pub(crate) use grow::{DemoArgs, GrowArgs};
pub(crate) use import::ImportArgs;
pub(crate) use layout::LayoutArgs;
pub(crate) use mover::MoverArgs;
pub(crate) use plan::{Bitmap, ChangeArgs, PlanArgs};
pub(crate) use rebuild::RebuildArgs;
pub(crate) use replay::ReplayArgs;
pub(crate) use salvage::SalvageArgs;

/// Shown at the end of the long help.
const AFTER: &str = "\
An array is given by its members, block devices or files, in any order. Commands that only look \
open them read-only. Commands that write claim them first, name what they will change and ask, \
unless --yes is given; --force overrides checks, and is another option.

Exit codes: 0 done, 1 failed or something is wrong, 2 bad usage or refused before anything was \
written, 130 interrupted; detail --test has those of mdadm. Exit codes and the keys of --json are \
stable, the text for people is not.

Sizes are whole numbers with a unit: 4096B (bytes), 8s (sectors of 512 bytes), 4K or 4KiB (times \
1024), 4KB (times 1000); also M, G, T, P and E. Without a unit they count KiB where mdadm has the \
same option, and bytes elsewhere.";

/// Linux md arrays in user space: looks at them, creates, reads, checks and repairs them
#[derive(Debug, Parser)]
#[command(name = "reshape", version, after_long_help = AFTER, max_term_width = 100)]
#[command(propagate_version = true, subcommand_required = true, arg_required_else_help = true)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
    #[command(flatten)]
    pub(crate) talk: Talk,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    Examine(ExamineArgs),
    Detail(DetailArgs),
    Create(CreateArgs),
    Export(ExportArgs),
    Import(ImportArgs),
    Check(CheckArgs),
    Rebuild(RebuildArgs),
    Bitmap(BitmapArgs),
    Plan(PlanArgs),
    Grow(GrowArgs),
    Status(StatusArgs),
    Continue(ContinueArgs),
    Restore(RestoreArgs),
    Revert(RevertArgs),
    Salvage(SalvageArgs),
    Replay(ReplayArgs),
    Layout(LayoutArgs),
    Demo(DemoArgs),
    #[command(hide = true)]
    Generate(GenerateArgs),
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn command_line_is_consistent() {
        Cli::command().debug_assert();
    }
}
