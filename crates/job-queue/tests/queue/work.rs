//! A job from its arrival to its end.

use std::time::Duration;

use edgeprove_job_queue::queue::{Change, JobOutcome, JobQueue as _, LeaseStatus, Listing};
use edgeprove_job_rules::{
    bounds::Bounds,
    capability::{Capability, Subject},
    job::NewJob,
    lease::LeaseToken,
    retry::Backoff,
    transition::Rules,
};
use edgeprove_protocol::{JobStatus, Priority};

use crate::support::{Fixture, PROVES, claim, hear, job, submit};

fn completed() -> JobOutcome {
    JobOutcome::Completed { result: Some("proof".to_owned()), outcome: "well".to_owned() }
}

#[tokio::test]
async fn a_job_is_taken_in_worked_on_and_done() {
    for database in Fixture::all().await {
        let queue = database.queue().await;
        let first = submit(&queue, job()).await;
        let second = submit(&queue, job()).await;
        assert_eq!(queue.get(first.id).await.unwrap(), Some(first.clone()), "{}", database.name);
        let number = async |id| queue.place(id).await.unwrap().map(|place| place.number());
        assert_eq!(number(first.id).await, Some(1));
        assert_eq!(number(second.id).await, Some(2));
        let order: Vec<_> = queue.order(9).await.unwrap().into_iter().map(|queued| queued.id).collect();
        assert_eq!(order, [first.id, second.id]);

        let claimed = claim(&queue).await;
        assert_eq!((claimed.id, claimed.attempts), (first.id, 1));
        assert_eq!(queue.place(first.id).await.unwrap(), None);
        let token = claimed.lease_token;
        assert_eq!(queue.heartbeat(first.id, token).await.unwrap(), LeaseStatus::Yes);
        assert_eq!(queue.progress(first.id, token, "proving", 200).await.unwrap(), LeaseStatus::Yes);
        let seen = queue.get(first.id).await.unwrap().unwrap();
        assert_eq!((seen.stage.as_deref(), seen.percent), (Some("proving"), 100));

        assert_eq!(queue.end(first.id, token, completed()).await.unwrap(), Some(JobStatus::Completed));
        let seen = queue.get(first.id).await.unwrap().unwrap();
        assert_eq!((seen.result.as_deref(), seen.outcome.as_deref()), (Some("proof"), Some("well")));
        assert_eq!(queue.end(first.id, token, completed()).await.unwrap(), None, "it ended already");
        assert_eq!(queue.heartbeat(first.id, token).await.unwrap(), LeaseStatus::No);
        assert_eq!(queue.durations("prove", "maze", 9).await.unwrap().len(), 1);

        let census = queue.census().await.unwrap();
        let of = |status| census.jobs.iter().find(|(of, ..)| *of == status).map(|(_, _, jobs)| *jobs);
        assert_eq!((of(JobStatus::Completed), of(JobStatus::Queued)), (Some(1), Some(1)));
        let [(Priority::Normal, waited)] = census.oldest_queued[..] else { panic!("{census:?}") };
        assert!(waited < Duration::from_hours(1));

        let mut listing = Listing { owner: "alice".to_owned(), limit: 1, ..Listing::default() };
        let page = queue.list(&listing).await.unwrap();
        assert_eq!(page[0].id, second.id, "the latest comes first");
        listing.before = Some(page[0].seq);
        assert_eq!(queue.list(&listing).await.unwrap()[0].id, first.id);
        listing.status = Some(JobStatus::Failed);
        assert_eq!(queue.list(&listing).await.unwrap(), []);
        let of_bob = Listing { owner: "bob".to_owned(), limit: 9, ..Listing::default() };
        assert_eq!(queue.list(&of_bob).await.unwrap(), []);
        database.remove().await;
    }
}

