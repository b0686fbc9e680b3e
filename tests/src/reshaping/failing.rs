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
    /// A new disk that keeps the backup, as another one does.
    Keep,
    KeepFlushes,
    /// It cannot.
    TwoFlushes,
    TwoSuperblocks,
    TwoMembers,
    /// The file system that the member lies on is full: nobody is to leave.
    Full,
}

const KINDS: [Failing; 13] = [
    Failing::BackupWrites,
    Failing::BackupFlushes,
    Failing::MemberFlushes,
    Failing::OneFlush,
    Failing::Superblocks,
    Failing::OneSuperblock,
    Failing::OneMember,
    Failing::Keep,
    Failing::KeepFlushes,
    Failing::TwoFlushes,
    Failing::TwoSuperblocks,
    Failing::TwoMembers,
    Failing::Full,
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
            Self::Full => {
                let full = Fault::new(Effect::Error(Errno::NO_SPACE)).from_op(from);
                full.on(member).kind(OpKind::Write)
            }
            Self::OneMember | Self::TwoMembers | Self::Keep => {
                fault().on(member).kind(OpKind::Write).within(HEAD..u64::MAX)
            }
            Self::KeepFlushes => fault().on(member).kind(OpKind::Flush),
        };
        world.inject(on(self.member(bench)));
        if self.is_of_two() {
            world.inject(on(OTHER));
        }
    }

    /// Whether it has something to fail there that no other case has.
    fn suits(self, case: &Case) -> bool {
        let of_new = matches!(self, Self::Keep | Self::KeepFlushes);
        match case.mode {
            Mode::BackupOnSpares => of_new || self == Self::OneMember,
            Mode::BackupFile | Mode::DataOffset => !of_new,
        }
    }

    /// The disk that fails.
    fn member(self, bench: &Bench) -> DiskId {
        let added = bench.case.added();
        let keep = added.first().map(|(number, _)| DiskId(*number));
        if matches!(self, Self::Keep | Self::KeepFlushes) { keep.unwrap_or(MEMBER) } else { MEMBER }
    }

    fn is_of_one(self) -> bool {
        match self {
            Self::MemberFlushes
            | Self::OneFlush
            | Self::Superblocks
            | Self::OneSuperblock
            | Self::OneMember
            | Self::Keep
            | Self::KeepFlushes => true,
            Self::BackupWrites
            | Self::BackupFlushes
            | Self::TwoFlushes
            | Self::TwoSuperblocks
            | Self::TwoMembers
            | Self::Full => false,
        }
    }

    /// Whether it is of a disk that is added.
    fn is_of_new(self, bench: &Bench) -> bool {
        bench.is_added(self.member(bench).0)
    }

    fn is_of_two(self) -> bool {
        matches!(self, Self::TwoFlushes | Self::TwoSuperblocks | Self::TwoMembers)
    }
}

/// Growths and shrinks of whole RAID5 with a backup file, some in short windows, some in windows of many pieces; and
/// growths by two disks that both keep the backup.
fn cases() -> impl Iterator<Item = Case> {
    let is_whole =
        |case: &Case| case.level == Level::Raid5 && case.missing.is_none() && case.fill.is_none();
    let saved = move |case: &Case| case.mode == Mode::BackupFile && is_whole(case);
    let kept = move |case: &Case| {
        case.mode == Mode::BackupOnSpares && case.added().len() == 2 && is_whole(case)
    };
    all().into_iter().filter(saved).step_by(6).chain(all().into_iter().filter(kept).step_by(2))
}

/// Every kind, in each of the cases, from some operations of the reshape on.
pub fn everything() -> Report {
    let mut report = Report::default();
    for case in cases() {
        let bench = Bench::new(&case, None);
        let kinds = KINDS.into_iter().filter(|kind| kind.suits(&case));
        kinds.for_each(|kind| report.add(of_kind(&bench, kind)));
    }
    report
}

/// Takes the rules away that a member whose flush failed leaves, and that one does not that lies on a full file
/// system: that nothing is lost then, and nobody missing, is a violation.
pub fn without_the_rules() -> Report {
    let mut report = Report::default();
    let rules = [
        ("who cannot be flushed leaves", Mutation::FailureIgnored, Failing::OneFlush),
        ("who has no room stays", Mutation::FullLeaves, Failing::Full),
    ];
    for (rule, mutation, kind) in rules {
        let mut found = Report::default();
        cases().for_each(|case| found.add(of_kind(&Bench::new(&case, Some(mutation)), kind)));
        report.expect_missed("rules of reshapes taken away", rule, &found);
    }
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
            bench.check(&after, &mut mover(&after), &[], &[kind.member(bench).0])?;
            return Ok(true);
        }
        Ok(()) if failed => return Err("it ended as if nothing had failed".into()),
        Err(error) if !failed => return Err(format!("nothing failed: {error}")),
        // A disk that fails while it is added is none.
        Err(error) if kind.is_of_new(bench) && is_of_newcomer(&error) => {}
        Err(error) if kind.is_of_one() => {
            return Err(format!("it ended though the array can do without the member: {error}"));
        }
        Ok(()) | Err(_) => {}
    }
    bench.go_on(&after, &mut mover(&after), &[])?;
    // One of the two may have failed first, alone, and have left.
    let doubtful = if kind.is_of_two() {
        vec![MEMBER.0, OTHER.0]
    } else if kind.is_of_one() {
        vec![kind.member(bench).0]
    } else {
        Vec::new()
    };
    bench.check(&after, &mut mover(&after), &[], &doubtful)?;
    Ok(failed)
}

/// Whether a command stopped because of a disk that it was about to add.
fn is_of_newcomer(error: &str) -> bool {
    error.contains("was to become a member") || error.contains("cannot write")
}
