//! The door: every job is checked here once, before it is accepted. Behind it, regions are known
//! to fit their devices and arithmetic on them cannot overflow.

use crate::device::{Device, DeviceKind};
use crate::job::{Destination, Flags, Job, JobKind, MAX_BUFFERS, MAX_DESTINATIONS};
use crate::region::Extent;
use crate::split::{Cut, Direction};
use crate::units::PAGE_SIZE;

/// [`PAGE_SIZE`], in the type of a piece's length.
const PAGE: u32 = 4096;
const _: () = assert!(PAGE_SIZE == 4096);

/// One side of a job, for messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// Source with this index.
    Source(usize),
    /// Destination with this index.
    Destination(usize),
}

impl std::fmt::Display for Side {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Source(index) => write!(f, "source {index}"),
            Self::Destination(index) => write!(f, "destination {index}"),
        }
    }
}

/// Why a job was not accepted. Nothing was read or written, and its callback is not called.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SubmitError {
    /// The queue is full and waiting was not wanted, or not possible (inside a callback).
    #[error("the queue of jobs is full")]
    Busy,
    /// The client is closed.
    #[error("the client is closed")]
    Closed,
    /// A copy, zero or compare job needs a destination.
    #[error("the job has no destination")]
    NoDestination,
    /// More destinations than a job can have.
    #[error("{count} destinations are more than the {MAX_DESTINATIONS} that a job can have")]
    TooManyDestinations {
        /// How many there are.
        count: usize,
    },
    /// The kind of job does not go with its number of sources or buffers.
    #[error("a job of this kind cannot have {sources} sources and {buffers} buffers")]
    Shape {
        /// Number of sources.
        sources: usize,
        /// Number of buffers, sources and computed.
        buffers: usize,
    },
    /// A destination names a buffer that the job does not have.
    #[error("{side} is written from buffer {buffer}, which the job does not have")]
    NoSuchBuffer {
        /// Which destination.
        side: Side,
        /// The buffer it names.
        buffer: u16,
    },
    /// All sides of a job have the same length.
    #[error("{side} is {len} bytes long, the job is {expected}")]
    LengthMismatch {
        /// Which side.
        side: Side,
        /// Its length in bytes.
        len: u64,
        /// The length of the first side in bytes.
        expected: u64,
    },
    /// A region reaches beyond its device.
    #[error("{side} ends behind the end of {}, which has {size} bytes", device.path().display())]
    OutOfRange {
        /// Which side.
        side: Side,
        /// On which device.
        device: Device,
        /// The device's size in bytes.
        size: u64,
    },
    /// A source that cannot be read or a destination that cannot be written.
    #[error("{side}, {}, is not open for that", device.path().display())]
    Access {
        /// Which side.
        side: Side,
        /// The device.
        device: Device,
    },
    /// A region does not fit the alignment of a device that is used past the page cache only.
    #[error("{side} is not aligned to the {alignment} bytes of {}", device.path().display())]
    Misaligned {
        /// Which side.
        side: Side,
        /// The device.
        device: Device,
        /// Alignment in bytes.
        alignment: u32,
    },
    /// Source and destination overlap and the job said to refuse that.
    #[error("{side} overlaps the source")]
    Overlap {
        /// Which destination.
        side: Side,
    },
    /// Overlaps that ask for opposite directions, for a direction that sequential writes cannot
    /// take, or two destinations that share sectors.
    #[error("{side} overlaps another region of the job in a way no order of copying can serve")]
    ConflictingOverlap {
        /// Which destination.
        side: Side,
    },
    /// The job needs more pages at once than the pool has.
    #[error("a piece of this job needs {needed} pages, the pool has {pages}")]
    PoolTooSmall {
        /// Pages for the smallest piece.
        needed: u64,
        /// Pages in the pool.
        pages: u64,
    },
    /// More devices are in use at one time than the backend can know.
    #[error("too many devices are in use at one time")]
    TooManyDevices,
    /// The backend cannot use a device.
    #[error("the backend cannot use {}: {errno}", device.path().display())]
    Attach {
        /// The device.
        device: Device,
        /// Why.
        errno: crate::Errno,
    },
}

