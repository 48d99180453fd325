//! The transitions of a job: every event, and the job after it.
//!
//! ```text
//!             claim                 complete
//!  ┌────────┐ ───────▶ ┌─────────┐ ─────────▶ completed ─┐
//!  │ queued │          │ running │                        │
//!  └────────┘ ◀─────── └─────────┘ ─────────▶ failed ─────┤ expire
//!      │     retry,       │   fail, or the last attempt    ├───────▶ expired ──▶ (row deleted)
//!      │     release,     │   fails or loses its lease     │
//!      │     lease lost   │                                │
//!      └──────────────────┴─────────────────▶ cancelled ──┘
//!             cancel: at once, or when the worker stops
//! ```
//!
//! An operator may queue a failed job again while its input is still there.
//!
//! [`apply`] is total: for every event on every job it returns the job after the event, or why the event is impossible. It
//! depends on its arguments only. The statements in [`crate::sql`] do the same to a row; a test compares both.

use edgeprove_protocol::JobStatus;

use crate::{
    backoff::Backoff,
    expiry::Retention,
    job::Job,
    lease::{Lease, LeaseTerms, LeaseToken},
    priority::Rank,
    time::UnixMillis,
};

/// The settings that transitions depend on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Rules {
    /// The length of leases.
    pub lease: LeaseTerms,
    /// The delays between attempts.
    pub backoff: Backoff,
    /// How long finished jobs are retained.
    pub retention: Retention,
}

/// An event in the life of a job. The events of a worker carry the fencing token of its claim.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// A worker claims the job.
    Claim {
        /// The name of the worker's process.
        holder: String,
    },
    /// The worker renews its lease.
    Heartbeat {
        /// The token of its claim.
        token: LeaseToken,
    },
    /// The worker reports a stage. A stage that is reported again keeps its start.
    ReportStage {
        /// The token of its claim.
        token: LeaseToken,
        /// The name of the stage.
        stage: String,
        /// The time when it began.
        at: UnixMillis,
        /// The estimate of its work.
        estimate: Option<String>,
    },
    /// The worker has completed the job. A cancel request that it did not see before is too late.
    Complete {
        /// The token of its claim.
        token: LeaseToken,
        /// The name of the result artifact.
        result: Option<String>,
        /// What the kind reports of the result.
        outcome: String,
    },
    /// The attempt failed, and another attempt would fail as well.
    Fail {
        /// The token of its claim.
        token: LeaseToken,
        /// Why it failed.
        outcome: String,
    },
    /// The attempt failed, and another attempt may succeed.
    Retry {
        /// The token of its claim.
        token: LeaseToken,
        /// The earliest start of the next attempt: [`Backoff::delay`] from now.
        run_at: UnixMillis,
        /// Why it failed.
        outcome: String,
    },
    /// The worker stops without having failed, because of a cancel request or a shutdown. The attempt does not count.
    Release {
        /// The token of its claim.
        token: LeaseToken,
    },
    /// Upkeep found the lease expired. The attempt counts, so that a job that kills its worker each time ends as failed.
    LoseLease {
        /// Leases that end at this time or before are lost: now, or [`UnixMillis::MAX`] where no worker can be alive, such
        /// as at the start of a process that alone uses the database.
        ended_by: UnixMillis,
        /// The earliest start of the next attempt.
        run_at: UnixMillis,
        /// The outcome if that was the last attempt.
        outcome: String,
    },
    /// A caller cancels the job. A worker learns of it with its next heartbeat.
    Cancel,
    /// An operator queues the failed job again, with all its attempts.
    Requeue,
    /// Upkeep found that the job has waited too long for a worker that takes it.
    Abandon {
        /// Why it failed.
        outcome: String,
    },
    /// The database's clock was set back.
    Settle,
    /// The retention of the result is over.
    Expire,
    /// A doomed artifact was removed.
    ForgetArtifact {
        /// The name of the artifact.
        artifact: String,
    },
}

