//! What is said at the end: JSON for programs, a line for people, a message for every failure.

use std::io;
use std::path::Path;

use kcopy::{Client, Fault, FaultKind, SubmitError};
use serde::Serialize;

use super::feed::Feed;
use super::runner::{Plan, Target};
use super::verify::Verdict;
use crate::args::CopyArgs;
use crate::cmd::ranges::Ranges;
use crate::cmd::target::{cause, remedy};
use crate::exit::Exit;
use crate::output::{Screen, name};
use crate::units::{exact, human};

/// The most bad ranges that are listed for people.
const LISTED: usize = 20;

/// How a copy ended.
#[derive(Debug)]
pub(crate) struct End {
    pub(crate) plan: Plan,
    pub(crate) targets: Vec<Target>,
    pub(crate) unreadable: Ranges,
    /// What the source had no more when its turn came.
    pub(crate) gone: Ranges,
    /// The lowest end of the source that was seen, in bytes of it.
    pub(crate) source_end: u64,
    pub(crate) read_fault: Option<Fault>,
    pub(crate) refusal: Option<SubmitError>,
    pub(crate) interrupted: bool,
    pub(crate) verdict: Option<Verdict>,
    pub(crate) done: u64,
    pub(crate) resumed: u64,
    pub(crate) seconds: f64,
    pub(crate) prefix: u64,
    pub(crate) claimed: Option<u64>,
    pub(crate) map_failed: Option<io::Error>,
    pub(crate) directories: Option<io::Error>,
}

impl End {
    pub(crate) fn exit(&self) -> Exit {
        let failed = self.read_fault.is_some()
            || self.refusal.is_some()
            || self.map_failed.is_some()
            || self.directories.is_some()
            || self.targets.iter().any(|target| target.fault.is_some())
            || self.has_differences();
        match (failed, self.interrupted) {
            (_, true) => Exit::Interrupted,
            (true, false) => Exit::Failed,
            (false, false) => Exit::Done,
        }
    }

    fn has_differences(&self) -> bool {
        self.verdict.as_ref().is_some_and(|v| v.different.iter().any(|ranges| !ranges.is_empty()))
    }

    /// A map has served when everything is done; else it stays.
    pub(crate) fn close_map(&mut self, mut feed: Feed, path: Option<&Path>) {
        self.map_failed = feed.map_error.take();
        if self.exit() == Exit::Done
            && let (Some(path), Err(error)) = (path, feed.remove_map())
        {
            tracing::warn!(map = %path.display(), %error, "the map could not be removed");
        }
    }
}

/// The JSON of `kcopy copy`.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    schema: u32,
    bytes: u64,
    seconds: f64,
    backend: &'static str,
    direct: bool,
    pool_bytes: u64,
    pool_peak_bytes: u64,
    source: SourceReport,
    destinations: Vec<DestinationReport>,
    length: u64,
    resumed_bytes: u64,
    interrupted: bool,
    flushed: bool,
    verified: Option<bool>,
    bad_ranges: Vec<BadRange>,
    bad_ranges_unlisted: u64,
}

#[derive(Debug, Serialize)]
struct SourceReport {
    path: String,
    bytes_read: u64,
    error: Option<ErrorReport>,
}

#[derive(Debug, Serialize)]
struct DestinationReport {
    path: String,
    bytes_written: u64,
    error: Option<ErrorReport>,
    created: bool,
}

#[derive(Debug, Serialize)]
pub(crate) struct ErrorReport {
    pub(crate) errno: i32,
    sector: u64,
    pub(crate) message: String,
}

/// A run of bytes that is not as it should be; offsets are those of the file or device.
#[derive(Debug, Serialize)]
pub(crate) struct BadRange {
    path: String,
    what: What,
    offset: u64,
    length: u64,
    message: &'static str,
}

/// What is wrong with a range.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum What {
    Unreadable,
    Vanished,
    Unwritten,
    Different,
}

impl What {
    const fn word(self) -> &'static str {
        match self {
            Self::Unreadable => "unreadable",
            Self::Vanished => "vanished",
            Self::Unwritten => "unwritten",
            Self::Different => "different",
        }
    }

    const fn message(self) -> &'static str {
        match self {
            Self::Unreadable => "could not be read; the copies have zeros there",
            Self::Vanished => {
                "the source shrank while it was copied, and ended before; the copies have zeros there"
            }
            Self::Unwritten => "could not be written",
            Self::Different => "reads back differently than it was written",
        }
    }
}

impl From<&Fault> for ErrorReport {
    fn from(fault: &Fault) -> Self {
        Self { errno: fault.errno.raw(), sector: fault.sector.get(), message: fault.to_string() }
    }
}

