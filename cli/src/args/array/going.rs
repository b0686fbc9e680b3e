//! `reshape continue`, `restore`, `revert` and `status`: a reshape that is under way.

use std::path::PathBuf;

use clap::{Args, ValueHint};

use super::{ArrayArgs, AskArgs, LogArgs, MoverArgs};
use crate::args::Progress;

const AFTER_CONTINUE: &str = "\
Finishes any reshape that the superblocks record, ours or the kernel's. Where the members alone have \
everything, nothing else is needed; otherwise the backup file that was in use, or the backup on a new \
member. The old stripes of every window are verified before it is moved: where they contradict their \
parity the record may be wrong, and nothing is overwritten.

^C stops at the next checkpoint; the same command goes on from there.

Examples:
  reshape continue /dev/sd[bcde]1
  reshape continue --yes m*.img --backup-file grow.backup";

const AFTER_RESTORE: &str = "\
Only the critical section is put back and the position recorded behind it, nothing else is moved: then the \
kernel, mdadm or reshape continue can go on without the backup.

Example:
  reshape restore m*.img --backup-file grow.backup";

const AFTER_REVERT: &str = "\
The reshape turns around where it stands and goes back to where it came from, ours or the kernel's, also one \
that was turned around before. It may have to go on for some stripes first.

Example:
  reshape revert --yes m*.img";

const AFTER_STATUS: &str = "\
Reads the superblocks and the backups, changes nothing.

Examples:
  reshape status /dev/sd[bcde]1
  reshape status --json m*.img --backup-file grow.backup";

/// Which reshape, and what may be believed.
#[derive(Clone, Debug, Args)]
pub(crate) struct OngoingArgs {
    #[command(flatten)]
    pub(crate) array: ArrayArgs,
    /// Backup file of the reshape; where one is needed, what comes next is saved there, too
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) backup_file: Option<PathBuf>,
    /// Print the result as JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// How a reshape is moved.
#[derive(Clone, Debug, Args)]
pub(crate) struct MovingArgs {
    #[command(flatten)]
    pub(crate) ask: AskArgs,
    /// Go on although checks forbid it: a backup of another time, stripes that contradict their parity
    #[arg(short, long)]
    pub(crate) force: bool,
    /// Go on without a backup of the critical section: what of it was overwritten is lost
    #[arg(long)]
    pub(crate) invalid_backup: bool,
    /// How progress is told, on standard error
    #[arg(long, value_enum, default_value = "auto")]
    pub(crate) progress: Progress,
    #[command(flatten)]
    pub(crate) mover: MoverArgs,
}

/// Finish a reshape that was interrupted
#[derive(Clone, Debug, Args)]
#[command(after_long_help = AFTER_CONTINUE)]
pub(crate) struct ContinueArgs {
    #[command(flatten)]
    pub(crate) what: OngoingArgs,
    #[command(flatten)]
    pub(crate) how: MovingArgs,
    #[command(flatten)]
    pub(crate) log: LogArgs,
}

/// Put the critical section of an interrupted reshape back from its backup
#[derive(Clone, Debug, Args)]
#[command(after_long_help = AFTER_RESTORE)]
pub(crate) struct RestoreArgs {
    #[command(flatten)]
    pub(crate) what: OngoingArgs,
    #[command(flatten)]
    pub(crate) how: MovingArgs,
}

/// Turn a reshape around and go back
#[derive(Clone, Debug, Args)]
#[command(after_long_help = AFTER_REVERT)]
pub(crate) struct RevertArgs {
    #[command(flatten)]
    pub(crate) what: OngoingArgs,
    #[command(flatten)]
    pub(crate) how: MovingArgs,
    #[command(flatten)]
    pub(crate) log: LogArgs,
}

/// Say where a reshape stands, what it waits for, and the command that goes on
#[derive(Clone, Debug, Args)]
#[command(after_long_help = AFTER_STATUS)]
pub(crate) struct StatusArgs {
    #[command(flatten)]
    pub(crate) what: OngoingArgs,
}
