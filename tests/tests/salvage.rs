//! Interrupted reshapes of the real driver, salvaged from what stands on their members.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;

use kcopy::backend::sim::{DiskOptions, Effect, Fault, OpKind, SimDisk, SimWorld};
use kcopy::device::OpenOptions;
use kcopy::engine::Config;
use kcopy::pool::Pool;
use kcopy::{Device, Errno};
use reshape::array::{Members, Range, Record, Target};
use reshape::assemble::{Assembly, MemberState, Shapes, assemble};
use reshape::metadata::Reshape;
use reshape::mover::{Mover, Options};
use reshape::salvage::{Finding, Verdict, find, is_proven, mend, record};
use reshape::units::ArraySector;
use tests::binary::{LIMIT, reshape_binary, run};
use tests::corpus::{self, Fixture, Kind};

/// Of the reshapes that mdadm and the kernel finish rightly every so many-th is looked at; all of
/// them in the long form.
const EVERY: usize = 4;

/// An unpacked fixture, opened, and what was found out about it.
struct Salvaged {
    mover: Mover,
    members: Members,
    assembly: Assembly,
    finding: Finding,
}

fn open(path: &Path) -> Device {
    Device::open(path, &OpenOptions::destination()).expect("opened")
}

fn salvage(paths: &[PathBuf]) -> Salvaged {
    let (files, members): (Vec<_>, Vec<_>) =
        paths.iter().partition(|path| path.ends_with("backup"));
    let mut mover = Mover::open(&Options::default()).expect("a mover");
    let devices = members.iter().map(|path| open(path)).collect();
    let members = Members::read(&mut mover, devices).expect("members");
    let assembly = assemble(&members.candidates).expect("one array");
    let files: Vec<Device> = files.iter().map(|path| open(path)).collect();
    let found = find(&mut mover, &members, &assembly, &files, &mut |_| true);
    let finding = found.expect("a reshape is recorded");
    Salvaged { mover, members, assembly, finding }
}

/// Sectors that are not what they have to be, of those that are not said to be lost.
fn wrong(fixture: &Fixture, salvaged: &mut Salvaged, dir: &Path) -> Vec<u64> {
    let (content, out) = (&salvaged.finding.content, dir.join("out"));
    let sectors = content.sectors().get();
    let file = File::create(&out).expect("created");
    file.set_len(sectors * 512).expect("sized");
    let target = Target::Device { device: open(&out), offset: 0 };
    let all = Range::new(0, sectors);
    let report = content.read_to(&mut salvaged.mover, all, &target, &mut |_| true);
    assert_eq!(report.expect("read").unreadable, salvaged.finding.lost, "{}", fixture.name);
    let meta = fixture.meta();
    let seed = meta["seed"].as_u64().expect("a seed");
    let patterned = meta["sectors"].as_u64().expect("a length");
    assert!(patterned <= sectors, "{}", fixture.name);
    let bytes = fs::read(&out).expect("read");
    let is_wrong = |(number, bytes): (u64, &[u8; 512])| {
        let lost = |range: &Range| (range.start.get()..range.end()).contains(&number);
        let right = *bytes == corpus::sector(seed, number);
        (!right && !salvaged.finding.lost.iter().any(lost)).then_some(number)
    };
    let patterned = usize::try_from(patterned).expect("small");
    (0..).zip(bytes.as_chunks().0).take(patterned).filter_map(is_wrong).collect()
}

/// Whether what was found is what has to be found; why not.
fn judge(fixture: &Fixture) -> Result<(), String> {
    let meta = fixture.meta();
    let dir = tests::tmp::in_memory();
    let paths = fixture.unpack_into(dir.path());
    let before: Vec<Vec<u8>> = paths.iter().map(|path| head(path)).collect();
    let mut salvaged = salvage(&paths);
    let wrong = wrong(fixture, &mut salvaged, dir.path());
    let finding = &salvaged.finding;
    let lost: u64 = finding.lost.iter().map(|range| range.sectors.get()).sum();
    let found = format!("{:?}, resume {}, lost {lost}", finding.verdict, finding.resume);
    if let Some(first) = wrong.first() {
        return Err(format!("{found}: {} sectors are wrong, from {first} on", wrong.len()));
    }
    // What a second run of the kernel has overwritten is named; nothing else is lost.
    let may_lose = fixture.name.ends_with(".remid") && meta["verdict"] == "lost";
    if (lost > 0) != may_lose && fixture.name != TORN {
        return Err(found);
    }
    if meta["verdict"] == "recovered" && finding.verdict != Verdict::AsRecorded {
        return Err(format!("{found}: it is recorded rightly"));
    }
    let after: Vec<Vec<u8>> = paths.iter().map(|path| head(path)).collect();
    if before == after { Ok(()) } else { Err("something was written".to_owned()) }
}

