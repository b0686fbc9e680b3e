//! Arrays whose recorded reshape position is wrong, torn or missing.
//!
//! The recorded position is a claim; what stands on the members is the evidence. Everything is read
//! once, and the front is the place that contradicts the least of it:
//!
//! | module | what |
//! |---|---|
//! | `walk` | pure: when each sector is written to its new place, and when its old one is overwritten |
//! | `front` | pure: from what was seen to where the front is |
//! | `inquiry` | whether the recorded position is believed, and why: the order in which evidence counts |
//! | `look` | rows, units and backups, read through jobs of the copy engine |
//! | `overrun` | what a second walk has overwritten, put together from where it has carried it |
//! | `neighbours` | in place: whether content goes together better as if it had been moved |
//! | `together` | in place: where all content says that the walk has come to |
//! | `near` | whether the recorded position is right, without reading everything |
//! | `zone` | around the front: which block of which member is new |
//! | `content` | the content as it was found, to be read |
//! | `doubt` | what nothing but a backup could prove, and whether one does |
//! | `saved` | backups, and whether they may be believed |
//! | `strange` | what a backup holds that nothing on the members explains |
//! | `reach` | pure: what too few members leave out |
//! | `put` | the superblocks, put right |
//! | `mend` | members that are torn against each other, put right |
//! | `vouch` | what a missing backup would have told, in a new one |
//!
//! Three witnesses speak. *Parity*: a row that verifies as a stripe of one geometry only. (P alone is
//! the sum over all members: where their number does not change, a row verifies in both.)
//! *Agreement*: behind the front what was moved still stands at its old place as well, until that
//! is overwritten; this band ends at the front, and needs no parity. *Backups*: what they hold
//! stands at the new place or at the old one.
//!
//! Content without any marks (zeros, the same few bytes over and over) is no evidence; where that is
//! all there is, the recorded position counts. `docs/design/0019-salvage.md` has the reasons.

mod content;
mod costs;
mod doubt;
mod front;
mod inquiry;
mod look;
mod mend;
mod near;
mod neighbours;
mod overrun;
mod put;
mod reach;
mod saved;
mod strange;
#[cfg(test)]
mod tests;
mod together;
mod vouch;
mod walk;
mod zone;

use std::ops::{Range as Times, RangeInclusive};

use kcopy::Device;
use smallvec::SmallVec;

use crate::array::{Array, ArrayError, Backup, Members, Range, RecordError, View};
use crate::assemble::{Assembly, Member, Shapes, readmit};
use crate::exec::{ExecError, Ongoing};
use crate::metadata::{Direction, Reshape};
use crate::mover::Mover;
use crate::units::{ArraySector, Slot};

use content::Source;
use doubt::{Doubt, turned};
use front::{Decision, Evidence, decide};
use look::Look;
use overrun::Overrun;
use walk::{UNIT, Walk};
use zone::{Found, Zone};

pub use content::Content;
pub use doubt::{Unvouched, goes_together, unvouched};
pub use inquiry::{Inquiry, Judgement, Purpose, Question, Why, WhyNot};
pub use mend::mend;
pub use near::is_proven;
pub use put::record;
pub use saved::{BackupNote, Judged};
pub use vouch::{Asks, asks_for, vouch};
pub use zone::Side;

/// Why nothing can be found out, or put right.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SalvageError {
    /// There is nothing to find.
    #[error("no reshape is recorded on any member")]
    NotReshaping,
    /// Members are torn against each other.
    #[error(
        "the members are torn against each other around the front: no position reads all of them \
         rightly, and nothing is recorded"
    )]
    NotRecordable,
    /// What is recorded would not be sure.
    #[error("the evidence does not say where the front is: nothing is recorded")]
    NotSure,
    /// Who is not here would be left out of the array by what is recorded on the others.
    #[error(
        "too few members: without the others some content is out of reach, and nothing is recorded"
    )]
    TooFewMembers,
    /// The array.
    #[error(transparent)]
    Array(#[from] ArrayError),
    /// The superblocks.
    #[error(transparent)]
    Record(#[from] RecordError),
    /// What was begun to be mended. What the members and the new backup hold together is whole.
    #[error(transparent)]
    Exec(#[from] ExecError),
}

/// What a member records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Claim {
    /// The member's index among those given.
    pub candidate: usize,
    /// The recorded position (`reshape_position`); `None`: no reshape is recorded there.
    pub position: Option<ArraySector>,
    /// The member's count of changes.
    pub events: u64,
}

/// Units of 4 KiB: rows of stripes, or places of content.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// They are as they have to be, and would not be so otherwise.
    pub verified: u64,
    /// They would be the same in either case.
    pub unknown: u64,
    /// They are not as they have to be.
    pub contradicting: u64,
}

