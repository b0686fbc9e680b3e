//! Changes on the simulated device, with the power going after every operation.

use kcopy::backend::sim::{DiskOptions, Effect, Fault, OpKind};

use super::*;
use crate::array::bench::{Bench, DISK, EVERY, V2, at_every_cut, now, redundant, wanted};
use crate::array::create::{Content, NewBitmap, Wanted};
use crate::array::{Force, Newcomer, Range};
use crate::geometry::{Layout, Raid10Layout};
use crate::metadata::{Minor, Resync, Uuid, Version};
use crate::mover::Mover;
use crate::units::Slot;

fn dirty_bits(bench: &Bench) -> Vec<Option<usize>> {
    let (_, members) = bench.read(&mut bench.mover());
    let count = |b: &Option<Result<crate::metadata::Bitmap, _>>| {
        b.as_ref().map(|b| b.as_ref().expect("a bitmap").dirty().count())
    };
    members.bitmaps.iter().map(count).collect()
}

#[test]
fn a_bitmap_comes_and_goes_and_a_crash_leaves_the_one_or_the_other() {
    for version in EVERY {
        let levels = if version == V2 { &redundant()[..] } else { &redundant()[3..] };
        for (level, disks) in levels.iter().copied() {
            let about = format!("{version} {level}");
            let component = Some(Sectors::new(HALF));
            let wanted = Wanted { spare_devices: 1, component, ..wanted(version, level, disks) };
            let bench = Bench::new(&wanted);
            let chunk = Some(Sectors::new(128));
            let (film, added) =
                bench.film(|session, mover| session.add_bitmap(mover, now(), chunk));
            assert_eq!(added.expect("added"), Sectors::new(128));
            at_every_cut(&bench, &film, &about, Bench::expect_content);
            assert!(dirty_bits(&bench).iter().all(|bits| *bits == Some(0)), "{about}");
            let (film, removed) = bench.film(|session, mover| session.remove_bitmap(mover, now()));
            removed.expect("removed");
            at_every_cut(&bench, &film, &about, Bench::expect_content);
            assert!(dirty_bits(&bench).iter().all(Option::is_none), "{about}");
        }
    }
}

#[test]
fn a_bitmap_of_a_degraded_array_begins_all_dirty() {
    let bench = Bench::new(&wanted(V2, Level::Raid5, 3)).without(1);
    let mut mover = bench.mover();
    bench.session(&mut mover).add_bitmap(&mut mover, now(), None).expect("added");
    assert_eq!(dirty_bits(&bench), [Some(1), Some(1)]);
}

#[test]
fn a_bitmap_that_is_larger_than_the_room_kept_for_it_goes_elsewhere() {
    // A bit for each 4 KiB of 300 MiB: 12 KiB, where 4 are kept.
    let used = Sectors::new(300 << 11);
    let chunk = Some(Sectors::new(8));
    for version in EVERY {
        let wanted = Wanted { component: Some(used), ..wanted(version, Level::Raid1, 2) };
        let bench = Bench::on(&DiskOptions::new(512 << 20), &wanted);
        let mut mover = bench.mover();
        bench.session(&mut mover).add_bitmap(&mut mover, now(), chunk).expect("added");
        bench.expect_content(version.name());
        let (_, members) = bench.read(&mut mover);
        for candidate in &members.candidates {
            let superblock = &candidate.superblock;
            let at = superblock.bitmap_at().expect("placed").expect("there").get();
            let end = at + 24;
            let data = superblock.data_offset().get();
            let data_end = data + superblock.data_size().get();
            assert!(superblock.data_size() >= used, "{version}");
            assert!(end <= data || data_end <= at, "{version}: over data");
            let log = superblock.bad_blocks_at().expect("placed");
            let apart = |start: u64, len: u64| end <= start || start + len <= at;
            assert!(log.is_none_or(|log| apart(log.start.get(), log.length.get())), "{version}");
            assert!(apart(superblock.at().get(), 8), "{version}: over the superblock");
            assert!(end <= candidate.size.get(), "{version}: off the device");
        }
    }
}

