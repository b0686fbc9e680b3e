//! A geometry: level, layout, chunk, members and sizes that go together, and the map they make.

use smallvec::{SmallVec, smallvec};

use kcopy::Sectors;

use super::Level;
use super::layout::{Layout, Raid0Layout, UnknownLayout};
use super::raid10::Mirrors;
use super::stripe::{Part, Stripes};
use super::zones::{Zone, zones};
use crate::units::{ArraySector, MemberSector, Slot};

/// The most members that a superblock 1.x has roles for.
pub const MAX_DISKS: u32 = 1920;

/// What a geometry is made from: the fields of a superblock.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shape<'a> {
    /// `level`.
    pub level: Level,
    /// `layout`.
    pub layout: Layout,
    /// `chunksize`; for linear the rounding of each member's size, which may be 0.
    pub chunk: Sectors,
    /// `raid_disks`.
    pub raid_disks: u32,
    /// `size`: what is used of each member. Not looked at for linear and RAID0.
    pub component: Sectors,
    /// Linear and RAID0: the `data_size` of each member, by slot. Not looked at otherwise.
    pub member_sizes: &'a [Sectors],
}

/// Level, layout, chunk, members and sizes that do not go together.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BadShape {
    /// Too few or too many members.
    #[error("{level} with {layout} cannot have {disks} members: it takes {least} to {most}")]
    Disks {
        /// The level.
        level: Level,
        /// The layout's name.
        layout: Layout,
        /// Members asked for.
        disks: u32,
        /// The fewest.
        least: u32,
        /// The most.
        most: u32,
    },
    /// A chunk that this level cannot have.
    #[error("{level} cannot have chunks of {chunk}: {rule}")]
    Chunk {
        /// The level.
        level: Level,
        /// The chunk.
        chunk: Sectors,
        /// What a chunk has to be.
        rule: &'static str,
    },
    /// The layout is one of another level.
    #[error(transparent)]
    Layout(#[from] UnknownLayout),
    /// More copies than members, or a layout that makes no sense for so many.
    #[error("RAID10 cannot keep {copies} copies on {disks} members")]
    Copies {
        /// Copies of each chunk.
        copies: u32,
        /// Members.
        disks: u32,
    },
    /// Two chunks in one place.
    #[error("RAID10 with {layout} puts different chunks into one place on {disks} members")]
    Collision {
        /// The layout.
        layout: Layout,
        /// Members.
        disks: u32,
    },
    /// The members hold no whole chunk.
    #[error("the members are too small: {component} each, less than one chunk of {chunk}")]
    TooSmall {
        /// What is used of each member, or the largest member.
        component: Sectors,
        /// The chunk.
        chunk: Sectors,
    },
    /// Beyond 2^63 bytes or so.
    #[error("the array would be too large")]
    TooLarge,
    /// Not one size for each member.
    #[error("{given} member sizes were given for {disks} members")]
    Sizes {
        /// Sizes given.
        given: usize,
        /// Members.
        disks: u32,
    },
}

/// See the module.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Geometry {
    level: Level,
    layout: Layout,
    chunk: u64,
    disks: u32,
    /// Sectors used of each member (the largest, for linear and RAID0).
    component: u64,
    sectors: u64,
    kind: Kind,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Kind {
    /// Where each member begins in the array; one more at the end.
    Linear(Vec<u64>),
    Zones(Raid0Layout, Vec<Zone>),
    Mirror,
    Parity(Stripes),
    Copies(Mirrors),
}

/// A place on a member.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Place {
    /// Which member.
    pub slot: Slot,
    /// Where on it.
    pub sector: MemberSector,
}

/// Where an array sector is, and how far it goes on like that.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct At {
    /// Every copy; the first is the usual one to read.
    pub places: SmallVec<[Place; 4]>,
    /// Sectors, at least 1, that follow each other on the same members from here on.
    pub run: Sectors,
    /// RAID4/5/6: the stripe.
    pub stripe: Option<u64>,
}

/// What is at a place on a member.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum On {
    /// A sector of the array.
    Data(ArraySector),
    /// P of a stripe.
    P {
        /// The stripe's number.
        stripe: u64,
    },
    /// Q of a stripe.
    Q {
        /// The stripe's number.
        stripe: u64,
    },
    /// Nothing of the array.
    Unused,
}

