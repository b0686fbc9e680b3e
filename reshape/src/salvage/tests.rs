//! The front finder against members that are numbers: one for each 4 KiB.

use std::collections::HashMap;

use kcopy::backend::sim::{DiskOptions, SimWorld};
use kcopy::{Sector, Sectors};
use proptest::prelude::*;

use super::doubt::Doubt;
use super::front::{Decision, Evidence, RowSeen, UnitSeen, decide};
use super::look::{Lens, Look, Says};
use super::saved::vouches;
use super::walk::{UNIT, Walk};
use crate::array::{Backup, Leg, View};
use crate::geometry::{Geometry, Layout, Level, Part, Shape};
use crate::metadata::{BackupHeader, Direction, Section, Timestamp};
use crate::units::{ArraySector, Slot};

/// Rows of 4 KiB on each member.
const ROWS: u64 = 96;
/// Where the old data begins, in units.
const OFFSET: u64 = 64;

/// Members of which each unit is a number, 0 for zeros.
struct Model {
    walk: Walk,
    old: Geometry,
    new: Geometry,
    /// Where the new data begins, in units.
    offset: u64,
    cells: HashMap<(u32, u64), u64>,
    content: Vec<u64>,
}

#[derive(Clone, Copy, Debug)]
struct Case {
    level: (Level, u32, u32),
    new_level: (Level, u32, u32),
    chunks: (u64, u64),
    shift: i64,
    direction: Direction,
}

fn geometry(chunk: u64, (level, layout, disks): (Level, u32, u32)) -> Geometry {
    Geometry::new(&Shape {
        level,
        layout: Layout::from_md(level, layout).expect("a layout"),
        chunk: Sectors::new(chunk * UNIT),
        raid_disks: disks,
        component: Sectors::new(ROWS * UNIT),
        member_sizes: &[],
    })
    .expect("a shape")
}

impl Model {
    fn new(case: Case, seed: u64, zeros: u64) -> Self {
        let (old, new) =
            (geometry(case.chunks.0, case.level), geometry(case.chunks.1, case.new_level));
        let world = SimWorld::new(seed);
        let offset = OFFSET.checked_add_signed(case.shift).expect("on the device");
        let view = |geometry: &Geometry, offset: u64| {
            let leg = |_| {
                let device = world.add_disk(DiskOptions::new(1 << 20)).device();
                let data_offset = Sector::new(offset * UNIT);
                Some(Leg { device, data_offset, good_to: None, bad: Vec::new() })
            };
            View::of(geometry.clone(), (0..geometry.raid_disks()).map(leg).collect())
        };
        let walk = Walk::new(&view(&old, OFFSET), &view(&new, offset), case.direction);
        let mut random = kcopy::backend::sim::Rng::new(seed);
        let units = walk.content().get() / UNIT;
        let number = |_| if random.chance(zeros, 100) { 0 } else { random.below(u64::MAX - 1) + 1 };
        let content: Vec<u64> = (0..units).map(number).collect();
        let mut model = Self { walk, old, new, offset, cells: HashMap::new(), content };
        model.fill();
        model
    }

    /// Has all content in the old stripes.
    fn fill(&mut self) {
        for row in 0..ROWS {
            let (old, content) = (self.old.clone(), self.content.clone());
            self.write(&old, OFFSET, row, &|unit| content.get(index(unit)).copied().unwrap_or(0));
        }
    }

    /// Numbers the content: rows of regular content add up by accident.
    fn number(&mut self) {
        self.content = (1..).take(self.content.len()).collect();
        self.fill();
    }

    /// Writes a row of one geometry with what `content` gives for its units.
    fn write(&mut self, geometry: &Geometry, offset: u64, row: u64, content: &dyn Fn(u64) -> u64) {
        let (mut p, mut q, mut parities) = (0, 0_u64, Vec::new());
        for slot in 0..geometry.raid_disks() {
            match part(geometry, row, slot) {
                Ok((unit, power)) => {
                    let number = content(unit);
                    p ^= number;
                    q = q.wrapping_add(number.wrapping_mul(weight(power)));
                    self.cells.insert((slot, offset + row), number);
                }
                Err(is_p) => parities.push((slot, is_p)),
            }
        }
        for (slot, is_p) in parities {
            self.cells.insert((slot, offset + row), if is_p { p } else { q });
        }
    }

