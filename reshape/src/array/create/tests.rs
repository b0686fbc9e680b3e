//! New arrays on the simulated device: what is refused, what is made, and what a crash leaves.

use kcopy::Sector;
use kcopy::backend::sim::{Crash, DiskOptions, Effect, Fault, SimDisk, SimWorld};
use proptest::prelude::*;

use super::*;
use crate::array::film::{self, Film};
use crate::array::{Force, Members, Mend, NoMember, Session};
use crate::assemble::{Assembly, State, assemble};
use crate::geometry::{BadShape, Raid0Layout, Raid5Layout, Raid6Layout};
use crate::metadata::{Features, Minor};

const V2: Version = Version::V1(Minor::Two);
const MEMBER: u64 = 8 << 20;
const SMALL: u64 = 2 << 20;

fn uuid(number: u8) -> Uuid {
    Uuid([number; 16])
}

fn wanted(level: Level, raid_devices: u32) -> Wanted {
    Wanted {
        version: V2,
        level,
        layout: None,
        chunk: (level != Level::Raid1).then(|| Sectors::new(128)),
        raid_devices,
        spare_devices: 0,
        component: None,
        data_offset: None,
        bitmap: NewBitmap::None,
        name: "host:new".into(),
        uuid: uuid(0x55),
        now: Timestamp::from_seconds(1_700_000_000),
        content: Content::Unknown,
    }
}

struct Bench {
    world: SimWorld,
    disks: Vec<SimDisk>,
    mover: Mover,
}

impl Bench {
    fn new(sizes: &[u64]) -> Self {
        let world = SimWorld::new(11);
        let disks = sizes.iter().map(|size| world.add_disk(DiskOptions::new(*size))).collect();
        Self { mover: film::mover(&world), world, disks }
    }

    fn seats(&mut self) -> Vec<Seat> {
        let look = |(number, disk): (u8, &SimDisk)| {
            let blank = Blank::look(&mut self.mover, disk.device(), uuid(number));
            Seat::Taken(blank.expect("readable"))
        };
        (0..).zip(&self.disks).map(look).collect()
    }

    fn create(&mut self, wanted: &Wanted) -> CreatePlan {
        let seats = self.seats();
        let plan = CreatePlan::new(wanted, &seats).unwrap_or_else(|e| panic!("{wanted:?}: {e}"));
        plan.execute(&mut self.mover).expect("written");
        plan
    }

    fn writes(&self) -> usize {
        self.world.trace().iter().filter(|event| event.kind.changes()).count()
    }

    fn members(&mut self) -> Result<(Members, Assembly), NoMember> {
        let devices = self.disks.iter().map(SimDisk::device).collect();
        let members = Members::read(&mut self.mover, devices)?;
        let assembly = assemble(&members.candidates).expect("one array");
        Ok((members, assembly))
    }
}

/// What `wanted` is refused for on these disks; nothing was written.
fn refusal(sizes: &[u64], wanted: &Wanted) -> CreateRefusal {
    let mut bench = Bench::new(sizes);
    let seats = bench.seats();
    let refused = CreatePlan::new(wanted, &seats).expect_err("refused");
    assert_eq!(bench.writes(), 0);
    refused
}

fn every_shape() -> Vec<Wanted> {
    let mut all = Vec::new();
    for version in [Version::V0, Version::V1(Minor::Zero), Version::V1(Minor::One), V2] {
        for (level, disks) in [
            (Level::Linear, 3),
            (Level::Raid0, 2),
            (Level::Raid1, 2),
            (Level::Raid4, 3),
            (Level::Raid5, 3),
            (Level::Raid6, 4),
            (Level::Raid10, 3),
        ] {
            let redundant = !matches!(level, Level::Linear | Level::Raid0);
            let mut wanted = Wanted { version, ..wanted(level, disks) };
            if version == Version::V0 {
                wanted.name.clear();
            }
            if redundant {
                let bitmap = NewBitmap::Internal(None);
                all.push(Wanted { bitmap, spare_devices: 1, ..wanted.clone() });
            }
            all.push(wanted);
        }
    }
    all
}

