//! What a killed copy claims in its resume map, read by a parser that was written from
//! `docs/formats/resume-map.md` alone: if the program and its document part, this notices.
//!
//! On both backends. The many kills, and going on with the same command, are in `cli_resume.rs`;
//! that claims survive a loss of power is proven on simulated disks.

use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc;
use std::time::Duration;
use tests::data::{self, Random};
use tests::{kcopy_binary, tmp};

const LEN: u64 = 2 << 20;
const BLOCK: usize = 4096;
const KILLS: usize = 40;

struct World {
    source: PathBuf,
    destinations: [PathBuf; 2],
    map: PathBuf,
}

impl World {
    /// A source, destinations that are too short and hold other bytes, and no map.
    fn create(dir: &Path, round: u64) -> Self {
        let source = dir.join("source");
        data::write_file(&source, 2 * round, LEN);
        let destinations = ["one", "two"].map(|name| dir.join(name));
        for (path, len) in destinations.iter().zip([LEN, LEN / 3]) {
            data::write_file(path, 2 * round + 1, len);
        }
        let map = dir.join("map");
        if map.exists() {
            std::fs::remove_file(&map).expect("the map of the last round");
        }
        Self { source, destinations, map }
    }

    fn start(&self, backend: &str) -> Child {
        let mut command = Command::new(kcopy_binary());
        command.args([
            "copy",
            "--rate",
            "25MiB",
            "--map-interval",
            "5",
            "--backend",
            backend,
            "--map",
        ]);
        command.arg(&self.map).arg(&self.source).args(&self.destinations);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        command.spawn().expect("kcopy starts")
    }

    /// Every chunk that the map claims is on both destinations; returns how many there are.
    fn expect_claims_are_true(&self) -> usize {
        let Ok(map) = std::fs::read(&self.map) else { return 0 };
        let Some(claims) = Claims::read(&map) else { return 0 };
        for chunk in &claims.chunks {
            let at = chunk * claims.chunk_len;
            let len = claims.chunk_len.min(LEN - at);
            for destination in &self.destinations {
                data::expect_equal((&self.source, at), (destination, at), len);
            }
        }
        claims.chunks.len()
    }
}

/// What a map says is durable.
struct Claims {
    chunk_len: u64,
    chunks: Vec<u64>,
}

impl Claims {
    /// `None` if it is not a whole map (yet).
    fn read(map: &[u8]) -> Option<Self> {
        let header = map.get(..BLOCK)?;
        let tag = u32_at(header, BLOCK - 4);
        if &header[..8] != b"KCOPYMAP" || crc32c::crc32c(&header[..BLOCK - 4]) != tag {
            return None;
        }
        assert_eq!((u32_at(header, 8), u32_at(header, 12)), (1, 2), "version, destinations");
        assert_eq!(u64_at(header, 16), LEN);
        let chunk_len = u64_at(header, 24);
        let count = usize::try_from(LEN.div_ceil(chunk_len)).expect("few");
        let record_len = (32 + count.div_ceil(8)).next_multiple_of(BLOCK);
        let records = map[BLOCK..].chunks_exact(record_len).take(2);
        let whole = |record: &&[u8]| {
            &record[..4] == b"KREC"
                && u32_at(record, 4) == crc32c::crc32c(&record[8..])
                && u32_at(record, 16) == tag
        };
        let newest = records.filter(whole).max_by_key(|record| u64_at(record, 8))?;
        let is_set = |chunk: &usize| newest[32 + chunk / 8] >> (chunk % 8) & 1 == 1;
        let chunks: Vec<u64> = (0..count).filter(is_set).map(|chunk| chunk as u64).collect();
        assert_eq!(chunks.len() as u64, u64_at(newest, 24), "the count of the claims");
        Some(Self { chunk_len, chunks })
    }
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes"))
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight bytes"))
}

/// Lets `child` work for `time`, then kills it if it is not done.
fn let_work(mut child: Child, time: Duration) -> (ExitStatus, String) {
    let pid = Pid::from_child(&child);
    let handle = pidfd_open(pid, PidfdFlags::empty()).expect("a handle of the child");
    let mut stderr = child.stderr.take().expect("piped");
    let (sender, receiver) = mpsc::channel();
    let waiter = std::thread::spawn(move || {
        let mut said = String::new();
        std::io::Read::read_to_string(&mut stderr, &mut said).expect("messages are text");
        sender.send(()).ok();
        (child.wait().expect("a child"), said)
    });
    if receiver.recv_timeout(time).is_err() {
        // It may have ended just now.
        pidfd_send_signal(&handle, Signal::KILL).ok();
    }
    waiter.join().expect("the waiter")
}

#[test]
fn killed_copy_claims_what_is_there_in_the_documented_form() {
    let dir = tmp::in_memory();
    let mut random = Random::new(11);
    let (mut kills, mut kills_with_claims, mut round) = (0, 0, 0);
    while kills < KILLS {
        round += 1;
        let backend = if round % 2 == 0 { "io-uring" } else { "threads" };
        let world = World::create(dir.path(), round);
        let mut claimed = 0;
        for attempt in 1.. {
            let time = Duration::from_micros(random.below(40_000 * attempt));
            let (status, said) = let_work(world.start(backend), time);
            let now = world.expect_claims_are_true();
            if status.signal() == Some(9) {
                assert!(now >= claimed, "claims were lost: {now} of {claimed}");
                claimed = now;
                kills += 1;
                kills_with_claims += usize::from(now > 0);
            } else {
                assert_eq!(status.code(), Some(0), "round {round}: {said}");
                break;
            }
        }
        for destination in &world.destinations {
            data::expect_equal((&world.source, 0), (destination, 0), LEN);
        }
    }
    assert!(kills_with_claims > KILLS / 4, "only {kills_with_claims} kills came in the middle");
}
