//! Whether the recorded position is believed, before anything is read from there or moved.
//!
//! The real kernel records wrong positions when a reshape keeps the number of members and moves the
//! data offset. Going on from one destroys the array, and no parity would contradict: so what stands
//! around the position is looked at first, and everything if that is no proof. In which order evidence
//! counts is the library's ([`Inquiry`]); here are the words.

use reshape::array::ArrayError;
use reshape::mover::{MoveError, Mover};
use reshape::salvage::{
    Inquiry, Judgement, Purpose, Question, SalvageError, Unvouched, Why, WhyNot, record,
};
use reshape::units::ArraySector;

use super::{Going, refused, tell_left};
use crate::args;
use crate::args::array::{MovingArgs, OngoingArgs};
use crate::cmd::array::given::chain;
use crate::cmd::array::range::Watch;
use crate::exit::{Exit, Failure};
use crate::output::{Phase, Screen};

/// Refuses to go on from a position that what stands on the members contradicts. Where a backup and everything else
/// say the same other position, that one is recorded.
pub(super) fn check(
    going: Going,
    purpose: Purpose,
    (what, how): (&OngoingArgs, &MovingArgs),
    screen: Screen,
) -> Result<Going, Failure> {
    if how.force {
        return Ok(going);
    }
    let mut going = going;
    let files: Vec<_> = going.file.iter().cloned().collect();
    let Going { mover, ongoing, verdicts, .. } = &mut going;
    let known = (&ongoing.assembly, &ongoing.members);
    let mut inquiry =
        Inquiry::new(purpose, known, &files, verdicts).map_err(|error| unknown(&error))?;
    let said = ask(&mut inquiry, mover, (how.progress, screen))?;
    let recorded = ongoing.position();
    match said {
        Said::Believed(why) => {
            going.by_content = why == Why::Content;
            Ok(going)
        }
        Said::Behind(position) => {
            let finding = inquiry.finding().ok_or_else(|| unknown(&SalvageError::NotSure))?;
            // With the time that is recorded: the age of a backup is counted from it.
            let put = record(mover, known.1, known.0, finding, known.0.update_time);
            let failed = put.map_err(|error| {
                Failure::failed(format!(
                    "cannot record where the reshape stands: {}",
                    chain(&error)
                ))
                .hint("run the same command again: the members may record different positions now")
            })?;
            tell_left(screen, &failed);
            screen.note(&format!(
                "the superblocks said that the reshape stands at {recorded}; the backup and all that is on the \
                 members say {position}, which is recorded now"
            ));
            // The backup file is locked.
            drop(inquiry);
            drop(going);
            drop(files);
            let again = super::run::open(what, how, screen)?;
            again.ok_or_else(|| unknown(&SalvageError::NotReshaping))
        }
        Said::Disbelieved(why) => {
            let cause = cause(why, recorded);
            Err(Failure::refused(format!("cannot go on: {cause}; nothing was overwritten")).hint(
                match why {
                    WhyNot::Turned => {
                        "reshape salvage tells whether the record is right, and the command that goes on; --to saves \
                         what there is, to be looked at"
                    }
                    WhyNot::Backup(_) => {
                        "reshape salvage --to FILE saves what there is, to be looked at, and tells what cannot be \
                         told; --force goes on from the record"
                    }
                    WhyNot::Torn | WhyNot::Stands(_) | WhyNot::Lost(_) | WhyNot::Several => {
                        "reshape salvage shows what is there, and puts the record right"
                    }
                },
            ))
        }
    }
}

/// What is said of a record in the end.
pub(crate) enum Said {
    Believed(Why),
    Behind(ArraySector),
    Disbelieved(WhyNot),
}

/// Asks until it is known whether the record is right.
///
/// # Errors
///
/// Interrupted, or members that cannot be read.
pub(crate) fn ask(
    inquiry: &mut Inquiry<'_>,
    mover: &mut Mover,
    (progress, screen): (args::Progress, Screen),
) -> Result<Said, Failure> {
    let mut watch: Option<Watch> = None;
    let said = loop {
        let question = match inquiry.judgement() {
            Judgement::Believed(why) => break Ok(Said::Believed(why)),
            Judgement::Behind(position) => break Ok(Said::Behind(position)),
            Judgement::Disbelieved(why) => break Ok(Said::Disbelieved(why)),
            Judgement::Ask(question) => question,
        };
        if let Err(error) = answer(inquiry, mover, question, (&mut watch, progress, screen))? {
            break Err(error);
        }
    };
    let interrupted = watch.as_ref().is_some_and(Watch::interrupted);
    if let Some(mut watch) = watch {
        watch.finish();
    }
    match said {
        Err(SalvageError::Array(ArrayError::Move(MoveError::Cancelled))) if interrupted => {
            let failure =
                Failure::failed("interrupted while the record was checked: nothing was written");
            Err(Failure { exit: Exit::Interrupted, ..failure })
        }
        Err(SalvageError::Exec(error)) => Err(refused(&error)),
        said => said.map_err(|error| unknown(&error)),
    }
}

/// Asks one question; how far it is is shown of those that take long.
fn answer(
    inquiry: &mut Inquiry<'_>,
    mover: &mut Mover,
    question: Question,
    (watch, progress, screen): (&mut Option<Watch>, args::Progress, Screen),
) -> Result<Result<(), SalvageError>, Failure> {
    if !question.is_long() {
        return Ok(inquiry.ask(mover, question, &mut |_| true));
    }
    let watch = match watch {
        Some(watch) => watch,
        none => none.insert(Watch::begin(progress, screen, Phase::Check, inquiry.bytes())?),
    };
    Ok(inquiry.ask(mover, question, &mut |done| watch.moved(done)))
}

/// Why a record is not believed, in words.
pub(crate) fn cause(why: WhyNot, recorded: ArraySector) -> String {
    match why {
        WhyNot::Turned => {
            "mdadm turned this reshape around in place, and moves up to two sections of its backup twice then: \
             nothing on the members tells whether it did, nor where"
                .to_owned()
        }
        WhyNot::Backup(why) => unvouched(why),
        WhyNot::Torn => format!(
            "the members are torn against each other around {recorded}: no position reads all of it"
        ),
        WhyNot::Stands(found) => format!(
            "the superblocks say that the reshape stands at {recorded}, but what stands on the members says {found}"
        ),
        WhyNot::Lost(sectors) => {
            format!("{sectors} sectors of the content are nowhere on the members")
        }
        WhyNot::Several => {
            "what stands on the members allows several positions, and the record may be wrong".to_owned()
        }
    }
}

fn unvouched(why: Unvouched) -> String {
    match why {
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

pub(crate) fn unknown(error: &SalvageError) -> Failure {
    Failure::refused(format!("cannot check the recorded position: {}", chain(error)))
        .hint("--force goes on without")
}
