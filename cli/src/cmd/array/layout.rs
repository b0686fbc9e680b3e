//! `reshape layout`: which member holds which chunk.

use std::ops::Range;

use anstyle::{AnsiColor, Style};
use kcopy::Sectors;
use reshape::geometry::{Geometry, Layout, Level, On, Shape};
use reshape::units::{MemberSector, Slot};
use serde::Serialize;

use crate::args::array::LayoutArgs;
use crate::exit::{Exit, Failure};
use crate::output::Screen;
use crate::units::human;

/// Columns of a terminal.
const WIDTH: usize = 80;
/// Columns before the first member.
const MARGIN: usize = 8;
/// Blanks between two members.
const GAP: usize = 2;
/// Blocks of members below each other, at most.
const BLOCKS: usize = 4;
/// Rows that are drawn at least, and at most if nobody asks for more.
const ROWS: std::ops::RangeInclusive<u32> = 3..=24;

const P: Style = AnsiColor::Yellow.on_default().bold();
const Q: Style = AnsiColor::Magenta.on_default().bold();

#[derive(Debug, Serialize)]
struct Report {
    schema: u32,
    level: &'static str,
    layout: Option<String>,
    layout_number: u32,
    chunk_bytes: u64,
    raid_devices: u32,
    /// Rows after which the places of parity repeat; RAID4, 5 and 6.
    period_rows: Option<u32>,
    /// Whether the picture depends on the length of the members.
    #[serde(skip)]
    has_sample_length: bool,
    /// Outside rows, inside members.
    rows: Vec<Vec<Cell>>,
}

