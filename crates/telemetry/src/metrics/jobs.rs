//! Series of jobs, their webhooks, and of the proof cache. The values of their labels are constants of the code, never a caller's text.

use std::time::Duration;

use edgeprove_protocol::{Priority, ProblemType};

use super::{
    Kind, Series, is_callers_fault,
    series::{series, text},
};

series! {
    /// Jobs that were accepted, by kind and priority.
    SUBMITTED = Counter "edgeprove_jobs_accepted_total" ["kind", "priority"];
    /// Jobs that finished, by kind and outcome: `completed`, `cancelled`, `caller_error` where the request or the witness
    /// was at fault, or `server_error` where the service was.
    ENDED = Counter "edgeprove_jobs_finished_total" ["kind", "outcome"];
    /// Jobs that failed, by kind and the problem's code.
    FAILED = Counter "edgeprove_jobs_failures_total" ["kind", "code"];
    /// Attempts that failed and will be repeated, by kind and the problem's code.
    RETRIED = Counter "edgeprove_jobs_retries_total" ["kind", "code"];
    /// Leases that expired because the server that held them died or hung, by kind.
    LEASES_LOST = Counter "edgeprove_jobs_leases_lost_total" ["kind"];
    /// Jobs in the queue, by kind and priority.
    QUEUED = Gauge "edgeprove_jobs_queued" ["kind", "priority"];
    /// Jobs that this server runs, by kind.
    RUNNING = Gauge "edgeprove_jobs_running" ["kind"];
    /// Time from a job's arrival to its start, by kind and priority.
    WAIT = Histogram "edgeprove_jobs_wait_duration_seconds" ["kind", "priority"];
    /// Time from a job's start to its end, by kind, where the worker itself reported the end.
    RUN = Histogram "edgeprove_jobs_run_duration_seconds" ["kind"];
    /// Attempts at webhooks, by kind of the job and outcome: `delivered`, `repeated` where the attempt failed and another one
    /// follows, or `given_up` where none follows.
    WEBHOOKS = Counter "edgeprove_webhooks_total" ["kind", "outcome"];
    /// Webhooks that are owed, of unfinished jobs too, and of all servers that share the jobs.
    WEBHOOKS_OWED = Gauge "edgeprove_webhooks_owed" [];
    /// Provers that pull, and wait for a job at this server.
    PULL_WAITING = Gauge "edgeprove_pull_provers_waiting" [];
    /// Jobs that provers claimed from this server.
    PULL_CLAIMS = Counter "edgeprove_pull_jobs_claimed_total" [];
    /// What provers that pull reported to this server: `completed`, `failed`, `released`, `rejected` where the proof or the failure
    /// was not true, or `lost` where the lease had ended.
    PULL_OUTCOMES = Counter "edgeprove_pull_outcomes_total" ["outcome"];
    /// Provers that the queue needs, as `/v1/scale` reports it.
    SCALE_DESIRED = Gauge "edgeprove_scale_desired_provers" [];
    /// Provers that run a proof job: servers, and provers that pull.
    SCALE_BUSY = Gauge "edgeprove_scale_busy_provers" [];
    /// The time that 95 of 100 recent proof jobs took at most; 0 without recent jobs.
    SCALE_P95 = Gauge "edgeprove_scale_job_p95_seconds" [];
    /// Look-ups in the proof cache: `hit`, `miss`, or `tampered` where the stored proof was changed.
    PROOF_CACHE = Counter "edgeprove_proof_cache_requests_total" ["result"];
}

/// The outcome of a job.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum JobEnd {
    /// It has a result.
    Completed,
    /// A caller cancelled it.
    Cancelled,
    /// It failed with this problem, and no attempt is left or none would help.
    Failed(ProblemType),
}

/// The end of an attempt at a webhook.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WebhookEnd {
    /// It was delivered.
    Delivered,
    /// The attempt failed, and another one follows.
    Repeated,
    /// The attempt failed, and none follows.
    GivenUp,
}

impl WebhookEnd {
    const ALL: [Self; 3] = [Self::Delivered, Self::Repeated, Self::GivenUp];

    const fn as_str(self) -> &'static str {
        match self {
            Self::Delivered => "delivered",
            Self::Repeated => "repeated",
            Self::GivenUp => "given_up",
        }
    }
}

/// What a prover that pulls reported.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PullEnd {
    /// A proof that verifies.
    Completed,
    /// A failure.
    Failed,
    /// The job was released.
    Released,
    /// A proof or a failure that is not true.
    Rejected,
    /// Its lease had ended.
    Lost,
}

impl PullEnd {
    const ALL: [Self; 5] = [Self::Completed, Self::Failed, Self::Released, Self::Rejected, Self::Lost];

    const fn as_str(self) -> &'static str {
        match self {
            Self::Completed => "completed",
            Self::Failed => "failed",
            Self::Released => "released",
            Self::Rejected => "rejected",
            Self::Lost => "lost",
        }
    }
}

/// The result of a look-up in the proof cache.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CacheLookup {
    /// The proof is stored.
    Hit,
    /// The proof is not stored.
    Miss,
    /// The stored proof was changed and is not used.
    Tampered,
}

