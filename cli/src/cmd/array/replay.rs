//! `reshape replay`: an event log, run again.

use std::io::Read;

use reshape::machine::State;
use reshape::machine::log::{Run, replay};
use reshape::metadata::Direction;
use serde::Serialize;

use super::event_log::HEADING;
use crate::args::array::ReplayArgs;
use crate::cmd::target::cause;
use crate::exit::{Exit, Failure};
use crate::output::{Screen, name};

/// Logs are larger than this only if they are none: a line is written for some MiB of data.
const LARGEST: u64 = 1 << 30;

#[derive(Debug, Serialize)]
struct Report {
    schema: u32,
    agrees: bool,
    /// The first line that the machine does not agree with.
    error: Option<Error>,
    runs: Vec<RunReport>,
}

#[derive(Debug, Serialize)]
struct Error {
    /// From 1.
    line: usize,
    message: String,
}

/// One machine: a reshape from its start, or from where it was gone on with.
#[derive(Debug, Serialize)]
struct RunReport {
    direction: &'static str,
    /// Array sectors of 512 bytes, as all that follow.
    from_sector: u64,
    recorded_sector: u64,
    total_sectors: u64,
    written_sectors: u64,
    windows: u64,
    saved_windows: u64,
    checkpoints: u64,
    seconds: f64,
    /// `running` (the log ends in the middle), `stopped`, `finished`, `failed`, `needs-backup`.
    state: &'static str,
}

pub(crate) fn run(args: &ReplayArgs, screen: Screen) -> Result<Exit, Failure> {
    let log = read(args)?;
    let (report, exit) = match replay(&log) {
        Ok(runs) => {
            let runs = runs.iter().map(described).collect();
            (Report { schema: 1, agrees: true, error: None, runs }, Exit::Done)
        }
        Err(error) => {
            let error = Error { line: error.line, message: error.deviation.to_string() };
            let report = Report { schema: 1, agrees: false, error: Some(error), runs: Vec::new() };
            (report, Exit::Failed)
        }
    };
    if args.json {
        return Ok(screen.json(&report, exit));
    }
    Ok(screen.result(&text(&report), exit))
}

fn read(args: &ReplayArgs) -> Result<String, Failure> {
    let refused = |why: &str| {
        Failure::refused(format!("cannot replay {}: {why}", name(&args.file)))
            .hint("--event-log of reshape grow, continue and revert writes such a log")
    };
    let file = std::fs::File::open(&args.file).map_err(|error| refused(&cause(&error)))?;
    let mut bytes = Vec::new();
    file.take(LARGEST).read_to_end(&mut bytes).map_err(|error| refused(&cause(&error)))?;
    let log = String::from_utf8(bytes).map_err(|_| refused("it is no text"))?;
    if log.lines().next() != Some(HEADING) {
        return Err(refused(&format!("its first line is not {HEADING:?}")));
    }
    Ok(log)
}

fn described(run: &Run) -> RunReport {
    RunReport {
        direction: match run.start.track.direction {
            Direction::Forwards => "forwards",
            Direction::Backwards => "backwards",
        },
        from_sector: run.start.position.get(),
        recorded_sector: run.recorded.get(),
        total_sectors: run.start.track.total,
        written_sectors: run.written,
        windows: run.windows,
        saved_windows: run.saved,
        checkpoints: run.checkpoints,
        seconds: std::time::Duration::from_millis(run.millis).as_secs_f64(),
        state: match run.state {
            State::Running | State::Stopping => "running",
            State::Stopped => "stopped",
            State::Finished => "finished",
            State::Failed => "failed",
            State::NeedsBackup => "needs-backup",
        },
    }
}

fn text(report: &Report) -> String {
    let mut lines = Vec::with_capacity(report.runs.len() + 1);
    for (number, run) in (1..).zip(&report.runs) {
        lines.push(format!(
            "{number}: {} from {} to {} of {}: {} windows ({} saved first), {} checkpoints, {:.1} s, {}",
            run.direction,
            run.from_sector,
            run.recorded_sector,
            run.total_sectors,
            run.windows,
            run.saved_windows,
            run.checkpoints,
            run.seconds,
            run.state
        ));
    }
    lines.push(match &report.error {
        None => "the machine agrees with the log".to_owned(),
        Some(error) => format!("line {}: {}", error.line, error.message),
    });
    lines.join("\n")
}
