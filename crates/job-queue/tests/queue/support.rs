//! A database for a test, queues in it, and jobs.

use std::{
    path::{Path, PathBuf},
    process,
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

use edgeprove_job_queue::{
    Change, Enqueued, JobOutcome, SqlQueue, StageReport,
    store::{Database, DatabaseLocation},
};
use edgeprove_job_rules::{
    capability::Capability,
    job::{Job, NewJob},
    queue_bounds::Bounds,
    time::UnixMillis,
    transition::Rules,
};
use edgeprove_protocol::{JobId, Priority, Problem, ProblemType};
use edgeprove_testkit::postgres;
use sqlx::{AssertSqlSafe, Connection as _, Executor as _, PgConnection};
use tempfile::TempDir;
use tokio::{
    sync::broadcast,
    time::{sleep, timeout},
};
use uuid::Uuid;

/// The longest wait for a condition. It is reached only if the condition never becomes true, even on a busy machine.
pub(crate) const LIMIT: Duration = Duration::from_mins(2);

/// A database that is removed after the test.
pub(crate) struct Fixture {
    pub(crate) name: &'static str,
    pub(crate) location: DatabaseLocation,
    dir: Option<TempDir>,
    schema: Option<(String, String)>,
}

impl Fixture {
    pub(crate) fn memory() -> Self {
        Self { name: "memory", location: DatabaseLocation::Memory, dir: None, schema: None }
    }

    pub(crate) fn file() -> Self {
        let dir = tempfile::tempdir().unwrap();
        // The name has characters that are valid in a path but not in a URL.
        let location = DatabaseLocation::Folder(dir.path().join("data of 100%41 #1?"));
        Self { name: "file", location, dir: Some(dir), schema: None }
    }

    pub(crate) async fn postgres() -> Option<Self> {
        Some(Self::schema_in(&postgres::shared_url()?).await)
    }

    /// Creates a schema in this PostgreSQL server.
    pub(crate) async fn schema_in(url: &str) -> Self {
        static CREATED: AtomicU32 = AtomicU32::new(0);
        let number = CREATED.fetch_add(1, Ordering::Relaxed);
        let schema = format!("edgeprove_queue_{}_{number}", process::id());
        let mut connection = PgConnection::connect(url).await.unwrap();
        connection.execute(AssertSqlSafe(format!("CREATE SCHEMA {schema}"))).await.unwrap();
        let separator = if url.contains('?') { '&' } else { '?' };
        let own = format!("{url}{separator}options=-csearch_path%3D{schema}");
        let location = DatabaseLocation::Postgres(own.parse().unwrap());
        Self { name: "postgres", location, dir: None, schema: Some((url.to_owned(), schema)) }
    }

    /// A database of each sort.
    pub(crate) async fn all() -> Vec<Self> {
        let mut all = vec![Self::memory(), Self::file()];
        all.extend(Self::postgres().await);
        all
    }

    pub(crate) fn folder(&self) -> PathBuf {
        let DatabaseLocation::Folder(path) = &self.location else { panic!("the database is in no folder") };
        path.clone()
    }

    pub(crate) async fn queue(&self) -> SqlQueue {
        self.queue_with(Rules::default(), Bounds::default()).await
    }

    pub(crate) async fn queue_with(&self, rules: Rules, bounds: Bounds) -> SqlQueue {
        queue_at(&self.location, rules, bounds).await
    }

    /// Removes the schema in a shared database.
    pub(crate) async fn remove(self) {
        if let Some((url, schema)) = &self.schema {
            let mut connection = PgConnection::connect(url).await.unwrap();
            connection.execute(AssertSqlSafe(format!("DROP SCHEMA {schema} CASCADE"))).await.unwrap();
        }
        drop(self.dir);
    }
}

pub(crate) async fn queue_at(location: &DatabaseLocation, rules: Rules, bounds: Bounds) -> SqlQueue {
    let database = Database::open(location).await.unwrap();
    SqlQueue::new(database, rules, bounds).await.unwrap()
}

pub(crate) async fn queue_in(folder: &Path) -> SqlQueue {
    queue_at(&DatabaseLocation::Folder(folder.to_owned()), Rules::default(), Bounds::default()).await
}

/// A job.
pub(crate) fn job() -> NewJob {
    NewJob {
        id: JobId::new(None, *Uuid::new_v4().as_bytes()).unwrap(),
        kind: "prove".to_owned(),
        subject: "maze".to_owned(),
        version: "1".to_owned(),
        owner: "alice".to_owned(),
        account: "key:alice".to_owned(),
        priority: Priority::Normal,
        max_attempts: 3,
        idempotency: None,
        payload: "{}".to_owned(),
        input: Some(Uuid::new_v4().to_string()),
    }
}

/// A stage that begins now.
pub(crate) fn stage(name: &'static str) -> StageReport {
    StageReport { name, at: UnixMillis::MAX, estimate: None }
}

/// Enqueues a job.
pub(crate) async fn submit(queue: &SqlQueue, job: NewJob) -> Job {
    match queue.enqueue(job, None).await.unwrap() {
        Enqueued::Accepted(job) => *job,
        Enqueued::Known(job) => panic!("the job already exists: {job:?}"),
    }
}

/// The capability of a server's workers.
pub(crate) const PROVES: [Capability; 1] = [Capability::all_of("prove")];

/// The outcome of a completed job.
pub(crate) fn completed(result: Option<&str>) -> JobOutcome {
    JobOutcome::completed(result.map(str::to_owned), "well").unwrap()
}

/// A problem of a failed attempt.
pub(crate) fn problem(detail: &str) -> Box<Problem> {
    Box::new(Problem::new(ProblemType::Internal, detail, None))
}

/// Claims the next job.
pub(crate) async fn claim(queue: &SqlQueue) -> Job {
    queue.claim("worker", &PROVES).await.unwrap().expect("a job is due")
}

/// Claims the next job as soon as it is due. A job that is retried is due after its backoff.
pub(crate) async fn claim_when_due(queue: &SqlQueue) -> Job {
    let claiming = async {
        loop {
            if let Some(job) = queue.claim("worker", &PROVES).await.unwrap() {
                return job;
            }
            sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(LIMIT, claiming).await.expect("a job becomes due")
}

/// Waits for this change.
pub(crate) async fn hear(changes: &mut broadcast::Receiver<Change>, wanted: Change) {
    let received = async { while changes.recv().await.unwrap() != wanted {} };
    timeout(LIMIT, received).await.unwrap_or_else(|_| panic!("no change {wanted:?}"));
}
