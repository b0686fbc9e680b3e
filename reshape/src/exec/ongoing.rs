//! A reshape that superblocks record: what it needs to go on, and the ways in which it may.

use std::ops::Range as Distances;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use kcopy::{Device, Sectors};

use super::holes::Holes;
use super::mutation::{Mutation, Rules};
use super::restore::{Standing, restore};
use super::window::{Other, Reading, Window, Witness, reading};
use super::{Doubt, ExecError, Executor, FailedMember, Options, Progress, Restripe};
use crate::array::{
    Age, Array, ArrayError, Backup, Members, NoBackup, Range, Record, View, is_absent,
};
use crate::assemble::{Assembly, MemberState, Shapes, assemble};
use crate::machine::{Span, State};
use crate::metadata::{Direction, DoesNotFit, Reshape, Role, Section, Superblock, Timestamp};
use crate::mover::Mover;
use crate::units::{ArraySector, Slot};

/// Array sectors of old stripes that are looked at in one go.
const LOOK: u64 = 8192;

/// What became of a candidate for a backup.
#[derive(Debug)]
pub struct BackupVerdict {
    /// The file, or the member that may hold one.
    pub path: PathBuf,
    /// The backup, or why it is of no use.
    pub verdict: Result<Backup, NoBackup>,
}

/// Whether a critical section without a usable backup is believed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Trust {
    /// Only if its parity bears witness that nothing of it was overwritten.
    #[default]
    Evidence,
    /// As it is: all content goes together so, which the caller has found (`salvage::goes_together`).
    Content,
    /// As it is, whatever it holds (`--invalid-backup`).
    Blind,
}

/// Why a reshape may go on from where it stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ground {
    /// The members have everything: it does not stand in a critical section.
    Members,
    /// A backup was put back, and the position recorded behind it.
    Restored {
        /// Where it stood.
        from: ArraySector,
    },
    /// It stands in a critical section, of which nothing was overwritten: its parity says so.
    Witnessed(Witness),
    /// It stands in a critical section, and a valid backup says that nothing is saved: so nothing
    /// was overwritten.
    NothingSaved,
    /// It stands in a critical section, and all content goes together as if nothing of it was overwritten.
    Content,
    /// Nobody knows; it was asked for.
    Blind,
}

/// How a reshape was turned around.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turned {
    /// It goes back from here.
    At(ArraySector),
    /// It reached its end before a place where it could turn.
    Finished,
}

/// What becomes of members that fill a slot of the old array when the reshape turns around, by number and slot.
#[derive(Debug)]
enum Fills {
    /// Both arrays can do without them: they leave.
    Leave(Vec<(u32, Slot)>),
    /// What was moved is on them as well: they stay, once they have all of the old array. So where a RAID0 grows as a
    /// RAID4 without its parity, in whose slot comes a new member.
    Complete(Vec<(u32, Slot)>),
}

impl Fills {
    /// The slots that are empty afterwards.
    fn leaving(&self) -> Vec<Slot> {
        match self {
            Self::Leave(fills) => fills.iter().map(|(_, slot)| *slot).collect(),
            Self::Complete(_) => Vec::new(),
        }
    }

    /// Says so in a superblock.
    fn settle(&self, superblock: &mut Superblock) -> Result<(), DoesNotFit> {
        match self {
            Self::Leave(fills) => {
                fills.iter().try_for_each(|(number, _)| superblock.set_role(*number, Role::Spare))
            }
            Self::Complete(fills) => fills.iter().try_for_each(|(number, slot)| match superblock {
                Superblock::V0(superblock) => {
                    superblock.set_role(*number, Role::Active(*slot))?;
                    match superblock.this_disk().number == *number {
                        true => superblock.set_this_disk(*number),
                        false => Ok(()),
                    }
                }
                Superblock::V1(superblock) if superblock.dev_number() == *number => {
                    superblock.set_recovery_offset(None);
                    Ok(())
                }
                Superblock::V1(_) => Ok(()),
            }),
        }
    }
}

/// See the module.
#[derive(Debug)]
pub struct Ongoing {
    /// What the superblocks describe.
    pub assembly: Assembly,
    /// The members as they were found.
    pub members: Members,
    pub(super) record: Record,
    pub(super) old: View,
    pub(super) new: View,
    pub(super) restripe: Restripe,
    reshape: Reshape,
    pub(super) failed: Vec<FailedMember>,
    rules: Rules,
}

