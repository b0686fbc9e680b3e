//! Whether the recorded position is believed, and why: what is asked, in which order, and what follows.
//!
//! The order is that of what may be wrong in silence, then of what an answer costs: who turned the reshape around,
//! whether a backup vouches where nothing else does, whether a critical section has any ground, what the old stripes
//! say, what stands around the position, and everything on the members. [`judge`] is pure: from what is known to a
//! judgement, or to the question whose answer is needed. [`Inquiry`] asks the members.

use kcopy::{Device, SECTOR_SIZE};

use super::{
    Finding, Judged, SalvageError, Unvouched, Verdict, find, goes_together, is_proven, unvouched,
};
use crate::array::Members;
use crate::assemble::{Assembly, Member, Shapes};
use crate::exec::{BackupVerdict, Ongoing};
use crate::metadata::Direction;
use crate::mover::Mover;
use crate::units::ArraySector;

/// What the record is needed for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Purpose {
    /// To read. Who reads finds the ground of a critical section by itself.
    #[default]
    Read,
    /// To read, and there is no such ground.
    ReadBare,
    /// To go on, either way. Old stripes are compared with their parity before they are moved.
    GoOn,
    /// The same, and whoever asked takes a critical section as it is.
    GoOnBlind,
    /// To take a reshape back of which nothing was moved: the ground of its critical section is all that matters.
    TakeBack,
}

/// What can be asked, the cheapest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Question {
    /// Why no backup vouches for the record, where nothing else does.
    Backups,
    /// Whether a critical section lacks a backup, and proof that nothing of it was overwritten.
    Ground,
    /// Whether all content goes together as if the record were right.
    Content,
    /// Whether the old stripes that come next verify, where the new ones have no parity.
    OldStripes,
    /// Whether what stands around the position proves it.
    Around,
    /// What all that is on the members says.
    Everything,
}

impl Question {
    /// Whether an answer may take as long as reading all members.
    pub fn is_long(self) -> bool {
        match self {
            Self::Around | Self::Everything => true,
            Self::Backups | Self::Ground | Self::Content | Self::OldStripes => false,
        }
    }
}

/// Why a record is believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// Nothing speaks against it, and nothing more can be asked: data stays at its offset.
    Unopposed,
    /// All content goes together so; what backups hold is not to be put back.
    Content,
    /// Old stripes tell: they are compared before they are moved, or were.
    OldStripes,
    /// What stands around the position proves it.
    Around,
    /// All that is on the members agrees, or nothing of it could say otherwise.
    Everything,
}

/// Why it is not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WhyNot {
    /// mdadm turned the reshape around in place.
    Turned,
    /// Only a backup could vouch for it, and does not.
    Backup(Unvouched),
    /// Members are torn against each other around it.
    Torn,
    /// What stands on the members says another position.
    Stands(ArraySector),
    /// So many sectors are nowhere on the members.
    Lost(u64),
    /// The members allow several positions.
    Several,
}

/// What is said of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Judgement {
    /// It is right.
    Believed(Why),
    /// All that is on the members and a backup that goes on from there say this position; the record is behind.
    Behind(ArraySector),
    /// It may be wrong.
    Disbelieved(WhyNot),
    /// This has to be known first.
    Ask(Question),
}

/// What everything on the members says, as far as it matters here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Found {
    verdict: Verdict,
    resume: ArraySector,
    is_as_recorded: bool,
    /// It is told where the front is.
    is_sure: bool,
    /// Sectors that are lost.
    lost: u64,
    /// Of none of them it is known that they are, and nothing that was seen speaks against the front.
    is_untold: bool,
    /// The position can be recorded, is further on, and a backup that is believed begins there.
    is_saved_from: bool,
}

/// What is known of a reshape under way; `None` was not asked yet.
#[derive(Clone, Copy, Debug, Default)]
struct Known {
    purpose: Purpose,
    is_turned: bool,
    /// Data moves to another offset.
    moves: bool,
    /// The content is spread over more members than before, or fewer.
    is_resized: bool,
    /// Old stripes contradict their parity where the record is behind.
    parity_tells: bool,
    /// A backup that is needed holds what does not go on from the record.
    is_saved_elsewhere: bool,
    /// The driver may have run ahead of a backup of mdadm's, and rows tell.
    may_be_ahead: bool,
    unvouched: Option<Option<Unvouched>>,
    lacks_ground: Option<bool>,
    goes_together: Option<bool>,
    old_stripes: Option<bool>,
    around: Option<bool>,
    found: Option<Found>,
}

