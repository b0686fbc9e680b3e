//! The formats of md against what the real driver wrote and what mdadm says about it.

use std::collections::BTreeMap;

use kcopy::{Sector, Sectors};
use reshape::metadata::{
    Bitmap, Examined, Member, Minor, Resync, Role, Superblock, V0, V1, Version, backup, examine,
};
use tests::corpus::{self, Fixture, Image, Kind};

#[path = "metadata/examine_text.rs"]
mod examine_text;
#[path = "metadata/meta.rs"]
mod meta;
#[path = "metadata/rebuild.rs"]
mod rebuild;

/// Every fixture with the members that have a superblock.
fn members() -> impl Iterator<Item = (Fixture, String, Image, Member)> {
    let fixtures = [Kind::Arrays, Kind::Reshapes].into_iter().flat_map(corpus::all);
    fixtures.flat_map(|fixture| {
        let members = fixture.members();
        members.into_iter().filter_map(move |(name, image)| {
            let member = only_member(&examine(&image))?;
            Some((fixture.clone(), name, image, member))
        })
    })
}

fn only_member(examined: &Examined) -> Option<Member> {
    let mut members = examined.members();
    let member = members.next()?.clone();
    assert!(members.next().is_none(), "two superblocks on one device");
    Some(member)
}

/// Panics unless the bytes are equal; says where they first differ.
fn expect_equal(found: &[u8], expected: &[u8], context: &str) {
    assert_eq!(found.len(), expected.len(), "{context}");
    let differs = found.iter().zip(expected).position(|(found, expected)| found != expected);
    assert_eq!(differs, None, "{context}: they differ from there on");
}

fn bytes_at(image: &Image, at: Sector, length: usize) -> Vec<u8> {
    image.read(at.checked_bytes().expect("on the device"), length)
}

#[test]
fn every_superblock_is_written_as_it_was_read() {
    let mut versions = BTreeMap::new();
    for (fixture, name, image, member) in members() {
        let superblock = member.superblock;
        let bytes = bytes_at(&image, superblock.at(), 4096);
        let context = format!("{} {name}", fixture.name);
        expect_equal(&superblock.to_bytes(), &bytes, &context);
        let mut set = superblock.clone();
        set.set_events(superblock.events());
        expect_equal(&set.to_bytes(), &bytes, &format!("{context}: with a new checksum"));
        *versions.entry(superblock.version()).or_insert(0) += 1;
    }
    for version in Version::ALL {
        assert!(versions.get(&version).is_some_and(|count| *count > 5), "{versions:?}");
    }
}

/// Each field is set to what was read from it: the bytes stay the same.
#[test]
fn every_field_is_set_as_it_was_read() {
    for (fixture, name, _, member) in members() {
        let mut copy = member.superblock.clone();
        let from = &member.superblock;
        copy.set_level(from.level().expect("a level"));
        copy.set_layout(from.layout());
        copy.set_chunk(from.chunk()).unwrap();
        copy.set_raid_disks(from.raid_disks());
        copy.set_component_size(from.component_size()).unwrap();
        copy.set_update_time(from.update_time()).unwrap();
        // What 0.90 keeps of a resync means nothing without parity, or when it is outdated.
        if from.version() != Version::V0
            || from.level_number() > 0 && from.resync() == Resync::Clean
        {
            copy.set_resync(from.resync()).unwrap();
        }
        if let Some(reshape) = from.reshape() {
            copy.set_reshape(&reshape).unwrap();
        }
        for number in 0..from.max_dev() {
            // Roles of 0.90 say less than its descriptors.
            if let (Superblock::V1(_), Some(role)) = (from, from.role_of(number)) {
                copy.set_role(number, role).unwrap();
            }
        }
        match (&mut copy, from) {
            (Superblock::V0(copy), Superblock::V0(from)) => set_v0(copy, from),
            (Superblock::V1(copy), Superblock::V1(from)) => set_v1(copy, from),
            (Superblock::V0(_) | Superblock::V1(_), _) => panic!("a copy has the same version"),
        }
        expect_equal(&copy.to_bytes(), &from.to_bytes(), &format!("{} {name}", fixture.name));
    }
}

fn set_v0(copy: &mut V0, from: &V0) {
    copy.set_uuid(from.uuid());
    copy.set_creation_time(from.creation_time()).expect("it fitted");
    copy.set_md_minor(from.md_minor());
    for number in 0..27 {
        copy.set_descriptor(number, from.descriptor(number).expect("there are 27"))
            .expect("it fitted");
    }
    copy.set_this_disk(from.this_disk().number).expect("it fitted");
    copy.recount();
    match from.bitmap_at() {
        Some(_) => copy.add_bitmap(),
        None => copy.remove_bitmap(),
    }
}

