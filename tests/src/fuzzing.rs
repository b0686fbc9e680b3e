//! What fuzz targets run, and every `cargo test` with fixed and with fresh bytes: plans of arbitrary arrays, and
//! reshapes to which a string of bytes happens.

use std::path::PathBuf;

use kcopy::backend::sim::{Crash, DiskId, Effect, Fault, OpKind, SimWorld};
use kcopy::{Errno, Sector, Sectors};
use reshape::assemble::{Candidate, assemble};
use reshape::geometry::{Layout, Level};
use reshape::metadata::{
    ArrayName, DeviceFlags, Features, NewArray, NewDevice, Placement, Resync, Role, Timestamp,
    Uuid, Version,
};
use reshape::plan::{self, Backup, Change, Plan, Present, Spares, Step, WantedLayout, WantedSize};
use reshape::units::Slot;

use crate::reshaping::bench::{Bench, Turn};
use crate::reshaping::case;
use crate::reshaping::crash::Subject;
use crate::reshaping::power::{cut, mover};

/// Bytes, one after the other; zeros behind their end.
struct Bytes<'a>(&'a [u8]);

impl Bytes<'_> {
    fn next(&mut self) -> u8 {
        let Some((first, rest)) = self.0.split_first() else { return 0 };
        self.0 = rest;
        *first
    }

    fn wide(&mut self) -> u64 {
        u64::from_le_bytes(std::array::from_fn(|_| self.next()))
    }

    fn below(&mut self, most: u64) -> u64 {
        u64::from(self.next()) * 256 % most.max(1) + u64::from(self.next()) % most.max(1)
    }

    fn pick<T: Copy>(&mut self, of: &[T]) -> T {
        of[usize::from(self.next()) % of.len()]
    }

    fn maybe<T>(&mut self, value: impl FnOnce(&mut Self) -> T) -> Option<T> {
        let there = self.next().is_multiple_of(3);
        there.then(|| value(self))
    }
}

/// What became of the bytes of a plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// They are no array that could be changed.
    NoArray,
    /// The change was refused.
    Refused,
    /// It was planned.
    Planned,
}

/// Plans whatever change of whatever array `bytes` mean.
///
/// # Panics
///
/// When a plan contradicts itself, or a refusal does not say what would help.
pub fn plan(bytes: &[u8]) -> Outcome {
    let mut bytes = Bytes(bytes);
    let Some(mut present) = array(&mut bytes) else { return Outcome::NoArray };
    for number in 0..bytes.next() % 5 {
        let size = if bytes.next().is_multiple_of(4) { bytes.wide() } else { 1 << 21 };
        let _too_small = present.add(&PathBuf::from(format!("new{number}")), Sectors::new(size));
    }
    let change = change(&mut bytes);
    match plan::plan(&present, &change) {
        Ok(plan) => {
            agrees(&present, &plan);
            Outcome::Planned
        }
        Err(refusal) => {
            assert!(!refusal.to_string().is_empty() && !refusal.remedy().is_empty(), "{refusal:?}");
            Outcome::Refused
        }
    }
}

