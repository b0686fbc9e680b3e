//! The matrix of `mdadm --grow`, pair by pair, and what must hold of every plan.

use std::path::{Path, PathBuf};

use kcopy::{Sector, Sectors};

use super::*;
use crate::geometry::{Layout, Level, Shape};
use crate::metadata::{Direction, Minor, Resync, Room, Version};

/// 128 MiB in front of the data, as mdadm makes it.
const HEAD: u64 = 262_144;
/// 10 GiB of each member.
const COMPONENT: u64 = 20 << 20;

/// An array on disks of one size, with so much room around the data.
fn array(level: Level, layout: &str, chunk: u64, disks: u32, spares: usize) -> Present {
    let layout = match layout {
        "" => Layout::default_of(level),
        name => Layout::parse(level, name).unwrap(),
    };
    let shape = Shape {
        level,
        layout,
        chunk: Sectors::new(chunk),
        raid_disks: disks,
        component: Sectors::new(COMPONENT),
        member_sizes: &vec![Sectors::new(COMPONENT); usize::try_from(disks).unwrap()],
    };
    let members = usize::try_from(disks).unwrap();
    let disk = |index| Disk {
        path: PathBuf::from(format!("d{index}")),
        candidate: Some(index),
        size: Sectors::new(HEAD + COMPONENT),
        data_offset: Sector::new(HEAD),
        data_size: Sectors::new(COMPONENT << 1),
        room: Room { before: Sectors::new(HEAD - 1024), after: Sectors::ZERO },
        bad_sectors: 0,
    };
    Present {
        version: "1.2".parse().unwrap(),
        geometry: Geometry::new(&shape).unwrap(),
        resync: Resync::Clean,
        has_bitmap: false,
        reserved: Sectors::ZERO,
        disks: (0..members + spares).map(disk).collect(),
        slots: (0..members).map(Some).collect(),
        spares: (members..members + spares).collect(),
    }
}

/// The steps in short: `4>` a takeover to RAID4, `4:ls/5` a restripe at RAID4, `+1` a rebuild.
fn short(plan: &Plan) -> String {
    let step = |step: &Step| match step {
        Step::AddDisks(disks) => format!("add{}", disks.len()),
        Step::RemoveBitmap => "nobitmap".into(),
        Step::MakeBitmap => "bitmap".into(),
        Step::Takeover(step) => {
            format!("{}>{}", step.old.level().to_md(), step.new.level().to_md())
        }
        Step::Restripe(step) => {
            let (old, new) = (&step.restripe.old, &step.restripe.new);
            let layout = format!("/{}", new.layout()).replace("/-", "");
            let members = format!("{}-{}", old.raid_disks(), new.raid_disks());
            format!("{}:{members}{layout}", new.level().to_md())
        }
        Step::Resize(step) => format!("size{}", step.new.component().get()),
        Step::ArraySize(step) => format!("array{}", step.new.get()),
        Step::Rebuild(step) => format!("+{}", step.fills.len()),
        Step::Append(step) => format!("append{}", step.disks.len()),
    };
    plan.steps.iter().map(step).collect::<Vec<_>>().join(" ")
}

fn verdict(present: &Present, change: &Change) -> String {
    match plan(present, change) {
        Ok(plan) => short(&plan),
        Err(refusal) => format!("! {refusal}"),
    }
}

fn to(level: Level) -> Change {
    Change { level: Some(level), ..Change::default() }
}

/// The consent to lose content, and a backup file.
fn shrink(change: &Change) -> Change {
    let array_size = Some(WantedSize::Is(Sectors::new(8)));
    Change { array_size, backup: Backup::File, ..change.clone() }
}

fn restripe(plan: &Plan) -> &RestripeStep {
    let is = |step: &&Step| matches!(step, Step::Restripe(_));
    let Some(Step::Restripe(step)) = plan.steps.iter().find(is) else { panic!("{plan:?}") };
    step
}

const SAME: &str = "! nothing would change: the array is like that already";
const PAIR: &str = "! only a raid5 of 2 members can become raid1; this one has 4";
const MIRROR: &str = "! only a raid1 of 2 members can become raid5; this one has 3";

/// From a level with so many members to RAID0, 1, 4, 5, 6 and 10.
#[rustfmt::skip]
const WAYS: [(Level, u32, [&str; 6]); 8] = [
    (Level::Raid0, 3, [
        SAME, "! raid0 cannot become raid1", "0>4 +1", "0>5 5:4-4/left-symmetric",
        "0>5 5>6 6:5-5/left-symmetric", "0>10 +3",
    ]),
    (Level::Raid1, 2, [
        "1>0", SAME, "1>5 5>5 5>4", "1>5",
        "1>5 5:2-3/left-symmetric 5>6 6:4-4/left-symmetric", "1>0 0>10 +1",
    ]),
    (Level::Raid1, 3, ["1>0", SAME, MIRROR, MIRROR, MIRROR, MIRROR]),
    (Level::Raid4, 4, [
        "4>0", "! raid4 cannot become raid1", SAME, "4>5",
        "4>5 5>6 6:5-5/left-symmetric", "4>0 0>10 +3",
    ]),
    (Level::Raid5, 4, [
        "5:4-4/parity-last 5>0", PAIR, "5:4-4/parity-last 5>4", SAME,
        "5>6 6:5-5/left-symmetric", "5:4-4/parity-last 5>0 0>10 +3",
    ]),
    (Level::Raid5, 2, [
        "5>1 1>0", "5>1", "5>5 5>4", SAME,
        "5:2-3/left-symmetric 5>6 6:4-4/left-symmetric", "5>1 1>0 0>10 +1",
    ]),
    (Level::Raid6, 5, [
        "6:5-5/parity-last 6>5 5>0", "! raid6 cannot become raid1", "6:5-5/parity-last 6>5 5>4",
        "6:5-5/left-symmetric-6 6>5", SAME, "6:5-5/parity-last 6>5 5>0 0>10 +3",
    ]),
    (Level::Raid10, 4, [
        "10>0", "! raid10 cannot become raid1", "10>0 0>4 +1",
        "10>0 0>5 5:3-3/left-symmetric", "10>0 0>5 5>6 6:4-4/left-symmetric", SAME,
    ]),
];