/// Why an event is impossible for a job.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The job is not queued.
    #[error("the job is {0}, not queued")]
    NotQueued(JobStatus),
    /// The job waits for its next attempt.
    #[error("the job is not due yet")]
    NotDue,
    /// The job was claimed again since, or is not running.
    #[error("the lease is lost")]
    LeaseLost,
    /// The job has no lease, or a lease that has not expired.
    #[error("the job has no expired lease")]
    LeaseNotLost,
    /// The job has finished.
    #[error("the job is already {0}")]
    Over(JobStatus),
    /// The job has not failed, or its input is not there any more.
    #[error("the job cannot be queued again")]
    NotToRequeue,
    /// The job has not finished, or its retention is not over, or it has expired already.
    #[error("the job does not expire now")]
    NotToExpire,
    /// None of its times is later than the clock allows.
    #[error("no time of the job needs to be settled")]
    NothingToSettle,
    /// The job does not name the artifact, or still needs it.
    #[error("the artifact is not doomed")]
    ArtifactNotDoomed,
}

/// Returns the job after the event, or why the event is impossible.
pub fn apply(job: &Job, event: &Event, now: UnixMillis, rules: &Rules) -> Result<Job, Refusal> {
    match event {
        Event::Claim { holder } => claim(job, holder, now, rules),
        Event::Heartbeat { token } => {
            let mut job = held(job, *token)?;
            let until = rules.lease.until(now);
            job.lease = job.lease.map(|lease| Lease { until: lease.until.max(until), ..lease });
            Ok(job)
        }
        Event::ReportStage { token, stage, at, estimate } => {
            let job = held(job, *token)?;
            if job.stage.as_ref() == Some(stage) {
                return Ok(job);
            }
            let (stage, stage_estimate) = (Some(stage.clone()), estimate.clone());
            Ok(Job { stage, stage_started_at: Some(*at), stage_estimate, ..job })
        }
        Event::Complete { token, result, outcome } => {
            let job = Job { result: result.clone(), outcome: Some(outcome.clone()), ..held(job, *token)? };
            Ok(finished(job, JobStatus::Completed, now, rules))
        }
        Event::Fail { token, outcome } => {
            let job = held(job, *token)?;
            if job.cancel_requested_at.is_some() {
                return Ok(finished(job, JobStatus::Cancelled, now, rules));
            }
            Ok(finished(Job { outcome: Some(outcome.clone()), ..job }, JobStatus::Failed, now, rules))
        }
        Event::Retry { token, run_at, outcome } => {
            Ok(attempt_failed(held(job, *token)?, *run_at, outcome, now, rules))
        }
        Event::Release { token } => {
            let job = held(job, *token)?;
            let job = Job { attempts: job.attempts.saturating_sub(1), ..job };
            Ok(back_to_queue(job, now, now, rules))
        }
        Event::LoseLease { ended_by, run_at, outcome } => {
            if job.lease.as_ref().is_none_or(|lease| lease.until > *ended_by) {
                return Err(Refusal::LeaseNotLost);
            }
            Ok(attempt_failed(job.clone(), *run_at, outcome, now, rules))
        }
        Event::Cancel => cancel(job, now, rules),
        Event::Requeue => requeue(job, now, rules),
        Event::Abandon { outcome } => match job.status {
            JobStatus::Queued => {
                let job = Job { outcome: Some(outcome.clone()), ..job.clone() };
                Ok(finished(job, JobStatus::Failed, now, rules))
            }
            status => Err(Refusal::NotQueued(status)),
        },
        Event::Settle => settle(job, now, rules),
        Event::Expire => {
            let has_result = job.status.is_finished() && job.status != JobStatus::Expired;
            if !has_result || job.expires_at.is_none_or(|at| at > now) {
                return Err(Refusal::NotToExpire);
            }
            let job = job.clone();
            let job = Job { status: JobStatus::Expired, outcome: None, ..job };
            Ok(without_stage(job))
        }
        Event::ForgetArtifact { artifact } => {
            if !job.doomed_artifacts(now, rules.retention).any(|doomed| doomed == artifact) {
                return Err(Refusal::ArtifactNotDoomed);
            }
            let input = job.input.clone().filter(|input| input != artifact);
            let result = job.result.clone().filter(|result| result != artifact);
            Ok(Job { input, result, ..job.clone() })
        }
    }
}

/// Whether the job's row may be deleted: the job expired long enough ago, and none of its artifacts is left.
#[must_use]
pub fn may_be_deleted(job: &Job, now: UnixMillis, retention: Retention) -> bool {
    job.status == JobStatus::Expired
        && job.expires_at.is_some_and(|at| at <= retention.rows_until(now))
        && job.input.is_none()
        && job.result.is_none()
}

fn held(job: &Job, token: LeaseToken) -> Result<Job, Refusal> {
    if job.is_held_by(token) { Ok(job.clone()) } else { Err(Refusal::LeaseLost) }
}

