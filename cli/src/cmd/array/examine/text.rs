//! Superblocks for people, line by line as `mdadm --examine` has them, so that nobody has to learn
//! new names; what mdadm does not tell stands between its lines.

use std::fmt::Display;

use kcopy::Sectors;
use reshape::geometry::{Layout, Level};
use reshape::metadata::v0::{DESCRIPTORS, Descriptor};
use reshape::metadata::{
    BackupHeader, DeviceState, Features, Member, Resync, Role, Section, Superblock, V0, V1,
};

use super::{Found, Seen, array_size, array_state, flag_names, is_clean, level_name};
use crate::cmd::array::by_number;
use crate::output::name;
use crate::output::text::{Fields, both_units, local_time};

/// Columns of the names.
const NAMES: usize = 15;
/// Bad areas that are listed; the rest is counted.
const LISTED: usize = 8;

/// A block for each superblock and each backup.
pub(super) fn blocks(all: &[Seen]) -> String {
    all.iter().filter(|seen| !seen.is_empty()).map(blocks_of).collect::<Vec<_>>().join("\n")
}

fn blocks_of(seen: &Seen) -> String {
    let mut blocks = Vec::new();
    let several = seen.superblocks().count() > 1;
    for found in seen.superblocks() {
        let mut fields = Fields::new(NAMES);
        let superblock = &found.member.superblock;
        let which = if several {
            let (version, at) = (superblock.version(), superblock.at().get());
            format!(" superblock {version} at sector {at}")
        } else {
            String::new()
        };
        fields.line(format_args!("{}:{which}", name(&seen.path)));
        match superblock {
            Superblock::V0(v0) => v0_block(&mut fields, &found, v0),
            Superblock::V1(v1) => v1_block(&mut fields, &found, v1),
        }
        blocks.push(fields.finish());
    }
    if let Some(header) = &seen.backup {
        let mut fields = Fields::new(NAMES);
        fields.line(format_args!("{}: backup of a reshape", name(&seen.path)));
        backup(&mut fields, header);
        blocks.push(fields.finish());
    }
    blocks.join("\n")
}

fn v1_block(fields: &mut Fields, found: &Found<'_>, superblock: &V1) {
    let both = &found.member.superblock;
    fields.field("Magic", "a92b4efc");
    fields.field("Version", both.version());
    fields.field("Feature Map", superblock.features());
    let unknown = superblock.features().unknown();
    if unknown != 0 {
        fields.field("Unknown", format_args!("{unknown:#x} (may be looked at, not changed)"));
    }
    fields.field("Array UUID", superblock.uuid());
    fields.field("Name", superblock.name());
    fields.field("Creation Time", local_time(superblock.creation_time()));
    fields.field("Raid Level", level_name(superblock.level()));
    fields.field("Raid Devices", superblock.raid_disks());
    fields.line("");
    v1_places(fields, found, superblock);
    fields.line("");
    if let Some(offset) = superblock.bitmap_offset() {
        fields.field("Internal Bitmap", format_args!("{offset} sectors from superblock"));
    }
    if let Ok(Some(area)) = superblock.ppl_area() {
        let offset = i128::from(area.start.get()) - i128::from(superblock.at().get());
        let length = area.length.get();
        let text = format_args!("{length} sectors at offset {offset} sectors from superblock");
        fields.field("PPL", text);
    }
    neighbours(fields, found.member);
    reshape(fields, both, |chunk| format!("{}K", chunk.get() / 2));
    if !superblock.device_flags().is_empty() {
        fields.field("Flags", flag_names(superblock.device_flags()).join(" "));
    }
    fields.field("Update Time", local_time(superblock.update_time()));
    bad_blocks(fields, found.member, superblock);
    checksum(fields, both);
    fields.field("Events", superblock.events());
    fields.line("");
    layout_and_chunk(fields, both);
    fields.line("");
    fields.field("Device Role", role(superblock));
    let state = array_state(both);
    let legend = "('A' == active, '.' == missing, 'R' == replacing)";
    fields.field("Array State", format_args!("{state} {legend}"));
}

