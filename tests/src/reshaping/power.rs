//! Backends on simulated disks that lose their power after some operations, or take a picture after each.

use std::collections::BTreeSet;
use std::io;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use kcopy::backend::sim::{OpKind, Schedule, SimBackend, SimWorld, Snapshot};
use kcopy::backend::{Backend, Completion, Op, OpId, Rejected, Slot, Wake};
use kcopy::engine::Config;
use kcopy::pool::Pool;
use kcopy::{BackendKind, Device, Errno};
use reshape::mover::Mover;

/// Pages of a mover: many pieces of a small array at once.
const PAGES: u32 = 128;

/// Bytes of the largest request: more operations, more moments.
const REQUEST: u32 = 16384;

/// A mover on the disks of `world`.
pub fn mover(world: &SimWorld) -> Mover {
    with(world, Box::new(world.backend()))
}

/// A mover whose power goes after so many operations: nothing more reaches a disk, nothing comes back.
pub fn cut(world: &SimWorld, operations: u64) -> Mover {
    with(world, Box::new(Cut { backend: world.backend(), left: operations }))
}

fn with(world: &SimWorld, backend: Box<dyn Backend>) -> Mover {
    let pool = Pool::new(PAGES).expect("memory");
    let config = Config { request_size: REQUEST, ..Config::default() };
    Mover::on(backend, Box::new(world.clone()), pool, config)
}

/// Runs `run` on the disks of `world`, one operation ending at a time in the order of `schedule`; the
/// pictures after each operation that changed something or made it durable.
pub fn film<T>(
    world: &SimWorld,
    schedule: Schedule,
    run: impl FnOnce(&mut Mover) -> T,
) -> (Vec<Snapshot>, T) {
    world.set_schedule(schedule);
    let frames = Arc::new(Mutex::new(vec![world.snapshot()]));
    let camera = Camera {
        backend: world.backend(),
        world: world.clone(),
        frames: Arc::clone(&frames),
        changes: BTreeSet::new(),
    };
    let result = run(&mut with(world, Box::new(camera)));
    let frames = std::mem::take(&mut *frames.lock().expect("one thread"));
    (frames, result)
}

#[derive(Debug)]
struct Cut {
    backend: SimBackend,
    left: u64,
}

impl Backend for Cut {
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
        if self.left == 0 {
            return Ok(());
        }
        self.left -= 1;
        self.backend.submit(id, op)
    }

    fn wait(&mut self, timeout: Option<Duration>, done: &mut Vec<Completion>) -> io::Result<()> {
        if self.left == 0 {
            return Err(io::Error::other("the power is gone"));
        }
        self.backend.wait(timeout, done)
    }

    fn waker(&self) -> Arc<dyn Wake> {
        self.backend.waker()
    }

    fn describe(&self) -> String {
        self.backend.describe()
    }
}

#[derive(Debug)]
struct Camera {
    backend: SimBackend,
    world: SimWorld,
    frames: Arc<Mutex<Vec<Snapshot>>>,
    /// Operations in flight that change something.
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
