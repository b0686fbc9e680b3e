//! Component size and array size.

use kcopy::Sectors;

use super::change::{Change, WantedSize};
use super::present::{Disk, Present};
use super::refusal::Refusal;
use super::{ArraySizeStep, Caution, Plan, ResizeStep, Step, Traffic};
use crate::geometry::{Geometry, Layout, Level, Shape};
use crate::metadata::{Minor, Version};

/// Superblocks 0.90 count KiB in 32 bits.
const MOST_OF_V0: u64 = 2 << 32;

/// Another component size: alone, as md does it.
pub(super) fn resize(present: &Present, change: &Change) -> Result<Plan, Refusal> {
    let now = &present.geometry;
    let level = now.level();
    let other = change.reshapes() || change.array_size.is_some() || change.bitmap.is_some();
    if other || present.has_blank_disks() {
        return Err(Refusal::SizeAlone);
    }
    match (level, now.layout()) {
        (Level::Linear | Level::Raid0, _) => return Err(Refusal::NoSize { level }),
        (_, Layout::Raid10(layout)) if layout.far > 1 && !layout.offset => {
            return Err(Refusal::Far { layout: now.layout() });
        }
        _ => {}
    }
    let wanted = wanted(present, change)?;
    let shape = Shape {
        level,
        layout: now.layout(),
        chunk: now.chunk(),
        raid_disks: now.raid_disks(),
        component: wanted,
        member_sizes: &[],
    };
    let new = Geometry::new(&shape)?;
    if new.component() == now.component() {
        return Err(Refusal::NothingToDo);
    }
    let step = step(present, new.clone());
    let mut steps = vec![Step::Resize(step)];
    if present.has_bitmap {
        steps.insert(0, Step::RemoveBitmap);
        steps.push(Step::MakeBitmap);
    }
    let (from, to) = (now.sectors(), new.sectors());
    let lost = (to < from).then_some(Caution::ContentLost { from, to });
    let degraded = present.missing();
    let degraded = (!degraded.is_empty()).then_some(Caution::Degraded { missing: degraded });
    Ok(Plan {
        before: now.clone(),
        after: new,
        steps,
        spares: present.spares.clone(),
        cautions: lost.into_iter().chain(degraded).collect(),
    })
}

/// Where the data that md may use ends at most.
fn most(disk: &Disk, present: &Present) -> u64 {
    let component = present.geometry.component();
    match present.version {
        // What lies between data and superblock is kept for a bitmap and the log.
        Version::V1(Minor::Zero) => disk.data_size.max(component).get(),
        Version::V0 | Version::V1(Minor::One | Minor::Two) => {
            component.get().saturating_add(disk.room.after.get())
        }
    }
}

/// What a member is divided into: chunks; offset copies take several together.
fn piece(geometry: &Geometry) -> Sectors {
    let together = match geometry.layout() {
        Layout::Raid10(layout) if layout.offset => u64::from(layout.far.max(1)),
        Layout::None
        | Layout::Raid0(_)
        | Layout::Raid5(_)
        | Layout::Raid6(_)
        | Layout::Raid10(_) => 1,
    };
    Sectors::new(geometry.chunk().get().saturating_mul(together))
}

fn wanted(present: &Present, change: &Change) -> Result<Sectors, Refusal> {
    let now = &present.geometry;
    let there = present.slots.iter().flatten().filter_map(|disk| present.disks.get(*disk));
    let Some(smallest) = there.min_by_key(|disk| most(disk, present)) else {
        return Err(Refusal::NotWhole);
    };
    let most = most(smallest, present);
    let chunk = piece(now);
    let (version, rest) = (present.version, |size: u64| size.checked_rem(chunk.get()).unwrap_or(0));
    let recordable = |size: u64| present.version != Version::V0 || size < MOST_OF_V0;
    match change.size {
        Some(WantedSize::Is(wanted)) if wanted.get() > most => {
            let (path, most) = (smallest.path.clone(), Sectors::new(most));
            Err(Refusal::SizeTooLarge { path, wanted, most })
        }
        Some(WantedSize::Is(wanted)) if rest(wanted.get()) != 0 || wanted == Sectors::ZERO => {
            Err(Refusal::SizeNotChunks { wanted, chunk })
        }
        Some(WantedSize::Is(wanted)) if !recordable(wanted.get()) => {
            Err(Refusal::SizeNotRecordable { version, wanted })
        }
        Some(WantedSize::Is(wanted)) => Ok(wanted),
        Some(WantedSize::Max) | None if recordable(most) => Ok(Sectors::new(most - rest(most))),
        Some(WantedSize::Max) | None => Ok(Sectors::new(MOST_OF_V0 - chunk.get().max(8))),
    }
}

fn step(present: &Present, new: Geometry) -> ResizeStep {
    let old = present.geometry.clone();
    let (from, to) = (old.component().get(), new.component().get());
    let disks = || present.slots.iter().flatten().copied();
    let data_size = |disk: usize| present.disks.get(disk).map_or(0, |disk| disk.data_size.get());
    let short = disks().filter(|disk| data_size(*disk) < to);
    let data_sizes = short.map(|disk| (disk, new.component())).collect();
    // What comes into use is read, and its parity or copies written.
    let fresh = from..to.max(from);
    let bytes = to.saturating_sub(from).saturating_mul(kcopy::SECTOR_SIZE);
    let traffic = disks().map(|disk| Traffic { disk, read: bytes, written: bytes });
    let traffic = traffic.filter(|traffic| traffic.read > 0).collect();
    ResizeStep { old, new, fresh, data_sizes, slots: present.slots.clone(), traffic }
}

/// The array shows less of what it has.
pub(super) fn array_size(present: &Present, change: &Change) -> Result<Plan, Refusal> {
    let old = present.geometry.sectors();
    if present.has_blank_disks() {
        return Err(Refusal::SizeAlone);
    }
    let new = match change.array_size {
        Some(WantedSize::Is(wanted)) if wanted > old => {
            return Err(Refusal::ArrayTooSmall { wanted, now: old });
        }
        Some(WantedSize::Is(wanted)) if wanted < old => wanted,
        // Nothing that is stored says otherwise.
        Some(WantedSize::Is(_) | WantedSize::Max) | None => return Err(Refusal::NothingToDo),
    };
    Ok(Plan {
        before: present.geometry.clone(),
        after: present.geometry.clone(),
        steps: vec![Step::ArraySize(ArraySizeStep { old, new })],
        spares: present.spares.clone(),
        cautions: Vec::new(),
    })
}
