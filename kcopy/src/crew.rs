//! Threads that apply transforms, so that whoever turns the engine keeps the devices busy meanwhile.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread::JoinHandle;

use crossbeam_channel::{Receiver, Sender, unbounded};

use crate::backend::Wake;
use crate::engine::Computation;
use crate::errno::Errno;

/// Fewer bytes than this are computed where they are: to wake a thread up takes as long.
const ASIDE_FROM: usize = 64 << 10;

/// See the module. Dropped, it ends its threads, once they have done what was handed over.
#[derive(Debug)]
pub(crate) struct Crew {
    work: Option<Sender<Computation>>,
    ended: Receiver<Computation>,
    threads: Vec<JoinHandle<()>>,
    /// Handed over and not taken back.
    out: usize,
}

impl Crew {
    /// `count` threads, of which each rings `bell` when it has computed something. As many as can be had: without
    /// any, everything is computed where it is handed over.
    pub(crate) fn new(count: usize, bell: &Arc<dyn Wake>) -> Self {
        let (work, to_do) = unbounded();
        let (done, ended) = unbounded();
        let start = |_| {
            let (to_do, done, bell) = (to_do.clone(), done.clone(), Arc::clone(bell));
            let body = move || work_off(&to_do, &done, &*bell);
            std::thread::Builder::new().name("kcopy-compute".into()).spawn(body)
        };
        let threads: Vec<_> = (0..count).map_while(|number| start(number).ok()).collect();
        if threads.len() < count {
            tracing::warn!(
                wanted = count,
                made = threads.len(),
                "threads for transforms are missing"
            );
        }
        Self { work: Some(work), ended, threads, out: 0 }
    }

    /// Hands it to a thread; gives it back, computed, if it was computed here.
    pub(crate) fn hand_over(&mut self, computation: Computation) -> Option<Computation> {
        let unsent = match &self.work {
            Some(work) if !self.threads.is_empty() && computation.bytes() >= ASIDE_FROM => {
                work.send(computation).err().map(|unsent| unsent.0)
            }
            _ => Some(computation),
        };
        match unsent {
            Some(mut computation) => {
                compute(&mut computation);
                Some(computation)
            }
            None => {
                self.out += 1;
                None
            }
        }
    }

    /// Takes back one that has been computed.
    pub(crate) fn take(&mut self) -> Option<Computation> {
        if self.out == 0 {
            return None;
        }
        let taken = self.ended.try_recv().ok()?;
        self.out -= 1;
        Some(taken)
    }

    /// Waits for one that was handed over; `None` if there is none.
    pub(crate) fn wait(&mut self) -> Option<Computation> {
        if self.out == 0 {
            return None;
        }
        self.out -= 1;
        // The threads live as long as this does, and catch what panics.
        self.ended.recv().ok()
    }

    /// Whether one is to be taken back.
    pub(crate) fn has_ended(&self) -> bool {
        self.out > 0 && !self.ended.is_empty()
    }
}

impl Drop for Crew {
    fn drop(&mut self) {
        self.work = None;
        for thread in self.threads.drain(..) {
            if thread.join().is_err() {
                tracing::error!("a thread for transforms panicked");
            }
        }
    }
}

fn work_off(work: &Receiver<Computation>, done: &Sender<Computation>, bell: &dyn Wake) {
    for mut computation in work {
        compute(&mut computation);
        if done.send(computation).is_err() {
            return;
        }
        bell.wake();
    }
}

/// A transform that panics refuses its data.
fn compute(computation: &mut Computation) {
    if catch_unwind(AssertUnwindSafe(|| computation.compute())).is_err() {
        tracing::error!(?computation, "a transform panicked");
        computation.fail(Errno::IO);
    }
}
