//! Backups that are missing, torn, foreign or stale: named and refused, and nothing is written; a file
//! system without room: told before anything is changed.

use kcopy::backend::sim::{Crash, DiskId, Effect, Fault, OpKind, Schedule, SimWorld, Snapshot};
use kcopy::{Errno, Sectors};
use reshape::geometry::Level;
use reshape::metadata::{BackupHeader, Section, Timestamp};
use reshape::plan::Mode;

use super::bench::Bench;
use super::case::{Case, all};
use super::crash::Subject;
use super::power::{film, mover};
use crate::sim::report::Report;

/// What is wrong with a backup.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Damage {
    /// It is empty.
    Missing,
    /// There is no header.
    Headless,
    /// The header was torn.
    HeaderTorn,
    /// What it holds was torn.
    DataTorn,
    /// It is of another array.
    Foreign,
    /// It is of another time.
    Stale,
    /// It holds what is not needed any more.
    Earlier,
    /// It is what an earlier run left at its end.
    EarlierRun,
}

/// Where a header is: the disk, and its first byte.
type Place = (DiskId, u64);

impl Damage {
    /// Every kind.
    pub const ALL: [Self; 8] = [
        Self::Missing,
        Self::Headless,
        Self::HeaderTorn,
        Self::DataTorn,
        Self::Foreign,
        Self::Stale,
        Self::Earlier,
        Self::EarlierRun,
    ];

    /// What has to be said where the backup is needed.
    fn says(self) -> &'static str {
        match self {
            Self::Missing | Self::Headless | Self::HeaderTorn => "no usable backup",
            Self::DataTorn => "is damaged: its crc32c",
            Self::Foreign => "another array",
            Self::Stale | Self::EarlierRun => "s before the superblocks",
            Self::Earlier => "nothing that is still needed",
        }
    }

    fn strike(self, world: &SimWorld, place: Place) {
        let (disk, at) = (world.disk(place.0), place.1);
        match self {
            Self::Missing if at == 0 => disk.write(0, &vec![0; disk.bytes().len()]),
            Self::Missing | Self::Headless => disk.write(at, &[0; 512]),
            Self::HeaderTorn => flip(world, place.0, at + 40),
            Self::DataTorn => tear(world, place),
            Self::Foreign => edit(world, place, |header| header.set_uuid[3] ^= 1),
            Self::Stale => edit(world, place, |h| h.mtime = Timestamp::from_seconds(LONG_AGO)),
            Self::Earlier => edit(world, place, |header| {
                header.first.length = Sectors::ZERO;
                header.second = None;
                header.ours = None;
            }),
            Self::EarlierRun => edit(world, place, |header| {
                header.mtime = Timestamp::from_seconds(LONG_AGO);
                header.first.length = Sectors::ZERO;
                header.second =
                    header.second.map(|second| Section { length: Sectors::ZERO, ..second });
            }),
        }
    }
}

/// A time long before that of the simulated superblocks.
const LONG_AGO: u64 = 1_600_000_000;

/// The first sector of whatever it holds.
fn tear(world: &SimWorld, (disk, at): Place) {
    let Some(header) = header(world, (disk, at)) else { return };
    let first = header.data_at.get() * 512;
    for (section, at) in [(Some(header.first), 0), (header.second, header.unit.get() * 512)] {
        if section.is_some_and(|section| section.length.get() > 0) {
            flip(world, disk, first + at);
        }
    }
}

fn flip(world: &SimWorld, disk: DiskId, at: u64) {
    let disk = world.disk(disk);
    let byte = disk.read(at, 1)[0];
    disk.write(at, &[byte ^ 0x10]);
}

fn header(world: &SimWorld, (disk, at): Place) -> Option<BackupHeader> {
    BackupHeader::parse(&world.disk(disk).read(at, 512)).ok()
}

fn edit(world: &SimWorld, place: Place, change: impl FnOnce(&mut BackupHeader)) {
    let Some(mut header) = header(world, place) else { return };
    change(&mut header);
    world.disk(place.0).write(place.1, &header.to_bytes());
}

/// Where the headers of a bench's backups are: in the file, or at the end of what is used of new members.
fn places(bench: &Bench, world: &SimWorld) -> Vec<Place> {
    let [near, far] = bench.headers_on_spares().map(|sector| sector * 512);
    let added = bench.case.added().into_iter().map(|(number, _)| DiskId(number));
    let spares = added.flat_map(|disk| [(disk, near), (disk, far)]);
    let all = spares.chain([(file(bench), 0)]);
    all.filter(|place| header(world, *place).is_some()).collect()
}

/// The backup is damaged in a state that a loss of power left. Where the reshape goes on all the same, because
/// the backup is not needed, everything is right; where it does not, nothing was written, and with the right
/// backup it goes on.
pub(super) fn damaged(bench: &Bench, world: &SimWorld, damage: Damage) -> Result<(), String> {
    let right = bytes(world, bench);
    // On a spare, what is not needed any more may be overwritten by now.
    if damage != Damage::DataTorn || bench.holds_backup(world, &mut mover(world)) {
        places(bench, world).into_iter().for_each(|place| damage.strike(world, place));
    }
    judge(bench, world, &right)
}

/// What the backup holds cannot be read for now.
pub(super) fn unreadable(bench: &Bench, world: &SimWorld) -> Result<(), String> {
    let right = bytes(world, bench);
    for place in places(bench, world) {
        let Some(header) = header(world, place) else { continue };
        let from = header.data_at.get() * 512;
        let to = from + 2 * header.unit.get().max(1) * 512;
        let fault = Fault::new(Effect::Error(Errno::IO)).kind(OpKind::Read);
        world.inject(fault.on(place.0).within(from..to));
    }
    let result = judge(bench, world, &right);
    world.clear_faults();
    result
}

/// Goes on, and is right; or does not, and is as it was.
fn judge(bench: &Bench, world: &SimWorld, right: &[Vec<u8>]) -> Result<(), String> {
    let before = bytes(world, bench);
    let went_on = bench.go_on(world, &mut mover(world), &[]);
    world.clear_faults();
    if let Err(error) = went_on {
        if bytes(world, bench) != before {
            return Err(format!("something was written before it was refused: {error}"));
        }
        for (disk, bytes) in (0..).map(DiskId).zip(right) {
            world.disk(disk).write(0, bytes);
        }
        bench.go_on(world, &mut mover(world), &[])?;
    }
    bench.check(world, &mut mover(world), &[], &[])
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
            for damage in Damage::ALL {
                let id = || format!("{case}, moment {number}, a backup that is {damage:?}");
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
fn refused(bench: &Bench, frame: &Snapshot, damage: Damage) -> Result<(), String> {
    let world = frame.after(Crash::KeepAll, 1);
    let file = file(bench);
    let right = world.disk(file).bytes();
    damage.strike(&world, (file, 0));
    let before = bytes(&world, bench);
    let Err(error) = bench.go_on(&world, &mut mover(&world), &[]) else {
        return Err("it was believed".into());
    };
    let says = damage.says();
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