impl Geometry {
    /// The geometry of `shape`.
    ///
    /// # Errors
    ///
    /// What does not go together.
    pub fn new(shape: &Shape<'_>) -> Result<Self, BadShape> {
        check_disks(shape)?;
        check_chunk(shape)?;
        let chunk = shape.chunk.get();
        let (component, sectors, kind) = match shape.level {
            Level::Linear => linear(shape)?,
            Level::Raid0 => raid0(shape)?,
            Level::Raid1 => (shape.component.get(), shape.component.get(), Kind::Mirror),
            Level::Raid4 | Level::Raid5 | Level::Raid6 => parity(shape)?,
            Level::Raid10 => raid10(shape)?,
        };
        if sectors == 0 {
            let component = Sectors::new(component.max(shape.component.get()));
            return Err(BadShape::TooSmall { component, chunk: shape.chunk });
        }
        // Bytes have to fit into a signed offset, on the members as well.
        if sectors.max(component) > i64::MAX.unsigned_abs() / 512 {
            return Err(BadShape::TooLarge);
        }
        let (level, layout, disks) = (shape.level, shape.layout, shape.raid_disks);
        Ok(Self { level, layout, chunk, disks, component, sectors, kind })
    }

    /// The level.
    pub fn level(&self) -> Level {
        self.level
    }

    /// The layout.
    pub fn layout(&self) -> Layout {
        self.layout
    }

    /// The chunk; 0 for RAID1 and for linear without rounding.
    pub fn chunk(&self) -> Sectors {
        Sectors::new(self.chunk)
    }

    /// Members (`raid_disks`).
    pub fn raid_disks(&self) -> u32 {
        self.disks
    }

    /// What is used of each member, whole chunks; of the largest one for linear and RAID0.
    pub fn component(&self) -> Sectors {
        Sectors::new(self.component)
    }

    /// The size of the array.
    pub fn sectors(&self) -> Sectors {
        Sectors::new(self.sectors)
    }

    /// Members of a stripe that hold data; `None` where data does not lie in stripes: linear, RAID1
    /// and RAID10.
    pub fn data_disks(&self) -> Option<u32> {
        match &self.kind {
            Kind::Zones(..) => Some(self.disks),
            Kind::Parity(stripes) => Some(stripes.data_disks()),
            Kind::Linear(_) | Kind::Mirror | Kind::Copies(_) => None,
        }
    }

    /// RAID4/5/6: the stripes.
    pub fn stripes(&self) -> Option<&Stripes> {
        match &self.kind {
            Kind::Parity(stripes) => Some(stripes),
            Kind::Linear(_) | Kind::Zones(..) | Kind::Mirror | Kind::Copies(_) => None,
        }
    }

    /// RAID10: the copies.
    pub fn mirrors(&self) -> Option<&Mirrors> {
        match &self.kind {
            Kind::Copies(mirrors) => Some(mirrors),
            Kind::Linear(_) | Kind::Zones(..) | Kind::Mirror | Kind::Parity(_) => None,
        }
    }

    /// RAID0: the zones; empty for the other levels.
    pub fn zones(&self) -> &[Zone] {
        match &self.kind {
            Kind::Zones(_, zones) => zones,
            Kind::Linear(_) | Kind::Mirror | Kind::Parity(_) | Kind::Copies(_) => &[],
        }
    }

