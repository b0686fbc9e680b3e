//! Every kernel beside the simplest arithmetic there is.

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::Index;

use super::*;

/// What is lost of a stripe: blocks by their position, the data ones first, then P, then Q.
type Lost = [usize; 2];

/// The product by long multiplication and division, bit by bit; shares nothing with the tables.
fn naive_product(a: u8, b: u8) -> u8 {
    let mut product = (0..8)
        .filter(|bit| b >> bit & 1 == 1)
        .fold(0_u16, |product, bit| product ^ u16::from(a) << bit);
    for bit in (8..16).rev() {
        if product >> bit & 1 == 1 {
            product ^= 0x11d << (bit - 8);
        }
    }
    u8::try_from(product).expect("the division left a byte")
}

fn naive_power(index: u32) -> u8 {
    (0..index).fold(1, |power, _| naive_product(power, 2))
}

fn naive_pq(data: &[Data<'_>], length: usize) -> [Vec<u8>; 2] {
    let mut pq = [vec![0; length], vec![0; length]];
    for data in data {
        let weight = naive_power(data.index);
        let products: Vec<u8> = (0..=255).map(|byte| naive_product(weight, byte)).collect();
        for (at, byte) in data.bytes.iter().enumerate() {
            pq[0][at] ^= byte;
            pq[1][at] ^= products[usize::from(*byte)];
        }
    }
    pq
}

/// Blocks of one length that begin anywhere in memory, with indexes in some order, some left out.
#[derive(Clone, Debug)]
struct Blocks {
    indexes: Vec<u32>,
    seed: u64,
    length: usize,
    shifts: Vec<usize>,
    buffers: Vec<Vec<u8>>,
}

impl Blocks {
    fn new(indexes: Vec<u32>, length: usize, shifts: &[usize], seed: u64) -> Self {
        let mut state = seed | 1;
        let mut byte = || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state.to_le_bytes()[3]
        };
        let shifts: Vec<usize> = (0..indexes.len()).map(|at| shifts[at % shifts.len()]).collect();
        let fill = |shift: &usize| (0..shift + length).map(|_| byte()).collect();
        let buffers = shifts.iter().map(fill).collect();
        Self { indexes, seed, length, shifts, buffers }
    }

    fn bytes(&self) -> Vec<&[u8]> {
        self.shifts.iter().zip(&self.buffers).map(|(shift, buffer)| &buffer[*shift..]).collect()
    }

    fn data(&self) -> Vec<Data<'_>> {
        let data = self.indexes.iter().zip(self.bytes());
        data.map(|(index, bytes)| Data { index: *index, bytes }).collect()
    }

    /// The first byte of the outputs, too, need not be aligned.
    fn output(&self) -> (Vec<u8>, usize) {
        let shift = self.shifts.last().map_or(0, |shift| shift * 7 % 64);
        (vec![0xa5; self.length + shift], shift)
    }

    /// The stripe as [`fill`] takes it, with `lost` wanted in `outputs`.
    fn fill(&self, kernel: Kernel, pq: &[Vec<u8>; 2], lost: Lost) -> [Vec<u8>; 2] {
        let (mut first, shift) = self.output();
        let mut second = first.clone();
        let mut outputs = [Some(&mut first[shift..]), Some(&mut second[shift..])];
        let mut blocks: Vec<Block<'_>> = Vec::new();
        let data = self.data();
        let data = data.iter().map(|data| (Role::Data(data.index), data.bytes));
        for (at, (role, bytes)) in
            data.chain([(Role::P, &pq[0][..]), (Role::Q, &pq[1])]).enumerate()
        {
            blocks.push(match lost.iter().position(|lost| *lost == at) {
                Some(which) => Block::wanted(role, outputs[which].take().expect("lost once")),
                None => Block::known(role, bytes),
            });
        }
        // In another order than that of the indexes.
        let middle = blocks.len() / 2;
        blocks.rotate_left(middle);
        kernel.fill(&mut blocks).expect("two may be lost");
        [first[shift..].to_vec(), second[shift..].to_vec()]
    }
}

