//! The simulator's own behaviour, driven by hand.

use super::*;
use crate::Errno;
use crate::backend::{Backend, Buffer, Completion, Op, OpId, Slot, Window, ZeroMethod};
use crate::pool::Pool;

struct Rig {
    world: SimWorld,
    disk: SimDisk,
    backend: SimBackend,
    pool: Pool,
    next: u64,
}

impl Rig {
    fn new(seed: u64, options: DiskOptions) -> Self {
        let world = SimWorld::new(seed);
        let disk = world.add_disk(options);
        let mut backend = world.backend();
        backend.attach(Slot(3), &disk.device()).unwrap();
        Self { world, disk, backend, pool: Pool::new(64).unwrap(), next: 0 }
    }

    fn submit(&mut self, op: Op) -> OpId {
        self.next += 1;
        self.backend.submit(OpId(self.next), op).unwrap();
        OpId(self.next)
    }

    fn write(&mut self, offset: u64, byte: u8) -> OpId {
        let mut pages = self.pool.take(1).unwrap();
        pages.fill(byte);
        let window = Window { start: 0, len: 1024 };
        self.submit(Op::Write { device: Slot(3), offset, pages: share(pages), window })
    }

    fn read(&mut self, offset: u64, len: u32) -> OpId {
        let pages = self.pool.take(1).unwrap();
        self.submit(Op::Read { device: Slot(3), offset, pages, window: Window { start: 0, len } })
    }

    fn flush(&mut self) -> OpId {
        self.submit(Op::Flush { device: Slot(3) })
    }

    fn wait(&mut self) -> Vec<Completion> {
        let mut done = Vec::new();
        self.backend.wait(None, &mut done).unwrap();
        done
    }

    /// The results of everything in flight, by id.
    fn settle(&mut self) -> Vec<(u64, Result<u32, Errno>)> {
        let mut all = Vec::new();
        while self.world.in_flight() > 0 {
            all.extend(self.wait().into_iter().map(|done| (done.id.0, done.result)));
        }
        all.sort_by_key(|(id, _)| *id);
        all
    }
}

fn small() -> DiskOptions {
    DiskOptions::new(65_536)
}

#[test]
fn read_returns_what_was_written_and_nothing_behind_the_end() {
    let mut rig = Rig::new(1, small());
    rig.write(1024, 7);
    rig.settle();
    rig.read(1024, 512);
    let done = rig.wait().remove(0);
    let Buffer::Exclusive(pages) = done.buffer else { panic!("no pages") };
    assert!(pages[..512].iter().all(|byte| *byte == 7));
    rig.disk.set_size(2048);
    rig.read(1024, 2048);
    rig.read(4096, 512);
    assert_eq!(rig.settle().iter().map(|(_, r)| *r).collect::<Vec<_>>(), [Ok(1024), Ok(0)]);
}

#[test]
fn same_seed_gives_the_same_trace_and_another_seed_another() {
    let run = |seed: u64| {
        let mut rig = Rig::new(seed, small());
        for block in 0..20 {
            rig.write(block * 1024, 1);
            rig.read(block * 2048, 512);
        }
        rig.flush();
        rig.settle();
        rig.world.trace_hash()
    };
    assert_eq!(run(5), run(5));
    assert_ne!(run(5), run(6));
}

#[test]
fn flush_does_not_cover_a_write_that_completed_after_it_was_submitted() {
    let mut rig = Rig::new(1, small());
    rig.world.set_schedule(Schedule::FirstComeFirstServed);
    rig.write(0, 1);
    rig.flush();
    rig.settle();
    assert_eq!(rig.disk.read_durable(0, 1), [0]);
    rig.flush();
    rig.settle();
    assert_eq!(rig.disk.read_durable(0, 1), [1]);
}

#[test]
fn fault_strikes_what_it_was_made_for() {
    let mut rig = Rig::new(1, small());
    let error = Effect::Error(Errno::IO);
    rig.world.inject(Fault::new(error).at(1));
    rig.world.inject(Fault::new(error).kind(OpKind::Write).within(512..513).times(1));
    rig.world.inject(Fault::new(Effect::Nothing).from_op(6).on(rig.disk.id()));
    for _ in 0..2 {
        rig.read(0, 512);
    }
    for _ in 0..3 {
        rig.write(0, 1);
    }
    rig.read(0, 512);
    rig.read(0, 512);
    let results: Vec<_> = rig.settle().into_iter().map(|(_, result)| result).collect();
    let failed = Err(Errno::IO);
    assert_eq!(results, [Ok(512), failed, failed, Ok(1024), Ok(1024), Ok(512), Ok(0)]);
    assert_eq!(rig.world.struck().len(), 3);
}

