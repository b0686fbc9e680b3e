//! Random reshapes that ours begins on files, and that are killed with SIGKILL at random moments, some of
//! them again while they go on or turn around.
//!
//! Array, change and moments follow from a seed; where the kill comes is the processor's choice as well, so that a
//! replay finds the same reshape, and not always the same place in it.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use serde_json::Value;

use crate::binary::{Finished, LIMIT, reshape_binary, run, start};
use crate::data::Random;
use crate::pattern::Pattern;

/// How often a change is looked for before the seed has none, and a kill is tried.
const TRIES: u32 = 12;
/// Names a range of seeds, `FROM:COUNT`.
const REPLAY: &str = "KCOPY_KILLS";

/// A reshape in the midst of which ours was killed.
#[derive(Debug)]
pub struct Killed {
    /// What it follows from.
    pub seed: u64,
    /// How often it was killed.
    pub kills: u32,
    /// What happened, a line each.
    pub story: Vec<String>,
    /// It was turned around, or that was tried.
    pub turned: bool,
    /// The content that has to be there in the end.
    pub content: Pattern,
    random: Random,
    folder: PathBuf,
    names: Vec<String>,
    shape: String,
    change: String,
    lacks_member: bool,
    shrinks: bool,
    saved: bool,
    mib_per_second: u64,
    takes: Duration,
}

/// The seeds that are wanted: those of the environment, else `everyday` many, or `long` in the long form.
///
/// # Panics
///
/// When the environment names no range.
#[must_use]
pub fn seeds(everyday: u64, long: u64) -> Vec<u64> {
    let (from, count) = match std::env::var(REPLAY) {
        Ok(range) => {
            let range =
                range.split_once(':').and_then(|(a, b)| Some((a.parse().ok()?, b.parse().ok()?)));
            range.expect("KCOPY_KILLS is FROM:COUNT")
        }
        Err(_) if crate::is_long() => (1, long),
        Err(_) => (1, everyday),
    };
    (from..from + count).collect()
}

/// How to have a seed again.
#[must_use]
pub fn replay(seed: u64) -> String {
    format!("replay: {REPLAY}={seed}:1")
}

fn one_of<'a>(random: &mut Random, words: &'a str) -> &'a str {
    let words: Vec<&str> = words.split(' ').collect();
    let index = random.below(words.len() as u64);
    words[usize::try_from(index).expect("few")]
}

/// Options of `reshape create`, the number of members, and the size of their files in MiB.
fn any_shape(random: &mut Random) -> (String, u64, u64) {
    let level = one_of(random, "0 4 5 5 5 6 6 10 10");
    let least = match level {
        "6" => 4,
        "4" | "5" => 3,
        _ => 2,
    };
    let members = least + random.below(3);
    let metadata = one_of(random, "0.90 0.90 1.0 1.0 1.1 1.2 1.2");
    let chunk = one_of(random, "4 8 16 32 64 128");
    let mut shape = format!("-l {level} -n {members} -e {metadata} -c {chunk}");
    let layout = match level {
        "5" => one_of(random, "la ra rs ls ls parity-first parity-last"),
        "6" => one_of(random, "la ra rs ls ls left-symmetric-6"),
        "10" if members > 2 => one_of(random, "n2 n2 n2 n3 o2"),
        _ => "",
    };
    if !layout.is_empty() {
        shape.push_str(&format!(" -p {layout}"));
    }
    match random.below(5) {
        0 => shape.push_str(" --size 5120"),
        1 if ["1.1", "1.2"].contains(&metadata) => shape.push_str(" --data-offset 1024"),
        _ => {}
    }
    if level != "0" && random.below(8) == 0 {
        shape.push_str(" -b internal");
    }
    (shape, members, [8, 8, 12, 16][usize::try_from(random.below(4)).expect("few")])
}