fn claim(job: &Job, holder: &str, now: UnixMillis, rules: &Rules) -> Result<Job, Refusal> {
    if job.status != JobStatus::Queued {
        return Err(Refusal::NotQueued(job.status));
    }
    if !job.is_due(now) {
        return Err(Refusal::NotDue);
    }
    Ok(Job {
        status: JobStatus::Running,
        started_at: Some(now),
        attempts: job.attempts.saturating_add(1),
        lease_token: LeaseToken(job.lease_token.0.saturating_add(1)),
        lease: Some(Lease { holder: holder.to_owned(), until: rules.lease.until(now) }),
        outcome: None,
        ..without_stage(job.clone())
    })
}

fn without_stage(job: Job) -> Job {
    Job { stage: None, stage_started_at: None, stage_estimate: None, ..job }
}

/// The job after it has finished with this status.
fn finished(job: Job, status: JobStatus, now: UnixMillis, rules: &Rules) -> Job {
    Job {
        status,
        finished_at: Some(now),
        expires_at: Some(rules.retention.expires_at(now)),
        lease: None,
        ..job
    }
}

/// The job after it was put back into the queue, or cancelled if a caller requested that meanwhile.
fn back_to_queue(job: Job, run_at: UnixMillis, now: UnixMillis, rules: &Rules) -> Job {
    if job.cancel_requested_at.is_some() {
        return finished(job, JobStatus::Cancelled, now, rules);
    }
    Job { status: JobStatus::Queued, run_at, lease: None, ..without_stage(job) }
}

/// The job after a failed attempt: cancelled if a caller requested that, failed after the last attempt, else queued.
fn attempt_failed(job: Job, run_at: UnixMillis, outcome: &str, now: UnixMillis, rules: &Rules) -> Job {
    if job.cancel_requested_at.is_some() {
        return finished(job, JobStatus::Cancelled, now, rules);
    }
    let job = Job { outcome: Some(outcome.to_owned()), ..job };
    if job.may_be_retried() {
        back_to_queue(job, run_at, now, rules)
    } else {
        finished(job, JobStatus::Failed, now, rules)
    }
}

fn cancel(job: &Job, now: UnixMillis, rules: &Rules) -> Result<Job, Refusal> {
    if job.status.is_finished() {
        return Err(Refusal::Over(job.status));
    }
    let job = Job { cancel_requested_at: job.cancel_requested_at.or(Some(now)), ..job.clone() };
    Ok(if job.status == JobStatus::Queued { finished(job, JobStatus::Cancelled, now, rules) } else { job })
}

/// The job after it was queued again. Its token rises, so that watchers see a later state of the job than the failed one. It
/// keeps its place in the order of work: it has waited since it arrived.
fn requeue(job: &Job, now: UnixMillis, rules: &Rules) -> Result<Job, Refusal> {
    if !job.may_be_requeued(now, rules.retention) {
        return Err(Refusal::NotToRequeue);
    }
    Ok(Job {
        status: JobStatus::Queued,
        run_at: now,
        attempts: 0,
        lease_token: LeaseToken(job.lease_token.0.saturating_add(1)),
        finished_at: None,
        expires_at: None,
        cancel_requested_at: None,
        ..without_stage(job.clone())
    })
}

/// The job after its impossible times were moved to the latest possible ones. A job without an attempt is due at once, and
/// one that waits for its next attempt waits at most the longest delay. The rank of a job that seems to arrive in the
/// future moves along, or all other jobs would pass it until then.
fn settle(job: &Job, now: UnixMillis, rules: &Rules) -> Result<Job, Refusal> {
    let early = |at: UnixMillis, latest: UnixMillis| at.min(latest);
    let enqueued_at = early(job.enqueued_at, now);
    let run_at_latest = if job.attempts == 0 { now } else { now.after(rules.backoff.cap) };
    let shift = job.enqueued_at.0.saturating_sub(enqueued_at.0);
    let settled = Job {
        rank: Rank(job.rank.0.saturating_sub(shift)),
        enqueued_at,
        run_at: early(job.run_at, run_at_latest),
        expires_at: job.expires_at.map(|at| early(at, rules.retention.expires_at(now))),
        lease: job
            .lease
            .clone()
            .map(|lease| Lease { until: early(lease.until, rules.lease.until(now)), ..lease }),
        ..job.clone()
    };
    if settled == *job { Err(Refusal::NothingToSettle) } else { Ok(settled) }
}

#[cfg(test)]
mod tests;