/// What a member has in a row: a chunk of the array, `"P"`, `"Q"`, or nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(untagged)]
enum Cell {
    Data(u64),
    Parity(&'static str),
    Unused(()),
}

pub(crate) fn run(args: &LayoutArgs, screen: Screen) -> Result<Exit, Failure> {
    let geometry = sample(args)?;
    let report = report(args, &geometry);
    if args.json {
        return Ok(screen.json(&report, Exit::Done));
    }
    Ok(screen.result(&text(&report, screen), Exit::Done))
}

/// An array of this shape that has as many rows as are drawn.
fn sample(args: &LayoutArgs) -> Result<Geometry, Failure> {
    let refused = |cause: String| {
        Failure::refused(format!("cannot draw {}: {cause}", args.level))
            .hint("reshape layout --help has examples")
    };
    let level = args.level;
    let layout = match &args.layout {
        Some(name) => Layout::parse(level, name).map_err(|error| refused(error.to_string()))?,
        None => Layout::default_of(level),
    };
    let chunk = if args.chunk.0.is_multiple_of(512) { args.chunk.0 / 512 } else { 0 };
    if chunk == 0 {
        return Err(refused(format!("{} bytes are no chunk of whole sectors", args.chunk.0)));
    }
    let rows = rows(args, layout);
    let component = chunk.checked_mul(rows.into()).map(Sectors::new);
    let component = component.ok_or_else(|| refused("its members would be too large".into()))?;
    let count = usize::try_from(args.raid_devices).unwrap_or(usize::MAX);
    let member_sizes = vec![component; count.min(4096)];
    let shape = Shape {
        level,
        layout,
        chunk: Sectors::new(chunk),
        raid_disks: args.raid_devices,
        component,
        member_sizes: &member_sizes,
    };
    Geometry::new(&shape).map_err(|error| refused(error.to_string()))
}

/// Rows to be drawn: until parity is where it was, unless that is too far.
fn rows(args: &LayoutArgs, layout: Layout) -> u32 {
    let usual = args.raid_devices.clamp(*ROWS.start(), *ROWS.end());
    let rows = args.rows.unwrap_or(usual);
    match layout {
        // Each far copy takes up as many rows.
        Layout::Raid10(layout) => rows.next_multiple_of(u32::from(layout.far).max(1)),
        Layout::None | Layout::Raid0(_) | Layout::Raid5(_) | Layout::Raid6(_) => rows,
    }
}

fn report(args: &LayoutArgs, geometry: &Geometry) -> Report {
    let chunk = args.chunk.0 / 512;
    let rows = geometry.component().get() / chunk;
    let cell =
        |row: u64, slot: u32| match geometry.on(Slot::new(slot), MemberSector::new(row * chunk)) {
            On::Data(sector) => Cell::Data(sector.get() / chunk),
            On::P { .. } => Cell::Parity("P"),
            On::Q { .. } => Cell::Parity("Q"),
            On::Unused => Cell::Unused(()),
        };
    let slots = 0..geometry.raid_disks();
    let row = |row| slots.clone().map(|slot| cell(row, slot)).collect();
    let layout = geometry.layout();
    Report {
        schema: 1,
        level: args.level.name(),
        layout: (layout != Layout::None).then(|| layout.to_string()),
        layout_number: layout.to_md(),
        chunk_bytes: args.chunk.0,
        raid_devices: args.raid_devices,
        period_rows: geometry.stripes().map(|stripes| stripes.period()),
        has_sample_length: depends_on_length(args.level, layout),
        rows: (0..rows).map(row).collect(),
    }
}

/// Whether what is in the first rows depends on how many there are.
fn depends_on_length(level: Level, layout: Layout) -> bool {
    match layout {
        Layout::Raid10(layout) => layout.far > 1 && !layout.offset,
        Layout::None => level == Level::Linear,
        Layout::Raid0(_) | Layout::Raid5(_) | Layout::Raid6(_) => false,
    }
}

fn text(report: &Report, screen: Screen) -> String {
    let layout = report.layout.as_ref().map_or_else(String::new, |name| format!(" {name}"));
    let (level, members) = (report.level, report.raid_devices);
    let chunk = human(report.chunk_bytes);
    let mut lines = vec![format!("{level}{layout}, {members} members, chunk {chunk}")];
    for columns in blocks(report) {
        lines.push(String::new());
        match columns {
            Columns::Shown(slots) => lines.extend(block(report, slots, screen)),
            Columns::LeftOut(slots) => lines.push(format!(
                "slots {} to {} are not shown; --json has them",
                slots.start,
                slots.end.saturating_sub(1)
            )),
        }
    }
    lines.push(String::new());
    lines.extend(legend(report));
    lines.join("\n")
}

/// Members side by side.
enum Columns {
    Shown(Range<usize>),
    LeftOut(Range<usize>),
}

/// As many members as fit side by side, then the next; of very many the first and the last.
fn blocks(report: &Report) -> Vec<Columns> {
    let members = report.rows.first().map_or(0, Vec::len);
    let fit = ((WIDTH - MARGIN) / (cell_width(report) + GAP)).max(1);
    if members <= fit * BLOCKS {
        let starts = (0..members).step_by(fit);
        return starts.map(|start| Columns::Shown(start..members.min(start + fit))).collect();
    }
    let last = members - fit;
    vec![Columns::Shown(0..fit), Columns::LeftOut(fit..last), Columns::Shown(last..members)]
}

/// The columns `slots` of all rows.
fn block(report: &Report, slots: Range<usize>, screen: Screen) -> Vec<String> {
    let width = cell_width(report) + GAP;
    let margin = |text: &str| format!("{text:>MARGIN$}");
    let heads: String = slots.clone().map(|slot| format!("{slot:>width$}")).collect();
    let mut lines = vec![margin("slot") + &heads];
    for (number, row) in report.rows.iter().enumerate() {
        let mut line = margin(&format!("row {number}"));
        for cell in row.get(slots.clone()).unwrap_or_default() {
            // The escape sequences take up no columns.
            let text = cell.text();
            line.push_str(&" ".repeat(width - text.len()));
            line.push_str(&screen.paint(cell.style(), &text));
        }
        lines.push(line);
    }
    lines
}

fn cell_width(report: &Report) -> usize {
    let slots = report.raid_devices.to_string().len();
    let cells = report.rows.iter().flatten().map(|cell| cell.text().len());
    cells.max().unwrap_or(1).max(slots)
}

impl Cell {
    fn text(self) -> String {
        match self {
            Self::Data(chunk) => chunk.to_string(),
            Self::Parity(name) => name.to_owned(),
            Self::Unused(()) => "-".to_owned(),
        }
    }

    fn style(self) -> Style {
        match self {
            Self::Parity("P") => P,
            Self::Parity(_) => Q,
            Self::Data(_) | Self::Unused(()) => Style::new(),
        }
    }
}

fn legend(report: &Report) -> Vec<String> {
    let has = |wanted: Cell| report.rows.iter().flatten().any(|cell| *cell == wanted);
    let mut what = "A number is a chunk of the array's content".to_owned();
    match (has(Cell::Parity("P")), has(Cell::Parity("Q"))) {
        (true, true) => what.push_str(", P and Q are parity"),
        (true, false) => what.push_str(", P is parity"),
        (false, _) => {}
    }
    if has(Cell::Unused(())) {
        what.push_str(", - is unused");
    }
    let mut lines = vec![what + "."];
    if let Some(period) = report.period_rows {
        lines.push(format!("After {period} rows parity is where it was."));
    }
    if report.has_sample_length {
        let rows = report.rows.len();
        lines.push(format!("The members are drawn as if they had {rows} chunks."));
    }
    lines
}