/// What is said of the record, or what has to be known first.
fn judge(known: &Known) -> Judgement {
    use Judgement::{Ask, Behind, Believed, Disbelieved};
    if known.is_turned {
        return Disbelieved(WhyNot::Turned);
    }
    let Some(unvouched) = known.unvouched else { return Ask(Question::Backups) };
    let lacks_ground = match (known.purpose, known.lacks_ground) {
        _ if unvouched.is_some() => true,
        (Purpose::ReadBare, _) => true,
        (Purpose::Read | Purpose::GoOnBlind, _) => false,
        (Purpose::GoOn | Purpose::TakeBack, None) => return Ask(Question::Ground),
        (Purpose::GoOn | Purpose::TakeBack, Some(lacks)) => lacks,
    };
    match (lacks_ground, known.goes_together, unvouched) {
        (true, None, _) => return Ask(Question::Content),
        (true, Some(true), _) => return Believed(Why::Content),
        (true, Some(false), Some(why)) => return Disbelieved(WhyNot::Backup(why)),
        // For want of ground whoever goes on is refused later.
        (true, Some(false), None) | (false, _, _) => {}
    }
    if known.purpose == Purpose::TakeBack {
        return Believed(Why::Unopposed);
    }
    if known.is_saved_elsewhere || known.may_be_ahead {
        let Some(found) = known.found else { return Ask(Question::Everything) };
        let is_elsewhere = found.is_sure && !found.is_as_recorded;
        if known.is_saved_elsewhere
            && is_elsewhere
            && found.is_saved_from
            && found.verdict == Verdict::Found
        {
            return Behind(found.resume);
        }
        if known.may_be_ahead && is_elsewhere {
            return Disbelieved(WhyNot::Stands(found.resume));
        }
    }
    if !known.moves || known.purpose == Purpose::ReadBare {
        return Believed(Why::Unopposed);
    }
    let is_told = match (known.purpose, known.old_stripes) {
        (Purpose::GoOn | Purpose::GoOnBlind | Purpose::TakeBack, _) => known.parity_tells,
        (Purpose::Read | Purpose::ReadBare, None) => return Ask(Question::OldStripes),
        (Purpose::Read | Purpose::ReadBare, Some(told)) => told,
    };
    if is_told {
        return Believed(Why::OldStripes);
    }
    match (known.around, &known.found) {
        (None, _) => Ask(Question::Around),
        (Some(true), _) => Believed(Why::Around),
        (Some(false), None) => Ask(Question::Everything),
        (Some(false), Some(found)) => weigh(known, found),
    }
}

/// What everything on the members says of the record.
fn weigh(known: &Known, found: &Found) -> Judgement {
    let believed = Judgement::Believed(Why::Everything);
    match found.verdict {
        Verdict::AsRecorded => believed,
        Verdict::Found if found.is_as_recorded => Judgement::Disbelieved(WhyNot::Torn),
        Verdict::Found => Judgement::Disbelieved(WhyNot::Stands(found.resume)),
        // Of nothing it is known that it is lost, and nothing speaks for another position: content may be too uniform
        // to tell.
        Verdict::Lost if found.is_untold && found.is_as_recorded && known.is_resized => believed,
        Verdict::Lost => Judgement::Disbelieved(WhyNot::Lost(found.lost)),
        // Where a growth without parity was turned around nothing can speak against the record; and with the
        // number of members changed the driver records no wrong one.
        Verdict::Ambiguous if known.is_resized => believed,
        Verdict::Ambiguous => Judgement::Disbelieved(WhyNot::Several),
    }
}

/// Asks the members of a reshape under way whether its record is right.
#[derive(Debug)]
pub struct Inquiry<'a> {
    assembly: &'a Assembly,
    members: &'a Members,
    recorded: ArraySector,
    files: &'a [Device],
    verdicts: &'a [BackupVerdict],
    /// `None`: it cannot go on as it is recorded, but may be read.
    ongoing: Option<Ongoing>,
    known: Known,
    finding: Option<Finding>,
}

