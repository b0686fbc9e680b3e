//! `reshape plan`, and how a change is said.

use std::path::PathBuf;

use clap::{Args, ValueHint};
use kcopy::Sectors;
use reshape::geometry::Level;
use reshape::plan::WantedSize;

use super::ArrayArgs;

use crate::units::{KibSize, Size};

const AFTER: &str = "\
Nothing is written. The members may be copies of their superblocks alone, cut behind them: then what a \
superblock says about the length of its device is believed.

What is printed: the array now and then, with pictures; each step with what it reads and writes, what \
must not fail meanwhile, and up to when it can be taken back; what is needed and what is at risk. \
A change that is not possible is refused with the reason and what would help.

Exit codes: 0 the change is possible, 2 it is refused, or bad usage.

Examples:
  reshape plan /dev/sd[bcd]1 --add /dev/sde1 --raid-devices 4
  reshape plan /dev/sd[bcd]1 --add /dev/sde1 --level 6
  reshape plan m*.img --chunk 1M --speed 180MB
  reshape plan m*.img --raid-devices 3 --array-size 2T --backup-file md0.backup --json";

/// Show how an array would be changed, step by step, without changing it
#[derive(Clone, Debug, Args)]
#[command(after_long_help = AFTER)]
pub(crate) struct PlanArgs {
    #[command(flatten)]
    pub(crate) array: ArrayArgs,
    #[command(flatten)]
    pub(crate) change: ChangeArgs,
    /// What each disk reads and writes in a second, for the time it takes
    #[arg(long, value_name = "SIZE", default_value = "150MB", conflicts_with = "measure")]
    pub(crate) speed: Size,
    /// Read from every member for a moment, to find out how fast it is
    #[arg(long)]
    pub(crate) measure: bool,
    /// Print the result as JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// What is wanted of an array, with the names that mdadm has.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Change")]
pub(crate) struct ChangeArgs {
    /// A disk that becomes a spare first, and then a member if one is needed
    #[arg(short, long, value_name = "DEV", value_hint = ValueHint::AnyPath)]
    pub(crate) add: Vec<PathBuf>,
    /// Another level: 0, 1, 4, 5, 6 or 10
    #[arg(short, long)]
    pub(crate) level: Option<Level>,
    /// Another layout, as mdadm names them; for RAID6 also preserve and normalise
    #[arg(short = 'p', long, visible_alias = "parity")]
    pub(crate) layout: Option<String>,
    /// Another chunk; without a unit in KiB
    #[arg(short, long, value_name = "SIZE")]
    pub(crate) chunk: Option<KibSize>,
    /// So many members
    #[arg(short = 'n', long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) raid_devices: Option<u32>,
    /// Use so much of each member; without a unit in KiB; max: as much as there is
    #[arg(short = 'z', long, value_name = "SIZE", value_parser = size)]
    pub(crate) size: Option<WantedSize>,
    /// Show so much of the array: the consent to lose the rest; without a unit in KiB
    #[arg(short = 'Z', long, value_name = "SIZE", value_parser = size)]
    pub(crate) array_size: Option<WantedSize>,
    /// Where the data of each member is to begin; without a unit in KiB
    #[arg(long, value_name = "SIZE")]
    pub(crate) data_offset: Option<KibSize>,
    /// A write-intent bitmap beside the superblocks, or none
    #[arg(short, long, value_name = "KIND")]
    pub(crate) bitmap: Option<Bitmap>,
    /// Where the critical section is saved: a new file on other storage
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) backup_file: Option<PathBuf>,
    /// Go on with fewer members than the array should have
    #[arg(short, long)]
    pub(crate) force: bool,
}

/// Whether there is a bitmap.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Bitmap {
    /// Beside each superblock
    Internal,
    /// None
    None,
}

/// A size in KiB unless it has a unit, or `max`.
pub(super) fn size(text: &str) -> Result<WantedSize, String> {
    if text == "max" {
        return Ok(WantedSize::Max);
    }
    let KibSize(bytes) = text.parse::<KibSize>().map_err(|error| error.to_string())?;
    if !bytes.is_multiple_of(kcopy::SECTOR_SIZE) {
        return Err(format!("{bytes} bytes are no whole sectors of 512 bytes"));
    }
    Ok(WantedSize::Is(Sectors::new(bytes / kcopy::SECTOR_SIZE)))
}