/// What lies where on the device.
fn v1_places(fields: &mut Fields, found: &Found<'_>, superblock: &V1) {
    let both = &found.member.superblock;
    let with_units = |length: Sectors| format!("{} sectors{}", length.get(), both_units(length));
    let (available, used) = (superblock.data_size(), superblock.component_size());
    fields.field("Avail Dev Size", with_units(available));
    if let Some(size) = array_size(both) {
        fields.field("Array Size", format_args!("{} KiB{}", size.get() / 2, both_units(size)));
    }
    if used != available && superblock.level() != Level::Raid0.to_md() {
        fields.field("Used Dev Size", with_units(used));
    }
    let data_offset = superblock.data_offset().get();
    if data_offset > 0 {
        fields.field("Data Offset", sectors(data_offset));
    }
    let shift = both.reshape().map_or(0, |reshape| reshape.new_offset);
    if let (true, Some(new)) = (shift != 0, data_offset.checked_add_signed(shift.into())) {
        fields.field("New Offset", sectors(new));
    }
    fields.field("Super Offset", sectors(superblock.super_offset().get()));
    if superblock.super_offset() != superblock.at() {
        let at = superblock.at().get();
        fields.field("Found At", format_args!("{at} sectors: it belongs to another device"));
    }
    if let Some(offset) = superblock.recovery_offset() {
        fields.field("Recovery Offset", sectors(offset.get()));
    }
    if let Some(tail) = superblock.journal_tail() {
        fields.field("Journal Tail", sectors(tail.get()));
    }
    if let (0, Some(room)) = (shift, found.room) {
        let (before, after) = (room.before.get(), room.after.get());
        fields
            .field("Unused Space", format_args!("before={before} sectors, after={after} sectors"));
    }
    fields.field("State", if is_clean(both) { "clean" } else { "active" });
    resync(fields, both);
    fields.field("Device UUID", superblock.device_uuid());
}

fn v0_block(fields: &mut Fields, found: &Found<'_>, superblock: &V0) {
    let both = &found.member.superblock;
    let kib = |length: Sectors| format!("{}{}", length.get() / 2, both_units(length));
    let (minor, patch) = (superblock.minor_version(), superblock.patch_version());
    fields.field("Magic", "a92b4efc");
    fields.field("Version", format_args!("0.{minor:02}.{patch:02}"));
    if superblock.byte_order() == reshape::metadata::ByteOrder::Big {
        fields.field("Byte Order", "big-endian");
    }
    fields.field("UUID", superblock.uuid());
    fields.field("Creation Time", local_time(superblock.creation_time()));
    fields.field("Raid Level", level_name(superblock.level()));
    if let Some(size) = array_size(both) {
        fields.field("Used Dev Size", kib(superblock.component_size()));
        fields.field("Array Size", kib(size));
    }
    let counts = superblock.counts();
    fields.field("Raid Devices", superblock.raid_disks());
    fields.field("Total Devices", counts.total);
    fields.field("Preferred Minor", superblock.md_minor());
    fields.line("");
    reshape(fields, both, |chunk| (chunk.get() * 512).to_string());
    fields.field("Update Time", local_time(superblock.update_time()));
    fields.field("State", if is_clean(both) { "clean" } else { "active" });
    resync(fields, both);
    if superblock.bitmap_at().is_some() {
        fields.field("Internal Bitmap", "present");
    }
    neighbours(fields, found.member);
    fields.field("Active Devices", counts.active);
    fields.field("Working Devices", counts.working);
    fields.field("Failed Devices", counts.failed);
    fields.field("Spare Devices", counts.spare);
    checksum(fields, both);
    fields.field("Events", superblock.events());
    fields.line("");
    layout_and_chunk(fields, both);
    fields.line("");
    v0_table(fields, superblock);
}

fn v0_table(fields: &mut Fields, superblock: &V0) {
    fields.line("      Number   Major   Minor   RaidDevice State");
    fields.line(v0_row("this", superblock.this_disk()));
    fields.line("");
    for number in 0..DESCRIPTORS {
        // What is not described at all is not told; of the slots everything is.
        let Some(descriptor) = superblock.descriptor(number) else { continue };
        if superblock.role_of(number).is_some() || number < superblock.raid_disks() {
            fields.line(v0_row(&number.to_string(), descriptor));
        }
    }
}

