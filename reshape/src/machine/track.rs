//! How far new data may be written while old data must stay: the overwrite rule as arithmetic.
//!
//! A reshape walks the array's address space from one end to the other. Behind the front every
//! sector stands in the new geometry, before it in the old one, and both lie on the same members.
//! Everything here is measured in *distance*: array sectors walked from where the reshape begins.
//!
//! ```text
//!  forwards   position = distance             0 ────────────▶ total
//!  backwards  position = total - distance     0 ◀──────────── total
//! ```
//!
//! Seen in distances both directions are the same machine, which is why there is one.
//!
//! # The rule
//!
//! Writing new data up to distance `x` puts rows on the members; old data at distance `kept` and
//! beyond occupies rows, too. No new row may touch an old one:
//!
//! ```text
//!  forwards   last new row of [0, x)   + new offset  <=  first old row of [kept, ..)  + old offset
//!  backwards  first new row of [x, ..) + new offset  >=  last old row of [.., kept)   + old offset
//! ```
//!
//! on every member; [`Track::limit`] is the largest `x` for which that holds. Data offsets differ by
//! `shift` (new minus old), of which the worst member counts: the largest forwards, the smallest
//! backwards.

use std::ops::Range;

use crate::metadata::Direction;
use crate::units::ArraySector;

/// Rows of a geometry: which rows of the members array sectors lie on.
///
/// A row is a sector of a member, counted from its data offset. Chunk `k` of the array lies on rows
/// `k * copies / width * depth * chunk` and the `depth * chunk` following ones:
///
/// | geometry | `width` | `copies` | `depth` |
/// |---|---|---|---|
/// | RAID0, 4, 5, 6 | data disks | 1 | 1 |
/// | RAID10, near copies | raid disks | near copies | 1 |
/// | RAID10, offset copies | raid disks | near copies | far copies |
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rows {
    /// Sectors of a chunk.
    pub chunk: u64,
    /// Chunks, copies included, beside each other in a row.
    pub width: u64,
    /// Copies of a chunk in a row (or running over into the next).
    pub copies: u64,
    /// Rows of chunks that belong together.
    pub depth: u64,
}

impl Rows {
    /// The first row that holds anything of array sector `position` or behind it.
    fn first(self, position: u64) -> u64 {
        let chunk = u128::from(position / self.chunk);
        let row = chunk * u128::from(self.copies) / u128::from(self.width);
        narrow(row * u128::from(self.depth) * u128::from(self.chunk))
    }

    /// The row behind the last one that holds anything before array sector `position`.
    fn end(self, position: u64) -> u64 {
        let copies = u128::from(position.div_ceil(self.chunk)) * u128::from(self.copies);
        let rows = copies.div_ceil(u128::from(self.width));
        narrow(rows * u128::from(self.depth) * u128::from(self.chunk))
    }

    /// The largest position, a whole number of chunks, of which nothing lies on `row` or behind it.
    fn fits_below(self, row: u64) -> u64 {
        let rows = u128::from(row / (self.chunk * self.depth));
        narrow(rows * u128::from(self.width) / u128::from(self.copies) * u128::from(self.chunk))
    }

    /// The smallest position, a whole number of chunks, from which on nothing lies before `row`.
    fn fits_from(self, row: u64) -> u64 {
        let rows = u128::from(row.div_ceil(self.chunk * self.depth));
        let chunks = (rows * u128::from(self.width)).div_ceil(u128::from(self.copies));
        narrow(chunks * u128::from(self.chunk))
    }
}

fn gcd(a: u64, b: u64) -> u64 {
    if b == 0 { a.max(1) } else { gcd(b, a % b) }
}

/// Sizes of arrays fit in 64 bits; what does not is behind every array's end.
fn narrow(value: u128) -> u64 {
    u64::try_from(value).unwrap_or(u64::MAX)
}

/// The way of one reshape. See the module.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Track {
    /// The geometry before.
    pub old: Rows,
    /// The geometry after.
    pub new: Rows,
    /// Which way.
    pub direction: Direction,
    /// New data offset minus old one, in sectors, of the worst member.
    pub shift: i64,
    /// Array sectors to walk: where the reshape ends (forwards) or begins (backwards).
    pub total: u64,
    /// Array sectors that have content in the old geometry; behind them there is nothing to keep.
    pub content: u64,
    /// Positions are multiples of this many array sectors: the larger chunk times the new width.
    pub unit: u64,
}

