//! `reshape demo`: a reshape that is killed in the middle and loses nothing, shown with the program itself.

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde::Deserialize;

use crate::args::array::DemoArgs;
use crate::clock::Epoch;
use crate::cmd::target::cause;
use crate::exit::{Exit, Failure};
use crate::output::Screen;

/// Members of the array, and how long each is.
const MEMBERS: usize = 4;
const SIZE: &str = "64MiB";
/// So fast that the middle of the change can be met.
const RATE: &str = "96MiB";
/// Sector n of the content holds n in each of its words.
const WORDS: usize = 64;
/// Sectors that are made and compared at once.
const PIECE: u64 = 2048;

pub(crate) fn run(args: &DemoArgs, screen: Screen) -> Result<Exit, Failure> {
    let folder = Folder::make(args.dir.as_deref())?;
    let demo = Demo { folder: &folder, screen };
    let epoch = Epoch::begin();
    demo.show()?;
    demo.say(&format!("\nEvery sector is where it belongs. It took {:.0} s.", epoch.seconds()));
    if let Folder::Kept(path) = &folder {
        demo.say(&format!("The files are in {}.", crate::output::name(path)));
    }
    Ok(Exit::Done)
}

/// Where the files are.
enum Folder {
    Kept(PathBuf),
    /// Removed at the end.
    Own(PathBuf),
}

impl Folder {
    fn make(wanted: Option<&Path>) -> Result<Self, Failure> {
        let (path, folder): (PathBuf, fn(PathBuf) -> Self) = match wanted {
            Some(path) => (path.to_owned(), Self::Kept),
            None => {
                let name = format!("reshape-demo-{}", std::process::id());
                (std::env::temp_dir().join(name), Self::Own)
            }
        };
        let made = std::fs::create_dir_all(&path).map(|()| folder(path.clone()));
        made.map_err(|error| {
            let path = crate::output::name(&path);
            Failure::refused(format!("cannot make {path}: {}", cause(&error)))
                .hint("--dir names a folder where there is room")
        })
    }

    fn path(&self) -> &Path {
        let (Self::Kept(path) | Self::Own(path)) = self;
        path
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        if let Self::Own(path) = self {
            // It is a temporary folder: whoever cleans those up will find it.
            let _ = std::fs::remove_dir_all(path);
        }
    }
}

struct Demo<'a> {
    folder: &'a Folder,
    screen: Screen,
}

/// What a line of progress says.
#[derive(Deserialize)]
struct Line {
    phase: String,
    bytes_done: u64,
    bytes_total: u64,
}