impl PartialEq for Device {
    fn eq(&self, other: &Self) -> bool {
        self.id() == other.id()
    }
}

impl Eq for Device {}

/// What the door knows of the client.
#[derive(Clone, Copy, Debug)]
pub(crate) struct House {
    pool_pages: u32,
    request_size: u32,
    /// The largest piece of a job with one buffer, whose granule is a page or less; `None` if the
    /// pool is too small for it.
    largest_plain: Option<u32>,
}

impl House {
    pub(crate) fn new(pool_pages: u32, request_size: u32) -> Self {
        let house = Self { pool_pages, request_size, largest_plain: None };
        Self { largest_plain: largest_piece(1, PAGE, house).ok(), ..house }
    }
}

/// What the door found out about a job.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Ticket {
    pub(crate) cut: Cut,
    /// Some source and destination overlap: writes wait for the reads before them.
    pub(crate) overlap: bool,
    /// Errors are cut down to blocks of this many bytes.
    pub(crate) block: u32,
    /// Buffers of one piece.
    pub(crate) buffers: u16,
}

/// Checks `job` for a client with `house`.
pub(crate) fn check(job: &Job, house: House) -> Result<Ticket, SubmitError> {
    match check_pair(job, house) {
        Some(ticket) => Ok(ticket),
        None => check_closely(job, house),
    }
}

/// The everyday job, a copy of one region to another, with nothing about it that needs a closer
/// look: a shorter way to what [`check_closely`] finds.
fn check_pair(job: &Job, house: House) -> Option<Ticket> {
    let ([from], [Destination { extent: to, .. }]) = (&job.sources[..], &job.destinations[..])
    else {
        return None;
    };
    let (source, target) = (from.device.facts(), to.device.facts());
    let granule = from.device.granule().max(to.device.granule()).max(512);
    if job.kind != JobKind::Copy
        || !is_in_order(from.len, from, source.readable)
        || !is_in_order(from.len, to, target.readable && target.writable)
        || granule > PAGE
        || to.overlaps(from)
    {
        return None;
    }
    let (len, base, direction) = (from.len, to.offset, Direction::Forward);
    let cut = Cut { len, base, granule, max: house.largest_plain?, direction };
    let block = granule.max(source.logical_block).max(target.logical_block);
    Some(Ticket { cut, overlap: false, block, buffers: 1 })
}

/// Kept apart, so that the shorter way stays short.
#[inline(never)]
fn check_closely(job: &Job, house: House) -> Result<Ticket, SubmitError> {
    let buffers = check_shape(job)?;
    let (sources, destinations) = (job.sources.as_slice(), job.destinations.as_slice());
    let reference = destinations.first().map(|to| &to.extent).or_else(|| sources.first());
    let len = sources.first().or(reference).map_or(0, |extent| extent.len);
    let (mut granule, mut block) = (512, 512);
    for (index, extent) in sources.iter().enumerate() {
        if !is_in_order(len, extent, extent.device.facts().readable) {
            check_extent(job, len, Side::Source(index), extent)?;
        }
        granule = granule.max(extent.device.granule());
        block = block.max(extent.device.facts().logical_block);
    }
    for (index, Destination { extent, .. }) in destinations.iter().enumerate() {
        let facts = extent.device.facts();
        if !is_in_order(len, extent, facts.readable && facts.writable) {
            check_extent(job, len, Side::Destination(index), extent)?;
        }
        granule = granule.max(extent.device.granule());
        block = block.max(facts.logical_block);
    }
    let direction = check_overlap(job)?;
    let cut = Cut {
        len,
        base: reference.map_or(0, |extent| extent.offset),
        granule,
        max: largest_piece(buffers, granule, house)?,
        direction: direction.unwrap_or(Direction::Forward),
    };
    let buffers = u16::try_from(buffers).unwrap_or(u16::MAX);
    Ok(Ticket { cut, overlap: direction.is_some(), block: block.max(granule), buffers })
}

