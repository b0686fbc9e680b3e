//! The map file: bytes to types and back. Pure.
#![deny(clippy::indexing_slicing, clippy::arithmetic_side_effects)]

use crate::job::MAX_DESTINATIONS;

const MAGIC: [u8; 8] = *b"KCOPYMAP";
const VERSION: u32 = 1;
/// Size of the header, and what the records are padded to: no two of the three share a block.
const BLOCK: usize = 4096;
const BLOCK_U64: u64 = 4096;
const RECORD_MAGIC: [u8; 4] = *b"KREC";
const RECORD_HEAD: usize = 32;
const SIDE_LEN: usize = 32;
const HEADER_SIDES: usize = 64;
const HEADER_CRC: usize = BLOCK - 4;

/// The most chunks that a map has: bounds its memory to a bitmap of 512 KiB.
pub const MAX_CHUNKS: u64 = 1 << 22;

/// The most bytes that a map file has. A longer file need not be read.
pub const MAX_MAP_BYTES: u64 = BLOCK_U64 + 2 * (BLOCK_U64 + MAX_CHUNKS / 8);

/// One end of a copy, as a map remembers it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Side {
    /// Hash of the name (FNV-1a, 128 bits).
    pub name: u128,
    /// Size in bytes of the device; 0 if it does not matter (a destination that may grow).
    pub size: u64,
    /// Where on it the copy begins.
    pub offset: u64,
}

impl Side {
    /// The side called `name`: any bytes that are the same when the copy is run again.
    pub fn new(name: impl AsRef<[u8]>, size: u64, offset: u64) -> Self {
        const BASIS: u128 = 0x6c62_272e_07bb_0142_62b8_2175_6295_c58d;
        const PRIME: u128 = 0x0000_0000_0100_0000_0000_0000_0000_013b;
        let fold = |hash: u128, byte: &u8| (hash ^ u128::from(*byte)).wrapping_mul(PRIME);
        Self { name: name.as_ref().iter().fold(BASIS, fold), size, offset }
    }

    fn to_bytes(self) -> [u8; SIDE_LEN] {
        let mut out = [0; SIDE_LEN];
        put(&mut out, 0, &self.name.to_le_bytes());
        put(&mut out, 16, &self.size.to_le_bytes());
        put(&mut out, 24, &self.offset.to_le_bytes());
        out
    }

    fn from_bytes(bytes: &[u8]) -> Option<Self> {
        Some(Self {
            name: u128::from_le_bytes(array(bytes, 0)?),
            size: u64::from_le_bytes(array(bytes, 16)?),
            offset: u64::from_le_bytes(array(bytes, 24)?),
        })
    }
}

/// Which copy a map belongs to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// Where from.
    pub source: Side,
    /// Where to, in order.
    pub destinations: Vec<Side>,
    /// Number of bytes to copy.
    pub length: u64,
    /// Size of a chunk in bytes; the last one may be shorter.
    pub chunk: u64,
    /// Tells a copy from an earlier one with the same ends: any number, a new one for each map.
    pub nonce: u64,
}

/// What is wrong with an identity.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum IdentityError {
    /// Nothing to copy, or chunks of no bytes.
    #[error("a map needs bytes to copy and chunks of at least one byte")]
    Empty,
    /// Too many chunks.
    #[error("{chunks} chunks are more than the {MAX_CHUNKS} that a map can have")]
    TooManyChunks {
        /// How many there would be.
        chunks: u64,
    },
    /// No destination, or too many.
    #[error("a map is for 1 to {MAX_DESTINATIONS} destinations, not {count}")]
    Destinations {
        /// How many there are.
        count: usize,
    },
}

/// In what two copies differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Mismatch {
    /// Another source, or another place on it.
    #[error("the map is for another source")]
    Source,
    /// The source's size has changed.
    #[error("the source had {then} bytes when the map was made, now it has {now}")]
    SourceSize {
        /// Then.
        then: u64,
        /// Now.
        now: u64,
    },
    /// Another number of destinations.
    #[error("the map is for {then} destinations, not {now}")]
    DestinationCount {
        /// In the map.
        then: usize,
        /// Now.
        now: usize,
    },
    /// Another destination, or another place on it.
    #[error("destination {0} is not the one that the map is for")]
    Destination(usize),
    /// Another length.
    #[error("the map is for a copy of {then} bytes, not {now}")]
    Length {
        /// In the map.
        then: u64,
        /// Now.
        now: u64,
    },
}

