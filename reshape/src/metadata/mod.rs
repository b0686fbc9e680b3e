//! On-disk formats of md: bytes to types and back, exactly. See `docs/formats`.
//!
//! | module | what |
//! |---|---|
//! | `superblock` | one face for superblocks of both versions |
//! | `v0`, `v1` | superblock 0.90 in both byte orders; 1.0, 1.1 and 1.2 |
//! | `build` | superblocks of a new array, what lies where on its members |
//! | `place` | where superblocks lie on a device of a given size |
//!
//! Nothing here opens a device or knows the time. What is read and written again keeps every byte,
//! also those that mean nothing to us. Bytes come from outside and may be anything: no function
//! panics on them.

#![deny(clippy::indexing_slicing)]
#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects))]

mod build;
mod bytes;
mod error;
mod facts;
mod features;
mod place;
mod superblock;
pub mod v0;
pub mod v1;

pub use build::{BitmapRoom, NewArray, NewDevice, Placement};
pub use bytes::ByteOrder;
pub use error::SuperblockError;
pub use facts::{
    Area, ArrayName, Direction, DoesNotFit, Misplaced, NoUuid, Reshape, Resync, Role, Timestamp,
    Uuid,
};
pub use features::{DeviceFlags, DeviceState, Features};
pub use place::{Minor, SUPER_SECTORS, TooSmall, UnknownVersion, Version};
pub use superblock::Superblock;
pub use v0::V0;
pub use v1::V1;