impl Track {
    /// The array sector at `distance`.
    pub fn position(&self, distance: u64) -> ArraySector {
        ArraySector::new(match self.direction {
            Direction::Forwards => distance,
            Direction::Backwards => self.total.saturating_sub(distance),
        })
    }

    /// The distance of array sector `position`; `None` if it lies behind the end of the way.
    pub fn distance(&self, position: ArraySector) -> Option<u64> {
        let position = position.get();
        match self.direction {
            _ if position > self.total => None,
            Direction::Forwards => Some(position),
            Direction::Backwards => Some(self.total - position),
        }
    }

    /// The distances between which `sectors` from array sector `start` on lie. What is behind the end of the way
    /// does not count: there the larger of both arrays has nothing that the smaller one has.
    pub fn stretch(&self, start: ArraySector, sectors: u64) -> Range<u64> {
        let first = start.get().min(self.total);
        let end = start.get().saturating_add(sectors).min(self.total);
        match self.direction {
            Direction::Forwards => first..end,
            Direction::Backwards => self.total - end..self.total - first,
        }
    }

    /// The distance up to which new data may be written while the old data at distance `kept` and
    /// beyond stays untouched; at most [`Track::total`], where the reshape can stand ([`Track::floor`]).
    ///
    /// It may lie before `kept`: then nothing can be written without a copy of the data elsewhere.
    pub fn limit(&self, kept: u64) -> u64 {
        let distance = match self.direction {
            Direction::Forwards => self.limit_forwards(kept),
            Direction::Backwards => self.limit_backwards(kept),
        };
        self.floor(distance)
    }

    /// The last distance up to this one at which the reshape can stand: its position is a multiple of the unit
    /// there, or it is one of the ends.
    pub fn floor(&self, distance: u64) -> u64 {
        let lead = self.lead();
        match distance.checked_sub(lead) {
            _ if distance >= self.total => self.total,
            Some(rest) => lead + rest / self.unit * self.unit,
            None => 0,
        }
    }

    /// The first distance behind this one at which the reshape can stand; at most [`Track::total`].
    pub fn after(&self, distance: u64) -> u64 {
        let stands = self.floor(distance);
        let lead = self.lead();
        let next = if stands < lead { lead } else { stands.saturating_add(self.unit) };
        next.min(self.total)
    }

    /// Backwards, from the end of an array that is no whole number of units (a RAID10 of an odd number of members,
    /// whose chunk changes) the first step is a short one.
    fn lead(&self) -> u64 {
        match self.direction {
            Direction::Forwards => 0,
            Direction::Backwards => self.total % self.unit,
        }
    }

    /// The distance of the place of that number, counted from the beginning, where the reshape can stand.
    fn place(&self, number: u64) -> u64 {
        let lead = self.lead();
        let units = if lead > 0 { number.saturating_sub(1) } else { number };
        let lead = if number == 0 { 0 } else { lead };
        units.saturating_mul(self.unit).saturating_add(lead).min(self.total)
    }

    /// The rule itself, by rows: whether new data up to distance `written` touches no old data at distance `kept`
    /// and beyond. [`Track::limit`] is this, solved for `written` the other way, from rows to positions.
    pub fn is_apart(&self, written: u64, kept: u64) -> bool {
        let shifted = |row: u64| i128::from(row) + i128::from(self.shift);
        match self.direction {
            Direction::Forwards => {
                kept >= self.content
                    || shifted(self.new.end(written)) <= i128::from(self.old.first(kept))
            }
            Direction::Backwards => {
                let [from, to] =
                    [written, kept].map(|distance| self.total.saturating_sub(distance));
                let to = to.min(self.content);
                to == 0 || shifted(self.new.first(from)) >= i128::from(self.old.end(to))
            }
        }
    }

    /// The distance before which old data may be gone once new data was written up to distance `written`: the
    /// nearest that has a [`Track::limit`] of that much, at which the reshape can stand.
    pub fn spoiled(&self, written: u64) -> u64 {
        let written = written.min(self.total);
        let at = |number: u64| self.place(number);
        let (mut low, mut high) = (0, self.total.div_ceil(self.unit));
        while low < high {
            let middle = low.midpoint(high);
            if self.limit(at(middle)) >= written {
                high = middle;
            } else {
                low = middle + 1;
            }
        }
        at(low)
    }

