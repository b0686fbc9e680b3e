//! On-disk formats of md: bytes to types and back, exactly. See `docs/formats`.
//!
//! | module | what |
//! |---|---|
//! | `superblock` | one face for superblocks of both versions |
//! | `v0`, `v1` | superblock 0.90 in both byte orders; 1.0, 1.1 and 1.2 |
//! | `build` | superblocks of a new array, what lies where on its members |
//! | `place` | where superblocks lie on a device of a given size |
//! | `examine` | everything of md that is on a device |
//! | `bitmap`, `bad_blocks`, `ppl`, `journal`, `backup` | what lies beside the data |
//! | `restrictions` | what forbids to change an array |
//! | `room`, `revert` | how far data can move; turning a reshape around |
//!
//! Nothing here opens a device or knows the time. What is read and written again keeps every byte,
//! also those that mean nothing to us. Bytes come from outside and may be anything: no function
//! panics on them.

#![deny(clippy::indexing_slicing)]
#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects))]

mod backup;
pub mod bad_blocks;
mod bitmap;
mod build;
mod bytes;
mod error;
mod examine;
mod facts;
mod features;
mod journal;
mod place;
mod ppl;
mod restrictions;
mod revert;
mod room;
mod superblock;
pub mod v0;
pub mod v1;

pub use backup::{BACKUP_BYTES, BackupError, BackupHeader, OurFacts, Section};
pub use bad_blocks::BadBlocksError;
pub use bitmap::{Bitmap, BitmapError, BitmapHeader, BitmapState, Fill, usual_chunk};
pub use build::{BitmapRoom, NewArray, NewDevice, Placement};
pub use bytes::ByteOrder;
pub use error::SuperblockError;
pub use examine::{
    Candidate, ExamineError, Examined, Member, ReadAt, backup, backup_on_spare, examine, member,
};
pub use facts::{
    Area, ArrayName, Direction, DoesNotFit, Misplaced, NoUuid, Reshape, Resync, Role, Timestamp,
    Uuid,
};
pub use features::{DeviceFlags, DeviceState, Features};
pub use journal::{JournalBlock, JournalError};
pub use place::{Minor, SUPER_SECTORS, TooSmall, UnknownVersion, Version, shares_place};
pub use ppl::{PplError, PplHeader};
pub use restrictions::{LogRule, Restriction, parity_log_rule};
pub use revert::RevertError;
pub use room::{OffsetError, Room};
pub use superblock::Superblock;
pub use v0::V0;
pub use v1::V1;
