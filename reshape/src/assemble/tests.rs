//! Devices in every condition, and the verdict about them.

use super::*;
use crate::metadata::{
    BitmapRoom, DeviceFlags, Direction, Minor, NewArray, NewDevice, Placement, Role,
    SuperblockError, V1,
};
use crate::units::{ArraySector, MemberSector};

const V2: Version = Version::V1(Minor::Two);
const SIZE: Sectors = Sectors::new(16384);
const CHUNK: Sectors = Sectors::new(128);

/// The members of a new array, and a spare if there are more devices than slots.
fn devices(version: Version, level: Level, slots: u32, count: u32) -> Vec<Candidate> {
    let striped = matches!(level, Level::Linear | Level::Raid0);
    let role = |number| if number < slots { Role::Active(Slot::new(number)) } else { Role::Spare };
    let device =
        |number| NewDevice { role: role(number), flags: DeviceFlags::empty(), major_minor: (0, 0) };
    let array = NewArray {
        uuid: Uuid([7; 16]),
        name: ArrayName::new("").expect("short"),
        creation_time: Timestamp::from_seconds(1_700_000_000),
        level,
        layout: Layout::default_of(level).to_md(),
        chunk: if level == Level::Raid1 { Sectors::ZERO } else { CHUNK },
        raid_disks: slots,
        component_size: if striped { Sectors::ZERO } else { Sectors::new(8192) },
        resync: Resync::Clean,
        events: 10,
        md_minor: 0,
        features: Features::empty(),
        devices: (0..count).map(device).collect(),
    };
    let placement = Placement::usual(version, SIZE, CHUNK, BitmapRoom::None).expect("room");
    let candidate = |number: u32| {
        let own = Uuid([u8::try_from(number + 1).expect("few"); 16]);
        let superblock = array.superblock(number, &placement, own).expect("fits");
        Candidate { path: format!("d{number}").into(), size: SIZE, superblock }
    };
    (0..count).map(candidate).collect()
}

fn five() -> Vec<Candidate> {
    devices(V2, Level::Raid5, 4, 4)
}

fn v1(candidate: &mut Candidate) -> &mut V1 {
    match &mut candidate.superblock {
        Superblock::V1(superblock) => superblock,
        Superblock::V0(_) => panic!("version 0.90"),
    }
}

fn verdict(candidates: &[Candidate]) -> Assembly {
    assemble(candidates).unwrap_or_else(|refusal| panic!("{refusal}"))
}

/// A letter for each candidate: in sync, recovering, spare, stale (x), journal, replacement.
fn picture(assembly: &Assembly) -> String {
    let letter = |member: &Member| match member.state {
        MemberState::InSync => 'U',
        MemberState::Recovering { .. } => 'R',
        MemberState::Spare => 'S',
        MemberState::Stale => 'x',
        MemberState::Journal => 'J',
        MemberState::Replacement => 'P',
    };
    assembly.members.iter().map(letter).collect()
}

/// What is done to the devices of a RAID5 of four members, and the verdict.
type Row = (&'static str, fn(&mut Vec<Candidate>), &'static str, State);

#[test]
fn members_count_by_their_events_and_by_what_the_freshest_says() {
    let rows: [Row; 14] = [
        ("all are there", |_| {}, "UUUU", State::Clean),
        ("in another order", |all| all.reverse(), "UUUU", State::Clean),
        ("one is missing", |all| drop(all.remove(1)), "UUU", State::Degraded),
        ("two are missing", |all| drop(all.drain(1..3)), "UU", State::Failed),
        ("one event behind", |all| all[0].superblock.set_events(9), "UUUU", State::Clean),
        ("two events behind", |all| all[0].superblock.set_events(8), "xUUU", State::Degraded),
        (
            "two of them stale",
            |all| all[..2].iter_mut().for_each(|c| c.superblock.set_events(5)),
            "xxUU",
            State::Failed,
        ),
        ("counted out by the freshest", |all| count_out(all), "xUUU", State::Degraded),
        ("recovering", |all| recover(&mut all[2]), "UURU", State::Degraded),
        (
            "recovering, and one is missing",
            |all| {
                recover(&mut all[2]);
                all.remove(0);
            },
            "URU",
            State::Failed,
        ),
        ("a spare beside them", |all| *all = spared(), "UUUUS", State::Clean),
        ("a spare far behind", |all| lag(all), "UUUUS", State::Clean),
        (
            "a replacement under way",
            |all| replace(all, Features::REPLACEMENT),
            "UUUUP",
            State::Clean,
        ),
        ("a dirty array", |all| all.iter_mut().for_each(dirty), "UUUU", State::Dirty),
    ];
    for (what, change, states, state) in rows {
        let mut candidates = five();
        change(&mut candidates);
        let assembly = verdict(&candidates);
        assert_eq!(picture(&assembly), states, "{what}");
        assert_eq!(assembly.state(), state, "{what}");
        assert_eq!(assembly.startable().is_err(), state == State::Failed, "{what}");
    }
}

