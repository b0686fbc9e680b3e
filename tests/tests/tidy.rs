//! The house rules that no lint knows, checked over every file that is part of the project.
//!
//! The rules are in `docs/STYLE.md`. Each test collects all that it finds before it fails, so one
//! run shows everything there is to mend.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Longest line of code, in characters.
const LINE: usize = 120;
/// Longest Rust file, in lines.
const FILE: usize = 800;

/// The files that may say `unsafe`, and why each has to.
const UNSAFE_FILES: [(&str, &str); 9] = [
    ("benches/src/isal.rs", "the mark to measure against: a library in C"),
    ("benches/src/ring.rs", "the mark to measure against: io_uring with nothing in between"),
    ("kcopy/src/mem.rs", "aligned memory that the kernel reads and writes"),
    ("kcopy/src/backend/uring/ring.rs", "handing operations to the kernel"),
    ("kcopy/src/capi.rs", "the border to C"),
    ("kcopy/src/sys.rs", "two requests that no safe wrapper has"),
    ("reshape/src/parity/kernel/neon.rs", "vectors from and to memory"),
    (
        "reshape/src/parity/kernel/vectors.rs",
        "calls of instructions that the processor was asked for",
    ),
    ("reshape/src/parity/kernel/x86.rs", "vectors from and to memory"),
];

#[test]
fn code_lines_fit_a_screen() {
    expect_none(code_files().flat_map(|file| {
        let found = file.lines().filter(|(_, line)| line.chars().count() > LINE);
        found.map(|(at, _)| format!("{at}: longer than {LINE}")).collect::<Vec<_>>()
    }));
}

#[test]
fn rust_files_are_short_enough_to_read() {
    expect_none(rust_files().filter_map(|file| {
        let lines = file.text.lines().count();
        (lines > FILE).then(|| format!("{}: {lines} lines, more than {FILE}", file.name))
    }));
}

#[test]
fn files_end_in_one_line_break_and_no_line_ends_in_blanks() {
    expect_none(text_files().flat_map(|file| {
        let found = file.lines().filter(|(_, line)| line.trim_end() != *line);
        let mut all: Vec<_> = found.map(|(at, _)| format!("{at}: blanks at its end")).collect();
        if !file.text.is_empty() && (!file.text.ends_with('\n') || file.text.ends_with("\n\n")) {
            all.push(format!("{}: does not end in one line break", file.name));
        }
        all
    }));
}

#[test]
fn unfinished_work_names_its_issue() {
    let marks = [concat!("TO", "DO"), concat!("FIX", "ME"), concat!("XX", "X")];
    expect_none(text_files().flat_map(|file| {
        let unfinished = |line: &str| {
            marks.iter().any(|mark| words(line).any(|word| word == *mark)) && !line.contains("(#")
        };
        let found = file.lines().filter(|(_, line)| unfinished(line));
        found.map(|(at, line)| format!("{at}: {}", line.trim())).collect::<Vec<_>>()
    }));
}

#[test]
fn every_module_says_what_it_is_for() {
    expect_none(rust_files().filter_map(|file| {
        let first = file
            .text
            .lines()
            .find(|line| !line.is_empty() && !line.starts_with("#![") && !line.starts_with("// "));
        let documented = first.is_some_and(|line| line.starts_with("//! "));
        (!documented).then(|| format!("{}: no module doc at its head", file.name))
    }));
}

#[test]
fn unsafe_stays_inside_its_fence() {
    expect_none(rust_files().filter_map(|file| {
        let allowed = UNSAFE_FILES.iter().any(|(name, _)| *name == file.name);
        let line = line_of_unsafe(&file.text).filter(|_| !allowed)?;
        Some(format!("{}:{line}: `unsafe` outside the files that may", file.name))
    }));
}

#[test]
fn links_of_the_documents_lead_somewhere() {
    expect_none(project_files(&["md"]).flat_map(|file| {
        let broken = |link: &String| !leads_somewhere(&file.name, link);
        let found = links(&file.text).into_iter().filter(broken);
        found.map(|link| format!("{}: broken link {link}", file.name)).collect::<Vec<_>>()
    }));
}

