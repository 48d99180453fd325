//! The queue accepts no job beyond its bounds, no job twice, and no more readers than leave a connection for upkeep.

use std::{collections::HashSet, time::Duration};

use edgeprove_job_queue::{EnqueueError, Enqueued, store::Durability};
use edgeprove_job_rules::{
    idempotency::{BodyDigest, Idempotency},
    job::NewJob,
    queue_bounds::{Bounds, Full},
    transition::Rules,
};
use futures_util::future::join_all;

use crate::support::{Fixture, claim, job, submit};

const FIVE: Bounds = Bounds { queued_max: 5, unfinished_per_account_max: 100, has_shares: false };

/// Submits jobs at the same time, to each of the queues in turn. Returns how many were accepted and how many refused.
async fn submit_together(queues: &[edgeprove_job_queue::sql_queue::SqlQueue], jobs: usize) -> (usize, usize) {
    let submitting = (0..jobs).map(|number| queues[number % queues.len()].enqueue(job(), None));
    let (mut accepted, mut refused) = (0, 0);
    for outcome in join_all(submitting).await {
        match outcome {
            Ok(Enqueued::Accepted(_)) => accepted += 1,
            Err(EnqueueError::Full(Full::Queue { queued: 5 })) => refused += 1,
            other => panic!("{other:?}"),
        }
    }
    (accepted, refused)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_queue_accepts_no_more_jobs_than_its_bound() {
    for database in Fixture::all().await {
        let queue = database.queue_with(Rules::default(), FIVE).await;
        assert_eq!(submit_together(&[queue], 20).await, (5, 15), "{}", database.name);
        database.remove().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn two_servers_on_one_database_share_its_bound() {
    let Some(database) = Fixture::postgres().await else { return };
    let queues = [
        database.queue_with(Rules::default(), FIVE).await,
        database.queue_with(Rules::default(), FIVE).await,
    ];
    assert_eq!(submit_together(&queues, 40).await, (5, 35));
    database.remove().await;
}

#[tokio::test]
async fn an_owner_has_no_more_jobs_than_its_bound() {
    for database in Fixture::all().await {
        let bounds = Bounds { queued_max: 100, unfinished_per_account_max: 2, has_shares: false };
        let queue = database.queue_with(Rules::default(), bounds).await;
        submit(&queue, job()).await;
        submit(&queue, job()).await;
        claim(&queue).await;
        let refused = queue.enqueue(job(), None).await;
        assert!(
            matches!(refused, Err(EnqueueError::Full(Full::Account { unfinished: 2 }))),
            "{}: {refused:?}",
            database.name
        );
        submit(&queue, NewJob { account: "key:bob".to_owned(), ..job() }).await;
        database.remove().await;
    }
}

#[tokio::test]
async fn an_account_leaves_slots_for_others() {
    for database in Fixture::all().await {
        let bounds = Bounds { queued_max: 6, unfinished_per_account_max: 100, has_shares: true };
        let queue = database.queue_with(Rules::default(), bounds).await;
        let of = |account: &str| NewJob { account: account.to_owned(), ..job() };
        for (account, share) in [("a", 3), ("b", 2), ("c", 1)] {
            for _ in 0..share {
                submit(&queue, of(account)).await;
            }
            let refused = queue.enqueue(of(account), None).await;
            assert!(
                matches!(refused, Err(EnqueueError::Full(_))),
                "{}: {account}: {refused:?}",
                database.name
            );
        }
        // A running job takes no place of the queue.
        claim(&queue).await;
        submit(&queue, of("d")).await;
        database.remove().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_idempotency_key_creates_one_job() {
    let named = |body| {
        let idempotency = Idempotency { key: "order 7".parse().unwrap(), body: BodyDigest([body; 32]) };
        NewJob { idempotency: Some(idempotency), ..job() }
    };
    for database in Fixture::all().await {
        let queue = database.queue_with(Rules::default(), FIVE).await;
        let mut accepted = 0;
        let mut ids = HashSet::new();
        for outcome in join_all((0..10).map(|_| queue.enqueue(named(1), None))).await {
            match outcome.unwrap() {
                Enqueued::Accepted(job) => {
                    accepted += 1;
                    ids.insert(job.id);
                }
                Enqueued::Known(job) => {
                    ids.insert(job.id);
                }
            }
        }
        assert_eq!((accepted, ids.len()), (1, 1), "{}", database.name);
        assert!(matches!(queue.enqueue(named(2), None).await, Err(EnqueueError::KeyConflict)));
        let of_bob = NewJob { account: "key:bob".to_owned(), ..named(2) };
        assert!(matches!(queue.enqueue(of_bob, None).await, Ok(Enqueued::Accepted(_))));
        // A full queue still finds the job of a known key.
        for _ in 0..3 {
            submit(&queue, job()).await;
        }
        assert!(matches!(queue.enqueue(named(1), None).await, Ok(Enqueued::Known(_))));
        assert!(matches!(queue.enqueue(job(), None).await, Err(EnqueueError::Full(_))));
        database.remove().await;
    }
}

#[tokio::test]
async fn upkeep_reads_while_callers_take_every_permit() {
    let mut databases = vec![Fixture::file()];
    databases.extend(Fixture::postgres().await);
    for fixture in databases {
        let queue = fixture.queue().await;
        let database = queue.database();
        let mut held = Vec::new();
        // Ends when a further session of a caller has to wait, which happens before the connections are used up.
        while let Ok(session) =
            tokio::time::timeout(Duration::from_secs(2), database.session(Durability::Read)).await
        {
            held.push(session.unwrap());
        }
        assert!((2..=5).contains(&held.len()), "{}: {}", fixture.name, held.len());
        database.session(Durability::ReadForUpkeep).await.unwrap().now().await.unwrap();
        drop(held);
        fixture.remove().await;
    }
}