/// The first and the last MiB: all superblocks.
fn head(path: &Path) -> Vec<u8> {
    let bytes = fs::read(path).expect("read");
    let end = bytes.len().saturating_sub(1 << 20);
    [&bytes[..bytes.len().min(1 << 20)], &bytes[end..]].concat()
}

/// What `each` says of the fixtures, two at a time, in no order.
fn on_all<T: Send>(fixtures: Vec<Fixture>, each: impl Fn(&Fixture) -> Option<T> + Sync) -> Vec<T> {
    let queue = Mutex::new(fixtures);
    let said = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                loop {
                    let next = queue.lock().expect("no panic").pop();
                    let Some(fixture) = next else { return };
                    let answer = each(&fixture);
                    said.lock().expect("no panic").extend(answer);
                }
            });
        }
    });
    said.into_inner().expect("no panic")
}

/// In place, without a backup, torn in several stripes: which members are ahead cannot be told of
/// all of them.
const TORN: &str = "x5-chunk-64to128-v090.crit3";

#[test]
fn all_content_that_is_on_the_members_of_interrupted_reshapes_is_found() {
    let long = std::env::var_os("KCOPY_TESTS_LONG").is_some();
    let mut recovered = 0;
    let chosen = corpus::all(Kind::Reshapes).into_iter().filter(|fixture| {
        let is_recovered = fixture.meta()["verdict"] == "recovered";
        recovered += usize::from(is_recovered);
        !fixture.name.ends_with(".done") && (!is_recovered || long || recovered % EVERY == 0)
    });
    let chosen: Vec<Fixture> = chosen.collect();
    assert!(chosen.len() > 30);
    let judged =
        |fixture: &Fixture| judge(fixture).err().map(|why| format!("{}: {why}", fixture.name));
    let failures = on_all(chosen, judged);
    assert!(failures.is_empty(), "{failures:#?}");
}

/// What is lost of a reshape whose record says little, and what the verdict is.
const HARD: [(&str, Verdict, u64); 14] = [
    // A growth of a RAID10 that was turned around: what it had not come to never stood at the larger places.
    ("u10-4to5.rev40", Verdict::AsRecorded, 0),
    // One member left in the middle; blank blocks let chance verify what Q alone tells.
    ("u5-5to6.drop20", Verdict::Found, 0),
    // In place: the backup that follows the record after a gap says that the gap was moved.
    ("v5-degraded-chunk-v10.t60", Verdict::Found, 0),
    // In place, two members away: what stays where it is, on one of these, was computed from a row of the other kind.
    ("u6-la-to-zr-v090.two-away", Verdict::AsRecorded, 0),
    ("u6-to-5-v12.one-away", Verdict::AsRecorded, 0),
    // The driver went on without a backup: what torn members wrote cancels out in the sum of old rows.
    ("u5-5to6-v12.ahead", Verdict::Lost, 4608),
    // Begun again by the kernel: only what stands on no member is lost. The rest was carried elsewhere.
    ("u5-5to6.two30-70", Verdict::Lost, 4096),
    ("u5-la-to-rs.two40-60", Verdict::Lost, 7168),
    // The same on three members, where parity is the same bytes over and over and tells nothing: the trace of the
    // second run was taken for an accident, and 16384 sectors were wrong with "all content is there".
    ("r5-chunk-512to64-v12.remid", Verdict::Lost, 4096),
    // There the room is shorter than a stripe: the band at the front was called an accident, and 51200 were wrong.
    ("r5-chunk-16to512-v12.remid", Verdict::Lost, 2048),
    // It waited behind what mdadm had saved, and was stopped 13 seconds later: the backup is too old to vouch for that.
    ("b5-chunk-v090.waited", Verdict::AsRecorded, 0),
    // In place, and no backup was written yet; mdadm refuses them. Content tells that nothing was moved, or that the
    // driver ran ahead, and how far.
    ("g5-chunk-v090.unmoved", Verdict::AsRecorded, 0),
    ("g4-chunk-v12.ahead3264", Verdict::Found, 0),
    // mdadm saved what was moved as if it waited; the record is right.
    ("g4-chunk-v11.twice", Verdict::AsRecorded, 0),
];

