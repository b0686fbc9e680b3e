//! `tokio_mirror SOURCE DESTINATION...`: the same with futures, each destination verified; on tokio,
//! though any other runtime would do.
//!
//!     cargo run --release -p kcopy --example tokio_mirror -- SOURCE DESTINATION...
#![expect(clippy::print_stdout, reason = "an example that shows what happened")]

use std::error::Error;

use kcopy::device::OpenOptions;
use kcopy::{Client, Device, Extent, Job};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut paths = std::env::args().skip(1);
    let source = paths.next().ok_or("usage: tokio_mirror SOURCE DESTINATION...")?;
    let source = Device::open(source, &OpenOptions::source())?;
    let destination = |path| Device::open(path, &OpenOptions::destination().create(true));
    let destinations = paths.map(destination).collect::<Result<Vec<_>, _>>()?;
    let all_of = |device: &Device| Extent::new(device, 0, source.size());

    let client = Client::builder().build()?;
    let mut copy = Job::copy(all_of(&source)).flush();
    for device in &destinations {
        copy = copy.to(all_of(device));
    }
    let outcome = client.submit_async(copy).await?;
    if !outcome.is_ok() {
        return Err(format!("the copy failed: {outcome:?}").into());
    }

    // One task per destination; they share the client's pool and its ring.
    let mut checks = tokio::task::JoinSet::new();
    for device in destinations {
        let compare = Job::compare(all_of(&source)).to(all_of(&device));
        let running = client.submit_async(compare);
        checks.spawn(async move { (device, running.await) });
    }
    while let Some(checked) = checks.join_next().await {
        let (device, outcome) = checked?;
        let differing = outcome?.destinations[0].differing_sectors;
        println!("{}: {differing} sectors differ", device.path().display());
        if differing > 0 {
            return Err("a copy differs from its source".into());
        }
    }
    Ok(())
}
