//! Arrays on the simulated device, against a plain vector of bytes.

use std::sync::Arc;

use kcopy::backend::sim::{DiskOptions, Effect, Fault, OpKind, Rng, SimDisk, SimWorld};
use kcopy::engine::Config;
use kcopy::pool::Pool;
use kcopy::{Sector, Sectors};
use proptest::prelude::*;

use super::*;
use crate::geometry::{Layout, Level, Shape};
use crate::mover::Mover;
use crate::units::{MemberSector, Slot};

const OFFSET: u64 = 16;
const ROWS: u64 = 96;

/// Disks, an array on them, and what it should hold.
struct Bench {
    world: SimWorld,
    disks: Vec<SimDisk>,
    mover: Mover,
    array: Array,
    model: Vec<u8>,
    rng: Rng,
}

impl Bench {
    fn new(level: Level, layout: u32, chunk: u64, count: u32, seed: u64) -> Self {
        let world = SimWorld::new(seed);
        let bytes = (OFFSET + ROWS) * 512;
        let disks: Vec<_> = (0..count).map(|_| world.add_disk(DiskOptions::new(bytes))).collect();
        let sizes = vec![Sectors::new(ROWS); disks.len()];
        let geometry = Geometry::new(&Shape {
            level,
            layout: Layout::from_md(level, layout).expect("a layout"),
            chunk: Sectors::new(chunk),
            raid_disks: count,
            component: Sectors::new(ROWS),
            member_sizes: &sizes,
        })
        .expect("a shape");
        let legs = disks.iter().map(|disk| Some(leg(disk))).collect();
        let array = Array::of(View::of(geometry, legs));
        let pool = Pool::new(1024).expect("memory");
        let backend = Box::new(world.backend());
        let mover = Mover::on(backend, Box::new(world.clone()), pool, Config::default());
        let model = vec![0; usize::try_from(array.sectors().get() * 512).expect("small")];
        Self { world, disks, mover, array, model, rng: Rng::new(seed) }
    }

    fn range(&mut self) -> Range {
        let size = self.array.sectors().get();
        let start = self.rng.below(size);
        let longest = if self.rng.chance(1, 3) { size - start } else { (size - start).min(24) };
        Range::new(start, self.rng.between(1, longest))
    }

    fn write(&mut self) {
        let range = self.range();
        let (from, to) = bytes(range);
        let fresh: Vec<u8> =
            (from..to).map(|_| u8::try_from(self.rng.below(256)).expect("byte")).collect();
        self.model[from..to].copy_from_slice(&fresh);
        let source = Source::Memory(Arc::new(fresh));
        let report = self.array.write_from(&mut self.mover, range, &source, &mut |_| true);
        assert_eq!(report.expect("written"), WriteReport::default());
    }

    fn read(&mut self) {
        let range = self.range();
        let (from, to) = bytes(range);
        let (content, report) = if self.rng.chance(1, 2) {
            self.array.read(&mut self.mover, range).expect("read")
        } else {
            self.stream(range)
        };
        assert_eq!(report.unreadable, []);
        assert!(content == self.model[from..to], "{range:?} reads wrong");
    }

    /// Window by window, in memory that held something else.
    fn stream(&mut self, range: Range) -> (Vec<u8>, ReadReport) {
        let (mut content, window) = (Vec::new(), Sectors::new(self.rng.between(1, 48)));
        let take = &mut |bytes: Vec<u8>| {
            content.extend(&bytes);
            Taken::More(Some(vec![0xee; bytes.len()]))
        };
        let report = self.array.stream(&mut self.mover, (range, window), take, &mut |_| true);
        (content, report.expect("read"))
    }

    fn present(&self) -> Vec<Slot> {
        let view = self.array.view().expect("whole");
        view.legs().filter(|(_, leg)| leg.is_some()).map(|(slot, _)| slot).collect()
    }

