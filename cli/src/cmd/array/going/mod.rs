//! A reshape that is under way: `reshape continue`, `restore`, `revert` and `status`.
//!
//! | file | what |
//! |---|---|
//! | `backups.rs` | the candidates for a backup, their verdicts, and the file for a new one |
//! | `record.rs` | whether the recorded position can be right, where parity would not tell |
//! | `run.rs` | going on, forwards or back, until the end or ^C |
//! | `status.rs` | where it stands, and the command that goes on |

use kcopy::Device;
use reshape::array::{Age, ArrayError};
use reshape::assemble::Shapes;
use reshape::exec::{BackupVerdict, Doubt, ExecError, FailedMember, Ground, Ongoing, Trust};
use reshape::machine::log::EventLog;
use reshape::mover::{MoveError, Mover};
use reshape::units::Slot;
use serde::Serialize;

use super::event_log::LogFile;
use super::given::{Access, Given, chain};
use crate::args::array::{MoverArgs, MovingArgs, OngoingArgs};
use crate::exit::{Exit, Failure};
use crate::output::{Screen, name};
use crate::units::human;

mod backups;
pub(crate) mod record;
mod run;
mod status;

pub(crate) use backups::{candidate, fresh_file};
pub(crate) use run::{go_on, restore, revert};
pub(crate) use status::status;

/// A reshape that is recorded, its members open, its backups judged.
pub(crate) struct Going {
    pub(crate) mover: Mover,
    pub(crate) ongoing: Ongoing,
    pub(crate) file: Option<Device>,
    /// The file is one that we made just now.
    pub(crate) made: bool,
    pub(crate) verdicts: Vec<BackupVerdict>,
    /// All content goes together as if the record were right, and nothing else tells: no backup is needed.
    pub(crate) by_content: bool,
    /// Where what it does is written down.
    pub(crate) log: Option<LogFile>,
}

impl Going {
    /// Opens the members; `None`: no reshape is recorded.
    pub(crate) fn open(
        what: &OngoingArgs,
        access: Access,
        age: Age,
        how: &MoverArgs,
    ) -> Result<Option<Self>, Failure> {
        let Given { mut mover, members, assembly } = Given::open(&what.array.devices, access, how)?;
        if !matches!(assembly.shapes, Shapes::Moving { .. }) {
            // Members that are stale may be those that record it.
            assembly.startable().map_err(|why| {
                Failure::refused(format!("cannot go on: {why}"))
                    .hint("name all members; reshape detail shows what became of each")
            })?;
            return Ok(None);
        }
        let ongoing = Ongoing::new(assembly, members).map_err(|error| refused(&error))?;
        let file = candidate(what.backup_file.as_deref(), &ongoing)?;
        let verdicts = ongoing.backups(&mut mover, file.as_ref(), age);
        Ok(Some(Self { mover, ongoing, file, made: false, verdicts, by_content: false, log: None }))
    }

    /// Puts back what a backup holds, or makes sure that nothing has to be put back.
    pub(crate) fn prepare(self, how: &MovingArgs) -> Result<(Self, Ground), Failure> {
        let Self { mut mover, ongoing, file, made, verdicts, by_content, log } = self;
        let trust = match (by_content, how.invalid_backup) {
            (true, _) => Trust::Content,
            (false, true) => Trust::Blind,
            (false, false) => Trust::Evidence,
        };
        // A backup that content contradicts is not put back.
        let used = if by_content { &[][..] } else { &verdicts };
        let prepared = ongoing.prepare(&mut mover, used, trust, crate::clock::date());
        let (ongoing, ground) = prepared.map_err(|error| {
            // Members fail while a backup is put back.
            let written = matches!(error, ExecError::TooManyFailed { .. });
            if written { stopped(&error) } else { refused(&error) }
        })?;
        Ok((Self { mover, ongoing, file, made, verdicts, by_content, log }, ground))
    }

    /// Options for the executor that write to the log.
    fn event_log(&self) -> Option<EventLog> {
        self.log.as_ref().map(LogFile::log)
    }

    /// What became of each candidate for a backup.
    pub(crate) fn tell_backups(&self, screen: Screen) {
        for found in &self.verdicts {
            match &found.verdict {
                Ok(_) => {
                    screen.note(&format!("{} holds a backup that is needed", name(&found.path)))
                }
                Err(why) => screen.note(&why.to_string()),
            }
        }
    }

    /// `raid5 array 1a8b…: reshape from 4 to 5 members, at 12 % (…)`.
    pub(crate) fn title(&self) -> String {
        let assembly = &self.ongoing.assembly;
        let (change, percent) = (status::change(&self.ongoing), status::percent(&self.ongoing));
        format!("{} array {}: reshape {change}, at {percent:.1} %", assembly.level, assembly.uuid)
    }
}

/// How old a backup may be.
pub(crate) const fn age(force: bool) -> Age {
    if force { Age::Any } else { Age::Checked }
}

