//! Writes and flushes that fail while a reshape is under way: it ends and says so, or goes on without the member;
//! never as if nothing had been. The power goes behind the error, and nothing is lost.

use kcopy::Errno;
use kcopy::backend::sim::{Crash, DiskId, Effect, Fault, OpKind, SimWorld};
use reshape::geometry::Level;
use reshape::plan::Mode;

use super::bench::Bench;
use super::case::{Case, all};
use super::crash::Subject;
use super::power::mover;
use crate::sim::report::Report;

/// What fails from some operation on, for good.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Failing {
    BackupWrites,
    BackupFlushes,
    MemberFlushes,
    Superblocks,
    /// The array goes on without the member.
    OneMember,
    /// It cannot.
    TwoMembers,
}

const KINDS: [Failing; 6] = [
    Failing::BackupWrites,
    Failing::BackupFlushes,
    Failing::MemberFlushes,
    Failing::Superblocks,
    Failing::OneMember,
    Failing::TwoMembers,
];

/// The member that fails, and another one.
const MEMBER: DiskId = DiskId(1);
const OTHER: DiskId = DiskId(0);
/// Bytes of a member before anything that moves: its superblock.
const HEAD: u64 = 8192;

impl Failing {
    fn inject(self, bench: &Bench, world: &SimWorld, from: u64) {
        let file = DiskId(bench.case.slots());
        let fault = || Fault::new(Effect::Error(Errno::IO)).from_op(from);
        let data = |member| fault().on(member).kind(OpKind::Write).within(HEAD..u64::MAX);
        world.inject(match self {
            Self::BackupWrites => fault().on(file).kind(OpKind::Write),
            Self::BackupFlushes => fault().on(file).kind(OpKind::Flush),
            Self::MemberFlushes => fault().on(MEMBER).kind(OpKind::Flush),
            Self::Superblocks => fault().on(MEMBER).kind(OpKind::Write).within(0..HEAD),
            Self::OneMember | Self::TwoMembers => data(MEMBER),
        });
        if self == Self::TwoMembers {
            world.inject(data(OTHER));
        }
    }
}

/// Growths and shrinks of whole RAID5 with a backup file.
fn cases() -> impl Iterator<Item = Case> {
    let saved = |case: &Case| {
        case.mode == Mode::BackupFile && case.level == Level::Raid5 && case.missing.is_none()
    };
    all().into_iter().filter(saved).step_by(5)
}

/// Every kind, in each of the cases, from some operations of the reshape on.
pub fn everything() -> Report {
    let mut report = Report::default();
    for case in cases() {
        let bench = Bench::new(&case, None);
        let whole = {
            let world = bench.world(1);
            let ran =
                report.check(|| case.to_string(), || bench.go_on(&world, &mut mover(&world), &[]));
            if ran.is_none() {
                continue;
            }
            world.ops()
        };
        for kind in KINDS {
            // A member that fails while a position is being recorded waits for that: seldom met.
            let steps = if kind == Failing::OneMember { 64 } else { 8 };
            for step in 1..steps {
                let from = whole * step / steps;
                let id = || format!("{case}, {kind:?} from operation {from} on");
                let told = report.check(id, || fails(&bench, kind, from));
                report.count("failures told", told.map_or(0, u64::from));
            }
        }
    }
    report
}

/// Whether something failed. If so it was told; and after a loss of power the reshape goes on.
fn fails(bench: &Bench, kind: Failing, from: u64) -> Result<bool, String> {
    let world = bench.world(1);
    kind.inject(bench, &world, from);
    let result = bench.go_on(&world, &mut mover(&world), &[]);
    let failed = !world.struck().is_empty();
    world.clear_faults();
    match result {
        Ok(()) if failed && kind == Failing::OneMember => {
            bench.check(&world, &mut mover(&world), &[], &[MEMBER.0])?;
            return Ok(true);
        }
        Ok(()) if failed => return Err("it ended as if nothing had failed".into()),
        Err(error) if !failed => return Err(format!("nothing failed: {error}")),
        Err(error) if kind == Failing::OneMember => {
            return Err(format!("it ended though the array can do without the member: {error}"));
        }
        Ok(()) | Err(_) => {}
    }
    let after = world.snapshot().after(Crash::DropAll, from);
    after.silence_trace();
    bench.go_on(&after, &mut mover(&after), &[])?;
    // One of the two may have failed first, alone, and have left.
    let doubtful = if kind == Failing::TwoMembers { vec![MEMBER.0, OTHER.0] } else { Vec::new() };
    bench.check(&after, &mut mover(&after), &[], &doubtful)?;
    Ok(failed)
}
