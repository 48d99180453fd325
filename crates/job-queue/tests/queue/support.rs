//! A database for a test, queues in it, and jobs.

use std::{
    path::{Path, PathBuf},
    process,
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

use edgeprove_job_queue::{
    Change, Enqueued, JobOutcome, SqlQueue,
    store::{Database, DatabaseLocation},
};
use edgeprove_job_rules::{
    bounds::Bounds,
    capability::Capability,
    job::{Job, NewJob},
    transition::Rules,
};
use edgeprove_protocol::{JobId, Priority, Problem, ProblemType};
use edgeprove_testkit::places;
use sqlx::{AssertSqlSafe, Connection as _, Executor as _, PgConnection};
use tempfile::TempDir;
use tokio::{sync::broadcast, time::timeout};
use uuid::Uuid;

/// Much longer than anything takes.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// A database that is removed after the test.
pub(crate) struct Fixture {
    pub(crate) name: &'static str,
    pub(crate) place: DatabaseLocation,
    dir: Option<TempDir>,
    schema: Option<(String, String)>,
}

impl Fixture {
    pub(crate) fn memory() -> Self {
        Self { name: "memory", place: DatabaseLocation::Memory, dir: None, schema: None }
    }

    pub(crate) fn file() -> Self {
        let dir = tempfile::tempdir().unwrap();
        // With characters that a path may have and a URL may not.
        let place = DatabaseLocation::Folder(dir.path().join("data of 100%41 #1?"));
        Self { name: "file", place, dir: Some(dir), schema: None }
    }

    pub(crate) async fn postgres() -> Option<Self> {
        Some(Self::schema_in(&places::shared_postgres()?).await)
    }

    /// A new schema in this PostgreSQL.
    pub(crate) async fn schema_in(url: &str) -> Self {
        static MADE: AtomicU32 = AtomicU32::new(0);
        let number = MADE.fetch_add(1, Ordering::Relaxed);
        let schema = format!("edgeprove_queue_{}_{number}", process::id());
        let mut connection = PgConnection::connect(url).await.unwrap();
        connection.execute(AssertSqlSafe(format!("CREATE SCHEMA {schema}"))).await.unwrap();
        let joint = if url.contains('?') { '&' } else { '?' };
        let own = format!("{url}{joint}options=-csearch_path%3D{schema}");
        let place = DatabaseLocation::Postgres(own.parse().unwrap());
        Self { name: "postgres", place, dir: None, schema: Some((url.to_owned(), schema)) }
    }

    /// A database of each sort.
    pub(crate) async fn all() -> Vec<Self> {
        let mut all = vec![Self::memory(), Self::file()];
        all.extend(Self::postgres().await);
        all
    }

    pub(crate) fn folder(&self) -> PathBuf {
        let DatabaseLocation::Folder(path) = &self.place else { panic!("the database is in no folder") };
        path.clone()
    }

    pub(crate) async fn queue(&self) -> SqlQueue {
        self.queue_with(Rules::default(), Bounds::default()).await
    }

    pub(crate) async fn queue_with(&self, rules: Rules, bounds: Bounds) -> SqlQueue {
        queue_at(&self.place, rules, bounds).await
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

pub(crate) async fn queue_at(place: &DatabaseLocation, rules: Rules, bounds: Bounds) -> SqlQueue {
    let database = Database::open(place).await.unwrap();
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
        priority: Priority::Normal,
        max_attempts: 3,
        idempotency: None,
        payload: "{}".to_owned(),
        input: Some(Uuid::new_v4().to_string()),
    }
}

/// Enqueues a job.
pub(crate) async fn submit(queue: &SqlQueue, job: NewJob) -> Job {
    match queue.enqueue(job, None).await.unwrap() {
        Enqueued::Accepted(job) => *job,
        Enqueued::Known(job) => panic!("it is known: {job:?}"),
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

/// Waits for this change.
pub(crate) async fn hear(changes: &mut broadcast::Receiver<Change>, wanted: Change) {
    let hearing = async { while changes.recv().await.unwrap() != wanted {} };
    timeout(PATIENCE, hearing).await.unwrap_or_else(|_| panic!("no change {wanted:?}"));
}