impl Ongoing {
    /// The reshape that `assembly` of `members` records.
    ///
    /// # Errors
    ///
    /// None is recorded, or too few members are there.
    pub fn new(assembly: Assembly, members: Members) -> Result<Self, ExecError> {
        let Shapes::Moving { reshape, .. } = assembly.shapes else {
            return Err(ExecError::NoReshape);
        };
        let record = Record::new(&assembly, &members.candidates, &members.devices);
        let array = Array::open(&assembly, &members.devices, &members.bad)?;
        let (old, new) = array.views().ok_or(ArrayError::Inconsistent)?;
        let (old, new) = (old.clone(), new.clone());
        let restripe = Restripe::recorded(old.geometry(), new.geometry(), &record)
            .map_err(crate::array::RecordError::from)?;
        let (failed, rules) = (Vec::new(), Rules::default());
        Ok(Self { assembly, members, record, old, new, restripe, reshape, failed, rules })
    }

    /// Takes a rule of order away; for tests of the tests only.
    #[cfg(feature = "mutation")]
    pub fn break_rule(&mut self, rule: Option<Mutation>) {
        self.rules = Rules { broken: rule };
    }

    /// Reads the superblocks anew: after they were changed. What stands on members that left does not count.
    fn reread(self, mover: &mut Mover) -> Result<Self, ExecError> {
        let (mut failed, rules) = (self.failed, self.rules);
        let mut devices = self.members.devices.clone();
        devices.retain(|device| !failed.iter().any(|member| member.path == device.path()));
        let (members, unreadable) = Members::read_readable(mover, devices)?;
        let assembly = assemble(&members.candidates)?;
        let mut again = Self::new(assembly, members)?;
        for (mut member, _) in unreadable {
            let known = self.assembly.members.iter().find(|known| {
                let candidate = self.members.candidates.get(known.candidate);
                candidate.is_some_and(|candidate| candidate.path == member.path)
            });
            member.slot = known.and_then(|known| known.slot);
            tracing::warn!(%member, "a member left the array");
            failed.push(member);
        }
        // Their absence is recorded before anything else is.
        again.failed = failed;
        again.rules = rules;
        Ok(again)
    }

    /// What is recorded.
    pub fn reshape(&self) -> &Reshape {
        &self.reshape
    }

    /// Where it stands.
    pub fn position(&self) -> ArraySector {
        self.restripe.standing(self.reshape.position)
    }

    /// Both geometries and the way.
    pub fn restripe(&self) -> &Restripe {
        &self.restripe
    }

    /// Whether what comes next would overwrite itself: then the members alone may lack some of it.
    pub fn is_critical(&self) -> bool {
        let distance = self.restripe.track.distance(self.position());
        distance.is_some_and(|distance| self.restripe.track.is_critical(distance))
    }

    /// Whether a place for a backup is needed to go on.
    pub fn needs_backup_file(&self) -> bool {
        self.restripe.needs_backup_from(self.position())
    }

    /// Whether old stripes that verify prove that the recorded position is right: the first window that is moved
    /// from a wrong one contradicts its parity. Without a parity to spare, and where as many members as before share
    /// one sum, nothing does. What was moved is not asked, so the new stripes need none.
    pub fn parity_tells(&self) -> bool {
        let (old, new) = (self.old.geometry(), self.new.geometry());
        old.raid_disks() != new.raid_disks() && has_spare_parity(&self.old)
    }

