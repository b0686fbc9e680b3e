//! One run of a scenario, with every invariant checked after every step.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use kcopy::backend::sim::{Crash, DiskId, Effect, SimBackend, SimDisk, SimWorld};
use kcopy::engine::Config;
use kcopy::pool::Pool;
use kcopy::{CancelToken, Flags, JobKind, LocalClient, Outcome, Stats, SubmitError, Throttle};

use super::monitor::Monitor;
use super::oracle::{self, Evidence, Images};
use super::scenario::{JobPlan, Scenario, Work};

/// What a run that kept all rules came to.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    /// Jobs.
    pub jobs: u64,
    /// Operations.
    pub ops: u64,
    /// Turns of the engine.
    pub turns: u64,
    /// Faults that struck.
    pub faults: u64,
    /// Hash of everything that happened.
    pub hash: u64,
    /// How many operations there were to choose from at each choice of a script.
    pub fanout: Vec<usize>,
    /// The outcomes, in the order of the jobs.
    pub outcomes: Vec<Outcome>,
    /// The engine's counters at the end.
    pub stats: Stats,
    /// The disks at the end.
    pub after: Images,
}

/// The end of one job.
#[derive(Debug, Default)]
struct End {
    calls: u32,
    outcome: Option<Outcome>,
    /// What was said to be durable and was not, at the moment of the callback.
    not_durable: Option<String>,
}

type Ends = Arc<Mutex<Vec<End>>>;

/// A rule of the engine to break.
pub type Rule = Option<kcopy::engine::Mutation>;

/// A run that is going on.
struct Run<'a> {
    scenario: &'a Scenario,
    world: SimWorld,
    disks: Vec<SimDisk>,
    client: LocalClient<SimBackend, SimWorld>,
    tokens: Vec<Option<CancelToken>>,
    before: Arc<Images>,
    monitor: Monitor,
    ends: Ends,
    submitted: usize,
    turns: u64,
    cancelled: Vec<usize>,
    last_stats: Stats,
}

/// A moment in a run, between two turns of the engine.
#[derive(Debug)]
pub struct Moment<'a> {
    /// The world as it is.
    pub world: &'a SimWorld,
    /// The disks before the run.
    pub before: &'a Images,
    /// The jobs whose callback was called, and their outcomes.
    pub ended: Vec<(usize, Outcome)>,
}

/// Looks at every moment of a run.
pub type Watcher<'a> = dyn FnMut(&Moment<'_>) -> Result<(), String> + 'a;

/// Runs `scenario`, with `rule` broken if there is one.
///
/// # Errors
///
/// The first violation.
pub fn run(scenario: &Scenario, rule: Rule) -> Result<Tally, String> {
    run_watched(scenario, rule, None)
}

/// The same, and shows every moment of it to `watcher`.
///
/// # Errors
///
/// The first violation, or what the watcher says.
pub fn run_watched(
    scenario: &Scenario,
    rule: Rule,
    mut watcher: Option<&mut Watcher<'_>>,
) -> Result<Tally, String> {
    let mut run = Run::new(scenario, rule)?;
    if scenario.break_at.is_some() {
        return run.break_and_finish();
    }
    let limit = 4_000 + scenario.jobs.len() as u64 * 64;
    loop {
        run.submit_some()?;
        if run.submitted == scenario.jobs.len() && run.client.is_idle() {
            return run.finish();
        }
        run.step()?;
        if let Some(watcher) = watcher.as_mut() {
            watcher(&run.moment())?;
        }
        if run.turns > limit + run.world.ops() * 8 {
            return Err(format!("I13: not done after {} turns", run.turns));
        }
    }
}

impl<'a> Run<'a> {
    fn new(scenario: &'a Scenario, rule: Rule) -> Result<Self, String> {
        let (world, disks) = scenario.world();
        let pool = Pool::new(scenario.pool_pages).ok_or("no memory for the pool")?;
        let throttle = scenario.rate.map(|rate| Arc::new(Throttle::new(Some(rate))));
        let mut config = Config {
            request_size: scenario.request_size,
            requests: scenario.requests,
            queue: scenario.queue,
            throttle,
            ..Config::default()
        };
        config.mutation = rule;
        let backend = world.backend_with_room(scenario.depth);
        let client = LocalClient::with_clock(config, pool, backend, world.clone());
        // Jobs that are cancelled at the same turn share a token.
        let mut by_turn: HashMap<u64, CancelToken> = HashMap::new();
        let mut token =
            |at: u64| by_turn.entry(at).or_insert_with(|| client.cancel_token()).clone();
        let tokens = scenario.jobs.iter().map(|job| job.cancel_at.map(&mut token)).collect();
        let ends = Ends::default();
        lock(&ends).resize_with(scenario.jobs.len(), End::default);
        Ok(Self {
            before: Arc::new(disks.iter().map(SimDisk::bytes).collect()),
            monitor: Monitor::new(scenario),
            scenario,
            world,
            disks,
            client,
            tokens,
            ends,
            submitted: 0,
            turns: 0,
            cancelled: Vec::new(),
            last_stats: Stats::default(),
        })
    }

