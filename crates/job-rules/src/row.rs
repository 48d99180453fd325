//! A job as a row: integers and texts, by the names of the columns.
//!
//! Code that reads rows fills a [`JobRow`], field by field or, where rows come as JSON objects, through serde. The
//! conversion to a [`Job`] is here and nowhere else.

use edgeprove_protocol::{Priority, job_id::InvalidJobId, job_status::UnknownJobStatus};
use serde::{Deserialize, Serialize};

use crate::{
    idempotency::{Idempotency, InvalidBodyDigest, InvalidIdempotencyKey},
    job::Job,
    lease::{Lease, LeaseToken},
    priority::Rank,
    time::UnixMillis,
    turn::Turn,
};

/// The columns of a job's row.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "each is the field of `Job` that has its name, as the database holds it")]
pub struct JobRow {
    pub seq: i64,
    pub id: String,
    pub kind: String,
    pub subject: String,
    pub version: String,
    pub owner: String,
    pub account: String,
    pub priority: i64,
    pub rank: i64,
    pub turn: i64,
    pub status: String,
    pub run_at: i64,
    pub enqueued_at: i64,
    pub started_at: Option<i64>,
    pub finished_at: Option<i64>,
    pub expires_at: Option<i64>,
    pub attempts: i64,
    pub max_attempts: i64,
    pub lease_token: i64,
    pub lease_holder: Option<String>,
    pub lease_until: Option<i64>,
    pub cancel_requested_at: Option<i64>,
    pub idempotency_key: Option<String>,
    pub body_digest: Option<String>,
    pub payload: String,
    pub input: Option<String>,
    pub result: Option<String>,
    pub outcome: Option<String>,
    pub stage: Option<String>,
    pub stage_started_at: Option<i64>,
    pub stage_estimate: Option<String>,
}

/// A row that no statement of this crate writes.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CorruptRow {
    /// The id is invalid.
    #[error("in column id")]
    Id(#[from] InvalidJobId),
    /// The status is invalid.
    #[error("in column status")]
    Status(#[from] UnknownJobStatus),
    /// The idempotency key is invalid.
    #[error("in column idempotency_key")]
    IdempotencyKey(#[from] InvalidIdempotencyKey),
    /// The digest is invalid.
    #[error("in column body_digest")]
    BodyDigest(#[from] InvalidBodyDigest),
    /// A number is out of its range.
    #[error("in column {0}: the number is out of range")]
    OutOfRange(&'static str),
}

impl TryFrom<JobRow> for Job {
    type Error = CorruptRow;

    fn try_from(row: JobRow) -> Result<Self, CorruptRow> {
        let lease = row.lease_holder.zip(row.lease_until);
        let idempotency = row.idempotency_key.zip(row.body_digest);
        Ok(Self {
            seq: row.seq,
            id: row.id.parse()?,
            kind: row.kind,
            subject: row.subject,
            version: row.version,
            owner: row.owner,
            account: row.account,
            priority: priority(row.priority)?,
            rank: Rank(row.rank),
            turn: Turn(row.turn),
            status: row.status.parse()?,
            run_at: UnixMillis(row.run_at),
            enqueued_at: UnixMillis(row.enqueued_at),
            started_at: row.started_at.map(UnixMillis),
            finished_at: row.finished_at.map(UnixMillis),
            expires_at: row.expires_at.map(UnixMillis),
            attempts: narrow("attempts", row.attempts)?,
            max_attempts: narrow("max_attempts", row.max_attempts)?,
            lease_token: LeaseToken(row.lease_token),
            lease: lease.map(|(holder, until)| Lease { holder, until: UnixMillis(until) }),
            cancel_requested_at: row.cancel_requested_at.map(UnixMillis),
            idempotency: idempotency
                .map(|(key, body)| {
                    Ok::<_, CorruptRow>(Idempotency { key: key.parse()?, body: body.parse()? })
                })
                .transpose()?,
            payload: row.payload,
            input: row.input,
            result: row.result,
            outcome: row.outcome,
            stage: row.stage,
            stage_started_at: row.stage_started_at.map(UnixMillis),
            stage_estimate: row.stage_estimate,
        })
    }
}

/// The priority that the database holds as this level.
pub fn priority(level: i64) -> Result<Priority, CorruptRow> {
    let of_level = |priority: &Priority| i64::from(priority.level()) == level;
    Priority::ALL.into_iter().find(of_level).ok_or(CorruptRow::OutOfRange("priority"))
}

fn narrow<T: TryFrom<i64>>(column: &'static str, number: i64) -> Result<T, CorruptRow> {
    T::try_from(number).map_err(|_| CorruptRow::OutOfRange(column))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// The row of a running job, as a Durable Object's SQLite returns it.
    fn row() -> JobRow {
        let running = json!({
            "seq": 7, "id": "c1234567-89ab-4def-8123-456789abcdef", "kind": "prove", "subject": "maze",
            "version": "1", "owner": "alice", "account": "key:alice", "priority": 3, "rank": -10, "turn": 0,
            "status": "running", "run_at": 1, "enqueued_at": 1, "started_at": 2, "finished_at": null, "expires_at": null, "attempts": 1, "max_attempts": 3,
            "lease_token": 1, "lease_holder": "w", "lease_until": 9, "cancel_requested_at": null,
            "idempotency_key": "k", "body_digest": "ab".repeat(32), "payload": "{}", "input": "in", "result": null,
            "outcome": null, "stage": "proving", "stage_started_at": 5, "stage_estimate": null,
        });
        serde_json::from_value(running).unwrap()
    }

    #[test]
    fn a_row_becomes_a_job() {
        let job = Job::try_from(row()).unwrap();
        assert_eq!(job.priority, Priority::Critical);
        assert_eq!(job.lease, Some(Lease { holder: "w".to_owned(), until: UnixMillis(9) }));
        assert!(job.idempotency.is_some() && job.is_held_by(LeaseToken(1)));
    }

    #[test]
    fn the_error_of_a_corrupt_row_names_the_column() {
        let corrupt = |change: fn(&mut JobRow)| {
            let mut row = row();
            change(&mut row);
            Job::try_from(row).unwrap_err()
        };
        assert_eq!(corrupt(|row| row.priority = 4), CorruptRow::OutOfRange("priority"));
        assert_eq!(corrupt(|row| row.attempts = -1), CorruptRow::OutOfRange("attempts"));
        assert_eq!(corrupt(|row| row.status = "lost".to_owned()), CorruptRow::Status(UnknownJobStatus));
        assert_eq!(corrupt(|row| row.id = "7".to_owned()), CorruptRow::Id(InvalidJobId));
        let key = corrupt(|row| row.idempotency_key = Some(String::new()));
        assert_eq!(key, CorruptRow::IdempotencyKey(InvalidIdempotencyKey));
        let digest = corrupt(|row| row.body_digest = Some(String::new()));
        assert_eq!(digest, CorruptRow::BodyDigest(InvalidBodyDigest));
    }
}
