//! Carries a plan out, one step after the other.
//!
//! Between two steps the array is a plain one of some shape, which the kernel can start: whoever is
//! interrupted there plans anew and goes on. Within a restripe the superblocks say how far it is.
//!
//! A member that fails in any step leaves, if the array can do without it before and after the step, and the plan
//! goes on. A disk that is just being added and fails ends the plan before anything was moved to it.

use std::path::PathBuf;

use kcopy::{Device, Sectors};

use super::backup_file::{BackupFile, save_first};
use super::ongoing::Ongoing;
use super::start::Saving;
use super::{Checkpoints, Doubt, ExecError, FailedMember, Options, Restripe, begin};
use crate::array::change::{Added, NewSize};
use crate::array::leaving::commit_without_failed;
use crate::array::{Array, ArrayError, Entry, Force, Members, Newcomer, Record, Session};
use crate::assemble::{Assembly, Member, assemble};
use crate::geometry::Level;
use crate::machine::State;
use crate::machine::log::EventLog;
use crate::metadata::{Features, Role, Superblock, Timestamp, Uuid};
use crate::mover::{MoveError, Mover};
use crate::plan::{
    AppendStep, Mode, Plan, Present, RebuildStep, ResizeStep, RestripeStep, Step, TakeoverStep,
};
use crate::units::Slot;

/// How far a plan has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct At {
    /// The step, from 0.
    pub step: usize,
    /// Bytes of the step that are done.
    pub done: u64,
    /// Bytes of the step.
    pub total: u64,
}

/// What a plan needs beside the disks.
#[derive(Debug)]
pub struct Tools<'a> {
    /// The file that saves what is critical, on other storage.
    pub backup: Option<Device>,
    /// A name for each disk that is added, in the order of the plan's disks.
    pub uuids: &'a [Uuid],
    /// What becomes of stripes that contradict their parity.
    pub doubt: Doubt,
    /// Memory for what is moved at once; `None`: as is best for the disks.
    pub memory: Option<Sectors>,
    /// What time it is.
    pub clock: fn() -> Timestamp,
    /// Where everything that happens is written down; `None`: nowhere.
    pub log: Option<EventLog>,
}

/// See the module.
#[derive(Debug)]
pub struct Performer<'a> {
    mover: &'a mut Mover,
    present: &'a Present,
    plan: &'a Plan,
    /// The plan's disks.
    disks: &'a [Device],
    /// Which of them have a superblock of the array.
    enlisted: Vec<bool>,
    tools: Tools<'a>,
    checkpoints: Checkpoints,
    failed: Vec<FailedMember>,
    /// Who sat where when it was last looked.
    seats: Vec<(PathBuf, Option<Slot>)>,
}

impl<'a> Performer<'a> {
    /// Carries out `plan` of `present`, whose disks are open as `disks`, in the same order.
    pub fn new(
        mover: &'a mut Mover,
        (present, plan): (&'a Present, &'a Plan),
        disks: &'a [Device],
        tools: Tools<'a>,
    ) -> Self {
        let enlisted = present.disks.iter().map(|disk| disk.candidate.is_some()).collect();
        let checkpoints = Checkpoints::default();
        let (failed, seats) = (Vec::new(), Vec::new());
        Self { mover, present, plan, disks, enlisted, tools, checkpoints, failed, seats }
    }

    /// What recording positions has cost so far, in all steps.
    pub fn checkpoints(&self) -> Checkpoints {
        self.checkpoints
    }

    /// The members that failed so far and left the array.
    pub fn failed(&self) -> &[FailedMember] {
        &self.failed
    }

    /// Does all steps. `go_on` returns false to stop at the next checkpoint.
    ///
    /// Returns [`State::Finished`], or [`State::Stopped`].
    ///
    /// # Errors
    ///
    /// [`ExecError`]: what was recorded last holds.
    pub fn run(&mut self, go_on: &mut dyn FnMut(At) -> bool) -> Result<State, ExecError> {
        self.reserve()?;
        for (number, step) in self.plan.steps.iter().enumerate() {
            let total = bytes_of(step);
            let mut so_far = |done: u64| go_on(At { step: number, done, total });
            if !so_far(0) {
                return Ok(State::Stopped);
            }
            tracing::info!(
                step = number + 1,
                of = self.plan.steps.len(),
                bytes = total,
                "{}",
                name_of(step)
            );
            if self.step(step, &mut so_far)? == State::Stopped {
                return Ok(State::Stopped);
            }
        }
        Ok(State::Finished)
    }

