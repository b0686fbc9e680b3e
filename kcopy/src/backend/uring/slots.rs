//! The operations that the kernel has, each in a slot with a generation.
//!
//! A completion names slot and generation. A slot is emptied only by the completion that names it,
//! so the pages inside stay put while the kernel may touch them; and a completion that is late,
//! repeated or foreign names a generation that is gone, and is not believed.

use slab::Slab;

use crate::backend::route::Route;
use crate::backend::{Op, OpId};

/// An operation that the kernel has.
#[derive(Debug)]
pub(super) struct InFlight {
    pub(super) id: OpId,
    pub(super) op: Op,
    pub(super) route: Route,
    /// A discard on a block device: the kernel has a request of its own for it.
    pub(super) command: bool,
    /// Times that the kernel said "again".
    pub(super) again: u32,
    /// Its request is a pause before the next try.
    pub(super) paused: bool,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Slots {
    slots: Slab<(u32, InFlight)>,
    generation: u32,
}

impl Slots {
    pub(super) fn with_capacity(depth: usize) -> Self {
        Self { slots: Slab::with_capacity(depth), generation: 0 }
    }

    pub(super) fn len(&self) -> usize {
        self.slots.len()
    }

    /// Keeps an operation; the name that its completion will bear.
    pub(super) fn keep(&mut self, operation: InFlight) -> u64 {
        // Below 2^31, so that no name is the one of the wake-up.
        self.generation = (self.generation + 1) & 0x7fff_ffff;
        let slot = self.slots.insert((self.generation, operation));
        u64::from(self.generation) << 32 | slot as u64
    }

    /// The operation that `name` names, if it is here.
    pub(super) fn find(&mut self, name: u64) -> Option<&mut InFlight> {
        let slot = slot_of(name)?;
        let (generation, operation) = self.slots.get_mut(slot)?;
        (u64::from(*generation) == name >> 32).then_some(operation)
    }

    /// Takes out the operation that `name` names, if it is here.
    pub(super) fn take(&mut self, name: u64) -> Option<InFlight> {
        self.find(name)?;
        Some(self.slots.remove(slot_of(name)?).1)
    }
}

fn slot_of(name: u64) -> Option<usize> {
    usize::try_from(name & u64::from(u32::MAX)).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::Slot;

    fn flush(id: u64) -> InFlight {
        let op = Op::Flush { device: Slot(0) };
        InFlight { id: OpId(id), op, route: Route::Cached, command: false, again: 0, paused: false }
    }

    #[test]
    fn late_and_foreign_completions_are_not_believed() {
        let mut slots = Slots::with_capacity(4);
        let first = slots.keep(flush(1));
        assert_eq!(slots.take(first).unwrap().id, OpId(1));
        let second = slots.keep(flush(2));
        assert_ne!(first, second);
        assert!(slots.take(first).is_none(), "late");
        assert!(slots.take(u64::MAX).is_none(), "foreign");
        assert_eq!(slots.take(second).unwrap().id, OpId(2));
        assert_eq!(slots.len(), 0);
    }
}
