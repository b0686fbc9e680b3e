//! The backend that does nothing, at once: for measuring the engine alone.
//!
//! Every operation ends at the next [`Backend::wait`] with success. Reads leave the pages as they
//! are.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

use super::{Backend, BackendKind, Buffer, Completion, Op, OpId, Rejected, Slot, Wake};
use crate::device::Device;
use crate::errno::Errno;

/// Operations that may be in flight.
const DEPTH: usize = 1024;

/// See the module.
#[derive(Debug, Default)]
pub struct NullBackend {
    ended: Vec<Completion>,
    bell: Arc<Bell>,
}

#[derive(Debug, Default)]
struct Bell {
    rung: AtomicBool,
    lock: Mutex<()>,
    changed: Condvar,
}

impl Wake for Bell {
    fn wake(&self) {
        let _guard = self.lock.lock().unwrap_or_else(PoisonError::into_inner);
        self.rung.store(true, Ordering::Release);
        self.changed.notify_one();
    }
}

impl Bell {
    fn wait(&self, timeout: Option<Duration>) {
        let guard = self.lock.lock().unwrap_or_else(PoisonError::into_inner);
        let asleep = |(): &mut ()| !self.rung.load(Ordering::Acquire);
        match timeout {
            Some(limit) => drop(self.changed.wait_timeout_while(guard, limit, asleep)),
            None => drop(self.changed.wait_while(guard, asleep)),
        }
    }
}

impl Backend for NullBackend {
    fn kind(&self) -> BackendKind {
        BackendKind::Null
    }

    fn attach(&mut self, _: Slot, _: &Device) -> Result<(), Errno> {
        Ok(())
    }

    fn detach(&mut self, _: Slot) {}

    fn room(&self) -> usize {
        DEPTH - self.ended.len()
    }

    fn submit(&mut self, id: OpId, op: Op) -> Result<(), Box<Rejected>> {
        if self.room() == 0 {
            return Err(Box::new(Rejected { op }));
        }
        let (moved, buffer) = match op {
            Op::Read { window, pages, .. } => (window.len, Buffer::Exclusive(pages)),
            Op::Write { window, pages, .. } => (window.len, Buffer::Shared(pages)),
            Op::Zero { .. } | Op::Discard { .. } | Op::Flush { .. } => (0, Buffer::None),
        };
        self.ended.push(Completion { id, result: Ok(moved), buffer });
        Ok(())
    }

    fn wait(&mut self, timeout: Option<Duration>, done: &mut Vec<Completion>) -> io::Result<()> {
        if self.ended.is_empty() && timeout != Some(Duration::ZERO) {
            self.bell.wait(timeout);
        }
        self.bell.rung.store(false, Ordering::Release);
        if done.is_empty() {
            std::mem::swap(done, &mut self.ended);
        } else {
            done.append(&mut self.ended);
        }
        Ok(())
    }

    fn waker(&self) -> Arc<dyn Wake> {
        Arc::clone(&self.bell) as Arc<dyn Wake>
    }

    fn describe(&self) -> String {
        "no I/O".into()
    }
}
