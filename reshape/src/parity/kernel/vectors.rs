//! The loops of all kernels with vectors, written once.
//!
//! A module that calls [`vector_kernel`] brings what differs between processors:
//!
//! | name | what |
//! |---|---|
//! | `Vector`, `WIDTH` | a vector and its number of bytes |
//! | `VECTORS` | how many vectors of a block make up a column: as many as the registers hold sums |
//! | `load`, `store` | a vector from and to `WIDTH` bytes at any address |
//! | `splat` | the vector of one byte again and again |
//! | `add`, `add3` | the sum (XOR) of two and of three vectors |
//! | `is_zero` | whether no bit is set |
//! | `BIAS`, `double_add` | one step of Horner's sum: see below |
//! | `Factor`, `factor`, `multiply` | multiplication of a vector by a constant |
//!
//! # Horner's sum with a bias
//!
//! A byte is doubled by shifting it and adding the polynomial's rest 0x1d *if* its highest bit was
//! set. The instruction that looks bytes up in a table of 16 gives zero for an index with the
//! highest bit set, so a table of 0x1d adds the rest if the bit was **not** set, which is one
//! constant too much each time and one instruction less than asking properly. The constant is no
//! trouble: a sum that is off by the byte c with c = 2c + 0x1d stays off by exactly c at every
//! step. So the sum starts at c ([`TABLE_BIAS`]) and c is added again at the end. `BIAS` is zero
//! where a kernel doubles properly.
//!
//! # Safety
//!
//! 1. The functions of a kernel need instructions that a processor may lack. A kernel's type cannot
//!    be made but by its `detect`, which asks the processor. All calls go through that type.
//! 2. Memory is touched through references to arrays of `WIDTH` bytes only, in `load` and `store`.
//!    What a column is, is decided by slicing, with all checks.

#[cfg(target_arch = "x86_64")]
use crate::parity::gf;

/// The byte c for which c = 2c + 0x1d.
#[cfg(target_arch = "x86_64")]
pub(super) const TABLE_BIAS: u8 = {
    let mut bias = 0;
    while gf::double(bias) ^ gf::REST != bias {
        bias += 1;
    }
    bias
};

