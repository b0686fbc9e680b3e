//! The jobs that have pieces to start, in the order in which they get their turn.
//!
//! Jobs of one piece and longer jobs stand in two lines that alternate, so that 4 KiB never wait
//! behind 100 GiB for longer than a piece. Long jobs take turns of [`QUANTUM`] bytes: fair among
//! them, and still sequential on the disk. Three classes share turns 16 : 4 : 1; a class with
//! nothing to do gives its turns to the others.

use std::collections::VecDeque;

use crate::job::Priority;

/// Bytes that a long job hands out before the next long job has its turn.
pub(super) const QUANTUM: u64 = 16 << 20;

/// Turns of each class before the next round begins.
const TURNS: [u32; 3] = [16, 4, 1];

/// Index of a job in the engine's table.
pub(super) type JobKey = usize;

/// The line in which a job stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Line {
    pub(super) priority: Priority,
    /// More than one piece is to be cut from it.
    pub(super) long: bool,
}

/// The two lines of one class.
#[derive(Debug, Default)]
struct Class {
    short: VecDeque<JobKey>,
    long: VecDeque<JobKey>,
    /// Whose turn it is if both have jobs.
    long_next: bool,
}

impl Class {
    fn line(&mut self, line: Line) -> &mut VecDeque<JobKey> {
        if line.long { &mut self.long } else { &mut self.short }
    }

    fn pick(&mut self) -> Option<JobKey> {
        let long = self.short.is_empty() || (self.long_next && !self.long.is_empty());
        self.long_next = !long;
        if long { self.long.pop_front() } else { self.short.pop_front() }
    }
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct RunQueue {
    classes: [Class; 3],
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
    /// Whether no job waits.
    pub(super) fn is_empty(&self) -> bool {
        self.classes.iter().all(|class| class.short.is_empty() && class.long.is_empty())
    }

    /// Number of short jobs waiting in one class.
    pub(super) fn short_jobs(&self, priority: Priority) -> usize {
        self.classes[class(priority)].short.len()
    }

    /// Adds a job behind the others of its line.
    pub(super) fn push_back(&mut self, job: JobKey, line: Line) {
        self.classes[class(line.priority)].line(line).push_back(job);
    }

    /// Adds a job before the others of its line.
    pub(super) fn push_front(&mut self, job: JobKey, line: Line) {
        self.classes[class(line.priority)].line(line).push_front(job);
    }

    /// The job whose turn it is, taken out.
    pub(super) fn pick(&mut self) -> Option<JobKey> {
        for _ in 0..2 {
            for (jobs, turns) in self.classes.iter_mut().zip(&mut self.turns) {
                if *turns > 0
                    && let Some(job) = jobs.pick()
                {
                    *turns -= 1;
                    return Some(job);
                }
            }
            self.turns = TURNS;
        }
        None
    }

    /// The short job whose turn would be next, of the highest class that has one; left where it is.
    pub(super) fn next_short(&self) -> Option<JobKey> {
        self.classes.iter().find_map(|class| class.short.front().copied())
    }

    /// The first short job of a class.
    pub(super) fn front(&self, priority: Priority) -> Option<JobKey> {
        self.classes[class(priority)].short.front().copied()
    }

    /// Takes out the first short job of a class.
    pub(super) fn pop_front(&mut self, priority: Priority) -> Option<JobKey> {
        self.classes[class(priority)].short.pop_front()
    }

    /// Takes out the first job that is `wanted`.
    pub(super) fn take_first(&mut self, wanted: impl Fn(JobKey) -> bool) -> Option<JobKey> {
        self.lines().find_map(|jobs| {
            let at = jobs.iter().position(|job| wanted(*job))?;
            jobs.remove(at)
        })
    }

    /// Takes a job out, wherever it is.
    pub(super) fn remove(&mut self, job: JobKey) {
        for jobs in self.lines() {
            jobs.retain(|other| *other != job);
        }
    }

    fn lines(&mut self) -> impl Iterator<Item = &mut VecDeque<JobKey>> {
        self.classes.iter_mut().flat_map(|class| [&mut class.short, &mut class.long])
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
            queue.push_back(job, Line { priority, long: false });
        }
        let first: Vec<JobKey> = (0..42).filter_map(|_| queue.pick()).collect();
        let count = |from: usize| first.iter().filter(|job| **job / 100 == from).count();
        assert_eq!([count(0), count(1), count(2)], [32, 8, 2]);
    }

    #[test]
    fn an_idle_class_gives_its_turns_away() {
        let mut queue = RunQueue::default();
        let line = Line { priority: Priority::Low, long: true };
        queue.push_back(7, line);
        queue.push_back(8, line);
        assert_eq!((queue.pick(), queue.pick(), queue.pick()), (Some(7), Some(8), None));
        assert!(queue.is_empty());
    }

    #[test]
    fn short_and_long_jobs_alternate() {
        let mut queue = RunQueue::default();
        let line = |long| Line { priority: Priority::Normal, long };
        for job in 0..4 {
            queue.push_back(job, line(false));
            queue.push_back(10 + job, line(true));
        }
        let order: Vec<JobKey> = std::iter::from_fn(|| queue.pick()).collect();
        assert_eq!(order, [0, 10, 1, 11, 2, 12, 3, 13]);
    }
}
