//! The real mdadm and the real md driver as judges of arrays, dozens in one boot of a kernel.
//!
//! A [`Case`] is a set of image files and what is to be done with them in the guest (see
//! `tests/oracle/judge`, whose steps these are); [`judge`] boots once and gives a [`Verdict`] for
//! each. The guest works on the images themselves: whoever needs them unchanged gives copies.
//!
//! Tests that use it are named `kernel_*`.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::binary;
use crate::pattern::Pattern;
use crate::tmp;
use crate::uml::{Machine, quoted};

/// How long one boot may take: many arrays, on a machine that has other things to do.
const LIMIT: Duration = Duration::from_secs(900);
/// How many arrays one boot judges.
const AT_ONCE: usize = 48;
/// The exit code of a guest whose power was cut.
const POWER_CUT: i32 = 137;

/// What is to be done with one array.
#[derive(Clone, Debug)]
pub struct Case {
    name: String,
    members: Vec<PathBuf>,
    steps: Vec<String>,
}

impl Case {
    /// Nothing yet, with these images as members.
    #[must_use]
    pub fn new(name: impl Into<String>, members: &[PathBuf]) -> Self {
        Self { name: name.into(), members: members.to_vec(), steps: Vec::new() }
    }

    /// Asks mdadm what lies on the members.
    #[must_use]
    pub fn examine(self) -> Self {
        self.then("examine")
    }

    /// Makes an array of the members with `mdadm --create` and these arguments.
    #[must_use]
    pub fn create(self, arguments: &str) -> Self {
        self.then(format!("create {arguments}"))
    }

    /// Starts the array for reading only, with further arguments for `mdadm --assemble`.
    #[must_use]
    pub fn assemble(self, arguments: &str) -> Self {
        self.then(format!("assemble {arguments}"))
    }

    /// Compares content with a pattern.
    #[must_use]
    pub fn verify(self, pattern: Pattern) -> Self {
        let Pattern { seed, from, sectors } = pattern;
        self.then(format!("verify {seed} {from} {sectors}"))
    }

    /// Reads all of the content, for [`Verdict::fact`]s `bytes` and `sha256`.
    #[must_use]
    pub fn content(self) -> Self {
        self.then("content")
    }

    /// Lets the driver compare copies and parity; fails unless the array is in step, and finds no
    /// difference.
    #[must_use]
    pub fn check(self) -> Self {
        self.then("check").then("grep -qx 'mismatches 0' facts")
    }

    /// Lets the driver rebuild what it wants to rebuild.
    #[must_use]
    pub fn recover(self) -> Self {
        self.then("recover")
    }

    /// Writes a pattern through the driver.
    #[must_use]
    pub fn fill(self, pattern: Pattern) -> Self {
        let Pattern { seed, from, sectors } = pattern;
        self.then(format!("fill {seed} {from} {sectors}"))
    }

    /// Any other command of bash; `$md` is the array, `${devices[@]}` are its members.
    #[must_use]
    pub fn then(mut self, step: impl Into<String>) -> Self {
        self.steps.push(step.into());
        self
    }

    fn may_be_cut(&self) -> bool {
        ["driver_cut", "alone_cut"]
            .iter()
            .any(|cut| self.steps.iter().any(|step| step.starts_with(cut)))
    }
}

/// What came of a case.
#[derive(Clone, Debug)]
pub struct Verdict {
    /// The case's name.
    pub name: String,
    /// All that was said: by mdadm, by the steps, by the kernel.
    pub log: String,
    /// What mdadm says of each member, in their order, if it was asked.
    pub examined: Vec<String>,
    /// What mdadm says of the array, if it was started.
    pub detail: String,
    facts: BTreeMap<String, String>,
}

impl Verdict {
    fn read(name: &str, folder: &Path) -> Self {
        let text = |file: &str| fs::read_to_string(folder.join(file)).unwrap_or_default();
        let facts = text("facts");
        let facts = facts.lines().filter_map(|line| line.split_once(' '));
        let examined = text("examine");
        let examined = examined.split("# /dev/").skip(1);
        Self {
            name: name.to_owned(),
            log: text("log"),
            examined: examined.map(str::to_owned).collect(),
            detail: text("detail"),
            facts: facts.map(|(name, value)| (name.to_owned(), value.to_owned())).collect(),
        }
    }

