//! The picture of a layout: which member holds which chunk.

use std::fmt;
use std::num::NonZeroU64;

use kcopy::Sectors;

use super::{BadShape, Geometry, Layout, Level, MAX_DISKS, On, Shape, Stripes};
use crate::units::{MemberSector, Slot};

/// What a picture shows in one row of one member.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Cell {
    /// The chunk of the array with this number.
    Data(u64),
    /// The sum of the row's data.
    P,
    /// The weighted sum of the row's data.
    Q,
    /// Nothing.
    Unused,
}

/// A picture of members side by side, one chunk high per row. Presentation is the caller's; the
/// `Display` is plain text.
///
/// ```
/// use kcopy::Sectors;
/// use reshape::geometry::{Drawing, Layout, Level, Shape};
///
/// let shape = Shape {
///     level: Level::Raid5,
///     layout: Layout::default_of(Level::Raid5),
///     chunk: Sectors::new(128),
///     raid_disks: 3,
///     component: Sectors::ZERO,
///     member_sizes: &[],
/// };
/// let picture = Drawing::sample(&shape, None)?;
/// assert_eq!(picture.to_string(), "0 1 P\n3 P 2\nP 4 5\n");
/// # Ok::<(), reshape::geometry::BadShape>(())
/// ```
#[derive(Clone, Debug)]
pub struct Drawing {
    geometry: Geometry,
    unit: NonZeroU64,
    rows: u64,
}

/// The fewest rows of a picture that nobody asked to be smaller.
const FEWEST_ROWS: u64 = 3;

/// A row's height where there is no chunk: a page.
const PAGE: NonZeroU64 = NonZeroU64::new(8).expect("8 is not 0");

impl Drawing {
    /// The picture of a small array of this shape, with so many rows, or else as many as it takes
    /// until the pattern repeats. The sizes in `shape` do not matter.
    ///
    /// # Errors
    ///
    /// What does not go together, and too few rows to hold anything.
    pub fn sample(shape: &Shape<'_>, rows: Option<u64>) -> Result<Self, BadShape> {
        let unit = NonZeroU64::new(shape.chunk.get()).unwrap_or(PAGE);
        let rows = rows.unwrap_or_else(|| rows_of_pattern(shape));
        let size = Sectors::new(rows.checked_mul(unit.get()).ok_or(BadShape::TooLarge)?);
        let members = shape.raid_disks.min(MAX_DISKS.saturating_add(1));
        let sizes = vec![size; usize::try_from(members).map_err(|_| BadShape::TooLarge)?];
        let geometry = Geometry::new(&Shape { component: size, member_sizes: &sizes, ..*shape })?;
        Ok(Self { geometry, unit, rows })
    }

    /// The picture of the first `rows` rows of an array (fewer if it has fewer).
    pub fn of(geometry: &Geometry, rows: u64) -> Self {
        let unit = NonZeroU64::new(geometry.chunk().get()).unwrap_or(PAGE);
        let most = geometry.component().get().div_ceil(unit.get());
        Self { geometry: geometry.clone(), unit, rows: rows.min(most) }
    }

    /// What is drawn.
    pub const fn geometry(&self) -> &Geometry {
        &self.geometry
    }

    /// How many rows there are; as many columns as members.
    pub const fn rows(&self) -> u64 {
        self.rows
    }

    /// After how many rows everything is on the same members again; `None` if that never happens:
    /// in linear arrays, far copies, and RAID0 of several zones.
    pub fn pattern(&self) -> Option<u64> {
        let zones = self.geometry.zones().len();
        match self.geometry.layout() {
            Layout::Raid10(layout) if layout.offset || layout.far == 1 => {
                let (near, far) = (u64::from(layout.near), u64::from(layout.far));
                let common = gcd(near, u64::from(self.geometry.raid_disks()));
                near.checked_div(common).map(|rows| rows.saturating_mul(far))
            }
            Layout::Raid10(_) => None,
            Layout::Raid0(_) | Layout::None if zones > 1 => None,
            Layout::None if self.geometry.level() == Level::Linear => None,
            Layout::None | Layout::Raid0(_) | Layout::Raid5(_) | Layout::Raid6(_) => {
                Some(self.geometry.stripes().map_or(1, |stripes| stripes.period().into()))
            }
        }
    }

    /// What member `slot` has in row `row`.
    pub fn cell(&self, row: u64, slot: Slot) -> Cell {
        let Some(at) = row.checked_mul(self.unit.get()) else { return Cell::Unused };
        match self.geometry.on(slot, MemberSector::new(at)) {
            On::Data(array) => Cell::Data(array.get() / self.unit),
            On::P { .. } => Cell::P,
            On::Q { .. } => Cell::Q,
            On::Unused => Cell::Unused,
        }
    }

    /// A row's cells, by slots.
    pub fn row(&self, row: u64) -> impl ExactSizeIterator<Item = (Slot, Cell)> + '_ {
        let slots = 0..self.geometry.raid_disks();
        slots.map(move |slot| (Slot::new(slot), self.cell(row, Slot::new(slot))))
    }
}

/// Rows of a sample: the pattern as a whole, as often as it takes to be seen.
fn rows_of_pattern(shape: &Shape<'_>) -> u64 {
    let pattern = match shape.layout {
        // In so many rows copies come out even, whatever the number of members.
        Layout::Raid10(layout) => u64::from(layout.copies()).max(1),
        Layout::None | Layout::Raid0(_) | Layout::Raid5(_) | Layout::Raid6(_) => {
            let stripes = Stripes::new(shape.layout, shape.raid_disks);
            stripes.map_or(1, |stripes| stripes.period().into())
        }
    };
    pattern.saturating_mul(FEWEST_ROWS.div_ceil(pattern))
}

