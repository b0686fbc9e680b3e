//! The reference pipeline: what an io_uring copier can reach when it does nothing but copy.
//!
//! One ring, `depth` blocks in flight, each read once and written to every destination from the
//! same memory. No error recovery: anything unexpected ends the run. It is the mark to measure
//! against, not a product; it shares no code with the library.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use crate::ring::{Place, Ring, Way};

/// A block to copy: where from, where to, how long.
#[derive(Clone, Copy, Debug)]
pub struct Block {
    /// First byte at the source.
    pub from: u64,
    /// First byte at each destination.
    pub to: u64,
    /// Number of bytes.
    pub len: u32,
}

/// What to copy.
#[derive(Debug)]
pub struct Plan {
    /// `None`: zeros.
    pub source: Option<PathBuf>,
    /// Where to.
    pub destinations: Vec<PathBuf>,
    /// Bytes of the largest block.
    pub block: u32,
    /// Blocks in flight.
    pub depth: u16,
}

/// Opens past the page cache.
///
/// # Errors
///
/// What the system says.
pub fn open_direct(path: &Path, write: bool) -> io::Result<File> {
    OpenOptions::new().read(!write).write(write).custom_flags(libc::O_DIRECT).open(path)
}

/// The blocks of `size` bytes from the start on.
pub fn in_order(size: u64, block: u32) -> impl ExactSizeIterator<Item = Block> {
    let blocks = usize::try_from(size.div_ceil(u64::from(block))).expect("64-bit machine");
    (0..blocks).map(move |index| {
        let at = index as u64 * u64::from(block);
        let len = u32::try_from((size - at).min(u64::from(block))).expect("at most a block");
        Block { from: at, to: at, len }
    })
}

/// A block in flight: what it is, and how many writes are still to end.
#[derive(Clone, Copy, Debug)]
struct Flight {
    block: Block,
    writes: u32,
}

struct Pipeline<I> {
    ring: Ring,
    blocks: I,
    flights: Vec<Flight>,
    source: bool,
    destinations: u32,
}

/// Runs the plan over `blocks`, and makes the destinations durable. Returns the bytes copied.
///
/// # Errors
///
/// The first thing that goes wrong.
pub fn run(plan: &Plan, blocks: impl Iterator<Item = Block>) -> io::Result<u64> {
    let mut files = Vec::new();
    if let Some(source) = &plan.source {
        files.push(open_direct(source, false)?);
    }
    for destination in &plan.destinations {
        files.push(open_direct(destination, true)?);
    }
    let destinations = u32::try_from(plan.destinations.len()).expect("few");
    let depth = u32::from(plan.depth) * destinations;
    let ring = Ring::new(depth, usize::from(plan.depth), plan.block as usize, files)?;
    let none = Flight { block: Block { from: 0, to: 0, len: 0 }, writes: 0 };
    let flights = vec![none; usize::from(plan.depth)];
    let source = plan.source.is_some();
    let mut pipeline = Pipeline { ring, blocks, flights, source, destinations };
    let bytes = pipeline.run(plan.depth)?;
    for file in &pipeline.ring.files()[usize::from(source)..] {
        file.sync_data()?;
    }
    Ok(bytes)
}

impl<I: Iterator<Item = Block>> Pipeline<I> {
    fn run(&mut self, depth: u16) -> io::Result<u64> {
        let (mut bytes, mut ended) = (0, Vec::new());
        (0..depth).for_each(|slot| self.start(slot));
        while self.ring.in_flight() > 0 {
            self.ring.submit_and_wait(1)?;
            self.ring.reap(|user_data, result| ended.push((user_data, result)));
            for (user_data, result) in ended.drain(..) {
                bytes += self.end(user_data, result)?;
            }
        }
        Ok(bytes)
    }

    /// User data: the slot, shifted; the last bit says whether it was a write.
    fn end(&mut self, user_data: u64, result: i32) -> io::Result<u64> {
        let slot = u16::try_from(user_data >> 1).expect("a slot of ours");
        let flight = &mut self.flights[usize::from(slot)];
        let len = flight.block.len;
        match u32::try_from(result) {
            Ok(done) if done == len => {}
            Ok(done) => return Err(io::Error::other(format!("{done} of {len} bytes"))),
            Err(_) => return Err(io::Error::from_raw_os_error(-result)),
        }
        if user_data & 1 == 0 {
            self.write(slot);
            return Ok(0);
        }
        flight.writes -= 1;
        if flight.writes > 0 {
            return Ok(0);
        }
        self.start(slot);
        Ok(u64::from(len))
    }

    fn start(&mut self, slot: u16) {
        let Some(block) = self.blocks.next() else { return };
        self.flights[usize::from(slot)].block = block;
        if self.source {
            let place = Place { file: 0, offset: block.from, len: block.len };
            self.ring.transfer(Way::Read, slot, place, u64::from(slot) << 1);
        } else {
            self.write(slot);
        }
    }

    fn write(&mut self, slot: u16) {
        let flight = &mut self.flights[usize::from(slot)];
        flight.writes = self.destinations;
        let Block { to, len, .. } = flight.block;
        for destination in 0..self.destinations {
            let file = destination + u32::from(self.source);
            let place = Place { file, offset: to, len };
            self.ring.transfer(Way::Write, slot, place, u64::from(slot) << 1 | 1);
        }
    }
}
