//! `reshape bitmap`: a write-intent bitmap comes or goes.

use std::path::PathBuf;

use reshape::array::{ArrayError, Force, Session};
use serde::Serialize;

use super::create::sectors;
use super::given::{Access, Given, failed, refused};
use super::going::{FailedReport, tell_left};
use crate::args::array::{BitmapArgs, NewBitmap};
use crate::clock::date;
use crate::confirm::confirm;
use crate::exit::{Exit, Failure};
use crate::output::{Screen, name};
use crate::units::human;

#[derive(Debug, Serialize)]
struct Report {
    schema: u32,
    /// What the array has now: `internal` or `none`.
    bitmap: &'static str,
    /// What one bit stands for.
    bitmap_chunk_bytes: Option<u64>,
    /// Members that failed on the way and left the array.
    failed: Vec<FailedReport>,
}

pub(crate) fn run(args: &BitmapArgs, screen: Screen) -> Result<Exit, Failure> {
    let chunk = sectors("change the bitmap", "--bitmap-chunk", args.bitmap_chunk)?;
    let (devices, bitmap) = args.array_and_bitmap()?;
    if chunk.is_some() && bitmap == NewBitmap::None {
        return Err(Failure::refused("cannot change the bitmap: --bitmap-chunk without a bitmap")
            .hint("leave it out, or say internal"));
    }
    let mut given = Given::open(&devices, Access::Change, &args.mover)?;
    let force = if args.force { Force::Yes } else { Force::No };
    let mut session = Session::open(&given.assembly, &given.members, force)
        .map_err(|error| refused("change the bitmap", &error))?;
    confirm(args.ask.yes.into(), &question((&devices, bitmap), &given))?;
    let (bitmap, bitmap_chunk_bytes) = match bitmap {
        NewBitmap::Internal => {
            let chunk = session.add_bitmap(&mut given.mover, date(), chunk);
            let chunk = chunk.map_err(|error| not_changed(&error))?;
            ("internal", Some(chunk.get() * kcopy::SECTOR_SIZE))
        }
        NewBitmap::None => {
            let removed = session.remove_bitmap(&mut given.mover, date());
            removed.map_err(|error| not_changed(&error))?;
            ("none", None)
        }
    };
    let failed = tell_left(screen, session.failed());
    let report = Report { schema: 1, bitmap, bitmap_chunk_bytes, failed };
    if args.json {
        return Ok(screen.json(&report, Exit::Done));
    }
    let title = given.title();
    screen.summary(&match report.bitmap_chunk_bytes {
        Some(bytes) => format!("{title} has a bitmap now, one bit for each {}", human(bytes)),
        None => format!("{title} has no bitmap any more"),
    });
    Ok(Exit::Done)
}

/// What does not go together is found out before anything is written.
fn not_changed(error: &ArrayError) -> Failure {
    if matches!(error, ArrayError::Change(_)) {
        return refused("change the bitmap", error);
    }
    failed("change the bitmap", error)
}

fn question((devices, bitmap): (&[PathBuf], NewBitmap), given: &Given) -> String {
    let what = match bitmap {
        NewBitmap::Internal => "a bitmap will be written beside the superblocks",
        NewBitmap::None => "the bitmap will be taken out",
    };
    let paths: Vec<String> = devices.iter().map(|path| name(path)).collect();
    format!("{what} of the {} ({})", given.title(), paths.join(", "))
}
