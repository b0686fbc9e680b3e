//! The transform that computes what is lost of a row, and puts what is wanted where it goes.

use std::sync::Arc;

use kcopy::{Errno, PieceBuffers, Transform};
use smallvec::SmallVec;

use super::steps::Row;
use crate::mover::Gather;
use crate::parity::{Block, Role, fill};

/// Solves one row; buffers are those of the row's `known`, then of its `computed` blocks.
#[derive(Debug)]
pub(super) struct Solve {
    known: SmallVec<[Role; 16]>,
    computed: SmallVec<[Role; 2]>,
    missing: SmallVec<[Role; 2]>,
    deliver: Deliver,
}

/// What goes to memory: buffer index, byte offset there.
#[derive(Debug)]
pub(super) enum Deliver {
    /// Nothing: the job has destinations.
    Nothing,
    /// These buffers.
    To(Arc<Gather>, Vec<(usize, u64)>),
}

impl Solve {
    pub(super) fn new(row: &Row, deliver: Deliver) -> Self {
        Self {
            known: row.known.iter().map(|(_, role)| *role).collect(),
            computed: row.computed.clone(),
            missing: row.missing.clone(),
            deliver,
        }
    }
}

impl Transform for Solve {
    fn apply(&self, mut piece: PieceBuffers<'_>) -> Result<(), Errno> {
        let mut blocks: SmallVec<[Block<'_>; 16]> = SmallVec::new();
        for (role, bytes) in self.known.iter().zip(&piece.sources) {
            blocks.push(Block::known(*role, bytes));
        }
        for (role, bytes) in self.computed.iter().zip(&mut piece.computed) {
            blocks.push(Block::wanted(*role, bytes));
        }
        blocks.extend(self.missing.iter().map(|role| Block::missing(*role)));
        // The plan counted: as many parities are known as blocks are lost.
        fill(&mut blocks).map_err(|_| Errno::IO)?;
        drop(blocks);
        let Deliver::To(gather, wanted) = &self.deliver else { return Ok(()) };
        for (index, at) in wanted {
            let sources = piece.sources.len();
            let buffer: &[u8] = match index.checked_sub(sources) {
                None => piece.sources.get(*index).ok_or(Errno::IO)?,
                Some(computed) => piece.computed.get(computed).ok_or(Errno::IO)?,
            };
            gather.put(at.checked_add(piece.offset).ok_or(Errno::IO)?, buffer)?;
        }
        Ok(())
    }
}
