//! Why a change is not possible, with the numbers, and what would help.

use std::path::PathBuf;

use kcopy::{Sector, Sectors};

use crate::assemble::WhyNotWrite;
use crate::geometry::{BadShape, Layout, Level, NoTakeover, NoUnit};
use crate::metadata::{Misplaced, Version};

/// A change that is refused. Nothing was written.
///
/// The message is the condition with its numbers; [`Refusal::remedy`] says what would help.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Refusal {
    /// Nothing is asked for, or the array is like that already.
    #[error("nothing would change: the array is like that already")]
    NothingToDo,
    /// The array may not be changed.
    #[error(transparent)]
    NotWritable(#[from] WhyNotWrite),
    /// Members of a linear array or a RAID0 are missing, or it is being reshaped.
    #[error("the array is not whole: its geometry is not known, or it is being reshaped")]
    NotWhole,
    /// A member is being rebuilt or replaced.
    #[error("{} is being rebuilt", path.display())]
    Rebuilding {
        /// Which.
        path: PathBuf,
    },
    /// Parity or copies are not known to be in step.
    #[error(
        "the array is not in step: its parity or copies were never made, or it was not stopped"
    )]
    NotInStep,
    /// What is known to be bad could not be computed.
    #[error(
        "{} has {sectors} bad sectors in its log, and nothing is left to compute them from",
        path.display()
    )]
    BadSectors {
        /// On which disk.
        path: PathBuf,
        /// How many.
        sectors: u64,
    },
    /// The component size is changed alone, as md does it.
    #[error(
        "the size of the members, or of the array alone, cannot be changed together with anything else"
    )]
    SizeAlone,
    /// Levels without a component size.
    #[error("{level} uses all of each member: there is no size to change")]
    NoSize {
        /// The level.
        level: Level,
    },
    /// More than the members have.
    #[error("{} has room for {}, not for {}", path.display(), size(*most), size(*wanted))]
    SizeTooLarge {
        /// The smallest member.
        path: PathBuf,
        /// What was asked for.
        wanted: Sectors,
        /// What it has.
        most: Sectors,
    },
    /// It may be a RAID0 in the middle of a change, which means other numbers of members.
    #[error("the array is a raid4 without its parity, as a raid0 is in the middle of a change")]
    LevelUnsaid,
    /// A size that holds no whole chunk, or is no multiple of one; or of as many as hold copies of each other.
    #[error("{} of each member is no multiple of {}", exact(*wanted), size(*chunk))]
    SizeNotChunks {
        /// What was asked for.
        wanted: Sectors,
        /// The chunk, or what offset copies take together.
        chunk: Sectors,
    },
    /// A superblock that cannot say so much.
    #[error("superblocks {} cannot record {} of each member", version.name(), size(*wanted))]
    SizeNotRecordable {
        /// Their version.
        version: Version,
        /// What was asked for.
        wanted: Sectors,
    },
    /// The content would be cut, and nobody said that it may.
    #[error("the array would shrink from {} to {}, and what lies behind would be lost", size(*from), size(*to))]
    WouldShrink {
        /// Its size.
        from: Sectors,
        /// The size that the change leaves.
        to: Sectors,
    },
    /// The array is to be larger than it is.
    #[error("the array has {}, less than the {} that are asked for", size(*now), size(*wanted))]
    ArrayTooSmall {
        /// What was asked for.
        wanted: Sectors,
        /// What it has.
        now: Sectors,
    },
    /// The chunk does not fit the members.
    #[error(
        "a chunk of {} does not divide what is used of each member, {}",
        size(*chunk), exact(*component)
    )]
    ChunkDoesNotDivide {
        /// The level.
        level: Level,
        /// The chunk asked for.
        chunk: Sectors,
        /// What is used of each member.
        component: Sectors,
        /// The next smaller size that it divides.
        fits: Sectors,
    },
    /// Levels without chunks.
    #[error("{level} has no chunks")]
    ChunkMeaningless {
        /// The level.
        level: Level,
    },
    /// Levels with one layout.
    #[error("{level} has no layouts to choose from")]
    LayoutMeaningless {
        /// The level.
        level: Level,
    },
    /// `preserve` and `normalise` are words for RAID6.
    #[error("preserve and normalise are layouts of raid6; the array would be {level}")]
    OnlyRaid6 {
        /// The level it would have.
        level: Level,
    },
    /// A RAID6 as a RAID5 leaves it, and nothing is said about it.
    #[error("the array has layout {layout}, with Q alone on the last member")]
    PreserveOrNormalise {
        /// Its layout.
        layout: Layout,
    },
    /// Such an array cannot be.
    #[error(transparent)]
    Shape(#[from] BadShape),
    /// A level that cannot be taken over.
    #[error(transparent)]
    Takeover(#[from] NoTakeover),
    /// No chain of takeovers and restripes leads there.
    #[error("{from} cannot become {to}")]
    NoWay {
        /// The level it has.
        from: Level,
        /// The level asked for.
        to: Level,
    },
    /// Linear arrays can only get longer.
    #[error("a linear array can only be made longer, by whole members")]
    Linear,
    /// Far copies.
    #[error("raid10 with layout {layout} cannot be moved: its far copies lie in another half")]
    Far {
        /// The layout, the one it has or the one asked for.
        layout: Layout,
    },
    /// Another number of copies.
    #[error("raid10 keeps its number of copies: {from} cannot become {to}")]
    Copies {
        /// Copies it has.
        from: u32,
        /// Copies asked for.
        to: u32,
    },
    /// The array would lack members.
    #[error(
        "the array needs more disks for all of its members: {needed}, and there are {available}"
    )]
    Spares {
        /// How many it takes.
        needed: usize,
        /// How many there are.
        available: usize,
    },
    /// The array would not work.
    #[error("{level} on {members} members would lack {missing} of them, too many to work")]
    NotWorking {
        /// The level.
        level: Level,
        /// Its members.
        members: u32,
        /// Those that would not be there.
        missing: u32,
    },
    /// Members would leave on which the content depends.
    #[error("the members that have to leave are needed while slot {slot} is missing")]
    Needed {
        /// The first slot that is missing.
        slot: u32,
    },
    /// A disk that is too small for the array.
    #[error("{} has {}, and a member needs {}", path.display(), self::size(*size), self::size(*needed))]
    TooSmall {
        /// The disk.
        path: PathBuf,
        /// Its size.
        size: Sectors,
        /// What is needed.
        needed: Sectors,
    },
    /// More disks than the superblocks can name.
    #[error("superblocks {} have room for {most} disks, not for {disks}", version.name())]
    TooManyDisks {
        /// Their version.
        version: Version,
        /// Disks there would be.
        disks: usize,
        /// Disks they can name.
        most: usize,
    },
    /// Stripes of both geometries have no usable unit.
    #[error(transparent)]
    Unit(#[from] NoUnit),
    /// No room to move the data, no place for a backup.
    #[error(
        "data would be written over while it is still needed: {} has {} free {} its data, {} is \
         needed, and there is no place for a backup",
        path.display(), size(*room), side.name(), size(*needed)
    )]
    NeedsBackup {
        /// The member with the least room.
        path: PathBuf,
        /// Where there should be room.
        side: Beside,
        /// The room it has.
        room: Sectors,
        /// The room that would be needed.
        needed: Sectors,
        /// Bytes of a backup file.
        backup: u64,
    },
    /// Data that cannot move, and no place for a backup.
    #[error(
        "superblocks {} always keep the data where it is: it would be written over while it is \
         still needed, and there is no place for a backup",
        version.name()
    )]
    NeedsFile {
        /// Their version.
        version: Version,
        /// Bytes of a backup file.
        backup: u64,
    },
    /// RAID10 has no backups: it needs room.
    #[error(
        "raid10 is moved into free room only: {} has {} free {} its data, {} is needed",
        path.display(), size(*room), side.name(), size(*needed)
    )]
    NeedsRoom {
        /// The member with the least room.
        path: PathBuf,
        /// Where there should be room.
        side: Beside,
        /// The room it has.
        room: Sectors,
        /// The room that would be needed.
        needed: Sectors,
    },
    /// Superblocks 0.90 know no data offset, and no direction.
    #[error("superblocks {} cannot record {what}", version.name())]
    NotRecordable {
        /// Their version.
        version: Version,
        /// What they cannot say.
        what: &'static str,
    },
    /// The data is there already.
    #[error("the data of {} begins at {offset} already", path.display())]
    HasOffset {
        /// The disk.
        path: PathBuf,
        /// Where.
        offset: Sector,
    },
    /// The wanted data offset is on the wrong side, or too near.
    #[error(
        "data that begins at {wanted} on {} would be moved by {by} sectors: it takes at least {}, \
         into the room {} it",
        path.display(), exact(*least), side.name()
    )]
    OffsetTooNear {
        /// The disk.
        path: PathBuf,
        /// The data offset asked for.
        wanted: Sector,
        /// The move, in sectors; negative: towards the start.
        by: i64,
        /// The least move.
        least: Sectors,
        /// Which way.
        side: Beside,
    },
    /// The wanted data offset lies outside of the free room.
    #[error("data cannot begin at {wanted} on {}: it can begin from {first} to {last}", path.display())]
    OffsetOutside {
        /// The disk.
        path: PathBuf,
        /// The data offset asked for.
        wanted: Sector,
        /// The first that is possible.
        first: Sector,
        /// The last that is possible.
        last: Sector,
    },
    /// Data offsets that differ on the way.
    #[error("moves of {forwards} and {backwards} sectors have no direction in common")]
    OffsetsDiffer {
        /// The move towards the start that goes farthest.
        forwards: i64,
        /// The move towards the end that goes farthest.
        backwards: i64,
    },
    /// A bitmap is there already, or is not.
    #[error("the array {} a bitmap already", if *has { "has" } else { "is without" })]
    Bitmap {
        /// Whether there is one.
        has: bool,
    },
    /// Levels without redundancy have nothing to note.
    #[error("{level} has no use for a bitmap")]
    NoBitmap {
        /// The level.
        level: Level,
    },
    /// A superblock that puts something before the device.
    #[error(transparent)]
    Misplaced(#[from] Misplaced),
    /// Numbers too large to calculate with.
    #[error("the array would be too large")]
    TooLarge,
}

