//! Reshapes that ours finished, as the real md driver sees them; and reshapes that ours began and the
//! driver finishes.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use tests::binary::{LIMIT, run};
use tests::corpus::{self, Fixture, Kind};
use tests::judge::{self, Case};
use tests::pattern::Pattern;
use tests::reshape_binary;
use tests::tmp;

/// What is judged when it has to be quick: each way of saving, each version, each kind of change.
const EVERYDAY: [&str; 10] = [
    "b5-3to4-v090.crit3",
    "b5-5to4-v10.mid",
    "b5-chunk-64to128-v090.mid",
    "b5-to-6-v090.crit2",
    "b5-to-6-v12.mid",
    "b6-to-5-v10.crit2",
    "r10-4to5.mid",
    "r10-chunk-64to128.mid",
    "r5-3to4.mid",
    "r5d-to-6.mid",
];

/// Finishes the reshape of a fixture with the command; its members.
fn finish(fixture: &Fixture, folder: &Path) -> Vec<PathBuf> {
    let dir = folder.join(&fixture.name);
    std::fs::create_dir(&dir).expect("made");
    let mut files = fixture.unpack_into(&dir);
    let backup = dir.join("backup");
    let saved = backup.exists();
    files.retain(|path| *path != backup);
    let go_on = |backup: Option<&Path>| {
        let mut command = Command::new(reshape_binary());
        command.args(["continue", "--yes"]).args(&files).current_dir(&dir);
        let option = backup.map(|path| [Path::new("--backup-file"), path]);
        run(command.args(option.into_iter().flatten()), LIMIT)
    };
    let ended = go_on(saved.then_some(&*backup));
    let needs_new = ended.code() == 2 && ended.stderr.contains("a backup file is needed");
    // The members prove what the lost backup held, but what comes next has to be saved anew.
    let anew = dir.join("new-backup");
    let ended = if needs_new && !saved { go_on(Some(&anew)) } else { ended };
    let _said = ended.expect_code(0);
    files
}

fn content(fixture: &Fixture) -> Pattern {
    let meta = fixture.meta();
    let number = |key: &str| meta[key].as_u64().expect("a number");
    Pattern { seed: number("seed"), from: 0, sectors: number("sectors") }
}

#[test]
fn kernel_driver_takes_reshapes_that_ours_finished() {
    let dir = tmp::in_memory();
    let wanted = |fixture: &Fixture| {
        let meta = fixture.meta();
        let verdict = meta["verdict"].as_str().unwrap_or_default();
        let recorded = ["recovered", "refused", "parity"].contains(&verdict);
        // RAID0 is reshaped as a RAID4 without parity, which has nothing to compare.
        let parity = !fixture.name.starts_with("r0") && !fixture.name.starts_with("l0");
        let torn = fixture.name == "x5-chunk-64to128-v090.crit3";
        recorded && parity && !torn && (tests::is_long() || EVERYDAY.contains(&&*fixture.name))
    };
    let fixtures: Vec<Fixture> = corpus::all(Kind::Reshapes).into_iter().filter(wanted).collect();
    assert!(fixtures.len() >= EVERYDAY.len(), "{}", fixtures.len());
    let case = |fixture: &Fixture| {
        let members = finish(fixture, dir.path());
        let case = Case::new(&fixture.name, &members).examine().assemble("--run");
        case.verify(content(fixture)).check()
    };
    let cases: Vec<Case> = fixtures.iter().map(case).collect();
    let _verdicts = judge::expect_good(&cases);
}

fn reshape(dir: &Path, line: &str) {
    let mut command = Command::new(reshape_binary());
    command.args(line.split_whitespace()).current_dir(dir);
    let _said = run(&mut command, LIMIT).expect_code(0);
}

/// Begins a change of the array in `dir`, and kills it when so many percent are done.
fn kill(dir: &Path, line: &str, percent: u64) {
    let mut command = Command::new(reshape_binary());
    command.args(line.split_whitespace()).args(["--progress", "json", "--rate", "16MiB", "--yes"]);
    command.current_dir(dir).stdout(Stdio::null()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("it runs");
    let told = BufReader::new(child.stderr.take().expect("piped"));
    for line in told.lines().map_while(Result::ok) {
        let Ok(line) = serde_json::from_str::<serde_json::Value>(&line) else { continue };
        let number = |key: &str| line[key].as_u64().unwrap_or(0);
        if number("bytes_total") > 0
            && number("bytes_done") * 100 >= number("bytes_total") * percent
        {
            break;
        }
    }
    child.kill().expect("killed");
    let _status = child.wait().expect("ended");
}

/// An array, and the change that ours begins and the driver finishes.
type HandedOver = (&'static str, &'static str, &'static str, u64);
const HANDED_OVER: [HandedOver; 5] = [
    ("grow-5", "-l 5 -n 3 -c 64", "-n 4", 30),
    ("grow-6", "-l 6 -n 4 -c 64", "-n 5", 60),
    ("level", "-l 5 -n 4 -c 64", "-l 6", 40),
    ("grow-10", "-l 10 -n 4 -c 64", "-n 5", 30),
    ("layout", "-l 5 -n 4 -c 64", "--layout right-asymmetric", 50),
];
/// How often each is killed in the long form, a boot for so many at once.
const KILLS: u64 = 60;
const AT_ONCE: usize = 40;

/// Makes an array below `dir`, changes it and kills that; what the driver is to do with it.
fn handed_over(dir: &Path, (name, shape, change, percent): HandedOver, seed: u64) -> Case {
    let folder = dir.join(format!("{name}-{seed}"));
    std::fs::create_dir(&folder).expect("made");
    let count: usize = shape.split_whitespace().nth(3).expect("-n").parse().expect("a number");
    let names: Vec<String> = (0..count).map(|number| format!("m{number}")).collect();
    let all = names.join(" ");
    reshape(&folder, &format!("create --yes {shape} --create-files 24MiB {all}"));
    let size = std::fs::File::create(folder.join("new")).and_then(|file| file.set_len(24 << 20));
    size.expect("a new disk");
    let more = if change.starts_with("--layout") { "" } else { "--add new" };
    let pattern = Pattern { seed, from: 0, sectors: 40_000 };
    std::fs::write(folder.join("content"), pattern.bytes()).expect("written");
    reshape(&folder, &format!("import --yes --from content {all}"));
    kill(&folder, &format!("grow {all} {more} {change}"), percent);
    let mut members: Vec<PathBuf> = names.iter().map(|name| folder.join(name)).collect();
    if !more.is_empty() {
        members.push(folder.join("new"));
    }
    let case = Case::new(format!("{name}-{seed} at {percent}"), &members).assemble("--run");
    // The driver reads a half-moved RAID10 from the wrong data offset while it is read-only.
    let case = if shape.starts_with("-l 10") { case } else { case.verify(pattern) };
    case.recover().verify(pattern).check()
}

#[test]
fn kernel_driver_finishes_reshapes_that_ours_began() {
    let mut all: Vec<(HandedOver, u64)> = HANDED_OVER.into_iter().zip(500..).collect();
    if tests::is_long() {
        // At any percentage.
        all.extend((0..KILLS).flat_map(|seed| {
            let percent = seed * 37 % 100;
            HANDED_OVER.map(|(name, shape, change, _)| ((name, shape, change, percent), 600 + seed))
        }));
    }
    for some in all.chunks(AT_ONCE) {
        let dir = tmp::in_memory();
        let cases: Vec<Case> =
            some.iter().map(|(one, seed)| handed_over(dir.path(), *one, *seed)).collect();
        let _verdicts = judge::expect_good(&cases);
    }
}
