//! Members that were left behind when the array could not do without them. Pure.
//!
//! Whoever fails to start an array writes superblocks all the same, and those of a member that was not there then are
//! behind: it counts as stale. But an array without redundancy does nothing without a member. So what such a
//! member has is what it had when the array stopped, and there is no other copy of it.

use super::{Assembly, Candidate, Member, MemberState, Shapes};
use crate::assemble::members;
use crate::metadata::{Role, Superblock};
use crate::units::Slot;

/// The assembly with members that were left behind, if it is amid a reshape and too few others are here, and which they
/// are (indices of candidates): the least far behind first, no more than are needed, and only those that record the
/// reshape as the freshest does, position and all. `None`: none are needed, or they are not enough.
pub fn readmit(candidates: &[Candidate], assembly: &Assembly) -> Option<(Assembly, Vec<usize>)> {
    let freshest = &candidates.get(assembly.freshest)?.superblock;
    let (mut all, mut back) = (assembly.clone(), Vec::new());
    if !matches!(assembly.shapes, Shapes::Moving { .. }) || is_enough(&all) {
        return None;
    }
    let mut behind: Vec<Member> = assembly
        .members
        .iter()
        .filter(|member| member.state == MemberState::Stale)
        .filter_map(|member| {
            let superblock = &candidates.get(member.candidate)?.superblock;
            let slot = slot_of(superblock, freshest)?;
            Some(Member { slot: Some(slot), state: state(superblock, freshest, slot), ..*member })
        })
        .collect();
    behind.sort_by_key(|member| std::cmp::Reverse(member.events));
    for member in behind {
        let has_slot = |other: &Member| other.is_usable() && other.slot == member.slot;
        if is_enough(&all) || all.members.iter().any(has_slot) {
            continue;
        }
        if let Some(known) = all.members.iter_mut().find(|m| m.candidate == member.candidate) {
            *known = member;
            back.push(member.candidate);
        }
    }
    is_enough(&all).then_some((all, back))
}

/// Whether both readings have all that they cannot do without.
fn is_enough(assembly: &Assembly) -> bool {
    let Shapes::Moving { old, new, .. } = &assembly.shapes else { return true };
    let here = |slot: Slot| {
        assembly.members.iter().any(|member| member.is_usable() && member.slot == Some(slot))
    };
    old.enough(here) && new.enough(here)
}

/// The slot that a member says it has, if it knows as much of the reshape as the freshest.
fn slot_of(superblock: &Superblock, freshest: &Superblock) -> Option<Slot> {
    let Role::Active(slot) = superblock.role() else { return None };
    let known = |superblock: &Superblock| {
        superblock.reshape().map(|reshape| crate::metadata::Reshape { new_offset: 0, ..reshape })
    };
    let is_same = known(superblock).is_some() && known(superblock) == known(freshest);
    (is_same && members::is_of_the_same_array(superblock, freshest)).then_some(slot)
}

fn state(superblock: &Superblock, freshest: &Superblock, slot: Slot) -> MemberState {
    match members::recovering(superblock, freshest, slot) {
        Some(to) => MemberState::Recovering { to },
        None => MemberState::InSync,
    }
}
