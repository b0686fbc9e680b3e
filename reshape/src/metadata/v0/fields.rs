//! The fields of a superblock 0.90, one by one. Descriptors have a file of their own.

use kcopy::{Sector, Sectors};

use super::{MINOR_RESHAPING, MINOR_RESTING, V0, at};
use crate::metadata::facts::{Direction, DoesNotFit, Reshape, Resync, Timestamp, Uuid};
use crate::units::ArraySector;

/// Bits of `state`.
const STATE_CLEAN: u32 = 1 << 0;
const STATE_ERRORS: u32 = 1 << 1;
const STATE_BITMAP: u32 = 1 << 8;

/// Sectors from the superblock to the bitmap.
const BITMAP_OFFSET: Sectors = Sectors::new(8);

/// The words of the uuid are not next to each other.
const UUID_WORDS: [usize; 4] = [at::SET_UUID0, at::SET_UUID1, at::SET_UUID2, at::SET_UUID3];

impl V0 {
    /// 90, or 91 while a reshape is recorded (`minor_version`).
    #[must_use]
    pub fn minor_version(&self) -> u32 {
        self.block.u32(at::MINOR_VERSION)
    }

    /// What old kernels counted below the minor version; 0 today (`patch_version`).
    #[must_use]
    pub fn patch_version(&self) -> u32 {
        self.block.u32(at::PATCH_VERSION)
    }

    /// The array's name for machines (`set_uuid0` to `set_uuid3`), as it is printed.
    #[must_use]
    pub fn uuid(&self) -> Uuid {
        self.uuid_bytes(|word| self.block.u32(word).to_be_bytes())
    }

    /// The bytes of the uuid as they lie in this superblock and, on the same host, in bitmaps and
    /// backups.
    #[must_use]
    pub fn uuid_on_disk(&self) -> [u8; 16] {
        self.uuid_bytes(|word| self.block.field(word)).0
    }

    fn uuid_bytes(&self, word: impl Fn(usize) -> [u8; 4]) -> Uuid {
        let mut bytes = [0; 16];
        for (four, at) in bytes.chunks_exact_mut(4).zip(UUID_WORDS) {
            four.copy_from_slice(&word(at));
        }
        Uuid(bytes)
    }

    /// Sets `set_uuid0` to `set_uuid3`.
    pub fn set_uuid(&mut self, uuid: Uuid) {
        for (word, at) in uuid.0.as_chunks::<4>().0.iter().zip(UUID_WORDS) {
            self.put_u32(at, u32::from_be_bytes(*word));
        }
    }

    /// When the array was made (`ctime`).
    #[must_use]
    pub fn creation_time(&self) -> Timestamp {
        Timestamp::from_seconds(u64::from(self.block.u32(at::CTIME)))
    }

    /// Sets `ctime`.
    ///
    /// # Errors
    ///
    /// [`DoesNotFit`] after the year 2106.
    pub fn set_creation_time(&mut self, time: Timestamp) -> Result<(), DoesNotFit> {
        self.put_narrow(at::CTIME, "ctime", time.seconds)
    }

    /// The level as a number of md (`level`).
    #[must_use]
    pub fn level(&self) -> i32 {
        self.block.i32(at::LEVEL)
    }

    /// Sets `level`.
    pub fn set_level(&mut self, level: i32) {
        self.put_u32(at::LEVEL, level.cast_unsigned());
    }

    /// The layout (`layout`).
    #[must_use]
    pub fn layout(&self) -> u32 {
        self.block.u32(at::LAYOUT)
    }

    /// Sets `layout`.
    pub fn set_layout(&mut self, layout: u32) {
        self.put_u32(at::LAYOUT, layout);
    }

    /// The length of each member that is used (`size`, in KiB).
    #[must_use]
    pub fn component_size(&self) -> Sectors {
        // Twice 32 bits fit in 64.
        Sectors::new(u64::from(self.block.u32(at::SIZE)).saturating_mul(2))
    }

    /// Sets `size`.
    ///
    /// # Errors
    ///
    /// [`DoesNotFit`] if it is odd or 4 TiB or more.
    pub fn set_component_size(&mut self, size: Sectors) -> Result<(), DoesNotFit> {
        if !size.get().is_multiple_of(2) {
            return Err(misfit("size", size.get()));
        }
        self.put_narrow(at::SIZE, "size", size.get() / 2)
    }

