//! `reshape plan`: what a change would do, without doing it.

use std::path::Path;
use std::time::Duration;

use kcopy::{Device, Sector, Sectors};
use reshape::array::Members;
use reshape::assemble::{Assembly, assemble};
use reshape::geometry::{Layout, Level};
use reshape::mover::Mover;
use reshape::plan::{
    Backup, Change, Plan, Present, Refusal, Spares, Speeds, WantedBitmap, WantedLayout, plan,
};

use super::given::{self, Access};
use crate::args::Direct;
use crate::args::array::{Bitmap, ChangeArgs, MoverArgs, PlanArgs};
use crate::clock;
use crate::cmd::target::{open_source, overlap};
use crate::exit::{Exit, Failure};
use crate::output::{Screen, name};
use crate::units::KibSize;

mod json;
mod picture;
mod text;

/// Read from each member to measure it, in pieces.
const MEASURED: u64 = 256 << 20;
const PIECE: u64 = 2 << 20;
/// Longest measurement of a member.
const MOMENT: Duration = Duration::from_secs(1);

/// What a plan is made for.
struct Subject {
    mover: Mover,
    members: Members,
    assembly: Assembly,
}

pub(crate) fn run(args: &PlanArgs, screen: Screen) -> Result<Exit, Failure> {
    let mut args = args.clone();
    given::settle(&mut args.array.devices, &mut args.change.add, Direct::Auto);
    let args = &args;
    let mut subject = Subject::open(args)?;
    match subject.plan(&args.change) {
        Ok((present, plan)) => {
            let speeds = if args.measure {
                subject.measure()?
            } else {
                let speed = args.speed.0.max(1);
                Speeds { read: speed, write: speed, backup: speed }
            };
            let how = if args.measure { text::Speed::Measured } else { text::Speed::Said };
            let told = text::Told { assembly: &subject.assembly, present: &present, plan: &plan };
            if args.json {
                return Ok(screen.json(&json::report(&told, &speeds), Exit::Done));
            }
            Ok(screen.result(&text::text(&told, (&speeds, how), screen), Exit::Done))
        }
        Err(Problem::Said(failure)) => Err(failure),
        Err(Problem::Refused(refusal)) if args.json => {
            Ok(screen.json(&json::refused(&refusal), Exit::Refused))
        }
        Err(Problem::Refused(refusal)) => Err(refused(&refusal)),
    }
}

/// Why there is no plan.
enum Problem {
    /// The array can do no such thing.
    Refused(Refusal),
    /// Something else.
    Said(Failure),
}

impl From<Refusal> for Problem {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

impl From<Failure> for Problem {
    fn from(failure: Failure) -> Self {
        Self::Said(failure)
    }
}

/// A refusal as the program tells it.
pub(crate) fn refused(refusal: &Refusal) -> Failure {
    Failure::refused(format!("cannot change the array: {refusal}")).hint(refusal.remedy())
}

impl Subject {
    /// Reads the members, which may be cut behind their superblocks.
    fn open(args: &PlanArgs) -> Result<Self, Failure> {
        let devices = given::open_all(&args.array.devices, Access::Look, Direct::Auto)?;
        let mut mover = given::mover(&MoverArgs::small(), 0)?;
        let mut members = Members::read(&mut mover, devices).map_err(|e| given::no_member(&e))?;
        for candidate in &mut members.candidates {
            let superblock = &candidate.superblock;
            let length = superblock.data_size().max(superblock.component_size()).get();
            let end = superblock.data_offset().get().saturating_add(length);
            candidate.size = candidate.size.max(Sectors::new(end));
        }
        let assembly = assemble(&members.candidates).map_err(|error| given::no_array(&error))?;
        Ok(Self { mover, members, assembly })
    }

    fn plan(&self, wanted: &ChangeArgs) -> Result<(Present, Plan), Problem> {
        let mut present = Present::read(&self.assembly, &self.members)?;
        add_disks(&mut present, &self.members.devices, wanted)?;
        let change = change(wanted, &present)?;
        let plan = plan(&present, &change)?;
        Ok((present, plan))
    }

