//! Where superblocks lie on a device of a given size.
//!
//! | version | sector |
//! |---|---|
//! | 0.90 | the last block of 64 KiB that is followed by at least as much |
//! | 1.0 | 8 to 12 KiB before the end, on 4 KiB |
//! | 1.1 | 0 |
//! | 1.2 | 8 |

use std::fmt;

use kcopy::{Sector, Sectors};

/// The sectors of a superblock, as far as it is read: 4 KiB.
pub const SUPER_SECTORS: Sectors = Sectors::new(8);

/// Devices below this size hold no superblock 1.x.
const SMALLEST_V1: Sectors = Sectors::new(24);

/// Devices below this size hold no superblock 0.90.
const SMALLEST_V0: Sectors = Sectors::new(128);

/// Which of the three places a superblock 1.x is in (the digit after the dot).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Minor {
    /// 1.0: near the end.
    Zero,
    /// 1.1: at the start.
    One,
    /// 1.2: 4 KiB from the start.
    Two,
}

/// A version of md's superblock.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Version {
    /// 0.90 (and 0.91, which it is called while a reshape is recorded).
    V0,
    /// 1.0, 1.1 or 1.2.
    V1(Minor),
}

impl Version {
    /// All of them, in the order in which they are looked for.
    pub const ALL: [Self; 4] =
        [Self::V1(Minor::One), Self::V1(Minor::Two), Self::V1(Minor::Zero), Self::V0];

    /// The name as mdadm takes it: `0.90`, `1.0`, `1.1`, `1.2`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::V0 => "0.90",
            Self::V1(Minor::Zero) => "1.0",
            Self::V1(Minor::One) => "1.1",
            Self::V1(Minor::Two) => "1.2",
        }
    }

    /// Where its superblock lies on a device of `size`.
    ///
    /// # Errors
    ///
    /// [`TooSmall`] if the device has no room for it.
    pub const fn place(self, size: Sectors) -> Result<Sector, TooSmall> {
        let smallest = match self {
            Self::V0 => SMALLEST_V0,
            Self::V1(_) => SMALLEST_V1,
        };
        if size.get() < smallest.get() {
            return Err(TooSmall { version: self, size, smallest });
        }
        Ok(Sector::new(match self {
            Self::V0 => (size.get() & !127).saturating_sub(128),
            Self::V1(Minor::Zero) => size.get().saturating_sub(16) & !7,
            Self::V1(Minor::One) => 0,
            Self::V1(Minor::Two) => 8,
        }))
    }
}

/// Whether a superblock of `version` on a disk of `disk` sectors lies at the very sector where a
/// partition of `length` sectors from `start` on would have its own: then it may belong to either.
///
/// For 1.x the superblock tells: it says on which sector of its own device it lies. One of 0.90 does
/// not, and has to be decided by who uses it.
#[must_use]
pub fn shares_place(version: Version, disk: Sectors, start: Sector, length: Sectors) -> bool {
    let (Ok(on_disk), Ok(inside)) = (version.place(disk), version.place(length)) else {
        return false;
    };
    start.checked_add(Sectors::new(inside.get())) == Some(on_disk)
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The name as mdadm takes it; `0` and `1` stand for 0.90 and 1.2.
impl std::str::FromStr for Version {
    type Err = UnknownVersion;

    fn from_str(name: &str) -> Result<Self, UnknownVersion> {
        match name {
            "0" | "0.90" => Ok(Self::V0),
            "1.0" => Ok(Self::V1(Minor::Zero)),
            "1.1" => Ok(Self::V1(Minor::One)),
            "1" | "1.2" => Ok(Self::V1(Minor::Two)),
            _ => Err(UnknownVersion { name: name.to_owned() }),
        }
    }
}

/// A name that is no version of a superblock.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("version {name} of a superblock is not known: 0.90, 1.0, 1.1 and 1.2 are")]
pub struct UnknownVersion {
    /// What was given.
    pub name: String,
}

/// A device has no room for a superblock.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a superblock {version} needs a device of {smallest} or more, this one has {size}")]
pub struct TooSmall {
    /// The version that was to lie there.
    pub version: Version,
    /// The device's size.
    pub size: Sectors,
    /// The least size.
    pub smallest: Sectors,
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn place(version: Version, size: u64) -> Option<u64> {
        version.place(Sectors::new(size)).ok().map(Sector::get)
    }

    #[test]
    fn places_are_those_of_the_format() {
        for (version, size, expected) in [
            (Version::V0, 16384, Some(16256)),
            (Version::V0, 16385, Some(16256)),
            (Version::V0, 16511, Some(16256)),
            (Version::V0, 128, Some(0)),
            (Version::V0, 127, None),
            (Version::V1(Minor::Zero), 16384, Some(16368)),
            (Version::V1(Minor::Zero), 16391, Some(16368)),
            (Version::V1(Minor::Zero), 24, Some(8)),
            (Version::V1(Minor::Zero), 23, None),
            (Version::V1(Minor::One), 24, Some(0)),
            (Version::V1(Minor::Two), 24, Some(8)),
            (Version::V1(Minor::Two), 23, None),
        ] {
            assert_eq!(place(version, size), expected, "{version} on {size}");
        }
    }

    #[test]
    fn versions_are_read_as_they_are_printed() {
        for version in Version::ALL {
            assert_eq!(version.name().parse(), Ok(version));
        }
        "1.3".parse::<Version>().unwrap_err();
    }

    #[test]
    fn last_partition_may_share_the_place_with_its_disk() {
        let shares = |version, disk, start| {
            let (disk, length) = (Sectors::new(disk), Sectors::new(disk - start));
            shares_place(version, disk, Sector::new(start), length)
        };
        let old = Version::V0;
        assert!(shares(old, 1 << 20, 2048), "a partition up to the end, on 64 KiB");
        assert!(!shares(old, (1 << 20) + 64, 2048 + 65), "not on 64 KiB");
        assert!(shares(Version::V1(Minor::Zero), 1 << 20, 2048));
        assert!(!shares(Version::V1(Minor::Two), 1 << 20, 2048));
        assert!(shares(Version::V1(Minor::Two), 1 << 20, 0));
        assert!(!shares(old, 1 << 20, (1 << 20) - 100), "a partition without room");
    }

    proptest! {
        #[test]
        fn superblock_lies_on_the_device_for_all(size: u64) {
            for version in Version::ALL {
                if let Some(at) = place(version, size) {
                    prop_assert!(size - at >= SUPER_SECTORS.get());
                }
            }
        }
    }
}