/// What speaks for and against the front that was found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Witnesses {
    /// Rows of new stripes, where the front has passed.
    pub new_rows: Counts,
    /// Rows of old stripes, where it has not.
    pub old_rows: Counts,
    /// Units that stand at their old and at their new place because the front is where it is.
    pub agreeing: u64,
    /// Units of which a backup tells whether they were moved.
    pub saved: u64,
    /// Rows around the front that verify as neither: members are torn against each other.
    pub torn: u64,
    /// All statements that speak against the front.
    pub contradicting: u64,
}

/// What was found, in one word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The recorded position is right: all content can be read from it on.
    AsRecorded,
    /// It is wrong, torn or missing; the front was found and all content is there.
    Found,
    /// The evidence allows several fronts: content may be read from the wrong place. Or some may have been moved
    /// twice ([`Finding::turned`]).
    Ambiguous,
    /// Some content is nowhere, or only where a second walk has carried it ([`Content::carried`]), of which
    /// nothing proves that it is the right one.
    Lost,
}

/// What was found out about an interrupted reshape.
#[derive(Clone, Debug)]
pub struct Finding {
    /// What the members record.
    pub claims: Vec<Claim>,
    /// The position that the freshest of them records.
    pub recorded: ArraySector,
    /// The way of the reshape.
    pub direction: Direction,
    /// The front lies between these positions: before the first all is new, behind the last old
    /// (the other way round if the reshape goes backwards).
    pub front: RangeInclusive<ArraySector>,
    /// The position to go on from.
    pub resume: ArraySector,
    /// What speaks for it.
    pub witnesses: Witnesses,
    /// Sectors whose content is nowhere.
    pub lost: Vec<Range>,
    /// Sectors that may be read from the wrong place, as the evidence does not tell.
    pub open: Vec<Range>,
    /// Of these, those among which mdadm may have moved some twice when it turned the reshape around in place. Where
    /// the front is does not depend on it.
    pub turned: Option<Range>,
    /// Backups, and what became of them.
    pub backups: Vec<BackupNote>,
    /// The verdict.
    pub verdict: Verdict,
    /// The content, to be read.
    pub content: Content,
    /// Whether all content is read by `resume` alone, and by the backups.
    by_position: bool,
    /// Whether the evidence tells where the front is.
    is_sure: bool,
    /// Whole stripes of both geometries around all that may have to be read block by block.
    around: Option<Range>,
    /// Whether members that are not here would have some of what is lost.
    too_few: bool,
    /// Members (indices of candidates) that were left behind, and are read as the array cannot do without them: what
    /// only they have is among `open`.
    pub readmitted: Vec<usize>,
}

impl Finding {
    /// Whether the position can be recorded: whoever goes on from there reads what is to be read.
    pub fn is_recordable(&self) -> bool {
        self.by_position && self.is_sure && !self.too_few
    }

    /// Whether the evidence tells where the front is.
    pub fn is_sure(&self) -> bool {
        self.is_sure
    }

    /// Whether nothing is lost, and it is known where everything stands; but for what may have been moved twice.
    pub fn is_settled(&self) -> bool {
        self.is_whole() || (self.verdict == Verdict::Ambiguous && self.is_sure)
    }

    /// Whether some of what is lost is so only because too few members are here.
    pub fn lacks_members(&self) -> bool {
        self.too_few
    }

    /// Whether all content is there, and known to be.
    pub fn is_whole(&self) -> bool {
        matches!(self.verdict, Verdict::AsRecorded | Verdict::Found)
    }
}