#[test]
fn short_transfers_are_whole_blocks_on_a_disk_and_anything_on_a_file() {
    let mut odd = false;
    for seed in 0..50 {
        for options in [small(), small().file(65_536)] {
            let direct = options.direct;
            let mut rig = Rig::new(seed, options);
            rig.world.inject(Fault::new(Effect::Short));
            rig.read(0, 4096);
            let Ok(bytes) = rig.settle()[0].1 else { panic!("failed") };
            assert!(bytes > 0 && bytes < 4096);
            odd |= bytes % 512 != 0;
            assert!(!direct || bytes % 512 == 0);
        }
    }
    assert!(odd);
}

#[test]
fn file_grows_to_its_capacity_and_then_is_full() {
    let mut rig = Rig::new(1, DiskOptions::new(512).file(1536));
    rig.write(512, 1);
    rig.settle();
    assert_eq!(rig.disk.size(), 1536);
    rig.write(1024, 2);
    rig.write(1536, 2);
    let results: Vec<_> = rig.settle().into_iter().map(|(_, result)| result).collect();
    assert_eq!(results, [Ok(512), Err(Errno::NO_SPACE)]);
    assert_eq!(rig.world.violations().len(), 2, "both went past the end");
}

#[test]
fn duplicate_and_foreign_completions_carry_no_pages() {
    for effect in [Effect::Twice, Effect::Stranger] {
        let mut rig = Rig::new(1, small());
        rig.world.inject(Fault::new(effect).at(0));
        let id = rig.read(0, 512);
        let first = rig.wait();
        assert_eq!((first.len(), first[0].id), (1, id));
        let second = rig.wait();
        assert!(matches!(second[0].buffer, Buffer::None));
        assert_eq!(second[0].id == id, effect == Effect::Twice);
    }
}

#[test]
fn write_that_is_misdirected_lands_elsewhere() {
    let mut rig = Rig::new(1, small());
    rig.world.inject(Fault::new(Effect::Misdirect(4096)));
    rig.write(0, 9);
    assert_eq!(rig.settle(), [(1, Ok(1024))]);
    assert_eq!((rig.disk.read(0, 1), rig.disk.read(4096, 1)), (vec![0], vec![9]));
}

#[test]
fn unsupported_zeroing_changes_nothing() {
    let mut rig = Rig::new(1, small().content(Content::Pattern(4)).without_zero_range());
    let before = rig.disk.bytes();
    let zero = |method| Op::Zero { device: Slot(3), offset: 512, len: 1024, method };
    rig.submit(zero(ZeroMethod::ZeroRange));
    assert_eq!(rig.settle(), [(1, Err(Errno::NOT_SUPPORTED))]);
    assert_eq!(rig.disk.bytes(), before);
    rig.submit(zero(ZeroMethod::PunchHole));
    assert_eq!(rig.settle(), [(2, Ok(0))]);
    assert_eq!(rig.disk.read(512, 1024), [0; 1024]);
}

#[test]
fn power_failure_breaks_the_backend_and_vanishing_only_the_disk() {
    let mut rig = Rig::new(1, small());
    rig.disk.vanish();
    rig.write(0, 1);
    rig.flush();
    assert!(rig.settle().iter().all(|(_, result)| *result == Err(Errno::new(libc::ENODEV))));
    rig.disk.come_back();
    rig.world.crash(Crash::DropAll);
    assert!(rig.backend.wait(None, &mut Vec::new()).is_err());
}

#[test]
fn operation_that_never_ends_is_a_stall_not_a_hang() {
    let mut rig = Rig::new(1, small());
    rig.world.inject(Fault::new(Effect::Never));
    rig.read(0, 512);
    assert!(rig.wait().is_empty());
    assert_eq!((rig.world.stalls(), rig.world.in_flight()), (1, 1));
    let before = rig.world.now();
    rig.backend.wait(Some(Duration::from_millis(5)), &mut Vec::new()).unwrap();
    assert_eq!(rig.world.now().nanos_since(before), 5_000_000);
}

