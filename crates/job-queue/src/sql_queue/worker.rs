//! What workers do: claim jobs, renew leases, report stages, and end attempts.

use std::{sync::Arc, time::Duration};

use edgeprove_job_rules::{
    capability::{self, Capability},
    job::Job,
    lease::LeaseToken,
    outcome::EncodeError,
    sql::{Dialect, work},
    time::UnixMillis,
};
use edgeprove_protocol::{JobId, JobStatus};
use sqlx::{Row as _, SqlSafeStr as _, SqlStr, any::AnyRow};
use uuid::Uuid;

use super::{
    SqlQueue,
    rows::{get, read_job, read_status},
    shared::End,
};
use crate::{
    queue_types::{Change, JobOutcome, LeaseStatus, QueueError, StageReport},
    store::{
        Durability, StoreError,
        session::{Value, values},
    },
};

impl SqlQueue {
    /// Claims the next job that one of these capabilities takes; `None` if none is due. `holder` names the worker's process.
    pub async fn claim(&self, holder: &str, capabilities: &[Capability]) -> Result<Option<Job>, QueueError> {
        // Otherwise two servers could run the same job: this one, and one that has the files that are there now.
        self.database.check_files().await?;
        let (mut session, now) = self.begin(Durability::Write).await?;
        let values = values![now, self.rules.lease.until(now), capability::json(capabilities), holder];
        let row = session.row(self.notifying.claim.clone(), values).await?;
        let job = row.as_ref().map(read_job).transpose()?;
        if let Some(job) = &job {
            self.notify(job.id, job.status);
        }
        Ok(job)
    }

    /// Claims the next jobs that one of these capabilities takes, one for each holder; none if none is due. A name may occur several
    /// times.
    pub async fn claim_several(
        &self,
        holders: &[&str],
        capabilities: &[Capability],
    ) -> Result<Vec<Job>, QueueError> {
        self.database.check_files().await?;
        let (mut session, now) = self.begin(Durability::Write).await?;
        let names = serde_json::Value::from(holders).to_string();
        let values = values![now, self.rules.lease.until(now), capability::json(capabilities), names];
        let rows = session.rows(self.notifying.claim_several.clone(), values).await?;
        let mut jobs = rows.iter().map(read_job).collect::<Result<Vec<_>, _>>()?;
        jobs.sort_unstable_by_key(|job| (job.rank, job.turn, job.seq));
        for job in &jobs {
            self.notify(job.id, job.status);
        }
        Ok(jobs)
    }

    /// The time until the next delayed job is due; `None` if no job is delayed.
    pub async fn next_due(&self) -> Result<Option<Duration>, QueueError> {
        let (mut session, now) = self.begin(Durability::Read).await?;
        let row = session.row(work::NEXT_DUE, values![now]).await?;
        let due: Option<i64> = row.as_ref().map(|row| get(row, "run_at")).transpose()?.flatten();
        Ok(due.map(|due| UnixMillis(due).since(now)))
    }

    /// Renews a lease.
    pub async fn heartbeat(&self, id: JobId, token: LeaseToken) -> Result<LeaseStatus, QueueError> {
        let heartbeat = work::HEARTBEAT.text(self.database.dialect()).into_sql_str();
        let lease = self.rules.lease;
        let values = move |now| values![id.to_string(), token.0, lease.until(now)].into();
        Ok(self.write_with_lease(&heartbeat, values).await?)
    }

    /// Writes the stage of a running job.
    pub async fn report_stage(
        &self,
        id: JobId,
        token: LeaseToken,
        stage: &StageReport,
    ) -> Result<LeaseStatus, QueueError> {
        let StageReport { name, at, estimate } = *stage;
        let estimate = estimate.map(|estimate| estimate.encode());
        let values = move |now| values![id.to_string(), token.0, name, at.min(now), estimate.clone()].into();
        let status = self.write_with_lease(&self.notifying.report_stage, values).await?;
        if status != LeaseStatus::Lost {
            self.notifier.notify(Change::Job(id));
        }
        Ok(status)
    }

