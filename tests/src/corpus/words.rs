//! Sectors that follow from one word and one factor.
//!
//! The content of the arrays is made of sectors whose words count upwards in their last byte (word
//! j has j there) and otherwise are the sector's number. Parity is made of such sectors by
//! multiplying and adding in the field of 256 elements, byte by byte, so that each sector of an
//! array, P and Q included, is a first word w and a factor k:
//!
//! ```text
//! word j          =  w ^ k * j << 56
//! t sectors later =  the same with w ^ k * t, as long as the numbers had no carry
//! ```

/// The sector whose first word is `first`, with factor `factor`.
pub(super) fn sector(first: u64, factor: u8) -> [u8; 512] {
    let mut words = [first; 64];
    // The product is linear: the upper half of twice as many words differs from the lower by one bit.
    for half in [1, 2, 4, 8, 16, 32] {
        let last = u64::from(product(factor, half)) << 56;
        let (lower, upper) = words.split_at_mut(usize::from(half));
        for (word, below) in upper.iter_mut().zip(lower) {
            *word = *below ^ last;
        }
    }
    let mut bytes = [0; 512];
    for (place, word) in bytes.as_chunks_mut::<8>().0.iter_mut().zip(words) {
        *place = word.to_le_bytes();
    }
    bytes
}

/// The first word and the factor of a sector, if it is one of those.
pub(super) fn describe(bytes: &[u8; 512]) -> Option<(u64, u8)> {
    let (words, _) = bytes.as_chunks::<8>();
    let first = u64::from_le_bytes(words[0]);
    let [factor, ..] = (first ^ u64::from_le_bytes(words[1])).to_be_bytes();
    (sector(first, factor) == *bytes).then_some((first, factor))
}

/// The first word `later` sectors after one with `first`.
pub(super) fn later(first: u64, factor: u8, later: u64) -> u64 {
    if factor == 0 {
        return first;
    }
    first ^ u64::from_le_bytes(later.to_le_bytes().map(|byte| product(factor, byte)))
}

/// The product in the field of RAID6 (x^8 + x^4 + x^3 + x^2 + 1).
fn product(mut one: u8, mut other: u8) -> u8 {
    if one <= 1 {
        return one * other;
    }
    let mut product = 0;
    while other > 0 {
        if other & 1 == 1 {
            product ^= one;
        }
        let carry = one >> 7;
        one = (one << 1) ^ (0x1d * carry);
        other >>= 1;
    }
    product
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn product_is_that_of_raid6() {
        let mut power = 1;
        let powers = [1, 2, 4, 8, 16, 32, 64, 128, 29, 58, 116, 232, 205, 135, 19, 38, 76, 152];
        for expected in powers {
            assert_eq!(power, expected);
            power = product(power, 2);
        }
    }

    #[test]
    fn content_and_its_parity_are_described() {
        let data = [sector(5 | 7 << 40, 1), sector(133 | 7 << 40, 1), sector(261 | 7 << 40, 1)];
        let mut parity = [0; 512];
        for (at, byte) in parity.iter_mut().enumerate() {
            let bytes = data.iter().zip([1, 2, 4]);
            *byte = bytes.fold(0, |sum, (sector, factor)| sum ^ product(factor, sector[at]));
        }
        let (first, factor) = describe(&parity).expect("it is such a sector");
        assert_eq!(factor, 7);
        assert_eq!(sector(first, factor), parity);
        assert_eq!(describe(&[0; 512]), Some((0, 0)));
        let mut other = data[0];
        other[511] ^= 1;
        assert_eq!(describe(&other), None);
    }

    #[test]
    fn later_sectors_follow() {
        assert_eq!(later(128, 1, 5), 133);
        assert_eq!(later(128, 0, 5), 128);
        assert_eq!(later(0x100, 2, 0x101), 0x302);
    }
}
