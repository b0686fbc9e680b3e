//! The write-intent bitmap: 256 bytes of header, then one bit for each chunk that may be out of
//! step.
//!
//! Version 4 is read and written. The others are recognised and refused: their bits have another
//! order or place, and to take a dirty chunk for a clean one costs data. `docs/formats/bitmap.md`
//! has the table.

use kcopy::Sectors;

use super::bytes::{Block, ByteOrder};

/// Bytes before the bits.
const HEADER_BYTES: usize = 256;
/// The largest map that is read, in bytes: 2^28 chunks.
const LARGEST: usize = 32 << 20;

const MAGIC: u32 = 0x6d74_6962;
/// Sectors in the least chunk.
const SMALLEST_CHUNK: u32 = 512;

/// The places of the fields, by the kernel's names.
mod at {
    pub(super) const MAGIC: usize = 0;
    pub(super) const VERSION: usize = 4;
    pub(super) const UUID: usize = 8;
    pub(super) const EVENTS: usize = 24;
    pub(super) const EVENTS_CLEARED: usize = 32;
    pub(super) const SYNC_SIZE: usize = 40;
    pub(super) const STATE: usize = 48;
    pub(super) const CHUNKSIZE: usize = 52;
    pub(super) const DAEMON_SLEEP: usize = 56;
    pub(super) const WRITE_BEHIND: usize = 60;
    pub(super) const SECTORS_RESERVED: usize = 64;
    pub(super) const NODES: usize = 68;
    pub(super) const CLUSTER_NAME: usize = 72;
}

bitflags::bitflags! {
    /// The state of a bitmap (`state`).
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
    pub struct BitmapState: u32 {
        /// It missed something: all chunks count as out of step.
        const STALE = 1 << 1;
        /// Writing it failed.
        const WRITE_ERROR = 1 << 2;
        /// It was never used.
        const FIRST_USE = 1 << 3;
        /// It is clean.
        const CLEAN = 1 << 4;
        /// It is being written in the background.
        const DAEMON_BUSY = 1 << 5;
        /// Its bits have the order of the host (version 3).
        const HOST_ENDIAN = 1 << 15;
    }
}

/// Why bytes are no bitmap that may be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BitmapError {
    /// Fewer bytes than it says to have.
    #[error("the bitmap has {need} bytes, only {have} are there")]
    TooShort {
        /// Bytes that it has.
        need: usize,
        /// Bytes that are there.
        have: usize,
    },
    /// It does not begin as bitmaps do.
    #[error("no bitmap: it begins with {found:#010x} instead of 0x6d746962")]
    NoMagic {
        /// What is there instead.
        found: u32,
    },
    /// Its bits have the byte order of a host that is not known.
    #[error(
        "the bitmap is of version 3 or in host order: which chunk a bit stands for is not known"
    )]
    HostEndian,
    /// There is one for each node of a cluster.
    #[error("the bitmap is of version 5: other hosts of a cluster may use the array now")]
    Clustered,
    /// It has bytes instead of bits, at a place that depends on the kernel.
    #[error("the bitmap is of version 6 (lockless), which is not read here")]
    Lockless,
    /// A version that is not known.
    #[error("the bitmap is of version {version}, which is not known")]
    Version {
        /// What it says.
        version: u32,
    },
    /// A chunk that cannot be.
    #[error("the bitmap has chunks of {bytes} bytes; a power of two from 512 on is expected")]
    Chunk {
        /// What it says (`chunksize`).
        bytes: u32,
    },
    /// More bits than are read.
    #[error("the bitmap has {bits} bits, at most 268433408 are read")]
    TooLarge {
        /// The bits that follow from what it says.
        bits: u64,
    },
}

/// The header of a bitmap of any version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BitmapHeader {
    block: Block<HEADER_BYTES>,
}

impl BitmapHeader {
    /// Reads a header.
    ///
    /// # Errors
    ///
    /// [`BitmapError::TooShort`] or [`BitmapError::NoMagic`].
    pub fn parse(bytes: &[u8]) -> Result<Self, BitmapError> {
        let block = Block::read(bytes, ByteOrder::Little)
            .ok_or(BitmapError::TooShort { need: HEADER_BYTES, have: bytes.len() })?;
        let found = block.u32(at::MAGIC);
        if found != MAGIC {
            return Err(BitmapError::NoMagic { found });
        }
        Ok(Self { block })
    }

