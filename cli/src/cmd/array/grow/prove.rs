//! The same content before and after, told by its SHA-256.

use kcopy::{Device, Sectors};
use reshape::array::{Array, Members, Range};
use reshape::assemble::assemble;
use sha2::{Digest, Sha256};

use crate::args::array::GrowArgs;
use crate::cmd::array::given::{Given, failed, mover, no_array, no_member};
use crate::cmd::array::range::Watch;
use crate::exit::{Exit, Failure};
use crate::output::Phase;

/// Sectors that are read at once: 8 MiB.
const PIECE: u64 = 16384;

/// See the module.
pub(super) struct Proof(String);

impl Proof {
    /// Reads the first `sectors` of the array as it is.
    pub(super) fn of(
        given: &mut Given,
        sectors: Sectors,
        watch: &mut Watch,
    ) -> Result<Self, Failure> {
        let members = &given.members;
        let array = Array::open(&given.assembly, &members.devices, &members.bad)
            .map_err(|error| failed("read the array", &error))?;
        let hash = hash(&array, &mut given.mover, sectors, watch);
        hash.map(Self)
            .map_err(|failure| told(failure, "nothing was changed: run the same command again"))
    }

    /// Reads the same after the change; the hash if it is the same.
    pub(super) fn compare(
        self,
        args: &GrowArgs,
        disks: &[Device],
        sectors: Sectors,
        watch: &mut Watch,
    ) -> Result<String, Failure> {
        let mut mover = mover(&args.run.mover, disks.len())?;
        let members = Members::read(&mut mover, disks.to_vec()).map_err(|e| no_member(&e))?;
        let assembly = assemble(&members.candidates).map_err(|error| no_array(&error))?;
        let array = Array::open(&assembly, &members.devices, &members.bad)
            .map_err(|error| failed("read the array", &error))?;
        let after = hash(&array, &mut mover, sectors, watch).map_err(|failure| {
            told(failure, "the change is done, and recorded; only its content was not compared")
        })?;
        if after == self.0 {
            return Ok(after);
        }
        let before = self.0;
        Err(Failure::failed(format!(
            "the content is not what it was: SHA-256 {after} instead of {before}"
        ))
        .hint("this must not happen: please report it, and keep the members as they are"))
    }
}

/// What an interruption leaves.
fn told(failure: Failure, hint: &str) -> Failure {
    if failure.exit == Exit::Interrupted { failure.hint(hint) } else { failure }
}

fn hash(
    array: &Array,
    mover: &mut reshape::mover::Mover,
    sectors: Sectors,
    watch: &mut Watch,
) -> Result<String, Failure> {
    let total = sectors.get();
    watch.phase(Phase::Verify, total * kcopy::SECTOR_SIZE);
    let mut sha = Sha256::new();
    let mut at = 0;
    while at < total {
        let len = PIECE.min(total - at);
        let (bytes, report) = array
            .read(mover, Range::new(at, len))
            .map_err(|error| failed("read the array", &error))?;
        if let Some(range) = report.unreadable.first() {
            let (from, to) = (range.start.get(), range.end());
            return Err(Failure::failed(format!(
                "cannot prove anything: sectors {from} to {to} of the array cannot be read"
            ))
            .hint("leave --prove out, or mend the array first"));
        }
        sha.update(&bytes);
        at += len;
        if !watch.moved(at * kcopy::SECTOR_SIZE) {
            return Err(Failure {
                exit: Exit::Interrupted,
                ..Failure::failed("interrupted while the content was read")
            });
        }
    }
    Ok(sha.finalize().iter().map(|byte| format!("{byte:02x}")).collect())
}
