//! `numbers [DIRECTORY]`: measures the goals N1-N10 and V7, prints a table, then the same as lines
//! of JSON.
//!
//! DIRECTORY is where files for the system calls per job (N4) and for V7 are made; the temporary directory
//! otherwise. Takes about half a minute. The meaning of each goal is in `benches/README.md`.
#![forbid(unsafe_code)]
#![expect(clippy::print_stdout, clippy::cast_precision_loss, reason = "a program that measures")]

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use benches::workload::{Stream, null_client};
use benches::{counts, nop, timed};
use kcopy::device::OpenOptions;
use kcopy::engine::Config;
use kcopy::pool::Pool;
use kcopy::{BackendChoice, Device, LocalClient};

/// One line of the table.
struct Number {
    id: &'static str,
    what: String,
    reached: f64,
    goal: f64,
    /// Whether `reached` may be at most `goal`, rather than at least.
    at_most: bool,
}

impl Number {
    fn is_reached(&self) -> bool {
        if self.at_most { self.reached <= self.goal } else { self.reached >= self.goal }
    }
}

fn at_most(id: &'static str, what: impl Into<String>, reached: f64, goal: f64) -> Number {
    Number { id, what: what.into(), reached, goal, at_most: true }
}

fn at_least(id: &'static str, what: impl Into<String>, reached: f64, goal: f64) -> Number {
    Number { at_most: false, ..at_most(id, what, reached, goal) }
}

fn main() -> ExitCode {
    let directory = std::env::args_os().nth(1).map_or_else(std::env::temp_dir, PathBuf::from);
    let mut numbers = counted();
    match on_files(&directory) {
        Ok(found) => numbers.extend(found),
        Err(error) => println!("N4 and V7 are not measured: {error}"),
    }
    match instructions() {
        Some(count) => numbers.push(at_most("N5", "instructions per job", count, 900.0)),
        None => println!("N5 is not measured: it needs valgrind, and engine_probe beside this"),
    }
    numbers.extend(rates());
    numbers.extend(timings());
    numbers.sort_by_key(|number| number.id.trim_start_matches('N').parse().unwrap_or(u32::MAX));
    print(&numbers);
    ExitCode::SUCCESS
}

fn counted() -> Vec<Number> {
    let bytes = 100 << 20;
    let excess = (1..=8).map(|n| counts::bytes_read(bytes, n).abs_diff(bytes)).max();
    let (per_job, fixed) = counts::heap_per_queued_job(100_000);
    let cancelled = counts::cancel();
    vec![
        at_most(
            "N1",
            "bytes read beside those copied, 1-8 destinations",
            excess.map_or(0.0, |n| n as f64),
            0.0,
        ),
        at_most("N2", "pages held of a pool of 1024", counts::pages_held(1024) as f64, 1024.0),
        at_most("N2", "bytes of heap per queued job", per_job as f64, 512.0),
        at_most("N2", "bytes of heap beside", fixed as f64, f64::from(1 << 20)),
        at_most("N3", "allocations in 100,000 jobs", counts::allocations(100_000) as f64, 0.0),
        at_most(
            "N9",
            "operations later than a turn after cancelling",
            cancelled.issued_late as f64,
            0.0,
        ),
    ]
}

/// N4 and V7 on files, by the backend that this system offers.
fn on_files(directory: &Path) -> Result<Vec<Number>, Box<dyn std::error::Error>> {
    const BYTES: u64 = 256 << 20;
    let (from, to) = (file(directory, "from", BYTES)?, file(directory, "to", BYTES)?);
    let pool = Pool::new(1024).ok_or("no memory")?;
    let options = kcopy::backend::BackendOptions::default();
    let backend = kcopy::backend::open(BackendChoice::IoUring, &pool.memory(), &options)?;
    let mut client = LocalClient::new(Config::default(), pool, backend);
    let mut stream = Stream::within(from.clone(), to.clone(), BYTES);
    let per_job = counts::syscalls_per_job(&mut client, &mut stream, 20_000);
    let (plain, summed) = timed::checksum_seconds(&from, &to, BYTES);
    let percent = (summed / plain - 1.0) * 100.0;
    Ok(vec![
        at_most("N4", "system calls per 4 KiB job, 64 queued", per_job, 0.10),
        at_most("V7", "percent longer with crc32c over every piece", percent, 3.0),
    ])
}

