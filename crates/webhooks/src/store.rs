//! The webhooks that are owed, in the database of the jobs.

use std::{sync::Arc, time::Duration};

use edgeprove_artifacts::{ArtifactError, ArtifactKind, ArtifactStore};
use edgeprove_job_queue::{
    QueueError,
    store::{Database, Durability, StoreError, session::Value},
};
use edgeprove_job_rules::{expiry::Retention, sql::webhooks, time::UnixMillis};
use edgeprove_outbound::RemoteUrl;
use edgeprove_protocol::{HasProblemType, JobId, ProblemType};
use sqlx::{Decode, Row as _, Type, any::AnyRow};
use uuid::Uuid;
use zeroize::Zeroizing;

use crate::schedule::DELAY_MAX;

/// The most webhooks that are owed to all callers. One caller alone gets half of them, two a third each, and so on.
pub const OWED_MAX: u32 = 10_000;
/// How long a webhook may wait for its job to be accepted.
const ORPHAN_AGE: Duration = Duration::from_hours(1);
/// The most rows that one statement deletes.
const BATCH: u32 = 500;

/// Who is notified that a job has finished.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Callback {
    /// The URL that the caller gave.
    pub url: RemoteUrl,
    /// The caller, as jobs name it.
    pub owner: String,
    /// Whose share of the bounds it takes.
    pub account: String,
}

/// The result of owing a webhook.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Owed {
    /// It is owed from now on, and has this id.
    New(String),
    /// It was owed before, or was delivered already.
    Known,
}

/// Why a webhook is not owed.
#[derive(Debug, thiserror::Error)]
pub enum OweError {
    /// There are too many.
    #[error(
        "the caller is owed as many webhooks as it may be: its servers must answer them, or the jobs must finish"
    )]
    TooMany,
    /// The database failed.
    #[error(transparent)]
    Queue(#[from] QueueError),
    /// The URL could not be encrypted.
    #[error("the callback URL could not be stored")]
    Seal(#[from] ArtifactError),
}

impl HasProblemType for OweError {
    fn kind(&self) -> ProblemType {
        match self {
            Self::TooMany => ProblemType::TooManyCallbacks,
            Self::Queue(error) => error.kind(),
            Self::Seal(error) => error.kind(),
        }
    }
}

/// A webhook that is owed, at an attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Webhook {
    /// Its id, the same at every attempt.
    pub id: String,
    /// The job.
    pub job: JobId,
    /// The kind of the job.
    pub job_kind: String,
    /// The caller that it is owed to.
    pub owner: String,
    /// Whose share of the bounds it takes.
    pub account: String,
    /// The host and port of its URL.
    pub host: String,
    /// The number of this attempt, from 1.
    pub attempt: u32,
    /// What is sent, if an earlier attempt has stored it.
    pub body: Option<String>,
    sealed_url: String,
}

/// How many webhooks are owed, and when there is something to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct State {
    /// Of unfinished jobs too.
    pub owed: u64,
    /// Those that may be attempted now.
    pub due: u64,
    /// Until the next one that is not due yet.
    pub next: Option<Duration>,
}

/// The webhooks that are owed. Clones share the database.
#[derive(Debug, Clone)]
pub struct WebhookStore {
    database: Database,
    artifacts: Arc<ArtifactStore>,
    owed_max: u32,
}

impl WebhookStore {
    /// Those of the jobs in this database. URLs are encrypted under the keys of the artifacts.
    #[must_use]
    pub fn new(database: Database, artifacts: Arc<ArtifactStore>) -> Self {
        Self { database, artifacts, owed_max: OWED_MAX }
    }

    /// With another bound.
    #[must_use]
    pub fn with_bound(self, owed_max: u32) -> Self {
        Self { owed_max, ..self }
    }

    /// Owes a webhook for a job of this kind. It is as durable as an accepted job once the database is synced.
    pub async fn owe(&self, job: JobId, job_kind: &str, callback: &Callback) -> Result<Owed, OweError> {
        let Callback { url, owner, account } = callback;
        let text = Zeroizing::new(url.expose().to_string());
        let digest = hex::encode(self.artifacts.fingerprint(&[b"callback url", text.as_bytes()]));
        let sealed = self.artifacts.seal_text(ArtifactKind::CallbackUrl, &text).await?;
        let id = format!("msg_{}", Uuid::new_v4().simple());
        let mut session = self.database.session(Durability::Write).await.map_err(QueueError)?;
        let now = session.now().await.map_err(QueueError)?;
        let values: [Value; 10] = [
            id.as_str().into(),
            job.to_string().into(),
            job_kind.into(),
            owner.as_str().into(),
            account.as_str().into(),
            url.host().into(),
            sealed.into(),
            digest.as_str().into(),
            now.into(),
            self.owed_max.into(),
        ];
        if session.row(webhooks::OWE, values).await.map_err(QueueError)?.is_some() {
            return Ok(Owed::New(id));
        }
        let values: [Value; 3] = [job.to_string().into(), account.as_str().into(), digest.into()];
        let known = session.row(webhooks::FIND, values).await.map_err(QueueError)?;
        if known.is_some() { Ok(Owed::Known) } else { Err(OweError::TooMany) }
    }

    /// Removes a webhook whose job was not accepted.
    pub async fn withdraw(&self, id: &str) -> Result<(), QueueError> {
        let mut session = self.database.session(Durability::Write).await?;
        session.row(webhooks::WITHDRAW, [id.into()]).await?;
        Ok(())
    }

