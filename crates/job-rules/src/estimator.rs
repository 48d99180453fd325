//! The estimator of durations: learns how long work takes, by job kind and subject, and estimates how long it will take.
//!
//! It holds what one server has learnt, in memory. It reads no clock and no queue: callers pass in the time, and the
//! durations that earlier servers measured.

use std::{
    collections::HashMap,
    num::NonZeroUsize,
    time::{Duration, Instant},
};

use edgeprove_protocol::JobId;
use parking_lot::Mutex;

use crate::{
    prediction::{self, Estimate, History, Underway, Waiting},
    queue_position::{JobGroup, QueuePosition},
};

/// What was measured within this time was measured lately.
const LATELY_MIN: Duration = Duration::from_mins(1);
/// What was measured within the time of this much such work was measured lately, too.
const LATELY_TIMES: u32 = 4;

/// Learns from durations and estimates others from them. It is safe to share between threads.
///
/// ```
/// use std::{num::NonZeroUsize, time::{Duration, Instant}};
/// use edgeprove_job_rules::{estimator::DurationEstimator, queue_position::QueuePosition};
///
/// let estimator = DurationEstimator::new(NonZeroUsize::MIN);
/// assert!(estimator.expected("prove", "maze").is_none());
/// estimator.record("prove", "maze", Duration::from_secs(2), Instant::now());
/// assert_eq!(estimator.expected("prove", "maze").unwrap().expected, Duration::from_secs(2));
/// ```
#[derive(Debug)]
pub struct DurationEstimator {
    workers: NonZeroUsize,
    learnt: Mutex<Learnt>,
}

/// Work of one kind on one subject takes about the same time.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Sort {
    kind: String,
    subject: String,
}

#[derive(Debug, Default)]
struct Learnt {
    histories: HashMap<Sort, History>,
    /// When the latest duration of each sort was measured by this server.
    measured: HashMap<Sort, Instant>,
    /// The jobs that this server works on, with the time when each started.
    running: HashMap<JobId, (Sort, Instant)>,
}

/// A running job. It counts as running until this value is dropped.
#[derive(Debug)]
#[must_use]
pub struct RunningJob<'e> {
    estimator: &'e DurationEstimator,
    id: JobId,
}

impl DurationEstimator {
    /// An estimator that has learnt nothing, for a server with this many workers.
    #[must_use]
    pub fn new(workers: NonZeroUsize) -> Self {
        Self { workers, learnt: Mutex::default() }
    }

    /// Learns that one piece of work took this long, and ended now. A result from a cache is no work and must not be recorded.
    pub fn record(&self, kind: &str, subject: &str, took: Duration, now: Instant) {
        let sort = Sort::new(kind, subject);
        let mut learnt = self.learnt.lock();
        learnt.measured.insert(sort.clone(), now);
        learnt.histories.entry(sort).or_default().record(took);
    }

    /// As [`Self::expected`], if this server measured such work lately: within the last minute, or the time of some such
    /// work. How long work takes depends on how busy the machine is, so that older durations are no reason to refuse work.
    #[must_use]
    pub fn expected_lately(&self, kind: &str, subject: &str, now: Instant) -> Option<Estimate> {
        let sort = Sort::new(kind, subject);
        let learnt = self.learnt.lock();
        let age = now.saturating_duration_since(*learnt.measured.get(&sort)?);
        learnt.expected(&sort).filter(|estimate| age <= LATELY_MIN.max(estimate.expected * LATELY_TIMES))
    }

    /// Whether durations of this sort were recorded, or loaded by [`load`](Self::load).
    #[must_use]
    pub fn has_history(&self, kind: &str, subject: &str) -> bool {
        self.learnt.lock().histories.contains_key(&Sort::new(kind, subject))
    }

    /// The number of durations that [`Self::expected`] is based on.
    #[must_use]
    pub fn samples(&self, kind: &str, subject: &str) -> usize {
        self.learnt.lock().histories.get(&Sort::new(kind, subject)).map_or(0, History::len)
    }

    /// Learns the durations that earlier servers measured, the oldest first. What this server has measured itself is
    /// newer, so that this does nothing where there is a history already.
    pub fn load(&self, kind: &str, subject: &str, durations: impl IntoIterator<Item = Duration>) {
        let history = durations.into_iter().collect();
        self.learnt.lock().histories.entry(Sort::new(kind, subject)).or_insert(history);
    }

    /// The time that such work takes once it has started; `None` where nothing was learnt.
    #[must_use]
    pub fn expected(&self, kind: &str, subject: &str) -> Option<Estimate> {
        self.learnt.lock().expected(&Sort::new(kind, subject))
    }

    /// The time that is left of such work after this much of it; `None` where nothing was learnt.
    #[must_use]
    pub fn remaining(&self, kind: &str, subject: &str, elapsed: Duration) -> Option<Estimate> {
        Some(self.expected(kind, subject)?.remaining(elapsed))
    }

