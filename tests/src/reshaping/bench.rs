//! The disks of a case, and what is done with them: beginning, going on, looking at the result.

use std::fmt;

use kcopy::backend::sim::{DiskId, DiskOptions, SimDisk, SimWorld};
use kcopy::{Device, Sector, Sectors};
use reshape::array::{Age, Array, Force, Members, Newcomer, Record, Session};
use reshape::assemble::{Assembly, MemberState, Shapes, assemble};
use reshape::exec::{
    BackupFile, BackupVerdict, Ground, Mutation, Ongoing, Options, Restripe, Trust, Turned, begin,
    save_first,
};
use reshape::machine::State;
use reshape::metadata::{
    ArrayName, DeviceFlags, Features, NewArray, NewDevice, Placement, Resync, Role, Timestamp,
    Uuid, Version,
};
use reshape::mover::Mover;
use reshape::plan::Mode;
use reshape::units::Slot;

use super::case::Case;
use super::crash::Subject;
use super::image;

/// Where the data begins, and how much room is left behind it.
const DATA: u64 = 160;
const TAIL: u64 = 160;
/// Room for a backup file, in bytes.
const LEAST: u64 = 1 << 17;

/// A rule that is taken away.
pub type Rule = Option<Mutation>;

/// A case, and what has to come out of it.
#[derive(Debug)]
pub struct Bench {
    /// The case.
    pub case: Case,
    rule: Rule,
    /// What each member of the old and of the new array has to hold.
    wanted: (Vec<Vec<u8>>, Vec<Vec<u8>>),
}

/// What became of an attempt to turn around.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Turn {
    /// It went all the way back.
    Back,
    /// It could only be finished, or was not begun yet.
    Ended,
    /// The superblocks cannot say it.
    Refused(String),
}

pub(super) fn now() -> Timestamp {
    Timestamp::from_seconds(1_700_000_000)
}

pub(super) fn text(error: impl fmt::Display) -> String {
    error.to_string()
}

impl Bench {
    /// Prepares what has to come out of `case`.
    pub fn new(case: &Case, rule: Rule) -> Self {
        let (old, new) = (case.before(), case.after());
        let keep = old.sectors().get().min(new.sectors().get());
        let content = content(case, keep);
        let wanted = (image::members(&old, &content), image::members(&new, &content));
        Self { case: case.clone(), rule, wanted }
    }

    /// The backup file.
    pub fn file(&self, world: &SimWorld) -> Device {
        world.disk(DiskId(self.case.slots())).device()
    }

    /// The members that are there, but for those in `lost`.
    pub fn devices(&self, world: &SimWorld, lost: &[u32]) -> Vec<Device> {
        let there = |slot: &u32| self.case.missing != Some(*slot) && !lost.contains(slot);
        let slots = (0..self.case.slots()).filter(there);
        slots.map(|slot| world.disk(DiskId(slot)).device()).collect()
    }

    fn is_done(&self, assembly: &Assembly) -> bool {
        let case = &self.case;
        let shape = (assembly.layout.to_md(), assembly.chunk.get(), assembly.raid_disks);
        matches!(assembly.shapes, Shapes::Whole(_))
            && shape == (case.layouts.1, case.chunks.1, case.disks.1)
    }

    fn options(&self, backup: Option<BackupFile>) -> Options {
        Options { backup, window: self.window(), mutation: self.rule, ..Options::default() }
    }

    /// Short windows make many moments; long ones are what is usual.
    fn window(&self) -> Option<Sectors> {
        self.case.section.map(|units| Sectors::new(units * self.case.restripe().track.unit))
    }