    /// Takes the room for the largest backup before anything is changed, and looks whether the memory is enough.
    fn reserve(&mut self) -> Result<(), ExecError> {
        for step in &self.plan.steps {
            if let Step::Restripe(step) = step {
                step.restripe.limits(saving(step), None, self.tools.memory)?;
            }
        }
        let saved = self.plan.steps.iter().filter_map(Step::saved);
        let sections = saved.filter_map(|step| Some((step.restripe.section()?, &step.restripe)));
        let largest = sections.max_by_key(|(section, _)| *section);
        let Some((section, restripe)) = largest else { return Ok(()) };
        let (assembly, _) = self.look()?;
        self.make_backup(assembly.uuid_on_disk, (section, restripe))?;
        Ok(())
    }

    fn make_backup(
        &mut self,
        uuid: [u8; 16],
        (section, restripe): (Sectors, &Restripe),
    ) -> Result<BackupFile, ExecError> {
        let device = self.tools.backup.clone();
        let position = crate::units::ArraySector::new(0);
        let device = device.ok_or(ExecError::NeedsBackup { position })?;
        let what = (section, restripe.readers());
        match BackupFile::create(self.mover, device, uuid, what, (self.tools.clock)()) {
            Err(MoveError::Write { path, fault }) => Err(ExecError::Backup { path, fault }),
            made => Ok(made?),
        }
    }

    /// Members left the array: whatever stands on their disks does not count any more.
    fn without(&mut self, failed: &[FailedMember]) {
        for member in failed {
            let mut disks = self.disks.iter().zip(&mut self.enlisted);
            if let Some((_, there)) = disks.find(|(disk, _)| disk.path() == member.path) {
                *there = false;
            }
        }
        self.failed.extend_from_slice(failed);
    }

    /// Does something with the array as it stands.
    fn in_session<T>(
        &mut self,
        work: impl FnOnce(&mut Self, &mut Session) -> Result<T, ExecError>,
    ) -> Result<T, ExecError> {
        let (assembly, members) = self.look()?;
        let mut session = Session::open(&assembly, &members, Force::No)?;
        let ended = work(self, &mut session);
        self.without(session.failed());
        ended
    }

    /// The array as it stands on the disks now.
    fn look(&mut self) -> Result<(Assembly, Members), ExecError> {
        let disks = self.disks.iter().zip(&self.enlisted);
        let devices = disks.filter(|(_, there)| **there).map(|(disk, _)| disk.clone()).collect();
        let (members, unreadable) = Members::read_readable(self.mover, devices)?;
        let assembly = assemble(&members.candidates)?;
        let mut failed = Vec::new();
        for (mut member, error) in unreadable {
            // At first, whoever names the members is told; later they were members a moment ago.
            if self.seats.is_empty() || assembly.startable().is_err() {
                return Err(error.into());
            }
            let seat = self.seats.iter().find(|(path, _)| *path == member.path);
            member.slot = seat.and_then(|(_, slot)| *slot);
            failed.push(member);
        }
        self.without(&failed);
        let path = |member: &Member| Some(members.candidates.get(member.candidate)?.path.clone());
        let seats = assembly.members.iter().filter_map(|m| Some((path(m)?, m.slot)));
        self.seats = seats.collect();
        Ok((assembly, members))
    }

    fn disk(&self, index: usize) -> Result<&Device, ExecError> {
        self.disks.get(index).ok_or_else(|| ArrayError::Inconsistent.into())
    }