    /// A fact: what sysfs calls it, or `bytes`, `sha256`, `mismatches`.
    #[must_use]
    pub fn fact(&self, name: &str) -> Option<&str> {
        self.facts.get(name).map(String::as_str)
    }

    /// What went wrong, if something did.
    #[must_use]
    pub fn complaint(&self) -> Option<String> {
        let end = self.fact("ended").unwrap_or("nowhere: the guest did not come to it");
        (end != "well").then(|| format!("== {}: ended {end}\n{}", self.name, self.log))
    }

    /// The facts that are not as expected, one a line.
    #[must_use]
    pub fn differing(&self, expected: &[(&str, &str)]) -> Option<String> {
        let differs = expected.iter().filter(|(name, value)| self.fact(name) != Some(value));
        let lines: Vec<String> = differs
            .map(|(name, value)| {
                format!("== {}: {name} is {:?}, not {value}", self.name, self.fact(name))
            })
            .collect();
        (!lines.is_empty()).then(|| lines.join("\n"))
    }
}

/// Takes all cases to the judge, many in one boot; the verdicts in their order.
///
/// # Panics
///
/// When there is no guest, or it does not come to an end.
#[must_use]
pub fn judge(cases: &[Case]) -> Vec<Verdict> {
    assert!(!cases.is_empty(), "there is nothing to judge");
    cases.chunks(AT_ONCE).flat_map(boot).collect()
}

fn boot(cases: &[Case]) -> Vec<Verdict> {
    let folder = tmp::in_memory();
    let places: Vec<PathBuf> =
        (0..cases.len()).map(|number| folder.path().join(format!("{number:04}"))).collect();
    let mut shares = BTreeSet::from([folder.path()]);
    for (case, place) in cases.iter().zip(&places) {
        write_case(case, place);
        shares.extend(case.members.iter().filter_map(|member| member.parent()));
    }
    let mut machine = Machine::new().module("loop").limit(LIMIT);
    for share in shares {
        machine = machine.share(share);
    }
    let pattern = quoted(binary::pattern_binary());
    let reshape = quoted(binary::reshape_binary());
    let programs = format!("PATTERN_BINARY={pattern} RESHAPE_BINARY={reshape}");
    let script = format!("{programs} judge {}", quoted(folder.path()));
    let done = machine.attempt(&script);
    let verdicts = cases.iter().zip(&places).map(|(case, place)| Verdict::read(&case.name, place));
    let verdicts: Vec<Verdict> = verdicts.collect();
    // Where a step cuts the power, that is the end of the boot; a step before it may fail.
    let was_cut = done.code() == POWER_CUT && cases.iter().any(Case::may_be_cut);
    if !was_cut && done.code() != 0 {
        let logs: Vec<String> = verdicts.iter().filter_map(Verdict::complaint).collect();
        panic!("the guest's exit code is {}: {}\n{}", done.code(), done.stderr, logs.join("\n"));
    }
    verdicts
}

/// Takes all cases to the judge.
///
/// # Panics
///
/// When one does not end well, with what was said of all that do not.
pub fn expect_good(cases: &[Case]) -> Vec<Verdict> {
    let verdicts = judge(cases);
    let bad: Vec<String> = verdicts.iter().filter_map(Verdict::complaint).collect();
    assert!(bad.is_empty(), "{} of {} are bad\n{}", bad.len(), cases.len(), bad.join("\n"));
    verdicts
}

fn write_case(case: &Case, place: &Path) {
    let mut members = String::new();
    for member in &case.members {
        assert!(member.is_absolute() && member.is_file(), "{}: no such image", member.display());
        members.push_str(member.to_str().expect("paths of tests are UTF-8"));
        members.push('\n');
    }
    let mut steps = case.steps.join("\n");
    steps.push('\n');
    let write = |file: &str, text: &str| fs::write(place.join(file), text);
    fs::create_dir(place)
        .and_then(|()| write("members", &members))
        .and_then(|()| write("steps", &steps))
        .unwrap_or_else(|error| panic!("{}: {error}", place.display()));
}
