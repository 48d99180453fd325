//! The life of a job: attempts, leases, retries, cancelling, expiry.

use std::time::Duration;

use edgeprove_edge::jobs_do::{
    error::JobsError,
    protocol::{JobVoucher, Submission},
    queue::{AttemptEnd, Enqueued, LeaseStatus},
};
use edgeprove_job_rules::{proof_job::STAGES, queue_bounds::Full, time::UnixMillis};
use edgeprove_protocol::{JobStatus, Priority, ProblemType};

use crate::{Fixture, NOW, at, completed, crashed, operator, submission, viewer};

#[test]
fn a_job_is_claimed_proved_and_expires() {
    let fixture = Fixture::new(|_| {});
    let queue = &fixture.queue;
    let accepted = fixture.accept(&submission(1));
    assert_eq!(queue.next(NOW).unwrap(), (Some(NOW), None));
    let job = queue.claim(at(5)).unwrap().unwrap();
    assert_eq!((job.id, job.attempts, job.lease_token.0), (accepted.id, 1, 1));
    assert!(queue.claim(at(5)).unwrap().is_none());
    assert_eq!(queue.report_stage(&job, STAGES[2], at(6)).unwrap(), LeaseStatus::Held);
    assert_eq!(queue.next(at(6)).unwrap(), (None, Some(at(15_005))));
    assert_eq!(queue.heartbeat(&job, at(5_000)).unwrap(), LeaseStatus::Held);
    assert_eq!(queue.next(at(6)).unwrap(), (None, Some(at(20_000))));
    assert_eq!(queue.finish(&job, &completed(), at(6_000)).unwrap(), Some(JobStatus::Completed));
    assert_eq!(queue.finish(&job, &completed(), at(6_001)).unwrap(), None, "once only");

    // The witness goes at once, the proof when the job expires.
    let doomed = queue.doomed(9, at(6_000)).unwrap();
    assert_eq!(doomed.iter().map(|doomed| doomed.artifact.as_str()).collect::<Vec<_>>(), ["jobs/witness/1"]);
    assert_eq!(queue.next(at(6_000)).unwrap(), (None, Some(at(6_000))));
    queue.forget(&doomed[0]).unwrap();
    let expiry = at(6_000 + 3_600_000);
    assert_eq!(queue.next(at(6_000)).unwrap(), (None, Some(expiry)));
    assert!(queue.expire(UnixMillis(expiry.0 - 1)).unwrap().changed.is_empty());
    assert_eq!(queue.expire(expiry).unwrap().changed, [accepted.id]);
    let doomed = queue.doomed(9, expiry).unwrap();
    assert_eq!(doomed[0].artifact, "jobs/proof/1");
    queue.forget(&doomed[0]).unwrap();
    let (_, deleted) = queue.next(expiry).unwrap();
    let deleted = deleted.unwrap();
    assert_eq!(deleted, expiry.after(Duration::from_hours(24)));
    queue.expire(deleted).unwrap();
    assert!(queue.get(accepted.id).unwrap().is_none());
    assert_eq!(queue.next(deleted).unwrap(), (None, None));
    assert_eq!(fixture.audited(), ["job.accepted", "job.started", "job.completed", "job.expired"]);
}

#[test]
fn the_attempts_of_a_lost_process_are_repeated() {
    let fixture = Fixture::new(|rules| rules.max_attempts = 2);
    fixture.accept(&submission(1));
    let first = fixture.queue.claim(NOW).unwrap().unwrap();
    let queue = fixture.restarted();
    assert_eq!(queue.begin(at(10)).unwrap().changed, [first.id]);
    let second = queue.claim(at(2_000)).unwrap().unwrap();
    assert_eq!((second.attempts, second.lease_token.0), (2, 2));
    // What the first process still does has no effect.
    assert_eq!(fixture.queue.heartbeat(&first, at(2_001)).unwrap(), LeaseStatus::Lost);
    assert_eq!(fixture.queue.finish(&first, &completed(), at(2_002)).unwrap(), None);
    // The last attempt is lost, too.
    assert!(queue.reap(at(2_100), at(2_100)).unwrap().changed.is_empty(), "its lease has not ended");
    assert_eq!(queue.reap(at(17_000), at(17_000)).unwrap().changed, [first.id]);
    let job = queue.get(first.id).unwrap().unwrap();
    assert_eq!(job.status, JobStatus::Failed);
    assert_eq!(job.problem().unwrap().unwrap().code, ProblemType::WorkerLost);
    let expected = ["job.accepted", "job.started", "job.retried", "job.started", "job.failed"];
    assert_eq!(fixture.audited(), expected);
}