    fn step(
        &mut self,
        step: &Step,
        so_far: &mut dyn FnMut(u64) -> bool,
    ) -> Result<State, ExecError> {
        let now = (self.tools.clock)();
        let done = match step {
            Step::AddDisks(disks) => self.add(disks),
            Step::RemoveBitmap => self
                .in_session(|performer, session| Ok(session.remove_bitmap(performer.mover, now)?)),
            Step::MakeBitmap => self.in_session(|performer, session| {
                session.add_bitmap(performer.mover, now, None)?;
                Ok(())
            }),
            Step::Takeover(step) => self.take_over(step),
            Step::Restripe(step) => return self.restripe(step, so_far),
            Step::Resize(step) => self.resize(step, so_far),
            // md has no field for it: it is the consent to lose the rest.
            Step::ArraySize(_) => Ok(()),
            Step::Rebuild(step) => self.rebuild(step, so_far),
            Step::Append(step) => self.append(step),
        };
        match done {
            Ok(()) => Ok(State::Finished),
            Err(ExecError::Array(ArrayError::Move(MoveError::Cancelled))) => Ok(State::Stopped),
            Err(error) => Err(error),
        }
    }

    fn newcomer(&self, index: usize) -> Result<Newcomer, ExecError> {
        let device = self.disk(index)?.clone();
        let uuid = self.tools.uuids.get(index).copied().unwrap_or(Uuid([0; 16]));
        Ok(Newcomer { device, uuid, bad: Vec::new() })
    }

    fn add(&mut self, disks: &[usize]) -> Result<(), ExecError> {
        self.in_session(|performer, session| {
            for index in disks {
                let newcomer = performer.newcomer(*index)?;
                session.add_spare(performer.mover, (performer.tools.clock)(), &newcomer)?;
                performer.enlist(*index);
            }
            Ok(())
        })
    }

    fn enlist(&mut self, index: usize) {
        if let Some(enlisted) = self.enlisted.get_mut(index) {
            *enlisted = true;
        }
    }

    fn append(&mut self, step: &AppendStep) -> Result<(), ExecError> {
        self.in_session(|performer, session| {
            for index in &step.disks {
                let newcomer = performer.newcomer(*index)?;
                session.append(performer.mover, (performer.tools.clock)(), &newcomer)?;
                performer.enlist(*index);
            }
            Ok(())
        })
    }

    fn rebuild(
        &mut self,
        step: &RebuildStep,
        so_far: &mut dyn FnMut(u64) -> bool,
    ) -> Result<(), ExecError> {
        let each = step.geometry.component().get() * kcopy::SECTOR_SIZE;
        self.in_session(|performer, session| {
            for (fill, before) in step.fills.iter().zip((0..).map(|n: u64| n * each)) {
                let newcomer = performer.newcomer(fill.disk)?;
                let now = (performer.tools.clock)();
                let moved = &mut |done| so_far(before + done);
                session.rebuild(performer.mover, now, fill.slot, &newcomer, moved)?;
            }
            Ok(())
        })
    }

    fn resize(
        &mut self,
        step: &ResizeStep,
        so_far: &mut dyn FnMut(u64) -> bool,
    ) -> Result<(), ExecError> {
        let size = NewSize::Sectors(step.new.component());
        let (now, how) = ((self.tools.clock)(), (Added::Zero, Force::Yes));
        self.in_session(|performer, session| {
            session.resize(performer.mover, now, size, how, so_far)?;
            Ok(())
        })
    }

    fn record(&mut self) -> Result<Record, ExecError> {
        let (assembly, members) = self.look()?;
        Ok(Record::new(&assembly, &members.candidates, &members.devices))
    }

    fn number_of(&self, record: &Record, disk: usize) -> Result<u32, ExecError> {
        let id = self.disk(disk)?.id();
        let entry = record.entries().iter().find(|entry| entry.device.id() == id);
        let entry = entry.ok_or(ArrayError::Inconsistent)?;
        Ok(entry.superblock.dev_number())
    }

