//! A run as plain data: disks, jobs, limits, faults. Printed when something is wrong, so that the
//! run can be understood without the seed.

use std::sync::Arc;

use kcopy::backend::sim::{Content, DiskOptions, Fault, Rng, Schedule, SimDisk, SimWorld};
use kcopy::{Errno, Extent, Flags, Job, JobKind, OnError, PieceBuffers, Priority, Transform};

/// How well a disk can zero without data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Zeroing {
    /// Both ways.
    Full,
    /// Only by punching holes.
    HolesOnly,
    /// Not at all.
    None,
}

/// A disk of a scenario.
#[derive(Clone, Debug)]
pub struct DiskPlan {
    /// Size in bytes.
    pub size: u64,
    /// Logical block in bytes.
    pub block: u32,
    /// Used through the page cache, with short transfers of any length.
    pub cached: bool,
    /// Zeroing without data.
    pub zeroing: Zeroing,
    /// Completed writes are durable at once.
    pub write_through: bool,
    /// What it holds: the seed of a pattern, or zeros.
    pub pattern: Option<u64>,
    /// Pages of 4 KiB of the pattern that are zeros instead, one bit a page, repeated.
    pub zero_pages: u64,
}

impl DiskPlan {
    /// A disk of `size` bytes full of pattern `seed`.
    pub fn new(size: u64, seed: u64) -> Self {
        Self {
            size,
            block: 512,
            cached: false,
            zeroing: Zeroing::Full,
            write_through: false,
            pattern: Some(seed),
            zero_pages: 0,
        }
    }

    fn options(&self) -> DiskOptions {
        let content = self.pattern.map_or(Content::Zeros, Content::Pattern);
        let mut options = DiskOptions::new(self.size).blocks(self.block, 4096).content(content);
        if self.cached {
            options = options.file(self.size);
        }
        if self.write_through {
            options = options.write_through();
        }
        match self.zeroing {
            Zeroing::Full => options,
            Zeroing::HolesOnly => options.without_zero_range(),
            Zeroing::None => options.without_zeroing(),
        }
    }
}

/// A place on a disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// Index of the disk.
    pub disk: usize,
    /// First byte.
    pub offset: u64,
}

/// What a job computes between reading and writing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Work {
    /// Nothing.
    None,
    /// One more buffer: the exclusive-or of all sources.
    Xor,
    /// Refuses the piece that holds this byte of the job.
    RefuseAt(u64),
}

/// A job of a scenario.
#[derive(Clone, Debug)]
pub struct JobPlan {
    /// Its kind.
    pub kind: JobKind,
    /// Its length in bytes.
    pub len: u64,
    /// Where from.
    pub sources: Vec<Place>,
    /// Where to, and from which buffer.
    pub destinations: Vec<(Place, u16)>,
    /// How.
    pub flags: Flags,
    /// What to do about errors.
    pub on_error: OnError,
    /// Its class.
    pub priority: Priority,
    /// What is computed.
    pub work: Work,
    /// The turn after which it is cancelled.
    pub cancel_at: Option<u64>,
}

impl JobPlan {
    /// A plain copy.
    pub fn copy(len: u64, source: Place, destinations: &[Place]) -> Self {
        Self {
            kind: JobKind::Copy,
            len,
            sources: vec![source],
            destinations: destinations.iter().map(|place| (*place, 0)).collect(),
            flags: Flags::empty(),
            on_error: OnError::Stop,
            priority: Priority::Normal,
            work: Work::None,
            cancel_at: None,
        }
    }

    /// Whether a destination overlaps a source.
    pub fn overlaps(&self) -> bool {
        let near = |a: &Place, b: &Place| {
            a.disk == b.disk && a.offset < b.offset + self.len && b.offset < a.offset + self.len
        };
        self.sources.iter().any(|s| self.destinations.iter().any(|(d, _)| near(s, d)))
    }

    /// The job itself, on the disks of a world.
    pub fn job(&self, disks: &[SimDisk]) -> Job {
        let extent =
            |place: &Place| Extent::new(&disks[place.disk].device(), place.offset, self.len);
        let first = self.sources.first().map(extent);
        let mut job = match (self.kind, first) {
            (JobKind::Copy, Some(source)) => Job::copy(source),
            (JobKind::Compare, Some(source)) => Job::compare(source),
            (JobKind::Zero, _) => Job::zero(),
            (JobKind::Stripe | JobKind::Copy | JobKind::Compare, _) => {
                let computed = u16::from(self.work == Work::Xor);
                let job = Job::stripe(computed, Arc::new(self.work));
                self.sources.iter().fold(job, |job, place| job.from(extent(place)))
            }
        };
        for (place, buffer) in &self.destinations {
            job = job.to_from(extent(place), *buffer);
        }
        if self.kind == JobKind::Copy && self.work != Work::None {
            job = job.observe(Arc::new(self.work));
        }
        job.flags(self.flags).on_error(self.on_error).priority(self.priority)
    }
}