/// Reads everything on the members of a reshape under way, and the backups in `files`, and finds
/// the front. Writes nothing.
///
/// `moved` is called with the bytes read so far; it returns false to stop early.
///
/// # Errors
///
/// No reshape is recorded, members are missing, or the backend broke. What cannot be read is
/// reported as lost.
pub fn find(
    mover: &mut Mover,
    members: &Members,
    assembly: &Assembly,
    files: &[Device],
    moved: &mut dyn FnMut(u64) -> bool,
) -> Result<Finding, SalvageError> {
    let readmitted = readmit(&members.candidates, assembly);
    let (assembly, back) =
        readmitted.as_ref().map_or((assembly, &[][..]), |(all, back)| (all, back));
    let Readings { reshape, old, new, walk } = Readings::open(members, assembly)?;
    let (judged, mut backups) = saved::gather(mover, members, assembly, files);
    let evidence = Look::new(mover, &walk, &old, &new).run(&judged, moved)?;
    let claims = claims(members, assembly);
    let usable = saved::usable(&evidence, &walk, &judged, reshape.position, &mut backups);
    let spared = |unit: u64| saved::overlay(&usable, unit).is_some();
    let mut positions = positions(&claims, reshape);
    let ahead = saved::ahead((&evidence, &walk), (&judged, &usable), reshape.position);
    positions.splice(0..0, ahead);
    let decision = decide(&evidence, &walk, &positions, &spared);
    let mut search = Search { mover, walk: &walk, old: &old, new: &new, usable: &usable };
    let mut located = search.locate(&decision);
    let at_risk = Ongoing::new(assembly.clone(), members.clone()).ok();
    let at_risk = at_risk.filter(Ongoing::is_critical).map(|ongoing| ongoing.at_risk());
    let views = (&old, &new);
    let doubt = Doubt { evidence: &evidence, walk: &walk, views, judged: &judged, usable: &usable };
    let updated = assembly.update_time.seconds;
    located.unproven = doubt.unproven(mover, &decision, (&backups, updated), at_risk);
    let (mut decision, mut settled) = (decision, None);
    if located.unproven.is_some() && evidence.is_torn.before(walk.total()) == 0 {
        settled = together::place(mover, &walk, views, reshape.position);
    }
    if let Some(place) = settled {
        // Then all content stands on the members, and no backup is needed.
        decision = Decision::at(&walk, place, reshape.position);
        let mut search = Search { mover, walk: &walk, old: &old, new: &new, usable: &[] };
        located = search.locate(&decision);
        saved::leave_out(&walk, place, &mut backups);
    }
    located.turned = turned(&walk, &decision, (&judged, &backups));
    located.readmitted = back.to_vec();
    let slots: Vec<Slot> = slots_of(assembly, back);
    located.open.extend(located.content.only_on(&slots));
    Ok(conclude(&walk, reshape, claims, (&evidence, &decision), backups, located))
}

/// Both readings of an array whose reshape is under way, and the order in which it goes from one to the other.
struct Readings<'a> {
    reshape: &'a Reshape,
    old: View,
    new: View,
    walk: Walk,
}

impl<'a> Readings<'a> {
    fn open(members: &Members, assembly: &'a Assembly) -> Result<Self, SalvageError> {
        let Shapes::Moving { reshape, .. } = &assembly.shapes else {
            return Err(SalvageError::NotReshaping);
        };
        let array = Array::open_forced(assembly, &members.devices, &members.bad)?;
        let (old, new) = array.views().ok_or(SalvageError::NotReshaping)?;
        let (old, new) = (before(old), after(new, reshape.direction));
        let walk = Walk::new(&old, &new, reshape.direction);
        Ok(Self { reshape, old, new, walk })
    }
}

/// The slots of some candidates.
fn slots_of(assembly: &Assembly, candidates: &[usize]) -> Vec<Slot> {
    let members = assembly.members.iter().filter(|member| candidates.contains(&member.candidate));
    members.filter_map(|member| member.slot).collect()
}

/// The old reading: a member that is being filled is none of it, unless it cannot be done without.
fn before(view: &View) -> View {
    let mut old = view.clone();
    for (slot, leg) in view.legs() {
        if leg.is_some_and(|leg| leg.good_to.is_some()) {
            old.set_leg(slot, None);
        }
    }
    if old.geometry().enough(|slot| old.leg(slot).is_some()) { old } else { view.clone() }
}

/// The new reading: how far members that the reshape adds are filled is what is to be found. One that goes backwards
/// adds none; those of a growth that was turned around had no parity where that had not come to.
fn after(view: &View, direction: Direction) -> View {
    let mut new = view.clone();
    for (slot, _) in view.legs().filter(|_| direction == Direction::Forwards) {
        if let Some(leg) = new.leg_mut(slot) {
            leg.good_to = None;
        }
    }
    new
}

