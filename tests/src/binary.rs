//! The programs `kcopy` and `reshape` as users run them, and running programs with a time limit.

use std::ffi::OsStr;
use std::io::Read;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::OnceLock;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::Duration;

/// How long [`run`] lets a program work.
pub const LIMIT: Duration = Duration::from_secs(120);

/// The `kcopy` program: what `KCOPY_BINARY` names, else built now (a build that has nothing to do
/// takes part of a second), in the profile and target directory of the running test.
///
/// # Panics
///
/// When it does not build.
#[must_use]
pub fn kcopy_binary() -> &'static Path {
    static BINARY: OnceLock<PathBuf> = OnceLock::new();
    BINARY.get_or_init(|| named("KCOPY_BINARY").unwrap_or_else(|| build("cli", "kcopy")))
}

/// The `reshape` program: what `RESHAPE_BINARY` names, else built now.
///
/// # Panics
///
/// When it does not build.
#[must_use]
pub fn reshape_binary() -> &'static Path {
    static BINARY: OnceLock<PathBuf> = OnceLock::new();
    BINARY.get_or_init(|| named("RESHAPE_BINARY").unwrap_or_else(|| build("cli", "reshape")))
}

/// The `pattern` program of these tests (see [`crate::pattern`]), built now.
///
/// # Panics
///
/// When it does not build.
#[must_use]
pub fn pattern_binary() -> &'static Path {
    static BINARY: OnceLock<PathBuf> = OnceLock::new();
    BINARY.get_or_init(|| build("tests", "pattern"))
}

/// The program that an environment variable names.
fn named(variable: &str) -> Option<PathBuf> {
    let path = PathBuf::from(std::env::var_os(variable)?);
    assert!(path.is_file(), "{variable} names {}: no such file", path.display());
    Some(path)
}

/// What a program left behind.
#[derive(Debug)]
pub struct Finished {
    /// How it ended.
    pub status: ExitStatus,
    /// What it wrote on standard output.
    pub stdout: String,
    /// What it wrote on standard error.
    pub stderr: String,
}

impl Finished {
    /// The exit code; 128 and the signal's number when a signal ended it, as a shell says it.
    ///
    /// # Panics
    ///
    /// When it has neither.
    #[must_use]
    pub fn code(&self) -> i32 {
        let signal = || self.status.signal().map(|number| 128 + number);
        self.status.code().or_else(signal).expect("ended by itself or by a signal")
    }

    /// Itself when the exit code is `code`.
    ///
    /// # Panics
    ///
    /// When it is another, with all that the program said.
    pub fn expect_code(self, code: i32) -> Self {
        assert_eq!(
            self.code(),
            code,
            "unexpected exit code\n--- stdout\n{}\n--- stderr\n{}",
            self.stdout,
            self.stderr
        );
        self
    }

    /// Standard output as JSON.
    ///
    /// # Panics
    ///
    /// When it is none.
    #[must_use]
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.stdout)
            .unwrap_or_else(|error| panic!("not JSON: {error}\n{}", self.stdout))
    }
}

/// Runs `kcopy` with these arguments, at most [`LIMIT`] long.
///
/// # Panics
///
/// When it cannot be started or takes longer.
pub fn kcopy<I, S>(arguments: I) -> Finished
where
    I: IntoIterator<Item = S>,
    S: AsRef<OsStr>,
{
    run(Command::new(kcopy_binary()).args(arguments), LIMIT)
}

/// Runs `reshape` with these arguments, at most [`LIMIT`] long, with times told in UTC.
///
/// # Panics
///
/// When it cannot be started or takes longer.
pub fn reshape<I, S>(arguments: I) -> Finished
where
    I: IntoIterator<Item = S>,
    S: AsRef<OsStr>,
{
    run(Command::new(reshape_binary()).args(arguments).env("TZ", "UTC"), LIMIT)
}

/// Runs a program with no standard input, at most `limit` long, and collects what it says.
///
/// # Panics
///
/// When it cannot be started, or is not done by then: it and the processes that it started in its
/// group are killed.
pub fn run(command: &mut Command, limit: Duration) -> Finished {
    start(command).finish(limit)
}

/// Starts `kcopy` with these arguments.
///
/// # Panics
///
/// When it cannot be started.
pub fn start_kcopy<I, S>(arguments: I) -> Running
where
    I: IntoIterator<Item = S>,
    S: AsRef<OsStr>,
{
    start(Command::new(kcopy_binary()).args(arguments))
}

/// Starts a program with no standard input, in a group of processes of its own.
///
/// # Panics
///
/// When it cannot be started.
pub fn start(command: &mut Command) -> Running {
    let described = format!("{command:?}");
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0)
        .spawn()
        .unwrap_or_else(|error| panic!("cannot start {described}: {error}"));
    let stdout = collect(child.stdout.take().expect("piped"));
    let stderr = collect(child.stderr.take().expect("piped"));
    Running { described, child, stdout, stderr }
}

