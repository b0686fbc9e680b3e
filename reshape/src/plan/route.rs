//! From the present geometry to the wanted one: takeovers where maps agree, restripes where not.
//!
//! ```text
//!  present ──takeovers──▶ ─ restripe ─▶ landing ──takeovers──▶ goal
//! ```
//!
//! A *landing* is a geometry from which the goal is reached by takeovers alone. They are few and found
//! by trying; a route needs no restripe if the present array is one, one if it has the level of one,
//! two otherwise. Of several routes the one with the fewest restripes is taken, then the one on which
//! the array can lose most members, then the shortest.

use std::cmp::Reverse;

use kcopy::Sectors;

use super::change::{Goal, geometry, is_far};
use super::refusal::Refusal;
use crate::geometry::{
    Geometry, Layout, Level, Members, Raid5Layout, Raid6Layout, Takeover, striped_chunk, takeover,
};

/// A part of a route.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Leg {
    /// No data moves.
    Instant(Takeover),
    /// All data moves, the level stays.
    Restripe(Geometry),
}

/// Takeovers in a row, at most. The longest sensible chain is 6, 5, 0, 10.
const HOPS: usize = 4;

/// 64 KiB: the chunk where there was none.
const USUAL_CHUNK: Sectors = Sectors::new(128);

/// The way to the goal; empty if the array is like that already.
pub(super) fn find(now: &Geometry, goal: &Goal) -> Result<Vec<Leg>, Refusal> {
    check_levels(now, goal)?;
    let starts = closure(Way::new(now.clone()), goal);
    let direct = starts.iter().filter(|way| goal.matches(&way.at)).min_by_key(|way| way.cost());
    if let Some(way) = direct {
        return Ok(way.legs.clone());
    }
    let landings = landings(now, goal);
    let once = starts.iter().flat_map(|start| restriped(start, &landings));
    if let Some(way) = once.min_by_key(Way::cost) {
        return Ok(way.legs);
    }
    let between = starts.iter().flat_map(|start| {
        let targets = shapes(start.at.level(), now, goal);
        let targets = targets.filter(|target| holds_enough(target, now, &landings));
        targets.filter_map(|target| start.restripe(target)).collect::<Vec<_>>()
    });
    let between = between.flat_map(|way| closure(way, goal));
    let twice = between.flat_map(|way| restriped(&way, &landings));
    let found = twice.min_by_key(Way::cost).map(|way| way.legs);
    found.ok_or_else(|| Refusal::NoWay { from: now.level(), to: goal.level })
}

/// Nothing that is to stay may be cut off on the way.
fn holds_enough(geometry: &Geometry, now: &Geometry, landings: &[Way]) -> bool {
    let after = landings.iter().map(|landing| landing.origin.sectors()).min();
    after.is_some_and(|after| geometry.sectors() >= after.min(now.sectors()))
}

/// What no chain can do, by its reason.
fn check_levels(now: &Geometry, goal: &Goal) -> Result<(), Refusal> {
    let (from, to) = (now.level(), goal.level);
    match (from, to) {
        (Level::Linear, Level::Linear) if goal.raid_disks > now.raid_disks() => {
            Err(Refusal::Linear)
        }
        (Level::Linear, Level::Linear) if goal.raid_disks == now.raid_disks() => Ok(()),
        (Level::Linear, _) | (_, Level::Linear) => Err(Refusal::Linear),
        (Level::Raid10, Level::Raid10) => check_copies(now, goal),
        // From and to a mirror only as a pair; what fails says why.
        (Level::Raid1, Level::Raid1) => Ok(()),
        (Level::Raid1, Level::Raid0) => Ok(takeover(now, to).map(|_| ())?),
        (Level::Raid1, _) => Ok(takeover(now, Level::Raid5).map(|_| ())?),
        (Level::Raid5, Level::Raid1) => Ok(takeover(now, to).map(|_| ())?),
        (Level::Raid0 | Level::Raid4 | Level::Raid6 | Level::Raid10, Level::Raid1) => {
            Err(Refusal::NoWay { from, to })
        }
        (Level::Raid10, _) => Ok(takeover(now, Level::Raid0).map(|_| ())?),
        (Level::Raid0, _) => Ok(takeover(now, Level::Raid4).map(|_| ())?),
        (Level::Raid4 | Level::Raid5 | Level::Raid6, _) => Ok(()),
    }
}

