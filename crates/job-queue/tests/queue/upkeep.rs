//! What is done from time to time.

use std::{
    collections::HashSet,
    sync::{Arc, Mutex},
    time::Duration,
};

use async_trait::async_trait;
use edgeprove_job_queue::{
    queue::{Change, JobOutcome, JobQueue as _},
    sql_queue::SqlQueue,
    store::Durability,
    upkeep::{ArtifactRemover, Intervals, Kept, RemoveError, TidyError, Upkeep},
};
use edgeprove_job_rules::{
    bounds::Bounds, expiry::Retention, job::NewJob, lease::LeaseTerms, retry::Backoff, transition::Rules,
};
use edgeprove_protocol::JobStatus;
use edgeprove_telemetry::supervisor::Supervisor;

use crate::support::{Fixture, PATIENCE, PROVES, claim, hear, job, submit};

/// A store of artefacts that remembers what it was told.
#[derive(Default)]
struct Artifacts {
    removed: Mutex<Vec<String>>,
    named: Mutex<HashSet<String>>,
    is_away: Mutex<bool>,
}

#[async_trait]
impl ArtifactRemover for Artifacts {
    async fn remove(&self, name: &str) -> Result<(), RemoveError> {
        if *self.is_away.lock().unwrap() {
            return Err(RemoveError("away".into()));
        }
        self.removed.lock().unwrap().push(name.to_owned());
        Ok(())
    }

    async fn remove_others(&self, named: &HashSet<String>, _: Duration) -> Result<usize, RemoveError> {
        self.named.lock().unwrap().clone_from(named);
        Ok(1)
    }
}

type Record = Arc<Mutex<Vec<Kept>>>;

fn upkeep(queue: &SqlQueue, artifacts: &Arc<Artifacts>, intervals: Intervals) -> (Upkeep, Record) {
    let record = Record::default();
    let keep = Arc::clone(&record);
    let artifacts: Arc<dyn ArtifactRemover> = Arc::clone(artifacts) as _;
    let lost = "the worker is gone".to_owned();
    let upkeep =
        Upkeep::new(queue.clone(), artifacts, intervals, lost, move |kept| keep.lock().unwrap().push(kept));
    (upkeep, record)
}

fn completed() -> JobOutcome {
    JobOutcome::Completed { result: Some("proof".to_owned()), outcome: "well".to_owned() }
}

/// Everything is over the moment it happens.
fn nothing_lasts() -> Rules {
    let retention = Retention { results: Duration::ZERO, tombstones: Duration::ZERO };
    Rules { retention, ..Rules::default() }
}

#[tokio::test]
async fn what_is_over_goes_with_its_artefacts() {
    for database in Fixture::all().await {
        let queue = database.queue_with(nothing_lasts(), Bounds::default()).await;
        let artifacts = Arc::default();
        let (upkeep, record) = upkeep(&queue, &artifacts, Intervals::of(&nothing_lasts()));
        let waiting = submit(&queue, NewJob { subject: "other".to_owned(), ..job() }).await;
        let done = submit(&queue, job()).await;
        queue.cancel(waiting.id, None).await.unwrap();
        let held = claim(&queue).await;
        assert_eq!(held.id, done.id);
        queue.end(done.id, held.lease_token, completed()).await.unwrap();
        let kept = submit(&queue, job()).await;
        upkeep.tidy().await.unwrap();
        assert_eq!(queue.get(done.id).await.unwrap(), None, "{}", database.name);
        assert_eq!(queue.get(waiting.id).await.unwrap(), None);
        assert_eq!(queue.get(kept.id).await.unwrap(), Some(kept.clone()));
        let removed: HashSet<_> = artifacts.removed.lock().unwrap().iter().cloned().collect();
        assert_eq!(removed, HashSet::from([done.input.unwrap(), waiting.input.unwrap(), "proof".to_owned()]));
        let Some(Kept::Expired(expired)) = record.lock().unwrap().pop() else {
            panic!("nothing is recorded")
        };
        assert_eq!(HashSet::<_>::from_iter(expired), HashSet::from([done.id, waiting.id]));
        upkeep.remove_orphans().await.unwrap();
        assert_eq!(*artifacts.named.lock().unwrap(), HashSet::from([kept.input.unwrap()]));
        database.remove().await;
    }
}