fn set_v1(copy: &mut V1, from: &V1) {
    copy.set_uuid(from.uuid());
    copy.set_name(from.name());
    copy.set_creation_time(from.creation_time());
    copy.set_max_dev(from.max_dev()).expect("it fitted");
    copy.set_data_offset(from.data_offset());
    copy.set_data_size(from.data_size());
    copy.set_recovery_offset(from.recovery_offset());
    copy.set_dev_number(from.dev_number());
    copy.set_device_uuid(from.device_uuid());
    copy.set_device_flags(from.device_flags());
    if from.ppl_area().expect("well placed").is_none() {
        copy.set_bitmap_offset(from.bitmap_offset());
    }
    copy.set_bad_blocks(from.bad_blocks());
    copy.set_features(from.features());
    copy.move_to(from.at());
}

/// What the driver and mdadm wrote for an array comes out again when the array is described to us.
#[test]
fn new_superblocks_are_those_that_mdadm_makes() {
    let mut built = BTreeMap::new();
    for fixture in corpus::all(Kind::Arrays) {
        let meta = fixture.meta();
        let command = meta["command"].as_str().expect("a text");
        let special = ["--data-offset", "missing", "ppl"].iter().any(|word| command.contains(word));
        if special || meta["degraded"] != 0 {
            continue;
        }
        for (name, image) in fixture.members() {
            let context = format!("{} {name}", fixture.name);
            let size = Sectors::from_bytes_floor(image.size());
            let member = only_member(&examine(&image)).expect("a member");
            let from = &member.superblock;
            let place = rebuild::placement(from, size);
            let mut new = rebuild::array(from)
                .superblock(from.dev_number(), &place, rebuild::uuid(from))
                .unwrap_or_else(|error| panic!("{context}: {error}"));
            new.set_update_time(from.update_time()).unwrap();
            if from.level_number() > 0 {
                // The kernel has written these since, and says more than mdadm did.
                new.set_resync(from.resync()).unwrap();
            }
            let length = from.write_length(512);
            expect_equal(&new.to_bytes()[..length], &from.to_bytes()[..length], &context);
            *built.entry(from.version()).or_insert(0) += 1;
        }
    }
    assert!(Version::ALL.iter().all(|version| built.get(version).is_some_and(|n| *n > 3)));
}

/// Arrays of big-endian hosts are rare; these are made from those of the corpus.
#[test]
fn superblocks_0_90_of_the_other_byte_order_say_the_same() {
    let mut count = 0;
    for (fixture, name, _, member) in members() {
        let Superblock::V0(little) = &member.superblock else { continue };
        count += 1;
        let swapped = swapped(&little.to_bytes());
        let big = V0::parse(&swapped, little.at()).unwrap();
        expect_equal(&big.to_bytes(), &swapped, &fixture.name);
        assert_eq!(big.checksum(), little.checksum(), "{} {name}", fixture.name);
        assert_eq!((big.uuid(), big.events()), (little.uuid(), little.events()));
        assert_eq!(big.reshape(), little.reshape());
        assert_eq!(big.resync(), little.resync());
        assert_eq!((big.role(), big.counts()), (little.role(), little.counts()));
        assert_eq!((big.level(), big.chunk()), (little.level(), little.chunk()));
        assert_eq!(big.component_size(), little.component_size());
    }
    assert!(count > 100, "{count}");
}

/// Words change their bytes, and the two words of a number of 64 bits their places.
fn swapped(bytes: &[u8]) -> Vec<u8> {
    let mut swapped = bytes.to_vec();
    swapped.chunks_exact_mut(4).for_each(<[u8]>::reverse);
    for at in [156, 164, 176] {
        swapped[at..at + 8].rotate_left(4);
    }
    swapped
}

#[test]
fn superblocks_agree_with_mdadm() {
    let mut checked = 0;
    for fixture in corpus::all(Kind::Reshapes) {
        let text = fixture.examine().expect("mdadm looked at all reshapes");
        let texts = examine_text::members(&text);
        for (name, image) in fixture.members() {
            let context = format!("{} {name}", fixture.name);
            let text = texts.get(&name).unwrap_or_else(|| panic!("{context}: no text"));
            match (only_member(&examine(&image)), text.is_empty()) {
                (Some(member), false) => {
                    let device = Sectors::from_bytes_floor(image.size());
                    examine_text::compare(&context, text, &member, device);
                    checked += 1;
                }
                (None, true) => {}
                (found, _) => panic!("{context}: found {:?}", found.map(|m| m.superblock)),
            }
        }
    }
    assert!(checked > 400, "{checked} members");
}

