//! The queue in a database: each operation is one statement of [`edgeprove_job_rules::sql`], which follows the rules of
//! [`edgeprove_job_rules::transition`].

mod listing;
mod rows;
mod shared;
mod upkeep;
mod worker;

use std::{
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};

use edgeprove_job_rules::{
    capability::Capability,
    idempotency::{Idempotency, IdempotencyKey, Verdict},
    job::{Job, NewJob},
    priority::Rank,
    queue_bounds::{Bounds, Full, Load},
    queue_position::{QueuePosition, QueuedJob},
    sql::{self, Dialect, Statement, intake, view, work},
    time::UnixMillis,
    transition::Rules,
};
use edgeprove_protocol::{JobId, JobStatus, Priority};
use edgeprove_telemetry::supervisor::Supervisor;
use sqlx::SqlStr;
use tokio::sync::broadcast;

use self::rows::{count, get, read_job, read_position, read_priority, read_queued, read_status};
use self::shared::{Arrival, Arrivals, Arrived, Ends, Statements};
pub(crate) use self::upkeep::DoomedArtifact;
use crate::{
    notifications::{Notifier, Ready},
    queue_types::{Change, EnqueueError, Enqueued, JobCount, JobCounts, QueueError, Requeued},
    shared_writes::SharedWrites,
    store::{
        Database, Durability, Session, StoreError,
        session::{Value, host_now, values},
    },
};

/// The queue. Clones share the database and the notifications.
///
/// Every operation is atomic. A worker's operations after the claim carry the fencing token of the claim.
///
/// ```
/// use edgeprove_job_queue::{
///     Enqueued, JobOutcome, SqlQueue,
///     store::{Database, DatabaseLocation},
/// };
/// use edgeprove_job_rules::{queue_bounds::Bounds, capability::Capability, job::NewJob, transition::Rules};
/// use edgeprove_protocol::{JobId, JobStatus, Priority};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let database = Database::open(&DatabaseLocation::Memory).await?;
/// let queue = SqlQueue::new(database, Rules::default(), Bounds::default()).await?;
/// let job = NewJob {
///     id: JobId::new(None, [7; 16])?,
///     kind: "greet".to_owned(),
///     subject: "world".to_owned(),
///     version: "1".to_owned(),
///     owner: "alice".to_owned(),
///     account: "key:alice".to_owned(),
///     priority: Priority::Normal,
///     max_attempts: 3,
///     idempotency: None,
///     payload: "{}".to_owned(),
///     input: None,
/// };
/// let Enqueued::Accepted(accepted) = queue.enqueue(job, None).await? else { panic!("it is new") };
///
/// let claimed = queue.claim("worker 1", &[Capability::all_of("greet")]).await?.expect("it is due");
/// assert_eq!(claimed.id, accepted.id);
/// let outcome = JobOutcome::completed(None, "hello")?;
/// let status = queue.finish(claimed.id, claimed.lease_token, &outcome).await?;
/// assert_eq!(status, Some(JobStatus::Completed));
///
/// let finished = queue.get(accepted.id).await?.expect("it is retained");
/// assert_eq!(finished.completion::<String>()?, "hello");
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct SqlQueue {
    database: Database,
    rules: Rules,
    bounds: Bounds,
    notifier: Notifier,
    notifying: Notifying,
    /// On PostgreSQL: new jobs, what workers report, and how they end jobs.
    arrivals: SharedWrites<Arrivals>,
    reports: SharedWrites<Statements>,
    ends: SharedWrites<Ends>,
    /// The database's clock minus this host's, in milliseconds, as of the last statement that read both.
    clock_offset_ms: Arc<AtomicI64>,
}

/// The statements that notify other servers of their changes.
#[derive(Debug, Clone)]
struct Notifying {
    enqueue: SqlStr,
    claim: SqlStr,
    claim_several: SqlStr,
    report_stage: SqlStr,
    finish: SqlStr,
    retry: SqlStr,
    release: SqlStr,
    cancel: SqlStr,
    requeue: SqlStr,
    reap: SqlStr,
    recover: SqlStr,
    abandon: SqlStr,
    settle: SqlStr,
    expire: SqlStr,
}

