//! The command line: parse, call the library, print. No decisions about data are made here.
//!
//! | module | does |
//! | --- | --- |
//! | `args` | what can be said: clap's structs, nothing else |
//! | `cmd` | one room per subcommand: checks, then calls the library |
//! | `output` | everything that is printed |
//! | `exit` | the exit codes, and failures as data |
//! | [`units`] | sizes, read and written |
//!
//! What a command does lies in `cmd`; how it looks lies in `output`. The texts are for people and
//! may change; exit codes and JSON are promises.
#![forbid(unsafe_code)]

use std::ffi::OsString;
use std::process::ExitCode;

use clap::error::ErrorKind;
use clap::{CommandFactory, FromArgMatches};

mod args;
mod clock;
mod cmd;
mod exit;
mod generate;
mod logging;
mod output;
mod signals;
pub mod units;

use args::{Choice, Cli, Command};
use exit::{Exit, Failure};
use output::Screen;

/// Runs the command `kcopy` with these arguments, the program's name first.
pub fn kcopy(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let arguments: Vec<OsString> = arguments.into_iter().collect();
    let color = color_of(&arguments);
    let parsed = Cli::command()
        .try_get_matches_from(arguments)
        .and_then(|matches| Cli::from_arg_matches(&matches));
    let cli = match parsed {
        Ok(cli) => cli,
        Err(error) => return usage(&error, color).into(),
    };
    let screen = Screen::new(cli.talk);
    logging::start(cli.talk.verbose, cli.talk.quiet, screen.color());
    run(cli.command, screen)
        .unwrap_or_else(|failure| {
            screen.failure(&failure);
            failure.exit
        })
        .into()
}

fn run(command: Command, screen: Screen) -> Result<Exit, Failure> {
    match command {
        Command::Copy(args) => cmd::copy::run(&args, screen),
        Command::Zero(args) => cmd::zero::run(&args, screen),
        Command::Compare(args) => cmd::compare::run(&args, screen),
        Command::Info(args) => cmd::info::run(&args, screen),
        Command::Jobs(args) => cmd::jobs::run(&args, screen),
        Command::Generate(args) => generate::run(&args.what),
    }
}

/// What `--color` says, found before the rest is understood: the rest may be wrong.
fn color_of(arguments: &[OsString]) -> Choice {
    let mut choice = Choice::Auto;
    for (index, argument) in arguments.iter().enumerate() {
        let Some(argument) = argument.to_str() else { continue };
        let next = arguments.get(index + 1).and_then(|next| next.to_str());
        let value = argument.strip_prefix("--color=");
        match value.or_else(|| next.filter(|_| argument == "--color")) {
            Some("always") => choice = Choice::Always,
            Some("never") => choice = Choice::Never,
            _ => {}
        }
    }
    choice
}

/// Help and version are what was asked for; the rest is bad usage.
fn usage(error: &clap::Error, color: Choice) -> Exit {
    output::usage(error, color);
    if matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion) {
        return Exit::Done;
    }
    Exit::Refused
}
