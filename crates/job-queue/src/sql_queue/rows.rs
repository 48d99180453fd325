//! Reading rows.

use edgeprove_job_rules::{
    capability::Capability,
    job::Job,
    queue_position::{JobGroup, QueuePosition, QueuedJob},
    row::{self, JobRow},
};
use edgeprove_protocol::{JobId, JobStatus, Priority};
use sqlx::{Any, Decode, Row as _, Type, any::AnyRow};

use crate::store::StoreError;

pub(super) fn get<'r, T: Decode<'r, Any> + Type<Any>>(
    row: &'r AnyRow,
    column: &str,
) -> Result<T, StoreError> {
    Ok(row.try_get(column)?)
}

/// Reads a number that is never negative.
pub(super) fn count<T: TryFrom<i64>>(row: &AnyRow, column: &'static str) -> Result<T, StoreError> {
    let number: i64 = get(row, column)?;
    T::try_from(number).map_err(|_| row::CorruptRow::OutOfRange(column).into())
}

pub(super) fn read_queued(row: &AnyRow) -> Result<QueuedJob, StoreError> {
    let (kind, subject, version) = (get(row, "kind")?, get(row, "subject")?, get(row, "version")?);
    Ok(QueuedJob { id: read_id(row)?, kind, subject, version })
}

/// Reads a position from the numbers of jobs ahead. Only jobs that one of these capabilities takes count.
pub(super) fn read_position(
    rows: &[AnyRow],
    capabilities: &[Capability],
) -> Result<QueuePosition, StoreError> {
    let mut ahead = Vec::<JobGroup>::new();
    for row in rows {
        let jobs: u64 = count(row, "jobs")?;
        if jobs == 0 {
            continue;
        }
        let (kind, subject): (String, String) = (get(row, "kind")?, get(row, "subject")?);
        let version: String = get(row, "version")?;
        if !capabilities.iter().any(|capability| capability.covers(&kind, &subject, &version)) {
            continue;
        }
        match ahead.iter_mut().find(|group| (&group.kind, &group.subject) == (&kind, &subject)) {
            Some(group) => group.jobs += jobs,
            None => ahead.push(JobGroup { kind, subject, jobs }),
        }
    }
    Ok(QueuePosition { ahead })
}

pub(super) fn read_id(row: &AnyRow) -> Result<JobId, StoreError> {
    let id: String = get(row, "id")?;
    id.parse().map_err(|error| row::CorruptRow::Id(error).into())
}

pub(super) fn read_status(row: &AnyRow) -> Result<JobStatus, StoreError> {
    let status: String = get(row, "status")?;
    status.parse().map_err(|error| row::CorruptRow::Status(error).into())
}

pub(super) fn read_priority(row: &AnyRow) -> Result<Priority, StoreError> {
    Ok(row::priority(get(row, "priority")?)?)
}

pub(super) fn read_job(row: &AnyRow) -> Result<Job, StoreError> {
    let columns = JobRow {
        seq: get(row, "seq")?,
        id: get(row, "id")?,
        kind: get(row, "kind")?,
        subject: get(row, "subject")?,
        version: get(row, "version")?,
        owner: get(row, "owner")?,
        account: get(row, "account")?,
        priority: get(row, "priority")?,
        rank: get(row, "rank")?,
        turn: get(row, "turn")?,
        status: get(row, "status")?,
        run_at: get(row, "run_at")?,
        enqueued_at: get(row, "enqueued_at")?,
        started_at: get(row, "started_at")?,
        finished_at: get(row, "finished_at")?,
        expires_at: get(row, "expires_at")?,
        attempts: get(row, "attempts")?,
        max_attempts: get(row, "max_attempts")?,
        lease_token: get(row, "lease_token")?,
        lease_holder: get(row, "lease_holder")?,
        lease_until: get(row, "lease_until")?,
        cancel_requested_at: get(row, "cancel_requested_at")?,
        idempotency_key: get(row, "idempotency_key")?,
        body_digest: get(row, "body_digest")?,
        payload: get(row, "payload")?,
        input: get(row, "input")?,
        result: get(row, "result")?,
        outcome: get(row, "outcome")?,
        stage: get(row, "stage")?,
        stage_started_at: get(row, "stage_started_at")?,
        stage_estimate: get(row, "stage_estimate")?,
    };
    Ok(columns.try_into()?)
}
