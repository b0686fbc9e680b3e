//! Models of what two threads do to each other, run by loom in every interleaving (of at most
//! [`PREEMPTIONS`] forced switches) and with every value that a weak memory may show.
//!
//! The pool and the doorbell are the real code. The client and its engine thread are drawn small
//! here, in the order of steps of `client.rs` and `driver.rs`, for their channels cannot be
//! instrumented. A lost wake-up is a deadlock, which loom reports.

use loom::model::Builder;
use loom::sync::{Condvar, Mutex};
use loom::thread;

use crate::doorbell::Doorbell;
use crate::pool::Pool;
use crate::sync::Arc;
use crate::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering};

/// Switches away from a thread that could go on, at most. It keeps the run in seconds.
const PREEMPTIONS: usize = 3;

fn explore(model: impl Fn() + Send + Sync + 'static) {
    let mut builder = Builder::new();
    builder.preemption_bound = Some(PREEMPTIONS);
    builder.check(model);
}

/// A wake that is not lost if it comes before the wait, as a backend's is.
#[derive(Default)]
struct Alarm {
    rung: Mutex<bool>,
    changed: Condvar,
}

impl Alarm {
    fn ring(&self) {
        *self.rung.lock().unwrap() = true;
        self.changed.notify_one();
    }

    fn wait(&self) {
        let mut rung = self.rung.lock().unwrap();
        while !*rung {
            rung = self.changed.wait(rung).unwrap();
        }
        *rung = false;
    }
}

mod doorbell {
    use super::*;

    /// The work is published without a lock, as a channel's slot is: only the doorbell's fences
    /// stand between a caller and a sleeping engine.
    #[test]
    fn wakes_are_never_lost_without_a_lock() {
        explore(|| {
            let shared = Arc::new((Doorbell::new(), Alarm::default(), AtomicBool::new(false)));
            let caller = {
                let shared = Arc::clone(&shared);
                thread::spawn(move || {
                    let (bell, alarm, work) = &*shared;
                    work.store(true, Ordering::Release);
                    if bell.must_wake() {
                        alarm.ring();
                    }
                })
            };
            let (bell, alarm, work) = &*shared;
            while !work.load(Ordering::Acquire) {
                bell.doze();
                if !work.load(Ordering::Acquire) {
                    alarm.wait();
                }
                bell.rise();
            }
            caller.join().unwrap();
        });
    }

    /// `callers` put one item each; the engine takes all, sleeping when there is none. A lost
    /// wake-up is a deadlock, which loom reports. `preemptions` bounds the search.
    fn nothing_is_lost(callers: usize, preemptions: Option<usize>) {
        let mut model = Builder::new();
        model.preemption_bound = preemptions;
        model.check(move || {
            let shared = Arc::new((Doorbell::new(), Alarm::default(), Mutex::new(0usize)));
            let threads: Vec<_> = (0..callers)
                .map(|_| {
                    let shared = Arc::clone(&shared);
                    thread::spawn(move || {
                        let (bell, alarm, work) = &*shared;
                        *work.lock().unwrap() += 1;
                        if bell.must_wake() {
                            alarm.ring();
                        }
                    })
                })
                .collect();
            let (bell, alarm, work) = &*shared;
            let mut taken = 0;
            while taken < callers {
                taken += std::mem::take(&mut *work.lock().unwrap());
                if taken == callers {
                    break;
                }
                bell.doze();
                if *work.lock().unwrap() == 0 {
                    alarm.wait();
                }
                bell.rise();
            }
            for thread in threads {
                thread.join().unwrap();
            }
        });
    }

    #[test]
    fn a_wake_up_is_never_lost_with_one_caller() {
        nothing_is_lost(1, None);
    }

    #[test]
    fn a_wake_up_is_never_lost_with_two_callers() {
        nothing_is_lost(2, Some(4));
    }
}

mod pool {
    use super::*;

    /// What holders did before they let go; relaxed, so that only the pool orders it.
    type Marks = Arc<[AtomicU32; 2]>;

    /// The owner takes the page if it can: then every holder must be seen to be done.
    fn take_if_free(pool: &mut Pool, marks: &Marks, holders: usize) {
        let Some(page) = pool.take(1) else { return };
        for mark in &marks[..holders] {
            assert_eq!(mark.load(Ordering::Relaxed), 1, "taken from a holder");
        }
        assert_eq!(pool.in_use(), 1);
        drop(page);
    }

    fn all_is_back(mut pool: Pool) {
        assert_eq!(pool.in_use(), 0);
        assert_eq!(pool.longest_run(9), 1);
        assert!(pool.take(1).is_some());
    }