/// Makes a kernel `$kernel` of the primitives around the call, for processors with `$features`.
macro_rules! vector_kernel {
    ($kernel:ident, $name:literal, $features:literal, $detected:expr) => {
        /// Proof that the processor has the instructions of this kernel.
        #[derive(Debug)]
        pub(in crate::parity::kernel) struct $kernel(());

        static KERNEL: $kernel = $kernel(());

        impl $kernel {
            /// The kernel, if this processor has what it needs.
            pub(in crate::parity::kernel) fn detect() -> Option<&'static dyn Columns> {
                if $detected { Some(&KERNEL) } else { None }
            }
        }

        impl Columns for $kernel {
            fn name(&self) -> &'static str {
                $name
            }

            fn xor(&self, to: &mut [u8], sources: &[&[u8]]) {
                // SAFETY: 1, the instructions are there because `self` is.
                let done = unsafe { xor(to, sources) };
                scalar::xor(done, to, sources);
            }

            fn xor_into(&self, to: &mut [u8], sources: &[&[u8]]) {
                // SAFETY: 1, the instructions are there because `self` is.
                let done = unsafe { xor_into(to, sources) };
                scalar::xor_into(done, to, sources);
            }

            fn xors_to_zero(&self, blocks: &[&[u8]]) -> bool {
                // SAFETY: 1, the instructions are there because `self` is.
                let agreed = unsafe { xors_to_zero(blocks) };
                agreed.is_some_and(|done| scalar::xors_to_zero(done, blocks))
            }

            fn pq(&self, data: &ByIndex<'_>, p: &mut [u8], q: &mut [u8]) {
                // SAFETY: 1, the instructions are there because `self` is.
                let done = unsafe { pq(data, p, q) };
                scalar::pq(done, data, p, q);
            }

            fn pq_agree(&self, data: &ByIndex<'_>, p: &[u8], q: &[u8]) -> bool {
                // SAFETY: 1, the instructions are there because `self` is.
                let agreed = unsafe { pq_agree(data, p, q) };
                agreed.is_some_and(|done| scalar::pq_agree(done, data, p, q))
            }

            fn solve(&self, system: System<'_>, mut outputs: [Option<&mut [u8]>; 2]) {
                // SAFETY: 1, the instructions are there because `self` is.
                let done = unsafe { solve(system, &mut outputs) };
                scalar::solve(done, system, outputs);
            }

            fn update(&self, factor: u8, old_new: [&[u8]; 2], mut pq: [Option<&mut [u8]>; 2]) {
                // SAFETY: 1, the instructions are there because `self` is.
                let done = unsafe { update(factor, old_new, &mut pq) };
                scalar::update(done, factor, old_new, pq);
            }
        }

        /// Bytes of a column.
        const COLUMN: usize = VECTORS * WIDTH;

        type Column = [Vector; VECTORS];

        // Each of these does the whole columns and returns where they end; those that compare
        // return `None` as soon as a column differs.

        #[target_feature(enable = $features)]
        fn xor(to: &mut [u8], sources: &[&[u8]]) -> usize {
            let whole = whole_columns(to.len());
            for at in (0..whole).step_by(COLUMN) {
                let sum = add_all(zero(), sources, at);
                store_column(to, at, sum);
            }
            whole
        }

        #[target_feature(enable = $features)]
        fn xor_into(to: &mut [u8], sources: &[&[u8]]) -> usize {
            let whole = whole_columns(to.len());
            for at in (0..whole).step_by(COLUMN) {
                let sum = add_all(load_column(to, at), sources, at);
                store_column(to, at, sum);
            }
            whole
        }

        #[target_feature(enable = $features)]
        fn xors_to_zero(blocks: &[&[u8]]) -> Option<usize> {
            let whole = whole_columns(blocks.first().map_or(0, |block| block.len()));
            for at in (0..whole).step_by(COLUMN) {
                if !all_zero(add_all(zero(), blocks, at)) {
                    return None;
                }
            }
            Some(whole)
        }

        #[target_feature(enable = $features)]
        fn pq(data: &ByIndex<'_>, p: &mut [u8], q: &mut [u8]) -> usize {
            let whole = whole_columns(p.len());
            for at in (0..whole).step_by(COLUMN) {
                let (sum, weighted) = syndromes(data, at);
                store_column(p, at, sum);
                store_column(q, at, weighted);
            }
            whole
        }

        #[target_feature(enable = $features)]
        fn pq_agree(data: &ByIndex<'_>, p: &[u8], q: &[u8]) -> Option<usize> {
            let whole = whole_columns(p.len());
            for at in (0..whole).step_by(COLUMN) {
                let (mut sum, mut weighted) = syndromes(data, at);
                add_to(&mut sum, load_column(p, at));
                add_to(&mut weighted, load_column(q, at));
                if !all_zero(sum) || !all_zero(weighted) {
                    return None;
                }
            }
            Some(whole)
        }

        #[target_feature(enable = $features)]
        fn solve(system: System<'_>, outputs: &mut [Option<&mut [u8]>; 2]) -> usize {
            let System { data, p, q, matrix } = system;
            let length = outputs.iter().flatten().next().map_or(0, |output| output.len());
            let whole = whole_columns(length);
            let [[pu, pv], [qu, qv]] = matrix;
            let factors = [[factor(pu), factor(pv)], [factor(qu), factor(qv)]];
            for at in (0..whole).step_by(COLUMN) {
                let (mut u, mut v) = syndromes(data, at);
                if let Some(p) = p {
                    add_to(&mut u, load_column(p, at));
                }
                if let Some(q) = q {
                    add_to(&mut v, load_column(q, at));
                }
                for (factors, output) in factors.iter().zip(outputs.iter_mut()) {
                    let Some(output) = output else { continue };
                    let mut answer = u;
                    for (answer, v) in answer.iter_mut().zip(v) {
                        *answer = add(multiply(&factors[0], *answer), multiply(&factors[1], v));
                    }
                    store_column(output, at, answer);
                }
            }
            whole
        }

        #[target_feature(enable = $features)]
        fn update(weight: u8, [old, new]: [&[u8]; 2], pq: &mut [Option<&mut [u8]>; 2]) -> usize {
            let whole = whole_columns(old.len());
            let weight = factor(weight);
            let [p, q] = pq;
            for at in (0..whole).step_by(COLUMN) {
                let mut delta = load_column(old, at);
                add_to(&mut delta, load_column(new, at));
                if let Some(p) = p {
                    let mut sum = load_column(p, at);
                    add_to(&mut sum, delta);
                    store_column(p, at, sum);
                }
                if let Some(q) = q {
                    let mut sum = load_column(q, at);
                    for (sum, delta) in sum.iter_mut().zip(delta) {
                        *sum = add(*sum, multiply(&weight, delta));
                    }
                    store_column(q, at, sum);
                }
            }
            whole
        }

        /// The columns at `at` of P and Q.
        #[inline]
        #[target_feature(enable = $features)]
        fn syndromes(data: &ByIndex<'_>, at: usize) -> (Column, Column) {
            let Some((highest, lower)) = data.split_last() else { return (zero(), zero()) };
            let bias = [splat(BIAS); VECTORS];
            let mut p = zero();
            if let Some(highest) = highest {
                p = load_column(highest, at);
            }
            let mut q = p;
            add_to(&mut q, bias);
            for block in lower.iter().rev() {
                if let Some(block) = block {
                    let column = load_column(block, at);
                    add_to(&mut p, column);
                    double_add_to(&mut q, column);
                } else {
                    double_add_to(&mut q, zero());
                }
            }
            add_to(&mut q, bias);
            (p, q)
        }

        /// `start` and the sum of the blocks' columns at `at`.
        #[inline]
        #[target_feature(enable = $features)]
        fn add_all(start: Column, blocks: &[&[u8]], at: usize) -> Column {
            let mut sum = start;
            let (pairs, last) = blocks.as_chunks();
            for [one, other] in pairs {
                let (one, other) = (load_column(one, at), load_column(other, at));
                for (sum, (one, other)) in sum.iter_mut().zip(one.into_iter().zip(other)) {
                    *sum = add3(*sum, one, other);
                }
            }
            for last in last {
                add_to(&mut sum, load_column(last, at));
            }
            sum
        }

        #[inline]
        #[target_feature(enable = $features)]
        fn zero() -> Column {
            [splat(0); VECTORS]
        }

        #[inline]
        #[target_feature(enable = $features)]
        fn add_to(to: &mut Column, column: Column) {
            for (to, vector) in to.iter_mut().zip(column) {
                *to = add(*to, vector);
            }
        }

        #[inline]
        #[target_feature(enable = $features)]
        fn double_add_to(to: &mut Column, column: Column) {
            for (to, vector) in to.iter_mut().zip(column) {
                *to = double_add(*to, vector);
            }
        }

        #[inline]
        #[target_feature(enable = $features)]
        fn all_zero(column: Column) -> bool {
            let mut union = column[0];
            for vector in &column[1..] {
                union = or(union, *vector);
            }
            is_zero(union)
        }

        #[inline]
        #[target_feature(enable = $features)]
        fn load_column(block: &[u8], at: usize) -> Column {
            let mut column = zero();
            let (vectors, _) = block[at..at + COLUMN].as_chunks();
            for (vector, bytes) in column.iter_mut().zip(vectors) {
                *vector = load(bytes);
            }
            column
        }

        #[inline]
        #[target_feature(enable = $features)]
        fn store_column(block: &mut [u8], at: usize, column: Column) {
            let (vectors, _) = block[at..at + COLUMN].as_chunks_mut();
            for (bytes, vector) in vectors.iter_mut().zip(column) {
                store(bytes, vector);
            }
        }

        /// How many bytes of `length` are in whole columns.
        fn whole_columns(length: usize) -> usize {
            length - length % COLUMN
        }
    };
}

pub(super) use vector_kernel;
