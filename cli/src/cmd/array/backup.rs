//! The backup of a reshape under way, laid over the array that is read.

use std::path::Path;

use reshape::array::{Age, Array, Backup, NoBackup, Overlay, is_absent};
use reshape::assemble::{Assembly, Shapes};
use reshape::exec::{ExecError, Ongoing};
use reshape::metadata::Direction;

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
    let need = need(given)?;
    let mut found = Vec::new();
    let mut answered = need == Need::Nothing;
    if let Some(path) = wanted.file {
        let device = open_source(path, Direct::Auto)?;
        match Backup::read(&mut given.mover, &device, &given.assembly, age) {
            Ok(backup) => found.push(backup),
            Err(NoBackup::NotNeeded { .. }) => answered = true,
            Err(error @ NoBackup::NotReshaping { .. }) => screen.note(&error.to_string()),
            // A file that nothing was saved to yet.
            Err(error) if is_absent(&error) && (wanted.force || need != Need::Backup) => {
                screen.note(&error.to_string());
                answered |= need == Need::EmptyBackup;
            }
            Err(error) => return Err(useless(&error)),
        }
    }
    for (device, header) in given.members.devices.iter().zip(&given.members.backups) {
        let Some(header) = header else { continue };
        match Backup::judge(&mut given.mover, device, *header, &given.assembly, age) {
            Ok(backup) => found.push(backup),
            Err(NoBackup::NotNeeded { .. }) => answered = true,
            Err(error) => screen.note(&error.to_string()),
        }
    }
    let overlays: Vec<Overlay> =
        found.iter().flat_map(|backup| backup.overlays(&given.assembly)).collect();
    if !answered && !overlays.iter().any(|overlay| begins_at_the_front(overlay, &given.assembly)) {
        missing(wanted, &overlays, screen)?;
    }
    overlays.into_iter().for_each(|overlay| array.lay_over(overlay));
    Ok(())
}

/// What it takes to read what follows where the reshape stopped, and may have been overwritten by what moved
/// there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Need {
    /// Nothing was overwritten, as the members prove.
    Nothing,
    /// Most of them prove it: a backup file to which nothing was saved would say the same.
    EmptyBackup,
    Backup,
}

fn need(given: &mut Given) -> Result<Need, Failure> {
    if !matches!(given.assembly.shapes, Shapes::Moving { .. }) {
        return Ok(Need::Nothing);
    }
    let failed = |error: &ExecError| {
        Failure::refused(format!("cannot read the array: {error}"))
            .hint("reshape detail shows how far the reshape has come")
    };
    let ongoing = match Ongoing::new(given.assembly.clone(), given.members.clone()) {
        Ok(ongoing) => ongoing,
        // Members are missing: whoever reads by force reads without proof.
        Err(ExecError::Array(_)) => return Ok(Need::Backup),
        Err(error) => return Err(failed(&error)),
    };
    if !ongoing.is_critical() {
        return Ok(Need::Nothing);
    }
    let witness = ongoing.witness(&mut given.mover).map_err(|error| failed(&error))?;
    Ok(match () {
        () if witness.holds() => Need::Nothing,
        () if witness.mostly_holds() => Need::EmptyBackup,
        () => Need::Backup,
    })
}

/// Whether a backup holds what is next to be moved.
fn begins_at_the_front(overlay: &Overlay, assembly: &Assembly) -> bool {
    let Shapes::Moving { reshape, .. } = &assembly.shapes else { return false };
    let front = reshape.position.get();
    match reshape.direction {
        Direction::Forwards => overlay.range.start.get() == front,
        Direction::Backwards => overlay.range.end() == front,
    }
}

/// Says that a backup would be needed; without `--force` that is the end.
fn missing(wanted: Wanted<'_>, overlays: &[Overlay], screen: Screen) -> Result<(), Failure> {
    let cause = match overlays.iter().map(|overlay| overlay.range.start.get()).min() {
        Some(from) => format!(
            "the backup holds its sectors from {from} on, which is not where the superblocks say that \
             the reshape stopped"
        ),
        None => {
            "a reshape stopped at a place where the members alone may not have everything".into()
        }
    };
    if !wanted.force {
        return Err(Failure::refused(format!("cannot read the array: {cause}"))
            .hint("--backup-file names the backup of the reshape; --force reads without it"));
    }
    screen.note(&format!("{cause}: what was being moved may be wrong"));
    Ok(())
}

fn useless(error: &NoBackup) -> Failure {
    let hint = match error {
        error if is_absent(error) => {
            "name the file that was given to mdadm or reshape; if it is that one, nothing was saved \
             to it when the reshape stopped, and --force reads what the members have"
        }
        NoBackup::Time { .. } => "--force takes it all the same",
        NoBackup::Header { .. }
        | NoBackup::NotReshaping { .. }
        | NoBackup::Foreign { .. }
        | NoBackup::NotNeeded { .. }
        | NoBackup::CutOff { .. }
        | NoBackup::Data { .. }
        | NoBackup::Move(_)
        | _ => "name the file that was given to mdadm or reshape when the reshape was started",
    };
    Failure::refused(format!("cannot use the backup: {error}")).hint(hint)
}
