//! What ours changes in place, as mdadm and the real md driver see it: bitmaps that come and go, members
//! of which more or less is used, disks behind a linear array.

use std::path::PathBuf;

use tests::judge::{self, Case, Verdict};
use tests::members::Members;
use tests::ours::Ours;
use tests::pattern::Pattern;

/// Sectors of content that each array has at least, before and after.
const CONTENT: u64 = 16 << 10;
/// The seed of what the driver writes.
const DRIVERS: u64 = 82;

/// What the driver is to say in the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Bitmap {
    /// It uses one.
    There,
    /// It knows of none.
    Gone,
}

/// An array, what ours makes of it, and what comes of that.
#[derive(Clone, Copy, Debug)]
struct Change {
    name: &'static str,
    /// For `reshape create`.
    shape: &'static str,
    /// Commands of ours, `ALL` being the members; between them `; `.
    lines: &'static str,
    bitmap: Bitmap,
    /// `component_size` in KiB that sysfs is to tell, 0 for whatever it is.
    component_kib: u64,
}

const fn change(name: &'static str, shape: &'static str, lines: &'static str) -> Change {
    Change { name, shape, lines, bitmap: Bitmap::Gone, component_kib: 0 }
}

impl Change {
    const fn with_bitmap(mut self) -> Self {
        self.bitmap = Bitmap::There;
        self
    }

    const fn of_kib(mut self, component_kib: u64) -> Self {
        self.component_kib = component_kib;
        self
    }
}

const ADD: &str = "bitmap ALL internal --yes";
const FINE: &str = "bitmap ALL internal --bitmap-chunk 64KiB --yes";
const NONE: &str = "bitmap ALL none --yes";
const AGAIN: &str = "bitmap ALL none --yes; bitmap ALL internal --bitmap-chunk 128KiB --yes";
/// By the library: the command has no word for it.
const APPEND: &str = "append";
const UP: &str = "grow ALL -z max --yes";
const DOWN: &str = "grow ALL -z 5120 --yes";
const BOTH: &str = "grow ALL -z 5120 --yes; grow ALL -z 10240 --yes";

const CHANGES: [Change; 17] = [
    change("added-1-090", "-l 1 -n 2 -e 0.90", ADD).with_bitmap(),
    change("added-5-10", "-l 5 -n 3 -e 1.0", FINE).with_bitmap(),
    change("added-6-11", "-l 6 -n 4 -e 1.1", ADD).with_bitmap(),
    change("added-10-12", "-l 10 -n 4 -e 1.2", FINE).with_bitmap(),
    change("added-4-12", "-l 4 -n 3 -e 1.2", FINE).with_bitmap(),
    change("gone-1-12", "-l 1 -n 2 -e 1.2 -b internal", NONE),
    change("gone-5-090", "-l 5 -n 3 -e 0.90 -b internal", NONE),
    change("again-6-10", "-l 6 -n 4 -e 1.0 -b internal", AGAIN).with_bitmap(),
    change("up-1-090", "-l 1 -n 2 -e 0.90 --size 8192", UP),
    change("up-5-12", "-l 5 -n 3 -c 64 -e 1.2 --size 8192", UP),
    change("up-6-10-bitmap", "-l 6 -n 4 -c 64 -e 1.0 --size 8192 -b internal", UP).with_bitmap(),
    change("up-5-11-bitmap", "-l 5 -n 3 -c 64 -e 1.1 --size 8192 -b internal", UP).with_bitmap(),
    change("down-5-12", "-l 5 -n 3 -c 64 -e 1.2", DOWN).of_kib(5120),
    change("down-5-12-bitmap", "-l 5 -n 3 -c 64 -e 1.2 -b internal", DOWN)
        .of_kib(5120)
        .with_bitmap(),
    change("both-5-090", "-l 5 -n 3 -c 64 -e 0.90", BOTH).of_kib(10240),
    change("appended-12", "-l linear -n 2 -e 1.2", APPEND),
    change("appended-10", "-l linear -n 3 -e 1.0", APPEND),
];

/// What is tried when it has to be quick.
const EVERYDAY: [&str; 7] = [
    "added-5-10",
    "added-10-12",
    "gone-5-090",
    "again-6-10",
    "up-6-10-bitmap",
    "down-5-12-bitmap",
    "appended-12",
];

