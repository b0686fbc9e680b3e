//! What superblocks of both versions say, in one set of types.

use std::fmt;

use kcopy::{Sector, Sectors};

use crate::units::{ArraySector, Slot};

/// The name of an array, for machines: 16 bytes in the order in which they are printed.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Uuid(pub [u8; 16]);

/// As mdadm prints it: `1a8b9873:fdb271c7:7d0aaead:5c09db6b`.
impl fmt::Display for Uuid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, byte) in self.0.iter().enumerate() {
            if index > 0 && index % 4 == 0 {
                f.write_str(":")?;
            }
            write!(f, "{byte:02x}")?;
        }
        Ok(())
    }
}

impl fmt::Debug for Uuid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// 32 hexadecimal digits; `:` and `-` between them are passed over.
impl std::str::FromStr for Uuid {
    type Err = NoUuid;

    fn from_str(text: &str) -> Result<Self, NoUuid> {
        let error = || NoUuid { text: text.to_owned() };
        let digits = text.chars().filter(|c| !matches!(c, ':' | '-'));
        let digits: Option<Vec<u8>> =
            digits.map(|c| c.to_digit(16).and_then(|digit| u8::try_from(digit).ok())).collect();
        let digits = digits.filter(|digits| digits.len() == 32).ok_or_else(error)?;
        let mut uuid = [0; 16];
        for (byte, pair) in uuid.iter_mut().zip(digits.as_chunks::<2>().0) {
            let [high, low] = *pair;
            *byte = high << 4 | low;
        }
        Ok(Self(uuid))
    }
}

/// A text that is no uuid.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{text} is no uuid: it has 32 hexadecimal digits, as in 1a8b9873:fdb271c7:7d0aaead:5c09db6b"
)]
pub struct NoUuid {
    /// What was given.
    pub text: String,
}

/// A point in time, counted from 1970 (UTC).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Timestamp {
    /// Whole seconds; superblocks 1.x keep 40 bits of them, 0.90 keeps 32.
    pub seconds: u64,
    /// Millionths of a second; superblocks 1.x have 24 bits for them, which are read and not written.
    pub micros: u32,
}

impl Timestamp {
    /// `seconds` after 1970 began.
    #[must_use]
    pub const fn from_seconds(seconds: u64) -> Self {
        Self { seconds, micros: 0 }
    }
}

/// The name of an array, for people: up to 32 bytes, usually `host:name` (`set_name`).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct ArrayName(pub [u8; 32]);

impl ArrayName {
    /// `name`, if it has at most 32 bytes and none of them is zero.
    #[must_use]
    pub fn new(name: &str) -> Option<Self> {
        let fits = name.len() <= 32 && !name.bytes().any(|byte| byte == 0);
        let mut bytes = [0; 32];
        bytes.iter_mut().zip(name.bytes()).for_each(|(to, from)| *to = from);
        fits.then_some(Self(bytes))
    }

    /// The bytes before the first zero.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        self.0.split(|byte| *byte == 0).next().unwrap_or_default()
    }
}

/// The name as text; control characters and bytes that are no UTF-8 are escaped.
impl fmt::Display for ArrayName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for chunk in self.as_bytes().utf8_chunks() {
            for c in chunk.valid().chars() {
                if c.is_control() {
                    write!(f, "{}", c.escape_default())?
                } else {
                    write!(f, "{c}")?
                }
            }
            for byte in chunk.invalid() {
                write!(f, "\\x{byte:02x}")?;
            }
        }
        Ok(())
    }
}

impl fmt::Debug for ArrayName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

/// What a device is to its array.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Role {
    /// The member of a slot. It may still be rebuilt: see `recovery_offset`.
    Active(Slot),
    /// It waits for a slot.
    Spare,
    /// It failed or is not there.
    Faulty,
    /// The write journal.
    Journal,
    /// A number that md does not know, in superblocks 1.x.
    Reserved(u16),
}

/// What of an array's parity or copies is known to be in step.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Resync {
    /// All of it.
    Clean,
    /// Only what lies before this sector; md counts on the members for levels 1, 4, 5 and 6, in
    /// the array for level 10.
    From(u64),
}

/// Which way a reshape goes through the array's addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Direction {
    /// From the start to the end: what lies before the position is new.
    Forwards,
    /// From the end to the start: what lies at the position and behind it is new.
    Backwards,
}

