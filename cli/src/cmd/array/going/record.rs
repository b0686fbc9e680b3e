//! Whether the recorded position can be right, where the parity of the first window would not tell.
//!
//! The real kernel records wrong positions when a reshape keeps the number of members and moves the
//! data offset. Going on from one destroys the array, and no parity would contradict: so all content is
//! looked at first, once.

use reshape::salvage::{SalvageError, Verdict, find};

use super::Going;
use crate::args::array::MovingArgs;
use crate::cmd::array::given::chain;
use crate::cmd::array::range::Watch;
use crate::exit::{Exit, Failure};
use crate::output::{Phase, Screen};

/// Refuses to go on from a position that what stands on the members contradicts.
pub(super) fn check(going: &mut Going, how: &MovingArgs, screen: Screen) -> Result<(), Failure> {
    let moves = going.ongoing.restripe().shifts.iter().any(|shift| *shift != 0);
    if how.force || !moves || going.ongoing.parity_tells() {
        return Ok(());
    }
    let (assembly, members) = (&going.ongoing.assembly, &going.ongoing.members);
    let each = assembly.component.get() * kcopy::SECTOR_SIZE;
    let count = u64::try_from(members.devices.len()).unwrap_or(1);
    let mut watch = Watch::begin(how.progress, screen, Phase::Check, each * count)?;
    let files: Vec<_> = going.file.iter().cloned().collect();
    let found = find(&mut going.mover, members, assembly, &files, &mut |done| watch.moved(done));
    let interrupted = watch.interrupted();
    watch.finish();
    if interrupted {
        let failure =
            Failure::failed("interrupted while the record was checked: nothing was written");
        return Err(Failure { exit: Exit::Interrupted, ..failure });
    }
    let finding = found.map_err(|error| unknown(&error))?;
    let refused = |why: String| {
        Err(Failure::refused(format!("cannot go on: {why}; nothing was overwritten"))
            .hint("reshape salvage shows what is there, and puts the record right"))
    };
    match finding.verdict {
        Verdict::AsRecorded => Ok(()),
        Verdict::Found => refused(format!(
            "the superblocks say that the reshape stands at {}, but what stands on the members says {}",
            finding.recorded, finding.resume
        )),
        Verdict::Lost => {
            let sectors: u64 = finding.lost.iter().map(|range| range.sectors.get()).sum();
            refused(format!("{sectors} sectors of the content are nowhere on the members"))
        }
        Verdict::Ambiguous => refused(
            "what stands on the members allows several positions, and the record may be wrong"
                .into(),
        ),
    }
}

fn unknown(error: &SalvageError) -> Failure {
    Failure::refused(format!("cannot check the recorded position: {}", chain(error)))
        .hint("--force goes on without")
}
