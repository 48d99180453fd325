//! Changes of jobs that callers ask for: cancelling, and queueing failed ones again.

use edgeprove_audit::AuditError;
use edgeprove_job_queue::{QueueError, Requeued};
use edgeprove_job_rules::job::Job;
use edgeprove_protocol::{HasProblemType, JobStatus, ProblemType};
use tokio::sync::oneshot;
use tracing::Instrument as _;

use super::Jobs;
use crate::access::Caller;

/// Who changes a job, and by which request.
#[derive(Debug, Clone)]
pub struct ChangedBy {
    /// The caller.
    pub caller: Caller,
    /// The id of the request.
    pub request_id: String,
}

/// Why a job was not changed.
#[derive(Debug, thiserror::Error)]
pub enum ChangeError {
    /// The queue failed.
    #[error(transparent)]
    Queue(#[from] QueueError),
    /// The audit log could not be written.
    #[error(transparent)]
    Audit(#[from] AuditError),
    /// The job has finished, so it cannot be cancelled.
    #[error("the job is already {0}")]
    AlreadyFinished(JobStatus),
    /// The job has not failed, so it cannot be queued again.
    #[error("only a failed job can be queued again, and this one is {0}")]
    NotFailed(JobStatus),
    /// The witness was deleted.
    #[error(
        "the witness of the job was deleted: the server keeps the witnesses of failed jobs for --failed-witness-ttl"
    )]
    WithoutWitness,
    /// The queue is full.
    #[error("the queue has {queued} jobs, as many as it may")]
    QueueFull {
        /// The number of queued jobs.
        queued: u32,
    },
    /// The job was deleted.
    #[error("there is no job with this id")]
    Unknown,
    /// The audit log cannot be written, so that nothing is changed.
    #[error("the audit log cannot be written")]
    NotRecordable,
    /// The task that changes the job ended early.
    #[error("the task that changes the job ended early")]
    Interrupted,
}

impl HasProblemType for ChangeError {
    fn kind(&self) -> ProblemType {
        match self {
            Self::Queue(error) => error.kind(),
            Self::Audit(error) => error.kind(),
            Self::AlreadyFinished(_) => ProblemType::JobAlreadyFinished,
            Self::NotFailed(_) | Self::WithoutWitness => ProblemType::JobNotRetryable,
            Self::QueueFull { .. } => ProblemType::QueueFull,
            Self::Unknown => ProblemType::JobNotFound,
            Self::NotRecordable => ProblemType::AuditUnavailable,
            Self::Interrupted => ProblemType::Internal,
        }
    }
}

impl Jobs {
    /// Cancels a job. The request is written to the audit log before. Returns the status of the job now: cancelled, or running
    /// while its worker has yet to stop.
    pub async fn cancel(&self, job: &Job, by: ChangedBy) -> Result<JobStatus, ChangeError> {
        let ChangedBy { caller, request_id } = by;
        if !job.status.is_finished() {
            self.recorder.cancel_requested(job, &caller, request_id.clone()).await?;
        }
        match self.store.queue.cancel(job.id, Some(&job.owner)).await? {
            Some(JobStatus::Running) => Ok(JobStatus::Running),
            Some(_) => {
                self.recorder.cancelled(job, &caller, request_id).await;
                Ok(JobStatus::Cancelled)
            }
            None => match self.store.queue.get(job.id).await?.map_or(job.status, |job| job.status) {
                // By a request before this one, which may be about to record it.
                JobStatus::Cancelled => Ok(JobStatus::Cancelled),
                now => {
                    self.recorder.cancel_was_late(job);
                    Err(ChangeError::AlreadyFinished(now))
                }
            },
        }
    }

    /// Queues a failed job again. It does not start before that is in the audit log.
    pub async fn requeue(&self, job: Job, by: ChangedBy) -> Result<(), ChangeError> {
        if job.status != JobStatus::Failed {
            return Err(ChangeError::NotFailed(job.status));
        }
        if !self.recorder.is_ready().await {
            return Err(ChangeError::NotRecordable);
        }
        let (queue, recorder) = (self.store.queue.clone(), self.recorder.clone());
        let (done, requeued) = oneshot::channel();
        // A task of its own: a caller that leaves must not leave a queued job behind that is not in the audit log.
        let requeueing = async move {
            let recording = recorder.accepting(job.id);
            let outcome = match queue.requeue(job.id).await {
                Ok(Requeued::Queued) => {
                    recorder.requeued(&job, &by.caller, by.request_id).await;
                    Ok(())
                }
                Ok(Requeued::Full { queued }) => Err(ChangeError::QueueFull { queued }),
                Ok(Requeued::WithoutInput) => Err(ChangeError::WithoutWitness),
                Ok(Requeued::NotFailed(status)) => Err(ChangeError::NotFailed(status)),
                Ok(Requeued::Unknown) => Err(ChangeError::Unknown),
                Err(error) => Err(error.into()),
            };
            recording.recorded();
            // The caller may have left.
            let _ = done.send(outcome);
        };
        self.supervisor.spawn("queue a job again", requeueing.in_current_span());
        requeued.await.unwrap_or(Err(ChangeError::Interrupted))
    }
}
