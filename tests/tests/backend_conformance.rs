//! One suite for all backends: the rules of `kcopy::backend`, each as a test, on io_uring, threads
//! and the simulated device. What holds on real devices only is in the modules `files` and
//! `devices` at the end.
#![expect(clippy::unwrap_used, reason = "a rule is a function that the tests of all backends call")]
#![expect(clippy::disallowed_methods, reason = "a test that hangs is to end, and waits are timed")]

use std::collections::BTreeSet;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use kcopy::backend::sim::{DiskOptions, SimWorld, share};
use kcopy::backend::threads::ThreadsBackend;
use kcopy::backend::uring::UringBackend;
use kcopy::backend::{Backend, Buffer, Completion, Op, OpId, Slot, Window, ZeroMethod};
use kcopy::device::{Direct, OpenOptions};
use kcopy::pool::Pool;
use kcopy::{BackendKind, Device, Errno, Pages};
use tests::data::{self, Random};
use tests::tmp;

const PAGE: u64 = 4096;
const SIZE: u64 = 1 << 20;
const POOL: u32 = 256;
const DEPTH: u32 = 32;
const LONG: Duration = Duration::from_secs(30);
const HERE: Slot = Slot(0);

/// Looks at bytes behind a backend's back.
type Peek = Box<dyn Fn(u64, usize) -> Vec<u8> + Send>;

/// A backend with one device of [`SIZE`] bytes, the stream of seed 1, attached as [`HERE`].
struct Rig {
    backend: Box<dyn Backend>,
    pool: Pool,
    device: Device,
    peek: Peek,
    next: u64,
    /// Holds the file.
    _dir: Option<tempfile::TempDir>,
}

type Make = fn(&Pool, u32) -> Box<dyn Backend>;

fn uring(pool: &Pool, depth: u32) -> Box<dyn Backend> {
    Box::new(UringBackend::new(&pool.memory(), depth).expect("io_uring is to be had here"))
}

fn threads(_: &Pool, depth: u32) -> Box<dyn Backend> {
    Box::new(ThreadsBackend::new(4, depth))
}

fn on_file(make: Make, direct: Direct) -> Rig {
    let dir = tmp::on_disk();
    let path = dir.path().join("device");
    data::write_file(&path, 1, SIZE);
    let mut rig = on_path(make, &path, direct);
    rig._dir = Some(dir);
    rig
}

fn on_path(make: Make, path: &std::path::Path, direct: Direct) -> Rig {
    let device = Device::open(path, &OpenOptions::destination().direct(direct)).unwrap();
    let pool = Pool::new(POOL).unwrap();
    let mut backend = make(&pool, DEPTH);
    backend.attach(HERE, &device).unwrap();
    let path: PathBuf = path.to_owned();
    let peek: Peek = Box::new(move |offset, len| data::read_at(&path, offset, len));
    Rig { backend, pool, device, peek, next: 0, _dir: None }
}

fn uring_direct() -> Rig {
    on_file(uring, Direct::Auto)
}

fn uring_cached() -> Rig {
    on_file(uring, Direct::Never)
}

fn threads_direct() -> Rig {
    on_file(threads, Direct::Auto)
}

fn threads_cached() -> Rig {
    on_file(threads, Direct::Never)
}

fn simulated() -> Rig {
    let world = SimWorld::new(7);
    let disk = world.add_disk(DiskOptions::new(SIZE).file(1 << 30));
    disk.write(0, &data::bytes(1, usize::try_from(SIZE).unwrap()));
    let device = disk.device();
    let mut backend: Box<dyn Backend> = Box::new(world.backend_with_room(DEPTH as usize));
    backend.attach(HERE, &device).unwrap();
    let pool = Pool::new(POOL).unwrap();
    let peek: Peek = Box::new(move |offset, len| disk.read(offset, len));
    Rig { backend, pool, device, peek, next: 0, _dir: None }
}

fn window(start: u32, len: u32) -> Window {
    Window { start, len }
}

impl Rig {
    fn pages(&mut self, bytes: u64) -> Pages {
        let count = u32::try_from(bytes.div_ceil(PAGE)).unwrap();
        self.pool.take(count).expect("the pool has room")
    }

    fn submit(&mut self, op: Op) -> OpId {
        let id = OpId(self.next);
        self.next += 1;
        self.backend.submit(id, op).expect("the backend has room");
        id
    }

