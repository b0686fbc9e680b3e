//! Every interrupted reshape of the corpus, finished by us.

use std::path::{Path, PathBuf};

use kcopy::device::OpenOptions;
use kcopy::{Device, Sectors};
use reshape::array::{Age, Array, Members, Mend, Range};
use reshape::assemble::{Shapes, assemble};
use reshape::exec::{BackupFile, Ongoing, Options, Trust};
use reshape::machine::State;
use reshape::metadata::Timestamp;
use reshape::mover::Mover;
use tests::corpus::{self, Fixture, Kind};

fn now() -> Timestamp {
    Timestamp::from_seconds(1_700_000_000)
}

fn open(path: &Path) -> Device {
    Device::open(path, &OpenOptions::destination()).expect("opened")
}

/// Finishes the reshape on `paths`, if one is recorded; the array after it.
fn finish(paths: &[PathBuf]) -> Result<(Array, Mover), String> {
    let mut mover = Mover::open(&reshape::mover::Options::default()).map_err(text)?;
    let (file, members): (Vec<_>, Vec<_>) = paths.iter().partition(|path| path.ends_with("backup"));
    let devices: Vec<Device> = members.iter().map(|path| open(path)).collect();
    let members = Members::read(&mut mover, devices.clone()).map_err(text)?;
    let assembly = assemble(&members.candidates).map_err(text)?;
    if matches!(assembly.shapes, Shapes::Moving { .. }) {
        let ongoing = Ongoing::new(assembly, members).map_err(text)?;
        let file = file.first().map(|path| open(path));
        let verdicts = ongoing.backups(&mut mover, file.as_ref(), Age::Checked);
        let (mut ongoing, _) =
            ongoing.prepare(&mut mover, &verdicts, Trust::Evidence, now()).map_err(text)?;
        let backup = if ongoing.needs_backup_file() {
            let restripe = ongoing.restripe();
            let what = (restripe.section().expect("it is needed"), restripe.readers());
            let path = paths[0].with_file_name("our-backup");
            std::fs::File::create(&path).map_err(text)?;
            let uuid = ongoing.assembly.uuid_on_disk;
            Some(BackupFile::create(&mut mover, open(&path), uuid, what, now()).map_err(text)?)
        } else {
            None
        };
        let options = Options { backup, ..Options::default() };
        let state = ongoing.run(&mut mover, options, now, &mut |_| true).map_err(text)?;
        assert_eq!(state, State::Finished);
    }
    let members = Members::read(&mut mover, devices).map_err(text)?;
    let assembly = assemble(&members.candidates).map_err(text)?;
    assert!(matches!(assembly.shapes, Shapes::Whole(_)), "{:?}", assembly.shapes);
    Ok((Array::open(&assembly, &members.devices, &members.bad).map_err(text)?, mover))
}

fn text(error: impl std::fmt::Display) -> String {
    error.to_string()
}

fn judge(fixture: &Fixture) -> Result<(), String> {
    let meta = fixture.meta();
    let dir = tests::tmp::in_memory();
    let paths = fixture.unpack_into(dir.path());
    let (array, mut mover) = finish(&paths)?;
    let sectors = meta["sectors"].as_u64().ok_or("no size")?;
    let seed = meta["seed"].as_u64().ok_or("no seed")?;
    let (bytes, report) = array.read(&mut mover, Range::new(0, sectors)).map_err(text)?;
    if !report.unreadable.is_empty() {
        return Err(format!("unreadable {:?}", report.unreadable));
    }
    let wrong = (0..sectors).filter(|n| {
        let at = usize::try_from(n * 512).expect("in memory");
        bytes[at..at + 512] != corpus::sector(seed, *n)
    });
    let wrong: Vec<u64> = wrong.collect();
    if let (Some(first), Some(last)) = (wrong.first(), wrong.last()) {
        return Err(format!("{} sectors are wrong, {first} to {last}", wrong.len()));
    }
    let report = array.check(&mut mover, Mend::Report, &mut |_| true).map_err(text)?;
    if report.mismatch_sectors > 0 {
        return Err(format!("{} sectors mismatch", report.mismatch_sectors));
    }
    Ok(())
}

/// The real driver went on behind an empty backup file: that is for salvage.
const TORN: &str = "x5-chunk-64to128-v090.crit3";

#[test]
fn every_interrupted_reshape_that_is_recorded_rightly_is_finished() {
    let fixtures: Vec<Fixture> = corpus::all(Kind::Reshapes)
        .into_iter()
        .filter(|fixture| fixture.meta()["verdict"] != "lost" && fixture.name != TORN)
        .collect();
    assert!(fixtures.len() > 70, "{}", fixtures.len());
    let (one, other) = fixtures.split_at(fixtures.len() / 2);
    let failures = |some: &[Fixture]| -> Vec<String> {
        let failure =
            |fixture: &Fixture| Some(format!("{}: {}", fixture.name, judge(fixture).err()?));
        some.iter().filter_map(failure).collect()
    };
    let all = std::thread::scope(|scope| {
        let first = scope.spawn(|| failures(one));
        let mut all = failures(other);
        all.extend(first.join().expect("no panic"));
        all
    });
    assert!(all.is_empty(), "{all:#?}");
}

/// The message named a room of two sections and a header, and some files took more.
#[test]
fn the_room_of_a_backup_file_is_known_before_it_is_taken() {
    const HEADER: u64 = 8;
    let (mut plain, mut ours, mut beside) = (0, 0, 0);
    for fixture in corpus::all(Kind::Reshapes).iter().filter(|f| f.name.starts_with('b')) {
        let dir = tests::tmp::in_memory();
        let paths = fixture.unpack_into(dir.path());
        let (file, paths): (Vec<_>, Vec<_>) =
            paths.iter().partition(|path| path.ends_with("backup"));
        let mut mover = Mover::open(&reshape::mover::Options::default()).expect("a mover");
        let devices: Vec<Device> = paths.iter().map(|path| open(path)).collect();
        let members = Members::read(&mut mover, devices).expect("members");
        let assembly = assemble(&members.candidates).expect("an array");
        let Ok(ongoing) = Ongoing::new(assembly, members) else { continue };
        let Some(section) = ongoing.restripe().section() else { continue };
        let new = dir.path().join("new");
        std::fs::File::create(&new).expect("created");
        // mdadm's sections are shorter than ours, so what it holds needs more room only beside short ones.
        let made = [(Some(&new), section), (file.first().copied(), Sectors::new(64))];
        for (path, section) in made {
            let Some(path) = path else { continue };
            let device = open(path);
            let room = ongoing.backup_room(&mut mover, Some(&device), section).get();
            match room - 2 * section.get() {
                HEADER => plain += 1,
                rest if rest == 2 * HEADER => ours += 1,
                _ => beside += 1,
            }
            let before = device.size();
            ongoing.backup_file(&mut mover, device, section, now()).expect("made");
            let size = std::fs::metadata(path).expect("a file").len();
            assert_eq!(size, before.max(room * 512), "{}: {}", fixture.name, path.display());
        }
    }
    assert!(plain > 0 && ours > 0 && beside > 0, "{plain}, {ours}, {beside}");
}
