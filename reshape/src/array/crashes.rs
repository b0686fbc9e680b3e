//! A write and a rebuild with the power going after every operation.

use std::sync::Arc;

use kcopy::Sectors;
use kcopy::backend::sim::DiskOptions;

use super::bench::{Bench, CONTENT, DISK, V2, content, now, redundant, wanted};
use super::create::{NewBitmap, Wanted};
use super::film::{Cut, Film};
use super::{Array, Force, Members, Mend, Newcomer, NoMember, Range, Session, Source, Wrong};
use crate::assemble::{Assembly, State, WhyNotWrite, assemble};
use crate::geometry::{Level, Place};
use crate::metadata::{Uuid, Version};
use crate::mover::Mover;
use crate::units::{ArraySector, Slot};

/// What one bit of the bitmap stands for: the write below touches three bits of thirteen.
const CHUNK: u64 = 32;
/// What is written over the content: from amid a chunk to amid another, over whole stripes.
const WRITTEN: Range = Range::new(85, 75);

fn fresh() -> Vec<u8> {
    let bytes = usize::try_from(WRITTEN.sectors.get() * 512).expect("small");
    (0..bytes).map(|at| u8::try_from(at % 251).expect("a byte") ^ 0xa5).collect()
}

fn shape(version: Version, level: Level, disks: u32, bitmap: NewBitmap) -> Wanted {
    Wanted { bitmap, component: Some(Sectors::new(416)), ..wanted(version, level, disks) }
}

/// The array's sectors that are neither old nor, within what was written, new.
fn lost(array: &Array, mover: &mut Mover) -> Vec<u64> {
    let (found, report) = array.read(mover, Range::new(0, CONTENT)).expect("read");
    assert_eq!(report.unreadable, []);
    let fresh = fresh();
    let sector = |bytes: &[u8], n: u64| {
        let at = usize::try_from(n * 512).expect("small");
        bytes[at..at + 512].to_vec()
    };
    let is_known = |n: &u64| {
        let new = WRITTEN.start.get() <= *n && *n < WRITTEN.end();
        let found = sector(&found, *n);
        found == sector(content(), *n) || new && found == sector(&fresh, *n - WRITTEN.start.get())
    };
    (0..CONTENT).filter(|n| !is_known(n)).collect()
}

/// A write of [`WRITTEN`], with a picture after every operation.
fn write(bench: &Bench) -> Film {
    let source = Source::Memory(Arc::new(fresh()));
    let (film, written) =
        bench.film(|session, mover| session.write(mover, now(), WRITTEN, &source, &mut |_| true));
    assert_eq!(written.expect("written"), []);
    film
}

fn about(bench: &Bench, cut: &Cut) -> (Bench, String) {
    (bench.at(cut), format!("after {} operations, {:?}", cut.moment, cut.crash))
}

/// Sectors that disagree, as the bitmap counts them: of members, in RAID10 of the array.
fn out_of_step(bench: &Bench, assembly: &Assembly, array: &Array, mover: &mut Mover) -> Vec<u64> {
    let view = array.view().expect("at rest");
    let geometry = view.geometry();
    if geometry.stripes().is_some() {
        let report = array.check(mover, Mend::Report, &mut |_| true).expect("checked");
        let rows = |wrong: &Wrong| wrong.start.get()..wrong.start.get() + wrong.sectors;
        return report.wrong.iter().flat_map(rows).collect();
    }
    let disk = |slot: Slot| {
        let member = assembly.member_in(slot).expect("there");
        (bench.world.disk(bench.ids[member.candidate]), member.data_offset.get())
    };
    let disagree = |n: &u64| {
        let at = geometry.at(ArraySector::new(*n)).expect("in the array");
        let copy = |place: &Place| {
            let (disk, start) = disk(place.slot);
            disk.read((start + place.sector.get()) * 512, 512)
        };
        let copies: Vec<_> = at.places.iter().map(copy).collect();
        copies.iter().any(|copy| *copy != copies[0])
    };
    (0..array.sectors().get()).filter(disagree).collect()
}

/// What disagrees lies in chunks that the bitmap marks, if there is one, and in a dirty array.
fn expect_marked(bench: &Bench, (assembly, members): (&Assembly, &Members), array: &Array) {
    let wrong = out_of_step(bench, assembly, array, &mut bench.mover());
    assert!(assembly.state() != State::Clean || wrong.is_empty(), "{wrong:?}");
    let Some(Some(Ok(bitmap))) = members.bitmaps.get(assembly.freshest) else { return };
    for row in wrong {
        assert_eq!(bitmap.is_dirty(row / CHUNK), Some(true), "{row} is not marked");
    }
}

#[test]
fn a_crash_in_a_write_loses_nothing_else_and_what_is_out_of_step_is_known() {
    for bitmap in [NewBitmap::None, NewBitmap::Internal(Some(Sectors::new(CHUNK)))] {
        for (level, disks) in redundant() {
            let bench = Bench::new(&shape(V2, level, disks, bitmap));
            for cut in write(&bench).crashes() {
                let (there, about) = about(&bench, &cut);
                let about = format!("{level} {bitmap:?} {about}");
                let mut mover = there.mover();
                let (assembly, members) = there.read(&mut mover);
                assert_eq!(assembly.degraded(), 0, "{about}");
                let array = Array::open(&assembly, &members.devices, &members.bad).expect("open");
                assert_eq!(lost(&array, &mut mover), [], "{about}");
                expect_marked(&there, (&assembly, &members), &array);
                let open = Session::open(&assembly, &members, Force::No);
                let mut session = open.expect("writable");
                session.repair(&mut mover, now(), &mut |_| true).expect("repaired");
                let (assembly, members) = there.read(&mut mover);
                assert_eq!(assembly.state(), State::Clean, "{about}");
                let array = Array::open(&assembly, &members.devices, &members.bad).expect("open");
                assert_eq!(lost(&array, &mut mover), [], "{about}");
                if cut.done {
                    let (found, _) = array.read(&mut mover, WRITTEN).expect("read");
                    assert!(found == fresh(), "{about}: what was acknowledged is lost");
                }
            }
        }
    }
}