    fn take_over(&mut self, step: &TakeoverStep) -> Result<(), ExecError> {
        let mut record = self.record()?;
        let mut roles = Vec::with_capacity(step.moves.len());
        for change in &step.moves {
            let disk = self.disk(change.disk)?;
            if self.failed.iter().any(|member| member.path == disk.path()) {
                continue;
            }
            let number = self.number_of(&record, change.disk)?;
            roles.push((number, change.to.map_or(Role::Spare, Role::Active)));
        }
        let (before, after) = (seats(&record, &[]), seats(&record, &roles));
        let enough = |record: &Record| {
            let there = |seats: &[(u32, Slot)], slot| {
                let mut its = seats.iter().filter(|(_, seat)| *seat == slot);
                its.any(|(number, _)| record.entry(*number).is_some())
            };
            step.old.enough(|slot| there(&before, slot))
                && step.new.enough(|slot| there(&after, slot))
        };
        // Members may have left in the steps before.
        if !enough(&record) {
            return Err(ExecError::TooManyFailed { members: self.failed.clone() });
        }
        let now = (self.tools.clock)();
        let failed = commit_without_failed(self.mover, &mut record, now, &enough, |superblock| {
            let (new, was) = (&step.new, step.old.level());
            superblock.set_raid_disks(new.raid_disks());
            for (number, role) in &roles {
                superblock.set_role(*number, *role)?;
            }
            superblock.set_level(new.level());
            superblock.set_layout(new.layout().to_md());
            superblock.set_chunk(new.chunk())?;
            if was == Level::Raid0 {
                superblock.set_component_size(new.component())?;
            }
            if let Superblock::V1(superblock) = superblock {
                let layout = Features::RAID0_LAYOUT;
                superblock.set_features(superblock.features() - layout);
                if new.level() == Level::Raid0 {
                    // A RAID0 takes all there is of a member: there must be no more than was used.
                    superblock.set_data_size(new.component());
                    superblock.set_component_size(Sectors::ZERO);
                }
            }
            Ok(())
        })?;
        self.without(&failed);
        Ok(())
    }

    fn restripe(
        &mut self,
        step: &RestripeStep,
        so_far: &mut dyn FnMut(u64) -> bool,
    ) -> Result<State, ExecError> {
        let mut record = self.record()?;
        let mut added: Vec<(u32, Slot)> = Vec::with_capacity(step.fills.len());
        for fill in &step.fills {
            let path = self.disk(fill.disk)?.path();
            if let Some(failed) = self.failed.iter().find(|member| member.path == path) {
                return Err(ArrayError::Newcomer { failed: failed.clone() }.into());
            }
            added.push((self.number_of(&record, fill.disk)?, fill.slot));
        }
        let first = record.entries().first().ok_or(ArrayError::Inconsistent)?;
        let uuid = first.superblock.uuid_on_disk();
        let mut backup = self.backup_for(step, uuid, &record)?;
        if let Some(backup) = &mut backup {
            self.save_first(step, backup)?;
        }
        let now = (self.tools.clock)();
        let failed = begin(self.mover, &mut record, &step.restripe, &added, now)?;
        self.without(&failed);
        let (assembly, members) = self.look()?;
        let mut ongoing = Ongoing::new(assembly, members)?;
        if ongoing.expect_enough().is_err() {
            return Err(self.call_off(step, &mut ongoing));
        }
        let log = self.tools.log.clone();
        let Tools { doubt, memory, .. } = self.tools;
        let options = Options { backup, doubt, log, memory, ..Options::default() };
        let mut checkpoints = Checkpoints::default();
        let ended = ongoing.run(self.mover, options, self.tools.clock, &mut |progress| {
            checkpoints = progress.checkpoints;
            so_far(progress.moved * kcopy::SECTOR_SIZE)
        });
        self.checkpoints += checkpoints;
        self.without(ongoing.failed());
        ended
    }

    fn save_first(
        &mut self,
        step: &RestripeStep,
        backup: &mut BackupFile,
    ) -> Result<(), ExecError> {
        let (assembly, members) = self.look()?;
        let array = Array::open(&assembly, &members.devices, &members.bad)?;
        let (what, how) = ((&array, &step.restripe), (None, self.tools.memory));
        save_first(self.mover, what, backup, how, (self.tools.clock)())
    }

