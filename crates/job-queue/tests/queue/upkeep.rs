//! Upkeep: expiry, artifacts, lost leases, and changes of the clock.

use std::{
    collections::HashSet,
    sync::{Arc, Mutex},
    time::Duration,
};

use async_trait::async_trait;
use edgeprove_job_queue::{
    Change, JobOutcome, SqlQueue,
    events::{AttemptEnd, JobEvents, NotRecorded, UpkeepEvent},
    store::Durability,
    upkeep::{ArtifactRemover, Intervals, RemoveError, TidyError, Upkeep},
};
use edgeprove_job_rules::{
    backoff::Backoff,
    expiry::Retention,
    job::{Job, NewJob},
    lease::LeaseTerms,
    queue_bounds::Bounds,
    transition::Rules,
};
use edgeprove_protocol::JobStatus;
use edgeprove_telemetry::supervisor::Supervisor;

use crate::support::{Fixture, LIMIT, PROVES, claim, hear, job, problem, submit};

/// An artifact store that records the removed artifacts.
#[derive(Default)]
pub(crate) struct Artifacts {
    removed: Mutex<Vec<String>>,
    named: Mutex<HashSet<String>>,
    is_unavailable: Mutex<bool>,
}

#[async_trait]
impl ArtifactRemover for Artifacts {
    async fn remove(&self, name: &str) -> Result<(), RemoveError> {
        if *self.is_unavailable.lock().unwrap() {
            return Err(RemoveError("unavailable".into()));
        }
        self.removed.lock().unwrap().push(name.to_owned());
        Ok(())
    }

    async fn remove_others(&self, named: &HashSet<String>, _: Duration) -> Result<usize, RemoveError> {
        self.named.lock().unwrap().clone_from(named);
        Ok(1)
    }
}

/// Records the events of upkeep.
#[derive(Default)]
struct Record(Mutex<Vec<UpkeepEvent>>);

#[async_trait]
impl JobEvents for Record {
    async fn started(&self, _: &Job) -> Result<(), NotRecorded> {
        Ok(())
    }

