//! The command line: parse, call the library, print. No decisions about data are made here.
//!
//! | module | does |
//! | --- | --- |
//! | `args` | what can be said: clap's structs, nothing else; `args/array` for `reshape` |
//! | `cmd` | one room per subcommand: checks, then calls the library; `cmd/array` for `reshape` |
//! | `output` | everything that is printed |
//! | `confirm` | the question before something is changed |
//! | `exit` | the exit codes, and failures as data |
//! | `manual` | man pages and completions |
//! | [`units`] | sizes, read and written |
//!
//! There are two programs, [`kcopy()`] and [`reshape()`]; they differ in `args` and `cmd` only. What
//! a command does lies in `cmd`; how it looks lies in `output`. The texts are for people and may
//! change; exit codes and JSON are promises.
#![forbid(unsafe_code)]

use std::ffi::OsString;
use std::process::ExitCode;

use clap::Parser;
use clap::error::ErrorKind;

mod args;
mod clock;
mod cmd;
mod confirm;
mod exit;
mod logging;
mod manual;
mod output;
mod signals;
pub mod units;

use args::{Choice, Talk};
use exit::{Exit, Failure};
use output::Screen;

/// Runs the command `kcopy` with these arguments, the program's name first.
pub fn kcopy(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    enter::<args::Cli>(arguments)
}

/// Runs the command `reshape` with these arguments, the program's name first.
pub fn reshape(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    enter::<args::array::Cli>(arguments)
}

/// A program: its arguments and what is done with them.
trait Program: Parser {
    /// Its name, in front of its messages.
    const NAME: &'static str;

    /// How it is to talk.
    fn talk(&self) -> Talk;

    /// Does what was asked for.
    fn run(self, screen: Screen) -> Result<Exit, Failure>;
}

fn enter<P: Program>(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let arguments: Vec<OsString> = arguments.into_iter().collect();
    let color = color_of(&arguments);
    let program = match P::try_parse_from(arguments) {
        Ok(program) => program,
        Err(error) => return usage(&error, color).into(),
    };
    let talk = program.talk();
    let screen = Screen::new(P::NAME, talk);
    logging::start(talk.verbose, talk.quiet, screen.color());
    program
        .run(screen)
        .unwrap_or_else(|failure| {
            screen.failure(&failure);
            failure.exit
        })
        .into()
}

impl Program for args::Cli {
    const NAME: &'static str = "kcopy";

    fn talk(&self) -> Talk {
        self.talk
    }

    fn run(self, screen: Screen) -> Result<Exit, Failure> {
        use args::Command;
        match self.command {
            Command::Copy(args) => cmd::copy::run(&args, screen),
            Command::Zero(args) => cmd::zero::run(&args, screen),
            Command::Compare(args) => cmd::compare::run(&args, screen),
            Command::Info(args) => cmd::info::run(&args, screen),
            Command::Jobs(args) => cmd::jobs::run(&args, screen),
            Command::Generate(args) => manual::generate(&manual::KCOPY, &args.what),
        }
    }
}

impl Program for args::array::Cli {
    const NAME: &'static str = "reshape";

    fn talk(&self) -> Talk {
        self.talk
    }

    fn run(self, screen: Screen) -> Result<Exit, Failure> {
        use args::array::Command;
        match self.command {
            Command::Examine(args) => cmd::array::examine::run(&args, screen),
            Command::Detail(args) => cmd::array::detail::run(&args, screen),
            Command::Create(args) => cmd::array::create::run(&args, screen),
            Command::Export(args) => cmd::array::export::run(&args, screen),
            Command::Import(args) => cmd::array::import::run(&args, screen),
            Command::Check(args) => cmd::array::check::run(&args, screen),
            Command::Rebuild(args) => cmd::array::rebuild::run(&args, screen),
            Command::Plan(args) => cmd::array::plan::run(&args, screen),
            Command::Grow(args) => cmd::array::grow::run(&args, screen),
            Command::Demo(args) => cmd::array::demo::run(&args, screen),
            Command::Status(args) => cmd::array::going::status(&args, screen),
            Command::Continue(args) => cmd::array::going::go_on(&args, screen),
            Command::Restore(args) => cmd::array::going::restore(&args, screen),
            Command::Revert(args) => cmd::array::going::revert(&args, screen),
            Command::Bitmap(args) => cmd::array::bitmap::run(&args, screen),
            Command::Salvage(args) => cmd::array::salvage::run(&args, screen),
            Command::Replay(args) => cmd::array::replay::run(&args, screen),
            Command::Layout(args) => cmd::array::layout::run(&args, screen),
            Command::Generate(args) => manual::generate(&manual::RESHAPE, &args.what),
        }
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
