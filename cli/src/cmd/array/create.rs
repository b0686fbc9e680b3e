//! `reshape create`: a new array, on devices or on files that are made for it.

use std::io;
use std::path::{Path, PathBuf};

use kcopy::{Device, Sector, Sectors};
use reshape::array::create::{
    Blank, Content, CreateError, CreatePlan, CreateRefusal, FilesError, Found, NewBitmap, NewFiles,
    Seat, Wanted, create_files,
};
use reshape::array::{ArrayError, Force, Members, Session};
use reshape::assemble::assemble;
use reshape::geometry::Layout;
use reshape::metadata::{Resync, Uuid};
use reshape::mover::{MoveError, Mover};
use reshape::plan::WantedSize;

use super::detail;
use super::given::{Access, Given, mover, no_array, no_member, open_all, refused};
use super::random::uuid;
use super::range::Watch;
use crate::args::array::{self, CreateArgs, MoverArgs};
use crate::clock::date;
use crate::cmd::target::cause;
use crate::confirm::confirm;
use crate::exit::{Exit, Failure};
use crate::output::{Phase, Screen, name};
use crate::units::{KibSize, human};

/// Whether initial parity or copies were written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Initial {
    Needless,
    Computed,
    Interrupted,
}

pub(crate) fn run(args: &CreateArgs, screen: Screen) -> Result<Exit, Failure> {
    let wanted = wanted(args)?;
    let mut mover = mover(&args.mover, args.devices.len())?;
    let initial = if args.create_files.is_some() {
        on_files(args, &wanted, &mut mover)?;
        Initial::Needless
    } else {
        on_devices(args, &wanted, &mut mover, screen)?
    };
    drop(mover);
    let exit = if initial == Initial::Interrupted { Exit::Interrupted } else { Exit::Done };
    let paths: Vec<PathBuf> =
        args.devices.iter().filter(|path| !is_missing(path)).cloned().collect();
    let given = Given::open(&paths, Access::Look, &MoverArgs::small())?;
    if exit == Exit::Interrupted {
        screen.problem("interrupted: the array is made, its parity is not computed yet");
        screen.hint("reshape check --repair computes it");
    }
    if args.json {
        return Ok(detail::print_json(&given, screen, exit));
    }
    if exit == Exit::Done {
        let size = given.assembly.shapes.sectors().unwrap_or_default().get() * kcopy::SECTOR_SIZE;
        let after = match initial {
            Initial::Computed => ", parity and copies computed",
            Initial::Needless | Initial::Interrupted => "",
        };
        screen.summary(&format!("made {}, {}{after}", given.title(), human(size)));
    }
    Ok(exit)
}

fn wanted(args: &CreateArgs) -> Result<Wanted, Failure> {
    const WHAT: &str = "create the array";
    let level = args.level;
    let layout = args.layout.as_deref().map(|name| Layout::parse(level, name));
    let layout = layout.transpose().map_err(|error| {
        let message = format!("cannot create the array: {error}");
        Failure::refused(message).hint("reshape layout draws those that there are")
    })?;
    let bitmap = match (args.bitmap, sectors(WHAT, "--bitmap-chunk", args.bitmap_chunk)?) {
        (array::NewBitmap::Internal, chunk) => NewBitmap::Internal(chunk),
        (array::NewBitmap::None, None) => NewBitmap::None,
        (array::NewBitmap::None, Some(_)) => {
            return Err(Failure::refused(
                "cannot create the array: --bitmap-chunk without a bitmap",
            )
            .hint("add --bitmap internal"));
        }
    };
    let offset = sectors(WHAT, "--data-offset", args.data_offset)?;
    Ok(Wanted {
        version: args.metadata,
        level,
        layout,
        chunk: sectors(WHAT, "--chunk", args.chunk)?,
        raid_devices: args.raid_devices,
        spare_devices: args.spare_devices,
        component: match args.size {
            Some(WantedSize::Is(sectors)) => Some(sectors),
            Some(WantedSize::Max) | None => None,
        },
        data_offset: offset.map(|offset| Sector::new(offset.get())),
        bitmap,
        name: args.name.clone(),
        uuid: uuid()?,
        now: date(),
        content: if args.assume_clean { Content::AssumeClean } else { Content::Unknown },
    })
}

