//! Arrays of the corpus as files, and `reshape` run on them.

use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

use crate::binary::{Finished, LIMIT, reshape_binary, run};
use crate::corpus::{self, Kind};
use crate::pattern::Pattern;
use crate::tmp;

/// The files of an array in a directory of their own, removed on drop.
#[derive(Debug)]
pub struct Members {
    dir: TempDir,
    names: Vec<String>,
    seed: u64,
    sectors: u64,
}

impl Members {
    /// The array at rest of that name.
    ///
    /// # Panics
    ///
    /// When there is none, or its files cannot be written.
    #[must_use]
    pub fn of(name: &str) -> Self {
        Self::new(Kind::Arrays, name)
    }

    /// The reshape of that name.
    ///
    /// # Panics
    ///
    /// When there is none, or its files cannot be written.
    #[must_use]
    pub fn amid(name: &str) -> Self {
        Self::new(Kind::Reshapes, name)
    }

    /// The reshape of that name that only `reshape salvage` can judge.
    ///
    /// # Panics
    ///
    /// When there is none, or its files cannot be written.
    #[must_use]
    pub fn hard(name: &str) -> Self {
        Self::new(Kind::Hard, name)
    }

    /// An empty directory, in which an array is to be made of files that have these names. Its
    /// content is to be `sectors` long.
    #[must_use]
    pub fn made_of(names: &[&str], sectors: u64) -> Self {
        let names = names.iter().map(|name| (*name).to_owned()).collect();
        Self { dir: tmp::in_memory(), names, seed: 77, sectors }
    }

    fn new(kind: Kind, name: &str) -> Self {
        let fixture = corpus::one(kind, name);
        let dir = tmp::in_memory();
        let paths = fixture.unpack_into(dir.path());
        let names = paths.iter().filter_map(|path| path.file_name()?.to_str());
        let names = names.filter(|name| *name != "backup").map(str::to_owned).collect();
        let meta = fixture.meta();
        let number = |key: &str| meta[key].as_u64();
        let sectors = number("bytes").map(|bytes| bytes / 512).or_else(|| number("sectors"));
        Self {
            dir,
            names,
            seed: number("seed").expect("the content has a seed"),
            sectors: sectors.expect("the content has a length"),
        }
    }

    /// The path of a file beside the members.
    #[must_use]
    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// The directory.
    #[must_use]
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// The names of the members.
    #[must_use]
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// Sectors of the content that is known.
    #[must_use]
    pub fn sectors(&self) -> u64 {
        self.sectors
    }

    /// Sector `number` of the content.
    #[must_use]
    pub fn sector(&self, number: u64) -> [u8; 512] {
        corpus::sector(self.seed, number)
    }

    /// The content that is known.
    #[must_use]
    pub fn pattern(&self) -> Pattern {
        Pattern::whole(self.seed, self.sectors)
    }

    /// Forgets a member: its file goes.
    ///
    /// # Panics
    ///
    /// When it is not there.
    #[must_use]
    pub fn without(mut self, name: &str) -> Self {
        fs::remove_file(self.path(name)).expect("the member is there");
        self.names.retain(|other| other != name);
        self
    }

    /// Runs `reshape` in the directory; `ALL` in `line` stands for the members.
    ///
    /// # Panics
    ///
    /// When it cannot be started or takes too long.
    pub fn reshape(&self, line: &str) -> Finished {
        run(&mut self.command(line), LIMIT)
    }

    /// The same, not yet started.
    #[must_use]
    pub fn command(&self, line: &str) -> Command {
        let mut command = Command::new(reshape_binary());
        command.current_dir(self.dir.path()).env("TZ", "UTC");
        for word in line.split_whitespace() {
            if word == "ALL" {
                command.args(&self.names);
            } else {
                command.arg(word);
            }
        }
        command
    }

