//! The kernels for x86-64: what vectors of 16, 32 and 64 bytes can do, with and without the
//! instructions for this kind of fields (GFNI).
//!
//! The safety argument is that of [`super::vectors`]: `load` and `store` keep point 2.

use std::arch::is_x86_feature_detected as detected;
use std::arch::x86_64::*;

use super::vectors::{TABLE_BIAS, vector_kernel};
use super::{ByIndex, Columns, System, scalar};
use crate::parity::gf;

pub(super) mod ssse3 {
    //! 16 bytes; tables of 16 by `pshufb`.

    use super::*;

    type Vector = __m128i;
    const WIDTH: usize = 16;
    const VECTORS: usize = 4;
    const BIAS: u8 = TABLE_BIAS;

    vector_kernel!(Ssse3, "ssse3", "ssse3", detected!("ssse3"));

    /// The products with the lower and the upper halves of a byte.
    struct Factor([Vector; 2]);

    #[inline]
    #[target_feature(enable = "ssse3")]
    fn load(bytes: &[u8; WIDTH]) -> Vector {
        // SAFETY: 2, the reference is to as many bytes as are read; any address will do.
        unsafe { _mm_loadu_si128(bytes.as_ptr().cast()) }
    }

    #[inline]
    #[target_feature(enable = "ssse3")]
    fn store(bytes: &mut [u8; WIDTH], vector: Vector) {
        // SAFETY: 2, the reference is to as many bytes as are written; any address will do.
        unsafe { _mm_storeu_si128(bytes.as_mut_ptr().cast(), vector) }
    }

    #[inline]
    #[target_feature(enable = "ssse3")]
    fn splat(byte: u8) -> Vector {
        _mm_set1_epi8(byte.cast_signed())
    }

    #[inline]
    #[target_feature(enable = "ssse3")]
    fn add(a: Vector, b: Vector) -> Vector {
        _mm_xor_si128(a, b)
    }

    #[inline]
    #[target_feature(enable = "ssse3")]
    fn add3(a: Vector, b: Vector, c: Vector) -> Vector {
        add(add(a, b), c)
    }

    #[inline]
    #[target_feature(enable = "ssse3")]
    fn or(a: Vector, b: Vector) -> Vector {
        _mm_or_si128(a, b)
    }

    #[inline]
    #[target_feature(enable = "ssse3")]
    fn is_zero(vector: Vector) -> bool {
        _mm_movemask_epi8(_mm_cmpeq_epi8(vector, splat(0))) == 0xffff
    }

    #[inline]
    #[target_feature(enable = "ssse3")]
    fn double_add(sum: Vector, vector: Vector) -> Vector {
        let rest = _mm_shuffle_epi8(splat(gf::REST), sum);
        add3(_mm_add_epi8(sum, sum), rest, vector)
    }

    #[inline]
    #[target_feature(enable = "ssse3")]
    fn factor(factor: u8) -> Factor {
        let [lower, upper] = gf::nibble_products(factor);
        Factor([load(&lower), load(&upper)])
    }

    #[inline]
    #[target_feature(enable = "ssse3")]
    fn multiply(Factor([lower, upper]): &Factor, vector: Vector) -> Vector {
        let nibble = splat(15);
        let high = _mm_and_si128(_mm_srli_epi16::<4>(vector), nibble);
        let low = _mm_and_si128(vector, nibble);
        add(_mm_shuffle_epi8(*lower, low), _mm_shuffle_epi8(*upper, high))
    }
}

pub(super) mod avx2 {
    //! 32 bytes; tables of 16 by `vpshufb`.

    use super::*;

    pub(super) type Vector = __m256i;
    pub(super) const WIDTH: usize = 32;
    const VECTORS: usize = 4;
    const BIAS: u8 = TABLE_BIAS;

    vector_kernel!(Avx2, "avx2", "avx2", detected!("avx2"));

    /// The products with the lower and the upper halves of a byte.
    struct Factor([Vector; 2]);

    #[inline]
    #[target_feature(enable = "avx2")]
    pub(super) fn load(bytes: &[u8; WIDTH]) -> Vector {
        // SAFETY: 2, the reference is to as many bytes as are read; any address will do.
        unsafe { _mm256_loadu_si256(bytes.as_ptr().cast()) }
    }