#[test]
fn bitmaps_that_cannot_be_are_refused() {
    use ChangeRefusal as Why;
    let refused = |wanted: &Wanted, change: fn(&mut Session, &mut Mover) -> ArrayError| {
        let bench = Bench::new(wanted);
        let mut mover = bench.mover();
        let mut session = bench.session(&mut mover);
        let before = bench.world.trace().iter().filter(|event| event.kind.changes()).count();
        let ArrayError::Change(why) = change(&mut session, &mut mover) else {
            panic!("no refusal")
        };
        let after = bench.world.trace().iter().filter(|event| event.kind.changes()).count();
        assert_eq!(before, after, "{why}: and yet something was written");
        why
    };
    let add = |session: &mut Session, mover: &mut Mover| {
        session.add_bitmap(mover, now(), None).expect_err("refused")
    };
    let level = Level::Raid0;
    assert_eq!(refused(&wanted(V2, level, 2), add), Why::NoBitmap { level });
    let five = wanted(V2, Level::Raid5, 3);
    let with = Wanted { bitmap: NewBitmap::Internal(None), ..five.clone() };
    assert_eq!(refused(&with, add), Why::HasBitmap { chunk: Sectors::new(1 << 17) });
    let remove = |session: &mut Session, mover: &mut Mover| {
        session.remove_bitmap(mover, now()).expect_err("refused")
    };
    assert_eq!(refused(&five, remove), Why::HasNoBitmap);
    let odd = |session: &mut Session, mover: &mut Mover| {
        session.add_bitmap(mover, now(), Some(Sectors::new(100))).expect_err("refused")
    };
    assert!(matches!(refused(&five, odd), Why::BitmapRoom { smallest: Some(_), .. }));
    // 0.90 has 60 KiB for it, whatever is asked for.
    let large = Bench::on(&DiskOptions::new(4 << 30), &wanted(Version::V0, Level::Raid1, 2));
    let mut mover = large.mover();
    let many = large.session(&mut mover).add_bitmap(&mut mover, now(), Some(Sectors::new(8)));
    let Err(ArrayError::Change(Why::BitmapRoom { room, smallest, .. })) = many else {
        panic!("no refusal: {many:?}")
    };
    assert_eq!((room, smallest), (Sectors::new(120), Some(Sectors::new(1 << 17))));
}

/// A size that leaves members room.
const HALF: u64 = 416;

fn halves(version: Version) -> Vec<Wanted> {
    let ten = |far, near, offset| Raid10Layout { offset, far, near, ..Raid10Layout::near(1) };
    let half = Some(Sectors::new(HALF));
    let mut all: Vec<Wanted> = redundant()
        .into_iter()
        .map(|(level, disks)| Wanted { component: half, ..wanted(version, level, disks) })
        .collect();
    for (layout, component) in [(ten(1, 2, false), 400), (ten(2, 1, true), 416)] {
        let layout = Some(Layout::Raid10(layout));
        let component = Some(Sectors::new(component));
        all.push(Wanted { layout, component, ..wanted(version, Level::Raid10, 3) });
    }
    all
}

fn grow(session: &mut Session, mover: &mut Mover) -> Result<Resized, ArrayError> {
    session.resize(mover, now(), NewSize::Max, (Added::Zero, Force::No), &mut |_| true)
}

fn resize(session: &mut Session, mover: &mut Mover, sectors: u64) -> Result<Resized, ArrayError> {
    let size = NewSize::Sectors(Sectors::new(sectors));
    session.resize(mover, now(), size, (Added::Zero, Force::Yes), &mut |_| true)
}

/// What members hold behind the array's end is not zeros, as on used disks.
fn soil(bench: &Bench) {
    let (assembly, members) = bench.read(&mut bench.mover());
    for (number, (candidate, id)) in (1..).zip(members.candidates.iter().zip(&bench.ids)) {
        let start = candidate.superblock.data_offset().get();
        let from = start + assembly.component.get();
        let end = start + candidate.superblock.data_size().get();
        let bytes = usize::try_from((end - from) * 512).expect("small");
        bench.world.disk(*id).write(from * 512, &vec![number; bytes]);
    }
}

