//! Workers: an attempt reports its progress, is stopped, fails, and updates the estimates.

use std::{
    num::NonZeroUsize,
    sync::Arc,
    time::{Duration, Instant},
};

use async_trait::async_trait;
use edgeprove_job_queue::{
    JobOutcome, SqlQueue,
    attempt::Attempt,
    events::IgnoreEvents,
    job_view::{JobView, JobViews},
    kind::{JobKind, JobKinds, Work},
    runner::{Drain, Runner, WorkerSettings},
    watchers::{JobWatchers, Watcher},
};
use edgeprove_job_rules::{
    backoff::Backoff,
    estimator::DurationEstimator,
    job::{Job, NewJob},
    lease::LeaseTerms,
    progress::Stage,
    queue_bounds::Bounds,
    transition::Rules,
};
use edgeprove_protocol::{JobId, JobStatus, Priority};
use edgeprove_telemetry::supervisor::Supervisor;
use tokio::{
    sync::Notify,
    time::{sleep, timeout},
};

use crate::support::{Fixture, LIMIT, PROVES, claim, job, problem, submit};

const STAGES: &[Stage] = &[
    Stage { name: "loading", percent: 2, is_timed: false },
    Stage { name: "working", percent: 10, is_timed: true },
];

/// A kind whose jobs do what their payload names.
struct Scripted {
    may_end: Arc<Notify>,
}

#[async_trait]
impl JobKind for Scripted {
    fn name(&self) -> &'static str {
        "prove"
    }

    fn stages(&self) -> &'static [Stage] {
        STAGES
    }

    fn work_of(&self, job: &Job) -> Option<Work> {
        let took = Duration::from_millis(job.completion().ok()?);
        Some(Work { subject: job.subject.clone(), took })
    }

    async fn run(&self, job: &Job, attempt: &Attempt) -> JobOutcome {
        attempt.report_stage("working");
        match job.payload.as_str() {
            "wait" => self.may_end.notified().await,
            "panic" => panic!("this job panics on purpose"),
            "fail" => return JobOutcome::Failed(problem("on purpose")),
            _ => {}
        }
        JobOutcome::completed(None, 2_000).unwrap()
    }
}

/// A server with one worker.
struct Server {
    queue: SqlQueue,
    watchers: Arc<JobWatchers>,
    estimator: Arc<DurationEstimator>,
    may_end: Arc<Notify>,
    supervisor: Supervisor,
}

impl Server {
    fn start(queue: SqlQueue) -> Self {
        let may_end = Arc::new(Notify::new());
        let kind: Arc<dyn JobKind> = Arc::new(Scripted { may_end: Arc::clone(&may_end) });
        let kinds = JobKinds::new([kind]);
        let estimator = Arc::new(DurationEstimator::new(NonZeroUsize::MIN));
        let views = Arc::new(JobViews::new(queue.clone(), kinds.clone(), Arc::clone(&estimator)));
        let watchers = Arc::new(JobWatchers::new(queue.clone(), views));
        let supervisor = Supervisor::default();
        let (running, stop) = (Arc::clone(&watchers), supervisor.stop_token().clone());
        supervisor.spawn("notify job watchers", async move { running.run(&stop).await });
        let settings = WorkerSettings {
            holder: "test".to_owned(),
            lease: queue.rules().lease,
            workers: NonZeroUsize::MIN,
        };
        let runner =
            Runner::new(queue.clone(), kinds, Arc::clone(&watchers), Arc::new(IgnoreEvents), settings);
        runner.start(Drain::default(), &supervisor);
        Self { queue, watchers, estimator, may_end, supervisor }
    }

    async fn submit(&self, payload: &str) -> (JobId, Watcher) {
        let new = NewJob { payload: payload.to_owned(), max_attempts: 1, ..job() };
        let id = submit(&self.queue, new).await.id;
        (id, self.watchers.watch(id).await.unwrap().expect("it was submitted"))
    }
}

/// Waits for a view that fits.
async fn until(watcher: &mut Watcher, fits: impl Fn(&JobView) -> bool) -> Arc<JobView> {
    let fitting = watcher.wait_for(|view| view.as_deref().is_some_and(&fits));
    let view = timeout(LIMIT, fitting).await.expect("such a view is published").unwrap();
    Arc::clone(view.as_ref().unwrap())
}

