//! The simulated device: disks in memory that fail, lie, reorder, and lose what was not flushed.
//!
//! A [`SimWorld`] has disks, a clock and a seed. Its [`SimBackend`] goes into a client in place of
//! io_uring, and the whole run becomes a function of the seed: which operation ends next, how long
//! it takes, what a short read transfers, which write a crash keeps. Nothing here looks at a clock
//! or starts a thread.
//!
//! ```text
//!     engine --submit--> SimBackend --+--> Disk 0   current bytes (what a read returns)
//!            <--wait-----   |         |             cache: writes issued, not flushed
//!                           |         |             durable bytes (what a crash leaves)
//!                 SimWorld: clock, seed, schedule,
//!                 faults, trace       +--> Disk 1 ...
//! ```
//!
//! # What it promises, and what it takes away
//!
//! - A write is visible to reads when it has completed. From its submission on a crash may keep
//!   it, whole or any of its logical blocks.
//! - A flush makes durable the writes that had completed when it was submitted, no other.
//! - A flush that fails loses what it covered: a later flush that succeeds does not bring it back.
//! - A write that fails may have happened, in part or not at all.
//! - The size of a file that grew survives a crash (only bytes are lost).
//!
//! # Example
//!
//! Crash a program between a write and its flush, and see every state that the disk may be in:
//!
//! ```
//! use kcopy::backend::sim::{Crash, DiskOptions, SimWorld};
//! use kcopy::backend::{Backend, Op, OpId, Slot, Window};
//! use kcopy::pool::Pool;
//!
//! let world = SimWorld::new(1);
//! let disk = world.add_disk(DiskOptions::new(1 << 20));
//! let mut backend = world.backend();
//! backend.attach(Slot(0), &disk.device()).unwrap();
//!
//! let mut pool = Pool::new(4).unwrap();
//! let mut pages = pool.take(1).unwrap();
//! pages.fill(7);
//! # let pages = kcopy::backend::sim::share(pages);
//! let window = Window { start: 0, len: 1024 };
//! let write = Op::Write { device: Slot(0), offset: 0, pages, window };
//! backend.submit(OpId(0), write).unwrap();
//! let mut done = Vec::new();
//! backend.wait(None, &mut done).unwrap();
//!
//! // Two blocks of 512 bytes are not flushed: four outcomes.
//! let snapshot = world.snapshot();
//! assert_eq!(snapshot.volatile_blocks(), 2);
//! let outcome = |mask| {
//!     let after = snapshot.after(Crash::Blocks(mask), 0);
//!     let bytes = after.disk(disk.id()).read(0, 1024);
//!     (bytes[0], bytes[512])
//! };
//! let all: Vec<_> = (0..4).map(outcome).collect();
//! assert_eq!(all, [(0, 0), (7, 0), (0, 7), (7, 7)]);
//! ```

use std::ops::Range;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

mod backend;
mod disk;
mod faults;
mod film;
mod rng;
mod store;
#[cfg(test)]
mod tests;
mod trace;

pub use backend::SimBackend;
pub use disk::{DiskId, DiskOptions, DiskStats};
pub use faults::{Effect, Fault};
pub use film::Film;
pub use rng::Rng;
pub use store::Content;
pub use trace::{Event, OpKind, Phase};

use disk::Disk;
use faults::Target;
use store::to_usize;
use trace::Trace;

use crate::device::extents::{Change, Holes};
use crate::device::{Device, Handle};
use crate::mem::{Pages, SharedPages};
use crate::units::Time;

/// How a world picks the operation that ends next.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Schedule {
    /// Any of those in flight, by the seed.
    #[default]
    Random,
    /// The oldest.
    FirstComeFirstServed,
    /// The youngest.
    LastComeFirstServed,
    /// By each disk's speed ([`DiskOptions::speed`]).
    Timed,
    /// One a wait, as listed: the i-th choice is an index into the operations in flight, oldest
    /// first; 0 when the list is over. [`SimWorld::fanout`] says how many there were to choose
    /// from, so that a test can go through all orders.
    Script(Vec<usize>),
}

/// What a power failure does to the writes that are not durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Crash {
    /// None survives.
    DropAll,
    /// All survive.
    KeepAll,
    /// Bit i: the i-th block survives, of those that [`Snapshot::volatile_blocks`] counts; blocks
    /// from the 64th on do not survive.
    Blocks(u64),
    /// Each write is kept, dropped or torn, in any order, as this seed says.
    Seeded(u64),
}

