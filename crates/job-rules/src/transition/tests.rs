use std::time::Duration;

use edgeprove_protocol::{JobId, Priority};
use proptest::prelude::*;

use super::*;
use crate::{
    job::NewJob,
    turn::{OrderKey, Turn},
};

const NOW: UnixMillis = UnixMillis(1_700_000_000_000);
const HELD: LeaseToken = LeaseToken(1);

fn rules() -> Rules {
    Rules::default()
}

fn new_job(max_attempts: u32) -> Job {
    let job = NewJob {
        id: JobId::new(None, [1; 16]).unwrap(),
        kind: "prove".to_owned(),
        subject: "maze".to_owned(),
        version: "1".to_owned(),
        owner: "alice".to_owned(),
        account: "key:alice".to_owned(),
        priority: Priority::Normal,
        max_attempts,
        idempotency: None,
        payload: "{}".to_owned(),
        input: Some("input".to_owned()),
    };
    job.arrive(1, NOW, OrderKey { rank: Rank::new(Priority::Normal, NOW), turn: Turn(0) })
}

/// What becomes of a job by several events, all of which can happen now.
fn after(job: &Job, events: &[Event]) -> Job {
    events.iter().fold(job.clone(), |job, event| apply(&job, event, NOW, &rules()).unwrap())
}

fn claim() -> Event {
    Event::Claim { holder: "worker".to_owned() }
}

fn complete() -> Event {
    Event::Complete { token: HELD, result: Some("result".to_owned()), outcome: "proved".to_owned() }
}

fn fail() -> Event {
    Event::Fail { token: HELD, outcome: "why".to_owned() }
}

fn retry(token: LeaseToken) -> Event {
    Event::Retry { token, run_at: NOW, outcome: "why".to_owned() }
}

fn lose_lease() -> Event {
    Event::LoseLease { ended_by: UnixMillis::MAX, run_at: NOW, outcome: "worker lost".to_owned() }
}

/// A job in each state that it can be in, and what each event makes of it: a status, or a refusal.
#[test]
fn every_event_in_every_state() {
    use JobStatus::{Cancelled, Completed, Expired, Failed, Queued, Running};
    use Refusal::{
        ArtifactNotDoomed, LeaseLost, LeaseNotLost, NotQueued, NotToExpire, NothingToSettle, Over,
    };

    let queued = new_job(3);
    let running = after(&queued, &[claim()]);
    let asked = after(&running, &[Event::Cancel]);
    let final_try = after(&new_job(1), &[claim()]);
    let completed = after(&running, &[complete()]);
    let failed = after(&running, &[fail()]);
    let cancelled = after(&queued, &[Event::Cancel]);
    let later = rules().retention.expires_at(NOW);
    let expired = apply(&completed, &Event::Expire, later, &rules()).unwrap();
    let states = [&queued, &running, &asked, &final_try, &completed, &failed, &cancelled, &expired];

    let over = |status| Err(Over(status));
    let not_queued = |status| Err(NotQueued(status));
    let forget = Event::ForgetArtifact { artifact: "input".to_owned() };
    let (lost, live) = (Err(LeaseLost), Err(LeaseNotLost));
    #[rustfmt::skip]
    let table: Vec<(Event, [Result<JobStatus, Refusal>; 8])> = vec![
        //             queued  running        cancelled      last attempt   completed              failed              cancelled              expired
        (claim(),      [Ok(Running), not_queued(Running), not_queued(Running), not_queued(Running), not_queued(Completed), not_queued(Failed), not_queued(Cancelled), not_queued(Expired)]),
        (Event::Heartbeat { token: HELD },
                       [lost, Ok(Running),   Ok(Running),   Ok(Running),   lost, lost, lost, lost]),
        (Event::ReportStage { token: HELD, stage: "s".to_owned(), at: NOW, estimate: None },
                       [lost, Ok(Running),   Ok(Running),   Ok(Running),   lost, lost, lost, lost]),
        (complete(),   [lost, Ok(Completed), Ok(Completed), Ok(Completed), lost, lost, lost, lost]),
        (fail(),       [lost, Ok(Failed),    Ok(Cancelled), Ok(Failed),    lost, lost, lost, lost]),
        (retry(HELD),  [lost, Ok(Queued),    Ok(Cancelled), Ok(Failed),    lost, lost, lost, lost]),
        (Event::Release { token: HELD },
                       [lost, Ok(Queued),    Ok(Cancelled), Ok(Queued),    lost, lost, lost, lost]),
        (lose_lease(), [live, Ok(Queued),    Ok(Cancelled), Ok(Failed),    live, live, live, live]),
        (Event::Cancel,
                       [Ok(Cancelled), Ok(Running), Ok(Running), Ok(Running), over(Completed), over(Failed), over(Cancelled), over(Expired)]),
        (Event::Abandon { outcome: "why".to_owned() },
                       [Ok(Failed), not_queued(Running), not_queued(Running), not_queued(Running), not_queued(Completed), not_queued(Failed), not_queued(Cancelled), not_queued(Expired)]),
        (Event::Settle, [Err(NothingToSettle); 8]),
        (Event::Expire, [Err(NotToExpire); 8]),
        (forget,       [Err(ArtifactNotDoomed), Err(ArtifactNotDoomed), Err(ArtifactNotDoomed), Err(ArtifactNotDoomed), Ok(Completed), Ok(Failed), Ok(Cancelled), Ok(Expired)]),
    ];
    for (event, expected) in table {
        for (job, expected) in states.into_iter().zip(expected) {
            let became = apply(job, &event, NOW, &rules());
            assert_eq!(became.map(|job| job.status), expected, "{event:?} on {} job", job.status);
        }
    }
}