/// On which side of a member's data.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Beside {
    /// Between what lies in front and the data.
    Before,
    /// Between the data and what lies behind.
    After,
}

impl Beside {
    /// `before`, `behind`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Before => "before",
            Self::After => "behind",
        }
    }
}

/// How to say where a backup of so many bytes may go.
fn file_of(backup: u64) -> String {
    let file = Sectors::new(backup.div_ceil(kcopy::SECTOR_SIZE));
    format!("--backup-file=FILE on other storage with {} free", size(file))
}

/// How to make room behind the data.
fn less_of_each(room: Sectors, needed: Sectors) -> String {
    let lack = Sectors::new(needed.get().saturating_sub(room.get()));
    format!("use {} less of each member first, with --size", size(lack))
}

/// A length with a unit, cut to hundredths: `512 KiB`, `1.81 TiB`.
pub(super) fn size(sectors: Sectors) -> String {
    const UNITS: [&str; 5] = ["KiB", "MiB", "GiB", "TiB", "PiB"];
    let bytes = u128::from(sectors.get()) * u128::from(kcopy::SECTOR_SIZE);
    let mut unit = 0;
    while unit + 1 < UNITS.len() && bytes >> (10 * (unit + 2)) > 0 {
        unit += 1;
    }
    let shift = 10 * (unit + 1);
    let hundredths = (bytes * 100) >> shift;
    let (whole, rest) = (hundredths / 100, hundredths % 100);
    let name = UNITS.get(unit).copied().unwrap_or_default();
    let is_whole = whole << shift == bytes;
    if is_whole { format!("{whole} {name}") } else { format!("{whole}.{rest:02} {name}") }
}

