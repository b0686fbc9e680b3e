//! A table whose entries are used again in place.
//!
//! Jobs and pieces are large and short-lived: moving them in and out of a map would cost more than
//! working on them, and the lists inside keep the memory they once got. An entry is prepared by
//! [`Table::insert`]'s caller and cleaned by [`Table::remove`]'s.

use std::ops::{Index, IndexMut};

/// See the module.
#[derive(Debug)]
pub(super) struct Table<T> {
    entries: Vec<Entry<T>>,
    free: Vec<usize>,
}

#[derive(Debug, Default)]
struct Entry<T> {
    live: bool,
    value: T,
}

impl<T> Default for Table<T> {
    fn default() -> Self {
        Self { entries: Vec::new(), free: Vec::new() }
    }
}

impl<T: Default> Table<T> {
    /// Number of live entries.
    pub(super) fn len(&self) -> usize {
        self.entries.len() - self.free.len()
    }

    /// Whether there is no live entry.
    pub(super) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// A live entry, new or used again, that still holds what was left in it.
    pub(super) fn insert(&mut self) -> (usize, &mut T) {
        let key = self.free.pop().unwrap_or_else(|| {
            self.grow();
            self.entries.push(Entry::default());
            self.entries.len() - 1
        });
        let entry = &mut self.entries[key];
        entry.live = true;
        (key, &mut entry.value)
    }

    /// Makes room for another entry, and a little more: entries are large, and many may be needed.
    /// A removal never allocates.
    fn grow(&mut self) {
        if self.entries.len() == self.entries.capacity() {
            self.entries.reserve_exact(8.max(self.entries.len() / 16));
            self.free.reserve_exact(self.entries.capacity() - self.free.len());
        }
    }

    /// Ends a live entry; what is left in it lies there until it is used again.
    pub(super) fn remove(&mut self, key: usize) {
        let was_live = std::mem::replace(&mut self.entries[key].live, false);
        assert!(was_live, "an entry is removed once");
        self.free.push(key);
    }

    /// The entry, if it is live.
    pub(super) fn get_mut(&mut self, key: usize) -> Option<&mut T> {
        self.entries.get_mut(key).filter(|entry| entry.live).map(|entry| &mut entry.value)
    }

    /// All live entries.
    pub(super) fn iter(&self) -> impl Iterator<Item = (usize, &T)> {
        let live = self.entries.iter().enumerate().filter(|(_, entry)| entry.live);
        live.map(|(key, entry)| (key, &entry.value))
    }

    /// All live entries.
    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = &mut T> {
        self.entries.iter_mut().filter(|entry| entry.live).map(|entry| &mut entry.value)
    }
}

impl<T> Index<usize> for Table<T> {
    type Output = T;

    fn index(&self, key: usize) -> &T {
        let entry = &self.entries[key];
        debug_assert!(entry.live);
        &entry.value
    }
}

impl<T> IndexMut<usize> for Table<T> {
    fn index_mut(&mut self, key: usize) -> &mut T {
        let entry = &mut self.entries[key];
        debug_assert!(entry.live);
        &mut entry.value
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_are_used_again_and_keep_their_memory() {
        let mut table = Table::<Vec<u8>>::default();
        let (first, list) = table.insert();
        list.extend([1; 100]);
        list.clear();
        table.remove(first);
        assert!(table.is_empty() && table.get_mut(first).is_none());
        let (again, list) = table.insert();
        assert_eq!((again, list.capacity() >= 100), (first, true));
    }

    #[test]
    #[should_panic(expected = "removed once")]
    fn an_entry_cannot_be_removed_twice() {
        let mut table = Table::<u8>::default();
        let (key, _) = table.insert();
        table.remove(key);
        table.remove(key);
    }
}