    #[test]
    fn pages_shared_by_two_come_back_once_and_after_both() {
        explore(|| {
            let mut pool = Pool::new(1).unwrap();
            let marks: Marks = Arc::new([AtomicU32::new(0), AtomicU32::new(0)]);
            let first = pool.take(1).unwrap().into_shared();
            let second = first.clone();
            let threads: Vec<_> = [first, second]
                .into_iter()
                .enumerate()
                .map(|(index, pages)| {
                    let marks = Arc::clone(&marks);
                    thread::spawn(move || {
                        marks[index].store(1, Ordering::Relaxed);
                        drop(pages);
                    })
                })
                .collect();
            take_if_free(&mut pool, &marks, 2);
            for thread in threads {
                thread.join().unwrap();
            }
            all_is_back(pool);
        });
    }

    #[test]
    fn a_clone_made_while_another_is_dropped_keeps_the_pages() {
        explore(|| {
            let mut pool = Pool::new(1).unwrap();
            let marks: Marks = Arc::new([AtomicU32::new(0), AtomicU32::new(0)]);
            let first = pool.take(1).unwrap().into_shared();
            let second = first.clone();
            let cloning = {
                let marks = Arc::clone(&marks);
                thread::spawn(move || {
                    let third = second.clone();
                    drop(second);
                    marks[0].store(1, Ordering::Relaxed);
                    drop(third);
                })
            };
            let dropping = thread::spawn(move || drop(first));
            take_if_free(&mut pool, &marks, 1);
            cloning.join().unwrap();
            dropping.join().unwrap();
            all_is_back(pool);
        });
    }

    #[test]
    fn pages_given_back_by_a_backend_are_taken_with_what_it_did() {
        explore(|| {
            let mut pool = Pool::new(1).unwrap();
            let marks: Marks = Arc::new([AtomicU32::new(0), AtomicU32::new(0)]);
            let pages = pool.take(1).unwrap();
            let thread = {
                let marks = Arc::clone(&marks);
                thread::spawn(move || {
                    marks[0].store(1, Ordering::Relaxed);
                    drop(pages);
                })
            };
            take_if_free(&mut pool, &marks, 1);
            thread.join().unwrap();
            all_is_back(pool);
        });
    }

    #[test]
    fn neighbours_in_one_word_do_not_disturb_each_other() {
        explore(|| {
            let mut pool = Pool::new(2).unwrap();
            let (high, low) = (pool.take(1).unwrap(), pool.take(1).unwrap());
            let threads = [high, low].map(|pages| thread::spawn(move || drop(pages)));
            let taken = pool.take(1);
            for thread in threads {
                thread.join().unwrap();
            }
            assert_eq!(pool.longest_run(9), if taken.is_some() { 1 } else { 2 });
            drop(taken);
            assert_eq!((pool.in_use(), pool.longest_run(9)), (0, 2));
        });
    }
}

/// Submitting against closing: `client.rs` and `driver.rs` in small.
mod closing {
    use super::*;

    /// The bounded channel of jobs: a send fails once the receiver is gone, but what was sent before
    /// stays in it, unanswered.
    #[derive(Default)]
    struct Jobs {
        waiting: Mutex<(usize, bool)>,
    }

    impl Jobs {
        fn send(&self) -> bool {
            let mut state = self.waiting.lock().unwrap();
            if !state.1 {
                state.0 += 1;
            }
            !state.1
        }

        fn take(&self) -> usize {
            std::mem::take(&mut self.waiting.lock().unwrap().0)
        }

        fn is_empty(&self) -> bool {
            self.waiting.lock().unwrap().0 == 0
        }

        fn drop_receiver(&self) {
            self.waiting.lock().unwrap().1 = true;
        }
    }

    struct Client {
        bell: Doorbell,
        alarm: Alarm,
        jobs: Jobs,
        /// The message on the control channel.
        close: Mutex<bool>,
        closed: AtomicBool,
        submitting: AtomicUsize,
    }

    impl Client {
        fn new() -> Arc<Self> {
            Arc::new(Self {
                bell: Doorbell::new(),
                alarm: Alarm::default(),
                jobs: Jobs::default(),
                close: Mutex::new(false),
                closed: AtomicBool::new(false),
                submitting: AtomicUsize::new(0),
            })
        }

        /// `Client::submit`: whether the job was accepted.
        fn submit(&self) -> bool {
            self.submitting.fetch_add(1, Ordering::SeqCst);
            let accepted = !self.is_closed() && self.jobs.send();
            if accepted && self.bell.must_wake() {
                self.alarm.ring();
            }
            self.submitting.fetch_sub(1, Ordering::SeqCst);
            accepted
        }

        /// A sequentially consistent load: as a read-modify-write, for loom takes plain loads for
        /// acquiring ones.
        fn is_closed(&self) -> bool {
            self.closed.fetch_or(false, Ordering::SeqCst)
        }

        /// `Client::begin_close`.
        fn begin_close(&self) {
            if !self.closed.swap(true, Ordering::SeqCst) {
                *self.close.lock().unwrap() = true;
                self.alarm.ring();
            }
        }

