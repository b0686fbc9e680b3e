//! The only files that print. Results go to standard output, all else to standard error.
//!
//! A reader that goes away (a closed pipe) is no error: the rest is not said.

use std::io::{self, IsTerminal, Write};

use anstyle::{AnsiColor, Style};
use serde::Serialize;

use crate::args::{Choice, Talk};
use crate::exit::{Exit, Failure};

pub(crate) mod escape;
pub(crate) mod progress;
pub(crate) mod text;

pub(crate) use escape::{name, word};
pub(crate) use progress::{Phase, Progress};

/// Something is wrong.
const PROBLEM: Style = AnsiColor::Red.on_default().bold();

/// How the program talks.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Screen {
    program: &'static str,
    quiet: u8,
    color: bool,
    result_color: bool,
}

impl Screen {
    pub(crate) fn new(program: &'static str, talk: Talk) -> Self {
        let wanted = |is_terminal: bool| match talk.color {
            Choice::Always => true,
            Choice::Never => false,
            Choice::Auto => is_terminal && colors_are_welcome(),
        };
        let color = wanted(io::stderr().is_terminal());
        let result_color = wanted(io::stdout().is_terminal());
        Self { program, quiet: talk.quiet, color, result_color }
    }

    /// Whether messages, on standard error, are coloured.
    pub(crate) fn color(self) -> bool {
        self.color
    }

    /// `text` in `style`, if the result, on standard output, is coloured.
    pub(crate) fn paint(self, style: Style, text: &str) -> String {
        if self.result_color && style != Style::new() {
            format!("{style}{text}{style:#}")
        } else {
            text.to_owned()
        }
    }

    /// Whether progress and summaries are wanted.
    pub(crate) fn is_chatty(self) -> bool {
        self.quiet == 0
    }

    /// `program: cannot …` and, on a line of its own, what to do.
    pub(crate) fn failure(self, failure: &Failure) {
        self.problem(&failure.message);
        if let Some(hint) = &failure.hint {
            self.hint(hint);
        }
    }

    /// Something that went wrong.
    pub(crate) fn problem(self, message: &str) {
        self.labelled(&format!("{}:", self.program), PROBLEM, message);
    }

    /// What the user can do.
    pub(crate) fn hint(self, message: &str) {
        self.labelled("hint:", Style::new().bold(), message);
    }

    /// Something the user should know that is no failure.
    pub(crate) fn note(self, message: &str) {
        self.labelled("note:", Style::new().bold(), message);
    }

    fn labelled(self, label: &str, style: Style, message: &str) {
        if self.quiet >= 2 {
            return;
        }
        let style = if self.color { style } else { Style::new() };
        // Standard error may be closed; there is no other place to say so.
        let _ = writeln!(io::stderr().lock(), "{style}{label}{style:#} {message}");
    }

    /// Lines of the result for people, unless they want none.
    pub(crate) fn summary(self, text: &str) {
        if self.is_chatty() {
            self.result(text, Exit::Done);
        }
    }

    /// Lines that were asked for; `exit`, or a failure if they cannot be printed.
    pub(crate) fn result(self, text: &str, exit: Exit) -> Exit {
        match raw(format!("{text}\n").as_bytes()) {
            Ok(()) => exit,
            Err(error) => {
                self.problem(&format!("cannot print the result: {error}"));
                if exit == Exit::Done { Exit::Failed } else { exit }
            }
        }
    }

    /// The result as JSON; `exit`, or a failure if it cannot be printed.
    pub(crate) fn json(self, value: &impl Serialize, exit: Exit) -> Exit {
        match serde_json::to_string(value) {
            Ok(text) => self.result(&text, exit),
            Err(error) => {
                self.problem(&format!("cannot make JSON of the result: {error}"));
                Exit::Failed
            }
        }
    }
}

/// Whether the environment allows colours.
fn colors_are_welcome() -> bool {
    let is_set = |name: &str| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    !is_set("NO_COLOR") && std::env::var_os("TERM").is_none_or(|term| term != "dumb")
}

/// A page, a script or another text, as it is. A reader that went away has what it wanted.
pub(crate) fn raw(bytes: &[u8]) -> io::Result<()> {
    let mut out = io::stdout().lock();
    match out.write_all(bytes).and_then(|()| out.flush()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        other => other,
    }
}

/// What the argument parser has to say: help, version, or what was wrong.
pub(crate) fn usage(error: &clap::Error, color: Choice) {
    let rendered = error.render();
    let color = match color {
        Choice::Always => true,
        Choice::Never => false,
        Choice::Auto if error.use_stderr() => io::stderr().is_terminal() && colors_are_welcome(),
        Choice::Auto => io::stdout().is_terminal() && colors_are_welcome(),
    };
    let plain = rendered.to_string();
    let safe = escape::lines(&plain);
    // An argument with control characters in it: colours are not worth the risk.
    let text = if color && safe == plain { rendered.ansi().to_string() } else { safe };
    if error.use_stderr() {
        let _ = io::stderr().lock().write_all(text.as_bytes());
    } else {
        let _ = io::stdout().lock().write_all(text.as_bytes());
    }
}
