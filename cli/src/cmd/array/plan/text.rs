//! A plan for the person who decides.

use std::collections::BTreeMap;
use std::time::Duration;

use kcopy::Sectors;
use reshape::assemble::Assembly;
use reshape::geometry::{Geometry, Layout};
use reshape::metadata::Direction;
use reshape::plan::{
    Caution, Fill, Mode, Plan, Present, RestripeStep, Revert, Speeds, Step, TakeoverStep, Traffic,
};

use super::picture;
use crate::cmd::array::room::{rooms, warnings};
use crate::output::{Screen, escape};
use crate::units::human;

/// Columns of a terminal.
const WIDTH: usize = 80;
/// Columns before the text of a step, and before that of its facts.
const STEP: usize = 4;
const FACT: usize = 14;

/// What is told.
#[derive(Clone, Copy)]
pub(super) struct Told<'a> {
    pub(super) assembly: &'a Assembly,
    pub(super) present: &'a Present,
    pub(super) plan: &'a Plan,
}

impl Told<'_> {
    /// What a disk is called.
    pub(super) fn disk(&self, disk: usize) -> String {
        escape::lines(&self.present.path(disk).to_string_lossy()).replace('\n', "\\u{a}")
    }

    fn disks(&self, disks: impl IntoIterator<Item = usize>) -> String {
        let names: Vec<String> = disks.into_iter().map(|disk| self.disk(disk)).collect();
        listed(&names)
    }
}

/// Where the speed comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Speed {
    Said,
    Measured,
}

pub(super) fn text(told: &Told<'_>, (speeds, how): (&Speeds, Speed), _: Screen) -> String {
    let assembly = told.assembly;
    let name = assembly.name.map(|name| name.to_string()).filter(|name| !name.is_empty());
    let name = name.map(|name| format!(" ({name})")).unwrap_or_default();
    let mut lines = vec![format!("Array {}{name}", assembly.uuid), String::new()];
    lines.extend(shapes(told.plan));
    let picture = picture::lines(told.plan);
    if !picture.is_empty() {
        lines.push(String::new());
        lines.extend(picture);
    }
    lines.extend([String::new(), "Steps".to_owned()]);
    for (number, step) in told.plan.steps.iter().enumerate() {
        lines.extend(one_step(told, number, step, speeds));
    }
    lines.push(String::new());
    lines.extend(facts("Needs", &needs(told.plan)));
    let risks = told.plan.cautions.iter().map(|caution| risk(told, caution));
    let rooms = rooms(told.present, told.plan);
    let risks: Vec<String> = risks.chain(warnings(&rooms)).chain(always(told.plan)).collect();
    lines.extend(facts("Risks", &risks));
    lines.extend(facts("Time", &[total_time(told.plan, (speeds, how))]));
    lines.push(String::new());
    lines.push("Nothing was written. reshape grow with the same options does it.".to_owned());
    lines.join("\n")
}

/// The array now and then, in columns.
fn shapes(plan: &Plan) -> Vec<String> {
    let row = |head: &str, shape: &Geometry| {
        let layout = match shape.layout() {
            Layout::None | Layout::Raid0(_) => String::new(),
            layout @ (Layout::Raid5(_) | Layout::Raid6(_) | Layout::Raid10(_)) => {
                layout.to_string()
            }
        };
        let chunk =
            if shape.chunk() == Sectors::ZERO { "-".to_owned() } else { size(shape.chunk()) };
        [
            head.to_owned(),
            shape.level().name().to_owned(),
            layout,
            shape.raid_disks().to_string(),
            chunk,
            size(shape.component()),
            size(shape.sectors()),
        ]
    };
    let head = ["", "level", "layout", "members", "chunk", "of each", "array"].map(str::to_owned);
    let rows = [head, row("now", &plan.before), row("then", &plan.after)];
    let width =
        |column: usize| rows.iter().filter_map(|row| row.get(column)).map(String::len).max();
    let line = |row: &[String; 7]| {
        let cells = row.iter().enumerate().map(|(column, cell)| {
            let width = width(column).unwrap_or(0);
            // Words to the left, numbers to the right.
            if column < 3 { format!("{cell:<width$}") } else { format!("{cell:>width$}") }
        });
        cells.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    };
    rows.iter().map(line).collect()
}