#[tokio::test]
async fn a_worker_is_given_nothing_that_it_does_not_know() {
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
async fn kinds_and_urgency_decide_who_gets_what() {
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
async fn a_job_that_fails_is_tried_again_until_it_has_failed_too_often() {
    for database in Fixture::all().await {
        let rules = Rules {
            backoff: Backoff { base: Duration::from_millis(1), cap: Duration::from_millis(2) },
            ..Rules::default()
        };
        let queue = database.queue_with(rules, Bounds::default()).await;
        let mut changes = queue.changes();
        let id = submit(&queue, NewJob { max_attempts: 2, ..job() }).await.id;
        let retry = || JobOutcome::Retry { outcome: "the machine is tired".to_owned() };
        let first = claim(&queue).await;
        assert_eq!(queue.end(id, first.lease_token, retry()).await.unwrap(), Some(JobStatus::Queued));
        hear(&mut changes, Change::Work).await;
        tokio::time::sleep(Duration::from_millis(5)).await;
        let second = claim(&queue).await;
        assert_eq!((second.attempts, second.outcome), (2, None));
        assert!(second.lease_token > first.lease_token);
        assert_eq!(queue.end(id, first.lease_token, completed()).await.unwrap(), None, "an old lease");
        assert_eq!(queue.end(id, second.lease_token, retry()).await.unwrap(), Some(JobStatus::Failed));
        let seen = queue.get(id).await.unwrap().unwrap();
        assert_eq!(seen.outcome.as_deref(), Some("the machine is tired"));
        database.remove().await;
    }
}

#[tokio::test]
async fn a_job_that_waits_for_its_next_attempt_says_how_long() {
    for database in Fixture::all().await {
        let wait = Duration::from_hours(1);
        let rules = Rules { backoff: Backoff { base: wait, cap: wait }, ..Rules::default() };
        let queue = database.queue_with(rules, Bounds::default()).await;
        assert_eq!(queue.next_due().await.unwrap(), None);
        let id = submit(&queue, job()).await.id;
        let held = claim(&queue).await.lease_token;
        queue.end(id, held, JobOutcome::Retry { outcome: String::new() }).await.unwrap();
        assert_eq!(queue.claim("w", &PROVES).await.unwrap(), None);
        let due = queue.next_due().await.unwrap().unwrap();
        assert!(due <= wait, "{due:?}");
        database.remove().await;
    }
}

#[tokio::test]
async fn what_is_called_off_ends_at_once_or_with_its_worker() {
    for database in Fixture::all().await {
        let queue = database.queue().await;
        let queued = submit(&queue, NewJob { priority: Priority::Low, ..job() }).await.id;
        let running = submit(&queue, NewJob { priority: Priority::High, ..job() }).await.id;
        let held = claim(&queue).await;
        assert_eq!(held.id, running);
        let mut changes = queue.changes();
        assert_eq!(queue.cancel(queued, Some("bob")).await.unwrap(), None, "it is not his");
        assert_eq!(queue.cancel(queued, Some("alice")).await.unwrap(), Some(JobStatus::Cancelled));
        hear(&mut changes, Change::Job(queued)).await;
        assert_eq!(queue.cancel(queued, None).await.unwrap(), None, "it is over");
        assert_eq!(queue.cancel(running, None).await.unwrap(), Some(JobStatus::Running));
        hear(&mut changes, Change::Job(running)).await;
        let token = held.lease_token;
        assert_eq!(queue.heartbeat(running, token).await.unwrap(), LeaseStatus::CancelRequested);
        assert_eq!(queue.progress(running, token, "s", 1).await.unwrap(), LeaseStatus::CancelRequested);
        let ended = queue.end(running, token, JobOutcome::Released).await.unwrap();
        assert_eq!(ended, Some(JobStatus::Cancelled), "{}", database.name);
        database.remove().await;
    }
}

#[tokio::test]
async fn what_is_handed_back_was_not_tried() {
    for database in Fixture::all().await {
        let queue = database.queue().await;
        let id = submit(&queue, job()).await.id;
        let token = claim(&queue).await.lease_token;
        assert_eq!(queue.end(id, token, JobOutcome::Released).await.unwrap(), Some(JobStatus::Queued));
        let again = claim(&queue).await;
        assert_eq!((again.attempts, again.lease_token), (1, LeaseToken(2)));
        let failed = JobOutcome::Failed { outcome: "never".to_owned() };
        assert_eq!(queue.end(id, again.lease_token, failed).await.unwrap(), Some(JobStatus::Failed));
        database.remove().await;
    }
}