    /// What `reshape grow` does.
    fn start(
        &self,
        world: &SimWorld,
        mover: &mut Mover,
        (assembly, members): (&Assembly, &Members),
    ) -> Result<(), String> {
        let mut record = Record::new(assembly, &members.candidates, &members.devices);
        let mut backup = self.first_backup(world, mover, (assembly, &record))?;
        if let Some(backup) = &mut backup {
            let array = Array::open(assembly, &members.devices, &members.bad).map_err(text)?;
            let what = (&array, &self.case.restripe());
            save_first(mover, what, backup, (self.window(), None), now()).map_err(text)?;
        }
        // A disk that is to be added may be the one that was lost.
        let added = self.added(world, &record);
        begin(mover, &mut record, &self.case.restripe(), &added, now()).map_err(text)?;
        let devices = record.entries().iter().map(|entry| entry.device.clone()).collect();
        let (members, _) = Members::read_readable(mover, devices).map_err(text)?;
        let assembly = assemble(&members.candidates).map_err(text)?;
        let ongoing = Ongoing::new(assembly, members).map_err(text)?;
        if ongoing.restripe().track != self.case.restripe().track {
            return Err("the superblocks record another way".into());
        }
        self.run(mover, ongoing, backup)
    }

    /// The numbers of the disks that are to be added and are there, and their slots to be.
    fn added(&self, world: &SimWorld, record: &Record) -> Vec<(u32, Slot)> {
        let number = |disk: u32| {
            let disk = world.disk(DiskId(disk)).device();
            let own = record.entries().iter().find(|entry| entry.device.is_same(&disk))?;
            Some(own.superblock.dev_number())
        };
        let added = self.case.added().into_iter();
        added.filter_map(|(disk, slot)| Some((number(disk)?, slot))).collect()
    }

    /// What `reshape grow --add` does with disks that were to be added before and left; whether there were any.
    fn add_again(
        &self,
        world: &SimWorld,
        mover: &mut Mover,
        (assembly, members): (&Assembly, &Members),
    ) -> Result<bool, String> {
        let disks = self.case.added().into_iter().map(|(disk, _)| disk);
        let is_stale = |disk: &u32| {
            let device = world.disk(DiskId(*disk)).device();
            let mut its =
                assembly.members.iter().filter(|m| members.devices[m.candidate].is_same(&device));
            its.any(|member| member.state == MemberState::Stale)
        };
        let stale: Vec<u32> = disks.filter(is_stale).collect();
        if stale.is_empty() {
            return Ok(false);
        }
        let mut session = Session::open(assembly, members, Force::No).map_err(text)?;
        for disk in stale {
            let device = world.disk(DiskId(disk)).device();
            let uuid = Uuid([100 + u8::try_from(disk).expect("few"); 16]);
            let newcomer = Newcomer { device, uuid, bad: Vec::new() };
            session.add_spare(mover, now(), &newcomer).map_err(text)?;
        }
        Ok(true)
    }

    fn first_backup(
        &self,
        world: &SimWorld,
        mover: &mut Mover,
        (assembly, record): (&Assembly, &Record),
    ) -> Result<Option<BackupFile>, String> {
        let restripe = self.case.restripe();
        let uuid = assembly.uuid_on_disk;
        match self.case.mode {
            Mode::DataOffset => Ok(None),
            Mode::BackupFile => self.file_of(world, mover, uuid, &restripe).map(Some),
            Mode::BackupOnSpares => {
                let spares: Vec<(Device, Sector)> = self
                    .added(world, record)
                    .into_iter()
                    .filter_map(|(number, _)| record.entry(number))
                    .map(|entry| (entry.device.clone(), entry.superblock.data_offset()))
                    .collect();
                if spares.is_empty() {
                    return self.file_of(world, mover, uuid, &restripe).map(Some);
                }
                let room = restripe.critical_section();
                let component = restripe.old.component();
                let made = BackupFile::on_spares(mover, &spares, component, (uuid, room), now());
                made.map(Some).map_err(text)
            }
        }
    }

    fn file_of(
        &self,
        world: &SimWorld,
        mover: &mut Mover,
        uuid: [u8; 16],
        restripe: &Restripe,
    ) -> Result<BackupFile, String> {
        let what = (self.section(restripe), restripe.readers());
        BackupFile::create(mover, self.file(world), uuid, what, now()).map_err(text)
    }