    /// Moves everything up to a time.
    fn walk_to(&mut self, time: u64) {
        for time in 0..time {
            let (new, content) = (self.new.clone(), self.content.clone());
            let row = self.walk.row_time(time);
            self.write(&new, self.offset, row, &|unit| {
                content.get(index(unit)).copied().unwrap_or(0)
            });
        }
    }

    /// Writes of some rows what some members have of them.
    fn write_some(&mut self, times: std::ops::Range<u64>, has: &mut dyn FnMut(u64, u32) -> bool) {
        let before = self.cells.clone();
        for time in times {
            let row = self.walk.row_time(time);
            let (new, content) = (self.new.clone(), self.content.clone());
            self.write(&new, self.offset, row, &|unit| {
                content.get(index(unit)).copied().unwrap_or(0)
            });
            for slot in (0..self.new.raid_disks()).filter(|slot| !has(time, *slot)) {
                let at = (slot, self.offset + row);
                let kept = before.get(&at).copied().unwrap_or(0);
                self.cells.insert(at, kept);
            }
        }
    }

    fn cell(&self, slot: u32, at: u64) -> u64 {
        self.cells.get(&(slot, at)).copied().unwrap_or(0)
    }

    fn says(&self, geometry: &Geometry, offset: u64, row: u64) -> Option<Says> {
        if row >= ROWS {
            return None;
        }
        let (mut p, mut q) = (0, 0_u64);
        let (mut stored_p, mut stored_q) = (0, None);
        for slot in 0..geometry.raid_disks() {
            let number = self.cell(slot, offset + row);
            match part(geometry, row, slot) {
                Ok((_, power)) => {
                    p ^= number;
                    q = q.wrapping_add(number.wrapping_mul(weight(power)));
                }
                Err(true) => stored_p = number,
                Err(false) => stored_q = Some(number),
            }
        }
        Some(match stored_q {
            None if p == stored_p => Says::Sum,
            Some(stored) if p == stored_p && stored == q => Says::Agree,
            None | Some(_) => Says::Disagree,
        })
    }

    fn read(&self, geometry: &Geometry, offset: u64, unit: u64) -> u64 {
        let at = geometry.at(ArraySector::new(unit * UNIT)).expect("in the array");
        let place = at.places.first().expect("a place");
        self.cell(place.slot.get(), offset + place.sector.get() / UNIT)
    }

    fn look(&self) -> Evidence {
        let mut evidence = Evidence::default();
        let shift =
            i64::try_from(self.offset).expect("small") - i64::try_from(OFFSET).expect("small");
        for row in 0..ROWS {
            let old = row.checked_add_signed(shift);
            let disks = self.old.raid_disks().max(self.new.raid_disks());
            let blank = (0..disks).all(|slot| self.cell(slot, self.offset + row) == 0);
            let old = old.and_then(|old| self.says(&self.old, OFFSET, old));
            let new = self.says(&self.new, self.offset, row);
            let seen = if blank { RowSeen::Unknown } else { RowSeen::from(old, new) };
            let time = self.walk.row_time(row);
            evidence.rows(time..time.saturating_add(1), seen);
        }
        for unit in (0..).take(self.content.len()) {
            let old = self.read(&self.old, OFFSET, unit);
            let new = self.read(&self.new, self.offset, unit);
            let seen = match old == new {
                _ if self.walk.stays(unit) => UnitSeen::Stays,
                false => UnitSeen::Differs,
                true if old == 0 => UnitSeen::Unknown,
                true => UnitSeen::Same,
            };
            evidence.units(unit..unit + 1, seen);
        }
        evidence
    }

    /// Units that a decision reads wrongly, or not at all.
    fn wrong(&self, decision: &Decision) -> Vec<u64> {
        let wrong = |unit: &u64| {
            let expected = self.content[index(*unit)];
            let before = match self.walk.direction() {
                Direction::Forwards => unit * UNIT < decision.resume.get(),
                Direction::Backwards => unit * UNIT >= decision.resume.get(),
            };
            let read = if before {
                self.read(&self.new, self.offset, *unit)
            } else {
                self.read(&self.old, OFFSET, *unit)
            };
            read != expected
        };
        (0..).take(self.content.len()).filter(wrong).collect()
    }

