//! The array for people, with the names that `mdadm --detail` has.

use kcopy::Sectors;
use reshape::assemble::{Assembly, Member, MemberState, State};
use reshape::geometry::{Layout, Level};
use reshape::metadata::{Features, Reshape, Resync};
use reshape::units::Slot;

use super::{absent, devices_before, direction_name, layout_name, moves_data_offset, moving};
use crate::cmd::array::given::Given;
use crate::output::name;
use crate::output::text::{Fields, both_units, local_time};

/// Columns of the names.
const NAMES: usize = 18;
/// Columns of a line of the table before the path, and after which it ends.
const BEFORE_PATH: usize = 50;
const WIDTH: usize = 80;

pub(super) fn text(given: &Given) -> String {
    let assembly = &given.assembly;
    let mut fields = Fields::new(NAMES);
    size(&mut fields, assembly);
    fields.line("");
    state(&mut fields, assembly);
    fields.line("");
    shape(&mut fields, given);
    if let Some(reshape) = moving(assembly) {
        fields.line("");
        reshaping(&mut fields, assembly, reshape);
    }
    fields.line("");
    if let Some(name) = assembly.name {
        fields.field("Name", name);
    }
    fields.field("UUID", assembly.uuid);
    fields.field("Events", assembly.events);
    fields.line("");
    table(&mut fields, given);
    fields.finish()
}

fn size(fields: &mut Fields, assembly: &Assembly) {
    let kib = |length: Sectors| format!("{} KiB{}", length.get() / 2, both_units(length));
    fields.field("Version", assembly.version);
    fields.field("Creation Time", local_time(assembly.creation_time));
    fields.field("Raid Level", assembly.level);
    match assembly.shapes.sectors() {
        Some(sectors) => fields.field("Array Size", kib(sectors)),
        None => fields.field("Array Size", "unknown while members are missing"),
    }
    if !matches!(assembly.level, Level::Linear | Level::Raid0) {
        fields.field("Used Dev Size", kib(assembly.component));
    }
    fields.field("Raid Devices", devices_before(assembly));
    fields.field("Total Devices", assembly.members.len());
}

fn state(fields: &mut Fields, assembly: &Assembly) {
    let count = |wanted: fn(&Member) -> bool| {
        assembly.members.iter().filter(|member| wanted(member)).count()
    };
    let active = count(Member::is_in_sync);
    let stale = count(|member| member.state == MemberState::Stale);
    fields.field("Update Time", local_time(assembly.update_time));
    fields.field("State", state_words(assembly));
    if let Err(why) = assembly.startable() {
        fields.field("Problem", why);
    }
    if let Resync::From(sector) = assembly.resync
        && sector > 0
    {
        fields.field("Resync From", format_args!("{sector} sectors"));
    }
    fields.field("Active Devices", active);
    fields.field("Working Devices", assembly.members.len() - stale);
    fields.field("Failed Devices", stale);
    fields.field("Spare Devices", count(|member| member.state == MemberState::Spare));
    let missing = absent(assembly);
    if !missing.is_empty() {
        let slots: Vec<String> = missing.iter().map(ToString::to_string).collect();
        fields.field("Missing Slots", slots.join(", "));
    }
}

/// `clean, degraded`
fn state_words(assembly: &Assembly) -> String {
    let mut words = vec![match assembly.resync {
        Resync::Clean => "clean",
        Resync::From(_) => "active",
    }];
    let failed = assembly.state() == State::Failed;
    if failed {
        words.push("FAILED");
    } else if assembly.degraded() > 0 {
        words.push("degraded");
    }
    if moving(assembly).is_some() {
        words.push("reshaping");
    }
    let recovers = |member: &Member| matches!(member.state, MemberState::Recovering { .. });
    if assembly.members.iter().any(recovers) && moving(assembly).is_none() {
        words.push("recovering");
    }
    words.join(", ")
}