#[test]
fn every_pair_of_levels_has_its_way() {
    use Level::{Raid0, Raid1, Raid4, Raid5, Raid6, Raid10};
    for (from, disks, ways) in WAYS {
        let chunk = if from == Raid1 { 0 } else { 128 };
        let present = array(from, "", chunk, disks, 6);
        for (level, way) in [Raid0, Raid1, Raid4, Raid5, Raid6, Raid10].into_iter().zip(ways) {
            assert_eq!(verdict(&present, &to(level)), way, "{from} of {disks} to {level}");
        }
        let linear = "! a linear array can only be made longer, by whole members";
        assert_eq!(verdict(&present, &to(Level::Linear)), linear);
    }
}

#[test]
fn a_linear_array_takes_the_disks_that_are_added() {
    let mut present = array(Level::Linear, "", 0, 2, 0);
    let none = Change::default;
    for (name, size) in [("a", HEAD + 4096), ("b", HEAD + 1024)] {
        present.add(Path::new(name), Sectors::new(size)).unwrap();
    }
    assert_eq!(verdict(&present, &none()), "append2");
    let planned = plan(&present, &none()).unwrap();
    assert_eq!(planned.after.raid_disks(), 4);
    // All that each has: 1.2 keeps nothing behind the data, and of a chunk of 0 nothing is rounded.
    assert_eq!(planned.after.sectors().get(), 2 * (COMPONENT << 1) + 4096 + 1024);
    assert_eq!(planned.steps[0].revert(), Revert::Never);
    let of = |disks| Change { raid_disks: Some(disks), ..none() };
    assert_eq!(verdict(&present, &of(4)), "append2");
    let linear = "! a linear array can only be made longer, by whole members";
    for change in [of(3), to(Level::Raid0), Change { chunk: Some(Sectors::new(64)), ..none() }] {
        assert_eq!(verdict(&present, &change), linear);
    }
}

#[test]
fn every_level_changes_its_members_chunk_and_layout_as_md_can() {
    use Level::{Raid0, Raid1, Raid4, Raid5, Raid6, Raid10};
    let none = Change::default;
    let more = |disks| Change { raid_disks: Some(disks), ..none() };
    let fewer = |disks| shrink(&more(disks));
    let chunk = |sectors| Change { chunk: Some(Sectors::new(sectors)), ..none() };
    let layout = |level, name| {
        let layout = Layout::parse(level, name).unwrap();
        Change { layout: Some(WantedLayout::Is(layout)), ..none() }
    };
    let three = Change { layout: layout(Raid5, "ra").layout, chunk: chunk(64).chunk, ..more(6) };
    let (five, six, ten) = (array(Raid5, "", 128, 4, 3), array(Raid6, "", 128, 5, 3), "near=2");
    for (present, change, way) in [
        (array(Raid0, "", 128, 3, 1), more(4), "0>4 4:4-5 4>0"),
        (array(Raid0, "", 128, 3, 0), fewer(2), "0>4 4:4-3 4>0"),
        (array(Raid0, "", 128, 3, 0), chunk(64), "0>4 4:4-4 4>0"),
        (array(Raid1, "", 0, 2, 1), more(3), "1>1 +1"),
        (array(Raid1, "", 0, 3, 0), more(2), "1>1"),
        (array(Raid1, "", 0, 2, 0), chunk(64), "! raid1 has no chunks"),
        (array(Raid4, "", 128, 4, 1), more(5), "4:4-5"),
        (array(Raid4, "", 128, 4, 0), fewer(3), "4:4-3"),
        (array(Raid4, "", 128, 4, 0), chunk(256), "4:4-4"),
        (five.clone(), more(5), "5:4-5/left-symmetric"),
        (five.clone(), fewer(3), "5:4-3/left-symmetric"),
        (five.clone(), chunk(256), "5:4-4/left-symmetric"),
        (five.clone(), layout(Raid5, "ra"), "5:4-4/right-asymmetric"),
        (five.clone(), three, "5:4-6/right-asymmetric"),
        (array(Raid5, "", 128, 2, 0), layout(Raid5, "parity-first"), "5>5"),
        (array(Raid5, "", 128, 2, 0), chunk(64), "5>5"),
        (six.clone(), more(6), "6:5-6/left-symmetric"),
        (six.clone(), fewer(4), "6:5-4/left-symmetric"),
        (six.clone(), layout(Raid6, "ddf-N-continue"), "6:5-5/ddf-N-continue"),
        (six, Change { level: Some(Raid5), ..fewer(3) }, "6:5-4/left-symmetric-6 6>5"),
        (five, Change { level: Some(Raid6), ..more(7) }, "5>6 6:5-7/left-symmetric"),
        (array(Raid10, "n2", 128, 4, 1), more(5), &format!("10:4-5/{ten}")),
        (array(Raid10, "n2", 128, 4, 0), chunk(64), &format!("10:4-4/{ten}")),
        (array(Raid10, "n2", 128, 4, 0), layout(Raid10, "o2"), "10:4-4/offset=2"),
        (
            array(Raid10, "n2", 128, 4, 0),
            layout(Raid10, "f2"),
            "! raid10 with layout far=2 cannot be moved: its far copies lie in another half",
        ),
        (
            array(Raid10, "n2", 128, 4, 0),
            layout(Raid10, "n3"),
            "! raid10 keeps its number of copies: 2 cannot become 3",
        ),
    ] {
        let level = present.geometry.level();
        assert_eq!(verdict(&present, &change), way, "{level} by {change:?}");
    }
}