    /// Units that are not where a decision says, of those for which all fronts that it allows say the same.
    fn mistaken(&self, decision: &Decision) -> Vec<u64> {
        let (first, last) = (*decision.front.start(), *decision.front.end());
        let mistaken = |unit: &u64| {
            let expected = self.content[index(*unit)];
            if self.walk.born(*unit) < first {
                return self.read(&self.new, self.offset, *unit) != expected;
            }
            self.walk.dies(*unit) >= last && self.read(&self.old, OFFSET, *unit) != expected
        };
        (0..).take(self.content.len()).filter(mistaken).collect()
    }
}

fn index(unit: u64) -> usize {
    usize::try_from(unit).expect("small")
}

fn weight(power: u32) -> u64 {
    0x9e37_79b9_7f4a_7c15_u64.wrapping_mul(u64::from(power) * 2 + 3) | 1
}

/// What stands at a place that holds a unit: no two are alike, and none is uniform.
fn bytes_of(unit: u64) -> Vec<u8> {
    (0..512_u64).flat_map(|word| (unit << 32 | word << 8 | 1).to_le_bytes()).collect()
}

/// A chunk change of a RAID10 of five members stopped at a checkpoint: its chunks were no longer there for whoever went
/// on, "256 sectors of the content are nowhere". Where new chunks begin in the middle of old ones, the copy that is
/// overwritten last is another one before that place than behind it, and one was taken for all of the chunk.
#[test]
fn of_two_copies_the_one_that_stands_longer_is_looked_at_wherever_the_front_is() {
    let shape = |chunk| {
        let layout = Layout::from_md(Level::Raid10, 0x102).expect("near=2");
        let component = Sectors::new(256 * UNIT);
        let (level, chunk) = (Level::Raid10, Sectors::new(chunk * UNIT));
        let shape = Shape { level, layout, chunk, raid_disks: 5, component, member_sizes: &[] };
        Geometry::new(&shape).expect("a shape")
    };
    let (old, new) = (shape(16), shape(64));
    let (old_at, new_at) = (256_u64, 101_u64);
    let units = old.sectors().get() / UNIT;
    let fronts = (0..units).step_by(37);
    // Without a member the copy that is left counts: a RAID10 from which one went, and whose walk had passed its
    // copies, was said to have lost content.
    for (front, gone) in fronts.flat_map(|front| [(front, None), (front, Some(1))]) {
        let world = SimWorld::new(front);
        let disks: Vec<_> = (0..5).map(|_| world.add_disk(DiskOptions::new(4 << 20))).collect();
        let put = |geometry: &Geometry, offset: u64, unit: u64| {
            for place in geometry.at(ArraySector::new(unit * UNIT)).expect("there").places {
                let at = (offset + place.sector.get() / UNIT) * UNIT * kcopy::SECTOR_SIZE;
                disks[index(place.slot.get().into())].write(at, &bytes_of(unit));
            }
        };
        (0..units).for_each(|unit| put(&old, old_at, unit));
        (0..front).for_each(|unit| put(&new, new_at, unit));
        let view = |geometry: &Geometry, offset: u64| {
            let leg = |(slot, disk): (usize, &kcopy::backend::sim::SimDisk)| {
                let (device, data_offset) = (disk.device(), Sector::new(offset * UNIT));
                (Some(slot) != gone).then_some(Leg {
                    device,
                    data_offset,
                    good_to: None,
                    bad: Vec::new(),
                })
            };
            View::of(geometry.clone(), disks.iter().enumerate().map(leg).collect())
        };
        let (old, new) = (view(&old, old_at), view(&new, new_at));
        let walk = Walk::new(&old, &new, Direction::Forwards);
        let mut mover = crate::array::film::mover(&world);
        let mut look = Look::new(&mut mover, &walk, &old, &new);
        let seen = look.at_units(0..units, &mut |_| true).expect("readable");
        for (unit, seen) in seen.into_iter().flat_map(|(units, seen)| units.map(move |u| (u, seen)))
        {
            let (born, dies) = (walk.born(unit), walk.dies(unit));
            let both = born < front && front <= dies;
            let expected = if both { UnitSeen::Same } else { UnitSeen::Differs };
            // One that dies when it is born tells nothing.
            assert!(
                seen == expected || born == dies,
                "unit {unit} with the front at {front}: {seen:?}"
            );
        }
    }
}

