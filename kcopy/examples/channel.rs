//! `channel SOURCE DESTINATION`: a copy in parts, whose outcomes come out of a channel, each with
//! the number of its part. The loop that waits for them can do other things as well.
//!
//!     cargo run --release -p kcopy --example channel -- SOURCE DESTINATION
#![expect(clippy::print_stdout, reason = "an example that shows what happened")]

use std::error::Error;

use crossbeam_channel::unbounded;
use kcopy::device::OpenOptions;
use kcopy::{Client, Device, Extent, Job, Outcome};

/// Bytes of one part.
const PART: u64 = 256 << 10;

fn main() -> Result<(), Box<dyn Error>> {
    let mut paths = std::env::args().skip(1);
    let (Some(from), Some(to)) = (paths.next(), paths.next()) else {
        return Err("usage: channel SOURCE DESTINATION".into());
    };
    let from = Device::open(from, &OpenOptions::source())?;
    let to = Device::open(to, &OpenOptions::destination().create(true))?;
    let client = Client::builder().build()?;

    let (sender, outcomes) = unbounded::<(u64, Outcome)>();
    let parts = from.size().div_ceil(PART);
    for part in 0..parts {
        let (offset, len) = (part * PART, PART.min(from.size() - part * PART));
        let job = Job::copy(Extent::new(&from, offset, len)).to(Extent::new(&to, offset, len));
        // Waits while the client's queue is full; the outcomes are collected meanwhile.
        client.submit_to(job, &sender, part)?;
    }
    drop(sender);

    // The channel ends when the last outcome has come.
    let mut bad = 0;
    for (part, outcome) in outcomes {
        if !outcome.is_ok() {
            bad += 1;
            println!("part {part}: {outcome:?}");
        }
    }
    // Durable all at once, rather than part by part.
    let flushed = client.run(Job::flush_only([&to]))?;
    println!("{parts} parts, {bad} failed, durable: {}", flushed.is_ok());
    if bad == 0 && flushed.is_ok() { Ok(()) } else { Err("not everything was copied".into()) }
}
