//! What we write, as the real md driver and mdadm see it; and what the driver writes, as we see it.
//!
//! The arrays are those of the corpus; each test works on copies of all of them and boots once.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use tests::corpus::array::{Redundancy, Unpacked};
use tests::corpus::{self, Kind};
use tests::data;
use tests::judge::{self, Case, Verdict};
use tests::ours::Ours;
use tests::parallel;
use tests::pattern::Pattern;
use tests::tmp;

/// The seed of what we write, and of what the driver then writes.
const OURS: u64 = 77;
const DRIVERS: u64 = 78;

/// What is judged when it has to be quick: in every group something old, new, degraded, with spares.
const EVERYDAY: [&str; 8] = [
    "raid1-3d-degraded",
    "raid10-4d-o2",
    "raid10-degraded-f2",
    "raid4-v11",
    "raid5-bitmap-v12",
    "raid5-spare",
    "raid5-spare-v090",
    "raid6-left-symmetric-6",
];

/// Arrays of the corpus that may be written, unpacked into `folder`: one of each kind, in the long
/// form all of them.
fn arrays(folder: &Path) -> Vec<Unpacked> {
    let all = corpus::all(Kind::Arrays);
    // A partial parity log is not kept up to date by us: such arrays are refused.
    let wanted = |name: &str| name != "raid5-ppl" && (tests::is_long() || EVERYDAY.contains(&name));
    let writable = all.iter().filter(|fixture| wanted(&fixture.name));
    writable.map(|fixture| Unpacked::new(fixture, folder)).collect()
}

/// A case in which mdadm starts the array and finds `content`, parity and copies in order.
fn good(array: &Unpacked, members: &[PathBuf], content: Pattern) -> Case {
    let case = Case::new(&array.name, members).examine().assemble("--run").verify(content);
    if array.redundancy() == Redundancy::None { case } else { case.check() }
}

/// The part of an array that the driver writes over: neither begins nor ends with a chunk.
fn middle(array: &Unpacked) -> Pattern {
    let all = array.filled(DRIVERS);
    Pattern { from: all.sectors / 3 + 5, sectors: all.sectors / 4, ..all }
}

/// Reads with ours what the driver left: its part, and ours around it.
fn read_back(array: &Unpacked, members: &[PathBuf]) -> Result<(), String> {
    let mut ours = Ours::read_only(members)?;
    let written = middle(array);
    let end = written.from + written.sectors;
    let all = array.filled(OURS);
    let before = Pattern { sectors: written.from, ..all };
    let after = Pattern { from: end, sectors: all.sectors - end, ..all };
    for part in [before, written, after] {
        ours.verify(part)?;
    }
    if array.redundancy() == Redundancy::None {
        return Ok(());
    }
    let mismatches = ours.check()?.mismatch_sectors;
    if mismatches == 0 { Ok(()) } else { Err(format!("{mismatches} sectors disagree")) }
}

/// Lets the judge look at what `prepare` made of each array: it gives the members and whether the
/// array is to be complete. Then the driver writes a part, and we read everything.
fn judge_all(
    arrays: &[Unpacked],
    prepare: impl Fn(&Unpacked) -> Result<Vec<PathBuf>, String> + Sync,
) -> Vec<Verdict> {
    parallel::expect_all(arrays, |array| {
        let members = prepare(array).map_err(|error| format!("{}: {error}", array.name))?;
        let names: Vec<&str> = members.iter().filter_map(|path| path.to_str()).collect();
        fs::write(array.folder.join("given"), names.join("\n")).map_err(|e| e.to_string())
    });
    let given = |array: &Unpacked| -> Vec<PathBuf> {
        let names = fs::read_to_string(array.folder.join("given")).expect("just written");
        names.lines().map(PathBuf::from).collect()
    };
    let cases: Vec<Case> = arrays
        .iter()
        .map(|array| {
            let (ours, drivers) = (array.filled(OURS), middle(array));
            good(array, &given(array), ours).fill(drivers).verify(drivers)
        })
        .collect();
    let verdicts = judge::expect_good(&cases);
    parallel::expect_all(arrays, |array| {
        read_back(array, &given(array)).map_err(|error| format!("{}: {error}", array.name))
    });
    verdicts
}

/// Fails unless sysfs says that this many members are missing.
fn expect_degraded(verdict: &Verdict, degraded: u64) {
    let text = degraded.to_string();
    let wrong = verdict.differing(&[("degraded", &text)]);
    assert_eq!(wrong, None, "{}", verdict.log);
}

