//! One room per subcommand of `reshape`.

use std::fmt::Write;

use reshape::metadata::{Uuid, Version};

mod backup;
pub(crate) mod bitmap;
pub(crate) mod check;
pub(crate) mod create;
pub(crate) mod demo;
pub(crate) mod detail;
mod event_log;
pub(crate) mod examine;
pub(crate) mod export;
mod given;
pub(crate) mod going;
pub(crate) mod grow;
pub(crate) mod import;
pub(crate) mod layout;
pub(crate) mod plan;
mod random;
mod range;
pub(crate) mod rebuild;
pub(crate) mod replay;
pub(crate) mod salvage;

/// What a line of `mdadm.conf` says about an array.
struct ConfLine<'a> {
    version: Version,
    uuid: Uuid,
    /// Empty if it has none.
    name: &'a str,
    /// The number of its device, if the superblock says one.
    minor: Option<u32>,
    spares: usize,
}

/// `ARRAY /dev/md/0 metadata=1.2 UUID=… name=host:0`, and a line with the spares if there are any.
fn conf_line(array: &ConfLine<'_>) -> String {
    let ConfLine { version, uuid, name, minor, spares } = array;
    let own = name.rsplit(':').next().unwrap_or_default();
    let mut line = match (minor, own) {
        (Some(minor), _) => format!("ARRAY /dev/md{minor}"),
        (None, "") => "ARRAY <none>".to_owned(),
        (None, own) => format!("ARRAY /dev/md/{own}"),
    };
    if *version != Version::V0 {
        let _ = write!(line, "  metadata={version}");
    }
    let _ = write!(line, " UUID={uuid}");
    if !name.is_empty() {
        let _ = write!(line, " name={name}");
    }
    if *spares > 0 {
        let _ = write!(line, "\n   spares={spares}");
    }
    line
}

/// The name in `/dev` of the block device with this number, if there is one.
fn by_number(major: u32, minor: u32) -> Option<String> {
    let facts = std::fs::read_to_string(format!("/sys/dev/block/{major}:{minor}/uevent")).ok()?;
    let name = facts.lines().find_map(|line| line.strip_prefix("DEVNAME="))?;
    Some(format!("/dev/{name}"))
}
