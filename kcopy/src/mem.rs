//! The memory of a page pool: one aligned allocation, handed out as runs of pages.
//!
//! ```text
//!   Arena:  | page 0 | page 1 | page 2 | page 3 | ... |        one allocation, 2 MiB aligned
//!             `--- Pages ----'  `- Pages -'                     exclusive: read and write
//!                                  `-- into_shared -> SharedPages (clones)   read only
//! ```
//!
//! [`Pages`] is the right to a run of pages and cannot be cloned, so two of them never name the
//! same page; [`SharedPages`] counts its clones and only reads. Dropping the last holder gives the
//! pages back. Who asks for pages and when is [`crate::pool`]'s business.
//!
//! # Safety argument
//!
//! 1. `Arena::memory` is `pages * PAGE_SIZE` initialised bytes that live as long as the
//!    `Arena`, and every `Pages` and `SharedPages` holds the `Arena` alive.
//! 2. A page's bit in `free` is 1 exactly while no `Pages`/`SharedPages` names it. Only
//!    `Arena::claim` turns bits from 1 to 0 and then makes the one `Pages` for them; only the drop
//!    of the last holder turns them back.
//! 3. `Pages` is not `Clone`; `into_shared` consumes it, so from then on only shared references to
//!    the bytes exist until the last `SharedPages` is gone.
//! 4. The release of a page synchronises with the next claim (release / acquire on `free`).
#![allow(unsafe_code)]

use std::fmt;
use std::ops::{Deref, DerefMut};
use std::ptr::NonNull;

use crate::sync::Arc;
use crate::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering};
use crate::units::PAGE_SIZE;

/// One aligned allocation, cut in pages.
pub(crate) struct Arena {
    /// Dropped with the arena.
    memory: Memory,
    pages: u32,
    /// One bit a page, 1 = free.
    free: Box<[AtomicU64]>,
    /// Holders of a shared run, kept at its first page.
    holders: Box<[AtomicU32]>,
    /// Pages handed out and given back since the beginning, both modulo the size of a word.
    claimed: AtomicUsize,
    released: AtomicUsize,
}

// SAFETY: the raw pointer in `memory` is only a name of memory that `Arena` owns; all access goes
// through `Pages` and `SharedPages`, which keep aliasing rules by invariants 2 and 3.
unsafe impl Send for Arena {}
// SAFETY: as for `Send`; the bookkeeping is atomic.
unsafe impl Sync for Arena {}

impl Arena {
    /// Allocates and touches `pages` pages; `None` if the memory is not to be had.
    pub(crate) fn new(pages: u32) -> Option<Arc<Self>> {
        let bytes = usize::try_from(pages).ok()?.checked_mul(PAGE_SIZE)?;
        // The tables grow with the pool: their memory may be lacking as well.
        let words = pages.div_ceil(64);
        let (mut free, mut holders) = (table(words)?, table(pages)?);
        let memory = Memory::zeroed(bytes)?;
        free.extend((0..words).map(|word| AtomicU64::new(initial_word(word, pages))));
        holders.extend((0..pages).map(|_| AtomicU32::new(0)));
        let (free, holders) = (free.into_boxed_slice(), holders.into_boxed_slice());
        let (claimed, released) = (AtomicUsize::new(0), AtomicUsize::new(0));
        Some(Arc::new(Self { memory, pages, free, holders, claimed, released }))
    }

    /// Number of pages.
    pub(crate) fn pages(&self) -> u32 {
        self.pages
    }

    /// Pages that are held by somebody.
    pub(crate) fn in_use(&self) -> usize {
        // In this order: nothing is released before it was claimed.
        let released = self.released.load(Ordering::Acquire);
        self.claimed.load(Ordering::Relaxed).wrapping_sub(released)
    }

    /// Address and length in bytes, for registering the memory with the kernel.
    pub(crate) fn address(&self) -> (*mut u8, usize) {
        (self.memory.base.as_ptr(), self.memory.bytes)
    }

    /// Free bits of word `index`: pages `64 * index ..`.
    pub(crate) fn free_word(&self, index: usize) -> u64 {
        self.free[index].load(Ordering::Acquire)
    }

    /// Takes pages `first .. first + count`, all of which the caller saw free.
    ///
    /// Only one thread claims at a time (the pool's owner), others may release meanwhile; so what
    /// was seen free is still free.
    ///
    /// # Panics
    ///
    /// If one of the pages is held: two owners of a page would be unsound.
    pub(crate) fn claim(this: &Arc<Self>, first: u32, count: u32) -> Pages {
        assert!(count > 0 && first.checked_add(count).is_some_and(|end| end <= this.pages));
        for_words(first, count, |word, mask| {
            let before = this.free[word].fetch_and(!mask, Ordering::AcqRel);
            assert_eq!(before & mask, mask, "page handed out twice");
        });
        // Only the owner writes it: no need of an indivisible addition.
        let claimed = this.claimed.load(Ordering::Relaxed).wrapping_add(to_usize(count));
        this.claimed.store(claimed, Ordering::Relaxed);
        Pages { arena: Arc::clone(this), first, count }
    }

