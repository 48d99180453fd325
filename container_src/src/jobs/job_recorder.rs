//! Writes what happens to jobs to the audit log and the metrics.

use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
    time::Duration,
};

use async_trait::async_trait;
use edgeprove_audit::{Audit, AuditError};
use edgeprove_job_queue::events::{AttemptEnd, ExpiredJob, JobEvents, NotRecorded, UpkeepEvent};
use edgeprove_job_rules::{
    audit::{Action, Actor, Entry, Outcome},
    job::Job,
};
use edgeprove_protocol::{JobId, JobStatus, ProblemType};
use edgeprove_telemetry::metrics::jobs::{self as metrics, JobEnd};

use parking_lot::Mutex;
use tokio::sync::watch;

use super::job_kinds::{circuit_of, voucher_of};
use crate::access::{self, Caller};

/// Most cancel requests that are remembered until their workers stop; the oldest are forgotten first. The end of a job whose
/// request is forgotten is recorded as the server's act. The request itself is in the log in any case.
const CANCELS_MAX: usize = 4_096;
/// Most jobs whose acceptance is recorded when they start. The log lacks the acceptance of further ones until the next start
/// of the server.
const LATE_MAX: usize = 16_384;

/// Writes what happens to jobs to the audit log and the metrics. Clones share the log.
///
/// An event that can be prevented, such as the start of a job, is recorded before it happens, and does not happen if that
/// fails. An event that has happened, such as the end of a job, is recorded as soon as the log can be written.
#[derive(Debug, Clone)]
pub struct JobRecorder {
    audit: Audit,
    /// Jobs that the database has and whose acceptance is being recorded.
    accepting: InProgress,
    /// Jobs whose acceptance is recorded when they start, with the ids of their requests: the answer of the database was
    /// lost, or the log could not be written and the job not be cancelled.
    recorded_late: Arc<Mutex<HashMap<JobId, LateAcceptance>>>,
    /// Jobs whose end is being recorded.
    finishing: InProgress,
    /// Who cancelled the jobs whose workers have yet to stop.
    cancelled_by: Arc<Mutex<VecDeque<(JobId, Actor)>>>,
}

/// The id of the request whose job is recorded late; `None` once it is recorded. A worker and a request may record it at the
/// same moment, so one waits for the other.
type LateAcceptance = Arc<tokio::sync::Mutex<Option<String>>>;

/// The events that are being recorded, by job. Clones share them.
#[derive(Debug, Clone, Default)]
struct InProgress(Arc<Mutex<HashMap<JobId, watch::Receiver<bool>>>>);

/// An event that is being recorded. Dropped before [`Self::recorded`], it was not recorded.
#[derive(Debug)]
pub struct EventInProgress {
    id: JobId,
    all: InProgress,
    is_recorded: watch::Sender<bool>,
}

/// The acceptance of a job could not be recorded, so that the job must not run.
#[derive(Debug, thiserror::Error)]
#[error("the acceptance of the job could not be recorded")]
struct NotAccepted;

impl InProgress {
    fn begin(&self, id: JobId) -> EventInProgress {
        let (is_recorded, receiver) = watch::channel(false);
        self.0.lock().insert(id, receiver);
        EventInProgress { id, all: self.clone(), is_recorded }
    }

    /// Waits for the event of a job, if it is being recorded. Returns `false` if it could not be recorded.
    async fn wait(&self, id: JobId) -> bool {
        let event = self.0.lock().get(&id).cloned();
        match event {
            Some(mut event) => event.wait_for(|is_recorded| *is_recorded).await.is_ok(),
            None => true,
        }
    }
}

impl EventInProgress {
    /// The event is recorded.
    pub fn recorded(self) {
        self.is_recorded.send_replace(true);
    }
}

impl Drop for EventInProgress {
    fn drop(&mut self) {
        self.all.0.lock().remove(&self.id);
    }
}

impl JobRecorder {
    /// A recorder that writes to this log.
    #[must_use]
    pub fn new(audit: Audit) -> Self {
        Self {
            audit,
            accepting: InProgress::default(),
            recorded_late: Arc::default(),
            finishing: InProgress::default(),
            cancelled_by: Arc::default(),
        }
    }

    /// The audit log.
    pub(super) fn audit(&self) -> &Audit {
        &self.audit
    }