fn one_step(told: &Told<'_>, number: usize, step: &Step, speeds: &Speeds) -> Vec<String> {
    let what = match step {
        Step::AddDisks(disks) => {
            let spares = if disks.len() == 1 { "a spare" } else { "spares" };
            format!("Add {} as {spares}.", told.disks(disks.iter().copied()))
        }
        Step::RemoveBitmap => "Remove the bitmap.".to_owned(),
        Step::MakeBitmap => "Make a bitmap for the new shape.".to_owned(),
        Step::Append(step) => format!(
            "Append {}. What is on them shows up as content behind the old end.",
            told.disks(step.disks.iter().copied())
        ),
        Step::Takeover(step) => takeover(told, step),
        Step::Restripe(step) => restripe(step),
        Step::Resize(step) if step.fresh.is_empty() => {
            format!("Use {} of each member. No data moves.", size(step.new.component()))
        }
        Step::Resize(step) => format!(
            "Use {} of each member, and make parity or copies for what is new.",
            size(step.new.component())
        ),
        Step::ArraySize(step) => format!(
            "Show {} of {}. md records this nowhere: it lasts until the array is stopped, and is \
             for a running array (mdadm --grow --array-size).",
            size(step.new),
            size(step.old)
        ),
        Step::Rebuild(step) => format!("Rebuild {}.", filled(told, &step.fills)),
    };
    let mut lines = wrapped(&format!("{:>3} ", format!("{}.", number + 1)), STEP, &what);
    let mut facts: Vec<(&str, String)> = Vec::new();
    if let Step::Restripe(step) = step {
        facts.extend(moves(told, step));
    }
    if !step.traffic().is_empty() {
        facts.extend(traffic(told, step.traffic()));
        if let Some(tolerance) = step.tolerance() {
            facts.push(("can lose", format!("{} while it runs", members(tolerance))));
        }
        facts.push(("time", duration(step.time(speeds))));
    }
    facts.push(("take back", revert(step.revert()).to_owned()));
    for (name, text) in facts {
        let head = format!("{:STEP$}{name:<width$}", "", width = FACT - STEP);
        lines.extend(wrapped(&head, FACT, &text));
    }
    lines
}

fn takeover(told: &Told<'_>, step: &TakeoverStep) -> String {
    let (old, new) = (&step.old, &step.new);
    let layout = match new.layout() {
        Layout::None | Layout::Raid0(_) => String::new(),
        layout @ (Layout::Raid5(_) | Layout::Raid6(_) | Layout::Raid10(_)) => {
            format!(" with layout {layout}")
        }
    };
    let kept = if old.level() == new.level() { "stays" } else { "becomes" };
    let level = new.level();
    let slots = new.raid_disks();
    let mut text = format!("{} {kept} {level}{layout}, {slots} slots", old.level());
    let empty = step.slots.iter().filter(|disk| disk.is_none()).count();
    if empty > 0 {
        text.push_str(&format!(", {empty} of them empty"));
    }
    text.push_str(": at once, no data moves.");
    let leaving: Vec<usize> =
        step.moves.iter().filter(|one| one.to.is_none()).map(|one| one.disk).collect();
    if !leaving.is_empty() {
        text.push_str(&format!(" {} leave the array.", told.disks(leaving)).replacen(
            " leave",
            if step.moves.iter().filter(|one| one.to.is_none()).count() == 1 {
                " leaves"
            } else {
                " leave"
            },
            1,
        ));
    }
    text
}

fn restripe(step: &RestripeStep) -> String {
    let (old, new) = (&step.restripe.old, &step.restripe.new);
    let mut changes = Vec::new();
    if old.raid_disks() != new.raid_disks() {
        changes.push(format!("{} to {} slots", old.raid_disks(), new.raid_disks()));
    }
    if old.layout() != new.layout() {
        changes.push(format!("layout {} to {}", old.layout(), new.layout()));
    }
    if old.chunk() != new.chunk() {
        changes.push(format!("chunk {} to {}", size(old.chunk()), size(new.chunk())));
    }
    if changes.is_empty() {
        changes.push("the same shape, at another data offset".to_owned());
    }
    let way = match step.restripe.track.direction {
        Direction::Forwards => "from the start to the end",
        Direction::Backwards => "from the end to the start",
    };
    format!("Move all data, {way}, as {}: {}.", new.level(), changes.join(", "))
}

