//! `reshape create`

use std::path::PathBuf;

use clap::{Args, ValueEnum, ValueHint};
use reshape::geometry::Level;
use reshape::metadata::Version;
use reshape::plan::WantedSize;

use super::plan::size;
use super::{AskArgs, MoverArgs};
use crate::args::Progress;
use crate::units::{KibSize, Size};

const AFTER: &str = "\
First come the members in the order of their slots, then the spares; the word missing leaves a slot \
empty. What other arrays have written on the devices is named before it is wiped. Initial parity is \
computed from what the devices hold, unless --assume-clean says that it is right; an interrupted \
computation is finished by reshape check --repair, or by the kernel.

With --create-files the members are made as sparse files. Their content is zeros, so that parity is \
right without being computed.

Examples:
  reshape create -l 5 -n 3 /dev/sd[bcd]1
  reshape create -l 6 -n 4 -x 1 -c 64 -N backup --bitmap internal /dev/sd[bcdef]1
  reshape create -l 10 -n 4 -p f2 --create-files 1GiB m0 m1 m2 m3
  reshape create -l 5 -n 3 -e 1.0 --assume-clean /dev/sdb1 missing /dev/sdd1";

/// Make a new array
#[derive(Clone, Debug, Args)]
#[command(after_long_help = AFTER)]
pub(crate) struct CreateArgs {
    /// Devices of the slots, then of the spares; "missing" leaves a slot empty
    #[arg(value_name = "DEV", required = true, value_hint = ValueHint::AnyPath)]
    pub(crate) devices: Vec<PathBuf>,
    /// Level: linear, 0, 1, 4, 5, 6 or 10
    #[arg(short, long)]
    pub(crate) level: Level,
    /// Slots of the array
    #[arg(short = 'n', long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) raid_devices: u32,
    /// Devices that wait for a slot
    #[arg(short = 'x', long, value_name = "N", default_value_t = 0)]
    pub(crate) spare_devices: u32,
    /// Layout, as mdadm names them [default: that of mdadm]
    #[arg(short = 'p', long, visible_alias = "parity")]
    pub(crate) layout: Option<String>,
    /// Chunk; without a unit in KiB [default: 512 KiB]; of a linear array what members are rounded to
    #[arg(short, long, value_name = "SIZE", visible_alias = "rounding")]
    pub(crate) chunk: Option<KibSize>,
    /// Version of the superblocks: 0.90, 1.0, 1.1 or 1.2
    #[arg(short = 'e', long, value_name = "VERSION", default_value = "1.2")]
    pub(crate) metadata: Version,
    /// What is used of each member; without a unit in KiB; max, the default: what the smallest has
    #[arg(short = 'z', long, value_name = "SIZE", value_parser = size)]
    pub(crate) size: Option<WantedSize>,
    /// Where data begins on each member; without a unit in KiB [default: as mdadm, with room for later
    /// reshapes]
    #[arg(long, value_name = "SIZE")]
    pub(crate) data_offset: Option<KibSize>,
    /// Write-intent bitmap, which shortens what follows a crash
    #[arg(short, long, value_enum, default_value = "none")]
    pub(crate) bitmap: NewBitmap,
    /// What one bit of the bitmap stands for; without a unit in KiB [default: 64 MiB or more]
    #[arg(long, value_name = "SIZE")]
    pub(crate) bitmap_chunk: Option<KibSize>,
    /// Name of the array; mdadm has HOST:NAME
    #[arg(short = 'N', long, default_value = "")]
    pub(crate) name: String,
    /// Parity or copies are right already: compute nothing
    #[arg(long)]
    pub(crate) assume_clean: bool,
    /// Make the members, as sparse files of this size; none of them may exist
    #[arg(long, value_name = "SIZE")]
    pub(crate) create_files: Option<Size>,
    #[command(flatten)]
    pub(crate) ask: AskArgs,
    /// How progress is told, on standard error
    #[arg(long, value_enum, default_value = "auto")]
    pub(crate) progress: Progress,
    /// Print the new array as JSON, as reshape detail does
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) mover: MoverArgs,
}

/// Whether there is a write-intent bitmap.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum NewBitmap {
    /// On each member
    Internal,
    /// Not at all
    None,
}