#[test]
fn a_lost_lease_permits_no_event() {
    let stolen = after(&new_job(3), &[claim(), lose_lease(), claim()]);
    assert_eq!(stolen.lease_token, LeaseToken(2));
    for event in
        [Event::Heartbeat { token: HELD }, complete(), fail(), retry(HELD), Event::Release { token: HELD }]
    {
        assert_eq!(apply(&stolen, &event, NOW, &rules()), Err(Refusal::LeaseLost), "{event:?}");
    }
}

#[test]
fn a_job_that_kills_its_workers_fails_at_last() {
    let mut job = new_job(3);
    for attempt in 1..=3 {
        assert_eq!(job.status, JobStatus::Queued);
        job = after(&job, &[claim(), lose_lease()]);
        assert_eq!(job.attempts, attempt);
    }
    assert_eq!((job.status, job.finished_at), (JobStatus::Failed, Some(NOW)));
    assert_eq!(job.outcome.as_deref(), Some("worker lost"));
}

#[test]
fn a_released_attempt_is_not_counted_but_its_token_is() {
    let job = after(&new_job(1), &[claim(), Event::Release { token: HELD }, claim()]);
    assert_eq!((job.attempts, job.lease_token), (1, LeaseToken(2)));
}

#[test]
fn a_failed_attempt_is_delayed_and_keeps_its_rank() {
    let before = new_job(3);
    let event =
        Event::Retry { token: HELD, run_at: NOW.after(Duration::from_secs(1)), outcome: "why".to_owned() };
    let job = after(&before, &[claim(), event]);
    assert_eq!((job.rank, job.enqueued_at), (before.rank, before.enqueued_at));
    assert_eq!(apply(&job, &claim(), NOW, &rules()), Err(Refusal::NotDue));
    assert!(apply(&job, &claim(), NOW.after(Duration::from_secs(1)), &rules()).is_ok());
}

#[test]
fn a_renewal_never_shortens_a_lease() {
    let job = after(&new_job(3), &[claim()]);
    let until = |job: &Job| job.lease.clone().unwrap().until;
    for (now, renewed) in [
        (NOW.before(Duration::from_hours(1)), until(&job)),
        (UnixMillis(NOW.0 + 5), UnixMillis(until(&job).0 + 5)),
    ] {
        let job = apply(&job, &Event::Heartbeat { token: HELD }, now, &rules()).unwrap();
        assert_eq!(until(&job), renewed);
    }
}

#[test]
fn settle_moves_impossible_times_to_possible_ones() {
    let earlier = NOW.before(Duration::from_hours(1));
    let running = after(&new_job(3), &[claim()]);
    let settled = apply(&running, &Event::Settle, earlier, &rules()).unwrap();
    assert_eq!(settled.lease.unwrap().until, rules().lease.until(earlier));
    let untried = apply(&new_job(3), &Event::Settle, earlier, &rules()).unwrap();
    assert_eq!(untried.run_at, earlier, "it waits for its turn alone");
    let waiting = after(&running, &[retry(HELD)]);
    let settled = apply(&waiting, &Event::Settle, earlier, &rules()).unwrap();
    assert_eq!(settled.run_at, earlier.after(rules().backoff.cap));
    assert_eq!(
        settled.rank,
        Rank::new(settled.priority, earlier),
        "it is not passed by everything for an hour"
    );
    let completed = after(&running, &[complete()]);
    let settled = apply(&completed, &Event::Settle, earlier, &rules()).unwrap();
    assert_eq!(settled.expires_at, Some(rules().retention.expires_at(earlier)));
    assert_eq!(apply(&settled, &Event::Settle, earlier, &rules()), Err(Refusal::NothingToSettle));
}

