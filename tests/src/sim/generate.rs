//! A random run from a seed: disks, jobs, limits, schedule and faults.

use std::time::Duration;

use kcopy::backend::sim::{DiskId, Effect, Fault, OpKind, Rng, Schedule};
use kcopy::{Errno, Flags, JobKind, OnError, Priority};

use super::scenario::{Allocator, DiskPlan, JobPlan, Place, Scenario, Work, Zeroing};

/// Errors that devices give.
const ERRNOS: [i32; 8] = [
    5,   // EIO
    28,  // ENOSPC
    11,  // EAGAIN
    4,   // EINTR
    61,  // ENODATA
    110, // ETIMEDOUT
    95,  // EOPNOTSUPP
    121, // EREMOTEIO
];

/// The run of `seed`.
pub fn scenario(seed: u64) -> Scenario {
    let mut rng = Rng::new(seed);
    let disks: Vec<DiskPlan> = (0..rng.between(1, 5)).map(|_| disk(&mut rng)).collect();
    let pool_pages = rng.pick(&[8, 8, 16, 32, 64]);
    let mut space = Allocator::new(&disks);
    let mut jobs = Vec::new();
    for _ in 0..rng.between(1, 10) {
        add_jobs(&mut rng, &mut space, &disks, &mut jobs);
    }
    let schedule = match rng.below(10) {
        0 => Schedule::FirstComeFirstServed,
        1 => Schedule::LastComeFirstServed,
        2 => Schedule::Timed,
        _ => Schedule::Random,
    };
    let faults = faults(&mut rng, disks.len());
    Scenario {
        disks,
        jobs,
        pool_pages,
        request_size: rng.pick(&[4096, 8192, 16_384, 65_536]),
        requests: rng.pick(&[1, 2, 4, 16, 64]),
        queue: rng.pick(&[1, 2, 8, 64]),
        depth: rng.pick(&[1, 2, 4, 16, 64]),
        rate: rng.chance(1, 10).then(|| rng.between(1 << 20, 64 << 20)),
        schedule,
        faults,
        ..Scenario::new(seed, Vec::new(), Vec::new())
    }
}

/// The run of `seed`, in which the whole backend breaks.
pub fn broken(seed: u64) -> Scenario {
    let break_at = Some(Rng::new(seed ^ 0xb20e).below(60));
    Scenario { break_at, ..scenario(seed) }
}

fn disk(rng: &mut Rng) -> DiskPlan {
    DiskPlan {
        block: if rng.chance(1, 4) { 4096 } else { 512 },
        cached: rng.chance(1, 4),
        zeroing: rng.pick(&[Zeroing::Full, Zeroing::Full, Zeroing::HolesOnly, Zeroing::None]),
        write_through: rng.chance(1, 6),
        pattern: (!rng.chance(1, 6)).then(|| rng.next_u64()),
        zero_pages: if rng.chance(1, 3) { rng.next_u64() } else { 0 },
        ..DiskPlan::new(rng.between(32, 96) * 4096, 0)
    }
}

fn length(rng: &mut Rng) -> u64 {
    match rng.below(12) {
        0 => 0,
        1 => rng.between(1, 5000),
        2 => 4096 + rng.pick(&[0, 1, 511, 512, 4095]),
        3..6 => 512 * rng.between(1, 16),
        6..9 => 4096 * rng.between(1, 4),
        _ => 4096 * rng.between(4, 16),
    }
}

fn gap(rng: &mut Rng) -> u64 {
    match rng.below(8) {
        0 => rng.below(5000),
        1 => 512 * rng.below(16),
        2 => 4096 * rng.below(3),
        _ => 0,
    }
}

