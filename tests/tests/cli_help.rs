//! What the command says about itself: golden files in `tests/cli`, made again by running this with
//! `KCOPY_BLESS=1`.

use std::path::{Path, PathBuf};
use std::process::Command;

use tests::binary::{LIMIT, kcopy, run};
use tests::{kcopy_binary, tmp};

fn expect_golden(name: &str, found: &str) {
    let path: PathBuf = Path::new(env!("CARGO_MANIFEST_DIR")).join("cli").join(name);
    if std::env::var_os("KCOPY_BLESS").is_some() {
        std::fs::write(&path, found).expect("the fixture can be written");
    }
    let expected = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        expected == found,
        "{} differs; if that is meant, run this test with KCOPY_BLESS=1\n{found}",
        path.display()
    );
}

/// Help without the blanks that end lines, and with a final line break.
fn help(arguments: &[&str]) -> String {
    let done = kcopy(arguments).expect_code(0);
    assert_eq!(done.stderr, "");
    let lines: Vec<&str> = done.stdout.trim_end().lines().map(str::trim_end).collect();
    lines.join("\n") + "\n"
}

#[test]
fn help_is_as_in_the_golden_files() {
    expect_golden("help.txt", &help(&["--help"]));
    expect_golden("help-short.txt", &help(&["-h"]));
    for sub in ["copy", "zero", "compare", "info", "jobs"] {
        expect_golden(&format!("help-{sub}.txt"), &help(&[sub, "--help"]));
        expect_golden(&format!("help-{sub}-short.txt"), &help(&[sub, "-h"]));
    }
}

#[test]
fn json_of_a_copy_is_as_in_the_golden_file() {
    let dir = tmp::on_disk();
    std::fs::write(dir.path().join("source"), vec![1; 100_000]).unwrap();
    let mut command = Command::new(kcopy_binary());
    command.args(["copy", "--json", "--direct", "never", "source", "one", "two"]);
    let mut report = run(command.current_dir(dir.path()), LIMIT).expect_code(0).json();
    // What is different each time.
    report["seconds"] = 0.into();
    report["backend"] = "io-uring".into();
    report["pool_peak_bytes"] = 0.into();
    expect_golden("copy.json", &(serde_json::to_string_pretty(&report).unwrap() + "\n"));
}

#[test]
fn completions_are_made_for_every_shell() {
    for shell in ["bash", "elvish", "fish", "powershell", "zsh"] {
        let script = kcopy(["generate", "completions", shell]).expect_code(0).stdout;
        assert!(script.contains("continue-on-error"), "{shell}");
    }
    let script = kcopy(["generate", "completions", "bash"]).expect_code(0).stdout;
    let dir = tmp::on_disk();
    let path = dir.path().join("script");
    std::fs::write(&path, script).unwrap();
    run(Command::new("bash").arg("-n").arg(&path), LIMIT).expect_code(0);
}

#[test]
fn man_pages_have_their_sections_and_no_warnings() {
    let dir = tmp::on_disk();
    kcopy(["generate", "man", "--out", dir.path().to_str().unwrap()]).expect_code(0);
    for name in ["kcopy", "kcopy-copy", "kcopy-zero", "kcopy-compare", "kcopy-info", "kcopy-jobs"] {
        let path = dir.path().join(format!("{name}.1"));
        let page = std::fs::read_to_string(&path).unwrap();
        for section in ["EXIT STATUS", "EXAMPLES", "FILES", "SIZES"] {
            assert!(page.contains(section), "{name}: no section {section}");
        }
        let checked =
            Command::new("groff").args(["-man", "-ww", "-z", "-Tutf8"]).arg(&path).output();
        // Not everybody has groff.
        if let Ok(checked) = checked {
            let said = String::from_utf8_lossy(&checked.stderr);
            assert!(checked.status.success() && said.is_empty(), "{name}: {said}");
        }
    }
}