impl Identity {
    /// The number of chunks.
    pub fn chunks(&self) -> u64 {
        self.length.checked_div(self.chunk).map_or(0, |whole| {
            whole.saturating_add(u64::from(self.length.checked_rem(self.chunk) != Some(0)))
        })
    }

    /// A chunk size of at least `wished` bytes, a multiple of it, that keeps the number of chunks
    /// of `length` bytes within bounds.
    pub fn chunk_for(length: u64, wished: u64) -> u64 {
        let wished = wished.max(1);
        let times = length.div_ceil(wished.saturating_mul(MAX_CHUNKS)).max(1);
        wished.saturating_mul(times)
    }

    /// Whether this is what a map can be made for.
    ///
    /// # Errors
    ///
    /// What is wrong with it.
    pub fn check(&self) -> Result<(), IdentityError> {
        if self.length == 0 || self.chunk == 0 {
            return Err(IdentityError::Empty);
        }
        if self.chunks() > MAX_CHUNKS {
            return Err(IdentityError::TooManyChunks { chunks: self.chunks() });
        }
        let count = self.destinations.len();
        if count == 0 || count > MAX_DESTINATIONS {
            return Err(IdentityError::Destinations { count });
        }
        Ok(())
    }

    /// Whether a map with this identity may be used for the copy `now`; the nonce and the chunk
    /// size do not matter, the map's are kept.
    ///
    /// # Errors
    ///
    /// The first thing in which they differ.
    pub fn matches(&self, now: &Self) -> Result<(), Mismatch> {
        let (was, is) = (self.source, now.source);
        if (was.name, was.offset) != (is.name, is.offset) {
            return Err(Mismatch::Source);
        }
        if was.size != is.size {
            return Err(Mismatch::SourceSize { then: was.size, now: is.size });
        }
        if self.length != now.length {
            return Err(Mismatch::Length { then: self.length, now: now.length });
        }
        let (then, count) = (self.destinations.len(), now.destinations.len());
        if then != count {
            return Err(Mismatch::DestinationCount { then, now: count });
        }
        let same = |(a, b): (&Side, &Side)| a == b;
        match self.destinations.iter().zip(&now.destinations).position(|pair| !same(pair)) {
            Some(index) => Err(Mismatch::Destination(index)),
            None => Ok(()),
        }
    }

    fn to_block(&self) -> [u8; BLOCK] {
        let mut out = [0; BLOCK];
        put(&mut out, 0, &MAGIC);
        put(&mut out, 8, &VERSION.to_le_bytes());
        let count = u32::try_from(self.destinations.len()).unwrap_or(u32::MAX);
        put(&mut out, 12, &count.to_le_bytes());
        put(&mut out, 16, &self.length.to_le_bytes());
        put(&mut out, 24, &self.chunk.to_le_bytes());
        put(&mut out, 32, &self.nonce.to_le_bytes());
        let sides = std::iter::once(&self.source).chain(&self.destinations);
        let places = (HEADER_SIDES..HEADER_CRC).step_by(SIDE_LEN);
        for (side, at) in sides.zip(places) {
            put(&mut out, at, &side.to_bytes());
        }
        let crc = crc32c::crc32c(out.get(..HEADER_CRC).unwrap_or_default());
        put(&mut out, HEADER_CRC, &crc.to_le_bytes());
        out
    }

