//! The life of a job.

use std::time::Duration;

use edgeprove_job_queue::{
    Change, EnqueueError, IdPrefix, JobOutcome, LeaseStatus, ListOrder, Listing, Requeued,
};
use edgeprove_job_rules::{
    backoff::Backoff,
    capability::{Capability, Subject},
    expiry::Retention,
    job::NewJob,
    lease::LeaseToken,
    queue_bounds::{Bounds, Full},
    transition::Rules,
};
use edgeprove_protocol::{JobId, JobStatus, Priority, ProblemType};

use crate::support::{self, Fixture, PROVES, claim, claim_when_due, hear, job, problem, stage, submit};

fn completed() -> JobOutcome {
    support::completed(Some("proof"))
}

#[tokio::test]
async fn a_job_is_accepted_run_and_completed() {
    for database in Fixture::all().await {
        let queue = database.queue().await;
        let first = submit(&queue, job()).await;
        let second = submit(&queue, job()).await;
        assert_eq!(queue.get(first.id).await.unwrap(), Some(first.clone()), "{}", database.name);
        let number = async |id| queue.position(id, &PROVES).await.unwrap().map(|position| position.number());
        assert_eq!(number(first.id).await, Some(1));
        assert_eq!(number(second.id).await, Some(2));
        let order: Vec<_> = queue.queued(9).await.unwrap().into_iter().map(|queued| queued.id).collect();
        assert_eq!(order, [first.id, second.id]);
        assert_eq!(queue.queued_of("prove", 9).await.unwrap(), queue.queued(9).await.unwrap());
        assert_eq!(queue.queued_of("other", 9).await.unwrap(), []);

        let claimed = claim(&queue).await;
        assert_eq!((claimed.id, claimed.attempts), (first.id, 1));
        assert_eq!(queue.position(first.id, &PROVES).await.unwrap(), None);
        let token = claimed.lease_token;
        assert_eq!(queue.heartbeat(first.id, token).await.unwrap(), LeaseStatus::Held);
        assert_eq!(queue.report_stage(first.id, token, &stage("proving")).await.unwrap(), LeaseStatus::Held);
        let seen = queue.get(first.id).await.unwrap().unwrap();
        assert_eq!(seen.stage.as_deref(), Some("proving"));
        assert!(seen.stage_started_at >= seen.started_at, "{seen:?}");
        let began = seen.stage_started_at;
        queue.report_stage(first.id, token, &stage("proving")).await.unwrap();
        assert_eq!(
            queue.get(first.id).await.unwrap().unwrap().stage_started_at,
            began,
            "it is the same stage"
        );

        assert_eq!(queue.finish(first.id, token, &completed()).await.unwrap(), Some(JobStatus::Completed));
        let seen = queue.get(first.id).await.unwrap().unwrap();
        assert_eq!((seen.result.as_deref(), seen.completion().unwrap()), (Some("proof"), "well".to_owned()));
        assert_eq!(queue.finish(first.id, token, &completed()).await.unwrap(), None, "it has finished");
        assert_eq!(queue.heartbeat(first.id, token).await.unwrap(), LeaseStatus::Lost);
        assert_eq!(queue.completed("prove", "maze", 9).await.unwrap().len(), 1);

        let counts = queue.count().await.unwrap();
        assert_eq!((counts.of(JobStatus::Completed), counts.of(JobStatus::Queued)), (1, 1));
        let queued = |kind| counts.queued_of(kind).iter().sum::<u64>();
        assert_eq!((queued("prove"), queued("keys")), (1, 0));
        let [(Priority::Normal, waited)] = counts.oldest_queued[..] else { panic!("{counts:?}") };
        assert!(waited < Duration::from_hours(1));

        let of_alice = Listing { owner: Some("alice".to_owned()), limit: 1, ..Listing::default() };
        let mut listing = of_alice.clone();
        let page = queue.list(&listing).await.unwrap();
        assert_eq!(page[0].id, second.id, "the latest is first");
        listing.after = Some(page[0].seq);
        assert_eq!(queue.list(&listing).await.unwrap()[0].id, first.id);
        let oldest = Listing { order: ListOrder::Oldest, ..of_alice.clone() };
        assert_eq!(queue.list(&oldest).await.unwrap()[0].id, first.id);
        let everything = Listing { limit: 9, ..Listing::default() };
        let count = async |listing: Listing| {
            let listed = queue.list(&listing).await.unwrap().len() as u64;
            assert_eq!(queue.count_listed(&listing).await.unwrap(), listed, "{}: {listing:?}", database.name);
            listed
        };
        let prefix = |id: JobId| Some(id.to_string()[..9].parse().unwrap());
        let (hour, queued) = (Duration::from_hours(1), JobStatus::Queued);
        for (listing, expected) in [
            (everything.clone(), 2),
            (Listing { kind: Some("prove".to_owned()), ..everything.clone() }, 2),
            (Listing { kind: Some("keys".to_owned()), ..everything.clone() }, 0),
            (Listing { statuses: vec![JobStatus::Failed], ..everything.clone() }, 0),
            (Listing { statuses: vec![queued, JobStatus::Completed], ..everything.clone() }, 2),
            (Listing { statuses: vec![queued], ..everything.clone() }, 1),
            (Listing { id_prefix: prefix(first.id), ..everything.clone() }, 1),
            (Listing { min_age: Some(hour), ..everything.clone() }, 0),
            (Listing { max_age: Some(hour), ..everything.clone() }, 2),
            (Listing { problem: Some(ProblemType::ProofTimeout), ..everything.clone() }, 0),
            (Listing { priority: Some(Priority::Normal), ..everything.clone() }, 2),
            (Listing { owner: Some("bob".to_owned()), ..everything.clone() }, 0),
        ] {
            assert_eq!(count(listing.clone()).await, expected, "{}: {listing:?}", database.name);
        }
        database.remove().await;
    }
}

