//! Changes of several steps: takeovers, restripes, rebuilds, one after the other, as a plan has them. The
//! power goes within steps and between them; whoever finds the array then plans anew and goes on.

use std::fmt;

use kcopy::backend::sim::{DiskId, DiskOptions, SimWorld};
use kcopy::{Device, Sector, Sectors};
use reshape::array::{Array, Force, Members, Newcomer, NoMember, Range, Session};
use reshape::assemble::{Assembly, Member, MemberState, Shapes, assemble};
use reshape::exec::{Doubt, Ongoing, Options, Performer, Tools};
use reshape::geometry::{Geometry, Layout, Level, On, Shape};
use reshape::machine::State;
use reshape::metadata::{
    ArrayName, BitmapRoom, DeviceFlags, Features, NewArray, NewDevice, Placement, Resync, Role,
    Uuid, Version,
};
use reshape::mover::Mover;
use reshape::plan::{self, Backup, Change, Plan, Present, WantedLayout, WantedSize};
use reshape::units::{MemberSector, Slot};

use super::bench::{now, on_ground, text};
use super::case::byte_range;
use super::crash::Subject;
use super::image;
use super::power::mover;

/// Where the data of versions 1.1 and 1.2 begins.
const DATA: u64 = 96;
/// Sectors that the array uses of each member.
const ROWS: u64 = 128;
/// Sectors behind them.
const TAIL: u64 = 96;
const CHUNK: u64 = 8;
/// From RAID10 to RAID10.
const TENS: (Level, Level) = (Level::Raid10, Level::Raid10);
/// Attempts to go on, each from where the one before ended.
const ROUNDS: u32 = 6;
/// Sectors of a disk.
const SIZE: u64 = DATA + ROWS + TAIL;

/// What is changed into what.
#[derive(Clone, Copy, Debug)]
struct Way {
    version: &'static str,
    level: Level,
    layout: u32,
    disks: u32,
    added: u32,
    to: Level,
    /// Members afterwards; `None`: as many as it comes to.
    raid_disks: Option<u32>,
    /// Sectors of the chunk afterwards.
    chunk: Option<u64>,
    backup: Backup,
}

const fn way(level: Level, layout: u32, disks: u32, added: u32, to: Level) -> Way {
    let (raid_disks, chunk, backup) = (None, None, Backup::File);
    Way { version: "1.2", level, layout, disks, added, to, raid_disks, chunk, backup }
}

const fn with(way: Way, raid_disks: u32) -> Way {
    Way { raid_disks: Some(raid_disks), ..way }
}

const WAYS: [Way; 26] = {
    use Level::{Raid0, Raid1, Raid4, Raid5, Raid6, Raid10};
    [
        way(Raid4, 0, 3, 0, Raid5),
        way(Raid4, 0, 3, 1, Raid6),
        way(Raid4, 0, 4, 0, Raid0),
        way(Raid5, 2, 3, 1, Raid6),
        with(way(Raid5, 2, 3, 2, Raid6), 5),
        way(Raid5, 2, 4, 0, Raid4),
        way(Raid5, 2, 4, 0, Raid0),
        way(Raid5, 2, 2, 0, Raid1),
        Way { backup: Backup::None, ..way(Raid5, 2, 3, 1, Raid6) },
        way(Raid6, 2, 5, 0, Raid5),
        way(Raid6, 2, 5, 0, Raid0),
        way(Raid0, 0, 3, 1, Raid4),
        way(Raid0, 0, 3, 1, Raid5),
        way(Raid0, 0, 3, 2, Raid6),
        way(Raid0, 0, 2, 2, Raid10),
        with(way(Raid0, 0, 2, 1, Raid0), 3),
        with(way(Raid0, 0, 2, 2, Raid0), 4),
        Way { chunk: Some(16), ..way(Raid0, 0, 3, 0, Raid0) },
        Way { chunk: Some(16), backup: Backup::None, ..way(Raid0, 0, 3, 0, Raid0) },
        way(Raid10, 0x102, 4, 0, Raid0),
        with(way(Raid10, 0x102, 4, 1, Raid10), 5),
        way(Raid1, 0, 2, 0, Raid5),
        with(way(Raid1, 0, 2, 1, Raid1), 3),
        way(Raid1, 0, 2, 0, Raid0),
        Way { version: "1.0", ..way(Raid0, 0, 3, 1, Raid5) },
        with(way(Raid6, 2, 4, 1, Raid6), 5),
    ]
};