/// RAID5 with that many members with data, and enough spares.
fn raid5(chunk: u64, data: u32, spares: usize) -> Present {
    array(Level::Raid5, "", chunk, data + 1, spares)
}

#[test]
fn units_shifts_and_critical_sections_are_those_of_the_table() {
    for ((c, d), (new_c, new_d), unit, shift, low) in [
        ((1024, 3), (1024, 4), 12_288, -4096, Some(12_288)),
        ((1024, 2), (1024, 3), 6144, -3072, Some(6144)),
        ((128, 4), (128, 5), 2560, -640, Some(2560)),
        ((128, 2), (128, 5), 1280, -640, Some(640)),
        ((1024, 3), (128, 3), 3072, 0, None),
        ((128, 4), (1024, 4), 4096, 0, None),
        ((1024, 4), (1024, 3), 12_288, 3072, Some(9216)),
        ((1024, 4), (64, 3), 12_288, 3072, Some(9216)),
    ] {
        let change = Change {
            raid_disks: Some(new_d + 1),
            chunk: Some(Sectors::new(new_c)),
            array_size: Some(WantedSize::Is(Sectors::new(8))),
            ..Change::default()
        };
        let mut present = raid5(c, d, 5);
        present.disks.iter_mut().for_each(|disk| disk.room.after = Sectors::new(8192));
        let moved = plan(&present, &change).unwrap();
        let moved = restripe(&moved);
        assert_eq!(moved.unit, Some(Sectors::new(unit)));
        assert_eq!((moved.mode, moved.backup_bytes), (Mode::DataOffset, 0));
        assert!(moved.critical.is_empty());
        if shift != 0 {
            assert!(moved.restripe.shifts.iter().all(|by| *by == shift), "{moved:?}");
        }
        let saved = plan(&present, &Change { backup: Backup::File, ..change }).unwrap();
        let saved = restripe(&saved);
        assert_eq!((saved.mode, saved.backup_is_a_choice), (Mode::BackupFile, true));
        let end = low.unwrap_or(saved.restripe.track.total);
        assert_eq!(saved.critical, 0..end, "{c} {d} to {new_c} {new_d}");
        let section = saved.section.unwrap().get();
        assert!(section.is_multiple_of(unit));
        assert_eq!(saved.backup_bytes, 4096 + 2 * section * 512);
    }
}

#[test]
fn data_moves_into_room_if_there_is_some_and_else_is_saved() {
    let grow = Change { raid_disks: Some(5), ..Change::default() };
    let chunk = Change { chunk: Some(Sectors::new(64)), ..Change::default() };
    let fewer = Change { backup: Backup::None, ..shrink(&Change::default()) };
    let fewer = Change { raid_disks: Some(3), ..fewer };
    let with = |change: &Change| Change { backup: Backup::File, ..change.clone() };
    let mode = |before: u64, after: u64, change: &Change| {
        let mut present = raid5(128, 3, 1);
        let room = Room { before: Sectors::new(before), after: Sectors::new(after) };
        present.disks.iter_mut().for_each(|disk| disk.room = room);
        let plan = plan(&present, change).map_err(|refusal| refusal.to_string())?;
        let step = restripe(&plan);
        Ok((step.mode, step.restripe.track.direction, step.restripe.track.shift))
    };
    let (up, down) = (Direction::Backwards, Direction::Forwards);
    assert_eq!(mode(512, 0, &grow), Ok((Mode::DataOffset, down, -512)));
    assert_eq!(mode(511, 1 << 20, &grow), Ok((Mode::BackupOnSpares, down, 0)));
    assert_eq!(mode(511, 0, &with(&grow)), Ok((Mode::BackupFile, down, 0)));
    assert_eq!(mode(0, 256, &fewer), Ok((Mode::DataOffset, up, 256)));
    let told: Result<_, String> = mode(1 << 20, 255, &fewer);
    assert!(told.is_err_and(|told| told.contains("127.50 KiB free behind its data, 128 KiB")));
    assert_eq!(mode(0, 0, &with(&fewer)), Ok((Mode::BackupFile, up, 0)));
    // As many members: where there is more room, and to the middle of it, on a MiB.
    assert_eq!(mode(100_000, 0, &chunk), Ok((Mode::DataOffset, down, -51_200)));
    assert_eq!(mode(0, 100_000, &chunk), Ok((Mode::DataOffset, up, 49_152)));
    assert_eq!(mode(0, 200, &chunk), Ok((Mode::DataOffset, up, 160)));
    let told = mode(127, 127, &chunk);
    assert!(told.is_err_and(|told| told.contains("63.50 KiB free before its data, 64 KiB")));
    assert_eq!(mode(127, 127, &with(&chunk)), Ok((Mode::BackupFile, down, 0)));
}