/// Makes the array, and changes it.
fn changed(change: &Change) -> Members {
    let count = change.shape.split(' ').skip_while(|word| *word != "-n").nth(1);
    let count = count.and_then(|number| number.parse().ok()).expect("-n and a number");
    let names = &["m0", "m1", "m2", "m3"][..count];
    let mut members = Members::made_of(names, CONTENT);
    let make = format!("create {} --create-files 16MiB --yes ALL", change.shape);
    members.reshape(&make).expect_code(0);
    members.write_new_content("content");
    members.reshape("import ALL --from content --yes").expect_code(0);
    let new = std::fs::File::create(members.path("new")).expect("made");
    new.set_len(16 << 20).expect("sparse");
    let files: Vec<PathBuf> = members.names().iter().map(|name| members.path(name)).collect();
    if change.lines == APPEND {
        let mut ours = Ours::writable(&files).expect("it was just made");
        ours.append(&members.path("new")).expect("appended");
        return members;
    }
    for line in change.lines.split("; ") {
        members.reshape(line).expect_code(0);
    }
    members
}

fn files(change: &Change, members: &Members) -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> = members.names().iter().map(|name| members.path(name)).collect();
    if change.lines == APPEND {
        files.push(members.path("new"));
    }
    files
}

/// What the driver writes: neither begins nor ends with a chunk.
const fn middle() -> Pattern {
    Pattern { seed: DRIVERS, from: CONTENT / 3 + 5, sectors: CONTENT / 4 }
}

fn case(change: &Change, members: &Members) -> Case {
    let case = Case::new(change.name, &files(change, members)).examine().assemble("");
    let case = case.verify(members.pattern());
    let is_linear = change.shape.contains("linear");
    let case = if is_linear { case } else { case.check() };
    let case = case.fill(middle()).verify(middle());
    if change.bitmap == Bitmap::Gone {
        return case;
    }
    // Not a bit is left when all is written; mdadm understands what is on each member.
    let look = "for one in \"${devices[@]}\"; do mdadm -X \"$one\" | tee -a bits; done";
    case.then("stop").then(look).then("[ $(grep -c ' 0 dirty ' bits) = ${#devices[@]} ]")
}

fn expect(change: &Change, members: &Members, verdict: &Verdict) {
    let has_bitmap = verdict.fact("bitmap/location").is_some_and(|place| place != "none");
    assert_eq!(has_bitmap, change.bitmap == Bitmap::There, "{}: {}", change.name, verdict.log);
    if change.component_kib != 0 {
        let kib = change.component_kib.to_string();
        assert_eq!(verdict.differing(&[("component_size", &kib)]), None);
    }
    // And ours sees what the driver wrote.
    let all = files(change, members);
    let names: Vec<&str> = all.iter().filter_map(|path| path.to_str()).collect();
    let names = names.join(" ");
    if !change.shape.contains("linear") {
        members.reshape(&format!("check {names}")).expect_code(0);
    }
    members.reshape(&format!("export {names} --to out")).expect_code(0);
    let out = std::fs::read(members.path("out")).expect("exported");
    let bytes = |sector: u64| usize::try_from(sector * 512).expect("small");
    let (from, end) = (middle().from, middle().from + middle().sectors);
    assert!(out[bytes(from)..bytes(end)] == middle().bytes(), "{}: driver's", change.name);
    let whole = members.pattern().bytes();
    assert!(out[..bytes(from)] == whole[..bytes(from)], "{}: before", change.name);
    let (rest, expected) = (&out[bytes(end)..whole.len()], &whole[bytes(end)..]);
    assert!(rest == expected, "{}: behind", change.name);
}

#[test]
fn kernel_driver_takes_arrays_that_ours_changed_in_place() {
    let wanted = |change: &Change| tests::is_long() || EVERYDAY.contains(&change.name);
    let wanted = CHANGES.into_iter().filter(wanted);
    let all: Vec<(Change, Members)> = wanted.map(|change| (change, changed(&change))).collect();
    let cases: Vec<Case> = all.iter().map(|(change, members)| case(change, members)).collect();
    let verdicts = judge::expect_good(&cases);
    for ((change, members), verdict) in all.iter().zip(&verdicts) {
        expect(change, members, verdict);
    }
}