    /// Takes a member away, if the array can do without it.
    fn lose(&mut self) {
        let present = self.present();
        let slot = self.rng.pick(&present);
        let left = |other: Slot| other != slot && present.contains(&other);
        if self.array.view().expect("whole").geometry().enough(left) {
            self.array.drop_member(slot);
        }
    }

    /// Puts a member back that has forgotten everything, and computes its content.
    fn replace(&mut self) {
        let present = self.present();
        let missing = (0..).map(Slot::new).take(self.disks.len()).find(|s| !present.contains(s));
        let Some(slot) = missing else { return };
        let disk = &self.disks[usize::try_from(slot.get()).expect("small")];
        disk.write(0, &vec![0xa5; usize::try_from(disk.size()).expect("small")]);
        let fresh = Leg { good_to: Some(MemberSector::new(0)), ..leg(disk) };
        self.array.set_member(slot, fresh);
        let done = self.array.regenerate(&mut self.mover, slot, 0..ROWS, &mut |_| true);
        done.expect("computed");
        self.array.finish_member(slot);
    }

    fn check(&mut self) {
        let report = self.array.check(&mut self.mover, Mend::Report, &mut |_| true);
        assert_eq!(report.expect("checked"), CheckReport::default());
    }
}

fn leg(disk: &SimDisk) -> Leg {
    Leg { device: disk.device(), data_offset: Sector::new(OFFSET), good_to: None, bad: Vec::new() }
}

fn bytes(range: Range) -> (usize, usize) {
    let byte = |sector: u64| usize::try_from(sector * 512).expect("small");
    (byte(range.start.get()), byte(range.end()))
}

