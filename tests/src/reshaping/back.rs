//! The way back: a reshape that was interrupted, turned around and brought to its end, a picture after every
//! operation. Whoever finds one of the states turns it, if that is not recorded, and goes back.

use std::fmt;

use kcopy::backend::sim::{Crash, Rng, SimWorld};
use reshape::assemble::Shapes;
use reshape::metadata::Direction;
use reshape::mover::Mover;

use super::bench::{Bench, Rule};
use super::case::Case;
use super::crash::Subject;
use super::power::{cut, mover};

/// The power goes after so many operations at most: a reshape has some dozens or some hundreds.
const MOST: [u64; 4] = [40, 100, 200, 400];
/// How often a moment is looked for at which something is recorded.
const TRIES: u32 = 60;

/// A case that is turned around on its way.
#[derive(Debug)]
pub struct Back {
    bench: Bench,
}

impl Back {
    /// Of `case`, without a rule.
    pub fn new(case: &Case, rule: Rule) -> Self {
        Self { bench: Bench::new(case, rule) }
    }

    /// The reshape after so many operations, as it comes up again.
    fn after(&self, seed: u64, operations: u64) -> SimWorld {
        let world = self.bench.world(seed);
        let _ = self.bench.go_on(&world, &mut cut(&world, operations), &[]);
        let again = world.snapshot().after(Crash::KeepAll, seed);
        again.silence_trace();
        again
    }
}

impl Subject for Back {
    fn id(&self) -> String {
        format!("back:{}", self.bench.case.number)
    }

    fn disks(&self) -> u32 {
        self.bench.disks()
    }

    fn world(&self, seed: u64) -> SimWorld {
        let mut rng = Rng::new(seed ^ u64::try_from(self.bench.case.number).unwrap_or(0));
        let mut world = self.bench.world(seed);
        for _ in 0..TRIES {
            let most = rng.pick(&MOST);
            world = self.after(seed, rng.between(1, most));
            match self.bench.recorded(&world, &mut mover(&world)) {
                Ok(Shapes::Moving { .. }) => break,
                // It has ended by then, or not begun.
                Ok(Shapes::Whole(_) | Shapes::Unknown) | Err(_) => {}
            }
        }
        world
    }

    fn go_on(&self, world: &SimWorld, mover: &mut Mover, _lost: &[u32]) -> Result<(), String> {
        let Shapes::Moving { reshape, .. } = self.bench.recorded(world, mover)? else {
            return Ok(());
        };
        if (reshape.direction == Direction::Forwards) == self.bench.case.forwards {
            return self.bench.turn_back(world, mover).map(drop);
        }
        self.bench.finish_recorded(world, mover)
    }

    fn is_added(&self, disk: u32) -> bool {
        self.bench.is_added(disk)
    }

    fn check(
        &self,
        world: &SimWorld,
        mover: &mut Mover,
        _lost: &[u32],
        doubtful: &[u32],
    ) -> Result<(), String> {
        self.bench.check_either_but(world, mover, doubtful)
    }

    fn can_lose(&self, _world: &SimWorld, _lost: &[u32]) -> bool {
        false
    }
}

impl fmt::Display for Back {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, turned around", self.bench)
    }
}
