//! The queue's part of upkeep. Several servers may run each step at the same time.

use std::time::Duration;

use edgeprove_job_rules::{
    capability::{self, Capability},
    job::Job,
    lease::PULL_HOLDERS,
    sql::{Dialect, upkeep},
    time::UnixMillis,
    transition::Rules,
};
use edgeprove_protocol::{JobId, JobStatus};
use sqlx::any::AnyRow;

use super::{
    SqlQueue,
    rows::{get, read_id, read_job},
};
use crate::{
    events::ExpiredJob,
    store::{Durability, StoreError, session::values},
};

/// An artifact that nobody needs any more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct DoomedArtifact {
    /// The number of its job.
    seq: i64,
    /// Its name.
    pub(crate) artifact: String,
}

impl SqlQueue {
    /// Ends the leases that expired by this time. `outcome` is stored in the jobs.
    pub(crate) async fn reap(&self, ended_by: UnixMillis, outcome: &str) -> Result<Vec<Job>, StoreError> {
        let (mut session, now) = self.begin(Durability::Write).await?;
        let values = values![
            now,
            now.after(self.retry_delay(1)),
            outcome,
            self.rules.retention.expires_at(now),
            ended_by,
        ];
        let rows = session.rows(self.notifying.reap.clone(), values).await?;
        let jobs: Vec<_> = rows.iter().map(read_job).collect::<Result<_, _>>()?;
        for job in &jobs {
            self.notify(job.id, job.status);
        }
        Ok(jobs)
    }

    /// Ends all leases but those of provers that pull: the process that held them is dead. `outcome` is stored in the jobs.
    pub(crate) async fn recover(&self, outcome: &str) -> Result<Vec<Job>, StoreError> {
        let (mut session, now) = self.begin(Durability::Write).await?;
        let expires_at = self.rules.retention.expires_at(now);
        let values = values![now, now.after(self.retry_delay(1)), outcome, expires_at, PULL_HOLDERS];
        let rows = session.rows(self.notifying.recover.clone(), values).await?;
        let jobs: Vec<_> = rows.iter().map(read_job).collect::<Result<_, _>>()?;
        for job in &jobs {
            self.notify(job.id, job.status);
        }
        Ok(jobs)
    }

    /// Fails queued jobs that have waited longer than this and that none of these capabilities takes. `outcome` is stored in the
    /// jobs.
    pub(crate) async fn abandon(
        &self,
        wait_max: Duration,
        capabilities: &[Capability],
        outcome: &str,
    ) -> Result<Vec<Job>, StoreError> {
        let (mut session, now) = self.begin(Durability::Write).await?;
        let expires_at = self.rules.retention.expires_at(now);
        let values = values![now, now.before(wait_max), capability::json(capabilities), outcome, expires_at];
        let rows = session.rows(self.notifying.abandon.clone(), values).await?;
        let jobs: Vec<_> = rows.iter().map(read_job).collect::<Result<_, _>>()?;
        for job in &jobs {
            self.notify(job.id, job.status);
        }
        Ok(jobs)
    }

    /// Corrects impossible times, after the clock was set back.
    pub(crate) async fn settle(&self) -> Result<Vec<JobId>, StoreError> {
        let (mut session, now) = self.begin(Durability::Write).await?;
        let Rules { lease, backoff, retention } = self.rules;
        let values = values![now, now.after(backoff.cap), lease.until(now), retention.expires_at(now)];
        let rows = session.rows(self.notifying.settle.clone(), values).await?;
        let ids: Vec<_> = rows.iter().map(read_id).collect::<Result<_, _>>()?;
        for id in &ids {
            self.notify(*id, JobStatus::Queued);
        }
        Ok(ids)
    }

    /// Expires jobs whose retention is over.
    pub(crate) async fn expire(&self, limit: u32) -> Result<Vec<ExpiredJob>, StoreError> {
        let (mut session, now) = self.begin(Durability::Write).await?;
        let rows = session.rows(self.notifying.expire.clone(), values![now, limit]).await?;
        let expired = |row: &AnyRow| -> Result<ExpiredJob, StoreError> {
            Ok(ExpiredJob { id: read_id(row)?, kind: get(row, "kind")? })
        };
        let jobs: Vec<_> = rows.iter().map(expired).collect::<Result<_, _>>()?;
        for job in &jobs {
            self.notify(job.id, JobStatus::Expired);
        }
        Ok(jobs)
    }

    /// The artifacts that nobody needs any more. That is durable when this returns, so that they may be removed.
    pub(crate) async fn doomed(&self, limit: u32) -> Result<Vec<DoomedArtifact>, StoreError> {
        let (mut session, now) = self.begin(Durability::ReadForUpkeep).await?;
        let until = self.rules.retention.failed_inputs_until(now);
        let rows = session.rows(upkeep::DOOMED_ARTIFACTS, values![limit, until]).await?;
        drop(session);
        let doomed = |row: &AnyRow| -> Result<DoomedArtifact, StoreError> {
            Ok(DoomedArtifact { seq: get(row, "seq")?, artifact: get(row, "artifact")? })
        };
        let doomed: Vec<_> = rows.iter().map(doomed).collect::<Result<_, _>>()?;
        if !doomed.is_empty() {
            self.database.sync().await?;
        }
        Ok(doomed)
    }

    /// Records that an artifact was removed.
    pub(crate) async fn forget(&self, doomed: &DoomedArtifact) -> Result<(), StoreError> {
        let mut session = self.database.session(Durability::Write).await?;
        session.rows(upkeep::FORGET_ARTIFACT, values![doomed.seq, doomed.artifact.as_str()]).await.map(drop)
    }

    /// The names of all artifacts that jobs name.
    pub(crate) async fn named_artifacts(&self) -> Result<Vec<String>, StoreError> {
        let mut session = self.database.session(Durability::ReadForUpkeep).await?;
        let rows = session.rows(upkeep::NAMED_ARTIFACTS, []).await?;
        rows.iter().map(|row| get(row, "artifact")).collect()
    }

    /// Adds up the numbers of jobs that connections have counted.
    pub(crate) async fn add_up(&self) -> Result<(), StoreError> {
        if self.database.dialect() == Dialect::Sqlite {
            return Ok(());
        }
        let mut session = self.database.session(Durability::Write).await?;
        for statement in upkeep::POSTGRES_ADD_UP {
            session.rows(statement, []).await?;
        }
        Ok(())
    }

    /// Deletes the rows of jobs that expired long ago, and returns their number.
    pub(crate) async fn delete(&self, limit: u32) -> Result<usize, StoreError> {
        let (mut session, now) = self.begin(Durability::Write).await?;
        let values = values![self.rules.retention.rows_until(now), limit];
        Ok(session.rows(upkeep::DELETE, values).await?.len())
    }

    /// The time by the database's clock.
    pub(crate) async fn now(&self) -> Result<UnixMillis, StoreError> {
        Ok(self.begin(Durability::ReadForUpkeep).await?.1)
    }
}