/// What becomes of stripes that contradict their parity.
pub(crate) const fn doubt(force: bool) -> Doubt {
    if force { Doubt::GoOn } else { Doubt::Stop }
}

/// Why a reshape cannot go on. Nothing was written yet.
pub(crate) fn refused(error: &ExecError) -> Failure {
    Failure::refused(format!("cannot go on: {}", chain(error))).hint(hint(error))
}

/// A member that failed on the way, and left the array.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct FailedReport {
    /// Of a spare there is none.
    pub(crate) slot: Option<u32>,
    path: String,
    errno: i32,
    /// Of 512 bytes, from the start of the device.
    sector: u64,
    message: String,
}

impl FailedReport {
    pub(crate) fn of(member: &FailedMember) -> Self {
        Self {
            slot: member.slot.map(Slot::get),
            path: member.path.to_string_lossy().into_owned(),
            errno: member.fault.errno.raw(),
            sector: member.fault.sector.get(),
            message: member.to_string(),
        }
    }
}

/// Says which members left the array on the way, and what to do about it.
pub(crate) fn tell_failed(screen: Screen, failed: &[FailedReport]) {
    if failed.is_empty() {
        return;
    }
    for member in failed {
        screen.problem(&format!("{}: it left the array", member.message));
    }
    if failed.iter().any(|member| member.slot.is_some()) {
        screen.hint(
            "the array is degraded now; reshape rebuild with --add puts a new disk in its place",
        );
    }
}

/// The same of members as the library tells them; also what the report has.
pub(crate) fn tell_left(screen: Screen, failed: &[FailedMember]) -> Vec<FailedReport> {
    let failed: Vec<FailedReport> = failed.iter().map(FailedReport::of).collect();
    tell_failed(screen, &failed);
    failed
}

/// Why a reshape stopped on its way.
pub(crate) fn stopped(error: &ExecError) -> Failure {
    let message = format!("stopped: {}", chain(error));
    let exit = if matches!(error, ExecError::Move(MoveError::Cancelled)) {
        Exit::Interrupted
    } else if matches!(error, ExecError::LittleMemory { .. }) {
        // Seen before anything is written.
        Exit::Refused
    } else {
        Exit::Failed
    };
    Failure { exit, ..Failure::failed(message).hint(hint(error)) }
}

/// What to do about a disk that failed while it was added.
pub(crate) const NEWCOMER: &str = "nothing was moved because of it; put another disk in its place, and run the same \
     command with that one";

fn hint(error: &ExecError) -> String {
    match error {
        ExecError::Contradiction { .. } | ExecError::Elsewhere { .. } => {
            "nothing there was overwritten; reshape salvage finds out from the stripes how far it really \
             came. --force takes the data as it is, whatever its parity says"
        }
        ExecError::NoGround { .. } => {
            "name the backup file that was in use (--backup-file); reshape salvage looks for what is \
             left; --invalid-backup goes on and takes the section as it is"
        }
        ExecError::Unreadable { .. } => {
            "what was recorded holds; name members that were left out, or copy the failing one to a \
             new device first (kcopy copy --continue-on-error)"
        }
        ExecError::LittleMemory { needed, .. } => {
            let pool = human(2 * needed.get() * kcopy::SECTOR_SIZE);
            return format!("nothing was changed; half of --pool is for windows: give {pool} at least");
        }
        ExecError::Move(MoveError::NoMemory { .. }) => {
            "what was recorded last holds; with a smaller --pool reshape continue needs less"
        }
        ExecError::NeedsBackup { .. } => {
            "--backup-file names a file, on other devices, where the critical section is saved"
        }
        ExecError::Backup { .. } => {
            "nothing was overwritten that is not saved; make room or name another file, then run \
             reshape continue"
        }
        ExecError::TooManyFailed { .. } => {
            "what was recorded last holds, and it counts those that the array cannot do without as members; mend \
             the connection, then run reshape continue, or the same command if none is under way"
        }
        ExecError::NoRoom { .. } => {
            "the position that was recorded holds, and no member left the array: free room there, then run \
             reshape continue"
        }
        ExecError::Array(ArrayError::Newcomer { .. }) => NEWCOMER,
        ExecError::Revert(_) => "reshape continue goes on forwards",
        ExecError::TooFew { .. } => {
            "nothing was written; bring those members back. While nothing was moved, reshape revert takes the \
             reshape back without them"
        }
        ExecError::Moved { .. } => "bring the members back that are missing, then run reshape continue",
        ExecError::StillFilling { .. } => "reshape continue finishes it and fills them",
        ExecError::NoReshape => "reshape detail shows the array",
        ExecError::NoMember(_)
        | ExecError::Refusal(_)
        | ExecError::Position(_)
        | ExecError::Record(_)
        | ExecError::Array(_)
        | ExecError::Move(_)
        | _ => "what was recorded last holds; reshape status shows where it stands",
    }
    .to_owned()
}