    /// Counts a job as running from `now` until the returned guard is dropped.
    pub fn started(&self, id: JobId, kind: &str, subject: &str, now: Instant) -> RunningJob<'_> {
        self.learnt.lock().running.insert(id, (Sort::new(kind, subject), now));
        RunningJob { estimator: self, id }
    }

    /// The time that a job at this position waits, together with the time that it takes then; `None` where nothing was
    /// learnt of such jobs. Other jobs of which nothing was learnt are assumed to take as long as this one.
    #[must_use]
    pub fn wait_and_work(
        &self,
        position: &QueuePosition,
        kind: &str,
        subject: &str,
        now: Instant,
    ) -> Option<Estimate> {
        let learnt = self.learnt.lock();
        let own = learnt.expected(&Sort::new(kind, subject))?;
        let of = |sort: &Sort| learnt.expected(sort).unwrap_or(own);
        let waiting = |group: &JobGroup| {
            let estimate = of(&Sort::new(&group.kind, &group.subject));
            Waiting { estimate, jobs: group.jobs }
        };
        let ahead: Vec<_> = position.ahead.iter().map(waiting).collect();
        let running: Vec<_> = learnt
            .running
            .values()
            .map(|(sort, started)| Underway {
                estimate: of(sort),
                elapsed: now.saturating_duration_since(*started),
            })
            .collect();
        Some(prediction::wait(self.workers, &running, &ahead).then(own))
    }
}

impl Drop for RunningJob<'_> {
    fn drop(&mut self) {
        self.estimator.learnt.lock().running.remove(&self.id);
    }
}

impl Sort {
    fn new(kind: &str, subject: &str) -> Self {
        Self { kind: kind.to_owned(), subject: subject.to_owned() }
    }
}

impl Learnt {
    fn expected(&self, sort: &Sort) -> Option<Estimate> {
        self.histories.get(sort)?.estimate()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(byte: u8) -> JobId {
        JobId::new(None, [byte; 16]).unwrap()
    }

    #[test]
    fn nothing_learnt_means_no_estimate() {
        let estimator = DurationEstimator::new(NonZeroUsize::MIN);
        assert!(estimator.expected("prove", "maze").is_none());
        let first = QueuePosition::default();
        assert!(estimator.wait_and_work(&first, "prove", "maze", Instant::now()).is_none());
    }

    #[test]
    fn jobs_ahead_and_running_jobs_lengthen_the_wait() {
        let estimator = DurationEstimator::new(NonZeroUsize::MIN);
        estimator.load("prove", "maze", [Duration::from_secs(2); 8]);
        let now = Instant::now();
        let after = |jobs| QueuePosition {
            ahead: vec![JobGroup { kind: "prove".to_owned(), subject: "maze".to_owned(), jobs }],
        };
        let expected = |jobs| estimator.wait_and_work(&after(jobs), "prove", "maze", now).unwrap().expected;
        assert_eq!((expected(0), expected(3)), (Duration::from_secs(2), Duration::from_secs(8)));
        let running = estimator.started(id(9), "prove", "maze", now);
        assert_eq!(expected(0), Duration::from_secs(4));
        drop(running);
        assert_eq!(expected(0), Duration::from_secs(2));
    }

    #[test]
    fn loaded_durations_do_not_replace_measured_ones() {
        let estimator = DurationEstimator::new(NonZeroUsize::MIN);
        assert!(!estimator.has_history("prove", "maze"));
        assert_eq!(estimator.samples("prove", "maze"), 0);
        estimator.record("prove", "maze", Duration::from_secs(3), Instant::now());
        assert_eq!(estimator.samples("prove", "maze"), 1);
        estimator.load("prove", "maze", [Duration::from_secs(9)]);
        assert_eq!(estimator.expected("prove", "maze").unwrap().expected, Duration::from_secs(3));
        assert!(estimator.has_history("prove", "maze"));
        assert!(estimator.expected("prove", "tree").is_none());
    }

    #[test]
    fn old_durations_are_no_reason_to_refuse_work() {
        let estimator = DurationEstimator::new(NonZeroUsize::MIN);
        let now = Instant::now();
        let after = |seconds, subject: &str| {
            estimator.expected_lately("prove", subject, now + Duration::from_secs(seconds)).is_some()
        };
        estimator.load("prove", "maze", [Duration::from_secs(9)]);
        assert!(!after(0, "maze"), "measured by another server");
        estimator.record("prove", "maze", Duration::from_secs(9), now);
        assert!(after(60, "maze") && !after(61, "maze"));
        estimator.record("prove", "large", Duration::from_secs(100), now);
        assert!(after(400, "large") && !after(401, "large"));
    }
}