/// A change of several steps, and what has to come out of it.
#[derive(Clone, Debug)]
pub struct Chain {
    /// Its number in [`all`].
    pub number: usize,
    way: Way,
    before: Geometry,
    after: Geometry,
}

/// The disks, and which of them are gone.
#[derive(Clone, Copy)]
struct Site<'a> {
    world: &'a SimWorld,
    lost: &'a [u32],
}

impl<'a> Site<'a> {
    const fn whole(world: &'a SimWorld) -> Self {
        Self { world, lost: &[] }
    }
}

/// Every chain.
///
/// # Panics
///
/// If one of them cannot be planned.
pub fn all() -> Vec<Chain> {
    // Superblocks 0.90 do not move the data offset: they save what is critical, and a RAID10 stays as it is.
    let moves = |way: &Way| way.backup == Backup::None || (way.level, way.to) == TENS;
    let old = WAYS.into_iter().filter(|way| way.version == "1.2" && !moves(way));
    let old = old.map(|way| Way { version: "0.90", ..way });
    let chains = WAYS.into_iter().chain(old).enumerate();
    chains.map(|(number, way)| Chain::new(number, way).unwrap_or_else(|e| panic!("{e}"))).collect()
}

fn geometry(way: &Way) -> Geometry {
    let sizes = vec![Sectors::new(ROWS); usize::try_from(way.disks).expect("few")];
    Geometry::new(&Shape {
        level: way.level,
        layout: Layout::from_md(way.level, way.layout).expect("a layout"),
        chunk: Sectors::new(if way.level == Level::Raid1 { 0 } else { CHUNK }),
        raid_disks: way.disks,
        component: Sectors::new(ROWS),
        member_sizes: if way.level == Level::Raid0 { &sizes } else { &[] },
    })
    .expect("a shape")
}

impl Chain {
    fn new(number: usize, way: Way) -> Result<Self, String> {
        let before = geometry(&way);
        let mut chain = Self { number, way, after: before.clone(), before };
        let world = chain.world(0);
        let mut mover = mover(&world);
        let (present, _) = chain.present(Site::whole(&world), &mut mover)?;
        let plan = plan::plan(&present, &chain.first_change());
        chain.after = plan.map_err(|error| format!("{chain}: {error}"))?.after;
        Ok(chain)
    }

    fn slots(&self) -> u32 {
        self.way.disks + self.way.added
    }

    fn file(&self, world: &SimWorld) -> Device {
        world.disk(DiskId(self.slots())).device()
    }

    /// Sectors of content that are there before and after.
    fn kept(&self) -> u64 {
        self.before.sectors().get().min(self.after.sectors().get())
    }

    fn first_change(&self) -> Change {
        let Way { raid_disks, backup, to, .. } = self.way;
        let level = Some(to).filter(|to| *to != self.way.level);
        let chunk = self.way.chunk.map(Sectors::new);
        Change { level, raid_disks, chunk, backup, ..Change::default() }
    }

    /// What is left to be done, in all its particulars.
    fn rest(&self) -> Change {
        let after = &self.after;
        let layout = match after.level() {
            Level::Raid5 | Level::Raid6 | Level::Raid10 => Some(WantedLayout::Is(after.layout())),
            Level::Linear | Level::Raid0 | Level::Raid1 | Level::Raid4 => None,
        };
        Change {
            level: Some(after.level()),
            layout,
            chunk: Some(after.chunk()).filter(|_| after.level() != Level::Raid1),
            raid_disks: Some(after.raid_disks()),
            array_size: Some(WantedSize::Is(Sectors::new(self.kept()))),
            backup: self.way.backup,
            ..Change::default()
        }
    }

