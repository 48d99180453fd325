//! How long work takes, from the jobs that were completed.

use std::{num::NonZeroUsize, time::Duration};

use edgeprove_job_rules::{
    job::Job,
    prediction::{self, Estimate, History, Underway, WINDOW, Waiting},
    priority::Rank,
    queue_position::QueuePosition,
    sql::view,
    time::UnixMillis,
};

use super::{KIND, Queue, QueueError, views::read_position};
use crate::jobs_do::{database::values, payload::ProofReport, protocol::Submission};

/// Reads the running jobs.
const RUNNING: &str = "SELECT subject, started_at FROM jobs WHERE status = 'running'";
/// Most circuits whose durations are remembered. Those of others are read again.
const CIRCUITS_MAX: usize = 256;

/// What was learnt of durations since the object started, and the number of jobs that run at the same time.
#[derive(Debug)]
pub(super) struct Estimates {
    /// By circuit. There are few.
    histories: Vec<(String, History)>,
    workers: NonZeroUsize,
}

impl Default for Estimates {
    fn default() -> Self {
        Self { histories: Vec::new(), workers: NonZeroUsize::MIN }
    }
}

impl ProofReport {
    /// How long the proof and its verification took; `None` for a cached proof.
    fn work(&self) -> Option<Duration> {
        let took_ms = self.timings.prove_ms + self.timings.verify_ms;
        Duration::try_from_secs_f64(took_ms / 1000.0).ok().filter(|_| !self.cached)
    }
}

impl Queue {
    /// Notes how many jobs run at the same time.
    pub fn set_workers(&self, workers: NonZeroUsize) {
        self.estimates.borrow_mut().workers = workers;
    }

    pub(super) fn learn(&self, report: &ProofReport) {
        let Some(took) = report.work() else { return };
        let mut estimates = self.estimates.borrow_mut();
        if let Some((_, history)) =
            estimates.histories.iter_mut().find(|known| known.0 == report.circuit.as_str())
        {
            history.record(took);
        }
    }

    /// The time that a proof of a circuit takes; `None` where nothing is known.
    pub fn expected_work(&self, circuit: &str) -> Result<Option<Estimate>, QueueError> {
        if let Some((_, history)) = self.estimates.borrow().histories.iter().find(|known| known.0 == circuit)
        {
            return Ok(history.estimate());
        }
        let limit = u32::try_from(WINDOW).unwrap_or(u32::MAX);
        let completed = self.jobs(view::COMPLETED, values![KIND, circuit, limit])?;
        let work = |job: &Job| {
            let report: ProofReport = job.completion().ok()?;
            report.work().filter(|_| report.circuit.as_str() == circuit)
        };
        let history: History = completed.iter().rev().filter_map(work).collect();
        let estimate = history.estimate();
        let mut estimates = self.estimates.borrow_mut();
        if estimates.histories.len() >= CIRCUITS_MAX {
            estimates.histories.clear();
        }
        estimates.histories.push((circuit.to_owned(), history));
        Ok(estimate)
    }

    /// The time until a job at this position finishes; `None` where nothing is known of such jobs.
    pub(super) fn until_done(
        &self,
        position: &QueuePosition,
        circuit: &str,
        now: UnixMillis,
    ) -> Result<Option<Estimate>, QueueError> {
        let Some(own) = self.expected_work(circuit)? else { return Ok(None) };
        let of = |circuit: &str| Ok::<_, QueueError>(self.expected_work(circuit)?.unwrap_or(own));
        let mut underway = Vec::new();
        for mut row in self.rows_of(RUNNING, &[])? {
            let elapsed = now.since(UnixMillis(row.number("started_at")?));
            underway.push(Underway { estimate: of(&row.text("subject")?)?, elapsed });
        }
        let mut ahead = Vec::new();
        for group in &position.ahead {
            ahead.push(Waiting { estimate: of(&group.subject)?, jobs: group.jobs });
        }
        let workers = self.estimates.borrow().workers;
        Ok(Some(prediction::wait(workers, &underway, &ahead).then(own)))
    }

    /// The time until a new job would finish.
    pub(super) fn forecast(
        &self,
        submission: &Submission,
        now: UnixMillis,
    ) -> Result<Option<Estimate>, QueueError> {
        let priority = submission.priority;
        let rank = Rank::new(priority, now).0;
        let values = values![submission.account.as_str(), i64::from(priority.level()), now, rank];
        let position = read_position(self.rows(view::AHEAD_OF_NEW_JOB, values)?)?;
        self.until_done(&position, submission.circuit.as_str(), now)
    }

    /// The time until all jobs that are queued now have finished, with so many workers; `None` where nothing is known.
    pub fn backlog(&self, workers: NonZeroUsize, now: UnixMillis) -> Result<Option<Estimate>, QueueError> {
        let mut ahead = Vec::new();
        for group in self.queued_groups()? {
            let Some(estimate) = self.expected_work(&group.subject)? else { return Ok(None) };
            ahead.push(Waiting { estimate, jobs: group.jobs });
        }
        let mut underway = Vec::new();
        for mut row in self.rows_of(RUNNING, &[])? {
            let elapsed = now.since(UnixMillis(row.number("started_at")?));
            let Some(estimate) = self.expected_work(&row.text("subject")?)? else { return Ok(None) };
            underway.push(Underway { estimate, elapsed });
        }
        Ok(Some(prediction::wait(workers, &underway, &ahead)))
    }
}
