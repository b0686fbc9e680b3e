//! `reshape salvage`: where an interrupted reshape really stopped, and what of the content there is.

use std::fmt::Write;
use std::path::{Path, PathBuf};

use kcopy::{Device, SECTOR_SIZE};
use reshape::array::{ArrayError, Range, Target};
use reshape::assemble::Shapes;
use reshape::geometry::Geometry;
use reshape::metadata::Direction;
use reshape::mover::MoveError;
use reshape::salvage::{
    Asks, BackupNote, Counts, Finding, Judged, SalvageError, Verdict, asks_for, find, mend, record,
    vouch,
};
use serde::Serialize;

use super::export::file;
use super::given::{Access, Given, chain, failed, refused};
use super::going::{FailedReport, fresh_file, tell_left};
use super::range::Watch;
use crate::args::Direct;
use crate::args::array::SalvageArgs;
use crate::clock::date;
use crate::cmd::target::{Use, open_source};
use crate::exit::{Exit, Failure};
use crate::output::{Phase, Screen, name, word};
use crate::units::human;

/// Ranges that are named for people; JSON has all of them.
const NAMED: usize = 16;

#[derive(Debug, Serialize)]
struct Report {
    schema: u32,
    verdict: &'static str,
    direction: &'static str,
    /// What each member records, in sectors of the array.
    claims: Vec<ClaimReport>,
    recorded_sector: u64,
    /// The front lies between these.
    front_sectors: [u64; 2],
    resume_sector: u64,
    /// Whether that position can be recorded.
    recordable: bool,
    evidence: EvidenceReport,
    backups: Vec<BackupReport>,
    lost: Vec<RangeReport>,
    /// Members that were left behind, and are read because the array cannot do without them.
    readmitted: Vec<String>,
    /// Those of `lost` of which it cannot be told whether they are.
    open: Vec<RangeReport>,
    /// Those of `open` among which mdadm may have moved some twice; the rest of the evidence is clear.
    turned: Vec<RangeReport>,
    /// Computed from parity, as members are torn against each other.
    computed: Vec<RangeReport>,
    /// Taken from where a reshape that was begun again has carried it; nothing proves it.
    carried: Vec<RangeReport>,
    /// Taken from backups.
    from_backup: Vec<RangeReport>,
    /// Members could not deliver it; it was taken from elsewhere.
    recovered: Vec<RangeReport>,
    exported_bytes: Option<u64>,
    position_recorded: bool,
    /// Members that could not be written then, and left the array.
    failed: Vec<FailedReport>,
    /// The command that goes on, if nothing has to be done before.
    next: Option<String>,
}

#[derive(Debug, Serialize)]
struct ClaimReport {
    path: String,
    position_sector: Option<u64>,
    events: u64,
}

#[derive(Debug, Serialize)]
struct EvidenceReport {
    /// Units of 4 KiB.
    new_rows: CountsReport,
    old_rows: CountsReport,
    at_both_places: u64,
    told_by_backups: u64,
    torn_rows: u64,
    contradicting: u64,
}

#[derive(Debug, Serialize)]
struct CountsReport {
    verified: u64,
    unknown: u64,
    contradicting: u64,
}

#[derive(Debug, Serialize)]
struct BackupReport {
    path: String,
    verdict: String,
}

#[derive(Debug, Serialize)]
struct RangeReport {
    start_sector: u64,
    sectors: u64,
}

/// What was done beside looking.
#[derive(Debug, Default)]
struct Done {
    exported: Option<u64>,
    /// What no member could deliver though it is there.
    unreadable: Vec<Range>,
    recovered: Vec<Range>,
    /// The position that is recorded now.
    recorded: Option<u64>,
    /// Members that could not be written, and left the array.
    failed: Vec<FailedReport>,
    /// A new backup, in which what is saved is put back already, or which says that nothing had to be.
    backup: Option<PathBuf>,
}