fn flags(rng: &mut Rng) -> Flags {
    let mut flags = Flags::empty();
    for (flag, times) in [
        (Flags::SEQUENTIAL, 3),
        (Flags::FLUSH, 8),
        (Flags::SKIP_ZEROS, 4),
        (Flags::PUNCH_HOLES, 3),
        (Flags::NO_ISOLATION, 4),
    ] {
        if rng.chance(times, 20) {
            flags |= flag;
        }
    }
    flags
}

/// Adds one job, or a run of adjacent small ones.
fn add_jobs(rng: &mut Rng, space: &mut Allocator, disks: &[DiskPlan], jobs: &mut Vec<JobPlan>) {
    match rng.below(20) {
        0..3 => jobs.extend(overlapping(rng, space)),
        3..6 => adjacent(rng, space, jobs),
        6..9 => jobs.extend(of_kind(rng, space, disks, JobKind::Zero)),
        9..11 => jobs.extend(of_kind(rng, space, disks, JobKind::Compare)),
        11..14 => jobs.extend(of_kind(rng, space, disks, JobKind::Stripe)),
        14 => jobs.push(flush_only(rng, disks)),
        _ => jobs.extend(of_kind(rng, space, disks, JobKind::Copy)),
    }
}

fn of_kind(
    rng: &mut Rng,
    space: &mut Allocator,
    disks: &[DiskPlan],
    kind: JobKind,
) -> Option<JobPlan> {
    let mut len = length(rng);
    let many = rng.chance(1, 30) && matches!(kind, JobKind::Copy | JobKind::Zero);
    let count = if many { rng.between(9, 64) } else { rng.between(1, 4) };
    if many {
        len = len.min(1024);
    }
    let sources = match kind {
        JobKind::Copy | JobKind::Compare => 1,
        JobKind::Zero => 0,
        JobKind::Stripe => rng.between(1, 3),
    };
    let work = match kind {
        JobKind::Stripe if rng.chance(3, 4) => Work::Xor,
        JobKind::Stripe | JobKind::Copy if rng.chance(1, 12) => Work::RefuseAt(rng.below(len + 1)),
        JobKind::Stripe | JobKind::Copy | JobKind::Zero | JobKind::Compare => Work::None,
    };
    let buffers = sources + u64::from(work == Work::Xor);
    let mut take = |rng: &mut Rng| {
        let disk = space.any_disk(rng);
        space.take(disk, len, gap(rng))
    };
    let sources: Vec<Place> = (0..sources).map(|_| take(rng)).collect::<Option<_>>()?;
    let mut destinations = Vec::new();
    for _ in 0..count {
        let buffer = if kind == JobKind::Stripe { rng.below(buffers) } else { 0 };
        destinations.push((take(rng)?, u16::try_from(buffer).expect("few buffers")));
    }
    let mut flags = flags(rng);
    let blank = |(place, _): &(Place, u16)| disks[place.disk].pattern.is_none();
    if flags.contains(Flags::SKIP_ZEROS) && destinations.iter().all(blank) {
        flags |= Flags::DESTINATION_IS_ZERO;
    }
    let place = Place { disk: 0, offset: 0 };
    Some(JobPlan { kind, sources, destinations, work, flags, ..common(rng, len, place) })
}

/// A job that flushes and does nothing else.
fn flush_only(rng: &mut Rng, disks: &[DiskPlan]) -> JobPlan {
    let count = rng.between(1, 2);
    let destinations =
        (0..count).map(|_| (Place { disk: rng.index(disks.len()), offset: 0 }, 0)).collect();
    let place = Place { disk: 0, offset: 0 };
    let kind = JobKind::Zero;
    let flags = Flags::FLUSH;
    JobPlan { kind, sources: vec![], destinations, flags, ..common(rng, 0, place) }
}

/// What jobs of all kinds have.
fn common(rng: &mut Rng, len: u64, source: Place) -> JobPlan {
    JobPlan {
        on_error: rng.pick(&[OnError::Stop, OnError::Detach, OnError::Continue]),
        priority: rng.pick(&[Priority::High, Priority::Normal, Priority::Normal, Priority::Low]),
        cancel_at: rng.chance(1, 10).then(|| rng.below(40)),
        ..JobPlan::copy(len, source, &[])
    }
}