#[test]
fn every_level_and_version_is_assembled_and_right_after_its_first_repair() {
    for wanted in every_shape() {
        let count = usize::try_from(wanted.raid_devices + wanted.spare_devices).expect("few");
        let mut bench = Bench::new(&vec![SMALL; count]);
        for disk in &bench.disks {
            disk.write(3 << 19, &[0x5a; 1 << 16]);
        }
        let plan = bench.create(&wanted);
        let (members, assembly) = bench.members().expect("members");
        assert_eq!(assembly.degraded(), 0, "{wanted:?}");
        assert_eq!(assembly.resync, plan.resync);
        assert_eq!(assembly.shapes.sectors(), Some(plan.sectors()));
        assert_eq!(
            members.bitmaps.iter().all(|b| matches!(b, Some(Ok(_)))),
            wanted.bitmap != NewBitmap::None
        );
        let mut session = Session::open(&assembly, &members, Force::No).expect("writable");
        session.repair(&mut bench.mover, wanted.now, &mut |_| true).expect("repaired");
        let (members, assembly) = bench.members().expect("members");
        assert_eq!(assembly.state(), State::Clean, "{wanted:?}");
        let array = crate::array::Array::open(&assembly, &members.devices, &members.bad);
        let report = array.expect("open").check(&mut bench.mover, Mend::Report, &mut |_| true);
        assert_eq!(report.expect("checked").mismatch_sectors, 0, "{wanted:?}");
    }
}

#[test]
fn zeros_are_clean_at_once() {
    for level in [Level::Raid1, Level::Raid5, Level::Raid6, Level::Raid10] {
        let mut bench = Bench::new(&[MEMBER; 4]);
        let content = Content::Zeros;
        let bitmap = NewBitmap::Internal(None);
        let plan = bench.create(&Wanted { content, bitmap, ..wanted(level, 4) });
        assert_eq!(plan.resync, Resync::Clean);
        let (members, assembly) = bench.members().expect("members");
        assert_eq!(assembly.state(), State::Clean);
        let dirty =
            |b: &Option<Result<Bitmap, _>>| b.as_ref().unwrap().as_ref().unwrap().dirty().count();
        assert!(members.bitmaps.iter().all(|bitmap| dirty(bitmap) == 0));
    }
}

#[test]
fn raid0_of_several_zones_says_its_layout_and_of_one_does_not() {
    let sizes = [MEMBER, 2 * MEMBER, 2 * MEMBER];
    let mut bench = Bench::new(&sizes);
    let plan = bench.create(&wanted(Level::Raid0, 3));
    let superblock = &plan.members[0].superblock;
    assert!(superblock.features().contains(Features::RAID0_LAYOUT));
    assert_eq!(superblock.layout(), 1);
    assert_eq!(bench.members().expect("members").1.startable(), Ok(()));
    let plan = Bench::new(&[MEMBER; 3]).create(&wanted(Level::Raid0, 3));
    assert_eq!(plan.members[0].superblock.features(), Features::empty());

    let version = Version::V0;
    let old = Wanted { version, name: String::new(), ..wanted(Level::Raid0, 3) };
    assert_eq!(refusal(&sizes, &old), CreateRefusal::Zones { version });
    let layout = Some(Layout::Raid0(Raid0Layout::Unspecified));
    let vague = Wanted { layout, ..wanted(Level::Raid0, 3) };
    assert_eq!(refusal(&sizes, &vague), CreateRefusal::Zones { version: V2 });
}

/// Component sizes that the kernel gave arrays of members with 14336 sectors of data.
#[test]
fn raid10_uses_the_rows_that_the_kernel_uses() {
    use crate::geometry::Raid10Layout;
    let far = |far| Raid10Layout { far, near: 1, ..Raid10Layout::near(1) };
    for (layout, disks, rows) in [
        (far(3), 5, 111),
        (far(2), 3, 112),
        (Raid10Layout::near(3), 4, 112),
        (Raid10Layout::near(2), 3, 112),
        (Raid10Layout { offset: true, ..far(2) }, 3, 112),
    ] {
        assert_eq!(
            crate::array::component::used_rows(layout, disks, 112),
            rows,
            "{layout:?} on {disks}"
        );
    }
}