#[tokio::test]
async fn a_worker_claims_only_what_its_capabilities_cover() {
    for database in Fixture::all().await {
        let queue = database.queue().await;
        submit(&queue, NewJob { subject: "maze".to_owned(), priority: Priority::Critical, ..job() }).await;
        let known = submit(&queue, NewJob { subject: "range".to_owned(), ..job() }).await;
        let of = |subjects: &[(&str, &str)]| {
            let subject = |&(name, version): &(&str, &str)| Subject {
                name: name.to_owned(),
                version: version.to_owned(),
            };
            [Capability { kind: "prove", subjects: Some(subjects.iter().map(subject).collect()) }]
        };
        let nothing = [of(&[]), of(&[("keys", "1"), ("range", "2")])];
        let something = of(&[("keys", "1"), ("range", "2"), ("range", "1")]);
        for capabilities in &nothing {
            assert_eq!(queue.claim("w", capabilities).await.unwrap(), None, "{}", database.name);
        }
        let taken = queue.claim("w", &something).await.unwrap();
        assert_eq!(taken.map(|job| job.id), Some(known.id), "{}", database.name);
        assert_eq!(queue.claim("w", &something).await.unwrap(), None, "{}", database.name);
        database.remove().await;
    }
}

#[tokio::test]
async fn kinds_and_priorities_decide_which_job_is_claimed() {
    for database in Fixture::all().await {
        let queue = database.queue().await;
        submit(&queue, NewJob { priority: Priority::Low, ..job() }).await;
        let critical = submit(&queue, NewJob { priority: Priority::Critical, ..job() }).await;
        let other = submit(&queue, NewJob { kind: "keys".to_owned(), ..job() }).await;
        let keys = [Capability::all_of("keys"), Capability::all_of("sweep")];
        assert_eq!(queue.claim("w", &keys).await.unwrap().unwrap().id, other.id);
        assert_eq!(queue.claim("w", &keys).await.unwrap(), None);
        assert_eq!(queue.claim("w", &[]).await.unwrap(), None);
        assert_eq!(claim(&queue).await.id, critical.id, "{}", database.name);
        database.remove().await;
    }
}

#[tokio::test]
async fn a_failing_job_is_retried_up_to_its_maximum() {
    for database in Fixture::all().await {
        let rules = Rules {
            backoff: Backoff { base: Duration::from_millis(1), cap: Duration::from_millis(2) },
            ..Rules::default()
        };
        let queue = database.queue_with(rules, Bounds::default()).await;
        let mut changes = queue.subscribe();
        let id = submit(&queue, NewJob { max_attempts: 2, ..job() }).await.id;
        let retry = || JobOutcome::Retry(problem("a temporary failure"));
        let first = claim(&queue).await;
        assert_eq!(queue.finish(id, first.lease_token, &retry()).await.unwrap(), Some(JobStatus::Queued));
        hear(&mut changes, Change::Work).await;
        let second = claim_when_due(&queue).await;
        assert_eq!((second.attempts, second.outcome), (2, None));
        assert!(second.lease_token > first.lease_token);
        assert_eq!(queue.finish(id, first.lease_token, &completed()).await.unwrap(), None, "an old lease");
        assert_eq!(queue.finish(id, second.lease_token, &retry()).await.unwrap(), Some(JobStatus::Failed));
        let seen = queue.get(id).await.unwrap().unwrap();
        assert_eq!(seen.problem().unwrap().unwrap().detail, "a temporary failure");
        database.remove().await;
    }
}

#[tokio::test]
async fn the_time_of_the_next_delayed_job_is_known() {
    for database in Fixture::all().await {
        let wait = Duration::from_hours(1);
        let rules = Rules { backoff: Backoff { base: wait, cap: wait }, ..Rules::default() };
        let queue = database.queue_with(rules, Bounds::default()).await;
        assert_eq!(queue.next_due().await.unwrap(), None);
        let id = submit(&queue, job()).await.id;
        let held = claim(&queue).await.lease_token;
        queue.finish(id, held, &JobOutcome::Retry(problem("again"))).await.unwrap();
        assert_eq!(queue.claim("w", &PROVES).await.unwrap(), None);
        let due = queue.next_due().await.unwrap().unwrap();
        assert!(due <= wait, "{due:?}");
        database.remove().await;
    }
}

