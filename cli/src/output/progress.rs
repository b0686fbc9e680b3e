//! How far it is: a bar on a terminal, or lines of JSON for programs.

use std::io::{self, IsTerminal, Write};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde::Serialize;

use super::Screen;
use crate::args;
use crate::clock;

/// Time between two lines of JSON.
const INTERVAL: Duration = Duration::from_millis(500);

/// What is going on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Phase {
    Copy,
    Zero,
    Compare,
    Export,
    Import,
    Check,
    Repair,
    Rebuild,
    Reshape,
    Flush,
    Verify,
    Done,
}

impl Phase {
    const fn word(self) -> &'static str {
        match self {
            Self::Copy => "copying",
            Self::Zero => "zeroing",
            Self::Compare => "comparing",
            Self::Export => "exporting",
            Self::Import => "importing",
            Self::Check => "checking",
            Self::Repair => "repairing",
            Self::Rebuild => "rebuilding",
            Self::Reshape => "reshaping",
            Self::Flush => "flushing",
            Self::Verify => "verifying",
            Self::Done => "done",
        }
    }
}

/// Tells how far it is, if somebody wants to know.
#[derive(Debug)]
pub(crate) enum Progress {
    Silent,
    Bar(ProgressBar),
    Json(Lines),
}

/// Lines of JSON on standard error.
#[derive(Debug)]
pub(crate) struct Lines {
    total: u64,
    phase: Phase,
    started: Instant,
    last: Option<Instant>,
}

#[derive(Serialize)]
struct Line {
    schema: u32,
    phase: Phase,
    bytes_done: u64,
    bytes_total: u64,
    seconds: f64,
}

impl Progress {
    pub(crate) fn start(how: args::Progress, screen: Screen, phase: Phase, total: u64) -> Self {
        match how {
            args::Progress::None => Self::Silent,
            args::Progress::Json => {
                Self::Json(Lines { total, phase, started: clock::now(), last: None })
            }
            args::Progress::Auto if screen.is_chatty() && draws_on_stderr() => {
                Self::Bar(bar(phase, total))
            }
            args::Progress::Auto => Self::Silent,
        }
    }

    /// Another part of the work begins; `total` bytes of it.
    pub(crate) fn phase(&mut self, phase: Phase, total: u64) {
        match self {
            Self::Silent => {}
            Self::Bar(bar) => {
                bar.set_length(total);
                bar.set_message(phase.word());
                bar.set_position(0);
                bar.reset_eta();
            }
            Self::Json(lines) => (lines.phase, lines.total, lines.last) = (phase, total, None),
        }
    }

    /// `done` bytes of this part are done.
    pub(crate) fn update(&mut self, done: u64) {
        match self {
            Self::Silent => {}
            Self::Bar(bar) => bar.set_position(done),
            Self::Json(lines) => lines.update(done),
        }
    }

    /// Nothing further will be said.
    pub(crate) fn finish(&mut self) {
        match self {
            Self::Silent => {}
            Self::Bar(bar) => bar.finish_and_clear(),
            Self::Json(lines) => {
                let total = lines.total;
                (lines.phase, lines.last) = (Phase::Done, None);
                lines.update(total);
            }
        }
    }
}

impl Lines {
    fn update(&mut self, done: u64) {
        let now = clock::now();
        if self.last.is_some_and(|last| now.duration_since(last) < INTERVAL) {
            return;
        }
        self.last = Some(now);
        let line = Line {
            schema: 1,
            phase: self.phase,
            bytes_done: done,
            bytes_total: self.total,
            seconds: now.duration_since(self.started).as_secs_f64(),
        };
        if let Ok(text) = serde_json::to_string(&line) {
            // Nobody listens any more.
            let _ = writeln!(io::stderr().lock(), "{text}");
        }
    }
}

fn draws_on_stderr() -> bool {
    io::stderr().is_terminal() && std::env::var_os("TERM").is_some_and(|term| term != "dumb")
}

fn bar(phase: Phase, total: u64) -> ProgressBar {
    let bar = ProgressBar::with_draw_target(Some(total), ProgressDrawTarget::stderr_with_hz(5));
    let template =
        "{msg:>10} {binary_bytes}/{binary_total_bytes} [{wide_bar}] {binary_bytes_per_sec} {eta}";
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style.progress_chars("=> "));
    }
    bar.set_message(phase.word());
    bar
}
