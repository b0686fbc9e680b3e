//! `reshape layout`

use clap::Args;
use reshape::geometry::Level;

use crate::units::KibSize;

const AFTER: &str = "\
Each column is a member, each row a chunk of it. A number is that chunk of the array's content, \
counted from 0; P and Q are parity. In RAID1 and RAID10 the copies of a chunk have the same number.

Examples:
  reshape layout --level 5 --raid-devices 4
  reshape layout -l 6 -n 6 --layout ddf-N-continue
  reshape layout -l 10 -n 5 --layout f2 --chunk 64";

/// Draw which member holds which chunk
#[derive(Clone, Debug, Args)]
#[command(after_long_help = AFTER)]
pub(crate) struct LayoutArgs {
    /// Level: linear, 0, 1, 4, 5, 6 or 10
    #[arg(short, long)]
    pub(crate) level: Level,
    /// Members of the array
    #[arg(short = 'n', long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) raid_devices: u32,
    /// Layout, as mdadm names them [default: that of mdadm]
    #[arg(short = 'p', long)]
    pub(crate) layout: Option<String>,
    /// Chunk; without a unit in KiB
    #[arg(short, long, value_name = "SIZE", default_value = "512")]
    pub(crate) chunk: KibSize,
    /// Draw so many rows [default: until the pattern repeats]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=4096))]
    pub(crate) rows: Option<u32>,
    /// Print the result as JSON
    #[arg(long)]
    pub(crate) json: bool,
}