pub(crate) fn run(args: &SalvageArgs, screen: Screen) -> Result<Exit, Failure> {
    let access = if args.yes { Access::Change } else { Access::Look };
    let mut given = Given::open(&args.array.devices, access, &args.run.mover)?;
    let backups = backups(args, &given)?;
    let Shapes::Moving { old, new, .. } = given.assembly.shapes.clone() else {
        return Err(not_found(&SalvageError::NotReshaping));
    };
    // Everything is read at its old and at its new place, and as rows of the members.
    let content = old.sectors().min(new.sectors()).get();
    let bytes = (content + new.component().get()) * SECTOR_SIZE;
    let mut watch = Watch::begin(args.run.progress, screen, Phase::Check, bytes)?;
    let (mover, assembly) = (&mut given.mover, &given.assembly);
    let moved = &mut |done| watch.moved(done);
    let found = find(mover, &given.members, assembly, &backups, moved);
    watch.finish();
    let finding = match found {
        Ok(finding) => finding,
        Err(SalvageError::Array(ArrayError::Move(MoveError::Cancelled))) => {
            screen.problem("interrupted: nothing was written");
            return Ok(Exit::Interrupted);
        }
        Err(error) => return Err(not_found(&error)),
    };
    let asks = asks(&mut given, &finding)?;
    let mut done = Done::default();
    // What is refused is refused before anything is written.
    let way = if args.yes { Some(way(args, &given, (&finding, asks))?) } else { None };
    if !args.run.json {
        screen.result(&text(&given, (&old, &new), &finding), Exit::Done);
    }
    if let Some(to) = &args.to {
        export(args, screen, &mut given, &finding, (to, &mut done))?;
    }
    if let Some(way) = way {
        put_right(screen, &mut given, &finding, (way, &mut done))?;
    }
    Ok(tell(args, screen, &given, (&finding, asks), &done))
}

/// What whoever goes on asks for, if all content is known to stand where the position says. A backup that is
/// believed holds what they need, if it holds anything that is still to be moved.
fn asks(given: &mut Given, finding: &Finding) -> Result<Asks, Failure> {
    let resume = finding.resume.get();
    let is_ahead = |range: &Range| match finding.direction {
        Direction::Forwards => range.end() > resume,
        Direction::Backwards => range.start.get() < resume,
    };
    let is_enough = |note: &BackupNote| {
        if let Judged::Believed { sections } = &note.judged {
            return sections.iter().any(is_ahead);
        }
        note.judged.tells()
    };
    let is_known = finding.is_settled() && finding.is_recordable();
    if !is_known || finding.backups.iter().any(is_enough) {
        return Ok(Asks::Nothing);
    }
    let known = (&given.members, &given.assembly);
    asks_for(&mut given.mover, known, finding.resume).map_err(|error| not_found(&error))
}

fn backups(args: &SalvageArgs, given: &Given) -> Result<Vec<Device>, Failure> {
    let Some(path) = &args.backup_file else { return Ok(Vec::new()) };
    let device = open_source(path, Direct::Auto)?;
    if given.has(&device).is_some() {
        return Err(Use::Read
            .refused(path, "it is a member of the array")
            .hint("a backup on a spare is found by itself"));
    }
    Ok(vec![device])
}

fn not_found(error: &SalvageError) -> Failure {
    match error {
        SalvageError::Array(error) => refused("salvage the array", error),
        SalvageError::NotReshaping => {
            Failure::refused(format!("cannot salvage the array: {error}"))
                .hint("reshape check reads all of it and compares; reshape export saves it")
        }
        SalvageError::NotRecordable
        | SalvageError::NotSure
        | SalvageError::TooFewMembers
        | SalvageError::Record(_)
        | SalvageError::Exec(_)
        | _ => Failure::refused(format!("cannot salvage the array: {error}"))
            .hint("reshape examine shows what the superblocks say"),
    }
}

/// Writes the content to a file.
fn export(
    args: &SalvageArgs,
    screen: Screen,
    given: &mut Given,
    finding: &Finding,
    (to, done): (&Path, &mut Done),
) -> Result<(), Failure> {
    let sectors = finding.content.sectors().get();
    let bytes = sectors * SECTOR_SIZE;
    let device = file(given, to, args.run.mover.direct, bytes)?;
    let target = Target::Device { device: device.clone(), offset: 0 };
    let mut watch = Watch::begin(args.run.progress, screen, Phase::Export, bytes)?;
    let moved = &mut |done| watch.moved(done);
    let mover = &mut given.mover;
    let read = finding.content.read_to(mover, Range::new(0, sectors), &target, moved);
    let read = read.and_then(|report| {
        watch.phase(Phase::Flush, bytes);
        mover.flush(&[&device])?;
        Ok(report)
    });
    watch.finish();
    let report = read.map_err(|error| failed("export the content", &error))?;
    done.exported = Some(bytes);
    let known = |range: &Range| finding.lost.contains(range);
    done.unreadable = report.unreadable.into_iter().filter(|range| !known(range)).collect();
    done.recovered = report.recovered;
    Ok(())
}

