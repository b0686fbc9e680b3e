//! Backups that are missing, torn, foreign or stale: named and refused, and nothing is written; a file
//! system without room: told before anything is changed.

use kcopy::Errno;
use kcopy::backend::sim::{Crash, DiskId, Effect, Fault, OpKind, Schedule, SimWorld, Snapshot};
use reshape::geometry::Level;
use reshape::metadata::{BackupHeader, Timestamp};
use reshape::plan::Mode;

use super::bench::Bench;
use super::case::{Case, all};
use super::power::{film, mover};
use crate::sim::report::Report;

/// What is done to a backup, and what has to be said then.
type Damage = (&'static str, fn(&SimWorld, DiskId), &'static str);

const DAMAGES: [Damage; 7] = [
    ("missing", wipe, "no usable backup"),
    ("without a header", |world, file| world.disk(file).write(0, &[0; 512]), "no usable backup"),
    ("a header that is torn", |world, file| flip(world, file, 40), "no usable backup"),
    ("data that is torn", tear, "is damaged: its crc32c"),
    ("of another array", |world, file| edit(world, file, |h| h.set_uuid[3] ^= 1), "another array"),
    (
        "of another time",
        |world, file| edit(world, file, |h| h.mtime = Timestamp::from_seconds(1_600_000_000)),
        "s before the superblocks",
    ),
    (
        "of an earlier place",
        |world, file| {
            edit(world, file, |header| {
                header.first.length = kcopy::Sectors::ZERO;
                header.second = None;
                header.ours = None;
            });
        },
        "nothing that is still needed",
    ),
];

fn wipe(world: &SimWorld, file: DiskId) {
    let disk = world.disk(file);
    disk.write(0, &vec![0; disk.bytes().len()]);
}

/// The first sector of whatever it holds.
fn tear(world: &SimWorld, file: DiskId) {
    let header = BackupHeader::parse(&world.disk(file).read(0, 512)).expect("a header");
    let first = header.data_at.get() * 512;
    for (section, at) in [(Some(header.first), 0), (header.second, header.unit.get() * 512)] {
        if section.is_some_and(|section| section.length.get() > 0) {
            flip(world, file, first + at);
        }
    }
}

fn flip(world: &SimWorld, file: DiskId, at: u64) {
    let disk = world.disk(file);
    let byte = disk.read(at, 1)[0];
    disk.write(at, &[byte ^ 0x10]);
}

fn edit(world: &SimWorld, file: DiskId, change: impl FnOnce(&mut BackupHeader)) {
    let disk = world.disk(file);
    let mut header = BackupHeader::parse(&disk.read(0, 512)).expect("a header");
    change(&mut header);
    disk.write(0, &header.to_bytes());
}

/// Reshapes with a backup file, some of them degraded.
fn cases() -> impl Iterator<Item = Case> {
    let saved = |case: &Case| {
        let small = case.disks.0 + case.disks.1 <= 9;
        case.mode == Mode::BackupFile && matches!(case.level, Level::Raid5 | Level::Raid6) && small
    };
    all().into_iter().filter(saved).step_by(3)
}

/// Every damage, in each of the cases, at the moments at which the backup is needed.
pub fn everything() -> Report {
    let mut report = Report::default();
    for case in cases() {
        let bench = Bench::new(&case, None);
        let Some(moments) = report.check(|| case.to_string(), || needed(&bench)) else { continue };
        for (number, frame) in moments.iter().enumerate() {
            for damage in DAMAGES {
                let id = || format!("{case}, moment {number}, a backup {}", damage.0);
                report.check(id, || refused(&bench, frame, damage));
                report.count("backups refused", 1);
            }
        }
    }
    report
}

/// Moments at which a new row was written and only the backup has what stood there: without it nobody can
/// go on.
fn needed(bench: &Bench) -> Result<Vec<Snapshot>, String> {
    let world = bench.world(1);
    let first = Schedule::FirstComeFirstServed;
    let (frames, result) = film(&world, first, |mover| bench.go_on(&world, mover, &[]));
    result?;
    let without = |frame: &&Snapshot| {
        let world = frame.after(Crash::KeepAll, 1);
        let holds = bench.holds_backup(&world, &mut mover(&world));
        world.disk(file(bench)).write(0, &[0; 512]);
        holds && bench.go_on(&world, &mut mover(&world), &[]).is_err()
    };
    let moments: Vec<Snapshot> = frames.iter().filter(without).cloned().collect();
    let (count, step) = (moments.len(), moments.len().div_ceil(3).max(1));
    match count {
        0 => Err("the backup is never needed".into()),
        _ => Ok(moments.into_iter().step_by(step).collect()),
    }
}

fn file(bench: &Bench) -> DiskId {
    DiskId(bench.case.slots())
}

fn bytes(world: &SimWorld, bench: &Bench) -> Vec<Vec<u8>> {
    (0..=bench.case.slots()).map(|disk| world.disk(DiskId(disk)).bytes()).collect()
}

/// The damaged backup is refused and nothing is written; with the right one it goes on.
fn refused(bench: &Bench, frame: &Snapshot, (_, damage, says): Damage) -> Result<(), String> {
    let world = frame.after(Crash::KeepAll, 1);
    let file = file(bench);
    let right = world.disk(file).bytes();
    damage(&world, file);
    let before = bytes(&world, bench);
    let Err(error) = bench.go_on(&world, &mut mover(&world), &[]) else {
        return Err("it was believed".into());
    };
    if !error.contains(says) {
        return Err(format!("{says:?} is not said: {error}"));
    }
    if bytes(&world, bench) != before {
        return Err(format!("something was written before it was refused: {error}"));
    }
    world.disk(file).write(0, &right);
    bench.go_on(&world, &mut mover(&world), &[])?;
    bench.check(&world, &mut mover(&world), &[], &[])
}

/// The file system is full after so many bytes, while the backup is made: an error that says so, and the
/// array is as it was.
pub fn no_space() -> Report {
    let mut report = Report::default();
    for case in cases() {
        for room in [0, 4096, 8192, 20480] {
            report.check(|| format!("{case}, room for {room} bytes"), || full(&case, room));
            report.count("file systems without room", 1);
        }
    }
    report
}

fn full(case: &Case, room: u64) -> Result<(), String> {
    let bench = Bench::new(case, None);
    let world = bench.world(1);
    let before: Vec<Vec<u8>> = bytes(&world, &bench);
    let full = Fault::new(Effect::Error(Errno::NO_SPACE)).on(file(&bench)).kind(OpKind::Write);
    world.inject(full.within(room..u64::MAX));
    let Err(error) = bench.go_on(&world, &mut mover(&world), &[]) else {
        return Err("nobody noticed".into());
    };
    if !error.contains("cannot write sim") || !error.to_lowercase().contains("space") {
        return Err(format!("it does not help: {error}"));
    }
    let after = bytes(&world, &bench);
    let slots = usize::try_from(case.slots()).expect("few");
    if after[..slots] != before[..slots] {
        return Err("a member was changed".into());
    }
    world.clear_faults();
    bench.go_on(&world, &mut mover(&world), &[])?;
    bench.check(&world, &mut mover(&world), &[], &[])
}
