//! An array as somebody would describe it who wants to make it, from one of its superblocks.

use kcopy::Sectors;
use reshape::geometry::Level;
use reshape::metadata::{BitmapRoom, NewArray, NewDevice, Placement, Role, Superblock, Uuid};

/// The array that `from` is of.
pub(crate) fn array(from: &Superblock) -> NewArray {
    let devices = match from {
        Superblock::V0(v0) => (0..27)
            .filter_map(|number| Some((v0.descriptor(number)?, v0.role_of(number)?)))
            .map(|(described, role)| NewDevice {
                role,
                flags: described.flags(),
                major_minor: (described.major, described.minor),
            })
            .collect(),
        Superblock::V1(v1) => {
            // Devices follow one another; the table says "spare" for those that are not there.
            let used =
                (0..v1.max_dev()).rev().find(|number| v1.role_of(*number) != Some(Role::Spare));
            let last = used.unwrap_or(0).max(v1.dev_number());
            (0..=last)
                .filter_map(|number| v1.role_of(number))
                .map(|role| NewDevice { role, flags: v1.device_flags(), major_minor: (0, 0) })
                .collect()
        }
    };
    NewArray {
        uuid: from.uuid(),
        name: from.name().unwrap_or_default(),
        creation_time: from.creation_time(),
        level: from.level().expect("a level"),
        layout: from.layout(),
        chunk: from.chunk(),
        raid_disks: from.raid_disks(),
        component_size: from.component_size(),
        resync: from.resync(),
        events: from.events(),
        md_minor: 0,
        features: from.features(),
        devices,
    }
}

/// What lies where on a device of `size`, if nobody asked for something else.
pub(crate) fn placement(from: &Superblock, size: Sectors) -> Placement {
    let bitmap = match (from.level(), from.bitmap_at()) {
        (Some(Level::Linear | Level::Raid0), _) => BitmapRoom::None,
        (_, Ok(Some(_))) => BitmapRoom::Used,
        _ => BitmapRoom::Kept,
    };
    Placement::usual(from.version(), size, from.chunk(), bitmap).expect("there is room")
}

/// The device's own name.
pub(crate) fn uuid(from: &Superblock) -> Uuid {
    from.device_uuid().unwrap_or_default()
}
