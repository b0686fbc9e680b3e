//! `kcopy info`

use std::path::PathBuf;

use clap::{Args, ValueHint};

/// Show what is known about files and block devices, and how they would be copied
#[derive(Clone, Debug, Args)]
pub(crate) struct InfoArgs {
    /// Files or block devices
    #[arg(value_name = "PATH", required = true, value_hint = ValueHint::AnyPath)]
    pub(crate) paths: Vec<PathBuf>,
    /// Print the result as JSON
    #[arg(long)]
    pub(crate) json: bool,
}