#[test]
fn superblocks_0_90_never_move_data_offsets() {
    let mut present = raid5(128, 3, 1);
    present.version = Version::V0;
    let grow = Change { raid_disks: Some(5), ..Change::default() };
    let planned = plan(&present, &grow).unwrap();
    assert_eq!(restripe(&planned).mode, Mode::BackupOnSpares);
    let chunk = Change { chunk: Some(Sectors::new(64)), ..Change::default() };
    let refused = plan(&present, &chunk).unwrap_err();
    assert!(matches!(refused, Refusal::NeedsFile { .. }));
    assert!(refused.remedy().starts_with("--backup-file=FILE on other storage with"));
    let offset = Change { data_offset: Some(Sector::new(2048)), ..grow };
    let version = Version::V0;
    let refused = Refusal::NotRecordable { version, what: "a data offset" };
    assert_eq!(plan(&present, &offset), Err(refused));
}

#[test]
fn a_raid0_of_0_90_takes_all_of_its_members() {
    let mut present = array(Level::Raid4, "", 128, 4, 0);
    present.version = Version::V0;
    present.disks.iter_mut().for_each(|disk| disk.size = Sectors::new(COMPONENT + 1000));
    let planned = plan(&present, &to(Level::Raid0)).unwrap();
    assert_eq!(planned.after.component(), Sectors::new(COMPONENT + 768), "a chunk before 0.90's");
    assert_eq!(planned.after.sectors(), Sectors::new((COMPONENT + 768) * 3));
    present.disks[1].size = Sectors::new(COMPONENT + 4000);
    let refused = plan(&present, &to(Level::Raid0)).unwrap_err();
    assert!(matches!(refused, Refusal::NotRecordable { .. }), "{refused}");
}

#[test]
fn a_disk_of_the_same_size_is_large_enough() {
    let (minors, mut present) = (["0.90", "1.0", "1.1", "1.2"], raid5(128, 3, 0));
    for version in minors.map(|version| version.parse::<Version>().unwrap()) {
        present.version = version;
        let size = Sectors::new(HEAD + COMPONENT);
        let end = version.place(size).unwrap().get();
        let behind = end > HEAD;
        let end = if behind { end } else { size.get() };
        present.geometry = {
            let component = Sectors::new((end - HEAD) / 128 * 128);
            let layout = Layout::default_of(Level::Raid5);
            let shape = Shape {
                level: Level::Raid5,
                layout,
                chunk: Sectors::new(128),
                raid_disks: 4,
                component,
                member_sizes: &[],
            };
            Geometry::new(&shape).unwrap()
        };
        present.reserved = Sectors::ZERO;
        present.add(Path::new("new"), size).unwrap();
        if behind {
            present.reserved = Sectors::new(264);
            let told = present.add(Path::new("new"), size).unwrap_err();
            assert!(matches!(told, Refusal::TooSmall { .. }));
        }
    }
}

#[test]
fn a_data_offset_that_is_asked_for_is_taken_or_refused_with_its_bounds() {
    let present = raid5(128, 3, 1);
    let to = |sector: u64| Change { data_offset: Some(Sector::new(sector)), ..Change::default() };
    let told =
        |change: &Change| plan(&present, change).map(|plan| restripe(&plan).restripe.track.shift);
    assert_eq!(told(&to(HEAD - 2048)), Ok(-2048));
    let path = PathBuf::from("d0");
    let offset = Sector::new(HEAD);
    assert_eq!(told(&to(HEAD)), Err(Refusal::HasOffset { path: path.clone(), offset }));
    let (first, last) = (Sector::new(1024), Sector::new(HEAD));
    let wanted = Sector::new(1023);
    let refused = Refusal::OffsetOutside { path: path.clone(), wanted, first, last };
    assert_eq!(told(&to(1023)), Err(refused));
    let wanted = Sector::new(HEAD - 64);
    let (least, side) = (Sectors::new(128), Beside::Before);
    let refused = Refusal::OffsetTooNear { path, wanted, by: -64, least, side };
    assert_eq!(told(&to(HEAD - 64)), Err(refused));
    let grow = Change { raid_disks: Some(5), ..to(HEAD - 2048) };
    assert_eq!(told(&grow), Ok(-2048));
}