    /// The chunk (`chunk_size`, in bytes); a part of a sector is left out.
    #[must_use]
    pub fn chunk(&self) -> Sectors {
        Sectors::from_bytes_floor(u64::from(self.block.u32(at::CHUNK_SIZE)))
    }

    /// Sets `chunk_size`.
    ///
    /// # Errors
    ///
    /// [`DoesNotFit`] from 4 GiB on.
    pub fn set_chunk(&mut self, chunk: Sectors) -> Result<(), DoesNotFit> {
        self.put_chunk(at::CHUNK_SIZE, "chunk_size", chunk)
    }

    /// The slots of the array; while a reshape is recorded, those after it (`raid_disks`).
    #[must_use]
    pub fn raid_disks(&self) -> u32 {
        self.block.u32(at::RAID_DISKS)
    }

    /// Sets `raid_disks`.
    pub fn set_raid_disks(&mut self, disks: u32) {
        self.put_u32(at::RAID_DISKS, disks);
    }

    /// The number in the name of the array's device, `/dev/md0` (`md_minor`).
    #[must_use]
    pub fn md_minor(&self) -> u32 {
        self.block.u32(at::MD_MINOR)
    }

    /// Sets `md_minor`.
    pub fn set_md_minor(&mut self, minor: u32) {
        self.put_u32(at::MD_MINOR, minor);
    }

    /// When the superblock was last written (`utime`).
    #[must_use]
    pub fn update_time(&self) -> Timestamp {
        Timestamp::from_seconds(u64::from(self.block.u32(at::UTIME)))
    }

    /// Sets `utime`.
    ///
    /// # Errors
    ///
    /// [`DoesNotFit`] after the year 2106.
    pub fn set_update_time(&mut self, time: Timestamp) -> Result<(), DoesNotFit> {
        self.put_narrow(at::UTIME, "utime", time.seconds)
    }

    /// Counts changes of the superblock (`events`; the two halves lie in the host's order).
    #[must_use]
    pub fn events(&self) -> u64 {
        self.block.u64(at::EVENTS)
    }

    /// Sets `events`, and `cp_events` if it was equal: the recorded point of a resync stays good.
    pub fn set_events(&mut self, events: u64) {
        if self.block.u64(at::CP_EVENTS) == self.events() {
            self.put_u64(at::CP_EVENTS, events);
        }
        self.put_u64(at::EVENTS, events);
    }

    /// What of the parity or the copies is in step (`state`, `cp_events`, `recovery_cp`).
    #[must_use]
    pub fn resync(&self) -> Resync {
        if self.block.u32(at::STATE) & STATE_CLEAN != 0 {
            Resync::Clean
        } else if self.block.u64(at::CP_EVENTS) == self.events() {
            Resync::From(u64::from(self.block.u32(at::RECOVERY_CP)))
        } else {
            Resync::From(0)
        }
    }

    /// Sets `state`, `cp_events` and `recovery_cp`.
    ///
    /// # Errors
    ///
    /// [`DoesNotFit`] if the sector has more than 32 bits.
    pub fn set_resync(&mut self, resync: Resync) -> Result<(), DoesNotFit> {
        let state = self.block.u32(at::STATE);
        match resync {
            Resync::Clean => {
                self.put_u32(at::RECOVERY_CP, u32::MAX);
                self.put_u32(at::STATE, state | STATE_CLEAN);
            }
            Resync::From(from) => {
                self.put_narrow(at::RECOVERY_CP, "recovery_cp", from)?;
                self.put_u32(at::STATE, state & !STATE_CLEAN);
            }
        }
        self.put_u64(at::CP_EVENTS, self.events());
        Ok(())
    }

    /// Marks a new array as clean; like mdadm, without a point of a resync that never was.
    pub(in crate::metadata) fn begin_clean(&mut self) {
        let state = self.block.u32(at::STATE);
        self.put_u32(at::STATE, state | STATE_CLEAN);
        self.put_u64(at::CP_EVENTS, 0);
    }

    /// Whether errors are recorded (`state`).
    #[must_use]
    pub fn has_errors(&self) -> bool {
        self.block.u32(at::STATE) & STATE_ERRORS != 0
    }

    /// Where the internal bitmap begins, if there is one (`state`).
    #[must_use]
    pub fn bitmap_at(&self) -> Option<Sector> {
        let present = self.block.u32(at::STATE) & STATE_BITMAP != 0;
        self.at.checked_add(BITMAP_OFFSET).filter(|_| present)
    }

