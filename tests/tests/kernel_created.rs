//! Arrays that we make, as mdadm and the real md driver see them: every level, layout and version of
//! superblocks.

use std::fs::File;
use std::path::{Path, PathBuf};

use kcopy::{Sector, Sectors};
use reshape::array::create::{Content, NewBitmap, Wanted};
use reshape::geometry::{Layout, Level, Raid0Layout, Raid5Layout, Raid6Layout};
use reshape::metadata::{Minor, Uuid, Version};
use tests::judge::{self, Case, Verdict};
use tests::ours::{NOW, Ours};
use tests::parallel;
use tests::pattern::Pattern;
use tests::{data, tmp};

/// Of each member; linear and RAID0 of several zones have larger ones, too.
const SIZE: u64 = 3 << 20;
const VERSIONS: [Version; 4] =
    [Version::V0, Version::V1(Minor::Zero), Version::V1(Minor::One), Version::V1(Minor::Two)];
/// The seeds of what we write, and of what the driver then writes.
const OURS: u64 = 71;
const DRIVERS: u64 = 72;

/// A level, a layout and as many slots.
type Kind = (Level, Layout, u32);

/// An array to be made.
#[derive(Debug)]
struct Made {
    name: String,
    wanted: Wanted,
    members: Vec<PathBuf>,
}

/// Everything that there is, once.
fn kinds() -> Vec<Kind> {
    let mut kinds = vec![
        (Level::Linear, Layout::None, 3),
        (Level::Raid0, Layout::Raid0(Raid0Layout::Unspecified), 3),
        (Level::Raid0, Layout::Raid0(Raid0Layout::Original), 4),
        (Level::Raid0, Layout::Raid0(Raid0Layout::Alternate), 4),
        (Level::Raid1, Layout::None, 2),
        (Level::Raid1, Layout::None, 3),
        (Level::Raid4, Layout::None, 3),
    ];
    kinds.extend(Raid5Layout::ALL.map(|layout| (Level::Raid5, Layout::Raid5(layout), 4)));
    kinds.extend(Raid6Layout::all().map(|layout| (Level::Raid6, Layout::Raid6(layout), 5)));
    // Near, far, offset; the two ways in which far copies stay within sets of disks.
    let ten = [
        (0x102, 3),
        (0x102, 4),
        (0x103, 5),
        (0x201, 3),
        (0x201, 4),
        (0x301, 5),
        (0x10201, 3),
        (0x10201, 5),
        (0x10301, 4),
        (0x20201, 4),
        (0x40201, 5),
    ];
    kinds.extend(ten.into_iter().map(|(layout, disks)| {
        let layout = Layout::from_md(Level::Raid10, layout).expect("a layout");
        (Level::Raid10, layout, disks)
    }));
    kinds
}

/// Every second kind, with the versions in turn; in the long form all of them with each version.
fn all(folder: &Path) -> Vec<Made> {
    let mut all = Vec::new();
    for (number, kind) in (0_usize..).zip(kinds()) {
        for (turn, version) in VERSIONS.into_iter().enumerate() {
            // Zones have no layout in superblocks 0.90: such arrays are not made.
            let is_zoned =
                matches!(kind.1, Layout::Raid0(layout) if layout != Raid0Layout::Unspecified);
            let version = if is_zoned && version == Version::V0 { VERSIONS[3] } else { version };
            let is_its_turn = number.is_multiple_of(2) && turn == number / 2 % VERSIONS.len();
            if tests::is_long() || is_its_turn {
                all.push(describe(folder, all.len(), kind, version));
            }
        }
    }
    all
}

fn describe(folder: &Path, number: usize, (level, layout, disks): Kind, version: Version) -> Made {
    let low = u8::try_from(number).expect("few");
    let is_striped_only = matches!(level, Level::Linear | Level::Raid0);
    let bitmap = match number % 3 {
        0 if !is_striped_only => {
            NewBitmap::Internal(number.is_multiple_of(2).then(|| Sectors::new(128)))
        }
        _ => NewBitmap::None,
    };
    let name = format!("{number:03}-{level}-{layout}-{disks}-{version}");
    let name = name.replace([' ', '/'], "-");
    let member = |slot: u32| folder.join(format!("{number:03}-m{slot}"));
    let wanted = Wanted {
        version,
        level,
        layout: Some(layout).filter(|layout| *layout != Layout::None),
        chunk: (level != Level::Raid1).then(|| Sectors::new([128, 8, 32][number % 3])),
        raid_devices: disks,
        spare_devices: 0,
        component: None,
        data_offset: (number % 5 == 4 && version != Version::V0 && version != VERSIONS[1])
            .then(|| Sector::new(1024)),
        bitmap,
        name: if version == Version::V0 { String::new() } else { format!("ours:{number}") },
        // Never all zeros, which mdadm takes for no UUID at all.
        uuid: Uuid([low ^ 0xc3; 16]),
        now: NOW,
        content: if number.is_multiple_of(2) { Content::Zeros } else { Content::Unknown },
    };
    Made { name, wanted, members: (0..disks).map(member).collect() }
}

