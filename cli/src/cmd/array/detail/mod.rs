//! `reshape detail`: the array that members make up.

use reshape::assemble::{Assembly, Member, Shapes, State};
use reshape::geometry::Layout;
use reshape::metadata::{Direction, Reshape};
use serde::Serialize;

use super::given::{Access, Given};
use crate::args::array::{DetailArgs, MoverArgs};
use crate::exit::{Exit, Failure};
use crate::output::Screen;

mod export;
mod text;

#[derive(Debug, Serialize)]
struct Report {
    schema: u32,
    uuid: String,
    name: Option<String>,
    metadata: &'static str,
    level: &'static str,
    /// Empty for levels that have none.
    layout: String,
    chunk_bytes: u64,
    /// During a reshape: before it.
    raid_devices: u32,
    /// Unknown while members of a linear array or a RAID0 are missing.
    array_bytes: Option<u64>,
    state: &'static str,
    degraded: u32,
    events: u64,
    /// What keeps the array from being read.
    problem: Option<String>,
    /// Slots that nothing was named for are among them, without a path.
    members: Vec<MemberReport>,
    reshape: Option<ReshapeReport>,
}

#[derive(Debug, Serialize)]
struct MemberReport {
    path: Option<String>,
    slot: Option<u32>,
    state: &'static str,
    events: Option<u64>,
    data_offset_sectors: Option<u64>,
    /// Up to where it is good, if it is being rebuilt.
    recovered_sectors: Option<u64>,
}

#[derive(Debug, Serialize)]
struct ReshapeReport {
    position_sectors: u64,
    direction: &'static str,
    delta_disks: i32,
    new_level: String,
    new_layout: String,
    new_chunk_bytes: u64,
    new_raid_devices: u32,
    mode: &'static str,
}

pub(crate) fn run(args: &DetailArgs, screen: Screen) -> Result<Exit, Failure> {
    let given =
        Given::open(&args.array.devices, Access::Look, &MoverArgs::small()).map_err(|failure| {
            if args.test { Failure { exit: Exit::Unknown, ..failure } } else { failure }
        })?;
    let exit = if args.test { tested(&given.assembly) } else { Exit::Done };
    if args.json {
        return Ok(print_json(&given, screen, exit));
    }
    if args.export {
        return Ok(screen.result(&export::lines(&given), exit));
    }
    if args.brief {
        return Ok(screen.result(&export::brief(&given), exit));
    }
    Ok(screen.result(&text::text(&given), exit))
}

/// Prints an array as JSON.
pub(crate) fn print_json(given: &Given, screen: Screen, exit: Exit) -> Exit {
    screen.json(&report(given), exit)
}

/// What mdadm's exit code says of such an array.
fn tested(assembly: &Assembly) -> Exit {
    match assembly.state() {
        State::Failed => Exit::Refused,
        _ if assembly.degraded() > 0 => Exit::Failed,
        State::Degraded => Exit::Failed,
        State::Clean | State::Dirty | State::Reshaping => Exit::Done,
    }
}

fn report(given: &Given) -> Report {
    let assembly = &given.assembly;
    let sectors = assembly.shapes.sectors();
    Report {
        schema: 1,
        uuid: assembly.uuid.to_string(),
        name: assembly.name.map(|name| name.to_string()),
        metadata: assembly.version.name(),
        level: assembly.level.name(),
        layout: layout_name(assembly.layout),
        chunk_bytes: assembly.chunk.get() * 512,
        raid_devices: devices_before(assembly),
        array_bytes: sectors.map(|sectors| sectors.get() * 512),
        state: assembly.state().name(),
        degraded: assembly.degraded(),
        events: assembly.events,
        problem: assembly.startable().err().map(|why| why.to_string()),
        members: members(given),
        reshape: moving(assembly).map(|reshape| reshape_report(given, reshape)),
    }
}