    /// The rows of the members that hold anything of the old geometry at `distance` and beyond; forwards, and those
    /// behind them.
    pub fn old_rows(&self, distance: u64) -> Range<u64> {
        match self.direction {
            Direction::Forwards => self.old.first(distance.min(self.content))..u64::MAX,
            Direction::Backwards => {
                0..self.old.end(self.total.saturating_sub(distance).min(self.content))
            }
        }
    }

    fn limit_forwards(&self, kept: u64) -> u64 {
        if kept >= self.content {
            return self.total;
        }
        match self.old.first(kept).checked_add_signed(self.shift.saturating_neg()) {
            Some(row) => self.new.fits_below(row),
            None => 0,
        }
    }

    fn limit_backwards(&self, kept: u64) -> u64 {
        let position = self.total.saturating_sub(kept).min(self.content);
        if position == 0 {
            return self.total;
        }
        match self.old.end(position).checked_add_signed(self.shift.saturating_neg()) {
            Some(row) => self.total.saturating_sub(self.new.fits_from(row)),
            None => self.total,
        }
    }

    /// Whole stripes of both geometries between two places where a reshape can stand: what a backup section
    /// holds a multiple of.
    pub fn whole_stripes(&self) -> u64 {
        let stripe = |rows: Rows| rows.chunk * rows.width;
        let common = |a: u64, b: u64| a / gcd(a, b) * b;
        common(common(stripe(self.old), stripe(self.new)), self.unit)
    }

    /// Whether a window from `distance` on can be written without a copy elsewhere.
    pub fn is_critical(&self, distance: u64) -> bool {
        distance < self.total && self.limit(distance) <= distance
    }

