//! Reshapes on the simulated device, with the power going at any operation.

use kcopy::backend::sim::{
    Crash, DiskId, DiskOptions, Effect, Fault, OpKind, Phase, Rng, SimWorld,
};
use kcopy::engine::Config;
use kcopy::pool::Pool;
use kcopy::{Device, Sector, Sectors};
use proptest::prelude::*;

use super::window::bytes_of;
use super::*;
use crate::array::bench::numbered;
use crate::array::{Age, Members, Mend, Source};
use crate::assemble::{Assembly, Shapes, assemble};
use crate::geometry::{Geometry, Layout, Level, Shape};
use crate::machine::State;
use crate::metadata::{
    ArrayName, BackupHeader, DeviceFlags, Features, NewArray, NewDevice, Placement, Resync, Role,
    Superblock, Uuid, Version,
};
use crate::mover::Durability;

const ROWS: u64 = 256;
const DATA: u64 = 2048;
const TAIL: u64 = 512;

/// What a test reshapes into what.
#[derive(Clone, Debug)]
struct Case {
    level: Level,
    layouts: (u32, u32),
    chunks: (u64, u64),
    disks: (u32, u32),
    /// Data offsets move (and nothing is saved), or not (and a backup file is needed).
    moves: bool,
    forwards: bool,
    missing: bool,
}

impl Case {
    fn geometry(&self, which: usize) -> Geometry {
        let pick = |pair: (u32, u32)| if which == 0 { pair.0 } else { pair.1 };
        let chunk = if which == 0 { self.chunks.0 } else { self.chunks.1 };
        Geometry::new(&Shape {
            level: self.level,
            layout: Layout::from_md(self.level, pick(self.layouts)).expect("a layout"),
            chunk: Sectors::new(chunk),
            raid_disks: pick(self.disks),
            component: Sectors::new(ROWS),
            member_sizes: &[],
        })
        .expect("a shape")
    }

    fn direction(&self) -> Direction {
        if self.forwards { Direction::Forwards } else { Direction::Backwards }
    }

    fn restripe(&self) -> Restripe {
        let (old, new) = (self.geometry(0), self.geometry(1));
        let slots = usize::try_from(self.disks.0.max(self.disks.1)).expect("small");
        let chunk = i32::try_from(self.chunks.0.max(self.chunks.1)).expect("small");
        let room = if self.moves { 2 * chunk } else { 0 };
        let shift = if self.forwards { -room } else { room };
        Restripe::new(old, new, self.direction(), vec![shift; slots]).expect("rows in common terms")
    }
}

fn now() -> Timestamp {
    Timestamp::from_seconds(1_700_000_000)
}

/// A mover whose power goes after so many operations.
fn powered(world: &SimWorld, operations: u64) -> Mover {
    let pool = Pool::new(2048).expect("memory");
    let backend = world.backend().without_power_after(operations);
    // Windows and sections take several requests, as those of real disks do.
    let config = Config { request_size: 8 << 10, ..Config::default() };
    Mover::on(Box::new(backend), Box::new(world.clone()), pool, config)
}

fn mover(world: &SimWorld) -> Mover {
    powered(world, u64::MAX)
}

/// A world with members (spares for a growth among them) and, last, the file for a backup.
fn make(case: &Case, seed: u64) -> (SimWorld, Vec<DiskId>, DiskId) {
    // A shrink keeps what the smaller array has.
    let keep = case.geometry(1).sectors().get().min(case.geometry(0).sectors().get());
    make_of(case, seed, |options| options, numbered(keep))
}

