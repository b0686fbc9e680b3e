//! The kernels: the same few loops over columns of bytes, for different processors.
//!
//! A kernel takes a column of some bytes through all blocks of a stripe before it goes on to the
//! next column, so that each byte is loaded once and the sums stay in registers.
//! Q is a Horner sum from the highest index down: double, add the next block.

#[cfg(target_arch = "aarch64")]
#[expect(unsafe_code, reason = "loads, stores, calls after detection: see `vectors`")]
mod neon;
mod scalar;
#[cfg(any(target_arch = "aarch64", target_arch = "x86_64"))]
mod vectors;
#[cfg(target_arch = "x86_64")]
#[expect(unsafe_code, reason = "loads, stores, calls after detection: see `vectors`")]
mod x86;

use std::fmt;
use std::sync::OnceLock;

use super::ByIndex;
pub(super) use scalar::Deltas;

/// One way to compute, which this processor is able to go.
#[derive(Clone, Copy)]
pub struct Kernel(&'static dyn Columns);

static CHOSEN: OnceLock<Kernel> = OnceLock::new();

impl Kernel {
    /// The kernel that the functions of [`parity`](super) run on: the fastest of this processor,
    /// unless another was [forced](Self::force).
    pub fn chosen() -> Self {
        *CHOSEN.get_or_init(|| Self::usable().last().unwrap_or_else(Self::scalar))
    }

    /// The one that runs everywhere, and that the others are compared with.
    pub fn scalar() -> Self {
        Self(&scalar::Scalar)
    }

    /// All that this processor is able to run, slowest first.
    pub fn usable() -> impl Iterator<Item = Self> {
        [Self::scalar()].into_iter().chain(vectors().into_iter().flatten().map(Self))
    }

    /// The usable kernel of this name.
    pub fn by_name(name: &str) -> Option<Self> {
        Self::usable().find(|kernel| kernel.name() == name)
    }

    /// Makes this the chosen one of the whole process.
    ///
    /// # Errors
    ///
    /// The kernel that was chosen already, by an earlier call of this function or by the first
    /// computation.
    pub fn force(self) -> Result<(), Self> {
        let chosen = *CHOSEN.get_or_init(|| self);
        if chosen == self { Ok(()) } else { Err(chosen) }
    }

    /// Its name: `scalar`, `ssse3`, `avx2`, `avx2-gfni`, `avx512`, `avx512-gfni` or `neon`.
    pub fn name(self) -> &'static str {
        self.0.name()
    }

    pub(super) fn columns(self) -> &'static dyn Columns {
        self.0
    }
}

/// The kernels with vectors, slowest first, as far as this processor has them.
#[cfg(target_arch = "x86_64")]
fn vectors() -> [Option<&'static dyn Columns>; 5] {
    [
        x86::ssse3::Ssse3::detect(),
        x86::avx2::Avx2::detect(),
        x86::avx2_gfni::Avx2Gfni::detect(),
        x86::avx512::Avx512::detect(),
        x86::avx512_gfni::Avx512Gfni::detect(),
    ]
}

/// The kernels with vectors, as far as this processor has them.
#[cfg(target_arch = "aarch64")]
fn vectors() -> [Option<&'static dyn Columns>; 1] {
    [neon::Neon::detect()]
}

/// None are known for this processor.
#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
fn vectors() -> [Option<&'static dyn Columns>; 0] {
    []
}

impl PartialEq for Kernel {
    fn eq(&self, other: &Self) -> bool {
        self.name() == other.name()
    }
}

impl Eq for Kernel {}

impl fmt::Debug for Kernel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Kernel({})", self.name())
    }
}

impl fmt::Display for Kernel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A stripe of which something is unknown, and how the unknown follows from the syndromes.
///
/// With u = P + the data's P and v = Q + the data's Q (a P or Q that is not given counts as zero),
/// output k is `matrix[k][0]` * u + `matrix[k][1]` * v.
#[derive(Clone, Copy, Debug)]
pub(super) struct System<'a> {
    /// The known data.
    pub(super) data: &'a ByIndex<'a>,
    pub(super) p: Option<&'a [u8]>,
    pub(super) q: Option<&'a [u8]>,
    pub(super) matrix: [[u8; 2]; 2],
}

/// The loops of one kernel. All blocks of a call have one length; the callers in [`super`] see to
/// that, and what happens otherwise is a wrong result or a panic.
pub(super) trait Columns: Sync {
    fn name(&self) -> &'static str;
    /// `to` = sum of the sources.
    fn xor(&self, to: &mut [u8], sources: &[&[u8]]);
    /// `to` += sum of the sources.
    fn xor_into(&self, to: &mut [u8], sources: &[&[u8]]);
    /// Whether the sum of the blocks is zero.
    fn xors_to_zero(&self, blocks: &[&[u8]]) -> bool;
    /// P and Q of the data.
    fn pq(&self, data: &ByIndex<'_>, p: &mut [u8], q: &mut [u8]);
    /// Whether P and Q are those of the data.
    fn pq_agree(&self, data: &ByIndex<'_>, p: &[u8], q: &[u8]) -> bool;
    /// The outputs of the system that are asked for.
    fn solve(&self, system: System<'_>, outputs: [Option<&mut [u8]>; 2]);
    /// P += old + new, Q += factor * (old + new).
    fn update(&self, factor: u8, old_new: [&[u8]; 2], pq: [Option<&mut [u8]>; 2]);
}