fn any_blocks(disks: std::ops::RangeInclusive<usize>) -> impl Strategy<Value = Blocks> {
    let length = prop_oneof![0_usize..600, 0_usize..5000, Just(4096), Just(512)];
    let indexes = prop_oneof![
        3 => disks.clone().prop_map(|disks| (0..disks).map(number).collect::<Vec<_>>()).boxed(),
        1 => disks.clone().prop_map(|disks| (0..disks).map(number).rev().collect()).boxed(),
        2 => vec(0_u32..40, disks).prop_map(distinct).boxed(),
        1 => vec(0_u32..INDEXES, 1..5).prop_map(distinct).boxed(),
    ];
    (indexes, length, vec(0_usize..65, 4), any::<u64>())
        .prop_map(|(indexes, length, shifts, seed)| Blocks::new(indexes, length, &shifts, seed))
}

fn number(count: usize) -> u32 {
    u32::try_from(count).expect("few")
}

fn distinct(mut indexes: Vec<u32>) -> Vec<u32> {
    let mut seen = std::collections::BTreeSet::new();
    indexes.retain(|index| seen.insert(*index));
    indexes
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    #[test]
    fn kernels_compute_p_and_q_like_the_naive_sum_for_all(blocks in any_blocks(0..=30)) {
        let expected = naive_pq(&blocks.data(), blocks.length);
        for kernel in Kernel::usable() {
            let (mut p, shift) = blocks.output();
            let mut q = p.clone();
            kernel.pq(&blocks.data(), &mut p[shift..], &mut q[shift..]);
            prop_assert!(p[shift..] == expected[0], "{kernel}: P");
            prop_assert!(q[shift..] == expected[1], "{kernel}: Q");
            prop_assert!(p[..shift].iter().chain(&q[..shift]).all(|byte| *byte == 0xa5));
        }
    }

    #[test]
    fn kernels_xor_like_the_naive_sum_for_all(blocks in any_blocks(0..=30)) {
        let [expected, _] = naive_pq(&blocks.data(), blocks.length);
        for kernel in Kernel::usable() {
            let (mut sum, shift) = blocks.output();
            kernel.xor(&mut sum[shift..], &blocks.bytes());
            prop_assert!(sum[shift..] == expected, "{kernel}: xor");
            let mut all = blocks.bytes();
            all.push(&expected);
            prop_assert!(kernel.xors_to_zero(&all), "{kernel}: xors_to_zero");
            kernel.xor_into(&mut sum[shift..], &blocks.bytes());
            prop_assert!(sum[shift..].iter().all(|byte| *byte == 0), "{kernel}: xor_into");
        }
    }

    #[test]
    fn two_lost_blocks_come_back_for_all(
        blocks in any_blocks(1..=20), x in any::<Index>(), y in any::<Index>(),
    ) {
        let pq = naive_pq(&blocks.data(), blocks.length);
        let members = blocks.indexes.len() + 2;
        let lost = [x.index(members), y.index(members)];
        prop_assume!(lost[0] != lost[1]);
        let all: Vec<&[u8]> = blocks.bytes().into_iter().chain([&pq[0][..], &pq[1]]).collect();
        for kernel in Kernel::usable() {
            let found = blocks.fill(kernel, &pq, lost);
            prop_assert!(found[0] == all[lost[0]], "{kernel}: first of {lost:?}");
            prop_assert!(found[1] == all[lost[1]], "{kernel}: second of {lost:?}");
        }
    }

    #[test]
    fn update_gives_what_computing_anew_gives_for_all(
        mut blocks in any_blocks(1..=12), which in any::<Index>(), seed in any::<u64>(),
    ) {
        let which = which.index(blocks.indexes.len());
        let before = naive_pq(&blocks.data(), blocks.length);
        let old = blocks.bytes()[which].to_vec();
        let new = Blocks::new(vec![0], blocks.length, &[0], seed).buffers.remove(0);
        blocks.buffers[which] = new.clone();
        blocks.shifts[which] = 0;
        let after = naive_pq(&blocks.data(), blocks.length);
        for kernel in Kernel::usable() {
            let change = Change { index: blocks.indexes[which], old: &old, new: &new };
            let [mut p, mut q] = before.clone();
            kernel.update(change, Some(&mut p), Some(&mut q));
            prop_assert!([p, q] == after, "{kernel}");
            let mut p = before[0].clone();
            kernel.update(Change { index: 1000, ..change }, Some(&mut p), None);
            prop_assert!(p == after[0], "{kernel}: without Q");
        }
    }

    #[test]
    fn check_finds_one_wrong_byte_wherever_it_is_for_all(
        mut blocks in any_blocks(1..=20), which in any::<Index>(), at in any::<Index>(), by in 1_u8..,
    ) {
        prop_assume!(blocks.length > 0);
        let mut pq = naive_pq(&blocks.data(), blocks.length);
        let (which, at) = (which.index(blocks.indexes.len() + 2), at.index(blocks.length));
        for kernel in Kernel::usable() {
            prop_assert_eq!(kernel.check(&blocks.data(), &pq[0], &pq[1]), Verdict::Consistent);
        }
        let expected = match which.checked_sub(blocks.indexes.len()) {
            None => {
                let shift = blocks.shifts[which];
                blocks.buffers[which][shift + at] ^= by;
                Verdict::Data(blocks.indexes[which])
            }
            Some(parity) => {
                pq[parity][at] ^= by;
                [Verdict::P, Verdict::Q][parity]
            }
        };
        for kernel in Kernel::usable() {
            prop_assert_eq!(kernel.check(&blocks.data(), &pq[0], &pq[1]), expected, "{}", kernel);
            let mut all = blocks.bytes();
            all.push(&pq[0]);
            prop_assert_eq!(kernel.xors_to_zero(&all), expected == Verdict::Q, "{}", kernel);
        }
    }

    #[test]
    fn two_wrong_blocks_are_several_for_all(
        mut blocks in any_blocks(2..=20), which in any::<Index>(), seed in any::<u64>(),
    ) {
        // In 64 random bytes two wrong blocks do not look like one, but for a chance of 2^-500.
        prop_assume!(blocks.length >= 64 && blocks.indexes.len() >= 2);
        let pq = naive_pq(&blocks.data(), blocks.length);
        let first = which.index(blocks.indexes.len());
        let second = (first + 1) % blocks.indexes.len();
        let other = Blocks::new(vec![0, 1], blocks.length, &[0], seed ^ blocks.seed.rotate_left(9));
        for (wrong, other) in [first, second].into_iter().zip(other.buffers) {
            blocks.buffers[wrong] = other;
            blocks.shifts[wrong] = 0;
        }
        for kernel in Kernel::usable() {
            let verdict = kernel.check(&blocks.data(), &pq[0], &pq[1]);
            prop_assert_eq!(verdict, Verdict::Several, "{}", kernel);
        }
    }
}

