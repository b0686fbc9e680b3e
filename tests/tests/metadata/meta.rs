//! What is known of an array at rest, beside its superblocks.

use kcopy::{Sector, Sectors};
use reshape::metadata::{DeviceFlags, Role, Superblock};
use reshape::units::Slot;
use serde_json::Value;

/// Panics unless `superblock` says what `meta` says about the array and its member `name`.
pub(crate) fn compare(context: &str, meta: &Value, name: &str, superblock: &Superblock) {
    let number = |value: &Value| value.as_u64().unwrap_or_else(|| panic!("{context}: {value}"));
    let text = |value: &Value| value.as_str().expect("a text").to_owned();
    assert_eq!(superblock.uuid().to_string(), text(&meta["uuid"]), "{context}");
    assert_eq!(superblock.version().name(), text(&meta["metadata"]), "{context}");
    let level = superblock.level().unwrap_or_else(|| panic!("{context}: no level"));
    let stated = text(&meta["level"]);
    assert_eq!(stated.parse(), Ok(level), "{context}");
    assert_eq!(u64::from(superblock.raid_disks()), number(&meta["raid_disks"]), "{context}");
    let members = meta["members"].as_array().expect("a list");
    let member = members.iter().find(|member| member["file"] == name).expect("a member");
    let state = text(&member["state"]);
    if level.name() != "raid1" && level.name() != "linear" {
        assert_eq!(superblock.chunk().checked_bytes(), meta["chunk"].as_u64(), "{context}");
        // A RAID0 of members of one size has no layout.
        if let Some(layout) = meta["layout_number"].as_u64() {
            assert_eq!(u64::from(superblock.layout()), layout, "{context}");
        }
    }
    if number(&meta["component_sectors"]) > 0 {
        let size = Sectors::new(number(&meta["component_sectors"]));
        assert_eq!(superblock.component_size(), size, "{context}");
    }
    let role = match member["role"].as_str().expect("a text") {
        "none" => Role::Spare,
        slot => Role::Active(Slot::new(slot.parse().unwrap_or_else(|_| panic!("{context}")))),
    };
    // A member that failed was not told so: its own superblock still gives it a slot.
    assert_eq!(superblock.role(), role, "{context} {state}");
    if let Some(sectors) = member["data_offset"].as_u64() {
        assert_eq!(superblock.data_offset(), Sector::new(sectors), "{context}");
    } else {
        assert!(state.starts_with("failed"), "{context} {state}");
    }
    let write_mostly = superblock.device_flags().contains(DeviceFlags::WRITE_MOSTLY);
    assert_eq!(write_mostly, state.contains("write_mostly"), "{context} {state}");
}