impl<'a> Inquiry<'a> {
    /// About what `assembly` of `members` records, with the backups in `files` and on members; `verdicts` says what
    /// became of each.
    ///
    /// # Errors
    ///
    /// No reshape is recorded.
    pub fn new(
        purpose: Purpose,
        (assembly, members): (&'a Assembly, &'a Members),
        files: &'a [Device],
        verdicts: &'a [BackupVerdict],
    ) -> Result<Self, SalvageError> {
        let Shapes::Moving { old, new, reshape } = &assembly.shapes else {
            return Err(SalvageError::NotReshaping);
        };
        let ongoing = Ongoing::new(assembly.clone(), members.clone()).ok();
        let moves = |member: &Member| member.new_data_offset != member.data_offset;
        let of = |holds: &dyn Fn(&Ongoing) -> bool| ongoing.as_ref().is_some_and(holds);
        let known = Known {
            purpose,
            is_turned: purpose != Purpose::TakeBack
                && of(&|ongoing| ongoing.is_turned_by_others(verdicts)),
            moves: assembly.members.iter().any(moves),
            is_resized: old.sectors() != new.sectors(),
            parity_tells: of(&Ongoing::parity_tells),
            may_be_ahead: of(&|ongoing| ongoing.may_be_ahead(verdicts)),
            is_saved_elsewhere: of(&|ongoing| ongoing.is_saved_elsewhere(verdicts)),
            unvouched: (ongoing.is_none() || purpose == Purpose::TakeBack).then_some(None),
            ..Known::default()
        };
        let recorded = reshape.position;
        Ok(Self { assembly, members, recorded, files, verdicts, ongoing, known, finding: None })
    }

    /// What is said of the record, or what has to be asked first.
    pub fn judgement(&self) -> Judgement {
        judge(&self.known)
    }

    /// The recorded position.
    pub fn recorded(&self) -> ArraySector {
        self.recorded
    }

    /// What there is to be read of all members.
    pub fn bytes(&self) -> u64 {
        let count = u64::try_from(self.members.devices.len()).unwrap_or(1);
        self.assembly.component.get().saturating_mul(SECTOR_SIZE).saturating_mul(count)
    }

    /// What everything on the members says, if that was asked.
    pub fn finding(&self) -> Option<&Finding> {
        self.finding.as_ref()
    }

    /// Asks. `moved` is called with the bytes read so far by what takes long, and returns false to stop early.
    ///
    /// # Errors
    ///
    /// Members are missing, or cannot be read.
    pub fn ask(
        &mut self,
        mover: &mut Mover,
        question: Question,
        moved: &mut dyn FnMut(u64) -> bool,
    ) -> Result<(), SalvageError> {
        let (members, assembly) = (self.members, self.assembly);
        let ongoing = self.ongoing.as_ref();
        let known = &mut self.known;
        match question {
            Question::Backups => {
                known.unvouched = Some(unvouched(mover, members, assembly, self.files)?);
            }
            Question::Ground => {
                let lacks = ongoing.map(|ongoing| ongoing.lacks_ground(mover, self.verdicts));
                known.lacks_ground = Some(lacks.transpose()?.flatten().is_some());
            }
            Question::Content => {
                known.goes_together = Some(goes_together(mover, members, assembly)?);
            }
            Question::OldStripes => {
                let told = ongoing.map(|ongoing| ongoing.is_told_by_old_stripes(mover));
                known.old_stripes = Some(told.transpose()?.unwrap_or(false));
            }
            Question::Around => {
                known.around = Some(is_proven(mover, members, assembly, moved)?);
            }
            Question::Everything => {
                let finding = find(mover, members, assembly, self.files, moved)?;
                known.found = Some(Found::of(&finding));
                self.finding = Some(finding);
            }
        }
        Ok(())
    }
}

impl Found {
    fn of(finding: &Finding) -> Self {
        Self {
            verdict: finding.verdict,
            resume: finding.resume,
            is_as_recorded: finding.resume == finding.recorded,
            is_sure: finding.is_sure(),
            lost: finding.lost.iter().map(|range| range.sectors.get()).sum(),
            is_untold: finding.lost == finding.open && finding.witnesses.contradicting == 0,
            is_saved_from: finding.is_recordable() && is_saved_from(finding),
        }
    }
}