/// What makes a restripe safe, and who comes and goes.
fn moves(told: &Told<'_>, step: &RestripeStep) -> Vec<(&'static str, String)> {
    let mut facts = Vec::new();
    if !step.fills.is_empty() {
        facts.push(("comes", filled(told, &step.fills)));
    }
    if !step.leaving.is_empty() {
        facts.push(("leaves", told.disks(step.leaving.iter().copied())));
    }
    let critical = Sectors::new(step.critical.end.saturating_sub(step.critical.start));
    let all = step.restripe.track.total;
    facts.push((
        "safe by",
        match step.mode {
            Mode::DataOffset => {
                let shift = step.restripe.shifts.iter().map(|by| by.unsigned_abs()).min();
                let way = match step.restripe.track.direction {
                    Direction::Forwards => "towards the start",
                    Direction::Backwards => "towards the end",
                };
                format!(
                    "new data offsets, {} {way} of each device (at least {} is needed): nothing is \
                     overwritten before its move is recorded. No backup; the kernel can go on \
                     from any checkpoint.",
                    size(Sectors::new(shift.unwrap_or(0).into())),
                    size(step.least_shift)
                )
            }
            Mode::BackupFile => format!(
                "a backup file of {}: {} saved before it is overwritten. Without that file an \
                 interrupted reshape cannot be gone on with safely there.",
                human(step.backup_bytes),
                part(critical, all)
            ),
            Mode::BackupOnSpares => format!(
                "a backup of {} at the end of each new member: {} saved before it is overwritten.",
                human(step.backup_bytes),
                part(critical, all)
            ),
        },
    ));
    let unit =
        step.unit.map_or_else(String::new, |unit| format!("; whole stripes are {}", size(unit)));
    facts.push(("records", format!("{} positions at least{unit}", step.checkpoints)));
    facts
}

fn part(critical: Sectors, all: u64) -> String {
    if critical.get() >= all {
        return "all of the array is".to_owned();
    }
    format!("{} of the array are", size(critical))
}

/// `/dev/sde1 in slot 4, /dev/sdf1 in slot 5`
fn filled(told: &Told<'_>, fills: &[Fill]) -> String {
    let fill = |fill: &Fill| format!("{} in slot {}", told.disk(fill.disk), fill.slot.get());
    listed(&fills.iter().map(fill).collect::<Vec<_>>())
}

/// Disks that do the same are told together.
fn traffic(told: &Told<'_>, traffic: &[Traffic]) -> Vec<(&'static str, String)> {
    let told_of = |bytes: fn(&Traffic) -> u64, verb: &str| {
        let mut by: BTreeMap<u64, Vec<usize>> = BTreeMap::new();
        for one in traffic.iter().filter(|one| bytes(one) > 0) {
            by.entry(bytes(one)).or_default().push(one.disk);
        }
        let part = |(bytes, disks): (&u64, &Vec<usize>)| match disks[..] {
            [disk] => format!("{} {verb} {}", human(*bytes), told.disk(disk)),
            _ => format!("{} {verb} each of {} disks", human(*bytes), disks.len()),
        };
        by.iter().map(part).collect::<Vec<_>>().join(", ")
    };
    let (reads, writes) = (told_of(|one| one.read, "from"), told_of(|one| one.written, "to"));
    let both = [("reads", reads), ("writes", writes)];
    both.into_iter().filter(|(_, text)| !text.is_empty()).collect()
}

const fn revert(revert: Revert) -> &'static str {
    match revert {
        Revert::Always => "at any time",
        Revert::Never => "not at all: a linear array cannot be made shorter",
        Revert::UntilTheEnd => {
            "at every checkpoint until it has ended (reshape revert); then by a change of its own"
        }
        Revert::UntilTheEndWithParity => {
            "at every checkpoint until it has ended (reshape revert), which first computes the parity of what was not \
             moved; then by a change of its own"
        }
        Revert::ShapeOnly => "the shape at every checkpoint, but not what is cut off",
        Revert::WithRebuild => "at any time, but who left has to be rebuilt",
    }
}

fn needs(plan: &Plan) -> Vec<String> {
    let mut needs = Vec::new();
    match plan.backup_bytes() {
        0 if plan.is_instant() => {}
        0 => needs.push("No backup file.".to_owned()),
        bytes => needs.push(format!("A backup file of {} on other storage.", human(bytes))),
    }
    let used = plan.steps.iter().map(|step| match step {
        Step::Restripe(step) => step.fills.len(),
        Step::Rebuild(step) => step.fills.len(),
        Step::AddDisks(_)
        | Step::RemoveBitmap
        | Step::Takeover(_)
        | Step::Resize(_)
        | Step::ArraySize(_)
        | Step::Append(_)
        | Step::MakeBitmap => 0,
    });
    let used: usize = used.sum();
    if used > 0 {
        let spares = if used == 1 { "spare" } else { "spares" };
        needs.push(format!("{used} {spares}; {} left afterwards.", plan.spares.len()));
    } else if needs.is_empty() {
        needs.push("Nothing.".to_owned());
    }
    needs
}