    /// Sectors of a section of the backup file.
    fn section(&self, restripe: &Restripe) -> Sectors {
        let whole = restripe.section().unwrap_or(Sectors::ZERO);
        let stripes = |count: u64| Sectors::new(count * restripe.whole_stripes());
        self.case.section.map_or(whole, |count| stripes(count).min(whole))
    }

    /// What `reshape continue` does.
    fn resume(
        &self,
        world: &SimWorld,
        mover: &mut Mover,
        (assembly, members): (Assembly, Members),
    ) -> Result<(), String> {
        let ongoing = Ongoing::new(assembly, members).map_err(text)?;
        let ongoing = self.prepared(world, mover, ongoing)?;
        self.run_on(world, mover, ongoing)
    }

    /// On the ground on which it may go on.
    fn prepared(
        &self,
        world: &SimWorld,
        mover: &mut Mover,
        mut ongoing: Ongoing,
    ) -> Result<Ongoing, String> {
        ongoing.break_rule(self.rule);
        prepared(mover, ongoing, &self.file(world))
    }

    fn run_on(&self, world: &SimWorld, mover: &mut Mover, ongoing: Ongoing) -> Result<(), String> {
        let section = self.section(ongoing.restripe());
        let file = self.file(world);
        let make = || ongoing.backup_file(mover, file, section, now()).map_err(text);
        let backup = ongoing.needs_backup_file().then(make).transpose()?;
        self.run(mover, ongoing, backup)
    }

    /// Whether the backup file holds something that has to be put back.
    pub fn holds_backup(&self, world: &SimWorld, mover: &mut Mover) -> bool {
        let Ok((assembly, members)) = read(mover, self.devices(world, &[])) else { return false };
        let Ok(ongoing) = Ongoing::new(assembly, members) else { return false };
        let verdicts = ongoing.backups(mover, Some(&self.file(world)), Age::Checked);
        verdicts.iter().any(|found| found.verdict.is_ok())
    }

    fn run(
        &self,
        mover: &mut Mover,
        mut ongoing: Ongoing,
        backup: Option<BackupFile>,
    ) -> Result<(), String> {
        match ongoing.run(mover, self.options(backup), now, &mut |_| true).map_err(text)? {
            State::Finished => Ok(()),
            state @ (State::Running
            | State::Stopping
            | State::Stopped
            | State::Failed
            | State::NeedsBackup) => Err(format!("it ended {state:?}")),
        }
    }

    /// Goes on with the reshape that the members record, in whichever direction; nothing else.
    ///
    /// # Errors
    ///
    /// Why it does not go on.
    pub fn finish_recorded(&self, world: &SimWorld, mover: &mut Mover) -> Result<(), String> {
        let (assembly, members) = read(mover, self.devices(world, &[]))?;
        match assembly.shapes {
            Shapes::Moving { .. } => self.resume(world, mover, (assembly, members)),
            Shapes::Whole(_) | Shapes::Unknown => Ok(()),
        }
    }

    /// What the superblocks record.
    ///
    /// # Errors
    ///
    /// Members that are no array.
    pub fn recorded(&self, world: &SimWorld, mover: &mut Mover) -> Result<Shapes, String> {
        read(mover, self.devices(world, &[])).map(|(assembly, _)| assembly.shapes)
    }

    /// What `reshape revert` does: turns what is recorded around, and goes back to the end.
    ///
    /// # Errors
    ///
    /// Why it does not go on once it was turned.
    pub fn turn_back(&self, world: &SimWorld, mover: &mut Mover) -> Result<Turn, String> {
        let (assembly, members) = read(mover, self.devices(world, &[]))?;
        if !matches!(assembly.shapes, Shapes::Moving { .. }) {
            return Ok(Turn::Ended);
        }
        let ongoing = Ongoing::new(assembly, members).map_err(text)?;
        if let Err(error) = ongoing.check_revert() {
            return Ok(Turn::Refused(text(error)));
        }
        let ongoing = self.prepared(world, mover, ongoing)?;
        let needed =
            ongoing.needs_backup_file() || ongoing.way_back_needs_backup_file().map_err(text)?;
        let (file, section) = (self.file(world), self.section(ongoing.restripe()));
        let make = || ongoing.backup_file_to_turn(mover, file, section, now()).map_err(text);
        let backup = if needed { Some(make()?) } else { None };
        let (ongoing, turned) =
            ongoing.revert(mover, self.options(backup), now, &mut |_| true).map_err(text)?;
        match turned {
            Turned::Finished => Ok(Turn::Ended),
            Turned::At(_) => self.run_on(world, mover, ongoing).map(|()| Turn::Back),
        }
    }

