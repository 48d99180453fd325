//! Measures the queue of a fleet: the real queue on PostgreSQL, with simulated provers that sleep in the place of work.
//!
//! `cargo run --release -p edgeprove-job-queue --example fleet -- URL JOBS PROVERS WORK_MS` prints one line of JSON. URL is an empty
//! PostgreSQL database. `cargo xtask bench --rows fleet` runs this.
//!
//! Provers claim by long polls, as a server does for those of `edgeprove work`. Work is shorter than the time after which a lease
//! is renewed. Three runs follow each other:
//!
//! - *Throughput*: twenty callers submit as fast as the queue takes jobs, while about as many wait as there are provers.
//!   `jobs_per_second` is from the first submission to the end of the last job. `claim_p50_ms` and `claim_p99_ms` are how long a
//!   prover waited for a job that was queued, `submit_p50_ms` how long a caller waited until its job was accepted.
//! - *Fairness*: one caller has queued more jobs than all provers do in ten rounds. Nine others then submit one job at a time.
//!   `small_wait_max_ms` is the longest wait of such a job until its start.
//! - *Recovery*: half of the provers vanish together. `recovered_ms` is the time until the last job that one of them had is completed by
//!   another prover, `lease_ms` the length of leases in this run.

#![allow(clippy::print_stdout, reason = "its output is its result")]