impl Report {
    pub(crate) fn new(args: &CopyArgs, client: &Client, end: &End) -> Self {
        let stats = client.stats();
        let source = &end.plan.source;
        let devices = end.targets.iter().map(|target| &target.device).chain([source]);
        let destination = |(index, target): (usize, &Target)| DestinationReport {
            path: target.device.path().to_string_lossy().into_owned(),
            bytes_written: target.written,
            error: target.fault.as_ref().map(Into::into).or_else(|| end.mismatch(index)),
            created: target.created,
        };
        let mut bad_ranges = Vec::new();
        let unlisted = end.bad_ranges(&mut bad_ranges);
        Self {
            schema: 1,
            bytes: end.done,
            seconds: end.seconds,
            backend: client.backend().name(),
            direct: devices.into_iter().all(|device| device.facts().direct.is_some()),
            pool_bytes: stats.pool_pages * 4096,
            pool_peak_bytes: stats.pool_peak_pages * 4096,
            source: SourceReport {
                path: source.path().to_string_lossy().into_owned(),
                bytes_read: stats.device(source).bytes_read,
                error: end.read_error(),
            },
            destinations: end.targets.iter().enumerate().map(destination).collect(),
            length: end.plan.len,
            resumed_bytes: end.resumed,
            interrupted: end.interrupted,
            flushed: flushes(args),
            verified: end.verdict.as_ref().map(|v| !v.interrupted && !end.has_differences()),
            bad_ranges,
            bad_ranges_unlisted: unlisted,
        }
    }

    /// Says it all, and with which code the program ends.
    pub(crate) fn tell(&self, screen: Screen, end: &End, args: &CopyArgs) -> Exit {
        end.tell_failures(screen, args);
        let exit = end.exit();
        if end.interrupted {
            end.tell_interrupted(screen, args);
        }
        if args.json {
            return screen.json(self, exit);
        }
        if exit == Exit::Done {
            screen.summary(&self.summary());
        }
        exit
    }

    fn summary(&self) -> String {
        let count = self.destinations.len();
        let to = match self.destinations.first() {
            Some(one) if count == 1 => crate::output::escape::lines(&one.path),
            _ => format!("{count} destinations"),
        };
        let mut text = format!("copied {} to {to}", human(self.bytes));
        if self.resumed_bytes > 0 {
            text = format!("{text} ({} were done before)", human(self.resumed_bytes));
        }
        text = format!("{text} in {:.2} s", self.seconds);
        if let Some(rate) = rate(self.bytes, self.seconds) {
            text = format!("{text}, {}/s", human(rate));
        }
        text = format!("{text}, {}", self.backend);
        for (word, is) in [
            ("direct", self.direct),
            ("flushed", self.flushed),
            ("verified", self.verified == Some(true)),
        ] {
            if is {
                text = format!("{text}, {word}");
            }
        }
        text
    }
}

/// Whether the copies are made durable. What is not on the device cannot be verified there.
pub(crate) fn flushes(args: &CopyArgs) -> bool {
    !args.no_flush || args.verify
}

/// Whole bytes per second.
pub(crate) fn rate(bytes: u64, seconds: f64) -> Option<u64> {
    let nanos = std::time::Duration::try_from_secs_f64(seconds).ok()?.as_nanos();
    let rate = (u128::from(bytes) * 1_000_000_000).checked_div(nanos)?;
    u64::try_from(rate).ok()
}

impl End {
    /// A destination that reads back differently, as an error.
    fn mismatch(&self, index: usize) -> Option<ErrorReport> {
        let range = self.verdict.as_ref()?.different.get(index)?.iter().next()?.clone();
        let at = self.plan.seek + range.start;
        Some(ErrorReport {
            errno: rustix::io::Errno::IO.raw_os_error(),
            sector: at / 512,
            message: format!("reads back differently from byte {at} on"),
        })
    }

    /// Why the source could not be read, if it could not.
    fn read_error(&self) -> Option<ErrorReport> {
        let fault = self.read_fault.as_ref()?;
        let error = ErrorReport::from(fault);
        if fault.kind == FaultKind::EndOfDevice {
            return Some(ErrorReport { message: self.shrank(), ..error });
        }
        Some(error)
    }

    fn shrank(&self) -> String {
        format!(
            "it became shorter while it was copied; it had {}, now {}",
            exact(self.plan.source.facts().size),
            exact(self.source_end)
        )
    }

    /// Lists what is bad; returns how many ranges found no place.
    fn bad_ranges(&self, list: &mut Vec<BadRange>) -> u64 {
        let mut unlisted = 0;
        let mut push = |path: &Path, what: What, base: u64, ranges: &Ranges| {
            unlisted += ranges.unlisted();
            list.extend(ranges.iter().map(|range| BadRange {
                path: path.to_string_lossy().into_owned(),
                what,
                offset: base + range.start,
                length: range.end - range.start,
                message: what.message(),
            }));
        };
        let (source, skip) = (self.plan.source.path(), self.plan.skip);
        push(source, What::Unreadable, skip, &self.unreadable);
        push(source, What::Vanished, skip, &self.gone);
        for (index, target) in self.targets.iter().enumerate() {
            let path = target.device.path();
            push(path, What::Unwritten, self.plan.seek, &target.bad);
            if let Some(different) = self.verdict.as_ref().and_then(|v| v.different.get(index)) {
                push(path, What::Different, self.plan.seek, different);
            }
        }
        unlisted
    }