#[test]
fn an_expired_job_keeps_its_artifacts_until_removed() {
    let completed = after(&new_job(3), &[claim(), complete()]);
    assert_eq!(completed.doomed_artifacts(NOW, rules().retention).collect::<Vec<_>>(), ["input"]);
    let later = rules().retention.expires_at(NOW);
    let expired = apply(&completed, &Event::Expire, later, &rules()).unwrap();
    assert_eq!((expired.outcome.as_ref(), expired.stage.as_ref()), (None, None));
    assert_eq!(expired.doomed_artifacts(later, rules().retention).collect::<Vec<_>>(), ["input", "result"]);
    let gone = later.after(rules().retention.tombstones);
    assert!(!may_be_deleted(&expired, gone, rules().retention), "its artifacts are not removed");
    let forget = |artifact: &str| Event::ForgetArtifact { artifact: artifact.to_owned() };
    let bare = after(&expired, &[forget("input"), forget("result")]);
    assert!(may_be_deleted(&bare, gone, rules().retention));
    assert!(!may_be_deleted(&bare, UnixMillis(gone.0 - 1), rules().retention));
}

fn any_event() -> impl Strategy<Value = Event> {
    let token = (0..4_i64).prop_map(LeaseToken);
    let time = (-100_000..100_000_i64).prop_map(|ms| UnixMillis(NOW.0 + ms));
    prop_oneof![
        3 => Just(claim()),
        1 => token.clone().prop_map(|token| Event::Heartbeat { token }),
        1 => token.clone().prop_map(|token| Event::ReportStage { token, stage: "s".to_owned(), at: NOW, estimate: None }),
        1 => token.clone().prop_map(|token| Event::Complete { token, result: None, outcome: "o".to_owned() }),
        1 => token.clone().prop_map(|token| Event::Fail { token, outcome: "o".to_owned() }),
        2 => (token.clone(), time.clone()).prop_map(|(token, run_at)| Event::Retry { token, run_at, outcome: "o".to_owned() }),
        1 => token.prop_map(|token| Event::Release { token }),
        2 => (time.clone(), time).prop_map(|(ended_by, run_at)| Event::LoseLease { ended_by, run_at, outcome: "o".to_owned() }),
        1 => Just(Event::Cancel),
        1 => Just(Event::Settle),
        1 => Just(Event::Expire),
        1 => Just(Event::ForgetArtifact { artifact: "input".to_owned() }),
    ]
}

proptest! {
    #[test]
    fn invariants_hold_after_any_events(
        max_attempts in 1..4_u32,
        story in prop::collection::vec((any_event(), -100_000..100_000_i64), 0..60),
    ) {
        let mut job = new_job(max_attempts);
        for (event, ms) in story {
            let Ok(next) = apply(&job, &event, UnixMillis(NOW.0 + ms), &rules()) else { continue };
            prop_assert!(!job.status.is_finished() || next.status.is_finished(), "{event:?} revived a finished job");
            prop_assert_eq!(next.finished_at.is_some(), next.status.is_finished());
            prop_assert_eq!(next.expires_at.is_some(), next.status.is_finished());
            prop_assert_eq!(next.lease.is_some(), next.status == JobStatus::Running);
            prop_assert!(next.attempts <= next.max_attempts);
            let claimed = matches!(event, Event::Claim { .. });
            prop_assert_eq!(next.lease_token.0, job.lease_token.0 + i64::from(claimed));
            job = next;
        }
    }
}

#[test]
fn a_failed_job_is_queued_again_while_its_input_is_there() {
    let retention = Retention { failed_inputs: Duration::from_mins(1), ..Retention::default() };
    let rules = Rules { retention, ..rules() };
    let running = after(&new_job(3), &[claim()]);
    let token = running.lease_token;
    let failed = apply(&running, &Event::Fail { token, outcome: "failed".to_owned() }, NOW, &rules).unwrap();
    let late = NOW.after(Duration::from_secs(59));
    assert_eq!(failed.doomed_artifacts(late, retention).count(), 0);
    let queued = apply(&failed, &Event::Requeue, late, &rules).unwrap();
    assert_eq!((queued.status, queued.attempts, queued.finished_at), (JobStatus::Queued, 0, None));
    assert!(queued.step() > failed.step() && queued.is_due(late));
    assert_eq!(queued.order(), failed.order());
    assert_eq!(queued.outcome.as_deref(), Some("failed"), "it shows why it failed until it runs");

    let too_late = NOW.after(Duration::from_mins(1));
    assert_eq!(apply(&failed, &Event::Requeue, too_late, &rules), Err(Refusal::NotToRequeue));
    assert_eq!(failed.doomed_artifacts(too_late, retention).collect::<Vec<_>>(), ["input"]);
    for other in [&queued, &running, &Job { input: None, ..failed.clone() }] {
        assert_eq!(apply(other, &Event::Requeue, late, &rules), Err(Refusal::NotToRequeue));
    }
    assert_eq!(
        apply(&failed, &Event::Requeue, NOW, &Rules::default()),
        Err(Refusal::NotToRequeue),
        "off by default"
    );
}
