//! The queue in a database: each question one statement of `edgeprove_job_rules::sql`, which keeps to the rules of
//! `edgeprove_job_rules::transition`.

use std::time::Duration;

use async_trait::async_trait;
use edgeprove_job_rules::{
    bounds::Bounds,
    capability::{self, Capability},
    idempotency::{Idempotency, Verdict},
    job::{Job, NewJob},
    lease::LeaseToken,
    priority::Rank,
    queue_position::{JobGroup, QueuePosition, QueuedJob},
    row::{self, JobRow},
    sql::{Dialect, Statement, intake, upkeep, view, work},
    time::UnixMillis,
    transition::Rules,
};
use edgeprove_protocol::{JobId, JobStatus, Priority};
use sqlx::{Any, Decode, Row as _, SqlSafeStr as _, SqlStr, Type, any::AnyRow};
use tokio::sync::broadcast;
use uuid::Uuid;

use super::{
    notifications::{Wake, Work},
    queue::{
        Change, JobCounts, JobOutcome, JobQueue, LeaseStatus, Listing, QueueError, SubmitError, Submitted,
    },
};
use crate::store::{Database, Durability, Session, StoreError, session::values};
use edgeprove_telemetry::supervisor::Supervisor;

/// The queue. Clones are the same one.
#[derive(Debug, Clone)]
pub struct SqlQueue {
    pub(super) database: Database,
    pub(super) rules: Rules,
    bounds: Bounds,
    wake: Wake,
    told: Told,
}

/// The statements that also tell other servers what they change.
#[derive(Debug, Clone)]
struct Told {
    enqueue: SqlStr,
    claim: SqlStr,
    progress: SqlStr,
    finish: SqlStr,
    retry: SqlStr,
    release: SqlStr,
    cancel: SqlStr,
    reap: SqlStr,
    settle: SqlStr,
    expire: SqlStr,
}

impl SqlQueue {
    /// The queue in this database.
    pub async fn new(database: Database, rules: Rules, bounds: Bounds) -> Result<Self, QueueError> {
        let wake = Wake::new(&database).await?;
        let dialect = database.dialect();
        let told = |statement: Statement, id, work| wake.telling(statement.text(dialect), id, work);
        let told = Told {
            enqueue: told(intake::ENQUEUE, "$1", Work::Always),
            claim: told(work::CLAIM, "changed.id", Work::Never),
            progress: told(work::PROGRESS, "$1", Work::Never),
            finish: told(work::FINISH, "$1", Work::Never),
            retry: told(work::RETRY, "$5", Work::IfQueued),
            release: told(work::RELEASE, "$1", Work::IfQueued),
            cancel: told(upkeep::CANCEL, "$1", Work::Never),
            reap: told(upkeep::REAP, "changed.id", Work::IfQueued),
            settle: told(upkeep::SETTLE, "changed.id", Work::Always),
            expire: told(upkeep::EXPIRE, "changed.id", Work::Never),
        };
        Ok(Self { database, rules, bounds, wake, told })
    }

    /// Begins to hear what other servers on the same database do, until the supervisor stops.
    pub fn listen_to_others(&self, supervisor: &Supervisor) {
        self.wake.listen_to_others(supervisor);
    }

    /// The database.
    #[must_use]
    pub fn database(&self) -> &Database {
        &self.database
    }

    async fn begin(&self, promise: Durability) -> Result<(Session, UnixMillis), StoreError> {
        let mut session = self.database.session(promise).await?;
        let now = session.now().await?;
        Ok((session, now))
    }

    /// Tells this process what became of a job. Other processes were told by the statement.
    fn tell(&self, id: JobId, status: JobStatus) {
        self.wake.tell(Change::Job(id));
        if status == JobStatus::Queued {
            self.wake.tell(Change::Work);
        }
    }

