//! A job: what is asked for, how far it is and what came of it.
//!
//! No field holds anything private. What a caller must be able to trust nobody with, such as a witness, is an artefact,
//! kept elsewhere and encrypted; a job only names it.

use edgeprove_protocol::{JobId, JobStatus, Priority};

use crate::{
    idempotency::Idempotency,
    lease::{Lease, LeaseToken},
    priority::Rank,
    time::UnixMillis,
};

/// What is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewJob {
    /// Its name.
    pub id: JobId,
    /// What sort of work it is. Workers claim by it.
    pub kind: String,
    /// What it works on, such as a circuit's name: jobs of one kind and subject take about the same time.
    pub subject: String,
    /// What tells the subject as it was then from others of its name, such as a digest.
    pub version: String,
    /// Who asked.
    pub owner: String,
    /// How urgent it is.
    pub priority: Priority,
    /// How often it may be tried, at least 1.
    pub max_attempts: u32,
    /// The caller's own name for the request.
    pub idempotency: Option<Idempotency>,
    /// What the kind needs to know besides, as it likes to write it.
    pub payload: String,
    /// The artefact that is to be worked on.
    pub input: Option<String>,
}

/// A job, as its row in the database holds it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Job {
    /// Its place in the order of arrival. The database gives it.
    pub seq: i64,
    /// Its name.
    pub id: JobId,
    /// What sort of work it is.
    pub kind: String,
    /// What it works on.
    pub subject: String,
    /// Which one of that name.
    pub version: String,
    /// Who asked.
    pub owner: String,
    /// How urgent it is.
    pub priority: Priority,
    /// Where it stands in the order of work.
    pub rank: Rank,
    /// How far it is.
    pub status: JobStatus,
    /// It is not begun before this.
    pub run_at: UnixMillis,
    /// When it was taken in.
    pub enqueued_at: UnixMillis,
    /// When the attempt under way began, or else the last one.
    pub started_at: Option<UnixMillis>,
    /// When it was over. Set once it is, and only then.
    pub finished_at: Option<UnixMillis>,
    /// When it expires or expired. Set once it is over, and only then.
    pub expires_at: Option<UnixMillis>,
    /// Attempts begun, without those that were handed back.
    pub attempts: u32,
    /// How often it may be tried.
    pub max_attempts: u32,
    /// The token of the last claim; 0 before the first.
    pub lease_token: LeaseToken,
    /// Who has it. Set while it is running, and only then.
    pub lease: Option<Lease>,
    /// When somebody called it off.
    pub cancel_requested_at: Option<UnixMillis>,
    /// The caller's own name for the request.
    pub idempotency: Option<Idempotency>,
    /// What the kind needs to know. Gone when it expires.
    pub payload: Option<String>,
    /// The artefact that is worked on. Gone some time after the job is over.
    pub input: Option<String>,
    /// The artefact that was made. Gone some time after the job expires.
    pub result: Option<String>,
    /// What is to be told of the result, or why the last attempt failed, as the kind writes it. Gone when it expires.
    pub outcome: Option<String>,
    /// What the worker does at the moment.
    pub stage: Option<String>,
    /// How much of the attempt is done, 0 to 100.
    pub percent: u8,
}

impl NewJob {
    /// The job as it is taken in now. Its place in the order of arrival is the database's to give.
    #[must_use]
    pub fn arrive(self, seq: i64, now: UnixMillis) -> Job {
        let Self { id, kind, subject, version, owner, priority, max_attempts, idempotency, payload, input } =
            self;
        Job {
            seq,
            id,
            kind,
            subject,
            version,
            owner,
            priority,
            rank: Rank::new(priority, now),
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
            payload: Some(payload),
            input,
            result: None,
            outcome: None,
            stage: None,
            percent: 0,
        }
    }
}

impl Job {
    /// Its turn: of those that may be begun, the one with the lowest is next.
    #[must_use]
    pub fn turn(&self) -> (Rank, i64) {
        (self.rank, self.seq)
    }

    /// Whether it may be begun now.
    #[must_use]
    pub fn is_due(&self, now: UnixMillis) -> bool {
        self.status == JobStatus::Queued && self.run_at <= now
    }

    /// Whether this claim of it has not ended: the job is running, and nobody claimed it since.
    #[must_use]
    pub fn is_held_by(&self, token: LeaseToken) -> bool {
        self.status == JobStatus::Running && self.lease_token == token
    }

    /// Whether it may be tried once more.
    #[must_use]
    pub fn may_be_retried(&self) -> bool {
        self.attempts < self.max_attempts
    }

    /// The artefacts that nobody needs any more: the input once the job is over, the result once it expired. They are
    /// named here until somebody says that they are deleted, so that none is forgotten by a crash in between.
    pub fn doomed_artifacts(&self) -> impl Iterator<Item = &str> {
        let input = self.input.as_deref().filter(|_| self.status.is_finished());
        let result = self.result.as_deref().filter(|_| self.status == JobStatus::Expired);
        input.into_iter().chain(result)
    }
}
