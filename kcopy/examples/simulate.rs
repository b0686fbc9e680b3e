//! Testing your own code against a loss of power, on simulated disks.
//!
//! The code under test publishes a new version of some data: it writes the data into the slot that
//! is not in use, and then a pointer that names this slot. After a crash at any moment the pointer
//! must name a slot that is whole. It does, as long as the data is flushed before the pointer is
//! written; the example takes that flush away as well, to show that the simulator notices.
//!
//!     cargo run --release -p kcopy --features sim --example simulate
#![expect(clippy::print_stdout, reason = "an example that shows what happened")]

use std::error::Error;

use kcopy::backend::sim::{Crash, DiskOptions, SimBackend, SimDisk, SimWorld, Snapshot};
use kcopy::engine::Config;
use kcopy::pool::Pool;
use kcopy::{Extent, Job, LocalClient};

type Client = LocalClient<SimBackend, SimWorld>;

/// Bytes of a slot; the slots begin behind the pointer's sector.
const SLOT: u64 = 64 << 10;
const SLOTS: [u64; 2] = [4096, 4096 + SLOT];

/// Crashes tried after every turn of the client.
const CRASHES: u64 = 20;

fn main() -> Result<(), Box<dyn Error>> {
    for (what, flushed) in [("flushed before the pointer", true), ("not flushed", false)] {
        let (mut states, mut broken) = (0, 0);
        for seed in 0..8 {
            let (tried, bad) = one_world(seed, flushed)?;
            (states, broken) = (states + tried, broken + bad);
        }
        println!("data {what}: {states} crashes, {broken} of them lost data");
        if (broken > 0) == flushed {
            return Err("that is not how it should be".into());
        }
    }
    Ok(())
}

/// Publishes in the world of this seed, and crashes after every turn: (crashes, losses).
fn one_world(seed: u64, flushed: bool) -> Result<(u64, u64), Box<dyn Error>> {
    let world = SimWorld::new(seed);
    let incoming = world.add_disk(DiskOptions::new(1 << 20));
    let store = world.add_disk(DiskOptions::new(1 << 20));
    // The pointer names slot 0, which is full of ones; then come twos for slot 1.
    store.write(SLOTS[0], &vec![1; usize::try_from(SLOT)?]);
    incoming.write(0, &[1; 512]);
    incoming.write(SLOTS[1], &vec![2; usize::try_from(SLOT)?]);

    let config = Config { request_size: 16 << 10, ..Config::default() };
    let pool = Pool::new(64).ok_or("no memory")?;
    let mut client = Client::with_clock(config, pool, world.backend(), world.clone());
    let (mut tried, mut broken) = (0, 0);
    publish(&mut client, &incoming, &store, flushed, &mut || {
        let snapshot = world.snapshot();
        tried += CRASHES;
        broken += (0..CRASHES).filter(|crash| !is_whole(&snapshot, &store, *crash)).count() as u64;
    })?;
    Ok((tried, broken))
}

/// The code under test. `between` is called at every moment at which the power may fail.
fn publish(
    client: &mut Client,
    incoming: &SimDisk,
    store: &SimDisk,
    flushed: bool,
    between: &mut dyn FnMut(),
) -> Result<(), Box<dyn Error>> {
    let part = |disk: &SimDisk, offset, len| Extent::new(&disk.device(), offset, len);
    let mut data = Job::copy(part(incoming, SLOTS[1], SLOT)).to(part(store, SLOTS[1], SLOT));
    if flushed {
        data = data.flush();
    }
    let pointer = Job::copy(part(incoming, 0, 512)).to(part(store, 0, 512)).flush();
    for job in [data, pointer] {
        client.submit(job, |outcome| assert!(outcome.is_ok()))?;
        while !client.is_idle() {
            client.turn(None)?;
            between();
        }
    }
    Ok(())
}

/// Whether the slot that the pointer names is whole after a crash of this seed.
fn is_whole(snapshot: &Snapshot, store: &SimDisk, seed: u64) -> bool {
    let after = snapshot.after(Crash::Seeded(seed), seed).disk(store.id());
    let slot = usize::from(after.read(0, 1)[0]);
    let content = after.read(SLOTS[slot], usize::try_from(SLOT).unwrap_or(0));
    content.iter().all(|byte| usize::from(*byte) == slot + 1)
}
