//! `kcopy compare`: is it the same?

use std::ops::Range;

use kcopy::{Client, Device, Extent, Fault, FaultKind, Job, OnError, Outcome};
use serde::Serialize;

use super::copy::{ErrorReport, check_alignment, check_count, length, rate};
use super::engine;
use super::pump::{Pumped, Work, pump};
use super::ranges::Ranges;
use super::target::{self, Use, remedy};
use crate::args::CompareArgs;
use crate::clock::Epoch;
use crate::exit::{Exit, Failure};
use crate::output::{Phase, Progress, Screen, name};
use crate::signals::Interrupt;
use crate::units::{exact, human};

/// Compared by one job.
const STEP: u64 = 16 << 20;

/// Jobs on their way at once.
const OUTSTANDING: usize = 4;

/// Differing ranges that are listed for people, for each file.
const LISTED: usize = 20;

#[derive(Debug)]
struct Other {
    device: Device,
    /// Bytes of the comparison that it has.
    len: u64,
    different: Ranges,
    sectors: u64,
    fault: Option<Fault>,
}

/// Offsets count from the start of what is compared.
#[derive(Debug)]
struct Comparing {
    source: Device,
    skip: u64,
    seek: u64,
    len: u64,
    at: u64,
    others: Vec<Other>,
    /// What is compared now, cut where an other ends.
    done: u64,
    read_fault: Option<Fault>,
    unreadable: Ranges,
}

#[derive(Debug)]
struct Tag {
    range: Range<u64>,
    others: Vec<usize>,
}

impl Work for Comparing {
    type Tag = Tag;

    fn next(&mut self) -> Option<(Job, Tag)> {
        loop {
            // An other that ends here is out of the game: no job crosses its end.
            let stops = self.others.iter().map(|other| other.len).filter(|end| *end > self.at);
            let end = stops.min()?.min(self.len).min(self.at.saturating_add(STEP));
            let range = self.at..end;
            if range.is_empty() {
                return None;
            }
            self.at = end;
            if self.is_hole_everywhere(&range) {
                self.done += range.end - range.start;
                continue;
            }
            return Some(self.job(range));
        }
    }

    fn ended(&mut self, tag: Tag, outcome: &Outcome) {
        let start = tag.range.start;
        self.done += tag.range.end - start;
        if let Some((_, fault)) = outcome.read {
            self.read_fault.get_or_insert(fault);
            for range in &outcome.unreadable {
                self.unreadable.add(range.start + start..range.end + start);
            }
        }
        for (slot, range) in &outcome.differences {
            if let Some(index) = tag.others.get(*slot) {
                self.others[*index].different.add(range.start + start..range.end + start);
            }
        }
        for (index, found) in tag.others.iter().zip(&outcome.destinations) {
            let other = &mut self.others[*index];
            other.sectors += found.differing_sectors;
            if let Some(fault) = found.error {
                other.fault.get_or_insert(fault);
            }
        }
    }

    fn done(&self) -> u64 {
        self.done
    }
}

impl Comparing {
    fn job(&self, range: Range<u64>) -> (Job, Tag) {
        let len = range.end - range.start;
        let mut job = Job::compare(Extent::new(&self.source, self.skip + range.start, len))
            .on_error(OnError::Continue);
        let mut others = Vec::new();
        for (index, other) in self.others.iter().enumerate() {
            if other.len >= range.end {
                job = job.to(Extent::new(&other.device, self.seek + range.start, len));
                others.push(index);
            }
        }
        (job, Tag { range, others })
    }

    fn is_hole_everywhere(&self, range: &Range<u64>) -> bool {
        let len = range.end - range.start;
        let hole = |device: &Device, offset| device.extents(offset, len).all(|run| run.hole);
        hole(&self.source, self.skip + range.start)
            && self
                .others
                .iter()
                .filter(|other| other.len >= range.end)
                .all(|other| hole(&other.device, self.seek + range.start))
    }

    fn differs(&self) -> bool {
        self.others.iter().any(|other| other.len != self.len || !other.different.is_empty())
    }

    fn failed(&self) -> bool {
        self.read_fault.is_some() || self.others.iter().any(|other| other.fault.is_some())
    }
}

#[derive(Debug, Serialize)]
struct Report {
    schema: u32,
    equal: bool,
    bytes: u64,
    seconds: f64,
    backend: &'static str,
    interrupted: bool,
    source: SourceReport,
    others: Vec<OtherReport>,
}

#[derive(Debug, Serialize)]
struct SourceReport {
    path: String,
    size: u64,
    error: Option<ErrorReport>,
}

#[derive(Debug, Serialize)]
struct OtherReport {
    path: String,
    size: u64,
    equal: bool,
    size_differs: bool,
    differing_sectors: u64,
    /// Offsets count from where the comparison began.
    differences: Vec<RangeReport>,
    differences_unlisted: u64,
    error: Option<ErrorReport>,
}

#[derive(Debug, Serialize)]
struct RangeReport {
    offset: u64,
    length: u64,
}