#[tokio::test]
async fn an_artefact_is_named_until_it_is_gone() {
    for database in Fixture::all().await {
        let queue = database.queue_with(nothing_lasts(), Bounds::default()).await;
        let artifacts: Arc<Artifacts> = Arc::default();
        let (upkeep, _) = upkeep(&queue, &artifacts, Intervals::of(&nothing_lasts()));
        let id = submit(&queue, job()).await.id;
        queue.cancel(id, None).await.unwrap();
        *artifacts.is_away.lock().unwrap() = true;
        assert!(matches!(upkeep.tidy().await, Err(TidyError::Remove(_))), "{}", database.name);
        let seen = queue.get(id).await.unwrap().unwrap();
        assert_eq!((seen.status, seen.input.is_some()), (JobStatus::Expired, true));
        *artifacts.is_away.lock().unwrap() = false;
        upkeep.tidy().await.unwrap();
        assert_eq!(queue.get(id).await.unwrap(), None);
        database.remove().await;
    }
}

#[tokio::test]
async fn a_job_whose_worker_fell_silent_is_taken_up_and_in_the_end_given_up() {
    for database in Fixture::all().await {
        let rules = Rules {
            lease: LeaseTerms { length: Duration::from_millis(400) },
            backoff: Backoff { base: Duration::ZERO, cap: Duration::ZERO },
            ..Rules::default()
        };
        let queue = database.queue_with(rules, Bounds::default()).await;
        let (upkeep, record) = upkeep(&queue, &Arc::default(), Intervals::of(&rules));
        let supervisor = Supervisor::default();
        upkeep.start(&supervisor);
        let mut changes = queue.changes();
        let id = submit(&queue, NewJob { max_attempts: 2, ..job() }).await.id;
        let first = claim(&queue).await;
        let again = tokio::time::timeout(PATIENCE, async {
            loop {
                hear(&mut changes, Change::Job(id)).await;
                if let Some(again) = queue.claim("another", &PROVES).await.unwrap() {
                    return again;
                }
            }
        });
        let again = again.await.unwrap();
        assert_eq!((again.id, again.attempts), (id, 2), "{}", database.name);
        assert_eq!(queue.end(id, first.lease_token, completed()).await.unwrap(), None);
        let over = tokio::time::timeout(PATIENCE, async {
            loop {
                hear(&mut changes, Change::Job(id)).await;
                let seen = queue.get(id).await.unwrap().unwrap();
                if seen.status.is_finished() {
                    return seen;
                }
            }
        });
        let over = over.await.unwrap();
        assert_eq!((over.status, over.outcome.as_deref()), (JobStatus::Failed, Some("the worker is gone")));
        supervisor.stop().await;
        let lost = record.lock().unwrap().iter().filter(|kept| matches!(kept, Kept::LeasesLost(_))).count();
        assert_eq!(lost, 2);
        database.remove().await;
    }
}

#[tokio::test]
async fn a_lone_server_takes_up_at_once_what_a_dead_one_had_begun() {
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
async fn a_clock_that_went_back_leaves_no_job_behind() {
    for database in Fixture::all().await {
        let queue = database.queue().await;
        let job = submit(&queue, job()).await;
        let mut session = queue.database().session(Durability::Write).await.unwrap();
        let future = "UPDATE jobs SET enqueued_at = enqueued_at + 86400000, run_at = run_at + 86400000";
        session.rows(future, []).await.unwrap();
        drop(session);
        assert_eq!(queue.claim("w", &PROVES).await.unwrap(), None, "{}", database.name);
        let mut changes = queue.changes();
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
