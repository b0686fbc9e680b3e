//! What is reshaped into what: pairs of shapes, whole and degraded, in the three modes.

use std::fmt;
use std::ops::Range;

use kcopy::Sectors;
use reshape::exec::Restripe;
use reshape::geometry::{Geometry, Layout, Level, Shape};
use reshape::metadata::Direction;
use reshape::plan::Mode;
use reshape::units::Slot;

/// Levels, layouts and numbers of members.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Pair {
    level: Level,
    layouts: (u32, u32),
    disks: (u32, u32),
    /// A slot of the old array that is empty, and filled on the way.
    fill: Option<u32>,
}

/// One reshape.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Case {
    /// Its number in [`all`].
    pub number: usize,
    /// The level, before and after.
    pub level: Level,
    /// Layouts as md numbers them.
    pub layouts: (u32, u32),
    /// Chunks in sectors.
    pub chunks: (u64, u64),
    /// Members.
    pub disks: (u32, u32),
    /// A slot of the old array that is empty, and filled on the way.
    pub fill: Option<u32>,
    /// A slot whose member is not there.
    pub missing: Option<u32>,
    /// How what is overwritten stays safe.
    pub mode: Mode,
    /// Upwards.
    pub forwards: bool,
    /// Whole stripes in a section of the backup file, if not as many as there are.
    pub section: Option<u64>,
    /// Bytes of a disk's blocks: what is torn apart, and what is not.
    pub block: u32,
    /// The members are sparse files: most of the content is zeros, and holes.
    pub sparse: bool,
}

/// Bytes of so many sectors.
pub fn byte_range(sector: u64, sectors: u64) -> Range<usize> {
    let at = |sector: u64| usize::try_from(sector * kcopy::SECTOR_SIZE).expect("small");
    at(sector)..at(sector + sectors)
}

impl Case {
    /// The array before.
    pub fn before(&self) -> Geometry {
        self.geometry((self.layouts.0, self.chunks.0, self.disks.0))
    }

    /// The array after.
    pub fn after(&self) -> Geometry {
        self.geometry((self.layouts.1, self.chunks.1, self.disks.1))
    }

    fn geometry(&self, (layout, chunk, raid_disks): (u32, u64, u32)) -> Geometry {
        Geometry::new(&Shape {
            level: self.level,
            layout: Layout::from_md(self.level, layout).expect("a layout"),
            chunk: Sectors::new(chunk),
            raid_disks,
            component: Sectors::new(self.rows()),
            member_sizes: &[],
        })
        .expect("a shape")
    }

    /// Sectors that the array uses of each member: the critical section and some stripes more; and room
    /// for a backup at the end of the new members.
    pub fn rows(&self) -> u64 {
        let chunk = self.chunks.0.max(self.chunks.1);
        let least = self.disks.0.abs_diff(self.disks.1).max(1);
        let critical = u64::from(self.disks.0.max(self.disks.1).div_ceil(least)) * chunk;
        match self.mode {
            // Copies in the next row of chunks come in pairs of rows.
            Mode::DataOffset | Mode::BackupFile => {
                (critical.max(2 * chunk) + 4 * chunk).next_multiple_of(2 * chunk)
            }
            Mode::BackupOnSpares => {
                let wide = u64::from(self.disks.1);
                (critical * (wide + 2) + 4 * chunk + 16).next_multiple_of(chunk)
            }
        }
    }

    /// The most members before and after.
    pub fn slots(&self) -> u32 {
        self.disks.0.max(self.disks.1)
    }

    /// Members that come new: their numbers, which are their slots.
    pub fn added(&self) -> Vec<(u32, Slot)> {
        let slots = (self.disks.0..self.disks.1).chain(self.fill);
        let there = slots.filter(|slot| self.missing != Some(*slot));
        there.map(|slot| (slot, Slot::new(slot))).collect()
    }

    fn direction(&self) -> Direction {
        if self.forwards { Direction::Forwards } else { Direction::Backwards }
    }