/// Whether a backup that is believed begins where all else says that the reshape stands, further on than recorded: the
/// driver records only what it has moved.
fn is_saved_from(finding: &Finding) -> bool {
    let is_further = match finding.direction {
        Direction::Forwards => finding.resume > finding.recorded,
        Direction::Backwards => finding.resume < finding.recorded,
    };
    is_further
        && finding.backups.iter().any(|note| match &note.judged {
            Judged::Believed { sections } => {
                let near = match finding.direction {
                    Direction::Forwards => sections.iter().map(|section| section.start.get()).min(),
                    Direction::Backwards => sections.iter().map(|section| section.end()).max(),
                };
                near == Some(finding.resume.get())
            }
            Judged::Empty { .. }
            | Judged::Foreign
            | Judged::Contradicts
            | Judged::Unsure { .. }
            | Judged::Damaged
            | Judged::CutOff
            | Judged::Unreadable(_) => false,
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn known(purpose: Purpose) -> Known {
        Known { purpose, moves: true, unvouched: Some(None), ..Known::default() }
    }

    fn found(verdict: Verdict) -> Found {
        let resume = ArraySector::new(640);
        let is_as_recorded = verdict == Verdict::AsRecorded;
        Found {
            verdict,
            resume,
            is_as_recorded,
            is_sure: verdict != Verdict::Ambiguous,
            lost: 0,
            is_untold: false,
            is_saved_from: false,
        }
    }

    /// Everything was read, and said this.
    fn read(known: Known, found: Found) -> Known {
        let (old_stripes, around, lacks_ground) = (Some(false), Some(false), Some(false));
        Known { old_stripes, around, lacks_ground, found: Some(found), ..known }
    }

    fn expect(table: &[(&str, Known, Judgement)]) {
        for (case, known, expected) in table {
            assert_eq!(judge(known), *expected, "{case}: {known:?}");
        }
    }

    #[test]
    fn what_is_wrong_in_silence_comes_before_all_that_agrees() {
        use Judgement::{Ask, Believed, Disbelieved};
        let (here, on) = (known(Purpose::Read), known(Purpose::GoOn));
        let passed = Some(Some(Unvouched::Passed));
        let why_not = Disbelieved(WhyNot::Backup(Unvouched::Passed));
        let together = |goes| Known { goes_together: Some(goes), ..on };
        expect(&[
            ("turned", Known { is_turned: true, ..read(on, found(Verdict::AsRecorded)) }, {
                Disbelieved(WhyNot::Turned)
            }),
            ("backups first", Known { unvouched: None, ..on }, Ask(Question::Backups)),
            ("content overrules", Known { unvouched: passed, ..here }, Ask(Question::Content)),
            ("it does", Known { unvouched: passed, ..together(true) }, Believed(Why::Content)),
            ("it does not", Known { unvouched: passed, ..together(false) }, why_not),
            (
                "old stripes do not",
                Known { parity_tells: true, unvouched: passed, ..together(false) },
                why_not,
            ),
        ]);
    }

    #[test]
    fn a_critical_section_wants_ground_from_those_who_go_on() {
        use Judgement::{Ask, Believed};
        let (on, back) = (known(Purpose::GoOn), known(Purpose::TakeBack));
        let lacks = |known: Known, goes_together| Known {
            lacks_ground: Some(true),
            goes_together,
            ..known
        };
        expect(&[
            ("ground", on, Ask(Question::Ground)),
            ("who reads has its own", known(Purpose::Read), Ask(Question::OldStripes)),
            ("who is blind asks none", known(Purpose::GoOnBlind), Ask(Question::Around)),
            ("content is ground", lacks(on, None), Ask(Question::Content)),
            ("that is there", lacks(on, Some(true)), Believed(Why::Content)),
            ("that is not", lacks(on, Some(false)), Ask(Question::Around)),
            ("who reads without", known(Purpose::ReadBare), Ask(Question::Content)),
            (
                "which is none",
                lacks(known(Purpose::ReadBare), Some(false)),
                Believed(Why::Unopposed),
            ),
            ("to take back", back, Ask(Question::Ground)),
            ("by content", lacks(back, Some(true)), Believed(Why::Content)),
            ("by nothing", lacks(back, Some(false)), Believed(Why::Unopposed)),
        ]);
    }

    #[test]
    fn who_moves_old_stripes_compares_them_and_who_reads_looks_first() {
        use Judgement::{Ask, Believed};
        let on = Known { lacks_ground: Some(false), ..known(Purpose::GoOn) };
        let here = known(Purpose::Read);
        expect(&[
            ("data stays", Known { moves: false, ..on }, Believed(Why::Unopposed)),
            ("compared later", Known { parity_tells: true, ..on }, Believed(Why::OldStripes)),
            ("not compared", on, Ask(Question::Around)),
            ("looked at now", Known { parity_tells: true, ..here }, Ask(Question::OldStripes)),
            ("they verify", Known { old_stripes: Some(true), ..here }, Believed(Why::OldStripes)),
            ("they say nothing", Known { old_stripes: Some(false), ..here }, Ask(Question::Around)),
            ("around", Known { around: Some(true), ..on }, Believed(Why::Around)),
            ("no proof", Known { around: Some(false), ..on }, Ask(Question::Everything)),
        ]);
    }

    #[test]
    fn everything_tells_in_the_end() {
        use Judgement::{Believed, Disbelieved};
        let on = known(Purpose::GoOn);
        let resized = Known { is_resized: true, ..on };
        let there = Found { is_as_recorded: true, ..found(Verdict::Found) };
        let lost = Found { lost: 8, is_as_recorded: true, ..found(Verdict::Lost) };
        let untold = Found { is_untold: true, ..lost };
        let everything = Believed(Why::Everything);
        expect(&[
            ("right", read(on, found(Verdict::AsRecorded)), everything),
            ("torn", read(on, there), Disbelieved(WhyNot::Torn)),
            ("wrong", read(on, found(Verdict::Found)), {
                Disbelieved(WhyNot::Stands(ArraySector::new(640)))
            }),
            ("lost", read(resized, lost), Disbelieved(WhyNot::Lost(8))),
            ("not told", read(resized, untold), everything),
            ("not told in place", read(on, untold), Disbelieved(WhyNot::Lost(8))),
            ("several", read(on, found(Verdict::Ambiguous)), Disbelieved(WhyNot::Several)),
            ("several of a size", read(resized, found(Verdict::Ambiguous)), everything),
        ]);
    }

    #[test]
    fn a_record_is_behind_only_if_a_backup_and_all_the_rest_say_one_place() {
        use Judgement::{Ask, Behind, Believed};
        for purpose in [Purpose::Read, Purpose::GoOn, Purpose::GoOnBlind] {
            let known = Known {
                is_saved_elsewhere: true,
                moves: false,
                lacks_ground: Some(false),
                ..known(purpose)
            };
            let said = |found| Known { found: Some(found), ..known };
            let saved = Found { is_saved_from: true, ..found(Verdict::Found) };
            expect(&[
                ("everything", known, Ask(Question::Everything)),
                ("both", said(saved), Behind(ArraySector::new(640))),
                ("no backup", said(found(Verdict::Found)), Believed(Why::Unopposed)),
                ("lost", said(Found { verdict: Verdict::Lost, ..saved }), Believed(Why::Unopposed)),
                (
                    "as recorded",
                    said(Found { is_as_recorded: true, ..saved }),
                    Believed(Why::Unopposed),
                ),
                (
                    "the driver ran ahead",
                    Known { may_be_ahead: true, ..said(found(Verdict::Found)) },
                    { Judgement::Disbelieved(WhyNot::Stands(ArraySector::new(640))) },
                ),
                ("behind all the same", Known { may_be_ahead: true, ..said(saved) }, {
                    Behind(ArraySector::new(640))
                }),
                ("not sure", Known { may_be_ahead: true, ..said(found(Verdict::Ambiguous)) }, {
                    Believed(Why::Unopposed)
                }),
                (
                    "it may have",
                    Known { may_be_ahead: true, is_saved_elsewhere: false, ..known },
                    { Ask(Question::Everything) },
                ),
                ("elsewhere is nowhere", Known { is_saved_elsewhere: false, ..said(saved) }, {
                    Believed(Why::Unopposed)
                }),
            ]);
        }
    }
}
