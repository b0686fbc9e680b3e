//! From what is wanted to every superblock. Pure.

use kcopy::{Sector, Sectors};

use super::layout::{bitmap_room, place};
use super::{Blank, Content, CreatePlan, CreateRefusal, NewBitmap, Planned, Seat, Wanted};
use crate::array::bitmap::{least_chunk, sync_size};
use crate::array::component::{LARGEST_V0, usable};
use crate::geometry::{Geometry, Layout, Level, Raid0Layout, Shape};
use crate::metadata::v0::DESCRIPTORS;
use crate::metadata::{
    ArrayName, Bitmap, DeviceFlags, Features, Fill, NewArray, NewDevice, Placement, Resync, Role,
    Superblock, Version,
};
use crate::units::Slot;

/// 512 KiB.
const USUAL_CHUNK: Sectors = Sectors::new(1024);
/// The count of changes of a new array; superblocks one event older prepare for it.
pub(super) const FIRST_EVENT: u64 = 1;

pub(super) fn plan(wanted: &Wanted, seats: &[Seat]) -> Result<CreatePlan, CreateRefusal> {
    let name = check_name(wanted)?;
    check_seats(wanted, seats)?;
    let chunk = chunk(wanted)?;
    let layout = layout(wanted)?;
    let placements = placements(wanted, chunk, seats)?;
    let component = component(wanted, layout, chunk, &placements)?;
    let sizes: Vec<Sectors> = placements
        .iter()
        .take(slots(wanted))
        .map(|placed| placed.as_ref().map_or(Sectors::ZERO, |(_, p)| p.data_size))
        .collect();
    let geometry = Geometry::new(&Shape {
        level: wanted.level,
        layout,
        chunk,
        raid_disks: wanted.raid_devices,
        component,
        member_sizes: &sizes,
    })?;
    check_missing(wanted, &geometry, seats)?;
    let (layout, features) = recorded_layout(wanted, &geometry)?;
    let resync = resync(wanted, seats);
    let array = NewArray {
        uuid: wanted.uuid,
        name,
        creation_time: wanted.now,
        level: wanted.level,
        layout: layout.to_md(),
        chunk,
        raid_disks: wanted.raid_devices,
        component_size: component,
        resync,
        events: FIRST_EVENT,
        md_minor: 0,
        features,
        devices: devices(wanted, seats),
    };
    let members = members(wanted, &array, &geometry, &placements)?;
    Ok(CreatePlan { geometry, component, resync, members })
}

type Placed<'a> = Option<(&'a Blank, Placement)>;

fn slots(wanted: &Wanted) -> usize {
    usize::try_from(wanted.raid_devices).unwrap_or(usize::MAX)
}

fn is_striped_only(level: Level) -> bool {
    matches!(level, Level::Linear | Level::Raid0)
}

fn check_name(wanted: &Wanted) -> Result<ArrayName, CreateRefusal> {
    let name = wanted.name.clone();
    match wanted.version {
        Version::V0 if !name.is_empty() => Err(CreateRefusal::NoName { name }),
        Version::V0 | Version::V1(_) => {
            // A line break in it would be a line of its own in what scripts read.
            let plain = !name.chars().any(char::is_control);
            ArrayName::new(&name).filter(|_| plain).ok_or(CreateRefusal::Name { name })
        }
    }
}