    /// Whether the bits behind it can be understood.
    ///
    /// # Errors
    ///
    /// [`BitmapError`], with what is special about it.
    pub fn check(&self) -> Result<(), BitmapError> {
        match self.version() {
            3 => return Err(BitmapError::HostEndian),
            4 if self.state().contains(BitmapState::HOST_ENDIAN) => {
                return Err(BitmapError::HostEndian);
            }
            4 => {}
            5 => return Err(BitmapError::Clustered),
            6 => return Err(BitmapError::Lockless),
            version => return Err(BitmapError::Version { version }),
        }
        let bytes = self.block.u32(at::CHUNKSIZE);
        if !bytes.is_power_of_two() || bytes < SMALLEST_CHUNK {
            return Err(BitmapError::Chunk { bytes });
        }
        self.length().map(|_| ())
    }

    /// Bytes of header and bits.
    ///
    /// # Errors
    ///
    /// [`BitmapError::TooLarge`].
    pub fn length(&self) -> Result<usize, BitmapError> {
        let bits = self.bits();
        let bytes = usize::try_from(bits.div_ceil(8)).ok();
        let length = bytes.and_then(|bytes| bytes.checked_add(HEADER_BYTES));
        length.filter(|length| *length <= LARGEST).ok_or(BitmapError::TooLarge { bits })
    }

    /// The bits of the map: as many as there are chunks.
    #[must_use]
    pub fn bits(&self) -> u64 {
        self.sync_size().get().div_ceil(self.chunk().get().max(1))
    }

    /// 3 to 6 (`version`).
    #[must_use]
    pub fn version(&self) -> u32 {
        self.block.u32(at::VERSION)
    }

    /// The array's uuid, as in [`Superblock::uuid_on_disk`](super::Superblock::uuid_on_disk).
    #[must_use]
    pub fn uuid_on_disk(&self) -> [u8; 16] {
        self.block.field(at::UUID)
    }

    /// The array's count of changes when the bitmap was last written (`events`).
    #[must_use]
    pub fn events(&self) -> u64 {
        self.block.u64(at::EVENTS)
    }

    /// That count when bits were last cleared (`events_cleared`): a member that is not older needs
    /// only the dirty chunks.
    #[must_use]
    pub fn events_cleared(&self) -> u64 {
        self.block.u64(at::EVENTS_CLEARED)
    }

    /// Sets both counts.
    pub fn set_events(&mut self, events: u64, events_cleared: u64) {
        self.block.put_u64(at::EVENTS, events);
        self.block.put_u64(at::EVENTS_CLEARED, events_cleared);
    }

    /// What the bits stand for together: sectors of a member for levels 1, 4, 5 and 6, of the array
    /// for level 10 (`sync_size`).
    #[must_use]
    pub fn sync_size(&self) -> Sectors {
        Sectors::new(self.block.u64(at::SYNC_SIZE))
    }

    /// Its state (`state`).
    #[must_use]
    pub fn state(&self) -> BitmapState {
        BitmapState::from_bits_retain(self.block.u32(at::STATE))
    }

    /// What one bit stands for (`chunksize`, in bytes).
    #[must_use]
    pub fn chunk(&self) -> Sectors {
        Sectors::from_bytes_floor(u64::from(self.block.u32(at::CHUNKSIZE)))
    }

    /// Seconds between two looks for bits to clear (`daemon_sleep`).
    #[must_use]
    pub fn daemon_sleep(&self) -> u32 {
        self.block.u32(at::DAEMON_SLEEP)
    }

    /// Writes to write-mostly members that may be under way (`write_behind`).
    #[must_use]
    pub fn write_behind(&self) -> u32 {
        self.block.u32(at::WRITE_BEHIND)
    }

    /// Sectors kept for it (`sectors_reserved`).
    #[must_use]
    pub fn reserved(&self) -> Sectors {
        Sectors::new(u64::from(self.block.u32(at::SECTORS_RESERVED)))
    }