/// Options of `reshape grow` for an array of that shape, and how many disks are to be added.
fn any_change(random: &mut Random, shape: &str, members: u64) -> (String, u64) {
    let level = shape.split(' ').nth(1).unwrap_or_default();
    let mut change = String::new();
    let mut count = members;
    let mut parity = 0;
    if random.below(5) < 2 {
        let other = match level {
            "0" => one_of(random, "4 5 10"),
            "4" => one_of(random, "0 5 6"),
            "5" => one_of(random, "6 0 4"),
            "6" => one_of(random, "5 4 0"),
            _ => one_of(random, "0 5"),
        };
        change.push_str(&format!(" -l {other}"));
        parity = u64::from(other == "6" || level == "0");
    }
    if random.below(2) == 0 {
        count = (members + random.below(4)).saturating_sub(1).max(2);
    }
    count += parity * random.below(2);
    if count != members {
        change.push_str(&format!(" -n {count}"));
    }
    if random.below(4) == 0 || change.is_empty() {
        change.push_str(&format!(" -c {}", one_of(random, "4 16 32 64 128")));
    }
    if change.starts_with(" -n") && random.below(4) == 0 && ["5", "6"].contains(&level) {
        change.push_str(&format!(" -p {}", one_of(random, "la ra ls rs")));
    }
    (change, count.saturating_sub(members))
}

impl Killed {
    /// The reshape of that seed below `folder`, killed; `None` if there is none, or it was done each time before it
    /// was killed.
    ///
    /// # Errors
    ///
    /// What ours said where it refused or failed what it must not.
    pub fn of(folder: &Path, seed: u64) -> Result<Option<Self>, String> {
        let mut random = Random::new(seed);
        let (shape, members, mib) = any_shape(&mut random);
        let folder = folder.join(seed.to_string());
        std::fs::create_dir(&folder).map_err(|error| error.to_string())?;
        let names = (0..members).map(|number| format!("m{number}")).collect();
        let mut killed = Self {
            seed,
            kills: 0,
            story: Vec::new(),
            turned: false,
            content: Pattern::whole(seed % 60_000, 0),
            random,
            folder,
            names,
            shape: shape.clone(),
            change: String::new(),
            lacks_member: false,
            shrinks: false,
            saved: false,
            mib_per_second: 8,
            takes: Duration::ZERO,
        };
        let made = killed.reshape(&format!("create {shape} --create-files {mib}MiB --yes ALL"));
        if made.code() == 2 {
            return Ok(None); // This level has no such layout or size.
        }
        let _made = made.expect_code(0);
        killed.write_content()?;
        let is_simple = shape.contains("-b internal") || shape.starts_with("-l 0");
        if !is_simple && killed.random.below(6) == 0 {
            let gone = killed.random.below(members);
            let gone = killed.names.remove(usize::try_from(gone).expect("few"));
            killed.story.push(format!("{gone} is missing"));
            killed.lacks_member = true;
        }
        let Some(change) = killed.plan((&shape, members, mib))? else { return Ok(None) };
        Ok(killed.begin(&change)?.then_some(killed))
    }

    /// Its members.
    #[must_use]
    pub fn members(&self) -> Vec<PathBuf> {
        self.names.iter().map(|name| self.folder.join(name)).collect()
    }

    /// `--backup-file FILE`, where there is one.
    #[must_use]
    pub fn backup_option(&self) -> String {
        let file = self.folder.join("backup");
        if file.exists() { format!("--backup-file {}", file.display()) } else { String::new() }
    }

    /// Runs `reshape` in its folder; `ALL` stands for the members.
    pub fn reshape(&self, line: &str) -> Finished {
        run(&mut self.command(line), LIMIT)
    }

    fn command(&self, line: &str) -> Command {
        let mut command = Command::new(reshape_binary());
        let words = line.split_whitespace();
        let members =
            |word: &str| if word == "ALL" { self.names.join(" ") } else { word.to_owned() };
        let words: Vec<String> = words.map(members).collect();
        command.args(words.join(" ").split(' ')).current_dir(&self.folder).env("TZ", "UTC");
        command
    }

    fn write_content(&mut self) -> Result<(), String> {
        let detail = self.reshape("detail --json ALL").expect_code(0).json();
        self.content.sectors = detail["array_bytes"].as_u64().ok_or("no size")? / 512;
        let file = self.folder.join("content");
        std::fs::write(&file, self.content.bytes()).map_err(|error| error.to_string())?;
        let _said = self.reshape("import ALL --from content --yes").expect_code(0);
        std::fs::remove_file(&file).map_err(|error| error.to_string())
    }