    /// Every file of the directory with its length and the checksum of its bytes: the same as long
    /// as nothing was written and nothing was made.
    ///
    /// # Panics
    ///
    /// When a file cannot be read.
    #[must_use]
    pub fn state(&self) -> String {
        let entries = fs::read_dir(self.dir.path()).expect("the directory can be listed");
        let mut paths: Vec<PathBuf> = entries.map(|entry| entry.expect("listed").path()).collect();
        paths.sort();
        let mut state = String::new();
        for path in paths {
            let bytes = fs::read(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
            let crc = crc32c::crc32c(&bytes);
            writeln!(state, "{} {} {crc:08x}", path.display(), bytes.len()).expect("a string");
        }
        state
    }

    /// Changes bytes of a file.
    ///
    /// # Panics
    ///
    /// When it has no bytes there.
    pub fn patch(&self, name: &str, at: usize, bytes: &[u8]) {
        let path = self.path(name);
        let mut all = fs::read(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        all[at..at + bytes.len()].copy_from_slice(bytes);
        fs::write(&path, all).expect("the file can be written");
    }

    /// Changes the superblock 1.2 of a member, and makes its checksum right again.
    ///
    /// # Panics
    ///
    /// When it has none.
    pub fn patch_superblock(&self, name: &str, change: impl Fn(&mut [u8])) {
        let bytes = fs::read(self.path(name)).expect("the member is there");
        let mut block = bytes.get(4096..8192).expect("a superblock").to_vec();
        change(&mut block);
        block[216..220].fill(0);
        let (length, _) = block[220..].split_first_chunk().expect("a superblock");
        let roles = usize::try_from(u32::from_le_bytes(*length)).expect("few roles");
        let words = block[..256 + 2 * roles].chunks(4).map(|word| {
            let mut whole = [0; 4];
            whole[..word.len()].copy_from_slice(word);
            u64::from(u32::from_le_bytes(whole))
        });
        let sum: u64 = words.sum();
        let sum = (sum & 0xFFFF_FFFF) + (sum >> 32);
        block[216..220].copy_from_slice(&sum.to_le_bytes()[..4]);
        self.patch(name, 4096, &block);
    }

    /// The array was not stopped cleanly: every superblock, 1.2, has resync_offset 0.
    ///
    /// # Panics
    ///
    /// When a member has no such superblock.
    pub fn mark_dirty(&self) {
        for name in &self.names {
            self.patch_superblock(name, |block| block[208..216].fill(0));
        }
    }

    /// Asserts that a file begins with the content from sector `first` on, `sectors` long.
    ///
    /// # Panics
    ///
    /// Naming the first sector that differs.
    pub fn expect_content(&self, file: &str, first: u64, sectors: u64) {
        let bytes = fs::read(self.path(file)).unwrap_or_else(|error| panic!("{file}: {error}"));
        assert!(bytes.len() as u64 >= sectors * 512, "{file} has {} bytes only", bytes.len());
        for (number, found) in (first..first + sectors).zip(bytes.chunks_exact(512)) {
            assert!(found == self.sector(number), "{file}: not the content of sector {number}");
        }
    }

    /// Makes a file of other content, which is what is expected from now on.
    ///
    /// # Panics
    ///
    /// When it cannot be written.
    pub fn write_new_content(&mut self, file: &str) {
        self.seed += 5000;
        let bytes: Vec<u8> = (0..self.sectors).flat_map(|number| self.sector(number)).collect();
        fs::write(self.path(file), bytes).expect("the file can be written");
    }

    /// Nothing was written or made; there is one message, which has `cause` in it, and what to do.
    ///
    /// # Panics
    ///
    /// When it is not so.
    #[track_caller]
    pub fn expect_refused(&self, line: &str, cause: &str) {
        let before = self.state();
        let done = self.reshape(line).expect_code(2);
        assert!(done.stderr.starts_with("reshape: cannot "), "{line}: {}", done.stderr);
        assert!(done.stderr.contains(cause), "{line}: {}", done.stderr);
        assert_eq!(done.stderr.matches("reshape: ").count(), 1, "{line}: {}", done.stderr);
        assert!(done.stderr.contains("\nhint: "), "{line}: {}", done.stderr);
        assert_eq!(done.stdout, "", "{line}");
        assert!(self.state() == before, "{line}: something was written");
    }
}