    async fn ended(&self, _: &Job, _: AttemptEnd<'_>) {}

    fn maintained(&self, event: UpkeepEvent) {
        self.0.lock().unwrap().push(event);
    }
}

fn upkeep(queue: &SqlQueue, artifacts: &Arc<Artifacts>, intervals: Intervals) -> (Upkeep, Arc<Record>) {
    let record = Arc::<Record>::default();
    let events: Arc<dyn JobEvents> = Arc::clone(&record) as _;
    let artifacts: Arc<dyn ArtifactRemover> = Arc::clone(artifacts) as _;
    let lost = problem("the worker is gone");
    (Upkeep::new(queue.clone(), artifacts, intervals, &lost, events).unwrap(), record)
}

fn completed() -> JobOutcome {
    crate::support::completed(Some("proof"))
}

/// Finished jobs expire at once.
fn immediate_expiry() -> Rules {
    let retention = Retention { results: Duration::ZERO, tombstones: Duration::ZERO, ..Retention::default() };
    Rules { retention, ..Rules::default() }
}

#[tokio::test]
async fn expired_jobs_are_removed_with_their_artifacts() {
    for database in Fixture::all().await {
        let queue = database.queue_with(immediate_expiry(), Bounds::default()).await;
        let artifacts = Arc::default();
        let (upkeep, record) = upkeep(&queue, &artifacts, Intervals::of(&immediate_expiry()));
        let waiting = submit(&queue, NewJob { subject: "other".to_owned(), ..job() }).await;
        let done = submit(&queue, job()).await;
        queue.cancel(waiting.id, None).await.unwrap();
        let held = claim(&queue).await;
        assert_eq!(held.id, done.id);
        queue.finish(done.id, held.lease_token, &completed()).await.unwrap();
        let unfinished = submit(&queue, job()).await;
        upkeep.tidy().await.unwrap();
        assert_eq!(queue.get(done.id).await.unwrap(), None, "{}", database.name);
        assert_eq!(queue.get(waiting.id).await.unwrap(), None);
        assert_eq!(queue.get(unfinished.id).await.unwrap(), Some(unfinished.clone()));
        let removed: HashSet<_> = artifacts.removed.lock().unwrap().iter().cloned().collect();
        assert_eq!(removed, HashSet::from([done.input.unwrap(), waiting.input.unwrap(), "proof".to_owned()]));
        let Some(UpkeepEvent::Expired(expired)) = record.0.lock().unwrap().pop() else {
            panic!("no expiry was reported")
        };
        let expired: HashSet<_> = expired.into_iter().map(|job| (job.id, job.kind)).collect();
        assert_eq!(expired, HashSet::from([done.id, waiting.id].map(|id| (id, "prove".to_owned()))));
        upkeep.remove_orphans().await.unwrap();
        assert_eq!(*artifacts.named.lock().unwrap(), HashSet::from([unfinished.input.unwrap()]));
        database.remove().await;
    }
}

#[tokio::test]
async fn an_artifact_is_named_until_it_is_removed() {
    for database in Fixture::all().await {
        let queue = database.queue_with(immediate_expiry(), Bounds::default()).await;
        let artifacts: Arc<Artifacts> = Arc::default();
        let (upkeep, _) = upkeep(&queue, &artifacts, Intervals::of(&immediate_expiry()));
        let id = submit(&queue, job()).await.id;
        queue.cancel(id, None).await.unwrap();
        *artifacts.is_unavailable.lock().unwrap() = true;
        assert!(matches!(upkeep.tidy().await, Err(TidyError::Remove(_))), "{}", database.name);
        let seen = queue.get(id).await.unwrap().unwrap();
        assert_eq!((seen.status, seen.input.is_some()), (JobStatus::Expired, true));
        *artifacts.is_unavailable.lock().unwrap() = false;
        upkeep.tidy().await.unwrap();
        assert_eq!(queue.get(id).await.unwrap(), None);
        database.remove().await;
    }
}

#[tokio::test]
async fn a_job_with_silent_workers_is_retried_and_fails() {
    for database in Fixture::all().await {
        let rules = Rules {
            lease: LeaseTerms { length: Duration::from_secs(2) },
            backoff: Backoff { base: Duration::ZERO, cap: Duration::ZERO },
            ..Rules::default()
        };
        let queue = database.queue_with(rules, Bounds::default()).await;
        let (upkeep, record) = upkeep(&queue, &Arc::default(), Intervals::of(&rules));
        let supervisor = Supervisor::default();
        upkeep.start(&supervisor);
        let mut changes = queue.subscribe();
        let id = submit(&queue, NewJob { max_attempts: 2, ..job() }).await.id;
        let first = claim(&queue).await;
        let again = tokio::time::timeout(LIMIT, async {
            loop {
                hear(&mut changes, Change::Job(id)).await;
                if let Some(again) = queue.claim("another", &PROVES).await.unwrap() {
                    return again;
                }
            }
        });
        let again = again.await.unwrap();
        assert_eq!((again.id, again.attempts), (id, 2), "{}", database.name);
        assert_eq!(queue.finish(id, first.lease_token, &completed()).await.unwrap(), None);
        let over = tokio::time::timeout(LIMIT, async {
            loop {
                hear(&mut changes, Change::Job(id)).await;
                let seen = queue.get(id).await.unwrap().unwrap();
                if seen.status.is_finished() {
                    return seen;
                }
            }
        });
        let over = over.await.unwrap();
        assert_eq!(over.status, JobStatus::Failed);
        assert_eq!(over.problem().unwrap().unwrap().detail, "the worker is gone");
        supervisor.stop().await;
        let is_loss = |event: &&UpkeepEvent| matches!(event, UpkeepEvent::LeasesLost(_));
        let lost = record.0.lock().unwrap().iter().filter(is_loss).count();
        assert_eq!(lost, 2);
        database.remove().await;
    }
}

#[tokio::test]
async fn a_lone_server_recovers_running_jobs_at_once() {
    for database in Fixture::all().await {
        let queue = database.queue().await;
        let (upkeep, _) = upkeep(&queue, &Arc::default(), Intervals::of(&Rules::default()));
        submit(&queue, job()).await;
        claim(&queue).await;
        let recovered = upkeep.recover().await.unwrap();
        assert_eq!(recovered.len(), usize::from(database.name != "postgres"), "{}", database.name);
        database.remove().await;
    }
}

#[tokio::test]
async fn jobs_run_after_the_clock_was_set_back() {
    for database in Fixture::all().await {
        let queue = database.queue().await;
        let job = submit(&queue, job()).await;
        let mut session = queue.database().session(Durability::Write).await.unwrap();
        let future = "UPDATE jobs SET enqueued_at = enqueued_at + 86400000, run_at = run_at + 86400000";
        session.rows(future, []).await.unwrap();
        drop(session);
        assert_eq!(queue.claim("w", &PROVES).await.unwrap(), None, "{}", database.name);
        let mut changes = queue.subscribe();
        let supervisor = Supervisor::default();
        let (upkeep, _) = upkeep(&queue, &Arc::default(), Intervals::of(&Rules::default()));
        upkeep.start(&supervisor);
        hear(&mut changes, Change::Work).await;
        let due = queue.next_due().await.unwrap();
        assert!(due.is_none_or(|due| due <= Backoff::default().cap), "{due:?}");
        let settled = queue.get(job.id).await.unwrap().unwrap();
        assert!(settled.enqueued_at < job.enqueued_at.after(Duration::from_hours(1)));
        supervisor.stop().await;
        database.remove().await;
    }
}