#[test]
fn a_missing_member_leaves_an_array_that_needs_it_and_says_so() {
    for (level, missing, resync) in [
        (Level::Raid5, vec![1], Resync::Clean),
        (Level::Raid6, vec![0, 2], Resync::Clean),
        (Level::Raid1, vec![3], Resync::From(0)),
        (Level::Raid10, vec![0], Resync::From(0)),
    ] {
        for version in [Version::V0, V2] {
            let mut bench = Bench::new(&[MEMBER; 4]);
            let mut seats = bench.seats();
            let name = String::new();
            let wanted = Wanted { version, name, ..wanted(level, 4) };
            for slot in &missing {
                seats[*slot] = Seat::Missing;
            }
            let plan = CreatePlan::new(&wanted, &seats).expect("a plan");
            plan.execute(&mut bench.mover).expect("written");
            assert_eq!(plan.resync, resync);
            let taken: Vec<SimDisk> = (0..4)
                .filter(|slot| !missing.contains(slot))
                .map(|slot| bench.disks[slot].clone())
                .collect();
            bench.disks = taken;
            let (_, assembly) = bench.members().expect("members");
            assert_eq!(usize::try_from(assembly.degraded()), Ok(missing.len()));
            assert_eq!(assembly.startable(), Ok(()), "{level} {version}");
        }
    }
}

#[test]
fn what_a_level_cannot_do_without_is_refused_by_name() {
    for (level, missing, expected) in [
        (Level::Raid5, vec![1, 2], vec![1, 2]),
        (Level::Raid0, vec![0], vec![0]),
        (Level::Linear, vec![3], vec![3]),
        (Level::Raid1, vec![0, 1, 2, 3], vec![0, 1, 2, 3]),
        (Level::Raid10, vec![0, 1], vec![0, 1]),
    ] {
        let mut bench = Bench::new(&[MEMBER; 4]);
        let mut seats = bench.seats();
        missing.iter().for_each(|slot| seats[*slot] = Seat::Missing);
        let refused = CreatePlan::new(&wanted(level, 4), &seats).expect_err("refused");
        let slots = expected;
        assert_eq!(refused, CreateRefusal::Missing { level, raid_devices: 4, slots });
    }
    let mut bench = Bench::new(&[MEMBER; 4]);
    let mut seats = bench.seats();
    seats[0] = Seat::Missing;
    let refused = CreatePlan::new(&wanted(Level::Raid6, 4), &seats);
    assert_eq!(refused.expect_err("refused"), CreateRefusal::HalfDegraded);
}

#[test]
fn impossible_shapes_are_refused_and_nothing_is_written() {
    use CreateRefusal as Why;
    let disks = [MEMBER; 3];
    let five = || wanted(Level::Raid5, 3);
    let chunk = |sectors| Some(Sectors::new(sectors));
    let refused = |wanted: Wanted| refusal(&disks, &wanted);
    assert!(matches!(
        refused(Wanted { chunk: chunk(48), ..five() }),
        Why::Shape(BadShape::Chunk { .. })
    ));
    assert!(matches!(refused(wanted(Level::Raid6, 3)), Why::Shape(BadShape::Disks { .. })));
    assert!(matches!(refused(wanted(Level::Raid5, 4)), Why::Count { given: 3, .. }));
    let six = Some(Layout::Raid6(Raid6Layout::DdfNRestart));
    assert!(matches!(refused(Wanted { layout: six, ..five() }), Why::Layout { .. }));
    let layout = Some(Layout::Raid5(Raid5Layout::LeftSymmetric));
    assert!(matches!(refused(Wanted { layout, ..wanted(Level::Raid1, 3) }), Why::Layout { .. }));
    assert!(matches!(
        refused(Wanted { chunk: chunk(128), ..wanted(Level::Raid1, 3) }),
        Why::NoChunk { .. }
    ));
    let spare_devices = 1;
    let linear = Wanted { spare_devices, raid_devices: 2, ..wanted(Level::Linear, 2) };
    assert!(matches!(refused(linear), Why::NoSpares { .. }));
    let bitmap = NewBitmap::Internal(None);
    assert!(matches!(refused(Wanted { bitmap, ..wanted(Level::Raid0, 3) }), Why::NoBitmap { .. }));
    let name = "x".repeat(33);
    assert!(matches!(refused(Wanted { name, ..five() }), Why::Name { .. }));
    assert!(matches!(refused(Wanted { name: "a\0".into(), ..five() }), Why::Name { .. }));
    assert!(matches!(refused(Wanted { name: "a\nb".into(), ..five() }), Why::Name { .. }));
    for bits in [4, 100] {
        let bitmap = NewBitmap::Internal(chunk(bits));
        assert!(matches!(refused(Wanted { bitmap, ..five() }), Why::BitmapRoom { .. }));
    }
}

