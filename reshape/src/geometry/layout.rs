//! Layouts: how chunks, parity and copies take turns on the members. Names and numbers as md's.

use std::fmt;

use super::Level;

/// Where RAID4/5 puts parity and data of a stripe.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Raid5Layout {
    /// 0: parity moves left, data keeps its column.
    LeftAsymmetric,
    /// 1: parity moves right, data keeps its column.
    RightAsymmetric,
    /// 2: parity moves left, data begins behind it. The default.
    LeftSymmetric,
    /// 3: parity moves right, data begins behind it.
    RightSymmetric,
    /// 4: parity on the first member.
    ParityFirst,
    /// 5: parity on the last member, as RAID4 has it.
    ParityLast,
}

/// Where RAID6 puts P, Q and data of a stripe.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Raid6Layout {
    /// P, Q and data turn together as in RAID5's layout of that name (0-5).
    Native(Raid5Layout),
    /// As Linux DDF "RAID6, N restart" with zero-based parity (8); Q counts all members.
    DdfZeroRestart,
    /// DDF N restart (9); Q counts all members.
    DdfNRestart,
    /// DDF N continue (10); Q counts all members.
    DdfNContinue,
    /// RAID5's layout on all members but the last, which holds Q alone (16-20).
    WithQLast(Raid5Layout),
}

/// RAID10's copies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Raid10Layout {
    /// Copies beside each other (bits 0-7).
    pub near: u8,
    /// Copies far from each other, on other members (bits 8-15).
    pub far: u8,
    /// Far copies follow in the next row of chunks instead of far behind (bit 16).
    pub offset: bool,
    /// Which members form a set for far copies (bits 17-18).
    pub far_sets: FarSets,
}

/// How the members are grouped for far copies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FarSets {
    /// All members are one set.
    Whole,
    /// Sets of `raid_disks / far` members: what kernels called improved, wrongly.
    Broken,
    /// Sets of `far * near` members.
    Improved,
}

/// Which member a chunk of a later RAID0 zone is on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Raid0Layout {
    /// 0: nobody wrote down which; safe only if there is one zone.
    Unspecified,
    /// 1: as kernels up to 3.13, by the chunk's number in the array.
    Original,
    /// 2: as kernels from 3.14 on, by the chunk's number in its zone.
    Alternate,
}

/// A layout of any level.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Layout {
    /// Linear and RAID1 have none, RAID4 has one only.
    None,
    /// RAID0, several zones.
    Raid0(Raid0Layout),
    /// RAID5.
    Raid5(Raid5Layout),
    /// RAID6.
    Raid6(Raid6Layout),
    /// RAID10.
    Raid10(Raid10Layout),
}

/// A layout that does not exist, or not for that level.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("layout {layout} is not known for {level}{}", known(*.level))]
pub struct UnknownLayout {
    /// Of which level.
    pub level: Level,
    /// The name or number that was given.
    pub layout: String,
}

fn known(level: Level) -> String {
    match level {
        Level::Raid5 | Level::Raid6 => {
            let names: Vec<_> = Layout::names(level).map(|(name, _)| name).collect();
            format!(": {}", names.join(", "))
        }
        Level::Raid10 => ": n2, f2, o2 and so on, with the number of copies".into(),
        Level::Raid0 => ": original, alternate".into(),
        Level::Linear | Level::Raid1 | Level::Raid4 => ", which has no layouts".into(),
    }
}

impl Raid5Layout {
    /// Every layout, in the order of their numbers.
    pub const ALL: [Self; 6] = [
        Self::LeftAsymmetric,
        Self::RightAsymmetric,
        Self::LeftSymmetric,
        Self::RightSymmetric,
        Self::ParityFirst,
        Self::ParityLast,
    ];

