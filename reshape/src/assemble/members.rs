//! Which slot each candidate is the member of, and how far it can be believed.

use kcopy::Sector;

use super::Candidate;
use crate::geometry::{Geometry, Layout, Level, Raid0Layout, Shape, Takeover, takeover};
use crate::metadata::{DeviceState, Direction, Features, Reshape, Role, Superblock};
use crate::units::{MemberSector, Slot};

/// How far a member can be believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum MemberState {
    /// Everywhere.
    InSync,
    /// Up to a place: it is being rebuilt, or was added by the reshape that is under way.
    Recovering {
        /// What lies before this is good (`recovery_offset`).
        to: MemberSector,
    },
    /// It waits for a slot.
    Spare,
    /// It missed changes: its events are behind, or the freshest superblock counts it out.
    Stale,
    /// It is the write journal.
    Journal,
    /// It replaces a member that is still there, and is not done.
    Replacement,
}

/// What a candidate is in the array.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Member {
    /// Its index among the candidates.
    pub candidate: usize,
    /// Its slot; stale members keep the one they claim.
    pub slot: Option<Slot>,
    /// How far it can be believed.
    pub state: MemberState,
    /// Its count of changes.
    pub events: u64,
    /// Where its data begins; during a reshape where the old layout begins.
    pub data_offset: Sector,
    /// During a reshape: where the new layout begins.
    pub new_data_offset: Sector,
}

impl Member {
    /// Whether it holds something of its slot that can be believed.
    pub fn is_usable(&self) -> bool {
        match self.state {
            MemberState::InSync | MemberState::Recovering { .. } => self.slot.is_some(),
            MemberState::Spare
            | MemberState::Stale
            | MemberState::Journal
            | MemberState::Replacement => false,
        }
    }

    /// Whether it can be believed everywhere.
    pub fn is_in_sync(&self) -> bool {
        self.state == MemberState::InSync
    }
}

/// The members that `candidates` are, by the freshest superblock.
pub(super) fn members(candidates: &[Candidate], freshest: &Superblock) -> Vec<Member> {
    let mut members: Vec<Member> = Vec::with_capacity(candidates.len());
    for (index, candidate) in candidates.iter().enumerate() {
        let mut member = member(index, candidate, freshest);
        // One member for each slot: a replacement that is done takes over where nobody is left.
        let rival = members.iter_mut().find(|m| m.is_usable() && m.slot == member.slot);
        if let (true, Some(rival)) = (member.is_usable(), rival) {
            let loser = if rival.events >= member.events { &mut member } else { rival };
            loser.state = MemberState::Stale;
        }
        members.push(member);
    }
    members
}

fn member(index: usize, candidate: &Candidate, freshest: &Superblock) -> Member {
    let turned = turned(&candidate.superblock, freshest);
    let superblock = turned.as_ref().unwrap_or(&candidate.superblock);
    let state_and_slot = state(superblock, freshest);
    let (state, slot) = state_and_slot;
    let data_offset = superblock.data_offset();
    let known = superblock.reshape().or_else(|| freshest.reshape());
    let shift = known.map_or(0, |reshape| i64::from(reshape.new_offset));
    let new = data_offset.get().checked_add_signed(shift).map_or(data_offset, Sector::new);
    let data_offset = if after_the_end(superblock, freshest) { new } else { data_offset };
    Member {
        candidate: index,
        slot,
        state,
        events: superblock.events(),
        data_offset,
        new_data_offset: new,
    }
}

