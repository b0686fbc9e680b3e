//! Our arrays against those of the real driver: content, parity, writes; whole and with members left
//! out. What each is, and what it holds, was recorded when it was made.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;

use tests::corpus::array::{Redundancy, Unpacked};
use tests::corpus::{self, Kind};
use tests::ours::Ours;
use tests::parallel;
use tests::pattern::{Differs, Pattern};
use tests::tmp;

/// Unpacks each array to a place of its own, and checks it.
fn each(check: impl Fn(&Unpacked) -> Result<(), String> + Sync) {
    parallel::expect_all(&corpus::all(Kind::Arrays), |fixture| {
        let dir = tmp::in_memory();
        check(&Unpacked::new(fixture, dir.path()))
    });
}

/// A complaint that says about what.
fn about(array: &Unpacked, what: &str) -> impl FnOnce(String) -> String {
    let head = format!("{} {what}", array.name);
    move |error| format!("{head}: {error}")
}

/// Reads a range of the array, whose whole content is `content`, without some members.
fn read(array: &Unpacked, lost: &BTreeSet<u32>, content: &Content) -> Result<(), String> {
    let mut ours = Ours::read_only(&array.without(lost))?;
    let degraded = u64::from(ours.assembly().degraded());
    let expected = array.number("degraded") + lost.len() as u64;
    if array.redundancy() != Redundancy::None && degraded != expected {
        return Err(format!("degraded by {degraded}, not by {expected}"));
    }
    content.expect(&mut ours, parts(array, lost))
}

/// What is read when some members are lost: all of it if one is, else the length of one rotation of
/// the layout, at both ends.
fn parts(array: &Unpacked, lost: &BTreeSet<u32>) -> Vec<(u64, u64)> {
    let size = array.number("bytes") / 512;
    let disks = array.number("raid_disks");
    let rotation = (array.number("chunk") / 512 * disks * disks).clamp(64, size);
    if lost.len() < 2 { vec![(0, size)] } else { vec![(0, rotation), (size - rotation, rotation)] }
}

/// Content of a whole array, made once.
struct Content {
    pattern: Pattern,
    bytes: Vec<u8>,
}

impl Content {
    fn new(pattern: Pattern) -> Self {
        Self { pattern, bytes: pattern.bytes() }
    }

    /// Reads parts of it, each a first sector and a number of them.
    fn expect(&self, ours: &mut Ours, parts: Vec<(u64, u64)>) -> Result<(), String> {
        for (from, sectors) in parts {
            let byte = |sector: u64| usize::try_from(sector * 512).expect("in memory");
            let found = ours.read(from, sectors)?;
            if found != self.bytes[byte(from)..byte(from + sectors)] {
                let part = Pattern { from, sectors, ..self.pattern };
                let differs = Differs::between(part, &found).expect("they differ");
                return Err(differs.to_string());
            }
        }
        Ok(())
    }
}

#[test]
fn recorded_content_is_that_of_the_pattern() {
    each(|array| {
        let path = array.folder.join("content");
        fs::write(&path, array.content().bytes()).map_err(|error| error.to_string())?;
        let mut sha256sum = std::process::Command::new("sha256sum");
        let done = tests::binary::run(sha256sum.arg(&path), tests::binary::LIMIT).expect_code(0);
        fs::remove_file(&path).map_err(|error| error.to_string())?;
        let right = done.stdout.starts_with(array.text("sha256"));
        if right { Ok(()) } else { Err(format!("{}: {}", array.name, done.stdout)) }
    });
}

#[test]
fn content_is_right_whoever_is_missing() {
    each(|array| {
        let (bearable, fatal) = array.losses(2);
        let content = Content::new(array.content());
        for lost in bearable {
            let what = format!("without {lost:?}");
            read(array, &lost, &content).map_err(about(array, &what))?;
        }
        for lost in fatal {
            // Without the stale ones: of them alone nobody could know that they are.
            let mut left = array.without(&lost);
            left.retain(|path| !array.stale.contains(path));
            if Ours::read_only(&left).is_ok_and(|ours| ours.array().is_ok()) {
                return Err(format!("{} can be read without {lost:?}", array.name));
            }
        }
        Ok(())
    });
}

#[test]
fn reading_changes_no_byte() {
    each(|array| {
        let before = bytes_of(&array.files());
        let mut ours = Ours::read_only(&array.files())?;
        ours.verify(array.content())?;
        if array.redundancy() != Redundancy::None {
            let _report = ours.check()?;
        }
        let same = bytes_of(&array.files()) == before;
        if same { Ok(()) } else { Err(format!("{} was changed", array.name)) }
    });
}

