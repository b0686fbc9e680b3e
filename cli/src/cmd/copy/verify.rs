//! Reads every destination back, past the page cache, and compares it with the checksums that were
//! computed while copying. Cells without a checksum (copied in an earlier run) are compared with
//! the source itself.

use std::fs::File;
use std::ops::Range;
use std::sync::Arc;

use crossbeam_channel::{Receiver, Sender};
use kcopy::{Client, Device, Extent, Job, Outcome, Transform};
use rustix::fs::{Advice, fadvise};

use super::ledger::{Ledger, Observer, crc_of_run};
use super::runner::{Plan, TICK, Target};
use crate::cmd::ranges::Ranges;
use crate::output::Progress;
use crate::signals::Interrupt;

/// Jobs on their way at once.
const OUTSTANDING: usize = 16;

/// What reading back has shown.
#[derive(Debug)]
pub(crate) struct Verdict {
    /// For each destination, what is not as it was copied.
    pub(crate) different: Vec<Ranges>,
    pub(crate) interrupted: bool,
}

#[derive(Debug)]
struct Check {
    target: usize,
    range: Range<u64>,
    /// `None`: compared with the source.
    expected: Option<(u32, Arc<Observer>)>,
}

/// Verifies what was copied to the destinations that did not fail.
#[derive(Debug)]
pub(crate) struct Verifier<'a> {
    client: &'a Client,
    plan: &'a Plan,
    targets: &'a mut [Target],
    sender: Sender<(Check, Outcome)>,
    receiver: Receiver<(Check, Outcome)>,
    different: Vec<Ranges>,
    in_flight: usize,
    done: u64,
}

impl<'a> Verifier<'a> {
    pub(crate) fn new(client: &'a Client, plan: &'a Plan, targets: &'a mut [Target]) -> Self {
        let (sender, receiver) = crossbeam_channel::unbounded();
        let different = vec![Ranges::default(); targets.len()];
        Self { client, plan, targets, sender, receiver, different, in_flight: 0, done: 0 }
    }

    /// What the source did not give (`is_lost`) and what could not be written was reported, and is not
    /// looked at.
    pub(crate) fn run(
        mut self,
        ledger: &Ledger,
        is_lost: impl Fn(&Range<u64>) -> bool,
        interrupt: &Interrupt,
        progress: &mut Progress,
    ) -> Verdict {
        let chosen: Vec<usize> =
            (0..self.targets.len()).filter(|index| !self.targets[*index].detached).collect();
        for index in &chosen {
            drop_cache(&self.targets[*index].device);
        }
        for cell in 0..ledger.count() {
            let range = ledger.range(cell);
            let crc = ledger.crc(cell);
            for index in &chosen {
                if interrupt.asked() {
                    break;
                }
                if self.targets[*index].bad.touches(&range) || is_lost(&range) {
                    self.done += range.end - range.start;
                    continue;
                }
                while self.in_flight >= OUTSTANDING {
                    self.collect(progress);
                }
                self.check(*index, range.clone(), (crc, ledger));
            }
        }
        while self.in_flight > 0 {
            self.collect(progress);
        }
        Verdict { different: self.different, interrupted: interrupt.asked() }
    }

    fn check(&mut self, target: usize, range: Range<u64>, (crc, ledger): (Option<u32>, &Ledger)) {
        let len = range.end - range.start;
        let device = self.targets[target].device.clone();
        let at = self.plan.seek + range.start;
        let zeros = crc.is_some_and(|crc| crc == ledger.crc_of_zeros(len));
        if zeros && is_hole(&device, at, len) {
            self.done += len;
            return;
        }
        let copy = Extent::new(&device, at, len);
        let (job, expected) = match crc {
            Some(crc) => {
                let observer = Arc::new(Observer::new(range.start, ledger.cell_size()));
                let transform = Arc::clone(&observer) as Arc<dyn Transform>;
                (Job::stripe(0, transform).from(copy), Some((crc, observer)))
            }
            None => {
                let original = Extent::new(&self.plan.source, self.plan.skip + range.start, len);
                (Job::compare(original).to(copy), None)
            }
        };
        let check = Check { target, range: range.clone(), expected };
        match self.client.submit_to(job, &self.sender, check) {
            Ok(()) => self.in_flight += 1,
            Err(error) => {
                tracing::warn!(%error, "cannot be read back");
                self.different[target].add(range);
            }
        }
    }

    fn collect(&mut self, progress: &mut Progress) {
        if let Ok((check, outcome)) = self.receiver.recv_timeout(TICK) {
            self.in_flight -= 1;
            self.ended(&check, &outcome);
        }
        let share = u64::try_from(self.targets.len()).unwrap_or(1).max(1);
        progress.update(self.done / share);
    }

    fn ended(&mut self, check: &Check, outcome: &Outcome) {
        let range = check.range.clone();
        let len = range.end - range.start;
        self.done += len;
        match &check.expected {
            Some((_, _)) if outcome.read.is_some() => {
                let fault = outcome.read.map(|(_, fault)| fault);
                fault.into_iter().for_each(|fault| self.targets[check.target].fail(fault, false));
                self.different[check.target].add(range);
            }
            Some((crc, observer)) => {
                let found = crc_of_run(range.clone(), observer.take());
                if found != Some(*crc) {
                    self.different[check.target].add(range);
                }
            }
            None if !outcome.is_ok() => {
                let listed = outcome.differences.iter();
                let listed: Vec<Range<u64>> = listed.map(|(_, range)| range.clone()).collect();
                if listed.is_empty() {
                    self.different[check.target].add(range);
                } else {
                    for part in listed {
                        let part = part.start + range.start..part.end + range.start;
                        self.different[check.target].add(part);
                    }
                }
            }
            None => {}
        }
    }
}

/// Whether the destination says itself that there is nothing.
fn is_hole(device: &Device, offset: u64, len: u64) -> bool {
    device.extents(offset, len).all(|extent| extent.hole)
}

/// What is read afterwards comes from the device, not from memory.
fn drop_cache(device: &Device) {
    let dropped =
        File::open(device.path()).and_then(|file| Ok(fadvise(&file, 0, None, Advice::DontNeed)?));
    if let Err(error) = dropped {
        tracing::warn!(path = %device.path().display(), %error, "the page cache was not dropped");
    }
}
