//! Members that are sparse files: what a change writes into their holes, and the room that there is for it.

use std::fs;
use std::os::unix::fs::MetadataExt;

use reshape::geometry::Geometry;
use reshape::plan::{Plan, Present, Step};
use serde::Serialize;

use crate::output::name;
use crate::units::human;

/// What a change may take of a file system that members lie on.
#[derive(Debug, Serialize)]
pub(crate) struct Room {
    /// A member on it.
    file: String,
    /// As much as all that is allocated now takes in the new shape. Data that is scattered in less than 16 KiB takes
    /// more.
    likely_bytes: u64,
    /// All holes of the members.
    most_bytes: u64,
    /// What is free there.
    free_bytes: u64,
}

impl Room {
    /// The one that may not do, for people.
    fn warning(&self) -> Option<String> {
        let Self { file, likely_bytes, most_bytes, free_bytes } = self;
        let (likely, most, free) = (human(*likely_bytes), human(*most_bytes), human(*free_bytes));
        (likely_bytes > free_bytes).then(|| {
            format!(
                "the file system of {file} has {free} left, and holes of its members may take {likely} \
                 (never more than {most}): if it gets full the change stops, no member leaves, and \
                 reshape continue goes on when there is room"
            )
        })
    }
}

/// The file systems that may get full.
pub(crate) fn warnings(rooms: &[Room]) -> impl Iterator<Item = String> {
    rooms.iter().filter_map(Room::warning)
}

/// The file systems of the members that are files; none where the system does not tell.
pub(crate) fn rooms(present: &Present, plan: &Plan) -> Vec<Room> {
    let (mut systems, mut allocated) = (Vec::<(u64, Room)>::new(), 0_u64);
    for disk in &present.disks {
        let facts = fs::metadata(&disk.path).ok().filter(fs::Metadata::is_file);
        let Some(facts) = facts else {
            // All of a block device counts as data.
            allocated =
                allocated.saturating_add(disk.size.get().saturating_mul(kcopy::SECTOR_SIZE));
            continue;
        };
        let taken = facts.blocks().saturating_mul(512);
        allocated = allocated.saturating_add(taken);
        let holes = facts.len().saturating_sub(taken);
        if let Some((_, room)) = systems.iter_mut().find(|(dev, _)| *dev == facts.dev()) {
            room.most_bytes = room.most_bytes.saturating_add(holes);
        } else if let Ok(system) = rustix::fs::statvfs(&disk.path) {
            let free_bytes = system.f_bavail.saturating_mul(system.f_frsize);
            let file = name(&disk.path);
            let room = Room { file, likely_bytes: 0, most_bytes: holes, free_bytes };
            systems.push((facts.dev(), room));
        }
    }
    let likely = written(plan, allocated);
    let bounded =
        |(_, room): (u64, Room)| Room { likely_bytes: likely.min(room.most_bytes), ..room };
    systems.into_iter().map(bounded).collect()
}

/// Bytes that the steps of a plan write beside the zeros, if `allocated` bytes of the members are something else.
fn written(plan: &Plan, allocated: u64) -> u64 {
    let (mut data, mut written) = (allocated, 0_u64);
    for step in &plan.steps {
        let more = match step {
            Step::Restripe(step) => data.saturating_mul(copies(&step.restripe.new)),
            Step::Rebuild(step) => {
                data.saturating_mul(u64::try_from(step.fills.len()).unwrap_or(u64::MAX))
            }
            Step::AddDisks(_)
            | Step::RemoveBitmap
            | Step::Takeover(_)
            | Step::Resize(_)
            | Step::ArraySize(_)
            | Step::Append(_)
            | Step::MakeBitmap => 0,
        };
        data = data.saturating_add(more);
        written = written.saturating_add(more);
    }
    written
}

/// Blocks that one block of data may take in a shape, with its parity or copies.
fn copies(shape: &Geometry) -> u64 {
    if let Some(stripes) = shape.stripes() {
        return 1 + u64::from(stripes.disks().abs_diff(stripes.data_disks()));
    }
    shape.mirrors().map_or(1, |mirrors| {
        let layout = mirrors.layout();
        u64::from(layout.near).saturating_mul(layout.far.into())
    })
}
