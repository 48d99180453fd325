//! Notifications between servers on one PostgreSQL.

use edgeprove_job_queue::{Change, JobOutcome};
use edgeprove_telemetry::supervisor::Supervisor;
use futures_util::future::join_all;

use crate::support::{Fixture, PROVES, claim, completed, hear, job, stage, submit};

#[tokio::test]
async fn a_server_is_notified_of_changes_by_another() {
    let Some(database) = Fixture::postgres().await else { return };
    let (here, there) = (database.queue().await, database.queue().await);
    let supervisor = Supervisor::default();
    let mut changes = there.subscribe();
    there.follow_other_servers(&supervisor);
    hear(&mut changes, Change::Unknown).await;

    // Nothing in this process polls the database: only PostgreSQL's notifications can cause these changes.
    for _ in 0..20 {
        let id = submit(&here, job()).await.id;
        hear(&mut changes, Change::Work).await;
        here.cancel(id, None).await.unwrap();
        hear(&mut changes, Change::Job(id)).await;
    }

    let id = submit(&here, job()).await.id;
    let held = claim(&here).await;
    hear(&mut changes, Change::Job(id)).await;
    here.report_stage(id, held.lease_token, &stage("proving")).await.unwrap();
    hear(&mut changes, Change::Job(id)).await;
    here.finish(id, held.lease_token, &JobOutcome::Released).await.unwrap();
    hear(&mut changes, Change::Work).await;
    supervisor.stop().await;
    database.remove().await;
}

#[tokio::test]
async fn a_server_receives_its_own_changes_once() {
    let Some(database) = Fixture::postgres().await else { return };
    let (here, there) = (database.queue().await, database.queue().await);
    let supervisor = Supervisor::default();
    let mut changes = here.subscribe();
    here.follow_other_servers(&supervisor);
    hear(&mut changes, Change::Unknown).await;
    let own = submit(&here, job()).await.id;
    let other = submit(&there, job()).await.id;
    let mut received = Vec::new();
    while received.last() != Some(&Change::Job(other)) {
        received.push(changes.recv().await.unwrap());
    }
    assert_eq!(received, [Change::Job(own), Change::Work, Change::Job(other)]);
    supervisor.stop().await;
    database.remove().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn each_job_is_claimed_by_one_worker() {
    for database in Fixture::all().await {
        // Only PostgreSQL allows a second server.
        let queue = database.queue().await;
        let other = if database.name == "postgres" { database.queue().await } else { queue.clone() };
        for _ in 0..40 {
            submit(&queue, job()).await;
        }
        let workers = (0..8).map(|number| {
            let queue = if number % 2 == 0 { &queue } else { &other };
            async move {
                let mut done = Vec::new();
                while let Some(job) = queue.claim(&format!("worker {number}"), &PROVES).await.unwrap() {
                    let outcome = completed(None);
                    queue
                        .finish(job.id, job.lease_token, &outcome)
                        .await
                        .unwrap()
                        .expect("the lease is held");
                    done.push(job.id);
                }
                done
            }
        });
        let mut done: Vec<_> = join_all(workers).await.into_iter().flatten().collect();
        assert_eq!(done.len(), 40, "{}", database.name);
        done.sort();
        done.dedup();
        assert_eq!(done.len(), 40, "a job was run twice");
        database.remove().await;
    }
}