impl crate::service::Clock for SimWorld {
    fn now(&self) -> Time {
        SimWorld::now(self)
    }
}

/// A fault that struck.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Struck {
    /// Number of the operation.
    pub op: u64,
    /// Its disk.
    pub disk: DiskId,
    /// Its kind.
    pub kind: OpKind,
    /// Its first byte.
    pub offset: u64,
    /// Its length.
    pub len: u64,
    /// What was done to it.
    pub effect: Effect,
}

#[derive(Debug)]
struct State {
    rng: Rng,
    now: Time,
    schedule: Schedule,
    fanout: Vec<usize>,
    disks: Vec<Disk>,
    devices: Vec<Device>,
    faults: Vec<Fault>,
    struck: Vec<Struck>,
    in_flight: Vec<Target>,
    trace: Trace,
    violations: Vec<String>,
    forbid_overlap: bool,
    /// Operations submitted so far.
    ops: u64,
    /// Waits that nothing could have ended.
    stalls: u64,
    /// Counts power failures.
    epoch: u64,
}

impl State {
    fn new(seed: u64, disks: Vec<Disk>, world: &Weak<Mutex<Self>>) -> Self {
        let devices = disks.iter().zip(0..);
        let devices = devices.map(|(disk, number)| device(disk, number, world.clone())).collect();
        Self {
            rng: Rng::new(seed),
            // One second on, so that "long ago" is a time, too.
            now: Time::from_nanos(1_000_000_000),
            schedule: Schedule::default(),
            fanout: Vec::new(),
            disks,
            devices,
            faults: Vec::new(),
            struck: Vec::new(),
            in_flight: Vec::new(),
            trace: Trace::default(),
            violations: Vec::new(),
            forbid_overlap: false,
            ops: 0,
            stalls: 0,
            epoch: 0,
        }
    }

    fn disk(&mut self, id: DiskId) -> &mut Disk {
        &mut self.disks[id.0 as usize]
    }

    fn violation(&mut self, text: String) {
        self.violations.push(text);
    }
}

fn device(disk: &Disk, number: u32, world: Weak<Mutex<State>>) -> Device {
    /// Identities of simulated disks, apart from those of other devices within the process.
    static NEXT: AtomicU64 = AtomicU64::new(1 << 63);
    let facts = disk.options.facts(NEXT.fetch_add(1, Ordering::Relaxed));
    let holes = Box::new(Oracle { world, number: DiskId(number) });
    let handle = Handle::Simulated { number, holes };
    Device::from_parts(PathBuf::from(format!("sim{number}")), facts, handle)
}

/// Tells where a disk was never written.
#[derive(Debug)]
struct Oracle {
    world: Weak<Mutex<State>>,
    number: DiskId,
}

impl Holes for Oracle {
    fn next_change(&self, offset: u64, to: Change) -> Option<u64> {
        let world = self.world.upgrade()?;
        let mut state = world.lock().unwrap_or_else(PoisonError::into_inner);
        state.disk(self.number).next_change(offset, to)
    }
}

/// Disks, a clock, and everything that may happen to them. Clones are the same world.
#[derive(Clone, Debug)]
pub struct SimWorld {
    seed: u64,
    state: Arc<Mutex<State>>,
}

impl SimWorld {
    /// A world without disks; everything that is random in it comes from `seed`.
    pub fn new(seed: u64) -> Self {
        Self::with_disks(seed, Vec::new())
    }

