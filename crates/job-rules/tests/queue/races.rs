//! Many connections that execute statements at the same time.

use std::{collections::BTreeSet, future::Future, sync::Arc, time::Duration};

use edgeprove_job_rules::{
    capability::Capability,
    idempotency::{BodyDigest, Idempotency},
    job::NewJob,
    queue_bounds::{Bounds, Full},
    time::UnixMillis,
};
use edgeprove_protocol::{JobId, JobStatus, Priority};
use tokio::{runtime::Builder, sync::Barrier, task::JoinSet};

use crate::{
    database::Location,
    model::RULES,
    queue::{Intake, Queue},
};

const NOW: UnixMillis = UnixMillis(1_700_000_000_000);
const LARGE: Bounds = Bounds { queued_max: 1_000, unfinished_per_account_max: 1_000, has_shares: false };
const PROVES: [Capability; 1] = [Capability::all_of("prove")];
const AT_ONCE: u8 = 8;

fn job(number: u8) -> NewJob {
    NewJob {
        id: JobId::new(None, [number; 16]).unwrap(),
        kind: "prove".to_owned(),
        subject: "maze".to_owned(),
        version: "1".to_owned(),
        owner: format!("owner {}", number % 3),
        account: format!("account {}", number % 3),
        priority: Priority::ALL[usize::from(number % 4)],
        max_attempts: 1_000,
        idempotency: None,
        payload: String::new(),
        input: None,
    }
}

/// Runs a test on SQLite in a file.
fn on_sqlite<F: Future<Output = ()>>(test: fn(Location) -> F) {
    let folder = tempfile::tempdir().unwrap();
    run(&Location::file(&folder.path().join("queue.db")), test);
}

/// Runs a test on PostgreSQL, if it is installed.
fn on_postgres<F: Future<Output = ()>>(test: fn(Location) -> F) {
    if let Some(location) = Location::postgres() {
        run(&location, test);
    }
}

fn run<F: Future<Output = ()>>(location: &Location, test: fn(Location) -> F) {
    let runtime = Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        drop(location.create().await);
        test(location.clone()).await;
        location.remove().await;
    });
}

async fn connect(location: &Location) -> Queue {
    Queue { database: location.connect().await, rules: RULES }
}

/// Runs a function [`AT_ONCE`] times at the same time, each on a connection of its own. Returns the results.
async fn at_once<T, F>(location: &Location, each: impl Fn(u8, Queue) -> F) -> Vec<T>
where
    T: Send + 'static,
    F: Future<Output = T> + Send + 'static,
{
    let mut tasks = JoinSet::new();
    for number in 0..AT_ONCE {
        tasks.spawn(each(number, connect(location).await));
    }
    tasks.join_all().await
}

async fn the_bound_is_exact(location: Location) {
    let bounds = Bounds { queued_max: 5, ..LARGE };
    let start = Arc::new(Barrier::new(AT_ONCE.into()));
    let answers = at_once(&location, move |number, mut queue| {
        let start = start.clone();
        async move {
            let mut answers = Vec::new();
            for further in 0..5 {
                start.wait().await;
                answers.push(queue.enqueue(&job(number * 5 + further), bounds, NOW).await);
            }
            answers
        }
    });
    let answers: Vec<_> = answers.await.into_iter().flatten().collect();
    let accepted = answers.iter().filter(|answer| matches!(answer, Intake::Accepted(_))).count();
    assert_eq!(accepted, 5, "{answers:?}");
    let refused = answers.iter().filter(|answer| **answer == Intake::Full(Full::Queue { queued: 5 })).count();
    assert_eq!(refused, 35, "{answers:?}");
}

async fn one_idempotency_key_creates_one_job(location: Location) {
    let answers = at_once(&location, |number, mut queue| async move {
        let named = Idempotency { key: "order 7".parse().unwrap(), body: BodyDigest([7; 32]) };
        let job = NewJob { account: "key:alice".to_owned(), idempotency: Some(named), ..job(number) };
        queue.enqueue(&job, LARGE, NOW).await
    });
    let answers = answers.await;
    let accepted: Vec<_> = answers.iter().filter(|answer| matches!(answer, Intake::Accepted(_))).collect();
    let [Intake::Accepted(id)] = *accepted else { panic!("{answers:?}") };
    let known = answers.iter().filter(|answer| **answer == Intake::Known(*id)).count();
    assert_eq!(known, usize::from(AT_ONCE) - 1, "{answers:?}");
}