    /// Makes the webhooks of finished jobs due.
    pub(crate) async fn make_due(&self) -> Result<(), StoreError> {
        let mut session = self.database.session(Durability::ReadForUpkeep).await?;
        let has_finished = session.row(webhooks::FINISHED, []).await?.is_some();
        drop(session);
        if has_finished {
            let mut session = self.database.session(Durability::Write).await?;
            let now = session.now().await?;
            session.rows(webhooks::MAKE_DUE, [now.into()]).await?;
        }
        Ok(())
    }

    /// Claims the next webhook. `busy` is as [`webhooks::CLAIM`] binds it. The attempt must end within `lease`, or another one
    /// begins.
    pub(crate) async fn claim(&self, lease: Duration, busy: &str) -> Result<Option<Webhook>, StoreError> {
        let mut session = self.database.session(Durability::Write).await?;
        let now = session.now().await?;
        let values: [Value; 3] = [now.into(), now.after(lease).into(), busy.into()];
        session.row(webhooks::CLAIM, values).await?.as_ref().map(read).transpose()
    }

    /// The URL of a webhook.
    pub(crate) fn url(&self, webhook: &Webhook) -> Result<Zeroizing<String>, ArtifactError> {
        self.artifacts.open_text(ArtifactKind::CallbackUrl, &webhook.sealed_url)
    }

    /// Stores what is sent, and returns whether this attempt still may.
    pub(crate) async fn store_body(&self, webhook: &Webhook, body: &str) -> Result<bool, StoreError> {
        self.write(webhooks::STORE_BODY, webhook, body.into()).await
    }

    /// Ends a webhook, and returns whether this attempt still may.
    pub(crate) async fn end(&self, webhook: &Webhook) -> Result<bool, StoreError> {
        let now = self.now().await?;
        self.write(webhooks::END, webhook, now.into()).await
    }

    /// Repeats a webhook after this time, and returns whether this attempt still may.
    pub(crate) async fn repeat(&self, webhook: &Webhook, after: Duration) -> Result<bool, StoreError> {
        let now = self.now().await?;
        self.write(webhooks::REPEAT, webhook, now.after(after).into()).await
    }

    async fn write(
        &self,
        statement: edgeprove_job_rules::sql::Statement,
        webhook: &Webhook,
        value: Value,
    ) -> Result<bool, StoreError> {
        let values = [webhook.id.as_str().into(), webhook.attempt.into(), value];
        let mut session = self.database.session(Durability::Write).await?;
        Ok(session.row(statement, values).await?.is_some())
    }

    async fn now(&self) -> Result<UnixMillis, StoreError> {
        self.database.session(Durability::ReadForUpkeep).await?.now().await
    }

    /// How many webhooks are owed, and when there is something to do.
    pub(crate) async fn state(&self) -> Result<State, StoreError> {
        let mut session = self.database.session(Durability::ReadForUpkeep).await?;
        let now = session.now().await?;
        let row = session.row(webhooks::STATE, [now.into()]).await?.ok_or(sqlx::Error::RowNotFound)?;
        let (owed, due): (i64, i64) = (get(&row, "owed")?, get(&row, "due")?);
        let due_at: Option<i64> = get(&row, "due_at")?;
        let [owed, due] = [owed, due].map(|number| u64::try_from(number).unwrap_or_default());
        Ok(State { owed, due, next: due_at.map(|due_at| UnixMillis(due_at).since(now)) })
    }

    /// Forgets webhooks that ended so long ago that the rows of their jobs are deleted, and those of jobs that were never
    /// accepted. Corrects impossible times, after the clock was set back.
    pub(crate) async fn tidy(&self, retention: Retention) -> Result<(), StoreError> {
        loop {
            let mut session = self.database.session(Durability::Write).await?;
            let now = session.now().await?;
            let until = now.before(retention.results).before(retention.tombstones);
            let values: [Value; 2] = [until.into(), BATCH.into()];
            if session.rows(webhooks::FORGET, values).await?.is_empty() {
                session.rows(webhooks::FORGET_ORPHANS, [now.before(ORPHAN_AGE).into()]).await?;
                session.rows(webhooks::SETTLE, [now.after(DELAY_MAX).into()]).await?;
                return Ok(());
            }
        }
    }
}

fn read(row: &AnyRow) -> Result<Webhook, StoreError> {
    let job: String = get(row, "job_id")?;
    let attempt: i64 = get(row, "attempts")?;
    Ok(Webhook {
        id: get(row, "id")?,
        job: job.parse().map_err(|error: edgeprove_protocol::job_id::InvalidJobId| {
            edgeprove_job_rules::row::CorruptRow::Id(error)
        })?,
        job_kind: get(row, "job_kind")?,
        owner: get(row, "owner")?,
        account: get(row, "account")?,
        host: get(row, "host")?,
        attempt: u32::try_from(attempt).unwrap_or(u32::MAX),
        body: get(row, "body")?,
        sealed_url: get(row, "url")?,
    })
}

fn get<'r, T: Decode<'r, sqlx::Any> + Type<sqlx::Any>>(
    row: &'r AnyRow,
    column: &str,
) -> Result<T, StoreError> {
    Ok(row.try_get(column)?)
}

#[cfg(test)]
mod tests;