    /// Ends an attempt with its outcome. Returns the status of the job now; `None` if the lease was lost, in which case the result
    /// must be discarded.
    pub async fn finish(
        &self,
        id: JobId,
        token: LeaseToken,
        outcome: &JobOutcome,
    ) -> Result<Option<JobStatus>, QueueError> {
        let text = outcome.encode().map_err(|error: EncodeError| StoreError::Corrupt(Arc::new(error)))?;
        let (rules, id_text) = (self.rules, id.to_string());
        let status = match outcome {
            JobOutcome::Completed { result, .. } => {
                self.end(End { id, token, status: "completed", outcome: text, result: result.clone() })
                    .await?
            }
            JobOutcome::Failed(_) => {
                self.end(End { id, token, status: "failed", outcome: text, result: None }).await?
            }
            JobOutcome::Retry(_) => {
                let Some(job) = self.get(id).await? else { return Ok(None) };
                let delay = self.retry_delay(job.attempts);
                let values = move |now: UnixMillis| {
                    let (run_at, expires_at) = (now.after(delay), rules.retention.expires_at(now));
                    values![now, run_at, text.clone(), expires_at, id_text.as_str(), token.0].into()
                };
                let row = self.write(&self.notifying.retry, values).await?;
                row.as_ref().map(read_status).transpose()?
            }
            JobOutcome::Released => {
                let values = move |now| {
                    values![id_text.as_str(), token.0, now, rules.retention.expires_at(now)].into()
                };
                let row = self.write(&self.notifying.release, values).await?;
                row.as_ref().map(read_status).transpose()?
            }
        };
        if let Some(status) = status {
            self.notify(id, status);
        }
        Ok(status)
    }

    /// Ends a job; `None` if the lease is lost.
    async fn end(&self, end: End) -> Result<Option<JobStatus>, StoreError> {
        match self.database.dialect() {
            Dialect::Sqlite => {
                let (mut session, now) = self.begin(Durability::Write).await?;
                let End { id, token, status, outcome, result } = end;
                let expires_at = self.rules.retention.expires_at(now);
                let values = values![id.to_string(), token.0, now, status, outcome, result, expires_at];
                let row = session.row(self.notifying.finish.clone(), values).await?;
                row.as_ref().map(read_status).transpose()
            }
            Dialect::Postgres => {
                let (now, status) = self.ends.execute(end).await?;
                self.remember_clock(now);
                Ok(status)
            }
        }
    }

    /// Executes a statement of a worker that returns whether a caller cancelled the job.
    async fn write_with_lease(
        &self,
        statement: &SqlStr,
        values: impl Fn(UnixMillis) -> Vec<Value> + Send + Sync + 'static,
    ) -> Result<LeaseStatus, StoreError> {
        let row = self.write(statement, values).await?;
        let Some(row) = row else { return Ok(LeaseStatus::Lost) };
        let cancel_requested: Option<i64> = row.try_get("cancel_requested_at")?;
        Ok(if cancel_requested.is_some() { LeaseStatus::CancelRequested } else { LeaseStatus::Held })
    }

    /// Writes one row at most, for the time that the values are made for. On PostgreSQL it shares a transaction with others.
    async fn write(
        &self,
        statement: &SqlStr,
        values: impl Fn(UnixMillis) -> Vec<Value> + Send + Sync + 'static,
    ) -> Result<Option<AnyRow>, StoreError> {
        match self.database.dialect() {
            Dialect::Sqlite => {
                let (mut session, now) = self.begin(Durability::Write).await?;
                session.row(statement.clone(), values(now)).await
            }
            Dialect::Postgres => {
                let statement = statement.clone();
                let write = Box::new(move |now| (statement.clone(), values(now)));
                let (now, row) = self.reports.execute(write).await?;
                self.remember_clock(now);
                Ok(row)
            }
        }
    }

    /// The pause before the next attempt at a job that fails now.
    pub(super) fn retry_delay(&self, attempts: u32) -> Duration {
        let (random, _) = Uuid::new_v4().as_u64_pair();
        self.rules.backoff.delay(attempts, random)
    }
}
