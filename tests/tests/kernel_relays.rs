//! One reshape, many hands: ours and the real driver take turns on it, each is stopped or killed at a
//! random moment, and the power goes in between. In the end content and parity are judged.

use std::fs::File;
use std::path::{Path, PathBuf};

use tests::binary::{LIMIT, run};
use tests::judge::{self, Case};
use tests::ours::Ours;
use tests::parallel;
use tests::pattern::Pattern;
use tests::reshape_binary;
use tests::tmp;

/// How often at least one takes over from the other.
const HAND_OVERS: u32 = 20;
/// The same where the reshape is taken back.
const FEW_HAND_OVERS: u32 = 2;
/// Rounds of a boot: in each the driver takes over, and then ours.
const ROUNDS: u32 = 6;
/// A seed for the everyday form, so many in the long one.
const SEEDS: u64 = 10;

/// What ours cannot do in place is saved in a file, or the data offset moves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Saved {
    /// There is room in front of the data.
    Room,
    /// A backup file. The driver has its turns without mdadm, which does not hold it back.
    File,
}

/// Names one relay, `chunk:41`, and only that is run.
const REPLAY: &str = "KCOPY_RELAY";

/// Where it is to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    /// It is finished.
    Forth,
    /// Ours turns it around when it has gone some way.
    Back,
}

impl Way {
    /// Of the superblocks. The oldest ones have no room to move the data offset to, and cannot record that
    /// a reshape of the same members is taken back.
    fn version(self, saved: Saved) -> &'static str {
        match (self, saved) {
            (_, Saved::Room) => "1.2",
            (Self::Forth, Saved::File) => "0.90",
            (Self::Back, Saved::File) => "1.0",
        }
    }
}

/// A change that is handed over.
#[derive(Clone, Copy, Debug)]
struct Kind {
    name: &'static str,
    /// For `reshape create`.
    shape: &'static str,
    members: u32,
    more: u32,
    /// For `reshape grow`.
    ours: &'static str,
    /// For `mdadm --grow`; empty where the driver must not begin: when it moves the data offset and the
    /// size stays, the position that it records does not follow until it is assembled anew; and with a
    /// backup file it would begin without one, for it is mdadm that writes it.
    theirs: &'static str,
    saved: Saved,
}

const fn kind(name: &'static str, shape: &'static str, (members, more): (u32, u32)) -> Kind {
    Kind { name, shape, members, more, ours: "", theirs: "", saved: Saved::Room }
}

impl Kind {
    const fn by(mut self, ours: &'static str, theirs: &'static str) -> Self {
        (self.ours, self.theirs) = (ours, theirs);
        self
    }

    const fn with_file(mut self) -> Self {
        self.saved = Saved::File;
        self
    }
}

const LAYOUT: &str = "--layout right-asymmetric";
const IN_PLACE: &str = "-l 5 -c 64 --size 31744";
const KINDS: [Kind; 11] = [
    kind("grow-5", "-l 5 -c 64", (3, 1)).by("-n 4", "-n 4"),
    kind("chunk", "-l 5 -c 64", (4, 0)).by("-c 128", ""),
    kind("chunk-file", IN_PLACE, (3, 0)).by("-c 128", "").with_file(),
    kind("grow-6", "-l 6 -c 64", (4, 1)).by("-n 5", "-n 5"),
    kind("grow-10", "-l 10 -c 64", (4, 1)).by("-n 5", "-n 5"),
    kind("shrink", "-l 5 -c 64 --size 31232", (4, 0)).by("-n 3 --array-size 60MiB", ""),
    kind("layout", "-l 5 -c 64", (4, 0)).by(LAYOUT, ""),
    kind("level", "-l 5 -c 64", (3, 1)).by("-l 6", ""),
    kind("layout-file", IN_PLACE, (4, 0)).by(LAYOUT, "").with_file(),
    kind("level-file", IN_PLACE, (3, 1)).by("-l 6", "").with_file(),
    kind("shrink-file", IN_PLACE, (4, 0)).by("-n 3 --array-size 60MiB", "").with_file(),
];
/// What is tried when it has to be quick.
const EVERYDAY: usize = 3;