    fn tell_failures(&self, screen: Screen, args: &CopyArgs) {
        if let Some(fault) = &self.read_fault {
            self.tell_read_fault(screen, fault, args);
        }
        for target in &self.targets {
            if let Some(fault) = &target.fault {
                self.tell_fault(screen, target, fault, args);
            }
        }
        if let Some(error) = &self.refusal {
            screen.problem(&format!("cannot go on: {error}"));
            screen.hint("something else is changing these files; stop that and run it again");
        }
        if let Some(error) = &self.map_failed {
            screen.problem(&format!("cannot write the map: {}", cause(error)));
            screen.hint("what it claims is true; make room for it and run the same command again");
        }
        if let Some(error) = &self.directories {
            screen.problem(&format!("cannot flush the directory of a new file: {}", cause(error)));
            screen.hint("its name may be lost in a power failure; run sync");
        }
        for (index, target) in self.targets.iter().enumerate() {
            let different = self.verdict.as_ref().and_then(|v| v.different.get(index));
            if different.is_some_and(|ranges| !ranges.is_empty()) {
                screen.problem(&format!(
                    "cannot trust {}: it reads back differently than it was written",
                    name(target.device.path())
                ));
                screen.hint("copy again; if it happens again, the device or its cable is bad");
            }
        }
        self.tell_ranges(screen);
    }

    fn tell_read_fault(&self, screen: Screen, fault: &Fault, args: &CopyArgs) {
        let path = name(self.plan.source.path());
        if fault.kind == FaultKind::EndOfDevice {
            screen.problem(&format!("cannot read {path}: {}", self.shrank()));
            let lacking = match args.continue_on_error {
                true => "what vanished is zeros in the copies, and listed",
                false => "the copies are incomplete",
            };
            screen.hint(&format!("{lacking}; copy again when nobody changes the source"));
            return;
        }
        screen.problem(&format!("cannot read {path}: {fault}"));
        if args.continue_on_error {
            screen.hint("what could not be read is zeros in the copies; the ranges are listed");
        } else {
            screen.hint("--continue-on-error copies the rest and lists what cannot be read");
        }
    }

    fn tell_fault(&self, screen: Screen, target: &Target, fault: &Fault, args: &CopyArgs) {
        screen.problem(&format!(
            "cannot write to {}: {fault}, after {}",
            name(target.device.path()),
            exact(target.written)
        ));
        let again = if args.map.is_some() {
            "run the same command again to go on"
        } else {
            "run the command again (with --map FILE, a copy can go on where it stopped)"
        };
        screen.hint(&format!("{}, then {again}", remedy(fault.errno)));
    }

    fn tell_ranges(&self, screen: Screen) {
        let mut list = Vec::new();
        let unlisted = self.bad_ranges(&mut list);
        for bad in list.iter().take(LISTED) {
            screen.note(&format!(
                "{} in {}: bytes {} to {} ({}): {}",
                bad.what.word(),
                crate::output::escape::lines(&bad.path),
                bad.offset,
                bad.offset + bad.length,
                human(bad.length),
                bad.message
            ));
        }
        let more = u64::try_from(list.len().saturating_sub(LISTED)).unwrap_or(0) + unlisted;
        if more > 0 {
            screen.note(&format!("and {more} more ranges; --json lists up to 4096 of each kind"));
        }
    }

    fn tell_interrupted(&self, screen: Screen, args: &CopyArgs) {
        let total = human(self.plan.len);
        if let (Some(map), Some(claimed)) = (&args.map, self.claimed) {
            screen.problem(&format!("interrupted: {} of {total} are done", human(claimed)));
            let map = name(map);
            screen.hint(&format!("run the same command again to go on; {map} knows from where"));
            return;
        }
        if self.prefix == self.plan.len {
            screen.problem(&format!("interrupted when all of {total} were copied"));
            screen.hint(match args.verify {
                true => "not all was read back: kcopy compare does that",
                false => "nothing is left to do",
            });
            return;
        }
        let done = human(self.prefix);
        screen.problem(&format!("interrupted: the first {done} of {total} are done"));
        if self.prefix == 0 {
            screen.hint("run it again; with --map FILE it would go on where it stopped");
            return;
        }
        let (skip, seek) = (self.plan.skip, self.plan.seek);
        screen.hint(&format!(
            "to go on: the same command with --skip {} --seek {} --count {}; with --map FILE it \
             would go on by itself",
            skip + self.prefix,
            seek + self.prefix,
            self.plan.len - self.prefix
        ));
    }
}