impl Demo<'_> {
    fn show(&self) -> Result<(), Failure> {
        let old: Vec<String> = (0..MEMBERS).map(|n| format!("m{n}.img")).collect();
        let old: Vec<&str> = old.iter().map(String::as_str).collect();
        let all: Vec<&str> = old.iter().copied().chain(["m4.img"]).collect();
        self.head("A RAID5 of four sparse files");
        let make =
            ["create", "--yes", "--level", "5", "--raid-devices", "4", "--create-files", SIZE];
        self.command(&[&make, &old[..]].concat(), None)?;
        self.head("Its content: every sector holds its own number");
        let sectors = self.content_sectors(&old)?;
        self.fill(&old, sectors)?;
        self.head("One more disk, and RAID6 instead of RAID5; killed (SIGKILL) in the middle");
        self.new_disk("m4.img")?;
        let change = ["--add", "m4.img", "--level", "6", "--rate", RATE, "--yes"];
        self.kill_half_way(&[&["grow"], &old[..], &change].concat())?;
        self.head("Where it stands, from the members alone");
        self.command(&[&["status"], &all[..]].concat(), None)?;
        self.head("It goes on from there");
        self.command(&[&["continue", "--yes"], &all[..]].concat(), None)?;
        self.head("The array now: parity, and every sector of the content");
        self.command(&[&["check"], &all[..]].concat(), None)?;
        self.compare(&all, sectors)
    }

    fn say(&self, text: &str) {
        self.screen.summary(text);
    }

    fn head(&self, text: &str) {
        self.say(&format!("\n== {text}"));
    }

    fn program(&self, arguments: &[&str]) -> Result<Command, Failure> {
        let program = std::env::current_exe()
            .map_err(|error| Failure::failed(format!("cannot find myself: {}", cause(&error))))?;
        let mut command = Command::new(program);
        command.args(arguments).current_dir(self.folder.path()).stdin(Stdio::null());
        Ok(command)
    }

    /// Runs a command of this program and shows it; `input` goes to its standard input.
    fn command(&self, arguments: &[&str], input: Option<u64>) -> Result<(), Failure> {
        self.say(&format!("$ reshape {}", arguments.join(" ")));
        let mut command = self.program(arguments)?;
        if input.is_some() {
            command.stdin(Stdio::piped());
        }
        let mut child = command.spawn().map_err(|error| broken(arguments, &cause(&error)))?;
        if let (Some(sectors), Some(mut pipe)) = (input, child.stdin.take()) {
            let mut at = 0;
            while at < sectors {
                let len = PIECE.min(sectors - at);
                pipe.write_all(&content(at, len)).map_err(|e| broken(arguments, &cause(&e)))?;
                at += len;
            }
        }
        let status = child.wait().map_err(|error| broken(arguments, &cause(&error)))?;
        if status.success() { Ok(()) } else { Err(broken(arguments, &status.to_string())) }
    }

    fn content_sectors(&self, members: &[&str]) -> Result<u64, Failure> {
        let arguments = [&["detail", "--json"], members].concat();
        let output = self.program(&arguments)?.output();
        let output = output.map_err(|error| broken(&arguments, &cause(&error)))?;
        let detail: serde_json::Value = serde_json::from_slice(&output.stdout)
            .map_err(|error| broken(&arguments, &error.to_string()))?;
        let bytes = detail.get("array_bytes").and_then(serde_json::Value::as_u64);
        bytes.map(|bytes| bytes / kcopy::SECTOR_SIZE).ok_or_else(|| broken(&arguments, "no size"))
    }

    fn fill(&self, members: &[&str], sectors: u64) -> Result<(), Failure> {
        self.command(&[&["import", "--yes", "--from", "-"], members].concat(), Some(sectors))
    }

    fn new_disk(&self, file: &str) -> Result<(), Failure> {
        let path = self.folder.path().join(file);
        let longest = std::fs::metadata(self.folder.path().join("m0.img")).map(|facts| facts.len());
        let made = longest.and_then(|len| {
            std::fs::OpenOptions::new().write(true).create_new(true).open(&path)?.set_len(len)
        });
        self.say(&format!("$ truncate --size {SIZE} {file}"));
        made.map_err(|error| Failure::failed(format!("cannot make {file}: {}", cause(&error))))
    }

    /// Runs a change, and kills it when half of it is done.
    fn kill_half_way(&self, arguments: &[&str]) -> Result<(), Failure> {
        self.say(&format!("$ reshape {}", arguments.join(" ")));
        let mut command = self.program(&[arguments, &["--progress", "json"]].concat())?;
        let child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn();
        let mut child = child.map_err(|error| broken(arguments, &cause(&error)))?;
        let mut half = None;
        if let Some(told) = child.stderr.take() {
            for line in BufReader::new(told).lines().map_while(Result::ok) {
                let Ok(line) = serde_json::from_str::<Line>(&line) else { continue };
                if line.phase == "reshape" && line.bytes_done * 2 >= line.bytes_total.max(1) {
                    half = Some(line);
                    break;
                }
            }
        }
        let killed = child.kill().and_then(|()| child.wait());
        killed.map_err(|error| broken(arguments, &cause(&error)))?;
        let line = half.ok_or_else(|| broken(arguments, "it ended before it could be killed"))?;
        self.say(&format!(
            "killed when {} of {} were moved",
            crate::units::human(line.bytes_done),
            crate::units::human(line.bytes_total)
        ));
        Ok(())
    }

    /// Reads the content back and compares every sector.
    fn compare(&self, members: &[&str], sectors: u64) -> Result<(), Failure> {
        let arguments = [&["export", "--to", "content.img"], members].concat();
        self.command(&arguments, None)?;
        let path = self.folder.path().join("content.img");
        let file = std::fs::File::open(&path).map_err(|e| broken(&arguments, &cause(&e)))?;
        let mut file = BufReader::new(file);
        let mut found = Vec::new();
        let mut at = 0;
        while at < sectors {
            let len = PIECE.min(sectors - at);
            let expected = content(at, len);
            found.resize(expected.len(), 0);
            let read = std::io::Read::read_exact(&mut file, &mut found);
            read.map_err(|error| broken(&arguments, &cause(&error)))?;
            if found != expected {
                return Err(broken(&arguments, &format!("a sector from {at} on is wrong")));
            }
            at += len;
        }
        self.say(&format!("{sectors} sectors compared, all of them right"));
        Ok(())
    }
}

/// Sectors of the content from `at` on.
fn content(at: u64, sectors: u64) -> Vec<u8> {
    let one = |sector: u64| std::iter::repeat_n(sector.to_le_bytes(), WORDS).flatten();
    (at..at + sectors).flat_map(one).collect()
}

fn broken(arguments: &[&str], why: &str) -> Failure {
    let what = arguments.first().copied().unwrap_or_default();
    Failure::failed(format!("the demonstration failed at reshape {what}: {why}"))
        .hint("please report it, with what was printed above")
}
