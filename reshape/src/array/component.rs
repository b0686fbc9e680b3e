//! How much of each member an array uses.

use kcopy::Sectors;

use crate::geometry::{Layout, Raid10Layout};

/// What the kernel uses of a member of an array 0.90: its size field has 32 bits of KiB.
pub(super) const LARGEST_V0: Sectors = Sectors::new((2 << 32) - 2);

/// What of `size` the level can use: whole units, in RAID10 as many as the kernel uses.
pub(super) fn usable(layout: Layout, raid_disks: u32, size: Sectors, unit: Sectors) -> Sectors {
    let rows = size.get().checked_div(unit.get()).unwrap_or(0);
    let rows = match layout {
        Layout::Raid10(layout) => used_rows(layout, raid_disks, rows),
        Layout::None | Layout::Raid0(_) | Layout::Raid5(_) | Layout::Raid6(_) => rows,
    };
    Sectors::new(rows.saturating_mul(unit.get()))
}

/// The rows that RAID10 fills of `rows`, by the kernel's rounding.
pub(super) fn used_rows(layout: Raid10Layout, disks: u32, rows: u64) -> u64 {
    let (near, far) = (u128::from(layout.near.max(1)), u128::from(layout.far.max(1)));
    let disks = u128::from(disks.max(1));
    // 64 bits of rows times 32 of disks times 16 of copies: no overflow in 128.
    let chunks = u128::from(rows) / far * disks / near;
    let used = (chunks * near * far).div_ceil(disks);
    u64::try_from(used).map_or(rows, |used| used.min(rows))
}
