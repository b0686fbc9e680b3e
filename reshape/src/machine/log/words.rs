//! Entries as text and back.

use std::fmt;
use std::str::FromStr;

use super::{Entry, Start};
use crate::machine::{
    Action, Backup, Event, Limits, Rows, Section, Sections, Span, Track, WindowId,
};
use crate::metadata::Direction;
use crate::units::ArraySector;

/// Positions and lengths of a log are below this, in sectors of 512 bytes: more than any array has.
const MOST_SECTORS: u64 = 1 << 55;
/// Chunks, in sectors; md keeps them in 32 bits of bytes or sectors.
const LARGEST_CHUNK: u64 = 1 << 31;
/// Members of a row, copies, depth.
const MANY: u64 = 1 << 16;

/// A line that is no entry.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{what} in {text:?}")]
pub struct BadEntry {
    /// What is wrong.
    pub what: &'static str,
    /// The entry.
    pub text: String,
}

impl fmt::Display for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Begin(start) => begin(f, start),
            Self::StopAt(position) => write!(f, "stop-at {}", position.get()),
            Self::Do(action) => doing(f, action),
            Self::Done(event) => done(f, event),
            Self::RecordSoon => f.write_str("record-soon"),
            Self::Stop => f.write_str("stop"),
        }
    }
}

fn begin(f: &mut fmt::Formatter<'_>, start: &Start) -> fmt::Result {
    let Start { track, limits, position, saved } = start;
    let direction = match track.direction {
        Direction::Forwards => "forwards",
        Direction::Backwards => "backwards",
    };
    let rows = |rows: Rows| format!("{}/{}/{}/{}", rows.chunk, rows.width, rows.copies, rows.depth);
    write!(f, "begin {direction} old={} new={}", rows(track.old), rows(track.new))?;
    write!(f, " shift={} total={}", track.shift, track.total)?;
    write!(f, " content={} unit={}", track.content, track.unit)?;
    write!(f, " window={} memory={}", limits.window, limits.memory)?;
    match limits.backup {
        Backup::None => write!(f, " section=-")?,
        Backup::Sections { length } => write!(f, " section={length}")?,
    }
    write!(f, " position={}", position.get())?;
    write!(f, " first={} second={}", held(saved.first), held(saved.second))
}

fn held(span: Option<Span>) -> String {
    span.map_or_else(|| "-".to_owned(), spanned)
}

fn spanned(span: Span) -> String {
    format!("{}+{}", span.start.get(), span.sectors)
}

fn doing(f: &mut fmt::Formatter<'_>, action: &Action) -> fmt::Result {
    match *action {
        Action::Read(WindowId(id), span) => write!(f, "do read {id} {}", spanned(span)),
        Action::Save(WindowId(id), Section::First) => write!(f, "do save {id} first"),
        Action::Save(WindowId(id), Section::Second) => write!(f, "do save {id} second"),
        Action::FlushBackup => f.write_str("do flush-backup"),
        Action::WriteHeader(Sections { first, second }) => {
            write!(f, "do header {} {}", held(first), held(second))
        }
        Action::Write(WindowId(id), span) => write!(f, "do write {id} {}", spanned(span)),
        Action::FlushMembers => f.write_str("do flush-members"),
        Action::Record(position) => write!(f, "do record {}", position.get()),
        Action::Finish => f.write_str("do finish"),
    }
}

fn done(f: &mut fmt::Formatter<'_>, event: &Event) -> fmt::Result {
    match *event {
        Event::Read(WindowId(id)) => write!(f, "done read {id}"),
        Event::Saved => f.write_str("done save"),
        Event::BackupFlushed => f.write_str("done flush-backup"),
        Event::HeaderWritten => f.write_str("done header"),
        Event::Written(WindowId(id)) => write!(f, "done write {id}"),
        Event::MembersFlushed => f.write_str("done flush-members"),
        Event::Recorded => f.write_str("done record"),
        Event::Finished => f.write_str("done finish"),
        Event::Failed => f.write_str("failed"),
    }
}

impl FromStr for Entry {
    type Err = BadEntry;

    fn from_str(text: &str) -> Result<Self, BadEntry> {
        let mut words = Words { left: text.split(' ') };
        let entry = words.entry().and_then(|entry| match words.left.next() {
            None => Ok(entry),
            Some(_) => Err("more words than expected"),
        });
        entry.map_err(|what| BadEntry { what, text: text.to_owned() })
    }
}

type Read<T> = Result<T, &'static str>;

struct Words<'a> {
    left: std::str::Split<'a, char>,
}