fn count_out(all: &mut [Candidate]) {
    for candidate in &mut all[1..] {
        candidate.superblock.set_role(0, Role::Faulty).expect("in the table");
    }
    all[0].superblock.set_events(9);
}

fn recover(candidate: &mut Candidate) {
    v1(candidate).set_recovery_offset(Some(MemberSector::new(1000)));
}

fn dirty(candidate: &mut Candidate) {
    candidate.superblock.set_resync(Resync::From(0)).expect("fits");
}

fn spared() -> Vec<Candidate> {
    devices(V2, Level::Raid5, 4, 5)
}

fn lag(all: &mut Vec<Candidate>) {
    *all = spared();
    all[4].superblock.set_events(2);
}

/// The fifth device is given slot 1, with these features; the others know.
fn replace(all: &mut Vec<Candidate>, features: Features) {
    *all = spared();
    for candidate in all.iter_mut() {
        candidate.superblock.set_role(4, Role::Active(Slot::new(1))).expect("in the table");
    }
    v1(&mut all[4]).set_features(features);
}

#[test]
fn a_replacement_that_is_done_takes_the_slot_of_one_that_is_behind() {
    let mut candidates = five();
    replace(&mut candidates, Features::empty());
    candidates[1].superblock.set_events(9);
    let assembly = verdict(&candidates);
    assert_eq!(picture(&assembly), "UxUUU");
    assert_eq!(assembly.member_in(Slot::new(1)).map(|member| member.candidate), Some(4));
    // One that is not done is no member: the slot is empty without the other.
    replace(&mut candidates, Features::REPLACEMENT);
    candidates.remove(1);
    let assembly = verdict(&candidates);
    assert_eq!((assembly.state(), assembly.missing()), (State::Degraded, vec![Slot::new(1)]));
}

#[test]
fn what_may_be_missing_depends_on_the_level() {
    for (level, slots, missing, state) in [
        (Level::Raid1, 3, vec![0, 2], State::Degraded),
        (Level::Raid1, 3, vec![0, 1, 2], State::Failed),
        (Level::Raid4, 3, vec![1], State::Degraded),
        (Level::Raid5, 5, vec![0, 4], State::Failed),
        (Level::Raid6, 5, vec![0, 4], State::Degraded),
        (Level::Raid6, 5, vec![0, 3, 4], State::Failed),
        // Two copies of each chunk on neighbours.
        (Level::Raid10, 4, vec![0, 2], State::Degraded),
        (Level::Raid10, 4, vec![0, 1], State::Failed),
        (Level::Raid0, 2, vec![1], State::Failed),
        (Level::Linear, 2, vec![0], State::Failed),
    ] {
        for version in [Version::V0, V2] {
            // A spare is there in any case: without a device there is no verdict.
            let spares = u32::from(missing.len() == usize::try_from(slots).expect("few"));
            let all = devices(version, level, slots, slots + spares);
            let left = |(slot, _): &(u32, &Candidate)| !missing.contains(slot);
            let candidates: Vec<_> =
                (0..).zip(&all).filter(left).map(|(_, candidate)| candidate.clone()).collect();
            let assembly = verdict(&candidates);
            assert_eq!(assembly.state(), state, "{version} {level} without {missing:?}");
            assert_eq!(usize::try_from(assembly.degraded()), Ok(missing.len()));
            let slots: Vec<Slot> = missing.iter().copied().map(Slot::new).collect();
            match assembly.startable() {
                Ok(()) => assert_ne!(state, State::Failed),
                Err(why) => assert_eq!(why, WhyNot::TooFew { slots }),
            }
        }
    }
}