use std::{
    collections::{HashMap, HashSet},
    error::Error,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use async_trait::async_trait;
use edgeprove_job_queue::{
    Enqueued, JobOutcome, SqlQueue,
    events::IgnoreEvents,
    long_poll::{LongPolls, WaitingClaim},
    store::{Database, DatabaseLocation},
    upkeep::{ArtifactRemover, Intervals, RemoveError, Upkeep},
};
use edgeprove_job_rules::{
    capability::Capability,
    job::NewJob,
    lease::{LeaseTerms, pull_holder},
    queue_bounds::Bounds,
    transition::Rules,
};
use edgeprove_protocol::{JobId, JobStatus, Priority, Problem, ProblemType};
use edgeprove_telemetry::supervisor::Supervisor;
use parking_lot::Mutex;
use tokio::{task::JoinSet, time::sleep};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

/// What the provers take.
const PROVES: [Capability; 1] = [Capability::all_of("prove")];
/// The callers of the first run.
const CALLERS: usize = 20;
/// Submissions at the same time, of all callers.
const SUBMITTERS: usize = 160;
/// The callers of the second run that are not the flood, and the jobs of each.
const SMALL_CALLERS: usize = 9;
const SMALL_JOBS: usize = 10;
/// The jobs of the flood for each prover.
const FLOOD: usize = 10;
/// The longest wait of a claim, as that of `edgeprove work`.
const WAIT: Duration = Duration::from_secs(20);
/// The length of leases in the last run.
const SHORT_LEASE: Duration = Duration::from_secs(5);
/// A pause between two looks at the state of a run.
const LOOK: Duration = Duration::from_millis(2);

type Result<T> = std::result::Result<T, Box<dyn Error + Send + Sync>>;

#[derive(Clone, Copy)]
struct Size {
    jobs: usize,
    provers: usize,
    work: Duration,
}

/// There are no artifacts.
struct NoArtifacts;

#[async_trait]
impl ArtifactRemover for NoArtifacts {
    async fn remove(&self, _: &str) -> std::result::Result<(), RemoveError> {
        Ok(())
    }

    async fn remove_others(
        &self,
        _: &HashSet<String>,
        _: Duration,
    ) -> std::result::Result<usize, RemoveError> {
        Ok(0)
    }
}

/// What has happened in a run.
#[derive(Default)]
struct Record {
    submitted: AtomicUsize,
    started: AtomicUsize,
    completed: AtomicUsize,
    submits: Mutex<Vec<Duration>>,
    /// How long claims waited while jobs were queued.
    claims: Mutex<Vec<Duration>>,
    /// When each job of a small caller was submitted, and how long it waited.
    watched: Mutex<HashMap<JobId, Instant>>,
    waits: Mutex<Vec<Duration>>,
    /// The jobs that a prover had when it vanished, and when the last of them was completed.
    orphans: Mutex<HashSet<JobId>>,
    last_orphan: Mutex<Option<Instant>>,
}

impl Record {
    fn queued(&self) -> usize {
        self.submitted.load(Relaxed).saturating_sub(self.started.load(Relaxed))
    }
}

/// A queue with its provers.
struct Fleet {
    queue: SqlQueue,
    record: Arc<Record>,
    supervisor: Supervisor,
    stop: CancellationToken,
    vanish: CancellationToken,
    provers: JoinSet<Result<()>>,
}

impl Fleet {
    /// A queue without provers.
    async fn start(database: &Database, lease: Duration) -> Result<Self> {
        let rules = Rules { lease: LeaseTerms { length: lease }, ..Rules::default() };
        let bounds = Bounds { queued_max: u32::MAX, unfinished_per_account_max: u32::MAX, has_shares: false };
        let queue = SqlQueue::new(database.clone(), rules, bounds).await?;
        let supervisor = Supervisor::default();
        queue.follow_other_servers(&supervisor);
        let lost = Problem::new(ProblemType::WorkerLost, "the prover vanished", None);
        let (artifacts, events) = (Arc::new(NoArtifacts), Arc::new(IgnoreEvents));
        Upkeep::new(queue.clone(), artifacts, Intervals::of(&rules), &lost, events)?.start(&supervisor);
        Ok(Self {
            queue,
            record: Arc::default(),
            supervisor,
            stop: CancellationToken::new(),
            vanish: CancellationToken::new(),
            provers: JoinSet::new(),
        })
    }

    fn add_provers(&mut self, size: Size) {
        let polls = Arc::new(LongPolls::new(self.queue.clone()));
        for number in 0..size.provers {
            let prover = Prover {
                name: pull_holder("fleet", &number.to_string()),
                polls: Arc::clone(&polls),
                queue: self.queue.clone(),
                record: Arc::clone(&self.record),
                work: size.work,
                stop: self.stop.clone(),
                // Every second one lasts to the end.
                vanish: if number % 2 == 0 { self.vanish.clone() } else { CancellationToken::new() },
            };
            self.provers.spawn(prover.run());
        }
    }

    /// Submits jobs of some callers, as fast as the queue takes them while no more than this number wait.
    async fn submit(&self, jobs: usize, callers: usize, waiting_max: usize) -> Result<()> {
        let left = Arc::new(AtomicUsize::new(jobs));
        let mut submitters = JoinSet::new();
        for number in 0..SUBMITTERS {
            let (queue, record, left) = (self.queue.clone(), Arc::clone(&self.record), Arc::clone(&left));
            let caller = format!("key:{}", number % callers);
            submitters.spawn(async move {
                while left.fetch_update(Relaxed, Relaxed, |left| left.checked_sub(1)).is_ok() {
                    while record.queued() > waiting_max {
                        sleep(LOOK).await;
                    }
                    submit(&queue, &record, &caller, false).await?;
                }
                Result::Ok(())
            });
        }
        while let Some(ended) = submitters.join_next().await {
            ended??;
        }
        Ok(())
    }

    async fn wait_for(&self, completed: usize) {
        while self.record.completed.load(Relaxed) < completed {
            sleep(LOOK).await;
        }
    }

    /// Ends the provers, and checks that the database has the same number of completed jobs.
    async fn end(mut self, before: u64) -> Result<u64> {
        self.stop.cancel();
        while let Some(ended) = self.provers.join_next().await {
            ended??;
        }
        self.supervisor.stop().await;
        let completed = self.queue.count().await?.of(JobStatus::Completed);
        let here = u64::try_from(self.record.completed.load(Relaxed))?;
        if completed != before + here {
            return Err(format!("{here} jobs ended here, and {} in the database", completed - before).into());
        }
        Ok(completed)
    }
}

/// Submits a job, whose wait is recorded if it is watched.
async fn submit(queue: &SqlQueue, record: &Record, caller: &str, is_watched: bool) -> Result<JobId> {
    let id = JobId::new(None, *Uuid::new_v4().as_bytes())?;
    let job = NewJob {
        id,
        kind: "prove".to_owned(),
        subject: "circuit".to_owned(),
        version: "1".to_owned(),
        owner: caller.to_owned(),
        account: caller.to_owned(),
        priority: Priority::Normal,
        max_attempts: 3,
        idempotency: None,
        payload: "{}".to_owned(),
        input: None,
    };
    let began = Instant::now();
    if is_watched {
        record.watched.lock().insert(id, began);
    }
    match queue.enqueue(job, None).await? {
        Enqueued::Accepted(_) => {}
        Enqueued::Known(_) => return Err("a job was known before it was submitted".into()),
    }
    record.submits.lock().push(began.elapsed());
    record.submitted.fetch_add(1, Relaxed);
    Ok(id)
}

/// A simulated prover.
struct Prover {
    name: String,
    polls: Arc<LongPolls>,
    queue: SqlQueue,
    record: Arc<Record>,
    work: Duration,
    stop: CancellationToken,
    vanish: CancellationToken,
}

impl Prover {
    async fn run(self) -> Result<()> {
        let Self { name, polls, queue, record, work, stop, vanish } = self;
        while !stop.is_cancelled() && !vanish.is_cancelled() {
            let (asked, had_work) = (Instant::now(), record.queued() > 0);
            let until = tokio::time::Instant::now() + WAIT;
            let claim = WaitingClaim { holder: &name, capabilities: &PROVES, max: 1, until };
            let Some(job) = polls.claim(claim, &stop).await?.pop() else { continue };
            record.started.fetch_add(1, Relaxed);
            if had_work {
                record.claims.lock().push(asked.elapsed());
            }
            if let Some(submitted) = record.watched.lock().remove(&job.id) {
                record.waits.lock().push(submitted.elapsed());
            }
            if vanish.run_until_cancelled(sleep(work)).await.is_none() {
                record.orphans.lock().insert(job.id);
                return Ok(());
            }
            let outcome = JobOutcome::completed(None, "done")?;
            if queue.finish(job.id, job.lease_token, &outcome).await? == Some(JobStatus::Completed) {
                record.completed.fetch_add(1, Relaxed);
                if record.orphans.lock().remove(&job.id) {
                    *record.last_orphan.lock() = Some(Instant::now());
                }
            }
        }
        Ok(())
    }
}

/// Twenty callers with equal shares: jobs a second.
async fn throughput(fleet: &mut Fleet, size: Size) -> Result<f64> {
    fleet.add_provers(size);
    let began = Instant::now();
    fleet.submit(size.jobs, CALLERS, size.provers).await?;
    fleet.wait_for(size.jobs).await;
    Ok(count(size.jobs) / began.elapsed().as_secs_f64())
}

/// One caller with many jobs, and nine with one at a time: the longest wait of these nine.
async fn fairness(fleet: &mut Fleet, size: Size) -> Result<Duration> {
    fleet.submit(FLOOD * size.provers, 1, usize::MAX).await?;
    fleet.add_provers(size);
    let mut small = JoinSet::new();
    for number in 0..SMALL_CALLERS {
        let (queue, record) = (fleet.queue.clone(), Arc::clone(&fleet.record));
        small.spawn(async move {
            for _ in 0..SMALL_JOBS {
                let id = submit(&queue, &record, &format!("key:small {number}"), true).await?;
                while record.watched.lock().contains_key(&id) {
                    sleep(LOOK).await;
                }
            }
            Result::Ok(())
        });
    }
    while let Some(ended) = small.join_next().await {
        ended??;
    }
    fleet.wait_for(fleet.record.submitted.load(Relaxed)).await;
    fleet.record.waits.lock().iter().max().copied().ok_or_else(|| "no job of a small caller started".into())
}

/// Half of the provers vanish: the time until others have done their jobs.
async fn recovery(fleet: &mut Fleet, size: Size) -> Result<Duration> {
    let jobs = size.provers * 3;
    fleet.submit(jobs, CALLERS, usize::MAX).await?;
    fleet.add_provers(size);
    while fleet.record.started.load(Relaxed) < size.provers {
        sleep(LOOK).await;
    }
    let vanished = Instant::now();
    fleet.vanish.cancel();
    fleet.wait_for(jobs).await;
    let last = (*fleet.record.last_orphan.lock()).ok_or("no prover had a job when it vanished")?;
    Ok(last - vanished)
}

#[tokio::main]
async fn main() -> Result<()> {
    let mut words = std::env::args().skip(1);
    let usage = "fleet URL JOBS PROVERS WORK_MS";
    let url = words.next().ok_or(usage)?;
    let mut number = || words.next()?.parse::<usize>().ok();
    let (Some(jobs), Some(provers), Some(work_ms)) = (number(), number(), number()) else {
        return Err(usage.into());
    };
    let size = Size { jobs, provers, work: Duration::from_millis(u64::try_from(work_ms)?) };
    let database = Database::open(&DatabaseLocation::Postgres(url.parse()?)).await?;

    let mut fleet = Fleet::start(&database, Rules::default().lease.length).await?;
    let jobs_per_second = throughput(&mut fleet, size).await?;
    let [claims, submits] = [&fleet.record.claims, &fleet.record.submits].map(|times| {
        let mut times = times.lock().clone();
        times.sort_unstable();
        times
    });
    let completed = fleet.end(0).await?;
    let mut fleet = Fleet::start(&database, Rules::default().lease.length).await?;
    let small_wait_max = fairness(&mut fleet, size).await?;
    let completed = fleet.end(completed).await?;
    let mut fleet = Fleet::start(&database, SHORT_LEASE).await?;
    let recovered = recovery(&mut fleet, size).await?;
    fleet.end(completed).await?;
    database.close().await;
    println!(
        "{}",
        serde_json::json!({
            "jobs_per_second": jobs_per_second,
            "claim_p50_ms": ms(quantile(&claims, 50)),
            "claim_p99_ms": ms(quantile(&claims, 99)),
            "submit_p50_ms": ms(quantile(&submits, 50)),
            "small_wait_max_ms": ms(small_wait_max),
            "recovered_ms": ms(recovered),
            "lease_ms": ms(SHORT_LEASE),
            "work_ms": work_ms,
        })
    );
    Ok(())
}

/// A percentile of sorted times.
fn quantile(times: &[Duration], percent: usize) -> Duration {
    times.get((times.len() * percent / 100).min(times.len().saturating_sub(1))).copied().unwrap_or_default()
}

fn ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}

#[expect(clippy::cast_precision_loss, reason = "some ten thousand jobs")]
fn count(jobs: usize) -> f64 {
    jobs as f64
}