    /// Disks could not be read any more when the reshape had just been recorded, and it cannot go on without them:
    /// nothing was moved yet. Returns what to say about it.
    fn call_off(&mut self, step: &RestripeStep, ongoing: &mut Ongoing) -> ExecError {
        let taken = ongoing.take_back_unmoved(self.mover, (self.tools.clock)());
        self.without(&taken.as_ref().map_or_else(|_| Vec::new(), Vec::clone));
        let is_new = |member: &&FailedMember| {
            let mut disks = step.fills.iter().filter_map(|fill| self.disks.get(fill.disk));
            disks.any(|disk| disk.path() == member.path)
        };
        match (taken, self.failed.iter().find(is_new)) {
            (Err(error), _) => error,
            (Ok(_), Some(failed)) => ArrayError::Newcomer { failed: failed.clone() }.into(),
            (Ok(_), None) => ExecError::TooManyFailed { members: self.failed.clone() },
        }
    }

    fn backup_for(
        &mut self,
        step: &RestripeStep,
        uuid: [u8; 16],
        record: &Record,
    ) -> Result<Option<BackupFile>, ExecError> {
        match saving(step) {
            Saving::Nothing => Ok(None),
            Saving::InTurns(section) => self.make_backup(uuid, (section, &step.restripe)).map(Some),
            Saving::AtOnce(critical) => {
                let mut spares = Vec::new();
                for fill in &step.fills {
                    let number = self.number_of(record, fill.disk)?;
                    let entry = record.entry(number).ok_or(ArrayError::Inconsistent)?;
                    spares.push((entry.device.clone(), entry.superblock.data_offset()));
                }
                let now = (self.tools.clock)();
                let component = self.present.geometry.component();
                let how = (uuid, critical);
                BackupFile::on_spares(self.mover, &spares, component, how, now).map(Some)
            }
        }
    }
}

/// What a step saves, and how: two sections in turns in a file, or all that is critical at once on spares.
fn saving(step: &RestripeStep) -> Saving {
    match (step.mode, step.restripe.section()) {
        (Mode::DataOffset, _) | (_, None) => Saving::Nothing,
        (Mode::BackupFile, Some(section)) => Saving::InTurns(section),
        (Mode::BackupOnSpares, Some(_)) => Saving::AtOnce(step.restripe.critical_section()),
    }
}

/// What a step is, for the log.
fn name_of(step: &Step) -> &'static str {
    match step {
        Step::AddDisks(_) => "disks become spares",
        Step::RemoveBitmap => "the bitmap is removed",
        Step::MakeBitmap => "a bitmap is made",
        Step::Takeover(_) => "the level changes without moving anything",
        Step::Restripe(_) => "content is moved",
        Step::Resize(_) => "the component size changes",
        Step::ArraySize(_) => "the array's size changes",
        Step::Rebuild(_) => "members are filled",
        Step::Append(_) => "disks are appended",
    }
}

/// Which numbers sit in which slots, once some of them have got other roles; who is still being filled does not
/// count.
fn seats(record: &Record, roles: &[(u32, Role)]) -> Vec<(u32, Slot)> {
    let seat = |entry: &Entry| {
        let number = entry.superblock.dev_number();
        let changed = roles.iter().find(|(n, _)| *n == number).map(|(_, role)| *role);
        match changed.unwrap_or_else(|| entry.superblock.role()) {
            Role::Active(slot) if entry.superblock.recovery_offset().is_none() => {
                Some((number, slot))
            }
            Role::Active(_) | Role::Spare | Role::Faulty | Role::Journal | Role::Reserved(_) => {
                None
            }
        }
    };
    record.entries().iter().filter_map(seat).collect()
}

/// What a step has to move, in bytes.
fn bytes_of(step: &Step) -> u64 {
    let each = |sectors: u64| sectors.saturating_mul(kcopy::SECTOR_SIZE);
    match step {
        Step::Restripe(step) => each(step.restripe.track.total),
        Step::Rebuild(step) => {
            let count = u64::try_from(step.fills.len()).unwrap_or(0);
            each(step.geometry.component().get().saturating_mul(count))
        }
        Step::Resize(step) => {
            let disks = u64::from(step.new.raid_disks());
            each((step.fresh.end - step.fresh.start).saturating_mul(disks))
        }
        Step::AddDisks(_)
        | Step::RemoveBitmap
        | Step::Takeover(_)
        | Step::ArraySize(_)
        | Step::Append(_)
        | Step::MakeBitmap => 0,
    }
}

#[cfg(test)]
mod tests;