impl SqlQueue {
    /// The queue in this database.
    pub async fn new(database: Database, rules: Rules, bounds: Bounds) -> Result<Self, QueueError> {
        let notifier = Notifier::new(&database).await?;
        let dialect = database.dialect();
        let of = |statement: Statement, id, ready| notifier.notifying(statement.text(dialect), id, ready);
        let notifying = Notifying {
            enqueue: of(intake::ENQUEUE, "$5", Ready::Always),
            claim: of(work::CLAIM, "changed.id", Ready::Never),
            claim_several: of(work::CLAIM_SEVERAL, "changed.id", Ready::Never),
            report_stage: of(work::REPORT_STAGE, "$1", Ready::Never),
            finish: of(work::FINISH, "$1", Ready::Never),
            retry: of(work::RETRY, "$5", Ready::IfQueued),
            release: of(work::RELEASE, "$1", Ready::IfQueued),
            cancel: of(sql::upkeep::CANCEL, "$1", Ready::Never),
            requeue: of(sql::upkeep::REQUEUE, "$2", Ready::IfQueued),
            reap: of(sql::upkeep::REAP, "changed.id", Ready::IfQueued),
            recover: of(sql::upkeep::RECOVER, "changed.id", Ready::IfQueued),
            abandon: of(sql::upkeep::ABANDON, "changed.id", Ready::Never),
            settle: of(sql::upkeep::SETTLE, "changed.id", Ready::Always),
            expire: of(sql::upkeep::EXPIRE, "changed.id", Ready::Never),
        };
        let several = notifier.notifying(intake::POSTGRES_ENQUEUE_SEVERAL, "changed.id", Ready::Always);
        let arrivals = Arrivals { one: notifying.enqueue.clone(), several };
        let arrivals = SharedWrites::new(database.clone(), arrivals);
        let reports = SharedWrites::new(database.clone(), Statements);
        let finish = notifier.notifying(work::POSTGRES_FINISH_SEVERAL, "changed.id", Ready::Never);
        let ends = Ends { statement: finish, retention: rules.retention };
        let ends = SharedWrites::new(database.clone(), ends);
        let clock_offset_ms = Arc::default();
        Ok(Self { database, rules, bounds, notifier, notifying, arrivals, reports, ends, clock_offset_ms })
    }

    /// Starts to receive the changes that other servers on the same database make, until the supervisor stops.
    pub fn follow_other_servers(&self, supervisor: &Supervisor) {
        self.notifier.follow_other_servers(supervisor);
    }

    /// The database.
    #[must_use]
    pub fn database(&self) -> &Database {
        &self.database
    }

    /// The rules of the queue.
    #[must_use]
    pub fn rules(&self) -> &Rules {
        &self.rules
    }

    /// The time by the database's clock, without a statement: this host's clock, corrected by the difference that was measured
    /// last. Upkeep measures it every second or more often.
    #[must_use]
    pub fn approximate_now(&self) -> UnixMillis {
        UnixMillis(host_now().0.saturating_add(self.clock_offset_ms.load(Ordering::Relaxed)))
    }

    async fn begin(&self, durability: Durability) -> Result<(Session, UnixMillis), StoreError> {
        let mut session = self.database.session(durability).await?;
        let now = session.now().await?;
        self.remember_clock(now);
        Ok((session, now))
    }

    fn remember_clock(&self, now: UnixMillis) {
        self.clock_offset_ms.store(now.0.saturating_sub(host_now().0), Ordering::Relaxed);
    }

    /// Notifies this process of a change of a job. The statement has notified the other servers.
    fn notify(&self, id: JobId, status: JobStatus) {
        self.notifier.notify(Change::Job(id));
        if status == JobStatus::Queued {
            self.notifier.notify(Change::Work);
        }
    }