    /// The disks with a superblock, and those without.
    fn sorted(&self, site: Site<'_>, mover: &mut Mover) -> (Vec<Device>, Vec<Device>) {
        let there = (0..self.slots()).filter(|disk| !site.lost.contains(disk));
        let all = there.map(|disk| site.world.disk(DiskId(disk)).device());
        all.partition(|device| match Members::read(mover, vec![device.clone()]) {
            Ok(_) | Err(NoMember::Unreadable { .. }) => true,
            Err(_) => false,
        })
    }

    fn look(
        &self,
        site: Site<'_>,
        mover: &mut Mover,
    ) -> Result<(Assembly, Members, Vec<Device>), String> {
        let (members, mut blank) = self.sorted(site, mover);
        let mut members = Members::read(mover, members).map_err(text)?;
        let mut assembly = assemble(&members.candidates).map_err(text)?;
        // With superblocks 0.90 a disk may know that it is a spare and nobody else: it is added once more.
        let added: Vec<Device> =
            (self.way.disks..self.slots()).map(|n| site.world.disk(DiskId(n)).device()).collect();
        let is_unknown = |device: &Device| {
            let mut its =
                assembly.members.iter().filter(|m| members.devices[m.candidate].is_same(device));
            its.any(|m| m.state == MemberState::Stale && m.slot.is_none())
        };
        let unknown: Vec<Device> = added.into_iter().filter(is_unknown).collect();
        if !unknown.is_empty() {
            let mut known = members.devices.clone();
            known.retain(|device| !unknown.iter().any(|other| other.is_same(device)));
            members = Members::read(mover, known).map_err(text)?;
            assembly = assemble(&members.candidates).map_err(text)?;
            blank.extend(unknown);
        }
        Ok((assembly, members, blank))
    }

    /// The array as the planner takes it, and its disks.
    fn present(&self, site: Site<'_>, mover: &mut Mover) -> Result<(Present, Vec<Device>), String> {
        let (assembly, members, blank) = self.look(site, mover)?;
        let mut present = Present::read(&assembly, &members).map_err(text)?;
        for device in &blank {
            let size = Sectors::from_bytes_floor(device.size());
            present.add(device.path(), size).map_err(text)?;
        }
        Ok((present, members.devices.into_iter().chain(blank).collect()))
    }

    fn is_done(&self, assembly: &Assembly) -> bool {
        self.is_after(assembly) && assembly.degraded() == 0
    }

    /// Whether it has the shape that it is to have; members may be missing.
    fn is_after(&self, assembly: &Assembly) -> bool {
        let Shapes::Whole(found) = &assembly.shapes else { return false };
        let of = |g: &Geometry| (g.layout().to_md(), g.level(), g.chunk(), g.raid_disks());
        of(found) == of(&self.after)
    }

    /// What `reshape rebuild` does with spares, and with `blank` disks: a torn superblock 0.90 leaves such. Whether
    /// there was a slot and a disk for it.
    fn fill_slots(
        &self,
        mover: &mut Mover,
        (assembly, members): (&Assembly, &Members),
        blank: &[Device],
    ) -> Result<bool, String> {
        let empty = (0..assembly.raid_disks).map(Slot::new).filter(|slot| {
            let here = |member: &Member| member.slot == Some(*slot) && member.is_usable();
            !assembly.members.iter().any(here)
        });
        let spares = assembly.members.iter().filter(|member| member.state == MemberState::Spare);
        let spares = spares.map(|spare| members.devices[spare.candidate].clone());
        let pairs: Vec<(Slot, Device)> = empty.zip(spares.chain(blank.iter().cloned())).collect();
        if pairs.is_empty() {
            return Ok(false);
        }
        let mut session = Session::open(assembly, members, Force::No).map_err(text)?;
        for (slot, device) in pairs {
            let newcomer = Newcomer { device, uuid: Uuid([99; 16]), bad: Vec::new() };
            session.rebuild(mover, now(), slot, &newcomer, &mut |_| true).map_err(text)?;
        }
        Ok(true)
    }