    /// Where array sector `sector` is; `None` behind the end.
    pub fn at(&self, sector: ArraySector) -> Option<At> {
        let sector = sector.get();
        if sector >= self.sectors {
            return None;
        }
        let one = |slot: u32, at: u64| smallvec![place(slot, at)];
        let in_chunk = sector.checked_rem(self.chunk).unwrap_or(0);
        let chunk_left = self.chunk - in_chunk;
        Some(match &self.kind {
            Kind::Linear(starts) => {
                let member = starts.partition_point(|start| *start <= sector) - 1;
                let slot = u32::try_from(member).unwrap_or(u32::MAX);
                let run = Sectors::new(starts[member + 1] - sector);
                At { places: one(slot, sector - starts[member]), run, stripe: None }
            }
            Kind::Zones(layout, zones) => {
                let zone = &zones[zones.partition_point(|zone| zone.end <= sector)];
                let (slot, at) = zone.at(sector, self.chunk, *layout);
                At { places: one(slot, at), run: Sectors::new(chunk_left), stripe: None }
            }
            Kind::Mirror => {
                let places = (0..self.disks).map(|slot| place(slot, sector)).collect();
                At { places, run: Sectors::new(self.sectors - sector), stripe: None }
            }
            Kind::Parity(stripes) => {
                let (number, data) = (sector / self.chunk, u64::from(stripes.data_disks()));
                let stripe = number / data;
                let block = u32::try_from(number % data).unwrap_or(0);
                let slot = stripes.data(stripe, block).get();
                let places = one(slot, stripe * self.chunk + in_chunk);
                At { places, run: Sectors::new(chunk_left), stripe: Some(stripe) }
            }
            Kind::Copies(mirrors) => {
                let copies = mirrors.copies(sector / self.chunk);
                let at = |row: u64| row * self.chunk + in_chunk;
                let places = copies.iter().map(|copy| place(copy.slot, at(copy.row))).collect();
                At { places, run: Sectors::new(chunk_left), stripe: None }
            }
        })
    }

    /// What is at member sector `sector` of `slot`.
    pub fn on(&self, slot: Slot, sector: MemberSector) -> On {
        match self.data_on(slot.get(), sector.get()) {
            // The last chunks of a RAID0 can be out of sight.
            Some(On::Data(array)) if array.get() >= self.sectors => On::Unused,
            Some(on) => on,
            None => On::Unused,
        }
    }

    /// What is at member sector `sector` of `slot`, and for how many sectors, at least 1, that goes
    /// on: data with array sectors that follow each other; parity to the end of its chunk.
    pub fn on_run(&self, slot: Slot, sector: MemberSector) -> (On, Sectors) {
        let (on, at) = (self.on(slot, sector), sector.get());
        let end = match &self.kind {
            Kind::Linear(starts) => usize::try_from(slot.get()).ok().and_then(|member| {
                starts.get(member + 1).zip(starts.get(member)).map(|(end, start)| end - start)
            }),
            Kind::Mirror => Some(self.sectors),
            Kind::Zones(..) | Kind::Parity(_) | Kind::Copies(_) => {
                (at - at % self.chunk).checked_add(self.chunk)
            }
        };
        // Behind the end of a member nothing follows.
        let left = end.and_then(|end| end.checked_sub(at)).filter(|&left| left > 0);
        (on, Sectors::new(left.unwrap_or(u64::MAX - at).max(1)))
    }

    /// How many separate parts of a member a range of the array can lie in.
    pub(super) fn parts(&self) -> usize {
        match &self.kind {
            Kind::Linear(_) | Kind::Mirror | Kind::Parity(_) => 1,
            Kind::Zones(_, zones) => zones.len(),
            Kind::Copies(mirrors) => mirrors.parts(),
        }
    }

    /// Where on a member part number `part` of a range of the array can lie: its first sector, and
    /// the one behind its last. The range is not empty and lies in the array.
    pub(super) fn window(&self, (from, end): (u64, u64), slot: Slot, part: usize) -> (u64, u64) {
        // Whole rows of `width` chunks in the array, of one chunk on the member.
        let rows = |from: u64, end: u64, width: u64| {
            let row = self.chunk * width;
            (from / row * self.chunk, end.div_ceil(row) * self.chunk)
        };
        match &self.kind {
            Kind::Linear(starts) => {
                let member = usize::try_from(slot.get()).unwrap_or(usize::MAX);
                let start = starts.get(member).copied().unwrap_or(self.sectors);
                (from.saturating_sub(start), end.saturating_sub(start))
            }
            Kind::Zones(_, zones) => match zones.get(part) {
                Some(zone) if zone.slots.contains(&slot.get()) => {
                    let (from, end) = (from.max(zone.start), end.min(zone.end));
                    let width = u64::try_from(zone.slots.len()).unwrap_or(u64::MAX);
                    if from >= end {
                        return (0, 0);
                    }
                    let (first, behind) = rows(from - zone.start, end - zone.start, width);
                    (zone.member_start + first, zone.member_start + behind)
                }
                Some(_) | None => (0, 0),
            },
            Kind::Mirror => (from, end),
            Kind::Parity(stripes) => rows(from, end, u64::from(stripes.data_disks())),
            Kind::Copies(mirrors) => {
                let (first, behind) =
                    mirrors.rows(from / self.chunk, end.div_ceil(self.chunk), part);
                (first * self.chunk, behind * self.chunk)
            }
        }
    }