#[test]
fn every_pair_of_lost_members_comes_back() {
    for disks in [1, 2, 3, 5, 9] {
        // A number of bytes that leaves a rest behind every width of vectors.
        let blocks = Blocks::new((0..disks).collect(), 1091, &[0, 3, 64, 1], u64::from(disks));
        let pq = naive_pq(&blocks.data(), blocks.length);
        let all: Vec<&[u8]> = blocks.bytes().into_iter().chain([&pq[0][..], &pq[1]]).collect();
        for (x, y) in (0..all.len()).flat_map(|x| (0..x).map(move |y| (x, y))) {
            for kernel in Kernel::usable() {
                let found = blocks.fill(kernel, &pq, [x, y]);
                assert_eq!(found[0], all[x], "{kernel}: {disks} disks, {x} of {x} and {y}");
                assert_eq!(found[1], all[y], "{kernel}: {disks} disks, {y} of {x} and {y}");
            }
        }
    }
}

#[test]
fn all_indexes_that_there_are_can_be_used() {
    let blocks = Blocks::new((0..INDEXES).collect(), 300, &[0, 5], 77);
    let expected = naive_pq(&blocks.data(), blocks.length);
    for kernel in Kernel::usable() {
        let (mut p, mut q) = (vec![0; blocks.length], vec![0; blocks.length]);
        kernel.pq(&blocks.data(), &mut p, &mut q);
        assert_eq!([p, q], expected, "{kernel}");
        let found = blocks.fill(kernel, &expected, [0, 254]);
        assert_eq!(found, [blocks.bytes()[0], blocks.bytes()[254]], "{kernel}");
    }
}