    pub(super) fn entry(&self, job: &Job, by: Actor, action: Action) -> Entry {
        let owner = access::actor(&job.owner);
        Entry {
            job_id: Some(job.id),
            job_kind: Some(job.kind.clone()),
            circuit: circuit_of(job),
            owner: (owner != by).then_some(owner),
            voucher: voucher_of(job).map(|voucher| voucher.id),
            ..self.audit.entry(by, action)
        }
    }

    /// An entry about what a caller does to a job now, perhaps with a voucher.
    fn entry_of_caller(&self, job: &Job, by: &Caller, action: Action) -> Entry {
        let voucher = by.voucher().map(|voucher| voucher.id.clone());
        Entry { voucher, ..self.entry(job, by.actor(), action) }
    }

    pub(super) fn attempt_entry(&self, job: &Job, by: Actor, action: Action) -> Entry {
        let (attempt, lease_token) = (Some(job.attempts), Some(job.lease_token));
        Entry { attempt, lease_token, ..self.entry(job, by, action) }
    }

    /// Makes the start of this job wait for its acceptance. Call it before the job is enqueued, because a worker may claim
    /// it at once.
    #[must_use]
    pub fn accepting(&self, id: JobId) -> EventInProgress {
        self.accepting.begin(id)
    }

    /// Waits until the acceptance of a job that was found is recorded. Returns `false` if it could not be recorded.
    pub async fn is_accepted(&self, job: &Job) -> bool {
        self.accepting.wait(job.id).await && self.record_late(job).await.is_ok()
    }

    /// Records the acceptance of this job when it starts, or when its caller asks for it again, if it is in the database
    /// after all.
    pub fn record_before_start(&self, id: JobId, request_id: String) {
        let mut late = self.recorded_late.lock();
        if late.len() < LATE_MAX {
            late.insert(id, Arc::new(tokio::sync::Mutex::new(Some(request_id))));
        }
    }

    async fn record_late(&self, job: &Job) -> Result<(), AuditError> {
        let late = self.recorded_late.lock().get(&job.id).cloned();
        let Some(late) = late else { return Ok(()) };
        let mut late = late.lock().await;
        if let Some(request_id) = &*late {
            self.accepted(job, request_id.clone()).await?;
            *late = None;
            self.recorded_late.lock().remove(&job.id);
        }
        Ok(())
    }

    /// Records that a job was accepted.
    pub async fn accepted(&self, job: &Job, request_id: String) -> Result<(), AuditError> {
        let entry = self.entry(job, access::actor(&job.owner), Action::JobSubmitted);
        self.audit.record(Entry { request_id: Some(request_id), ..entry }).await?;
        metrics::submitted(&job.kind, job.priority);
        Ok(())
    }

    /// Records that this caller cancels an unfinished job. The end of the job is then recorded under the caller's name.
    pub async fn cancel_requested(
        &self,
        job: &Job,
        by: &Caller,
        request_id: String,
    ) -> Result<(), AuditError> {
        let entry = self.entry_of_caller(job, by, Action::JobCancelRequested);
        self.audit.record(Entry { request_id: Some(request_id), ..entry }).await?;
        let mut cancelled_by = self.cancelled_by.lock();
        if !cancelled_by.iter().any(|(id, _)| *id == job.id) {
            if cancelled_by.len() >= CANCELS_MAX {
                cancelled_by.pop_front();
            }
            cancelled_by.push_back((job.id, by.actor()));
        }
        Ok(())
    }

    /// Forgets a cancel request, because the job had finished before.
    pub fn cancel_was_late(&self, job: &Job) {
        self.forget_cancel(job.id);
    }

    /// Records that this caller cancelled a job that no worker had.
    pub async fn cancelled(&self, job: &Job, by: &Caller, request_id: String) {
        metrics::ended(&job.kind, JobEnd::Cancelled, None);
        self.forget_cancel(job.id);
        let entry = self.entry_of_caller(job, by, Action::JobCancelled);
        let entry = Entry { outcome: Some(Outcome::Ok), request_id: Some(request_id), ..entry };
        self.audit.record_or_retain(entry).await;
    }

    /// Whether the log can be written.
    pub async fn is_ready(&self) -> bool {
        self.audit.is_ready().await
    }

    /// Records that this operator queued a failed job again.
    pub async fn requeued(&self, job: &Job, by: &Caller, request_id: String) {
        let entry = self.entry_of_caller(job, by, Action::JobRequeued);
        let entry = Entry { outcome: Some(Outcome::Ok), request_id: Some(request_id), ..entry };
        self.audit.record_or_retain(entry).await;
    }