/// An option's size in sectors; `verb` is what it is for.
pub(super) fn sectors(
    verb: &str,
    option: &str,
    size: Option<KibSize>,
) -> Result<Option<Sectors>, Failure> {
    let Some(KibSize(bytes)) = size else { return Ok(None) };
    if !bytes.is_multiple_of(kcopy::SECTOR_SIZE) {
        let message = format!("cannot {verb}: {option} of {bytes} bytes");
        return Err(Failure::refused(message).hint("give whole sectors of 512 bytes"));
    }
    Ok(Some(Sectors::new(bytes / kcopy::SECTOR_SIZE)))
}

fn is_missing(path: &Path) -> bool {
    path.as_os_str() == "missing"
}

fn on_files(args: &CreateArgs, wanted: &Wanted, mover: &mut Mover) -> Result<(), Failure> {
    let bytes = args.create_files.map_or(0, |size| size.0);
    let impossible = |cause: &str, hint: &str| {
        Err(Failure::refused(format!("cannot create the array: {cause}")).hint(hint.to_owned()))
    };
    if !bytes.is_multiple_of(kcopy::SECTOR_SIZE) {
        return impossible("the files would end amid a sector", "give whole sectors of 512 bytes");
    }
    let paths = args.devices.iter().map(|path| (!is_missing(path)).then(|| path.clone()));
    let size = Sectors::new(bytes / kcopy::SECTOR_SIZE);
    let files = NewFiles { paths: paths.collect(), size };
    // Drawn beforehand: drawing may fail.
    let uuids: Result<Vec<Uuid>, Failure> = files.paths.iter().map(|_| uuid()).collect();
    let mut uuids = uuids?.into_iter();
    let mut next = || uuids.next().unwrap_or_default();
    let made = create_files(mover, wanted, &files, &mut next);
    made.map(|_| ()).map_err(|error| not_on_files(&error))
}

fn not_on_files(error: &FilesError) -> Failure {
    match error {
        FilesError::Make { path, source } => {
            let message = format!("cannot make {}: {}", name(path), cause(source));
            let hint = if source.kind() == io::ErrorKind::AlreadyExists {
                "choose another name; what is there is used without --create-files"
            } else {
                "check the name, the rights and the space of the file system"
            };
            Failure::refused(message).hint(hint)
        }
        FilesError::Create(error) => not_created(error),
        FilesError::Open(_) | _ => {
            Failure::refused(format!("cannot create the array: {error}; no file is left behind"))
                .hint("check the rights and the space of the file system")
        }
    }
}

fn on_devices(
    args: &CreateArgs,
    wanted: &Wanted,
    mover: &mut Mover,
    screen: Screen,
) -> Result<Initial, Failure> {
    let paths: Vec<PathBuf> =
        args.devices.iter().filter(|path| !is_missing(path)).cloned().collect();
    let mut devices = open_all(&paths, Access::Change, args.mover.direct)?.into_iter();
    let mut seats = Vec::with_capacity(args.devices.len());
    for path in &args.devices {
        seats.push(match is_missing(path) {
            true => Seat::Missing,
            false => seat(mover, devices.next())?,
        });
    }
    let plan = CreatePlan::new(wanted, &seats).map_err(|error| not_created(&error.into()))?;
    confirm(args.ask.yes.into(), &question(args, &plan))?;
    plan.execute(mover).map_err(|error| not_created(&error))?;
    if plan.resync == Resync::Clean {
        return Ok(Initial::Needless);
    }
    let devices = plan.members.iter().map(|member| member.device.clone()).collect();
    initial_parity(args, mover, devices, screen)
}

fn seat(mover: &mut Mover, device: Option<Device>) -> Result<Seat, Failure> {
    let Some(device) = device else { return Ok(Seat::Missing) };
    let blank = Blank::look(mover, device, uuid()?).map_err(|error| not_created(&error))?;
    Ok(Seat::Taken(blank))
}