    fn with_disks(seed: u64, disks: Vec<Disk>) -> Self {
        Self { seed, state: Arc::new_cyclic(|state| Mutex::new(State::new(seed, disks, state))) }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The seed.
    pub fn seed(&self) -> u64 {
        self.seed
    }

    /// Adds a disk.
    ///
    /// # Panics
    ///
    /// If there are 2^32 already.
    pub fn add_disk(&self, options: DiskOptions) -> SimDisk {
        let mut state = self.state();
        let number = u32::try_from(state.disks.len()).expect("fewer than 2^32 disks");
        let disk = Disk::new(options);
        let device = device(&disk, number, Arc::downgrade(&self.state));
        state.disks.push(disk);
        state.devices.push(device);
        drop(state);
        self.disk(DiskId(number))
    }

    /// The disk with this number.
    ///
    /// # Panics
    ///
    /// If there is none.
    pub fn disk(&self, id: DiskId) -> SimDisk {
        assert!((id.0 as usize) < self.state().disks.len(), "there is no disk {}", id.0);
        SimDisk { world: self.clone(), id }
    }

    /// A backend on these disks that takes up to 64 operations at a time.
    pub fn backend(&self) -> SimBackend {
        self.backend_with_room(64)
    }

    /// A backend that takes up to `depth` operations at a time.
    pub fn backend_with_room(&self, depth: usize) -> SimBackend {
        SimBackend::new(self.clone(), depth)
    }

    /// Adds a fault. Of several that match an operation the one added first strikes.
    pub fn inject(&self, fault: Fault) {
        self.state().faults.push(fault);
    }

    /// Forgets all faults; disks that are gone stay so.
    pub fn clear_faults(&self) {
        self.state().faults.clear();
    }

    /// The faults that struck so far.
    pub fn struck(&self) -> Vec<Struck> {
        self.state().struck.clone()
    }

    /// Sets how the operation that ends next is picked.
    pub fn set_schedule(&self, schedule: Schedule) {
        let mut state = self.state();
        state.schedule = schedule;
        state.fanout.clear();
    }

    /// For each choice of a [`Schedule::Script`] so far, how many operations there were to choose
    /// from.
    pub fn fanout(&self) -> Vec<usize> {
        self.state().fanout.clone()
    }

    /// From now on, an operation that overlaps another one in flight, one of them changing the
    /// disk, is a violation. (Jobs of a user may overlap; those of a test should not.)
    pub fn forbid_overlap(&self) {
        self.state().forbid_overlap = true;
    }

    /// What the program under test did that no program may do: operations on unknown slots, past
    /// the end of a disk, outside their pages, with an id in use.
    pub fn violations(&self) -> Vec<String> {
        self.state().violations.clone()
    }

    /// The time of the world's clock. It moves while operations are waited for.
    pub fn now(&self) -> Time {
        self.state().now
    }

    /// Moves the clock on.
    pub fn advance(&self, time: Duration) {
        let nanos = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        let mut state = self.state();
        state.now = state.now.after_nanos(nanos);
    }

    /// The number of operations submitted so far.
    pub fn ops(&self) -> u64 {
        self.state().ops
    }

    /// The number of operations submitted and not completed.
    pub fn in_flight(&self) -> usize {
        self.state().in_flight.len()
    }

    /// The number of waits without a time-out that nothing in flight could have ended: on a real
    /// machine the program would have slept until woken by somebody else.
    pub fn stalls(&self) -> u64 {
        self.state().stalls
    }

    /// Everything that happened so far.
    pub fn trace(&self) -> Vec<Event> {
        self.state().trace.events().to_vec()
    }

    /// What happened since the trace had `from` lines.
    pub fn trace_from(&self, from: usize) -> Vec<Event> {
        self.state().trace.events().get(from..).unwrap_or_default().to_vec()
    }

    /// A hash of everything that happened: the same for two runs of the same seed.
    pub fn trace_hash(&self) -> u64 {
        self.state().trace.hash()
    }

    /// Keeps no trace from here on, only its hash: for long runs.
    pub fn silence_trace(&self) {
        self.state().trace.silence();
    }

    /// How often bytes of `disk` were read, by the trace: ranges within `within` and their counts,
    /// in order, without gaps.
    pub fn read_counts(&self, disk: DiskId, within: Range<u64>) -> Vec<(Range<u64>, u64)> {
        let mut steps = std::collections::BTreeMap::from([(within.start, 0), (within.end, 0)]);
        for event in self.state().trace.events() {
            let Phase::Ended(Ok(bytes)) = event.phase else { continue };
            if event.disk != disk || event.kind != OpKind::Read {
                continue;
            }
            let end = event.offset + u64::from(bytes);
            let (from, to) = (event.offset.max(within.start), end.min(within.end));
            if from < to {
                *steps.entry(from).or_insert(0_i64) += 1;
                *steps.entry(to).or_insert(0) -= 1;
            }
        }
        let mut counts = Vec::new();
        let mut depth = 0;
        let edges: Vec<(u64, i64)> = steps.into_iter().collect();
        for pair in edges.windows(2) {
            depth += pair[0].1;
            counts.push((pair[0].0..pair[1].0, u64::try_from(depth).unwrap_or_default()));
        }
        counts
    }

    /// All disks as they are now: what is durable, and what a crash may keep.
    pub fn snapshot(&self) -> Snapshot {
        Snapshot { disks: self.state().disks.clone() }
    }

    /// The power fails and comes back. Operations in flight are gone; backends made before are
    /// broken ([`crate::backend`], rule 7).
    pub fn crash(&self, crash: Crash) {
        let mut state = self.state();
        state.epoch += 1;
        state.in_flight.clear();
        crash_all(&mut state.disks, crash);
    }
}

/// The disks of a world at one moment. Cheap: unchanged bytes are shared.
#[derive(Clone, Debug)]
pub struct Snapshot {
    disks: Vec<Disk>,
}

impl Snapshot {
    /// How many logical blocks a crash may keep or drop, over all disks; a block that was written
    /// twice counts twice.
    pub fn volatile_blocks(&self) -> usize {
        self.disks.iter().map(Disk::volatile_blocks).sum()
    }

