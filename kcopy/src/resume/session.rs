//! The order of things: what to copy next, when to flush, when a claim may be written.
//!
//! ```text
//!             .--------------------- data was copied, and enough of it --------------------.
//!             v                                                                            |
//!   Idle -> Freeze -> FlushDestinations -> WriteMap -> FlushMap -> claim -> Idle -> ... ---'
//!             `- the chunks copied so far, no later one
//! ```
//!
//! Chunks go on being copied while a checkpoint is under way; they belong to the next one.

use std::collections::{BTreeSet, VecDeque};

use super::map::MapFile;
use crate::units::Time;

/// Part of the copy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Chunk {
    /// Its number.
    pub index: u64,
    /// Its first byte, counted from the start of the copy.
    pub offset: u64,
    /// Its length in bytes.
    pub len: u64,
}

/// What the owner of a session is to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Copy a chunk to every destination; answer with [`Event::ChunkCopied`] or
    /// [`Event::ChunkFailed`]. Further actions may be done meanwhile.
    Copy(Chunk),
    /// Flush every destination, **after** having got this action; answer with
    /// [`Event::DestinationsFlushed`] when all have succeeded, or [`Event::FlushFailed`].
    FlushDestinations,
    /// Write these bytes into the map file; answer with [`Event::MapWritten`] or
    /// [`Event::MapFailed`].
    WriteMap {
        /// Where, in bytes from the start of the map file.
        offset: u64,
        /// What.
        bytes: Vec<u8>,
    },
    /// Make the map file durable; answer with [`Event::MapFlushed`] or [`Event::MapFailed`].
    FlushMap,
    /// Nothing is left to do, and nothing is under way.
    Finished(Ending),
}

/// What has happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// This chunk was written to every destination.
    ChunkCopied(u64),
    /// This chunk could not be read, or not be written to every destination.
    ChunkFailed(u64),
    /// Every destination was flushed.
    DestinationsFlushed,
    /// At least one destination could not be flushed.
    FlushFailed,
    /// The bytes were written to the map file.
    MapWritten,
    /// The map file is durable.
    MapFlushed,
    /// The map file could not be written or flushed.
    MapFailed,
    /// The user wants to stop: what was begun is finished and claimed, nothing new is begun.
    Stop,
}

/// How a session ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// Every chunk is durable on every destination, and claimed.
    Complete,
    /// Stopped by [`Event::Stop`]; the map says how to go on.
    Stopped,
    /// Some chunks could not be copied. The others that were copied are claimed.
    ChunksFailed,
    /// A destination could not be flushed: what was copied since the last claim is unclaimed.
    FlushFailed,
    /// The map could not be written: what was copied since the last claim is unclaimed.
    MapFailed,
}

/// What to do when a chunk cannot be copied.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum OnFailure {
    /// Begin no further chunk.
    #[default]
    Stop,
    /// Go on with the other chunks.
    GoOn,
}

/// An ordering rule that a test takes away, to see that the suite notices.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mutation {
    /// Claims are written without flushing the destinations.
    NoDestinationFlush,
    /// A flush is believed to cover chunks that were copied while it was under way.
    ClaimDuringFlush,
    /// The next record is written without flushing the one before.
    NoMapFlush,
    /// The newest record is overwritten instead of the older one.
    OverwriteNewest,
    /// A chunk that failed is claimed.
    ClaimFailed,
    /// A new map is not made durable before the first chunk is copied, nor is one that was read
    /// written again and made durable before it is changed.
    NoOpening,
}

/// How a session goes about it.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Chunks on their way at a time.
    pub outstanding: usize,
    /// A checkpoint is due after so many copied bytes.
    pub checkpoint_bytes: u64,
    /// A checkpoint is due so many nanoseconds after the one before, if something was copied.
    pub checkpoint_nanos: u64,
    /// What to do when a chunk cannot be copied.
    pub on_failure: OnFailure,
    /// A rule to break; for tests of the tests only.
    #[cfg(feature = "mutation")]
    pub mutation: Option<Mutation>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            outstanding: 4,
            checkpoint_bytes: 256 << 20,
            checkpoint_nanos: 5_000_000_000,
            on_failure: OnFailure::default(),
            #[cfg(feature = "mutation")]
            mutation: None,
        }
    }
}

