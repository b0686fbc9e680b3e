//! What is copied next: chunk after chunk, or what a resume map says is missing.

use std::collections::BTreeSet;

use kcopy::resume::{Action, Chunk, Ending, Event, MapFile, OnFailure, Session, Settings};

use super::mapfile::MapStore;
use crate::clock::Epoch;

/// What the runner is to do.
#[derive(Debug)]
pub(crate) enum Next {
    Copy(Chunk),
    /// Flush the destinations, then say so with [`Feed::flushed`].
    Flush,
    /// Nothing until something happens.
    Wait,
    Finished,
}

/// Hands out chunks and keeps the books on what is done.
#[derive(Debug)]
pub(crate) struct Feed {
    way: Way,
    done: Prefix,
    epoch: Epoch,
    /// Why the map could not be written, if it could not.
    pub(crate) map_error: Option<std::io::Error>,
    pub(crate) ending: Option<Ending>,
}

#[derive(Debug)]
enum Way {
    Plain { next: u64, chunks: u64, chunk: u64, len: u64, stopped: bool },
    Mapped { session: Box<Session>, store: MapStore },
}

/// The chunks that are done without a gap from the start.
#[derive(Debug, Default)]
struct Prefix {
    end: u64,
    beyond: BTreeSet<u64>,
}

impl Prefix {
    fn add(&mut self, index: u64) {
        self.beyond.insert(index);
        while self.beyond.remove(&self.end) {
            self.end += 1;
        }
    }
}

impl Feed {
    /// All of `len` bytes, in chunks of `chunk`.
    pub(crate) fn plain(len: u64, chunk: u64, epoch: Epoch) -> Self {
        let chunk = chunk.max(1);
        let way = Way::Plain { next: 0, chunks: len.div_ceil(chunk), chunk, len, stopped: false };
        Self { way, done: Prefix::default(), epoch, map_error: None, ending: None }
    }

    /// What `map` says is missing; `checkpoint` is the time in milliseconds between two claims.
    pub(crate) fn mapped(
        map: MapFile,
        store: MapStore,
        (outstanding, checkpoint): (usize, u64),
        epoch: Epoch,
    ) -> Self {
        let settings = Settings {
            outstanding,
            checkpoint_nanos: checkpoint.saturating_mul(1_000_000),
            on_failure: OnFailure::GoOn,
            ..Settings::default()
        };
        let session = Box::new(Session::new(map, settings, epoch.time()));
        let way = Way::Mapped { session, store };
        Self { way, done: Prefix::default(), epoch, map_error: None, ending: None }
    }

    /// What to do now. With `room` false, no further chunk is handed out.
    pub(crate) fn next(&mut self, room: bool) -> Next {
        match &mut self.way {
            Way::Plain { next, chunks, chunk, len, stopped } => {
                if *stopped || *next == *chunks {
                    return Next::Finished;
                }
                if !room {
                    return Next::Wait;
                }
                let (index, offset) = (*next, *next * *chunk);
                *next += 1;
                Next::Copy(Chunk { index, offset, len: (*chunk).min(*len - offset) })
            }
            Way::Mapped { .. } => self.next_mapped(),
        }
    }

    fn next_mapped(&mut self) -> Next {
        let Way::Mapped { session, store } = &mut self.way else { return Next::Finished };
        loop {
            let now = self.epoch.time();
            let (result, event) = match session.poll(now) {
                None if self.ending.is_some() => return Next::Finished,
                None => return Next::Wait,
                Some(Action::Copy(chunk)) => return Next::Copy(chunk),
                Some(Action::FlushDestinations) => return Next::Flush,
                Some(Action::Finished(ending)) => {
                    self.ending = Some(ending);
                    return Next::Finished;
                }
                Some(Action::WriteMap { offset, bytes }) => {
                    (store.write(offset, &bytes), Event::MapWritten)
                }
                Some(Action::FlushMap) => (store.flush(), Event::MapFlushed),
            };
            let event = match result {
                Ok(()) => event,
                Err(error) => {
                    self.map_error = Some(error);
                    Event::MapFailed
                }
            };
            session.handle(event, self.epoch.time());
        }
    }

    /// A chunk is done on every destination, or not.
    pub(crate) fn chunk_ended(&mut self, index: u64, ok: bool) {
        if ok {
            self.done.add(index);
        }
        if let Way::Mapped { session, .. } = &mut self.way {
            let event = if ok { Event::ChunkCopied(index) } else { Event::ChunkFailed(index) };
            session.handle(event, self.epoch.time());
        }
    }

    /// The flush that was asked for is done.
    pub(crate) fn flushed(&mut self, ok: bool) {
        if let Way::Mapped { session, .. } = &mut self.way {
            let event = if ok { Event::DestinationsFlushed } else { Event::FlushFailed };
            session.handle(event, self.epoch.time());
        }
    }

    /// Begin nothing new.
    pub(crate) fn stop(&mut self) {
        match &mut self.way {
            Way::Plain { stopped, .. } => *stopped = true,
            Way::Mapped { session, .. } => session.handle(Event::Stop, self.epoch.time()),
        }
    }

    /// Bytes from the start that are done without a gap (0 with a map, which knows better).
    pub(crate) fn prefix(&self) -> u64 {
        match &self.way {
            Way::Plain { chunk, len, .. } => self.done.end.saturating_mul(*chunk).min(*len),
            Way::Mapped { .. } => 0,
        }
    }

    /// Bytes that the map claims.
    pub(crate) fn claimed(&self) -> Option<u64> {
        match &self.way {
            Way::Plain { .. } => None,
            Way::Mapped { session, .. } => Some(session.progress().claimed),
        }
    }

    /// The map has served: it goes.
    pub(crate) fn remove_map(self) -> std::io::Result<()> {
        match self.way {
            Way::Plain { .. } => Ok(()),
            Way::Mapped { store, .. } => store.remove(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chunks_cover_everything_and_the_prefix_grows_without_gaps() {
        let mut feed = Feed::plain(25, 10, Epoch::begin());
        let mut chunks = Vec::new();
        while let Next::Copy(chunk) = feed.next(true) {
            chunks.push((chunk.offset, chunk.len));
        }
        assert_eq!(chunks, [(0, 10), (10, 10), (20, 5)]);
        feed.chunk_ended(1, true);
        assert_eq!(feed.prefix(), 0);
        feed.chunk_ended(0, true);
        assert_eq!(feed.prefix(), 20);
        feed.chunk_ended(2, true);
        assert_eq!(feed.prefix(), 25);
    }
}
