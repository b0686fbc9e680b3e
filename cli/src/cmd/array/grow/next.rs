//! The commands that go on after an interruption, as they can be typed.

use std::path::Path;

use kcopy::Sectors;
use reshape::geometry::{Geometry, Layout, Level};
use reshape::plan::{Caution, Plan, Step, WantedSize};

use crate::args::array::{Bitmap, GrowArgs};
use crate::output::word;

/// How to go on after the step `at` was interrupted.
pub(super) fn command(args: &GrowArgs, plan: &Plan, at: usize) -> String {
    let all = args.array.devices.iter().chain(&args.change.add);
    let all = all.map(|path| word(path)).collect::<Vec<_>>().join(" ");
    let mut next = Vec::new();
    let last = at + 1 >= plan.steps.len();
    let ends = match plan.steps.get(at) {
        Some(Step::Restripe(_)) => {
            next.push(format!("reshape continue {all}{}", backup_file(args, plan)));
            last
        }
        Some(Step::Rebuild(_)) => {
            next.push(format!("reshape rebuild {all}"));
            last
        }
        Some(
            Step::AddDisks(_)
            | Step::RemoveBitmap
            | Step::Takeover(_)
            | Step::Resize(_)
            | Step::ArraySize(_)
            | Step::Append(_)
            | Step::MakeBitmap,
        )
        | None => false,
    };
    if !ends {
        next.push(again(args, plan));
    }
    next.join(", then ")
}

fn backup_file(args: &GrowArgs, plan: &Plan) -> String {
    match (&args.change.backup_file, plan.backup_bytes()) {
        (Some(file), 1..) => format!(" --backup-file {}", word(file)),
        (Some(_) | None, _) => String::new(),
    }
}

/// The change from wherever it stands: what it is to become is said in full, for what follows from the level or
/// the layout that the array has now may not follow from those it has half-way.
fn again(args: &GrowArgs, plan: &Plan) -> String {
    let wanted = &args.change;
    let mut command = String::from("reshape grow");
    for path in &args.array.devices {
        command.push_str(&format!(" {}", word(path)));
    }
    for path in &wanted.add {
        command.push_str(&format!(" --add {}", word(path)));
    }
    match wanted.size {
        Some(WantedSize::Max) => command.push_str(" --size max"),
        Some(WantedSize::Is(size)) => command.push_str(&format!(" --size {}s", size.get())),
        None if plan.after.level() == Level::Linear => {}
        None => command.push_str(&shape(&plan.after)),
    }
    match wanted.array_size {
        Some(WantedSize::Max) => command.push_str(" --array-size max"),
        Some(WantedSize::Is(size)) => command.push_str(&format!(" --array-size {}s", size.get())),
        None => {}
    }
    if let Some(offset) = wanted.data_offset {
        command.push_str(&format!(" --data-offset {}B", offset.0));
    }
    let makes = plan.steps.iter().any(|step| matches!(step, Step::MakeBitmap));
    match wanted.bitmap {
        Some(Bitmap::None) => command.push_str(" --bitmap none"),
        Some(Bitmap::Internal) => command.push_str(" --bitmap internal"),
        None if makes => command.push_str(" --bitmap internal"),
        None => {}
    }
    command.push_str(&backup_file(args, plan));
    let degraded = plan.cautions.iter().any(|one| matches!(one, Caution::EndsDegraded { .. }));
    if wanted.force || degraded {
        command.push_str(" --force");
    }
    command
}

/// Options for all of a shape.
fn shape(geometry: &Geometry) -> String {
    let level = geometry.level();
    let name = level.to_string();
    let mut options = format!(" --level {}", name.trim_start_matches("raid"));
    options.push_str(&format!(" --raid-devices {}", geometry.raid_disks()));
    match geometry.layout() {
        layout @ (Layout::Raid5(_) | Layout::Raid6(_) | Layout::Raid10(_)) => {
            options.push_str(&format!(" --layout {}", word(Path::new(&layout.to_string()))));
        }
        Layout::None | Layout::Raid0(_) => {}
    }
    if !matches!(level, Level::Raid1 | Level::Linear) && geometry.chunk() != Sectors::ZERO {
        let bytes = geometry.chunk().get() * kcopy::SECTOR_SIZE;
        options.push_str(&if bytes.is_multiple_of(1024) {
            format!(" --chunk {}K", bytes / 1024)
        } else {
            format!(" --chunk {bytes}B")
        });
    }
    options
}