    /// Inserts a job, unless its key is taken or the bounds are reached. It is not durable yet: see [`Database::sync`].
    async fn insert(&self, job: &NewJob, bounds: Bounds) -> Result<Option<Job>, StoreError> {
        let arrival = Arrival { job: job.clone(), bounds };
        let (now, arrived) = match self.database.dialect() {
            Dialect::Sqlite => {
                let (mut session, now) = self.begin(Durability::Write).await?;
                let row = session.row(self.notifying.enqueue.clone(), arrival.values(now)).await?;
                (now, row.as_ref().map(Arrived::read).transpose()?)
            }
            Dialect::Postgres => self.arrivals.execute(arrival).await?,
        };
        self.remember_clock(now);
        Ok(arrived.map(|Arrived { seq, place }| job.clone().arrive(seq, now, place)))
    }

    /// Finds why a job was not inserted.
    async fn refusal(&self, job: &NewJob, bounds: Bounds) -> Result<Refusal, StoreError> {
        let mut session = self.database.session(Durability::Read).await?;
        if let Some(asked) = &job.idempotency {
            let values = values![job.account.as_str(), asked.key.as_str()];
            let earlier = session.row(intake::FIND_BY_KEY, values).await?;
            if let Some(earlier) = earlier.as_ref().map(read_job).transpose()? {
                let verdict = earlier.idempotency.as_ref().map(|earlier: &Idempotency| asked.judge(earlier));
                return Ok(match verdict {
                    Some(Verdict::Same) => Refusal::Known(Box::new(earlier)),
                    Some(Verdict::Conflict) | None => Refusal::KeyConflict,
                });
            }
        }
        let row = session.row(intake::LOAD, values![job.account.as_str()]).await?;
        let row = row.ok_or(sqlx::Error::RowNotFound)?;
        let load = Load {
            queued: count(&row, "queued")?,
            queued_of_account: count(&row, "queued_of_account")?,
            unfinished_of_account: count(&row, "unfinished_of_account")?,
        };
        Ok(bounds.admit(load).err().map_or(Refusal::Gone, Refusal::Full))
    }
}

/// The first values of [`intake::ENQUEUE`], which find the place of a job that arrives now.
fn arrival(account: &str, priority: Priority, now: UnixMillis) -> [Value; 4] {
    values![account, i64::from(priority.level()), now, Rank::new(priority, now).0]
}

/// Why a job was not inserted.
enum Refusal {
    /// The same request was accepted before.
    Known(Box<Job>),
    /// Another request has the same idempotency key.
    KeyConflict,
    /// There are too many jobs.
    Full(Full),
    /// The reason no longer exists.
    Gone,
}

/// How often a job is inserted again after a refusal whose reason no longer exists.
const TRIES: u32 = 8;

impl SqlQueue {
    /// Enqueues a job, unless the bounds are reached, or `unfinished_max`, a lower bound of its account. An accepted job is durable
    /// when this returns.
    pub async fn enqueue(&self, job: NewJob, unfinished_max: Option<u32>) -> Result<Enqueued, EnqueueError> {
        let mut bounds = self.bounds;
        if let Some(max) = unfinished_max {
            bounds.unfinished_per_account_max = bounds.unfinished_per_account_max.min(max);
        }
        for _ in 0..TRIES {
            if let Some(job) = self.insert(&job, bounds).await.map_err(QueueError)? {
                // Workers may start before the disk has the job: its caller has no answer yet.
                self.notify(job.id, job.status);
                self.database.sync().await.map_err(QueueError)?;
                return Ok(Enqueued::Accepted(Box::new(job)));
            }
            match self.refusal(&job, bounds).await.map_err(QueueError)? {
                Refusal::Known(job) => {
                    // It may have been inserted a moment ago, and must be durable here as well.
                    self.database.sync().await.map_err(QueueError)?;
                    return Ok(Enqueued::Known(job));
                }
                Refusal::KeyConflict => return Err(EnqueueError::KeyConflict),
                Refusal::Full(full) => return Err(full.into()),
                Refusal::Gone => {}
            }
        }
        // Other jobs came and went in between each time.
        Err(Full::Queue { queued: self.bounds.queued_max }.into())
    }