    /// The restripe; data offsets move by just as much as is needed.
    pub fn restripe(&self) -> Restripe {
        let slots = usize::try_from(self.slots()).expect("few");
        let chunk = i32::try_from(self.chunks.0.max(self.chunks.1)).expect("small");
        let by = |chunks: i32| {
            let shift = if self.forwards { -chunks * chunk } else { chunks * chunk };
            Restripe::new(self.before(), self.after(), self.direction(), vec![shift; slots])
                .expect("rows in common terms")
        };
        match self.mode {
            Mode::BackupFile | Mode::BackupOnSpares => by(0),
            Mode::DataOffset => {
                let mut moved = (1..16).map(by);
                moved.find(|moved| moved.track.critical().is_empty()).expect("room")
            }
        }
    }

    /// Whether both arrays, and what is saved on new members, can do without these slots.
    pub fn can_lose(&self, lost: &[u32]) -> bool {
        let mut new = self.disks.0..self.disks.1;
        if self.mode == Mode::BackupOnSpares && new.all(|slot| lost.contains(&slot)) {
            return false;
        }
        let gone = |slot: Slot| {
            let slot = slot.get();
            lost.contains(&slot) || self.missing == Some(slot)
        };
        let old = self.before().enough(|slot| !gone(slot) && self.fill != Some(slot.get()));
        old && self.after().enough(|slot| !gone(slot))
    }
}

impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { number, level, layouts, chunks, disks, .. } = self;
        let (from, to, c, c2) = (disks.0, disks.1, chunks.0, chunks.1);
        let (l, l2) = layouts;
        write!(f, "case {number}: {level}, {from} to {to} members, layout {l} to {l2}, ")?;
        write!(f, "chunk {c} to {c2}, {}", self.mode.name())?;
        if let Some(missing) = self.missing {
            write!(f, ", slot {missing} missing")?;
        }
        if let Some(fill) = self.fill {
            write!(f, ", slot {fill} filled")?;
        }
        let direction = if self.forwards { "up" } else { "down" };
        write!(f, ", {direction}, blocks of {}", self.block)?;
        if self.sparse { write!(f, ", sparse") } else { Ok(()) }
    }
}

const fn pair(level: Level, layouts: (u32, u32), disks: (u32, u32)) -> Pair {
    Pair { level, layouts, disks, fill: None }
}

/// Growths, shrinks, layouts; levels change by takeovers and layouts of RAID6 whose Q is on one member.
const PAIRS: [Pair; 25] = {
    use Level::{Raid4, Raid5, Raid6, Raid10};
    [
        pair(Raid5, (2, 2), (3, 4)),
        pair(Raid5, (2, 2), (4, 3)),
        pair(Raid5, (2, 2), (3, 5)),
        pair(Raid5, (2, 2), (5, 3)),
        pair(Raid5, (2, 2), (4, 4)),
        pair(Raid5, (2, 0), (4, 4)),
        pair(Raid5, (5, 2), (4, 4)),
        pair(Raid5, (1, 3), (3, 4)),
        pair(Raid5, (2, 5), (2, 3)),
        pair(Raid4, (0, 0), (3, 4)),
        pair(Raid4, (0, 0), (4, 3)),
        pair(Raid4, (0, 0), (4, 4)),
        pair(Raid6, (2, 2), (4, 5)),
        pair(Raid6, (2, 2), (5, 4)),
        pair(Raid6, (2, 2), (4, 6)),
        pair(Raid6, (2, 10), (5, 5)),
        pair(Raid6, (18, 2), (5, 5)),
        pair(Raid6, (2, 18), (5, 5)),
        Pair { fill: Some(4), ..pair(Raid6, (18, 2), (5, 5)) },
        Pair { fill: Some(3), ..pair(Raid6, (18, 2), (4, 5)) },
        pair(Raid6, (0, 3), (4, 4)),
        pair(Raid10, (0x102, 0x102), (4, 5)),
        pair(Raid10, (0x102, 0x102), (4, 4)),
        pair(Raid10, (0x102, 0x1_0201), (4, 4)),
        pair(Raid10, (0x1_0201, 0x1_0201), (4, 6)),
    ]
};