impl Made {
    /// The files, of zeros or of anything.
    fn make_files(&self) {
        for (slot, path) in (0..).zip(&self.members) {
            let file = File::create_new(path).expect("a new file");
            let is_larger = match self.wanted.layout {
                Some(Layout::Raid0(layout)) => layout != Raid0Layout::Unspecified,
                _ => self.wanted.level == Level::Linear,
            };
            let larger = if is_larger { slot * (200 << 10) } else { 0 };
            file.set_len(SIZE + larger).expect("room");
            if self.wanted.content == Content::Unknown {
                data::overwrite(path, 9 + slot, SIZE);
            }
        }
    }

    fn make(&self) -> Result<(), String> {
        self.make_files();
        let dirty = Ours::create(&self.wanted, &self.members)?;
        if dirty {
            let _report = Ours::writable(&self.members)?.repair()?;
        }
        let mut ours = Ours::writable(&self.members)?;
        ours.fill(Pattern::whole(OURS, ours.array()?.sectors().get()))
    }

    fn sectors(&self) -> u64 {
        let ours = Ours::read_only(&self.members).expect("it was just written");
        ours.array().expect("it is whole").sectors().get()
    }

    fn has_redundancy(&self) -> bool {
        !matches!(self.wanted.level, Level::Linear | Level::Raid0)
    }

    /// What the driver writes over: neither begins nor ends with a chunk.
    fn middle(&self) -> Pattern {
        let sectors = self.sectors();
        Pattern { seed: DRIVERS, from: sectors / 3 + 5, sectors: sectors / 4 }
    }

    fn case(&self) -> Case {
        let (whole, middle) = (Pattern::whole(OURS, self.sectors()), self.middle());
        let case = Case::new(&self.name, &self.members).assemble("").verify(whole);
        let case = if self.has_redundancy() { case.check() } else { case };
        case.fill(middle).verify(middle)
    }

    /// What sysfs has to say.
    fn expect(&self, verdict: &Verdict) -> Result<(), String> {
        let Wanted { level, raid_devices, version, .. } = &self.wanted;
        let (level, disks) = (level.to_string(), raid_devices.to_string());
        let bytes = (self.sectors() * 512).to_string();
        let bitmap = match self.wanted.bitmap {
            NewBitmap::None => "none",
            NewBitmap::Internal(_) => verdict.fact("bitmap/location").unwrap_or_default(),
        };
        if bitmap.is_empty() || (self.wanted.bitmap != NewBitmap::None && bitmap == "none") {
            return Err(format!("{}: it has no bitmap", self.name));
        }
        let version = version.to_string();
        let mut expected = vec![
            ("level", level.as_str()),
            ("raid_disks", &disks),
            ("bytes", &bytes),
            ("metadata_version", &version),
        ];
        if self.has_redundancy() {
            expected.extend([("degraded", "0"), ("bitmap/location", bitmap)]);
        }
        verdict.differing(&expected).map_or(Ok(()), Err)
    }

    /// Reads what the driver left: its part, and ours around it.
    fn read_back(&self) -> Result<(), String> {
        let mut ours = Ours::read_only(&self.members)?;
        let (middle, sectors) = (self.middle(), self.sectors());
        let end = middle.from + middle.sectors;
        ours.verify(Pattern::whole(OURS, middle.from))?;
        ours.verify(middle)?;
        ours.verify(Pattern { seed: OURS, from: end, sectors: sectors - end })?;
        if !self.has_redundancy() {
            return Ok(());
        }
        let mismatches = ours.check()?.mismatch_sectors;
        if mismatches == 0 { Ok(()) } else { Err(format!("{mismatches} sectors disagree")) }
    }
}

#[test]
fn kernel_driver_takes_arrays_that_ours_made_of_every_level_layout_and_version() {
    let dir = tmp::in_memory();
    let all = all(dir.path());
    parallel::expect_all(&all, |made| {
        made.make().map_err(|error| format!("{}: {error}", made.name))
    });
    let cases: Vec<Case> = all.iter().map(Made::case).collect();
    let verdicts = judge::expect_good(&cases);
    let judged: Vec<(&Made, &Verdict)> = all.iter().zip(&verdicts).collect();
    parallel::expect_all(&judged, |(made, verdict)| {
        made.expect(verdict)?;
        made.read_back().map_err(|error| format!("{}: {error}", made.name))
    });
}
