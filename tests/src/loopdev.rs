//! Loop devices that nobody else will be handed, detached on drop.
//!
//! Other programs on the machine take the lowest free number. Ours are taken from [`FIRST`] on, by
//! name, and one is detached only while our own file is behind it.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

use crate::binary::{LIMIT, run};
use crate::{require_root, tmp};

/// The lowest number that is used.
pub const FIRST: u32 = 200;
const NUMBERS: u32 = 128;

/// How to attach a file.
#[derive(Clone, Copy, Debug)]
pub struct Attach {
    /// Logical block size in bytes: 512 or 4096.
    pub logical_block: u32,
    /// Whether the device refuses writes.
    pub read_only: bool,
    /// Whether the loop driver itself reads and writes past the page cache.
    pub direct: bool,
}

impl Default for Attach {
    fn default() -> Self {
        Self { logical_block: 512, read_only: false, direct: false }
    }
}

/// An attached loop device.
#[derive(Debug)]
pub struct LoopDevice {
    path: PathBuf,
    backing: PathBuf,
}

impl LoopDevice {
    /// A device of `size` bytes over a new sparse file called `name` in `dir`.
    ///
    /// # Panics
    ///
    /// When not root, or when no device can be had.
    #[must_use]
    pub fn create(dir: &Path, name: &str, size: u64) -> Self {
        Self::create_with(dir, name, size, Attach::default())
    }

    /// The same, attached in another way.
    ///
    /// # Panics
    ///
    /// When not root, or when no device can be had.
    #[must_use]
    pub fn create_with(dir: &Path, name: &str, size: u64, attach: Attach) -> Self {
        let backing = dir.join(name);
        File::create(&backing)
            .and_then(|file| file.set_len(size))
            .unwrap_or_else(|error| panic!("{}: {error}", backing.display()));
        Self::over(&backing, attach)
    }

    /// A device over a file that is there already.
    ///
    /// # Panics
    ///
    /// When not root, or when no device can be had.
    #[must_use]
    pub fn over(backing: &Path, attach: Attach) -> Self {
        require_root();
        let backing = backing.canonicalize().expect("the backing file exists");
        let mut refusal = String::new();
        // A start of its own for each process saves most of the collisions.
        let start = std::process::id();
        for attempt in 0..NUMBERS {
            let number = FIRST + start.wrapping_add(attempt) % NUMBERS;
            let path = PathBuf::from(format!("/dev/loop{number}"));
            match losetup(&path, &backing, attach) {
                Ok(()) => return Self { path, backing },
                Err(message) => refusal = message,
            }
        }
        panic!("no loop device for {}: {refusal}", backing.display());
    }

    /// The device.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The file behind it.
    #[must_use]
    pub fn backing(&self) -> &Path {
        &self.backing
    }
}

impl Drop for LoopDevice {
    fn drop(&mut self) {
        if file_behind(&self.path).as_deref() == Some(self.backing.as_path()) {
            // A device that is still open is detached by the kernel on its last close.
            let _ = Command::new("losetup").arg("--detach").arg(&self.path).status();
        }
    }
}

/// A disk in memory whose file system has less room than the disk claims: writes to the rest fail,
/// and reads too once the file behind it is cut off.
#[derive(Debug)]
pub struct FailingDisk {
    device: Option<LoopDevice>,
    place: PathBuf,
    _dir: TempDir,
}

impl FailingDisk {
    /// A disk of `size` bytes, `room` of which can be written.
    ///
    /// # Panics
    ///
    /// When not root, or when no device can be had.
    #[must_use]
    pub fn new(size: u64, room: u64) -> Self {
        let dir = tmp::on_disk();
        let place = dir.path().join("small");
        std::fs::create_dir(&place).expect("the world of a test can be made");
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", &format!("size={room}"), "none"]).arg(&place);
        run(&mut mount, LIMIT).expect_code(0);
        let device = Some(LoopDevice::create(&place, "backing", size));
        Self { device, place, _dir: dir }
    }

    /// The device.
    ///
    /// # Panics
    ///
    /// Never: it is attached until this is dropped.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.device.as_ref().expect("attached until dropped").path()
    }

    /// Ends the file behind it after `len` bytes.
    ///
    /// # Panics
    ///
    /// When the file system says no.
    pub fn cut_off(&self, len: u64) {
        let backing = self.device.as_ref().expect("attached until dropped").backing();
        let file = File::options().write(true).open(backing);
        file.and_then(|file| file.set_len(len)).expect("the world of a test can be made");
    }
}

impl Drop for FailingDisk {
    fn drop(&mut self) {
        drop(self.device.take());
        let done = run(Command::new("umount").arg("--lazy").arg(&self.place), LIMIT);
        assert_eq!(done.code(), 0, "{}", done.stderr);
    }
}

fn losetup(path: &Path, backing: &Path, attach: Attach) -> Result<(), String> {
    let mut command = Command::new("losetup");
    command.arg(format!("--sector-size={}", attach.logical_block));
    command.arg(format!("--direct-io={}", if attach.direct { "on" } else { "off" }));
    if attach.read_only {
        command.arg("--read-only");
    }
    let output =
        command.arg(path).arg(backing).output().map_err(|error| {
            format!("cannot run losetup: {error} (Debian's package mount has it)")
        })?;
    if output.status.success() {
        return Ok(());
    }
    Err(String::from_utf8_lossy(&output.stderr).into_owned())
}

fn file_behind(device: &Path) -> Option<PathBuf> {
    let name = device.file_name()?.to_str()?;
    let text = std::fs::read_to_string(format!("/sys/block/{name}/loop/backing_file")).ok()?;
    Some(PathBuf::from(text.trim_end()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data;

    #[test]
    fn root_loop_device_shows_its_file_and_goes_with_the_guard() {
        let dir = tmp::on_disk();
        let attach = Attach { logical_block: 4096, ..Attach::default() };
        let device = LoopDevice::create_with(dir.path(), "disk", 1 << 20, attach);
        data::overwrite(device.path(), 5, 1 << 20);
        assert_eq!(data::read_at(device.backing(), 0, 1 << 20), data::bytes(5, 1 << 20));
        let path = device.path().to_owned();
        drop(device);
        assert_eq!(file_behind(&path), None);
    }

    #[test]
    fn root_two_loop_devices_at_once_are_different() {
        let dir = tmp::on_disk();
        let one = LoopDevice::create(dir.path(), "one", 1 << 20);
        let two = LoopDevice::create(dir.path(), "two", 1 << 20);
        assert_ne!(one.path(), two.path());
    }
}