impl Settings {
    fn breaks(&self, rule: Mutation) -> bool {
        #[cfg(feature = "mutation")]
        return self.mutation == Some(rule);
        #[cfg(not(feature = "mutation"))]
        {
            let _ = rule;
            false
        }
    }
}

/// How far a session is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// Bytes of the whole copy.
    pub total: u64,
    /// Bytes claimed by the map, durably: a crash now, and the copy goes on from here.
    pub claimed: u64,
    /// Bytes copied since, not yet claimed.
    pub unclaimed: u64,
}

/// Where the checkpoint stands.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Step {
    /// None is under way.
    Idle,
    /// The destinations are being flushed.
    FlushingData,
    /// The first of the writes is to be made.
    WriteDue,
    Writing,
    MapFlushDue,
    FlushingMap,
}

/// Hands out what to do and takes in what happened; see the module [`crate::resume`].
///
/// ```
/// use kcopy::Time;
/// use kcopy::resume::{Action, Ending, Event, Identity, MapFile, Session, Settings, Side};
///
/// let identity = Identity {
///     source: Side::new("/dev/sda", 3000, 0),
///     destinations: vec![Side::new("/dev/sdb", 0, 0)],
///     length: 3000,
///     chunk: 1024,
///     nonce: 1,
/// };
/// let map = MapFile::new(identity).unwrap();
/// let mut file = vec![0; map.file_size() as usize];
/// let mut session = Session::new(map, Settings::default(), Time::default());
/// let ending = loop {
///     let now = Time::default();
///     let event = match session.poll(now).expect("something to do") {
///         Action::Copy(chunk) => Event::ChunkCopied(chunk.index), // read, write to all
///         Action::FlushDestinations => Event::DestinationsFlushed, // flush all
///         Action::WriteMap { offset, bytes } => {
///             let at = offset as usize;
///             file[at..at + bytes.len()].copy_from_slice(&bytes);
///             Event::MapWritten
///         }
///         Action::FlushMap => Event::MapFlushed,
///         Action::Finished(ending) => break ending,
///     };
///     session.handle(event, now);
/// };
/// assert_eq!(ending, Ending::Complete);
/// assert!(MapFile::parse(&file).unwrap().claimed().is_full());
/// ```
#[derive(Debug)]
pub struct Session {
    map: MapFile,
    settings: Settings,
    step: Step,
    /// What is to be written to the map file, offset and bytes, before it is flushed.
    writes: VecDeque<(u64, Vec<u8>)>,
    /// The map file as it is is durable: chunks may be copied.
    open: bool,
    /// Where to look for the next chunk.
    cursor: u64,
    outstanding: BTreeSet<u64>,
    /// Copied, and in no checkpoint yet.
    copied: Vec<u64>,
    /// In the checkpoint that is under way.
    frozen: Vec<u64>,
    last_checkpoint: Time,
    stopping: bool,
    failed_chunks: u64,
    /// The end that nothing can change any more.
    broken: Option<Ending>,
    finished: bool,
}

impl Session {
    /// A session that goes on where `map` says: a new one ([`MapFile::new`]) from the start.
    pub fn new(map: MapFile, settings: Settings, now: Time) -> Self {
        // What was read may be a record that a killed program never flushed, or one that a failed
        // flush lost although it can still be read. Before the other record is overwritten, this
        // one is written again and made durable.
        let opening = !settings.breaks(Mutation::NoOpening);
        let skip = !opening && !map.is_fresh();
        let writes = if skip { VecDeque::new() } else { map.opening_writes().into() };
        Self {
            open: !opening,
            map,
            settings,
            step: if skip { Step::Idle } else { Step::WriteDue },
            writes,
            cursor: 0,
            outstanding: BTreeSet::new(),
            copied: Vec::new(),
            frozen: Vec::new(),
            last_checkpoint: now,
            stopping: false,
            failed_chunks: 0,
            broken: None,
            finished: false,
        }
    }