    /// Whether the old stripes that come next tell that the recorded position is right, where nothing can be told of
    /// those that were moved: they have no parity to spare.
    ///
    /// # Errors
    ///
    /// Members that cannot be read.
    pub fn is_told_by_old_stripes(&self, mover: &mut Mover) -> Result<bool, ExecError> {
        if !self.parity_tells() || has_spare_parity(&self.new) {
            return Ok(false);
        }
        match self.check_ahead(mover) {
            Ok(()) => Ok(true),
            Err(ExecError::Contradiction { .. }) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Whether every stripe has more than its data, before and after.
    pub(super) fn has_spare_parity(&self) -> bool {
        has_spare_parity(&self.old) && has_spare_parity(&self.new)
    }

    /// Whether somebody else has turned the reshape around where every stripe is written over itself. mdadm lets the
    /// driver begin behind what its backup holds then, whether that was moved or not, and no stripe
    /// contradicts. Nobody begins a reshape that goes that way; where we turn one, the backup is ours.
    pub fn is_turned_by_others(&self, verdicts: &[BackupVerdict]) -> bool {
        let track = &self.restripe.track;
        let is_ours = |found: &BackupVerdict| match &found.verdict {
            Ok(backup) => backup.header.ours.is_some(),
            Err(why) => matches!(why, NoBackup::NotNeeded { ours: true, .. }),
        };
        track.direction == Direction::Backwards
            && self.restripe.shifts.iter().all(|shift| *shift == 0)
            && self.old.geometry().raid_disks() == self.new.geometry().raid_disks()
            && track.old.width == track.new.width
            && !verdicts.iter().any(is_ours)
    }

    /// Whether the driver may have come further than a backup of mdadm's says that would be put back, and rows tell:
    /// data stays at its offset, there is parity to spare, and since mdadm 4.2 the driver does not wait for the backup.
    /// What it holds may have been saved when it was overwritten.
    pub fn may_be_ahead(&self, verdicts: &[BackupVerdict]) -> bool {
        let is_theirs = |found: &BackupVerdict| {
            found.verdict.as_ref().is_ok_and(|backup| backup.header.ours.is_none())
        };
        self.restripe.shifts.iter().all(|shift| *shift == 0)
            && (self.parity_tells()
                || (self.old.geometry().raid_disks() == self.new.geometry().raid_disks()
                    && self.has_spare_parity()))
            && verdicts.iter().any(is_theirs)
    }

    /// Judges `file` and the members that may hold a backup.
    pub fn backups(
        &self,
        mover: &mut Mover,
        file: Option<&Device>,
        age: Age,
    ) -> Vec<BackupVerdict> {
        let mut verdicts = Vec::new();
        if let Some(device) = file {
            let verdict = Backup::read(mover, device, &self.assembly, age);
            verdicts.push(BackupVerdict { path: device.path().to_owned(), verdict });
        }
        for (index, device) in self.members.devices.iter().enumerate() {
            let known = self.members.backups.get(index).copied().flatten();
            let header = known.or_else(|| self.header_on_newcomer(mover, index));
            let Some(header) = header else { continue };
            let verdict = Backup::judge(mover, device, header, &self.assembly, age);
            verdicts.push(BackupVerdict { path: device.path().to_owned(), verdict });
        }
        verdicts
    }

    /// The distances of the old stripes that may have been overwritten without a record, if a backup was in use.
    fn distances_at_risk(&self) -> Distances<u64> {
        let track = &self.restripe.track;
        let from = track.distance(self.position()).unwrap_or(0);
        // More than two sections of a backup cannot have been written without a record. The last may reach beyond
        // what is critical, and so may what it has overwritten.
        let section = self.restripe.section().map_or(0, |section| section.get());
        let written = from.saturating_add(2 * section);
        from..track.critical().end.min(written).max(track.spoiled(written)).min(track.total)
    }

    /// The array sectors that are in doubt while neither a backup nor the old stripes tell about them. All others
    /// can be read from where the superblocks say that the reshape stands.
    pub fn at_risk(&self) -> Range {
        let Distances { start, end } = self.distances_at_risk();
        let ends = [start, end].map(|at| self.restripe.track.position(at).get());
        Range::new(ends[0].min(ends[1]), end.saturating_sub(start))
    }

    /// Looks at the old stripes of the critical section from the recorded position on: whether
    /// they are what their parity says, so that no backup is needed.
    ///
    /// # Errors
    ///
    /// Members that cannot be read.
    pub fn witness(&self, mover: &mut Mover) -> Result<Witness, ExecError> {
        let track = &self.restripe.track;
        let Distances { start: from, end: to } = self.distances_at_risk();
        let other = Other { geometry: self.restripe.new.clone(), shift: track.shift };
        let mut all = Witness::default();
        let mut holes = Holes::new(self.rules);
        let mut at = from;
        while at < to {
            let end = to.min(at + LOOK.next_multiple_of(track.unit));
            let (a, b) = (track.position(at), track.position(end));
            let span = Span { start: a.min(b), sectors: end - at };
            let window = Arc::new(Window::new(span)?);
            match reading(&self.old, &window, Some(other.clone()), &mut holes)? {
                Reading::Rows(job) => {
                    let outcome = mover.run(job)?;
                    if outcome.read.is_some() {
                        all.mute += span.sectors;
                    }
                    all.add(window.witness());
                }
                Reading::Piecewise => all.mute += span.sectors,
                Reading::Blank(witness) => all.add(witness),
            }
            at = end;
        }
        Ok(all)
    }

    /// Finds the ground on which the reshape may go on: puts back what a backup holds, or makes sure that
    /// nothing has to be put back.
    ///
    /// # Errors
    ///
    /// [`ExecError::NoGround`], [`ExecError::Elsewhere`]: nothing was written.
    pub fn prepare(
        mut self,
        mover: &mut Mover,
        verdicts: &[BackupVerdict],
        trust: Trust,
        now: Timestamp,
    ) -> Result<(Self, Ground), ExecError> {
        let from = self.position();
        let mut restored = false;
        for found in verdicts {
            let Ok(backup) = &found.verdict else { continue };
            if self.expect_enough().is_err() && self.is_unmoved(backup) {
                continue;
            }
            if !self.continues(backup) {
                if restored || !self.is_elsewhere(backup) {
                    continue;
                }
                let (path, position) = (found.path.clone(), from);
                let first = backup.sections.first().map_or(from, |(s, _)| s.array_start);
                return Err(ExecError::Elsewhere { path, from: first, position });
            }
            self = self.restore(mover, backup, now)?;
            restored = true;
        }
        if restored {
            return Ok((self, Ground::Restored { from }));
        }
        if !self.is_critical() {
            return Ok((self, Ground::Members));
        }
        let witness = self.witness(mover)?;
        let ground = match (self.ground(verdicts, witness), trust) {
            (Some(ground), _) => ground,
            (None, Trust::Content) => Ground::Content,
            (None, Trust::Blind) => Ground::Blind,
            (None, Trust::Evidence) if self.rules.lack(Mutation::GroundUnseen) => Ground::Blind,
            (None, Trust::Evidence) => {
                return Err(ExecError::NoGround { position: from, witness });
            }
        };
        Ok((self, ground))
    }

    /// What the old stripes say, if [`Ongoing::prepare`] would find no ground: a section is critical, no backup holds
    /// it, and it is not proven that nothing of it was overwritten.
    ///
    /// # Errors
    ///
    /// Members that cannot be read.
    pub fn lacks_ground(
        &self,
        mover: &mut Mover,
        verdicts: &[BackupVerdict],
    ) -> Result<Option<Witness>, ExecError> {
        let is_usable = |found: &BackupVerdict| found.verdict.is_ok();
        if !self.is_critical() || verdicts.iter().any(is_usable) {
            return Ok(None);
        }
        let witness = self.witness(mover)?;
        Ok(if self.ground(verdicts, witness).is_none() { Some(witness) } else { None })
    }

    /// What speaks for a critical section that no backup holds.
    fn ground(&self, verdicts: &[BackupVerdict], witness: Witness) -> Option<Ground> {
        if witness.holds() {
            return Some(Ground::Witnessed(witness));
        }
        let start = self.is_at_its_start();
        let is_told = verdicts.iter().any(|found| says_nothing_is_saved(found, witness, start));
        is_told.then_some(Ground::NothingSaved)
    }

    /// Whether a section of `backup` goes on from where the reshape stands.
    fn continues(&self, backup: &Backup) -> bool {
        let track = &self.restripe.track;
        let Some(from) = track.distance(self.position()) else { return false };
        backup.sections.iter().any(|(section, _)| {
            track.stretch(section.array_start, section.length.get()).contains(&from)
        })
    }

    /// Whether a backup that is needed holds what does not go on from where the reshape stands, and none holds what
    /// does: one of both is wrong.
    pub fn is_saved_elsewhere(&self, verdicts: &[BackupVerdict]) -> bool {
        let mut backups =
            verdicts.iter().filter_map(|found| found.verdict.as_ref().ok()).peekable();
        backups.peek().is_some() && backups.all(|backup| self.is_elsewhere(backup))
    }

    fn is_elsewhere(&self, backup: &Backup) -> bool {
        let is_unmoved = self.expect_enough().is_err() && self.is_unmoved(backup);
        !is_unmoved && !self.continues(backup) && !self.is_saved_ahead(backup)
    }

    /// Whether `backup` was saved before the reshape was recorded, and nothing was moved since.
    fn is_unmoved(&self, backup: &Backup) -> bool {
        self.is_at_its_start() && backup.header.ours.is_some_and(|ours| ours.unmoved)
    }

    /// Whether `backup` holds what is critical further on, saved before the reshape came there: nothing of it
    /// was overwritten, as only what goes on from a recorded position without a gap is.
    fn is_saved_ahead(&self, backup: &Backup) -> bool {
        let track = &self.restripe.track;
        let Some(from) = track.distance(self.position()) else { return false };
        let ahead = |section: &Section| {
            let stretch = track.stretch(section.array_start, section.length.get());
            !stretch.is_empty() && stretch.start > from
        };
        !self.is_critical()
            && backup.header.ours.is_some()
            && backup.sections.iter().any(|(section, _)| ahead(section))
    }

    /// Puts back what `backup` holds and records the position behind it.
    ///
    /// # Errors
    ///
    /// A backup that cannot be read, more members that cannot be written than the array can do without.
    pub fn restore(
        mut self,
        mover: &mut Mover,
        backup: &Backup,
        now: Timestamp,
    ) -> Result<Self, ExecError> {
        self.expect_enough()?;
        restore(mover, &mut self.standing(), backup, now)?;
        self.reread(mover)
    }

    fn standing(&mut self) -> Standing<'_> {
        Standing {
            restripe: &self.restripe,
            old: &mut self.old,
            new: &mut self.new,
            record: &mut self.record,
            failed: &mut self.failed,
            rules: self.rules,
        }
    }

    /// Goes on from the recorded position.
    ///
    /// Returns [`State::Finished`], or [`State::Stopped`] after `go_on` returned false.
    ///
    /// # Errors
    ///
    /// [`ExecError::TooFew`]: nothing was written. See [`Executor::run`].
    pub fn run(
        &mut self,
        mover: &mut Mover,
        options: Options,
        clock: fn() -> Timestamp,
        go_on: &mut dyn FnMut(Progress) -> bool,
    ) -> Result<State, ExecError> {
        self.expect_enough()?;
        let views = (self.old.clone(), self.new.clone());
        let restripe = self.restripe.clone();
        let mut executor = Executor::new(mover, restripe, views, &mut self.record, options, clock)?;
        let ended = executor.run(go_on);
        self.failed.extend(executor.into_failed());
        ended
    }

    /// The members that failed so far and left the array.
    pub fn failed(&self) -> &[FailedMember] {
        &self.failed
    }

    /// The way back: the same restripe from new to old.
    pub(super) fn way_back(&self) -> Result<Restripe, ExecError> {
        let direction = match self.restripe.track.direction {
            Direction::Forwards => Direction::Backwards,
            Direction::Backwards => Direction::Forwards,
        };
        let shifts = self.restripe.shifts.iter().map(|shift| shift.saturating_neg()).collect();
        let (old, new) = (self.restripe.new.clone(), self.restripe.old.clone());
        Restripe::new(old, new, direction, shifts)
            .map_err(|error| crate::array::RecordError::from(error).into())
    }

    /// Whether the superblocks can say that the reshape goes back. Writes nothing.
    ///
    /// # Errors
    ///
    /// What they cannot say.
    pub fn check_revert(&self) -> Result<(), ExecError> {
        self.way_back()?;
        self.fills()?;
        self.turned(ArraySector::new(0))
    }

    /// Whether the way back needs a place for a backup.
    ///
    /// # Errors
    ///
    /// Geometries that cannot be turned around.
    pub fn way_back_needs_backup_file(&self) -> Result<bool, ExecError> {
        let back = self.way_back()?;
        let position = ArraySector::new(self.position().get().min(back.track.total));
        Ok(back.needs_backup_from(position))
    }

    /// The sectors of a backup's section on the way back.
    ///
    /// # Errors
    ///
    /// Geometries that cannot be turned around.
    pub fn way_back_section(&self) -> Result<Option<Sectors>, ExecError> {
        Ok(self.way_back()?.section())
    }

    /// Bytes that [`Ongoing::revert`] has to compute before it can turn: what members lack of the old array that the
    /// new one cannot do without.
    ///
    /// # Errors
    ///
    /// Members that cannot be filled on the way back.
    pub fn computed_before_turning(&self) -> Result<u64, ExecError> {
        Ok(match self.fills()? {
            Fills::Leave(_) => 0,
            Fills::Complete(fills) => {
                let rows = self.rows_to_come();
                u64::try_from(fills.len()).unwrap_or(0)
                    * (rows.end - rows.start)
                    * kcopy::SECTOR_SIZE
            }
        })
    }

    /// Turns the reshape around: what was moved goes back. It may go on for some stripes before it
    /// reaches a place where it can turn.
    ///
    /// `computed` is called with the bytes of [`Ongoing::computed_before_turning`] so far; it returns false to stop:
    /// then nothing is turned, and the reshape can go on either way.
    ///
    /// # Errors
    ///
    /// What the superblocks cannot say; see [`Executor::run`] for the way to the place;
    /// [`MoveError::Cancelled`].
    pub fn revert(
        mut self,
        mover: &mut Mover,
        options: Options,
        clock: fn() -> Timestamp,
        computed: &mut dyn FnMut(u64) -> bool,
    ) -> Result<(Self, Turned), ExecError> {
        // Before anything moves: a record that cannot be turned is refused here.
        self.expect_enough()?;
        self.check_revert()?;
        if options.doubt == Doubt::Stop {
            self.check_ahead(mover)?;
        }
        let back = self.way_back()?;
        let turn = self.turning_point(&back);
        if turn != self.position() {
            let options = Options { until: Some(turn), ..options };
            if self.run(mover, options, clock, &mut |_| true)? == State::Finished {
                return Ok((self, Turned::Finished));
            }
            self = self.reread(mover)?;
        }
        let position = ArraySector::new(self.position().get().min(back.track.total));
        let fills = if self.rules.lack(Mutation::FillsStay) {
            Fills::Leave(Vec::new())
        } else {
            self.fills()?
        };
        self.turned(position)?;
        if let Fills::Complete(fills) = &fills {
            self.complete(mover, fills, computed)?;
        }
        let leaving = fills.leaving();
        self.standing().commit_without(mover, clock(), &leaving, |superblock| {
            // All of them can: that was seen a moment ago.
            let value = position.get().into();
            let misfit = DoesNotFit { field: "reshape_position", version: "any", value };
            turn_around(superblock, position).map_err(|_| misfit)?;
            fills.settle(superblock)
        })?;
        Ok((self.reread(mover)?, Turned::At(position)))
    }

    /// Looks whether the old stripes that come next are what their parity says. Whoever goes on reads them; whoever
    /// turns around leaves them as they are, though they may be overwritten if the record is wrong.
    fn check_ahead(&self, mover: &mut Mover) -> Result<(), ExecError> {
        let track = &self.restripe.track;
        let from = track.distance(self.position()).unwrap_or(track.total);
        let to = track.total.min(from + LOOK.next_multiple_of(track.unit));
        let (a, b) = (track.position(from), track.position(to));
        let window = Arc::new(Window::new(Span { start: a.min(b), sectors: to - from })?);
        let mut holes = Holes::new(self.rules);
        if let Reading::Rows(job) = reading(&self.old, &window, None, &mut holes)? {
            mover.run(job)?;
        }
        match window.contradiction() {
            Some(contradiction) => Err(ExecError::Contradiction { contradiction }),
            None => Ok(()),
        }
    }

    /// The next position at which whole stripes of both geometries end: there it can turn.
    fn turning_point(&self, back: &Restripe) -> ArraySector {
        let track = &self.restripe.track;
        let fits = |position: ArraySector| {
            position.get() >= back.track.total || position.get().is_multiple_of(back.track.unit)
        };
        let from = track.distance(self.position()).unwrap_or(track.total);
        let further = |at: &u64| (*at < track.total).then(|| track.after(*at));
        let turn = std::iter::successors(Some(from), further).find(|at| fits(track.position(*at)));
        track.position(turn.unwrap_or(track.total))
    }

    /// Whether every superblock can say that the reshape is turned around at `position`.
    fn turned(&self, position: ArraySector) -> Result<(), ExecError> {
        let mut superblocks = self.record.entries().iter().map(|entry| entry.superblock.clone());
        superblocks.try_for_each(|mut superblock| turn_around(&mut superblock, position))
    }

    /// Members that fill a slot of the old array: what they missed before the reshape they get on its way only, and
    /// on the way back not at all.
    fn fills(&self) -> Result<Fills, ExecError> {
        let members = self.assembly.members.iter();
        let fills = members.filter_map(|member| {
            let slot = member.slot.filter(|slot| slot.get() < self.restripe.old.raid_disks())?;
            let number = self.members.candidates.get(member.candidate)?.superblock.dev_number();
            matches!(member.state, MemberState::Recovering { .. }).then_some((number, slot))
        });
        let fills: Vec<(u32, Slot)> = fills.collect();
        let enough = |view: &View| {
            let stays = |slot: Slot| !fills.iter().any(|(_, leaving)| *leaving == slot);
            view.geometry().enough(|slot| view.leg(slot).is_some() && stays(slot))
        };
        let place = self.restripe.track.distance(self.position());
        let is_clear = place.is_some_and(|place| self.restripe.track.is_apart(place, place));
        match (enough(&self.old), enough(&self.new)) {
            (true, true) => Ok(Fills::Leave(fills)),
            (true, false) if is_clear => Ok(Fills::Complete(fills)),
            (true | false, false) | (false, true) => {
                let slots = fills.into_iter().map(|(_, slot)| slot).collect();
                Err(ExecError::StillFilling { slots })
            }
        }
    }

    /// The rows of the old array that were not moved yet, in sectors of a member.
    fn rows_to_come(&self) -> Distances<u64> {
        let track = &self.restripe.track;
        let rows = track.old_rows(track.distance(self.position()).unwrap_or(track.total));
        rows.start..rows.end.min(self.old.geometry().component().get())
    }

    /// Computes what members lack of the old array. Nothing moved lies there (rule 1), and what is not recorded does
    /// not count: whoever finds the reshape then goes on forwards, or begins with this anew.
    fn complete(
        &self,
        mover: &mut Mover,
        fills: &[(u32, Slot)],
        computed: &mut dyn FnMut(u64) -> bool,
    ) -> Result<(), ExecError> {
        let (array, rows) = (Array::of(self.old.clone()), self.rows_to_come());
        let mut before = 0;
        for (_, slot) in fills {
            let leg = self.old.leg(*slot).ok_or(ArrayError::Inconsistent)?;
            array.regenerate(mover, *slot, rows.clone(), &mut |bytes| computed(before + bytes))?;
            if !self.rules.lack(Mutation::FillsUnflushed) {
                mover.flush(&[&leg.device])?;
            }
            before += (rows.end - rows.start) * kcopy::SECTOR_SIZE;
        }
        Ok(())
    }

    /// The paths of the members, in the order in which they were given.
    pub fn paths(&self) -> impl Iterator<Item = &Path> {
        self.members.devices.iter().map(Device::path)
    }
}

/// Whether every stripe has more than its data.
fn has_spare_parity(view: &View) -> bool {
    let missing = view.legs().filter(|(_, leg)| leg.is_none()).count();
    let parities = view.geometry().stripes().map_or(0, |s| s.disks() - s.data_disks());
    usize::try_from(parities).is_ok_and(|parities| missing < parities)
}

/// Makes a superblock say that its reshape goes back from `position`.
fn turn_around(superblock: &mut Superblock, position: ArraySector) -> Result<(), ExecError> {
    if let Some(mut reshape) = superblock.reshape() {
        reshape.position = position;
        superblock.set_reshape(&reshape).map_err(crate::array::RecordError::from)?;
    }
    Ok(superblock.revert_reshape()?)
}

/// Whether a backup says that nothing was overwritten, and no row contradicts it: it has a valid header
/// that we wrote for this very reshape and that claims to hold nothing that is needed; or it has none
/// yet, as mdadm makes it, nothing was recorded as moved, and most rows prove the same.
fn says_nothing_is_saved(found: &BackupVerdict, witness: Witness, is_at_start: bool) -> bool {
    match &found.verdict {
        Err(NoBackup::NotNeeded { ours, .. }) => *ours && witness.contradicting == 0,
        Err(error) => is_absent(error) && is_at_start && witness.mostly_holds(),
        // Before the reshape was recorded; who has members to go on with puts it back.
        Ok(backup) => {
            backup.header.ours.is_some_and(|ours| ours.unmoved) && witness.contradicting == 0
        }
    }
}