    fn release(&self, first: u32, count: u32) {
        self.released.fetch_add(to_usize(count), Ordering::Release);
        for_words(first, count, |word, mask| {
            self.free[word].fetch_or(mask, Ordering::Release);
        });
    }

    fn pointer(&self, first: u32) -> *mut u8 {
        // SAFETY: `first` is a page of the arena, so the offset stays inside the allocation.
        unsafe { self.memory.base.as_ptr().add(to_usize(first) * PAGE_SIZE) }
    }
}

impl fmt::Debug for Arena {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Arena").field("pages", &self.pages).field("in_use", &self.in_use()).finish()
    }
}

/// Zeroed memory of its own, from the system or (under miri, which has no system) from the allocator.
struct Memory {
    base: NonNull<u8>,
    bytes: usize,
    #[cfg(not(miri))]
    mapping: Mapping,
}

/// What the system gave: a little more than was asked for, so that the memory begins on a huge page.
#[cfg(not(miri))]
#[derive(Clone, Copy)]
struct Mapping {
    start: *mut std::ffi::c_void,
    len: usize,
}

#[cfg(not(miri))]
impl Memory {
    /// Huge pages of the x86 and most ARM kernels; the memory starts on one so that it can be backed
    /// by few of them.
    const HUGE_PAGE: usize = 2 << 20;

    /// Memory that is there: no later touch of it can fail. `None` if it is not to be had.
    fn zeroed(bytes: usize) -> Option<Self> {
        use rustix::mm::{MapFlags, ProtFlags, mmap_anonymous};
        if bytes == 0 {
            return None;
        }
        let slack = if bytes >= Self::HUGE_PAGE { Self::HUGE_PAGE - PAGE_SIZE } else { 0 };
        let len = bytes.checked_add(slack)?;
        let (access, private) = (ProtFlags::READ | ProtFlags::WRITE, MapFlags::PRIVATE);
        // SAFETY: no address is asked for, so nothing that is there is replaced.
        let start = unsafe { mmap_anonymous(std::ptr::null_mut(), len, access, private) }.ok()?;
        let mapping = Mapping { start, len };
        let whole: *mut u8 = mapping.start.cast();
        let ahead = if slack > 0 { whole.align_offset(Self::HUGE_PAGE) } else { 0 };
        // SAFETY: the mapping is as much longer as its start is at most away from a huge page.
        let base = NonNull::new(unsafe { whole.add(ahead) })?;
        let memory = Self { base, bytes, mapping };
        memory.populate().then_some(memory)
    }

    /// Has the kernel put pages behind all of it, which takes one call instead of a fault for each;
    /// kernels before 5.14 are made to by touching it.
    fn populate(&self) -> bool {
        use rustix::io::Errno;
        use rustix::mm::{Advice, madvise};
        let (start, bytes) = (self.base.as_ptr(), self.bytes);
        if bytes >= Self::HUGE_PAGE {
            // Before the first touch: pages that are there already stay small.
            // SAFETY: the range is ours, and the advice does not change its content. A refusal is of
            // no consequence: the pool then lives on small pages.
            let _ = unsafe { madvise(start.cast(), bytes, Advice::LinuxHugepage) };
        }
        // SAFETY: the range is ours, and to be populated does not change its content.
        match unsafe { madvise(start.cast(), bytes, Advice::LinuxPopulateWrite) } {
            Ok(()) => {
                self.map_at_once();
                true
            }
            Err(Errno::NOMEM | Errno::FAULT | Errno::HWPOISON) => false,
            Err(_) => {
                // SAFETY: the range is ours, and nothing else uses it yet.
                unsafe { start.write_bytes(0, bytes) };
                true
            }
        }
    }

    /// User-mode Linux has now put pages behind all of it, and yet the first touch of each is a fault, of 40 to
    /// 300 us: it maps them for the process where a fault asks for it, or where the protection changes. So
    /// that is changed, and changed back. Elsewhere it is two short calls.
    fn map_at_once(&self) {
        use rustix::mm::{MprotectFlags, mprotect};
        for access in [MprotectFlags::READ, MprotectFlags::READ | MprotectFlags::WRITE] {
            // SAFETY: the range is ours, and nothing uses it yet.
            let changed = unsafe { mprotect(self.base.as_ptr().cast(), self.bytes, access) };
            changed.expect("a mapping of our own can be protected as it was made");
        }
    }
}

#[cfg(not(miri))]
impl Drop for Memory {
    fn drop(&mut self) {
        let Mapping { start, len } = self.mapping;
        // SAFETY: the mapping is ours, and no holder of a page of it is left (invariant 1). That it
        // fails is not to be expected of a mapping as it was made; the memory would stay.
        let _ = unsafe { rustix::mm::munmap(start, len) };
    }
}