    /// md's number.
    pub const fn to_md(self) -> u32 {
        match self {
            Self::LeftAsymmetric => 0,
            Self::RightAsymmetric => 1,
            Self::LeftSymmetric => 2,
            Self::RightSymmetric => 3,
            Self::ParityFirst => 4,
            Self::ParityLast => 5,
        }
    }
}

impl Raid6Layout {
    /// Every layout, in the order of their numbers.
    pub fn all() -> impl Iterator<Item = Self> {
        let native = Raid5Layout::ALL.into_iter().map(Self::Native);
        let ddf = [Self::DdfZeroRestart, Self::DdfNRestart, Self::DdfNContinue];
        let q_last = Raid5Layout::ALL.into_iter().filter(|l| *l != Raid5Layout::ParityLast);
        native.chain(ddf).chain(q_last.map(Self::WithQLast))
    }

    /// md's number.
    pub const fn to_md(self) -> u32 {
        match self {
            Self::Native(layout) => layout.to_md(),
            Self::DdfZeroRestart => 8,
            Self::DdfNRestart => 9,
            Self::DdfNContinue => 10,
            // Parity last and Q behind it is the same as the native one.
            Self::WithQLast(Raid5Layout::ParityLast) => 5,
            Self::WithQLast(layout) => 16 + layout.to_md(),
        }
    }

    /// Whether Q counts all members, those of P and Q as zeros, instead of the data members only.
    pub const fn is_ddf(self) -> bool {
        matches!(self, Self::DdfZeroRestart | Self::DdfNRestart | Self::DdfNContinue)
    }
}

impl Raid10Layout {
    /// `copies` near copies: `nK`.
    pub const fn near(copies: u8) -> Self {
        Self { near: copies, far: 1, offset: false, far_sets: FarSets::Whole }
    }

    /// Copies of each chunk.
    pub fn copies(self) -> u32 {
        u32::from(self.near) * u32::from(self.far)
    }

    const fn to_md(self) -> u32 {
        let sets = match self.far_sets {
            FarSets::Whole => 0,
            FarSets::Broken => 1 << 17,
            FarSets::Improved => 2 << 17,
        };
        let [near, far] = [self.near, self.far];
        u32::from_le_bytes([near, far, 0, 0]) | if self.offset { 1 << 16 } else { 0 } | sets
    }

    fn from_md(layout: u32) -> Option<Self> {
        let [near, far, ..] = layout.to_le_bytes();
        let far_sets = match layout >> 17 {
            0 => FarSets::Whole,
            1 => FarSets::Broken,
            2 => FarSets::Improved,
            _ => return None,
        };
        let offset = layout & (1 << 16) != 0;
        (near > 0 && far > 0).then_some(Self { near, far, offset, far_sets })
    }
}

impl Layout {
    /// The layout that a superblock's `layout` field means for a level.
    ///
    /// # Errors
    ///
    /// A number that means nothing for that level.
    pub fn from_md(level: Level, layout: u32) -> Result<Self, UnknownLayout> {
        let unknown = || UnknownLayout { level, layout: format!("{layout:#x}") };
        match level {
            Level::Linear | Level::Raid1 | Level::Raid4 => Ok(Self::None),
            Level::Raid0 => match layout {
                1 => Ok(Self::Raid0(Raid0Layout::Original)),
                2 => Ok(Self::Raid0(Raid0Layout::Alternate)),
                // Nobody but RAID0 with the feature bit writes it; other values were left there.
                _ => Ok(Self::Raid0(Raid0Layout::Unspecified)),
            },
            Level::Raid5 => {
                let found = Raid5Layout::ALL.into_iter().find(|l| l.to_md() == layout);
                found.map(Self::Raid5).ok_or_else(unknown)
            }
            Level::Raid6 => {
                let found = Raid6Layout::all().find(|l| l.to_md() == layout);
                found.map(Self::Raid6).ok_or_else(unknown)
            }
            Level::Raid10 => Raid10Layout::from_md(layout).map(Self::Raid10).ok_or_else(unknown),
        }
    }