fn claims(members: &Members, assembly: &Assembly) -> Vec<Claim> {
    let claim = |member: &Member| {
        let superblock = &members.candidates.get(member.candidate)?.superblock;
        let position = superblock.reshape().map(|reshape| reshape.position);
        Some(Claim { candidate: member.candidate, position, events: member.events })
    };
    assembly.members.iter().filter(|member| member.is_usable()).filter_map(claim).collect()
}

/// Recorded positions, that of the freshest superblock first.
fn positions(claims: &[Claim], reshape: &Reshape) -> Vec<ArraySector> {
    let mut positions = vec![reshape.position];
    let mut others: Vec<Claim> = claims.to_vec();
    others.sort_by_key(|claim| std::cmp::Reverse(claim.events));
    for position in others.iter().filter_map(|claim| claim.position) {
        if !positions.contains(&position) {
            positions.push(position);
        }
    }
    positions
}

/// What is needed to tell where each sector is.
struct Search<'a> {
    mover: &'a mut Mover,
    walk: &'a Walk,
    old: &'a View,
    new: &'a View,
    usable: &'a [Backup],
}

/// The content, and how much of the way to it is open.
struct Located {
    content: Content,
    /// What may be read from the wrong place.
    open: Vec<Range>,
    /// Whether all of it is read by the resume position alone, and by the backups.
    by_position: bool,
    /// Whole stripes around all that was settled one by one.
    around: Option<Range>,
    /// What only a backup that is not here could tell.
    unproven: Option<Range>,
    /// What may have been moved twice.
    turned: Option<Range>,
    /// Whether too few members are here.
    too_few: bool,
    /// Members that were left behind, and are read for want of others.
    readmitted: Vec<usize>,
}

impl Search<'_> {
    fn locate(&mut self, decision: &Decision) -> Located {
        let walk = self.walk;
        let mut content = Content::new(self.old.clone(), self.new.clone(), walk.content());
        let keeps = walk.lacks_members() && !walk.verifies();
        let (low, high) = match keeps {
            true => saved::around(self.usable, window(walk, decision), walk.content()),
            false => window(walk, decision),
        };
        let (below, above) = match walk.direction() {
            Direction::Forwards => (Side::New, Side::Old),
            Direction::Backwards => (Side::Old, Side::New),
        };
        let mut zone = Zone::new(self.mover, walk, (self.old, self.new), decision.front.clone());
        if (low..high).any(|unit| side_of(walk, decision, unit).is_none()) {
            zone.settle();
        }
        let overrun = decision.overrun.clone().map(|units| Overrun::new(walk, units));
        content.set_overrun(overrun.clone());
        let mut push = |units: Times<u64>, source: Source| {
            let range = Range::new(units.start * UNIT, (units.end - units.start) * UNIT);
            for (range, source) in cut(range, source, (overrun.as_ref(), self.new)) {
                content.push(range, source);
            }
        };
        let all = |side| Source::View(side, SmallVec::new());
        let (mut open, mut by_position) = (Vec::new(), true);
        push(0..low, all(below));
        for unit in low..high {
            let saved = saved::overlay(self.usable, unit);
            let by = if unit * UNIT < decision.resume.get() { below } else { above };
            by_position &= saved.is_some() || zone.stands(unit, by) || zone.is_same(unit);
            // Where no row tells whether members are torn, what may have been moved since the record was is taken from
            // where it was saved.
            let waits = walk.born(unit) >= walk.time(decision.resume);
            let source = match zone.find(unit) {
                _ if keeps && waits && saved.is_some() => saved.map_or(Source::Lost, Source::Saved),
                Found::At(side) => all(side),
                Found::Computed(side, without) => Source::View(side, without),
                Found::Open | Found::Gone if saved.is_some() => {
                    saved.map_or(Source::Lost, Source::Saved)
                }
                Found::Open | Found::Gone if zone.is_same(unit) => all(Side::Old),
                Found::Open => {
                    add(&mut open, Range::new(unit * UNIT, UNIT));
                    Source::Lost
                }
                Found::Gone => Source::Lost,
            };
            push(unit..unit + 1, source);
        }
        push(high..walk.content().get() / UNIT, all(above));
        let too_few = content.leave_out();
        let around = walk.around(low..high);
        let (unproven, turned, readmitted) = (None, None, Vec::new());
        Located { content, open, by_position, around, unproven, turned, too_few, readmitted }
    }
}

