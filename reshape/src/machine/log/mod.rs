//! The event log: what a machine was told and what it answered, line by line.
//!
//! A machine decides from nothing but what goes through [`Logged`]; so a log that has all of it can be
//! replayed: a new machine that is told the same must answer the same ([`replay`]). That makes a
//! report of a reshape that went wrong into something that can be run again, without its disks.
//!
//! `docs/formats/event-log.md` has the lines.

mod replay;
mod words;

use std::fmt;
use std::ops::Deref;
use std::sync::{Arc, Mutex, PoisonError};

pub use replay::{Deviation, LogError, Run, replay};
pub use words::BadEntry;

use super::{Action, BadPosition, Event, Limits, Machine, Sections, State, Track};
use crate::units::ArraySector;

/// What a machine begins with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Start {
    /// The way.
    pub track: Track,
    /// Bounds of its work.
    pub limits: Limits,
    /// What the members record.
    pub position: ArraySector,
    /// What the backup's header claims.
    pub saved: Sections,
}

/// One line of a log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Entry {
    /// A machine begins.
    Begin(Start),
    /// It was told to stop at a position.
    StopAt(ArraySector),
    /// It said what to do.
    Do(Action),
    /// It was told what was done.
    Done(Event),
    /// It was asked for a checkpoint.
    RecordSoon,
    /// It was told to stop.
    Stop,
}

/// Where entries go. Clones write to the same place.
#[derive(Clone)]
pub struct EventLog(Arc<Mutex<Write>>);

type Write = dyn FnMut(&Entry) + Send;

impl EventLog {
    /// A log whose entries are handed to `write`, before what they say has any effect.
    pub fn new(write: impl FnMut(&Entry) + Send + 'static) -> Self {
        Self(Arc::new(Mutex::new(write)))
    }

    fn write(&self, entry: &Entry) {
        let mut write = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        write(entry);
    }
}

impl fmt::Debug for EventLog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("EventLog")
    }
}

/// A machine whose every word is written down, if there is a log.
#[derive(Debug)]
pub struct Logged {
    machine: Machine,
    log: Option<EventLog>,
}

impl Logged {
    /// See [`Machine::new`].
    ///
    /// # Errors
    ///
    /// As there.
    pub fn new(start: &Start, log: Option<EventLog>) -> Result<Self, BadPosition> {
        let Start { track, limits, position, saved } = *start;
        let machine = Machine::new(track, limits, position, saved)?;
        let logged = Self { machine, log };
        logged.write(&Entry::Begin(*start));
        Ok(logged)
    }

    /// See [`Machine::poll`].
    pub fn poll(&mut self) -> Option<Action> {
        let action = self.machine.poll()?;
        self.write(&Entry::Do(action));
        Some(action)
    }

    /// See [`Machine::handle`].
    pub fn handle(&mut self, event: Event) {
        self.write(&Entry::Done(event));
        self.machine.handle(event);
    }

    /// See [`Machine::stop`].
    pub fn stop(&mut self) {
        if self.machine.state() == State::Running {
            self.write(&Entry::Stop);
            self.machine.stop();
        }
    }

    /// See [`Machine::stop_at`].
    pub fn stop_at(&mut self, position: ArraySector) {
        self.write(&Entry::StopAt(position));
        self.machine.stop_at(position);
    }

    /// See [`Machine::record_soon`].
    pub fn record_soon(&mut self) {
        if !self.machine.record_wanted {
            self.write(&Entry::RecordSoon);
            self.machine.record_soon();
        }
    }

    fn write(&self, entry: &Entry) {
        if let Some(log) = &self.log {
            log.write(entry);
        }
    }
}

/// What can be asked without an effect.
impl Deref for Logged {
    type Target = Machine;

    fn deref(&self) -> &Machine {
        &self.machine
    }
}

#[cfg(test)]
mod tests;
