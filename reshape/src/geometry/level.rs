//! The levels of md and their numbers.

use std::fmt;

/// A level of md. The number is the one in the superblock's `level`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Level {
    /// Members one after the other (-1).
    Linear,
    /// Chunks in turn over all members, no redundancy (0).
    Raid0,
    /// The same content on every member (1).
    Raid1,
    /// Parity on the last member (4).
    Raid4,
    /// One rotating parity (5).
    Raid5,
    /// Two rotating syndromes, P and Q (6).
    Raid6,
    /// Copies of chunks spread over the members (10).
    Raid10,
}

impl Level {
    /// Every level, in the order of their numbers.
    pub const ALL: [Self; 7] = [
        Self::Linear,
        Self::Raid0,
        Self::Raid1,
        Self::Raid4,
        Self::Raid5,
        Self::Raid6,
        Self::Raid10,
    ];

    /// The level that a superblock's `level` field names, if there is one.
    pub const fn from_md(level: i32) -> Option<Self> {
        match level {
            -1 => Some(Self::Linear),
            0 => Some(Self::Raid0),
            1 => Some(Self::Raid1),
            4 => Some(Self::Raid4),
            5 => Some(Self::Raid5),
            6 => Some(Self::Raid6),
            10 => Some(Self::Raid10),
            _ => None,
        }
    }

    /// The number in a superblock's `level` field.
    pub const fn to_md(self) -> i32 {
        match self {
            Self::Linear => -1,
            Self::Raid0 => 0,
            Self::Raid1 => 1,
            Self::Raid4 => 4,
            Self::Raid5 => 5,
            Self::Raid6 => 6,
            Self::Raid10 => 10,
        }
    }

    /// The name as mdadm prints it: `linear`, `raid0`, `raid1`, ...
    pub const fn name(self) -> &'static str {
        match self {
            Self::Linear => "linear",
            Self::Raid0 => "raid0",
            Self::Raid1 => "raid1",
            Self::Raid4 => "raid4",
            Self::Raid5 => "raid5",
            Self::Raid6 => "raid6",
            Self::Raid10 => "raid10",
        }
    }

    /// Members of each stripe that hold parity: 1 for RAID4 and 5, 2 for RAID6, else 0.
    pub const fn parity_disks(self) -> u32 {
        match self {
            Self::Raid4 | Self::Raid5 => 1,
            Self::Raid6 => 2,
            Self::Linear | Self::Raid0 | Self::Raid1 | Self::Raid10 => 0,
        }
    }
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Names as mdadm takes them: the number, `raid5`, `linear`, and `mirror`/`stripe` for 1 and 0.
impl std::str::FromStr for Level {
    type Err = UnknownLevel;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        match name {
            "linear" | "-1" => Ok(Self::Linear),
            "raid0" | "0" | "stripe" => Ok(Self::Raid0),
            "raid1" | "1" | "mirror" => Ok(Self::Raid1),
            "raid4" | "4" => Ok(Self::Raid4),
            "raid5" | "5" => Ok(Self::Raid5),
            "raid6" | "6" => Ok(Self::Raid6),
            "raid10" | "10" => Ok(Self::Raid10),
            _ => Err(UnknownLevel { name: name.to_owned() }),
        }
    }
}

/// A name that is no level of md.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("level {name} is not known: linear, 0, 1, 4, 5, 6 and 10 are")]
pub struct UnknownLevel {
    /// What was given.
    pub name: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_level_comes_back_from_its_number_and_its_name() {
        for level in Level::ALL {
            assert_eq!(Level::from_md(level.to_md()), Some(level));
            assert_eq!(level.name().parse(), Ok(level));
            assert_eq!(level.to_md().to_string().parse(), Ok(level));
        }
        assert_eq!(Level::from_md(-4), None, "multipath is dead");
    }
}
