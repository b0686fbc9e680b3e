//! A run on simulated disks with a picture of them at every operation, so that one run shows what a
//! loss of power leaves at any moment.

use std::collections::BTreeSet;
use std::io;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use kcopy::backend::sim::{Crash, OpKind, Schedule, SimBackend, SimWorld, Snapshot};
use kcopy::backend::{Backend, Completion, Op, OpId, Rejected, Slot, Wake};
use kcopy::engine::Config;
use kcopy::pool::Pool;
use kcopy::{BackendKind, Device, Errno};

use crate::mover::Mover;

/// A mover on the disks of `world`.
pub(crate) fn mover(world: &SimWorld) -> Mover {
    with(world, Box::new(world.backend()))
}

fn with(world: &SimWorld, backend: Box<dyn Backend>) -> Mover {
    let pool = Pool::new(512).expect("memory");
    Mover::on(backend, Box::new(world.clone()), pool, Config::default())
}

/// The pictures of a run.
#[derive(Debug)]
pub(crate) struct Film {
    frames: Arc<Mutex<Vec<Snapshot>>>,
    world: SimWorld,
}

impl Film {
    /// Runs `run` on the disks of `world`. Of operations in flight the youngest ends first, and one at
    /// a time, so that nothing happens between two pictures.
    pub(crate) fn of<T>(world: &SimWorld, run: impl FnOnce(&mut Mover) -> T) -> (Self, T) {
        world.set_schedule(Schedule::LastComeFirstServed);
        let frames = Arc::new(Mutex::new(vec![world.snapshot()]));
        let camera = Camera {
            backend: world.backend(),
            world: world.clone(),
            frames: Arc::clone(&frames),
            changes: BTreeSet::new(),
        };
        let result = run(&mut with(world, Box::new(camera)));
        (Self { frames, world: world.clone() }, result)
    }

    /// What a loss of power leaves after every operation: after a write, all of what was not flushed
    /// or some of it; after a flush, nothing of that. The last moment is that after the run.
    pub(crate) fn crashes(&self) -> Vec<Cut> {
        let frames = self.frames.lock().expect("one thread").clone();
        let mut cuts = Vec::with_capacity(frames.len() * 2);
        let mut volatile = 0;
        for (moment, frame) in frames.iter().enumerate() {
            let seed = u64::try_from(moment).expect("few");
            let before = std::mem::replace(&mut volatile, frame.volatile_blocks());
            let kinds = match volatile {
                now if now <= before => vec![Crash::DropAll],
                1 => vec![Crash::KeepAll],
                _ => vec![Crash::KeepAll, Crash::Seeded(seed)],
            };
            let cut = |crash| Cut { moment, done: false, crash, world: frame.after(crash, seed) };
            cuts.extend(kinds.into_iter().map(cut));
        }
        let (moment, crash) = (frames.len(), Crash::DropAll);
        let world = self.world.snapshot().after(crash, 0);
        cuts.push(Cut { moment, done: true, crash, world });
        cuts
    }
}

/// The disks after a loss of power.
#[derive(Clone, Debug)]
pub(crate) struct Cut {
    /// After how many operations.
    pub(crate) moment: usize,
    /// Whether the run had ended.
    pub(crate) done: bool,
    /// What was kept of what was not flushed.
    pub(crate) crash: Crash,
    /// The disks.
    pub(crate) world: SimWorld,
}

/// Takes a picture after every operation that changes something or makes it durable.
#[derive(Debug)]
struct Camera {
    backend: SimBackend,
    world: SimWorld,
    frames: Arc<Mutex<Vec<Snapshot>>>,
    /// Such operations in flight.
    changes: BTreeSet<OpId>,
}

impl Backend for Camera {
    fn kind(&self) -> BackendKind {
        self.backend.kind()
    }

    fn attach(&mut self, slot: Slot, device: &Device) -> Result<(), Errno> {
        self.backend.attach(slot, device)
    }

    fn detach(&mut self, slot: Slot) {
        self.backend.detach(slot);
    }

    fn room(&self) -> usize {
        self.backend.room()
    }

    fn submit(&mut self, id: OpId, op: Op) -> Result<(), Box<Rejected>> {
        if OpKind::of(&op) != OpKind::Read {
            self.changes.insert(id);
        }
        self.backend.submit(id, op)
    }

    fn wait(&mut self, timeout: Option<Duration>, done: &mut Vec<Completion>) -> io::Result<()> {
        let result = self.backend.wait(timeout, done);
        // Bytes reach a disk's cache, or its platter, when the operation ends.
        let ended = done.iter().filter(|completion| self.changes.remove(&completion.id));
        if ended.count() > 0 {
            self.frames.lock().expect("one thread").push(self.world.snapshot());
        }
        result
    }

    fn waker(&self) -> Arc<dyn Wake> {
        self.backend.waker()
    }

    fn describe(&self) -> String {
        self.backend.describe()
    }
}