    fn from_block(bytes: &[u8]) -> Result<Self, MapError> {
        let bytes = bytes.get(..BLOCK).ok_or(MapError::NotAMap)?;
        if array(bytes, 0) != Some(MAGIC) {
            return Err(MapError::NotAMap);
        }
        let crc = array(bytes, HEADER_CRC).map(u32::from_le_bytes);
        if crc != bytes.get(..HEADER_CRC).map(crc32c::crc32c) {
            return Err(MapError::HeaderDamaged);
        }
        let version = word32(bytes, 8)?;
        if version != VERSION {
            return Err(MapError::Version { version });
        }
        let count = usize::try_from(word32(bytes, 12)?).unwrap_or(usize::MAX);
        if count > MAX_DESTINATIONS {
            return Err(MapError::HeaderDamaged);
        }
        let side = |at: usize| bytes.get(at..).and_then(Side::from_bytes);
        let places = (HEADER_SIDES..HEADER_CRC).step_by(SIDE_LEN);
        let destinations: Vec<Side> = places.skip(1).take(count).filter_map(side).collect();
        let identity = Self {
            source: side(HEADER_SIDES).ok_or(MapError::HeaderDamaged)?,
            destinations,
            length: word64(bytes, 16)?,
            chunk: word64(bytes, 24)?,
            nonce: word64(bytes, 32)?,
        };
        identity.check().map_err(|_| MapError::HeaderDamaged)?;
        Ok(identity)
    }
}

/// A set of chunks.
#[derive(Clone, PartialEq, Eq)]
pub struct ChunkSet {
    bits: Vec<u8>,
    chunks: u64,
    count: u64,
}

impl std::fmt::Debug for ChunkSet {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "ChunkSet({} of {})", self.count, self.chunks)
    }
}

impl ChunkSet {
    /// No chunk of `chunks`.
    fn new(chunks: u64) -> Self {
        let bytes = usize::try_from(chunks.div_ceil(8)).unwrap_or(0);
        Self { bits: vec![0; bytes], chunks, count: 0 }
    }

    /// The set with this bitmap; `None` if it names chunks that do not exist.
    fn from_bits(bits: &[u8], chunks: u64) -> Option<Self> {
        let count = bits.iter().map(|byte| u64::from(byte.count_ones())).sum();
        let set = Self { bits: bits.to_vec(), chunks, count };
        let capacity = (bits.len() as u64).saturating_mul(8);
        (chunks..capacity).all(|index| !set.bit(index)).then_some(set)
    }

    fn bit(&self, index: u64) -> bool {
        let byte = usize::try_from(index / 8).ok().and_then(|at| self.bits.get(at));
        byte.is_some_and(|byte| byte & (1 << (index % 8)) != 0)
    }

    /// Whether chunk `index` is in it.
    pub fn contains(&self, index: u64) -> bool {
        index < self.chunks && self.bit(index)
    }

    /// Adds chunk `index`, if it exists.
    pub(super) fn insert(&mut self, index: u64) {
        if index >= self.chunks || self.bit(index) {
            return;
        }
        if let Some(byte) = usize::try_from(index / 8).ok().and_then(|at| self.bits.get_mut(at)) {
            *byte |= 1 << (index % 8);
            self.count = self.count.saturating_add(1);
        }
    }

    /// How many are in it.
    pub fn len(&self) -> u64 {
        self.count
    }

    /// Whether none is in it.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Whether all are in it.
    pub fn is_full(&self) -> bool {
        self.count == self.chunks
    }

    /// The first chunk at `from` or behind it that is not in it.
    pub fn first_missing(&self, from: u64) -> Option<u64> {
        let mut index = from;
        while index < self.chunks {
            let at = usize::try_from(index / 8).unwrap_or(usize::MAX);
            if index.is_multiple_of(8) && self.bits.get(at) == Some(&u8::MAX) {
                index = index.saturating_add(8);
            } else if self.bit(index) {
                index = index.saturating_add(1);
            } else {
                return Some(index);
            }
        }
        None
    }
}