    /// Forgets who cancelled a job, because it has ended.
    fn forget_cancel(&self, id: JobId) -> Option<Actor> {
        let mut cancelled_by = self.cancelled_by.lock();
        let at = cancelled_by.iter().position(|(cancelled, _)| *cancelled == id)?;
        cancelled_by.remove(at).map(|(_, by)| by)
    }

    /// Records that the result of a job is about to be returned to this caller, after the end of the job.
    pub async fn fetched(&self, job: &Job, by: &Caller, request_id: String) -> Result<(), AuditError> {
        self.finishing.wait(job.id).await;
        let entry = self.entry_of_caller(job, by, Action::JobFetched);
        self.audit.record(Entry { request_id: Some(request_id), ..entry }).await
    }
}

#[async_trait]
impl JobEvents for JobRecorder {
    async fn started(&self, job: &Job) -> Result<(), NotRecorded> {
        if !self.accepting.wait(job.id).await {
            return Err(NotRecorded(NotAccepted.into()));
        }
        self.record_late(job).await.map_err(|error| NotRecorded(error.into()))?;
        if let Some(started_at) = job.started_at {
            metrics::started(&job.kind, job.priority, started_at.since(job.run_at));
        }
        let entry = self.attempt_entry(job, access::actor(&job.owner), Action::JobStarted);
        self.audit.record(entry).await.map_err(|error| NotRecorded(error.into()))
    }

    fn finishing(&self, job: &Job) -> Box<dyn Send + Sync> {
        Box::new(self.finishing.begin(job.id))
    }

    async fn ended(&self, job: &Job, end: AttemptEnd<'_>) {
        let AttemptEnd { status, problem, ran } = end;
        // A code that this version does not know cannot come from its own workers.
        let problem = problem.map(|problem| problem.code.known().unwrap_or(ProblemType::Internal));
        let Some((action, outcome)) = Self::count_end(job, status, problem, ran) else { return };
        let cancelled_by = self.forget_cancel(job.id);
        let by = if action == Action::JobCancelled {
            // If a caller of another server cancelled it, that server recorded the request.
            cancelled_by.unwrap_or(Actor::Server)
        } else {
            access::actor(&job.owner)
        };
        let entry = self.attempt_entry(job, by, action);
        self.audit.record_or_retain(Entry { outcome: Some(outcome), ..entry }).await;
    }

    fn maintained(&self, event: UpkeepEvent) {
        match event {
            UpkeepEvent::LeasesLost(jobs) => {
                for job in jobs {
                    self.lease_lost(&job);
                }
            }
            UpkeepEvent::Abandoned(jobs) => {
                let problem = ProblemType::CircuitUnavailable;
                for job in jobs {
                    metrics::ended(&job.kind, JobEnd::Failed(problem), None);
                    let entry = self.attempt_entry(&job, Actor::Server, Action::JobFailed);
                    self.audit.note(Entry { outcome: Some(Outcome::Failed(problem)), ..entry });
                }
            }
            UpkeepEvent::Expired(jobs) => {
                for ExpiredJob { id, kind } in jobs {
                    let entry = self.audit.entry(Actor::Server, Action::JobExpired);
                    self.audit.note(Entry { job_id: Some(id), job_kind: Some(kind), ..entry });
                }
            }
        }
    }
}

impl JobRecorder {
    /// Counts the end of an attempt; `None` for a status in which no attempt ends.
    fn count_end(
        job: &Job,
        status: JobStatus,
        problem: Option<ProblemType>,
        ran: Duration,
    ) -> Option<(Action, Outcome)> {
        let cause = problem.unwrap_or(ProblemType::Internal);
        match status {
            JobStatus::Completed => {
                metrics::ended(&job.kind, JobEnd::Completed, Some(ran));
                Some((Action::JobCompleted, Outcome::Ok))
            }
            JobStatus::Cancelled => {
                metrics::ended(&job.kind, JobEnd::Cancelled, Some(ran));
                Some((Action::JobCancelled, Outcome::Ok))
            }
            JobStatus::Failed => {
                metrics::ended(&job.kind, JobEnd::Failed(cause), Some(ran));
                Some((Action::JobFailed, Outcome::Failed(cause)))
            }
            // It will be retried, or it was released because the server stops.
            JobStatus::Queued => {
                if let Some(problem) = problem {
                    metrics::retried(&job.kind, problem);
                }
                Some((Action::JobRetried, problem.map_or(Outcome::Abandoned, Outcome::Failed)))
            }
            JobStatus::Running | JobStatus::Expired => None,
        }
    }