impl Transform for Work {
    fn apply(&self, mut piece: PieceBuffers<'_>) -> Result<(), Errno> {
        match self {
            Self::None => Ok(()),
            Self::RefuseAt(at) => {
                let len = piece.sources.first().map_or(0, |bytes| bytes.len() as u64);
                let refused = (piece.offset..piece.offset + len).contains(at);
                if refused { Err(Errno::new(74)) } else { Ok(()) }
            }
            Self::Xor => {
                let parity = &mut piece.computed[0];
                parity.fill(0);
                for source in &piece.sources {
                    parity.iter_mut().zip(source.iter()).for_each(|(p, s)| *p ^= s);
                }
                Ok(())
            }
        }
    }
}

/// A whole run.
#[derive(Clone, Debug)]
pub struct Scenario {
    /// Seed of the world.
    pub seed: u64,
    /// The disks.
    pub disks: Vec<DiskPlan>,
    /// The jobs, in the order in which they are submitted. Ranges that one of them writes are not
    /// used by another.
    pub jobs: Vec<JobPlan>,
    /// Pages of the pool.
    pub pool_pages: u32,
    /// Largest operation in bytes.
    pub request_size: u32,
    /// Pieces at a time.
    pub requests: usize,
    /// Jobs at a time.
    pub queue: usize,
    /// Operations at a time.
    pub depth: usize,
    /// Bytes per second.
    pub rate: Option<u64>,
    /// How completions are picked.
    pub schedule: Schedule,
    /// What goes wrong.
    pub faults: Vec<Fault>,
    /// The turn before which the backend breaks, as a whole and for good.
    pub break_at: Option<u64>,
}

impl Scenario {
    /// A quiet run of `jobs`.
    pub fn new(seed: u64, disks: Vec<DiskPlan>, jobs: Vec<JobPlan>) -> Self {
        Self {
            seed,
            disks,
            jobs,
            pool_pages: 16,
            request_size: 8192,
            requests: 16,
            queue: 64,
            depth: 16,
            rate: None,
            schedule: Schedule::Random,
            faults: Vec::new(),
            break_at: None,
        }
    }

    /// The world of this run, faults included.
    pub fn world(&self) -> (SimWorld, Vec<SimDisk>) {
        let world = SimWorld::new(self.seed);
        world.set_schedule(self.schedule.clone());
        let disks: Vec<SimDisk> = self
            .disks
            .iter()
            .map(|plan| {
                let disk = world.add_disk(plan.options());
                plant_zeros(plan, &disk);
                disk
            })
            .collect();
        self.faults.iter().for_each(|fault| world.inject(fault.clone()));
        (world, disks)
    }
}

fn plant_zeros(plan: &DiskPlan, disk: &SimDisk) {
    if plan.zero_pages == 0 {
        return;
    }
    for page in 0..plan.size / 4096 {
        if plan.zero_pages >> (page % 64) & 1 == 1 {
            disk.write(page * 4096, &[0; 4096]);
        }
    }
}

/// Hands out ranges of disks that do not overlap.
#[derive(Clone, Debug)]
pub struct Allocator {
    next: Vec<u64>,
    sizes: Vec<u64>,
}

impl Allocator {
    /// All of `disks`.
    pub fn new(disks: &[DiskPlan]) -> Self {
        Self { next: vec![0; disks.len()], sizes: disks.iter().map(|disk| disk.size).collect() }
    }

    /// `len` bytes of `disk`, behind a gap of `gap` bytes; `None` if it is full.
    pub fn take(&mut self, disk: usize, len: u64, gap: u64) -> Option<Place> {
        let offset = self.next[disk] + gap;
        let end = offset.checked_add(len).filter(|end| *end <= self.sizes[disk])?;
        self.next[disk] = end;
        Some(Place { disk, offset })
    }

    /// A disk at random.
    pub fn any_disk(&self, rng: &mut Rng) -> usize {
        rng.index(self.sizes.len())
    }
}
