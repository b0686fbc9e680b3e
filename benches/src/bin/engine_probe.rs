//! `engine_probe JOBS`: runs that many 4 KiB jobs through the engine on the null backend, 64 at a
//! time, and says nothing.
//!
//! Run it under `valgrind --tool=callgrind` for two numbers of jobs: the difference of the two
//! counts, divided by the difference of the jobs, is what one job costs from its making to its
//! callback. `tests/tests/instructions.rs` does that.
#![forbid(unsafe_code)]

use benches::workload::{Stream, null_client};

fn main() {
    let jobs = std::env::args().nth(1).and_then(|jobs| jobs.parse().ok());
    let jobs = jobs.expect("usage: engine_probe JOBS");
    let mut client = null_client(1024);
    Stream::null().run(&mut client, jobs, 64);
}
