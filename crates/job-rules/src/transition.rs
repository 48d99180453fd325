//! What can happen to a job, and what becomes of it then.
//!
//! ```text
//!             claim                 complete
//!  ┌────────┐ ───────▶ ┌─────────┐ ─────────▶ completed ─┐
//!  │ queued │          │ running │                        │
//!  └────────┘ ◀─────── └─────────┘ ─────────▶ failed ─────┤ expire
//!      │     retry,       │   fail, or the last            ├───────▶ expired ──▶ (row deleted)
//!      │     hand back,   │   attempt failed or died       │
//!      │     lease lost   │                                │
//!      └──────────────────┴─────────────────▶ cancelled ──┘
//!             cancel: at once, or when the worker lets go
//! ```
//!
//! [`apply`] is total: every event on every job gives the job that it becomes, or says why it cannot happen. It looks at
//! nothing but its arguments. The statements in [`crate::sql`] do the same to a row, and a test holds them against it.

use edgeprove_protocol::JobStatus;

use crate::{
    expiry::Retention,
    job::Job,
    lease::{Lease, LeaseTerms, LeaseToken},
    priority::Rank,
    retry::Backoff,
    time::UnixMillis,
};

/// The settings that transitions depend on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Rules {
    /// How long leases are.
    pub lease: LeaseTerms,
    /// How long to wait between attempts.
    pub backoff: Backoff,
    /// How long a job is remembered once it is over.
    pub retention: Retention,
}

/// Something that happens to a job. Who works on it shows the token of its claim.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// A worker takes it.
    Claim {
        /// The worker's name.
        holder: String,
    },
    /// The worker is alive.
    Heartbeat {
        /// Its claim.
        token: LeaseToken,
    },
    /// The worker says how far it is.
    Progress {
        /// Its claim.
        token: LeaseToken,
        /// What it does.
        stage: String,
        /// How much is done; more than 100 counts as 100.
        percent: u8,
    },
    /// The worker is done. A cancel that it had not heard of comes too late.
    Complete {
        /// Its claim.
        token: LeaseToken,
        /// The artefact that it made.
        result: Option<String>,
        /// What is to be told of it.
        outcome: String,
    },
    /// The attempt failed, and another would fail as well.
    Fail {
        /// Its claim.
        token: LeaseToken,
        /// Why.
        outcome: String,
    },
    /// The attempt failed, and another may succeed.
    Retry {
        /// Its claim.
        token: LeaseToken,
        /// When to try again: [`Backoff::delay`] from now.
        run_at: UnixMillis,
        /// Why.
        outcome: String,
    },
    /// The worker lets go without having failed, because it heard of a cancel or has to stop. The attempt does not count.
    HandBack {
        /// Its claim.
        token: LeaseToken,
    },
    /// Whoever keeps house found the lease run out. The attempt counts, so that a job which kills its worker each time
    /// ends as failed.
    LoseLease {
        /// Leases that end by then are lost: now, or [`UnixMillis::MAX`] where no worker can be alive, such as at the
        /// start of a process that alone uses the database.
        ended_by: UnixMillis,
        /// When to try again.
        run_at: UnixMillis,
        /// What to say if that was the last attempt.
        outcome: String,
    },
    /// Somebody who may calls it off. A worker hears of it at its next heartbeat.
    Cancel,
    /// The database's clock went back.
    Settle,
    /// Its time is over.
    Expire,
    /// An artefact that was doomed is deleted.
    ForgetArtifact {
        /// Which.
        artifact: String,
    },
}

/// Why something cannot happen to a job.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// It is not waiting for a worker.
    #[error("the job is {0}, not queued")]
    NotQueued(JobStatus),
    /// It waits for its next attempt.
    #[error("the job is not to be begun yet")]
    NotDue,
    /// Somebody else has it, or nobody.
    #[error("the lease is lost")]
    LeaseLost,
    /// It is with a worker that lives, or with none.
    #[error("the job has no lease that ran out")]
    LeaseNotLost,
    /// It is over already.
    #[error("the job is {0} already")]
    Over(JobStatus),
    /// It is not over, not yet to expire, or expired already.
    #[error("the job is not to expire now")]
    NotToExpire,
    /// None of its times lies in an impossible future.
    #[error("there is nothing to settle")]
    NothingToSettle,
    /// It names no such artefact, or one that is still needed.
    #[error("the artefact is none that the job no longer needs")]
    ArtifactNotDoomed,
}