/// How the members are put right.
enum Way {
    /// One position on all of them; and what a backup that is missing would tell, in this file.
    Record(Option<Device>),
    /// What is torn is saved in this file, and written anew.
    Mend(Device, Keep),
}

/// What becomes of the file that torn stripes were saved in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Keep {
    /// It was named, and stays.
    Named,
    /// It was made for want of a name, and is removed when the members hold all that is in it.
    Own,
}

/// How the members can be put right; opens the file that this takes.
fn way(
    args: &SalvageArgs,
    given: &Given,
    (finding, asks): (&Finding, Asks),
) -> Result<Way, Failure> {
    let cannot = |why: &dyn std::fmt::Display| {
        Failure::refused(format!("cannot put the members right: {why}; nothing was written"))
            .hint("--to writes the content to a file")
    };
    let anew = if asks == Asks::Stripes { finding.around() } else { finding.torn() };
    match (anew, &args.mend) {
        (None, named) if finding.is_recordable() && asks == Asks::Proof => {
            let own = PathBuf::from(format!("reshape-{}.backup", given.assembly.uuid));
            let path = named.as_ref().unwrap_or(&own);
            let file = fresh_file(Some(path), &given.members.devices, (None, false));
            let hint = "--mend FILE names another file, which says in place of the backup that is not here that \
                        nothing was overwritten";
            Ok(Way::Record(Some(file.map_err(|failure| failure.hint(hint))?)))
        }
        (None, _) if finding.is_recordable() => Ok(Way::Record(None)),
        _ if finding.lacks_members() => Err(cannot(&SalvageError::TooFewMembers)),
        (None, _) if !finding.is_sure() => Err(cannot(&SalvageError::NotSure)),
        (None, _) => Err(cannot(&SalvageError::NotRecordable)),
        (Some(_), Some(path)) => {
            let file = fresh_file(Some(path), &given.members.devices, (None, false))?;
            Ok(Way::Mend(file, Keep::Named))
        }
        (Some(_), None) => {
            let path = PathBuf::from(format!("reshape-{}.torn", given.assembly.uuid));
            let file = fresh_file(Some(&path), &given.members.devices, (None, false));
            let hint = "--mend FILE says where torn stripes are saved before they are written anew";
            Ok(Way::Mend(file.map_err(|failure| failure.hint(hint))?, Keep::Own))
        }
    }
}

/// Puts the members right, and notes the position that is recorded then.
fn put_right(
    screen: Screen,
    given: &mut Given,
    finding: &Finding,
    (way, done): (Way, &mut Done),
) -> Result<(), Failure> {
    let (mover, members, assembly) = (&mut given.mover, &given.members, &given.assembly);
    let (put, hint) = match way {
        Way::Record(file) => {
            // With the time that is recorded: the age of a backup is counted from it.
            let mut put = record(mover, members, assembly, finding, assembly.update_time);
            // Not before: what the file says is true of the position that was found.
            if let Some(file) = file.filter(|_| put.is_ok()) {
                let vouched = vouch(mover, (members, assembly), finding.resume, &file);
                put = put.and_then(|failed| vouched.map(|()| failed));
                done.backup = Some(file.path().to_owned());
            }
            let hint = "run the same command again: the members may record different positions now";
            (put.map(|failed| (finding.resume, failed)), hint.to_owned())
        }
        Way::Mend(file, keep) => {
            let path = name(file.path());
            screen.note(&format!("torn stripes are saved in {path} before they are written anew"));
            let put = mend(mover, (members, assembly), finding, &file, date());
            let put = put.and_then(|(ongoing, failed)| {
                let to = ongoing.position();
                let asks = asks_for(mover, (&ongoing.members, &ongoing.assembly), to)?;
                if keep == Keep::Own && asks == Asks::Nothing {
                    // One that stays does no harm: it says that it is not needed.
                    let _ = std::fs::remove_file(file.path());
                } else {
                    done.backup = Some(file.path().to_owned());
                }
                Ok((to, failed))
            });
            let hint = format!(
                "keep {path}: reshape status --backup-file {path} says whether it is needed; if it holds \
                 nothing, run the same command again with another file"
            );
            (put, hint)
        }
    };
    let (put, failed) = put.map_err(|error| {
        Failure::failed(format!("cannot put the members right: {}", chain(&error))).hint(hint)
    })?;
    done.recorded = Some(put.get());
    done.failed = tell_left(screen, &failed);
    Ok(())
}