/// What is to be known of every plan that moves data.
fn always(plan: &Plan) -> Vec<String> {
    if plan.is_instant() {
        return Vec::new();
    }
    let backed_up = plan.backup_bytes() > 0;
    let interrupted = if backed_up {
        "It can be interrupted at any moment, and goes on if the backup file is kept."
    } else {
        "It can be interrupted at any moment, and goes on from the members alone."
    };
    let unchecked = "What the members hold was not read for this plan: reshape check does, or grow \
                     --check-first.";
    [interrupted, unchecked].map(str::to_owned).into()
}

fn risk(told: &Told<'_>, caution: &Caution) -> String {
    match caution {
        Caution::ContentLost { from, to } => format!(
            "CONTENT IS LOST: all behind {} of {}. Shrink what is on the array first.",
            size(*to),
            size(*from)
        ),
        Caution::Degraded { missing } => {
            let slots: Vec<String> = missing.iter().map(|slot| slot.get().to_string()).collect();
            format!("The array lacks members now: slots {}.", listed(&slots))
        }
        Caution::LessRedundancy { step, tolerance: 0, usual } => {
            format!("While step {} is due no member may fail ({usual} may now).", step + 1)
        }
        Caution::LessRedundancy { step, tolerance, usual } => format!(
            "While step {} is due {} may fail ({usual} may now).",
            step + 1,
            members(*tolerance)
        ),
        Caution::EndsDegraded { missing } => {
            format!("The array will lack {} when all is done.", members(*missing))
        }
        Caution::BackupNotNeeded { step } => format!(
            "Step {} needs no backup file: without --backup-file it moves data offsets instead, is \
             faster, and the kernel can go on with it.",
            step + 1
        ),
        Caution::BadSectors { disk, sectors } => format!(
            "{} has {sectors} bad sectors in its log: they are computed from the others.",
            told.disk(*disk)
        ),
    }
}

fn total_time(plan: &Plan, (speeds, how): (&Speeds, Speed)) -> String {
    if plan.is_instant() {
        return "At once.".to_owned();
    }
    let speed = format!("{} MB", speeds.read.div_ceil(1_000_000));
    let why = match how {
        Speed::Said => format!("if each disk does {speed} a second, see --speed and --measure"),
        Speed::Measured => format!("as the slowest disk reads {speed} a second"),
    };
    format!("{} at least, {why}.", duration(plan.time(speeds)))
}

/// `1 day 4 h`, `13 h 20 min`, `5 min`, `12 s`.
fn duration(time: Duration) -> String {
    let seconds = time.as_secs();
    match (seconds / 86_400, seconds / 3600 % 24, seconds / 60 % 60) {
        (0, 0, 0) => format!("{} s", seconds.max(1)),
        (0, 0, minutes) => format!("{minutes} min"),
        (0, hours, minutes) => format!("{hours} h {minutes} min"),
        (1, hours, _) => format!("1 day {hours} h"),
        (days, hours, _) => format!("{days} days {hours} h"),
    }
}

fn members(count: u32) -> String {
    match count {
        0 => "no member".to_owned(),
        1 => "1 member".to_owned(),
        count => format!("{count} members"),
    }
}

fn size(sectors: Sectors) -> String {
    human(sectors.get().saturating_mul(kcopy::SECTOR_SIZE))
}

/// `a`, `a and b`, `a, b and c`.
fn listed(names: &[String]) -> String {
    match names {
        [] => "none".to_owned(),
        [one] => one.clone(),
        [first @ .., last] => format!("{} and {last}", first.join(", ")),
    }
}

/// Lines under one heading; none if there is nothing to say.
fn facts(head: &str, texts: &[String]) -> Vec<String> {
    let heads = std::iter::once(head).chain(std::iter::repeat(""));
    let lines = heads.zip(texts).map(|(head, text)| wrapped(&format!("{head:<8}"), 8, text));
    lines.flatten().collect()
}

/// `text` behind `head`, on lines that fit a terminal.
fn wrapped(head: &str, indent: usize, text: &str) -> Vec<String> {
    let mut lines = Vec::new();
    let mut line = head.to_owned();
    for word in text.split(' ') {
        let is_empty = line.trim_end().len() <= indent && line.ends_with(' ');
        if !is_empty && line.len() + 1 + word.len() > WIDTH {
            lines.push(std::mem::replace(&mut line, " ".repeat(indent)));
        }
        if !line.ends_with(' ') {
            line.push(' ');
        }
        line.push_str(word);
    }
    lines.push(line);
    lines
}
