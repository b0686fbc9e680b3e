//! A plan for programs.

use reshape::geometry::{Geometry, Layout};
use reshape::plan::{
    Caution, Fill, Mode, Refusal, RestripeStep, Revert, SlotMove, Speeds, Step, Traffic,
};
use serde::Serialize;
use serde_json::{Value, json};

use super::text::Told;
use crate::cmd::array::detail::direction_name;
use crate::cmd::array::room::{Room, rooms};

/// Bytes of a sector, to tell lengths in bytes.
const SECTOR: u64 = kcopy::SECTOR_SIZE;

#[derive(Debug, Serialize)]
pub(super) struct Report {
    schema: u32,
    possible: bool,
    uuid: String,
    before: Shape,
    after: Shape,
    steps: Vec<Value>,
    cautions: Vec<Value>,
    /// Disks without a place afterwards.
    spares: Vec<String>,
    backup_file_bytes: u64,
    /// Of each file system that members are sparse files on.
    space: Vec<Room>,
    seconds: u64,
    speed_bytes: u64,
}

#[derive(Debug, Serialize)]
struct Shape {
    level: &'static str,
    layout: Option<String>,
    chunk_bytes: u64,
    raid_devices: u32,
    component_bytes: u64,
    array_bytes: u64,
}

impl Shape {
    fn of(geometry: &Geometry) -> Self {
        let layout = geometry.layout();
        Self {
            level: geometry.level().name(),
            layout: (layout != Layout::None).then(|| layout.to_string()),
            chunk_bytes: geometry.chunk().get() * SECTOR,
            raid_devices: geometry.raid_disks(),
            component_bytes: geometry.component().get() * SECTOR,
            array_bytes: geometry.sectors().get() * SECTOR,
        }
    }
}

pub(super) fn refused(refusal: &Refusal) -> Value {
    json!({
        "schema": 1,
        "possible": false,
        "refusal": refusal.code(),
        "message": refusal.to_string(),
        "remedy": refusal.remedy(),
    })
}

pub(super) fn report(told: &Told<'_>, speeds: &Speeds) -> Report {
    let plan = told.plan;
    Report {
        schema: 1,
        possible: true,
        uuid: told.assembly.uuid.to_string(),
        before: Shape::of(&plan.before),
        after: Shape::of(&plan.after),
        steps: plan.steps.iter().map(|todo| step(told, todo, speeds)).collect(),
        cautions: plan.cautions.iter().map(|what| caution(told, what)).collect(),
        spares: plan.spares.iter().map(|disk| told.disk(*disk)).collect(),
        backup_file_bytes: plan.backup_bytes(),
        space: rooms(told.present, plan),
        seconds: plan.time(speeds).as_secs(),
        speed_bytes: speeds.read,
    }
}

/// What all steps have, and what each has for itself.
fn step(told: &Told<'_>, step: &Step, speeds: &Speeds) -> Value {
    let (kind, own) = match step {
        Step::AddDisks(disks) => {
            let disks: Vec<_> = disks.iter().map(|disk| told.disk(*disk)).collect();
            ("add-disks", json!({ "disks": disks }))
        }
        Step::RemoveBitmap => ("remove-bitmap", json!({})),
        Step::MakeBitmap => ("make-bitmap", json!({})),
        Step::Append(step) => {
            let disks: Vec<_> = step.disks.iter().map(|disk| told.disk(*disk)).collect();
            let (old, new) = (Shape::of(&step.old), Shape::of(&step.new));
            ("append", json!({ "before": old, "after": new, "disks": disks }))
        }
        Step::Takeover(step) => {
            let moves = step.moves.iter().map(|one| slot_move(told, one));
            let moves: Vec<_> = moves.collect();
            let (old, new) = (Shape::of(&step.old), Shape::of(&step.new));
            ("takeover", json!({ "before": old, "after": new, "moves": moves }))
        }
        Step::Restripe(step) => ("restripe", restripe(told, step)),
        Step::Resize(step) => {
            let (old, new) = (Shape::of(&step.old), Shape::of(&step.new));
            let fresh = step.fresh.end.saturating_sub(step.fresh.start) * SECTOR;
            ("resize", json!({ "before": old, "after": new, "fresh_bytes_per_member": fresh }))
        }
        Step::ArraySize(step) => {
            let (old, new) = (step.old.get() * SECTOR, step.new.get() * SECTOR);
            ("array-size", json!({ "before_bytes": old, "after_bytes": new }))
        }
        Step::Rebuild(step) => ("rebuild", json!({ "fills": fills(told, &step.fills) })),
    };
    let mut all = json!({
        "step": kind,
        "traffic": step.traffic().iter().map(|one| traffic(told, one)).collect::<Vec<_>>(),
        "tolerance": step.tolerance(),
        "revert": revert(step.revert()),
        "seconds": step.time(speeds).as_secs(),
    });
    if let (Value::Object(all), Value::Object(own)) = (&mut all, own) {
        all.extend(own);
    }
    all
}