#[test]
fn a_failure_is_retried_with_a_delay_until_the_last_attempt() {
    let fixture = Fixture::new(|_| {});
    let queue = &fixture.queue;
    fixture.accept(&Submission { max_attempts: Some(2), ..submission(1) });
    let job = queue.claim(NOW).unwrap().unwrap();
    assert_eq!(queue.finish(&job, &AttemptEnd::Retry(crashed()), at(1)).unwrap(), Some(JobStatus::Queued));
    let waiting = queue.get(job.id).unwrap().unwrap();
    assert!(waiting.run_at >= at(1) && waiting.run_at <= at(501), "{:?}", waiting.run_at);
    assert_eq!(waiting.problem().unwrap().unwrap().code, ProblemType::ProverCrashed);
    assert_eq!(queue.next(at(1)).unwrap().0, Some(waiting.run_at));
    let job = queue.claim(at(600)).unwrap().unwrap();
    // A container that does not take the job costs no attempt.
    assert_eq!(queue.finish(&job, &AttemptEnd::Released, at(601)).unwrap(), Some(JobStatus::Queued));
    let job = queue.claim(at(602)).unwrap().unwrap();
    assert_eq!(job.attempts, 2);
    assert_eq!(queue.finish(&job, &AttemptEnd::Retry(crashed()), at(603)).unwrap(), Some(JobStatus::Failed));
    let metrics = queue.metrics(at(604)).unwrap();
    for line in [
        "edgeprove_jobs_accepted_total{kind=\"prove\",priority=\"NORMAL\"} 1",
        "edgeprove_jobs_finished_total{kind=\"prove\",outcome=\"server_error\"} 1",
        "edgeprove_jobs_failures_total{kind=\"prove\",code=\"prover_crashed\"} 1",
        "edgeprove_jobs_retries_total{kind=\"prove\",code=\"prover_crashed\"} 1",
        "edgeprove_jobs_released_total{kind=\"prove\"} 1",
        "edgeprove_jobs_running{kind=\"prove\"} 0",
    ] {
        assert!(metrics.lines().any(|of_metrics| of_metrics == line), "{line}: {metrics}");
    }
}

#[test]
fn a_failed_job_can_be_queued_again_while_its_witness_is_there() {
    let hour = Duration::from_hours(1);
    let fixture = Fixture::new(|rules| rules.rules.retention.failed_inputs = hour);
    let queue = &fixture.queue;
    fixture.accept(&submission(1));
    let job = queue.claim(NOW).unwrap().unwrap();
    queue.finish(&job, &AttemptEnd::Failed(crashed()), at(1)).unwrap();
    let failed = queue.get(job.id).unwrap().unwrap();
    assert!(matches!(
        queue.requeue(&failed, &viewer("key:alice"), "r2", at(2)),
        Err(JobsError::OperatorsOnly)
    ));
    queue.requeue(&failed, &operator(), "r2", at(2)).unwrap();
    let again = queue.claim(at(3)).unwrap().unwrap();
    assert_eq!((again.attempts, again.lease_token.0), (1, 3));
    queue.finish(&again, &AttemptEnd::Failed(crashed()), at(4)).unwrap();
    let failed = queue.get(job.id).unwrap().unwrap();
    let later = at(5).after(hour);
    let refused = queue.requeue(&failed, &operator(), "r3", later).unwrap_err();
    assert_eq!(refused.kind(), ProblemType::JobNotRetryable);
    assert_eq!(queue.doomed(9, later).unwrap().len(), 1);
}

#[test]
fn a_queued_job_is_cancelled_at_once_and_a_running_one_soon() {
    let fixture = Fixture::new(|_| {});
    let queue = &fixture.queue;
    let (alice, queued) = (viewer("key:alice"), fixture.accept(&submission(1)));
    assert_eq!(queue.cancel(&queued, &alice, "r9", at(1)).unwrap(), JobStatus::Cancelled);
    let running = fixture.accept(&submission(2));
    let running = queue.claim(at(2)).unwrap().filter(|job| job.id == running.id).unwrap();
    assert_eq!(queue.cancel(&running, &operator(), "r8", at(3)).unwrap(), JobStatus::Running);
    assert_eq!(queue.heartbeat(&running, at(4)).unwrap(), LeaseStatus::CancelRequested);
    assert_eq!(queue.finish(&running, &AttemptEnd::Released, at(5)).unwrap(), Some(JobStatus::Cancelled));
    let cancelled = queue.get(running.id).unwrap().unwrap();
    assert_eq!(queue.cancel(&cancelled, &alice, "r7", at(6)).unwrap(), JobStatus::Cancelled);
    let page = queue.audit(None, 1).unwrap();
    assert!(page.lines.contains("\"actor\":\"key:ops\"") && page.lines.contains("job.cancelled"));
    let expected = ["job.accepted", "job.cancel_requested", "job.cancelled", "job.accepted", "job.started"];
    assert_eq!(fixture.audited()[..5], expected);
}