    fn lease_lost(&self, job: &Job) {
        metrics::lease_lost(&job.kind);
        let problem = ProblemType::WorkerLost;
        let action = match job.status {
            JobStatus::Cancelled => {
                metrics::ended(&job.kind, JobEnd::Cancelled, None);
                Action::JobCancelled
            }
            JobStatus::Failed => {
                metrics::ended(&job.kind, JobEnd::Failed(problem), None);
                Action::JobFailed
            }
            JobStatus::Queued | JobStatus::Running | JobStatus::Completed | JobStatus::Expired => {
                metrics::retried(&job.kind, problem);
                Action::JobRetried
            }
        };
        self.forget_cancel(job.id);
        let entry = self.attempt_entry(job, Actor::Server, action);
        self.audit.note(Entry { outcome: Some(Outcome::Failed(problem)), ..entry });
    }
}

#[cfg(test)]
mod tests {
    use edgeprove_audit::{AuditSettings, PageRange, file::SyncPolicy, filter::EntryFilter};
    use edgeprove_job_rules::{
        job::NewJob,
        priority::Rank,
        time::UnixMillis,
        turn::{OrderKey, Turn},
    };
    use edgeprove_protocol::Priority;
    use edgeprove_telemetry::supervisor::Supervisor;

    use super::*;

    fn job() -> Job {
        let new = NewJob {
            id: JobId::new(None, [7; 16]).unwrap(),
            kind: "prove".to_owned(),
            subject: "maze".to_owned(),
            version: "v1".to_owned(),
            owner: "key:alice".to_owned(),
            account: String::new(),
            priority: Priority::Normal,
            max_attempts: 3,
            idempotency: None,
            payload: "{}".to_owned(),
            input: None,
        };
        new.arrive(1, UnixMillis(5), OrderKey { rank: Rank(0), turn: Turn(0) })
    }

    async fn actions(recorder: &JobRecorder) -> Vec<String> {
        let log = recorder.audit().sink().unwrap();
        let page = log.read(EntryFilter::default(), PageRange::Last(10)).await.unwrap();
        let action = |entry: &str| {
            let entry: serde_json::Value = serde_json::from_str(entry).unwrap();
            entry["action"].as_str().unwrap().to_owned()
        };
        let actions = page.records.iter().map(|record| action(&record.entry));
        actions.filter(|action| action.starts_with("job.")).collect()
    }

    #[tokio::test]
    async fn a_job_with_a_lost_answer_is_accepted_before_it_starts() {
        let dir = tempfile::tempdir().unwrap();
        let log = dir.path().join("audit.jsonl");
        let settings = AuditSettings { file: log, sync: SyncPolicy::Never };
        let audit = Audit::open(Some(&settings), "server", &Supervisor::default()).await.unwrap();
        let (recorder, job) = (JobRecorder::new(audit), job());
        let accepting = recorder.accepting(job.id);
        recorder.record_before_start(job.id, "r1".to_owned());
        accepting.recorded();
        recorder.started(&job).await.unwrap();
        assert_eq!(actions(&recorder).await, [Action::JobSubmitted.code(), Action::JobStarted.code()]);
        // A request that finds the job has nothing left to record.
        assert!(recorder.is_accepted(&job).await);
        assert_eq!(actions(&recorder).await.len(), 2);
    }

    #[tokio::test]
    async fn a_late_acceptance_is_recorded_once_by_worker_and_request() {
        let dir = tempfile::tempdir().unwrap();
        let settings = AuditSettings { file: dir.path().join("audit.jsonl"), sync: SyncPolicy::Never };
        let audit = Audit::open(Some(&settings), "server", &Supervisor::default()).await.unwrap();
        let (recorder, job) = (JobRecorder::new(audit), job());
        recorder.record_before_start(job.id, "r1".to_owned());
        let (accepted, started, again) =
            tokio::join!(recorder.is_accepted(&job), recorder.started(&job), recorder.is_accepted(&job));
        assert!(accepted && started.is_ok() && again);
        assert_eq!(actions(&recorder).await, [Action::JobSubmitted.code(), Action::JobStarted.code()]);
        assert!(recorder.recorded_late.lock().is_empty());
    }
}
