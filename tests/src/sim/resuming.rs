//! A copy with a resume map, driven on simulated disks: power failures at every step, programs
//! that are killed, disks that fail. Whatever survives, the map claims no chunk that is not on
//! every destination, forgets none that it promised, and the copy can be finished from it.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use kcopy::backend::sim::{
    Content, Crash, DiskId, DiskOptions, Effect, Fault, OpKind, Rng, SimBackend, SimDisk, SimWorld,
};
use kcopy::engine::Config;
use kcopy::pool::Pool;
use kcopy::resume::{
    Action, ChunkSet, Ending, Event, Identity, MapError, MapFile, Mutation, OnFailure, Session,
    Settings, Side,
};
use kcopy::{Errno, Extent, Job, LocalClient, Outcome};

use super::report::Report;

/// The name of the count of crash states.
pub const STATES: &str = "crash states of resume maps";
/// The name of the count of states from which the copy was finished.
pub const FINISHED: &str = "of these, copies resumed and finished";

/// Up to so many blocks that are not flushed, all subsets are tried.
const ALL_SUBSETS: usize = 12;
/// How many subsets of more blocks are tried.
const SOME_SUBSETS: u64 = 500;
/// Of more states than this at one moment, only a sample is resumed.
const ALL_RESUMED: usize = 32;

/// A copy with a map.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Where everything random comes from.
    pub seed: u64,
    length: u64,
    chunk: u64,
    destinations: usize,
    block: u32,
    map_block: u32,
    outstanding: usize,
    checkpoint_bytes: u64,
    checkpoint_nanos: u64,
    on_failure: OnFailure,
    faults: Vec<Fault>,
    /// The program is killed after so many turns, and started again.
    kill_at: Option<u64>,
    /// The user stops it after so many turns.
    stop_at: Option<u64>,
    rule: Option<Mutation>,
}

/// The copy of a seed.
pub fn plan(seed: u64) -> Plan {
    let mut rng = Rng::new(seed ^ 0x7e5_0e5);
    let chunk = rng.pick(&[4096, 4096, 8192]);
    let destinations = rng.index(2) + 1;
    let tail = rng.pick(&[0, 0, 512, 1000]);
    let mut faults = Vec::new();
    if rng.chance(1, 3) {
        let disk = DiskId(u32::try_from(rng.index(destinations + 2)).expect("few disks"));
        let kind = rng.pick(&[OpKind::Flush, OpKind::Write, OpKind::Read]);
        let fault = Fault::new(Effect::Error(Errno::IO)).on(disk).kind(kind).chance(300_000);
        faults.push(fault.times(rng.between(1, 3)));
    }
    Plan {
        seed,
        length: chunk * rng.between(2, 5) + tail,
        chunk,
        destinations,
        block: if tail > 0 { 512 } else { 4096 },
        // A record's content fits 512 bytes here: smaller blocks are needed to tear it.
        map_block: rng.pick(&[16, 16, 512, 4096]),
        outstanding: rng.index(3) + 1,
        checkpoint_bytes: chunk * rng.between(1, 3),
        checkpoint_nanos: rng.pick(&[100_000, 1_000_000_000]),
        on_failure: rng.pick(&[OnFailure::Stop, OnFailure::GoOn]),
        faults,
        kill_at: rng.chance(1, 2).then(|| rng.between(4, 40)),
        stop_at: rng.chance(1, 5).then(|| rng.between(4, 40)),
        rule: None,
    }
}

impl Plan {
    fn identity(&self, nonce: u64) -> Identity {
        Identity {
            source: Side::new("source", self.length, 0),
            destinations: (0..self.destinations)
                .map(|index| Side::new(format!("destination {index}"), 0, 0))
                .collect(),
            length: self.length,
            chunk: self.chunk,
            nonce,
        }
    }

    fn settings(&self) -> Settings {
        let mut settings = Settings {
            outstanding: self.outstanding,
            checkpoint_bytes: self.checkpoint_bytes,
            checkpoint_nanos: self.checkpoint_nanos,
            on_failure: self.on_failure,
            ..Settings::default()
        };
        settings.mutation = self.rule;
        settings
    }

