//! What the README shows does work: its terminal session is run here, its Rust is a doc test.

use std::process::Command;
use tests::binary::{LIMIT, run};
use tests::{kcopy_binary, tmp};

#[test]
fn readme_session_runs() {
    let commands: Vec<&str> = include_str!("../../README.md")
        .lines()
        .skip_while(|line| *line != "```console")
        .take_while(|line| *line != "```")
        .filter_map(|line| line.strip_prefix("$ "))
        .collect();
    assert!(commands.len() >= 3, "the session was not found: {commands:?}");
    let dir = tmp::on_disk();
    let program = kcopy_binary().parent().expect("it lies in a directory");
    let path = format!("{}:{}", program.display(), std::env::var("PATH").unwrap_or_default());
    let script = commands.join("\n");
    let mut shell = Command::new("bash");
    shell.args(["-euc", &script]).current_dir(dir.path()).env("PATH", path);
    let _said = run(&mut shell, LIMIT).expect_code(0);
}
