//! The unit that a reshape moves at a time, and the part of the array it cannot move without a copy
//! elsewhere.
//!
//! Block `A` of the array moves from row `A / d` to row `A / d'`. Where the new row lies before the
//! old one, and no old data that is still needed lies there, it can simply be written; the rest is
//! the critical section. All of this is for data offsets that do not change, and for levels whose
//! data lies in stripes: RAID0, 4, 5 and 6.
#![deny(clippy::arithmetic_side_effects)]

use std::num::NonZeroU64;

use kcopy::Sectors;

use super::{Geometry, Layout, Level};

/// The part of the array that overwrites its own source when it is moved.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Critical {
    /// The first so many sectors of the array: moved first when it grows, last when it shrinks.
    Low(Sectors),
    /// All of it: as many disks hold data as before.
    Everywhere,
}

/// Why there is no unit.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NoUnit {
    /// Levels whose data lies otherwise.
    #[error("the data of {level} does not lie in stripes")]
    NoStripes {
        /// The level.
        level: Level,
    },
    /// Chunks and members whose product is beyond reason.
    #[error("whole stripes of both geometries together are 2^64 sectors or more")]
    TooLarge,
    /// A unit too large for the members.
    #[error(
        "whole stripes of both geometries together are {unit}, and have to be less than half of \
         what each member holds, {component}; a smaller chunk makes them smaller"
    )]
    HalfTheMember {
        /// The unit.
        unit: Sectors,
        /// The size of each member.
        component: Sectors,
    },
}

/// Chunk and number of members with data, neither of them 0.
fn stripe(geometry: &Geometry) -> Result<(NonZeroU64, NonZeroU64), NoUnit> {
    let chunk = NonZeroU64::new(geometry.chunk().get());
    let disks = geometry.data_disks().and_then(|disks| NonZeroU64::new(u64::from(disks)));
    chunk.zip(disks).ok_or_else(|| NoUnit::NoStripes { level: geometry.level() })
}

/// The least number of array sectors that are whole stripes of both geometries (mdadm's
/// `backup_blocks`).
pub fn unit(old: &Geometry, new: &Geometry) -> Result<Sectors, NoUnit> {
    let ((c, d), (new_c, new_d)) = (stripe(old)?, stripe(new)?);
    let one = c.checked_mul(d).ok_or(NoUnit::TooLarge)?;
    let other = new_c.checked_mul(new_d).ok_or(NoUnit::TooLarge)?;
    let common = gcd(one, other);
    let unit = (one.get() / common).checked_mul(other.get()).ok_or(NoUnit::TooLarge)?;
    Ok(Sectors::new(unit))
}

/// The unit to work with: where as many disks hold data as before, it is doubled up to 16 MiB, as
/// far as it stays small beside what the smaller of both geometries uses of a member.
pub fn working_unit(old: &Geometry, new: &Geometry) -> Result<Sectors, NoUnit> {
    const ENOUGH: u64 = 32_768;
    let component = old.component().min(new.component());
    let mut unit = unit(old, new)?.get();
    if old.data_disks() == new.data_disks() {
        while unit < ENOUGH && unit.saturating_mul(32) < component.get() {
            unit = unit.checked_mul(2).ok_or(NoUnit::TooLarge)?;
        }
    }
    let unit = Sectors::new(unit);
    if unit.get() >= component.get() / 2 {
        return Err(NoUnit::HalfTheMember { unit, component });
    }
    Ok(unit)
}

/// How far data offsets have to move, at least, for a reshape without a backup: a unit's rows in
/// the old geometry; for RAID10, the rows that the copies of a chunk take.
pub fn least_offset_change(old: &Geometry, new: &Geometry) -> Result<Sectors, NoUnit> {
    if let (Layout::Raid10(old_copies), Layout::Raid10(new_copies)) = (old.layout(), new.layout()) {
        let depth = |geometry: &Geometry, far: u8| geometry.chunk().get().checked_mul(far.into());
        let old = depth(old, old_copies.far).ok_or(NoUnit::TooLarge)?;
        let new = depth(new, new_copies.far).ok_or(NoUnit::TooLarge)?;
        return Ok(Sectors::new(old.max(new)));
    }
    let (_, d) = stripe(old)?;
    Ok(Sectors::new(unit(old, new)?.get() / d))
}

/// The part of the array that overwrites its own source, the data offset staying as it is.
pub fn critical_section(old: &Geometry, new: &Geometry) -> Result<Critical, NoUnit> {
    let (before, after) = (stripe(old)?, stripe(new)?);
    let low = match before.1.cmp(&after.1) {
        std::cmp::Ordering::Equal => return Ok(Critical::Everywhere),
        std::cmp::Ordering::Less => overtaken(before, after)?,
        std::cmp::Ordering::Greater => overtaken(after, before)?,
    };
    Ok(Critical::Low(Sectors::new(low)))
}

