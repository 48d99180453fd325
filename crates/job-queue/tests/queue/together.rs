//! Writes of many callers that share a transaction on PostgreSQL.

use std::collections::HashSet;

use edgeprove_job_queue::{EnqueueError, JobOutcome, QueueError, store::StoreError};
use edgeprove_job_rules::{job::NewJob, lease::LeaseToken, queue_bounds::Bounds, transition::Rules};
use edgeprove_protocol::JobStatus;
use futures_util::future::join_all;

use crate::support::{Fixture, PROVES, completed, job, problem, submit};

const MANY: u32 = 150;

#[tokio::test]
async fn many_submissions_at_once_respect_the_bounds() {
    for fixture in Fixture::all().await {
        let bounds = Bounds { queued_max: 100, unfinished_per_account_max: 1000, has_shares: false };
        let queue = fixture.queue_with(Rules::default(), bounds).await;
        let submitted = join_all((0..MANY).map(|_| queue.enqueue(job(), None))).await;
        let accepted = submitted.iter().filter(|outcome| outcome.is_ok()).count();
        assert_eq!(accepted, 100, "{}", fixture.name);
        assert_eq!(queue.count().await.unwrap().of(JobStatus::Queued), 100, "{}", fixture.name);
        fixture.remove().await;
    }
}

#[tokio::test]
async fn one_write_that_is_refused_fails_alone() {
    let Some(fixture) = Fixture::postgres().await else { return };
    let bounds = Bounds { queued_max: 1000, unfinished_per_account_max: 1000, has_shares: false };
    let queue = fixture.queue_with(Rules::default(), bounds).await;
    // PostgreSQL has no texts with this character.
    let wrong = |number| number % 50 == 7;
    let new = |number: u32| NewJob { payload: if wrong(number) { "\0" } else { "{}" }.to_owned(), ..job() };
    let submitted = join_all((0..MANY).map(|number| queue.enqueue(new(number), None))).await;
    for (number, outcome) in (0..).zip(&submitted) {
        match outcome {
            Ok(_) => assert!(!wrong(number), "{number}"),
            Err(EnqueueError::Queue(QueueError(StoreError::Refused(_)))) => {
                assert!(wrong(number), "{number}");
            }
            Err(error) => panic!("{number}: {error:?}"),
        }
    }
    assert_eq!(queue.count().await.unwrap().of(JobStatus::Queued), u64::from(MANY) - 3);
    fixture.remove().await;
}

#[tokio::test]
async fn a_submission_counts_when_its_caller_has_left() {
    let Some(fixture) = Fixture::postgres().await else { return };
    let queue = fixture.queue().await;
    let mut leaving = Box::pin(queue.enqueue(job(), None));
    assert!(futures_util::poll!(&mut leaving).is_pending());
    drop(leaving);
    // The next transaction comes after its own.
    submit(&queue, job()).await;
    assert_eq!(queue.count().await.unwrap().of(JobStatus::Queued), 2);
    fixture.remove().await;
}

#[tokio::test]
async fn each_end_counts_under_its_own_lease() {
    for fixture in Fixture::all().await {
        let bounds = Bounds { queued_max: 1000, unfinished_per_account_max: 1000, has_shares: false };
        let queue = fixture.queue_with(Rules::default(), bounds).await;
        join_all((0..MANY).map(|_| queue.enqueue(job(), None))).await;
        let mut claimed = Vec::new();
        while claimed.len() < MANY as usize {
            claimed.extend(queue.claim_several(&["worker"; 64], &PROVES).await.unwrap());
        }
        assert_eq!(claimed.iter().map(|job| job.id).collect::<HashSet<_>>().len(), MANY as usize);
        // Each job: an end under a lease that it never had, its end, and the same again.
        let ends: Vec<_> = claimed
            .iter()
            .flat_map(|job| {
                let stale = LeaseToken(job.lease_token.0 - 1);
                [(job.id, stale), (job.id, job.lease_token), (job.id, job.lease_token)]
            })
            .collect();
        let failed = JobOutcome::Failed(problem("it failed"));
        let outcome =
            |number: usize| if number.is_multiple_of(2) { completed(Some("proof")) } else { failed.clone() };
        let outcomes: Vec<_> = (0..ends.len()).map(|number| outcome(number / 3)).collect();
        let ended = ends.iter().zip(&outcomes);
        let ended = join_all(ended.map(|((id, token), outcome)| queue.finish(*id, *token, outcome))).await;
        for (number, of_job) in ended.chunks(3).enumerate() {
            let statuses: Vec<_> = of_job.iter().map(|ended| *ended.as_ref().unwrap()).collect();
            let expected = if number.is_multiple_of(2) { JobStatus::Completed } else { JobStatus::Failed };
            assert_eq!(statuses, [None, Some(expected), None], "{}: {number}", fixture.name);
        }
        let counts = queue.count().await.unwrap();
        assert_eq!(
            (counts.of(JobStatus::Completed), counts.of(JobStatus::Failed)),
            (75, 75),
            "{}",
            fixture.name
        );
        let first = queue.get(claimed[0].id).await.unwrap().unwrap();
        assert_eq!(
            (first.result.as_deref(), first.completion::<String>().unwrap().as_str()),
            (Some("proof"), "well")
        );
        fixture.remove().await;
    }
}
