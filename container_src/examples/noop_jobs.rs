//! How many jobs a second the queue takes in, hands out and ends, where the work itself is nothing: what jobs cost.
//!
//! `cargo run --release --example noop_jobs -- DIR JOBS SUBMITTERS WORKERS` prints one line of JSON. In DIR, which should
//! be on a disk and not in memory, is the database of a real server. `cargo xtask bench --rows jobs` runs it.
//!
//! - `jobs_per_second`: so many submitters hand in jobs, each its next when its last was accepted, and is on the disk; so
//!   many workers work on them meanwhile. From the first submission to the end of the last job.
//! - `bare_per_second`: the same three writes for each job (one on the disk, two not) by bare SQLite, one job after the
//!   other on one connection. What the disk allows who writes each job by itself.
//! - `submit_ms`, `start_ms`: medians of a lone job on an idle queue, until it is accepted, and until it is begun.

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
use edgeprove::jobs::{
    attempt::Attempt, kinds::JobKind, record::JobRecorder, runner::Runner, watchers::JobWatchers,
};
use edgeprove_audit::Audit;
use edgeprove_job_queue::{
    crash_quarantine::CrashQuarantine,
    queue::{JobOutcome, JobQueue, Submitted},
    sql_queue::SqlQueue,
    store::{Database, DatabaseLocation},
};
use edgeprove_job_rules::{
    bounds::Bounds,
    estimator::DurationEstimator,
    job::{Job, NewJob},
    transition::Rules,
};
use edgeprove_protocol::{JobId, Priority};
use edgeprove_telemetry::supervisor::Supervisor;
use sqlx::{AssertSqlSafe, Connection as _, Executor as _, SqliteConnection, sqlite::SqliteConnectOptions};
use tokio::{sync::mpsc, task::JoinSet};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use uuid::Uuid;

/// Lone jobs, for the medians.
const LONE: usize = 200;

type Outcome<T> = Result<T, Box<dyn Error + Send + Sync>>;

/// Work that is none.
struct Noop {
    begun: mpsc::UnboundedSender<(JobId, Instant)>,
}

#[async_trait]
impl JobKind for Noop {
    fn name(&self) -> &'static str {
        "noop"
    }

    async fn run(&self, job: &Job, _: &Attempt) -> JobOutcome {
        // Whoever listens may have heard enough.
        let _ = self.begun.send((job.id, Instant::now()));
        JobOutcome::Completed { result: None, outcome: "well".to_owned() }
    }
}

struct Wishes {
    dir: PathBuf,
    jobs: usize,
    submitters: usize,
    workers: usize,
}

impl Wishes {
    fn read() -> Option<Self> {
        let mut arguments = std::env::args().skip(1);
        let dir = arguments.next()?.into();
        let mut number = || arguments.next()?.parse().ok();
        Some(Self { dir, jobs: number()?, submitters: number()?, workers: number()? })
    }
}

#[tokio::main]
async fn main() -> Outcome<()> {
    let wishes = Wishes::read().ok_or("noop_jobs DIR JOBS SUBMITTERS WORKERS")?;
    let bare = bare_per_second(&wishes.dir.join("bare.db"), wishes.jobs).await?;
    let bounds = Bounds { queued_max: u32::MAX, unfinished_per_owner_max: u32::MAX };
    let database = Database::open(&DatabaseLocation::Folder(wishes.dir.join("data"))).await?;
    let queue = SqlQueue::new(database.clone(), Rules::default(), bounds).await?;
    let (supervisor, quiet) = (Supervisor::default(), CancellationToken::new());
    let (begun, mut heard) = mpsc::unbounded_channel();
    let shared: Arc<dyn JobQueue> = Arc::new(queue.clone());
    let workers = std::num::NonZeroUsize::new(wishes.workers).ok_or("no workers")?;
    let runner = Runner {
        queue: Arc::clone(&shared),
        hub: Arc::new(JobWatchers::new(shared, Arc::new(DurationEstimator::new(workers)))),
        recorder: JobRecorder::new(Audit::off()),
        suspects: CrashQuarantine::default(),
        kinds: vec![Arc::new(Noop { begun })],
        holder: "bench".to_owned(),
        lease: Rules::default().lease,
        quiet: quiet.clone(),
        at_work: TaskTracker::new(),
        supervisor: supervisor.clone(),
    };
    runner.start(wishes.workers);

    let (mut submits, mut starts) = (Vec::new(), Vec::new());
    for _ in 0..LONE {
        let handed_in = Instant::now();
        submit(&queue).await?;
        submits.push(handed_in.elapsed());
        let (_, begun) = heard.recv().await.ok_or("no worker is left")?;
        starts.push(begun - handed_in);
        // Until the workers sleep again.
        tokio::time::sleep(Duration::from_millis(5)).await;
    }

    let (first, left) = (Instant::now(), Arc::new(AtomicUsize::new(wishes.jobs)));
    let mut submitters = JoinSet::new();
    for _ in 0..wishes.submitters {
        let (queue, left) = (queue.clone(), Arc::clone(&left));
        submitters.spawn(async move {
            let take = |left: usize| left.checked_sub(1);
            while left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take).is_ok() {
                submit(&queue).await?;
            }
            Outcome::Ok(())
        });
    }
    while let Some(ended) = submitters.join_next().await {
        ended??;
    }
    let accepted = first.elapsed();
    for _ in 0..wishes.jobs {
        heard.recv().await.ok_or("no worker is left")?;
    }
    quiet.cancel();
    supervisor.stop().await;
    let ended = first.elapsed();
    database.close().await;
    println!(
        "{}",
        serde_json::json!({
            "jobs_per_second": rate(wishes.jobs, ended),
            "accepted_per_second": rate(wishes.jobs, accepted),
            "bare_per_second": bare,
            "submit_ms": median_ms(submits),
            "start_ms": median_ms(starts),
        })
    );
    Ok(())
}

async fn submit(queue: &SqlQueue) -> Outcome<()> {
    let job = NewJob {
        id: JobId::new(None, *Uuid::new_v4().as_bytes())?,
        kind: "noop".to_owned(),
        subject: "nothing".to_owned(),
        version: "1".to_owned(),
        owner: "bench".to_owned(),
        priority: Priority::Normal,
        max_attempts: 3,
        idempotency: None,
        payload: "{}".to_owned(),
        input: None,
    };
    match queue.submit(job, None).await? {
        Submitted::Taken(_) => Ok(()),
        Submitted::Known(_) => Err("a job was known before it was handed in".into()),
    }
}

async fn bare_per_second(file: &Path, jobs: usize) -> Outcome<f64> {
    let options = SqliteConnectOptions::new().filename(file).create_if_missing(true);
    let mut database = SqliteConnection::connect_with(&options).await?;
    database
        .execute("PRAGMA journal_mode = WAL; CREATE TABLE jobs (seq INTEGER PRIMARY KEY, status TEXT)")
        .await?;
    let began = Instant::now();
    for seq in 1..=jobs {
        database.execute("PRAGMA synchronous = FULL").await?;
        database.execute(AssertSqlSafe(format!("INSERT INTO jobs VALUES ({seq}, 'queued')"))).await?;
        database.execute("PRAGMA synchronous = NORMAL").await?;
        for status in ["running", "completed"] {
            let update = format!("UPDATE jobs SET status = '{status}' WHERE seq = {seq}");
            database.execute(AssertSqlSafe(update)).await?;
        }
    }
    let took = began.elapsed();
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
