//! Goals that are counts: they hold on every machine, so they are tests (N1-N4 and N9 of
//! `benches/README.md`). What is counted, and how, is in `benches/src/counts.rs`.

use benches::counts;

#[test]
fn source_is_read_once_for_one_to_eight_destinations() {
    const BYTES: u64 = (100 << 20) + 12_345;
    for destinations in 1..=8 {
        assert_eq!(counts::bytes_read(BYTES, destinations), BYTES, "{destinations} destinations");
    }
}

#[test]
fn pool_is_never_exceeded_under_mixed_jobs() {
    for pages in [16, 100, 1024] {
        let most = counts::pages_held(pages);
        assert!((1..=pages as usize).contains(&most), "{most} of {pages} pages held");
    }
}

#[test]
fn queued_job_takes_at_most_512_bytes_of_heap() {
    let (per_job, fixed) = counts::heap_per_queued_job(100_000);
    assert!(per_job <= 512, "{per_job} bytes per queued job");
    assert!(fixed <= 1 << 20, "{fixed} bytes beside the pool");
}

#[test]
fn steady_stream_of_jobs_allocates_nothing() {
    assert_eq!(counts::allocations(10_000), 0);
}

#[test]
fn cancelled_job_issues_nothing_after_the_next_turn_and_is_answered_last() {
    let seen = counts::cancel();
    assert!(seen.in_flight > 0, "{seen:?}");
    assert_eq!(seen.issued_late, 0, "{seen:?}");
    assert!(seen.called && !seen.called_early, "{seen:?}");
}