pub(crate) fn run(args: &CompareArgs, screen: Screen) -> Result<Exit, Failure> {
    let wanted = engine::check(&args.engine)?;
    let mut work = check(args)?;
    let interrupt = Interrupt::listen()
        .map_err(|error| Failure::refused(format!("cannot listen for signals: {error}")))?;
    let client = engine::client(wanted, 64, None)?;
    let epoch = Epoch::begin();
    let mut progress = Progress::start(args.progress, screen, Phase::Compare, work.len);
    let pumped = pump(&client, &mut work, OUTSTANDING, &interrupt, &mut progress);
    progress.finish();
    let report = report(&client, &work, (&pumped, epoch.seconds()));
    Ok(tell(args, screen, &work, (&pumped, &report)))
}

fn check(args: &CompareArgs) -> Result<Comparing, Failure> {
    check_count(args.others.len())?;
    let direct = args.engine.direct;
    let source = target::open_source(&args.source, direct)?;
    let len = length(&source, args.skip, args.count)?;
    check_alignment(&source, ("--skip", args.skip.0), len)?;
    let seek = args.seek.0;
    let mut others = Vec::new();
    for path in &args.others {
        let device = target::open_source(path, direct)?;
        let own = match args.count {
            Some(_) => length(&device, args.seek, args.count)?,
            None => device.size().checked_sub(seek).ok_or_else(|| {
                let cause = format!("--seek {seek} is behind its end, {}", exact(device.size()));
                Use::Read.refused(path, &cause).hint("seek less")
            })?,
        };
        check_alignment(&device, ("--seek", seek), own)?;
        others.push(Other {
            device,
            len: own,
            different: Ranges::default(),
            sectors: 0,
            fault: None,
        });
    }
    Ok(Comparing {
        source,
        skip: args.skip.0,
        seek,
        len,
        at: 0,
        others,
        done: 0,
        read_fault: None,
        unreadable: Ranges::default(),
    })
}

fn report(client: &Client, work: &Comparing, (pumped, seconds): (&Pumped, f64)) -> Report {
    let other = |other: &Other| OtherReport {
        path: other.device.path().to_string_lossy().into_owned(),
        size: other.device.size(),
        equal: other.len == work.len && other.different.is_empty() && other.fault.is_none(),
        size_differs: other.len != work.len,
        differing_sectors: other.sectors,
        differences: other
            .different
            .iter()
            .map(|range| RangeReport { offset: range.start, length: range.end - range.start })
            .collect(),
        differences_unlisted: other.different.unlisted(),
        error: other.fault.as_ref().map(Into::into),
    };
    Report {
        schema: 1,
        equal: *pumped == Pumped::All && !work.differs() && !work.failed(),
        bytes: work.done,
        seconds,
        backend: client.backend().name(),
        interrupted: *pumped == Pumped::Interrupted,
        source: SourceReport {
            path: work.source.path().to_string_lossy().into_owned(),
            size: work.source.size(),
            error: work.read_fault.as_ref().map(Into::into),
        },
        others: work.others.iter().map(other).collect(),
    }
}

fn tell(
    args: &CompareArgs,
    screen: Screen,
    work: &Comparing,
    (pumped, report): (&Pumped, &Report),
) -> Exit {
    let source = work.read_fault.iter().map(|fault| (&work.source, fault));
    let others = work.others.iter();
    let others = others.filter_map(|other| Some((&other.device, other.fault.as_ref()?)));
    source.chain(others).for_each(|(device, fault)| tell_fault(screen, device, fault));
    if let Pumped::Refused(error) = pumped {
        screen.problem(&format!("cannot go on: {error}"));
    }
    if *pumped == Pumped::Interrupted {
        screen.problem(&format!("interrupted: {} were compared", human(work.done)));
        screen.hint("--skip, --seek and --count compare the rest");
    }
    if !args.json {
        work.others.iter().for_each(|other| tell_other(screen, work, other));
        if report.equal {
            let speed = rate(work.done, report.seconds).map_or(0, |rate| rate);
            screen.summary(&format!(
                "{} equal in {:.2} s, {}/s",
                human(work.done),
                report.seconds,
                human(speed)
            ));
        }
    }
    let exit = match pumped {
        Pumped::Interrupted => Exit::Interrupted,
        Pumped::All if report.equal => Exit::Done,
        Pumped::All | Pumped::Refused(_) => Exit::Failed,
    };
    if args.json { screen.json(report, exit) } else { exit }
}

fn tell_fault(screen: Screen, device: &Device, fault: &Fault) {
    screen.problem(&format!("cannot read {}: {fault}", name(device.path())));
    screen.hint(match fault.kind {
        FaultKind::EndOfDevice => {
            "it became shorter meanwhile; compare again when nobody changes it"
        }
        FaultKind::Device | FaultKind::Transform | FaultKind::Flush => remedy(fault.errno),
    });
}

/// In what an other differs.
fn tell_other(screen: Screen, work: &Comparing, other: &Other) {
    let (source, path) = (name(work.source.path()), name(other.device.path()));
    for range in other.different.iter().take(LISTED) {
        screen.summary(&format!(
            "{source} {path} differ: bytes {} to {} ({})",
            range.start,
            range.end,
            human(range.end - range.start)
        ));
    }
    let more = other.different.iter().count().saturating_sub(LISTED);
    let more = u64::try_from(more).unwrap_or(0) + other.different.unlisted();
    if more > 0 {
        screen.summary(&format!("{source} {path} differ: {more} more ranges"));
    }
    if other.len != work.len {
        screen.summary(&format!(
            "{source} {path} differ: in size, {} and {}",
            exact(work.len),
            exact(other.len)
        ));
    }
}
