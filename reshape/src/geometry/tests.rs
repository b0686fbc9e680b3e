//! The map against the tables of the formats' documentation and against the shortest way to say it.

use std::collections::HashMap;

use kcopy::Sectors;
use proptest::prelude::*;

use super::*;
use crate::units::{ArraySector, MemberSector, Slot};

pub(super) fn geometry(
    level: Level,
    layout: u32,
    chunk: u64,
    disks: u32,
    component: u64,
) -> Geometry {
    let layout = Layout::from_md(level, layout).expect("a layout");
    let sizes = vec![Sectors::new(component); usize::try_from(disks).expect("small")];
    Geometry::new(&Shape {
        level,
        layout,
        chunk: Sectors::new(chunk),
        raid_disks: disks,
        component: Sectors::new(component),
        member_sizes: &sizes,
    })
    .expect("a shape that goes together")
}

/// The stripes as the tables print them: `0 1 2 P · 1 2 P 0`.
fn drawn(geometry: &Geometry, stripes: u64) -> String {
    let shape = geometry.stripes().expect("stripes");
    let cell = |stripe, slot| match shape.part(stripe, Slot::new(slot)) {
        Part::Data { block, .. } => block.to_string(),
        Part::P => "P".to_owned(),
        Part::Q => "Q".to_owned(),
    };
    let row = |stripe| {
        let cells: Vec<_> = (0..geometry.raid_disks()).map(|slot| cell(stripe, slot)).collect();
        cells.join(" ")
    };
    (0..stripes).map(row).collect::<Vec<_>>().join(" · ")
}

#[test]
fn raid5_layouts_are_those_of_the_table() {
    let table = [
        (0, "0 1 2 3 P · 0 1 2 P 3 · 0 1 P 2 3 · 0 P 1 2 3 · P 0 1 2 3 · 0 1 2 3 P"),
        (1, "P 0 1 2 3 · 0 P 1 2 3 · 0 1 P 2 3 · 0 1 2 P 3 · 0 1 2 3 P · P 0 1 2 3"),
        (2, "0 1 2 3 P · 1 2 3 P 0 · 2 3 P 0 1 · 3 P 0 1 2 · P 0 1 2 3 · 0 1 2 3 P"),
        (3, "P 0 1 2 3 · 3 P 0 1 2 · 2 3 P 0 1 · 1 2 3 P 0 · 0 1 2 3 P · P 0 1 2 3"),
        (4, "P 0 1 2 3 · P 0 1 2 3 · P 0 1 2 3 · P 0 1 2 3 · P 0 1 2 3 · P 0 1 2 3"),
        (5, "0 1 2 3 P · 0 1 2 3 P · 0 1 2 3 P · 0 1 2 3 P · 0 1 2 3 P · 0 1 2 3 P"),
    ];
    for (layout, stripes) in table {
        assert_eq!(drawn(&geometry(Level::Raid5, layout, 8, 5, 64), 6), stripes, "{layout}");
    }
}

#[test]
fn raid6_layouts_are_those_of_the_table() {
    let table = [
        (0, "Q 0 1 2 P · 0 1 2 P Q · 0 1 P Q 2 · 0 P Q 1 2 · P Q 0 1 2 · Q 0 1 2 P"),
        (1, "P Q 0 1 2 · 0 P Q 1 2 · 0 1 P Q 2 · 0 1 2 P Q · Q 0 1 2 P · P Q 0 1 2"),
        (2, "Q 0 1 2 P · 0 1 2 P Q · 1 2 P Q 0 · 2 P Q 0 1 · P Q 0 1 2 · Q 0 1 2 P"),
        (3, "P Q 0 1 2 · 2 P Q 0 1 · 1 2 P Q 0 · 0 1 2 P Q · Q 0 1 2 P · P Q 0 1 2"),
        (4, "P Q 0 1 2 · P Q 0 1 2 · P Q 0 1 2 · P Q 0 1 2 · P Q 0 1 2 · P Q 0 1 2"),
        (5, "0 1 2 P Q · 0 1 2 P Q · 0 1 2 P Q · 0 1 2 P Q · 0 1 2 P Q · 0 1 2 P Q"),
        (8, "P Q 0 1 2 · 0 P Q 1 2 · 0 1 P Q 2 · 0 1 2 P Q · Q 0 1 2 P · P Q 0 1 2"),
        (9, "0 1 2 P Q · 0 1 P Q 2 · 0 P Q 1 2 · P Q 0 1 2 · Q 0 1 2 P · 0 1 2 P Q"),
        (10, "0 1 2 Q P · 1 2 Q P 0 · 2 Q P 0 1 · Q P 0 1 2 · P 0 1 2 Q · 0 1 2 Q P"),
        (16, "0 1 2 P Q · 0 1 P 2 Q · 0 P 1 2 Q · P 0 1 2 Q · 0 1 2 P Q · 0 1 P 2 Q"),
        (17, "P 0 1 2 Q · 0 P 1 2 Q · 0 1 P 2 Q · 0 1 2 P Q · P 0 1 2 Q · 0 P 1 2 Q"),
        (18, "0 1 2 P Q · 1 2 P 0 Q · 2 P 0 1 Q · P 0 1 2 Q · 0 1 2 P Q · 1 2 P 0 Q"),
        (19, "P 0 1 2 Q · 2 P 0 1 Q · 1 2 P 0 Q · 0 1 2 P Q · P 0 1 2 Q · 2 P 0 1 Q"),
        (20, "P 0 1 2 Q · P 0 1 2 Q · P 0 1 2 Q · P 0 1 2 Q · P 0 1 2 Q · P 0 1 2 Q"),
    ];
    for (layout, stripes) in table {
        assert_eq!(drawn(&geometry(Level::Raid6, layout, 8, 5, 64), 6), stripes, "{layout}");
    }
}

