//! Parity by criterion, every kernel of this processor: `cargo bench -p benches --bench parity`.
//!
//! Bytes per second are those of data. Beside libisal: `cargo run --release -p benches --bin parity`.

use std::hint::black_box;
use std::time::Duration;

use benches::stripe::Stripe;
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use reshape::parity::{Block, Change, Kernel, Role};

/// The stripe of goal V9: eight data blocks of 64 KiB.
const DISKS: usize = 8;
const LENGTH: usize = 64 << 10;

/// P alone, P and Q, and comparing both with the data.
fn sums(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("parity of 8 x 64 KiB");
    let mut stripe = Stripe::new(DISKS, LENGTH);
    group.throughput(bytes(DISKS * LENGTH));
    for kernel in Kernel::usable() {
        group.bench_function(BenchmarkId::new("P", kernel), |bencher| {
            bencher.iter(|| stripe.xor(kernel, 1));
        });
        group.bench_function(BenchmarkId::new("P and Q", kernel), |bencher| {
            bencher.iter(|| stripe.pq(kernel, 1));
        });
        group.bench_function(BenchmarkId::new("check", kernel), |bencher| {
            let (data, p, q) = stripe.split();
            bencher.iter(|| black_box(kernel.check(&data, p, q)));
        });
    }
    group.finish();
}

/// Two lost data blocks from P and Q.
fn recovery(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("two lost of 8 x 64 KiB");
    let (mut stripe, mut first, mut second) =
        (Stripe::new(DISKS, LENGTH), vec![0; LENGTH], vec![0; LENGTH]);
    let (data, p, q) = stripe.split();
    group.throughput(bytes(DISKS * LENGTH));
    for kernel in Kernel::usable() {
        group.bench_function(BenchmarkId::new("fill", kernel), |bencher| {
            bencher.iter(|| {
                let known = data[2..].iter();
                let mut blocks: Vec<Block<'_>> =
                    known.map(|data| Block::known(Role::Data(data.index), data.bytes)).collect();
                blocks.push(Block::wanted(Role::Data(0), &mut first));
                blocks.push(Block::wanted(Role::Data(1), &mut second));
                blocks.push(Block::known(Role::P, p));
                blocks.push(Block::known(Role::Q, q));
                kernel.fill(&mut blocks).expect("two may be lost");
            });
        });
    }
    group.finish();
}

/// P and Q after a change of one block.
fn small_write(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("change of 64 KiB");
    let mut stripe = Stripe::new(2, LENGTH);
    let (data, p, q) = stripe.split();
    let change = Change { index: 5, old: data[0].bytes, new: data[1].bytes };
    group.throughput(bytes(LENGTH));
    for kernel in Kernel::usable() {
        group.bench_function(BenchmarkId::new("update", kernel), |bencher| {
            bencher.iter(|| kernel.update(change, Some(p), Some(q)));
        });
    }
    group.finish();
}

fn bytes(count: usize) -> Throughput {
    Throughput::Bytes(u64::try_from(count).expect("a stripe fits memory"))
}

fn short() -> Criterion {
    Criterion::default()
        .measurement_time(Duration::from_secs(1))
        .warm_up_time(Duration::from_millis(300))
}

criterion_group! {
    name = parity;
    config = short();
    targets = sums, recovery, small_write
}
criterion_main!(parity);
