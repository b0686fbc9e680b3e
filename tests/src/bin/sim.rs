//! `sim`: the simulation at length.
#![expect(clippy::print_stdout, reason = "a program")]
use tests::sim::{durable, failing, generate, report::Report, resuming, run, small};
fn main() {
    let mut args = std::env::args().skip(1);
    let what = args.next().expect("what");
    let mut report = Report::default();
    match what.as_str() {
        "small" => report = small::everything(None),
        "durable" => report = durable::everything(1, 100_000, None),
        "resume1" => {
            let seed = args.next().expect("seed").parse().expect("seed");
            println!("{:?}", resuming::plan(seed));
            resuming::one(seed, None, &mut report);
        }
        "resume" => report = resuming::everything(1, 1_000_000, None),
        "nth" => report = failing::everything(1),
        "replay" => {
            let id = args.next().expect("id");
            let scenario =
                failing::find(&id).unwrap_or_else(|| generate::scenario(id.parse().expect("seed")));
            println!("{scenario:?}");
            report.check(|| id, || run::run(&scenario, None));
        }
        _ => {
            let from: u64 = args.next().map_or(0, |a| a.parse().expect("a number"));
            let count: u64 = args.next().map_or(1, |a| a.parse().expect("a number"));
            for seed in from..from + count {
                let scenario = generate::scenario(seed);
                report.check(|| seed.to_string(), || run::run(&scenario, None));
            }
        }
    }
    for v in &report.violations {
        println!("{v}");
    }
    for (a, b) in report.counts() {
        println!("{a}: {b}");
    }
}
