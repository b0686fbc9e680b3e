//! The threaded client on the backend that does nothing: faces, order, ends.
#![cfg(feature = "null")]

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};
use std::time::Duration;

use kcopy::backend::null::NullBackend;
use kcopy::device::OpenOptions;
use kcopy::{Client, Device, Extent, Job, Outcome, SubmitError, Throttle};

fn client(queue: usize) -> Client {
    Client::builder().queue(queue).build_on(NullBackend::default()).expect("a client")
}

fn job(len: u64) -> Job {
    let (a, b) = (Device::null("a", 1 << 40), Device::null("b", 1 << 40));
    Job::copy(Extent::new(&a, 0, len)).to(Extent::new(&b, 0, len))
}

#[test]
fn callbacks_come_once_one_at_a_time_and_never_inside_submit() {
    let client = client(64);
    let (inside, running) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let template = job(4096);
    let submitting = std::thread::current().id();
    for _ in 0..10_000 {
        let (inside, running) = (Arc::clone(&inside), Arc::clone(&running));
        client
            .submit(template.clone(), move |outcome| {
                assert!(outcome.is_ok());
                assert_ne!(std::thread::current().id(), submitting);
                assert!(!inside.swap(true, Ordering::SeqCst), "two callbacks at once");
                running.fetch_add(1, Ordering::SeqCst);
                inside.store(false, Ordering::SeqCst);
            })
            .unwrap();
    }
    client.close();
    assert_eq!(running.load(Ordering::SeqCst), 10_000);
    assert_eq!(client.stats().callback_panics, 0);
    assert_eq!(client.stats().jobs_finished, 10_000);
}

#[test]
fn many_threads_may_submit_to_one_client() {
    let client = client(16);
    let done = Arc::new(AtomicUsize::new(0));
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..2000 {
                    let done = Arc::clone(&done);
                    client
                        .submit(job(4096), move |_| {
                            done.fetch_add(1, Ordering::SeqCst);
                        })
                        .unwrap();
                }
            });
        }
    });
    drop(client);
    assert_eq!(done.load(Ordering::SeqCst), 8000);
}

#[test]
fn a_callback_may_submit_and_is_told_busy_instead_of_waiting() {
    let client = client(1);
    let (sender, receiver) = mpsc::channel();
    let inner = client.clone();
    client
        .submit(job(4096), move |_| {
            let mut answers = Vec::new();
            for _ in 0..3 {
                let sender = sender.clone();
                answers.push(inner.submit(job(4096), move |_| sender.send(()).unwrap()));
            }
            assert_eq!(answers[0], Ok(()));
            assert!(answers.contains(&Err(SubmitError::Busy)));
        })
        .unwrap();
    receiver.recv_timeout(Duration::from_secs(10)).unwrap();
}

#[test]
fn the_last_handle_may_be_dropped_inside_a_callback() {
    let client = client(16);
    let (sender, receiver) = mpsc::channel();
    let handle = client.clone();
    client
        .submit(job(4096), move |_| {
            // Wait until the other handle is gone, so that this one is the last.
            receiver.recv().unwrap();
            drop(handle);
        })
        .unwrap();
    std::thread::spawn(move || drop(client));
    sender.send(()).unwrap();
}

#[test]
fn a_panic_in_a_callback_is_caught_and_counted() {
    let client = client(16);
    client.submit(job(4096), |_| panic!("on purpose")).unwrap();
    assert!(client.run(job(4096)).unwrap().is_ok());
    client.close();
    assert_eq!(client.stats().callback_panics, 1);
}

#[test]
fn prepared_callbacks_come_in_line_and_unfired_ones_are_cancelled() {
    let client = client(16);
    let (sender, receiver) = mpsc::channel();
    let second = sender.clone();
    let prepared = client.prepare(move |outcome: Outcome| sender.send(outcome.cancelled).unwrap());
    let unfired = client.prepare(move |outcome: Outcome| second.send(outcome.cancelled).unwrap());
    prepared.fire(Outcome::default());
    assert!(!receiver.recv_timeout(Duration::from_secs(10)).unwrap());
    drop(unfired);
    assert!(receiver.recv_timeout(Duration::from_secs(10)).unwrap());
}

/// At no bytes a second nothing starts, but callbacks come; at 8 MiB a second 32 MiB take their time,
/// whichever of the clients has them; without a limit they are there.
#[test]
fn one_limit_holds_for_two_clients_holds_up_no_callback_and_may_change_at_any_time() {
    let throttle = Arc::new(Throttle::new(Some(0)));
    let client = || Client::builder().throttle(&throttle).build_on(NullBackend::default()).unwrap();
    let clients = [client(), client()];
    let (sender, ended) = mpsc::channel();
    for client in &clients {
        let sender = sender.clone();
        client.submit(job(16 << 20), move |outcome| sender.send(outcome).unwrap()).unwrap();
    }
    for client in &clients {
        let (fired, heard) = mpsc::channel();
        client.prepare(move |_| fired.send(()).unwrap()).fire(Outcome::default());
        heard.recv_timeout(Duration::from_secs(10)).unwrap();
        assert_eq!(client.stats().bytes_read, 0);
    }
    throttle.set_rate(Some(8 << 20));
    let early = ended.recv_timeout(Duration::from_millis(300));
    assert!(early.is_err(), "32 MiB at 8 MiB/s, in 300 ms: {early:?}");
    throttle.set_rate(None);
    for _ in &clients {
        assert!(ended.recv_timeout(Duration::from_secs(10)).unwrap().is_ok());
    }
    let read = clients.iter().map(|client| client.stats().bytes_read);
    assert_eq!(read.sum::<u64>(), 32 << 20);
}

