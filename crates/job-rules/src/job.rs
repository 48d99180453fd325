//! A job: the request, its state and its outcome.
//!
//! No field holds anything private. Private data, such as a witness, is an artifact, stored elsewhere and encrypted; a job
//! only holds the name of the artifact.

use edgeprove_protocol::{JobId, JobStatus, Priority};

use crate::{
    expiry::Retention,
    idempotency::Idempotency,
    lease::{Lease, LeaseToken},
    priority::Rank,
    time::UnixMillis,
    turn::{OrderKey, Turn},
};

/// A job that is to be enqueued.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewJob {
    /// Its id.
    pub id: JobId,
    /// The name of its job kind. Workers claim by it.
    pub kind: String,
    /// Its subject within the kind, such as the name of a circuit. Jobs of one kind and subject take about the same time.
    pub subject: String,
    /// The version of the subject, such as a digest. It distinguishes subjects of the same name.
    pub version: String,
    /// The caller that the job belongs to.
    pub owner: String,
    /// The account that takes turns with others and has a share of the queue. Callers without a name have one owner, and
    /// accounts by address.
    pub account: String,
    /// Its priority.
    pub priority: Priority,
    /// Maximum number of attempts, at least 1.
    pub max_attempts: u32,
    /// The caller's idempotency key and the digest of the request.
    pub idempotency: Option<Idempotency>,
    /// The parameters of the job, in a format of its kind.
    pub payload: String,
    /// The name of the input artifact.
    pub input: Option<String>,
}

/// A job as its row in the database holds it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Job {
    /// Its number in the order of arrival. The database assigns it.
    pub seq: i64,
    /// Its id.
    pub id: JobId,
    /// The name of its job kind.
    pub kind: String,
    /// Its subject within the kind.
    pub subject: String,
    /// The version of the subject.
    pub version: String,
    /// The caller that the job belongs to.
    pub owner: String,
    /// The account that takes turns with others and has a share of the queue. Callers without a name have one owner, and
    /// accounts by address.
    pub account: String,
    /// Its priority.
    pub priority: Priority,
    /// Its rank in the order of work.
    pub rank: Rank,
    /// Its turn among the jobs of its priority.
    pub turn: Turn,
    /// Its status.
    pub status: JobStatus,
    /// The earliest time at which a worker may claim it.
    pub run_at: UnixMillis,
    /// The time when it was accepted.
    pub enqueued_at: UnixMillis,
    /// The time when the running attempt started, or else the last one.
    pub started_at: Option<UnixMillis>,
    /// The time when it finished. Set exactly if the job has finished.
    pub finished_at: Option<UnixMillis>,
    /// The time when it expires or expired. Set exactly if the job has finished.
    pub expires_at: Option<UnixMillis>,
    /// Number of attempts that started, without those that were released.
    pub attempts: u32,
    /// Maximum number of attempts.
    pub max_attempts: u32,
    /// The fencing token of the last claim; 0 before the first.
    pub lease_token: LeaseToken,
    /// The lease. Set exactly if the job is running.
    pub lease: Option<Lease>,
    /// The time when a caller cancelled it.
    pub cancel_requested_at: Option<UnixMillis>,
    /// The caller's idempotency key and the digest of the request.
    pub idempotency: Option<Idempotency>,
    /// The parameters of the job, in a format of its kind.
    pub payload: String,
    /// The name of the input artifact. Removed some time after the job has finished.
    pub input: Option<String>,
    /// The name of the result artifact. Removed some time after the job has expired.
    pub result: Option<String>,
    /// A [`StoredOutcome`](crate::outcome::StoredOutcome): what the kind reports of the result, or why the last attempt
    /// failed. Removed when the job expires.
    pub outcome: Option<String>,
    /// The stage of the running attempt, or of the last one. Removed when the job expires.
    pub stage: Option<String>,
    /// The time when the stage began. Set exactly if there is a stage.
    pub stage_started_at: Option<UnixMillis>,
    /// The estimate of the work of a timed stage, as it was known when the attempt began. Every server computes percent and
    /// remaining time from this one.
    pub stage_estimate: Option<String>,
}

impl NewJob {
    /// The job as it is when it is accepted now. `seq` is its number in the order of arrival.
    #[must_use]
    pub fn arrive(self, seq: i64, now: UnixMillis, OrderKey { rank, turn }: OrderKey) -> Job {
        let Self { id, kind, subject, version, owner, account, priority, .. } = self;
        let Self { max_attempts, idempotency, payload, input, .. } = self;
        Job {
            seq,
            id,
            kind,
            subject,
            version,
            owner,
            account,
            priority,
            rank,
            turn,
            status: JobStatus::Queued,
            run_at: now,
            enqueued_at: now,
            started_at: None,
            finished_at: None,
            expires_at: None,
            attempts: 0,
            max_attempts,
            lease_token: LeaseToken(0),
            lease: None,
            cancel_requested_at: None,
            idempotency,
            payload,
            input,
            result: None,
            outcome: None,
            stage: None,
            stage_started_at: None,
            stage_estimate: None,
        }
    }
}

impl Job {
    /// Its key in the order of work: of the jobs that are due, the one with the lowest key is claimed next.
    #[must_use]
    pub fn order(&self) -> (Rank, Turn, i64) {
        (self.rank, self.turn, self.seq)
    }

    /// How far the job has come: it rises with every change of the status. Of two readings of one job, the one with the lower
    /// value is the older.
    #[must_use]
    pub fn step(&self) -> (LeaseToken, u8) {
        let within_claim = match self.status {
            JobStatus::Running => 0,
            // After the attempt of the last claim, if there was one.
            JobStatus::Queued => 1,
            JobStatus::Completed | JobStatus::Failed | JobStatus::Cancelled => 2,
            JobStatus::Expired => 3,
        };
        (self.lease_token, within_claim)
    }

    /// Whether a worker may claim it now.
    #[must_use]
    pub fn is_due(&self, now: UnixMillis) -> bool {
        self.status == JobStatus::Queued && self.run_at <= now
    }

    /// Whether the claim with this token still holds: the job is running and was not claimed again.
    #[must_use]
    pub fn is_held_by(&self, token: LeaseToken) -> bool {
        self.status == JobStatus::Running && self.lease_token == token
    }

    /// Whether another attempt is allowed.
    #[must_use]
    pub fn may_be_retried(&self) -> bool {
        self.attempts < self.max_attempts
    }

    /// Whether the job failed so late that its input is still there, and it may be queued again.
    #[must_use]
    pub fn may_be_requeued(&self, now: UnixMillis, retention: Retention) -> bool {
        self.status == JobStatus::Failed
            && self.input.is_some()
            && self.finished_at.is_some_and(|at| at > retention.failed_inputs_until(now))
    }

    /// The artifacts that nobody needs any more: the input once the job has finished and cannot be queued again, the result
    /// once it has expired. Their names stay in the job until the artifacts are removed, so that a crash in between leaves
    /// none behind.
    pub fn doomed_artifacts(&self, now: UnixMillis, retention: Retention) -> impl Iterator<Item = &str> {
        let is_over = self.status.is_finished() && !self.may_be_requeued(now, retention);
        let input = self.input.as_deref().filter(|_| is_over);
        let result = self.result.as_deref().filter(|_| self.status == JobStatus::Expired);
        input.into_iter().chain(result)
    }
}
