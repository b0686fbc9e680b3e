//! Blocks of bytes with numbers at fixed places.
//!
//! A block keeps every byte as it was read, so that what we do not know survives being written
//! again. The places of fields are constants of the formats and lie within their blocks.

/// The order of the bytes of a number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ByteOrder {
    /// The lowest byte first: everything but superblocks 0.90 of big-endian hosts.
    Little,
    /// The highest byte first.
    Big,
}

/// `N` bytes, with numbers of one byte order.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Block<const N: usize> {
    bytes: Box<[u8; N]>,
    order: ByteOrder,
}

impl<const N: usize> Block<N> {
    /// `N` zeros.
    pub(super) fn zeroed(order: ByteOrder) -> Self {
        Self { bytes: Box::new([0; N]), order }
    }

    /// The first `N` bytes of `bytes`, if there are as many.
    pub(super) fn read(bytes: &[u8], order: ByteOrder) -> Option<Self> {
        Some(Self { bytes: Box::new(*bytes.first_chunk()?), order })
    }

    pub(super) const fn order(&self) -> ByteOrder {
        self.order
    }

    pub(super) fn bytes(&self) -> &[u8; N] {
        &self.bytes
    }

    /// The `L` bytes from `at` on.
    ///
    /// # Panics
    ///
    /// When they are not within the block: places are constants or were checked.
    pub(super) fn field<const L: usize>(&self, at: usize) -> [u8; L] {
        let field = self.bytes.get(at..).and_then(<[u8]>::first_chunk);
        *field.expect("a field lies within its block")
    }

    /// Puts `value` at `at`.
    ///
    /// # Panics
    ///
    /// As [`field`](Self::field).
    pub(super) fn put_field<const L: usize>(&mut self, at: usize, value: [u8; L]) {
        let field = self.bytes.get_mut(at..).and_then(<[u8]>::first_chunk_mut);
        *field.expect("a field lies within its block") = value;
    }

    pub(super) fn u16(&self, at: usize) -> u16 {
        match self.order {
            ByteOrder::Little => u16::from_le_bytes(self.field(at)),
            ByteOrder::Big => u16::from_be_bytes(self.field(at)),
        }
    }

    pub(super) fn u32(&self, at: usize) -> u32 {
        match self.order {
            ByteOrder::Little => u32::from_le_bytes(self.field(at)),
            ByteOrder::Big => u32::from_be_bytes(self.field(at)),
        }
    }

    pub(super) fn u64(&self, at: usize) -> u64 {
        match self.order {
            ByteOrder::Little => u64::from_le_bytes(self.field(at)),
            ByteOrder::Big => u64::from_be_bytes(self.field(at)),
        }
    }

    pub(super) fn i16(&self, at: usize) -> i16 {
        self.u16(at).cast_signed()
    }

    pub(super) fn i32(&self, at: usize) -> i32 {
        self.u32(at).cast_signed()
    }

    pub(super) fn u8(&self, at: usize) -> u8 {
        let [byte] = self.field(at);
        byte
    }

    pub(super) fn put_u8(&mut self, at: usize, value: u8) {
        self.put_field(at, [value]);
    }

    pub(super) fn put_u16(&mut self, at: usize, value: u16) {
        match self.order {
            ByteOrder::Little => self.put_field(at, value.to_le_bytes()),
            ByteOrder::Big => self.put_field(at, value.to_be_bytes()),
        }
    }

    pub(super) fn put_u32(&mut self, at: usize, value: u32) {
        match self.order {
            ByteOrder::Little => self.put_field(at, value.to_le_bytes()),
            ByteOrder::Big => self.put_field(at, value.to_be_bytes()),
        }
    }

    pub(super) fn put_u64(&mut self, at: usize, value: u64) {
        match self.order {
            ByteOrder::Little => self.put_field(at, value.to_le_bytes()),
            ByteOrder::Big => self.put_field(at, value.to_be_bytes()),
        }
    }

    pub(super) fn put_i32(&mut self, at: usize, value: i32) {
        self.put_u32(at, value.cast_unsigned());
    }

    /// Sets every byte from `from` to the end to `value`.
    pub(super) fn fill_from(&mut self, from: usize, value: u8) {
        self.bytes.iter_mut().skip(from).for_each(|byte| *byte = value);
    }

    /// Whether the `length` bytes from `at` on are all zero.
    pub(super) fn is_zero(&self, at: usize, length: usize) -> bool {
        self.bytes.iter().skip(at).take(length).all(|byte| *byte == 0)
    }

    /// The sum of the block's first `length` bytes as numbers of 32 bits; two bytes that are left
    /// over count as one of 16 bits.
    pub(super) fn sum_of_words(&self, length: usize) -> u64 {
        let summed = self.bytes.get(..length).unwrap_or(self.bytes.as_slice());
        let (words, rest) = summed.as_chunks::<4>();
        let word = |bytes: &[u8; 4]| match self.order {
            ByteOrder::Little => u32::from_le_bytes(*bytes),
            ByteOrder::Big => u32::from_be_bytes(*bytes),
        };
        // At most 1024 words of 32 bits: far below 64 bits.
        let sum: u64 = words.iter().map(|bytes| u64::from(word(bytes))).sum();
        let half = rest.first_chunk().map_or(0, |half| match self.order {
            ByteOrder::Little => u16::from_le_bytes(*half),
            ByteOrder::Big => u16::from_be_bytes(*half),
        });
        sum.wrapping_add(u64::from(half))
    }
}

impl<const N: usize> std::fmt::Debug for Block<N> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{N} bytes, {:?}-endian", self.order)
    }
}