    /// Takes a job in, unless its key is taken or the bounds are reached. It is not promised to anybody yet: see
    /// [`Database::sync`].
    async fn enqueue(&self, job: &NewJob, bounds: Bounds) -> Result<Option<Job>, StoreError> {
        let (mut session, now) = self.begin(Durability::Write).await?;
        let idempotency = job.idempotency.as_ref();
        let values = values![
            job.id.to_string(),
            job.kind.as_str(),
            job.subject.as_str(),
            job.version.as_str(),
            job.owner.as_str(),
            i64::from(job.priority.level()),
            Rank::new(job.priority, now).0,
            now,
            job.max_attempts,
            idempotency.map(|idempotency| idempotency.key.as_str()),
            idempotency.map(|idempotency| idempotency.body.to_string()),
            job.payload.as_str(),
            job.input.as_deref(),
            bounds.queued_max,
            bounds.unfinished_per_owner_max,
        ];
        let enqueue = self.told.enqueue.clone();
        let row = match self.database.dialect() {
            Dialect::Sqlite => session.row(enqueue, values).await?,
            Dialect::Postgres => {
                let mut transaction = session.begin().await?;
                transaction.rows(intake::POSTGRES_LOCK_INTAKE, []).await?;
                let row = transaction.row(enqueue, values).await?;
                transaction.commit().await?;
                row
            }
        };
        let seq = row.map(|row| row.try_get("seq")).transpose()?;
        Ok(seq.map(|seq| job.clone().arrive(seq, now)))
    }

    /// Why a job was not taken in; `None` where the reason went away since.
    async fn refusal(
        &self,
        job: &NewJob,
        bounds: Bounds,
    ) -> Result<Option<Result<Submitted, SubmitError>>, StoreError> {
        let mut session = self.database.session(Durability::Read).await?;
        if let Some(asked) = &job.idempotency {
            let values = values![job.owner.as_str(), asked.key.as_str()];
            let earlier = session.row(intake::FIND_BY_KEY, values).await?;
            if let Some(earlier) = earlier.as_ref().map(read_job).transpose()? {
                let verdict = earlier.idempotency.as_ref().map(|earlier: &Idempotency| asked.judge(earlier));
                return Ok(Some(match verdict {
                    Some(Verdict::Same) => Ok(Submitted::Known(Box::new(earlier))),
                    Some(Verdict::Conflict) | None => Err(SubmitError::KeyConflict),
                }));
            }
        }
        let row = session.row(intake::CROWD, values![job.owner.as_str()]).await?;
        let row = row.ok_or(sqlx::Error::RowNotFound)?;
        let (queued, unfinished) = (count(&row, "queued")?, count(&row, "unfinished_of_owner")?);
        Ok(bounds.admit(queued, unfinished).err().map(|full| Err(full.into())))
    }

    /// Executes a statement of a worker that says of a running job whether it was called off.
    async fn say(
        &self,
        statement: SqlStr,
        values: impl IntoIterator<Item = crate::store::session::Value>,
        session: &mut Session,
    ) -> Result<LeaseStatus, StoreError> {
        let Some(row) = session.row(statement, values).await? else { return Ok(LeaseStatus::No) };
        let cancel_requested: Option<i64> = row.try_get("cancel_requested_at")?;
        Ok(if cancel_requested.is_some() { LeaseStatus::CancelRequested } else { LeaseStatus::Yes })
    }

    /// When a job that failed now is tried again.
    fn retry_at(&self, attempts: u32, now: UnixMillis) -> UnixMillis {
        let (random, _) = Uuid::new_v4().as_u64_pair();
        now.after(self.rules.backoff.delay(attempts, random))
    }
}

/// How often a refused job is tried again whose reason for being refused is gone when it is looked for.
const TRIES: u32 = 8;

#[async_trait]
impl JobQueue for SqlQueue {
    async fn submit(&self, job: NewJob, unfinished_max: Option<u32>) -> Result<Submitted, SubmitError> {
        let mut bounds = self.bounds;
        if let Some(max) = unfinished_max {
            bounds.unfinished_per_owner_max = bounds.unfinished_per_owner_max.min(max);
        }
        for _ in 0..TRIES {
            if let Some(job) = self.enqueue(&job, bounds).await.map_err(QueueError)? {
                // Workers may begin while the disk is waited for: should the power go, nobody was promised anything.
                self.tell(job.id, job.status);
                self.database.sync().await.map_err(QueueError)?;
                return Ok(Submitted::Taken(Box::new(job)));
            }
            if let Some(refusal) = self.refusal(&job, bounds).await.map_err(QueueError)? {
                if matches!(refusal, Ok(Submitted::Known(_))) {
                    // It may have been taken in a moment ago, and is promised here as well.
                    self.database.sync().await.map_err(QueueError)?;
                }
                return refusal;
            }
        }
        // Others came and went in between each time.
        let queued = self.bounds.queued_max;
        Err(SubmitError::Full(edgeprove_job_rules::bounds::Full::Queue { queued }))
    }

