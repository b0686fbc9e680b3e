//! How the data of an array is moved.

use clap::Args;
use kcopy::Sectors;

use crate::args::{Backend, Direct};
use crate::units::Size;

/// How the copy engine works.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Engine")]
pub(crate) struct MoverArgs {
    /// Memory for data, never exceeded; half of it is for what a reshape moves at once [default: 2MiB a member,
    /// and 8 to 64MiB for what a reshape moves at once]
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

    /// The same for a reshape: of a pool that was asked for, the engine has half.
    pub(crate) fn beside_windows(&self) -> Self {
        Self { pool: self.pool.map(|pool| Size(engine_of(pool.0))), ..self.clone() }
    }

    /// The other half, for windows.
    pub(crate) fn windows(&self) -> Option<Sectors> {
        self.pool.map(|pool| Sectors::from_bytes_floor(pool.0 - engine_of(pool.0)))
    }

    /// What is enough to read metadata.
    pub(crate) fn small() -> Self {
        Self { pool: Some(Size(4 << 20)), rate: None, backend: Backend::Auto, direct: Direct::Auto }
    }
}

/// The half of a pool that the engine has, if that is not less than it needs.
fn engine_of(pool: u64) -> u64 {
    (pool / 2).max(64 << 10).min(pool)
}