impl JobEnd {
    /// Every value of the label `outcome`.
    const LABELS: [&str; 4] = ["completed", "cancelled", "caller_error", "server_error"];

    const fn as_str(self) -> &'static str {
        match self {
            Self::Completed => "completed",
            Self::Cancelled => "cancelled",
            Self::Failed(problem) if is_callers_fault(problem) => "caller_error",
            Self::Failed(_) => "server_error",
        }
    }
}

impl CacheLookup {
    const LABELS: [&str; 3] = ["hit", "miss", "tampered"];

    const fn as_str(self) -> &'static str {
        match self {
            Self::Hit => "hit",
            Self::Miss => "miss",
            Self::Tampered => "tampered",
        }
    }
}

/// Makes every series of these kinds of jobs and of the proof cache, at zero.
pub(super) fn declare(kinds: &[&str]) {
    for &kind in kinds {
        for priority in Priority::ALL.map(Priority::as_str) {
            SUBMITTED.add(0, [text(kind), priority.into()]);
            WAIT.declare_histogram([text(kind), priority.into()]);
        }
        for outcome in JobEnd::LABELS {
            ENDED.add(0, [text(kind), outcome.into()]);
        }
        for problem in ProblemType::ALL {
            FAILED.add(0, [text(kind), problem.code().into()]);
            RETRIED.add(0, [text(kind), problem.code().into()]);
        }
        LEASES_LOST.add(0, [text(kind)]);
        RUN.declare_histogram([text(kind)]);
        for end in WebhookEnd::ALL {
            WEBHOOKS.add(0, [text(kind), end.as_str().into()]);
        }
        depth(kind, [0; Priority::ALL.len()], 0);
    }
    webhooks_owed(0);
    pull_waiting(0);
    PULL_CLAIMS.add(0, []);
    for end in PullEnd::ALL {
        PULL_OUTCOMES.add(0, [end.as_str().into()]);
    }
    scale(0, 0, Duration::ZERO);
    for result in CacheLookup::LABELS {
        PROOF_CACHE.add(0, [result.into()]);
    }
}

/// Counts a job that was accepted.
pub fn submitted(kind: &str, priority: Priority) {
    SUBMITTED.add(1, [text(kind), priority.as_str().into()]);
}

/// Records how long a job waited for its start.
pub fn started(kind: &str, priority: Priority, waited: Duration) {
    WAIT.record(waited, [text(kind), priority.as_str().into()]);
}

/// Counts a finished job. `ran` is the time since its start; it is not known where the server that ran the job died.
pub fn ended(kind: &str, end: JobEnd, ran: Option<Duration>) {
    ENDED.add(1, [text(kind), end.as_str().into()]);
    if let JobEnd::Failed(problem) = end {
        FAILED.add(1, [text(kind), problem.code().into()]);
    }
    if let Some(ran) = ran {
        RUN.record(ran, [text(kind)]);
    }
}

/// Counts an attempt that failed and will be repeated.
pub fn retried(kind: &str, problem: ProblemType) {
    RETRIED.add(1, [text(kind), problem.code().into()]);
}

/// Counts a lease that expired.
pub fn lease_lost(kind: &str) {
    LEASES_LOST.add(1, [text(kind)]);
}

/// Sets how many jobs of a kind are queued, by [`Priority::level`], and how many this server runs.
pub fn depth(kind: &str, queued: [u64; Priority::ALL.len()], running: usize) {
    for (priority, queued) in Priority::ALL.into_iter().zip(queued) {
        QUEUED.set(queued, [text(kind), priority.as_str().into()]);
    }
    RUNNING.set(running as u64, [text(kind)]);
}

/// Counts the end of an attempt at the webhook of a job of this kind.
pub fn webhook(kind: &str, end: WebhookEnd) {
    WEBHOOKS.add(1, [text(kind), end.as_str().into()]);
}

/// Sets how many webhooks are owed.
pub fn webhooks_owed(owed: u64) {
    WEBHOOKS_OWED.set(owed, []);
}

/// Sets how many provers that pull wait for a job.
pub fn pull_waiting(waiting: u64) {
    PULL_WAITING.set(waiting, []);
}

/// Counts jobs that a prover claimed.
pub fn pull_claimed(jobs: usize) {
    PULL_CLAIMS.add(jobs as u64, []);
}

/// Counts what a prover that pulls reported.
pub fn pull_ended(end: PullEnd) {
    PULL_OUTCOMES.add(1, [end.as_str().into()]);
}

/// Sets how many provers the queue needs, how many are busy, and the time of a job.
pub fn scale(desired: u64, busy: u64, p95: Duration) {
    SCALE_DESIRED.set(desired, []);
    SCALE_BUSY.set(busy, []);
    SCALE_P95.set_s(p95.as_secs_f64(), []);
}

/// Counts a look-up in the proof cache.
pub fn proof_cache(lookup: CacheLookup) {
    PROOF_CACHE.add(1, [lookup.as_str().into()]);
}