fn state(superblock: &Superblock, freshest: &Superblock) -> (MemberState, Option<Slot>) {
    let claimed = match superblock.role() {
        Role::Active(slot) => Some(slot),
        Role::Spare | Role::Faulty | Role::Journal | Role::Reserved(_) => None,
    };
    let given = freshest.role_of(superblock.dev_number());
    let current = superblock.events().saturating_add(1) >= freshest.events();
    match given {
        Some(Role::Journal) => (MemberState::Journal, None),
        Some(Role::Active(slot)) if !current => (MemberState::Stale, Some(slot)),
        Some(Role::Active(slot)) => {
            if !is_of_the_same_array(superblock, freshest) {
                return (MemberState::Stale, Some(slot));
            }
            if superblock.features().contains(Features::REPLACEMENT) {
                return (MemberState::Replacement, Some(slot));
            }
            match recovering(superblock, freshest, slot) {
                Some(to) => (MemberState::Recovering { to }, Some(slot)),
                None => (MemberState::InSync, Some(slot)),
            }
        }
        // A spare's events may lag: nothing on it counts.
        Some(Role::Spare) if claimed.is_none() => (MemberState::Spare, None),
        Some(Role::Spare | Role::Faulty | Role::Reserved(_)) | None => {
            (MemberState::Stale, claimed)
        }
    }
}

/// Up to where a member is good, if not everywhere.
pub(super) fn recovering(
    superblock: &Superblock,
    freshest: &Superblock,
    slot: Slot,
) -> Option<MemberSector> {
    if after_the_end(superblock, freshest) {
        return None;
    }
    if let Some(to) = superblock.recovery_offset() {
        return Some(to);
    }
    if was_elsewhere(superblock, freshest, slot) {
        return Some(MemberSector::new(0));
    }
    // Version 0.90 has no such field: a member that a reshape fills is good as far as it has come.
    let reshape = freshest.reshape()?;
    let Superblock::V0(table) = freshest else { return None };
    let descriptor = table.descriptor(superblock.dev_number())?;
    let added = reshape.raid_disks_old().is_some_and(|old| slot.get() >= old)
        || !descriptor.state.contains(DeviceState::SYNC);
    let data = reshape.raid_disks_new.checked_sub(freshest.level()?.parity_disks())?;
    let moved = match reshape.direction {
        Direction::Forwards => reshape.position.get(),
        // A growth that was turned around: all that is not moved back yet is on who leaves by it.
        Direction::Backwards if slot.get() >= reshape.raid_disks_new => return None,
        Direction::Backwards => 0,
    };
    added.then(|| MemberSector::new(moved.checked_div(data.into()).unwrap_or(0)))
}

/// Whether a superblock one event behind knows nothing of the slot that the freshest gives its device:
/// nothing on it counts, unless the slot is one that a reshape adds, or that was appended.
///
/// Without a reshape, 0.90 gives a slot only to a device whose content is complete.
pub(crate) fn was_elsewhere(superblock: &Superblock, freshest: &Superblock, slot: Slot) -> bool {
    let complete = match (superblock, freshest.reshape()) {
        (Superblock::V0(_), None) => true,
        (Superblock::V0(_) | Superblock::V1(_), _) => {
            before_the_append(superblock, freshest) || keeps_its_data(superblock, freshest, slot)
        }
    };
    let before = freshest.reshape().and_then(|reshape| reshape.raid_disks_old());
    superblock.role() != Role::Active(slot)
        && before.is_none_or(|before| slot.get() < before)
        && !complete
}

/// Whether a superblock one event behind is the one before the reshape that the freshest records,
/// and that has not begun to move anything: the power went while the first record was written.
fn before_the_start(superblock: &Superblock, freshest: &Superblock) -> bool {
    let Some(reshape) = freshest.reshape() else { return false };
    let facts = |superblock: &Superblock| {
        (superblock.level_number(), superblock.layout(), superblock.chunk())
    };
    superblock.reshape().is_none()
        && facts(superblock) == facts(freshest)
        && reshape.raid_disks_old() == Some(superblock.raid_disks())
        && at_the_start(freshest, &reshape)
}