    /// What to do next; `None`: nothing until something happens or [`Session::deadline`] comes.
    /// Call it again and again until it says `None` or [`Action::Finished`].
    pub fn poll(&mut self, now: Time) -> Option<Action> {
        if self.finished {
            return None;
        }
        if let Some(action) = self.poll_checkpoint(now) {
            return Some(action);
        }
        if let Some(index) = self.next_chunk() {
            self.cursor = index + 1;
            self.outstanding.insert(index);
            return Some(Action::Copy(self.chunk(index)));
        }
        let under_way = !self.outstanding.is_empty() || self.step != Step::Idle;
        if under_way || !self.copied.is_empty() {
            return None;
        }
        self.finished = true;
        Some(Action::Finished(self.ending()))
    }

    /// Takes in what happened. An answer to something that was not asked for is ignored.
    pub fn handle(&mut self, event: Event, now: Time) {
        match event {
            Event::ChunkCopied(index) => {
                if self.outstanding.remove(&index) && self.broken.is_none() {
                    self.copied.push(index);
                }
            }
            Event::ChunkFailed(index) => self.chunk_failed(index),
            Event::DestinationsFlushed => {
                if self.step == Step::FlushingData {
                    self.data_is_durable();
                }
            }
            Event::FlushFailed => {
                if self.step == Step::FlushingData {
                    self.break_off(Ending::FlushFailed);
                }
            }
            Event::MapWritten => {
                if self.step == Step::Writing && !self.writes.is_empty() {
                    self.step = Step::WriteDue;
                } else if self.step == Step::Writing {
                    self.step = Step::MapFlushDue;
                    if self.settings.breaks(Mutation::NoMapFlush) {
                        self.map_is_durable(now);
                    }
                }
            }
            Event::MapFlushed => {
                if self.step == Step::FlushingMap {
                    self.map_is_durable(now);
                }
            }
            Event::MapFailed => {
                if matches!(self.step, Step::Writing | Step::FlushingMap) {
                    self.break_off(Ending::MapFailed);
                }
            }
            Event::Stop => self.stopping = true,
        }
    }

    /// When to call [`Session::poll`] again although nothing happened.
    pub fn deadline(&self) -> Option<Time> {
        let waits = self.step == Step::Idle && !self.copied.is_empty();
        waits.then(|| self.last_checkpoint.after_nanos(self.settings.checkpoint_nanos))
    }

    /// How far it is.
    pub fn progress(&self) -> Progress {
        let pending = self.copied.iter().chain(&self.frozen);
        Progress {
            total: self.map.identity().length,
            claimed: self.map.claimed_bytes(),
            unclaimed: pending.map(|index| self.chunk(*index).len).sum(),
        }
    }

    /// The map as it is durable.
    pub fn map(&self) -> &MapFile {
        &self.map
    }

    fn chunk(&self, index: u64) -> Chunk {
        let identity = self.map.identity();
        let offset = index * identity.chunk;
        Chunk { index, offset, len: identity.chunk.min(identity.length - offset) }
    }

    fn next_chunk(&self) -> Option<u64> {
        let room = self.outstanding.len() < self.settings.outstanding.max(1);
        if !room || !self.open || self.is_stopping() {
            return None;
        }
        self.map.claimed().first_missing(self.cursor)
    }

    fn is_stopping(&self) -> bool {
        self.stopping || self.broken.is_some()
    }

    fn poll_checkpoint(&mut self, now: Time) -> Option<Action> {
        match std::mem::replace(&mut self.step, Step::Idle) {
            Step::Idle => {
                if !self.checkpoint_is_due(now) {
                    return None;
                }
                if !self.settings.breaks(Mutation::ClaimDuringFlush) {
                    self.frozen = std::mem::take(&mut self.copied);
                }
                self.step = Step::FlushingData;
                if self.settings.breaks(Mutation::NoDestinationFlush) {
                    self.data_is_durable();
                    return self.poll_checkpoint(now);
                }
                Some(Action::FlushDestinations)
            }
            Step::WriteDue => {
                let (offset, bytes) = self.writes.pop_front()?;
                self.step = Step::Writing;
                Some(Action::WriteMap { offset, bytes })
            }
            Step::MapFlushDue => {
                self.step = Step::FlushingMap;
                Some(Action::FlushMap)
            }
            under_way @ (Step::FlushingData | Step::Writing | Step::FlushingMap) => {
                self.step = under_way;
                None
            }
        }
    }