#[test]
fn impossible_sizes_are_refused_with_the_numbers() {
    use CreateRefusal as Why;
    let disks = [MEMBER; 3];
    let five = || wanted(Level::Raid5, 3);
    let sectors = |sectors| Some(Sectors::new(sectors));
    let refused = |wanted: Wanted| refusal(&disks, &wanted);
    let Why::Component { room, .. } = refused(Wanted { component: sectors(20_000), ..five() })
    else {
        panic!("another refusal");
    };
    assert_eq!(room, Sectors::new(14336));
    let Why::Uneven { below, .. } = refused(Wanted { component: sectors(1000), ..five() }) else {
        panic!("another refusal");
    };
    assert_eq!(below, Sectors::new(896));
    let whole = Wanted { component: sectors(1024), ..wanted(Level::Raid0, 3) };
    assert!(matches!(refused(whole), Why::Whole { .. }));
    let zero = Wanted { component: sectors(0), ..five() };
    assert!(matches!(refused(zero), Why::Shape(BadShape::TooSmall { .. })));
    let offset = |at| Wanted { data_offset: Some(Sector::new(at)), ..five() };
    assert!(matches!(refused(offset(16)), Why::DataOffset { first, .. } if first.get() == 24));
    assert!(matches!(refused(offset(16_380)), Why::TooSmall { .. }));
    assert!(matches!(refused(offset(u64::MAX)), Why::TooSmall { .. }));
    let first = Version::V1(Minor::Zero);
    assert!(matches!(refused(Wanted { version: first, ..offset(u64::MAX) }), Why::TooSmall { .. }));
    let small = refusal(&[MEMBER, 4096, MEMBER], &five());
    assert!(matches!(small, Why::NoRoom { .. }), "{small}");
    let small = refusal(&[MEMBER, 600 << 10, MEMBER], &five());
    assert!(matches!(small, Why::NoRoom { .. } | Why::TooSmall { .. }), "{small}");
}

#[test]
fn the_limits_of_0_90_are_refused() {
    use CreateRefusal as Why;
    let version = Version::V0;
    let old = |level, disks| Wanted { version, name: String::new(), ..wanted(level, disks) };
    let named = Wanted { name: "host:new".into(), ..old(Level::Raid1, 2) };
    assert!(matches!(refusal(&[MEMBER; 2], &named), Why::NoName { .. }));
    let many = refusal(&[MEMBER; 28], &old(Level::Raid5, 28));
    assert_eq!(many, Why::ManyDevices { devices: 28 });
    let large = refusal(&[5 << 40; 2], &old(Level::Raid1, 2));
    assert!(matches!(large, Why::LargeMembers { .. }), "{large}");
    let moved = Wanted { data_offset: Some(Sector::new(2048)), ..old(Level::Raid1, 2) };
    assert!(matches!(refusal(&[MEMBER; 2], &moved), Why::FixedDataOffset { .. }));
}

