//! Everything that was found, for programs.

use reshape::geometry::Level;
use reshape::metadata::{
    Area, BackupHeader, Bitmap, ExamineError, Features, Member, Reshape, Resync, Role, Section,
    Superblock, Uuid,
};
use serde::Serialize;

use super::text::layout_name;
use super::{Found, Seen, array_size, array_state, flag_names, is_clean, level_name};

#[derive(Debug, Serialize)]
pub(super) struct Report {
    schema: u32,
    devices: Vec<DeviceReport>,
}

#[derive(Debug, Serialize)]
struct DeviceReport {
    path: String,
    size_bytes: u64,
    superblocks: Vec<SuperblockReport>,
    backup: Option<BackupReport>,
}

#[derive(Debug, Serialize)]
struct SuperblockReport {
    metadata: &'static str,
    at_sector: u64,
    /// Why it is not to be believed.
    damage: Option<String>,
    checksum: String,
    checksum_expected: String,
    feature_map: u32,
    unknown_features: u32,
    array: ArrayReport,
    device: DeviceRole,
    events: u64,
    update_time: u64,
    state: &'static str,
    resync_from_sectors: Option<u64>,
    reshape: Option<ReshapeReport>,
    bitmap: Option<Told<BitmapReport>>,
    bad_blocks: Option<Told<Vec<AreaReport>>>,
    ppl: Option<Told<PplReport>>,
    journal: Option<Told<JournalReport>>,
    backup: Option<BackupReport>,
}

/// What is there, or why it cannot be used.
#[derive(Debug, Serialize)]
#[serde(untagged)]
enum Told<T> {
    Found(T),
    Unusable { error: String },
}

#[derive(Debug, Serialize)]
struct ArrayReport {
    uuid: String,
    name: Option<String>,
    creation_time: u64,
    level: &'static str,
    level_number: i32,
    layout: String,
    layout_number: u32,
    chunk_bytes: u64,
    raid_devices: u32,
    component_sectors: u64,
    size_sectors: Option<u64>,
    /// One letter for each slot: `A` active, `.` missing, `R` replacing.
    slots: String,
}

#[derive(Debug, Serialize)]
struct DeviceRole {
    uuid: Option<String>,
    number: u32,
    role: &'static str,
    slot: Option<u32>,
    flags: Vec<&'static str>,
    data_offset_sectors: u64,
    data_size_sectors: u64,
    recovery_offset_sectors: Option<u64>,
    unused_before_sectors: Option<u64>,
    unused_after_sectors: Option<u64>,
}

#[derive(Debug, Serialize)]
struct ReshapeReport {
    position_sectors: u64,
    direction: &'static str,
    delta_disks: i32,
    new_level: &'static str,
    new_layout: String,
    new_layout_number: u32,
    new_chunk_bytes: u64,
    new_raid_devices: u32,
    new_offset_sectors: i32,
}

#[derive(Debug, Serialize)]
struct BitmapReport {
    version: u32,
    uuid: String,
    events: u64,
    events_cleared: u64,
    sync_size_sectors: u64,
    chunk_bytes: u64,
    chunks: u64,
    dirty_chunks: usize,
}

#[derive(Debug, Serialize)]
struct AreaReport {
    start_sector: u64,
    sectors: u64,
}

#[derive(Debug, Serialize)]
struct PplReport {
    generation: u64,
    entries: u32,
}

#[derive(Debug, Serialize)]
struct JournalReport {
    sequence: u64,
    position_sectors: u64,
    empty: bool,
}

#[derive(Debug, Serialize)]
struct BackupReport {
    uuid: String,
    update_time: u64,
    data_sector: u64,
    unit_sectors: u64,
    sections: Vec<SectionReport>,
    /// Counts the headers that we wrote; none of mdadm's has it.
    sequence: Option<u64>,
}

#[derive(Debug, Serialize)]
struct SectionReport {
    array_start_sector: u64,
    sectors: u64,
}

pub(super) fn report(all: &[Seen]) -> Report {
    let device = |seen: &Seen| DeviceReport {
        path: seen.path.to_string_lossy().into_owned(),
        size_bytes: seen.examined.size.get() * 512,
        superblocks: seen.superblocks().map(|found| superblock(&found)).collect(),
        backup: seen.backup.as_ref().map(backup),
    };
    Report { schema: 1, devices: all.iter().map(device).collect() }
}

