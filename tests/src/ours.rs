//! The library `reshape` on image files, as a test uses it: in few words, and no error is expected.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use kcopy::device::{Device, OpenOptions};
use reshape::array::create::{Blank, CreatePlan, Seat, Wanted};
use reshape::array::{
    Array, CheckReport, Force, Members, Mend, Newcomer, Range, Record, Session, Source,
};
use reshape::assemble::{Assembly, assemble};
use reshape::exec::begin;
use reshape::metadata::{Resync, Timestamp, Uuid};
use reshape::mover::{Mover, Options};
use reshape::plan::{self, Change, Present, Step};
use reshape::units::Slot;

use crate::pattern::{Differs, Pattern};

/// What the clock says in every test: superblocks are written at this second.
pub const NOW: Timestamp = Timestamp::from_seconds(1_900_000_000);
/// Pages of 4 KiB: enough for a stripe of the largest chunk.
const PAGES: u32 = 4096;

/// An array whose members are files.
#[derive(Debug)]
pub struct Ours {
    mover: Mover,
    members: Members,
    assembly: Assembly,
}

impl Ours {
    /// Opens members, for reading only.
    ///
    /// # Errors
    ///
    /// What the library refuses, as text.
    pub fn read_only(paths: &[PathBuf]) -> Result<Self, String> {
        Self::open(paths, &OpenOptions::source())
    }

    /// Opens members for reading and writing.
    ///
    /// # Errors
    ///
    /// What the library refuses, as text.
    pub fn writable(paths: &[PathBuf]) -> Result<Self, String> {
        Self::open(paths, &OpenOptions::destination())
    }

    fn open(paths: &[PathBuf], options: &OpenOptions) -> Result<Self, String> {
        let mut mover = mover()?;
        let devices = paths.iter().map(|path| Device::open(path, options));
        let devices: Vec<Device> = devices.collect::<Result<_, _>>().map_err(text)?;
        let members = Members::read(&mut mover, devices).map_err(text)?;
        let assembly = assemble(&members.candidates).map_err(text)?;
        Ok(Self { mover, members, assembly })
    }

    /// Makes a new array of files, the slots' first; says whether parity or copies have to be
    /// computed yet.
    ///
    /// # Errors
    ///
    /// What the library refuses, as text.
    pub fn create(wanted: &Wanted, paths: &[PathBuf]) -> Result<bool, String> {
        let mut mover = mover()?;
        let mut seats = Vec::with_capacity(paths.len());
        for (number, path) in (1..).zip(paths) {
            let device = Device::open(path, &OpenOptions::destination()).map_err(text)?;
            let mut uuid = wanted.uuid;
            uuid.0[0] = number;
            seats.push(Seat::Taken(Blank::look(&mut mover, device, uuid).map_err(text)?));
        }
        let plan = CreatePlan::new(wanted, &seats).map_err(text)?;
        plan.execute(&mut mover).map_err(text)?;
        Ok(plan.resync != Resync::Clean)
    }

    /// What was assembled.
    #[must_use]
    pub const fn assembly(&self) -> &Assembly {
        &self.assembly
    }

    /// The numbers of the devices (`dev_number`), in the order in which they were given.
    #[must_use]
    pub fn numbers(&self) -> Vec<u32> {
        self.members.candidates.iter().map(|member| member.superblock.dev_number()).collect()
    }

    /// The array, for reading.
    ///
    /// # Errors
    ///
    /// What the library refuses, as text.
    pub fn array(&self) -> Result<Array, String> {
        let Members { devices, bad, .. } = &self.members;
        Array::open(&self.assembly, devices, bad).map_err(text)
    }

    /// Some of its content, in sectors.
    ///
    /// # Errors
    ///
    /// What the library refuses, as text; also sectors that cannot be read.
    pub fn read(&mut self, from: u64, sectors: u64) -> Result<Vec<u8>, String> {
        let array = self.array()?;
        let range = Range::new(from, sectors);
        let (bytes, report) = array.read(&mut self.mover, range).map_err(text)?;
        if report.unreadable.is_empty() {
            return Ok(bytes);
        }
        Err(format!("cannot read {:?}", report.unreadable))
    }