#[test]
fn raid6_weights_are_those_of_the_discriminators() {
    // Data 1, 2, 4 in the order of the blocks: Q tells which weight each of them has.
    let q_of = |layout, stripe| {
        let shape = geometry(Level::Raid6, layout, 8, 5, 64);
        let shape = shape.stripes().expect("stripes");
        let mut q = 0_u32;
        for slot in 0..5 {
            if let Part::Data { block, power } = shape.part(stripe, Slot::new(slot)) {
                let mut value = 1_u32 << block;
                for _ in 0..power {
                    value = if value & 0x80 == 0 { value << 1 } else { (value << 1 & 0xff) ^ 0x1d };
                }
                q ^= value;
            }
        }
        q
    };
    let table =
        [(0, 0, 0x15), (0, 2, 0x0e), (2, 0, 0x15), (18, 1, 0x0e), (9, 2, 0x51), (10, 1, 0x1a)];
    for (layout, stripe, q) in table {
        assert_eq!(q_of(layout, stripe), q, "layout {layout}, stripe {stripe}");
    }
}

#[test]
fn raid10_copies_are_those_of_the_table() {
    // Far rows are printed as 100 per stride, as the table does.
    let table = [
        (0x102, 4, "0.0+1.0 ; 2.0+3.0 ; 0.1+1.1 ; 2.1+3.1 ; 0.2+1.2 ; 2.2+3.2"),
        (0x102, 5, "0.0+1.0 ; 2.0+3.0 ; 4.0+0.1 ; 1.1+2.1 ; 3.1+4.1 ; 0.2+1.2"),
        (
            0x103,
            5,
            "0.0+1.0+2.0 ; 3.0+4.0+0.1 ; 1.1+2.1+3.1 ; 4.1+0.2+1.2 ; 2.2+3.2+4.2 ; 0.3+1.3+2.3",
        ),
        (0x201, 4, "0.0+1.100 ; 1.0+2.100 ; 2.0+3.100 ; 3.0+0.100 ; 0.1+1.101 ; 1.1+2.101"),
        (0x201, 5, "0.0+1.100 ; 1.0+2.100 ; 2.0+3.100 ; 3.0+4.100 ; 4.0+0.100 ; 0.1+1.101"),
        (0x40201, 4, "0.0+1.100 ; 1.0+0.100 ; 2.0+3.100 ; 3.0+2.100 ; 0.1+1.101 ; 1.1+0.101"),
        (0x40201, 5, "0.0+1.100 ; 1.0+0.100 ; 2.0+3.100 ; 3.0+4.100 ; 4.0+2.100 ; 0.1+1.101"),
        (0x40201, 7, "0.0+1.100 ; 1.0+0.100 ; 2.0+3.100 ; 3.0+2.100 ; 4.0+5.100 ; 5.0+6.100"),
        (0x10201, 4, "0.0+1.1 ; 1.0+2.1 ; 2.0+3.1 ; 3.0+0.1 ; 0.2+1.3 ; 1.2+2.3"),
        (0x10201, 5, "0.0+1.1 ; 1.0+2.1 ; 2.0+3.1 ; 3.0+4.1 ; 4.0+0.1 ; 0.2+1.3"),
        (
            0x301,
            5,
            "0.0+1.100+2.200 ; 1.0+2.100+3.200 ; 2.0+3.100+4.200 ; 3.0+4.100+0.200 ; 4.0+0.100+1.200 ; 0.1+1.101+2.201",
        ),
        (
            0x202,
            6,
            "0.0+2.100+1.0+3.100 ; 2.0+4.100+3.0+5.100 ; 4.0+0.100+5.0+1.100 ; \
             0.1+2.101+1.1+3.101 ; 2.1+4.101+3.1+5.101 ; 4.1+0.101+5.1+1.101",
        ),
    ];
    for (layout, disks, copies) in table {
        let far = u64::from((layout >> 8) & 0xff);
        let far = if layout & 0x10000 == 0 { far } else { 1 };
        let shape = geometry(Level::Raid10, layout, 8, disks, 800 * far);
        let mirrors = shape.mirrors().expect("copies");
        let chunk = |chunk| {
            let copies = mirrors.copies(chunk);
            let cells: Vec<_> = copies.iter().map(|c| format!("{}.{}", c.slot, c.row)).collect();
            cells.join("+")
        };
        let all: Vec<_> = (0..6).map(chunk).collect();
        assert_eq!(all.join(" ; "), copies, "{layout:#x} on {disks}");
    }
}

