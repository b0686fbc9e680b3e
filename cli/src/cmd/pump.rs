//! Keeps the engine busy with jobs that come one after another, until there are no more.

use crossbeam_channel::Sender;
use kcopy::{CancelToken, Client, Job, Outcome, SubmitError};

use super::copy::TICK;
use crate::output::Progress;
use crate::signals::Interrupt;

/// Where the jobs come from and their outcomes go to.
pub(crate) trait Work {
    /// What a job was for.
    type Tag: Send + 'static;

    /// The next job; `None` when there are no more.
    fn next(&mut self) -> Option<(Job, Self::Tag)>;

    /// A job has ended.
    fn ended(&mut self, tag: Self::Tag, outcome: &Outcome);

    /// Bytes done so far, for the progress.
    fn done(&self) -> u64;
}

/// How a run ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Pumped {
    All,
    Interrupted,
    /// The engine did not take a job; those before it have ended.
    Refused(Box<SubmitError>),
}

/// Runs all jobs of `work`, at most `outstanding` at once.
pub(crate) fn pump<W: Work>(
    client: &Client,
    work: &mut W,
    outstanding: usize,
    interrupt: &Interrupt,
    progress: &mut Progress,
) -> Pumped {
    let (sender, receiver) = crossbeam_channel::unbounded();
    let token = client.cancel_token();
    let mut in_flight = 0usize;
    let mut end = None;
    loop {
        if interrupt.asked() && end != Some(Pumped::Interrupted) {
            token.cancel();
            end = Some(Pumped::Interrupted);
        }
        while end.is_none() && in_flight < outstanding {
            match submit_next(client, work, &sender, &token) {
                Ok(true) => in_flight += 1,
                Ok(false) => end = Some(Pumped::All),
                Err(error) => end = Some(Pumped::Refused(Box::new(error))),
            }
        }
        if in_flight == 0 {
            return end.unwrap_or(Pumped::All);
        }
        if let Ok((tag, outcome)) = receiver.recv_timeout(TICK) {
            in_flight -= 1;
            work.ended(tag, &outcome);
        }
        progress.update(work.done());
    }
}

fn submit_next<W: Work>(
    client: &Client,
    work: &mut W,
    sender: &Sender<(W::Tag, Outcome)>,
    token: &CancelToken,
) -> Result<bool, SubmitError> {
    let Some((job, tag)) = work.next() else { return Ok(false) };
    client.submit_to(job.cancelled_by(token), sender, tag)?;
    Ok(true)
}
