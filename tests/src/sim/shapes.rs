//! Some fifty jobs that differ in what the engine does with them: for the loops that fail every n-th
//! operation.

use kcopy::backend::sim::Schedule;
use kcopy::{Flags, JobKind, OnError};

use super::scenario::{DiskPlan, JobPlan, Place, Scenario, Work, Zeroing};

/// A named run.
#[derive(Clone, Debug)]
pub struct Shape {
    /// Its name.
    pub name: &'static str,
    /// The run, without faults.
    pub scenario: Scenario,
}

fn at(disk: usize, offset: u64) -> Place {
    Place { disk, offset }
}

fn disks(count: u64) -> Vec<DiskPlan> {
    (0..count).map(|index| DiskPlan::new(128 << 10, index + 1)).collect()
}

/// A copy of `len` bytes from disk 0 to `count` others.
fn fan(len: u64, count: usize) -> JobPlan {
    let to: Vec<Place> = (1..=count).map(|disk| at(disk, 4096)).collect();
    JobPlan::copy(len, at(0, 0), &to)
}

fn one(name: &'static str, count: u64, job: JobPlan) -> Shape {
    many(name, count, vec![job])
}

fn many(name: &'static str, count: u64, jobs: Vec<JobPlan>) -> Shape {
    Shape { name, scenario: Scenario::new(1, disks(count), jobs) }
}

impl Shape {
    fn with(mut self, change: impl FnOnce(&mut Scenario)) -> Self {
        change(&mut self.scenario);
        self
    }
}

fn flags(job: JobPlan, flags: Flags) -> JobPlan {
    JobPlan { flags, ..job }
}

fn on_error(job: JobPlan, on_error: OnError) -> JobPlan {
    JobPlan { on_error, ..job }
}

fn stripe(sources: usize, destinations: &[u16], work: Work, len: u64) -> JobPlan {
    JobPlan {
        kind: JobKind::Stripe,
        sources: (0..sources).map(|disk| at(disk, 0)).collect(),
        destinations: (0..)
            .zip(destinations)
            .map(|(index, buffer)| (at(sources, 32_768 * index), *buffer))
            .collect(),
        work,
        ..JobPlan::copy(len, at(0, 0), &[])
    }
}

fn zero(len: u64, count: usize) -> JobPlan {
    JobPlan { kind: JobKind::Zero, sources: vec![], ..fan(len, count) }
}

fn compare(len: u64, count: usize) -> JobPlan {
    JobPlan { kind: JobKind::Compare, ..fan(len, count) }
}

/// The same with destinations `by` bytes further on.
fn behind(by: u64, mut job: JobPlan) -> JobPlan {
    job.destinations.iter_mut().for_each(|(place, _)| place.offset += by);
    job
}

/// A move on disk 0 by `distance`, up or down.
fn shift(len: u64, from: u64, to: u64) -> JobPlan {
    JobPlan::copy(len, at(0, from), &[at(0, to)])
}

fn adjacent(count: u64, flags: Flags, destinations: usize) -> Vec<JobPlan> {
    let job = |index: u64| {
        let to: Vec<Place> = (1..=destinations).map(|disk| at(disk, 8192 + index * 4096)).collect();
        JobPlan { flags, ..JobPlan::copy(4096, at(0, index * 4096), &to) }
    };
    (0..count).map(job).collect()
}

fn cannot_zero(scenario: &mut Scenario) {
    scenario.disks.iter_mut().for_each(|disk| disk.zeroing = Zeroing::None);
}

fn holes_only(scenario: &mut Scenario) {
    scenario.disks.iter_mut().for_each(|disk| disk.zeroing = Zeroing::HolesOnly);
}

fn sparse(scenario: &mut Scenario) {
    scenario.disks[0].zero_pages = 0b0110_1101;
}

fn blocks_of_4096(scenario: &mut Scenario) {
    scenario.disks.iter_mut().for_each(|disk| disk.block = 4096);
}

fn tight(scenario: &mut Scenario) {
    scenario.pool_pages = 2;
    scenario.request_size = 4096;
    scenario.depth = 1;
}

/// All of them.
pub fn shapes() -> Vec<Shape> {
    let mut all = copies();
    all.extend(moves_and_runs());
    all.extend(other_kinds());
    all.extend(regressions());
    all
}

fn copies() -> Vec<Shape> {
    use OnError::{Continue, Detach};
    let seq = Flags::SEQUENTIAL;
    let final_errors = Flags::NO_ISOLATION;
    vec![
        one("copy-1-block", 2, fan(512, 1)),
        one("copy-1", 2, fan(65_536, 1)),
        one("copy-2", 3, fan(32_768, 2)),
        one("copy-3-flush", 4, flags(fan(32_768, 3), Flags::FLUSH)),
        one("copy-8", 9, fan(16_384, 8)),
        one("copy-detach", 4, on_error(fan(32_768, 3), Detach)),
        one("copy-continue", 4, on_error(fan(32_768, 3), Continue)),
        one("copy-continue-flush", 3, on_error(flags(fan(32_768, 2), Flags::FLUSH), Continue)),
        one("copy-final-errors", 3, flags(fan(49_152, 2), final_errors)),
        one("copy-detach-final", 3, on_error(flags(fan(49_152, 2), final_errors), Detach)),
        one("copy-sequential", 3, flags(fan(49_152, 2), seq)),
        one("copy-sequential-detach", 3, on_error(flags(fan(49_152, 2), seq), Detach)),
        one("copy-sequential-continue", 3, on_error(flags(fan(49_152, 2), seq), Continue)),
        one("copy-odd", 3, JobPlan::copy(20_001, at(0, 77), &[at(1, 131), at(2, 5000)])),
        one("copy-tight", 3, fan(24_576, 2)).with(tight),
        one("copy-4096", 3, fan(65_536, 2)).with(blocks_of_4096),
        one("copy-sparse", 3, flags(fan(49_152, 2), Flags::SKIP_ZEROS)).with(sparse),
        one("copy-sparse-punch", 3, flags(fan(49_152, 2), Flags::SKIP_ZEROS | Flags::PUNCH_HOLES))
            .with(sparse)
            .with(holes_only),
        one("copy-sparse-cannot", 3, flags(fan(49_152, 2), Flags::SKIP_ZEROS))
            .with(sparse)
            .with(cannot_zero),
        one("copy-rate", 2, fan(65_536, 1)).with(|s| s.rate = Some(16 << 20)),
        one("copy-cancel", 3, JobPlan { cancel_at: Some(12), ..fan(65_536, 2) }),
        one("copy-lifo", 3, fan(49_152, 2)).with(|s| s.schedule = Schedule::LastComeFirstServed),
        one("copy-refused", 2, JobPlan { work: Work::RefuseAt(20_000), ..fan(49_152, 1) }),
    ]
}