/// `raid5, 4 members, chunks of 64 KiB`
fn shape(geometry: &Geometry) -> String {
    let chunk = human(geometry.chunk().get() * SECTOR_SIZE);
    format!(
        "{} {}, {} members, chunks of {chunk}",
        geometry.level(),
        geometry.layout(),
        geometry.raid_disks()
    )
}

fn text(given: &Given, (old, new): (&Geometry, &Geometry), finding: &Finding) -> String {
    let mut text = String::new();
    let mut line = |what: &str, value: &str| {
        let _ = writeln!(text, "{what:>12}  {value}");
    };
    line("array", &given.title());
    line("from", &shape(old));
    line("to", &shape(new));
    line("goes", direction(finding.direction));
    for claim in &finding.claims {
        let member = given.members.devices.get(claim.candidate);
        let member = member.map(|device| name(device.path())).unwrap_or_default();
        let position = claim.position.map_or_else(|| "no reshape".to_owned(), |p| p.to_string());
        line("recorded", &format!("{member}: {position} (event {})", claim.events));
    }
    for member in &finding.readmitted {
        let member = given.members.devices.get(*member).map(|device| name(device.path()));
        let why = "it was left behind, and is read as the array cannot do without it";
        line("read", &format!("{}: {why}", member.unwrap_or_default()));
    }
    let (first, last) = (finding.front.start().get(), finding.front.end().get());
    let front = if first == last {
        format!("the front is at array sector {first}")
    } else {
        format!("the front is between the array sectors {first} and {last}")
    };
    line("found", &front);
    line("go on from", &finding.resume.to_string());
    let seen = &finding.witnesses;
    line("new rows", &counts(seen.new_rows));
    line("old rows", &counts(seen.old_rows));
    line("agreement", &format!("{} stand at both places", human(seen.agreeing * 4096)));
    if seen.torn > 0 {
        line("torn", &format!("{} rows verify as neither: members differ", seen.torn));
    }
    if seen.contradicting > 0 {
        line("against", &format!("{} observations contradict this front", seen.contradicting));
    }
    for backup in &finding.backups {
        line("backup", &format!("{}: {}", name(&backup.path), judged(backup)));
    }
    for (what, ranges) in
        [("computed", finding.content.computed()), ("from backup", finding.content.saved())]
    {
        if !ranges.is_empty() {
            line(what, &sectors(&ranges));
        }
    }
    let carried = finding.content.carried();
    if !carried.is_empty() {
        let what = "where a second run from the start has put it, not proven";
        line("carried", &format!("{}: {what}", sectors(&carried)));
    }
    line("lost", &if finding.lost.is_empty() { "nothing".into() } else { sectors(&finding.lost) });
    if !finding.open.is_empty() {
        let what = if finding.turned.is_some() {
            "it cannot be told of"
        } else {
            "of these it cannot be told"
        };
        line("", &format!("{what}: {}", sectors(&finding.open)));
    }
    line("verdict", verdict_text(finding));
    text
}

fn counts(counts: Counts) -> String {
    let Counts { verified, unknown, contradicting } = counts;
    format!("{verified} verified, {unknown} tell nothing, {contradicting} contradict")
}

/// `768 sectors: 128 to 255, …`
fn sectors(ranges: &[Range]) -> String {
    let all: u64 = ranges.iter().map(|range| range.sectors.get()).sum();
    let named = ranges.iter().take(NAMED);
    let named: Vec<String> = named
        .map(|range| format!("{} to {}", range.start.get(), range.end().saturating_sub(1)))
        .collect();
    let more = ranges.len().saturating_sub(NAMED);
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    format!("{all} sectors: {}{more}", named.join(", "))
}

const fn direction(direction: Direction) -> &'static str {
    match direction {
        Direction::Forwards => "forwards",
        Direction::Backwards => "backwards",
    }
}