    fn read(&mut self, offset: u64, len: u32) -> OpId {
        let pages = self.pages(len.into());
        self.submit(Op::Read { device: HERE, offset, pages, window: window(0, len) })
    }

    /// Writes the stream of `seed` from its byte `offset` on.
    fn write(&mut self, seed: u64, offset: u64, len: u32) -> OpId {
        let mut pages = self.pages(len.into());
        data::fill(seed, offset, &mut pages[..len as usize]);
        let pages = share(pages);
        self.submit(Op::Write { device: HERE, offset, pages, window: window(0, len) })
    }

    /// Waits until `count` operations have ended.
    fn collect(&mut self, count: usize) -> Vec<Completion> {
        let mut done = Vec::new();
        let limit = Instant::now() + LONG;
        while done.len() < count {
            self.backend.wait(Some(LONG), &mut done).unwrap();
            assert!(Instant::now() < limit, "only {} of {count} ended", done.len());
        }
        assert_eq!(done.len(), count, "more ended than were submitted");
        done
    }

    /// Submits one operation and waits for it.
    fn perform(&mut self, op: Op) -> Completion {
        let id = self.submit(op);
        let done = self.collect(1).pop().unwrap();
        assert_eq!(done.id, id);
        done
    }

    fn read_bytes(&mut self, offset: u64, len: u32) -> Vec<u8> {
        self.read(offset, len);
        let done = self.collect(1).pop().unwrap();
        let count = done.result.unwrap() as usize;
        let Buffer::Exclusive(pages) = done.buffer else { panic!("a read brings its pages") };
        pages[..count].to_vec()
    }
}

fn stream(seed: u64, offset: u64, len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    data::fill(seed, offset, &mut bytes);
    bytes
}

fn operations_end_exactly_once_and_do_what_they_say(mut rig: Rig) {
    let mut random = Random::new(3);
    let blocks = SIZE / PAGE;
    let mut newer = BTreeSet::new();
    for _ in 0..60 {
        let mut expected = BTreeSet::new();
        let mut used = BTreeSet::new();
        let mut reads = Vec::new();
        for _ in 0..DEPTH {
            let block = random.below(blocks);
            // Two operations in flight on the same bytes have no order.
            if !used.insert(block) {
                continue;
            }
            let offset = block * PAGE;
            if random.below(2) == 0 {
                expected.insert(rig.write(2, offset, 4096));
                newer.insert(block);
            } else {
                let id = rig.read(offset, 4096);
                reads.push((id, offset, if newer.contains(&block) { 2 } else { 1 }));
                expected.insert(id);
            }
        }
        for done in rig.collect(expected.len()) {
            assert!(expected.remove(&done.id), "{:?} ended twice", done.id);
            assert_eq!(done.result, Ok(4096));
            if let Some((_, offset, seed)) = reads.iter().find(|(id, ..)| *id == done.id) {
                let Buffer::Exclusive(pages) = done.buffer else { panic!("a read's pages") };
                assert!(pages[..] == stream(*seed, *offset, 4096)[..], "wrong bytes at {offset}");
            }
        }
        assert_eq!(rig.pool.in_use(), 0);
    }
    for block in newer {
        assert_eq!((rig.peek)(block * PAGE, 4096), stream(2, block * PAGE, 4096));
    }
}

fn a_full_backend_hands_the_operation_back_untouched(mut rig: Rig) {
    let mut count = 0;
    while rig.backend.room() > 0 {
        let offset = u64::from(count) * PAGE;
        rig.read(offset, 4096);
        count += 1;
    }
    assert_eq!(count, DEPTH);
    let mut pages = rig.pages(PAGE);
    data::fill(9, 0, &mut pages);
    let pages = share(pages);
    let op = Op::Write { device: HERE, offset: 8192, pages, window: window(512, 1024) };
    let rejected = rig.backend.submit(OpId(99), op).expect_err("there is no room");
    let Op::Write { device, offset, pages, window } = rejected.op else { panic!("another op") };
    assert_eq!((device, offset, window.start, window.len), (HERE, 8192, 512, 1024));
    assert_eq!(pages[..], stream(9, 0, 4096)[..]);
    drop(pages);
    rig.collect(DEPTH as usize);
    assert_eq!(rig.backend.room(), DEPTH as usize);
    assert_eq!((rig.peek)(8192, 4096), stream(1, 8192, 4096), "the refused write was not made");
}

