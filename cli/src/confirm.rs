//! The question before something is changed.

use std::io::{self, BufRead, IsTerminal, Write};

use crate::exit::Failure;

/// Whether the answer was given on the command line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    /// `--yes`
    Yes,
    /// There is somebody to be asked, or nobody.
    Ask,
}

impl From<bool> for Answer {
    fn from(yes: bool) -> Self {
        if yes { Self::Yes } else { Self::Ask }
    }
}

/// Names what will be changed and asks whether to go on.
///
/// # Errors
///
/// The answer is no, or there is no terminal to ask on: nothing is to be changed.
pub(crate) fn confirm(answer: Answer, what: &str) -> Result<(), Failure> {
    if answer == Answer::Yes {
        return Ok(());
    }
    if !io::stdin().is_terminal() || !io::stderr().is_terminal() {
        return Err(Failure::refused(format!("cannot go on without an answer: {what}"))
            .hint("there is no terminal to ask on; --yes answers beforehand"));
    }
    if ask(what).unwrap_or(false) {
        return Ok(());
    }
    Err(Failure::refused("cannot go on: the answer was not yes").hint("nothing was changed"))
}

fn ask(what: &str) -> io::Result<bool> {
    let mut out = io::stderr().lock();
    write!(out, "{what}\nGo on? [y/N] ")?;
    out.flush()?;
    drop(out);
    let mut line = String::new();
    io::stdin().lock().read_line(&mut line)?;
    Ok(matches!(line.trim().to_lowercase().as_str(), "y" | "yes"))
}
