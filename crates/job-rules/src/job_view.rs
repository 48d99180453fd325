//! A job as its watchers see it: the job with its position, percent and remaining time.
//!
//! The database stores none of the three. They are computed from the row of the job, the queue and what is known of such work.

use edgeprove_protocol::JobStatus;

use crate::{
    job::Job,
    prediction::Estimate,
    progress::{self, Progress, Stage, StageEstimate},
    queue_position::QueuePosition,
    time::UnixMillis,
};

/// A job with what is computed of it.
#[derive(Debug, Clone, PartialEq)]
pub struct JobView {
    /// The job.
    pub job: Job,
    /// Its position, if it is queued.
    pub position: Option<QueuePosition>,
    /// The percentage of the attempt that is done: 0 while the job is queued, 100 once it is completed or expired, and where
    /// the attempt ended for failed and cancelled jobs.
    pub percent: u8,
    /// The expected time until the job finishes; `None` for finished jobs, and where nothing is known of such jobs.
    pub remaining: Option<Estimate>,
}

impl JobView {
    /// The view of a job at this position, as of `now`. `until_done` is the time until the job finishes, for a queued one, and
    /// `work` that of its work, for one that has reported no stage. `stages` are those of its kind.
    #[must_use]
    pub fn new(
        job: Job,
        position: Option<QueuePosition>,
        until_done: Option<Estimate>,
        stages: &[Stage],
        work: Option<Estimate>,
        now: UnixMillis,
    ) -> Self {
        let progress = |at| progress(&job, stages, work, at);
        let (percent, remaining) = match job.status {
            JobStatus::Queued => (0, until_done),
            JobStatus::Running => {
                let progress = progress(now);
                (progress.percent, progress.remaining)
            }
            JobStatus::Failed | JobStatus::Cancelled => {
                (progress(job.finished_at.unwrap_or(now)).percent, None)
            }
            JobStatus::Completed | JobStatus::Expired => (100, None),
        };
        Self { job, position, percent, remaining }
    }
}

/// The progress of the job's attempt at this time.
fn progress(job: &Job, stages: &[Stage], work: Option<Estimate>, at: UnixMillis) -> Progress {
    let elapsed = at.since(job.stage_started_at.unwrap_or(at));
    let estimate = match &job.stage {
        Some(_) => job.stage_estimate.as_deref().and_then(StageEstimate::decode),
        None => work.map(StageEstimate::from),
    };
    progress::of_attempt(stages, job.stage.as_deref(), elapsed, estimate)
}