    /// Nodes of the cluster (`nodes`).
    #[must_use]
    pub fn nodes(&self) -> u32 {
        self.block.u32(at::NODES)
    }

    /// The cluster's name, filled up with zeros (`cluster_name`).
    #[must_use]
    pub fn cluster_name(&self) -> [u8; 64] {
        self.block.field(at::CLUSTER_NAME)
    }

    /// Whether it belongs to a superblock with this uuid and count of changes: then its clean
    /// chunks may be believed. An older one missed writes.
    #[must_use]
    pub fn belongs_to(&self, uuid_on_disk: [u8; 16], events: u64) -> bool {
        let counts = [events, events.saturating_add(1)];
        self.uuid_on_disk() == uuid_on_disk
            && counts.contains(&self.events())
            && !self.state().contains(BitmapState::STALE)
    }
}

/// A bitmap of version 4.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bitmap {
    header: BitmapHeader,
    map: Vec<u8>,
}

/// What a new bitmap says about every chunk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fill {
    /// Nothing was verified: all are out of step.
    Dirty,
    /// All are known to be in step.
    Clean,
}

impl Bitmap {
    /// Reads a bitmap; bytes behind its last bit are kept.
    ///
    /// # Errors
    ///
    /// [`BitmapError`].
    pub fn parse(bytes: &[u8]) -> Result<Self, BitmapError> {
        let header = BitmapHeader::parse(bytes)?;
        header.check()?;
        let need = header.length()?;
        let too_short = BitmapError::TooShort { need, have: bytes.len() };
        let map = bytes.get(HEADER_BYTES..).filter(|_| bytes.len() >= need).ok_or(too_short)?;
        Ok(Self { map: map.to_vec(), header })
    }

    /// A new bitmap for `sync_size` in chunks of `chunk`, with all bytes up to a multiple of 4096.
    ///
    /// # Errors
    ///
    /// [`BitmapError::Chunk`] or [`BitmapError::TooLarge`].
    pub fn new(
        uuid_on_disk: [u8; 16],
        events: u64,
        sync_size: Sectors,
        chunk: Sectors,
        fill: Fill,
    ) -> Result<Self, BitmapError> {
        const SECONDS: u32 = 5;
        let bytes = chunk.checked_bytes().and_then(|bytes| u32::try_from(bytes).ok());
        let mut block = Block::zeroed(ByteOrder::Little);
        block.put_u32(at::MAGIC, MAGIC);
        block.put_u32(at::VERSION, 4);
        block.put_field(at::UUID, uuid_on_disk);
        block.put_u64(at::SYNC_SIZE, sync_size.get());
        block.put_u32(at::CHUNKSIZE, bytes.ok_or(BitmapError::Chunk { bytes: u32::MAX })?);
        block.put_u32(at::DAEMON_SLEEP, SECONDS);
        let mut header = BitmapHeader { block };
        header.set_events(events, events);
        header.check()?;
        let whole = header.length()?.next_multiple_of(4096);
        let byte = match fill {
            Fill::Dirty => 0xff,
            Fill::Clean => 0,
        };
        Ok(Self { map: vec![byte; whole.saturating_sub(HEADER_BYTES)], header })
    }

    /// The same for another size, in the same chunks; `fill` is what it says about chunks that come
    /// into being, and about the last one of before if it was cut short.
    ///
    /// # Errors
    ///
    /// [`BitmapError::TooLarge`].
    pub fn resized(&self, sync_size: Sectors, fill: Fill) -> Result<Self, BitmapError> {
        let mut header = self.header.clone();
        header.block.put_u64(at::SYNC_SIZE, sync_size.get());
        let length = header.length()?.next_multiple_of(4096);
        let mut resized = Self { map: vec![0; length.saturating_sub(HEADER_BYTES)], header };
        for chunk in self.dirty() {
            resized.set_dirty(chunk);
        }
        let chunk = self.header.chunk().get().max(1);
        match fill {
            Fill::Clean => {}
            Fill::Dirty => {
                let first = self.header.sync_size().get().checked_div(chunk).unwrap_or(0);
                for chunk in first..resized.header.bits() {
                    resized.set_dirty(chunk);
                }
            }
        }
        Ok(resized)
    }