/// The unit that a member has in a row, and its weight in Q; or whether it is P.
fn part(geometry: &Geometry, row: u64, slot: u32) -> Result<(u64, u32), bool> {
    let stripes = geometry.stripes().expect("stripes");
    let chunk = geometry.chunk().get() / UNIT;
    let stripe = row / chunk;
    match stripes.part(stripe, Slot::new(slot)) {
        Part::Data { block, power } => {
            let number = stripe * u64::from(stripes.data_disks()) + u64::from(block);
            Ok((number * chunk + row % chunk, power))
        }
        Part::P => Err(true),
        Part::Q => Err(false),
    }
}

fn any_case() -> impl Strategy<Value = Case> {
    use Direction::{Backwards, Forwards};
    let five = |layout, disks| (Level::Raid5, layout, disks);
    let six = |layout, disks| (Level::Raid6, layout, disks);
    let case = |level, new_level, chunks, shift, direction| Case {
        level,
        new_level,
        chunks,
        shift,
        direction,
    };
    proptest::sample::select(vec![
        case(five(2, 4), five(2, 4), (2, 4), -12, Forwards),
        case(five(2, 4), five(1, 4), (2, 2), -8, Forwards),
        case(five(2, 4), five(0, 4), (2, 2), 8, Backwards),
        case(five(2, 3), five(2, 4), (2, 2), -8, Forwards),
        case(five(2, 4), five(2, 3), (2, 2), 8, Backwards),
        case(five(2, 5), six(2, 6), (2, 2), -16, Forwards),
        case(six(18, 5), six(2, 5), (2, 2), -8, Forwards),
        case(six(2, 6), five(2, 5), (2, 2), 12, Backwards),
    ])
}

/// A RAID5 without a member, whose chunk was changed in place: content that stood at its old place by chance, beside a
/// backup that holds the same, spoke for a front behind the freshest record. `reshape salvage` said that all content is
/// there, and 80 sectors were wrong; 16384 of a growth.
#[test]
fn a_front_behind_the_record_is_not_believed_of_a_backup_alone() {
    let world = SimWorld::new(7);
    let view = |chunk: u64| {
        let leg = |slot: u32| {
            let device = world.add_disk(DiskOptions::new(1 << 20)).device();
            let data_offset = Sector::new(OFFSET * UNIT);
            (slot != 2).then_some(Leg { device, data_offset, good_to: None, bad: Vec::new() })
        };
        let geometry = geometry(chunk, (Level::Raid5, 2, 3));
        View::of(geometry, (0..3).map(leg).collect())
    };
    let walk = Walk::new(&view(1), &view(2), Direction::Forwards);
    let (recorded, earlier) = (walk.position(60), walk.position(40));
    let mut evidence = Evidence::default();
    let units = earlier.get() / UNIT..recorded.get() / UNIT;
    evidence.saved(&walk, 0, units, super::front::SavedSeen::Waiting);
    let decision = decide(&evidence, &walk, &[recorded], &|_| false);
    assert!(decision.is_untold && !decision.as_recorded, "{decision:?}");
    assert!(decision.is_ambiguous, "{decision:?}");
    // Nor because a member that was left behind records it.
    let decision = decide(&evidence, &walk, &[recorded, earlier], &|_| false);
    assert!(decision.is_ambiguous && !decision.as_recorded, "{decision:?}");
    let decision = decide(&evidence, &walk, &[earlier], &|_| false);
    assert!(decision.as_recorded && !decision.is_ambiguous, "{decision:?}");
}