#[test]
fn raid0_zones_are_those_of_the_table() {
    let sizes = [3, 5, 5].map(|chunks| Sectors::new(chunks * 8 + 3));
    let places = |layout: u32| {
        let shape = Geometry::new(&Shape {
            level: Level::Raid0,
            layout: Layout::from_md(Level::Raid0, layout).expect("a layout"),
            chunk: Sectors::new(8),
            raid_disks: 3,
            component: Sectors::ZERO,
            member_sizes: &sizes,
        })
        .expect("a shape");
        assert_eq!(shape.sectors(), Sectors::new(13 * 8));
        let name = |chunk: u64| {
            let at = shape.at(ArraySector::new(chunk * 8)).expect("inside");
            let place = at.places[0];
            let letter = ["A", "B", "C"][usize::try_from(place.slot.get()).expect("small")];
            format!("{letter}{}", place.sector.get() / 8)
        };
        (0..13).map(name).collect::<Vec<_>>().join(" ")
    };
    assert_eq!(places(1), "A0 B0 C0 A1 B1 C1 A2 B2 C2 C3 B3 C4 B4");
    assert_eq!(places(2), "A0 B0 C0 A1 B1 C1 A2 B2 C2 B3 C3 B4 C4");
}

/// Seen with a kernel 6.1: chunks of 24 KiB, members of 298, 341 and 469 of them.
#[test]
fn raid0_with_an_odd_chunk_is_as_small_as_the_kernel_shows_it() {
    let shape = Geometry::new(&Shape {
        level: Level::Raid0,
        layout: Layout::Raid0(Raid0Layout::Original),
        chunk: Sectors::new(48),
        raid_disks: 3,
        component: Sectors::ZERO,
        member_sizes: &[14304, 16368, 22512].map(Sectors::new),
    });
    assert_eq!(shape.map(|shape| shape.sectors()), Ok(Sectors::new(53088)));
}

#[test]
fn raid5_chunks_are_those_of_the_table() {
    let table = [
        (3, "0.0 1.0 2.1 0.1 1.2 2.2 0.3 1.3 2.4 0.4 1.5 2.5"),
        (4, "0.0 1.0 2.0 3.1 0.1 1.1 2.2 3.2 0.2 1.3 2.3 3.3"),
    ];
    for (disks, chunks) in table {
        let shape = geometry(Level::Raid5, 2, 8, disks, 80);
        let name = |chunk: u64| {
            let place = shape.at(ArraySector::new(chunk * 8)).expect("inside").places[0];
            format!("{}.{}", place.slot.get(), place.sector.get() / 8)
        };
        assert_eq!((0..12).map(name).collect::<Vec<_>>().join(" "), chunks);
    }
}