#[test]
fn more_and_less_of_each_member_and_a_crash_leaves_the_one_or_the_other() {
    let bitmap = NewBitmap::Internal(Some(Sectors::new(64)));
    let mut all = halves(V2);
    all.push(all[2].clone());
    for version in [Version::V0, Version::V1(Minor::Zero)] {
        all.extend(halves(version).into_iter().skip(4).take(2));
    }
    for (number, wanted) in all.into_iter().enumerate() {
        // One of them goes without.
        let bitmap = if number == 2 { NewBitmap::None } else { bitmap };
        let about = format!("{} {} {:?} {bitmap:?}", wanted.version, wanted.level, wanted.layout);
        let component = wanted.component.expect("chosen");
        let bench = Bench::new(&Wanted { bitmap, ..wanted });
        soil(&bench);
        let (film, grown) = bench.film(grow);
        let grown = grown.unwrap_or_else(|error| panic!("{about}: {error}")).component;
        assert!(grown.get() > 600, "{about}: {grown}");
        for (cut, found) in at_every_cut(&bench, &film, &about, Bench::expect_whole) {
            let possible = if cut.done { vec![grown] } else { vec![component, grown] };
            assert!(possible.contains(&found.component), "{about}: {}", found.component);
        }
        let (film, shrunk) = bench.film(|session, mover| resize(session, mover, component.get()));
        assert_eq!(shrunk.expect("shrunk").component, component);
        for (cut, found) in at_every_cut(&bench, &film, &about, Bench::expect_whole) {
            let possible = if cut.done { vec![component] } else { vec![component, grown] };
            assert!(possible.contains(&found.component), "{about}: {}", found.component);
        }
    }
}

#[test]
fn a_bitmap_that_cannot_grow_with_the_array_is_named() {
    let disk = DiskOptions::new(512 << 20);
    let bitmap = NewBitmap::Internal(Some(Sectors::new(8)));
    let component = Some(Sectors::new(HALF));
    let wanted = Wanted { bitmap, component, ..wanted(V2, Level::Raid1, 2) };
    let bench = Bench::on(&disk, &wanted);
    let mut mover = bench.mover();
    let refused = grow(&mut bench.session(&mut mover), &mut mover);
    let chunk = Sectors::new(8);
    let why = ChangeRefusal::BitmapGrowth { chunk };
    assert!(matches!(refused, Err(ArrayError::Change(found)) if found == why));
    assert_eq!(bench.expect_whole("refused").component, Sectors::new(HALF));
}

#[test]
fn what_a_growing_array_gets_reads_as_zeros_also_when_degraded() {
    for wanted in halves(V2) {
        let bench = Bench::new(&wanted);
        soil(&bench);
        let mut mover = bench.mover();
        let mut session = bench.session(&mut mover);
        let before = session.array().sectors().get();
        let grown = grow(&mut session, &mut mover).expect("grown");
        assert_eq!(grown.sectors, session.array().sectors());
        for bench in [bench.clone(), bench.without(0), bench.without(1)] {
            let (assembly, members) = bench.read(&mut mover);
            let array = Array::open(&assembly, &members.devices, &members.bad).expect("open");
            let range = Range::new(before, grown.sectors.get() - before);
            let (found, report) = array.read(&mut mover, range).expect("read");
            assert_eq!(report.unreadable, []);
            assert!(found.iter().all(|byte| *byte == 0), "{:?}", wanted.layout);
        }
    }
}

/// It lacks what was added while it was away. Were the new bits clean, the kernel would take it back
/// with old bytes in the new part.
#[test]
fn a_member_that_was_away_while_the_array_grew_is_told_so_by_the_bitmap() {
    let bitmap = NewBitmap::Internal(Some(Sectors::new(64)));
    let component = Some(Sectors::new(HALF));
    let wanted = Wanted { bitmap, component, ..wanted(V2, Level::Raid5, 3) };
    let bench = Bench::new(&wanted).without(2);
    let mut mover = bench.mover();
    grow(&mut bench.session(&mut mover), &mut mover).expect("grown");
    let (_, members) = bench.read(&mut mover);
    let bitmap = members.bitmaps[0].as_ref().expect("there").as_ref().expect("readable");
    let dirty: Vec<u64> = bitmap.dirty().collect();
    let bits = bitmap.header().bits();
    assert_eq!(dirty, (HALF / 64..bits).collect::<Vec<_>>());
}