#[test]
fn hard_ones_are_read_rightly_and_what_is_lost_is_named_exactly() {
    for (name, verdict, lost) in HARD {
        let fixture = corpus::one(Kind::Hard, name);
        let dir = tests::tmp::in_memory();
        let mut salvaged = salvage(&fixture.unpack_into(dir.path()));
        let wrong = wrong(&fixture, &mut salvaged, dir.path());
        let finding = &salvaged.finding;
        let named: u64 = finding.lost.iter().map(|range| range.sectors.get()).sum();
        assert_eq!((finding.verdict, named), (verdict, lost), "{name}");
        assert_eq!(wrong, Vec::<u64>::new(), "{name}");
        let carried = !finding.content.carried().is_empty();
        let is_carried = name == "u5-5to6.two30-70" || name.starts_with("r5-chunk-");
        assert_eq!(carried, is_carried, "{name}");
    }
}

/// Opens what `salvage` opens, and looks at nothing.
fn opened(paths: &[PathBuf]) -> (Mover, Members, Assembly) {
    let mut mover = Mover::open(&Options::default()).expect("a mover");
    let members = paths.iter().filter(|path| !path.ends_with("backup"));
    let devices = members.map(|path| open(path)).collect();
    let members = Members::read(&mut mover, devices).expect("members");
    let assembly = assemble(&members.candidates).expect("one array");
    (mover, members, assembly)
}

/// Records another position on all members.
fn record_wrongly(paths: &[PathBuf], position: u64) {
    let (mut mover, members, assembly) = opened(paths);
    let mut record = Record::new(&assembly, &members.candidates, &members.devices);
    let position = ArraySector::new(position);
    let put = record.commit(&mut mover, assembly.update_time, |superblock| {
        let known = superblock.reshape().expect("a reshape is recorded");
        superblock.set_reshape(&Reshape { position, ..known })
    });
    put.expect("recorded");
}

fn proven(paths: &[PathBuf]) -> bool {
    let (mut mover, members, assembly) = opened(paths);
    is_proven(&mut mover, &members, &assembly, &mut |_| true).expect("read")
}

/// Whether a reshape moves the data offset and keeps the number of members.
fn only_shifts(assembly: &Assembly) -> bool {
    let Shapes::Moving { reshape, .. } = &assembly.shapes else { return false };
    let moves = assembly.members.iter().any(|member| member.new_data_offset != member.data_offset);
    reshape.delta_disks == 0 && moves
}

/// Tries a fixture with its own record and with wrong ones to either side; gives whether the right one was proven.
fn try_records(fixture: &Fixture) -> Option<bool> {
    let name = &fixture.name;
    let dir = tests::tmp::in_memory();
    let paths = fixture.unpack_into(dir.path());
    if !only_shifts(&opened(&paths).2) {
        return None;
    }
    let Salvaged { finding, .. } = salvage(&paths);
    let verdict = finding.verdict;
    assert!(!proven(&paths) || verdict == Verdict::AsRecorded, "{name}: {verdict:?}");
    if verdict == Verdict::Lost {
        return None;
    }
    let (right, end) = (finding.resume.get(), finding.content.sectors().get());
    record_wrongly(&paths, right);
    let was_proven = proven(&paths);
    for wrong in [right / 2 / 6144 * 6144, right.midpoint(end) / 6144 * 6144] {
        record_wrongly(&paths, wrong);
        if salvage(&paths).finding.verdict == Verdict::AsRecorded {
            continue;
        }
        assert!(!proven(&paths), "{name}: {wrong} was proven, the front is at {right}");
        let before: Vec<Vec<u8>> = paths.iter().map(|path| fs::read(path).expect("read")).collect();
        let mut command = Command::new(reshape_binary());
        command.args(["continue", "--yes"]).args(&paths);
        run(&mut command, LIMIT).expect_code(2);
        let after: Vec<Vec<u8>> = paths.iter().map(|path| fs::read(path).expect("read")).collect();
        assert!(before == after, "{name}: a refusal wrote");
    }
    Some(was_proven)
}

