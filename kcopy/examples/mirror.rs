//! `mirror SOURCE DESTINATION...`: one read, several flushed copies, a verdict for each; with a
//! callback.
//!
//!     cargo run --release -p kcopy --example mirror -- SOURCE DESTINATION...
#![expect(clippy::print_stdout, reason = "an example that shows what happened")]

use std::error::Error;
use std::sync::mpsc;

use kcopy::device::OpenOptions;
use kcopy::{Client, Device, Extent, Job, OnError, Outcome};

fn main() -> Result<(), Box<dyn Error>> {
    let mut paths = std::env::args().skip(1);
    let source = paths.next().ok_or("usage: mirror SOURCE DESTINATION...")?;
    let source = Device::open(source, &OpenOptions::source())?;
    let all_of = |device: &Device| Extent::new(device, 0, source.size());

    // A destination that fails is given up; the others go on.
    let mut job = Job::copy(all_of(&source)).on_error(OnError::Detach).flush();
    let mut destinations = Vec::new();
    for path in paths {
        let destination = Device::open(path, &OpenOptions::destination().create(true))?;
        job = job.to(all_of(&destination));
        destinations.push(destination);
    }

    let client = Client::builder().pages(1024).build()?;
    let (sender, receiver) = mpsc::channel();
    // The callback runs on the client's thread and must not block: it hands the outcome over.
    client.submit(job, move |outcome| drop(sender.send(outcome)))?;
    let outcome = receiver.recv()?;
    client.close();
    report(&outcome, &destinations);
    if outcome.is_ok() { Ok(()) } else { Err("not everything was copied".into()) }
}

fn report(outcome: &Outcome, destinations: &[Device]) {
    if let Some((_, fault)) = &outcome.read {
        println!("source: {fault}");
    }
    for (device, verdict) in destinations.iter().zip(&outcome.destinations) {
        let written = verdict.written.end - verdict.written.start;
        let trouble = verdict.error.map_or_else(String::new, |fault| format!(", then {fault}"));
        println!("{}: {written} bytes are written and durable{trouble}", device.path().display());
    }
}