    /// The first attempt; whether nothing is left to be done.
    fn first_round(&self, site: Site<'_>, mover: &mut Mover) -> Result<bool, String> {
        let (assembly, _, _) = self.look(site, mover)?;
        let is_whole = matches!(&assembly.shapes, Shapes::Whole(shape) if *shape == self.before);
        let change = if is_whole { self.first_change() } else { self.rest() };
        self.round(site, mover, &change)
    }

    /// One attempt to go on; whether nothing is left to be done.
    fn round(&self, site: Site<'_>, mover: &mut Mover, change: &Change) -> Result<bool, String> {
        let (assembly, members, blank) = self.look(site, mover)?;
        if matches!(assembly.shapes, Shapes::Moving { .. }) {
            self.resume(site.world, mover, (assembly, members))?;
            return Ok(false);
        }
        if self.is_done(&assembly) {
            return Ok(true);
        }
        if finish_rebuilds(mover, &assembly, &members)? {
            return Ok(false);
        }
        if self.is_after(&assembly) {
            // Without disks in their place it stays degraded.
            let is_full = !self.fill_slots(mover, (&assembly, &members), &blank)?;
            return Ok(is_full && !site.lost.is_empty());
        }
        let (present, disks) = self.present(site, mover)?;
        let plan = match plan::plan(&present, change) {
            Ok(plan) => plan,
            // A member may have left in the steps before: the disk in its place is filled first.
            Err(_) if self.fill_slots(mover, (&assembly, &members), &blank)? => return Ok(false),
            Err(refusal) => {
                let found = (assembly.level, assembly.raid_disks, &assembly.members);
                return Err(format!("cannot be planned: {refusal}\n  {found:?}"));
            }
        };
        self.perform(site.world, mover, (&present, &plan), &disks)?;
        Ok(false)
    }

    fn perform(
        &self,
        world: &SimWorld,
        mover: &mut Mover,
        plan: (&Present, &Plan),
        disks: &[Device],
    ) -> Result<(), String> {
        // Each has its own, whoever else is there.
        let own = |disk: &Device| {
            let same = |n: &u32| world.disk(DiskId(*n)).device().is_same(disk);
            let number = (0..self.slots()).find(same).unwrap_or_default();
            Uuid([100 + u8::try_from(number).expect("few"); 16])
        };
        let uuids: Vec<Uuid> = disks.iter().map(own).collect();
        let backup = (self.way.backup == Backup::File).then(|| self.file(world));
        let doubt = Doubt::Stop;
        let tools = Tools { backup, uuids: &uuids, doubt, memory: None, clock: now, log: None };
        let state = Performer::new(mover, plan, disks, tools).run(&mut |_| true).map_err(text)?;
        expect_finished(state)
    }

    /// What `reshape continue` does; where members are missing without whom it cannot, `reshape revert`.
    fn resume(
        &self,
        world: &SimWorld,
        mover: &mut Mover,
        (assembly, members): (Assembly, Members),
    ) -> Result<(), String> {
        let file = self.file(world);
        let ongoing = Ongoing::new(assembly, members).map_err(text)?;
        let (mut ongoing, ground) = on_ground(mover, ongoing, &file)?;
        if ongoing.expect_enough().is_err() {
            return ongoing.take_back(mover, ground, now()).map(drop).map_err(text);
        }
        let section = ongoing.restripe().section().unwrap_or(Sectors::ZERO);
        let make = || ongoing.backup_file(mover, file, section, now()).map_err(text);
        let backup = ongoing.needs_backup_file().then(make).transpose()?;
        let options = Options { backup, ..Options::default() };
        expect_finished(ongoing.run(mover, options, now, &mut |_| true).map_err(text)?)
    }

