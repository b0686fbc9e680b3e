//! Members that were cut, zeroed, flipped, copied, mixed up, lost, or that lie: an array is read
//! rightly or not at all, nobody panics, and nothing is written.
//!
//! What is done follows from a seed, which a failure names: `KCOPY_SEED=N` does it again.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::panic;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::SystemTime;

use tests::binary::{LIMIT, run};
use tests::corpus::array::Unpacked;
use tests::corpus::{self, Fixture, Kind};
use tests::data::{self, Random};
use tests::members::Members;
use tests::ours::Ours;
use tests::pattern::Differs;
use tests::{parallel, reshape_binary, tmp};

/// Arrays that are damaged in one run, of each kind.
const TRIALS: u64 = 120;
/// Sectors that are read of an array whose superblocks lie: they may say that it is large.
const SOME: u64 = 4096;

/// What may still be expected of an array.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Expected {
    /// Its content, or a refusal.
    Content,
    /// Nothing but an end.
    Anything,
}

/// What is done to members.
#[derive(Clone, Copy, Debug)]
enum Damage {
    /// The order changes.
    Shuffle,
    /// One is not given.
    Lose,
    /// One ends before.
    Cut,
    /// One has zeros where a superblock, bitmap or log may be.
    Zero,
    /// Some bits there are others.
    Flip,
    /// One is given twice, as two files.
    Copy,
    /// One of another array is given, too.
    Mix,
    /// A superblock says something else, with a right checksum.
    Lie,
    /// Some bits anywhere are others.
    FlipAnywhere,
}

const ALL: [Damage; 9] = [
    Damage::Shuffle,
    Damage::Lose,
    Damage::Cut,
    Damage::Zero,
    Damage::Flip,
    Damage::Copy,
    Damage::Mix,
    Damage::Lie,
    Damage::FlipAnywhere,
];

/// Members, and how they are damaged.
struct Trial<'a> {
    folder: &'a Path,
    random: Random,
    members: Vec<PathBuf>,
    /// Where content or parity is on those that the array has, in bytes.
    content: BTreeMap<PathBuf, Range<u64>>,
    /// The size of each before it was damaged.
    sizes: BTreeMap<PathBuf, u64>,
    expected: Expected,
    done: Vec<String>,
}

impl Trial<'_> {
    fn number(&mut self, bound: usize) -> usize {
        let bound = u64::try_from(bound).expect("small");
        usize::try_from(self.random.below(bound)).expect("small")
    }

    /// A path in the folder that no step before has used; members also go, their number is no name.
    fn new_path(&self, kind: &str) -> PathBuf {
        self.folder.join(format!("{kind}{}", self.done.len()))
    }

    /// A member, and its size.
    fn any(&mut self) -> (PathBuf, u64) {
        let number = self.number(self.members.len());
        let path = self.members[number].clone();
        let size = || fs::metadata(&path).expect("it is there").len();
        let size = *self.sizes.entry(path.clone()).or_insert_with(size);
        (path, size)
    }

    /// A byte where a superblock may be, or what belongs to it.
    fn beside_content(&mut self, size: u64) -> u64 {
        let (head, tail) = (self.random.below(64 << 10), self.random.below(4 << 10));
        let v0 = (size & !0xffff) - (64 << 10);
        let v1 = (size - (8 << 10)) & !0xfff;
        match self.random.below(4) {
            0 => 4096 + tail,
            1 => v0 + tail,
            2 => v1 + tail,
            _ => head,
        }
    }

    fn damage(&mut self, damage: Damage) {
        let (path, size) = self.any();
        self.done.push(format!("{damage:?} {}", path.display()));
        match damage {
            Damage::Shuffle => {
                let by = self.number(self.members.len());
                self.members.rotate_left(by);
                self.members.reverse();
            }
            Damage::Lose => self.members.retain(|member| *member != path),
            Damage::Cut => {
                let length = if self.random.below(2) == 0 {
                    size - self.random.below(256) * 512
                } else {
                    self.random.below(size)
                };
                resize(&path, length);
            }
            Damage::Zero => {
                let at = self.beside_content(size);
                self.patch(&path, at & !0xfff, |bytes| bytes.fill(0));
            }
            Damage::Flip | Damage::FlipAnywhere => {
                let at = if matches!(damage, Damage::Flip) {
                    self.beside_content(size)
                } else {
                    self.random.below(size)
                };
                let bit = 1 << self.random.below(8);
                self.patch(&path, at & !0xfff, |bytes| {
                    let at = usize::try_from(at & 0xfff).expect("small");
                    if let Some(byte) = bytes.get_mut(at) {
                        *byte ^= bit;
                    }
                });
            }
            Damage::Copy => {
                let copy = self.new_path("copy");
                let _bytes = fs::copy(path, &copy).expect("room");
                self.members.push(copy);
            }
            Damage::Mix => self.mix(),
            Damage::Lie => self.lie(&path, size),
        }
    }

    /// Changes 4 KiB.
    fn patch(&mut self, path: &Path, at: u64, change: impl FnOnce(&mut [u8])) {
        let is_beside = |content: &Range<u64>| at + 4096 <= content.start || content.end <= at;
        if !self.content.get(path).is_some_and(is_beside) {
            self.expected = Expected::Anything;
        }
        let file = File::options().read(true).write(true).open(path).expect("it is there");
        let mut bytes = vec![0; 4096];
        let length = file.read_at(&mut bytes, at).expect("readable");
        change(&mut bytes[..length]);
        file.write_all_at(&bytes[..length], at).expect("writable");
    }

    fn mix(&mut self) {
        let all = corpus::all(Kind::Arrays);
        let other = &all[self.number(all.len())];
        let folder = self.new_path("other");
        fs::create_dir(&folder).expect("a new folder");
        let others = other.unpack_into(&folder);
        let number = self.number(others.len());
        self.members.push(others[number].clone());
    }

    /// Changes a few bytes of a superblock, and its checksum.
    fn lie(&mut self, path: &Path, size: u64) {
        self.expected = Expected::Anything;
        let places = [(size & !0xffff) - (64 << 10), (size - (8 << 10)) & !0xfff, 0, 4096];
        let bytes: Vec<(usize, u8)> = (0..self.random.below(4) + 1)
            .map(|_| {
                let value = u8::try_from(self.random.below(256)).expect("a byte");
                // Behind magic and version.
                (8 + self.number(256), value)
            })
            .collect();
        for at in places {
            self.patch(path, at, |block| {
                if block.len() < 4096 || block[..4] != [0xfc, 0x4e, 0x2b, 0xa9] {
                    return;
                }
                for (at, value) in &bytes {
                    block[*at] = *value;
                }
                sum(block);
            });
        }
    }
}