/// The same with disks that `like` makes different, and this content.
fn make_of(
    case: &Case,
    seed: u64,
    like: fn(DiskOptions) -> DiskOptions,
    content: Vec<u8>,
) -> (SimWorld, Vec<DiskId>, DiskId) {
    let world = SimWorld::new(seed);
    let count = case.disks.0.max(case.disks.1);
    let bytes = (DATA + ROWS + TAIL) * 512;
    let disk = |_| world.add_disk(like(DiskOptions::new(bytes))).id();
    let ids: Vec<_> = (0..count).map(disk).collect();
    let file = world.add_disk(DiskOptions::new(1 << 22).file(1 << 23)).id();
    let mut mover = mover(&world);
    let version: Version = "1.2".parse().expect("a version");
    let size = Sectors::from_bytes_floor(bytes);
    let mut placement =
        Placement::usual(version, size, Sectors::new(8), crate::metadata::BitmapRoom::None)
            .expect("room");
    placement.data_offset = Sector::new(DATA);
    placement.data_size = Sectors::new(ROWS + TAIL);
    let role = |slot| match slot {
        slot if slot < case.disks.0 => Role::Active(Slot::new(slot)),
        _ => Role::Spare,
    };
    let array = NewArray {
        uuid: Uuid([7; 16]),
        name: ArrayName::new("test").expect("short"),
        creation_time: now(),
        level: case.level,
        layout: case.layouts.0,
        chunk: Sectors::new(case.chunks.0),
        raid_disks: case.disks.0,
        component_size: Sectors::new(ROWS),
        resync: Resync::Clean,
        events: 10,
        md_minor: 0,
        features: Features::empty(),
        devices: (0..count)
            .map(|slot| NewDevice {
                role: role(slot),
                flags: DeviceFlags::empty(),
                major_minor: (0, 0),
            })
            .collect(),
    };
    for (number, id) in (0_u8..).zip(&ids) {
        let superblock =
            array.superblock(number.into(), &placement, Uuid([number + 1; 16])).expect("fits");
        let at = superblock.at().get() * 512;
        let device = world.disk(*id).device();
        mover.write(&device, at, superblock.to_bytes(), Durability::Now).expect("written");
    }
    let devices: Vec<_> = ids.iter().map(|id| world.disk(*id).device()).collect();
    let (assembly, members) = read(&mut mover, devices).expect("an array");
    let array = Array::open(&assembly, &members.devices, &[]).expect("an array");
    let sectors = Sectors::from_bytes_floor(u64::try_from(content.len()).expect("small")).get();
    let source = Source::Memory(Arc::new(content));
    array.write_from(&mut mover, Range::new(0, sectors), &source, &mut |_| true).expect("filled");
    let devices: Vec<&Device> = members.devices.iter().collect();
    mover.flush(&devices).expect("flushed");
    (world, ids, file)
}

fn read(mover: &mut Mover, devices: Vec<Device>) -> Result<(Assembly, Members), String> {
    let members = Members::read(mover, devices).map_err(|error| error.to_string())?;
    let assembly = assemble(&members.candidates).map_err(|error| error.to_string())?;
    Ok((assembly, members))
}

/// Goes on with whatever the members record; begins the reshape if nothing is recorded yet.
fn go_on(
    case: &Case,
    world: &SimWorld,
    (ids, file): (&[DiskId], DiskId),
    operations: u64,
) -> Result<State, String> {
    let mut mover = powered(world, operations);
    let lost = usize::from(case.missing);
    let devices: Vec<_> = ids[lost..].iter().map(|id| world.disk(*id).device()).collect();
    let (assembly, members) = read(&mut mover, devices)?;
    let mut record = Record::new(&assembly, &members.candidates, &members.devices);
    if !matches!(assembly.shapes, Shapes::Moving { .. }) {
        if assembly.layout.to_md() == case.layouts.1
            && assembly.chunk.get() == case.chunks.1
            && assembly.raid_disks == case.disks.1
        {
            return Ok(State::Finished);
        }
        let added: Vec<(u32, Slot)> =
            (case.disks.0..case.disks.1).map(|slot| (slot, Slot::new(slot))).collect();
        begin(&mut mover, &mut record, &case.restripe(), &added, now()).map_err(text)?;
    }
    let devices = record.entries().iter().map(|entry| entry.device.clone()).collect();
    let (assembly, members) = read(&mut mover, devices)?;
    let ongoing = Ongoing::new(assembly, members).map_err(text)?;
    assert_eq!(ongoing.restripe().track, case.restripe().track);
    finish_it(&mut mover, ongoing, &world.disk(file).device())
}

/// Restores what a backup holds.
fn settle(mover: &mut Mover, mut ongoing: Ongoing, file: &Device) -> Result<Ongoing, String> {
    for found in ongoing.backups(mover, Some(file), Age::Checked) {
        if let Ok(backup) = found.verdict {
            ongoing = ongoing.restore(mover, &backup, now()).map_err(text)?;
        }
    }
    Ok(ongoing)
}

/// A new backup in `file`, if one is needed.
fn backup_for(
    mover: &mut Mover,
    ongoing: &Ongoing,
    section: Option<Sectors>,
    file: &Device,
) -> Result<Options, String> {
    let (uuid, readers) = (ongoing.assembly.uuid_on_disk, ongoing.restripe().readers());
    let make = |section| {
        BackupFile::create(mover, file.clone(), uuid, (section, readers), now()).map_err(text)
    };
    Ok(Options { backup: section.map(make).transpose()?, ..Options::default() })
}

