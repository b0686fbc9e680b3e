//! The disks of a case, and what is done with them: beginning, going on, looking at the result.

use kcopy::backend::sim::{DiskId, DiskOptions, SimWorld};
use kcopy::{Device, Sector, Sectors};
use reshape::array::{Age, Members, Record};
use reshape::assemble::{Assembly, Shapes, assemble};
use reshape::exec::{BackupFile, BackupVerdict, Mutation, Ongoing, Options, Trust, begin};
use reshape::machine::State;
use reshape::metadata::{
    ArrayName, DeviceFlags, Features, NewArray, NewDevice, Placement, Resync, Role, Timestamp,
    Uuid, Version,
};
use reshape::mover::Mover;
use reshape::plan::Mode;
use reshape::units::Slot;

use super::case::Case;
use super::image;

/// Where the data begins, and how much room is left behind it.
const DATA: u64 = 160;
const TAIL: u64 = 160;

/// A rule that is taken away.
pub type Rule = Option<Mutation>;

/// A case, and what has to come out of it.
#[derive(Debug)]
pub struct Bench {
    /// The case.
    pub case: Case,
    rule: Rule,
    /// What each member of the new array has to hold.
    wanted: Vec<Vec<u8>>,
}

fn now() -> Timestamp {
    Timestamp::from_seconds(1_700_000_000)
}

fn text(error: impl std::fmt::Display) -> String {
    error.to_string()
}

impl Bench {
    /// Prepares what has to come out of `case`.
    pub fn new(case: &Case, rule: Rule) -> Self {
        let (old, new) = (case.before(), case.after());
        let keep = old.sectors().get().min(new.sectors().get());
        let wanted = image::members(&new, &image::content(keep));
        Self { case: case.clone(), rule, wanted }
    }

    /// The disks before the reshape: members, disks that are added, and last the backup file.
    pub fn world(&self, seed: u64) -> SimWorld {
        let (case, world) = (&self.case, SimWorld::new(seed));
        let old = case.before();
        let keep = old.sectors().get().min(case.after().sectors().get());
        let images = image::members(&old, &image::content(keep));
        let size = Sectors::new(DATA + case.rows() + TAIL);
        let placement = placement(case.rows());
        let array = array(case);
        for slot in 0..case.slots() {
            let options = DiskOptions::new(size.get() * kcopy::SECTOR_SIZE);
            let disk = world.add_disk(options.blocks(case.block, 4096));
            let uuid = Uuid([u8::try_from(slot).expect("few") + 1; 16]);
            let superblock = array.superblock(slot, &placement, uuid).expect("fits");
            disk.write(superblock.at().get() * kcopy::SECTOR_SIZE, &superblock.to_bytes());
            let index = usize::try_from(slot).expect("few");
            if let Some(image) = images.get(index).filter(|_| case.fill != Some(slot)) {
                disk.write(DATA * kcopy::SECTOR_SIZE, image);
            }
        }
        let room = (8 + 2 * self.section().get()) * kcopy::SECTOR_SIZE;
        world.add_disk(DiskOptions::new(room).file(room));
        world.silence_trace();
        world
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

    /// Goes on with whatever the members record; begins the reshape if nothing is recorded yet.
    ///
    /// # Errors
    ///
    /// Why it does not go on.
    pub fn go_on(&self, world: &SimWorld, mover: &mut Mover, lost: &[u32]) -> Result<(), String> {
        let (assembly, members) = read(mover, self.devices(world, lost))?;
        if matches!(assembly.shapes, Shapes::Moving { .. }) {
            return self.resume(world, mover, (assembly, members));
        }
        if self.is_done(&assembly) {
            return Ok(());
        }
        self.start(world, mover, (&assembly, &members))
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
        let backup = self.first_backup(world, mover, (assembly, &record))?;
        // A disk that is to be added may be the one that was lost.
        let mut added = self.case.added();
        added.retain(|(number, _)| record.entry(*number).is_some());
        begin(mover, &mut record, &self.case.restripe(), &added, now()).map_err(text)?;
        let devices = record.entries().iter().map(|entry| entry.device.clone()).collect();
        let (assembly, members) = read(mover, devices)?;
        let ongoing = Ongoing::new(assembly, members).map_err(text)?;
        if ongoing.restripe().track != self.case.restripe().track {
            return Err("the superblocks record another way".into());
        }
        self.run(mover, ongoing, backup)
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
            Mode::BackupFile => self.file_of(world, mover, uuid).map(Some),
            Mode::BackupOnSpares => {
                let entry = |(number, _): &(u32, Slot)| record.entry(*number);
                let added = self.case.added();
                let spares: Vec<(Device, Sector)> = added
                    .iter()
                    .filter_map(entry)
                    .map(|entry| (entry.device.clone(), entry.superblock.data_offset()))
                    .collect();
                if spares.is_empty() {
                    return self.file_of(world, mover, uuid).map(Some);
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
    ) -> Result<BackupFile, String> {
        BackupFile::create(mover, self.file(world), uuid, self.section(), now()).map_err(text)
    }

    /// Sectors of a section of the backup file.
    fn section(&self) -> Sectors {
        let restripe = self.case.restripe();
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
        let mut ongoing = Ongoing::new(assembly, members).map_err(text)?;
        ongoing.break_rule(self.rule);
        let verdicts = ongoing.backups(mover, Some(&self.file(world)), Age::Checked);
        let (ongoing, _) =
            ongoing.prepare(mover, &verdicts, Trust::Evidence, now()).map_err(|error| {
                let verdicts: Vec<String> = verdicts.iter().map(verdict).collect();
                format!("{error}; backups: {}", verdicts.join("; "))
            })?;
        let uuid = ongoing.assembly.uuid_on_disk;
        let needs = ongoing.needs_backup_file();
        let backup = needs.then(|| self.file_of(world, mover, uuid)).transpose()?;
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

    /// Looks at every member: the new array and nothing else, every sector and all parity right. Those in
    /// `doubtful` need not be members any more, but if they are they have to be right.
    ///
    /// # Errors
    ///
    /// What is wrong.
    pub fn check(
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
        for slot in 0..self.case.disks.1 {
            let there = self.case.missing != Some(slot) && !lost.contains(&slot);
            let seated = assembly
                .members
                .iter()
                .find(|member| member.slot == Some(Slot::new(slot)) && member.is_in_sync());
            match seated {
                Some(member) => {
                    let number = members.candidates[member.candidate].superblock.dev_number();
                    let at = member.data_offset.get();
                    self.compare((slot, number), at, world)?;
                }
                None if there && !doubtful.contains(&slot) => {
                    return Err(format!("slot {slot} has no member: {:?}", assembly.members));
                }
                None => {}
            }
        }
        match world.violations().first() {
            Some(violation) => Err(violation.clone()),
            None => Ok(()),
        }
    }

    /// Every sector of the member in `slot`, whose data begins at `at`, against what it has to be.
    fn compare(&self, (slot, number): (u32, u32), at: u64, world: &SimWorld) -> Result<(), String> {
        let wanted = &self.wanted[usize::try_from(slot).expect("few")];
        let found = world.disk(DiskId(number)).read(at * kcopy::SECTOR_SIZE, wanted.len());
        if found == *wanted {
            return Ok(());
        }
        let mut sectors = wanted.chunks(512).zip(found.chunks(512)).zip(0_u64..);
        let wrong = sectors.find(|((wanted, found), _)| wanted != found).map(|(_, n)| n);
        let row = wrong.unwrap_or(0);
        Err(format!("slot {slot} is wrong at row {row} of {}", self.case.rows()))
    }
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
