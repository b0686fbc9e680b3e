//! The reshape as a state machine: pure, no I/O, no clock, no threads.
//!
//! A [`Machine`] says what may be done next ([`Machine::poll`]) and is told what has been done
//! ([`Machine::handle`]). An executor carries the [`Action`]s out, several at once. A reshape that was
//! interrupted is the same machine, begun at the position that the superblocks record.
//!
//! # A window's life
//!
//! ```text
//!            Read               (critical only)                    Write
//!  Reading ───────▶ Read ──▶ Saving ──▶ Saved ──────────────────▶ Writing ──▶ Written
//!                     │                              ▲                          │
//!                     └── limit(recorded) >= end ────┘     flush, record ◀──────┘
//! ```
//!
//! Windows are read ahead into memory, written in the new geometry when nothing that is still needed
//! can be overwritten, and forgotten when a checkpoint behind them is durable on every member.
//!
//! # The rules
//!
//! 1. **Overwrite.** A window is written only if every old row it touches belongs to data whose
//!    move is recorded on the members, or that is saved in a valid backup section
//!    ([`Track::limit`]).
//! 2. **Record.** A position is recorded only after everything before it was written and flushed.
//! 3. **Backup.** A section's header becomes valid only after its data was flushed; windows it covers are
//!    written only after the header is durable; its data is overwritten only after the position is recorded
//!    behind it and the header says, durably, that the section is empty. The other section stays claimed: what
//!    it holds begins, goes on or ends at the recorded position.
//! 4. **Order.** Backup sections and windows are in the order of the walk, without gaps.
//!
//! They are asserted where actions are made, in release builds, too: a machine that is about to break
//! one stops the process before a byte is written.
//!
//! # Units
//!
//! Distances are array sectors of 512 bytes from where the reshape began; [`Track`] turns them into
//! positions. Positions that are recorded are multiples of [`Track::unit`], as the kernel demands.

mod keeper;
pub mod log;
mod track;

use std::collections::VecDeque;
use std::ops::Range;

pub use keeper::{Section, Sections};
pub use track::{Rows, Track};

use crate::metadata::Direction;
use crate::units::ArraySector;
use keeper::Keeper;

/// The room is ample if so many of the longest windows fit into it.
const AMPLE: u64 = 4;

/// Windows that need not be saved, in memory at once: two are read, two wait or are written.
const ABREAST: u64 = 4;

/// Windows that are read at once. With all that fit into memory they would end together, be written
/// together, and the next would be read after that: the disks would do one or the other.
const READS: usize = 2;

/// The same of those that are saved: while one is read, one is saved and one is written.
const SAVED_READS: usize = 1;

/// All of the memory is used after so many times as much was moved: the first touch of memory costs more
/// than its use, and what moves little should not touch much.
const WARM: u64 = 128;

/// The part of the memory that is used from the start.
const START: u64 = 2;

/// The same for windows that are saved, of which more is in memory.
const SAVED_START: u64 = 4;

/// Windows that are saved in memory at once: one is read, one is saved, one is written.
pub(crate) const SAVED_AT_ONCE: u64 = 3;

/// How many of `most` sectors are used at once with so much `memory` and so much `moved`, a `start`-th part of
/// them from the start.
fn warm(most: u64, (memory, moved): (u64, u64), start: u64) -> u64 {
    let all = u128::from(memory.saturating_mul(WARM).max(1));
    let share = u128::from(most) * u128::from(moved) / all;
    u64::try_from(share).unwrap_or(most).clamp(most / start, most)
}

/// The longest window that is saved before `total` sectors are moved, where it may be of `most`.
pub(crate) fn longest_saved(most: u64, memory: u64, total: u64) -> u64 {
    warm(most, (memory, total), SAVED_START)
}

/// Bounds of a machine's work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// The longest window that need not be saved, in array sectors. Those that have to be are as long as
    /// a section of the backup: each costs several flushes.
    pub window: u64,
    /// Array sectors in memory at once, in as many windows; one window there may always be.
    pub memory: u64,
    /// Whether there is a backup for what is critical.
    pub backup: Backup,
}

/// Where the critical section is saved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Backup {
    /// Nowhere: a critical window ends the reshape.
    None,
    /// Two sections of at most this many array sectors each.
    Sections {
        /// Array sectors of a section.
        length: u64,
    },
}

