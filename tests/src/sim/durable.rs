//! Power failures while flushed jobs run: at every step, every subset of the writes that were not
//! flushed survives, torn at logical blocks. What an outcome promised must be there.

use kcopy::backend::sim::{Crash, DiskId, Effect, Fault, OpKind, Rng, SimWorld};
use kcopy::{Errno, Flags, JobKind, OnError};

use super::oracle::{Images, wanted};
use super::report::Report;
use super::run::{Moment, Rule, run_watched};
use super::scenario::{Allocator, DiskPlan, JobPlan, Scenario, Work, Zeroing};

/// Up to so many blocks that are not flushed, all subsets are tried.
const ALL_SUBSETS: usize = 12;

/// How many subsets of more blocks are tried.
const SOME_SUBSETS: u64 = 2000;

/// A run with flushed jobs, small enough for all subsets.
pub fn scenario(seed: u64) -> Scenario {
    let mut rng = Rng::new(seed ^ 0xd0_4ab1e);
    let disks: Vec<DiskPlan> = (0..rng.between(2, 3))
        .map(|_| DiskPlan {
            block: rng.pick(&[512, 4096, 4096]),
            zeroing: rng.pick(&[Zeroing::Full, Zeroing::None]),
            ..DiskPlan::new(12 * 4096, rng.next_u64())
        })
        .collect();
    let mut space = Allocator::new(&disks);
    let mut jobs = Vec::new();
    for _ in 0..rng.between(1, 3) {
        jobs.extend(job(&mut rng, &mut space, &disks));
    }
    let mut faults = Vec::new();
    if rng.chance(1, 3) {
        let effect = Effect::Error(Errno::IO);
        let disk = DiskId(u32::try_from(rng.index(disks.len())).expect("few disks"));
        let kind = rng.pick(&[OpKind::Flush, OpKind::Flush, OpKind::Write]);
        faults.push(Fault::new(effect).on(disk).kind(kind).times(rng.between(1, 2)));
    }
    Scenario {
        pool_pages: 8,
        request_size: 4096,
        requests: rng.pick(&[1, 2, 4]),
        faults,
        ..Scenario::new(seed, disks, jobs)
    }
}

fn job(rng: &mut Rng, space: &mut Allocator, disks: &[DiskPlan]) -> Option<JobPlan> {
    let disk = space.any_disk(rng);
    let small = disks[disk].block == 512;
    let len = if small { 512 * rng.between(1, 4) } else { 4096 * rng.between(1, 3) };
    let source = space.take(disk, len, 0)?;
    let mut destinations = vec![];
    for _ in 0..rng.between(1, 2) {
        let disk = space.any_disk(rng);
        // Blocks of 512 bytes make many subsets: only short ranges there.
        let fits = disks[disk].block == 4096 || len <= 2048;
        destinations.extend(fits.then(|| space.take(disk, len, 0)).flatten());
    }
    if destinations.is_empty() {
        return None;
    }
    let kind = if rng.chance(1, 5) { JobKind::Zero } else { JobKind::Copy };
    let flush = if rng.chance(5, 6) { Flags::FLUSH } else { Flags::empty() };
    let sources = if kind == JobKind::Zero { vec![] } else { vec![source] };
    Some(JobPlan {
        kind,
        sources,
        flags: flush | Flags::NO_ISOLATION,
        on_error: rng.pick(&[OnError::Stop, OnError::Detach, OnError::Continue]),
        work: Work::None,
        ..JobPlan::copy(len, source, &destinations)
    })
}

/// Crashes runs from `first` on until `states` states were looked at.
pub fn everything(first: u64, states: u64, rule: Rule) -> Report {
    let mut report = Report::default();
    for seed in first.. {
        if report.counted(STATES) >= states || report.failures > 0 && rule.is_some() {
            break;
        }
        one(seed, rule, &mut report);
        report.count("runs of flushed jobs", 1);
        if report.is_hopeless() {
            break;
        }
    }
    report
}

/// The name of the count.
pub const STATES: &str = "crash states of flushed jobs";

/// Crashes the run of one seed at every step.
pub fn one(seed: u64, rule: Rule, report: &mut Report) {
    let scenario = scenario(seed);
    let mut states = 0;
    report.check(
        || format!("durable:{seed}"),
        || {
            let mut watcher = |moment: &Moment<'_>| crash_here(&scenario, moment, &mut states);
            run_watched(&scenario, rule, Some(&mut watcher))
        },
    );
    report.count(STATES, states);
}

/// All the ways in which the power can fail now.
fn crash_here(scenario: &Scenario, moment: &Moment<'_>, states: &mut u64) -> Result<(), String> {
    let snapshot = moment.world.snapshot();
    let blocks = snapshot.volatile_blocks();
    let crashes: Vec<Crash> = if blocks <= ALL_SUBSETS {
        (0..1 << blocks).map(Crash::Blocks).collect()
    } else {
        let seeds = (0..SOME_SUBSETS).map(|n| Crash::Seeded(scenario.seed ^ (n << 32)));
        seeds.chain([Crash::DropAll, Crash::KeepAll]).collect()
    };
    for crash in crashes {
        *states += 1;
        let after = snapshot.after(crash, 0);
        let images = images(&after, scenario.disks.len());
        check(scenario, moment, &images).map_err(|text| {
            format!("I11: after {crash:?} at operation {}: {text}", moment.world.ops())
        })?;
    }
    Ok(())
}

fn images(world: &SimWorld, disks: usize) -> Images {
    (0..disks)
        .map(|index| world.disk(DiskId(u32::try_from(index).expect("few disks"))).bytes())
        .collect()
}

/// What was promised is there, and what no job writes to is as it was.
fn check(scenario: &Scenario, moment: &Moment<'_>, now: &Images) -> Result<(), String> {
    for (index, outcome) in &moment.ended {
        let job = &scenario.jobs[*index];
        if !job.flags.contains(Flags::FLUSH) {
            continue;
        }
        let wanted = wanted(job, moment.before, &outcome.unreadable);
        for (number, (place, _)) in job.destinations.iter().enumerate() {
            let sure = outcome.destinations[number].written.clone();
            let (from, to) = (index_of(sure.start), index_of(sure.end));
            let start = index_of(place.offset);
            if now[place.disk][start + from..start + to] != wanted[number][from..to] {
                return Err(format!("job {index}, destination {number} lost {sure:?}"));
            }
        }
    }
    for (disk, (old, new)) in moment.before.iter().zip(now).enumerate() {
        let writes = |at: u64| {
            scenario.jobs.iter().any(|job| {
                let mut places = job.destinations.iter().map(|(place, _)| place);
                places.any(|p| p.disk == disk && (p.offset..p.offset + job.len).contains(&at))
            })
        };
        let blocks = (0..).zip(old.chunks(512).zip(new.chunks(512)));
        for (number, (old, new)) in blocks {
            if old != new && !writes(number * 512) {
                return Err(format!("I5: disk {disk} changed at block {number}"));
            }
        }
    }
    Ok(())
}

fn index_of(at: u64) -> usize {
    usize::try_from(at).expect("small disks")
}
