//! What the programs say about themselves: golden files in `tests/cli`, made again by running this
//! with `KCOPY_BLESS=1`.

use std::process::Command;

use tests::binary::{Finished, LIMIT, kcopy, reshape, run};
use tests::{golden, kcopy_binary, tmp};

/// One of the programs, and what its command line has.
struct Program {
    name: &'static str,
    run: fn(&[&str]) -> Finished,
    /// Its golden files begin with this.
    golden: &'static str,
    subcommands: &'static [&'static str],
    /// An option of one of them.
    option: &'static str,
}

const PROGRAMS: [Program; 2] = [
    Program {
        name: "kcopy",
        run: |arguments| kcopy(arguments),
        golden: "",
        subcommands: &["copy", "zero", "compare", "info", "jobs"],
        option: "continue-on-error",
    },
    Program {
        name: "reshape",
        run: |arguments| reshape(arguments),
        golden: "reshape/",
        subcommands: &[
            "examine", "detail", "create", "export", "import", "check", "rebuild", "bitmap",
            "plan", "grow", "status", "continue", "restore", "revert", "salvage", "replay",
            "layout", "demo",
        ],
        option: "raid-devices",
    },
];

#[test]
fn help_is_as_in_the_golden_files() {
    for program in PROGRAMS {
        let expect = |file: &str, arguments: &[&str]| {
            let done = (program.run)(arguments).expect_code(0);
            assert_eq!(done.stderr, "");
            golden::expect(&format!("{}{file}", program.golden), &golden::tidied(&done.stdout));
        };
        expect("help.txt", &["--help"]);
        expect("help-short.txt", &["-h"]);
        for sub in program.subcommands {
            expect(&format!("help-{sub}.txt"), &[sub, "--help"]);
            expect(&format!("help-{sub}-short.txt"), &[sub, "-h"]);
        }
    }
}

#[test]
fn help_names_every_subcommand_that_is_tested_here() {
    for program in PROGRAMS {
        let help = (program.run)(&["-h"]).expect_code(0).stdout;
        let commands = help.lines().skip_while(|line| *line != "Commands:").skip(1);
        let commands = commands.take_while(|line| !line.is_empty());
        let names: Vec<&str> = commands.filter_map(|line| line.split_whitespace().next()).collect();
        let mut known = program.subcommands.to_vec();
        known.push("help");
        assert_eq!(names, known, "{}", program.name);
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
    golden::expect("copy.json", &(serde_json::to_string_pretty(&report).unwrap() + "\n"));
}

#[test]
fn completions_are_made_for_every_shell() {
    let dir = tmp::on_disk();
    let path = dir.path().join("script");
    for program in PROGRAMS {
        for shell in ["bash", "elvish", "fish", "powershell", "zsh"] {
            let script = (program.run)(&["generate", "completions", shell]).expect_code(0).stdout;
            assert!(script.contains(program.option), "{} {shell}", program.name);
            if shell == "bash" {
                std::fs::write(&path, script).unwrap();
                run(Command::new("bash").arg("-n").arg(&path), LIMIT).expect_code(0);
            }
        }
    }
}

#[test]
fn man_pages_have_their_sections_and_no_warnings() {
    let dir = tmp::on_disk();
    for Program { name, run, subcommands, .. } in PROGRAMS {
        run(&["generate", "man", "--out", dir.path().to_str().unwrap()]).expect_code(0);
        let pages = subcommands.iter().map(|sub| format!("{name}-{sub}"));
        for page in pages.chain([name.to_owned()]) {
            let path = dir.path().join(format!("{page}.1"));
            let text = std::fs::read_to_string(&path).unwrap();
            for section in ["EXIT STATUS", "EXAMPLES", "FILES", "SIZES"] {
                assert!(text.contains(section), "{page}: no section {section}");
            }
            // Debian's package groff-base has it; `tests/run` installs that.
            let mut groff = Command::new("groff");
            let checked =
                tests::binary::run(groff.args(["-man", "-ww", "-z", "-Tutf8"]).arg(&path), LIMIT);
            let said = checked.expect_code(0).stderr;
            assert_eq!(said, "", "{page}");
        }
    }
}