    /// A new world, with the given seed, whose disks are these after a power failure.
    pub fn after(&self, crash: Crash, seed: u64) -> SimWorld {
        let mut disks = self.disks.clone();
        crash_all(&mut disks, crash);
        SimWorld::with_disks(seed, disks)
    }
}

fn crash_all(disks: &mut [Disk], crash: Crash) {
    match crash {
        Crash::DropAll => disks.iter_mut().for_each(|disk| disk.crash(|| false)),
        Crash::KeepAll => disks.iter_mut().for_each(|disk| disk.crash(|| true)),
        Crash::Blocks(mut mask) => {
            for disk in disks {
                disk.crash(|| {
                    let keep = mask & 1 == 1;
                    mask >>= 1;
                    keep
                });
            }
        }
        Crash::Seeded(seed) => {
            let mut rng = Rng::new(seed);
            disks.iter_mut().for_each(|disk| disk.crash_at_random(&mut rng));
        }
    }
}

/// One disk of a world, for tests: looks at and changes its bytes directly, without operations.
#[derive(Clone, Debug)]
pub struct SimDisk {
    world: SimWorld,
    id: DiskId,
}

impl SimDisk {
    /// Its number.
    pub fn id(&self) -> DiskId {
        self.id
    }

    /// The handle for jobs.
    pub fn device(&self) -> Device {
        self.world.state().devices[self.id.0 as usize].clone()
    }

    /// Its size in bytes, now.
    pub fn size(&self) -> u64 {
        self.world.state().disk(self.id).size
    }

    /// Cuts it off (or, like a file, makes it longer) behind the client's back.
    pub fn set_size(&self, size: u64) {
        self.world.state().disk(self.id).size = size;
    }

    /// What a read would return.
    pub fn read(&self, offset: u64, len: usize) -> Vec<u8> {
        let mut bytes = vec![0; len];
        self.world.state().disk(self.id).read(offset, &mut bytes);
        bytes
    }

    /// What survives every crash, should it happen now.
    pub fn read_durable(&self, offset: u64, len: usize) -> Vec<u8> {
        let mut bytes = vec![0; len];
        self.world.state().disk(self.id).read_durable(offset, &mut bytes);
        bytes
    }

    /// All bytes that a read would return.
    pub fn bytes(&self) -> Vec<u8> {
        self.read(0, to_usize(self.size()))
    }

    /// Puts bytes there, at once and durably.
    pub fn write(&self, offset: u64, bytes: &[u8]) {
        self.world.state().disk(self.id).plant(offset, bytes);
    }

    /// What it was asked to do so far.
    pub fn stats(&self) -> DiskStats {
        self.world.state().disk(self.id).stats
    }

    /// Pulls the cable: every operation on it fails with `ENODEV` from now on.
    pub fn vanish(&self) {
        self.world.state().disk(self.id).gone = true;
    }

    /// Plugs it in again.
    pub fn come_back(&self) {
        self.world.state().disk(self.id).gone = false;
    }
}

/// Makes pages readable by many, as a write wants them: for code that drives a backend by hand.
pub fn share(pages: Pages) -> SharedPages {
    pages.into_shared()
}