    fn moment(&self) -> Moment<'_> {
        let ends = lock(&self.ends);
        let ended = (0..).zip(ends.iter()).filter_map(|(i, end)| Some((i, end.outcome.clone()?)));
        Moment { world: &self.world, before: &self.before, ended: ended.collect() }
    }

    /// Submits jobs until the queue is full.
    fn submit_some(&mut self) -> Result<(), String> {
        while let Some(plan) = self.scenario.jobs.get(self.submitted) {
            let index = self.submitted;
            let mut job = plan.job(&self.disks);
            if let Some(token) = &self.tokens[index] {
                job = job.cancelled_by(token);
            }
            let callback = self.callback(index, plan);
            match self.client.submit(job, callback) {
                Ok(()) => self.submitted += 1,
                Err(SubmitError::Busy) => {
                    if self.client.is_idle() {
                        return Err("busy, but idle".into());
                    }
                    return Ok(());
                }
                Err(error) => return Err(format!("job {index} was refused: {error}")),
            }
            if lock(&self.ends)[index].calls > 0 {
                return Err(format!("I1: the callback of job {index} came inside submit"));
            }
        }
        Ok(())
    }

    fn callback(&self, index: usize, plan: &JobPlan) -> impl FnOnce(Outcome) + Send + 'static {
        let ends = Arc::clone(&self.ends);
        let durable = plan.flags.contains(Flags::FLUSH) && plan.kind != JobKind::Compare;
        let disks: Vec<SimDisk> =
            plan.destinations.iter().map(|(place, _)| self.disks[place.disk].clone()).collect();
        let (plan, before) = (plan.clone(), Arc::clone(&self.before));
        let earlier = if durable && plan.len == 0 { self.ended_jobs() } else { Vec::new() };
        let all = self.disks.clone();
        move |outcome: Outcome| {
            let lost = if durable { not_durable(&plan, &before, &disks, &outcome) } else { None };
            let lost = lost.or_else(|| {
                let flushed = (0..plan.destinations.len())
                    .filter(|i| !outcome.cancelled && outcome.destinations[*i].error.is_none());
                let on: Vec<usize> = flushed.map(|i| plan.destinations[i].0.disk).collect();
                earlier.iter().find_map(|job| not_covered(job, &before, &all, &on))
            });
            let mut ends = lock(&ends);
            let end = &mut ends[index];
            end.calls += 1;
            end.outcome = Some(outcome);
            end.not_durable = lost;
        }
    }

    /// The jobs that have ended, with their outcomes.
    fn ended_jobs(&self) -> Vec<(JobPlan, Outcome)> {
        let moment = self.moment();
        let job = |(index, outcome): (usize, Outcome)| (self.scenario.jobs[index].clone(), outcome);
        moment.ended.into_iter().map(job).collect()
    }

    /// One turn of the engine, and everything that can be checked after it.
    fn step(&mut self) -> Result<(), String> {
        for index in 0..self.scenario.jobs.len() {
            if self.scenario.jobs[index].cancel_at == Some(self.turns) {
                self.tokens[index].as_ref().expect("it has a token").cancel();
                self.cancelled.push(index);
                // The engine has not issued anything since, so from here on nothing may come.
                self.monitor.stopped(index);
            }
        }
        let (stalls, ops) = (self.world.stalls(), self.world.ops());
        self.client.turn(None).map_err(|error| format!("the backend broke: {error}"))?;
        self.turns += 1;
        let events = self.world.trace_from(self.monitor.lines);
        self.monitor.take(&events)?;
        let stalled = self.world.stalls() > stalls && self.world.ops() == ops;
        if stalled && !self.client.is_idle() && !self.client.engine().has_finished() {
            return Err("I13: jobs are left, but nothing is in flight: a lost wake-up".into());
        }
        if let Some(text) = self.world.violations().first() {
            return Err(format!("the engine's bug: {text}"));
        }
        self.check_counters()
    }

    /// I7 and I12: the pool keeps its limit, counters only grow and never run ahead of the truth.
    fn check_counters(&mut self) -> Result<(), String> {
        let stats = self.client.stats();
        let limit = u64::from(self.scenario.pool_pages);
        if stats.pool_peak_pages > limit || self.client.engine().pool().in_use() as u64 > limit {
            return Err(format!("I7: {} pages of {limit} in use", stats.pool_peak_pages));
        }
        let last = &self.last_stats;
        let grown = stats.bytes_read >= last.bytes_read
            && stats.bytes_written >= last.bytes_written
            && stats.jobs_finished >= last.jobs_finished
            && stats.operations >= last.operations;
        let real = self.disks.iter().map(SimDisk::stats);
        let (read, written) =
            real.fold((0, 0), |(r, w), s| (r + s.bytes_read, w + s.bytes_written));
        if !grown || stats.bytes_read > read || stats.bytes_written > written {
            return Err(format!(
                "I12: counters {stats:?}, in truth {read} read, {written} written"
            ));
        }
        self.last_stats = stats;
        Ok(())
    }

    /// The backend breaks on the way: every job that was accepted is answered all the same, once,
    /// and what is said to be written is there.
    fn break_and_finish(mut self) -> Result<Tally, String> {
        self.submit_some()?;
        while !self.client.is_idle() {
            if Some(self.turns) < self.scenario.break_at {
                self.submit_some()?;
                self.step()?;
                continue;
            }
            self.world.crash(Crash::KeepAll);
            // It says that it is broken, again and again, and calls back what it accepted.
            let _ = self.client.turn(Some(Duration::ZERO));
            self.turns += 1;
            if self.turns > 4_000 {
                return Err("I13: a broken backend, and jobs that are not answered".into());
            }
        }
        let after: Images = self.disks.iter().map(SimDisk::bytes).collect();
        for (index, end) in lock(&self.ends)[..self.submitted].iter().enumerate() {
            let job = &self.scenario.jobs[index];
            let outcome = end.outcome.as_ref().filter(|_| end.calls == 1);
            let outcome = outcome.ok_or_else(|| format!("I1: {} callbacks", end.calls))?;
            let images = (&*self.before, &after);
            oracle::judge_written(job, outcome, images).map_err(|e| format!("job {index}: {e}"))?;
        }
        if self.client.engine().pool().in_use() > 0 && self.world.ops() == 0 {
            return Err("I7: pages are held although nothing was begun".into());
        }
        Ok(Tally { jobs: self.submitted as u64, after, ..Tally::default() })
    }

    fn finish(mut self) -> Result<Tally, String> {
        self.check_counters()?;
        let after: Images = self.disks.iter().map(SimDisk::bytes).collect();
        let struck = self.world.struck();
        let harmless =
            |effect: Effect| matches!(effect, Effect::Delay(_) | Effect::Twice | Effect::Stranger);
        let quiet = struck.iter().all(|struck| harmless(struck.effect));
        self.check_idle(&struck.iter().map(|s| s.effect).collect::<Vec<_>>())?;
        let evidence =
            Evidence { before: &self.before, after: &after, truth: &self.monitor.truth, quiet };
        let mut outcomes = Vec::new();
        for (index, end) in std::mem::take(&mut *lock(&self.ends)).into_iter().enumerate() {
            let job = &self.scenario.jobs[index];
            if end.calls != 1 {
                return Err(format!("I1: {} callbacks of job {index}", end.calls));
            }
            let outcome = end.outcome.ok_or("a callback without an outcome")?;
            if let Some(text) = end.not_durable {
                return Err(format!("I11: job {index}: {text}"));
            }
            oracle::judge(job, &outcome, &evidence)
                .map_err(|text| format!("job {index}: {text}: {outcome:?}"))?;
            outcomes.push(outcome);
        }
        self.check_untouched(&after)?;
        if quiet && self.cancelled.is_empty() {
            self.check_reads_once()?;
        }
        if let Some(rate) = self.scenario.rate {
            let piece = u64::from(self.scenario.request_size);
            self.monitor.check_rate(rate, piece * self.most_sides())?;
        }
        Ok(Tally {
            jobs: self.scenario.jobs.len() as u64,
            ops: self.world.ops(),
            turns: self.turns,
            faults: struck.len() as u64,
            hash: self.world.trace_hash(),
            fanout: self.world.fanout(),
            outcomes,
            stats: self.client.stats(),
            after,
        })
    }

    /// Operations that one piece starts reading with.
    fn most_sides(&self) -> u64 {
        let sides = |job: &JobPlan| (job.sources.len() + job.destinations.len()) as u64;
        self.scenario.jobs.iter().map(sides).max().unwrap_or(1)
    }

    /// At idle everything is given back, and completions that nobody asked for were counted.
    fn check_idle(&mut self, effects: &[Effect]) -> Result<(), String> {
        if self.client.engine().pool().in_use() > 0 {
            return Err("I7: pages are held although nothing is going on".into());
        }
        if self.world.in_flight() > 0 || self.client.engine().in_flight() > 0 {
            return Err("idle with operations in flight".into());
        }
        for _ in 0..2 {
            self.client.turn(Some(Duration::ZERO)).map_err(|error| error.to_string())?;
        }
        let expected =
            effects.iter().filter(|e| matches!(e, Effect::Twice | Effect::Stranger)).count();
        let counted = self.client.stats().stray_completions;
        if counted != expected as u64 {
            return Err(format!("{counted} stray completions counted, {expected} were made"));
        }
        Ok(())
    }

    /// I5 and I6: bytes outside of all destinations are as they were.
    fn check_untouched(&self, after: &Images) -> Result<(), String> {
        for (index, (old, now)) in self.before.iter().zip(after).enumerate() {
            let mut ranges: Vec<Range<u64>> = Vec::new();
            for job in self.scenario.jobs.iter().filter(|job| job.kind != JobKind::Compare) {
                let here = job.destinations.iter().filter(|(place, _)| place.disk == index);
                ranges.extend(here.map(|(place, _)| place.offset..place.offset + job.len));
            }
            ranges.sort_by_key(|range| range.start);
            let mut at = 0;
            for range in ranges.iter().chain([&(now.len() as u64..now.len() as u64)]) {
                let (from, to) = (at, usize::try_from(range.start).expect("small disks"));
                if from < to && old[from..to] != now[from..to] {
                    return Err(format!("I5: disk {index} changed within {from}..{to}"));
                }
                at = at.max(usize::try_from(range.end).expect("small disks"));
            }
        }
        Ok(())
    }

    /// I8: every byte was read as often as there are jobs that read it, no more.
    fn check_reads_once(&self) -> Result<(), String> {
        let refuses = |job: &JobPlan| matches!(job.work, Work::RefuseAt(_));
        let stopped = self.scenario.jobs.iter().any(refuses);
        for (index, plan) in self.scenario.disks.iter().enumerate() {
            let id = DiskId(u32::try_from(index).expect("few disks"));
            let mut wanted = Vec::new();
            for job in &self.scenario.jobs {
                let compared = job.destinations.iter().map(|(place, _)| place);
                let compared = compared.filter(|_| job.kind == JobKind::Compare);
                let here = job.sources.iter().chain(compared).filter(|p| p.disk == index);
                wanted.extend(here.map(|place| place.offset..place.offset + job.len));
            }
            for (range, count) in self.world.read_counts(id, 0..plan.size) {
                let mut edges: Vec<u64> = wanted.iter().flat_map(|r| [r.start, r.end]).collect();
                edges.extend([range.start, range.end]);
                edges.retain(|edge| range.start <= *edge && *edge < range.end);
                for at in edges {
                    let jobs = wanted.iter().filter(|wanted| wanted.contains(&at)).count() as u64;
                    if count > jobs || (count < jobs && !stopped) {
                        return Err(format!(
                            "I8: byte {at} of disk {index} read {count} times, \
                             not {jobs}"
                        ));
                    }
                }
            }
        }
        Ok(())
    }
}

