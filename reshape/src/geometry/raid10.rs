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

    /// The array chunk of which member `slot` holds a copy in its chunk `row`, if it is used.
    pub fn chunk_at(&self, slot: u32, row: u64) -> Option<u64> {
        // A copy in row r belongs to a chunk whose first copy lies in one of few rows above it.
        let (near, disks) = (u128::from(self.layout.near), u128::from(self.disks));
        let far = u64::from(self.layout.far);
        (0..far).find_map(|copy| {
            let first = row.checked_sub(copy * self.stride)?;
            let first = if self.layout.offset {
                if !first.is_multiple_of(far) {
                    return None;
                }
                first / far
            } else {
                first
            };
            // Chunks whose near copies touch that row of the first far copy.
            let from = (u128::from(first) * disks).saturating_sub(near - 1) / near;
            let to = ((u128::from(first) + 1) * disks).div_ceil(near);
            let wanted = Copy { slot, row };
            (narrow(from)..narrow(to).min(self.chunks))
                .find(|chunk| self.copies(*chunk).contains(&wanted))
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