    fn world(&self) -> SimWorld {
        let world = SimWorld::new(self.seed);
        let size = self.length.next_multiple_of(4096);
        let disk = |seed: u64| {
            let options = DiskOptions::new(size).blocks(self.block, 4096);
            options.content(Content::Pattern(seed))
        };
        (0..=self.destinations as u64).for_each(|index| {
            world.add_disk(disk(self.seed + index));
        });
        world.add_disk(DiskOptions::new(3 * 4096).blocks(self.map_block, 4096));
        world.add_disk(DiskOptions::new(3 * 4096).write_through());
        self.faults.iter().for_each(|fault| world.inject(fault.clone()));
        world
    }
}

/// The disks of a copy, in the order in which they were made.
#[derive(Clone, Debug)]
struct Disks {
    source: SimDisk,
    destinations: Vec<SimDisk>,
    map: SimDisk,
    /// Stands for the program's memory: the map's bytes are copied from here.
    memory: SimDisk,
}

impl Disks {
    fn of(world: &SimWorld, plan: &Plan) -> Self {
        let disk = |index: usize| world.disk(DiskId(u32::try_from(index).expect("few disks")));
        let map = plan.destinations + 1;
        Self {
            source: disk(0),
            destinations: (1..map).map(disk).collect(),
            map: disk(map),
            memory: disk(map + 1),
        }
    }

    /// The map as the file says it is now; `None`: there is none yet.
    fn read_map(&self, plan: &Plan) -> Result<Option<MapFile>, MapError> {
        match MapFile::parse(&self.map.bytes()) {
            Ok(map) => {
                assert_eq!(map.identity().matches(&plan.identity(0)), Ok(()));
                Ok(Some(map))
            }
            Err(MapError::Empty) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Rule 1: every chunk in `claimed` is on every destination.
    fn check_claims(&self, plan: &Plan, claimed: &ChunkSet) -> Result<(), String> {
        for index in (0..).take_while(|index| index * plan.chunk < plan.length) {
            if !claimed.contains(index) {
                continue;
            }
            let offset = index * plan.chunk;
            let len = usize::try_from(plan.chunk.min(plan.length - offset)).expect("small");
            let source = self.source.read(offset, len);
            for (number, destination) in self.destinations.iter().enumerate() {
                if destination.read(offset, len) != source {
                    return Err(format!("chunk {index} is claimed, destination {number} lacks it"));
                }
            }
        }
        Ok(())
    }
}

/// What must still be true after a crash.
#[derive(Clone, Debug, Default)]
struct Promise {
    /// The map was made durable once: it can always be read from then on.
    map: bool,
    /// What the session said is claimed.
    claimed: Option<ChunkSet>,
}

impl Promise {
    fn check(&self, plan: &Plan, disks: &Disks) -> Result<Option<MapFile>, String> {
        let map = match disks.read_map(plan) {
            Ok(map) => map,
            Err(error) if self.map => return Err(format!("the map is lost: {error}")),
            Err(_) => None,
        };
        let Some(map) = map else {
            return if self.map { Err("the map is empty".into()) } else { Ok(None) };
        };
        disks.check_claims(plan, map.claimed())?;
        let forgotten = self.claimed.as_ref().and_then(|promised| {
            (0..map.identity().chunks())
                .find(|index| promised.contains(*index) && !map.claimed().contains(*index))
        });
        match forgotten {
            Some(index) => Err(format!("chunk {index} was promised, and the map forgot it")),
            None => Ok(Some(map)),
        }
    }
}

/// A program that copies.
struct Program<'a> {
    plan: &'a Plan,
    world: SimWorld,
    disks: Disks,
    client: LocalClient<SimBackend, SimWorld>,
    session: Session,
    events: Arc<Mutex<VecDeque<Event>>>,
    turns: u64,
    /// Something was copied: the map is durable, the session says.
    open: bool,
}

impl<'a> Program<'a> {
    /// Starts on what the disks hold.
    fn start(plan: &'a Plan, world: &SimWorld) -> Result<Self, String> {
        let disks = Disks::of(world, plan);
        let map = match disks.read_map(plan) {
            Ok(Some(map)) => map,
            // A map that was about to be made: nothing was copied yet.
            Ok(None) | Err(_) => MapFile::new(plan.identity(world.ops() + 1))
                .map_err(|error| format!("no map: {error}"))?,
        };
        let pool = Pool::new(8).ok_or("no memory")?;
        let config = Config { request_size: 4096, ..Config::default() };
        let client =
            LocalClient::with_clock(config, pool, world.backend_with_room(16), world.clone());
        let session = Session::new(map, plan.settings(), world.now());
        let (world, events) = (world.clone(), Arc::default());
        Ok(Self { plan, world, disks, client, session, events, turns: 0, open: false })
    }