    /// How fast the slowest member reads, from the start of its data on. Nothing is written to find out
    /// how fast that is: it is taken to be the same.
    fn measure(&mut self) -> Result<Speeds, Failure> {
        let mut slowest = u64::MAX;
        for member in &self.assembly.members {
            let Some(device) = self.members.devices.get(member.candidate) else { continue };
            let start = member.data_offset.checked_bytes().unwrap_or(0);
            let speed = speed(&mut self.mover, device, start)?;
            slowest = slowest.min(speed);
        }
        let read = slowest.max(1);
        Ok(Speeds { read, write: read, backup: read })
    }
}

/// Bytes per second.
fn speed(mover: &mut Mover, device: &Device, start: u64) -> Result<u64, Failure> {
    let length = device.size().saturating_sub(start).min(MEASURED) / PIECE * PIECE;
    if length == 0 {
        let message = format!("cannot measure {}: there is no data on it", name(device.path()));
        return Err(Failure::refused(message).hint("--speed says it instead"));
    }
    let (began, mut read) = (clock::now(), 0);
    while read < length && began.elapsed() < MOMENT {
        let piece = mover.read(device, start + read, usize::try_from(PIECE).unwrap_or(0));
        piece.map_err(|error| {
            Failure::failed(format!("cannot read {}: {error}", name(device.path())))
                .hint("see what the kernel log says about the device (dmesg)")
        })?;
        read += PIECE;
    }
    let micros = u64::try_from(began.elapsed().as_micros()).unwrap_or(u64::MAX).max(1);
    Ok(read.saturating_mul(1_000_000) / micros)
}

/// The disks of `--add`, which must not be members.
fn add_disks(
    present: &mut Present,
    members: &[Device],
    wanted: &ChangeArgs,
) -> Result<(), Problem> {
    let mut added: Vec<Device> = Vec::new();
    for path in &wanted.add {
        let device = open_source(path, Direct::Auto)?;
        if let Some(other) = members.iter().chain(&added).find(|other| overlap(other, &device)) {
            return Err(taken(path, other.path()).into());
        }
        present.add(path, Sectors::from_bytes_floor(device.size()))?;
        added.push(device);
    }
    Ok(())
}

fn taken(path: &Path, other: &Path) -> Failure {
    let message = format!("cannot add {}: it is the same device as {}", name(path), name(other));
    Failure::refused(message).hint("a spare that is there already needs no --add")
}

/// The change that the options mean.
pub(crate) fn change(wanted: &ChangeArgs, present: &Present) -> Result<Change, Failure> {
    let level = wanted.level.unwrap_or_else(|| present.geometry.level());
    let sectors = |size: KibSize, option: &str| {
        if size.0.is_multiple_of(kcopy::SECTOR_SIZE) {
            return Ok(size.0 / kcopy::SECTOR_SIZE);
        }
        Err(Failure::refused(format!(
            "cannot take {option}: {} bytes are no whole sectors",
            size.0
        ))
        .hint("8s means 8 sectors of 512 bytes"))
    };
    let chunk = wanted.chunk.map(|size| sectors(size, "--chunk")).transpose()?;
    let offset = wanted.data_offset.map(|size| sectors(size, "--data-offset")).transpose()?;
    Ok(Change {
        level: wanted.level,
        layout: wanted.layout.as_deref().map(|text| layout(level, text)).transpose()?,
        chunk: chunk.map(Sectors::new),
        raid_disks: wanted.raid_devices,
        size: wanted.size,
        array_size: wanted.array_size,
        data_offset: offset.map(Sector::new),
        bitmap: wanted.bitmap.map(|bitmap| match bitmap {
            Bitmap::Internal => WantedBitmap::Internal,
            Bitmap::None => WantedBitmap::None,
        }),
        backup: if wanted.backup_file.is_some() { Backup::File } else { Backup::None },
        spares: if wanted.force { Spares::MayBeTooFew } else { Spares::Enough },
    })
}

fn layout(level: Level, text: &str) -> Result<WantedLayout, Failure> {
    match text {
        "preserve" => Ok(WantedLayout::Preserve),
        "normalise" | "normalize" => Ok(WantedLayout::Normalise),
        text => Layout::parse(level, text).map(WantedLayout::Is).map_err(|error| {
            Failure::refused(format!("cannot take --layout: {error}"))
                .hint("reshape layout draws what each of them is")
        }),
    }
}