    /// Says that all chunks may be out of step.
    pub fn set_all_dirty(&mut self) {
        self.map.fill(0xff);
    }

    /// The header.
    #[must_use]
    pub const fn header(&self) -> &BitmapHeader {
        &self.header
    }

    /// The header, to be changed. What the bits stand for stays.
    pub const fn header_mut(&mut self) -> &mut BitmapHeader {
        &mut self.header
    }

    /// All bytes, those behind the last bit as they were read.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = self.header.block.bytes().to_vec();
        bytes.extend_from_slice(&self.map);
        bytes
    }

    /// Whether chunk `chunk` may be out of step; `None` behind the last.
    #[must_use]
    pub fn is_dirty(&self, chunk: u64) -> Option<bool> {
        let (byte, bit) = self.place(chunk)?;
        self.map.get(byte).map(|byte| byte & bit != 0)
    }

    /// Says that chunk `chunk` may be out of step; gives whether there is one.
    pub fn set_dirty(&mut self, chunk: u64) -> bool {
        let Some((byte, bit)) = self.place(chunk) else { return false };
        self.map.get_mut(byte).map(|byte| *byte |= bit).is_some()
    }

    /// Says that chunk `chunk` is in step; gives whether there is one.
    pub fn set_clean(&mut self, chunk: u64) -> bool {
        let Some((byte, bit)) = self.place(chunk) else { return false };
        self.map.get_mut(byte).map(|byte| *byte &= !bit).is_some()
    }

    /// The chunks that may be out of step, in order.
    pub fn dirty(&self) -> impl Iterator<Item = u64> {
        let bytes = (0_u64..).step_by(8).zip(&self.map).filter(|(_, byte)| **byte != 0);
        let bits = bytes.flat_map(|(first, byte)| {
            (0..8).filter(move |bit| byte >> bit & 1 == 1).map(move |bit| first.saturating_add(bit))
        });
        let count = self.header.bits();
        bits.take_while(move |chunk| *chunk < count)
    }

    fn place(&self, chunk: u64) -> Option<(usize, u8)> {
        let byte = usize::try_from(chunk / 8).ok().filter(|_| chunk < self.header.bits())?;
        Some((byte, 1 << (chunk % 8)))
    }
}

