//! What is known of an array at rest, as a test asks for it.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::Fixture;
use crate::pattern::Pattern;

/// An array at rest, unpacked to files.
#[derive(Clone, Debug)]
pub struct Unpacked {
    /// Its name.
    pub name: String,
    /// Where its files are.
    pub folder: PathBuf,
    /// What is known about it.
    pub meta: Value,
    /// The files of the members that belong to it, with their slots.
    pub active: Vec<(u32, PathBuf)>,
    /// Files of spares.
    pub spares: Vec<PathBuf>,
    /// Files of members that were taken out: they hold old content.
    pub stale: Vec<PathBuf>,
}

/// How an array may do without members.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Redundancy {
    /// None may be missing.
    None,
    /// One copy on every member.
    Copies,
    /// That many may be missing.
    Parity(usize),
    /// Copies of chunk k are on members `k * step + 0..copies`, counted around.
    Spread {
        /// Copies of each chunk.
        copies: u32,
        /// How far the next chunk's first copy is.
        step: u32,
    },
}

impl Unpacked {
    /// The array of `fixture`, in a new folder of its name in `folder`.
    ///
    /// # Panics
    ///
    /// When it cannot be unpacked there, or `meta.json` lacks something.
    #[must_use]
    pub fn new(fixture: &Fixture, folder: &Path) -> Self {
        let folder = folder.join(&fixture.name);
        fs::create_dir(&folder).unwrap_or_else(|e| panic!("{}: {e}", folder.display()));
        let _members = fixture.unpack_into(&folder);
        let meta = fixture.meta();
        let (mut active, mut spares, mut stale) = (Vec::new(), Vec::new(), Vec::new());
        for member in meta["members"].as_array().expect("a list of members") {
            let field = |name: &str| member[name].as_str().expect("a text");
            let file = folder.join(field("file"));
            match field("state") {
                "spare" => spares.push(file),
                state if state.starts_with("failed") => stale.push(file),
                _ => active.push((field("role").parse().expect("a slot"), file)),
            }
        }
        Self { name: fixture.name.clone(), folder, meta, active, spares, stale }
    }

    /// A number of `meta.json`.
    ///
    /// # Panics
    ///
    /// When it is not there.
    #[must_use]
    pub fn number(&self, key: &str) -> u64 {
        self.meta[key].as_u64().unwrap_or_else(|| panic!("{}: no number {key}", self.name))
    }

    /// A text of `meta.json`.
    ///
    /// # Panics
    ///
    /// When it is not there.
    #[must_use]
    pub fn text(&self, key: &str) -> &str {
        self.meta[key].as_str().unwrap_or_else(|| panic!("{}: no text {key}", self.name))
    }

    /// Its content.
    #[must_use]
    pub fn content(&self) -> Pattern {
        self.filled(self.number("seed"))
    }

    /// Other content of its size.
    #[must_use]
    pub fn filled(&self, seed: u64) -> Pattern {
        Pattern::whole(seed, self.number("bytes") / 512)
    }

    /// All files, those that belong to it first.
    #[must_use]
    pub fn files(&self) -> Vec<PathBuf> {
        let active = self.active.iter().map(|(_, path)| path);
        active.chain(&self.spares).chain(&self.stale).cloned().collect()
    }

    /// All files but those of some slots.
    #[must_use]
    pub fn without(&self, slots: &BTreeSet<u32>) -> Vec<PathBuf> {
        let left = |(slot, path): &(u32, PathBuf)| (!slots.contains(slot)).then(|| path.clone());
        let active = self.active.iter().filter_map(left);
        active.chain(self.spares.iter().chain(&self.stale).cloned()).collect()
    }

    /// A new file beside the members, empty, as large as the largest of them.
    ///
    /// # Errors
    ///
    /// When it cannot be made.
    pub fn blank(&self, name: &str) -> Result<PathBuf, String> {
        let sizes = self.active.iter().map(|(_, path)| fs::metadata(path).map(|data| data.len()));
        let sizes: std::io::Result<Vec<u64>> = sizes.collect();
        let path = self.folder.join(name);
        let size = sizes.map(|sizes| sizes.into_iter().max().unwrap_or(0));
        size.and_then(|size| File::create_new(&path)?.set_len(size))
            .map_err(|error| format!("{}: {error}", path.display()))?;
        Ok(path)
    }

    /// How it may do without members, from its level and layout.
    ///
    /// # Panics
    ///
    /// When that is unknown.
    #[must_use]
    pub fn redundancy(&self) -> Redundancy {
        match self.text("level") {
            "linear" | "raid0" => Redundancy::None,
            "raid1" => Redundancy::Copies,
            "raid4" | "raid5" => Redundancy::Parity(1),
            "raid6" => Redundancy::Parity(2),
            "raid10" => {
                let layout = self.text("layout");
                let (kind, copies) = layout.split_once('=').expect("kind and number");
                let copies = copies.parse().expect("a number");
                let step = if kind == "near" { copies } else { 1 };
                Redundancy::Spread { copies, step }
            }
            level => panic!("{}: level {level}", self.name),
        }
    }

    /// Whether its content can be had without the members of these slots, beside those that are
    /// missing already.
    #[must_use]
    pub fn can_do_without(&self, slots: &BTreeSet<u32>) -> bool {
        let present = |slot: u32| {
            self.active.iter().any(|(other, _)| *other == slot) && !slots.contains(&slot)
        };
        let disks = u32::try_from(self.number("raid_disks")).expect("few");
        let missing = (0..disks).filter(|slot| !present(*slot)).count();
        match self.redundancy() {
            Redundancy::None => missing == 0,
            Redundancy::Copies => (0..disks).any(present),
            Redundancy::Parity(most) => missing <= most,
            Redundancy::Spread { copies, step } => (0..disks)
                .all(|chunk| (0..copies).any(|copy| present((chunk * step + copy) % disks))),
        }
    }

    /// The sets of at most `most` slots that it can do without, and those that it cannot.
    #[must_use]
    pub fn losses(&self, most: usize) -> (Vec<BTreeSet<u32>>, Vec<BTreeSet<u32>>) {
        let mut sets = vec![BTreeSet::new()];
        for (slot, _) in &self.active {
            let grown = sets.iter().filter(|set| set.len() < most).cloned().map(|mut set| {
                set.insert(*slot);
                set
            });
            let grown: Vec<_> = grown.collect();
            sets.extend(grown);
        }
        sets.into_iter().partition(|set| self.can_do_without(set))
    }
}