/// The shortcut of `reshape continue`: what stands around the recorded position.
#[test]
fn wrong_record_of_a_shift_is_never_proven_and_a_right_one_is() {
    let long = std::env::var_os("KCOPY_TESTS_LONG").is_some();
    let fixtures = [Kind::Reshapes, Kind::Hard].into_iter().flat_map(corpus::all);
    let fixtures = fixtures.filter(|fixture| !fixture.name.ends_with(".done"));
    let fixtures = fixtures.enumerate().filter(|(index, _)| long || index % EVERY == 0);
    let fixtures = fixtures.map(|(_, fixture)| fixture).collect();
    let tried = on_all(fixtures, |fixture| {
        try_records(fixture).map(|proven| (fixture.name.clone(), proven))
    });
    assert!(tried.len() >= 4, "{tried:?}");
    // With a member missing everything may have to be read.
    let whole = tried.iter().filter(|(name, _)| !name.contains("d-"));
    assert!(whole.clone().count() > 0 && whole.clone().all(|(_, proven)| *proven), "{tried:?}");
}

#[test]
fn in_place_nothing_is_proven_without_the_backup_that_was_in_use() {
    // Of the second one all content goes together in one order only, and that is the right one.
    let told = [("b5-chunk-512to64-v10.mid", false), ("b5-chunk-64to128-v090.mid", true)];
    for (name, by_content) in told {
        let fixture = corpus::one(Kind::Reshapes, name);
        let dir = tests::tmp::in_memory();
        let mut paths = fixture.unpack_into(dir.path());
        assert_eq!(salvage(&paths).finding.verdict, Verdict::AsRecorded, "{name}");
        paths.retain(|path| !path.ends_with("backup"));
        let mut salvaged = salvage(&paths);
        let wrong = wrong(&fixture, &mut salvaged, dir.path());
        if by_content {
            assert_eq!((salvaged.finding.verdict, wrong), (Verdict::Found, Vec::new()), "{name}");
            continue;
        }
        assert_eq!(salvaged.finding.verdict, Verdict::Ambiguous, "{name}");
        assert!(!salvaged.finding.is_recordable(), "{name}");
        let open = |sector: &u64| {
            let mut open = salvaged.finding.open.iter();
            open.any(|range| (range.start.get()..range.end()).contains(sector))
        };
        assert!(wrong.iter().all(open), "{name}: wrong, and not named");
    }
}

#[test]
fn the_position_that_was_found_is_recorded_and_then_the_record_is_right() {
    for name in ["r5-chunk-64to128.mid", "b6-to-5-v10.mid", "r5-3to4.crit1"] {
        let fixture = corpus::one(Kind::Reshapes, name);
        let dir = tests::tmp::in_memory();
        let paths = fixture.unpack_into(dir.path());
        let Salvaged { mut mover, members, assembly, finding } = salvage(&paths);
        let now = assembly.update_time;
        let put = record(&mut mover, &members, &assembly, &finding, now);
        put.expect("recorded");
        drop((mover, members));
        let mut again = salvage(&paths);
        assert_eq!(again.finding.verdict, Verdict::AsRecorded, "{name}");
        assert_eq!(again.finding.recorded, finding.resume, "{name}");
        let same = again.finding.claims.iter().all(|claim| claim.position == Some(finding.resume));
        assert!(same, "{name}: {:?}", again.finding.claims);
        assert_eq!(wrong(&fixture, &mut again, dir.path()), Vec::<u64>::new(), "{name}");
    }
}

/// The members of a fixture on simulated disks, and what was found out about them.
fn simulated(name: &str) -> (SimWorld, Vec<SimDisk>, Salvaged, Fixture) {
    let fixture = corpus::one(Kind::Reshapes, name);
    let dir = tests::tmp::in_memory();
    let paths = fixture.unpack_into(dir.path());
    let world = SimWorld::new(1);
    let disk = |path: &PathBuf| {
        let bytes = fs::read(path).expect("read");
        let disk = world.add_disk(DiskOptions::new(bytes.len().try_into().expect("small")));
        disk.write(0, &bytes);
        disk
    };
    let disks: Vec<SimDisk> =
        paths.iter().filter(|path| !path.ends_with("backup")).map(disk).collect();
    let salvaged = salvaged(&world, &disks);
    (world, disks, salvaged, fixture)
}

