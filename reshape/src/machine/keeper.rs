//! The backup's part of the machine: two sections, one header, and the order between them.

use std::ops::Range;

use super::{Action, Event, Span, WindowId};

/// One of the two places for data in a backup.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Section {
    /// The first, right behind the header.
    First,
    /// The second, behind the first.
    Second,
}

impl Section {
    fn index(self) -> usize {
        match self {
            Self::First => 0,
            Self::Second => 1,
        }
    }

    fn other(self) -> Self {
        match self {
            Self::First => Self::Second,
            Self::Second => Self::First,
        }
    }
}

/// What a header says: which array sectors each section holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Sections {
    /// `arraystart`, `length`.
    pub first: Option<Span>,
    /// `arraystart2`, `length2`.
    pub second: Option<Span>,
}

/// What a section holds, by the durable header.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Held {
    range: Range<u64>,
    span: Span,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Step {
    Idle,
    /// The header is written without the section that is to be used again.
    Clearing(Job),
    /// The header says that the section is empty.
    Cleared(Job),
    Saving(Job),
    Saved(Job),
    Flushing(Job),
    Flushed(Job),
    /// The header is written with the section.
    Confirming(Job),
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Job {
    window: WindowId,
    section: Section,
    held: Held,
}

/// See the module.
#[derive(Clone, Debug)]
pub(super) struct Keeper {
    held: [Option<Held>; 2],
    /// What each section holds by the durable header, needed or not. Only what is intact is claimed: a claim ends,
    /// durably, before its section is written.
    claimed: [Option<Span>; 2],
    next: Section,
    step: Step,
    /// A window waits for a section that a checkpoint will free.
    full: bool,
}

#[cfg(test)]
impl Keeper {
    /// The step it is at, without what it holds: for the picture of the machine.
    pub(super) fn step_name(&self) -> String {
        let step = format!("{:?}", self.step);
        step.split('(').next().unwrap_or_default().to_owned()
    }
}

impl Keeper {
    /// `saved`: what the header on the backup says now.
    pub(super) fn new(saved: Sections) -> Self {
        // What was saved before this machine began is not needed, or is what comes first: then the window that is
        // read finds it saved.
        let claimed = [saved.first, saved.second];
        Self { held: [None, None], claimed, next: Section::First, step: Step::Idle, full: false }
    }

    pub(super) fn is_busy(&self) -> bool {
        self.step != Step::Idle
    }

    /// A window waits for a section to become free.
    pub(super) fn is_full(&self) -> bool {
        self.full
    }

    /// The end of what is saved without a gap from `recorded` on.
    pub(super) fn saved_to(&self, recorded: u64) -> u64 {
        let mut end = recorded;
        for _ in 0..self.held.len() {
            for held in self.held.iter().flatten() {
                if held.range.start <= end {
                    end = end.max(held.range.end);
                }
            }
        }
        end
    }

    /// Everything before `recorded` is on the members in its new place, durably.
    pub(super) fn forget_before(&mut self, recorded: u64) {
        for held in &mut self.held {
            if held.as_ref().is_some_and(|held| held.range.end <= recorded) {
                *held = None;
            }
        }
        self.full = false;
    }

    /// Begins to save a window, if its section is free and everything before the window is `recorded` or saved: what
    /// a header claims goes on from a recorded position, for whoever puts it back.
    pub(super) fn save(
        &mut self,
        window: WindowId,
        (range, recorded): (Range<u64>, u64),
        span: Span,
    ) -> Option<Action> {
        if self.is_busy() || range.start > self.saved_to(recorded) {
            return None;
        }
        let section = self.next;
        if self.held[section.index()].is_some() {
            self.full = true;
            return None;
        }
        let job = Job { window, section, held: Held { range, span } };
        self.next = section.other();
        self.step = match self.claimed[section.index()] {
            None => Step::Cleared(job),
            // It was saved before the reshape was recorded.
            Some(claimed) if claimed == span => Step::Flushed(job),
            Some(_) => {
                let header = self.header(section, None);
                self.step = Step::Clearing(job);
                return Some(Action::WriteHeader(header));
            }
        };
        self.poll()
    }

    pub(super) fn poll(&mut self) -> Option<Action> {
        match std::mem::replace(&mut self.step, Step::Idle) {
            Step::Cleared(job) => {
                assert!(self.held[job.section.index()].is_none(), "a section still in use");
                let claimed = self.claimed[job.section.index()];
                assert!(claimed.is_none(), "the header claims the section");
                let action = Action::Save(job.window, job.section);
                self.step = Step::Saving(job);
                Some(action)
            }
            Step::Saved(job) => {
                self.step = Step::Flushing(job);
                Some(Action::FlushBackup)
            }
            Step::Flushed(job) => {
                let header = self.header(job.section, Some(job.held.span));
                self.step = Step::Confirming(job);
                Some(Action::WriteHeader(header))
            }
            step @ (Step::Idle
            | Step::Clearing(_)
            | Step::Saving(_)
            | Step::Flushing(_)
            | Step::Confirming(_)) => {
                self.step = step;
                None
            }
        }
    }

    /// Takes in an event; returns the window that is saved now.
    pub(super) fn handle(&mut self, event: Event) -> Option<WindowId> {
        self.step = match (std::mem::replace(&mut self.step, Step::Idle), event) {
            (Step::Clearing(job), Event::HeaderWritten) => {
                self.claimed[job.section.index()] = None;
                Step::Cleared(job)
            }
            (Step::Saving(job), Event::Saved) => Step::Saved(job),
            (Step::Flushing(job), Event::BackupFlushed) => Step::Flushed(job),
            (Step::Confirming(job), Event::HeaderWritten) => {
                self.claimed[job.section.index()] = Some(job.held.span);
                self.held[job.section.index()] = Some(job.held);
                return Some(job.window).inspect(|_| self.step = Step::Idle);
            }
            (step, event) => panic!("{event:?} answers nothing: the backup is at {step:?}"),
        };
        None
    }

    /// The header that says of `section` that it holds `span`, and of the other one what it said before: also what is
    /// not needed any more. A header that claims nothing at all is one that mdadm does not go on with.
    fn header(&self, section: Section, span: Option<Span>) -> Sections {
        let [first, second] = self.claimed;
        match section {
            Section::First => Sections { first: span, second },
            Section::Second => Sections { first, second: span },
        }
    }
}
