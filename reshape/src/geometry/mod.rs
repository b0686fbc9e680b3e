//! Which member holds which sector: pure arithmetic for every level and layout.
//!
//! A [`Geometry`] maps the array's address space onto the members' and back:
//!
//! ```text
//!   array sector ──at()──▶ places (slot, member sector), one per copy, and the length of the run
//!   array sector ◀──on()── slot, member sector         (or P, Q, nothing)
//! ```
//!
//! | level | rule | file |
//! |---|---|---|
//! | linear | members one after the other | `shape.rs` |
//! | RAID0 | zones of chunks in turn | `zones.rs` |
//! | RAID1 | the same everywhere | `shape.rs` |
//! | RAID4, 5, 6 | stripes with one or two parity chunks | `stripe.rs` |
//! | RAID10 | copies of chunks | `raid10.rs` |
//!
//! On top of the map stand ranges (`runs.rs`), changes of the level that move nothing
//! (`takeover.rs`), what a reshape overwrites while it still needs it (`critical.rs`), and pictures
//! (`drawing.rs`). The rules are in `docs/formats/geometry.md`.
//!
//! Member sectors count from the data offset; data offsets are not known here.

mod critical;
mod drawing;
mod layout;
mod level;
mod raid10;
mod runs;
mod shape;
mod stripe;
mod takeover;
#[cfg(test)]
mod tests;
mod zones;

pub use critical::{Critical, NoUnit, critical_section, least_offset_change, unit, working_unit};
pub use drawing::{Cell, Drawing};
pub use layout::{
    FarSets, Layout, Raid0Layout, Raid5Layout, Raid6Layout, Raid10Layout, UnknownLayout,
};
pub use level::{Level, UnknownLevel};
pub use raid10::{Copies, Copy, Mirrors};
pub use runs::{MemberRun, MemberRuns, OutsideArray, Run, Runs};
pub use shape::{At, BadShape, Geometry, MAX_DISKS, On, Place, Shape};
pub use stripe::{Part, Stripes};
pub use takeover::{Members, NoTakeover, Takeover, striped_chunk, takeover};
pub use zones::Zone;