fn check_copies(now: &Geometry, goal: &Goal) -> Result<(), Refusal> {
    let layouts = [Some(now.layout()), goal.layout];
    let copies = layouts.map(|layout| match layout {
        Some(Layout::Raid10(layout)) => Some(layout),
        Some(Layout::None | Layout::Raid0(_) | Layout::Raid5(_) | Layout::Raid6(_)) | None => None,
    });
    let [Some(from), Some(to)] = copies else { return Ok(()) };
    if from == to && goal.raid_disks == now.raid_disks() && goal.chunk == Some(now.chunk()) {
        return Ok(());
    }
    if let Some(far) = [from, to].into_iter().find(|layout| is_far(*layout)) {
        return Err(Refusal::Far { layout: Layout::Raid10(far) });
    }
    if from.copies() != to.copies() {
        return Err(Refusal::Copies { from: from.copies(), to: to.copies() });
    }
    Ok(())
}

/// A beginning of a route.
#[derive(Clone, Debug)]
struct Way {
    origin: Geometry,
    at: Geometry,
    legs: Vec<Leg>,
    restripes: usize,
    /// Slots that are empty because of takeovers.
    empty: u32,
    /// Members that can be lost where that is fewest.
    weakest: u32,
}

impl Way {
    fn new(at: Geometry) -> Self {
        let weakest = at.tolerance();
        Self { origin: at.clone(), at, legs: Vec::new(), restripes: 0, empty: 0, weakest }
    }

    fn cost(&self) -> impl Ord + use<> {
        let restriped = self.legs.iter().find_map(|leg| match leg {
            Leg::Restripe(geometry) => Some(geometry.level()),
            Leg::Instant(_) => None,
        });
        (self.restripes, Reverse(self.weakest), self.empty > 0, self.legs.len(), restriped)
    }

    fn take_over(&self, taken: Takeover) -> Self {
        let mut way = self.clone();
        way.empty = match taken.members {
            Members::Stay => self.empty,
            Members::EmptySlotBehind => self.empty.saturating_add(1),
            Members::LastLeaves => self.empty.saturating_sub(1),
            Members::EverySecondSlot => self.at.raid_disks(),
            Members::OneOfEachPair | Members::OneStays => 0,
        };
        way.at = taken.geometry.clone();
        way.weakest = way.weakest.min(way.at.tolerance().saturating_sub(way.empty));
        way.legs.push(Leg::Instant(taken));
        way
    }

    /// `None` where a restripe would change nothing.
    fn restripe(&self, target: Geometry) -> Option<Self> {
        if same(&self.at, &target) || target.level() != self.at.level() {
            return None;
        }
        let mut way = self.clone();
        way.weakest = way.weakest.min(target.tolerance());
        way.at = target.clone();
        way.legs.push(Leg::Restripe(target));
        way.restripes = way.restripes.saturating_add(1);
        // New members take the empty slots.
        way.empty = 0;
        Some(way)
    }

    /// Goes on as another way does from where this one is.
    fn then(&self, other: &Self) -> Self {
        let mut way = self.clone();
        way.legs.extend(other.legs.iter().cloned());
        way.weakest = way.weakest.min(other.weakest);
        way.empty = other.empty;
        way.at = other.at.clone();
        way
    }
}

fn same(one: &Geometry, other: &Geometry) -> bool {
    one.level() == other.level()
        && one.layout() == other.layout()
        && one.chunk() == other.chunk()
        && one.raid_disks() == other.raid_disks()
}

/// The way, restriped to every landing of its level.
fn restriped(way: &Way, landings: &[Way]) -> Vec<Way> {
    let there = landings.iter().filter(|landing| landing.origin.level() == way.at.level());
    there.filter_map(|landing| Some(way.restripe(landing.origin.clone())?.then(landing))).collect()
}

/// Everything that is reached by takeovers alone.
fn closure(start: Way, goal: &Goal) -> Vec<Way> {
    let mut found = vec![start];
    let mut next = 0;
    while let Some(way) = found.get(next).cloned() {
        next += 1;
        let hops = way.legs.iter().rev().take_while(|leg| matches!(leg, Leg::Instant(_))).count();
        if hops >= HOPS {
            continue;
        }
        for taken in instant(&way.at, goal) {
            let further = way.take_over(taken);
            let known = found.iter().any(|other| {
                same(&other.at, &further.at)
                    && other.weakest >= further.weakest
                    && other.empty <= further.empty
            });
            if !known {
                found.push(further);
            }
        }
    }
    found
}