/// Makes parity and copies agree: what they are computed from is what the devices hold.
fn initial_parity(
    args: &CreateArgs,
    mover: &mut Mover,
    devices: Vec<Device>,
    screen: Screen,
) -> Result<Initial, Failure> {
    const WHAT: &str = "compute the parity of the new array";
    let members = Members::read(mover, devices).map_err(|error| no_member(&error))?;
    let assembly = assemble(&members.candidates).map_err(|error| no_array(&error))?;
    let mut session =
        Session::open(&assembly, &members, Force::No).map_err(|error| refused(WHAT, &error))?;
    let each = assembly.component.get() * kcopy::SECTOR_SIZE;
    let mut watch = Watch::begin(args.progress, screen, Phase::Repair, each)?;
    let result = session.repair(mover, date(), &mut |done| watch.moved(done));
    watch.finish();
    let left = super::going::tell_left(screen, session.failed());
    match result {
        Ok(_) if !left.is_empty() => {
            Err(Failure::failed(format!("cannot {WHAT}: members failed; it is made and degraded"))
                .hint("replace the devices and create it anew"))
        }
        Ok(report) if report.unreadable.is_empty() => Ok(Initial::Computed),
        Ok(report) => {
            let message = format!(
                "cannot {WHAT}: {} places could not be read; the array is made and dirty",
                report.unreadable.len()
            );
            Err(Failure::failed(message).hint("replace the device, or run reshape check --repair"))
        }
        Err(ArrayError::Move(MoveError::Cancelled)) if watch.interrupted() => {
            Ok(Initial::Interrupted)
        }
        Err(error) => Err(super::given::failed(WHAT, &error)),
    }
}

fn question(args: &CreateArgs, plan: &CreatePlan) -> String {
    let on = |device: &Device| {
        let found = plan.overwrites().filter(|(other, _)| other.is_same(device));
        let arrays: Vec<String> = found.map(|(_, found)| array_of(found)).collect();
        let path = name(device.path());
        if arrays.is_empty() { path } else { format!("{path} ({})", arrays.join(", ")) }
    };
    let list: Vec<String> = plan.members.iter().map(|member| on(&member.device)).collect();
    let kept = if args.assume_clean {
        "their first or last sectors will be overwritten, the rest becomes content of the array"
    } else {
        "all that is on these devices will be lost"
    };
    format!("{kept}: {}", list.join(", "))
}

/// What a superblock on a device says.
fn array_of(found: Found) -> String {
    match found.array {
        Some(uuid) => format!("a member of the array {uuid}"),
        None => format!("a damaged superblock {}", found.version),
    }
}

fn not_created(error: &CreateError) -> Failure {
    match error {
        CreateError::Refused(refusal) => {
            Failure::refused(format!("cannot create the array: {refusal}")).hint(hint(refusal))
        }
        CreateError::Look { .. } | CreateError::Misplaced(_) | CreateError::DoesNotFit(_) => {
            Failure::refused(format!("cannot create the array: {error}"))
                .hint("use other devices, or another version of superblocks (--metadata)")
        }
        CreateError::Move { .. } | _ => {
            Failure::failed(format!("cannot create the array: {error}"))
                .hint("see what the kernel log says about the device (dmesg)")
        }
    }
}

fn hint(refusal: &CreateRefusal) -> &'static str {
    match refusal {
        CreateRefusal::Shape(_) | CreateRefusal::Layout { .. } => {
            "reshape layout draws what levels and layouts there are"
        }
        CreateRefusal::Count { .. } | CreateRefusal::MissingSpare => {
            "name as many devices as --raid-devices and --spare-devices say together"
        }
        CreateRefusal::Missing { .. } | CreateRefusal::HalfDegraded => "name more devices",
        CreateRefusal::NoSpares { .. } => "leave --spare-devices out",
        CreateRefusal::Duplicate { .. } => "name every device once",
        CreateRefusal::ReadOnly { .. } => "choose another device, or make it writable",
        CreateRefusal::NoRoom { .. } | CreateRefusal::TooSmall { .. } => "use larger devices",
        CreateRefusal::Component { .. } | CreateRefusal::Uneven { .. } => "give a smaller --size",
        CreateRefusal::Whole { .. } => "leave --size out",
        CreateRefusal::NoChunk { .. } => "leave --chunk out",
        CreateRefusal::DataOffset { .. } | CreateRefusal::FixedDataOffset { .. } => {
            "leave --data-offset out, or take what the message says"
        }
        CreateRefusal::Name { .. } | CreateRefusal::NoName { .. } => "give another --name, or none",
        CreateRefusal::ManyDevices { .. }
        | CreateRefusal::LargeMembers { .. }
        | CreateRefusal::Zones { .. } => "--metadata 1.2 can do it",
        CreateRefusal::NoBitmap { .. }
        | CreateRefusal::BitmapRoom { .. }
        | CreateRefusal::Bitmap(_) => "leave --bitmap out, or give a larger --bitmap-chunk",
        CreateRefusal::Buried { .. } | CreateRefusal::NotZeros { .. } => {
            "wipe it, or leave --assume-clean out"
        }
        CreateRefusal::Misplaced(_) | CreateRefusal::DoesNotFit(_) | _ => {
            "use other devices, or another version of superblocks (--metadata)"
        }
    }
}
