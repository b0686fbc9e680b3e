//! The machine's transitions, as a file: what changes, by what, from what to what, found by walking through
//! machines of every kind; and what may be under way at the same time. A change of the machine shows there, for
//! whoever reviews it. Made again with `KCOPY_BLESS=1`.

use std::collections::BTreeSet;
use std::fmt::Write;
use std::path::Path;

use super::*;

/// The machine's parts.
const PARTS: [&str; 4] = ["window", "recorder", "backup", "machine"];

/// Runs of each machine, each with its own order of what ends next.
const RUNS: u64 = 24;

#[derive(Default)]
struct Found {
    /// Part, from, by what, to.
    changes: BTreeSet<(&'static str, String, String, String)>,
    /// Actions that were under way together.
    together: BTreeSet<(String, String)>,
}

/// The name of a value without what it holds.
fn name(value: &impl std::fmt::Debug) -> String {
    let text = format!("{value:?}");
    text.split(|c: char| !c.is_alphanumeric()).next().unwrap_or_default().to_owned()
}

/// What every part is in: windows by their number, with whether they have to be saved.
struct View {
    windows: Vec<(WindowId, String)>,
    parts: [String; 3],
}

impl View {
    fn of(machine: &Machine) -> Self {
        let phase = |window: &Window| (window.id, name(&window.phase));
        Self {
            windows: machine.windows.iter().map(phase).collect(),
            parts: [name(&machine.recorder), machine.keeper.step_name(), name(&machine.state)],
        }
    }

    fn phase_of(&self, id: WindowId) -> String {
        let found = self.windows.iter().find(|(known, _)| *known == id);
        found.map_or_else(|| "-".to_owned(), |(_, phase)| phase.clone())
    }
}

impl Found {
    fn compare(&mut self, before: &View, after: &View, by: &str) {
        let ids: BTreeSet<WindowId> =
            before.windows.iter().chain(&after.windows).map(|(id, _)| *id).collect();
        for id in ids {
            self.add(PARTS[0], before.phase_of(id), after.phase_of(id), by);
        }
        let parts = PARTS[1..].iter().zip(before.parts.iter().zip(&after.parts));
        for (part, (from, to)) in parts {
            self.add(part, from.clone(), to.clone(), by);
        }
    }