fn restripe(told: &Told<'_>, step: &RestripeStep) -> Value {
    let restripe = &step.restripe;
    let of = |slot: usize| restripe.shifts.get(slot).copied().unwrap_or(0);
    let seats = step.slots.iter().enumerate();
    let shifts = seats.filter_map(|(slot, disk)| Some((told.disk((*disk)?), of(slot))));
    let shifts: Vec<_> = shifts.map(|(disk, by)| json!({ "disk": disk, "sectors": by })).collect();
    let leaving: Vec<_> = step.leaving.iter().map(|disk| told.disk(*disk)).collect();
    json!({
        "before": Shape::of(&restripe.old),
        "after": Shape::of(&restripe.new),
        "direction": direction_name(restripe.track.direction),
        "mode": step.mode.name(),
        "shifts": shifts,
        "least_shift_sectors": step.least_shift.get(),
        "unit_sectors": step.unit.map(|unit| unit.get()),
        "critical_sectors": [step.critical.start, step.critical.end],
        "section_sectors": step.section.map(|section| section.get()),
        "backup_bytes": step.backup_bytes,
        "checkpoints": step.checkpoints,
        "fills": fills(told, &step.fills),
        "leaving": leaving,
        "backup_needed": step.mode != Mode::DataOffset && !step.backup_is_a_choice,
    })
}

fn slot_move(told: &Told<'_>, one: &SlotMove) -> Value {
    let to = one.to.map(|slot| slot.get());
    json!({ "disk": told.disk(one.disk), "from": one.from.get(), "to": to })
}

fn fills(told: &Told<'_>, fills: &[Fill]) -> Vec<Value> {
    let fill = |fill: &Fill| json!({ "disk": told.disk(fill.disk), "slot": fill.slot.get() });
    fills.iter().map(fill).collect()
}

fn traffic(told: &Told<'_>, one: &Traffic) -> Value {
    json!({ "disk": told.disk(one.disk), "read_bytes": one.read, "written_bytes": one.written })
}

const fn revert(revert: Revert) -> &'static str {
    match revert {
        Revert::Always => "always",
        Revert::Never => "never",
        Revert::UntilTheEnd | Revert::UntilTheEndWithParity => "until-the-end",
        Revert::ShapeOnly => "shape-only",
        Revert::WithRebuild => "with-rebuild",
    }
}

fn caution(told: &Told<'_>, caution: &Caution) -> Value {
    match caution {
        Caution::ContentLost { from, to } => {
            let (from, to) = (from.get() * SECTOR, to.get() * SECTOR);
            json!({ "caution": "content-lost", "before_bytes": from, "after_bytes": to })
        }
        Caution::Degraded { missing } => {
            let slots: Vec<_> = missing.iter().map(|slot| slot.get()).collect();
            json!({ "caution": "degraded", "missing_slots": slots })
        }
        Caution::LessRedundancy { step, tolerance, usual } => json!({
            "caution": "less-redundancy", "step": step, "tolerance": tolerance, "usual": usual,
        }),
        Caution::EndsDegraded { missing } => {
            json!({ "caution": "ends-degraded", "missing": missing })
        }
        Caution::BackupNotNeeded { step } => {
            json!({ "caution": "backup-not-needed", "step": step })
        }
        Caution::BadSectors { disk, sectors } => {
            json!({ "caution": "bad-sectors", "disk": told.disk(*disk), "sectors": sectors })
        }
    }
}
