//! An array that is given by its members: opens them, reads what md wrote there, assembles.

use std::path::{Path, PathBuf};

use kcopy::Device;
use kcopy::engine::Config;
use reshape::array::{ArrayError, DeviceReader, Members, NoMember, RecordError};
use reshape::assemble::{Assembly, Member, MemberState, Refusal, WhyNot, WhyNotWrite, assemble};
use reshape::metadata::examine;
use reshape::mover::{MoveError, Mover, OpenError, Options};

use crate::args::Direct;
use crate::args::array::MoverArgs;
use crate::cmd::engine;
use crate::cmd::target::{open_destination, open_source, overlap};
use crate::exit::{Exit, Failure};
use crate::output::name;

/// What is to be done with the members.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Access {
    /// They are opened read-only.
    Look,
    /// They are opened for reading and writing; a block device is claimed for us alone.
    Change,
}

/// An array, its members open.
#[derive(Debug)]
pub(crate) struct Given {
    pub(crate) mover: Mover,
    pub(crate) members: Members,
    pub(crate) assembly: Assembly,
}

impl Given {
    /// Opens `paths` and assembles what they are members of.
    pub(crate) fn open(
        paths: &[PathBuf],
        access: Access,
        how: &MoverArgs,
    ) -> Result<Self, Failure> {
        let devices = open_all(paths, access, how.direct)?;
        let mut mover = mover(how, paths.len())?;
        let members = Members::read(&mut mover, devices).map_err(|error| no_member(&error))?;
        let assembly = assemble(&members.candidates).map_err(|error| no_array(&error))?;
        tracing::info!(members = paths.len(), array = %assembly.uuid, level = %assembly.level, "members read");
        Ok(Self { mover, members, assembly })
    }

    /// `raid5 array 1a8b9873:…`, to be told what is meant.
    pub(crate) fn title(&self) -> String {
        format!("{} array {}", self.assembly.level, self.assembly.uuid)
    }

    /// Whether `device` is, or lies on, the same storage as a member.
    pub(crate) fn has(&self, device: &Device) -> Option<&Device> {
        self.members.devices.iter().find(|member| overlap(member, device))
    }
}

/// Moves those disks of `added` to the members that are members or spares of the same array already; one that is stale
/// stays a disk to be added. What cannot be read is left where it is: whoever opens it says why.
pub(crate) fn settle(members: &mut Vec<PathBuf>, added: &mut Vec<PathBuf>, direct: Direct) {
    if let Some(joined) = joined(members, added, direct) {
        members.extend(added.iter().filter(|path| joined.contains(path)).cloned());
        added.retain(|path| !joined.contains(path));
    }
}

/// Which of `added` belong to the array of `members`, and are not stale.
fn joined(members: &[PathBuf], added: &[PathBuf], direct: Direct) -> Option<Vec<PathBuf>> {
    let first = members.first().filter(|_| !added.is_empty())?;
    let mut mover = mover(&MoverArgs::small(), 0).ok()?;
    let mut uuid_of = |path: &PathBuf| {
        let device = open_source(path, direct).ok()?;
        let examined = examine(&DeviceReader::new(&mut mover, &device));
        examined.members().map(|member| member.superblock.uuid()).next()
    };
    let own = uuid_of(first)?;
    let known: Vec<PathBuf> =
        added.iter().filter(|path| uuid_of(path) == Some(own)).cloned().collect();
    let all: Vec<PathBuf> = members.iter().chain(&known).cloned().collect();
    let devices = open_all(&all, Access::Look, direct).ok()?;
    let read = Members::read(&mut mover, devices).ok()?;
    let assembly = assemble(&read.candidates).ok()?;
    let fresh = |path: &PathBuf| {
        let of = |member: &&Member| read.devices.get(member.candidate).map(Device::path);
        let member = assembly.members.iter().find(|member| of(member) == Some(path.as_path()));
        member.is_some_and(|member| member.state != MemberState::Stale)
    };
    Some(known.into_iter().filter(fresh).collect())
}

/// Opens every device, each of them once.
pub(crate) fn open_all(
    paths: &[PathBuf],
    access: Access,
    direct: Direct,
) -> Result<Vec<Device>, Failure> {
    let mut devices: Vec<Device> = Vec::with_capacity(paths.len());
    for path in paths {
        let device = open_source(path, direct)?;
        if let Some(other) = devices.iter().find(|other| overlap(other, &device)) {
            return Err(twice(other.path(), path));
        }
        devices.push(device);
    }
    match access {
        Access::Look => Ok(devices),
        // Claimed for us alone: one that is named twice would be in use by ourselves.
        Access::Change => paths.iter().map(|path| open_destination(path, true, direct)).collect(),
    }
}

fn twice(one: &Path, other: &Path) -> Failure {
    let message = if one == other {
        format!("cannot use {}: it is named twice", name(one))
    } else {
        format!("cannot use {}: it is the same device as {}", name(other), name(one))
    };
    Failure::refused(message).hint("name every member once")
}

/// The engine that moves the data of an array of so many members.
pub(crate) fn mover(how: &MoverArgs, members: usize) -> Result<Mover, Failure> {
    let config = Config { throttle: engine::throttle(how.rate)?, ..Config::default() };
    let pages = engine::pages_of(how.pool_for(members))?;
    let options = Options { pages, backend: how.backend.into(), config, ..Options::default() };
    Mover::open(&options).map_err(|error| {
        let failure = Failure::refused(format!("cannot start the copy engine: {error}"));
        match error {
            OpenError::NoMemory { .. } => failure.hint("give a smaller --pool"),
            OpenError::Backend(_) | _ => failure.hint("--backend threads works everywhere"),
        }
    })
}

