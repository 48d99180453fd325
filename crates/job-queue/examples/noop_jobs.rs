//! Measures the throughput of the queue with jobs that do nothing.
//!
//! `cargo run --release -p edgeprove-job-queue --example noop_jobs -- DIR JOBS SUBMITTERS WORKERS` prints one line of JSON.
//! DIR gets the database; it should be on a disk and not in memory. `cargo xtask bench --rows jobs` runs this.
//!
//! - `jobs_per_second`: SUBMITTERS submit JOBS jobs, each the next when its last one was accepted, which means durable, while
//!   WORKERS run them. From the first submission to the end of the last job.
//! - `accepted_per_second`: the same until the last job was accepted.
//! - `bare_per_second`: the same three writes for each job (one durable, two not) by bare SQLite, one job after the other on
//!   one connection.
//! - `submit_ms`, `start_ms`: medians of a single job on an idle queue, until it is accepted, and until it has started.

#![allow(clippy::print_stdout, reason = "its output is its result")]

use std::{
    error::Error,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use async_trait::async_trait;
use edgeprove_job_queue::{
    Enqueued, JobOutcome, SqlQueue,
    attempt::Attempt,
    events::IgnoreEvents,
    job_view::JobViews,
    kind::{JobKind, JobKinds, Work},
    runner::{Drain, Runner, WorkerSettings},
    store::{Database, DatabaseLocation},
    watchers::JobWatchers,
};
use edgeprove_job_rules::{
    estimator::DurationEstimator,
    job::{Job, NewJob},
    progress::Stage,
    queue_bounds::Bounds,
    transition::Rules,
};
use edgeprove_protocol::{JobId, Priority};
use edgeprove_telemetry::supervisor::Supervisor;
use sqlx::{AssertSqlSafe, Connection as _, Executor as _, SqliteConnection, sqlite::SqliteConnectOptions};
use tokio::{sync::mpsc, task::JoinSet};
use uuid::Uuid;

/// The number of single jobs for the medians.
const SINGLE: usize = 200;

type Result<T> = std::result::Result<T, Box<dyn Error + Send + Sync>>;

/// A kind of jobs that do nothing.
struct Noop {
    started: mpsc::UnboundedSender<(JobId, Instant)>,
}

#[async_trait]
impl JobKind for Noop {
    fn name(&self) -> &'static str {
        "noop"
    }

    fn stages(&self) -> &'static [Stage] {
        &[]
    }

    fn work_of(&self, _: &Job) -> Option<Work> {
        None
    }

    async fn run(&self, job: &Job, _: &Attempt) -> JobOutcome {
        // It fails only after the measurement.
        let _ = self.started.send((job.id, Instant::now()));
        JobOutcome::Completed { result: None, report: serde_json::Value::Null }
    }
}

struct Arguments {
    dir: PathBuf,
    jobs: usize,
    submitters: usize,
    workers: usize,
}

impl Arguments {
    fn read() -> Option<Self> {
        let mut words = std::env::args().skip(1);
        let dir = words.next()?.into();
        let mut number = || words.next()?.parse().ok();
        Some(Self { dir, jobs: number()?, submitters: number()?, workers: number()? })
    }
}