fn salvaged(world: &SimWorld, disks: &[SimDisk]) -> Salvaged {
    let pool = Pool::new(2048).expect("memory");
    let mut mover =
        Mover::on(Box::new(world.backend()), Box::new(world.clone()), pool, Config::default());
    let devices = disks.iter().map(SimDisk::device).collect();
    let members = Members::read(&mut mover, devices).expect("members");
    let assembly = assemble(&members.candidates).expect("one array");
    let found = find(&mut mover, &members, &assembly, &[], &mut |_| true);
    let finding = found.expect("a reshape is recorded");
    Salvaged { mover, members, assembly, finding }
}

/// All content is there, each sector in its place.
fn expect_pattern(world: &SimWorld, salvaged: &mut Salvaged, fixture: &Fixture) {
    let content = &salvaged.finding.content;
    let out = world.add_disk(DiskOptions::new(content.sectors().get() * 512));
    let target = Target::Device { device: out.device(), offset: 0 };
    let all = Range::new(0, content.sectors().get());
    let report = content.read_to(&mut salvaged.mover, all, &target, &mut |_| true);
    assert!(report.expect("read").unreadable.is_empty(), "{}", fixture.name);
    let meta = fixture.meta();
    let number = |key: &str| meta[key].as_u64().expect("a number");
    let sectors = usize::try_from(number("sectors")).expect("small");
    for (at, sector) in (0..).zip(out.bytes().as_chunks().0).take(sectors) {
        assert_eq!(*sector, corpus::sector(number("seed"), at), "{}: sector {at}", fixture.name);
    }
}

/// A member could not be written while the position was recorded: the command stopped, though the array can do
/// without one. Where members are torn what it has may be all there is, unless that is saved in a file first.
#[test]
fn who_cannot_be_written_leaves_if_the_array_can_do_without() {
    let fault = || Fault::new(Effect::Error(Errno::IO));
    for fault in [fault().kind(OpKind::Write), fault().kind(OpKind::Flush)] {
        for name in ["r5-chunk-64to128.early", "r5-3to4.crit3"] {
            let (world, disks, mut found, fixture) = simulated(name);
            world.inject(fault.clone().on(disks[1].id()));
            let Salvaged { mover, members, assembly, finding } = &mut found;
            let now = assembly.update_time;
            let (at, failed) = if finding.torn().is_some() {
                let refused = record(mover, members, assembly, finding, now);
                refused.expect_err("nothing is recorded of torn members");
                let file = world.add_disk(DiskOptions::new(1 << 24)).device();
                let (ongoing, failed) =
                    mend(mover, (members, assembly), finding, &file, now).expect("mended");
                (ongoing.position(), failed)
            } else {
                let failed = record(mover, members, assembly, finding, now).expect("recorded");
                (finding.resume, failed)
            };
            let [failed] = &failed[..] else { panic!("{name}: {failed:?}") };
            assert_eq!(failed.path, disks[1].device().path(), "{name}");
            world.clear_faults();
            let left: Vec<SimDisk> =
                disks.iter().filter(|disk| disk.id() != disks[1].id()).cloned().collect();
            let mut again = salvaged(&world, &left);
            assert_eq!(again.finding.recorded, at, "{name}");
            expect_pattern(&world, &mut again, &fixture);
            assert!(again.finding.lost.is_empty(), "{name}: {:?}", again.finding.lost);
            // Whoever comes back is stale.
            let all = salvaged(&world, &disks);
            let states = all.assembly.members.iter();
            let stale = states.filter(|member| member.state == MemberState::Stale).count();
            assert_eq!(stale, 1, "{name}");
        }
    }
    // Where a position reads all of torn members, nothing of them is saved elsewhere.
    let (world, disks, mut torn, _) = simulated("b6-to-5-v10.mid");
    assert_ne!(torn.finding.front.start(), torn.finding.front.end(), "members are torn");
    world.inject(fault().kind(OpKind::Write).on(disks[1].id()));
    let Salvaged { mover, members, assembly, finding } = &mut torn;
    let now = assembly.update_time;
    record(mover, members, assembly, finding, now).expect_err("nobody can leave");
    // Without a member already nobody can leave.
    let (world, disks, _, _) = simulated("r5-chunk-64to128.early");
    let Salvaged { mut mover, members, assembly, finding } = salvaged(&world, &disks[1..]);
    world.inject(fault().kind(OpKind::Write).on(disks[1].id()));
    let now = assembly.update_time;
    let error = record(&mut mover, &members, &assembly, &finding, now).expect_err("too few");
    assert!(error.to_string().contains("the array cannot do without them"), "{error}");
}