/// I11: what the outcome says is written must survive a crash from now on.
fn not_durable(
    plan: &JobPlan,
    before: &Images,
    disks: &[SimDisk],
    outcome: &Outcome,
) -> Option<String> {
    if plan.kind == JobKind::Stripe && !outcome.unreadable.is_empty() {
        return None;
    }
    let wanted = oracle::wanted(plan, before, &outcome.unreadable);
    for (index, (disk, wanted)) in disks.iter().zip(&wanted).enumerate() {
        let Range { start, end } = outcome.destinations.get(index)?.written.clone();
        let (from, to) = (usize::try_from(start).ok()?, usize::try_from(end).ok()?);
        let place = plan.destinations[index].0;
        if disk.read_durable(place.offset + start, to - from) != wanted[from..to] {
            return Some(format!(
                "{start}..{end} of destination {index} would not survive a crash"
            ));
        }
    }
    None
}

/// I11: a flush makes durable what jobs wrote that had ended before it was asked for, on the disks
/// on which it succeeded.
fn not_covered(
    job: &(JobPlan, Outcome),
    before: &Images,
    disks: &[SimDisk],
    on: &[usize],
) -> Option<String> {
    let (plan, outcome) = job;
    if plan.kind == JobKind::Compare {
        return None;
    }
    let mut plan = plan.clone();
    let mut outcome = outcome.clone();
    let kept: Vec<usize> = (0..plan.destinations.len())
        .filter(|i| on.contains(&plan.destinations[*i].0.disk))
        .collect();
    plan.destinations = kept.iter().map(|i| plan.destinations[*i]).collect();
    outcome.destinations = kept.iter().map(|i| outcome.destinations[*i].clone()).collect();
    let disks: Vec<SimDisk> =
        plan.destinations.iter().map(|(place, _)| disks[place.disk].clone()).collect();
    not_durable(&plan, before, &disks, &outcome).map(|text| format!("a flush alone: {text}"))
}

fn lock(ends: &Ends) -> std::sync::MutexGuard<'_, Vec<End>> {
    ends.lock().unwrap_or_else(PoisonError::into_inner)
}