/// The write hole: a member is missing, and of a stripe that was being written some members have the
/// new bytes and some the old ones, so that what is computed for the missing one is neither.
#[test]
fn a_crash_in_a_write_without_a_member_loses_nothing_without_a_word() {
    let mut holes = 0;
    for (level, disks) in redundant() {
        let whole = Bench::new(&shape(V2, level, disks, NewBitmap::None));
        let bench = whole.without(1);
        for cut in write(&bench).crashes() {
            let (there, about) = about(&bench, &cut);
            let mut mover = there.mover();
            let (assembly, members) = there.read(&mut mover);
            let array = Array::open(&assembly, &members.devices, &members.bad).expect("open");
            let lost = lost(&array, &mut mover);
            let data = u64::from(disks - level.parity_disks());
            let stripe = if level.parity_disks() > 0 { 16 * data } else { 16 };
            let touched =
                WRITTEN.start.get() / stripe * stripe..WRITTEN.end().next_multiple_of(stripe);
            assert!(lost.iter().all(|n| touched.contains(n)), "{level} {about}: {lost:?}");
            if lost.is_empty() {
                continue;
            }
            holes += 1;
            assert!(!cut.done, "{level} {about}: what was acknowledged is lost");
            assert_eq!(assembly.writable(), Err(WhyNotWrite::DirtyDegraded), "{level} {about}");
        }
    }
    assert!(holes > 0, "the crash never hit the hole: this proves nothing");
}

/// The members and, once it is one, the newcomer.
fn with(bench: &Bench, newcomer: &Newcomer, mover: &mut Mover) -> (Assembly, Members) {
    let mut devices: Vec<_> = bench.ids.iter().map(|id| bench.world.disk(*id).device()).collect();
    devices.push(newcomer.device.clone());
    let members = match Members::read(mover, devices.clone()) {
        Ok(members) => members,
        Err(NoMember::NoSuperblock { .. } | NoMember::Damaged { .. }) => {
            devices.pop();
            Members::read(mover, devices).expect("members")
        }
        Err(error) => panic!("{error}"),
    };
    (assemble(&members.candidates).expect("one array"), members)
}

#[test]
fn a_crash_in_a_rebuild_loses_nothing_and_the_rebuild_goes_on() {
    for version in [Version::V0, V2] {
        for (level, disks) in redundant() {
            for bitmap in [NewBitmap::None, NewBitmap::Internal(Some(Sectors::new(CHUNK)))] {
                // Roles change: see the page on array I/O about torn superblocks of 0.90.
                let block = if version == Version::V0 { 4096 } else { 512 };
                let disk = DiskOptions::new(DISK).blocks(block, 4096);
                let bench = Bench::on(&disk, &shape(version, level, disks, bitmap)).without(1);
                rebuild_with_crashes(&bench, &disk, &format!("{version} {level} {bitmap:?}"));
            }
        }
    }
}

fn rebuild_with_crashes(bench: &Bench, disk: &DiskOptions, about: &str) {
    let slot = Slot::new(1);
    let id = bench.world.add_disk(disk.clone()).id();
    bench.world.disk(id).write(0, &vec![0x5a; usize::try_from(DISK).expect("small")]);
    let newcomer = |bench: &Bench| Newcomer {
        device: bench.world.disk(id).device(),
        uuid: Uuid([9; 16]),
        bad: Vec::new(),
    };
    let fresh = newcomer(bench);
    let (film, rebuilt) =
        bench.film(|session, mover| session.rebuild(mover, now(), slot, &fresh, &mut |_| true));
    rebuilt.expect("rebuilt");
    for cut in film.crashes() {
        let about = format!("{about}, after {} operations, {:?}", cut.moment, cut.crash);
        let (there, mut mover) = (bench.at(&cut), bench.at(&cut).mover());
        let newcomer = newcomer(&there);
        let (assembly, members) = with(&there, &newcomer, &mut mover);
        assert_eq!(assembly.degraded() == 0, assembly.missing().is_empty());
        assert!(assembly.degraded() == 0 || !cut.done, "{about}: not finished");
        let array = Array::open(&assembly, &members.devices, &members.bad).expect("open");
        let (found, _) = array.read(&mut mover, Range::new(0, CONTENT)).expect("read");
        assert!(found == content(), "{about}: content is lost");
        let mut session = Session::open(&assembly, &members, Force::No).expect("writable");
        if assembly.degraded() > 0 {
            let done = match assembly.member_in(slot) {
                Some(_) => session.finish_rebuild(&mut mover, now(), slot, &mut |_| true),
                None => session.rebuild(&mut mover, now(), slot, &newcomer, &mut |_| true),
            };
            done.unwrap_or_else(|error| panic!("{about}: {error}"));
        }
        let (assembly, members) = with(&there, &newcomer, &mut mover);
        assert_eq!(assembly.state(), State::Clean, "{about}");
        let array = Array::open(&assembly, &members.devices, &members.bad).expect("open");
        let report = array.check(&mut mover, Mend::Report, &mut |_| true).expect("checked");
        assert_eq!(report.mismatch_sectors, 0, "{about}");
        let (found, _) = array.read(&mut mover, Range::new(0, CONTENT)).expect("read");
        assert!(found == content(), "{about}: content is lost");
    }
}
