//! A system error number.

use std::fmt;
use std::io;

/// A system error number, as in `errno(3)`.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Errno(i32);

impl Errno {
    /// Input/output error.
    pub const IO: Self = Self(libc::EIO);
    /// No space left on device.
    pub const NO_SPACE: Self = Self(libc::ENOSPC);
    /// Quota exceeded.
    pub const QUOTA: Self = Self(libc::EDQUOT);
    /// File too large: for the file system, or for what the process may write.
    pub const TOO_LARGE: Self = Self(libc::EFBIG);
    /// Operation not supported.
    pub const NOT_SUPPORTED: Self = Self(libc::EOPNOTSUPP);
    /// Invalid argument.
    pub const INVALID: Self = Self(libc::EINVAL);
    /// Bad file descriptor.
    pub const BAD_DESCRIPTOR: Self = Self(libc::EBADF);

    /// The error with number `raw` (positive, as in `errno.h`).
    pub const fn new(raw: i32) -> Self {
        Self(raw)
    }

    /// The number, as in `errno.h`.
    pub const fn raw(self) -> i32 {
        self.0
    }

    /// Whether it says that there is no room for what was written, and not that the device is broken: a full file
    /// system, or a quota.
    pub const fn is_no_room(self) -> bool {
        matches!(self, Self::NO_SPACE | Self::QUOTA | Self::TOO_LARGE)
    }

    /// The number of a std error, `EIO` if it has none.
    pub fn from_io(error: &io::Error) -> Self {
        error.raw_os_error().map_or(Self::IO, Self)
    }
}

impl fmt::Display for Errno {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = io::Error::from_raw_os_error(self.0).to_string();
        f.write_str(text.split(" (os error").next().unwrap_or(&text))
    }
}

impl fmt::Debug for Errno {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Errno({}: {self})", self.0)
    }
}
