//! What servers on one PostgreSQL tell each other.

use std::time::{Duration, Instant};

use edgeprove_job_queue::{Change, JobOutcome};
use edgeprove_telemetry::supervisor::Supervisor;
use futures_util::future::join_all;

use crate::support::{Fixture, PROVES, claim, completed, hear, job, submit};

#[tokio::test]
async fn what_one_server_does_the_other_hears() {
    let Some(database) = Fixture::postgres().await else { return };
    let (here, there) = (database.queue().await, database.queue().await);
    let supervisor = Supervisor::default();
    let mut changes = there.subscribe();
    there.follow_other_servers(&supervisor);
    hear(&mut changes, Change::Unknown).await;

    let mut took = Vec::new();
    for _ in 0..20 {
        let begun = Instant::now();
        let id = submit(&here, job()).await.id;
        hear(&mut changes, Change::Work).await;
        took.push(begun.elapsed());
        here.cancel(id, None).await.unwrap();
        hear(&mut changes, Change::Job(id)).await;
    }
    took.sort();
    eprintln!("from asking to hearing elsewhere: median {:?}, longest {:?}", took[10], took[19]);
    // Whoever polls would not hear of it for a second.
    assert!(took[10] < Duration::from_millis(500), "{took:?}");

    let id = submit(&here, job()).await.id;
    let held = claim(&here).await;
    hear(&mut changes, Change::Job(id)).await;
    here.report_stage(id, held.lease_token, "proving").await.unwrap();
    hear(&mut changes, Change::Job(id)).await;
    here.finish(id, held.lease_token, &JobOutcome::Released).await.unwrap();
    hear(&mut changes, Change::Work).await;
    supervisor.stop().await;
    database.remove().await;
}

#[tokio::test]
async fn a_server_hears_its_own_words_once() {
    let Some(database) = Fixture::postgres().await else { return };
    let (here, there) = (database.queue().await, database.queue().await);
    let supervisor = Supervisor::default();
    let mut changes = here.subscribe();
    here.follow_other_servers(&supervisor);
    hear(&mut changes, Change::Unknown).await;
    let own = submit(&here, job()).await.id;
    let other = submit(&there, job()).await.id;
    let mut heard = Vec::new();
    while heard.last() != Some(&Change::Job(other)) {
        heard.push(changes.recv().await.unwrap());
    }
    assert_eq!(heard, [Change::Job(own), Change::Work, Change::Job(other)]);
    supervisor.stop().await;
    database.remove().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_goes_to_one_worker_however_many_ask() {
    for database in Fixture::all().await {
        // A second server where there can be one.
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
                    let ending = completed(None);
                    queue.finish(job.id, job.lease_token, &ending).await.unwrap().expect("it is still ours");
                    done.push(job.id);
                }
                done
            }
        });
        let mut done: Vec<_> = join_all(workers).await.into_iter().flatten().collect();
        assert_eq!(done.len(), 40, "{}", database.name);
        done.sort();
        done.dedup();
        assert_eq!(done.len(), 40, "a job was done twice");
        database.remove().await;
    }
}