/// Puts the right checksum into a superblock.
fn sum(block: &mut [u8]) {
    let word = |block: &[u8], at: usize| {
        let bytes = block[at..at + 4].try_into().expect("four bytes");
        u64::from(u32::from_le_bytes(bytes))
    };
    let is_new = block[4] == 1;
    let at = if is_new { 216 } else { 152 };
    block[at..at + 4].fill(0);
    let roles = usize::try_from(word(block, 220)).unwrap_or(0).min(1920);
    let length = if is_new { 256 + 2 * roles } else { 4096 };
    let words: u64 = (0..length / 4).map(|number| word(block, number * 4)).sum();
    let half = if length % 4 == 2 { word(block, length - 2) & 0xffff } else { 0 };
    let sum = words + half;
    let [a, b, c, d, e, f, g, h] = sum.to_le_bytes();
    let folded = u32::from_le_bytes([a, b, c, d]).wrapping_add(u32::from_le_bytes([e, f, g, h]));
    block[at..at + 4].copy_from_slice(&folded.to_le_bytes());
}

fn resize(path: &Path, length: u64) {
    let file = File::options().write(true).open(path).expect("it is there");
    file.set_len(length).expect("it can be cut");
}

/// When each was written.
fn times(paths: &[PathBuf]) -> Vec<SystemTime> {
    let time = |path: &PathBuf| fs::metadata(path).and_then(|data| data.modified());
    paths.iter().map(|path| time(path).expect("it is there")).collect()
}

/// Damages the members in `folder` and looks what becomes of the array.
fn one(seed: u64, fixture: &Fixture, kind: Kind) -> Result<(), String> {
    let dir = tmp::in_memory();
    let (array, members) = match kind {
        Kind::Arrays => {
            let array = Unpacked::new(fixture, dir.path());
            // Of stale members alone nobody could know that they are.
            let files = array.active.iter().map(|(_, path)| path).chain(&array.spares).cloned();
            let files = files.collect();
            (Some(array), files)
        }
        Kind::Reshapes | Kind::Hard => (None, fixture.unpack_into(dir.path())),
    };
    let expected = if array.is_some() { Expected::Content } else { Expected::Anything };
    let mut trial = Trial {
        folder: dir.path(),
        random: Random::new(seed),
        members,
        content: array.as_ref().map(content).unwrap_or_default(),
        sizes: BTreeMap::new(),
        expected,
        done: Vec::new(),
    };
    for _ in 0..=trial.random.below(3) {
        if !trial.members.is_empty() {
            let damage = ALL[trial.number(ALL.len())];
            trial.damage(damage);
        }
    }
    let before = times(&trial.members);
    let wrong = read(&trial, array.as_ref());
    let written = times(&trial.members) != before;
    let about = || format!("KCOPY_SEED={seed} {}: {:?}", fixture.name, trial.done);
    if written {
        return Err(format!("{}: members were written", about()));
    }
    wrong.map_or(Ok(()), |wrong| Err(format!("{}: {wrong}", about())))
}