    /// A change that is possible and moves content, as options; its new disks are there.
    fn plan(&mut self, (shape, members, mib): (&str, u64, u64)) -> Result<Option<String>, String> {
        for _ in 0..TRIES {
            let (change, more) = any_change(&mut self.random, shape, members);
            let new: Vec<String> = (0..more).map(|number| format!("n{number}")).collect();
            for name in &new {
                let file =
                    File::create(self.folder.join(name)).and_then(|file| file.set_len(mib << 20));
                file.map_err(|error| error.to_string())?;
            }
            let adds: String = new.iter().map(|name| format!(" --add {name}")).collect();
            let mut line = format!("ALL{adds}{change}");
            self.saved = self.random.below(2) == 0;
            if self.saved {
                line.push_str(" --backup-file backup");
            }
            if let Some((line, plan)) = self.possible(line) {
                let steps = plan["steps"].as_array().ok_or("no steps")?.clone();
                if steps.iter().any(|step| step["step"] == "restripe") {
                    self.take(&steps);
                    let line = line.replace("ALL", &self.names.join(" "));
                    self.names.extend(new);
                    self.story.push(format!("{shape}:{change}"));
                    self.change = change;
                    return Ok(Some(line));
                }
            }
        }
        Ok(None)
    }

    /// The plan of a change, with what its refusals ask for.
    fn possible(&mut self, mut line: String) -> Option<(String, Value)> {
        for _ in 0..3 {
            let done = self.reshape(&format!("plan --json {line}"));
            if done.code() == 0 {
                return Some((line, done.json()));
            }
            let said = format!("{}{}", done.stdout, done.stderr);
            if !self.saved && said.contains("--backup-file") {
                self.saved = true;
                line.push_str(" --backup-file backup");
            } else if let Some((_, size)) = said.split_once("--array-size=") {
                let size: String = size.chars().take_while(char::is_ascii_digit).collect();
                line.push_str(&format!(" --array-size {size}"));
            } else {
                return None;
            }
        }
        None
    }

    /// Keeps of a plan what is to be known of it later.
    fn take(&mut self, steps: &[Value]) {
        let mut moved = 0;
        for step in steps {
            for side in ["before", "after"] {
                if let Some(bytes) = step[side]["array_bytes"].as_u64() {
                    self.content.sectors = self.content.sectors.min(bytes / 512);
                }
            }
            let list = |key: &str| step[key].as_array().cloned().unwrap_or_default();
            moved +=
                list("traffic").iter().filter_map(|one| one["read_bytes"].as_u64()).sum::<u64>();
            self.shrinks |= !list("leaving").is_empty();
        }
        self.mib_per_second = [8, 16, 32, 64][usize::try_from(self.random.below(4)).expect("few")];
        self.takes =
            Duration::from_micros(moved * 2 / self.mib_per_second).min(Duration::from_secs(3));
    }

    /// Begins it, and kills that; says whether it is in the midst of it then.
    fn begin(&mut self, change: &str) -> Result<bool, String> {
        for _ in 0..TRIES {
            let code = self.kill(&format!("grow {change}"))?;
            if self.is_amid()? {
                break;
            }
            if code == 0 {
                return Ok(false);
            }
        }
        let more = match self.random.below(20) {
            0..6 => "continue",
            6..8 => "continue continue",
            8..11 => "revert",
            11..14 => "revert continue",
            _ => "",
        };
        for word in more.split_whitespace() {
            let _code = self.kill(&format!("{word} ALL {}", self.backup_option()))?;
            self.turned |= word == "revert";
            if !self.is_amid()? {
                return Ok(false);
            }
        }
        self.is_amid()
    }

    /// Runs a line for a random time, and kills it.
    fn kill(&mut self, line: &str) -> Result<i32, String> {
        let pool = one_of(&mut self.random, "2MiB 3MiB 4MiB 8MiB");
        let backend = one_of(&mut self.random, "auto auto threads");
        let how = format!("--rate {}MiB --pool {pool} --backend {backend}", self.mib_per_second);
        let span = match self.random.below(5) {
            0 => Duration::from_millis(150),
            _ => self.takes + Duration::from_millis(100),
        };
        let span = u64::try_from(span.as_micros()).map_err(|error| error.to_string())?;
        let wait = Duration::from_micros(30_000 + self.random.below(span));
        let mut command = self.command(&format!("{line} --yes {how}"));
        let running = start(&mut command);
        crate::pause(wait);
        running.kill();
        let ended = running.finish(LIMIT);
        self.story.push(format!("{line}: {} after {wait:?}", ended.code()));
        match ended.code() {
            137 => {
                self.kills += 1;
                Ok(137)
            }
            0 => Ok(0),
            // What a revert or a step of a chain refuses is not what is tried here.
            2 if ended.stderr.contains("\nhint: ") => Ok(2),
            code => Err(format!("{line}: exit {code}: {}", ended.stderr)),
        }
    }