#[tokio::main]
async fn main() -> Result<()> {
    let arguments = Arguments::read().ok_or("noop_jobs DIR JOBS SUBMITTERS WORKERS")?;
    let bare = bare_per_second(&arguments.dir.join("bare.db"), arguments.jobs).await?;
    let bounds = Bounds { queued_max: u32::MAX, unfinished_per_account_max: u32::MAX, has_shares: false };
    let database = Database::open(&DatabaseLocation::Folder(arguments.dir.join("data"))).await?;
    let queue = SqlQueue::new(database.clone(), Rules::default(), bounds).await?;
    let (supervisor, drain) = (Supervisor::default(), Drain::default());
    let (started, mut starts_of) = mpsc::unbounded_channel();
    let workers = std::num::NonZeroUsize::new(arguments.workers).ok_or("no workers")?;
    let noop: Arc<dyn JobKind> = Arc::new(Noop { started });
    let kinds = JobKinds::new([noop]);
    let estimator = Arc::new(DurationEstimator::new(workers));
    let views = Arc::new(JobViews::new(queue.clone(), kinds.clone(), estimator));
    let watchers = Arc::new(JobWatchers::new(queue.clone(), views));
    let settings = WorkerSettings { holder: "bench".to_owned(), lease: Rules::default().lease, workers };
    Runner::new(queue.clone(), kinds, watchers, Arc::new(IgnoreEvents), settings)
        .start(drain.clone(), &supervisor);

    let (mut submits, mut starts) = (Vec::new(), Vec::new());
    for _ in 0..SINGLE {
        let submitted = Instant::now();
        submit(&queue).await?;
        submits.push(submitted.elapsed());
        let (_, started) = starts_of.recv().await.ok_or("no worker is left")?;
        starts.push(started - submitted);
        // The workers are idle again after this.
        tokio::time::sleep(Duration::from_millis(5)).await;
    }

    let (first, left) = (Instant::now(), Arc::new(AtomicUsize::new(arguments.jobs)));
    let mut submitters = JoinSet::new();
    for _ in 0..arguments.submitters {
        let (queue, left) = (queue.clone(), Arc::clone(&left));
        submitters.spawn(async move {
            let take = |left: usize| left.checked_sub(1);
            while left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take).is_ok() {
                submit(&queue).await?;
            }
            Result::Ok(())
        });
    }
    while let Some(ended) = submitters.join_next().await {
        ended??;
    }
    let accepted = first.elapsed();
    for _ in 0..arguments.jobs {
        starts_of.recv().await.ok_or("no worker is left")?;
    }
    drain.no_more_jobs.cancel();
    supervisor.stop().await;
    let ended = first.elapsed();
    database.close().await;
    println!(
        "{}",
        serde_json::json!({
            "jobs_per_second": rate(arguments.jobs, ended),
            "accepted_per_second": rate(arguments.jobs, accepted),
            "bare_per_second": bare,
            "submit_ms": median_ms(submits),
            "start_ms": median_ms(starts),
        })
    );
    Ok(())
}

async fn submit(queue: &SqlQueue) -> Result<()> {
    let job = NewJob {
        id: JobId::new(None, *Uuid::new_v4().as_bytes())?,
        kind: "noop".to_owned(),
        subject: "nothing".to_owned(),
        version: "1".to_owned(),
        owner: "bench".to_owned(),
        account: "bench".to_owned(),
        priority: Priority::Normal,
        max_attempts: 3,
        idempotency: None,
        payload: "{}".to_owned(),
        input: None,
    };
    match queue.enqueue(job, None).await? {
        Enqueued::Accepted(_) => Ok(()),
        Enqueued::Known(_) => Err("a job was known before it was submitted".into()),
    }
}

async fn bare_per_second(file: &Path, jobs: usize) -> Result<f64> {
    let options = SqliteConnectOptions::new().filename(file).create_if_missing(true);
    let mut database = SqliteConnection::connect_with(&options).await?;
    database
        .execute("PRAGMA journal_mode = WAL; CREATE TABLE jobs (seq INTEGER PRIMARY KEY, status TEXT)")
        .await?;
    let started = Instant::now();
    for seq in 1..=jobs {
        database.execute("PRAGMA synchronous = FULL").await?;
        database.execute(AssertSqlSafe(format!("INSERT INTO jobs VALUES ({seq}, 'queued')"))).await?;
        database.execute("PRAGMA synchronous = NORMAL").await?;
        for status in ["running", "completed"] {
            let update = format!("UPDATE jobs SET status = '{status}' WHERE seq = {seq}");
            database.execute(AssertSqlSafe(update)).await?;
        }
    }
    let took = started.elapsed();
    database.close().await?;
    Ok(rate(jobs, took))
}

#[expect(clippy::cast_precision_loss, reason = "some thousand jobs")]
fn rate(jobs: usize, took: Duration) -> f64 {
    jobs as f64 / took.as_secs_f64()
}

fn median_ms(mut times: Vec<Duration>) -> f64 {
    times.sort_unstable();
    times.get(times.len() / 2).map_or(f64::NAN, |time| time.as_secs_f64() * 1000.0)
}
