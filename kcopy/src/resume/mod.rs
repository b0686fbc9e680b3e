//! Going on with a copy that was interrupted: a map of what is done, and when it may be believed.
//!
//! A [`MapFile`] says which chunks of a copy are durable on **every** destination. A [`Session`]
//! decides the order of things; it does no I/O itself. Its owner does what [`Session::poll`] says
//! and tells it what happened:
//!
//! ```text
//!   Copy chunk ... (several at a time)      -> ChunkCopied, on all destinations
//!   FlushDestinations                       -> DestinationsFlushed: covers the chunks that had
//!                                              been copied when it was asked for
//!   WriteMap, to the older of two records   -> MapWritten
//!   FlushMap                                -> MapFlushed: only now they are claimed
//! ```
//!
//! # What a map may be trusted for
//!
//! 1. A chunk that the map claims is durable on every destination, whenever the power failed.
//! 2. What was claimed stays claimed: the record that is overwritten is the older one, and the
//!    newer one was flushed before. A torn or lost record leaves the other.
//! 3. A map belongs to one copy ([`Identity`]); it is not used for another.
//!
//! # A destination that failed
//!
//! A claim covers all destinations, so a chunk that could not be written to one of them is not
//! claimed: it is copied again, to all, when the copy is run again. After a flush that failed
//! nothing more is claimed, because nobody knows what it lost; the session ends.
//!
//! The bytes are laid out in `docs/formats/resume-map.md`.

mod map;
mod session;

pub use map::{
    ChunkSet, Identity, IdentityError, MAX_CHUNKS, MAX_MAP_BYTES, MapError, MapFile, Mismatch, Side,
};
pub use session::{Action, Chunk, Ending, Event, Mutation, OnFailure, Progress, Session, Settings};
