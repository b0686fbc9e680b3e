//! kill -9 at random times: a copy with a map goes on, what the map claims is true, and the copy
//! is whole in the end.

use std::fmt::Write as _;
use std::path::Path;
use std::time::Duration;

use kcopy::resume::MapFile;
use tests::binary::{LIMIT, Running, kcopy, start_kcopy};
use tests::loopdev::LoopDevice;
use tests::tmp::text;
use tests::{data, pause, tmp};

const SIZE: u64 = 3_000_001;

/// Kills in all; a copy that is done begins again with other bytes.
const KILLS: u32 = 200;

/// Panics unless every chunk that the map claims is on every destination; returns their number.
fn expect_claims_are_true(map: &Path, source: &Path, copies: [&Path; 2]) -> u64 {
    let Ok(bytes) = std::fs::read(map) else { return 0 };
    let map = MapFile::parse(&bytes).expect("a map is whole whenever its program is killed");
    let identity = map.identity();
    let claimed: Vec<u64> = (0..identity.chunks()).filter(|i| map.claimed().contains(*i)).collect();
    for index in &claimed {
        let offset = index * identity.chunk;
        let len = identity.chunk.min(identity.length - offset);
        for copy in copies {
            data::expect_equal((source, offset), (copy, offset), len);
        }
    }
    claimed.len() as u64
}

#[test]
fn copy_killed_200_times_goes_on_and_the_map_never_lies() {
    let (_dir, [source, one, two, map]) = tmp::with_paths(["source", "1", "2", "map"]);
    let start = data::seed_of_this_run();
    println!("again: KCOPY_SEED={start}");
    let mut random = data::Random::new(start);
    let (mut seed, mut resumed, mut finished) = (1, 0u32, 0u32);
    data::write_file(&source, seed, SIZE);
    let mut kills = 0;
    while kills < KILLS {
        let options = ["copy", "-q", "--rate", "16MB", "--map-interval", "20", "--map"];
        let sides = [&map, &source, &one, &two].map(|path| text(path));
        let copying = start_kcopy(options.into_iter().chain(sides));
        pause(Duration::from_millis(5 + random.below(150)));
        copying.kill();
        let done = copying.finish(LIMIT);
        let status = done.status;
        if status.code().is_some() {
            let said = done.stderr;
            assert!(status.success(), "a run that was not killed in time: {status}\n{said}");
        } else {
            kills += 1;
        }
        if status.success() || random.below(10) == 0 {
            // Now without a kill: it goes on, and is whole.
            kcopy([
                "copy",
                "-q",
                "--verify",
                "--map",
                text(&map),
                text(&source),
                text(&one),
                text(&two),
            ])
            .expect_code(0);
            assert!(!map.exists(), "the map has served");
            data::expect_equal((&source, 0), (&one, 0), SIZE);
            data::expect_equal((&source, 0), (&two, 0), SIZE);
            seed += 1;
            finished += 1;
            data::write_file(&source, seed, SIZE);
        } else if expect_claims_are_true(&map, &source, [&one, &two]) > 0 {
            resumed += 1;
        }
    }
    assert!(resumed > 20 && finished > 5, "kills hit nothing: {resumed} and {finished}");
}

/// The kernel finishes the operations of a killed program after the program is gone, and until then
/// a device is claimed: a copy that was begun again at once was refused as "in use".
#[test]
fn root_copy_to_a_device_begins_again_at_once_after_a_kill() {
    const ROOM: u64 = 32 << 20;
    let dir = tmp::on_disk();
    let source = dir.path().join("source");
    data::write_file(&source, 1, ROOM);
    let device = LoopDevice::create(dir.path(), "device", ROOM);
    for kill in 0..8 {
        let copying = start_kcopy(["copy", "-q", "--no-flush", text(&source), text(device.path())]);
        pause(Duration::from_millis(20 + 5 * kill));
        copying.kill();
        copying.finish(LIMIT);
        kcopy(["copy", "-q", "--count", "1MiB", text(&source), text(device.path())]).expect_code(0);
    }
}

#[test]
fn interrupted_copy_with_a_map_goes_on_with_the_same_command() {
    let (_dir, [source, copy, map]) = tmp::with_paths(["source", "copy", "map"]);
    data::write_file(&source, 1, 20_000_000);
    let sides = ["--map", text(&map), text(&source), text(&copy)];
    let copying = start_kcopy(["copy", "--rate", "8MB"].into_iter().chain(sides));
    pause(Duration::from_millis(1200));
    copying.interrupt();
    let said = copying.finish(LIMIT).expect_code(130).stderr;
    assert!(said.contains("run the same command again"), "{said}");
    let report =
        kcopy(["copy", "--json", "--verify", "--map", text(&map), text(&source), text(&copy)])
            .expect_code(0)
            .json();
    let resumed = report["resumed_bytes"].as_u64().unwrap();
    assert!(resumed > 1_000_000, "{report}");
    assert_eq!(report["bytes"].as_u64().unwrap() + resumed, 20_000_000);
    data::expect_equal((&source, 0), (&copy, 0), 20_000_000);
    assert!(!map.exists());
}

/// A list of very many copies that do not lie side by side, and a run of it that has begun.
fn many_copies(dir: &Path) -> (Running, u32) {
    const BLOCKS: u32 = 4096;
    const ROUNDS: u32 = 200;
    let [source, copy, list] = ["source", "copy", "list"].map(|name| dir.join(name));
    data::write_file(&source, 1, u64::from(BLOCKS) * 4096);
    std::fs::write(&copy, vec![0; 4096 * 4096]).expect("room on the disk");
    let mut lines = String::new();
    for index in 0..BLOCKS * ROUNDS {
        let at = index % BLOCKS * 1667 % BLOCKS * 4096;
        writeln!(lines, "{at} {at}").expect("a string takes all");
    }
    std::fs::write(&list, lines).expect("room on the disk");
    let mut copying = start_kcopy(["jobs", "--list", text(&list), text(&source), text(&copy)]);
    // Some of the first round are done for sure when the last of them is there.
    let late = u64::from((BLOCKS - 1) * 1667 % BLOCKS) * 4096;
    copying.wait_until(|| data::read_at(&copy, late, 4096) != [0; 4096]);
    (copying, BLOCKS * ROUNDS)
}

#[test]
fn interrupted_jobs_end_and_say_how_many_were_done() {
    let dir = tmp::on_disk();
    let (copying, all) = many_copies(dir.path());
    copying.interrupt();
    let said = copying.finish(LIMIT).expect_code(130).stderr;
    let count = said.split("interrupted after ").nth(1).and_then(|rest| rest.split(' ').next());
    let count: u32 = count.unwrap_or_else(|| panic!("{said}")).parse().unwrap();
    assert!(count > 0 && count < all, "{count} of {all}");
    assert!(said.contains("run it again"), "{said}");
}

#[test]
fn second_interruption_leaves_at_once() {
    let dir = tmp::on_disk();
    let (copying, _) = many_copies(dir.path());
    // The first stop may be done before the second signal comes.
    copying.interrupt();
    copying.interrupt();
    copying.finish(LIMIT).expect_code(130);
}
