//! A clock that is set while jobs are at work.

use std::{thread, time::Duration};

use edgeprove_protocol::{JobId, JobStatus};
use edgeprove_testkit::{TestServer, clock::Clock, eventually, samples};
use jiff::Timestamp;

use crate::support::{
    Place, assert_one_at_a_time, assert_proved, audited, freeze, hand_in, thaw, until_over, until_running,
};

const LEASE: Duration = Duration::from_secs(1);
const WORKERS: u64 = 2;
const HOUR_S: i64 = 3_600;

/// Hands jobs in, sets the clock while some are worked on, and lets more than a lease pass before they can be finished.
#[track_caller]
fn set_under_work(server: &TestServer, clock: &Clock, ahead_s: i64) -> Vec<JobId> {
    freeze(server);
    let jobs = hand_in(server, samples::range(), 6);
    until_running(server, WORKERS);
    clock.set(ahead_s);
    thread::sleep(3 * LEASE);
    assert_eq!(server.jobs_that_are(JobStatus::Running), WORKERS);
    thaw(server);
    until_over(server);
    jobs
}

#[track_caller]
fn handed_in(server: &TestServer, id: JobId) -> Timestamp {
    server.job(id).created_at.parse().unwrap()
}

#[test]
fn set_forwards_and_back_it_takes_no_work_from_those_who_live() {
    let (place, clock, range) = (Place::new(), Clock::new(), samples::range());
    let server = TestServer::start(|settings| {
        place.settle(settings);
        settings.flag("--job-workers", &WORKERS);
        settings.flag("--lease", "1s");
        settings.flag("--result-ttl", "1d");
        clock.give(settings);
    });
    let first = hand_in(&server, range, 2);
    until_over(&server);
    let begun = handed_in(&server, first[0]);

    let forwards = set_under_work(&server, &clock, HOUR_S);
    let finished: Timestamp = server.job(forwards[0]).finished_at.unwrap().parse().unwrap();
    assert!(finished.as_second() >= begun.as_second() + HOUR_S, "the clock was set: {finished}");

    let back = set_under_work(&server, &clock, -HOUR_S);
    eventually("it notices", || server.log().contains("the clock went back").then_some(()));
    let later = hand_in(&server, range, 1);
    until_over(&server);
    assert!(handed_in(&server, later[0]) < begun, "the clock was set back");

    let all = [first, forwards, back, later].concat();
    assert_proved(&server, &all, range);
    for &id in &all {
        assert_eq!(server.job(id).attempts, 1, "{id}");
    }
    server.finish();
    assert_one_at_a_time(&audited(&place.audit()));
}
