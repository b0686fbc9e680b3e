//! The kernel's behaviour, item by item: what dm-kcopyd does, we do, but where it is wrong.
//!
//! K1 to K10 are the checks that `docs/kernel-parity.md` rests on; `errors_*` are the rows of the
//! kernel's table of error semantics, with the flag `IGNORE_ERROR` ([`OnError::Continue`]) and
//! without it ([`OnError::Stop`]). Where we differ, the test says so and the page lists it.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use kcopy::backend::sim::{Effect, Fault, OpKind, Phase, Schedule, SimDisk, SimWorld};
use kcopy::engine::Config;
use kcopy::pool::Pool;
use kcopy::{
    Client, Errno, Extent, FaultKind, Flags, Job, JobKind, LocalClient, OnError, Outcome,
    SubmitError,
};
use tests::sim::run::{Tally, run};
use tests::sim::scenario::{DiskPlan, JobPlan, Place, Scenario, Zeroing};

/// The size of a piece in these tests: the kernel's sub-job.
const PIECE: u64 = 8192;

fn at(disk: usize, offset: u64) -> Place {
    Place { disk, offset }
}

/// `pieces` pieces from disk 0 to `destinations` others, whose errors are final as the kernel's.
fn copy(pieces: u64, destinations: usize) -> Scenario {
    let disks = (0..=destinations as u64).map(|seed| DiskPlan::new(1 << 20, seed)).collect();
    let to: Vec<Place> = (1..=destinations).map(|disk| at(disk, 0)).collect();
    let job = JobPlan::copy(pieces * PIECE, at(0, 0), &to);
    let job = JobPlan { flags: Flags::NO_ISOLATION, ..job };
    Scenario { requests: 4, ..Scenario::new(7, disks, vec![job]) }
}

fn changed(scenario: Scenario, change: impl FnOnce(&mut JobPlan)) -> Scenario {
    let mut scenario = scenario;
    change(&mut scenario.jobs[0]);
    scenario
}

fn ignoring_errors(scenario: Scenario) -> Scenario {
    changed(scenario, |job| job.on_error = OnError::Continue)
}

fn failing(scenario: Scenario, disk: u32, kind: OpKind, byte: u64) -> Scenario {
    let fault = Fault::new(Effect::Error(Errno::IO)).kind(kind).within(byte..byte + 1);
    let fault = fault.on(kcopy::backend::sim::DiskId(disk));
    Scenario { faults: vec![fault], ..scenario }
}

/// Runs it, every invariant checked, and returns the outcome of its one job.
fn outcome(scenario: &Scenario) -> (Outcome, Tally) {
    let tally = run(scenario, None).unwrap_or_else(|text| panic!("{text}"));
    (tally.outcomes[0].clone(), tally)
}

/// The kernel's pair.
fn pair(outcome: &Outcome) -> (i32, u64) {
    (outcome.read_err(), outcome.write_err())
}