#[test]
fn sizes_that_cannot_be_are_refused_with_the_numbers() {
    use ChangeRefusal as Why;
    let refused = |wanted: &Wanted, size, force| {
        let bench = Bench::new(wanted);
        let mut mover = bench.mover();
        let mut session = bench.session(&mut mover);
        let before = bench.world.ops();
        let result = session.resize(&mut mover, now(), size, (Added::Zero, force), &mut |_| true);
        let Err(ArrayError::Change(why)) = result else { panic!("no refusal: {result:?}") };
        assert_eq!(bench.world.ops(), before, "{why}: and yet it did something");
        why
    };
    let sectors = |sectors| NewSize::Sectors(Sectors::new(sectors));
    let five = Wanted { component: Some(Sectors::new(HALF)), ..wanted(V2, Level::Raid5, 3) };
    assert_eq!(
        refused(&five, sectors(256), Force::No),
        Why::Shrink { before: Sectors::new(832), after: Sectors::new(512) }
    );
    let (wanted_, below) = (Sectors::new(600), Sectors::new(592));
    assert_eq!(refused(&five, sectors(600), Force::Yes), Why::Uneven { wanted: wanted_, below });
    assert!(matches!(refused(&five, sectors(0), Force::Yes), Why::Uneven { .. }));
    let Why::NoRoom { room, .. } = refused(&five, sectors(1 << 20), Force::Yes) else {
        panic!("another refusal");
    };
    assert_eq!(room, Sectors::new(640));
    let far = Some(Layout::Raid10(Raid10Layout { far: 2, near: 1, ..Raid10Layout::near(1) }));
    let far = Wanted { layout: far, ..wanted(V2, Level::Raid10, 4) };
    assert!(matches!(refused(&far, NewSize::Max, Force::Yes), Why::FixedSize { .. }));
    for level in [Level::Linear, Level::Raid0] {
        let whole = wanted(V2, level, 2);
        assert!(matches!(refused(&whole, NewSize::Max, Force::Yes), Why::FixedSize { .. }));
    }
    let dirty = Wanted { content: Content::Unknown, ..wanted(V2, Level::Raid5, 3) };
    assert_eq!(refused(&dirty, NewSize::Max, Force::Yes), Why::Dirty);
}

#[test]
fn the_largest_size_leaves_room_for_a_bitmap() {
    for version in EVERY {
        let component = Some(Sectors::new(HALF));
        let bench = Bench::new(&Wanted { component, ..wanted(version, Level::Raid1, 2) });
        let mut mover = bench.mover();
        let grown = grow(&mut bench.session(&mut mover), &mut mover).expect("grown");
        let (_, members) = bench.read(&mut mover);
        assert_eq!(grown.component, members.candidates[0].superblock.data_size(), "{version}");
        bench.session(&mut mover).add_bitmap(&mut mover, now(), None).expect("added");
        bench.expect_whole(version.name());
    }
}

#[test]
fn a_stopped_growth_changes_nothing() {
    let component = Some(Sectors::new(HALF));
    let bench = Bench::new(&Wanted { component, ..wanted(V2, Level::Raid5, 3) });
    let mut mover = bench.mover();
    let mut session = bench.session(&mut mover);
    let how = (Added::Zero, Force::No);
    let stopped = session.resize(&mut mover, now(), NewSize::Max, how, &mut |_| false);
    assert!(matches!(stopped, Err(ArrayError::Move(crate::mover::MoveError::Cancelled))));
    assert_eq!(bench.expect_whole("stopped").component, Sectors::new(HALF));
}

