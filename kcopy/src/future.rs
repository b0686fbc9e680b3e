//! The futures' face: [`Client::submit_async`], for any runtime.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Waker};

use crate::client::Client;
use crate::door::SubmitError;
use crate::job::Job;
use crate::outcome::Outcome;

/// Where the callback leaves the outcome for the future.
#[derive(Debug, Default)]
struct Mailbox {
    outcome: Option<Outcome>,
    waker: Option<Waker>,
}

/// A job as a future. Dropping it lets the job run on, unwatched; it never cancels silently
/// ([`Job::cancelled_by`] does, aloud).
#[must_use = "the job is submitted when the future is first polled"]
pub struct Running {
    client: Client,
    /// The job, until it is accepted.
    job: Option<Job>,
    mailbox: Arc<Mutex<Mailbox>>,
}

impl Client {
    /// A future that submits `job` when it is first polled, waits for room in the queue without
    /// blocking, and yields the outcome.
    ///
    /// ```no_run
    /// # async fn example(client: kcopy::Client, job: kcopy::Job) -> Result<(), kcopy::SubmitError> {
    /// let outcome = client.submit_async(job).await?;
    /// assert!(outcome.is_ok());
    /// # Ok(())
    /// # }
    /// ```
    pub fn submit_async(&self, job: Job) -> Running {
        Running { client: self.clone(), job: Some(job), mailbox: Arc::default() }
    }
}

impl Running {
    /// Gives the job back, with the reason, if it was not accepted.
    fn try_submit(&mut self, job: Job) -> Result<(), Box<(SubmitError, Job)>> {
        let mailbox = Arc::clone(&self.mailbox);
        let deliver = move |outcome| {
            let mut mailbox = mailbox.lock().unwrap_or_else(PoisonError::into_inner);
            mailbox.outcome = Some(outcome);
            let waker = mailbox.waker.take();
            drop(mailbox);
            if let Some(waker) = waker {
                waker.wake();
            }
        };
        self.client
            .try_submit(job, deliver)
            .map_err(|refused| Box::new((refused.error, refused.job)))
    }
}

impl Future for Running {
    type Output = Result<Outcome, SubmitError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        {
            let mut mailbox = self.mailbox.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(outcome) = mailbox.outcome.take() {
                return Poll::Ready(Ok(outcome));
            }
            mailbox.waker = Some(context.waker().clone());
        }
        let Some(job) = self.job.take() else { return Poll::Pending };
        let Err(refused) = self.try_submit(job) else { return Poll::Pending };
        let (error, job) = *refused;
        if error != SubmitError::Busy {
            return Poll::Ready(Err(error));
        }
        // Ask to be woken first, then look once more: room made in between is not missed.
        self.client.wait_for_room(context.waker().clone());
        let Err(refused) = self.try_submit(job) else { return Poll::Pending };
        let (error, job) = *refused;
        if error != SubmitError::Busy {
            return Poll::Ready(Err(error));
        }
        self.job = Some(job);
        Poll::Pending
    }
}

impl fmt::Debug for Running {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Running").field("submitted", &self.job.is_none()).finish_non_exhaustive()
    }
}
