//! Failing the n-th operation of a run, for n = 0, 1, 2 ... until the run gets through.

use kcopy::Errno;
use kcopy::backend::sim::{Effect, Fault};

use super::report::Report;
use super::run::run;
use super::scenario::Scenario;
use super::shapes::{Shape, shapes};

/// Once, or from then on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Span {
    /// Only the n-th operation.
    Transient,
    /// The n-th and all later ones.
    Persistent,
}

/// The ways to fail, by name.
pub const EFFECTS: [(&str, Effect); 8] = [
    ("eio", Effect::Error(Errno::IO)),
    ("enospc", Effect::Error(Errno::NO_SPACE)),
    ("eagain", Effect::Error(Errno::new(11))),
    ("eintr", Effect::Error(Errno::new(4))),
    ("enotsup", Effect::Error(Errno::NOT_SUPPORTED)),
    ("short", Effect::Short),
    ("zero", Effect::Nothing),
    ("vanish", Effect::Vanish),
];

/// Fails every operation of every shape in every way, `seeds` times with other schedules.
pub fn everything(seeds: u64) -> Report {
    of_shapes(seeds, |_| true)
}

/// The same for the shapes with certain names.
pub fn of_shapes(seeds: u64, wanted: impl Fn(&str) -> bool) -> Report {
    let mut report = Report::default();
    for shape in shapes().into_iter().filter(|shape| wanted(shape.name)) {
        for seed in 1..=seeds {
            for name in EFFECTS.map(|(name, _)| name) {
                for span in [Span::Transient, Span::Persistent] {
                    loop_over(&shape, (name, span), seed, &mut report);
                }
            }
        }
        report.count("shapes", 1);
        if report.is_hopeless() {
            break;
        }
    }
    report
}

/// n = 0, 1, 2 ... until nothing is left to fail.
fn loop_over(shape: &Shape, way: (&str, Span), seed: u64, report: &mut Report) {
    for n in 0.. {
        let id = format!("nth:{}:{}:{:?}:{n}:{seed}", shape.name, way.0, way.1);
        let Some(scenario) = scenario(shape, way, (n, seed)) else { return };
        let tally = report.check(|| id, || run(&scenario, None));
        report.count("n-th failure runs", 1);
        if tally.is_none_or(|tally| tally.faults == 0) {
            return;
        }
    }
}

fn scenario(shape: &Shape, way: (&str, Span), at: (u64, u64)) -> Option<Scenario> {
    let (name, span) = way;
    let (n, seed) = at;
    let effect = EFFECTS.iter().find(|(other, _)| *other == name)?.1;
    let fault = Fault::new(effect);
    let fault = match span {
        Span::Transient => fault.at(n),
        Span::Persistent => fault.from_op(n),
    };
    Some(Scenario { seed, faults: vec![fault], ..shape.scenario.clone() })
}

/// The run that an id `nth:SHAPE:EFFECT:SPAN:N:SEED` names.
pub fn find(id: &str) -> Option<Scenario> {
    let parts: Vec<&str> = id.split(':').collect();
    let ["nth", shape, effect, span, n, seed] = parts[..] else { return None };
    let span = if span == "Transient" { Span::Transient } else { Span::Persistent };
    let shape = shapes().into_iter().find(|other| other.name == shape)?;
    scenario(&shape, (effect, span), (n.parse().ok()?, seed.parse().ok()?))
}