/// Names a window until it is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WindowId(pub u64);

/// Array sectors, in the array's order whatever the direction.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Span {
    /// The first sector.
    pub start: ArraySector,
    /// How many sectors of 512 bytes.
    pub sectors: u64,
}

/// Something to be done. Each is answered by one [`Event`] of the same name, or [`Event::Failed`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Read the window's old stripes into memory and verify them.
    Read(WindowId, Span),
    /// Write the window's data to a section of the backup.
    Save(WindowId, Section),
    /// Flush the backup.
    FlushBackup,
    /// Write the backup's header, and flush it.
    WriteHeader(Sections),
    /// Write the window's new stripes; its memory is free afterwards.
    Write(WindowId, Span),
    /// Flush every member.
    FlushMembers,
    /// Write the position into the superblocks of every member, and flush them.
    Record(ArraySector),
    /// Everything is moved and flushed: make the new geometry the only one, durably.
    Finish,
}

/// What was done. See [`Action`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// A window is in memory and its old stripes hold.
    Read(WindowId),
    /// A window's data is written to the backup.
    Saved,
    /// The backup is flushed.
    BackupFlushed,
    /// The header is durable.
    HeaderWritten,
    /// A window's new stripes are written.
    Written(WindowId),
    /// The members are flushed.
    MembersFlushed,
    /// The position is durable on every member.
    Recorded,
    /// The new geometry is durable on every member.
    Finished,
    /// The action that was under way failed for good; nothing new is begun.
    Failed,
}

/// Where a machine stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Windows are moved.
    Running,
    /// Nothing new is begun; what is under way ends and is recorded.
    Stopping,
    /// Stopped: the position is recorded, the reshape can go on from it.
    Stopped,
    /// Done: only the new geometry is left.
    Finished,
    /// An action failed. What was recorded last holds.
    Failed,
    /// The next window is critical and there is no backup.
    NeedsBackup,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Reading,
    Read,
    Saving,
    Saved,
    Writing,
    Written,
}

#[derive(Clone, Debug)]
struct Window {
    id: WindowId,
    /// Distances.
    range: Range<u64>,
    /// It may be written only when it is saved.
    critical: bool,
    phase: Phase,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Recorder {
    Idle,
    Flushing { to: u64 },
    Flushed { to: u64 },
    Recording { to: u64 },
    Finishing,
}

/// See the module.
#[derive(Clone, Debug)]
pub struct Machine {
    track: Track,
    limits: Limits,
    /// Distance recorded durably on every member.
    recorded: u64,
    /// Distance up to which everything is written.
    moved: u64,
    /// Where it began.
    began: u64,
    /// The least of a window that has to be saved: all that is critical, if one section can hold it, for
    /// there may be no other; otherwise 0.
    saved: u64,
    /// Where the next window begins.
    ahead: u64,
    /// The distance at which it stops by itself.
    until: u64,
    next_id: u64,
    windows: VecDeque<Window>,
    recorder: Recorder,
    keeper: Keeper,
    state: State,
    /// Somebody wants a checkpoint.
    record_wanted: bool,
}

impl Machine {
    /// A machine at `position`, which every member records.
    ///
    /// `saved` is what a valid backup holds at that moment, if anything: at a fresh start [`Machine::first_saved`].
    ///
    /// # Errors
    ///
    /// A position that lies outside the way or is no multiple of the unit.
    pub fn new(
        track: Track,
        limits: Limits,
        position: ArraySector,
        saved: Sections,
    ) -> Result<Self, BadPosition> {
        let bad = BadPosition { position, unit: track.unit, total: track.total };
        let recorded = track.distance(position).ok_or(bad)?;
        if recorded != track.floor(recorded) || limits.window < track.unit {
            return Err(bad);
        }
        Ok(Self {
            track,
            limits,
            recorded,
            moved: recorded,
            began: recorded,
            saved: at_once(&track, limits.backup),
            ahead: recorded,
            until: track.total,
            next_id: 0,
            windows: VecDeque::new(),
            recorder: Recorder::Idle,
            keeper: Keeper::new(saved),
            state: State::Running,
            record_wanted: false,
        })
    }

    /// Where it stands.
    pub fn state(&self) -> State {
        self.state
    }