    fn data_on(&self, slot: u32, sector: u64) -> Option<On> {
        if slot >= self.disks {
            return None;
        }
        let data = |sector: u64| On::Data(ArraySector::new(sector));
        match &self.kind {
            Kind::Linear(starts) => {
                let member = usize::try_from(slot).ok()?;
                let at = starts.get(member)?.checked_add(sector)?;
                (at < *starts.get(member + 1)?).then(|| data(at))
            }
            Kind::Zones(layout, zones) => {
                // The last zone that begins before; the last of all ends with the largest member.
                let behind = zones.partition_point(|zone| zone.member_start <= sector);
                let zone = zones.get(behind.checked_sub(1)?).filter(|_| sector < self.component)?;
                zone.sector_at(slot, sector, self.chunk, *layout).map(data)
            }
            Kind::Mirror => (sector < self.sectors).then(|| data(sector)),
            Kind::Parity(stripes) => {
                if sector >= self.component {
                    return None;
                }
                let stripe = sector / self.chunk;
                Some(match stripes.part(stripe, Slot::new(slot)) {
                    Part::P => On::P { stripe },
                    Part::Q => On::Q { stripe },
                    Part::Data { block, .. } => {
                        let width = u64::from(stripes.data_disks());
                        data((stripe * width + u64::from(block)) * self.chunk + sector % self.chunk)
                    }
                })
            }
            Kind::Copies(mirrors) => {
                let chunk = mirrors.chunk_at(slot, sector / self.chunk)?;
                Some(data(chunk * self.chunk + sector % self.chunk))
            }
        }
    }

    /// How many members can be missing, whichever they are, with everything still there to be read
    /// or computed.
    pub fn tolerance(&self) -> u32 {
        match &self.kind {
            Kind::Linear(_) | Kind::Zones(..) => 0,
            Kind::Mirror => self.disks.saturating_sub(1),
            Kind::Parity(stripes) => stripes.parity_disks(),
            Kind::Copies(mirrors) => mirrors.tolerance(),
        }
    }

    /// Whether every sector can be read or computed from the members for which `present` holds.
    pub fn enough(&self, present: impl Fn(Slot) -> bool) -> bool {
        let missing = || (0..self.disks).filter(|slot| !present(Slot::new(*slot))).count();
        match &self.kind {
            Kind::Linear(_) | Kind::Zones(..) => missing() == 0,
            Kind::Mirror => (0..self.disks).any(|slot| present(Slot::new(slot))),
            Kind::Parity(stripes) => {
                missing() <= usize::try_from(stripes.parity_disks()).unwrap_or(0)
            }
            Kind::Copies(mirrors) => mirrors.enough(|slot| present(Slot::new(slot))),
        }
    }
}

fn place(slot: u32, sector: u64) -> Place {
    Place { slot: Slot::new(slot), sector: MemberSector::new(sector) }
}

fn check_disks(shape: &Shape<'_>) -> Result<(), BadShape> {
    let (level, disks) = (shape.level, shape.raid_disks);
    let (least, most) = match level {
        Level::Linear | Level::Raid0 | Level::Raid1 => (1, MAX_DISKS),
        Level::Raid4 | Level::Raid5 => (2, MAX_DISKS),
        // A byte has 255 powers of 2, and Q is 255 members wide at most.
        Level::Raid6 => (4, 255),
        Level::Raid10 => (2, MAX_DISKS),
    };
    if (least..=most).contains(&disks) {
        return Ok(());
    }
    Err(BadShape::Disks { level, layout: shape.layout, disks, least, most })
}

/// Chunks of levels whose stripes the kernel cuts into pages are powers of two.
fn check_chunk(shape: &Shape<'_>) -> Result<(), BadShape> {
    let (level, chunk) = (shape.level, shape.chunk);
    let rule = match level {
        Level::Linear | Level::Raid1 => return Ok(()),
        Level::Raid0 if chunk.get() > 0 && chunk.get().is_multiple_of(8) => return Ok(()),
        Level::Raid0 => "it has to be a multiple of 4 KiB",
        Level::Raid4 | Level::Raid5 | Level::Raid6 | Level::Raid10 => {
            if chunk.get() >= 8 && chunk.get().is_power_of_two() {
                return Ok(());
            }
            "it has to be a power of two, 4 KiB or more"
        }
    };
    Err(BadShape::Chunk { level, chunk, rule })
}