/// A RAID0 of three was to shrink to two, and was killed behind its takeover: the same command, typed again, offered to
/// cut the content to half of what two members of a RAID0 hold.
#[test]
fn what_may_have_been_a_raid0_wants_its_level_said() {
    let mut present = array(Level::Raid4, "", 128, 4, 0);
    present.slots[3] = None;
    let fewer = |level, size: u64| Change {
        level,
        raid_disks: Some(2),
        array_size: Some(WantedSize::Is(Sectors::new(size))),
        backup: Backup::File,
        spares: Spares::MayBeTooFew,
        ..Change::default()
    };
    let refused = plan(&present, &fewer(None, 2 * COMPONENT)).unwrap_err();
    assert_eq!(refused, Refusal::LevelUnsaid);
    assert!(refused.remedy().contains("--level=0"));
    let shrunk = plan(&present, &fewer(Some(Level::Raid0), 2 * COMPONENT)).unwrap();
    assert_eq!(shrunk.after.sectors(), Sectors::new(2 * COMPONENT));
    assert_ne!(plan(&present, &fewer(Some(Level::Raid4), COMPONENT)), Err(Refusal::LevelUnsaid));
}

/// A mirror of 511 times 16 KiB grew to a RAID5 with chunks of 64 KiB. Ours moved all of it; the driver, which went on
/// with it, only whole chunks, and the last 48 KiB were gone.
#[test]
fn a_mirror_becomes_striped_with_a_chunk_that_divides_it() {
    let mut mirror = array(Level::Raid1, "", 0, 2, 1);
    let shape = Shape {
        level: Level::Raid1,
        layout: Layout::None,
        chunk: Sectors::ZERO,
        raid_disks: 2,
        component: Sectors::new(16352),
        member_sizes: &[Sectors::new(16352); 2],
    };
    mirror.geometry = Geometry::new(&shape).unwrap();
    let to_five = Change { level: Some(Level::Raid5), raid_disks: Some(3), ..Change::default() };
    let planned = plan(&mirror, &to_five).unwrap();
    assert_eq!(
        (planned.after.chunk(), planned.after.component()),
        (Sectors::new(32), Sectors::new(16352))
    );
}

/// After an interruption the same words go on, or there is nothing left to do.
#[test]
fn a_data_offset_beside_something_else_may_be_there() {
    for (level, layout) in [(Level::Raid1, ""), (Level::Raid5, "left-symmetric")] {
        let present = array(level, layout, 128, 3, 1);
        let to = |raid_disks| Change {
            raid_disks: Some(raid_disks),
            data_offset: Some(Sector::new(HEAD)),
            ..Change::default()
        };
        assert_eq!(plan(&present, &to(3)), Err(Refusal::NothingToDo), "{level}");
    }
    let present = array(Level::Raid1, "", 128, 3, 1);
    let both =
        Change { raid_disks: Some(4), data_offset: Some(Sector::new(HEAD)), ..Change::default() };
    plan(&present, &both).unwrap();
    let moved = Change { data_offset: Some(Sector::new(HEAD - 2048)), ..both };
    plan(&present, &moved).expect_err("nobody moves a mirror's data offset");
}

#[test]
fn too_few_spares_are_counted() {
    let grow = Change { raid_disks: Some(6), ..Change::default() };
    let present = raid5(128, 3, 1);
    let refused = Refusal::Spares { needed: 2, available: 1 };
    assert_eq!(plan(&present, &grow), Err(refused.clone()));
    assert!(refused.remedy().starts_with("add 1 more"));
    let forced = Change { spares: Spares::MayBeTooFew, ..grow.clone() };
    let planned = plan(&present, &forced).unwrap();
    assert!(planned.cautions.contains(&Caution::EndsDegraded { missing: 1 }));
    assert_eq!(restripe(&planned).tolerance, 0);
    let more = Change { raid_disks: Some(7), ..forced };
    let refused = Refusal::NotWorking { level: Level::Raid5, members: 7, missing: 2 };
    assert_eq!(plan(&present, &more), Err(refused));
    // Without a parity to stand in for them there is nothing to force.
    let zero = array(Level::Raid0, "", 128, 3, 0);
    let more = Change { raid_disks: Some(5), spares: Spares::MayBeTooFew, ..Change::default() };
    let refused = Refusal::NotWorking { level: Level::Raid4, members: 6, missing: 3 };
    assert_eq!(plan(&zero, &more), Err(refused));
}

#[test]
fn what_is_missing_is_rebuilt_before_anything_moves() {
    let mut present = raid5(128, 3, 2);
    present.slots[2] = None;
    let grow = Change { raid_disks: Some(5), ..Change::default() };
    assert_eq!(verdict(&present, &grow), "+1 5:4-5/left-symmetric");
    let planned = plan(&present, &grow).unwrap();
    assert!(planned.cautions.contains(&Caution::Degraded { missing: vec![Slot::new(2)] }));
    assert_eq!(restripe(&planned).tolerance, 1);
    assert_eq!(restripe(&planned).fills, [Fill { disk: 5, slot: Slot::new(4) }]);
    present.slots[0] = None;
    let refused = Refusal::NotWorking { level: Level::Raid5, members: 4, missing: 2 };
    assert_eq!(plan(&present, &grow), Err(refused));
}