    #[inline]
    #[target_feature(enable = "avx2")]
    pub(super) fn store(bytes: &mut [u8; WIDTH], vector: Vector) {
        // SAFETY: 2, the reference is to as many bytes as are written; any address will do.
        unsafe { _mm256_storeu_si256(bytes.as_mut_ptr().cast(), vector) }
    }

    #[inline]
    #[target_feature(enable = "avx2")]
    pub(super) fn splat(byte: u8) -> Vector {
        _mm256_set1_epi8(byte.cast_signed())
    }

    #[inline]
    #[target_feature(enable = "avx2")]
    pub(super) fn add(a: Vector, b: Vector) -> Vector {
        _mm256_xor_si256(a, b)
    }

    #[inline]
    #[target_feature(enable = "avx2")]
    pub(super) fn add3(a: Vector, b: Vector, c: Vector) -> Vector {
        add(add(a, b), c)
    }

    #[inline]
    #[target_feature(enable = "avx2")]
    pub(super) fn or(a: Vector, b: Vector) -> Vector {
        _mm256_or_si256(a, b)
    }

    #[inline]
    #[target_feature(enable = "avx2")]
    pub(super) fn is_zero(vector: Vector) -> bool {
        _mm256_testz_si256(vector, vector) == 1
    }

    #[inline]
    #[target_feature(enable = "avx2")]
    fn double_add(sum: Vector, vector: Vector) -> Vector {
        let rest = _mm256_shuffle_epi8(splat(gf::REST), sum);
        add3(_mm256_add_epi8(sum, sum), rest, vector)
    }

    #[inline]
    #[target_feature(enable = "avx2")]
    fn factor(factor: u8) -> Factor {
        let [lower, upper] = gf::nibble_products(factor);
        // A table in both halves: the instruction looks up within each.
        let twice = |table: [u8; 16]| {
            let mut both = [0; WIDTH];
            both[..16].copy_from_slice(&table);
            both[16..].copy_from_slice(&table);
            both
        };
        Factor([load(&twice(lower)), load(&twice(upper))])
    }

    #[inline]
    #[target_feature(enable = "avx2")]
    fn multiply(Factor([lower, upper]): &Factor, vector: Vector) -> Vector {
        let nibble = splat(15);
        let high = _mm256_and_si256(_mm256_srli_epi16::<4>(vector), nibble);
        let low = _mm256_and_si256(vector, nibble);
        add(_mm256_shuffle_epi8(*lower, low), _mm256_shuffle_epi8(*upper, high))
    }
}

pub(super) mod avx2_gfni {
    //! 32 bytes; multiplication as a matrix of bits by `vgf2p8affineqb`.

    use super::avx2::{Vector, WIDTH, add, add3, is_zero, load, or, splat, store};
    use super::*;

    const VECTORS: usize = 4;
    const BIAS: u8 = 0;

    vector_kernel!(Avx2Gfni, "avx2-gfni", "avx2,gfni", detected!("avx2") && detected!("gfni"));

    struct Factor(Vector);

    #[inline]
    #[target_feature(enable = "avx2,gfni")]
    fn double_add(sum: Vector, vector: Vector) -> Vector {
        let double = _mm256_set1_epi64x(DOUBLE);
        add(_mm256_gf2p8affine_epi64_epi8::<0>(sum, double), vector)
    }

    #[inline]
    #[target_feature(enable = "avx2,gfni")]
    fn factor(factor: u8) -> Factor {
        Factor(_mm256_set1_epi64x(gf::bit_matrix(factor).cast_signed()))
    }

    #[inline]
    #[target_feature(enable = "avx2,gfni")]
    fn multiply(Factor(matrix): &Factor, vector: Vector) -> Vector {
        _mm256_gf2p8affine_epi64_epi8::<0>(vector, *matrix)
    }
}

pub(super) mod avx512 {
    //! 64 bytes; tables of 16 by `vpshufb`, sums of three by `vpternlogq`.

    use super::*;

    pub(super) type Vector = __m512i;
    pub(super) const WIDTH: usize = 64;
    const VECTORS: usize = 4;
    const BIAS: u8 = TABLE_BIAS;
    /// The truth table of a sum of three, for `vpternlogq`.
    const SUM: i32 = 0x96;

    vector_kernel!(
        Avx512,
        "avx512",
        "avx512f,avx512bw",
        detected!("avx512f") && detected!("avx512bw")
    );

    /// The products with the lower and the upper halves of a byte.
    struct Factor([Vector; 2]);

