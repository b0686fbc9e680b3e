//! A disk of a real kernel fails under our running reshape: the array goes on without it, and that kernel's driver and
//! mdadm take what came of it.

use std::path::{Path, PathBuf};
use std::process::Command;

use tests::binary::{LIMIT, run};
use tests::judge::{self, Case};
use tests::ours::Ours;
use tests::pattern::Pattern;
use tests::reshape_binary;
use tests::tmp;

/// A change, and how the disk of that number fails meanwhile.
#[derive(Clone, Copy, Debug)]
struct Kind {
    name: &'static str,
    /// For `reshape create`.
    shape: &'static str,
    /// Members and spares.
    disks: usize,
    /// For `reshape grow`.
    change: &'static str,
    fails: usize,
    /// `dead` or `writes`.
    how: &'static str,
}

const KINDS: [Kind; 4] = [
    Kind {
        name: "grow-6",
        shape: "-l 6 -n 4 -x 1 -c 64",
        disks: 5,
        change: "-n 5",
        fails: 1,
        how: "dead",
    },
    Kind {
        name: "chunk-6",
        shape: "-l 6 -n 4 -c 64",
        disks: 4,
        change: "--chunk 128",
        fails: 3,
        how: "writes",
    },
    Kind {
        name: "level",
        shape: "-l 5 -n 4 -x 1 -c 64",
        disks: 5,
        change: "-l 6 -n 5",
        fails: 0,
        how: "writes",
    },
    Kind {
        name: "newcomer-6",
        shape: "-l 6 -n 4 -x 1 -c 64",
        disks: 5,
        change: "-n 5",
        fails: 4,
        how: "dead",
    },
];

/// In the long form each so often, at other moments.
const SEEDS: u64 = 10;

fn reshape(dir: &Path, line: &str) {
    let mut command = Command::new(reshape_binary());
    command.args(line.split_whitespace()).current_dir(dir);
    let _said = run(&mut command, LIMIT).expect_code(0);
}

/// Makes the array below `dir`; what is to be done with it.
fn case(dir: &Path, kind: Kind, seed: u64) -> Case {
    let folder = dir.join(format!("{}-{seed}", kind.name));
    std::fs::create_dir(&folder).expect("made");
    let names: Vec<String> = (0..kind.disks).map(|number| format!("m{number}")).collect();
    let all = names.join(" ");
    reshape(&folder, &format!("create --yes {} --create-files 16MiB {all}", kind.shape));
    let pattern = Pattern { seed, from: 0, sectors: 50_000 };
    std::fs::write(folder.join("content"), pattern.bytes()).expect("written");
    reshape(&folder, &format!("import --yes --from content {all}"));
    let members: Vec<PathBuf> = names.iter().map(|name| folder.join(name)).collect();
    let Kind { name, change, fails, how, .. } = kind;
    Case::new(format!("{name}-{seed}"), &members)
        .then(format!("turns {seed} 512"))
        .then("breakable")
        .then(format!("ours_starts grow {change}"))
        .then(
            "while [ -e /proc/$pid ] && ! grep -q '\"bytes_done\":[1-9]' told; do sleep 0.02; done",
        )
        .then("nap 1000")
        .then(format!("breaks {fails} {how}"))
        .then(format!("ours_goes_without {fails}"))
        .assemble("--run")
        .verify(pattern)
        .check()
}

#[test]
fn kernel_driver_takes_reshapes_during_which_a_disk_failed() {
    let dir = tmp::in_memory();
    let seeds = if tests::is_long() { SEEDS } else { 1 };
    let cases: Vec<Case> = (0..seeds)
        .flat_map(|seed| KINDS.map(|kind| (kind, 900 + seed)))
        .map(|(kind, seed)| case(dir.path(), kind, seed))
        .collect();
    let _verdicts = judge::expect_good(&cases);
}

/// A growth by two disks, recorded and not begun; without these disks it was taken back.
fn taken_back(dir: &Path, version: &str) -> Case {
    let name = format!("back-{version}").replace('.', "");
    let folder = dir.join(&name);
    std::fs::create_dir(&folder).expect("made");
    let create = format!("create --yes -l 5 -n 3 -x 2 -c 64 -e {version} --create-files 16MiB");
    reshape(&folder, &format!("{create} m0 m1 m2 m3 m4"));
    let pattern = Pattern { seed: 77, from: 0, sectors: 40_000 };
    std::fs::write(folder.join("content"), pattern.bytes()).expect("written");
    reshape(&folder, "import --yes --from content m0 m1 m2 m3 m4");
    let members: Vec<PathBuf> = (0..5).map(|number| folder.join(format!("m{number}"))).collect();
    Ours::writable(&members).and_then(|mut ours| ours.begin_growth(5)).expect("begun");
    reshape(&folder, "revert --yes m0 m1 m2");
    // mdadm takes nobody if one of those it is given still records the growth.
    Case::new(name, &members[..3]).assemble("").verify(pattern).check()
}

#[test]
fn kernel_driver_takes_a_growth_that_was_taken_back_without_its_new_disks() {
    let dir = tmp::in_memory();
    let versions = ["0.90", "1.0", "1.2"];
    let cases: Vec<Case> =
        versions.into_iter().map(|version| taken_back(dir.path(), version)).collect();
    let _verdicts = judge::expect_good(&cases);
}