#[test]
fn superblocks_agree_with_how_the_arrays_were_made() {
    for fixture in corpus::all(Kind::Arrays) {
        let meta = fixture.meta();
        for (name, image) in fixture.members() {
            let context = format!("{} {name}", fixture.name);
            let member = only_member(&examine(&image)).unwrap_or_else(|| panic!("{context}"));
            meta::compare(&context, &meta, &name, &member.superblock);
        }
    }
}

#[test]
fn bitmaps_are_written_as_they_were_read() {
    let mut found = 0;
    for (fixture, name, image, member) in members() {
        let Some(bitmap) = member.bitmap else { continue };
        let context = format!("{} {name}", fixture.name);
        let bitmap: Bitmap = bitmap.unwrap_or_else(|error| panic!("{context}: {error}"));
        let superblock = member.superblock;
        let at = superblock.bitmap_at().unwrap().unwrap();
        let bytes = bitmap.to_bytes();
        expect_equal(&bytes_at(&image, at, bytes.len()), &bytes, &context);
        let header = bitmap.header();
        assert!(header.belongs_to(superblock.uuid_on_disk(), superblock.events()), "{context}");
        assert_eq!(header.sync_size(), superblock.component_size(), "{context}");
        assert_eq!(bitmap.dirty().count(), 0, "{context}: all were in step");
        found += 1;
    }
    assert!(found >= 9, "{found} bitmaps");
}

#[test]
fn logs_of_bad_blocks_are_empty() {
    let logs: Vec<_> = members().filter_map(|(_, _, _, member)| member.bad_blocks).collect();
    assert!(logs.len() > 400);
    assert!(logs.iter().all(|log| log.as_ref().is_ok_and(Vec::is_empty)));
}

#[test]
fn partial_parity_logs_are_of_their_array() {
    let mut found = 0;
    for (fixture, name, _, member) in members() {
        let Some(log) = member.parity_log else { continue };
        let log = log.unwrap_or_else(|error| panic!("{} {name}: {error}", fixture.name));
        assert!(log.generation > 0 && log.entries > 0, "{} {name}: {log:?}", fixture.name);
        found += 1;
    }
    assert_eq!(found, 3);
}

#[test]
fn backup_files_are_written_as_they_were_read() {
    let mut found = 0;
    for fixture in corpus::all(Kind::Reshapes) {
        let uuids: Vec<_> = fixture
            .members()
            .iter()
            .filter_map(|(_, image)| only_member(&examine(image)))
            .map(|member| member.superblock.uuid_on_disk())
            .collect();
        for (name, image) in fixture.images() {
            if name != "backup" || image.sector(0) == [0; 512] {
                continue;
            }
            let header = backup(&image, Sector::new(0))
                .unwrap_or_else(|error| panic!("{}: {error}", fixture.name));
            expect_equal(&header.to_bytes(), &image.sector(0), &fixture.name);
            assert!(uuids.contains(&header.set_uuid), "{}", fixture.name);
            assert_eq!(header.data_at, Sector::new(8), "{}", fixture.name);
            assert_eq!(header.ours, None);
            found += 1;
        }
    }
    assert!(found > 10, "{found} backups");
}

#[test]
fn nothing_of_the_corpus_is_restricted() {
    for (fixture, name, _, member) in members() {
        let restrictions = member.superblock.restrictions();
        assert!(restrictions.is_empty(), "{} {name}: {restrictions:?}", fixture.name);
    }
}

/// A device cut off anywhere is examined, and what is gone is not found.
#[test]
fn truncated_members_have_no_superblock_at_their_end() {
    let fixture = corpus::one(Kind::Arrays, "raid5-v10");
    let (_, image) = fixture.members().swap_remove(0);
    let whole = image.read(0, usize::try_from(image.size()).expect("8 MiB"));
    for cut in [1, 4096, 8191, 8192, 8193, 1 << 20, whole.len()] {
        let left = &whole[..whole.len() - cut];
        assert_eq!(examine(left).members().count(), 0, "{cut} bytes less");
    }
    let version = Version::V1(Minor::Zero);
    let found = examine(&whole).members().next().map(|member| member.superblock.version());
    assert_eq!(found, Some(version));
    assert_ne!(only_member(&examine(&whole)).map(|m| m.superblock.role()), Some(Role::Spare));
}
