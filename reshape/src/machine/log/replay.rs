//! A log, run again.

use super::{Entry, Start};
use crate::machine::{Action, BadPosition, Event, Machine, State};
use crate::units::ArraySector;

/// What one machine of a log did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Run {
    /// What it began with.
    pub start: Start,
    /// Where it stood at the end of the log.
    pub state: State,
    /// The position that was durable on every member then.
    pub recorded: ArraySector,
    /// Array sectors of 512 bytes in windows that were written.
    pub written: u64,
    /// Windows that were written.
    pub windows: u64,
    /// Windows that were saved in the backup first.
    pub saved: u64,
    /// Positions that were recorded.
    pub checkpoints: u64,
    /// Milliseconds from its beginning to its last entry.
    pub millis: u64,
}

/// Where a log and the machine part.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Deviation {
    /// The machine of today wants something else.
    #[error("the log says {logged:?}, the machine wants {wanted:?}")]
    Action {
        /// What the log says.
        logged: Action,
        /// What the machine wants; `None`: nothing.
        wanted: Option<Action>,
    },
    /// Something was done that nobody had wanted.
    #[error("{0:?} answers nothing that was under way")]
    Event(Event),
    /// The log does not begin with a machine.
    #[error("there is no machine yet")]
    NoMachine,
    /// A start that no machine has.
    #[error(transparent)]
    Position(#[from] BadPosition),
    /// The line is no entry.
    #[error(transparent)]
    Entry(#[from] super::BadEntry),
    /// The line does not begin with a time.
    #[error("it does not begin with milliseconds and a space")]
    NoTime,
}

/// A log that cannot be replayed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {deviation}")]
pub struct LogError {
    /// The line, from 1.
    pub line: usize,
    /// What is wrong there.
    pub deviation: Deviation,
}

/// Runs a log again: one machine for each `begin`, in order.
///
/// A last line without an end is that of a process that died while it wrote: it does not count.
///
/// # Errors
///
/// The first line that is no entry, or that the machine does not agree with.
pub fn replay(log: &str) -> Result<Vec<Run>, LogError> {
    let mut replay = Replay::default();
    let whole = log.rfind('\n').map_or("", |end| log.get(..end).unwrap_or_default());
    for (number, line) in (1..).zip(whole.lines()) {
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        replay.line(line).map_err(|deviation| LogError { line: number, deviation })?;
    }
    replay.end();
    Ok(replay.runs)
}

#[derive(Default)]
struct Replay {
    runs: Vec<Run>,
    machine: Option<Machine>,
    under_way: Vec<Action>,
    began: u64,
}

impl Replay {
    fn line(&mut self, line: &str) -> Result<(), Deviation> {
        let (time, entry) = line.split_once(' ').ok_or(Deviation::NoTime)?;
        let millis: u64 = time.parse().map_err(|_| Deviation::NoTime)?;
        let entry: Entry = entry.parse()?;
        if let Entry::Begin(start) = entry {
            self.end();
            self.began = millis;
            return self.begin(start);
        }
        let machine = self.machine.as_mut().ok_or(Deviation::NoMachine)?;
        match entry {
            Entry::Begin(_) | Entry::Stop => machine.stop(),
            Entry::StopAt(position) => machine.stop_at(position),
            Entry::RecordSoon => machine.record_soon(),
            Entry::Do(logged) => match machine.poll() {
                Some(action) if action == logged => self.under_way.push(action),
                wanted => return Err(Deviation::Action { logged, wanted }),
            },
            Entry::Done(event) => self.done(event)?,
        }
        if let Some(run) = self.runs.last_mut() {
            run.millis = millis.saturating_sub(self.began);
        }
        Ok(())
    }

    fn begin(&mut self, start: Start) -> Result<(), Deviation> {
        let machine = Machine::new(start.track, start.limits, start.position, start.saved)?;
        self.runs.push(Run {
            start,
            state: machine.state(),
            recorded: start.position,
            written: 0,
            windows: 0,
            saved: 0,
            checkpoints: 0,
            millis: 0,
        });
        self.machine = Some(machine);
        Ok(())
    }

    fn done(&mut self, event: Event) -> Result<(), Deviation> {
        let (Some(machine), Some(run)) = (&mut self.machine, self.runs.last_mut()) else {
            return Err(Deviation::NoMachine);
        };
        if event != Event::Failed {
            let found = self.under_way.iter().position(|action| answers(event, *action));
            let action = self.under_way.swap_remove(found.ok_or(Deviation::Event(event))?);
            match action {
                Action::Write(_, span) => {
                    run.written += span.sectors;
                    run.windows += 1;
                }
                Action::Save(..) => run.saved += 1,
                Action::Record(_) | Action::Finish => run.checkpoints += 1,
                Action::Read(..)
                | Action::FlushBackup
                | Action::WriteHeader(_)
                | Action::FlushMembers => {}
            }
        }
        machine.handle(event);
        Ok(())
    }

    /// Takes down where the machine stands.
    fn end(&mut self) {
        self.under_way.clear();
        if let (Some(mut machine), Some(run)) = (self.machine.take(), self.runs.last_mut()) {
            run.recorded = machine.recorded();
            // What comes next tells a machine that has ended from one whose log was cut.
            if machine.poll().is_none() {
                run.state = machine.state();
            }
        }
    }
}

fn answers(event: Event, action: Action) -> bool {
    match (event, action) {
        (Event::Read(id), Action::Read(of, _)) | (Event::Written(id), Action::Write(of, _)) => {
            id == of
        }
        (Event::Saved, Action::Save(..))
        | (Event::BackupFlushed, Action::FlushBackup)
        | (Event::HeaderWritten, Action::WriteHeader(_))
        | (Event::MembersFlushed, Action::FlushMembers)
        | (Event::Recorded, Action::Record(_))
        | (Event::Finished, Action::Finish) => true,
        (
            Event::Read(_)
            | Event::Saved
            | Event::BackupFlushed
            | Event::HeaderWritten
            | Event::Written(_)
            | Event::MembersFlushed
            | Event::Recorded
            | Event::Finished
            | Event::Failed,
            _,
        ) => false,
    }
}