    async fn get(&self, id: JobId) -> Result<Option<Job>, QueueError> {
        let mut session = self.database.session(Durability::Read).await?;
        let row = session.row(view::GET, values![id.to_string()]).await?;
        Ok(row.as_ref().map(read_job).transpose()?)
    }

    async fn list(&self, listing: &Listing) -> Result<Vec<Job>, QueueError> {
        let Listing { owner, status, subject, before, limit } = listing;
        let mut session = self.database.session(Durability::Read).await?;
        let status = status.map(JobStatus::as_str);
        let values = values![owner.as_str(), status, subject.as_deref(), *before, *limit];
        let rows = session.rows(view::LIST, values).await?;
        Ok(rows.iter().map(read_job).collect::<Result<_, _>>()?)
    }

    async fn place(&self, id: JobId) -> Result<Option<QueuePosition>, QueueError> {
        let mut session = self.database.session(Durability::Read).await?;
        let rows = session.rows(view::AHEAD, values![id.to_string()]).await?;
        if rows.is_empty() {
            return Ok(None);
        }
        let crowd = |row: &AnyRow| -> Result<Option<JobGroup>, StoreError> {
            let jobs = count(row, "jobs")?;
            let named = || Ok(JobGroup { kind: get(row, "kind")?, subject: get(row, "subject")?, jobs });
            if jobs > 0 { named().map(Some) } else { Ok(None) }
        };
        let ahead = rows.iter().filter_map(|row| crowd(row).transpose()).collect::<Result<_, _>>()?;
        Ok(Some(QueuePosition { ahead }))
    }

    async fn order(&self, limit: u32) -> Result<Vec<QueuedJob>, QueueError> {
        let mut session = self.database.session(Durability::Read).await?;
        let rows = session.rows(view::ORDER, values![limit]).await?;
        let queued = |row: &AnyRow| -> Result<QueuedJob, StoreError> {
            let (kind, subject, version) = (get(row, "kind")?, get(row, "subject")?, get(row, "version")?);
            Ok(QueuedJob { id: read_id(row)?, kind, subject, version })
        };
        Ok(rows.iter().map(queued).collect::<Result<_, _>>()?)
    }

    async fn census(&self) -> Result<JobCounts, QueueError> {
        let (mut session, now) = self.begin(Durability::Read).await?;
        let jobs = session.rows(view::COUNTS, []).await?;
        let oldest = session.rows(view::OLDEST_QUEUED, []).await?;
        let jobs = jobs.iter().map(|row| Ok((read_status(row)?, read_priority(row)?, count(row, "jobs")?)));
        let oldest = oldest.iter().map(|row| {
            let since = UnixMillis(get(row, "enqueued_at")?);
            Ok((read_priority(row)?, now.since(since)))
        });
        Ok(JobCounts {
            jobs: jobs.collect::<Result<_, StoreError>>()?,
            oldest_queued: oldest.collect::<Result<_, StoreError>>()?,
        })
    }

    async fn durations(&self, kind: &str, subject: &str, limit: u32) -> Result<Vec<Duration>, QueueError> {
        let mut session = self.database.session(Durability::Read).await?;
        let rows = session.rows(view::DURATIONS, values![kind, subject, limit]).await?;
        let took = |row: &AnyRow| count(row, "took_ms").map(Duration::from_millis);
        Ok(rows.iter().rev().map(took).collect::<Result<_, _>>()?)
    }

    async fn cancel(&self, id: JobId, owner: Option<&str>) -> Result<Option<JobStatus>, QueueError> {
        let (mut session, now) = self.begin(Durability::Write).await?;
        let values = values![id.to_string(), owner, now, self.rules.retention.expires_at(now)];
        let row = session.row(self.told.cancel.clone(), values).await?;
        // Others are let in to write before the disk is waited for.
        drop(session);
        let status = row.as_ref().map(read_status).transpose()?;
        if let Some(status) = status {
            self.tell(id, status);
            self.database.sync().await?;
        }
        Ok(status)
    }

    async fn claim(&self, holder: &str, capabilities: &[Capability]) -> Result<Option<Job>, QueueError> {
        let (mut session, now) = self.begin(Durability::Write).await?;
        let values = values![now, self.rules.lease.until(now), capability::json(capabilities), holder];
        let row = session.row(self.told.claim.clone(), values).await?;
        let job = row.as_ref().map(read_job).transpose()?;
        if let Some(job) = &job {
            self.tell(job.id, job.status);
        }
        Ok(job)
    }