    /// The number in a superblock's `layout` field; 0 where there is none.
    pub const fn to_md(self) -> u32 {
        match self {
            Self::None | Self::Raid0(Raid0Layout::Unspecified) => 0,
            Self::Raid0(Raid0Layout::Original) => 1,
            Self::Raid0(Raid0Layout::Alternate) => 2,
            Self::Raid5(layout) => layout.to_md(),
            Self::Raid6(layout) => layout.to_md(),
            Self::Raid10(layout) => layout.to_md(),
        }
    }

    /// What mdadm creates when nothing is said: left-symmetric, two near copies; the original turns
    /// of RAID0, which matter only where members differ in size.
    pub const fn default_of(level: Level) -> Self {
        match level {
            Level::Linear | Level::Raid1 | Level::Raid4 => Self::None,
            Level::Raid0 => Self::Raid0(Raid0Layout::Original),
            Level::Raid5 => Self::Raid5(Raid5Layout::LeftSymmetric),
            Level::Raid6 => Self::Raid6(Raid6Layout::Native(Raid5Layout::LeftSymmetric)),
            Level::Raid10 => Self::Raid10(Raid10Layout::near(2)),
        }
    }

    /// Names of a level's layouts, with the usual one first where there are several for one layout.
    fn names(level: Level) -> impl Iterator<Item = (&'static str, u32)> {
        const RAID5: [(&str, u32); 16] = [
            ("left-asymmetric", 0),
            ("right-asymmetric", 1),
            ("left-symmetric", 2),
            ("right-symmetric", 3),
            ("parity-first", 4),
            ("parity-last", 5),
            ("la", 0),
            ("ra", 1),
            ("ls", 2),
            ("rs", 3),
            ("default", 2),
            ("raid4", 5),
            ("raid5", 2),
            ("ddf-zero-restart", 1),
            ("ddf-N-restart", 0),
            ("ddf-N-continue", 2),
        ];
        const RAID6: [(&str, u32); 22] = [
            ("left-asymmetric", 0),
            ("right-asymmetric", 1),
            ("left-symmetric", 2),
            ("right-symmetric", 3),
            ("parity-first", 4),
            ("parity-last", 5),
            ("ddf-zero-restart", 8),
            ("ddf-N-restart", 9),
            ("ddf-N-continue", 10),
            ("left-asymmetric-6", 16),
            ("right-asymmetric-6", 17),
            ("left-symmetric-6", 18),
            ("right-symmetric-6", 19),
            ("parity-first-6", 20),
            ("la", 0),
            ("ra", 1),
            ("ls", 2),
            ("rs", 3),
            ("default", 2),
            ("raid6", 2),
            ("raid6-parity-last", 5),
            ("parity-last-6", 5),
        ];
        let (five, six): (&[_], &[_]) = match level {
            Level::Raid5 => (&RAID5, &[]),
            Level::Raid6 => (&[], &RAID6),
            Level::Linear | Level::Raid0 | Level::Raid1 | Level::Raid4 | Level::Raid10 => {
                (&[], &[])
            }
        };
        five.iter().chain(six).copied()
    }

    /// The layout that a name or number means for a level, as mdadm takes them.
    ///
    /// # Errors
    ///
    /// A name that is not known for that level.
    pub fn parse(level: Level, name: &str) -> Result<Self, UnknownLayout> {
        let unknown = || UnknownLayout { level, layout: name.to_owned() };
        let lower = name.to_ascii_lowercase();
        match level {
            Level::Linear | Level::Raid1 | Level::Raid4 => Err(unknown()),
            Level::Raid0 => match lower.as_str() {
                "original" | "1" => Ok(Self::Raid0(Raid0Layout::Original)),
                "alternate" | "2" => Ok(Self::Raid0(Raid0Layout::Alternate)),
                "dangerous" | "unspecified" | "0" => Ok(Self::Raid0(Raid0Layout::Unspecified)),
                _ => Err(unknown()),
            },
            Level::Raid5 | Level::Raid6 => {
                let named =
                    Self::names(level).find(|(known, _)| known.eq_ignore_ascii_case(&lower));
                let number = named.map(|(_, known)| known).or_else(|| number(&lower));
                Self::from_md(level, number.ok_or_else(unknown)?).map_err(|_| unknown())
            }
            Level::Raid10 => parse_raid10(&lower).map(Self::Raid10).ok_or_else(unknown),
        }
    }
}