    /// Looks at every member of whichever array there is: the new one or the old one, and nothing else.
    ///
    /// # Errors
    ///
    /// What is wrong.
    pub fn check_either(&self, world: &SimWorld, mover: &mut Mover) -> Result<(), String> {
        self.check_either_but(world, mover, &[])
    }

    /// The same, but those in `doubtful` need not be members any more.
    ///
    /// # Errors
    ///
    /// What is wrong.
    pub fn check_either_but(
        &self,
        world: &SimWorld,
        mover: &mut Mover,
        doubtful: &[u32],
    ) -> Result<(), String> {
        let (assembly, members) = read(mover, self.devices(world, &[]))?;
        // A slot that was empty before need not be filled: who was to fill it leaves when it turns, or has all of it.
        let doubtful: Vec<u32> = self.case.fill.iter().chain(doubtful).copied().collect();
        if self.is_done(&assembly) {
            return self.check(world, mover, &[], &doubtful);
        }
        let (case, found) = (&self.case, &assembly);
        let shape = (found.layout.to_md(), found.chunk.get(), found.raid_disks);
        let is_old = matches!(assembly.shapes, Shapes::Whole(_))
            && shape == (case.layouts.0, case.chunks.0, case.disks.0);
        if !is_old {
            return Err(format!("neither done nor back: {:?}", assembly.shapes));
        }
        self.compare_all(world, (&assembly, &members), &self.wanted.0, (&[], &doubtful))
    }

    /// Whether it can be turned around without a disk: who fills a slot of the old array leaves then, too.
    pub fn can_lose_turned(&self, disk: u32) -> bool {
        let lost: Vec<u32> = self.case.fill.into_iter().chain([disk]).collect();
        self.case.missing != Some(disk) && self.case.can_lose(&lost)
    }

    /// The sectors of a member that are overwritten first.
    pub fn critical_rows(&self) -> std::ops::Range<u64> {
        let restripe = self.case.restripe();
        let rows = (restripe.critical_section().get() / restripe.track.new.width).max(8);
        let rows = rows.min(self.case.rows());
        match self.case.forwards {
            true => DATA..DATA + rows,
            false => DATA + self.case.rows() - rows..DATA + self.case.rows(),
        }
    }

    /// The sectors of a new member at which the headers of a backup on it are.
    pub fn headers_on_spares(&self) -> [u64; 2] {
        let end = DATA + self.case.rows();
        let section = self.case.restripe().critical_section().get();
        [end.saturating_sub(16 + section), end - 8]
    }

    fn compare_all(
        &self,
        world: &SimWorld,
        (assembly, members): (&Assembly, &Members),
        wanted: &[Vec<u8>],
        (lost, doubtful): (&[u32], &[u32]),
    ) -> Result<(), String> {
        for (slot, wanted) in (0..).zip(wanted) {
            let there = self.case.missing != Some(slot) && !lost.contains(&slot);
            let seated = assembly
                .members
                .iter()
                .find(|member| member.slot == Some(Slot::new(slot)) && member.is_in_sync());
            match seated {
                Some(member) => {
                    let device = &members.devices[member.candidate];
                    let at = member.data_offset.get();
                    let mut disks = (0..self.case.slots()).map(|disk| world.disk(DiskId(disk)));
                    let disk = disks.find(|disk| disk.device().is_same(device));
                    self.compare((slot, at), &disk.ok_or("a strange disk")?, wanted)?;
                }
                None if there && !doubtful.contains(&slot) => {
                    return Err(format!("slot {slot} has no member: {:?}", assembly.members));
                }
                None => {}
            }
        }
        world.violations().first().map_or(Ok(()), |violation| Err(violation.clone()))
    }