fn check_seats(wanted: &Wanted, seats: &[Seat]) -> Result<(), CreateRefusal> {
    let (raid_devices, spare_devices) = (wanted.raid_devices, wanted.spare_devices);
    let devices = u64::from(raid_devices) + u64::from(spare_devices);
    if u64::try_from(seats.len()) != Ok(devices) {
        return Err(CreateRefusal::Count { raid_devices, spare_devices, given: seats.len() });
    }
    if wanted.version == Version::V0 && devices > u64::from(DESCRIPTORS) {
        return Err(CreateRefusal::ManyDevices { devices });
    }
    if is_striped_only(wanted.level) && spare_devices > 0 {
        return Err(CreateRefusal::NoSpares { level: wanted.level });
    }
    if seats.iter().skip(slots(wanted)).any(|seat| matches!(seat, Seat::Missing)) {
        return Err(CreateRefusal::MissingSpare);
    }
    let blanks: Vec<&Blank> = seats.iter().filter_map(blank).collect();
    for (index, second) in blanks.iter().enumerate() {
        check_blank(wanted, second)?;
        let same = |first: &&&Blank| first.device.is_same(&second.device);
        if let Some(first) = blanks.iter().take(index).find(same) {
            let (first, second) = (first.path(), second.path());
            return Err(CreateRefusal::Duplicate { first, second });
        }
    }
    Ok(())
}

fn blank(seat: &Seat) -> Option<&Blank> {
    match seat {
        Seat::Missing => None,
        Seat::Taken(blank) => Some(blank),
    }
}

fn check_blank(wanted: &Wanted, blank: &Blank) -> Result<(), CreateRefusal> {
    let path = || blank.path();
    if !blank.device.facts().writable {
        return Err(CreateRefusal::ReadOnly { path: path() });
    }
    match (wanted.content, blank.found.first()) {
        (Content::Zeros, Some(found)) => {
            Err(CreateRefusal::NotZeros { path: path(), at: found.at })
        }
        (Content::Zeros | Content::AssumeClean | Content::Unknown, _) => Ok(()),
    }
}

fn chunk(wanted: &Wanted) -> Result<Sectors, CreateRefusal> {
    match (wanted.level, wanted.chunk) {
        (Level::Raid1, Some(chunk)) if chunk != Sectors::ZERO => {
            Err(CreateRefusal::NoChunk { level: wanted.level })
        }
        (Level::Raid1, _) => Ok(Sectors::ZERO),
        (Level::Linear, chunk) => Ok(chunk.unwrap_or(Sectors::ZERO)),
        (Level::Raid0 | Level::Raid4 | Level::Raid5 | Level::Raid6 | Level::Raid10, chunk) => {
            Ok(chunk.unwrap_or(USUAL_CHUNK))
        }
    }
}

fn layout(wanted: &Wanted) -> Result<Layout, CreateRefusal> {
    let level = wanted.level;
    let Some(layout) = wanted.layout else { return Ok(Layout::default_of(level)) };
    if Layout::from_md(level, layout.to_md()) != Ok(layout) {
        return Err(CreateRefusal::Layout { level, layout });
    }
    Ok(layout)
}

fn placements<'a>(
    wanted: &Wanted,
    chunk: Sectors,
    seats: &'a [Seat],
) -> Result<Vec<Placed<'a>>, CreateRefusal> {
    let placed = |seat: &'a Seat| match seat {
        Seat::Missing => Ok(None),
        Seat::Taken(blank) => place(wanted, chunk, blank).map(|place| Some((blank, place))),
    };
    seats.iter().map(placed).collect()
}

