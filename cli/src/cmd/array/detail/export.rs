//! The array as `mdadm --detail --export` and `--brief` have it.

use std::fmt::Write;

use super::{devices_before, moving, path_of};
use crate::cmd::array::given::Given;
use crate::output::escape;

/// `KEY=VALUE` lines.
pub(super) fn lines(given: &Given) -> String {
    let assembly = &given.assembly;
    let mut text = String::new();
    let mut put = |key: &str, value: &str| {
        // Writing to a string cannot fail.
        let _ = writeln!(text, "{key}={value}");
    };
    put("MD_LEVEL", assembly.level.name());
    put("MD_DEVICES", &devices_before(assembly).to_string());
    put("MD_METADATA", assembly.version.name());
    if moving(assembly).is_some() {
        put("MD_RESHAPE_ACTIVE", "True");
    }
    put("MD_UUID", &assembly.uuid.to_string());
    if let Some(name) = assembly.name {
        put("MD_NAME", &name.to_string());
    }
    for member in &assembly.members {
        let path = escape::lines(&path_of(given, member)).replace('\n', "\\u{a}");
        let key = key_of(&path);
        let role = member.slot.filter(|_| member.is_usable());
        let role =
            role.map_or_else(|| member.state.name().to_owned(), |slot| slot.get().to_string());
        put(&format!("MD_DEVICE_{key}_ROLE"), &role);
        put(&format!("MD_DEVICE_{key}_DEV"), &path);
    }
    text.truncate(text.trim_end().len());
    text
}

/// The path as part of a key: `dev_sdb1`.
fn key_of(path: &str) -> String {
    let path = path.trim_start_matches('/');
    path.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }).collect()
}

/// A line of `mdadm.conf`.
pub(super) fn brief(given: &Given) -> String {
    let assembly = &given.assembly;
    let spares = assembly.members.iter().filter(|member| member.state.name() == "spare").count();
    let name = assembly.name.map(|name| name.to_string()).unwrap_or_default();
    crate::cmd::array::conf_line(&crate::cmd::array::ConfLine {
        version: assembly.version,
        uuid: assembly.uuid,
        name: &name,
        minor: None,
        spares,
    })
}
