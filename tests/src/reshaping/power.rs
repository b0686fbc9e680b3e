//! Movers on simulated disks that lose their power after some operations, or take a picture after each.

use kcopy::backend::Backend;
use kcopy::backend::sim::{Schedule, SimWorld, Snapshot};
use kcopy::engine::Config;
use kcopy::pool::Pool;
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
    with(world, Box::new(world.backend().without_power_after(operations)))
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
    let (backend, film) = world.backend().filmed();
    let result = run(&mut with(world, Box::new(backend)));
    (film.pictures(), result)
}