impl<'a> Words<'a> {
    fn word(&mut self) -> Read<&'a str> {
        self.left.next().ok_or("a word is missing")
    }

    /// The value of the word that is `key=value`.
    fn value(&mut self, key: &str) -> Read<&'a str> {
        let pair = self.word()?.split_once('=');
        pair.filter(|(name, _)| *name == key).map(|(_, value)| value).ok_or("not the key expected")
    }

    fn entry(&mut self) -> Read<Entry> {
        match self.word()? {
            "begin" => self.begin().map(Entry::Begin),
            "stop-at" => Ok(Entry::StopAt(sector(self.word()?)?)),
            "do" => self.action().map(Entry::Do),
            "done" => self.event().map(Entry::Done),
            "failed" => Ok(Entry::Done(Event::Failed)),
            "record-soon" => Ok(Entry::RecordSoon),
            "stop" => Ok(Entry::Stop),
            _ => Err("no entry has this name"),
        }
    }

    fn begin(&mut self) -> Read<Start> {
        let direction = match self.word()? {
            "forwards" => Direction::Forwards,
            "backwards" => Direction::Backwards,
            _ => return Err("neither forwards nor backwards"),
        };
        let (old, new) = (rows(self.value("old")?)?, rows(self.value("new")?)?);
        let shift: i64 = self.value("shift")?.parse().map_err(|_| "no number")?;
        if shift.unsigned_abs() > MOST_SECTORS {
            return Err("a shift that no member can have");
        }
        let total = number(self.value("total")?, MOST_SECTORS)?;
        let content = number(self.value("content")?, MOST_SECTORS)?;
        let unit = positive(self.value("unit")?, MOST_SECTORS)?;
        let window = positive(self.value("window")?, MOST_SECTORS)?;
        let memory = positive(self.value("memory")?, MOST_SECTORS)?;
        let backup = match self.value("section")? {
            "-" => Backup::None,
            length => Backup::Sections { length: number(length, MOST_SECTORS)? },
        };
        if matches!(backup, Backup::Sections { length } if length < unit) {
            return Err("a section shorter than the unit");
        }
        let position = sector(self.value("position")?)?;
        let saved = Sections {
            first: maybe_span(self.value("first")?)?,
            second: maybe_span(self.value("second")?)?,
        };
        let track = Track { old, new, direction, shift, total, content, unit };
        Ok(Start { track, limits: Limits { window, memory, backup }, position, saved })
    }

    fn action(&mut self) -> Read<Action> {
        Ok(match self.word()? {
            "read" => Action::Read(self.window()?, span(self.word()?)?),
            "save" => Action::Save(self.window()?, section(self.word()?)?),
            "flush-backup" => Action::FlushBackup,
            "header" => Action::WriteHeader(Sections {
                first: maybe_span(self.word()?)?,
                second: maybe_span(self.word()?)?,
            }),
            "write" => Action::Write(self.window()?, span(self.word()?)?),
            "flush-members" => Action::FlushMembers,
            "record" => Action::Record(sector(self.word()?)?),
            "finish" => Action::Finish,
            _ => return Err("no action has this name"),
        })
    }

    fn event(&mut self) -> Read<Event> {
        Ok(match self.word()? {
            "read" => Event::Read(self.window()?),
            "save" => Event::Saved,
            "flush-backup" => Event::BackupFlushed,
            "header" => Event::HeaderWritten,
            "write" => Event::Written(self.window()?),
            "flush-members" => Event::MembersFlushed,
            "record" => Event::Recorded,
            "finish" => Event::Finished,
            _ => return Err("no event has this name"),
        })
    }

    fn window(&mut self) -> Read<WindowId> {
        Ok(WindowId(number(self.word()?, u64::MAX)?))
    }
}

fn number(text: &str, most: u64) -> Read<u64> {
    let number: u64 = text.parse().map_err(|_| "no number")?;
    if number > most { Err("a number too large") } else { Ok(number) }
}

fn positive(text: &str, most: u64) -> Read<u64> {
    match number(text, most)? {
        0 => Err("zero where there must be something"),
        number => Ok(number),
    }
}

fn sector(text: &str) -> Read<ArraySector> {
    Ok(ArraySector::new(number(text, MOST_SECTORS)?))
}

fn section(text: &str) -> Read<Section> {
    match text {
        "first" => Ok(Section::First),
        "second" => Ok(Section::Second),
        _ => Err("neither first nor second"),
    }
}

fn span(text: &str) -> Read<Span> {
    let (start, sectors) = text.split_once('+').ok_or("no START+SECTORS")?;
    Ok(Span { start: sector(start)?, sectors: number(sectors, MOST_SECTORS)? })
}

fn maybe_span(text: &str) -> Read<Option<Span>> {
    if text == "-" { Ok(None) } else { span(text).map(Some) }
}

fn rows(text: &str) -> Read<Rows> {
    let mut parts = text.split('/');
    let mut part = |most| positive(parts.next().ok_or("no CHUNK/WIDTH/COPIES/DEPTH")?, most);
    let (chunk, width) = (part(LARGEST_CHUNK)?, part(MANY)?);
    let (copies, depth) = (part(MANY)?, part(MANY)?);
    if parts.next().is_some() {
        return Err("no CHUNK/WIDTH/COPIES/DEPTH");
    }
    Ok(Rows { chunk, width, copies, depth })
}
