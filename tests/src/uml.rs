//! A real Linux kernel in user space, with image files as its disks.
//!
//! The work is done by `tests/oracle/uml-run`; this is its face for tests. A program that was built
//! here runs in the guest from the same path. Tests that use it are named `kernel_*`.

use crate::binary::{Finished, run};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

/// How long a guest may take, its boot included.
const LIMIT: Duration = Duration::from_secs(300);

/// A machine to be started.
#[derive(Debug)]
pub struct Machine {
    command: Command,
    limit: Duration,
}

impl Machine {
    /// A machine without disks.
    #[must_use]
    pub fn new() -> Self {
        Self { command: Command::new(oracle("uml-run")), limit: LIMIT }
    }

    /// The same with this file as its next disk: `/dev/ubda`, `/dev/ubdb` and so on.
    #[must_use]
    pub fn disk(mut self, image: &Path) -> Self {
        self.command.arg("--disk").arg(image);
        self
    }

    /// The same with this directory writable, under the same path.
    #[must_use]
    pub fn share(mut self, directory: &Path) -> Self {
        self.command.arg("--share").arg(directory);
        self
    }

    /// The same, with a kernel module loaded before the script starts.
    #[must_use]
    pub fn module(mut self, name: &str) -> Self {
        self.command.args(["--module", name]);
        self
    }

    /// The same, which may take this long instead of five minutes.
    #[must_use]
    pub fn limit(mut self, limit: Duration) -> Self {
        self.limit = limit;
        self
    }

    /// The same, with a power cut this long after the script has started.
    #[must_use]
    pub fn power_cut_after(mut self, time: Duration) -> Self {
        self.command.arg("--kill-after").arg(format!("{:.3}", time.as_secs_f64()));
        self
    }

    /// Runs a bash script in it, which stops at its first command that fails. The programs of
    /// `tests/oracle` are in its path.
    ///
    /// # Panics
    ///
    /// When the machine does not boot, or takes too long.
    #[must_use]
    pub fn run(self, script: &str) -> Finished {
        let done = self.attempt(script);
        assert!(!matches!(done.code(), 124 | 125), "no guest: {}", done.stderr);
        done
    }

    /// The same; exit code 124 where it takes too long, 125 where there is no guest or it died, and what
    /// ran in it and its console are in the standard error.
    #[must_use]
    pub fn attempt(mut self, script: &str) -> Finished {
        let path = format!("export PATH={}:$PATH", quoted(&oracle("")));
        self.command.args(["--timeout", &self.limit.as_secs().to_string()]);
        self.command.args(["--", "bash", "-ec", &format!("{path}\n{script}")]);
        run(&mut self.command, self.limit * 2)
    }
}

impl Default for Machine {
    fn default() -> Self {
        Self::new()
    }
}

/// A path as one word of a shell script.
#[must_use]
pub fn quoted(path: &Path) -> String {
    let text = path.to_str().expect("paths of tests are UTF-8");
    format!("'{}'", text.replace('\'', r"'\''"))
}

/// A program of `tests/oracle`.
#[must_use]
pub fn oracle(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("oracle").join(name)
}