#[test]
fn the_same_key_gets_the_same_job() {
    let fixture = Fixture::new(|_| {});
    let with_key = |number, digest: &str| Submission {
        idempotency_key: Some("order-1".to_owned()),
        body_digest: Some(digest.repeat(32)),
        ..submission(number)
    };
    let first = fixture.accept(&with_key(1, "ab"));
    match fixture.queue.enqueue(&with_key(2, "ab"), at(1)).unwrap() {
        Enqueued::Known(job) => assert_eq!(job.id, first.id),
        Enqueued::Accepted(_) => panic!("the request was repeated"),
    }
    let conflict = fixture.queue.enqueue(&with_key(3, "cd"), at(2)).unwrap_err();
    assert_eq!(conflict.kind(), ProblemType::IdempotencyKeyReused);
    let other = Submission { account: "key:bob".to_owned(), ..with_key(4, "cd") };
    assert!(matches!(fixture.queue.enqueue(&other, at(3)), Ok(Enqueued::Accepted(_))));
}

#[test]
fn bounds_refuse_and_leave_nothing_behind() {
    let fixture = Fixture::new(|rules| {
        rules.bounds.queued_max = 3;
        rules.bounds.has_shares = false;
    });
    fixture.accept(&submission(1));
    fixture.accept(&submission(2));
    let own_limit = Submission { unfinished_max: Some(2), ..submission(3) };
    let refused = fixture.queue.enqueue(&own_limit, NOW).unwrap_err();
    assert!(matches!(refused, JobsError::Full { full: Full::Account { unfinished: 2 }, .. }));
    fixture.accept(&submission(3));
    let refused = fixture.queue.enqueue(&submission(4), NOW).unwrap_err();
    assert_eq!((refused.kind(), refused.response("r").status), (ProblemType::QueueFull, 503));
    assert_eq!(fixture.audited(), ["job.accepted"; 3]);
    let bad_key = Submission { idempotency_key: Some("a".to_owned()), ..submission(5) };
    assert_eq!(fixture.queue.enqueue(&bad_key, NOW).unwrap_err().kind(), ProblemType::InvalidRequest);
}

#[test]
fn a_voucher_is_used_by_accepted_jobs_only() {
    let fixture = Fixture::new(|rules| {
        rules.bounds.queued_max = 2;
        rules.bounds.has_shares = false;
    });
    let voucher =
        JobVoucher { id: "v1".to_owned(), scope: "s".to_owned(), uses: 1, expires_s: 1_900_000_000 };
    let by_page = |number| Submission { voucher: Some(voucher.clone()), ..submission(number) };
    fixture.accept(&by_page(1));
    let refused = fixture.queue.enqueue(&by_page(2), NOW).unwrap_err();
    assert_eq!((refused.kind(), refused.response("r").status), (ProblemType::VoucherUsedUp, 403));
    assert_eq!(fixture.queue.counts(NOW).unwrap().jobs["queued"], 1, "the refused job is not there");
}

#[test]
fn urgent_jobs_go_first_and_callers_take_turns() {
    let fixture = Fixture::new(|_| {});
    let of = |number, account: &str, priority| Submission {
        account: account.to_owned(),
        owner: account.to_owned(),
        priority,
        ..submission(number)
    };
    for (number, account, priority) in [
        (1, "key:alice", Priority::Normal),
        (2, "key:alice", Priority::Normal),
        (3, "key:bob", Priority::Normal),
        (4, "key:carol", Priority::Critical),
    ] {
        fixture.accept(&of(number, account, priority));
    }
    let order: Vec<_> =
        std::iter::from_fn(|| fixture.queue.claim(at(1)).unwrap()).map(|job| job.input.unwrap()).collect();
    assert_eq!(order, ["jobs/witness/4", "jobs/witness/1", "jobs/witness/3", "jobs/witness/2"]);
}

#[test]
fn a_deadline_that_cannot_be_met_is_refused() {
    let fixture = Fixture::new(|_| {});
    let queue = &fixture.queue;
    for number in 1..=8 {
        fixture.accept(&submission(number));
        let job = queue.claim(NOW).unwrap().unwrap();
        queue.finish(&job, &completed(), at(1_000)).unwrap();
    }
    // Each takes a second, and three are ahead.
    for number in 9..=11 {
        fixture.accept(&submission(number));
    }
    let hurried = Submission { deadline_ms: Some(500), ..submission(12) };
    assert_eq!(queue.enqueue(&hurried, NOW).unwrap_err().kind(), ProblemType::DeadlineCannotBeMet);
    assert!(queue.enqueue(&Submission { deadline_ms: Some(60_000), ..submission(12) }, NOW).is_ok());
    let one = std::num::NonZeroUsize::MIN;
    assert_eq!(queue.backlog(one, NOW).unwrap().unwrap().expected, Duration::from_secs(4));
}

#[test]
fn orphans_are_artifacts_that_no_job_names() {
    let fixture = Fixture::new(|_| {});
    fixture.accept(&submission(1));
    let stored = ["jobs/witness/1", "jobs/witness/2", "jobs/proof/9"].map(str::to_owned).to_vec();
    assert_eq!(fixture.queue.orphans(stored).unwrap(), ["jobs/witness/2", "jobs/proof/9"]);
    assert_eq!(fixture.queue.mark("sweep").unwrap(), None);
    fixture.queue.set_mark("sweep", at(5)).unwrap();
    assert_eq!(fixture.queue.mark("sweep").unwrap(), Some(at(5)));
}