#[test]
fn k1_every_job_has_one_callback_after_submit_and_never_two_at_once() {
    let world = SimWorld::new(1);
    let disks = disks(&world, 2);
    let client = client(&world);
    let (calls, inside, worst) =
        (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
    std::thread::scope(|scope| {
        for thread in 0..2u64 {
            let (client, disks) = (&client, &disks);
            let (calls, inside, worst) = (&calls, &inside, &worst);
            scope.spawn(move || {
                for index in 0..100 {
                    let job = small_copy(disks, (thread * 100 + index) * 512);
                    let (calls, inside, worst) =
                        (Arc::clone(calls), Arc::clone(inside), Arc::clone(worst));
                    let callback = move |outcome: Outcome| {
                        worst
                            .fetch_max(inside.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                        assert!(outcome.is_ok());
                        std::thread::yield_now();
                        inside.fetch_sub(1, Ordering::SeqCst);
                        calls.fetch_add(1, Ordering::SeqCst);
                    };
                    client.submit(job, callback).expect("accepted");
                }
            });
        }
    });
    client.close();
    assert_eq!((calls.load(Ordering::SeqCst), worst.load(Ordering::SeqCst)), (200, 1));
}

#[test]
fn k2_job_of_no_length_is_answered_later_without_io() {
    let world = SimWorld::new(1);
    let disks = disks(&world, 2);
    let mut client = local(&world, 16);
    let seen = Arc::new(Mutex::new(None));
    let slot = Arc::clone(&seen);
    let extent = |disk: &SimDisk| Extent::new(&disk.device(), 0, 0);
    let job = Job::copy(extent(&disks[0])).to(extent(&disks[1]));
    client.submit(job, move |outcome| *slot.lock().unwrap() = Some(outcome)).expect("accepted");
    assert!(seen.lock().unwrap().is_none(), "not inside submit");
    client.run_until_idle().expect("the backend works");
    let outcome = seen.lock().unwrap().take().expect("a callback");
    assert_eq!((pair(&outcome), world.ops()), ((0, 0), 0));
}

#[test]
fn k4_up_to_64_destinations_are_served_and_more_are_refused() {
    for destinations in [1, 2, 8, 9, 64] {
        let scenario = Scenario { depth: 64, ..copy(2, destinations) };
        let (outcome, tally) = outcome(&scenario);
        assert_eq!((pair(&outcome), outcome.destinations.len()), ((0, 0), destinations));
        assert_eq!(tally.stats.bytes_read, 2 * PIECE, "the source is read once");
    }
    let world = SimWorld::new(1);
    let disks = disks(&world, 66);
    let extent = |disk: &SimDisk| Extent::new(&disk.device(), 0, 512);
    let job =
        disks[1..].iter().fold(Job::copy(extent(&disks[0])), |job, disk| job.to(extent(disk)));
    let refusal = local(&world, 16).submit(job, |_| ()).expect_err("65 destinations");
    assert_eq!(refusal, SubmitError::TooManyDestinations { count: 65 });
}

#[test]
fn k5_sequential_writes_are_issued_in_order_though_reads_end_in_any() {
    for seed in 0..50 {
        let scenario = changed(copy(8, 2), |job| job.flags |= Flags::SEQUENTIAL);
        let (world, trace) = traced(&Scenario { seed, ..scenario });
        drop(world);
        for disk in 1..=2 {
            let writes: Vec<u64> = trace
                .iter()
                .filter(|e| e.disk.0 == disk && e.kind == OpKind::Write && e.phase == Phase::Issued)
                .map(|e| e.offset)
                .collect();
            assert!(writes.windows(2).all(|pair| pair[0] < pair[1]), "seed {seed}: {writes:?}");
            assert_eq!(writes.len(), 8);
        }
    }
}

#[test]
fn k6_close_waits_for_all_jobs_and_says_so_when_a_device_never_answers() {
    let world = SimWorld::new(1);
    let disks = disks(&world, 2);
    world.inject(Fault::new(Effect::Never).kind(OpKind::Write));
    let client = client(&world);
    client.submit(small_copy(&disks, 0), |_| ()).expect("accepted");
    let stalled = client.close_within(Duration::from_millis(200)).expect_err("it never ends");
    assert_eq!(stalled.jobs, 1);
    let refusal = client.submit(small_copy(&disks, 0), |_| ()).expect_err("closed");
    assert_eq!(refusal, SubmitError::Closed);
    // A client that can never be closed would wait for ever when it is dropped.
    std::mem::forget(client);
}

#[test]
fn k7_lengths_that_are_no_multiple_of_anything_are_copied_exactly() {
    for (len, offset) in [(1, 0), (511, 0), (513, 0), (4095, 0), (4097, 512), (20_001, 77)] {
        let scenario = changed(copy(1, 2), |job| {
            (job.len, job.sources[0].offset) = (len, offset);
        });
        assert_eq!(pair(&outcome(&scenario).0), (0, 0), "{len} bytes from {offset}");
    }
}

#[test]
fn k8_ten_thousand_jobs_stay_within_a_pool_of_one_piece() {
    let world = SimWorld::new(1);
    world.silence_trace();
    let disks = disks(&world, 2);
    let mut client = local(&world, 2);
    let done = Arc::new(AtomicU64::new(0));
    for index in 0..10_000u64 {
        while !client.has_room() {
            client.turn(None).expect("the backend works");
        }
        let done = Arc::clone(&done);
        let count = move |outcome: Outcome| {
            assert!(outcome.is_ok());
            done.fetch_add(1, Ordering::Relaxed);
        };
        client.submit(small_copy(&disks, index % 128 * 4096), count).expect("accepted");
        assert!(client.engine().pool().in_use() <= 2);
    }
    client.run_until_idle().expect("the backend works");
    assert_eq!(done.load(Ordering::Relaxed), 10_000);
    assert!(client.stats().pool_peak_pages <= 2);
}

#[test]
fn k9_overlap_is_moved_as_memmove_does_or_refused_if_asked() {
    // At any distance: tests/tests/simulation.rs. Here: the refusal.
    let world = SimWorld::new(1);
    let disks = disks(&world, 1);
    let extent = |offset| Extent::new(&disks[0].device(), offset, 8192);
    let job = || Job::copy(extent(0)).to(extent(4096));
    let mut client = local(&world, 16);
    let refusal = client.submit(job().flags(Flags::REFUSE_OVERLAP), |_| ()).expect_err("overlap");
    assert!(matches!(refusal, SubmitError::Overlap { .. }));
    assert_eq!(world.ops(), 0);
    client.submit(job(), |outcome| assert!(outcome.is_ok())).expect("accepted");
    client.run_until_idle().expect("the backend works");
}

#[test]
fn k10_callback_may_submit_drop_the_client_and_panic() {
    let world = SimWorld::new(1);
    let disks = disks(&world, 2);
    let client = client(&world);
    let done = Arc::new(AtomicBool::new(false));
    let (again, disks_too, flag) = (client.clone(), disks.clone(), Arc::clone(&done));
    let (accepted, second_is_accepted) = std::sync::mpsc::channel();
    let first = move |_: Outcome| {
        let second = move |outcome: Outcome| flag.store(outcome.is_ok(), Ordering::SeqCst);
        again.submit(small_copy(&disks_too, 4096), second).expect("accepted inside a callback");
        accepted.send(()).expect("the test waits");
        drop(again);
        panic!("a callback may do this");
    };
    client.submit(small_copy(&disks, 0), first).expect("accepted");
    client.run(small_copy(&disks, 8192)).expect("the client is alive");
    // The jobs end in any order: closed earlier, the client would refuse the second one.
    second_is_accepted.recv().expect("the first callback");
    client.close();
    assert!(done.load(Ordering::SeqCst));
    assert_eq!(client.stats().callback_panics, 1);
}

// The kernel's table of error semantics (K3), row by row.

#[test]
fn errors_read_of_a_whole_job_stops_it_before_any_write() {
    let scenario = failing(copy(1, 2), 0, OpKind::Read, 0);
    let (outcome, tally) = outcome(&scenario);
    assert_eq!((pair(&outcome), tally.stats.bytes_written), ((1, 0), 0));
    let fault = outcome.read.expect("a read error").1;
    // Ours: what, and where.
    assert_eq!((fault.kind, fault.errno, fault.sector.get()), (FaultKind::Device, Errno::IO, 0));
}

#[test]
fn errors_read_when_ignored_makes_zeros_and_goes_on() {
    for (pieces, bad) in [(1, 0), (4, 2)] {
        let scenario = failing(copy(pieces, 2), 0, OpKind::Read, bad * PIECE);
        let (outcome, tally) = outcome(&ignoring_errors(scenario));
        assert_eq!(pair(&outcome), (1, 0));
        // Ours: the list of what is missing.
        let missing = bad * PIECE..(bad + 1) * PIECE;
        assert_eq!(outcome.unreadable.as_slice(), std::slice::from_ref(&missing));
        assert_eq!(tally.stats.bytes_written, 2 * pieces * PIECE);
        let range = usize::try_from(missing.start).unwrap()..usize::try_from(missing.end).unwrap();
        for copy in &tally.after[1..] {
            assert!(copy[range.clone()].iter().all(|byte| *byte == 0), "zeros on all of them");
        }
    }
}

#[test]
fn errors_read_of_one_piece_starts_nothing_new_and_lets_the_others_end() {
    let scenario = failing(copy(40, 2), 0, OpKind::Read, 5 * PIECE);
    let (outcome, tally) = outcome(&scenario);
    assert_eq!(pair(&outcome), (1, 0));
    let written = outcome.destinations.iter().map(|d| d.written.clone());
    assert!(written.into_iter().all(|range| range.start == 0 && range.end <= 5 * PIECE));
    assert!(tally.stats.bytes_read < 20 * PIECE, "stopped soon");
}

#[test]
fn errors_one_destination_sets_its_bit_and_cancels_no_sibling() {
    let scenario = failing(copy(1, 3), 2, OpKind::Write, 0);
    let (outcome, _) = outcome(&scenario);
    assert_eq!(pair(&outcome), (0, 0b010));
    assert_eq!(outcome.destinations[0].written, 0..PIECE);
    assert_eq!(outcome.destinations[2].written, 0..PIECE);
    assert_eq!(outcome.destinations[1].error.expect("an error").errno, Errno::IO);
}

#[test]
fn errors_one_destination_of_a_split_job_starts_nothing_new_and_lets_the_others_end() {
    for seed in 0..50 {
        let scenario = Scenario { seed, ..failing(copy(40, 3), 2, OpKind::Write, 5 * PIECE) };
        let (outcome, tally) = outcome(&scenario);
        assert_eq!(pair(&outcome), (0, 0b010), "seed {seed}");
        assert!(tally.stats.bytes_read < 20 * PIECE, "seed {seed}: stopped soon");
        // What was read was written to the two others: none was cancelled.
        for healthy in [0, 2] {
            let written = &outcome.destinations[healthy].written;
            assert_eq!((written.start, written.end), (0, tally.stats.bytes_read), "seed {seed}");
        }
        // Ours: where, and what is surely there.
        let failed = &outcome.destinations[1];
        assert_eq!(failed.error.expect("an error").sector.get(), 5 * PIECE / 512);
        assert_eq!(failed.written, 0..5 * PIECE, "seed {seed}");
    }
}

#[test]
fn errors_nothing_that_failed_is_tried_again() {
    for kind in [OpKind::Read, OpKind::Write] {
        let mut scenario = copy(1, 1);
        scenario.faults = vec![Fault::new(Effect::Error(Errno::IO)).kind(kind).times(1)];
        let (outcome, tally) = outcome(&scenario);
        let (expected, operations) = if kind == OpKind::Read { ((1, 0), 1) } else { ((0, 1), 2) };
        assert_eq!((pair(&outcome), tally.ops), (expected, operations), "{kind:?}");
    }
}

#[test]
fn errors_job_that_cannot_work_is_refused_at_submission_with_the_reason() {
    // The kernel finds out when it submits the I/O: all bits are set, or a read error.
    use kcopy::backend::sim::DiskOptions;
    let world = SimWorld::new(1);
    let good = world.add_disk(DiskOptions::new(1 << 20)).device();
    let fixed = world.add_disk(DiskOptions::new(1 << 20).read_only()).device();
    let at = |device: &kcopy::Device, offset, len| Extent::new(device, offset, len);
    let copy = |from: Extent, to: Extent| Job::copy(from).to(to);
    let mut client = local(&world, 16);
    let mut refusal = |job: Job| {
        client.submit(job, |_| panic!("refused jobs have no callback")).expect_err("refused")
    };
    let error = refusal(copy(at(&good, 0, 512), at(&fixed, 0, 512)));
    assert!(matches!(error, SubmitError::Access { .. }), "{error}");
    for offset in [1 << 20, (1 << 20) - 511, u64::MAX - 511, u64::MAX] {
        let error = refusal(copy(at(&good, 0, 512), at(&good, offset, 512)));
        assert!(matches!(error, SubmitError::OutOfRange { .. }), "{offset}: {error}");
        let error = refusal(copy(at(&good, offset, 512), at(&good, 0, 512)));
        assert!(matches!(error, SubmitError::OutOfRange { .. }), "{offset}: {error}");
    }
    let error = refusal(copy(at(&good, 0, 1024), at(&good, 4096, 512)));
    assert!(matches!(error, SubmitError::LengthMismatch { .. }), "{error}");
    assert_eq!(refusal(Job::copy(at(&good, 0, 512))), SubmitError::NoDestination);
    assert_eq!(world.ops(), 0, "and nothing was begun");
}

#[test]
fn errors_operation_that_the_device_refuses_outright_is_its_own_error_alone() {
    // The kernel sets the bits of all destinations.
    for errno in [Errno::INVALID, Errno::NOT_SUPPORTED, Errno::BAD_DESCRIPTOR] {
        let on = |disk| {
            let fault = Fault::new(Effect::Error(errno));
            vec![fault.on(kcopy::backend::sim::DiskId(disk))]
        };
        let (written, _) = outcome(&Scenario { faults: on(2), ..copy(1, 3) });
        assert_eq!(pair(&written), (0, 0b010));
        assert_eq!(written.destinations[1].error.expect("an error").errno, errno);
        assert_eq!(written.destinations[2].written, 0..PIECE);
        let (read, tally) = outcome(&Scenario { faults: on(0), ..copy(1, 3) });
        assert_eq!((pair(&read), tally.stats.bytes_written), ((1, 0), 0));
        assert_eq!(read.read.expect("an error").1.errno, errno);
    }
}

#[test]
fn errors_zeroing_refused_by_one_does_not_end_the_job_before_the_others() {
    // The kernel's dm-io once dropped a count it had not taken, and so called back too early.
    use kcopy::backend::sim::DiskOptions;
    for seed in 0..100 {
        let world = SimWorld::new(seed);
        let plain = DiskOptions::new(1 << 20).content(kcopy::backend::sim::Content::Pattern(1));
        let options = [plain.clone(), plain.clone().without_zeroing(), plain];
        let disks = options.map(|options| world.add_disk(options));
        let job = disks
            .iter()
            .fold(Job::zero(), |job, disk| job.to(Extent::new(&disk.device(), 0, 10 * PIECE)));
        let mut client = local(&world, 16);
        let (seen, at_the_end) = (Arc::new(AtomicBool::new(false)), world.clone());
        let flag = Arc::clone(&seen);
        let callback = move |outcome: Outcome| {
            assert!(outcome.is_ok());
            assert_eq!(at_the_end.in_flight(), 0, "nothing is under way any more");
            flag.store(true, Ordering::SeqCst);
        };
        client.submit(job, callback).expect("accepted");
        client.run_until_idle().expect("the backend works");
        assert!(seen.load(Ordering::SeqCst), "seed {seed}");
        for disk in &disks {
            assert!(disk.read(0, 1 << 16).iter().all(|byte| *byte == 0), "seed {seed}");
        }
    }
}

#[test]
fn errors_one_destination_when_ignored_is_tried_again_with_the_next_piece() {
    let scenario = ignoring_errors(failing(copy(4, 2), 1, OpKind::Write, PIECE));
    let (outcome, tally) = outcome(&scenario);
    assert_eq!(pair(&outcome), (0, 0b01));
    assert_eq!(outcome.unwritten, [(0, PIECE..2 * PIECE)]);
    let count = |at: u64| usize::try_from(at).expect("small");
    let (source, destination) = (&tally.after[0], &tally.after[1]);
    assert_eq!(
        source[count(2 * PIECE)..count(4 * PIECE)],
        destination[count(2 * PIECE)..count(4 * PIECE)]
    );
}

#[test]
fn errors_all_destinations_set_all_bits() {
    for ignore in [false, true] {
        let mut scenario = copy(4, 3);
        scenario.faults = vec![Fault::new(Effect::Error(Errno::IO)).kind(OpKind::Write)];
        let scenario = if ignore { ignoring_errors(scenario) } else { scenario };
        let (outcome, tally) = outcome(&scenario);
        assert_eq!(pair(&outcome), (0, 0b111));
        if ignore {
            assert_eq!(tally.stats.bytes_read, 4 * PIECE, "to the end");
        }
    }
}

#[test]
fn errors_zeroing_claimed_and_refused_falls_back_to_writing_zeros() {
    // The kernel's destination has failed. Ours has not.
    let mut scenario = copy(4, 2);
    scenario.disks.iter_mut().for_each(|disk| disk.zeroing = Zeroing::None);
    let scenario = changed(scenario, |job| {
        job.kind = JobKind::Zero;
        job.sources.clear();
    });
    let (outcome, tally) = outcome(&scenario);
    assert_eq!(pair(&outcome), (0, 0));
    assert_eq!(tally.stats.bytes_written, 2 * 4 * PIECE);
}

#[test]
fn errors_sequential_write_error_is_no_read_error_and_keeps_the_mask() {
    // The kernel reports read errors that never were, or sets all bits.
    for seed in 0..50 {
        let scenario = changed(copy(12, 3), |job| job.flags |= Flags::SEQUENTIAL);
        let scenario = Scenario { seed, ..failing(scenario, 2, OpKind::Write, 3 * PIECE) };
        assert_eq!(pair(&outcome(&scenario).0), (0, 0b010), "seed {seed}");
    }
}

#[test]
fn errors_sequential_read_error_ends_the_job() {
    // By its source, the kernel's job may never end.
    for seed in 0..50 {
        for on_error in [OnError::Stop, OnError::Detach, OnError::Continue] {
            let scenario = changed(copy(12, 2), |job| {
                job.flags |= Flags::SEQUENTIAL;
                job.on_error = on_error;
            });
            let scenario = Scenario { seed, ..failing(scenario, 0, OpKind::Read, 3 * PIECE) };
            assert_eq!(pair(&outcome(&scenario).0), (1, 0), "seed {seed}");
        }
    }
}

#[test]
fn errors_device_that_goes_away_ends_every_job() {
    // Until 5.3 the kernel's caller could wait for ever.
    for op in 0..40 {
        let mut scenario = copy(8, 2);
        scenario.faults = vec![Fault::new(Effect::Vanish).at(op)];
        let (outcome, _) = outcome(&scenario);
        assert!(!outcome.is_ok() || op >= 24);
    }
}

fn disks(world: &SimWorld, count: usize) -> Vec<SimDisk> {
    use kcopy::backend::sim::{Content, DiskOptions};
    let options = |seed| DiskOptions::new(1 << 20).content(Content::Pattern(seed)).write_through();
    (0..count as u64).map(|seed| world.add_disk(options(seed))).collect()
}

fn small_copy(disks: &[SimDisk], offset: u64) -> Job {
    let extent = |disk: &SimDisk| Extent::new(&disk.device(), offset, 512);
    Job::copy(extent(&disks[0])).to(extent(&disks[1]))
}

fn client(world: &SimWorld) -> Client {
    Client::builder().pages(16).build_on(world.backend().threaded()).expect("a client")
}

fn local(world: &SimWorld, pages: u32) -> LocalClient<kcopy::backend::sim::SimBackend, SimWorld> {
    let pool = Pool::new(pages).expect("memory");
    LocalClient::with_clock(Config::default(), pool, world.backend(), world.clone())
}

/// Runs a scenario by hand and keeps its trace.
fn traced(scenario: &Scenario) -> (SimWorld, Vec<kcopy::backend::sim::Event>) {
    let (world, disks) = scenario.world();
    world.set_schedule(Schedule::Random);
    let pool = Pool::new(scenario.pool_pages).expect("memory");
    let config = Config { request_size: scenario.request_size, ..Config::default() };
    let mut client = LocalClient::with_clock(config, pool, world.backend(), world.clone());
    client.submit(scenario.jobs[0].job(&disks), |o| assert!(o.is_ok())).expect("accepted");
    client.run_until_idle().expect("the backend works");
    let trace = world.trace();
    (world, trace)
}
