//! What `mdadm --examine` prints, read back and compared with what we read.
//!
//! A line that is not known is a failure: no field is passed over in silence.

use std::collections::BTreeMap;

use kcopy::Sectors;
use reshape::metadata::{
    DeviceState, Member, Reshape, Resync, Role, Superblock, Timestamp, V0, V1,
};

/// The lines of one member, without those that are empty.
pub(crate) type Lines = Vec<String>;

/// The text, cut into members at its lines `# name`.
pub(crate) fn members(text: &str) -> BTreeMap<String, Lines> {
    let mut members: BTreeMap<String, Lines> = BTreeMap::new();
    let mut name = String::new();
    for line in text.lines() {
        if let Some(next) = line.strip_prefix("# ") {
            name = next.to_owned();
            members.entry(name.clone()).or_default();
            continue;
        }
        let heading = line.trim() == format!("{name}:");
        if line.trim().is_empty() || heading || line.contains("No md superblock") {
            continue;
        }
        members.get_mut(&name).expect("a name comes first").push(line.to_owned());
    }
    members
}

/// Panics unless everything in `lines` is what the member says.
pub(crate) fn compare(context: &str, lines: &Lines, member: &Member, device: Sectors) {
    for line in lines {
        let said = match line.split_once(" : ") {
            Some((key, value)) => field(key.trim(), value.trim(), member, device),
            None => match &member.superblock {
                Superblock::V0(superblock) => table(line, superblock),
                Superblock::V1(_) => Err("a line without a colon".to_owned()),
            },
        };
        if let Err(ours) = said {
            panic!("{context}: mdadm says {:?}, we say {ours:?}", line.trim());
        }
    }
}

/// Whether we would print the same; else what we would print.
fn field(key: &str, value: &str, member: &Member, device: Sectors) -> Result<(), String> {
    let superblock = &member.superblock;
    let number = value.split_whitespace().next().unwrap_or_default();
    let (found, ours) = match key {
        "Magic" => (value, "a92b4efc".to_owned()),
        "UUID" | "Array UUID" => (value, superblock.uuid().to_string()),
        "Creation Time" => (value, date(superblock.creation_time())),
        "Update Time" => (value, date(superblock.update_time())),
        "Raid Level" => (value, superblock.level().expect("a level").name().to_owned()),
        "Events" => (value, superblock.events().to_string()),
        "Checksum" => (value, format!("{:x} - correct", superblock.checksums().1)),
        "State" => (value, state(superblock).to_owned()),
        "Chunk Size" => (value, kib(superblock.chunk())),
        "Layout" => (value, layout(superblock, superblock.layout())),
        // That is arithmetic on what the superblock says.
        "Array Size" => return Ok(()),
        "Reshape pos'n" => (number, (reshape(superblock).position.get() / 2).to_string()),
        "Delta Devices" => (value, delta(&reshape(superblock))),
        "New Layout" => (value, layout(superblock, reshape(superblock).new_layout)),
        "New Chunksize" => {
            let chunk = reshape(superblock).new_chunk;
            let bytes = chunk.checked_bytes().expect("small").to_string();
            // 0.90 prints bytes.
            (value, if value.ends_with('K') { kib(chunk) } else { bytes })
        }
        _ => {
            return match superblock {
                Superblock::V0(superblock) => field_v0(key, value, superblock),
                Superblock::V1(superblock) => field_v1(key, value, superblock, device),
            };
        }
    };
    same(found, ours)
}

fn same(found: &str, ours: String) -> Result<(), String> {
    if found == ours { Ok(()) } else { Err(ours) }
}

fn field_v0(key: &str, value: &str, superblock: &V0) -> Result<(), String> {
    let number = value.split_whitespace().next().unwrap_or_default();
    let counts = superblock.counts();
    let (found, ours) = match key {
        "Version" => (value, format!("0.{}.00", superblock.minor_version())),
        "Raid Devices" => (value, superblock.raid_disks().to_string()),
        "Used Dev Size" => (number, (superblock.component_size().get() / 2).to_string()),
        "Preferred Minor" => (value, superblock.md_minor().to_string()),
        "Total Devices" => (value, counts.total.to_string()),
        "Active Devices" => (value, counts.active.to_string()),
        "Working Devices" => (value, counts.working.to_string()),
        "Failed Devices" => (value, counts.failed.to_string()),
        "Spare Devices" => (value, counts.spare.to_string()),
        _ => return Err(format!("nothing about {key}")),
    };
    same(found, ours)
}

/// A line of the table of devices: number, major, minor, slot, state.
fn table(line: &str, superblock: &V0) -> Result<(), String> {
    let line = line.trim();
    if line.starts_with("Number") {
        return Ok(());
    }
    let words: Vec<&str> = line.split_whitespace().collect();
    let described = match words.first() {
        Some(&"this") => superblock.this_disk(),
        Some(number) => {
            let number = number.parse().map_err(|_| "no number".to_owned())?;
            superblock.descriptor(number).ok_or("no such device")?
        }
        None => return Err("an empty line".to_owned()),
    };
    let said = [described.number, described.major, described.minor, described.raid_disk];
    let said = said.map(|number| number.to_string());
    if words.get(1..5).is_none_or(|found| *found != said.each_ref().map(String::as_str)) {
        return Err(said.join(" "));
    }
    let states = [
        ("active", described.state.contains(DeviceState::ACTIVE)),
        ("sync", described.state.contains(DeviceState::SYNC)),
        ("faulty", described.state.contains(DeviceState::FAULTY)),
        ("removed", described.state.contains(DeviceState::REMOVED)),
    ];
    for (word, set) in states {
        if words[5..].contains(&word) != set {
            return Err(format!("{word}: {set}"));
        }
    }
    Ok(())
}