    /// Whether a job of this account has this idempotency key.
    pub async fn has_key(&self, account: &str, key: &IdempotencyKey) -> Result<bool, QueueError> {
        let mut session = self.database.session(Durability::Read).await?;
        Ok(session.row(intake::FIND_BY_KEY, values![account, key.as_str()]).await?.is_some())
    }

    /// Reads the latest job of a kind and a subject, among those with idempotency keys.
    pub async fn latest(&self, kind: &str, subject: &str) -> Result<Option<Job>, QueueError> {
        let mut session = self.database.session(Durability::Read).await?;
        let row = session.row(view::LATEST, values![kind, subject]).await?;
        Ok(row.as_ref().map(read_job).transpose()?)
    }

    /// Reads a job.
    pub async fn get(&self, id: JobId) -> Result<Option<Job>, QueueError> {
        let mut session = self.database.session(Durability::Read).await?;
        let row = session.row(view::GET, values![id.to_string()]).await?;
        Ok(row.as_ref().map(read_job).transpose()?)
    }

    /// Finds the position of a job among those that one of these capabilities takes; `None` if it is not queued.
    pub async fn position(
        &self,
        id: JobId,
        capabilities: &[Capability],
    ) -> Result<Option<QueuePosition>, QueueError> {
        let mut session = self.database.session(Durability::Read).await?;
        let rows = session.rows(view::AHEAD, values![id.to_string()]).await?;
        if rows.is_empty() {
            return Ok(None);
        }
        Ok(Some(read_position(&rows, capabilities)?))
    }

    /// The position that a new job of this account and priority would get among the jobs that one of these capabilities takes.
    pub async fn position_of_next(
        &self,
        account: &str,
        priority: Priority,
        capabilities: &[Capability],
    ) -> Result<QueuePosition, QueueError> {
        let (mut session, now) = self.begin(Durability::Read).await?;
        let rows = session.rows(view::AHEAD_OF_NEW_JOB, arrival(account, priority, now)).await?;
        Ok(read_position(&rows, capabilities)?)
    }

    /// Reads the first jobs of the queue, in the order of work.
    pub async fn queued(&self, limit: u32) -> Result<Vec<QueuedJob>, QueueError> {
        self.queued_jobs(None, limit).await
    }

    /// Reads the first jobs of a kind in the queue, in the order of work.
    pub async fn queued_of(&self, kind: &str, limit: u32) -> Result<Vec<QueuedJob>, QueueError> {
        self.queued_jobs(Some(kind), limit).await
    }

    async fn queued_jobs(&self, kind: Option<&str>, limit: u32) -> Result<Vec<QueuedJob>, QueueError> {
        let mut session = self.database.session(Durability::Read).await?;
        let rows = session.rows(view::QUEUED, values![limit, kind]).await?;
        Ok(rows.iter().map(read_queued).collect::<Result<_, _>>()?)
    }

    /// Counts the jobs.
    pub async fn count(&self) -> Result<JobCounts, QueueError> {
        let (mut session, now) = self.begin(Durability::Read).await?;
        let jobs = session.rows(view::COUNTS, []).await?;
        let oldest = session.rows(view::OLDEST_QUEUED, []).await?;
        let jobs = jobs.iter().map(|row| {
            let (kind, jobs) = (get(row, "kind")?, count(row, "jobs")?);
            Ok(JobCount { kind, status: read_status(row)?, priority: read_priority(row)?, jobs })
        });
        let oldest = oldest.iter().map(|row| {
            let since = UnixMillis(get(row, "enqueued_at")?);
            Ok((read_priority(row)?, now.since(since)))
        });
        Ok(JobCounts {
            jobs: jobs.collect::<Result<_, StoreError>>()?,
            oldest_queued: oldest.collect::<Result<_, StoreError>>()?,
            counted_at: Some(now),
        })
    }

    /// Counts the running jobs of a kind, and the processes that run them.
    pub async fn busy(&self, kind: &str) -> Result<(u64, u64), QueueError> {
        let mut session = self.database.session(Durability::Read).await?;
        let row = session.row(view::BUSY, values![kind]).await?;
        let Some(row) = row else { return Ok((0, 0)) };
        Ok((count(&row, "jobs")?, count(&row, "holders")?))
    }

