//! The bits of `feature_map` in superblocks 1.x.

use std::fmt;

bitflags::bitflags! {
    /// What a superblock 1.x says about its array (`feature_map`). Bits that we do not know are
    /// kept; they forbid to write, not to look.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
    pub struct Features: u32 {
        /// An internal bitmap lies at `bitmap_offset`.
        const BITMAP_OFFSET = 0x1;
        /// This member is in sync up to `recovery_offset` only.
        const RECOVERY_OFFSET = 0x2;
        /// A reshape is recorded.
        const RESHAPE_ACTIVE = 0x4;
        /// The bad-block log has entries.
        const BAD_BLOCKS = 0x8;
        /// This member replaces the one in its slot, which is still there.
        const REPLACEMENT = 0x10;
        /// The reshape goes from the end to the start although the number of members stays.
        const RESHAPE_BACKWARDS = 0x20;
        /// The new layout begins at another data offset.
        const NEW_OFFSET = 0x40;
        /// The recovery of this member follows the bitmap.
        const RECOVERY_BITMAP = 0x80;
        /// The array is shared by a cluster.
        const CLUSTERED = 0x100;
        /// The array has a journal device.
        const JOURNAL = 0x200;
        /// The members have a partial parity log.
        const PPL = 0x400;
        /// The members have more than one partial parity log.
        const MULTIPLE_PPLS = 0x800;
        /// The layout of a RAID0 is recorded.
        const RAID0_LAYOUT = 0x1000;
    }
}

impl Features {
    /// The bits that have no name here.
    #[must_use]
    pub const fn unknown(self) -> u32 {
        self.bits() & !Self::all().bits()
    }
}

/// As mdadm prints it: `0x44`.
impl fmt::Display for Features {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#x}", self.bits())
    }
}

bitflags::bitflags! {
    /// What a member is to be used for (`devflags` of 1.x; bits 9 and 10 of a descriptor's state
    /// in 0.90).
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
    pub struct DeviceFlags: u8 {
        /// Read only when no other member can be.
        const WRITE_MOSTLY = 0x1;
        /// Fail at the first error instead of trying again.
        const FAIL_FAST = 0x2;
    }
}

bitflags::bitflags! {
    /// The state of a device in a descriptor of 0.90 (`state`).
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
    pub struct DeviceState: u32 {
        /// It failed.
        const FAULTY = 1 << 0;
        /// It has a slot.
        const ACTIVE = 1 << 1;
        /// It is in sync.
        const SYNC = 1 << 2;
        /// It is not there.
        const REMOVED = 1 << 3;
        /// A cluster adds it.
        const CLUSTER_ADD = 1 << 4;
        /// A cluster may add it.
        const CANDIDATE = 1 << 5;
        /// See [`DeviceFlags::WRITE_MOSTLY`].
        const WRITE_MOSTLY = 1 << 9;
        /// See [`DeviceFlags::FAIL_FAST`].
        const FAIL_FAST = 1 << 10;
        /// It is a journal.
        const JOURNAL = 1 << 18;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bits_without_a_name_are_kept_and_told() {
        let features = Features::from_bits_retain(0x8000_0001);
        assert_eq!(features.bits(), 0x8000_0001);
        assert_eq!(features.unknown(), 0x8000_0000);
        assert_eq!(Features::all().bits(), 0x1fff);
        assert_eq!(Features::from_bits_retain(0x44).to_string(), "0x44");
    }
}