fn field_v1(key: &str, value: &str, superblock: &V1, device: Sectors) -> Result<(), String> {
    let sectors = |count: u64| format!("{count} sectors");
    let found = match key {
        // The number of bytes is followed by the same in other units.
        "Avail Dev Size" | "Used Dev Size" => value.split(" (").next().unwrap_or_default(),
        _ => value,
    };
    let ours = match key {
        "Version" => superblock.version().name().to_owned(),
        "Feature Map" => superblock.features().to_string(),
        "Name" => superblock.name().to_string(),
        "Raid Devices" => superblock.raid_disks().to_string(),
        "Avail Dev Size" => sectors(superblock.data_size().get()),
        "Used Dev Size" => sectors(superblock.component_size().get()),
        "Data Offset" => sectors(superblock.data_offset().get()),
        "New Offset" => {
            let new_offset = superblock.reshape().map_or(0, |reshape| reshape.new_offset);
            let new = superblock.data_offset().get().checked_add_signed(new_offset.into());
            sectors(new.expect("on the device"))
        }
        "Super Offset" => sectors(superblock.super_offset().get()),
        "Recovery Offset" => sectors(superblock.recovery_offset().expect("it is recovering").get()),
        "Device UUID" => superblock.device_uuid().to_string(),
        "Bad Block Log" => bad_blocks(superblock),
        "Unused Space" => {
            let room = superblock.room(device, Sectors::ZERO).expect("well placed");
            // Where there is none at all, mdadm prints one, to say that there could be.
            let after =
                if room.before.get() + room.after.get() == 0 { 1 } else { room.after.get() };
            format!("before={} sectors, after={after} sectors", room.before.get())
        }
        "Device Role" => match superblock.role() {
            Role::Active(slot) => format!("Active device {}", slot.get()),
            Role::Spare => "spare".to_owned(),
            Role::Faulty => "Faulty".to_owned(),
            Role::Journal => "Journal".to_owned(),
            Role::Reserved(number) => format!("{number}"),
        },
        "Array State" => array_state(superblock),
        _ => return Err(format!("nothing about {key}")),
    };
    same(found, ours)
}

fn bad_blocks(superblock: &V1) -> String {
    let log = superblock.bad_blocks().expect("there is a log");
    let entries = u32::from(log.size) * 512 / 8;
    format!("{entries} entries available at offset {} sectors", log.offset)
}

fn array_state(superblock: &V1) -> String {
    let reshape = superblock.reshape();
    let old = reshape.and_then(|reshape| reshape.raid_disks_old()).unwrap_or(0);
    let slots = superblock.raid_disks().max(old);
    let letter = |slot: u32| {
        let holds = |role: &Role| matches!(role, Role::Active(of) if of.get() == slot);
        match superblock.roles().filter(holds).count() {
            0 => '.',
            1 => 'A',
            _ => 'R',
        }
    };
    let letters: String = (0..slots).map(letter).collect();
    format!("{letters} ('A' == active, '.' == missing, 'R' == replacing)")
}

fn reshape(superblock: &Superblock) -> Reshape {
    superblock.reshape().expect("mdadm prints a reshape")
}

fn delta(reshape: &Reshape) -> String {
    let old = reshape.raid_disks_old().expect("consistent");
    format!("{} ({old}->{})", reshape.delta_disks, reshape.raid_disks_new)
}

fn state(superblock: &Superblock) -> &'static str {
    match superblock.resync() {
        Resync::Clean => "clean",
        Resync::From(_) => "active",
    }
}

fn kib(length: Sectors) -> String {
    format!("{}K", length.get() / 2)
}

fn layout(superblock: &Superblock, layout: u32) -> String {
    let raid10 = superblock.level_number() == 10;
    match layout {
        0x102 if raid10 => "near=2",
        0 => "left-asymmetric",
        1 => "right-asymmetric",
        2 => "left-symmetric",
        3 => "right-symmetric",
        5 => "parity-last",
        18 => "left-symmetric-6",
        _ => "a layout that no array of the corpus has",
    }
    .to_owned()
}

/// `Sat Nov 21 03:38:06 2026`, in UTC.
fn date(time: Timestamp) -> String {
    const DAYS: [&str; 7] = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"];
    const MONTHS: [(&str, u64); 12] = [
        ("Jan", 31),
        ("Feb", 28),
        ("Mar", 31),
        ("Apr", 30),
        ("May", 31),
        ("Jun", 30),
        ("Jul", 31),
        ("Aug", 31),
        ("Sep", 30),
        ("Oct", 31),
        ("Nov", 30),
        ("Dec", 31),
    ];
    let (days, second) = (time.seconds / 86_400, time.seconds % 86_400);
    let weekday = DAYS[usize::try_from(days % 7).expect("below seven")];
    let leap =
        |year: u64| year.is_multiple_of(4) && !year.is_multiple_of(100) || year.is_multiple_of(400);
    let (mut year, mut day) = (1970, days);
    while day >= 365 + u64::from(leap(year)) {
        day -= 365 + u64::from(leap(year));
        year += 1;
    }
    let mut name = "";
    for (month, length) in MONTHS {
        let length = length + u64::from(month == "Feb" && leap(year));
        name = month;
        if day < length {
            break;
        }
        day -= length;
    }
    let (hour, minute) = (second / 3600, second / 60 % 60);
    format!("{weekday} {name} {:2} {hour:02}:{minute:02}:{:02} {year}", day + 1, second % 60)
}