fn windows_choose_part_of_the_pages(mut rig: Rig) {
    let mut pages = rig.pages(3 * PAGE);
    pages.fill(0xee);
    let op = Op::Read { device: HERE, offset: 12288, pages, window: window(4096, 4096) };
    let done = rig.perform(op);
    let Buffer::Exclusive(mut pages) = done.buffer else { panic!("a read's pages") };
    assert!(pages[..4096].iter().chain(&pages[8192..]).all(|byte| *byte == 0xee));
    assert_eq!(pages[4096..8192], stream(1, 12288, 4096)[..]);
    pages[8192..].fill(0x55);
    let pages = share(pages);
    let op = Op::Write { device: HERE, offset: 0, pages, window: window(8192, 4096) };
    let done = rig.perform(op);
    assert_eq!(done.result, Ok(4096));
    assert!(matches!(done.buffer, Buffer::Shared(_)), "a write brings its pages");
    assert_eq!((rig.peek)(0, 4096), vec![0x55; 4096]);
    assert_eq!((rig.peek)(4096, 4096), stream(1, 4096, 4096));
}

fn one_buffer_is_written_to_many_places_at_once(mut rig: Rig) {
    let mut pages = rig.pages(PAGE);
    data::fill(4, 0, &mut pages);
    let pages = share(pages);
    for place in 0..8 {
        let (pages, offset) = (pages.clone(), place * 2 * PAGE);
        rig.submit(Op::Write { device: HERE, offset, pages, window: window(0, 4096) });
    }
    drop(pages);
    rig.collect(8);
    assert_eq!(rig.pool.in_use(), 0, "the last completion gives the pages back");
    for place in 0..8 {
        assert_eq!((rig.peek)(place * 2 * PAGE, 4096), stream(4, 0, 4096));
    }
}

fn bytes_that_fit_no_alignment_are_read_and_written(mut rig: Rig) {
    for (offset, len) in [(100, 777), (1, 1), (4095, 2), (511, 4098), (65_537, 131_071)] {
        assert_eq!(rig.read_bytes(offset, len), stream(1, offset, len as usize));
        rig.write(6, offset, len);
        assert_eq!(rig.collect(1)[0].result, Ok(len));
        assert_eq!((rig.peek)(offset, len as usize), stream(6, offset, len as usize));
        assert_eq!(rig.read_bytes(offset, len), stream(6, offset, len as usize));
        rig.write(1, offset, len);
        rig.collect(1);
    }
    let all = usize::try_from(SIZE).unwrap();
    assert!((rig.peek)(0, all) == data::bytes(1, all), "nothing beside them has changed");
}

fn a_read_stops_at_the_end_and_finds_nothing_behind_it(mut rig: Rig) {
    assert_eq!(rig.read_bytes(SIZE - 4096, 16_384), stream(1, SIZE - 4096, 4096));
    assert_eq!(rig.read_bytes(SIZE - 100, 4096), stream(1, SIZE - 100, 100));
    assert_eq!(rig.read_bytes(SIZE, 4096), Vec::<u8>::new());
    assert_eq!(rig.read_bytes(SIZE + 1000, 77), Vec::<u8>::new());
}

fn a_write_makes_a_file_grow(mut rig: Rig) {
    rig.write(8, SIZE, 8192);
    assert_eq!(rig.collect(1)[0].result, Ok(8192));
    rig.write(8, SIZE + 8192, 100);
    assert_eq!(rig.collect(1)[0].result, Ok(100));
    assert_eq!((rig.peek)(SIZE, 8292), stream(8, SIZE, 8292));
}

fn zeroed_ranges_read_as_zeros_and_the_size_stays(mut rig: Rig) {
    for (offset, method) in [(8192, ZeroMethod::PunchHole), (65_536, ZeroMethod::ZeroRange)] {
        let done = rig.perform(Op::Zero { device: HERE, offset, len: 16_384, method });
        if done.result == Err(Errno::NOT_SUPPORTED) {
            // A file system in memory has no ZERO_RANGE.
            assert_eq!((rig.peek)(offset, 16_384), stream(1, offset, 16_384));
            continue;
        }
        assert_eq!(done.result, Ok(0));
        assert!(matches!(done.buffer, Buffer::None));
        assert_eq!((rig.peek)(offset, 16_384), vec![0; 16_384]);
        assert_eq!(rig.read_bytes(offset, 16_384), vec![0; 16_384]);
        let (before, behind) = (offset - 4096, offset + 16_384);
        assert_eq!((rig.peek)(before, 4096), stream(1, before, 4096));
        assert_eq!((rig.peek)(behind, 4096), stream(1, behind, 4096));
    }
    let (offset, method) = (SIZE - 4096, ZeroMethod::PunchHole);
    rig.perform(Op::Zero { device: HERE, offset, len: 65_536, method });
    assert_eq!(rig.device.refresh_size().unwrap(), SIZE, "zeroing keeps the size");
}

