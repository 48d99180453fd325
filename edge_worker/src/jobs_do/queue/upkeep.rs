//! Upkeep: leases that ended, jobs whose retention is over, artifacts that nobody needs, and when the object must wake.

use std::collections::BTreeSet;

use edgeprove_job_rules::{
    audit::{Action, Actor, Entry, Outcome},
    job::Job,
    outcome::StoredOutcome,
    row::CorruptRow,
    sql::{upkeep, vouchers},
    time::UnixMillis,
};
use edgeprove_protocol::{JobId, JobStatus, Problem, ProblemType};

use super::{KIND, Queue, QueueError, audit::Acting};
use crate::jobs_do::{database::values, row::Row};

/// Most rows of one step.
const STEP: u32 = 200;
/// The detail of a job that failed because every attempt was lost.
const LOST: &str = "the attempt ended without a result: the object of the jobs was moved or updated, or the container was lost";

/// The times at which something is due. Each value is a time or NULL.
///
/// Binds 1 now. The first column does not search for the least time if a job is due already.
const NEXT: &str = "SELECT \
    CASE WHEN EXISTS (SELECT 1 FROM jobs WHERE status = 'queued' AND run_at <= ?1) THEN ?1 \
    ELSE (SELECT min(run_at) FROM jobs WHERE status = 'queued') END AS due, \
    (SELECT min(lease_until) FROM jobs WHERE status = 'running') AS lease, \
    (SELECT min(expires_at) FROM jobs WHERE status IN ('completed', 'failed', 'cancelled')) AS expiry, \
    (SELECT min(expires_at) FROM jobs WHERE status = 'expired') AS tombstone, \
    (SELECT min(finished_at) FROM jobs WHERE input IS NOT NULL AND finished_at IS NOT NULL AND status = 'failed') \
    AS failed_input, \
    EXISTS (SELECT 1 FROM jobs WHERE input IS NOT NULL AND finished_at IS NOT NULL AND status <> 'failed') \
    OR EXISTS (SELECT 1 FROM jobs WHERE result IS NOT NULL AND status = 'expired') AS doomed";

/// Reads when something was done last.
const MARK: &str = "SELECT at FROM marks WHERE name = ?1";
/// Writes when something was done last.
const SET_MARK: &str = "INSERT INTO marks VALUES (?1, ?2) ON CONFLICT (name) DO UPDATE SET at = excluded.at";

/// What upkeep changed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tidied {
    /// Jobs whose leases ended, or that expired.
    pub changed: Vec<JobId>,
    /// Whether there may be more to do.
    pub has_more: bool,
}

/// An artifact that nobody needs any more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DoomedArtifact {
    /// The number of its job.
    seq: i64,
    /// Its name.
    pub artifact: String,
}

impl Queue {
    /// The first step of a new process: impossible times are corrected, and the attempts of the process before are lost. There
    /// is never another process that uses the database.
    pub fn begin(&self, now: UnixMillis) -> Result<Tidied, QueueError> {
        let rules = self.rules.rules;
        let latest = now.after(rules.backoff.cap);
        let values = values![now, latest, rules.lease.until(now), rules.retention.expires_at(now)];
        self.rows(upkeep::SETTLE, values)?;
        self.reap(UnixMillis::MAX, now)
    }

    /// Ends the leases that ended by this time.
    pub fn reap(&self, ended_by: UnixMillis, now: UnixMillis) -> Result<Tidied, QueueError> {
        let problem = Problem::new(ProblemType::WorkerLost, LOST, None);
        let outcome = StoredOutcome::<()>::Failed(Box::new(problem)).encode()?;
        self.atomically(|| {
            let expires_at = self.rules.rules.retention.expires_at(now);
            let values = values![now, self.retry_at(1, now), outcome.as_str(), expires_at, ended_by];
            let jobs = self.jobs(upkeep::REAP, values)?;
            if !jobs.is_empty() {
                self.count_lost(jobs.len())?;
            }
            for job in &jobs {
                self.record_lost(job, now)?;
            }
            Ok(Tidied { changed: jobs.iter().map(|job| job.id).collect(), has_more: false })
        })
    }

