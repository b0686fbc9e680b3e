//! Operations that were decided on: in the order in which they are to be asked for, then in flight,
//! by the names that the backend knows them by.
//!
//! A name is a place in the table and a generation, which differs each time the place is used. So a
//! completion that comes twice, or that nobody waits for, names nothing.

use std::collections::VecDeque;

use smallvec::SmallVec;

use super::queue::JobKey;
use super::state::{InFlight, PieceKey, Role};
use crate::backend::{Op, OpId};

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Ops {
    entries: Vec<Entry>,
    free: Vec<u32>,
    generation: u32,
    /// Not yet asked for.
    ready: VecDeque<(OpId, Op)>,
}

#[derive(Debug)]
struct Entry {
    /// The operation's name; [`NOBODY`] when it has ended.
    id: OpId,
    /// What is there, or was there.
    op: InFlight,
}

/// A name that is never given: there are not that many places.
const NOBODY: OpId = OpId(u64::MAX);

impl Ops {
    /// Operations that were asked for and have not ended.
    pub(super) fn in_flight(&self) -> usize {
        self.entries.len() - self.free.len() - self.ready.len()
    }

    /// Whether an operation was decided on and not yet asked for.
    pub(super) fn has_ready(&self) -> bool {
        !self.ready.is_empty()
    }

    /// Decides on an operation.
    #[inline(always)]
    pub(super) fn emit(&mut self, role: Role, op: Op) {
        let named = self.name(role, op);
        self.postpone(named);
    }

    /// Decides on an operation that is asked for at once.
    #[inline(always)]
    pub(super) fn name(&mut self, role: Role, op: Op) -> (OpId, Op) {
        let asked = op.span().map_or(0, |(_, len)| u32::try_from(len).unwrap_or(u32::MAX));
        (self.insert(InFlight { role, asked, slot: op.device() }), op)
    }

    /// An operation that was decided on is asked for later.
    pub(super) fn postpone(&mut self, named: (OpId, Op)) {
        self.ready.push_back(named);
    }

    /// The next operation that is to be asked for.
    pub(super) fn next_ready(&mut self) -> Option<(OpId, Op)> {
        self.ready.pop_front()
    }

    /// Takes out what was not asked for and is `unwanted`: what it was for.
    pub(super) fn withdraw(&mut self, unwanted: impl Fn(Role) -> bool) -> Vec<Role> {
        let mut withdrawn = Vec::new();
        for _ in 0..self.ready.len() {
            let Some((id, op)) = self.ready.pop_front() else { break };
            match self.get(id) {
                Some(InFlight { role, .. }) if unwanted(role) => {
                    self.take(id);
                    withdrawn.push(role);
                }
                _ => self.ready.push_back((id, op)),
            }
        }
        withdrawn
    }

    /// Takes out what was not asked for; what it was for is given up with what is in flight.
    pub(super) fn forget_ready(&mut self) {
        self.ready.clear();
    }

    /// A name for a new operation.
    #[inline(always)]
    fn insert(&mut self, op: InFlight) -> OpId {
        self.generation = self.generation.wrapping_add(1);
        let place = self.free.pop().unwrap_or_else(|| self.grow(op));
        let id = OpId(u64::from(self.generation) << 32 | u64::from(place));
        self.entries[to_usize(place)] = Entry { id, op };
        id
    }

    #[cold]
    fn grow(&mut self, op: InFlight) -> u32 {
        let place = u32::try_from(self.entries.len()).expect("operations hold pages of the pool");
        self.entries.push(Entry { id: NOBODY, op });
        // Taking out never allocates.
        self.free.reserve(self.entries.capacity());
        place
    }

    /// The operation of that name, if there is one.
    fn get(&self, id: OpId) -> Option<InFlight> {
        self.entries.get(place(id)).filter(|entry| entry.id == id).map(|entry| entry.op)
    }

    /// Takes the operation of that name out, if there is one.
    #[inline]
    pub(super) fn take(&mut self, id: OpId) -> Option<InFlight> {
        let place = place(id);
        let entry = self.entries.get_mut(place).filter(|entry| entry.id == id)?;
        entry.id = NOBODY;
        self.free.push(u32::try_from(place).unwrap_or(u32::MAX));
        Some(entry.op)
    }

    /// Operations of `job` on the short way are those of `piece` from here on; their lanes.
    pub(super) fn adopt(&mut self, job: JobKey, piece: PieceKey) -> SmallVec<[usize; 4]> {
        let mut lanes = SmallVec::new();
        for entry in self.entries.iter_mut().filter(|entry| entry.id != NOBODY) {
            let role = &mut entry.op.role;
            match *role {
                Role::ShortRead { job: owner } if owner == job => {
                    *role = Role::Read { piece, lane: 0 };
                    lanes.push(0);
                }
                Role::ShortWrite { job: owner, lane } if owner == job => {
                    *role = Role::Write { piece, lane };
                    lanes.push(lane);
                }
                Role::ShortRead { .. }
                | Role::ShortWrite { .. }
                | Role::Read { .. }
                | Role::Write { .. }
                | Role::Zero { .. }
                | Role::Discard { .. }
                | Role::Flush { .. } => {}
            }
        }
        lanes
    }

    /// Takes some operation out.
    pub(super) fn take_any(&mut self) -> Option<InFlight> {
        let id = self.entries.iter().map(|entry| entry.id).find(|id| *id != NOBODY)?;
        self.take(id)
    }
}

fn place(id: OpId) -> usize {
    usize::try_from(id.0 & u64::from(u32::MAX)).unwrap_or(usize::MAX)
}

fn to_usize(place: u32) -> usize {
    usize::try_from(place).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::Slot;

    fn flush(slot: u16) -> (Role, Op) {
        (Role::Flush { slot: Slot(slot) }, Op::Flush { device: Slot(slot) })
    }

    fn slot(op: Option<InFlight>) -> Option<u16> {
        op.map(|op| op.slot.0)
    }

    #[test]
    fn a_name_is_good_for_one_operation_and_once() {
        let mut ops = Ops::default();
        for (role, op) in [flush(1), flush(2)] {
            ops.emit(role, op);
        }
        let next = |ops: &mut Ops| ops.next_ready().map(|(id, _)| id).unwrap();
        let (a, b) = (next(&mut ops), next(&mut ops));
        assert_eq!((slot(ops.take(a)), slot(ops.take(a))), (Some(1), None));
        let (role, op) = flush(3);
        ops.emit(role, op);
        let c = next(&mut ops);
        assert!(c != a && ops.take(a).is_none());
        assert!(ops.take(OpId(c.0 + (1 << 32))).is_none() && ops.take(OpId(u64::MAX)).is_none());
        assert_eq!(ops.in_flight(), 2);
        assert_eq!(slot(ops.take(b)), Some(2));
        assert_eq!((slot(ops.take_any()), slot(ops.take_any())), (Some(3), None));
        assert_eq!(ops.in_flight(), 0);
    }

    #[test]
    fn what_is_withdrawn_is_not_asked_for_and_the_rest_keeps_its_order() {
        let mut ops = Ops::default();
        for (role, op) in [flush(1), flush(2), flush(3)] {
            ops.emit(role, op);
        }
        let withdrawn = ops.withdraw(|role| matches!(role, Role::Flush { slot: Slot(2) }));
        assert_eq!((withdrawn.len(), ops.in_flight(), ops.has_ready()), (1, 0, true));
        let rest = std::iter::from_fn(|| ops.next_ready()).map(|(_, op)| op.device().0);
        assert_eq!(rest.collect::<Vec<_>>(), [1, 3]);
    }
}