fn any_array() -> impl Strategy<Value = (Level, u32, u64, u32)> {
    let six = proptest::sample::select(vec![0_u32, 1, 2, 3, 4, 5, 8, 9, 10, 16, 17, 18, 19, 20]);
    let ten = proptest::sample::select(vec![0x102_u32, 0x103, 0x201, 0x202, 0x10201, 0x40201]);
    let chunk = proptest::sample::select(vec![8_u64, 16, 32]);
    prop_oneof![
        (Just(Level::Raid5), 0..6_u32, chunk.clone(), 3..6_u32),
        (Just(Level::Raid6), six, chunk.clone(), 4..7_u32),
        (Just(Level::Raid10), ten, chunk.clone(), 4..7_u32),
        (Just(Level::Raid4), Just(0), chunk.clone(), 3..5_u32),
        (Just(Level::Raid1), Just(0), chunk.clone(), 2..4_u32),
        (Just(Level::Raid0), Just(2), chunk.clone(), 2..4_u32),
        (Just(Level::Linear), Just(0), chunk, 2..4_u32),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(150))]

    #[test]
    fn an_array_is_a_vector_of_bytes_whatever_fails_and_returns_for_all(
        (level, layout, chunk, disks) in any_array(), seed: u64, steps in 10..40_u32,
    ) {
        let mut bench = Bench::new(level, layout, chunk, disks, seed);
        for _ in 0..steps {
            match bench.rng.below(8) {
                0..=2 => bench.write(),
                3..=5 => bench.read(),
                6 => bench.lose(),
                _ => bench.replace(),
            }
        }
        for _ in 0..disks {
            bench.replace();
        }
        bench.check();
        bench.read();
        prop_assert!(bench.world.violations().is_empty());
    }

    #[test]
    fn a_bad_sector_is_read_from_elsewhere_for_all(
        (level, layout, chunk, disks) in any_array(), seed: u64,
    ) {
        prop_assume!(!matches!(level, Level::Raid0 | Level::Linear));
        let mut bench = Bench::new(level, layout, chunk, disks, seed);
        bench.write();
        bench.write();
        let disk = &bench.disks[bench.rng.index(bench.disks.len())];
        let at = (OFFSET + bench.rng.below(ROWS)) * 512;
        let bad = Fault::new(Effect::Error(kcopy::Errno::IO)).on(disk.id());
        bench.world.inject(bad.within(at..at + 512).times(u64::MAX));
        for _ in 0..5 {
            bench.read();
        }
    }

    /// Each of them in another block, or one of them everywhere.
    #[test]
    fn a_member_is_filled_around_what_the_others_cannot_read_for_all(
        (level, layout, chunk, disks) in any_array(), seed: u64, whole: bool,
    ) {
        let mut bench = Bench::new(level, layout, chunk, disks, seed);
        bench.write();
        bench.write();
        bench.lose();
        let present = bench.present();
        let lost = present.len() < bench.disks.len();
        let enough = |without: Slot| {
            let geometry = bench.array.view().expect("whole").geometry();
            geometry.enough(|slot| slot != without && present.contains(&slot))
        };
        let failing: Vec<Slot> = present.iter().copied().filter(|slot| enough(*slot)).collect();
        prop_assume!(lost && !failing.is_empty());
        for (n, slot) in (0..).zip(&failing) {
            let disk = &bench.disks[usize::try_from(slot.get()).expect("small")];
            let at = (OFFSET + n * 8 + bench.rng.below(8)) * 512;
            let bad = Fault::new(Effect::Error(kcopy::Errno::IO)).on(disk.id()).kind(OpKind::Read);
            if whole {
                bench.world.inject(bad);
                break;
            }
            bench.world.inject(bad.within(at..at + 512));
        }
        bench.replace();
        bench.world.clear_faults();
        bench.check();
        bench.read();
    }

    #[test]
    fn a_wrong_block_is_counted_named_and_mended_for_all(
        (level, layout, chunk, disks) in any_array(), seed: u64,
    ) {
        prop_assume!(!matches!(level, Level::Raid0 | Level::Linear));
        let mut bench = Bench::new(level, layout, chunk, disks, seed);
        bench.write();
        let slot = bench.rng.index(bench.disks.len());
        let row = bench.rng.below(ROWS / 8) * 8;
        let at = (OFFSET + row) * 512;
        let old = bench.disks[slot].read(at, 512);
        let used = {
            let view = bench.array.view().expect("whole");
            let place = Slot::new(u32::try_from(slot).expect("small"));
            view.geometry().on(place, MemberSector::new(row)) != crate::geometry::On::Unused
        };
        prop_assume!(used);
        bench.disks[slot].write(at, &old.iter().map(|b| b ^ 0x5a).collect::<Vec<_>>());
        let report = bench.array.check(&mut bench.mover, Mend::Report, &mut |_| true).expect("checked");
        prop_assert!(report.mismatch_sectors >= 8, "{report:?}");
        if level == Level::Raid6 {
            let wrong = [Wrong {
                start: MemberSector::new(row),
                sectors: 8,
                slot: Some(Slot::new(u32::try_from(slot).expect("small"))),
            }];
            prop_assert_eq!(&report.wrong[..], &wrong[..]);
        }
        bench.array.check(&mut bench.mover, Mend::Repair, &mut |_| true).expect("repaired");
        bench.check();
        if level == Level::Raid6 {
            prop_assert_eq!(bench.disks[slot].read(at, 512), old);
            bench.read();
        }
    }
}