fn judged(note: &BackupNote) -> String {
    match &note.judged {
        Judged::Believed { sections } => format!("believed, holds {}", sectors(sections)),
        Judged::Empty { .. } => "nothing was saved in it".to_owned(),
        Judged::Foreign => "of another array, not used".to_owned(),
        Judged::Contradicts => "holds something else than the members, not used".to_owned(),
        Judged::Unsure { seconds } => {
            let when = if *seconds < 0 { "before" } else { "after" };
            let seconds = seconds.unsigned_abs();
            format!("written {seconds} s {when} the superblocks, not used")
        }
        Judged::CutOff => "cut off: what its header tells of is not in it, not used".to_owned(),
        Judged::Damaged => "its data is not what was saved, not used".to_owned(),
        Judged::Unreadable(error) => error.to_string(),
    }
}

const fn verdict(finding: &Finding) -> &'static str {
    match finding.verdict {
        Verdict::AsRecorded => "as_recorded",
        Verdict::Found => "found",
        Verdict::Ambiguous => "ambiguous",
        Verdict::Lost => "lost",
    }
}

fn verdict_text(finding: &Finding) -> &'static str {
    match finding.verdict {
        Verdict::AsRecorded => "the recorded position is right, and all content is there",
        Verdict::Found if finding.is_recordable() => {
            "the record is wrong or incomplete; the front was found, and all content is there"
        }
        Verdict::Found => {
            "the members are torn against each other; all content is there, but no position reads it"
        }
        Verdict::Ambiguous if finding.is_sure() => {
            "the front was found, but mdadm turned the reshape around in place: it moves up to two sections of its \
             backup twice then, and nothing on the members tells whether it did, nor where"
        }
        Verdict::Ambiguous if !finding.readmitted.is_empty() => {
            "the array cannot do without a member that was left behind: what only that one has may be out of date"
        }
        Verdict::Ambiguous => "the evidence allows several fronts: nothing is sure",
        Verdict::Lost if finding.lost.is_empty() => {
            "some content is only where a second run has put it"
        }
        Verdict::Lost if finding.lacks_members() => {
            "too few members are here: some content is out of reach"
        }
        Verdict::Lost => "some content is on no member",
    }
}

fn ranges(ranges: &[Range]) -> Vec<RangeReport> {
    let report = |range: &Range| RangeReport {
        start_sector: range.start.get(),
        sectors: range.sectors.get(),
    };
    ranges.iter().map(report).collect()
}

fn tell(
    args: &SalvageArgs,
    screen: Screen,
    given: &Given,
    (finding, asks): (&Finding, Asks),
    done: &Done,
) -> Exit {
    let whole = finding.is_whole() && done.unreadable.is_empty();
    let exit = if whole { Exit::Done } else { Exit::Failed };
    let next = next(args, given, (finding, asks), done);
    if args.run.json {
        return screen.json(&report(given, finding, done, next), exit);
    }
    for range in done.unreadable.iter().take(NAMED) {
        let (start, sectors) = (range.start.get(), range.sectors.get());
        screen.problem(&format!("cannot read {sectors} sectors of the array from {start} on"));
    }
    if let (Some(bytes), Some(to)) = (done.exported, &args.to) {
        screen.summary(&format!("exported {} to {}", human(bytes), name(to)));
    }
    if let Some(position) = done.recorded {
        let next = next.clone().unwrap_or_default();
        let left = if done.failed.is_empty() { "" } else { " that are left" };
        screen.summary(&format!("recorded {position} on all members{left}; {next} goes on"));
    }
    match finding.verdict {
        _ if done.recorded.is_some() => {}
        Verdict::AsRecorded | Verdict::Found if asks == Asks::Proof => screen.hint(
            "--yes records the position, and says in a new backup file that nothing behind it was overwritten: \
             with it reshape continue goes on from there",
        ),
        Verdict::AsRecorded | Verdict::Found if asks == Asks::Stripes => screen.hint(
            "--yes writes the stripes around the front anew, by way of a file; then reshape continue goes on",
        ),
        Verdict::Found if finding.is_recordable() => {
            screen.hint("--yes records the position; then reshape continue goes on from there");
        }
        Verdict::Found if finding.torn().is_some() => {
            screen.hint(
                "--yes puts the members right, by way of a file; --to writes what there is to a file",
            );
        }
        Verdict::AsRecorded => {
            let next = next.unwrap_or_default();
            screen.hint(&format!("{next} goes on"));
        }
        Verdict::Ambiguous if finding.is_sure() => screen.hint(
            "--to writes what there is to a file, to be looked at; --yes records the position, and names the command \
             that goes on as it is",
        ),
        Verdict::Ambiguous if !finding.readmitted.is_empty() && done.exported.is_none() => {
            screen.hint("--to writes what there is to a file, to be looked at");
        }
        Verdict::Ambiguous if !finding.readmitted.is_empty() => {}
        Verdict::Ambiguous if !finding.open.is_empty() && args.backup_file.is_none() => {
            screen.hint("name the backup file that was in use (--backup-file): only it tells");
        }
        Verdict::Lost if finding.lacks_members() => {
            screen.hint("name all members; --to writes what there is to a file");
        }
        Verdict::Found | Verdict::Ambiguous | Verdict::Lost if done.exported.is_none() => {
            screen.hint("--to writes what there is to a file");
        }
        Verdict::Found | Verdict::Ambiguous | Verdict::Lost => {}
    }
    exit
}

