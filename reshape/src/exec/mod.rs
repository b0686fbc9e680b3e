//! Carries out what the machine says: windows are read, verified, saved and written by engine jobs.
//!
//! ```text
//!  Machine::poll ──Action──▶ Executor ──Job──▶ copy engine
//!       ▲                                         │
//!       └────Event────── outcome ◀────────────────┘
//! ```
//!
//! The executor decides nothing about order. What it adds is how one action is done: old stripes are
//! checked against their parity while they are read and recomputed where a member cannot; new ones
//! get theirs while they are written; a window that contradicts its parity ends the run before
//! anything of it is written.

mod backup_anew;
mod backup_file;
mod holes;
mod leaving;
mod memory;
mod mutation;
mod ongoing;
mod perform;
mod recording;
mod restore;
mod start;
mod undo;
mod window;

use std::collections::{HashMap, VecDeque};
use std::path::PathBuf;
use std::sync::Arc;

use kcopy::{Job, OnError, Outcome, Priority, Sectors, Time};

use crate::array::leaving::listed;
use crate::array::{Array, ArrayError, Range, Record, RecordError, View};
use crate::machine::log::{EventLog, Logged, Start};
use crate::machine::{Action, BadPosition, Event, Span, State, WindowId};
use crate::metadata::{Direction, Timestamp};
use crate::mover::{MoveError, Mover};
use crate::units::{ArraySector, Slot};

pub use crate::array::FailedMember;
pub use backup_file::{BackupFile, Readers, save_first};
pub(crate) use leaving::is_enough_of;
pub use mutation::Mutation;
pub use ongoing::{BackupVerdict, Ground, Ongoing, Trust, Turned};
pub use perform::{At, Performer, Tools};
use start::Saving;
pub use start::{Restripe, begin, finish};
pub use window::{Contradiction, Witness};

use holes::Holes;
use memory::Room;
use mutation::Rules;
use window::{Reading, Window};

