//! Whole plans on the simulated device: every pair of levels that a plan exists for, and what else may
//! change, in three versions. Afterwards every sector must be where it belongs, parity included.

use std::sync::Arc;

use kcopy::backend::sim::{DiskOptions, SimDisk, SimWorld};
use kcopy::{Sector, Sectors};

use super::*;
use crate::array::bench::numbered;
use crate::array::create::{Blank, Content, CreatePlan, NewBitmap, Seat, Wanted};
use crate::array::{Array, Mend, Range, Source, film};
use crate::geometry::Layout;
use crate::plan::{self, Backup, Change, WantedLayout, WantedSize};

const CHUNK: u64 = 8;
/// Room for superblock, head room and some dozens of stripes.
const DISK: u64 = 2 << 20;
const DATA: u64 = 1024;

fn now() -> Timestamp {
    Timestamp::from_seconds(1_700_000_000)
}

/// An array, what is added to it, and the change.
#[derive(Clone, Debug)]
struct Case {
    version: &'static str,
    level: Level,
    layout: &'static str,
    disks: u32,
    added: u32,
    change: Change,
}

struct Bench {
    mover: Mover,
    devices: Vec<Device>,
    file: Device,
}

impl Bench {
    fn new(case: &Case) -> Self {
        let world = SimWorld::new(7);
        let count = case.disks + case.added;
        let disks: Vec<SimDisk> =
            (0..count).map(|_| world.add_disk(DiskOptions::new(DISK))).collect();
        let file = world.add_disk(DiskOptions::new(1 << 25).file(1 << 26)).device();
        let mut mover = film::mover(&world);
        let version: crate::metadata::Version = case.version.parse().expect("a version");
        let offset = matches!(case.version, "1.1" | "1.2").then(|| Sector::new(DATA));
        let striped = case.level != Level::Raid1;
        let layout = (!case.layout.is_empty())
            .then(|| Layout::parse(case.level, case.layout).expect("a layout"));
        let name = if case.version == "0.90" { "" } else { "host:sim" };
        let wanted = Wanted {
            version,
            level: case.level,
            layout,
            chunk: striped.then(|| Sectors::new(CHUNK)),
            raid_devices: case.disks,
            spare_devices: 0,
            component: (case.level != Level::Raid0).then(|| Sectors::new(1536)),
            data_offset: offset,
            bitmap: NewBitmap::None,
            name: name.into(),
            uuid: Uuid([9; 16]),
            now: now(),
            content: Content::Zeros,
        };
        let mut seats = Vec::new();
        let members = usize::try_from(case.disks).expect("few");
        for (number, disk) in (0_u8..).zip(&disks).take(members) {
            let blank = Blank::look(&mut mover, disk.device(), Uuid([number; 16]));
            seats.push(Seat::Taken(blank.expect("readable")));
        }
        let plan = CreatePlan::new(&wanted, &seats).unwrap_or_else(|e| panic!("{case:?}: {e}"));
        plan.execute(&mut mover).expect("written");
        Self { mover, devices: disks.iter().map(SimDisk::device).collect(), file }
    }

    fn look(&mut self, count: usize) -> (Assembly, Members) {
        let devices = self.devices.iter().take(count).cloned().collect();
        let members = Members::read(&mut self.mover, devices).expect("members");
        let assembly = assemble(&members.candidates).expect("one array");
        (assembly, members)
    }

    fn array(&mut self, count: usize) -> Array {
        let (assembly, members) = self.look(count);
        Array::open(&assembly, &members.devices, &members.bad).expect("an array")
    }
}

/// Fills the array, changes it, looks what became of it; the refusal of the planner, if it is one.
fn run(case: &Case) -> Result<(), String> {
    let mut bench = Bench::new(case);
    let members = usize::try_from(case.disks).expect("few");
    let array = bench.array(members);
    let size = array.sectors().get();
    let kept = match case.change.array_size {
        Some(WantedSize::Is(sectors)) => sectors.get(),
        Some(WantedSize::Max) | None => size,
    };
    let source = Source::Memory(Arc::new(numbered(size)));
    array
        .write_from(&mut bench.mover, Range::new(0, size), &source, &mut |_| true)
        .expect("filled");
    let (assembly, found) = bench.look(members);
    let none = vec![Sectors::ZERO; members];
    let mut present = Present::of(&assembly, &found.candidates, &none, &vec![0; members])
        .map_err(|refusal| refusal.to_string())?;
    for device in bench.devices.iter().skip(members) {
        let size = Sectors::from_bytes_floor(device.size());
        present.add(device.path(), size).map_err(|refusal| refusal.to_string())?;
    }
    let plan = plan::plan(&present, &case.change).map_err(|refusal| refusal.to_string())?;
    let uuids: Vec<Uuid> = (100..).map(|n| Uuid([n; 16])).take(bench.devices.len()).collect();
    let tools = Tools {
        memory: None,
        backup: Some(bench.file.clone()),
        uuids: &uuids,
        doubt: Doubt::Stop,
        clock: now,
        log: None,
    };
    let disks = bench.devices.clone();
    let state = Performer::new(&mut bench.mover, (&present, &plan), &disks, tools)
        .run(&mut |_| true)
        .unwrap_or_else(|error| panic!("{case:?}\n{error}"));
    assert_eq!(state, State::Finished);
    check(&mut bench, case, &plan, kept);
    Ok(())
}