fn v0_row(head: &str, descriptor: Descriptor) -> String {
    let Descriptor { number, major, minor, raid_disk, state } = descriptor;
    let mut words = Vec::new();
    for (bit, word) in [
        (DeviceState::FAULTY, "faulty"),
        (DeviceState::ACTIVE, "active"),
        (DeviceState::SYNC, "sync"),
        (DeviceState::REMOVED, "removed"),
        (DeviceState::WRITE_MOSTLY, "write-mostly"),
        (DeviceState::FAIL_FAST, "failfast"),
    ] {
        if state.contains(bit) {
            words.push(word);
        }
    }
    let states =
        DeviceState::FAULTY | DeviceState::ACTIVE | DeviceState::SYNC | DeviceState::REMOVED;
    if !state.intersects(states) {
        words.push("spare");
    }
    let words = words.join(" ");
    let device = by_number(major, minor).map_or_else(String::new, |device| format!("   {device}"));
    format!("{head:>4}{number:>6}{major:>8}{minor:>9}{raid_disk:>9}      {words}{device}")
}

/// What is known of bitmap, logs and backup beside that they are there.
fn neighbours(fields: &mut Fields, member: &Member) {
    if let Some(found) = &member.bitmap {
        told(fields, "Bitmap", found, |bitmap| {
            let header = bitmap.header();
            let (dirty, bits) = (bitmap.dirty().count(), header.bits());
            let (chunk, events) = (header.chunk().get() / 2, header.events());
            format!("{dirty} of {bits} chunks of {chunk} KiB dirty, events {events}")
        });
    }
    if let Some(found) = &member.parity_log {
        told(fields, "PPL Entries", found, |log| {
            format!("{}, generation {}", log.entries, log.generation)
        });
    }
    if let Some(found) = &member.journal {
        told(fields, "Journal", found, |block| {
            let (sequence, position) = (block.sequence, block.position.get());
            let state = if block.is_empty() { "empty" } else { "holds data" };
            format!("{state}, sequence {sequence} at {position} sectors")
        });
    }
    if let Some(Ok(header)) = &member.backup {
        fields.field("Backup", section(&header.first));
        if let Some(second) = &header.second {
            fields.field("Backup 2", section(second));
        }
    }
}

fn told<T>(
    fields: &mut Fields,
    what: &str,
    found: &Result<T, impl Display>,
    say: impl FnOnce(&T) -> String,
) {
    match found {
        Ok(found) => fields.field(what, say(found)),
        Err(error) => fields.field(what, format_args!("not usable: {error}")),
    }
}

fn reshape(fields: &mut Fields, both: &Superblock, chunk: impl FnOnce(Sectors) -> String) {
    let Some(reshape) = both.reshape() else { return };
    let position = Sectors::new(reshape.position.get());
    let kib = position.get() / 2;
    fields.field("Reshape pos'n", format_args!("{kib}{}", both_units(position)));
    if let (true, Some(old)) = (reshape.delta_disks != 0, reshape.raid_disks_old()) {
        let (delta, new) = (reshape.delta_disks, reshape.raid_disks_new);
        fields.field("Delta Devices", format_args!("{delta} ({old}->{new})"));
    }
    if reshape.new_level != both.level_number() {
        fields.field("New Level", level_name(reshape.new_level));
    }
    if reshape.new_layout != both.layout() {
        let level = Level::from_md(reshape.new_level);
        fields.field("New Layout", layout_name(level, reshape.new_layout));
    }
    if reshape.new_chunk != both.chunk() {
        fields.field("New Chunksize", chunk(reshape.new_chunk));
    }
    fields.line("");
}