#[test]
fn no_file_knows_the_machine_it_was_written_on() {
    let places = [concat!("/wo", "rk/"), concat!("/ho", "me/"), concat!("/ro", "ot/")];
    expect_none(text_files().flat_map(|file| {
        let found = file.lines().filter(|(_, line)| places.iter().any(|p| line.contains(p)));
        found.map(|(at, line)| format!("{at}: {}", line.trim())).collect::<Vec<_>>()
    }));
}

#[test]
fn scripts_say_how_they_run_and_may_be_run() {
    use std::os::unix::fs::PermissionsExt;
    expect_none(text_files().filter(|file| file.text.starts_with("#!/")).filter_map(|file| {
        let mode = fs::metadata(root().join(&file.name)).expect("listed").permissions().mode();
        (mode & 0o111 == 0).then(|| format!("{}: has an interpreter, is not executable", file.name))
    }));
}

#[test]
fn scanner_tells_the_keyword_from_text() {
    assert_eq!(line_of_unsafe("// unsafe\n/* unsafe\n */ fn f() {}\n"), None);
    assert_eq!(
        line_of_unsafe("let a = \"unsafe \\\" unsafe\"; let c = '\"'; let l: &'a str;"),
        None
    );
    assert_eq!(line_of_unsafe("let a = r#\"unsafe \" unsafe\"#; #![deny(unsafe_code)]"), None);
    assert_eq!(line_of_unsafe("fn f() {\n    '\"'; \"\n\"; unsafe { g() }\n}"), Some(3));
    assert_eq!(line_of_unsafe("fn f<'a>(x: &'a u8) {}\nunsafe fn g() {}"), Some(2));
}

#[test]
fn link_finder_sees_links_and_not_code() {
    let text = "See [a](docs/A.md) and [b](B.md#part).\n```\n[no](no.md)\n```\n`[no](no.md)`\n";
    assert_eq!(links(text), ["docs/A.md", "B.md#part"]);
    assert_eq!(slug("## How it is *proven*, in `short`"), "how-it-is-proven-in-short");
}

/// A file of the project; the name is relative to its top.
struct ProjectFile {
    name: String,
    text: String,
}

impl ProjectFile {
    /// Its lines, each with `name:number`.
    fn lines(&self) -> impl Iterator<Item = (String, &str)> {
        let numbered = self.text.lines().enumerate();
        numbered.map(|(index, line)| (format!("{}:{}", self.name, index + 1), line))
    }
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the crate lies in the workspace")
}

/// What git has or would take, without what it ignores; only text.
fn text_files() -> impl Iterator<Item = ProjectFile> {
    let output = Command::new("git")
        .args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"])
        .current_dir(root())
        .output()
        .expect("git can be started (it lists the project's files)");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let names = String::from_utf8(output.stdout).expect("names are UTF-8");
    let names: BTreeSet<String> = names.split_terminator('\0').map(str::to_owned).collect();
    assert!(names.contains("Cargo.toml"), "the list of files is not the project's");
    // Fixtures are what other programs wrote.
    let ours = names.into_iter().filter(|name| !name.starts_with("tests/fixtures/"));
    ours.filter_map(|name| {
        // A file may be listed and already removed, or be no text.
        let text = fs::read_to_string(root().join(&name)).ok()?;
        Some(ProjectFile { name, text })
    })
}

fn project_files(extensions: &'static [&str]) -> impl Iterator<Item = ProjectFile> {
    text_files().filter(move |file| {
        let extension = Path::new(&file.name).extension().and_then(|e| e.to_str());
        extension.is_some_and(|extension| extensions.contains(&extension))
    })
}

fn rust_files() -> impl Iterator<Item = ProjectFile> {
    project_files(&["rs"])
}