/// The least whole number of wide stripes whose data, laid in narrow ones, reaches whole chunks
/// further down the members: array sectors. From there on narrow rows are ahead for good.
///
/// Both the number of wide stripes and of narrow chunks rise with every round, so that the rounds
/// are at most as many as there are members.
fn overtaken(
    (narrow_c, narrow_d): (NonZeroU64, NonZeroU64),
    (wide_c, wide_d): (NonZeroU64, NonZeroU64),
) -> Result<u64, NoUnit> {
    let narrow = u128::from(narrow_c.get()).checked_mul(u128::from(narrow_d.get()));
    let narrow = narrow.filter(|&stripe| stripe > 0).ok_or(NoUnit::TooLarge)?;
    let wide = wide_c.checked_mul(wide_d).map(|stripe| u128::from(stripe.get()));
    let wide = wide.ok_or(NoUnit::TooLarge)?;
    let mut stripes = 1_u128;
    loop {
        let end = stripes.checked_mul(wide).ok_or(NoUnit::TooLarge)?;
        let chunks = end.checked_div(narrow).ok_or(NoUnit::TooLarge)?;
        let narrow_row = chunks.checked_mul(u128::from(narrow_c.get()));
        let wide_row = stripes.checked_mul(u128::from(wide_c.get()));
        let (narrow_row, wide_row) = narrow_row.zip(wide_row).ok_or(NoUnit::TooLarge)?;
        if narrow_row > wide_row {
            return u64::try_from(end).map_err(|_| NoUnit::TooLarge);
        }
        let next = chunks.checked_add(1).and_then(|chunks| chunks.checked_mul(narrow));
        let next = next.map(|data| data.div_ceil(wide)).ok_or(NoUnit::TooLarge)?;
        stripes = next;
    }
}

fn gcd(one: NonZeroU64, other: NonZeroU64) -> NonZeroU64 {
    match NonZeroU64::new(one.get() % other) {
        None => other,
        Some(rest) => gcd(other, rest),
    }
}

#[cfg(test)]
#[expect(clippy::arithmetic_side_effects, reason = "a sum that overflows fails the test")]
mod tests {
    use proptest::prelude::*;

    use super::super::tests::geometry;
    use super::*;

    /// A RAID5 with that many members with data.
    fn raid5(chunk: u64, data: u32) -> Geometry {
        geometry(Level::Raid5, 2, chunk, data + 1, 1 << 30)
    }

    #[test]
    fn units_and_critical_sections_are_those_of_the_table() {
        let low = |sectors| Critical::Low(Sectors::new(sectors));
        for ((c, d), (new_c, new_d), whole, offset, critical) in [
            ((1024, 3), (1024, 4), 12288, 4096, low(12288)),
            ((1024, 2), (1024, 3), 6144, 3072, low(6144)),
            ((128, 4), (128, 5), 2560, 640, low(2560)),
            ((128, 2), (128, 5), 1280, 640, low(640)),
            ((1024, 3), (128, 3), 3072, 1024, Critical::Everywhere),
            ((128, 4), (1024, 4), 4096, 1024, Critical::Everywhere),
            ((1024, 4), (1024, 3), 12288, 3072, low(12288)),
            ((1024, 4), (64, 3), 12288, 3072, low(4096)),
        ] {
            let (old, new) = (raid5(c, d), raid5(new_c, new_d));
            assert_eq!(unit(&old, &new), Ok(Sectors::new(whole)));
            assert_eq!(least_offset_change(&old, &new), Ok(Sectors::new(offset)));
            assert_eq!(critical_section(&old, &new), Ok(critical));
        }
    }

    #[test]
    fn units_of_as_many_data_disks_are_doubled_while_they_are_small() {
        let of = |component| {
            let old = geometry(Level::Raid5, 2, 128, 4, component);
            let new = geometry(Level::Raid5, 3, 128, 4, component);
            working_unit(&old, &new).map(Sectors::get)
        };
        assert_eq!(of(1 << 30), Ok(49_152), "384 doubled until it is 32768 or more");
        assert_eq!(of(384 * 32), Ok(384), "a thirty-second part is large enough");
        assert_eq!(of(384 * 32 + 128), Ok(768));
        let (unit, component) = (Sectors::new(384), Sectors::new(768));
        let refused = NoUnit::HalfTheMember { unit, component };
        let old = geometry(Level::Raid5, 2, 128, 4, 768);
        assert_eq!(working_unit(&old, &old), Err(refused));
    }

    #[test]
    fn raid10_moves_its_offset_by_the_rows_of_a_chunk() {
        let old = geometry(Level::Raid10, 0x102, 128, 4, 1 << 20);
        let new = geometry(Level::Raid10, 0x10201, 128, 4, 1 << 20);
        assert_eq!(least_offset_change(&old, &new), Ok(Sectors::new(256)));
        assert_eq!(unit(&old, &new), Err(NoUnit::NoStripes { level: Level::Raid10 }));
    }

    proptest! {
        #[test]
        fn the_critical_section_is_the_first_that_a_walk_finds_for_all(
            c in 3..12_u32, d in 1..9_u32, new_c in 3..12_u32, more in 1..9_u32,
        ) {
            let (c, new_c, new_d) = (1_u64 << c, 1_u64 << new_c, d + more);
            let (old, new) = (raid5(c, d), raid5(new_c, new_d));
            let (wide, narrow) = (new_c * u64::from(new_d), c * u64::from(d));
            let first = (1..1 << 20).find(|k| k * wide / narrow * c > k * new_c).unwrap();
            let expected = Critical::Low(Sectors::new(first * wide));
            prop_assert_eq!(critical_section(&old, &new), Ok(expected));
            prop_assert_eq!(critical_section(&new, &old), Ok(expected), "the way back is the same");
        }
    }
}