/// Why a reshape does not go on. What was recorded last holds.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ExecError {
    /// Old stripes and their parity disagree where the record says that nothing was moved yet.
    #[error(
        "{} of the members contradict their parity at {} of the array, before anything there was moved: \
         the recorded position may be wrong",
        contradiction.rows(),
        contradiction.at
    )]
    Contradiction {
        /// Where.
        contradiction: Contradiction,
    },
    /// Content that cannot be read and cannot be computed.
    #[error("sectors {} to {} of the array can be neither read nor computed", range.start.get(), range.end())]
    Unreadable {
        /// Which.
        range: Range,
    },
    /// It stands in a critical section, and nothing proves what of it is still there.
    #[error(
        "the reshape stands at {position}, in its critical section; no usable backup of it is there, \
         and its old stripes do not prove that nothing was overwritten ({witness})"
    )]
    NoGround {
        /// Where it stands.
        position: ArraySector,
        /// What the old stripes say.
        witness: Witness,
    },
    /// A backup that is of this reshape, but does not begin where the record says.
    #[error(
        "{} holds sectors from {from} on, but the superblocks say that the reshape stands at {position}: \
         one of both is wrong",
        path.display()
    )]
    Elsewhere {
        /// The backup.
        path: PathBuf,
        /// Where what it holds begins.
        from: ArraySector,
        /// Where the superblocks say that the reshape stands.
        position: ArraySector,
    },
    /// The next window would overwrite what is not saved.
    #[error("the reshape needs a backup to go on at {position}")]
    NeedsBackup {
        /// Where it stands.
        position: ArraySector,
    },
    /// Windows are whole stripes, and one of them does not fit.
    #[error("{} bytes of memory are too few: what is moved at once is {} bytes", memory.get() * kcopy::SECTOR_SIZE,
        needed.get() * kcopy::SECTOR_SIZE)]
    LittleMemory {
        /// The memory for windows.
        memory: Sectors,
        /// The shortest window.
        needed: Sectors,
    },
    /// The backup could not be written or flushed.
    #[error("the backup {} cannot be written: {fault}", path.display())]
    Backup {
        /// The file.
        path: PathBuf,
        /// What happened.
        fault: kcopy::Fault,
    },
    /// More members failed than the array can lose.
    #[error("members failed while they were written: {}", listed(members))]
    TooManyFailed {
        /// Which, in the order in which they failed.
        members: Vec<FailedMember>,
    },
    /// There is no room where a member lies: a full file system, or a quota. The member is as good as before, and
    /// stays.
    #[error("there is no room left where {} lies: {}", member.path.display(), member.fault)]
    NoRoom {
        /// Which, the first of them.
        member: FailedMember,
    },
    /// Members are not there that the new geometry cannot do without.
    #[error("{} lack members, and the new geometry cannot do without them", named(slots))]
    TooFew {
        /// The slots that lack one.
        slots: Vec<Slot>,
    },
    /// It has moved something, or may have.
    #[error("it cannot be taken back at {position}: stripes may have been moved")]
    Moved {
        /// Where it stands.
        position: ArraySector,
    },
    /// The way back does not fill slots that the array cannot do without.
    #[error("it cannot go back: what slots {slots:?} lack they get on the way forwards only")]
    StillFilling {
        /// Which.
        slots: Vec<Slot>,
    },
    /// No reshape is recorded.
    #[error("no reshape is recorded")]
    NoReshape,
    /// It cannot be turned around.
    #[error(transparent)]
    Revert(#[from] crate::metadata::RevertError),
    /// A device that was a member a moment ago.
    #[error(transparent)]
    NoMember(#[from] crate::array::NoMember),
    /// Members that do not belong together.
    #[error(transparent)]
    Refusal(#[from] crate::assemble::Refusal),
    /// The recorded position is none that this reshape can have.
    #[error(transparent)]
    Position(#[from] BadPosition),
    /// The superblocks.
    #[error(transparent)]
    Record(#[from] RecordError),
    /// A map that contradicts itself.
    #[error(transparent)]
    Array(ArrayError),
    /// The engine.
    #[error(transparent)]
    Move(#[from] MoveError),
}

impl From<ArrayError> for ExecError {
    fn from(error: ArrayError) -> Self {
        if let ArrayError::TooManyFailed { members } = error {
            return Self::TooManyFailed { members };
        }
        if let ArrayError::NoRoom { path, fault } = error {
            return Self::NoRoom { member: FailedMember { slot: None, path, fault } };
        }
        if let ArrayError::Move(error) = error {
            return Self::Move(error);
        }
        Self::Array(error)
    }
}

/// `slots 3, 4`.
fn named(slots: &[Slot]) -> String {
    let numbers: Vec<String> = slots.iter().map(|slot| slot.get().to_string()).collect();
    format!("slots {}", numbers.join(", "))
}

/// What becomes of old stripes that contradict their parity.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Doubt {
    /// The run stops before anything of the window is written.
    #[default]
    Stop,
    /// Their data counts, their parity does not.
    GoOn,
}

/// How an [`Executor`] works.
#[derive(Debug, Default)]
pub struct Options {
    /// Where the critical section is saved.
    pub backup: Option<BackupFile>,
    /// What becomes of stripes that contradict their parity.
    pub doubt: Doubt,
    /// Where to stop, a multiple of the track's unit; `None`: at the end.
    pub until: Option<ArraySector>,
    /// Where everything that happens is written down; `None`: nowhere.
    pub log: Option<EventLog>,
    /// The longest window that is not saved; `None`: as is best for the disks.
    pub window: Option<Sectors>,
    /// Memory for windows, all together; `None`: as is best for the disks.
    pub memory: Option<Sectors>,
    /// A rule to break; for tests of the tests only.
    #[cfg(feature = "mutation")]
    pub mutation: Option<Mutation>,
}

impl Options {
    fn rules(&self) -> Rules {
        Rules {
            #[cfg(feature = "mutation")]
            broken: self.mutation,
        }
    }
}

/// After so long a position is recorded, whether it has to be or not.
const CHECKPOINT_NANOS: u64 = 5_000_000_000;

/// How far a run has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// Array sectors moved, from the start of the reshape.
    pub moved: u64,
    /// Of how many.
    pub total: u64,
    /// The position that is durable on every member.
    pub recorded: ArraySector,
    /// The checkpoints so far.
    pub checkpoints: Checkpoints,
}

/// What recording positions cost: the flush of all members and their superblocks. Other windows are
/// moved meanwhile.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Checkpoints {
    /// How many positions were recorded.
    pub count: u64,
    /// How long that took, by the engine's clock.
    pub time: std::time::Duration,
}

impl Checkpoints {
    fn add(&mut self, from: Time, to: Time) {
        self.count += 1;
        self.time += std::time::Duration::from_nanos(to.nanos_since(from));
    }
}

impl std::ops::AddAssign for Checkpoints {
    fn add_assign(&mut self, other: Self) {
        self.count += other.count;
        self.time += other.time;
    }
}

/// A reshape under way. See the module.
#[derive(Debug)]
pub struct Executor<'a> {
    mover: &'a mut Mover,
    machine: Logged,
    restripe: Restripe,
    old: View,
    new: View,
    record: &'a mut Record,
    backup: Option<BackupFile>,
    windows: HashMap<WindowId, Arc<Window>>,
    room: Room,
    flights: slab::Slab<Flight>,
    /// Jobs that ended while something else was waited for.
    landed: VecDeque<(Flight, Outcome)>,
    /// What became of the jobs that record a position now, one for each superblock.
    recording: Vec<Option<Outcome>>,
    /// Windows of which jobs are still writing, and how many.
    writing: HashMap<WindowId, usize>,
    /// Windows that are to be read sector by sector, from whoever has it: the array's own reader wants the
    /// engine for itself, so they wait until nothing is on its way.
    alone: VecDeque<WindowId>,
    /// Members that left the array since it runs.
    failed: Vec<FailedMember>,
    doubt: Doubt,
    /// Holes where old rows lie, and where new ones will.
    read_holes: Holes,
    write_holes: Holes,
    clock: fn() -> Timestamp,
    /// When the last position was recorded.
    recorded_at: Time,
    checkpoints: Checkpoints,
    /// When the checkpoint that is under way began.
    checkpoint_at: Time,
    rules: Rules,
    /// The broken rule of [`Mutation::RecordLate`]: what was said to be recorded.
    late: Option<ArraySector>,
}

/// A job on its way.
#[derive(Debug)]
struct Flight {
    action: Action,
    /// Write, FlushMembers: the members, in the order of the destinations.
    slots: Vec<Slot>,
    /// Record: which of the superblocks.
    index: usize,
    /// Save, FlushBackup, WriteHeader: what keeps the backup, in the order of the destinations.
    keeps: Vec<PathBuf>,
}

impl<'a> Executor<'a> {
    /// An executor at the position that the superblocks record.
    ///
    /// Without a backup in `options` it stops where one is needed.
    ///
    /// # Errors
    ///
    /// A position that this reshape cannot have.
    pub fn new(
        mover: &'a mut Mover,
        restripe: Restripe,
        (old, new): (View, View),
        record: &'a mut Record,
        options: Options,
        clock: fn() -> Timestamp,
    ) -> Result<Self, ExecError> {
        let rules = options.rules();
        let Options { backup, doubt, until, log, window, memory, .. } = options;
        let reshape = record.entries().iter().find_map(|entry| entry.superblock.reshape());
        let start = || restripe.track.position(0);
        let position = reshape.map_or_else(start, |r| restripe.standing(r.position));
        let saving = backup.as_ref().map_or(Saving::Nothing, BackupFile::saving);
        let limits = restripe.limits(saving, window, memory)?;
        let room = Room::of(&limits);
        let saved = backup.as_ref().map(BackupFile::claimed).unwrap_or_default();
        let mut track = restripe.track;
        if rules.lack(Mutation::OverwriteEarly) {
            let further = i64::try_from(track.old.chunk.max(track.new.chunk)).unwrap_or(0);
            track.shift += match track.direction {
                Direction::Forwards => -further,
                Direction::Backwards => further,
            };
        }
        let mut machine = Logged::new(&Start { track, limits, position, saved }, log)?;
        if let Some(until) = until {
            machine.stop_at(until);
        }
        let (windows, flights) = (HashMap::new(), slab::Slab::new());
        let now = mover.ended_at();
        Ok(Self {
            mover,
            machine,
            restripe,
            old,
            new,
            record,
            backup,
            windows,
            room,
            flights,
            landed: VecDeque::new(),
            recording: Vec::new(),
            writing: HashMap::new(),
            alone: VecDeque::new(),
            failed: Vec::new(),
            doubt,
            read_holes: Holes::new(rules),
            write_holes: Holes::new(rules),
            clock,
            recorded_at: now,
            checkpoints: Checkpoints::default(),
            checkpoint_at: now,
            rules,
            late: None,
        })
    }

    /// How far it is.
    pub fn progress(&self) -> Progress {
        Progress {
            moved: self.machine.moved(),
            total: self.machine.track().total,
            recorded: self.machine.recorded(),
            checkpoints: self.checkpoints,
        }
    }

    /// The members that failed on the way and left the array.
    pub fn into_failed(self) -> Vec<FailedMember> {
        self.failed
    }

    /// Moves windows until all is done, or `go_on` returns false: then it stops at the next
    /// checkpoint.
    ///
    /// Returns [`State::Finished`] or [`State::Stopped`].
    ///
    /// # Errors
    ///
    /// [`ExecError`]. What is under way ends first.
    pub fn run(&mut self, go_on: &mut dyn FnMut(Progress) -> bool) -> Result<State, ExecError> {
        let result = self.turn_until_done(go_on);
        if result.is_err() {
            self.machine.handle(Event::Failed);
            self.drain();
        }
        result
    }

    fn turn_until_done(
        &mut self,
        go_on: &mut dyn FnMut(Progress) -> bool,
    ) -> Result<State, ExecError> {
        loop {
            while let Some(action) = self.machine.poll() {
                self.begin(action)?;
                // Where there are only holes nothing is ever waited for.
                if let Action::Write(..) = action {
                    self.look_around(go_on);
                }
            }
            if self.is_quiet()
                && let Some(id) = self.alone.pop_front()
            {
                self.read_alone(id)?;
                self.look_around(go_on);
                continue;
            }
            if self.is_quiet() {
                return match self.machine.state() {
                    State::NeedsBackup => {
                        Err(ExecError::NeedsBackup { position: self.machine.recorded() })
                    }
                    state @ (State::Running
                    | State::Stopping
                    | State::Stopped
                    | State::Finished
                    | State::Failed) => Ok(state),
                };
            }
            let landed = self.landed.pop_front().map(Ok).or_else(|| self.land().transpose());
            let Some((flight, outcome)) = landed.transpose()? else {
                return Err(ArrayError::Inconsistent.into());
            };
            if let Some(event) = self.end(&flight, outcome)? {
                self.machine.handle(event);
            }
            self.look_around(go_on);
        }
    }

    /// Whether it is time to record a position, and whether somebody wants to stop.
    fn look_around(&mut self, go_on: &mut dyn FnMut(Progress) -> bool) {
        if self.mover.ended_at().nanos_since(self.recorded_at) >= CHECKPOINT_NANOS {
            self.machine.record_soon();
        }
        if !go_on(self.progress()) {
            self.machine.stop();
        }
    }

    fn read_alone(&mut self, id: WindowId) -> Result<(), ExecError> {
        let window = self.windows.get(&id).cloned().ok_or(ArrayError::Inconsistent)?;
        self.read_piecewise(&window)?;
        self.machine.handle(Event::Read(id));
        Ok(())
    }

    /// Whether nothing is on its way, and everything that ended was looked at.
    fn is_quiet(&self) -> bool {
        self.flights.is_empty() && self.landed.is_empty()
    }

    /// The next job that ended.
    fn land(&mut self) -> Result<Option<(Flight, Outcome)>, ExecError> {
        while let Some(done) = self.mover.next()? {
            let key = usize::try_from(done.tag).unwrap_or(usize::MAX);
            if let Some(flight) = self.flights.try_remove(key) {
                return Ok(Some((flight, done.outcome)));
            }
        }
        Ok(None)
    }

    /// What is under way ends. A position that was being recorded is, or the record is of no use.
    fn drain(&mut self) {
        while !self.flights.is_empty() {
            let Ok(Some(landed)) = self.land() else { break };
            self.landed.push_back(landed);
        }
        for (flight, outcome) in std::mem::take(&mut self.landed) {
            if let Action::Record(_) = flight.action {
                // The run has failed already; if this does, too, the record refuses what comes next.
                drop(self.recorded(&flight, outcome));
            }
        }
    }

    /// Starts an action. The last change of the superblocks is done when this returns.
    fn begin(&mut self, action: Action) -> Result<(), ExecError> {
        tracing::debug!(?action, "begins");
        let (job, slots) = match action {
            Action::Read(id, span) => {
                let window = self.window(span)?;
                self.windows.insert(id, Arc::clone(&window));
                match window::reading(&self.old, &window, None, &mut self.read_holes)? {
                    Reading::Rows(job) => (job, Vec::new()),
                    Reading::Piecewise => {
                        self.alone.push_back(id);
                        return Ok(());
                    }
                    Reading::Blank(witness) => {
                        window.set_blank(witness);
                        self.machine.handle(Event::Read(id));
                        return Ok(());
                    }
                }
            }
            Action::Write(id, span) => {
                let window = self.windows.get(&id).cloned().ok_or(ArrayError::Inconsistent)?;
                let jobs = window::write_jobs(&self.new, &window, span, &mut self.write_holes)?;
                drop(window);
                if jobs.is_empty() {
                    self.forget(id);
                    self.machine.handle(Event::Written(id));
                    return Ok(());
                }
                self.writing.insert(id, jobs.len());
                // The disks read what comes next while this is computed, and write it while the next one is.
                self.mover.issue()?;
                // Whoever fails leaves; all others have to get everything.
                jobs.into_iter().try_for_each(|(job, slots)| {
                    self.submit(action, job.on_error(OnError::Detach), slots)
                })?;
                return Ok(self.mover.issue()?);
            }
            Action::Save(id, section) => {
                let window = self.windows.get(&id).cloned().ok_or(ArrayError::Inconsistent)?;
                let job = self.backup_mut()?.save(section, &window);
                return self.submit_backup(action, job);
            }
            Action::FlushBackup if self.rules.lack(Mutation::BackupUnflushed) => {
                self.machine.handle(Event::BackupFlushed);
                return Ok(());
            }
            Action::FlushBackup => {
                let flush = Job::flush_only(self.backup_mut()?.devices());
                return self.submit_backup(action, flush.priority(Priority::High));
            }
            Action::WriteHeader(sections) if self.is_left_claimed(sections) => {
                self.machine.handle(Event::HeaderWritten);
                return Ok(());
            }
            Action::WriteHeader(sections) => {
                let now = (self.clock)();
                let job = self.backup_mut()?.write_header(sections, now);
                let later = self.rules.lack(Mutation::HeaderUnflushed);
                return self.submit_backup(action, if later { job } else { job.flush() });
            }
            Action::FlushMembers if self.rules.lack(Mutation::MembersUnflushed) => {
                self.machine.handle(Event::MembersFlushed);
                return Ok(());
            }
            Action::FlushMembers => {
                self.checkpoint_at = self.mover.ended_at();
                let (slots, devices): (Vec<_>, Vec<_>) = self.members().into_iter().unzip();
                (Job::flush_only(&devices).priority(Priority::High), slots)
            }
            Action::Record(position) => return self.begin_record(action, position),
            Action::Finish => return self.finish(),
        };
        self.submit(action, job, slots)
    }

    fn submit(&mut self, action: Action, job: Job, slots: Vec<Slot>) -> Result<(), ExecError> {
        self.take_off(Flight { action, slots, index: 0, keeps: Vec::new() }, job)
    }

    /// A job that writes or flushes what keeps the backup.
    fn submit_backup(&mut self, action: Action, job: Job) -> Result<(), ExecError> {
        let backup = self.backup_mut()?;
        let keeps = match action {
            Action::WriteHeader(_) => backup.header_paths().collect(),
            Action::Read(..)
            | Action::Save(..)
            | Action::FlushBackup
            | Action::Write(..)
            | Action::FlushMembers
            | Action::Record(_)
            | Action::Finish => backup.devices().map(|keep| keep.path().to_owned()).collect(),
        };
        self.take_off(Flight { action, slots: Vec::new(), index: 0, keeps }, job)
    }

    fn take_off(&mut self, flight: Flight, job: Job) -> Result<(), ExecError> {
        let key = self.flights.insert(flight);
        let submitted = self.mover.submit(job, u64::try_from(key).unwrap_or(u64::MAX));
        if submitted.is_err() {
            self.flights.remove(key);
        }
        Ok(submitted?)
    }

    /// A window that takes the memory of one that was written, if there is one.
    fn window(&mut self, span: Span) -> Result<Arc<Window>, ExecError> {
        let content = self.old.geometry().sectors().get().saturating_sub(span.start.get());
        let memory = self.room.take(window::bytes_of(span.sectors))?;
        Ok(Arc::new(Window::within(memory, span, content.min(span.sectors))))
    }

    /// A window is written: its memory is for the next one.
    fn forget(&mut self, id: WindowId) {
        if let Some(window) = self.windows.remove(&id).and_then(Arc::into_inner) {
            self.room.give_back(window.into_memory());
        }
    }

    /// The broken rule of [`Mutation::SectionUncleared`]: a header that only takes claims back is left
    /// out.
    fn is_left_claimed(&self, sections: crate::machine::Sections) -> bool {
        let claimed = self.backup.as_ref().map(BackupFile::claimed).unwrap_or_default();
        let less = |now: Option<_>, before| now.is_none() || now == before;
        self.rules.lack(Mutation::SectionUncleared)
            && less(sections.first, claimed.first)
            && less(sections.second, claimed.second)
    }

    fn backup_mut(&mut self) -> Result<&mut BackupFile, ExecError> {
        let position = self.machine.recorded();
        self.backup.as_mut().ok_or(ExecError::NeedsBackup { position })
    }

    /// The members of old and new geometry, each once.
    fn members(&self) -> Vec<(Slot, kcopy::Device)> {
        let slots = self.old.geometry().raid_disks().max(self.new.geometry().raid_disks());
        let member = |slot| {
            let leg = self.new.leg(slot).or_else(|| self.old.leg(slot))?;
            Some((slot, leg.device.clone()))
        };
        (0..slots).map(Slot::new).filter_map(member).collect()
    }

    /// The event that a job's end is; `None` if more has to be done first.
    fn end(&mut self, flight: &Flight, outcome: Outcome) -> Result<Option<Event>, ExecError> {
        let event = match flight.action {
            Action::Read(id, _) => return self.window_read(id, &outcome),
            Action::Write(id, _) => {
                self.members_answered(&flight.slots, &outcome)?;
                let left = self.writing.get_mut(&id).ok_or(ArrayError::Inconsistent)?;
                *left = left.saturating_sub(1);
                if *left > 0 {
                    return Ok(None);
                }
                self.writing.remove(&id);
                self.forget(id);
                Event::Written(id)
            }
            Action::Save(..) => self.backup_written(flight, &outcome, Event::Saved)?,
            Action::FlushBackup => self.backup_written(flight, &outcome, Event::BackupFlushed)?,
            Action::WriteHeader(_) => {
                self.backup_written(flight, &outcome, Event::HeaderWritten)?
            }
            Action::FlushMembers => {
                self.members_answered(&flight.slots, &outcome)?;
                Event::MembersFlushed
            }
            Action::Record(_) => match self.recorded(flight, outcome)? {
                true => Event::Recorded,
                false => return Ok(None),
            },
            Action::Finish => return Err(ArrayError::Inconsistent.into()),
        };
        Ok(Some(event))
    }

    /// A window's old stripes are in memory, or some of them could not be read.
    fn window_read(&mut self, id: WindowId, outcome: &Outcome) -> Result<Option<Event>, ExecError> {
        let window = self.windows.get(&id).ok_or(ArrayError::Inconsistent)?;
        if outcome.read.is_some() {
            self.alone.push_back(id);
            return Ok(None);
        }
        match (window.contradiction(), self.doubt) {
            (Some(contradiction), Doubt::Stop) => Err(ExecError::Contradiction { contradiction }),
            (Some(_), Doubt::GoOn) | (None, _) => Ok(Some(Event::Read(id))),
        }
    }

    /// Reads a window sector by sector, from whoever has it, computing what nobody has.
    fn read_piecewise(&mut self, window: &Window) -> Result<(), ExecError> {
        let span = window.span();
        let content = self.old.geometry().sectors().get();
        let end = (span.start.get() + span.sectors).min(content);
        let range = Range::new(span.start.get(), end.saturating_sub(span.start.get()));
        let array = Array::of(self.old.clone());
        let (bytes, report) = array.read(self.mover, range)?;
        if let Some(range) = report.unreadable.first() {
            return Err(ExecError::Unreadable { range: *range });
        }
        window.put(span.start, &bytes);
        Ok(())
    }
}

#[cfg(test)]
mod tests;