    /// Records that an internal bitmap is there.
    pub fn add_bitmap(&mut self) {
        let state = self.block.u32(at::STATE);
        self.put_u32(at::STATE, state | STATE_BITMAP);
    }

    /// Records that no internal bitmap is there.
    pub fn remove_bitmap(&mut self) {
        let state = self.block.u32(at::STATE);
        self.put_u32(at::STATE, state & !STATE_BITMAP);
    }

    /// The reshape that is recorded, if one is.
    #[must_use]
    pub fn reshape(&self) -> Option<Reshape> {
        if self.minor_version() != MINOR_RESHAPING {
            return None;
        }
        let delta_disks = self.block.i32(at::DELTA_DISKS);
        let backwards = delta_disks < 0;
        Some(Reshape {
            position: ArraySector::new(self.block.u64(at::RESHAPE_POSITION)),
            delta_disks,
            raid_disks_new: self.raid_disks(),
            direction: if backwards { Direction::Backwards } else { Direction::Forwards },
            new_level: self.block.i32(at::NEW_LEVEL),
            new_layout: self.block.u32(at::NEW_LAYOUT),
            new_chunk: Sectors::from_bytes_floor(u64::from(self.block.u32(at::NEW_CHUNK))),
            new_offset: 0,
        })
    }

    /// Records a reshape: all of its fields, the minor version and `raid_disks`.
    ///
    /// # Errors
    ///
    /// [`DoesNotFit`] for a new data offset, for a direction other than that of `delta_disks`,
    /// and for a chunk of 4 GiB or more. Then nothing is changed.
    pub fn set_reshape(&mut self, reshape: &Reshape) -> Result<(), DoesNotFit> {
        if reshape.new_offset != 0 {
            let value = i128::from(reshape.new_offset);
            return Err(DoesNotFit { field: "new_offset", version: "0.90", value });
        }
        let backwards = reshape.direction == Direction::Backwards;
        if backwards != (reshape.delta_disks < 0) {
            let value = i128::from(reshape.delta_disks);
            return Err(DoesNotFit { field: "delta_disks", version: "0.90", value });
        }
        self.put_chunk(at::NEW_CHUNK, "new_chunk", reshape.new_chunk)?;
        self.put_u32(at::MINOR_VERSION, MINOR_RESHAPING);
        self.put_u64(at::RESHAPE_POSITION, reshape.position.get());
        self.put_u32(at::NEW_LEVEL, reshape.new_level.cast_unsigned());
        self.put_u32(at::DELTA_DISKS, reshape.delta_disks.cast_unsigned());
        self.put_u32(at::NEW_LAYOUT, reshape.new_layout);
        self.set_raid_disks(reshape.raid_disks_new);
        Ok(())
    }

    /// Records that no reshape is under way. The other fields are to be set to what is now true.
    pub fn clear_reshape(&mut self) {
        self.put_u32(at::MINOR_VERSION, MINOR_RESTING);
        for field in [at::NEW_LEVEL, at::DELTA_DISKS, at::NEW_LAYOUT, at::NEW_CHUNK] {
            self.put_u32(field, 0);
        }
        self.put_u64(at::RESHAPE_POSITION, 0);
    }

    pub(super) fn put_u32(&mut self, at: usize, value: u32) {
        self.block.put_u32(at, value);
        self.changed = true;
    }

    fn put_u64(&mut self, at: usize, value: u64) {
        self.block.put_u64(at, value);
        self.changed = true;
    }

    /// Puts a number into a field of 32 bits.
    fn put_narrow(&mut self, at: usize, field: &'static str, value: u64) -> Result<(), DoesNotFit> {
        self.put_u32(at, u32::try_from(value).map_err(|_| misfit(field, value))?);
        Ok(())
    }

    fn put_chunk(
        &mut self,
        at: usize,
        field: &'static str,
        chunk: Sectors,
    ) -> Result<(), DoesNotFit> {
        let bytes = chunk.checked_bytes().ok_or_else(|| misfit(field, chunk.get()))?;
        self.put_narrow(at, field, bytes)
    }
}

fn misfit(field: &'static str, value: u64) -> DoesNotFit {
    DoesNotFit { field, version: "0.90", value: i128::from(value) }
}
