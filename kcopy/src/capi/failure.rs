//! Errors as C sees them: a negative `errno`, and a sentence about it.

use std::cell::RefCell;
use std::ffi::{CString, c_char, c_int};

use crate::backend::OpenError as BackendError;
use crate::client::BuildError;
use crate::device::{OpenError, OpenErrorKind};
use crate::door::SubmitError;
use crate::errno::Errno;

thread_local! {
    static LAST: RefCell<CString> = RefCell::default();
}

/// A call that failed.
#[derive(Debug)]
pub(super) struct Failure {
    /// Positive, as in `errno.h`.
    errno: c_int,
    text: String,
}

impl Failure {
    pub(super) fn new(errno: c_int, text: impl Into<String>) -> Self {
        Self { errno, text: text.into() }
    }

    /// An argument that no caller may pass.
    pub(super) fn invalid(text: impl Into<String>) -> Self {
        Self::new(libc::EINVAL, text)
    }

    /// Keeps the text for [`last_text`], and gives the number to return.
    pub(super) fn report(self) -> c_int {
        let text = CString::new(self.text.replace('\0', " ")).unwrap_or_default();
        LAST.with(|last| last.replace(text));
        -self.errno
    }
}

/// The text of this thread's last failure. It stays where it is until the next one.
pub(super) fn last_text() -> *const c_char {
    LAST.with(|last| last.borrow().as_ptr())
}

fn number(errno: Errno) -> c_int {
    // What is no error number must not look like success.
    if errno.raw() > 0 { errno.raw() } else { libc::EIO }
}

impl From<SubmitError> for Failure {
    fn from(error: SubmitError) -> Self {
        let errno = match &error {
            SubmitError::Busy => libc::EBUSY,
            SubmitError::Closed => libc::ESHUTDOWN,
            SubmitError::NoDestination
            | SubmitError::TooManyDestinations { .. }
            | SubmitError::Shape { .. }
            | SubmitError::NoSuchBuffer { .. }
            | SubmitError::LengthMismatch { .. }
            | SubmitError::Misaligned { .. }
            | SubmitError::Overlap { .. }
            | SubmitError::ConflictingOverlap { .. } => libc::EINVAL,
            SubmitError::OutOfRange { .. } => libc::ERANGE,
            SubmitError::Access { .. } => libc::EACCES,
            SubmitError::PoolTooSmall { .. } => libc::ENOMEM,
            SubmitError::TooManyDevices => libc::EMFILE,
            SubmitError::Attach { errno, .. } => number(*errno),
        };
        Self::new(errno, error.to_string())
    }
}

impl From<OpenError> for Failure {
    fn from(error: OpenError) -> Self {
        let errno = match error.kind {
            OpenErrorKind::NotFound => libc::ENOENT,
            OpenErrorKind::Denied => error.errno.map_or(libc::EACCES, number),
            OpenErrorKind::Directory => libc::EISDIR,
            OpenErrorKind::NotADevice => libc::ENOTBLK,
            OpenErrorKind::InUse => libc::EBUSY,
            OpenErrorKind::ReadOnly => libc::EROFS,
            OpenErrorKind::NoDirect => libc::EOPNOTSUPP,
            OpenErrorKind::System => error.errno.map_or(libc::EIO, number),
        };
        Self::new(errno, error.to_string())
    }
}

impl From<BuildError> for Failure {
    fn from(error: BuildError) -> Self {
        let from_io = |error: &std::io::Error| number(Errno::from_io(error));
        let errno = match &error {
            BuildError::PoolTooSmall { .. } | BuildError::BadValue { .. } => libc::EINVAL,
            BuildError::NoMemory { .. } | BuildError::NoMemoryForQueue { .. } => libc::ENOMEM,
            BuildError::Backend(BackendError::Unavailable { .. }) => libc::ENOSYS,
            BuildError::Backend(BackendError::Resource(error)) | BuildError::Thread(error) => {
                from_io(error)
            }
        };
        let mut text = error.to_string();
        if let Some(cause) = std::error::Error::source(&error) {
            text = format!("{text}: {cause}");
        }
        Self::new(errno, text)
    }
}
