//! `reshape export`: the content of an array into a file.

use std::fs::File;
use std::io::{self, IsTerminal, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::FileTypeExt;
use std::path::Path;
use std::thread;

use kcopy::{Device, Sectors};
use reshape::array::{Age, Array, ArrayError, Range, ReadReport, Taken, Target};
use reshape::assemble::{Shapes, WhyNotWrite};
use reshape::exec::Ongoing;
use reshape::mover::MoveError;
use reshape::salvage::{Inquiry, Purpose, Why, WhyNot};
use reshape::units::ArraySector;
use serde::Serialize;

use super::backup::{self, Wanted};
use super::given::{Access, Given, failed, refused};
use super::going::record::{self, Said};
use super::range::{Part, Watch, is_block, part};
use crate::args::Direct;
use crate::args::array::ExportArgs;
use crate::clock::Epoch;
use crate::cmd::copy::rate;
use crate::cmd::target::{Use, cause, open_destination, open_source};
use crate::exit::{Exit, Failure};
use crate::output::{Phase, Screen, name};
use crate::units::{exact, human};

/// Bytes that are handed to a pipe at once; a few such windows are on their way.
const WINDOW: u64 = 4 << 20;
/// Ranges that are named; the rest is counted.
const NAMED: usize = 16;

#[derive(Debug, Serialize)]
struct Report {
    schema: u32,
    bytes: u64,
    seconds: f64,
    interrupted: bool,
    flushed: bool,
    /// Could be neither read nor computed.
    unreadable: Vec<RangeReport>,
    /// A member could not deliver it; it was taken from elsewhere.
    recovered: Vec<RangeReport>,
}

#[derive(Debug, Serialize)]
struct RangeReport {
    start_sector: u64,
    sectors: u64,
}

pub(crate) fn run(args: &ExportArgs, screen: Screen) -> Result<Exit, Failure> {
    check_standard_output(args)?;
    let mut given = Given::open(&args.array.devices, Access::Look, &args.run.mover)?;
    let size = open(&given, args)?.sectors();
    let part = part("export", size, args.offset, args.count, None)?;
    let (file, force) = (args.backup_file.as_deref(), args.force);
    let wanted = Wanted { file, part: part.cover(), size, force };
    let (array, stands) = open_judged(args, &mut given, wanted, screen)?;
    warn(&given, stands, screen);
    let bytes = part.bytes;
    let sink = Sink::open(&given, args, bytes)?;
    let mut watch = Watch::begin(args.run.progress, screen, Phase::Export, bytes)?;
    let epoch = Epoch::begin();
    let flush = !args.no_flush && matches!(sink, Sink::Device(_));
    let result = match sink {
        Sink::Stream(out) => {
            let (read, written) = to_stream(&array, &mut given, (part, out), &mut watch);
            if let Err(error) = written {
                watch.finish();
                return Err(unwritten(args, &error));
            }
            read
        }
        Sink::Device(device) => {
            let target = Target::Device { device: device.clone(), offset: 0 };
            let moved = &mut |done| watch.moved(done);
            let result = array.read_to(&mut given.mover, part.cover(), &target, moved);
            result.and_then(|report| {
                if part.rest() != 0 {
                    end_inside_sector(&args.to, bytes)?;
                }
                if flush {
                    watch.phase(Phase::Flush, bytes);
                    given.mover.flush(&[&device])?;
                }
                Ok(report)
            })
        }
    };
    watch.finish();
    let report = match result {
        Ok(report) => report,
        Err(ArrayError::Move(MoveError::Cancelled)) if watch.interrupted() => {
            return Ok(interrupted(args, screen));
        }
        Err(error) => return Err(failed("export the array", &error)),
    };
    Ok(tell(args, screen, &report, (bytes, epoch.seconds(), flush)))
}

/// Where the content goes.
enum Sink {
    /// Standard output, a pipe or a character device: in order, and nothing can be flushed.
    Stream(File),
    /// A file or block device.
    Device(Device),
}

impl Sink {
    /// Opens it; a named pipe waits for its reader.
    fn open(given: &Given, args: &ExportArgs, bytes: u64) -> Result<Self, Failure> {
        let path = &args.to;
        let refused = |error: &io::Error| Use::Write.refused(path, &cause(error));
        if is_standard_output(args) {
            // Not by way of Rust's standard output, which looks for line breaks in all that it is given.
            let out = io::stdout().as_fd().try_clone_to_owned();
            return Ok(Self::Stream(File::from(out.map_err(|error| refused(&error))?)));
        }
        let kind = path.metadata().map(|metadata| metadata.file_type());
        if kind.is_ok_and(|kind| kind.is_fifo() || kind.is_char_device()) {
            let out = File::options().write(true).open(path).map_err(|error| refused(&error))?;
            if out.is_terminal() {
                let refused = Use::Write.refused(path, "it is a terminal");
                return Err(refused.hint("send it to a file or a program"));
            }
            return Ok(Self::Stream(out));
        }
        file(given, path, args.run.mover.direct, bytes).map(Self::Device)
    }
}

fn is_standard_output(args: &ExportArgs) -> bool {
    args.to.as_os_str() == "-"
}

/// What goes to standard output is for a program, and is nothing but the content.
fn check_standard_output(args: &ExportArgs) -> Result<(), Failure> {
    let refused = |cause| Failure::refused(format!("cannot export to standard output: {cause}"));
    if !is_standard_output(args) {
        return Ok(());
    }
    if args.run.json {
        return Err(
            refused("the JSON would go there too").hint("export to a file, or without --json")
        );
    }
    if io::stdout().is_terminal() {
        return Err(refused("it is a terminal").hint("send it to a file or a program"));
    }
    Ok(())
}

fn open(given: &Given, args: &ExportArgs) -> Result<Array, Failure> {
    let (devices, bad) = (&given.members.devices, &given.members.bad);
    let opened = if args.force {
        Array::open_forced(&given.assembly, devices, bad)
    } else {
        Array::open(&given.assembly, devices, bad)
    };
    opened.map_err(|error| refused("read the array", &error))
}

/// Where a half-moved array is read from.
#[derive(Clone, Copy, Debug)]
enum Stands {
    /// Where the superblocks say.
    Recorded,
    /// There, and all content goes together so without what a backup holds.
    Together,
    /// Where a backup and all that is on the members say.
    Elsewhere(ArraySector),
}

/// The array with its backup laid over it, or as all that is on the members says.
fn open_judged(
    args: &ExportArgs,
    given: &mut Given,
    wanted: Wanted<'_>,
    screen: Screen,
) -> Result<(Array, Stands), Failure> {
    let mut array = open(given, args)?;
    let laid_over = backup::lay_over(&mut array, given, wanted, screen);
    if args.force || !matches!(given.assembly.shapes, Shapes::Moving { .. }) {
        return laid_over.map(|()| (array, Stands::Recorded));
    }
    let stands = match laid_over {
        Ok(()) => where_it_stands(args, given, Purpose::Read, screen)?,
        Err(why) if why.exit == Exit::Refused => {
            match where_it_stands(args, given, Purpose::ReadBare, screen) {
                Ok(Stands::Recorded) => return Err(why),
                Err(failure) if failure.exit == Exit::Refused => return Err(why),
                other => other?,
            }
        }
        Err(why) => return Err(why),
    };
    match stands {
        Stands::Recorded => {}
        Stands::Together => array = open(given, args)?,
        Stands::Elsewhere(position) => {
            if let Shapes::Moving { reshape, .. } = &mut given.assembly.shapes {
                reshape.position = position;
            }
            array = open(given, args)?;
            backup::lay_over(&mut array, given, wanted, screen)?;
        }
    }
    Ok((array, stands))
}

/// Refuses a record that what stands on the members contradicts.
fn where_it_stands(
    args: &ExportArgs,
    given: &mut Given,
    purpose: Purpose,
    screen: Screen,
) -> Result<Stands, Failure> {
    let Given { mover, members, assembly } = given;
    let file = args.backup_file.as_deref().map(|path| open_source(path, Direct::Auto));
    let file = file.transpose()?;
    let ongoing = Ongoing::new(assembly.clone(), members.clone()).ok();
    let verdicts = ongoing.map(|ongoing| ongoing.backups(mover, file.as_ref(), Age::Any));
    let verdicts = verdicts.unwrap_or_default();
    let inquiry = Inquiry::new(purpose, (assembly, members), file.as_slice(), &verdicts);
    let mut inquiry = inquiry.map_err(|error| record::unknown(&error))?;
    let why = match record::ask(&mut inquiry, mover, (args.run.progress, screen))? {
        Said::Believed(Why::Content) => return Ok(Stands::Together),
        Said::Believed(Why::Unopposed | Why::OldStripes | Why::Around | Why::Everything) => {
            return Ok(Stands::Recorded);
        }
        Said::Behind(position) => return Ok(Stands::Elsewhere(position)),
        Said::Disbelieved(why) => why,
    };
    let cause = record::cause(why, inquiry.recorded());
    Err(Failure::refused(format!("cannot export the array: {cause}")).hint(match why {
        WhyNot::Turned => "reshape salvage --to exports what there is, as does --force",
        WhyNot::Backup(_) => {
            "reshape salvage --to exports what there is, and names what cannot be told; --force reads as it is recorded"
        }
        WhyNot::Torn | WhyNot::Stands(_) | WhyNot::Lost(_) | WhyNot::Several => {
            "reshape salvage --to exports what is there; --force reads as it is recorded"
        }
    }))
}

/// What the content rests on, if that may be wrong.
fn warn(given: &Given, stands: Stands, screen: Screen) {
    let is_moving = matches!(given.assembly.shapes, Shapes::Moving { .. });
    if matches!(stands, Stands::Together) {
        screen.note(
            "read without a backup: all content goes together as if nothing behind the record had been moved",
        );
    }
    match stands {
        Stands::Recorded | Stands::Together if is_moving => {
            screen.note("a reshape is under way: how far it is was taken from the superblocks");
        }
        Stands::Recorded | Stands::Together => {}
        Stands::Elsewhere(position) => screen.note(&format!(
            "a reshape is under way: the backup and all that is on the members say that it stands at {position}, the \
             superblocks something else"
        )),
    }
    if given.assembly.writable() == Err(WhyNotWrite::DirtyDegraded) {
        screen.note(
            "the array was not stopped cleanly and lacks a member: what was being written then may \
             be wrong on that member",
        );
    }
}

/// The file or device that gets the content, as long as that is.
pub(super) fn file(
    given: &Given,
    path: &Path,
    direct: Direct,
    bytes: u64,
) -> Result<Device, Failure> {
    if path.exists() {
        let device = open_source(path, direct)?;
        if let Some(member) = given.has(&device) {
            let member = name(member.path());
            let cause = if member == name(path) {
                "it is a member of the array".to_owned()
            } else {
                format!("it is on the same device as the member {member}")
            };
            return Err(Use::Write.refused(path, &cause).hint("export to another file or device"));
        }
        if is_block(&device) {
            let has = device.size();
            if !bytes.is_multiple_of(kcopy::SECTOR_SIZE) {
                let cause = format!("{} are no whole number of sectors", exact(bytes));
                return Err(Use::Write
                    .refused(path, &cause)
                    .hint("a block device takes whole sectors"));
            }
            if has < bytes {
                let cause = format!("it has {}, not {}", exact(has), exact(bytes));
                return Err(Use::Write.refused(path, &cause).hint("export less with --count"));
            }
            return open_destination(path, false, direct);
        }
        drop(open_destination(path, false, direct)?);
    }
    create(path, bytes)?;
    open_destination(path, false, direct)
}

/// Makes an empty file of that length: what is not written reads as zeros.
fn create(path: &Path, bytes: u64) -> Result<(), Failure> {
    let refused = |error: &io::Error| {
        let hint = "check the name, the rights and the space of the file system";
        Use::Write.refused(path, &cause(error)).hint(hint)
    };
    let existed = path.exists();
    let file = File::create(path).map_err(|error| refused(&error))?;
    let sized = file.set_len(bytes).map_err(|error| refused(&error));
    if sized.is_err() && !existed {
        // It was made a moment ago; if it cannot be removed, an empty file stays.
        let _ = std::fs::remove_file(path);
    }
    sized
}

/// Takes what was written of the last sector beyond the `bytes` that were asked for off a file.
fn end_inside_sector(path: &Path, bytes: u64) -> Result<(), ArrayError> {
    let file = File::options().write(true).open(path);
    file.and_then(|file| file.set_len(bytes))
        .map_err(|error| ArrayError::Move(MoveError::Broken(error)))
}

/// What was written of a stream is there, and cannot be taken back.
fn unwritten(args: &ExportArgs, error: &io::Error) -> Failure {
    let to = if is_standard_output(args) { "standard output".to_owned() } else { name(&args.to) };
    Failure::failed(format!("cannot write to {to}: {}", cause(error)))
        .hint("what came before is there: make room, and run the same command again")
}

/// Reads window by window while those before are written; what became of both.
fn to_stream(
    array: &Array,
    given: &mut Given,
    (part, mut out): (Part, File),
    watch: &mut Watch,
) -> (Result<ReadReport, ArrayError>, io::Result<()>) {
    let (sender, receiver) = crossbeam_channel::bounded::<Vec<u8>>(1);
    // What is written comes back: memory that was used before is faster.
    let (back, used) = crossbeam_channel::unbounded::<Vec<u8>>();
    thread::scope(|scope| {
        let writer = scope.spawn(move || {
            let mut left = usize::try_from(part.bytes).unwrap_or(usize::MAX);
            for bytes in receiver {
                let wanted = bytes.get(..left).unwrap_or(&bytes);
                out.write_all(wanted)?;
                left -= wanted.len();
                // Nobody wants it after the last window.
                let _ = back.send(bytes);
            }
            out.flush()
        });
        // A send fails when nobody reads any more.
        let take = &mut |bytes| match sender.send(bytes) {
            Ok(()) => Taken::More(used.try_recv().ok()),
            Err(_) => Taken::Enough,
        };
        let window = Sectors::from_bytes_floor(WINDOW);
        let moved = &mut |done| watch.moved(done);
        let read = array.stream(&mut given.mover, (part.cover(), window), take, moved);
        drop(sender);
        let written = writer.join().unwrap_or_else(|_| Err(io::ErrorKind::Other.into()));
        // A reader that went away has what it wanted.
        let gone = |error: &io::Error| error.kind() == io::ErrorKind::BrokenPipe;
        (read, written.or_else(|error| if gone(&error) { Ok(()) } else { Err(error) }))
    })
}

fn interrupted(args: &ExportArgs, screen: Screen) -> Exit {
    screen.problem("interrupted: the content is not complete");
    screen.hint("run the same command again");
    if !args.run.json {
        return Exit::Interrupted;
    }
    let report = Report {
        schema: 1,
        bytes: 0,
        seconds: 0.0,
        interrupted: true,
        flushed: false,
        unreadable: Vec::new(),
        recovered: Vec::new(),
    };
    screen.json(&report, Exit::Interrupted)
}

fn tell(
    args: &ExportArgs,
    screen: Screen,
    read: &ReadReport,
    (bytes, seconds, flushed): (u64, f64, bool),
) -> Exit {
    let mut exit = Exit::Done;
    for range in read.unreadable.iter().take(NAMED) {
        let (start, sectors) = (range.start.get(), range.sectors.get());
        screen.problem(&format!("cannot read {sectors} sectors of the array from {start} on"));
    }
    if !read.unreadable.is_empty() {
        exit = Exit::Failed;
        let more = read.unreadable.len().saturating_sub(NAMED);
        let more =
            if more > 0 { format!("{more} more ranges are not named; ") } else { String::new() };
        screen.hint(&format!(
            "{more}add the missing members, or see what the kernel log says (dmesg)"
        ));
    }
    if !read.recovered.is_empty() {
        let sectors: u64 = read.recovered.iter().map(|range| range.sectors.get()).sum();
        screen
            .note(&format!("{sectors} sectors could not be read where they are and were computed"));
    }
    if args.run.json {
        let ranges = |ranges: &[Range]| {
            let report = |range: &Range| RangeReport {
                start_sector: range.start.get(),
                sectors: range.sectors.get(),
            };
            ranges.iter().map(report).collect()
        };
        let report = Report {
            schema: 1,
            bytes,
            seconds,
            interrupted: false,
            flushed,
            unreadable: ranges(&read.unreadable),
            recovered: ranges(&read.recovered),
        };
        return screen.json(&report, exit);
    }
    if !is_standard_output(args) {
        let speed = rate(bytes, seconds).map_or_else(String::new, |r| format!(", {}/s", human(r)));
        let what = human(bytes);
        screen.summary(&format!("exported {what} to {} in {seconds:.2} s{speed}", name(&args.to)));
    }
    exit
}
