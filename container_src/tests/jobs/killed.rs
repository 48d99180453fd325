//! A server that is killed.

use edgeprove_protocol::{JobStatus, ProblemType};
use edgeprove_testkit::{eventually, samples};

use crate::support::{
    Place, assert_none_twice, assert_one_at_a_time, assert_proved, audited, hand_in, jobs_with,
    until_completed, until_over, until_running,
};

const JOBS: usize = 50;

#[test]
fn in_the_middle_of_fifty_jobs_it_loses_none_and_completes_none_twice() {
    let (place, range) = (Place::new(), samples::range());
    let mut server = place.serve(&[("--job-workers", "4")]);
    let jobs = hand_in(&server, range, JOBS);
    for completed in [10, 25] {
        until_completed(&server, completed);
        until_running(&server, 2);
        server.kill();
        server = place.serve(&[("--job-workers", "4")]);
    }
    until_over(&server);
    assert_eq!(server.all_jobs().len(), JOBS);
    assert_proved(&server, &jobs, range);
    server.finish();
    let log = audited(&place.audit());
    assert_eq!(jobs_with("job.started", &log), JOBS);
    assert_one_at_a_time(&log);
    assert_none_twice(&[log]);
}

#[test]
fn each_time_a_job_is_begun_that_job_is_given_up_after_three_and_others_are_done() {
    let (place, range) = (Place::new(), samples::range());
    let mut server = place.serve(&[("--job-workers", "1")]);
    let deadly = server.hand_in(range);
    let others = hand_in(&server, range, 2);
    for attempt in 1..=3 {
        eventually("the job is begun", || (server.job(deadly).status == JobStatus::Running).then_some(()));
        assert_eq!(server.job(deadly).attempts, attempt);
        server.kill();
        server = place.serve(&[("--job-workers", "1")]);
    }
    let given_up = server.job(deadly);
    assert_eq!((given_up.status, given_up.attempts), (JobStatus::Failed, 3));
    assert_eq!(given_up.error.unwrap().code, ProblemType::WorkerLost);
    server.get(&format!("/v1/proofs/{deadly}/proof")).refused(ProblemType::WorkerLost);
    until_over(&server);
    assert_proved(&server, &others, range);
    server.finish();
    let log = audited(&place.audit());
    assert_one_at_a_time(&log);
    let ends: Vec<_> = log.iter().filter(|entry| entry["action"] == "job.failed").collect();
    assert_eq!(ends.len(), 1);
    assert_eq!(ends[0]["outcome"], "worker_lost");
}