    async fn next_due(&self) -> Result<Option<Duration>, QueueError> {
        let (mut session, now) = self.begin(Durability::Read).await?;
        let row = session.row(work::NEXT_DUE, values![now]).await?;
        let due: Option<i64> = row.as_ref().map(|row| get(row, "run_at")).transpose()?.flatten();
        Ok(due.map(|due| UnixMillis(due).since(now)))
    }

    async fn heartbeat(&self, id: JobId, token: LeaseToken) -> Result<LeaseStatus, QueueError> {
        let (mut session, now) = self.begin(Durability::Write).await?;
        let heartbeat = work::HEARTBEAT.text(self.database.dialect()).into_sql_str();
        let values = values![id.to_string(), token.0, self.rules.lease.until(now)];
        Ok(self.say(heartbeat, values, &mut session).await?)
    }

    async fn progress(
        &self,
        id: JobId,
        token: LeaseToken,
        stage: &str,
        percent: u8,
    ) -> Result<LeaseStatus, QueueError> {
        let mut session = self.database.session(Durability::Write).await?;
        let values = values![id.to_string(), token.0, stage, u32::from(percent.min(100))];
        let held = self.say(self.told.progress.clone(), values, &mut session).await?;
        if held != LeaseStatus::No {
            self.wake.tell(Change::Job(id));
        }
        Ok(held)
    }

    async fn end(
        &self,
        id: JobId,
        token: LeaseToken,
        ending: JobOutcome,
    ) -> Result<Option<JobStatus>, QueueError> {
        let (mut session, now) = self.begin(Durability::Write).await?;
        let expires_at = self.rules.retention.expires_at(now);
        let id_text = id.to_string();
        let told = &self.told;
        let row = match ending {
            JobOutcome::Completed { result, outcome } => {
                let values = values![id_text, token.0, now, "completed", outcome, result, expires_at];
                session.row(told.finish.clone(), values).await?
            }
            JobOutcome::Failed { outcome } => {
                let values = values![id_text, token.0, now, "failed", outcome, None::<&str>, expires_at];
                session.row(told.finish.clone(), values).await?
            }
            JobOutcome::Retry { outcome } => {
                let job = session.row(view::GET, values![id_text.as_str()]).await?;
                let Some(job) = job.as_ref().map(read_job).transpose()? else { return Ok(None) };
                let run_at = self.retry_at(job.attempts, now);
                let values = values![now, run_at, outcome, expires_at, id_text, token.0];
                session.row(told.retry.clone(), values).await?
            }
            JobOutcome::Released => {
                let values = values![id_text, token.0, now, expires_at];
                session.row(told.release.clone(), values).await?
            }
        };
        let status = row.as_ref().map(read_status).transpose()?;
        if let Some(status) = status {
            self.tell(id, status);
        }
        Ok(status)
    }

    fn changes(&self) -> broadcast::Receiver<Change> {
        self.wake.listen()
    }
}

/// An artefact that nobody needs any more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Doomed {
    /// Its job.
    seq: i64,
    /// Its name.
    pub(super) artifact: String,
}

/// What has to be done from time to time. Several servers may do it at once.
impl SqlQueue {
    /// Ends the leases that ended by then; `None`: by now. `outcome` is what to say where that was the last attempt.
    pub(super) async fn reap(
        &self,
        ended_by: Option<UnixMillis>,
        outcome: &str,
    ) -> Result<Vec<Job>, StoreError> {
        let (mut session, now) = self.begin(Durability::Write).await?;
        let values = values![
            now,
            self.retry_at(1, now),
            outcome,
            self.rules.retention.expires_at(now),
            ended_by.unwrap_or(now),
        ];
        let rows = session.rows(self.told.reap.clone(), values).await?;
        let jobs: Vec<_> = rows.iter().map(read_job).collect::<Result<_, _>>()?;
        for job in &jobs {
            self.tell(job.id, job.status);
        }
        Ok(jobs)
    }