    /// Every sector of the member in `slot`, whose data begins at `at`, against what it has to be.
    fn compare(&self, (slot, at): (u32, u64), disk: &SimDisk, wanted: &[u8]) -> Result<(), String> {
        let found = disk.read(at * kcopy::SECTOR_SIZE, wanted.len());
        if found == wanted {
            return Ok(());
        }
        let mut sectors = wanted.chunks(512).zip(found.chunks(512)).zip(0_u64..);
        let wrong = sectors.find(|((wanted, found), _)| wanted != found).map(|(_, n)| n);
        let row = wrong.unwrap_or(0);
        Err(format!("slot {slot} is wrong at row {row} of {}", self.case.rows()))
    }
}

impl Subject for Bench {
    fn id(&self) -> String {
        format!("reshape:{}", self.case.number)
    }

    fn disks(&self) -> u32 {
        self.case.slots() + 1
    }

    fn world(&self, seed: u64) -> SimWorld {
        let (case, world) = (&self.case, SimWorld::new(seed));
        let old = case.before();
        let keep = old.sectors().get().min(case.after().sectors().get());
        let images = image::members(&old, &content(case, keep));
        let size = Sectors::new(DATA + case.rows() + TAIL);
        let placement = placement(case.rows());
        let array = array(case);
        for slot in 0..case.slots() {
            let options = DiskOptions::new(size.get() * kcopy::SECTOR_SIZE);
            let options = if case.sparse { options.sparse() } else { options };
            let disk = world.add_disk(options.blocks(case.block, 4096));
            let uuid = Uuid([u8::try_from(slot).expect("few") + 1; 16]);
            let superblock = array.superblock(slot, &placement, uuid).expect("fits");
            disk.write(superblock.at().get() * kcopy::SECTOR_SIZE, &superblock.to_bytes());
            let index = usize::try_from(slot).expect("few");
            match images.get(index).filter(|_| case.fill != Some(slot)) {
                Some(image) if case.sparse => write_sparse(&disk, image),
                Some(image) => disk.write(DATA * kcopy::SECTOR_SIZE, image),
                None if case.sparse => write_remains(&disk, case.rows()),
                None => {}
            }
        }
        // The way back may need twice as much.
        let room = (8 + 4 * self.section(&case.restripe()).get()) * kcopy::SECTOR_SIZE;
        world.add_disk(DiskOptions::new(room.max(LEAST)).file(room.max(LEAST)));
        world.silence_trace();
        world
    }

    fn go_on(&self, world: &SimWorld, mover: &mut Mover, lost: &[u32]) -> Result<(), String> {
        let (assembly, members) = read(mover, self.devices(world, lost))?;
        if matches!(assembly.shapes, Shapes::Moving { .. }) {
            return self.resume(world, mover, (assembly, members));
        }
        if self.is_done(&assembly) {
            return Ok(());
        }
        if self.add_again(world, mover, (&assembly, &members))? {
            let (assembly, members) = read(mover, self.devices(world, lost))?;
            return self.start(world, mover, (&assembly, &members));
        }
        self.start(world, mover, (&assembly, &members))
    }

    fn check(
        &self,
        world: &SimWorld,
        mover: &mut Mover,
        lost: &[u32],
        doubtful: &[u32],
    ) -> Result<(), String> {
        let (assembly, members) = read(mover, self.devices(world, lost))?;
        if !self.is_done(&assembly) {
            return Err(format!("it is not done: {:?}", assembly.shapes));
        }
        self.compare_all(world, (&assembly, &members), &self.wanted.1, (lost, doubtful))
    }

    fn is_added(&self, disk: u32) -> bool {
        self.case.added().iter().any(|(number, _)| *number == disk)
    }