/// A RAID5 of three without two of them, whose chunk was changed in place: what a backup holds could not be compared,
/// and counted as what stays where it is. It vouched for the record, and held 40 sectors that mdadm had saved after
/// they were moved: they were not named as what may be wrong.
#[test]
fn a_backup_that_cannot_be_compared_vouches_for_nothing() {
    let vouched = |here: u32| {
        let world = SimWorld::new(11);
        let disk = || world.add_disk(DiskOptions::new(1 << 20)).device();
        let view = |chunk: u64| {
            let leg = |slot: u32| {
                let data_offset = Sector::new(OFFSET * UNIT);
                let leg = Leg { device: disk(), data_offset, good_to: None, bad: Vec::new() };
                (slot < here).then_some(leg)
            };
            View::of(geometry(chunk, (Level::Raid5, 2, 3)), (0..3).map(leg).collect())
        };
        let (old, new) = (view(1), view(2));
        let walk = Walk::new(&old, &new, Direction::Forwards);
        let recorded = walk.position(40);
        let section = Section { array_start: recorded, length: Sectors::new(8 * UNIT) };
        let header = BackupHeader {
            set_uuid: [0; 16],
            mtime: Timestamp { seconds: 7, micros: 0 },
            data_at: Sector::new(UNIT),
            first: section,
            unit: section.length,
            second: None,
            ours: None,
        };
        let at = UNIT * kcopy::SECTOR_SIZE;
        let backups = [Backup { device: disk(), header, sections: vec![(section, at)] }];
        let mut mover = crate::array::film::mover(&world);
        let seen = Look::new(&mut mover, &walk, &old, &new).at_backups(&backups);
        let seen = seen.expect("readable");
        assert!(!seen.waits(0), "{seen:?}");
        vouches((&seen, &walk), &backups, (recorded, 7))
    };
    assert!(vouched(3), "all of it is uniform: where the walk is makes no difference");
    assert!(!vouched(2) && !vouched(1), "of some nothing is known");
}

/// A RAID6 whose Q moves to the last member, without that one: with regular content a block of each row is uniform.
/// By chance such a row adds up, but none disagrees.
#[test]
fn a_row_with_one_syndrome_left_and_a_uniform_block_denies_but_does_not_agree() {
    let says = |layout: u32, row: &[Vec<u8>]| {
        let stripes = *geometry(1, (Level::Raid6, layout, 6)).stripes().expect("stripes");
        let known = (0..).map(Slot::new).zip(row.iter().map(Vec::as_slice));
        Lens { stripes, chunk: 1 }.says(0, &known.collect::<Vec<_>>())
    };
    // Right-asymmetric: P on the first, and Q next to it (1) or on the last (17).
    let mut row: Vec<Vec<u8>> = vec![vec![7; 4096]];
    row.extend((1..4).map(bytes_of));
    let last = (0..4096).map(|at| row.iter().fold(0, |sum, block| sum ^ block[at])).collect();
    row.push(last);
    let (old, new) = (says(1, &row), says(17, &row));
    assert_eq!(old, Some(Says::Disagree), "Q is here, and it is not what the others tell");
    assert_eq!(new, None, "the sum may be right by chance");
    assert_eq!(RowSeen::from(old, new), RowSeen::NotOld);
    row[4][9] ^= 1;
    assert_eq!(says(17, &row), Some(Says::Disagree), "the sum is wrong");
}