fn superblock(found: &Found<'_>) -> SuperblockReport {
    let member = found.member;
    let both = &member.superblock;
    let (computed, stored) = both.checksums();
    SuperblockReport {
        metadata: both.version().name(),
        at_sector: both.at().get(),
        damage: member.damage.as_ref().map(ToString::to_string),
        checksum: format!("{stored:08x}"),
        checksum_expected: format!("{computed:08x}"),
        feature_map: both.features().bits(),
        unknown_features: both.features().unknown(),
        array: array(both),
        device: device(found),
        events: both.events(),
        update_time: both.update_time().seconds,
        state: if is_clean(both) { "clean" } else { "active" },
        resync_from_sectors: match both.resync() {
            Resync::Clean => None,
            Resync::From(sector) => Some(sector),
        },
        reshape: both.reshape().as_ref().map(reshape),
        bitmap: told(&member.bitmap, bitmap),
        bad_blocks: told(&member.bad_blocks, |areas| areas.iter().map(area).collect()),
        ppl: told(&member.parity_log, |log| PplReport {
            generation: log.generation,
            entries: log.entries,
        }),
        journal: told(&member.journal, |block| JournalReport {
            sequence: block.sequence,
            position_sectors: block.position.get(),
            empty: block.is_empty(),
        }),
        backup: on_spare(member),
    }
}

fn told<T, R>(
    found: &Option<Result<T, ExamineError>>,
    report: impl FnOnce(&T) -> R,
) -> Option<Told<R>> {
    Some(match found.as_ref()? {
        Ok(found) => Told::Found(report(found)),
        Err(error) => Told::Unusable { error: error.to_string() },
    })
}

/// Most spares have none; that is no news.
fn on_spare(member: &Member) -> Option<BackupReport> {
    match &member.backup {
        Some(Ok(header)) => Some(backup(header)),
        Some(Err(_)) | None => None,
    }
}

fn array(both: &Superblock) -> ArrayReport {
    ArrayReport {
        uuid: both.uuid().to_string(),
        name: both.name().map(|name| name.to_string()),
        creation_time: both.creation_time().seconds,
        level: level_name(both.level_number()),
        level_number: both.level_number(),
        layout: layout_name(both.level(), both.layout()),
        layout_number: both.layout(),
        chunk_bytes: both.chunk().get().saturating_mul(512),
        raid_devices: both.raid_disks(),
        component_sectors: both.component_size().get(),
        size_sectors: array_size(both).map(|size| size.get()),
        slots: array_state(both),
    }
}

fn device(found: &Found<'_>) -> DeviceRole {
    let both = &found.member.superblock;
    let replaces = both.features().contains(Features::REPLACEMENT);
    let (role, slot) = match both.role() {
        Role::Active(slot) if replaces => ("replacement", Some(slot.get())),
        Role::Active(slot) => ("active", Some(slot.get())),
        Role::Spare => ("spare", None),
        Role::Faulty => ("faulty", None),
        Role::Journal => ("journal", None),
        Role::Reserved(_) => ("unknown", None),
    };
    DeviceRole {
        uuid: both.device_uuid().map(|uuid| uuid.to_string()),
        number: both.dev_number(),
        role,
        slot,
        flags: flag_names(both.device_flags()),
        data_offset_sectors: both.data_offset().get(),
        data_size_sectors: both.data_size().get(),
        recovery_offset_sectors: both.recovery_offset().map(|offset| offset.get()),
        unused_before_sectors: found.room.map(|room| room.before.get()),
        unused_after_sectors: found.room.map(|room| room.after.get()),
    }
}

fn reshape(reshape: &Reshape) -> ReshapeReport {
    let level = Level::from_md(reshape.new_level);
    ReshapeReport {
        position_sectors: reshape.position.get(),
        direction: crate::cmd::array::detail::direction_name(reshape.direction),
        delta_disks: reshape.delta_disks,
        new_level: level_name(reshape.new_level),
        new_layout: layout_name(level, reshape.new_layout),
        new_layout_number: reshape.new_layout,
        new_chunk_bytes: reshape.new_chunk.get().saturating_mul(512),
        new_raid_devices: reshape.raid_disks_new,
        new_offset_sectors: reshape.new_offset,
    }
}

fn bitmap(bitmap: &Bitmap) -> BitmapReport {
    let header = bitmap.header();
    BitmapReport {
        version: header.version(),
        uuid: Uuid(header.uuid_on_disk()).to_string(),
        events: header.events(),
        events_cleared: header.events_cleared(),
        sync_size_sectors: header.sync_size().get(),
        chunk_bytes: header.chunk().get().saturating_mul(512),
        chunks: header.bits(),
        dirty_chunks: bitmap.dirty().count(),
    }
}

fn area(area: &Area) -> AreaReport {
    AreaReport { start_sector: area.start.get(), sectors: area.length.get() }
}

fn backup(header: &BackupHeader) -> BackupReport {
    let section = |section: &Section| SectionReport {
        array_start_sector: section.array_start.get(),
        sectors: section.length.get(),
    };
    BackupReport {
        uuid: Uuid(header.set_uuid).to_string(),
        update_time: header.mtime.seconds,
        data_sector: header.data_at.get(),
        unit_sectors: header.unit.get(),
        sections: [Some(header.first), header.second].iter().flatten().map(section).collect(),
        sequence: header.ours.map(|ours| ours.sequence),
    }
}