fn a_discard_leaves_its_neighbours_alone(mut rig: Rig) {
    let done = rig.perform(Op::Discard { device: HERE, offset: 8192, len: 16_384 });
    assert!(matches!(done.result, Ok(0) | Err(Errno::NOT_SUPPORTED)), "{:?}", done.result);
    assert_eq!((rig.peek)(0, 8192), stream(1, 0, 8192));
    assert_eq!((rig.peek)(24_576, 8192), stream(1, 24_576, 8192));
}

fn a_flush_ends_without_pages(mut rig: Rig) {
    for _ in 0..2 {
        rig.write(5, 4096, 4096);
        rig.collect(1);
        let done = rig.perform(Op::Flush { device: HERE });
        assert_eq!(done.result, Ok(0));
        assert!(matches!(done.buffer, Buffer::None));
    }
}

fn a_wake_before_the_wait_is_not_lost(mut rig: Rig) {
    let waker = rig.backend.waker();
    for _ in 0..3 {
        waker.wake();
        let mut done = Vec::new();
        let start = Instant::now();
        rig.backend.wait(Some(LONG), &mut done).unwrap();
        assert!(done.is_empty() && start.elapsed() < LONG / 2, "the wake was lost");
    }
    // A wake does not hide what ends meanwhile.
    rig.read(0, 4096);
    waker.wake();
    rig.collect(1);
}

fn a_wait_without_work_returns_when_told(mut rig: Rig) {
    let mut done = Vec::new();
    rig.backend.wait(Some(Duration::ZERO), &mut done).unwrap();
    rig.backend.wait(Some(Duration::from_millis(5)), &mut done).unwrap();
    assert!(done.is_empty());
    assert_eq!(rig.read_bytes(0, 512).len(), 512);
}

fn a_poll_starts_what_was_taken(mut rig: Rig) {
    rig.read(0, 4096);
    let (mut done, limit) = (Vec::new(), Instant::now() + LONG);
    while done.is_empty() && Instant::now() < limit {
        rig.backend.wait(Some(Duration::ZERO), &mut done).unwrap();
        std::thread::yield_now();
    }
    assert_eq!(done.len(), 1);
}

fn dropping_waits_for_what_is_in_flight_and_gives_pages_back(mut rig: Rig) {
    for place in 0..u64::from(DEPTH) {
        if place % 2 == 0 {
            rig.read(place * PAGE, 4096)
        } else {
            rig.write(2, place * PAGE, 4096)
        };
    }
    // Half of them are started, half are not.
    rig.backend.wait(Some(Duration::ZERO), &mut Vec::new()).unwrap();
    for place in 0..rig.backend.room() as u64 {
        rig.read(place * PAGE, 4096);
    }
    let Rig { backend, pool, .. } = rig;
    drop(backend);
    assert_eq!(pool.in_use(), 0);
}

fn a_detached_slot_takes_another_device(mut rig: Rig) {
    rig.read_bytes(0, 4096);
    rig.backend.detach(HERE);
    rig.backend.attach(HERE, &rig.device).unwrap();
    assert_eq!(rig.read_bytes(0, 4096), stream(1, 0, 4096));
    // Far slots work as well as near ones.
    let far = Slot(1023);
    rig.backend.attach(far, &rig.device).unwrap();
    let pages = rig.pages(PAGE);
    let done = rig.perform(Op::Read { device: far, offset: 4096, pages, window: window(0, 4096) });
    let Buffer::Exclusive(pages) = done.buffer else { panic!("a read's pages") };
    assert_eq!(pages[..], stream(1, 4096, 4096)[..]);
    rig.backend.detach(far);
}