/// What is used of each member.
fn component(
    wanted: &Wanted,
    layout: Layout,
    chunk: Sectors,
    placements: &[Placed<'_>],
) -> Result<Sectors, CreateRefusal> {
    let level = wanted.level;
    if is_striped_only(level) {
        let chosen = wanted.component.is_some();
        return if chosen { Err(CreateRefusal::Whole { level }) } else { Ok(Sectors::ZERO) };
    }
    let rooms = placements.iter().flatten();
    let Some((smallest, place)) = rooms.min_by_key(|(_, place)| place.data_size) else {
        let slots = (0..wanted.raid_devices).collect();
        return Err(CreateRefusal::Missing { level, raid_devices: wanted.raid_devices, slots });
    };
    let room = place.data_size;
    let asked = wanted.component.unwrap_or(room);
    if asked > room {
        return Err(CreateRefusal::Component { path: smallest.path(), room, wanted: asked });
    }
    let block = |(blank, _): &(&Blank, Placement)| {
        u64::from(blank.device.facts().logical_block) / kcopy::SECTOR_SIZE
    };
    let block = placements.iter().flatten().map(block).max().unwrap_or(1);
    let unit = if chunk == Sectors::ZERO { Sectors::new(block.max(2)) } else { chunk };
    let below = usable(layout, wanted.raid_devices, asked, unit);
    if wanted.component.is_some() && below != asked {
        return Err(CreateRefusal::Uneven { level, wanted: asked, below });
    }
    if wanted.version == Version::V0 && below > LARGEST_V0 {
        return Err(CreateRefusal::LargeMembers { component: below, most: LARGEST_V0 });
    }
    Ok(below)
}

fn check_missing(
    wanted: &Wanted,
    geometry: &Geometry,
    seats: &[Seat],
) -> Result<(), CreateRefusal> {
    let (level, raid_devices) = (wanted.level, wanted.raid_devices);
    let empty = (0..raid_devices).zip(seats).filter(|(_, seat)| matches!(seat, Seat::Missing));
    let slots: Vec<u32> = empty.map(|(slot, _)| slot).collect();
    if slots.is_empty() {
        return Ok(());
    }
    if !geometry.enough(|slot| !slots.contains(&slot.get())) {
        return Err(CreateRefusal::Missing { level, raid_devices, slots });
    }
    let unknown = wanted.content == Content::Unknown;
    if unknown && level == Level::Raid6 && slots.len() == 1 {
        return Err(CreateRefusal::HalfDegraded);
    }
    Ok(())
}

/// RAID0 of several zones says which layout it has.
fn recorded_layout(
    wanted: &Wanted,
    geometry: &Geometry,
) -> Result<(Layout, Features), CreateRefusal> {
    let Layout::Raid0(layout) = geometry.layout() else {
        return Ok((geometry.layout(), Features::empty()));
    };
    let ambiguous = geometry.zones().iter().skip(1).any(|zone| zone.slots.len() > 1);
    let asked = wanted.layout.is_some() && layout != Raid0Layout::Unspecified;
    match (wanted.version, layout) {
        (Version::V0, _) | (Version::V1(_), Raid0Layout::Unspecified) if ambiguous => {
            Err(CreateRefusal::Zones { version: wanted.version })
        }
        (Version::V1(_), _) if asked || geometry.zones().len() > 1 => {
            let recorded = match layout {
                Raid0Layout::Unspecified => Raid0Layout::Alternate,
                Raid0Layout::Original | Raid0Layout::Alternate => layout,
            };
            Ok((Layout::Raid0(recorded), Features::RAID0_LAYOUT))
        }
        (Version::V0 | Version::V1(_), _) => {
            Ok((Layout::Raid0(Raid0Layout::Unspecified), Features::empty()))
        }
    }
}

/// An array whose parity is complete by definition because the missing members are defined by it, is
/// clean, and so is one that has neither parity nor copies.
fn resync(wanted: &Wanted, seats: &[Seat]) -> Resync {
    let known = match wanted.content {
        Content::AssumeClean | Content::Zeros => true,
        Content::Unknown => false,
    };
    let degraded = seats.iter().any(|seat| matches!(seat, Seat::Missing));
    let defined = degraded && wanted.level.parity_disks() > 0;
    if known || defined || is_striped_only(wanted.level) { Resync::Clean } else { Resync::From(0) }
}

fn devices(wanted: &Wanted, seats: &[Seat]) -> Vec<NewDevice> {
    let device = |(number, seat): (u32, &Seat)| {
        let role = match (seat, wanted.version) {
            (Seat::Taken(_), _) if number < wanted.raid_devices => Role::Active(Slot::new(number)),
            (Seat::Missing, Version::V0) => Role::Faulty,
            (Seat::Taken(_), _) | (Seat::Missing, Version::V1(_)) => Role::Spare,
        };
        let major_minor = blank(seat).map_or((0, 0), major_minor);
        NewDevice { role, flags: DeviceFlags::empty(), major_minor }
    };
    (0..).zip(seats).map(device).collect()
}

/// The numbers of a block device, as the kernel packs them; none for files.
fn major_minor(blank: &Blank) -> (u32, u32) {
    match blank.device.facts().identity {
        kcopy::device::Identity::Block { rdev } => {
            let major = (rdev >> 32 & 0xffff_f000) | (rdev >> 8 & 0xfff);
            let minor = (rdev >> 12 & 0xffff_ff00) | (rdev & 0xff);
            (u32::try_from(major).unwrap_or(0), u32::try_from(minor).unwrap_or(0))
        }
        kcopy::device::Identity::File { .. } | kcopy::device::Identity::Internal { .. } => (0, 0),
    }
}

fn members(
    wanted: &Wanted,
    array: &NewArray,
    geometry: &Geometry,
    placements: &[Placed<'_>],
) -> Result<Vec<Planned>, CreateRefusal> {
    let bitmap_chunk = bitmap_chunk(wanted, geometry, placements)?;
    let mut members = Vec::with_capacity(placements.len());
    for (number, placed) in (0..).zip(placements) {
        let Some((blank, placement)) = placed else { continue };
        let superblock = array.superblock(number, placement, blank.uuid)?;
        let bitmap =
            bitmap_chunk.map(|chunk| bitmap(array, geometry, &superblock, chunk)).transpose()?;
        check_buried(wanted, blank, placement, &superblock)?;
        members.push(Planned {
            device: blank.device.clone(),
            slot: (number < wanted.raid_devices).then(|| Slot::new(number)),
            superblock,
            bitmap,
            wipe: blank.found.clone(),
        });
    }
    Ok(members)
}

/// What one bit of the bitmap stands for: the same on all members.
fn bitmap_chunk(
    wanted: &Wanted,
    geometry: &Geometry,
    placements: &[Placed<'_>],
) -> Result<Option<Sectors>, CreateRefusal> {
    let NewBitmap::Internal(asked) = wanted.bitmap else { return Ok(None) };
    if is_striped_only(wanted.level) {
        return Err(CreateRefusal::NoBitmap { level: wanted.level });
    }
    let rooms = placements.iter().flatten().map(|(_, placement)| bitmap_room(placement));
    let room = rooms.min().unwrap_or(Sectors::ZERO);
    least_chunk(sync_size(geometry), room, asked).map(Some).map_err(|smallest| {
        CreateRefusal::BitmapRoom { chunk: asked.unwrap_or(Sectors::ZERO), room, smallest }
    })
}

fn bitmap(
    array: &NewArray,
    geometry: &Geometry,
    superblock: &Superblock,
    chunk: Sectors,
) -> Result<Bitmap, CreateRefusal> {
    let fill = match array.resync {
        Resync::Clean => Fill::Clean,
        Resync::From(_) => Fill::Dirty,
    };
    let uuid = superblock.uuid_on_disk();
    Ok(Bitmap::new(uuid, array.events, sync_size(geometry), chunk, fill)?)
}

/// Content that is to be kept must not lose 4 KiB to an old superblock.
fn check_buried(
    wanted: &Wanted,
    blank: &Blank,
    placement: &Placement,
    superblock: &Superblock,
) -> Result<(), CreateRefusal> {
    if wanted.content != Content::AssumeClean {
        return Ok(());
    }
    let start = placement.data_offset;
    let used = match superblock.component_size() {
        Sectors::ZERO => placement.data_size,
        used => used,
    };
    let end = Sector::new(start.get().saturating_add(used.get()));
    let buried = blank.found.iter().find(|f| f.area().end() > start && f.at < end);
    buried.map_or(Ok(()), |found| {
        let (version, at) = (found.version, found.at);
        Err(CreateRefusal::Buried { path: blank.path(), version, at })
    })
}