#[test]
fn delayed_operation_is_overtaken() {
    let mut rig = Rig::new(1, small());
    rig.world.inject(Fault::new(Effect::Delay(Duration::from_secs(1))).at(0));
    let late = rig.read(0, 512);
    let early = rig.read(0, 512);
    let order: Vec<OpId> = [rig.wait(), rig.wait()].concat_ids();
    assert_eq!(order, [early, late]);
}

trait ConcatIds {
    fn concat_ids(self) -> Vec<OpId>;
}

impl ConcatIds for [Vec<Completion>; 2] {
    fn concat_ids(self) -> Vec<OpId> {
        self.into_iter().flatten().map(|done| done.id).collect()
    }
}

#[test]
fn script_goes_through_all_orders() {
    let mut seen = Vec::new();
    for first in 0..3 {
        for second in 0..2 {
            let mut rig = Rig::new(1, small());
            rig.world.set_schedule(Schedule::Script(vec![first, second]));
            for _ in 0..3 {
                rig.read(0, 512);
            }
            let order: Vec<u64> = (0..3).map(|_| rig.wait()[0].id.0).collect();
            assert_eq!(rig.world.fanout(), [3, 2, 1]);
            seen.push(order);
        }
    }
    seen.sort();
    seen.dedup();
    assert_eq!(seen.len(), 6);
}

#[test]
fn engine_bugs_are_violations() {
    let mut rig = Rig::new(1, small());
    rig.world.forbid_overlap();
    rig.write(0, 1);
    rig.read(512, 512);
    rig.read(65_536, 512);
    rig.submit(Op::Flush { device: Slot(9) });
    rig.backend.detach(Slot(3));
    let text = rig.world.violations().join("\n");
    for expected in ["overlaps", "past the end", "slot 9 that is not attached", "in flight"] {
        assert!(text.contains(expected), "{expected} is not in {text}");
    }
}

#[test]
fn reads_are_counted_by_range() {
    let mut rig = Rig::new(1, small());
    rig.read(512, 1024);
    rig.read(1024, 1024);
    rig.settle();
    let counts = rig.world.read_counts(rig.disk.id(), 0..4096);
    assert_eq!(
        counts,
        [(0..512, 0), (512..1024, 1), (1024..1536, 2), (1536..2048, 1), (2048..4096, 0)]
    );
}

#[test]
fn large_disks_cost_nothing() {
    let world = SimWorld::new(1);
    let disk = world.add_disk(DiskOptions::new(1 << 60).content(Content::Pattern(1)));
    assert_ne!(disk.read(1 << 59, 64), disk.read(1 << 58, 64));
    let _ = world.snapshot().after(Crash::KeepAll, 1);
}

#[test]
fn without_power_nothing_reaches_a_disk_and_no_wait_ends() {
    let mut rig = Rig::new(1, small());
    rig.backend = rig.world.backend().without_power_after(2);
    rig.backend.attach(Slot(3), &rig.disk.device()).unwrap();
    rig.write(0, 1);
    assert_eq!(rig.wait().len(), 1);
    rig.write(2048, 2);
    rig.write(4096, 3);
    let mut done = Vec::new();
    rig.backend.wait(None, &mut done).expect_err("the power is gone");
    assert!(done.is_empty());
    let after = rig.world.snapshot().after(Crash::KeepAll, 1).disk(rig.disk.id());
    assert_eq!([after.read(0, 1), after.read(2048, 1), after.read(4096, 1)], [[1], [2], [0]]);
}

#[test]
fn a_film_has_a_picture_of_every_change_and_every_flush() {
    let mut rig = Rig::new(1, small());
    let (backend, film) = rig.world.backend().filmed();
    rig.backend = backend;
    rig.backend.attach(Slot(3), &rig.disk.device()).unwrap();
    rig.write(0, 1);
    rig.settle();
    rig.read(0, 512);
    rig.settle();
    rig.flush();
    rig.settle();
    rig.write(2048, 2);
    // In flight: it may be kept, but no operation ended since the last picture.
    let blocks: Vec<usize> = film.pictures().iter().map(Snapshot::volatile_blocks).collect();
    assert_eq!(blocks, [0, 2, 0]);
    rig.settle();
    assert_eq!(film.pictures().len(), 4);
}
