//! The kernel for aarch64: vectors of 16 bytes.
//!
//! The safety argument is that of [`super::vectors`]: `load` and `store` keep point 2.

use std::arch::aarch64::*;
use std::arch::is_aarch64_feature_detected as detected;

use super::vectors::vector_kernel;
use super::{ByIndex, Columns, System, scalar};
use crate::parity::gf;

type Vector = uint8x16_t;
const WIDTH: usize = 16;
const VECTORS: usize = 4;
/// The table lookup of this processor wants an index below 16 and does not see the highest bit
/// alone; a shift with sign does.
const BIAS: u8 = 0;

vector_kernel!(Neon, "neon", "neon", detected!("neon"));

/// The products with the lower and the upper halves of a byte.
struct Factor([Vector; 2]);

#[inline]
#[target_feature(enable = "neon")]
fn load(bytes: &[u8; WIDTH]) -> Vector {
    // SAFETY: 2, the reference is to as many bytes as are read; any address will do.
    unsafe { vld1q_u8(bytes.as_ptr()) }
}

#[inline]
#[target_feature(enable = "neon")]
fn store(bytes: &mut [u8; WIDTH], vector: Vector) {
    // SAFETY: 2, the reference is to as many bytes as are written; any address will do.
    unsafe { vst1q_u8(bytes.as_mut_ptr(), vector) }
}

#[inline]
#[target_feature(enable = "neon")]
fn splat(byte: u8) -> Vector {
    vdupq_n_u8(byte)
}

#[inline]
#[target_feature(enable = "neon")]
fn add(a: Vector, b: Vector) -> Vector {
    veorq_u8(a, b)
}

#[inline]
#[target_feature(enable = "neon")]
fn add3(a: Vector, b: Vector, c: Vector) -> Vector {
    add(add(a, b), c)
}

#[inline]
#[target_feature(enable = "neon")]
fn or(a: Vector, b: Vector) -> Vector {
    vorrq_u8(a, b)
}

#[inline]
#[target_feature(enable = "neon")]
fn is_zero(vector: Vector) -> bool {
    vmaxvq_u8(vector) == 0
}

#[inline]
#[target_feature(enable = "neon")]
fn double_add(sum: Vector, vector: Vector) -> Vector {
    // All ones where the highest bit is set.
    let fallen = vreinterpretq_u8_s8(vshrq_n_s8::<7>(vreinterpretq_s8_u8(sum)));
    let rest = vandq_u8(fallen, splat(gf::REST));
    add3(vshlq_n_u8::<1>(sum), rest, vector)
}

#[inline]
#[target_feature(enable = "neon")]
fn factor(factor: u8) -> Factor {
    let [lower, upper] = gf::nibble_products(factor);
    Factor([load(&lower), load(&upper)])
}

#[inline]
#[target_feature(enable = "neon")]
fn multiply(Factor([lower, upper]): &Factor, vector: Vector) -> Vector {
    let low = vandq_u8(vector, splat(15));
    let high = vshrq_n_u8::<4>(vector);
    add(vqtbl1q_u8(*lower, low), vqtbl1q_u8(*upper, high))
}
