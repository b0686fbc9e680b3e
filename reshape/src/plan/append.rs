//! A linear array that gets longer.

use kcopy::Sectors;

use super::change::Change;
use super::present::Present;
use super::refusal::Refusal;
use super::{AppendStep, Plan, Step};
use crate::geometry::{Geometry, Shape};

/// Every disk that is new becomes a member behind the others. Nothing else can be changed.
pub(super) fn plan(present: &Present, change: &Change) -> Result<Plan, Refusal> {
    let old = &present.geometry;
    let all = present.disks.iter().enumerate();
    let disks: Vec<usize> =
        all.filter(|(_, disk)| disk.candidate.is_none()).map(|(index, _)| index).collect();
    let raid_disks =
        old.raid_disks().saturating_add(u32::try_from(disks.len()).unwrap_or(u32::MAX));
    let lengthens = Change {
        raid_disks: None,
        backup: change.backup,
        spares: change.spares,
        ..Change::default()
    };
    let only_that = Change { raid_disks: None, ..change.clone() } == lengthens;
    if !only_that || change.raid_disks.is_some_and(|wanted| wanted != raid_disks) {
        return Err(Refusal::Linear);
    }
    let members = present.slots.iter().flatten().chain(&disks);
    let sizes = members.filter_map(|disk| present.disks.get(*disk)).map(|disk| disk.data_size);
    let new = Geometry::new(&Shape {
        level: old.level(),
        layout: old.layout(),
        chunk: old.chunk(),
        raid_disks,
        component: Sectors::ZERO,
        member_sizes: &sizes.collect::<Vec<_>>(),
    })?;
    let step = AppendStep { old: old.clone(), new: new.clone(), disks };
    Ok(Plan {
        before: old.clone(),
        after: new,
        steps: vec![Step::Append(step)],
        spares: Vec::new(),
        cautions: Vec::new(),
    })
}