    /// Does everything that the session wants now; its end, if it is over.
    fn act(&mut self) -> Result<Option<Ending>, String> {
        while let Some(action) = self.session.poll(self.world.now()) {
            let extent = |disk: &SimDisk, offset, len| Extent::new(&disk.device(), offset, len);
            let (job, good, bad) = match action {
                Action::Finished(ending) => return Ok(Some(ending)),
                Action::Copy(chunk) => {
                    // From here on the session relies on its map.
                    self.open = true;
                    let source = extent(&self.disks.source, chunk.offset, chunk.len);
                    let to = self.disks.destinations.iter();
                    let job = to.fold(Job::copy(source), |job, disk| {
                        job.to(extent(disk, chunk.offset, chunk.len))
                    });
                    let (good, bad) = (Event::ChunkCopied, Event::ChunkFailed);
                    (job, good(chunk.index), bad(chunk.index))
                }
                Action::FlushDestinations => {
                    let devices: Vec<_> =
                        self.disks.destinations.iter().map(SimDisk::device).collect();
                    (Job::flush_only(&devices), Event::DestinationsFlushed, Event::FlushFailed)
                }
                Action::WriteMap { offset, bytes } => {
                    self.disks.memory.write(0, &bytes);
                    let from = extent(&self.disks.memory, 0, bytes.len() as u64);
                    let job = Job::copy(from);
                    let job = job.to(extent(&self.disks.map, offset, bytes.len() as u64));
                    (job, Event::MapWritten, Event::MapFailed)
                }
                Action::FlushMap => {
                    let device = self.disks.map.device();
                    (Job::flush_only([&device]), Event::MapFlushed, Event::MapFailed)
                }
            };
            let events = Arc::clone(&self.events);
            let callback = move |outcome: Outcome| {
                let event = if outcome.is_ok() { good } else { bad };
                events.lock().unwrap_or_else(PoisonError::into_inner).push_back(event);
            };
            self.client.submit(job, callback).map_err(|error| format!("refused: {error}"))?;
        }
        Ok(None)
    }

    /// One turn of the engine, and what came of it.
    fn turn(&mut self, promise: &mut Promise) -> Result<(), String> {
        let now = self.world.now();
        let patience = self.session.deadline().map(|at| Duration::from_nanos(at.nanos_since(now)));
        if patience.is_none() && self.client.is_idle() {
            return Err("the session waits for nothing".into());
        }
        self.client.turn(patience).map_err(|error| error.to_string())?;
        self.turns += 1;
        if self.plan.stop_at == Some(self.turns) {
            self.session.handle(Event::Stop, self.world.now());
        }
        let before = self.session.progress().claimed;
        let events =
            std::mem::take(&mut *self.events.lock().unwrap_or_else(PoisonError::into_inner));
        for event in events {
            self.session.handle(event, self.world.now());
        }
        if self.session.progress().claimed < before {
            return Err("I12: progress went back".into());
        }
        if self.open {
            promise.map = true;
            promise.claimed = Some(self.session.map().claimed().clone());
        }
        if let Some(text) = self.world.violations().first() {
            return Err(format!("the engine's bug: {text}"));
        }
        if self.turns > 5000 { Err("I13: it does not end".into()) } else { Ok(()) }
    }
}

/// What a run is doing.
struct Trial<'a> {
    plan: &'a Plan,
    states: u64,
    finished: u64,
}