    /// Moves times that lie in an impossible future, after the clock went back.
    pub(super) async fn settle(&self) -> Result<Vec<JobId>, StoreError> {
        let (mut session, now) = self.begin(Durability::Write).await?;
        let Rules { lease, backoff, retention } = self.rules;
        let values = values![now, now.after(backoff.cap), lease.until(now), retention.expires_at(now)];
        let rows = session.rows(self.told.settle.clone(), values).await?;
        let ids: Vec<_> = rows.iter().map(read_id).collect::<Result<_, _>>()?;
        for id in &ids {
            self.tell(*id, JobStatus::Queued);
        }
        Ok(ids)
    }

    /// Takes away what is told of jobs whose time is over.
    pub(super) async fn expire(&self, limit: u32) -> Result<Vec<JobId>, StoreError> {
        let (mut session, now) = self.begin(Durability::Write).await?;
        let rows = session.rows(self.told.expire.clone(), values![now, limit]).await?;
        let ids: Vec<_> = rows.iter().map(read_id).collect::<Result<_, _>>()?;
        for id in &ids {
            self.tell(*id, JobStatus::Expired);
        }
        Ok(ids)
    }

    /// Artefacts that nobody needs any more. When this returns, it is on the disk that nobody does.
    pub(super) async fn doomed(&self, limit: u32) -> Result<Vec<Doomed>, StoreError> {
        let mut session = self.database.session(Durability::Read).await?;
        let rows = session.rows(upkeep::DOOMED_ARTIFACTS, values![limit]).await?;
        drop(session);
        let doomed = |row: &AnyRow| -> Result<Doomed, StoreError> {
            Ok(Doomed { seq: get(row, "seq")?, artifact: get(row, "artifact")? })
        };
        let doomed: Vec<_> = rows.iter().map(doomed).collect::<Result<_, _>>()?;
        if !doomed.is_empty() {
            self.database.sync().await?;
        }
        Ok(doomed)
    }

    /// Says that an artefact is gone.
    pub(super) async fn forget(&self, doomed: &Doomed) -> Result<(), StoreError> {
        let mut session = self.database.session(Durability::Write).await?;
        session.rows(upkeep::FORGET_ARTIFACT, values![doomed.seq, doomed.artifact.as_str()]).await.map(drop)
    }

    /// Every artefact that some job names.
    pub(super) async fn named_artifacts(&self) -> Result<Vec<String>, StoreError> {
        let mut session = self.database.session(Durability::Read).await?;
        let rows = session.rows(upkeep::NAMED_ARTIFACTS, []).await?;
        rows.iter().map(|row| get(row, "artifact")).collect()
    }

    /// Deletes what expired long ago, and returns how many jobs that were.
    pub(super) async fn delete(&self, limit: u32) -> Result<usize, StoreError> {
        let (mut session, now) = self.begin(Durability::Write).await?;
        let values = values![self.rules.retention.rows_until(now), limit];
        Ok(session.rows(upkeep::DELETE, values).await?.len())
    }

    /// The time by the database's clock.
    pub(super) async fn now(&self) -> Result<UnixMillis, StoreError> {
        self.database.session(Durability::Read).await?.now().await
    }
}

fn get<'r, T: Decode<'r, Any> + Type<Any>>(row: &'r AnyRow, column: &str) -> Result<T, StoreError> {
    Ok(row.try_get(column)?)
}

/// A number that is never negative.
fn count<T: TryFrom<i64>>(row: &AnyRow, column: &'static str) -> Result<T, StoreError> {
    let number: i64 = get(row, column)?;
    T::try_from(number).map_err(|_| row::CorruptRow::OutOfRange(column).into())
}

fn read_id(row: &AnyRow) -> Result<JobId, StoreError> {
    let id: String = get(row, "id")?;
    id.parse().map_err(|error| row::CorruptRow::Id(error).into())
}

fn read_status(row: &AnyRow) -> Result<JobStatus, StoreError> {
    let status: String = get(row, "status")?;
    status.parse().map_err(|error| row::CorruptRow::Status(error).into())
}

fn read_priority(row: &AnyRow) -> Result<Priority, StoreError> {
    Ok(row::priority(get(row, "priority")?)?)
}

fn read_job(row: &AnyRow) -> Result<Job, StoreError> {
    let columns = JobRow {
        seq: get(row, "seq")?,
        id: get(row, "id")?,
        kind: get(row, "kind")?,
        subject: get(row, "subject")?,
        version: get(row, "version")?,
        owner: get(row, "owner")?,
        priority: get(row, "priority")?,
        rank: get(row, "rank")?,
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
        percent: get(row, "percent")?,
    };
    Ok(columns.try_into()?)
}