fn bad_blocks(fields: &mut Fields, member: &Member, superblock: &V1) {
    let Some(area) = superblock.bad_blocks() else { return };
    let entries = u32::from(area.size) * 64;
    let offset = area.offset;
    let has = superblock.features().contains(Features::BAD_BLOCKS);
    let present = if has { " - bad blocks present." } else { "" };
    let text = format_args!("{entries} entries available at offset {offset} sectors{present}");
    fields.field("Bad Block Log", text);
    match &member.bad_blocks {
        Some(Ok(bad)) => {
            for area in bad.iter().take(LISTED) {
                let (start, length) = (area.start.get(), area.length.get());
                fields.field("Bad Blocks", format_args!("{length} sectors at {start}"));
            }
            if bad.len() > LISTED {
                let more = bad.len() - LISTED;
                fields.field("Bad Blocks", format_args!("{more} more (--json has all)"));
            }
        }
        Some(Err(error)) => fields.field("Bad Blocks", format_args!("not readable: {error}")),
        None => {}
    }
}

fn checksum(fields: &mut Fields, both: &Superblock) {
    let (computed, stored) = both.checksums();
    match both.check() {
        Err(reshape::metadata::SuperblockError::Checksum { .. }) => {
            fields.field("Checksum", format_args!("{stored:x} - expected {computed:x}"));
        }
        Ok(()) | Err(_) => fields.field("Checksum", format_args!("{stored:x} - correct")),
    }
}

fn resync(fields: &mut Fields, both: &Superblock) {
    if let Resync::From(sector) = both.resync()
        && sector > 0
    {
        fields.field("Resync From", sectors(sector));
    }
}

fn layout_and_chunk(fields: &mut Fields, both: &Superblock) {
    let Some(level) = both.level() else { return };
    let chunk = both.chunk().get() / 2;
    let has_layout = match level {
        Level::Linear | Level::Raid1 | Level::Raid4 => false,
        Level::Raid0 => both.features().contains(Features::RAID0_LAYOUT),
        Level::Raid5 | Level::Raid6 | Level::Raid10 => true,
    };
    if has_layout {
        fields.field("Layout", layout_name(Some(level), both.layout()));
    }
    match level {
        Level::Linear => fields.field("Rounding", format_args!("{chunk}K")),
        Level::Raid1 => {}
        Level::Raid0 | Level::Raid4 | Level::Raid5 | Level::Raid6 | Level::Raid10 => {
            fields.field("Chunk Size", format_args!("{chunk}K"));
        }
    }
}

/// Empty for levels that have none.
pub(super) fn layout_name(level: Option<Level>, layout: u32) -> String {
    match level.and_then(|level| Layout::from_md(level, layout).ok()) {
        Some(Layout::None) => String::new(),
        Some(layout) => layout.to_string(),
        None => "-unknown-".to_owned(),
    }
}

fn role(superblock: &V1) -> String {
    match superblock.role() {
        Role::Active(slot) if superblock.features().contains(Features::REPLACEMENT) => {
            format!("Replacement device {}", slot.get())
        }
        Role::Active(slot) => format!("Active device {}", slot.get()),
        Role::Spare => "spare".to_owned(),
        Role::Faulty => "faulty".to_owned(),
        Role::Journal => "Journal".to_owned(),
        Role::Reserved(role) => format!("unknown ({role:#x})"),
    }
}

fn backup(fields: &mut Fields, header: &BackupHeader) {
    let magic = if header.second.is_some() { "md_backup_data-2" } else { "md_backup_data-1" };
    fields.field("Magic", magic);
    fields.field("Array UUID", reshape::metadata::Uuid(header.set_uuid));
    fields.field("Update Time", local_time(header.mtime));
    fields.field("Data Offset", sectors(header.data_at.get()));
    fields.field("Unit", sectors(header.unit.get()));
    fields.field("Section 1", section(&header.first));
    if let Some(second) = &header.second {
        fields.field("Section 2", section(second));
    }
    match &header.ours {
        Some(ours) => fields.field("Written By", format_args!("reshape, number {}", ours.sequence)),
        None => fields.field("Written By", "mdadm"),
    }
}

fn section(section: &Section) -> String {
    let (start, length) = (section.array_start.get(), section.length.get());
    match length {
        0 => "empty".to_owned(),
        _ => format!("{length} sectors of the array from {start} on"),
    }
}

fn sectors(count: u64) -> String {
    format!("{count} sectors")
}