impl Trial<'_> {
    /// Runs the copy, crashing it at every step, to its end; kills and restarts it on the way.
    fn run(&mut self) -> Result<(), String> {
        let world = self.plan.world();
        let mut promise = Promise::default();
        let mut kill_at = self.plan.kill_at;
        loop {
            let mut program = Program::start(self.plan, &world)?;
            let ending = loop {
                if let Some(ending) = program.act()? {
                    break Some(ending);
                }
                program.turn(&mut promise)?;
                self.crash_everywhere(&world, &promise)?;
                if kill_at.is_some_and(|at| program.turns >= at) {
                    break None;
                }
            };
            drop(program);
            match ending {
                None => kill_at = None,
                Some(ending) => {
                    self.crash_everywhere(&world, &promise)?;
                    return self.check_ending(&world, ending);
                }
            }
        }
    }

    fn check_ending(&self, world: &SimWorld, ending: Ending) -> Result<(), String> {
        let faulty = !world.struck().is_empty();
        match ending {
            Ending::Complete => {
                let disks = Disks::of(world, self.plan);
                let map = disks.read_map(self.plan).map_err(|error| error.to_string())?;
                let map = map.ok_or("complete without a map")?;
                if !map.claimed().is_full() {
                    return Err("complete, but not all is claimed".into());
                }
                disks.check_claims(self.plan, map.claimed())
            }
            Ending::Stopped if self.plan.stop_at.is_some() => Ok(()),
            Ending::ChunksFailed | Ending::FlushFailed | Ending::MapFailed if faulty => Ok(()),
            Ending::Stopped | Ending::ChunksFailed | Ending::FlushFailed | Ending::MapFailed => {
                Err(format!("it ended as {ending:?}, for no reason"))
            }
        }
    }

    /// All the ways in which the power can fail now.
    fn crash_everywhere(&mut self, world: &SimWorld, promise: &Promise) -> Result<(), String> {
        let snapshot = world.snapshot();
        let blocks = snapshot.volatile_blocks();
        let crashes: Vec<Crash> = if blocks <= ALL_SUBSETS {
            (0..1 << blocks).map(Crash::Blocks).collect()
        } else {
            let seeds = (0..SOME_SUBSETS).map(|n| Crash::Seeded(world.ops() << 32 | n));
            seeds.chain([Crash::DropAll, Crash::KeepAll]).collect()
        };
        let few = crashes.len() <= ALL_RESUMED;
        let mut rng = Rng::new(self.plan.seed ^ world.ops());
        for crash in crashes {
            let after = snapshot.after(crash, world.ops());
            let name = |text: String| format!("after {crash:?}, operation {}: {text}", world.ops());
            promise.check(self.plan, &Disks::of(&after, self.plan)).map_err(name)?;
            self.states += 1;
            if few || rng.chance(1, 64) {
                let again = rng.chance(1, 10).then(|| rng.between(1, 30));
                self.finish(&after, again).map_err(name)?;
            }
        }
        Ok(())
    }

    /// Goes on after a crash, to the end; the power fails once more after `again` turns.
    fn finish(&mut self, world: &SimWorld, again: Option<u64>) -> Result<(), String> {
        let mut promise = Promise::default();
        let plan = Plan { stop_at: None, ..self.plan.clone() };
        let mut program = Program::start(&plan, world)?;
        let ending = loop {
            if let Some(ending) = program.act()? {
                break ending;
            }
            program.turn(&mut promise)?;
            if again == Some(program.turns) {
                let crash = Crash::Seeded(plan.seed ^ program.turns);
                let after = world.snapshot().after(crash, plan.seed);
                promise.check(&plan, &Disks::of(&after, &plan))?;
                self.states += 1;
                return self.finish(&after, None);
            }
        };
        let disks = Disks::of(world, &plan);
        let map = disks.read_map(&plan).map_err(|error| error.to_string())?;
        let full = map.is_some_and(|map| map.claimed().is_full());
        if ending != Ending::Complete || !full {
            return Err(format!("resumed, and ended as {ending:?}"));
        }
        let len = usize::try_from(plan.length).expect("small");
        let source = disks.source.read(0, len);
        if disks.destinations.iter().any(|disk| disk.read_durable(0, len) != source) {
            return Err("resumed and complete, but a destination is not the source".into());
        }
        self.finished += 1;
        Ok(())
    }
}

/// Crashes the copy of one seed at every step, with `rule` broken if there is one.
pub fn one(seed: u64, rule: Option<Mutation>, report: &mut Report) {
    let plan = Plan { rule, ..plan(seed) };
    let mut trial = Trial { plan: &plan, states: 0, finished: 0 };
    report.check(|| format!("resume:{seed}"), || trial.run());
    let (states, finished) = (trial.states, trial.finished);
    report.count(STATES, states);
    report.count(FINISHED, finished);
    report.count("runs of copies with a map", 1);
}

/// Crashes copies from `first` on until `states` states were looked at.
pub fn everything(first: u64, states: u64, rule: Option<Mutation>) -> Report {
    let mut report = Report::default();
    for seed in first.. {
        let enough = report.counted(STATES) >= states || report.is_hopeless();
        if enough || (rule.is_some() && report.failures > 0) {
            break;
        }
        one(seed, rule, &mut report);
    }
    report
}