/// The reshape that a superblock records. Its raid_disks and data_offset are then those of
/// [`Reshape::raid_disks_new`] and of the old layout.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reshape {
    /// How far it has come (`reshape_position`).
    pub position: ArraySector,
    /// New members minus old ones (`delta_disks`).
    pub delta_disks: i32,
    /// The members after the reshape (`raid_disks` while it is recorded).
    pub raid_disks_new: u32,
    /// The way it goes, from `delta_disks` and, if that is 0, the feature bit.
    pub direction: Direction,
    /// The level after it, as a number of md (`new_level`).
    pub new_level: i32,
    /// The layout after it (`new_layout`).
    pub new_layout: u32,
    /// The chunk after it (`new_chunk`).
    pub new_chunk: Sectors,
    /// What is added to this member's data offset for the new layout, in sectors (`new_offset`);
    /// 0 if it stays. Each member has its own.
    pub new_offset: i32,
}

impl Reshape {
    /// The members before the reshape; `None` if the numbers of the superblock give none.
    #[must_use]
    pub const fn raid_disks_old(&self) -> Option<u32> {
        match self.delta_disks.checked_neg() {
            Some(back) => self.raid_disks_new.checked_add_signed(back),
            None => None,
        }
    }
}

/// An area of a device that a superblock names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Area {
    /// Its first sector on the device.
    pub start: Sector,
    /// Its length.
    pub length: Sectors,
}

impl Area {
    /// The sector behind it; at the end of the address space: the last one.
    #[must_use]
    pub fn end(&self) -> Sector {
        Sector::new(self.start.get().saturating_add(self.length.get()))
    }
}

/// A place that is said relative to the superblock and would lie before the device.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "the superblock at {at} puts its {what} {offset} sectors from itself, outside of the device"
)]
pub struct Misplaced {
    /// What lies there.
    pub what: &'static str,
    /// Where the superblock lies.
    pub at: Sector,
    /// The distance in sectors.
    pub offset: i64,
}

/// `offset` sectors from `at`.
pub(super) fn relative(what: &'static str, at: Sector, offset: i64) -> Result<Sector, Misplaced> {
    match at.get().checked_add_signed(offset) {
        Some(sector) => Ok(Sector::new(sector)),
        None => Err(Misplaced { what, at, offset }),
    }
}

/// A number that the field of a superblock cannot hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{value} does not fit in the field {field} of a superblock {version}")]
pub struct DoesNotFit {
    /// The kernel's name of the field.
    pub field: &'static str,
    /// The version of the superblock.
    pub version: &'static str,
    /// What was to be stored.
    pub value: i128,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uuid_is_read_as_it_is_printed() {
        let text = "1a8b9873:fdb271c7:7d0aaead:5c09db6b";
        let uuid: Uuid = text.parse().unwrap();
        assert_eq!(uuid.to_string(), text);
        assert_eq!("1a8b9873-fdb2-71c7-7d0a-aead5c09db6b".parse(), Ok(uuid));
        for wrong in ["", "1a8b9873", "1a8b9873:fdb271c7:7d0aaead:5c09db6g", &format!("{text}0")] {
            assert!(wrong.parse::<Uuid>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn names_may_use_all_bytes_and_cannot_harm_a_terminal() {
        let long = "x".repeat(32);
        assert_eq!(ArrayName::new(&long).unwrap().to_string(), long);
        assert_eq!(ArrayName::new(&format!("{long}x")), None);
        assert_eq!(ArrayName::new("a\0b"), None);
        let mut bytes = [0; 32];
        bytes[..4].copy_from_slice(b"a\x1b\xffb");
        assert_eq!(ArrayName(bytes).to_string(), "a\\u{1b}\\xffb");
    }

    #[test]
    fn a_reshape_of_impossible_numbers_has_no_old_members() {
        let reshape = Reshape {
            position: ArraySector::new(0),
            delta_disks: i32::MIN,
            raid_disks_new: 4,
            direction: Direction::Backwards,
            new_level: 5,
            new_layout: 2,
            new_chunk: Sectors::new(128),
            new_offset: 0,
        };
        assert_eq!(reshape.raid_disks_old(), None);
        assert_eq!(Reshape { delta_disks: 5, ..reshape }.raid_disks_old(), None);
        assert_eq!(Reshape { delta_disks: -1, ..reshape }.raid_disks_old(), Some(5));
    }
}
