//! The handshake between callers and an engine thread that may be asleep.
//!
//! ```text
//!   caller                          engine
//!   put work where it is seen       say "asleep"
//!   fence                           fence
//!   asleep? -> wake                 look for work; none -> wait
//! ```
//!
//! With a full fence on both sides, either the caller sees "asleep" or the engine sees the work: no
//! wake-up is lost. And while the engine is awake, a caller pays one load.

use crate::sync::atomic::{AtomicBool, Ordering, fence};

/// See the module.
#[derive(Debug)]
pub(crate) struct Doorbell {
    asleep: AtomicBool,
}

impl Doorbell {
    pub(crate) fn new() -> Self {
        Self { asleep: AtomicBool::new(false) }
    }

    /// The caller put work where the engine looks for it. `true`: the engine is to be woken.
    #[must_use]
    pub(crate) fn must_wake(&self) -> bool {
        fence(Ordering::SeqCst);
        self.asleep.load(Ordering::Relaxed) && self.asleep.swap(false, Ordering::AcqRel)
    }

    /// The engine is about to wait, and looks for work once more after this.
    ///
    /// Swaps, here and in `rise`, not stores: so all changes of the flag stand in one line that the
    /// model checker can follow.
    pub(crate) fn doze(&self) {
        self.asleep.swap(true, Ordering::AcqRel);
        fence(Ordering::SeqCst);
    }

    /// The engine is up.
    pub(crate) fn rise(&self) {
        self.asleep.swap(false, Ordering::AcqRel);
    }
}

#[cfg(all(test, loom))]
mod loom_tests {
    use super::*;
    use crate::sync::Arc;
    use loom::sync::{Condvar, Mutex};
    use loom::thread;

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

    /// `callers` put one item each; the engine takes all, sleeping when there is none. A lost
    /// wake-up is a deadlock, which loom reports. `preemptions` bounds the search.
    fn nothing_is_lost(callers: usize, preemptions: Option<usize>) {
        let mut model = loom::model::Builder::new();
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