fn moves_and_runs() -> Vec<Shape> {
    let two = |flags| {
        let mut jobs = vec![JobPlan { flags, ..fan(16_384, 2) }];
        jobs.push(JobPlan::copy(16_384, at(3, 0), &[at(1, 65_536), at(2, 65_536)]));
        jobs
    };
    vec![
        one("move-up", 1, shift(49_152, 0, 4096)),
        one("move-down", 1, shift(49_152, 4096, 0)),
        one("move-up-odd", 1, shift(30_000, 100, 612)),
        one("move-down-far", 1, shift(49_152, 40_960, 8192)),
        one("move-in-place", 1, shift(32_768, 4096, 4096)),
        many("adjacent", 2, adjacent(12, Flags::empty(), 1)),
        many("adjacent-flush", 3, adjacent(8, Flags::FLUSH, 2)),
        many("two-jobs-flush", 4, two(Flags::FLUSH)),
        many("two-jobs-tight", 4, two(Flags::empty())).with(tight),
    ]
}

/// Runs that once found something.
fn regressions() -> Vec<Shape> {
    let cancelled = |turn: u64| {
        let job = flags(fan(24_576, 3), Flags::SEQUENTIAL | Flags::FLUSH);
        JobPlan { cancel_at: Some(turn), ..job }
    };
    let odd = JobPlan::copy(4097, at(0, 77), &[at(1, 131), at(2, 5000)]);
    let on_disk_1 = |offset: u64, flags: Flags| JobPlan {
        flags,
        ..JobPlan::copy(4096, at(0, offset), &[at(1, offset)])
    };
    let alone = flags(zero(0, 1), Flags::FLUSH);
    vec![
        // Compare listed ranges as its pieces ended, and counted a sector twice that two shared.
        one("compare-odd", 3, JobPlan { kind: JobKind::Compare, ..odd }),
        // Zero jobs keep pages to their end; one that needed them stood before the zero jobs.
        many(
            "zeros-before-compare",
            5,
            vec![
                zero(49_152, 2),
                behind(53_248, fan(32_768, 2)),
                behind(90_112, compare(8192, 4)),
                behind(102_400, zero(20_480, 2)),
            ],
        )
        .with(|s| (s.pool_pages, s.request_size, s.depth) = (8, 65_536, 4)),
        // A cancelled sequential job went on writing what waited at its gate.
        one("sequential-cancel-5", 4, cancelled(5)),
        one("sequential-cancel-9", 4, cancelled(9)),
        many("adjacent-cancel", 3, {
            let mut jobs = adjacent(12, Flags::FLUSH, 2);
            jobs.iter_mut().for_each(|job| job.cancel_at = Some(4));
            jobs
        }),
        // A rate with requests below 64 KiB panicked.
        one("rate-small-requests", 2, fan(32_768, 1))
            .with(|s| (s.rate, s.request_size) = (Some(8 << 20), 4096)),
        // The flush of one job failed; a later flush alone said that all was well.
        many(
            "flush-alone",
            2,
            vec![
                on_disk_1(0, Flags::empty()),
                on_disk_1(8192, Flags::FLUSH),
                alone.clone(),
                on_disk_1(16_384, Flags::FLUSH),
                alone,
            ],
        )
        .with(|s| s.queue = 1),
    ]
}

fn other_kinds() -> Vec<Shape> {
    use OnError::Continue;
    vec![
        one("zero", 3, zero(65_536, 2)),
        one("zero-cannot-flush", 3, flags(zero(65_536, 2), Flags::FLUSH)).with(cannot_zero),
        one("zero-holes-continue", 3, on_error(zero(65_536, 2), Continue)).with(holes_only),
        one("compare", 3, compare(49_152, 2)),
        one("compare-continue", 3, on_error(compare(32_768, 2), Continue)),
        one("stripe-xor", 4, stripe(3, &[3], Work::Xor, 32_768)),
        one("stripe-xor-flush", 3, flags(stripe(2, &[0, 1, 2], Work::Xor, 24_576), Flags::FLUSH)),
        one("stripe-continue", 3, on_error(stripe(2, &[2], Work::Xor, 24_576), Continue)),
        one("stripe-read-only", 4, stripe(3, &[], Work::None, 32_768)),
        one("stripe-refuses", 3, stripe(2, &[0, 1], Work::RefuseAt(9000), 24_576)),
    ]
}
