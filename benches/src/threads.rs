//! The simplest peer for small jobs: threads that call `pread` and `pwrite`, past the page cache.

use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use crate::reference::{Block, open_direct};

/// Copies the blocks with this many threads and makes the destination durable.
///
/// # Errors
///
/// The first thing that goes wrong.
pub fn run(source: &Path, target: &Path, blocks: &[Block], threads: usize) -> io::Result<()> {
    let (source, target) = (open_direct(source, false)?, open_direct(target, true)?);
    let next = AtomicUsize::new(0);
    let largest = blocks.iter().map(|block| block.len).max().unwrap_or(0);
    let work = || -> io::Result<()> {
        let mut memory = Aligned::new(largest as usize);
        while let Some(block) = blocks.get(next.fetch_add(1, Ordering::Relaxed)) {
            let bytes = &mut memory.bytes()[..block.len as usize];
            source.read_exact_at(bytes, block.from)?;
            target.write_all_at(bytes, block.to)?;
        }
        Ok(())
    };
    thread::scope(|scope| {
        let workers: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        workers.into_iter().try_for_each(|worker| worker.join().expect("no panic"))
    })?;
    target.sync_data()
}

/// Memory that direct I/O takes.
#[derive(Debug)]
pub struct Aligned {
    memory: Vec<u8>,
    len: usize,
}

impl Aligned {
    const ALIGNMENT: usize = 4096;

    /// `len` bytes, zeroed.
    #[must_use]
    pub fn new(len: usize) -> Self {
        Self { memory: vec![0; len + Self::ALIGNMENT], len }
    }

    /// The bytes.
    pub fn bytes(&mut self) -> &mut [u8] {
        let start = self.memory.as_ptr().align_offset(Self::ALIGNMENT);
        &mut self.memory[start..start + self.len]
    }
}
