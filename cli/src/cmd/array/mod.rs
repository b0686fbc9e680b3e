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
mod room;
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
        (None, own) => {
            let own = own.replace(char::is_whitespace, "_");
            format!("ARRAY /dev/md/{own}")
        }
    };
    if *version != Version::V0 {
        let _ = write!(line, "  metadata={version}");
    }
    let _ = write!(line, " UUID={uuid}");
    if !name.is_empty() {
        let _ = write!(line, " name={}", conf_word(name));
    }
    if *spares > 0 {
        let _ = write!(line, "\n   spares={spares}");
    }
    line
}

/// One word of `mdadm.conf`, where quotes of either kind keep blanks and the other kind.
fn conf_word(word: &str) -> String {
    if !word.contains(|c: char| c.is_whitespace() || c == '"' || c == '\'') {
        return word.to_owned();
    }
    let mut text = String::from('"');
    let mut open = '"';
    for c in word.chars() {
        if c == open {
            open = if c == '"' { '\'' } else { '"' };
            text.extend([c, open]);
        }
        text.push(c);
    }
    text.push(open);
    text
}

/// The name in `/dev` of the block device with this number, if there is one.
fn by_number(major: u32, minor: u32) -> Option<String> {
    let facts = std::fs::read_to_string(format!("/sys/dev/block/{major}:{minor}/uevent")).ok()?;
    let name = facts.lines().find_map(|line| line.strip_prefix("DEVNAME="))?;
    Some(format!("/dev/{name}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_quoted_in_lines_of_mdadm_conf_as_mdadm_does() {
        // The lines that mdadm 4.2 printed for these names. Unquoted, all behind the blank was lost to
        // whoever read the file.
        let line = |name| {
            let (version, uuid) = (Version::V1(reshape::metadata::Minor::Two), Uuid([0; 16]));
            conf_line(&ConfLine { version, uuid, name, minor: None, spares: 0 })
        };
        assert!(line("host:plain=x").ends_with(" name=host:plain=x"));
        assert!(line("host:a b").starts_with("ARRAY /dev/md/a_b  "));
        assert!(line("host:a b").ends_with(" name=\"host:a b\""));
        assert!(line("any:'q\"uote").ends_with(" name=\"any:'q\"'\"uote'"));
    }
}
