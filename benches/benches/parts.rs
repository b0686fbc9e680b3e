//! The parts of the copy service, one by one, by criterion: `cargo bench -p benches`.
//!
//! What these show is whether a change made a part slower, on the same quiet machine. The cost of
//! a job as a count, which no other load disturbs, is in `tests/tests/instructions.rs`.

use std::hint::black_box;
use std::time::Duration;

use benches::workload::{Stream, null_client};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use kcopy::pool::Pool;

/// Jobs from their making to their callback, on the backend that does nothing.
fn engine(criterion: &mut Criterion) {
    const JOBS: u64 = 1000;
    let mut group = criterion.benchmark_group("engine");
    group.throughput(Throughput::Elements(JOBS));
    for depth in [1, 64, 1000] {
        let (mut client, mut stream) = (null_client(1024), Stream::null());
        group.bench_function(format!("4 KiB jobs, {depth} on their way"), |bencher| {
            bencher.iter(|| stream.run(&mut client, JOBS, depth));
        });
    }
    group.finish();
}

/// Taking a run of pages and giving it back, in an empty pool and in one that is nearly full.
fn pool(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("pool");
    for (name, held, run) in [
        ("one page of an empty pool", 0, 1),
        ("256 pages of an empty pool", 0, 256),
        ("one page of a full pool", 1023, 1),
        ("256 pages of a half full pool", 512, 256),
    ] {
        let mut pool = Pool::new(1024).expect("memory");
        let held: Vec<_> = (0..held).filter_map(|_| pool.take(1)).collect();
        group.bench_function(name, |bencher| bencher.iter(|| black_box(pool.take(run))));
        drop(held);
    }
    group.finish();
}

/// The checksum that verifying computes over every piece.
fn checksum(criterion: &mut Criterion) {
    let piece = vec![0x5a; 1 << 20];
    let mut group = criterion.benchmark_group("checksum");
    group.throughput(Throughput::Bytes(piece.len() as u64));
    group.bench_function("crc32c of 1 MiB", |bencher| {
        bencher.iter(|| crc32c::crc32c(black_box(&piece)));
    });
    group.finish();
}

fn short() -> Criterion {
    Criterion::default()
        .measurement_time(Duration::from_secs(2))
        .warm_up_time(Duration::from_millis(500))
}

criterion_group! {
    name = parts;
    config = short();
    targets = engine, pool, checksum
}
criterion_main!(parts);
