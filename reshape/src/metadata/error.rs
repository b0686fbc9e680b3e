//! Why bytes are not taken for a superblock, or one is not to be written.

use kcopy::Sector;

use super::place::TooSmall;

/// Why the bytes at a place are no superblock that may be believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SuperblockError {
    /// The device has no room for one.
    #[error(transparent)]
    TooSmall(#[from] TooSmall),
    /// Fewer bytes than a superblock has.
    #[error("a superblock at {at} has 4096 bytes, only {have} are there")]
    TooShort {
        /// Where it would begin.
        at: Sector,
        /// Bytes that are there.
        have: usize,
    },
    /// It does not begin as superblocks do.
    #[error("no superblock at {at}: it begins with {found:#010x} instead of 0xa92b4efc")]
    NoMagic {
        /// Where it would begin.
        at: Sector,
        /// What is there instead.
        found: u32,
    },
    /// It is of another major version than its place.
    #[error(
        "the superblock at {at} has major version {found}, at this place it must be {expected}"
    )]
    Major {
        /// Where it begins.
        at: Sector,
        /// The version it says (`major_version`).
        found: u32,
        /// The version that lies here.
        expected: u32,
    },
    /// A minor version of 0 that is none.
    #[error("the superblock 0 at {at} has minor version {found}; 90 and 91 are known")]
    Minor {
        /// Where it begins.
        at: Sector,
        /// The version it says (`minor_version`).
        found: u32,
    },
    /// More roles than fit.
    #[error("the superblock at {at} says to have {max_dev} roles, at most 1920 fit")]
    MaxDev {
        /// Where it begins.
        at: Sector,
        /// What it says (`max_dev`).
        max_dev: u32,
    },
    /// Its bytes do not add up.
    #[error(
        "the superblock at {at} is damaged: its checksum is {stored:#010x}, its bytes give \
         {computed:#010x}"
    )]
    Checksum {
        /// Where it begins.
        at: Sector,
        /// The checksum it has (`sb_csum`).
        stored: u32,
        /// The checksum its bytes give.
        computed: u32,
    },
    /// It was written for another place: it is a copy, or belongs to the whole disk or to a
    /// partition of it.
    #[error("the superblock at {at} was written for {stated}: it belongs to another device")]
    OtherPlace {
        /// Where it was found.
        at: Sector,
        /// Where it says that it is (`super_offset`).
        stated: Sector,
    },
}