#[test]
fn a_member_is_appended_and_a_crash_leaves_the_array_without_or_with_it() {
    for version in EVERY {
        let about = format!("{version}");
        // A superblock 0.90 is eight sectors of 512 bytes, all of which change: a disk that tears them
        // apart damages it, whoever writes it.
        let block = if version == Version::V0 { 4096 } else { 512 };
        let disk = DiskOptions::new(DISK).blocks(block, 4096);
        let bench = Bench::on(&disk, &wanted(version, Level::Linear, 2));
        let more = bench.world.add_disk(disk).id();
        let before = bench.session(&mut bench.mover()).array().sectors();
        let newcomer = Newcomer {
            device: bench.world.disk(more).device(),
            uuid: Uuid([9; 16]),
            bad: Vec::new(),
        };
        let (film, appended) = bench.film(|session, mover| {
            session.append(mover, now(), &newcomer).map(|slot| (slot, session.array().sectors()))
        });
        let (slot, after) = appended.expect("appended");
        assert_eq!(slot, Slot::new(2));
        assert_eq!(after.get(), before.get() / 2 * 3, "{about}");
        let both = Bench { ids: [&bench.ids[..], &[more]].concat(), ..bench.clone() };
        for cut in film.crashes() {
            let about = format!("{about}, after {} operations, {:?}", cut.moment, cut.crash);
            let there = bench.at(&cut);
            let (old, _) = there.read(&mut there.mover());
            let found = if old.raid_disks == 2 {
                assert!(!cut.done, "{about}");
                there.expect_whole(&about)
            } else {
                both.at(&cut).expect_whole(&about)
            };
            let size = if found.raid_disks == 2 { before } else { after };
            assert_eq!(found.shapes.sectors(), Some(size), "{about}");
        }
    }
}

/// Those that are told first that it is none know of two members, the others of three: one array all the same.
#[test]
fn a_disk_that_fails_while_it_is_appended_is_none_whenever_the_power_goes() {
    let disk = DiskOptions::new(DISK).blocks(4096, 4096);
    for version in EVERY {
        let mut taken_back = 0;
        for operation in 0.. {
            let bench = Bench::on(&disk, &wanted(version, Level::Linear, 2));
            let more = bench.world.add_disk(disk.clone()).id();
            let device = bench.world.disk(more).device();
            let newcomer = Newcomer { device, uuid: Uuid([9; 16]), bad: Vec::new() };
            let fault = Fault::new(Effect::Error(kcopy::Errno::IO)).on(more).kind(OpKind::Write);
            let before = bench.world.ops();
            bench.world.inject(fault.from_op(before + operation));
            let (film, appended) =
                bench.film(|session, mover| session.append(mover, now(), &newcomer));
            match appended {
                Ok(_) => break,
                Err(error) => assert!(matches!(error, ArrayError::Newcomer { .. }), "{error:?}"),
            }
            let both = Bench { ids: [&bench.ids[..], &[more]].concat(), ..bench.clone() };
            for cut in film.crashes() {
                cut.world.clear_faults();
                let about = format!("{version}, {operation}, {} {:?}", cut.moment, cut.crash);
                let there = bench.at(&cut);
                let (old, _) = there.read(&mut there.mover());
                taken_back += usize::from(old.raid_disks == 3);
                let bench = if old.raid_disks == 2 { there } else { both.at(&cut) };
                bench.expect_whole(&about);
                assert!(!cut.done || old.raid_disks == 2, "{about}");
            }
        }
        assert!(taken_back > 0, "{version}: it never failed when it was recorded");
    }
}

#[test]
fn what_cannot_be_appended_is_refused() {
    let bench = Bench::new(&wanted(V2, Level::Linear, 2));
    let mut mover = bench.mover();
    let newcomer = |device| Newcomer { device, uuid: Uuid([9; 16]), bad: Vec::new() };
    let own = newcomer(bench.device(0));
    let refused = bench.session(&mut mover).append(&mut mover, now(), &own);
    assert!(matches!(refused, Err(ArrayError::Change(ChangeRefusal::Member { .. }))));
    let small = newcomer(bench.world.add_disk(DiskOptions::new(1 << 20)).device());
    let refused = bench.session(&mut mover).append(&mut mover, now(), &small);
    assert!(matches!(refused, Err(ArrayError::TooSmall { .. })), "{refused:?}");
    let five = Bench::new(&wanted(V2, Level::Raid5, 3));
    let mut mover = five.mover();
    let fresh = newcomer(five.world.add_disk(DiskOptions::new(DISK)).device());
    let refused = five.session(&mut mover).append(&mut mover, now(), &fresh);
    assert!(matches!(refused, Err(ArrayError::Change(ChangeRefusal::NotLinear { .. }))));
    assert_eq!(five.read(&mut mover).0.resync, Resync::Clean);
}