/// An array that `bytes` describe, as the planner sees it; `None` if there is none like that.
fn array(bytes: &mut Bytes<'_>) -> Option<Present> {
    let level = bytes.pick(&Level::ALL);
    let layout = match level {
        Level::Raid5 => u32::from(bytes.next() % 6),
        Level::Raid6 => bytes.pick(&[0, 1, 2, 3, 4, 5, 8, 9, 10, 16, 17, 18, 19, 20]),
        Level::Raid10 => bytes.pick(&[0x102, 0x103, 0x201, 0x202, 0x1_0201]),
        Level::Linear | Level::Raid0 | Level::Raid1 | Level::Raid4 => 0,
    };
    let disks = 1 + u32::from(bytes.next() % 9);
    let chunk = Sectors::new(bytes.pick(&[0, 8, 16, 24, 128, 1024]));
    let rows = bytes.below(1 << 16) * 8;
    let striped = !matches!(level, Level::Raid0 | Level::Linear);
    let version: Version = bytes.pick(&["0.90", "1.0", "1.1", "1.2"]).parse().ok()?;
    let size = Sectors::new(rows + 8192);
    let before = bytes.below(4096) * 8;
    let super_at = version.place(size).ok()?;
    let behind = super_at.get() > 4096;
    let data_offset = if behind { 0 } else { 16 + before };
    let end = if behind { super_at.get() } else { size.get() };
    let placement = Placement {
        version,
        super_at,
        data_offset: Sector::new(data_offset),
        data_size: Sectors::new(end.checked_sub(data_offset)?),
        bitmap_offset: None,
        bad_blocks: None,
    };
    let spares = u32::from(bytes.next() % 3);
    let role = |slot| if slot < disks { Role::Active(Slot::new(slot)) } else { Role::Spare };
    let device =
        |slot| NewDevice { role: role(slot), flags: DeviceFlags::empty(), major_minor: (0, 0) };
    let array = NewArray {
        uuid: Uuid([7; 16]),
        name: ArrayName::new("")?,
        creation_time: Timestamp::from_seconds(1_700_000_000),
        level,
        layout,
        chunk,
        raid_disks: disks,
        component_size: Sectors::new(if striped { rows } else { 0 }),
        resync: Resync::Clean,
        events: 10,
        md_minor: 0,
        features: Features::empty(),
        devices: (0..disks + spares).map(device).collect(),
    };
    let missing = bytes.maybe(|bytes| u32::from(bytes.next() % 9));
    let there = (0..disks + spares).filter(|number| Some(*number) != missing);
    let candidates: Option<Vec<Candidate>> = there
        .map(|number| {
            let uuid = Uuid([u8::try_from(number).ok()? + 1; 16]);
            let superblock = array.superblock(number, &placement, uuid).ok()?;
            Some(Candidate { path: format!("m{number}").into(), size, superblock })
        })
        .collect();
    let candidates = candidates?;
    let assembly = assemble(&candidates).ok()?;
    let none = vec![Sectors::ZERO; candidates.len()];
    Present::of(&assembly, &candidates, &none, &vec![0; candidates.len()]).ok()
}

fn change(bytes: &mut Bytes<'_>) -> Change {
    let level = bytes.maybe(|bytes| bytes.pick(&Level::ALL));
    let layout = bytes.maybe(|bytes| {
        let level = bytes.pick(&Level::ALL);
        match bytes.next() % 8 {
            0 => Some(WantedLayout::Preserve),
            1 => Some(WantedLayout::Normalise),
            _ => Layout::from_md(level, u32::from(bytes.next())).ok().map(WantedLayout::Is),
        }
    });
    let size = |bytes: &mut Bytes<'_>| match bytes.next() % 3 {
        0 => WantedSize::Max,
        1 => WantedSize::Is(Sectors::new(bytes.wide())),
        _ => WantedSize::Is(Sectors::new(bytes.below(1 << 16) * 8)),
    };
    Change {
        level,
        layout: layout.flatten(),
        chunk: bytes
            .maybe(|bytes| Sectors::new(bytes.pick(&[0, 1, 8, 16, 24, 32, 4096, u64::MAX]))),
        raid_disks: bytes.maybe(|bytes| bytes.pick(&[0, 1, 2, 3, 4, 5, 6, 7, 9, 300, u32::MAX])),
        size: bytes.maybe(size),
        array_size: bytes.maybe(size),
        data_offset: bytes.maybe(|bytes| Sector::new(bytes.wide())),
        bitmap: None,
        backup: bytes.pick(&[Backup::None, Backup::File]),
        spares: bytes.pick(&[Spares::Enough, Spares::MayBeTooFew]),
    }
}