/// Whether the recorded position is the one at which such a reshape begins.
fn at_the_start(superblock: &Superblock, reshape: &Reshape) -> bool {
    let start = match reshape.direction {
        Direction::Forwards => Some(0),
        Direction::Backwards => {
            if superblock.level() == Some(Level::Raid10) {
                return all_mirrored(superblock, reshape) == Some(reshape.position.get());
            }
            let parity = superblock.level().map_or(0, Level::parity_disks);
            let data = reshape.raid_disks_new.checked_sub(parity).filter(|_| parity > 0);
            let chunk = superblock.chunk().get().max(reshape.new_chunk.get());
            let rows = superblock.component_size().get().checked_div(chunk);
            data.zip(rows).map(|(data, rows)| rows * chunk * u64::from(data))
        }
    };
    start == Some(reshape.position.get())
}

/// The sectors of a RAID10 after its reshape.
fn all_mirrored(superblock: &Superblock, reshape: &Reshape) -> Option<u64> {
    let level = superblock.level()?;
    let geometry = Geometry::new(&Shape {
        level,
        layout: Layout::from_md(level, reshape.new_layout).ok()?,
        chunk: reshape.new_chunk,
        raid_disks: reshape.raid_disks_new,
        component: superblock.component_size(),
        member_sizes: &[],
    });
    Some(geometry.ok()?.sectors().get())
}

/// Whether a superblock one event behind records the reshape that the freshest has finished: the
/// power went while the last record was written. Everything is in its new place.
pub(crate) fn after_the_end(superblock: &Superblock, freshest: &Superblock) -> bool {
    let Some(reshape) = superblock.reshape() else { return false };
    let new = (reshape.new_layout, reshape.new_chunk, reshape.raid_disks_new);
    let facts = (freshest.layout(), freshest.chunk(), freshest.raid_disks());
    freshest.reshape().is_none()
        && new == facts
        && superblock.level_number() == freshest.level_number()
}

/// Whether a superblock one event behind belongs to what the freshest describes, though the power
/// may have gone while the first or the last record of a reshape was written.
pub(super) fn is_of_the_same_array(superblock: &Superblock, freshest: &Superblock) -> bool {
    same_array(superblock, freshest)
        || before_the_start(superblock, freshest)
        || after_the_end(superblock, freshest)
        || before_the_append(superblock, freshest)
        || taken_back(superblock, freshest)
        || between_the_ends(superblock, freshest)
        || before_the_mirrors_changed(superblock, freshest)
        || taken_over(superblock, freshest).is_some()
}

/// Whether a superblock one event behind says that a reshape is over, and still names its old chunk and
/// layout: the driver writes superblocks 0.90 so, just before those that name the new ones. A parity array
/// changes these by a reshape only, and that takes more events than one.
fn between_the_ends(superblock: &Superblock, freshest: &Superblock) -> bool {
    let facts = |superblock: &Superblock| {
        let level = superblock.level().filter(|level| level.parity_disks() > 0);
        (level, superblock.raid_disks(), superblock.component_size(), superblock.reshape())
    };
    let is_old = |superblock: &Superblock| matches!(superblock, Superblock::V0(_));
    let (known, level) = (facts(superblock), facts(superblock).0);
    level.is_some() && known == facts(freshest) && known.3.is_none() && is_old(superblock)
}

/// What a superblock one event behind says once it records, too, that its reshape was turned around: the
/// power went while that was recorded. `None` if it was not turned. Who has a slot then has everything: those that
/// were being filled have left, or were completed before.
pub(crate) fn turned(superblock: &Superblock, freshest: &Superblock) -> Option<Superblock> {
    let (mut before, after) = (superblock.reshape()?, freshest.reshape()?);
    if superblock.events() >= freshest.events() || before.direction == after.direction {
        return None;
    }
    let mut turned = superblock.clone();
    before.position = after.position;
    turned.set_reshape(&before).ok()?;
    turned.revert_reshape().ok()?;
    if let Superblock::V1(turned) = &mut turned
        && matches!(freshest.role_of(turned.dev_number()), Some(Role::Active(_)))
    {
        turned.set_recovery_offset(None);
    }
    same_array(&turned, freshest).then_some(turned)
}