    fn record_lost(&self, job: &Job, now: UnixMillis) -> Result<(), QueueError> {
        let cancelled_by = self.take_cancel(job)?;
        let lost = Outcome::Failed(ProblemType::WorkerLost);
        let server = Acting::server().in_attempt();
        let (acting, action) = match job.status {
            JobStatus::Cancelled => {
                let by = cancelled_by.map_or_else(Acting::server, Acting::by);
                (by.in_attempt().ended(), Action::JobCancelled)
            }
            JobStatus::Failed => (server.with(lost), Action::JobFailed),
            _ => (server.with(lost), Action::JobRetried),
        };
        self.record(job, acting, action, now)?;
        if job.status.is_finished() {
            self.count_ended(job, job.status, Some(ProblemType::WorkerLost))
        } else {
            self.count_retried(Some(ProblemType::WorkerLost))
        }
    }

    /// Expires jobs, and deletes rows and vouchers that expired long ago. A step is bounded.
    pub fn expire(&self, now: UnixMillis) -> Result<Tidied, QueueError> {
        self.atomically(|| {
            let mut changed = Vec::new();
            for mut row in self.rows(upkeep::EXPIRE, values![now, STEP])? {
                let id: JobId = row.text("id")?.parse().map_err(CorruptRow::Id)?;
                let entry = Entry::new(now.rfc3339(), Actor::Server, Action::JobExpired);
                self.append(&Entry { job_id: Some(id), job_kind: Some(KIND.to_owned()), ..entry })?;
                changed.push(id);
            }
            let until = self.rules.rules.retention.rows_until(now);
            let deleted = self.rows(upkeep::DELETE, values![until, STEP])?;
            self.rows(vouchers::FORGET, values![until, STEP])?;
            let has_more = changed.len().max(deleted.len()) >= STEP as usize;
            Ok(Tidied { changed, has_more })
        })
    }

    /// Artifacts that nobody needs any more.
    pub fn doomed(&self, limit: u32, now: UnixMillis) -> Result<Vec<DoomedArtifact>, QueueError> {
        let until = self.rules.rules.retention.failed_inputs_until(now);
        let rows = self.rows(upkeep::DOOMED_ARTIFACTS, values![limit, until])?;
        let doomed = |mut row: Row| {
            let (seq, artifact) = (row.number("seq")?, row.text("artifact")?);
            Ok::<_, QueueError>(DoomedArtifact { seq, artifact })
        };
        rows.into_iter().map(doomed).collect()
    }

    /// Records that an artifact was removed.
    pub fn forget(&self, doomed: &DoomedArtifact) -> Result<(), QueueError> {
        let values = values![doomed.seq, doomed.artifact.as_str()];
        self.rows(upkeep::FORGET_ARTIFACT, values).map(drop)
    }

    /// Those of these artifacts that no job names.
    pub fn orphans(&self, artifacts: Vec<String>) -> Result<Vec<String>, QueueError> {
        if artifacts.is_empty() {
            return Ok(artifacts);
        }
        let mut named = BTreeSet::new();
        for mut row in self.rows(upkeep::NAMED_ARTIFACTS, &[])? {
            named.insert(row.text("artifact")?);
        }
        Ok(artifacts.into_iter().filter(|artifact| !named.contains(artifact)).collect())
    }

    /// When something of this name was done last.
    pub fn mark(&self, name: &str) -> Result<Option<UnixMillis>, QueueError> {
        let Some(row) = self.rows_of(MARK, values![name])?.pop() else { return Ok(None) };
        Ok(Some(UnixMillis(row.number("at")?)))
    }

    /// Writes that something of this name was done now.
    pub fn set_mark(&self, name: &str, now: UnixMillis) -> Result<(), QueueError> {
        self.rows_of(SET_MARK, values![name, now]).map(drop)
    }

    /// The time at which a job is due; `None` if none is queued. Then the time of the next upkeep; `None` if there is nothing
    /// to keep.
    pub fn next(&self, now: UnixMillis) -> Result<(Option<UnixMillis>, Option<UnixMillis>), QueueError> {
        let Some(row) = self.rows_of(NEXT, values![now])?.pop() else { return Ok((None, None)) };
        let retention = self.rules.rules.retention;
        let at = |column| Ok::<_, QueueError>(row.maybe_number(column)?.map(UnixMillis));
        let upkeep = [
            at("lease")?,
            at("expiry")?,
            at("tombstone")?.map(|at| at.after(retention.tombstones)),
            at("failed_input")?.map(|at| at.after(retention.failed_inputs)),
            (row.number("doomed")? != 0).then_some(now),
        ];
        Ok((at("due")?, upkeep.into_iter().flatten().min()))
    }
}
