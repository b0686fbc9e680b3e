//! A backend whose operations are io_uring requests that do nothing: the engine and the ring
//! together, without a device (goal N7).

use std::io;
use std::sync::Arc;
use std::time::Duration;

use kcopy::backend::{Backend, Completion, Op, OpId, Rejected, Slot, Wake};
use kcopy::{BackendKind, Device, Errno};

use crate::ring::Ring;

const DEPTH: u32 = 1024;

/// See the module.
#[derive(Debug)]
pub struct NopBackend {
    ring: Ring,
    pending: Vec<Option<Completion>>,
    free: Vec<usize>,
    syscalls: u64,
}

impl NopBackend {
    /// A backend on a ring of its own; to be made on the thread that will use it.
    ///
    /// # Errors
    ///
    /// If the kernel refuses the ring.
    pub fn new() -> io::Result<Self> {
        let depth = DEPTH as usize;
        let ring = Ring::new(DEPTH, 0, 0, Vec::new())?;
        let pending = (0..depth).map(|_| None).collect();
        Ok(Self { ring, pending, free: (0..depth).collect(), syscalls: 0 })
    }
}

/// For backends that nobody waits on from another thread.
#[derive(Debug)]
pub(crate) struct NoWake;

impl Wake for NoWake {
    fn wake(&self) {}
}

impl Backend for NopBackend {
    fn kind(&self) -> BackendKind {
        BackendKind::Null
    }

    fn attach(&mut self, _: Slot, _: &Device) -> Result<(), Errno> {
        Ok(())
    }

    fn detach(&mut self, _: Slot) {}

    fn room(&self) -> usize {
        self.free.len()
    }

    fn submit(&mut self, id: OpId, op: Op) -> Result<(), Box<Rejected>> {
        let Some(index) = self.free.pop() else { return Err(Box::new(Rejected { op })) };
        let result = match &op {
            Op::Read { window, .. } | Op::Write { window, .. } => Ok(window.len),
            Op::Zero { .. } | Op::Discard { .. } | Op::Flush { .. } => Ok(0),
        };
        self.pending[index] = Some(Completion { id, result, buffer: op.into_buffer() });
        self.ring.nop(index as u64);
        Ok(())
    }

    fn wait(&mut self, _: Option<Duration>, done: &mut Vec<Completion>) -> io::Result<()> {
        if self.ring.in_flight() == 0 {
            return Ok(());
        }
        self.ring.submit_and_wait(1)?;
        self.syscalls += 1;
        let Self { ring, pending, free, .. } = self;
        ring.reap(|index, _| {
            let index = usize::try_from(index).expect("an index of ours");
            done.push(pending[index].take().expect("queued once, reaped once"));
            free.push(index);
        });
        Ok(())
    }

    fn waker(&self) -> Arc<dyn Wake> {
        Arc::new(NoWake)
    }

    fn syscalls(&self) -> u64 {
        self.syscalls
    }

    fn describe(&self) -> String {
        "requests that do nothing".into()
    }
}
