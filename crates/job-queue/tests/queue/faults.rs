//! A PostgreSQL server that is stopped and started again.

use std::{fs, time::Duration};

use edgeprove_job_queue::{Change, LeaseStatus, QueueError, SqlQueue, store::Database};
use edgeprove_protocol::JobStatus;
use edgeprove_telemetry::supervisor::Supervisor;
use edgeprove_testkit::postgres::{Cluster, Stop};
use tokio::net::UnixListener;

use crate::support::{Fixture, LIMIT, claim, completed, hear, job, submit};

async fn retry_while_unavailable<T>(call: impl AsyncFn() -> Result<T, QueueError>) -> T {
    let attempts = async {
        loop {
            match call().await {
                Ok(result) => return result,
                Err(QueueError(error)) => assert!(error.is_transient(), "{error:?}"),
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(LIMIT, attempts).await.expect("PostgreSQL is available again")
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
    let still = retry_while_unavailable(async || queue.heartbeat(held.id, held.lease_token).await).await;
    assert_eq!(still, LeaseStatus::Held, "no other worker has claimed the job");
    let done = || completed(None);
    let ended =
        retry_while_unavailable(async || queue.finish(held.id, held.lease_token, &done()).await).await;
    assert_eq!(ended, Some(JobStatus::Completed));
    let next_held = claim(queue).await;
    assert_eq!(next_held.id, next.id, "the accepted job is still queued");
    assert_eq!(
        queue.finish(next.id, next_held.lease_token, &done()).await.unwrap(),
        Some(JobStatus::Completed)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restarted_postgresql_is_used_again() {
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
async fn a_starting_server_waits_for_its_database() {
    let Some(cluster) = tokio::task::spawn_blocking(Cluster::start).await.unwrap() else { return };
    let database = Fixture::schema_in(&cluster.url()).await;
    cluster.stop(Stop::Fast);
    // A socket at PostgreSQL's path shows when the server connects. The first connection is closed without an answer.
    let path = cluster.folder().join(".s.PGSQL.5432");
    let socket = UnixListener::bind(&path).unwrap();
    let (opened, ()) = tokio::join!(Database::open(&database.location), async {
        drop(socket.accept().await.unwrap());
        drop(socket);
        fs::remove_file(&path).unwrap();
        cluster.start_again();
    });
    opened.unwrap().probe().await.unwrap();
}

#[tokio::test]
async fn servers_that_start_together_create_the_tables_once() {
    let Some(database) = Fixture::postgres().await else { return };
    let opening = (0..6).map(|_| Database::open(&database.location));
    for opened in futures_util::future::join_all(opening).await {
        opened.unwrap();
    }
    let queue = database.queue().await;
    submit(&queue, job()).await;
    database.remove().await;
}