/// The command that goes on, as it can be typed; `None` if something has to be done before.
fn next(
    args: &SalvageArgs,
    given: &Given,
    (finding, asks): (&Finding, Asks),
    done: &Done,
) -> Option<String> {
    let goes_on = matches!(asks, Asks::Nothing | Asks::File);
    let is_right = finding.verdict == Verdict::AsRecorded && goes_on;
    if !is_right && done.recorded.is_none() {
        return None;
    }
    let mut command = String::from("reshape continue");
    for device in &given.members.devices {
        command.push_str(&format!(" {}", word(device.path())));
    }
    match (done.backup.as_ref().or(args.backup_file.as_ref()), asks) {
        (Some(file), _) => command.push_str(&format!(" --backup-file {}", word(file))),
        (None, Asks::File) => command.push_str(" --backup-file FILE"),
        (None, Asks::Nothing | Asks::Proof | Asks::Stripes) => {}
    }
    // A backup of ours says that whoever made it knows.
    if finding.turned.is_some() && done.backup.is_none() {
        command.push_str(" --force");
    }
    Some(command)
}

fn report(given: &Given, finding: &Finding, done: &Done, next: Option<String>) -> Report {
    let path = |index: usize| {
        let device = given.members.devices.get(index);
        device.map(|device| name(device.path())).unwrap_or_default()
    };
    let counts = |Counts { verified, unknown, contradicting }| CountsReport {
        verified,
        unknown,
        contradicting,
    };
    let seen = finding.witnesses;
    let unreadable = finding.lost.iter().chain(&done.unreadable).copied().collect::<Vec<_>>();
    Report {
        schema: 1,
        verdict: verdict(finding),
        direction: direction(finding.direction),
        claims: finding
            .claims
            .iter()
            .map(|claim| ClaimReport {
                path: path(claim.candidate),
                position_sector: claim.position.map(|position| position.get()),
                events: claim.events,
            })
            .collect(),
        recorded_sector: finding.recorded.get(),
        front_sectors: [finding.front.start().get(), finding.front.end().get()],
        resume_sector: finding.resume.get(),
        recordable: finding.is_recordable(),
        evidence: EvidenceReport {
            new_rows: counts(seen.new_rows),
            old_rows: counts(seen.old_rows),
            at_both_places: seen.agreeing,
            told_by_backups: seen.saved,
            torn_rows: seen.torn,
            contradicting: seen.contradicting,
        },
        backups: finding
            .backups
            .iter()
            .map(|note| BackupReport { path: name(&note.path), verdict: judged(note) })
            .collect(),
        lost: ranges(&unreadable),
        readmitted: finding.readmitted.iter().map(|member| path(*member)).collect(),
        open: ranges(&finding.open),
        turned: ranges(finding.turned.as_slice()),
        computed: ranges(&finding.content.computed()),
        carried: ranges(&finding.content.carried()),
        from_backup: ranges(&finding.content.saved()),
        recovered: ranges(&done.recovered),
        exported_bytes: done.exported,
        position_recorded: done.recorded.is_some(),
        failed: done.failed.clone(),
        next,
    }
}
