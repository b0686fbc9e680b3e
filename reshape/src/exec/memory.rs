//! The memory of windows: pages that are there before they are used, so that no touch of one is a fault.

use std::fmt;

use kcopy::pool::Pool;
use kcopy::{PAGE_SIZE, Pages};

use super::window::bytes_of;
use crate::machine::{Backup, Limits};
use crate::mover::MoveError;

/// Bytes for the content of windows, one window after the other.
pub(super) struct Memory {
    /// `None`: no byte.
    pages: Option<Pages>,
}

impl Memory {
    /// None yet.
    pub(super) const NONE: Self = Self { pages: None };

    /// At least `bytes` of memory: this, or a larger one, which is twice as large if that is not more than
    /// `most`. What it holds is not said.
    ///
    /// # Errors
    ///
    /// [`MoveError::NoMemory`].
    pub(super) fn fit(self, bytes: usize, most: usize) -> Result<Self, MoveError> {
        if self.len() >= bytes {
            return Ok(self);
        }
        let bytes = self.len().saturating_mul(2).min(most).max(bytes);
        // Before the other is made: never both.
        drop(self);
        let pages = u32::try_from(bytes.div_ceil(PAGE_SIZE)).ok();
        let made = pages.and_then(|count| Pool::new(count)?.take(count));
        Ok(Self { pages: Some(made.ok_or(MoveError::NoMemory { bytes })?) })
    }

    fn len(&self) -> usize {
        self.bytes().len()
    }

    /// All of it.
    pub(super) fn bytes(&self) -> &[u8] {
        self.pages.as_deref().unwrap_or_default()
    }

    /// All of it, to be written.
    pub(super) fn bytes_mut(&mut self) -> &mut [u8] {
        self.pages.as_deref_mut().unwrap_or_default()
    }
}

/// The memory of all windows of a run.
#[derive(Debug)]
pub(super) struct Room {
    /// What written windows had: the first touch of memory costs more than its use.
    free: Vec<Memory>,
    /// Bytes of the longest window.
    longest: usize,
    /// Bytes that are not exceeded by keeping what is free.
    most: usize,
    /// Bytes that are there, free or not.
    made: usize,
}

impl Room {
    /// For windows as `limits` allow them.
    pub(super) fn of(limits: &Limits) -> Self {
        let section = match limits.backup {
            Backup::Sections { length } => length,
            Backup::None => 0,
        };
        let (longest, most) = (bytes_of(limits.window.max(section)), bytes_of(limits.memory));
        Self { free: Vec::new(), longest, most, made: 0 }
    }

    /// Memory for a window of so many bytes.
    ///
    /// # Errors
    ///
    /// [`MoveError::NoMemory`].
    pub(super) fn take(&mut self, bytes: usize) -> Result<Memory, MoveError> {
        let memory = self.free.pop().unwrap_or(Memory::NONE);
        self.made -= memory.len();
        while self.made.saturating_add(bytes) > self.most
            && let Some(other) = self.free.pop()
        {
            self.made -= other.len();
        }
        let most = self.longest.min(self.most.saturating_sub(self.made));
        let memory = memory.fit(bytes, most)?;
        self.made += memory.len();
        Ok(memory)
    }

    /// For the next window.
    pub(super) fn give_back(&mut self, memory: Memory) {
        self.free.push(memory);
    }
}

impl fmt::Debug for Memory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes", self.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_that_is_large_enough_stays_where_it_is() {
        let mut memory = Memory::NONE.fit(3 * PAGE_SIZE, usize::MAX).expect("memory");
        memory.bytes_mut()[0] = 7;
        let at = memory.bytes().as_ptr();
        let memory = memory.fit(PAGE_SIZE + 1, usize::MAX).expect("memory");
        assert_eq!((memory.bytes().as_ptr(), memory.bytes()[0]), (at, 7));
    }

    #[test]
    fn memory_grows_to_twice_its_size_but_not_beyond_what_is_ever_wanted() {
        let memory = Memory::NONE.fit(4 * PAGE_SIZE, 11 * PAGE_SIZE).expect("memory");
        let memory = memory.fit(5 * PAGE_SIZE, 11 * PAGE_SIZE).expect("memory");
        assert_eq!(memory.len(), 8 * PAGE_SIZE);
        let memory = memory.fit(9 * PAGE_SIZE, 11 * PAGE_SIZE).expect("memory");
        assert_eq!(memory.len(), 11 * PAGE_SIZE);
        assert_eq!(
            memory.fit(12 * PAGE_SIZE, 11 * PAGE_SIZE).expect("memory").len(),
            12 * PAGE_SIZE
        );
    }

    #[test]
    fn what_is_free_gives_way_to_what_is_taken() {
        let page = PAGE_SIZE as u64 / kcopy::SECTOR_SIZE;
        let backup = Backup::Sections { length: 6 * page };
        let mut room = Room::of(&Limits { window: 2 * page, memory: 8 * page, backup });
        for _ in 0..2 {
            let held = [0; 4].map(|_| room.take(2 * PAGE_SIZE).expect("memory"));
            assert_eq!(room.made, 8 * PAGE_SIZE);
            held.into_iter().for_each(|memory| room.give_back(memory));
        }
        let long = room.take(6 * PAGE_SIZE).expect("memory");
        assert_eq!((room.made, room.free.len()), (8 * PAGE_SIZE, 1));
        room.give_back(long);
        assert_eq!(room.take(2 * PAGE_SIZE).expect("memory").len(), 6 * PAGE_SIZE);
    }

    #[test]
    fn memory_that_nobody_has_is_refused() {
        let error = Memory::NONE.fit(usize::MAX, usize::MAX).expect_err("more than there is");
        assert!(matches!(error, MoveError::NoMemory { .. }), "{error}");
    }
}
