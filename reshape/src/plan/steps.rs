//! Who sits in which slot from step to step, and what each step therefore costs.

use kcopy::{Sector, Sectors};

use super::change::{Change, Goal, Spares, WantedBitmap};
use super::moves::{self, Cast};
use super::present::{Disk, Present};
use super::refusal::Refusal;
use super::route::{self, Leg};
use super::{
    Caution, Fill, Plan, RebuildStep, RestripeStep, SlotMove, Step, TakeoverStep, Traffic,
};
use crate::geometry::{Geometry, Level, Members, Shape, Takeover};
use crate::metadata::Version;
use crate::units::Slot;

/// Disks that superblocks can name: descriptors of 0.90, roles of 1.x.
const DESCRIPTORS: usize = 27;
const ROLES: usize = 1920;

/// The array between two steps.
#[derive(Clone, Debug)]
struct Standing<'a> {
    /// With the room that is left after the steps so far.
    present: Present,
    change: &'a Change,
    geometry: Geometry,
    slots: Vec<Option<usize>>,
    spares: Vec<usize>,
    steps: Vec<Step>,
}

pub(super) fn plan(present: &Present, change: &Change) -> Result<Plan, Refusal> {
    let goal = Goal::of(present, change)?;
    let route = route::find(&present.geometry, &goal)?;
    let route = with_data_offset(present, change, route);
    let mut standing = Standing {
        present: present.clone(),
        change,
        geometry: present.geometry.clone(),
        slots: present.slots.clone(),
        spares: present.spares.clone(),
        steps: Vec::new(),
    };
    let after = route.last().map_or(&present.geometry, |leg| match leg {
        Leg::Instant(taken) => &taken.geometry,
        Leg::Restripe(geometry) => geometry,
    });
    check_size(present, change, after)?;
    standing.add_disks()?;
    let bitmap = standing.bitmap_before(goal.level)?;
    standing.rebuild_first();
    for (index, leg) in route.iter().enumerate() {
        match leg {
            Leg::Instant(taken) => {
                standing.take_over(taken)?;
            }
            Leg::Restripe(new) => standing.restripe(new, &route[index + 1..])?,
        }
    }
    standing.fit_raid0()?;
    standing.rebuild();
    if bitmap == BitmapAfter::Made {
        standing.steps.push(Step::MakeBitmap);
    }
    standing.finish()
}

/// A change of the data offset alone is a restripe into the same geometry.
fn with_data_offset(present: &Present, change: &Change, route: Vec<Leg>) -> Vec<Leg> {
    let moves = route.iter().any(|leg| matches!(leg, Leg::Restripe(_)));
    let members = present.slots.iter().flatten().filter_map(|disk| present.disks.get(*disk));
    let there = |wanted| members.clone().all(|disk: &Disk| disk.data_offset == wanted);
    // Beside something else it may have been done already, before an interruption; and so may that.
    let beside = Change { data_offset: None, ..change.clone() }.reshapes();
    let done = |wanted| beside && there(wanted);
    if moves || change.data_offset.is_none_or(done) {
        return route;
    }
    let last = route.last().map_or(&present.geometry, |leg| match leg {
        Leg::Instant(taken) => &taken.geometry,
        Leg::Restripe(geometry) => geometry,
    });
    let last = last.clone();
    route.into_iter().chain([Leg::Restripe(last)]).collect()
}

