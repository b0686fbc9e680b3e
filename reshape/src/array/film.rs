//! A run on simulated disks with a picture of them at every operation, so that one run shows what a
//! loss of power leaves at any moment.

use kcopy::backend::Backend;
use kcopy::backend::sim::{Crash, Film as Pictures, Schedule, SimWorld};
use kcopy::engine::Config;
use kcopy::pool::Pool;

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
    pictures: Pictures,
    world: SimWorld,
}

impl Film {
    /// Runs `run` on the disks of `world`. Of operations in flight the youngest ends first, and one at
    /// a time, so that nothing happens between two pictures.
    pub(crate) fn of<T>(world: &SimWorld, run: impl FnOnce(&mut Mover) -> T) -> (Self, T) {
        world.set_schedule(Schedule::LastComeFirstServed);
        let (backend, pictures) = world.backend().filmed();
        let result = run(&mut with(world, Box::new(backend)));
        (Self { pictures, world: world.clone() }, result)
    }

    /// What a loss of power leaves after every operation: after a write, all of what was not flushed
    /// or some of it; after a flush, nothing of that. The last moment is that after the run.
    pub(crate) fn crashes(&self) -> Vec<Cut> {
        let frames = self.pictures.pictures();
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