/// Chunks, before and after, in sectors.
const CHUNKS: [(u64, u64); 3] = [(8, 8), (8, 16), (16, 8)];

/// The first case that is there with sparse members as well, and how many from one to the next.
const SPARSE: (usize, usize) = (1, 7);

/// Every reshape of the matrix.
pub fn all() -> Vec<Case> {
    let mut cases = Vec::new();
    for pair in PAIRS {
        for chunks in CHUNKS {
            for (mode, forwards) in modes(&pair) {
                for missing in missing(&pair) {
                    let number = cases.len();
                    let case = Case {
                        number,
                        level: pair.level,
                        layouts: pair.layouts,
                        chunks,
                        disks: pair.disks,
                        fill: pair.fill,
                        missing,
                        mode,
                        forwards,
                        section: [Some(1), Some(2), None][(number + number / 4) % 3],
                        block: [4096, 512][number / 3 % 2],
                        sparse: false,
                    };
                    let changes = chunks.0 != chunks.1
                        || pair.layouts.0 != pair.layouts.1
                        || pair.disks.0 != pair.disks.1;
                    let possible = case.can_lose(&[]);
                    cases.extend((changes && possible).then_some(case));
                }
            }
        }
    }
    let sparse = cases.iter().skip(SPARSE.0).step_by(SPARSE.1).zip(cases.len()..);
    let sparse = sparse.map(|(case, number)| Case { number, sparse: true, ..case.clone() });
    let sparse: Vec<Case> = sparse.collect();
    cases.extend(sparse);
    cases.extend(without_parity(cases.len()));
    cases
}

/// A RAID0 that grows: a RAID4 whose parity is not there, before and after, and who comes fills the slot in which it
/// was not. From number `first` on.
fn without_parity(first: usize) -> Vec<Case> {
    let pair = Pair { fill: Some(2), ..pair(Level::Raid4, (0, 0), (3, 4)) };
    let mut cases = Vec::new();
    for chunks in CHUNKS {
        for (mode, forwards) in modes(&pair) {
            let number = first + cases.len();
            cases.push(Case {
                number,
                level: pair.level,
                layouts: pair.layouts,
                chunks,
                disks: pair.disks,
                fill: pair.fill,
                missing: Some(3),
                mode,
                forwards,
                section: Some(1),
                block: 4096,
                sparse: number % 2 == 1,
            });
        }
    }
    cases
}

/// Modes and directions that there are.
fn modes(pair: &Pair) -> Vec<(Mode, bool)> {
    use Mode::{BackupFile, BackupOnSpares, DataOffset};
    let (before, after) = pair.disks;
    match (pair.level, before.cmp(&after)) {
        (Level::Raid10, std::cmp::Ordering::Less) => vec![(DataOffset, true)],
        (Level::Raid10, _) => vec![(DataOffset, true), (DataOffset, false)],
        (_, std::cmp::Ordering::Less) => {
            // A member that is filled is no spare to keep a backup on.
            let spares = if pair.fill.is_none() { Some((BackupOnSpares, true)) } else { None };
            [(DataOffset, true), (BackupFile, true)].into_iter().chain(spares).collect()
        }
        (_, std::cmp::Ordering::Greater) => vec![(DataOffset, false), (BackupFile, false)],
        // Without a shift only the walk upwards can be told from the superblock's bits.
        (_, std::cmp::Ordering::Equal) => {
            vec![(DataOffset, true), (DataOffset, false), (BackupFile, true)]
        }
    }
}

/// Nobody, or one of those that were there before.
fn missing(pair: &Pair) -> Vec<Option<u32>> {
    let slot = if pair.fill == Some(0) { 1 } else { 0 };
    vec![None, Some(slot)]
}