fn gcd(one: u64, other: u64) -> u64 {
    match one.checked_rem(other) {
        None => one,
        Some(rest) => gcd(other, rest),
    }
}

impl fmt::Display for Cell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Data(chunk) => f.pad(&chunk.to_string()),
            Self::P => f.pad("P"),
            Self::Q => f.pad("Q"),
            Self::Unused => f.pad("-"),
        }
    }
}

/// One line per row, columns of one width, without blanks at the ends of lines.
impl fmt::Display for Drawing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let cells = (0..self.rows).flat_map(|row| self.row(row));
        let width = cells.map(|(_, cell)| cell.to_string().len()).max().unwrap_or(1);
        for row in 0..self.rows {
            let line: Vec<String> =
                self.row(row).map(|(_, cell)| format!("{cell:<width$}")).collect();
            writeln!(f, "{}", line.join(" ").trim_end())?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::geometry;
    use super::*;

    fn drawn(level: Level, layout: &str, raid_disks: u32) -> String {
        let layout = match layout {
            "" => Layout::default_of(level),
            name => Layout::parse(level, name).unwrap(),
        };
        let chunk = Sectors::new(if level == Level::Raid1 { 0 } else { 128 });
        let shape =
            Shape { level, layout, chunk, raid_disks, component: Sectors::ZERO, member_sizes: &[] };
        Drawing::sample(&shape, None).unwrap().to_string()
    }

    #[test]
    fn pictures_show_who_holds_what() {
        let six = "0 1 P Q\n3 P 2 Q\nP 4 5 Q\n";
        assert_eq!(drawn(Level::Raid6, "left-symmetric-6", 4), six);
        assert_eq!(drawn(Level::Raid10, "f2", 3), "0 1 2\n3 4 5\n2 0 1\n5 3 4\n");
        assert_eq!(drawn(Level::Raid10, "n2", 3), "0 0 1\n1 2 2\n3 3 4\n4 5 5\n");
        assert_eq!(drawn(Level::Raid1, "", 2), "0 0\n1 1\n2 2\n");
        assert_eq!(drawn(Level::Raid4, "", 3), "0 1 P\n2 3 P\n4 5 P\n");
        assert_eq!(drawn(Level::Linear, "", 2), "0 3\n1 4\n2 5\n");
        let wide = "0  1  2  3 \n4  5  6  7 \n8  9  10 11\n".replace(" \n", "\n");
        assert_eq!(drawn(Level::Raid0, "", 4), wide);
    }

    #[test]
    fn a_pattern_repeats_on_the_same_members_and_not_before() {
        for (level, layout, raid_disks, pattern) in [
            (Level::Linear, 0, 3, None),
            (Level::Raid0, 1, 3, Some(1)),
            (Level::Raid1, 0, 3, Some(1)),
            (Level::Raid5, 2, 4, Some(4)),
            (Level::Raid6, 18, 5, Some(4)),
            (Level::Raid10, 0x102, 4, Some(1)),
            (Level::Raid10, 0x102, 5, Some(2)),
            (Level::Raid10, 0x104, 6, Some(2)),
            (Level::Raid10, 0x10201, 5, Some(2)),
            (Level::Raid10, 0x201, 5, None),
        ] {
            let geometry = geometry(level, layout, 8, raid_disks, 800);
            assert_eq!(Drawing::of(&geometry, 9).pattern(), pattern, "{level} {layout:#x}");
        }
    }

    #[test]
    fn nothing_is_drawn_of_what_cannot_be() {
        let shape = Shape {
            level: Level::Raid6,
            layout: Layout::default_of(Level::Raid6),
            chunk: Sectors::new(128),
            raid_disks: 3,
            component: Sectors::ZERO,
            member_sizes: &[],
        };
        assert!(matches!(Drawing::sample(&shape, None), Err(BadShape::Disks { .. })));
        let shape = Shape { raid_disks: u32::MAX, ..shape };
        assert!(matches!(Drawing::sample(&shape, None), Err(BadShape::Disks { .. })));
        let shape = Shape { raid_disks: 4, ..shape };
        assert!(matches!(Drawing::sample(&shape, Some(0)), Err(BadShape::TooSmall { .. })));
        assert_eq!(Drawing::sample(&shape, Some(u64::MAX)).err(), Some(BadShape::TooLarge));
    }

    #[test]
    fn members_of_several_sizes_end_where_they_end() {
        let sizes = [3, 5, 5].map(|chunks| Sectors::new(chunks * 8));
        let shape = Shape {
            level: Level::Raid0,
            layout: Layout::parse(Level::Raid0, "original").unwrap(),
            chunk: Sectors::new(8),
            raid_disks: 3,
            component: Sectors::ZERO,
            member_sizes: &sizes,
        };
        let geometry = Geometry::new(&shape).unwrap();
        let picture = Drawing::of(&geometry, 9);
        assert_eq!(picture.rows(), 5);
        let bottom = "-  10 9\n-  12 11\n";
        assert!(picture.to_string().ends_with(bottom), "{picture}");
        assert_eq!(picture.cell(u64::MAX, Slot::new(0)), Cell::Unused);
    }
}