    /// What each slot of the array holds, from its data offset on; `None`: nobody is there, for as many as are
    /// lost or may have left at most.
    fn found(
        &self,
        site: Site<'_>,
        mover: &mut Mover,
        left: usize,
    ) -> Result<Vec<Option<Vec<u8>>>, String> {
        let (assembly, members, _) = self.look(site, mover)?;
        let degraded = usize::try_from(assembly.degraded()).expect("few");
        if !self.is_after(&assembly) || degraded > site.lost.len() + left {
            let shapes = &assembly.shapes;
            return Err(format!("it is not done: {shapes:?}, {degraded} missing"));
        }
        let rows = usize::try_from(self.after.component().get() * 512).expect("small");
        let slots = (0..self.after.raid_disks()).map(|slot| {
            let seated = |m: &&Member| m.slot == Some(Slot::new(slot)) && m.is_in_sync();
            let Some(member) = assembly.members.iter().find(seated) else { return Ok(None) };
            let path = members.devices[member.candidate].path().to_owned();
            let mut disks = (0..self.slots()).map(|disk| site.world.disk(DiskId(disk)));
            let disk = disks.find(|disk| disk.device().path() == path).ok_or("a strange disk")?;
            Ok(Some(disk.read(member.data_offset.get() * 512, rows)))
        });
        slots.collect()
    }

    /// All of the array's content, as it is read.
    fn content(&self, site: Site<'_>, mover: &mut Mover) -> Result<Vec<u8>, String> {
        let (assembly, members, _) = self.look(site, mover)?;
        let array = Array::open(&assembly, &members.devices, &members.bad).map_err(text)?;
        let all = Range::new(0, array.sectors().get());
        let (content, report) = array.read(mover, all).map_err(text)?;
        match report.unreadable.first() {
            Some(range) => Err(format!("{range:?} cannot be read")),
            None => Ok(content),
        }
    }

    /// The content that has to be there before and after.
    fn expect_kept(&self, content: &[u8]) -> Result<(), String> {
        let wanted = image::content(self.kept());
        let kept = content.get(byte_range(0, self.kept())).ok_or("it is too short")?;
        let mut sectors = wanted.chunks(512).zip(kept.chunks(512)).zip(0_u64..);
        match sectors.find(|((wanted, found), _)| wanted != found) {
            Some((_, sector)) => Err(format!("sector {sector} of {} is wrong", self.kept())),
            None => Ok(()),
        }
    }
}

/// What `reshape rebuild` does with members that are good up to a place only; whether there were any.
fn finish_rebuilds(
    mover: &mut Mover,
    assembly: &Assembly,
    members: &Members,
) -> Result<bool, String> {
    let half = |member: &&Member| matches!(member.state, MemberState::Recovering { .. });
    let slots: Vec<Slot> =
        assembly.members.iter().filter(half).filter_map(|member| member.slot).collect();
    if slots.is_empty() {
        return Ok(false);
    }
    let mut session = Session::open(assembly, members, Force::No).map_err(text)?;
    for slot in slots {
        session.finish_rebuild(mover, now(), slot, &mut |_| true).map_err(text)?;
    }
    Ok(true)
}

fn expect_finished(state: State) -> Result<(), String> {
    match state {
        State::Finished => Ok(()),
        State::Running | State::Stopping | State::Stopped | State::Failed | State::NeedsBackup => {
            Err(format!("it ended {state:?}"))
        }
    }
}

/// What an array holds whose members hold `images`.
fn content_of(geometry: &Geometry, images: &[Vec<u8>]) -> Vec<u8> {
    let mut content = vec![0; byte_range(0, geometry.sectors().get()).len()];
    for (slot, image) in (0..).map(Slot::new).zip(images) {
        for row in 0..geometry.component().get() {
            if let On::Data(sector) = geometry.on(slot, MemberSector::new(row))
                && let Some(place) = content.get_mut(byte_range(sector.get(), 1))
            {
                place.copy_from_slice(&image[byte_range(row, 1)]);
            }
        }
    }
    content
}

