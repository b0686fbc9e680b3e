//! Writes and flushes that fail while a reshape is under way: it ends and says so, or goes on without the member;
//! never as if nothing had been. The power goes behind the error, and nothing is lost.

use kcopy::Errno;
use kcopy::backend::sim::{Crash, DiskId, Effect, Fault, OpKind, SimWorld};
use reshape::exec::Mutation;
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
    /// The array goes on without the member.
    MemberFlushes,
    /// Once only: what it covered is lost all the same.
    OneFlush,
    Superblocks,
    /// Once only: the next would be written again.
    OneSuperblock,
    OneMember,
    /// It cannot.
    TwoFlushes,
    TwoSuperblocks,
    TwoMembers,
}

const KINDS: [Failing; 10] = [
    Failing::BackupWrites,
    Failing::BackupFlushes,
    Failing::MemberFlushes,
    Failing::OneFlush,
    Failing::Superblocks,
    Failing::OneSuperblock,
    Failing::OneMember,
    Failing::TwoFlushes,
    Failing::TwoSuperblocks,
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
        let on = |member| match self {
            Self::BackupWrites => fault().on(file).kind(OpKind::Write),
            Self::BackupFlushes => fault().on(file).kind(OpKind::Flush),
            Self::MemberFlushes | Self::TwoFlushes => fault().on(member).kind(OpKind::Flush),
            Self::OneFlush => fault().on(member).kind(OpKind::Flush).times(1),
            Self::Superblocks | Self::TwoSuperblocks => {
                fault().on(member).kind(OpKind::Write).within(0..HEAD)
            }
            Self::OneSuperblock => fault().on(member).kind(OpKind::Write).within(0..HEAD).times(1),
            Self::OneMember | Self::TwoMembers => {
                fault().on(member).kind(OpKind::Write).within(HEAD..u64::MAX)
            }
        };
        world.inject(on(MEMBER));
        if self.is_of_two() {
            world.inject(on(OTHER));
        }
    }

    fn is_of_one(self) -> bool {
        match self {
            Self::MemberFlushes
            | Self::OneFlush
            | Self::Superblocks
            | Self::OneSuperblock
            | Self::OneMember => true,
            Self::BackupWrites
            | Self::BackupFlushes
            | Self::TwoFlushes
            | Self::TwoSuperblocks
            | Self::TwoMembers => false,
        }
    }

    fn is_of_two(self) -> bool {
        matches!(self, Self::TwoFlushes | Self::TwoSuperblocks | Self::TwoMembers)
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
        KINDS.into_iter().for_each(|kind| report.add(of_kind(&bench, kind)));
    }
    report
}

/// Takes the rule away that a member whose flush failed leaves: that nothing is lost then is a violation.
pub fn without_the_rule() -> Report {
    let mut report = Report::default();
    let rule = Some(Mutation::FailureIgnored);
    let mut found = Report::default();
    cases().for_each(|case| found.add(of_kind(&Bench::new(&case, rule), Failing::OneFlush)));
    report.expect_missed("rules of reshapes taken away", "who cannot be flushed leaves", &found);
    report
}

fn of_kind(bench: &Bench, kind: Failing) -> Report {
    let (case, mut report) = (&bench.case, Report::default());
    let world = bench.world(1);
    let ran = report.check(|| case.to_string(), || bench.go_on(&world, &mut mover(&world), &[]));
    let whole = if ran.is_some() { world.ops() } else { 0 };
    // Every moment counts: also while a position is recorded, or the last record written.
    let steps = if kind.is_of_one() { 64 } else { 8 };
    for step in 1..steps {
        let from = whole * step / steps;
        let id = || format!("{case}, {kind:?} from operation {from} on");
        let told = report.check(id, || fails(bench, kind, from));
        report.count("failures told", told.map_or(0, u64::from));
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
    // What a failed flush covered is lost with the power, not before.
    let after = world.snapshot().after(Crash::DropAll, from);
    after.silence_trace();
    match result {
        Ok(()) if failed && kind.is_of_one() => {
            bench.check(&after, &mut mover(&after), &[], &[MEMBER.0])?;
            return Ok(true);
        }
        Ok(()) if failed => return Err("it ended as if nothing had failed".into()),
        Err(error) if !failed => return Err(format!("nothing failed: {error}")),
        Err(error) if kind.is_of_one() => {
            return Err(format!("it ended though the array can do without the member: {error}"));
        }
        Ok(()) | Err(_) => {}
    }
    bench.go_on(&after, &mut mover(&after), &[])?;
    // One of the two may have failed first, alone, and have left.
    let doubtful = if kind.is_of_two() { vec![MEMBER.0, OTHER.0] } else { Vec::new() };
    bench.check(&after, &mut mover(&after), &[], &doubtful)?;
    Ok(failed)
}