/// A move on one disk to a place that overlaps its source.
fn overlapping(rng: &mut Rng, space: &mut Allocator) -> Option<JobPlan> {
    let len = length(rng).max(1);
    let distance = match rng.below(4) {
        0 => rng.below(len + 1),
        1 => 4096 * rng.below(4),
        _ => 512 * rng.below(len.div_ceil(512) + 1),
    };
    let disk = space.any_disk(rng);
    let low = space.take(disk, len + distance, gap(rng))?;
    let high = Place { offset: low.offset + distance, ..low };
    let (from, to) = if rng.chance(1, 2) { (low, high) } else { (high, low) };
    let flags = flags(rng) - Flags::SEQUENTIAL;
    let mut destinations = vec![(to, 0)];
    if rng.chance(1, 3) {
        let other = space.any_disk(rng);
        destinations.extend(space.take(other, len, gap(rng)).map(|place| (place, 0)));
    }
    Some(JobPlan { flags, destinations, ..common(rng, len, from) })
}

/// Small copies that follow each other on both sides.
fn adjacent(rng: &mut Rng, space: &mut Allocator, jobs: &mut Vec<JobPlan>) {
    let len = rng.pick(&[512, 1024, 4096, 4096]);
    let count = rng.between(2, 12);
    let from = space.any_disk(rng);
    let Some(source) = space.take(from, len * count, gap(rng)) else { return };
    let mut destinations = Vec::new();
    for _ in 0..rng.between(1, 2) {
        let disk = space.any_disk(rng);
        destinations.extend(space.take(disk, len * count, gap(rng)));
    }
    if destinations.is_empty() {
        return;
    }
    let flags = if rng.chance(1, 2) { Flags::FLUSH } else { Flags::empty() };
    let first = JobPlan { flags, ..common(rng, len, source) };
    for index in 0..count {
        let at = |place: &Place| Place { offset: place.offset + index * len, ..*place };
        let destinations = destinations.iter().map(|place| (at(place), 0)).collect();
        jobs.push(JobPlan { sources: vec![at(&source)], destinations, ..first.clone() });
    }
}

fn faults(rng: &mut Rng, disks: usize) -> Vec<Fault> {
    if rng.chance(2, 5) {
        return Vec::new();
    }
    (0..rng.between(1, 4)).map(|_| fault(rng, disks)).collect()
}

fn fault(rng: &mut Rng, disks: usize) -> Fault {
    let effect = match rng.below(16) {
        0..5 => Effect::Error(Errno::new(rng.pick(&ERRNOS))),
        5 | 6 => Effect::Short,
        7 => Effect::ShortOf(rng.pick(&[1, 100, 512, 4096])),
        8 => Effect::Nothing,
        9..12 => Effect::Delay(Duration::from_micros(rng.between(1, 5000))),
        12 | 13 => Effect::Twice,
        14 => Effect::Stranger,
        _ => Effect::Vanish,
    };
    let mut fault = Fault::new(effect);
    fault = match rng.below(3) {
        0 => fault.at(rng.below(120)),
        1 => fault.chance(rng.pick(&[5_000, 50_000, 300_000])),
        _ => {
            let start = 512 * rng.below(512);
            fault.within(start..start + rng.pick(&[1, 512, 4096, 65_536]))
        }
    };
    if rng.chance(1, 2) {
        fault = fault.on(DiskId(u32::try_from(rng.index(disks)).expect("few disks")));
    }
    if rng.chance(1, 2) {
        fault = fault.kind(rng.pick(&[OpKind::Read, OpKind::Write, OpKind::Zero, OpKind::Flush]));
    }
    if rng.chance(1, 3) { fault.times(rng.between(1, 3)) } else { fault }
}