/// A length that has to be right to the sector.
fn exact(sectors: Sectors) -> String {
    format!("{} ({sectors})", size(sectors))
}

impl Refusal {
    /// A word for programs that does not change.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::NothingToDo => "nothing-to-do",
            Self::NotWritable(_) => "not-writable",
            Self::NotWhole => "not-whole",
            Self::Rebuilding { .. } => "rebuilding",
            Self::NotInStep => "not-in-step",
            Self::BadSectors { .. } => "bad-sectors",
            Self::SizeAlone => "size-alone",
            Self::NoSize { .. } => "no-size",
            Self::SizeTooLarge { .. } => "size-too-large",
            Self::SizeNotChunks { .. } => "size-not-chunks",
            Self::SizeNotRecordable { .. } => "size-not-recordable",
            Self::WouldShrink { .. } => "would-shrink",
            Self::LevelUnsaid => "level-unsaid",
            Self::ArrayTooSmall { .. } => "array-too-small",
            Self::ChunkDoesNotDivide { .. } => "chunk-does-not-divide",
            Self::ChunkMeaningless { .. } => "chunk-meaningless",
            Self::LayoutMeaningless { .. } => "layout-meaningless",
            Self::OnlyRaid6 { .. } => "only-raid6",
            Self::PreserveOrNormalise { .. } => "preserve-or-normalise",
            Self::Shape(_) => "shape",
            Self::Takeover(_) => "takeover",
            Self::NoWay { .. } => "no-way",
            Self::Linear => "linear",
            Self::Far { .. } => "far-copies",
            Self::Copies { .. } => "number-of-copies",
            Self::Spares { .. } => "spares",
            Self::NotWorking { .. } => "not-working",
            Self::Needed { .. } => "member-needed",
            Self::TooSmall { .. } => "disk-too-small",
            Self::TooManyDisks { .. } => "too-many-disks",
            Self::Unit(_) => "unit",
            Self::NeedsBackup { .. } | Self::NeedsFile { .. } => "needs-backup",
            Self::NeedsRoom { .. } => "needs-room",
            Self::NotRecordable { .. } => "not-recordable",
            Self::HasOffset { .. } => "has-offset",
            Self::OffsetTooNear { .. } => "offset-too-near",
            Self::OffsetOutside { .. } => "offset-outside",
            Self::OffsetsDiffer { .. } => "offsets-differ",
            Self::Bitmap { .. } => "bitmap",
            Self::NoBitmap { .. } => "no-bitmap",
            Self::Misplaced(_) => "misplaced",
            Self::TooLarge => "too-large",
        }
    }

    /// What would help.
    #[expect(clippy::wildcard_enum_match_arm, reason = "those without numbers have their own list")]
    pub fn remedy(&self) -> String {
        let kib = |sectors: Sectors| sectors.get() / 2;
        match self {
            Self::SizeTooLarge { most, .. } => format!("--size={} is the most", kib(*most)),
            Self::SizeNotChunks { wanted, chunk } => {
                let rest = wanted.get().checked_rem(chunk.get()).unwrap_or(0);
                let fits = kib(Sectors::new(wanted.get().saturating_sub(rest)));
                format!("--size={fits} is the next smaller one")
            }
            Self::WouldShrink { to, .. } => format!(
                "shrink what is on the array to {} KiB or less, then say --array-size={} in the \
                 same command",
                kib(*to),
                kib(*to)
            ),
            Self::ChunkDoesNotDivide { level: Level::Raid0, component, .. } => {
                let most = 1_u64.checked_shl(component.get().trailing_zeros()).unwrap_or(8);
                format!("chunks up to {} KiB do", kib(Sectors::new(most)))
            }
            Self::ChunkDoesNotDivide { fits, .. } => format!(
                "use less of each member first: --size={}, in a command of its own",
                kib(*fits)
            ),
            Self::Copies { from, .. } => format!("choose a layout of {from} copies"),
            Self::Spares { needed, available } => format!(
                "add {} more with --add; --force goes on without, the array is degraded then",
                needed.saturating_sub(*available)
            ),
            Self::NeedsBackup { backup, side, room, needed, .. } => {
                let file = file_of(*backup);
                match side {
                    Beside::Before => file,
                    Beside::After => format!("{file}; or {}", less_of_each(*room, *needed)),
                }
            }
            Self::NeedsFile { backup, .. } => file_of(*backup),
            Self::NeedsRoom { side: Beside::After, room, needed, .. } => {
                less_of_each(*room, *needed)
            }
            Self::Takeover(NoTakeover::TwoMembers { from: Level::Raid1, .. }) => {
                "--raid-devices=2 first, in a command of its own".to_owned()
            }
            Self::OffsetOutside { first, last, .. } => {
                format!("choose one from {}s to {}s, or none", first.get(), last.get())
            }
            _ => self.plain_remedy().to_owned(),
        }
    }

    fn plain_remedy(&self) -> &'static str {
        match self {
            Self::NothingToDo => "say what is to be changed",
            Self::NotWritable(_) | Self::NotWhole => {
                "reshape detail shows the array's state; a reshape has to end first"
            }
            Self::Rebuilding { .. } => "let the rebuild end first: reshape rebuild, or the kernel",
            Self::NotInStep => "reshape check --repair brings it in step",
            Self::BadSectors { .. } => {
                "write over what is lost, or rebuild the member; reshape examine lists the sectors"
            }
            Self::LevelUnsaid => "say --level=0 if it was one, or --level=4, in the same command",
            Self::SizeAlone => "change the size in a command of its own, before or after",
            Self::NoSize { .. } => "add members instead, or change the level first",
            Self::SizeNotRecordable { .. } => "superblocks 1.x can record it",
            Self::ArrayTooSmall { .. } => "only a smaller --array-size means anything here",
            Self::ChunkMeaningless { .. } => "leave --chunk out",
            Self::LayoutMeaningless { .. } => "leave --layout out",
            Self::OnlyRaid6 { .. } => "name the layout, or leave --layout out",
            Self::PreserveOrNormalise { .. } => {
                "--layout=normalise lets Q turn with the rest, --layout=preserve keeps it there"
            }
            Self::Shape(_) | Self::TooLarge => "reshape layout draws what is possible",
            Self::Takeover(_) => "change the number of members or the layout first",
            Self::NoWay { .. } => "copy the content to a new array",
            Self::Linear => {
                "--add with new disks makes it longer; for another level copy the content to a new array"
            }
            Self::Far { .. } => "copy the content to a new array with near or offset copies",
            Self::NotWorking { .. } => "add disks with --add",
            Self::Needed { .. } => "rebuild the missing member first",
            Self::TooSmall { .. } => "use a larger disk",
            Self::TooManyDisks { .. } => "use fewer disks",
            Self::Unit(_) => "choose a smaller chunk, or numbers of members with a common divisor",
            Self::NeedsRoom { .. } => "no reshape of raid10 is possible without that room",
            Self::NotRecordable { .. } => "superblocks 1.x can; mdadm can turn 0.90 into 1.0",
            Self::HasOffset { .. } => "leave --data-offset out",
            Self::OffsetTooNear { .. } | Self::OffsetsDiffer { .. } => {
                "leave --data-offset out, then it is chosen"
            }
            Self::Bitmap { .. } => "leave --bitmap out",
            Self::NoBitmap { .. } => "--bitmap=none, or leave it out",
            Self::Misplaced(_) => "reshape examine shows the superblock: it is damaged",
            Self::SizeTooLarge { .. }
            | Self::SizeNotChunks { .. }
            | Self::WouldShrink { .. }
            | Self::ChunkDoesNotDivide { .. }
            | Self::Copies { .. }
            | Self::Spares { .. }
            | Self::NeedsBackup { .. }
            | Self::NeedsFile { .. }
            | Self::OffsetOutside { .. } => "choose other numbers",
        }
    }
}