/// Why a file cannot be used as a map. In no case anything is claimed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum MapError {
    /// The file is empty, or all zeros: a map was about to be made, nothing was copied.
    #[error("the file is empty")]
    Empty,
    /// Something else lies there.
    #[error("this is not a map of kcopy")]
    NotAMap,
    /// Made by another version.
    #[error("the map has version {version}, this program knows version {VERSION}")]
    Version {
        /// Its version.
        version: u32,
    },
    /// The header's checksum or fields are wrong. A crash while a map was being made does this, and
    /// then nothing was copied yet.
    #[error("the map's header is damaged")]
    HeaderDamaged,
    /// The file ends before its records do.
    #[error("the map is cut off: {len} bytes instead of {expected}")]
    CutOff {
        /// Bytes there.
        len: u64,
        /// Bytes wanted.
        expected: u64,
    },
    /// Both records are damaged. Crashes do not do this.
    #[error("both records of the map are damaged")]
    RecordsDamaged,
}

/// A map: which copy, and which of its chunks are claimed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MapFile {
    identity: Identity,
    /// Checksum of the header: a record with another one belongs to an earlier map.
    tag: u32,
    claimed: ChunkSet,
    sequence: u64,
    /// Which of the two places holds the newest record.
    newest: usize,
    /// Whether the file has to be written from the start.
    fresh: bool,
    damaged_record: bool,
}

impl MapFile {
    /// A map that claims nothing, to be written by a [`super::Session`].
    ///
    /// # Errors
    ///
    /// If a map cannot be made for this copy.
    pub fn new(identity: Identity) -> Result<Self, IdentityError> {
        identity.check()?;
        let tag = tag_of(&identity.to_block());
        let claimed = ChunkSet::new(identity.chunks());
        Ok(Self {
            identity,
            tag,
            claimed,
            sequence: 2,
            newest: 0,
            fresh: true,
            damaged_record: false,
        })
    }

    /// Reads a map. Never panics, whatever the bytes are, and needs no more memory than they do.
    ///
    /// # Errors
    ///
    /// Why it cannot be used.
    pub fn parse(bytes: &[u8]) -> Result<Self, MapError> {
        if bytes.iter().all(|byte| *byte == 0) {
            return Err(MapError::Empty);
        }
        let identity = Identity::from_block(bytes)?;
        let header = bytes.get(..BLOCK).ok_or(MapError::NotAMap)?;
        let tag = tag_of(header);
        let size = record_size(&identity);
        let end = size.saturating_mul(2).saturating_add(BLOCK);
        if bytes.len() < end {
            let (len, expected) = (bytes.len() as u64, end as u64);
            return Err(MapError::CutOff { len, expected });
        }
        let record = |place: usize| {
            let start = BLOCK.saturating_add(size.saturating_mul(place));
            let bytes = bytes.get(start..start.saturating_add(size))?;
            parse_record(bytes, tag, identity.chunks())
        };
        let (first, second) = (record(0), record(1));
        let damaged_record = first.is_none() || second.is_none();
        let (newest, (sequence, claimed)) = match (first, second) {
            (Some(a), Some(b)) if b.0 > a.0 => (1, b),
            (Some(a), _) => (0, a),
            (None, Some(b)) => (1, b),
            (None, None) => return Err(MapError::RecordsDamaged),
        };
        Ok(Self { identity, tag, claimed, sequence, newest, fresh: false, damaged_record })
    }

    /// Which copy it belongs to.
    pub fn identity(&self) -> &Identity {
        &self.identity
    }

    /// The chunks that are durable on every destination.
    pub fn claimed(&self) -> &ChunkSet {
        &self.claimed
    }

    /// How many bytes are claimed.
    pub fn claimed_bytes(&self) -> u64 {
        let last = self.identity.chunks().saturating_sub(1);
        let short = (self.identity.chunk).saturating_sub(
            self.identity.length.saturating_sub(last.saturating_mul(self.identity.chunk)),
        );
        let whole = self.claimed.len().saturating_mul(self.identity.chunk);
        if self.claimed.contains(last) { whole.saturating_sub(short) } else { whole }
    }

    /// Size of the file in bytes.
    pub fn file_size(&self) -> u64 {
        BLOCK_U64.saturating_add((record_size(&self.identity) as u64).saturating_mul(2))
    }

    /// Whether one of the two records was torn: the other one was used.
    pub fn has_damaged_record(&self) -> bool {
        self.damaged_record
    }