    /// The position that is durable on every member.
    pub fn recorded(&self) -> ArraySector {
        self.track.position(self.recorded)
    }

    /// Array sectors that are moved, from the start of the reshape, recorded or not.
    pub fn moved(&self) -> u64 {
        self.moved
    }

    /// The way.
    pub fn track(&self) -> &Track {
        &self.track
    }

    /// Begins nothing new; what is under way ends and is recorded.
    pub fn stop(&mut self) {
        if self.state == State::Running {
            self.state = State::Stopping;
        }
    }

    /// Stops by itself at `position`, a multiple of the unit that lies ahead.
    pub fn stop_at(&mut self, position: ArraySector) {
        let distance = self.track.distance(position).unwrap_or(self.track.total);
        self.until = distance.max(self.ahead);
    }

    /// Asks for a checkpoint at the next occasion, because time has passed.
    pub fn record_soon(&mut self) {
        self.record_wanted = true;
    }

    /// The next thing that may be done now, beside what is under way; `None`: wait for an event.
    ///
    /// To be called again after it returned an action, and after each event.
    pub fn poll(&mut self) -> Option<Action> {
        if matches!(self.state, State::Stopped | State::Finished | State::Failed) {
            return None;
        }
        self.poll_recorder()
            .or_else(|| self.poll_keeper())
            .or_else(|| self.poll_read())
            .or_else(|| self.poll_write())
            .or_else(|| self.poll_idle())
            .or_else(|| self.settle())
    }

    /// Takes in what was done.
    ///
    /// # Panics
    ///
    /// On an event that answers no action: a bug of the executor that must not go on.
    pub fn handle(&mut self, event: Event) {
        match event {
            Event::Read(id) => self.advance(id, Phase::Reading, Phase::Read),
            Event::Written(id) => {
                self.advance(id, Phase::Writing, Phase::Written);
                self.forget_written();
            }
            Event::Saved | Event::BackupFlushed | Event::HeaderWritten => {
                if let Some(id) = self.keeper.handle(event) {
                    self.advance(id, Phase::Saving, Phase::Saved);
                }
            }
            Event::MembersFlushed => self.members_flushed(),
            Event::Recorded => self.position_recorded(),
            Event::Finished => {
                assert_eq!(self.recorder, Recorder::Finishing, "nobody was finishing");
                self.recorded = self.track.total;
                self.state = State::Finished;
            }
            Event::Failed => self.state = State::Failed,
        }
    }

    fn advance(&mut self, id: WindowId, from: Phase, to: Phase) {
        let window = self.windows.iter_mut().find(|window| window.id == id);
        let window = window.expect("a window that is known");
        assert_eq!(window.phase, from, "window {id:?} was not being worked on");
        window.phase = to;
    }

    /// Windows with nothing unwritten before them are known by how far they reach: where there is little to
    /// move there are many.
    fn forget_written(&mut self) {
        while let Some(window) = self.windows.front().filter(|w| w.phase == Phase::Written) {
            self.moved = window.range.end;
            self.windows.pop_front();
        }
    }

    fn members_flushed(&mut self) {
        let Recorder::Flushing { to } = self.recorder else { panic!("nobody was flushing") };
        self.recorder = Recorder::Flushed { to };
    }

    fn position_recorded(&mut self) {
        let Recorder::Recording { to } = self.recorder else { panic!("nobody was recording") };
        self.recorder = Recorder::Idle;
        self.recorded = to;
        self.keeper.forget_before(to);
    }

    /// The distance from which on old data has to stay where it is.
    fn kept(&self) -> u64 {
        self.keeper.saved_to(self.recorded)
    }

    fn poll_recorder(&mut self) -> Option<Action> {
        match self.recorder {
            Recorder::Idle if self.must_record() => Some(self.flush_members()),
            Recorder::Flushed { to } if to == self.track.total => {
                self.recorder = Recorder::Finishing;
                Some(Action::Finish)
            }
            Recorder::Flushed { to } => {
                assert!(to > self.recorded && to <= self.moved(), "recorded ahead of the data");
                self.recorder = Recorder::Recording { to };
                Some(Action::Record(self.track.position(to)))
            }
            Recorder::Idle
            | Recorder::Flushing { .. }
            | Recorder::Recording { .. }
            | Recorder::Finishing => None,
        }
    }