fn sizes<'a>(shape: &'a Shape<'_>) -> Result<&'a [Sectors], BadShape> {
    let (given, disks) = (shape.member_sizes.len(), shape.raid_disks);
    if u32::try_from(given) == Ok(disks) {
        Ok(shape.member_sizes)
    } else {
        Err(BadShape::Sizes { given, disks })
    }
}

/// The whole chunks of `size`; all of it if there is no chunk.
fn whole(size: u64, chunk: u64) -> u64 {
    size - size.checked_rem(chunk).unwrap_or(0)
}

fn linear(shape: &Shape<'_>) -> Result<(u64, u64, Kind), BadShape> {
    let (mut starts, mut end, mut largest) = (vec![0], 0_u64, 0);
    for size in sizes(shape)? {
        let size = whole(size.get(), shape.chunk.get());
        end = end.checked_add(size).ok_or(BadShape::TooLarge)?;
        largest = size.max(largest);
        starts.push(end);
    }
    Ok((largest, end, Kind::Linear(starts)))
}

fn raid0(shape: &Shape<'_>) -> Result<(u64, u64, Kind), BadShape> {
    let chunk = shape.chunk.get();
    let sizes: Vec<u64> = sizes(shape)?.iter().map(|size| whole(size.get(), chunk)).collect();
    let layout = match shape.layout {
        Layout::Raid0(layout) => layout,
        // mdadm leaves the field alone where it means nothing.
        Layout::None => Raid0Layout::Unspecified,
        Layout::Raid5(_) | Layout::Raid6(_) | Layout::Raid10(_) => return Err(foreign(shape)),
    };
    let zones = zones(&sizes).ok_or(BadShape::TooLarge)?;
    let end = visible(&sizes, chunk).ok_or(BadShape::TooLarge)?;
    let largest = sizes.iter().copied().max().unwrap_or(0);
    Ok((largest, end, Kind::Zones(layout, zones)))
}

/// The size of a RAID0 array as the kernel shows it. It rounds each member as if the chunk were a
/// power of two, after it was rounded to whole chunks; of other chunks the end of the last zone
/// stays out of sight.
fn visible(sizes: &[u64], chunk: u64) -> Option<u64> {
    sizes.iter().try_fold(0_u64, |sum, size| sum.checked_add(size & !(chunk - 1)))
}

fn parity(shape: &Shape<'_>) -> Result<(u64, u64, Kind), BadShape> {
    let own = match shape.layout {
        Layout::None => shape.level == Level::Raid4,
        Layout::Raid5(_) => shape.level == Level::Raid5,
        Layout::Raid6(_) => shape.level == Level::Raid6,
        Layout::Raid0(_) | Layout::Raid10(_) => false,
    };
    let stripes = Stripes::new(shape.layout, shape.raid_disks).filter(|_| own);
    let stripes = stripes.ok_or_else(|| foreign(shape))?;
    let component = whole(shape.component.get(), shape.chunk.get());
    let data = u64::from(stripes.data_disks());
    let sectors = component.checked_mul(data).ok_or(BadShape::TooLarge)?;
    Ok((component, sectors, Kind::Parity(stripes)))
}

fn raid10(shape: &Shape<'_>) -> Result<(u64, u64, Kind), BadShape> {
    let Layout::Raid10(layout) = shape.layout else { return Err(foreign(shape)) };
    let (copies, disks) = (layout.copies(), shape.raid_disks);
    if copies < 2 || copies > disks {
        return Err(BadShape::Copies { copies, disks });
    }
    let rows = shape.component.get() / shape.chunk.get();
    let mirrors = Mirrors::new(layout, disks, rows);
    if !mirrors.is_sound() {
        return Err(BadShape::Collision { layout: shape.layout, disks });
    }
    let sectors = mirrors.chunks().checked_mul(shape.chunk.get()).ok_or(BadShape::TooLarge)?;
    Ok((rows * shape.chunk.get(), sectors, Kind::Copies(mirrors)))
}

fn foreign(shape: &Shape<'_>) -> BadShape {
    UnknownLayout { level: shape.level, layout: shape.layout.to_string() }.into()
}