fn it_tells_what_it_is(mut rig: Rig) {
    let before = rig.backend.syscalls();
    rig.read_bytes(0, 4096);
    assert!(rig.backend.syscalls() > before || rig.backend.kind() == BackendKind::Simulated);
    assert!(!rig.backend.describe().is_empty());
    assert!(!rig.backend.kind().name().is_empty());
    assert_eq!(rig.backend.room(), DEPTH as usize);
}

/// The suite for one backend.
macro_rules! conforms {
    ($($backend:ident),*) => { $(mod $backend {
        conforms!(@ $backend:
            operations_end_exactly_once_and_do_what_they_say,
            a_full_backend_hands_the_operation_back_untouched,
            windows_choose_part_of_the_pages,
            one_buffer_is_written_to_many_places_at_once,
            bytes_that_fit_no_alignment_are_read_and_written,
            a_read_stops_at_the_end_and_finds_nothing_behind_it,
            a_write_makes_a_file_grow,
            zeroed_ranges_read_as_zeros_and_the_size_stays,
            a_discard_leaves_its_neighbours_alone,
            a_flush_ends_without_pages,
            a_wake_before_the_wait_is_not_lost,
            a_wait_without_work_returns_when_told,
            a_poll_starts_what_was_taken,
            dropping_waits_for_what_is_in_flight_and_gives_pages_back,
            a_detached_slot_takes_another_device,
            it_tells_what_it_is);
    })* };
    (@ $backend:ident: $($rule:ident),*) => { $(#[test] fn $rule() {
        super::$rule(super::$backend());
    })* };
}

conforms!(uring_direct, uring_cached, threads_direct, threads_cached, simulated);

/// What only real threads and real files show.
mod files {
    use super::*;

    fn each(check: impl Fn(Make)) {
        for make in [uring as Make, threads] {
            check(make);
        }
    }

    #[test]
    fn a_wake_from_another_thread_ends_an_endless_wait() {
        each(|make| {
            let mut rig = on_file(make, Direct::Auto);
            let waker = rig.backend.waker();
            let bell = std::thread::spawn(move || {
                std::thread::sleep(Duration::from_millis(20));
                waker.wake();
            });
            let mut done = Vec::new();
            rig.backend.wait(None, &mut done).unwrap();
            assert!(done.is_empty());
            bell.join().unwrap();
        });
    }

    #[test]
    fn a_wait_with_a_limit_takes_about_that_long() {
        each(|make| {
            let mut rig = on_file(make, Direct::Auto);
            let start = Instant::now();
            rig.backend.wait(Some(Duration::from_millis(30)), &mut Vec::new()).unwrap();
            let took = start.elapsed();
            assert!(took >= Duration::from_millis(29) && took < Duration::from_secs(5), "{took:?}");
        });
    }

    #[test]
    fn a_backend_made_here_works_on_another_thread() {
        each(|make| {
            let Rig { backend, pool, device, _dir, .. } = on_file(make, Direct::Auto);
            let other = std::thread::spawn(move || {
                let peek: Peek = Box::new(|_, _| Vec::new());
                let mut rig = Rig { backend, pool, device, peek, next: 0, _dir: None };
                assert_eq!(rig.read_bytes(4096, 4096), stream(1, 4096, 4096));
                rig.backend.detach(HERE);
                rig.backend.attach(HERE, &rig.device).unwrap();
                assert_eq!(rig.read_bytes(0, 4096), stream(1, 0, 4096));
            });
            other.join().unwrap();
        });
    }

    /// A ring in its newest modes serves one thread. Another one gets an error, and memory that
    /// the kernel may still write to stays reserved for ever (rule 8).
    #[test]
    fn a_ring_on_the_wrong_thread_fails_and_keeps_its_pages() {
        let mut rig = on_file(uring, Direct::Auto);
        let one_thread = rig.backend.describe().contains("single issuer");
        let mut rig = std::thread::scope(|scope| {
            let first = scope.spawn(move || {
                rig.read(0, 4096);
                rig.backend.wait(Some(Duration::ZERO), &mut Vec::new()).unwrap();
                rig.read(4096, 4096);
                rig
            });
            first.join().unwrap()
        });
        let waited = rig.backend.wait(Some(LONG), &mut Vec::new());
        if one_thread {
            assert!(waited.unwrap_err().to_string().contains("the thread that used it first"));
        }
        let Rig { backend, pool, .. } = rig;
        drop(backend);
        assert!(pool.in_use() <= 2);
        assert!(!one_thread || pool.in_use() > 0, "pages in flight were given back");
    }