fn shape(fields: &mut Fields, given: &Given) {
    let assembly = &given.assembly;
    if assembly.layout != Layout::None {
        fields.field("Layout", assembly.layout);
    }
    let chunk = assembly.chunk.get() / 2;
    match assembly.level {
        Level::Linear if chunk > 0 => fields.field("Rounding", format_args!("{chunk}K")),
        Level::Linear | Level::Raid1 => {}
        Level::Raid0 | Level::Raid4 | Level::Raid5 | Level::Raid6 | Level::Raid10 => {
            fields.field("Chunk Size", format_args!("{chunk}K"));
        }
    }
    fields.field("Consistency Policy", policy(given));
}

/// What keeps parity or copies in step after a crash.
fn policy(given: &Given) -> &'static str {
    let assembly = &given.assembly;
    if assembly.features.contains(Features::JOURNAL) {
        "journal"
    } else if assembly.features.intersects(Features::PPL | Features::MULTIPLE_PPLS) {
        "ppl"
    } else if given.members.bitmaps.iter().any(Option::is_some) {
        "bitmap"
    } else if matches!(assembly.level, Level::Linear | Level::Raid0) {
        "none"
    } else {
        "resync"
    }
}

fn reshaping(fields: &mut Fields, assembly: &Assembly, reshape: &Reshape) {
    let position = Sectors::new(reshape.position.get());
    let way = direction_name(reshape.direction);
    let kib = position.get() / 2;
    fields.field("Reshape pos'n", format_args!("{kib} KiB{}, {way}", both_units(position)));
    let old = devices_before(assembly);
    let new = reshape.raid_disks_new;
    if reshape.delta_disks != 0 {
        fields.field("Delta Devices", format_args!("{}, ({old}->{new})", reshape.delta_disks));
    }
    if reshape.new_level != assembly.level.to_md() {
        let level = Level::from_md(reshape.new_level);
        fields.field("New Level", level.map_or("-unknown-", Level::name));
    }
    if let reshape::assemble::Shapes::Moving { new, .. } = &assembly.shapes
        && new.layout() != assembly.layout
    {
        fields.field("New Layout", layout_name(new.layout()));
    }
    if reshape.new_chunk != assembly.chunk {
        fields.field("New Chunksize", format_args!("{}K", reshape.new_chunk.get() / 2));
    }
    let mode = if moves_data_offset(assembly) {
        "moves the data offset, needs no backup"
    } else {
        "with a backup"
    };
    fields.field("Reshape Mode", mode);
}

fn table(fields: &mut Fields, given: &Given) {
    let assembly = &given.assembly;
    fields.line(row(["Number", "Slot", "State", "Events", "Data Offset", "Device"]));
    let mut lines: Vec<(u32, String)> = Vec::new();
    for member in &assembly.members {
        let Some(candidate) = given.members.candidates.get(member.candidate) else { continue };
        let number = candidate.superblock.dev_number().to_string();
        let slot = member.slot.map_or_else(|| "-".to_owned(), |slot| slot.get().to_string());
        let state = state_of(member);
        let events = member.events.to_string();
        let offset = format!("{}s", member.data_offset.get());
        let path = shortened(&name(&candidate.path));
        let line = row([&number, &slot, &state, &events, &offset, &path]);
        let place = member.slot.filter(|_| member.is_usable());
        lines.push((place.map_or(u32::MAX, Slot::get), line));
    }
    for slot in absent(assembly) {
        lines.push((slot, row(["-", &slot.to_string(), "missing", "-", "-", ""])));
    }
    lines.sort_by_key(|(slot, _)| *slot);
    for (_, line) in lines {
        fields.line(line);
    }
}

fn row([number, slot, state, events, offset, path]: [&str; 6]) -> String {
    let line = format!("{number:>8}{slot:>6}  {state:<11}{events:>9}{offset:>13} {path}");
    line.trim_end().to_owned()
}

fn state_of(member: &Member) -> String {
    match member.state {
        MemberState::InSync => "in sync".to_owned(),
        MemberState::Recovering { .. }
        | MemberState::Spare
        | MemberState::Stale
        | MemberState::Journal
        | MemberState::Replacement => member.state.name().to_owned(),
    }
}

/// The end of a path that is too long for the line.
fn shortened(path: &str) -> String {
    let room = WIDTH - BEFORE_PATH;
    let length = path.chars().count();
    if length <= room {
        return path.to_owned();
    }
    let end: String = path.chars().skip(length - (room - 1)).collect();
    format!("…{end}")
}
