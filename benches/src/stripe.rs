//! A stripe in memory as the engine's pool would hold it: blocks one after another, aligned.

use reshape::parity::{Data, Kernel};

const ALIGNMENT: usize = 4096;

/// Some data blocks, then P, then Q.
#[derive(Debug)]
pub struct Stripe {
    memory: Vec<u8>,
    start: usize,
    length: usize,
    disks: usize,
}

impl Stripe {
    /// A stripe of `disks` data blocks of `length` bytes, filled with bytes that differ.
    ///
    /// # Panics
    ///
    /// If the length is not a multiple of 64 or there are more than 62 disks.
    #[must_use]
    pub fn new(disks: usize, length: usize) -> Self {
        assert!(disks <= 62 && length.is_multiple_of(64), "a stripe that libisal takes, too");
        let mut memory = vec![0; (disks + 2) * length + ALIGNMENT];
        let start = memory.as_ptr().align_offset(ALIGNMENT);
        let mut state = 0x9e37_79b9_7f4a_7c15_u64;
        for bytes in memory.as_chunks_mut().0 {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            *bytes = state.to_le_bytes();
        }
        Self { memory, start, length, disks }
    }

    /// Bytes of a block.
    #[must_use]
    pub fn length(&self) -> usize {
        self.length
    }

    /// Number of data blocks.
    #[must_use]
    pub fn disks(&self) -> usize {
        self.disks
    }

    /// All blocks: data, P, Q.
    pub fn blocks_mut(&mut self) -> Vec<&mut [u8]> {
        let used = (self.disks + 2) * self.length;
        self.memory[self.start..][..used].chunks_exact_mut(self.length).collect()
    }

    /// Computes P by `kernel`, several times.
    pub fn xor(&mut self, kernel: Kernel, times: usize) {
        let (data, p, _) = self.split();
        let data: Vec<&[u8]> = data.iter().map(|data| data.bytes).collect();
        for _ in 0..times {
            kernel.xor(p, &data);
        }
    }

    /// Computes P and Q by `kernel`, several times.
    pub fn pq(&mut self, kernel: Kernel, times: usize) {
        let (data, p, q) = self.split();
        for _ in 0..times {
            kernel.pq(&data, p, q);
        }
    }

    /// The data, P and Q.
    pub fn split(&mut self) -> (Vec<Data<'_>>, &mut [u8], &mut [u8]) {
        let used = (self.disks + 2) * self.length;
        let blocks = &mut self.memory[self.start..][..used];
        let (data, parities) = blocks.split_at_mut(self.disks * self.length);
        let data = (0..).zip(data.chunks_exact(self.length));
        let (p, q) = parities.split_at_mut(self.length);
        (data.map(|(index, bytes)| Data { index, bytes }).collect(), p, q)
    }
}
