//! The backup of a reshape under way, laid over the array that is read.

use std::path::Path;

use kcopy::Sectors;
use reshape::array::{Age, Array, Backup, NoBackup, Overlay, Range, is_absent};
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
    /// What is to be read of the array.
    pub(crate) part: Range,
    /// All of the array.
    pub(crate) size: Sectors,
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
    let is_at_rest = !matches!(given.assembly.shapes, Shapes::Moving { .. });
    let (need, at_risk) = need(given, wanted.part)?;
    let mut found = Vec::new();
    let mut answered = need == Need::Nothing;
    if let Some(path) = wanted.file {
        let device = open_source(path, Direct::Auto)?;
        match Backup::read(&mut given.mover, &device, &given.assembly, age) {
            Ok(backup) => found.push(backup),
            Err(NoBackup::NotNeeded { ours, .. }) => answered |= need.is_answered_by(ours),
            // An array at rest needs none, whatever the file is.
            Err(error) if is_at_rest => screen.note(&error.to_string()),
            // A file that nothing was saved to yet.
            Err(error) if is_absent(&error) && (wanted.force || need.is_answered_by_none()) => {
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
            Err(NoBackup::NotNeeded { ours, .. }) => answered |= need.is_answered_by(ours),
            Err(error) => screen.note(&error.to_string()),
        }
    }
    let overlays: Vec<Overlay> =
        found.iter().flat_map(|backup| backup.overlays(&given.assembly)).collect();
    if !answered && !overlays.iter().any(|overlay| begins_at_the_front(overlay, &given.assembly)) {
        missing(wanted, (&overlays, at_risk), screen)?;
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
    /// Nothing on them contradicts it, and little proves it: a backup of ours tells, for nothing is written
    /// that it does not hold.
    OwnBackup,
    /// They contradict it: what was overwritten has to be in the backup.
    Backup,
}

impl Need {
    /// Whether a valid backup that holds nothing of what comes next is enough.
    fn is_answered_by(self, ours: bool) -> bool {
        match self {
            Self::Nothing => true,
            // One of mdadm's may have been left behind by the driver.
            Self::EmptyBackup | Self::OwnBackup => ours,
            Self::Backup => false,
        }
    }

    /// Whether a file to which nothing was saved yet is.
    fn is_answered_by_none(self) -> bool {
        match self {
            Self::Nothing | Self::EmptyBackup => true,
            Self::OwnBackup | Self::Backup => false,
        }
    }
}

/// What it takes to read `part`, and which sectors are in doubt, if that is known.
fn need(given: &mut Given, part: Range) -> Result<(Need, Option<Range>), Failure> {
    if !matches!(given.assembly.shapes, Shapes::Moving { .. }) {
        return Ok((Need::Nothing, None));
    }
    let failed = |error: &ExecError| {
        Failure::refused(format!("cannot read the array: {error}"))
            .hint("reshape detail shows how far the reshape has come")
    };
    let ongoing = match Ongoing::new(given.assembly.clone(), given.members.clone()) {
        Ok(ongoing) => ongoing,
        // Members are missing: whoever reads by force reads without proof.
        Err(ExecError::Array(_)) => return Ok((Need::Backup, None)),
        Err(error) => return Err(failed(&error)),
    };
    let at_risk = ongoing.at_risk();
    if !ongoing.is_critical() || at_risk.intersection(part).is_none() {
        return Ok((Need::Nothing, None));
    }
    let witness = ongoing.witness(&mut given.mover).map_err(|error| failed(&error))?;
    let need = match () {
        () if witness.holds() => Need::Nothing,
        () if witness.mostly_holds() => Need::EmptyBackup,
        () if witness.contradicting == 0 => Need::OwnBackup,
        () => Need::Backup,
    };
    Ok((need, Some(at_risk)))
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
fn missing(
    wanted: Wanted<'_>,
    (overlays, at_risk): (&[Overlay], Option<Range>),
    screen: Screen,
) -> Result<(), Failure> {
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
        let elsewhere = at_risk.map_or_else(String::new, |range| {
            let (start, end) = (range.start.get(), range.end());
            let mut text = format!("only sectors {start} to {end} are in doubt: ");
            if start > 0 {
                text.push_str(&format!("--count {start}s reads what is before them, "));
            }
            if wanted.size.get() > end {
                text.push_str(&format!("--offset {end}s reads what is behind them, "));
            }
            text
        });
        return Err(Failure::refused(format!("cannot read the array: {cause}")).hint(format!(
            "--backup-file names the backup of the reshape; {elsewhere}--force reads all without it"
        )));
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
