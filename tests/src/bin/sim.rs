//! `sim`: the simulation at length.
//!
//! ```text
//! sim everyday            the counts of the test plan, in a few minutes
//! sim long                the long form, hours
//! sim fixed               a short run, always the same
//! sim fresh               a short run with new seeds, printed
//! sim reshapes            the crash states of reshapes, in minutes; `reshapes long`: a quarter of an hour
//! sim strikes FIRST COUNT a disk fails at any moment of reshapes and chains, with so many seeds each
//! sim mutants             takes every rule of order away and sees that it is missed
//! sim replay ID           one run again: a seed, or the name that a violation was printed with
//! ```
//!
//! The exit status is 0 if no rule was broken, 1 if one was, 2 if the arguments are wrong.

use std::io::{self, Write};
use std::process::ExitCode;
use std::time::{SystemTime, UNIX_EPOCH};

use tests::reshaping::suite as reshaping;
use tests::sim::report::Report;
use tests::sim::{mutants, suite};

const USAGE: &str = "usage: sim everyday | long | fixed | fresh | reshapes [long] | strikes FIRST COUNT | \
     mutants | replay ID";

fn main() -> ExitCode {
    // What a run panics with is told with its name; the traces of it only hide that.
    std::panic::set_hook(Box::new(|_| {}));
    let args: Vec<String> = std::env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let report = match args[..] {
        ["everyday"] => suite::everything(suite::EVERYDAY),
        ["long"] => suite::everything(suite::LONG),
        ["fixed"] => suite::everything(suite::Volume::short(0)),
        ["fresh"] => {
            let first = fresh_seed();
            say(&format!("seeds from {first} on"));
            suite::everything(suite::Volume::short(first))
        }
        ["reshapes"] => reshaping::everything(reshaping::EVERYDAY),
        ["strikes", first, count] => match (first.parse::<u64>(), count.parse::<u64>()) {
            (Ok(first), Ok(count)) => reshaping::strikes(1, first..first.saturating_add(count)),
            _ => return usage(),
        },
        ["reshapes", "long"] => reshaping::everything(reshaping::LONG),
        ["mutants"] => {
            let mut report = mutants::everything();
            report.add(tests::reshaping::mutants::everything());
            report
        }
        ["replay", id] => match replay(id) {
            Some(report) => report,
            None => return usage(),
        },
        _ => return usage(),
    };
    conclude(&report)
}

fn usage() -> ExitCode {
    say(USAGE);
    ExitCode::from(2)
}

fn replay(id: &str) -> Option<Report> {
    if let Some(case) = reshaping::describe(id) {
        say(&case);
        return reshaping::replay(id);
    }
    say(&suite::describe(id)?);
    suite::replay(id)
}

#[expect(clippy::disallowed_methods, reason = "a seed that was not there before")]
fn fresh_seed() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).map(|time| time.as_nanos());
    u64::try_from(since.unwrap_or(0) & u128::from(u64::MAX >> 16)).unwrap_or(0)
}

/// Prints what was found and what was tried; nobody reading is no failure of the simulation.
fn say(text: &str) {
    let _ = writeln!(io::stdout().lock(), "{text}");
}

fn conclude(report: &Report) -> ExitCode {
    report.violations.iter().for_each(|violation| say(&violation.to_string()));
    report.counts().for_each(|(what, count)| say(&format!("{count:>10} {what}")));
    say(&format!("{:>10} violations", report.failures));
    if report.failures == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
