//! What every sector of every member has to be: from the geometry's drawing and the plain definition of
//! P and Q, with nothing of the code that reads, computes and writes arrays.

use reshape::geometry::{Geometry, On, Part};
use reshape::units::{MemberSector, Slot};

use super::case::byte_range;

/// Array content of `sectors` sectors: sector n says n, and no two words are alike.
pub fn content(sectors: u64) -> Vec<u8> {
    (0..sectors)
        .flat_map(|n| (0..64_u64).flat_map(move |word| (n * 64 + word + 1).to_le_bytes()))
        .collect()
}

/// Pages of 4 KiB, again and again: `z` is zeros, in runs shorter and longer than a window.
const PAGES: &[u8] = b"dzzzzzzzzddzdddzzzdzzddzzzzzzzzzzzzzzzdd";

/// The same with zeros in between.
pub fn sparse_content(sectors: u64) -> Vec<u8> {
    let mut bytes = content(sectors);
    for (page, kind) in bytes.chunks_mut(4096).zip(PAGES.iter().cycle()) {
        if *kind == b'z' {
            page.fill(0);
        }
    }
    bytes
}

/// What each member of `geometry` holds from its data offset on, if the array holds `content` and zeros
/// behind it.
pub fn members(geometry: &Geometry, content: &[u8]) -> Vec<Vec<u8>> {
    let rows = geometry.component().get();
    let slots: Vec<Slot> = (0..geometry.raid_disks()).map(Slot::new).collect();
    let mut images = vec![Vec::new(); slots.len()];
    for row in 0..rows {
        let data: Vec<Option<&[u8]>> = slots
            .iter()
            .map(|slot| match geometry.on(*slot, MemberSector::new(row)) {
                On::Data(sector) => {
                    let here = byte_range(sector.get(), 1);
                    Some(content.get(here).unwrap_or(&[0; 512]))
                }
                On::P { .. } | On::Q { .. } | On::Unused => None,
            })
            .collect();
        for (slot, image) in slots.iter().zip(&mut images) {
            let sector = match geometry.on(*slot, MemberSector::new(row)) {
                On::Data(_) | On::Unused => data_of(&data, *slot).to_vec(),
                On::P { stripe } => parity(geometry, (&slots, &data), stripe, |_| 1),
                On::Q { stripe } => parity(geometry, (&slots, &data), stripe, weight),
            };
            image.extend_from_slice(&sector);
        }
    }
    images
}

fn data_of<'a>(data: &[Option<&'a [u8]>], slot: Slot) -> &'a [u8] {
    let index = usize::try_from(slot.get()).expect("few");
    data[index].unwrap_or(&[0; 512])
}

/// The sum of the data of a stripe, each block with its weight.
fn parity(
    geometry: &Geometry,
    (slots, data): (&[Slot], &[Option<&[u8]>]),
    stripe: u64,
    weight: impl Fn(u32) -> u8,
) -> Vec<u8> {
    let stripes = geometry.stripes().expect("a level with parity");
    let mut sum = vec![0_u8; 512];
    for slot in slots {
        let Part::Data { power, .. } = stripes.part(stripe, *slot) else { continue };
        let weight = weight(power);
        for (sum, byte) in sum.iter_mut().zip(data_of(data, *slot)) {
            *sum ^= times(weight, *byte);
        }
    }
    sum
}

/// 2^power in the field of RAID6.
fn weight(power: u32) -> u8 {
    (0..power).fold(1, |weight, _| times(2, weight))
}

/// The product in GF(2^8) with the polynomial 0x11d, bit by bit.
fn times(mut a: u8, mut b: u8) -> u8 {
    let mut product = 0;
    while b != 0 {
        if b & 1 == 1 {
            product ^= a;
        }
        let carry = a & 0x80 != 0;
        a <<= 1;
        if carry {
            a ^= 0x1d;
        }
        b >>= 1;
    }
    product
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_field_is_that_of_raid6() {
        let powers: Vec<u8> = (0..12).map(weight).collect();
        assert_eq!(powers, [1, 2, 4, 8, 16, 32, 64, 128, 29, 58, 116, 232]);
    }
}