#[test]
fn parity_and_copies_agree() {
    each(|array| {
        if array.redundancy() == Redundancy::None {
            return Ok(());
        }
        let report = Ours::read_only(&array.files()).and_then(|mut ours| ours.check());
        let report = report.map_err(about(array, "check"))?;
        let good = report.mismatch_sectors == 0 && report.unreadable.is_empty();
        if good { Ok(()) } else { Err(format!("{}: {report:?}", array.name)) }
    });
}

#[test]
fn written_content_is_read_whoever_is_missing() {
    each(|array| {
        if array.name == "raid5-ppl" {
            return refused_unchanged(array);
        }
        write_and_read(array, &BTreeSet::new()).map_err(about(array, "whole"))
    });
}

#[test]
fn content_written_without_a_member_is_not_taken_from_it_later() {
    each(|array| {
        let (bearable, _) = array.losses(1);
        let Some(lost) = bearable.into_iter().find(|lost| !lost.is_empty()) else { return Ok(()) };
        if array.name == "raid5-ppl" {
            return Ok(());
        }
        write_and_read(array, &lost).map_err(about(array, "degraded"))
    });
}

/// It once had the number of a stale device, of which the kernel took the wrong one; and in 0.90 was
/// taken for a copy of the member before it.
#[test]
fn newcomer_is_told_from_the_stale_members_beside_it() {
    for name in ["raid1-3d-degraded", "raid5-v090", "raid6-degraded-0-1", "raid10-degraded-o2"] {
        let dir = tmp::in_memory();
        let array = Unpacked::new(&corpus::one(Kind::Arrays, name), dir.path());
        let (bearable, _) = array.losses(1);
        let slot = bearable.into_iter().find_map(|lost| lost.first().copied());
        let empty = (0..).find(|slot| array.active.iter().all(|(other, _)| other != slot));
        let slot = slot.or(empty).expect("a slot that can be without a member");
        let left = array.without(&BTreeSet::from([slot]));
        let content = array.filled(77);
        Ours::writable(&left).and_then(|mut ours| ours.fill(content)).expect(name);
        let newcomer = array.blank("new").expect(name);
        Ours::writable(&left).and_then(|mut ours| ours.rebuild(slot, &newcomer)).expect(name);
        let mut all = array.files();
        all.push(newcomer);
        let mut ours = Ours::read_only(&all).expect(name);
        let missing = u64::from(ours.assembly().degraded());
        let was_empty = array.active.iter().all(|(other, _)| *other != slot);
        assert_eq!(missing, array.number("degraded") - u64::from(was_empty), "{name}");
        ours.verify(content).expect(name);
        assert_eq!(ours.check().expect(name).mismatch_sectors, 0, "{name}");
        let numbers = ours.numbers();
        let several = numbers.len() - numbers.iter().collect::<BTreeSet<_>>().len();
        let is_old = array.text("metadata") == "0.90";
        assert_eq!(several, usize::from(is_old), "{name}: {numbers:?}");
    }
}

/// Writes without some members, which are stale from then on; reads with them, and with more left
/// out.
fn write_and_read(array: &Unpacked, lost: &BTreeSet<u32>) -> Result<(), String> {
    let content = array.filled(77);
    // In two parts that meet within a chunk, the second first.
    let middle = content.sectors / 2 + 3;
    let mut ours = Ours::writable(&array.without(lost))?;
    ours.fill(Pattern { from: middle, sectors: content.sectors - middle, ..content })?;
    ours.fill(Pattern { sectors: middle, ..content })?;
    drop(ours);
    let mut ours = Ours::read_only(&array.files())?;
    ours.verify(content)?;
    if array.redundancy() != Redundancy::None {
        let mismatches = ours.check()?.mismatch_sectors;
        if mismatches > 0 {
            return Err(format!("{mismatches} sectors of parity or copies are wrong"));
        }
    }
    let (bearable, _) = array.losses(2);
    let written = Content::new(content);
    for more in bearable.iter().filter(|more| more.len() < 2 || more.is_superset(lost)) {
        if !more.is_superset(lost) && !array.can_do_without(&(more | lost)) {
            continue;
        }
        written
            .expect(&mut Ours::read_only(&array.without(more))?, parts(array, more))
            .map_err(|error| format!("then without {more:?}: {error}"))?;
    }
    Ok(())
}

fn refused_unchanged(array: &Unpacked) -> Result<(), String> {
    let before = bytes_of(&array.files());
    let wrote = Ours::writable(&array.files())?.fill(array.filled(77)).is_ok();
    if wrote || bytes_of(&array.files()) != before {
        return Err(format!("{} was written", array.name));
    }
    Ok(())
}

fn bytes_of(files: &[PathBuf]) -> Vec<Vec<u8>> {
    let read =
        |path: &PathBuf| fs::read(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    files.iter().map(read).collect()
}
