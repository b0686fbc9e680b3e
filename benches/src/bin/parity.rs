//! `parity [ROUNDS]`: our XOR and P+Q beside libisal's, in turns, then a table.
//!
//! Each round runs every competitor on the same stripe for about half a millisecond, beginning with
//! another one each time. A rate is the median over the rounds, in GB of data per second and thread;
//! the ratio to libisal is the median of the ratios within the rounds.
#![forbid(unsafe_code)]
#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::disallowed_methods,
    clippy::cast_precision_loss,
    reason = "a program that measures"
)]

use std::time::{Duration, Instant};

use benches::isal::Isal;
use benches::stripe::Stripe;
use reshape::parity::Kernel;

/// How long a competitor runs in a round.
const TURN: Duration = Duration::from_micros(500);
/// Bytes of data between two looks at the clock: a tenth of a millisecond or so.
const CLOCK: usize = 4 << 20;
const DISKS: [usize; 4] = [4, 8, 16, 24];
/// In the first-level cache, the second-level cache, about its size, and far beyond.
const LENGTHS: [usize; 4] = [4 << 10, 64 << 10, 1 << 20, 4 << 20];

#[derive(Clone, Copy, Debug)]
enum Sum {
    Xor,
    PAndQ,
}

#[derive(Clone, Copy, Debug)]
enum Competitor {
    Isal(Isal),
    Ours(Kernel),
}

impl Competitor {
    fn name(self) -> &'static str {
        match self {
            Self::Isal(_) => "libisal",
            Self::Ours(kernel) => kernel.name(),
        }
    }

    fn compute(self, sum: Sum, stripe: &mut Stripe, times: usize) {
        match (self, sum) {
            (Self::Isal(isal), Sum::Xor) => isal.xor(stripe, times),
            (Self::Isal(isal), Sum::PAndQ) => isal.pq(stripe, times),
            (Self::Ours(kernel), Sum::Xor) => stripe.xor(kernel, times),
            (Self::Ours(kernel), Sum::PAndQ) => stripe.pq(kernel, times),
        }
    }

    /// Gigabytes of data per second, in one turn.
    fn rate(self, sum: Sum, stripe: &mut Stripe) -> f64 {
        let times = CLOCK / (stripe.length() * stripe.disks()) + 1;
        self.compute(sum, stripe, 1);
        let (start, mut stripes) = (Instant::now(), 0_usize);
        while start.elapsed() < TURN {
            self.compute(sum, stripe, times);
            stripes += times;
        }
        (stripes * stripe.length() * stripe.disks()) as f64 / start.elapsed().as_secs_f64() / 1e9
    }
}

fn main() {
    let rounds = std::env::args().nth(1).map_or(Ok(41), |rounds| rounds.parse());
    let Ok(rounds) = rounds else {
        eprintln!("usage: parity [ROUNDS]");
        std::process::exit(2);
    };
    let isal = Isal::load();
    if isal.is_none() {
        println!("libisal.so.2 is not installed (Debian: libisal2): there are no ratios");
    }
    let ours = Kernel::usable().map(Competitor::Ours);
    let competitors: Vec<Competitor> = isal.map(Competitor::Isal).into_iter().chain(ours).collect();
    let names: Vec<_> = competitors.iter().map(|one| format!("{:>11}", one.name())).collect();
    println!("GB/s of data, {rounds} rounds; chosen: {}", Kernel::chosen());
    println!("sum     disks    block {}  x libisal", names.concat());
    for sum in [Sum::Xor, Sum::PAndQ] {
        for (length, disks) in LENGTHS.into_iter().flat_map(|l| DISKS.map(|disks| (l, disks))) {
            let mut stripe = Stripe::new(disks, length);
            expect_equal(&competitors, sum, &mut stripe);
            let rates = measure(&competitors, sum, &mut stripe, rounds);
            let medians: Vec<_> = rates
                .iter()
                .map(|rates| format!("{:11.1}", median(rates.iter().copied())))
                .collect();
            let ratio = match (&rates[..], isal) {
                ([isal, .., chosen], Some(_)) => {
                    let ratios = chosen.iter().zip(isal).map(|(ours, isal)| ours / isal);
                    format!("{:.2}", median(ratios))
                }
                _ => "-".to_owned(),
            };
            let kib = length >> 10;
            println!("{sum:<6?} {disks:>5} {kib:>5} KiB {}  {ratio:>9}", medians.concat());
        }
    }
}

/// The rates of each competitor, round by round.
fn measure(
    competitors: &[Competitor],
    sum: Sum,
    stripe: &mut Stripe,
    rounds: usize,
) -> Vec<Vec<f64>> {
    let mut rates = vec![Vec::new(); competitors.len()];
    for round in 0..rounds {
        for turn in 0..competitors.len() {
            let which = (turn + round) % competitors.len();
            rates[which].push(competitors[which].rate(sum, stripe));
        }
    }
    rates
}

/// All compute the same bytes, or there is nothing to compare.
fn expect_equal(competitors: &[Competitor], sum: Sum, stripe: &mut Stripe) {
    let mut expected: Option<Vec<u8>> = None;
    for competitor in competitors {
        for parity in stripe.blocks_mut().into_iter().rev().take(2) {
            parity.fill(0x5a);
        }
        competitor.compute(sum, stripe, 1);
        let found = stripe.blocks_mut().into_iter().rev().take(2).flat_map(|block| block.to_vec());
        let found: Vec<u8> = found.collect();
        let expected = expected.get_or_insert_with(|| found.clone());
        assert!(*expected == found, "{} computes something else", competitor.name());
    }
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}