fn is_over(view: &JobView) -> bool {
    view.job.status.is_finished()
}

#[tokio::test]
async fn watchers_see_percent_rise_within_a_stage() {
    let database = Fixture::memory();
    let server = Server::start(database.queue().await);
    server.estimator.record("prove", "maze", Duration::from_secs(2), Instant::now());
    let (id, mut watcher) = server.submit("wait").await;
    let view = until(&mut watcher, |view| view.percent > 10).await;
    assert_eq!((view.job.status, view.job.stage.as_deref()), (JobStatus::Running, Some("working")));
    let later = until(&mut watcher, |later| later.percent > view.percent).await;
    assert_eq!(later.job.lease_token, view.job.lease_token);
    let stored = server.queue.get(id).await.unwrap().unwrap();
    assert_eq!(stored.stage.as_deref(), Some("working"), "the database has the stage by now");
    server.may_end.notify_one();
    let done = until(&mut watcher, is_over).await;
    assert_eq!((done.job.status, done.percent, done.remaining), (JobStatus::Completed, 100, None));
    server.supervisor.stop().await;
}

/// Every write that is not needed takes a turn of the writer from other jobs.
#[tokio::test]
async fn a_new_stage_renews_no_lease() {
    let database = Fixture::memory();
    let lease = LeaseTerms { length: Duration::from_hours(1) };
    let server =
        Server::start(database.queue_with(Rules { lease, ..Rules::default() }, Bounds::default()).await);
    let (id, _watcher) = server.submit("wait").await;
    let stored = async {
        loop {
            let job = server.queue.get(id).await.unwrap().unwrap();
            if job.stage.as_deref() == Some("working") {
                return job;
            }
            sleep(Duration::from_millis(5)).await;
        }
    };
    let mut stored = timeout(LIMIT, stored).await.expect("the stage is stored");
    // A renewal would come at once, on the same connection.
    for _ in 0..20 {
        stored = server.queue.get(id).await.unwrap().unwrap();
    }
    let claimed = lease.until(stored.started_at.unwrap());
    assert_eq!(stored.lease.map(|lease| lease.until), Some(claimed), "the lease is as it was claimed");
    server.supervisor.stop().await;
}

#[tokio::test]
async fn a_cancelled_attempt_is_stopped() {
    for database in Fixture::all().await {
        let server = Server::start(database.queue().await);
        let (id, mut watcher) = server.submit("wait").await;
        until(&mut watcher, |view| view.job.status == JobStatus::Running).await;
        assert_eq!(server.queue.cancel(id, None).await.unwrap(), Some(JobStatus::Running));
        let done = until(&mut watcher, is_over).await;
        assert_eq!(done.job.status, JobStatus::Cancelled, "{}", database.name);
        server.supervisor.stop().await;
        database.remove().await;
    }
}

#[tokio::test]
async fn a_panic_and_a_failure_become_problems() {
    let database = Fixture::memory();
    let rules = Rules { backoff: Backoff { base: Duration::ZERO, cap: Duration::ZERO }, ..Rules::default() };
    let server = Server::start(database.queue_with(rules, Bounds::default()).await);
    for (payload, detail) in [("panic", "the server failed while it ran this job"), ("fail", "on purpose")] {
        let (_, mut watcher) = server.submit(payload).await;
        let done = until(&mut watcher, is_over).await;
        assert_eq!(done.job.status, JobStatus::Failed);
        assert_eq!(done.job.problem().unwrap().unwrap().detail, detail);
        assert!(done.percent < 100, "{}", done.percent);
    }
    server.supervisor.stop().await;
}

#[tokio::test]
async fn a_stopping_server_releases_its_jobs() {
    let database = Fixture::memory();
    let server = Server::start(database.queue().await);
    let (id, mut watcher) = server.submit("wait").await;
    until(&mut watcher, |view| view.job.status == JobStatus::Running).await;
    server.supervisor.stop().await;
    let job = server.queue.get(id).await.unwrap().unwrap();
    assert_eq!((job.status, job.attempts), (JobStatus::Queued, 0));
}