/// Every level and layout, small.
pub(super) fn any_geometry() -> impl Strategy<Value = Geometry> {
    let parity = (0..6_u32, 2..9_u32).prop_map(|(layout, disks)| (Level::Raid5, layout, disks));
    let six = proptest::sample::select(vec![0_u32, 1, 2, 3, 4, 5, 8, 9, 10, 16, 17, 18, 19, 20]);
    let six = (six, 4..9_u32).prop_map(|(layout, disks)| (Level::Raid6, layout, disks));
    let ten = proptest::sample::select(vec![
        0x102_u32, 0x103, 0x201, 0x301, 0x202, 0x10201, 0x10301, 0x40201, 0x20201, 0x104,
    ]);
    let ten = (ten, 4..9_u32).prop_map(|(layout, disks)| (Level::Raid10, layout, disks));
    let plain =
        (proptest::sample::select(vec![Level::Raid0, Level::Raid1, Level::Raid4]), 2..6_u32)
            .prop_map(|(level, disks)| (level, 0, disks));
    let shapes = prop_oneof![parity, six, ten, plain];
    (shapes, 3_u32..5, 8..200_u64).prop_map(|((level, layout, disks), chunk, component)| {
        let chunk = 1 << chunk;
        geometry(level, layout, chunk, disks, component.max(6 * chunk))
    })
}

proptest! {
    #[test]
    fn every_place_holds_one_thing_and_the_map_goes_both_ways_for_all(shape in any_geometry()) {
        let mut seen: HashMap<(u32, u64), u64> = HashMap::new();
        let end = shape.sectors().get();
        for sector in 0..end {
            let at = shape.at(ArraySector::new(sector)).expect("inside");
            prop_assert!(at.run.get() >= 1);
            for place in &at.places {
                let key = (place.slot.get(), place.sector.get());
                prop_assert_eq!(seen.insert(key, sector), None, "{:?} used twice", key);
                prop_assert!(place.slot.get() < shape.raid_disks());
                prop_assert!(place.sector.get() < shape.component().get(), "{:?}", place);
                let on = shape.on(place.slot, place.sector);
                prop_assert_eq!(on, On::Data(ArraySector::new(sector)));
            }
        }
        prop_assert_eq!(shape.at(ArraySector::new(end)), None);
        for slot in 0..shape.raid_disks() {
            for sector in 0..shape.component().get() + 20 {
                let on = shape.on(Slot::new(slot), MemberSector::new(sector));
                let known = seen.get(&(slot, sector)).copied().map(ArraySector::new);
                prop_assert_eq!(matches!(on, On::Data(_)), known.is_some(), "{} {}", slot, sector);
            }
        }
    }

    #[test]
    fn a_run_goes_on_sector_by_sector_for_all(shape in any_geometry(), from: u64) {
        let sector = from % shape.sectors().get();
        let at = shape.at(ArraySector::new(sector)).expect("inside");
        for step in 1..at.run.get() {
            let Some(next) = shape.at(ArraySector::new(sector + step)) else { break };
            prop_assert_eq!(next.run.get(), at.run.get() - step);
            for (place, next) in at.places.iter().zip(&next.places) {
                prop_assert_eq!(next.slot, place.slot);
                prop_assert_eq!(next.sector.get(), place.sector.get() + step);
            }
        }
    }

    #[test]
    fn q_weights_of_a_stripe_differ_for_all(shape in any_geometry(), stripe in 0..1000_u64) {
        let Some(stripes) = shape.stripes() else { return Ok(()) };
        let mut powers = Vec::new();
        let mut blocks = Vec::new();
        for slot in 0..shape.raid_disks() {
            if let Part::Data { block, power } = stripes.part(stripe, Slot::new(slot)) {
                powers.push(power);
                blocks.push(block);
                prop_assert_eq!(stripes.data(stripe, block), Slot::new(slot));
            }
        }
        powers.sort_unstable();
        powers.dedup();
        blocks.sort_unstable();
        prop_assert_eq!(powers.len(), blocks.len());
        prop_assert_eq!(blocks, (0..stripes.data_disks()).collect::<Vec<_>>());
    }

    #[test]
    fn no_shape_panics_for_all(
        level in proptest::sample::select(Level::ALL.to_vec()), layout: u32, chunk: u64,
        disks in 0..3000_u32, component: u64, sector: u64, slot: u32,
    ) {
        let Ok(layout) = Layout::from_md(level, layout) else { return Ok(()) };
        for chunk in [chunk, 8, 1024] {
            let sizes = vec![Sectors::new(component); usize::try_from(disks).expect("small")];
            let shape = Shape {
                level, layout, chunk: Sectors::new(chunk), raid_disks: disks,
                component: Sectors::new(component), member_sizes: &sizes,
            };
            if let Ok(shape) = Geometry::new(&shape) {
                let _ = shape.at(ArraySector::new(sector));
                let _ = shape.at(ArraySector::new(shape.sectors().get() - 1)).expect("inside");
                let _ = shape.on(Slot::new(slot % (disks + 1)), MemberSector::new(sector));
                let _ = shape.enough(|slot| slot.get() % 2 == 0);
            }
        }
    }
}