    /// Compares content with a pattern.
    ///
    /// # Errors
    ///
    /// What the library refuses, as text; also what differs.
    pub fn verify(&mut self, pattern: Pattern) -> Result<(), String> {
        let bytes = self.read(pattern.from, pattern.sectors)?;
        Differs::between(pattern, &bytes).map_or(Ok(()), |differs| Err(differs.to_string()))
    }

    /// Writes a pattern, and lets the members be closed as a clean array.
    ///
    /// # Errors
    ///
    /// What the library refuses, as text; also members that failed.
    pub fn fill(&mut self, pattern: Pattern) -> Result<(), String> {
        let mut session = self.session()?;
        let source = Source::Memory(Arc::new(pattern.bytes()));
        let range = Range::new(pattern.from, pattern.sectors);
        let failed = session.write(&mut self.mover, NOW, range, &source, &mut |_| true);
        let failed = failed.map_err(text)?;
        if failed.is_empty() { Ok(()) } else { Err(format!("slots {failed:?} failed")) }
    }

    /// Compares copies and parity.
    ///
    /// # Errors
    ///
    /// What the library refuses, as text.
    pub fn check(&mut self) -> Result<CheckReport, String> {
        let array = self.array()?;
        array.check(&mut self.mover, Mend::Report, &mut |_| true).map_err(text)
    }

    /// Makes copies and parity agree.
    ///
    /// # Errors
    ///
    /// What the library refuses, as text.
    pub fn repair(&mut self) -> Result<CheckReport, String> {
        self.session()?.repair(&mut self.mover, NOW, &mut |_| true).map_err(text)
    }

    /// Computes the content of a slot onto a device: a new one, or a spare of the array.
    ///
    /// # Errors
    ///
    /// What the library refuses, as text.
    pub fn rebuild(&mut self, slot: u32, device: &Path) -> Result<(), String> {
        let mut session = self.session()?;
        let mut known = self.members.devices.iter();
        let device = match known.find(|member| member.path() == device) {
            Some(spare) => spare.clone(),
            None => Device::open(device, &OpenOptions::destination()).map_err(text)?,
        };
        let [low, ..] = slot.to_le_bytes();
        let newcomer = Newcomer { device, uuid: Uuid([low ^ 0xa5; 16]), bad: Vec::new() };
        let slot = Slot::new(slot);
        session.rebuild(&mut self.mover, NOW, slot, &newcomer, &mut |_| true).map_err(text)
    }

    /// Puts a device behind the others of a linear array.
    ///
    /// # Errors
    ///
    /// What the library refuses, as text.
    pub fn append(&mut self, device: &Path) -> Result<(), String> {
        let mut session = self.session()?;
        let device = Device::open(device, &OpenOptions::destination()).map_err(text)?;
        let newcomer = Newcomer { device, uuid: Uuid([0xa7; 16]), bad: Vec::new() };
        let _slot = session.append(&mut self.mover, NOW, &newcomer).map_err(text)?;
        Ok(())
    }

    /// Records a growth by devices that are spares of the array; nothing is moved.
    ///
    /// # Errors
    ///
    /// What the library refuses, as text.
    pub fn begin_growth(&mut self, raid_disks: u32) -> Result<(), String> {
        let present = Present::read(&self.assembly, &self.members).map_err(text)?;
        let change = Change { raid_disks: Some(raid_disks), ..Change::default() };
        let plan = plan::plan(&present, &change).map_err(text)?;
        let moves = plan.steps.iter().find(|step| matches!(step, Step::Restripe(_)));
        let Some(Step::Restripe(step)) = moves else { return Err("nothing is moved".into()) };
        let Self { mover, members, assembly } = self;
        let mut record = Record::new(assembly, &members.candidates, &members.devices);
        let number = |disk: usize| members.candidates[disk].superblock.dev_number();
        let added: Vec<(u32, Slot)> =
            step.fills.iter().map(|fill| (number(fill.disk), fill.slot)).collect();
        begin(mover, &mut record, &step.restripe, &added, NOW).map(drop).map_err(text)
    }

    fn session(&self) -> Result<Session, String> {
        Session::open(&self.assembly, &self.members, Force::No).map_err(text)
    }
}

fn mover() -> Result<Mover, String> {
    Mover::open(&Options { pages: PAGES, ..Options::default() }).map_err(text)
}

fn text(error: impl std::fmt::Display) -> String {
    error.to_string()
}
