//! Cancelling jobs: a token that many jobs may share.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::backend::Wake;

#[derive(Debug)]
struct Inner {
    cancelled: AtomicBool,
    /// Raised with every cancellation on the client, so that an engine looks through its jobs only
    /// when there is something to find.
    alarm: Arc<AtomicBool>,
    waker: Arc<dyn Wake>,
}

/// Cancels every job that carries it. Clones are the same token.
///
/// Cancelling is a request: what is in flight cannot be taken back; nothing new is issued, and the
/// callback comes when the last operation in flight has ended.
#[derive(Clone, Debug)]
pub struct CancelToken(Arc<Inner>);

impl CancelToken {
    pub(crate) fn new(alarm: Arc<AtomicBool>, waker: Arc<dyn Wake>) -> Self {
        Self(Arc::new(Inner { cancelled: AtomicBool::new(false), alarm, waker }))
    }

    /// Asks for the end of every job that carries this token, now or later.
    pub fn cancel(&self) {
        self.0.cancelled.store(true, Ordering::Release);
        self.0.alarm.store(true, Ordering::Release);
        self.0.waker.wake();
    }

    /// Whether two jobs are cancelled together, or neither of them.
    pub(crate) fn are_same(a: Option<&Self>, b: Option<&Self>) -> bool {
        match (a, b) {
            (Some(a), Some(b)) => Arc::ptr_eq(&a.0, &b.0),
            (None, None) => true,
            (Some(_), None) | (None, Some(_)) => false,
        }
    }

    /// Whether [`CancelToken::cancel`] was called.
    pub fn is_cancelled(&self) -> bool {
        self.0.cancelled.load(Ordering::Acquire)
    }
}
