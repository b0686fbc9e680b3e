//! RAID10: where the copies of a chunk are.

use smallvec::SmallVec;

use super::layout::{FarSets, Raid10Layout};

/// One copy of a chunk: which member, and which chunk of that member.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Copy {
    /// The member's slot.
    pub slot: u32,
    /// Number of the chunk on the member.
    pub row: u64,
}

/// The copies of one chunk; more than four are rare.
pub type Copies = SmallVec<[Copy; 4]>;

/// The shape of a RAID10 array in chunks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Mirrors {
    layout: Raid10Layout,
    disks: u32,
    /// Chunks from one far copy to the next (1 with the offset flag).
    stride: u64,
    /// Chunks of the array.
    chunks: u64,
}

impl Mirrors {
    /// The shape for members of `rows` chunks each.
    pub(super) fn new(layout: Raid10Layout, disks: u32, rows: u64) -> Self {
        let (near, far, copies) =
            (u128::from(layout.near), u128::from(layout.far), layout.copies());
        let chunks = (u128::from(rows) / far) * u128::from(disks) / near;
        let used = (chunks * u128::from(copies)).div_ceil(u128::from(disks));
        let stride = if layout.offset { 1 } else { narrow(used / far) };
        Self { layout, disks, stride, chunks: narrow(chunks) }
    }

    /// Chunks of the array.
    pub fn chunks(&self) -> u64 {
        self.chunks
    }

    /// The layout.
    pub fn layout(&self) -> Raid10Layout {
        self.layout
    }

    /// Where the copies of array chunk `chunk` are, near copies together, each followed by its far
    /// ones.
    pub fn copies(&self, chunk: u64) -> Copies {
        let disks = u64::from(self.disks);
        let turned = u128::from(chunk) * u128::from(self.layout.near);
        let mut row = narrow(turned / u128::from(disks));
        let mut slot = narrow(turned % u128::from(disks));
        if self.layout.offset {
            row *= u64::from(self.layout.far);
        }
        let mut copies = Copies::new();
        for _ in 0..self.layout.near {
            copies.push(copy(slot, row));
            let (mut there, mut below) = (slot, row);
            for _ in 1..self.layout.far {
                there = self.farther(there);
                below += self.stride;
                copies.push(copy(there, below));
            }
            slot += 1;
            if slot >= disks {
                slot = 0;
                row += 1;
            }
        }
        copies
    }

    /// The member of the far copy that follows the one on `slot`.
    fn farther(&self, slot: u64) -> u64 {
        let (disks, near) = (u64::from(self.disks), u64::from(self.layout.near));
        let set_size = self.set_size();
        let set = slot / set_size;
        let moved = slot + near;
        let rest = disks % set_size;
        // The members that fill no set belong to the last one.
        let last_start = (disks / set_size - 1) * set_size;
        let last_size = set_size + rest;
        if rest != 0 && moved > last_start {
            (moved - last_start) % last_size + last_start
        } else {
            moved % set_size + set_size * set
        }
    }

    fn set_size(&self) -> u64 {
        let (near, far) = (u64::from(self.layout.near), u64::from(self.layout.far));
        let disks = u64::from(self.disks);
        let size = match self.layout.far_sets {
            FarSets::Whole => disks,
            FarSets::Broken => disks / far,
            FarSets::Improved => far * near,
        };
        size.clamp(1, disks)
    }

    /// The member whose far copies lie on `slot`: [`Self::farther`] backwards. It can have stepped
    /// within its set, within the last set, or round the end of the last set.
    fn nearer(&self, slot: u64) -> Option<u64> {
        let (disks, near) = (u64::from(self.disks), u64::from(self.layout.near));
        let set_size = self.set_size();
        let begin = slot / set_size * set_size;
        let in_set = begin + (slot - begin + set_size - near % set_size) % set_size;
        let last_size = set_size + disks % set_size;
        let candidates =
            [Some(in_set), slot.checked_sub(near), (slot + last_size).checked_sub(near)];
        let steps_here = |from: &u64| *from < disks && self.farther(*from) == slot;
        candidates.into_iter().flatten().find(steps_here)
    }