/// A reshape in many hands.
#[derive(Debug)]
struct Relay {
    kind: Kind,
    way: Way,
    seed: u64,
    folder: PathBuf,
    members: Vec<PathBuf>,
    content: Pattern,
}

impl Relay {
    /// Makes the array, with content.
    fn new(folder: &Path, (kind, way): (Kind, Way), seed: u64) -> Result<Self, String> {
        let folder = folder.join(format!("{}-{seed}", kind.name));
        std::fs::create_dir(&folder).map_err(|error| error.to_string())?;
        let path = |number: u32| folder.join(format!("m{number}"));
        let members: Vec<PathBuf> = (0..kind.members + kind.more).map(path).collect();
        let (first, more) = members.split_at(usize::try_from(kind.members).expect("few"));
        let mut command = std::process::Command::new(reshape_binary());
        command.arg("create").args(kind.shape.split(' ')).args(["--create-files", "32MiB"]);
        command.args(["--metadata", way.version(kind.saved)]);
        command.args(["-n", &kind.members.to_string(), "--yes", "--assume-clean"]).args(first);
        let _said = run(&mut command, LIMIT).expect_code(0);
        for path in more {
            let file = File::create_new(path).map_err(|error| error.to_string())?;
            file.set_len(32 << 20).map_err(|error| error.to_string())?;
        }
        let mut ours = Ours::writable(first)?;
        let all = ours.array()?.sectors().get();
        // Of a shrink what is left.
        let sectors = if kind.name.starts_with("shrink") { 120 << 10 } else { all };
        let content = Pattern::whole(seed, sectors);
        ours.fill(content)?;
        Ok(Self { kind, way, seed, folder, members, content })
    }

    fn file(&self) -> String {
        self.folder.join("backup").display().to_string()
    }

    fn with_file(&self) -> String {
        match self.kind.saved {
            Saved::Room => String::new(),
            Saved::File => format!("--backup-file {}", self.file()),
        }
    }

    /// A boot that begins with this and goes on with rounds of both.
    fn leg(&self, number: u64, begin: &str) -> Case {
        let Kind { saved, shape, name, .. } = self.kind;
        let case = Case::new(format!("{name}-{} leg {number}", self.seed), &self.members);
        let (turn_kib, relay) = match saved {
            Saved::Room => (600, "relay"),
            // Next to nothing of it is saved: a turn is a short one.
            Saved::File if name == "shrink-file" => (4096, "alone_relay"),
            // A sixth of such a small array is saved at once.
            Saved::File => (16384, "alone_relay"),
        };
        let case = case.then(format!("turns {} {turn_kib}", self.seed * 10 + number));
        let case = match saved {
            Saved::Room => case,
            Saved::File => case.then("slow 50").then(format!(
                "alone {} {}",
                self.file(),
                self.way.version(saved)
            )),
        };
        // The driver reads a half-moved RAID10 from the wrong place while it is read-only, and one that
        // shrinks not at all: it waits for the reshape to go on.
        let is_readable = !shape.starts_with("-l 10") && !name.starts_with("shrink");
        let content = format!("{} {}", self.content.seed, self.content.sectors);
        let looks = if is_readable { content } else { String::new() };
        let rounds = |rounds| format!("{relay} {rounds} {looks}");
        let case = case.then(begin);
        match self.way {
            Way::Forth => case.then(rounds(ROUNDS)),
            // Killed, too: it may or may not be turned around then.
            Way::Back if number == 1 => {
                let revert = format!("ours revert {}", self.with_file());
                case.then(rounds(2)).then(revert).then(rounds(2))
            }
            Way::Back => case.then(rounds(2)),
        }
    }