#[test]
fn what_forbids_to_write_is_named() {
    let all = |features: u32| {
        let mut candidates = five();
        for candidate in &mut candidates {
            v1(candidate).set_features(Features::from_bits_retain(features));
        }
        candidates
    };
    let bits = 0x8000;
    for (features, why) in [
        (0, Ok(())),
        (0x1, Ok(())),
        (bits, Err(WhyNotWrite::Features { bits })),
        (0x400, Err(WhyNotWrite::Ppl)),
        (0x800, Err(WhyNotWrite::Ppl)),
        (0x100, Err(WhyNotWrite::Clustered)),
    ] {
        let assembly = verdict(&all(features));
        assert_eq!(assembly.writable(), why, "{features:#x}");
        assert_eq!(assembly.startable(), Ok(()), "{features:#x}");
    }
    let degraded = |level| {
        let mut candidates = devices(V2, level, 4, 4);
        candidates.iter_mut().for_each(dirty);
        candidates.remove(3);
        verdict(&candidates).writable()
    };
    assert_eq!(degraded(Level::Raid5), Err(WhyNotWrite::DirtyDegraded));
    assert_eq!(degraded(Level::Raid6), Err(WhyNotWrite::DirtyDegraded));
    // Of copies nothing is computed.
    assert_eq!(degraded(Level::Raid1), Ok(()));
    let too_few = verdict(&five()[..2]).writable();
    assert!(matches!(too_few, Err(WhyNotWrite::NotReadable(WhyNot::TooFew { .. }))));
}

#[test]
fn a_journal_forbids_to_start_a_dirty_array_only() {
    let mut candidates = spared();
    for candidate in &mut candidates {
        candidate.superblock.set_role(4, Role::Journal).expect("in the table");
        v1(candidate).set_features(Features::JOURNAL);
    }
    let assembly = verdict(&candidates);
    assert_eq!((picture(&assembly).as_str(), assembly.startable()), ("UUUUJ", Ok(())));
    candidates.iter_mut().for_each(dirty);
    assert_eq!(verdict(&candidates).startable(), Err(WhyNot::Journal));
}

#[test]
fn raid0_of_several_zones_needs_to_say_by_which_rule() {
    let mut candidates = devices(V2, Level::Raid0, 3, 3);
    v1(&mut candidates[0]).set_data_size(Sectors::new(4096));
    assert_eq!(verdict(&candidates).startable(), Err(WhyNot::Raid0Layout));
    for candidate in &mut candidates {
        v1(candidate).set_features(Features::RAID0_LAYOUT);
        candidate.superblock.set_layout(2);
    }
    assert_eq!(verdict(&candidates).startable(), Ok(()));
    // The second zone is one member: both rules agree.
    let mut candidates = devices(V2, Level::Raid0, 2, 2);
    v1(&mut candidates[0]).set_data_size(Sectors::new(4096));
    assert_eq!(verdict(&candidates).startable(), Ok(()));
}

fn refused(candidates: &[Candidate]) -> Refusal {
    assemble(candidates).expect_err("refused")
}

#[test]
fn devices_that_do_not_belong_together_are_refused_by_name() {
    assert_eq!(refused(&[]), Refusal::NoMembers);
    let mut foreign = five();
    v1(&mut foreign[2]).set_uuid(Uuid([8; 16]));
    let Refusal::SeveralArrays { first, other } = refused(&foreign) else { panic!("another") };
    assert_eq!((first.0, other.0), ("d0".into(), "d2".into()));
    let mixed = [five().remove(0), devices(Version::V1(Minor::Zero), Level::Raid5, 4, 4).remove(1)];
    assert!(matches!(refused(&mixed), Refusal::SeveralVersions { .. }));
    for version in [Version::V0, V2] {
        let mut twice = devices(version, Level::Raid5, 4, 4);
        let copy = Candidate { path: "copy".into(), ..twice[1].clone() };
        twice.push(copy);
        let number = 1;
        let (first, second) = ("d1".into(), "copy".into());
        assert_eq!(refused(&twice), Refusal::Duplicate { first, second, number }, "{version}");
    }
    let mut cut = five();
    cut[3].size = Sectors::new(6000);
    let Refusal::Truncated { path, size, .. } = refused(&cut) else { panic!("another") };
    assert_eq!((path, size), ("d3".into(), Sectors::new(6000)));
    // What data does not use may be missing.
    cut[3].size = Sectors::new(v1(&mut cut[0]).data_offset().get() + 8192);
    assert_eq!(verdict(&cut).state(), State::Clean);
}