#[test]
fn an_array_that_is_not_in_step_stays_as_it_is() {
    let mut present = raid5(128, 3, 2);
    present.resync = Resync::From(0);
    assert_eq!(plan(&present, &to(Level::Raid6)), Err(Refusal::NotInStep));
    let mut zero = array(Level::Raid0, "", 128, 3, 3);
    zero.resync = Resync::From(0);
    assert!(plan(&zero, &to(Level::Raid10)).is_ok(), "nothing is in step with nothing");
}

#[test]
fn bad_sectors_are_computed_or_refused() {
    let mut present = raid5(128, 3, 2);
    present.disks[1].bad_sectors = 8;
    let six = to(Level::Raid6);
    let caution = Caution::BadSectors { disk: 1, sectors: 8 };
    assert!(plan(&present, &six).unwrap().cautions.contains(&caution));
    present.slots[0] = None;
    let refused = Refusal::BadSectors { path: PathBuf::from("d1"), sectors: 8 };
    assert_eq!(plan(&present, &six), Err(refused));
}

#[test]
fn content_is_cut_only_with_consent() {
    let present = raid5(128, 3, 0);
    let fewer = Change { raid_disks: Some(3), backup: Backup::File, ..Change::default() };
    let (from, to) = (Sectors::new(COMPONENT * 3), Sectors::new(COMPONENT * 2));
    let refused = Refusal::WouldShrink { from, to };
    assert_eq!(plan(&present, &fewer), Err(refused.clone()));
    assert!(refused.remedy().ends_with("--array-size=20971520 in the same command"));
    let size = |sectors| Some(WantedSize::Is(Sectors::new(sectors)));
    let nearly = Change { array_size: size(COMPONENT * 2 + 1), ..fewer.clone() };
    assert_eq!(plan(&present, &nearly), Err(refused));
    let enough = Change { array_size: size(COMPONENT * 2), ..fewer };
    let planned = plan(&present, &enough).unwrap();
    assert_eq!(planned.cautions, [Caution::ContentLost { from, to }]);
    assert_eq!(planned.spares, [3]);
    assert_eq!(planned.steps[0].revert(), Revert::ShapeOnly);
}

#[test]
fn sizes_are_changed_alone_and_within_the_members() {
    let size = |wanted| Change { size: Some(wanted), ..Change::default() };
    let is = |sectors| size(WantedSize::Is(Sectors::new(sectors)));
    let mut present = raid5(128, 3, 0);
    present.disks.iter_mut().for_each(|disk| disk.room.after = Sectors::new(1000));
    assert_eq!(verdict(&present, &size(WantedSize::Max)), format!("size{}", COMPONENT + 896));
    assert_eq!(verdict(&present, &is(COMPONENT + 128)), format!("size{}", COMPONENT + 128));
    let planned = plan(&present, &is(COMPONENT - 128)).unwrap();
    assert!(matches!(planned.cautions[..], [Caution::ContentLost { .. }]));
    let (wanted, most) = (Sectors::new(COMPONENT + 1024), Sectors::new(COMPONENT + 1000));
    let refused = Refusal::SizeTooLarge { path: PathBuf::from("d0"), wanted, most };
    assert_eq!(plan(&present, &is(COMPONENT + 1024)), Err(refused));
    let (wanted, chunk) = (Sectors::new(COMPONENT - 1), Sectors::new(128));
    let refused = Refusal::SizeNotChunks { wanted, chunk };
    assert_eq!(plan(&present, &is(COMPONENT - 1)), Err(refused.clone()));
    assert_eq!(refused.remedy(), format!("--size={} is the next smaller one", COMPONENT / 2 - 64));
    assert_eq!(plan(&present, &is(COMPONENT)), Err(Refusal::NothingToDo));
    let both = Change { raid_disks: Some(5), ..is(COMPONENT - 128) };
    assert_eq!(plan(&present, &both), Err(Refusal::SizeAlone));
    // A disk to be added was left out of it, in silence.
    let mut more = present.clone();
    more.add(Path::new("new"), Sectors::new(1 << 26)).unwrap();
    let less = Some(WantedSize::Is(Sectors::new(COMPONENT)));
    let less = Change { array_size: less, ..Change::default() };
    for change in [&is(COMPONENT - 128), &less] {
        assert_eq!(plan(&more, change), Err(Refusal::SizeAlone));
    }
    let zero = array(Level::Raid0, "", 128, 3, 0);
    let refused = Refusal::NoSize { level: Level::Raid0 };
    assert_eq!(plan(&zero, &size(WantedSize::Max)), Err(refused));
    present.has_bitmap = true;
    let resized = format!("nobitmap size{} bitmap", COMPONENT + 896);
    assert_eq!(verdict(&present, &size(WantedSize::Max)), resized);
}

/// Room that is kept for a bitmap and the log was planned to be used, and refused when it was to be recorded.
#[test]
fn superblock_behind_the_data_keeps_its_room() {
    let mut present = raid5(128, 3, 0);
    present.version = Version::V1(Minor::Zero);
    for disk in &mut present.disks {
        (disk.data_size, disk.room.after) = (Sectors::new(COMPONENT + 300), Sectors::new(1000));
    }
    let max = Change { size: Some(WantedSize::Max), ..Change::default() };
    assert_eq!(verdict(&present, &max), format!("size{}", COMPONENT + 256));
}