pub(crate) fn no_member(error: &NoMember) -> Failure {
    let hint = match error {
        NoMember::NoSuperblock { .. } => {
            "check the name; a new disk is named by --add only; a member whose superblock is lost is left out, \
             and what it held is computed where the array can do that"
        }
        NoMember::Damaged { .. } => {
            "reshape examine shows it; leave it out if the array can do without it"
        }
        NoMember::Unreadable { .. } => {
            "see what the kernel log says about it (dmesg); leave it out if the array can do \
             without it"
        }
        NoMember::TwoArrays { .. } => {
            "reshape examine shows both; name the other members of the one that is meant"
        }
        _ => "reshape examine shows what is there",
    };
    Failure::refused(format!("cannot use a device: {error}")).hint(hint)
}

pub(crate) fn no_array(error: &Refusal) -> Failure {
    let hint = match error {
        Refusal::SeveralArrays { .. } => "reshape examine --brief tells which belong together",
        Refusal::SeveralVersions { .. } => {
            "one of the superblocks is left over from before: reshape examine shows both"
        }
        Refusal::Duplicate { .. } => "name each member once; leave a copy out",
        Refusal::Truncated { .. } => {
            "it was cut, or is another device than the one that was a member; leave it out if the \
             array can do without it"
        }
        Refusal::Level { .. }
        | Refusal::Layout(_)
        | Refusal::Shape(_)
        | Refusal::Reshape { .. }
        | Refusal::NoMembers
        | _ => "compare what reshape examine says about each member",
    };
    Failure::refused(format!("cannot assemble the array: {error}")).hint(hint)
}

/// Why something cannot be done with the array. Nothing was written yet.
pub(crate) fn refused(what: &str, error: &ArrayError) -> Failure {
    Failure::refused(format!("cannot {what}: {}", chain(error))).hint(hint(error))
}

/// Why something ended half-way.
pub(crate) fn failed(what: &str, error: &ArrayError) -> Failure {
    let failure = Failure::failed(format!("cannot {what}: {}", chain(error))).hint(hint(error));
    let interrupted = matches!(error, ArrayError::Move(MoveError::Cancelled));
    if interrupted { Failure { exit: Exit::Interrupted, ..failure } } else { failure }
}

/// The message of an error and those of its causes.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut message = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        message = format!("{message}: {inner}");
        cause = inner.source();
    }
    message
}

fn hint(error: &ArrayError) -> &'static str {
    match error {
        ArrayError::NotStartable(why) | ArrayError::NotWritable(WhyNotWrite::NotReadable(why)) => {
            not_startable(why)
        }
        ArrayError::NotWritable(why) => not_writable(why),
        ArrayError::Reshaping => "reshape detail shows how far it has come",
        ArrayError::OutOfRange { .. } => "reshape detail shows the size of the array",
        ArrayError::Bitmap { .. } => "reshape examine shows the bitmap",
        ArrayError::SlotTaken { .. } => "reshape detail shows which slots are empty",
        ArrayError::TooSmall { .. } => "add a larger device",
        ArrayError::Unreadable { .. } | ArrayError::Source { .. } => {
            "see what the kernel log says about the device (dmesg)"
        }
        ArrayError::NoRoom { .. } => {
            "no member left the array; free room there, run reshape check --repair, then the same command again"
        }
        ArrayError::TooManyFailed { .. } => {
            "the superblocks still count them in: mend the connection, then run reshape check"
        }
        ArrayError::Newcomer { .. } => super::going::NEWCOMER,
        ArrayError::Record(RecordError::TableFull { .. }) => "leave failed devices out",
        ArrayError::Record(_) => "run reshape detail: it says what the members know now",
        ArrayError::Change(_) => "reshape detail and reshape examine show what the array has",
        ArrayError::Move(MoveError::Cancelled) => "run the same command again",
        ArrayError::Move(_) => "see what the kernel log says about the device (dmesg)",
        ArrayError::Misplaced(_) | ArrayError::Inconsistent | _ => {
            "reshape examine shows what the superblocks say"
        }
    }
}

fn not_startable(why: &WhyNot) -> &'static str {
    match why {
        WhyNot::TooFew { .. } => "name all members; reshape detail shows what became of each",
        WhyNot::Raid0Layout => {
            "mdadm --assemble --update=layout-alternate (or layout-original for arrays from before \
             Linux 3.14) records it"
        }
        WhyNot::Journal => "start the array with the kernel once and stop it again",
        _ => "reshape detail shows the state of each member",
    }
}

fn not_writable(why: &WhyNotWrite) -> &'static str {
    match why {
        WhyNotWrite::Reshaping => "finish the reshape first; reshape detail shows how far it is",
        WhyNotWrite::DirtyDegraded => {
            "--force goes on all the same; what was being written when the array stopped may be \
             wrong on the missing member"
        }
        WhyNotWrite::Ppl => "remove the log first: mdadm --grow --consistency-policy=resync",
        WhyNotWrite::Clustered => "other hosts may be using it: change it there",
        WhyNotWrite::Features { .. } => "a newer version of this program may know them",
        WhyNotWrite::NotReadable(why) => not_startable(why),
        _ => "reshape detail shows the state of each member",
    }
}
