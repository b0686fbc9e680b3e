//! `kcopy info`: what is known about a file or block device, and how it would be copied.

use std::fmt::Write;
use std::fs::File;
use std::path::Path;

use kcopy::device::DeviceKind;
use kcopy::{Client, Device};
use serde::Serialize;

use super::{engine, target};
use crate::args::{Direct, InfoArgs};
use crate::exit::{Exit, Failure};
use crate::output::{Screen, escape, name};
use crate::units::exact;

#[derive(Debug, Serialize)]
struct Report {
    schema: u32,
    backend: &'static str,
    backend_mode: String,
    devices: Vec<DeviceReport>,
}

#[derive(Debug, Serialize)]
struct DeviceReport {
    path: String,
    kind: &'static str,
    size: u64,
    logical_sector: u32,
    physical_sector: u32,
    file_system: Option<&'static str>,
    /// Bytes that are not holes; files only.
    data_bytes: Option<u64>,
    direct: Option<DirectReport>,
    zero: &'static str,
    punch: &'static str,
    discard: &'static str,
    read_only: bool,
    write_back_cache: Option<bool>,
    mounted_on: Vec<String>,
    held_by: Vec<String>,
    backing_file: Option<String>,
}

#[derive(Debug, Serialize)]
struct DirectReport {
    memory_alignment: u32,
    offset_alignment: u32,
}

const YES: &str = "yes";
const NO: &str = "no";
/// Found out when it is needed; written as zeros if refused.
const TRIED: &str = "tried";

pub(crate) fn run(args: &InfoArgs, screen: Screen) -> Result<Exit, Failure> {
    let mut devices = Vec::new();
    for path in &args.paths {
        let device = target::open_source(path, Direct::Auto)?;
        devices.push(describe(path, &device));
    }
    let client = client()?;
    let report = Report {
        schema: 1,
        backend: client.backend().name(),
        backend_mode: client.describe().to_owned(),
        devices,
    };
    if args.json {
        return Ok(screen.json(&report, Exit::Done));
    }
    Ok(screen.result(&text(&report), Exit::Done))
}

/// The smallest client: only to see which backend is chosen.
fn client() -> Result<Client, Failure> {
    let wanted = engine::Wanted {
        pages: kcopy::client::MIN_PAGES,
        request_size: 4096,
        requests: 1,
        backend: kcopy::BackendChoice::Auto,
    };
    engine::client(wanted, 1, None)
}

fn describe(path: &Path, device: &Device) -> DeviceReport {
    let facts = device.facts();
    let block = device.block_facts();
    let file_system = block.is_none().then(|| file_system(path)).flatten();
    let (zero, punch, discard) = match &block {
        Some(block) => (
            if block.write_zeroes_max_bytes > 0 { YES } else { TRIED },
            if block.discard_max_bytes > 0 { TRIED } else { NO },
            if block.discard_max_bytes > 0 { YES } else { NO },
        ),
        None => match file_system {
            Some("ext4" | "xfs" | "btrfs" | "f2fs") => (YES, YES, NO),
            Some("tmpfs") => (NO, YES, NO),
            _ => (TRIED, TRIED, NO),
        },
    };
    let read_only = block.as_ref().map_or_else(|| is_marked_read_only(path), |b| b.read_only);
    let block = block.unwrap_or_default();
    let is_file = facts.kind == DeviceKind::File;
    DeviceReport {
        path: path.to_string_lossy().into_owned(),
        kind: if is_file { "file" } else { "block device" },
        size: device.size(),
        logical_sector: facts.logical_block,
        physical_sector: facts.physical_block,
        file_system,
        data_bytes: is_file.then(|| data_bytes(device)),
        direct: facts.direct.map(|direct| DirectReport {
            memory_alignment: direct.memory,
            offset_alignment: direct.offset,
        }),
        zero,
        punch,
        discard,
        read_only,
        write_back_cache: (!is_file).then_some(block.write_back_cache),
        mounted_on: block.mounts,
        held_by: block.holders,
        backing_file: block.backing_file.map(|file| file.to_string_lossy().into_owned()),
    }
}

fn is_marked_read_only(path: &Path) -> bool {
    path.metadata().is_ok_and(|metadata| metadata.permissions().readonly())
}

fn data_bytes(device: &Device) -> u64 {
    device.extents(0, device.size()).filter(|run| !run.hole).map(|run| run.len).sum()
}

/// The name of the file system that holds a file, if it is one that we know.
fn file_system(path: &Path) -> Option<&'static str> {
    let file = File::open(path).ok()?;
    let found = rustix::fs::fstatfs(&file).ok()?;
    let magic = u32::try_from(found.f_type).ok()?;
    // From linux/magic.h and the file systems' own headers.
    Some(match magic {
        0xef53 => "ext4",
        0x5846_5342 => "xfs",
        0x9123_683e => "btrfs",
        0x0102_1994 => "tmpfs",
        0xf2f5_2010 => "f2fs",
        0x794c_7630 => "overlayfs",
        0x6969 => "nfs",
        0x2fc1_2fc1 => "zfs",
        0x6573_5546 => "fuse",
        0x4d44 => "vfat",
        _ => return None,
    })
}

fn text(report: &Report) -> String {
    let mut text = String::new();
    for device in &report.devices {
        // Writing to a string cannot fail.
        let _ = writeln!(text, "{}", name(Path::new(&device.path)));
        for (what, value) in lines(device) {
            let _ = writeln!(text, "  {what:<16} {value}");
        }
    }
    let _ = write!(text, "backend: {} ({})", report.backend, report.backend_mode);
    text
}

fn lines(device: &DeviceReport) -> Vec<(&'static str, String)> {
    let kind = match device.file_system {
        Some(system) => format!("{} on {system}", device.kind),
        None => device.kind.to_owned(),
    };
    let direct = device.direct.as_ref().map_or_else(
        || NO.to_owned(),
        |direct| {
            format!(
                "yes, offsets in multiples of {} bytes, memory of {} bytes",
                direct.offset_alignment, direct.memory_alignment
            )
        },
    );
    let mut lines = vec![
        ("kind", kind),
        ("size", exact(device.size)),
        (
            "sectors",
            format!(
                "logical {} bytes, physical {} bytes",
                device.logical_sector, device.physical_sector
            ),
        ),
        ("direct I/O", direct),
        ("zeroing", device.zero.to_owned()),
        ("punching holes", device.punch.to_owned()),
        ("discard", device.discard.to_owned()),
        ("read-only", if device.read_only { YES } else { NO }.to_owned()),
    ];
    if let Some(data) = device.data_bytes {
        lines.push(("data", exact(data)));
    }
    if let Some(cache) = device.write_back_cache {
        lines.push(("write cache", if cache { YES } else { NO }.to_owned()));
    }
    let users = device.mounted_on.iter().map(|place| format!("mounted on {place}"));
    let users: Vec<String> =
        users.chain(device.held_by.iter().map(|holder| format!("part of {holder}"))).collect();
    if device.data_bytes.is_none() {
        let users = if users.is_empty() { NO.to_owned() } else { users.join(", ") };
        lines.push(("in use", escape::lines(&users)));
    }
    if let Some(file) = &device.backing_file {
        lines.push(("backing file", name(Path::new(file))));
    }
    lines
}
