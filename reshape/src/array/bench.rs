//! Arrays on simulated disks for tests, and what is expected of them after a loss of power.

use std::sync::{Arc, OnceLock};

use kcopy::backend::sim::{DiskId, DiskOptions, SimWorld};
use kcopy::{Device, Sectors};

use super::create::{Blank, Content, CreatePlan, NewBitmap, Seat, Wanted};
use super::film::{self, Cut, Film};
use super::{Array, ArrayError, Force, Members, Mend, Range, Session, Source};
use crate::assemble::{Assembly, Candidate, State, assemble};
use crate::geometry::Level;
use crate::metadata::{Minor, Timestamp, Uuid, Version};
use crate::mover::Mover;
use crate::units::Slot;

pub(crate) const V2: Version = Version::V1(Minor::Two);
pub(crate) const EVERY: [Version; 4] =
    [Version::V0, Version::V1(Minor::Zero), Version::V1(Minor::One), Version::V1(Minor::Two)];
/// In 1.2 that leaves 640 sectors for data.
pub(crate) const DISK: u64 = 2688 * 512;
/// Sectors of content that tests write and look for.
pub(crate) const CONTENT: u64 = 400;

pub(crate) fn now() -> Timestamp {
    Timestamp::from_seconds(1_700_000_000)
}

pub(crate) fn wanted(version: Version, level: Level, raid_devices: u32) -> Wanted {
    Wanted {
        version,
        level,
        layout: None,
        chunk: (level != Level::Raid1).then(|| Sectors::new(16)),
        raid_devices,
        spare_devices: 0,
        component: None,
        data_offset: None,
        bitmap: NewBitmap::None,
        name: String::new(),
        uuid: Uuid([7; 16]),
        now: now(),
        content: Content::Zeros,
    }
}

/// So many sectors, of which sector n says n, and no two words are alike.
pub(crate) fn numbered(sectors: u64) -> Vec<u8> {
    (0..sectors * 64).flat_map(|word| (word + 1).to_le_bytes()).collect()
}

/// What tests write into arrays.
pub(crate) fn content() -> &'static [u8] {
    static BYTES: OnceLock<Vec<u8>> = OnceLock::new();
    BYTES.get_or_init(|| numbered(CONTENT))
}

/// An array on simulated disks.
#[derive(Clone)]
pub(crate) struct Bench {
    /// The disks, and the clock.
    pub(crate) world: SimWorld,
    /// Those that are members, slots first.
    pub(crate) ids: Vec<DiskId>,
}

impl Bench {
    /// A new array whose first sectors have content.
    pub(crate) fn new(wanted: &Wanted) -> Self {
        Self::on(&DiskOptions::new(DISK), wanted)
    }

    pub(crate) fn on(disk: &DiskOptions, wanted: &Wanted) -> Self {
        let world = SimWorld::new(5);
        let members = wanted.raid_devices + wanted.spare_devices;
        let ids: Vec<_> = (0..members).map(|_| world.add_disk(disk.clone()).id()).collect();
        let bench = Self { world, ids };
        let mut mover = bench.mover();
        let mut seats = Vec::new();
        for number in 0..members {
            let index = usize::try_from(number).expect("few");
            let uuid = Uuid([u8::try_from(number + 1).expect("few"); 16]);
            let blank = Blank::look(&mut mover, bench.device(index), uuid).expect("readable");
            seats.push(Seat::Taken(blank));
        }
        CreatePlan::new(wanted, &seats).expect("a plan").execute(&mut mover).expect("made");
        bench.write(&mut mover, 0, content().to_vec()).expect("written");
        bench
    }

    pub(crate) fn mover(&self) -> Mover {
        film::mover(&self.world)
    }

    pub(crate) fn device(&self, index: usize) -> Device {
        self.world.disk(self.ids[index]).device()
    }

    pub(crate) fn at(&self, cut: &Cut) -> Self {
        Self { world: cut.world.clone(), ids: self.ids.clone() }
    }

    /// Without the disk of a slot.
    pub(crate) fn without(&self, index: usize) -> Self {
        let mut ids = self.ids.clone();
        ids.remove(index);
        Self { world: self.world.clone(), ids }
    }

    pub(crate) fn read(&self, mover: &mut Mover) -> (Assembly, Members) {
        let devices = self.ids.iter().map(|id| self.world.disk(*id).device()).collect();
        let members = Members::read(mover, devices).expect("members");
        (assemble(&members.candidates).expect("one array"), members)
    }