#[test]
fn one_device_twice_and_one_that_is_read_only_are_refused() {
    let mut bench = Bench::new(&[MEMBER; 2]);
    let mut seats = bench.seats();
    seats[1] = seats[0].clone();
    let twice = CreatePlan::new(&wanted(Level::Raid1, 2), &seats).expect_err("refused");
    assert!(matches!(twice, CreateRefusal::Duplicate { .. }), "{twice}");
    let disk = bench.world.add_disk(DiskOptions::new(MEMBER).read_only());
    let fixed = Blank::look(&mut bench.mover, disk.device(), uuid(9)).expect("readable");
    seats[1] = Seat::Taken(fixed);
    let fixed = CreatePlan::new(&wanted(Level::Raid1, 2), &seats).expect_err("refused");
    assert!(matches!(fixed, CreateRefusal::ReadOnly { .. }), "{fixed}");
}

#[test]
fn old_superblocks_are_told_and_nothing_of_them_is_found_afterwards() {
    for before in [Version::V0, Version::V1(Minor::Zero), Version::V1(Minor::One), V2] {
        for after in [Version::V0, Version::V1(Minor::Zero), Version::V1(Minor::One), V2] {
            let mut bench = Bench::new(&[MEMBER; 3]);
            let name = String::new();
            let make = |version, uuid| Wanted {
                version,
                uuid,
                name: name.clone(),
                ..wanted(Level::Raid5, 3)
            };
            bench.create(&make(before, uuid(0x11)));
            let plan = bench.create(&make(after, uuid(0x22)));
            assert_eq!(plan.overwrites().count(), 3);
            assert!(plan.overwrites().all(|(_, found)| found.array == Some(uuid(0x11))));
            for seat in bench.seats() {
                let Seat::Taken(blank) = seat else { panic!("missing") };
                let found: Vec<_> = blank.found.iter().map(|f| (f.version, f.array)).collect();
                assert_eq!(found, [(after, Some(uuid(0x22)))]);
            }
        }
    }
}

#[test]
fn content_that_is_kept_loses_nothing_to_an_old_superblock() {
    let mut bench = Bench::new(&[MEMBER; 2]);
    bench.create(&wanted(Level::Raid1, 2));
    let version = Version::V1(Minor::Zero);
    let content = Content::AssumeClean;
    let over = Wanted { version, content, ..wanted(Level::Raid1, 2) };
    let before = bench.writes();
    let seats = bench.seats();
    let refused = CreatePlan::new(&over, &seats).expect_err("refused");
    assert!(matches!(refused, CreateRefusal::Buried { version: V2, .. }), "{refused}");
    let refused = CreatePlan::new(&Wanted { content: Content::Zeros, ..over }, &seats);
    assert!(matches!(refused, Err(CreateRefusal::NotZeros { .. })));
    assert_eq!(bench.writes(), before);
    // At its own place it may be written anew: that is how arrays are brought back.
    let again = Wanted { content, uuid: uuid(0x66), ..wanted(Level::Raid1, 2) };
    assert_eq!(bench.create(&again).resync, Resync::Clean);
}

#[test]
fn a_chosen_data_offset_is_kept_and_nothing_overlaps() {
    for version in [Version::V1(Minor::Zero), Version::V1(Minor::One), V2] {
        for offset in [24_u64, 32, 40, 1000, 4096] {
            for bitmap in [NewBitmap::None, NewBitmap::Internal(None)] {
                let data_offset = Some(Sector::new(offset));
                let wanted = Wanted { version, data_offset, bitmap, ..wanted(Level::Raid5, 3) };
                let mut bench = Bench::new(&[MEMBER; 3]);
                let seats = bench.seats();
                let Ok(plan) = CreatePlan::new(&wanted, &seats) else {
                    assert!(offset < 32, "{version} {offset}");
                    continue;
                };
                check_areas(&plan, MEMBER / 512);
                plan.execute(&mut bench.mover).expect("written");
                let (members, _) = bench.members().expect("members");
                let offsets = members.candidates.iter().map(|c| c.superblock.data_offset());
                assert!(offsets.eq([Sector::new(offset); 3]));
            }
        }
    }
}