/// Content is cut only where the same command says so.
fn check_size(present: &Present, change: &Change, after: &Geometry) -> Result<(), Refusal> {
    use super::change::WantedSize;
    let (from, to) = (present.geometry.sectors(), after.sectors());
    let visible = match change.array_size {
        None | Some(WantedSize::Max) => from,
        Some(WantedSize::Is(wanted)) if wanted > from => {
            return Err(Refusal::ArrayTooSmall { wanted, now: from });
        }
        Some(WantedSize::Is(wanted)) => wanted,
    };
    if to < visible { Err(Refusal::WouldShrink { from, to }) } else { Ok(()) }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum BitmapAfter {
    None,
    Made,
    /// The one that is there fits.
    Kept,
}

impl Standing<'_> {
    fn add_disks(&mut self) -> Result<(), Refusal> {
        let version = self.present.version;
        let most = match version {
            Version::V0 => DESCRIPTORS,
            Version::V1(_) => ROLES,
        };
        let disks = self.present.disks.len();
        if disks > most {
            return Err(Refusal::TooManyDisks { version, disks, most });
        }
        let all = self.present.disks.iter().enumerate();
        let added: Vec<usize> =
            all.filter(|(_, disk)| disk.candidate.is_none()).map(|(index, _)| index).collect();
        if !added.is_empty() {
            self.steps.push(Step::AddDisks(added));
        }
        Ok(())
    }

    /// What is asked for, beside a change of shape, and is there already needs no saying: so a change that
    /// was interrupted goes on with the same words.
    fn wanted_bitmap(&self, may: bool) -> Option<WantedBitmap> {
        let has = self.present.has_bitmap;
        self.change.bitmap.filter(|wanted| {
            let there = match wanted {
                WantedBitmap::Internal => has && may,
                WantedBitmap::None => !has,
            };
            !there || !self.change.reshapes()
        })
    }

    /// What happens to the bitmap before anything else, and what is to be done at the end.
    fn bitmap_before(&mut self, level: Level) -> Result<BitmapAfter, Refusal> {
        let has = self.present.has_bitmap;
        let may = !matches!(level, Level::Raid0 | Level::Linear);
        let (remove, after) = match self.wanted_bitmap(may) {
            Some(WantedBitmap::Internal) if has => return Err(Refusal::Bitmap { has }),
            Some(WantedBitmap::Internal) if !may => return Err(Refusal::NoBitmap { level }),
            Some(WantedBitmap::Internal) => (false, BitmapAfter::Made),
            Some(WantedBitmap::None) if !has => return Err(Refusal::Bitmap { has }),
            Some(WantedBitmap::None) => (true, BitmapAfter::None),
            // What it said about the old shape says nothing about the new one.
            None if has && may && self.change.reshapes() => (true, BitmapAfter::Made),
            None if has && may => (false, BitmapAfter::Kept),
            None if has => (true, BitmapAfter::None),
            None => (false, BitmapAfter::None),
        };
        if remove {
            self.steps.push(Step::RemoveBitmap);
        }
        Ok(after)
    }

    /// Whole before it is moved: what is missing is computed while that is cheap.
    fn rebuild_first(&mut self) {
        if self.geometry.tolerance() > 0 {
            self.rebuild();
        }
    }

    /// Spares take the empty slots, and are filled.
    fn rebuild(&mut self) {
        if self.geometry.tolerance() == 0 {
            return;
        }
        let tolerance = moves::tolerance_of(&self.geometry, &self.slots);
        let before = self.slots.clone();
        let fills = self.fill(0);
        if fills.is_empty() {
            return;
        }
        let bytes = self.geometry.component().get().saturating_mul(kcopy::SECTOR_SIZE);
        let read =
            before.iter().flatten().map(|disk| Traffic { disk: *disk, read: bytes, written: 0 });
        let written = fills.iter().map(|fill| Traffic { disk: fill.disk, read: 0, written: bytes });
        let traffic = read.chain(written).collect();
        let geometry = self.geometry.clone();
        self.steps.push(Step::Rebuild(RebuildStep { geometry, fills, traffic, tolerance }));
    }

    /// Gives spares the empty slots, the lowest first as the kernel does; the last `spared` slots
    /// stay as they are.
    fn fill(&mut self, spared: usize) -> Vec<Fill> {
        let end = self.slots.len().saturating_sub(spared);
        let mut fills = Vec::new();
        for (number, seat) in (0_u32..).zip(self.slots.iter_mut().take(end)) {
            if seat.is_some() || self.spares.is_empty() {
                continue;
            }
            let disk = self.spares.remove(0);
            *seat = Some(disk);
            fills.push(Fill { disk, slot: Slot::new(number) });
        }
        fills
    }

    fn take_over(&mut self, taken: &Takeover) -> Result<(), Refusal> {
        let after = usize::try_from(taken.geometry.raid_disks()).unwrap_or(0);
        let places = places(&self.slots, taken, after);
        let mut slots = vec![None; after];
        let mut moves = Vec::new();
        for ((number, disk), place) in (0_u32..).zip(&self.slots).zip(places) {
            let Some(disk) = *disk else { continue };
            match place.and_then(|place| slots.get_mut(place)) {
                Some(seat) => *seat = Some(disk),
                None => self.spares.push(disk),
            }
            let to = place.and_then(|place| u32::try_from(place).ok()).map(Slot::new);
            moves.push(SlotMove { disk, from: Slot::new(number), to });
        }
        self.check_enough(&taken.geometry, &slots)?;
        let (old, new) = (self.geometry.clone(), taken.geometry.clone());
        self.steps.push(Step::Takeover(TakeoverStep {
            old,
            new: new.clone(),
            moves,
            slots: slots.clone(),
        }));
        (self.geometry, self.slots) = (new, slots);
        Ok(())
    }

    /// A RAID0 of superblocks 0.90, which have no field for it, takes all there is of its members.
    fn fit_raid0(&mut self) -> Result<(), Refusal> {
        let version = self.present.version;
        let Some(Step::Takeover(step)) = self.steps.last_mut() else { return Ok(()) };
        if step.new.level() != Level::Raid0 || version != Version::V0 {
            return Ok(());
        }
        let disks = self.slots.iter().flatten().filter_map(|disk| self.present.disks.get(*disk));
        let sizes = disks.map(|disk| version.place(disk.size).map(|at| Sectors::new(at.get())));
        let sizes: Vec<Sectors> = sizes.flatten().collect();
        let shape = Shape {
            level: Level::Raid0,
            layout: step.new.layout(),
            chunk: step.new.chunk(),
            raid_disks: step.new.raid_disks(),
            component: Sectors::ZERO,
            member_sizes: &sizes,
        };
        let fitted = Geometry::new(&shape)?;
        if fitted.zones().len() > 1 {
            let what = "how a raid0 goes on where its smallest member ends";
            return Err(Refusal::NotRecordable { version, what });
        }
        step.new = fitted.clone();
        self.geometry = fitted;
        Ok(())
    }

    fn check_enough(&self, geometry: &Geometry, slots: &[Option<usize>]) -> Result<(), Refusal> {
        let there = |slot: Slot| {
            let slot = usize::try_from(slot.get()).ok();
            slot.and_then(|slot| slots.get(slot)).is_some_and(Option::is_some)
        };
        if geometry.enough(there) {
            return Ok(());
        }
        let missing = self.slots.iter().position(Option::is_none).unwrap_or(0);
        Err(Refusal::Needed { slot: u32::try_from(missing).unwrap_or(u32::MAX) })
    }

    fn restripe(&mut self, new: &Geometry, rest: &[Leg]) -> Result<(), Refusal> {
        let old = self.geometry.clone();
        let (before, after) = (old.raid_disks(), new.raid_disks());
        let most = usize::try_from(before.max(after)).unwrap_or(0);
        self.slots.resize(most, None);
        // Members that only come to leave again are not needed.
        let leave = rest.iter().take_while(|leg| {
            matches!(leg, Leg::Instant(Takeover { members: Members::LastLeaves, .. }))
        });
        let fills = if after >= before { self.fill(leave.count()) } else { Vec::new() };
        let cast = Cast { slots: self.slots.clone(), fills };
        let kept = self.slots.get(..usize::try_from(after).unwrap_or(0)).unwrap_or_default();
        let there = |slot: Slot| {
            let slot = usize::try_from(slot.get()).ok();
            slot.and_then(|slot| kept.get(slot)).is_some_and(Option::is_some)
        };
        if !new.enough(there) {
            return Err(self.too_few(new, kept));
        }
        let step = moves::plan(&self.present, self.change, (&old, new), &cast)?;
        self.move_data(&step);
        self.slots.truncate(usize::try_from(after).unwrap_or(0));
        self.spares.extend(&step.leaving);
        self.geometry = new.clone();
        self.steps.push(Step::Restripe(Box::new(step)));
        Ok(())
    }

    /// Where the data lies after a restripe, and what room that leaves.
    fn move_data(&mut self, step: &RestripeStep) {
        for (disk, shift) in step.slots.iter().zip(&step.restripe.shifts) {
            let Some(disk) = disk.and_then(|disk| self.present.disks.get_mut(disk)) else {
                continue;
            };
            let moved = |sectors: u64, by: i64| sectors.saturating_add_signed(by);
            let by = i64::from(*shift);
            let (at, room) = (disk.data_offset.get(), disk.room);
            disk.data_offset = Sector::new(moved(at, by));
            disk.room.before = Sectors::new(moved(room.before.get(), by));
            disk.room.after = Sectors::new(moved(room.after.get(), by.saturating_neg()));
            disk.data_size = Sectors::new(moved(disk.data_size.get(), by.saturating_neg()));
        }
    }

    /// Not enough disks, said so that adding some helps.
    fn too_few(&self, geometry: &Geometry, slots: &[Option<usize>]) -> Refusal {
        let missing = slots.iter().filter(|disk| disk.is_none()).count();
        match self.change.spares {
            Spares::Enough => {
                let available = self.present.spares.len();
                Refusal::Spares { needed: missing.saturating_add(available), available }
            }
            Spares::MayBeTooFew => Refusal::NotWorking {
                level: geometry.level(),
                members: geometry.raid_disks(),
                missing: u32::try_from(missing).unwrap_or(u32::MAX),
            },
        }
    }

    fn finish(self) -> Result<Plan, Refusal> {
        if self.steps.is_empty() {
            return Err(Refusal::NothingToDo);
        }
        let missing = self.slots.iter().filter(|disk| disk.is_none()).count();
        let worse = missing > self.present.missing().len();
        if worse && self.change.spares == Spares::Enough {
            return Err(self.too_few(&self.geometry, &self.slots));
        }
        let cautions = self.cautions(u32::try_from(missing).unwrap_or(u32::MAX));
        Ok(Plan {
            before: self.present.geometry.clone(),
            after: self.geometry,
            steps: self.steps,
            spares: self.spares,
            cautions,
        })
    }

    fn cautions(&self, missing: u32) -> Vec<Caution> {
        let mut cautions = Vec::new();
        let (from, to) = (self.present.geometry.sectors(), self.geometry.sectors());
        if to < from {
            cautions.push(Caution::ContentLost { from, to });
        }
        if !self.present.missing().is_empty() {
            cautions.push(Caution::Degraded { missing: self.present.missing() });
        }
        for (step, todo) in self.steps.iter().enumerate() {
            match todo {
                Step::Restripe(todo) if todo.backup_is_a_choice => {
                    cautions.push(Caution::BackupNotNeeded { step });
                }
                Step::Restripe(_)
                | Step::AddDisks(_)
                | Step::RemoveBitmap
                | Step::Takeover(_)
                | Step::Resize(_)
                | Step::ArraySize(_)
                | Step::Rebuild(_)
                | Step::Append(_)
                | Step::MakeBitmap => {}
            }
        }
        cautions.extend(self.less_redundancy());
        if missing > 0 {
            cautions.push(Caution::EndsDegraded { missing });
        }
        for disk in self.present.slots.iter().flatten() {
            let sectors = self.present.disks.get(*disk).map_or(0, |disk| disk.bad_sectors);
            if sectors > 0 {
                cautions.push(Caution::BadSectors { disk: *disk, sectors });
            }
        }
        cautions
    }

    /// The first step at which fewer members can be lost than before, if the end is no worse.
    fn less_redundancy(&self) -> Option<Caution> {
        let usual = moves::tolerance_of(&self.present.geometry, &self.present.slots);
        let levels = self.steps.iter().enumerate();
        let levels = levels.filter_map(|(step, todo)| Some((step, todo.tolerance()?)));
        let (step, tolerance) = levels.min_by_key(|(_, tolerance)| *tolerance)?;
        (tolerance < usual).then_some(Caution::LessRedundancy { step, tolerance, usual })
    }
}

/// Where the member of each slot goes; `None`: it leaves.
fn places(slots: &[Option<usize>], taken: &Takeover, after: usize) -> Vec<Option<usize>> {
    let all = 0..slots.len();
    match taken.members {
        // Of a mirror whoever is there stays, as far as there are slots.
        Members::Stay if after < slots.len() => {
            let mut next = 0..after;
            slots.iter().map(|disk| disk.and_then(|_| next.next())).collect()
        }
        Members::Stay | Members::EmptySlotBehind => all.map(Some).collect(),
        Members::LastLeaves => all.map(|slot| (slot < after).then_some(slot)).collect(),
        Members::EverySecondSlot => all.map(|slot| slot.checked_mul(2)).collect(),
        Members::OneOfEachPair => {
            // The first of a pair, if it is there.
            let first = |slot: usize| slots.get(slot & !1).is_some_and(Option::is_some);
            let stays =
                |slot: usize| if slot.is_multiple_of(2) { first(slot) } else { !first(slot) };
            all.map(|slot| stays(slot).then_some(slot / 2)).collect()
        }
        Members::OneStays => {
            let first = slots.iter().position(Option::is_some);
            all.map(|slot| (Some(slot) == first).then_some(0)).collect()
        }
    }
}
