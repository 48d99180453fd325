//! The writes that share transactions on PostgreSQL: arrivals of jobs, reports of workers, and the ends of jobs.

use std::collections::HashMap;

use async_trait::async_trait;
use edgeprove_job_rules::{
    expiry::Retention,
    job::NewJob,
    lease::LeaseToken,
    priority::Rank,
    queue_bounds::Bounds,
    sql::intake,
    time::UnixMillis,
    turn::{OrderKey, Turn},
};
use edgeprove_protocol::{JobId, JobStatus};
use serde_json::json;
use sqlx::{SqlStr, any::AnyRow};

use super::rows::{get, read_id, read_status};
use crate::{
    shared_writes::Together,
    store::{
        StoreError,
        session::{Transaction, Value, values},
    },
};

/// A statement that returns one row at most, for the time of its transaction.
pub(crate) type Write = Box<dyn Fn(UnixMillis) -> (SqlStr, Vec<Value>) + Send + Sync>;

/// Statements that are executed one after the other.
#[derive(Debug)]
pub(crate) struct Statements;

#[async_trait]
impl Together for Statements {
    type Write = Write;
    type Answer = Option<AnyRow>;

    async fn execute(
        &self,
        transaction: &mut Transaction<'_>,
        now: UnixMillis,
        writes: &[&Write],
    ) -> Result<Vec<Option<AnyRow>>, StoreError> {
        let mut rows = Vec::with_capacity(writes.len());
        for write in writes {
            let (statement, values) = write(now);
            rows.push(transaction.row(statement, values).await?);
        }
        Ok(rows)
    }
}

/// A job that arrives, with the bounds for it.
#[derive(Debug)]
pub(crate) struct Arrival {
    pub(crate) job: NewJob,
    pub(crate) bounds: Bounds,
}

/// Where a job arrived: its number in the order of arrival, and its place in the order of work.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Arrived {
    pub(crate) seq: i64,
    pub(crate) place: OrderKey,
}

impl Arrived {
    pub(super) fn read(row: &AnyRow) -> Result<Self, StoreError> {
        let place = OrderKey { rank: Rank(get(row, "rank")?), turn: Turn(get(row, "turn")?) };
        Ok(Self { seq: get(row, "seq")?, place })
    }
}

/// Jobs that arrive, in one statement as far as the bounds are not near.
#[derive(Debug)]
pub(crate) struct Arrivals {
    pub(crate) one: SqlStr,
    pub(crate) several: SqlStr,
}

#[async_trait]
impl Together for Arrivals {
    type Write = Arrival;
    /// `None`: its key is taken, or the bounds do not allow it.
    type Answer = Option<Arrived>;

    fn lock(&self) -> Option<&'static str> {
        Some(intake::POSTGRES_LOCK_INTAKE)
    }

    async fn execute(
        &self,
        transaction: &mut Transaction<'_>,
        now: UnixMillis,
        arrivals: &[&Arrival],
    ) -> Result<Vec<Option<Arrived>>, StoreError> {
        if arrivals.len() > 1 {
            let list = (0_usize..).zip(arrivals).map(|(n, arrival)| arrival.json(n, now));
            let list = list.collect::<serde_json::Value>().to_string();
            let rows = transaction.rows(self.several.clone(), values![now, list]).await?;
            if !rows.is_empty() {
                let arrived = rows.iter().map(|row| Ok((read_id(row)?, Arrived::read(row)?)));
                let arrived = arrived.collect::<Result<HashMap<_, _>, StoreError>>()?;
                return Ok(arrivals.iter().map(|arrival| arrived.get(&arrival.job.id).copied()).collect());
            }
        }
        // Each alone: the bounds may allow some of them.
        let mut arrived = Vec::with_capacity(arrivals.len());
        for arrival in arrivals {
            let row = transaction.row(self.one.clone(), arrival.values(now)).await?;
            arrived.push(row.as_ref().map(Arrived::read).transpose()?);
        }
        Ok(arrived)
    }
}

impl Arrival {
    /// The values of [`intake::ENQUEUE`].
    pub(super) fn values(&self, now: UnixMillis) -> Vec<Value> {
        let Self { job, bounds } = self;
        let idempotency = job.idempotency.as_ref();
        values![
            job.account.as_str(),
            i64::from(job.priority.level()),
            now,
            Rank::new(job.priority, now).0,
            job.id.to_string(),
            job.kind.as_str(),
            job.subject.as_str(),
            job.version.as_str(),
            job.owner.as_str(),
            job.max_attempts,
            idempotency.map(|idempotency| idempotency.key.as_str()),
            idempotency.map(|idempotency| idempotency.body.to_string()),
            job.payload.as_str(),
            job.input.as_deref(),
            bounds.queued_max,
            bounds.unfinished_per_account_max,
            u32::from(bounds.has_shares),
        ]
        .into()
    }

    /// An object for [`intake::POSTGRES_ENQUEUE_SEVERAL`].
    fn json(&self, n: usize, now: UnixMillis) -> serde_json::Value {
        let Self { job, bounds } = self;
        let idempotency = job.idempotency.as_ref();
        json!({
            "n": n,
            "account": job.account,
            "level": job.priority.level(),
            "arrival_rank": Rank::new(job.priority, now).0,
            "id": job.id,
            "kind": job.kind,
            "subject": job.subject,
            "version": job.version,
            "owner": job.owner,
            "max_attempts": job.max_attempts,
            "idempotency_key": idempotency.map(|idempotency| idempotency.key.as_str()),
            "body_digest": idempotency.map(|idempotency| idempotency.body.to_string()),
            "payload": job.payload,
            "input": job.input,
            "queued_max": bounds.queued_max,
            "unfinished_max": bounds.unfinished_per_account_max,
            "has_shares": bounds.has_shares,
        })
    }
}

/// The end of a job: completed, or failed without another attempt.
#[derive(Debug)]
pub(crate) struct End {
    pub(crate) id: JobId,
    pub(crate) token: LeaseToken,
    pub(crate) status: &'static str,
    pub(crate) outcome: Option<String>,
    pub(crate) result: Option<String>,
}

/// Ends of jobs, in one statement.
#[derive(Debug)]
pub(crate) struct Ends {
    pub(crate) statement: SqlStr,
    pub(crate) retention: Retention,
}

#[async_trait]
impl Together for Ends {
    type Write = End;
    /// `None`: the lease is lost.
    type Answer = Option<JobStatus>;

    async fn execute(
        &self,
        transaction: &mut Transaction<'_>,
        now: UnixMillis,
        ends: &[&End],
    ) -> Result<Vec<Option<JobStatus>>, StoreError> {
        let list = ends.iter().map(|end| {
            let End { id, token, status, outcome, result } = end;
            json!({"job": id, "token": token.0, "end_status": status, "report": outcome, "artifact": result})
        });
        let list = list.collect::<serde_json::Value>().to_string();
        let values = values![now, self.retention.expires_at(now), list];
        let rows = transaction.rows(self.statement.clone(), values).await?;
        let ended = rows.iter().map(|row| {
            let lease = (read_id(row)?, LeaseToken(get(row, "lease_token")?));
            Ok((lease, read_status(row)?))
        });
        let mut ended = ended.collect::<Result<HashMap<_, _>, StoreError>>()?;
        // An end that is reported twice has one row, which is that of the first report.
        Ok(ends.iter().map(|end| ended.remove(&(end.id, end.token))).collect())
    }
}