/// The largest size of an odd number of chunks was planned, and refused when it was to be recorded.
#[test]
fn offset_copies_take_chunks_in_pairs() {
    let mut present = array(Level::Raid10, "o2", 512, 2, 0);
    let max = Change { size: Some(WantedSize::Max), ..Change::default() };
    present.disks.iter_mut().for_each(|disk| disk.room.after = Sectors::new(3 * 512));
    assert_eq!(verdict(&present, &max), format!("size{}", COMPONENT + 1024));
    let odd = Sectors::new(COMPONENT - 512);
    let change = Change { size: Some(WantedSize::Is(odd)), ..Change::default() };
    let refused = Refusal::SizeNotChunks { wanted: odd, chunk: Sectors::new(1024) };
    assert_eq!(plan(&present, &change), Err(refused));
}

/// The room was said to be too little, and the advice was to use 0 KiB less.
#[test]
fn superblock_that_knows_no_data_offset_is_what_a_raid10_lacks() {
    let mut present = array(Level::Raid10, "n2", 128, 4, 0);
    present.version = Version::V0;
    let chunk = Change { chunk: Some(Sectors::new(64)), ..Change::default() };
    let refused = Refusal::NotRecordable { version: Version::V0, what: "a data offset" };
    assert_eq!(plan(&present, &chunk), Err(refused));
}

#[test]
fn chunks_have_to_divide_the_members() {
    let present = raid5(128, 3, 0);
    let chunk = Sectors::new(1 << 22);
    let change = Change { chunk: Some(chunk), ..Change::default() };
    let component = Sectors::new(COMPONENT);
    assert!(plan(&present, &change).is_err(), "whole stripes are more than half a member");
    let mut odd = present;
    let shape = Shape {
        level: Level::Raid5,
        layout: Layout::default_of(Level::Raid5),
        chunk: Sectors::new(128),
        raid_disks: 4,
        component: Sectors::new(COMPONENT + 128),
        member_sizes: &[],
    };
    odd.geometry = Geometry::new(&shape).unwrap();
    let change = Change { chunk: Some(Sectors::new(1024)), ..Change::default() };
    let refused = Refusal::ChunkDoesNotDivide {
        level: Level::Raid5,
        chunk: Sectors::new(1024),
        component: Sectors::new(COMPONENT + 128),
        fits: component,
    };
    assert_eq!(plan(&odd, &change), Err(refused.clone()));
    assert!(refused.remedy().contains("--size=10485760"));
}

#[test]
fn raid6_as_raid5_leaves_it_is_kept_or_normalised_but_not_by_oversight() {
    let present = array(Level::Raid6, "left-symmetric-6", 128, 5, 1);
    let more = Change { raid_disks: Some(6), ..Change::default() };
    let refused = plan(&present, &more).unwrap_err();
    assert!(matches!(refused, Refusal::PreserveOrNormalise { .. }));
    let with = |layout| Change { layout: Some(layout), ..more.clone() };
    let preserved = verdict(&present, &with(WantedLayout::Preserve));
    assert_eq!(preserved, "6:5-6/left-symmetric-6");
    let normalised = Change { layout: Some(WantedLayout::Normalise), ..Change::default() };
    assert_eq!(verdict(&present, &normalised), "6:5-5/left-symmetric");
    let five = raid5(128, 3, 1);
    let six = Change { layout: Some(WantedLayout::Preserve), ..to(Level::Raid6) };
    assert_eq!(verdict(&five, &six), "5>6 +1");
    let refused = Refusal::OnlyRaid6 { level: Level::Raid5 };
    assert_eq!(plan(&five, &normalised), Err(refused));
}

#[test]
fn the_way_to_less_redundancy_is_told() {
    let planned = plan(&array(Level::Raid6, "", 128, 5, 3), &to(Level::Raid10)).unwrap();
    let less = Caution::LessRedundancy { step: 2, tolerance: 0, usual: 2 };
    assert_eq!(planned.cautions, [less]);
    let planned = plan(&raid5(128, 3, 1), &to(Level::Raid6)).unwrap();
    assert_eq!(planned.cautions, []);
    assert_eq!(restripe(&planned).tolerance, 1);
}

#[test]
fn bytes_and_time_are_those_of_the_busiest_disk() {
    let planned = plan(&raid5(1024, 3, 1), &Change { raid_disks: Some(5), ..Change::default() });
    let planned = planned.unwrap();
    let all = COMPONENT * 512;
    let traffic = &restripe(&planned).traffic;
    assert_eq!(traffic.len(), 5);
    assert!(traffic[..4].iter().all(|disk| (disk.read, disk.written) == (all, all)));
    assert_eq!((traffic[4].read, traffic[4].written), (0, all));
    let speeds = Speeds { read: 200_000_000, write: 100_000_000, backup: 100_000_000 };
    assert_eq!(planned.time(&speeds).as_secs(), all * 3 / 200_000_000);
    // Rows part by a quarter: the room doubles or so from checkpoint to checkpoint.
    assert!((10..200).contains(&restripe(&planned).checkpoints), "{planned:?}");
}