    fn flush_members(&mut self) -> Action {
        self.recorder = Recorder::Flushing { to: self.moved() };
        self.record_wanted = false;
        Action::FlushMembers
    }

    /// A checkpoint is due at the end, when asked for, as soon as it frees a section of the backup, when
    /// half of the room is used up, and when nothing can be written before. While the room is small a
    /// checkpoint takes longer than filling it: then each is for all of it.
    fn must_record(&self) -> bool {
        let moved = self.moved();
        if moved == self.track.total {
            return true;
        }
        if moved <= self.recorded {
            return false;
        }
        let room = self.track.limit(self.recorded).saturating_sub(self.recorded);
        self.record_wanted
            || self.keeper.is_full()
            || self.is_stuck()
            || room < self.track.unit
            || (room / AMPLE >= self.limits.window && moved - self.recorded >= room / 2)
    }

    /// The next window can be written, or saved, only after a checkpoint.
    fn is_stuck(&self) -> bool {
        let writing = self.windows.iter().any(|window| window.phase == Phase::Writing);
        let mut waiting = self.windows.iter().filter(|window| window.phase < Phase::Writing);
        let next = waiting.next().filter(|_| !writing);
        next.is_some_and(|window| match window.critical {
            true => window.phase == Phase::Read && window.range.start > self.kept(),
            false => window.range.end > self.track.limit(self.kept()),
        })
    }

    /// Nothing is on its way and nothing can be begun: what is written is recorded, so that it goes on.
    fn poll_idle(&mut self) -> Option<Action> {
        let idle = self.recorder == Recorder::Idle && !self.is_moving();
        (idle && self.moved() > self.recorded).then(|| self.flush_members())
    }

    /// Whether a window is read, saved or written now.
    fn is_moving(&self) -> bool {
        let busy = |phase| matches!(phase, Phase::Reading | Phase::Saving | Phase::Writing);
        self.keeper.is_busy() || self.windows.iter().any(|window| busy(window.phase))
    }

    fn poll_keeper(&mut self) -> Option<Action> {
        if let Some(action) = self.keeper.poll() {
            return Some(action);
        }
        if self.state != State::Running {
            return None;
        }
        let Backup::Sections { length } = self.limits.backup else { return None };
        let window = self.windows.iter_mut().find(|window| window.phase < Phase::Saved)?;
        if !window.critical || window.phase != Phase::Read {
            return None;
        }
        let range = window.range.clone();
        assert!(range.end - range.start <= length, "a window that no section can hold");
        let span = span(&self.track, &range);
        let action = self.keeper.save(window.id, (range, self.recorded), span)?;
        window.phase = Phase::Saving;
        Some(action)
    }

    fn poll_write(&mut self) -> Option<Action> {
        if self.state != State::Running {
            return None;
        }
        let limit = self.track.limit(self.kept());
        let kept = self.kept();
        // In the order of the walk: a window waits for those before it to be on their way.
        let window = self.windows.iter_mut().find(|window| window.phase < Phase::Writing)?;
        let ready = match (window.critical, window.phase) {
            (true, phase) => phase == Phase::Saved && window.range.end <= kept,
            (false, phase) => phase == Phase::Read,
        };
        if !ready || window.range.end > limit {
            return None;
        }
        let apart = self.track.is_apart(window.range.end, kept);
        assert!(apart, "a window that would overwrite what is still needed");
        window.phase = Phase::Writing;
        Some(Action::Write(window.id, span(&self.track, &window.range)))
    }

    fn poll_read(&mut self) -> Option<Action> {
        if self.state != State::Running || self.ahead >= self.until {
            return None;
        }
        let (length, critical) = self.next_window()?;
        let reading = self.windows.iter().filter(|w| w.phase == Phase::Reading).count();
        if reading >= if critical { SAVED_READS } else { READS } {
            return None;
        }
        let in_memory = self.windows.iter().filter(|w| w.phase != Phase::Written);
        let held: u64 = in_memory.map(|window| window.range.end - window.range.start).sum();
        let most = if critical { self.limits.memory } else { ABREAST * self.limits.window };
        // However long a window has to be: one is read, one is written, one waits.
        let start = if critical { SAVED_START } else { START };
        let memory = self.warm(most, start).max(3 * length).min(self.limits.memory);
        if held > 0 && held + length > memory {
            return None;
        }
        let range = self.ahead..self.ahead + length;
        let id = WindowId(self.next_id);
        self.next_id += 1;
        self.ahead = range.end;
        let span = span(&self.track, &range);
        self.windows.push_back(Window { id, range, critical, phase: Phase::Reading });
        Some(Action::Read(id, span))
    }