#[test]
fn a_closed_client_refuses_and_hands_everything_back() {
    let client = client(16);
    client.close();
    assert_eq!(client.submit(job(4096), |_| panic!("called")), Err(SubmitError::Closed));
    let refused = client.try_submit(job(4096), |_| panic!("called")).unwrap_err();
    assert_eq!(refused.error, SubmitError::Closed);
    assert_eq!(refused.job.len(), 4096);
    assert_eq!(client.run(job(4096)), Err(SubmitError::Closed));
}

#[test]
fn cancelled_jobs_are_answered_as_cancelled() {
    let client = client(16);
    let token = client.cancel_token();
    token.cancel();
    let outcome = client.run(job(1 << 30).cancelled_by(&token)).unwrap();
    assert!(outcome.cancelled);
    assert_eq!(client.stats().bytes_written, 0);
}

#[tokio::test]
async fn futures_work_on_tokio_and_wait_for_room_without_blocking() {
    let client = client(2);
    let tasks: Vec<_> = (0..200)
        .map(|_| {
            let client = client.clone();
            tokio::spawn(async move { client.submit_async(job(8192)).await })
        })
        .collect();
    for task in tasks {
        assert!(task.await.unwrap().unwrap().is_ok());
    }
}

#[test]
fn outcomes_come_out_of_a_channel_with_their_context() {
    let client = client(64);
    let (sender, receiver) = crossbeam_channel::unbounded();
    for context in 0..50u32 {
        client.submit_to(job(4096), &sender, context).unwrap();
    }
    drop(sender);
    let mut seen: Vec<u32> = receiver.iter().map(|(context, _)| context).collect();
    seen.sort_unstable();
    assert_eq!(seen, (0..50).collect::<Vec<_>>());
}

/// A job that was sent while the engine thread ended stayed in the channel, and whoever waited for
/// its answer waited for ever. Now the thread ends when nobody is about to send any more.
#[test]
fn jobs_that_race_with_close_are_answered_or_refused() {
    for round in 0..300 {
        let client = client(4);
        let (accepted, answered) = (AtomicUsize::new(0), Arc::new(AtomicUsize::new(0)));
        std::thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| {
                    let template = job(4096);
                    for _ in 0..50 {
                        let answered = Arc::clone(&answered);
                        let callback = move |_| {
                            answered.fetch_add(1, Ordering::SeqCst);
                        };
                        match client.submit(template.clone(), callback) {
                            Ok(()) => accepted.fetch_add(1, Ordering::SeqCst),
                            Err(error) => {
                                assert_eq!(error, SubmitError::Closed);
                                break;
                            }
                        };
                    }
                });
            }
            for _ in 0..round {
                std::hint::spin_loop();
            }
            client.close();
        });
        assert_eq!(answered.load(Ordering::SeqCst), accepted.load(Ordering::SeqCst));
    }
}

#[test]
fn a_bounded_close_inside_a_callback_does_not_wait() {
    let client = client(16);
    let (sender, receiver) = mpsc::channel();
    let inner = client.clone();
    client
        .submit(job(4096), move |_| {
            sender.send(inner.close_within(Duration::from_secs(3600)).is_err()).unwrap();
        })
        .unwrap();
    assert!(receiver.recv_timeout(Duration::from_secs(10)).unwrap());
    assert_eq!(client.close_within(Duration::from_secs(10)), Ok(()));
}

#[test]
fn client_without_a_thread_calls_back_on_the_callers_thread() {
    let builder = Client::builder().queue(4).backend(kcopy::BackendChoice::Threads);
    let mut client = builder.build_local().unwrap();
    let directory = tempfile::tempdir().unwrap();
    let [a, b] =
        [("a", OpenOptions::source()), ("b", OpenOptions::destination())].map(|(name, options)| {
            let path = directory.path().join(name);
            std::fs::write(&path, name.repeat(100_000)).unwrap();
            Device::open(&path, &options).unwrap()
        });
    let copy = |at| Job::copy(Extent::new(&a, at, 1000)).to(Extent::new(&b, at, 1000));
    let here = std::thread::current().id();
    let called = Arc::new(AtomicUsize::new(0));
    for index in 0..4 {
        let called = Arc::clone(&called);
        let answer = move |outcome: Outcome| {
            assert!(outcome.is_ok() && std::thread::current().id() == here);
            called.fetch_add(1, Ordering::SeqCst);
        };
        client.submit(copy(index * 10_000), answer).unwrap();
    }
    assert_eq!(client.run(copy(50_000)), Err(SubmitError::Busy), "the queue is full");
    client.run_until_idle().unwrap();
    assert_eq!(called.load(Ordering::SeqCst), 4);
    assert!(client.run(copy(50_000)).unwrap().is_ok());
    let copied = std::fs::read(directory.path().join("b")).unwrap();
    assert_eq!(copied.iter().filter(|byte| **byte == b'a').count(), 5000);
}

#[test]
fn client_without_a_thread_checks_its_settings_too() {
    let refused = |builder: kcopy::Builder| builder.build_local().unwrap_err().to_string();
    assert!(refused(Client::builder().pages(1)).contains("too small"));
    assert!(refused(Client::builder().queue(0)).contains("queue"));
}
