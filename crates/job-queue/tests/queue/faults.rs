//! A PostgreSQL that goes away and comes back.

use std::time::Duration;

use edgeprove_job_queue::{Change, LeaseStatus, QueueError, SqlQueue, store::Database};
use edgeprove_protocol::JobStatus;
use edgeprove_telemetry::supervisor::Supervisor;
use edgeprove_testkit::postgres::{Cluster, Stop};

use crate::support::{Fixture, PATIENCE, claim, completed, hear, job, submit};

async fn try_until_it_works<T>(asked: impl AsyncFn() -> Result<T, QueueError>) -> T {
    let trying = async {
        loop {
            match asked().await {
                Ok(answer) => return answer,
                Err(QueueError(error)) => assert!(error.is_transient(), "{error:?}"),
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(PATIENCE, trying).await.expect("it works in the end")
}

async fn survives(queue: &SqlQueue, cluster: &Cluster, how: Stop) {
    let waiting = submit(queue, job()).await;
    let held = claim(queue).await;
    assert_eq!(held.id, waiting.id);
    let next = submit(queue, job()).await;
    cluster.stop(how);
    let QueueError(away) = queue.get(held.id).await.unwrap_err();
    assert!(away.is_transient(), "{away:?}");
    let QueueError(away) = queue.heartbeat(held.id, held.lease_token).await.unwrap_err();
    assert!(away.is_transient(), "{away:?}");
    cluster.start_again();
    let still = try_until_it_works(async || queue.heartbeat(held.id, held.lease_token).await).await;
    assert_eq!(still, LeaseStatus::Held, "nobody took the job meanwhile");
    let done = || completed(None);
    let ended = try_until_it_works(async || queue.finish(held.id, held.lease_token, &done()).await).await;
    assert_eq!(ended, Some(JobStatus::Completed));
    let next_held = claim(queue).await;
    assert_eq!(next_held.id, next.id, "what was taken in is still there");
    assert_eq!(
        queue.finish(next.id, next_held.lease_token, &done()).await.unwrap(),
        Some(JobStatus::Completed)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_postgresql_that_was_away_is_used_again() {
    let Some(cluster) = tokio::task::spawn_blocking(Cluster::start).await.unwrap() else { return };
    let database = Fixture::schema_in(&cluster.url()).await;
    let (queue, other) = (database.queue().await, database.queue().await);
    let supervisor = Supervisor::default();
    let mut changes = other.subscribe();
    other.follow_other_servers(&supervisor);
    hear(&mut changes, Change::Unknown).await;
    for how in [Stop::Fast, Stop::Immediate] {
        survives(&queue, &cluster, how).await;
        hear(&mut changes, Change::Unknown).await;
        let id = submit(&queue, job()).await.id;
        hear(&mut changes, Change::Job(id)).await;
        queue.cancel(id, None).await.unwrap();
    }
    supervisor.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_starts_waits_for_its_database() {
    let Some(cluster) = tokio::task::spawn_blocking(Cluster::start).await.unwrap() else { return };
    let database = Fixture::schema_in(&cluster.url()).await;
    cluster.stop(Stop::Fast);
    let (opened, ()) = tokio::join!(Database::open(&database.place), async {
        tokio::time::sleep(Duration::from_millis(500)).await;
        cluster.start_again();
    });
    opened.unwrap().probe().await.unwrap();
}

#[tokio::test]
async fn two_servers_that_start_together_make_the_tables_once() {
    let Some(database) = Fixture::postgres().await else { return };
    let opening = (0..6).map(|_| Database::open(&database.place));
    for opened in futures_util::future::join_all(opening).await {
        opened.unwrap();
    }
    let queue = database.queue().await;
    submit(&queue, job()).await;
    database.remove().await;
}