    /// The distances at which a copy elsewhere is needed: the critical section. At the start of a
    /// growth, at the end of a shrink; all of the way, or nothing of it, if the size stays.
    pub fn critical(&self) -> Range<u64> {
        // Beyond this many units the rows of old and new have parted by more than rounding.
        let (old, new) = (self.old, self.new);
        let apart = new.width * old.copies * new.depth;
        let apart = apart.abs_diff(old.width * new.copies * old.depth);
        if apart == 0 {
            return if self.is_critical(0) { 0..self.total } else { 0..0 };
        }
        let slack = old.chunk * old.depth + new.chunk * new.depth + self.shift.unsigned_abs();
        let near = slack.saturating_mul(new.width).saturating_mul(old.width) / self.unit + 2;
        let units = self.total.div_ceil(self.unit);
        match self.direction {
            Direction::Forwards => {
                let last = (0..near.min(units)).rev().find(|n| self.is_critical(self.place(*n)));
                0..last.map_or(0, |n| self.place(n + 1))
            }
            Direction::Backwards => {
                let from = units.saturating_sub(near);
                let first = (from..=units).find(|n| self.is_critical(self.place(*n)));
                first.map_or(0..0, |n| self.place(n)..self.total)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parity(chunk: u64, data: u64) -> Rows {
        Rows { chunk, width: data, copies: 1, depth: 1 }
    }

    fn grow(chunk: u64, from: u64, to: u64, shift: i64) -> Track {
        let rows = 1024 * 64;
        Track {
            old: parity(chunk, from),
            new: parity(chunk, to),
            direction: Direction::Forwards,
            shift,
            total: rows * to,
            content: rows * from,
            unit: chunk * to,
        }
    }

    #[test]
    fn the_critical_section_of_a_growth_ends_where_the_rows_part() {
        assert_eq!(grow(1024, 3, 4, 0).critical(), 0..12288);
        assert_eq!(grow(1024, 2, 3, 0).critical(), 0..6144);
        assert_eq!(grow(128, 4, 5, 0).critical(), 0..2560);
        assert_eq!(grow(128, 2, 5, 0).critical(), 0..640);
    }

    #[test]
    fn head_room_of_a_unit_frees_the_whole_way() {
        assert_eq!(grow(1024, 2, 3, -3072).critical(), 0..0);
        assert_eq!(grow(1024, 2, 2, -1024).critical(), 0..0);
        let same = grow(1024, 2, 2, 0);
        assert_eq!(same.critical(), 0..same.total);
    }

    #[test]
    fn a_shrink_is_critical_at_its_end_only() {
        let rows = 1024 * 64;
        let track = Track {
            direction: Direction::Backwards,
            total: rows * 3,
            content: rows * 3,
            ..grow(1024, 4, 3, 0)
        };
        // In whole units of the new geometry; mdadm rounds it up to 12288, whole old stripes.
        assert_eq!(track.critical(), track.total - 9216..track.total);
        let roomy = Track { shift: 3072, ..track };
        assert_eq!(roomy.critical(), 0..0);
    }

    #[test]
    fn a_stretch_ends_with_the_way() {
        let there = Track { total: 128, ..grow(8, 2, 3, 0) };
        let back = Track { direction: Direction::Backwards, ..there };
        let at = ArraySector::new;
        assert_eq!((there.stretch(at(16), 32), back.stretch(at(16), 32)), (16..48, 80..112));
        // A section that was saved on the way to a larger array, and is needed on the way back.
        assert_eq!((there.stretch(at(0), 192), back.stretch(at(0), 192)), (0..128, 0..128));
        assert!(there.stretch(at(128), 64).is_empty() && back.stretch(at(128), 64).is_empty());
    }

    /// The rule, said the shortest way: every new row written so far against every old row kept.
    fn overlaps(track: &Track, written: u64, kept: u64) -> bool {
        let rows = |rows: Rows, sectors: Range<u64>| {
            (sectors.start / rows.chunk..sectors.end.div_ceil(rows.chunk)).flat_map(move |chunk| {
                (0..rows.copies).map(move |copy| (chunk * rows.copies + copy) / rows.width)
            })
        };
        let (new, old) = match track.direction {
            Direction::Forwards => (0..written, kept..track.content),
            Direction::Backwards => {
                (track.total - written..track.total, 0..(track.total - kept).min(track.content))
            }
        };
        let band = |r: Rows, row: u64| row * r.depth * r.chunk..(row + 1) * r.depth * r.chunk;
        let shifted = |row: u64| i64::try_from(row).expect("small") + track.shift;
        rows(track.new, new).any(|n| {
            let n = band(track.new, n);
            let (from, to) = (shifted(n.start), shifted(n.end));
            rows(track.old, old.clone()).any(|o| {
                let o = band(track.old, o);
                from < i64::try_from(o.end).expect("small")
                    && i64::try_from(o.start).expect("small") < to
            })
        })
    }

    proptest::proptest! {
        #[test]
        fn no_new_row_below_the_limit_touches_an_old_row_that_is_kept_for_all(
            chunks in (1_u64..4, 1_u64..4), disks in (2_u64..6, 2_u64..6),
            shift in -40_i64..40, rows in 2_u64..7, kept in 0_u64..20, forwards: bool,
        ) {
            let (c, c2) = (1 << chunks.0, 1 << chunks.1);
            let (d, d2) = if forwards == (disks.0 <= disks.1) { disks } else { (disks.1, disks.0) };
            let rows = rows * c.max(c2);
            let direction = if forwards { Direction::Forwards } else { Direction::Backwards };
            let total = rows * d2;
            let content = (rows * d).min(total);
            let track = Track {
                old: parity(c, d), new: parity(c2, d2), direction, shift, total, content,
                unit: c.max(c2) * d2,
            };
            let kept = (kept * track.unit).min(total);
            let limit = track.limit(kept);
            proptest::prop_assert!(!overlaps(&track, limit, kept), "{track:?} kept {kept} limit {limit}");
            for written in (1..=rows).map(|row| row * d2) {
                let apart = track.is_apart(written, kept);
                proptest::prop_assert!(!apart || !overlaps(&track, written, kept), "{track:?} {written}");
                proptest::prop_assert!(apart || written > limit, "{track:?} kept {kept} {written}");
            }
            // Nor could one unit more be written, if the shift goes the way it has to.
            let further = (limit + track.unit).min(total);
            if further > limit && (shift <= 0) == forwards {
                proptest::prop_assert!(overlaps(&track, further, kept), "{track:?} {kept} {limit}");
            }
            let spoiled = track.spoiled(limit);
            proptest::prop_assert!(spoiled <= kept && !overlaps(&track, limit, spoiled), "{track:?} {spoiled}");
        }
    }
}