#[test]
fn a_layout_comes_back_from_its_number_and_its_name() {
    for level in [Level::Raid5, Level::Raid6] {
        for number in 0..32 {
            let Ok(layout) = Layout::from_md(level, number) else { continue };
            assert_eq!(layout.to_md(), number);
            assert_eq!(Layout::parse(level, &layout.to_string()), Ok(layout));
        }
    }
    for (name, number) in [("n2", 0x102), ("f3", 0x301), ("o2", 0x10201), ("0x40201", 0x40201)] {
        assert_eq!(Layout::parse(Level::Raid10, name).map(Layout::to_md), Ok(number));
    }
    for number in [0x102, 0x103, 0x201, 0x10201, 0x10101, 0x202, 0x10202, 0x20201, 0x40201] {
        let layout = Layout::from_md(Level::Raid10, number).expect("a layout");
        assert_eq!(Layout::parse(Level::Raid10, &layout.to_string()), Ok(layout), "{layout}");
    }
    for name in ["", "n", "n0", "n256", "x2", "ü2", "near", "near=", "near=2,far=2", "0x80102"] {
        assert!(Layout::parse(Level::Raid10, name).is_err(), "{name}");
    }
    for number in 0..3 {
        let layout = Layout::from_md(Level::Raid0, number).expect("a layout");
        assert_eq!(Layout::parse(Level::Raid0, &number.to_string()), Ok(layout));
    }
    assert_eq!(Layout::parse(Level::Raid5, "left-symmetric-6").ok(), None);
    assert_eq!(Layout::from_md(Level::Raid10, 0x80102).ok(), None);
}

#[test]
fn layouts_that_make_chunks_meet_are_refused() {
    // Near copies that run over into a row of offset copies; far sets that do not close.
    for (layout, disks) in [(0x10202, 5), (0x40202, 9)] {
        let layout = Layout::from_md(Level::Raid10, layout).expect("a layout");
        let shape = Shape {
            level: Level::Raid10,
            layout,
            chunk: Sectors::new(8),
            raid_disks: disks,
            component: Sectors::new(800),
            member_sizes: &[],
        };
        assert_eq!(Geometry::new(&shape), Err(BadShape::Collision { layout, disks }));
    }
    // The same layouts are sound where they come out even.
    let _ = geometry(Level::Raid10, 0x10202, 8, 6, 800);
    let _ = geometry(Level::Raid10, 0x40202, 8, 8, 800);
}

#[test]
fn stripes_repeat_after_their_period_and_not_before() {
    let layouts = Raid5Layout::ALL.map(Layout::Raid5).into_iter();
    for layout in layouts.chain(Raid6Layout::all().map(Layout::Raid6)) {
        let level = if matches!(layout, Layout::Raid5(_)) { Level::Raid5 } else { Level::Raid6 };
        let shape = geometry(level, layout.to_md(), 8, 6, 800);
        let stripes = shape.stripes().expect("stripes");
        let parts =
            |stripe| (0..6).map(|slot| stripes.part(stripe, Slot::new(slot))).collect::<Vec<_>>();
        let first = (1..20).find(|stripe| parts(*stripe) == parts(0));
        assert_eq!(first, Some(u64::from(stripes.period())), "{layout}");
    }
}

#[test]
fn any_so_many_members_can_be_missing_and_no_more() {
    for (level, layout, disks) in [
        (Level::Raid0, 1, 4),
        (Level::Raid1, 0, 4),
        (Level::Raid4, 0, 4),
        (Level::Raid5, 2, 4),
        (Level::Raid6, 2, 5),
        (Level::Raid10, 0x102, 4),
        (Level::Raid10, 0x103, 5),
        (Level::Raid10, 0x201, 5),
        (Level::Raid10, 0x40201, 6),
        (Level::Raid10, 0x20301, 6),
        (Level::Raid10, 0x202, 6),
    ] {
        let shape = geometry(level, layout, 8, disks, 800);
        let survives = |missing: u32| {
            let mut sets = (0..1_u32 << disks).filter(|set| set.count_ones() == missing);
            sets.all(|set| shape.enough(|slot| set >> slot.get() & 1 == 0))
        };
        let most = (0..=disks).take_while(|missing| survives(*missing)).last();
        assert_eq!(most, Some(shape.tolerance()), "{level} {layout:#x}");
    }
}

