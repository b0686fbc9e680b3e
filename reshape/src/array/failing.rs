//! Members that fail while they are mended.

use kcopy::Sectors;
use kcopy::backend::sim::{Effect, Fault, OpKind};

use super::bench::{Bench, CONTENT, V2, content, now, redundant, wanted};
use super::create::{NewBitmap, Wanted};
use super::{Array, ArrayError, CheckReport, Mend, Range, Session};
use crate::assemble::{Assembly, MemberState, Shapes};
use crate::geometry::{Geometry, Level, On, Part};
use crate::mover::Mover;
use crate::units::{ArraySector, MemberSector, Slot};

/// What one bit of the bitmap stands for.
const CHUNK: u64 = 32;
/// A row that the member that fails cannot read.
const BAD: u64 = 180;
/// Where something else is wrong: rows of parity levels, sectors of copies.
const WRONG: [u64; 4] = [0, 32, 96, 112];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum What {
    /// Of [`BAD`].
    Reads,
    Writes,
    Flushes,
}

fn shape(level: Level, disks: u32) -> Wanted {
    let bitmap = NewBitmap::Internal(Some(Sectors::new(CHUNK)));
    Wanted { bitmap, component: Some(Sectors::new(416)), ..wanted(V2, level, disks) }
}

fn geometry(assembly: &Assembly) -> Geometry {
    let Shapes::Whole(geometry) = &assembly.shapes else { panic!("it is at rest") };
    geometry.clone()
}

/// Damages parity, or second copies, at [`WRONG`].
fn damage(bench: &Bench, assembly: &Assembly) {
    let geometry = geometry(assembly);
    for at in WRONG {
        let place = match geometry.stripes() {
            Some(stripes) => {
                let stripe = at / geometry.chunk().get();
                let is_parity = |slot: &Slot| stripes.part(stripe, *slot) == Part::P;
                let slot = (0..stripes.disks()).map(Slot::new).find(is_parity);
                (slot.expect("a parity"), MemberSector::new(at))
            }
            None => {
                let place = geometry.at(ArraySector::new(at)).expect("in the array").places[1];
                (place.slot, place.sector)
            }
        };
        let member = assembly.member_in(place.0).expect("there");
        let byte = (member.data_offset.get() + place.1.get()) * 512;
        bench.world.disk(bench.ids[member.candidate]).write(byte, &[0xdb; 512]);
    }
}

/// What of the member in `slot` fails.
fn fail(bench: &Bench, assembly: &Assembly, slot: u32, what: What) {
    let member = assembly.member_in(Slot::new(slot)).expect("there");
    let data = member.data_offset.get() * 512;
    let fault = Fault::new(Effect::Error(kcopy::Errno::IO)).on(bench.ids[member.candidate]);
    bench.world.inject(match what {
        What::Reads => {
            let bad = data + BAD * 512;
            fault.kind(OpKind::Read).within(bad..bad + 512)
        }
        What::Writes => fault.kind(OpKind::Write).within(data..u64::MAX),
        What::Flushes => fault.kind(OpKind::Flush),
    });
}

fn repair(
    bench: &Bench,
    failing: &[u32],
    what: What,
) -> (Mover, Session, Result<CheckReport, ArrayError>) {
    let mut mover = bench.mover();
    let (assembly, _) = bench.read(&mut mover);
    damage(bench, &assembly);
    let mut session = bench.session(&mut mover);
    // What two cannot read is lost.
    fail(bench, &assembly, failing[0], What::Reads);
    for slot in failing {
        fail(bench, &assembly, *slot, what);
    }
    let ended = session.repair(&mut mover, now(), &mut |_| true);
    bench.world.clear_faults();
    (mover, session, ended)
}

#[test]
fn a_member_that_cannot_be_mended_leaves_and_all_others_are_right() {
    for what in [What::Writes, What::Flushes] {
        for ((level, disks), slot) in
            redundant().into_iter().flat_map(|shape| (0..shape.1).map(move |slot| (shape, slot)))
        {
            let about = format!("{level}, {what:?} of slot {slot}");
            let bench = Bench::new(&shape(level, disks));
            let (mut mover, session, ended) = repair(&bench, &[slot], what);
            let report = ended.expect(&about);
            let slots = |failed: &[super::FailedMember]| {
                failed.iter().map(|member| member.slot).collect::<Vec<_>>()
            };
            assert_eq!(slots(&report.failed), [Some(Slot::new(slot))], "{about}");
            assert_eq!(session.failed(), report.failed, "{about}");
            let places = report.wrong.len() + report.unreadable.len();
            let mended = usize::try_from(report.repaired).expect("few");
            assert!(what == What::Flushes || mended < places, "{about}: {report:?}");

            let (assembly, members) = bench.read(&mut mover);
            let index = usize::try_from(slot).expect("few");
            assert_eq!(assembly.members[index].state, MemberState::Stale, "{about}");
            assert_eq!(assembly.degraded(), 1, "{about}");
            let bitmap = members.bitmaps[assembly.freshest].as_ref().expect("a bitmap");
            let bitmap = bitmap.as_ref().expect("readable");
            let bad = match geometry(&assembly).on(Slot::new(slot), MemberSector::new(BAD)) {
                On::Data(sector) if level == Level::Raid10 => sector.get(),
                On::Data(_) | On::P { .. } | On::Q { .. } | On::Unused => BAD,
            };
            for at in WRONG.into_iter().chain([bad]) {
                assert_eq!(bitmap.is_dirty(at / CHUNK), Some(true), "{about}: {at} is not marked");
            }
            // What it held is computed from what was mended.
            let array = Array::open(&assembly, &members.devices, &members.bad).expect("open");
            let (found, report) = array.read(&mut mover, Range::new(0, CONTENT)).expect("read");
            assert_eq!(report.unreadable, [], "{about}");
            assert!(found == content(), "{about}: content is lost");
            let report = array.check(&mut mover, Mend::Report, &mut |_| true).expect("checked");
            assert_eq!(report, CheckReport::default(), "{about}");
        }
    }
}

/// In RAID10 what one member could not read was looked for at that sector of the array.
#[test]
fn what_cannot_be_read_is_written_anew_where_it_lies() {
    for ((level, disks), slot) in
        redundant().into_iter().flat_map(|shape| (0..shape.1).map(move |slot| (shape, slot)))
    {
        let bench = Bench::new(&shape(level, disks));
        let mut mover = bench.mover();
        let (assembly, _) = bench.read(&mut mover);
        let member = assembly.member_in(Slot::new(slot)).expect("there");
        let byte = (member.data_offset.get() + BAD) * 512;
        bench.world.disk(bench.ids[member.candidate]).write(byte, &[0xdb; 512]);
        fail(&bench, &assembly, slot, What::Reads);
        let mut session = bench.session(&mut mover);
        let report = session.repair(&mut mover, now(), &mut |_| true).expect("mended");
        assert_eq!((report.unreadable.len(), report.repaired), (1, 1), "{level}, slot {slot}");
        bench.world.clear_faults();
        bench.expect_whole(&format!("{level}, slot {slot}"));
    }
}

#[test]
fn more_members_that_cannot_be_mended_than_it_can_lose_stay() {
    for what in [What::Writes, What::Flushes] {
        let bench = Bench::new(&shape(Level::Raid5, 3));
        let (mut mover, _, ended) = repair(&bench, &[0, 2], what);
        let Err(ArrayError::TooManyFailed { members }) = ended else { panic!("{ended:?}") };
        assert_eq!(members.len(), 2, "{members:?}");
        assert_eq!(bench.read(&mut mover).0.degraded(), 0, "{what:?}");
    }
}