    /// The array chunk of which member `slot` holds a copy in its chunk `row`, if it is used.
    pub fn chunk_at(&self, slot: u32, row: u64) -> Option<u64> {
        let far = u64::from(self.layout.far);
        // The row's far copy, and its row in the first of them.
        let (copy, first) = if self.layout.offset {
            (row % far, row / far)
        } else {
            (row.checked_div(self.stride)?, row.checked_rem(self.stride)?)
        };
        if copy >= far || slot >= self.disks {
            return None;
        }
        let slot = (0..copy).try_fold(u64::from(slot), |slot, _| self.nearer(slot))?;
        let cell = u128::from(first) * u128::from(self.disks) + u128::from(slot);
        let chunk = narrow(cell / u128::from(self.layout.near));
        (chunk < self.chunks).then_some(chunk)
    }

    /// How many separate parts of a member neighbouring chunks can lie in.
    pub(super) fn parts(&self) -> usize {
        if self.layout.offset { 1 } else { usize::from(self.layout.far) }
    }

    /// Which rows of a member part number `part` of chunks `from` to before `end` can lie in: the
    /// first, and the one behind the last.
    pub(super) fn rows(&self, from: u64, end: u64, part: usize) -> (u64, u64) {
        let (near, disks) = (u128::from(self.layout.near), u128::from(self.disks));
        let first = narrow(u128::from(from) * near / disks);
        let behind = narrow((u128::from(end) * near).div_ceil(disks));
        if self.layout.offset {
            let far = u64::from(self.layout.far);
            return (first * far, behind * far);
        }
        let down = u64::try_from(part).unwrap_or(u64::MAX).saturating_mul(self.stride);
        (first.saturating_add(down), behind.saturating_add(down))
    }

    /// Whether md and mdadm would start with the members that are present: of as many neighbours as
    /// there are copies, one has to be there. With far sets the copies lie otherwise, and this asks
    /// for more than [`Self::enough`].
    pub fn enough_for_md(&self, present: impl Fn(u32) -> bool) -> bool {
        let pattern = u64::from(self.disks).min(self.chunks.max(1));
        (0..pattern).all(|chunk| {
            let first = u128::from(chunk) * u128::from(self.layout.near);
            (0..u128::from(self.layout.copies())).any(|next| {
                let slot = narrow((first + next) % u128::from(self.disks));
                u32::try_from(slot).is_ok_and(&present)
            })
        })
    }

    /// How many members can be missing, whichever they are, with every chunk still there.
    pub fn tolerance(&self) -> u32 {
        let pattern = u64::from(self.disks).min(self.chunks.max(1));
        let members = |chunk| {
            let mut slots: SmallVec<[u32; 4]> = self.copies(chunk).iter().map(|c| c.slot).collect();
            slots.sort_unstable();
            slots.dedup();
            u32::try_from(slots.len()).unwrap_or(u32::MAX)
        };
        (0..pattern).map(members).min().unwrap_or(1).saturating_sub(1)
    }

    /// Whether every place holds one chunk at most. Far sets, and near copies that run over into a
    /// row of offset copies, can make two of them meet.
    pub(super) fn is_sound(&self) -> bool {
        let (near, far) = (u32::from(self.layout.near), self.layout.far);
        if self.layout.offset && far > 1 && !self.disks.is_multiple_of(near) {
            return false;
        }
        if far == 1 {
            return true;
        }
        let mut taken = vec![false; usize::try_from(self.disks).unwrap_or(usize::MAX)];
        (0..u64::from(self.disks)).all(|slot| {
            let to = usize::try_from(self.farther(slot)).ok();
            to.and_then(|to| taken.get_mut(to)).is_some_and(|taken| !std::mem::replace(taken, true))
        })
    }

    /// Whether the members that are present hold every chunk: of each group of members that share a
    /// chunk at least one is there.
    pub fn enough(&self, present: impl Fn(u32) -> bool) -> bool {
        // The pattern of members repeats after as many chunks as members (or fewer).
        let pattern = u64::from(self.disks).min(self.chunks.max(1));
        (0..pattern).all(|chunk| self.copies(chunk).iter().any(|copy| present(copy.slot)))
    }
}

fn copy(slot: u64, row: u64) -> Copy {
    Copy { slot: u32::try_from(slot).unwrap_or(u32::MAX), row }
}

fn narrow(value: u128) -> u64 {
    u64::try_from(value).unwrap_or(u64::MAX)
}
