//! The transforms of pieces: handed out like operations, computed by whoever turns the engine, on any thread.

use std::fmt;
use std::sync::Arc;

use smallvec::SmallVec;

use super::Engine;
use super::state::{Phase, PieceKey};
use crate::errno::Errno;
use crate::job::{PieceBuffers, Transform};
use crate::mem::Pages;
use crate::outcome::{Fault, FaultKind};
use crate::units::Sector;

/// The transform of one piece, with its pages: nobody else touches them until it is handed back.
pub struct Computation {
    piece: PieceKey,
    transform: Arc<dyn Transform>,
    /// Offset of the piece in the job, and its length, in bytes.
    offset: u64,
    len: usize,
    /// How many of the pages are those of sources; the others are computed.
    sources: usize,
    pages: Vec<Option<Pages>>,
    result: Result<(), Errno>,
}

impl Computation {
    /// Bytes in its pages.
    pub fn bytes(&self) -> usize {
        self.len.saturating_mul(self.pages.len())
    }

    /// Applies the transform.
    pub fn compute(&mut self) {
        let len = self.len;
        let mut pages = self.pages.iter_mut().flatten().map(|pages| &mut pages[..len]);
        let sources = pages.by_ref().take(self.sources).collect();
        let computed: SmallVec<[&mut [u8]; 4]> = pages.collect();
        self.result = self.transform.apply(PieceBuffers { offset: self.offset, sources, computed });
    }

    /// It could not be applied.
    pub(crate) fn fail(&mut self, errno: Errno) {
        self.result = Err(errno);
    }
}

impl fmt::Debug for Computation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Computation")
            .field("piece", &self.piece)
            .field("offset", &self.offset)
            .field("bytes", &self.bytes())
            .field("result", &self.result)
            .finish_non_exhaustive()
    }
}

impl Engine {
    /// Everything of a piece is in its pages.
    pub(super) fn compute_or_go_on(&mut self, key: PieceKey) {
        if self.jobs[self.pieces[key].job].job.transform.is_some() {
            self.pieces[key].phase = Phase::Computing;
            self.to_compute.push_back(key);
        } else {
            self.computed_all(key);
        }
    }

    /// The next transform that is to be applied. Until [`Engine::computed`] its piece stands still.
    pub fn next_computation(&mut self) -> Option<Computation> {
        let key = self.to_compute.pop_front()?;
        let piece = &mut self.pieces[key];
        let job = &self.jobs[piece.job];
        Some(Computation {
            piece: key,
            transform: Arc::clone(job.job.transform.as_ref()?),
            offset: piece.offset,
            len: piece.len as usize,
            sources: job.sources.len(),
            pages: std::mem::take(&mut piece.buffers),
            result: Ok(()),
        })
    }

    /// Takes in what [`Engine::next_computation`] handed out.
    pub fn computed(&mut self, computation: Computation) {
        let Computation { piece: key, transform, pages, result, .. } = computation;
        // Before the job can end: what its callback finds is not held by us any more.
        drop(transform);
        self.pieces[key].buffers = pages;
        match result {
            Err(errno) => self.transform_refused(key, errno),
            // While it was computed: its writes would not be withdrawn any more.
            Ok(()) if self.jobs[self.pieces[key].job].cancelled => self.spoil(key),
            Ok(()) => self.computed_all(key),
        }
    }

    /// The backend broke: nothing is computed any more.
    pub(super) fn forget_computations(&mut self) {
        while let Some(key) = self.to_compute.pop_front() {
            self.spoil(key);
        }
    }

    fn transform_refused(&mut self, key: PieceKey, errno: Errno) {
        let piece = &self.pieces[key];
        let job = &mut self.jobs[piece.job];
        let base = job.job.sources.first().map_or(0, |source| source.offset);
        let sector = Sector::containing(base + piece.offset);
        job.record_read(0, Fault { kind: FaultKind::Transform, errno, sector }, piece.offset);
        self.spoil(key);
    }
}

#[cfg(all(test, feature = "null"))]
mod tests {
    use super::*;
    use crate::callback::Callback;
    use crate::device::Device;
    use crate::door;
    use crate::engine::Config;
    use crate::job::Job;
    use crate::outcome::Outcome;
    use crate::pool::Pool;
    use crate::region::Extent;
    use crate::units::Time;

    #[derive(Debug)]
    struct Nothing;

    impl Transform for Nothing {
        fn apply(&self, _: PieceBuffers<'_>) -> Result<(), Errno> {
            Ok(())
        }
    }

    #[test]
    fn a_broken_backend_ends_what_was_to_be_computed() {
        let mut engine = Engine::new(Config::default(), Pool::new(64).expect("memory"));
        let job = Job::stripe(1, Arc::new(Nothing)).to(Extent::new(
            &Device::null("to", 1 << 20),
            0,
            8192,
        ));
        let ticket = door::check(&job, engine.house()).expect("a good job");
        let now = Time::default();
        engine.admit(job, ticket, Callback::new(drop), now).expect("room");
        assert!(engine.next_op(now).is_none(), "nothing is written before it is computed");
        assert_eq!(engine.to_compute.len(), 1);
        engine.backend_broke(Errno::IO);
        let mut outcome = Outcome::default();
        assert!(
            engine.next_finished(now, &mut outcome).is_some()
                && engine.next_computation().is_none()
        );
        assert_eq!((outcome.destinations[0].written.clone(), engine.pool().in_use()), (0..0, 0));
    }
}