    #[test]
    fn a_backend_gives_its_descriptors_back() {
        let open = || std::fs::read_dir("/proc/self/fd").unwrap().count();
        let exercise = |make: Make| {
            let mut rig = on_file(make, Direct::Auto);
            rig.read_bytes(0, 4096);
        };
        // Other tests open and close files beside this one: only growth that goes on is a leak.
        each(|make| {
            let before = open();
            for _ in 0..100 {
                exercise(make);
            }
            assert!(open() < before + 90, "{before} descriptors have become {}", open());
        });
    }

    #[test]
    fn a_read_only_device_refuses_writes_with_its_errno() {
        each(|make| {
            let dir = tmp::on_disk();
            let path = dir.path().join("device");
            data::write_file(&path, 1, SIZE);
            let device = Device::open(&path, &OpenOptions::source()).unwrap();
            let mut rig = on_path(make, &path, Direct::Auto);
            rig.backend.detach(HERE);
            rig.backend.attach(HERE, &device).unwrap();
            rig.write(2, 0, 4096);
            assert_eq!(rig.collect(1)[0].result, Err(Errno::BAD_DESCRIPTOR));
            assert_eq!((rig.peek)(0, 4096), stream(1, 0, 4096));
        });
    }

    #[test]
    fn a_device_that_shrinks_reads_short() {
        each(|make| {
            let mut rig = on_file(make, Direct::Auto);
            let path = rig.device.path().to_owned();
            File::options().write(true).open(path).unwrap().set_len(SIZE - 1000).unwrap();
            assert_eq!(rig.read_bytes(SIZE - 4096, 4096).len(), 3096);
            assert_eq!(rig.read_bytes(SIZE - 4096 + 3584, 512).len(), 0);
        });
    }

    /// Direct and cached writes in the same page of the cache could undo each other, so on files
    /// whole pages are the unit of direct I/O, also where the device would take 512 bytes.
    #[test]
    fn neighbours_in_one_page_do_not_undo_each_other() {
        each(|make| {
            let mut rig = on_file(make, Direct::Auto);
            for round in 0..200 {
                let seed = 10 + round;
                for page in 0..8 {
                    let offset = page * 16_384;
                    rig.write(seed, offset, 8192 + 512);
                    rig.write(seed, offset + 8704, 1);
                    rig.write(seed, offset + 8705, 3583);
                }
                rig.collect(24);
                for page in 0..8 {
                    let offset = page * 16_384;
                    let found = rig.read_bytes(offset, 12_288);
                    assert!(found == stream(seed, offset, 12_288), "round {round}, page {page}");
                }
            }
        });
    }

    #[test]
    fn a_cached_source_is_read_from_the_cache_and_right() {
        each(|make| {
            let mut rig = on_file(make, Direct::Auto);
            let path = rig.device.path().to_owned();
            // Newer in the cache than on the disk.
            let file = File::options().write(true).open(path).unwrap();
            file.write_all_at(&stream(3, 0, 262_144), 0).unwrap();
            assert_eq!(rig.read_bytes(0, 131_072), stream(3, 0, 131_072));
            assert_eq!(rig.read_bytes(131_072, 131_072), stream(3, 131_072, 131_072));
        });
    }
}

/// Block devices, past the page cache.
mod devices {
    use super::*;
    use tests::loopdev::{Attach, LoopDevice};
    use tests::mount::Mounted;

    fn each(check: impl Fn(&mut Rig, u32)) {
        for make in [uring as Make, threads] {
            for logical_block in [512, 4096] {
                let dir = tmp::on_disk();
                let attach = Attach { logical_block, ..Attach::default() };
                let disk = LoopDevice::create_with(dir.path(), "disk", SIZE, attach);
                data::overwrite(disk.path(), 1, SIZE);
                check(&mut on_path(make, disk.path(), Direct::Auto), logical_block);
            }
        }
    }

    #[test]
    fn root_facts_of_a_loop_device_are_found() {
        each(|rig, logical_block| {
            let facts = rig.device.facts();
            assert_eq!((facts.size, facts.logical_block), (SIZE, logical_block));
            assert!(facts.direct.unwrap().offset <= logical_block);
        });
    }

