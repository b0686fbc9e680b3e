//! How the data of an array is moved.

use clap::Args;

use crate::args::{Backend, Direct};
use crate::units::Size;

/// How the copy engine works.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Engine")]
pub(crate) struct MoverArgs {
    /// Memory for data on its way: reserved at the start, never exceeded
    #[arg(long, value_name = "SIZE", default_value = "64MiB")]
    pub(crate) pool: Size,
    /// At most so many bytes per second, all members together
    #[arg(long, value_name = "SIZE")]
    pub(crate) rate: Option<Size>,
    /// How the system is asked to read and write
    #[arg(long, value_enum, default_value = "auto")]
    pub(crate) backend: Backend,
    /// Whether the page cache is bypassed (O_DIRECT)
    #[arg(long, value_enum, value_name = "WHEN", default_value = "auto")]
    pub(crate) direct: Direct,
}

impl MoverArgs {
    /// What is enough to read metadata.
    pub(crate) fn small() -> Self {
        Self { pool: Size(4 << 20), rate: None, backend: Backend::Auto, direct: Direct::Auto }
    }
}