/// The number of buffers a piece needs.
fn check_shape(job: &Job) -> Result<usize, SubmitError> {
    let (sources, destinations) = (job.sources.len(), job.destinations.len());
    if destinations > MAX_DESTINATIONS {
        return Err(SubmitError::TooManyDestinations { count: destinations });
    }
    if destinations == 0 && job.kind != JobKind::Stripe {
        return Err(SubmitError::NoDestination);
    }
    let (fits, buffers) = match job.kind {
        JobKind::Copy => (sources == 1, 1),
        JobKind::Zero => (sources == 0, 0),
        JobKind::Compare => (sources == 1, 1 + destinations),
        JobKind::Stripe => {
            let buffers = sources + usize::from(job.computed);
            ((1..=MAX_BUFFERS).contains(&buffers) && job.transform.is_some(), buffers)
        }
    };
    if !fits {
        return Err(SubmitError::Shape { sources, buffers });
    }
    if job.kind == JobKind::Stripe {
        for (index, destination) in job.destinations.iter().enumerate() {
            if usize::from(destination.buffer) >= buffers {
                let side = Side::Destination(index);
                return Err(SubmitError::NoSuchBuffer { side, buffer: destination.buffer });
            }
        }
    }
    Ok(buffers)
}

/// Whether nothing can be wrong with `extent`, which is so nearly always. It may be in order although
/// this says no: [`check_extent`] looks closely.
fn is_in_order(len: u64, extent: &Extent, allowed: bool) -> bool {
    let device = &extent.device;
    let aligned = (extent.offset | extent.len) & device.misaligned() == 0;
    let inside = extent.checked_end().is_some_and(|end| end <= device.size());
    extent.len == len && inside && allowed && aligned
}

#[cold]
fn check_extent(job: &Job, len: u64, side: Side, extent: &Extent) -> Result<(), SubmitError> {
    let (device, facts) = (&extent.device, extent.device.facts());
    if extent.len != len {
        let expected = len;
        return Err(SubmitError::LengthMismatch { side, len: extent.len, expected });
    }
    let writes = matches!(side, Side::Destination(_)) && job.kind != JobKind::Compare;
    // A flush alone (an empty destination) needs no right to write.
    if extent.len > 0 && !(if writes { facts.writable } else { facts.readable }) {
        return Err(SubmitError::Access { side, device: device.clone() });
    }
    // Zeroing keeps the size of a file; only data makes it grow.
    let grows = writes
        && facts.kind == DeviceKind::File
        && job.kind != JobKind::Zero
        && !job.flags.contains(Flags::SKIP_ZEROS);
    let limit = if grows { i64::MAX.unsigned_abs() } else { device.size() };
    let end = extent.checked_end();
    if end.is_none_or(|end| end > limit && end > refreshed(device, grows)) {
        let size = device.size();
        return Err(SubmitError::OutOfRange { side, device: device.clone(), size });
    }
    if let Some(alignment) = facts.direct_only()
        && !(extent.offset | extent.len).is_multiple_of(u64::from(alignment))
    {
        return Err(SubmitError::Misaligned { side, device: device.clone(), alignment });
    }
    Ok(())
}

/// The size that counts when the one last seen is too small: a file may have grown meanwhile.
fn refreshed(device: &Device, grows: bool) -> u64 {
    if grows || device.facts().kind != DeviceKind::File {
        return device.size();
    }
    device.refresh_size().unwrap_or_else(|_| device.size())
}