        /// `Driver::run`: the number of jobs answered.
        fn drive(&self) -> usize {
            let (mut answered, mut closing) = (0, false);
            loop {
                closing |= std::mem::take(&mut *self.close.lock().unwrap());
                let last = closing && self.submitting.fetch_add(0, Ordering::SeqCst) == 0;
                let taken = self.jobs.take();
                answered += taken;
                if last && taken == 0 && self.jobs.is_empty() {
                    break;
                }
                if closing && !last {
                    thread::yield_now();
                }
                self.bell.doze();
                let told = *self.close.lock().unwrap();
                if !closing && !told && self.jobs.is_empty() {
                    self.alarm.wait();
                }
                self.bell.rise();
            }
            self.jobs.drop_receiver();
            answered
        }
    }

    #[test]
    fn jobs_that_race_with_close_are_answered_or_refused() {
        explore(|| {
            let client = Client::new();
            let engine = {
                let client = Arc::clone(&client);
                thread::spawn(move || client.drive())
            };
            let submitter = {
                let client = Arc::clone(&client);
                thread::spawn(move || usize::from(client.submit()) + usize::from(client.submit()))
            };
            client.begin_close();
            let answered = engine.join().unwrap();
            assert!(!client.submit(), "accepted after close");
            assert_eq!(submitter.join().unwrap(), answered);
        });
    }

    #[test]
    fn closing_twice_is_closing_once() {
        explore(|| {
            let client = Client::new();
            let engine = {
                let client = Arc::clone(&client);
                thread::spawn(move || client.drive())
            };
            let other = {
                let client = Arc::clone(&client);
                thread::spawn(move || client.begin_close())
            };
            let accepted = usize::from(client.submit());
            client.begin_close();
            other.join().unwrap();
            assert_eq!(engine.join().unwrap(), accepted);
        });
    }
}

/// A future that waits for room in the queue: `future.rs` and `driver.rs` in small.
mod room {
    use super::*;

    struct Client {
        bell: Doorbell,
        alarm: Alarm,
        /// Jobs in a queue for one.
        queue: Mutex<usize>,
        /// `Shared::waiting`: tasks to be polled again when there is room.
        waiting: Mutex<Vec<Arc<Alarm>>>,
    }

    impl Client {
        fn try_submit(&self) -> bool {
            let mut queue = self.queue.lock().unwrap();
            let sent = *queue == 0;
            if sent {
                *queue = 1;
            }
            drop(queue);
            if sent {
                self.ring();
            }
            sent
        }

        fn ring(&self) {
            if self.bell.must_wake() {
                self.alarm.ring();
            }
        }

        /// `Running::poll` until the job is accepted.
        fn submit(&self) {
            let task = Arc::new(Alarm::default());
            loop {
                if self.try_submit() {
                    return;
                }
                self.waiting.lock().unwrap().push(Arc::clone(&task));
                self.ring();
                if self.try_submit() {
                    return;
                }
                task.wait();
            }
        }

        /// `Driver::run` until `jobs` were taken.
        fn drive(&self, jobs: usize) {
            let mut taken = 0;
            while taken < jobs {
                let now = std::mem::take(&mut *self.queue.lock().unwrap());
                taken += now;
                if now > 0 {
                    let tasks = std::mem::take(&mut *self.waiting.lock().unwrap());
                    tasks.iter().for_each(|task| task.ring());
                }
                self.bell.doze();
                if taken < jobs && *self.queue.lock().unwrap() == 0 {
                    self.alarm.wait();
                }
                self.bell.rise();
            }
        }
    }

    #[test]
    fn a_task_that_waits_for_room_gets_it() {
        explore(|| {
            let client = Arc::new(Client {
                bell: Doorbell::new(),
                alarm: Alarm::default(),
                queue: Mutex::new(1),
                waiting: Mutex::new(Vec::new()),
            });
            let task = {
                let client = Arc::clone(&client);
                thread::spawn(move || client.submit())
            };
            client.drive(2);
            task.join().unwrap();
        });
    }
}

/// A token that is used while the engine looks for jobs that were cancelled, or sleeps: `cancel.rs`
/// and `Engine::look_for_cancelled` in small.
mod cancelling {
    use super::*;

    #[derive(Default)]
    struct Token {
        cancelled: AtomicBool,
        alarm: AtomicBool,
        waker: Alarm,
    }

    #[test]
    fn a_cancellation_is_seen_whenever_it_comes() {
        explore(|| {
            let token = Arc::new(Token::default());
            let other = {
                let token = Arc::clone(&token);
                thread::spawn(move || {
                    token.cancelled.store(true, Ordering::Release);
                    token.alarm.store(true, Ordering::Release);
                    token.waker.ring();
                })
            };
            loop {
                let raised = token.alarm.load(Ordering::Relaxed)
                    && token.alarm.swap(false, Ordering::AcqRel);
                if raised && token.cancelled.load(Ordering::Acquire) {
                    break;
                }
                token.waker.wait();
            }
            other.join().unwrap();
        });
    }
}