/// In the order of their slots, those that are not there among them; the rest behind.
fn members(given: &Given) -> Vec<MemberReport> {
    let there = given.assembly.members.iter().map(|member| member_report(given, member));
    let missing = absent(&given.assembly).into_iter().map(|slot| MemberReport {
        path: None,
        slot: Some(slot),
        state: "missing",
        events: None,
        data_offset_sectors: None,
        recovered_sectors: None,
    });
    let mut all: Vec<MemberReport> = there.chain(missing).collect();
    all.sort_by_key(|member| member.slot.unwrap_or(u32::MAX));
    all
}

fn member_report(given: &Given, member: &Member) -> MemberReport {
    MemberReport {
        path: Some(path_of(given, member)),
        slot: member.slot.map(|slot| slot.get()),
        state: member.state.name(),
        events: Some(member.events),
        data_offset_sectors: Some(member.data_offset.get()),
        recovered_sectors: recovered(member),
    }
}

fn reshape_report(given: &Given, reshape: &Reshape) -> ReshapeReport {
    let assembly = &given.assembly;
    let new_level = reshape::geometry::Level::from_md(reshape.new_level);
    let new_layout = match &assembly.shapes {
        Shapes::Moving { new, .. } => layout_name(new.layout()),
        Shapes::Whole(_) | Shapes::Unknown => String::new(),
    };
    ReshapeReport {
        position_sectors: reshape.position.get(),
        direction: direction_name(reshape.direction),
        delta_disks: reshape.delta_disks,
        new_level: new_level.map_or_else(|| reshape.new_level.to_string(), |l| l.to_string()),
        new_layout,
        new_chunk_bytes: reshape.new_chunk.get() * 512,
        new_raid_devices: reshape.raid_disks_new,
        mode: if moves_data_offset(assembly) { "data-offset" } else { "backup" },
    }
}

/// The path of the device that a member is.
fn path_of(given: &Given, member: &Member) -> String {
    let candidate = given.members.candidates.get(member.candidate);
    candidate.map_or_else(String::new, |found| found.path.to_string_lossy().into_owned())
}

/// Up to where a member is good, if not everywhere.
fn recovered(member: &Member) -> Option<u64> {
    use reshape::assemble::MemberState;
    match member.state {
        MemberState::Recovering { to } => Some(to.get()),
        MemberState::InSync
        | MemberState::Spare
        | MemberState::Stale
        | MemberState::Journal
        | MemberState::Replacement => None,
    }
}

fn moving(assembly: &Assembly) -> Option<&Reshape> {
    match &assembly.shapes {
        Shapes::Moving { reshape, .. } => Some(reshape),
        Shapes::Whole(_) | Shapes::Unknown => None,
    }
}

/// Members of the array; during a reshape before it.
fn devices_before(assembly: &Assembly) -> u32 {
    match &assembly.shapes {
        Shapes::Moving { old, .. } => old.raid_disks(),
        Shapes::Whole(_) | Shapes::Unknown => assembly.raid_disks,
    }
}

/// Slots without any member.
fn absent(assembly: &Assembly) -> Vec<u32> {
    use reshape::units::Slot;
    (0..assembly.slots()).filter(|slot| assembly.member_in(Slot::new(*slot)).is_none()).collect()
}

/// Whether the new layout begins elsewhere on the members, so that no backup is needed.
fn moves_data_offset(assembly: &Assembly) -> bool {
    assembly.members.iter().any(|member| member.new_data_offset != member.data_offset)
}

fn layout_name(layout: Layout) -> String {
    match layout {
        Layout::None => String::new(),
        Layout::Raid0(_) | Layout::Raid5(_) | Layout::Raid6(_) | Layout::Raid10(_) => {
            layout.to_string()
        }
    }
}

pub(super) fn direction_name(direction: Direction) -> &'static str {
    match direction {
        Direction::Forwards => "forwards",
        Direction::Backwards => "backwards",
    }
}