    fn can_lose(&self, _world: &SimWorld, lost: &[u32]) -> bool {
        let there = lost.iter().all(|slot| self.case.missing != Some(*slot));
        there && self.case.can_lose(lost)
    }

    fn bench(&self) -> Option<&Bench> {
        Some(self)
    }
}

impl fmt::Display for Bench {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.case.fmt(f)
    }
}

fn content(case: &Case, sectors: u64) -> Vec<u8> {
    match case.sparse {
        true => image::sparse_content(sectors),
        false => image::content(sectors),
    }
}

/// Bytes of a page, the least that is a hole.
const PAGE: usize = 4096;

/// Puts a member's data there; zeros are holes, but for some that are allocated.
fn write_sparse(disk: &SimDisk, image: &[u8]) {
    let mut at = DATA * kcopy::SECTOR_SIZE;
    for (number, page) in image.chunks(PAGE).enumerate() {
        if number % 5 == 0 || page.iter().any(|byte| *byte != 0) {
            disk.write(at, page);
        }
        at += PAGE as u64;
    }
}

/// What a new member was used for before is still on it, in places.
fn write_remains(disk: &SimDisk, rows: u64) {
    let start = DATA * kcopy::SECTOR_SIZE;
    for at in (start..start + rows * kcopy::SECTOR_SIZE).step_by(3 * PAGE) {
        disk.write(at, &[0xa5; PAGE]);
    }
}

/// On the ground on which it may go on, with what `file` has of it.
pub(super) fn prepared(
    mover: &mut Mover,
    ongoing: Ongoing,
    file: &Device,
) -> Result<Ongoing, String> {
    on_ground(mover, ongoing, file).map(|(ongoing, _)| ongoing)
}

/// The same with the ground.
pub(super) fn on_ground(
    mover: &mut Mover,
    ongoing: Ongoing,
    file: &Device,
) -> Result<(Ongoing, Ground), String> {
    let verdicts = ongoing.backups(mover, Some(file), Age::Checked);
    let prepared = ongoing.prepare(mover, &verdicts, Trust::Evidence, now());
    prepared.map_err(|error| {
        let verdicts: Vec<String> = verdicts.iter().map(verdict).collect();
        format!("{error}; backups: {}", verdicts.join("; "))
    })
}

fn verdict(found: &BackupVerdict) -> String {
    match &found.verdict {
        Ok(backup) => format!("{} holds {:?}", found.path.display(), backup.sections),
        Err(why) => why.to_string(),
    }
}

fn read(mover: &mut Mover, devices: Vec<Device>) -> Result<(Assembly, Members), String> {
    let members = Members::read(mover, devices).map_err(text)?;
    let assembly = assemble(&members.candidates).map_err(text)?;
    Ok((assembly, members))
}

fn placement(rows: u64) -> Placement {
    Placement {
        version: "1.2".parse::<Version>().expect("a version"),
        super_at: Sector::new(8),
        data_offset: Sector::new(DATA),
        data_size: Sectors::new(rows + TAIL),
        bitmap_offset: None,
        bad_blocks: None,
    }
}

fn array(case: &Case) -> NewArray {
    let role = |slot| match slot {
        slot if slot < case.disks.0 && case.fill != Some(slot) => Role::Active(Slot::new(slot)),
        _ => Role::Spare,
    };
    let device =
        |slot| NewDevice { role: role(slot), flags: DeviceFlags::empty(), major_minor: (0, 0) };
    NewArray {
        uuid: Uuid([7; 16]),
        name: ArrayName::new("test").expect("short"),
        creation_time: now(),
        level: case.level,
        layout: case.layouts.0,
        chunk: Sectors::new(case.chunks.0),
        raid_disks: case.disks.0,
        component_size: Sectors::new(case.rows()),
        resync: Resync::Clean,
        events: 10,
        md_minor: 0,
        features: Features::empty(),
        devices: (0..case.slots()).map(device).collect(),
    }
}
