//! Memory that is not to be had is an error with a type, and never the end of the program.

use kcopy::pool::Pool;
use kcopy::{BackendChoice, BuildError, Client};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

const MIB: u64 = 1 << 20;

/// Bytes of address space that this process has in use.
fn in_use() -> u64 {
    let text = std::fs::read_to_string("/proc/self/statm").expect("a /proc");
    let pages: u64 = text.split(' ').next().expect("a number").parse().expect("a number");
    pages * 4096
}

/// Runs `test` with at most `more` bytes of further address space.
fn with_at_most<T>(more: u64, test: impl FnOnce() -> T) -> T {
    let before = getrlimit(Resource::As);
    let limit = Rlimit { current: Some(in_use() + more), ..before };
    setrlimit(Resource::As, limit).expect("lowered");
    let result = test();
    setrlimit(Resource::As, before).expect("raised again");
    result
}

/// One test, for the limit is that of the whole process.
///
/// The pool's tables used to end the program when the pool itself had just fitted.
#[test]
fn lack_of_memory_is_a_typed_error_wherever_it_strikes() {
    const PAGES: u32 = 64 << 10;
    let pool = u64::from(PAGES) * 4096;
    let mut had = [0, 0];
    for more in (0..16).map(|step| pool - MIB + step * MIB / 4) {
        let made = with_at_most(more, || Pool::new(PAGES).is_some());
        had[usize::from(made)] += 1;
    }
    assert!(had[0] > 4, "the limit struck {} times", had[0]);
    let made = with_at_most(pool + 16 * MIB, || Pool::new(PAGES).is_some());
    assert!(made, "what is there is had");

    let threads = || Client::builder().backend(BackendChoice::Threads);
    let error = with_at_most(pool / 2, || threads().pages(PAGES).build().expect_err("too large"));
    assert!(matches!(error, BuildError::NoMemory { pages: PAGES }), "{error}");
    // No machine has that: 16 TiB.
    let error = threads().pages(u32::MAX).build().expect_err("too large");
    assert!(matches!(error, BuildError::NoMemory { pages: u32::MAX }), "{error}");
    for jobs in [usize::MAX, usize::MAX / 100, 1 << 50] {
        let error = threads().queue(jobs).build().expect_err("too long");
        assert!(matches!(error, BuildError::NoMemoryForQueue { .. }), "{error}");
    }
    let jobs = 1 << 18;
    let error = with_at_most(32 * MIB, || threads().queue(jobs).build().expect_err("too long"));
    assert!(matches!(error, BuildError::NoMemoryForQueue { .. }), "{error}");
    for choice in [BackendChoice::Auto, BackendChoice::Threads] {
        // These are upper bounds that nobody has to reach.
        let most = Client::builder().backend(choice).requests(u32::MAX).depth(u32::MAX);
        most.threads(usize::MAX).build().expect("a client").close();
    }
}