/// Restores what has to be restored, and goes on to the end.
fn finish_it(mover: &mut Mover, ongoing: Ongoing, file: &Device) -> Result<State, String> {
    let mut ongoing = settle(mover, ongoing, file)?;
    let options = backup_for(mover, &ongoing, ongoing.restripe().section(), file)?;
    ongoing.run(mover, options, now, &mut |_| true).map_err(text)
}

fn text(error: impl std::fmt::Display) -> String {
    error.to_string()
}

/// Turns the recorded reshape around, and goes back to where it came from. `None`: it is too late.
fn turn_back(
    case: &Case,
    world: &SimWorld,
    (ids, file): (&[DiskId], DiskId),
) -> Option<Result<State, String>> {
    let mut mover = mover(world);
    let lost = usize::from(case.missing);
    let devices: Vec<_> = ids[lost..].iter().map(|id| world.disk(*id).device()).collect();
    let (assembly, members) = read(&mut mover, devices).expect("an array");
    if !matches!(assembly.shapes, Shapes::Moving { .. }) {
        return None;
    }
    let file = world.disk(file).device();
    let run = || {
        let ongoing = Ongoing::new(assembly, members).map_err(text)?;
        let ongoing = settle(&mut mover, ongoing, &file)?;
        let options = backup_for(&mut mover, &ongoing, ongoing.restripe().section(), &file)?;
        let (ongoing, turned) =
            ongoing.revert(&mut mover, options, now, &mut |_| true).map_err(text)?;
        if turned == Turned::Finished {
            return Ok(None);
        }
        finish_it(&mut mover, ongoing, &file).map(Some)
    };
    run().transpose()
}

/// Everything is where it belongs, parity included.
fn expect_content(case: &Case, world: &SimWorld, ids: &[DiskId], which: usize) {
    let mut mover = mover(world);
    let lost = usize::from(case.missing);
    let devices: Vec<_> = ids[lost..].iter().map(|id| world.disk(*id).device()).collect();
    let (assembly, members) = read(&mut mover, devices).expect("an array");
    assert!(matches!(assembly.shapes, Shapes::Whole(_)), "not finished");
    let geometry = case.geometry(which);
    assert_eq!(assembly.raid_disks, geometry.raid_disks());
    assert_eq!(assembly.layout, geometry.layout());
    let array = Array::open(&assembly, &members.devices, &[]).expect("an array");
    let keep = case.geometry(0).sectors().get().min(case.geometry(1).sectors().get());
    let (found, report) = array.read(&mut mover, Range::new(0, keep)).expect("read");
    assert_eq!(report.unreadable, []);
    let wanted = numbered(keep);
    let wrong = (0..keep).find(|n| {
        let at = usize::try_from(n * 512).expect("small");
        found[at..at + 512] != wanted[at..at + 512]
    });
    assert_eq!(wrong, None, "sector is wrong after {case:?}");
    let report = array.check(&mut mover, Mend::Report, &mut |_| true).expect("checked");
    assert_eq!(report.mismatch_sectors, 0, "{case:?}");
}