async fn each_job_is_claimed_once(location: Location) {
    let mut queue = connect(&location).await;
    for number in 0..120 {
        queue.enqueue(&job(number), LARGE, NOW).await;
    }
    let claims = at_once(&location, |number, mut queue| async move {
        let mut claims = Vec::new();
        while let Some(job) = queue.claim(&format!("worker {number}"), &PROVES, NOW).await {
            claims.push((job.rank, job.turn, job.id));
        }
        claims
    });
    let claims = claims.await;
    for own in &claims {
        assert!(own.is_sorted_by_key(|(rank, turn, _)| (*rank, *turn)), "{own:?}");
    }
    let claimed: Vec<_> = claims.into_iter().flatten().map(|(.., id)| id).collect();
    assert_eq!(claimed.len(), 120);
    assert_eq!(claimed.into_iter().collect::<BTreeSet<_>>().len(), 120, "no job twice");
}

/// Two connections end all leases again and again, while the others claim and complete the jobs.
async fn each_job_is_completed_once(location: Location) {
    let mut queue = connect(&location).await;
    for number in 0..40 {
        queue.enqueue(&job(number), LARGE, NOW).await;
    }
    let completions = at_once(&location, |number, mut queue| async move {
        let (mut completed, mut lost) = (Vec::new(), 0);
        if number < 2 {
            for _ in 0..100 {
                lost += queue.reap(UnixMillis::MAX, NOW, "worker lost", NOW).await.len();
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
            return (completed, lost);
        }
        loop {
            let Some(job) = queue.claim("worker", &PROVES, NOW).await else {
                if queue.queued().await.is_empty()
                    && queue.counts().await.iter().all(|(_, status, ..)| status.is_finished())
                {
                    return (completed, lost);
                }
                continue;
            };
            queue.heartbeat(job.id, job.lease_token, NOW).await;
            tokio::time::sleep(Duration::from_millis(2)).await;
            if let Some(status) = queue.complete(job.id, job.lease_token, None, "done", NOW).await {
                assert_eq!(status, JobStatus::Completed);
                completed.push(job.id);
            }
        }
    });
    let completions = completions.await;
    let lost: usize = completions.iter().map(|(_, lost)| lost).sum();
    assert!(lost > 0, "no lease was ever lost");
    let completed: Vec<_> = completions.into_iter().flat_map(|(completed, _)| completed).collect();
    assert_eq!(completed.len(), 40, "{lost} leases were lost");
    assert_eq!(completed.into_iter().collect::<BTreeSet<_>>().len(), 40, "no job twice");
}

/// A batch has at most the requested size, and connections that expire jobs at the same time expire each job once.
async fn each_job_is_expired_once(location: Location) {
    let mut queue = connect(&location).await;
    for number in 0..100 {
        queue.enqueue(&job(number), LARGE, NOW).await;
        queue.cancel(JobId::new(None, [number; 16]).unwrap(), None, NOW).await;
    }
    let expired = at_once(&location, |_, mut queue| async move {
        let (mut expired, later) = (Vec::new(), NOW.after(RULES.retention.results));
        loop {
            let batch = queue.expire(7, later).await;
            assert!(batch.len() <= 7, "{} at once", batch.len());
            expired.extend(batch.iter().copied());
            if queue.counts().await.iter().all(|(_, status, ..)| *status == JobStatus::Expired) {
                return expired;
            }
        }
    });
    let expired: Vec<_> = expired.await.into_iter().flatten().collect();
    assert_eq!((expired.len(), expired.into_iter().collect::<BTreeSet<_>>().len()), (100, 100));
    let gone = NOW.after(RULES.retention.results).after(RULES.retention.tombstones);
    assert_eq!(queue.delete(30, gone).await.len(), 30);
    assert_eq!(queue.delete(100, gone).await.len(), 70);
}

macro_rules! on_both {
    ($($test:ident)+) => {
        mod sqlite { $(#[test] fn $test() { super::on_sqlite(super::$test); })+ }
        mod postgres { $(#[test] fn $test() { super::on_postgres(super::$test); })+ }
    };
}

on_both! {
    the_bound_is_exact
    one_idempotency_key_creates_one_job
    each_job_is_claimed_once
    each_job_is_completed_once
    each_job_is_expired_once
}