    fn add(&mut self, part: &'static str, from: String, to: String, by: &str) {
        if from != to {
            self.changes.insert((part, from, by.to_owned(), to));
        }
    }
}

fn answer(action: &Action) -> Event {
    match action {
        Action::Read(id, _) => Event::Read(*id),
        Action::Save(..) => Event::Saved,
        Action::FlushBackup => Event::BackupFlushed,
        Action::WriteHeader(_) => Event::HeaderWritten,
        Action::Write(id, _) => Event::Written(*id),
        Action::FlushMembers => Event::MembersFlushed,
        Action::Record(_) => Event::Recorded,
        Action::Finish => Event::Finished,
    }
}

/// A machine, from its beginning to its end, in an order that `seed` says; somebody stops it, or something fails,
/// in some of the runs.
fn walk(mut machine: Machine, seed: u64, found: &mut Found) {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut below = |most: usize| {
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(state >> 33).unwrap_or(0) % most.max(1)
    };
    let mut under_way: Vec<Action> = Vec::new();
    for _ in 0..4000 {
        let before = View::of(&machine);
        if let Some(action) = machine.poll() {
            found.compare(&before, &View::of(&machine), &format!("begin {}", name(&action)));
            for other in &under_way {
                let (one, two) = (name(other), name(&action));
                found.together.insert(if one < two { (one, two) } else { (two, one) });
            }
            under_way.push(action);
            continue;
        }
        found.compare(&before, &View::of(&machine), "nothing to begin");
        if under_way.is_empty() {
            return;
        }
        let before = View::of(&machine);
        let by = match (seed % 8, below(40)) {
            (1, 0) => {
                machine.stop();
                "stop".to_owned()
            }
            (2, 0) => {
                machine.handle(Event::Failed);
                found.compare(&before, &View::of(&machine), "Failed");
                return;
            }
            (3, 0) => {
                machine.record_soon();
                "record soon".to_owned()
            }
            _ => {
                let event = answer(&under_way.remove(below(under_way.len())));
                machine.handle(event);
                format!("{} done", name(&event))
            }
        };
        found.compare(&before, &View::of(&machine), &by);
    }
    panic!("it does not end");
}

fn machines() -> Vec<Machine> {
    let rows = |chunk, width| Rows { chunk, width, copies: 1, depth: 1 };
    let track = |old: u64, new: u64, direction, shift| Track {
        old: rows(8, old),
        new: rows(8, new),
        direction,
        shift,
        total: 64 * new,
        content: 64 * old.min(new),
        unit: 8 * new,
    };
    let (up, down) = (Direction::Forwards, Direction::Backwards);
    let tracks = [
        track(2, 3, up, 0),
        track(3, 2, down, 0),
        track(3, 3, up, 0),
        track(2, 3, up, -32),
        track(3, 3, up, -16),
        track(3, 3, down, 16),
    ];
    let mut machines = Vec::new();
    for track in tracks {
        for backup in [Backup::None, Backup::Sections { length: 2 * track.unit }] {
            for memory in [track.unit, 8 * track.unit] {
                let limits = Limits { window: 2 * track.unit, memory, backup };
                let start = track.position(0);
                let Ok(machine) = Machine::new(track, limits, start, Sections::default()) else {
                    continue;
                };
                let first = machine.first_saved().filter(|_| backup != Backup::None);
                let saved = Sections { first, second: None };
                machines.extend(Machine::new(track, limits, start, saved));
                machines.push(machine);
            }
        }
    }
    machines
}

fn found() -> Found {
    let mut found = Found::default();
    for machine in machines() {
        for seed in 0..RUNS {
            walk(machine.clone(), seed, &mut found);
        }
    }
    found
}

fn text(found: &Found) -> String {
    let mut text = String::from(
        "# The transitions of the reshape machine\n\n\
         Made by `reshape/src/machine/picture.rs` from the machine itself (0013), and compared with it by every\n\
         test run. After a change that is meant: `KCOPY_BLESS=1 cargo test -p reshape machine::picture`.\n",
    );
    for part in PARTS {
        let of_part = || found.changes.iter().filter(|(whose, ..)| *whose == part);
        let _ = write!(text, "\n## {part}\n\n```mermaid\nstateDiagram-v2\n");
        for (_, from, by, to) in of_part() {
            let ends = |state: &str| if state == "-" { "[*]".to_owned() } else { state.to_owned() };
            let _ = writeln!(text, "    {} --> {}: {by}", ends(from), ends(to));
        }
        text.push_str("```\n\n| from | by | to |\n| --- | --- | --- |\n");
        for (_, from, by, to) in of_part() {
            let _ = writeln!(text, "| {from} | {by} | {to} |");
        }
    }
    text.push_str("\n## Under way together\n\n| | |\n| --- | --- |\n");
    for (one, two) in &found.together {
        let _ = writeln!(text, "| {one} | {two} |");
    }
    text
}

#[test]
fn the_transitions_are_those_of_the_design_record() {
    let path =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/design/0013-reshape-transitions.md");
    let found = text(&found());
    if std::env::var_os("KCOPY_BLESS").is_some() {
        std::fs::write(&path, &found).expect("the record can be written");
    }
    let expected = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        found == expected,
        "{} differs; if that is meant, run this test with KCOPY_BLESS=1\n{found}",
        path.display()
    );
}

#[test]
fn nothing_is_under_way_beside_what_excludes_it() {
    let found = found();
    let together = |one: &str, two: &str| {
        let (one, two) = if one < two { (one, two) } else { (two, one) };
        found.together.contains(&(one.to_owned(), two.to_owned()))
    };
    for (one, two) in [
        ("Finish", "Read"),
        ("Finish", "Write"),
        ("FlushMembers", "Record"),
        ("FlushBackup", "Save"),
        ("FlushBackup", "WriteHeader"),
        ("Save", "WriteHeader"),
    ] {
        assert!(!together(one, two), "{one} and {two}");
    }
    // And what makes it fast is.
    for (one, two) in [("Read", "Write"), ("FlushMembers", "Write"), ("Record", "Read")] {
        assert!(together(one, two), "{one} and {two}");
    }
}