#[test]
fn slots_are_told_for_every_takeover() {
    let mut present = array(Level::Raid10, "n2", 128, 4, 0);
    present.slots[2] = None;
    let planned = plan(&present, &to(Level::Raid0)).unwrap();
    let [Step::Takeover(step)] = &planned.steps[..] else { panic!("{planned:?}") };
    let moves: Vec<_> = step.moves.iter().map(|m| (m.disk, m.to.map(|slot| slot.get()))).collect();
    assert_eq!(moves, [(0, Some(0)), (1, None), (3, Some(1))]);
    assert_eq!(step.slots, [Some(0), Some(3)]);
    present.slots[3] = None;
    plan(&present, &to(Level::Raid0)).unwrap_err();
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig::with_cases(400))]

    #[test]
    fn plans_never_panic_and_their_numbers_agree_for_all(
        (level, wanted) in (0..7_usize, proptest::option::of(0..7_usize)),
        (layout, new_layout) in (0..0x3_0404_u32, proptest::option::of(0..22_u32)),
        (chunk, new_chunk) in (0..34_u32, proptest::option::of(0..40_u32)),
        (disks, new_disks) in (0..12_u32, proptest::option::of(0..2000_u32)),
        component in 0..1_u64 << 50, room in (0..1_u64 << 40, 0..1_u64 << 40),
        (size, offset) in (proptest::option::of(0..u64::MAX), proptest::option::of(0..u64::MAX)),
        (spares, missing, file) in (0..6_usize, 0..12_usize, 0..2_u32),
    ) {
        let level = Level::ALL[level];
        let layout = Layout::from_md(level, layout % 21).unwrap_or_else(|_| Layout::default_of(level));
        let count = usize::try_from(disks).unwrap();
        let shape = Shape {
            level, layout, chunk: Sectors::new(1 << chunk), raid_disks: disks,
            component: Sectors::new(component), member_sizes: &vec![Sectors::new(component); count],
        };
        let Ok(geometry) = Geometry::new(&shape) else { return Ok(()) };
        let mut present = array(Level::Raid1, "", 0, disks.max(1), spares);
        present.geometry = geometry;
        if let Some(seat) = present.slots.get_mut(missing) {
            *seat = None;
        }
        let room = Room { before: Sectors::new(room.0), after: Sectors::new(room.1) };
        present.disks.iter_mut().for_each(|disk| disk.room = room);
        let level = wanted.map(|level| Level::ALL[level]);
        let of = level.unwrap_or_else(|| present.geometry.level());
        let change = Change {
            level,
            layout: new_layout.and_then(|l| Layout::from_md(of, l).ok()).map(WantedLayout::Is),
            chunk: new_chunk.map(|chunk| Sectors::new(1 << chunk)),
            raid_disks: new_disks,
            size: size.filter(|_| file == 0).map(|size| WantedSize::Is(Sectors::new(size))),
            array_size: Some(WantedSize::Is(Sectors::new(1))),
            data_offset: offset.filter(|offset| offset % 3 == 0).map(Sector::new),
            backup: if file == 0 { Backup::None } else { Backup::File },
            spares: if file == 0 { Spares::Enough } else { Spares::MayBeTooFew },
            ..Change::default()
        };
        match plan(&present, &change) {
            Err(refusal) => proptest::prop_assert!(!refusal.remedy().is_empty()),
            Ok(plan) => agrees(&present, &plan)?,
        }
    }
}

/// What holds of every plan.
fn agrees(present: &Present, plan: &Plan) -> Result<(), proptest::test_runner::TestCaseError> {
    use proptest::prop_assert;
    let mut at = &present.geometry;
    for step in &plan.steps {
        let (from, to) = match step {
            Step::Takeover(step) => (&step.old, &step.new),
            Step::Restripe(step) => (&step.restripe.old, &step.restripe.new),
            Step::Resize(step) => (&step.old, &step.new),
            Step::Append(step) => (&step.old, &step.new),
            Step::AddDisks(_) | Step::RemoveBitmap | Step::ArraySize(_) | Step::MakeBitmap => {
                continue;
            }
            Step::Rebuild(step) => (&step.geometry, &step.geometry),
        };
        prop_assert!(from == at, "each step begins where the last one ended");
        at = to;
        if let Step::Restripe(step) = step {
            prop_assert!(from.level() == to.level());
            let whole = |size: Sectors| size.get().is_multiple_of(to.chunk().get());
            prop_assert!(
                to.level() == Level::Raid10 || whole(from.component()),
                "no end is cut off"
            );
            prop_assert!(step.critical.is_empty() == (step.mode == Mode::DataOffset));
            prop_assert!((step.backup_bytes > 0) == (step.mode != Mode::DataOffset));
            prop_assert!(step.critical.end <= step.restripe.track.total);
            prop_assert!(step.checkpoints > 0);
            let slots = usize::try_from(from.raid_disks().max(to.raid_disks())).unwrap();
            prop_assert!(step.slots.len() == slots && step.restripe.shifts.len() == slots);
            for disk in &step.traffic {
                prop_assert!(disk.read.max(disk.written) > 0 || step.leaving.contains(&disk.disk));
            }
        }
    }
    prop_assert!(at == &plan.after);
    let seats = plan.spares.iter().collect::<std::collections::HashSet<_>>();
    prop_assert!(seats.len() == plan.spares.len(), "no disk is free twice");
    Ok(())
}