/// Whether a superblock one event behind is that of a RAID1 with another number of mirrors: each of them
/// has everything.
fn before_the_mirrors_changed(superblock: &Superblock, freshest: &Superblock) -> bool {
    let is_mirror = |superblock: &Superblock| {
        superblock.level() == Some(Level::Raid1) && superblock.reshape().is_none()
    };
    is_mirror(superblock) && is_mirror(freshest) && superblock.events() < freshest.events()
}

/// The takeover by which the array that a superblock one event behind describes became what the freshest
/// does, if it was one: the power went while it was recorded, and no sector was moved.
pub(super) fn taken_over(superblock: &Superblock, freshest: &Superblock) -> Option<Takeover> {
    let moves = superblock.reshape().is_some() || freshest.reshape().is_some();
    if moves || superblock.events() >= freshest.events() {
        return None;
    }
    let (from, to) = (superblock.level()?, freshest.level()?);
    let (component, layout) = match from {
        Level::Raid0 => (superblock.data_size(), Layout::Raid0(Raid0Layout::Unspecified)),
        Level::Linear
        | Level::Raid1
        | Level::Raid4
        | Level::Raid5
        | Level::Raid6
        | Level::Raid10 => {
            let layout = Layout::from_md(from, superblock.layout()).ok()?;
            (superblock.component_size(), layout)
        }
    };
    let disks = superblock.raid_disks();
    let sizes = vec![component; usize::try_from(disks).ok().filter(|disks| *disks <= MOST)?];
    let before = Geometry::new(&Shape {
        level: from,
        layout,
        chunk: superblock.chunk(),
        raid_disks: disks,
        component,
        member_sizes: if from == Level::Raid0 { &sizes } else { &[] },
    });
    let taken = takeover(&before.ok()?, to).ok()?;
    let (layout, now) = (taken.geometry.layout().to_md(), &taken.geometry);
    let same = (layout == freshest.layout() || to == Level::Raid0)
        && now.chunk() == freshest.chunk()
        && now.raid_disks() == freshest.raid_disks();
    same.then_some(taken)
}

/// Members that an array can have: descriptors of 0.90 and roles of 1.x are fewer.
const MOST: usize = 4096;

/// Whether a superblock one event behind is that of a member which a takeover put into `slot`, with all
/// it holds.
fn keeps_its_data(superblock: &Superblock, freshest: &Superblock, slot: Slot) -> bool {
    let Role::Active(before) = superblock.role() else { return false };
    let Some(taken) = taken_over(superblock, freshest) else { return false };
    taken.members.slot_after(before, superblock.raid_disks()) == Some(slot)
}

/// Whether a superblock one event behind is that of a change that was taken back before anything was moved, as a
/// device that was to become a member could not be written.
fn taken_back(superblock: &Superblock, freshest: &Superblock) -> bool {
    superblock.events() < freshest.events()
        && (before_the_start(freshest, superblock) || before_the_append(freshest, superblock))
}

/// Whether a superblock one event behind is that of a linear array without the member that the
/// freshest has at the end: where everything else lies is the same.
fn before_the_append(superblock: &Superblock, freshest: &Superblock) -> bool {
    let facts = |superblock: &Superblock| {
        (superblock.level(), superblock.layout(), superblock.chunk(), superblock.reshape())
    };
    facts(superblock) == facts(freshest)
        && superblock.level() == Some(Level::Linear)
        && superblock.raid_disks().checked_add(1) == Some(freshest.raid_disks())
}

/// Whether a superblock one event behind describes the same array.
fn same_array(one: &Superblock, other: &Superblock) -> bool {
    let facts = |superblock: &Superblock| {
        let reshape = superblock.reshape();
        let shape = (superblock.level_number(), superblock.layout(), superblock.chunk());
        let change = reshape.map(|r| (r.delta_disks, r.new_layout, r.new_chunk, r.direction));
        (shape, superblock.raid_disks(), change)
    };
    facts(one) == facts(other)
}