#[cfg(miri)]
impl Memory {
    fn layout(bytes: usize) -> Option<std::alloc::Layout> {
        std::alloc::Layout::from_size_align(bytes, PAGE_SIZE).ok().filter(|l| l.size() > 0)
    }

    fn zeroed(bytes: usize) -> Option<Self> {
        // SAFETY: the layout's size is not zero.
        let base = NonNull::new(unsafe { std::alloc::alloc_zeroed(Self::layout(bytes)?) })?;
        Some(Self { base, bytes })
    }
}

#[cfg(miri)]
impl Drop for Memory {
    fn drop(&mut self) {
        let layout = Self::layout(self.bytes).expect("it was made with this layout");
        // SAFETY: `base` was allocated with this layout, and no holder is left (invariant 1).
        unsafe { std::alloc::dealloc(self.base.as_ptr(), layout) };
    }
}

/// Calls `each` with every word that pages `first .. first + count` touch and the mask of their bits.
#[inline]
fn for_words(first: u32, count: u32, mut each: impl FnMut(usize, u64)) {
    if count == 1 {
        each(to_usize(first / 64), 1 << (first % 64));
        return;
    }
    let (mut page, end) = (first, first + count);
    while page < end {
        let (word, low) = (page / 64, page % 64);
        let bits = (64 - low).min(end - page);
        each(to_usize(word), (u64::MAX >> (64 - bits)) << low);
        page += bits;
    }
}

/// Room for `len` entries, not touched yet; `None` if the memory is not to be had.
fn table<T>(len: u32) -> Option<Vec<T>> {
    let mut entries = Vec::new();
    entries.try_reserve_exact(to_usize(len)).ok()?;
    Some(entries)
}

fn initial_word(word: u32, pages: u32) -> u64 {
    match pages.saturating_sub(word * 64) {
        0 => 0,
        rest @ 1..64 => u64::MAX >> (64 - rest),
        _ => u64::MAX,
    }
}

fn to_usize(pages: u32) -> usize {
    usize::try_from(pages).expect("a count of pages fits in memory")
}

/// Exclusive right to a run of pages: read and write. Dropping it gives them back.
pub struct Pages {
    arena: Arc<Arena>,
    first: u32,
    count: u32,
}

impl Pages {
    /// Gives up writing; from here on the pages can be read by many.
    pub(crate) fn into_shared(self) -> SharedPages {
        let pages = std::mem::ManuallyDrop::new(self);
        // SAFETY: `pages` is never dropped, so the `Arc` is moved out exactly once.
        let arena = unsafe { std::ptr::read(&raw const pages.arena) };
        arena.holders[to_usize(pages.first)].store(1, Ordering::Relaxed);
        SharedPages { first: pages.first, count: pages.count, arena }
    }

    /// Number of bytes.
    pub fn size(&self) -> usize {
        to_usize(self.count) * PAGE_SIZE
    }
}

impl Deref for Pages {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        let (pointer, bytes) = (self.arena.pointer(self.first), self.size());
        // SAFETY: initialised and alive by invariant 1; no one else may write by invariant 2.
        unsafe { std::slice::from_raw_parts(pointer, bytes) }
    }
}

impl DerefMut for Pages {
    fn deref_mut(&mut self) -> &mut [u8] {
        let (pointer, bytes) = (self.arena.pointer(self.first), self.size());
        // SAFETY: initialised and alive by invariant 1; exclusive by invariant 2 and `&mut self`.
        unsafe { std::slice::from_raw_parts_mut(pointer, bytes) }
    }
}

impl Drop for Pages {
    fn drop(&mut self) {
        self.arena.release(self.first, self.count);
    }
}

impl fmt::Debug for Pages {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Pages({}..{})", self.first, self.first + self.count)
    }
}

/// Shared right to read a run of pages. Dropping the last clone gives them back.
pub struct SharedPages {
    arena: Arc<Arena>,
    first: u32,
    count: u32,
}

impl SharedPages {
    /// Number of bytes.
    pub fn size(&self) -> usize {
        to_usize(self.count) * PAGE_SIZE
    }
}

impl Clone for SharedPages {
    fn clone(&self) -> Self {
        self.arena.holders[to_usize(self.first)].fetch_add(1, Ordering::Relaxed);
        Self { arena: Arc::clone(&self.arena), first: self.first, count: self.count }
    }
}

impl Deref for SharedPages {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        let (pointer, bytes) = (self.arena.pointer(self.first), self.size());
        // SAFETY: initialised and alive by invariant 1; nobody writes by invariant 3.
        unsafe { std::slice::from_raw_parts(pointer, bytes) }
    }
}

impl Drop for SharedPages {
    fn drop(&mut self) {
        let holders = &self.arena.holders[to_usize(self.first)];
        // The only holder cannot become one of two meanwhile: nobody else is there to be cloned.
        if holders.load(Ordering::Acquire) == 1 || holders.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.arena.release(self.first, self.count);
        }
    }
}

impl fmt::Debug for SharedPages {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SharedPages({}..{})", self.first, self.first + self.count)
    }
}
