//! Small file systems on loop devices, unmounted on drop.

use crate::loopdev::LoopDevice;
use std::path::Path;
use std::process::Command;
use tempfile::TempDir;

/// A mounted ext4 file system. It goes before its device does.
#[derive(Debug)]
pub struct Mounted {
    directory: TempDir,
    device: LoopDevice,
}

impl Mounted {
    /// Makes a file system on `device` and mounts it.
    ///
    /// # Panics
    ///
    /// When that fails, or when not root.
    #[must_use]
    pub fn ext4(device: LoopDevice) -> Self {
        let directory = crate::tmp::on_disk();
        let no_reserve = ["-q", "-m", "0", "-O", "^has_journal"];
        succeed(Command::new("mkfs.ext4").args(no_reserve).arg(device.path()));
        succeed(Command::new("mount").arg(device.path()).arg(directory.path()));
        Self { directory, device }
    }

    /// Where it is mounted.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.directory.path()
    }

    /// The device that it is on.
    #[must_use]
    pub fn device(&self) -> &LoopDevice {
        &self.device
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        // Also when something still works in it: the test has failed then.
        let _ = Command::new("umount").arg("--lazy").arg(self.directory.path()).status();
    }
}

fn succeed(command: &mut Command) {
    command.env("PATH", format!("{}:/usr/sbin:/sbin", std::env::var("PATH").unwrap_or_default()));
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {said}");
}
