//! `queued FILE JOBS QUEUED`: copies JOBS blocks of 4 KiB from random places in the first half of
//! FILE to random places in its second half, with as many jobs queued as that.
//!
//! For the flat line of `benches/compare --flat`, which measures its time and memory.
#![forbid(unsafe_code)]

use std::sync::atomic::Ordering;

use benches::workload::Stream;
use kcopy::device::OpenOptions;
use kcopy::{Client, Device};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [file, jobs, queued] = &arguments[..] else {
        return Err("see the head of this file".into());
    };
    let (jobs, queued): (u64, usize) = (jobs.parse()?, queued.parse()?);
    let file = Device::open(file, &OpenOptions::destination())?;
    // The client takes in as many jobs again as wait before its door.
    let client = Client::builder().requests(64).queue(queued.div_ceil(2)).build()?;
    let bytes = file.size();
    let mut stream = Stream::within(file.clone(), file, bytes);
    for _ in 0..jobs {
        let finished = stream.counter();
        let count = move |outcome: kcopy::Outcome| {
            assert!(outcome.is_ok(), "{outcome:?}");
            finished.fetch_add(1, Ordering::Relaxed);
        };
        client.submit(stream.job(), count)?;
    }
    client.close();
    assert_eq!(stream.finished(), jobs);
    Ok(())
}
