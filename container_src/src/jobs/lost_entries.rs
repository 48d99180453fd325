//! Completes the audit log after a crash: a killed server may have changed a job without the entry that follows.
//!
//! The entries of a job follow the change in the database, within moments. The end of the log is therefore compared with
//! the jobs. Only jobs that changed after the first entry which is read can lack an entry, so that a log which was rotated
//! or turned on since gets no entry twice. Servers that share a database each have a log of their own, and no log has the
//! entries of all jobs: there nothing is added.

use std::collections::{HashMap, HashSet};

use edgeprove_audit::{PageRange, filter::EntryFilter};
use edgeprove_job_queue::{QueueError, SqlQueue};
use edgeprove_job_rules::{
    audit::{Action, Actor, Entry, Outcome},
    job::Job,
    time::UnixMillis,
};
use edgeprove_protocol::{JobId, JobStatus, ProblemType};
use serde::Deserialize;

use super::{job_kinds::request_of, job_recorder::JobRecorder};
use crate::access;

/// The number of entries at the end of the log that are compared with the jobs: those of some thousand jobs.
const ENTRIES_MAX: usize = 10_000;
/// The number of jobs that are loaded at once.
const PAGE: u32 = 500;

/// The members of an entry that are compared.
#[derive(Deserialize)]
struct Members {
    action: String,
    actor: String,
    time: String,
    job_id: Option<JobId>,
}

/// The end of the log.
#[derive(Default)]
struct RecordedJobs {
    /// The time of the first entry.
    since: Option<UnixMillis>,
    accepted: HashSet<JobId>,
    ended: HashSet<JobId>,
    cancelled_by: HashMap<JobId, Actor>,
}

/// Records the acceptance and the end of jobs whose entries a killed server did not write. Call it before jobs run.
pub(super) async fn record(recorder: &JobRecorder, queue: &SqlQueue) -> Result<(), QueueError> {
    let Some(log) = recorder.audit().sink().filter(|_| !queue.database().is_shared()) else { return Ok(()) };
    let page = match log.read(EntryFilter::default(), PageRange::Last(ENTRIES_MAX)).await {
        Ok(page) => page,
        Err(error) => {
            let error = edgeprove_telemetry::chain(&error);
            tracing::error!(error, "the audit log could not be compared with the jobs");
            return Ok(());
        }
    };
    let mut known = RecordedJobs::default();
    for record in page.records {
        known.add(&record.entry);
    }
    let Some(since) = known.since else { return Ok(()) };
    let (mut after, mut added) = (0, 0_usize);
    loop {
        let jobs = queue.unexpired(since, after, PAGE).await?;
        let Some(last) = jobs.last() else { break };
        after = last.seq;
        for entry in jobs.iter().flat_map(|job| known.lacks(recorder, job, since)) {
            recorder.audit().record_or_retain(entry).await;
            added += 1;
        }
    }
    if added > 0 {
        tracing::warn!(entries = added, "the audit log lacked entries of jobs, and was completed");
    }
    Ok(())
}

impl RecordedJobs {
    fn add(&mut self, entry: &str) {
        let Ok(Members { action, actor, time, job_id }) = serde_json::from_str(entry) else { return };
        if self.since.is_none() {
            self.since = time.parse().ok().map(|at: jiff::Timestamp| UnixMillis(at.as_millisecond()));
        }
        let Some(id) = job_id else { return };
        let is = |other: Action| action == other.code();
        if is(Action::JobSubmitted) {
            self.accepted.insert(id);
        } else if is(Action::JobCompleted) || is(Action::JobFailed) || is(Action::JobCancelled) {
            self.ended.insert(id);
        } else if is(Action::JobRequeued) {
            self.ended.remove(&id);
        } else if is(Action::JobCancelRequested) {
            self.cancelled_by.insert(id, access::actor(&actor));
        }
    }

    /// The entries that the log lacks of this job.
    fn lacks(&self, recorder: &JobRecorder, job: &Job, since: UnixMillis) -> Vec<Entry> {
        let is_accepted = job.enqueued_at < since || self.accepted.contains(&job.id);
        let mut lacking = Vec::new();
        if !is_accepted {
            if job.status == JobStatus::Cancelled {
                // It was cancelled because its acceptance could not be recorded.
                return lacking;
            }
            let entry = recorder.entry(job, access::actor(&job.owner), Action::JobSubmitted);
            lacking.push(Entry { request_id: request_of(job), ..entry });
        }
        let has_ended = job.finished_at.is_some_and(|at| at >= since);
        if !has_ended || self.ended.contains(&job.id) {
            return lacking;
        }
        let (by, action, outcome) = match job.status {
            JobStatus::Completed => (access::actor(&job.owner), Action::JobCompleted, Outcome::Ok),
            JobStatus::Failed => {
                let problem = job.problem().ok().flatten();
                let problem = problem.and_then(|problem| problem.code.known());
                let outcome = Outcome::Failed(problem.unwrap_or(ProblemType::Internal));
                (access::actor(&job.owner), Action::JobFailed, outcome)
            }
            JobStatus::Cancelled => {
                let by = self.cancelled_by.get(&job.id).cloned().unwrap_or(Actor::Server);
                (by, Action::JobCancelled, Outcome::Ok)
            }
            JobStatus::Queued | JobStatus::Running | JobStatus::Expired => return lacking,
        };
        // A job may be cancelled before it is attempted.
        let entry = match job.status {
            JobStatus::Cancelled => recorder.entry(job, by, action),
            _ => recorder.attempt_entry(job, by, action),
        };
        lacking.push(Entry { outcome: Some(outcome), ..entry });
        lacking
    }
}
