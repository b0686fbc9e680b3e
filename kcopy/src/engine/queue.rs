//! The jobs that have pieces to start, in the order in which they get their turn.
//!
//! One piece a turn, round robin, so that a job of 100 GiB and one of 4 KiB alternate. Three
//! classes share turns 16 : 4 : 1; a class with nothing to do gives its turns to the others.

use std::collections::VecDeque;

use crate::job::Priority;

/// Turns of each class before the next round begins.
const TURNS: [u32; 3] = [16, 4, 1];

/// Index of a job in the engine's table.
pub(super) type JobKey = usize;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct RunQueue {
    classes: [VecDeque<JobKey>; 3],
    turns: [u32; 3],
}

fn class(priority: Priority) -> usize {
    match priority {
        Priority::High => 0,
        Priority::Normal => 1,
        Priority::Low => 2,
    }
}

impl RunQueue {
    /// Number of jobs waiting.
    pub(super) fn len(&self) -> usize {
        self.classes.iter().map(VecDeque::len).sum()
    }

    /// Whether no job waits.
    pub(super) fn is_empty(&self) -> bool {
        self.classes.iter().all(VecDeque::is_empty)
    }

    /// Number of jobs waiting in one class.
    pub(super) fn len_of(&self, priority: Priority) -> usize {
        self.classes[class(priority)].len()
    }

    /// Adds a job behind the others of its class.
    pub(super) fn push_back(&mut self, job: JobKey, priority: Priority) {
        self.classes[class(priority)].push_back(job);
    }

    /// Adds a job before the others of its class.
    pub(super) fn push_front(&mut self, job: JobKey, priority: Priority) {
        self.classes[class(priority)].push_front(job);
    }

    /// The job whose turn it is, taken out.
    pub(super) fn pick(&mut self) -> Option<JobKey> {
        for _ in 0..2 {
            for (jobs, turns) in self.classes.iter_mut().zip(&mut self.turns) {
                if *turns > 0
                    && let Some(job) = jobs.pop_front()
                {
                    *turns -= 1;
                    return Some(job);
                }
            }
            self.turns = TURNS;
        }
        None
    }

    /// The first job of a class.
    pub(super) fn front(&self, priority: Priority) -> Option<JobKey> {
        self.classes[class(priority)].front().copied()
    }

    /// Takes out the first job of a class.
    pub(super) fn pop_front(&mut self, priority: Priority) -> Option<JobKey> {
        self.classes[class(priority)].pop_front()
    }

    /// Takes out the first job that is `wanted`.
    pub(super) fn take_first(&mut self, wanted: impl Fn(JobKey) -> bool) -> Option<JobKey> {
        self.classes.iter_mut().find_map(|jobs| {
            let at = jobs.iter().position(|job| wanted(*job))?;
            jobs.remove(at)
        })
    }

    /// Takes a job out, wherever it is.
    pub(super) fn remove(&mut self, job: JobKey) {
        for jobs in &mut self.classes {
            jobs.retain(|other| *other != job);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_class_gets_a_share_and_high_the_largest() {
        let mut queue = RunQueue::default();
        for job in 0..300 {
            let priority = [Priority::High, Priority::Normal, Priority::Low][job / 100];
            queue.push_back(job, priority);
        }
        let first: Vec<JobKey> = (0..42).filter_map(|_| queue.pick()).collect();
        let count = |from: usize| first.iter().filter(|job| **job / 100 == from).count();
        assert_eq!([count(0), count(1), count(2)], [32, 8, 2]);
    }

    #[test]
    fn an_idle_class_gives_its_turns_away() {
        let mut queue = RunQueue::default();
        queue.push_back(7, Priority::Low);
        queue.push_back(8, Priority::Low);
        assert_eq!((queue.pick(), queue.pick(), queue.pick()), (Some(7), Some(8), None));
        assert!(queue.is_empty());
    }
}