/// Where content or parity is on each member.
fn content(array: &Unpacked) -> BTreeMap<PathBuf, Range<u64>> {
    let members = array.meta["members"].as_array().expect("a list of members");
    let place = |member: &serde_json::Value| {
        let number = |key: &str| Some(member[key].as_u64()? * 512);
        let start = number("data_offset")?;
        Some((array.folder.join(member["file"].as_str()?), start..start + number("size")?))
    };
    members.iter().filter_map(place).collect()
}

/// What is wrong with what is read; a refusal is not.
fn read(trial: &Trial<'_>, array: Option<&Unpacked>) -> Option<String> {
    let mut ours = Ours::read_only(&trial.members).ok()?;
    let sectors = ours.array().ok()?.sectors().get();
    let Some(array) = array.filter(|_| trial.expected == Expected::Content) else {
        // What it is, nobody knows; that it ends is what counts.
        let _content = ours.read(0, sectors.min(SOME));
        let _end = ours.read(sectors.saturating_sub(SOME), sectors.min(SOME));
        return None;
    };
    let content = array.content();
    if sectors != content.sectors {
        return Some(format!("it has {sectors} sectors, not {}", content.sectors));
    }
    let found = ours.read(0, sectors).ok()?;
    Differs::between(content, &found).map(|differs| differs.to_string())
}

fn trials(kind: Kind) {
    let (first, fixtures) = (data::seed_of_this_run(), corpus::all(kind));
    let count = if tests::is_long() { 50 * TRIALS } else { TRIALS };
    let seeds: Vec<u64> = (0..count).map(|number| first.wrapping_add(number)).collect();
    parallel::expect_all(&seeds, |seed| {
        let number = Random::new(seed ^ 0x5eed).below(u64::try_from(fixtures.len()).expect("few"));
        let fixture = &fixtures[usize::try_from(number).expect("few")];
        let done = panic::catch_unwind(|| one(*seed, fixture, kind));
        done.unwrap_or_else(|_| Err(format!("KCOPY_SEED={seed} {}: it panicked", fixture.name)))
    });
}

#[test]
fn damaged_array_is_read_rightly_or_not_at_all_for_all() {
    trials(Kind::Arrays);
}

#[test]
fn damaged_half_moved_array_is_read_or_refused_without_a_panic_for_all() {
    trials(Kind::Reshapes);
}

/// 64 MiB, all private memory of the command included, which has some of its own.
const MEMORY: u64 = 64 << 20;

#[test]
fn examine_needs_little_memory_whatever_sizes_are_claimed() {
    let members = Members::of("raid5-bitmap-v12");
    let largest = (u64::MAX >> 1).to_le_bytes();
    let claims: [(&str, &dyn Fn()); 5] = [
        ("bits of a bitmap", &|| {
            members.patch("m0", 8192 + 40, &largest);
            members.patch("m0", 8192 + 52, &512_u32.to_le_bytes());
        }),
        ("room of a bitmap", &|| members.patch("m0", 8192 + 64, &[0xff; 4])),
        ("sizes", &|| {
            members.patch_superblock("m0", |block| {
                block[80..88].copy_from_slice(&largest);
                block[136..144].copy_from_slice(&largest);
            });
        }),
        ("length of a bad-block log", &|| {
            members.patch_superblock("m0", |block| {
                block[186..188].fill(0xff);
                block[188..192].copy_from_slice(&16_u32.to_le_bytes());
            });
        }),
        ("length of a device", &|| {
            let file = File::options().write(true).open(members.path("m0")).expect("it is there");
            file.set_len(8 << 40).expect("sparse");
        }),
    ];
    for (claim, make) in claims {
        make();
        let mut shell = Command::new("sh");
        let script = format!("ulimit -d {} && exec \"$@\"", MEMORY / 1024);
        shell.args(["-c", &script, "sh"]).arg(reshape_binary());
        let done = run(shell.args(["examine", "--json", "m0"]).current_dir(members.dir()), LIMIT);
        assert!([0, 1].contains(&done.code()), "{claim}: {}", done.stderr);
        assert_eq!(done.json()["schema"], 1, "{claim}");
    }
}