    pub(crate) fn session(&self, mover: &mut Mover) -> Session {
        let (assembly, members) = self.read(mover);
        Session::open(&assembly, &members, Force::No).expect("writable")
    }

    pub(crate) fn write(
        &self,
        mover: &mut Mover,
        start: u64,
        bytes: Vec<u8>,
    ) -> Result<Vec<Slot>, ArrayError> {
        let range = Range::new(start, u64::try_from(bytes.len() / 512).expect("small"));
        let source = Source::Memory(Arc::new(bytes));
        self.session(mover).write(mover, now(), range, &source, &mut |_| true)
    }

    /// Runs a change with a picture after every operation.
    pub(crate) fn film<T>(&self, change: impl FnOnce(&mut Session, &mut Mover) -> T) -> (Film, T) {
        Film::of(&self.world, |mover| {
            let mut session = self.session(mover);
            change(&mut session, mover)
        })
    }

    /// As [`Self::expect_content`], and everything is in step.
    pub(crate) fn expect_whole(&self, about: &str) -> Assembly {
        let mut mover = self.mover();
        let (assembly, members) = self.read(&mut mover);
        let array = Array::open(&assembly, &members.devices, &members.bad).expect("open");
        let report = array.check(&mut mover, Mend::Report, &mut |_| true).expect("checked");
        assert_eq!(report.mismatch_sectors, 0, "{about}");
        self.expect_content(about)
    }

    /// What was acknowledged is there, and the array can be written: the next to open it finds one
    /// that is whole.
    pub(crate) fn expect_content(&self, about: &str) -> Assembly {
        let mut mover = self.mover();
        let (assembly, members) = self.read(&mut mover);
        assert_eq!(assembly.state(), State::Clean, "{about}: {assembly:?}");
        let array = Array::open(&assembly, &members.devices, &members.bad).expect("open");
        let (found, report) = array.read(&mut mover, Range::new(0, CONTENT)).expect("read");
        assert_eq!(report.unreadable, []);
        assert!(found == content(), "{about}: content is lost");
        self.expect_bitmaps(&mut mover, about);
        // And it goes on from there: what the crash left behind is settled by the next change.
        let last = assembly.shapes.sectors().expect("known").get() - 8;
        self.write(&mut mover, last, vec![0x77; 8 * 512]).expect("written");
        let (assembly, members) = self.read(&mut mover);
        assert_eq!(assembly.state(), State::Clean, "{about}");
        // Levels without redundancy are written without a word in the superblocks.
        if crate::array::has_redundancy(assembly.level) {
            let same = |c: &Candidate| (c.superblock.events(), c.superblock.component_size());
            let first = same(&members.candidates[0]);
            assert!(members.candidates.iter().all(|c| same(c) == first), "{about}");
        }
        self.expect_bitmaps(&mut mover, about);
        assembly
    }

    /// Superblocks that tell of a bitmap are right, and it covers the array.
    pub(crate) fn expect_bitmaps(&self, mover: &mut Mover, about: &str) {
        let (assembly, members) = self.read(mover);
        let crate::assemble::Shapes::Whole(geometry) = &assembly.shapes else { panic!("{about}") };
        for (candidate, bitmap) in members.candidates.iter().zip(&members.bitmaps) {
            let Some(bitmap) = bitmap else { continue };
            let header = bitmap.as_ref().expect("a bitmap").header();
            let superblock = &candidate.superblock;
            let events = superblock.events();
            let known = header.belongs_to(superblock.uuid_on_disk(), events);
            assert!(known, "{about}: bitmap of {}, superblock of {events}", header.events());
            assert!(
                header.sync_size() >= crate::array::bitmap::sync_size(geometry)
                    || superblock.events() < assembly.events,
                "{about}"
            );
        }
    }
}

/// Each cut of a film leaves an array that passes; gives them with what was found.
pub(crate) fn at_every_cut(
    bench: &Bench,
    film: &Film,
    about: &str,
    expect: fn(&Bench, &str) -> Assembly,
) -> Vec<(Cut, Assembly)> {
    let cuts = film.crashes();
    assert!(cuts.len() > 5, "{about}: {} cuts", cuts.len());
    let look = |cut: Cut| {
        let about = format!("{about}, after {} operations, {:?}", cut.moment, cut.crash);
        let assembly = expect(&bench.at(&cut), &about);
        (cut, assembly)
    };
    cuts.into_iter().map(look).collect()
}

pub(crate) fn redundant() -> [(Level, u32); 5] {
    [(Level::Raid1, 2), (Level::Raid4, 3), (Level::Raid5, 3), (Level::Raid6, 4), (Level::Raid10, 3)]
}