#[tokio::test]
async fn a_new_server_learns_from_completed_jobs() {
    let database = Fixture::memory();
    let queue = database.queue().await;
    let server = Server::start(queue.clone());
    let (_, mut watcher) = server.submit("").await;
    until(&mut watcher, is_over).await;
    server.supervisor.stop().await;
    let other = Server::start(queue);
    let (_, mut watcher) = other.submit("wait").await;
    let view = until(&mut watcher, |view| view.remaining.is_some()).await;
    assert!(view.remaining.unwrap().expected <= Duration::from_secs(4), "{view:?}");
    assert_eq!(other.estimator.expected("prove", "maze").unwrap().expected, Duration::from_secs(2));
    other.supervisor.stop().await;
}

#[tokio::test]
async fn every_server_computes_the_same_progress() {
    // Only such a queue can have several servers.
    let Some(database) = Fixture::postgres().await else { return };
    let server = Server::start(database.queue().await);
    server.estimator.record("prove", "maze", Duration::from_secs(2), Instant::now());
    // Another server learnt that such jobs take long.
    let estimator = Arc::new(DurationEstimator::new(NonZeroUsize::MIN));
    estimator.record("prove", "maze", Duration::from_hours(1), Instant::now());
    let kind: Arc<dyn JobKind> = Arc::new(Scripted { may_end: Arc::default() });
    let other = JobViews::new(database.queue().await, JobKinds::new([kind]), estimator);
    let (id, mut watcher) = server.submit("wait").await;
    let mut seen = until(&mut watcher, |view| view.percent > 10).await;
    let stored = async || server.queue.get(id).await.unwrap().unwrap().stage.is_some();
    timeout(LIMIT, async { while !stored().await {} }).await.expect("the stage is stored");
    let mut polled = vec![other.find(id).await.unwrap().unwrap()];
    for _ in 0..8 {
        seen = until(&mut watcher, |view| view.percent > seen.percent).await;
        polled.push(server.watchers.views().find(id).await.unwrap().unwrap());
        polled.push(other.find(id).await.unwrap().unwrap());
        let last = polled.last().unwrap();
        assert!(last.percent >= seen.percent, "{}: {last:?} after {seen:?}", database.name);
    }
    assert!(polled.is_sorted_by_key(|view| view.percent), "{}: {polled:?}", database.name);
    let remaining: Vec<_> = polled.iter().map(|view| view.remaining.unwrap().expected).collect();
    assert!(remaining.is_sorted_by(|earlier, later| earlier >= later), "{remaining:?}");
    assert!(remaining[0] < Duration::from_secs(2) && remaining[0] > remaining[8], "{remaining:?}");
    server.may_end.notify_one();
    assert_eq!(until(&mut watcher, is_over).await.percent, 100);
    server.supervisor.stop().await;
    database.remove().await;
}

#[tokio::test]
async fn a_callers_first_job_starts_next() {
    for database in Fixture::all().await {
        let queue = database.queue().await;
        let of = |account: &str| NewJob { account: account.to_owned(), ..job() };
        let mut of_alice = Vec::new();
        for _ in 0..20 {
            of_alice.push(submit(&queue, of("alice")).await.id);
        }
        assert_eq!(claim(&queue).await.id, of_alice[0]);
        let of_bob = [submit(&queue, of("bob")).await.id, submit(&queue, of("bob")).await.id];
        let next = queue.position_of_next("carol", Priority::Normal, &PROVES).await.unwrap();
        assert_eq!(next.number(), 2, "{}", database.name);
        let order = [of_bob[0], of_alice[1], of_bob[1], of_alice[2], of_alice[3]];
        let queued: Vec<_> = queue.queued(5).await.unwrap().into_iter().map(|queued| queued.id).collect();
        assert_eq!(queued, order, "{}", database.name);
        for (number, id) in order.into_iter().enumerate() {
            let position = queue.position(id, &PROVES).await.unwrap().unwrap();
            assert_eq!(position.number(), number as u64 + 1, "{}", database.name);
            let none = queue.position(id, &[]).await.unwrap().unwrap();
            assert_eq!(none.number(), 1, "jobs that no worker takes delay nobody");
        }
        for id in order {
            assert_eq!(claim(&queue).await.id, id, "{}", database.name);
        }
        database.remove().await;
    }
}