    #[test]
    fn root_a_discard_is_made_where_it_was_asked_for_and_nowhere_else() {
        each(|rig, _| {
            for offset in [8192, 131_072] {
                let done = rig.perform(Op::Discard { device: HERE, offset, len: 16_384 });
                assert_eq!(done.result, Ok(0), "{:?}", rig.backend);
                assert_eq!(rig.read_bytes(offset, 16_384), vec![0; 16_384], "a loop device zeroes");
            }
            for (offset, len) in [(0, 8192), (24_576, 4096), (147_456, 4096)] {
                assert_eq!(rig.read_bytes(offset, len), stream(1, offset, len as usize));
            }
            // Behind the end: the same error on every way.
            let done = rig.perform(Op::Discard { device: HERE, offset: SIZE, len: 4096 });
            assert_eq!(done.result, Err(Errno::INVALID));
            assert_eq!(rig.backend.room(), DEPTH as usize);
        });
    }

    #[test]
    fn root_blocks_and_less_than_blocks_are_read_and_written() {
        each(|rig, logical_block| {
            for (offset, len) in [(0, 65_536), (logical_block.into(), logical_block), (512, 512)] {
                assert_eq!(rig.read_bytes(offset, len), stream(1, offset, len as usize));
                rig.write(2, offset, len);
                assert_eq!(rig.collect(1)[0].result, Ok(len));
                assert_eq!(rig.perform(Op::Flush { device: HERE }).result, Ok(0));
                assert_eq!(rig.read_bytes(offset, len), stream(2, offset, len as usize));
                rig.write(1, offset, len);
                rig.collect(1);
            }
        });
    }

    #[test]
    fn root_a_device_has_an_end() {
        each(|rig, _| {
            assert_eq!(rig.read_bytes(SIZE - 4096, 8192).len(), 4096);
            assert_eq!(rig.read_bytes(SIZE, 4096).len(), 0);
            rig.write(2, SIZE, 4096);
            assert_eq!(rig.collect(1)[0].result, Err(Errno::NO_SPACE));
        });
    }

    #[test]
    fn root_zeroing_works_on_whole_blocks_and_says_so_otherwise() {
        each(|rig, _| {
            for (offset, method) in [(8192, ZeroMethod::PunchHole), (65_536, ZeroMethod::ZeroRange)]
            {
                let zero = |offset, len| Op::Zero { device: HERE, offset, len, method };
                assert_eq!(rig.perform(zero(offset, 16_384)).result, Ok(0));
                assert_eq!(rig.read_bytes(offset - 4096, 4096), stream(1, offset - 4096, 4096));
                assert_eq!(rig.read_bytes(offset, 16_384), vec![0; 16_384]);
                assert_eq!(rig.perform(zero(offset + 100, 512)).result, Err(Errno::INVALID));
            }
        });
    }

    #[test]
    fn root_a_full_file_system_says_so_and_takes_the_rest_later() {
        for (make, direct) in [
            (uring as Make, Direct::Auto),
            (uring, Direct::Never),
            (threads, Direct::Auto),
            (threads, Direct::Never),
        ] {
            let dir = tmp::on_disk();
            let small = Mounted::ext4(LoopDevice::create(dir.path(), "disk", 4 << 20));
            let path = small.path().join("device");
            data::write_file(&path, 1, SIZE);
            let mut rig = on_path(make, &path, direct);
            let mut end = SIZE;
            let refused = loop {
                rig.write(1, end, 262_144);
                match rig.collect(1)[0].result {
                    Ok(0) => panic!("nothing was written and nothing was wrong"),
                    Ok(count) => end += u64::from(count),
                    Err(errno) => break errno,
                }
                assert!(end < 8 << 20, "the file system is not full");
            };
            assert_eq!(refused, Errno::NO_SPACE);
            assert_eq!(rig.read_bytes(end - 4096, 4096), stream(1, end - 4096, 4096));
            rig.write(2, 0, 4096);
            assert_eq!(rig.collect(1)[0].result, Ok(4096), "what is there can be written over");
        }
    }

    #[test]
    fn root_a_claimed_device_cannot_be_claimed_again() {
        each(|rig, _| {
            let again = Device::open(rig.device.path(), &OpenOptions::destination());
            assert_eq!(again.unwrap_err().kind, kcopy::device::OpenErrorKind::InUse);
            Device::open(rig.device.path(), &OpenOptions::source()).unwrap();
        });
    }
}