/// Programs and their settings, by ending or by their first line.
fn code_files() -> impl Iterator<Item = ProjectFile> {
    text_files().filter(|file| {
        let extension = Path::new(&file.name).extension().and_then(|e| e.to_str());
        let known = matches!(extension, Some("rs" | "c" | "h" | "sh" | "py" | "toml"));
        known || file.text.starts_with("#!/")
    })
}

fn expect_none(findings: impl Iterator<Item = String>) {
    let findings: Vec<String> = findings.collect();
    assert!(findings.is_empty(), "{} to mend:\n{}", findings.len(), findings.join("\n"));
}

fn words(line: &str) -> impl Iterator<Item = &str> {
    line.split(|c: char| !c.is_alphanumeric() && c != '_')
}

/// The first line with the keyword `unsafe`, past comments, strings and characters.
fn line_of_unsafe(source: &str) -> Option<usize> {
    let mut rest = source;
    while !rest.is_empty() {
        if let Some(len) = text_len(rest) {
            rest = &rest[len..];
            continue;
        }
        let word = rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(rest.len());
        if &rest[..word] == "unsafe" {
            let before = &source[..source.len() - rest.len()];
            return Some(before.matches('\n').count() + 1);
        }
        let first = rest.chars().next().map_or(0, char::len_utf8);
        rest = &rest[word.max(first)..];
    }
    None
}

/// How long the comment, string or character is that starts here, if one does.
fn text_len(rest: &str) -> Option<usize> {
    if rest.starts_with("//") {
        return Some(rest.find('\n').unwrap_or(rest.len()));
    }
    if rest.starts_with("/*") {
        return Some(rest.find("*/").map_or(rest.len(), |end| end + 2));
    }
    if let Some(raw) = rest.strip_prefix('r') {
        let hashes = raw.len() - raw.trim_start_matches('#').len();
        if raw[hashes..].starts_with('"') {
            let close = format!("\"{}", "#".repeat(hashes));
            let start = 1 + hashes + 1;
            let end = rest[start..].find(&close).map_or(rest.len(), |end| start + end);
            return Some((end + close.len()).min(rest.len()));
        }
    }
    if rest.starts_with('"') {
        return Some(quoted_len(rest, '"'));
    }
    // A lifetime has no closing quote after its first character.
    let mut chars = rest.strip_prefix('\'')?.chars();
    let is_char = matches!((chars.next(), chars.next()), (Some('\\'), _) | (_, Some('\'')));
    Some(if is_char { quoted_len(rest, '\'') } else { 1 })
}

fn quoted_len(rest: &str, quote: char) -> usize {
    let mut escaped = false;
    for (at, c) in rest.char_indices().skip(1) {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            _ if c == quote => return at + c.len_utf8(),
            _ => {}
        }
    }
    rest.len()
}

/// The targets of the links to other files of the project.
fn links(markdown: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut in_code = false;
    for line in markdown.lines() {
        if line.trim_start().starts_with("```") {
            in_code = !in_code;
        }
        if in_code {
            continue;
        }
        let prose: String = line.split('`').step_by(2).collect::<Vec<_>>().join("``");
        for part in prose.split("](").skip(1) {
            let target = part.split(')').next().unwrap_or_default();
            if !target.contains("://") && !target.starts_with("mailto:") {
                found.push(target.to_owned());
            }
        }
    }
    found
}

fn leads_somewhere(from: &str, link: &str) -> bool {
    let (path, anchor) = link.split_once('#').unwrap_or((link, ""));
    let from = root().join(from);
    let target: PathBuf = match path {
        "" => from,
        path => from.parent().expect("a file lies in a directory").join(path),
    };
    if anchor.is_empty() || target.extension().is_none_or(|extension| extension != "md") {
        return target.exists();
    }
    let text = fs::read_to_string(target).unwrap_or_default();
    text.lines().filter(|line| line.starts_with('#')).any(|heading| slug(heading) == anchor)
}

/// The anchor of a heading.
fn slug(heading: &str) -> String {
    let text = heading.trim_start_matches('#').trim().to_lowercase();
    let kept = text.chars().filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
    kept.map(|c| if c == ' ' { '-' } else { c }).collect()
}
