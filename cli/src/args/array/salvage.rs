//! `reshape salvage`

use std::path::PathBuf;

use clap::{Args, ValueHint};

use super::{ArrayArgs, RunArgs};

const AFTER: &str = "\
The recorded position of an interrupted reshape may be wrong, or differ between the members: whoever \
goes on from there destroys what is still there. This command reads everything and tells where the \
reshape has really come to, what speaks for that, and what is lost. It writes nothing, except:

--to writes the content to a file, wherever it stands on the members. Sectors that are lost are listed \
and are zeros in a new file. --yes records the position that was found on all members, so that reshape \
continue and mdadm can go on from there. Where members stopped at different stripes no position is right: \
those stripes are saved in a file, which has to be on another device, and written anew. It is the FILE of \
--mend, or one in the current directory that is removed at the end. Where the position alone does not tell \
reshape continue and mdadm that nothing behind it was overwritten, and the backup is not here that would, a new \
one that says so is made: FILE, or reshape-UUID.backup in the current directory. The command that goes on is named.

The exit code is 0 only if nothing is lost and the evidence is clear.

Examples:
  reshape salvage /dev/sd[bcde]1
  reshape salvage m*.img --backup-file grow.backup --to content.img
  reshape salvage --yes /dev/sd[bcde]1 && reshape continue /dev/sd[bcde]1
  reshape salvage --yes --mend torn.backup /dev/sd[bcde]1";

/// Find out where an interrupted reshape really stopped, and save what there is
#[derive(Clone, Debug, Args)]
#[command(after_long_help = AFTER)]
pub(crate) struct SalvageArgs {
    #[command(flatten)]
    pub(crate) array: ArrayArgs,
    /// Backup file of the reshape
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) backup_file: Option<PathBuf>,
    /// File or block device that gets the content
    #[arg(long, value_name = "FILE", value_hint = ValueHint::AnyPath)]
    pub(crate) to: Option<PathBuf>,
    /// Record the position that was found on all members
    #[arg(short = 'R', long, visible_alias = "run")]
    pub(crate) yes: bool,
    /// New file in which stripes that are torn between members are saved before they are written anew
    /// [default: reshape-UUID.torn, removed at the end], or that says in place of a missing backup that nothing was
    /// overwritten [default: reshape-UUID.backup]
    #[arg(long, value_name = "FILE", requires = "yes", value_hint = ValueHint::FilePath)]
    pub(crate) mend: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) run: RunArgs,
}
