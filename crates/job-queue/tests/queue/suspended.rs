//! A process that is suspended for longer than its leases, and goes on.

use std::{collections::HashSet, num::NonZeroUsize, sync::Arc, thread, time::Duration};

use async_trait::async_trait;
use edgeprove_job_queue::{
    JobOutcome, SqlQueue,
    attempt::Attempt,
    events::IgnoreEvents,
    job_view::JobViews,
    kind::{JobKind, JobKinds, Work},
    runner::{Drain, Runner, WorkerSettings},
    upkeep::{ArtifactRemover, Intervals, RemoveError, Upkeep},
    watchers::JobWatchers,
};
use edgeprove_job_rules::{
    estimator::DurationEstimator, job::Job, lease::LeaseTerms, progress::Stage, queue_bounds::Bounds,
    transition::Rules,
};
use edgeprove_protocol::JobStatus;
use edgeprove_telemetry::supervisor::Supervisor;
use tokio::time::{sleep, timeout};

use crate::support::{Fixture, LIMIT, job, problem, submit};

const LEASE: LeaseTerms = LeaseTerms { length: Duration::from_millis(100) };
const WORKERS: NonZeroUsize = NonZeroUsize::new(4).unwrap();
const SUSPENSIONS: u32 = 25;

/// A kind whose jobs report stages without an end.
struct Endless;

#[async_trait]
impl JobKind for Endless {
    fn name(&self) -> &'static str {
        "prove"
    }

    fn stages(&self) -> &'static [Stage] {
        &[Stage { name: "working", percent: 10, is_timed: true }]
    }

    fn work_of(&self, _: &Job) -> Option<Work> {
        None
    }

    async fn run(&self, _: &Job, attempt: &Attempt) -> JobOutcome {
        loop {
            attempt.report_stage("working");
            sleep(Duration::from_millis(1)).await;
        }
    }
}

/// A store without artifacts.
struct NoArtifacts;

#[async_trait]
impl ArtifactRemover for NoArtifacts {
    async fn remove(&self, _: &str) -> Result<(), RemoveError> {
        Ok(())
    }

    async fn remove_others(&self, _: &HashSet<String>, _: Duration) -> Result<usize, RemoveError> {
        Ok(0)
    }
}

/// Starts workers and the upkeep of leases.
fn start(queue: &SqlQueue) -> Supervisor {
    let kinds = JobKinds::new([Arc::new(Endless) as Arc<dyn JobKind>]);
    let estimator = Arc::new(DurationEstimator::new(WORKERS));
    let views = Arc::new(JobViews::new(queue.clone(), kinds.clone(), estimator));
    let watchers = Arc::new(JobWatchers::new(queue.clone(), views));
    let settings = WorkerSettings { holder: "test".to_owned(), lease: LEASE, workers: WORKERS };
    let supervisor = Supervisor::default();
    Runner::new(queue.clone(), kinds, watchers, Arc::new(IgnoreEvents), settings)
        .start(Drain::default(), &supervisor);
    let often = Intervals { leases: LEASE.length / 10, ..Intervals::of(queue.rules()) };
    let (artifacts, lost) = (Arc::new(NoArtifacts), problem("the worker is gone"));
    Upkeep::new(queue.clone(), artifacts, often, &lost, Arc::new(IgnoreEvents)).unwrap().start(&supervisor);
    supervisor
}

/// The tasks of this test share one thread, so that a thread that sleeps is a process that is suspended.
#[tokio::test(flavor = "current_thread")]
async fn a_suspended_process_loses_no_lease() {
    let database = Fixture::memory();
    let queue = database.queue_with(Rules { lease: LEASE, ..Rules::default() }, Bounds::default()).await;
    let supervisor = start(&queue);
    let mut ids = Vec::new();
    for _ in 0..WORKERS.get() {
        ids.push(submit(&queue, job()).await.id);
    }
    for id in &ids {
        let runs = async || queue.get(*id).await.unwrap().unwrap().status == JobStatus::Running;
        timeout(LIMIT, async { while !runs().await {} }).await.expect("the job runs");
    }
    for suspension in 0..SUSPENSIONS {
        // Upkeep ends leases again one length after a suspension. Each suspension comes at another moment of its round.
        sleep(LEASE.length * 3 / 2 + Duration::from_millis(2) * suspension).await;
        thread::sleep(LEASE.length * 2);
        sleep(LEASE.length).await;
        for id in &ids {
            let job = queue.get(*id).await.unwrap().unwrap();
            assert_eq!((job.status, job.attempts), (JobStatus::Running, 1), "suspension {suspension}");
        }
    }
    supervisor.stop().await;
}