fn any_case() -> impl Strategy<Value = Case> {
    let five = (Just(Level::Raid5), (0..6_u32, 0..6_u32), (3..7_u32, 3..7_u32));
    let six_layouts =
        || proptest::sample::select(vec![0_u32, 1, 2, 3, 4, 5, 8, 9, 10, 16, 17, 18, 19, 20]);
    let six = (Just(Level::Raid6), (six_layouts(), six_layouts()), (4..8_u32, 4..8_u32));
    let chunk = || proptest::sample::select(vec![8_u64, 16, 32]);
    (prop_oneof![five, six], (chunk(), chunk()), any::<(bool, bool, bool)>()).prop_map(
        |((level, layouts, disks), chunks, (moves, up, missing))| {
            let forwards = match disks.0.cmp(&disks.1) {
                std::cmp::Ordering::Less => true,
                std::cmp::Ordering::Greater => false,
                // Without a shift only the walk upwards can be told from the superblock's bits.
                std::cmp::Ordering::Equal => up,
            };
            Case { level, layouts, chunks, disks, moves, forwards, missing }
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    #[test]
    fn a_reshape_moves_every_sector_for_all(case in any_case(), seed: u64) {
        let (world, ids, file) = make(&case, seed);
        prop_assert_eq!(go_on(&case, &world, (&ids, file), u64::MAX).expect("done"), State::Finished);
        expect_content(&case, &world, &ids, 1);
    }

    #[test]
    fn no_crash_loses_a_sector_for_all(case in any_case(), seed: u64, crashes in 1..4_u32) {
        let (mut world, ids, file) = make(&case, seed);
        let before = world.ops();
        let mut rng = Rng::new(seed);
        let whole = {
            let (copy, ids, file) = make(&case, seed);
            go_on(&case, &copy, (&ids, file), u64::MAX).expect("done");
            copy.ops() - before
        };
        for _ in 0..crashes {
            let operations = rng.below(whole) + 1;
            let cut = go_on(&case, &world, (&ids, file), operations);
            if matches!(cut, Ok(State::Finished)) {
                break;
            }
            let crash = Crash::Seeded(rng.next_u64());
            world = world.snapshot().after(crash, rng.next_u64());
        }
        prop_assert_eq!(go_on(&case, &world, (&ids, file), u64::MAX).expect("done"), State::Finished);
        expect_content(&case, &world, &ids, 1);
    }

    #[test]
    fn a_reshape_that_turns_back_loses_nothing_for_all(case in any_case(), seed: u64) {
        let (world, ids, file) = make(&case, seed);
        let before = world.ops();
        let whole = {
            let (copy, ids, file) = make(&case, seed);
            go_on(&case, &copy, (&ids, file), u64::MAX).expect("done");
            copy.ops() - before
        };
        let operations = Rng::new(seed).below(whole) + 1;
        let cut = go_on(&case, &world, (&ids, file), operations);
        prop_assume!(!matches!(cut, Ok(State::Finished)));
        let world = world.snapshot().after(Crash::Seeded(seed), seed);
        let which = match turn_back(&case, &world, (&ids, file)) {
            Some(state) => {
                prop_assert_eq!(state.expect("turned"), State::Finished);
                0
            }
            None => {
                go_on(&case, &world, (&ids, file), u64::MAX).expect("done");
                1
            }
        };
        expect_content(&case, &world, &ids, which);
    }
}

/// A RAID5 of three that begins to move onto a fourth member.
const GROWTH: Case = Case {
    level: Level::Raid5,
    layouts: (2, 2),
    chunks: (8, 8),
    disks: (3, 4),
    moves: true,
    forwards: true,
    missing: false,
};

/// [`GROWTH`] on `devices`, recorded on all members; nothing is moved yet.
fn begin_growth(mover: &mut Mover, devices: &[Device]) -> Ongoing {
    let (assembly, members) = read(mover, devices.to_vec()).expect("an array");
    let mut record = Record::new(&assembly, &members.candidates, &members.devices);
    let added = [(3, Slot::new(3))];
    begin(mover, &mut record, &GROWTH.restripe(), &added, now()).expect("begun");
    let (assembly, members) = read(mover, devices.to_vec()).expect("an array");
    Ongoing::new(assembly, members).expect("recorded")
}

/// All reads and writes of the members' data since the trace had `from` lines, with their bytes.
fn asked_of_data(world: &SimWorld, from: usize) -> Vec<(DiskId, OpKind, u64)> {
    let first = (DATA - 64) * 512;
    let events = world.trace_from(from).into_iter();
    let ended = events.filter_map(|event| match event.phase {
        Phase::Ended(Ok(bytes)) if event.offset >= first && bytes > 0 => {
            Some((event.disk, event.kind, u64::from(bytes)))
        }
        Phase::Ended(_) | Phase::Issued => None,
    });
    ended.filter(|(_, kind, _)| matches!(kind, OpKind::Read | OpKind::Write)).collect()
}

/// A growth of sparse members wrote zeros into all of their holes.
#[test]
fn holes_are_neither_read_nor_filled() {
    let (world, ids, _) = make_of(&GROWTH, 7, DiskOptions::sparse, vec![1; 4096]);
    let mut mover = mover(&world);
    let devices: Vec<_> = ids.iter().map(|id| world.disk(*id).device()).collect();
    let mut ongoing = begin_growth(&mut mover, &devices);
    let from = world.trace().len();
    let options = Options { window: Some(Sectors::new(24)), ..Options::default() };
    let ended = ongoing.run(&mut mover, options, now, &mut |_| true);
    assert_eq!(ended.expect("it goes on"), State::Finished);
    // One chunk has something, and its parity. The window that it lies in is two old rows of three members. It and its
    // new parity are written, and zeros where both were before.
    let asked = asked_of_data(&world, from);
    let sum = |kind| asked.iter().filter(|op| op.1 == kind).map(|op| op.2).sum::<u64>();
    assert_eq!((sum(OpKind::Read), sum(OpKind::Write)), (3 * 2 * 4096, 4 * 4096), "{asked:?}");
}

#[test]
fn where_disks_are_slow_a_position_is_recorded_every_few_seconds() {
    let recorded = |seconds: u64| {
        let (world, ids, _) = make(&GROWTH, 7);
        let mut mover = mover(&world);
        let devices: Vec<_> = ids.iter().map(|id| world.disk(*id).device()).collect();
        let mut ongoing = begin_growth(&mut mover, &devices);
        let options = Options { window: Some(Sectors::new(24)), ..Options::default() };
        let mut count = 0;
        let ended = ongoing.run(&mut mover, options, now, &mut |progress| {
            world.advance(std::time::Duration::from_secs(seconds));
            count = progress.checkpoints.count;
            true
        });
        assert_eq!(ended.expect("it goes on"), State::Finished);
        count
    };
    let (quick, slow) = (recorded(0), recorded(6));
    assert!(quick < slow, "{quick} checkpoints, and {slow} where each window takes six seconds");
}

/// The driver turns a growth around where it is: `mdadm --update=revert-reshape` changes superblocks only.
#[test]
fn a_growth_turned_around_behind_the_old_end_goes_back() {
    let (world, ids, file) = make(&GROWTH, 7);
    let mut mover = mover(&world);
    let devices: Vec<_> = ids.iter().map(|id| world.disk(*id).device()).collect();
    let mut ongoing = begin_growth(&mut mover, &devices);
    let behind = ArraySector::new(624);
    assert!(behind.get() > GROWTH.geometry(0).sectors().get());
    let options = Options { until: Some(behind), ..Options::default() };
    let ended = ongoing.run(&mut mover, options, now, &mut |_| true);
    assert_eq!(ended.expect("moved"), State::Stopped);

    let (assembly, members) = read(&mut mover, devices.clone()).expect("an array");
    let mut record = Record::new(&assembly, &members.candidates, &members.devices);
    let turned = record.entries().iter().map(|entry| {
        let mut superblock = entry.superblock.clone();
        superblock.revert_reshape().expect("it can be turned");
        superblock
    });
    let mut turned = turned.collect::<Vec<_>>().into_iter();
    let turn = |superblock: &mut Superblock| {
        let events = superblock.events();
        *superblock = turned.next().expect("one for each");
        superblock.set_events(events);
        Ok(())
    };
    record.commit(&mut mover, now(), turn).expect("recorded");
    let (assembly, members) = read(&mut mover, devices).expect("an array");
    let ongoing = Ongoing::new(assembly, members).expect("recorded");
    assert_eq!(ongoing.reshape().position, behind);
    let ended = finish_it(&mut mover, ongoing, &world.disk(file).device());
    assert_eq!(ended.expect("it goes back"), State::Finished);
    drop(mover);
    expect_content(&GROWTH, &world, &ids, 0);
}

/// A superblock that could not be written ended the run, also where the array could do without the member.
#[test]
fn a_member_whose_superblock_cannot_be_written_or_flushed_leaves_and_is_told() {
    let fault = || Fault::new(Effect::Error(kcopy::Errno::IO));
    let faults = [
        (fault().kind(OpKind::Write).within(0..8192), kcopy::FaultKind::Device, 8),
        (fault().kind(OpKind::Flush), kcopy::FaultKind::Flush, 0),
    ];
    for (fault, kind, sector) in faults {
        let (world, ids, _) = make(&GROWTH, 7);
        let mut mover = mover(&world);
        let devices: Vec<_> = ids.iter().map(|id| world.disk(*id).device()).collect();
        let mut ongoing = begin_growth(&mut mover, &devices);
        world.inject(fault.on(ids[1]));
        let ended = ongoing.run(&mut mover, Options::default(), now, &mut |_| true);
        assert_eq!(ended.expect("it goes on"), State::Finished);
        let [failed] = ongoing.failed() else { panic!("{:?}", ongoing.failed()) };
        assert_eq!((failed.slot, failed.path.as_path()), (Some(Slot::new(1)), devices[1].path()));
        assert_eq!((failed.fault.kind, failed.fault.sector.get()), (kind, sector));
        world.clear_faults();
        let (assembly, _) = read(&mut mover, devices).expect("an array");
        let states = assembly.members.iter().map(|member| (member.candidate, member.state));
        let stale = (1, crate::assemble::MemberState::Stale);
        assert!(states.clone().any(|state| state == stale), "{:?}", states.collect::<Vec<_>>());
        expect_content(&GROWTH, &world, &ids, 1);
    }
}

/// [`GROWTH`] with a backup file that holds what has to be put back: the world, its members, the file.
fn amid_its_critical_section() -> (Case, SimWorld, Vec<DiskId>, DiskId) {
    let case = Case { moves: false, ..GROWTH };
    for operations in (20..).step_by(3) {
        let (world, ids, file) = make(&case, 7);
        let ended = go_on(&case, &world, (&ids, file), operations);
        assert!(!matches!(ended, Ok(State::Finished)), "nothing has to be put back");
        let world = world.snapshot().after(Crash::KeepAll, 1);
        let devices = ids.iter().map(|id| world.disk(*id).device()).collect();
        let mut mover = mover(&world);
        let (assembly, members) = read(&mut mover, devices).expect("an array");
        let Ok(ongoing) = Ongoing::new(assembly, members) else { continue };
        let verdicts = ongoing.backups(&mut mover, Some(&world.disk(file).device()), Age::Checked);
        drop(mover);
        if verdicts.iter().any(|found| found.verdict.is_ok()) {
            return (case, world, ids, file);
        }
    }
    panic!("it ended")
}

/// Whatever it should have got may be lost, though a later flush does not fail.
#[test]
fn a_member_that_cannot_be_flushed_while_a_backup_is_put_back_leaves() {
    for slot in 0..4 {
        let (case, world, ids, file) = amid_its_critical_section();
        let devices: Vec<_> = ids.iter().map(|id| world.disk(*id).device()).collect();
        let mut mover = mover(&world);
        let (assembly, members) = read(&mut mover, devices.clone()).expect("an array");
        let ongoing = Ongoing::new(assembly, members).expect("recorded");
        let fault = Fault::new(Effect::Error(kcopy::Errno::IO)).kind(OpKind::Flush).times(1);
        world.inject(fault.on(ids[slot]));
        let ongoing = settle(&mut mover, ongoing, &world.disk(file).device()).expect("put back");
        let [failed] = ongoing.failed() else { panic!("{:?}", ongoing.failed()) };
        assert_eq!(failed.path, devices[slot].path());
        drop((ongoing, mover));

        let world = world.snapshot().after(Crash::DropAll, 1);
        let mut mover = powered(&world, u64::MAX);
        let devices: Vec<_> = ids.iter().map(|id| world.disk(*id).device()).collect();
        let (assembly, _) = read(&mut mover, devices).expect("an array");
        assert_eq!(assembly.members[slot].state, crate::assemble::MemberState::Stale);
        drop(mover);
        let ended = go_on(&case, &world, (&ids, file), u64::MAX);
        assert_eq!(ended, Ok(State::Finished), "without slot {slot}");
        expect_content(&case, &world, &ids, 1);
    }
}

/// A growth by two disks that both went away when it had just been recorded.
fn without_its_new_members(moves: bool) -> (Case, SimWorld, Vec<DiskId>, DiskId) {
    let case = Case { disks: (3, 5), moves, ..GROWTH };
    let (world, ids, file) = make(&case, 7);
    let mut mover = mover(&world);
    let devices = ids.iter().map(|id| world.disk(*id).device()).collect();
    let (assembly, members) = read(&mut mover, devices).expect("an array");
    let mut record = Record::new(&assembly, &members.candidates, &members.devices);
    let added = [(3, Slot::new(3)), (4, Slot::new(4))];
    begin(&mut mover, &mut record, &case.restripe(), &added, now()).expect("begun");
    (case, world, ids, file)
}

/// On the ground on which it may be taken back or go on, without the new members.
fn grounded(mover: &mut Mover, devices: &[Device]) -> Result<(Ongoing, Ground), String> {
    let (assembly, members) = read(mover, devices.to_vec())?;
    let ongoing = Ongoing::new(assembly, members).map_err(text)?;
    ongoing.prepare(mover, &[], Trust::Evidence, now()).map_err(text)
}

/// It went on, and what belongs to the new members was lost.
#[test]
fn a_reshape_without_its_new_members_does_not_go_on() {
    for moves in [true, false] {
        let (_, world, ids, file) = without_its_new_members(moves);
        let mut mover = mover(&world);
        let devices: Vec<_> = ids[..3].iter().map(|id| world.disk(*id).device()).collect();
        let (mut ongoing, _) = grounded(&mut mover, &devices).expect("nothing is moved");
        let prints = || ids.iter().map(|id| world.disk(*id).bytes()).collect::<Vec<_>>();
        let before = prints();
        let refused = |error: &ExecError| {
            let ExecError::TooFew { slots } = error else { return false };
            *slots == [Slot::new(3), Slot::new(4)]
        };
        let section = ongoing.restripe().section();
        let options = backup_for(&mut mover, &ongoing, section, &world.disk(file).device());
        let ended = ongoing.run(&mut mover, options.expect("a backup"), now, &mut |_| true);
        assert!(ended.as_ref().is_err_and(refused), "{ended:?}");
        let turned = ongoing.revert(&mut mover, Options::default(), now, &mut |_| true);
        assert!(turned.as_ref().is_err_and(refused), "{turned:?}");
        assert!(prints() == before, "something was written");
    }
}

#[test]
fn a_reshape_without_its_new_members_is_taken_back_whenever_the_power_goes() {
    for (moves, seed) in [(true, 1), (false, 2)] {
        for operations in 0.. {
            let (case, world, ids, _) = without_its_new_members(moves);
            let devices = |world: &SimWorld| -> Vec<Device> {
                ids[..3].iter().map(|id| world.disk(*id).device()).collect()
            };
            let mut looking = mover(&world);
            let (mut ongoing, ground) = grounded(&mut looking, &devices(&world)).expect("unmoved");
            drop(looking);
            let mut cut = powered(&world, operations);
            let done = ongoing.take_back(&mut cut, ground, now());
            let world = world.snapshot().after(Crash::Seeded(operations), seed);
            let mut mover = mover(&world);
            if let Ok((mut ongoing, ground)) = grounded(&mut mover, &devices(&world)) {
                assert!(done.is_err(), "it is still recorded");
                let left = ongoing.take_back(&mut mover, ground, now());
                assert_eq!(left.expect("taken back"), []);
            }
            drop(mover);
            expect_content(&case, &world, &ids, 0);
            if done.is_ok() {
                break;
            }
        }
    }
}

#[test]
fn a_reshape_that_may_have_moved_something_is_not_taken_back() {
    let (world, ids, file) = make(&GROWTH, 7);
    let mut mover = mover(&world);
    let devices: Vec<_> = ids.iter().map(|id| world.disk(*id).device()).collect();
    let mut ongoing = begin_growth(&mut mover, &devices);
    let blind = ongoing.take_back(&mut mover, Ground::Blind, now());
    assert!(matches!(blind, Err(ExecError::Moved { .. })), "{blind:?}");
    let options = Options { until: Some(ArraySector::new(48)), ..Options::default() };
    ongoing.run(&mut mover, options, now, &mut |_| true).expect("moved");
    let (mut ongoing, ground) = grounded(&mut mover, &devices).expect("a ground");
    let moved = ongoing.take_back(&mut mover, ground, now());
    assert!(matches!(moved, Err(ExecError::Moved { .. })), "{moved:?}");
    let ended = finish_it(&mut mover, ongoing, &world.disk(file).device());
    assert_eq!(ended, Ok(State::Finished));
    drop(mover);
    expect_content(&GROWTH, &world, &ids, 1);
}

#[test]
fn the_end_of_a_shrink_may_be_recorded_on_leaving_members_only() {
    let case = Case {
        level: Level::Raid5,
        layouts: (0, 0),
        chunks: (16, 8),
        disks: (5, 3),
        moves: false,
        forwards: false,
        missing: true,
    };
    let whole = {
        let (world, ids, file) = make(&case, 1);
        let before = world.ops();
        go_on(&case, &world, (&ids, file), u64::MAX).expect("done");
        world.ops() - before
    };
    for (back, seed) in (0..24).flat_map(|back| (0..4).map(move |seed| (back, seed))) {
        let (world, ids, file) = make(&case, 1);
        let cut = go_on(&case, &world, (&ids, file), whole.saturating_sub(back));
        if matches!(cut, Ok(State::Finished)) {
            continue;
        }
        let world = world.snapshot().after(Crash::Seeded(seed), seed);
        let state = go_on(&case, &world, (&ids, file), u64::MAX);
        assert_eq!(state, Ok(State::Finished), "{back} operations before the end, seed {seed}");
        expect_content(&case, &world, &ids, 1);
    }
}

#[test]
fn a_member_that_was_away_for_one_event_is_none_any_more() {
    let case = Case {
        level: Level::Raid5,
        layouts: (2, 2),
        chunks: (8, 8),
        disks: (4, 4),
        moves: false,
        forwards: true,
        missing: false,
    };
    let (world, ids, _) = make(&case, 1);
    let mut mover = mover(&world);
    let all: Vec<Device> = ids.iter().map(|id| world.disk(*id).device()).collect();
    let (assembly, members) = read(&mut mover, all[1..].to_vec()).expect("an array");
    let mut record = Record::new(&assembly, &members.candidates, &members.devices);
    record.commit(&mut mover, now(), |_| Ok(())).expect("written");
    let (assembly, _) = read(&mut mover, all).expect("an array");
    assert_eq!(assembly.members[0].state, crate::assemble::MemberState::Stale);
    assert_eq!(assembly.degraded(), 1);
}

/// Not by its checksum, which would tell torn data apart as well.
#[test]
fn a_header_claims_no_data_that_is_not_durable() {
    let (range, readers) = (Range::new(64, 48), GROWTH.restripe().readers());
    let content: Vec<u8> =
        (0..bytes_of(48)).map(|at| u8::try_from(at % 251).expect("a byte")).collect();
    let mut claims = 0;
    for (operations, seed) in
        (0..40).flat_map(|operations| (0..8).map(move |seed| (operations, seed)))
    {
        let world = SimWorld::new(1);
        let disk = world.add_disk(DiskOptions::new(1 << 20).file(1 << 20));
        let what = (Sectors::new(48), readers);
        let made = BackupFile::create(&mut mover(&world), disk.device(), [7; 16], what, now());
        let _ = made.expect("room").keep(&mut powered(&world, operations), range, &content, now());
        let left = world.snapshot().after(Crash::Seeded(seed), seed);
        let bytes = left.disk(disk.id()).bytes();
        let header = BackupHeader::parse(&bytes[..512]).expect("one at any moment");
        if header.first.length.get() != 0 {
            let at = bytes_of(header.data_at.get());
            assert!(
                bytes[at..at + content.len()] == content[..],
                "{operations} operations, seed {seed}"
            );
            claims += 1;
        }
    }
    assert!(claims > 0);
}

#[test]
fn who_left_with_the_last_change_does_not_come_back_with_the_next() {
    let (world, ids, _) = make(&GROWTH, 1);
    let mut mover = mover(&world);
    let devices: Vec<Device> = ids.iter().map(|id| world.disk(*id).device()).collect();
    let mut record = begin_growth(&mut mover, &devices).record;
    let before = record.entries()[1].superblock.clone();
    record
        .commit(&mut mover, now(), |superblock| superblock.set_role(0, Role::Faulty))
        .expect("written");
    // The power goes before it is on the second member.
    let at = before.at().get() * 512;
    mover.write(&devices[1], at, before.to_bytes(), Durability::Now).expect("written");
    let (assembly, members) = read(&mut mover, devices).expect("an array");
    let record = Record::new(&assembly, &members.candidates, &members.devices);
    let told = record.entries().iter().map(|entry| entry.superblock.role_of(0));
    assert_eq!(told.collect::<Vec<_>>(), [Some(Role::Faulty); 3]);
}

#[test]
fn the_first_record_of_a_raid10_walking_down_may_be_on_some_members_only() {
    let case = Case {
        level: Level::Raid10,
        layouts: (0x102, 0x102),
        chunks: (8, 16),
        disks: (4, 4),
        moves: true,
        forwards: false,
        missing: false,
    };
    for (operations, seed) in (1..80).step_by(3).zip(0..) {
        let (world, ids, file) = make(&case, 1);
        let cut = go_on(&case, &world, (&ids, file), operations);
        assert!(!matches!(cut, Ok(State::Finished)));
        let world = world.snapshot().after(Crash::Seeded(seed), seed);
        let state = go_on(&case, &world, (&ids, file), u64::MAX);
        assert_eq!(state, Ok(State::Finished), "after {operations} operations");
        expect_content(&case, &world, &ids, 1);
    }
}
