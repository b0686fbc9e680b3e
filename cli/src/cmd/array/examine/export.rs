//! Superblocks as `mdadm --examine --export` and `--brief` have them.

use std::collections::BTreeMap;
use std::fmt::Write;

use reshape::metadata::{Features, Role, Superblock, Uuid};

use super::{Seen, array_size, level_name};
use crate::cmd::array::{ConfLine, conf_line};
use crate::output::text::decimal_unit;

/// `KEY=VALUE` lines, for each superblock one after the other.
pub(super) fn lines(all: &[Seen]) -> String {
    let blocks = all.iter().flat_map(Seen::superblocks);
    blocks.map(|found| of(&found.member.superblock)).collect::<Vec<_>>().join("\n")
}

fn of(superblock: &Superblock) -> String {
    let mut lines = vec![
        ("MD_LEVEL", level_name(superblock.level_number()).to_owned()),
        ("MD_DEVICES", superblock.raid_disks().to_string()),
    ];
    if let Some(name) = superblock.name() {
        lines.push(("MD_NAME", name.to_string()));
        if let Some(size) = array_size(superblock) {
            lines.push(("MD_ARRAY_SIZE", decimal_unit(size)));
        }
    }
    lines.push(("MD_UUID", superblock.uuid().to_string()));
    lines.push(("MD_UPDATE_TIME", superblock.update_time().seconds.to_string()));
    if let Some(uuid) = superblock.device_uuid() {
        lines.push(("MD_DEV_UUID", uuid.to_string()));
    }
    lines.push(("MD_EVENTS", superblock.events().to_string()));
    let lines: Vec<String> = lines.iter().map(|(key, value)| format!("{key}={value}")).collect();
    lines.join("\n")
}

/// A line of `mdadm.conf` for each array.
pub(super) fn brief(all: &[Seen]) -> String {
    let mut arrays: BTreeMap<Uuid, (Superblock, usize)> = BTreeMap::new();
    for found in all.iter().flat_map(Seen::superblocks) {
        let superblock = &found.member.superblock;
        let (_, spares) =
            arrays.entry(superblock.uuid()).or_insert_with(|| (superblock.clone(), 0));
        *spares += usize::from(waits(superblock));
    }
    let mut text = String::new();
    for (uuid, (superblock, spares)) in arrays {
        let version = superblock.version();
        let name = superblock.name().map(|name| name.to_string()).unwrap_or_default();
        let minor = match &superblock {
            Superblock::V0(superblock) => Some(superblock.md_minor()),
            Superblock::V1(_) => None,
        };
        let line = conf_line(&ConfLine { version, uuid, name: &name, minor, spares });
        // Writing to a string cannot fail.
        let _ = writeln!(text, "{line}");
    }
    text.truncate(text.trim_end().len());
    text
}

/// What mdadm counts as a spare here: journals, and replacements that are not complete, as well.
fn waits(superblock: &Superblock) -> bool {
    let replaces = match superblock {
        Superblock::V0(_) => false,
        Superblock::V1(superblock) => superblock.features().contains(Features::REPLACEMENT),
    };
    replaces || matches!(superblock.role(), Role::Spare | Role::Journal)
}