    fn checkpoint_is_due(&self, now: Time) -> bool {
        if self.copied.is_empty() || self.broken.is_some() || !self.open {
            return false;
        }
        let bytes: u64 = self.copied.iter().map(|index| self.chunk(*index).len).sum();
        let drained = self.outstanding.is_empty() && self.next_chunk().is_none();
        drained
            || bytes >= self.settings.checkpoint_bytes
            || now.nanos_since(self.last_checkpoint) >= self.settings.checkpoint_nanos
    }

    fn data_is_durable(&mut self) {
        if self.settings.breaks(Mutation::ClaimDuringFlush) {
            self.frozen = std::mem::take(&mut self.copied);
        }
        let (mut offset, bytes) = self.map.next_record(&self.frozen);
        if self.settings.breaks(Mutation::OverwriteNewest) {
            offset = self.map.newest_place();
        }
        self.writes.push_back((offset, bytes));
        self.step = Step::WriteDue;
    }

    fn map_is_durable(&mut self, now: Time) {
        self.step = Step::Idle;
        if !self.open {
            self.open = true;
            return;
        }
        if !self.frozen.is_empty() {
            self.map.adopt(&std::mem::take(&mut self.frozen));
            if self.settings.breaks(Mutation::OverwriteNewest) {
                self.map.stay();
            }
        }
        self.last_checkpoint = now;
    }

    fn chunk_failed(&mut self, index: u64) {
        if !self.outstanding.remove(&index) {
            return;
        }
        if self.settings.breaks(Mutation::ClaimFailed) {
            return self.copied.push(index);
        }
        self.failed_chunks += 1;
        self.stopping |= self.settings.on_failure == OnFailure::Stop;
    }

    fn break_off(&mut self, ending: Ending) {
        self.broken = Some(ending);
        self.step = Step::Idle;
        self.writes.clear();
        self.copied.clear();
        self.frozen.clear();
    }

