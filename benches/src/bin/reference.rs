//! `reference`: the marks that the side-by-side harness measures against.
//!
//! ```text
//! reference copy BLOCK DEPTH SIZE SOURCE DESTINATION...   read once, write to each, in order
//! reference jobs BLOCK DEPTH LIST SOURCE DESTINATION      the same for a list of blocks
//! reference zero BLOCK DEPTH SIZE DESTINATION...          write zeros
//! reference threads THREADS LIST SOURCE DESTINATION       pread and pwrite, one block a turn
//! reference fill FILE SIZE SEED                           bytes that are no zeros anywhere
//! reference nop SECONDS BATCH                             io_uring requests that do nothing
//! ```
//!
//! A list has lines `from to length`, in bytes. What copies ends with its destinations durable, and
//! prints one line of JSON.
#![forbid(unsafe_code)]
#![expect(clippy::print_stdout, clippy::disallowed_methods, reason = "a program that measures")]

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

use benches::reference::{Block, Plan, in_order, run};
use benches::ring::Ring;
use benches::threads::{self, Aligned};

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match dispatch(&words) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            println!("reference: {error}");
            ExitCode::FAILURE
        }
    }
}

fn dispatch(words: &[&str]) -> io::Result<()> {
    match words {
        ["copy", block, depth, size, source, destinations @ ..] => {
            let plan = plan(block, depth, Some(source), destinations)?;
            timed(|| run(&plan, in_order(number(size)?, plan.block)))
        }
        ["jobs", block, depth, list, source, destination] => {
            let plan = plan(block, depth, Some(source), &[destination])?;
            let blocks = read_list(list)?;
            timed(|| run(&plan, blocks.into_iter()))
        }
        ["zero", block, depth, size, destinations @ ..] => {
            let plan = plan(block, depth, None, destinations)?;
            timed(|| run(&plan, in_order(number(size)?, plan.block)))
        }
        ["threads", count, list, source, destination] => {
            let (count, blocks) = (number(count)?, read_list(list)?);
            let (source, target) = (PathBuf::from(source), PathBuf::from(destination));
            timed(|| {
                threads::run(&source, &target, &blocks, count)?;
                Ok(blocks.iter().map(|block| u64::from(block.len)).sum())
            })
        }
        ["fill", file, size, seed] => fill(file, number(size)?, number(seed)?),
        ["nop", seconds, batch] => nop(number(seconds)?, number(batch)?),
        _ => Err(io::Error::other("see the head of benches/src/bin/reference.rs")),
    }
}

fn number<T: std::str::FromStr>(word: &str) -> io::Result<T> {
    word.parse().map_err(|_| io::Error::other(format!("not a number: {word}")))
}

fn plan(block: &str, depth: &str, source: Option<&str>, destinations: &[&str]) -> io::Result<Plan> {
    let destinations = destinations.iter().map(PathBuf::from).collect();
    let source = source.map(PathBuf::from);
    Ok(Plan { source, destinations, block: number(block)?, depth: number(depth)? })
}

fn read_list(path: &str) -> io::Result<Vec<Block>> {
    let text = fs::read_to_string(path)?;
    let parse = |line: &str| {
        let words: Vec<&str> = line.split(' ').collect();
        let [from, to, len] = words[..] else {
            return Err(io::Error::other(format!("not a job: {line}")));
        };
        Ok(Block { from: number(from)?, to: number(to)?, len: number(len)? })
    };
    text.lines().map(parse).collect()
}

fn timed(work: impl FnOnce() -> io::Result<u64>) -> io::Result<()> {
    let start = Instant::now();
    let bytes = work()?;
    println!("{{\"seconds\":{:.6},\"bytes\":{bytes}}}", start.elapsed().as_secs_f64());
    Ok(())
}

/// Incompressible bytes without a zero word; past the page cache where that is possible.
fn fill(file: &str, size: u64, seed: u64) -> io::Result<()> {
    const CHUNK: usize = 1 << 20;
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(false);
    let direct = options.clone().custom_flags(libc::O_DIRECT).open(file);
    let mut file = direct.or_else(|_| options.open(file))?;
    let mut memory = Aligned::new(CHUNK);
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15).wrapping_add(88_172_645_463_325_252);
    let mut left = size;
    while left > 0 {
        let (words, _) = memory.bytes().as_chunks_mut::<8>();
        for word in words {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            *word = (state | 1).to_le_bytes();
        }
        let now = usize::try_from(left).map_or(CHUNK, |left| left.min(CHUNK));
        file.write_all(&memory.bytes()[..now])?;
        left -= now as u64;
    }
    file.sync_data()
}

fn nop(seconds: f64, batch: u64) -> io::Result<()> {
    let depth = u32::try_from(batch).map_err(io::Error::other)?;
    let mut ring = Ring::new(depth, 0, 0, Vec::new())?;
    let (start, mut requests) = (Instant::now(), 0u64);
    while start.elapsed().as_secs_f64() < seconds {
        for _ in 0..256 {
            (0..batch).for_each(|index| ring.nop(index));
            ring.submit_and_wait(usize::try_from(batch).map_err(io::Error::other)?)?;
            ring.reap(|_, _| requests += 1);
        }
    }
    let seconds = start.elapsed().as_secs_f64();
    #[expect(clippy::cast_precision_loss, reason = "a rate to print")]
    let rate = requests as f64 / seconds;
    println!("{{\"requests\":{requests},\"seconds\":{seconds:.6},\"per_second\":{rate:.0}}}");
    Ok(())
}
