//! Intel's library for storage (libisal), loaded where it is installed: the peer of our parity.
//!
//! # Safety argument
//!
//! 1. The library is never unloaded, so its functions stay.
//! 2. The signatures are those of its header `raid.h`: `int f(int vects, int len, void **array)`.
//! 3. A [`Stripe`] owns its memory and gives the library as many pointers as it says, each to
//!    `length` bytes that are aligned to 64 and whose number is a multiple of 64. The library reads
//!    the sources and writes the one or two blocks after them.
#![allow(unsafe_code)]

use std::ffi::{CStr, c_int, c_void};
use std::fmt;

use crate::stripe::Stripe;

type Generate = unsafe extern "C" fn(c_int, c_int, *mut *mut c_void) -> c_int;

/// The two functions of the library that are compared.
#[derive(Clone, Copy)]
pub struct Isal {
    xor: Generate,
    pq: Generate,
}

impl fmt::Debug for Isal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Isal")
    }
}

impl Isal {
    /// The library, if it is installed.
    #[must_use]
    pub fn load() -> Option<Self> {
        // SAFETY: the name is a C string; the library only sets up tables when it is loaded.
        let library = unsafe { libc::dlopen(c"libisal.so.2".as_ptr(), libc::RTLD_NOW) };
        if library.is_null() {
            return None;
        }
        Some(Self { xor: find(library, c"xor_gen")?, pq: find(library, c"pq_gen")? })
    }

    /// Computes the stripe's P, several times.
    ///
    /// # Panics
    ///
    /// If the library refuses.
    pub fn xor(self, stripe: &mut Stripe, times: usize) {
        call(self.xor, stripe, 1, times);
    }

    /// Computes the stripe's P and Q, several times.
    ///
    /// # Panics
    ///
    /// If the library refuses.
    pub fn pq(self, stripe: &mut Stripe, times: usize) {
        call(self.pq, stripe, 2, times);
    }
}

fn find(library: *mut c_void, name: &CStr) -> Option<Generate> {
    // SAFETY: 1, the handle is of a library that stays loaded; the name is a C string.
    let symbol = unsafe { libc::dlsym(library, name.as_ptr()) };
    if symbol.is_null() {
        return None;
    }
    // SAFETY: 2, the symbol is a function of this signature.
    Some(unsafe { std::mem::transmute::<*mut c_void, Generate>(symbol) })
}

fn call(generate: Generate, stripe: &mut Stripe, parities: usize, times: usize) {
    let length = c_int::try_from(stripe.length()).expect("a block of megabytes");
    let disks = stripe.disks() + parities;
    let count = c_int::try_from(disks).expect("few disks");
    let mut array = [std::ptr::null_mut(); 64];
    for (pointer, block) in array.iter_mut().zip(stripe.blocks_mut().into_iter().take(disks)) {
        *pointer = block.as_mut_ptr().cast();
    }
    for _ in 0..times {
        // SAFETY: 3, `array` has `count` pointers to blocks of `length` bytes that nobody else uses.
        let refused = unsafe { generate(count, length, array.as_mut_ptr()) };
        assert_eq!(refused, 0, "libisal refused {count} blocks of {length} bytes");
    }
}
