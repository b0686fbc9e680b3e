//! Every package that is built in has a licence that fits ours, and comes from the registry.
//!
//! The same rules are in `deny.toml` for those who have cargo-deny. This test needs nothing but
//! cargo, so it runs everywhere.

use serde_json::Value;
use std::path::Path;
use std::process::Command;

/// Licences that ask for no more than naming the authors.
const ALLOWED: [&str; 9] = [
    "0BSD",
    "Apache-2.0",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "BSL-1.0",
    "ISC",
    "MIT",
    "Unicode-3.0",
    "Zlib",
];

#[test]
fn licences_of_all_packages_are_on_the_list() {
    let packages = packages();
    assert!(packages.len() > 5, "the list of packages is not the project's");
    let mut refused = Vec::new();
    for package in &packages {
        let name = package["name"].as_str().expect("a package has a name");
        match package["license"].as_str() {
            Some(expression) if is_allowed(expression) => {}
            other => refused.push(format!("{name}: {other:?}")),
        }
    }
    assert!(refused.is_empty(), "licences that are not on the list:\n{}", refused.join("\n"));
}

#[test]
fn packages_come_from_the_registry_or_from_here() {
    for package in packages() {
        let source = &package["source"];
        let known = source.is_null() || source.as_str().is_some_and(|s| s.starts_with("registry+"));
        assert!(known, "{} comes from {source}", package["name"]);
    }
}

#[test]
fn libraries_stay_small() {
    // About ten packages each is the aim; the bound is on all that they bring along.
    for (library, bound) in [("kcopy", 40), ("reshape", 60)] {
        let tree = cargo(&["tree", "--package", library, "--edges", "normal", "--prefix", "none"]);
        let mut names: Vec<&str> = tree.lines().filter_map(|l| l.split(' ').next()).collect();
        names.sort_unstable();
        names.dedup();
        assert!(names.len() <= bound, "{library} stands on {} packages: {names:?}", names.len());
    }
}

#[test]
fn expressions_are_read_as_written() {
    assert!(is_allowed("MIT"));
    assert!(is_allowed("MIT OR GPL-3.0-only"));
    assert!(is_allowed("MIT/GPL-2.0"));
    assert!(is_allowed("(MIT OR GPL-2.0) AND Unicode-3.0"));
    assert!(is_allowed("Apache-2.0 WITH LLVM-exception OR GPL-2.0"));
    assert!(!is_allowed("GPL-3.0-only"));
    assert!(!is_allowed("MIT AND GPL-2.0"));
    assert!(!is_allowed("(MIT AND GPL-2.0) OR (MPL-2.0 AND ISC)"));
    assert!(!is_allowed("GPL-2.0 WITH Linux-syscall-note"));
    assert!(!is_allowed(""));
}

fn packages() -> Vec<Value> {
    let text = cargo(&["metadata", "--format-version", "1", "--all-features"]);
    let metadata: Value = serde_json::from_str(&text).expect("cargo's metadata is JSON");
    metadata["packages"].as_array().expect("metadata lists packages").clone()
}

fn cargo(arguments: &[&str]) -> String {
    let program = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let output = Command::new(program).args(arguments).current_dir(root).output();
    let output = output.expect("cargo can be started");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("cargo speaks UTF-8")
}

/// Whether one way through an SPDX expression has only licences of the list.
fn is_allowed(expression: &str) -> bool {
    let spaced = expression.replace('(', " ( ").replace(')', " ) ").replace('/', " OR ");
    let mut words: Vec<&str> = spaced.split_whitespace().rev().collect();
    any_of(&mut words) && words.is_empty()
}

fn any_of(words: &mut Vec<&str>) -> bool {
    let mut allowed = all_of(words);
    while words.pop_if(|word| *word == "OR").is_some() {
        allowed |= all_of(words);
    }
    allowed
}

fn all_of(words: &mut Vec<&str>) -> bool {
    let mut allowed = one(words);
    while words.pop_if(|word| *word == "AND").is_some() {
        allowed &= one(words);
    }
    allowed
}

fn one(words: &mut Vec<&str>) -> bool {
    let Some(word) = words.pop() else { return false };
    if word == "(" {
        let allowed = any_of(words);
        return words.pop() == Some(")") && allowed;
    }
    // An exception only ever permits more.
    if words.pop_if(|word| *word == "WITH").is_some() {
        words.pop();
    }
    ALLOWED.contains(&word)
}
