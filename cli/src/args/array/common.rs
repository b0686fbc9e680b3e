//! What several commands have in common.

use std::path::PathBuf;

use clap::{Args, ValueHint};

use super::MoverArgs;
use crate::args::Progress;

/// The array, by its members.
#[derive(Clone, Debug, Args)]
pub(crate) struct ArrayArgs {
    /// Members of the array, in any order
    #[arg(value_name = "DEV", required = true, value_hint = ValueHint::AnyPath)]
    pub(crate) devices: Vec<PathBuf>,
}

/// Whether a command that writes asks first.
#[derive(Clone, Copy, Debug, Args)]
pub(crate) struct AskArgs {
    /// Do not ask
    #[arg(short = 'R', long, visible_alias = "run")]
    pub(crate) yes: bool,
}

/// How a command that moves data works, and what it tells meanwhile and at the end.
#[derive(Clone, Debug, Args)]
pub(crate) struct RunArgs {
    /// How progress is told, on standard error
    #[arg(long, value_enum, default_value = "auto")]
    pub(crate) progress: Progress,
    /// Print the result as JSON
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) mover: MoverArgs,
}

/// Where the events of a reshape are written down.
#[derive(Clone, Debug, Args)]
pub(crate) struct LogArgs {
    /// Write down everything that the reshape does, for reshape replay; appended to if it exists
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) event_log: Option<PathBuf>,
}