#[test]
fn every_lost_block_comes_back_from_either_parity() {
    let blocks = Blocks::new(vec![4, 0, 7, 2], 777, &[0, 9], 5);
    let pq = naive_pq(&blocks.data(), blocks.length);
    for (lost, expected) in blocks.bytes().into_iter().enumerate() {
        for (kernel, parity) in Kernel::usable().flat_map(|kernel| [(kernel, 0), (kernel, 1)]) {
            let mut found = vec![0x5a; blocks.length];
            let mut stripe: Vec<Block<'_>> = blocks
                .data()
                .iter()
                .map(|data| Block::known(Role::Data(data.index), data.bytes))
                .collect();
            stripe[lost] = Block::wanted(stripe[lost].role, &mut found);
            stripe.push(match parity {
                0 => Block::known(Role::P, &pq[0]),
                _ => Block::known(Role::Q, &pq[1]),
            });
            kernel.fill(&mut stripe).expect("one is lost, one parity is there");
            assert_eq!(found, expected, "{kernel}: block {lost} from parity {parity}");
        }
    }
}

#[test]
fn a_block_nobody_asks_for_need_not_be_given_room() {
    let blocks = Blocks::new(vec![0, 1, 2], 513, &[0], 8);
    let pq = naive_pq(&blocks.data(), blocks.length);
    let data = blocks.bytes();
    for kernel in Kernel::usable() {
        let mut found = vec![0; blocks.length];
        let mut stripe = [
            Block::missing(Role::Data(0)),
            Block::known(Role::Data(1), data[1]),
            Block::wanted(Role::Data(2), &mut found),
            Block::known(Role::P, &pq[0]),
            Block::known(Role::Q, &pq[1]),
        ];
        kernel.fill(&mut stripe).expect("two may be lost");
        assert_eq!(found, data[2], "{kernel}");
    }
}

#[test]
fn parity_of_a_degraded_stripe_is_computed_without_its_lost_block() {
    let blocks = Blocks::new(vec![0, 1, 2], 100, &[0], 9);
    let pq = naive_pq(&blocks.data(), blocks.length);
    let data = blocks.bytes();
    for kernel in Kernel::usable() {
        for (given, wanted) in [(0, 1), (1, 0)] {
            let role = [Role::P, Role::Q];
            let mut found = vec![0; blocks.length];
            let mut stripe = [
                Block::known(Role::Data(0), data[0]),
                Block::missing(Role::Data(1)),
                Block::known(Role::Data(2), data[2]),
                Block::known(role[given], &pq[given]),
                Block::wanted(role[wanted], &mut found),
            ];
            kernel.fill(&mut stripe).expect("one is lost, one parity is there");
            assert_eq!(found, pq[wanted], "{kernel}");
        }
    }
}

#[test]
fn too_many_missing_blocks_are_refused_and_nothing_is_changed() {
    let known = [7; 8];
    let mut first = [1; 8];
    let mut second = [2; 8];
    let mut stripe = [
        Block::wanted(Role::Data(0), &mut first),
        Block::wanted(Role::Data(1), &mut second),
        Block::known(Role::Data(2), &known),
        Block::known(Role::P, &known),
    ];
    assert_eq!(fill(&mut stripe), Err(TooManyMissing { data: 2, parities: 1 }));
    assert_eq!((first, second), ([1; 8], [2; 8]));
}

#[test]
fn stripe_in_which_nothing_is_wanted_is_left_alone() {
    let mut stripe = [Block::missing(Role::Data(0)), Block::missing(Role::Data(1))];
    assert_eq!(fill(&mut stripe), Ok(()));
    assert_eq!(fill(&mut []), Ok(()));
}

#[test]
fn xor_stripes_have_any_number_of_disks_whatever_the_indexes() {
    let blocks = Blocks::new((0..400).collect(), 129, &[0, 1], 3);
    let [p, _] = naive_pq(&blocks.data()[..0], blocks.length);
    let p = blocks.bytes().iter().fold(p, |mut p, block| {
        p.iter_mut().zip(*block).for_each(|(p, byte)| *p ^= byte);
        p
    });
    for kernel in Kernel::usable() {
        let mut found = vec![0; blocks.length];
        let known = blocks.bytes().into_iter().skip(1);
        let mut stripe: Vec<Block<'_>> =
            known.map(|bytes| Block::known(Role::Data(0), bytes)).collect();
        stripe.push(Block::known(Role::P, &p));
        stripe.push(Block::wanted(Role::Data(999), &mut found));
        kernel.fill(&mut stripe).expect("one is lost, P is there");
        assert_eq!(found, blocks.bytes()[0], "{kernel}");
    }
}