#[test]
fn md_asks_for_neighbours_where_far_sets_need_none() {
    let without = |layout, missing: [u32; 2]| {
        let shape = geometry(Level::Raid10, layout, 8, 4, 800);
        let present = |slot: Slot| !missing.contains(&slot.get());
        let mirrors = shape.mirrors().expect("copies");
        (shape.enough(present), mirrors.enough_for_md(|slot| present(Slot::new(slot))))
    };
    assert_eq!(without(0x201, [1, 2]), (false, false));
    assert_eq!(without(0x201, [0, 2]), (true, true));
    assert_eq!(without(0x40201, [1, 2]), (true, false), "copies are on 0 and 1, and on 2 and 3");
    assert_eq!(without(0x40201, [0, 1]), (false, false));
}

#[test]
fn the_end_of_a_raid0_that_is_out_of_sight_holds_nothing() {
    let sizes = [14304, 16368, 22512].map(Sectors::new);
    let shape = Geometry::new(&Shape {
        level: Level::Raid0,
        layout: Layout::Raid0(Raid0Layout::Original),
        chunk: Sectors::new(48),
        raid_disks: 3,
        component: Sectors::ZERO,
        member_sizes: &sizes,
    });
    let shape = shape.expect("a shape");
    let last = shape.at(ArraySector::new(53087)).expect("inside").places[0];
    assert_eq!(shape.on(last.slot, last.sector), On::Data(ArraySector::new(53087)));
    let next = MemberSector::new(last.sector.get() + 1);
    assert_eq!(shape.on(last.slot, next), On::Unused);
    assert_eq!(shape.at(ArraySector::new(53088)), None);
}

proptest! {
    #[test]
    fn raid0_zones_go_both_ways_for_all(
        sizes in proptest::collection::vec(0..90_u64, 1..7), chunk in 1_u64..4, layout in 1..3_u32,
    ) {
        let chunk = chunk * 8;
        let disks = u32::try_from(sizes.len()).expect("few");
        let sectors: Vec<_> = sizes.iter().copied().map(Sectors::new).collect();
        let Ok(shape) = Geometry::new(&Shape {
            level: Level::Raid0,
            layout: Layout::from_md(Level::Raid0, layout).expect("a layout"),
            chunk: Sectors::new(chunk),
            raid_disks: disks,
            component: Sectors::ZERO,
            member_sizes: &sectors,
        }) else {
            prop_assert!(sizes.iter().all(|size| size / chunk == 0));
            return Ok(());
        };
        // Chunk by chunk: rows from the top, each over the members that reach so far.
        let mut order = Vec::new();
        for row in 0..12 {
            let in_row: Vec<_> = (0..disks).zip(&sizes).filter(|(_, size)| *size / chunk > row)
                .map(|(slot, _)| slot).collect();
            let first = order.len();
            for turn in 0..in_row.len() {
                let column = if layout == 1 { first + turn } else { turn };
                order.push((in_row[column % in_row.len()], row));
            }
        }
        let mut used = HashMap::new();
        for (number, (slot, row)) in (0_u64..).zip(order) {
            let sector = ArraySector::new(number * chunk);
            let Some(at) = shape.at(sector) else { break };
            let place = at.places[0];
            prop_assert_eq!((place.slot.get(), place.sector.get()), (slot, row * chunk));
            prop_assert_eq!(shape.on(place.slot, place.sector), On::Data(sector));
            used.insert((slot, row), number);
        }
        for slot in 0..disks {
            for row in 0..13 {
                let on = shape.on(Slot::new(slot), MemberSector::new(row * chunk));
                let is_used = used.contains_key(&(slot, row));
                prop_assert_eq!(matches!(on, On::Data(_)), is_used, "{} {}", slot, row);
            }
        }
    }

    #[test]
    fn on_goes_on_as_it_says_for_all(shape in any_geometry(), slot in 0..10_u32, at in 0..250_u64) {
        let slot = Slot::new(slot);
        let (on, len) = shape.on_run(slot, MemberSector::new(at));
        prop_assert!(len.get() >= 1);
        for step in 0..len.get().min(250) {
            let expected = match on {
                On::Data(array) => On::Data(ArraySector::new(array.get() + step)),
                same @ (On::P { .. } | On::Q { .. } | On::Unused) => same,
            };
            prop_assert_eq!(shape.on(slot, MemberSector::new(at + step)), expected);
        }
    }
}