impl Subject for Chain {
    fn id(&self) -> String {
        format!("chain:{}", self.number)
    }

    fn disks(&self) -> u32 {
        self.slots() + 1
    }

    fn world(&self, seed: u64) -> SimWorld {
        let (way, world) = (&self.way, SimWorld::new(seed));
        let images = image::members(&self.before, &image::content(self.before.sectors().get()));
        let version: Version = way.version.parse().expect("a version");
        let placement = placement(version, Sectors::new(SIZE));
        // A superblock 0.90 that is torn apart is none any more: see the list of shortcomings.
        let block = if version == Version::V0 { 4096 } else { 512 };
        let array = array(way, version);
        for slot in 0..self.slots() {
            let options = DiskOptions::new(SIZE * kcopy::SECTOR_SIZE).blocks(block, 4096);
            let disk = world.add_disk(options);
            let Some(image) = images.get(usize::try_from(slot).expect("few")) else { continue };
            let uuid = Uuid([u8::try_from(slot).expect("few") + 1; 16]);
            let superblock = array.superblock(slot, &placement, uuid).expect("fits");
            disk.write(superblock.at().get() * kcopy::SECTOR_SIZE, &superblock.to_bytes());
            disk.write(placement.data_offset.get() * kcopy::SECTOR_SIZE, image);
        }
        world.add_disk(DiskOptions::new(1 << 21).file(1 << 22));
        world.silence_trace();
        world
    }

    fn command(&self, world: &SimWorld, mover: &mut Mover, lost: &[u32]) -> Result<(), String> {
        self.first_round(Site { world, lost }, mover).map(|_| ())
    }

    fn has_left(&self, world: &SimWorld, disk: u32) -> bool {
        let Ok((assembly, members, _)) = self.look(Site::whole(world), &mut mover(world)) else {
            return false;
        };
        let path = world.disk(DiskId(disk)).device().path().to_owned();
        let mut its =
            assembly.members.iter().filter(|m| members.devices[m.candidate].path() == path);
        its.any(|member| member.state == MemberState::Stale)
    }

    fn is_added(&self, disk: u32) -> bool {
        (self.way.disks..self.slots()).contains(&disk)
    }

    fn go_on(&self, world: &SimWorld, mover: &mut Mover, lost: &[u32]) -> Result<(), String> {
        let site = Site { world, lost };
        if self.first_round(site, mover)? {
            return Ok(());
        }
        for _ in 1..ROUNDS {
            if self.round(site, mover, &self.rest())? {
                return Ok(());
            }
        }
        let (Assembly { shapes, members, .. }, _, _) = self.look(site, mover)?;
        Err(format!("it is not done after {ROUNDS} rounds: {shapes:?} {members:?}"))
    }

    fn check(
        &self,
        world: &SimWorld,
        mover: &mut Mover,
        lost: &[u32],
        doubtful: &[u32],
    ) -> Result<(), String> {
        let site = Site { world, lost };
        let found = self.found(site, mover, doubtful.len())?;
        let images: Option<Vec<Vec<u8>>> = found.iter().cloned().collect();
        let content = match images {
            // Not by the code under test, where that can be.
            Some(images) => content_of(&self.after, &images),
            None => self.content(site, mover)?,
        };
        self.expect_kept(&content)?;
        let wanted = image::members(&self.after, &content);
        if wanted
            .iter()
            .zip(&found)
            .any(|(wanted, found)| found.as_ref().is_some_and(|f| f != wanted))
        {
            return Err("its parity or a copy is wrong".into());
        }
        world.violations().first().map_or(Ok(()), |violation| Err(violation.clone()))
    }

