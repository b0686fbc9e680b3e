//! What can be said on the command line: raw arguments, nothing decided here.

use clap::{ArgAction, Args, Parser, Subcommand, ValueEnum};

use crate::units::Size;

pub(crate) mod array;
mod compare;
mod copy;
mod generate;
mod info;
mod jobs;
mod zero;

pub(crate) use compare::CompareArgs;
pub(crate) use copy::{CopyArgs, Sparse};
pub(crate) use generate::{Generate, GenerateArgs};
pub(crate) use info::InfoArgs;
pub(crate) use jobs::JobsArgs;
pub(crate) use zero::ZeroArgs;

/// Shown at the end of the long help.
const AFTER: &str = "\
Exit codes: 0 done, 1 some destination or range failed (compare: different), 2 bad usage or \
refused before anything was written, 130 interrupted. Exit codes and the keys of --json are \
stable, the text for people is not.

Sizes are whole numbers with a unit: 4096 or 4096B (bytes), 8s (sectors of 512 bytes), \
4K or 4KiB (times 1024), 4KB (times 1000); also M, G, T, P and E.";

/// Copies files and block devices: one read, many durable destinations, a verdict for each
#[derive(Debug, Parser)]
#[command(name = "kcopy", version, after_long_help = AFTER, max_term_width = 100)]
#[command(propagate_version = true, subcommand_required = true, arg_required_else_help = true)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
    #[command(flatten)]
    pub(crate) talk: Talk,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    Copy(CopyArgs),
    Zero(ZeroArgs),
    Compare(CompareArgs),
    Info(InfoArgs),
    Jobs(JobsArgs),
    #[command(hide = true)]
    Generate(GenerateArgs),
}

/// How much is said, and how.
#[derive(Clone, Copy, Debug, Args)]
#[command(next_help_heading = "Messages")]
pub(crate) struct Talk {
    /// Say more; twice and three times for debugging
    #[arg(short, long, global = true, action = ArgAction::Count)]
    pub(crate) verbose: u8,
    /// No progress and no summary; twice: no messages at all, the exit code only
    #[arg(short, long, global = true, action = ArgAction::Count)]
    pub(crate) quiet: u8,
    /// When to use colour
    #[arg(long, global = true, value_name = "WHEN", default_value = "auto")]
    pub(crate) color: Choice,
}

/// On a terminal, always, never.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Choice {
    /// On a terminal, unless NO_COLOR is set
    Auto,
    /// Always
    Always,
    /// Never
    Never,
}

/// How the copy engine works.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Engine")]
pub(crate) struct EngineArgs {
    /// Memory for data on its way: reserved at the start, never exceeded
    #[arg(long, value_name = "SIZE", default_value = "4MiB")]
    pub(crate) pool: Size,
    /// Largest single read or write
    #[arg(long, value_name = "SIZE", default_value = "1MiB")]
    pub(crate) request_size: Size,
    /// Reads and writes on their way at once, at most
    #[arg(long, value_name = "N", default_value_t = 4,
        value_parser = clap::value_parser!(u32).range(1..=4096))]
    pub(crate) requests: u32,
    /// How the system is asked to read and write
    #[arg(long, value_enum, default_value = "auto")]
    pub(crate) backend: Backend,
    /// Whether the page cache is bypassed (O_DIRECT)
    #[arg(long, value_enum, value_name = "WHEN", default_value = "auto")]
    pub(crate) direct: Direct,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Backend {
    /// io_uring; threads where it is refused
    Auto,
    /// io_uring or nothing
    IoUring,
    /// Threads that call pread and pwrite
    Threads,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Direct {
    /// Where the device takes it; what does not fit its alignment goes through the page cache
    Auto,
    /// Or nothing: misaligned values are refused
    Always,
    /// Everything goes through the page cache
    Never,
}

/// How progress is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Progress {
    /// A bar, if standard error is a terminal
    Auto,
    /// Not at all
    None,
    /// A line of JSON on standard error, twice a second
    Json,
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