    /// Whether this map was made now, not read.
    pub(super) fn is_fresh(&self) -> bool {
        self.fresh
    }

    /// The whole file of a new map.
    pub fn image(&self) -> Vec<u8> {
        let mut out = self.identity.to_block().to_vec();
        out.extend(self.record(self.sequence));
        out.extend(self.record(self.sequence.saturating_sub(1)));
        out
    }

    /// What a session writes before anything else: a new map, or the header and the record of one
    /// that was read, as they are. Where the device has them already this changes nothing; a torn
    /// record leaves the other.
    pub(super) fn opening_writes(&self) -> Vec<(u64, Vec<u8>)> {
        if self.fresh {
            return vec![(0, self.image())];
        }
        let record = self.record(self.sequence);
        vec![(0, self.identity.to_block().to_vec()), (self.newest_place(), record)]
    }

    /// The next record, with `more` chunks claimed: where it goes and its bytes. The map itself
    /// stays as it is until [`MapFile::adopt`].
    pub(super) fn next_record(&self, more: &[u64]) -> (u64, Vec<u8>) {
        let mut next = self.clone();
        more.iter().for_each(|index| next.claimed.insert(*index));
        let place = self.newest ^ 1;
        (self.place(place), next.record(self.sequence.saturating_add(1)))
    }

    /// Where the newest record lies.
    pub(super) fn newest_place(&self) -> u64 {
        self.place(self.newest)
    }

    fn place(&self, place: usize) -> u64 {
        let start = record_size(&self.identity).saturating_mul(place).saturating_add(BLOCK);
        start as u64
    }

    /// The record of [`MapFile::next_record`] is durable.
    pub(super) fn adopt(&mut self, more: &[u64]) {
        more.iter().for_each(|index| self.claimed.insert(*index));
        self.sequence = self.sequence.saturating_add(1);
        self.newest ^= 1;
    }

    /// The newest record is where it was: the broken rule of [`super::Mutation::OverwriteNewest`].
    pub(super) fn stay(&mut self) {
        self.newest ^= 1;
    }

    fn record(&self, sequence: u64) -> Vec<u8> {
        let mut out = vec![0; record_size(&self.identity)];
        put(&mut out, 0, &RECORD_MAGIC);
        put(&mut out, 8, &sequence.to_le_bytes());
        put(&mut out, 16, &self.tag.to_le_bytes());
        put(&mut out, 24, &self.claimed.count.to_le_bytes());
        put(&mut out, RECORD_HEAD, &self.claimed.bits);
        let crc = crc32c::crc32c(out.get(8..).unwrap_or_default());
        put(&mut out, 4, &crc.to_le_bytes());
        out
    }
}

fn tag_of(header: &[u8]) -> u32 {
    array(header, HEADER_CRC).map_or(0, u32::from_le_bytes)
}

/// Bytes of one record, padding included.
fn record_size(identity: &Identity) -> usize {
    let bitmap = usize::try_from(identity.chunks().min(MAX_CHUNKS).div_ceil(8)).unwrap_or(0);
    bitmap.saturating_add(RECORD_HEAD).next_multiple_of(BLOCK)
}

/// Sequence number and claims, if the record is whole and belongs to this map.
fn parse_record(bytes: &[u8], tag: u32, chunks: u64) -> Option<(u64, ChunkSet)> {
    let crc = array(bytes, 4).map(u32::from_le_bytes)?;
    let whole = array(bytes, 0) == Some(RECORD_MAGIC) && crc32c::crc32c(bytes.get(8..)?) == crc;
    if !whole || array(bytes, 16).map(u32::from_le_bytes) != Some(tag) {
        return None;
    }
    let sequence = array(bytes, 8).map(u64::from_le_bytes)?;
    let bitmap = usize::try_from(chunks.div_ceil(8)).ok()?;
    let bits = bytes.get(RECORD_HEAD..RECORD_HEAD.saturating_add(bitmap))?;
    let claimed = ChunkSet::from_bits(bits, chunks)?;
    let count = array(bytes, 24).map(u64::from_le_bytes)?;
    (claimed.len() == count).then_some((sequence, claimed))
}