/// The chunk that a new bitmap gets: at least 64 MiB, and so that its bits fit in `room`.
///
/// `None` if none does.
#[must_use]
pub fn usual_chunk(sync_size: Sectors, room: Sectors) -> Option<Sectors> {
    let room = room.checked_bytes()?.saturating_mul(8).checked_sub(8 * 256)?;
    // 64 MiB and its doubles, up to 2 GiB: the field has 32 bits of bytes.
    let chunks = (17..=22).map(|power| 1_u64 << power);
    let mut fitting = chunks.filter(|chunk| sync_size.get().div_ceil(*chunk) <= room);
    fitting.next().map(Sectors::new)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn example(fill: Fill) -> Bitmap {
        Bitmap::new([7; 16], 9, Sectors::new(100 * 128 + 1), Sectors::new(128), fill).unwrap()
    }

    #[test]
    fn bits_stand_for_chunks() {
        let mut bitmap = example(Fill::Clean);
        assert_eq!(bitmap.header().bits(), 101);
        assert_eq!(bitmap.to_bytes().len(), 4096);
        assert_eq!(bitmap.dirty().count(), 0);
        for chunk in [0, 9, 100] {
            assert!(bitmap.set_dirty(chunk));
        }
        assert!(!bitmap.set_dirty(101));
        assert_eq!(bitmap.is_dirty(101), None);
        assert_eq!(bitmap.dirty().collect::<Vec<_>>(), [0, 9, 100]);
        let bytes = bitmap.to_bytes();
        assert_eq!(bytes[256..259], [1, 2, 0]);
        assert!(bitmap.set_clean(9));
        assert_eq!(bitmap.is_dirty(9), Some(false));
        assert_eq!(example(Fill::Dirty).dirty().count(), 101);
    }

    #[test]
    fn another_size_keeps_what_is_dirty() {
        let mut bitmap = example(Fill::Clean);
        bitmap.set_dirty(3);
        let dirty = |sectors, fill| {
            let resized = bitmap.resized(Sectors::new(sectors), fill).unwrap();
            assert_eq!(resized.header().sync_size(), Sectors::new(sectors));
            resized.dirty().collect::<Vec<_>>()
        };
        assert_eq!(dirty(103 * 128, Fill::Clean), [3]);
        // The hundredth chunk had one sector only.
        assert_eq!(dirty(103 * 128, Fill::Dirty), [3, 100, 101, 102]);
        assert_eq!(dirty(3 * 128, Fill::Dirty), []);
        bitmap.set_all_dirty();
        assert_eq!(bitmap.dirty().count(), 101);
    }

    #[test]
    fn bitmap_is_read_as_it_was_written() {
        let mut bytes = example(Fill::Dirty).to_bytes();
        bytes[200] = 3;
        bytes[4095] = 5;
        let read = Bitmap::parse(&bytes).unwrap();
        assert_eq!(read.to_bytes(), bytes, "also what means nothing");
        let too_short = Bitmap::parse(&bytes[..256 + 12]);
        assert_eq!(too_short, Err(BitmapError::TooShort { need: 269, have: 268 }));
    }

    #[test]
    fn other_kinds_are_refused_by_name() {
        let with = |at: usize, value: u32| {
            let mut bytes = example(Fill::Dirty).to_bytes();
            bytes[at..at + 4].copy_from_slice(&value.to_le_bytes());
            Bitmap::parse(&bytes).unwrap_err()
        };
        assert_eq!(with(0, 1), BitmapError::NoMagic { found: 1 });
        assert_eq!(with(4, 3), BitmapError::HostEndian);
        assert_eq!(with(48, 1 << 15), BitmapError::HostEndian);
        assert_eq!(with(4, 5), BitmapError::Clustered);
        assert_eq!(with(4, 6), BitmapError::Lockless);
        assert_eq!(with(4, 7), BitmapError::Version { version: 7 });
        assert_eq!(with(52, 0), BitmapError::Chunk { bytes: 0 });
        assert_eq!(with(52, 768), BitmapError::Chunk { bytes: 768 });
        assert!(matches!(with(44, 1 << 20), BitmapError::TooLarge { .. }));
    }

    #[test]
    fn only_a_bitmap_of_this_state_is_believed() {
        let bitmap = example(Fill::Clean);
        let header = bitmap.header();
        assert!(header.belongs_to([7; 16], 9));
        assert!(header.belongs_to([7; 16], 8));
        assert!(!header.belongs_to([7; 16], 10), "it missed a change");
        assert!(!header.belongs_to([7; 16], 7));
        assert!(!header.belongs_to([8; 16], 9));
    }

    #[test]
    fn usual_chunk_fits_the_room() {
        let chunk = |size, room| usual_chunk(Sectors::new(size), Sectors::new(room));
        assert_eq!(chunk(14336, 8), Some(Sectors::new(1 << 17)));
        // 4096 bytes have 30720 bits: not enough for chunks of 64 MiB of 2 TiB.
        assert_eq!(chunk(1 << 32, 8), Some(Sectors::new(1 << 18)));
        assert_eq!(chunk(u64::MAX, 8), None);
        assert_eq!(chunk(1, 0), None);
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_without_a_panic_for_all(
            mut bytes in prop::collection::vec(any::<u8>(), 0..600), chunk in 9..32_u32, size: u32
        ) {
            let _ = Bitmap::parse(&bytes);
            if bytes.len() >= 256 {
                bytes[..4].copy_from_slice(&MAGIC.to_le_bytes());
                bytes[4..8].copy_from_slice(&4_u32.to_le_bytes());
                bytes[40..48].copy_from_slice(&u64::from(size).to_le_bytes());
                bytes[49] &= 0x7f;
                bytes[52..56].copy_from_slice(&(1_u32 << chunk).to_le_bytes());
                if let Ok(bitmap) = Bitmap::parse(&bytes) {
                    prop_assert_eq!(bitmap.to_bytes(), bytes);
                    prop_assert!(bitmap.dirty().all(|chunk| bitmap.is_dirty(chunk) == Some(true)));
                }
            }
        }
    }
}
