//! `kcopy generate` and `reshape generate` (hidden): what packagers need.

use std::path::PathBuf;

use clap::{Args, Subcommand};

/// Generate man pages and shell completions
#[derive(Clone, Debug, Args)]
pub(crate) struct GenerateArgs {
    #[command(subcommand)]
    pub(crate) what: Generate,
}

#[derive(Clone, Debug, Subcommand)]
pub(crate) enum Generate {
    /// Man pages: all into a directory, or the first to standard output
    Man {
        /// Where the pages are written to
        #[arg(long, value_name = "DIR")]
        out: Option<PathBuf>,
    },
    /// A completion script, to standard output
    Completions {
        /// For which shell
        shell: clap_complete::Shell,
    },
}
