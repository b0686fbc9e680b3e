//! Whether the recorded position can be right, where the parity of the first window would not tell.
//!
//! The real kernel records wrong positions when a reshape keeps the number of members and moves the
//! data offset. Going on from one destroys the array, and no parity would contradict: so what stands
//! around the position is looked at first, and everything if that is no proof.

use kcopy::Device;
use reshape::array::Members;
use reshape::assemble::{Assembly, Member, Shapes};
use reshape::mover::Mover;
use reshape::salvage::{
    Finding, SalvageError, Unvouched, Verdict, find, goes_together, is_proven, unvouched,
};

use super::{Going, refused};
use crate::args;
use crate::args::array::MovingArgs;
use crate::cmd::array::given::chain;
use crate::cmd::array::range::Watch;
use crate::exit::{Exit, Failure};
use crate::output::{Phase, Screen};

/// Why what a reshape has come back to may be wrong.
pub(crate) const TURNED: &str = "mdadm turned this reshape around in place, and moves up to two sections of its backup \
     twice then: nothing on the members tells whether it did, nor where";

/// Refuses to go on from a position that what stands on the members contradicts.
pub(super) fn check(going: &mut Going, how: &MovingArgs, screen: Screen) -> Result<(), Failure> {
    if how.force {
        return Ok(());
    }
    if going.ongoing.is_turned_by_others(&going.verdicts) {
        return Err(Failure::refused(format!("cannot go on: {TURNED}; nothing was overwritten"))
            .hint(
                "reshape salvage tells whether the record is right, and the command that goes on; --to saves what \
                 there is, to be looked at",
            ));
    }
    let (assembly, members) = (&going.ongoing.assembly, &going.ongoing.members);
    let files: Vec<_> = going.file.iter().cloned().collect();
    let disbelief = disbelief(&mut going.mover, (assembly, members), &files)?;
    match (&disbelief, how.invalid_backup) {
        (Some(_), _) => going.by_content = by_content(&mut going.mover, (assembly, members))?,
        (None, false) => ask_content(going)?,
        (None, true) => {}
    }
    if going.by_content {
        return Ok(());
    }
    if let Some(why) = disbelief {
        return Err(Failure::refused(format!("cannot go on: {why}; nothing was overwritten")).hint(
            "reshape salvage --to FILE saves what there is, to be looked at, and tells what cannot be told; --force \
             goes on from the record",
        ));
    }
    if going.ongoing.parity_tells() {
        return Ok(());
    }
    let told = (how.progress, screen);
    let Going { mover, ongoing, verdicts, .. } = going;
    let seen = (&ongoing.assembly, &ongoing.members);
    let found = match ongoing.may_be_ahead(verdicts) {
        true => ahead(mover, seen, &files, told)?,
        false => doubt(mover, seen, &files, told)?,
    };
    match found {
        None => Ok(()),
        Some(why) => Err(Failure::refused(format!("cannot go on: {why}; nothing was overwritten"))
            .hint("reshape salvage shows what is there, and puts the record right")),
    }
}

/// Lets content tell where nothing else is ground to go on from the record.
///
/// # Errors
///
/// Members that are missing, or that cannot be read.
pub(super) fn ask_content(going: &mut Going) -> Result<(), Failure> {
    let Going { mover, ongoing, verdicts, .. } = going;
    let lacks = ongoing.lacks_ground(mover, verdicts).map_err(|error| refused(&error))?;
    going.by_content = lacks.is_some() && by_content(mover, (&ongoing.assembly, &ongoing.members))?;
    Ok(())
}

/// Why the recorded position cannot be right, if data offsets move: reads what proves it, or all that is on
/// the members.
///
/// # Errors
///
/// Interrupted, or members that cannot be read.
pub(crate) fn doubt(
    mover: &mut Mover,
    (assembly, members): (&Assembly, &Members),
    files: &[Device],
    told: (args::Progress, Screen),
) -> Result<Option<String>, Failure> {
    let moves = |member: &Member| member.new_data_offset != member.data_offset;
    if !assembly.members.iter().any(moves) {
        return Ok(None);
    }
    let found = looked((assembly, members), told, |moved| {
        match is_proven(mover, members, assembly, moved) {
            Ok(true) => Ok(None),
            Ok(false) => find(mover, members, assembly, files, moved).map(Some),
            Err(error) => Err(error),
        }
    })?;
    let Some(finding) = found else { return Ok(None) };
    let as_recorded = finding.resume == finding.recorded;
    Ok(match finding.verdict {
        Verdict::AsRecorded => None,
        Verdict::Found if as_recorded => Some(format!(
            "the members are torn against each other around {}: no position reads all of it",
            finding.recorded
        )),
        Verdict::Found => Some(elsewhere(&finding)),
        // Of nothing it is known that it is lost, and nothing speaks for another position: content may be too uniform
        // to tell.
        Verdict::Lost if finding.lost == finding.open && as_recorded && is_resized(assembly) => {
            None
        }
        Verdict::Lost => {
            let sectors: u64 = finding.lost.iter().map(|range| range.sectors.get()).sum();
            Some(format!("{sectors} sectors of the content are nowhere on the members"))
        }
        // Where a growth without parity was turned around nothing can speak against the record; and with the
        // number of members changed the driver records no wrong one.
        Verdict::Ambiguous if is_resized(assembly) => None,
        Verdict::Ambiguous => Some(
            "what stands on the members allows several positions, and the record may be wrong"
                .into(),
        ),
    })
}