/// Superblock, bitmap, log and data of each member lie apart, and on the device.
fn check_areas(plan: &CreatePlan, size: u64) {
    for member in &plan.members {
        let superblock = &member.superblock;
        let area = |start: Sector, length| (start.get(), start.get() + length);
        let mut areas = vec![area(superblock.at(), 8)];
        if let Some(bitmap) = &member.bitmap {
            let bytes = u64::try_from(bitmap.to_bytes().len()).unwrap();
            areas.push(area(superblock.bitmap_at().unwrap().unwrap(), bytes / 512));
        }
        let log = superblock.bad_blocks_at().unwrap();
        areas.extend(log.map(|log| area(log.start, log.length.get())));
        areas.push(area(superblock.data_offset(), superblock.data_size().get()));
        areas.sort_unstable();
        assert!(areas.windows(2).all(|pair| pair[0].1 <= pair[1].0), "{areas:?}");
        assert!(areas.last().unwrap().1 <= size, "{areas:?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn nothing_overlaps_for_all(
        shape in 0..every_shape().len(),
        size in prop_oneof![1_u64 << 10..1 << 16, 1_u64 << 16..1 << 33],
        offset in prop::option::of(0_u64..5000),
        bits in prop::option::of(3_u32..24),
    ) {
        let mut wanted = every_shape().swap_remove(shape);
        wanted.data_offset = offset.map(|o| Sector::new(o * 8));
        if wanted.bitmap != NewBitmap::None {
            wanted.bitmap = NewBitmap::Internal(bits.map(|bits| Sectors::new(1 << bits)));
        }
        let count = usize::try_from(wanted.raid_devices + wanted.spare_devices).unwrap();
        let mut bench = Bench::new(&vec![size * 512; count]);
        let seats = bench.seats();
        if let Ok(plan) = CreatePlan::new(&wanted, &seats) {
            check_areas(&plan, size);
            prop_assert!(plan.members.iter().all(|m| m.superblock.data_size() >= plan.component));
        }
    }
}

/// No array, or the new one, of those members whose superblocks arrived.
fn check_after_crash(mut bench: Bench, wanted: &Wanted) -> State {
    let Ok((members, assembly)) = bench.members() else { return State::Failed };
    if assembly.uuid != wanted.uuid {
        // What was there before, as far as it is not wiped.
        return State::Failed;
    }
    // Members whose last superblock did not arrive hold nothing that counts.
    if assembly.startable().is_err() {
        return State::Failed;
    }
    assert_eq!(assembly.level, wanted.level);
    if wanted.bitmap != NewBitmap::None {
        for (bitmap, candidate) in members.bitmaps.iter().zip(&members.candidates) {
            let Some(Ok(bitmap)) = bitmap else { panic!("half a bitmap: {bitmap:?}") };
            let superblock = &candidate.superblock;
            let known = bitmap.header().belongs_to(superblock.uuid_on_disk(), superblock.events());
            assert!(known, "a bitmap of another time");
        }
    }
    assembly.state()
}

/// Disks with members of another array, of another version, so that its superblocks lie elsewhere.
fn used_disks(wanted: &Wanted) -> Bench {
    let count = usize::try_from(wanted.raid_devices + wanted.spare_devices).expect("few");
    let mut bench = Bench::new(&vec![SMALL; count]);
    let version = if wanted.version == V2 { Version::V0 } else { V2 };
    let name = String::new();
    bench.create(&Wanted { version, uuid: uuid(0x11), name, ..wanted.clone() });
    bench
}

#[test]
fn a_crash_at_any_operation_leaves_no_array_or_the_new_one() {
    for wanted in every_shape() {
        let mut bench = used_disks(&wanted);
        let seats = bench.seats();
        let plan = CreatePlan::new(&wanted, &seats).expect("a plan");
        let (film, made) = Film::of(&bench.world, |mover| plan.execute(mover));
        made.expect("made");
        let crashes = film.crashes();
        assert!(crashes.len() > 10, "{}", crashes.len());
        for cut in crashes {
            let disks = bench.disks.iter().map(|disk| cut.world.disk(disk.id())).collect();
            let after = Bench { mover: film::mover(&cut.world), world: cut.world, disks };
            let state = check_after_crash(after, &wanted);
            let (moment, crash) = (cut.moment, cut.crash);
            let lost = state == State::Failed && cut.done;
            assert!(!lost, "{wanted:?}: durable, and not there after {moment} {crash:?}");
        }
    }
}

#[test]
fn an_error_says_truly_whether_there_is_an_array() {
    let bitmap = NewBitmap::Internal(None);
    let wanted = Wanted { bitmap, spare_devices: 1, ..wanted(Level::Raid5, 3) };
    let mut seen = Vec::new();
    for op in 0.. {
        let mut bench = used_disks(&wanted);
        let seats = bench.seats();
        let plan = CreatePlan::new(&wanted, &seats).expect("a plan");
        let fault = Fault::new(Effect::Error(kcopy::Errno::IO));
        bench.world.inject(fault.from_op(bench.world.ops() + op));
        let stage = match plan.execute(&mut bench.mover) {
            Ok(()) => break,
            Err(CreateError::Move { stage, .. }) => stage,
            Err(other) => panic!("{other}"),
        };
        seen.push(stage);
        let world = bench.world.snapshot().after(Crash::Seeded(op), op);
        let disks = bench.disks.iter().map(|disk| world.disk(disk.id())).collect();
        let after = Bench { mover: film::mover(&world), world, disks };
        let state = check_after_crash(after, &wanted);
        match stage {
            Stage::Superblocks => {}
            Stage::Wipe | Stage::Logs | Stage::Prepare => {
                assert_eq!(state, State::Failed, "operation {op}: too early");
            }
        }
    }
    seen.dedup();
    assert_eq!(seen, [Stage::Wipe, Stage::Logs, Stage::Prepare, Stage::Superblocks]);
}

#[test]
fn an_error_names_the_device_and_what_it_means() {
    let mut bench = Bench::new(&[MEMBER; 3]);
    let seats = bench.seats();
    let plan = CreatePlan::new(&wanted(Level::Raid5, 3), &seats).expect("a plan");
    bench.world.inject(Fault::new(Effect::Error(kcopy::Errno::IO)).on(bench.disks[1].id()));
    let error = plan.execute(&mut bench.mover).expect_err("failed").to_string();
    assert!(error.contains("sim1") && error.contains("there is no new array"), "{error}");
}

#[test]
fn new_files_become_an_array_and_are_gone_if_they_do_not() {
    let folder = std::env::temp_dir().join(format!("reshape-create-{}", std::process::id()));
    std::fs::create_dir_all(&folder).expect("a folder");
    let paths: Vec<PathBuf> = (0..3).map(|number| folder.join(format!("m{number}"))).collect();
    let mut mover =
        Mover::open(&crate::mover::Options { pages: 1024, ..Default::default() }).expect("mover");
    let named =
        |gone: usize| (0..3).map(|slot| (slot != gone).then(|| paths[slot].clone())).collect();
    let files = NewFiles { paths: named(3), size: Sectors::new(16384) };
    let mut next = 0;
    let mut uuids = || {
        next += 1;
        uuid(next)
    };
    let refused = create_files(&mut mover, &wanted(Level::Raid6, 3), &files, &mut uuids);
    assert!(matches!(refused, Err(FilesError::Create(_))), "{refused:?}");
    assert!(paths.iter().all(|path| !path.exists()));
    let plan =
        create_files(&mut mover, &wanted(Level::Raid5, 3), &files, &mut uuids).expect("made");
    assert_eq!(plan.resync, Resync::Clean);
    let again = create_files(&mut mover, &wanted(Level::Raid5, 3), &files, &mut uuids);
    assert!(matches!(again, Err(FilesError::Make { .. })), "{again:?}");
    let open = |path| Device::open(path, &kcopy::device::OpenOptions::source()).expect("open");
    let members = Members::read(&mut mover, paths.iter().map(open).collect()).expect("members");
    let assembly = assemble(&members.candidates).expect("one array");
    assert_eq!(assembly.state(), State::Clean);
    drop(members);
    for path in &paths {
        std::fs::remove_file(path).expect("removed");
    }
    let files = NewFiles { paths: named(1), ..files };
    let plan =
        create_files(&mut mover, &wanted(Level::Raid5, 3), &files, &mut uuids).expect("made");
    assert_eq!(plan.members.len(), 2);
    assert!(!paths[1].exists());
    std::fs::remove_dir_all(&folder).expect("removed");
}
