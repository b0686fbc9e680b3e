//! What a superblock says that forbids to write to its array, or to reshape it.

use super::facts::{Resync, Role};
use super::features::Features;
use super::superblock::Superblock;
use super::v1::V1;

/// Something that forbids changes. Looking and, where the data is consistent, reading stay allowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Restriction {
    /// Features that are newer than this program.
    #[error(
        "the superblock has features that are not known here ({bits:#x}): only a newer version may \
         change this array"
    )]
    UnknownFeatures {
        /// The bits of `feature_map` that have no name.
        bits: u32,
    },
    /// Bytes are in use that have no meaning here.
    #[error(
        "the superblock uses bytes that are not known here: only a newer version may change it"
    )]
    UnknownFields,
    /// A logical block size is recorded, which kernels before 6.19 refuse.
    #[error("the superblock records logical blocks of {bytes} bytes, which is not supported here")]
    LogicalBlockSize {
        /// What it says (`logical_block_size`).
        bytes: u32,
    },
    /// Features that exclude each other.
    #[error("the superblock has features that exclude each other ({features}): it is damaged")]
    Contradiction {
        /// All of its features.
        features: Features,
    },
    /// Other hosts may use it.
    #[error("the array belongs to a cluster: other hosts may be using it now")]
    Clustered,
    /// A journal may hold newer data than the members.
    #[error(
        "the array has a write journal, which may hold newer data than the members: start the array \
         with the kernel and remove the journal first"
    )]
    Journal,
    /// The log of partial parity has to be replayed first.
    #[error(
        "the members have a partial parity log that was not replayed: start the array with the \
         kernel once and stop it again"
    )]
    ParityLog,
    /// The device has room for no data.
    #[error("the superblock leaves {sectors} sectors for data, less than the 10 that md demands")]
    NoData {
        /// What it says (`data_size`).
        sectors: u64,
    },
}

/// What a partial parity log means for a change of the array.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogRule {
    /// The log is out of date: the array may be changed with the log's feature bit cleared meanwhile,
    /// so that nobody replays it over the changes. It is to be set up anew afterwards.
    WithoutLog,
    /// The kernel has to replay it before anything is written.
    ReplayFirst,
}

/// The rule for an array whose members have partial parity logs and whose superblocks say `resync`.
///
/// The kernel does not empty the log of an array that it stops: its entries are about writes that
/// have ended, and the superblock alone says whether others have not.
#[must_use]
pub const fn parity_log_rule(resync: Resync) -> LogRule {
    match resync {
        Resync::Clean => LogRule::WithoutLog,
        Resync::From(_) => LogRule::ReplayFirst,
    }
}

impl Superblock {
    /// All that forbids to change the array, as far as this superblock knows; whether a partial
    /// parity log does is for [`parity_log_rule`] to say.
    #[must_use]
    pub fn restrictions(&self) -> Vec<Restriction> {
        match self {
            Self::V0(_) => Vec::new(),
            Self::V1(superblock) => of_v1(superblock),
        }
    }
}

fn of_v1(superblock: &V1) -> Vec<Restriction> {
    let features = superblock.features();
    let bits = features.unknown();
    let bytes = superblock.logical_block_size();
    let sectors = superblock.data_size().get();
    let journal = features.contains(Features::JOURNAL) || superblock.role() == Role::Journal;
    let found = [
        (bits != 0).then_some(Restriction::UnknownFeatures { bits }),
        (!superblock.pads_are_zero()).then_some(Restriction::UnknownFields),
        (bytes != 0).then_some(Restriction::LogicalBlockSize { bytes }),
        exclude_each_other(features).then_some(Restriction::Contradiction { features }),
        features.contains(Features::CLUSTERED).then_some(Restriction::Clustered),
        journal.then_some(Restriction::Journal),
        (sectors < 10).then_some(Restriction::NoData { sectors }),
    ];
    found.into_iter().flatten().collect()
}

/// A partial parity log excludes a bitmap and a journal, and one kind of log the other.
fn exclude_each_other(features: Features) -> bool {
    let log = features.intersects(Features::PPL | Features::MULTIPLE_PPLS);
    let other = features.intersects(Features::BITMAP_OFFSET | Features::JOURNAL);
    let both = features.contains(Features::PPL | Features::MULTIPLE_PPLS);
    (log && other) || both
}

#[cfg(test)]
mod tests {
    use kcopy::{Sector, Sectors};

    use super::*;
    use crate::metadata::{ByteOrder, Minor, V0};

    fn with(features: u32) -> Vec<Restriction> {
        let mut superblock = V1::blank(Minor::Two, Sector::new(8), 128);
        superblock.set_data_size(Sectors::new(100));
        superblock.set_features(Features::from_bits_retain(features));
        Superblock::V1(superblock).restrictions()
    }

    #[test]
    fn known_features_alone_forbid_nothing() {
        assert_eq!(with(0), []);
        assert_eq!(with(0x1 | 0x2 | 0x4 | 0x8 | 0x20 | 0x40), []);
        assert_eq!(with(0x400), []);
        let old = Superblock::V0(V0::blank(ByteOrder::Little, Sector::new(0)));
        assert_eq!(old.restrictions(), []);
    }

    #[test]
    fn each_obstacle_is_named() {
        assert_eq!(with(0x2000), [Restriction::UnknownFeatures { bits: 0x2000 }]);
        assert_eq!(with(0x100), [Restriction::Clustered]);
        assert_eq!(with(0x200), [Restriction::Journal]);
        for clash in [0x401, 0xc00, 0x801] {
            assert!(matches!(with(clash)[..], [Restriction::Contradiction { .. }]), "{clash:#x}");
        }
        let blank = Superblock::V1(V1::blank(Minor::Two, Sector::new(8), 128));
        assert_eq!(blank.restrictions(), [Restriction::NoData { sectors: 0 }]);
    }

    #[test]
    fn bytes_without_a_meaning_forbid_to_write() {
        for (at, expected) in [
            (12, Restriction::UnknownFields),
            (228, Restriction::UnknownFields),
            (255, Restriction::UnknownFields),
            (225, Restriction::LogicalBlockSize { bytes: 0x200 }),
        ] {
            let mut superblock = V1::blank(Minor::Two, Sector::new(8), 128);
            superblock.set_data_size(Sectors::new(100));
            let mut bytes = superblock.to_bytes();
            bytes[at] = 2;
            let read = V1::decode(&bytes, Minor::Two, Sector::new(8)).unwrap();
            assert_eq!(Superblock::V1(read).restrictions(), [expected], "byte {at}");
        }
    }

    #[test]
    fn logs_of_a_clean_array_may_be_left_out() {
        assert_eq!(parity_log_rule(Resync::Clean), LogRule::WithoutLog);
        assert_eq!(parity_log_rule(Resync::From(0)), LogRule::ReplayFirst);
    }
}
