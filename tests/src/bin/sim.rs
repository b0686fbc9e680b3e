//! `sim`: the simulation at length.
#![expect(clippy::print_stdout, reason = "a program")]
use tests::sim::{generate, run};
fn main() {
    let mut args = std::env::args().skip(1);
    let from: u64 = args.next().map_or(0, |a| a.parse().expect("a number"));
    let count: u64 = args.next().map_or(1, |a| a.parse().expect("a number"));
    let mut bad = 0;
    let (mut ops, mut jobs) = (0, 0);
    for seed in from..from + count {
        let scenario = generate::scenario(seed);
        match std::panic::catch_unwind(|| run::run(&scenario, None)) {
            Ok(Ok(tally)) => {
                ops += tally.ops;
                jobs += tally.jobs;
            }
            Ok(Err(text)) => {
                bad += 1;
                println!("seed {seed}: {text}");
                if count == 1 {
                    println!("{scenario:?}");
                }
            }
            Err(_) => {
                bad += 1;
                println!("seed {seed}: panic")
            }
        }
        if bad > 20 {
            break;
        }
    }
    println!("{bad} bad, {ops} ops, {jobs} jobs");
}