    /// Whether a reshape is recorded; new disks that have no superblock yet are no members.
    fn is_amid(&mut self) -> Result<bool, String> {
        let all = self.names.clone();
        let known = |name: &String| self.reshape(&format!("examine -b {name}")).code() == 0;
        let known: Vec<String> = all.iter().filter(|name| known(name)).cloned().collect();
        let line = format!("status --json {} {}", known.join(" "), self.backup_option());
        let said = self.reshape(&line);
        if said.code() != 0 {
            return Err(format!("{line}: exit {}: {}", said.code(), said.stderr));
        }
        let status = said.json();
        let position = &status["reshape"]["position_sectors"];
        if position.is_null() {
            return Ok(false);
        }
        self.story.push(format!("stands at {position}"));
        self.names = known;
        Ok(true)
    }

    /// Whether mdadm and the driver end such a reshape rightly, whoever began it (docs/SHORTCOMINGS.md): a member that
    /// leaves fills an empty slot, and is not all rebuilt; where Q comes on one member, what mdadm puts back has a
    /// wrong one.
    #[must_use]
    pub fn is_for_driver(&self) -> bool {
        let is_partly_rebuilt = self.shrinks && self.lacks_member;
        let loses_q = self.shape.starts_with("-l 6") && self.change.starts_with(" -l");
        !(is_partly_rebuilt || loses_q && self.saved)
    }

    /// Whether mdadm is known to refuse it with these words (docs/SHORTCOMINGS.md).
    #[must_use]
    pub fn is_known(&self, said: &str) -> bool {
        let on_the_way_down = self.saved && (self.shrinks || self.turned);
        let lacks_parity = self.change.starts_with(" -l 0");
        let has_numbers = self.shape.contains("-e 0.90");
        (said.contains("Failed to restore critical section") && (on_the_way_down || lacks_parity))
            || (said.contains("Not enough devices") && has_numbers)
            || said.contains("doesn't match others")
    }

    /// Lets ours end it, in one of the ways there are.
    ///
    /// # Errors
    ///
    /// What is wrong then.
    pub fn end(&mut self) -> Result<(), String> {
        let file = self.backup_option();
        let line = match self.random.below(4) {
            0 => format!("revert ALL {file}"),
            1 => {
                let _found = self.reshape(&format!("salvage ALL {file}"));
                format!("continue ALL {file}")
            }
            2 => format!("continue ALL {file}"),
            _ => {
                let status =
                    self.reshape(&format!("status --json ALL {file}")).expect_code(0).json();
                let next = status["next"].as_str().ok_or("status has no advice")?;
                next.trim_start_matches("reshape ").to_owned()
            }
        };
        let done = self.reshape(&format!("{line} --yes"));
        let is_kept = line.starts_with("revert") && done.code() == 2;
        let done = if is_kept { self.reshape(&format!("continue ALL {file} --yes")) } else { done };
        if done.code() != 0 {
            return Err(format!("{line}: exit {}: {}", done.code(), done.stderr));
        }
        self.verify()
    }

    /// All content is where ours finds it, and parity is right.
    ///
    /// # Errors
    ///
    /// What is wrong.
    pub fn verify(&self) -> Result<(), String> {
        let checked = self.reshape("check ALL");
        if checked.code() != 0 {
            return Err(format!(
                "check: exit {}: {}{}",
                checked.code(),
                checked.stdout,
                checked.stderr
            ));
        }
        let to = self.folder.join("found");
        let exported = self.reshape("export ALL --to found");
        if exported.code() != 0 {
            return Err(format!("export: exit {}: {}", exported.code(), exported.stderr));
        }
        let found = File::open(&to).and_then(|file| self.content.verify(&file));
        let differs = found.map_err(|error| error.to_string())?;
        std::fs::remove_file(&to).map_err(|error| error.to_string())?;
        differs.map_or(Ok(()), |differs| Err(differs.to_string()))
    }
}