/// Why the recorded position cannot be right, if the driver has run ahead of a backup of mdadm's: reads all that is on
/// the members.
///
/// # Errors
///
/// Interrupted, or members that cannot be read.
pub(crate) fn ahead(
    mover: &mut Mover,
    (assembly, members): (&Assembly, &Members),
    files: &[Device],
    told: (args::Progress, Screen),
) -> Result<Option<String>, Failure> {
    let finding =
        looked((assembly, members), told, |moved| find(mover, members, assembly, files, moved))?;
    let is_elsewhere = finding.is_sure() && finding.resume != finding.recorded;
    Ok(is_elsewhere.then(|| elsewhere(&finding)))
}

fn elsewhere(finding: &Finding) -> String {
    format!(
        "the superblocks say that the reshape stands at {}, but what stands on the members says {}",
        finding.recorded, finding.resume
    )
}

/// What a look at the members finds, shown while it goes on.
fn looked<T>(
    (assembly, members): (&Assembly, &Members),
    (progress, screen): (args::Progress, Screen),
    look: impl FnOnce(&mut dyn FnMut(u64) -> bool) -> Result<T, SalvageError>,
) -> Result<T, Failure> {
    let each = assembly.component.get() * kcopy::SECTOR_SIZE;
    let count = u64::try_from(members.devices.len()).unwrap_or(1);
    let mut watch = Watch::begin(progress, screen, Phase::Check, each * count)?;
    let found = look(&mut |done| watch.moved(done));
    let interrupted = watch.interrupted();
    watch.finish();
    if interrupted {
        let failure =
            Failure::failed("interrupted while the record was checked: nothing was written");
        return Err(Failure { exit: Exit::Interrupted, ..failure });
    }
    found.map_err(|error| unknown(&error))
}

/// Why the record cannot be believed where only a backup speaks for it.
///
/// # Errors
///
/// Members that cannot be read.
pub(crate) fn disbelief(
    mover: &mut Mover,
    (assembly, members): (&Assembly, &Members),
    files: &[Device],
) -> Result<Option<String>, Failure> {
    let found = unvouched(mover, members, assembly, files).map_err(|error| unknown(&error))?;
    Ok(found.map(name_of))
}

/// Whether the record can be believed all the same, for all content goes together as if it were right.
///
/// # Errors
///
/// Members that are missing.
pub(crate) fn by_content(
    mover: &mut Mover,
    (assembly, members): (&Assembly, &Members),
) -> Result<bool, Failure> {
    goes_together(mover, members, assembly).map_err(|error| unknown(&error))
}

/// Why, in words.
fn name_of(unvouched: Unvouched) -> String {
    match unvouched {
        Unvouched::Passed => {
            "what the backup holds was moved, or stands nowhere, and nothing else tells whether the driver went on \
             behind the record"
                .to_owned()
        }
        Unvouched::Ahead(position) => {
            format!("the backup says that the reshape has come to {position}")
        }
        Unvouched::LooksMoved => {
            "what lies behind all that the backup holds goes together better as if it had been moved: the driver may \
             have run ahead of the backup"
                .to_owned()
        }
        Unvouched::Strange(range) => format!(
            "the backup is damaged, or an older one: of its sectors {} to {} some are neither at their old place nor \
             at their new one, and nothing explains that",
            range.start.get(),
            range.end() - 1
        ),
        Unvouched::Contradicts => {
            "the backup holds something else than what waits on the members: it may be an older one".to_owned()
        }
    }
}

/// Whether the content is spread over more members than before, or fewer.
fn is_resized(assembly: &Assembly) -> bool {
    match &assembly.shapes {
        Shapes::Moving { old, new, .. } => old.sectors() != new.sectors(),
        Shapes::Whole(_) | Shapes::Unknown => false,
    }
}

fn unknown(error: &SalvageError) -> Failure {
    Failure::refused(format!("cannot check the recorded position: {}", chain(error)))
        .hint("--force goes on without")
}