    /// How long the completed ones of the last finished jobs ran, if they are of this kind.
    pub async fn run_times(&self, kind: &str, limit: u32) -> Result<Vec<Duration>, QueueError> {
        let mut session = self.database.session(Durability::Read).await?;
        let rows = session.rows(view::RUN_TIMES, values![kind, limit]).await?;
        let took = |row| Ok(Duration::from_millis(get::<i64>(row, "took")?.max(0).unsigned_abs()));
        Ok(rows.iter().map(took).collect::<Result<_, StoreError>>()?)
    }

    /// Reads the last completed jobs of a subject, the latest first.
    pub async fn completed(&self, kind: &str, subject: &str, limit: u32) -> Result<Vec<Job>, QueueError> {
        let mut session = self.database.session(Durability::Read).await?;
        let rows = session.rows(view::COMPLETED, values![kind, subject, limit]).await?;
        Ok(rows.iter().map(read_job).collect::<Result<_, _>>()?)
    }

    /// The jobs with a higher `seq` than this that have not finished, or finished at this time or later and have not expired.
    pub async fn unexpired(&self, since: UnixMillis, after: i64, limit: u32) -> Result<Vec<Job>, QueueError> {
        let mut session = self.database.session(Durability::Read).await?;
        let rows = session.rows(view::UNEXPIRED, values![since, after, limit]).await?;
        Ok(rows.iter().map(read_job).collect::<Result<_, _>>()?)
    }

    /// Cancels a job of this owner, or of any owner. Returns its status, which is running until its worker stops; `None` if there
    /// is no such job or it has finished.
    pub async fn cancel(&self, id: JobId, owner: Option<&str>) -> Result<Option<JobStatus>, QueueError> {
        let (mut session, now) = self.begin(Durability::Write).await?;
        let values = values![id.to_string(), owner, now, self.rules.retention.expires_at(now)];
        let row = session.row(self.notifying.cancel.clone(), values).await?;
        // Other writers need not wait while the disk does its work.
        drop(session);
        let status = row.as_ref().map(read_status).transpose()?;
        if let Some(status) = status {
            self.notify(id, status);
            self.database.sync().await?;
        }
        Ok(status)
    }

    /// Queues a failed job again, with all its attempts, if its input is still there. That is durable when this returns.
    pub async fn requeue(&self, id: JobId) -> Result<Requeued, QueueError> {
        let Some(job) = self.get(id).await? else { return Ok(Requeued::Unknown) };
        let (mut session, now) = self.begin(Durability::Write).await?;
        let until = self.rules.retention.failed_inputs_until(now);
        let account = job.account.as_str();
        let values = values![account, id.to_string(), now, until, self.bounds.queued_max];
        let statement = self.notifying.requeue.clone();
        let row = match self.database.dialect() {
            Dialect::Sqlite => session.row(statement, values).await?,
            Dialect::Postgres => {
                let mut transaction = session.begin().await?;
                transaction.lock(intake::POSTGRES_LOCK_INTAKE).await?;
                let row = transaction.row(statement, values).await?;
                transaction.commit().await?;
                row
            }
        };
        drop(session);
        if row.is_some() {
            self.notify(id, JobStatus::Queued);
            self.database.sync().await?;
            return Ok(Requeued::Queued);
        }
        Ok(match self.get(id).await? {
            None => Requeued::Unknown,
            Some(job) if job.status != JobStatus::Failed => Requeued::NotFailed(job.status),
            Some(job) if job.may_be_requeued(now, self.rules.retention) => {
                Requeued::Full { queued: self.bounds.queued_max }
            }
            Some(_) => Requeued::WithoutInput,
        })
    }

    /// Subscribes to all changes from now on. Any number of subscribers costs the database nothing.
    #[must_use]
    pub fn subscribe(&self) -> broadcast::Receiver<Change> {
        self.notifier.subscribe()
    }
}
