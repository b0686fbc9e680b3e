//! Discards on block devices where the kernel has no request for them (before 6.12): a call that
//! blocks, made on a thread of its own, so that the engine's thread never waits for it.
//!
//! The thread is started with the first such discard and joined when this is dropped, after it has
//! done what was handed over.

use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use crate::backend::route::{Route, descriptor, discard};
use crate::backend::{Buffer, Completion, OpId, Wake};
use crate::device::Device;
use crate::errno::Errno;

/// A discard to be made.
#[derive(Debug)]
pub(super) struct Work {
    pub(super) id: OpId,
    pub(super) device: Device,
    pub(super) offset: u64,
    pub(super) len: u64,
}

impl Work {
    fn perform(self) -> Completion {
        let result = match descriptor(&self.device, Route::Cached) {
            Some(file) => discard(&self.device, file, self.offset, self.len)
                .map(|()| 0)
                .map_err(|error| Errno::from_io(&error)),
            None => Err(Errno::BAD_DESCRIPTOR),
        };
        Completion { id: self.id, result, buffer: Buffer::None }
    }
}

/// What is shared with the thread.
type Ended = Arc<Mutex<Vec<Completion>>>;

/// See the module.
#[derive(Debug)]
pub(super) struct Discards {
    bell: Arc<dyn Wake>,
    ended: Ended,
    /// Handed over and not taken back.
    in_flight: usize,
    thread: Option<(Sender<Work>, JoinHandle<()>)>,
}

impl Discards {
    /// `bell` is rung when one has ended.
    pub(super) fn new(bell: Arc<dyn Wake>) -> Self {
        Self { bell, ended: Ended::default(), in_flight: 0, thread: None }
    }

    /// Number of discards that were handed over and not taken back.
    pub(super) fn in_flight(&self) -> usize {
        self.in_flight
    }

    /// Hands a discard over. If there can be no thread it is made here: late, but made.
    pub(super) fn hand_over(&mut self, work: Work) {
        self.in_flight += 1;
        if self.thread.is_none() {
            self.thread = self.start();
        }
        let unsent = match &self.thread {
            Some((sender, _)) => sender.send(work).err().map(|unsent| unsent.0),
            None => Some(work),
        };
        if let Some(work) = unsent {
            let end = work.perform();
            self.ended.lock().unwrap_or_else(PoisonError::into_inner).push(end);
        }
    }

    /// Takes back what has ended; says whether there was any.
    pub(super) fn take(&mut self, done: &mut Vec<Completion>) -> bool {
        if self.in_flight == 0 {
            return false;
        }
        let mut ended = self.ended.lock().unwrap_or_else(PoisonError::into_inner);
        let any = !ended.is_empty();
        self.in_flight -= ended.len();
        done.append(&mut ended);
        any
    }

    fn start(&self) -> Option<(Sender<Work>, JoinHandle<()>)> {
        let (sender, receiver) = channel();
        let (ended, bell) = (Arc::clone(&self.ended), Arc::clone(&self.bell));
        let body = move || work_off(&receiver, &ended, &*bell);
        match std::thread::Builder::new().name("kcopy-discard".into()).spawn(body) {
            Ok(thread) => Some((sender, thread)),
            Err(error) => {
                tracing::warn!(%error, "no thread for discards: others wait for them");
                None
            }
        }
    }
}

fn work_off(work: &Receiver<Work>, ended: &Ended, bell: &dyn Wake) {
    for one in work {
        let end = one.perform();
        ended.lock().unwrap_or_else(PoisonError::into_inner).push(end);
        bell.wake();
    }
}

impl Drop for Discards {
    fn drop(&mut self) {
        let Some((sender, thread)) = self.thread.take() else { return };
        drop(sender);
        if thread.join().is_err() {
            tracing::error!("the thread for discards panicked");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Sender, channel};
    use std::time::Duration;

    use super::*;
    use crate::device::OpenOptions;

    #[derive(Debug)]
    struct Bell(Mutex<Sender<()>>);

    impl Wake for Bell {
        fn wake(&self) {
            self.0.lock().unwrap().send(()).unwrap();
        }
    }

    #[test]
    fn discards_are_made_by_another_thread_which_rings_and_ends_with_its_owner() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("file");
        std::fs::write(&path, vec![7; 65_536]).unwrap();
        let device = Device::open(&path, &OpenOptions::destination()).unwrap();
        let (sender, rung) = channel();
        let mut discards = Discards::new(Arc::new(Bell(Mutex::new(sender))));
        for id in 0..4 {
            let offset = id * 8192;
            discards.hand_over(Work { id: OpId(id), device: device.clone(), offset, len: 4096 });
        }
        let mut done = Vec::new();
        for _ in 0..3 {
            rung.recv_timeout(Duration::from_secs(30)).unwrap();
        }
        discards.take(&mut done);
        assert!(done.len() >= 3 && done.iter().all(|end| end.result == Ok(0)), "{done:?}");
        assert_eq!(discards.in_flight(), 4 - done.len());
        drop(discards);
        let zeros = std::fs::read(&path).unwrap().iter().filter(|byte| **byte == 0).count();
        assert_eq!(zeros, 4 * 4096, "what was handed over is done");
    }
}