#[test]
fn kernel_driver_reads_what_ours_wrote_and_ours_what_it_wrote() {
    let dir = tmp::in_memory();
    let arrays = arrays(dir.path());
    let verdicts = judge_all(&arrays, |array| {
        Ours::writable(&array.files())?.fill(array.filled(OURS))?;
        Ok(array.files())
    });
    for (array, verdict) in arrays.iter().zip(&verdicts) {
        assert_eq!(verdict.fact("level"), Some(array.text("level")), "{}", verdict.log);
        if array.redundancy() != Redundancy::None {
            expect_degraded(verdict, array.number("degraded"));
        }
    }
}

#[test]
fn kernel_driver_takes_members_that_ours_rebuilt() {
    let dir = tmp::in_memory();
    let mut arrays = arrays(dir.path());
    arrays.retain(|array| array.losses(1).0.len() > 1);
    let verdicts = judge_all(&arrays, |array| {
        // As many as it can lose, written while they are away.
        let (bearable, _) = array.losses(2);
        let lost = bearable.iter().max_by_key(|lost| lost.len()).cloned().unwrap_or_default();
        let left = array.without(&lost);
        Ours::writable(&left)?.fill(array.filled(OURS))?;
        let mut members: Vec<PathBuf> = left;
        for slot in &lost {
            let new = array.blank(&format!("new{slot}"))?;
            Ours::writable(&members)?.rebuild(*slot, &new)?;
            members.push(new);
        }
        Ok(members)
    });
    for (array, verdict) in arrays.iter().zip(&verdicts) {
        expect_degraded(verdict, array.number("degraded"));
    }
}

#[test]
fn kernel_driver_takes_spares_that_ours_rebuilt_onto() {
    let dir = tmp::in_memory();
    let mut arrays = arrays(dir.path());
    arrays.retain(|array| !array.spares.is_empty());
    assert!(arrays.len() >= 2, "there are has arrays with spares");
    let verdicts = judge_all(&arrays, |array| {
        let left = array.without(&BTreeSet::from([1]));
        Ours::writable(&left)?.fill(array.filled(OURS))?;
        Ours::writable(&left)?.rebuild(1, &array.spares[0])?;
        Ok(left)
    });
    verdicts.iter().for_each(|verdict| expect_degraded(verdict, 0));
}

#[test]
fn kernel_driver_agrees_that_ours_repaired() {
    let dir = tmp::in_memory();
    let mut arrays = arrays(dir.path());
    // Of one that is wrong, three blocks or more are needed to know which.
    arrays.retain(|array| array.text("level") == "raid6" && array.number("degraded") == 0);
    assert!(!arrays.is_empty(), "there are arrays that can tell which member is wrong");
    let _verdicts = judge_all(&arrays, |array| {
        Ours::writable(&array.files())?.fill(array.filled(OURS))?;
        // A different place of each member, within data in all of them.
        for (place, (_, path)) in (0..).zip(&array.active) {
            data::overwrite_at(path, 5, (3 << 20) + place * (64 << 10), 4096);
        }
        let found = Ours::read_only(&array.files())?.check()?;
        if found.mismatch_sectors == 0 || found.wrong.iter().any(|wrong| wrong.slot.is_none()) {
            return Err(format!("what was damaged is not found: {found:?}"));
        }
        let _report = Ours::writable(&array.files())?.repair()?;
        Ok(array.files())
    });
}

#[test]
fn kernel_driver_leaves_out_the_member_that_ours_wrote_without() {
    let dir = tmp::in_memory();
    let mut arrays = arrays(dir.path());
    arrays.retain(|array| array.losses(1).0.len() > 1 && array.number("degraded") == 0);
    let verdicts = judge_all(&arrays, |array| {
        let (bearable, _) = array.losses(1);
        let lost = bearable.into_iter().find(|lost| !lost.is_empty()).unwrap_or_default();
        Ours::writable(&array.without(&lost))?.fill(array.filled(OURS))?;
        Ok(array.files())
    });
    for (array, verdict) in arrays.iter().zip(&verdicts) {
        // With a spare the driver begins to rebuild as soon as it may write, which is later.
        assert_ne!(verdict.fact("degraded"), Some("0"), "{}: {}", array.name, verdict.log);
    }
}
