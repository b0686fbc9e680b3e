//! The backup of a reshape under way, laid over the array that is read.

use std::path::Path;

use reshape::array::{Age, Array, Backup, NoBackup, is_absent};
use reshape::assemble::{Assembly, Shapes};

use super::given::Given;
use crate::args::Direct;
use crate::cmd::target::open_source;
use crate::exit::Failure;
use crate::output::Screen;

/// What backups there are, and how they are taken.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wanted<'a> {
    pub(crate) file: Option<&'a Path>,
    pub(crate) force: bool,
}

/// Lays what a backup holds over `array`. Without a reshape under way there is nothing to do.
///
/// # Errors
///
/// A backup that is needed and is not there, or one that is of no use for this array.
pub(crate) fn lay_over(
    array: &mut Array,
    given: &mut Given,
    wanted: Wanted<'_>,
    screen: Screen,
) -> Result<(), Failure> {
    let age = if wanted.force { Age::Any } else { Age::Checked };
    let mut found = Vec::new();
    let mut answered = false;
    if let Some(path) = wanted.file {
        let device = open_source(path, Direct::Auto)?;
        match Backup::read(&mut given.mover, &device, &given.assembly, age) {
            Ok(backup) => found.push(backup),
            Err(error) if is_harmless(&error) => answered = true,
            Err(error) => return Err(useless(&error)),
        }
    }
    for (device, header) in given.members.devices.iter().zip(&given.members.backups) {
        let Some(header) = header else { continue };
        match Backup::judge(&mut given.mover, device, *header, &given.assembly, age) {
            Ok(backup) => found.push(backup),
            Err(error) if is_harmless(&error) => answered = true,
            Err(error) => screen.note(&error.to_string()),
        }
    }
    if found.is_empty() && !answered && is_critical(&given.assembly) {
        missing(wanted, screen)?;
    }
    for backup in found {
        backup.overlays(&given.assembly).into_iter().for_each(|overlay| array.lay_over(overlay));
    }
    Ok(())
}

/// Says that a backup would be needed; without `--force` that is the end.
fn missing(wanted: Wanted<'_>, screen: Screen) -> Result<(), Failure> {
    const CAUSE: &str =
        "a reshape stopped at a place where the members alone may not have everything";
    if !wanted.force {
        return Err(Failure::refused(format!("cannot read the array: {CAUSE}"))
            .hint("--backup-file names the backup of the reshape; --force reads without one"));
    }
    screen.note(&format!("{CAUSE}: what was being moved may be wrong"));
    Ok(())
}

/// Whether the backup says that the members have everything.
fn is_harmless(error: &NoBackup) -> bool {
    matches!(error, NoBackup::NotNeeded { .. }) || is_absent(error)
}

fn useless(error: &NoBackup) -> Failure {
    let hint = match error {
        NoBackup::NotReshaping { .. } => "leave --backup-file out",
        NoBackup::Time { .. } => "--force takes it all the same",
        NoBackup::Header { .. }
        | NoBackup::Foreign { .. }
        | NoBackup::NotNeeded { .. }
        | NoBackup::Data { .. }
        | NoBackup::Move(_)
        | _ => "name the file that was given to mdadm or reshape when the reshape was started",
    };
    Failure::refused(format!("cannot use the backup: {error}")).hint(hint)
}

/// Whether a crash can have left something in a backup only: data offsets that move leave room.
fn is_critical(assembly: &Assembly) -> bool {
    match &assembly.shapes {
        Shapes::Moving { .. } => {
            assembly.members.iter().all(|member| member.new_data_offset == member.data_offset)
        }
        Shapes::Whole(_) | Shapes::Unknown => false,
    }
}
