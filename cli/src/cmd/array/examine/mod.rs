//! `reshape examine`: what md has written on devices.

use std::path::{Path, PathBuf};

use kcopy::{Device, Sectors};
use reshape::array::DeviceReader;
use reshape::geometry::Level;
use reshape::metadata::v1::MAX_DEV;
use reshape::metadata::{
    BackupHeader, DeviceFlags, Examined, Member, Resync, Role, Room, Superblock, backup, examine,
};
use reshape::mover::Mover;

use super::given::mover;
use crate::args::Direct;
use crate::args::array::{ExamineArgs, MoverArgs};
use crate::cmd::target::open_source;
use crate::exit::{Exit, Failure};
use crate::output::{Screen, name};

mod export;
mod json;
mod text;

/// A device and what is on it.
struct Seen {
    path: PathBuf,
    examined: Examined,
    /// What a backup file begins with.
    backup: Option<BackupHeader>,
}

impl Seen {
    /// All superblocks, also damaged ones.
    fn superblocks(&self) -> impl Iterator<Item = Found<'_>> {
        let size = self.examined.size;
        let members = self.examined.places.iter().filter_map(|place| place.found.as_ref().ok());
        members.map(move |member| Found { member, room: room(member, size) })
    }

    fn is_empty(&self) -> bool {
        self.backup.is_none() && self.superblocks().next().is_none()
    }
}

/// A superblock, and what lies around it.
struct Found<'a> {
    member: &'a Member,
    /// Free sectors around the data; 0.90 has none.
    room: Option<Room>,
}

pub(crate) fn run(args: &ExamineArgs, screen: Screen) -> Result<Exit, Failure> {
    let mut mover = mover(&MoverArgs::small(), 0)?;
    let mut exit = Exit::Done;
    let mut all = Vec::new();
    for path in &args.devices {
        match open_source(path, Direct::Auto) {
            Ok(device) => all.push(look(&mut mover, path, &device)),
            Err(failure) => {
                screen.failure(&failure);
                exit = Exit::Failed;
            }
        }
    }
    for seen in all.iter().filter(|seen| seen.is_empty()) {
        screen.problem(&nothing(seen));
        exit = Exit::Failed;
    }
    for seen in &all {
        for found in seen.superblocks() {
            if let Some(damage) = &found.member.damage {
                screen.note(&format!("{}: {damage}", name(&seen.path)));
            }
        }
    }
    if args.json {
        return Ok(screen.json(&json::report(&all), exit));
    }
    let text = if args.export {
        export::lines(&all)
    } else if args.brief {
        export::brief(&all)
    } else {
        text::blocks(&all)
    };
    if text.is_empty() { Ok(exit) } else { Ok(screen.result(&text, exit)) }
}

fn look(mover: &mut Mover, path: &Path, device: &Device) -> Seen {
    let examined = examine(&DeviceReader::new(mover, device));
    let start = kcopy::Sector::new(0);
    let backup = backup(&DeviceReader::new(mover, device), start).ok();
    Seen { path: path.to_owned(), examined, backup }
}

/// Why there is nothing: a device that cannot be read is another matter than one without md.
fn nothing(seen: &Seen) -> String {
    use reshape::metadata::ExamineError;
    let path = name(&seen.path);
    let unread = seen.examined.places.iter().find_map(|place| match &place.found {
        Err(error @ ExamineError::Read { .. }) => Some(error),
        Ok(_) | Err(_) => None,
    });
    match unread {
        Some(error) => format!("cannot examine {path}: {error}"),
        None => format!("no md superblock detected on {path}"),
    }
}

fn room(member: &Member, size: Sectors) -> Option<Room> {
    let Superblock::V1(superblock) = &member.superblock else { return None };
    let bitmap = match &member.bitmap {
        Some(Ok(bitmap)) => bitmap.header().length().ok(),
        Some(Err(_)) | None => None,
    };
    let bytes = bitmap.and_then(|bytes| u64::try_from(bytes).ok()).unwrap_or(0);
    superblock.room(size, Sectors::from_bytes_ceil(bytes)).ok()
}

/// The size of the array as mdadm tells it of one superblock: without regard to whole chunks.
fn array_size(superblock: &Superblock) -> Option<Sectors> {
    let (disks, component) =
        (u64::from(superblock.raid_disks()), superblock.component_size().get());
    let size = match superblock.level()? {
        Level::Linear | Level::Raid0 => return None,
        Level::Raid1 => Some(component),
        level @ (Level::Raid4 | Level::Raid5 | Level::Raid6) => {
            disks.checked_sub(level.parity_disks().into())?.checked_mul(component)
        }
        Level::Raid10 => {
            let [near, far, ..] = superblock.layout().to_le_bytes();
            component.checked_mul(disks)?.checked_div(u64::from(near) * u64::from(far))
        }
    };
    size.map(Sectors::new)
}

/// `linear`, `raid5`, `-unknown-`; two levels have a name and no geometry here.
fn level_name(level: i32) -> &'static str {
    match level {
        -4 => "multipath",
        -5 => "faulty",
        level => Level::from_md(level).map_or("-unknown-", Level::name),
    }
}

fn is_clean(superblock: &Superblock) -> bool {
    superblock.resync() == Resync::Clean
}

/// For each slot `A`, `.` or `R`: so many devices have it as their role.
fn array_state(superblock: &Superblock) -> String {
    let old = superblock.reshape().and_then(|reshape| reshape.raid_disks_old()).unwrap_or(0);
    // More slots than there can be roles are a damaged number.
    let slots = superblock.raid_disks().max(old).min(MAX_DEV);
    let mut counts = vec![0_u32; usize::try_from(slots).unwrap_or(0)];
    for number in 0..superblock.max_dev().min(MAX_DEV) {
        let Some(Role::Active(slot)) = superblock.role_of(number) else { continue };
        let count = usize::try_from(slot.get()).ok().and_then(|slot| counts.get_mut(slot));
        if let Some(count) = count {
            *count += 1;
        }
    }
    let letter = |count: u32| match count {
        0 => '.',
        1 => 'A',
        _ => 'R',
    };
    counts.into_iter().map(letter).collect()
}

fn flag_names(flags: DeviceFlags) -> Vec<&'static str> {
    let names = [(DeviceFlags::WRITE_MOSTLY, "write-mostly"), (DeviceFlags::FAIL_FAST, "failfast")];
    names.into_iter().filter(|(flag, _)| flags.contains(*flag)).map(|(_, name)| name).collect()
}