    /// Who begins it.
    fn begin(&self) -> String {
        let Kind { members, ours, theirs, .. } = self.kind;
        let few = format!("all=(\"${{devices[@]}}\"); devices=(\"${{all[@]:0:{members}}}\")");
        let more = format!("${{all[@]:{members}}}");
        let begin = if self.seed.is_multiple_of(2) || theirs.is_empty() {
            let add = if self.kind.more == 0 { String::new() } else { format!("--add {more}") };
            format!("ours_begins grow {ours} {add} {}", self.with_file())
        } else {
            let add = if self.kind.more == 0 { ":" } else { &format!("mdadm $md --add {more}") };
            format!("starts\nwritable\n{add}\ndriver_grows {theirs}")
        };
        format!("{few}\n{begin}\ndevices=(\"${{all[@]}}\")")
    }

    fn run(&self) -> Result<(), String> {
        let file = self.with_file();
        let (cut, to_end) = match self.kind.saved {
            Saved::Room => ("driver_cut", "driver_to_end"),
            Saved::File => ("alone_cut", "alone_to_end"),
        };
        let mut hand_overs = self.judged(self.leg(1, &self.begin()).then(cut))?;
        // Who ends it is not always who began it.
        let last = self.leg(2, &format!("ours continue {file}"));
        let last = if (self.seed / 2).is_multiple_of(2) {
            last.then(format!("ours_to_end continue {file}"))
        } else {
            last.then(to_end)
        };
        hand_overs += self.judged(last.assemble("").verify(self.content).check())?;
        let expected = match self.way {
            Way::Forth => HAND_OVERS,
            Way::Back => FEW_HAND_OVERS,
        };
        if hand_overs < expected {
            return Err(format!("{}-{}: {hand_overs} hand-overs only", self.kind.name, self.seed));
        }
        Ok(())
    }

    /// How often it was handed over in that boot.
    fn judged(&self, case: Case) -> Result<u32, String> {
        let verdicts = judge::judge(&[case]);
        let [verdict] = verdicts.as_slice() else { return Err("there is no verdict".into()) };
        if let Some(complaint) = verdict.complaint() {
            return Err(complaint);
        }
        let number = verdict.fact("hand_overs").and_then(|number| number.parse().ok());
        // What lies at the end of a boot is handed over to the next one's beginning.
        number.ok_or_else(|| format!("{}: no hand-overs\n{}", self.kind.name, verdict.log))
    }
}

/// The everyday kinds, in the long form all with ten seeds each; or the one that is to be replayed.
fn take_turns(way: Way) {
    let dir = tmp::in_memory();
    let kinds = if tests::is_long() { &KINDS[..] } else { &KINDS[..EVERYDAY] };
    let seeds = if tests::is_long() { SEEDS } else { 1 };
    let all = kinds.iter().flat_map(|kind| (41..41 + seeds).map(move |seed| (*kind, seed)));
    // On the way back the driver knows no member that it has rebuilt in part: Q was wrong where it ended it.
    let is_ours = |kind: &Kind| way == Way::Back && kind.name == "level-file";
    let mut all: Vec<(Kind, u64)> = all.filter(|(kind, _)| !is_ours(kind)).collect();
    if let Ok(one) = std::env::var(REPLAY) {
        let (name, seed) = one.split_once(':').expect("NAME:SEED");
        let kind = KINDS.into_iter().find(|kind| kind.name == name).expect("a kind of relay");
        all = vec![(kind, seed.parse().expect("a seed"))];
    }
    parallel::expect_all(&all, |(kind, seed)| {
        let relay = Relay::new(dir.path(), (*kind, way), *seed)?;
        let result = relay.run();
        std::fs::remove_dir_all(&relay.folder).map_err(|error| error.to_string())?;
        result.map_err(|error| format!("{error}\nreplay: {REPLAY}={}:{seed}", kind.name))
    });
}

#[test]
fn kernel_driver_and_ours_take_turns_on_one_reshape() {
    take_turns(Way::Forth);
}

#[test]
fn kernel_driver_and_ours_take_turns_on_a_reshape_that_is_taken_back() {
    take_turns(Way::Back);
}