    /// What stands in `world` can do without them, and so can what it is to be.
    fn can_lose(&self, world: &SimWorld, lost: &[u32]) -> bool {
        let mut mover = mover(world);
        let Ok((assembly, members, _)) = self.look(Site::whole(world), &mut mover) else {
            return false;
        };
        let seat = |disk: u32| {
            let path = world.disk(DiskId(disk)).device().path().to_owned();
            let its = |m: &&Member| members.devices[m.candidate].path() == path && m.is_in_sync();
            assembly.members.iter().find(its)?.slot
        };
        // Who has no slot yet is missed as a disk: there would be none in its place.
        let Some(gone) = lost.iter().map(|disk| seat(*disk)).collect::<Option<Vec<Slot>>>() else {
            return false;
        };
        // A member that was filled is one only if somebody who is left has it recorded: it alone, or whoever has the
        // last record. Lost with all who had that, the record is one that was never made.
        let stays = |m: &&Member| m.slot.is_some_and(|slot| !gone.contains(&slot));
        let mut left = assembly.members.iter().filter(|m| m.is_in_sync()).filter(stays);
        let is_recorded = left.any(|m| m.events == assembly.events);
        let knows = |m: &Member| {
            let own = &members.candidates[m.candidate..=m.candidate];
            assemble(own).is_ok_and(|alone| alone.members.iter().any(Member::is_in_sync))
        };
        let is_there = |slot: Slot| {
            let is_its = |m: &Member| m.slot == Some(slot) && m.is_in_sync();
            let seated = |m: &Member| is_its(m) && (is_recorded || knows(m));
            !gone.contains(&slot) && assembly.members.iter().any(seated)
        };
        let now = match &assembly.shapes {
            Shapes::Whole(shape) => shape.enough(is_there),
            Shapes::Moving { old, new, .. } => old.enough(is_there) && new.enough(is_there),
            Shapes::Unknown => false,
        };
        now && usize::try_from(self.after.tolerance()).is_ok_and(|most| gone.len() <= most)
    }
}

impl fmt::Display for Chain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Way { version, level, disks, added, to, raid_disks, chunk, backup, .. } = self.way;
        write!(f, "chain {}: {version}, {level} of {disks} and {added} more to {to}", self.number)?;
        if let Some(disks) = raid_disks {
            write!(f, " of {disks}")?;
        }
        if let Some(chunk) = chunk {
            write!(f, ", chunk {CHUNK} to {chunk}")?;
        }
        let backup = if backup == Backup::File { "a backup file" } else { "no backup file" };
        write!(f, ", {backup}")
    }
}

fn placement(version: Version, size: Sectors) -> Placement {
    match version {
        Version::V0 => {
            let usual = Placement::usual(version, size, Sectors::new(CHUNK), BitmapRoom::None);
            usual.expect("room")
        }
        Version::V1(minor) => {
            let behind = minor == reshape::metadata::Minor::Zero;
            let data_offset = if behind { 0 } else { DATA };
            let super_at = version.place(size).expect("room");
            let end = if behind { super_at.get() } else { size.get() };
            Placement {
                version,
                super_at,
                data_offset: Sector::new(data_offset),
                data_size: Sectors::new(end - data_offset),
                bitmap_offset: None,
                bad_blocks: None,
            }
        }
    }
}

fn array(way: &Way, version: Version) -> NewArray {
    let device = |slot| NewDevice {
        role: Role::Active(Slot::new(slot)),
        flags: DeviceFlags::empty(),
        major_minor: (0, 0),
    };
    let name = if version == Version::V0 { "" } else { "test" };
    NewArray {
        uuid: Uuid([7; 16]),
        name: ArrayName::new(name).expect("short"),
        creation_time: now(),
        level: way.level,
        layout: way.layout,
        chunk: Sectors::new(if way.level == Level::Raid1 { 0 } else { CHUNK }),
        raid_disks: way.disks,
        component_size: Sectors::new(if way.level == Level::Raid0 { 0 } else { ROWS }),
        resync: Resync::Clean,
        events: 10,
        md_minor: 0,
        features: Features::empty(),
        devices: (0..way.disks).map(device).collect(),
    }
}