/// A number as people write it: decimal, or hexadecimal behind `0x`.
fn number(name: &str) -> Option<u32> {
    match name.strip_prefix("0x") {
        Some(digits) => u32::from_str_radix(digits, 16).ok(),
        None => name.parse().ok(),
    }
}

/// `nK`, `fK`, `oK`, md's number, or what `Display` prints.
fn parse_raid10(name: &str) -> Option<Raid10Layout> {
    if let Some(number) = number(name) {
        return Raid10Layout::from_md(number);
    }
    let mut layout = Raid10Layout::near(1);
    if !name.contains('=') {
        let (kind, copies) = name.split_at_checked(1)?;
        return spread(layout, kind, copies);
    }
    for part in name.split(", ") {
        layout = match part.split_once('=')? {
            ("near", copies) => spread(layout, "n", copies)?,
            ("far", copies) => spread(layout, "f", copies)?,
            ("offset", copies) => spread(layout, "o", copies)?,
            ("sets", "improved") => Raid10Layout { far_sets: FarSets::Improved, ..layout },
            ("sets", "broken") => Raid10Layout { far_sets: FarSets::Broken, ..layout },
            _ => return None,
        };
    }
    Some(layout)
}

/// The layout with so many copies of a kind.
fn spread(layout: Raid10Layout, kind: &str, copies: &str) -> Option<Raid10Layout> {
    let copies = copies.parse().ok().filter(|copies| *copies > 0)?;
    match kind {
        "n" => Some(Raid10Layout { near: copies, ..layout }),
        "f" => Some(Raid10Layout { far: copies, offset: false, ..layout }),
        "o" => Some(Raid10Layout { far: copies, offset: true, ..layout }),
        _ => None,
    }
}

/// The name as mdadm takes it; RAID10 as `near=2`, `far=2`, `offset=2` like mdadm prints it, and the
/// far sets, which mdadm does not tell apart.
impl fmt::Display for Layout {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let named = |f: &mut fmt::Formatter<'_>, level, number| {
            let name = Self::names(level).find(|(_, known)| *known == number);
            f.write_str(name.map_or("-unknown-", |(name, _)| name))
        };
        match self {
            Self::None => f.write_str("-"),
            Self::Raid0(Raid0Layout::Unspecified) => f.write_str("-unknown-"),
            Self::Raid0(Raid0Layout::Original) => f.write_str("original"),
            Self::Raid0(Raid0Layout::Alternate) => f.write_str("alternate"),
            Self::Raid5(layout) => named(f, Level::Raid5, layout.to_md()),
            Self::Raid6(layout) => named(f, Level::Raid6, layout.to_md()),
            Self::Raid10(layout) => fmt_raid10(*layout, f),
        }
    }
}

fn fmt_raid10(layout: Raid10Layout, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let mut comma = "";
    if layout.near != 1 || layout.far == 1 {
        write!(f, "near={}", layout.near)?;
        comma = ", ";
    }
    if layout.far != 1 || layout.offset {
        write!(f, "{comma}{}={}", if layout.offset { "offset" } else { "far" }, layout.far)?;
    }
    match layout.far_sets {
        FarSets::Whole => Ok(()),
        FarSets::Broken => f.write_str(", sets=broken"),
        FarSets::Improved => f.write_str(", sets=improved"),
    }
}