/// The direction that keeps every source intact until it is read, if anything overlaps.
fn check_overlap(job: &Job) -> Result<Option<Direction>, SubmitError> {
    if matches!(job.kind, JobKind::Zero | JobKind::Compare) {
        return Ok(None);
    }
    let mut direction = None;
    let (sources, destinations) = (job.sources.as_slice(), job.destinations.as_slice());
    for (index, to) in destinations.iter().enumerate() {
        let side = Side::Destination(index);
        for other in &destinations[..index] {
            if to.extent.overlaps(&other.extent) {
                return Err(SubmitError::ConflictingOverlap { side });
            }
        }
        for source in sources {
            if !to.extent.overlaps(source) {
                continue;
            }
            if job.flags.contains(Flags::REFUSE_OVERLAP) {
                return Err(SubmitError::Overlap { side });
            }
            let wanted = match to.extent.offset.cmp(&source.offset) {
                std::cmp::Ordering::Greater => Direction::Backward,
                std::cmp::Ordering::Less => Direction::Forward,
                // In place: every piece is read before it is written, any order serves.
                std::cmp::Ordering::Equal => continue,
            };
            if direction.is_some_and(|taken| taken != wanted) {
                return Err(SubmitError::ConflictingOverlap { side });
            }
            direction = Some(wanted);
        }
    }
    if direction == Some(Direction::Backward) && job.flags.contains(Flags::SEQUENTIAL) {
        return Err(SubmitError::ConflictingOverlap { side: Side::Destination(0) });
    }
    Ok(direction)
}

/// The largest piece in bytes: what was configured, unless the pool holds no two of them.
fn largest_piece(buffers: usize, granule: u32, house: House) -> Result<u32, SubmitError> {
    let page = PAGE;
    let count = u32::try_from(buffers.max(1)).unwrap_or(u32::MAX);
    let share = house.pool_pages / 2 / count * page;
    let unit = granule.max(page);
    let max = house.request_size.min(share.max(page)) / unit * unit;
    let max = max.max(unit);
    let needed = u64::from(max / page) * u64::from(count);
    if needed > u64::from(house.pool_pages) {
        let pages = u64::from(house.pool_pages);
        return Err(SubmitError::PoolTooSmall { needed, pages });
    }
    Ok(max)
}

#[cfg(all(test, feature = "null"))]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #![proptest_config(ProptestConfig {
            cases: if cfg!(miri) { 16 } else { 2000 },
            failure_persistence: None,
            ..ProptestConfig::default()
        })]

        /// What the shorter way lets in, the closer look lets in on the same terms.
        #[test]
        fn the_shorter_look_finds_what_the_closer_one_finds_for_all(
            (from, to) in (0..20u64, 0..20u64),
            (len, longer) in (0..20u64, 0..8u64),
            unit in prop_oneof![Just(1u64), Just(100), Just(512), Just(4096), Just(u64::MAX / 19)],
            (same, compare, refuse) in any::<(bool, bool, bool)>(),
            (pages, request) in (1..300u32, 1..300u32),
        ) {
            let source = Device::null("source", 16 * 4096);
            let target = if same { source.clone() } else { Device::null("target", 12 * 4096) };
            let region = |device, at: u64, len: u64| {
                Extent::new(device, at.saturating_mul(unit), len.saturating_mul(unit))
            };
            let source = region(&source, from, len);
            let mut job = if compare { Job::compare(source) } else { Job::copy(source) };
            job = job.to(region(&target, to, if longer == 0 { len + 1 } else { len }));
            if refuse {
                job = job.flags(Flags::REFUSE_OVERLAP);
            }
            let house = House::new(pages, request * PAGE);
            if let Some(ticket) = check_pair(&job, house) {
                prop_assert_eq!(check_closely(&job, house), Ok(ticket));
            }
        }
    }

    #[test]
    fn an_everyday_copy_takes_the_shorter_way() {
        let (source, target) = (Device::null("source", 8192), Device::null("target", 8192));
        let job = Job::copy(Extent::new(&source, 0, 4096)).to(Extent::new(&target, 4096, 4096));
        assert!(check_pair(&job, House::new(64, 1 << 20)).is_some());
    }
}
