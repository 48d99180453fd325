//! How long jobs will take, learnt from those that were done.

use std::{
    collections::HashMap,
    num::NonZeroUsize,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use edgeprove_job_rules::prediction::{self, Estimate, History, Underway, WINDOW, Waiting};
use edgeprove_protocol::JobId;

use super::queue::{JobGroup, JobQueue, QueueError, QueuePosition};

/// What jobs take about the same time.
type Sort = (String, String);

/// Learns, and estimates.
#[derive(Debug)]
pub struct Estimator {
    workers: NonZeroUsize,
    known: Mutex<Known>,
}

/// A job that is worked on. Whichever way the work ends, also by being given up in the middle, it is no longer counted.
#[derive(Debug)]
#[must_use]
pub struct AtWork<'e> {
    estimator: &'e Estimator,
    id: JobId,
}

#[derive(Debug, Default)]
struct Known {
    histories: HashMap<Sort, History>,
    /// What this server works on.
    underway: HashMap<JobId, (Sort, Instant)>,
}

impl Estimator {
    /// For so many workers. It knows nothing yet.
    #[must_use]
    pub fn new(workers: NonZeroUsize) -> Self {
        Self { workers, known: Mutex::default() }
    }

    fn known(&self) -> std::sync::MutexGuard<'_, Known> {
        // Nothing panics while the lock is held; were it so, estimates would still be estimates.
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Remembers that a job is worked on, for as long as the answer is kept.
    pub fn begun(&self, id: JobId, kind: &str, subject: &str) -> AtWork<'_> {
        self.known().underway.insert(id, ((kind.to_owned(), subject.to_owned()), Instant::now()));
        AtWork { estimator: self, id }
    }

    /// Learns from work that was no job.
    pub fn learnt(&self, kind: &str, subject: &str, took: Duration) {
        self.known().histories.entry((kind.to_owned(), subject.to_owned())).or_default().record(took);
    }

    /// Asks the queue what earlier servers learnt of such jobs, once.
    pub async fn learn(&self, queue: &dyn JobQueue, kind: &str, subject: &str) -> Result<(), QueueError> {
        let sort = (kind.to_owned(), subject.to_owned());
        if self.known().histories.contains_key(&sort) {
            return Ok(());
        }
        let limit = u32::try_from(WINDOW).unwrap_or(u32::MAX);
        let history: History = queue.durations(kind, subject, limit).await?.into_iter().collect();
        self.known().histories.entry(sort).or_insert(history);
        Ok(())
    }

    /// How long such a job takes once it is begun; `None` where nothing is known.
    #[must_use]
    pub fn work(&self, kind: &str, subject: &str) -> Option<Estimate> {
        self.known().of(&(kind.to_owned(), subject.to_owned()))
    }

    /// What is left of a job that has been worked on for so long.
    #[must_use]
    pub fn rest(&self, kind: &str, subject: &str, elapsed: Duration) -> Option<Estimate> {
        Some(self.work(kind, subject)?.remaining(elapsed))
    }

    /// How long a job has to wait that stands there, and then takes.
    #[must_use]
    pub fn wait_and_work(&self, place: &QueuePosition, kind: &str, subject: &str) -> Option<Estimate> {
        let known = self.known();
        let own = known.of(&(kind.to_owned(), subject.to_owned()))?;
        // Of what nothing is known, it is assumed that it takes as long.
        let of = |sort: &Sort| known.of(sort).unwrap_or(own);
        let waiting = |crowd: &JobGroup| {
            let estimate = of(&(crowd.kind.clone(), crowd.subject.clone()));
            Waiting { estimate, jobs: crowd.jobs }
        };
        let ahead: Vec<_> = place.ahead.iter().map(waiting).collect();
        let underway: Vec<_> = known
            .underway
            .values()
            .map(|(sort, began)| Underway { estimate: of(sort), elapsed: began.elapsed() })
            .collect();
        Some(prediction::wait(self.workers, &underway, &ahead).then(own))
    }
}

impl AtWork<'_> {
    /// It is done, which teaches how long such jobs take.
    pub fn succeeded(self) {
        let mut known = self.estimator.known();
        if let Some((sort, began)) = known.underway.remove(&self.id) {
            known.histories.entry(sort).or_default().record(began.elapsed());
        }
    }
}

impl Drop for AtWork<'_> {
    fn drop(&mut self) {
        self.estimator.known().underway.remove(&self.id);
    }
}

impl Known {
    fn of(&self, sort: &Sort) -> Option<Estimate> {
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
    fn nothing_is_said_of_what_nothing_is_known() {
        let estimator = Estimator::new(NonZeroUsize::MIN);
        assert!(estimator.work("prove", "maze").is_none());
        assert!(estimator.wait_and_work(&QueuePosition::default(), "prove", "maze").is_none());
    }

    #[test]
    fn who_comes_later_waits_longer() {
        let estimator = Estimator::new(NonZeroUsize::MIN);
        let took = [Duration::from_secs(2); 8].into_iter().collect();
        estimator.known().histories.insert(("prove".to_owned(), "maze".to_owned()), took);
        let after = |jobs| QueuePosition {
            ahead: vec![JobGroup { kind: "prove".to_owned(), subject: "maze".to_owned(), jobs }],
        };
        let expected = |jobs| estimator.wait_and_work(&after(jobs), "prove", "maze").unwrap().expected;
        assert_eq!((expected(0), expected(3)), (Duration::from_secs(2), Duration::from_secs(8)));
        let underway = estimator.begun(id(9), "prove", "maze");
        assert!(expected(0) > Duration::from_secs(3));
        drop(underway);
        assert_eq!(expected(0), Duration::from_secs(2));
    }

    #[test]
    fn only_success_teaches() {
        let estimator = Estimator::new(NonZeroUsize::MIN);
        drop(estimator.begun(id(1), "prove", "maze"));
        assert!(estimator.work("prove", "maze").is_none());
        estimator.begun(id(2), "prove", "maze").succeeded();
        assert!(estimator.work("prove", "maze").is_some());
    }
}