    fn ending(&self) -> Ending {
        if let Some(ending) = self.broken {
            ending
        } else if self.map.claimed().is_full() {
            Ending::Complete
        } else if self.failed_chunks > 0 {
            Ending::ChunksFailed
        } else {
            Ending::Stopped
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::map::{Identity, Side};
    use super::*;

    const NOW: Time = Time::from_nanos(0);

    fn session(chunks: u64, settings: Settings) -> Session {
        let identity = Identity {
            source: Side::new("a", 0, 0),
            destinations: vec![Side::new("b", 0, 0)],
            length: chunks * 512 - 100,
            chunk: 512,
            nonce: 0,
        };
        let mut session = Session::new(MapFile::new(identity).unwrap(), settings, NOW);
        assert!(matches!(session.poll(NOW), Some(Action::WriteMap { offset: 0, .. })));
        assert_eq!(session.poll(NOW), None, "no chunk before the map is there");
        session.handle(Event::MapWritten, NOW);
        assert_eq!(session.poll(NOW), Some(Action::FlushMap));
        session.handle(Event::MapFlushed, NOW);
        session
    }

    fn every(bytes: u64) -> Settings {
        Settings { outstanding: 2, checkpoint_bytes: bytes, ..Settings::default() }
    }

    fn copy(index: u64) -> Option<Action> {
        Some(Action::Copy(Chunk { index, offset: index * 512, len: 512 }))
    }

    #[test]
    fn checkpoint_covers_the_chunks_copied_before_its_flush() {
        let mut session = session(5, every(512));
        assert_eq!(session.poll(NOW), copy(0));
        assert_eq!(session.poll(NOW), copy(1));
        assert_eq!(session.poll(NOW), None);
        session.handle(Event::ChunkCopied(1), NOW);
        assert_eq!(session.poll(NOW), Some(Action::FlushDestinations));
        session.handle(Event::ChunkCopied(0), NOW);
        session.handle(Event::DestinationsFlushed, NOW);
        let Some(Action::WriteMap { offset, .. }) = session.poll(NOW) else { panic!("no write") };
        assert_eq!(offset, 8192, "the older record");
        assert_eq!(session.progress().claimed, 0);
        session.handle(Event::MapWritten, NOW);
        assert_eq!(session.poll(NOW), Some(Action::FlushMap));
        session.handle(Event::MapFlushed, NOW);
        assert!(session.map().claimed().contains(1) && !session.map().claimed().contains(0));
        assert_eq!(session.poll(NOW), Some(Action::FlushDestinations), "the next one is due");
    }

    #[test]
    fn stop_finishes_what_was_begun_and_claims_it() {
        let mut session = session(5, every(1 << 30));
        assert_eq!(session.poll(NOW), copy(0));
        session.handle(Event::Stop, NOW);
        assert_eq!(session.poll(NOW), None);
        session.handle(Event::ChunkCopied(0), NOW);
        assert_eq!(session.poll(NOW), Some(Action::FlushDestinations));
        session.handle(Event::DestinationsFlushed, NOW);
        assert!(matches!(session.poll(NOW), Some(Action::WriteMap { .. })));
        session.handle(Event::MapWritten, NOW);
        assert_eq!(session.poll(NOW), Some(Action::FlushMap));
        session.handle(Event::MapFlushed, NOW);
        assert_eq!(session.poll(NOW), Some(Action::Finished(Ending::Stopped)));
        assert_eq!(session.poll(NOW), None);
        assert_eq!(session.progress().claimed, 512);
    }

    #[test]
    fn chunk_that_failed_is_not_claimed() {
        for (on_failure, ending) in [(OnFailure::Stop, 1), (OnFailure::GoOn, 2)] {
            let mut session =
                session(3, Settings { outstanding: 1, on_failure, ..Settings::default() });
            assert_eq!(session.poll(NOW), copy(0));
            session.handle(Event::ChunkFailed(0), NOW);
            let mut copied = 0;
            let last = loop {
                match session.poll(NOW).expect("something to do") {
                    Action::Copy(chunk) => {
                        copied += 1;
                        session.handle(Event::ChunkCopied(chunk.index), NOW);
                    }
                    Action::FlushDestinations => session.handle(Event::DestinationsFlushed, NOW),
                    Action::WriteMap { .. } => session.handle(Event::MapWritten, NOW),
                    Action::FlushMap => session.handle(Event::MapFlushed, NOW),
                    Action::Finished(ending) => break ending,
                }
            };
            assert_eq!((last, copied), (Ending::ChunksFailed, (ending - 1) * 2));
            assert!(!session.map().claimed().contains(0));
        }
    }

    #[test]
    fn nothing_is_claimed_after_a_flush_that_failed() {
        let mut session = session(3, every(512));
        assert_eq!(session.poll(NOW), copy(0));
        assert_eq!(session.poll(NOW), copy(1));
        session.handle(Event::ChunkCopied(0), NOW);
        assert_eq!(session.poll(NOW), Some(Action::FlushDestinations));
        session.handle(Event::FlushFailed, NOW);
        assert_eq!(session.poll(NOW), None, "waits for the chunk under way");
        session.handle(Event::ChunkCopied(1), NOW);
        assert_eq!(session.poll(NOW), Some(Action::Finished(Ending::FlushFailed)));
        assert_eq!(session.progress(), Progress { total: 1436, claimed: 0, unclaimed: 0 });
    }

    #[test]
    fn checkpoint_is_due_after_its_time() {
        let mut session = session(3, Settings { outstanding: 1, ..every(1 << 30) });
        assert_eq!(session.poll(NOW), copy(0));
        session.handle(Event::ChunkCopied(0), NOW);
        assert_eq!(session.poll(NOW), copy(1));
        let deadline = session.deadline().unwrap();
        assert_eq!(session.poll(deadline), Some(Action::FlushDestinations));
    }

    #[test]
    fn answers_to_what_was_not_asked_are_ignored() {
        let mut session = session(2, every(1));
        for event in [Event::DestinationsFlushed, Event::MapWritten, Event::MapFlushed] {
            session.handle(event, NOW);
        }
        session.handle(Event::ChunkCopied(1), NOW);
        session.handle(Event::MapFailed, NOW);
        session.handle(Event::FlushFailed, NOW);
        assert_eq!(session.poll(NOW), copy(0));
        assert_eq!(session.progress().claimed, 0);
    }
}