/// A program that was started.
#[derive(Debug)]
pub struct Running {
    described: String,
    child: Child,
    stdout: thread::JoinHandle<String>,
    stderr: thread::JoinHandle<String>,
}

impl Running {
    /// Waits until `is_so`, looking every few milliseconds while the program runs.
    ///
    /// # Panics
    ///
    /// When the program has ended before, or [`LIMIT`] is over.
    pub fn wait_until(&mut self, mut is_so: impl FnMut() -> bool) {
        const PAUSE: Duration = Duration::from_millis(5);
        let mut waited = Duration::ZERO;
        while !is_so() {
            let ended = self.child.try_wait().expect("a child can be asked");
            assert!(ended.is_none() && waited < LIMIT, "in vain ({ended:?}): {}", self.described);
            crate::pause(PAUSE);
            waited += PAUSE;
        }
    }

    /// Interrupts it, as ^C does.
    ///
    /// # Panics
    ///
    /// When it has been waited for.
    pub fn interrupt(&self) {
        self.signal(rustix::process::Signal::INT);
    }

    /// Kills it, as `kill -9` does.
    ///
    /// # Panics
    ///
    /// When it has been waited for.
    pub fn kill(&self) {
        self.signal(rustix::process::Signal::KILL);
    }

    fn signal(&self, signal: rustix::process::Signal) {
        let pid = rustix::process::Pid::from_child(&self.child);
        // One that has ended keeps its number until it is waited for.
        rustix::process::kill_process(pid, signal).expect("it was started");
    }

    /// Waits for its end, at most `limit` long; what it said.
    ///
    /// # Panics
    ///
    /// When it is not done by then: it and the processes that it started in its group are killed.
    pub fn finish(self, limit: Duration) -> Finished {
        let Self { described, child, stdout, stderr } = self;
        let pid = rustix::process::Pid::from_child(&child);
        match wait_in_thread(child).recv_timeout(limit) {
            Ok(status) => {
                let stdout = stdout.join().expect("reader of stdout");
                let stderr = stderr.join().expect("reader of stderr");
                Finished { status, stdout, stderr }
            }
            Err(RecvTimeoutError::Timeout) => {
                let signal = rustix::process::Signal::KILL;
                let killed = rustix::process::kill_process_group(pid, signal);
                panic!("not done after {limit:?} (killed: {killed:?}): {described}");
            }
            Err(RecvTimeoutError::Disconnected) => panic!("cannot wait for {described}"),
        }
    }
}

fn collect<R: Read + Send + 'static>(mut stream: R) -> thread::JoinHandle<String> {
    thread::spawn(move || {
        let mut all = Vec::new();
        stream.read_to_end(&mut all).expect("the pipe of a child can be read");
        String::from_utf8_lossy(&all).into_owned()
    })
}

fn wait_in_thread(mut child: Child) -> mpsc::Receiver<ExitStatus> {
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || {
        if let Ok(status) = child.wait() {
            // Nobody listens any more once the limit is over.
            let _ = sender.send(status);
        }
    });
    receiver
}

fn build(package: &str, program: &str) -> PathBuf {
    let test = std::env::current_exe().expect("the running test has a path");
    let profile = test
        .ancestors()
        .find(|dir| dir.join("deps").is_dir() || dir.join(".fingerprint").is_dir())
        .unwrap_or_else(|| panic!("{} is not in a target directory", test.display()));
    let target = profile.parent().expect("a profile's directory is in the target directory");
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut build = Command::new(cargo);
    build.args(["build", "--quiet", "--package", package, "--bins", "--target-dir"]);
    build.arg(target).current_dir(env!("CARGO_MANIFEST_DIR"));
    if profile.ends_with("release") {
        build.arg("--release");
    }
    let status = build.status().expect("cargo can be started");
    assert!(status.success(), "{program} does not build; try `cargo build -p {package} --bins`");
    profile.join(program)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn run_collects_output_and_code() {
        let mut shell = Command::new("sh");
        let done = run(shell.args(["-c", "echo out; echo err >&2; exit 3"]), LIMIT).expect_code(3);
        assert_eq!((done.stdout.as_str(), done.stderr.as_str()), ("out\n", "err\n"));
    }

    #[test]
    fn run_reports_a_signal_as_a_shell_does() {
        assert_eq!(run(Command::new("sh").args(["-c", "kill -9 $$"]), LIMIT).code(), 137);
    }

    #[test]
    #[should_panic(expected = "not done after")]
    fn run_ends_what_takes_too_long() {
        run(Command::new("sleep").arg("60"), Duration::from_millis(50));
    }
}