#[tokio::test]
async fn a_cancelled_job_ends_at_once_or_with_its_worker() {
    for database in Fixture::all().await {
        let queue = database.queue().await;
        let queued = submit(&queue, NewJob { priority: Priority::Low, ..job() }).await.id;
        let running = submit(&queue, NewJob { priority: Priority::High, ..job() }).await.id;
        let held = claim(&queue).await;
        assert_eq!(held.id, running);
        let mut changes = queue.subscribe();
        assert_eq!(queue.cancel(queued, Some("bob")).await.unwrap(), None, "he does not own it");
        assert_eq!(queue.cancel(queued, Some("alice")).await.unwrap(), Some(JobStatus::Cancelled));
        hear(&mut changes, Change::Job(queued)).await;
        assert_eq!(queue.cancel(queued, None).await.unwrap(), None, "it has finished");
        assert_eq!(queue.cancel(running, None).await.unwrap(), Some(JobStatus::Running));
        hear(&mut changes, Change::Job(running)).await;
        let token = held.lease_token;
        assert_eq!(queue.heartbeat(running, token).await.unwrap(), LeaseStatus::CancelRequested);
        assert_eq!(
            queue.report_stage(running, token, &stage("s")).await.unwrap(),
            LeaseStatus::CancelRequested
        );
        let ended = queue.finish(running, token, &JobOutcome::Released).await.unwrap();
        assert_eq!(ended, Some(JobStatus::Cancelled), "{}", database.name);
        database.remove().await;
    }
}

#[tokio::test]
async fn a_released_attempt_does_not_count() {
    for database in Fixture::all().await {
        let queue = database.queue().await;
        let id = submit(&queue, job()).await.id;
        let token = claim(&queue).await.lease_token;
        assert_eq!(queue.finish(id, token, &JobOutcome::Released).await.unwrap(), Some(JobStatus::Queued));
        let again = claim(&queue).await;
        assert_eq!((again.attempts, again.lease_token), (1, LeaseToken(2)));
        let failed = JobOutcome::Failed(problem("never"));
        assert_eq!(queue.finish(id, again.lease_token, &failed).await.unwrap(), Some(JobStatus::Failed));
        database.remove().await;
    }
}

#[tokio::test]
async fn a_failed_job_is_queued_again_within_the_bounds() {
    for database in Fixture::all().await {
        let retention = Retention { failed_inputs: Duration::from_hours(1), ..Retention::default() };
        let rules = Rules { retention, ..Rules::default() };
        let bounds = Bounds { queued_max: 2, has_shares: false, ..Bounds::default() };
        let queue = database.queue_with(rules, bounds).await;
        let failed = submit(&queue, NewJob { input: Some("witness".to_owned()), ..job() }).await;
        assert_eq!(queue.requeue(failed.id).await.unwrap(), Requeued::NotFailed(JobStatus::Queued));
        let claimed = claim(&queue).await;
        let outcome = JobOutcome::Failed(problem("it failed"));
        queue.finish(failed.id, claimed.lease_token, &outcome).await.unwrap();
        let by_problem = |problem| Listing { problem: Some(problem), limit: 9, ..Listing::default() };
        let code = problem("it failed").code.known().unwrap();
        assert_eq!(queue.count_listed(&by_problem(code)).await.unwrap(), 1, "{}", database.name);
        let other = ProblemType::ALL.iter().copied().find(|other| *other != code).unwrap();
        assert_eq!(queue.count_listed(&by_problem(other)).await.unwrap(), 0, "{}", database.name);

        let others = [submit(&queue, job()).await, submit(&queue, NewJob { input: None, ..job() }).await];
        assert_eq!(
            queue.requeue(failed.id).await.unwrap(),
            Requeued::Full { queued: 2 },
            "{}",
            database.name
        );
        queue.cancel(others[0].id, None).await.unwrap();
        let mut changes = queue.subscribe();
        assert_eq!(queue.requeue(failed.id).await.unwrap(), Requeued::Queued, "{}", database.name);
        hear(&mut changes, Change::Work).await;
        let refused = queue.enqueue(job(), None).await;
        assert!(matches!(refused, Err(EnqueueError::Full(Full::Queue { queued: 2 }))), "{refused:?}");
        let again = claim(&queue).await;
        assert_eq!((again.id, again.attempts, again.input.as_deref()), (failed.id, 1, Some("witness")));

        let unknown = job().id;
        assert_eq!(queue.requeue(unknown).await.unwrap(), Requeued::Unknown);
        let next = claim(&queue).await;
        queue.finish(next.id, next.lease_token, &outcome).await.unwrap();
        assert_eq!(queue.requeue(next.id).await.unwrap(), Requeued::WithoutInput);
        database.remove().await;
    }
}

#[test]
fn the_prefix_of_an_id_is_no_pattern() {
    for text in ["", "%", "7c_", "7C", "é", &"a".repeat(65)] {
        assert!(text.parse::<IdPrefix>().is_err(), "{text}");
    }
    assert_eq!("c3-7c2d".parse::<IdPrefix>().unwrap().as_str(), "c3-7c2d");
}