/// Each step begins with what the one before ends with, and what is named is there.
fn agrees(present: &Present, plan: &Plan) {
    assert_eq!(plan.before, present.geometry);
    let mut now = present.geometry.clone();
    for step in &plan.steps {
        match step {
            Step::Takeover(step) => {
                assert_eq!(step.old, now);
                now = step.new.clone();
            }
            Step::Restripe(step) => {
                assert_eq!(step.restripe.old, now);
                now = step.restripe.new.clone();
                let slots = u64::from(step.restripe.old.raid_disks().max(now.raid_disks()));
                assert_eq!(step.restripe.shifts.len() as u64, slots);
                assert!(step.fills.iter().all(|fill| fill.disk < present.disks.len()));
            }
            Step::Rebuild(step) => {
                assert!(step.fills.iter().all(|fill| fill.disk < present.disks.len()));
            }
            Step::AddDisks(disks) => assert!(disks.iter().all(|disk| *disk < present.disks.len())),
            Step::Resize(_)
            | Step::ArraySize(_)
            | Step::Append(_)
            | Step::RemoveBitmap
            | Step::MakeBitmap => {}
        }
    }
    assert_eq!(plan.after.level(), now.level());
    assert!(plan.spares.iter().all(|disk| *disk < present.disks.len()));
}

/// Runs a reshape of the matrix to which `bytes` happen: losses of power of every kind, sectors that cannot be
/// read, turns. At the end it is there as a whole, in its new shape or in its old one.
///
/// # Panics
///
/// When it is not.
pub fn reshape(bytes: &[u8]) {
    let mut bytes = Bytes(bytes);
    let cases = case::all();
    let number = usize::from(bytes.next()) * 256 + usize::from(bytes.next());
    let bench = Bench::new(&cases[number % cases.len()], None);
    let mut world = bench.world(u64::from(bytes.next()));
    let mut told = bench.to_string();
    let mut turned = false;
    while !bytes.0.is_empty() {
        let event = bytes.next() % 8;
        told.push_str(&format!("\n  event {event}"));
        let operations = 1 + bytes.below(500);
        match event {
            // Where it was turned around nothing is begun anew.
            0..=3 if turned => drop(bench.finish_recorded(&world, &mut cut(&world, operations))),
            0..=3 => drop(bench.go_on(&world, &mut cut(&world, operations), &[])),
            4 => {
                let turn = bench.turn_back(&world, &mut cut(&world, operations));
                turned |= !matches!(turn, Ok(Turn::Ended | Turn::Refused(_)));
            }
            5 => {
                let turn = bench.turn_back(&world, &mut mover(&world));
                let turn = turn.unwrap_or_else(|error| panic!("{told}: {error}"));
                turned |= turn == Turn::Back;
            }
            _ => unreadable(&bench, &world, &mut bytes),
        }
        let seed = bytes.wide();
        let crash = match bytes.next() % 4 {
            0 => Crash::DropAll,
            1 => Crash::KeepAll,
            _ => Crash::Seeded(seed),
        };
        world = world.snapshot().after(crash, seed);
        world.silence_trace();
    }
    let ended = bench
        .finish_recorded(&world, &mut mover(&world))
        .and_then(|()| bench.check_either(&world, &mut mover(&world)));
    ended.unwrap_or_else(|error| panic!("{told}: {error}"));
}

/// Goes on while eight sectors of a member cannot be read; afterwards they can again.
fn unreadable(bench: &Bench, world: &SimWorld, bytes: &mut Bytes<'_>) {
    let slot = u32::from(bytes.next()) % bench.case.slots();
    let at = 32 + bytes.below(world.disk(DiskId(slot)).size() / 512 - 40);
    let fault = Fault::new(Effect::Error(Errno::IO)).kind(OpKind::Read);
    world.inject(fault.on(DiskId(slot)).within(at * 512..at * 512 + 4096));
    drop(bench.finish_recorded(world, &mut mover(world)));
    world.clear_faults();
}