#[test]
fn vectors_of_md_hold() {
    let pq_of = |data: &[(u32, u8)]| {
        let bytes: Vec<[u8; 1]> = data.iter().map(|(_, byte)| [*byte]).collect();
        let data: Vec<Data<'_>> = data
            .iter()
            .zip(&bytes)
            .map(|((index, _), bytes)| Data { index: *index, bytes })
            .collect();
        Kernel::usable().for_each(|kernel| {
            let ([mut p, mut q], [mut p2, mut q2]) = ([[0], [0]], [[0], [0]]);
            kernel.pq(&data, &mut p, &mut q);
            Kernel::scalar().pq(&data, &mut p2, &mut q2);
            assert_eq!((p, q), (p2, q2), "{kernel}");
        });
        let ([mut p], [mut q]) = ([[0]], [[0]]);
        pq(&data, &mut p, &mut q);
        (p[0], q[0])
    };
    assert_eq!(pq_of(&[(0, 0x11), (1, 0x22), (2, 0x33)]), (0x00, 0x99));
    // Double parity counted by disk positions: P and Q are at 0 and 1.
    assert_eq!(pq_of(&[(2, 0x11), (3, 0x22), (4, 0x33)]), (0x00, 0x5e));
    let [a, b, c] = [1, 2, 4];
    assert_eq!(pq_of(&[(0, a), (1, b), (2, c)]), (7, 0x15));
    assert_eq!(pq_of(&[(0, c), (1, a), (2, b)]), (7, 0x0e));
    assert_eq!(pq_of(&[(0, b), (1, c), (2, a)]), (7, 0x0e));
    assert_eq!(pq_of(&[(0, a), (3, b), (4, c)]), (7, 0x51));
    assert_eq!(pq_of(&[(0, b), (1, c), (4, a)]), (7, 0x1a));
}

#[test]
fn an_index_the_stripe_does_not_have_means_several() {
    let (data, mut p) = ([[3], [5]], [6]);
    let data = [Data { index: 0, bytes: &data[0] }, Data { index: 1, bytes: &data[1] }];
    let mut q = [3 ^ naive_product(2, 5)];
    assert_eq!(check(&data, &p, &q), Verdict::Consistent);
    p[0] ^= 1;
    q[0] ^= naive_power(9);
    assert_eq!(locate(&[1], &[naive_power(9)]), Verdict::Data(9));
    assert_eq!(check(&data, &p, &q), Verdict::Several);
}

#[test]
fn verdicts_on_parts_add_up() {
    let all = [
        Verdict::Consistent,
        Verdict::P,
        Verdict::Q,
        Verdict::Data(0),
        Verdict::Data(1),
        Verdict::Several,
    ];
    for (at, one) in all.into_iter().enumerate() {
        for (other_at, other) in all.into_iter().enumerate() {
            let expected = match (at, other_at) {
                (0, _) => other,
                (_, 0) => one,
                (a, b) if a == b => one,
                _ => Verdict::Several,
            };
            assert_eq!(one.and(other), expected);
        }
    }
}

#[test]
#[should_panic(expected = "one length")]
fn blocks_of_two_lengths_are_a_bug() {
    xor(&mut [0; 4], &[&[0; 4], &[0; 5]]);
}

#[test]
#[should_panic(expected = "have the syndrome index 3")]
fn equal_indexes_are_a_bug() {
    let data = [Data { index: 3, bytes: &[1] }, Data { index: 3, bytes: &[2] }];
    pq(&data, &mut [0], &mut [0]);
}

#[test]
#[should_panic(expected = "not below 255")]
fn indexes_that_repeat_are_a_bug() {
    pq(&[Data { index: 255, bytes: &[1] }], &mut [0], &mut [0]);
}

#[test]
fn kernels_are_found_by_their_names() {
    for kernel in Kernel::usable() {
        assert_eq!(Kernel::by_name(kernel.name()), Some(kernel));
    }
    assert_eq!(Kernel::by_name("abacus"), None);
    assert_eq!(Kernel::usable().last(), Some(Kernel::chosen()));
    assert_eq!(Kernel::chosen().force(), Ok(()));
}