/// A RAID5 of three without a member, which one was added to, stood further on than recorded, in place. Content that
/// stood twice told so, but not that members were torn there: 6144 sectors were wrong, "all content is there".
#[test]
fn another_front_in_place_is_not_told_exactly_where_members_may_be_torn() {
    let world = SimWorld::new(5);
    let told = |here: fn(u32) -> bool| {
        let view = |disks: u32| {
            let leg = |slot: u32| {
                let device = world.add_disk(DiskOptions::new(1 << 20)).device();
                let data_offset = Sector::new(OFFSET * UNIT);
                let leg = Leg { device, data_offset, good_to: None, bad: Vec::new() };
                here(slot).then_some(leg)
            };
            View::of(geometry(1, (Level::Raid5, 2, disks)), (0..disks).map(leg).collect())
        };
        let (old, new, evidence) = (view(3), view(4), Evidence::default());
        let walk = Walk::new(&old, &new, Direction::Forwards);
        let found = Decision::at(&walk, walk.position(8), walk.position(0));
        let views = (&old, &new);
        let doubt = Doubt { evidence: &evidence, walk: &walk, views, judged: &[], usable: &[] };
        doubt.unsaved(&found, (&[], 0), None)
    };
    let all = told(|slot| slot != 2).map(|range| (range.start.get(), range.sectors.get()));
    assert_eq!(all, Some((0, 2 * ROWS * UNIT)), "of all of it nothing is known");
    assert_eq!(told(|_| true), None, "rows tell");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn a_front_that_no_record_knows_is_found_for_all(
        case in any_case(), seed: u64, at in 0..=ROWS, zeros in 0..30_u64,
    ) {
        let mut model = Model::new(case, seed, zeros);
        let time = at.min(model.walk.total());
        model.walk_to(time);
        let evidence = model.look();
        let start = model.walk.position(0);
        let decision = decide(&evidence, &model.walk, &[start], &|_| false);
        prop_assert!(!decision.is_ambiguous, "{decision:?}");
        let wrong = model.wrong(&decision);
        prop_assert!(wrong.is_empty(), "at {time}: {decision:?} reads {wrong:?} wrongly");
    }

    #[test]
    fn a_right_record_wins_whatever_is_unknown_for_all(
        case in any_case(), seed: u64, at in 0..=ROWS, zeros in 0..=100_u64,
    ) {
        let mut model = Model::new(case, seed, zeros);
        let time = at.min(model.walk.total());
        model.walk_to(time);
        let evidence = model.look();
        let recorded = model.walk.position(time);
        prop_assume!(model.walk.sound_until(recorded, &|_| false) >= time);
        let decision = decide(&evidence, &model.walk, &[recorded], &|_| false);
        prop_assert!(decision.as_recorded, "at {time}: {decision:?}, recorded {recorded}");
        let wrong = model.wrong(&decision);
        prop_assert!(wrong.is_empty(), "at {time}: {decision:?} reads {wrong:?} wrongly");
    }

    /// A killed chunk change stood where its record said, and was refused: "the members are torn against each other".
    /// Some members had written of the next rows what others had not, over units that had been moved before.
    #[test]
    fn what_was_being_written_says_nothing_about_what_was_recorded_for_all(
        case in any_case(), seed: u64, at in 0..=ROWS, ahead in 1..40_u64, regular: bool,
    ) {
        let mut model = Model::new(case, seed, 0);
        if regular {
            model.number();
        }
        let time = at.min(model.walk.total());
        model.walk_to(time);
        let recorded = model.walk.position(time);
        let sound = model.walk.sound_until(recorded, &|_| false);
        prop_assume!(sound >= time);
        let end = sound.min(time + ahead).min(model.walk.total());
        let mut random = kcopy::backend::sim::Rng::new(seed);
        let reach: Vec<u64> = (0..8).map(|_| time + random.below(end - time + 1)).collect();
        model.write_some(time..end, &mut |time, slot| time < reach[index(slot.into())]);
        let evidence = model.look();
        let decision = decide(&evidence, &model.walk, &[recorded], &|_| false);
        prop_assert!(decision.as_recorded, "at {time}: {decision:?}, recorded {recorded}");
        prop_assert!(*decision.front.start() >= model.walk.time(recorded), "at {time}: {decision:?}");
    }

    /// A member that lost what it had been flushed: nothing of that may pass for written because the rows behind it
    /// were being written.
    #[test]
    fn what_a_member_lost_before_the_record_is_looked_at_for_all(
        case in any_case(), seed: u64, at in 1..=ROWS, ahead in 0..40_u64, lost in 1..20_u64, slot in 0..4_u32,
    ) {
        let mut model = Model::new(case, seed, 0);
        let time = at.min(model.walk.total());
        let recorded = model.walk.position(time);
        let written = model.walk.time(recorded);
        let sound = model.walk.sound_until(recorded, &|_| false);
        prop_assume!(sound >= time && slot < model.new.raid_disks());
        let from = written.saturating_sub(lost);
        model.walk_to(from);
        let end = sound.min(written + ahead).min(model.walk.total());
        let mut random = kcopy::backend::sim::Rng::new(seed);
        let reach: Vec<u64> = (0..8).map(|_| written + random.below(end - written + 1)).collect();
        let reach = |slot: u32| reach[index(slot.into())];
        model.write_some(from..end, &mut |time, member| match time < written {
            true => member != slot,
            false => time < reach(member),
        });
        let evidence = model.look();
        let decision = decide(&evidence, &model.walk, &[recorded], &|_| false);
        let unseen = model.mistaken(&decision);
        let is_told = !decision.is_ambiguous;
        prop_assert!(unseen.is_empty() || !is_told, "at {written}: {decision:?} reads {unseen:?} wrongly");
    }
}