fn check(bench: &mut Bench, case: &Case, plan: &Plan, kept: u64) {
    let (assembly, _) = bench.look(bench.devices.len());
    assert_eq!(assembly.level, plan.after.level(), "{case:?}");
    assert_eq!(assembly.raid_disks, plan.after.raid_disks(), "{case:?}");
    assert_eq!(assembly.degraded(), 0, "{case:?}");
    let array = bench.array(bench.devices.len());
    // A RAID0 of version 0.90 takes all there is of its members: it may be larger.
    let exact = case.version != "0.90" || assembly.level != Level::Raid0;
    assert!(array.sectors() >= plan.after.sectors(), "{case:?}");
    assert!(!exact || array.sectors() == plan.after.sectors(), "{case:?}");
    let kept = kept.min(array.sectors().get());
    let (found, report) = array.read(&mut bench.mover, Range::new(0, kept)).expect("read");
    assert_eq!(report.unreadable, []);
    let wanted = numbered(kept);
    let wrong = (0..kept).find(|n| {
        let at = usize::try_from(n * 512).expect("small");
        found[at..at + 512] != wanted[at..at + 512]
    });
    assert_eq!(wrong, None, "{case:?}\n{plan:#?}");
    let report = array.check(&mut bench.mover, Mend::Report, &mut |_| true).expect("checked");
    assert_eq!(report.mismatch_sectors, 0, "{case:?}");
}

const VERSIONS: [&str; 4] = ["0.90", "1.0", "1.1", "1.2"];

fn to(level: Level) -> Change {
    Change { level: Some(level), backup: Backup::File, ..Change::default() }
}

fn disks(count: u32) -> Change {
    Change { raid_disks: Some(count), backup: Backup::File, ..Change::default() }
}

fn layout(level: Level, name: &str) -> Change {
    let layout = WantedLayout::Is(Layout::parse(level, name).expect("a layout"));
    Change { layout: Some(layout), backup: Backup::File, ..Change::default() }
}

fn chunk(sectors: u64) -> Change {
    let chunk = Some(Sectors::new(sectors));
    Change { chunk, backup: Backup::File, ..Change::default() }
}

/// Fewer members, with the consent to lose what no longer fits.
fn fewer(count: u32, sectors: u64) -> Change {
    let array_size = Some(WantedSize::Is(Sectors::new(sectors)));
    Change { array_size, ..disks(count) }
}

fn all() -> Vec<(Level, &'static str, u32, u32, Change)> {
    use Level::{Raid0, Raid1, Raid4, Raid5, Raid6, Raid10};
    vec![
        (Raid5, "", 3, 1, disks(4)),
        (Raid5, "", 3, 2, disks(5)),
        (Raid5, "", 4, 0, fewer(3, 3072)),
        (Raid5, "", 4, 0, chunk(16)),
        (Raid5, "", 4, 0, layout(Raid5, "right-asymmetric")),
        (Raid5, "", 4, 1, to(Raid6)),
        (Raid6, "", 5, 0, to(Raid5)),
        (Raid6, "", 4, 1, disks(5)),
        (Raid6, "", 5, 0, fewer(4, 3072)),
        (Raid6, "", 5, 0, layout(Raid6, "ddf-N-continue")),
        (Raid6, "", 5, 0, chunk(16)),
        (Raid5, "", 4, 0, to(Raid4)),
        (Raid4, "", 4, 0, to(Raid5)),
        (Raid4, "", 3, 1, disks(4)),
        (Raid5, "", 4, 0, to(Raid0)),
        (Raid4, "", 4, 0, to(Raid0)),
        (Raid0, "", 3, 1, to(Raid4)),
        (Raid0, "", 3, 1, to(Raid5)),
        (Raid0, "", 3, 2, to(Raid6)),
        (Raid0, "", 2, 2, to(Raid10)),
        (Raid0, "", 3, 1, disks(4)),
        (Raid0, "", 3, 0, chunk(16)),
        (Raid10, "", 4, 0, to(Raid0)),
        (Raid10, "", 4, 1, disks(5)),
        (Raid10, "", 4, 0, chunk(16)),
        (Raid10, "", 4, 0, layout(Raid10, "o2")),
        (Raid1, "", 2, 0, to(Raid5)),
        (Raid1, "", 2, 1, disks(3)),
        (Raid5, "", 2, 0, to(Raid1)),
        (Raid1, "", 2, 0, to(Raid0)),
        (Raid6, "", 5, 0, to(Raid0)),
        (Raid5, "", 3, 2, Change { raid_disks: Some(5), ..to(Raid6) }),
    ]
}

#[test]
fn every_plan_of_the_matrix_keeps_every_sector() {
    let mut done = 0;
    let mut refused = Vec::new();
    for version in VERSIONS {
        for (level, layout, disks, added, change) in all() {
            for backup in [Backup::File, Backup::None] {
                let change = Change { backup, ..change.clone() };
                let case = Case { version, level, layout, disks, added, change };
                match run(&case) {
                    Ok(()) => done += 1,
                    Err(why) => refused.push(format!("{version} {level} {disks}: {why}")),
                }
            }
        }
    }
    println!("{done} done, {} refused:\n{}", refused.len(), refused.join("\n"));
    assert!(done > 150, "{done}");
}