#[test]
fn numbers_that_make_no_array_are_refused() {
    let each = |change: &dyn Fn(&mut V1)| {
        let mut candidates = five();
        candidates.iter_mut().for_each(|candidate| change(v1(candidate)));
        refused(&candidates)
    };
    assert_eq!(each(&|superblock| superblock.set_level(3)), Refusal::Level { level: 3 });
    assert!(matches!(each(&|superblock| superblock.set_layout(99)), Refusal::Layout(_)));
    assert!(matches!(each(&|superblock| superblock.set_raid_disks(0)), Refusal::Shape(_)));
    let chunk = |superblock: &mut V1| superblock.set_chunk(Sectors::ZERO).expect("fits");
    assert!(matches!(each(&chunk), Refusal::Shape(_)));
    let reshape = Reshape {
        position: ArraySector::new(0),
        delta_disks: 9,
        raid_disks_new: 4,
        direction: Direction::Forwards,
        new_level: 5,
        new_layout: 2,
        new_chunk: CHUNK,
        new_offset: 0,
    };
    let impossible = each(&|superblock| superblock.set_reshape(&reshape).expect("fits"));
    assert_eq!(impossible, Refusal::Reshape { delta_disks: 9, raid_disks: 4 });
}

#[test]
fn a_superblock_one_event_behind_that_tells_of_another_array_is_not_believed() {
    let change = |change: fn(&mut V1)| {
        let mut candidates = five();
        candidates[0].superblock.set_events(9);
        change(v1(&mut candidates[0]));
        picture(&verdict(&candidates))
    };
    assert_eq!(change(|superblock| superblock.set_layout(0)), "xUUU");
    assert_eq!(change(|superblock| superblock.set_raid_disks(3)), "xUUU");
    // What a change of the size leaves, if the power goes amid the superblocks.
    assert_eq!(change(|superblock| superblock.set_component_size(Sectors::new(4096))), "UUUU");
}

#[test]
fn a_linear_array_is_known_by_those_that_have_not_heard_of_its_last_member() {
    for version in [Version::V0, V2] {
        let mut candidates = devices(version, Level::Linear, 3, 3);
        let alone = verdict(&candidates).shapes.sectors();
        for candidate in &mut candidates[..2] {
            candidate.superblock.set_events(9);
            candidate.superblock.set_raid_disks(2);
        }
        let assembly = verdict(&candidates);
        assert_eq!((picture(&assembly).as_str(), assembly.shapes.sectors()), ("UUU", alone));
        candidates[0].superblock.set_raid_disks(1);
        assert_eq!(picture(&verdict(&candidates)), "xUU", "{version}");
    }
}

/// A partition that ends where its disk does has its superblock 1.0 where the disk would have its
/// own.
#[test]
fn a_superblock_1_0_of_a_partition_is_not_taken_for_one_of_the_disk() {
    let version = Version::V1(Minor::Zero);
    let (start, length) = (2048, Sectors::new(14336));
    let in_partition = version.place(length).expect("room");
    let on_disk = version.place(SIZE).expect("room");
    assert_eq!(on_disk.get(), in_partition.get() + start);
    let mut candidate = devices(version, Level::Raid1, 2, 2).remove(0);
    v1(&mut candidate).move_to(in_partition);
    let bytes = candidate.superblock.to_bytes();
    Superblock::parse(&bytes, version, in_partition).expect("believed");
    let (at, stated) = (on_disk, in_partition);
    let refused = Superblock::parse(&bytes, version, on_disk);
    assert_eq!(refused.expect_err("refused"), SuperblockError::OtherPlace { at, stated });
}
