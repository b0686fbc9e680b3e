//! The engine on the backend that does nothing: shapes, counts and ends of jobs.
#![cfg(feature = "null")]

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use kcopy::backend::null::NullBackend;
use kcopy::engine::Config;
use kcopy::pool::Pool;
use kcopy::{Device, Extent, Job, LocalClient, SubmitError};

fn client(pages: u32) -> LocalClient<NullBackend> {
    LocalClient::new(
        Config::default(),
        Pool::new(pages).expect("memory for a small pool"),
        NullBackend::default(),
    )
}

#[test]
fn every_job_is_answered_once_and_all_pages_come_back() {
    let mut client = client(1024);
    let (a, b) = (Device::null("a", 1 << 40), Device::null("b", 1 << 40));
    let answered = Arc::new(AtomicUsize::new(0));
    let mut accepted = 0;
    for i in 0..3000u64 {
        let len = match i % 5 {
            0 => 4096,
            1 => 1 << 20,
            2 => 3 << 20,
            3 => 512,
            _ => 0,
        };
        let (from, to) = (Extent::new(&a, i << 22, len), Extent::new(&b, i << 22, len));
        let answered = Arc::clone(&answered);
        client
            .submit(Job::copy(from).to(to).flush(), move |outcome| {
                assert!(outcome.is_ok());
                assert_eq!(outcome.destinations[0].written, 0..len);
                answered.fetch_add(1, Ordering::Relaxed);
            })
            .unwrap();
        accepted += 1;
    }
    client.run_until_idle().unwrap();
    assert_eq!(answered.load(Ordering::Relaxed), accepted);
    assert_eq!(client.engine().pool().in_use(), 0);
    assert!(client.stats().pool_peak_pages <= 1024);
}

#[test]
fn wrong_jobs_are_refused_at_the_door() {
    let mut client = client(64);
    let (a, b) = (Device::null("a", 1 << 20), Device::null("b", 1 << 20));
    let never = |_| panic!("called");
    let submit = |client: &mut LocalClient<NullBackend>, job| client.submit(job, never);
    let all = Extent::new(&a, 0, 1 << 20);
    let error = submit(&mut client, Job::copy(all.clone()));
    assert_eq!(error, Err(SubmitError::NoDestination));
    let past = Extent::new(&b, 512, 1 << 20);
    assert!(matches!(
        submit(&mut client, Job::copy(all.clone()).to(past)),
        Err(SubmitError::OutOfRange { .. })
    ));
    let shorter = Extent::new(&b, 0, 512);
    assert!(matches!(
        submit(&mut client, Job::copy(all.clone()).to(shorter)),
        Err(SubmitError::LengthMismatch { .. })
    ));
    let huge = Extent::new(&b, u64::MAX - 5, 1 << 20);
    assert!(matches!(
        submit(&mut client, Job::copy(all.clone()).to(huge)),
        Err(SubmitError::OutOfRange { .. })
    ));
    let mut many = Job::copy(Extent::new(&a, 0, 512));
    for i in 0..65 {
        many = many.to(Extent::new(&b, i * 512, 512));
    }
    assert_eq!(submit(&mut client, many), Err(SubmitError::TooManyDestinations { count: 65 }));
    assert!(client.is_idle());
}

#[test]
fn a_job_whose_smallest_piece_exceeds_the_pool_is_refused() {
    let mut client = client(16);
    let device = |name: &str| Extent::new(&Device::null(name, 1 << 20), 0, 1 << 20);
    let compare =
        |others: u32| (0..others).fold(Job::compare(device("a")), |job, _| job.to(device("b")));
    // One page for the source, and one for each of the others.
    let error = client.submit(compare(16), |_| panic!("called"));
    assert_eq!(error, Err(SubmitError::PoolTooSmall { needed: 17, pages: 16 }));
    client.submit(compare(15), |outcome| assert!(outcome.is_ok())).unwrap();
    client.run_until_idle().unwrap();
    assert_eq!(client.stats().jobs_finished, 1);
}

#[test]
fn adjacent_small_jobs_travel_together() {
    let mut client = client(1024);
    let (a, b) = (Device::null("a", 1 << 30), Device::null("b", 1 << 30));
    for i in 0..1000u64 {
        let (from, to) = (Extent::new(&a, i << 12, 4096), Extent::new(&b, i << 12, 4096));
        client.submit(Job::copy(from).to(to), |outcome| assert!(outcome.is_ok())).unwrap();
    }
    client.run_until_idle().unwrap();
    let stats = client.stats();
    assert!(stats.operations < 200, "{}", stats.operations);
    assert_eq!((stats.bytes_read, stats.bytes_written), (4_096_000, 4_096_000));
}

#[test]
fn a_small_job_waits_for_a_piece_or_two_of_a_huge_one_not_for_its_end() {
    let mut client = client(1024);
    let (a, b) = (Device::null("a", 1 << 50), Device::null("b", 1 << 50));
    let done = Arc::new(AtomicUsize::new(0));
    let submit = |client: &mut LocalClient<NullBackend>, at, len| {
        let job = Job::copy(Extent::new(&a, at, len)).to(Extent::new(&b, at, len));
        let done = Arc::clone(&done);
        let count = move |_| {
            done.fetch_add(1, Ordering::Relaxed);
        };
        client.submit(job, count).expect("accepted");
    };
    submit(&mut client, 0, 100 << 30);
    for round in 0..50 {
        client.turn(None).unwrap();
        submit(&mut client, (200 << 30) + (round << 20), 4096);
        let before = client.stats().operations;
        let answered = done.load(Ordering::Relaxed);
        while done.load(Ordering::Relaxed) == answered {
            client.turn(None).unwrap();
        }
        let operations = client.stats().operations - before;
        assert!(operations <= 24, "{operations} operations before 4 KiB were copied");
    }
}

#[test]
fn jobs_of_one_token_travel_together_and_are_cancelled_together() {
    let mut client = client(1024);
    let (a, b) = (Device::null("a", 1 << 30), Device::null("b", 1 << 30));
    let (token, cancelled) = (client.cancel_token(), Arc::new(AtomicUsize::new(0)));
    for i in 0..1000u64 {
        let (from, to) = (Extent::new(&a, i << 12, 4096), Extent::new(&b, i << 12, 4096));
        let cancelled = Arc::clone(&cancelled);
        let count = move |outcome: kcopy::Outcome| {
            cancelled.fetch_add(usize::from(outcome.cancelled), Ordering::Relaxed);
            assert!(outcome.destinations[0].written == (0..4096) || outcome.cancelled);
        };
        client.submit(Job::copy(from).to(to).cancelled_by(&token), count).unwrap();
    }
    client.turn(None).unwrap();
    token.cancel();
    client.run_until_idle().unwrap();
    assert!(client.stats().jobs_merged > 0);
    assert!(cancelled.load(Ordering::Relaxed) > 500);
    assert_eq!(client.engine().pool().in_use(), 0);
}