    #[inline]
    #[target_feature(enable = "avx512f,avx512bw")]
    pub(super) fn load(bytes: &[u8; WIDTH]) -> Vector {
        // SAFETY: 2, the reference is to as many bytes as are read; any address will do.
        unsafe { _mm512_loadu_si512(bytes.as_ptr().cast()) }
    }

    #[inline]
    #[target_feature(enable = "avx512f,avx512bw")]
    pub(super) fn store(bytes: &mut [u8; WIDTH], vector: Vector) {
        // SAFETY: 2, the reference is to as many bytes as are written; any address will do.
        unsafe { _mm512_storeu_si512(bytes.as_mut_ptr().cast(), vector) }
    }

    #[inline]
    #[target_feature(enable = "avx512f,avx512bw")]
    pub(super) fn splat(byte: u8) -> Vector {
        _mm512_set1_epi8(byte.cast_signed())
    }

    #[inline]
    #[target_feature(enable = "avx512f,avx512bw")]
    pub(super) fn add(a: Vector, b: Vector) -> Vector {
        _mm512_xor_si512(a, b)
    }

    #[inline]
    #[target_feature(enable = "avx512f,avx512bw")]
    pub(super) fn add3(a: Vector, b: Vector, c: Vector) -> Vector {
        _mm512_ternarylogic_epi64::<SUM>(a, b, c)
    }

    #[inline]
    #[target_feature(enable = "avx512f,avx512bw")]
    pub(super) fn or(a: Vector, b: Vector) -> Vector {
        _mm512_or_si512(a, b)
    }

    #[inline]
    #[target_feature(enable = "avx512f,avx512bw")]
    pub(super) fn is_zero(vector: Vector) -> bool {
        _mm512_test_epi64_mask(vector, vector) == 0
    }

    #[inline]
    #[target_feature(enable = "avx512f,avx512bw")]
    fn double_add(sum: Vector, vector: Vector) -> Vector {
        let rest = _mm512_shuffle_epi8(splat(gf::REST), sum);
        add3(_mm512_add_epi8(sum, sum), rest, vector)
    }

    #[inline]
    #[target_feature(enable = "avx512f,avx512bw")]
    fn factor(factor: u8) -> Factor {
        let [lower, upper] = gf::nibble_products(factor);
        // A table in all quarters: the instruction looks up within each.
        let repeated = |table: [u8; 16]| {
            let mut all = [0; WIDTH];
            all.as_chunks_mut().0.fill(table);
            all
        };
        Factor([load(&repeated(lower)), load(&repeated(upper))])
    }

    #[inline]
    #[target_feature(enable = "avx512f,avx512bw")]
    fn multiply(Factor([lower, upper]): &Factor, vector: Vector) -> Vector {
        let nibble = splat(15);
        let high = _mm512_and_si512(_mm512_srli_epi16::<4>(vector), nibble);
        let low = _mm512_and_si512(vector, nibble);
        add(_mm512_shuffle_epi8(*lower, low), _mm512_shuffle_epi8(*upper, high))
    }
}

pub(super) mod avx512_gfni {
    //! 64 bytes; multiplication as a matrix of bits by `vgf2p8affineqb`.

    use super::avx512::{Vector, WIDTH, add, add3, is_zero, load, or, splat, store};
    use super::*;

    const VECTORS: usize = 4;
    const BIAS: u8 = 0;

    vector_kernel!(
        Avx512Gfni,
        "avx512-gfni",
        "avx512f,avx512bw,gfni",
        detected!("avx512f") && detected!("avx512bw") && detected!("gfni")
    );

    struct Factor(Vector);

    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,gfni")]
    fn double_add(sum: Vector, vector: Vector) -> Vector {
        let double = _mm512_set1_epi64(DOUBLE);
        add(_mm512_gf2p8affine_epi64_epi8::<0>(sum, double), vector)
    }

    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,gfni")]
    fn factor(factor: u8) -> Factor {
        Factor(_mm512_set1_epi64(gf::bit_matrix(factor).cast_signed()))
    }

    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,gfni")]
    fn multiply(Factor(matrix): &Factor, vector: Vector) -> Vector {
        _mm512_gf2p8affine_epi64_epi8::<0>(vector, *matrix)
    }
}

/// The matrix of bits that doubles.
const DOUBLE: i64 = gf::bit_matrix(2).cast_signed();