/// mdadm put a section of a RAID6 back whose Q was on the last member, with both parities of other blocks: the content
/// was right, the parities of one row said that a block of it was zeros, and the repair believed them.
#[test]
fn two_parities_that_lack_a_block_are_mended_not_the_block() {
    const LEFT_SYMMETRIC_6: u32 = 18;
    let mut bench = Bench::new(Level::Raid6, LEFT_SYMMETRIC_6, 8, 5, 23);
    let all = Range { start: ArraySector::new(0), sectors: bench.array.sectors() };
    bench.model.iter_mut().enumerate().for_each(|(at, byte)| *byte = (at % 251).to_le_bytes()[0]);
    let write = |bench: &mut Bench| {
        let source = Source::Memory(Arc::new(bench.model.clone()));
        bench.array.write_from(&mut bench.mover, all, &source, &mut |_| true).expect("written");
    };
    let check = |bench: &mut Bench, mend| {
        bench.array.check(&mut bench.mover, mend, &mut |_| true).expect("checked").wrong
    };
    let block = bench.model[..4096].to_vec();
    bench.model[..4096].fill(0);
    write(&mut bench);
    // The first stripe has P on member 3, Q on member 4, and its first block on member 0.
    let (at, parities) = (OFFSET * 512, [3, 4]);
    let without = parities.map(|member: usize| bench.disks[member].read(at, 4096));
    bench.model[..4096].copy_from_slice(&block);
    write(&mut bench);
    for (member, parity) in parities.into_iter().zip(without) {
        bench.disks[member].write(at, &parity);
    }
    let wrong = |sectors, slot| vec![Wrong { start: MemberSector::new(0), sectors, slot }];
    assert_eq!(check(&mut bench, Mend::Report), wrong(8, Some(Slot::new(0))), "it may be rot");
    // The second one has P on member 2.
    for member in [2, 4] {
        let bytes: Vec<u8> = (0..4096_usize).map(|n| (n * member % 241).to_le_bytes()[0]).collect();
        bench.disks[member].write(at + 4096, &bytes);
    }
    assert_eq!(check(&mut bench, Mend::Repair), wrong(16, None));
    bench.check();
    let (content, _) = bench.array.read(&mut bench.mover, all).expect("read");
    assert!(content == bench.model, "the repair changed the content");
}

#[test]
fn what_nobody_has_is_zeros_in_a_stream_and_named() {
    let mut bench = Bench::new(Level::Raid0, 2, 8, 3, 11);
    let all = Range { start: ArraySector::new(0), sectors: bench.array.sectors() };
    bench.model.fill(0x77);
    let source = Source::Memory(Arc::new(bench.model.clone()));
    bench.array.write_from(&mut bench.mover, all, &source, &mut |_| true).expect("written");
    // Chunk 10 is the fourth of the second member.
    let at = (OFFSET + 3 * 8) * 512;
    let bad = Fault::new(Effect::Error(kcopy::Errno::IO)).on(bench.disks[1].id());
    bench.world.inject(bad.within(at..at + 512).times(u64::MAX));
    let (content, report) = bench.stream(all);
    assert_eq!(report, ReadReport { unreadable: vec![Range::new(80, 8)], recovered: vec![] });
    let (from, to) = bytes(Range::new(80, 8));
    bench.model[from..to].fill(0);
    assert!(content == bench.model);
}

#[test]
fn a_stream_ends_when_its_consumer_has_enough() {
    let mut bench = Bench::new(Level::Raid5, 2, 8, 4, 3);
    let all = Range { start: ArraySector::new(0), sectors: bench.array.sectors() };
    let mut windows = 0;
    let take = &mut |_| {
        windows += 1;
        if windows < 2 { Taken::More(None) } else { Taken::Enough }
    };
    let window = (all, Sectors::new(24));
    bench.array.stream(&mut bench.mover, window, take, &mut |_| true).expect("read");
    assert_eq!(windows, 2);
    assert_eq!(bench.mover.in_flight(), 0);
}

#[test]
fn chunks_behind_each_other_on_a_member_are_read_at_once() {
    // 96 rows are 12 stripes of 4 members, with parity on each member every fourth time.
    let mut bench = Bench::new(Level::Raid5, 2, 8, 4, 3);
    let all = Range { start: ArraySector::new(0), sectors: bench.array.sectors() };
    let read = |bench: &mut Bench| {
        let before = bench.mover.client().stats().operations;
        bench.array.read(&mut bench.mover, all).expect("read");
        bench.mover.client().stats().operations - before
    };
    // The parity parts the rows of a member into runs, three or four of them.
    let healthy = read(&mut bench);
    assert!(healthy <= 4 * 4, "{healthy} operations for 36 chunks");
    bench.array.drop_member(Slot::new(1));
    assert_eq!(read(&mut bench), 3, "one for each member that is left");
}