/// What the job becomes.
pub fn apply(job: &Job, event: &Event, now: UnixMillis, rules: &Rules) -> Result<Job, Refusal> {
    match event {
        Event::Claim { holder } => claim(job, holder, now, rules),
        Event::Heartbeat { token } => {
            let mut job = held(job, *token)?;
            let until = rules.lease.until(now);
            job.lease = job.lease.map(|lease| Lease { until: lease.until.max(until), ..lease });
            Ok(job)
        }
        Event::Progress { token, stage, percent } => {
            let job = held(job, *token)?;
            Ok(Job { stage: Some(stage.clone()), percent: (*percent).min(100), ..job })
        }
        Event::Complete { token, result, outcome } => {
            let job = Job { result: result.clone(), outcome: Some(outcome.clone()), ..held(job, *token)? };
            Ok(over(Job { percent: 100, ..job }, JobStatus::Completed, now, rules))
        }
        Event::Fail { token, outcome } => {
            let job = held(job, *token)?;
            if job.cancel_requested_at.is_some() {
                return Ok(over(job, JobStatus::Cancelled, now, rules));
            }
            Ok(over(Job { outcome: Some(outcome.clone()), ..job }, JobStatus::Failed, now, rules))
        }
        Event::Retry { token, run_at, outcome } => {
            Ok(attempt_failed(held(job, *token)?, *run_at, outcome, now, rules))
        }
        Event::HandBack { token } => {
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
        Event::Settle => settle(job, now, rules),
        Event::Expire => {
            let ended = job.status.is_finished() && job.status != JobStatus::Expired;
            if !ended || job.expires_at.is_none_or(|at| at > now) {
                return Err(Refusal::NotToExpire);
            }
            let job = job.clone();
            Ok(Job { status: JobStatus::Expired, payload: None, outcome: None, stage: None, ..job })
        }
        Event::ForgetArtifact { artifact } => {
            if !job.doomed_artifacts().any(|doomed| doomed == artifact) {
                return Err(Refusal::ArtifactNotDoomed);
            }
            let input = job.input.clone().filter(|input| input != artifact);
            let result = job.result.clone().filter(|result| result != artifact);
            Ok(Job { input, result, ..job.clone() })
        }
    }
}

/// Whether the job's row may go: it expired so long ago, and no artefact of it is left.
#[must_use]
pub fn may_be_forgotten(job: &Job, now: UnixMillis, retention: Retention) -> bool {
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
        stage: None,
        percent: 0,
        ..job.clone()
    })
}

/// Nobody has it any more, and it does not come back.
fn over(job: Job, status: JobStatus, now: UnixMillis, rules: &Rules) -> Job {
    Job {
        status,
        finished_at: Some(now),
        expires_at: Some(rules.retention.expires_at(now)),
        lease: None,
        ..job
    }
}

/// Nobody has it any more, and it waits for the next worker, unless it was called off meanwhile.
fn back_to_queue(job: Job, run_at: UnixMillis, now: UnixMillis, rules: &Rules) -> Job {
    if job.cancel_requested_at.is_some() {
        return over(job, JobStatus::Cancelled, now, rules);
    }
    Job { status: JobStatus::Queued, run_at, lease: None, stage: None, percent: 0, ..job }
}

/// An attempt came to nothing. A cancel goes before the reason; the last attempt makes the job a dead letter.
fn attempt_failed(job: Job, run_at: UnixMillis, outcome: &str, now: UnixMillis, rules: &Rules) -> Job {
    if job.cancel_requested_at.is_some() {
        return over(job, JobStatus::Cancelled, now, rules);
    }
    let job = Job { outcome: Some(outcome.to_owned()), ..job };
    if job.may_be_retried() {
        back_to_queue(job, run_at, now, rules)
    } else {
        over(job, JobStatus::Failed, now, rules)
    }
}

fn cancel(job: &Job, now: UnixMillis, rules: &Rules) -> Result<Job, Refusal> {
    if job.status.is_finished() {
        return Err(Refusal::Over(job.status));
    }
    let job = Job { cancel_requested_at: job.cancel_requested_at.or(Some(now)), ..job.clone() };
    Ok(if job.status == JobStatus::Queued { over(job, JobStatus::Cancelled, now, rules) } else { job })
}

/// Times that no clock running evenly could have written are moved to the latest that it could have: a job that was never
/// tried waits for nothing but its turn, and others for their next attempt no longer than attempts are apart. The rank of a
/// job that seems to arrive in the future moves along, or it would be passed by all others until then.
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