    /// Length of the next window, and whether it has to be saved; `None` if it can be neither
    /// written freely nor saved.
    fn next_window(&self) -> Option<(u64, bool)> {
        let (unit, left) = (self.track.unit, self.until - self.ahead);
        let next = (self.track.after(self.ahead) - self.ahead).min(left);
        let room = self.track.limit(self.ahead).saturating_sub(self.ahead);
        // Half of the room, so that the next window can be written while this one is recorded.
        let floor = |sectors: u64| self.track.floor(self.ahead + sectors) - self.ahead;
        let whole = |sectors: u64| floor(sectors).max(next).min(left);
        if room >= next {
            let largest = self.warm(self.limits.window, START).min((room / 2).max(unit));
            return Some((whole(largest).min(room), false));
        }
        match self.limits.backup {
            Backup::Sections { length } => {
                // What a section holds is whole stripes of both geometries, as its length is.
                let stripes = self.track.whole_stripes();
                let most = length.max(self.limits.memory / SAVED_AT_ONCE);
                let warm = self.warm(most, SAVED_START) / stripes * stripes;
                let largest = warm.max(self.saved).max(stripes);
                Some((whole(largest.min(length)), true))
            }
            Backup::None => None,
        }
    }

    /// What has to be saved before anything is moved: whoever begins a reshape saves it before that is recorded, so
    /// that no record is without a backup that can be put back.
    pub fn first_saved(&self) -> Option<Span> {
        let (length, critical) = self.next_window()?;
        critical.then(|| span(&self.track, &(self.ahead..self.ahead + length)))
    }

    /// How many of `most` sectors of memory are used by now, a `start`-th part of them from the start.
    fn warm(&self, most: u64, start: u64) -> u64 {
        warm(most, (self.limits.memory, self.ahead - self.began), start)
    }

    /// Nothing can be begun: looks whether that is the end.
    fn settle(&mut self) -> Option<Action> {
        if self.recorder != Recorder::Idle || self.is_moving() || self.moved() > self.recorded {
            return None;
        }
        match self.state {
            State::Stopping => self.state = State::Stopped,
            State::Running if self.recorded >= self.until => self.state = State::Stopped,
            State::Running if self.windows.is_empty() && self.next_window().is_none() => {
                self.state = State::NeedsBackup;
            }
            State::Running
            | State::Stopped
            | State::Finished
            | State::Failed
            | State::NeedsBackup => {}
        }
        None
    }
}

impl PartialOrd for Phase {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.rank().cmp(&other.rank()))
    }
}

impl Phase {
    fn rank(self) -> u8 {
        match self {
            Self::Reading => 0,
            Self::Read => 1,
            Self::Saving => 2,
            Self::Saved => 3,
            Self::Writing => 4,
            Self::Written => 5,
        }
    }
}

/// A position that no reshape of this kind can have recorded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{position} is no place where this reshape can stand: not a multiple of {unit} up to {total}"
)]
pub struct BadPosition {
    /// What was recorded.
    pub position: ArraySector,
    /// Positions are multiples of this many sectors.
    pub unit: u64,
    /// The largest position.
    pub total: u64,
}

/// The sectors that are critical, if a section holds all of them.
fn at_once(track: &Track, backup: Backup) -> u64 {
    let critical = track.critical();
    match backup {
        Backup::Sections { length } if critical.end - critical.start <= length => length,
        Backup::Sections { .. } | Backup::None => 0,
    }
}

/// The array sectors of a range of distances.
fn span(track: &Track, range: &Range<u64>) -> Span {
    let start = match track.direction {
        Direction::Forwards => track.position(range.start),
        Direction::Backwards => track.position(range.end),
    };
    Span { start, sectors: range.end - range.start }
}

#[cfg(test)]
mod picture;
#[cfg(test)]
mod tests;
