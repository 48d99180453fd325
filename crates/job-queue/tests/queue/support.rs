//! A database for a test, queues in it, and jobs.

use std::{
    path::{Path, PathBuf},
    process,
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

use edgeprove_job_queue::{
    queue::{Change, JobQueue, Submitted},
    sql_queue::SqlQueue,
    store::{Database, DatabaseLocation},
};
use edgeprove_job_rules::{
    bounds::Bounds,
    capability::Capability,
    job::{Job, NewJob},
    transition::Rules,
};
use edgeprove_protocol::{JobId, Priority};
use edgeprove_testkit::places;
use sqlx::{AssertSqlSafe, Connection as _, Executor as _, PgConnection};
use tempfile::TempDir;
use tokio::{sync::broadcast, time::timeout};
use uuid::Uuid;

/// Far beyond what anything takes.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// A database that goes with the test.
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
        // What a path may hold, and a URL may not.
        let place = DatabaseLocation::Folder(dir.path().join("data of 100%41 #1?"));
        Self { name: "file", place, dir: Some(dir), schema: None }
    }

    pub(crate) async fn postgres() -> Option<Self> {
        Some(Self::schema_in(&places::shared_postgres()?).await)
    }

    /// A schema of its own in this PostgreSQL.
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

    /// All that there are.
    pub(crate) async fn all() -> Vec<Self> {
        let mut all = vec![Self::memory(), Self::file()];
        all.extend(Self::postgres().await);
        all
    }

    pub(crate) fn folder(&self) -> PathBuf {
        let DatabaseLocation::Folder(path) = &self.place else { panic!("it is in no folder") };
        path.clone()
    }

    pub(crate) async fn queue(&self) -> SqlQueue {
        self.queue_with(Rules::default(), Bounds::default()).await
    }

    pub(crate) async fn queue_with(&self, rules: Rules, bounds: Bounds) -> SqlQueue {
        queue_at(&self.place, rules, bounds).await
    }

    /// Removes what it made in a shared database.
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

/// A job like any other.
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

/// Takes a job in.
pub(crate) async fn submit(queue: &SqlQueue, job: NewJob) -> Job {
    match queue.submit(job, None).await.unwrap() {
        Submitted::Taken(job) => *job,
        Submitted::Known(job) => panic!("it is known: {job:?}"),
    }
}

/// What a server's workers can do.
pub(crate) const PROVES: [Capability; 1] = [Capability::all_of("prove")];

/// Begins the job whose turn it is.
pub(crate) async fn claim(queue: &SqlQueue) -> Job {
    queue.claim("worker", &PROVES).await.unwrap().expect("a job is due")
}

/// Waits until this is told.
pub(crate) async fn hear(changes: &mut broadcast::Receiver<Change>, wanted: Change) {
    let hearing = async { while changes.recv().await.unwrap() != wanted {} };
    timeout(PATIENCE, hearing).await.unwrap_or_else(|_| panic!("never heard of {wanted:?}"));
}
