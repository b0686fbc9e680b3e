//! How the data of an array is moved.

use clap::Args;

use crate::args::{Backend, Direct};
use crate::units::Size;

/// How the copy engine works.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Engine")]
pub(crate) struct MoverArgs {
    /// Memory for data on its way: reserved at the start, never exceeded [default: 2MiB a member]
    #[arg(long, value_name = "SIZE")]
    pub(crate) pool: Option<Size>,
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
    /// Bytes of the pool for an array of so many members: two of the engine's requests for each. More
    /// moves nothing faster, and its first touch is a good part of a short run.
    pub(crate) fn pool_for(&self, members: usize) -> u64 {
        let members = u64::try_from(members).unwrap_or(u64::MAX);
        let usual = members.saturating_mul(2 << 20).clamp(8 << 20, 64 << 20);
        self.pool.map_or(usual, |pool| pool.0)
    }

    /// What is enough to read metadata.
    pub(crate) fn small() -> Self {
        Self { pool: Some(Size(4 << 20)), rate: None, backend: Backend::Auto, direct: Direct::Auto }
    }
}
