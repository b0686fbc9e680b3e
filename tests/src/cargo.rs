//! Building parts of the project from within a test, as a user would.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

/// The C library: both forms, and where its header is.
#[derive(Debug)]
pub struct CLibrary {
    /// `libkcopy.a`.
    pub archive: PathBuf,
    /// `libkcopy.so`.
    pub shared: PathBuf,
    /// The directory of `kcopyd.h`.
    pub include: PathBuf,
}

/// Builds the C library.
///
/// # Panics
///
/// When it does not build.
#[must_use]
pub fn c_library() -> CLibrary {
    let built = build(&["--package", "kcopy", "--lib"]);
    let ending = |ending: &str| {
        let found = built.iter().find(|path| path.extension().is_some_and(|e| e == ending));
        found.unwrap_or_else(|| panic!("no .{ending} among {built:?}")).clone()
    };
    CLibrary { archive: ending("a"), shared: ending("so"), include: root().join("kcopy/include") }
}

/// Builds the library's examples, and gives their programs.
///
/// # Panics
///
/// When one does not build.
#[must_use]
pub fn examples() -> Vec<PathBuf> {
    build(&["--package", "kcopy", "--examples", "--all-features"])
}

/// The project's directory.
///
/// # Panics
///
/// Never.
#[must_use]
pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("a crate lies in the workspace")
}

/// `cargo build` in the target directory of the running test; the files that were wanted. A build
/// that has nothing to do takes part of a second.
fn build(arguments: &[&str]) -> Vec<PathBuf> {
    let test = std::env::current_exe().expect("the running test has a path");
    let profile = test
        .ancestors()
        .find(|dir| dir.join("deps").is_dir() || dir.join(".fingerprint").is_dir())
        .unwrap_or_else(|| panic!("{} is not in a target directory", test.display()));
    let target = profile.parent().expect("a profile's directory is in the target directory");
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command.args(["build", "--quiet", "--message-format", "json"]).args(arguments);
    command.arg("--target-dir").arg(target).current_dir(root());
    if profile.ends_with("release") {
        command.arg("--release");
    }
    let output = command.output().expect("cargo can be started");
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?} failed:\n{complaint}");
    files(&String::from_utf8_lossy(&output.stdout))
}

/// The files of the project's own library and examples in cargo's messages.
fn files(messages: &str) -> Vec<PathBuf> {
    let mut all = Vec::new();
    for line in messages.lines() {
        let message: Value = serde_json::from_str(line).expect("cargo writes JSON");
        let target = &message["target"];
        let is_example =
            target["kind"].as_array().is_some_and(|kinds| kinds.contains(&"example".into()));
        if message["reason"] != "compiler-artifact" || !(target["name"] == "kcopy" || is_example) {
            continue;
        }
        let names = message["filenames"].as_array().into_iter().flatten();
        all.extend(names.filter_map(Value::as_str).map(PathBuf::from));
    }
    all
}