/// A file of these bytes, which lives as long as the device does.
fn file(directory: &Path, name: &str, bytes: u64) -> Result<Device, Box<dyn std::error::Error>> {
    let path = directory.join(format!("kcopy-numbers.{name}.{}", std::process::id()));
    let chunk = vec![0x5a; 1 << 20];
    let written = File::create(&path).and_then(|mut file| {
        (0..bytes >> 20).try_for_each(|_| file.write_all(&chunk))?;
        file.sync_data()
    });
    let device = written.map_err(Into::into).and_then(|()| {
        Device::open(&path, &OpenOptions::destination()).map_err(Box::<dyn std::error::Error>::from)
    });
    fs::remove_file(&path)?;
    device
}

/// N5: by callgrind, as `tests/tests/instructions.rs` does.
fn instructions() -> Option<f64> {
    let probe = std::env::current_exe().ok()?.with_file_name("engine_probe");
    let count = |jobs: u32| {
        let mut run = Command::new("valgrind");
        run.args(["--tool=callgrind", "--callgrind-out-file=/dev/null"]);
        let output = run.arg(&probe).arg(jobs.to_string()).output().ok()?;
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        text.split("Collected : ").nth(1)?.lines().next()?.trim().parse::<f64>().ok()
    };
    let (few, many) = (10_000, 30_000);
    Some((count(many)? - count(few)?) / f64::from(many - few))
}

fn rates() -> Vec<Number> {
    let best = |measure: &dyn Fn() -> f64| (0..5).map(|_| measure()).fold(0.0, f64::max) / 1e6;
    let local = best(&|| timed::local_rate(&mut null_client(1024), 500_000, 64));
    let channel = best(&|| timed::channel_rate(500_000));
    let mut found = vec![
        at_least("N6", "million jobs/s, same thread", local, 4.0),
        at_least("N6", "million jobs/s, from another thread", channel, 1.5),
    ];
    let nop_rate = || {
        let pool = Pool::new(1024).expect("memory");
        let backend = nop::NopBackend::new().expect("seen to work");
        timed::local_rate(&mut LocalClient::new(Config::default(), pool, backend), 500_000, 64)
    };
    match nop::NopBackend::new() {
        Ok(_) => found.push(at_least("N7", "million jobs/s, ring of NOPs", best(&nop_rate), 3.0)),
        Err(error) => println!("N7 is not measured: {error}"),
    }
    found
}

fn timings() -> Vec<Number> {
    let late = timed::callback_lateness(300_000, 1000);
    let p99 = late[late.len() * 99 / 100] as f64 / 1000.0;
    let mut found = vec![at_most("N8", "us from completion to callback, p99", p99, 50.0)];
    for rate in [1 << 20, 100 << 20, 1 << 30] {
        let off = |bytes: u64| (bytes as f64 / rate as f64 - 1.0).abs() * 100.0;
        let worst = timed::throttled_seconds(rate, 3).into_iter().map(off).fold(0.0, f64::max);
        let what = format!("percent off {} MiB/s in any second", rate >> 20);
        found.push(at_most("N10", what, worst, 2.0));
    }
    found
}

fn print(numbers: &[Number]) {
    println!("{:4} {:48} {:>12} {:>15}", "", "", "reached", "goal");
    for number in numbers {
        let Number { id, what, reached, goal, at_most } = number;
        let sign = if *at_most { "<=" } else { ">=" };
        let verdict = if number.is_reached() { "PASS" } else { "MISS" };
        println!("{id:4} {what:48} {reached:>12.3} {sign} {goal:>12} {verdict}");
    }
    for number in numbers {
        let Number { id, what, reached, goal, at_most } = number;
        let verdict = if number.is_reached() { "PASS" } else { "MISS" };
        println!(
            "{{\"kind\":\"number\",\"id\":\"{id}\",\"what\":\"{what}\",\"reached\":{reached},\
             \"goal\":{goal},\"at_most\":{at_most},\"verdict\":\"{verdict}\"}}"
        );
    }
}