fn array<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..)?.first_chunk().copied()
}

fn word32(bytes: &[u8], at: usize) -> Result<u32, MapError> {
    array(bytes, at).map(u32::from_le_bytes).ok_or(MapError::HeaderDamaged)
}

fn word64(bytes: &[u8], at: usize) -> Result<u64, MapError> {
    array(bytes, at).map(u64::from_le_bytes).ok_or(MapError::HeaderDamaged)
}

fn put(out: &mut [u8], at: usize, bytes: &[u8]) {
    let end = at.saturating_add(bytes.len());
    if let Some(place) = out.get_mut(at..end) {
        place.copy_from_slice(bytes);
    }
}

#[cfg(test)]
#[expect(clippy::arithmetic_side_effects, reason = "a test that overflows fails")]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn identity(length: u64, chunk: u64, destinations: usize) -> Identity {
        Identity {
            source: Side::new("source", length, 0),
            destinations: (0..destinations)
                .map(|index| Side::new(format!("to {index}"), 0, 512))
                .collect(),
            length,
            chunk,
            nonce: 9,
        }
    }

    fn map() -> MapFile {
        MapFile::new(identity(100_000, 4096, 2)).unwrap()
    }

    /// Applies a record to a file's bytes.
    fn apply(file: &mut [u8], (offset, bytes): (u64, Vec<u8>)) {
        let offset = usize::try_from(offset).unwrap();
        file[offset..offset + bytes.len()].copy_from_slice(&bytes);
    }

    #[test]
    fn map_reads_back_what_was_written() {
        for destinations in [1, 2, 64] {
            let map = MapFile::new(identity(1 << 30, 1 << 15, destinations)).unwrap();
            let mut file = map.image();
            assert_eq!(file.len() as u64, map.file_size());
            apply(&mut file, map.next_record(&[0, 3, 32_767]));
            let back = MapFile::parse(&file).unwrap();
            assert_eq!(back.identity(), map.identity());
            assert_eq!(back.claimed().len(), 3);
            assert!(back.claimed().contains(32_767) && !back.claimed().contains(1));
            assert!(!back.has_damaged_record());
            assert_eq!(back.claimed_bytes(), 3 << 15);
        }
    }

    #[test]
    fn damaged_record_leaves_the_other() {
        let mut map = map();
        let mut file = map.image();
        apply(&mut file, map.next_record(&[1]));
        map.adopt(&[1]);
        let before = file.clone();
        apply(&mut file, map.next_record(&[2]));
        for at in 4096..8192 {
            if before[at] == file[at] {
                continue;
            }
            let mut torn = file.clone();
            torn[at] = before[at];
            let back = MapFile::parse(&torn).unwrap();
            assert!(back.has_damaged_record());
            assert!(back.claimed().contains(1) && !back.claimed().contains(2));
        }
    }

    #[test]
    fn record_of_an_earlier_map_is_not_believed() {
        let mut old = map();
        let mut file = old.image();
        apply(&mut file, old.next_record(&[1, 2, 3]));
        old.adopt(&[1, 2, 3]);
        apply(&mut file, old.next_record(&[4]));
        let new = MapFile::new(Identity { nonce: 10, ..identity(100_000, 4096, 2) }).unwrap();
        file[..BLOCK].copy_from_slice(&new.image()[..BLOCK]);
        assert_eq!(MapFile::parse(&file), Err(MapError::RecordsDamaged));
    }

    #[test]
    fn what_is_not_a_map_is_told_from_a_damaged_one() {
        assert_eq!(MapFile::parse(&[]), Err(MapError::Empty));
        assert_eq!(MapFile::parse(&[0; 9000]), Err(MapError::Empty));
        assert_eq!(MapFile::parse(&[1; 9000]), Err(MapError::NotAMap));
        let file = map().image();
        let cut = MapFile::parse(&file[..8000]);
        assert_eq!(cut, Err(MapError::CutOff { len: 8000, expected: 12_288 }));
        for at in 8..BLOCK {
            let mut bad = file.clone();
            bad[at] ^= 0x40;
            assert_eq!(MapFile::parse(&bad), Err(MapError::HeaderDamaged), "byte {at}");
        }
        let mut other = file.clone();
        other[8] = 2;
        let crc = crc32c::crc32c(&other[..HEADER_CRC]).to_le_bytes();
        other[HEADER_CRC..BLOCK].copy_from_slice(&crc);
        assert_eq!(MapFile::parse(&other), Err(MapError::Version { version: 2 }));
    }

    #[test]
    fn identity_tells_what_differs() {
        let then = identity(100_000, 4096, 2);
        assert_eq!(then.matches(&Identity { chunk: 512, nonce: 0, ..then.clone() }), Ok(()));
        let mut now = then.clone();
        now.source.size = 7;
        assert_eq!(then.matches(&now), Err(Mismatch::SourceSize { then: 100_000, now: 7 }));
        now = then.clone();
        now.destinations[1].offset = 0;
        assert_eq!(then.matches(&now), Err(Mismatch::Destination(1)));
        now.destinations.pop();
        assert_eq!(then.matches(&now), Err(Mismatch::DestinationCount { then: 2, now: 1 }));
        assert_eq!(identity(0, 4096, 1).check(), Err(IdentityError::Empty));
        assert_eq!(identity(1, 1, 65).check(), Err(IdentityError::Destinations { count: 65 }));
        let chunks = u64::MAX;
        assert_eq!(identity(chunks, 1, 1).check(), Err(IdentityError::TooManyChunks { chunks }));
        let chunk = Identity::chunk_for(u64::MAX, 1 << 20);
        assert_eq!(identity(u64::MAX, chunk, 1).check(), Ok(()));
        assert_eq!(Identity::chunk_for(1 << 30, 1 << 20), 1 << 20);
    }

    /// Makes the checksums of a damaged file right again.
    fn mend(file: &mut [u8], record: usize) {
        let crc = crc32c::crc32c(&file[..HEADER_CRC]).to_le_bytes();
        file[HEADER_CRC..BLOCK].copy_from_slice(&crc);
        for record in file[BLOCK..].chunks_exact_mut(record) {
            record[16..20].copy_from_slice(&crc);
            let crc = crc32c::crc32c(&record[8..]).to_le_bytes();
            record[4..8].copy_from_slice(&crc);
        }
    }

    proptest! {
        #[test]
        fn parser_survives_damage_behind_its_checksums_for_all(
            damage in proptest::collection::vec((0usize..128, any::<u8>(), 0usize..3), 1..6),
        ) {
            let mut file = map().image();
            for (at, value, part) in damage {
                file[part * BLOCK + at] ^= value;
            }
            mend(&mut file, BLOCK);
            if let Ok(back) = MapFile::parse(&file) {
                prop_assert!(back.claimed().len() <= back.identity().chunks());
                prop_assert!(back.claimed_bytes() <= back.identity().length);
                prop_assert!(back.file_size() <= file.len() as u64);
            }
        }

        #[test]
        fn parser_survives_any_bytes_for_all(bytes in proptest::collection::vec(any::<u8>(), 0..9000)) {
            let _ = MapFile::parse(&bytes);
        }

        #[test]
        fn parser_survives_any_damage_for_all(
            length in 1u64..10_000_000, chunk in 1u64..100_000,
            damage in proptest::collection::vec((any::<proptest::sample::Index>(), any::<u8>()), 1..8),
            cut in any::<proptest::sample::Index>(),
        ) {
            let Ok(map) = MapFile::new(identity(length, chunk, 3)) else { return Ok(()) };
            let mut file = map.image();
            apply(&mut file, map.next_record(&[0]));
            for (at, value) in damage {
                let at = at.index(file.len());
                file[at] ^= value;
            }
            if let Ok(back) = MapFile::parse(&file) {
                prop_assert!(back.claimed().len() <= 1);
            }
            let _ = MapFile::parse(&file[..cut.index(file.len())]);
        }
    }
}