/// The units that have to be looked at one by one: before and behind them, every front that is
/// possible and the resume position agree.
fn window(walk: &Walk, decision: &Decision) -> (u64, u64) {
    let (first, last) = (*decision.front.start(), *decision.front.end());
    let times = first..last.max(first + 1);
    let (born, dying) = (walk.units_of(&times, Walk::born), walk.units_of(&times, Walk::dies));
    let resume = (decision.resume.get() / UNIT).min(walk.content().get() / UNIT);
    let (low, high) = match walk.direction() {
        Direction::Forwards => (born.start, born.end.max(dying.end)),
        Direction::Backwards => (born.start.min(dying.start), born.end),
    };
    // What lies between the resume position and the front is read from the old places: all of it
    // has to be there.
    (low.min(resume), high.max(resume))
}

/// The reading that has a unit for every front that is possible.
fn side_of(walk: &Walk, decision: &Decision, unit: u64) -> Option<Side> {
    if walk.born(unit) < *decision.front.start() {
        return Some(Side::New);
    }
    (walk.dies(unit) >= *decision.front.end()).then_some(Side::Old)
}

/// Takes what was overrun out of a piece: it is where the second walk carried it, or nowhere.
fn cut(
    range: Range,
    source: Source,
    (overrun, new): (Option<&Overrun>, &View),
) -> Vec<(Range, Source)> {
    let (start, end) = (range.start.get(), range.end());
    let units = overrun.map_or(0..0, Overrun::units);
    let near = (units.start * UNIT).clamp(start, end)..(units.end * UNIT).clamp(start, end);
    let Some(overrun) = overrun.filter(|_| !near.is_empty()) else { return vec![(range, source)] };
    let mut pieces = vec![(Range::new(start, near.start - start), source.clone())];
    for unit in near.start / UNIT..near.end / UNIT {
        let found = overrun.source(new, unit).unwrap_or_else(|| source.clone());
        pieces.push((Range::new(unit * UNIT, UNIT), found));
    }
    pieces.push((Range::new(near.end, end - near.end), source));
    pieces
}

fn add(ranges: &mut Vec<Range>, range: Range) {
    match ranges.last_mut() {
        Some(last) if last.end() == range.start.get() => {
            *last = Range::new(last.start.get(), range.end() - last.start.get());
        }
        _ => ranges.push(range),
    }
}

fn conclude(
    walk: &Walk,
    reshape: &Reshape,
    claims: Vec<Claim>,
    (evidence, decision): (&Evidence, &Decision),
    backups: Vec<BackupNote>,
    located: Located,
) -> Finding {
    let Located { content, mut open, by_position, around, unproven, turned, too_few, readmitted } =
        located;
    let lost = content.lost();
    let is_sure = !decision.is_ambiguous && unproven.is_none() && readmitted.is_empty();
    let verdict = if !lost.is_empty() || !content.carried().is_empty() {
        Verdict::Lost
    } else if !is_sure || turned.is_some() {
        Verdict::Ambiguous
    } else if by_position && decision.as_recorded && decision.resume == reshape.position {
        Verdict::AsRecorded
    } else {
        Verdict::Found
    };
    open.extend(unproven.or(turned));
    let (first, last) = (*decision.front.start(), *decision.front.end());
    let front = match walk.direction() {
        Direction::Forwards => walk.position(first)..=walk.position(last),
        Direction::Backwards => walk.position(last)..=walk.position(first),
    };
    Finding {
        claims,
        recorded: reshape.position,
        direction: reshape.direction,
        front,
        resume: decision.resume,
        witnesses: witnesses(walk, evidence, decision),
        lost,
        open,
        turned,
        backups,
        verdict,
        content,
        by_position,
        is_sure,
        around,
        too_few,
        readmitted,
    }
}

fn witnesses(walk: &Walk, evidence: &Evidence, decision: &Decision) -> Witnesses {
    let (first, last, end) = (*decision.front.start(), *decision.front.end(), walk.total());
    Witnesses {
        new_rows: Counts {
            verified: evidence.is_new.before(last),
            unknown: evidence.unknown.before(first),
            contradicting: evidence.is_old.before(first),
        },
        old_rows: Counts {
            verified: evidence.is_old.from(first, end),
            unknown: evidence.unknown.from(first, end),
            contradicting: evidence.is_new.from(last, end),
        },
        agreeing: decision.agreeing,
        saved: evidence.saved,
        torn: evidence.is_torn.before(end),
        contradicting: decision.contradicting,
    }
}
