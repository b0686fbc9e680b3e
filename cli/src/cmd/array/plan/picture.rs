//! The array before and after, beside each other if they fit.

use reshape::geometry::{Cell, Drawing, Geometry};
use reshape::plan::Plan;
use reshape::units::Slot;

/// Columns of a terminal.
const WIDTH: usize = 80;
/// Rows that are drawn at most.
const ROWS: u64 = 6;
/// Columns between the two pictures.
const BETWEEN: usize = 4;

/// Lines of a picture: heads and rows; empty if no shape changes.
pub(super) fn lines(plan: &Plan) -> Vec<String> {
    let (before, after) = (&plan.before, &plan.after);
    let same = before.level() == after.level()
        && before.layout() == after.layout()
        && before.raid_disks() == after.raid_disks();
    if same {
        return Vec::new();
    }
    let pictures = [("now", before), ("then", after)].map(|(head, shape)| block(head, shape));
    let [Some(left), Some(right)] = pictures else { return Vec::new() };
    let width = |block: &[String]| block.iter().map(String::len).max().unwrap_or(0);
    if width(&left) + BETWEEN + width(&right) > WIDTH {
        return left.into_iter().chain([String::new()]).chain(right).collect();
    }
    let (column, rows) = (width(&left) + BETWEEN, left.len().max(right.len()));
    let line = |row: usize| {
        let cell = |block: &[String]| block.get(row).cloned().unwrap_or_default();
        format!("{:<column$}{}", cell(&left), cell(&right)).trim_end().to_owned()
    };
    (0..rows).map(line).collect()
}

/// One picture; `None` if it is wider than a terminal.
fn block(head: &str, geometry: &Geometry) -> Option<Vec<String>> {
    let drawing = Drawing::of(geometry, ROWS);
    let slots = 0..geometry.raid_disks();
    let text = |row: u64, slot: u32| match drawing.cell(row, Slot::new(slot)) {
        cell @ (Cell::Data(_) | Cell::P | Cell::Q | Cell::Unused) => cell.to_string(),
    };
    let cells = (0..drawing.rows()).flat_map(|row| slots.clone().map(move |slot| (row, slot)));
    let width = cells.map(|(row, slot)| text(row, slot).len()).max()?;
    let width = width.max(geometry.raid_disks().saturating_sub(1).to_string().len());
    let line = |head: &str, cell: &dyn Fn(u32) -> String| {
        let cells: String = slots.clone().map(|slot| format!("  {:>width$}", cell(slot))).collect();
        format!("{head:<4}{cells}")
    };
    let mut lines = vec![line(head, &|slot| slot.to_string())];
    lines.extend((0..drawing.rows()).map(|row| line("", &|slot| text(row, slot))));
    let widest = lines.iter().map(String::len).max()?;
    (widest <= WIDTH).then_some(lines)
}
