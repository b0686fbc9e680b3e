//! The smallest honest io_uring: what the hardware gives when nothing stands in between.
//!
//! The reference pipeline and the NOP backend stand on it. One thread, deferred task work, the
//! memory and the files registered: the set-up that was measured to be the fastest. The memory is
//! divided in slots; nobody can look into them, they only carry bytes from read to write.
//!
//! # Safety argument
//!
//! 1. `memory` is allocated once, zeroed, with `layout`, and freed only in `drop`, after `ring` has
//!    been drained (`in_flight == 0`) or leaked.
//! 2. Only the kernel touches the memory between `new` and `drop`: no function gives it out.
//! 3. Files are registered by number and kept open in `files` as long as the ring.
//! 4. `transfer` asserts that a request stays inside its slot.
#![allow(unsafe_code)]

use std::alloc::{Layout, alloc_zeroed, dealloc};
use std::fmt;
use std::fs::File;
use std::io;
use std::mem::ManuallyDrop;
use std::os::fd::AsRawFd;
use std::ptr::NonNull;

use io_uring::{IoUring, opcode, squeue, types};

const HUGE_PAGE: usize = 2 << 20;

/// Which way a [`Ring::transfer`] goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// From the file into the slot.
    Read,
    /// From the slot into the file.
    Write,
}

/// Where a [`Ring::transfer`] goes.
#[derive(Clone, Copy, Debug)]
pub struct Place {
    /// Index into the files.
    pub file: u32,
    /// First byte in the file.
    pub offset: u64,
    /// Number of bytes.
    pub len: u32,
}

/// See the module.
pub struct Ring {
    ring: ManuallyDrop<IoUring>,
    memory: NonNull<u8>,
    layout: Layout,
    slot_bytes: usize,
    files: Vec<File>,
    in_flight: usize,
}

// SAFETY: the memory belongs to the ring alone (invariant 2); moving both to another thread is
// fine as long as one thread at a time uses them, which `&mut self` keeps.
unsafe impl Send for Ring {}

impl fmt::Debug for Ring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ring").field("in_flight", &self.in_flight).finish_non_exhaustive()
    }
}

impl Ring {
    /// A ring of `depth` entries over `slots` slots of `slot_bytes` bytes and these files.
    ///
    /// # Errors
    ///
    /// If the kernel refuses the ring, or to register memory or files.
    ///
    /// # Panics
    ///
    /// If the memory is not to be had.
    pub fn new(depth: u32, slots: usize, slot_bytes: usize, files: Vec<File>) -> io::Result<Self> {
        let ring = IoUring::builder()
            .setup_single_issuer()
            .setup_defer_taskrun()
            .build(depth.next_power_of_two())?;
        let bytes = (slots * slot_bytes).next_multiple_of(HUGE_PAGE);
        let layout = Layout::from_size_align(bytes, HUGE_PAGE).expect("a sane size");
        // SAFETY: the layout's size is at least a huge page.
        let memory = NonNull::new(unsafe { alloc_zeroed(layout) }).expect("memory");
        let this = ManuallyDrop::new(ring);
        let this = Self { ring: this, memory, layout, slot_bytes, files, in_flight: 0 };
        this.touch();
        this.register(slots)?;
        Ok(this)
    }

    /// Asks for huge pages and touches them, so that no run pays for the first touch.
    fn touch(&self) {
        let memory = self.memory.as_ptr();
        // SAFETY: the range is the allocation (invariant 1); the advice changes no contents.
        let _ = unsafe { libc::madvise(memory.cast(), self.layout.size(), libc::MADV_HUGEPAGE) };
        // SAFETY: the range is the allocation (invariant 1), not yet registered.
        unsafe { memory.write_bytes(0, self.layout.size()) };
    }

    fn register(&self, slots: usize) -> io::Result<()> {
        let whole = |slot: usize| libc::iovec {
            iov_base: self.slot(slot).cast(),
            iov_len: self.slot_bytes,
        };
        if slots > 0 {
            let vectors: Vec<_> = (0..slots).map(whole).collect();
            // SAFETY: slots lie in the allocation, which outlives the ring (invariant 1).
            unsafe { self.ring.submitter().register_buffers(&vectors) }?;
        }
        if !self.files.is_empty() {
            let numbers: Vec<_> = self.files.iter().map(AsRawFd::as_raw_fd).collect();
            self.ring.submitter().register_files(&numbers)?;
        }
        Ok(())
    }

    fn slot(&self, slot: usize) -> *mut u8 {
        self.memory.as_ptr().wrapping_add(slot * self.slot_bytes)
    }

    /// The files, in their order.
    pub fn files(&self) -> &[File] {
        &self.files
    }

    /// Requests that were queued and not reaped.
    pub fn in_flight(&self) -> usize {
        self.in_flight
    }

    /// Queues a request that does nothing.
    pub fn nop(&mut self, user_data: u64) {
        self.push(&opcode::Nop::new().build().user_data(user_data));
    }

    /// Queues a read into `slot`, or a write from it.
    ///
    /// # Panics
    ///
    /// If it is longer than the slot.
    pub fn transfer(&mut self, way: Way, slot: u16, place: Place, user_data: u64) {
        let Place { file, offset, len } = place;
        assert!(len as usize <= self.slot_bytes && (file as usize) < self.files.len());
        let (file, memory) = (types::Fixed(file), self.slot(usize::from(slot)));
        let entry = match way {
            Way::Read => opcode::ReadFixed::new(file, memory, len, slot).offset(offset).build(),
            Way::Write => {
                opcode::WriteFixed::new(file, memory.cast_const(), len, slot).offset(offset).build()
            }
        };
        self.push(&entry.user_data(user_data));
    }

    fn push(&mut self, entry: &squeue::Entry) {
        loop {
            // SAFETY: the entry's memory lies in a slot (invariants 1, 2, 4), its file is
            // registered (invariant 3).
            if unsafe { self.ring.submission().push(entry) }.is_ok() {
                self.in_flight += 1;
                return;
            }
            self.submit_and_wait(0).expect("a full queue can be submitted");
        }
    }

    /// Submits what is queued and waits for at least `want` completions.
    ///
    /// # Errors
    ///
    /// What the kernel says; interruptions are not errors.
    pub fn submit_and_wait(&mut self, want: usize) -> io::Result<()> {
        match self.ring.submit_and_wait(want) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(()),
            other => other.map(drop),
        }
    }

    /// Hands over the completions that are there: their user data and result.
    pub fn reap(&mut self, mut take: impl FnMut(u64, i32)) {
        for entry in self.ring.completion() {
            self.in_flight -= 1;
            take(entry.user_data(), entry.result());
        }
    }
}

impl Drop for Ring {
    fn drop(&mut self) {
        while self.in_flight > 0 {
            if self.submit_and_wait(1).is_err() {
                // Memory that the kernel may still write to is never given back.
                return;
            }
            self.reap(|_, _| {});
        }
        // SAFETY: dropped here and nowhere else.
        unsafe { ManuallyDrop::drop(&mut self.ring) };
        // SAFETY: allocated with this layout, and the kernel is done with it (invariant 1).
        unsafe { dealloc(self.memory.as_ptr(), self.layout) };
    }
}
