//! The field of 256 elements that md's Q is computed in: polynomial 0x11d, generator 2.

use super::INDEXES;

/// What is left of the polynomial when a doubled byte has lost its highest bit.
pub(super) const REST: u8 = 0x1d;

/// g^i for i from 0 to 254; the last entry repeats the first.
const POWERS: [u8; 256] = powers();
/// The i for which g^i is the byte; the entry for zero means nothing.
const LOGARITHMS: [u8; 256] = logarithms();

/// The byte times g.
pub(super) const fn double(byte: u8) -> u8 {
    (byte << 1) ^ if byte & 0x80 != 0 { REST } else { 0 }
}

/// The product of two bytes.
pub(super) const fn multiply(a: u8, b: u8) -> u8 {
    let (mut product, mut bit) = (0, 8);
    while bit > 0 {
        bit -= 1;
        product = double(product);
        if b >> bit & 1 == 1 {
            product ^= a;
        }
    }
    product
}

/// g to the power of a syndrome index.
///
/// # Panics
///
/// If the index is not below [`INDEXES`].
pub(super) fn power(index: u32) -> u8 {
    assert!(index < INDEXES, "syndrome index {index} is not below {INDEXES}");
    usize::try_from(index).map_or(0, |index| POWERS[index])
}

/// The one byte whose product with `byte` is 1.
///
/// # Panics
///
/// If `byte` is zero.
pub(super) fn invert(byte: u8) -> u8 {
    assert_ne!(byte, 0, "zero has no inverse");
    POWERS[255 - usize::from(LOGARITHMS[usize::from(byte)])]
}

/// The index i for which g^i * `divisor` = `dividend`; neither may be zero.
pub(super) fn quotient_index(dividend: u8, divisor: u8) -> u32 {
    let log = |byte: u8| u32::from(LOGARITHMS[usize::from(byte)]);
    (log(dividend) + INDEXES - log(divisor)) % INDEXES
}

/// The products of `factor` with the lower and with the upper four bits of a byte.
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64", test))]
pub(super) const fn nibble_products(factor: u8) -> [[u8; 16]; 2] {
    let mut products = [[0; 16]; 2];
    let (mut nibble, mut at) = (0, 0);
    while at < 16 {
        products[0][at] = multiply(factor, nibble);
        products[1][at] = multiply(factor, nibble << 4);
        nibble += 1;
        at += 1;
    }
    products
}

/// Multiplication by `factor` as a matrix of bits, as the instruction `gf2p8affineqb` takes it:
/// byte 7 - i says which bits of the operand add up to bit i of the product.
#[cfg(any(target_arch = "x86_64", test))]
pub(super) const fn bit_matrix(factor: u8) -> u64 {
    let (mut matrix, mut column, mut bit) = (0, factor, 0);
    while bit < 8 {
        let mut row = 0;
        while row < 8 {
            if column >> row & 1 == 1 {
                matrix |= 1 << ((7 - row) * 8 + bit);
            }
            row += 1;
        }
        column = double(column);
        bit += 1;
    }
    matrix
}

const fn powers() -> [u8; 256] {
    let mut powers = [1; 256];
    let mut at = 1;
    while at < 256 {
        powers[at] = double(powers[at - 1]);
        at += 1;
    }
    powers
}

const fn logarithms() -> [u8; 256] {
    let mut logarithms = [0; 256];
    let (mut at, mut byte) = (1, 1_u8);
    while at < 256 {
        let mut index = 0;
        while POWERS[index] != byte {
            logarithms[at] += 1;
            index += 1;
        }
        byte = byte.wrapping_add(1);
        at += 1;
    }
    logarithms
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn powers_of_the_generator_are_those_of_md() {
        let first = [1, 2, 4, 8, 16, 32, 64, 128, 29, 58, 116, 232, 205, 135, 19, 38, 76, 152, 45];
        for (index, expected) in (0..).zip(first) {
            assert_eq!(power(index), expected, "g^{index}");
        }
        assert_eq!(power(19), 90);
        assert_eq!(POWERS[255], 1, "the generator has order 255");
    }

    #[test]
    fn inverse_quotient_and_tables_agree_with_multiplication_for_all() {
        for byte in 1..=255 {
            assert_eq!(multiply(byte, invert(byte)), 1);
            for index in 0..INDEXES {
                assert_eq!(quotient_index(multiply(power(index), byte), byte), index);
            }
            let [low, high] = nibble_products(byte);
            for other in 0..=255 {
                let split = low[usize::from(other & 15)] ^ high[usize::from(other >> 4)];
                assert_eq!(split, multiply(byte, other));
                assert_eq!(by_matrix(bit_matrix(byte), other), multiply(byte, other));
            }
        }
    }

    /// What the instruction does with one byte.
    fn by_matrix(matrix: u64, byte: u8) -> u8 {
        let rows = matrix.to_be_bytes().into_iter().enumerate();
        rows.fold(0, |product, (bit, row)| {
            let odd = (row & byte).count_ones() % 2 == 1;
            product | u8::from(odd) << bit
        })
    }
}