/// Every change from here that moves nothing.
fn instant(now: &Geometry, goal: &Goal) -> Vec<Takeover> {
    let mut found: Vec<Takeover> =
        Level::ALL.into_iter().filter_map(|level| takeover(now, level).ok()).collect();
    match now.level() {
        // Both members of a pair hold the same, whatever the layout.
        Level::Raid5 if now.raid_disks() == 2 => {
            let chunk = goal.chunk.unwrap_or_else(|| now.chunk());
            let wanted = goal.layout.filter(|_| goal.level == Level::Raid5);
            let layouts = [wanted, Some(Layout::Raid5(Raid5Layout::ParityLast))];
            let other = |layout| geometry(now, (Level::Raid5, layout), chunk, 2).ok();
            let others = layouts.into_iter().flatten().filter_map(other);
            let others = others.filter(|other| other.sectors() == now.sectors());
            found.extend(others.map(|geometry| Takeover { geometry, members: Members::Stay }));
        }
        // Members of a mirror come and go.
        Level::Raid1 if goal.level == Level::Raid1 => {
            let other = geometry(now, (Level::Raid1, now.layout()), Sectors::ZERO, goal.raid_disks);
            let stay = |geometry| Takeover { geometry, members: Members::Stay };
            found.extend(other.ok().map(stay));
        }
        Level::Linear
        | Level::Raid0
        | Level::Raid1
        | Level::Raid4
        | Level::Raid5
        | Level::Raid6
        | Level::Raid10 => {}
    }
    found
}

/// The geometries from which the goal is reached by takeovers, and how.
fn landings(now: &Geometry, goal: &Goal) -> Vec<Way> {
    let levels = [Level::Raid4, Level::Raid5, Level::Raid6, Level::Raid10];
    let shapes = levels.into_iter().flat_map(|level| shapes(level, now, goal));
    let ways = shapes.filter_map(|shape| {
        let ways = closure(Way::new(shape), goal);
        ways.into_iter().filter(|way| goal.matches(&way.at)).min_by_key(|way| way.cost())
    });
    ways.collect()
}

/// What a restripe at `level` could lead to.
fn shapes(level: Level, now: &Geometry, goal: &Goal) -> impl Iterator<Item = Geometry> {
    // The driver moves whole chunks only: what no chunk holds would be lost where it goes on.
    let own = match now.chunk() {
        Sectors::ZERO => striped_chunk(now.component()).unwrap_or(USUAL_CHUNK),
        chunk => chunk,
    };
    let chunk = goal.chunk.unwrap_or(own);
    let disks = disks(level, goal);
    let (now, layouts) = (now.clone(), layouts(level, &now.layout(), goal));
    let shape = move |layout| geometry(&now, (level, layout), chunk, disks).ok();
    layouts.into_iter().filter_map(shape)
}

/// Members of `level` that hold as much as the goal will.
fn disks(level: Level, goal: &Goal) -> u32 {
    let n = goal.raid_disks;
    if level == goal.level {
        return n;
    }
    let data = match goal.level {
        Level::Linear | Level::Raid0 => n,
        Level::Raid1 => 1,
        Level::Raid4 | Level::Raid5 => n.saturating_sub(1),
        Level::Raid6 => n.saturating_sub(2),
        Level::Raid10 => n / 2,
    };
    match level {
        Level::Linear | Level::Raid0 | Level::Raid1 => data,
        Level::Raid4 | Level::Raid5 => data.saturating_add(1),
        Level::Raid6 => data.saturating_add(2),
        Level::Raid10 => data.saturating_mul(2),
    }
}

fn layouts(level: Level, own: &Layout, goal: &Goal) -> Vec<Layout> {
    let wanted = goal.layout.filter(|_| goal.level == level);
    let mut layouts: Vec<Layout> = wanted.into_iter().collect();
    match level {
        Level::Raid4 => layouts.push(Layout::None),
        Level::Raid5 => {
            // The usual one first: of equals the first is taken.
            let usual = [Layout::default_of(level), *own];
            let five = |layout: &Layout| matches!(layout, Layout::Raid5(_));
            layouts.extend(usual.into_iter().filter(five));
            layouts.extend(Raid5Layout::ALL.map(Layout::Raid5));
        }
        Level::Raid6 => layouts.extend(Raid6Layout::all().map(Layout::Raid6)),
        Level::Raid10 => {
            let ten = |layout: &&Layout| matches!(layout, Layout::Raid10(_));
            layouts.extend(Some(own).filter(ten).copied());
        }
        Level::Linear | Level::Raid0 | Level::Raid1 => {}
    }
    let mut seen: Vec<Layout> = Vec::new();
    for layout in layouts {
        if !seen.contains(&layout) {
            seen.push(layout);
        }
    }
    seen
}
